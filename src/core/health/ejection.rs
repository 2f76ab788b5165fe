//! Decides who leaves the answers of one service, and who is kept although it fails.
//!
//! A dead endpoint helps nobody, so one that cannot be reached always leaves. One that answers, but wrongly or slowly, may still be better
//! than the load that its leaving puts on the others: of these, only so many leave that the ejected stay within `max_ejection`.
//!
//! Invariant: an endpoint is kept by the limit only when one more to leave would exceed it. Absent on purpose: what is answered when nobody
//! stays (`all_down`, decided by the table). Source: Envoy's `max_ejection_percent`, narrowed to endpoints that still answer.

use std::fmt;

use crate::model::{
    time::Timestamp,
    units::Share,
    verdict::{Health, Verdict},
};

use super::overlay::Effective;

/// What ejection needs to know of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Up.
    Up,
    /// Down, and nothing answers.
    Unreachable,
    /// Down, but something answers: wrongly, or too slowly.
    Misbehaving {
        /// Since when; who failed first leaves first.
        since: Option<Timestamp>,
    },
    /// Not judged yet.
    Unknown,
    /// A person took it out.
    Withdrawn,
}

impl Standing {
    /// Reads a verdict that no override changed.
    #[must_use]
    pub fn observed(verdict: &Verdict) -> Self {
        match verdict.health {
            Health::Up => Self::Up,
            Health::Unknown => Self::Unknown,
            Health::Down if verdict.is_unreachable() => Self::Unreachable,
            Health::Down => Self::Misbehaving { since: verdict.since },
        }
    }

    /// Reads what is effective under overrides: drained and forced down are withdrawn, whatever the limit.
    #[must_use]
    pub fn effective(effective: &Effective) -> Self {
        if effective.is_withdrawn() { Self::Withdrawn } else { Self::observed(&effective.verdict) }
    }
}

/// The decision for one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Stays in the answers.
    Kept(Kept),
    /// Leaves the answers.
    Left(Left),
}

impl Fate {
    /// Whether it stays.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// Why an endpoint stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// It is up.
    Up,
    /// It fails, but still answers, and `max_ejection_percent` is reached.
    EjectionLimit,
}

/// Why an endpoint leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// It cannot be reached.
    Unreachable,
    /// It answers wrongly or slowly, and the limit has room.
    Misbehaving,
    /// It was not judged yet.
    Unknown,
    /// Drained or forced down.
    Withdrawn,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept(Kept::Up) => "kept: up",
            Self::Kept(Kept::EjectionLimit) => "kept: fails but answers, max_ejection_percent is reached",
            Self::Left(Left::Unreachable) => "left: unreachable",
            Self::Left(Left::Misbehaving) => "left: answers wrongly or slowly",
            Self::Left(Left::Unknown) => "left: not judged yet",
            Self::Left(Left::Withdrawn) => "left: drained or forced down",
        })
    }
}

/// Decides for all endpoints of one service, in their order.
///
/// The limit is `max` of those that nobody withdrew, rounded down; unreachable ones use it up too. Of the misbehaving, the earliest `since`
/// leaves first (a missing one is the earliest), then the lower position. O(n log n).
#[must_use]
pub fn eject(endpoints: &[Standing], max: Share) -> Vec<Fate> {
    let in_rotation = endpoints.iter().filter(|standing| !matches!(standing, Standing::Withdrawn)).count();
    let limit = max.of(in_rotation as u64);
    let unreachable = endpoints.iter().filter(|standing| matches!(standing, Standing::Unreachable)).count();
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(unreachable);
    let mut fates: Vec<Fate> = endpoints
        .iter()
        .map(|standing| match standing {
            Standing::Up => Fate::Kept(Kept::Up),
            Standing::Misbehaving { .. } => Fate::Kept(Kept::EjectionLimit),
            Standing::Unreachable => Fate::Left(Left::Unreachable),
            Standing::Unknown => Fate::Left(Left::Unknown),
            Standing::Withdrawn => Fate::Left(Left::Withdrawn),
        })
        .collect();
    let mut misbehaving: Vec<(Option<Timestamp>, usize)> = endpoints
        .iter()
        .enumerate()
        .filter_map(|(position, standing)| match standing {
            Standing::Misbehaving { since } => Some((*since, position)),
            _ => None,
        })
        .collect();
    misbehaving.sort_unstable();
    for (_, position) in misbehaving.into_iter().take(room) {
        fates[position] = Fate::Left(Left::Misbehaving);
    }
    fates
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: Share = Share::percent(50);

    fn wrong(since: i64) -> Standing {
        Standing::Misbehaving { since: Some(Timestamp(since)) }
    }

    /// `U`p, `D`ead, `?` unknown, `-` withdrawn, `1` to `9` misbehaving since then; result: `U` up, `K` kept by the limit, `.` left.
    fn check(endpoints: &str, max: u16, expected: &str) {
        let standings: Vec<Standing> = endpoints
            .chars()
            .map(|c| match c {
                'U' => Standing::Up,
                'D' => Standing::Unreachable,
                '?' => Standing::Unknown,
                '-' => Standing::Withdrawn,
                since => wrong(i64::from(since.to_digit(10).unwrap())),
            })
            .collect();
        let fates: String = eject(&standings, Share::percent(max))
            .into_iter()
            .map(|fate| match fate {
                Fate::Kept(Kept::Up) => 'U',
                Fate::Kept(Kept::EjectionLimit) => 'K',
                Fate::Left(_) => '.',
            })
            .collect();
        assert_eq!(fates, expected, "{endpoints} at {max} %");
    }

    #[test]
    fn truth_table() {
        check("", 50, "");
        check("UUUU", 50, "UUUU");
        check("UUDD", 50, "UU..");
        check("DDDD", 50, "....");
        check("DDDD", 0, "....");
        check("UU11", 50, "UU..");
        check("U111", 50, "U..K");
        check("U321", 50, "UK..");
        check("1111", 50, "..KK");
        check("1", 50, "K");
        check("1", 100, ".");
        check("U1", 0, "UK");
        check("UD1D", 50, "U.K.");
        check("DDD1", 50, "...K");
        check("U?11", 50, "U...");
        check("--U1", 50, "..U.");
        check("-U1", 50, ".U.");
        check("--11", 50, "...K");
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Up),
            Just(Standing::Unreachable),
            Just(Standing::Unknown),
            Just(Standing::Withdrawn),
            (0_i64..5).prop_map(wrong),
            Just(Standing::Misbehaving { since: None }),
        ]
    }

    proptest! {
        #[test]
        fn the_unreachable_leave_and_no_more_are_kept_than_needed(list in prop::collection::vec(standing(), 0..20), percent in 0_u16..=100) {
            let max = Share::percent(percent);
            let fates = eject(&list, max);
            prop_assert_eq!(&fates, &eject(&list, max), "deterministic");
            let in_rotation = list.iter().filter(|standing| **standing != Standing::Withdrawn).count();
            let ejected = fates.iter().filter(|fate| matches!(fate, Fate::Left(Left::Unreachable | Left::Misbehaving))).count();
            let left_for_answering_wrongly = fates.contains(&Fate::Left(Left::Misbehaving));
            let within = |n: usize| n * 100 <= in_rotation * usize::from(percent);
            prop_assert!(!left_for_answering_wrongly || within(ejected), "the limit holds");
            prop_assert!(!fates.contains(&Fate::Kept(Kept::EjectionLimit)) || !within(ejected + 1), "one more would exceed the limit");
            for (standing, fate) in list.iter().zip(&fates) {
                match standing {
                    Standing::Up => prop_assert_eq!(*fate, Fate::Kept(Kept::Up)),
                    Standing::Unreachable => prop_assert_eq!(*fate, Fate::Left(Left::Unreachable)),
                    Standing::Unknown => prop_assert_eq!(*fate, Fate::Left(Left::Unknown)),
                    Standing::Withdrawn => prop_assert_eq!(*fate, Fate::Left(Left::Withdrawn)),
                    Standing::Misbehaving { .. } => prop_assert!(matches!(fate, Fate::Left(Left::Misbehaving) | Fate::Kept(Kept::EjectionLimit))),
                }
            }
        }

        #[test]
        fn who_failed_first_leaves_first(list in prop::collection::vec((0_i64..5).prop_map(wrong), 0..20)) {
            let fates = eject(&list, HALF);
            let since = |kept: bool| {
                list.iter().zip(&fates).filter(move |(_, fate)| fate.is_kept() == kept).filter_map(|(standing, _)| match standing {
                    Standing::Misbehaving { since } => *since,
                    _ => None,
                })
            };
            if let (Some(last_to_leave), Some(first_kept)) = (since(false).max(), since(true).min()) {
                prop_assert!(last_to_leave <= first_kept);
            }
        }
    }
}
