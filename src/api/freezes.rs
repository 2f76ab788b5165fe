//! `FreezeService`: times in which people change nothing.

use std::sync::Arc;

use portolan_core::{
    cluster::{Change, Freeze},
    model::ids::Label,
};
use tonic::{Request, Response, Status};

use super::{
    convert::{freeze_out, freshness_out},
    mutation::{caller, envelope, propose},
    page::end_of,
    proto::{
        CreateFreezeRequest, CreateFreezeResponse, DeleteFreezeRequest, DeleteFreezeResponse, ListFreezesRequest, ListFreezesResponse,
        freeze::Expiration, freeze_service_server::FreezeService,
    },
    reading::{end_after, end_at, required_end, scope_in},
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach},
};

/// The service over a source.
pub struct FreezeApi {
    source: Arc<dyn ClusterSource>,
}

impl FreezeApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }
}

#[tonic::async_trait]
impl FreezeService for FreezeApi {
    async fn list_freezes(&self, _: Request<ListFreezesRequest>) -> Result<Response<ListFreezesResponse>, Status> {
        let standing = self.source.standing().map_err(|error| refusal::cluster(&error))?;
        let freezes = standing.state.freezes(standing.now).iter().map(freeze_out).collect();
        Ok(Response::new(ListFreezesResponse { freezes, freshness: Some(freshness_out(&standing)) }))
    }

    async fn create_freeze(&self, request: Request<CreateFreezeRequest>) -> Result<Response<CreateFreezeResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let wanted = request.freeze.take().ok_or_else(|| bad_field("freeze", "is not set"))?;
        let scope = scope_in("freeze.scope", wanted.scope)?;
        let end = match &wanted.expiration {
            Some(Expiration::ExpireTime(time)) => Some(end_at("freeze.expire_time", time)?),
            Some(Expiration::Ttl(ttl)) => Some(end_after("freeze.ttl", ttl)?),
            None => None,
        };
        let end = required_end("freeze", end)?;
        let automation = wanted.automation;
        let id = (!request.freeze_id.is_empty()).then(|| Label::new(&request.freeze_id));
        let standing = self.source.standing().map_err(|error| refusal::cluster(&error))?;
        // A repeat of the same freeze is for the request id to recognise.
        let is_other = |known: &&Freeze| {
            Some(&known.id) == id.as_ref()
                && (known.scope != scope || known.automation != automation || known.who != caller.name || known.why != request.reason)
        };
        if let Some(known) = standing.state.freezes(standing.now).iter().find(|known| !request.replace && is_other(known)) {
            let message = format!("`{}` is the name of another freeze, by {} until {}: {}", known.id, known.who, known.until, known.why);
            return Err(Reason::NameTaken.status(message, known.id.as_str(), &[]));
        }
        let envelope = envelope!(request, Vec::new());
        let why = envelope.reason.clone();
        let change = Change::Freeze { id: id.clone(), scope: scope.clone(), end, automation };
        let done = propose(&*self.source, envelope.draft(&caller, change, Some(end), Reach::Cluster)?).await?;
        if done.commit.repeated_request
            && let Ok(standing) = self.source.standing()
            && let Some(known) = standing.state.freezes(standing.now).iter().find(|known| Some(&known.id) == done.object.as_ref())
        {
            // As it was given the first time, with its end then.
            return Ok(Response::new(CreateFreezeResponse { freeze: Some(freeze_out(known)), commit: Some(done.commit) }));
        }
        let id = done.object.filter(|_| done.commit.index.is_some()).or(id).unwrap_or_else(|| Label::new(""));
        let given = Freeze { id, scope, from: done.at, until: end.resolve(done.at), automation, who: caller.name, why };
        let mut given = freeze_out(&given);
        if given.name == "freezes/" {
            given.name.clear();
        }
        Ok(Response::new(CreateFreezeResponse { freeze: Some(given), commit: Some(done.commit) }))
    }

    async fn delete_freeze(&self, request: Request<DeleteFreezeRequest>) -> Result<Response<DeleteFreezeResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = Label::new(end_of("name", &request.name, "freezes")?);
        let draft = envelope!(request, Vec::new()).draft(&caller, Change::Unfreeze { id }, None, Reach::Cluster)?;
        let done = propose(&*self.source, draft).await?;
        Ok(Response::new(DeleteFreezeResponse { commit: Some(done.commit) }))
    }
}
