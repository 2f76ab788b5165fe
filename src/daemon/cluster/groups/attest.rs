//! Attestations: before anything is decided, one voter of each region looks once more, and says what it saw. In drills: whether it gets in. And before
//! a person answers for it that an old primary is stopped: whether anybody does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

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
use tokio::{task::JoinSet, time::timeout};
use tracing::debug;

use super::roster::Target;
use crate::{daemon::cluster::Shared, latest::Latest, mesh::Address, probe};

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
    /// Whether a primary that is to be stopped lets it in.
    Accepts(Accepts),
}

/// A primary that somebody says is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon::cluster) struct Accepts {
    /// Which data group.
    group: Label,
    /// Where the primary stands that is meant.
    stopped: Label,
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
        Asked::Accepts(Accepts { group, stopped }) => serde_json::to_vec(&accepts(shared, group, stopped).await),
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

/// For all regions to say whether a primary lets them in: a person waits. Whoever hangs for longer is known from earlier probes.
const ACCEPTS: Duration = Duration::from_secs(3);

/// Which vantage regions got into the database of a primary, and how long ago last. Each is asked to look now; what its probes showed before counts, too.
pub(in crate::daemon::cluster) async fn reached(shared: &Arc<Shared>, group: &Label, member: &Label) -> BTreeMap<Label, Duration> {
    let regions: BTreeSet<Label> = shared.state().voters().map(|voter| voter.region.clone()).collect();
    let mut asked = JoinSet::new();
    for region in regions {
        let (shared, group, stopped) = (Arc::clone(shared), group.clone(), member.clone());
        asked.spawn(async move {
            let reached = if region == shared.me.region {
                Some(accepts(&shared, &group, &stopped).await)
            } else {
                put(&shared, &region, &Asked::Accepts(Accepts { group, stopped })).await
            };
            (region, reached == Some(Reached::Yes))
        });
    }
    let mut all = BTreeMap::new();
    // Whoever does not answer in time says nothing by this; what it saw before is below.
    let _ = timeout(ACCEPTS, async {
        while let Some(answer) = asked.join_next().await {
            all.extend(answer.ok().filter(|(_, is_in)| *is_in).map(|(region, _)| (region, Duration::ZERO)));
        }
    })
    .await;
    let (seen, now) = (shared.databases.latest(), shared.clock.now().wall);
    for (region, until) in seen.primaries.get(group).filter(|it| it.region == *member).into_iter().flat_map(|it| &it.accepts) {
        all.entry(region.clone()).or_insert_with(|| until.map_or(Duration::ZERO, |until| now.since(until)));
    }
    all
}

/// Whether the primary lets this node in by a probe that begins now. What hangs has let it in, and may go on.
async fn accepts(shared: &Shared, group: &Label, stopped: &Label) -> Reached {
    let seen = shared.databases.latest();
    let Some(primary) = seen.primaries.get(group).filter(|primary| primary.region == *stopped) else { return Reached::Abstains };
    match probe::run(&primary.check, &shared.probes).await.map(|observation| observation.outcome) {
        Some(Outcome::Passed) => Reached::Yes,
        Some(Outcome::Failed(failure)) if failure.category.accepted() => Reached::Yes,
        Some(Outcome::Failed(failure)) if failure.category == FailureCategory::Local => Reached::Abstains,
        Some(Outcome::Failed(failure)) => Reached::No(failure.to_string()),
        None => Reached::Abstains,
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
    let seen = shared.databases.latest();
    let primary = seen.primaries.get(&question.group).filter(|primary| primary.region == question.primary);
    let Some(primary) = primary.filter(|_| seen.is_sighted) else { return Attestation::Abstains };
    match probe::run(&primary.check, &shared.probes).await.map(|observation| observation.outcome) {
        Some(Outcome::Passed) => Attestation::Working,
        Some(Outcome::Failed(failure)) if failure.category == FailureCategory::Local => Attestation::Abstains,
        Some(Outcome::Failed(_)) if primary.seen.views.proven() == Health::Down => Attestation::Failing,
        Some(Outcome::Failed(_)) | None => Attestation::Abstains,
    }
}
