//! Whom a node gave its word that nobody else makes the cluster.
//!
//! A word is given to one at a time, one's own included, and ends by itself. Who tries asks the lowest name of the address book first and the
//! rest only when it has that word. So of several that try at one moment all but one fail with empty hands, and whoever tries again later finds
//! no word that is held for nothing (resources taken in one order: Havender 1968). Without the order each may take some words, fail for want of
//! the others, and leave the next one waiting for what it took, again and again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::model::time::Tick;

/// How long a word holds. Who asks gives up after half of it, so that the first entry is written while all words hold.
pub(super) const WORD_LIFE: Duration = Duration::from_secs(10);

/// The word of one node: who has it, and until when.
#[derive(Default)]
pub(super) struct Words {
    given: Mutex<Option<(u64, Tick)>>,
}

impl Words {
    /// Who has this node's word.
    pub(super) fn holder(&self, now: Tick) -> Option<u64> {
        self.given().filter(|(_, until)| now < *until).map(|(to, _)| to)
    }

    /// Gives the word to `to`, or for longer, unless another one has it. Gives who has it then.
    pub(super) fn give(&self, now: Tick, to: u64) -> u64 {
        let mut given = self.given();
        let holder = given.filter(|(_, until)| now < *until).map_or(to, |(holder, _)| holder);
        if holder == to {
            *given = Some((to, now + WORD_LIFE));
        }
        holder
    }

    /// Takes back the word that this node, `own`, gave itself.
    pub(super) fn take_back(&self, own: u64) {
        self.given().take_if(|(to, _)| *to == own);
    }

    fn given(&self) -> MutexGuard<'_, Option<(u64, Tick)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::default() + Duration::from_millis(ms)
    }

    #[test]
    fn a_word_is_for_one_until_it_ends_or_is_taken_back() {
        let words = Words::default();
        assert_eq!(words.holder(at(0)), None);
        assert_eq!(words.give(at(0), 7), 7);
        assert_eq!(words.give(at(1), 8), 7);
        assert_eq!(words.give(at(5_000), 7), 7, "it holds longer");
        words.take_back(8);
        assert_eq!((words.holder(at(14_999)), words.holder(at(15_000))), (Some(7), None));
        assert_eq!(words.give(at(15_000), 8), 8);
        words.take_back(8);
        assert_eq!(words.holder(at(15_000)), None);
    }

    /// What a node does next.
    #[derive(Clone, Copy, PartialEq)]
    enum Next {
        First,
        Rest,
    }

    proptest! {
        /// Nodes that try at any moments, again and again. While one is cut off every try fails half way; once none is, words that were left
        /// behind hold the others up for their life at most.
        #[test]
        fn somebody_makes_it_soon_however_many_try(
            starts in prop::collection::vec(0_u64..1_000, 2..6),
            slow in 1_u64..4_000,
            pause in 1_u64..600,
            is_whole_at in 0_u64..20_000,
        ) {
            let nodes: Vec<Words> = starts.iter().map(|_| Words::default()).collect();
            let mut next: Vec<(u64, Next)> = starts.iter().map(|start| (*start, Next::First)).collect();
            let life = u64::try_from(WORD_LIFE.as_millis()).unwrap();
            let limit = is_whole_at.max(1_000) + life + 2 * (slow + pause);
            loop {
                let (n, (now, step)) = next.iter().copied().enumerate().min_by_key(|(_, (at, _))| *at).unwrap();
                prop_assert!(now <= limit, "nobody has all words after {limit} ms");
                let (own, now_tick) = (n as u64, at(now));
                let has = |other: usize| nodes[other].give(now_tick, own) == own;
                next[n] = match step {
                    Next::First if has(0) => (now + slow, Next::Rest),
                    Next::First => (now + pause, Next::First),
                    Next::Rest if now >= is_whole_at && (1..nodes.len()).all(has) => break,
                    Next::Rest => {
                        (1..nodes.len() - 1).for_each(|other| _ = has(other));
                        nodes[n].take_back(own);
                        (now + pause, Next::First)
                    }
                };
            }
        }
    }
}
