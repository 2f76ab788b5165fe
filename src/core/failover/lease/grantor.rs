//! The leader's side: whom it gives time, and from when on nobody has any.
//!
//! All of it lives in the leader's memory. A new leader knows of no grant and assumes one at the instant at which it applied its own first
//! entry (L4, L6): renewals are not in the log, because a log that wrote every fifteen seconds for every group would be busy with nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use thiserror::Error;

use super::{Estimate, Grant, Rate, Reply, Request, Stamps, long};
use crate::{
    failover::{
        keys::{Key, holds},
        token::Token,
    },
    model::{ids::Label, time::Tick},
};

/// Renewals that wait for a majority's word, of all groups: each holder has one on its way, and may send another one.
pub const WAITING_MAX: usize = 4096;

/// What rules a group, as it is committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This grant.
    Granted(Grant),
    /// Nobody may write: a decision, or nothing has been granted yet. The highest token of the group.
    Revoked(Token),
    /// Nobody may write, and this region is to end what was begun and to stop cleanly: an order says so, and may come after the refusal.
    Stopping {
        /// Of the decision.
        token: Token,
        /// Whose database it is.
        region: Label,
    },
}

impl Verdict {
    /// The group's highest token.
    #[must_use]
    pub const fn token(&self) -> Token {
        match self {
            Self::Granted(grant) => grant.token,
            Self::Revoked(token) | Self::Stopping { token, .. } => *token,
        }
    }

    /// The answer to a request, as far as this decides it.
    #[must_use]
    pub fn reply(&self, request: &Request) -> Reply {
        let granted = self.covers(request);
        let instead = match self {
            Self::Granted(grant) if !granted && grant.region == request.region => Some(grant.clone()),
            _ => None,
        };
        let stops = matches!(self, Self::Stopping { region, .. } if *region == request.region);
        Reply {
            sequence: request.sequence,
            token: self.token(),
            granted,
            instead,
            stops,
            stamps: None,
            drifts: None,
            voters: BTreeSet::new(),
        }
    }

    /// Whether the request belongs to the grant in force.
    fn covers(&self, request: &Request) -> bool {
        matches!(self, Self::Granted(grant)
            if grant.token == request.token && grant.region == request.region && grant.class == request.class)
    }
}

/// Why a request is not answered with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// This node leads nobody, or has not applied an entry of its own term yet.
    #[error("this node does not lead, or not long enough")]
    NotLeader,
    /// Another token rules; the holder is to be told, so that it stops.
    #[error("token {0} rules the group")]
    Outranked(Token),
    /// More requests wait than can be.
    #[error("{WAITING_MAX} renewals wait for a majority's word")]
    TooMany,
}

/// A request that passed the check.
#[derive(Clone, Debug)]
struct Waiting {
    group: Label,
    request: Request,
    /// The first round of words that may confirm it.
    round: u64,
    received: Tick,
}

/// The clock of a group's holder.
#[derive(Clone, Debug)]
struct Watched {
    region: Label,
    /// The number of the last answer, and when it was said; `None`: its echo was looked at already.
    replied: Option<(u64, Tick)>,
    rate: Rate,
    /// What was found, until the holder heard an answer with it.
    found: Option<Estimate>,
}

/// A leader's memory of who was given time. One that ceases to lead drops it.
#[derive(Clone, Debug)]
pub struct Grantor {
    /// When it had applied the first entry of its own term.
    since: Tick,
    /// Of each group the receipt of the last renewal that passed the check.
    received: BTreeMap<Label, Tick>,
    waiting: Vec<Waiting>,
    /// Of each group that was answered.
    clocks: BTreeMap<Label, Watched>,
    /// The number of the round that would begin next.
    next_round: u64,
}

impl Grantor {
    /// Of a leader that has just applied an entry of its own term, never earlier (L4).
    #[must_use]
    pub const fn new(now: Tick) -> Self {
        Self { since: now, received: BTreeMap::new(), waiting: Vec::new(), clocks: BTreeMap::new(), next_round: 1 }
    }

    /// Takes a request in; it is answered after the majority's word ([`Self::round_ended`]).
    ///
    /// # Errors
    /// [`Refused`]: it gets no time.
    pub fn asked(&mut self, now: Tick, group: &Label, request: Request, rules: &Verdict) -> Result<(), Refused> {
        if !rules.covers(&request) {
            return Err(Refused::Outranked(rules.token()));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Refused::TooMany);
        }
        self.received.insert(group.clone(), now);
        self.watch(group, &request, now);
        self.waiting.push(Waiting { group: group.clone(), request, round: self.next_round, received: now });
        Ok(())
    }

    /// Sees how fast the asker's clock runs: it says when it heard the last answer and when it asked (L10).
    fn watch(&mut self, group: &Label, request: &Request, now: Tick) {
        let Some(watched) = self.clocks.get_mut(group).filter(|it| it.region == request.region) else { return };
        let said = watched.replied.take_if(|(sequence, _)| request.heard == *sequence && request.stamps.is_some());
        if let Some(((_, said), stamps)) = said.zip(request.stamps) {
            watched.found = watched.rate.note(said, stamps, now);
        }
    }

    /// Whether renewals wait for a round.
    #[must_use]
    pub const fn wants_round(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A round of words begins now; its number. What arrives later needs a later one (L3).
    pub const fn round_began(&mut self) -> u64 {
        let round = self.next_round;
        self.next_round += 1;
        round
    }

    /// A majority acknowledged the round, in this leader's own term: the answers, with group and region, to all that arrived before it began. What was revoked since
    /// is refused, though it passed the check before (L5).
    pub fn round_ended<'a>(&mut self, round: u64, rules: impl Fn(&Label) -> Option<&'a Verdict>, now: Tick) -> Vec<(Label, Label, Reply)> {
        let is_confirmed = |it: &Waiting| it.round <= round || !holds(Key::Quorum);
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_confirmed);
        self.waiting = waiting;
        let answer = |Waiting { group, request, received, .. }: Waiting| {
            let reply = rules(&group)?.reply(&request);
            let reply = if reply.granted { self.stamped(&group, &request, reply, received, now) } else { reply };
            Some((group, request.region, reply))
        };
        ready.into_iter().filter_map(answer).collect()
    }

    /// The answer with this clock's readings, and with what was found of the asker's.
    fn stamped(&mut self, group: &Label, request: &Request, reply: Reply, received: Tick, now: Tick) -> Reply {
        let replied = Some((request.sequence, now));
        let new = || Watched { region: request.region.clone(), replied, rate: Rate::default(), found: None };
        let watched = self.clocks.entry(group.clone()).or_insert_with(new);
        if watched.region != request.region {
            *watched = new();
        }
        watched.replied = replied;
        // Another leader's memory began at another moment of another clock.
        let stamps = Stamps { clock: self.since.0, heard_us: received.0, said_us: now.0 };
        Reply { stamps: Some(stamps), drifts: watched.found, ..reply }
    }

    /// When nobody holds a lease of the group any more, if none is given from now on: to be asked once the decision that revokes the grant is
    /// applied. `ttl`: of the grant that it revokes, the longest where several may be in use (L7).
    #[must_use]
    pub fn over_at(&self, group: &Label, ttl: Duration) -> Tick {
        let since = if holds(Key::Elect) { self.since } else { Tick(0) };
        let last = self.received.get(group).copied().map_or(since, |received| received.max(since));
        last + long(ttl)
    }

    /// A group is gone: what is remembered of it goes, too.
    pub fn forget(&mut self, group: &Label) {
        self.received.remove(group);
        self.clocks.remove(group);
        self.waiting.retain(|it| it.group != *group);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Class,
            drawn::{at, grant},
        },
        *,
    };

    fn request(epoch: u64, sequence: u64) -> Request {
        Request { token: Token { generation: 1, epoch }, region: "us".into(), class: grant(epoch).class, sequence, heard: 0, stamps: None }
    }

    #[test]
    fn a_round_answers_what_arrived_before_it_began() {
        let (group, rules) = (Label::new("orders"), Verdict::Granted(grant(7)));
        let mut grantor = Grantor::new(at(0));
        assert!(!grantor.wants_round());
        grantor.asked(at(1), &group, request(7, 1), &rules).unwrap();
        let first = grantor.round_began();
        grantor.asked(at(2), &group, request(7, 2), &rules).unwrap();
        let answers = grantor.round_ended(first, |_| Some(&rules), at(3));
        let stamps = Some(Stamps { clock: 0, heard_us: at(1).0, said_us: at(3).0 });
        assert_eq!(
            answers,
            [(
                group.clone(),
                request(7, 1).region,
                Reply {
                    sequence: 1,
                    token: rules.token(),
                    granted: true,
                    instead: None,
                    stops: false,
                    stamps,
                    drifts: None,
                    voters: BTreeSet::new()
                }
            )]
        );
        assert!(grantor.wants_round(), "the second one arrived while the round ran");
        let second = grantor.round_began();
        assert_eq!(grantor.round_ended(second, |_| Some(&rules), at(4))[0].2.sequence, 2);
        assert!(!grantor.wants_round());
    }

    #[test]
    fn what_was_revoked_meanwhile_is_refused_with_what_rules() {
        let (group, rules) = (Label::new("orders"), Verdict::Granted(grant(7)));
        let mut grantor = Grantor::new(at(0));
        grantor.asked(at(1), &group, request(7, 1), &rules).unwrap();
        let round = grantor.round_began();
        let revoked = Verdict::Revoked(Token { generation: 1, epoch: 9 });
        assert_eq!(
            grantor.round_ended(round, |_| Some(&revoked), at(2)),
            [(
                group.clone(),
                request(7, 1).region,
                Reply {
                    sequence: 1,
                    token: revoked.token(),
                    granted: false,
                    instead: None,
                    stops: false,
                    stamps: None,
                    drifts: None,
                    voters: BTreeSet::new()
                }
            )]
        );
        assert_eq!(grantor.asked(at(2), &group, request(7, 2), &revoked), Err(Refused::Outranked(revoked.token())));
        let elsewhere = Request { region: "eu".into(), ..request(7, 2) };
        assert_eq!(grantor.asked(at(2), &group, elsewhere, &rules), Err(Refused::Outranked(rules.token())), "granted to another region");
        let bare = Request { class: Class::Bare, ..request(7, 2) };
        assert_eq!(grantor.asked(at(2), &group, bare, &rules), Err(Refused::Outranked(rules.token())), "of another class");
    }

    /// The holder's clock runs two hundredths fast: it is told so, and again until it heard it.
    #[test]
    fn a_holder_is_told_of_its_clock_until_it_heard_it() {
        let (group, rules) = (Label::new("orders"), Verdict::Granted(grant(7)));
        let mut grantor = Grantor::new(at(0));
        let mut ask = |second: u64, sequence: u64, heard: Option<u64>| {
            let theirs = |second: u64| at(second).0 * 51 / 50;
            let stamps = heard.map(|at| Stamps { clock: 3, heard_us: theirs(at), said_us: theirs(second) });
            let heard = if stamps.is_some() { sequence - 1 } else { 0 };
            grantor.asked(at(second), &group, Request { heard, stamps, ..request(7, sequence) }, &rules).unwrap();
            let round = grantor.round_began();
            grantor.round_ended(round, |_| Some(&rules), at(second + 1))[0].2.drifts
        };
        assert_eq!(ask(0, 1, None), None);
        assert_eq!(ask(15, 2, Some(1)), None);
        assert_eq!(ask(30, 3, Some(16)), None, "they lie too close together");
        let found = ask(45, 4, Some(31)).unwrap();
        assert!(found.low_ppm > super::super::BEYOND_PPM, "{found}");
        assert_eq!(ask(60, 5, None), Some(found), "it did not hear the last answer");
    }

    #[test]
    fn a_new_leader_waits_a_whole_lease_from_its_own_first_entry() {
        let group = Label::new("orders");
        let mut grantor = Grantor::new(at(100));
        let ttl = Duration::from_secs(90);
        assert_eq!(grantor.over_at(&group, ttl), at(100) + Duration::from_micros(90_900_001));
        grantor.asked(at(130), &group, request(7, 1), &Verdict::Granted(grant(7))).unwrap();
        assert_eq!(
            grantor.over_at(&group, ttl),
            at(130) + Duration::from_micros(90_900_001),
            "the answer may never be sent: it counts all the same"
        );
        grantor.forget(&group);
        assert_eq!((grantor.over_at(&group, ttl), grantor.wants_round()), (at(100) + Duration::from_micros(90_900_001), false));
    }
}
