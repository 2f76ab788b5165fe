//! Looks at the database again and again, beside everything else, so that a look that hangs delays nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portolan_core::failover::agent::{Database, Facts};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::debug;

use super::{
    engine::{Engine, Vessel},
    supervisor::{Link, SinceBoot, State, Verb},
};
use crate::latest::LatestSeen;

/// Between two looks while nothing happens.
const PAUSE: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    /// Of the moment at which it began: what was done since is not in it.
    pub(super) turn: u64,
    /// The supervisor's state; `None`: it does not answer.
    pub(super) supervisor: Option<State>,
    /// The database's; `None`: nobody knows.
    pub(super) facts: Option<Facts>,
}

/// Looks until nobody listens. `turns`: grows with everything that is done; a change asks for a look at once.
pub(super) async fn run(
    engine: Arc<dyn Engine>,
    socket: PathBuf,
    clock: SinceBoot,
    mut turns: watch::Receiver<u64>,
    looks: mpsc::Sender<Look>,
) {
    let mut link = None;
    loop {
        let turn = turns.latest_seen();
        let supervisor = if engine.is_managed() { None } else { ask(&mut link, &socket).await };
        let vessel = vessel(supervisor.as_ref());
        let seen_at = clock();
        let facts = engine.look(vessel).await.inspect_err(|error| debug!("no look at the database: {error}"));
        let facts = facts.ok().map(|facts| Facts { seen_at, ..facts });
        let is_signed = facts.as_ref().is_some_and(|facts| facts.database == Database::Writes && facts.opening.is_some());
        if looks.send(Look { turn, supervisor, facts }).await.is_err() {
            return;
        }
        if is_signed && let Err(error) = engine.beat().await {
            debug!("no heartbeat: {error}");
        }
        if let Ok(Err(_)) = timeout(PAUSE, turns.changed()).await {
            return;
        }
    }
}

/// The supervisor's state, over a connection that is kept.
pub(super) async fn ask(link: &mut Option<Link>, socket: &Path) -> Option<State> {
    if link.is_none() {
        *link = Link::connect(socket).await.ok();
    }
    let state = link.as_mut()?.ask(Verb::Status).await.ok();
    if state.is_none() {
        *link = None;
    }
    state
}

pub(super) fn vessel(state: Option<&State>) -> Vessel {
    state.map(|state| (state.incarnation, state.process.is_some()))
}
