//! How a server is reached, and as whom: a connection string in the same words as PostgreSQL's.

use std::{net::IpAddr, path::PathBuf};

use mysql_async::{Opts, OptsBuilder, SslOpts};

use super::super::{
    Trouble,
    postgres::{ConnInfo, Trust},
};

/// No answer that is asked for here is longer.
const PACKET_OCTETS_MAX: usize = 1 << 20;

/// The keys that are read.
const KNOWN: [&str; 7] = ["user", "password", "dbname", "host", "port", "sslmode", "sslrootcert"];

/// Where a server is, and who asks. It is never shown: it holds a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// A name, an address, or the path of a socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
    /// Where the authorities of its certificate are; `None`: no TLS.
    pub(super) authorities: Option<PathBuf>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an account at {}:{}", self.host, self.port)
    }
}

impl Account {
    /// Reads a connection string.
    ///
    /// # Errors
    /// What is missing in it, or cannot be; nothing of its values.
    pub fn new(info: &ConnInfo) -> Result<Self, Trouble> {
        let problem = |what: &str| Err(Trouble(format!("the connection string of MariaDB {what}")));
        if let Some(key) = info.keys().find(|key| !KNOWN.contains(key)) {
            return problem(&format!("has the key {key}, which MariaDB has not: it knows {}", KNOWN.join(", ")));
        }
        let Some(user) = info.get("user") else { return problem("names no user: add user=NAME") };
        let port = match info.get("port").map(str::parse) {
            None => 3306,
            Some(Ok(port)) => port,
            Some(Err(_)) => return problem("has a port that is none"),
        };
        let authorities = match info.trust().map_err(|error| Trouble(error.to_string()))? {
            Trust::Plain => None,
            Trust::Verified(Some(path)) => Some(path),
            Trust::Verified(None) => return problem("wants TLS and names no authorities: add sslrootcert=FILE"),
        };
        Ok(Self {
            host: info.get("host").unwrap_or("localhost").to_owned(),
            port,
            user: user.to_owned(),
            password: info.get("password").unwrap_or_default().to_owned(),
            authorities,
        })
    }

    /// For the client library. `at`: where the host was found to be, and at which port; `None`: the library looks.
    pub(super) fn options(&self, at: Option<(IpAddr, u16)>) -> Opts {
        let ssl =
            self.authorities.clone().map(|path| SslOpts::default().with_root_certs(vec![path.into()]).with_disable_built_in_roots(true));
        let socket = self.host.starts_with('/').then(|| self.host.clone());
        let builder = OptsBuilder::default()
            .user(Some(self.user.clone()))
            .pass(Some(self.password.clone()))
            .ip_or_hostname(if socket.is_some() { "localhost".to_owned() } else { self.host.clone() })
            .tcp_port(at.map_or(self.port, |(_, port)| port))
            .resolved_ips(at.map(|(ip, _)| vec![ip]))
            .socket(socket)
            // Where it was asked for by an address, it is not asked anew over its socket.
            .prefer_socket(false)
            .ssl_opts(ssl)
            .max_allowed_packet(Some(PACKET_OCTETS_MAX))
            .wait_timeout(Some(300));
        builder.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_or_what_is_wrong_is_said_without_its_values() {
        let read = |text: &str| Account::new(&ConnInfo::parse(text).unwrap()).map_err(|trouble| trouble.0);
        let own = read("host=/run/mysqld/mysqld.sock user=portolan password='a b'").unwrap();
        assert_eq!((own.host.as_str(), own.port, own.password.as_str()), ("/run/mysqld/mysqld.sock", 3306, "a b"));
        assert_eq!(own.options(None).socket(), Some("/run/mysqld/mysqld.sock"));
        let far = read("host=db.example.org port=3307 user=a sslmode=verify-full sslrootcert=/ca.pem").unwrap();
        let options = far.options(Some(([192, 0, 2, 1].into(), 9)));
        assert_eq!((options.ip_or_hostname(), options.tcp_port(), options.socket()), ("db.example.org", 9, None));
        assert!(options.ssl_opts().is_some_and(SslOpts::disable_built_in_roots));
        for (text, says) in [
            ("host=10.0.0.5 user=a password=secret", "sslmode is not set"),
            ("host=10.0.0.5 user=a password=secret sslmode=verify-full", "sslrootcert=FILE"),
            ("host=/s password=secret", "names no user"),
            ("host=/s user=a password=secret port=x", "a port that is none"),
            ("host=/s user=a password=secret application_name=x", "the key application_name"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{text}: {error}");
        }
        assert!(!format!("{own:?}").contains("a b"));
    }
}
