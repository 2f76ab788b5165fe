//! Who leads the drill's consensus, what a leader knows and does, and what becomes of what it proposes.

use super::{
    net::{REGIONS, Region},
    setup::{Told, patience},
    world::{Daemon, Event, Mail, World, entry, group_name, step},
};
use crate::{
    cluster::{Change, Entry, Outcome},
    failover::{
        conduct::{Action, Conductor},
        keys::{Key, holds},
        lease::{Grant, Reply},
        order::{Order, Verb},
        step::Step,
        token::Token,
    },
};

impl World {
    pub(super) fn elect_if_needed(&mut self) {
        if let Some(leader) = self.leader
            && self.has_majority(leader)
        {
            return;
        }
        let able: Vec<Region> = REGIONS.into_iter().filter(|region| self.has_majority(*region)).collect();
        if !able.is_empty() {
            let new = self.chance.pick(&able);
            self.elect(new);
        }
    }

    pub(super) fn elect(&mut self, region: Region) {
        self.term += 1;
        self.leader = Some(region);
        for entry in std::mem::take(&mut self.pending) {
            if self.chance.percent(50) {
                self.append(&entry);
            }
        }
        // What was committed before it led it knows once an entry of its own term is.
        let applied = if holds(Key::Noop) {
            self.append(&entry(self.now, Change::Expire));
            self.after.len()
        } else {
            self.daemons[region.0].applied
        };
        let now = self.hosts[region.0].clock.at(self.now);
        self.daemons[region.0] = Daemon { applied, leads: Some((self.term, Conductor::new(patience(), now))), has_round: false };
        self.note(|| format!("{region:?} leads"));
    }

    pub(super) fn catch_up(&mut self, region: Region) {
        let Some(leader) = self.leader else { return };
        if region != leader && !self.reach(leader, region) || region == leader && !holds(Key::Noop) {
            return;
        }
        let all = self.after.len();
        let term = self.term;
        let daemon = &mut self.daemons[region.0];
        daemon.applied = all;
        if daemon.leads.as_ref().is_some_and(|(of, _)| *of != term) {
            daemon.leads = None;
            self.lookouts[region.0].step_down();
        }
    }

    pub(super) fn leader_turn(&mut self, region: Region) {
        if !self.hosts[region.0].is_up {
            return;
        }
        let agreed = self.seen_by(region).clone();
        let now = self.hosts[region.0].clock.at(self.now);
        let Some((term, conductor)) = &mut self.daemons[region.0].leads else { return };
        let term = *term;
        let actions = conductor.conduct(&group_name(), &agreed.group, &agreed.policy, &Told(self.loss), now);
        let mut round = None;
        if conductor.wants_round() && !self.daemons[region.0].has_round {
            round = self.daemons[region.0].leads.as_mut().map(|(_, conductor)| conductor.round_began());
        }
        if let Some(round) = round
            && term == self.term
            && self.has_majority(region)
        {
            self.daemons[region.0].has_round = true;
            let back = self.chance.between(10_000, 250_000);
            self.plan(back, Event::RoundEnds(region, term, round));
        }
        for action in actions {
            match action {
                Action::Propose(proposed) => self.propose(region, term, step(self.now, proposed)),
                Action::Send(to, order) => self.send(region, Region::of(&to), Mail::Order(order)),
            }
        }
    }

    pub(super) fn propose(&mut self, region: Region, term: u64, entry: Entry) {
        if let (Change::Group { step: Step::Promote { .. }, .. }, false) = (&entry.change, holds(Key::Commit)) {
            self.act_on_a_proposal(region);
        }
        let delay = self.chance.between(10_000, 250_000);
        self.plan(delay, Event::Commit(region, term, Box::new(entry)));
    }

    /// The rule `commit`, taken away: the candidate is told of a grant that is not there yet.
    fn act_on_a_proposal(&mut self, region: Region) {
        let group = self.seen_by(region).group.clone();
        let chosen = group.operation.as_ref().and_then(|it| it.chosen.clone());
        if let (Some(chosen), Some(grant)) = (chosen, group.grant) {
            let token = Token { epoch: self.after.len() as u64 + 1, ..group.token };
            let class = self.class(Region::of(&chosen.choice.region));
            let grant = Grant { token, region: chosen.choice.region.clone(), class, ..grant };
            self.rumoured = Some(grant.clone());
            self.send(region, Region::of(&chosen.choice.region), Mail::Order(Order { token, verb: Verb::Lead(grant) }));
        }
    }

    pub(super) fn commit(&mut self, region: Region, term: u64, entry: Box<Entry>) {
        if term == self.term && self.has_majority(region) {
            let outcome = self.append(&entry);
            self.daemons[region.0].applied = self.after.len();
            let now = self.hosts[region.0].clock.at(self.now);
            if let (Some((_, conductor)), Change::Group { step, .. }, Outcome::Rejected(_)) =
                (&mut self.daemons[region.0].leads, &entry.change, outcome)
            {
                conductor.refused(&group_name(), step, now);
                self.lookouts[region.0].refused(step, now);
            }
        } else if term == self.term {
            if self.chance.percent(50) {
                self.pending.push(*entry);
            } else {
                self.plan(500_000, Event::Commit(region, term, entry));
            }
        }
    }

    pub(super) fn round_ends(&mut self, region: Region, term: u64, round: u64) {
        self.daemons[region.0].has_round = false;
        let (rules, now) = (self.rules(region), self.hosts[region.0].clock.at(self.now));
        let Some((of, conductor)) = &mut self.daemons[region.0].leads else { return };
        if *of != term || !self.hosts[region.0].is_up {
            return;
        }
        let replies = conductor.round_ended(round, |_| Some(&rules), now);
        for (_, to, reply) in replies {
            let reply = if self.setup.drift.is_some() { reply } else { Reply { stamps: None, drifts: None, ..reply } };
            self.send(region, Region::of(&to), Mail::Reply(Reply { voters: self.voters_beside(), ..reply }));
        }
    }
}
