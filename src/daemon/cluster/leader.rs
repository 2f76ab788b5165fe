//! What the leader does by itself: it founds the state, removes what ended and who votes no more, replaces voters that are lost, and hands
//! leadership on when its own region is not fit to lead.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, FEATURE_LEVEL, NodeId, State},
    model::ids::Label,
};
use tokio::time::{Instant, interval};
use tracing::{info, warn};

use super::Shared;
use crate::{latest::Latest, mesh::Address, raft::Member};

/// Between looks at what is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A voter that is lost for so long is replaced: longer than a restart of its machine, shorter than a night.
pub(in crate::daemon) const REPLACE_AFTER: Duration = Duration::from_mins(10);
/// Between attempts to replace.
const REPLACE_PAUSE: Duration = Duration::from_secs(30);
/// Between attempts to hand leadership on.
const HANDOVER_PAUSE: Duration = Duration::from_secs(10);

/// Serves whenever this node leads.
pub(super) async fn serve(shared: Arc<Shared>) {
    let mut ticks = interval(LOOK_EVERY);
    let mut silent_since: BTreeMap<u64, Instant> = BTreeMap::new();
    let (mut replaced_at, mut handed_at): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        ticks.tick().await;
        if !shared.consensus().leadership().is_leader {
            silent_since.clear();
            continue;
        }
        keep_house(&shared).await;
        if shared.mesh.is_none() {
            continue;
        }
        if let Some(lost) = note_silence(&shared, &mut silent_since)
            && replaced_at.is_none_or(|at| at.elapsed() > REPLACE_PAUSE)
        {
            replaced_at = Some(Instant::now());
            if let Err(why) = replace(&shared, lost).await {
                warn!(voter = lost, "a voter is lost, and was not replaced: {why}");
            }
        }
        let unfit = shared.unfit.latest();
        if let Some(why) = unfit
            && handed_at.is_none_or(|at| at.elapsed() > HANDOVER_PAUSE)
        {
            handed_at = Some(Instant::now());
            hand_over(&shared, &why).await;
        }
    }
}

/// What follows from the state alone.
async fn keep_house(shared: &Arc<Shared>) {
    let state = shared.state();
    let cluster = shared.identity.latest().cluster;
    let change = if state.cluster().is_none() {
        cluster.map(|cluster| Change::Found { cluster: Label::new(&cluster) })
    } else if state.next_end().is_some_and(|end| end <= shared.clock.now().wall) {
        Some(Change::Expire)
    } else if let Some(id) = gone(shared, &state) {
        Some(Change::ForgetNode { id })
    } else {
        let lowest = state.nodes().map(|known| known.node.feature_level).min().unwrap_or(0).min(FEATURE_LEVEL);
        (lowest > state.feature_level()).then_some(Change::RaiseFeatureLevel { level: lowest })
    };
    if let Some(change) = change
        && let Err(why) = shared.propose_own(change, "").await
    {
        tracing::debug!(%why, "a duty of the leader was not done");
    }
}

/// Who is registered as a voter and is none: whoever replaced it did not come to forget it. It would keep its name from its successor for ever. One
/// that lives registers anew, as the observer that it is.
fn gone(shared: &Shared, state: &State) -> Option<NodeId> {
    let members = shared.consensus().members();
    if members.is_changing || members.voters.is_empty() {
        return None;
    }
    state.voters().map(|node| node.id).find(|id| !members.voters.contains_key(&id.0))
}

/// The voter that is lost for longest, if one is for long enough.
fn note_silence(shared: &Shared, silent_since: &mut BTreeMap<u64, Instant>) -> Option<u64> {
    let members = shared.consensus().members();
    let now = Instant::now();
    for id in members.voters.keys().filter(|id| **id != shared.consensus().id()) {
        // Who never answered this leader is silent since it leads.
        let silent = members.silent.get(id).copied();
        let since = match silent {
            Some(silent) => now.checked_sub(silent).unwrap_or(now),
            None => *silent_since.get(id).unwrap_or(&now),
        };
        silent_since.insert(*id, since);
    }
    silent_since.retain(|id, _| members.voters.contains_key(id));
    if members.is_changing {
        return None;
    }
    let lost = silent_since.iter().filter(|(_, since)| now.duration_since(**since) >= shared.replace_after);
    lost.min_by_key(|(_, since)| **since).map(|(id, _)| *id)
}

/// Puts another node in the place of a lost voter: the one that came back under its name with an empty disk, else an observer, of its region
/// before others. Only onto a disk that lasts, and never so that one region holds most votes.
async fn replace(shared: &Arc<Shared>, lost: u64) -> Result<(), String> {
    let members = shared.consensus().members();
    let gone = members.voters.get(&lost).cloned().ok_or("it is no voter any more")?;
    let (id, member) = candidate(shared, &members.voters, lost, &gone).await?;
    info!(lost = gone.name, by = member.name, "replacing a lost voter");
    let failed = |error: anyhow::Error| format!("{error:#}");
    shared.consensus().add_learner(id, member).await.map_err(failed)?;
    let voters = members.voters.keys().copied().filter(|voter| *voter != lost).chain([id]);
    shared.consensus().change_voters(voters).await.map_err(failed)?;
    let forget = Change::ForgetNode { id: NodeId(lost) };
    shared.propose_own(forget, "replaced after it was lost").await.map_err(|why| why.to_string())
}

async fn candidate(shared: &Arc<Shared>, voters: &BTreeMap<u64, Member>, lost: u64, gone: &Member) -> Result<(u64, Member), String> {
    let Some(mesh) = &shared.mesh else { return Err("this node has no peers".to_owned()) };
    let state = shared.state();
    let mut places = vec![(gone.name.clone(), gone.region.clone(), gone.address.clone())];
    let observers = state.nodes().filter(|known| !known.node.role.votes());
    let mut others: Vec<_> =
        observers.map(|known| (known.node.name.to_string(), known.node.region.to_string(), known.node.address.clone())).collect();
    others.sort_by_key(|(name, region, _)| (*region != gone.region, name.clone()));
    places.extend(others);
    let mut why = "there is nobody else".to_owned();
    for (name, region, address) in places {
        let in_region = voters.iter().filter(|(id, voter)| **id != lost && voter.region == region).count() + 1;
        if in_region * 2 > voters.len() && voters.len() > 1 {
            why = format!("{name} would give {region} most votes");
            continue;
        }
        let to = Address { node: Label::new(&name), address: address.clone() };
        match mesh.greet(&to, LOOK_EVERY * 3).await {
            Err(error) => why = format!("{name}: {error}"),
            Ok(greeting) if !greeting.is_persistent => why = format!("{name} does not keep its disk over a restart"),
            Ok(greeting) if voters.contains_key(&greeting.passport.id) => why = format!("{name} votes already"),
            Ok(greeting) if greeting.passport.cluster != shared.identity.latest().cluster => {
                why = format!("{name} has not joined this cluster")
            }
            Ok(greeting) => {
                return Ok((greeting.passport.id, Member { name, region, address, is_witness: greeting.is_witness }));
            }
        }
    }
    Err(why)
}

/// To the voter of another region that answered last, a witness only if there is nobody else.
async fn hand_over(shared: &Arc<Shared>, why: &str) {
    let members = shared.consensus().members();
    let others = members.voters.iter().filter(|(_, member)| member.region != shared.me.region.as_str());
    let answering = others.filter(|(id, _)| members.silent.get(id).is_some_and(|silent| *silent < LOOK_EVERY * 2));
    let Some((id, member)) = answering.min_by_key(|(id, member)| (member.is_witness, **id)) else { return };
    info!(to = member.name, why, "handing leadership on");
    if let Err(error) = shared.consensus().transfer_leader(*id).await {
        warn!("{error:#}; leadership was not handed on");
    }
}
