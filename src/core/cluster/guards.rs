//! What speaks against the cluster's deciding about a data group by itself, as far as the replicated state tells.
//!
//! A *veto* means that nothing is decided. A *doubt* means that it is decided, and waits for a person's approval. The leader asks before it
//! proposes, and every node asks again when it applies: a leader that was superseded, or does not look, gets no further.
//!
//! Absent on purpose: what only the leader sees (how many groups fail at once, whether a fence would hold), which is [`crate::failover::detect`]'s.

use std::collections::BTreeSet;

use super::{
    refusal::{Refusal, Rule},
    state::State,
};
use crate::{
    failover::{
        detect::{STORM_WITHIN, Stand},
        group::{Group, Operation, Origin, Phase},
        lease::Class,
    },
    health::overlay::Scope,
    model::{
        group::{Mode, OnControlLoss, Policy},
        ids::Label,
        time::Timestamp,
    },
};

/// Automatic operations that are under way at a time; the others wait for their turn.
const OPERATIONS_AT_ONCE: usize = 3;

impl State {
    /// How a group of the plan in force stands with automation; `None`: there is no such group.
    #[must_use]
    pub fn stand(&self, name: &Label, at: Timestamp) -> Option<Stand> {
        self.stand_by(self.outline()?.groups.get(name)?, name, at)
    }

    /// As [`Self::stand`], as if the plan let automation act for the group: what then is in the way is so whatever its mode.
    #[must_use]
    pub fn stand_if_automatic(&self, name: &Label, at: Timestamp) -> Option<Stand> {
        let policy = self.outline()?.groups.get(name)?;
        self.stand_by(&Policy { is_automatic: true, mode: Some(Mode::Act), ..policy.clone() }, name, at)
    }

    fn stand_by(&self, policy: &Policy, name: &Label, at: Timestamp) -> Option<Stand> {
        let nothing = Group::default();
        let group = self.groups.get(name).unwrap_or(&nothing);
        Some(Stand {
            vetoes: self.vetoes(name, group, policy, at).into_iter().map(|veto| veto.text).collect(),
            doubts: self.doubts(name, group, policy, at).into_iter().map(|doubt| doubt.text).collect(),
            confirming: group.primary().map(|primary| group.proven(policy, primary, at)).unwrap_or_default(),
            attesting: self.attesting(group).into_iter().cloned().collect(),
            plan_revision: self.plan.as_ref().map_or(0, |it| it.plan.revision),
            free: OPERATIONS_AT_ONCE.saturating_sub(self.n_automatic()),
        })
    }

    /// The vantage regions other than the primary's: those in which somebody votes.
    pub(super) fn attesting(&self, group: &Group) -> BTreeSet<&Label> {
        self.voter_regions().into_iter().filter(|region| Some(*region) != group.primary()).collect()
    }

    fn voter_regions(&self) -> BTreeSet<&Label> {
        self.voters().map(|node| &node.region).collect()
    }

    /// What forbids an automatic decision now. A group that is not adopted, or that has an operation open, is refused before.
    pub(super) fn vetoes(&self, name: &Label, group: &Group, policy: &Policy, at: Timestamp) -> Vec<Refusal> {
        let mut vetoes = Vec::new();
        let mut off = |text: String| {
            vetoes.push(Refusal::new(Rule::NotAutomatic, text, "a person decides: portolan failover GROUP --to REGION"));
        };
        if !policy.is_automatic || group.grant.as_ref().is_some_and(|grant| grant.on_control_loss == OnControlLoss::Keep) {
            off("the plan has automatic failover off for this group".to_owned());
        }
        if policy.mode == Some(Mode::Observe) {
            off("the mode is observe".to_owned());
        }
        let voters = self.voters().count();
        let regions = self.voter_regions().len();
        if voters.is_multiple_of(2) || regions < 3 {
            off(format!("{voters} voters in {regions} regions have no tie-breaker"));
        }
        if let Some(freeze) = self.freezes_of(&Scope::Group(name.clone()), at).into_iter().find(|it| it.automation) {
            off(format!("freeze `{}` holds automation until {}", freeze.id, freeze.until));
        }
        let n_open = self.n_automatic();
        if n_open >= OPERATIONS_AT_ONCE {
            off(format!("{n_open} automatic operations are open, and {OPERATIONS_AT_ONCE} may be at a time"));
        }
        if let Some(until) = group.cool_down.filter(|until| at < *until) {
            let text = format!("the group cools down until {until}");
            vetoes.push(Refusal::new(Rule::CoolDown, text, "portolan release GROUP --cool-down --reason, or decide by hand"));
        }
        vetoes.extend(self.on_hold(name, at));
        vetoes
    }

    /// A hold on the group, if one is in force.
    pub(super) fn on_hold(&self, name: &Label, at: Timestamp) -> Option<Refusal> {
        let scope = Scope::Group(name.clone());
        let hold = self.holds(&scope, at).next()?;
        let text = format!("hold `{}` by {} is in force: {}", hold.id, hold.who, hold.why);
        Some(Refusal::new(Rule::OnHold, text, "take it back: portolan release ORDER"))
    }

    /// What a person is to look at first.
    pub(super) fn doubts(&self, name: &Label, group: &Group, policy: &Policy, at: Timestamp) -> Vec<Refusal> {
        let mut doubts = Vec::new();
        let is_armed = group.grant.as_ref().is_some_and(|grant| matches!(grant.class, Class::Armed { .. }));
        let is_proven = group.primary().is_some_and(|primary| !group.proven(policy, primary, at).is_empty());
        let mode = match policy.mode {
            Some(Mode::Act) => None,
            None if is_armed || is_proven => None,
            None => Some("no mode is written, and the primary's agent is not armed: recommend".to_owned()),
            // Observing is a veto.
            Some(Mode::Observe) => None,
            Some(Mode::Recommend) => Some("the mode is recommend".to_owned()),
        };
        doubts.extend(mode.map(|text| Refusal::new(Rule::NotAutomatic, text, "a person approves it: portolan approve")));
        if let Some((other, operation)) = self.other_cause(name, group.primary(), policy, at) {
            let text = format!("op-{} of group:{other} was about {} less than 10m before: two causes", operation.id, operation.from);
            doubts.push(Refusal::new(Rule::StormBrake, text, "look whether it is one cause, and approve it: portolan approve"));
        }
        doubts
    }

    /// An automatic operation of another group, about another region's primary, decided not long ago. What a group went through itself is the
    /// cool-down's matter.
    fn other_cause(&self, ours: &Label, primary: Option<&Label>, policy: &Policy, at: Timestamp) -> Option<(&Label, &Operation)> {
        let is_fresh = |operation: &Operation| {
            let decided = operation.marks.first().map(|mark| mark.at);
            operation.origin == Origin::Automatic && decided.is_some_and(|decided| at.since(decided) < policy.scaled(STORM_WITHIN))
        };
        let others = self.groups.iter().filter(|(name, _)| *name != ours);
        let all = others.flat_map(|(name, group)| operations(group).map(move |operation| (name, operation)));
        let mut fresh = all.filter(|(_, operation)| is_fresh(operation));
        fresh.find(|(_, operation)| Some(&operation.from) != primary)
    }

    /// Automatic operations that are being carried out. One that waits for a person keeps no other one from its turn.
    fn n_automatic(&self) -> usize {
        let is_under_way = |it: &&Operation| it.origin.is_automatic() && it.phase != Phase::Proposed && it.held.is_none();
        self.groups.values().filter_map(|group| group.operation.as_ref()).filter(is_under_way).count()
    }
}

fn operations(group: &Group) -> impl Iterator<Item = &Operation> {
    group.operation.iter().chain(group.ended().map(|closed| &closed.operation))
}
