//! Which standby becomes the primary: the one that received most, if it received it in this line of history.
//!
//! ```text
//! timeline 1  -----w1--w2--w3------w4 w5        w4, w5 were lost at the first promotion: their holder is longer, and out of line
//!                           \  fork at w3
//! timeline 2                 w6--w7-----w8
//!                                  \  fork at w7
//! timeline 3                        w9---
//! ```
//!
//! Positions are compared, never (timeline, position) pairs: a standby that was pointed at the new timeline and lags names it without having
//! reached it, and must not beat a longer one that names the parent (the rule `lex` of the checked protocol; removed, it loses acknowledged
//! writes). Whoever passed a committed fork on the old side is out (`lineage`). What was sealed is what counts; what was reported before may grow.
//!
//! Source: `PostgreSQL`'s timelines; rules O4 to O7 of our model-checked protocol.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::keys::{Key, holds};
use crate::model::ids::Label;

/// One copy of the data, sealed: it receives nothing any more, so these do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Where.
    pub region: Label,
    /// Of which database; equal on all members of a group.
    pub system: u64,
    /// The timeline that it names: of the last record that it received.
    pub timeline: u32,
    /// Up to where it received, in the engine's own count.
    pub position: u64,
    /// Up to where it has replayed that; the rest is drained before a promotion.
    pub replayed: u64,
    /// Lower is preferred, among equals. `None`: it is never promoted, by the plan, or because it is delayed or partial.
    pub priority: Option<u16>,
}

/// Where a committed promotion left the line before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The timeline that began there.
    pub timeline: u32,
    /// The last position that both have.
    pub at: u64,
}

/// How far acknowledged writes may be trusted to be on a standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Writes are acknowledged before any standby has them.
    Async,
    /// Writes are acknowledged when any `acknowledging` of these standbys have them.
    Quorum {
        /// Of the grant that was revoked.
        standbys: BTreeSet<Label>,
        /// 1 to as many as there are standbys.
        acknowledging: usize,
    },
}

/// What a person lets be given up in one operation of quorum mode, by an explicit loss: without one nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Copies that may have the last acknowledged writes need not be seen (O5).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// The best copy may end before the position at which the last primary began (O7).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below_floor: bool,
}

impl Waiver {
    /// Whether anything is given up: then what would be lost is judged as without a quorum.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.unseen || self.below_floor
    }

    /// Whether nothing is.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        !self.is_any()
    }
}

/// Who is to be promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Where.
    pub region: Label,
    /// At which position, after it was brought there.
    pub position: u64,
    /// Whoever has more but is never promoted: the chosen one fetches the rest from there first.
    pub fetch_from: Option<Label>,
    /// It ends before the position at which the last primary began: the loss is to be judged anew. In quorum mode only if a person waived that.
    pub is_below_floor: bool,
}

/// Why nobody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unchosen {
    /// Too few of those who may have acknowledged writes are sealed.
    QuorumUnseen {
        /// How many are.
        sealed: usize,
        /// How many must be.
        needed: usize,
    },
    /// Quorum mode: all that are left end before the position at which the last primary began.
    BelowFloor {
        /// That position.
        floor: u64,
        /// The most that anybody has.
        best: u64,
    },
    /// Nobody that is sealed may be promoted.
    NoCandidate,
}

impl fmt::Display for Unchosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuorumUnseen { sealed, needed } => {
                write!(f, "{sealed} of those who may have acknowledged writes are sealed, and it takes {needed}")
            }
            Self::BelowFloor { floor, best } => {
                write!(f, "the best copy ends at {best}, before {floor}, where the last primary began")
            }
            Self::NoCandidate => f.write_str("no copy that is sealed may be promoted"),
        }
    }
}

/// Chooses among what is sealed. `system`: the group's database. `forks`: all committed promotions, in order; the last one is the floor. `waiver`:
/// what a person gives up; lineage is never given up.
///
/// # Errors
/// [`Unchosen`]: the operation is held.
pub fn choose(sealed: &[Sealed], system: u64, forks: &[Fork], durability: &Durability, waiver: Waiver) -> Result<Choice, Unchosen> {
    let in_line: Vec<&Sealed> = sealed.iter().filter(|it| it.system == system && is_in_line(it, forks)).collect();
    if let Durability::Quorum { standbys, acknowledging } = durability {
        // Any write is on `acknowledging` of them, so one of these many has it, whichever they are: one that is out of line never
        // acknowledged anything of this line, so it is another one then.
        let needed = (standbys.len() + 1).saturating_sub(*acknowledging);
        let n_sealed = sealed.iter().filter(|it| it.system == system && standbys.contains(&it.region)).count();
        if n_sealed < needed && !waiver.unseen && holds(Key::SealQ) {
            return Err(Unchosen::QuorumUnseen { sealed: n_sealed, needed });
        }
    }
    // What a copy has, and never which timeline it names.
    let reach = |it: &Sealed| (if holds(Key::Lex) { 0 } else { it.timeline }, it.position);
    let best = in_line.iter().max_by_key(|it| (reach(it), it.priority.is_some())).ok_or(Unchosen::NoCandidate)?;
    let candidates = in_line.iter().filter(|it| it.priority.is_some());
    // Whoever has most; among those the plan's preference, then whoever has least to replay, then the name, so that every node says the same.
    let candidate = candidates
        .max_by(|a, b| {
            let worth = |it: &Sealed| (reach(it), std::cmp::Reverse(it.priority), it.replayed);
            worth(a).cmp(&worth(b)).then_with(|| b.region.cmp(&a.region))
        })
        .ok_or(Unchosen::NoCandidate)?;
    let floor = forks.last().map_or(0, |fork| fork.at);
    let is_below_floor = best.position < floor;
    if is_below_floor && matches!(durability, Durability::Quorum { .. }) && !waiver.below_floor && holds(Key::Floor) {
        return Err(Unchosen::BelowFloor { floor, best: best.position });
    }
    let fetch_from = (candidate.position < best.position).then(|| best.region.clone());
    Ok(Choice { region: candidate.region.clone(), position: best.position, fetch_from, is_below_floor })
}

/// Whether what a copy has is a beginning of what the last primary had, or goes on from it: it passed no later fork on the old side.
fn is_in_line(copy: &Sealed, forks: &[Fork]) -> bool {
    forks.iter().filter(|fork| fork.timeline > copy.timeline).all(|fork| copy.position <= fork.at) || !holds(Key::Lineage)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{failover::keys::without, testing::must_fail};

    const NOTHING: Waiver = Waiver { unseen: false, below_floor: false };

    fn copy(region: &str, timeline: u32, position: u64) -> Sealed {
        Sealed { region: region.into(), system: 7, timeline, position, replayed: position, priority: Some(1) }
    }

    fn quorum(standbys: &[&str], acknowledging: usize) -> Durability {
        Durability::Quorum { standbys: standbys.iter().map(|region| Label::new(region)).collect(), acknowledging }
    }

    fn chosen(sealed: &[Sealed], forks: &[Fork]) -> String {
        match choose(sealed, 7, forks, &Durability::Async, NOTHING) {
            Ok(Choice { region, position, fetch_from: None, .. }) => format!("{region} {position}"),
            Ok(Choice { region, position, fetch_from: Some(from), .. }) => format!("{region} {position} from {from}"),
            Err(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn most_received_wins_then_the_plan_then_what_is_replayed_then_the_name() {
        assert_eq!(chosen(&[copy("eu", 1, 10), copy("ap", 1, 11)], &[]), "ap 11");
        let preferred = Sealed { priority: Some(0), ..copy("eu", 1, 11) };
        assert_eq!(chosen(&[copy("ap", 1, 11), preferred], &[]), "eu 11");
        let behind = Sealed { replayed: 3, ..copy("ap", 1, 11) };
        assert_eq!(chosen(&[behind, copy("eu", 1, 11)], &[]), "eu 11");
        assert_eq!(chosen(&[copy("eu", 1, 11), copy("ap", 1, 11)], &[]), "ap 11");
    }

    #[test]
    fn who_is_never_promoted_gives_what_it_has() {
        let vault = Sealed { priority: None, ..copy("ap", 1, 12) };
        assert_eq!(chosen(&[copy("eu", 1, 10), vault.clone()], &[]), "eu 12 from ap");
        assert_eq!(chosen(&[copy("eu", 1, 12), vault.clone()], &[]), "eu 12");
        assert_eq!(chosen(&[vault], &[]), "NoCandidate");
        assert_eq!(chosen(&[], &[]), "NoCandidate");
    }

    #[test]
    fn another_database_and_another_line_are_out() {
        let forks = [Fork { timeline: 2, at: 10 }, Fork { timeline: 3, at: 14 }];
        assert_eq!(chosen(&[Sealed { system: 8, ..copy("eu", 1, 99) }, copy("ap", 1, 3)], &[]), "ap 3");
        assert_eq!(chosen(&[copy("us", 1, 12), copy("eu", 2, 11)], &forks), "eu 11", "it is longer because of what was lost");
        assert_eq!(chosen(&[copy("us", 1, 10), copy("eu", 3, 9)], &forks), "us 10", "it names the newest, and has less");
        assert_eq!(chosen(&[copy("us", 2, 15)], &forks), "NoCandidate");
    }

    #[test]
    fn a_quorum_must_be_seen_and_nobody_goes_below_the_floor() {
        let forks = [Fork { timeline: 2, at: 10 }];
        let both = quorum(&["eu", "ap"], 1);
        assert_eq!(choose(&[copy("ap", 1, 10)], 7, &forks, &both, NOTHING), Err(Unchosen::QuorumUnseen { sealed: 1, needed: 2 }));
        assert!(choose(&[copy("ap", 1, 10)], 7, &forks, &quorum(&["eu", "ap"], 2), NOTHING).is_ok());
        let low = [copy("ap", 1, 9), copy("eu", 2, 8)];
        assert_eq!(choose(&low, 7, &forks, &both, NOTHING), Err(Unchosen::BelowFloor { floor: 10, best: 9 }));
        assert!(choose(&low, 7, &forks, &Durability::Async, NOTHING).unwrap().is_below_floor);
    }

    /// Each rule is given up by itself, and whoever is out of line stays out.
    #[test]
    fn a_waiver_gives_up_what_it_says_and_no_more() {
        let forks = [Fork { timeline: 2, at: 10 }];
        let both = quorum(&["eu", "ap"], 1);
        let (unseen, below_floor) = (Waiver { unseen: true, ..NOTHING }, Waiver { below_floor: true, ..NOTHING });
        let all = Waiver { unseen: true, below_floor: true };
        let (one, low) = ([copy("ap", 2, 12)], [copy("ap", 1, 9)]);
        assert_eq!(choose(&one, 7, &forks, &both, unseen).map(|it| it.position), Ok(12));
        assert_eq!(choose(&one, 7, &forks, &both, below_floor), Err(Unchosen::QuorumUnseen { sealed: 1, needed: 2 }));
        assert_eq!(choose(&low, 7, &forks, &both, unseen), Err(Unchosen::BelowFloor { floor: 10, best: 9 }));
        assert!(choose(&low, 7, &forks, &both, all).unwrap().is_below_floor);
        assert_eq!(choose(&[copy("ap", 1, 11)], 7, &forks, &both, all), Err(Unchosen::NoCandidate), "what was lost before is not taken up");
    }

    //--- Against histories written out

    /// A member as it really is.
    #[derive(Clone, Debug)]
    struct Member {
        writes: Vec<u32>,
        timeline: u32,
    }

    /// A group of four regions, in which one writes, the others follow, and one after the other is promoted.
    #[derive(Debug)]
    struct Group {
        members: Vec<Member>,
        primary: usize,
        /// Follows the primary: the others were not pointed at it since it was promoted, or fell out of line.
        follows: Vec<bool>,
        forks: Vec<Fork>,
        /// What the primary had when it was promoted.
        began: Vec<u32>,
        acknowledged: Vec<u32>,
        /// The sync set of the grant in force.
        standbys: BTreeSet<Label>,
        next: u32,
        with_quorum: bool,
    }

    const REGIONS: [&str; 4] = ["ap", "eu", "sa", "us"];

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Write,
        /// A standby receives so much more.
        Receive(usize, usize),
        /// A member is pointed at the primary: what it has beyond the common beginning is taken away first.
        Point(usize),
        /// The primary is lost; these are not sealed in time.
        Fail(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            5 => Just(Act::Write),
            6 => (0..4_usize, 1..4_usize).prop_map(|(member, n)| Act::Receive(member, n)),
            3 => (0..4_usize).prop_map(Act::Point),
            2 => (0_u8..16).prop_map(Act::Fail),
        ]
    }

    impl Group {
        fn new(with_quorum: bool) -> Self {
            let member = Member { writes: Vec::new(), timeline: 1 };
            let standbys = REGIONS[1..].iter().map(|region| Label::new(region)).collect();
            Self {
                members: vec![member; 4],
                primary: 0,
                follows: vec![true; 4],
                forks: Vec::new(),
                began: Vec::new(),
                acknowledged: Vec::new(),
                standbys,
                next: 1,
                with_quorum,
            }
        }

        fn durability(&self) -> Durability {
            if self.with_quorum { Durability::Quorum { standbys: self.standbys.clone(), acknowledging: 2 } } else { Durability::Async }
        }

        /// Two of the sync set have it.
        fn acknowledge(&mut self) {
            let upto = |member: usize| if self.follows[member] { self.members[member].writes.len() } else { 0 };
            let mut have: Vec<usize> =
                (0..4).filter(|&member| member != self.primary && self.standbys.contains(&Label::new(REGIONS[member]))).map(upto).collect();
            have.sort_unstable();
            let safe = have.iter().rev().nth(1).copied().unwrap_or(0);
            let writes = self.members[self.primary].writes.iter().take(safe).copied();
            self.acknowledged.extend(writes.filter(|write| !self.acknowledged.contains(write)).collect::<Vec<_>>());
        }

        fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
            match act {
                Act::Write => {
                    self.members[self.primary].writes.push(self.next);
                    self.next += 1;
                }
                Act::Receive(member, n) if member != self.primary && self.follows[member] => {
                    let source = self.members[self.primary].clone();
                    let have = self.members[member].writes.len();
                    self.members[member].writes.extend(source.writes.iter().skip(have).take(n));
                }
                Act::Point(member) if member != self.primary => {
                    let source = self.members[self.primary].clone();
                    let member_writes = &mut self.members[member].writes;
                    let common = member_writes.iter().zip(&source.writes).take_while(|(a, b)| a == b).count();
                    member_writes.truncate(common);
                    self.members[member].timeline = source.timeline;
                    self.follows[member] = true;
                }
                Act::Receive(..) | Act::Point(_) => {}
                Act::Fail(missing) => return self.fail(missing),
            }
            self.acknowledge();
            Ok(())
        }

        fn fail(&mut self, missing: u8) -> Result<(), TestCaseError> {
            let is_sealed = |member: usize| member != self.primary && missing >> member & 1 == 0;
            let sealed: Vec<Sealed> = (0..4)
                .filter(|&member| is_sealed(member))
                .map(|member| copy(REGIONS[member], self.members[member].timeline, self.members[member].writes.len() as u64))
                .collect();
            let chosen = choose(&sealed, 7, &self.forks, &self.durability(), NOTHING);
            let most = sealed.iter().filter(|it| is_in_line(it, &self.forks)).map(|it| it.position).max();
            match &chosen {
                Ok(choice) => prop_assert_eq!(Some(choice.position), most, "somebody has more: {:?}", sealed),
                Err(Unchosen::BelowFloor { floor, .. }) => prop_assert!(most < Some(*floor), "somebody reaches {floor}: {sealed:?}"),
                Err(_) => {}
            }
            let Ok(choice) = chosen else { return Ok(()) };
            let new = REGIONS.iter().position(|region| choice.region.as_str() == *region).unwrap();
            let writes = self.members[new].writes.clone();
            let common = writes.iter().zip(&self.began).take_while(|(a, b)| a == b).count();
            prop_assert!(common == writes.len().min(self.began.len()), "{writes:?} is out of the line of {:?}: {self:?}", self.began);
            if self.with_quorum {
                let lost: Vec<&u32> = self.acknowledged.iter().filter(|write| !writes.contains(write)).collect();
                prop_assert!(lost.is_empty(), "{lost:?} were acknowledged and are lost with {}: {self:?}", REGIONS[new]);
            } else {
                self.acknowledged.clear();
            }
            let timeline = self.forks.last().map_or(1, |fork| fork.timeline) + 1;
            self.forks.push(Fork { timeline, at: writes.len() as u64 });
            self.members[new].timeline = timeline;
            self.began.clone_from(&writes);
            self.primary = new;
            self.follows = vec![false; 4];
            self.standbys = (0..4).filter(|&member| member != new).map(|member| Label::new(REGIONS[member])).collect();
            Ok(())
        }
    }

    fn play(acts: &[Act], with_quorum: bool) -> Result<(), TestCaseError> {
        let mut group = Group::new(with_quorum);
        acts.iter().try_for_each(|act| group.act(*act))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn whoever_is_chosen_goes_on_from_the_last_primary_and_has_all_that_was_acknowledged(
            acts in prop::collection::vec(act(), 1..80), with_quorum in any::<bool>(),
        ) {
            play(&acts, with_quorum)?;
        }
    }

    /// Without the rule something is lost.
    fn must_break(key: Key, with_quorum: bool) {
        let drawn = prop::collection::vec(act(), 1..80);
        without(Some(key), || must_fail(50_000, &drawn, |acts| play(&acts, with_quorum)));
    }

    #[test]
    fn lineage_removed_is_found() {
        must_break(Key::Lineage, false);
    }

    #[test]
    fn lex_removed_is_found() {
        must_break(Key::Lex, true);
    }

    #[test]
    fn sealq_removed_is_found() {
        must_break(Key::SealQ, true);
    }

    #[test]
    fn floor_removed_is_found() {
        must_break(Key::Floor, true);
    }
}
