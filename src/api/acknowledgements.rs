//! `AcknowledgementService`: a person has seen it.

use std::sync::Arc;

use portolan_core::cluster::{Acknowledgement, Change};
use tonic::{Request, Response, Status};

use super::{
    convert::{acknowledgement_out, freshness_out},
    mutation::{caller, envelope, propose},
    page::{PAGE_SIZE_MAX, Page},
    proto::{
        CreateAcknowledgementRequest, CreateAcknowledgementResponse, ListAcknowledgementsRequest, ListAcknowledgementsResponse,
        acknowledgement::Expiration, acknowledgement_service_server::AcknowledgementService,
    },
    reading::{end_after, end_at, required_end},
    refusal::{self, bad_field},
    source::cluster::{ClusterSource, Reach},
};

/// The service over a source.
pub struct AcknowledgementApi {
    source: Arc<dyn ClusterSource>,
}

impl AcknowledgementApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }
}

#[tonic::async_trait]
impl AcknowledgementService for AcknowledgementApi {
    async fn list_acknowledgements(
        &self,
        request: Request<ListAcknowledgementsRequest>,
    ) -> Result<Response<ListAcknowledgementsResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let standing = self.source.standing().map_err(|error| refusal::cluster(&error))?;
        let (found, next_page_token) = page.of(standing.state.acknowledgements(standing.now), |(object, _)| (*object).to_owned());
        let acknowledgements = found.into_iter().map(|(object, it)| acknowledgement_out(object, it)).collect();
        Ok(Response::new(ListAcknowledgementsResponse { acknowledgements, next_page_token, freshness: Some(freshness_out(&standing)) }))
    }

    async fn create_acknowledgement(
        &self,
        request: Request<CreateAcknowledgementRequest>,
    ) -> Result<Response<CreateAcknowledgementResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let wanted = request.acknowledgement.take().ok_or_else(|| bad_field("acknowledgement", "is not set"))?;
        let end = match &wanted.expiration {
            Some(Expiration::ExpireTime(time)) => Some(end_at("acknowledgement.expire_time", time)?),
            Some(Expiration::Ttl(ttl)) => Some(end_after("acknowledgement.ttl", ttl)?),
            None => None,
        };
        let end = required_end("acknowledgement", end)?;
        let envelope = envelope!(request, Vec::new());
        let why = envelope.reason.clone();
        let change = Change::Acknowledge { object: wanted.object.clone(), end };
        let done = propose(&*self.source, envelope.draft(&caller, change, Some(end), Reach::Cluster)?).await?;
        let given = Acknowledgement { who: caller.name, why, at: done.at, until: end.resolve(done.at) };
        let acknowledgement = Some(acknowledgement_out(&wanted.object, &given));
        Ok(Response::new(CreateAcknowledgementResponse { acknowledgement, commit: Some(done.commit) }))
    }
}
