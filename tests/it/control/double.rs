//! A cluster of one log: what is proposed is applied to the real replicated state, at once and in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use portolan::{
    api::{
        event_log::{EventLog, News},
        source::cluster::{
            Agents, Asked, ClusterError, ClusterSource, Committed, Draft, Figures, Member, MemberRole, MembershipDone, MembershipOrder,
            PlanProblem, PlanReading, PlanText, Reach, Standing,
        },
    },
    config::plan,
};
use portolan_core::{
    cluster::{Actor, Change, Entry, Node, NodeId, NodeRole, Outcome, Outline, PutPlan, Role, State},
    document::Severity as ProblemSeverity,
    health::overlay::Override,
    model::{ids::Label, time::Timestamp, units::Share},
    node::report::Severity,
    recovery::{backups, class_exposure::ClassExposure, outlook::Outlook},
};

use tokio::sync::watch;

use crate::canned::NOW;

/// A plan of three regions with one service, two of which must be left.
pub(crate) const PLAN: &str = "\
version: 1
revision: 1
name: shop
regions:
  us-east-1: { latitude: 38.9, longitude: -77.4, continent: NA, country: US }
  eu-west-1: { latitude: 53.3, longitude: -6.3, continent: EU, country: IE }
  ap-southeast-1: { latitude: 1.35, longitude: 103.8, continent: AS, country: SG }
traffic_routing:
  us-east-1: { weight: 60, priority: 1, health_checks: { type: none } }
  eu-west-1: { weight: 30, priority: 2, health_checks: { type: none } }
  ap-southeast-1: { weight: 10, priority: 3, health_checks: { type: none } }
zones:
  gslb.example.com:
    nameservers: [ns.gslb.example.com]
    contact: hostmaster@example.com
    records:
      - { name: ns, type: A, values: [127.0.0.1] }
services:
  api:
    hostnames: [api.gslb.example.com]
    steering: geo
    min_healthy_regions: 2
    endpoints:
      us-east-1: [{ address: 192.0.2.10, port: 80 }]
      eu-west-1: [{ address: 192.0.2.20, port: 80 }]
      ap-southeast-1: [{ address: 192.0.2.30, port: 80 }]
";

pub(crate) struct Ideal {
    state: Mutex<(State, u64)>,
    applied: watch::Sender<u64>,
    local: Mutex<Vec<Override>>,
    now: Mutex<Timestamp>,
    log: Arc<EventLog>,
    /// What goes wrong next, and whether the entry is applied all the same.
    pub(crate) faults: Mutex<Vec<(ClusterError, bool)>>,
    /// Orders for the membership, as they arrived.
    pub(crate) orders: Mutex<Vec<(MembershipOrder, Asked)>>,
    pub(crate) drafts: Mutex<Vec<Draft>>,
    /// What agents said.
    pub(crate) agents: Mutex<Agents>,
    /// What is measured.
    pub(crate) figures: Mutex<Figures>,
    /// How long ago each vantage region got into the primary last.
    pub(crate) reached: Mutex<BTreeMap<Label, Duration>>,
    pub(crate) outlook: Mutex<Option<Outlook>>,
    pub(crate) backups: Mutex<Vec<backups::Standing>>,
    /// Whether plans are read, or wait.
    pub(crate) reads_plans: watch::Sender<bool>,
}

fn system() -> Actor {
    Actor { name: "node use1-a".to_owned(), role: Role::System }
}

impl Ideal {
    /// A cluster with a plan and three voters.
    pub(crate) fn founded() -> Arc<Self> {
        let ideal = Self {
            state: Mutex::new((State::default(), 0)),
            applied: watch::Sender::new(0),
            local: Mutex::default(),
            now: Mutex::new(NOW),
            log: Arc::new(EventLog::new("use1-a", 1)),
            faults: Mutex::default(),
            orders: Mutex::default(),
            drafts: Mutex::default(),
            agents: Mutex::default(),
            figures: Mutex::default(),
            reached: Mutex::default(),
            outlook: Mutex::default(),
            backups: Mutex::default(),
            reads_plans: watch::Sender::new(true),
        };
        ideal.commit(Change::Found { cluster: Label::new("shop-1") });
        for (id, name, region) in [(1, "use1-a", "us-east-1"), (2, "euw1-a", "eu-west-1"), (3, "aps1-a", "ap-southeast-1")] {
            ideal.commit(Change::RecordNode(Node {
                id: NodeId(id),
                name: Label::new(name),
                region: Label::new(region),
                role: NodeRole::Voter,
                version: "0.1.0".to_owned(),
                feature_level: 1,
                plan_revision: None,
                address: format!("{name}.example.net:8444"),
            }));
        }
        ideal.put(PLAN);
        Arc::new(ideal)
    }

    /// Puts a plan in force.
    pub(crate) fn put(&self, text: &str) {
        let put = reading(&PlanText { text: text.to_owned(), zones: BTreeMap::new() }).plan.expect("the plan is sound");
        self.commit(Change::PutPlan(Box::new(put)));
    }

    /// Commits in the cluster's own name.
    #[track_caller]
    pub(crate) fn commit(&self, change: Change) {
        let entry =
            Entry { at: self.now(), by: system(), request_id: None, reason: "drill".to_owned(), moves: None, overrules: vec![], change };
        let (outcome, _, _) = self.apply(&entry);
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    }

    fn apply(&self, entry: &Entry) -> (Outcome, u64, bool) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        let index = state.1;
        let applied = state.0.apply(index, entry).unwrap();
        self.applied.send_replace(index);
        if let Some(link) = applied.audit {
            self.tell(&format!("{}: {}", link.what, link.outcome));
        }
        (applied.outcome, index, applied.repeated)
    }

    pub(crate) fn tell(&self, text: &str) {
        let (kind, object) = ("entry", String::new());
        self.log.push(News { at: self.now(), kind, object, severity: Severity::Info, text: text.to_owned(), index: None });
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap().0.clone()
    }

    /// How many calls wait for the next entry.
    pub(crate) fn watchers(&self) -> usize {
        self.applied.receiver_count()
    }

    /// Lets the clock go on.
    pub(crate) fn pass(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = *now + time;
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
}

/// What the daemon does with a plan, by the same reader.
fn reading(text: &PlanText) -> PlanReading {
    let problems = |problems: &portolan::config::Problems| {
        let problem = |it: &portolan_core::document::Problem| PlanProblem {
            is_error: it.severity == ProblemSeverity::Error,
            file: "plan".to_owned(),
            line: u32::try_from(it.line).unwrap(),
            path: it.path.clone(),
            message: it.message.clone(),
            fix: it.fix.clone(),
        };
        problems.list.iter().map(problem).collect::<Vec<_>>()
    };
    match plan::load(&text.text, "plan", &plan::Options::default()) {
        Err(found) => PlanReading { plan: None, problems: problems(&found) },
        Ok(loaded) => {
            let put = PutPlan {
                revision: loaded.topology.revision,
                expected_revision: None,
                digest: loaded.digest.clone(),
                text: text.text.clone(),
                zones: text.zones.clone(),
                outline: Outline::of(&loaded.plan, &loaded.topology),
            };
            PlanReading { plan: Some(put), problems: problems(&loaded.warnings) }
        }
    }
}

#[tonic::async_trait]
impl ClusterSource for Ideal {
    fn standing(&self) -> Result<Standing, ClusterError> {
        let (state, index) = self.state.lock().unwrap().clone();
        Ok(Standing {
            node: "use1-a".to_owned(),
            region: "us-east-1".to_owned(),
            state: Arc::new(state),
            applied: Some(index),
            leader: Some("euw1-a".to_owned()),
            term: 4,
            age: Duration::from_millis(120),
            voters_reachable: Some(3),
            now: self.now(),
        })
    }

    async fn members(&self) -> Result<Vec<Member>, ClusterError> {
        let state = self.state();
        let member = |it: &portolan_core::cluster::Registered| Member {
            id: it.node.id,
            name: it.node.name.to_string(),
            region: it.node.region.to_string(),
            address: it.node.address.clone(),
            role: if it.node.role.votes() { MemberRole::Voter } else { MemberRole::Observer },
            is_leader: it.node.name.as_str() == "euw1-a",
            reachable: Some(it.node.id != NodeId(3)),
            last_contact: Some(Duration::from_millis(80)),
            clock_ahead_ms: Some(-1500),
            matched: None,
        };
        Ok(state.nodes().map(member).collect())
    }

    async fn outlook(&self, _: &Label) -> Option<Outlook> {
        self.outlook.lock().unwrap().clone()
    }

    async fn backups(&self) -> Vec<(backups::Standing, Vec<ClassExposure>)> {
        let outlook = self.outlook.lock().unwrap().as_ref().map(Outlook::exposure);
        let groups = outlook.map(|exposure| ("orders".into(), exposure)).into_iter().collect();
        let standings = self.backups.lock().unwrap().clone();
        standings.into_iter().map(|standing| (standing.clone(), standing.exposures(&groups))).collect()
    }

    async fn figures(&self, _: &Label) -> Figures {
        *self.figures.lock().unwrap()
    }

    async fn reached(&self, _: &Label, _: &Label) -> BTreeMap<Label, Duration> {
        self.reached.lock().unwrap().clone()
    }

    async fn advanced(&self, known: Option<u64>) {
        self.applied.subscribe().wait_for(|index| Some(*index) != known).await.unwrap();
    }

    fn agents(&self) -> Agents {
        self.agents.lock().unwrap().clone()
    }

    fn local_overrides(&self) -> Vec<Override> {
        self.local.lock().unwrap().clone()
    }

    async fn propose(&self, draft: Draft) -> Result<Committed, ClusterError> {
        self.drafts.lock().unwrap().push(draft.clone());
        let at = self.now();
        let entry = draft.entry(at, Some(Share::percent(10)));
        let fault = self.faults.lock().unwrap().pop();
        if let Some((error, is_applied)) = fault {
            if is_applied {
                self.apply(&entry);
            }
            return Err(error);
        }
        let unwritten = |outcome| Committed { index: None, at, outcome, repeated: false };
        let (state, index) = self.state.lock().unwrap().clone();
        let judged = state.preview(index + 1, &entry);
        if draft.validate_only {
            return Ok(unwritten(judged.unwrap()));
        }
        if draft.reach == Reach::Local {
            let mut local = self.local.lock().unwrap();
            let outcome = match draft.change {
                Change::RemoveOverride { id } => {
                    local.retain(|order| order.id != id);
                    Outcome::Accepted { object: None }
                }
                Change::PutOverride { kind, scope, end, .. } => match judged.unwrap() {
                    Outcome::Accepted { .. } => {
                        let id = Label::new(&format!("local-{}", local.len() + 1));
                        let (who, why) = (entry.by.name, entry.reason);
                        local.push(Override { id: id.clone(), kind, scope, who, why, at, until: Some(end.resolve(at)) });
                        Outcome::Accepted { object: Some(id) }
                    }
                    refused @ Outcome::Rejected(_) => refused,
                },
                other => panic!("no local order: {other}"),
            };
            return Ok(unwritten(outcome));
        }
        let (outcome, index, repeated) = self.apply(&entry);
        Ok(Committed { index: Some(index), at, outcome, repeated })
    }

    async fn change_membership(&self, order: MembershipOrder, asked: Asked) -> Result<MembershipDone, ClusterError> {
        self.orders.lock().unwrap().push((order.clone(), asked));
        if order == MembershipOrder::Remove(NodeId(2)) {
            return Err(ClusterError::Membership("euw1-a leads: hand leadership on first, portolan peers transfer".to_owned()));
        }
        let voters = ["use1-a", "euw1-a", "aps1-a"].map(str::to_owned).to_vec();
        let generation = self.state().generation() + u64::from(matches!(order, MembershipOrder::ForceQuorum { .. }));
        Ok(MembershipDone { leader: Some("use1-a".to_owned()), voters, generation })
    }

    async fn read_plan(&self, plan: PlanText) -> Result<PlanReading, ClusterError> {
        self.reads_plans.subscribe().wait_for(|reads| *reads).await.unwrap();
        Ok(reading(&plan))
    }

    fn events(&self) -> Result<Arc<EventLog>, ClusterError> {
        Ok(Arc::clone(&self.log))
    }
}
