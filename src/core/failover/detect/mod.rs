//! From what is seen of the primaries to a decision: the window, the hold, the attestations, and the brakes.
//!
//! ```text
//! watching --three failed rounds in five minutes, dead or isolated--> suspected --confirm_hold--> asking --majority attests--> proposed
//!    ^                                                                    |                          |
//!    '-------- it works, a standby hears it, its agent brings it up ------'------- too few attest ---'
//! ```
//!
//! Every voter watches, so that a new leader knows the rounds; only the leader decides. A decision that is in doubt (many causes at once, more to
//! lose than the plan allows, a fence that nothing would prove, a plan that only recommends) is proposed with its doubts and waits for a person;
//! one that is vetoed is not made. Both are judged again when it is applied, as far as the replicated state tells.
//!
//! Invariants: nothing is decided without as many failed rounds as the plan wants inside its window, nor before the hold is over, nor without
//! attestations that were asked for after it, of more than half of the other vantage regions; and a primary that works again at any moment before
//! begins with nothing against it but its rounds.
//!
//! Source: each of these brakes is what somebody lacked or built: GitHub in 2018 (rounds and hold), orchestrator (classes, cool-down), Oracle FSFO
//! (asking again), AWS (the storm brake).

mod brake;
#[cfg(test)]
mod play;
#[cfg(test)]
mod tests;
mod trial;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    evidence::{Evidence, Picture},
    grounds::Attestation,
    group::{Ending, Group, Kind, Operation, Origin, Phase, too_much},
    lease::Class,
    step::{Decide, Step},
};
use crate::{
    model::{
        group::Policy,
        ids::Label,
        reason::Reason,
        time::{Now, Tick},
    },
    recovery::exposure::Bracket,
};

use brake::Brake;
use watch::Watch;

pub use trial::{Foreseen, Noticed, Trial};

/// Two causes inside this time are one too many to be understood by a machine.
pub const STORM_WITHIN: Duration = Duration::from_mins(10);

/// So many groups of a region that is up may fail before a person is asked.
pub const REGION_GROUPS_MAX: usize = 3;

/// How long what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For attestations. Each needs a probe.
    pub attest: Duration,
    /// Before a proposal is made again of which nothing is known.
    pub again: Duration,
    /// Before one is made again that was refused.
    pub refused: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attest: Duration::from_secs(10), again: Duration::from_secs(10), refused: Duration::from_secs(30) }
    }
}

/// How a group stands with automation, as the replicated state tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Why nothing is decided, one line each; none: nothing forbids it.
    pub vetoes: Vec<String>,
    /// Why a person is to approve it, one line each.
    pub doubts: Vec<String>,
    /// The programs that are known to stop the primary (A8).
    pub confirming: Vec<String>,
    /// The vantage regions whose attestations count.
    pub attesting: BTreeSet<Label>,
    /// The plan in force.
    pub plan_revision: u64,
    /// So many more automatic operations may begin.
    pub free: usize,
}

/// One group as the leader decides about it.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Its name.
    pub name: &'a Label,
    /// What is committed about it.
    pub group: &'a Group,
    /// What the plan says.
    pub policy: &'a Policy,
    /// How it stands with automation.
    pub stand: Stand,
}

/// What the leader knows from elsewhere.
pub trait Sights {
    /// Whether a whole region is proven down.
    fn is_down(&self, region: &Label) -> bool;
    /// What would be lost if whoever is furthest were promoted now.
    fn estimate(&self, group: &Label) -> Bracket;
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask these regions for a probe of the group's primary that begins now.
    Ask {
        /// Of which group.
        group: Label,
        /// What answers bear.
        question: u64,
        /// Whom: one voter of each.
        regions: BTreeSet<Label>,
    },
    /// Propose this.
    Propose {
        /// Of which group.
        group: Label,
        /// What.
        step: Step,
    },
}

/// Watches all groups.
#[derive(Clone, Debug)]
pub struct Detector {
    watches: BTreeMap<Label, Watch>,
    patience: Patience,
}

impl Detector {
    /// Nothing is known of any group.
    #[must_use]
    pub const fn new(patience: Patience) -> Self {
        Self { watches: BTreeMap::new(), patience }
    }

    /// Groups that the plan has no more.
    pub fn retain(&mut self, is_there: impl Fn(&Label) -> bool) {
        self.watches.retain(|name, _| is_there(name));
    }

    /// What is seen of a group now. Called when that changes, and no later than [`Self::next_deadline`].
    pub fn see(&mut self, name: &Label, group: &Group, policy: &Policy, picture: &Picture, now: Now) {
        if group.primary().is_none() {
            self.watches.remove(name);
            return;
        }
        let watch = self.watches.entry(name.clone()).or_insert_with(|| Watch::new(policy, now));
        watch.see(group, policy, picture, now);
    }

    /// A region answered.
    pub fn attested(&mut self, name: &Label, question: u64, region: &Label, what: Attestation) {
        if let Some(watch) = self.watches.get_mut(name) {
            watch.attested(question, region, what);
        }
    }

    /// A decision about this group was refused.
    pub fn refused(&mut self, name: &Label, now: Tick) {
        if let Some(watch) = self.watches.get_mut(name) {
            watch.rest_until(now + watch.scaled(self.patience.refused));
        }
    }

    /// A decision about this group was not proposed, because another step of it is under way: it is due as before.
    pub fn unproposed(&mut self, name: &Label, now: Tick) {
        if let Some(watch) = self.watches.get_mut(name) {
            watch.rested(now);
        }
    }

    /// This node leads no more: what it asked is void, what it watched stays.
    pub fn step_down(&mut self) {
        self.watches.values_mut().for_each(Watch::forget_question);
    }

    /// What a leader is to do about all groups now. Groups of a lower priority number come first.
    pub fn decide(&mut self, cases: &[Case<'_>], sights: &impl Sights, now: Now) -> Vec<Action> {
        let brake = Brake::of(&self.watches, now.tick);
        let mut order: Vec<&Case<'_>> = cases.iter().collect();
        order.sort_by_key(|case| (case.policy.priority, case.name));
        let (mut out, mut n_decided) = (Vec::new(), 0);
        for case in order {
            let Some(watch) = self.watches.get_mut(case.name) else { continue };
            let step = match &case.group.operation {
                Some(operation) => about_open(case, operation, watch, now.tick),
                None if n_decided >= case.stand.free => {
                    watch.forget_question();
                    None
                }
                None => self.patience.decide(case, watch, &brake, sights, now, &mut out),
            };
            let Some(step) = step else { continue };
            n_decided += usize::from(matches!(&step, Step::Decide(decide) if decide.guards.is_empty()));
            watch.rest_until(now.tick + watch.scaled(self.patience.again));
            out.push(Action::Propose { group: case.name.clone(), step });
        }
        out
    }

    /// When [`Self::see`] has something to do for some group.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.watches.values().map(Watch::next_deadline).min()
    }

    /// What the primary of a group is, as far as its witnesses tell; `None`: it is not watched.
    #[must_use]
    pub fn evidence(&self, name: &Label) -> Option<Evidence> {
        self.watches.get(name).map(Watch::evidence)
    }

    /// Whether the group would be failed over, and why, or why not.
    #[must_use]
    pub fn explain(&self, case: &Case<'_>, sights: &impl Sights, now: Now) -> Reason {
        match self.watches.get(case.name) {
            None => Reason::new(crate::model::reason::Mark::No, "not watched: it has no primary that is agreed on"),
            Some(watch) => {
                let doubts = doubts(case, watch, &Brake::of(&self.watches, now.tick), sights);
                watch.explain(case, &doubts, now.tick)
            }
        }
    }
}

/// What becomes of an operation that is open, by what is seen.
fn about_open(case: &Case<'_>, operation: &Operation, watch: &Watch, now: Tick) -> Option<Step> {
    if !watch.is_rested(now) {
        return None;
    }
    let token = case.group.token;
    match operation.phase {
        // What called for it has passed.
        Phase::Proposed if operation.origin == Origin::Automatic && watch.evidence() == Evidence::Healthy => {
            Some(Step::Cancel { token, operation: operation.id, class: Class::Bare })
        }
        // The way back that nobody has approved keeps a lost primary from no failover.
        Phase::Proposed if matches!(operation.origin, Origin::Setback { .. }) && watch.is_confirmed(case.policy, now) => {
            Some(Step::Cancel { token, operation: operation.id, class: Class::Bare })
        }
        Phase::Promoted | Phase::Verified | Phase::Routed if watch.is_confirmed(case.policy, now) => {
            Some(Step::Close { token, ending: Ending::FailedAfterPromotion })
        }
        _ => None,
    }
}

impl Patience {
    /// A decision, when all that it takes is there; what is missing is asked for.
    fn decide(
        self,
        case: &Case<'_>,
        watch: &mut Watch,
        brake: &Brake,
        sights: &impl Sights,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Option<Step> {
        if !case.stand.vetoes.is_empty() || !watch.is_confirmed(case.policy, now.tick) {
            watch.forget_question();
            return None;
        }
        if !watch.is_rested(now.tick) {
            return None;
        }
        let Some(question) = watch.question(now.tick, case.policy.scaled(self.attest)) else {
            let (group, question) = (case.name.clone(), watch.ask(now.tick));
            out.push(Action::Ask { group, question, regions: case.stand.attesting.clone() });
            return None;
        };
        let attesting = &case.stand.attesting;
        let count = |what| attesting.iter().filter(|region| question.answers.get(*region) == Some(&what)).count();
        if count(Attestation::Failing) * 2 <= attesting.len() {
            if (attesting.len() - count(Attestation::Working) - count(Attestation::Abstains)) * 2 <= attesting.len() {
                watch.forget_question();
                watch.rest_until(now.tick + case.policy.probe_interval);
            }
            return None;
        }
        let grounds = watch.grounds(question, now)?;
        watch.forget_question();
        let guards = doubts(case, watch, brake, sights);
        Some(Step::Decide(Box::new(Decide {
            token: case.group.token,
            kind: Kind::Failover,
            from: case.group.primary()?.clone(),
            to: None,
            plan_revision: case.stand.plan_revision,
            estimate: sights.estimate(case.name),
            allowed_loss: None,
            grounds: Some(grounds),
            drill: None,
            setback: None,
            guards,
        })))
    }
}

/// Why a person is to approve a decision, one line each.
fn doubts(case: &Case<'_>, watch: &Watch, brake: &Brake, sights: &impl Sights) -> Vec<String> {
    let mut doubts = case.stand.doubts.clone();
    let Some(primary) = case.group.primary() else { return doubts };
    doubts.extend(brake.doubt(primary, sights.is_down(primary)));
    // A silent agent confirms no fence; then only the end of the lease can, or a program of which a drill has shown it.
    let would_confirm = case.group.wait_is_a_fence() && case.policy.may_wait || !case.stand.confirming.is_empty();
    if watch.evidence() == Evidence::Isolated && !would_confirm {
        doubts.push(format!("no fence of {primary} would confirm, and the end of its lease proves nothing"));
    }
    // Whoever applies it refuses it otherwise, in quorum mode too, and nobody would hear of it.
    doubts.extend(too_much(sights.estimate(case.name), None, case.policy.rpo_target));
    doubts
}
