//! A Redis server as an agent's engine: joins what is seen and done with what the core says is next.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portolan_core::{
    failover::{
        agent::{Facts, Task},
        engine::redis::{Course as Plan, Next, Verb, facts},
        lease::Grant,
    },
    model::ids::Label,
};

use super::HearsPlan;
use crate::{
    agent::{Act, Course, Engine, Step, Vessel},
    engine::{Members, redis::Redis},
};

/// A Redis server beside an agent.
pub struct RedisEngine {
    server: Arc<Redis>,
    region: Label,
    /// The lower is promoted first; `None`: never.
    priority: Mutex<Option<u16>>,
}

impl RedisEngine {
    /// Of the member in this region.
    #[must_use]
    pub fn new(server: Redis, region: Label, priority: Option<u16>) -> Self {
        Self { server: Arc::new(server), region, priority: Mutex::new(priority) }
    }
}

impl HearsPlan for RedisEngine {
    fn take(&self, members: Members, priority: Option<u16>) {
        self.server.set_members(members);
        *self.priority.lock().unwrap_or_else(PoisonError::into_inner) = priority;
    }
}

#[async_trait]
impl Engine for RedisEngine {
    async fn look(&self, vessel: Vessel) -> Result<Facts, String> {
        let seen = self.server.look(vessel).await.map_err(|trouble| trouble.0)?;
        let priority = *self.priority.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(facts(&seen, &self.region, priority))
    }

    async fn beat(&self) -> Result<(), String> {
        self.server.beat().await.map_err(|trouble| trouble.0)
    }

    fn begin(&self, task: &Task, grant: Option<&Grant>) -> Box<dyn Course> {
        let above = grant.map_or(0, |grant| grant.above);
        Box::new(Way { server: Arc::clone(&self.server), plan: Plan::new(task.work.clone(), task.token, above), next: None })
    }

    /// What was sent is carried out before any look that begins later: a server reads what has arrived on one connection before it answers on another
    /// that was made after. Beside that nothing outlives its question but the copying of evidence, which touches no database.
    async fn settled(&self) {}
}

struct Way {
    server: Arc<Redis>,
    plan: Plan,
    next: Option<Verb>,
}

#[async_trait]
impl Course for Way {
    async fn next(&mut self, vessel: Vessel) -> Result<Step, String> {
        let seen = self.server.look(vessel).await.map_err(|trouble| trouble.0)?;
        let mut trouble = None;
        let source = match self.plan.source() {
            Some(region) => self.server.source(region).await.map_err(|error| trouble = Some(error.0)).ok(),
            None => None,
        };
        let step = match self.plan.next(&seen, source.as_ref()) {
            Next::Done => Step::Done,
            Next::Fail(why) => Step::Fail(why),
            Next::Wait(what) => Step::Wait(trouble.map_or_else(|| what.to_owned(), |trouble| format!("{what}: {trouble}"))),
            Next::Do(verb) => {
                let act = match &verb {
                    Verb::Start => Act::Start { opens: !seen.is_marked },
                    Verb::Stop => Act::Stop,
                    Verb::Promote | Verb::Sign(_) => Act::Engine { opens: true },
                    _ => Act::Engine { opens: false },
                };
                // What the supervisor does is not told to have been done: a look shows it.
                if matches!(act, Act::Start { .. } | Act::Stop) {
                    self.plan.did(&verb);
                }
                self.next = Some(verb);
                Step::Act(act)
            }
        };
        Ok(step)
    }

    async fn act(&mut self) -> Result<(), String> {
        let Some(verb) = self.next.take() else { return Ok(()) };
        self.server.act(&verb).await.map_err(|trouble| trouble.0)?;
        self.plan.did(&verb);
        Ok(())
    }
}
