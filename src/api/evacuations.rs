//! `EvacuationService`: regions that are drained, and whose primaries are moved away.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, End, State},
    failover::{
        evacuation::{Evacuation, Item},
        plan_id::{PinnedEvacuation, PlanId},
    },
    model::{ids::Label, time::Human},
};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    convert::{freshness_out, time_out},
    following,
    mutation::{Accepted, caller, envelope, propose},
    operations::WATCHERS_MAX,
    page::end_of,
    proto::{
        self, CancelEvacuationRequest, CancelEvacuationResponse, EvacuatedGroup, ListEvacuationsRequest, ListEvacuationsResponse,
        StartEvacuationRequest, StartEvacuationResponse, WatchEvacuationRequest, WatchEvacuationResponse,
        evacuation_service_server::EvacuationService, start_evacuation_request::Expiration,
    },
    reading::{end_after, end_at, required_end},
    recovery::check_plan,
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach, Standing},
};

/// What resource names of evacuations begin with.
const EVACUATIONS: &str = "evacuations";

/// The service over a source.
pub struct EvacuationApi {
    source: Arc<dyn ClusterSource>,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl EvacuationApi {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(source: Arc<dyn ClusterSource>, stop: CancellationToken) -> Self {
        Self { source, stop, places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    /// Each group whose primary is in the region and that does not stay, in order, with where it would go.
    async fn foreseen(&self, standing: &Standing, region: &Label, skip: &BTreeSet<Label>) -> Vec<(Label, Result<Label, String>)> {
        let mut all = Vec::new();
        for name in here(&standing.state, region).into_iter().filter(|name| !skip.contains(name)) {
            let unseen = || Err("this node hears nothing of it; ask a voter".to_owned());
            let target = self.source.outlook(&name).await.map_or_else(unseen, |outlook| outlook.target);
            all.push((name, target));
        }
        all
    }
}

/// The groups whose primary is in a region, as an evacuation begins them.
fn here(state: &State, region: &Label) -> Vec<Label> {
    let groups = state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.iter());
    let here = groups.filter(|(name, _)| state.group(name).and_then(|group| group.primary()) == Some(region));
    let mut here: Vec<(u16, Label)> = here.map(|(name, policy)| (policy.priority, name.clone())).collect();
    here.sort_unstable();
    here.into_iter().map(|(_, name)| name).collect()
}

/// The evacuation of this name, as a message.
fn told(standing: &Standing, id: u64) -> Result<proto::Evacuation, Status> {
    let found = standing.state.evacuation(id);
    let found = found.ok_or_else(|| {
        let message = format!("there is no evacuation evac-{id}: none was begun, or others have ended since");
        Reason::UnknownObject.status(message, &format!("evac-{id}"), &[])
    })?;
    Ok(evacuation_out(&standing.state, found))
}

fn evacuation_out(state: &State, evacuation: &Evacuation) -> proto::Evacuation {
    proto::Evacuation {
        name: format!("{EVACUATIONS}/evac-{}", evacuation.id),
        region: evacuation.region.to_string(),
        creator: evacuation.who.clone(),
        reason: evacuation.why.clone(),
        create_time: Some(time_out(evacuation.at)),
        drain: format!("overrides/{}", evacuation.order),
        standing: evacuation.standing().to_string(),
        groups: evacuation.items.iter().map(|item| item_out(state, item)).collect(),
        end_time: evacuation.ended.map(time_out),
    }
}

fn item_out(state: &State, item: &Item) -> EvacuatedGroup {
    let id = item.progress.operation();
    let known = id.and_then(|id| state.operation(id));
    let open = known.filter(|(_, _, closed)| closed.is_none()).map(|(_, operation, _)| operation);
    EvacuatedGroup {
        group: format!("groups/{}", item.group),
        progress: item.progress.word().to_owned(),
        operation: id.map(|id| format!("operations/op-{id}")).unwrap_or_default(),
        because: item.progress.because().to_owned(),
        to: known.and_then(|(_, operation, _)| operation.to.as_ref()).map(ToString::to_string).unwrap_or_default(),
        phase: open.map(|operation| operation.phase.to_string()).unwrap_or_default(),
        held: open.and_then(|operation| operation.held.as_ref()).map(|held| held.reason.to_string()).unwrap_or_default(),
    }
}

/// What would be begun now, pinned. Groups that nobody can take over stand in their own way.
fn plan_of(standing: &Standing, region: &Label, skip: &BTreeSet<Label>, foreseen: &[(Label, Result<Label, String>)], end: End) -> PlanId {
    let token = |name: &Label| standing.state.group(name).map(|group| group.token).unwrap_or_default();
    let groups: Vec<_> = foreseen.iter().filter_map(|(name, to)| Some((name, token(name), to.as_ref().ok()?))).collect();
    let drain = match end {
        End::At(at) => at.to_string(),
        End::AfterMs(length) => Human(Duration::from_millis(length)).to_string(),
    };
    let plan_revision = standing.state.plan().map_or(0, |plan| plan.plan.revision);
    PlanId::of_evacuation(&PinnedEvacuation { region, stay: skip, groups: &groups, plan_revision, drain: &drain })
}

fn id_in(name: &str) -> Result<u64, Status> {
    let end = end_of("name", name, EVACUATIONS)?;
    end.strip_prefix("evac-").and_then(|id| id.parse().ok()).ok_or_else(|| bad_field("name", "is not evacuations/evac-N"))
}

/// What would be begun: nothing has a name yet.
fn foreseen_out(
    region: &Label,
    who: &str,
    why: String,
    all: &[(Label, Result<Label, String>)],
    skip: &BTreeSet<Label>,
) -> proto::Evacuation {
    let group = |name: &Label, progress: &str, to: &str| EvacuatedGroup {
        group: format!("groups/{name}"),
        progress: progress.to_owned(),
        to: to.to_owned(),
        ..EvacuatedGroup::default()
    };
    let moving = all.iter().map(|(name, to)| group(name, "waiting", to.as_ref().map_or("", |to| to.as_str())));
    proto::Evacuation {
        region: region.to_string(),
        creator: who.to_owned(),
        reason: why,
        standing: "open".to_owned(),
        groups: moving.chain(skip.iter().map(|name| group(name, "skipped", ""))).collect(),
        ..proto::Evacuation::default()
    }
}

#[tonic::async_trait]
impl EvacuationService for EvacuationApi {
    async fn list_evacuations(&self, _: Request<ListEvacuationsRequest>) -> Result<Response<ListEvacuationsResponse>, Status> {
        let standing = self.standing()?;
        let evacuations = standing.state.evacuations().map(|it| evacuation_out(&standing.state, it)).collect();
        Ok(Response::new(ListEvacuationsResponse { evacuations, freshness: Some(freshness_out(&standing)) }))
    }

    type WatchEvacuationStream = ReceiverStream<Result<WatchEvacuationResponse, Status>>;

    async fn watch_evacuation(&self, request: Request<WatchEvacuationRequest>) -> Result<Response<Self::WatchEvacuationStream>, Status> {
        let id = id_in(&request.get_ref().name)?;
        // What is wrong with the name is said at once.
        told(&self.standing()?, id)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS_MAX} watchers of evacuations are open, as many as one node serves");
            Reason::TooManyWatchers.status(message, "", &[])
        })?;
        let tell = move |standing: &Standing| {
            let evacuation = told(standing, id)?;
            let is_over = evacuation.end_time.is_some();
            Ok((WatchEvacuationResponse { evacuation: Some(evacuation) }, is_over))
        };
        Ok(Response::new(following::start(Arc::clone(&self.source), self.stop.clone(), place, tell)))
    }

    async fn start_evacuation(&self, request: Request<StartEvacuationRequest>) -> Result<Response<StartEvacuationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        if request.region.is_empty() {
            return Err(bad_field("region", "is not set: name the region that is to be left"));
        }
        let region = Label::new(&request.region);
        let skip = request.skip.iter().map(|name| end_of("skip", name, "groups").map(Label::new)).collect::<Result<BTreeSet<_>, _>>()?;
        let end: Option<End> = match &request.expiration {
            Some(Expiration::ExpireTime(time)) => Some(end_at("expire_time", time)?),
            Some(Expiration::Ttl(ttl)) => Some(end_after("ttl", ttl)?),
            None => None,
        };
        let end = required_end("expire_time", end)?;
        let standing = self.standing()?;
        let envelope = envelope!(request);
        let foreseen = self.foreseen(&standing, &region, &skip).await;
        let unready: Vec<String> =
            foreseen.iter().filter_map(|(name, target)| target.as_ref().err().map(|why| format!("{name}: {why}"))).collect();
        // What was asked before, by this request or another one, is not judged again by what is seen now: it may be why nobody can take over any more.
        let is_asked = standing.state.knows_request(&envelope.request_id, standing.now)
            || standing.state.evacuations().any(|it| it.ended.is_none() && it.region == region);
        if !unready.is_empty() && !is_asked {
            let names: Vec<&str> = foreseen.iter().filter(|(_, target)| target.is_err()).map(|(name, _)| name.as_str()).collect();
            let message = format!(
                "evacuate {region}: {}; mend it (portolan recovery status), or leave it there: --skip {}",
                unready.join("; "),
                names.join(" --skip ")
            );
            return Err(Reason::GroupsNotReady.status(message, &names.join(","), &[]));
        }
        let plan = plan_of(&standing, &region, &skip, &foreseen, end);
        if !is_asked {
            check_plan(&request.plan_id, plan, PlanId::evacuation_changes)?;
        }
        let why = envelope.reason.clone();
        let change = Change::Evacuate { region: region.clone(), skip: skip.clone(), end };
        let Accepted { object, commit, .. } = propose(&*self.source, envelope.draft(&caller, change, Some(end), Reach::Cluster)?).await?;
        let id = object.filter(|_| commit.index.is_some()).and_then(|name| name.as_str().strip_prefix("evac-")?.parse().ok());
        let evacuation = match id {
            // This node may not have applied it yet.
            Some(id) => told(&self.standing()?, id).unwrap_or_else(|_| proto::Evacuation {
                name: format!("{EVACUATIONS}/evac-{id}"),
                ..foreseen_out(&region, &caller.name, why, &foreseen, &skip)
            }),
            None => foreseen_out(&region, &caller.name, why, &foreseen, &skip),
        };
        let plan_id = if commit.index.is_some() { String::new() } else { plan.to_string() };
        Ok(Response::new(StartEvacuationResponse { evacuation: Some(evacuation), commit: Some(commit), plan_id }))
    }

    async fn cancel_evacuation(&self, request: Request<CancelEvacuationRequest>) -> Result<Response<CancelEvacuationResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let evacuation = id_in(&request.name)?;
        told(&self.standing()?, evacuation)?;
        let change = Change::CancelEvacuation { evacuation, undrain: request.undrain };
        let draft = envelope!(request).draft(&caller, change, None, Reach::Cluster)?;
        let done = propose(&*self.source, draft).await?;
        let evacuation = Some(told(&self.standing()?, evacuation)?);
        Ok(Response::new(CancelEvacuationResponse { evacuation, commit: Some(done.commit) }))
    }
}
