//! Databases that another manager runs, as their agent sees and handles them: everything goes through the manager's own interface.
//!
//! ```text
//!  agent --look, act, fence--> Managed --probe, call--> a Manager: a program, a service, Patroni, CloudNativePG
//! ```
//!
//! What the verbs mean is in `portolan_core::failover::engine::managed`.
//!
//! Invariants: a call lasts no longer than its limit, and what it says has a bound; a call that was given up is over, or is refused by whoever
//! carries it out because a higher token came since.

pub mod exec;
pub mod http;
mod places;
mod settle;
mod turns;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use portolan_core::{failover::token::Token, model::ids::Label};
use serde_json::{Value, json};
use tracing::debug;

use super::{Members, Server, Trouble};

pub(super) use places::Places;
pub(super) use settle::{Passing, Settling};
pub(super) use turns::Turns;

pub use portolan_core::failover::engine::managed::{Call, Course, Probe, Role, Seen, Source, Upstream, Verb};

/// By whose right something is done: the same for the same thing, however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The data group.
    pub group: Label,
    /// The member's region.
    pub region: Label,
    /// Of the decision or grant; a lower one than was ever seen is to be refused.
    pub token: Token,
    /// The verb's word.
    pub step: &'static str,
}

/// `orders/use1/1.4711/fence`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.group, self.region, self.token, self.step)
    }
}

/// What a program or a service reads beside the verb: by whose right, and what the verb needs.
///
/// ```text
/// {"group": "orders", "region": "use1", "token": {"generation": 1, "epoch": 4711}, "key": "orders/use1/1.4711/rejoin",
///  "upstream": {"region": "euw1", "host": "10.0.0.2", "port": 5432}}
/// ```
///
/// `drain` has a `position`, `promote` an `above` (its timeline is above that), `rejoin` an `upstream`.
fn body(verb: &Verb, key: &Key) -> Value {
    let token = json!({ "generation": key.token.generation, "epoch": key.token.epoch });
    let mut body = json!({ "group": key.group.as_str(), "region": key.region.as_str(), "token": token, "key": key.to_string() });
    match verb {
        Verb::Drain(position) => body["position"] = (*position).into(),
        Verb::Promote { above } => body["above"] = (*above).into(),
        Verb::Rejoin(source) => {
            body["upstream"] = json!({ "region": source.region.as_str(), "host": source.host, "port": source.port });
        }
        Verb::Fence | Verb::Seal | Verb::Unseal | Verb::Verify => {}
    }
    body
}

/// Whoever runs a database.
#[async_trait]
pub trait Manager: Send + Sync + 'static {
    /// Where the members are, as the plan says now.
    fn set_members(&self, _: Members) {}

    /// What the database is now.
    ///
    /// # Errors
    /// Nothing is known, which is no statement about what it is.
    async fn probe(&self) -> Result<Seen, Trouble>;

    /// Does one thing. It may return before it is so: a probe shows when it is.
    ///
    /// # Errors
    /// It was refused, or nobody knows: a probe shows.
    async fn call(&self, verb: &Verb, key: &Key) -> Result<(), Trouble>;

    /// Lets a database that takes writes show it, where the manager can.
    ///
    /// # Errors
    /// It was not written, or nobody knows.
    async fn beat(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Returns when nothing of a call that was given up changes anything any more.
    async fn settled(&self) {}
}

/// A database under a manager.
#[derive(Debug)]
pub struct Managed<M> {
    manager: M,
    group: Label,
    region: Label,
    /// Host and port of each member.
    members: Mutex<Members>,
}

impl<M: Manager> Managed<M> {
    /// The member of this group in this region.
    #[must_use]
    pub fn new(manager: M, group: Label, region: Label) -> Self {
        Self { manager, group, region, members: Mutex::default() }
    }

    async fn call(&self, verb: &Verb, token: Token) -> Result<(), Trouble> {
        let key = Key { group: self.group.clone(), region: self.region.clone(), token, step: verb.word() };
        self.manager.call(verb, &key).await
    }
}

#[async_trait]
impl<M: Manager> Server for Managed<M> {
    type Course = Course;

    fn set_members(&self, members: Members) {
        self.manager.set_members(members.clone());
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// A manager that says nothing can be told to fence all the same, so that is no error here.
    async fn look(&self, _: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        let seen = self.manager.probe().await.unwrap_or_else(|trouble| Seen { silence: Some(trouble.0), ..Seen::default() });
        debug!(role = ?seen.role, fenced = seen.fenced, runs = seen.runs, silence = seen.silence, "what the manager says");
        Ok(seen)
    }

    /// What the plan says of it: a manager finds out by itself whether it can be followed.
    async fn source(&self, region: &Label) -> Result<Source, Trouble> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, port) = members.get(region).cloned().ok_or_else(|| Trouble(format!("the plan has no member in {region}")))?;
        Ok(Source { region: region.clone(), host, port })
    }

    async fn act(&self, call: &Call) -> Result<(), Trouble> {
        self.call(&call.verb, call.token).await
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.manager.beat().await
    }

    async fn settled(&self) {
        self.manager.settled().await;
    }

    fn is_managed(&self) -> bool {
        true
    }

    async fn fence(&self, token: Token) -> Result<(), Trouble> {
        self.call(&Verb::Fence, token).await
    }
}
