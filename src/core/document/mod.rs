//! A document of settings as a tree with positions, and the machinery that turns it into typed values.
//!
//! The tree knows nothing of YAML: a reader outside the core pushes scalars, lists and maps into a [`Builder`], and everything from here on
//! (types, ranges, unknown keys, schema, the words of an error) is pure.
//!
//! Why a tree of our own: problems must be found all in one pass, each with its line, and a plan of 10,000 services must cost neither a
//! `String` per scalar nor a map per section. A node is five words; a scalar that stands in the source as it is meant is only a range of it.
//!
//! Invariant: nodes stand in the order of the source, a collection directly before its children, so that a subtree is a range of nodes and
//! the path of a node can be found from the tree alone, when a problem needs it.
//!
//! Absent on purpose: coercion. `no` is a text, `1:30` is a text, `0123` is not a number, `"80"` is not a number, `80` is not a text.

mod decode;
mod leaf;
mod path;
mod problem;
mod scalar;
mod schema;
mod section;
mod suggest;
mod table;
mod tree;

#[cfg(test)]
mod tests;

pub use decode::{Decode, Measure, Ranged, Reader, Text, Word, bounds, quote};
pub(crate) use leaf::read_host;
pub use leaf::{HostPort, PlainName, Secret, Url, days, hours, millis, minutes, seconds};
pub use path::Path;
pub use problem::{PROBLEMS_MAX, Problem, Report, Severity};
pub(crate) use scalar::decimal;
pub use scalar::{Scalar, to_json};
pub use schema::{Field, Schemas, document_schema, put};
pub use suggest::{did_you_mean, nearest};
pub use table::Table;
pub use tree::{BuildError, Builder, DEPTH_MAX, Document, Kind, NODES_MAX, NodeId, OCTETS_MAX};
