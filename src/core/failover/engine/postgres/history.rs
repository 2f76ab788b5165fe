//! Timelines: how one copy's line of history lies to another's.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most switches that a history may have: one per promotion ever.
const SWITCHES_MAX: usize = 4096;

/// Where a line left a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The one that was left.
    pub timeline: u32,
    /// The last position on it.
    pub at: u64,
}

/// The line that a database stands on: the timelines that it left, in order, and the one that it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Those that it left.
    pub left: Vec<Switch>,
    /// The one that it is on.
    pub timeline: u32,
}

/// A text that is no history file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} of the timeline history is not `TIMELINE POSITION REASON`, each timeline above the one before: `{text}`")]
pub struct HistoryError {
    /// From one.
    pub line: usize,
    /// As it stands there.
    pub text: String,
}

/// Two lines that parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The timeline on which they did.
    pub timeline: u32,
    /// The last position that both have.
    pub at: u64,
}

impl History {
    /// Reads the history file of `timeline` (`pg_wal/0000000N.history`); the first one has none, which is an empty text.
    ///
    /// # Errors
    /// [`HistoryError`] names the line.
    pub fn parse(text: &str, timeline: u32) -> Result<Self, HistoryError> {
        let mut left: Vec<Switch> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut words = content.split_ascii_whitespace();
            let read = words.next().and_then(|word| word.parse().ok()).zip(words.next().and_then(position));
            let before = left.last().map_or(0, |switch| switch.timeline);
            match read {
                Some((of, at)) if of > before && of < timeline && left.len() < SWITCHES_MAX => left.push(Switch { timeline: of, at }),
                _ => return Err(HistoryError { line: number + 1, text: content.chars().take(80).collect() }),
            }
        }
        Ok(Self { left, timeline })
    }

    /// Where the present timeline began; zero: with the database.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.left.last().map_or(0, |switch| switch.at)
    }

    /// The last position of the timeline at this place of the line; `None`: it is the present one, or there is no such place.
    fn end(&self, place: usize) -> Option<u64> {
        self.left.get(place).map(|switch| switch.at)
    }

    fn timeline_at(&self, place: usize) -> Option<u32> {
        self.left.get(place).map(|switch| switch.timeline).or_else(|| (place == self.left.len()).then_some(self.timeline))
    }

    /// Where a copy that stands on this line, and ends at `position`, parted from `other`; `None`: everything that it has is on that line, too.
    #[must_use]
    pub fn parted(&self, position: u64, other: &Self) -> Option<Divergence> {
        let mut common = Divergence { timeline: 0, at: 0 };
        for place in 0.. {
            let timeline = match (self.timeline_at(place), other.timeline_at(place)) {
                (Some(ours), Some(theirs)) if ours == theirs => ours,
                // One of them went elsewhere, or the copy went on where the other one stands.
                _ => break,
            };
            let at = match (self.end(place), other.end(place)) {
                (Some(ours), Some(theirs)) => ours.min(theirs),
                (None, Some(theirs)) => position.min(theirs),
                (Some(ours), None) => ours,
                // The same timeline: the other one goes on, or has not got so far.
                (None, None) => return None,
            };
            common = Divergence { timeline, at };
            if self.end(place) != other.end(place) {
                break;
            }
        }
        (position > common.at).then_some(common)
    }
}

/// A position as PostgreSQL writes it: two hexadecimal halves.
#[must_use]
pub fn position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let half = |text: &str| (!text.is_empty() && text.len() <= 8).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    Some(half(high)? << 32 | half(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn line(left: &[(u32, u64)], timeline: u32) -> History {
        History { left: left.iter().map(|(timeline, at)| Switch { timeline: *timeline, at: *at }).collect(), timeline }
    }

    #[test]
    fn a_history_file_is_read_or_its_line_is_named() {
        let text = "1\t0/3000148\tno recovery target specified\n\n2\t1/A0000000\tno recovery target specified\n";
        assert_eq!(History::parse(text, 3), Ok(line(&[(1, 0x0300_0148), (2, 0x1_A000_0000)], 3)));
        assert_eq!(History::parse("", 1), Ok(line(&[], 1)));
        for (text, bad) in [("1\tx/1\t", 1), ("1\t0/1\n1\t0/2\n", 2), ("3\t0/1\n", 1), ("1 0/123456789", 1), ("one 0/1", 1), ("2", 1)] {
            assert_eq!(History::parse(text, 3).map_err(|error| error.line), Err(bad), "{text:?}");
        }
        assert_eq!((position("0/0"), position("FFFFFFFF/FFFFFFFF"), position("1"), position("/1")), (Some(0), Some(u64::MAX), None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[0-9A-F/\\t\\n ]){0,200}", timeline in 0..9_u32) {
            if let Ok(history) = History::parse(&text, timeline) {
                prop_assert!(history.left.is_sorted_by(|a, b| a.timeline < b.timeline));
            }
        }

        #[test]
        fn who_parted_has_more_than_both_have_and_a_line_does_not_part_from_itself(
            ours in (vec((1..5_u32, 1..50_u64), 0..4), 1..6_u32), theirs in (vec((1..5_u32, 1..50_u64), 0..4), 1..6_u32), position in 0..60_u64
        ) {
            let line = |(left, timeline): (Vec<(u32, u64)>, u32)| History {
                left: left.into_iter().map(|(timeline, at)| Switch { timeline, at }).collect(),
                timeline,
            };
            let (ours, theirs) = (line(ours), line(theirs));
            prop_assert_eq!(ours.parted(position, &ours), None);
            if let Some(parted) = ours.parted(position, &theirs) {
                prop_assert!(parted.at < position);
            }
        }
    }

    #[test]
    fn two_lines_part_where_one_has_what_the_other_has_not() {
        let first = line(&[], 1);
        let second = line(&[(1, 100)], 2);
        let third = line(&[(1, 100), (2, 150)], 3);
        let parted = |ours: &History, position, theirs: &History| ours.parted(position, theirs).map(|it| (it.timeline, it.at));
        assert_eq!(parted(&first, 90, &second), None, "a standby that has less than what was promoted");
        assert_eq!(parted(&first, 100, &second), None);
        assert_eq!(parted(&first, 101, &second), Some((1, 100)), "a primary that wrote on");
        assert_eq!(parted(&first, 500, &first), None);
        assert_eq!(parted(&first, 130, &third), Some((1, 100)));
        assert_eq!(parted(&second, 140, &third), None);
        assert_eq!(parted(&second, 151, &third), Some((2, 150)));
        assert_eq!(parted(&second, 120, &first), Some((1, 100)), "it was promoted, and the other one goes on as before");
        assert_eq!(parted(&second, 100, &first), None, "promoted, and nothing written: nothing of it is lost");
        let other = line(&[(1, 80)], 3);
        assert_eq!(parted(&second, 120, &other), Some((1, 80)), "both were promoted, from another place each");
        assert_eq!(parted(&other, 120, &second), Some((1, 80)));
        assert_eq!(parted(&other, 80, &second), None);
        let twin = line(&[(1, 100)], 4);
        assert_eq!(parted(&second, 120, &twin), Some((1, 100)), "from the same place, to two timelines");
    }
}
