//! How a node that does not vote hears of the replicated state: by a stream from one voter, and from another one when that is silent.

use std::{sync::Arc, time::Duration};

use portolan::raft::Undelivered;

use crate::{
    agreement::{Fact, News},
    calls::Greeting,
    clock::Moment,
    desk::{Out, Parcel, Question, Told, Way},
    host::Host,
    station::Input,
    world::World,
};

/// A voter that says nothing for so long is given up, and as much again by chance: the daemon's.
const PATIENCE: usize = 2000;

/// Between looks whether it is a member, and whether its stream is silent.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A member without a leader asks others this often whether it still is one, a follower without one goes elsewhere, and a question waits so long for an answer: the daemon's.
const DOUBT_EVERY: Duration = Duration::from_secs(5);
const GREET_TIME_MAX: Duration = Duration::from_secs(3);

/// A stream as its follower has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    voter: usize,
    stream: u64,
    /// Before this the follower does not look for another voter.
    patience: Moment,
    /// When the voter last knew of a leader, or began.
    led: Moment,
}

impl World {
    /// A node that is no member follows a voter; one that does not know any leader asks whether it still is one.
    pub(crate) fn see_to_stream(&mut self, id: usize) {
        let now = self.now;
        let seat = &mut self.agreement.seats[id];
        if now.since(seat.looked) < LOOK_EVERY {
            return;
        }
        seat.looked = now;
        let Some(host) = seat.host.as_mut() else { return };
        if !host.is_idle && host.is_listed() {
            if host.leads().is_some() {
                seat.leaderless_since = None;
                host.desk.set_removed(false);
            } else if now.since(*seat.leaderless_since.get_or_insert(now)) > DOUBT_EVERY {
                seat.leaderless_since = Some(now);
                self.doubt(id);
            }
            let seat = &mut self.agreement.seats[id];
            if seat.host.as_ref().is_some_and(Host::is_member) {
                seat.following = None;
                return;
            }
        }
        let patience = self.agreement.seats[id].following.map_or(Moment(0), |it| it.patience);
        if now < patience {
            return;
        }
        let candidates = self.followed_by(id);
        let turn = self.agreement.seats[id].turn;
        let voter = candidates[turn % candidates.len()];
        let stream = self.agreement.new_stream();
        let patience = now + self.random.millis(PATIENCE, 2 * PATIENCE);
        let generation = self.stations[id].process.as_ref().map_or(0, |it| it.state.generation());
        let seat = &mut self.agreement.seats[id];
        seat.turn += 1;
        seat.following = Some(Following { voter, stream, patience, led: now });
        let next = seat.next;
        self.say(id, || format!("follows {voter} from entry {next} on"));
        if let Some(host) = &self.agreement.seats[id].host {
            host.desk.post(voter, Way::Command, Parcel::Ask { id: 0, by: 0, question: Question::Follow { next, generation, stream } });
            // An idle process posts all the same.
            for it in host.take_out() {
                if let Out::Post { to, way, parcel } = it {
                    self.send(id, to, way, parcel);
                }
            }
        }
    }

    /// Whom a node may follow: who votes as far as it knows, then as it was told, then the others of the address book.
    fn followed_by(&self, id: usize) -> Vec<usize> {
        let book = self.voters_for(id);
        let state = self.stations[id].process.as_ref().map(|it| &it.state);
        let votes = |machine: usize| {
            let name = self.stations[machine].name.as_str();
            state.is_some_and(|state| state.nodes().any(|known| known.node.role.votes() && known.node.name.as_str() == name))
        };
        let region = self.stations[id].region;
        let mut registered: Vec<usize> = (0..self.stations.len()).filter(|machine| votes(*machine)).collect();
        registered.sort_by_key(|machine| (self.stations[*machine].region != region, (*machine + id) % self.stations.len()));
        for machine in self.agreement.seats[id].told.iter().copied().chain(book) {
            if !registered.contains(&machine) {
                registered.push(machine);
            }
        }
        registered.into_iter().filter(|machine| *machine != id).collect()
    }

    /// A step of a stream arrived.
    pub(crate) fn heard_of_stream(&mut self, id: usize, from: usize, stream: u64, after: u64, told: Told) {
        let patience = self.now + self.random.millis(PATIENCE, 2 * PATIENCE);
        // What its side alone had is void, and is not looked at.
        if self.is_left_behind(from) {
            return;
        }
        let seat = &mut self.agreement.seats[id];
        let Some(following) = seat.following.as_mut().filter(|it| it.voter == from && it.stream == stream) else { return };
        following.patience = patience;
        match told {
            // The daemon asks the others first whether they know one.
            Told::Progress { leader: None } if self.now.since(following.led) > DOUBT_EVERY => seat.following = None,
            Told::Progress { leader } => {
                if leader.is_some() {
                    following.led = self.now;
                }
                if let Some(host) = &seat.host {
                    host.desk.set_leader(leader);
                }
            }
            Told::Entry { index, .. } if index < seat.next => {}
            Told::Entry { index, octets } if after == seat.next => {
                seat.next = index + 1;
                self.turn(id, vec![Input::Agreed(News::Entry { index, octets })]);
            }
            Told::Elsewhere { voters } => {
                seat.told = voters;
                seat.following = None;
            }
            // Something was lost on the way: the same voter is asked again.
            Told::Entry { .. } => {
                seat.turn = seat.turn.saturating_sub(1);
                seat.following = None;
            }
            Told::Snapshot { next, octets } => {
                seat.next = next;
                self.say(id, || format!("takes a snapshot up to entry {next}"));
                self.turn(id, vec![Input::Agreed(News::Snapshot { next, octets })]);
            }
        }
    }

    /// Asks another node whether this one is a member.
    fn doubt(&mut self, id: usize) {
        let others = self.followed_by(id);
        let other = *self.random.pick(&others);
        let now = self.stations[id].now(self.now).tick.0;
        let Some(host) = self.agreement.seats[id].host.as_mut() else { return };
        let desk = Arc::clone(&host.desk);
        host.spawn(now, async move {
            let answer: Result<Vec<u8>, Undelivered> = desk.ask(other, Way::Command, Question::Greet, GREET_TIME_MAX).await;
            if let Some(greeting) = answer.ok().and_then(|it| serde_json::from_slice::<Greeting>(&it).ok()) {
                desk.tell(Fact::Greeted(greeting));
            }
        });
    }
}
