//! Errors of the mirror, in the form that AIP-193 gives them over HTTP.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use serde_json::{Value, json};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::answer;

/// The status of a refused call, left with its answer for the log.
#[derive(Clone, Debug)]
struct Outcome(Status);

/// What a refused call was refused with; `None`: it is no answer of the mirror, or it went well.
pub(in crate::api) fn outcome(response: &Response<Body>) -> Option<Status> {
    response.extensions().get::<Outcome>().map(|outcome| outcome.0.clone())
}

/// The answer for a status, with the HTTP status that belongs to its code.
pub(in crate::api) fn error(status: &Status) -> Response<Body> {
    failed(http_status(status.code()), status)
}

/// The answer for a status, with another HTTP status.
pub(super) fn failed(http: StatusCode, status: &Status) -> Response<Body> {
    let mut text = failure(status);
    text["error"]["code"] = http.as_u16().into();
    let mut response = answer(http, "application/json", plain(text.to_string().into_bytes()));
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    if let Some(delay) = retry {
        // Whole seconds, and never too early.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if http == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response.extensions_mut().insert(Outcome(status.clone()));
    response
}

/// `{"error": {...}}`.
pub(super) fn failure(status: &Status) -> Value {
    let details = status.get_error_details();
    let typed = |name: &str, mut value: Value| {
        value["@type"] = format!("type.googleapis.com/google.rpc.{name}").into();
        value
    };
    let mut list = Vec::new();
    if let Some(info) = details.error_info() {
        let metadata: std::collections::BTreeMap<_, _> = info.metadata.iter().filter(|(_, value)| !value.is_empty()).collect();
        list.push(typed("ErrorInfo", json!({ "reason": info.reason, "domain": info.domain, "metadata": metadata })));
    }
    if let Some(request) = details.bad_request() {
        let fields = request.field_violations.iter().map(|it| json!({ "field": it.field, "description": it.description }));
        list.push(typed("BadRequest", json!({ "fieldViolations": fields.collect::<Vec<_>>() })));
    }
    if let Some(failure) = details.precondition_failure() {
        let broken = failure.violations.iter().map(|it| json!({ "type": it.r#type, "subject": it.subject, "description": it.description }));
        list.push(typed("PreconditionFailure", json!({ "violations": broken.collect::<Vec<_>>() })));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        list.push(typed("RetryInfo", json!({ "retryDelay": format!("{}.{:09}s", delay.as_secs(), delay.subsec_nanos()) })));
    }
    let code = http_status(status.code()).as_u16();
    json!({ "error": { "code": code, "status": word(status.code()), "message": status.message(), "details": list } })
}

pub(super) fn plain(text: Vec<u8>) -> Body {
    Body::new(Full::new(Bytes::from(text)))
}

/// As google.rpc.Code maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted | Code::AlreadyExists => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
