//! The supervisor: the database lives and dies with it, and by its deadline at the latest.
//!
//! ```text
//!  agent --socket: arm, start, stop, kill--> supervisor --pipe--> vessel (first process of a PID namespace) --> database
//!                                            deadline             deadline
//! ```
//!
//! Each of the three kills by itself: the agent at the soft deadline, the vessel between it and the hard one, and the supervisor from outside where
//! the vessel does not say in time that it did. So any two of them may be stopped. When supervisor or vessel end, the kernel kills everything
//! in the vessel (pid_namespaces(7), prctl(2) `PR_SET_PDEATHSIG`): no process can leave it, by whatever forks, which a process group or a
//! shell script cannot promise.
//!
//! Invariants, by their names in the protocol: database and supervisor share one fate (L9); nothing is started that would take writes unless a
//! deadline runs (A5); at the deadline everything is killed at once, with no attempt to end it cleanly (A6); what is told to be empty is.
//!
//! Absent on purpose: what a lease is, and what the database does. Nothing here speaks SQL.

mod alarm;
mod link;
mod vessel;
mod wire;

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::waitpid,
    },
    unistd::{Pid, getegid, geteuid},
};
use portolan_core::{failover::agent::STANDSTILL_MAX, model::time::Tick};
use tracing::{info, warn};

use alarm::Alarm;
use wire::{Conversation, Reply, Request, WireError};

pub use link::{Link, LinkError};
pub use vessel::run as run_vessel;
pub use wire::{Command, Manner, State, StopsBy, Verb};

/// The time since boot, sleep included.
pub type SinceBoot = fn() -> Tick;

/// Agents and people that are connected at once; more are turned away.
const CLIENTS_MAX: usize = 8;

/// It wakes so often where nothing happens, to see that it still does.
const TURN: Duration = Duration::from_millis(500);

/// For a clean stop, when the supervisor itself is told to end.
const STOP: Duration = Duration::from_secs(30);

/// For the vessel to do as it is told, before everything is killed from outside.
const OBEY: Duration = Duration::from_secs(2);

/// Why there is no supervisor, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Not a vessel.
    #[error("this is the inner part of `portolan supervise`, which starts it as the first process of a PID namespace; run that instead")]
    NotFirst,
    /// The kernel refuses.
    #[error("{attempt}: {error}")]
    Kernel {
        /// What was tried.
        attempt: &'static str,
        /// What it says.
        error: Errno,
    },
    /// The kernel lets nobody like us make a PID namespace.
    #[error(
        "make a PID namespace for the database: {0}; run the supervisor as root or with CAP_SYS_ADMIN, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)"
    )]
    NoVessel(Errno),
    /// The socket.
    #[error("listen on `{}`: {error}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The vessel ended, and everything in it.
    #[error("the vessel ended, and the database with it: {0}")]
    VesselEnded(String),
    /// Something else of the system.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The other side says what cannot be understood.
    #[error("{0}")]
    Talk(String),
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        Self::Talk(error.to_string())
    }
}

impl Problem {
    fn kernel(attempt: &'static str) -> impl Fn(Errno) -> Self {
        move |error| Self::Kernel { attempt, error }
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where agents connect. Only the same user may.
    pub socket: PathBuf,
    /// The database.
    pub command: Command,
    /// This program, and its arguments that run [`run_vessel`].
    pub vessel: (PathBuf, Vec<String>),
    /// Different for each supervisor.
    pub incarnation: u64,
}

/// From now on this process ends with the one that started it, however that ends: nothing of a demo or a test is left behind.
///
/// # Errors
/// The kernel does not let it.
pub fn tie() -> Result<(), Problem> {
    set_pdeathsig(Signal::SIGKILL).map_err(Problem::kernel("tie the supervisor to who started it"))
}

/// Runs until it is told to end (SIGTERM, SIGINT), or the vessel does. Must be called where no other thread runs: the kernel lets a process that
/// is about to have children in another PID namespace make no threads.
///
/// # Errors
/// [`Problem`]: nothing of the database runs any more, or nothing was started.
pub fn run(setup: Setup, clock: SinceBoot) -> Result<(), Problem> {
    let listener = listen(&setup.socket)?;
    let mut endings = SigSet::empty();
    endings.add(Signal::SIGTERM);
    endings.add(Signal::SIGINT);
    endings.add(Signal::SIGCHLD);
    endings.thread_block().map_err(Problem::kernel("hold back signals"))?;
    let signals =
        SignalFd::with_flags(&endings, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(Problem::kernel("take signals"))?;
    make_namespace()?;
    let (process, vessel) = launch(&setup)?;
    info!(incarnation = setup.incarnation, socket = %setup.socket.display(), "supervising");
    let supervisor = Supervisor {
        incarnation: setup.incarnation,
        process,
        vessel,
        state: State::default(),
        alarm: Alarm::new()?,
        asked: Vec::new(),
        n_asked: 0,
        clients: Vec::new(),
        n_clients: 0,
        ends_at: None,
        clock,
        went_on: clock(),
        stood_still: None,
    };
    let outcome = supervisor.serve(&listener, &signals);
    // Whoever is about to start another one finds no socket of a dead one.
    let _ = fs::remove_file(&setup.socket);
    outcome
}

fn listen(path: &Path) -> Result<UnixListener, Problem> {
    let problem = |error| Problem::Socket { path: path.to_owned(), error };
    match UnixStream::connect(path) {
        Ok(_) => return Err(problem(std::io::Error::new(ErrorKind::AddrInUse, "another supervisor runs there"))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(problem)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(problem)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(problem)?;
    listener.set_nonblocking(true).map_err(problem)?;
    Ok(listener)
}

/// The next child is the first process of a namespace. Who may not do so as it is may do so as the owner of a user namespace of its own.
fn make_namespace() -> Result<(), Problem> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(Problem::NoVessel(error)),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).map_err(Problem::NoVessel)?;
    // Inside everybody is who they are outside (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    Ok(())
}

fn launch(setup: &Setup) -> Result<(Pid, Conversation), Problem> {
    let (ours, theirs) = UnixStream::pair()?;
    let (program, arguments) = &setup.vessel;
    let child = Program::new(program).args(arguments).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
    let process = i32::try_from(child.id()).map_err(|_| Problem::Talk("the vessel has an impossible number".to_owned()))?;
    let mut vessel = Conversation::new(ours)?;
    vessel.say(&setup.command)?;
    Ok((Pid::from_raw(process), vessel))
}

/// A question that was passed on.
struct Asked {
    /// Its number at the vessel.
    id: u64,
    /// Whose it is; `None`: our own.
    client: Option<(u64, u64)>,
    /// When the vessel must have done it, or is killed; `None`: it may take its time.
    by: Option<Tick>,
}

struct Supervisor {
    incarnation: u64,
    process: Pid,
    vessel: Conversation,
    /// As the vessel said last.
    state: State,
    alarm: Alarm,
    asked: Vec<Asked>,
    n_asked: u64,
    clients: Vec<(u64, Conversation)>,
    n_clients: u64,
    /// It was told to end: when everything is killed.
    ends_at: Option<Tick>,
    clock: SinceBoot,
    /// When its present turn began.
    went_on: Tick,
    /// As in [`State`].
    stood_still: Option<(u64, u64)>,
}

impl Supervisor {
    fn serve(mut self, listener: &UnixListener, signals: &SignalFd) -> Result<(), Problem> {
        loop {
            self.alarm.set(Some(self.next_deadline()))?;
            self.wait(listener, signals)?;
            self.go_on();
            while let Ok(Some(signal)) = signals.read_signal() {
                let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
                if number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32 {
                    info!("told to end: the database is stopped first");
                    self.ends_at = Some((self.clock)() + STOP);
                    self.pass_on(None, Verb::Stop(Manner::Fast))?;
                }
            }
            match self.vessel.hear::<Reply>() {
                Ok(replies) => {
                    for reply in replies {
                        self.heard(reply);
                    }
                }
                Err(error) => return Err(self.sink(&error.to_string())),
            }
            self.accept(listener);
            self.hear_clients()?;
            if let Some(ends_at) = self.ends_at
                && (self.state.process.is_none() || (self.clock)() >= ends_at)
            {
                // With its process everything in the vessel ends.
                self.sink("told to end");
                return Ok(());
            }
            if let Some(why) = self.overdue() {
                return Err(self.sink(why));
            }
        }
    }

    fn wait(&self, listener: &UnixListener, signals: &SignalFd) -> Result<(), Problem> {
        let fixed = [listener.as_fd(), signals.as_fd(), self.vessel.stream().as_fd(), self.alarm.as_fd()];
        let clients = self.clients.iter().map(|(_, client)| client.stream().as_fd());
        let mut wait: Vec<PollFd<'_>> = fixed.into_iter().chain(clients).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut wait, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Problem::kernel("wait")(error)),
        }
    }

    /// Between the vessel's deadline and the moment at which nothing may be left.
    fn backstop(&self) -> Option<Tick> {
        let (kill_at, over_at) = (self.state.kill_at?, self.state.over_at?);
        Some(Tick(kill_at + over_at.saturating_sub(kill_at) / 2))
    }

    fn next_deadline(&self) -> Tick {
        let asked = self.asked.iter().filter_map(|asked| asked.by).min();
        let turn = self.went_on + TURN;
        [self.backstop(), asked, self.ends_at].into_iter().flatten().fold(turn, Tick::min)
    }

    /// Another turn. One that comes late shows that a kill might have, too (L10).
    fn go_on(&mut self) {
        let now = (self.clock)();
        let stood = now.since(std::mem::replace(&mut self.went_on, now));
        if stood > STANDSTILL_MAX {
            warn!("it stood still for {stood:?}: until it went on for a while, the end of a lease proves nothing");
            self.stood_still = Some((now.0, stood.as_micros().try_into().unwrap_or(u64::MAX)));
        }
    }

    fn overdue(&self) -> Option<&'static str> {
        let now = (self.clock)();
        if self.backstop().is_some_and(|at| now >= at) {
            return Some("the deadline passed and the vessel did not say that it is empty");
        }
        let is_late = self.asked.iter().any(|asked| asked.by.is_some_and(|by| now >= by));
        is_late.then_some("the vessel does not answer")
    }

    /// Kills the vessel from outside, and waits until everything in it is gone: its end is told only then.
    fn sink(&mut self, why: &str) -> Problem {
        warn!("the vessel is killed: {why}");
        let _ = kill(self.process, Signal::SIGKILL);
        while waitpid(self.process, None) == Err(Errno::EINTR) {}
        let state = State { incarnation: self.incarnation, ended: Some(why.to_owned()), starts: self.state.starts, ..State::default() };
        let owed: Vec<(u64, u64)> = self.asked.drain(..).filter_map(|asked| asked.client).collect();
        for (client, id) in owed {
            self.tell(client, &Reply { id, refused: None, state: state.clone() });
        }
        Problem::VesselEnded(why.to_owned())
    }

    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            match Conversation::new(stream) {
                Ok(client) if self.clients.len() < CLIENTS_MAX => {
                    self.n_clients += 1;
                    self.clients.push((self.n_clients, client));
                }
                Ok(_) => warn!("{CLIENTS_MAX} clients are connected; one more is turned away"),
                Err(error) => warn!("take a client: {error}"),
            }
        }
    }

    fn hear_clients(&mut self) -> Result<(), Problem> {
        let mut said = Vec::new();
        self.clients.retain_mut(|(client, conversation)| match conversation.hear::<Request>() {
            Ok(requests) => {
                said.extend(requests.into_iter().map(|request| (*client, request)));
                true
            }
            Err(WireError::Gone) => false,
            Err(error) => {
                warn!("a client is cut off: {error}");
                false
            }
        });
        for (client, request) in said {
            self.pass_on(Some((client, request.id)), request.verb)?;
        }
        Ok(())
    }

    fn pass_on(&mut self, client: Option<(u64, u64)>, verb: Verb) -> Result<(), Problem> {
        self.n_asked += 1;
        // A kill waits for processes that hang in the kernel; nothing else takes time.
        let by = (verb != Verb::Kill).then(|| (self.clock)() + OBEY);
        self.asked.push(Asked { id: self.n_asked, client, by });
        Ok(self.vessel.say(&Request { id: self.n_asked, verb })?)
    }

    fn heard(&mut self, reply: Reply) {
        self.state = State { incarnation: self.incarnation, stood_still: self.stood_still, ..reply.state };
        let asked = self.asked.iter().position(|asked| asked.id == reply.id).map(|at| self.asked.remove(at));
        match asked.and_then(|asked| asked.client) {
            Some((client, id)) => self.tell(client, &Reply { id, refused: reply.refused, state: self.state.clone() }),
            None if reply.id == 0 => {
                let news = Reply { id: 0, refused: None, state: self.state.clone() };
                let everybody: Vec<u64> = self.clients.iter().map(|(client, _)| *client).collect();
                for client in everybody {
                    self.tell(client, &news);
                }
            }
            None => {}
        }
    }

    fn tell(&mut self, client: u64, reply: &Reply) {
        self.clients.retain_mut(|(number, conversation)| *number != client || conversation.say(reply).is_ok());
    }
}
