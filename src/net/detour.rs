//! Where to connect in another one's place.
//!
//! All nodes of a cluster have the same address book and the same plan. In a demo, a test or a bench, where the way from one region to another is
//! a relay on this machine, each node dials the relay of its own region in place of the address that everybody knows. Empty in production, and
//! never in a file.
//!
//! Absent on purpose: datagrams, since relays carry TCP only.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// TCP targets that are reached elsewhere. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detours(Arc<BTreeMap<SocketAddr, SocketAddr>>);

impl Detours {
    /// Where to connect for `target`: there, unless a detour is known.
    #[must_use]
    pub fn of(&self, target: SocketAddr) -> SocketAddr {
        self.0.get(&target).copied().unwrap_or(target)
    }
}

/// From each target to where it is reached.
impl FromIterator<(SocketAddr, SocketAddr)> for Detours {
    fn from_iter<T: IntoIterator<Item = (SocketAddr, SocketAddr)>>(pairs: T) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}
