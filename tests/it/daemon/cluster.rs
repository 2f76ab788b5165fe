//! Several daemons: one truth, whoever is lost. All in this process, each with its own address, disk and plan file.

use portolan::{
    api::proto,
    daemon::{Clustering, PeerEntry},
};
use portolan_core::{
    cluster::{Actor, Change, End, Entry, Node, NodeId, NodeRole, Outcome, Role, State},
    health::overlay::{OverrideKind, Scope},
    model::{time::Timestamp, units::Share},
};

use super::{plan::*, *};

/// Elections are over within a few seconds, and a busy machine still keeps up.
const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION: Duration = Duration::from_millis(2000);

/// Where a peer listener may stand: nobody else uses the address, so the port stays free until it is used.
fn address() -> SocketAddr {
    std::net::TcpListener::bind((site::own_address(), 0)).unwrap().local_addr().unwrap()
}

/// Daemons with one plan.
pub(super) struct Fleet {
    pub(super) beds: Vec<Option<Bed>>,
    /// Of those that do not run.
    pub(super) files: Vec<Option<Files>>,
}

pub(super) const VOTERS: [(&str, &str); 3] = [("aps1-a", AP), ("euw1-a", EU), ("use1-a", US)];

impl Fleet {
    pub(super) fn new(plan: &Plan, observers: &[(&str, &str)]) -> Self {
        let book: Vec<PeerEntry> = VOTERS
            .iter()
            .map(|(node, region)| PeerEntry { node: (*node).into(), region: (*region).into(), address: address().to_string() })
            .collect();
        let nodes = VOTERS.iter().map(|it| (it, NodeRole::Voter)).chain(observers.iter().map(|it| (it, NodeRole::Observer)));
        let files = nodes.map(|((node, region), role)| {
            let mut files = Files::new(&plan.text(1)).with_state();
            files.setup.node = (*node).to_owned();
            files.setup.region = (*region).to_owned();
            let listen =
                book.iter().find(|entry| entry.node.as_str() == *node).map_or_else(address, |entry| entry.address.parse().unwrap());
            files.setup.cluster = Some(Clustering {
                name: Some("shop-prod".to_owned()),
                role,
                listen,
                book: book.clone(),
                detours: Default::default(),
                heartbeat: HEARTBEAT,
                election: ELECTION,
                plan_follow: false,
                replace_after: Duration::from_secs(600),
            });
            Some(files)
        });
        let files: Vec<_> = files.collect();
        Self { beds: files.iter().map(|_| None).collect(), files }
    }

    pub(super) async fn start(&mut self, n: usize) {
        let files = self.files[n].take().unwrap();
        self.beds[n] = Some(files.start().await);
    }

    /// As a machine that loses power: nothing is said, nothing is written.
    pub(super) fn kill(&mut self, n: usize) {
        let Bed { daemon, files } = self.beds[n].take().unwrap();
        drop(daemon);
        self.files[n] = Some(files);
    }

    pub(super) async fn started(plan: &Plan, observers: &[(&str, &str)]) -> Self {
        let mut fleet = Self::new(plan, observers);
        fleet.begin().await;
        fleet
    }

    /// Starts all of them, until they have a plan.
    pub(super) async fn begin(&mut self) {
        let n_nodes = self.files.len();
        for n in 0..n_nodes {
            self.start(n).await;
        }
        self.agrees("all nodes are registered and the plan is agreed", |state| state.nodes().len() == n_nodes && state.plan().is_some())
            .await;
    }

    /// Names and peer addresses of the voters.
    pub(super) fn voters(&self) -> Vec<(String, String)> {
        let setups = self.beds.iter().flatten().map(|bed| &bed.files).chain(self.files.iter().flatten()).map(|files| &files.setup);
        let book = setups.filter_map(|setup| setup.cluster.as_ref()).map(|clustering| &clustering.book).next().unwrap();
        book.iter().map(|entry| (entry.node.to_string(), entry.address.clone())).collect()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Bed> {
        self.beds.iter().flatten()
    }

    /// Waits until what is agreed is so, as every node that runs knows it.
    pub(super) async fn agrees(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let look = || async { self.running().map(|bed| bed.daemon.agreed()).collect::<Vec<_>>() };
        eventually(what, look, |states| states.iter().all(|state| holds(state))).await;
    }

    /// Waits until every node that runs gives these answers to a client of each region.
    async fn answer(&self, what: &str, wanted: [&str; 3]) {
        let look = || async {
            let mut given = Vec::new();
            for bed in self.running() {
                for client in ["198.18.3.0/24", "198.18.2.0/24", "198.18.1.0/24"] {
                    let reply = bed.ask(Question::a(API).subnet(client)).await;
                    given.push(reply.data.join(" "));
                }
            }
            given
        };
        eventually(what, look, |given| given.chunks(3).all(|of_one| of_one == wanted)).await;
    }
}

pub(super) fn drain(region: &str, request: &str) -> Entry {
    Entry {
        at: Timestamp(1_800_000_000_000),
        by: Actor { name: "sre@example.com".to_owned(), role: Role::Operator },
        request_id: Some(request.to_owned()),
        reason: "maintenance window".to_owned(),
        moves: Some(Share::NONE),
        overrules: Vec::new(),
        change: Change::PutOverride {
            id: None,
            kind: OverrideKind::Drain,
            scope: Scope::Region(region.into()),
            end: End::AfterMs(600_000),
        },
    }
}

pub(super) fn now(mut entry: Entry) -> Entry {
    entry.at = Timestamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    entry
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_given_anywhere_holds_everywhere_and_outlives_any_node() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::started(&plan, &[("use1-b", US)]).await;
    let [ap, eu, us] = [plan.v4(AP), plan.v4(EU), plan.v4(US)];
    fleet.answer("every node answers every client with its own region", [ap, eu, us]).await;

    // At an observer, which hands it to whoever leads.
    let outcome = fleet.beds[3].as_ref().unwrap().daemon.propose(now(drain(EU, "drain-1"))).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    fleet.agrees("the drain is agreed", |state| state.overrides().len() == 1).await;
    fleet.answer("clients of the drained region are elsewhere, whomever they ask", [ap, us, us]).await;

    for n in 0..VOTERS.len() {
        fleet.kill(n);
        let other = fleet.running().last().unwrap();
        let request = format!("drain-after-{n}");
        let outcome = other.daemon.propose(now(drain(AP, &request))).await.unwrap_or_else(|error| panic!("without voter {n}: {error:#}"));
        let Outcome::Accepted { object: Some(order) } = outcome else { panic!("{outcome}") };
        fleet.agrees("it holds at all that are left", |state| state.order(order.as_str()).is_some()).await;
        fleet.start(n).await;
        fleet
            .agrees("who comes back knows it, and the first one too", |state| {
                state.order(order.as_str()).is_some() && state.overrides().len() == n + 2
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_answers_go_on_and_commands_say_why_they_do_not() {
    let (plan, mut sites) = three_sites().await;
    let mut fleet = Fleet::started(&plan, &[("use1-b", US)]).await;
    let [ap, eu, us] = [plan.v4(AP), plan.v4(EU), plan.v4(US)];
    fleet.answer("all is well", [ap, eu, us]).await;
    fleet.kill(0);
    fleet.kill(1);
    let error = fleet.beds[2].as_ref().unwrap().daemon.propose(now(drain(EU, "drain-1"))).await.unwrap_err();
    assert!(error.to_string().contains("--local") || error.to_string().contains("same request id"), "{error}");
    fleet.answer("answers go on", [ap, eu, us]).await;
    let survivor = fleet.beds[2].as_ref().unwrap();
    eventually("the leader is missed", || survivor.status(), |status| status.notices.iter().any(|it| it.kind == "no_quorum")).await;
    let observer = fleet.beds[3].as_ref().unwrap();
    eventually("an observer misses it, too", || observer.status(), |status| status.notices.iter().any(|it| it.kind == "no_quorum")).await;
    // What stands beside it it sees by itself.
    sites.remove(2);
    drop(sites);
    fleet.start(0).await;
    fleet.agrees("a majority is back", |state| state.nodes().len() == 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_registered_as_a_voter_and_is_none_is_forgotten() {
    let (plan, _sites) = three_sites().await;
    let fleet = Fleet::started(&plan, &[]).await;
    // As when a leader replaces a voter, and fails before it has forgotten the old one.
    let known = fleet.beds[0].as_ref().unwrap().daemon.agreed().nodes().next().unwrap().node.clone();
    let ghost = Change::RecordNode(Node { id: NodeId(7), name: "ghost".into(), role: NodeRole::Voter, ..known });
    let record = Entry { request_id: None, change: ghost, ..drain(EU, "") };
    let outcome = fleet.beds[0].as_ref().unwrap().daemon.propose(now(record)).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    fleet.agrees("it is forgotten, and nobody else", |state| state.node(NodeId(7)).is_none() && state.nodes().len() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_nobody_that_votes_is_told_by_one_that_does_not() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::new(&plan, &[("use1-b", US), ("use1-c", US)]);
    let clustering = |fleet: &mut Fleet, n: usize| fleet.files[n].as_mut().unwrap().setup.cluster.as_mut().unwrap().clone();
    // As after all voters of its address book were replaced, one by one, while it was away.
    let address = clustering(&mut fleet, 3).listen.to_string();
    let mut late = clustering(&mut fleet, 4);
    late.book = vec![PeerEntry { node: "use1-b".into(), region: US.into(), address }];
    fleet.files[4].as_mut().unwrap().setup.cluster = Some(late);
    for n in 0..4 {
        fleet.start(n).await;
    }
    fleet.agrees("all but the late one are registered", |state| state.nodes().len() == 4 && state.plan().is_some()).await;
    fleet.start(4).await;
    fleet.agrees("it follows a voter", |state| state.nodes().len() == 5).await;
}

/// The order to drain a region, as a client sends it.
fn drain_order(region: &str, local: bool) -> proto::CreateOverrideRequest {
    let scope = proto::Scope { scope: Some(proto::scope::Scope::Region(region.to_owned())) };
    let lasts = proto::r#override::Expiration::Ttl(prost_types::Duration { seconds: 600, nanos: 0 });
    proto::CreateOverrideRequest {
        r#override: Some(proto::Override {
            scope: Some(scope),
            kind: proto::r#override::Kind::Drain.into(),
            expiration: Some(lasts),
            local,
            ..proto::Override::default()
        }),
        reason: "maintenance window".to_owned(),
        ..proto::CreateOverrideRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_order_holds_without_a_majority_and_is_agreed_when_there_is_one() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::started(&plan, &[]).await;
    let [ap, eu, us] = [plan.v4(AP), plan.v4(EU), plan.v4(US)];
    fleet.answer("all is well", [ap, eu, us]).await;
    fleet.kill(0);
    fleet.kill(1);
    let survivor = fleet.beds[2].as_ref().unwrap();
    let given = survivor.client().await.create_override(drain_order(EU, true)).await.unwrap();
    assert!(given.commit.is_some_and(|commit| commit.index.is_none()), "it is in no log");
    fleet.answer("the survivor obeys", [ap, us, us]).await;
    fleet.start(0).await;
    fleet.agrees("it is agreed when a majority is back", |state| state.overrides().len() == 1).await;
    fleet.answer("and holds everywhere", [ap, us, us]).await;
    let listed = fleet.beds[0].as_ref().unwrap().client().await.list_overrides(proto::ListOverridesRequest::default()).await.unwrap();
    assert_eq!(listed.overrides.len(), 1, "{listed:?}");
    assert!(!listed.overrides[0].local);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_leaves_too_few_regions_is_refused_and_says_how_to_overrule_it() {
    let (plan, mut sites) = three_sites().await;
    let mut plan = plan;
    plan.service.push_str(", min_healthy_regions: 2");
    let fleet = Fleet::started(&plan, &[]).await;
    let [ap, eu, us] = [plan.v4(AP), plan.v4(EU), plan.v4(US)];
    fleet.answer("all is well", [ap, eu, us]).await;
    sites.remove(0);
    fleet.answer("a region is lost", [ap, eu, eu]).await;
    let client = fleet.beds[0].as_ref().unwrap().client().await;
    let error = client.create_override(drain_order(EU, false)).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("min_healthy_regions is 2") && text.contains("--override min_healthy_regions"), "{text}");
    fleet.answer("nothing changed", [ap, eu, eu]).await;
    let mut overruling = drain_order(EU, false);
    overruling.overrules.push(proto::Overrule {
        rule: "min_healthy_regions".to_owned(),
        reason: "the region burns".to_owned(),
        expiration: None,
    });
    client.create_override(overruling).await.unwrap();
    fleet.answer("who overrules it is obeyed", [ap, ap, ap]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_disk_joins_as_new_and_takes_the_place_of_the_lost_voter_later() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::new(&plan, &[]);
    for files in fleet.files.iter_mut().flatten() {
        files.setup.cluster.as_mut().unwrap().replace_after = Duration::from_secs(3);
    }
    for n in 0..VOTERS.len() {
        fleet.start(n).await;
    }
    fleet.agrees("all are registered", |state| state.nodes().len() == 3).await;
    let before = fleet.beds[0].as_ref().unwrap().daemon.agreed().nodes().find(|it| it.node.name.as_str() == VOTERS[0].0).unwrap().node.id;
    fleet.kill(0);
    let data = fleet.files[0].as_ref().unwrap().setup.data_dir.clone().unwrap();
    std::fs::remove_dir_all(data).unwrap();
    fleet.start(0).await;
    fleet
        .agrees("the new disk votes in the place of the old one, under an id of its own", |state| {
            let mut named = state.nodes().filter(|it| it.node.name.as_str() == VOTERS[0].0);
            named.next().is_some_and(|it| it.node.id != before && it.node.role == NodeRole::Voter) && named.next().is_none()
        })
        .await;
    // It carries the majority alone with one other.
    fleet.kill(1);
    let outcome = fleet.beds[0].as_ref().unwrap().daemon.propose(now(drain(AP, "with-the-new-one"))).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_when_a_person_says_so_and_the_lost_stay_out() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::new(&plan, &[]);
    let socket = fleet.files[2].as_ref().unwrap().directory.path().join("portolan.sock");
    fleet.files[2].as_mut().unwrap().setup.listen.socket = Some(socket.clone());
    for n in 0..VOTERS.len() {
        fleet.start(n).await;
    }
    fleet.agrees("all are registered", |state| state.nodes().len() == 3 && state.plan().is_some()).await;
    let outcome = fleet.beds[0].as_ref().unwrap().daemon.propose(now(drain(EU, "before"))).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    fleet.agrees("it is agreed", |state| state.overrides().len() == 1).await;
    let cluster = fleet.beds[2].as_ref().unwrap().daemon.agreed().cluster().unwrap().to_string();
    let request = proto::ForceQuorumRequest {
        lost: vec![VOTERS[0].0.to_owned(), VOTERS[1].0.to_owned()],
        expected_generation: Some(0),
        cluster,
        validate_only: false,
        reason: "two regions burnt down".to_owned(),
    };
    let by_socket = Target { addresses: vec![format!("unix:{}", socket.display())], ..Target::default() };
    let client = Client::connect(&by_socket).await.unwrap();
    let error = client.force_quorum(request.clone()).await.unwrap_err();
    assert!(error.to_string().contains("leader") || error.to_string().contains("answers"), "while the others live: {error}");

    fleet.kill(0);
    fleet.kill(1);
    let survivor = fleet.beds[2].as_ref().unwrap();
    eventually("the leader is missed", || survivor.status(), |status| status.notices.iter().any(|it| it.kind == "no_quorum")).await;
    let done = client.force_quorum(request).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((done.generation, done.voters), (1, vec![VOTERS[2].0.to_owned()]));
    let outcome = survivor.daemon.propose(now(drain(AP, "after"))).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome}");
    fleet.agrees("nothing agreed before is lost", |state| state.overrides().len() == 2).await;

    // One of the lost comes back with its old disk: it is told why it is not taken, and elects nobody.
    fleet.start(0).await;
    let lost = fleet.beds[0].as_ref().unwrap();
    let error = lost.daemon.propose(now(drain(US, "from-the-lost"))).await.unwrap_err();
    assert!(!error.to_string().is_empty());
    let survivor = fleet.beds[2].as_ref().unwrap();
    assert_eq!(survivor.daemon.agreed().overrides().len(), 2, "the lost side changes nothing");
    assert_eq!(lost.daemon.agreed().generation(), 0);
}
