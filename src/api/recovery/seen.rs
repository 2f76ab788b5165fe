//! Groups and operations as a caller sees them, and a step of one on its way to the cluster.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, Role},
    failover::{
        assertion::{still_accepts, still_writes},
        group::{Group, Kind},
        plan_id::{Pinned, PlanId},
        step::{Decide, Step},
    },
    model::{group::Policy, ids::Label, time::Human},
};
use tonic::Status;

use crate::api::{
    auth::Caller,
    convert::group_out,
    mutation::{Envelope, propose},
    page::end_of,
    proto::{Commit, Group as GroupMessage},
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach, Standing},
};

/// What resource names of operations begin with.
const OPERATIONS: &str = "operations";

/// The groups of the cluster behind the API.
pub(in crate::api) struct Groups {
    pub(in crate::api) source: Arc<dyn ClusterSource>,
}

/// A group as the caller sees it.
pub(in crate::api) struct Seen {
    pub(in crate::api) name: Label,
    pub(in crate::api) group: Group,
    pub(in crate::api) policy: Policy,
    /// Of the plan in force.
    pub(in crate::api) revision: u64,
    pub(in crate::api) standing: Standing,
}

/// What an operation shall be, as somebody wants it.
pub(in crate::api) struct Wish<'a> {
    pub(in crate::api) kind: Kind,
    pub(in crate::api) to: Option<Label>,
    pub(in crate::api) allowed_loss: Option<Duration>,
    /// The plan id of the rehearsal that the caller saw; empty: none.
    pub(in crate::api) plan_id: &'a str,
}

/// The group as it is after a step, and what became of the step.
pub(in crate::api) type Done = (Option<GroupMessage>, Option<Commit>);

impl Groups {
    pub(in crate::api) fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    /// The group of a name.
    pub(in crate::api) fn seen(&self, name: &str) -> Result<Seen, Status> {
        let standing = self.standing()?;
        let name = Label::new(end_of("name", name, "groups")?);
        let plan = standing.state.plan().map(|plan| &plan.plan);
        let known = plan.and_then(|plan| Some((plan.outline.groups.get(&name)?.clone(), plan.revision)));
        let (policy, revision) = known.ok_or_else(|| {
            let message = format!("the plan has no data group `{name}`");
            Reason::UnknownGroup.status(message, name.as_str(), &[])
        })?;
        let group = standing.state.group(&name).cloned().unwrap_or_default();
        Ok(Seen { name, group, policy, revision, standing })
    }

    /// The group whose operation has this name, and the operation's id. One that has ended is found, too: what is wanted of it is refused by the
    /// cluster, or was done already.
    pub(in crate::api) fn operation(&self, name: &str) -> Result<(Seen, u64), Status> {
        let id = id_in(name)?;
        let standing = self.standing()?;
        let (group, _, _) = standing.state.operation(id).ok_or_else(|| unknown_operation(id))?;
        Ok((self.seen(&format!("groups/{group}"))?, id))
    }

    /// Commits a step, or says what would become of it.
    pub(in crate::api) async fn step(&self, caller: &Caller, seen: &Seen, envelope: Envelope, step: Step) -> Result<Done, Status> {
        let change = Change::Group { group: seen.name.clone(), step };
        let done = propose(&*self.source, envelope.draft(caller, change, None, Reach::Cluster)?).await?;
        let state = self.standing()?.state;
        let group = state.group(&seen.name).cloned().unwrap_or_default();
        Ok((Some(group_out(&seen.name, &seen.policy, &group, &self.source.agents())), Some(done.commit)))
    }

    /// A decision about the present primary, if nothing differs from what the caller saw. What was requested before is not compared again: it may
    /// have been done, which is why it differs.
    pub(in crate::api) async fn decide(
        &self,
        seen: &Seen,
        wish: &Wish<'_>,
        expected_token: &str,
        request_id: &str,
    ) -> Result<Step, Status> {
        let from = seen.primary()?.clone();
        if !seen.standing.state.knows_request(request_id, seen.standing.now) {
            seen.check_token(expected_token)?;
            check_plan(wish.plan_id, seen.pin(&from, wish), PlanId::changes)?;
        }
        Ok(Step::Decide(Box::new(Decide {
            token: seen.group.token,
            kind: wish.kind,
            from,
            to: wish.to.clone(),
            plan_revision: seen.revision,
            estimate: self.source.figures(&seen.name).await.exposure,
            allowed_loss: wish.allowed_loss,
            grounds: None,
            drill: None,
            setback: None,
            guards: Vec::new(),
        })))
    }

    /// The primary is not where the plan expects it, and the member there can take over.
    pub(in crate::api) async fn check_home(&self, seen: &Seen, home: &Label) -> Result<(), Status> {
        if seen.primary()? == home {
            let message = format!("fail {} back: its primary is in {home}, where the plan expects it", seen.name);
            return Err(Reason::AtHome.status(message, seen.name.as_str(), &[]));
        }
        let unfit = match self.source.outlook(&seen.name).await {
            Some(outlook) => outlook.unfit.get(home).cloned(),
            None => Some("is not heard of by this node; ask a voter".to_owned()),
        };
        let Some(why) = unfit else { return Ok(()) };
        let message = format!("fail {} back to {home}, where the plan expects its primary: {home} {why}", seen.name);
        Err(Reason::NotProtected.status(message, home.as_str(), &[]))
    }

    /// The group as it is.
    pub(in crate::api) fn told(&self, seen: &Seen) -> GroupMessage {
        group_out(&seen.name, &seen.policy, &seen.group, &self.source.agents())
    }

    /// Why the member does not follow, by its agent's word; empty: it does.
    pub(in crate::api) fn obstacle(&self, seen: &Seen, region: &Label) -> String {
        let agents = self.source.agents();
        let Some((_, status)) = agents.get(&(seen.name.clone(), region.clone())) else {
            return "its agent is silent, or this node hears none: ask a voter".to_owned();
        };
        let token = seen.group.in_force().map(|grant| grant.token);
        match (&status.trouble, &status.follows) {
            (_, Some((of, _))) if Some(*of) == token => String::new(),
            (Some(trouble), _) => trouble.clone(),
            (None, _) => "it does not follow yet, and its agent is at it".to_owned(),
        }
    }

    /// A person may answer for it that the database in `region` is stopped: its own agent does not say that it writes, and no vantage region got in
    /// within the last lease.
    pub(in crate::api) async fn check_assertion(&self, seen: &Seen, region: &Label) -> Result<(), Status> {
        let Some(grant) = &seen.group.grant else { return Ok(()) };
        let reached = self.source.reached(&seen.name, region).await;
        if let Some((from, age)) = still_accepts(grant, &reached) {
            let message = format!("assert that {region} is stopped: a probe from {from} got into its database {} ago", Human(age));
            return Err(Reason::StillAccepts.status(message, region.as_str(), &[]));
        }
        let agents = self.source.agents();
        let heard = agents.get(&(seen.name.clone(), region.clone())).map(|(age, status)| (*age, status));
        let Some(age) = still_writes(grant, heard) else { return Ok(()) };
        let message = format!("assert that {region} is stopped: its agent said {} ago that its database takes writes", Human(age));
        Err(Reason::StillWrites.status(message, region.as_str(), &[]))
    }
}

impl Seen {
    /// Who holds the role.
    pub(in crate::api) fn primary(&self) -> Result<&Label, Status> {
        self.group.primary().ok_or_else(|| {
            let message = format!("{} has no primary yet: portolan adopt {} --primary REGION", self.name, self.name);
            Reason::NotAdopted.status(message, self.name.as_str(), &[])
        })
    }

    fn check_token(&self, expected: &str) -> Result<(), Status> {
        if expected.is_empty() || expected == self.group.token.to_string() {
            return Ok(());
        }
        let message = format!("token {expected} was expected, and the group's is {}: look again", self.group.token);
        Err(Reason::TokenMismatch.status(message, self.name.as_str(), &[]))
    }

    /// What is wished for, as it stands here.
    fn pin(&self, from: &Label, wish: &Wish<'_>) -> PlanId {
        PlanId::of(&Pinned {
            group: &self.name,
            token: self.group.token,
            plan_revision: self.revision,
            kind: wish.kind,
            from,
            to: wish.to.as_ref(),
            allowed_loss: wish.allowed_loss,
        })
    }
}

/// Nothing differs from what the caller saw, if it saw anything.
pub(in crate::api) fn check_plan(seen: &str, now: PlanId, differences: fn(PlanId, PlanId) -> Vec<&'static str>) -> Result<(), Status> {
    if seen.is_empty() {
        return Ok(());
    }
    let then: PlanId = seen.parse().map_err(|problem| bad_field("plan_id", problem))?;
    let changes = differences(then, now);
    if changes.is_empty() { Ok(()) } else { Err(refusal::plan_changed(then, now, &changes)) }
}

/// The id in the name of an operation.
pub(in crate::api) fn id_in(name: &str) -> Result<u64, Status> {
    let end = end_of("name", name, OPERATIONS)?;
    end.strip_prefix("op-").and_then(|id| id.parse().ok()).ok_or_else(|| bad_field("name", "is not operations/op-N"))
}

pub(in crate::api) fn unknown_operation(id: u64) -> Status {
    Reason::UnknownOperation.status(format!("no operation op-{id} is open or remembered"), &format!("op-{id}"), &[])
}

/// What only an approver may say: `what`, in a request that operators may send without it.
pub(in crate::api) fn check_approver(caller: &Caller, field: &str, what: &str) -> Result<(), Status> {
    if caller.role >= Some(Role::Approver) {
        return Ok(());
    }
    let role = caller.role.map_or("nobody", Role::word);
    Err(Reason::RoleMissing.status(format!("{} is {role}, and {what} is for an approver to say", caller.name), field, &[]))
}

/// What a person allows to be lost: that is an approver's word.
pub(in crate::api) fn loss_in(caller: &Caller, loss: prost_types::Duration) -> Result<Duration, Status> {
    check_approver(caller, "allowed_loss", "what may be lost beyond the plan")?;
    Duration::try_from(loss).map_err(|_| bad_field("allowed_loss", "is no length of time; write 30s as 30s"))
}
