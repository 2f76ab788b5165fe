//! Prometheus probes against canned answers of its HTTP API.

use portolan_core::model::check::{Bound, Decimal, FailureCategory, ProbeKind};

use super::{
    AMPLE, PATIENCE, TIMEOUT, check, failed, observe, passed,
    server::{
        Step::{Drip, Flood, Request, Send},
        serve,
    },
};

fn answer(status: &str, body: &str) -> &'static [super::server::Step] {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    vec![Request, Send(answer.into_bytes().leak())].leak()
}

fn success(kind: &str, result: &str) -> &'static [super::server::Step] {
    answer("200 OK", &format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#))
}

/// `errors < 5` against this server.
fn kind(address: std::net::SocketAddr) -> ProbeKind {
    ProbeKind::Prometheus {
        url: format!("http://{address}/prom"),
        query: "sum(rate(errors[5m]))".to_owned(),
        bound: Bound::Below(Decimal(5_000_000)),
    }
}

#[tokio::test]
async fn one_number_is_held_against_the_bound() {
    for (resulting, result) in [
        ("scalar", r#"[1795316600.781,"4.99"]"#),
        ("vector", r#"[{"metric":{"job":"shop"},"value":[1795316600,"0"]}]"#),
        ("vector", r#"[{"metric":{},"value":[1795316600,"-Inf"]}]"#),
    ] {
        let server = serve(success(resulting, result)).await;
        let seen = observe(&check(None, kind(server.address), AMPLE)).await;
        passed(&seen);
        assert!(seen.timings.connect.is_some() && seen.timings.first_byte.is_some());
        let request = String::from_utf8(server.seen.lock().unwrap().clone()).unwrap();
        let asked = "GET /prom/api/v1/query?query=sum%28rate%28errors%5B5m%5D%29%29&timeout=30000ms HTTP/1.1\r\n";
        assert!(request.starts_with(asked), "{request}");
    }
}

#[tokio::test]
async fn anything_else_is_unhealthy_and_says_why() {
    let bad_query = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected end of input"}"#;
    for (script, category, says) in [
        (success("scalar", r#"[1,"5"]"#), FailureCategory::Bound, "5 is not below 5"),
        (success("vector", r#"[{"metric":{},"value":[1,"+Inf"]}]"#), FailureCategory::Bound, "inf is not below 5"),
        (success("vector", "[]"), FailureCategory::Bound, "no data: the query found nothing"),
        (success("scalar", r#"[1,"NaN"]"#), FailureCategory::Bound, "no data: the result is NaN"),
        (success("vector", r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#), FailureCategory::Body, "the query found 2 samples"),
        (success("matrix", "[]"), FailureCategory::Body, "the query's result is a matrix"),
        (success("string", r#"[1,"1"]"#), FailureCategory::Body, "the query's result is a string"),
        (success("scalar", "[1]"), FailureCategory::Protocol, "not an answer of Prometheus: a sample without value"),
        (success("scalar", r#"[1,"one"]"#), FailureCategory::Protocol, "not an answer of Prometheus: a value that is no number"),
        (success("vector", "7"), FailureCategory::Protocol, "not an answer of Prometheus: a vector without result"),
        (answer("200 OK", "<html>"), FailureCategory::Protocol, "not an answer of Prometheus"),
        (answer("200 OK", "[]"), FailureCategory::Protocol, "not an answer of Prometheus: no result type"),
        (answer("400 Bad Request", bad_query), FailureCategory::Status, "status 400 Bad Request: 1:4: parse error"),
        (answer("302 Found", ""), FailureCategory::Status, "status 302 Found: no reason given"),
        (&[Request, Send(b"HTTP/1.1 200 OK\r\n\r\n"), Flood(b"[1, ")], FailureCategory::Protocol, "the answer is larger"),
    ] {
        let server = serve(script).await;
        let failure = failed(&observe(&check(None, kind(server.address), AMPLE)).await, category);
        assert!(failure.detail.starts_with(says), "{failure} should say `{says}`");
    }
    let slow = serve(&[Request, Send(b"HTTP/1.1 200 OK\r\n\r\n"), Drip(b" ")]).await;
    let seen = observe(&check(None, kind(slow.address), TIMEOUT)).await;
    failed(&seen, FailureCategory::Slow);
    assert!(seen.timings.total < PATIENCE);
    // The status decides, even if the reason never comes.
    let busy = serve(&[Request, Send(b"HTTP/1.1 503 Busy\r\n\r\n"), Drip(b" ")]).await;
    let failure = failed(&observe(&check(None, kind(busy.address), TIMEOUT)).await, FailureCategory::Status);
    assert_eq!(failure.detail, "status 503 Service Unavailable: no reason given");
}

#[tokio::test]
async fn a_url_that_cannot_be_asked_says_so() {
    let bound = Bound::Above(Decimal(0));
    let kind = ProbeKind::Prometheus { url: "prometheus:9090".to_owned(), query: "up".to_owned(), bound };
    let failure = failed(&observe(&check(None, kind, AMPLE)).await, FailureCategory::Protocol);
    assert!(failure.detail.starts_with("`prometheus:9090` cannot be asked: it must begin with http"), "{failure}");
}
