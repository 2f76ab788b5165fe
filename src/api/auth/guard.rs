//! Lets a call through, or says why not.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
    request::Parts,
    uri::Authority,
};
use portolan_core::cluster::Role;
use tokio::time::Instant;
use tonic::Status;

use super::{
    AuthOptions, Binding, Caller, Proof, Tokens, Who, certificate,
    limit::Limits,
    methods::{self, Kind, Method},
};
use crate::{
    api::refusal,
    net::{
        accept::{Origin, Peer},
        clock::WallClock,
    },
};

/// Judges calls.
pub(in crate::api) struct Guard {
    bindings: Vec<Binding>,
    tokens: Option<Arc<Tokens>>,
    clock: Arc<dyn WallClock>,
    limits: Mutex<Limits>,
}

/// A call that was let through.
#[derive(Clone, Debug)]
pub(in crate::api) struct Admitted {
    /// Who calls.
    pub(in crate::api) caller: Caller,
    /// What; `None`: no such method, and the services say so.
    pub(in crate::api) method: Option<&'static Method>,
}

impl Guard {
    pub(in crate::api) fn new(options: &AuthOptions, tokens: Option<Arc<Tokens>>, clock: Arc<dyn WallClock>) -> Self {
        Self { bindings: options.bindings.clone(), tokens, clock, limits: Mutex::default() }
    }

    /// Judges a call by its connection, its headers and its path.
    ///
    /// # Errors
    /// UNAUTHENTICATED: a token is not good. PERMISSION_DENIED: the role is not enough, or a foreign page is behind it. RESOURCE_EXHAUSTED: too many calls.
    pub(in crate::api) fn admit(&self, parts: &Parts) -> Result<Admitted, Status> {
        let peer = parts.extensions.get::<Peer>().ok_or_else(refusal::no_peer)?;
        if matches!(peer.origin, Origin::Loopback(_)) {
            check_host(parts)?;
        }
        let caller = self.identify(peer, &parts.headers)?;
        let method = methods::find(parts.uri.path());
        let kind = method.map_or(Kind::Read, |method| method.kind);
        self.limits().take(&caller.name, kind, Instant::now()).map_err(|wait| refusal::rate_limited(&caller.name, wait))?;
        if let Some(method) = method
            && method.least > caller.role
        {
            tracing::warn!(who = %caller.name, role = caller.role.map_or("none", Role::word), method = method.name, "control call denied");
            return Err(refusal::role_missing(&caller, method));
        }
        Ok(Admitted { caller, method })
    }

    fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Status> {
        let nobody = |name: String, role, proof, because: String| Caller { name, role, proof, groups: Vec::new(), because };
        // The kernel's word is better than any token, and must do without the issuer's file.
        if let Origin::Socket { uid } = peer.origin {
            let because = "the break-glass socket gives the role breakglass".to_owned();
            return Ok(nobody(format!("uid:{uid}"), Some(Role::Breakglass), Proof::Socket, because));
        }
        match (peer.origin, self.bearer(headers)?) {
            (Origin::Tls(address) | Origin::Loopback(address), Some((tokens, token))) => {
                let (ip, now) = (address.ip(), Instant::now());
                self.limits().check_stranger(ip, now).map_err(|wait| refusal::rate_limited(&ip.to_string(), wait))?;
                self.by_token(tokens, token).map_err(|problem| self.unproved(ip, now, &problem))
            }
            (Origin::Loopback(_), None) => {
                let because =
                    "this listener has no TLS and takes calls of this machine only: everybody on it is admin; set `tls` for roles"
                        .to_owned();
                Ok(nobody("local".to_owned(), Some(Role::Admin), Proof::Loopback, because))
            }
            (Origin::Tls(_) | Origin::Socket { .. }, None | Some(_)) => Ok(peer.certificate.as_ref().map_or_else(
                || {
                    let because = "neither a client certificate nor a token was shown".to_owned();
                    nobody("anonymous".to_owned(), None, Proof::Nothing, because)
                },
                |certificate| self.by_certificate(&certificate::holder(certificate)),
            )),
        }
    }

    /// The token of a call. One that nobody here can judge is refused, not ignored: its holder would be somebody else without knowing it.
    fn bearer<'a>(&'a self, headers: &'a HeaderMap) -> Result<Option<(&'a Tokens, &'a str)>, Status> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
        let tokens = self.tokens.as_ref().ok_or_else(|| refusal::unproved("this node takes no tokens: `auth.jwt` is not in its config"))?;
        let text = value.to_str().unwrap_or_default();
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        token.map(|token| Some((&**tokens, token))).ok_or_else(|| refusal::unproved("the authorization header is not `Bearer TOKEN`"))
    }

    fn by_token(&self, tokens: &Tokens, token: &str) -> Result<Caller, String> {
        let claims = tokens.judge(token, self.clock.now())?;
        let bound = self.bindings.iter().filter_map(|binding| match &binding.who {
            Who::Group(group) => claims.groups.contains(group).then_some((binding.role, group)),
            Who::Spiffe(_) => None,
        });
        let (role, because) = match bound.max_by_key(|(role, _)| *role) {
            Some((role, group)) => (Some(role), format!("auth.roles gives {role} to group {group}")),
            None => (None, format!("auth.roles gives no role to any of the token's {} groups", claims.groups.len())),
        };
        Ok(Caller { name: format!("user:{}", claims.subject), role, proof: Proof::Token, groups: claims.groups, because })
    }

    /// Whoever has a certificate of the cluster's own authority may read; more is bound to SPIFFE ids.
    fn by_certificate(&self, holder: &certificate::Holder) -> Caller {
        let bound = self.bindings.iter().filter_map(|binding| match &binding.who {
            Who::Spiffe(id) => (Some(id) == holder.spiffe.as_ref()).then_some(binding.role),
            Who::Group(_) => None,
        });
        let (role, because) = match bound.max().filter(|role| *role > Role::Viewer) {
            Some(role) => (role, format!("auth.roles gives {role} to {}", holder.name)),
            None => (Role::Viewer, "a certificate by `tls.ca_file` may read; auth.roles gives it no more".to_owned()),
        };
        Caller { name: holder.name.clone(), role: Some(role), proof: Proof::Certificate, groups: Vec::new(), because }
    }

    fn unproved(&self, address: IpAddr, now: Instant, problem: &str) -> Status {
        self.limits().failed(address, now);
        tracing::warn!(%address, problem, "bearer token refused");
        refusal::unproved(problem)
    }

    /// A panic while the lock was held left whole buckets behind, so they can be used all the same.
    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without TLS a browser on this machine could be led here by a page whose name was made to mean 127.0.0.1, and everybody here is admin. Such
/// a call is for that name. (A certificate would not hold it, so with TLS the browser refuses by itself.)
fn check_host(parts: &Parts) -> Result<(), Status> {
    let header = parts.headers.get(HOST).map(|value| value.to_str().unwrap_or("(no text)"));
    let named = parts.uri.authority().map(Authority::as_str).or(header);
    let Some(named) = named else { return Ok(()) };
    let host = named.parse::<Authority>().map(|authority| authority.host().trim_matches(['[', ']']).to_owned());
    let is_here = host.is_ok_and(|host| {
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    });
    if is_here { Ok(()) } else { Err(refusal::foreign_host(named)) }
}
