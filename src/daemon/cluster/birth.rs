//! How a cluster comes to be, and how a node joins one.
//!
//! A cluster is made once: by the node with the lowest name of the address book, when every node of the book is there, every one has an empty
//! disk, and all have the same book. Any other node with an empty disk waits for a cluster to belong to; that takes a peer of the book, whose
//! certificate says who it is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::cluster::NodeRole;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Shared;
use crate::{
    mesh::{Address, Greeting, Passport},
    raft::{Identity, Member},
};

/// Between looks at the others.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For one greeting.
const GREET_TIME_MAX: Duration = Duration::from_secs(3);

/// Whether the node was never part of a cluster, nor began to make one.
pub(super) fn is_empty(shared: &Shared) -> bool {
    let identity = shared.identity.borrow();
    identity.cluster.is_none() || identity.is_founder && shared.consensus().members().voters.is_empty()
}

/// Runs until the node belongs to a cluster.
pub(super) async fn be_born(shared: Arc<Shared>) {
    if !shared.me.has_peers {
        if let Err(error) = found_alone(&shared).await {
            warn!("{error:#}; commands cannot be kept until this is mended");
        }
        return;
    }
    let mut told = String::new();
    while is_empty(&shared) {
        match look(&shared).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(why) if why != told => {
                info!(why, "no cluster yet");
                told = why;
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A node on its own is a cluster of one.
async fn found_alone(shared: &Arc<Shared>) -> anyhow::Result<()> {
    if !shared.consensus().is_initialized().await? {
        let name = cluster_id(shared);
        keep(shared, &name, true).await?;
        shared.consensus().initialize(BTreeMap::from([(shared.consensus().id(), member(shared))])).await?;
    }
    shared.consensus().elect().await
}

/// Looks at all peers once; `true`: this node founded the cluster, or joined one.
async fn look(shared: &Arc<Shared>) -> Result<bool, String> {
    let greetings = greet_all(shared).await;
    let heard: Vec<&Greeting> = greetings.values().filter_map(|greeting| greeting.as_ref().ok()).collect();
    let is_founder = shared.identity.borrow().is_founder;
    if let Some(member) = heard.iter().find(|it| it.passport.cluster.is_some() && !it.is_empty) {
        join(shared, &member.passport).await?;
        return Ok(true);
    }
    if !shared.me.role.votes() {
        return Err("waiting for the voters to make the cluster".to_owned());
    }
    if let Some((node, why)) = greetings.iter().find_map(|(node, greeting)| Some((node, greeting.as_ref().err()?))) {
        return Err(format!("waiting for {node}: {why}"));
    }
    if let Some(other) = heard.iter().find(|it| it.peers != shared.me.book_digest) {
        return Err(format!("the address book of {} is another one; give all nodes the same `peers`", other.passport.node));
    }
    let first = shared.me.book.first().map(|entry| &entry.node);
    if first != Some(&shared.me.node) && !is_founder {
        return Err(format!("waiting for {} to make the cluster", first.map_or("nobody", |node| node.as_str())));
    }
    if !shared.me.book.iter().all(|entry| entry.node == shared.me.node || greetings.contains_key(entry.node.as_str())) {
        return Err("not all of the address book was asked".to_owned());
    }
    let mut members = BTreeMap::from([(shared.consensus().id(), member(shared))]);
    for entry in shared.me.book.iter().filter(|entry| entry.node != shared.me.node) {
        let Some(Ok(greeting)) = greetings.get(entry.node.as_str()) else { return Err(format!("{} did not answer", entry.node)) };
        if greeting.passport.node != entry.node || greeting.passport.region != entry.region {
            return Err(format!(
                "at {} answers {} in {}, not {} in {}; correct `peers`",
                entry.address, greeting.passport.node, greeting.passport.region, entry.node, entry.region
            ));
        }
        let member = Member {
            name: entry.node.to_string(),
            region: entry.region.to_string(),
            address: entry.address.clone(),
            is_witness: greeting.is_witness,
        };
        members.insert(greeting.passport.id, member);
    }
    found(shared, members).await.map_err(|error| format!("{error:#}"))?;
    Ok(true)
}

/// On disk first: a crash from here on goes on as the founder, with the same id.
async fn found(shared: &Arc<Shared>, members: BTreeMap<u64, Member>) -> anyhow::Result<()> {
    let before = shared.identity.borrow().cluster.clone();
    let cluster = before.unwrap_or_else(|| cluster_id(shared));
    keep(shared, &cluster, true).await?;
    let names: Vec<&str> = members.values().map(|member| member.name.as_str()).collect();
    info!(cluster, voters = names.join(" "), "founding the cluster");
    shared.consensus().initialize(members).await
}

async fn keep(shared: &Shared, cluster: &str, is_founder: bool) -> anyhow::Result<()> {
    let identity = Identity::adopt(&shared.disk, cluster, is_founder).await?;
    shared.identity.send_replace(identity);
    Ok(())
}

/// Joins the cluster that a peer belongs to, when it is the one that this node is configured for.
///
/// # Errors
/// Why not; nothing was changed.
pub(super) async fn join(shared: &Shared, peer: &Passport) -> Result<(), String> {
    let Some(cluster) = &peer.cluster else { return Err(format!("{} belongs to no cluster yet", peer.node)) };
    if !shared.me.book.iter().any(|entry| entry.node == peer.node) {
        return Err(format!("{} is not in `peers`, so this node, whose disk is empty, does not join its cluster `{cluster}`", peer.node));
    }
    let name = cluster.rsplit_once('-').map_or(cluster.as_str(), |(name, _)| name);
    if let Some(wanted) = shared.me.cluster_name.as_ref().filter(|wanted| *wanted != name) {
        return Err(format!(
            "{} belongs to cluster `{cluster}`, and this node is configured for `{wanted}`; correct `cluster` or `peers`",
            peer.node
        ));
    }
    keep(shared, cluster, false).await.map_err(|error| error.to_string())?;
    info!(cluster, through = %peer.node, "joined the cluster");
    Ok(())
}

/// The greetings of all others in the book.
pub(super) async fn greet_all(shared: &Arc<Shared>) -> BTreeMap<String, Result<Greeting, String>> {
    let Some(mesh) = &shared.mesh else { return BTreeMap::new() };
    let mut greetings = JoinSet::new();
    for entry in shared.me.book.iter().filter(|entry| entry.node != shared.me.node) {
        let (mesh, to) = (mesh.clone(), Address { node: entry.node.clone(), address: entry.address.clone() });
        greetings.spawn(async move {
            let greeting = mesh.greet(&to, GREET_TIME_MAX).await;
            (to.node.to_string(), greeting.map_err(|error| error.to_string()))
        });
    }
    greetings.join_all().await.into_iter().collect()
}

fn member(shared: &Shared) -> Member {
    let me = &shared.me;
    Member {
        name: me.node.to_string(),
        region: me.region.to_string(),
        address: me.address.clone(),
        is_witness: me.role == NodeRole::Witness,
    }
}

/// A name for people and a random part.
fn cluster_id(shared: &Shared) -> String {
    let name = shared.me.cluster_name.as_deref().unwrap_or("portolan");
    format!("{name}-{:08x}", shared.clock.entropy() & 0xffff_ffff)
}
