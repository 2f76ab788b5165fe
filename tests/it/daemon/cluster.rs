//! Several daemons: one truth, whoever is lost. All in this process, each with its own address, disk and plan file.

use portolan::daemon::{Clustering, PeerEntry};
use portolan_core::{
    cluster::{Actor, Change, End, Entry, NodeRole, Outcome, Role, State},
    health::overlay::{OverrideKind, Scope},
    model::{time::Timestamp, units::Share},
};

use super::{plan::*, *};

/// Elections are over within a second, and a busy machine still keeps up.
const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION: Duration = Duration::from_millis(1000);

/// Where a peer listener may stand: nobody else uses the address, so the port stays free until it is used.
fn address() -> SocketAddr {
    std::net::TcpListener::bind((site::own_address(), 0)).unwrap().local_addr().unwrap()
}

/// Daemons with one plan.
struct Fleet {
    beds: Vec<Option<Bed>>,
    /// Of those that do not run.
    files: Vec<Option<Files>>,
}

const VOTERS: [(&str, &str); 3] = [("aps1-a", AP), ("euw1-a", EU), ("use1-a", US)];

impl Fleet {
    fn new(plan: &Plan, observers: &[(&str, &str)]) -> Self {
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
                heartbeat: HEARTBEAT,
                election: ELECTION,
                plan_follow: false,
            });
            Some(files)
        });
        let files: Vec<_> = files.collect();
        Self { beds: files.iter().map(|_| None).collect(), files }
    }

    async fn start(&mut self, n: usize) {
        let files = self.files[n].take().unwrap();
        self.beds[n] = Some(files.start().await);
    }

    /// As a machine that loses power: nothing is said, nothing is written.
    fn kill(&mut self, n: usize) {
        let Bed { daemon, files } = self.beds[n].take().unwrap();
        drop(daemon);
        self.files[n] = Some(files);
    }

    async fn started(plan: &Plan, observers: &[(&str, &str)]) -> Self {
        let mut fleet = Self::new(plan, observers);
        for n in 0..fleet.files.len() {
            fleet.start(n).await;
        }
        fleet
            .agrees("all nodes are registered and the plan is agreed", |state| {
                state.nodes().len() == VOTERS.len() + observers.len() && state.plan().is_some()
            })
            .await;
        fleet
    }

    fn running(&self) -> impl Iterator<Item = &Bed> {
        self.beds.iter().flatten()
    }

    /// Waits until what is agreed is so, as every node that runs knows it.
    async fn agrees(&self, what: &str, holds: impl Fn(&State) -> bool) {
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

fn drain(region: &str, request: &str) -> Entry {
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

fn now(mut entry: Entry) -> Entry {
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
    let mut fleet = Fleet::started(&plan, &[]).await;
    let [ap, eu, us] = [plan.v4(AP), plan.v4(EU), plan.v4(US)];
    fleet.answer("all is well", [ap, eu, us]).await;
    fleet.kill(0);
    fleet.kill(1);
    let error = fleet.beds[2].as_ref().unwrap().daemon.propose(now(drain(EU, "drain-1"))).await.unwrap_err();
    assert!(error.to_string().contains("--local") || error.to_string().contains("same request id"), "{error}");
    fleet.answer("answers go on", [ap, eu, us]).await;
    let status = fleet.beds[2].as_ref().unwrap().status().await;
    assert!(status.notices.iter().any(|notice| notice.kind == "no_quorum"), "{:?}", status.notices);
    // What stands beside it it sees by itself.
    sites.remove(2);
    drop(sites);
    fleet.start(0).await;
    fleet.agrees("a majority is back", |state| state.nodes().len() == 3).await;
}
