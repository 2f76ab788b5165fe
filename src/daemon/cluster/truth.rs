//! The replicated state as this node has it: from its own log where it is a member, else from a voter that it follows.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::{FEATURE_LEVEL, State, audit::AuditEntry},
    model::{ids::Label, time::Tick},
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Shared, birth};
use crate::mesh::{Address, Followed};

/// What a voter sends that waits to be applied.
const FOLLOW_QUEUE: usize = 16;
/// Between looks whether the leader still leads.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A member without a leader asks others this often whether it still is one.
const DOUBT_EVERY: Duration = Duration::from_secs(5);
/// Between two voters that are tried.
const NEXT_VOTER: Duration = Duration::from_millis(300);

/// From where the state comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Via {
    /// Nothing is known yet.
    Nobody,
    /// This node's own log.
    Member,
    /// The voter that it follows.
    Voter(Label),
}

/// What is agreed, as this node knows.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Truth {
    /// The state.
    pub(in crate::daemon) state: Arc<State>,
    /// The next entry; 0: nothing was applied yet.
    pub(in crate::daemon) next: u64,
    /// Links of the audit chain since the value before.
    pub(in crate::daemon) news: Arc<[AuditEntry]>,
    /// Who leads; `None`: nobody, as far as known here.
    pub(in crate::daemon) leader: Option<u64>,
    /// From where it comes.
    pub(in crate::daemon) via: Via,
    /// When somebody with a leader last spoke; zero: never.
    pub(in crate::daemon) heard: Tick,
}

impl Truth {
    pub(super) fn nothing() -> Self {
        Self {
            state: Arc::new(State::supporting(FEATURE_LEVEL)),
            next: 0,
            news: Arc::new([]),
            leader: None,
            via: Via::Nobody,
            heard: Tick(0),
        }
    }
}

/// Keeps the state up to date, whatever this node is at the time.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut was_removed = false;
    loop {
        if shared.is_member() && !was_removed {
            was_removed = as_member(&shared).await;
        } else {
            was_removed &= as_follower(&shared).await;
        }
    }
}

/// Until it is no member any more; `true`: others say so, and its own log does not know yet.
async fn as_member(shared: &Arc<Shared>) -> bool {
    let (mut standing, mut changes) = (shared.consensus().standing(), shared.consensus().changes());
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut doubted = shared.clock.tick();
    let mut seen: Option<u64> = None;
    let mut restarted = shared.restarted.subscribe();
    let at = *restarted.borrow_and_update();
    loop {
        let now = standing.borrow_and_update().clone();
        let leader = shared.leads();
        let is_news = now.applied != seen || seen.is_none();
        seen = now.applied;
        shared.truth.send_if_modified(|truth| {
            let is_other = is_news || truth.leader != leader || truth.via != Via::Member;
            if leader.is_some() {
                truth.heard = shared.clock.tick();
            }
            if is_other {
                truth.news = if is_news { now.news.clone() } else { Arc::new([]) };
                truth.next = now.applied.map_or(0, |applied| applied + 1);
                truth.state = now.state.clone();
                (truth.leader, truth.via) = (leader, Via::Member);
            }
            is_other
        });
        let went_on = tokio::select! {
            changed = standing.changed() => changed.is_ok(),
            changed = changes.changed() => changed.is_ok(),
            _ = looks.tick() => {
                if leader.is_none() && shared.clock.tick().since(doubted) > DOUBT_EVERY {
                    if is_removed(shared).await {
                        info!("this node is no member any more; it follows as an observer");
                        return true;
                    }
                    doubted = shared.clock.tick();
                }
                true
            }
        };
        if !shared.is_member() {
            return false;
        }
        if !went_on {
            // The consensus ended: a person made this node go on alone, or it cannot read what others agreed on, or its disk failed.
            if *restarted.borrow_and_update() == at {
                warn!("this node takes no part in the consensus; it answers on from what it knows");
                let _ = restarted.changed().await;
            }
            return false;
        }
    }
}

/// Whether somebody who knows the leader does not count this node among the members.
async fn is_removed(shared: &Arc<Shared>) -> bool {
    let id = shared.consensus().id();
    let greetings = birth::greet_all(shared).await;
    let knowing = greetings.values().filter_map(|it| it.as_ref().ok()).filter(|it| it.leader.is_some() && !it.members.is_empty());
    let cluster = shared.identity.borrow().cluster.clone();
    knowing.filter(|it| it.passport.cluster == cluster).any(|it| !it.members.contains(&id))
}

/// Follows one voter until the stream ends or this node becomes a member; `false`: it did.
async fn as_follower(shared: &Arc<Shared>) -> bool {
    let mut changes = shared.consensus().changes();
    if shared.identity.borrow().cluster.is_none() {
        let mut identity = shared.identity.subscribe();
        tokio::select! {
            _ = identity.changed() => {}
            _ = changes.changed() => {}
        }
        return true;
    }
    let Some((mesh, to)) = shared.mesh.as_ref().zip(super::attach::choice(shared)) else {
        tokio::select! {
            () = tokio::time::sleep(NEXT_VOTER) => {}
            _ = changes.changed() => {}
        }
        return true;
    };
    let (told, mut queue) = mpsc::channel(FOLLOW_QUEUE);
    let next = shared.truth.borrow().next;
    let following = mesh.follow(&to, next, told);
    tokio::pin!(following);
    loop {
        tokio::select! {
            biased;
            Some(followed) = queue.recv() => {
                if let Err(why) = take(shared, &to, followed) {
                    warn!(voter = %to.node, why, "the state that this node follows cannot be applied; what it knows stays in force");
                    tokio::time::sleep(DOUBT_EVERY).await;
                    return true;
                }
            }
            why = &mut following => {
                tracing::debug!(voter = %to.node, %why, "no longer following");
                shared.truth.send_if_modified(|truth| std::mem::take(&mut truth.leader).is_some());
                super::attach::failed(shared, &to);
                tokio::time::sleep(NEXT_VOTER).await;
                return true;
            }
            _ = changes.changed() => {
                if shared.is_member() {
                    return false;
                }
            }
        }
    }
}

fn take(shared: &Shared, from: &Address, followed: Followed) -> Result<(), String> {
    let heard = shared.clock.tick();
    let before = shared.truth.borrow().clone();
    let via = Via::Voter(from.node.clone());
    let truth = match followed {
        Followed::Progress { next: _, leader } => {
            Truth { leader, via, news: Arc::new([]), heard: if leader.is_some() { heard } else { before.heard }, ..before }
        }
        Followed::Snapshot { next, octets } => {
            let state = State::restore(&octets, FEATURE_LEVEL).map_err(|halt| halt.to_string())?;
            if let (Some(ours), Some(theirs)) = (before.state.cluster(), state.cluster())
                && ours != theirs
            {
                return Err(format!("it is the state of cluster `{theirs}`, not of `{ours}`"));
            }
            Truth { state: Arc::new(state), next, via, news: Arc::new([]), heard, ..before }
        }
        Followed::Entry { index, octets } => {
            let mut state = (*before.state).clone();
            let applied = state.apply_octets(index, &octets).map_err(|halt| halt.to_string())?;
            Truth { state: Arc::new(state), next: index + 1, via, news: applied.audit.into_iter().collect(), heard, ..before }
        }
    };
    shared.truth.send_replace(truth);
    Ok(())
}
