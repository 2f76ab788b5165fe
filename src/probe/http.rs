//! HTTP/1.1 probes, and the exchange that the Prometheus probe makes too.
//!
//! hyper parses; the connection is driven inside the probe's own task, so that nothing of it can outlive the probe. hyper costs about 15 us
//! of CPU more per probe than httparse by hand, of 90 to 110 in all, most of it the kernel's (`cargo bench -- probe`), and brings chunked
//! coding, informational answers and the header rules of a well-kept client.
//!
//! Reading stops as soon as the verdict is certain: at the status line when it is wrong or no body is asked for, at the text when a body must
//! contain it, at the end for JSON.
//!
//! Absent on purpose: redirects (302 is the status), compression (not asked for, so a server that sends it anyway does not match), cookies,
//! keep-alive.

use std::{future::poll_fn, ops::ControlFlow, pin::Pin, pin::pin, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use portolan_core::model::check::{
    ANSWER_OCTETS_MAX, Address, BodyMatch, Failure, FailureCategory, Host, HttpExpect, HttpMethod, TlsCheck,
};
use serde_json::Value;

use super::{
    ProbeEnv, bare_host,
    metered::Metered,
    open::{self, Stream},
    watch::{Mark, Watch},
};
use crate::net::tls::Alpn;

/// Sent with every request, so that servers can tell probes from clients.
pub(super) const USER_AGENT: &str = concat!("portolan/", env!("CARGO_PKG_VERSION"));

/// Characters of a body quoted in a failure.
const QUOTE_CHARACTERS_MAX: usize = 60;

/// What to ask whom.
pub(super) struct Ask<'a> {
    pub(super) address: &'a Address,
    pub(super) tls: Option<&'a TlsCheck>,
    pub(super) host: Option<&'a str>,
    pub(super) method: HttpMethod,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
}

/// One HTTP probe.
pub(super) async fn probe(ask: &Ask<'_>, expect: &HttpExpect, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    let mut exchange = Exchange::begin(ask, env, watch).await?;
    judge_status(exchange.status(), expect)?;
    match &expect.body {
        None => Ok(()),
        Some(_) if ask.method == HttpMethod::Head => {
            Err(Failure::new(FailureCategory::Body, "an answer to HEAD has no body to match; use GET"))
        }
        Some(BodyMatch::Contains(text)) => {
            let found = exchange
                .body(|body, fresh| {
                    // The text may begin in what was already searched.
                    let from = fresh.saturating_sub(text.len());
                    if contains(&body[from..], text.as_bytes()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .await?;
            found.map_or_else(|body| Err(Failure::new(FailureCategory::Body, &format!("no `{text}` in the body {}", quote(&body)))), Ok)
        }
        Some(BodyMatch::Json { pointer, equals }) => judge_json(&exchange.whole_body().await?, pointer, equals),
    }
}

fn judge_status(status: StatusCode, expect: &HttpExpect) -> Result<(), Failure> {
    let code = status.as_u16();
    if expect.status.iter().any(|&(first, last)| (first..=last).contains(&code)) {
        return Ok(());
    }
    let wanted: Vec<String> =
        expect.status.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") }).collect();
    Err(Failure::new(FailureCategory::Status, &format!("status {status}, expected {}", wanted.join(", "))))
}

pub(super) fn judge_json(body: &[u8], pointer: &str, equals: &str) -> Result<(), Failure> {
    let failed = |detail: String| Err(Failure::new(FailureCategory::Body, &detail));
    let document: Value = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(error) => return failed(format!("the body is not JSON: {error}; it is {}", quote(body))),
    };
    let wanted: Value = match serde_json::from_str(equals) {
        Ok(wanted) => wanted,
        Err(error) => return failed(format!("the expected value `{equals}` is not JSON: {error}; write text in double quotes")),
    };
    match document.pointer(pointer) {
        Some(found) if *found == wanted => Ok(()),
        Some(found) => failed(format!("`{pointer}` is {}, expected {wanted}", quote(found.to_string().as_bytes()))),
        None => failed(format!("nothing at `{pointer}` in {}", quote(body))),
    }
}

/// Whether `needle` stands anywhere in `haystack`; the empty one does.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// The beginning of a body, printable.
pub(super) fn quote(body: &[u8]) -> String {
    if body.is_empty() {
        return "(empty)".to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let short: String = text.chars().take(QUOTE_CHARACTERS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// An answer whose headers are here and whose body is not yet.
pub(super) struct Exchange<'w> {
    answer: Response<Incoming>,
    /// `None` once it ended; what it read before is still in `answer`.
    connection: Option<Connection>,
    watch: &'w Watch,
}

type Connection = Pin<Box<http1::Connection<TokioIo<Metered<Stream>>, Empty<Bytes>>>>;

impl<'w> Exchange<'w> {
    /// Connects, asks, and reads up to the end of the headers.
    pub(super) async fn begin(ask: &Ask<'_>, env: &ProbeEnv, watch: &'w Watch) -> Result<Self, Failure> {
        let request = request(ask).map_err(|e| Failure::new(FailureCategory::Protocol, &format!("the request cannot be made: {e}")))?;
        let name = ask.host.map_or_else(|| bare_host(ask.address), |host| without_port(host).to_owned());
        let stream = open::open(ask.address, ask.tls, &name, Alpn::Http1, env, watch).await?;
        let failed = |error: hyper::Error| failure(&error, watch);
        watch.mark(Mark::Asked);
        let handshake = http1::Builder::new().max_buf_size(ANSWER_OCTETS_MAX).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let mut connection = Some(Box::pin(connection));
        let answer = drive(&mut connection, sender.send_request(request)).await.map_err(failed)?;
        Ok(Self { answer, connection, watch })
    }

    pub(super) fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// Reads the body until `done` says so, and returns what it said, or the whole body when it never did.
    ///
    /// `done` gets all of the body so far and where the new part begins.
    pub(super) async fn body<T>(&mut self, mut done: impl FnMut(&[u8], usize) -> ControlFlow<T>) -> Result<Result<T, Vec<u8>>, Failure> {
        let mut body = Vec::new();
        loop {
            let frame = drive(&mut self.connection, self.answer.body_mut().frame()).await;
            let Some(frame) = frame.transpose().map_err(|e| failure(&e, self.watch))? else {
                // An empty body has no frame; what is looked for may be empty too.
                return Ok(match done(&body, body.len()) {
                    ControlFlow::Break(found) => Ok(found),
                    ControlFlow::Continue(()) => Err(body),
                });
            };
            if let Ok(data) = frame.into_data() {
                let fresh = body.len();
                body.extend_from_slice(&data);
                if let ControlFlow::Break(found) = done(&body, fresh) {
                    return Ok(Ok(found));
                }
            }
        }
    }

    /// Reads the body to its end.
    pub(super) async fn whole_body(&mut self) -> Result<Vec<u8>, Failure> {
        let never = |_: &[u8], _: usize| ControlFlow::<std::convert::Infallible>::Continue(());
        self.body(never).await.map(|body| match body {
            Err(body) => body,
            Ok(never) => match never {},
        })
    }
}

/// Runs `work` to its end, and the connection that it waits for beside it, in one task.
async fn drive<T>(connection: &mut Option<Connection>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // An error of the connection reaches `work` too, with more about it.
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn failure(error: &hyper::Error, watch: &Watch) -> Failure {
    if error.is_parse() { watch.nonsense("HTTP/1.1", error) } else { watch.broken("HTTP/1.1", error) }
}

fn request(ask: &Ask<'_>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut headers = HeaderMap::with_capacity(ask.headers.len() + 4);
    for (name, value) in ask.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    if !headers.contains_key(header::HOST) {
        let host = ask.host.map_or_else(|| authority(ask.address, ask.tls.is_some()), str::to_owned);
        headers.insert(header::HOST, HeaderValue::try_from(host)?);
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    if !headers.contains_key(header::ACCEPT) {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut request = Request::new(Empty::new());
    *request.method_mut() = match ask.method {
        HttpMethod::Get => http::Method::GET,
        HttpMethod::Head => http::Method::HEAD,
    };
    *request.uri_mut() = Uri::try_from(ask.path)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// `Host` header of an address: IPv6 in brackets, the scheme's own port left out (RFC 9110 section 7.2).
fn authority(address: &Address, secure: bool) -> String {
    let default_port = if secure { 443 } else { 80 };
    match &address.host {
        _ if address.port != default_port => address.to_string(),
        Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
        host => host.to_string(),
    }
}

/// The name in a `Host` header, without brackets and port.
fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    // More than one colon without brackets is an IPv6 address.
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.parse().map_or_else(|_| Host::Name(host.parse().unwrap()), Host::Ip), port }
    }

    #[test]
    fn the_host_header_leaves_out_the_default_port() {
        assert_eq!(authority(&address("192.0.2.1", 80), false), "192.0.2.1");
        assert_eq!(authority(&address("192.0.2.1", 80), true), "192.0.2.1:80");
        assert_eq!(authority(&address("2001:db8::1", 443), true), "[2001:db8::1]");
        assert_eq!(authority(&address("2001:db8::1", 8443), true), "[2001:db8::1]:8443");
        assert_eq!(authority(&address("app.example.com", 443), true), "app.example.com");
    }

    #[test]
    fn the_server_name_is_the_host_without_its_port() {
        for (host, name) in [
            ("a.example", "a.example"),
            ("a.example:8443", "a.example"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn json_is_compared_as_values() {
        let body = br#"{"status": {"db": "ok", "lag": 1.5}, "a/b": [true, null]}"#;
        for (pointer, equals) in
            [("/status/db", r#""ok""#), ("/status", r#"{"lag":1.5,"db":"ok"}"#), ("/a~1b/0", "true"), ("/a~1b/1", "null")]
        {
            assert_eq!(judge_json(body, pointer, equals), Ok(()), "{pointer}");
        }
        for (pointer, equals) in [("/status/db", r#""down""#), ("/status/db", "ok"), ("/none", "null"), ("status", "1")] {
            assert_eq!(judge_json(body, pointer, equals).unwrap_err().category, FailureCategory::Body, "{pointer}");
        }
        assert!(judge_json(&b"[".repeat(10_000), "", "1").is_err());
    }
}
