//! `ReturnService`: drained regions that take their clients back in steps.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::Change,
    model::{ids::Label, units::Share},
    recovery::traffic_return::{Returning, TrafficReturn},
};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    convert::{duration_out, freshness_out, time_out},
    following,
    mutation::{Accepted, Envelope, caller, envelope, propose},
    operations::WATCHERS_MAX,
    page::end_of,
    proto::{
        self, AdvanceReturnRequest, AdvanceReturnResponse, CancelReturnRequest, CancelReturnResponse, Commit, ListReturnsRequest,
        ListReturnsResponse, StartReturnRequest, StartReturnResponse, WatchReturnRequest, WatchReturnResponse,
        return_service_server::ReturnService,
    },
    reading::length,
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach, Standing},
};

/// What resource names of returns begin with.
const RETURNS: &str = "returns";

/// The service over a source.
pub struct ReturnApi {
    source: Arc<dyn ClusterSource>,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl ReturnApi {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(source: Arc<dyn ClusterSource>, stop: CancellationToken) -> Self {
        Self { source, stop, places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    /// Proposes a change of one that is known.
    async fn change(
        &self,
        caller: &super::Caller,
        envelope: Envelope,
        id: u64,
        change: Change,
    ) -> Result<(proto::TrafficReturn, Commit), Status> {
        told(&self.standing()?, id)?;
        let done = propose(&*self.source, envelope.draft(caller, change, None, Reach::Cluster)?).await?;
        Ok((told(&self.standing()?, id)?, done.commit))
    }
}

/// The return of this name, as a message.
fn told(standing: &Standing, id: u64) -> Result<proto::TrafficReturn, Status> {
    standing.state.traffic_return(id).map(return_out).ok_or_else(|| {
        let message = format!("there is no return-{id}: none was begun, or others have ended since");
        Reason::UnknownObject.status(message, &format!("return-{id}"), &[])
    })
}

fn return_out(it: &TrafficReturn) -> proto::TrafficReturn {
    let ended = it.ended.as_ref();
    proto::TrafficReturn {
        name: format!("{RETURNS}/return-{}", it.id),
        region: it.region.to_string(),
        creator: it.who.clone(),
        reason: it.why.clone(),
        create_time: Some(time_out(it.at)),
        order: format!("overrides/{}", it.order),
        shares: it.steps.iter().map(|share| share.points().into()).collect(),
        step_time: Some(duration_out(it.step_time)),
        step: u32::try_from(it.step).unwrap_or(u32::MAX),
        step_start_time: Some(time_out(it.since)),
        because: it.because.clone(),
        standing: ended.map_or_else(|| "open".to_owned(), |ended| ended.outcome.to_string()),
        end_reason: ended.map(|ended| ended.why.clone()).unwrap_or_default(),
        end_time: ended.map(|ended| time_out(ended.at)),
    }
}

fn id_in(name: &str) -> Result<u64, Status> {
    let end = end_of("name", name, RETURNS)?;
    end.strip_prefix("return-").and_then(|id| id.parse().ok()).ok_or_else(|| bad_field("name", "is not returns/return-N"))
}

/// The steps that are asked for, or the plan's.
fn returning_in(shares: &[u32], step_time: Option<&prost_types::Duration>, standing: &Standing) -> Result<Returning, Status> {
    let Returning { steps, step_time: usual } = standing.state.outline().and_then(|it| it.returning.clone()).unwrap_or_default();
    let share = |points: &u32| {
        let points = u16::try_from(*points).ok().filter(|points| *points <= Share::FULL.points());
        points.map(Share::basis_points).ok_or_else(|| bad_field("shares", "holds more than 10000 hundredths of a percent"))
    };
    let steps = if shares.is_empty() { steps } else { shares.iter().map(share).collect::<Result<_, _>>()? };
    let step_time: Duration = step_time.map_or(Ok(usual), |time| length("step_time", time))?;
    Ok(Returning { steps, step_time })
}

#[tonic::async_trait]
impl ReturnService for ReturnApi {
    async fn list_returns(&self, _: Request<ListReturnsRequest>) -> Result<Response<ListReturnsResponse>, Status> {
        let standing = self.standing()?;
        let returns = standing.state.returns().map(return_out).collect();
        Ok(Response::new(ListReturnsResponse { returns, freshness: Some(freshness_out(&standing)) }))
    }

    type WatchReturnStream = ReceiverStream<Result<WatchReturnResponse, Status>>;

    async fn watch_return(&self, request: Request<WatchReturnRequest>) -> Result<Response<Self::WatchReturnStream>, Status> {
        let id = id_in(&request.get_ref().name)?;
        // What is wrong with the name is said at once.
        told(&self.standing()?, id)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS_MAX} watchers of returns are open, as many as one node serves");
            Reason::TooManyWatchers.status(message, "", &[])
        })?;
        let tell = move |standing: &Standing| {
            let it = told(standing, id)?;
            let is_over = it.end_time.is_some();
            Ok((WatchReturnResponse { traffic_return: Some(it) }, is_over))
        };
        Ok(Response::new(following::start(Arc::clone(&self.source), self.stop.clone(), place, tell)))
    }

    async fn start_return(&self, request: Request<StartReturnRequest>) -> Result<Response<StartReturnResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        if request.region.is_empty() {
            return Err(bad_field("region", "is not set: name the region that takes its clients back"));
        }
        let region = Label::new(&request.region);
        let Returning { steps, step_time } = returning_in(&request.shares, request.step_time.as_ref(), &self.standing()?)?;
        let envelope = envelope!(request);
        let foreseen = proto::TrafficReturn {
            region: region.to_string(),
            creator: caller.name.clone(),
            reason: envelope.reason.clone(),
            shares: steps.iter().map(|share| share.points().into()).collect(),
            step_time: Some(duration_out(step_time)),
            standing: "open".to_owned(),
            ..proto::TrafficReturn::default()
        };
        let change = Change::Return { region, steps, step_time };
        let Accepted { object, commit, .. } = propose(&*self.source, envelope.draft(&caller, change, None, Reach::Cluster)?).await?;
        let id = object.filter(|_| commit.index.is_some()).and_then(|name| name.as_str().strip_prefix("return-")?.parse().ok());
        let traffic_return = match id {
            // This node may not have applied it yet.
            Some(id) => {
                told(&self.standing()?, id).unwrap_or_else(|_| proto::TrafficReturn { name: format!("{RETURNS}/return-{id}"), ..foreseen })
            }
            None => foreseen,
        };
        Ok(Response::new(StartReturnResponse { traffic_return: Some(traffic_return), commit: Some(commit) }))
    }

    async fn advance_return(&self, request: Request<AdvanceReturnRequest>) -> Result<Response<AdvanceReturnResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = id_in(&request.name)?;
        let (it, commit) = self.change(&caller, envelope!(request), id, Change::AdvanceReturn { id }).await?;
        Ok(Response::new(AdvanceReturnResponse { traffic_return: Some(it), commit: Some(commit) }))
    }

    async fn cancel_return(&self, request: Request<CancelReturnRequest>) -> Result<Response<CancelReturnResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = id_in(&request.name)?;
        let why = if request.reason.is_empty() { "a person says so".to_owned() } else { request.reason.clone() };
        let (it, commit) = self.change(&caller, envelope!(request), id, Change::TakeBack { id, why }).await?;
        Ok(Response::new(CancelReturnResponse { traffic_return: Some(it), commit: Some(commit) }))
    }
}
