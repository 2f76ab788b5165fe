//! A server as an agent's engine: joins what is seen and done with what the core says is next, whatever the engine is.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portolan_core::{
    failover::{
        agent::{Facts, Task},
        engine::{Act, Course as Plan, Next},
        lease::Grant,
        order::{Isolate, Restored, Say},
        token::Token,
    },
    model::ids::Label,
};

use super::HearsPlan;
use crate::{
    agent::{Course, Engine, Step, Vessel},
    engine::{Members, Server, Shelf},
};

/// A server beside an agent.
pub struct Joined<S> {
    server: Arc<S>,
    region: Label,
    /// The lower is promoted first; `None`: never.
    priority: Mutex<Option<u16>>,
}

impl<S: Server> Joined<S> {
    /// Of the member in this region.
    #[must_use]
    pub fn new(server: S, region: Label, priority: Option<u16>) -> Self {
        Self { server: Arc::new(server), region, priority: Mutex::new(priority) }
    }
}

impl<S: Server> HearsPlan for Joined<S> {
    fn take(&self, members: Members, priority: Option<u16>) {
        self.server.set_members(members);
        *self.priority.lock().unwrap_or_else(PoisonError::into_inner) = priority;
    }
}

#[async_trait]
impl<S: Server> Engine for Joined<S> {
    async fn look(&self, vessel: Vessel) -> Result<Facts, String> {
        let seen = self.server.look(vessel).await.map_err(|trouble| trouble.0)?;
        let priority = *self.priority.lock().unwrap_or_else(PoisonError::into_inner);
        let aside = self.server.shelf().and_then(Shelf::told);
        Ok(Facts { aside, ..S::Course::facts(&seen, &self.region, priority) })
    }

    async fn beat(&self) -> Result<(), String> {
        self.server.beat().await.map_err(|trouble| trouble.0)
    }

    fn begin(&self, task: &Task, grant: Option<&Grant>) -> Box<dyn Course> {
        Box::new(Way { server: Arc::clone(&self.server), plan: S::Course::begin(task, grant), token: task.token, next: None })
    }

    async fn settled(&self) {
        self.server.settled().await;
    }

    fn is_managed(&self) -> bool {
        self.server.is_managed()
    }

    fn opens_copies(&self) -> bool {
        self.server.opens_copies()
    }

    async fn isolate(&self, wanted: &Isolate, say: &Say) -> Result<Restored, String> {
        self.server.isolate(wanted, say).await.map_err(|trouble| trouble.0)
    }

    async fn clear_sandboxes(&self) -> Result<(), String> {
        self.server.clear_sandboxes().await.map_err(|trouble| trouble.0)
    }

    async fn fence(&self, token: Token) -> Result<(), String> {
        self.server.fence(token).await.map_err(|trouble| trouble.0)
    }
}

struct Way<S: Server> {
    server: Arc<S>,
    plan: S::Course,
    /// Of the order.
    token: Token,
    next: Option<<S::Course as Plan>::Verb>,
}

#[async_trait]
impl<S: Server> Course for Way<S> {
    async fn next(&mut self, vessel: Vessel) -> Result<Step, String> {
        let seen = self.server.look(vessel).await.map_err(|trouble| trouble.0)?;
        let mut trouble = None;
        let source = match self.plan.source() {
            Some(region) => self.server.source(region).await.map_err(|error| trouble = Some(error.0)).ok(),
            None => None,
        };
        let verb = match self.plan.next(&seen, source.as_ref()) {
            Next::Done => return Ok(Step::Done),
            Next::Fail(why) => return Ok(Step::Fail(why)),
            Next::Wait(what) => return Ok(Step::Wait(trouble.map_or_else(|| what.clone(), |trouble| format!("{what}: {trouble}")))),
            Next::Do(verb) => verb,
        };
        let act = S::Course::act(&seen, &verb);
        if matches!(act, Act::Start { .. }) {
            self.server.prepare().await.map_err(|trouble| trouble.0)?;
        }
        self.plan.tries(&verb);
        // What the supervisor does is not told to have been done: a look shows it.
        if !matches!(act, Act::Engine { .. }) {
            self.plan.did(&verb);
        }
        self.next = Some(verb);
        Ok(Step::Act(act))
    }

    async fn act(&mut self) -> Result<(), String> {
        let Some(verb) = self.next.take() else { return Ok(()) };
        self.server.act(&verb).await.map_err(|trouble| trouble.0)?;
        if let Some(shelf) = self.server.shelf() {
            shelf.keep(self.token).map_err(|trouble| trouble.0)?;
        }
        self.plan.did(&verb);
        Ok(())
    }
}
