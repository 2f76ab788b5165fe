//! `ExplainService`: the reasons behind an object's state.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    proto::{WhyRequest, WhyResponse, explain_service_server::ExplainService},
    reading::past,
    refusal,
    source::ControlSource,
};

/// The longest object name in octets: kind, service, region and address fit several times.
pub const OBJECT_OCTETS_MAX: usize = 512;

/// The service over a source.
pub struct ExplainApi {
    source: Arc<dyn ControlSource>,
}

impl ExplainApi {
    pub(super) fn new(source: Arc<dyn ControlSource>) -> Self {
        Self { source }
    }
}

#[tonic::async_trait]
impl ExplainService for ExplainApi {
    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let request = request.into_inner();
        let object = request.object.trim();
        if object.is_empty() {
            return Err(refusal::bad_field("object", "is empty; name a region, a service or an endpoint"));
        }
        if object.len() > OBJECT_OCTETS_MAX {
            return Err(refusal::bad_field("object", format!("is longer than {OBJECT_OCTETS_MAX} octets")));
        }
        let why = self.source.why(object, past("at", request.at)?).await.map_err(|error| refusal::report(&error))?;
        Ok(Response::new((&why).into()))
    }
}
