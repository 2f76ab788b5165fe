//! The JSON mirror: every method of ours at `POST /portolan.v1.Service/Method`, for who has no gRPC at hand.
//!
//! One transcoder for all methods, by the descriptors: JSON becomes the message, the message goes through the very services of gRPC, and the
//! answer becomes JSON (the ProtoJSON mapping: lowerCamelCase, 64-bit integers as text, RFC 3339 times, enums by name; scalars and lists are
//! written even when empty). Streams are lines of JSON. Reads may be asked for by `GET`, with the plain fields in the query.
//!
//! Invariant: a change needs `POST` with `content-type: application/json`, which a foreign page cannot make a browser send unasked; nothing
//! here answers to other origins.
//! Source: <https://protobuf.dev/programming-guides/json/>, AIP-193 (errors), RFC 9110.

mod failure;
mod frames;
mod fuzz;
mod openapi;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method as Verb, Request, Response, StatusCode, Version,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, TE, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tonic::{Status, body::Body, service::Routes};
use tower::Service as _;

use super::{
    auth::methods::{Kind, Method},
    plan::PLAN_OCTETS_MAX,
    proto,
    refusal::bad_field,
    server::REQUEST_OCTETS_MAX,
};

pub(super) use failure::{error, outcome};
use failure::{failed, plain};
pub use fuzz::fuzz_json;

/// JSON writes some octets as two, line ends and quotes above all.
const JSON_FACTOR: usize = 2;
/// A call without a stream; below the framework's own limit, which would answer in gRPC.
const CALL_TIME_MAX: Duration = Duration::from_secs(9);
/// Answers from this size on are written on a thread that may block, in octets.
const LARGE: usize = 256 * 1024;
/// The service that takes plans.
const PLANS: &str = "portolan.v1.PlanService";

/// The transcoder.
pub(super) struct Mirror {
    methods: BTreeMap<String, MethodDescriptor>,
    document: Bytes,
}

impl Mirror {
    /// The one of this program: it depends on nothing but the descriptors.
    pub(super) fn shared() -> Arc<Self> {
        static MIRROR: LazyLock<Arc<Mirror>> = LazyLock::new(|| Arc::new(Mirror::new()));
        Arc::clone(&MIRROR)
    }

    fn new() -> Self {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("invariant: descriptors are written by our own build");
        let mut methods = BTreeMap::new();
        for service in pool.services() {
            methods.extend(service.methods().map(|method| (format!("{}/{}", service.full_name(), method.name()), method)));
        }
        Self { methods, document: openapi::document(&pool).into() }
    }

    /// The OpenAPI document, for everybody who may open the connection: it says no more than the program itself.
    pub(super) fn document(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let is_it = request.uri().path() == "/openapi.json" && [Verb::GET, Verb::HEAD].contains(request.method());
        is_it.then(|| answer(StatusCode::OK, "application/json", Body::new(Full::new(self.document.clone()))))
    }

    /// Answers a call that was let through.
    pub(super) async fn call(&self, method: Option<&'static Method>, parts: Parts, body: Body, routes: Routes) -> Response<Body> {
        let Some((method, descriptor)) = method.and_then(|method| Some((method, self.methods.get(method.name)?))) else {
            let text = format!("nothing is at `{}`; /openapi.json lists what is", parts.uri.path());
            return failed(StatusCode::NOT_FOUND, &Status::not_found(text));
        };
        match tokio::time::timeout(CALL_TIME_MAX, transcode(method, descriptor, parts, body, routes)).await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => *refused,
            Err(_) => error(&Status::deadline_exceeded(format!("no answer within {CALL_TIME_MAX:?}; a change may have been made"))),
        }
    }
}

type Refused = Box<Response<Body>>;

async fn transcode(
    method: &Method,
    descriptor: &MethodDescriptor,
    parts: Parts,
    body: Body,
    mut routes: Routes,
) -> Result<Response<Body>, Refused> {
    let message = match (parts.method.clone(), method.kind) {
        (Verb::POST, _) => from_body(method, descriptor, &parts, body).await?,
        (Verb::GET, Kind::Read) => {
            from_query(descriptor, parts.uri.query().unwrap_or_default()).map_err(|status| Box::new(error(&status)))?
        }
        _ => {
            let allowed = if method.kind == Kind::Read { "GET, POST" } else { "POST" };
            let text = format!("{} is called by {allowed}", method.name);
            let mut refused = failed(StatusCode::METHOD_NOT_ALLOWED, &Status::unimplemented(text));
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return Err(Box::new(refused));
        }
    };
    let mut request = Request::new(Body::new(Full::new(frames::frame(&message.encode_to_vec()))));
    *request.method_mut() = Verb::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("/{}", method.name).parse().expect("invariant: names of methods are paths");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    *request.extensions_mut() = parts.extensions;
    let response = routes.call(request).await.unwrap_or_else(|never| match never {});
    if let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != tonic::Code::Ok) {
        return Err(Box::new(error(&status)));
    }
    if descriptor.is_server_streaming() {
        let lines = frames::lines(response.into_body(), descriptor.output());
        return Ok(answer(StatusCode::OK, "application/x-ndjson", lines));
    }
    one(response.into_body(), descriptor.output()).await.map_err(|status| Box::new(error(&status)))
}

/// The message in the body of a `POST`; an empty body is an empty message.
async fn from_body(method: &Method, descriptor: &MethodDescriptor, parts: &Parts, body: Body) -> Result<DynamicMessage, Refused> {
    let form = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim());
    if !form.is_some_and(|form| form.eq_ignore_ascii_case("application/json")) {
        let text = "the body must be JSON: send `content-type: application/json`";
        return Err(Box::new(failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, &Status::invalid_argument(text))));
    }
    let max = JSON_FACTOR * if method.name.starts_with(PLANS) { PLAN_OCTETS_MAX } else { REQUEST_OCTETS_MAX };
    let octets = match Limited::new(body, max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(cause) if cause.is::<LengthLimitError>() => {
            let text = format!("the body has more than {max} octets");
            return Err(Box::new(failed(StatusCode::PAYLOAD_TOO_LARGE, &Status::out_of_range(text))));
        }
        Err(cause) => return Err(Box::new(error(&Status::cancelled(format!("the body broke off: {cause}"))))),
    };
    read(descriptor.input(), if octets.is_empty() { b"{}" } else { &octets }).map_err(|status| Box::new(error(&status)))
}

/// JSON to message. Unknown fields are refused by name; nesting is bounded by the reader.
pub(super) fn read(descriptor: MessageDescriptor, octets: &[u8]) -> Result<DynamicMessage, Status> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message =
        DynamicMessage::deserialize_with_options(descriptor, &mut reader, &options).and_then(|message| reader.end().map(|()| message));
    message.map_err(|problem| bad_field("body", problem))
}

/// The message of a query: plain fields of its first level, `?page_size=10` or `?pageSize=10`.
fn from_query(descriptor: &MethodDescriptor, query: &str) -> Result<DynamicMessage, Status> {
    use prost_reflect::Kind as Type;
    let input = descriptor.input();
    let mut object = serde_json::Map::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let field = input.get_field_by_name(&key).or_else(|| input.get_field_by_json_name(&key));
        let field = field.ok_or_else(|| bad_field(&key, "is no field of this call"))?;
        let value = match field.kind() {
            Type::Message(_) => return Err(bad_field(&key, "has a structure; send it by POST")),
            Type::Bool => serde_json::from_str(&value).map_err(|_| bad_field(&key, "is neither true nor false"))?,
            _ => serde_json::Value::String(value.into_owned()),
        };
        let name = field.json_name().to_owned();
        if field.is_list() {
            let list = object.entry(name).or_insert_with(|| serde_json::Value::Array(Vec::new()));
            list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
        } else if object.insert(name, value).is_some() {
            return Err(bad_field(&key, "is given twice"));
        }
    }
    read(input, &serde_json::to_vec(&object).expect("invariant: texts and booleans"))
}

/// The answer of a call without a stream.
async fn one(body: Body, output: MessageDescriptor) -> Result<Response<Body>, Status> {
    let collected = body.collect().await?;
    if let Some(status) = collected.trailers().and_then(Status::from_header_map).filter(|status| status.code() != tonic::Code::Ok) {
        return Err(status);
    }
    let octets = collected.to_bytes();
    let message = octets.get(frames::HEADER_OCTETS..).ok_or_else(|| Status::internal("the service gave no message"))?.to_vec();
    let text = if message.len() < LARGE {
        write(&output, &message)
    } else {
        let written = tokio::task::spawn_blocking(move || write(&output, &message));
        written.await.unwrap_or_else(|_| Err(Status::internal("the answer was not written")))
    };
    Ok(answer(StatusCode::OK, "application/json", plain(text?)))
}

/// Message to JSON.
pub(super) fn write(descriptor: &MessageDescriptor, octets: &[u8]) -> Result<Vec<u8>, Status> {
    let problem = |problem: &dyn std::fmt::Display| Status::internal(format!("the answer cannot be written as JSON: {problem}"));
    let message = DynamicMessage::decode(descriptor.clone(), octets).map_err(|error| problem(&error))?;
    let mut text = Vec::with_capacity(octets.len() * 2);
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options).map_err(|error| problem(&error))?;
    Ok(text)
}

fn answer(status: StatusCode, form: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
