//! The leader's part of an operation: from what is committed and what agents answered to the next order or proposal.
//!
//! Nothing that matters lives here. A new leader reads the phase from the log and repeats its orders; what it loses are answers, which are given
//! again, and deadlines, which begin anew. It proposes; `apply` decides.
//!
//! ```text
//! phase       orders                    proposes when
//! Announced   as without one            begin: answers that were given before have run out
//! Decided     fence (stop), promise     fenced: it says so, or its lease is over (stopped: with its hand-over token)
//! Fenced      seal to all others        sealed, one by one; choose: all did, or enough and the wait is over
//! Chosen      drain to the candidate    promote: all is replayed, and the loss is within what may be lost
//! Promoting   lead to the candidate     promoted: it writes; revoke: it gave no answer in time
//! Promoted    follow to the others      verified, routed, close
//! none        lead, follow              grant anew, settle, followed; adopt: every agent sees its member, and one is the primary
//! ```

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use super::{
    adopt::{Found, find},
    choose::{self, Unchosen},
    evidence::Evidence,
    group::{Ending, Group, HeldFor, Kind, Operation, Phase},
    keys::{Key, holds},
    lease::{Class, Grant, Grantor, Refused, Reply, Request, Verdict, long},
    order::{Answer, Order, Said, Sight, Status, Verb},
    step::{AGENT, Proof, Step},
    token::Token,
};
use crate::{
    model::{
        group::{Durability, OnControlLoss, Policy, Reclone},
        ids::Label,
        time::Tick,
    },
    recovery::{drill::DrillStep, exposure::Bracket},
};

/// How long what is waited for, before it is held, given back or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Between two equal orders or proposals.
    pub again: Duration,
    /// Before a refused proposal is made again.
    pub refused: Duration,
    /// An agent that said nothing for so long is silent.
    pub silence: Duration,
    /// For a clean stop.
    pub stop: Duration,
    /// For more copies to be sealed, once one is.
    pub seal: Duration,
    /// For a candidate to replay.
    pub drain: Duration,
    /// For a candidate to write.
    pub promote: Duration,
    /// For a person, from the hold on, before what is held goes back to an old primary that is there again.
    pub give_back: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            again: seconds(2),
            refused: seconds(30),
            silence: seconds(10),
            stop: seconds(60),
            seal: seconds(10),
            drain: seconds(300),
            promote: seconds(60),
            give_back: seconds(30),
        }
    }
}

impl Patience {
    /// As long as the group's clocks make it. Between two equal orders it stays: that is the pace of what answers.
    #[must_use]
    pub fn on_clocks_of(self, policy: &Policy) -> Self {
        let Self { again, refused, silence, stop, seal, drain, promote, give_back } = self;
        let on = |fixed: Duration| policy.scaled(fixed);
        Self {
            again,
            refused: on(refused),
            silence: on(silence),
            stop: on(stop),
            seal: on(seal),
            drain: on(drain),
            promote: on(promote),
            give_back: on(give_back),
        }
    }
}

/// What the leader knows from elsewhere.
pub trait Figures {
    /// What would be lost if the group went on from this position.
    fn loss(&self, group: &Label, position: u64) -> Bracket;
    /// Whether what the plan wants to be shown was shown, or what was not, in one line; `None`: it is not known yet.
    fn verified(&self, group: &Label, token: Token) -> Option<Result<(), String>>;
    /// Whether names lead to the primary of this grant.
    fn is_routed(&self, group: &Label, token: Token) -> bool;
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Propose this entry.
    Propose(Step),
    /// Send this to the agent of that region.
    Send(Label, Order),
}

/// What a leader remembers of one group.
#[derive(Clone, Debug, Default)]
struct Desk {
    /// The token and phase that were seen last, and since when.
    seen: Option<(Token, Option<Phase>)>,
    since: Tick,
    /// What it was held for when it was seen last, and since when that was so; `None`: for nothing.
    held: Option<(HeldFor, Tick)>,
    /// Answers to orders of the present token.
    answers: BTreeMap<Label, Vec<Said>>,
    /// When the first peer promised.
    promised: Option<Tick>,
    /// The holder renews by the grant of this token.
    settled: Option<Token>,
    statuses: BTreeMap<Label, (Tick, Status)>,
    sent: BTreeMap<Label, (Order, Tick)>,
    /// What was proposed last, and from when on it is proposed again.
    proposed: Option<(Step, Tick)>,
    /// A step is on its way.
    is_under_way: bool,
    /// The end of a lease is waited for, which comes then.
    over_at: Option<Tick>,
}

/// A leader that has applied an entry of its own term.
#[derive(Clone, Debug)]
pub struct Conductor {
    grantor: Grantor,
    desks: BTreeMap<Label, Desk>,
    patience: Patience,
}

impl Conductor {
    /// Of a leader that has just applied an entry of its own term, never earlier (L4).
    #[must_use]
    pub const fn new(patience: Patience, now: Tick) -> Self {
        Self { grantor: Grantor::new(now), desks: BTreeMap::new(), patience }
    }

    /// A renewal came.
    ///
    /// # Errors
    /// [`Refused`]: what is answered at once, with [`Verdict::reply`]; anything else is answered after a round.
    pub fn asked(&mut self, group: &Label, request: Request, rules: &Verdict, now: Tick) -> Result<(), Refused> {
        let (token, heard) = (request.token, request.heard);
        self.grantor.asked(now, group, request, rules)?;
        if heard > 0 {
            self.desk(group).settled = Some(token);
        }
        Ok(())
    }

    /// Whether renewals wait for a round of words.
    #[must_use]
    pub const fn wants_round(&self) -> bool {
        self.grantor.wants_round()
    }

    /// A round of words begins.
    pub const fn round_began(&mut self) -> u64 {
        self.grantor.round_began()
    }

    /// A majority acknowledged the round: the answers, with group and region.
    pub fn round_ended<'a>(&mut self, round: u64, rules: impl Fn(&Label) -> Option<&'a Verdict>, now: Tick) -> Vec<(Label, Label, Reply)> {
        self.grantor.round_ended(round, rules, now)
    }

    /// An agent answered an order.
    pub fn answered(&mut self, group: &Label, region: &Label, answer: Answer, now: Tick) {
        let desk = self.desk(group);
        let is_ours = desk.seen.is_some_and(|(token, _)| token == answer.token);
        if !is_ours && holds(Key::Matched) {
            return;
        }
        if answer.said == Said::Promised && desk.promised.is_none() {
            desk.promised = Some(now);
        }
        let said = desk.answers.entry(region.clone()).or_default();
        // The last word of each kind counts.
        said.retain(|it| std::mem::discriminant(it) != std::mem::discriminant(&answer.said));
        said.push(answer.said);
    }

    /// Whether a step of a group is on its way: nothing is proposed meanwhile, so that it is due when that one has come.
    pub fn under_way(&mut self, group: &Label, is_so: bool) {
        self.desk(group).is_under_way = is_so;
    }

    /// A proposal was refused: it is not repeated for a while, because every entry is kept, the refused ones too.
    pub fn refused(&mut self, group: &Label, step: &Step, now: Tick) {
        let again = now + self.patience.refused;
        if let Some((_, known)) = self.desk(group).proposed.as_mut().filter(|(proposed, _)| proposed == step) {
            *known = again;
        }
    }

    /// An agent told of itself.
    /// An older one than is known changes nothing, unless that one is so old that the agent may have lost its disk.
    pub fn told(&mut self, group: &Label, region: &Label, status: Status, now: Tick) {
        let silence = self.patience.silence;
        let statuses = &mut self.desk(group).statuses;
        let is_older = |(at, known): &(Tick, Status)| status.sequence <= known.sequence && now < *at + silence;
        if !statuses.get(region).is_some_and(is_older) {
            statuses.insert(region.clone(), (now, status));
        }
    }

    fn desk(&mut self, group: &Label) -> &mut Desk {
        self.desks.entry(group.clone()).or_default()
    }

    /// What is to be done for a group now. Called when something came in, and at least as often as [`Patience::again`].
    pub fn conduct(&mut self, name: &Label, group: &Group, policy: &Policy, figures: &impl Figures, now: Tick) -> Vec<Action> {
        let over = self.over_at(name, group, policy);
        let patience = self.patience.on_clocks_of(policy);
        let desk = self.desk(name);
        desk.see(group, now);
        let waits = group.operation.as_ref().is_some_and(|it| it.phase == Phase::Decided && it.kind == Kind::Failover);
        desk.over_at = over.filter(|at| waits && *at > now);
        let mut part = Part { name, group, policy, over, now, patience, out: Vec::new(), desk };
        match &group.operation {
            None => part.keep(),
            Some(operation) => part.go_on(operation, figures),
        }
        part.out
    }

    /// When [`Self::conduct`] has something to do for some group though nothing came in; `None`: not by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.desks.values().filter_map(|desk| desk.over_at).min()
    }

    /// When nobody holds a lease of the revoked grant any more; `None`: not before somebody promised.
    fn over_at(&self, name: &Label, group: &Group, policy: &Policy) -> Option<Tick> {
        let grant = group.grant.as_ref()?;
        // What the plan says now is of the next grant (L7).
        let ttl = if holds(Key::Ttl) { grant.longest } else { policy.ttl };
        let over = self.grantor.over_at(name, ttl);
        if grant.on_control_loss != OnControlLoss::HoldIfAllAck || grant.peers.is_empty() || !holds(Key::Peers) {
            return Some(over);
        }
        let promised = self.desks.get(name).filter(|desk| desk.seen.is_some_and(|(token, _)| token == group.token))?.promised?;
        Some(over.max(promised + long(ttl)))
    }
}

impl Desk {
    fn see(&mut self, group: &Group, now: Tick) {
        let phase = group.operation.as_ref().map(|it| it.phase);
        let held = group.operation.as_ref().and_then(|it| it.held.as_ref()).map(|held| held.reason);
        let since =
            self.held.filter(|(reason, _)| self.seen == Some((group.token, phase)) && Some(*reason) == held).map(|(_, since)| since);
        let was_held = std::mem::replace(&mut self.held, held.map(|reason| (reason, since.unwrap_or(now)))).is_some();
        if self.seen == Some((group.token, phase)) {
            if was_held && held.is_none() {
                // A person has it tried again: with all its time, and at once.
                (self.since, self.proposed) = (now, None);
                self.sent.clear();
            }
            return;
        }
        if self.seen.is_none_or(|(token, _)| token != group.token) {
            if holds(Key::Matched) {
                self.answers.clear();
            }
            self.promised = None;
            self.sent.clear();
        }
        (self.seen, self.since, self.proposed) = (Some((group.token, phase)), now, None);
    }

    fn said(&self, region: &Label) -> impl Iterator<Item = &Said> {
        self.answers.get(region).into_iter().flatten()
    }
}

/// One group at one moment.
struct Part<'a> {
    name: &'a Label,
    group: &'a Group,
    policy: &'a Policy,
    over: Option<Tick>,
    now: Tick,
    patience: Patience,
    desk: &'a mut Desk,
    out: Vec<Action>,
}

impl<'a> Part<'a> {
    /// One at a time: what comes second may be another one when the first is there.
    fn propose(&mut self, step: Step) {
        if self.desk.is_under_way || self.out.iter().any(|it| matches!(it, Action::Propose(_))) {
            return;
        }
        let is_repeat = self.desk.proposed.as_ref().is_some_and(|(last, again)| *last == step && self.now < *again);
        if !is_repeat {
            self.desk.proposed = Some((step.clone(), self.now + self.patience.again));
            self.out.push(Action::Propose(step));
        }
    }

    fn send(&mut self, to: &Label, verb: Verb) {
        let order = Order { token: self.group.token, verb };
        let is_repeat = self.desk.sent.get(to).is_some_and(|(last, at)| *last == order && self.now < *at + self.patience.again);
        if !is_repeat {
            self.desk.sent.insert(to.clone(), (order.clone(), self.now));
            self.out.push(Action::Send(to.clone(), order));
        }
    }

    fn hold(&mut self, operation: &Operation, reason: HeldFor, text: String) {
        if operation.held.as_ref().is_none_or(|held| held.reason != reason) {
            self.propose(Step::Hold { token: self.group.token, reason, text });
        }
    }

    /// What an agent told of itself, unless that is long ago.
    fn status(&self, region: &Label) -> Option<&Status> {
        let (at, status) = self.desk.statuses.get(region)?;
        (self.now < *at + self.patience.silence).then_some(status)
    }

    fn class(&self, region: &Label) -> Class {
        self.status(region).map_or(Class::Bare, |status| status.class)
    }

    fn lasted(&self) -> Duration {
        self.now.since(self.desk.since)
    }

    //--- Without an operation, or after its point of no return

    fn keep(&mut self) {
        if self.group.grant.is_none() {
            return self.adopt();
        }
        let Some(grant) = self.group.in_force() else { return };
        if self.group.drills.is_cut_primary(&grant.region) {
            self.let_in(grant, &grant.region);
        }
        self.lead(grant);
        let writes = self.status(&grant.region).is_some_and(|status| status.writes && status.grant == Some(grant.token));
        if writes {
            self.followers(grant);
        }
        self.renew_terms(grant);
        self.reconcile();
    }

    /// What every agent sees is what counts: one word that is missing, or two that do not fit, and a person adopts.
    fn adopt(&mut self) {
        if let Ok(Found { primary, system, timeline }) = find(self.policy.members.keys(), &self.sights()) {
            let class = self.class(&primary);
            self.propose(Step::Adopt { token: self.group.token, primary, system, timeline, class });
        }
    }

    fn sights(&self) -> BTreeMap<Label, Sight> {
        let sight = |region: &Label| Some((region.clone(), self.status(region)?.sight?));
        self.policy.members.keys().filter_map(sight).collect()
    }

    fn lead(&mut self, grant: &Grant) {
        if self.status(&grant.region).is_none_or(|status| status.grant != Some(grant.token)) {
            self.send(&grant.region, Verb::Lead(grant.clone()));
        }
    }

    fn followers(&mut self, grant: &'a Grant) {
        for region in self.policy.others(&grant.region) {
            if self.group.drills.is_cut_primary(region) {
                self.let_in(grant, region);
                continue;
            }
            let is_it = |(token, upstream): &(Token, Label)| *token == grant.token && *upstream == grant.region;
            let is_there = self.status(region).is_some_and(|status| status.follows.as_ref().is_some_and(is_it));
            if !is_there {
                let reclone = self.policy.reclone == Reclone::Always || self.group.reclone.contains(region);
                self.send(region, Verb::Follow { upstream: grant.region.clone(), reclone });
            } else if self.group.absent.contains(region) {
                self.propose(Step::Followed { token: grant.token, region: region.clone() });
            }
        }
    }

    /// What a member had alone and put aside stands in the record of the operation that lost it.
    fn reconcile(&mut self) {
        for region in self.policy.members.keys() {
            let aside = self.status(region).and_then(|status| status.aside);
            if let Some((operation, aside)) = aside.and_then(|aside| Some((self.group.lost_in(region, &aside)?, aside))) {
                self.propose(Step::PutAside { token: self.group.token, operation, region: region.clone(), aside });
            }
        }
    }

    /// Whoever was cut off as a primary is stopped by its agent before it is let in again: behind the fence its database may be what it was. The
    /// holder itself is let in as it is.
    fn let_in(&mut self, grant: &Grant, region: &Label) {
        let waits = self.group.drills.cuts.iter().any(|cut| cut.region == *region && !cut.is_standby && cut.lift.is_none());
        let is_stopped = *region == grant.region || self.desk.said(region).any(|said| *said == Said::Fenced);
        if !is_stopped {
            self.send(region, Verb::Fence);
        } else if waits {
            let act = Box::new(DrillStep::Lift { region: region.clone() });
            self.propose(Step::Drill { token: grant.token, act });
        }
    }

    fn renew_terms(&mut self, grant: &Grant) {
        let Some(status) = self.status(&grant.region) else { return };
        let class = status.class;
        // A quorum that the plan wants no more is given up in the log first (O11). One that it wants anew comes with the next grant.
        let is_excess = self.policy.durability == Durability::Async && grant.durability != choose::Durability::Async;
        let is_as_planned = !is_excess
            && (grant.ttl, grant.margin, grant.on_control_loss) == (self.policy.ttl, self.policy.margin, self.policy.on_control_loss);
        if class != grant.class || !is_as_planned {
            self.propose(Step::Regrant { token: grant.token, class });
        } else if (grant.longest > grant.ttl || !grant.is_attested) && self.desk.settled == Some(grant.token) {
            self.propose(Step::Settle { token: grant.token });
        }
    }

    //--- With one

    fn go_on(&mut self, operation: &'a Operation, figures: &impl Figures) {
        match operation.phase {
            Phase::Proposed => self.keep(),
            Phase::Announced => self.announce(operation),
            Phase::Decided if operation.kind == Kind::Switchover => self.stop(operation),
            Phase::Decided => self.fence(operation),
            Phase::Fenced => self.collect(operation, figures),
            Phase::Chosen => self.drain(operation),
            Phase::Promoting => self.promote(),
            Phase::Promoted | Phase::Verified | Phase::Routed => self.finish(operation, figures),
        }
        self.give_back(operation);
    }

    fn announce(&mut self, operation: &Operation) {
        if self.lasted() >= self.policy.names_ttl {
            self.propose(Step::Begin { token: self.group.token, operation: operation.id });
        } else {
            self.keep();
        }
    }

    fn stop(&mut self, operation: &Operation) {
        let token = self.group.token;
        let stopped = self.desk.said(&operation.from).find_map(|said| match said {
            Said::Stopped(stopped) => Some(*stopped),
            _ => None,
        });
        if let Some(stopped) = stopped {
            return self.propose(Step::Stopped { token, stopped });
        }
        if self.desk.said(&operation.from).any(|said| *said == Said::Unclean) {
            // It is what nobody would switch over from, and it can write again at once.
            return self.abort(operation);
        }
        self.send(&operation.from, Verb::Stop);
        if !holds(Key::SwToken) && self.over.is_some_and(|over| self.now >= over) {
            return self.propose(Step::Fenced { token, proof: Proof::Waited });
        }
        if self.lasted() < self.patience.stop {
            return;
        }
        if self.status(&operation.from).is_some() {
            self.abort(operation);
        } else {
            let text = format!("{} does not say where it stopped: turn it into a failover, or cancel it", operation.from);
            self.hold(operation, HeldFor::SwitchoverUnanswered, text);
        }
    }

    fn fence(&mut self, operation: &'a Operation) {
        let token = self.group.token;
        if self.desk.said(&operation.from).any(|said| *said == Said::Fenced) || !holds(Key::Class) {
            return self.propose(Step::Fenced { token, proof: Proof::Confirmed { by: AGENT.to_owned() } });
        }
        self.send(&operation.from, Verb::Fence);
        for region in self.policy.others(&operation.from) {
            if !self.desk.said(region).any(|said| *said == Said::Promised) {
                self.send(region, Verb::Promise);
            }
        }
        let is_over = self.over.is_some_and(|over| self.now >= over);
        if operation.asserted.is_some() && (is_over || !holds(Key::AssertWait)) {
            self.propose(Step::Fenced { token, proof: Proof::Asserted });
        } else if is_over && self.group.wait_is_a_fence() && self.policy.may_wait {
            self.propose(Step::Fenced { token, proof: Proof::Waited });
        } else if is_over {
            let text = format!("no fence of {} confirmed, and the end of its lease proves nothing", operation.from);
            self.hold(operation, HeldFor::FenceUnproven, text);
        }
    }

    fn collect(&mut self, operation: &'a Operation, figures: &impl Figures) {
        let token = self.group.token;
        let mut n_missing = 0;
        for region in self.policy.others(&operation.from) {
            if operation.sealed.contains_key(region) {
                continue;
            }
            n_missing += 1;
            let sealed = self.desk.said(region).find_map(|said| match said {
                Said::Sealed(copy) => Some(copy.clone()),
                _ => None,
            });
            match sealed {
                Some(copy) => return self.propose(Step::Sealed { token, copy }),
                None => self.send(region, Verb::Seal),
            }
        }
        let is_late = self.lasted() >= self.patience.seal;
        if n_missing > 0 && (!is_late || operation.sealed.is_empty() && operation.held.is_some()) {
            return;
        }
        match self.group.choose() {
            Ok(choice) => {
                let is_short = operation.stopped.is_some_and(|stopped| choice.position < stopped.position) && holds(Key::SwToken);
                if is_short {
                    return self.abort(operation);
                }
                let loss = figures.loss(self.name, choice.position);
                self.propose(Step::Choose { token, choice, loss });
            }
            Err(_) if operation.kind == Kind::Switchover => self.abort(operation),
            Err(why) => {
                self.hold(operation, reason(&why), why.to_string());
            }
        }
    }

    fn drain(&mut self, operation: &Operation) {
        let Some(chosen) = &operation.chosen else { return };
        let (region, position) = (&chosen.choice.region, chosen.choice.position);
        let is_drained = self.desk.said(region).any(|said| matches!(said, Said::Drained { position: at } if *at >= position));
        if is_drained {
            if let Some(text) = operation.gate(&self.group.durability(), self.policy.rpo_target) {
                let text = format!("{text}: allow it, give the lease back to {}, or wait", operation.from);
                return self.hold(operation, HeldFor::RpoGate, text);
            }
            // What it attests goes into its grant: one that says nothing of itself would get one that it cannot open by.
            if let Some(class) = self.status(region).map(|status| status.class) {
                return self.propose(Step::Promote { token: self.group.token, class });
            }
        }
        self.send(region, Verb::Drain { position, fetch_from: chosen.choice.fetch_from.clone() });
        if self.lasted() >= self.patience.drain {
            if operation.kind == Kind::Switchover {
                self.abort(operation);
            } else {
                self.hold(operation, HeldFor::Drain, format!("{region} does not reach {position}"));
            }
        }
    }

    fn promote(&mut self) {
        let Some(grant) = self.group.in_force() else { return };
        let opened = self.desk.said(&grant.region).find_map(|said| match said {
            Said::Opened { timeline, at } => Some((*timeline, *at)),
            _ => None,
        });
        if let Some((timeline, at)) = opened {
            return self.propose(Step::Promoted { token: grant.token, timeline, at });
        }
        self.send(&grant.region, Verb::Lead(grant.clone()));
        if self.lasted() >= self.patience.promote && holds(Key::Deadline) {
            self.propose(Step::Revoke { token: grant.token });
        }
    }

    fn finish(&mut self, operation: &Operation, figures: &impl Figures) {
        let Some(grant) = self.group.in_force() else { return };
        let token = grant.token;
        self.lead(grant);
        self.followers(grant);
        match operation.phase {
            Phase::Promoted => match figures.verified(self.name, token) {
                Some(Ok(())) => self.propose(Step::Verified { token }),
                Some(Err(why)) => {
                    let text = format!("{why}: retry-step, or skip-step");
                    self.hold(operation, HeldFor::Validation, text);
                }
                None => {}
            },
            Phase::Verified if figures.is_routed(self.name, token) => self.propose(Step::Routed { token }),
            Phase::Routed => self.propose(Step::Close { token, ending: Ending::Succeeded }),
            _ => {}
        }
    }

    /// What is held before its point of no return ends by itself when the old primary's agent is there again, its database can serve, and nobody
    /// else was granted (O14). Not what a person wanted: that one is asked. Nor what was decided because the agent itself said that its database
    /// does not come up: it cannot show that it would now before it may, and it would be decided again, so a person answers.
    fn give_back(&mut self, operation: &Operation) {
        let Some((reason, since)) = self.desk.held else { return };
        let is_ours = operation.origin.is_automatic() && matches!(operation.phase, Phase::Decided | Phase::Fenced | Phase::Chosen);
        let waits = reason != HeldFor::Approval && self.now.since(since) >= self.patience.give_back;
        let was_dead = operation.grounds.as_ref().is_some_and(|grounds| grounds.evidence == Evidence::Dead);
        let is_back = self.group.primary() == Some(&operation.from)
            && self.status(&operation.from).is_some_and(|status| status.could_serve(self.group.system));
        if is_ours && waits && is_back && !was_dead {
            self.abort(operation);
        }
    }

    /// The old primary gets a new grant.
    fn abort(&mut self, operation: &Operation) {
        let class = self.class(&operation.from);
        self.propose(Step::Cancel { token: self.group.token, operation: operation.id, class });
    }
}

const fn reason(why: &Unchosen) -> HeldFor {
    match why {
        Unchosen::QuorumUnseen { .. } => HeldFor::QuorumUnseen,
        Unchosen::BelowFloor { .. } => HeldFor::BelowFloor,
        Unchosen::NoCandidate => HeldFor::NoCandidate,
    }
}
