//! What people, and the leader by itself, do about who leads and who votes: hand leadership over, put one node in the place of another, and
//! replace a voter whose disk is lost.

use std::time::Duration;

use portolan::raft::{Consensus, Member, Members};
use portolan_core::{
    cluster::{Change, Node, NodeId, NodeRole},
    model::ids::Label,
};

use crate::{
    agreement::{Event, Fact, PROBE_AFTER, SCENE_LENGTH},
    calls::{address, machine},
    clock::Moment,
    log::{registered, stamped},
    queue,
    station::Fate,
    world::World,
};

/// How long a change may take, and how long until it is tried again.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);

/// A node that is not registered as it is tries again after so long: the daemon's.
const REGISTERED_EVERY: Duration = Duration::from_secs(3);

/// Leadership is handed to nobody who was silent for so long: the daemon's.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// What is wanted of those who vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// This machine's node leads.
    Lead(usize),
    /// The second machine's node votes in the place of the first's; they are of one region.
    Swap(usize, usize),
    /// The node of a machine votes.
    Add(usize),
    /// The node of a machine votes in the place of the one with this id, whose disk is lost.
    Replace(u64, usize),
}

/// A change that is under way: on which machine, by which of its processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    station: usize,
    number: u64,
}

impl World {
    /// Draws what is wanted in an episode; and a command that must go through when all is mended.
    pub(crate) fn plan_members(&mut self, begin: Moment, heal: Moment) {
        let whole = usize::try_from(heal.since(begin).as_millis()).expect("invariant: short");
        for _ in 0..self.random.below(3) {
            let at = begin + self.random.millis(0, whole);
            let voter = *self.random.pick(&self.voters.clone());
            let region = self.stations[voter].region;
            let others: Vec<usize> = self.machines_of(region).filter(|it| *it != voter).collect();
            let want = if others.is_empty() || self.random.permille(500) {
                Want::Lead(voter)
            } else {
                let other = *self.random.pick(&others);
                if self.random.permille(500) { Want::Swap(voter, other) } else { Want::Swap(other, voter) }
            };
            self.schedule(at, queue::Event::Agree(Event::Want(want)));
        }
        if heal.since(begin) >= SCENE_LENGTH {
            if self.planted.needs_moment() || self.random.permille(500) { self.plan_ambush(begin) } else { self.plan_disaster(begin) }
        }
        let probe = format!("probe-{}", heal.0);
        self.agreement.probe = None;
        self.schedule(heal + PROBE_AFTER, queue::Event::Agree(Event::Probe(probe)));
    }

    pub(crate) fn member(&self, id: usize) -> Member {
        let station = &self.stations[id];
        Member {
            name: station.name.to_string(),
            region: crate::plan::PLACES[station.region].0.to_owned(),
            address: address(id),
            is_witness: false,
        }
    }

    /// The entry of the registry for the node of a machine.
    pub(crate) fn registered(&self, id: usize, role: NodeRole) -> Option<Change> {
        let station = &self.stations[id];
        let raft = self.agreement.seats[id].id?;
        let node = registered(raft, &Label::new(station.name.as_str()), station.region, station.revision);
        Some(Change::RecordNode(Node { role, address: address(id), ..node }))
    }

    /// Nodes keep their entries of the registry as they are: the daemon's.
    pub(crate) fn keep_registered(&mut self) {
        for id in 0..self.stations.len() {
            let seat = &self.agreement.seats[id];
            let (Some(host), Some(own), Some(process)) = (&seat.host, seat.id, &self.stations[id].process) else { continue };
            let votes = host.is_member() && host.members().voters.contains_key(&own);
            let known = process.state.node(NodeId(own));
            // Who never voted has no entry here, and needs none.
            let is_right = known.map_or(!votes, |known| known.node.role.votes() == votes);
            if is_right || !self.stations[id].is_awake() || self.now.since(seat.registered) < REGISTERED_EVERY {
                continue;
            }
            self.agreement.seats[id].registered = self.now;
            let at = self.stations[id].now(self.now).wall;
            let role = if votes { NodeRole::Voter } else { NodeRole::Observer };
            if let Some(change) = self.registered(id, role) {
                self.submit(id, stamped(change, at, None, ""), None);
            }
        }
    }

    /// Where the leader is: of those who take themselves for it, the one of the latest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leaders = (0..self.stations.len()).filter(|id| self.stations[*id].is_awake());
        let leaders = leaders.filter_map(|id| {
            let leadership = self.agreement.seats[id].host.as_ref()?.leadership();
            leadership.is_leader.then_some((leadership.term, id))
        });
        leaders.max().map(|(_, id)| id)
    }

    /// Whether a node has a vote, as the leader or else any member knows.
    pub(crate) fn votes(&self, own: u64) -> bool {
        let knowing = self.leader().or_else(|| (0..self.stations.len()).find(|it| self.is_member_here(*it)));
        let host = knowing.and_then(|it| self.agreement.seats[it].host.as_ref());
        host.is_none_or(|host| host.members().voters.contains_key(&own))
    }

    fn is_member_here(&self, id: usize) -> bool {
        self.agreement.seats[id].host.as_ref().is_some_and(|host| host.is_member())
    }

    /// What becomes of a disk: only one voter's at a time is emptied, for two of three are a majority, whose loss nothing survives.
    pub(crate) fn disk_fate(&self, id: usize, fate: Fate) -> Fate {
        match fate {
            Fate::Emptied if self.planted.keeps_id() => Fate::Emptied,
            Fate::Emptied if self.agreement.seats[id].takes_part && self.agreement.is_fragile() => Fate::Kept,
            fate => fate,
        }
    }

    /// Whoever lost its disk is replaced as soon as it is back and somebody leads.
    pub(crate) fn mend_members(&mut self) {
        if let Some((old, id)) = self.agreement.lost
            && self.agreement.seats[id].host.is_some()
        {
            self.want(Want::Replace(old, id));
        }
        self.take_in_newcomers();
    }

    /// Sets a change going on the leader, if there is one and it has nothing else to do.
    pub(crate) fn want(&mut self, want: Want) {
        let is_over = |work: &Work| !self.is_of(work.station, work.number);
        if self.agreement.work.as_ref().is_some_and(is_over) {
            self.agreement.work = None;
        }
        let is_swap = matches!(want, Want::Swap(..));
        // Later, or not at all: when everything shall come to rest.
        let is_late = is_swap && self.settles.since(self.now) < PROBE_AFTER;
        if is_late || is_swap && (self.agreement.lost.is_some() || self.agreement.is_played() || !self.agreement.newcomers.is_empty()) {
            return;
        }
        let leader = self.leader().filter(|_| self.agreement.work.is_none());
        let Some(leader) = leader else {
            if !matches!(want, Want::Replace(..) | Want::Add(_)) && self.settles.since(self.now) > PROBE_AFTER {
                self.schedule(self.now + AGAIN, queue::Event::Agree(Event::Want(want)));
            }
            return;
        };
        let (Want::Lead(to) | Want::Swap(_, to) | Want::Add(to) | Want::Replace(_, to)) = want;
        let Some(new) = self.agreement.seats[to].id else { return };
        let member = self.member(to);
        let (number, now) = (self.stations[leader].number, self.stations[leader].now(self.now).tick.0);
        let Some(host) = self.agreement.seats[leader].host.as_mut() else { return };
        let desk = std::sync::Arc::clone(&host.desk);
        let Some(consensus) = desk.consensus() else { return };
        self.agreement.work = Some(Work { station: leader, number });
        host.spawn(now, async move {
            let done = tokio::time::timeout(CHANGE_TIME_MAX, change(&consensus, want, new, member)).await;
            desk.tell(Fact::Changed { want, is_done: matches!(done, Ok(Ok(()))) });
        });
    }

    /// A change ended.
    pub(crate) fn changed(&mut self, want: &Want, is_done: bool) {
        self.agreement.work = None;
        if !is_done {
            return;
        }
        self.agreement.n_changes += 1;
        let (Want::Replace(_, id) | Want::Add(id)) = want else { return };
        self.agreement.newcomers.retain(|it| it != id);
        if let Want::Replace(old, id) = want
            && self.agreement.lost == Some((*old, *id))
        {
            self.agreement.lost = None;
        }
    }
}

/// As the daemon does it, on the leader.
async fn change(consensus: &Consensus, want: Want, new: u64, member: Member) -> anyhow::Result<()> {
    let Members { voters, silent, .. } = consensus.members();
    let old = match want {
        Want::Lead(_) => {
            // To whom has not answered lately leadership is not handed, and whoever has it keeps it.
            let answers = silent.get(&new).is_some_and(|silent| *silent < SILENT_MAX);
            return if voters.contains_key(&new) && answers { consensus.transfer_leader(new).await } else { Ok(()) };
        }
        Want::Swap(from, _) => voters.iter().find(|(_, it)| machine(it) == Some(from)).map(|(id, _)| *id),
        Want::Replace(old, _) => Some(old),
        // Nobody leaves.
        Want::Add(_) => Some(new),
    };
    let Some(old) = old.filter(|old| *old == new || voters.contains_key(old)) else { return Ok(()) };
    if !voters.contains_key(&new) {
        consensus.add_learner(new, member).await?;
    }
    consensus.change_voters(voters.into_keys().filter(|id| *id != old && *id != new).chain([new])).await
}
