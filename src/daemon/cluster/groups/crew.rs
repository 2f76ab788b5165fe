//! The agents that are attached to this node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use portolan_core::{
    document::did_you_mean,
    failover::order::{Status, ToAgent, Tried},
    model::{ids::Label, time::Tick},
};
use tokio::sync::mpsc;

use super::roster::{Place, Roster};
use crate::{
    agent::{Berth, Crew, ForAgent, Said},
    daemon::cluster::Shared,
    latest::Latest,
};

/// What waits for one agent: orders and replies of a few seconds. Full: it is dropped and said again.
const OUTBOX: usize = 64;

/// Who is attached, and who may be. Weak, because the node holds the listener that holds this.
#[derive(Debug)]
pub(in crate::daemon::cluster) struct DaemonCrew {
    shared: OnceLock<Weak<Shared>>,
    said: mpsc::Sender<Said>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    roster: Arc<Roster>,
    attached: BTreeMap<Label, mpsc::Sender<ForAgent>>,
    /// What each said of itself last, by group and region, and when.
    statuses: BTreeMap<(Label, Label), (Tick, Status)>,
    /// How far each was with a copy for a drill, when it told last.
    tried: BTreeMap<(Label, Label), (u64, Tried)>,
}

impl DaemonCrew {
    /// `said`: takes what agents say.
    pub(in crate::daemon::cluster) fn new(said: mpsc::Sender<Said>) -> Self {
        Self { shared: OnceLock::new(), said, inner: Mutex::default() }
    }

    pub(in crate::daemon::cluster) fn serve(&self, shared: &Arc<Shared>) {
        // Only ever called once.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.inner().roster)
    }

    /// Another plan is in force: agents hear what is new of it, and those that it does not know are let go.
    pub(super) fn take(&self, roster: Roster, cluster: &str) {
        let mut inner = self.inner();
        let before = std::mem::replace(&mut inner.roster, Arc::new(roster));
        let now = Arc::clone(&inner.roster);
        inner.attached.retain(|agent, outbox| {
            let Some(place) = now.place(agent) else { return false };
            // Full: the line is cut, and the agent hears it when it is attached anew.
            before.place(agent) == Some(place) || outbox.try_send(ForAgent::Terms(place.terms(cluster))).is_ok()
        });
        inner.statuses.retain(|(group, region), _| now.agent(group, region).is_some());
        inner.tried.retain(|(group, region), _| now.agent(group, region).is_some());
    }

    /// An agent told of itself.
    pub(super) fn told(&self, group: &Label, region: &Label, status: Status, now: Tick) {
        self.inner().statuses.insert((group.clone(), region.clone()), (now, status));
    }

    /// What agents told last, and how long ago.
    pub(in crate::daemon::cluster) fn statuses(&self, now: Tick) -> BTreeMap<(Label, Label), (Duration, Status)> {
        self.inner().statuses.iter().map(|(whose, (at, status))| (whose.clone(), (now.since(*at), status.clone()))).collect()
    }

    /// Whether an agent opens copies apart, as it told of itself last.
    pub(super) fn opens_copies(&self, group: &Label, region: &Label) -> bool {
        self.inner().statuses.get(&(group.clone(), region.clone())).is_some_and(|(_, status)| status.opens_copies)
    }

    /// An agent told how far it is with a copy.
    pub(super) fn was_tried(&self, group: &Label, region: &Label, drill: u64, tried: Tried) {
        self.inner().tried.insert((group.clone(), region.clone()), (drill, tried));
    }

    /// How far an agent is with a copy for this drill, if it has told since it was asked last.
    pub(super) fn tried(&self, group: &Label, region: &Label, drill: u64) -> Option<Tried> {
        let told = self.inner().tried.remove(&(group.clone(), region.clone()))?;
        (told.0 == drill).then_some(told.1)
    }

    /// Says something to the agent of a member; `false`: it is not attached here, or does not take it.
    pub(super) fn say(&self, group: &Label, region: &Label, what: &ToAgent) -> bool {
        let inner = self.inner();
        let outbox = inner.roster.agent(group, region).and_then(|agent| inner.attached.get(agent));
        let Some((outbox, octets)) = outbox.zip(serde_json::to_vec(what).ok()) else { return false };
        outbox.try_send(ForAgent::Said(Bytes::from(octets))).is_ok()
    }

    fn refusal(&self, agent: &Label, roster: &Roster) -> String {
        let hint = did_you_mean(agent.as_str(), roster.names().map(Label::as_str));
        let hint = if hint.is_empty() { "write `agent` at its member in data_groups".to_owned() } else { hint };
        format!("the plan has no member with agent `{agent}`; {hint}")
    }
}

impl Crew for DaemonCrew {
    fn attach(&self, agent: &Label, cluster: Option<&str>) -> Result<Berth, String> {
        let shared = self.shared.get().and_then(Weak::upgrade).ok_or("this node is starting or stopping")?;
        let ours = shared.identity.latest().cluster.ok_or("this node belongs to no cluster yet")?;
        if let Some(theirs) = cluster.filter(|theirs| *theirs != ours) {
            return Err(format!(
                "agent `{agent}` belongs to cluster `{theirs}`, and this node to `{ours}`; check its `voters`, or empty its data_dir if its \
                 database moved"
            ));
        }
        let roster = self.roster();
        let place: &Place = roster.place(agent).ok_or_else(|| self.refusal(agent, &roster))?;
        let (send, outbox) = mpsc::channel(OUTBOX);
        // There is room: the queue is new.
        let _ = send.try_send(ForAgent::Terms(place.terms(&ours)));
        self.inner().attached.insert(agent.clone(), send);
        tracing::info!(%agent, group = %place.group, region = %place.region, "an agent is attached");
        Ok(Berth { agent: agent.clone(), said: self.said.clone(), outbox })
    }

    fn tick(&self) -> Tick {
        self.shared.get().and_then(Weak::upgrade).map_or(Tick(0), |shared| shared.clock.tick())
    }
}
