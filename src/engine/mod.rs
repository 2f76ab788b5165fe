//! Database engines: what one is, and the single things that are done to it. When what is done, the core decides.

mod beside;
#[cfg(test)]
mod canned;
pub mod cnpg;
pub mod fake;
pub mod managed;
pub mod mariadb;
pub mod patroni;
pub mod postgres;
pub mod redis;
mod shelf;

use std::collections::BTreeMap;

use async_trait::async_trait;
use portolan_core::{
    failover::{
        engine::Course,
        order::{Isolate, Restored, Say},
        token::Token,
    },
    model::{causes::chain, ids::Label},
};

pub use shelf::Shelf;

/// Why something could not be done or seen, in one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// Host and port of each member.
pub type Members = BTreeMap<Label, (String, u16)>;

/// A server beside an agent: what is seen of it, and the single things that are done to it. Which one when, its course says.
#[async_trait]
pub trait Server: Send + Sync + 'static {
    /// The core's course for this engine.
    type Course: Course;

    /// Where the members are, as the plan says now.
    fn set_members(&self, members: Members);

    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    ///
    /// # Errors
    /// Nothing is known, which is no statement about what runs.
    async fn look(&self, vessel: Option<(u64, bool)>) -> Result<<Self::Course as Course>::Seen, Trouble>;

    /// What the member in that region says of itself.
    ///
    /// # Errors
    /// It does not answer, or not so.
    async fn source(&self, region: &Label) -> Result<<Self::Course as Course>::Source, Trouble>;

    /// What must be so before the supervisor starts it.
    ///
    /// # Errors
    /// It must not be started; why.
    async fn prepare(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Does one thing; the supervisor does what the course says is its ([`Course::act`]).
    ///
    /// # Errors
    /// It was not done, or nobody knows: a look shows.
    async fn act(&self, verb: &<Self::Course as Course>::Verb) -> Result<(), Trouble>;

    /// Writes the row that shows that it takes writes, without waiting for standbys.
    ///
    /// # Errors
    /// It was not written, or nobody knows.
    async fn beat(&self) -> Result<(), Trouble>;

    /// Returns when nothing of an act that was given up changes anything any more.
    async fn settled(&self) {}

    /// Where is kept what it put aside; `None`: it puts nothing aside.
    fn shelf(&self) -> Option<&Shelf> {
        None
    }

    /// Whether another manager runs it, so that no supervisor stands under it.
    fn is_managed(&self) -> bool {
        false
    }

    /// Whether [`Self::isolate`] can be asked for.
    fn opens_copies(&self) -> bool {
        false
    }

    /// Opens a copy of it where nobody reaches it, and asks that. `say`: is told how far it is. Dropped, it goes no further.
    ///
    /// # Errors
    /// What was not shown.
    async fn isolate(&self, _: &Isolate, _: &Say) -> Result<Restored, Trouble> {
        Err(Trouble("this version opens no copies of its engine".to_owned()))
    }

    /// Ends and removes every copy that was opened.
    ///
    /// # Errors
    /// Something is left.
    async fn clear_sandboxes(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// One that a manager runs: lets it take no writes, by that token, which is the highest that was seen. It is repeated until a look shows it.
    ///
    /// # Errors
    /// It was not done, or nobody knows: a look shows.
    async fn fence(&self, _: Token) -> Result<(), Trouble> {
        Err(Trouble("its supervisor kills it".to_owned()))
    }
}

/// The body of an answer, up to so many octets.
///
/// # Errors
/// It is longer, or did not come to its end; why, without the address.
async fn take(mut answer: reqwest::Response, octets_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if body.len() + chunk.len() > octets_max {
            return Err(format!("its answer is longer than {octets_max} octets"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
