//! A network in memory: every node can be taken off it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use portolan::raft::{Call, Consensus, Lane, Member, Transport, Undelivered};

#[derive(Debug, Default)]
struct Cables {
    nodes: BTreeMap<u64, Consensus>,
    isolated: BTreeSet<u64>,
    /// How long the answer to entries takes: a slow disk, or a long way.
    slow: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Net(Arc<Mutex<Cables>>);

impl Net {
    pub(super) fn attach(&self, id: u64, node: Consensus) {
        self.0.lock().unwrap().nodes.insert(id, node);
    }

    pub(super) fn detach(&self, id: u64) {
        self.0.lock().unwrap().nodes.remove(&id);
    }

    /// Cuts a node off from all others, in both directions, or heals that.
    pub(super) fn isolate(&self, id: u64, cut: bool) {
        let mut cables = self.0.lock().unwrap();
        if cut {
            cables.isolated.insert(id);
        } else {
            cables.isolated.remove(&id);
        }
    }

    /// Lets answers to entries take so long; heartbeats stay quick.
    pub(super) fn slow_down(&self, by: Duration) {
        self.0.lock().unwrap().slow = by;
    }

    /// As seen from a node.
    pub(super) fn from(&self, id: u64) -> Port {
        Port { from: id, cables: Arc::clone(&self.0) }
    }
}

#[derive(Debug)]
pub(super) struct Port {
    from: u64,
    cables: Arc<Mutex<Cables>>,
}

impl Port {
    fn reach(&self, to: u64) -> Result<Consensus, Undelivered> {
        let cables = self.cables.lock().unwrap();
        let is_cut = [self.from, to].iter().any(|id| cables.isolated.contains(id));
        let node = cables.nodes.get(&to).filter(|_| !is_cut).cloned();
        node.ok_or_else(|| Undelivered::Unreachable(format!("no way from {} to {to}", self.from)))
    }
}

#[async_trait]
impl Transport for Port {
    async fn call(&self, to: u64, _: &Member, lane: Lane, call: Call, body: Vec<u8>, _: Duration) -> Result<Vec<u8>, Undelivered> {
        let answer = self.reach(to)?.receive(call, &body).await?;
        let slow = self.cables.lock().unwrap().slow;
        if (lane, call) == (Lane::Log, Call::Append) && !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        // The way back may be cut meanwhile.
        self.reach(to)?;
        Ok(answer)
    }
}
