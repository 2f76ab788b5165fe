//! One node: a whole daemon with a data directory and ports of its own, which can lose power and come back.
//!
//! While it is down its ports stay bound without anybody behind them: questions over UDP get no answer, as from a machine that is dark, and no
//! other program takes them meanwhile.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use portolan_core::{cluster::NodeRole, model::time::Tick, node::report::Status};
use tokio::{
    net::{TcpSocket, UdpSocket},
    time::sleep,
};

use super::stage::{LOOK, failed};
use crate::{
    api::proto,
    cli::Failure,
    client::{Client, ClientError, Target},
    daemon::{Clock, Clustering, Daemon, Detours, Listen, PeerEntry, Setup},
};

/// What one that lost power needs to let go of its disk and ports: its tasks end one by one.
const LET_GO_MAX: Duration = Duration::from_secs(20);
/// A table from disk plays no part here.
const STALE_LIMIT: Duration = Duration::from_secs(3600);
/// The defaults of the node config, so that figures are those of production.
const HEARTBEAT: Duration = Duration::from_millis(500);
const ELECTION: Duration = Duration::from_secs(3);
/// Longer than any demo.
const REPLACE_AFTER: Duration = Duration::from_mins(10);

/// A node, running or not.
pub(super) struct Node {
    pub(super) name: String,
    /// Its region among the demo's; `None`: it stands outside.
    pub(super) region: Option<usize>,
    pub(super) is_voter: bool,
    /// Where peers reach it.
    pub(super) peer: SocketAddr,
    setup: Setup,
    state: State,
    /// Where it listens, once it did.
    listeners: Option<Listeners>,
}

/// Where it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listeners {
    pub(super) dns: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) http: SocketAddr,
}

enum State {
    Running(Box<Running>),
    /// Its ports, held.
    Down(Held),
}

struct Running {
    daemon: Daemon,
    client: Client,
}

#[derive(Default)]
struct Held {
    _tcp: Vec<TcpSocket>,
    _udp: Option<UdpSocket>,
}

/// What a node is made of.
pub(super) struct Plans {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) region: Option<usize>,
    pub(super) role: NodeRole,
    /// Its own address, without a port.
    pub(super) address: std::net::IpAddr,
    pub(super) data_dir: PathBuf,
    pub(super) plan: PathBuf,
}

impl Node {
    /// Takes a port for its peers, and nothing else yet.
    pub(super) fn prepare(plans: Plans) -> io::Result<Self> {
        let Plans { name, place, region, role, address, data_dir, plan } = plans;
        let held = bind(SocketAddr::new(address, 0))?;
        let peer = held.local_addr()?;
        let free = || SocketAddr::new(address, 0);
        let setup = Setup {
            node: name.clone(),
            region: place,
            data_dir: Some(data_dir),
            plan,
            listen: Listen { dns: vec![free()], control: Some(free()), http: Some(free()), socket: None },
            tls: None,
            auth: Default::default(),
            geo_database: None,
            secrets_dir: None,
            hooks_dir: None,
            latency_table: None,
            stale_limit: STALE_LIMIT,
            allowed_targets: Vec::new(),
            cluster: Some(Clustering {
                name: Some(CLUSTER.to_owned()),
                role,
                listen: peer,
                book: Vec::new(),
                detours: Detours::default(),
                heartbeat: HEARTBEAT,
                election: ELECTION,
                replace_after: REPLACE_AFTER,
                plan_follow: false,
            }),
        };
        let state = State::Down(Held { _tcp: vec![held], _udp: None });
        Ok(Self { name, region, is_voter: role.votes(), peer, setup, state, listeners: None })
    }

    /// Where it stands.
    pub(super) fn place(&self) -> &str {
        &self.setup.region
    }

    /// How the others know it.
    pub(super) fn entry(&self) -> PeerEntry {
        PeerEntry { node: self.name.as_str().into(), region: self.place().into(), address: self.peer.to_string() }
    }

    /// Where the secrets are that the plan names.
    pub(super) fn confide(&mut self, secrets: Option<PathBuf>) {
        self.setup.secrets_dir = secrets;
    }

    /// Tells it who the voters are, and over which relays it reaches whom.
    pub(super) fn introduce(&mut self, book: &[PeerEntry], detours: Detours) {
        if let Some(cluster) = &mut self.setup.cluster {
            (cluster.book, cluster.detours) = (book.to_vec(), detours);
        }
    }

    /// Switches it on. What it knew when it lost power is on its disk.
    pub(super) async fn start(&mut self, clock: &Clock) -> Result<(), Failure> {
        // Whatever is held over UDP must be free first; over TCP a socket that does not listen is in nobody's way.
        if let State::Down(held) = &mut self.state {
            held._udp = None;
        }
        let daemon =
            let_go(clock, || Daemon::start(self.setup.clone())).await.map_err(|error| self.failed("start", &format!("{error:#}")))?;
        let (Some(dns), Some(control), Some(http)) = (daemon.dns().first().copied(), daemon.control(), daemon.http()) else {
            return Err(self.failed("start", &"it does not listen where it was told to"));
        };
        self.listeners = Some(Listeners { dns, control, http });
        self.setup.listen = Listen { dns: vec![dns], control: Some(control), http: Some(http), socket: None };
        let client = Client::connect(&Target::of_listener(control, None)).await?;
        self.state = State::Running(Box::new(Running { daemon, client }));
        Ok(())
    }

    /// Takes its power: nothing is said, nothing is written.
    pub(super) async fn kill(&mut self, clock: &Clock) -> Result<(), Failure> {
        self.state = State::Down(Held::default());
        let Some(Listeners { dns, control, http }) = self.listeners else { return Ok(()) };
        let udp = let_go(clock, || UdpSocket::bind(dns)).await.map_err(|error| self.failed("hold the ports of", &error))?;
        let tcp = hold(clock, &[dns, control, http, self.peer]).await.map_err(|error| self.failed("hold the ports of", &error))?;
        self.state = State::Down(Held { _tcp: tcp, _udp: Some(udp) });
        Ok(())
    }

    /// Stops it in order.
    pub(super) async fn stop(self) {
        if let State::Running(running) = self.state {
            let Running { daemon, client } = *running;
            drop(client);
            daemon.stop().await;
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Where it listens; an error when it never did.
    pub(super) fn listeners(&self) -> Result<Listeners, Failure> {
        self.listeners.ok_or_else(|| self.failed("ask", &"it was never started"))
    }

    /// A client of its API; an error while it is down.
    pub(super) fn client(&self) -> Result<&Client, Failure> {
        match &self.state {
            State::Running(running) => Ok(&running.client),
            State::Down(_) => Err(self.failed("ask", &"it is down")),
        }
    }

    /// The daemon; `None` while it is down.
    pub(super) fn daemon(&self) -> Option<&Daemon> {
        match &self.state {
            State::Running(running) => Some(&running.daemon),
            State::Down(_) => None,
        }
    }

    /// How things stand, over the API, with every endpoint.
    pub(super) async fn status(&self) -> Result<Status, Failure> {
        Ok(self.client()?.status(true).await?)
    }

    /// What it knows of the cluster, and how fresh that is.
    pub(super) async fn cluster(&self) -> Result<(proto::Cluster, proto::Freshness), Failure> {
        let answer = self.client()?.get_cluster(proto::GetClusterRequest {}).await?;
        Ok((answer.cluster.unwrap_or_default(), answer.freshness.unwrap_or_default()))
    }

    /// Orders in force, by name.
    pub(super) async fn orders(&self) -> Result<Vec<proto::Override>, Failure> {
        let answer: Result<_, ClientError> = self.client()?.list_overrides(proto::ListOverridesRequest::default()).await;
        Ok(answer?.overrides)
    }

    fn failed(&self, attempt: &str, cause: &dyn std::fmt::Display) -> Failure {
        failed(&format!("{attempt} node {}", self.name), cause)
    }
}

/// The name of the cluster.
const CLUSTER: &str = "demo";

/// Without listening, and in nobody's way who listens there.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Takes ports as soon as nobody listens there. Their tasks end one by one, and a process that was just forked has the listeners, too, until it
/// executes its program.
async fn hold(clock: &Clock, addresses: &[SocketAddr]) -> io::Result<Vec<TcpSocket>> {
    let all = async || addresses.iter().copied().map(bind).collect();
    let_go(clock, all).await
}

/// Tries until the former owner has let go.
async fn let_go<T, E, F: Future<Output = Result<T, E>>>(clock: &Clock, mut attempt: impl FnMut() -> F) -> Result<T, E> {
    let deadline: Tick = clock.tick() + LET_GO_MAX;
    loop {
        match attempt().await {
            Err(_) if clock.tick() < deadline => sleep(LOOK).await,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_that_goes_a_little_later_is_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // The first try is before it goes.
        let (clock, addresses) = (Clock::start(), [address]);
        let (held, ()) = tokio::join!(hold(&clock, &addresses), async { drop(listener) });
        assert_eq!(held.unwrap()[0].local_addr().unwrap(), address);
    }
}
