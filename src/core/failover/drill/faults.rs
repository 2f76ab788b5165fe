//! What goes wrong, and what people do.

use super::{
    net::{Lines, REGIONS, Region},
    setup::LITTLE,
    world::{World, entry, step},
};
use crate::{
    cluster::Change,
    failover::{
        evidence::Evidence,
        grounds::{Attestation, Grounds},
        group::{Kind, Phase},
        keys::{Key, holds},
        lease::Class,
        step::{Decide, Step},
    },
    model::time::Timestamp,
};

/// How often what happens: percent for messages and tasks, weights for the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// The longest pause between two of them, in true microseconds.
    pub(super) pace: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
    /// The same for orders to lead.
    pub(super) late_leads: u64,
    /// How late at most, in true microseconds.
    pub(super) late_max: u64,
    /// Tasks that take seconds.
    pub(super) slow: u64,
    pub(super) cut: u64,
    pub(super) elect: u64,
    pub(super) crash: u64,
    pub(super) agent: u64,
    pub(super) pause: u64,
    pub(super) supervisor: u64,
    pub(super) decide: u64,
    pub(super) switchover: u64,
    pub(super) cancel: u64,
    pub(super) assert: u64,
    pub(super) plan: u64,
    /// A cut that ends by itself, after so many true microseconds at the most.
    pub(super) blink: u64,
    pub(super) blink_max: u64,
    /// One region alone does not see what is so.
    pub(super) blind: u64,
    /// The primary's database ends, and does not come up.
    pub(super) sicken: u64,
    /// Other figures of what would be lost.
    pub(super) estimate: u64,
}

impl Faults {
    pub(super) const ALL: Self = Self {
        pace: 8_000_000,
        late_leads: 5,
        late_max: 12_000_000,
        doubled: 10,
        late: 5,
        slow: 15,
        cut: 4,
        elect: 2,
        crash: 2,
        agent: 2,
        pause: 2,
        supervisor: 1,
        decide: 4,
        switchover: 2,
        cancel: 2,
        assert: 1,
        plan: 1,
        blink: 0,
        blink_max: 29_000_000,
        blind: 0,
        sicken: 0,
        estimate: 0,
    };

    pub(super) const NONE: Self = Self {
        pace: 2_000_000,
        late_leads: 0,
        late_max: 12_000_000,
        doubled: 0,
        late: 0,
        slow: 0,
        cut: 0,
        elect: 0,
        crash: 0,
        agent: 0,
        pause: 0,
        supervisor: 0,
        decide: 0,
        switchover: 0,
        cancel: 0,
        assert: 0,
        plan: 0,
        blink: 0,
        blink_max: 29_000_000,
        blind: 0,
        sicken: 0,
        estimate: 0,
    };
}

impl World {
    pub(super) fn fault(&mut self) {
        let faults = self.setup.faults;
        // One cut at a time, where each is to be short.
        if faults.blink > 0 && !self.has_settled() {
            return;
        }
        type Act = fn(&mut World);

        let kinds: [(u64, Act); 15] = [
            (faults.cut, Self::cut),
            (faults.elect, Self::elect_anew),
            (faults.crash, Self::crash_or_boot),
            (faults.agent, Self::agent_dies_or_starts),
            (faults.pause, Self::agent_pauses_or_goes_on),
            (faults.supervisor, Self::supervisor_dies_or_starts),
            (faults.decide, Self::decide),
            (faults.switchover, Self::switch_over),
            (faults.cancel, Self::cancel),
            (faults.assert, Self::assert_stopped),
            (faults.plan, Self::another_plan),
            (faults.blink, Self::blink),
            (faults.blind, Self::blind),
            (faults.sicken, Self::sicken),
            (faults.estimate, Self::estimate_anew),
        ];
        let mut drawn = self.chance.below(kinds.iter().map(|(weight, _)| weight).sum());
        for (weight, act) in kinds {
            if drawn < weight {
                return act(self);
            }
            drawn -= weight;
        }
    }

    /// Everything is put in order; held operations wait for a person, who may not come.
    pub(super) fn mend(&mut self) {
        (self.lines, self.setup.faults) = (Lines::default(), Faults::NONE);
        (self.blind, self.loss) = (None, LITTLE);
        for region in REGIONS {
            if !self.hosts[region.0].is_up {
                self.boot(region);
            }
            if self.setup.supervised[region.0] && self.hosts[region.0].supervisor.is_none() && self.hosts[region.0].database.is_some() {
                self.supervise(region, true);
            }
            if self.hosts[region.0].agent.is_none() {
                self.start_agent(region);
            }
            self.resume(region);
            self.hosts[region.0].is_sick = false;
        }
        self.note(|| "everything is put in order".to_owned());
    }

    fn cut(&mut self) {
        self.lines = if self.chance.percent(35) { Lines::default() } else { Lines::shape(&mut self.chance) };
        let lines = self.lines;
        self.note(|| format!("{lines:?}"));
    }

    fn elect_anew(&mut self) {
        let able: Vec<Region> = REGIONS.into_iter().filter(|region| self.has_majority(*region)).collect();
        if !able.is_empty() {
            let new = self.chance.pick(&able);
            self.elect(new);
        }
    }

    fn crash_or_boot(&mut self) {
        match REGIONS.into_iter().find(|region| !self.hosts[region.0].is_up) {
            Some(down) => self.boot(down),
            None => {
                let one = self.chance.pick(&REGIONS);
                self.crash(one);
            }
        }
    }

    fn agent_dies_or_starts(&mut self) {
        let one = self.chance.pick(&REGIONS);
        if self.hosts[one.0].agent.is_some() {
            self.end_agent(one);
        } else {
            self.start_agent(one);
        }
    }

    fn agent_pauses_or_goes_on(&mut self) {
        let one = self.chance.pick(&REGIONS);
        if self.hosts[one.0].is_paused {
            self.resume(one);
        } else {
            self.hosts[one.0].is_paused = true;
        }
        let is_paused = self.hosts[one.0].is_paused;
        self.note(|| format!("the agent of {one:?} {}", if is_paused { "pauses" } else { "goes on" }));
    }

    fn supervisor_dies_or_starts(&mut self) {
        let one = self.chance.pick(&REGIONS);
        if self.hosts[one.0].database.is_none() || !self.hosts[one.0].is_up || !self.setup.supervised[one.0] {
            return;
        }
        let is_there = self.hosts[one.0].supervisor.is_some();
        if is_there && holds(Key::SupDie) {
            self.kill(one);
        }
        self.supervise(one, !is_there);
        self.note(|| format!("the supervisor of {one:?} {}", if is_there { "dies" } else { "starts" }));
    }

    /// Somebody asks the leader, if there is one.
    fn order(&mut self, make: impl FnOnce(&Self) -> Option<Step>) {
        let Some(leader) = self.leader else { return };
        if let Some(ordered) = make(self) {
            let (term, entry) = (self.term, step(self.now, ordered));
            self.propose(leader, term, entry);
        }
    }

    fn decide(&mut self) {
        let at = entry(self.now, Change::Expire).at;
        self.order(|world| {
            let rounds = (0..3).map(|i| Timestamp(at.0 - 15_000 * (2 - i))).collect();
            let attestations = REGIONS.iter().map(|region| (region.label(), Attestation::Failing)).collect();
            let grounds = Grounds { evidence: Evidence::Isolated, impact: at, detected: at, rounds, attestations };
            world.decision(Kind::Failover, None, Some(grounds))
        });
    }

    fn switch_over(&mut self) {
        let to = self.chance.pick(&REGIONS);
        self.order(|world| {
            let is_good = world.hosts[to.0].database.is_some() && world.group().primary().is_some_and(|primary| *primary != to.label());
            if is_good { world.decision(Kind::Switchover, Some(to), None) } else { None }
        });
    }

    fn decision(&self, kind: Kind, to: Option<Region>, grounds: Option<Grounds>) -> Option<Step> {
        let group = self.group();
        Some(Step::Decide(Box::new(Decide {
            token: group.token,
            kind,
            from: group.primary()?.clone(),
            to: to.map(Region::label),
            plan_revision: self.state.plan().map_or(0, |it| it.plan.revision),
            estimate: self.loss,
            allowed_loss: None,
            grounds,
            drill: None,
            setback: None,
            guards: Vec::new(),
        })))
    }

    /// A person ends it, or does what its hold offers.
    fn cancel(&mut self) {
        self.order(|world| {
            let group = world.group();
            let operation = group.operation.as_ref()?;
            let turn = operation.kind == Kind::Switchover && operation.held.is_some() && world.now.is_multiple_of(2);
            if turn {
                return Some(Step::Turn { token: group.token, operation: operation.id });
            }
            if operation.held.is_some() && world.now.is_multiple_of(3) {
                return Some(Step::Retry { token: group.token, operation: operation.id });
            }
            let agent = world.hosts[Region::of(&operation.from).0].agent.as_ref();
            let class = agent.map_or(Class::Bare, crate::failover::agent::Agent::class);
            Some(Step::Cancel { token: group.token, operation: operation.id, class })
        });
    }

    /// A person answers for an old primary that is armed, or on a host that is down: what is more is the accepted risk.
    fn assert_stopped(&mut self) {
        self.order(|world| {
            let group = world.group();
            let operation = group.operation.as_ref().filter(|it| it.phase == Phase::Decided)?;
            let is_fair = world.setup.wrong_assertions || group.wait_is_a_fence() || !world.hosts[Region::of(&operation.from).0].is_up;
            is_fair.then(|| Step::Assert { token: group.token, operation: operation.id, region: operation.from.clone() })
        });
    }

    fn another_plan(&mut self) {
        let ttl = self.chance.between(5, 16);
        let revision = self.state.plan().map_or(0, |it| it.plan.revision) + 1;
        if let Some(leader) = self.leader {
            let (term, entry) = (self.term, self.setup.plan(self.now, revision, ttl));
            self.propose(leader, term, entry);
        }
    }
}
