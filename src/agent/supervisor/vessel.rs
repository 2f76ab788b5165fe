//! The first process of the vessel: starts the database, reaps what it leaves, and kills everything when the time comes.
//!
//! The kernel kills all processes of a PID namespace when its first one ends, however that comes about, and gives the first one every process whose
//! parent is gone: so nothing outlives it, and it knows when nothing is left. It counts the deadline by itself: whoever stops the agent and
//! the supervisor, too, does not stop it.

use std::{
    os::{
        fd::AsFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command as Program, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};
use portolan_core::model::time::Tick;

use super::{
    Problem, SinceBoot,
    alarm::Alarm,
    wire::{Command, Conversation, Manner, Reply, Request, State, StopsBy, Verb, WireError},
};

/// Runs until the supervisor is gone. `clock`: since boot.
///
/// # Errors
/// [`Problem`]; with the end of this process everything in the vessel ends.
pub fn run(clock: SinceBoot) -> Result<(), Problem> {
    // Everything else would be killed in place of a database.
    if getpid() != Pid::from_raw(1) {
        return Err(Problem::NotFirst);
    }
    set_pdeathsig(Signal::SIGKILL).map_err(Problem::kernel("tie the vessel to its supervisor"))?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut supervisor = Conversation::new(UnixStream::from(stdin))?;
    let Some(command) = await_command(&mut supervisor)? else { return Ok(()) };
    heed_signals()?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().map_err(Problem::kernel("hold back signals"))?;
    let signals =
        SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(Problem::kernel("take signals"))?;
    let mut vessel = Vessel { command, state: State::default(), alarm: Alarm::new()?, clock };
    // What the supervisor said right after its first line has come with it.
    let mut is_first = true;
    loop {
        if !std::mem::take(&mut is_first) {
            let mut wait = [
                PollFd::new(supervisor.stream().as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(vessel.alarm.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wait, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Problem::kernel("wait")(error)),
            }
        }
        let before = vessel.state.clone();
        // Time first: a late renewal does not save what was to be killed.
        vessel.keep_time()?;
        while let Ok(Some(_)) = signals.read_signal() {}
        vessel.reap()?;
        match supervisor.hear::<Request>() {
            Ok(requests) => {
                for request in requests {
                    let refused = vessel.asked(request.verb)?.err();
                    supervisor.say(&Reply { id: request.id, refused, state: vessel.state.clone() })?;
                }
            }
            Err(WireError::Gone) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if vessel.state != before {
            supervisor.say(&Reply { id: 0, refused: None, state: vessel.state.clone() })?;
        }
    }
}

/// What was ignored where the supervisor was started, as under nohup or by a script in the background, would be ignored by the database too, and
/// it would not end when it is told to. A signal with a handler is what a new program begins with: not ignored (execve(2)).
fn heed_signals() -> Result<(), Problem> {
    let unheard = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        signal_hook::flag::register(signal as i32, Arc::clone(&unheard))?;
    }
    Ok(())
}

/// Starts a program that no signal is held back from: a new process begins with the mask of the thread that made it (sigprocmask(2)), and one
/// that does not look after its own would never hear that it is to end.
fn unmasked(mut command: Program) -> Result<std::io::Result<Child>, Problem> {
    let held_back = SigSet::thread_get_mask().map_err(Problem::kernel("look which signals are held back"))?;
    SigSet::empty().thread_set_mask().map_err(Problem::kernel("let signals through"))?;
    let child = command.spawn();
    held_back.thread_set_mask().map_err(Problem::kernel("hold back signals"))?;
    Ok(child)
}

/// The supervisor's first line; `None`: it is gone.
fn await_command(supervisor: &mut Conversation) -> Result<Option<Command>, Problem> {
    loop {
        {
            let mut wait = [PollFd::new(supervisor.stream().as_fd(), PollFlags::POLLIN)];
            match poll(&mut wait, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Problem::kernel("wait")(error)),
            }
        }
        match supervisor.hear_one::<Command>() {
            Ok(Some(command)) => return Ok(Some(command)),
            Ok(None) => {}
            Err(WireError::Gone) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

struct Vessel {
    command: Command,
    state: State,
    alarm: Alarm,
    clock: SinceBoot,
}

impl Vessel {
    fn asked(&mut self, verb: Verb) -> Result<Result<(), String>, Problem> {
        Ok(match verb {
            Verb::Status => Ok(()),
            Verb::Arm { kill_at, over_at } => self.arm(kill_at, over_at)?,
            Verb::Start => {
                let started = self.start()?;
                // Who ended while signals were not held back is told by none.
                self.reap()?;
                started
            }
            Verb::Stop(manner) => self.stop(manner),
            Verb::Kill => {
                self.empty("killed, as it was ordered")?;
                Ok(())
            }
        })
    }

    fn arm(&mut self, kill_at: u64, over_at: u64) -> Result<Result<(), String>, Problem> {
        if Tick(kill_at) <= (self.clock)() || over_at < kill_at {
            return Ok(Err("the time at which everything is to be killed has passed".to_owned()));
        }
        (self.state.kill_at, self.state.over_at) = (Some(kill_at), Some(over_at));
        self.alarm.set(Some(Tick(kill_at)))?;
        Ok(Ok(()))
    }

    fn keep_time(&mut self) -> Result<(), Problem> {
        if self.state.kill_at.is_some_and(|at| Tick(at) <= (self.clock)()) {
            self.empty("killed at the end of its lease")?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Result<(), String>, Problem> {
        let command = match self.command() {
            Ok(command) => command,
            Err(why) => return Ok(Err(why)),
        };
        let child = match unmasked(command)? {
            Ok(child) => child,
            Err(error) => return Ok(Err(format!("start `{}`: {error}", self.command.program.display()))),
        };
        // Linux numbers processes far below where this would not fit.
        self.state.process = i32::try_from(child.id()).ok();
        self.state.ended = None;
        self.state.starts += 1;
        Ok(Ok(()))
    }

    fn command(&self) -> Result<Program, String> {
        if self.state.process.is_some() {
            return Err("the database runs already".to_owned());
        }
        let Command { program, arguments, directory, mark, user, stops_by: _ } = &self.command;
        let is_marked = mark.try_exists().map_err(|error| format!("look for `{}`: {error}", mark.display()))?;
        if !is_marked && self.state.kill_at.is_none() {
            return Err(format!(
                "without `{}` the database would take writes, and no lease is running: order it to lead, or to follow",
                mark.display()
            ));
        }
        let mut command = Program::new(program);
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).process_group(0);
        if let Some((user, group)) = user {
            command.uid(*user).gid(*group);
        }
        Ok(command)
    }

    fn stop(&self, manner: Manner) -> Result<(), String> {
        let signal = match (manner, self.command.stops_by) {
            (Manner::Fast, StopsBy::Interrupt) => Signal::SIGINT,
            (Manner::Fast, StopsBy::Terminate) => Signal::SIGTERM,
            (Manner::Immediate, _) => Signal::SIGQUIT,
        };
        match self.state.process.map(|process| kill(Pid::from_raw(process), signal)) {
            None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
            Some(Err(error)) => Err(format!("signal the database: {error}")),
        }
    }

    /// Takes in who ended. With the main process everything ends: what it left is without a head.
    fn reap(&mut self) -> Result<(), Problem> {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Problem::kernel("wait for processes")(error)),
                Ok(status) => {
                    if status.pid().map(Pid::as_raw) == self.state.process && self.state.process.is_some() {
                        let how = match status {
                            WaitStatus::Exited(_, 0) => "ended by itself".to_owned(),
                            WaitStatus::Exited(_, code) => format!("ended with exit code {code}"),
                            WaitStatus::Signaled(_, signal, _) => format!("ended by {signal}"),
                            other => format!("ended: {other:?}"),
                        };
                        let deadline = (self.state.kill_at, self.state.over_at);
                        self.empty(&how)?;
                        // The lease goes on: it may be started again by it.
                        (self.state.kill_at, self.state.over_at) = deadline;
                        self.alarm.set(deadline.0.map(Tick))?;
                    }
                }
            }
        }
    }

    /// Kills everything but this process, and waits until nothing is left. What hangs in the kernel is waited for: it is not gone.
    fn empty(&mut self, how: &str) -> Result<(), Problem> {
        loop {
            match kill(Pid::from_raw(-1), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(Problem::kernel("kill everything in the vessel")(error)),
            }
            match waitpid(Pid::from_raw(-1), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => break,
                Err(error) => return Err(Problem::kernel("wait for processes")(error)),
            }
        }
        if self.state.process.take().is_some() {
            self.state.ended = Some(how.to_owned());
        }
        (self.state.kill_at, self.state.over_at) = (None, None);
        self.alarm.set(None)
    }
}
