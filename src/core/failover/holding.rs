//! Who holds the role of a group until when, as a node hears it from agents: what names that follow a role are answered by.
//!
//! ```text
//! agent --status--> each voter --statements, with their age--> every other node      (a second or two apart)
//!                       '------------- Holdings: the newest of each group --> primary, until a tick of this node's own clock
//! ```
//!
//! A statement says how long its region's right to write lasts from when it was made. So it ends by itself wherever it is, whoever is cut off:
//! from the end of the old holder's lease until the new one writes nothing is proven. An agent that is outranked says so, which ends its
//! statement at once.
//!
//! Invariants: nobody is taken for the holder by a token below the highest that this node has ever seen, over its restarts; nor after the time
//! that was stated, less the whole way that the statement took, less what this node's clock may be slow by. How long it took from the agent is
//! known by a tick of the voter's own clock that the agent had heard before.
//!
//! Absent on purpose: probes, overrides and the log. None of them moves a name that follows a primary.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{lease::short, order::Status, token::Token};
use crate::model::{ids::Label, time::Tick};

/// A standby that says nothing for so long is not taken for one any more: agents speak every second.
pub const FOLLOWS_FOR: Duration = Duration::from_secs(10);

/// Nobody is believed for longer than this, whatever is stated: the longest lease that a plan may give.
pub const HOLDS_MAX: Duration = Duration::from_secs(3600);

/// The most groups whose highest token is remembered: four times what a plan may have, for those that came and went.
pub const GROUPS_MAX: usize = 4096;

/// The most members of a group that are remembered as standbys: as many as a plan may have regions.
pub const FOLLOWERS_MAX: usize = crate::model::ids::REGIONS_MAX;

/// What an agent states of its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The group.
    pub group: Label,
    /// The member's region.
    pub region: Label,
    /// Start of the agent, and number since then: of two of one region the higher one is the newer one.
    pub sequence: (u64, u64),
    /// Of the grant that it holds; of one that holds none, the highest that it has seen.
    pub token: Token,
    /// What.
    pub word: Word,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It writes, by this grant.
    Holds {
        /// For so long from when it said so.
        remaining: Duration,
    },
    /// It receives from its primary.
    Follows {
        /// At most so far behind; `None`: nobody knows.
        lag: Option<Duration>,
    },
    /// Neither, and it holds no grant that could let it write.
    Rests,
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody is, or is not any more, what it was before.
    Changed,
    /// The same as before, for longer.
    Renewed,
    /// Nothing: it was known, or something newer is.
    Known,
}

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The highest token; zero: none.
    pub token: Token,
    /// Who held the role last; `None`: nobody that this node heard of.
    pub holder: Option<Label>,
}

/// A proof that a member holds the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// By which grant.
    pub token: Token,
    /// When it was stated; `None`: before this process began.
    pub said: Option<Tick>,
    /// Until when it holds; not at that tick any more.
    pub until: Tick,
}

/// What a node knows of all groups.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    groups: BTreeMap<Label, Known>,
    n_seen: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    seen: Seen,
    /// By the highest token, unless its holder was outranked.
    held: Option<Held>,
    /// When the holder stated it last.
    said: Option<Tick>,
    followers: BTreeMap<Label, Follower>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    proof: Proof,
    remaining: Duration,
    sequence: (u64, u64),
    age: Age,
}

/// How old something was when it came. Ticks do not reach behind the start of the process, ages do.
#[derive(Clone, Copy, Debug)]
struct Age {
    then: Duration,
    came: Tick,
}

impl Age {
    fn at(self, now: Tick) -> Duration {
        self.then.saturating_add(now.since(self.came))
    }

    /// When it was said; `None`: before this process began.
    fn said(self) -> Option<Tick> {
        (self.then <= self.came.since(Tick(0))).then(|| self.came.before(self.then))
    }
}

#[derive(Clone, Copy, Debug)]
struct Follower {
    sequence: (u64, u64),
    token: Token,
    lag: Option<Duration>,
    age: Age,
    until: Tick,
}

impl Statement {
    /// What an agent's status states; `None`: it is about to hold what it was granted, which takes nothing from what it held before. `lag`: how far
    /// behind its primary is what the member shows to readers, if it is a standby; `None`: nobody knows.
    #[must_use]
    pub fn of(group: &Label, region: &Label, status: &Status, lag: Option<Duration>) -> Option<Self> {
        let (token, word) = match (status.holding, status.grant, &status.follows) {
            (Some(remaining), Some(grant), _) => (grant, Word::Holds { remaining }),
            (_, _, Some(_)) => (status.highest, Word::Follows { lag }),
            (_, Some(grant), None) if grant == status.highest => return None,
            _ => (status.highest, Word::Rests),
        };
        Some(Self { group: group.clone(), region: region.clone(), sequence: status.sequence, token, word })
    }
}

impl Holdings {
    /// With what a former process has seen.
    #[must_use]
    pub fn restored(saved: BTreeMap<Label, Seen>) -> Self {
        let groups = saved.into_iter().take(GROUPS_MAX).map(|(group, seen)| (group, Known { seen, ..Known::default() }));
        Self { groups: groups.collect(), n_seen: 0 }
    }

    /// What is to outlive the process.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<Label, Seen> {
        self.groups.iter().map(|(group, known)| (group.clone(), known.seen.clone())).collect()
    }

    /// Grows with each change of [`Self::seen`].
    #[must_use]
    pub const fn n_seen(&self) -> u64 {
        self.n_seen
    }

    /// Takes a statement in that was made `age` ago, the whole way here included.
    pub fn hear(&mut self, statement: &Statement, age: Duration, now: Tick) -> Heard {
        if !self.groups.contains_key(&statement.group) {
            if self.groups.len() >= GROUPS_MAX {
                return Heard::Known;
            }
            self.groups.insert(statement.group.clone(), Known::default());
        }
        let Some(known) = self.groups.get_mut(&statement.group) else { return Heard::Known };
        let before = known.seen.clone();
        let heard = match statement.word {
            Word::Holds { remaining } => known.holds(statement, remaining, age, now),
            Word::Follows { lag } => known.follows(statement, lag, age, now),
            Word::Rests => known.rests(statement, now),
        };
        if known.seen != before {
            self.n_seen += 1;
        }
        heard
    }

    /// The highest token that was seen of a group, who held the role last, and when that was stated last; `None` for that: not to this process.
    #[must_use]
    pub fn last(&self, group: &Label) -> Option<(&Seen, Option<Tick>)> {
        self.groups.get(group).map(|known| (&known.seen, known.said))
    }

    /// Who is proven to hold the role, or was by the highest token that was seen: [`Proof::until`] says until when.
    #[must_use]
    pub fn primary(&self, group: &Label) -> Option<(&Label, Proof)> {
        let known = self.groups.get(group)?;
        Some((known.seen.holder.as_ref()?, known.held?.proof))
    }

    /// What a standby last said of its lag, and until when it counts as one; `None`: it is none at `now`.
    #[must_use]
    pub fn follower(&self, group: &Label, region: &Label, now: Tick) -> Option<(Option<Duration>, Tick)> {
        let follower = self.groups.get(group)?.followers.get(region).filter(|follower| now < follower.until)?;
        Some((follower.lag, follower.until))
    }

    /// What counts now, as it was said, with its age: for nodes that have not heard it.
    pub fn statements(&self, now: Tick) -> impl Iterator<Item = (Statement, Duration)> {
        self.groups.iter().flat_map(move |(group, known)| {
            let held = known.held.filter(|held| now < held.proof.until).zip(known.seen.holder.as_ref()).map(|(held, region)| {
                let word = Word::Holds { remaining: held.remaining };
                let statement =
                    Statement { group: group.clone(), region: region.clone(), sequence: held.sequence, token: held.proof.token, word };
                (statement, held.age.at(now))
            });
            let following = known.followers.iter().filter(move |(_, it)| now < it.until).map(move |(region, it)| {
                let word = Word::Follows { lag: it.lag };
                let statement = Statement { group: group.clone(), region: region.clone(), sequence: it.sequence, token: it.token, word };
                (statement, it.age.at(now))
            });
            held.into_iter().chain(following)
        })
    }

    /// Forgets what was said of groups that are not `wanted`, but their highest tokens: those only when there is no room for others.
    pub fn keep(&mut self, wanted: impl Fn(&Label) -> bool) {
        let is_crowded = self.groups.len() > GROUPS_MAX / 2;
        self.groups.retain(|group, known| {
            let is_wanted = wanted(group);
            if !is_wanted {
                (known.held, known.followers) = (None, BTreeMap::new());
            }
            is_wanted || !is_crowded
        });
    }
}

impl Known {
    fn holds(&mut self, statement: &Statement, remaining: Duration, age: Duration, now: Tick) -> Heard {
        let Statement { token, region, sequence, .. } = statement;
        if *token < self.seen.token {
            return Heard::Known;
        }
        let left = short(remaining.min(HOLDS_MAX).saturating_sub(age));
        let age = Age { then: age, came: now };
        let proof = Proof { token: *token, said: age.said(), until: now + left };
        let is_live = self.held.is_some_and(|held| held.proof.token == *token && now < held.proof.until);
        if is_live && (self.seen.holder.as_ref() != Some(region) || self.held.is_some_and(|held| *sequence <= held.sequence)) {
            return Heard::Known;
        }
        let is_higher = *token > self.seen.token;
        if left.is_zero() {
            if is_higher {
                // Too late to prove anything, but not to end what was proven by less.
                (self.seen, self.held) = (Seen { token: *token, holder: Some(region.clone()) }, None);
                return Heard::Changed;
            }
            return Heard::Known;
        }
        self.seen = Seen { token: *token, holder: Some(region.clone()) };
        self.held = Some(Held { proof, remaining, sequence: *sequence, age });
        self.said = proof.said;
        self.followers.remove(region);
        if is_live { Heard::Renewed } else { Heard::Changed }
    }

    fn follows(&mut self, statement: &Statement, lag: Option<Duration>, age: Duration, now: Tick) -> Heard {
        let Statement { token, region, sequence, .. } = statement;
        let is_outranked = self.outrank(region, *token);
        let known = self.followers.get(region).filter(|it| now < it.until);
        let is_news = known.is_none_or(|it| *sequence > it.sequence) && self.held_by(region).is_none();
        let has_room = self.followers.contains_key(region) || self.followers.len() < FOLLOWERS_MAX;
        let left = FOLLOWS_FOR.saturating_sub(age);
        if !is_news || !has_room || left.is_zero() {
            return if is_outranked { Heard::Changed } else { Heard::Known };
        }
        let is_new = known.is_none();
        let follower = Follower { sequence: *sequence, token: *token, lag, age: Age { then: age, came: now }, until: now + left };
        self.followers.insert(region.clone(), follower);
        if is_new || is_outranked { Heard::Changed } else { Heard::Renewed }
    }

    fn rests(&mut self, statement: &Statement, now: Tick) -> Heard {
        let is_outranked = self.outrank(&statement.region, statement.token);
        let is_newer = |it: &Follower| statement.sequence > it.sequence && now < it.until;
        let followed = self.followers.get(&statement.region).is_some_and(is_newer);
        if followed {
            self.followers.remove(&statement.region);
        }
        if is_outranked || followed { Heard::Changed } else { Heard::Known }
    }

    /// Since when this region holds the role by what is known.
    fn held_by(&self, region: &Label) -> Option<&Held> {
        self.held.as_ref().filter(|_| self.seen.holder.as_ref() == Some(region))
    }

    /// The holder's own agent has seen a higher token, so it holds nothing by the lower one.
    fn outrank(&mut self, region: &Label, token: Token) -> bool {
        let is_outranked = self.held_by(region).is_some_and(|held| token > held.proof.token);
        if is_outranked {
            self.held = None;
            self.seen.token = self.seen.token.max(token);
        }
        is_outranked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn token(epoch: u64) -> Token {
        Token { generation: 1, epoch }
    }

    fn says(region: &str, epoch: u64, number: u64, word: Word) -> Statement {
        Statement { group: "orders".into(), region: region.into(), sequence: (1, number), token: token(epoch), word }
    }

    const fn holds(seconds: u64) -> Word {
        Word::Holds { remaining: Duration::from_secs(seconds) }
    }

    fn at(seconds: u64) -> Tick {
        Tick(seconds * SECOND)
    }

    fn primary(holdings: &Holdings, now: Tick) -> Option<(String, u64)> {
        let (region, proof) = holdings.primary(&"orders".into())?;
        (now < proof.until).then(|| (region.to_string(), proof.token.epoch))
    }

    #[test]
    fn a_statement_ends_by_itself_earlier_by_its_way_and_by_a_slow_clock() {
        let mut holdings = Holdings::default();
        assert_eq!(holdings.hear(&says("us", 5, 1, holds(12)), Duration::from_secs(2), at(100)), Heard::Changed);
        let (_, proof) = holdings.primary(&"orders".into()).unwrap();
        assert_eq!((proof.said, proof.until), (Some(at(98)), at(110).before(Duration::from_millis(100))));
        assert_eq!(holdings.hear(&says("us", 5, 1, holds(12)), Duration::ZERO, at(101)), Heard::Known, "a repeat is no younger");
        assert_eq!(holdings.hear(&says("us", 5, 2, holds(12)), Duration::ZERO, at(101)), Heard::Renewed);
        assert_eq!(
            holdings.hear(&says("us", 5, 3, holds(3)), Duration::ZERO, at(102)),
            Heard::Renewed,
            "the newest counts, also when it is less"
        );
        assert_eq!((primary(&holdings, at(104)), primary(&holdings, at(105))), (Some(("us".to_owned(), 5)), None));
    }

    #[test]
    fn a_lower_token_is_never_gone_back_to() {
        let mut holdings = Holdings::default();
        holdings.hear(&says("us", 5, 1, holds(60)), Duration::ZERO, at(1));
        assert_eq!(holdings.hear(&says("eu", 9, 1, holds(4)), Duration::ZERO, at(2)), Heard::Changed);
        assert_eq!(holdings.hear(&says("us", 5, 2, holds(60)), Duration::ZERO, at(3)), Heard::Known);
        assert_eq!(primary(&holdings, at(10)), None, "the newer one ended, and the older one is not taken up again");
        let mut restored = Holdings::restored(holdings.seen());
        assert_eq!(restored.last(&"orders".into()).and_then(|(seen, _)| seen.holder.clone()), Some("eu".into()));
        assert_eq!(restored.hear(&says("us", 5, 3, holds(60)), Duration::ZERO, at(1)), Heard::Known, "nor after a restart");
        assert_eq!(restored.hear(&says("eu", 9, 1, holds(4)), Duration::ZERO, at(1)), Heard::Changed);
    }

    #[test]
    fn a_holder_that_is_outranked_holds_nothing_and_nobody_else_can_say_so() {
        let mut holdings = Holdings::default();
        holdings.hear(&says("us", 5, 1, holds(60)), Duration::ZERO, at(1));
        assert_eq!(holdings.hear(&says("eu", 7, 1, Word::Rests), Duration::ZERO, at(2)), Heard::Known, "its holder has not heard of it");
        assert_eq!(holdings.hear(&says("us", 5, 2, Word::Rests), Duration::ZERO, at(2)), Heard::Known, "its agent was started anew");
        assert!(primary(&holdings, at(2)).is_some());
        assert_eq!(holdings.hear(&says("us", 7, 3, Word::Rests), Duration::ZERO, at(3)), Heard::Changed);
        assert_eq!(primary(&holdings, at(3)), None);
        assert_eq!(holdings.hear(&says("us", 5, 4, holds(60)), Duration::ZERO, at(3)), Heard::Known);
        assert_eq!(holdings.hear(&says("us", 8, 5, holds(60)), Duration::ZERO, at(4)), Heard::Changed, "cancelled: it holds a new grant");
    }

    #[test]
    fn a_standby_counts_while_it_says_that_it_follows() {
        let mut holdings = Holdings::default();
        let (orders, eu) = ("orders".into(), "eu".into());
        let follows = |seconds| Word::Follows { lag: Some(Duration::from_secs(seconds)) };
        assert_eq!(holdings.hear(&says("eu", 5, 1, follows(1)), Duration::ZERO, at(1)), Heard::Changed);
        assert_eq!(holdings.hear(&says("eu", 5, 2, follows(3)), Duration::ZERO, at(2)), Heard::Renewed);
        assert_eq!(holdings.follower(&orders, &eu, at(11)), Some((Some(Duration::from_secs(3)), at(12))));
        assert_eq!(holdings.follower(&orders, &eu, at(12)), None);
        holdings.hear(&says("eu", 5, 3, follows(3)), Duration::ZERO, at(13));
        assert_eq!(holdings.hear(&says("eu", 9, 4, Word::Rests), Duration::ZERO, at(14)), Heard::Changed);
        assert_eq!(holdings.follower(&orders, &eu, at(14)), None);
        holdings.hear(&says("eu", 9, 5, follows(0)), Duration::ZERO, at(15));
        holdings.hear(&says("eu", 11, 6, holds(9)), Duration::ZERO, at(16));
        assert_eq!(holdings.follower(&orders, &eu, at(16)), None, "the primary is no standby");
        assert_eq!(holdings.statements(at(17)).map(|(it, age)| (it.word, age)).collect::<Vec<_>>(), [(holds(9), Duration::from_secs(1))]);
    }

    #[test]
    fn what_was_said_before_a_process_began_is_told_on_with_its_whole_age() {
        let mut holdings = Holdings::default();
        let seconds = Duration::from_secs;
        holdings.hear(&says("us", 5, 1, holds(60)), seconds(9), at(1));
        holdings.hear(&says("eu", 5, 1, Word::Follows { lag: None }), seconds(4), at(2));
        assert_eq!(holdings.primary(&"orders".into()).unwrap().1.said, None);
        assert_eq!(holdings.statements(at(3)).map(|(_, age)| age).collect::<Vec<_>>(), [seconds(11), seconds(5)]);
    }

    #[test]
    fn groups_and_standbys_have_bounds() {
        let mut holdings = Holdings::default();
        for n in 0..GROUPS_MAX + 5 {
            let statement = Statement { group: Label::new(&format!("g-{n}")), ..says("us", 5, 1, holds(60)) };
            holdings.hear(&statement, Duration::ZERO, at(1));
        }
        assert_eq!(holdings.seen().len(), GROUPS_MAX);
        holdings.keep(|group| group.as_str() == "g-1");
        assert_eq!((holdings.seen().len(), holdings.statements(at(1)).count()), (1, 1));
        for n in 0..FOLLOWERS_MAX + 5 {
            let statement = Statement { group: "g-1".into(), ..says(&format!("r-{n}"), 5, 1, Word::Follows { lag: None }) };
            holdings.hear(&statement, Duration::ZERO, at(1));
        }
        assert_eq!(holdings.statements(at(1)).count(), 1 + FOLLOWERS_MAX);
    }

    /// One holder after the other, each with a lease that it renews: (how long each holds, when it says so, how long the way is).
    fn talk() -> impl Strategy<Value = Vec<(u64, Vec<(u64, u64)>)>> {
        let words = prop::collection::vec((0_u64..30, 0_u64..40), 1..8);
        prop::collection::vec((5_u64..40, words), 1..6)
    }

    proptest! {
        #[test]
        fn whatever_is_late_or_comes_twice_nobody_is_believed_for_longer_than_it_said_nor_after_a_higher_one(
            talk in talk(), restarts in prop::collection::vec(0_u64..200, 0..3),
        ) {
            // (comes, was sent, statement): sequence numbers grow with the time of sending.
            let (mut mail, mut begins) = (Vec::new(), 1);
            for (i, (lasts, words)) in talk.iter().enumerate() {
                let mut sent: Vec<_> = words.iter().map(|(after, way)| (begins + after % lasts, *way)).collect();
                sent.sort_unstable();
                for (number, (sent, way)) in sent.into_iter().enumerate() {
                    let statement = says(["us", "eu", "ap"][i % 3], i as u64 + 1, number as u64, holds(begins + lasts - sent));
                    mail.push((sent + way, sent, statement.clone()));
                    mail.push((sent + way + 3, sent, statement));
                }
                begins += lasts;
            }
            mail.sort_by_key(|(comes, ..)| *comes);
            let (mut holdings, mut highest) = (Holdings::default(), 0);
            let mut now = 0;
            while now < begins + 60 {
                if restarts.contains(&now) {
                    holdings = Holdings::restored(holdings.seen());
                }
                for (comes, sent, statement) in mail.iter().filter(|(comes, ..)| *comes == now) {
                    holdings.hear(statement, Duration::from_secs(comes - sent), at(now));
                    highest = highest.max(statement.token.epoch);
                }
                let moment = now;
                now += 1;
                let Some((region, epoch)) = primary(&holdings, at(moment)) else { continue };
                prop_assert_eq!(epoch, highest, "a higher token was heard");
                let n = usize::try_from(epoch - 1).unwrap();
                let ends: u64 = 1 + talk[..=n].iter().map(|(lasts, _)| lasts).sum::<u64>();
                prop_assert!(moment < ends, "{} is believed at {}, and its lease ended at {}", region, moment, ends);
                prop_assert_eq!(region.as_str(), ["us", "eu", "ap"][n % 3]);
            }
        }
    }
}
