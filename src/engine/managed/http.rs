//! A manager that is a service: one verb per request.
//!
//! Contract. `POST {url}/{verb}` with one JSON object (`super::body`), and beside it the headers `Idempotency-Key` and `Portolan-Token`, and
//! `Authorization: Bearer …` where a secret is named. The status is the answer: 2xx done or under way; 425, 429, 503 not yet; 401, 403, 409, 412, 422
//! refused; anything else failed. `probe` answers with one JSON object ([`super::Probe`]). A service refuses a token below the highest that it has seen:
//! a request that was given up may still be on its way.
//!
//! Invariants: redirections are not followed; an answer is read up to a bound; no secret is in an error.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use portolan_core::{failover::engine::managed::PROBE_OCTETS_MAX, model::causes::chain};
use reqwest::{
    Certificate, Client, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
    redirect,
};
use serde_json::Value;

use super::{Key, Manager, Probe, Seen, Verb, body};
use crate::engine::{Members, Trouble};

/// Characters of a refusal's text that are shown.
const WORDS_MAX: usize = 300;

/// Which service, and for how long.
pub struct Setup {
    /// Where the verbs are, without a `/` at its end.
    pub url: String,
    /// What is sent as bearer; `None`: nothing.
    pub bearer: Option<String>,
    /// Who signs its certificate, as PEM; `None`: whoever the system trusts.
    pub ca: Option<Vec<u8>>,
    /// One verb may last so long.
    pub timeout: Duration,
    /// Whether its `fence` fences. If not, it is never asked for.
    pub fences: bool,
}

/// A manager that is a service.
pub struct Http {
    client: Client,
    url: String,
    bearer: Option<String>,
    fences: bool,
    members: Mutex<Members>,
}

impl Http {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(setup: Setup) -> Result<Self, Trouble> {
        let wrong = |error: &reqwest::Error| Trouble(format!("TLS to {} cannot be set up: {}", setup.url, chain(error)));
        // Proxies of the environment are nobody's choice.
        let mut client = Client::builder().redirect(redirect::Policy::none()).no_proxy().timeout(setup.timeout);
        if let Some(pem) = &setup.ca {
            client = client.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(|error| wrong(&error))?);
        }
        let client = client.build().map_err(|error| wrong(&error))?;
        Ok(Self { client, url: setup.url, bearer: setup.bearer, fences: setup.fences, members: Mutex::default() })
    }

    async fn ask(&self, verb: &str, input: Value, key: Option<&Key>) -> Result<Vec<u8>, Trouble> {
        let told = |what: String| Trouble(format!("{}/{verb}: {what}", self.url));
        let mut request = self.client.post(format!("{}/{verb}", self.url)).header(CONTENT_TYPE, "application/json").body(input.to_string());
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key.to_string()).header("Portolan-Token", key.token.to_string());
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let mut answer = request.send().await.map_err(|error| told(chain(&error.without_url())))?;
        let mut said = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(chain(&error.without_url())))? {
            said.extend_from_slice(&chunk[..chunk.len().min(PROBE_OCTETS_MAX + 1 - said.len())]);
            if said.len() > PROBE_OCTETS_MAX {
                break;
            }
        }
        let status = answer.status();
        let words = || -> String {
            let text = String::from_utf8_lossy(&said);
            let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
            first.chars().filter(|it| !it.is_control()).take(WORDS_MAX).collect()
        };
        match status {
            _ if status.is_success() => Ok(said),
            _ if status.is_redirection() => Err(told(format!("it sends elsewhere ({status}), which is not followed: write where it is"))),
            StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(told(format!("is not ready ({status}): {}", words())))
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::UNPROCESSABLE_ENTITY => Err(told(format!("refused ({status}): {}", words()))),
            _ => Err(told(format!("failed ({status}): {}", words()))),
        }
    }
}

#[async_trait]
impl Manager for Http {
    fn set_members(&self, members: Members) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    async fn probe(&self) -> Result<Seen, Trouble> {
        let said = self.ask("probe", serde_json::json!({}), None).await?;
        let probe = Probe::parse(&said).map_err(|error| Trouble(format!("{}/probe: {error}", self.url)))?;
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(probe.seen(|region| members.contains_key(region)))
    }

    async fn call(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        if *verb == Verb::Fence && !self.fences {
            return Err(Trouble("it cannot be fenced: `self_fence: none`".to_owned()));
        }
        self.ask(verb.word(), body(verb, key), Some(key)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{failover::token::Token, model::ids::Label};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::engine::canned::canned;

    /// A service that answers once; what it was asked.
    async fn service(answer: &'static str, floods: bool) -> (Http, JoinHandle<String>) {
        let (address, serving) = canned(answer, floods).await;
        let url = format!("http://{address}/db");
        let setup = Setup { url, bearer: Some("hush".to_owned()), ca: None, timeout: Duration::from_secs(2), fences: true };
        (Http::new(setup).unwrap(), serving)
    }

    fn key(verb: &Verb) -> Key {
        let token = Token { generation: 1, epoch: 9 };
        Key { group: Label::new("orders"), region: Label::new("us"), token, step: verb.word() }
    }

    #[tokio::test]
    async fn a_verb_is_a_path_and_its_right_is_in_the_body_and_in_headers() {
        let (http, serving) = service("HTTP/1.1 204 No Content\r\n\r\n", false).await;
        http.call(&Verb::Fence, &key(&Verb::Fence)).await.unwrap();
        let asked = serving.await.unwrap().to_lowercase();
        for part in ["post /db/fence http/1.1", "idempotency-key: orders/us/1.9/fence", "portolan-token: 1.9", "bearer hush", "\"epoch\":9"]
        {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }

    #[tokio::test]
    async fn what_a_service_does_wrong_is_said_and_nothing_is_believed() {
        let cases = [
            ("", false, "operation timed out"),
            ("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n", false, "it sends elsewhere (302 Found)"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", true, "more than 16384 octets"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", false, "is no answer to a probe"),
            ("HTTP/1.1 409 Conflict\r\ncontent-length: 6\r\n\r\nhigher", false, "refused (409 Conflict): higher"),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false, "is not ready (503 Service Unavailable): it said nothing"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false, "failed (404 Not Found)"),
            ("SSH-2.0-OpenSSH_9.2p1\r\n", false, "error sending request"),
        ];
        for (answer, floods, says) in cases {
            let (http, serving) = service(answer, floods).await;
            let why = http.probe().await.unwrap_err().0;
            assert!(why.contains(says) && !why.contains("hush"), "{answer}: {why}");
            drop(http);
            serving.abort();
        }
    }
}
