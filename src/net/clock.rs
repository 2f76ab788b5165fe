//! The wall clock as an argument.

use std::fmt;

use portolan_core::model::time::Timestamp;

/// Tells the time of day. The daemon gives the node's own clock (or its peers' median when that one is wrong); tests give a fixed one.
pub trait WallClock: fmt::Debug + Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still: for tests and for replays.
impl WallClock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}
