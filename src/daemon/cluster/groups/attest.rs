//! Attestations: before anything is decided, one voter of each region looks once more, and says what it saw. In drills: whether it gets in.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::{
    failover::grounds::Attestation,
    model::{
        check::{Failure, FailureCategory, Outcome},
        ids::Label,
        verdict::Health,
    },
    plan::sections::Engine,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::debug;

use super::roster::Target;
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

/// Whatever one voter asks another about databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::daemon::cluster) enum Asked {
    /// How it sees a primary.
    Attest(Question),
    /// Whether it gets into a member.
    Reach(Reach),
}

/// A member that is to be reached by a session that begins now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon::cluster) struct Reach {
    /// Which data group.
    group: Label,
    /// Which member.
    member: Label,
}

/// Whether a session came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reached {
    /// It did.
    Yes,
    /// It did not: why.
    No(String),
    /// It could not tell.
    Abstains,
}

/// Asks one voter of each other region whether it gets into a member.
pub(super) async fn ask_reach(shared: &Shared, group: &Label, member: &Label) -> Vec<(Label, Reached)> {
    let state = shared.state();
    let regions: BTreeSet<Label> = state.voters().map(|voter| voter.region.clone()).filter(|region| *region != shared.me.region).collect();
    let question = Asked::Reach(Reach { group: group.clone(), member: member.clone() });
    let mut all = Vec::with_capacity(regions.len());
    for region in regions {
        let reached = put(shared, &region, &question).await.unwrap_or(Reached::Abstains);
        all.push((region, reached));
    }
    all
}

/// Begins a session to a member, and asks for nothing.
pub(super) async fn reach(shared: &Shared, target: &Target, limit: Duration) -> Result<(), Failure> {
    let Target { engine, address, dsn } = target;
    match (engine, dsn.as_deref()) {
        (Engine::Postgresql, Some(dsn)) => probe::inquire(address, dsn, "select 1", limit, &shared.probes).await.map(drop),
        (Engine::Mariadb, Some(dsn)) => probe::inquire_mariadb(address, dsn, "select 1", limit, &shared.probes).await.map(drop),
        _ => Err(Failure::new(FailureCategory::Local, "its engine has no session that a drill could begin")),
    }
}

/// Whether a session did not come about, or ended, because nothing came through: not by a word of the server, nor for want of something here.
pub(super) const fn is_out(failure: &Failure) -> bool {
    use FailureCategory::{Closed, Connect, ConnectTimeout, Protocol, Slow, Timeout};
    matches!(failure.category, Connect | ConnectTimeout | Timeout | Closed | Slow | Protocol)
}

/// For a session of a drill.
const REACH: Duration = Duration::from_secs(3);

/// What this node answers to another voter's question.
pub(in crate::daemon::cluster) async fn answer_any(shared: &Shared, asked: &Asked) -> Result<Vec<u8>, serde_json::Error> {
    match asked {
        Asked::Attest(question) => serde_json::to_vec(&answer(shared, question).await),
        Asked::Reach(Reach { group, member }) => {
            let Some(target) = shared.crew.roster().target(group, member) else { return serde_json::to_vec(&Reached::Abstains) };
            serde_json::to_vec(&match reach(shared, &target, REACH).await {
                Ok(()) => Reached::Yes,
                Err(failure) => match failure.category {
                    FailureCategory::Status => Reached::Yes,
                    _ if is_out(&failure) => Reached::No(failure.to_string()),
                    _ => Reached::Abstains,
                },
            })
        }
    }
}

/// Asks a voter of a region, which may be this one's.
pub(super) async fn ask(shared: Arc<Shared>, region: Label, group: Label, primary: Label) -> Attestation {
    let question = Question { group, primary };
    let here = shared.me.region == region;
    if here {
        return answer(&shared, &question).await;
    }
    put(&shared, &region, &Asked::Attest(question)).await.unwrap_or(Attestation::Abstains)
}

/// The answer of the first voter of another region that gives one.
async fn put<T: DeserializeOwned>(shared: &Shared, region: &Label, asked: &Asked) -> Option<T> {
    let state = shared.state();
    let mesh = shared.mesh.as_ref()?;
    let octets = serde_json::to_vec(asked).ok()?;
    for voter in state.voters().filter(|voter| voter.region == *region) {
        let to = Address { node: voter.name.clone(), address: voter.address.clone() };
        match mesh.ask(&to, octets.clone(), LIMIT).await {
            Ok(answer) => return serde_json::from_slice(&answer).ok(),
            Err(why) => debug!(%region, voter = %to.node, %why, "no answer to a question about a database"),
        }
    }
    None
}

/// What this node sees by a probe that begins now. It says that the primary fails only if that was proven, too.
async fn answer(shared: &Shared, question: &Question) -> Attestation {
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
