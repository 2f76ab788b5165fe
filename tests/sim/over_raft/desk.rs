//! What a process shares with the tasks that run for it: who it is, what leaves it, and what waits for an answer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use portolan::raft::{Call, Consensus, Undelivered};
use portolan_core::cluster::State;
use tokio::{sync::oneshot, time::Instant};

use crate::{agreement::Fact, disk::Platter};

/// Without a word for so long a leader is taken for gone: the daemon's, twice the time of an election.
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(6);

/// One call between machines, or a part of one.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    /// A question of the process with this number.
    Ask { id: u64, by: u64, question: Question },
    /// Its answer.
    Answer { id: u64, by: u64, answer: Answer },
    /// A step of a stream, with what the follower must have to take it.
    Tell { stream: u64, after: u64, told: Told },
}

/// What is asked of another process.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// A call of Raft from one id to another.
    Raft { from: u64, to: u64, generation: u64, call: Call, body: Arc<[u8]> },
    /// A command, of the leader.
    Propose(Arc<[u8]>),
    /// All that is applied from here on; of which generation the state is that the follower has.
    Follow { next: u64, generation: u64, stream: u64 },
    /// Who leads, and who is a member.
    Greet,
}

pub(crate) type Answer = Result<Vec<u8>, Undelivered>;

/// What a follower is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Snapshot {
        next: u64,
        octets: Vec<u8>,
    },
    Entry {
        index: u64,
        octets: Arc<[u8]>,
    },
    /// Nothing new; on which machine the leader is.
    Progress {
        leader: Option<usize>,
    },
    /// It takes no part; which machines vote, as it knows.
    Elsewhere {
        voters: Vec<usize>,
    },
}

/// Which of the ways between two machines a parcel takes: each keeps its own chance, so that the order in which tasks of one process wake
/// decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Log,
    Heartbeat,
    Snapshot,
    Command,
    /// In order, as a connection keeps it.
    Stream,
}

/// Something that leaves a process.
#[derive(Debug)]
pub(crate) enum Out {
    Post { to: usize, way: Way, parcel: Parcel },
    Fact(Fact),
}

#[derive(Debug, Default)]
struct Waiting {
    n_asked: u64,
    list: BTreeMap<u64, oneshot::Sender<Answer>>,
}

/// The desk of one process.
pub(crate) struct Desk {
    pub(crate) station: usize,
    /// How many processes there were on this machine.
    pub(crate) number: u64,
    /// In Raft.
    pub(crate) id: u64,
    /// Every peer seems to grant a pre-vote; a planted bug.
    pub(crate) grants_pre_votes: bool,
    platter: Platter,
    consensus: Mutex<Option<Consensus>>,
    is_removed: AtomicBool,
    /// When a leader last wrote to it.
    led_at: Mutex<Option<Instant>>,
    state: Mutex<Arc<State>>,
    /// On which machine the leader is, as the stream says that an observer follows.
    leader: Mutex<Option<usize>>,
    out: Mutex<Vec<Out>>,
    waiting: Mutex<Waiting>,
    /// The latest stream to each follower.
    streams: Mutex<BTreeMap<usize, u64>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("station", &self.station).field("number", &self.number).finish_non_exhaustive()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

impl Desk {
    pub(crate) fn new(station: usize, number: u64, id: u64, grants_pre_votes: bool, platter: Platter) -> Self {
        Self {
            station,
            number,
            id,
            grants_pre_votes,
            platter,
            consensus: Mutex::default(),
            is_removed: AtomicBool::new(false),
            led_at: Mutex::default(),
            state: Mutex::default(),
            leader: Mutex::default(),
            out: Mutex::default(),
            waiting: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    pub(crate) fn consensus(&self) -> Option<Consensus> {
        locked(&self.consensus).clone()
    }

    pub(crate) fn set_consensus(&self, consensus: Consensus) {
        *locked(&self.consensus) = Some(consensus);
    }

    /// A leader wrote to it.
    pub(crate) fn is_led(&self) {
        *locked(&self.led_at) = Some(Instant::now());
    }

    /// Who leads, only while the leader shows that it does.
    pub(crate) fn leads(&self) -> Option<u64> {
        let silent = (*locked(&self.led_at)).map(|at| at.elapsed());
        self.consensus()?.leads(silent, LEADER_SILENCE_MAX)
    }

    pub(crate) fn forget_consensus(&self) {
        *locked(&self.consensus) = None;
        *locked(&self.led_at) = None;
    }

    pub(crate) fn heard_leader(&self) -> Option<usize> {
        *locked(&self.leader)
    }

    pub(crate) fn set_leader(&self, leader: Option<usize>) {
        *locked(&self.leader) = leader;
    }

    /// The replicated state as this process knows it, from wherever.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&locked(&self.state))
    }

    pub(crate) fn set_state(&self, state: State) {
        *locked(&self.state) = Arc::new(state);
    }

    /// Whether it takes part in the consensus, as it knows.
    pub(crate) fn is_member(&self) -> bool {
        !self.is_removed.load(Relaxed) && self.is_listed()
    }

    /// Others say that it is no member any more, and its own log does not know; or not any more.
    pub(crate) fn set_removed(&self, is_removed: bool) {
        self.is_removed.store(is_removed, Relaxed);
    }

    /// Whether it takes part by its own log.
    pub(crate) fn is_listed(&self) -> bool {
        self.consensus().is_some_and(|consensus| {
            let members = consensus.members();
            members.voters.contains_key(&self.id) || members.learners.contains_key(&self.id)
        })
    }

    /// A fact is told even by a process whose disk has just failed: it happened.
    pub(crate) fn tell(&self, fact: Fact) {
        locked(&self.out).push(Out::Fact(fact));
    }

    /// Nothing leaves a machine that has no power any more.
    pub(crate) fn post(&self, to: usize, way: Way, parcel: Parcel) {
        if !self.platter.is_dark() {
            locked(&self.out).push(Out::Post { to, way, parcel });
        }
    }

    pub(crate) fn take_out(&self) -> Vec<Out> {
        std::mem::take(&mut *locked(&self.out))
    }

    /// Asks a machine, and waits for its answer.
    pub(crate) async fn ask(&self, to: usize, way: Way, question: Question, limit: Duration) -> Answer {
        let (answered, answer) = oneshot::channel();
        let id = {
            let mut waiting = locked(&self.waiting);
            waiting.list.retain(|_, it| !it.is_closed());
            waiting.n_asked += 1;
            let id = waiting.n_asked;
            waiting.list.insert(id, answered);
            id
        };
        self.post(to, way, Parcel::Ask { id, by: self.number, question });
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Undelivered::Unreachable(format!("no answer of machine {to} within {limit:?}"))),
        }
    }

    /// The answer to a question; one that nobody waits for is void.
    pub(crate) fn answered(&self, id: u64, answer: Answer) {
        if let Some(waiting) = locked(&self.waiting).list.remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    /// A stream begins; an older one to the same follower ends.
    pub(crate) fn begin_stream(&self, to: usize, stream: u64) {
        locked(&self.streams).insert(to, stream);
    }

    pub(crate) fn is_latest(&self, to: usize, stream: u64) -> bool {
        locked(&self.streams).get(&to) == Some(&stream)
    }
}
