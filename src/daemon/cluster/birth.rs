//! How a cluster comes to be, and how a node joins one.
//!
//! A cluster is made once, when every node of the address book is there, every one has an empty disk, and all have the same book: by the node
//! with the lowest name, or at once by the one that a person tells to. Any other node with an empty disk waits for a cluster to belong to; that
//! takes a peer of the book, whose certificate says who it is.
//!
//! ```text
//! greet all --nothing is missing--> word of the lowest name --got it--> words of all --got them--> identity on disk --> first log entry
//! ```
//!
//! Why words: two nodes that found at one moment would give the cluster two ids, and the nodes that heard the one would refuse those that heard
//! the other. There would still be one cluster at most, because both have the same voters and a majority is needed, but some would be left
//! outside with a disk to be emptied ([`super::words`]).
//!
//! Absent on purpose: asking for a word back that another node holds; it ends by itself. Who fails to get all takes back only its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::cluster::NodeRole;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{super::PeerEntry, Shared, words::WORD_LIFE};
use crate::{
    latest::Latest,
    mesh::{Address, Greeting, Passport},
    raft::{Identity, Member},
};

/// Between looks at the others.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For one greeting.
const GREET_TIME_MAX: Duration = Duration::from_secs(3);

/// Whether the node was never part of a cluster, nor began to make one.
pub(super) fn is_empty(shared: &Shared) -> bool {
    let identity = shared.identity.latest();
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
            Ok(()) => return,
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

/// Looks at all peers once, and founds the cluster or joins one.
///
/// # Errors
/// What it waits for.
async fn look(shared: &Arc<Shared>) -> Result<(), String> {
    let greetings = greet_all(shared).await;
    if let Some(member) = greetings.values().flatten().find(|it| it.passport.cluster.is_some() && !it.is_empty) {
        return join(shared, &member.passport).await;
    }
    if !shared.me.role.votes() {
        return Err("waiting for the voters to make the cluster".to_owned());
    }
    if let Some(first) = missing(shared, &greetings).into_iter().next() {
        return Err(format!("waiting: {first}"));
    }
    let first = shared.me.book.first().map(|entry| &entry.node);
    if first != Some(&shared.me.node) && !shared.identity.latest().is_founder {
        return Err(format!("waiting for {} to make the cluster", first.map_or("nobody", |node| node.as_str())));
    }
    found(shared).await
}

/// Makes the cluster at once, from this node, because a person orders it: under the conditions under which the lowest name would.
///
/// # Errors
/// Everything that is missing, node by node; nothing was done.
pub(super) async fn bootstrap(shared: &Arc<Shared>, validate_only: bool) -> Result<(), String> {
    if !is_empty(shared) {
        let cluster = shared.identity.latest().cluster.unwrap_or_default();
        return Err(format!("this node belongs to cluster `{cluster}`; a cluster is made once, on empty disks"));
    }
    if !shared.me.role.votes() || !shared.me.book.iter().any(|entry| entry.node == shared.me.node) {
        return Err("this node is no voter of `peers`; do it on one that is".to_owned());
    }
    let missing = missing(shared, &greet_all(shared).await);
    if !missing.is_empty() {
        return Err(format!("not all of `peers` are there with empty disks: {}", missing.join("; ")));
    }
    if validate_only { Ok(()) } else { found(shared).await }
}

/// What speaks against making the cluster now, a sentence for each node of the book.
fn missing(shared: &Shared, greetings: &BTreeMap<String, Result<Greeting, String>>) -> Vec<String> {
    let others = shared.me.book.iter().filter(|entry| entry.node != shared.me.node);
    let problem = |entry: &PeerEntry| {
        let node = &entry.node;
        let greeting = match greetings.get(node.as_str()) {
            None => return Some(format!("{node} was not asked")),
            Some(Err(why)) => return Some(format!("{node} is not reached: {why}")),
            Some(Ok(greeting)) => greeting,
        };
        let Passport { node: name, region, cluster, .. } = &greeting.passport;
        if name != node || *region != entry.region {
            let (address, wanted) = (&entry.address, &entry.region);
            return Some(format!("at {address} answers {name} in {region}, not {node} in {wanted}; correct `peers`"));
        }
        match cluster {
            Some(cluster) if !greeting.is_empty => Some(format!("{node} belongs to cluster `{cluster}`")),
            Some(_) => Some(format!("{node} began to make the cluster; leave it to it, or empty its disk")),
            None if greeting.peers != shared.me.book_digest => {
                Some(format!("the address book of {node} is another one; give all nodes the same `peers`"))
            }
            None => None,
        }
    };
    others.filter_map(problem).collect()
}

/// Makes the cluster, if all give their word.
///
/// # Errors
/// Who did not, or what failed; nothing was done.
async fn found(shared: &Arc<Shared>) -> Result<(), String> {
    // The one that looks by itself and the one that a person orders share this node's own word.
    let _turn = shared.founding.lock().await;
    if !is_empty(shared) {
        return Err("this node belongs to a cluster by now".to_owned());
    }
    let own = shared.consensus().id();
    let made = found_by_words(shared, own).await;
    if made.is_err() {
        // This attempt writes nothing any more. Two that kept their own words while they try again would wait for each other for ever.
        shared.words.take_back(own);
    }
    made
}

async fn found_by_words(shared: &Arc<Shared>, own: u64) -> Result<(), String> {
    let since = shared.clock.tick();
    let words = take_words(shared, own).await?;
    let mut members = BTreeMap::from([(own, member(shared))]);
    for entry in shared.me.book.iter().filter(|entry| entry.node != shared.me.node) {
        let Some(Ok(greeting)) = words.get(entry.node.as_str()) else { return Err(format!("{} was not asked", entry.node)) };
        let member = Member {
            name: entry.node.to_string(),
            region: entry.region.to_string(),
            address: entry.address.clone(),
            is_witness: greeting.is_witness,
        };
        members.insert(greeting.passport.id, member);
    }
    // They all may have changed between the look and the word.
    if let Some(first) = missing(shared, &words).into_iter().next() {
        return Err(first);
    }
    // A process that stood still meanwhile has nobody's word any more.
    if shared.clock.tick().since(since) >= WORD_LIFE / 2 {
        return Err("asking all took too long; another node may be making the cluster by now".to_owned());
    }
    write_first(shared, members).await.map_err(|error| format!("{error:#}"))
}

/// Takes the word of the lowest name of the address book, then those of all others. Gives the greetings of all but this node.
///
/// # Errors
/// Who did not give it.
async fn take_words(shared: &Arc<Shared>, own: u64) -> Result<BTreeMap<String, Result<Greeting, String>>, String> {
    let lowest = shared.me.book.first().map(|entry| &entry.node);
    let mut words = BTreeMap::new();
    for of_lowest in [true, false] {
        if (lowest == Some(&shared.me.node)) == of_lowest && give_word(shared, own) != Some(own) {
            return Err("another node is making the cluster at this moment".to_owned());
        }
        let whom = book(shared).into_iter().filter(|to| (lowest == Some(&to.node)) == of_lowest);
        words.append(&mut ask_all(shared, whom.collect(), true).await);
        for (node, greeting) in &words {
            match greeting {
                Err(why) => return Err(format!("{node} is not reached: {why}")),
                Ok(greeting) if greeting.word != Some(own) => {
                    return Err(format!(
                        "{node} gave its word to another node, which is making the cluster at this moment; it ends within {WORD_LIFE:?}"
                    ));
                }
                Ok(_) => {}
            }
        }
    }
    Ok(words)
}

/// On disk first: a crash from here on goes on as the founder, with the same id.
async fn write_first(shared: &Arc<Shared>, members: BTreeMap<u64, Member>) -> anyhow::Result<()> {
    let before = shared.identity.latest().cluster;
    let cluster = before.unwrap_or_else(|| cluster_id(shared));
    keep(shared, &cluster, true).await?;
    let names: Vec<&str> = members.values().map(|member| member.name.as_str()).collect();
    info!(cluster, voters = names.join(" "), "founding the cluster");
    shared.consensus().initialize(members).await
}

//--- Words

/// Whom this node gave its word that nobody else founds the cluster.
pub(super) fn word(shared: &Shared) -> Option<u64> {
    shared.words.holder(shared.clock.tick())
}

/// Gives this node's word to `to`, unless another one has it, or there is nothing to be founded any more. Gives who has it then.
pub(super) fn give_word(shared: &Shared, to: u64) -> Option<u64> {
    let own = shared.consensus().id();
    // Who began to make a cluster gives its word to nobody but itself.
    let may_give = is_empty(shared) && (shared.identity.latest().cluster.is_none() || to == own);
    let now = shared.clock.tick();
    if may_give { Some(shared.words.give(now, to)) } else { shared.words.holder(now) }
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
    ask_all(shared, book(shared), false).await
}

/// The others of the address book.
pub(super) fn book(shared: &Shared) -> Vec<Address> {
    let others = shared.me.book.iter().filter(|entry| entry.node != shared.me.node);
    others.map(|entry| Address { node: entry.node.clone(), address: entry.address.clone() }).collect()
}

/// The greetings of these, by name; `for_word`: asking each for its word.
pub(super) async fn ask_all(shared: &Shared, whom: Vec<Address>, for_word: bool) -> BTreeMap<String, Result<Greeting, String>> {
    let Some(mesh) = &shared.mesh else { return BTreeMap::new() };
    let mut greetings = JoinSet::new();
    for to in whom {
        let mesh = mesh.clone();
        greetings.spawn(async move {
            let greeting = if for_word { mesh.ask_word(&to, GREET_TIME_MAX).await } else { mesh.greet(&to, GREET_TIME_MAX).await };
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
