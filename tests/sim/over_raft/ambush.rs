//! Power goes at the worst moment: of a voter when it has just given its vote, or of all who have just agreed on an entry. They are back at
//! once, before anybody else knows what they did, and the others must not be able to do anything else.
//!
//! ```text
//! vote:   the leader stops --> a voter stands; only one other hears it --> that one votes, and loses power --> all are back, but the candidate
//!                                                                            loses its link, before it has the vote or after
//! entry:  a minority is cut off --> the leader applies an entry --> it and all who have it lose power, the minority is back
//!                                                              --> those who had it are back, the leader stays away
//! ```

use std::time::Duration;

use portolan_core::cluster::{Change, End};

use crate::{
    agreement::{Event, Fact},
    calls,
    clock::Moment,
    log::stamped,
    queue,
    station::Fate,
    world::World,
};

/// An entry is asked for so long after the minority was cut off.
const ASKED_AFTER: Duration = Duration::from_millis(500);

/// When nothing came of it by then, it is over. Three elections fit.
const WAITS_MAX: Duration = Duration::from_secs(14);

/// Who lost power for the sake of the moment is back after so many milliseconds, and who is to stay away after so many.
const BACK: (usize, usize) = (100, 1200);
const AWAY: (usize, usize) = (5000, 9000);

/// What happens in one.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    Lie(Moment),
    Ask,
    Spring { leader: usize, fallen: Vec<usize>, kind: Kind },
    GiveUp,
    Up(usize),
    Link(usize, bool),
    Ways(Vec<(usize, usize)>),
}

/// What is waited for, and who is out of the way meanwhile.
#[derive(Clone, Debug)]
pub(crate) enum Ambush {
    /// Somebody stands for election; this machine was put down for it.
    Election { leader: usize },
    /// This voter votes for the candidate, whom nobody else hears.
    Vote { candidate: usize, voter: usize, leader: usize },
    /// The leader applies an entry that the minority does not have.
    Entry { leader: usize, after: u64, minority: Vec<usize> },
}

/// What it has sprung on.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Vote { candidate: usize },
    Entry { minority: Vec<usize> },
}

impl World {
    pub(crate) fn plan_ambush(&mut self, begin: Moment) {
        let at = begin + Duration::from_secs(1);
        self.schedule(at, queue::Event::Agree(Event::Ambush(Move::Lie(at + WAITS_MAX))));
    }

    pub(crate) fn ambush(&mut self, step: Move) {
        match step {
            Move::Lie(until) => self.lie_in_wait(until),
            Move::Ask => self.ask_for_entry(),
            Move::Spring { leader, fallen, kind } => self.spring(leader, fallen, kind),
            Move::GiveUp => self.give_up(),
            Move::Up(id) => self.put_up(id),
            Move::Link(id, is_there) => self.set_link(id, is_there),
            Move::Ways(ways) => {
                self.note_truth();
                self.network.mend(&ways);
                self.note_truth();
            }
        }
    }

    fn move_after(&mut self, after: Duration, step: Move) {
        self.schedule(self.now + after, queue::Event::Agree(Event::Ambush(step)));
    }

    fn set_link(&mut self, id: usize, is_there: bool) {
        self.note_truth();
        if is_there {
            self.network.mend_link(id)
        } else {
            self.network.cut_link(id)
        }
        self.links_changed[id] = Some(self.now);
        self.note_truth();
    }

    fn lie_in_wait(&mut self, until: Moment) {
        let is_changing = |leader: usize| self.agreement.seats[leader].host.as_ref().is_none_or(|host| host.members().is_changing);
        let found = self.leader().filter(|leader| !self.agreement.is_fragile() && !is_changing(*leader));
        let Some(leader) = found else {
            if self.now < until {
                self.move_after(Duration::from_secs(1), Move::Lie(until));
            }
            return;
        };
        self.schedule(until, queue::Event::Agree(Event::Ambush(Move::GiveUp)));
        if self.random.permille(500) {
            self.say_all(|| format!("an ambush: {leader} stops, and waits for an election"));
            self.agreement.ambush = Some(Ambush::Election { leader });
            self.put_down(leader, Fate::Kept);
            return;
        }
        let voters = self.voters_of(leader);
        let mut minority: Vec<usize> = voters.iter().copied().filter(|id| *id != leader).collect();
        while minority.len() > (voters.len() - 1) / 2 {
            let position = self.random.below(minority.len());
            minority.remove(position);
        }
        self.say_all(|| format!("an ambush: {minority:?} are cut off, and {leader} is to apply an entry"));
        minority.iter().for_each(|id| self.set_link(*id, false));
        let after = self.log.end();
        self.agreement.ambush = Some(Ambush::Entry { leader, after, minority });
        self.move_after(ASKED_AFTER, Move::Ask);
    }

    /// Somebody asks the leader for something.
    fn ask_for_entry(&mut self) {
        let Some(Ambush::Entry { leader, .. }) = self.agreement.ambush else { return };
        let change = Change::Acknowledge { object: "ambush".to_owned(), end: End::AfterMs(1000) };
        let at = self.stations[leader].now(self.now).wall;
        self.submit(leader, stamped(change, at, Some(format!("ambush-{}", self.now.0)), "is anybody there?"), None);
    }

    /// What happened may be what is waited for.
    pub(crate) fn note_ambush(&mut self, id: usize, fact: &Fact) {
        let Some(ambush) = self.agreement.ambush.clone() else { return };
        match (ambush, fact) {
            (Ambush::Election { leader }, Fact::Stands { .. }) if id != leader => self.candidate_stands(id, leader),
            (Ambush::Vote { candidate, voter, leader }, Fact::Voted { vote: (_, of), .. })
                if id == voter && self.agreement.seats[candidate].id == Some(*of) =>
            {
                self.agreement.ambush = None;
                self.move_after(Duration::ZERO, Move::Spring { leader, fallen: vec![voter], kind: Kind::Vote { candidate } });
            }
            (Ambush::Entry { leader, after, minority }, Fact::Applied { index, .. }) if id == leader && *index > after => {
                let fallen = self.voters_of(leader).into_iter().filter(|it| *it != leader && !minority.contains(it)).collect();
                self.agreement.ambush = None;
                self.move_after(Duration::ZERO, Move::Spring { leader, fallen, kind: Kind::Entry { minority } });
            }
            _ => {}
        }
    }

    /// Only one of the others hears it, and the leader that was is back.
    fn candidate_stands(&mut self, candidate: usize, leader: usize) {
        let region = |id: usize| self.stations[id].region;
        let running: Vec<usize> = self.voters_of(candidate).into_iter().filter(|id| region(*id) != region(candidate)).collect();
        let running: Vec<usize> = running.into_iter().filter(|id| *id != leader && self.stations[*id].is_awake()).collect();
        if running.is_empty() {
            return self.give_up();
        }
        let voter = *self.random.pick(&running);
        let (here, there) = (self.stations[candidate].region, self.stations[voter].region);
        let others = (0..self.n_regions).filter(|it| *it != here && *it != there);
        let ways: Vec<(usize, usize)> = others.flat_map(|it| [(here, it), (it, here)]).collect();
        self.say_all(|| format!("only {voter} hears {candidate}"));
        self.note_truth();
        self.network.cut(&ways);
        self.note_truth();
        let away = self.random.millis(AWAY.0, AWAY.1);
        self.move_after(away, Move::Ways(ways));
        self.move_after(Duration::ZERO, Move::Up(leader));
        self.agreement.ambush = Some(Ambush::Vote { candidate, voter, leader });
    }

    /// The machines of those who vote, as the node of this one knows them.
    fn voters_of(&self, id: usize) -> Vec<usize> {
        let members = self.agreement.seats[id].host.as_ref().map(|host| host.members()).unwrap_or_default();
        members.voters.values().filter_map(calls::machine).collect()
    }

    /// Power goes. One disk is lost too, now and then.
    fn spring(&mut self, leader: usize, fallen: Vec<usize>, kind: Kind) {
        self.say_all(|| format!("the ambush: {fallen:?} lose power"));
        for id in fallen {
            let is_emptied = self.planted.keeps_id() || self.random.permille(300);
            let fate = if is_emptied { Fate::Emptied } else { Fate::Kept };
            self.put_down(id, fate);
            let back = self.random.millis(BACK.0, BACK.1);
            self.move_after(back, Move::Up(id));
        }
        let away = self.random.millis(AWAY.0, AWAY.1);
        match kind {
            Kind::Vote { candidate } => {
                let after = Duration::from_millis(*self.random.pick(&[0, 0, 0, 300]));
                self.move_after(after, Move::Link(candidate, false));
                self.move_after(away, Move::Link(candidate, true));
            }
            Kind::Entry { minority } => {
                minority.into_iter().for_each(|id| self.set_link(id, true));
                self.put_down(leader, Fate::Kept);
                self.move_after(away, Move::Up(leader));
            }
        }
    }

    /// It was waited for in vain.
    fn give_up(&mut self) {
        match self.agreement.ambush.take() {
            Some(Ambush::Election { leader }) => self.put_up(leader),
            Some(Ambush::Entry { minority, .. }) => minority.into_iter().for_each(|id| self.set_link(id, true)),
            Some(Ambush::Vote { .. }) | None => {}
        }
    }
}
