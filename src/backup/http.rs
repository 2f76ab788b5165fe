//! A service that answers a listing of backups: one GET, whose answer is JSON ([`told`]).
//!
//! Nothing is followed: an answer that sends elsewhere would be asked with the same secret. The URL is the plan's and may be told but for its
//! query, which often holds what nobody should see.

use std::time::Duration;

use portolan_core::{
    model::{causes::chain, time::Timestamp},
    recovery::backups::{Pattern, Seen},
};
use reqwest::{Client, StatusCode, Url, header::ACCEPT};

use super::{LookError, told, web};

/// Who one is to the service.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `Authorization: Bearer` (RFC 6750).
    Bearer(String),
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

impl Credentials {
    /// Reads a secret: one line with a token, or two with user and password.
    ///
    /// # Errors
    /// It is neither. What it holds is not in the error.
    pub fn parse(text: &str) -> Result<Self, LookError> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        if lines.iter().any(|line| line.is_empty() || !line.bytes().all(|b| b.is_ascii_graphic() || b == b' ')) {
            return Err(LookError::Credentials("a line is empty, or not of printable ASCII".to_owned()));
        }
        match lines.as_slice() {
            [token] => Ok(Self::Bearer((*token).to_owned())),
            [user, password] => Ok(Self::Basic { user: (*user).to_owned(), password: (*password).to_owned() }),
            _ => Err(LookError::Credentials("write one line with a token, or two: user, password".to_owned())),
        }
    }
}

/// Who asks services.
#[derive(Clone, Debug)]
pub struct Services {
    http: Client,
}

impl Services {
    /// `request`: for one request and its answer.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(request: Duration) -> Result<Self, LookError> {
        Ok(Self { http: web::client(request)? })
    }

    /// Looks once. `complete`: as in [`told::read`].
    ///
    /// # Errors
    /// Why there is no listing.
    pub async fn look(
        &self,
        url: &str,
        credentials: Option<&Credentials>,
        complete: Option<&Pattern>,
        now: Timestamp,
    ) -> Result<Seen, LookError> {
        let url: Url = url.parse().map_err(|error| LookError::Endpoint(format!("its url: {error}")))?;
        let store = url.host_str().unwrap_or_default().to_owned();
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let request = match credentials {
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
            Some(Credentials::Basic { user, password }) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let unanswered = |problem: String| LookError::Unanswered { store: store.clone(), problem };
        let mut answer = request.send().await.map_err(|error| unanswered(chain(&error.without_url())))?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(LookError::Refused { store, problem: refusal(status) });
        }
        let body = web::body(&mut answer, told::OCTETS_MAX, &store).await?;
        told::read(&body, complete, now).map_err(unanswered)
    }
}

fn refusal(status: StatusCode) -> String {
    let fix = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; see its `secret`",
        status if status.is_redirection() => "; nothing is followed: write where it sends to as `url`",
        _ => "",
    };
    format!("{status}{fix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_token_or_a_user_and_is_never_told() {
        assert!(matches!(Credentials::parse("hush\n").unwrap(), Credentials::Bearer(token) if token == "hush"));
        assert!(
            matches!(Credentials::parse("ana\nhush hush").unwrap(), Credentials::Basic { user, password } if user == "ana" && password == "hush hush")
        );
        for bad in ["", "\n", "ana\nhush\nmore", "hush\u{7}", "ana\n\n"] {
            let why = Credentials::parse(bad).err().unwrap().to_string();
            assert!(why.starts_with("credentials: ") && !why.contains("hush"), "{why}");
        }
    }
}
