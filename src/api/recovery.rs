//! `RecoveryService`: data groups, and what moves their primaries.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, Role},
    failover::{
        group::{Group, Kind},
        lease::Class,
        step::{Decide, Step},
        token::Token,
    },
    model::{group::Policy, ids::Label},
    recovery::exposure::Bracket,
};
use tonic::{Request, Response, Status};

use super::{
    auth::Caller,
    convert::{freshness_out, group_out, groups_out},
    mutation::{Envelope, caller, envelope, propose},
    page::end_of,
    proto::{
        AdoptGroupRequest, AdoptGroupResponse, ApproveOperationRequest, ApproveOperationResponse, CancelOperationRequest,
        CancelOperationResponse, Commit, Group as GroupMessage, ListGroupsRequest, ListGroupsResponse, StartFailoverRequest,
        StartFailoverResponse, StartSwitchoverRequest, StartSwitchoverResponse, recovery_service_server::RecoveryService,
    },
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach, Standing},
};

/// The service over a source.
pub struct RecoveryApi {
    source: Arc<dyn ClusterSource>,
}

/// A group as the caller sees it.
struct Seen {
    name: Label,
    group: Group,
    policy: Policy,
    revision: u64,
}

impl RecoveryApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    /// The group of a name, and whether it is as the caller saw it.
    fn seen(&self, name: &str, expected: &str) -> Result<Seen, Status> {
        let standing = self.standing()?;
        let name = Label::new(end_of("name", name, "groups")?);
        let plan = standing.state.plan().map(|plan| &plan.plan);
        let known = plan.and_then(|plan| Some((plan.outline.groups.get(&name)?.clone(), plan.revision)));
        let (policy, revision) = known.ok_or_else(|| unknown(&format!("the plan has no data group `{name}`"), name.as_str()))?;
        let group = standing.state.group(&name).cloned().unwrap_or_default();
        if !expected.is_empty() && expected != group.token.to_string() {
            let message = format!("token {expected} was expected, and the group's is {}: look again", group.token);
            return Err(Reason::TokenMismatch.status(message, name.as_str(), &[]));
        }
        Ok(Seen { name, group, policy, revision })
    }

    /// The group whose operation has this name.
    fn operation(&self, name: &str) -> Result<(Seen, u64), Status> {
        let end = end_of("name", name, "operations")?;
        let id: u64 = end.strip_prefix("op-").and_then(|id| id.parse().ok()).ok_or_else(|| bad_field("name", "is not operations/op-N"))?;
        let standing = self.standing()?;
        let names = standing.state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.keys());
        let is_it = |name: &&Label| standing.state.group(name).and_then(|group| group.operation.as_ref()).is_some_and(|it| it.id == id);
        match names.into_iter().find(is_it) {
            Some(group) => Ok((self.seen(&format!("groups/{group}"), "")?, id)),
            None => Err(unknown(&format!("no operation op-{id} is open"), &format!("op-{id}"))),
        }
    }

    async fn step(
        &self,
        caller: &Caller,
        seen: &Seen,
        envelope: Envelope,
        step: Step,
    ) -> Result<(Option<GroupMessage>, Option<Commit>), Status> {
        let change = Change::Group { group: seen.name.clone(), step };
        let done = propose(&*self.source, envelope.draft(caller, change, None, Reach::Cluster)?).await?;
        let state = self.standing()?.state;
        let group = state.group(&seen.name).cloned().unwrap_or_default();
        Ok((Some(group_out(&seen.name, &seen.policy, &group, &self.source.agents())), Some(done.commit)))
    }

    /// A decision about the present primary.
    fn decide(seen: &Seen, kind: Kind, to: Option<Label>, allowed_loss: Option<Duration>) -> Result<Step, Status> {
        let Some(from) = seen.group.primary().cloned() else {
            let message = format!("{} has no primary yet: portolan adopt {} --primary REGION", seen.name, seen.name);
            return Err(Reason::NotAdopted.status(message, seen.name.as_str(), &[]));
        };
        Ok(Step::Decide(Box::new(Decide {
            token: seen.group.token,
            kind,
            from,
            to,
            plan_revision: seen.revision,
            estimate: Bracket::UNKNOWN,
            allowed_loss,
            grounds: None,
            guards: Vec::new(),
        })))
    }
}

/// What a person allows to be lost: that is an approver's word.
fn loss_in(caller: &Caller, loss: prost_types::Duration) -> Result<Duration, Status> {
    if caller.role < Some(Role::Approver) {
        let role = caller.role.map_or("nobody", Role::word);
        let message = format!("{} is {role}, and what may be lost beyond the plan is for an approver to say", caller.name);
        return Err(Reason::RoleMissing.status(message, "allowed_loss", &[]));
    }
    Duration::try_from(loss).map_err(|_| bad_field("allowed_loss", "is no length of time; write 30s as 30s"))
}

fn unknown(message: &str, name: &str) -> Status {
    Reason::UnknownGroup.status(message, name, &[])
}

#[tonic::async_trait]
impl RecoveryService for RecoveryApi {
    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        let standing = self.standing()?;
        let groups = groups_out(&standing.state, &self.source.agents());
        Ok(Response::new(ListGroupsResponse { groups, freshness: Some(freshness_out(&standing)) }))
    }

    async fn adopt_group(&self, request: Request<AdoptGroupRequest>) -> Result<Response<AdoptGroupResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.seen(&request.name, "")?;
        let primary = Label::new(&request.primary);
        let agents = self.source.agents();
        let Some(sight) = agents.get(&(seen.name.clone(), primary.clone())).and_then(|(_, status)| status.sight) else {
            let message = format!("the agent of {primary} does not say what its database is: it must run and see it first");
            return Err(Reason::NotSeen.status(message, seen.name.as_str(), &[]));
        };
        // Another class than the agent's is mended by the leader, which hears it.
        let (system, timeline) = (sight.system, sight.timeline);
        let step = Step::Adopt { token: Token::default(), primary, system, timeline, class: Class::Bare };
        let (group, commit) = self.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(AdoptGroupResponse { group, commit }))
    }

    async fn start_switchover(&self, request: Request<StartSwitchoverRequest>) -> Result<Response<StartSwitchoverResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        if request.to.is_empty() {
            return Err(bad_field("to", "is not set: name the region that shall have the primary"));
        }
        let seen = self.seen(&request.name, &request.expected_token)?;
        let step = Self::decide(&seen, Kind::Switchover, Some(Label::new(&request.to)), None)?;
        let (group, commit) = self.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(StartSwitchoverResponse { group, commit }))
    }

    async fn start_failover(&self, request: Request<StartFailoverRequest>) -> Result<Response<StartFailoverResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.seen(&request.name, &request.expected_token)?;
        let to = (!request.to.is_empty()).then(|| Label::new(&request.to));
        let loss = request.allowed_loss.map(|loss| loss_in(&caller, loss)).transpose()?;
        let step = Self::decide(&seen, Kind::Failover, to, loss)?;
        let (group, commit) = self.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(StartFailoverResponse { group, commit }))
    }

    async fn approve_operation(&self, request: Request<ApproveOperationRequest>) -> Result<Response<ApproveOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let (seen, operation) = self.operation(&request.name)?;
        let allowed_loss = request.allowed_loss.map(|loss| loss_in(&caller, loss)).transpose()?;
        let step = Step::Approve { token: seen.group.token, operation, allowed_loss };
        let (group, commit) = self.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(ApproveOperationResponse { group, commit }))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<CancelOperationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let (seen, operation) = self.operation(&request.name)?;
        let agents = self.source.agents();
        let from = seen.group.primary().cloned().unwrap_or_else(|| Label::new(""));
        let class = agents.get(&(seen.name.clone(), from)).map_or(Class::Bare, |(_, status)| status.class);
        let step = Step::Cancel { token: seen.group.token, operation, class };
        let (group, commit) = self.step(&caller, &seen, envelope!(request, Vec::new()), step).await?;
        Ok(Response::new(CancelOperationResponse { group, commit }))
    }
}
