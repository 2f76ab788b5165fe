//! The replicated state as this node has it: from its own log where it is a member, else from a voter that it follows.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use portolan_core::{
    cluster::{FEATURE_LEVEL, State, audit::AuditEntry},
    model::{ids::Label, time::Tick},
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Shared, birth};
use crate::{
    latest::{Latest, LatestSeen},
    mesh::{Address, Followed},
    raft::Standing,
};

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

    /// Takes what this node's own log says; `true`: something is different now. What is known never goes back: a node that begins to take part
    /// knows more from the voter that it followed than from its log, which is still being written, until that has caught up.
    fn take_standing(&mut self, standing: &Standing, is_news: bool, leader: Option<u64>) -> bool {
        let next = standing.applied.map_or(0, |applied| applied + 1);
        let is_news = is_news && next >= self.next;
        let is_other = is_news || self.leader != leader || self.via != Via::Member;
        if is_news {
            (self.next, self.state) = (next, standing.state.clone());
        }
        if is_other {
            self.news = if is_news { standing.news.clone() } else { Arc::new([]) };
            (self.leader, self.via) = (leader, Via::Member);
        }
        is_other
    }
}

/// Keeps the state up to date, whatever this node is at the time.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        // Whoever is led again is a member again.
        if shared.is_listed() && shared.leads().is_some() {
            shared.was_removed.store(false, Relaxed);
        }
        if shared.is_member() {
            as_member(&shared).await;
        } else {
            as_follower(&shared).await;
        }
    }
}

/// Until it is no member any more, by its own log or because others say so.
async fn as_member(shared: &Arc<Shared>) {
    let (mut standing, mut changes) = (shared.consensus().standing(), shared.consensus().changes());
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut doubted = shared.clock.tick();
    let mut seen: Option<u64> = None;
    let mut restarted = shared.restarted.subscribe();
    let at = restarted.latest_seen();
    loop {
        let now = standing.latest_seen();
        let leader = shared.leads();
        let is_news = now.applied != seen || seen.is_none();
        seen = now.applied;
        shared.truth.send_if_modified(|truth| {
            if leader.is_some() {
                truth.heard = shared.clock.tick();
            }
            truth.take_standing(&now, is_news, leader)
        });
        let went_on = tokio::select! {
            changed = standing.changed() => changed.is_ok(),
            changed = changes.changed() => changed.is_ok(),
            _ = looks.tick() => {
                if leader.is_none() && shared.clock.tick().since(doubted) > DOUBT_EVERY {
                    if is_removed(shared).await {
                        info!("this node is no member any more; it follows as an observer");
                        shared.was_removed.store(true, Relaxed);
                        return;
                    }
                    doubted = shared.clock.tick();
                }
                true
            }
        };
        if !shared.is_member() {
            return;
        }
        if !went_on {
            // The consensus ended: a person made this node go on alone, or it cannot read what others agreed on, or its disk failed.
            if restarted.latest_seen() == at {
                warn!("this node takes no part in the consensus; it answers on from what it knows");
                let _ = restarted.changed().await;
            }
            return;
        }
    }
}

/// Whether somebody who knows the leader does not count this node among the members.
async fn is_removed(shared: &Arc<Shared>) -> bool {
    let id = shared.consensus().id();
    let greetings = birth::ask_all(shared, super::attach::preferred(shared), false).await;
    let knowing = greetings.values().filter_map(|it| it.as_ref().ok()).filter(|it| it.leader.is_some() && !it.members.is_empty());
    let cluster = shared.identity.latest().cluster;
    knowing.filter(|it| it.passport.cluster == cluster).any(|it| !it.members.contains(&id))
}

/// Follows one voter until the stream ends or this node may be a member.
async fn as_follower(shared: &Arc<Shared>) {
    let mut changes = shared.consensus().changes();
    if shared.identity.latest().cluster.is_none() {
        let mut identity = shared.identity.subscribe();
        tokio::select! {
            _ = identity.changed() => {}
            _ = changes.changed() => {}
        }
        return;
    }
    let Some((mesh, to)) = shared.mesh.as_ref().zip(super::attach::choice(shared)) else {
        tokio::select! {
            () = tokio::time::sleep(NEXT_VOTER) => {}
            _ = changes.changed() => {}
        }
        return;
    };
    let (told, mut queue) = mpsc::channel(FOLLOW_QUEUE);
    let next = shared.truth.latest().next;
    let following = mesh.follow(&to, next, told);
    tokio::pin!(following);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            Some(followed) = queue.recv() => {
                if let Err(why) = take(shared, &to, followed) {
                    warn!(voter = %to.node, why, "the state that this node follows cannot be applied; what it knows stays in force");
                    tokio::time::sleep(DOUBT_EVERY).await;
                    return;
                }
            }
            why = &mut following => {
                // Its last words came with the end.
                while let Ok(followed) = queue.try_recv() {
                    if let Err(why) = take(shared, &to, followed) {
                        warn!(voter = %to.node, why, "the last of what this node follows cannot be applied; what it knows stays in force");
                        break;
                    }
                }
                tracing::debug!(voter = %to.node, %why, "no longer following");
                shared.truth.send_if_modified(|truth| std::mem::take(&mut truth.leader).is_some());
                super::attach::failed(shared, &to);
                tokio::time::sleep(NEXT_VOTER).await;
                return;
            }
            _ = looks.tick() => {
                if super::attach::choice(shared).as_ref() != Some(&to) {
                    return;
                }
            }
            _ = changes.changed() => {
                if shared.is_listed() && (shared.is_member() || shared.leads().is_some()) {
                    return;
                }
            }
        }
    }
}

fn take(shared: &Shared, from: &Address, followed: Followed) -> Result<(), String> {
    let heard = shared.clock.tick();
    let before = shared.truth.latest();
    let via = Via::Voter(from.node.clone());
    let truth = match followed {
        Followed::Elsewhere(voters) => {
            super::attach::told(shared, voters);
            return Ok(());
        }
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

#[cfg(test)]
mod tests {
    use portolan_core::cluster::Change;

    use super::*;

    fn founded() -> Arc<State> {
        let mut state = State::supporting(FEATURE_LEVEL);
        let entry = portolan_core::cluster::Entry {
            at: portolan_core::model::time::Timestamp(1_800_000_000_000),
            by: portolan_core::cluster::Actor { name: "cluster".to_owned(), role: portolan_core::cluster::Role::System },
            request_id: None,
            reason: String::new(),
            moves: None,
            overrules: Vec::new(),
            change: Change::Found { cluster: Label::new("shop") },
        };
        state.apply(3, &entry).unwrap();
        Arc::new(state)
    }

    #[test]
    fn what_is_known_does_not_go_back_when_a_node_begins_to_take_part() {
        let mut truth = Truth { state: founded(), next: 9, via: Via::Voter(Label::new("us-1")), leader: Some(7), ..Truth::nothing() };
        let behind = |applied| Standing { state: Arc::new(State::supporting(FEATURE_LEVEL)), applied, news: Arc::new([]) };
        assert!(truth.take_standing(&behind(None), true, Some(7)), "it is a member now");
        assert!(truth.via == Via::Member && truth.next == 9 && truth.state.cluster().is_some(), "{truth:?}");
        assert!(!truth.take_standing(&behind(Some(5)), true, Some(7)), "nothing is new");
        assert!(truth.take_standing(&Standing { state: founded(), ..behind(Some(8)) }, true, Some(7)), "it has caught up");
        assert!(truth.take_standing(&Standing { state: founded(), ..behind(Some(9)) }, true, None));
        assert_eq!((truth.next, truth.leader), (10, None));
    }
}
