//! Names to addresses, by the system's resolver.
//!
//! The system's resolver is a blocking call that may take many seconds and cannot be cancelled, so lookups run on threads of their own, at
//! most [`LOOKUPS_MAX`] of them: a dead resolver then costs that many threads and no more. Whoever waits longer than it can stops waiting;
//! the lookup keeps its place until it ends.
//!
//! Invariant: the first address counts, in the resolver's order (RFC 6724), as for a client that does not race families.
//! Absent on purpose: a cache. A probe must see what a new client sees, and the host's own resolver caches.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use portolan_core::model::check::Host;
use thiserror::Error;
use tokio::sync::Semaphore;

/// The most lookups under way: an eighth of the runtime's blocking threads (512), so that a dead resolver leaves room for files.
pub const LOOKUPS_MAX: usize = 64;

/// Why a name has no address.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The resolver said no, or could not be asked.
    #[error("look up `{name}`: {source}")]
    Failed {
        /// The name.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver knows the name, but not one address.
    #[error("look up `{0}`: no address; give the name an A or AAAA record")]
    NoAddress(String),
}

/// The system's resolver with a bound on the lookups under way. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct Resolver {
    places: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolver {
    /// The address to connect to. An address as host is returned without asking anyone.
    ///
    /// # Errors
    /// [`ResolveError`] when the name does not resolve.
    pub async fn resolve(&self, host: &Host, port: u16) -> Result<SocketAddr, ResolveError> {
        let name = match host {
            Host::Ip(address) => return Ok(SocketAddr::new(*address, port)),
            Host::Name(name) => name.to_string(),
        };
        let failed = |source| ResolveError::Failed { name: name.clone(), source };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|closed| failed(io::Error::other(closed)))?;
        let asked = name.clone();
        let lookup = tokio::task::spawn_blocking(move || {
            let found = (asked.as_str(), port).to_socket_addrs().map(|mut addresses| addresses.next());
            drop(place);
            found
        });
        let found = lookup.await.map_err(|panicked| failed(io::Error::other(panicked)))?.map_err(failed)?;
        found.ok_or(ResolveError::NoAddress(name))
    }
}
