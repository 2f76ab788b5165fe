//! Whether clients write, told from what a primary and its agent write by themselves.
//!
//! ```text
//! looks      oldest that runs: 100       101              102              107
//! heartbeats                       one          one              one
//!                                       nothing else      nothing else     four of others ended between
//! ```
//!
//! The position does not say it: heartbeats, checkpoints and snapshots of what runs move it. A transaction that writes has a number, and each look
//! shows the lowest of those that have not ended. That it went on by more than the agent's own shows that somebody else's ended. One that was rolled
//! back, or one of autovacuum, counts as one, which is all that PostgreSQL tells; so the heartbeat's own table is left out of autovacuum.
//!
//! Invariant: while it is not sure which numbers the agent took, nothing is counted.

/// What is known from look to look.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    /// The lowest that had not ended at the last look; `None`: what is seen next is where it is counted from.
    lowest: Option<u64>,
    /// Numbers that the agent took since then.
    own: u64,
    /// It is not known whether the last heartbeat took one, or may still take it.
    is_unsure: bool,
    /// How often others were seen to have ended one.
    count: u64,
}

impl Wrote {
    /// A look showed the lowest that has not ended; how often others were seen.
    pub(super) fn saw(&mut self, lowest: u64) -> u64 {
        let went_on = self.lowest.filter(|_| !self.is_unsure).and_then(|was| lowest.checked_sub(was));
        if went_on.is_some_and(|by| by > self.own) {
            self.count += 1;
        }
        (self.lowest, self.own) = (Some(lowest), 0);
        self.count
    }

    /// A heartbeat is in. It waited for the one before it, whatever that one came to.
    pub(super) fn beat(&mut self) {
        if self.is_unsure {
            (self.is_unsure, self.lowest) = (false, None);
        }
        self.own += 1;
    }

    /// The agent writes something, or does not know whether it has.
    pub(super) fn unsure(&mut self) {
        self.is_unsure = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_are_not_counted_and_what_is_not_sure_is_not_either() {
        let mut wrote = Wrote::default();
        let mut lowest = 100;
        assert_eq!(wrote.saw(lowest), 0);
        for _ in 0..5 {
            wrote.beat();
            lowest += 1;
            assert_eq!(wrote.saw(lowest), 0, "only its heartbeats");
        }
        assert_eq!(wrote.saw(lowest + 1), 1);
        wrote.beat();
        assert_eq!(wrote.saw(lowest + 3), 2, "its heartbeat, and another one's");
        wrote.unsure();
        assert_eq!(wrote.saw(lowest + 9), 2);
        assert_eq!(wrote.saw(lowest + 12), 2, "the heartbeat that hung may have ended only now");
        wrote.beat();
        assert_eq!(wrote.saw(lowest + 14), 2, "counted from here");
        assert_eq!(wrote.saw(lowest + 15), 3);
        assert_eq!(wrote.saw(lowest), 3, "another server's, after a crash");
    }
}
