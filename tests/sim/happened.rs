//! What invariants are told of.

use std::sync::Arc;

use portolan_core::table::Table;

use crate::agreement;

/// Something that an invariant may want to look at. The world is as it is right after.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened<'a> {
    /// A node answers from another table.
    Published {
        id: usize,
        /// `None`: its first one.
        before: Option<&'a Arc<Table>>,
        /// From which answers are explained; `None`: the one in force, as it should be.
        explained: Option<&'a Arc<Table>>,
    },
    /// A node was told again what it had heard.
    Replayed { id: usize, report: &'a str, is_refused: bool, changed: bool },
    /// A node has all entries up to this one, by itself or from a snapshot.
    Applied { id: usize, index: u64 },
    /// Something about agreement.
    #[allow(dead_code, reason = "over an ideal log there is nothing to tell")]
    Agreed { id: usize, fact: &'a agreement::Fact },
    /// Another second has passed.
    Second,
    /// Faults ended so long ago that everything must have come to rest.
    Settled,
    /// Quiet time is over; new faults may follow.
    Over,
}
