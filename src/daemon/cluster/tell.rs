//! Lines in the log about who leads and who votes, as this node knows: what a person looks for first when commands do not go through.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::cluster::NodeId;
use tokio::time::interval;
use tracing::{info, warn};

use super::Shared;
use crate::latest::LatestSeen;

/// Between looks at the voters, whose change wakes nobody on a node that does not vote.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells each change, and only that.
pub(super) async fn who_leads(shared: Arc<Shared>) {
    // On a node on its own there is nobody else.
    if shared.mesh.is_none() {
        return;
    }
    let mut truth = shared.truth.subscribe();
    let mut looks = interval(LOOK_EVERY);
    let (mut leader, mut voters) = (None, BTreeSet::new());
    loop {
        let now = truth.latest_seen().leader;
        if now != leader {
            leader = now;
            let term = shared.consensus().leadership().term;
            match now {
                Some(id) => info!(leader = name(&shared, id), term, "a leader is known"),
                None => warn!(term, "no leader is known; nothing can be agreed until one is"),
            }
        }
        let known: BTreeSet<_> = shared.voters().into_keys().collect();
        if known != voters {
            let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            info!(voters = names.join(" "), "who votes");
            voters = known;
        }
        tokio::select! {
            changed = truth.changed() => if changed.is_err() { return },
            _ = looks.tick() => {}
        }
    }
}

fn name(shared: &Shared, id: u64) -> String {
    let members = shared.consensus().members();
    let registered = || shared.state().node(NodeId(id)).map(|known| known.node.name.to_string());
    members.voters.get(&id).map(|member| member.name.clone()).or_else(registered).unwrap_or_else(|| NodeId(id).to_string())
}
