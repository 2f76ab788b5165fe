//! What became of each request, so that one that is sent again has its effect once.
//!
//! A client that heard nothing sends again, with the same id, perhaps to another node. For a day it gets the recorded outcome, refusals
//! included. Within the day nothing is forgotten: when there is no room, new ids are refused, because forgetting a younger one would let
//! its repeat act twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    apply::Outcome,
    audit::Hash,
    change::Change,
    entry::Entry,
    limits::{REQUESTS_KEPT_MS, REQUESTS_MAX},
    refusal::{Refusal, Rule},
};
use crate::model::time::Timestamp;

/// Outcomes by request id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Requests(pub(super) BTreeMap<String, Recorded>);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// The time of its entry.
    at: Timestamp,
    /// Of what was asked.
    content: Hash,
    outcome: Outcome,
}

impl Recorded {
    fn is_kept(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.at.0) < REQUESTS_KEPT_MS
    }
}

/// Everything that the client chose; the time, the moved share and what a step of a group was looked up for are the proposer's, and differ when
/// another node proposes the repeat, or the first one has had its effect.
fn content(entry: &Entry) -> Hash {
    let step = match &entry.change {
        Change::Group { group, step } => Some(Change::Group { group: group.clone(), step: step.wanted() }),
        _ => None,
    };
    let chosen = (&entry.by, &entry.reason, &entry.overrules, step.as_ref().unwrap_or(&entry.change));
    Hash::of(&[&serde_json::to_vec(&chosen).expect("invariant: texts, integers and maps with text keys always encode")])
}

impl Requests {
    /// The outcome of the same request; `None`: it is new, or names no id.
    ///
    /// # Errors
    /// [`Rule::RequestReused`] when its id came with other content.
    pub(super) fn recall(&self, entry: &Entry) -> Result<Option<&Outcome>, Refusal> {
        let Some(id) = &entry.request_id else { return Ok(None) };
        match self.0.get(id).filter(|known| known.is_kept(entry.at)) {
            None => Ok(None),
            Some(known) if known.content == content(entry) => Ok(Some(&known.outcome)),
            Some(known) => {
                let text = format!("request id `{id}` came at {} with other content", known.at);
                Err(Refusal::new(Rule::RequestReused, text, "use a new request id for another request"))
            }
        }
    }

    /// Whether a request of this id is remembered at `now`.
    pub(super) fn knows(&self, id: &str, now: Timestamp) -> bool {
        self.0.get(id).is_some_and(|known| known.is_kept(now))
    }

    /// Whether another id has room.
    pub(super) fn check_room(&self, entry: &Entry) -> Result<(), Refusal> {
        if entry.request_id.is_none() || self.0.len() < REQUESTS_MAX {
            return Ok(());
        }
        let kept = self.0.values().filter(|known| known.is_kept(entry.at)).count();
        if kept < REQUESTS_MAX {
            return Ok(());
        }
        let text = format!("{kept} request ids of the last 24 hours are remembered, and there is no room for another");
        Err(Refusal::new(Rule::RequestsFull, text, "send it without a request id, or wait"))
    }

    /// Remembers an outcome. Forgets what is older than a day only when it needs the room.
    pub(super) fn record(&mut self, entry: &Entry, outcome: &Outcome) {
        let Some(id) = &entry.request_id else { return };
        if self.0.len() >= REQUESTS_MAX {
            self.0.retain(|_, known| known.is_kept(entry.at));
        }
        self.0.insert(id.clone(), Recorded { at: entry.at, content: content(entry), outcome: outcome.clone() });
    }
}
