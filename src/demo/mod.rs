//! `portolan demo`: several regions on this machine with real daemons in each, and one region that is lost or cut off and comes back.
//!
//! ```text
//!  sites (HTTP on 127.10.x.y) <--probes-- nodes --DNS--> clients (resolvers that keep to the TTL, and sweeps past them)
//!        ^                                | ^               |
//!        |                          wan: relays between     |
//!        |                          regions, that are far   |
//!        |                                |                 |
//!        '--lose, revive, cut, mend-- script <--status, why-'--> screen, report
//! ```
//!
//! Beside them are copies of a database: see `data`.
//!
//! Why: a stranger shall see in a minute what this is, and be able to dig in from another terminal meanwhile. So everything is real: the nodes
//! are what `serve` runs, each with its own disk and ports, they are asked over their own sockets, and what is shown of them is what the
//! program's own verbs print. What lies between regions is emulated: see [`wan`].
//!
//! Invariants: every figure is measured, and everything that is expected is checked; what was not seen ends the demo with exit code 1.
//! Loopback only, free ports, directories for temporary files that are gone at the end: two demos can run side by side.
//! Absent on purpose: anything that a node would not do by itself; the script takes away and gives back, orders what an operator would, and
//! otherwise only looks.

mod ask;
mod clients;
mod data;
mod node;
mod plan;
mod scratch;
mod screen;
mod script;
mod site;
mod stage;
pub mod wan;
mod watching;

use std::{path::Path, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{DataKind, Demo, Env, Exit, Failure, Outcome, Scenario, Terminal},
    client::ClientError,
};
use data::Kind;
use screen::Screen;
use stage::{Props, Stage};

/// Threads for the daemon, the sites and the clients together: as many as the smallest machine has.
const THREADS: usize = 2;

/// How long the end waits for work that is not worth waiting for, such as a name being resolved.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Runs the demo to its end, or until Ctrl-C. It asks before each act when a person is at the terminal, unless `--yes` is given. `program`: this
/// one, which is started again for what has to be a process of its own.
///
/// # Errors
/// [`Exit::Error`] with one line that says what should have been seen and was not, what could not be started, or that an unattended demo
/// was interrupted.
pub fn run(demo: &Demo, program: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Error, format!("start the runtime: {error}")))?;
    let outcome = runtime.block_on(play(demo, program, env, terminal));
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    outcome
}

/// Why the demo ended before its end.
#[derive(Debug)]
enum Stop {
    /// A person wanted it.
    Quit,
    /// A signal came.
    Interrupted,
    /// Something that should be seen was not: which, and what was seen instead.
    Unseen(String),
    /// Something else went wrong.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(Failure::new(Exit::Error, format!("demo: {error}")))
    }
}

async fn play(demo: &Demo, program: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
    let mut screen = Screen::new(terminal, demo.yes);
    let mut interrupt = Interrupt::new()?;
    let data = match (demo.scenario, demo.data) {
        (Scenario::Partition, None) | (_, Some(DataKind::None)) => None,
        (_, Some(DataKind::Fake)) => Some(Kind::Fake),
        (Scenario::RegionLoss, None) | (_, Some(DataKind::Postgresql)) => Some(Kind::find(env)),
    };
    if demo.data == Some(DataKind::Postgresql) && data == Some(Kind::Fake) {
        return Err(Failure::new(Exit::Error, "demo: find the programs of PostgreSQL: neither in PATH nor below /usr/lib/postgresql"));
    }
    let props = Props { regions: usize::from(demo.regions), data, program, env };
    let started = tokio::select! {
        started = Box::pin(Stage::start(props)) => started.map_err(Stop::from),
        () = interrupt.wait() => Err(Stop::Interrupted),
    };
    let played = match started {
        Ok(mut stage) => {
            let played = tokio::select! {
                played = Box::pin(perform(demo.scenario, &mut stage, &mut screen)) => played,
                () = interrupt.wait() => Err(Stop::Interrupted),
            };
            // In any case, so that nothing is left behind.
            let stopped = stage.stop().await;
            played.and_then(|()| stopped.map_err(Stop::from))
        }
        Err(stop) => Err(stop),
    };
    match played {
        Ok(()) => Ok(Exit::Ok),
        Err(Stop::Quit) => {
            screen.say("stopped; nothing is left behind")?;
            Ok(Exit::Ok)
        }
        Err(Stop::Interrupted) if screen.is_attended() => {
            screen.say("\nstopped; nothing is left behind")?;
            Ok(Exit::Ok)
        }
        Err(Stop::Interrupted) => Err(Failure::new(Exit::Error, "demo: interrupted before its end; nothing is left behind")),
        Err(Stop::Unseen(what)) => Err(Failure::new(Exit::Error, format!("demo: not seen: {what}"))),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

async fn perform(scenario: Scenario, stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    match scenario {
        Scenario::RegionLoss => Box::pin(script::region_loss(stage, screen)).await,
        Scenario::Partition => Box::pin(script::partition(stage, screen)).await,
    }
}

/// SIGINT and SIGTERM.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Error, format!("listen for signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
