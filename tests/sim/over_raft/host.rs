//! A process as the consensus has it: a runtime of its own with a clock of its own, which the world moves on. Dropped, everything that it did
//! not sync is gone, as after `kill -9`.

use std::{sync::Arc, time::Duration};

use portolan::raft::{
    Calls, Consensus, Disk, Identity, Leadership, LogStore, Member, Members, Standing, Timing, Types, give_chance, go_on_alone,
};
use portolan_core::cluster::Entry;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep_until},
};

use crate::{
    calls::{self, Port},
    desk::{Desk, Out, Parcel, Question},
    disk::Platter,
};

/// What a process is made of, beside its disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    pub(crate) station: usize,
    pub(crate) number: u64,
    /// Its place among voters.
    pub(crate) place: u32,
    /// Its id in Raft, if the disk is new.
    pub(crate) fresh: u64,
    /// What openraft's chance follows from.
    pub(crate) seed: u64,
    /// By the machine's clock, in microseconds.
    pub(crate) now: u64,
    pub(crate) grants_pre_votes: bool,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) desk: Arc<Desk>,
    disk: Disk,
    timing: Timing,
    chance: Option<u64>,
    started: Instant,
    /// The machine's clock at the start, and for how long the machine was suspended since.
    origin: u64,
    /// Nothing is to be done for it until somebody asks it.
    pub(crate) is_idle: bool,
    runtime: Runtime,
}

impl Host {
    /// Starts a process on this disk; with `takes_part` its consensus too, which else waits until somebody writes to it.
    pub(crate) fn start(making: Making, platter: &Platter, takes_part: bool) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().map_err(|error| error.to_string())?;
        let plugged = platter.plugged();
        let disk = Disk::on(plugged.clone(), Calls::InPlace).map_err(|error| error.to_string())?;
        let identity = runtime.block_on(Identity::open(&disk, making.fresh)).map_err(|error| error.to_string())?;
        let desk = Arc::new(Desk::new(making.station, making.number, identity.id, making.grants_pre_votes, plugged));
        let started = runtime.block_on(async { Instant::now() });
        let mut host = Self {
            desk,
            disk,
            timing: Timing::between_regions(making.place),
            chance: Some(making.seed),
            started,
            origin: making.now,
            is_idle: true,
            runtime,
        };
        if takes_part {
            host.take_part(making.now)?;
        }
        Ok(host)
    }

    /// Starts the consensus with what the disk holds.
    fn take_part(&mut self, now: u64) -> Result<(), String> {
        if self.desk.consensus().is_some() {
            return Ok(());
        }
        let transport = Arc::new(Port(Arc::clone(&self.desk)));
        let (id, disk, timing) = (self.desk.id, self.disk.clone(), self.timing);
        let started = self.within(async move { Consensus::start(id, "sim", timing, disk, transport).await });
        let consensus = started.map_err(|error| format!("{error:#}"))?;
        let next = consensus.standing().borrow().applied.map_or(0, |applied| applied + 1);
        let follower = consensus.follow(next);
        self.desk.set_consensus(consensus);
        self.spawn(now, calls::listen(Arc::clone(&self.desk), follower));
        Ok(())
    }

    /// Goes on as the only voter of its log, with `raise` behind that. Gives the log's last entry before.
    pub(crate) fn go_on_alone(&mut self, now: u64, member: Member, raise: &Entry) -> u64 {
        let (desk, disk, id) = (Arc::clone(&self.desk), self.disk.clone(), self.desk.id);
        let last = self.within(async move {
            if let Some(consensus) = desk.consensus() {
                consensus.shutdown().await.unwrap();
            }
            let mut log = LogStore::new(disk.clone());
            let state = openraft::storage::RaftLogStorage::<Types>::get_log_state(&mut log).await.unwrap();
            go_on_alone(&disk, id, member, raise).await.unwrap();
            state.last_log_id.map_or(0, |last| last.index)
        });
        self.desk.forget_consensus();
        self.take_part(now).unwrap();
        last
    }

    fn within<F: Future>(&mut self, future: F) -> F::Output {
        give_chance(self.chance.take());
        let output = self.runtime.block_on(future);
        self.chance = give_chance(None);
        output
    }

    /// Starts a task when the machine's clock shows `now`.
    pub(crate) fn spawn(&mut self, now: u64, task: impl Future<Output = ()> + Send + 'static) {
        if std::mem::take(&mut self.is_idle) {
            // Its time stood still, because nothing was to be done.
            self.run(now);
        }
        self.runtime.spawn(task);
    }

    /// Lives until the machine's clock shows `now`.
    pub(crate) fn run(&mut self, now: u64) {
        let until = self.started + Duration::from_micros(now.saturating_sub(self.origin));
        self.within(async move { sleep_until(until).await });
    }

    /// A process that did not run for a while finds its clock on.
    pub(crate) fn skip(&mut self, by: u64) {
        self.within(async move { advance(Duration::from_micros(by)).await });
    }

    /// A machine that was suspended finds its clock where it was.
    pub(crate) fn freeze(&mut self, by: u64) {
        self.origin += by;
    }

    /// Takes in what arrived.
    pub(crate) fn accept(&mut self, now: u64, from: usize, parcel: Parcel) -> Result<(), String> {
        match parcel {
            Parcel::Answer { id, by, answer } if by == self.desk.number => self.desk.answered(id, answer),
            Parcel::Ask { id, by, question } => {
                if matches!(question, Question::Raft { to, .. } if to == self.desk.id) {
                    self.take_part(now)?;
                }
                let desk = Arc::clone(&self.desk);
                self.spawn(now, calls::answer(desk, from, id, by, question));
            }
            // For an earlier process; streams are the world's.
            Parcel::Answer { .. } | Parcel::Tell { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn take_out(&self) -> Vec<Out> {
        self.desk.take_out()
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        self.desk.consensus().map(|it| it.standing().borrow().clone())
    }

    pub(crate) fn is_member(&self) -> bool {
        let _clock = self.runtime.enter();
        self.desk.is_member()
    }

    pub(crate) fn is_listed(&self) -> bool {
        let _clock = self.runtime.enter();
        self.desk.is_listed()
    }

    pub(crate) fn leads(&self) -> Option<u64> {
        let _clock = self.runtime.enter();
        self.desk.leads()
    }

    pub(crate) fn leadership(&self) -> Leadership {
        let _clock = self.runtime.enter();
        self.desk.consensus().map(|it| it.leadership()).unwrap_or_default()
    }

    pub(crate) fn members(&self) -> Members {
        let _clock = self.runtime.enter();
        self.desk.consensus().map(|it| it.members()).unwrap_or_default()
    }
}
