//! A whole world for one scenario: three regions 80 ms apart, a cluster of real processes in them, an endpoint in each, and clients who ask all the time.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tempfile::TempDir;

use super::{
    REGION_NAMES,
    ground::{Addresses, Atlas, Ground},
    line::Line,
    lines::Lines,
    load::Load,
    place::{self, Place},
    process::{Named, Node, offline},
};
use crate::daemon::{eventually, page, plan::Plan, site::Site};

/// Three voters in three regions, and one who follows.
pub(super) const NODES: [Named; 4] = [
    Named { name: "use1-a", region: 0, host: 1, is_voter: true },
    Named { name: "euw1-a", region: 1, host: 1, is_voter: true },
    Named { name: "aps1-a", region: 2, host: 1, is_voter: true },
    Named { name: "use1-b", region: 0, host: 2, is_voter: false },
];

/// As [`NODES`] has them.
pub(super) const US_A: usize = 0;
pub(super) const EU_A: usize = 1;
pub(super) const AP_A: usize = 2;
pub(super) const US_B: usize = 3;
pub(super) const ALL: [usize; 4] = [US_A, EU_A, AP_A, US_B];

/// Probes that come back from another continent: a connection and a request take four ways, and a lost packet a second.
const CHECKS: &str =
    "type: http, interval: 2s, timeout: 1800ms, fast_interval: 500ms, down_interval: 1s, fall: 3, rise: 1, flap: { window: 0s }";

/// A little shorter than by default, so that elections do not take the most of a test.
pub(super) const SHORT: &str = "raft: { heartbeat: 400ms, election_timeout: 2400ms }";
/// As without a word.
pub(super) const USUAL: &str = "raft: { heartbeat: 500ms, election_timeout: 3s }";

/// The operator of the cluster, as certificates and contexts name it.
pub(super) const OPERATOR: &str = "ana";
/// Worlds that this process made, so that their names differ.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// Worlds that were gone through to the end.
static DONE: AtomicUsize = AtomicUsize::new(0);

/// See above. What is dropped first comes first: processes, then what they stand on.
pub(super) struct World {
    pub(super) load: Load,
    pub(super) nodes: Vec<Node>,
    pub(super) sites: Vec<Site>,
    pub(super) lines: Lines,
    pub(super) atlas: Atlas,
    pub(super) places: Vec<Place>,
    pub(super) plan: Plan,
    /// Names of orders that were acknowledged and are in force: none of them may be lost.
    pub(super) acknowledged: Vec<String>,
    /// Reasons of all that was acknowledged, each of which happened once.
    pub(super) audited: Vec<String>,
    pub(super) n_orders: usize,
    pub(super) folder: TempDir,
}

impl World {
    /// Everything up: the cluster agrees on the plan, all nodes answer all clients with their own regions, and clients ask.
    pub(super) async fn start(raft: &str) -> Self {
        let mut world = Self::with(raft, |plan| plan).await;
        world.start_all().await;
        world.is_whole("the cluster is made").await;
        world.answers_are_local("all is well", &ALL).await;
        world.load.begin(&world.atlas, &world.places, &world.nodes).await;
        world
    }

    /// Everything made, and no node started. `change` may change the plan.
    pub(super) async fn with(raft: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        let ground = Ground::here();
        let (number, folder) = (MADE.fetch_add(1, Relaxed), tempfile::tempdir().unwrap());
        let (atlas, seed) = (Atlas::of(ground), number as u64);
        let (places, lines) = match ground {
            Ground::Namespaces => {
                let make = |region| Place::make(number, region).unwrap_or_else(|error| panic!("{error}"));
                let (places, devices): (Vec<_>, Vec<_>) = (0..place::REGIONS).map(make).unzip();
                (places, Lines::over_router(devices, Line::FAR, seed))
            }
            Ground::Loopback => {
                let places = (0..place::REGIONS).map(|region| Place::make_plain(number, region)).collect();
                (places, Lines::over_relays(&atlas, Line::FAR, seed).await)
            }
        };
        let mut sites = Vec::new();
        for (region, place) in places.iter().enumerate() {
            sites.push(place.run(Site::at(atlas.endpoint(region))).await);
        }
        let mut plan = Plan::three_regions().probed_at(sites.iter().map(|site| site.address));
        CHECKS.clone_into(&mut plan.checks);
        let plan = change(plan);
        make_certificates(folder.path(), &atlas);
        let nodes = NODES.map(|named| {
            let files = (config(named, folder.path(), &atlas, raft), plan.text(1));
            Node::new(ground, named, atlas.node(named.region, named.host), folder.path().join(named.name), &files.0, &files.1)
        });
        let load = Load::default();
        Self {
            load,
            nodes: nodes.into(),
            sites,
            lines,
            atlas,
            places,
            plan,
            acknowledged: Vec::new(),
            audited: Vec::new(),
            n_orders: 0,
            folder,
        }
    }

    pub(super) fn place(&self, node: usize) -> &Place {
        &self.places[self.nodes[node].named.region]
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_running())
    }

    //--- Faults. Questions that cannot be answered because of one are excused for as long as it lasts.

    /// Starts all nodes at once.
    pub(super) async fn launch_all(&mut self) {
        for node in &mut self.nodes {
            node.start(&self.places[node.named.region], self.lines.detours(node.named.region)).await;
        }
    }

    /// Starts all nodes at once, and waits until they are ready to answer.
    async fn start_all(&mut self) {
        self.launch_all().await;
        for n in 0..self.nodes.len() {
            self.is_ready(n).await;
        }
    }

    /// Starts a node, and waits until it is ready to answer.
    pub(super) async fn start_node(&mut self, n: usize) {
        let region = self.nodes[n].named.region;
        self.nodes[n].start(&self.places[region], self.lines.detours(region)).await;
        self.is_ready(n).await;
        self.load.expect_of_node(n);
    }

    pub(super) async fn is_ready(&self, n: usize) {
        let http = self.nodes[n].http();
        let ready = || self.place(n).run(async move { page(http, "/readyz").await.map_err(|error| error.to_string()) });
        let is_ready = |seen: &Result<(u16, String), String>| seen.as_ref().is_ok_and(|(status, _)| *status == 200);
        drop(eventually(&format!("{} is ready", self.nodes[n].named.name), ready, is_ready).await);
    }

    /// kill -9.
    pub(super) fn kill(&mut self, n: usize) {
        self.load.excuse_node(n);
        self.nodes[n].kill();
    }

    /// Asks a node to stop.
    pub(super) fn ask_to_stop(&mut self, n: usize) {
        self.load.excuse_node(n);
        self.nodes[n].ask_to_stop();
    }

    /// Waits until it has.
    pub(super) async fn stopped(&mut self, n: usize) {
        let in_order = self.nodes[n].stopped().await;
        assert!(in_order, "{} stops in order", NODES[n].name);
    }

    /// A region is lost: its nodes, and its endpoint.
    pub(super) async fn lose_region(&mut self, region: usize) {
        for n in self.running().filter(|n| NODES[*n].region == region).collect::<Vec<_>>() {
            self.kill(n);
        }
        self.sites[region].kill().await;
    }

    /// It comes back as it was.
    pub(super) async fn regain_region(&mut self, region: usize) {
        let address = self.sites[region].address;
        self.sites[region] = self.places[region].run(Site::at(address)).await;
        for n in (0..NODES.len()).filter(|n| NODES[*n].region == region) {
            self.start_node(n).await;
        }
    }

    /// Cuts a line, one way. What needs it is excused.
    pub(super) fn cut(&self, from: usize, to: usize) {
        self.load.excuse_between(from, to);
        self.lines.change(from, to, |line| line.is_cut = true);
    }

    /// Cuts a region off from all others, both ways.
    pub(super) fn cut_off(&self, region: usize) {
        for other in (0..place::REGIONS).filter(|other| *other != region) {
            self.cut(region, other);
            self.cut(other, region);
        }
    }

    /// Makes all lines as they were.
    pub(super) fn mend(&self) {
        for from in 0..place::REGIONS {
            for to in (0..place::REGIONS).filter(|to| *to != from) {
                self.lines.change(from, to, |line| *line = Line::FAR);
            }
        }
        self.load.expect_all_lines();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tails: String = self.nodes.iter().map(Node::tail).collect();
            println!("{}{}{}", tails, self.lines.counts(), self.load.text());
        } else {
            let done = DONE.fetch_add(1, Relaxed) + 1;
            // Past what the test runner swallows of tests that pass: who reads its output sees what was really run.
            drop(writeln!(std::io::stderr(), "regions: {done} scenarios done, {}", Ground::here().text()));
        }
    }
}

/// By the product itself: an authority, a certificate for each node, and one for a person who may do everything.
fn make_certificates(folder: &Path, atlas: &Atlas) {
    offline(folder, &["pki", "init", "--dir", ".", "--cluster", "shop-prod"]);
    for named in NODES {
        let address = atlas.node(named.region, named.host).peer.ip().to_string();
        let region = REGION_NAMES[named.region];
        offline(folder, &["pki", "issue", "--dir", ".", "node", named.name, "--region", region, "--host", &address]);
    }
    offline(folder, &["pki", "issue", "--dir", ".", "client", OPERATOR, "--role", "admin"]);
    let tls = format!("tls: {{ ca_file: ca.pem, cert_file: {OPERATOR}.pem, key_file: {OPERATOR}.key }}");
    let control = atlas.node(NODES[US_A].region, NODES[US_A].host).control;
    let contexts = format!("version: 1\ncurrent: shop\ncontexts:\n  shop:\n    addresses: [\"{control}\"]\n    {tls}\n");
    std::fs::write(folder.join("contexts.yaml"), contexts).unwrap();
}

/// The node config.
fn config(named: Named, folder: &Path, atlas: &Atlas, raft: &str) -> String {
    let Addresses { dns, http, control, peer } = atlas.node(named.region, named.host);
    let (own, certificates) = (folder.join(named.name).display().to_string(), folder.display());
    let (name, region, role) = (named.name, REGION_NAMES[named.region], if named.is_voter { "voter" } else { "observer" });
    let mut text = format!(
        "version: 1\nnode: {name}\nregion: {region}\nrole: {role}\ncluster: shop-prod\ndata_dir: {own}/state\nplan: {own}/plan.yaml\n\
         listen: {{ dns: [\"{dns}\"], control: \"{control}\", peer: \"{peer}\", http: \"{http}\", \
         socket: {own}/socket }}\n\
         tls: {{ ca_file: {certificates}/ca.pem, cert_file: {certificates}/{name}.pem, key_file: {certificates}/{name}.key }}\n\
         auth: {{ roles: [{{ role: admin, spiffe: \"spiffe://shop-prod/admin/{OPERATOR}\" }}] }}\n{raft}\npeers:\n"
    );
    for peer in NODES.iter().filter(|peer| peer.is_voter) {
        let (region, address) = (REGION_NAMES[peer.region], atlas.node(peer.region, peer.host).peer);
        writeln!(text, "  - {{ node: {}, region: {region}, address: \"{address}\" }}", peer.name).unwrap();
    }
    text
}
