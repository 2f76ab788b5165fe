//! What all mutations have in common: who, why, once, and whether only to judge.

use portolan_core::{
    cluster::{Actor, Change, End, Outcome, Overrule, Rule},
    model::ids::Label,
};
use tonic::{Request, Status};

use super::{
    auth::Caller,
    convert::time_out,
    proto,
    reading::{end_after, end_at},
    refusal::{self, bad_field},
    source::cluster::{ClusterSource, Committed, Draft, Reach},
};

/// How long a rule is overruled when nothing is said and the change has no end of its own, in milliseconds: as long as a plan takes to be
/// judged and committed, with the answer lost and sent again.
const OVERRULE_MS: u64 = 3_600_000;

/// The common fields of a mutation.
pub(super) struct Envelope {
    pub(super) validate_only: bool,
    pub(super) request_id: String,
    pub(super) reason: String,
    pub(super) overrules: Vec<proto::Overrule>,
}

/// Takes the common fields out of a request that has all of them, or all but `overrules`.
macro_rules! envelope {
    ($request:expr) => {
        envelope!($request, ::std::mem::take(&mut $request.overrules))
    };
    ($request:expr, $overrules:expr) => {
        $crate::api::mutation::Envelope {
            validate_only: $request.validate_only,
            request_id: ::std::mem::take(&mut $request.request_id),
            reason: ::std::mem::take(&mut $request.reason),
            overrules: $overrules,
        }
    };
}
pub(super) use envelope;

/// Who calls.
///
/// # Errors
/// Never for a call that came through the listener; see [`super::auth`].
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(refusal::no_peer)
}

impl Envelope {
    /// The draft of a change; `end` is the change's own, for rules that are overruled without one.
    ///
    /// # Errors
    /// A rule has no such name or an end that cannot be read.
    pub(super) fn draft(self, caller: &Caller, change: Change, end: Option<End>, reach: Reach) -> Result<Draft, Status> {
        let overrules = self.overrules.into_iter().map(|overrule| read_overrule(overrule, end)).collect::<Result<_, _>>()?;
        let request_id = (!self.request_id.is_empty()).then_some(self.request_id);
        Ok(Draft { by: caller.actor(), request_id, reason: self.reason, overrules, change, reach, validate_only: self.validate_only })
    }
}

fn read_overrule(wire: proto::Overrule, end: Option<End>) -> Result<Overrule, Status> {
    use proto::overrule::Expiration;
    let word = wire.rule.to_ascii_uppercase();
    // The rule's own serialization is its word.
    let rule: Rule = serde_json::from_value(word.into())
        .map_err(|_| bad_field("overrules.rule", format!("`{}` is no rule; a refusal names it in its metadata `override`", wire.rule)))?;
    let end = match wire.expiration {
        Some(Expiration::ExpireTime(time)) => end_at("overrules.expire_time", &time)?,
        Some(Expiration::Ttl(ttl)) => end_after("overrules.ttl", &ttl)?,
        None => end.unwrap_or(End::AfterMs(OVERRULE_MS)),
    };
    Ok(Overrule { rule, reason: wire.reason, end })
}

/// Proposes, and turns a refusal into an error.
///
/// # Errors
/// The cluster did not do it, or a rule refuses it.
pub(super) async fn propose(source: &dyn ClusterSource, draft: Draft) -> Result<Accepted, Status> {
    let (validate_only, reach) = (draft.validate_only, draft.reach);
    let (by, what) = (draft.by.clone(), draft.change.to_string());
    let Committed { index, at, outcome, repeated } = source.propose(draft).await.map_err(|error| refusal::cluster(&error))?;
    let object = match outcome {
        Outcome::Accepted { object } => object,
        Outcome::Rejected(refused) => return Err(refusal::rule(&refused)),
    };
    accepted(&by, &what, validate_only, index, reach == Reach::Local);
    Ok(Accepted { at, object, commit: proto::Commit { index, repeated_request: repeated, validate_only, time: Some(time_out(at)) } })
}

/// A mutation that was not refused.
pub(super) struct Accepted {
    /// The time that it was stamped with.
    pub(super) at: portolan_core::model::time::Timestamp,
    /// The name of what was given.
    pub(super) object: Option<Label>,
    /// For the caller.
    pub(super) commit: proto::Commit,
}

/// Logs who changed what.
pub(super) fn accepted(by: &Actor, what: &str, validate_only: bool, index: Option<u64>, is_local: bool) {
    if validate_only {
        tracing::info!(who = %by.name, role = %by.role, what, "control change would be accepted");
    } else {
        tracing::info!(who = %by.name, role = %by.role, what, index, is_local, "control change accepted");
    }
}
