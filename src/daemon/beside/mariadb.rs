//! A MariaDB server as an agent's engine: joins what is seen and done with what the core says is next.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portolan_core::{
    failover::{
        agent::{Facts, Task},
        choose::Durability,
        lease::Grant,
    },
    model::ids::Label,
};

use super::HearsPlan;
use crate::{
    agent::{Act, Course, Engine, Step, Vessel},
    config::agent::sections,
    engine::{
        Members,
        mariadb::{self, Course as Plan, Mariadb, Next, Verb, facts},
    },
};

/// What the server is started with.
pub(super) fn arguments(of: &sections::Mariadb) -> Vec<String> {
    let needed = mariadb::arguments(of.option_file.as_path(), of.data_directory.as_path(), &of.log_bin.0, of.domain);
    needed.into_iter().chain(of.arguments.iter().map(|text| text.0.clone())).collect()
}

/// A MariaDB server beside an agent.
pub struct MariadbEngine {
    server: Arc<Mariadb>,
    region: Label,
    /// The lower is promoted first; `None`: never.
    priority: Mutex<Option<u16>>,
}

impl MariadbEngine {
    /// Of the member in this region.
    #[must_use]
    pub fn new(server: Mariadb, region: Label, priority: Option<u16>) -> Self {
        Self { server: Arc::new(server), region, priority: Mutex::new(priority) }
    }
}

impl HearsPlan for MariadbEngine {
    fn take(&self, members: Members, priority: Option<u16>) {
        self.server.set_members(members);
        *self.priority.lock().unwrap_or_else(PoisonError::into_inner) = priority;
    }
}

#[async_trait]
impl Engine for MariadbEngine {
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
        let wants_quorum = grant.is_some_and(|grant| matches!(grant.durability, Durability::Quorum { .. }));
        let plan = Plan::new(task.work.clone(), task.token, above);
        Box::new(Way { server: Arc::clone(&self.server), plan, next: None, wants_quorum })
    }

    async fn settled(&self) {
        self.server.settled().await;
    }
}

struct Way {
    server: Arc<Mariadb>,
    plan: Plan,
    next: Option<Verb>,
    /// The grant says that standbys acknowledge writes, which MariaDB's do not.
    wants_quorum: bool,
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
        let verb = match self.plan.next(&seen, source.as_ref()) {
            Next::Done => return Ok(Step::Done),
            Next::Fail(why) => return Ok(Step::Fail(why)),
            Next::Wait(what) => return Ok(Step::Wait(trouble.map_or_else(|| what.clone(), |trouble| format!("{what}: {trouble}")))),
            Next::Do(verb) => verb,
        };
        let act = match &verb {
            Verb::Start => {
                self.server.prepare().await.map_err(|trouble| trouble.0)?;
                Act::Start { opens: false }
            }
            Verb::Stop => Act::Stop,
            Verb::Open { .. } if self.wants_quorum => {
                return Ok(Step::Fail("a group of MariaDB is asynchronous: write `durability: async` in the plan".to_owned()));
            }
            Verb::Open { .. } => Act::Engine { opens: true },
            _ => Act::Engine { opens: false },
        };
        // What the supervisor does is not told to have been done: a look shows it. A server that cannot be closed is stopped all the same.
        if matches!(verb, Verb::Start | Verb::Stop | Verb::Close) {
            self.plan.did(&verb);
        }
        self.next = Some(verb);
        Ok(Step::Act(act))
    }

    async fn act(&mut self) -> Result<(), String> {
        let Some(verb) = self.next.take() else { return Ok(()) };
        self.server.act(&verb).await.map_err(|trouble| trouble.0)?;
        self.plan.did(&verb);
        Ok(())
    }
}
