//! What must hold after every event, by the names that the checked protocol gives it.

use std::collections::BTreeSet;

use super::{
    database::Run,
    net::{REGIONS, Region},
    world::World,
};
use crate::failover::{
    group::{Fence, Group, Kind, Phase},
    token::Token,
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
}

impl Proof {
    fn breaks(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert_with(|| what.into());
    }

    pub(super) fn committed(&mut self, before: &Group, after: &Group) {
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
