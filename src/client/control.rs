//! Every call of the control API beside status, why, preview and heartbeat: one function each, named as the method is, with its messages.
//!
//! Reads are repeated while the answer is UNAVAILABLE. A change gets a request id when it has none, so that it can be repeated, too, and has
//! its effect once; changes of the membership have no such id, and are sent once.

use std::fmt;

use backoff::Retryable as _;
use tonic::{Code, Request, Streaming, metadata::MetadataValue, service::Interceptor};

use super::{ANSWER_OCTETS_MAX, Client, ClientError, pauses, timed};
use crate::api::{
    proto::{
        self, access_service_client::AccessServiceClient, acknowledgement_service_client::AcknowledgementServiceClient,
        audit_service_client::AuditServiceClient, cluster_service_client::ClusterServiceClient, drill_service_client::DrillServiceClient,
        evacuation_service_client::EvacuationServiceClient, event_service_client::EventServiceClient,
        freeze_service_client::FreezeServiceClient, operation_service_client::OperationServiceClient,
        override_service_client::OverrideServiceClient, plan_service_client::PlanServiceClient,
        recovery_service_client::RecoveryServiceClient, return_service_client::ReturnServiceClient,
        simulate_service_client::SimulateServiceClient, traffic_service_client::TrafficServiceClient,
    },
    refusal::{Reason, Refusal},
};

/// A bearer token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(MetadataValue<tonic::metadata::Ascii>);

impl BearerToken {
    /// Takes the token itself, without `Bearer`.
    ///
    /// # Errors
    /// It is empty, or holds what no header can.
    pub fn new(token: &str) -> Result<Self, ClientError> {
        let token = token.trim();
        let value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
        let mut value = value.ok_or_else(|| ClientError::Target("the bearer token is empty, or no text for a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// Puts the token on each call.
#[derive(Clone, Debug)]
pub(super) struct Bearer(pub(super) Option<BearerToken>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        if let Some(BearerToken(value)) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A change that has its effect once, however often it is sent.
trait Once {
    fn request_id(&mut self) -> &mut String;
}

macro_rules! once {
    ($($request:ident),*) => { $(
        impl Once for proto::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
        }
    )* };
}

once!(
    CreateOverrideRequest,
    DeleteOverrideRequest,
    CreateFreezeRequest,
    DeleteFreezeRequest,
    CreateAcknowledgementRequest,
    ApplyPlanRequest,
    AdoptGroupRequest,
    StartSwitchoverRequest,
    StartFailoverRequest,
    ApproveOperationRequest,
    CancelOperationRequest,
    RejectOperationRequest,
    TurnOperationRequest,
    AssertFencedRequest,
    RetryStepRequest,
    SkipStepRequest,
    ReleaseCoolDownRequest,
    StartDrillRequest,
    CancelDrillRequest,
    CreateDrillScheduleRequest,
    DeleteDrillScheduleRequest,
    StartFailbackRequest,
    RejoinMemberRequest,
    StartEvacuationRequest,
    CancelEvacuationRequest,
    StartReturnRequest,
    AdvanceReturnRequest,
    CancelReturnRequest
);

/// 128 random bits as a UUID of version 4 (RFC 9562 section 5.4).
///
/// # Errors
/// The system gives no randomness.
pub fn new_request_id() -> Result<String, ClientError> {
    let mut octets = [0; 16];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| ClientError::Target("the system gives no randomness for a request id".to_owned()))?;
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// Messages of a stream as they come.
pub struct Messages<T>(Streaming<T>, String);

impl<T> Messages<T> {
    /// The next message; `None`: the daemon ended the stream.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is lost, or the daemon says why it goes no further.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        self.0.message().await.map_err(|status| ClientError::from_status(&self.1, &status))
    }
}

macro_rules! calls {
    ($($kind:ident $client:ident { $($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident;)* })*) => {
        impl Client { $( $(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`ClientError`], as for all calls.
            pub async fn $name(&self, request: proto::$request) -> Result<calls!(@$kind $response), ClientError> {
                let client = $client::new(self.channel.clone())
                    .max_decoding_message_size(ANSWER_OCTETS_MAX)
                    .max_encoding_message_size(ANSWER_OCTETS_MAX);
                calls!(@$kind self client request $name)
            }
        )* )* }
    };
    (@read $response:ident) => { proto::$response };
    (@change $response:ident) => { proto::$response };
    (@sent_once $response:ident) => { proto::$response };
    (@stream $response:ident) => { Messages<proto::$response> };
    (@read $self:ident $client:ident $request:ident $name:ident) => {
        $self.call(|| {
            let (mut client, request) = ($client.clone(), $request.clone());
            async move { client.$name(timed(request)).await }
        })
        .await
    };
    (@change $self:ident $client:ident $request:ident $name:ident) => {{
        let mut request = $request;
        if request.request_id().is_empty() {
            *request.request_id() = new_request_id()?;
        }
        $self.change(|| {
            let (mut client, request) = ($client.clone(), request.clone());
            async move { client.$name(timed(request)).await }
        })
        .await
    }};
    (@sent_once $self:ident $client:ident $request:ident $name:ident) => {{
        let mut client = $client;
        let answer = client.$name(timed($request)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| ClientError::from_status(&$self.address, &status))
    }};
    (@stream $self:ident $client:ident $request:ident $name:ident) => {{
        let stream = $self.call(|| {
            let (mut client, request) = ($client.clone(), $request.clone());
            async move { client.$name(request).await }
        });
        Ok(Messages(stream.await?, $self.address.clone()))
    }};
}

calls! {
    read AccessServiceClient {
        /// Who the caller is to the node.
        who_am_i(WhoAmIRequest) -> WhoAmIResponse;
        /// Whether the caller may call a method.
        can_i(CanIRequest) -> CanIResponse;
    }
    read TrafficServiceClient {
        /// Regions by name.
        list_regions(ListRegionsRequest) -> ListRegionsResponse;
        /// One region.
        get_region(GetRegionRequest) -> GetRegionResponse;
        /// Services by name.
        list_services(ListServicesRequest) -> ListServicesResponse;
        /// One service with its endpoints.
        get_service(GetServiceRequest) -> GetServiceResponse;
        /// Endpoints by name.
        list_endpoints(ListEndpointsRequest) -> ListEndpointsResponse;
        /// One endpoint.
        get_endpoint(GetEndpointRequest) -> GetEndpointResponse;
        /// Zones by name.
        list_zones(ListZonesRequest) -> ListZonesResponse;
    }
    read OverrideServiceClient {
        /// Orders in force.
        list_overrides(ListOverridesRequest) -> ListOverridesResponse;
        /// One order in force.
        get_override(GetOverrideRequest) -> GetOverrideResponse;
    }
    change OverrideServiceClient {
        /// Gives an order.
        create_override(CreateOverrideRequest) -> CreateOverrideResponse;
        /// Takes an order back.
        delete_override(DeleteOverrideRequest) -> DeleteOverrideResponse;
    }
    read FreezeServiceClient {
        /// Freezes in force.
        list_freezes(ListFreezesRequest) -> ListFreezesResponse;
    }
    change FreezeServiceClient {
        /// Begins a freeze.
        create_freeze(CreateFreezeRequest) -> CreateFreezeResponse;
        /// Takes a freeze back.
        delete_freeze(DeleteFreezeRequest) -> DeleteFreezeResponse;
    }
    read AcknowledgementServiceClient {
        /// What was acknowledged.
        list_acknowledgements(ListAcknowledgementsRequest) -> ListAcknowledgementsResponse;
    }
    change AcknowledgementServiceClient {
        /// Acknowledges an object.
        create_acknowledgement(CreateAcknowledgementRequest) -> CreateAcknowledgementResponse;
    }
    read PlanServiceClient {
        /// The plan in force.
        get_plan(GetPlanRequest) -> GetPlanResponse;
        /// Every problem of a plan.
        validate_plan(ValidatePlanRequest) -> ValidatePlanResponse;
        /// What differs from the plan in force.
        diff_plan(DiffPlanRequest) -> DiffPlanResponse;
    }
    change PlanServiceClient {
        /// Puts a plan in force.
        apply_plan(ApplyPlanRequest) -> ApplyPlanResponse;
    }
    read EventServiceClient {
        /// Events after a token.
        list_events(ListEventsRequest) -> ListEventsResponse;
    }
    stream EventServiceClient {
        /// Events after a token and from now on.
        watch_events(WatchEventsRequest) -> WatchEventsResponse;
    }
    read ClusterServiceClient {
        /// The cluster as the node knows it.
        get_cluster(GetClusterRequest) -> GetClusterResponse;
        /// Its nodes.
        list_members(ListMembersRequest) -> ListMembersResponse;
    }
    sent_once ClusterServiceClient {
        /// Hands leadership on.
        transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse;
        /// Makes a node a voter.
        add_member(AddMemberRequest) -> AddMemberResponse;
        /// Takes a node out.
        remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
        /// Puts one node in the place of another.
        replace_member(ReplaceMemberRequest) -> ReplaceMemberResponse;
        /// Makes the cluster from the node that is asked.
        bootstrap(BootstrapRequest) -> BootstrapResponse;
        /// Goes on without a lost majority; on the socket of a survivor.
        force_quorum(ForceQuorumRequest) -> ForceQuorumResponse;
    }
    stream ClusterServiceClient {
        /// The agreed state, for keeping.
        backup(BackupRequest) -> BackupResponse;
    }
    read AuditServiceClient {
        /// Links of the audit chain, newest first.
        list_audit_entries(ListAuditEntriesRequest) -> ListAuditEntriesResponse;
        /// Computes the node's links anew.
        verify_audit(VerifyAuditRequest) -> VerifyAuditResponse;
    }
    stream AuditServiceClient {
        /// Links as lines of JSON, oldest first; [`crate::api::audit::verify_lines`] verifies them.
        export_audit(ExportAuditRequest) -> ExportAuditResponse;
    }
    read RecoveryServiceClient {
        /// How a group stands now.
        get_outlook(GetOutlookRequest) -> GetOutlookResponse;
        /// How backups stand.
        list_backups(ListBackupsRequest) -> ListBackupsResponse;
        /// Data groups by name.
        list_groups(ListGroupsRequest) -> ListGroupsResponse;
    }
    change RecoveryServiceClient {
        /// Says who a group's primary is.
        adopt_group(AdoptGroupRequest) -> AdoptGroupResponse;
        /// Begins a switchover.
        start_switchover(StartSwitchoverRequest) -> StartSwitchoverResponse;
        /// Begins a switchover to where the plan expects the primary.
        start_failback(StartFailbackRequest) -> StartFailbackResponse;
        /// Begins a failover.
        start_failover(StartFailoverRequest) -> StartFailoverResponse;
        /// Lets an operation go on.
        approve_operation(ApproveOperationRequest) -> ApproveOperationResponse;
        /// Ends an operation.
        cancel_operation(CancelOperationRequest) -> CancelOperationResponse;
        /// Says no to what was proposed.
        reject_operation(RejectOperationRequest) -> RejectOperationResponse;
        /// Lets a switchover go on as a failover.
        turn_operation(TurnOperationRequest) -> TurnOperationResponse;
        /// Answers for it that an old primary is stopped.
        assert_fenced(AssertFencedRequest) -> AssertFencedResponse;
        /// Has a held step tried again.
        retry_step(RetryStepRequest) -> RetryStepResponse;
        /// Goes on without the validation.
        skip_step(SkipStepRequest) -> SkipStepResponse;
        /// Says why a member does not follow, or lets it be copied anew.
        rejoin_member(RejoinMemberRequest) -> RejoinMemberResponse;
        /// Ends the cool-down of a group.
        release_cool_down(ReleaseCoolDownRequest) -> ReleaseCoolDownResponse;
    }
    read OperationServiceClient {
        /// One operation.
        get_operation(GetOperationRequest) -> GetOperationResponse;
        /// The operations of a group.
        list_operations(ListOperationsRequest) -> ListOperationsResponse;
        /// What a switchover or failover would do.
        rehearse_operation(RehearseOperationRequest) -> RehearseOperationResponse;
        /// The report of an operation.
        get_report(GetReportRequest) -> GetReportResponse;
    }
    stream OperationServiceClient {
        /// An operation until it ends.
        watch_operation(WatchOperationRequest) -> WatchOperationResponse;
    }
    read DrillServiceClient {
        /// One drill.
        get_drill(GetDrillRequest) -> GetDrillResponse;
        /// Drills, what begins by itself, and what was proven.
        list_drills(ListDrillsRequest) -> ListDrillsResponse;
    }
    change DrillServiceClient {
        /// Begins a drill.
        start_drill(StartDrillRequest) -> StartDrillResponse;
        /// Ends a drill.
        cancel_drill(CancelDrillRequest) -> CancelDrillResponse;
        /// Lets drills begin by themselves.
        create_drill_schedule(CreateDrillScheduleRequest) -> CreateDrillScheduleResponse;
        /// Lets them begin no more.
        delete_drill_schedule(DeleteDrillScheduleRequest) -> DeleteDrillScheduleResponse;
    }
    read EvacuationServiceClient {
        /// Evacuations, the newest first.
        list_evacuations(ListEvacuationsRequest) -> ListEvacuationsResponse;
    }
    change EvacuationServiceClient {
        /// Begins an evacuation.
        start_evacuation(StartEvacuationRequest) -> StartEvacuationResponse;
        /// Begins no further group of one.
        cancel_evacuation(CancelEvacuationRequest) -> CancelEvacuationResponse;
    }
    stream EvacuationServiceClient {
        /// An evacuation until it ends.
        watch_evacuation(WatchEvacuationRequest) -> WatchEvacuationResponse;
    }
    read ReturnServiceClient {
        /// Returns of traffic, the newest first.
        list_returns(ListReturnsRequest) -> ListReturnsResponse;
    }
    change ReturnServiceClient {
        /// Begins a return of traffic.
        start_return(StartReturnRequest) -> StartReturnResponse;
        /// Begins the next step of one.
        advance_return(AdvanceReturnRequest) -> AdvanceReturnResponse;
        /// Drains its region again.
        cancel_return(CancelReturnRequest) -> CancelReturnResponse;
    }
    stream ReturnServiceClient {
        /// A return of traffic until it ends.
        watch_return(WatchReturnRequest) -> WatchReturnResponse;
    }
    read SimulateServiceClient {
        /// What would happen if regions failed.
        simulate(SimulateRequest) -> SimulateResponse;
    }
}

impl Client {
    /// Calls as [`Client::call`] does, and again while the outcome is not known: for what carries a request id.
    async fn change<T, F>(&self, once: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut may_be_done = false;
        let is_open = |status: &tonic::Status| {
            let reason = Refusal::from(status).reason;
            may_be_done |= reason == Reason::UnknownOutcome.word();
            // A node that found no leader has looked for one for seconds: who asks is to know now, and what works without one.
            let is_hopeless = reason == Reason::NoQuorum.word() && !may_be_done;
            reason == Reason::UnknownOutcome.word() || status.code() == Code::Unavailable && !is_hopeless
        };
        let answer = once.retry(pauses()).when(is_open).await;
        answer.map(tonic::Response::into_inner).map_err(|status| ClientError::from_status(&self.address, &status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_and_differ() {
        let (one, other) = (new_request_id().unwrap(), new_request_id().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.as_bytes()[14], one.matches('-').count()), (36, b'4', 4), "{one}");
        assert!(one.len() <= portolan_core::cluster::limits::REQUEST_ID_MAX);
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let token = BearerToken::new(" secret ").unwrap();
        assert!(!format!("{token:?} {:?}", Bearer(Some(token.clone()))).contains("secret"));
        assert!(BearerToken::new(" ").is_err() && BearerToken::new("a\nb").is_err());
    }
}
