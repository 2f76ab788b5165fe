//! A leader without a network: the real replicated state and the real conductor, one entry after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use portolan::api::{
    event_log::EventLog,
    source::cluster::{
        Agents, Asked, ClusterError, ClusterSource, Committed, Draft, Member as ClusterMember, MembershipDone, MembershipOrder,
        PlanReading, PlanText, Standing,
    },
};
use portolan_core::{
    cluster::{Actor, Change, Entry, Node, NodeId, NodeRole, Outcome, Outline, PutPlan, Role, State},
    failover::{
        conduct::{Action, Conductor, Figures, Patience},
        group::Group,
        lease::{Refused, Verdict},
        order::{FromAgent, Isolate, Status, ToAgent, Tried},
        step::Step,
        token::Token,
    },
    health::overlay::Override,
    model::{
        group::{Durability, Member, Mode, OnControlLoss, Policy},
        ids::Label,
        time::Timestamp,
    },
    recovery::exposure::Bracket,
};
use tokio::sync::{mpsc, watch};

use super::postgres::clock;

/// The group.
pub(super) fn group_name() -> Label {
    Label::new("orders")
}

/// What is known of it, for tests.
#[derive(Clone)]
pub(super) struct Leader {
    shared: Arc<Mutex<Shared>>,
    heard: mpsc::Sender<(Label, FromAgent)>,
    /// The last entry.
    applied: watch::Sender<u64>,
}

struct Shared {
    state: State,
    index: u64,
    agents: BTreeMap<Label, mpsc::Sender<ToAgent>>,
    cut: BTreeSet<Label>,
    statuses: BTreeMap<Label, Status>,
    /// How far each is with a copy, and for which drill.
    tried: BTreeMap<Label, (u64, Tried)>,
    loss: Bracket,
    told: Vec<String>,
}

struct Known(Bracket);

impl Figures for Known {
    fn loss(&self, _: &Label, _: u64) -> Bracket {
        self.0
    }

    fn verified(&self, _: &Label, _: Token) -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn is_routed(&self, _: &Label, _: Token) -> bool {
        true
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(regions: &[&str], durability: Durability) -> Policy {
    let member = Member { is_candidate: true, priority: 100, has_agent: true };
    Policy {
        primary: Label::new("us"),
        members: regions.iter().map(|region| (Label::new(region), member)).collect(),
        mode: Some(Mode::Act),
        is_automatic: true,
        priority: 100,
        durability,
        on_control_loss: OnControlLoss::Fence,
        may_wait: true,
        rungs: Vec::new(),
        probe_interval: seconds(1),
        failures: 3,
        failure_window: seconds(300),
        ok_run: 10,
        confirm_hold: seconds(0),
        local_recovery: seconds(0),
        cool_down: seconds(0),
        observe: seconds(0),
        ttl: seconds(6),
        margin: seconds(2),
        names_ttl: Duration::ZERO,
        rpo_target: Some(seconds(3600)),
        rto_target: Some(seconds(1800)),
        time_scale: portolan_core::model::units::Share::FULL,
        reclone: portolan_core::model::group::Reclone::WhenTold,
        restores: false,
        opens_copies: true,
    }
}

fn now() -> Timestamp {
    Timestamp(1_800_000_000_000 + i64::try_from(clock().0 / 1000).unwrap())
}

fn entry(role: Role, change: Change) -> Entry {
    Entry {
        at: now(),
        by: Actor { name: "test".to_owned(), role },
        request_id: None,
        reason: "test".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

impl Leader {
    pub(super) fn start(regions: &[&str], durability: Durability) -> Self {
        let (heard, inbox) = mpsc::channel(256);
        let shared = Shared {
            state: State::default(),
            index: 0,
            agents: BTreeMap::new(),
            cut: BTreeSet::new(),
            statuses: BTreeMap::new(),
            tried: BTreeMap::new(),
            loss: Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) },
            told: Vec::new(),
        };
        let leader = Self { shared: Arc::new(Mutex::new(shared)), heard, applied: watch::Sender::new(0) };
        leader.append(entry(Role::System, Change::Found { cluster: Label::new("test") }));
        for (id, region) in regions.iter().enumerate() {
            let node = Node {
                id: NodeId(id as u64 + 1),
                name: Label::new(region),
                region: Label::new(region),
                role: NodeRole::Voter,
                version: "0".to_owned(),
                feature_level: 1,
                plan_revision: None,
                address: "192.0.2.1:1".to_owned(),
            };
            leader.append(entry(Role::System, Change::RecordNode(node)));
        }
        let outline = Outline {
            regions: regions.iter().map(|region| Label::new(region)).collect(),
            groups: [(group_name(), policy(regions, durability))].into_iter().collect(),
            ..Outline::default()
        };
        let plan = PutPlan {
            revision: 1,
            expected_revision: None,
            digest: "0".repeat(64),
            text: "revision: 1\n".to_owned(),
            zones: BTreeMap::new(),
            outline,
        };
        leader.append(entry(Role::System, Change::PutPlan(Box::new(plan))));
        tokio::spawn(leader.clone().lead(inbox));
        leader
    }

    /// An agent, from its own ends of its queues.
    pub(super) fn attach(&self, region: &Label, (orders, mut said): (mpsc::Sender<ToAgent>, mpsc::Receiver<FromAgent>)) {
        self.shared.lock().unwrap().agents.insert(region.clone(), orders);
        let (heard, region) = (self.heard.clone(), region.clone());
        tokio::spawn(async move {
            while let Some(what) = said.recv().await {
                if heard.send((region.clone(), what)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Nothing gets through to this region, nor from it.
    pub(super) fn cut(&self, region: &Label, is_cut: bool) {
        let mut shared = self.shared.lock().unwrap();
        if is_cut {
            shared.cut.insert(region.clone())
        } else {
            shared.cut.remove(region)
        };
    }

    pub(super) fn group(&self) -> Group {
        self.shared.lock().unwrap().state.group(&group_name()).cloned().unwrap_or_default()
    }

    pub(super) fn status(&self, region: &Label) -> Option<Status> {
        self.shared.lock().unwrap().statuses.get(region).cloned()
    }

    /// Everything that was committed about the group, one line each.
    pub(super) fn told(&self) -> Vec<String> {
        self.shared.lock().unwrap().told.clone()
    }

    /// Asks an agent for a copy that is opened apart; what it said of it last.
    pub(super) fn isolate(&self, region: &Label, wanted: &Isolate) -> Option<Tried> {
        self.send(region, ToAgent::Isolate(wanted.clone()));
        let (drill, tried) = self.shared.lock().unwrap().tried.get(region).cloned()?;
        (drill == wanted.drill).then_some(tried)
    }

    /// A person's step.
    pub(super) fn step(&self, step: Step) -> Outcome {
        self.append(entry(Role::Approver, Change::Group { group: group_name(), step }))
    }

    /// How many calls wait for the next entry.
    pub(super) fn watchers(&self) -> usize {
        self.applied.receiver_count()
    }

    /// What the group loses by whoever is chosen, as this leader believes.
    pub(super) fn would_lose(&self, loss: Bracket) {
        self.shared.lock().unwrap().loss = loss;
    }

    fn append(&self, entry: Entry) -> Outcome {
        let mut shared = self.shared.lock().unwrap();
        shared.index += 1;
        let index = shared.index;
        let outcome = shared.state.apply(index, &entry).unwrap().outcome;
        if let Change::Group { step, .. } = &entry.change {
            let line = match &outcome {
                Outcome::Accepted { .. } => step.to_string(),
                Outcome::Rejected(refusal) => format!("{step}: REFUSED, {refusal}"),
            };
            shared.told.push(line);
        }
        self.applied.send_replace(index);
        outcome
    }

    async fn lead(self, mut inbox: mpsc::Receiver<(Label, FromAgent)>) {
        let patience = Patience { again: Duration::from_millis(500), silence: seconds(4), seal: seconds(5), ..Patience::default() };
        let mut conductor = Conductor::new(patience, clock());
        loop {
            if let Ok(Some((region, what))) = tokio::time::timeout(Duration::from_millis(50), inbox.recv()).await
                && !self.shared.lock().unwrap().cut.contains(&region)
            {
                self.hear(&mut conductor, &region, what);
            }
            let (group, policy, known) = {
                let shared = self.shared.lock().unwrap();
                let Some(plan) = shared.state.plan() else { continue };
                let group = shared.state.group(&group_name()).cloned().unwrap_or_default();
                (group, plan.plan.outline.groups[&group_name()].clone(), Known(shared.loss))
            };
            for action in conductor.conduct(&group_name(), &group, &policy, &known, clock()) {
                match action {
                    Action::Propose(step) => {
                        let outcome = self.append(entry(Role::System, Change::Group { group: group_name(), step: step.clone() }));
                        if matches!(outcome, Outcome::Rejected(_)) {
                            conductor.refused(&group_name(), &step, clock());
                        }
                    }
                    Action::Send(to, order) => self.send(&to, ToAgent::Order(order)),
                }
            }
        }
    }

    fn hear(&self, conductor: &mut Conductor, region: &Label, what: FromAgent) {
        match what {
            FromAgent::Answer(answer) => conductor.answered(&group_name(), region, answer, clock()),
            FromAgent::Status(status) => {
                self.shared.lock().unwrap().statuses.insert(region.clone(), (*status).clone());
                conductor.told(&group_name(), region, *status, clock());
            }
            FromAgent::Renewal(request) => {
                let rules = self.group().rules();
                let reply = rules.reply(&request);
                match conductor.asked(&group_name(), request, &rules, clock()) {
                    Err(Refused::Outranked(_)) => self.send(region, ToAgent::Reply(reply)),
                    Err(_) => {}
                    Ok(()) => {
                        let round = conductor.round_began();
                        let rules: Verdict = self.group().rules();
                        for (_, _, reply) in conductor.round_ended(round, |_| Some(&rules), clock()) {
                            self.send(region, ToAgent::Reply(reply));
                        }
                    }
                }
            }
            FromAgent::Isolated { drill, tried } => {
                self.shared.lock().unwrap().tried.insert(region.clone(), (drill, tried));
            }
            FromAgent::AskPeers { .. } | FromAgent::Acknowledges { .. } => {}
        }
    }

    fn send(&self, to: &Label, what: ToAgent) {
        let shared = self.shared.lock().unwrap();
        if let Some(agent) = shared.agents.get(to).filter(|_| !shared.cut.contains(to)) {
            // Whoever does not take it is gone, or gets it again.
            let _ = agent.try_send(what);
        }
    }
}

/// The API over it: a node whose cluster has one log, and no members that could be changed.
#[tonic::async_trait]
impl ClusterSource for Leader {
    fn standing(&self) -> Result<Standing, ClusterError> {
        let shared = self.shared.lock().unwrap();
        Ok(Standing {
            node: "leader".to_owned(),
            region: "ap".to_owned(),
            state: Arc::new(shared.state.clone()),
            applied: Some(shared.index),
            leader: Some("leader".to_owned()),
            term: 1,
            age: Duration::ZERO,
            voters_reachable: Some(3),
            now: now(),
        })
    }

    async fn members(&self) -> Result<Vec<ClusterMember>, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    fn local_overrides(&self) -> Vec<Override> {
        Vec::new()
    }

    async fn propose(&self, draft: Draft) -> Result<Committed, ClusterError> {
        let at = now();
        let outcome = self.append(draft.entry(at, None));
        Ok(Committed { index: Some(*self.applied.borrow()), at, outcome, repeated: false })
    }

    async fn change_membership(&self, _: MembershipOrder, _: Asked) -> Result<MembershipDone, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    async fn read_plan(&self, _: PlanText) -> Result<PlanReading, ClusterError> {
        Err(ClusterError::NoCluster)
    }

    fn agents(&self) -> Agents {
        let shared = self.shared.lock().unwrap();
        let told = |(region, status): (&Label, &Status)| ((group_name(), region.clone()), (Duration::ZERO, status.clone()));
        shared.statuses.iter().map(told).collect()
    }

    async fn advanced(&self, known: Option<u64>) {
        self.applied.subscribe().wait_for(|index| Some(*index) != known).await.unwrap();
    }

    fn events(&self) -> Result<Arc<EventLog>, ClusterError> {
        Err(ClusterError::NoCluster)
    }
}
