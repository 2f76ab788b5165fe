//! What all places that are asked over HTTP have in common: nothing is followed, everything has an end, and no URL is ever told.

use std::time::Duration;

use portolan_core::model::causes::chain;
use reqwest::{Client, Response, redirect};

use super::LookError;

/// For a connection, names included: half way around the world takes a second at most.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Who asks. `request`: for one request and its answer.
pub(super) fn client(request: Duration) -> Result<Client, LookError> {
    // Where an answer sends elsewhere is told; proxies of the environment are nobody's choice.
    let http = Client::builder().redirect(redirect::Policy::none()).no_proxy().connect_timeout(CONNECT_TIME_MAX).timeout(request);
    http.build().map_err(|error| LookError::Endpoint(format!("TLS cannot be set up: {}", chain(&error))))
}

/// The body of an answer, of at most `octets_max`. `store`: whose, for the error.
pub(super) async fn body(answer: &mut Response, octets_max: usize, store: &str) -> Result<Vec<u8>, LookError> {
    let unanswered = |problem| LookError::Unanswered { store: store.to_owned(), problem };
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(chain(&error.without_url())))? {
        if body.len() + chunk.len() > octets_max {
            return Err(unanswered(format!("its answer is longer than {octets_max} octets")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
