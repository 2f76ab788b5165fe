//! A majority is lost for good: a survivor goes on when a person says so, the lost side comes back with its old disks and is refused, and
//! joins as new when they are emptied.
//!
//! They come back in groups that are no majority of the old membership: more of them together would be a cluster of their own, and go on in the
//! old generation, which a person who forces a quorum has ruled out.
//!
//! ```text
//! STRIKES: all voters but one stop --> FORCE: the survivor is the only voter --> BACK: some with old disks --> EMPTIED: they join as new
//!                                                                              ^-----------------------'
//! ```

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::cluster::{Change, Entry, FEATURE_LEVEL, NodeId};

use crate::{
    agreement::{Event, Fact},
    calls,
    clock::Moment,
    log::{Log, stamped},
    members::Want,
    queue,
    station::Fate,
    world::World,
};

/// A person looks for the lost this long before going on without them, looks again so often, and finds them back after this.
const FORCE_AFTER: Duration = Duration::from_secs(9);
const AGAIN: Duration = Duration::from_secs(1);
const BACK_AFTER: Duration = Duration::from_secs(4);
/// For so long the lost try with their old disks.
const EMPTIED_AFTER: Duration = Duration::from_secs(6);

/// How long an episode with a disaster, or another scene, goes on before all is mended.
pub(crate) const LENGTH: Duration = Duration::from_secs(30);

/// What happens in one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Strikes,
    Force,
    Back,
    Emptied,
}

/// One that has struck.
#[derive(Clone, Debug)]
pub(crate) struct Disaster {
    survivor: usize,
    /// The voters that are lost, by id, and where they are.
    lost: Vec<(u64, usize)>,
    /// How many of them were found again.
    n_back: usize,
}

impl Disaster {
    /// Those that come back together.
    fn group(&self) -> Vec<usize> {
        let group = self.lost.iter().skip(self.n_back).take((self.lost.len() / 2).max(1));
        group.map(|(_, id)| *id).collect()
    }
}

impl World {
    pub(crate) fn plan_disaster(&mut self, begin: Moment) {
        self.schedule(begin + Duration::from_secs(2), queue::Event::Agree(Event::Disaster(Act::Strikes)));
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Strikes => self.strike(),
            Act::Force => self.force(),
            Act::Back => {
                for id in self.found_again() {
                    self.put_up(id);
                }
                self.schedule(self.now + EMPTIED_AFTER, queue::Event::Agree(Event::Disaster(Act::Emptied)));
            }
            Act::Emptied => {
                let group = self.found_again();
                match &mut self.agreement.disaster {
                    Some(it) if it.n_back + group.len() < it.lost.len() => {
                        it.n_back += group.len();
                        self.schedule(self.now, queue::Event::Agree(Event::Disaster(Act::Back)));
                    }
                    _ => self.agreement.disaster = None,
                }
                for id in group {
                    let was_running = self.stations[id].process.is_some();
                    self.stop(id, Fate::Kept);
                    self.empty(id);
                    if was_running {
                        self.start(id);
                    }
                    self.agreement.newcomers.push(id);
                }
            }
        }
    }

    fn found_again(&self) -> Vec<usize> {
        self.agreement.disaster.as_ref().map(Disaster::group).unwrap_or_default()
    }

    /// All voters but one stop, if everything is as it should be.
    fn strike(&mut self) {
        let is_busy = self.agreement.lost.is_some() || self.agreement.work.is_some() || !self.agreement.newcomers.is_empty();
        let Some(leader) = self.leader().filter(|_| !is_busy) else { return };
        let members = self.agreement.seats[leader].host.as_ref().map(|host| host.members()).unwrap_or_default();
        if members.is_changing {
            return;
        }
        let voters: Vec<(u64, usize)> = members.voters.iter().filter_map(|(id, member)| Some((*id, calls::machine(member)?))).collect();
        let survivor = self.random.pick(&voters).1;
        let lost: Vec<(u64, usize)> = voters.into_iter().filter(|(_, id)| *id != survivor).collect();
        self.say_all(|| format!("a disaster: only {survivor} survives of {lost:x?}"));
        self.agreement.disaster = Some(Disaster { survivor, lost: lost.clone(), n_back: 0 });
        lost.iter().for_each(|(_, id)| self.put_down(*id, Fate::Kept));
        self.schedule(self.now + FORCE_AFTER, queue::Event::Agree(Event::Disaster(Act::Force)));
    }

    /// The survivor goes on alone.
    fn force(&mut self) {
        let Some(Disaster { survivor, lost, .. }) = self.agreement.disaster.clone() else { return };
        let now = self.stations[survivor].now(self.now).tick.0;
        let is_ready = self.stations[survivor].is_awake()
            && self.agreement.seats[survivor].host.as_ref().is_some_and(|host| host.is_member() && host.leads().is_none());
        if !is_ready {
            self.schedule(self.now + AGAIN, queue::Event::Agree(Event::Disaster(Act::Force)));
            return;
        }
        let member = self.member(survivor);
        let at = self.stations[survivor].now(self.now).wall;
        let seat = &mut self.agreement.seats[survivor];
        // Power that goes in the midst of it leaves all or nothing, which the tests of the boundary show.
        seat.platter.set_fuse(None);
        let Some(host) = seat.host.as_mut() else { return };
        let desk = Arc::clone(&host.desk);
        let ids: BTreeSet<NodeId> = lost.iter().map(|(id, _)| NodeId(*id)).collect();
        let generation = desk.state().generation() + 1;
        let raise = stamped(Change::RaiseGeneration { generation, lost: ids }, at, None, "force-quorum");
        let last = host.go_on_alone(now, member, &raise);
        desk.tell(Fact::AskedToLead { id: desk.id });
        host.spawn(now, async move {
            let Some(consensus) = desk.consensus() else { return };
            let _ = consensus.elect().await;
        });
        self.agreement.left_behind.extend(lost.iter().map(|(id, _)| (*id, generation)));
        self.rewind(last);
        self.note(survivor, Fact::Forced { last });
        self.schedule(self.now + BACK_AFTER, queue::Event::Agree(Event::Disaster(Act::Back)));
    }

    /// Only the lost side had entries after this one: they are void.
    fn rewind(&mut self, last: u64) {
        let entries = std::mem::take(&mut self.agreement.entries);
        let (ever, shortened) = (std::mem::take(&mut self.log.ever), self.log.end().saturating_sub(last));
        self.say_all(|| format!("goes on from entry {last}; {shortened} are lost with the others"));
        self.log = Log::default();
        self.agreement.requests.clear();
        self.agreement.outcomes.clear();
        for (index, octets) in entries.into_iter().filter(|(index, _)| *index <= last) {
            let entry = Entry::decode(&octets, FEATURE_LEVEL).expect("invariant: it was read before");
            self.enter(index, &entry, &octets);
        }
        // Orders that are void acted all the same, on nodes that had them.
        self.log.ever.extend(ever);
    }

    /// Whoever is new becomes a voter, one after the other.
    pub(crate) fn take_in_newcomers(&mut self) {
        let Some(&id) = self.agreement.newcomers.first() else { return };
        if self.agreement.seats[id].host.is_some() {
            self.want(Want::Add(id));
        }
    }
}
