//! What must hold after every event, by the names that the checked protocol gives it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    database::Run,
    net::{REGIONS, Region},
    setup::RPO,
    watch::DETECTOR,
    world::World,
};
use crate::{
    cluster::{Refusal, Rule},
    failover::{
        choose::Durability,
        evidence::Evidence,
        group::{Fence, Group, Kind, Origin, Phase},
        token::Token,
    },
    recovery::exposure::Bracket,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Proof {
    /// What does not hold; `None`: all does.
    pub(super) broken: Option<String>,
    /// The highest token that each agent has ever acted on, whatever it remembers.
    seen: [Token; 3],
    /// Every grant that was committed.
    granted: Vec<(Token, Region)>,
    /// The highest token by which anything was opened.
    top: Token,
    acknowledged: BTreeSet<u32>,
    /// What the last one had when it was opened.
    base: Vec<u32>,
    pub(super) n_promotions: usize,
    pub(super) n_decisions: usize,
    /// Operations that the detector decided, or proposed to a person.
    detected: BTreeSet<u64>,
    /// How many of those it decided, by what they stand on.
    pub(super) detected_by: BTreeMap<Evidence, usize>,
    /// And how many it proposed to a person.
    pub(super) n_doubted: usize,
    pub(super) n_detected_promotions: usize,
}

impl Proof {
    fn breaks(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert_with(|| what.into());
    }

    fn committed(&mut self, before: &Group, after: &Group) {
        let of = |group: &Group| group.grant.as_ref().map(|grant| (grant.token, Region::of(&grant.region)));
        if let Some(grant) = of(after).filter(|grant| of(before) != Some(*grant)) {
            self.granted.push(grant);
            let is_first = self.top == Token::default();
            if is_first {
                self.top = grant.0;
            }
        }
        let phase = |group: &Group| group.operation.as_ref().map(|it| it.phase);
        self.n_promotions += usize::from(phase(after) == Some(Phase::Promoted) && phase(before) == Some(Phase::Promoting));
        self.n_decisions += usize::from(phase(after) == Some(Phase::Decided) && phase(before) != Some(Phase::Decided));
    }

    /// What the detector decided, and what nobody but a person may promote: more would be lost than the plan allows, or nobody knows how much.
    fn decided(&mut self, before: &Group, after: &Group, by: &str) {
        let Some(operation) = &after.operation else { return };
        let was = before.operation.as_ref().map(|it| it.phase);
        if was.is_none() && by == DETECTOR {
            let evidence = operation.grounds.as_ref().map_or(Evidence::Unknown, |grounds| grounds.evidence);
            match operation.phase {
                Phase::Proposed => self.n_doubted += 1,
                _ => *self.detected_by.entry(evidence).or_default() += 1,
            }
            self.detected.insert(operation.id);
        }
        if operation.phase == Phase::Promoted && was == Some(Phase::Promoting) {
            self.n_detected_promotions += usize::from(self.detected.contains(&operation.id));
        }
        let is_promoted = operation.phase == Phase::Promoting && was != Some(Phase::Promoting);
        if !is_promoted || operation.origin != Origin::Automatic {
            return;
        }
        let is_too_much = |loss: &Bracket| loss.high.is_none_or(|high| high > RPO);
        if is_too_much(&operation.estimate) {
            self.breaks(format!("R3: op-{} promotes, and it was decided when {} would be lost", operation.id, operation.estimate));
        }
        // A quorum has what was acknowledged, so that nothing of it can be lost.
        let chosen = operation.chosen.as_ref().filter(|_| before.durability() == Durability::Async);
        if let Some(chosen) = chosen.filter(|chosen| is_too_much(&chosen.loss)) {
            self.breaks(format!("R3: op-{} promotes, and {} are lost", operation.id, chosen.loss));
        }
    }

    /// What the detector wants was refused. Too much that would be lost is a person's to allow, who would hear of nothing.
    pub(super) fn refused(&mut self, by: &str, refusal: &Refusal) {
        if by == DETECTOR && refusal.rule == Rule::RpoGate {
            self.breaks(format!("R3: the detector decides what it may not: {refusal}"));
        }
    }

    /// A database that wrote is killed.
    pub(super) fn killed(&mut self, calm: Option<&str>, region: Region) {
        if let Some(rule) = calm {
            self.breaks(format!("{rule}: {region:?} fences itself"));
        }
    }

    /// An agent takes something up.
    pub(super) fn obeyed(&mut self, region: Region, token: Token) {
        if token < self.seen[region.0] {
            self.breaks(format!("I3: {region:?} obeys {token} after {}", self.seen[region.0]));
        }
        self.saw(region, token);
    }

    pub(super) fn saw(&mut self, region: Region, token: Token) {
        self.seen[region.0] = self.seen[region.0].max(token);
    }

    /// A task acts.
    pub(super) fn effect(&mut self, region: Region, token: Token) {
        if token < self.seen[region.0] {
            self.breaks(format!("I3: {region:?} acts by {token} after {}", self.seen[region.0]));
        }
    }
}

impl World {
    /// Something was committed about the group, by somebody of this name.
    pub(super) fn committed(&mut self, before: &Group, after: &Group, by: &str) {
        self.proof.committed(before, after);
        self.proof.decided(before, after, by);
        if let (Some(rule), Some(operation)) = (self.setup.calm, &after.operation) {
            self.proof.breaks(format!("{rule}: op-{} is {}", operation.id, operation.phase));
        }
    }

    /// A client of the primary's own region wants to write.
    pub(super) fn ask_at_home(&mut self) {
        let Some((rule, primary)) = self.setup.calm.zip(self.group().primary().map(Region::of)) else { return };
        let host = &self.hosts[primary.0];
        if !host.is_up || host.database.as_ref().is_none_or(|it| it.run != Run::Writes) {
            self.proof.breaks(format!("{rule}: a client in {primary:?} is refused"));
        }
    }

    pub(super) fn prove(&mut self) {
        let writes = |region: &Region| {
            let host = &self.hosts[region.0];
            host.is_up && host.database.as_ref().is_some_and(|it| it.run == Run::Writes)
        };
        if self.setup.wrong_assertions {
            return;
        }
        if REGIONS.iter().filter(|region| writes(region)).count() > 1 {
            self.proof.breaks("I1: two write");
        }
        let holds_lease = |region: &&Region| {
            let host = &self.hosts[region.0];
            let now = host.clock.at(self.now);
            host.is_up && host.supervisor.is_some() && host.agent.as_ref().is_some_and(|agent| agent.holder().is_live(now))
        };
        if REGIONS.iter().filter(holds_lease).count() > 1 {
            self.proof.breaks("I0: two hold a lease");
        }
        let group = self.group();
        if let Some(operation) = &group.operation
            && (Phase::Fenced..=Phase::Promoting).contains(&operation.phase)
            && !matches!(operation.fence, Some(Fence::Asserted { .. }))
            && group.in_force().is_none_or(|grant| grant.region != operation.from)
            && writes(&Region::of(&operation.from))
        {
            self.proof.breaks("I1c: the old primary writes after its fence was committed");
        }
    }

    /// A database was opened for writes.
    pub(super) fn opened(&mut self, region: Region, token: Token) {
        let writes = self.hosts[region.0].database.as_ref().map(|it| it.writes.clone()).unwrap_or_default();
        let operation = self.group().operation.clone();
        let proof = &mut self.proof;
        if !proof.granted.contains(&(token, region)) {
            proof.breaks(format!("I2: {region:?} opens by {token}, which was never granted to it"));
        }
        if token < proof.top {
            proof.breaks(format!("I1b: {region:?} opens by {token} after {}", proof.top));
        }
        proof.top = proof.top.max(token);
        let common = writes.iter().zip(&proof.base).take_while(|(a, b)| a == b).count();
        if common < writes.len().min(proof.base.len()) {
            proof.breaks(format!("I8: {region:?} is out of the line of the last one to open"));
        }
        let have: BTreeSet<u32> = writes.iter().copied().collect();
        let lost: Vec<u32> = proof.acknowledged.difference(&have).copied().collect();
        let is_planned = operation.is_some_and(|it| it.kind == Kind::Switchover && it.phase == Phase::Promoting);
        if !lost.is_empty() && self.setup.quorum {
            proof.breaks(format!("I6: {lost:?} were acknowledged, and {region:?} opens without them"));
        } else if !lost.is_empty() && is_planned {
            proof.breaks(format!("I7: {lost:?} were acknowledged, and a switchover to {region:?} loses them"));
        }
        proof.acknowledged.retain(|write| have.contains(write));
        proof.base = writes;
    }

    /// A client is told that its write is done.
    pub(super) fn acknowledge(&mut self, region: Region, write: u32) {
        if self.proof.acknowledged.insert(write) && self.hosts[region.0].opened_by < self.proof.top {
            let (by, top) = (self.hosts[region.0].opened_by, self.proof.top);
            self.proof.breaks(format!("I1b: {region:?} acknowledges a write by {by} after {top} was opened"));
        }
    }

    /// The group is served, or a person has been told why not.
    pub(super) fn settled(&self) -> Result<(), String> {
        let group = self.group();
        if let Some(operation) = &group.operation {
            return if operation.held.is_some() { Ok(()) } else { Err(format!("not live: op-{} is {}", operation.id, operation.phase)) };
        }
        let Some(grant) = group.in_force() else { return Err("not live: no grant is in force".to_owned()) };
        let host = &self.hosts[Region::of(&grant.region).0];
        let is_served = host.database.as_ref().is_some_and(|it| it.run == Run::Writes) && host.opened_by == grant.token;
        if is_served { Ok(()) } else { Err(format!("not live: {} does not write by {}", grant.region, grant.token)) }
    }
}
