//! What endpoints do wrong, as a table: each is bounded in time and classified.

use std::time::Duration;

use portolan_core::model::check::{
    BodyMatch,
    FailureCategory::{self, Body, Closed, Connect, Protocol, Slow, Status, Timeout},
    Outcome,
};
use tokio::task::JoinSet;

use super::{
    AMPLE, PATIENCE, TIMEOUT, check, get, has, json, observe, passed,
    server::{
        Step::{self, Drip, Flood, HalfClose, Hang, Request, Reset, Send},
        serve,
    },
};

const OK: Step = Send(b"HTTP/1.1 200 OK\r\n");
const CHUNKED: Step = Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
const ENDLESS: Step = Send(b"HTTP/1.1 200 OK\r\n\r\n");

type Row = (&'static str, &'static [Step], Option<BodyMatch>, Result<(), &'static [FailureCategory]>);

fn table() -> Vec<Row> {
    vec![
        ("accepts and hangs", &[Hang], None, Err(&[Timeout])),
        ("reads the request and hangs", &[Request, Hang], None, Err(&[Timeout])),
        ("closes at once", &[], None, Err(&[Closed])),
        ("closes after the request", &[Request], None, Err(&[Closed])),
        ("half-closes without an answer", &[Request, HalfClose, Hang], None, Err(&[Closed])),
        // Whether the reset is seen while connecting or after it depends on which comes first.
        ("resets at once", &[Reset], None, Err(&[Closed, Connect])),
        ("resets after the request", &[Request, Reset], None, Err(&[Closed])),
        ("resets inside the headers", &[Request, OK, Reset], None, Err(&[Closed])),
        ("closes inside the status line", &[Request, Send(b"HTTP/1.1 2")], None, Err(&[Closed])),
        ("closes inside the headers", &[Request, OK, Send(b"Server: x\r\n")], None, Err(&[Closed])),
        ("drips the status line", &[Request, Drip(b"HTTP/1.1 200 OK and a very long reason that never ends")], None, Err(&[Slow])),
        ("drips headers", &[Request, OK, Drip(b"X-Padding: 1\r\n")], None, Err(&[Slow])),
        ("drips a body that does not matter", &[Request, ENDLESS, Drip(b"x")], None, Ok(())),
        ("drips a body that matters", &[Request, ENDLESS, Drip(b"x")], has("ok"), Err(&[Slow])),
        ("drips JSON", &[Request, ENDLESS, Drip(b"[1,")], json("/0", "1"), Err(&[Slow])),
        ("stops inside the headers", &[Request, OK, Hang], None, Err(&[Slow])),
        ("stops inside the body", &[Request, OK, Send(b"Content-Length: 9\r\n\r\nhalf"), Hang], has("whole"), Err(&[Slow])),
        ("closes inside the body", &[Request, OK, Send(b"Content-Length: 9\r\n\r\nhalf")], has("whole"), Err(&[Closed])),
        ("closes inside a chunk", &[Request, CHUNKED, Send(b"9\r\nhalf")], has("whole"), Err(&[Closed])),
        ("resets inside the body", &[Request, OK, Send(b"Content-Length: 9\r\n\r\nhalf"), Reset], has("whole"), Err(&[Closed])),
        ("endless body", &[Request, ENDLESS, Flood(&[b'x'; 4096])], has("ok"), Err(&[Protocol])),
        ("endless body that does not matter", &[Request, ENDLESS, Flood(&[b'x'; 4096])], None, Ok(())),
        ("endless body with the text in front", &[Request, ENDLESS, Send(b"status ok "), Flood(&[b'x'; 4096])], has("ok"), Ok(())),
        ("endless JSON", &[Request, ENDLESS, Flood(b"[1, ")], json("/0", "1"), Err(&[Protocol])),
        ("endless headers", &[Request, OK, Flood(b"X-Padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")], None, Err(&[Protocol])),
        ("one endless header", &[Request, OK, Send(b"X-Padding: "), Flood(&[b'x'; 4096])], None, Err(&[Protocol])),
        ("endless informational answers", &[Request, Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n")], None, Err(&[Protocol])),
        ("endless chunks of one octet", &[Request, CHUNKED, Flood(b"1\r\nx\r\n")], has("ok"), Err(&[Protocol])),
        ("endless chunk extension", &[Request, CHUNKED, Send(b"1;"), Flood(&[b'x'; 4096])], has("ok"), Err(&[Protocol])),
        ("a chunk size that overflows", &[Request, CHUNKED, Send(b"ffffffffffffffffff\r\n"), Hang], has("ok"), Err(&[Protocol])),
        ("a chunk size that is none", &[Request, CHUNKED, Send(b"zz\r\n"), Hang], has("ok"), Err(&[Protocol])),
        (
            "content lengths that disagree",
            &[Request, OK, Send(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx")],
            has("x"),
            Err(&[Protocol]),
        ),
        ("another protocol speaks first", &[Send(b"SSH-2.0-OpenSSH_9.2\r\n"), Hang], None, Err(&[Protocol])),
        ("zeros", &[Request, Flood(&[0; 4096])], None, Err(&[Protocol])),
        ("line ends without end", &[Request, Flood(&[b'\n'; 4096])], None, Err(&[Protocol])),
        ("HTTP/2 settings", &[Request, Send(b"\0\0\0\x04\0\0\0\0\0"), Hang], None, Err(&[Protocol])),
        ("a status that is no number", &[Request, Send(b"HTTP/1.1 2OO OK\r\n\r\n")], None, Err(&[Protocol])),
        ("redirects to itself", &[Request, Send(b"HTTP/1.1 302 Found\r\nLocation: /health\r\n\r\n")], None, Err(&[Status])),
        ("says 503 and hangs", &[Request, Send(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n"), Hang], has("ok"), Err(&[Status])),
        ("JSON too deep", &[Request, ENDLESS, Send(&[b'['; 8192])], json("/0", "1"), Err(&[Body])),
        ("octets that are no text", &[Request, ENDLESS, Send(&[0xff, 0xfe, 0x00, 0x1b])], has("ok"), Err(&[Body])),
        ("compressed without being asked", &[Request, OK, Send(b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08")], has("ok"), Err(&[Body])),
    ]
}

/// A short time for what is meant to run into it, and ample time for what must end by itself, however busy the machine.
fn limit(expected: &[FailureCategory]) -> Duration {
    if expected.iter().any(|category| matches!(category, Timeout | Slow)) { TIMEOUT } else { AMPLE }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_misbehaviour_is_bounded_and_classified() {
    let mut rows = JoinSet::new();
    for (name, script, body, expected) in table() {
        rows.spawn(async move {
            let server = serve(script).await;
            let limit = expected.map_or_else(limit, |()| AMPLE);
            let seen = observe(&check(Some(server.address), get(body), limit)).await;
            println!("{name}: {:?} in {:?}", seen.outcome, seen.timings.total);
            match expected {
                Ok(()) => passed(&seen),
                Err(categories) => {
                    let Outcome::Failed(failure) = &seen.outcome else { panic!("{name}: passed") };
                    assert!(categories.contains(&failure.category), "{name}: {failure}");
                    assert!(failure.detail.chars().all(|c| !c.is_control()), "{name}: {failure}");
                }
            }
            let bound = if limit == TIMEOUT { PATIENCE } else { AMPLE / 2 };
            assert!(seen.timings.total < bound, "{name} took {:?}", seen.timings.total);
        });
    }
    assert!(rows.len() > 20);
    let mut wrong = Vec::new();
    while let Some(row) = rows.join_next().await {
        wrong.extend(row.err().map(|panic| panic.to_string()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
