//! Connection strings as libpq reads them: `key = value` pairs, values in single quotes where they need it.
//!
//! Source: PostgreSQL 15 documentation, section 34.1.1.

use std::{fmt, net::IpAddr, path::PathBuf};

use tokio_postgres::config::SslMode;

/// Keys that the client library of this program reads by itself.
const KNOWN: [&str; 6] = ["user", "password", "dbname", "host", "hostaddr", "port"];

/// Secrets that libpq takes from a connection string only: its programs would get them as arguments, which everybody on the machine may read.
const SECRETS: [&str; 4] = ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// A connection string. It is never shown: it holds a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnInfo(Vec<(String, String)>);

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a connection string with {}", self.0.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", "))
    }
}

/// Why a string is none that can be used. Says nothing of its values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnInfoError(String);

/// How the server is known to be itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Trust {
    /// No TLS: it listens on this machine, or the string says so.
    Plain,
    /// Its certificate names the host, and is signed by one of these; `None`: by one of the system's.
    Verified(Option<PathBuf>),
}

impl ConnInfo {
    /// Reads a string.
    ///
    /// # Errors
    /// Where it is no list of pairs.
    pub fn parse(text: &str) -> Result<Self, ConnInfoError> {
        let problem = |what: &str| Err(ConnInfoError(format!("{what}; write KEY=VALUE pairs, for example host=10.0.0.5 user=portolan")));
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else { return problem("a word without `=`") };
            let key = key.trim();
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                return problem("a key that is no word of small letters");
            }
            let after = after.trim_start();
            let mut value = String::new();
            let is_quoted = after.starts_with('\'');
            let mut characters = after.char_indices().skip(usize::from(is_quoted));
            let mut is_closed = !is_quoted;
            let mut end = after.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    '\'' if is_quoted => {
                        (is_closed, end) = (true, at + 1);
                        break;
                    }
                    _ if character.is_whitespace() && !is_quoted => {
                        end = at;
                        break;
                    }
                    _ => value.push(character),
                }
            }
            if !is_closed {
                return problem("a quote that is not closed");
            }
            pairs.retain(|(known, _)| known != key);
            pairs.push((key.to_owned(), value));
            rest = after[end..].trim_start();
        }
        Ok(Self(pairs))
    }

    /// Reads a string with which programs are run, too.
    ///
    /// # Errors
    /// As [`Self::parse`]; or it has a secret that only an argument could bring to them.
    pub fn for_programs(text: &str) -> Result<Self, ConnInfoError> {
        let info = Self::parse(text)?;
        match SECRETS.iter().find(|key| info.get(key).is_some()) {
            Some(key) => Err(ConnInfoError(format!(
                "`{key}` would be read by everybody on this machine when a program of the server is run: take it out, and use a key without a \
                 passphrase that only the agent's user may read, or a password"
            ))),
            None => Ok(info),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Its keys.
    pub(in crate::engine) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// With this pair in the place of one of the same key. Another host is at another address.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != key && !(key == "host" && known == "hostaddr"));
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Without this key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.retain(|(known, _)| known != key);
        self
    }

    /// As libpq reads it. It holds the password.
    #[must_use]
    pub fn text(&self) -> String {
        let pair = |(key, value): &(String, String)| {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{key}='{quoted}'")
        };
        self.0.iter().map(pair).collect::<Vec<_>>().join(" ")
    }

    /// For the client library of this program, and whom it trusts. Other keys are libpq's, and are passed to its programs only.
    ///
    /// # Errors
    /// A mode of TLS that proves nothing on the way to another machine, or a value that cannot be.
    pub(super) fn client(&self) -> Result<(tokio_postgres::Config, Trust), ConnInfoError> {
        let known = Self(self.0.iter().filter(|(key, _)| KNOWN.contains(&key.as_str())).cloned().collect());
        // The library names the key that is wrong, and no value.
        let mut config: tokio_postgres::Config = known.text().parse().map_err(|error| ConnInfoError(format!("{error}")))?;
        let trust = self.trust()?;
        config.ssl_mode(if trust == Trust::Plain { SslMode::Disable } else { SslMode::Require });
        Ok((config, trust))
    }

    /// How the server is to be known.
    ///
    /// # Errors
    /// A mode of TLS that proves nothing on the way to another machine.
    pub(in crate::engine) fn trust(&self) -> Result<Trust, ConnInfoError> {
        // Its certificate names the host, wherever that is reached.
        let host = self.get("hostaddr").or_else(|| self.get("host")).unwrap_or_default();
        let is_here =
            host.is_empty() || host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        match self.get("sslmode") {
            Some("disable") => Ok(Trust::Plain),
            None if is_here => Ok(Trust::Plain),
            Some("verify-full") => Ok(Trust::Verified(self.get("sslrootcert").filter(|it| *it != "system").map(PathBuf::from))),
            other => {
                let what =
                    other.map_or_else(|| "sslmode is not set".to_owned(), |mode| format!("sslmode={mode} proves nothing of the server"));
                Err(ConnInfoError(format!("{what}: write sslmode=verify-full and sslrootcert, or sslmode=disable on a line that is safe")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_is_read_as_libpq_reads_it_and_its_values_are_not_shown() {
        let parsed = ConnInfo::parse(" host = 10.0.0.5 port=5432 password='it\\'s \\\\ here' user=a user=b\n").unwrap();
        assert_eq!((parsed.get("password"), parsed.get("user"), parsed.get("x")), (Some("it's \\ here"), Some("b"), None));
        assert_eq!(ConnInfo::parse(&parsed.text()).as_ref(), Ok(&parsed));
        assert_eq!(format!("{parsed:?}"), "a connection string with host, port, password, user");
        for bad in ["host", "host='x", "=x", "PASSWORD=secret", "postgresql://u:secret@h/d"] {
            let error = ConnInfo::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("KEY=VALUE"), "{bad}: {error}");
        }
        assert!(ConnInfo::parse("").unwrap().0.is_empty());
    }

    #[test]
    fn a_secret_that_would_be_an_argument_is_refused() {
        for key in SECRETS {
            let error = ConnInfo::for_programs(&format!("host=a {key}=hush")).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("hush"), "{error}");
        }
        assert_eq!(ConnInfo::for_programs("host=a password=x sslkey=/key"), ConnInfo::parse("host=a password=x sslkey=/key"));
        assert!(ConnInfo::for_programs("host").is_err());
    }

    #[test]
    fn nothing_leaves_the_machine_without_proof_of_who_is_asked() {
        let trust = |text: &str| ConnInfo::parse(text).unwrap().client().map(|(_, trust)| trust).map_err(|error| error.to_string());
        assert_eq!(trust("host=/run/postgresql user=a"), Ok(Trust::Plain));
        assert_eq!(trust("host=127.0.0.1 user=a"), Ok(Trust::Plain));
        assert_eq!(trust("host=10.0.0.5 sslmode=disable"), Ok(Trust::Plain));
        assert_eq!(trust("host=db sslmode=verify-full sslrootcert=/ca.pem"), Ok(Trust::Verified(Some("/ca.pem".into()))));
        assert_eq!(trust("host=db sslmode=verify-full sslrootcert=system"), Ok(Trust::Verified(None)));
        assert!(
            trust("host=10.0.0.5 password=secret").is_err_and(|error| error.starts_with("sslmode is not set") && !error.contains("secret"))
        );
        assert!(trust("host=10.0.0.5 sslmode=require").is_err_and(|error| error.starts_with("sslmode=require proves nothing")));
        let there = ConnInfo::parse("host=a hostaddr=10.0.0.5").unwrap().with("host", "b");
        assert_eq!((there.get("host"), there.get("hostaddr")), (Some("b"), None));
        let elsewhere = "hostaddr=10.0.0.5 sslmode=verify-full sslrootcert=/ca.pem";
        assert_eq!(trust(&format!("host=orders-rw {elsewhere}")), Ok(Trust::Verified(Some("/ca.pem".into()))));
        assert!(trust("host=127.0.0.1 hostaddr=10.0.0.5").is_err_and(|error| error.starts_with("sslmode is not set")));
        assert!(trust("host=10.0.0.5 port=x password=secret").is_err_and(|error| !error.contains("secret")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_survives(text in "[ -~\\n=']{0,60}") {
            if let Ok(info) = ConnInfo::parse(&text) {
                prop_assert_eq!(ConnInfo::parse(&info.text()), Ok(info.clone()));
                let _ = info.client();
            }
        }

        #[test]
        fn any_value_survives(value in ".{0,20}", other in "[ -~]{0,20}") {
            let info = ConnInfo::default().with("password", &value).with("user", &other);
            prop_assert_eq!(ConnInfo::parse(&info.text()), Ok(info));
        }
    }
}
