//! Services that list backups: one that does, and those that refuse, send elsewhere, hang, talk too much or nonsense.

use std::time::Duration;

use portolan::backup::{
    LookError,
    http::{Credentials, Services},
};
use portolan_core::recovery::backups::{Proof, Seen};
use tokio::time::Instant;

use super::{now, stub::Stub};

/// Of looks that are meant to run into it.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Of looks that are meant to end long before it, however busy the machine.
const AMPLE: Duration = Duration::from_secs(30);

const LISTING: &str = r#"[{"name":"base","size":7,"modified":"2026-11-22T03:03:20Z","complete":true,"encrypted":true,"versioned":true}]"#;

async fn look(stub: &Stub, credentials: Option<&Credentials>, timeout: Duration) -> Result<Seen, LookError> {
    let url = format!("{}/backups?key=hush", stub.endpoint());
    Services::new(timeout).unwrap().look(&url, credentials, None, now()).await
}

#[tokio::test]
async fn a_listing_is_taken_and_who_asks_says_who_it_is() {
    let stub = Stub::saying("200 OK", "content-type: application/json\r\n", LISTING).await;
    let seen = look(&stub, None, AMPLE).await.unwrap();
    assert_eq!((seen.listing.n_complete, seen.listing.octets, seen.listing.newest.unwrap().name.as_str()), (1, 7, "base"));
    assert_eq!((seen.encryption, seen.versioning), (Proof::Proven, Proof::Proven));
    for (secret, header) in [("t0ken", "Bearer t0ken"), ("ana\nhush", "Basic YW5hOmh1c2g=")] {
        look(&stub, Some(&Credentials::parse(secret).unwrap()), AMPLE).await.unwrap();
        let heads = stub.heads.lock().unwrap().clone();
        assert!(heads.last().unwrap().contains(&format!("authorization: {header}")), "{heads:?}");
    }
    assert!(stub.asked.lock().unwrap().iter().all(|line| line == "GET /backups?key=hush HTTP/1.1"));
}

#[tokio::test]
async fn what_is_no_listing_is_told_without_a_secret() {
    let long = format!("[{}]", " ".repeat(portolan::backup::told::OCTETS_MAX));
    for (status, headers, body, why) in [
        ("200 OK", "", "<html>hush</html>", "its listing cannot be read"),
        ("200 OK", "", "", "its listing cannot be read"),
        ("200 OK", "", r#"{"backups":[]}"#, "its listing cannot be read"),
        ("200 OK", "", long.as_str(), "its answer is longer than"),
        ("302 Found", "location: http://127.0.0.1:1/\r\n", LISTING, "nothing is followed"),
        ("401 Unauthorized", "", "hush", "see its `secret`"),
        ("500 Internal Server Error", "", "hush", "500 Internal Server Error"),
    ] {
        let stub = Stub::saying(status, headers, body).await;
        let error = look(&stub, Some(&Credentials::parse("hush").unwrap()), AMPLE).await.unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("hush"), "{status}: {error}");
    }
    let half = Stub::start(Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[".to_owned())).await;
    let error = look(&half, None, AMPLE).await.unwrap_err().to_string();
    assert!(error.starts_with("ask 127.0.0.1: "), "{error}");
}

#[tokio::test]
async fn a_service_that_hangs_or_is_not_there_costs_no_longer_than_it_may() {
    let (stub, began) = (Stub::start(None).await, Instant::now());
    let error = look(&stub, None, TIMEOUT).await.unwrap_err().to_string();
    assert!(began.elapsed() < AMPLE && error.starts_with("ask 127.0.0.1: ") && !error.contains("hush"), "{error}");
    let gone = Stub::start(None).await;
    let endpoint = gone.endpoint();
    drop(gone);
    let error = Services::new(AMPLE).unwrap().look(&endpoint, None, None, now()).await.unwrap_err().to_string();
    assert!(error.starts_with("ask 127.0.0.1: "), "{error}");
}
