//! A group as automation would decide about it, with nothing in it that could decide.
//!
//! ```text
//! pictures --> a watch of its own --the code that decides--> what would be decided: a line for the trail of a drill
//!                                 '--> questions, which are probes
//! ```
//!
//! It is the code of decisions that runs here, with what forbids one taken for a remark. What comes out is no step: [`Noticed`] cannot be proposed,
//! so that no mistake of whoever carries it makes it one. And it has no part in the detector, so that nothing real is decided less, later or
//! otherwise for it.
//!
//! Source: Oracle's broker in `observe-only` mode.

use std::{collections::BTreeSet, time::Duration};

use super::{Action, Brake, Case, Decide, Detector, Sights, Step, watch::Watch};
use crate::{
    failover::{
        evidence::{Evidence, Picture},
        grounds::Attestation,
        group::Group,
        rounds::RoundResult,
    },
    model::{
        group::Policy,
        ids::Label,
        time::{Now, Tick},
    },
    recovery::{
        drill::{Drill, one_line},
        observed::{Notice, Tally, Would},
    },
};

/// The most lines of what would be in the way of one decision.
const AGAINST_MAX: usize = 6;

/// What came out of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// These regions are to be asked for a probe of the group's primary that begins now.
    Ask {
        /// What answers bear.
        question: u64,
        /// Whom.
        regions: BTreeSet<Label>,
    },
    /// Something for the trail.
    Note(Notice),
}

/// What only whoever looks at copies can tell of a decision that would be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Who is furthest of those that may be promoted; `None`: nobody knows.
    pub to: Option<Label>,
    /// How long the recovery would take; `None`: part of it was never measured.
    pub recovery: Option<Duration>,
    /// What the plan's mode has a decision be, one line each.
    pub mode: Vec<String>,
}

/// What was noticed last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Suspected { since: Tick, rounds: usize, evidence: Evidence },
    Would { since: Tick },
}

/// One group under observation.
#[derive(Clone, Debug)]
pub struct Trial {
    watch: Watch,
    tally: Tally,
    n_seen: u64,
    last: Last,
    /// So much stood on the trail when it was last noticed that a primary works again: that is no news, until it stands there itself.
    n_known: usize,
}

impl Detector {
    /// Begins to try out what would be decided of a group, with all that was seen of it; `None`: it is not watched.
    #[must_use]
    pub fn trial(&self, name: &Label) -> Option<Trial> {
        let mut watch = self.watches.get(name)?.clone();
        watch.forget_question();
        let n_seen = watch.latest().map_or(0, |round| round.number);
        Some(Trial { watch, tally: Tally::default(), n_seen, last: Last::Nothing, n_known: 0 })
    }
}

impl Trial {
    /// The rounds since it began.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// What is seen of the group now: called as [`Detector::see`] is, with the same.
    pub fn see(&mut self, group: &Group, policy: &Policy, picture: &Picture, now: Now) {
        self.watch.see(group, policy, picture, now);
        let Some(round) = self.watch.latest().copied().filter(|round| round.number > self.n_seen) else { return };
        // Of several that are over at once only the last was watched to its end.
        let n = round.number - self.n_seen;
        let is = |result| u64::from(round.result == result);
        self.tally.rounds += n;
        self.tally.failed += is(RoundResult::Failed);
        self.tally.unknown += n - 1 + is(RoundResult::Unknown);
        self.n_seen = round.number;
    }

    /// A region answered.
    pub fn attested(&mut self, question: u64, region: &Label, what: Attestation) {
        self.watch.attested(question, region, what);
    }

    /// What a leader notices now. `case`: of a group that automation could act for, as its stand says; `drill`: with what is on its trail, which is all
    /// that a leader knows of those before it.
    pub fn look(
        &mut self,
        detector: &Detector,
        case: &Case<'_>,
        drill: &Drill,
        sights: &impl Sights,
        foresee: impl FnOnce() -> Foreseen,
        now: Now,
    ) -> Vec<Noticed> {
        // Whatever it is, somebody sees to it; what waits for a person is not yet decided.
        if case.group.operation.as_ref().is_some_and(|operation| !operation.phase.is_before_revocation()) {
            self.last = Last::Nothing;
            self.watch.forget_question();
            return Vec::new();
        }
        let newest = drill.trail.get(self.n_known..).and_then(|trail| trail.last());
        let is_noted = newest.is_some_and(|noted| matches!(noted.notice, Notice::Would(_)));
        if is_noted && !matches!(self.last, Last::Would { .. }) {
            self.last = Last::Would { since: now.tick };
        }
        let (suspected, evidence) = (self.watch.suspected(), self.watch.evidence());
        match (self.last.clone(), suspected) {
            (Last::Would { since }, _) => {
                if evidence != Evidence::Healthy {
                    return Vec::new();
                }
                (self.last, self.n_known) = (Last::Nothing, drill.trail.len());
                vec![Noticed::Note(Notice::Recovered { after: now.tick.since(since) })]
            }
            (Last::Nothing, None) => Vec::new(),
            (Last::Suspected { since, rounds, evidence }, None) => {
                self.last = Last::Nothing;
                let (rounds, lasted) = (u32::try_from(rounds).unwrap_or(u32::MAX), now.tick.since(since));
                vec![Noticed::Note(Notice::NearMiss { evidence, rounds, lasted })]
            }
            (last, Some(rounds)) => {
                let since = if let Last::Suspected { since, .. } = last { since } else { now.tick };
                self.last = Last::Suspected { since, rounds, evidence };
                self.decide(detector, case, sights, foresee, now)
            }
        }
    }

    fn decide(
        &mut self,
        detector: &Detector,
        case: &Case<'_>,
        sights: &impl Sights,
        foresee: impl FnOnce() -> Foreseen,
        now: Now,
    ) -> Vec<Noticed> {
        let mut free = case.clone();
        let vetoes = std::mem::take(&mut free.stand.vetoes);
        let brake = Brake::of(&detector.watches, now.tick);
        let mut actions = Vec::new();
        let step = detector.patience.decide(&free, &mut self.watch, &brake, sights, now, &mut actions);
        let asked = actions.into_iter().filter_map(|action| match action {
            Action::Ask { question, regions, .. } => Some(Noticed::Ask { question, regions }),
            Action::Propose { .. } => None,
        });
        let mut out: Vec<Noticed> = asked.collect();
        if let Some(Step::Decide(decide)) = step {
            self.last = Last::Would { since: now.tick };
            out.push(Noticed::Note(Notice::Would(Box::new(would(*decide, vetoes, foresee(), case)))));
        }
        out
    }
}

fn would(decide: Decide, vetoes: Vec<String>, foreseen: Foreseen, case: &Case<'_>) -> Would {
    let lines = |lines: Vec<String>| lines.iter().take(AGAINST_MAX).map(|text| one_line(text)).collect();
    let grounds = decide.grounds.as_ref();
    let attesting = &case.stand.attesting;
    let failing = grounds.map_or(0, |grounds| {
        let failing = |region: &&Label| grounds.attestations.get(*region) == Some(&Attestation::Failing);
        attesting.iter().filter(failing).count()
    });
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Would {
        from: decide.from,
        to: foreseen.to,
        evidence: grounds.map_or(Evidence::Unknown, |grounds| grounds.evidence),
        detected: grounds.map_or_else(Default::default, |grounds| grounds.detected),
        rounds: number(grounds.map_or(0, |grounds| grounds.rounds.len())),
        failing: number(failing),
        asked: number(attesting.len()),
        loss: decide.estimate,
        recovery: foreseen.recovery,
        mode: lines(foreseen.mode),
        against: lines(vetoes.into_iter().chain(decide.guards).collect()),
    }
}
