//! Steps of data groups: each is judged again here, on what is replicated, whoever proposed it.
//!
//! The rules that are proved here, whatever a proposer believes: one operation at a time and nothing by an old token (O1), no wait for a lease
//! that does not end a database (O2), no assertion instead of the wait but beside it (O3), who is chosen (O5 to O7), no grant beyond what may be
//! lost, no way back after the grant (O8), a new token for every change of who may write (O9, O13). What people do beside is in
//! [`super::people`]. That a wait is really over, and that an agent
//! really answered, only the proposer knows: those are its promises, and the simulation's to break.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    apply::{Judge, Step as Commit},
    entry::Role,
    limits::{AUDIT_TEXT_MAX, DRILLS_MAX, EARLIER_MAX, GROUPS_MAX, NAME_MAX, count, cut, line, name, room},
    refusal::{Refusal, Rule},
    rejoin::{followed, reclone},
    setbacks::check_way_back,
};
use crate::{
    failover::{
        choose::{Choice, Durability, Fork, Sealed, Waiver},
        evacuation::Evacuation,
        grounds::{Attestation, Grounds},
        group::{
            Chosen, Closed, Deed, Ending, FORKS_MAX, Fence, Group, Held, HeldFor, Kind, MARKS_MAX, Mark, Operation, Origin, Phase, Stopped,
            too_much,
        },
        keys::{Key, holds},
        lease::{Class, Grant},
        step::{AGENT, Decide, Proof, Step},
        token::Token,
    },
    health::overlay::Scope,
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp},
    },
    recovery::exposure::Bracket,
};

/// The longest list of failed rounds and of guards in one decision.
const GROUNDS_MAX: usize = 64;

pub(super) fn wrong(rule: Rule, text: impl Into<String>, remedy: &str) -> Refusal {
    Refusal::new(rule, text, remedy)
}

pub(super) fn not_adopted() -> Refusal {
    wrong(Rule::NotAdopted, "the group has no primary that is agreed on", "portolan adopt GROUP --primary REGION")
}

impl Judge<'_> {
    /// The group as it is after the step.
    pub(super) fn group(&mut self, name: &Label, step: &Step) -> Result<Commit, Refusal> {
        let policy = self.state.outline().and_then(|outline| outline.groups.get(name));
        let Some(policy) = policy else {
            let text = format!("the plan in force has no group:{}", cut(name.as_str(), NAME_MAX));
            return Err(wrong(Rule::UnknownName, text, "name a data group of the plan"));
        };
        let known = self.state.groups.get(name);
        if known.is_none() {
            room("data groups", self.state.groups.len(), GROUPS_MAX, "a group that was adopted once is remembered")?;
        }
        let nothing = Group::default();
        let before = known.unwrap_or(&nothing);
        let group = before.clone();
        if step.token() != group.token {
            let text = format!("it was made for token {}, and the group is at {}", step.token(), group.token);
            return Err(wrong(Rule::ExpectedEpoch, text, "look at the group again: portolan why group"));
        }
        let token = Token { generation: self.state.generation, epoch: self.index };
        let at = At { index: self.index, at: self.entry.at, token, who: &self.entry.by.name, why: &self.entry.reason };
        let mut after = match step {
            Step::Adopt { primary, system, timeline, class, .. } => at.adopt(group, policy, primary, *system, *timeline, *class)?,
            Step::Decide(decide) => self.decide_group(at, name, group, policy, decide, None)?,
            Step::Evacuate { evacuation, decide } => {
                let moved = self.move_away(at, name, group, policy, *evacuation, decide)?;
                return Ok(Commit::Move { evacuation: *evacuation, name: name.clone(), group: Box::new(moved) });
            }
            Step::Promote { class, .. } => {
                self.check_on_hold(name)?;
                at.promote(group, policy, *class)?
            }
            Step::Approve { operation, allowed_loss, .. } => {
                self.check_on_hold(name)?;
                at.approve(group, policy, *operation, *allowed_loss)?
            }
            Step::Assert { operation, region, .. } => at.assert_stopped(group, *operation, region)?,
            Step::Turn { operation, .. } => at.turn(group, *operation)?,
            Step::Reject { operation, .. } => at.reject(group, policy, *operation)?,
            Step::Retry { operation, .. } => at.retry(group, *operation)?,
            Step::Skip { operation, .. } => at.skip(group, *operation)?,
            Step::Cancel { operation, class, .. } => at.cancel(group, policy, *operation, *class, self.entry.by.role != Role::System)?,
            Step::Regrant { class, .. } => at.regrant(group, policy, *class)?,
            Step::Setback { setback, .. } => at.stay(group, policy, setback)?,
            Step::Ran { operation, ran, .. } => at.ran(group, policy, *operation, ran)?,
            Step::PutAside { operation, region, aside, .. } => at.put_aside(group, policy, *operation, region, *aside)?,
            Step::Drill { act, .. } => self.drill(at, name, group, policy, act)?,
            other => at.go_on(group, policy, other)?,
        };
        if after.token != before.token {
            after.reclone.clear();
        }
        Ok(if after == *before { Commit::Nothing } else { Commit::Group(name.clone(), Box::new(after)) })
    }

    pub(super) fn check_on_hold(&self, name: &Label) -> Result<(), Refusal> {
        self.state.on_hold(name, self.entry.at).map_or(Ok(()), Err)
    }

    /// `evacuation`: whose operation it is; `None`: nobody's.
    pub(super) fn decide_group(
        &mut self,
        at: At<'_>,
        name: &Label,
        mut group: Group,
        policy: &Policy,
        decide: &Decide,
        evacuation: Option<&Evacuation>,
    ) -> Result<Group, Refusal> {
        let Some(grant) = group.grant.clone() else {
            return Err(not_adopted());
        };
        if let Some(open) = &group.operation {
            let text = format!("op-{} is open, {}", open.id, open.phase);
            return Err(wrong(Rule::OperationOpen, text, "wait for its end, or cancel it: portolan cancel"));
        }
        if decide.from != grant.region {
            let text = format!("{} is expected to be the primary, and it is {}", cut(decide.from.as_str(), NAME_MAX), grant.region);
            return Err(wrong(Rule::ExpectedEpoch, text, "look at the group again"));
        }
        let revision = self.state.plan.as_ref().map_or(0, |it| it.plan.revision);
        if decide.plan_revision != revision {
            let text = format!("it was decided by plan revision {}, and {revision} is in force", decide.plan_revision);
            return Err(wrong(Rule::RevisionMismatch, text, "decide again"));
        }
        decide.check(policy)?;
        let is_proposed = !decide.guards.is_empty();
        match (&decide.grounds, &decide.setback) {
            (None, Some(setback)) => {
                self.state.check_setback(name, &group, policy, decide, self.entry.at)?;
                check_way_back(&group, decide, setback)?;
                at.fired(&mut group, policy, setback, "it goes back")?;
            }
            (Some(grounds), _) if !is_proposed => {
                self.check_automatic(name, &group, policy, grounds)?;
            }
            (None, None) if !is_proposed => {
                self.check_on_hold(name)?;
                if evacuation.is_none_or(|it| it.overrules_freezes.is_none_or(|until| at.at >= until)) {
                    self.check_freeze(&Scope::Group(name.clone()))?;
                }
            }
            _ => {}
        }
        if !is_proposed && decide.kind == Kind::Failover {
            check_loss(policy, decide.estimate, decide.allowed_loss)?;
        }
        let origin = match (&decide.grounds, &decide.setback) {
            _ if let Some(evacuation) = evacuation => Origin::Person { who: evacuation.who.clone(), why: evacuation.reason() },
            (Some(_), _) => Origin::Automatic,
            (None, Some(setback)) => Origin::Setback { of: setback.operation, why: setback.text.clone() },
            (None, None) => match at.drilled(&mut group, decide)? {
                Some(drill) => Origin::Drill { of: drill.id, who: drill.who, why: drill.why },
                None => Origin::Person { who: self.entry.by.name.clone(), why: self.entry.reason.clone() },
            },
        };
        if !matches!(origin, Origin::Drill { .. }) {
            at.decided_beside_drill(&mut group, &format!("op-{}: {decide}", at.index), origin.is_automatic());
        }
        // A lost primary is not waited with, and nor is one that is worse than what was before it.
        let is_at_leisure = decide.kind == Kind::Switchover && decide.setback.is_none() && !policy.names_ttl.is_zero();
        let phase = match is_proposed {
            true => Phase::Proposed,
            false if is_at_leisure => Phase::Announced,
            false => Phase::Decided,
        };
        let text = cut(&decide.to_string(), AUDIT_TEXT_MAX);
        group.operation = Some(Operation {
            id: at.index,
            kind: decide.kind,
            origin,
            from: decide.from.clone(),
            to: decide.to.clone(),
            phase,
            held: is_proposed.then(|| at.held(HeldFor::Approval, &decide.guards.join("; "))),
            grounds: decide.grounds.clone(),
            estimate: decide.estimate,
            allowed_loss: decide.allowed_loss,
            waiver: Waiver::default(),
            asserted: None,
            fence: None,
            stopped: None,
            sealed: BTreeMap::new(),
            chosen: None,
            marks: vec![at.mark(phase, text)],
            acts: Vec::new(),
        });
        if phase == Phase::Decided {
            group.token = at.token;
        }
        Ok(group)
    }

    /// What must hold before the cluster decides by itself.
    fn check_automatic(&self, name: &Label, group: &Group, policy: &Policy, grounds: &Grounds) -> Result<(), Refusal> {
        let at = self.entry.at;
        if let Some(refusal) =
            self.state.vetoes(name, group, policy, at).into_iter().chain(self.state.doubts(name, group, policy, at)).next()
        {
            return Err(refusal);
        }
        let evidence = |text: String| Err(wrong(Rule::Evidence, text, "nothing: it is decided again when the evidence holds"));
        if !grounds.evidence.allows_promotion() {
            return evidence(format!("the evidence is {}", grounds.evidence));
        }
        let (first, last) = (grounds.rounds.first(), grounds.rounds.last());
        let span = first.zip(last).map_or(Duration::ZERO, |(first, last)| last.since(*first));
        if grounds.rounds.len() < usize::from(policy.failures) || span > policy.failure_window {
            let text = format!(
                "{} failed rounds within {}, and it takes {} in {}",
                grounds.rounds.len(),
                Human(span),
                policy.failures,
                Human(policy.failure_window)
            );
            return evidence(text);
        }
        let others = self.state.attesting(group);
        let attest = |region: &&&Label| grounds.attestations.get(**region) == Some(&Attestation::Failing);
        let n = others.iter().filter(attest).count();
        if n * 2 <= others.len() {
            return evidence(format!("{n} of {} other vantage regions attest it, and it takes more than half", others.len()));
        }
        Ok(())
    }
}

/// Whether so much may be lost.
pub(super) fn check_loss(policy: &Policy, loss: Bracket, allowed: Option<Duration>) -> Result<(), Refusal> {
    too_much(loss, allowed, policy.rpo_target).map_or(Ok(()), |text| Err(rpo_gate(text)))
}

fn rpo_gate(text: String) -> Refusal {
    let remedy = "allow the loss for this operation (--allow-data-loss), give the lease back to the old primary (portolan cancel), or wait";
    wrong(Rule::RpoGate, text, remedy)
}

pub(super) fn wrong_phase(operation: &Operation, text: &str) -> Refusal {
    wrong(Rule::WrongPhase, format!("op-{} is {}: {text}", operation.id, operation.phase), "see portolan watch")
}

impl Decide {
    /// What needs the plan only.
    fn check(&self, policy: &Policy) -> Result<(), Refusal> {
        let invalid = |text: String| Err(wrong(Rule::Invalid, text, "name a member that may be promoted"));
        match &self.to {
            None if self.kind == Kind::Switchover => return invalid("a switchover names where to".to_owned()),
            Some(to) if *to == self.from => return invalid(format!("{to} is the primary already")),
            Some(to) => match policy.members.get(to) {
                None => return invalid(format!("{} has no member of the group", cut(to.as_str(), NAME_MAX))),
                Some(member) if !member.is_candidate => return invalid(format!("{to} is never promoted, by the plan")),
                Some(_) => {}
            },
            None => {}
        }
        if self.kind == Kind::Switchover && self.grounds.is_some() {
            return Err(wrong(Rule::Invalid, "a lost primary hands nothing over", "decide a failover"));
        }
        if self.setback.is_some() && (self.kind == Kind::Failover || self.grounds.is_some()) {
            return Err(wrong(Rule::Invalid, "what a setback takes back goes back by a switchover", "decide a switchover"));
        }
        let rounds = self.grounds.as_ref().map_or(0, |grounds| grounds.rounds.len().max(grounds.attestations.len()));
        count("rounds, attestations or guards in a decision", rounds.max(self.guards.len()), GROUNDS_MAX)?;
        let attesting = self.grounds.iter().flat_map(|grounds| grounds.attestations.keys());
        attesting.map(Label::as_str).try_for_each(|region| name("a region that attests", region))?;
        self.guards.iter().try_for_each(|guard| line("a guard", guard, AUDIT_TEXT_MAX))
    }
}

/// Where in the log a step stands.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) index: u64,
    pub(super) at: Timestamp,
    /// The token that the step gives, if it gives one.
    pub(super) token: Token,
    /// Who proposed it.
    pub(super) who: &'a str,
    /// The reason given; empty: none was needed.
    pub(super) why: &'a str,
}

impl At<'_> {
    fn mark(self, phase: Phase, text: String) -> Mark {
        Mark { phase, index: self.index, at: self.at, text }
    }

    fn held(self, reason: HeldFor, text: &str) -> Held {
        Held { reason, text: cut(text, AUDIT_TEXT_MAX), at: self.at }
    }

    /// A grant by the plan in force. `before`: the grant that its holder may still count by. `above`: the newest timeline that there may be.
    pub(super) fn grant(self, policy: &Policy, region: &Label, class: Class, before: Option<&Grant>, above: u32) -> Grant {
        let standbys: BTreeSet<Label> = policy.others(region).cloned().collect();
        let kept = before.filter(|before| before.region == *region);
        let durability = match policy.durability {
            crate::model::group::Durability::RemoteQuorum if !standbys.is_empty() => {
                Durability::Quorum { standbys: standbys.clone(), acknowledging: 1 }
            }
            _ => Durability::Async,
        };
        Grant {
            token: self.token,
            region: region.clone(),
            ttl: policy.ttl,
            margin: policy.margin,
            longest: kept.map_or(policy.ttl, |before| before.longest.max(policy.ttl)),
            class,
            is_attested: true,
            durability,
            on_control_loss: policy.on_control_loss,
            // Who counts by the grant before it asks those; so whoever promises must be among both.
            peers: kept.map_or_else(|| standbys.clone(), |before| before.peers.intersection(&standbys).cloned().collect()),
            above,
        }
    }

    fn adopt(self, mut group: Group, policy: &Policy, primary: &Label, system: u64, timeline: u32, class: Class) -> Result<Group, Refusal> {
        if let Some(grant) = &group.grant {
            let text = format!("{} is the primary", grant.region);
            return Err(wrong(Rule::AlreadyAdopted, text, "move it: portolan switchover GROUP --to REGION"));
        }
        if !policy.members.contains_key(primary) {
            let text = format!("{} has no member of the group", cut(primary.as_str(), NAME_MAX));
            return Err(wrong(Rule::Invalid, text, "name a member"));
        }
        group.token = self.token;
        // It runs already, and nobody has seen it start under what its agent says.
        group.grant = Some(Grant { is_attested: false, ..self.grant(policy, primary, class, None, timeline) });
        (group.system, group.since, group.forks) = (system, timeline, Vec::new());
        group.absent = policy.others(primary).cloned().collect();
        Ok(group)
    }

    pub(super) fn note(self, operation: &mut Operation, text: String) {
        if operation.marks.len() == MARKS_MAX {
            // The decision stays; what is dropped is in the audit chain.
            operation.marks.remove(1);
        }
        operation.marks.push(self.mark(operation.phase, cut(&text, AUDIT_TEXT_MAX)));
    }

    fn promote(self, mut group: Group, policy: &Policy, class: Class) -> Result<Group, Refusal> {
        let durability = group.durability();
        let operation = open(&mut group, None)?;
        let Some(chosen) = operation.chosen.clone().filter(|_| operation.phase == Phase::Chosen) else {
            return Err(wrong_phase(operation, "nobody is chosen"));
        };
        if let Some(text) = operation.gate(&durability, policy.rpo_target) {
            return Err(rpo_gate(text));
        }
        let theirs = operation.sealed.get(&chosen.choice.region).map_or(0, |copy| copy.timeline);
        (operation.phase, operation.held) = (Phase::Promoting, None);
        self.note(operation, format!("promoting {}", chosen.choice.region));
        let above = newest(&group, None).max(theirs);
        group.token = self.token;
        let grant = self.grant(policy, &chosen.choice.region, class, None, above);
        // A new primary acknowledges nothing alone (O11).
        let durability = if holds(Key::SyncKeep) { grant.durability.clone() } else { Durability::Async };
        group.grant = Some(Grant { durability, ..grant });
        group.absent = policy.others(&chosen.choice.region).cloned().collect();
        Ok(group)
    }

    fn cancel(self, mut group: Group, policy: &Policy, id: u64, class: Class, is_by_a_person: bool) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        if !operation.phase.is_before_promoting() {
            let text = format!("op-{} is {}: another grant was committed", operation.id, operation.phase);
            return Err(wrong(Rule::PointOfNoReturn, text, "switch over when it is done: portolan switchover GROUP --to REGION"));
        }
        if is_by_a_person {
            let is_no = operation.phase == Phase::Proposed;
            self.remember(operation, if is_no { Deed::Rejected } else { Deed::Cancelled });
        }
        if operation.phase == Phase::Proposed {
            // A person who has said no is not asked the same again after three rounds.
            let cool_down = is_by_a_person.then(|| self.at + policy.cool_down);
            return Ok(self.close(group, Ending::Rejected, cool_down));
        }
        if operation.phase == Phase::Announced {
            return Ok(self.close(group, Ending::Cancelled, None));
        }
        let is_stopped = matches!(operation.fence, Some(Fence::Confirmed { .. } | Fence::Waited | Fence::Stopped));
        let grant = group.grant.take();
        if !holds(Key::CancelNew) {
            group.token = grant.as_ref().map_or(group.token, |grant| grant.token);
            group.grant = grant;
            return Ok(self.close(group, Ending::Cancelled, None));
        }
        let region = grant.as_ref().map_or_else(|| policy.primary.clone(), |grant| grant.region.clone());
        let above = newest(&group, grant.as_ref());
        let mut next = self.grant(policy, &region, class, grant.as_ref(), above);
        // Unless it was stopped it may run on, as it did under the grant before.
        next.is_attested = is_stopped || goes_on(grant.as_ref(), class);
        group.grant = Some(next);
        group.token = self.token;
        group.absent = policy.others(&region).cloned().collect();
        Ok(self.close(group, Ending::Cancelled, None))
    }

    pub(super) fn close(self, mut group: Group, ending: Ending, cool_down: Option<Timestamp>) -> Group {
        if let Some(mut operation) = group.operation.take() {
            self.note(&mut operation, format!("closed, {ending}"));
            group.remember(Closed { operation, ending, at: self.at, setback: None, told: None, aside: BTreeMap::new() });
            group.cool_down = cool_down;
        }
        group
    }

    /// The steps that give no token but one, and need no more than the group.
    fn go_on(self, mut group: Group, policy: &Policy, step: &Step) -> Result<Group, Refusal> {
        match step {
            Step::Release { .. } => {
                group.cool_down = None;
                return Ok(group);
            }
            Step::Settle { .. } => return self.settle(group, policy),
            Step::Begin { operation, .. } => return self.begin(group, *operation),
            Step::Followed { region, .. } => return followed(group, region),
            Step::Reclone { region, .. } => return reclone(group, policy, region),
            Step::Close { ending, .. } => return self.end(group, policy, *ending),
            Step::Choose { choice, loss, .. } => return self.choose(group, choice, *loss, step.to_string()),
            _ => {}
        }
        let wait_is_a_fence = group.wait_is_a_fence();
        let proven = group.operation.as_ref().map(|it| group.proven(policy, &it.from, self.at)).unwrap_or_default();
        let (system, above) = (group.system, newest(&group, group.grant.as_ref()));
        let operation = open(&mut group, None)?;
        let text = step.to_string();
        match step {
            Step::Hold { reason, text, .. } => {
                line("why it is held", text, AUDIT_TEXT_MAX)?;
                if operation.phase == Phase::Proposed || operation.held.as_ref().is_some_and(|held| held.reason == *reason) {
                    return Ok(group);
                }
                operation.held = Some(self.held(*reason, text));
            }
            Step::Fenced { proof, .. } => {
                if operation.phase != Phase::Decided || operation.kind != Kind::Failover && holds(Key::SwToken) {
                    return Err(wrong_phase(operation, "no fence is waited for"));
                }
                operation.fence = Some(match proof {
                    Proof::Confirmed { by } if by == AGENT || proven.contains(by) => Fence::Confirmed { by: by.clone() },
                    Proof::Confirmed { .. } => {
                        let text = "no drill has proved lately that this rung stops a primary there, so that it is advisory";
                        return Err(wrong(Rule::FenceUnproven, text, "wait for the lease, or portolan failover --assert-fenced"));
                    }
                    Proof::Waited if wait_is_a_fence => Fence::Waited,
                    Proof::Asserted if operation.asserted.is_some() => {
                        Fence::Asserted { who: operation.asserted.clone().unwrap_or_default() }
                    }
                    Proof::Waited | Proof::Asserted => {
                        let text = "the end of the lease proves nothing: its grant is not armed, and nobody answers for it";
                        return Err(wrong(Rule::FenceUnproven, text, "fence it, or portolan failover --assert-fenced"));
                    }
                });
                (operation.phase, operation.held) = (Phase::Fenced, None);
                if let Proof::Confirmed { by } = proof {
                    self.note(operation, text);
                    let region = operation.from.clone();
                    self.note_cut(&mut group, policy, &region, by);
                    return Ok(group);
                }
            }
            Step::Stopped { stopped, .. } => {
                if operation.phase != Phase::Decided || operation.kind != Kind::Switchover {
                    return Err(wrong_phase(operation, "no hand-over token is waited for"));
                }
                check_system(stopped.system, system)?;
                (operation.stopped, operation.fence) = (Some(*stopped), Some(Fence::Stopped));
                (operation.phase, operation.held) = (Phase::Fenced, None);
            }
            Step::Sealed { copy, .. } => {
                if operation.phase != Phase::Fenced {
                    return Err(wrong_phase(operation, "no copies are collected"));
                }
                let member = policy.members.get(&copy.region).filter(|_| copy.region != operation.from);
                let Some(member) = member else {
                    let text = format!("{} is no standby of the group", cut(copy.region.as_str(), NAME_MAX));
                    return Err(wrong(Rule::Invalid, text, "name a member that is not replaced"));
                };
                let priority = copy.priority.filter(|_| member.is_candidate).map(|_| member.priority);
                let copy = Sealed { priority, ..copy.clone() };
                if operation.sealed.get(&copy.region) == Some(&copy) {
                    return Ok(group);
                }
                operation.sealed.insert(copy.region.clone(), copy);
            }
            Step::Revoke { .. } => {
                let Some(chosen) = operation.chosen.take().filter(|_| operation.phase == Phase::Promoting) else {
                    return Err(wrong_phase(operation, "no candidate is waited for"));
                };
                (operation.to, operation.kind) = (None, Kind::Failover);
                (operation.phase, operation.held) = (Phase::Fenced, None);
                if holds(Key::Ambig) {
                    (operation.from, operation.phase) = (chosen.choice.region, Phase::Decided);
                }
                (operation.fence, operation.stopped, operation.asserted) = (None, None, None);
                // Others are collected then, and what is missing is another question.
                operation.waiver = Waiver::default();
                operation.sealed.clear();
                self.note(operation, text);
                // It may have opened: then it is on the next timeline at least, and what went on from here is the line.
                fork(&mut group, Fork { timeline: above.saturating_add(1), at: chosen.choice.position });
                group.token = self.token;
                return Ok(group);
            }
            Step::Promoted { timeline, at, .. } => {
                let Some(chosen) = operation.chosen.clone().filter(|_| operation.phase == Phase::Promoting) else {
                    return Err(wrong_phase(operation, "no candidate is waited for"));
                };
                if *timeline <= above || *at > chosen.choice.position {
                    let text = format!("timeline {timeline} from {at} does not go on from {} on timeline {above}", chosen.choice.position);
                    return Err(wrong(Rule::Invalid, text, "look at the candidate: it is not what was sealed"));
                }
                (operation.phase, operation.held) = (Phase::Promoted, None);
                self.note(operation, text);
                fork(&mut group, Fork { timeline: *timeline, at: *at });
                return Ok(group);
            }
            Step::Verified { .. } if operation.phase == Phase::Promoted => (operation.phase, operation.held) = (Phase::Verified, None),
            Step::Routed { .. } if operation.phase == Phase::Verified => (operation.phase, operation.held) = (Phase::Routed, None),
            _ => return Err(wrong_phase(operation, "it is not its time")),
        }
        self.note(operation, text);
        Ok(group)
    }

    /// Every node chooses by itself and compares (O5 to O7).
    fn choose(self, mut group: Group, choice: &Choice, loss: Bracket, text: String) -> Result<Group, Refusal> {
        let ours = group.choose();
        let operation = open(&mut group, None)?;
        if operation.phase != Phase::Fenced {
            return Err(wrong_phase(operation, "nobody is to be chosen"));
        }
        let differs = |text: String| wrong(Rule::ChoiceDiffers, text, "choose among what is sealed");
        let ours = ours.map_err(|why| differs(format!("nobody can be chosen: {why}")))?;
        if ours != *choice {
            return Err(differs(format!("{} is to be chosen, not {}", ours.region, choice.region)));
        }
        if let Some(stopped) = operation.stopped {
            check_hand_over(operation, stopped, choice.position)?;
        }
        operation.chosen = Some(Chosen { choice: ours, loss });
        (operation.phase, operation.held) = (Phase::Chosen, None);
        self.note(operation, text);
        Ok(group)
    }

    fn begin(self, mut group: Group, id: u64) -> Result<Group, Refusal> {
        let operation = open(&mut group, Some(id))?;
        if operation.phase != Phase::Announced {
            return Err(wrong_phase(operation, "it was not announced, or has begun"));
        }
        operation.phase = Phase::Decided;
        self.note(operation, "begun: names lead to it for a short time only".to_owned());
        group.token = self.token;
        Ok(group)
    }

    fn end(self, mut group: Group, policy: &Policy, ending: Ending) -> Result<Group, Refusal> {
        let operation = open(&mut group, None)?;
        let is_its_time = match ending {
            Ending::Succeeded => operation.phase == Phase::Routed,
            Ending::FailedAfterPromotion => operation.phase > Phase::Promoting,
            Ending::Rejected => operation.phase == Phase::Proposed,
            Ending::Cancelled | Ending::Abandoned => false,
        };
        if !is_its_time {
            return Err(wrong_phase(operation, &format!("it does not end as {ending}")));
        }
        let cools = ending == Ending::Succeeded && !group.absent.is_empty();
        let cool_down = cools.then(|| self.at + policy.cool_down);
        Ok(self.close(group, ending, cool_down))
    }
}

/// The grant, which the group's last token gave.
pub(super) fn in_force(group: &mut Group) -> Result<&mut Grant, Refusal> {
    let token = group.token;
    let grant = group.grant.as_mut().filter(|grant| grant.token == token);
    grant.ok_or_else(|| wrong(Rule::ExpectedEpoch, "no grant is in force", "nothing: an operation decides who writes"))
}

/// Whether what a running database is held by was relied on before, and is the same.
pub(super) fn goes_on(before: Option<&Grant>, class: Class) -> bool {
    before.is_some_and(|before| before.is_attested && before.class == class)
}

/// The newest timeline that anybody of the group can be on.
pub(super) fn newest(group: &Group, grant: Option<&Grant>) -> u32 {
    let known = group.forks.last().map_or(group.since, |fork| fork.timeline);
    grant.map_or(known, |grant| grant.above.max(known))
}

fn fork(group: &mut Group, fork: Fork) {
    if group.forks.len() == FORKS_MAX {
        group.since = group.forks.remove(0).timeline;
    }
    group.forks.push(fork);
}

pub(super) fn open(group: &mut Group, id: Option<u64>) -> Result<&mut Operation, Refusal> {
    let operation = group.operation.as_mut().filter(|it| id.is_none_or(|id| id == it.id));
    operation.ok_or_else(|| {
        let text = id.map_or_else(|| "no operation is open".to_owned(), |id| format!("op-{id} is not open"));
        wrong(Rule::NoOperation, text, "see portolan status")
    })
}

fn check_system(theirs: u64, ours: u64) -> Result<(), Refusal> {
    if theirs == ours {
        return Ok(());
    }
    let text = format!("it is of database {theirs}, and the group is database {ours}");
    Err(wrong(Rule::Invalid, text, "look at the member: it is another database"))
}

/// Whether the chosen copy has all that the old primary had when it stopped.
fn check_hand_over(operation: &Operation, stopped: Stopped, position: u64) -> Result<(), Refusal> {
    if position >= stopped.position {
        return Ok(());
    }
    let text = format!("the copy ends at {position}, and the old primary stopped at {}", stopped.position);
    Err(wrong_phase(operation, &text))
}

impl super::state::State {
    /// A lost majority was left behind: nobody knows what it granted, so every group waits to be adopted anew.
    pub(super) fn abandon_groups(&mut self, index: u64, at: Timestamp) {
        let token = Token { generation: self.generation, epoch: index };
        for group in self.groups.values_mut() {
            let before = std::mem::take(group);
            let here = At { index, at, token, who: "", why: "" };
            let mut closed = here.close(before, Ending::Abandoned, None);
            here.interrupt_drill(&mut closed, "the majority that ran it is lost");
            let drills = std::mem::take(&mut closed.drills);
            *group = Group { token, latest: closed.latest, earlier: closed.earlier, drills, ..Group::default() };
        }
    }

    /// The group as it is from now on. Of all drills that ended, and of all operations that ended and were not the last of their groups the oldest leave, as many as are too
    /// many.
    pub(super) fn put_group(&mut self, name: Label, group: Group) {
        self.groups.insert(name, group);
        let mut ids: Vec<u64> = self.groups.values().flat_map(|group| &group.earlier).map(|closed| closed.operation.id).collect();
        if ids.len() > EARLIER_MAX {
            ids.sort_unstable();
            let oldest_kept = ids[ids.len() - EARLIER_MAX];
            for group in self.groups.values_mut() {
                group.earlier.retain(|closed| closed.operation.id >= oldest_kept);
            }
        }
        let mut ids: Vec<u64> = self.groups.values().flat_map(|group| &group.drills.ended).map(|ended| ended.drill.id).collect();
        if ids.len() > DRILLS_MAX {
            ids.sort_unstable();
            let oldest_kept = ids[ids.len() - DRILLS_MAX];
            for group in self.groups.values_mut() {
                group.drills.ended.retain(|ended| ended.drill.id >= oldest_kept);
            }
        }
    }
}
