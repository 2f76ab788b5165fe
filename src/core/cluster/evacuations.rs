//! Evacuations: begun and cancelled by people, carried out by the leader, one switchover after the other.
//!
//! The drain is laid by the entry that begins one, and judged by the guardrails as any drain is. What becomes of its groups is read off the groups
//! whenever one of them changes: there is no entry for it, so that none can be missed by a leader that is lost.

use std::collections::BTreeSet;

use super::{
    apply::{Judge, Part, Step as Commit},
    change::End,
    entry::Role,
    groups::{At, wrong},
    limits::{AUDIT_TEXT_MAX, EVACUATIONS_MAX, GROUPS_MAX, NAME_MAX, count, cut, line},
    refusal::{Refusal, Rule},
    state::State,
};
use crate::{
    failover::{
        evacuation::{AT_ONCE, Evacuation, Item, Progress, Standing},
        group::{Group, Kind},
        step::Decide,
    },
    health::overlay::{OverrideKind, Scope},
    model::{group::Policy, ids::Label, time::Timestamp},
};

/// What is to be done for an evacuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing now: as many groups as may move do, or none is left.
    Nothing,
    /// This group is to be switched over, if somebody can take over.
    Begin(Label),
    /// This group is the next one, and it does not begin: why, in one line.
    Waits(Label, String),
}

impl State {
    /// What is to be done next for an evacuation, as far as the replicated state tells.
    #[must_use]
    pub fn next_of(&self, evacuation: &Evacuation, at: Timestamp) -> Next {
        let Some(item) = evacuation.first_waiting().filter(|_| evacuation.standing() == Standing::Open) else { return Next::Nothing };
        let group = item.group.clone();
        if let Err(refusal) = self.check_turn(evacuation, &group) {
            // Full hands are no obstacle.
            return if refusal.rule == Rule::Full { Next::Nothing } else { Next::Waits(group, refusal.text) };
        }
        if let Some(open) = self.group(&group).and_then(|group| group.operation.as_ref()) {
            let text = format!("its op-{} is open, {}", open.id, open.phase);
            return Next::Waits(group, text);
        }
        let is_frozen = evacuation.overrules_freezes.is_none_or(|until| at >= until);
        let freeze = self.freezes_of(&Scope::Group(group.clone()), at).into_iter().next().filter(|_| is_frozen);
        let freeze = freeze.map(|freeze| format!("freeze `{}` is in force until {}", freeze.id, freeze.until));
        let hold = self.on_hold(&group, at).map(|refusal| refusal.text);
        match hold.or(freeze) {
            Some(text) => Next::Waits(group, cut(&text, AUDIT_TEXT_MAX)),
            None => Next::Begin(group),
        }
    }

    /// Whether it is this group's turn. [`Rule::Full`]: as many move as may.
    fn check_turn(&self, evacuation: &Evacuation, name: &Label) -> Result<(), Refusal> {
        let mut n = 0;
        for (moving, id) in evacuation.moving() {
            n += 1;
            let held = self.group(moving).and_then(|group| group.operation.as_ref()).filter(|it| it.id == id);
            if let Some(held) = held.and_then(|operation| operation.held.as_ref()) {
                let text = format!("op-{id} of group:{moving} is held, {}: {}", held.reason, held.text);
                return Err(wrong(Rule::OnHold, cut(&text, AUDIT_TEXT_MAX), "end what holds it: portolan recovery status"));
            }
        }
        if n >= AT_ONCE {
            let text = format!("{n} groups of evac-{} move, as many as may", evacuation.id);
            return Err(wrong(Rule::Full, text, "wait until one has moved"));
        }
        if evacuation.first_waiting().is_none_or(|item| item.group != *name) || evacuation.cancelled.is_some() {
            let text = format!("it is not the turn of group:{} in evac-{}", cut(name.as_str(), NAME_MAX), evacuation.id);
            return Err(wrong(Rule::WrongPhase, text, "see portolan evacuations"));
        }
        Ok(())
    }

    /// The group was begun: the entry's index is the operation's id.
    pub(super) fn put_moving(&mut self, evacuation: u64, name: &Label, group: &Group) {
        let (Some(evacuation), Some(operation)) = (self.evacuations.get_mut(&evacuation), &group.operation) else { return };
        for item in evacuation.items.iter_mut().filter(|item| item.group == *name) {
            item.progress = Progress::Moving { operation: operation.id };
        }
    }

    /// As it is from now on; the oldest that ended leave when there are too many.
    pub(super) fn put_evacuation(&mut self, evacuation: Evacuation) {
        self.evacuations.insert(evacuation.id, evacuation);
        while self.evacuations.len() > EVACUATIONS_MAX {
            let oldest = self.evacuations.values().find(|it| it.ended.is_some()).map(|it| it.id);
            let Some(oldest) = oldest else { return };
            self.evacuations.remove(&oldest);
        }
    }

    /// Reads off what changed what became of the groups of evacuations that are open.
    pub(super) fn follow_evacuations(&mut self, touched: &BTreeSet<Part>, at: Timestamp) -> Option<Part> {
        if ![Part::Groups, Part::Plan, Part::Evacuations].iter().any(|part| touched.contains(part)) {
            return None;
        }
        let mut is_other = false;
        let known = self.plan.as_ref().map(|plan| &plan.plan.outline.groups);
        let nothing = Group::default();
        for evacuation in self.evacuations.values_mut().filter(|it| it.ended.is_none()) {
            let before = evacuation.clone();
            let group = |name: &Label| known?.contains_key(name).then(|| self.groups.get(name).unwrap_or(&nothing));
            evacuation.follow(group, at);
            is_other |= *evacuation != before;
        }
        is_other.then_some(Part::Evacuations)
    }
}

fn unknown(id: u64) -> Refusal {
    wrong(Rule::UnknownName, format!("there is no evacuation evac-{id}"), "see portolan evacuations")
}

impl Judge<'_> {
    pub(super) fn evacuate(&mut self, region: &Label, skip: &BTreeSet<Label>, end: End) -> Result<Commit, Refusal> {
        let state = self.state;
        count("groups that stay", skip.len(), GROUPS_MAX)?;
        if let Some(open) = state.evacuations.values().find(|it| it.ended.is_none() && it.region == *region) {
            let text = format!("evac-{} of {region} is open, by {}: {}", open.id, open.who, open.why);
            let remedy = format!("follow it: portolan watch evac-{}; or end it: portolan cancel evac-{}", open.id, open.id);
            return Err(Refusal::new(Rule::OperationOpen, cut(&text, AUDIT_TEXT_MAX), remedy));
        }
        let n_open = state.evacuations.values().filter(|it| it.ended.is_none()).count();
        if n_open >= EVACUATIONS_MAX {
            let text = format!("{n_open} evacuations are open, and no more may be");
            return Err(wrong(Rule::Full, text, "wait until one has ended"));
        }
        let Commit::PutOrder(order) = self.put_order(None, OverrideKind::Drain, &Scope::Region(region.clone()), end)? else {
            return Ok(Commit::Nothing);
        };
        let groups = state.outline().map(|outline| &outline.groups).into_iter().flatten();
        let here = groups.filter(|(name, _)| state.groups.get(*name).and_then(Group::primary) == Some(region));
        let mut here: Vec<(u16, &Label)> = here.map(|(name, policy)| (policy.priority, name)).collect();
        here.sort_unstable();
        if let Some(stranger) = skip.iter().find(|name| !here.iter().any(|(_, here)| here == name)) {
            let text = format!("group:{} has no primary in {region}", cut(stranger.as_str(), NAME_MAX));
            return Err(wrong(Rule::UnknownName, text, "name data groups whose primary is there"));
        }
        let item = |name: &Label| {
            let progress = if skip.contains(name) {
                Progress::Skipped { because: format!("{} wants it to stay", self.entry.by.name) }
            } else {
                Progress::Waiting { because: String::new() }
            };
            Item { group: name.clone(), progress }
        };
        let overrules_freezes = self.entry.overrules.iter().find(|it| it.rule == Rule::Frozen).map(|it| it.end.resolve(self.entry.at));
        let evacuation = Evacuation {
            id: self.index,
            region: region.clone(),
            who: self.entry.by.name.clone(),
            why: self.entry.reason.clone(),
            at: self.entry.at,
            order: order.id.clone(),
            overrules_freezes,
            items: here.into_iter().map(|(_, name)| item(name)).collect(),
            cancelled: None,
            ended: None,
        };
        Ok(Commit::Evacuate(Box::new(evacuation), order))
    }

    pub(super) fn note_evacuation(&self, id: u64, group: &Label, because: &str) -> Result<Commit, Refusal> {
        if !because.is_empty() {
            line("why it waits", because, AUDIT_TEXT_MAX)?;
        }
        if self.entry.by.role != Role::System {
            return Err(wrong(Rule::Invalid, "only the leader notes why a group waits", "nothing: it does so by itself"));
        }
        let mut evacuation = self.state.evacuations.get(&id).cloned().ok_or_else(|| unknown(id))?;
        let note = Progress::Waiting { because: because.to_owned() };
        let item = evacuation.items.iter_mut().find(|item| item.group == *group && matches!(item.progress, Progress::Waiting { .. }));
        match item {
            Some(item) if item.progress != note => item.progress = note,
            _ => return Ok(Commit::Nothing),
        }
        Ok(Commit::Evacuation(Box::new(evacuation), None))
    }

    pub(super) fn cancel_evacuation(&mut self, id: u64, undrain: bool) -> Result<Commit, Refusal> {
        let mut evacuation = self.state.evacuations.get(&id).cloned().ok_or_else(|| unknown(id))?;
        if evacuation.ended.is_some() {
            let text = format!("evac-{id} is over, {}", evacuation.standing());
            return Err(wrong(Rule::WrongPhase, text, "take its drain back: portolan undrain region REGION"));
        }
        let lifted = match self.state.orders.contains_key(&evacuation.order) && undrain {
            true => self.remove_order(&evacuation.order).map(|_| Some(evacuation.order.clone()))?,
            false => None,
        };
        let who = &self.entry.by.name;
        evacuation.cancelled.get_or_insert_with(|| who.clone());
        for item in evacuation.items.iter_mut().filter(|item| matches!(item.progress, Progress::Waiting { .. })) {
            item.progress = Progress::Skipped { because: format!("cancelled by {who}") };
        }
        Ok(Commit::Evacuation(Box::new(evacuation), lifted))
    }

    /// The next group of an evacuation is switched over.
    pub(super) fn move_away(
        &mut self,
        at: At<'_>,
        name: &Label,
        group: Group,
        policy: &Policy,
        id: u64,
        decide: &Decide,
    ) -> Result<Group, Refusal> {
        let evacuation = self.state.evacuations.get(&id).ok_or_else(|| unknown(id))?;
        self.state.check_turn(evacuation, name)?;
        if decide.kind != Kind::Switchover || decide.from != evacuation.region || decide.grounds.is_some() || decide.setback.is_some() {
            let text = format!("evac-{id} switches groups over that are in {}, and does nothing else", evacuation.region);
            return Err(wrong(Rule::Invalid, text, "look at the group again"));
        }
        self.decide_group(at, name, group, policy, decide, Some(evacuation))
    }
}
