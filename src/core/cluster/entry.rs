//! What Raft commits: one change, who wants it, why, and the time that the proposer stamped.
//!
//! `apply` has no clock: whatever depends on time is judged by [`Entry::at`]. Proposers' clocks differ, so times may go back from one entry
//! to the next; nothing here relies on their order.
//!
//! Form: JSON, `{"kind":…,"feature_level":…,"entry":{…}}`. Text, because an auditor and an engineer at night read it without a tool.
//! Canonical, because it is written by one serializer from structs and ordered maps without floating point: equal values give equal octets.
//! Octets that this version would have written otherwise are not read, so no value has two forms.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    change::{Change, End},
    limits::{ACTOR_MAX, AT_MAX_MS, ENTRY_OCTETS_MAX, OVERRULES_MAX, REASON_MAX, REQUEST_ID_MAX, count, line},
    refusal::{Halt, Refusal, Rule},
    wire,
};
use crate::model::{time::Timestamp, units::Share};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Wall clock of the proposer.
    pub at: Timestamp,
    /// Who wants it.
    pub by: Actor,
    /// Chosen by the client: the same id with the same content has its effect once. `None`: no such promise.
    pub request_id: Option<String>,
    /// Why, in one line; may be empty where the change explains itself.
    pub reason: String,
    /// The share of clients whose answer the change moves, as the proposer works it out; `None`: nobody knows, which is not zero.
    pub moves: Option<Share>,
    /// Rules that shall not refuse it.
    pub overrules: Vec<Overrule>,
    /// What is to change.
    pub change: Change,
}

/// Who wants a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The identity as it was proved: of a certificate, a token, a socket.
    pub name: String,
    /// As which it acts.
    pub role: Role,
}

/// As which somebody acts. Who may what is checked where identities are known, before an entry is proposed; here it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Drains, holds, switches over.
    Operator,
    /// Approves what may lose data.
    Approver,
    /// Changes plan and members.
    Admin,
    /// On the socket of a node, when nothing else works.
    Breakglass,
    /// The cluster itself: its leader proposes what follows from the state.
    System,
}

impl Role {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Breakglass => "breakglass",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A rule that shall not refuse this entry; audited where it was needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrule {
    /// Which; only rules that [can be overruled](Rule::can_be_overruled).
    pub rule: Rule,
    /// Why, in one line.
    pub reason: String,
    /// Until when. An order that needs it ends no later.
    pub end: End,
}

impl Entry {
    /// The entry as octets for the log.
    ///
    /// # Errors
    /// [`Rule::Invalid`] when it is longer than [`ENTRY_OCTETS_MAX`]: it must not be proposed, because no node would read it.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let octets = wire::write(self.change.kind(), self.change.feature_level(), self);
        count("octets in one entry", octets.len(), ENTRY_OCTETS_MAX)?;
        Ok(octets)
    }

    /// The entry of these octets, by a node that supports `feature_level`. A proposer does this with what a client forwards, because what
    /// is committed and cannot be read stops every node.
    ///
    /// # Errors
    /// [`Halt::UpgradeRequired`] for an unknown kind or a higher feature level, [`Halt::Corrupt`] for anything that [`Entry::encode`]
    /// does not write.
    pub fn decode(octets: &[u8], feature_level: u32) -> Result<Self, Halt> {
        let entry: Self =
            wire::read(octets, ENTRY_OCTETS_MAX, feature_level, |kind| Change::KINDS.iter().any(|known| known.contains(&kind)))?;
        let (kind, needed) = (entry.change.kind(), entry.change.feature_level());
        wire::check_canonical(octets, kind, needed, &entry)?;
        Ok(entry)
    }

    /// Whether the envelope is in its bounds; the change is judged where it is applied.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !(0..=AT_MAX_MS).contains(&self.at.0) {
            return Err(Refusal::new(Rule::Invalid, "the time of the entry is not between 1970 and 9999", "set the proposer's clock"));
        }
        line("the name of who wants it", &self.by.name, ACTOR_MAX)?;
        if let Some(id) = &self.request_id {
            line("the request id", id, REQUEST_ID_MAX)?;
        }
        if !self.reason.is_empty() {
            line("the reason", &self.reason, REASON_MAX)?;
        } else if self.change.needs_reason() {
            return Err(Refusal::new(Rule::ReasonRequired, "no reason is given", "say why: --reason"));
        }
        count("overruled rules", self.overrules.len(), OVERRULES_MAX)?;
        for overrule in &self.overrules {
            if !overrule.rule.can_be_overruled() {
                let text = format!("{} cannot be overruled", overrule.rule);
                return Err(Refusal::new(Rule::Invalid, text, "do what the rule asks for instead"));
            }
            line("the reason of an overruled rule", &overrule.reason, REASON_MAX)?;
            overrule.end.check(self.at, super::limits::ORDER_LIFE_MAX_MS)?;
        }
        Ok(())
    }
}
