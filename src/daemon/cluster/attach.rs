//! Whom this node has links to. A voter dials the voters whose names come after its own; an observer dials one voter, of its own region where
//! there is one, and another one when that is gone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, interval};

use super::{Shared, birth};
use crate::{
    latest::Latest,
    mesh::{Address, Voter},
};

/// Between looks at the links.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A voter that gave no link for so long is given up, and as much again by chance, so that its observers do not all move at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// An observer whose voter knows no leader for so long looks for one that does: that one may be cut off from the others, or removed without
/// knowing it.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// How often an observer at another region's voter looks whether one of its own is back.
const HOMEWARD_EVERY: Duration = Duration::from_secs(30);

/// Which of the voters an observer is at.
#[derive(Debug, Default)]
pub(super) struct Search(Mutex<Searched>);

#[derive(Debug, Default)]
struct Searched {
    /// How often it moved on.
    turn: usize,
    /// Who votes, as a node said that does not vote itself.
    told: Vec<Voter>,
}

impl Search {
    fn lock(&self) -> MutexGuard<'_, Searched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The voters in the order in which this node prefers them, other than itself: as far as it knows, then as it was told, then those of the address
/// book. When it was away for long, all that it knows and all of the book may vote no more.
pub(super) fn preferred(shared: &Shared) -> Vec<Address> {
    let told = shared.search.lock().told.clone();
    let own = |address: &Address| {
        let region = shared.me.book.iter().find(|entry| entry.node == address.node).map(|entry| entry.region.clone());
        let state = shared.state();
        let registered = state.nodes().find(|known| known.node.name == address.node).map(|known| known.node.region.clone());
        let told = told.iter().find(|voter| voter.at == *address).map(|voter| voter.region.clone());
        registered.or(told).or(region).as_ref() == Some(&shared.me.region)
    };
    let mut voters: Vec<Address> = shared.voters().into_values().filter(|address| address.node != shared.me.node).collect();
    // Others by this node's own random order, so that the observers of a lost voter spread.
    let spread = |address: &Address| portolan_core::steering::rendezvous::salt(&format!("{} {}", shared.consensus().id(), address.node));
    let rank = |address: &Address| (!own(address), spread(address));
    voters.sort_by_key(rank);
    let news = told.iter().map(|voter| &voter.at).filter(|at| at.node != shared.me.node && !voters.contains(at));
    let mut news: Vec<Address> = news.cloned().collect();
    news.sort_by_key(rank);
    voters.extend(news);
    let mut others = birth::book(shared);
    others.retain(|entry| voters.iter().all(|known| known.node != entry.node));
    others.sort_by_key(rank);
    voters.extend(others);
    voters
}

/// The voter that an observer is at, or is to try next; `None`: it knows none.
pub(super) fn choice(shared: &Shared) -> Option<Address> {
    let voters = preferred(shared);
    let turn = shared.search.lock().turn;
    if voters.is_empty() { None } else { Some(voters[turn % voters.len()].clone()) }
}

/// Moves on from a voter that gives nothing, if this node still is at it.
pub(super) fn failed(shared: &Shared, at: &Address) {
    if choice(shared).as_ref() == Some(at) {
        shared.search.lock().turn += 1;
    }
}

/// A node that does not vote said who does.
pub(super) fn told(shared: &Shared, voters: Vec<Voter>) {
    shared.search.lock().told = voters;
}

/// Goes to the first voter that knows who leads, if there is one: else everybody stays where it is.
async fn go_where_one_leads(shared: &Shared) {
    let known = preferred(shared);
    let greetings = birth::ask_all(shared, known.clone(), false).await;
    let leads = |at: &Address| {
        let greeting = greetings.get(at.node.as_str()).and_then(|it| it.as_ref().ok());
        greeting.is_some_and(|it| it.leader.is_some() && it.members.contains(&it.passport.id))
    };
    if let Some(turn) = known.iter().position(leads) {
        shared.search.lock().turn = turn;
    }
}

/// Keeps the links as they are to be.
pub(super) async fn keep(shared: Arc<Shared>) {
    let Some(mesh) = shared.mesh.clone() else { return };
    let mut ticks = interval(LOOK_EVERY);
    let chance = PATIENCE.mul_f64(f64::from(u8::try_from(shared.clock.entropy() & 0xff).unwrap_or(0)) / 256.0);
    let (mut linked_at, mut homeward_at, mut led_at) = (Instant::now(), Instant::now(), Instant::now());
    loop {
        ticks.tick().await;
        if shared.identity.latest().cluster.is_none() {
            continue;
        }
        if shared.is_voter() {
            let after = |address: &Address| address.node > shared.me.node;
            mesh.dial(shared.voters().into_values().filter(after).collect());
            continue;
        }
        let Some(at) = choice(&shared) else { continue };
        let is_linked = mesh.peers().iter().any(|(node, _)| *node == at.node);
        if is_linked {
            linked_at = Instant::now();
        } else if linked_at.elapsed() > PATIENCE + chance {
            failed(&shared, &at);
            linked_at = Instant::now();
        }
        if shared.truth.latest().leader.is_some() {
            led_at = Instant::now();
        } else if led_at.elapsed() > LEADERLESS_MAX + chance {
            led_at = Instant::now();
            go_where_one_leads(&shared).await;
        }
        if homeward_at.elapsed() > HOMEWARD_EVERY {
            homeward_at = Instant::now();
            if let Some(home) = preferred(&shared).first().filter(|home| **home != at)
                && mesh.greet(home, PATIENCE).await.is_ok_and(|greeting| greeting.leader.is_some())
            {
                shared.search.lock().turn = 0;
            }
        }
        mesh.dial(choice(&shared).into_iter().collect());
    }
}
