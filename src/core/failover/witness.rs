//! What a group's agents tell, as a voter keeps it: what the standbys hear of the primary, what its agent says of it, and what would be lost.
//!
//! ```text
//! statuses of agents --told--> the latest of each member --picture--> evidence
//!                                '-- of whoever writes by its grant --> ring: where it was when --exposure--> what would be lost
//! ```
//!
//! Every voter hears every agent, so that whoever leads next knows the same.
//!
//! Invariants: what was told long ago is not taken for what is so; what would be lost is never less than the truth, and unknown where no sample
//! covers it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    choose::Durability,
    evidence::{Picture, Standby, Stream, Views, Word},
    group::{Group, Phase},
    lease::{long, short},
    order::{Role, Status},
};
use crate::{
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Tick},
    },
    recovery::{
        archive::Archived,
        exposure::{Bracket, Moment, Ring},
    },
};

/// An agent that said nothing for so long is silent: it tells of itself every second.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Over which time it is judged whether a standby falls further behind: longer than a burst of writes, shorter than three rounds.
const LAG_OVER: Duration = Duration::from_secs(15);

/// For so long two members must say that they take writes, before that is no old word of one that was on its way.
const BOTH_FOR: Duration = Duration::from_secs(2);

/// For so long after two members took writes automation decides nothing: people look first which of them has what.
pub const TWO_WRITERS_REST: Duration = Duration::from_secs(600);

/// What one agent told last.
#[derive(Clone, Debug)]
struct Told {
    at: Tick,
    status: Status,
    /// How far behind the primary its copy was, in the engine's count, and when; to see whether that grows.
    behind: Option<(Tick, u64)>,
    lag_grows: bool,
    /// Since when it has said each time that its database takes writes; `None`: it does not.
    writes_since: Option<Tick>,
}

/// Two members took writes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoWriters {
    /// Which.
    pub regions: [Label; 2],
    /// When that was seen last.
    pub at: Tick,
}

impl TwoWriters {
    /// What speaks against automation because of it.
    #[must_use]
    pub fn text(&self, policy: &Policy) -> String {
        let ([one, other], rest) = (&self.regions, Human(policy.scaled(TWO_WRITERS_REST)));
        format!("two_writers: {one} and {other} both took writes: automation decides nothing until that was {rest} ago, a person does")
    }
}

/// When an agent did something at the earliest, on this node's clock, of which it says when that was on its own (`at_us`, microseconds). `heard`: as
/// in [`Witness::told`]; `None` without it. Never later than `now`.
#[must_use]
pub fn earliest(heard: Option<(Tick, Tick)>, at_us: u64, now: Tick) -> Option<Tick> {
    let (ours, theirs) = heard?;
    // So long before, or after, it heard that tick, by a clock that may run off as far as leases bear.
    let at = Tick(at_us);
    let earliest = if at >= theirs { ours + short(at.since(theirs)) } else { ours.before(long(theirs.since(at))) };
    Some(earliest.min(now))
}

/// What is known of one group from its agents.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    members: BTreeMap<Label, Told>,
    /// Whose samples the ring holds: of the primary in this region, on this timeline.
    of: Option<(Label, u32)>,
    ring: Ring,
    /// Since when the agent of the primary in this region says that this one does not serve.
    idle: Option<(Label, Tick)>,
    /// The operation that was seen fenced, and when first: the old primary wrote nothing after that.
    fenced: Option<(u64, Tick)>,
    /// Whether the primary acknowledges what no standby has: what is in its log and nowhere else was promised to somebody.
    acknowledges_alone: bool,
    /// Over which time lag is judged: [`LAG_OVER`] on the group's clocks, which are known once it was looked at.
    lag_over: Option<Duration>,
    /// When two members took writes at a time; `None`: not that it was seen.
    two_writers: Option<TwoWriters>,
}

impl Witness {
    /// An agent told of itself, and it came now. `heard`: the agent had heard that tick of this node's clock at that time of its own clock; `None`: it
    /// had heard none, and when it saw what it tells is not known. What is older than what is known changes nothing.
    pub fn told(&mut self, group: &Group, region: &Label, status: Status, heard: Option<(Tick, Tick)>, now: Tick) {
        let is_fresh = |told: &&Told| now.since(told.at) < SILENT_AFTER;
        let known = self.members.get(region);
        let wrote_since = known.filter(is_fresh).and_then(|told| told.writes_since);
        let (mut behind, mut lag_grows) = known.map_or((None, false), |told| (told.behind, told.lag_grows));
        if known.filter(is_fresh).is_some_and(|told| status.sequence <= told.status.sequence) {
            return;
        }
        let grant = group.grant.as_ref().filter(|grant| grant.region == *region);
        if let Some(grant) = grant {
            let serves = status.writes && status.grant == Some(grant.token);
            if serves {
                self.idle = None;
                self.sample(region, &status, heard, now);
            } else if self.idle.as_ref().is_none_or(|(idle, _)| idle != region) {
                self.idle = Some((region.clone(), now));
            }
        }
        let position = status.sight.and_then(|sight| sight.position).filter(|_| grant.is_none());
        if let Some(is) = position.and_then(|position| self.ring.behind(position)) {
            match behind {
                Some((since, _)) if now.since(since) < self.lag_over.unwrap_or(LAG_OVER) => {}
                was => {
                    lag_grows = was.is_some_and(|(_, was)| is > was);
                    behind = Some((now, is));
                }
            }
        }
        let is_writing = status.writes || status.sight.is_some_and(|sight| sight.role == Role::Writes);
        let writes_since = is_writing.then(|| wrote_since.unwrap_or(now));
        self.members.insert(region.clone(), Told { at: now, status, behind, lag_grows, writes_since });
        self.look_for_two(group, region, now);
    }

    /// Whether this member, of which something was just told, and another one both take writes, or it had to be stopped for that.
    fn look_for_two(&mut self, group: &Group, region: &Label, now: Tick) {
        let Some(told) = self.members.get(region) else { return };
        let overlaps = |other: &Told| {
            let since = told.writes_since.zip(other.writes_since).map(|(one, other)| one.max(other));
            since.is_some_and(|since| {
                other.at.since(since) >= BOTH_FOR && now.since(other.at) < SILENT_AFTER && now.since(since) >= BOTH_FOR
            })
        };
        let other = self.members.iter().find(|(name, other)| *name != region && overlaps(other)).map(|(name, _)| (name.clone(), now));
        let usurped = told.status.usurped.zip(group.primary().filter(|primary| *primary != region));
        let usurped = usurped.filter(|(ago, _)| *ago < TWO_WRITERS_REST).map(|(ago, primary)| (primary.clone(), now.before(ago)));
        if let Some((other, at)) = other.into_iter().chain(usurped).max_by_key(|(_, at)| *at)
            && self.two_writers.as_ref().is_none_or(|known| known.at < at)
        {
            self.two_writers = Some(TwoWriters { regions: [region.clone(), other], at });
        }
    }

    /// Two members that took writes at a time, however long ago; `None`: none did.
    #[must_use]
    pub const fn latest_two(&self) -> Option<&TwoWriters> {
        self.two_writers.as_ref()
    }

    /// Two members that took writes at a time, not longer ago than people are given to look; `None`: none did.
    #[must_use]
    pub fn two_writers(&self, policy: &Policy, now: Tick) -> Option<&TwoWriters> {
        self.two_writers.as_ref().filter(|seen| now.since(seen.at) < policy.scaled(TWO_WRITERS_REST))
    }

    /// At most so far behind the primary is what a standby shows to readers; `None`: nobody knows, which is not zero.
    #[must_use]
    pub fn lag(&self, group: &Group, region: &Label, now: Tick) -> Option<Duration> {
        self.received(group, region)?;
        let replayed = self.members.get(region)?.status.replayed?;
        self.ring.exposure(Some(replayed), now).high
    }

    fn sample(&mut self, region: &Label, status: &Status, heard: Option<(Tick, Tick)>, now: Tick) {
        let Some(sight) = status.sight else { return };
        if self.of.as_ref().is_none_or(|of| *of != (region.clone(), sight.timeline)) {
            (self.of, self.ring) = (Some((region.clone(), sight.timeline)), Ring::new());
        }
        if let (Some(position), Some(from)) = (sight.position, earliest(heard, status.seen_at_us, now)) {
            self.ring.note(position, Moment { from, to: now }, status.wrote);
        }
    }

    /// What is agreed on is this now. To be called before it is asked for what would be lost.
    pub fn see(&mut self, group: &Group, policy: &Policy, now: Tick) {
        self.lag_over = Some(policy.scaled(LAG_OVER));
        self.acknowledges_alone = group.durability() == Durability::Async;
        let fenced = group.operation.as_ref().filter(|operation| operation.phase >= Phase::Fenced).map(|operation| operation.id);
        match fenced {
            Some(id) if self.fenced.is_some_and(|(known, _)| known == id) => {}
            Some(id) => self.fenced = Some((id, now)),
            None => self.fenced = None,
        }
    }

    /// What was told last of a member, and how long ago; `None`: nothing.
    #[must_use]
    pub fn status(&self, region: &Label, now: Tick) -> Option<(Duration, &Status)> {
        self.members.get(region).map(|told| (now.since(told.at), &told.status))
    }

    fn fresh(&self, region: &Label, policy: &Policy, now: Tick) -> Option<(Duration, &Told)> {
        let told = self.members.get(region)?;
        let age = now.since(told.at);
        (age < policy.scaled(SILENT_AFTER)).then_some((age, told))
    }

    /// All that is known of the primary now. `views`, `failing_for`: how it is seen by probes.
    #[must_use]
    pub fn picture(&self, group: &Group, policy: &Policy, views: Views, failing_for: Option<Duration>, now: Tick) -> Picture {
        let (mut standbys, mut agent) = (Vec::new(), None);
        if let Some(grant) = &group.grant {
            standbys = policy.others(&grant.region).map(|region| self.standby(region, &grant.region, policy, now)).collect();
            agent = self.fresh(&grant.region, policy, now).map(|(_, told)| self.word(group, told, now));
        }
        Picture { views, failing_for, standbys, agent }
    }

    fn standby(&self, region: &Label, primary: &Label, policy: &Policy, now: Tick) -> Standby {
        let told = self.fresh(region, policy, now);
        // Of what it hears from somebody else nothing follows: it does not hear the primary.
        let follows = |status: &Status| status.follows.as_ref().is_none_or(|(_, from)| from == primary);
        let stream = told.map_or(Stream::Unknown, |(age, told)| match told.status.stream {
            Stream::Up { .. } if !follows(&told.status) => Stream::Down,
            stream => stream.after(age),
        });
        Standby { region: region.clone(), stream, lag_grows: told.is_some_and(|(_, told)| told.lag_grows) }
    }

    fn word(&self, group: &Group, told: &Told, now: Tick) -> Word {
        let token = group.grant.as_ref().map(|grant| grant.token);
        if told.status.writes && told.status.grant == token {
            Word::Serves
        } else if Some(told.status.highest) > token {
            Word::Fenced
        } else {
            Word::Recovering(self.idle.as_ref().map_or(Duration::ZERO, |(_, since)| now.since(*since)))
        }
    }

    /// What would be lost of the primary's writes if the group went on from this position: from the first of them to the last. While the primary may
    /// write, the last may be one of now; once it was fenced, one of the moment at which that was known here, and it was one that was seen at least.
    #[must_use]
    pub fn loss(&self, position: u64, now: Tick) -> Bracket {
        let lost = self.ring.lost(Some(position), self.until(now));
        // What waits for a standby is in the log, and nobody was told that it is kept.
        if self.acknowledges_alone { lost } else { Bracket { low: Duration::ZERO, ..lost } }
    }

    /// The last moment at which the primary can have written.
    fn until(&self, now: Tick) -> Tick {
        self.fenced.map_or(now, |(_, at)| at)
    }

    /// How old the first write is that is behind this position.
    fn behind_for(&self, position: u64, now: Tick) -> Bracket {
        self.ring.exposure(Some(position), self.until(now))
    }

    /// What would be lost if the member that is furthest were promoted now, of those that may be.
    #[must_use]
    pub fn estimate(&self, group: &Group, policy: &Policy, now: Tick) -> Bracket {
        let Some(primary) = group.primary() else { return Bracket::UNKNOWN };
        let candidates = policy.members.iter().filter(|(region, member)| *region != primary && member.is_candidate);
        let furthest = candidates.filter_map(|(region, _)| self.received(group, region)).max();
        let waits = group.grant.as_ref().is_some_and(|grant| grant.is_attested && grant.durability != Durability::Async);
        match furthest {
            None => Bracket::UNKNOWN,
            // Nobody is promoted before so many copies are sealed that one of them has each write that was acknowledged (O5).
            Some(_) if waits => Bracket::NOTHING,
            Some(position) => self.loss(position, now),
        }
    }

    /// The archive of the primary's log; `None`: nobody knows, which is not that there is none.
    #[must_use]
    pub fn archived(&self, group: &Group, policy: &Policy, now: Tick) -> Option<Archived> {
        let (_, told) = self.fresh(group.primary()?, policy, now)?;
        let archive = told.status.archive.clone()?;
        let timeline = told.status.sight.map(|sight| sight.timeline);
        let is_of_ring = self.of.as_ref().is_some_and(|(_, of)| Some(*of) == timeline);
        let time = archive.up_to.filter(|_| is_of_ring).map_or(Bracket::UNKNOWN, |up_to| self.behind_for(up_to, now));
        Some(Archived { archive, time })
    }

    /// How old the first write is that the primary has made durable and a region lacks.
    #[must_use]
    pub fn exposure(&self, group: &Group, region: &Label, now: Tick) -> Bracket {
        self.received(group, region).map_or(Bracket::UNKNOWN, |position| self.behind_for(position, now))
    }

    /// How much a region lacks, in the engine's own count, at least; `None`: nobody knows.
    #[must_use]
    pub fn behind(&self, group: &Group, region: &Label) -> Option<u64> {
        self.ring.behind(self.received(group, region)?)
    }

    /// Up to where a member's copy goes, at least: copies that are in line do not shrink. `None`: nobody knows, or it may have left the line.
    fn received(&self, group: &Group, region: &Label) -> Option<u64> {
        let sight = self.members.get(region)?.status.sight?;
        let (_, timeline) = self.of.as_ref()?;
        // What has not followed since the primary got the role may end in what was lost then.
        let is_in_line = !group.absent.contains(region) && sight.timeline <= *timeline;
        sight.position.filter(|_| is_in_line)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        failover::{
            group::operation,
            lease::{Class, Grant},
            order::Sight,
            token::Token,
        },
        model::group::{OnControlLoss, policy},
        recovery::archive::Archive,
    };

    const GRANT: Token = Token { generation: 0, epoch: 7 };

    const fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn group() -> Group {
        let seconds = Duration::from_secs;
        let grant = Grant {
            token: GRANT,
            region: "us".into(),
            class: Class::Bare,
            ttl: seconds(90),
            margin: seconds(10),
            longest: seconds(90),
            is_attested: true,
            durability: Durability::Async,
            on_control_loss: OnControlLoss::Fence,
            peers: Default::default(),
            above: 0,
        };
        Group { token: GRANT, grant: Some(grant), system: 7, since: 1, ..Group::default() }
    }

    fn status(sequence: u64, role: Role, position: u64) -> Status {
        let is_primary = role == Role::Writes;
        Status {
            sequence: (1, sequence),
            highest: GRANT,
            grant: is_primary.then_some(GRANT),
            follows: (!is_primary).then(|| (GRANT, "us".into())),
            writes: is_primary,
            sight: Some(Sight { role, system: 7, timeline: 1, position: Some(position) }),
            stream: if is_primary { Stream::Unknown } else { Stream::Up { silent_for: Duration::from_secs(1) } },
            ..Status::default()
        }
    }

    /// What is known at a second of the primary, in one line.
    fn told(witness: &Witness, group: &Group, second: u64) -> String {
        let views = Views { failing: 3, ..Views::default() };
        let picture = witness.picture(group, &policy("us", &["us", "eu", "ap"]), views, None, at(second));
        let mut text = format!("{:?}", picture.agent);
        for standby in &picture.standbys {
            let grows = if standby.lag_grows { " grows" } else { "" };
            write!(text, ", {} {:?}{grows}", standby.region, standby.stream).unwrap();
        }
        text
    }

    #[test]
    fn what_was_told_long_ago_says_nothing_any_more() {
        let (mut witness, group) = (Witness::default(), group());
        assert_eq!(told(&witness, &group, 0), "None, ap Unknown, eu Unknown");
        witness.told(&group, &"us".into(), status(1, Role::Writes, 10), None, at(1));
        witness.told(&group, &"eu".into(), status(1, Role::Standby, 10), None, at(2));
        assert_eq!(told(&witness, &group, 3), "Some(Serves), ap Unknown, eu Up { silent_for: 2s }");
        witness.told(&group, &"us".into(), Status { writes: false, ..status(2, Role::Standby, 10) }, None, at(5));
        assert_eq!(told(&witness, &group, 9), "Some(Recovering(4s)), ap Unknown, eu Up { silent_for: 8s }");
        witness.told(&group, &"us".into(), status(1, Role::Writes, 10), None, at(10));
        assert_eq!(told(&witness, &group, 12), "Some(Recovering(7s)), ap Unknown, eu Unknown", "it came late");
        let elsewhere = Status { follows: Some((GRANT, "ap".into())), ..status(2, Role::Standby, 10) };
        witness.told(&group, &"eu".into(), elsewhere, None, at(13));
        let decided = Status { writes: false, highest: Token { epoch: 9, ..GRANT }, ..status(3, Role::Standby, 10) };
        witness.told(&group, &"us".into(), decided, None, at(14));
        assert_eq!(told(&witness, &group, 14), "Some(Fenced), ap Unknown, eu Down", "what it hears of another one is no sign of life");
        assert_eq!(told(&witness, &group, 24), "None, ap Unknown, eu Unknown");
    }

    /// One that was promoted behind everybody's back, whether its agent stopped it or nothing could.
    #[test]
    fn two_members_that_take_writes_are_noticed_and_a_hand_over_is_not() {
        let (mut witness, group, policy) = (Witness::default(), group(), policy("us", &["us", "eu", "ap"]));
        let seen =
            |witness: &Witness, second| witness.two_writers(&policy, at(second)).map(|it| it.regions.clone().map(|it| it.to_string()));
        let tell = |witness: &mut Witness, region: &str, n, role, second| {
            witness.told(&group, &region.into(), status(n, role, 10), None, at(second))
        };
        // The old one's last word comes a second after the new one's first.
        tell(&mut witness, "us", 1, Role::Writes, 0);
        tell(&mut witness, "eu", 1, Role::Writes, 1);
        tell(&mut witness, "us", 2, Role::Writes, 2);
        tell(&mut witness, "us", 3, Role::Stopped, 3);
        tell(&mut witness, "eu", 2, Role::Writes, 9);
        assert_eq!(seen(&witness, 9), None);
        tell(&mut witness, "ap", 1, Role::Writes, 9);
        tell(&mut witness, "eu", 3, Role::Writes, 10);
        assert_eq!(seen(&witness, 10), None, "not for two seconds");
        tell(&mut witness, "eu", 4, Role::Writes, 11);
        tell(&mut witness, "ap", 2, Role::Writes, 12);
        assert_eq!(seen(&witness, 12), Some(["ap".to_owned(), "eu".to_owned()]));
        tell(&mut witness, "ap", 3, Role::Standby, 13);
        assert!(seen(&witness, 611).is_some() && seen(&witness, 612).is_none(), "people have ten minutes to look");
        // Its agent stopped it before anybody else saw it write.
        let usurped = Status { usurped: Some(Duration::from_secs(3)), ..status(5, Role::Standby, 10) };
        witness.told(&group, &"eu".into(), usurped, None, at(700));
        assert_eq!(seen(&witness, 700), Some(["eu".to_owned(), "us".to_owned()]));
        assert!(seen(&witness, 1296).is_some() && seen(&witness, 1297).is_none());
    }

    /// The archive is a copy like another one: what it lacks is bracketed by where the primary was when.
    #[test]
    fn what_the_archive_lacks_is_known_only_of_this_timeline_and_lately() {
        let (mut witness, group) = (Witness::default(), group());
        let archive = |up_to| Archive { is_on: true, up_to, ..Archive::default() };
        assert_eq!(witness.archived(&group, &policy("us", &["us", "eu", "ap"]), at(0)), None, "nobody has told");
        for second in 0..10_u64 {
            let told = Status { archive: Some(archive(Some(12))), ..status(second + 1, Role::Writes, 10 + second) };
            witness.told(&group, &"us".into(), told, Some((at(second), at(0))), at(second));
        }
        let lacks = witness.archived(&group, &policy("us", &["us", "eu", "ap"]), at(9)).unwrap().time;
        // 13 was there at the third second at the latest, and 12 at the second.
        assert!(lacks.low <= Duration::from_secs(7) && lacks.high >= Some(Duration::from_secs(6)) && lacks.high.is_some(), "{lacks}");
        let unknown = Status { archive: Some(archive(None)), ..status(20, Role::Writes, 20) };
        witness.told(&group, &"us".into(), unknown, Some((at(10), at(0))), at(10));
        assert_eq!(witness.archived(&group, &policy("us", &["us", "eu", "ap"]), at(10)).unwrap().time, Bracket::UNKNOWN);
        assert_eq!(witness.archived(&group, &policy("us", &["us", "eu", "ap"]), at(20)), None, "it was told long ago");
    }

    #[test]
    fn a_standby_that_falls_further_behind_is_told_apart() {
        let (mut witness, group) = (Witness::default(), group());
        for second in 0..40_u64 {
            let clock = Some((at(second), at(second)));
            let seen = |it: Status| Status { seen_at_us: at(second).0, ..it };
            witness.told(&group, &"us".into(), seen(status(second + 1, Role::Writes, second * 100)), clock, at(second));
            witness.told(&group, &"eu".into(), status(second + 1, Role::Standby, second * 50), None, at(second));
            witness.told(&group, &"ap".into(), status(second + 1, Role::Standby, second * 100), None, at(second));
        }
        let up = "Up { silent_for: 1s }";
        assert_eq!(told(&witness, &group, 39), format!("Some(Serves), ap {up}, eu {up} grows"));
        assert_eq!((witness.behind(&group, &"eu".into()), witness.behind(&group, &"ap".into())), (Some(1950), Some(0)));
    }

    #[test]
    fn what_would_be_lost_is_told_of_the_furthest_that_is_in_line_and_ends_with_the_fence() {
        let (mut witness, mut group) = (Witness::default(), group());
        let policy = policy("us", &["us", "eu", "ap"]);
        for second in 1..=10_u64 {
            let seen = Status { seen_at_us: at(second).0, wrote: Some(second), ..status(second, Role::Writes, second) };
            witness.told(&group, &"us".into(), seen, Some((at(second), at(second))), at(second));
        }
        witness.see(&group, &policy, at(10));
        assert_eq!(witness.estimate(&group, &policy, at(12)), Bracket::UNKNOWN, "nobody has said up to where it received");
        witness.told(&group, &"eu".into(), status(1, Role::Standby, 4), None, at(10));
        witness.told(&group, &"ap".into(), status(1, Role::Standby, 9), None, at(10));
        let estimate = |witness: &Witness, group: &Group, second| witness.estimate(group, &policy, at(second)).to_string();
        assert_eq!(estimate(&witness, &group, 12), "0s to 3s", "what is lost of a single second may be one write");
        assert_eq!(witness.exposure(&group, &"eu".into(), at(12)).to_string(), "7s to 8s");
        group.absent.insert("ap".into());
        assert_eq!(estimate(&witness, &group, 12), "3s to 8s", "it may end in what was lost before");
        group.operation = Some(operation(Phase::Fenced));
        witness.see(&group, &policy, at(20));
        assert_eq!(witness.loss(9, at(500)).to_string(), "0s to 11s", "nothing was written after the fence");
        assert_eq!(witness.loss(2, at(500)).to_string(), "5s to 18s", "nor is it known that anything was after the last sample");
        let waiting = Durability::Quorum { standbys: [Label::new("eu")].into(), acknowledging: 1 };
        group.grant.as_mut().unwrap().durability = waiting;
        witness.see(&group, &policy, at(20));
        assert_eq!(witness.loss(2, at(500)).to_string(), "0s to 18s", "what no standby has was promised to nobody");
        assert_eq!(estimate(&witness, &group, 20), "0s", "whoever is promoted has each write that was acknowledged");
        group.grant.as_mut().unwrap().is_attested = false;
        assert_eq!(estimate(&witness, &group, 20), "0s to 16s", "whether it waits for anybody is not shown yet");
        assert_eq!(Witness::default().loss(9, at(20)), Bracket::UNKNOWN);
    }

    /// A write of a client, or one that moves the position by itself; the agent looks now and tells; or it is told of the agent's death.
    #[derive(Clone, Copy, Debug)]
    enum Turn {
        Client,
        Own,
        /// So long before the look it heard of our clock, so much later its word comes here.
        Look(u64, u64),
    }

    fn turn() -> impl Strategy<Value = Turn> {
        prop_oneof![3 => Just(Turn::Client), 2 => Just(Turn::Own), 4 => (0..2_000_000_u64, 0..900_000_u64).prop_map(|(before, delay)| Turn::Look(before, delay))]
    }

    proptest! {
        /// Of writes as a ledger has them: the agent's clock is another one and runs off as far as leases bear, what it says comes late, it had heard of our
        /// clock some time before, and may die long before its database does. The database moves its position by itself, too.
        #[test]
        fn the_loss_holds_what_is_true(
            (offset, permille) in (0_u64..1 << 40, 991_u64..=1009), turns in prop::collection::vec((0_u64..3_000_000, turn()), 1..80),
            dies in any::<prop::sample::Index>(), received in any::<prop::sample::Index>(), later in 0_u64..9_000_000,
        ) {
            let (mut witness, group) = (Witness::default(), group());
            witness.see(&group, &policy("us", &["us", "eu", "ap"]), Tick(0));
            // True time starts where an agent can have heard of it. Positions are indexes here; `true`: of a client.
            let (mut now, mut log, mut arrives) = (10_000_000_u64, vec![(10_000_000_u64, true)], 0);
            let dies = dies.index(turns.len() + 1);
            let theirs = |now: u64| Tick(offset + u64::try_from(u128::from(now) * u128::from(permille) / 1000).unwrap());
            for (sequence, (pause, turn)) in (1_u64..).zip(turns) {
                now += pause;
                match turn {
                    Turn::Client | Turn::Own => log.push((now, matches!(turn, Turn::Client))),
                    Turn::Look(..) if usize::try_from(sequence).unwrap() > dies => {}
                    Turn::Look(before, delay) => {
                        let wrote = u64::try_from(log.iter().filter(|(_, is_a_client)| *is_a_client).count()).unwrap();
                        let seen = Status { seen_at_us: theirs(now).0, wrote: Some(wrote), ..status(sequence, Role::Writes, log.len() as u64 - 1) };
                        // The agent heard the tick `heard` no earlier than that, and it may have been after the look, too.
                        let heard = now - before.min(now);
                        arrives = (now + delay).max(arrives);
                        witness.told(&group, &"us".into(), seen, Some((Tick(heard), theirs(heard + before / 3))), Tick(arrives));
                    }
                }
            }
            let until = arrives.max(now) + later;
            let received = received.index(log.len());
            let behind: Vec<(u64, bool)> = log.into_iter().skip(received + 1).collect();
            let lost: Vec<u64> = behind.iter().filter(|(_, is_a_client)| *is_a_client).map(|(at, _)| *at).collect();
            let truth = Duration::from_micros(lost.last().unwrap_or(&0) - lost.first().unwrap_or(&0));
            let bracket = witness.loss(received as u64, Tick(until));
            prop_assert!(bracket.low <= truth, "{:?} {:?}", bracket, truth);
            prop_assert!(bracket.high.is_none_or(|high| high >= truth), "{:?} {:?}", bracket, truth);
            let age = Duration::from_micros(behind.first().map_or(0, |(at, _)| until - at));
            let exposed = witness.behind_for(received as u64, Tick(until));
            prop_assert!(exposed.low <= age && exposed.high.is_none_or(|high| high >= age), "{:?} {:?}", exposed, age);
        }
    }
}
