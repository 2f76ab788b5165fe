//! In front of all services: who calls is proved, what it may is judged, and refused changes are logged, alike for gRPC and for its JSON mirror.
//!
//! ```text
//!  connection --request--> guard --refused--> a status, in the caller's form
//!                            '--admitted--+--> gRPC services
//!                                         '--> mirror: JSON to message --> the same gRPC services --> message to JSON
//! ```

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use portolan_core::cluster::Role;
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;

use super::{
    auth::{
        Admitted, Guard,
        methods::{Kind, Method},
    },
    json::{self, Mirror},
    refusal::Reason,
};

/// Plans that are received, read and compared at a time, over all callers: each may have megabytes, several times over while it is read.
pub const PLANS_MAX: usize = 8;

/// What the layer holds for all connections.
#[derive(Clone)]
pub(super) struct FrontLayer {
    guard: Arc<Guard>,
    mirror: Arc<Mirror>,
    plans: Arc<Semaphore>,
}

impl FrontLayer {
    pub(super) fn new(guard: Guard, mirror: Arc<Mirror>) -> Self {
        Self { guard: Arc::new(guard), mirror, plans: Arc::new(Semaphore::new(PLANS_MAX)) }
    }
}

impl tower::Layer<Routes> for FrontLayer {
    type Service = Front;

    fn layer(&self, routes: Routes) -> Front {
        Front { shared: self.clone(), routes }
    }
}

/// The services behind the guard.
#[derive(Clone)]
pub(super) struct Front {
    shared: FrontLayer,
    routes: Routes,
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was ready serves this call.
        let fresh = self.clone();
        let ready = std::mem::replace(self, fresh);
        Box::pin(async move { Ok(ready.serve(request).await) })
    }
}

impl Front {
    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let Self { shared: FrontLayer { guard, mirror, plans }, mut routes } = self;
        let is_grpc = is_grpc(request.headers());
        if !is_grpc && let Some(document) = mirror.document(&request) {
            return document;
        }
        let (mut parts, body) = request.into_parts();
        let admitted = match guard.admit(&parts) {
            Ok(admitted) => admitted,
            Err(status) => return if is_grpc { status.into_http() } else { json::error(&status) },
        };
        parts.extensions.insert(admitted.caller.clone());
        // Held until the answer is there.
        let place = admitted.method.filter(|method| takes_plan(method)).map(|_| plans.try_acquire_owned()).transpose();
        let Ok(_place) = place else {
            let text = format!("{PLANS_MAX} plans are being read on this node, as many as it reads at a time");
            let busy = Reason::Busy.status(text, "", &[]);
            return if is_grpc { busy.into_http() } else { json::error(&busy) };
        };
        let response = if is_grpc && admitted.method.is_none() {
            // What is not in the table has no least role, so it is not served.
            Status::unimplemented("there is no such method; reflection lists those that are").into_http()
        } else if is_grpc {
            routes.call(Request::from_parts(parts, body)).await.unwrap_or_else(|never| match never {})
        } else {
            mirror.call(admitted.method, parts, body, routes).await
        };
        if admitted.method.is_some_and(|method| method.kind == Kind::Change) {
            log(&admitted, &response);
        }
        response
    }
}

/// Whether a whole plan is in the request.
fn takes_plan(method: &Method) -> bool {
    method.name.starts_with("portolan.v1.PlanService/") && !method.name.ends_with("/GetPlan")
}

/// `application/grpc`, with or without the form of its messages.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Who was refused what, and why. What is accepted is logged where it is known what it was ([`super::mutation`]); what is in a request is the
/// audit's, in its own bounds.
fn log(Admitted { caller, method }: &Admitted, response: &Response<Body>) {
    // A refusal comes in the headers alone.
    let status = json::outcome(response).or_else(|| Status::from_header_map(response.headers()));
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        let (method, role) = (method.map_or("", |method| method.name), caller.role.map_or("none", Role::word));
        tracing::warn!(who = %caller.name, role, method, outcome = ?status.code(), text = status.message(), "control change refused");
    }
}
