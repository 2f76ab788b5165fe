//! Sets everything up, in order: sites, ways, plan, nodes, clients of their answers; and takes it down again.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portolan_core::{cluster::NodeRole, node::report::Status};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    ask::Server,
    clients::{Clients, Map},
    data::{self, Databases, Kind, Made, Reach, Writer},
    node::{Node, Plans},
    plan::{self, OUTSIDE, PLACES, Place, WITNESS},
    scratch::Scratch,
    site::Site,
    wan::{Path as Lane, Wan},
};
use crate::{
    cli::{self, Actions, Env, Exit, Failure, Terminal},
    daemon::{Clock, Detours, PeerEntry},
    telemetry::Readiness,
};

/// Until all nodes are of one mind: an election, a round of probes, and a slow machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often something is looked at that is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// Where the client stands that writes: not where the primary is.
const WRITER: usize = 1;
/// How often a port is drawn that must be free on several addresses.
const PORT_DRAWS_MAX: usize = 32;
/// Regions with an observer beside their voter: the first ones.
const OBSERVED: usize = 2;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) sites: Vec<Site>,
    pub(super) wan: Wan,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Clients,
    pub(super) clock: Arc<Clock>,
    /// From the first node's start until all of them were of one mind.
    pub(super) ready_after: Duration,
    /// The plan's file.
    pub(super) plan: PathBuf,
    /// Databases, and a client of theirs; else why there are none.
    pub(super) data: Result<Data, String>,
    reference: JoinHandle<()>,
    /// Removed when dropped, so after everything else.
    _scratch: [Scratch; 2],
}

/// Databases at work.
pub(super) struct Data {
    pub(super) databases: Databases,
    pub(super) writer: Writer,
    /// As somebody beside them reaches them.
    pub(super) reach: Reach,
}

/// What the demo is made of.
pub(super) struct Props<'a> {
    /// How many regions.
    pub(super) regions: usize,
    /// Databases, too: which; `None`: none.
    pub(super) data: Option<Kind>,
    /// This program, for processes of their own.
    pub(super) program: &'a Path,
    pub(super) env: &'a Env,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn start(props: Props<'_>) -> Result<Self, Failure> {
        let Props { regions: n, data, program, env } = props;
        let clock = Arc::new(Clock::start());
        let places = &PLACES[..n];
        let sites = Site::open(places).await.map_err(|error| {
            failed("start the regions", &format!("{error}; every address of 127.0.0.0/8 must be this machine's, as on Linux"))
        })?;
        let reference = TcpListener::bind((plan::reference_address(), 0)).await.map_err(|error| failed("start the reference", &error))?;
        let reference_address = reference.local_addr().map_err(|error| failed("start the reference", &error))?;
        let reference = tokio::spawn(greet_all(reference));
        let parent = env.get("TMPDIR").filter(|path| !path.is_empty()).map_or_else(|| Path::new("/tmp"), Path::new);
        let scratch =
            |mode| Scratch::create(parent, clock.entropy(), mode).map_err(|error| failed("make a directory for the plan", &error));
        // Databases may run as another user, who passes through theirs.
        let (scratch, of_data) = (scratch(0o700)?, scratch(0o711)?);
        let path = scratch.path().join("plan.yaml");
        let mut nodes = prepare(places, &scratch, &path).map_err(|error| failed("take ports for the nodes", &error))?;
        let mut wan = ways(places, n < OBSERVED + 1, clock.entropy());
        let book: Vec<_> = nodes.iter().filter(|node| node.is_voter).map(Node::entry).collect();

        let data = match data {
            Some(kind) => databases(kind, n, of_data.path(), &clock).await,
            None => Err("this scenario has none".to_owned()),
        };
        let mut targets = targets(&sites, &nodes, reference_address);
        if let Ok(made) = &data {
            targets.extend(made.addresses.iter().zip(places).map(|(address, place)| (place.name.to_owned(), *address)));
        }
        let targets: Vec<(&str, SocketAddr)> = targets.iter().map(|(place, target)| (place.as_str(), *target)).collect();
        for node in &mut nodes {
            let detours = wan.detours(node.place(), &targets).await.map_err(|error| failed("start the ways between regions", &error))?;
            node.introduce(&book, detours);
        }
        let mut from = Vec::new();
        for place in places {
            from.push(wan.detours(place.name, &targets).await.map_err(|error| failed("start the ways between regions", &error))?);
        }
        let data = match data {
            Ok(made) => beside(made, program, &book, &from, &clock).await,
            Err(why) => Err(why),
        };
        let regions: Vec<(&'static Place, Vec<SocketAddr>)> = sites.iter().map(|site| (site.place, site.addresses())).collect();
        let section = data.as_ref().ok().map(|(_, made)| data::section(made));
        let text = plan::text(&regions, reference_address, section.as_deref());
        fs::write(&path, text).map_err(|error| failed("write the plan", &error))?;

        let begun = clock.tick();
        for node in &mut nodes {
            node.confide(data.as_ref().ok().map(|(_, made)| made.secrets()));
            node.start(&clock).await?;
        }
        of_one_mind(&nodes, &clock).await?;
        let ready_after = clock.tick().since(begun);
        let servers = servers(&nodes, n)?;
        let clients =
            Clients::start(servers.clone(), Map::new(&sites), clock.clone()).await.map_err(|error| failed("start the clients", &error))?;
        let data = match data {
            Ok((databases, made)) => {
                let asker = clients.asker(data::WRITE_NAME, WRITER, &servers[WRITER]).await;
                let asker = asker.map_err(|error| failed("start the writer", &error))?;
                let client = places[WRITER].clients().next().unwrap_or(std::net::Ipv4Addr::LOCALHOST);
                let writer = Writer::start(asker, client, made.reach(from[WRITER].clone()), clock.clone());
                Ok(Data { databases, writer, reach: made.reach(Detours::default()) })
            }
            Err(why) => Err(why),
        };
        Ok(Self { sites, wan, nodes, clients, clock, ready_after, plan: path, data, reference, _scratch: [scratch, of_data] })
    }

    /// The node of this name; an error when there is none.
    pub(super) fn node(&self, name: &str) -> Result<&Node, Failure> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| failed(&format!("find node {name}"), &"there is none"))
    }

    /// The voter of a region.
    pub(super) fn voter(&self, region: usize) -> Result<&Node, Failure> {
        let found = self.nodes.iter().find(|node| node.is_voter && node.region == Some(region));
        found.ok_or_else(|| failed("find a voter", &PLACES[region].name))
    }

    /// Its observer, or its voter where it has none.
    pub(super) fn observer(&self, region: usize) -> Result<&Node, Failure> {
        self.nodes.iter().find(|node| !node.is_voter && node.region == Some(region)).map_or_else(|| self.voter(region), Ok)
    }

    /// Nodes that run, of the region and of all others: `true` for those of the region.
    pub(super) fn side(&self, region: usize, is_inside: bool) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.is_running() && (node.region == Some(region)) == is_inside)
    }

    /// The picture of one node.
    pub(super) async fn status(&self, node: &str) -> Result<Status, super::Stop> {
        Ok(self.node(node)?.status().await?)
    }

    /// What a verb prints for a person at another terminal, and how it ends. `arguments` without the program's name and the address.
    pub(super) async fn run(&self, node: &Node, arguments: &[&str]) -> Result<Printed, Failure> {
        let address = node.listeners()?.control.to_string();
        let arguments: Vec<String> =
            ["portolan"].into_iter().chain(arguments.iter().copied()).chain(["--address", &address]).map(str::to_owned).collect();
        // On a thread that may block: a verb brings a runtime of its own.
        let printed = tokio::task::spawn_blocking(move || {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
            let exit = cli::run(arguments.into_iter().map(Into::into), &Env::new(), &mut terminal, &ClientOnly);
            let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).trim_end().to_owned();
            Printed { exit, out: text(out), err: text(err) }
        });
        printed.await.map_err(|error| failed("run a verb", &error))
    }

    /// The same for one that has to succeed.
    pub(super) async fn verb(&self, node: &Node, arguments: &[&str]) -> Result<String, Failure> {
        let Printed { exit, out, err } = self.run(node, arguments).await?;
        match exit {
            Exit::Ok | Exit::Degraded => Ok(out),
            _ => Err(Failure::new(Exit::Error, format!("demo: at {}: {err}", node.name))),
        }
    }

    /// Takes everything down, in order.
    pub(super) async fn stop(self) -> io::Result<()> {
        let Self { clients, nodes, sites, wan, reference, data, .. } = self;
        let asked = clients.stop().await;
        let ended = match data {
            Ok(Data { databases, .. }) => databases.stop().await,
            Err(_) => Ok(()),
        };
        for node in nodes {
            node.stop().await;
        }
        drop((sites, wan));
        reference.abort();
        asked.and(ended)
    }
}

/// Makes one copy of a database per region, all on one port; else why there are none.
async fn databases(kind: Kind, n: usize, root: &Path, clock: &Clock) -> Result<Made, String> {
    let addresses: Vec<_> = (0..n).map(plan::database_address).collect();
    let addresses = one_port(&addresses).map_err(|error| format!("no port for them: {error}"))?;
    let (password, system) = (format!("{:016x}{:016x}", clock.entropy(), clock.entropy()), clock.entropy());
    let root = root.to_owned();
    // On a thread that may block: programs make them.
    let made = tokio::task::spawn_blocking(move || Made::make(kind, addresses, &root, password, system)).await;
    made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Starts what stands beside the databases; else why they cannot run here.
async fn beside(made: Made, program: &Path, book: &[PeerEntry], from: &[Detours], clock: &Clock) -> Result<(Databases, Made), String> {
    let voters: Vec<(String, String)> = book.iter().map(|peer| (peer.node.to_string(), peer.address.clone())).collect();
    let databases = Databases::new(&made, program, &voters, from.to_vec());
    let mut databases = databases.map_err(|failure| failure.message)?;
    databases.start(clock).await.map_err(|failure| failure.message)?;
    Ok((databases, made))
}

/// A port that is free at all of these.
fn one_port(addresses: &[IpAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_DRAWS_MAX {
        let mut port = 0;
        let mut held = Vec::new();
        for address in addresses {
            match std::net::TcpListener::bind((*address, port)) {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    held.push(listener);
                }
                Err(error) => last = error,
            }
        }
        if held.len() == addresses.len() {
            return held.iter().map(std::net::TcpListener::local_addr).collect();
        }
    }
    Err(last)
}

/// How a verb ended.
pub(super) struct Printed {
    pub(super) exit: Exit,
    pub(super) out: String,
    pub(super) err: String,
}

/// The verbs that need nothing but a daemon.
struct ClientOnly;

impl Actions for ClientOnly {}

/// A voter in each region and an observer beside the first ones; with two regions a witness, so that either may be lost.
fn prepare(places: &'static [Place], scratch: &Scratch, plan: &Path) -> io::Result<Vec<Node>> {
    let plans = |name: String, place: &str, region: Option<usize>, role, n| Plans {
        data_dir: scratch.path().join(&name),
        plan: plan.to_owned(),
        address: plan::node_address(region, n),
        place: place.to_owned(),
        name,
        region,
        role,
    };
    let mut nodes = Vec::new();
    for (region, place) in places.iter().enumerate() {
        nodes.push(Node::prepare(plans(format!("{}-a", place.stem), place.name, Some(region), NodeRole::Voter, 0))?);
        if region < OBSERVED {
            nodes.push(Node::prepare(plans(format!("{}-b", place.stem), place.name, Some(region), NodeRole::Observer, 1))?);
        }
    }
    if places.len() == OBSERVED {
        nodes.push(Node::prepare(plans(WITNESS.to_owned(), WITNESS, None, NodeRole::Witness, 0))?);
    }
    Ok(nodes)
}

/// All places, each two of them joined.
fn ways(places: &[Place], has_witness: bool, seed: u64) -> Wan {
    let mut wan = Wan::new(seed);
    let names: Vec<&str> = places.iter().map(|place| place.name).chain(has_witness.then_some(WITNESS)).chain([OUTSIDE]).collect();
    for (at, one) in names.iter().enumerate() {
        for other in &names[at + 1..] {
            wan.join(one, other, Lane::of(plan::round_trip(one, other) / 2));
        }
    }
    wan
}

/// Everything that is reached from elsewhere, with its place.
fn targets(sites: &[Site], nodes: &[Node], reference: SocketAddr) -> Vec<(String, SocketAddr)> {
    let endpoints = sites.iter().flat_map(|site| site.addresses().into_iter().map(|address| (site.place.name.to_owned(), address)));
    let peers = nodes.iter().map(|node| (node.place().to_owned(), node.peer));
    endpoints.chain(peers).chain([(OUTSIDE.to_owned(), reference)]).collect()
}

/// Whom resolvers of each region ask: its own nodes first, then the others, from the nearest on.
fn servers(nodes: &[Node], n: usize) -> Result<Vec<Vec<Server>>, Failure> {
    let mut all = Vec::new();
    for (home, place) in PLACES[..n].iter().enumerate() {
        let mut servers = Vec::new();
        for node in nodes {
            if let Some(region) = node.region {
                servers.push(Server { address: node.listeners()?.dns, region });
            }
        }
        let far = |region: usize| if region == home { Duration::ZERO } else { plan::round_trip(place.name, PLACES[region].name) };
        servers.sort_by_key(|server| far(server.region));
        all.push(servers);
    }
    Ok(all)
}

/// Every node answers from a table of its own, hears all regions, and knows the plan, the leader and all others.
async fn of_one_mind(nodes: &[Node], clock: &Clock) -> Result<(), Failure> {
    let deadline = clock.tick() + READY_MAX;
    loop {
        let mut why = None;
        for node in nodes {
            why = why.or(reservation(node, nodes.len()).await?);
        }
        match why {
            None => return Ok(()),
            Some(why) if clock.tick() > deadline => return Err(failed("wait until all nodes are of one mind", &why)),
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Why a node is not ready; `None`: it is.
async fn reservation(node: &Node, n: usize) -> Result<Option<String>, Failure> {
    let Some(daemon) = node.daemon() else { return Ok(Some(format!("{} is down", node.name))) };
    if let Readiness::NotReady(why) = daemon.pictures().readiness() {
        return Ok(Some(format!("{}: {why}", node.name)));
    }
    let state = daemon.agreed();
    if state.nodes().len() < n || state.plan().is_none() {
        return Ok(Some(format!("{} knows {} of {n} nodes", node.name, state.nodes().len())));
    }
    let (status, (_, freshness)) = (node.status().await?, node.cluster().await?);
    let is_well = freshness.leader.is_some() && hears_all(&status) && status.state == portolan_core::node::report::State::Ok;
    Ok((!is_well).then(|| format!("{}: {}, {}, leader {:?}", node.name, status.state.word(), status.vantage, freshness.leader)))
}

/// It hears all vantage regions and sees.
pub(super) fn hears_all(status: &Status) -> bool {
    status.vantage.split_once(" of ").is_some_and(|(heard, rest)| rest.starts_with(&format!("{heard} regions heard, sighted")))
}

/// Takes connections and ends them: whoever gets one knows that it sees.
async fn greet_all(listener: TcpListener) {
    loop {
        if listener.accept().await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

pub(super) fn failed(attempt: &str, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("demo: {attempt}: {cause}"))
}
