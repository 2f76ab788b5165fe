//! What a database engine is to its agent.

use async_trait::async_trait;
pub use portolan_core::failover::engine::Act;
use portolan_core::failover::{
    agent::{Facts, Task},
    lease::Grant,
    order::{Isolate, Restored, Say},
    token::Token,
};

/// What the supervisor says: its incarnation, and whether something runs in its vessel. `None`: it does not answer, or there is none.
pub type Vessel = Option<(u64, bool)>;

/// A database beside this agent.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Looks at it.
    ///
    /// # Errors
    /// One line; nothing is known.
    async fn look(&self, vessel: Vessel) -> Result<Facts, String>;

    /// Lets a database that takes writes show it: the row is written that probes look for, in the database itself and without waiting for
    /// standbys, which are none of its health.
    ///
    /// # Errors
    /// One line; it was not written, or nobody knows.
    async fn beat(&self) -> Result<(), String>;

    /// Begins a task. `grant`: the one that is held, for tasks that open the database.
    fn begin(&self, task: &Task, grant: Option<&Grant>) -> Box<dyn Course>;

    /// Returns when nothing of a task that was dropped acts any more.
    async fn settled(&self);

    /// Whether another manager runs it: no supervisor is asked, and what must not write is fenced by [`Self::fence`].
    fn is_managed(&self) -> bool {
        false
    }

    /// Whether [`Self::isolate`] can be asked for.
    fn opens_copies(&self) -> bool {
        false
    }

    /// Opens a copy of it where nobody reaches it, and asks that. `say`: is told how far it is. Whatever becomes of it, [`Self::clear_sandboxes`] is
    /// called behind it.
    ///
    /// # Errors
    /// One line: what was not shown.
    async fn isolate(&self, _: &Isolate, _: &Say) -> Result<Restored, String> {
        Err("this version opens no copies of its engine".to_owned())
    }

    /// Ends and removes every copy that was opened.
    ///
    /// # Errors
    /// One line: something is left.
    async fn clear_sandboxes(&self) -> Result<(), String> {
        Ok(())
    }

    /// Has the manager fence it, by the highest token that was seen. It is repeated until a look shows it.
    ///
    /// # Errors
    /// One line; a look shows what was done.
    async fn fence(&self, _: Token) -> Result<(), String> {
        Err("its supervisor kills it".to_owned())
    }
}

/// What a task does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is so.
    Done,
    /// This, by [`Course::act`] or by the supervisor.
    Act(Act),
    /// It looks again; what is waited for.
    Wait(String),
    /// It cannot be; why.
    Fail(String),
}

/// A task under way, as the engine does it.
#[async_trait]
pub trait Course: Send {
    /// Looks, and says what is next.
    ///
    /// # Errors
    /// One line; it could not be seen, and is looked at again.
    async fn next(&mut self, vessel: Vessel) -> Result<Step, String>;

    /// Does what [`Self::next`] said, where the engine is to do it.
    ///
    /// # Errors
    /// One line; a look shows what was done.
    async fn act(&mut self) -> Result<(), String>;
}
