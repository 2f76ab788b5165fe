//! Steps of an operation that only people take: each needs a reason, and stays in the operation's record with who took it.
//!
//! In quorum mode an approval that says how much may be lost gives up what holds the operation then (O5, O7), once: the loss is judged by it at the
//! gate, as without a quorum, and so is the fence (who waits for a lease may meet a host that was paused as a whole).
//!
//! What none of them does: shorten a wait (O3), let a step out that keeps two primaries apart, or grant anything. The one step that can be left
//! out is the validation, when nothing else is between the new primary and its clients.

use std::time::Duration;

use super::{
    groups::{At, check_loss, open, wrong, wrong_phase},
    limits::{AUDIT_TEXT_MAX, NAME_MAX, cut},
    refusal::{Refusal, Rule},
};
use crate::{
    failover::group::{ACTS_MAX, Act, Deed, Ending, Group, HeldFor, Kind, Operation, Phase},
    model::{group::Policy, ids::Label},
};

impl At<'_> {
    /// Notes what a person did, as a mark and in the record of acts.
    fn act(self, operation: &mut Operation, deed: Deed) {
        self.remember(operation, deed);
        self.note(operation, format!("{deed}, by {}", self.who));
    }

    /// Notes it in the record of acts only, where the mark is made by others.
    pub(super) fn remember(self, operation: &mut Operation, deed: Deed) {
        if operation.acts.len() == ACTS_MAX {
            // Who let it begin stays; what is dropped is in the audit chain.
            operation.acts.remove(1);
        }
        operation.acts.push(Act { index: self.index, at: self.at, who: self.who.to_owned(), why: self.why.to_owned(), deed });
    }

    pub(super) fn approve(self, mut group: Group, policy: &Policy, id: u64, wanted: Option<Duration>) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        let allowed = wanted.or(operation.allowed_loss);
        let reason = operation.held.as_ref().map(|held| held.reason);
        let is_begun = match (operation.phase, reason) {
            (Phase::Proposed, _) => {
                if operation.kind == Kind::Failover {
                    check_loss(policy, operation.estimate, allowed)?;
                }
                operation.phase = Phase::Decided;
                true
            }
            (_, Some(HeldFor::RpoGate)) => {
                let loss = operation.chosen.as_ref().map_or(operation.estimate, |chosen| chosen.loss);
                check_loss(policy, loss, allowed)?;
                false
            }
            (_, Some(HeldFor::QuorumUnseen)) => {
                operation.waiver.unseen = is_explicit(operation, wanted)?;
                false
            }
            (_, Some(HeldFor::BelowFloor)) => {
                operation.waiver.below_floor = is_explicit(operation, wanted)?;
                false
            }
            (_, Some(_)) => false,
            (_, None) => return Err(wrong_phase(operation, "it waits for nobody's approval")),
        };
        (operation.allowed_loss, operation.held) = (allowed, None);
        self.act(operation, Deed::Approved { allowed_loss: wanted });
        if is_begun {
            group.token = self.token;
        }
        Ok(group)
    }

    pub(super) fn assert_stopped(self, mut group: Group, id: u64, region: &Label) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        if operation.phase != Phase::Decided || operation.kind != Kind::Failover {
            return Err(wrong_phase(operation, "nothing is waited for that could be asserted"));
        }
        if *region != operation.from {
            let text = format!("{} is asserted to be stopped, and {} is replaced", cut(region.as_str(), NAME_MAX), operation.from);
            return Err(wrong(Rule::Invalid, text, "type the region of the old primary"));
        }
        operation.asserted = Some(self.who.to_owned());
        self.act(operation, Deed::Asserted);
        Ok(group)
    }

    /// Only when the old primary had its time to say where it stopped: until then nothing would be lost.
    pub(super) fn turn(self, mut group: Group, id: u64) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        let is_unanswered = operation.held.as_ref().is_some_and(|held| held.reason == HeldFor::SwitchoverUnanswered);
        if operation.phase != Phase::Decided || operation.kind != Kind::Switchover || !is_unanswered {
            return Err(wrong_phase(operation, "only a switchover whose old primary did not answer turns into a failover"));
        }
        (operation.kind, operation.held) = (Kind::Failover, None);
        self.act(operation, Deed::Turned);
        group.token = self.token;
        Ok(group)
    }

    /// The token stays, and so does the grant: the group rests as after any "no" of a person.
    pub(super) fn reject(self, mut group: Group, policy: &Policy, id: u64) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        if operation.phase != Phase::Proposed {
            let text = format!("op-{} is {}: it was approved, or needed no approval", operation.id, operation.phase);
            return Err(wrong(Rule::WrongPhase, text, "end it before its point of no return: portolan cancel"));
        }
        self.remember(operation, Deed::Rejected);
        Ok(self.close(group, Ending::Rejected, Some(self.at + policy.cool_down)))
    }

    pub(super) fn retry(self, mut group: Group, id: u64) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        match &operation.held {
            Some(_) if operation.phase == Phase::Proposed => Err(wrong(
                Rule::WrongPhase,
                format!("op-{} waits for approval, and nothing was tried", operation.id),
                "portolan approve, or portolan reject",
            )),
            None => Err(wrong_phase(operation, "nothing holds it, so that it is being tried already")),
            Some(_) => {
                operation.held = None;
                self.act(operation, Deed::Retried);
                Ok(group)
            }
        }
    }

    pub(super) fn skip(self, mut group: Group, id: u64) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        if operation.phase != Phase::Promoted {
            let text =
                format!("op-{} is {}, and what comes next is {}: that is never skipped", operation.id, operation.phase, next(operation));
            return Err(wrong(
                Rule::NeverSkipped,
                text,
                "only the validation of a new primary can be: portolan watch says when it is its turn",
            ));
        }
        self.remember(operation, Deed::SkippedValidation);
        (operation.phase, operation.held) = (Phase::Verified, None);
        self.note(operation, format!("{}, by {}", Deed::SkippedValidation, self.who));
        Ok(group)
    }
}

/// What quorum mode promises is given up by an explicit loss only, said now: what would be lost then is judged by it once somebody is chosen.
fn is_explicit(operation: &Operation, wanted: Option<Duration>) -> Result<bool, Refusal> {
    if wanted.is_some_and(|loss| !loss.is_zero()) {
        return Ok(true);
    }
    let why = operation.held.as_ref().map(|held| held.text.as_str()).unwrap_or_default();
    let text = cut(&format!("op-{}: {why}: acknowledged writes may be lost, and nobody allowed that", operation.id), AUDIT_TEXT_MAX);
    let remedy = "bring a copy back that is missing, say how much may be lost (portolan approve --allow-data-loss), or portolan cancel";
    Err(wrong(Rule::RpoGate, text, remedy))
}

/// The step that an operation is at, in people's words.
const fn next(operation: &Operation) -> &'static str {
    match (operation.phase, operation.kind) {
        (Phase::Proposed, _) => "a person's approval",
        (Phase::Announced, _) => "the end of what caches were told before",
        (Phase::Decided, Kind::Failover) => "the fence, or the end of the lease",
        (Phase::Decided, Kind::Switchover) => "the clean stop with its hand-over token",
        (Phase::Fenced, _) => "the seal of the copies",
        (Phase::Chosen, _) => "the drain and the RPO gate",
        (Phase::Promoting, _) => "the promotion and its proof",
        (Phase::Promoted, _) => "the validation",
        (Phase::Verified, _) => "the route of its names",
        (Phase::Routed, _) => "its end",
    }
}
