//! A task: a course of the engine, verb by verb, until it is so, cannot be, or takes too long.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portolan_core::failover::{
    agent::{Agent, TROUBLE_CHARS_MAX, Task},
    lease::Grant,
};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{
    engine::{Act, Engine, Step},
    looker::{ask, vessel},
    supervisor::{Link, LinkError, Manner, SinceBoot, Verb},
};

/// Between two looks of a task that waits; the first ones are sooner, because what is waited for is mostly soon.
const LOOK: Duration = Duration::from_millis(50);

/// The first of those pauses; twice as long each time.
const LOOK_FIRST: Duration = Duration::from_millis(5);

/// A task that waits so long for one thing ends, says what for, and is begun again.
const PATIENCE: Duration = Duration::from_secs(15);

/// For a clean stop.
const STOP: Duration = Duration::from_secs(60);

/// What a task needs.
pub(super) struct Hands {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) agent: Arc<Mutex<Agent>>,
    pub(super) socket: PathBuf,
    pub(super) clock: SinceBoot,
    /// Whoever handles the database has it: the task, or a manager's fence beside the tasks. What is begun may be of a higher token, so nothing of an
    /// older one acts beside it (A2); and a fence that shows already is let to its end, because its manager may have something left to write down.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Hands {
    /// Runs it. What went wrong, in one line; `None`: it is done.
    pub(super) async fn run(&self, task: &Task, grant: Option<&Grant>) -> Option<String> {
        let _turn = self.turn.lock().await;
        info!(token = %task.token, "begin: {:?}", task.work);
        let outcome = self.go(task, grant).await;
        match &outcome {
            Ok(()) => info!(token = %task.token, "done: {:?}", task.work),
            Err(why) => warn!(token = %task.token, "{:?}: {why}", task.work),
        }
        outcome.err().map(|why| why.chars().take(TROUBLE_CHARS_MAX).collect())
    }

    async fn go(&self, task: &Task, grant: Option<&Grant>) -> Result<(), String> {
        let mut course = self.engine.begin(task, grant);
        let mut link = None;
        let (mut waits_since, mut pause) = (Instant::now(), LOOK_FIRST);
        loop {
            let state = if self.engine.is_managed() { None } else { ask(&mut link, &self.socket).await };
            let waits_for = match course.next(vessel(state.as_ref())).await {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::Fail(why)) => return Err(why),
                Ok(Step::Wait(what)) => what,
                Err(why) => why,
                Ok(Step::Act(act)) => {
                    let opens = matches!(act, Act::Engine { opens: true } | Act::Start { opens: true });
                    if opens && !self.may_open(task) {
                        return Err("the lease does not cover it any more".to_owned());
                    }
                    match act {
                        Act::Engine { .. } => course.act().await?,
                        Act::Start { .. } => order(&mut link, Verb::Start).await?,
                        Act::Stop => {
                            order(&mut link, Verb::Stop(Manner::Fast)).await?;
                            self.await_end(&mut link).await?;
                        }
                    }
                    (waits_since, pause) = (Instant::now(), LOOK_FIRST);
                    continue;
                }
            };
            if waits_since.elapsed() >= PATIENCE {
                return Err(waits_for);
            }
            sleep(pause).await;
            pause = LOOK.min(pause * 2);
        }
    }

    fn may_open(&self, task: &Task) -> bool {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).may(task, true, (self.clock)())
    }

    async fn await_end(&self, link: &mut Option<Link>) -> Result<(), String> {
        let since = Instant::now();
        while ask(link, &self.socket).await.is_none_or(|state| state.process.is_some()) {
            if since.elapsed() >= STOP {
                return Err(format!("it does not stop within {}s", STOP.as_secs()));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

async fn order(link: &mut Option<Link>, verb: Verb) -> Result<(), String> {
    let Some(open) = link else { return Err("the supervisor does not answer".to_owned()) };
    match open.ask(verb).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if matches!(error, LinkError::Gone(_)) {
                *link = None;
            }
            Err(error.to_string())
        }
    }
}
