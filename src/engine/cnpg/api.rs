//! The API server of Kubernetes, of which one object is read and changed: requests that end in time, answers that end.

use std::{
    fmt,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use portolan_core::model::causes::chain;
use reqwest::{Certificate, Client, Method, StatusCode, Url, header::CONTENT_TYPE, redirect};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{Trouble, take},
    said::Cluster,
};

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// For a question.
const ANSWER: Duration = Duration::from_secs(5);

/// For a change: the operator's webhook is given ten seconds.
const CHANGE: Duration = Duration::from_secs(12);

/// Of an answer: the store behind it takes no object over 1.5 MiB.
const OCTETS_MAX: usize = 2 * 1024 * 1024;

/// Of a token of a service account, in octets: three times as long as those with many audiences.
const TOKEN_MAX: u64 = 16 * 1024;

/// Of what it says when it refuses, in characters: a line or two.
const SAID_MAX: usize = 300;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// It is made.
    Done,
    /// The object is another one by now.
    Outrun,
}

/// Asks for one object.
#[derive(Clone)]
pub(super) struct Api {
    http: Client,
    url: Url,
    token: PathBuf,
}

/// Neither token nor certificates.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Api {
    /// `token`: the file of the service account's, read for each question, since it changes by the hour. `authorities`: who signs the certificate.
    pub(super) fn new(api: &str, namespace: &str, cluster: &str, token: PathBuf, authorities: &Path) -> Result<Self, Trouble> {
        let place = format!("{}/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters/{cluster}", api.trim_end_matches('/'));
        let url = place.parse().map_err(|error| Trouble(format!("`{place}` is no URL of an object: {error}")))?;
        let problem = |error: &dyn fmt::Display| {
            Trouble(format!("read who signs the API server's certificate from `{}`: {error}", authorities.display()))
        };
        let text = fs::read(authorities).map_err(|error| problem(&error))?;
        let authorities = Certificate::from_pem_bundle(&text).map_err(|error| problem(&error))?;
        // Nobody is sent elsewhere with a token; proxies of the environment are nobody's choice.
        let http = Client::builder().redirect(redirect::Policy::none()).no_proxy().connect_timeout(CONNECT).tls_certs_only(authorities);
        let http = http.build().map_err(|error| Trouble(format!("set up TLS for the API server: {}", chain(&error))))?;
        Ok(Self { http, url, token })
    }

    /// The object as it is.
    pub(super) async fn get(&self) -> Result<Cluster, Trouble> {
        let (status, octets) = self.ask(Method::GET, None, ANSWER).await?;
        match status {
            StatusCode::OK => Cluster::parse(&octets),
            status => Err(self.refusal("read", status, &octets)),
        }
    }

    /// Changes it, as a merge patch: what is null is taken away, what is not named stays. It names the version that it is a change of.
    pub(super) async fn patch(&self, change: &Value) -> Result<Changed, Trouble> {
        let (status, octets) = self.ask(Method::PATCH, Some(change.to_string()), CHANGE).await?;
        match status {
            StatusCode::OK => Ok(Changed::Done),
            StatusCode::CONFLICT => Ok(Changed::Outrun),
            status => Err(self.refusal("change", status, &octets)),
        }
    }

    fn refusal(&self, what: &str, status: StatusCode, octets: &[u8]) -> Trouble {
        let said: String = serde_json::from_slice(octets).map(|it: StatusSaid| it.message).unwrap_or_default();
        let said: String = said.chars().filter(|it| !it.is_control()).take(SAID_MAX).collect();
        let why = match status {
            StatusCode::UNAUTHORIZED => format!("it does not know the token in `{}`", self.token.display()),
            StatusCode::FORBIDDEN if said.contains("cannot") => format!("{said}: the agent needs `get` and `patch` on it"),
            StatusCode::NOT_FOUND => "there is none, or CloudNativePG is not installed".to_owned(),
            _ if said.is_empty() => "it says no reason".to_owned(),
            _ => said,
        };
        Trouble(format!("{what} {}: {why} ({status})", self.url))
    }

    fn bearer(&self) -> Result<String, Trouble> {
        let problem =
            |what: &dyn fmt::Display| Trouble(format!("read the service account's token from `{}`: {what}", self.token.display()));
        let mut text = String::new();
        let file = File::open(&self.token).map_err(|error| problem(&error))?;
        file.take(TOKEN_MAX).read_to_string(&mut text).map_err(|error| problem(&error))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(problem(&"it holds none"));
        }
        Ok(token.to_owned())
    }

    async fn ask(&self, method: Method, body: Option<String>, patience: Duration) -> Result<(StatusCode, Vec<u8>), Trouble> {
        let unanswered = |why: String| Trouble(format!("ask for {}: {why}", self.url));
        let mut request = self.http.request(method, self.url.clone()).timeout(patience).bearer_auth(self.bearer()?);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/merge-patch+json").body(body);
        }
        let answer = request.send().await.map_err(|error| unanswered(chain(&error.without_url())))?;
        let status = answer.status();
        let octets = take(answer, OCTETS_MAX).await.map_err(unanswered)?;
        Ok((status, octets))
    }
}

#[derive(Deserialize)]
struct StatusSaid {
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::engine::canned::canned;

    /// A service that answers once, as an API server; what it was asked.
    async fn service(answer: &'static str, floods: bool) -> (Api, JoinHandle<String>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        fs::write(&token, "hush\n").unwrap();
        let (address, serving) = canned(answer, floods).await;
        let url = format!("http://{address}/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/orders").parse().unwrap();
        let http = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
        (Api { http, url, token }, serving, directory)
    }

    #[tokio::test]
    async fn a_change_is_a_merge_patch_with_the_token_that_the_file_has_by_then() {
        let (api, serving, directory) = service("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", false).await;
        fs::write(directory.path().join("token"), "hush-again\n").unwrap();
        let change = serde_json::json!({ "metadata": { "resourceVersion": "40" } });
        assert_eq!(api.patch(&change).await, Ok(Changed::Done));
        let asked = serving.await.unwrap().to_lowercase();
        for part in [
            "patch /apis/postgresql.cnpg.io/v1/namespaces/db/clusters/orders http/1.1",
            "bearer hush-again",
            "application/merge-patch+json",
        ] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
        assert!(asked.ends_with("{\"metadata\":{\"resourceversion\":\"40\"}}"), "{asked}");
        let (api, _serving, _directory) = service("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n", false).await;
        assert_eq!(api.patch(&change).await, Ok(Changed::Outrun));
    }

    #[tokio::test]
    async fn what_is_refused_is_said_and_nothing_else_is_believed() {
        let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 64\r\n\r\n{\"kind\": \"Status\", \"message\": \"agent cannot get the thing\" }      ";
        let webhook = "HTTP/1.1 422 Unprocessable\r\ncontent-length: 42\r\n\r\n{\"message\": \"webhook denied: no\\u0007 no\"}";
        let cases = [
            ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", false, "it does not know the token in `/"),
            (forbidden, false, "agent cannot get the thing: the agent needs `get` and `patch`"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false, "there is none, or CloudNativePG is not installed (404"),
            (webhook, false, "webhook denied: no no (422"),
            ("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n", false, "it says no reason (302 Found)"),
            ("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", false, "it says no reason (500"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", true, "longer than 2097152 octets"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nnonsense", false, "read the cluster's object"),
            ("SSH-2.0-OpenSSH_9.2p1\r\n", false, "error sending request"),
        ];
        for (answer, floods, says) in cases {
            let (api, serving, _directory) = service(answer, floods).await;
            let why = api.get().await.unwrap_err().0;
            assert!(why.contains(says) && !why.contains("hush"), "{answer}: {why}");
            assert!(!format!("{api:?}").contains("hush"));
            drop(api);
            serving.abort();
        }
    }

    /// Its clock goes on when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn whoever_never_answers_is_given_up() {
        let (api, serving, _directory) = service("", false).await;
        let why = api.get().await.unwrap_err().0;
        assert!(why.contains("ask for http://127.0.0.1"), "{why}");
        serving.abort();
    }

    #[tokio::test]
    async fn without_a_token_or_authorities_nobody_is_asked() {
        let (api, serving, directory) = service("", false).await;
        for text in ["", " \n", "two words", "\u{7}"] {
            fs::write(directory.path().join("token"), text).unwrap();
            assert!(api.get().await.unwrap_err().0.contains("it holds none"), "{text:?}");
        }
        fs::remove_file(directory.path().join("token")).unwrap();
        assert!(api.get().await.unwrap_err().0.contains("read the service account's token from `"));
        assert!(!serving.is_finished(), "nobody was asked");
        serving.abort();
        let missing = Api::new("https://10.96.0.1", "db", "orders", PathBuf::new(), Path::new("/nowhere/ca.crt")).unwrap_err();
        assert!(missing.0.contains("/nowhere/ca.crt"), "{missing}");
    }
}
