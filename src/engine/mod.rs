//! Database engines: what one is, and the single things that are done to it. When what is done, the core decides.

pub mod fake;
pub mod mariadb;
pub mod patroni;
pub mod postgres;
pub mod redis;

use std::collections::BTreeMap;

use async_trait::async_trait;
use portolan_core::{
    failover::engine::postgres::{Seen, Source, Verb},
    model::ids::Label,
};

/// Why something could not be done or seen, in one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// Host and port of each member.
pub type Members = BTreeMap<Label, (String, u16)>;

/// A server that ships its log to standbys as PostgreSQL does, so that the same course leads it.
#[async_trait]
pub trait Ships: Send + Sync + 'static {
    /// Where the members are, as the plan says now.
    fn set_members(&self, members: Members);

    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    ///
    /// # Errors
    /// Nothing is known, which is no statement about what runs.
    async fn look(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble>;

    /// What the member in that region says of itself.
    ///
    /// # Errors
    /// It does not answer, or not so.
    async fn source(&self, region: &Label) -> Result<Source, Trouble>;

    /// What must be so before the supervisor starts it as a standby.
    ///
    /// # Errors
    /// The files cannot be changed.
    fn prepare(&self) -> Result<(), Trouble>;

    /// Does one thing; the supervisor does [`Verb::Start`] and [`Verb::Stop`].
    ///
    /// # Errors
    /// It was not done, or nobody knows: a look shows.
    async fn act(&self, verb: &Verb) -> Result<(), Trouble>;

    /// Writes the row that shows that it takes writes, without waiting for standbys.
    ///
    /// # Errors
    /// It was not written, or nobody knows.
    async fn beat(&self) -> Result<(), Trouble>;

    /// Returns when nothing of an act that was given up changes anything any more.
    async fn settled(&self);
}
