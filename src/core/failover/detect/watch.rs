//! One group as a node watches it.

use std::{collections::BTreeMap, time::Duration};

use super::Case;
use crate::{
    failover::{
        evidence::{Evidence, Patience, Picture, Stream, judge},
        grounds::{Attestation, Grounds},
        group::Group,
        keys::{Key, holds},
        rounds::{Round, RoundResult, Rounds},
    },
    health::window::Rule,
    model::{
        group::{Policy, scaled},
        ids::Label,
        reason::{Mark, Reason},
        time::{Human, Now, Tick},
        units::Share,
        verdict::Health,
    },
};

/// What was asked of the other regions.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What answers bear.
    number: u64,
    /// When.
    asked: Tick,
    /// What they said.
    pub(super) answers: BTreeMap<Label, Attestation>,
}

/// The window is or was full, and nothing has spoken for the primary since.
#[derive(Clone, Debug)]
struct Suspicion {
    since: Tick,
    /// The failed rounds that filled it, as it was full last. They may have left it by the end of the hold.
    rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
pub(super) struct Watch {
    rounds: Rounds,
    rule: (Duration, Rule),
    /// Whose rounds they are: of this primary, since this operation ended.
    of: Option<(Label, Option<u64>)>,
    judged: Option<(Evidence, Reason)>,
    suspicion: Option<Suspicion>,
    /// When the first probe failed of those that have failed since.
    failing_since: Option<Tick>,
    /// When it was last seen to work with nobody who saw it fail; `None`: never.
    well_at: Option<Tick>,
    /// When, and with its primary in which region, it last counted as failed.
    trouble: Option<(Tick, Label)>,
    question: Option<Question>,
    /// When the hold of what is suspected will be over; `None`: nothing is, or it is over.
    held_until: Option<Tick>,
    /// Nothing is asked or proposed before.
    rest: Tick,
    /// Of the group's clocks.
    scale: Share,
}

/// What the plan counts by.
fn rule(policy: &Policy) -> (Duration, Rule) {
    (policy.probe_interval, Rule::nearest(policy.failures, policy.failure_window, policy.ok_run))
}

/// How long it is suspected before anything is decided.
fn hold(policy: &Policy) -> Duration {
    if holds(Key::Hold) { policy.confirm_hold } else { Duration::ZERO }
}

impl Watch {
    pub(super) fn new(policy: &Policy, now: Now) -> Self {
        let rule = rule(policy);
        Self {
            rounds: Rounds::new(rule.0, rule.1, now),
            rule,
            of: None,
            judged: None,
            suspicion: None,
            failing_since: None,
            well_at: None,
            trouble: None,
            question: None,
            held_until: None,
            rest: Tick(0),
            scale: policy.time_scale,
        }
    }

    pub(super) fn see(&mut self, group: &Group, policy: &Policy, picture: &Picture, now: Now) {
        self.scale = policy.time_scale;
        let rule = rule(policy);
        if self.rule != rule {
            self.rounds.set_rule(rule.0, rule.1, now);
            self.rule = rule;
        }
        // The round that is over ended with what was seen before.
        self.rounds.advance(now);
        let of = group.primary().map(|primary| (primary.clone(), group.latest.as_ref().map(|closed| closed.operation.id)));
        if self.of != of {
            // Another primary, or one that was put in order: nothing is held against it.
            if self.of.is_some() {
                self.rounds.forget(now);
            }
            (self.of, self.suspicion, self.failing_since, self.question) = (of, None, None, None);
        }
        let proven = picture.views.proven();
        self.rounds.proven(proven);
        if proven == Health::Up && picture.views.failing == 0 {
            self.well_at = Some(now.tick);
        }
        match proven {
            Health::Up => self.failing_since = None,
            Health::Down if self.failing_since.is_none() => {
                // How long it fails is told by wall clocks, one of which may have been stepped. Whoever saw it fail has said so within a round.
                let told = now.tick.before(picture.failing_for.unwrap_or_default());
                let earliest = self.well_at.map_or(Tick(0), |well| well.before(policy.probe_interval));
                self.failing_since = Some(told.max(earliest));
            }
            Health::Down | Health::Unknown => {}
        }
        let patience = Patience { silence: hold(policy).max(policy.probe_interval), local_recovery: policy.local_recovery };
        let judged = judge(picture, patience);
        let rounds = self.rounds.reached(now.tick);
        let is_full = !rounds.is_empty();
        let passed = self.rounds.latest().is_some_and(|round| round.result == RoundResult::Passed);
        let last = self.suspicion.as_ref().and_then(|it| it.rounds.last());
        let is_old = last.is_some_and(|last| now.tick.since(last.at) > policy.failure_window);
        let contradicts = match judged.0 {
            Evidence::Unknown | Evidence::Dead | Evidence::Isolated => false,
            Evidence::Replicating | Evidence::Overloaded => self.was_heard(picture, now.tick),
            Evidence::Healthy | Evidence::Unreachable | Evidence::Sick => true,
        };
        if contradicts || passed || is_old {
            (self.suspicion, self.question) = (None, None);
        } else if is_full && judged.0 != Evidence::Unknown {
            let since = self.suspicion.as_ref().map_or(now.tick, |it| it.since);
            self.suspicion = Some(Suspicion { since, rounds });
        }
        self.held_until = self.suspicion.as_ref().map(|it| it.since + hold(policy)).filter(|at| *at > now.tick);
        if let Some((primary, _)) = self.of.as_ref().filter(|_| is_full && judged.0.allows_promotion()) {
            self.trouble = Some((now.tick, primary.clone()));
        }
        self.judged = Some(judged);
    }

    /// Whether a standby has heard the primary since it is suspected; before that: within the last round. A stream that stands and is silent is no
    /// life: the hold runs while that is found out.
    fn was_heard(&self, picture: &Picture, now: Tick) -> bool {
        let within = self.suspicion.as_ref().map_or(self.rule.0, |it| now.since(it.since));
        picture.standbys.iter().any(|standby| matches!(standby.stream, Stream::Up { silent_for } if silent_for < within))
    }

    /// A fixed time on the group's clocks.
    pub(super) fn scaled(&self, fixed: Duration) -> Duration {
        scaled(self.scale, fixed)
    }

    pub(super) fn evidence(&self) -> Evidence {
        self.judged.as_ref().map_or(Evidence::Unknown, |(evidence, _)| *evidence)
    }

    /// When, and with its primary in which region, it last counted as failed; `None`: never.
    pub(super) const fn trouble(&self) -> Option<&(Tick, Label)> {
        self.trouble.as_ref()
    }

    /// Whether the hold is over, and everything still says so.
    pub(super) fn is_confirmed(&self, policy: &Policy, now: Tick) -> bool {
        let is_over = self.suspicion.as_ref().is_some_and(|it| now.since(it.since) >= hold(policy));
        let is_failing = self.rounds.latest().is_some_and(|round| round.result == RoundResult::Failed);
        is_over && is_failing && self.evidence().allows_promotion()
    }

    /// What a decision would stand on that is made now; `None`: nothing is suspected. All of it is dated by the wall clock of this moment.
    pub(super) fn grounds(&self, question: &Question, now: Now) -> Option<Grounds> {
        let suspicion = self.suspicion.as_ref()?;
        let dated = |at: Tick| now.back_to(at).wall;
        Some(Grounds {
            evidence: self.evidence(),
            impact: dated(self.failing_since.unwrap_or(suspicion.since).min(suspicion.since)),
            detected: dated(suspicion.since),
            rounds: suspicion.rounds.iter().map(|round| dated(round.at)).collect(),
            attestations: question.answers.clone(),
        })
    }

    /// So many failed rounds while it is suspected; `None`: it is not.
    pub(super) fn suspected(&self) -> Option<usize> {
        self.suspicion.as_ref().map(|it| it.rounds.len())
    }

    /// The last round that is over; `None`: none is.
    pub(super) const fn latest(&self) -> Option<&Round> {
        self.rounds.latest()
    }

    pub(super) fn next_deadline(&self) -> Tick {
        let round = self.rounds.next_deadline();
        self.held_until.map_or(round, |held| held.min(round))
    }

    //--- Questions and proposals

    /// What is asked now: what was asked longer than `valid` ago says nothing any more.
    pub(super) fn question(&self, now: Tick, valid: Duration) -> Option<&Question> {
        self.question.as_ref().filter(|question| now.since(question.asked) < valid)
    }

    pub(super) fn ask(&mut self, now: Tick) -> u64 {
        let number = now.0;
        self.question = Some(Question { number, asked: now, answers: BTreeMap::new() });
        number
    }

    pub(super) fn attested(&mut self, number: u64, region: &Label, what: Attestation) {
        if let Some(question) = self.question.as_mut().filter(|question| question.number == number) {
            question.answers.entry(region.clone()).or_insert(what);
        }
    }

    pub(super) fn forget_question(&mut self) {
        self.question = None;
    }

    pub(super) fn rest_until(&mut self, at: Tick) {
        self.rest = self.rest.max(at);
    }

    /// It rests no longer.
    pub(super) fn rested(&mut self, now: Tick) {
        self.rest = self.rest.min(now);
    }

    pub(super) fn is_rested(&self, now: Tick) -> bool {
        now >= self.rest
    }

    //--- For people

    pub(super) fn explain(&self, case: &Case<'_>, doubts: &[String], now: Tick) -> Reason {
        let policy = case.policy;
        let counts = self.rounds.counts(now);
        let is_full = !self.rounds.reached(now).is_empty();
        let is_confirmed = self.is_confirmed(policy, now);
        let mark = |is: bool| if is { Mark::Yes } else { Mark::No };
        let rounds = format!("{} of {} failed rounds in {}", counts.in_window, policy.failures, Human(policy.failure_window));
        let hold = match self.suspicion.as_ref().map(|it| it.since) {
            None => "not suspected".to_owned(),
            Some(since) => format!("suspected for {} of {}", Human(now.since(since).min(policy.confirm_hold)), Human(policy.confirm_hold)),
        };
        let mut reason = Reason::new(mark(is_confirmed), "what is seen").with(Reason::new(mark(is_full), rounds));
        reason = reason.with(Reason::new(mark(is_confirmed), hold));
        if let Some((_, why)) = &self.judged {
            reason = reason.with(why.clone());
        }
        if let Some(question) = &self.question {
            let told = |(region, what): (&Label, &Attestation)| format!("{region} {what}");
            let answers: Vec<String> = question.answers.iter().map(told).collect();
            let text = format!("asked {} ago: {}", Human(now.since(question.asked)), answers.join(", "));
            reason = reason.with(Reason::new(Mark::Open, text));
        }
        let vetoes = case.stand.vetoes.iter().map(|veto| Reason::new(Mark::No, veto.clone()));
        let doubts = doubts.iter().map(|doubt| Reason::new(Mark::Open, format!("a person is to approve it: {doubt}")));
        let text = match (&case.group.operation, is_confirmed, case.stand.vetoes.is_empty()) {
            (Some(operation), ..) => format!("op-{} is open, {}", operation.id, operation.phase),
            (None, true, true) => "it is to be failed over".to_owned(),
            (None, false, true) => "it is watched, and not to be failed over".to_owned(),
            (None, _, false) => "it is not failed over automatically".to_owned(),
        };
        let because = [reason].into_iter().chain(vetoes).chain(doubts).collect();
        Reason { mark: mark(is_confirmed && case.stand.vetoes.is_empty()), text, because }
    }
}
