//! A whole world for one scenario: three regions 80 ms apart, a cluster of real processes in them, an endpoint in each, and clients who ask all the time.

use std::{
    fmt::Write as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use portolan::{
    api::{TlsFiles, proto},
    client::{Client, ClientError, Target},
};
use portolan_core::node::report::Status;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{
    REGION_NAMES,
    line::Line,
    load::Load,
    place::{self, Place, endpoint},
    process::{Named, Node, PROGRAM, offline},
    wan::Wan,
};
use crate::daemon::{LIMIT, eventually, page, plan::Plan, site::Site};

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

/// Probes that come back from another continent: a connection and a request take four ways, and a lost packet a second.
const CHECKS: &str =
    "type: http, interval: 2s, timeout: 1800ms, fast_interval: 500ms, down_interval: 1s, fall: 3, rise: 1, flap: { window: 0s }";

/// Shorter than by default, so that elections do not take the most of a test: still seven round trips.
pub(super) const SHORT: &str = "raft: { heartbeat: 200ms, election_timeout: 1200ms }";
/// As without a word.
pub(super) const USUAL: &str = "raft: { heartbeat: 500ms, election_timeout: 3s }";

/// The operator of the cluster, as certificates and contexts name it.
const OPERATOR: &str = "ana";
/// How long a verb of the command line may take: it gives up by itself before.
const VERB_TIME_MAX: Duration = Duration::from_secs(60);
/// Exit codes of a verb that may be said again under its request id: nobody answered, or nobody knows.
const AGAIN: [i32; 2] = [6, 7];

/// Worlds that this process made, so that their names differ.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// What a verb of the command line gave.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// See above. What is dropped first comes first: processes, then what they stand on.
pub(super) struct World {
    pub(super) load: Load,
    pub(super) nodes: Vec<Node>,
    pub(super) sites: Vec<Site>,
    pub(super) wan: Wan,
    pub(super) places: Vec<Place>,
    pub(super) plan: Plan,
    /// Names of orders that were acknowledged: none of them may be lost.
    pub(super) acknowledged: Vec<String>,
    n_orders: usize,
    folder: TempDir,
}

impl World {
    /// Everything up: the cluster agrees on the plan, all nodes answer all clients with their own regions, and clients ask.
    pub(super) async fn start(raft: &str) -> Self {
        let mut world = Self::with(raft, |plan| plan).await;
        world.start_all().await;
        world.is_whole("the cluster is made").await;
        world.answers_are_local("all is well", &[0, 1, 2, 3]).await;
        world.load.begin(&world.places, &world.nodes).await;
        world
    }

    /// Everything made, and no node started. `change` may change the plan.
    pub(super) async fn with(raft: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        place::sweep();
        let (number, folder) = (MADE.fetch_add(1, Relaxed), tempfile::tempdir().unwrap());
        let (mut places, mut devices, mut sites) = (Vec::new(), Vec::new(), Vec::new());
        for region in 0..place::REGIONS {
            let (place, device) = Place::make(number, region).unwrap_or_else(|error| panic!("{error}"));
            sites.push(place.run(Site::at((endpoint(region), 80).into())).await);
            places.push(place);
            devices.push(device);
        }
        let wan = Wan::start(devices, Line::FAR, number as u64);
        let mut plan = Plan::three_regions().probed_at(sites.iter().map(|site| site.address));
        CHECKS.clone_into(&mut plan.checks);
        let plan = change(plan);
        make_certificates(folder.path());
        let nodes = NODES.map(|named| Node::new(named, folder.path().join(named.name), &config(named, folder.path(), raft), &plan.text(1)));
        let load = Load::default();
        Self { load, nodes: nodes.into(), sites, wan, places, plan, acknowledged: Vec::new(), n_orders: 0, folder }
    }

    fn place(&self, node: usize) -> &Place {
        &self.places[self.nodes[node].named.region]
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_running())
    }

    //--- Faults. Questions that cannot be answered because of one are excused for as long as it lasts.

    /// Starts all nodes at once, and waits until they are ready to answer.
    pub(super) async fn start_all(&mut self) {
        for node in &mut self.nodes {
            node.start(&self.places[node.named.region]).await;
        }
        for n in 0..self.nodes.len() {
            self.is_ready(n).await;
        }
    }

    /// Starts a node, and waits until it is ready to answer.
    pub(super) async fn start_node(&mut self, n: usize) {
        let region = self.nodes[n].named.region;
        self.nodes[n].start(&self.places[region]).await;
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

    /// Cuts a line, one way. What needs it is excused.
    pub(super) fn cut(&self, from: usize, to: usize) {
        self.load.excuse_between(from, to);
        self.wan.change(from, to, |line| line.is_cut = true);
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
                self.wan.change(from, to, |line| *line = Line::FAR);
            }
        }
        self.load.expect_all_lines();
    }

    //--- Orders

    /// Runs the program for a person beside a node, against that node.
    pub(super) async fn run(&self, n: usize, arguments: &[&str]) -> Ran {
        let address = self.nodes[n].control().to_string();
        self.run_at(self.nodes[n].named.region, &[arguments, &["--address", &address]].concat()).await
    }

    /// Runs the program for a person in a region.
    pub(super) async fn run_at(&self, region: usize, arguments: &[&str]) -> Ran {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().env("PORTOLAN_CONTEXTS", self.folder.path().join("contexts.yaml")).kill_on_drop(true);
        let ran = self.places[region].run(async move { timeout(VERB_TIME_MAX, command.output()).await }).await;
        let output = ran.unwrap_or_else(|_| panic!("{arguments:?} takes longer than {VERB_TIME_MAX:?}")).unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        Ran { exit: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// An order that moves no traffic, given once at this node under a name and a request id of its own.
    async fn hold_once(&self, n: usize, name: &str) -> Ran {
        let arguments = ["hold", "region", REGION_NAMES[0], "--for", "1h", "--id", name, "--request-id", name, "--reason", name, "--yes"];
        self.run(n, &arguments).await
    }

    fn next_order(&mut self) -> String {
        self.n_orders += 1;
        format!("drill-{}", self.n_orders)
    }

    /// Gives an order at a node, again and again under one request id, until it is acknowledged.
    pub(super) async fn order(&mut self, n: usize) {
        let name = self.next_order();
        let given = eventually(
            &format!("{} takes {name}", self.nodes[n].named.name),
            || self.hold_once(n, &name),
            |ran| !AGAIN.contains(&ran.exit),
        )
        .await;
        assert_eq!(given.exit, 0, "{name}: {given:?}");
        self.acknowledged.push(name);
    }

    /// Gives an order at a node that must not take it: it says that there is no majority, and what to do.
    pub(super) async fn order_in_vain(&mut self, n: usize) {
        let name = self.next_order();
        let given = self.hold_once(n, &name).await;
        assert!(AGAIN.contains(&given.exit), "{name}: {given:?}");
        assert!(given.err.contains("--local") || given.err.contains("--request-id"), "{given:?}");
    }

    /// Does something over the API of a node.
    pub(super) async fn with_client<T: Send + 'static, F>(
        &self,
        n: usize,
        work: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let target = Target { addresses: vec![self.nodes[n].control().to_string()], tls: Some(self.tls()), ..Target::default() };
        self.place(n).run(async move { work(Client::connect(&target).await?).await }).await
    }

    fn tls(&self) -> TlsFiles {
        let path = |name: &str| self.folder.path().join(name);
        TlsFiles { ca_file: path("ca.pem"), cert_file: path(&format!("{OPERATOR}.pem")), key_file: path(&format!("{OPERATOR}.key")) }
    }

    pub(super) async fn status(&self, n: usize) -> Status {
        self.with_client(n, |client| async move { client.status(false).await }).await.unwrap()
    }

    /// The kinds of a node's notices.
    pub(super) async fn notices(&self, n: usize) -> Vec<String> {
        self.status(n).await.notices.into_iter().map(|notice| notice.kind).collect()
    }

    /// Who leads, as a node knows.
    pub(super) async fn leader(&self, n: usize) -> Option<usize> {
        let members = self.members(n).await;
        let leader = members.into_iter().find(|member| member.leader)?;
        NODES.iter().position(|named| named.name == leader.node)
    }

    pub(super) async fn members(&self, n: usize) -> Vec<proto::Member> {
        let list = |client: Client| async move { client.list_members(proto::ListMembersRequest::default()).await };
        self.with_client(n, list).await.map_or_else(|_| Vec::new(), |found| found.members)
    }

    /// Names of the orders that a node knows.
    async fn orders(&self, n: usize) -> Vec<String> {
        let list = |client: Client| async move { client.list_overrides(proto::ListOverridesRequest::default()).await };
        let found = self.with_client(n, list).await.map_or_else(|_| Vec::new(), |found| found.overrides);
        found.into_iter().map(|order| order.name.trim_start_matches("overrides/").to_owned()).collect()
    }

    //--- What must hold

    /// All nodes run, know each other and the plan, and know who leads.
    pub(super) async fn is_whole(&self, what: &str) {
        for n in self.running() {
            let look = || async {
                let members = self.members(n).await;
                let led = members.iter().any(|member| member.leader);
                let running = members.iter().filter(|member| member.plan_revision.is_some()).count();
                (members.len(), running, led)
            };
            let name = self.nodes[n].named.name;
            eventually(&format!("{what}, as {name} knows"), look, |seen| *seen == (NODES.len(), NODES.len(), true)).await;
        }
    }

    /// Waits until these nodes give clients of every region the address of their own.
    pub(super) async fn answers_are_local(&self, what: &str, nodes: &[usize]) {
        let wanted: Vec<String> = (0..place::REGIONS).map(|region| self.own(region)).collect();
        self.answers_are(what, nodes, &wanted).await;
    }

    /// The address that is answered for a region.
    pub(super) fn own(&self, region: usize) -> String {
        self.plan.v4(REGION_NAMES[region]).to_owned()
    }

    /// Waits until these nodes give clients of the regions these addresses.
    pub(super) async fn answers_are(&self, what: &str, nodes: &[usize], wanted: &[String]) {
        for n in nodes {
            let dns = self.nodes[*n].dns();
            let look = || async {
                let mut given = Vec::new();
                for region in 0..place::REGIONS {
                    let reply = self.place(*n).run(super::load::ask_once(dns, region)).await;
                    given.push(reply.map_or_else(|| "none".to_owned(), |reply| reply.data.join(" ")));
                }
                given
            };
            eventually(&format!("{what}, as {} answers", self.nodes[*n].named.name), look, |given| given == wanted).await;
        }
    }

    /// Every order that was acknowledged is known at every node that runs, and happened once; all chains are intact and end alike.
    pub(super) async fn nothing_is_lost(&self) {
        for n in self.running() {
            let look = || async {
                let known = self.orders(n).await;
                self.acknowledged.iter().filter(|order| !known.contains(order)).cloned().collect::<Vec<_>>()
            };
            let what = format!("{} knows every acknowledged order", self.nodes[n].named.name);
            eventually(&what, look, |missing: &Vec<String>| missing.is_empty()).await;
            let entries = self.run(n, &["audit", "list", "--limit", "1000", "-o", "json"]).await;
            let listed: serde_json::Value = serde_json::from_str(&entries.out).unwrap_or_else(|error| panic!("{error}: {entries:?}"));
            let listed = listed["entries"].as_array().unwrap();
            for order in &self.acknowledged {
                let times = listed.iter().filter(|entry| entry["why"] == order.as_str()).count();
                assert_eq!(times, 1, "{order} stands {times} times in the chain of {}: {listed:?}", self.nodes[n].named.name);
            }
        }
        let heads = || async {
            let mut heads = Vec::new();
            for n in self.running() {
                let proof = self.run(n, &["audit", "verify", "-o", "json"]).await;
                let told: serde_json::Value = serde_json::from_str(&proof.out).unwrap_or_else(|error| panic!("{error}: {proof:?}"));
                assert!(proof.exit == 0 && told["intact"] == true, "{}: {proof:?}", self.nodes[n].named.name);
                heads.push(told["head"].to_string());
            }
            heads
        };
        // Nodes write themselves into the log now and then, so equal heads are a level.
        eventually("all chains end alike", heads, |heads| heads.windows(2).all(|two| two[0] == two[1])).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tails: String = self.nodes.iter().map(Node::tail).collect();
            println!("{}{}{}", tails, self.wan.counts(), self.load.text());
        }
    }
}

/// By the product itself: an authority, a certificate for each node, and one for a person who may do everything.
fn make_certificates(folder: &Path) {
    offline(folder, &["pki", "init", "--dir", ".", "--cluster", "shop-prod"]);
    for named in NODES {
        let address = place::host(named.region, named.host).to_string();
        let region = REGION_NAMES[named.region];
        offline(folder, &["pki", "issue", "--dir", ".", "node", named.name, "--region", region, "--host", &address]);
    }
    offline(folder, &["pki", "issue", "--dir", ".", "client", OPERATOR, "--role", "admin"]);
    let tls = format!("tls: {{ ca_file: ca.pem, cert_file: {OPERATOR}.pem, key_file: {OPERATOR}.key }}");
    let contexts = format!("version: 1\ncurrent: shop\ncontexts:\n  shop:\n    addresses: [\"10.77.1.1:8443\"]\n    {tls}\n");
    std::fs::write(folder.join("contexts.yaml"), contexts).unwrap();
}

/// The node config.
fn config(named: Named, folder: &Path, raft: &str) -> String {
    let address = place::host(named.region, named.host);
    let (own, certificates) = (folder.join(named.name).display().to_string(), folder.display());
    let (name, region, role) = (named.name, REGION_NAMES[named.region], if named.is_voter { "voter" } else { "observer" });
    let mut text = format!(
        "version: 1\nnode: {name}\nregion: {region}\nrole: {role}\ncluster: shop-prod\ndata_dir: {own}/state\nplan: {own}/plan.yaml\n\
         listen: {{ dns: [\"{address}:53\"], control: \"{address}:8443\", peer: \"{address}:8444\", http: \"{address}:8080\", \
         socket: {own}/socket }}\n\
         tls: {{ ca_file: {certificates}/ca.pem, cert_file: {certificates}/{name}.pem, key_file: {certificates}/{name}.key }}\n\
         auth: {{ roles: [{{ role: admin, spiffe: \"spiffe://shop-prod/admin/{OPERATOR}\" }}] }}\n{raft}\npeers:\n"
    );
    for peer in NODES.iter().filter(|peer| peer.is_voter) {
        let (region, address) = (REGION_NAMES[peer.region], place::host(peer.region, peer.host));
        writeln!(text, "  - {{ node: {}, region: {region}, address: \"{address}:8444\" }}", peer.name).unwrap();
    }
    text
}
