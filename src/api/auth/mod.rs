//! Who calls, as which role, and how often: judged once for each call, in front of all services and of the JSON mirror.
//!
//! ```text
//!  connection (certificate, socket's user, loopback) --+--> identity --bindings--> role --table of methods--> may, or PERMISSION_DENIED
//!  `authorization: Bearer` ----------------------------'        '---------------------------> bucket -------> now, or RESOURCE_EXHAUSTED
//! ```
//!
//! A token that is shown decides who calls, and the certificate then only opened the connection: a person behind a shared runner is not the
//! runner. A token that is not good is refused, never ignored.
//! Invariant: every method has one least role ([`methods`]), proved against the descriptors; what is not in the table is not served.
//! Absent on purpose: sessions, passwords, and calls to an issuer: a node judges alone with the keys in a file.

mod certificate;
mod guard;
mod limit;
pub mod methods;
mod token;

use std::{fmt, path::PathBuf};

use portolan_core::cluster::{Actor, Role};

pub(super) use guard::{Admitted, Guard};
pub(super) use token::Tokens;

/// Who may do what, as the node config says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthOptions {
    /// Tokens of people; `None`: none are taken, and every client shows a certificate.
    pub jwt: Option<JwtOptions>,
    /// Who has which role. A caller with several has the highest.
    pub bindings: Vec<Binding>,
}

/// How tokens are judged (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtOptions {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub audience: String,
    /// The issuer's keys (RFC 7517), re-read when the file changes.
    pub jwks_file: PathBuf,
    /// The claim that holds the groups: a text or a list of texts.
    pub role_claim: String,
}

/// One role for one group or identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The role.
    pub role: Role,
    /// Whose.
    pub who: Who,
}

/// Whom a binding is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody whose token has this group.
    Group(String),
    /// The SPIFFE id in a client certificate, whole: `spiffe://example.com/runbook-runner`.
    Spiffe(String),
}

/// What proved an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// A client certificate.
    Certificate,
    /// A bearer token.
    Token,
    /// The user at the other end of the socket.
    Socket,
    /// Being on the same machine, on a listener without TLS.
    Loopback,
    /// Nothing.
    Nothing,
}

/// The caller of one call; an extension of each request that is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that audit and logs show. Its form says what proved it, so that no certificate can take the name of a person: `spiffe://…`,
    /// `cn:…`, `dns:…`, `user:…`, `uid:…`, `local`.
    pub name: String,
    /// The highest role that it has; `None`: none.
    pub role: Option<Role>,
    /// What proved it.
    pub proof: Proof,
    /// Groups of the token.
    pub groups: Vec<String>,
    /// Why it has the role, or has none, in one line.
    pub because: String,
}

impl Caller {
    /// As the replicated state records it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor { name: self.name.clone(), role: self.role.unwrap_or(Role::Viewer) }
    }
}

/// `ana (operator)`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Some(role) => write!(f, "{} ({role})", self.name),
            None => write!(f, "{} (no role)", self.name),
        }
    }
}
