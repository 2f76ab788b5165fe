//! The line of history that a database stands on, and how one copy's lies to another's.

use serde::{Deserialize, Serialize};

use super::{super::postgres::Divergence, ReplicationId};
use crate::failover::token::Token;

/// What is put between two stretches where nobody knows how far the earlier one went: more octets than any primary writes between two
/// snapshots, so that no copy of the earlier one seems to have more than those of the later one.
pub const GAP: u64 = 1 << 40;

/// Openings that are remembered. Copies that stood apart for longer have nothing in common.
const STRETCHES_MAX: usize = 64;

/// The longest text of a line.
pub const LINE_OCTETS_MAX: usize = 256 * STRETCHES_MAX;

/// One opening, and what was written since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// By which grant.
    pub token: Token,
    /// Grows with each.
    pub timeline: u32,
    /// Of the primary's run.
    pub id: ReplicationId,
    /// The last position that is the same on the stretch before.
    pub forked: u64,
    /// The position at `offset`: beyond `forked`, where nobody knew how far the stretch before went.
    pub began: u64,
    /// The replication offset from which this one counts.
    pub offset: u64,
}

/// A database's line: its openings, in order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which database; copies have the same.
    pub system: u64,
    stretches: Vec<Stretch>,
}

impl Line {
    /// One that begins.
    #[must_use]
    pub fn new(system: u64, first: Stretch) -> Self {
        Self { system, stretches: vec![first] }
    }

    /// Reads what [`Self::text`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LINE_OCTETS_MAX {
            return Err(format!("it is longer than {LINE_OCTETS_MAX} octets"));
        }
        let line: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let is_ordered = line.stretches.is_sorted_by(|a, b| a.timeline < b.timeline && a.forked <= b.forked);
        if line.stretches.is_empty() || line.stretches.len() > STRETCHES_MAX || !is_ordered {
            return Err("its openings are not in order".to_owned());
        }
        if line.stretches.iter().any(|stretch| stretch.began < stretch.forked) {
            return Err("an opening begins before it left the one before".to_owned());
        }
        Ok(line)
    }

    /// As it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The latest opening.
    #[must_use]
    pub fn last(&self) -> &Stretch {
        self.stretches.last().expect("invariant: a line has an opening")
    }

    /// Goes on with this one.
    #[must_use]
    pub fn with(&self, next: Stretch) -> Self {
        let keep = self.stretches.len().saturating_sub(STRETCHES_MAX - 1);
        let stretches = self.stretches.iter().skip(keep).cloned().chain([next]).collect();
        Self { system: self.system, stretches }
    }

    /// This line as it was while this run counted; `None`: it was never on it.
    #[must_use]
    pub fn at(&self, id: &ReplicationId) -> Option<Self> {
        let place = self.stretches.iter().rposition(|stretch| stretch.id == *id)?;
        Some(Self { system: self.system, stretches: self.stretches.iter().take(place + 1).cloned().collect() })
    }

    /// The position of an offset of the latest opening's count; `None`: it lies before it.
    #[must_use]
    pub fn position(&self, offset: u64) -> Option<u64> {
        let Stretch { began, offset: from, .. } = self.last();
        Some(began.saturating_add(offset.checked_sub(*from)?))
    }

    /// Where a copy that stands on this line, and ends at `position`, parted from `other`; `None`: everything that it has is on that line, too.
    #[must_use]
    pub fn parted(&self, position: u64, other: &Self) -> Option<Divergence> {
        for (place, ours) in self.stretches.iter().enumerate().rev() {
            let Some(there) = other.stretches.iter().rposition(|theirs| theirs.id == ours.id && theirs.forked == ours.forked) else {
                continue;
            };
            let end = self.stretches.get(place + 1).map_or(position, |next| next.forked);
            let at = other.stretches.get(there + 1).map_or(end, |next| next.forked.min(end));
            return (position > at).then_some(Divergence { timeline: ours.timeline, at });
        }
        Some(Divergence { timeline: 0, at: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn id(number: u32) -> ReplicationId {
        ReplicationId::new(&format!("{:040x}", number + 1)).unwrap()
    }

    fn stretch(timeline: u32, of: u32, forked: u64) -> Stretch {
        Stretch { token: Token { generation: 0, epoch: u64::from(timeline) }, timeline, id: id(of), forked, began: forked, offset: forked }
    }

    fn made(stretches: &[(u32, u32, u64)]) -> Line {
        let mut all = stretches.iter().map(|(timeline, of, forked)| stretch(*timeline, *of, *forked));
        let first = Line::new(7, all.next().unwrap());
        all.fold(first, |line, next| line.with(next))
    }

    #[test]
    fn two_lines_part_where_one_has_what_the_other_has_not() {
        let first = made(&[(1, 1, 0)]);
        let second = made(&[(1, 1, 0), (2, 2, 100)]);
        let third = made(&[(1, 1, 0), (2, 2, 100), (3, 3, 150)]);
        let parted = |ours: &Line, position, theirs: &Line| ours.parted(position, theirs).map(|it| (it.timeline, it.at));
        assert_eq!(parted(&first, 100, &second), None, "a replica that has no more than what was promoted");
        assert_eq!(parted(&first, 101, &second), Some((1, 100)), "a primary that wrote on");
        assert_eq!(parted(&first, 500, &first), None);
        assert_eq!(parted(&first, 130, &third), Some((1, 100)));
        assert_eq!(parted(&second, 140, &third), None);
        assert_eq!(parted(&second, 151, &third), Some((2, 150)));
        assert_eq!(parted(&second, 120, &first), Some((1, 100)), "it was promoted, and the other one goes on as before");
        let twin = made(&[(1, 1, 0), (2, 9, 100)]);
        assert_eq!(parted(&second, 120, &twin), Some((1, 100)), "one number, and another run");
        assert_eq!(parted(&made(&[(1, 8, 0)]), 5, &first), Some((0, 0)), "nothing in common");
    }

    #[test]
    fn positions_count_on_from_where_a_stretch_began() {
        let own = Line::new(7, Stretch { began: 1000, forked: 900, offset: 50, ..stretch(1, 1, 0) });
        assert_eq!((own.position(50), own.position(60), own.position(49)), (Some(1000), Some(1010), None));
        let later = own.with(stretch(2, 2, 1010));
        assert_eq!(later.at(&id(1)), Some(own));
        assert_eq!(later.at(&id(5)), None);
    }

    #[test]
    fn a_text_that_is_no_line_is_refused() {
        let good = made(&[(1, 1, 0), (2, 2, 100)]);
        assert_eq!(Line::parse(&good.text()), Ok(good.clone()));
        let back = Line { system: 7, stretches: vec![stretch(2, 2, 100), stretch(1, 1, 0)] };
        for text in ["", "{}", "null", r#"{"system":7,"stretches":[]}"#, &back.text(), &" ".repeat(LINE_OCTETS_MAX + 1)] {
            assert!(Line::parse(text).is_err(), "{}", text.chars().take(80).collect::<String>());
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_can_be_read_back() {
        let long = (2..1000_u32).fold(made(&[(1, 1, 0)]), |line, number| line.with(stretch(number, number, u64::from(number))));
        assert_eq!(Line::parse(&long.text()).unwrap().last().timeline, 999);
        assert_eq!(long.stretches.len(), STRETCHES_MAX);
    }

    proptest! {
        #[test]
        fn a_line_does_not_part_from_itself_and_who_parted_has_more_than_both_have(
            ours in vec((1..4_u32, 0..40_u64), 1..5), theirs in vec((1..4_u32, 0..40_u64), 1..5), ahead in 0..60_u64
        ) {
            let line = |of: &[(u32, u64)]| {
                let mut forked = 0;
                let all: Vec<_> = of.iter().enumerate().map(|(place, (id, more))| {
                    forked += more;
                    (u32::try_from(place).unwrap() + 1, u32::try_from(place).unwrap() * 4 + id, forked)
                }).collect();
                made(&all)
            };
            let (ours, theirs) = (line(&ours), line(&theirs));
            let position = ours.last().forked + ahead;
            prop_assert_eq!(ours.parted(position, &ours), None);
            if let Some(parted) = ours.parted(position, &theirs) {
                prop_assert!(parted.at < position || parted.timeline == 0);
            }
        }
    }
}
