//! Setbacks: what is done when a rollback trigger fires while the result of an operation is watched.
//!
//! The group goes back by a switchover, which loses nothing and gives up by itself when the old primary cannot take over; or it stays where it is,
//! automation rests, and a person decides. Which of the two, the leader proposes by what it sees; here it is judged by what is replicated: once for
//! each operation, only while its result is watched, only to where it came from and only when that member follows again, since going back to a copy
//! that lacks the new writes would lose them. The cool-down does not speak against it: the watch is what those minutes are for.
//!
//! Source: failovers that were taken back by hand because the place they led to was no better (GitHub 2018); one rollback at the most, so that a
//! fault in both places moves nothing to and fro.

use super::{
    groups::{At, wrong},
    limits::{AUDIT_TEXT_MAX, line},
    refusal::{Refusal, Rule},
    state::State,
};
use crate::{
    failover::{
        group::{Closed, Group},
        step::{Decide, Setback},
    },
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp},
    },
};

impl State {
    /// Why a person is to approve it that a group goes back, one line each; none: it may go back by itself.
    ///
    /// # Errors
    /// Why nothing goes back, as far as the replicated state tells.
    pub fn may_go_back(&self, name: &Label, at: Timestamp) -> Result<Vec<String>, String> {
        let policy = self.outline().and_then(|outline| outline.groups.get(name)).ok_or("the plan has no such group")?;
        let group = self.group(name).ok_or("the group has no primary")?;
        let veto = self.vetoes_of_the_way_back(name, group, policy, at).next();
        veto.map_or(Ok(()), |veto| Err(veto.text))?;
        Ok(self.doubts(name, group, policy, at).into_iter().map(|doubt| doubt.text).collect())
    }

    /// The cool-down is what those minutes are for.
    fn vetoes_of_the_way_back(&self, name: &Label, group: &Group, policy: &Policy, at: Timestamp) -> impl Iterator<Item = Refusal> + use<> {
        self.vetoes(name, group, policy, at).into_iter().filter(|veto| veto.rule != Rule::CoolDown)
    }

    /// Whether a group may go back by this decision, and without a person if it has no guards.
    pub(super) fn check_setback(
        &self,
        name: &Label,
        group: &Group,
        policy: &Policy,
        decide: &Decide,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let doubts = self.doubts(name, group, policy, at).into_iter().filter(|_| decide.guards.is_empty());
        self.vetoes_of_the_way_back(name, group, policy, at).chain(doubts).next().map_or(Ok(()), Err)
    }
}

/// The operation that is set back, while its result is watched.
fn watched<'a>(group: &'a mut Group, policy: &Policy, setback: &Setback, at: Timestamp) -> Result<&'a mut Closed, Refusal> {
    let late = |text: String| wrong(Rule::WrongPhase, text, "nothing: a person decides, by portolan switchover");
    let Some(closed) = group.latest.as_mut().filter(|closed| closed.operation.id == setback.operation) else {
        return Err(late(format!("op-{} is not the last operation of the group", setback.operation)));
    };
    match closed.watched_until(policy.observe) {
        Some(until) if at <= until => Ok(closed),
        Some(_) => Err(late(format!("the result of op-{} was watched for {}", setback.operation, Human(policy.observe)))),
        None => Err(late(format!("the result of op-{} is not watched, or a trigger fired before", setback.operation))),
    }
}

impl At<'_> {
    /// A rollback trigger fired: it stands in the record of the operation that led here.
    pub(super) fn fired(self, group: &mut Group, policy: &Policy, setback: &Setback, and: &str) -> Result<(), Refusal> {
        line("what fired", &setback.text, AUDIT_TEXT_MAX)?;
        let closed = watched(group, policy, setback, self.at)?;
        closed.setback = Some(self.index);
        self.note(&mut closed.operation, format!("setback: {}: {and}", setback.text));
        Ok(())
    }

    /// It stays, and automation rests until a person has looked.
    pub(super) fn stay(self, mut group: Group, policy: &Policy, setback: &Setback) -> Result<Group, Refusal> {
        self.fired(&mut group, policy, setback, "it stays, and automation rests")?;
        let until = self.at + policy.cool_down;
        group.cool_down = Some(group.cool_down.map_or(until, |known| known.max(until)));
        Ok(group)
    }
}

/// Whether the group may go back by this decision, as the operation is recorded that led away.
pub(super) fn check_way_back(group: &Group, decide: &Decide, setback: &Setback) -> Result<(), Refusal> {
    let Some(operation) = group.latest.as_ref().map(|closed| &closed.operation).filter(|it| it.id == setback.operation) else {
        return Ok(());
    };
    let refuse = |text: String| Err(wrong(Rule::Invalid, text, "let it stay, and ask a person"));
    // After a candidate that gave no answer it is that one: who was replaced last.
    let back = &operation.from;
    if decide.to.as_ref() != Some(back) {
        return refuse(format!("op-{} led away from {back}, and nothing goes back to anywhere else", operation.id));
    }
    if group.absent.contains(back) {
        return refuse(format!("{back} has not followed since, so that going back would lose what was written"));
    }
    Ok(())
}
