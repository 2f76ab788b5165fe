//! What peers ask of this node.

use std::{
    sync::{Arc, OnceLock, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::unfold;
use portolan_core::cluster::{FEATURE_LEVEL, Node, NodeId, NodeRole};
use tokio::time::{Interval, interval};
use tokio_stream::once;
use tokio_util::sync::CancellationToken;

use super::{Shared, birth, groups, membership};
use crate::{
    latest::Latest,
    mesh::{Address, FollowStream, Followed, Greeting, Host, Passport, Proposed, Voter},
    raft::{Call, Follower, ProposeError, Step},
};

/// How often a follower hears that nothing is new.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The node, as soon as it is complete. Weak, because the node holds the mesh that holds this.
#[derive(Default)]
pub(super) struct ClusterHost {
    shared: OnceLock<Weak<Shared>>,
}

impl ClusterHost {
    pub(super) fn serve(&self, shared: &Arc<Shared>) {
        // Only ever called once.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.get()?.upgrade()
    }
}

#[tonic::async_trait]
impl Host for ClusterHost {
    fn passport(&self) -> Passport {
        self.shared().map_or_else(
            // A node that does not stand yet, or no more, is nobody: whoever hears it refuses it.
            || Passport { cluster: None, id: 0, node: "".into(), region: "".into(), generation: 0 },
            |shared| passport(&shared),
        )
    }

    fn refuses(&self, id: u64) -> Option<String> {
        let state = self.shared()?.state();
        let is_refused = state.is_refused(NodeId(id));
        is_refused.then(|| {
            format!(
                "node {} was on the side that recovery generation {} left behind; empty its disk, so that it joins as new",
                NodeId(id),
                state.generation()
            )
        })
    }

    fn greeting(&self, founder: Option<&Passport>) -> Greeting {
        let Some(shared) = self.shared() else {
            return Greeting {
                passport: self.passport(),
                is_empty: false,
                is_persistent: false,
                peers: Vec::new(),
                leader: None,
                is_witness: false,
                feature_level: FEATURE_LEVEL,
                wall_ms: 0,
                members: Vec::new(),
                word: None,
            };
        };
        let word = match founder {
            Some(founder) => birth::give_word(&shared, founder.id),
            None => birth::word(&shared),
        };
        Greeting {
            word,
            passport: passport(&shared),
            is_empty: birth::is_empty(&shared),
            is_persistent: shared.me.is_persistent,
            peers: shared.me.book_digest.clone(),
            leader: shared.truth.latest().leader,
            is_witness: shared.me.role == NodeRole::Witness,
            feature_level: FEATURE_LEVEL,
            wall_ms: shared.clock.now().wall.0,
            members: members(&shared),
        }
    }

    async fn raft(&self, from: &Passport, call: u32, body: Bytes) -> Result<Vec<u8>, String> {
        let shared = self.shared().ok_or("this node is starting or stopping")?;
        if let Some(why) = shared.left_behind.get() {
            return Err(why.clone());
        }
        let call = Call::from_number(call).ok_or_else(|| format!("this version knows no call {call} of the consensus; upgrade it"))?;
        if shared.identity.latest().cluster.is_none() {
            birth::join(&shared, from).await?;
        }
        let answer = shared.consensus().receive(call, &body).await.map_err(|error| error.to_string())?;
        if matches!(call, Call::Append | Call::Snapshot) {
            shared.led_at.store(shared.clock.tick().0, Relaxed);
        }
        Ok(answer)
    }

    async fn propose(&self, entry: Bytes) -> Proposed {
        let Some(shared) = self.shared() else { return Proposed::NotLeader(None) };
        if let Some(why) = shared.left_behind.get() {
            return Proposed::Refused(why.clone());
        }
        match shared.consensus().propose_octets(entry.into()).await {
            Ok(reply) => serde_json::to_vec(&reply).map_or(Proposed::Unknown, |octets| Proposed::Done(octets.into())),
            Err(ProposeError::NotLeader(leader)) => Proposed::NotLeader(leader.map(|(id, _)| id)),
            Err(ProposeError::Unknown) => Proposed::Unknown,
            Err(error @ (ProposeError::Refused(_) | ProposeError::Halted(_))) => Proposed::Refused(error.to_string()),
            Err(ProposeError::Stopped(_)) => Proposed::NotLeader(None),
        }
    }

    async fn order(&self, order: Bytes) -> Result<Vec<u8>, String> {
        let shared = self.shared().ok_or("this node is starting or stopping")?;
        let order = serde_json::from_slice(&order)
            .map_err(|error| format!("the order cannot be read: {error}; bring both nodes to one release"))?;
        let ordered = membership::obey(&shared, order).await?;
        serde_json::to_vec(&ordered).map_err(|error| error.to_string())
    }

    async fn ask(&self, question: Bytes) -> Result<Vec<u8>, String> {
        let shared = self.shared().ok_or("this node is starting or stopping")?;
        let asked = serde_json::from_slice(&question)
            .map_err(|error| format!("the question cannot be read: {error}; bring both nodes to one release"))?;
        groups::answer_any(&shared, &asked).await.map_err(|error| error.to_string())
    }

    fn follow(&self, from: &Passport, next: u64) -> Option<FollowStream> {
        let shared = self.shared()?;
        if !shared.is_member() {
            // All whom the caller knows may have been replaced while it was away.
            let state = shared.state();
            let voters = state.voters().filter(|node| !node.address.is_empty());
            let voter =
                |node: &Node| Voter { at: Address { node: node.name.clone(), address: node.address.clone() }, region: node.region.clone() };
            return Some(Box::pin(once(Followed::Elsewhere(voters.map(voter).collect()))));
        }
        // What it knows may be of the side that was lost, and stand where this side agreed on something else.
        let next = if from.generation < shared.state().generation() { 0 } else { next };
        let feed = Feed {
            follower: shared.consensus().follow(next),
            progress: interval(PROGRESS_EVERY),
            stop: shared.stop.clone(),
            shared: Arc::downgrade(&shared),
        };
        Some(Box::pin(unfold(feed, async |mut feed: Feed| Some((feed.next().await?, feed)))))
    }
}

/// Who is a member, as this node knows. One that takes no part knows who votes, while it hears of somebody who leads them: a voter that was removed
/// while it was away may know nobody else to ask.
fn members(shared: &Shared) -> Vec<u64> {
    if shared.is_member() {
        let members = shared.consensus().members();
        return members.voters.into_keys().chain(members.learners.into_keys()).collect();
    }
    let truth = shared.truth.latest();
    truth.state.voters().filter(|_| truth.leader.is_some()).map(|node| node.id.0).collect()
}

/// Feeds one follower until it leaves. No task and no queue: a voter has hundreds of them.
struct Feed {
    follower: Follower,
    progress: Interval,
    stop: CancellationToken,
    shared: Weak<Shared>,
}

impl Feed {
    async fn next(&mut self) -> Option<Followed> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            step = self.follower.step() => Some(match step? {
                Step::Snapshot { next, octets } => Followed::Snapshot { next, octets: octets.into() },
                Step::Entry(fed) => Followed::Entry { index: fed.index, octets: Bytes::copy_from_slice(&fed.octets) },
            }),
            _ = self.progress.tick() => {
                // A node that was removed has nothing to tell any more.
                let shared = self.shared.upgrade().filter(|shared| shared.is_member())?;
                // Who shows that it leads: a voter that is cut off from the leader must not say on and on that there is one.
                Some(Followed::Progress { next: self.follower.next_index(), leader: shared.leads() })
            }
        }
    }
}

fn passport(shared: &Shared) -> Passport {
    let identity = shared.identity.latest();
    Passport {
        cluster: identity.cluster.clone(),
        id: identity.id,
        node: shared.me.node.clone(),
        region: shared.me.region.clone(),
        generation: shared.truth.latest().state.generation(),
    }
}
