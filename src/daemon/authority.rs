//! What is agreed, as the control API sees it: reads from memory, and commands on their way to the leader.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use portolan_core::{
    cluster::{Change, End, Entry, NodeId, NodeRole, Outcome, Outline, PutPlan, State, observed_regions},
    document::Severity as ProblemSeverity,
    failover::step::Step,
    health::overlay::{Override, OverrideKind, Scope},
    model::{
        ids::Label,
        time::{Now, Timestamp},
        units::Share,
    },
    node::{Event, Node},
    recovery::{backups::Standing as BackupStanding, class_exposure::ClassExposure, outlook::Outlook},
    simulate::{self, Population},
    table::Table,
};

use super::{
    Clock, Pictures,
    backups::Backups,
    cluster::{Cluster, LOCAL_LIFE_MAX, Order, Ordered, Unproposed, What},
    store::PlanSource,
    world::{WorldError, bare_world, load_plan},
};
use crate::{
    api::{
        event_log::EventLog,
        source::cluster::{
            Agents, Asked, ClusterError, ClusterSource, Committed, Draft, Member, MemberRole, MembershipDone, MembershipOrder, PlanProblem,
            PlanReading, PlanText, Reach, Standing,
        },
    },
    latest::Latest,
    raft::Member as RaftMember,
};

/// Clients that are asked for when the effect of a command is worked out: a tenth of a percent shows.
const CLIENTS: usize = 2000;

/// How often it is tried to record who had a cluster made, each time for eight seconds: the first election is over by then.
const RECORDS_TRIED_MAX: usize = 8;

/// How a plan that was sent is called in problems.
const PLAN: &str = "plan";

/// The cluster behind the API.
pub(super) struct Authority {
    pub(super) cluster: Cluster,
    pub(super) pictures: Pictures,
    pub(super) clock: Arc<Clock>,
    pub(super) backups: Backups,
    pub(super) events: Arc<EventLog>,
    pub(super) allowed_targets: Vec<IpNet>,
    pub(super) plan_file: PathBuf,
}

impl Authority {
    /// The share of clients that a change moves, and what speaks against it by what is observed. `None`: nobody knows, or it moves none.
    async fn foresee(&self, entry: &Entry) -> (Option<Share>, Option<Outcome>) {
        let truth = self.cluster.truth().latest();
        let orders = as_order(&truth.state, &entry.change, entry.at);
        let (Some((node, now)), true) = (self.pictures.copy().await, moves_clients(orders.as_ref().unwrap_or(&entry.change))) else {
            return (Some(Share::NONE), None);
        };
        let held = self.cluster.local().all(now.wall);
        let entry = Entry { change: orders.unwrap_or_else(|| entry.change.clone()), ..entry.clone() };
        let (allowed, file) = (self.allowed_targets.clone(), self.plan_file.display().to_string());
        let worked_out = tokio::task::spawn_blocking(move || {
            let before = node.table()?.clone();
            let after = if let Change::PutPlan(plan) = &entry.change {
                with_plan(&before, plan, &file, &allowed)?
            } else {
                let mut orders = truth.state.overrides();
                orders.extend(held);
                with_orders(&node, now, &entry, orders)?
            };
            let share = simulate::moved(&before, &after, &Population::world(CLIENTS));
            let refused = match &entry.change {
                Change::PutPlan(_) => None,
                _ => observed_regions(&before, &after, &entry).err().map(Outcome::Rejected),
            };
            Some((share, refused))
        });
        match worked_out.await {
            Ok(Some((share, refused))) => (Some(share), refused),
            Ok(None) | Err(_) => (None, None),
        }
    }

    async fn act_locally(&self, draft: &Draft, entry: &Entry) -> Result<Outcome, ClusterError> {
        let now = self.clock.now().wall;
        let mesh = self.cluster.mesh();
        match &draft.change {
            Change::PutOverride { id, kind, scope, end } => {
                let longest = Timestamp(now.0.saturating_add(i64::try_from(LOCAL_LIFE_MAX.as_millis()).unwrap_or(i64::MAX)));
                let id = id
                    .clone()
                    .unwrap_or_else(|| Label::new(&format!("local-{}-{:08x}", self.cluster.me().node, self.clock.entropy() & 0xffff_ffff)));
                let order = Override {
                    id: id.clone(),
                    kind: *kind,
                    scope: scope.clone(),
                    who: entry.by.name.clone(),
                    why: entry.reason.clone(),
                    at: now,
                    until: Some(end.resolve(now).min(longest)),
                };
                self.cluster.local().put(order, now, mesh).map_err(ClusterError::Busy)?;
                Ok(Outcome::Accepted { object: Some(id) })
            }
            Change::RemoveOverride { id } => {
                self.cluster.local().remove(id, now, mesh);
                Ok(Outcome::Accepted { object: Some(id.clone()) })
            }
            _ => Err(ClusterError::Membership("only orders can be given or taken back without a majority".to_owned())),
        }
    }

    fn name_of(&self, id: u64) -> Option<String> {
        let members = self.cluster.members();
        if let Some(member) = members.voters.get(&id).or_else(|| members.learners.get(&id)) {
            return Some(member.name.clone());
        }
        self.cluster.truth().latest().state.node(NodeId(id)).map(|known| known.node.name.to_string())
    }
}

/// The order that is given or taken back with a change; `None`: the change is one itself, or moves nobody.
fn as_order(state: &State, change: &Change, now: Timestamp) -> Option<Change> {
    match change {
        Change::Evacuate { region, end, .. } => {
            Some(Change::PutOverride { id: None, kind: OverrideKind::Drain, scope: Scope::Region(region.clone()), end: *end })
        }
        Change::CancelEvacuation { evacuation, undrain: true } => {
            Some(Change::RemoveOverride { id: state.evacuation(*evacuation)?.order.clone() })
        }
        Change::Return { region, steps, .. } => {
            let drain = state.drain_of(region, now).ok()?;
            let share = *steps.first()?;
            Some(admission(drain.id.clone(), region, share))
        }
        Change::AdvanceReturn { id } => {
            let it = state.traffic_return(*id)?;
            let share = it.steps.get(it.step + 1).copied().unwrap_or(Share::FULL);
            Some(admission(it.order.clone(), &it.region, share))
        }
        Change::TakeBack { id, .. } => {
            let it = state.traffic_return(*id)?;
            let (id, scope) = (Some(it.order.clone()), Scope::Region(it.region.clone()));
            Some(Change::PutOverride { id, kind: OverrideKind::Drain, scope, end: LONG })
        }
        _ => None,
    }
}

/// For what is only looked at, and lasts longer than the look.
const LONG: End = End::AfterMs(3_600_000);

fn admission(id: Label, region: &Label, share: Share) -> Change {
    Change::PutOverride { id: Some(id), kind: OverrideKind::Admission(share), scope: Scope::Region(region.clone()), end: LONG }
}

/// Whether a change can move clients at once.
const fn moves_clients(change: &Change) -> bool {
    matches!(change, Change::PutOverride { .. } | Change::RemoveOverride { .. } | Change::PutPlan(_))
}

/// The table that this node would answer from under these orders and the one that is given.
fn with_orders(node: &Node, now: Now, entry: &Entry, mut orders: Vec<Override>) -> Option<Arc<Table>> {
    match &entry.change {
        Change::PutOverride { id, kind, scope, end } => {
            let id = id.clone().unwrap_or_else(|| "the-new-order".into());
            orders.retain(|order| order.id != id);
            orders.push(Override {
                id,
                kind: *kind,
                scope: scope.clone(),
                who: entry.by.name.clone(),
                why: entry.reason.clone(),
                at: entry.at,
                until: Some(end.resolve(entry.at)),
            });
        }
        Change::RemoveOverride { id } => orders.retain(|order| order.id != *id),
        _ => {}
    }
    let mut node = node.clone();
    let mut effects = Vec::new();
    node.handle(now, Event::OverridesChanged(orders), &mut effects).ok()?;
    // Nothing is probed: what is not carried out does not happen.
    node.advance(now, 0, &mut effects);
    node.table().cloned()
}

/// The table of another plan, with everything as well as it can be: what is observed belongs to the plan in force.
fn with_plan(before: &Table, plan: &PutPlan, file: &str, allowed: &[IpNet]) -> Option<Arc<Table>> {
    let source = PlanSource { text: plan.text.clone(), zone_files: plan.zones.clone() };
    let world = bare_world(load_plan(file, &source, allowed).ok()?.topology).ok()?;
    let _ = before;
    Some(Arc::new(simulate::all_well(&world)))
}

#[tonic::async_trait]
impl ClusterSource for Authority {
    fn standing(&self) -> Result<Standing, ClusterError> {
        let truth = self.cluster.truth().latest();
        let me = self.cluster.me();
        let now = self.clock.now();
        Ok(Standing {
            node: me.node.to_string(),
            region: me.region.to_string(),
            applied: truth.next.checked_sub(1),
            leader: truth.leader.and_then(|id| self.name_of(id)),
            term: self.cluster.term(),
            age: self.cluster.silence(&truth, now.tick).unwrap_or_default(),
            voters_reachable: self.cluster.voters_reachable(),
            now: now.wall,
            state: truth.state,
        })
    }

    async fn members(&self) -> Result<Vec<Member>, ClusterError> {
        let members = self.cluster.members();
        let truth = self.cluster.truth().latest();
        let clocks = self.cluster.clocks();
        let linked = self.cluster.linked();
        let me = self.cluster.me();
        let own = self.cluster.id();
        let describe = |id: u64, name: String, region: String, address: String, role| {
            let label = Label::new(&name);
            let is_own = id == own;
            Member {
                id: NodeId(id),
                is_leader: truth.leader == Some(id),
                reachable: if is_own {
                    Some(true)
                } else {
                    Some(linked.contains(&label)).filter(|linked| *linked || me.role.votes() && role != MemberRole::Observer)
                },
                last_contact: if is_own { Some(Duration::ZERO) } else { members.silent.get(&id).copied() },
                clock_ahead_ms: clocks.get(&label).copied(),
                matched: members.matched.get(&id).copied(),
                name,
                region,
                address,
                role,
            }
        };
        let of_log = |(id, member): (&u64, &RaftMember), role| {
            describe(*id, member.name.clone(), member.region.clone(), member.address.clone(), role)
        };
        let mut all: BTreeMap<u64, Member> = BTreeMap::new();
        for known in truth.state.nodes() {
            let role = match known.node.role {
                NodeRole::Voter => MemberRole::Voter,
                NodeRole::Witness => MemberRole::Witness,
                NodeRole::Observer => MemberRole::Observer,
            };
            let node = &known.node;
            all.insert(node.id.0, describe(node.id.0, node.name.to_string(), node.region.to_string(), node.address.clone(), role));
        }
        for (id, member) in &members.voters {
            let role = if member.is_witness { MemberRole::Witness } else { MemberRole::Voter };
            all.insert(*id, of_log((id, member), role));
        }
        for (id, member) in &members.learners {
            all.insert(*id, of_log((id, member), MemberRole::Learner));
        }
        Ok(all.into_values().collect())
    }

    async fn advanced(&self, known: Option<u64>) {
        let mut truth = self.cluster.truth();
        // Nobody keeps it any more: the daemon stops, which those who wait hear elsewhere.
        let _ = truth.wait_for(|truth| truth.next.checked_sub(1) != known).await;
    }

    fn local_overrides(&self) -> Vec<Override> {
        self.cluster.local().all(self.clock.now().wall)
    }

    async fn propose(&self, draft: Draft) -> Result<Committed, ClusterError> {
        let at = self.clock.now().wall;
        let (moves, refused) = self.foresee(&draft.entry(at, None)).await;
        let entry = draft.entry(at, moves);
        let judged = |outcome| Committed { index: None, at, outcome, repeated: false };
        let state = self.cluster.truth().latest().state;
        let preview = || state.preview(state.audit().head().index + 1, &entry).map_err(|halt| ClusterError::Halted(halt.to_string()));
        if draft.validate_only || draft.reach == Reach::Local {
            let outcome = match (preview()?, refused) {
                (Outcome::Accepted { .. }, Some(refused)) => refused,
                (outcome, _) => outcome,
            };
            if draft.validate_only || matches!(outcome, Outcome::Rejected(_)) {
                return Ok(judged(outcome));
            }
            return Ok(judged(self.act_locally(&draft, &entry).await?));
        }
        // What the log refuses it refuses on the record; what is observed only the proposer knows.
        if let Some(refused) = refused
            && matches!(preview()?, Outcome::Accepted { .. })
        {
            return Ok(judged(refused));
        }
        let mut entry = entry;
        if let Change::Group { group, step: Step::Decide(decide) } = &mut entry.change {
            self.cluster.ask_before(group, decide, &entry.by.name).await;
        }
        match self.cluster.propose(entry).await {
            Ok(committed) => Ok(Committed { index: Some(committed.index), at, outcome: committed.outcome, repeated: committed.repeated }),
            Err(Unproposed::NoLeader(why)) => Err(ClusterError::NoQuorum(why)),
            Err(Unproposed::Unknown(why)) => Err(ClusterError::Unknown(why)),
            Err(Unproposed::Refused(why)) => Err(ClusterError::Halted(why)),
        }
    }

    async fn change_membership(&self, order: MembershipOrder, asked: Asked) -> Result<MembershipDone, ClusterError> {
        let what = match order {
            MembershipOrder::Transfer(to) => What::Transfer(to),
            MembershipOrder::Add(id) => What::Add(id),
            MembershipOrder::Remove(id) => What::Remove(id),
            MembershipOrder::Replace { old, new } => What::Replace { old, new },
            MembershipOrder::Bootstrap => What::Bootstrap,
            MembershipOrder::ForceQuorum { lost, expected_generation } => What::ForceQuorum { lost, expected_generation },
        };
        let founds = what == What::Bootstrap && !asked.validate_only;
        tracing::warn!(by = %asked.by.name, why = asked.reason, validate_only = asked.validate_only, ?what, "a person orders a change of the membership");
        let order = Order { what, validate_only: asked.validate_only };
        let Ordered { leader, voters, generation } = self.cluster.order(order).await.map_err(ClusterError::Membership)?;
        if founds {
            tokio::spawn(record_founding(self.cluster.clone(), self.clock.clone(), asked));
        }
        Ok(MembershipDone { leader, voters, generation })
    }

    async fn read_plan(&self, plan: PlanText) -> Result<PlanReading, ClusterError> {
        let (allowed, source) = (self.allowed_targets.clone(), PlanSource { text: plan.text, zone_files: plan.zones });
        let read = move || match load_plan(PLAN, &source, &allowed) {
            Ok(loaded) => PlanReading {
                plan: Some(PutPlan {
                    revision: loaded.topology.revision,
                    expected_revision: None,
                    digest: loaded.digest.clone(),
                    outline: Outline::of(&loaded.plan, &loaded.topology),
                    text: source.text.clone(),
                    zones: source.zone_files.clone(),
                }),
                problems: problems(&loaded.warnings),
            },
            Err(WorldError::Plan(found)) => PlanReading { plan: None, problems: problems(&found) },
            Err(error) => {
                let whole = PlanProblem {
                    is_error: true,
                    file: PLAN.to_owned(),
                    line: 0,
                    path: String::new(),
                    message: error.to_string(),
                    fix: String::new(),
                };
                PlanReading { plan: None, problems: vec![whole] }
            }
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| ClusterError::Busy(error.to_string()))
    }

    fn agents(&self) -> Agents {
        self.cluster.agents()
    }

    async fn reached(&self, group: &Label, member: &Label) -> BTreeMap<Label, Duration> {
        self.cluster.reached(group, member).await
    }

    fn teller(&self, group: &Label) -> Option<String> {
        self.cluster.teller(group)
    }

    async fn outlook(&self, group: &Label) -> Option<Outlook> {
        let mut outlook = self.cluster.outlook(group).await?;
        outlook.readiness.findings.extend(self.backups.findings(group, outlook.archived.as_ref()));
        Some(outlook)
    }

    async fn backups(&self) -> Vec<(BackupStanding, Vec<ClassExposure>)> {
        let mut standings = self.backups.standings();
        let mut outlooks = BTreeMap::new();
        for group in standings.iter().flat_map(|standing| standing.class.groups.clone()) {
            if !outlooks.contains_key(&group)
                && let Some(outlook) = self.cluster.outlook(&group).await
            {
                outlooks.insert(group, outlook);
            }
        }
        for standing in standings.iter_mut().filter(|standing| standing.class.is_point_in_time) {
            for group in standing.class.groups.clone() {
                let archived = outlooks.get(&group).and_then(|outlook| outlook.archived.as_ref());
                standing.findings.push(standing.point_in_time(&group, archived));
            }
        }
        let groups = outlooks.into_iter().map(|(group, outlook)| (group, outlook.exposure())).collect();
        let exposed = |standing: BackupStanding| {
            let exposures = standing.exposures(&groups);
            (standing, exposures)
        };
        standings.into_iter().map(exposed).collect()
    }

    fn events(&self) -> Result<Arc<EventLog>, ClusterError> {
        Ok(self.events.clone())
    }
}

/// Puts into the audit chain who had the cluster made, as soon as somebody leads. Where the leader founded the state first, the chain has this as
/// what was asked for and was done already.
async fn record_founding(cluster: Cluster, clock: Arc<Clock>, asked: Asked) {
    let Some(id) = cluster.cluster_id() else { return };
    let entry = |request_id: &str| Entry {
        at: clock.now().wall,
        by: asked.by.clone(),
        request_id: Some(request_id.to_owned()),
        reason: asked.reason.clone(),
        moves: None,
        overrules: Vec::new(),
        change: Change::Found { cluster: Label::new(&id) },
    };
    let request_id = format!("bootstrap-{}", id.rsplit('-').next().unwrap_or_default());
    for _ in 0..RECORDS_TRIED_MAX {
        match cluster.propose(entry(&request_id)).await {
            Ok(_) => return,
            Err(Unproposed::Refused(why)) => {
                tracing::warn!("who had the cluster made is not in the audit chain: {why}");
                return;
            }
            // Each of these took the eight seconds that a command is tried.
            Err(Unproposed::NoLeader(_) | Unproposed::Unknown(_)) => {}
        }
    }
    tracing::warn!(by = %asked.by.name, why = asked.reason, "who had the cluster made is not in the audit chain: nobody led in time");
}

fn problems(found: &crate::config::Problems) -> Vec<PlanProblem> {
    let problem = |problem: &portolan_core::document::Problem| PlanProblem {
        is_error: problem.severity == ProblemSeverity::Error,
        file: PLAN.to_owned(),
        line: u32::try_from(problem.line).unwrap_or(u32::MAX),
        path: problem.path.clone(),
        message: problem.message.clone(),
        fix: problem.fix.clone(),
    };
    found.list.iter().map(problem).collect()
}
