//! The streams between nodes: what each has heard, what it still has to say to whom, and what it hands on.
//!
//! ```text
//! voter <--all of its own and of its observers--> voter        observer --its own--> voter it is attached to
//!                                                              observer <--everything-- voter
//! ```
//!
//! Every batch acknowledges what was heard from the other side, and says what is above the other's acknowledgement: so loss costs a
//! repetition, and nothing is told twice without need. An observer whose voter is silent attaches to another one.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::{
    health::vantage::{CheckKey, FRESH_FOR, Report, Sight, Statement},
    model::{ids::Label, time::Tick, verdict::Health},
    node::Node,
};

/// A voter forgets an observer's stream after this.
const STREAM_KEPT: Duration = Duration::from_secs(5);

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// (observer, what it says).
    pub(crate) reports: Vec<(usize, Report)>,
    /// (observer, incarnation, up to where it was heard); `None`: says nothing of that.
    acks: Option<Vec<(usize, u64, u64)>>,
    /// By the sender's clock.
    sent: Tick,
    /// When the latest batch of the other side was sent, by that side's clock, and how long it lay here.
    echo: Option<(Tick, Duration)>,
    /// Checks to be confirmed, with the region that asks.
    pub(crate) confirm: Vec<(CheckKey, usize)>,
}

/// What was heard of one observer.
#[derive(Clone, Debug)]
struct Heard {
    observer: Label,
    region: Label,
    incarnation: u64,
    complete: u64,
    /// The end of the latest full report: what was withdrawn before it is not known, so nothing can be told of what changed up to it.
    floor: u64,
    sight: Sight,
    age: Duration,
    at: Tick,
    statements: BTreeMap<CheckKey, Statement>,
    /// When it came from the observer itself.
    direct: Option<Tick>,
}

/// The other end of a stream.
#[derive(Clone, Debug, Default)]
struct Peer {
    acks: BTreeMap<usize, (u64, u64)>,
    /// Up to where each observer was told.
    told: BTreeMap<usize, (u64, u64)>,
    round_trip: Duration,
    latest: Option<(Tick, Tick)>,
    heard: Tick,
}

/// How this node stands in the mesh.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    own: usize,
    incarnation: u64,
    is_voter: bool,
    /// The voters, with those of the own region first.
    voters: Vec<usize>,
    /// Position of the voter that this observer is attached to.
    attached: usize,
    /// Before this it does not look for another voter.
    patience: Tick,
    heard: BTreeMap<usize, Heard>,
    peers: BTreeMap<usize, Peer>,
}

impl Mesh {
    pub(crate) fn new(own: usize, incarnation: u64, voters: Vec<usize>, now: Tick) -> Self {
        let is_voter = voters.contains(&own);
        let patience = now + FRESH_FOR;
        Self { own, incarnation, is_voter, voters, attached: 0, patience, heard: BTreeMap::new(), peers: BTreeMap::new() }
    }

    /// To whom this node has streams.
    pub(crate) fn neighbours(&self, now: Tick) -> Vec<usize> {
        if !self.is_voter {
            return vec![self.voters[self.attached]];
        }
        let is_alive = |peer: usize| self.peers.get(&peer).is_some_and(|it| now.since(it.heard) < STREAM_KEPT);
        let observers = self.peers.keys().copied().filter(|peer| !self.voters.contains(peer) && is_alive(*peer));
        self.voters.iter().copied().filter(|voter| *voter != self.own).chain(observers).collect()
    }

    /// An observer whose voter is silent goes to the next one. `jitter` parts those that lose their voter together.
    pub(crate) fn attach(&mut self, now: Tick, jitter: Duration) {
        if self.is_voter || now < self.patience {
            return;
        }
        self.attached = (self.attached + 1) % self.voters.len();
        self.patience = now + FRESH_FOR + jitter;
    }

    /// Takes the frame of a batch in. Gives the stream's round trip.
    pub(crate) fn arrived(&mut self, from: usize, batch: &Batch, now: Tick, jitter: Duration) -> Duration {
        if !self.is_voter && self.voters[self.attached] == from {
            self.patience = now + FRESH_FOR + jitter;
        }
        let peer = self.peers.entry(from).or_default();
        if let Some(acks) = &batch.acks {
            peer.acks = acks.iter().map(|&(observer, incarnation, complete)| (observer, (incarnation, complete))).collect();
        }
        peer.latest = Some((batch.sent, now));
        peer.heard = now;
        if let Some((sent, lay)) = batch.echo {
            peer.round_trip = now.since(sent).saturating_sub(lay);
        }
        peer.round_trip
    }

    /// Whether a report says nothing above what was heard completely.
    pub(crate) fn is_replay(&self, observer: usize, report: &Report) -> bool {
        let says_less = |known: &Heard| {
            report.incarnation < known.incarnation || (report.incarnation == known.incarnation && report.sequence <= known.complete)
        };
        self.heard.get(&observer).is_some_and(says_less)
    }

    /// Asks everybody for everything: this node may have forgotten some of those it heard.
    pub(crate) fn begin_again(&mut self) {
        self.heard.clear();
    }

    /// Remembers what a report says, to hand it on and to acknowledge it.
    pub(crate) fn remember(&mut self, observer: usize, report: &Report, from: usize, round_trip: Duration, now: Tick) {
        let is_newer = |known: &Heard| known.incarnation < report.incarnation;
        if self.heard.get(&observer).is_none_or(is_newer) {
            let fresh = Heard {
                observer: report.observer.clone(),
                region: report.region.clone(),
                incarnation: report.incarnation,
                complete: 0,
                floor: 0,
                sight: report.sight,
                age: Duration::ZERO,
                at: now,
                statements: BTreeMap::new(),
                direct: None,
            };
            self.heard.insert(observer, fresh);
        }
        let Some(known) = self.heard.get_mut(&observer) else { return };
        if known.incarnation != report.incarnation || report.after > known.complete || report.sequence <= known.complete {
            return;
        }
        if report.after == 0 {
            known.statements.clear();
            known.floor = report.sequence;
        }
        known.statements.extend(report.statements.iter().map(|it| (it.check, it.clone())));
        (known.complete, known.sight, known.at) = (report.sequence, report.sight, now);
        known.age = report.age + round_trip / 2;
        if from == observer {
            known.direct = Some(now);
        }
    }

    /// What there is to say to a peer. `is_pulse`: also what was told and not acknowledged; else only what was never told.
    pub(crate) fn batch_for(&mut self, to: usize, node: &Node, now: Tick, is_pulse: bool) -> Batch {
        let hands_on_all = self.is_voter && !self.voters.contains(&to);
        let acks = self.heard.iter().map(|(observer, it)| (*observer, it.incarnation, it.complete)).collect();
        let peer = self.peers.entry(to).or_default();
        let echo = peer.latest.map(|(sent, arrived)| (sent, now.since(arrived)));
        let mut reports = Vec::new();
        let wanted = |peer: &Peer, observer: usize, incarnation: u64, sequence: u64| {
            let of = |list: &BTreeMap<usize, (u64, u64)>| list.get(&observer).filter(|it| it.0 == incarnation).map_or(0, |it| it.1);
            let (acked, told) = (of(&peer.acks), of(&peer.told));
            (sequence > if is_pulse { acked } else { acked.max(told) }).then_some(acked)
        };
        let own = node.vantage();
        if let Some(after) = wanted(peer, self.own, self.incarnation, own.sequence()) {
            reports.push((self.own, own.report(after)));
            peer.told.insert(self.own, (self.incarnation, own.sequence()));
        }
        for (&observer, it) in self.heard.iter().filter(|(observer, _)| self.is_voter && **observer != to) {
            let is_direct = !self.voters.contains(&observer) && it.direct.is_some_and(|at| now.since(at) < FRESH_FOR);
            let age = it.age + now.since(it.at);
            if it.complete == 0 || age >= FRESH_FOR || !(hands_on_all || is_direct) {
                continue;
            }
            if let Some(after) = wanted(peer, observer, it.incarnation, it.complete) {
                reports.push((observer, it.report(after, age)));
                peer.told.insert(observer, (it.incarnation, it.complete));
            }
        }
        Batch { reports, acks: Some(acks), sent: now, echo, confirm: Vec::new() }
    }

    /// A batch that asks to confirm a check and says nothing else.
    pub(crate) fn question(check: CheckKey, region: usize, now: Tick) -> Batch {
        Batch { reports: Vec::new(), acks: None, sent: now, echo: None, confirm: vec![(check, region)] }
    }

    /// Whether this node hands on what it is told.
    pub(crate) const fn is_voter(&self) -> bool {
        self.is_voter
    }
}

impl Heard {
    fn report(&self, after: u64, age: Duration) -> Report {
        let after = if after < self.floor { 0 } else { after };
        let changed = self.statements.values().filter(|it| it.sequence > after && (after > 0 || it.judgement.health != Health::Unknown));
        Report {
            observer: self.observer.clone(),
            region: self.region.clone(),
            incarnation: self.incarnation,
            after,
            sequence: self.complete,
            sight: self.sight,
            age,
            statements: changed.cloned().collect(),
        }
    }
}

impl Batch {
    /// Whether it is a sign of life only.
    pub(crate) fn is_news(&self) -> bool {
        self.reports.iter().any(|(_, report)| !report.statements.is_empty())
    }

    /// The same when it lay on the way for `by`: an honest relay says so.
    pub(crate) fn aged(mut self, by: Duration) -> Self {
        self.reports = self.reports.into_iter().map(|(observer, report)| (observer, report.aged(by))).collect();
        self
    }

    /// As a relay that lies about age hands it on.
    pub(crate) fn rejuvenated(mut self) -> Self {
        for (_, report) in &mut self.reports {
            report.age = Duration::ZERO;
        }
        self
    }

    /// Reports of others than the sender.
    pub(crate) fn split_relayed(mut self, own: usize) -> (Self, Self) {
        let (mine, relayed) = self.reports.into_iter().partition(|(observer, _)| *observer == own);
        let rest = Self { reports: relayed, acks: None, sent: self.sent, echo: None, confirm: std::mem::take(&mut self.confirm) };
        (Self { reports: mine, confirm: Vec::new(), ..self }, rest)
    }
}
