//! HTTP probes against servers that behave.

use portolan_core::model::check::{BodyMatch, FailureCategory, HttpExpect, HttpMethod, ProbeKind};

use super::{
    failed, get, has, json, passed, probe,
    server::{
        Step::{Request, Send},
        serve,
    },
};

const HEALTHY: &[super::server::Step] =
    &[Request, Send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"db\":{\"lag\":1.25}}")];

#[tokio::test]
async fn the_request_is_what_the_plan_says() {
    let server = serve(HEALTHY).await;
    let seen = probe(server.address, get(None)).await;
    passed(&seen);
    let timings = seen.timings;
    assert!(timings.connect.is_some() && timings.tls.is_none() && timings.first_byte.is_some_and(|first| first <= timings.total));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /health HTTP/1.1\r\nhost: {}\r\nuser-agent: portolan/{version}\r\naccept: */*\r\nconnection: close\r\n\r\n",
        server.address
    );
    assert_eq!(String::from_utf8_lossy(&server.seen.lock().unwrap()), expected);
}

#[tokio::test]
async fn headers_and_host_of_the_plan_win() {
    let server = serve(HEALTHY).await;
    let kind = ProbeKind::Http {
        tls: None,
        host: Some("api.example.com".to_owned()),
        method: HttpMethod::Head,
        path: "/ready?full=1".to_owned(),
        headers: vec![("X-Probe".to_owned(), "1".to_owned()), ("User-Agent".to_owned(), "ours".to_owned())],
        expect: HttpExpect { status: vec![(200, 200)], body: None },
    };
    passed(&probe(server.address, kind).await);
    let request = String::from_utf8(server.seen.lock().unwrap().clone()).unwrap();
    assert!(request.starts_with("HEAD /ready?full=1 HTTP/1.1\r\n"), "{request}");
    for line in ["host: api.example.com\r\n", "x-probe: 1\r\n", "user-agent: ours\r\n"] {
        assert!(request.contains(line), "{line} in {request}");
    }
    assert!(!request.contains("portolan/"), "{request}");
}

#[tokio::test]
async fn bodies_are_matched() {
    let server = serve(HEALTHY).await;
    for body in [has("\"lag\""), has(""), json("/db/lag", "1.25"), json("/db", "{\"lag\": 1.25}")] {
        passed(&probe(server.address, get(body)).await);
    }
    for (body, detail) in [
        (has("green"), "no `green` in the body `{\"db\":{\"lag\":1.25}}`"),
        (json("/db/lag", "2"), "`/db/lag` is `1.25`, expected 2"),
        (json("/cache", "1"), "nothing at `/cache` in `{\"db\":{\"lag\":1.25}}`"),
    ] {
        assert_eq!(failed(&probe(server.address, get(body)).await, FailureCategory::Body).detail, detail);
    }
}

#[tokio::test]
async fn text_is_found_across_pieces_and_chunks() {
    let chunked = serve(&[
        Request,
        Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n..h\r\n"),
        Send(b"3\r\neal\r\n"),
        Send(b"5\r\nthy..\r\n0\r\n\r\n"),
    ])
    .await;
    passed(&probe(chunked.address, get(has("healthy"))).await);
    let early = serve(&[Request, Send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]).await;
    passed(&probe(early.address, get(None)).await);
}

#[tokio::test]
async fn a_wrong_status_names_what_was_expected() {
    let server = serve(&[Request, Send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")]).await;
    let mut kind = get(None);
    if let ProbeKind::Http { expect, .. } = &mut kind {
        expect.status = vec![(200, 299), (401, 401)];
    }
    let failure = failed(&probe(server.address, kind.clone()).await, FailureCategory::Status);
    assert_eq!(failure.detail, "status 503 Service Unavailable, expected 200-299, 401");
    if let ProbeKind::Http { expect, .. } = &mut kind {
        expect.status = vec![(503, 503)];
    }
    passed(&probe(server.address, kind).await);
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read_whole() {
    let length = portolan_core::model::check::ANSWER_OCTETS_MAX;
    let answer = |octets: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {:05}\r\n\r\n", octets - 42);
        assert_eq!(head.len(), 42);
        let mut answer = head.into_bytes();
        answer.resize(octets - 2, b'.');
        answer.extend_from_slice(b"ok");
        &*answer.leak()
    };
    let exact = serve(vec![Request, Send(answer(length))].leak()).await;
    passed(&probe(exact.address, get(has("ok"))).await);
    let longer = serve(vec![Request, Send(answer(length + 1))].leak()).await;
    failed(&probe(longer.address, get(has("ok"))).await, FailureCategory::Protocol);
}

#[tokio::test]
async fn head_has_no_body_to_match() {
    let server = serve(HEALTHY).await;
    let mut kind = get(Some(BodyMatch::Contains("x".to_owned())));
    if let ProbeKind::Http { method, .. } = &mut kind {
        *method = HttpMethod::Head;
    }
    failed(&probe(server.address, kind).await, FailureCategory::Body);
}
