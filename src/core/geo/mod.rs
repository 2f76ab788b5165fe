//! From a client's network to the order of regions.
//!
//! ```text
//! plan networks ----.                                             .--> ranking: which regions, the nearest first
//! geo database -----+--> place --> client --> view (per profile) -+--> fence: where the client may be sent
//! built-in table ---'              ^                              '--> by: what it was judged by
//! latency table -------------------'
//! ```
//!
//! Everything that depends on distance is worked out when a [`map::GeoMap`] is built, off the query path. All networks whose views are
//! equal for every profile share a *class*; a query does one walk down a binary trie, gets the class and the length of the prefix at
//! which the walk ended, and the rest is indexing. Neighbours of the same class are merged, so that this prefix is the widest network
//! with the same class: the ECS scope (RFC 7871 section 7.2.1).
//!
//! Invariant: the class of an address is a function of the layers' contents alone, not of the order in which they were read, so all
//! nodes with the same plan and files answer alike. Absent on purpose: files and their formats; `src/geo` of the daemon reads those.

pub mod builtin;
pub mod distance;
pub mod embed;
pub mod latency;
pub mod map;
pub mod place;
pub mod profile;
pub mod ranking;
pub mod trie;
pub mod view;

pub use latency::{LatencyKey, LatencyTable};
pub use map::{ClassIdx, GeoMap, GeoMapError, GeoMatch};
pub use place::{Origin, Place, PlaceSource};
pub use profile::{GeoProfile, Metric, ProfileIdx, Profiles};
pub use ranking::Ranking;
pub use view::{By, Client, GeoView};
