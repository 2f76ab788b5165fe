//! Deadlines of the ways between nodes, which all grow with how long an answer may be on its way.
//!
//! Around the world and back takes a third of a second, and the least patience is three times that.

use std::time::Duration;

/// How long an answer of a peer may be on its way. Each deadline is a multiple of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(Duration);

const LEAST: Duration = Duration::from_secs(1);

impl Default for Patience {
    fn default() -> Self {
        Self(LEAST)
    }
}

impl Patience {
    /// For nodes of which another one stands when its leader was silent for so long: a third of that, and at least a second. Whoever raises the one
    /// because the ways are long has the other raised, too.
    #[must_use]
    pub fn of_election(silence: Duration) -> Self {
        Self((silence / 3).max(LEAST))
    }

    /// So many times as long.
    #[must_use]
    pub const fn times(self, n: u32) -> Duration {
        self.0.saturating_mul(n)
    }

    /// For a name, TCP and TLS together.
    pub(super) const fn connect(self) -> Duration {
        self.times(2)
    }

    /// A connection that was dialed, and does not say for so long that it lives when it is asked, is dead: heartbeats and observations shall go over
    /// another one before an election is due.
    pub(super) const fn dialed(self) -> Duration {
        self.times(1)
    }

    /// The same of one that was taken.
    pub(super) const fn taken(self) -> Duration {
        self.times(5)
    }

    /// The other side of a link introduces itself.
    pub(super) const fn hello(self) -> Duration {
        self.times(2)
    }

    /// A link that is silent for so long is given up: with the shortest patience three pings and six news are missing.
    pub(super) const fn link(self) -> Duration {
        self.times(3)
    }

    /// A stream of state that is silent for so long is dead: the sender says every second that nothing is new.
    pub(super) const fn state(self) -> Duration {
        self.times(4)
    }

    /// Until the first pong is here a way is taken to be so long that nothing looks younger than it is.
    pub(super) const fn unknown(self) -> Duration {
        self.times(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_second_by_default_and_grows_with_elections() {
        let of = |seconds| Patience::of_election(Duration::from_secs(seconds)).times(1).as_secs();
        assert_eq!((Patience::default().times(1).as_secs(), of(0), of(3), of(60)), (1, 1, 1, 20));
    }
}
