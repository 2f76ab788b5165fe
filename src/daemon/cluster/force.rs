//! `force-quorum`: a survivor goes on without a majority that is lost for good.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::cluster::{Change, Entry, NodeId};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{
    Shared, birth,
    membership::{Ordered, ordered},
};
use crate::raft::{Consensus, Member, go_on_alone};

/// How long this node takes to lead itself.
const LEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Between looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes this node the only voter, raises the recovery generation, and takes the other survivors in again.
pub(super) async fn go_on_without(
    shared: &Arc<Shared>,
    lost: &BTreeSet<NodeId>,
    expected_generation: u64,
    validate_only: bool,
) -> Result<Ordered, String> {
    if let Some(why) = shared.left_behind.get() {
        return Err(why.clone());
    }
    let members = shared.consensus().members();
    let own = shared.id();
    let member =
        members.voters.get(&own.0).cloned().ok_or("this node does not vote, so it cannot go on for the others; do it on a voter")?;
    if lost.contains(&own) {
        return Err("this node is named as lost, and it is here".to_owned());
    }
    if let Some(unknown) = lost.iter().find(|id| !members.voters.contains_key(&id.0)) {
        return Err(format!("{unknown} is not a voter; name the lost voters"));
    }
    let generation = shared.state().generation();
    if generation != expected_generation {
        return Err(format!(
            "the recovery generation is {generation}, not {expected_generation}; look at things as they are now, and start again"
        ));
    }
    if (members.voters.len() - lost.len()) * 2 > members.voters.len() {
        return Err("without these a majority is left: it goes on by itself; use `peers replace` for the lost ones".to_owned());
    }
    let leader = shared.leads();
    if leader.is_some() {
        return Err("there is a leader, so a majority is not lost".to_owned());
    }
    // Whoever answers is not lost: two sides must never both go on.
    let greetings = birth::greet_all(shared).await;
    let alive = greetings.values().filter_map(|it| it.as_ref().ok()).find(|it| lost.contains(&NodeId(it.passport.id)));
    if let Some(alive) = alive {
        return Err(format!("{} is named as lost, and it answers; stop it first", alive.passport.node));
    }
    if validate_only {
        return Ok(ordered(shared));
    }
    warn!(lost = lost.len(), "going on without a lost majority, as a person ordered");
    let raise = Change::RaiseGeneration { generation: generation + 1, lost: lost.clone() };
    let raise = shared.own_entry(raise, None, "a majority was lost for good: force-quorum");
    let failed =
        |error| format!("{error:#}; restart this node, see in `portolan peers list` whether it leads, and order it again if it does not");
    restart_alone(shared, member, &raise).await.map_err(failed)?;
    wait_to_lead(shared, generation).await?;
    for (id, survivor) in members.voters.iter().filter(|(id, _)| **id != own.0 && !lost.contains(&NodeId(**id))) {
        let consensus = shared.consensus();
        let taken = async {
            consensus.add_learner(*id, survivor.clone()).await?;
            let voters = consensus.members().voters.into_keys().chain([*id]);
            consensus.change_voters(voters).await
        };
        match tokio::time::timeout(LEAD_TIME_MAX, taken).await {
            Ok(Ok(())) => info!(voter = survivor.name, "a survivor votes again"),
            Ok(Err(error)) => warn!(voter = survivor.name, "{error:#}; add it with `peers add` when it is back"),
            Err(_) => warn!(voter = survivor.name, "it did not catch up in time; add it with `peers add` when it is back"),
        }
    }
    Ok(ordered(shared))
}

/// Takes part anew, as the only voter.
async fn restart_alone(shared: &Arc<Shared>, member: Member, raise: &Entry) -> anyhow::Result<()> {
    shared.consensus().shutdown().await?;
    go_on_alone(&shared.disk, shared.id().0, member, raise).await?;
    let name = shared.me.cluster_name.clone().unwrap_or_else(|| "portolan".to_owned());
    let consensus = Consensus::start(shared.id().0, &name, shared.timing, shared.disk.clone(), shared.transport.clone()).await?;
    shared.consensus.store(Arc::new(consensus));
    shared.restarted.send_modify(|n| *n += 1);
    shared.consensus().elect().await
}

/// Until it leads itself, in a later generation than `before`.
async fn wait_to_lead(shared: &Arc<Shared>, before: u64) -> Result<(), String> {
    let until = Instant::now() + LEAD_TIME_MAX;
    while shared.leads() != Some(shared.id().0) || shared.state().generation() <= before {
        if Instant::now() > until {
            return Err(format!("this node does not lead itself in another generation within {LEAD_TIME_MAX:?}; see its log"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
