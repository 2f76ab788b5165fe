//! The long way between regions, on one machine: TCP relays that let octets arrive later, in order, or not at all.
//!
//! ```text
//!  node in A --detour--> Relay (A to the node in B) --path there: delay, jitter, loss, cut--> node in B
//!                                                   <-path back--------------------------'
//! ```
//!
//! A [`Way`] joins two places and has two [`Path`]s, one per direction; both may be changed while octets are on them. Many relays share a way. Who
//! dials is known by the relay that is dialed, so each place has relays of its own, and [`Wan::detours`] says to a node of that place where its
//! peers are reached from there.
//!
//! What it is: the delay of each octet, one way; the round trip that a new connection costs before its first octet; silence in a direction that is
//! cut, at both ends, without a word to either; connections that hang while any direction is cut, because a handshake needs both.
//! What it is not: packets. There is no limit of rate. A loss is a stall, as long as TCP takes to send again when nothing follows what was lost
//! (RFC 6298), and never the quicker repair that following segments bring about. What waited for a way to be mended arrives one trip later, where
//! TCP might wait as long again as the way was cut. In a one-way cut the other direction goes on, where TCP ends it after a window that nobody
//! acknowledges.
//!
//! Invariants: octets of a connection arrive in the order in which they were sent, or the connection ends; what waits is bounded, and who sends
//! more waits.

mod carry;
mod relay;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use tokio::sync::watch;

pub use relay::Relay;

use crate::{daemon::Detours, latest::Latest};

/// One direction of a way, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// From one end to the other: half of a round trip on a way that is alike in both directions.
    pub delay: Duration,
    /// Up to so much longer, at random.
    pub jitter: Duration,
    /// Of a thousand pieces, so many are lost and sent again.
    pub loss_permille: u16,
    /// Nothing arrives.
    pub is_cut: bool,
}

impl Path {
    /// A path that is so long, and otherwise perfect.
    #[must_use]
    pub const fn of(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss_permille: 0, is_cut: false }
    }
}

/// A way between two places, seen from one of them. Cheap to clone; clones are the same way.
#[derive(Clone, Debug)]
pub struct Way {
    there: watch::Sender<Path>,
    back: watch::Sender<Path>,
}

impl Way {
    /// A way that is the same in both directions.
    #[must_use]
    pub fn new(path: Path) -> Self {
        Self { there: watch::Sender::new(path), back: watch::Sender::new(path) }
    }

    /// The same way, seen from its other end.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { there: self.back.clone(), back: self.there.clone() }
    }

    /// Changes the direction that leads away from here.
    pub fn change_there(&self, change: impl FnOnce(&mut Path)) {
        self.there.send_modify(change);
    }

    /// Changes the direction that leads here.
    pub fn change_back(&self, change: impl FnOnce(&mut Path)) {
        self.back.send_modify(change);
    }

    /// Cuts both directions, or mends them.
    pub fn cut(&self, is_cut: bool) {
        self.change_there(|path| path.is_cut = is_cut);
        self.change_back(|path| path.is_cut = is_cut);
    }

    /// No handshake comes to its end.
    fn is_closed(&self) -> bool {
        self.there.latest().is_cut || self.back.latest().is_cut
    }
}

/// Places, the ways between them, and the relays that stand for them. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Wan {
    /// By the names of both ends, the lesser one first, and seen from it.
    ways: BTreeMap<(String, String), Way>,
    /// By the place that dials, and where the target really is.
    relays: BTreeMap<(String, SocketAddr), Relay>,
    seed: u64,
}

impl Wan {
    /// No place yet. `seed` is what jitter and losses are drawn from.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { ways: BTreeMap::new(), relays: BTreeMap::new(), seed }
    }

    /// Joins two places by a way that is the same in both directions.
    pub fn join(&mut self, one: &str, other: &str, path: Path) {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        self.ways.insert((first.to_owned(), second.to_owned()), Way::new(path));
    }

    /// The way between two places, seen from the first; `None`: there is none, which is as if they were one place.
    #[must_use]
    pub fn way(&self, from: &str, to: &str) -> Option<Way> {
        if from < to {
            self.ways.get(&(from.to_owned(), to.to_owned())).cloned()
        } else {
            self.ways.get(&(to.to_owned(), from.to_owned())).map(Way::reversed)
        }
    }

    /// Cuts all ways of a place, or mends them.
    pub fn cut(&self, place: &str, is_cut: bool) {
        for ((one, other), way) in &self.ways {
            if one == place || other == place {
                way.cut(is_cut);
            }
        }
    }

    /// Where a node in `from` reaches each of these: the place of the target, and where it really is. Nodes of one place share their relays.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn detours(&mut self, from: &str, targets: &[(&str, SocketAddr)]) -> io::Result<Detours> {
        let mut detours = Vec::new();
        for (place, target) in targets {
            let Some(way) = self.way(from, place) else { continue };
            let key = (from.to_owned(), *target);
            let address = match self.relays.get(&key) {
                Some(relay) => relay.address(),
                None => {
                    self.seed = self.seed.wrapping_add(1);
                    let relay = Relay::open(way, *target, self.seed).await?;
                    let address = relay.address();
                    self.relays.insert(key, relay);
                    address
                }
            };
            detours.push((*target, address));
        }
        Ok(detours.into_iter().collect())
    }
}
