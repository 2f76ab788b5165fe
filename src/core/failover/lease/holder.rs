//! The holder's side: when it asks, until when it may write.

use std::{collections::VecDeque, time::Duration};

use thiserror::Error;

use super::{Class, Estimate, Grant, RENEWALS_PER_TTL, Rate, Reply, Request, Stamps, short};
use crate::{
    failover::{
        keys::{Key, holds},
        token::Token,
    },
    model::time::Tick,
};

/// Requests whose answer may still come: more than are sent within a ttl.
const ASKED_MAX: usize = 16;

/// Why a reply extends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ignored {
    /// No grant is held.
    #[error("no grant is held")]
    NoGrant,
    /// Of another grant, or of a request too long ago (L2).
    #[error("the reply belongs to another grant or to a request that is not waited for any more")]
    NotAsked,
    /// The lease that it gives ends no later than the one held, or has ended already.
    #[error("the reply gives no more time than there is")]
    Late,
    /// Another token outranks the grant: it is to be taken up at once.
    #[error("the grant is outranked by token {0}")]
    Outranked(Token),
}

/// What became of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Its margin began: the database is to be killed, whole, at once (A6).
    Soft,
    /// It ended. Nothing writes any more, or the fence has failed.
    Hard,
}

/// A region's side of a group's lease. Nothing of it outlives the process but the grant, which is the caller's to keep: a deadline of another
/// boot means nothing.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    grant: Option<Grant>,
    /// (number, when it was about to be sent), the oldest first.
    asked: VecDeque<(u64, Tick)>,
    sequence: u64,
    heard: u64,
    /// When that was heard.
    heard_at: Tick,
    ask_at: Tick,
    lease: Option<Lease>,
    /// Of the leader's clock, whatever is granted.
    rate: Rate,
    /// Which clock this is, for the leader.
    clock: u64,
}

/// Time that was given.
#[derive(Clone, Copy, Debug)]
struct Lease {
    /// By which grant.
    token: Token,
    /// When the database is to be killed.
    soft: Tick,
    /// When nothing writes any more.
    hard: Tick,
    /// Whether [`Lapse::Soft`] was told of it.
    is_lapsing: bool,
}

impl Holder {
    /// Without a grant. `clock`: another number after another start, which may be another boot.
    #[must_use]
    pub fn new(clock: u64) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Takes up a grant to this region. It opens nothing before a majority confirmed a renewal of it, in this boot (A3). A lease of the grant
    /// before it runs on to its end, for a database that writes by it.
    pub fn take_up(&mut self, grant: Grant, now: Tick) {
        let (lease, rest) = (self.lease, std::mem::take(self));
        *self = Self { grant: Some(grant), lease, ask_at: now, ..rest.without_grant() };
    }

    /// Gives the grant up, and with it the lease: a higher token rules, or the database is fenced.
    pub fn give_up(&mut self) {
        *self = std::mem::take(self).without_grant();
    }

    /// Numbers are not given twice, and the leader's clock is what it was.
    fn without_grant(self) -> Self {
        let Self { sequence, rate, clock, .. } = self;
        Self { sequence, rate, clock, ..Self::default() }
    }

    /// The grant that is held.
    #[must_use]
    pub const fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// The request that is due, by an agent that can attest `class`; `None`: not yet. It must be written to the wire after this call, never before: its time counts from `now` (L1).
    pub fn ask(&mut self, class: Class, now: Tick) -> Option<Request> {
        let grant = self.grant.as_ref().filter(|_| now >= self.ask_at)?;
        self.sequence += 1;
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((self.sequence, now));
        self.ask_at = now + grant.ttl / RENEWALS_PER_TTL;
        let stamps = (self.heard > 0).then_some(Stamps { clock: self.clock, heard_us: self.heard_at.0, said_us: now.0 });
        Some(Request { token: grant.token, region: grant.region.clone(), class, sequence: self.sequence, heard: self.heard, stamps })
    }

    /// Takes an answer in. The rate of the leader's clock, if that is found to lie beyond what a lease bears.
    ///
    /// # Errors
    /// [`Ignored`]: it gives no time. [`Ignored::Outranked`] asks for more than to be ignored.
    pub fn answered(&mut self, reply: &Reply, now: Tick) -> Result<Option<Estimate>, Ignored> {
        let grant = self.grant.as_ref().ok_or(Ignored::NoGrant)?;
        if reply.token > grant.token {
            return Err(Ignored::Outranked(reply.token));
        }
        let sent = self.asked.iter().find(|(sequence, _)| *sequence == reply.sequence).map(|(_, sent)| *sent);
        let is_of_grant = reply.token == grant.token || !holds(Key::Drop);
        let sent = sent.filter(|_| reply.granted && is_of_grant).ok_or(Ignored::NotAsked)?;
        let hard = if holds(Key::Send) { sent } else { now } + short(grant.ttl);
        let soft = hard.before(grant.margin);
        if now >= soft || self.lease.is_some_and(|known| known.token == grant.token && hard <= known.hard) {
            return Err(Ignored::Late);
        }
        self.asked.retain(|(sequence, _)| *sequence > reply.sequence);
        self.lease = Some(Lease { token: grant.token, soft, hard, is_lapsing: false });
        (self.heard, self.heard_at) = (reply.sequence, now);
        Ok(reply.stamps.and_then(|stamps| self.rate.note(sent, stamps, now)))
    }

    /// How fast the leader's clock runs beside this one; `None`: not known yet.
    #[must_use]
    pub const fn rate(&self) -> Option<Estimate> {
        self.rate.estimate()
    }

    /// Whether the database may be opened for writes: the lease is of the grant that is held, and its margin has not begun.
    #[must_use]
    pub fn is_live(&self, now: Tick) -> bool {
        self.lease.is_some_and(|lease| self.grant.as_ref().is_some_and(|grant| grant.token == lease.token) && now < lease.soft)
    }

    /// When the database is to be killed; `None`: there is no lease, and nothing may write.
    #[must_use]
    pub fn soft(&self) -> Option<Tick> {
        self.lease.map(|lease| lease.soft)
    }

    /// When nothing writes any more.
    #[must_use]
    pub fn hard(&self) -> Option<Tick> {
        self.lease.map(|lease| lease.hard)
    }

    /// How long the lease lasts from `now`; zero: there is none.
    #[must_use]
    pub fn remaining(&self, now: Tick) -> Duration {
        self.hard().map_or(Duration::ZERO, |hard| hard.since(now))
    }

    /// What lapsed until `now`, each once; called again until it gives `None`.
    pub fn advance(&mut self, now: Tick) -> Option<Lapse> {
        let lease = self.lease.as_mut()?;
        if now >= lease.soft && !lease.is_lapsing {
            lease.is_lapsing = true;
            return Some(Lapse::Soft);
        }
        if now >= lease.hard {
            self.lease = None;
            return Some(Lapse::Hard);
        }
        None
    }

    /// When [`Self::ask`] or [`Self::advance`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let ask = self.grant.as_ref().map(|_| self.ask_at);
        let lapse = self.lease.map(|lease| if lease.is_lapsing { lease.hard } else { lease.soft });
        ask.into_iter().chain(lapse).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::drawn::{ARMED, at, grant},
        *,
    };
    use crate::failover::keys::without;

    fn granted(epoch: u64, sequence: u64) -> Reply {
        let token = Token { generation: 1, epoch };
        Reply { sequence, token, granted: true, instead: None, stops: false, stamps: None, drifts: None, voters: BTreeSet::new() }
    }

    #[test]
    fn time_counts_from_the_sending_whenever_the_answer_comes() {
        let mut holder = Holder::default();
        assert_eq!((holder.ask(ARMED, at(1)), holder.is_live(at(1)), holder.next_deadline()), (None, false, None));
        holder.take_up(grant(7), at(1));
        assert!(!holder.is_live(at(1)), "a grant is no lease");
        let first = holder.ask(ARMED, at(2)).unwrap();
        assert_eq!((first.sequence, first.heard, holder.ask(ARMED, at(2))), (1, 0, None));
        assert_eq!(holder.answered(&granted(7, 1), at(60)), Ok(None));
        assert_eq!(holder.hard(), Some(at(2) + Duration::from_millis(89_100)));
        assert_eq!(holder.soft(), Some(at(2) + Duration::from_millis(79_100)));
        assert_eq!((holder.is_live(at(81)), holder.is_live(at(82)), holder.remaining(at(100))), (true, false, Duration::ZERO));
        assert_eq!(holder.ask(ARMED, at(61)).unwrap().heard, 1);
    }

    #[test]
    fn what_extends_nothing_is_ignored() {
        let mut holder = Holder::default();
        assert_eq!(holder.answered(&granted(7, 1), at(1)), Err(Ignored::NoGrant));
        holder.take_up(grant(7), at(1));
        assert_eq!(holder.answered(&granted(7, 1), at(1)), Err(Ignored::NotAsked), "nothing was asked");
        holder.ask(ARMED, at(1)).unwrap();
        holder.ask(ARMED, at(16)).unwrap();
        assert_eq!(holder.answered(&granted(6, 1), at(17)), Err(Ignored::NotAsked), "of another grant");
        assert_eq!(holder.answered(&Reply { granted: false, ..granted(7, 1) }, at(17)), Err(Ignored::NotAsked));
        assert_eq!(holder.answered(&granted(9, 2), at(17)), Err(Ignored::Outranked(Token { generation: 1, epoch: 9 })));
        assert_eq!(holder.answered(&granted(7, 2), at(17)), Ok(None));
        assert_eq!(holder.answered(&granted(7, 1), at(18)), Err(Ignored::NotAsked), "an older one is not waited for");
        assert_eq!(holder.answered(&granted(7, 2), at(18)), Err(Ignored::NotAsked), "a repeat");
        holder.ask(ARMED, at(31)).unwrap();
        assert_eq!(holder.answered(&granted(7, 3), at(111)), Err(Ignored::Late), "its margin has begun");
        holder.take_up(grant(8), at(120));
        assert_eq!(
            (holder.is_live(at(50)), holder.soft()),
            (false, Some(at(16) + Duration::from_millis(79_100))),
            "the lease of another grant"
        );
        assert_eq!(holder.answered(&granted(8, 3), at(120)), Err(Ignored::NotAsked), "asked under another grant");
    }

    /// What it asked under another grant it does not wait for any more, so that this rule is never the last that stands.
    #[test]
    fn drop_removed_is_shielded() {
        let mut holder = Holder::default();
        holder.take_up(grant(7), at(1));
        holder.ask(ARMED, at(1)).unwrap();
        holder.take_up(grant(8), at(2));
        holder.ask(ARMED, at(2)).unwrap();
        let late = without(Some(Key::Drop), || (holder.answered(&granted(7, 1), at(3)), holder.answered(&granted(8, 1), at(3))));
        assert_eq!((late, holder.is_live(at(3))), ((Err(Ignored::NotAsked), Err(Ignored::NotAsked)), false));
    }

    #[test]
    fn each_lapse_is_told_once_and_a_renewal_in_the_margin_begins_anew() {
        let mut holder = Holder::default();
        holder.take_up(grant(7), at(0));
        holder.ask(ARMED, at(0)).unwrap();
        holder.answered(&granted(7, 1), at(1)).unwrap();
        assert_eq!((holder.advance(at(79)), holder.next_deadline()), (None, Some(at(15))));
        holder.ask(ARMED, at(79)).unwrap();
        assert_eq!((holder.advance(at(80)), holder.advance(at(80))), (Some(Lapse::Soft), None));
        assert_eq!(holder.answered(&granted(7, 2), at(81)), Ok(None));
        assert_eq!((holder.is_live(at(81)), holder.advance(at(90))), (true, None));
        assert_eq!(
            (holder.advance(at(500)), holder.advance(at(500)), holder.advance(at(500))),
            (Some(Lapse::Soft), Some(Lapse::Hard), None)
        );
        holder.give_up();
        assert_eq!((holder.grant(), holder.next_deadline()), (None, None));
        holder.take_up(grant(9), at(501));
        assert_eq!(holder.ask(ARMED, at(501)).unwrap().sequence, 3, "numbers are not given twice");
    }
}
