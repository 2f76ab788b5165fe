//! `RecoveryService`: data groups, and what moves their primaries.

mod seen;

use std::sync::Arc;

use portolan_core::{
    failover::{engine::RECLONE_REQUIRED, group::Kind, lease::Class, step::Step, token::Token},
    model::{group::Reclone, ids::Label},
};
use tonic::{Request, Response, Status};

pub(in crate::api) use seen::{Groups, Seen, check_approver, check_plan, id_in, unknown_operation};
use seen::{Wish, loss_in};

use super::{
    auth::Caller,
    convert::{backups_out, freshness_out, groups_out, outlook_out},
    mutation::{Envelope, caller, envelope},
    proto::{
        AdoptGroupRequest, AdoptGroupResponse, ApproveOperationRequest, ApproveOperationResponse, AssertFencedRequest,
        AssertFencedResponse, CancelOperationRequest, CancelOperationResponse, GetOutlookRequest, GetOutlookResponse, ListBackupsRequest,
        ListBackupsResponse, ListGroupsRequest, ListGroupsResponse, RejectOperationRequest, RejectOperationResponse, RejoinMemberRequest,
        RejoinMemberResponse, ReleaseCoolDownRequest, ReleaseCoolDownResponse, RetryStepRequest, RetryStepResponse, SkipStepRequest,
        SkipStepResponse, StartFailbackRequest, StartFailbackResponse, StartFailoverRequest, StartFailoverResponse, StartSwitchoverRequest,
        StartSwitchoverResponse, TurnOperationRequest, TurnOperationResponse, recovery_service_server::RecoveryService,
    },
    refusal::{Reason, bad_field},
    source::cluster::ClusterSource,
};

/// What the request id of a failover gets behind it for the assertion that is committed after it.
const ASSERTION: &str = "-assert";

/// The service over a source.
pub struct RecoveryApi {
    groups: Groups,
}

impl RecoveryApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { groups: Groups { source } }
    }

    /// Commits a step of the operation that has this name.
    async fn about(
        &self,
        caller: &Caller,
        name: &str,
        envelope: Envelope,
        step: impl FnOnce(&Seen, u64) -> Step,
    ) -> Result<seen::Done, Status> {
        let (seen, operation) = self.groups.operation(name)?;
        let step = step(&seen, operation);
        self.groups.step(caller, &seen, envelope, step).await
    }

    /// Begins a failover, and answers in its own name for the old primary.
    async fn fail_over_asserted(
        &self,
        caller: &Caller,
        seen: &Seen,
        envelope: Envelope,
        decide: Step,
        region: Label,
    ) -> Result<seen::Done, Status> {
        check_approver(caller, "assert_fenced", "that the old primary is stopped")?;
        if region != *seen.primary()? {
            let problem = format!("is {region}, and the primary is in {}: type that one", seen.primary()?);
            return Err(bad_field("assert_fenced", problem));
        }
        self.groups.check_assertion(seen, &region).await?;
        let (validate_only, reason) = (envelope.validate_only, envelope.reason.clone());
        let request_id = if envelope.request_id.is_empty() { String::new() } else { format!("{}{ASSERTION}", envelope.request_id) };
        let begun = self.groups.step(caller, seen, envelope, decide).await?;
        if validate_only {
            return Ok(begun);
        }
        let after = self.groups.seen(seen.name.as_str())?;
        let Some(operation) = after.group.operation.as_ref().map(|it| it.id) else { return Ok(begun) };
        let envelope = Envelope { validate_only, request_id, reason, overrules: Vec::new() };
        let step = Step::Assert { token: after.group.token, operation, region };
        self.groups.step(caller, &after, envelope, step).await.map_err(|status| {
            let message = format!(
                "op-{operation} was begun, and the assertion was not taken: {}; give it again: portolan assert-fenced op-{operation} --region REGION",
                status.message()
            );
            Status::with_details_and_metadata(status.code(), message, status.details().to_vec().into(), status.metadata().clone())
        })
    }
}

#[tonic::async_trait]
impl RecoveryService for RecoveryApi {
    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        let standing = self.groups.standing()?;
        let groups = groups_out(&standing.state, &self.groups.source.agents());
        Ok(Response::new(ListGroupsResponse { groups, freshness: Some(freshness_out(&standing)) }))
    }

    async fn get_outlook(&self, request: Request<GetOutlookRequest>) -> Result<Response<GetOutlookResponse>, Status> {
        let seen = self.groups.seen(&request.into_inner().name)?;
        let standing = self.groups.standing()?;
        let outlook = self.groups.source.outlook(&seen.name).await;
        let outlook = outlook.ok_or_else(|| Status::unavailable("this node is starting or stopping; ask another one"))?;
        Ok(Response::new(GetOutlookResponse {
            outlook: Some(outlook_out(&seen.name, &outlook)),
            freshness: Some(freshness_out(&standing)),
        }))
    }

    async fn list_backups(&self, _: Request<ListBackupsRequest>) -> Result<Response<ListBackupsResponse>, Status> {
        let standing = self.groups.standing().ok();
        let restored = |group: &Label| Some(standing.as_ref()?.state.group(group)?.drills.restored.as_ref()?.at);
        Ok(Response::new(ListBackupsResponse { classes: backups_out(&self.groups.source.backups().await, restored) }))
    }

    async fn adopt_group(&self, request: Request<AdoptGroupRequest>) -> Result<Response<AdoptGroupResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.name)?;
        let primary = Label::new(&request.primary);
        let agents = self.groups.source.agents();
        let Some(sight) = agents.get(&(seen.name.clone(), primary.clone())).and_then(|(_, status)| status.sight) else {
            let message = format!("the agent of {primary} does not say what its database is: it must run and see it first");
            return Err(Reason::NotSeen.status(message, seen.name.as_str(), &[]));
        };
        // Another class than the agent's is mended by the leader, which hears it.
        let (system, timeline) = (sight.system, sight.timeline);
        let step = Step::Adopt { token: Token::default(), primary, system, timeline, class: Class::Bare };
        let (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(AdoptGroupResponse { group, commit }))
    }

    async fn start_switchover(&self, request: Request<StartSwitchoverRequest>) -> Result<Response<StartSwitchoverResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        if request.to.is_empty() {
            return Err(bad_field("to", "is not set: name the region that shall have the primary"));
        }
        let seen = self.groups.seen(&request.name)?;
        let wish = Wish { kind: Kind::Switchover, to: Some(Label::new(&request.to)), allowed_loss: None, plan_id: &request.plan_id };
        let step = self.groups.decide(&seen, &wish, &request.expected_token, &request.request_id).await?;
        let (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(StartSwitchoverResponse { group, commit }))
    }

    async fn start_failback(&self, request: Request<StartFailbackRequest>) -> Result<Response<StartFailbackResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.name)?;
        let home = seen.policy.primary.clone();
        // What was asked before may have been done, which is why it is there.
        if !seen.standing.state.knows_request(&request.request_id, seen.standing.now) {
            self.groups.check_home(&seen, &home).await?;
        }
        let wish = Wish { kind: Kind::Switchover, to: Some(home), allowed_loss: None, plan_id: &request.plan_id };
        let step = self.groups.decide(&seen, &wish, &request.expected_token, &request.request_id).await?;
        let (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(StartFailbackResponse { group, commit }))
    }

    async fn start_failover(&self, request: Request<StartFailoverRequest>) -> Result<Response<StartFailoverResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let allowed_loss = request.allowed_loss.map(|loss| loss_in(&caller, loss)).transpose()?;
        let to = (!request.to.is_empty()).then(|| Label::new(&request.to));
        let seen = self.groups.seen(&request.name)?;
        let wish = Wish { kind: Kind::Failover, to, allowed_loss, plan_id: &request.plan_id };
        let step = self.groups.decide(&seen, &wish, &request.expected_token, &request.request_id).await?;
        let region = std::mem::take(&mut request.assert_fenced);
        let envelope = envelope!(request, Vec::new());
        let (group, commit) = if region.is_empty() {
            self.groups.step(&caller, &seen, envelope, step).await?
        } else {
            self.fail_over_asserted(&caller, &seen, envelope, step, Label::new(&region)).await?
        };
        Ok(Response::new(StartFailoverResponse { group, commit }))
    }

    async fn approve_operation(&self, request: Request<ApproveOperationRequest>) -> Result<Response<ApproveOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let allowed_loss = request.allowed_loss.map(|loss| loss_in(&caller, loss)).transpose()?;
        let step = |seen: &Seen, operation| Step::Approve { token: seen.group.token, operation, allowed_loss };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(ApproveOperationResponse { group, commit }))
    }

    async fn reject_operation(&self, request: Request<RejectOperationRequest>) -> Result<Response<RejectOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let step = |seen: &Seen, operation| Step::Reject { token: seen.group.token, operation };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(RejectOperationResponse { group, commit }))
    }

    async fn turn_operation(&self, request: Request<TurnOperationRequest>) -> Result<Response<TurnOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let step = |seen: &Seen, operation| Step::Turn { token: seen.group.token, operation };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(TurnOperationResponse { group, commit }))
    }

    async fn assert_fenced(&self, request: Request<AssertFencedRequest>) -> Result<Response<AssertFencedResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        if request.region.is_empty() {
            return Err(bad_field("region", "is not set: type the region of the old primary"));
        }
        let region = Label::new(&request.region);
        let (seen, operation) = self.groups.operation(&request.name)?;
        self.groups.check_assertion(&seen, &region).await?;
        let step = Step::Assert { token: seen.group.token, operation, region };
        let (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(AssertFencedResponse { group, commit }))
    }

    async fn retry_step(&self, request: Request<RetryStepRequest>) -> Result<Response<RetryStepResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let step = |seen: &Seen, operation| Step::Retry { token: seen.group.token, operation };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(RetryStepResponse { group, commit }))
    }

    async fn skip_step(&self, request: Request<SkipStepRequest>) -> Result<Response<SkipStepResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let step = |seen: &Seen, operation| Step::Skip { token: seen.group.token, operation };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(SkipStepResponse { group, commit }))
    }

    async fn rejoin_member(&self, request: Request<RejoinMemberRequest>) -> Result<Response<RejoinMemberResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.name)?;
        let region = Label::new(&request.region);
        if !seen.policy.members.contains_key(&region) || seen.primary()? == &region {
            return Err(bad_field("region", format!("`{region}` has no standby of {}: name one of its members", seen.name)));
        }
        let obstacle = self.groups.obstacle(&seen, &region);
        let is_condemned = obstacle.starts_with(RECLONE_REQUIRED) && seen.policy.reclone != Reclone::ByHand;
        let (mut group, mut commit) = (None, None);
        if request.reclone {
            check_approver(&caller, "reclone", "that a data directory is removed")?;
            if !is_condemned && !seen.standing.state.knows_request(&request.request_id, seen.standing.now) {
                let why = if obstacle.is_empty() { "it follows" } else { &obstacle };
                let message = format!("copy {} in {region} anew: {why}", seen.name);
                return Err(Reason::NotCondemned.status(message, region.as_str(), &[]));
            }
            let step = Step::Reclone { token: seen.group.token, region: region.clone() };
            (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        }
        let remedy = match (is_condemned, request.reclone) {
            (true, false) => format!("portolan rejoin {} --region {region} --reclone", seen.name),
            (true, true) => "its agent copies the primary now: portolan recovery status".to_owned(),
            (false, _) => String::new(),
        };
        let group = group.or_else(|| Some(self.groups.told(&seen)));
        Ok(Response::new(RejoinMemberResponse { group, commit, obstacle, remedy }))
    }

    async fn release_cool_down(&self, request: Request<ReleaseCoolDownRequest>) -> Result<Response<ReleaseCoolDownResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.name)?;
        let step = Step::Release { token: seen.group.token };
        let (group, commit) = self.groups.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(ReleaseCoolDownResponse { group, commit }))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<CancelOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let agents = self.groups.source.agents();
        let step = |seen: &Seen, operation| {
            let from = seen.group.primary().cloned().unwrap_or_else(|| Label::new(""));
            let class = agents.get(&(seen.name.clone(), from)).map_or(Class::Bare, |(_, status)| status.class);
            Step::Cancel { token: seen.group.token, operation, class }
        };
        let (group, commit) = self.about(&caller, &request.name.clone(), envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(CancelOperationResponse { group, commit }))
    }
}
