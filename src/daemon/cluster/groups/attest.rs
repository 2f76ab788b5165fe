//! Attestations: before anything is decided, one voter of each region looks once more, and says what it saw.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    failover::grounds::Attestation,
    model::{
        check::{FailureCategory, Outcome},
        ids::Label,
        verdict::Health,
    },
};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::{daemon::cluster::Shared, mesh::Address, probe};

/// For an answer: the longest probe that a plan should have, and the way. Later answers find the question forgotten.
const LIMIT: Duration = Duration::from_secs(9);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon::cluster) struct Question {
    /// Which data group.
    group: Label,
    /// Where the primary stands that is meant.
    primary: Label,
}

/// Asks a voter of a region, which may be this one's.
pub(super) async fn ask(shared: Arc<Shared>, region: Label, group: Label, primary: Label) -> Attestation {
    let question = Question { group, primary };
    let state = shared.state();
    let here = shared.me.region == region;
    if here {
        return answer(&shared, &question).await;
    }
    let Some(mesh) = &shared.mesh else { return Attestation::Abstains };
    let Ok(octets) = serde_json::to_vec(&question) else { return Attestation::Abstains };
    for voter in state.voters().filter(|voter| voter.region == region) {
        let to = Address { node: voter.name.clone(), address: voter.address.clone() };
        match mesh.ask(&to, octets.clone(), LIMIT).await {
            Ok(answer) => return serde_json::from_slice(&answer).unwrap_or(Attestation::Abstains),
            Err(why) => debug!(%region, voter = %to.node, %why, "no attestation"),
        }
    }
    Attestation::Abstains
}

/// What this node sees by a probe that begins now. It says that the primary fails only if that was proven, too.
pub(in crate::daemon::cluster) async fn answer(shared: &Shared, question: &Question) -> Attestation {
    let seen = shared.databases.borrow().clone();
    let primary = seen.primaries.get(&question.group).filter(|primary| primary.region == question.primary);
    let Some(primary) = primary.filter(|_| seen.is_sighted) else { return Attestation::Abstains };
    match probe::run(&primary.check, &shared.probes).await.map(|observation| observation.outcome) {
        Some(Outcome::Passed) => Attestation::Working,
        Some(Outcome::Failed(failure)) if failure.category == FailureCategory::Local => Attestation::Abstains,
        Some(Outcome::Failed(_)) if primary.seen.views.proven() == Health::Down => Attestation::Failing,
        Some(Outcome::Failed(_)) | None => Attestation::Abstains,
    }
}
