//! Patroni's REST API: requests that end in time, answers that end.

use std::{fmt, fs, net::IpAddr, path::Path, time::Duration};

use portolan_core::model::causes::chain;
use reqwest::{Certificate, Client, Method, StatusCode, Url, header::CONTENT_TYPE, redirect};

use super::super::{Trouble, take};

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// For a question, which Patroni answers by itself or from what it read last.
const ANSWER: Duration = Duration::from_secs(5);

/// For a change: it gives its store up after `retry_timeout`, ten seconds by default. One that stands still may make it later, see [`super::late`].
const CHANGE: Duration = Duration::from_secs(12);

/// Of an answer: a status lists each standby with some two hundred octets.
const OCTETS_MAX: usize = 256 * 1024;

/// Of what it says when it refuses: a line.
const SAID_MAX: usize = 200;

/// Who may change a cluster's configuration (`restapi.authentication`).
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// Reads a secret: the user and the password on two lines.
    ///
    /// # Errors
    /// It is something else. What it holds is not in the error.
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        match text.lines().collect::<Vec<_>>().as_slice() {
            [user, password] if ![user, password].iter().any(|word| word.is_empty() || word.chars().any(char::is_control)) => {
                Ok(Self { user: (*user).to_owned(), password: (*password).to_owned() })
            }
            _ => Err(Trouble("a login for Patroni has two lines: user, password".to_owned())),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Asks the Patronis of one region.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    http: Client,
    login: Option<Login>,
}

/// Where a Patroni is asked. Without TLS on this machine only: who reads a password on the way may demote a primary.
pub(super) fn base(text: &str) -> Result<Url, Trouble> {
    let url: Url = text.parse().map_err(|error| Trouble(format!("`{text}` is no URL of a REST API: {error}")))?;
    let host = url.host_str().unwrap_or_default();
    let is_here = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err(Trouble(format!("`{text}`: Patroni is asked over https, or over http on a loopback address")));
    }
    Ok(url)
}

/// Whether a change was made, by the status of its answer.
pub(super) fn taken(base: &Url, status: StatusCode) -> Result<(), Trouble> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Trouble(format!("Patroni at {base} does not let the login change its configuration ({status})")))
        }
        // It says nothing else when the store does not answer, or when two change it at once, of whom the second is refused.
        StatusCode::CONFLICT => Err(Trouble(format!("Patroni at {base} could not write to its store ({status})"))),
        status => Err(Trouble(format!("Patroni at {base} did not change its configuration: {status}"))),
    }
}

impl Rest {
    /// `authorities`: a file with those that certificates are signed by; `None`: the system's.
    pub(super) fn new(login: Option<Login>, authorities: Option<&Path>) -> Result<Self, Trouble> {
        // Nobody is sent elsewhere with a password; proxies of the environment are nobody's choice.
        let mut http = Client::builder().redirect(redirect::Policy::none()).no_proxy().connect_timeout(CONNECT);
        if let Some(path) = authorities {
            let problem = |error: &dyn fmt::Display| Trouble(format!("read certificate authorities from `{}`: {error}", path.display()));
            let text = fs::read(path).map_err(|error| problem(&error))?;
            http = http.tls_certs_only(Certificate::from_pem_bundle(&text).map_err(|error| problem(&error))?);
        }
        let http = http.build().map_err(|error| Trouble(format!("set up TLS for Patroni: {}", chain(&error))))?;
        Ok(Self { http, login })
    }

    /// The status and the text of an answer. Nobody's password goes with a question.
    pub(super) async fn get(&self, base: &Url, path: &str) -> Result<(StatusCode, String), Trouble> {
        self.ask(Method::GET, base, path, None).await
    }

    /// Changes the configuration of the cluster: what is null is taken away, what is not named stays. The answer's status, for [`taken`].
    ///
    /// # Errors
    /// There is no answer: the change may be made at any later time.
    pub(super) async fn patch(&self, base: &Url, change: &serde_json::Value) -> Result<StatusCode, Trouble> {
        self.ask(Method::PATCH, base, "/config", Some(change.to_string())).await.map(|(status, _)| status)
    }

    /// Has this member take the leader key of a cluster that nobody leads.
    pub(super) async fn name_leader(&self, base: &Url, candidate: &str) -> Result<(), Trouble> {
        let body = serde_json::json!({ "candidate": candidate }).to_string();
        let (status, text) = self.ask(Method::POST, base, "/failover", Some(body)).await?;
        let said: String = text.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect();
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(Trouble(format!("Patroni at {base} does not have {candidate} lead: {said} ({status})")))
        }
    }

    async fn ask(&self, method: Method, base: &Url, path: &str, body: Option<String>) -> Result<(StatusCode, String), Trouble> {
        let unanswered = |why: &str| Trouble(format!("ask Patroni at {base} for {path}: {why}"));
        let url = base.join(path).map_err(|error| unanswered(&error.to_string()))?;
        let patience = if body.is_some() { CHANGE } else { ANSWER };
        let mut request = self.http.request(method, url).timeout(patience);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
            if let Some(login) = &self.login {
                request = request.basic_auth(&login.user, Some(&login.password));
            }
        }
        let answer = request.send().await.map_err(|error| unanswered(&chain(&error.without_url())))?;
        let status = answer.status();
        let body = take(answer, OCTETS_MAX).await.map_err(|why| unanswered(&why))?;
        let text = String::from_utf8(body).map_err(|_| unanswered("its answer is no text"))?;
        Ok((status, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_over_tls_or_stays_on_this_machine_and_is_never_shown() {
        for text in ["https://patroni.example.net:8008", "http://127.0.0.1:8008", "http://[::1]:8008"] {
            assert!(base(text).is_ok(), "{text}");
        }
        for text in ["http://10.0.0.1:8008", "http://patroni.example.net:8008", "ftp://127.0.0.1", "8008", ""] {
            assert!(base(text).is_err(), "{text}");
        }
        let login = Login::parse("portolan\nhush").unwrap();
        assert!(!format!("{login:?}").contains("hush"));
        for text in ["", "hush", "\nhush", "a\nhush\nc", "a\nhush\u{7}"] {
            assert!(!Login::parse(text).unwrap_err().0.contains("hush"), "{text:?}");
        }
        let missing = Rest::new(None, Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(missing.0.contains("/nowhere/ca.pem"), "{missing}");
    }
}
