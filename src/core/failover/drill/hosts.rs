//! The hosts of the world: agents, supervisors and databases, and what agents have done to them.

use std::collections::BTreeSet;

use super::{
    database::Run,
    net::{REGIONS, Region},
    watch::Lookout,
    world::{Event, Mail, Supervisor, World},
};
use crate::{
    failover::{
        agent::{Agent, Effect, Task, Work},
        choose::Durability,
        keys::{Key, holds},
    },
    model::{ids::Label, time::Tick},
};

impl World {
    /// Regions of voters without a member, if their word counts.
    pub(super) fn voters_beside(&self) -> BTreeSet<Label> {
        let beside = REGIONS.into_iter().filter(|region| self.setup.asks_voters && self.hosts[region.0].database.is_none());
        beside.map(Region::label).collect()
    }

    pub(super) fn hear(&mut self, from: Region, to: Region, mail: Mail) {
        let now = self.hosts[to.0].clock.at(self.now);
        if let Mail::Ask(token, sequence) = mail
            && self.hosts[to.0].database.is_none()
        {
            // It has no member, and its voter answers.
            if self.seen_by(to).group.acknowledges(token) {
                self.send(to, from, Mail::Ack(token, sequence));
            }
            return;
        }
        let Some(agent) = &mut self.hosts[to.0].agent else { return };
        let effects = match mail {
            Mail::Order(order) => {
                if order.token >= agent.disk().highest || !holds(Key::Cmp) {
                    self.proof.obeyed(to, order.token);
                }
                agent.ordered(order, now)
            }
            Mail::Reply(reply) => {
                let effects = agent.answered(&reply, now);
                self.proof.saw(to, agent.disk().highest);
                effects
            }
            Mail::Ask(token, sequence) => {
                if agent.acknowledges(token) {
                    self.send(to, from, Mail::Ack(token, sequence));
                }
                return;
            }
            Mail::Ack(token, sequence) => agent.acknowledged(&from.label(), token, sequence, now),
            Mail::Answer(_) | Mail::Status(_) | Mail::Renewal(_) | Mail::View(_) | Mail::Question(_) | Mail::Attest(..) => return,
        };
        self.carry_out(to, effects);
    }

    pub(super) fn agent_turn(&mut self, region: Region) {
        let at = self.now;
        let host = &mut self.hosts[region.0];
        if !host.is_up || host.is_paused {
            return;
        }
        let now = host.clock.at(at);
        let (Some(agent), Some(database)) = (&mut host.agent, &host.database) else { return };
        let mut effects = agent.observed(database.facts(region, at), now);
        effects.extend(agent.advance(now));
        let status = (at >= host.told + 900_000).then(|| agent.status(now));
        self.carry_out(region, effects);
        let Some(status) = status else { return };
        self.hosts[region.0].told = at;
        if !self.setup.is_watched {
            return self.send_to_leader(region, Mail::Status(Box::new(status)));
        }
        for to in REGIONS {
            self.send(region, to, Mail::Status(Box::new(status.clone())));
        }
    }

    pub(super) fn carry_out(&mut self, region: Region, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Save(disk) => self.hosts[region.0].disk = disk,
                Effect::Tell(answer) => self.send_to_leader(region, Mail::Answer(answer)),
                Effect::Renew(request) => self.send_to_leader(region, Mail::Renewal(request)),
                Effect::AskPeers { token, sequence } => {
                    for peer in REGIONS.into_iter().filter(|peer| *peer != region) {
                        self.send(region, peer, Mail::Ask(token, sequence));
                    }
                }
                Effect::Arm(at) => self.arm(region, at),
                Effect::Kill => self.kill(region),
                Effect::Abort => self.hosts[region.0].tasks.1 += 1,
                Effect::HandOver(task) => self.hosts[region.0].handed = Some(task),
                Effect::Begin(task) => self.begin(region, task),
            }
        }
    }

    pub(super) fn arm(&mut self, region: Region, at: Tick) {
        let host = &mut self.hosts[region.0];
        let Some(supervisor) = &mut host.supervisor else { return };
        supervisor.deadline = Some(at);
        let incarnation = supervisor.incarnation;
        let after = host.clock.when(at).saturating_sub(self.now);
        self.plan(after, Event::Deadline(region, incarnation, at));
        let host = &mut self.hosts[region.0];
        let now = host.clock.at(self.now);
        if let Some(agent) = &mut host.agent {
            let effects = agent.armed(at, now);
            self.carry_out(region, effects);
        }
    }

    /// The supervisor's own kill.
    pub(super) fn deadline(&mut self, region: Region, incarnation: u64, at: Tick) {
        let host = &mut self.hosts[region.0];
        let is_due = host.supervisor.is_some_and(|it| it.incarnation == incarnation && it.deadline == Some(at));
        if host.is_up && is_due {
            self.kill(region);
        }
    }

    pub(super) fn kill(&mut self, region: Region) {
        let host = &mut self.hosts[region.0];
        host.tasks.0 += 1;
        if let Some(supervisor) = &mut host.supervisor {
            supervisor.deadline = None;
        }
        if let Some(database) = &mut host.database {
            let ran = database.run;
            database.kill();
            if ran == Run::Writes {
                self.proof.killed(self.setup.calm, region);
                self.note(|| format!("{region:?} is killed"));
            }
        }
    }

    pub(super) fn begin(&mut self, region: Region, task: Task) {
        let at = self.now;
        let host = &mut self.hosts[region.0];
        host.handed = None;
        let now = host.clock.at(self.now);
        let (Some(agent), Some(database)) = (&mut host.agent, &host.database) else { return };
        let opens = matches!(task.work, Work::Start | Work::Promote);
        if !agent.may(&task, opens, now) {
            let effects = agent.ended(&task, None, database.facts(region, at), now);
            return self.carry_out(region, effects);
        }
        let delay = if self.chance.percent(self.setup.faults.slow) {
            self.chance.between(500_000, 9_000_000)
        } else {
            self.chance.between(10_000, 400_000)
        };
        // What does not come up fails soon, and leaves nothing behind that may open later.
        let is_sick = self.hosts[region.0].is_sick && opens;
        let delay = if is_sick { delay.min(400_000) } else { delay };
        let tasks = self.hosts[region.0].tasks;
        self.plan(delay, Event::Lands(region, tasks, task));
    }

    pub(super) fn lands(&mut self, region: Region, (kills, tasks): (u64, u64), task: &Task) {
        let host = &self.hosts[region.0];
        let is_orphan = host.orphans == Some(tasks) && matches!(task.work, Work::Start | Work::Promote);
        if !host.is_up || host.tasks.0 != kills || host.tasks.1 != tasks && !is_orphan || host.database.is_none() {
            return;
        }
        // What an agent that died had asked to be started runs by now, by the next one's order: there is nothing to be started.
        if is_orphan && task.work == Work::Start && host.database.as_ref().is_some_and(|it| it.run == Run::Writes) {
            return;
        }
        // A supervisor starts nothing for writes without a deadline.
        let is_refused = task.work == Work::Start && host.supervisor.is_some_and(|it| it.deadline.is_none()) && holds(Key::Parm);
        let is_sick = host.is_sick && matches!(task.work, Work::Start | Work::Promote);
        let handed = self.hosts[region.0].handed.take();
        let task = handed.as_ref().unwrap_or(task);
        if !is_refused && !is_sick {
            self.work(region, task);
        }
        if self.hosts[region.0].is_paused {
            self.hosts[region.0].ended.push(task.clone());
        } else {
            self.tell_ended(region, task);
        }
    }

    fn tell_ended(&mut self, region: Region, task: &Task) {
        let at = self.now;
        let host = &mut self.hosts[region.0];
        let now = host.clock.at(at);
        if let (Some(agent), Some(database)) = (&mut host.agent, &host.database) {
            let effects = agent.ended(task, None, database.facts(region, at), now);
            self.carry_out(region, effects);
        }
    }

    pub(super) fn work(&mut self, region: Region, task: &Task) {
        let source = match &task.work {
            Work::Follow { upstream, .. } => Some(Region::of(upstream)),
            Work::Drain { fetch_from, .. } => fetch_from.as_ref().map(Region::of),
            _ => None,
        };
        let source = source.filter(|source| self.both(region, *source)).map(|source| (source, self.hosts[source.0].database.clone()));
        let grant = self.hosts[region.0].agent.as_ref().and_then(|it| it.holder().grant());
        let (above, alone) = grant.map_or((0, false), |grant| (grant.above, grant.durability == Durability::Async));
        let host = &mut self.hosts[region.0];
        let Some(database) = &mut host.database else { return };
        let mut is_opened = false;
        let at = self.now;
        match (&task.work, &source) {
            (Work::Follow { .. }, Some((upstream, Some(primary)))) if primary.run == Run::Writes => {
                if database.run == Run::Down {
                    database.lives_under = host.supervisor.map(|it| it.incarnation);
                }
                database.follow(*upstream, primary, at);
            }
            (Work::Follow { .. }, _) => {}
            (Work::Sign, _) => {
                let began = if host.began == 0 { database.opening.map_or(0, |it| it.at) } else { host.began };
                database.sign(task.token, began);
                host.opened_by = host.opened_by.max(task.token);
                host.acknowledges_alone = alone;
            }
            (work, source) => {
                let before = database.timeline;
                if database.run == Run::Down {
                    database.lives_under = host.supervisor.map(|it| it.incarnation);
                }
                is_opened = database.work(work, source.as_ref().and_then(|(_, it)| it.as_ref()), above);
                if database.timeline != before {
                    host.began = database.position();
                }
            }
        }
        if is_opened {
            (host.opened_by, host.acknowledges_alone) = (task.token, alone);
        }
        self.note(|| format!("{region:?} {task:?}"));
        self.proof.effect(region, task.token);
        if is_opened {
            self.opened(region, task.token);
        }
    }

    pub(super) fn start_agent(&mut self, region: Region) {
        let at = self.now;
        let host = &mut self.hosts[region.0];
        if host.database.is_some() && host.is_up {
            let supervisor = host.supervisor.map(|it| (it.incarnation, it.deadline));
            host.disk.starts += 1;
            host.agent = Some(Agent::new(region.label(), host.disk.clone(), supervisor, host.clock.at(at)));
            (host.is_paused, host.waits, host.ended) = (false, Vec::new(), Vec::new());
        }
    }

    /// Its tasks die with it, but for what it had asked the database to open.
    pub(super) fn end_agent(&mut self, region: Region) {
        let host = &mut self.hosts[region.0];
        host.agent = None;
        host.orphans = Some(host.tasks.1);
        host.tasks.1 += 1;
        self.note(|| format!("the agent of {region:?} dies"));
    }

    pub(super) fn resume(&mut self, region: Region) {
        self.hosts[region.0].is_paused = false;
        for task in std::mem::take(&mut self.hosts[region.0].ended) {
            self.tell_ended(region, &task);
        }
        for (from, mail) in std::mem::take(&mut self.hosts[region.0].waits) {
            self.hear(from, region, mail);
        }
    }

    /// Another supervisor, or none.
    pub(super) fn supervise(&mut self, region: Region, is_there: bool) {
        let host = &mut self.hosts[region.0];
        if is_there {
            host.incarnation += 1;
            host.supervisor = Some(Supervisor { incarnation: host.incarnation, deadline: None });
        } else {
            host.supervisor = None;
        }
        let supervisor = host.supervisor.map(|it| it.incarnation);
        if let Some(agent) = &mut host.agent {
            agent.supervised(supervisor);
        }
    }

    pub(super) fn crash(&mut self, region: Region) {
        self.kill(region);
        let host = &mut self.hosts[region.0];
        (host.is_up, host.agent, host.supervisor, host.is_paused) = (false, None, None, false);
        self.daemons[region.0].leads = None;
        self.lookouts[region.0] = Lookout::new();
        if self.leader == Some(region) {
            self.leader = None;
        }
        self.note(|| format!("{region:?} crashes"));
    }

    pub(super) fn boot(&mut self, region: Region) {
        self.hosts[region.0].is_up = true;
        if self.setup.supervised[region.0] && self.hosts[region.0].database.is_some() {
            self.supervise(region, true);
        }
        // The rule `boot`, taken away: the operating system starts the database.
        if !holds(Key::Boot) {
            let host = &mut self.hosts[region.0];
            if let Some(database) = host.database.as_mut().filter(|it| it.was_primary && !it.is_marked) {
                database.run = Run::Writes;
            }
        }
        self.start_agent(region);
        self.note(|| format!("{region:?} boots"));
    }
}
