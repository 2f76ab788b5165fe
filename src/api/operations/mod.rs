//! `OperationService`: operations on data groups, under way and over, rehearsed and reported. It reads only.

mod watch;

use std::{sync::Arc, time::Duration};

use portolan_core::{
    failover::{
        group::Kind,
        rehearsal::{Part, Rehearsal, Wanted, rehearse},
    },
    model::{group::Policy, ids::Label, time::Timestamp},
    recovery::report::{Basis, DrillReport, Report},
};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    convert::{closed_out, duration_out, freshness_out, operation_out, time_out},
    drills,
    proto::{
        GetOperationRequest, GetOperationResponse, GetReportRequest, GetReportResponse, ListOperationsRequest, ListOperationsResponse,
        Operation as OperationMessage, RehearseOperationRequest, RehearseOperationResponse, RehearsedStep, WatchOperationRequest,
        WatchOperationResponse, get_report_request::Format, operation_service_server::OperationService,
    },
    recovery::{Groups, Seen, id_in, unknown_operation},
    refusal::{Reason, bad_field},
    source::cluster::{ClusterSource, Standing},
};

pub use watch::WATCHERS_MAX;

/// The service over a source.
pub struct OperationApi {
    groups: Groups,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl OperationApi {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(source: Arc<dyn ClusterSource>, stop: CancellationToken) -> Self {
        Self { groups: Groups { source }, stop, places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

/// The operation of this id, as a message.
fn told(standing: &Standing, id: u64) -> Result<OperationMessage, Status> {
    let (group, operation, closed) = standing.state.operation(id).ok_or_else(|| unknown_operation(id))?;
    Ok(closed.map_or_else(|| operation_out(group, operation), |closed| closed_out(group, closed)))
}

/// What judges it now, or would have: the plan in force may have lost the group since.
fn policy_of<'a>(standing: &'a Standing, group: &Label) -> Option<&'a Policy> {
    standing.state.plan()?.plan.outline.groups.get(group)
}

#[tonic::async_trait]
impl OperationService for OperationApi {
    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<GetOperationResponse>, Status> {
        let id = id_in(&request.get_ref().name)?;
        let standing = self.groups.standing()?;
        let operation = Some(told(&standing, id)?);
        Ok(Response::new(GetOperationResponse { operation, freshness: Some(freshness_out(&standing)) }))
    }

    async fn list_operations(&self, request: Request<ListOperationsRequest>) -> Result<Response<ListOperationsResponse>, Status> {
        let Seen { name, group, standing, .. } = self.groups.seen(&request.get_ref().parent)?;
        let open = group.operation.iter().map(|operation| operation_out(&name, operation));
        let operations = open.chain(group.ended().map(|closed| closed_out(&name, closed))).collect();
        Ok(Response::new(ListOperationsResponse { operations, freshness: Some(freshness_out(&standing)) }))
    }

    type WatchOperationStream = ReceiverStream<Result<WatchOperationResponse, Status>>;

    async fn watch_operation(&self, request: Request<WatchOperationRequest>) -> Result<Response<Self::WatchOperationStream>, Status> {
        let WatchOperationRequest { name, after } = request.into_inner();
        let id = id_in(&name)?;
        // What is wrong with the name is said at once.
        told(&self.groups.standing()?, id)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS_MAX} watchers of operations are open, as many as one node serves");
            Reason::TooManyWatchers.status(message, "", &[])
        })?;
        let stream = watch::start(Arc::clone(&self.groups.source), id, after, self.stop.clone(), place);
        Ok(Response::new(stream))
    }

    async fn rehearse_operation(&self, request: Request<RehearseOperationRequest>) -> Result<Response<RehearseOperationResponse>, Status> {
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "failover" => Kind::Failover,
            "switchover" | "failback" => Kind::Switchover,
            _ => return Err(bad_field("kind", "is neither failover nor switchover nor failback")),
        };
        let mut to = (!request.to.is_empty()).then(|| Label::new(&request.to));
        if request.kind == "failback" {
            if to.is_some() {
                return Err(bad_field("to", "is set: a failback goes where the plan expects the primary"));
            }
            to = Some(self.groups.seen(&request.group)?.policy.primary);
        }
        if kind == Kind::Switchover && to.is_none() {
            return Err(bad_field("to", "is not set: name the region that shall have the primary"));
        }
        let allowed = request.allowed_loss.map(Duration::try_from).transpose();
        let allowed_loss = allowed.map_err(|_| bad_field("allowed_loss", "is no length of time; write 30s as 30s"))?;
        let seen = self.groups.seen(&request.group)?;
        seen.primary()?;
        let figures = self.groups.source.figures(&seen.name).await;
        let wanted = Wanted { kind, to, allowed_loss };
        let rehearsal = rehearse(&seen.name, &seen.group, &seen.policy, seen.revision, &wanted, figures.exposure, figures.measured);
        let rehearsal = rehearsal.ok_or_else(|| Reason::NotAdopted.status("the group has no primary yet", seen.name.as_str(), &[]))?;
        Ok(Response::new(rehearsal_out(&rehearsal, &seen)))
    }

    async fn get_report(&self, request: Request<GetReportRequest>) -> Result<Response<GetReportResponse>, Status> {
        let request = request.into_inner();
        let format = Format::try_from(request.format).map_err(|_| bad_field("format", "is none that this node knows"))?;
        let standing = self.groups.standing()?;
        let (report, end) = if request.name.starts_with("drills/") {
            self.report_of_drill(&standing, drills::id_in(&request.name, "drills", "drill")?).await?
        } else {
            self.report_of_operation(&standing, id_in(&request.name)?).await?
        };
        let written = |json: Result<String, serde_json::Error>| {
            json.map_err(|error| Reason::Internal.status(format!("write the report of {}: {error}", request.name), "", &[]))
        };
        let (text, media_type) = match format {
            Format::Unspecified | Format::Markdown => (report.markdown(), "text/markdown; charset=utf-8"),
            Format::Html => (report.html(), "text/html; charset=utf-8"),
            Format::Json => (written(report.json())?, "application/json"),
        };
        Ok(Response::new(GetReportResponse {
            text,
            media_type: media_type.to_owned(),
            end_time: end.map(time_out),
            freshness: Some(freshness_out(&standing)),
        }))
    }
}

/// What is told, and when it was over; `None`: it is not.
type Reported = (Told, Option<Timestamp>);

/// One of the reports that there are.
enum Told {
    Operation(Box<Report>),
    Drill(Box<DrillReport>),
}

impl Told {
    fn markdown(&self) -> String {
        match self {
            Self::Operation(report) => report.markdown(),
            Self::Drill(report) => report.markdown(),
        }
    }

    fn html(&self) -> String {
        match self {
            Self::Operation(report) => report.html(),
            Self::Drill(report) => report.html(),
        }
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Operation(report) => report.json(),
            Self::Drill(report) => report.json(),
        }
    }
}

impl OperationApi {
    async fn report_of_operation(&self, standing: &Standing, id: u64) -> Result<Reported, Status> {
        let (group, operation, closed) = standing.state.operation(id).ok_or_else(|| unknown_operation(id))?;
        let (policy, basis) = self.basis(standing, group, &format!("op-{id}")).await?;
        let report = match closed {
            Some(closed) => Report::of_closed(group, closed, policy, basis),
            None => Report::of(group, operation, policy, basis),
        };
        Ok((Told::Operation(Box::new(report)), closed.map(|closed| closed.at)))
    }

    async fn report_of_drill(&self, standing: &Standing, id: u64) -> Result<Reported, Status> {
        let mut groups = standing.state.groups().iter();
        let found = groups.find_map(|(name, group)| Some((name, group, group.drills.find(id)?)));
        let (name, group, (drill, ended)) = found.ok_or_else(|| drills::unknown_drill(id))?;
        let (policy, basis) = self.basis(standing, name, &format!("drill-{id}")).await?;
        let report = DrillReport::of(name, group, drill, ended, policy, basis);
        Ok((Told::Drill(Box::new(report)), ended.map(|ended| ended.at)))
    }

    /// What the report of something is written by.
    async fn basis<'a>(&self, standing: &'a Standing, group: &Label, of: &str) -> Result<(&'a Policy, Basis), Status> {
        let (Some(policy), Some(plan)) = (policy_of(standing, group), standing.state.plan()) else {
            let message =
                format!("report {of}: the plan in force has no data group `{group}` any more, so there are no targets to report against");
            return Err(Reason::UnknownGroup.status(message, group.as_str(), &[]));
        };
        let basis = Basis {
            plan_revision: plan.plan.revision,
            plan_digest: plan.plan.digest.clone(),
            audit_head: standing.state.audit().head(),
            written: standing.now,
            tail: self.groups.source.figures(group).await.measured.tail,
        };
        Ok((policy, basis))
    }
}

fn rehearsal_out(rehearsal: &Rehearsal, seen: &Seen) -> RehearseOperationResponse {
    let step = |part: &Part| RehearsedStep {
        name: part.stage.word().to_owned(),
        who: part.who.to_string(),
        lasts: part.lasts.to_string(),
        text: part.text.clone(),
        point_of_no_return: part.stage.is_point_of_no_return(),
    };
    RehearseOperationResponse {
        plan_id: rehearsal.plan.to_string(),
        token: seen.group.token.to_string(),
        plan_revision: seen.revision,
        from: rehearsal.from.to_string(),
        to: rehearsal.to.as_ref().map(ToString::to_string).unwrap_or_default(),
        steps: rehearsal.parts.iter().map(step).collect(),
        estimate: rehearsal.estimate.to_string(),
        gate: rehearsal.gate.clone().unwrap_or_default(),
        until_writes: rehearsal.until_writes().map(duration_out),
        whole: rehearsal.whole().map(duration_out),
        freshness: Some(freshness_out(&seen.standing)),
    }
}
