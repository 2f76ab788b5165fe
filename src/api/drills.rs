//! `DrillService`: drills of data groups, what begins by itself, and what was proven.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, State},
    failover::step::Step,
    model::{group::Policy, ids::Label},
    recovery::drill::{Aim, Drill, DrillKind, DrillStep, Ended, PROOF_LASTS, Proof, Schedule},
};
use tonic::{Request, Response, Status};

use super::{
    auth::Caller,
    convert::{duration_out, freshness_out, time_out},
    mutation::{Accepted, Envelope, caller, envelope, propose},
    page::end_of,
    proto::{
        self, CancelDrillRequest, CancelDrillResponse, CreateDrillScheduleRequest, CreateDrillScheduleResponse, DeleteDrillScheduleRequest,
        DeleteDrillScheduleResponse, DrillAim, GetDrillRequest, GetDrillResponse, ListDrillsRequest, ListDrillsResponse, StartDrillRequest,
        StartDrillResponse, drill_service_server::DrillService,
    },
    reading::end_at,
    recovery::{Groups, Seen, check_approver},
    refusal::{Reason, bad_field},
    source::cluster::{ClusterSource, Reach},
};

/// The service over a source.
pub struct DrillApi {
    groups: Groups,
}

impl DrillApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { groups: Groups { source } }
    }

    async fn commit(&self, caller: &Caller, seen: &Seen, envelope: Envelope, act: DrillStep) -> Result<Accepted, Status> {
        let step = Step::Drill { token: seen.group.token, act: Box::new(act) };
        let change = Change::Group { group: seen.name.clone(), step };
        propose(&*self.groups.source, envelope.draft(caller, change, None, Reach::Cluster)?).await
    }

    /// The group in which a name is found.
    fn holding(&self, id: u64, is_it: impl Fn(&portolan_core::failover::group::Group) -> bool, what: &str) -> Result<Seen, Status> {
        let standing = self.groups.standing()?;
        let found = standing.state.groups().iter().find(|(_, group)| is_it(group)).map(|(name, _)| name.clone());
        let name = found.ok_or_else(|| Reason::UnknownDrill.status(format!("no {what}-{id} is known"), &format!("{what}-{id}"), &[]))?;
        self.groups.seen(&format!("groups/{name}"))
    }

    /// A switchover that nobody needs is tried only where a loss would be dealt with.
    async fn check_ready(&self, seen: &Seen) -> Result<(), Status> {
        let outlook = self.groups.source.outlook(&seen.name).await;
        let outlook = outlook.ok_or_else(|| Status::unavailable("this node is starting or stopping; ask another one"))?;
        let Some(finding) = outlook.readiness.against().next() else { return Ok(()) };
        let message = format!("drill a switchover of {}: it is not ready: {}", seen.name, finding.text);
        Err(Reason::GroupNotReady.status(message, seen.name.as_str(), &[]))
    }

    /// Where nothing tells people there is nothing to try. Which channels the plan names does not count: this version sends to none.
    fn check_tells(&self, seen: &Seen) -> Result<(), Status> {
        if self.groups.source.teller(&seen.name).is_some() {
            return Ok(());
        }
        let version = env!("CARGO_PKG_VERSION");
        let message = format!(
            "drill a notification of {}: it has no `hooks.after`, and version {version} sends to none of `notification_channels` by itself",
            seen.name
        );
        Err(Reason::NothingTells.status(message, seen.name.as_str(), &[]))
    }
}

/// A drill of this id, under way or remembered.
fn find(state: &State, id: u64) -> Option<proto::Drill> {
    state.groups().iter().find_map(|(name, group)| {
        let (drill, ended) = group.drills.find(id)?;
        Some(drill_out(name, drill, ended, policy_of(state, name)))
    })
}

fn policy_of<'a>(state: &'a State, group: &Label) -> Option<&'a Policy> {
    state.plan()?.plan.outline.groups.get(group)
}

#[tonic::async_trait]
impl DrillService for DrillApi {
    async fn get_drill(&self, request: Request<GetDrillRequest>) -> Result<Response<GetDrillResponse>, Status> {
        let id = id_in(&request.get_ref().name, "drills", "drill")?;
        let standing = self.groups.standing()?;
        let drill = find(&standing.state, id);
        let drill = drill.ok_or_else(|| unknown_drill(id))?;
        Ok(Response::new(GetDrillResponse { drill: Some(drill), freshness: Some(freshness_out(&standing)) }))
    }

    async fn list_drills(&self, request: Request<ListDrillsRequest>) -> Result<Response<ListDrillsResponse>, Status> {
        let parent = request.into_inner().parent;
        let only = if parent.is_empty() { None } else { Some(self.groups.seen(&parent)?.name) };
        let standing = self.groups.standing()?;
        let mut told = ListDrillsResponse { freshness: Some(freshness_out(&standing)), ..ListDrillsResponse::default() };
        for (name, group) in standing.state.groups().iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == *name)) {
            let (drills, policy) = (&group.drills, policy_of(&standing.state, name));
            let open = drills.open.iter().map(|drill| drill_out(name, drill, None, policy));
            told.drills.extend(open.chain(drills.ended.iter().rev().map(|ended| drill_out(name, &ended.drill, Some(ended), policy))));
            told.schedules.extend(drills.schedules.iter().map(|(id, schedule)| schedule_out(name, *id, schedule)));
            told.proofs.extend(drills.proofs.iter().map(|proof| proof_out(name, proof)));
        }
        Ok(Response::new(told))
    }

    async fn start_drill(&self, request: Request<StartDrillRequest>) -> Result<Response<StartDrillResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.parent)?;
        seen.primary()?;
        let aim = aim_in(&caller, &seen.policy, request.aim.take())?;
        match aim.kind {
            DrillKind::Switchover => self.check_ready(&seen).await?,
            DrillKind::Notification => self.check_tells(&seen)?,
            DrillKind::DryRun | DrillKind::Fence | DrillKind::ObserveOnly | DrillKind::Isolated => {}
        }
        let done = self.commit(&caller, &seen, envelope!(request), DrillStep::Start { aim, schedule: None }).await?;
        let drill = done.commit.index.and_then(|index| find(&self.groups.standing().ok()?.state, index));
        Ok(Response::new(StartDrillResponse { drill, commit: Some(done.commit) }))
    }

    async fn cancel_drill(&self, request: Request<CancelDrillRequest>) -> Result<Response<CancelDrillResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = id_in(&request.name, "drills", "drill")?;
        let seen = self.holding(id, |group| group.drills.find(id).is_some(), "drill")?;
        let done = self.commit(&caller, &seen, envelope!(request, Vec::new()), DrillStep::Cancel { drill: id }).await?;
        let drill = done.commit.index.and_then(|_| find(&self.groups.standing().ok()?.state, id));
        Ok(Response::new(CancelDrillResponse { drill, commit: Some(done.commit) }))
    }

    async fn create_drill_schedule(
        &self,
        request: Request<CreateDrillScheduleRequest>,
    ) -> Result<Response<CreateDrillScheduleResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let seen = self.groups.seen(&request.parent)?;
        let aim = aim_in(&caller, &seen.policy, request.aim.take())?;
        if aim.kind == DrillKind::Notification {
            self.check_tells(&seen)?;
        }
        let every = request.every.take().ok_or_else(|| bad_field("every", "is not set: how far apart"))?;
        let every = Duration::try_from(every).map_err(|_| bad_field("every", "is no length of time"))?;
        let first = request.first_time.take().map(|time| end_at("first_time", &time)).transpose()?;
        let first = first.map(|end| end.resolve(seen.standing.now));
        let done = self.commit(&caller, &seen, envelope!(request, Vec::new()), DrillStep::Schedule { aim, every, first }).await?;
        let made = |index: u64| {
            let state = self.groups.standing().ok()?.state;
            Some(schedule_out(&seen.name, index, state.group(&seen.name)?.drills.schedules.get(&index)?))
        };
        let schedule = done.commit.index.and_then(made);
        Ok(Response::new(CreateDrillScheduleResponse { schedule, commit: Some(done.commit) }))
    }

    async fn delete_drill_schedule(
        &self,
        request: Request<DeleteDrillScheduleRequest>,
    ) -> Result<Response<DeleteDrillScheduleResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = id_in(&request.name, "schedules", "schedule")?;
        let seen = self.holding(id, |group| group.drills.schedules.contains_key(&id), "schedule")?;
        let done = self.commit(&caller, &seen, envelope!(request, Vec::new()), DrillStep::Unschedule { schedule: id }).await?;
        Ok(Response::new(DeleteDrillScheduleResponse { commit: Some(done.commit) }))
    }
}

/// What is wanted, with what the plan fills in. What moves or cuts off a primary is for an approver to say.
fn aim_in(caller: &Caller, policy: &Policy, aim: Option<DrillAim>) -> Result<Aim, Status> {
    let DrillAim { kind, region, hook, on_primary, stays, lasts, from_backup } = aim.ok_or_else(|| bad_field("aim", "is not set"))?;
    let words = || DrillKind::ALL.map(DrillKind::word).join(", ");
    let kind = DrillKind::of(&kind).ok_or_else(|| bad_field("aim.kind", format!("is none of {}", words())))?;
    let given = |text: String| (!text.is_empty()).then_some(text);
    let mut hook = given(hook);
    if kind == DrillKind::Fence && hook.is_none() {
        let mut able = policy.rungs.iter().filter(|rung| rung.confirms && rung.is_undone);
        hook = able.next().map(|rung| rung.hook.clone()).filter(|_| able.next().is_none());
        if hook.is_none() {
            return Err(bad_field("aim.hook", "is not set, and the plan has not exactly one rung with `confirms` and `unfence`"));
        }
    }
    if on_primary {
        check_approver(caller, "aim.on_primary", "that a primary is cut off")?;
    }
    if kind == DrillKind::Switchover {
        check_approver(caller, "aim.kind", "that a primary is moved for a drill")?;
    }
    let lasts = lasts.map(Duration::try_from).transpose().map_err(|_| bad_field("aim.lasts", "is no length of time; write 1h as 3600s"))?;
    if lasts.is_some() != (kind == DrillKind::ObserveOnly) {
        let problem = if lasts.is_some() { "is set, and only an observation has a time" } else { "is not set: how long it observes" };
        return Err(bad_field("aim.lasts", problem));
    }
    Ok(Aim { kind, region: given(region).map(|region| Label::new(&region)), hook, on_primary, stays, lasts, from_backup })
}

pub(super) fn unknown_drill(id: u64) -> Status {
    Reason::UnknownDrill.status(format!("no drill-{id} is under way or remembered"), &format!("drill-{id}"), &[])
}

/// The number in a name: `drills/drill-17`.
pub(super) fn id_in(name: &str, collection: &str, word: &str) -> Result<u64, Status> {
    let end = end_of("name", name, collection)?;
    let id = end.strip_prefix(word).and_then(|rest| rest.strip_prefix('-')).and_then(|id| id.parse().ok());
    id.ok_or_else(|| bad_field("name", format!("is not {collection}/{word}-N")))
}

fn aim_out(aim: &Aim) -> DrillAim {
    DrillAim {
        kind: aim.kind.word().to_owned(),
        region: aim.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        hook: aim.hook.clone().unwrap_or_default(),
        on_primary: aim.on_primary,
        from_backup: aim.from_backup,
        stays: aim.stays,
        lasts: aim.lasts.map(duration_out),
    }
}

fn drill_out(group: &Label, drill: &Drill, ended: Option<&Ended>, policy: Option<&Policy>) -> proto::Drill {
    let figures = ended.map(|ended| ended.figures).unwrap_or_default();
    proto::Drill {
        name: format!("drills/drill-{}", drill.id),
        group: format!("groups/{group}"),
        aim: Some(aim_out(&drill.aim)),
        creator: drill.who.clone(),
        reason: drill.why.clone(),
        start_time: Some(time_out(drill.began)),
        schedule: drill.schedule.map(|id| format!("schedules/schedule-{id}")).unwrap_or_default(),
        operations: drill.operations.iter().map(|id| format!("operations/op-{id}")).collect(),
        outcome: ended.map(|ended| ended.outcome.word().to_owned()).unwrap_or_default(),
        end_time: ended.map(|ended| time_out(ended.at)),
        lines: ended.map_or_else(|| drill.trail.iter().map(ToString::to_string).collect(), |ended| ended.lines.clone()),
        loss: figures.loss.map(|loss| loss.to_string()).unwrap_or_default(),
        rpo_target: policy.and_then(|policy| policy.rpo_target).map(duration_out),
        recovery: figures.recovery.map(duration_out),
        rto_target: policy.and_then(|policy| policy.rto_target).map(duration_out),
        stop: figures.stop.map(duration_out),
    }
}

fn schedule_out(group: &Label, id: u64, schedule: &Schedule) -> proto::DrillSchedule {
    proto::DrillSchedule {
        name: format!("schedules/schedule-{id}"),
        group: format!("groups/{group}"),
        aim: Some(aim_out(&schedule.aim)),
        every: Some(duration_out(schedule.every)),
        next_time: Some(time_out(schedule.next)),
        creator: schedule.who.clone(),
        reason: schedule.why.clone(),
    }
}

fn proof_out(group: &Label, proof: &Proof) -> proto::DrillProof {
    proto::DrillProof {
        group: format!("groups/{group}"),
        region: proof.region.to_string(),
        hook: proof.hook.clone(),
        time: Some(time_out(proof.at)),
        drill: format!("drills/drill-{}", proof.drill),
        expire_time: Some(time_out(proof.at + PROOF_LASTS)),
    }
}
