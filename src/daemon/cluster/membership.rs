//! Who leads and who votes, as people order it. The leader does it; another node hands the order over.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::cluster::{Change, NodeId};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Cluster, Shared, birth, force};
use crate::{
    mesh::{Address, CallError},
    raft::{Member, Members},
};

/// How long an order may take: a learner catches up, a joint change is agreed twice.
const ORDER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long leadership takes to change hands.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(10);
/// Between looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a person orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Order {
    /// What.
    pub(in crate::daemon) what: What,
    /// Judge it only.
    pub(in crate::daemon) validate_only: bool,
}

/// What a person orders about who leads or votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::daemon) enum What {
    /// Leadership goes to this voter; `None`: to whoever answered last.
    Transfer(Option<NodeId>),
    /// A node becomes a voter.
    Add(NodeId),
    /// A voter becomes none.
    Remove(NodeId),
    /// One in the place of another.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: NodeId,
    },
    /// This node makes the cluster, at once; on a node that belongs to none.
    Bootstrap,
    /// This node goes on without the others named; on a survivor only.
    ForceQuorum {
        /// The lost side.
        lost: BTreeSet<NodeId>,
        /// The recovery generation now.
        expected_generation: u64,
    },
}

/// How things stand after an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Ordered {
    /// Who leads, by name.
    pub(in crate::daemon) leader: Option<String>,
    /// Who votes, by name.
    pub(in crate::daemon) voters: Vec<String>,
    /// The recovery generation.
    pub(in crate::daemon) generation: u64,
}

impl Cluster {
    /// Does as ordered, here or through the leader.
    ///
    /// # Errors
    /// A sentence: nothing was done, or as much as it says.
    pub(in crate::daemon) async fn order(&self, order: Order) -> Result<Ordered, String> {
        let shared = &self.shared;
        if matches!(order.what, What::ForceQuorum { .. } | What::Bootstrap) || shared.consensus().leadership().is_leader {
            return obey(shared, order).await;
        }
        let (Some(mesh), Some(leader)) = (&shared.mesh, shared.leader()) else {
            return Err(
                "nobody leads, so nobody can change who votes; without a majority for good: `portolan peers force-quorum` on a survivor"
                    .to_owned(),
            );
        };
        let octets = serde_json::to_vec(&order).map_err(|error| error.to_string())?;
        let answer = mesh.order(&leader, octets, ORDER_TIME_MAX).await.map_err(|error| match error {
            CallError::Refused(why) | CallError::LeftBehind(why) => why,
            CallError::Unreachable(why) => {
                format!("the leader {} did not answer ({why}); it may have done it: look at `portolan peers`", leader.node)
            }
        })?;
        serde_json::from_slice(&answer).map_err(|error| format!("the answer of {} cannot be read: {error}", leader.node))
    }
}

/// Does as ordered, on the leader; what concerns a survivor alone, anywhere. It goes on when nobody waits for it any more: a change that stops
/// half way is worse than one whose end is seen in `peers`.
pub(super) async fn obey(shared: &Arc<Shared>, order: Order) -> Result<Ordered, String> {
    let shared = Arc::clone(shared);
    let work = tokio::spawn(async move { carry_out(&shared, &order).await });
    work.await.unwrap_or_else(|error| Err(format!("the change ended unexpectedly ({error}); this is a bug, see the log")))
}

async fn carry_out(shared: &Arc<Shared>, order: &Order) -> Result<Ordered, String> {
    if let What::ForceQuorum { lost, expected_generation } = &order.what {
        return force::go_on_without(shared, lost, *expected_generation, order.validate_only).await;
    }
    if order.what == What::Bootstrap {
        birth::bootstrap(shared, order.validate_only).await?;
        return Ok(founded(shared));
    }
    if !shared.consensus().leadership().is_leader {
        return Err("this node does not lead any more; try again".to_owned());
    }
    let members = shared.consensus().members();
    if members.is_changing {
        return Err("a change of who votes is under way; wait until `portolan peers` shows none".to_owned());
    }
    match &order.what {
        What::Transfer(to) => transfer(shared, &members, *to, order.validate_only).await?,
        What::Add(new) => {
            let voters = members.voters.keys().copied().chain([new.0]).collect();
            change(shared, &members, voters, Some(*new), order.validate_only).await?;
        }
        What::Remove(old) => {
            let voters = members.voters.keys().copied().filter(|id| *id != old.0).collect();
            require(members.voters.contains_key(&old.0), || format!("{old} does not vote"))?;
            change(shared, &members, voters, None, order.validate_only).await?;
        }
        What::Replace { old, new } => {
            require(members.voters.contains_key(&old.0), || format!("{old} does not vote"))?;
            let voters = members.voters.keys().copied().filter(|id| *id != old.0).chain([new.0]).collect();
            change(shared, &members, voters, Some(*new), order.validate_only).await?;
            if !order.validate_only {
                let forget = Change::ForgetNode { id: *old };
                shared
                    .propose_own(forget, "replaced by hand")
                    .await
                    .map_err(|why| format!("it is replaced, but still registered: {why}"))?;
            }
        }
        What::ForceQuorum { .. } | What::Bootstrap => {}
    }
    Ok(ordered(shared))
}

pub(super) fn ordered(shared: &Shared) -> Ordered {
    let members = shared.consensus().members();
    let leader = shared.leads().and_then(|id| members.voters.get(&id).map(|member| member.name.clone()));
    Ordered { leader, voters: members.voters.into_values().map(|member| member.name).collect(), generation: shared.state().generation() }
}

/// Nobody leads yet, and the voters are those of the address book.
fn founded(shared: &Shared) -> Ordered {
    let voters = shared.me.book.iter().map(|entry| entry.node.to_string()).collect();
    Ordered { voters, ..ordered(shared) }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

async fn transfer(shared: &Arc<Shared>, members: &Members, to: Option<NodeId>, validate_only: bool) -> Result<(), String> {
    let others = members.voters.iter().filter(|(id, _)| **id != shared.consensus().id());
    let silence = |id: &u64| members.silent.get(id).copied().unwrap_or(Duration::MAX);
    let to = match to {
        Some(to) => to.0,
        None => *others.min_by_key(|(id, member)| (member.is_witness, silence(id))).ok_or("there is no other voter")?.0,
    };
    let member = members.voters.get(&to).ok_or_else(|| format!("{} does not vote", NodeId(to)))?;
    if to == shared.consensus().id() {
        return Ok(());
    }
    require(silence(&to) < Duration::from_secs(5), || format!("{} has not answered the leader lately, so it cannot lead", member.name))?;
    if validate_only {
        return Ok(());
    }
    shared.consensus().transfer_leader(to).await.map_err(|error| format!("{error:#}"))?;
    let until = Instant::now() + TRANSFER_TIME_MAX;
    while shared.leads() != Some(to) {
        if Instant::now() > until {
            return Err(format!("{} did not take over within {TRANSFER_TIME_MAX:?}; look at `portolan peers`", member.name));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Makes these the voters. A new one follows the log first, until it has caught up.
async fn change(
    shared: &Arc<Shared>,
    members: &Members,
    voters: BTreeSet<u64>,
    new: Option<NodeId>,
    validate_only: bool,
) -> Result<(), String> {
    require(!voters.is_empty(), || "the last voter cannot leave".to_owned())?;
    let new = match new {
        Some(new) => Some((new.0, whereabouts(shared, members, new).await?)),
        None => None,
    };
    let region = |id: &u64| {
        members.voters.get(id).or_else(|| new.as_ref().filter(|(new, _)| new == id).map(|(_, member)| member)).map(|it| it.region.clone())
    };
    let regions: Vec<String> = voters.iter().filter_map(region).collect();
    let distinct: BTreeSet<&String> = regions.iter().collect();
    let most = distinct.iter().map(|region| regions.iter().filter(|other| *other == *region).count()).max().unwrap_or(0);
    require(voters.len() < 3 || most * 2 < voters.len(), || {
        "one region would hold most votes, so its loss would be everybody's; choose a node of another region".to_owned()
    })?;
    if validate_only {
        return Ok(());
    }
    let failed = |error: anyhow::Error| format!("{error:#}; look at `portolan peers`, and try again");
    if let Some((id, member)) = new {
        shared.consensus().add_learner(id, member).await.map_err(failed)?;
    }
    shared.consensus().change_voters(voters).await.map_err(failed)
}

/// Where a node that is to vote is, as it says itself.
async fn whereabouts(shared: &Arc<Shared>, members: &Members, id: NodeId) -> Result<Member, String> {
    require(!members.voters.contains_key(&id.0), || format!("{id} votes already"))?;
    let state = shared.state();
    require(!state.is_refused(id), || format!("{id} was on a lost side; empty its disk, so that it joins as new"))?;
    let known = state.node(id).ok_or_else(|| format!("{id} is not registered; start it with this cluster's `peers`"))?;
    let to = Address { node: known.node.name.clone(), address: known.node.address.clone() };
    let mesh = shared.mesh.as_ref().ok_or("this node has no peers")?;
    let greeting = mesh.greet(&to, Duration::from_secs(3)).await.map_err(|error| format!("{} cannot be reached: {error}", to.node))?;
    require(greeting.passport.id == id.0, || format!("at {} answers another node; its disk was replaced", to.address))?;
    require(greeting.is_persistent, || format!("{} does not keep its disk over a restart, and a voter must", to.node))?;
    Ok(Member { name: to.node.to_string(), region: known.node.region.to_string(), address: to.address, is_witness: greeting.is_witness })
}
