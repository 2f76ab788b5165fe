//! This node's entry in the registry: kept as the node is.

use std::{sync::Arc, time::Duration};

use portolan_core::cluster::{Change, FEATURE_LEVEL, Node, NodeRole};
use tracing::debug;

use super::Shared;
use crate::latest::Latest;

/// Between looks at the entry.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an attempt that failed: many nodes register at once when a cluster starts.
const PAUSE: Duration = Duration::from_secs(3);

/// Registers this node whenever its entry is not what the node is.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let truth = shared.truth.latest();
        if truth.state.cluster().is_none() || truth.leader.is_none() {
            continue;
        }
        let node = describe(&shared);
        if truth.state.node(node.id).is_some_and(|known| known.node == node) {
            continue;
        }
        if let Err(why) = shared.propose_own(Change::RecordNode(node), "").await {
            debug!(%why, "not registered yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn describe(shared: &Shared) -> Node {
    let role = match (shared.is_voter(), shared.me.role) {
        (true, NodeRole::Witness) => NodeRole::Witness,
        (true, _) => NodeRole::Voter,
        (false, _) => NodeRole::Observer,
    };
    Node {
        id: shared.id(),
        name: shared.me.node.clone(),
        region: shared.me.region.clone(),
        role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: FEATURE_LEVEL,
        plan_revision: shared.running.latest(),
        address: shared.me.address.clone(),
    }
}
