//! Lines: how one copy's history lies to another's.
//!
//! MariaDB has no timelines. Each opening of what was a standby writes a row into the database that says from where on it is this one's history;
//! a copy that has the row stands on that line, and a copy that has more than the position before it, and not the row, parted from it.

use serde::{Deserialize, Serialize};

use crate::failover::token::Token;

/// A stretch of history that one opening began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Above that of the line before.
    pub timeline: u32,
    /// The last position before it.
    pub began: u64,
    /// By which grant it began: two that began from one place are two.
    pub token: Token,
    /// On which server (`server_id`).
    pub server: u32,
}

/// The lines that a copy went through, in order. The first one of all, timeline 1, has no row: the database began with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<Line>);

/// Two histories that parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The timeline on which they did.
    pub timeline: u32,
    /// The last position that both have.
    pub at: u64,
}

impl History {
    /// Of these lines; `None`: they are in no order that openings write.
    #[must_use]
    pub fn new(lines: Vec<Line>) -> Option<Self> {
        let first = lines.first().is_none_or(|line| line.timeline > 1);
        (first && lines.is_sorted_by(|a, b| a.timeline < b.timeline && a.began < b.began)).then_some(Self(lines))
    }

    /// The line that it is on; `None`: the first one.
    #[must_use]
    pub fn last(&self) -> Option<&Line> {
        self.0.last()
    }

    /// The timeline that it is on.
    #[must_use]
    pub fn timeline(&self) -> u32 {
        self.last().map_or(1, |line| line.timeline)
    }

    /// Where that began; zero: with the database.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.last().map_or(0, |line| line.began)
    }

    /// Where a copy with this history, which ends at `position`, parted from `other`; `None`: everything that it has is in that one, too.
    #[must_use]
    pub fn parted(&self, position: u64, other: &Self) -> Option<Divergence> {
        let n_common = self.0.iter().zip(&other.0).take_while(|(ours, theirs)| ours == theirs).count();
        let timeline = n_common.checked_sub(1).map_or(1, |last| self.0[last].timeline);
        let at = match (self.0.get(n_common), other.0.get(n_common)) {
            (Some(ours), Some(theirs)) => ours.began.min(theirs.began),
            (Some(line), None) | (None, Some(line)) => line.began,
            // The same line: the other one goes on, or has not got so far.
            (None, None) => return None,
        };
        (position > at).then_some(Divergence { timeline, at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn history(lines: &[(u32, u64, u64)]) -> History {
        let line = |(timeline, began, epoch): &(u32, u64, u64)| Line {
            timeline: *timeline,
            began: *began,
            token: Token { generation: 1, epoch: *epoch },
            server: u32::try_from(*epoch).unwrap(),
        };
        History::new(lines.iter().map(line).collect()).unwrap()
    }

    #[test]
    fn two_histories_part_where_one_has_what_the_other_has_not() {
        let (first, second, third) = (history(&[]), history(&[(2, 100, 7)]), history(&[(2, 100, 7), (3, 150, 8)]));
        let parted = |ours: &History, position, theirs: &History| ours.parted(position, theirs).map(|it| (it.timeline, it.at));
        assert_eq!(parted(&first, 90, &second), None, "a standby that has less than what was promoted");
        assert_eq!(parted(&first, 100, &second), None);
        assert_eq!(parted(&first, 101, &second), Some((1, 100)), "a primary that wrote on");
        assert_eq!(parted(&first, 500, &first), None);
        assert_eq!(parted(&second, 160, &third), Some((2, 150)));
        assert_eq!(parted(&third, 151, &second), Some((2, 150)), "it was opened, and the other one was not");
        let twin = history(&[(2, 100, 9)]);
        assert_eq!(parted(&second, 120, &twin), Some((1, 100)), "from the same place, by two grants");
        let early = history(&[(3, 80, 9)]);
        assert_eq!(parted(&second, 120, &early), Some((1, 80)));
        assert_eq!(parted(&early, 81, &second), Some((1, 80)));
        assert_eq!((first.timeline(), first.began(), third.timeline(), third.began()), (1, 0, 3, 150));
    }

    #[test]
    fn rows_that_no_opening_writes_are_no_history() {
        let line = |timeline, began| Line { timeline, began, token: Token::default(), server: 1 };
        assert_eq!(History::new(vec![line(1, 5)]), None);
        assert_eq!(History::new(vec![line(2, 5), line(2, 6)]), None);
        assert_eq!(History::new(vec![line(2, 5), line(3, 5)]), None, "an opening takes a transaction");
        assert!(History::new(vec![line(2, 0), line(5, 9)]).is_some());
    }

    /// A group of servers that hold what they were given, written out.
    #[derive(Clone, Debug, Default)]
    struct Copy {
        /// Who wrote each transaction, and which of its own it was.
        has: Vec<(usize, u64)>,
        lines: Vec<Line>,
    }

    proptest! {
        /// Whoever has a transaction that the primary has not has parted, and nobody else has: told by lines alone, as long as nobody writes but who
        /// was opened.
        #[test]
        fn what_the_lines_say_is_what_the_copies_have(acts in vec((0..3_u8, 0..3_usize), 1..60)) {
            let (mut copies, mut primary, mut next) = (vec![Copy::default(); 3], 0, 0);
            for (act, whom) in acts {
                match act {
                    0 => {
                        next += 1;
                        copies[whom].has.push((whom, next));
                        // Whoever writes was opened last, or is a primary that is not fenced yet: it was opened before.
                        if copies[whom].lines.last().is_none_or(|line| line.server as usize != whom) && whom != 0 {
                            copies[whom].has.pop();
                        } else if whom == 0 && copies[0].lines.last().is_some_and(|line| line.server != 0) {
                            copies[0].has.pop();
                        }
                    }
                    1 if whom != primary => {
                        next += 1;
                        let began = copies[whom].has.len() as u64;
                        let timeline = copies.iter().flat_map(|copy| &copy.lines).map(|line| line.timeline).max().unwrap_or(1) + 1;
                        let token = Token { generation: 1, epoch: next };
                        copies[whom].lines.push(Line { timeline, began, token, server: u32::try_from(whom).unwrap() });
                        copies[whom].has.push((whom, next));
                        primary = whom;
                    }
                    _ => {
                        // It receives one transaction, if it has nothing else.
                        let (n, source) = (copies[whom].has.len(), copies[primary].clone());
                        if source.has.starts_with(&copies[whom].has) && source.has.len() > n {
                            copies[whom].has.push(source.has[n]);
                            copies[whom].lines = source.lines.iter().filter(|line| line.began <= n as u64).copied().collect();
                        }
                    }
                }
            }
            let of = |copy: &Copy| History::new(copy.lines.clone()).unwrap();
            for copy in &copies {
                let (ours, theirs) = (&copy.has, &copies[primary].has);
                let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
                let is_beginning = common == ours.len();
                let parted = of(copy).parted(ours.len() as u64, &of(&copies[primary]));
                prop_assert_eq!(parted.map(|it| it.at), (!is_beginning).then_some(common as u64), "{:?} of {:?}", copy, copies[primary]);
            }
        }
    }
}
