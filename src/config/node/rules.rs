//! What must hold between the keys of a node config.

use portolan_core::{
    document::{Document, Path, Report, Severity, Word, did_you_mean},
    model::ids::Label,
};

use super::sections::{NodeConfig, Role};

/// Who the process is, the environment taken in.
pub(super) struct Identity {
    pub(super) node: Option<Label>,
    pub(super) region: Option<Label>,
    pub(super) role: Role,
}

/// Judges the config.
pub(super) fn check(config: &NodeConfig, who: &Identity, document: &Document<'_>, report: &mut Report) {
    let mut error = |path: Path, message: String, fix: &str| report.at_path(Severity::Error, document, &path, message, fix);
    let top = |key: &str| Path::root().key(key);
    if who.node.is_none() {
        error(top("node"), "`node` is missing".to_owned(), "add `node`, or set PORTOLAN_NODE");
    }
    if who.region.is_none() {
        error(top("region"), "`region` is missing".to_owned(), "add `region`, or set PORTOLAN_REGION");
    }
    if config.plan.is_none() && config.peers.is_empty() {
        error(top("plan"), "a node without peers needs a plan".to_owned(), "add `plan`: the path of the plan's file");
    }
    if config.plan_follow && config.plan.is_none() {
        error(top("plan_follow"), "there is no plan file to follow".to_owned(), "add `plan`, or remove `plan_follow`");
    }
    listeners(config, who, &mut error);
    peers(config, who, &mut error);
    auth(config, &mut error);
    if config.raft.heartbeat * 3 > config.raft.election_timeout {
        let (heartbeat, election) = (config.raft.heartbeat.show(), config.raft.election_timeout.show());
        let message =
            format!("election_timeout {election} is less than three heartbeats of {heartbeat}: one late packet would depose a leader");
        error(top("raft").key("election_timeout"), message, "raise it, or shorten `heartbeat`");
    }
    warnings(config, document, report);
}

fn listeners(config: &NodeConfig, who: &Identity, error: &mut impl FnMut(Path, String, &str)) {
    let listen = |key: &str| Path::root().key("listen").key(key);
    if config.tls.is_none() {
        for (key, address) in [("control", config.listen.control), ("peer", config.listen.peer)] {
            if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) {
                let message = format!("without `tls` the {key} listener takes loopback addresses only, and {} is none", address.ip());
                error(listen(key), message, "add `tls`, or write 127.0.0.1 or [::1]");
            }
        }
    }
    if !config.peers.is_empty() && config.listen.peer.is_none() {
        error(listen("peer"), "a node with peers needs a peer listener".to_owned(), "add `listen.peer`, for example 0.0.0.0:8444");
    }
    if config.listen.dns.is_empty() && who.role != Role::Witness {
        error(listen("dns"), "no address to serve DNS on".to_owned(), "add one, for example 0.0.0.0:5353");
    }
    let tcp = config.listen.dns.iter().enumerate().map(|(i, address)| (listen("dns").item(i), *address));
    let others = [("control", config.listen.control), ("peer", config.listen.peer), ("http", config.listen.http)];
    let all: Vec<_> = tcp.chain(others.into_iter().filter_map(|(key, address)| Some((listen(key), address?)))).collect();
    for (i, (path, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..i].iter().find(|(_, other)| other == address && address.port() != 0) {
            error(path.clone(), format!("{address} is {other} already"), "give each listener an address of its own");
        }
    }
}

fn peers(config: &NodeConfig, who: &Identity, error: &mut impl FnMut(Path, String, &str)) {
    let path = |i: usize| Path::root().key("peers").item(i);
    for (i, peer) in config.peers.iter().enumerate() {
        for other in &config.peers[..i] {
            if other.node == peer.node {
                error(path(i).key("node"), format!("{} stands twice", peer.node), "give each node a name of its own");
            }
            if other.address == peer.address {
                error(
                    path(i).key("address"),
                    format!("{} is the address of {} already", peer.address.0, other.node),
                    "give each node its own address",
                );
            }
        }
        if who.node.as_ref() == Some(&peer.node)
            && let Some(region) = who.region.as_ref().filter(|region| **region != peer.region)
        {
            let message = format!("this node runs in {region}, but stands here with {}", peer.region);
            error(path(i).key("region"), message, "correct one of them");
        }
    }
    let is_named = who.node.as_ref().is_some_and(|node| config.peers.iter().any(|peer| peer.node == *node));
    if matches!(who.role, Role::Voter | Role::Witness) && !config.peers.is_empty() && !is_named {
        let names = config.peers.iter().map(|peer| peer.node.as_str());
        let hint = who.node.as_ref().map_or_else(String::new, |node| did_you_mean(node.as_str(), names));
        let message = format!("a {} must be named in `peers`, and this node is not", who.role);
        error(Path::root().key("role"), message, if hint.is_empty() { "add it to `peers`, or use role observer" } else { &hint });
    }
    if who.role == Role::Witness && config.peers.is_empty() {
        error(Path::root().key("role"), "a witness needs peers".to_owned(), "add `peers`, or use role auto");
    }
}

fn auth(config: &NodeConfig, error: &mut impl FnMut(Path, String, &str)) {
    for (i, binding) in config.auth.roles.iter().enumerate() {
        let path = || Path::root().key("auth").key("roles").item(i);
        match (&binding.group, &binding.spiffe) {
            (Some(_), None) => {
                if config.auth.jwt.is_none() {
                    error(
                        path().key("group"),
                        "groups come from tokens, and `auth.jwt` is missing".to_owned(),
                        "add `auth.jwt`, or use `spiffe`",
                    );
                }
            }
            (None, Some(spiffe)) => {
                if spiffe.scheme() != "spiffe" {
                    error(path().key("spiffe"), format!("`{}` is not spiffe", spiffe.scheme()), "write spiffe://TRUST-DOMAIN/PATH");
                }
                if config.tls.is_none() {
                    error(path().key("spiffe"), "identities come from client certificates, and `tls` is missing".to_owned(), "add `tls`");
                }
            }
            _ => error(path(), "a role is given to either a `group` or a `spiffe` identity".to_owned(), "write one of them"),
        }
    }
    if let Some(jwt) = &config.auth.jwt
        && jwt.issuer.scheme() != "https"
    {
        let path = Path::root().key("auth").key("jwt").key("issuer");
        error(path, format!("`{}` is not https", jwt.issuer.scheme()), "write https://…");
    }
    if let Some(endpoint) = &config.telemetry.otlp_endpoint
        && !matches!(endpoint.scheme(), "http" | "https")
    {
        let path = Path::root().key("telemetry").key("otlp_endpoint");
        error(path, format!("`{}` is not http or https", endpoint.scheme()), "write http://… or https://…");
    }
}

/// What works, but perhaps not as meant.
fn warnings(config: &NodeConfig, document: &Document<'_>, report: &mut Report) {
    let mut warning = |path: Path, message: &str, fix: &str| report.at_path(Severity::Warning, document, &path, message, fix);
    if config.peers.len().is_multiple_of(2) && !config.peers.is_empty() {
        warning(Path::root().key("peers"), "an even number of voters has no tie-breaker", "add a witness in a third place");
    }
    let secret_like = [(&config.secrets_dir, "secrets_dir"), (&config.hooks_dir, "hooks_dir"), (&config.data_dir, "data_dir")];
    for (path, key) in secret_like {
        if !path.0.starts_with('/') {
            warning(Path::root().key(key), "is relative to where the process is started", "write an absolute path");
        }
    }
}
