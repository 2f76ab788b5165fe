//! What can be known before the daemon runs: the files, ports and peers of a node config.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use portolan_core::model::time::Timestamp;

use super::{Findings, Format, Terminal, show};
use crate::{
    api::TlsFiles,
    cli::{Actions, Env, Exit, Failure, Outcome, certificate},
    config::node::{self, LoadedNode},
};

/// For each peer: around the world and back takes a third of a second.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Looks at a node config and all that it names.
pub(in crate::cli) fn run(
    config: Option<&Path>,
    now: Timestamp,
    unicode: bool,
    env: &Env,
    format: Format,
    terminal: &mut Terminal<'_>,
    actions: &dyn Actions,
) -> Outcome {
    let config = config.ok_or_else(|| Failure::new(Exit::Usage, "check --pre: which node? give --config FILE, or set PORTOLAN_CONFIG"))?;
    let mut findings = Findings::default();
    let Some(node) = load(config, env, &mut findings) else {
        return show(&findings, unicode, format, terminal).map(|_| Exit::Usage);
    };
    files(&node, terminal, actions, &mut findings);
    tls(&node, now, &mut findings);
    ports(&node, &mut findings);
    peers(&node, &mut findings);
    show(&findings, unicode, format, terminal)
}

fn load(config: &Path, env: &Env, findings: &mut Findings) -> Option<LoadedNode> {
    const GROUP: &str = "config";
    let text = match fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) => {
            findings.fail(GROUP, format!("read `{}`: {error}", config.display()), "name a file that can be read by --config");
            return None;
        }
    };
    match node::load(&text, &config.display().to_string(), env) {
        Ok(node) => {
            findings.ok(GROUP, format!("{}: {} {} in {}", config.display(), node.role, node.node, node.region));
            for line in node.warnings.lines() {
                findings.warn(GROUP, line, "");
            }
            Some(node)
        }
        Err(problems) => {
            findings.fail(GROUP, problems.to_string().trim_end(), "correct the lines above");
            None
        }
    }
}

fn files(node: &LoadedNode, terminal: &mut Terminal<'_>, actions: &dyn Actions, findings: &mut Findings) {
    const GROUP: &str = "files";
    let config = &node.config;
    if let Some(plan) = &config.plan {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut quiet = Terminal { out: &mut out, err: &mut err, interactive: false, colour: terminal.colour };
        match actions.plan_validate(plan.as_path(), Format::Table, &mut quiet) {
            Ok(_) => findings.ok(GROUP, String::from_utf8_lossy(&out).trim_end()),
            Err(failure) => findings.fail(GROUP, failure.message.trim_end(), "correct the plan: portolan plan validate"),
        }
    }
    let named = [("geo.database", &config.geo.database), ("geo.latency", &config.geo.latency)];
    let named = named.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)));
    for (key, file) in named.chain(config.auth.jwt.as_ref().map(|jwt| ("auth.jwt.jwks_file", &jwt.jwks_file))) {
        match fs::File::open(file.as_path()) {
            Ok(_) => findings.ok(GROUP, format!("{key} {} can be read", file.0)),
            Err(error) => {
                findings.fail(GROUP, format!("{key} {}: {error}", file.0), "put the file there, and let the daemon's user read it")
            }
        }
    }
    writable("data_dir", config.data_dir.as_path(), findings);
    if let Some(folder) = config.listen.socket.as_ref().and_then(|socket| socket.as_path().parent().map(Path::to_owned)) {
        writable("the directory of listen.socket", &folder, findings);
    }
}

/// Tries a directory by making a file in it, which is gone at once.
fn writable(what: &str, folder: &Path, findings: &mut Findings) {
    const GROUP: &str = "files";
    let probe: PathBuf = folder.join(format!(".portolan-check-{}", std::process::id()));
    match fs::write(&probe, b"check").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) => findings.ok(GROUP, format!("{what} {} can be written", folder.display())),
        Err(error) => {
            let fix = format!("make it, and give it to the daemon's user: install -d -o portolan {}", folder.display());
            findings.fail(GROUP, format!("{what} {}: {error}", folder.display()), fix);
        }
    }
}

fn tls(node: &LoadedNode, now: Timestamp, findings: &mut Findings) {
    const GROUP: &str = "tls";
    let Some(tls) = &node.config.tls else {
        findings.ok(GROUP, "none: control and peer listeners take loopback addresses only");
        return;
    };
    let path = |file: &node::sections::FilePath| file.as_path().to_owned();
    let files = TlsFiles { ca_file: path(&tls.ca_file), cert_file: path(&tls.cert_file), key_file: path(&tls.key_file) };
    // What the listener does with them at start, key against certificate included.
    match files.server(false) {
        Ok(_) => findings.ok(GROUP, format!("{} fits its key {}", tls.cert_file.0, tls.key_file.0)),
        Err(error) => findings.fail(GROUP, error.to_string(), "`portolan pki issue --replace` makes a pair that fits"),
    }
    match certificate::read(&files.ca_file) {
        Ok(shown) => findings.life(GROUP, "authority", &shown, now),
        Err(problem) => findings.fail(GROUP, problem, "name the authority's certificate by `tls.ca_file`"),
    }
    match certificate::read(&files.cert_file) {
        Ok(shown) => {
            findings.life(GROUP, "certificate", &shown, now);
            held(node, &shown, findings);
        }
        Err(problem) => findings.fail(GROUP, problem, "name this node's certificate by `tls.cert_file`"),
    }
    if let Ok(found) = fs::metadata(&files.key_file) {
        use std::os::unix::fs::PermissionsExt as _;
        if found.permissions().mode() & 0o077 != 0 {
            let fix = format!("chmod 600 {}", files.key_file.display());
            findings.warn(GROUP, format!("{} can be read by others than its owner", files.key_file.display()), fix);
        }
    }
}

/// The name by which the peers reach this node must stand in its certificate.
fn held(node: &LoadedNode, shown: &certificate::Shown, findings: &mut Findings) {
    const GROUP: &str = "tls";
    let Some(own) = node.config.peers.iter().find(|peer| peer.node == node.node) else { return };
    let address = own.address.0.to_string();
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
    // A wildcard stands for one label (RFC 9525 section 6.3).
    let matches = |name: &String| {
        let wild = name.strip_prefix("*.").zip(host.split_once('.')).is_some_and(|(rest, (_, domain))| rest.eq_ignore_ascii_case(domain));
        wild || name.eq_ignore_ascii_case(host)
    };
    if shown.hosts.iter().any(matches) {
        findings.ok(GROUP, format!("the certificate holds {host}, by which peers reach this node"));
    } else {
        let fix = format!("portolan pki issue --replace --dir DIR node {} --region {} --host {host}", node.node, node.region);
        findings.fail(
            GROUP,
            format!("the certificate does not hold {host}, by which peers reach this node; it has {}", shown.hosts.join(", ")),
            fix,
        );
    }
}

fn ports(node: &LoadedNode, findings: &mut Findings) {
    const GROUP: &str = "ports";
    let listen = &node.config.listen;
    let mut bound = |key: &str, address: SocketAddr, tried: std::io::Result<()>| match tried {
        Ok(()) => findings.ok(GROUP, format!("{key} {address} is free")),
        Err(error) => {
            let fix = match error.kind() {
                ErrorKind::AddrInUse => {
                    format!("something listens there already, perhaps this daemon: ss -lntup 'sport = :{}'", address.port())
                }
                ErrorKind::PermissionDenied => {
                    "a port below 1024 needs CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start".to_owned()
                }
                ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
                _ => "choose another address".to_owned(),
            };
            findings.fail(GROUP, format!("{key} {address}: {error}"), fix);
        }
    };
    for address in &listen.dns {
        // One after the other, as on Linux the unspecified IPv6 address takes IPv4 with it where nobody says otherwise.
        bound("listen.dns (UDP)", *address, bind_udp(*address));
        bound("listen.dns (TCP)", *address, bind_tcp(*address));
    }
    let others = [("listen.control", listen.control), ("listen.peer", listen.peer), ("listen.http", listen.http)];
    for (key, address) in others.into_iter().filter_map(|(key, address)| Some((key, address?))) {
        bound(key, address, bind_tcp(address));
    }
}

fn bind_udp(address: SocketAddr) -> std::io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// Peers that are not there yet are no failure: somebody must be the first.
fn peers(node: &LoadedNode, findings: &mut Findings) {
    const GROUP: &str = "peers";
    for peer in node.config.peers.iter().filter(|peer| peer.node != node.node) {
        let address = peer.address.0.to_string();
        let tried = address.to_socket_addrs().and_then(|mut found| {
            let found = found.next().ok_or_else(|| std::io::Error::new(ErrorKind::NotFound, "the name has no address"))?;
            TcpStream::connect_timeout(&found, CONNECT_TIME_MAX).map(drop)
        });
        match tried {
            Ok(()) => findings.ok(GROUP, format!("{} in {} is reached at {address}", peer.node, peer.region)),
            Err(error) => {
                let fix = "no harm when it does not run yet; else look at its listener, the firewall and the name";
                findings.warn(GROUP, format!("{} in {} is not reached at {address}: {error}", peer.node, peer.region), fix);
            }
        }
    }
}
