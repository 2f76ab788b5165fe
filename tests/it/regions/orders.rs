//! What people order in a world, by the program itself, and what was acknowledged to them.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

use super::{
    REGION_NAMES,
    process::PROGRAM,
    world::{ALL, NODES, World},
};
use crate::daemon::{eventually, within};

/// How long a verb of the command line may take: it gives up by itself before.
const VERB_TIME_MAX: Duration = Duration::from_secs(60);
/// How long it may take until a command is acknowledged, however bad the lines are: where three packets in ten are lost, connections break as often
/// as they carry something.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(180);
/// Exit codes of a verb that may be said again under its request id: nobody answered, or nobody knows.
const AGAIN: [i32; 2] = [6, 7];

/// What a verb of the command line gave.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl World {
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

    fn next_order(&mut self) -> String {
        self.n_orders += 1;
        format!("drill-{}", self.n_orders)
    }

    /// Gives a command at a node, again and again under one request id, until it is acknowledged. Its name and reason is `drill-N`.
    async fn acknowledged(&mut self, n: usize, words: &[&str]) -> String {
        let name = self.next_order();
        let arguments = [words, &["--request-id", &name, "--reason", &name, "--yes"]].concat();
        let what = format!("{} takes {arguments:?}", self.nodes[n].named.name);
        let (given, _) = within(ACKNOWLEDGED_MAX, &what, || self.run(n, &arguments), |ran| !AGAIN.contains(&ran.exit)).await;
        assert_eq!(given.exit, 0, "{what}: {given:?}");
        self.audited.push(name.clone());
        name
    }

    /// Gives an order that moves no traffic, and must never be lost.
    pub(super) async fn order(&mut self, n: usize) {
        let id = format!("drill-{}", self.n_orders + 1);
        let name = self.acknowledged(n, &["hold", "region", REGION_NAMES[0], "--for", "1h", "--id", &id]).await;
        self.acknowledged.push(name);
    }

    /// The same, given to whoever takes it, first of all this node.
    pub(super) async fn order_anywhere(&mut self, n: usize) {
        let addresses: Vec<String> =
            [n].into_iter().chain(ALL.into_iter().filter(|other| *other != n)).map(|n| self.nodes[n].control().to_string()).collect();
        let (name, addresses) = (self.next_order(), addresses.join(","));
        let order = ["hold", "region", REGION_NAMES[0], "--for", "1h", "--id", &name, "--request-id", &name, "--reason", &name, "--yes"];
        let arguments = [&order[..], &["--address", &addresses]].concat();
        let region = NODES[n].region;
        let given =
            eventually(&format!("somebody takes {name}"), || self.run_at(region, &arguments), |ran| !AGAIN.contains(&ran.exit)).await;
        assert_eq!(given.exit, 0, "{name}: {given:?}");
        self.audited.push(name.clone());
        self.acknowledged.push(name);
    }

    /// Puts a plan in force.
    pub(super) async fn apply_plan(&mut self, n: usize, text: &str) {
        let file = self.folder.path().join("plan-to-apply.yaml");
        std::fs::write(&file, text).unwrap();
        self.acknowledged(n, &["plan", "apply", &file.display().to_string(), "--expected-revision", "1"]).await;
    }

    /// Pushes the heartbeat `nightly` at a node.
    pub(super) async fn beat(&self, n: usize, ok: bool) {
        let words: &[&str] = if ok { &["heartbeat", "nightly"] } else { &["heartbeat", "nightly", "--failed"] };
        eventually("the heartbeat is taken", || self.run(n, words), |ran| ran.exit == 0).await;
    }

    /// Goes on without the voters named, on a survivor, as its operator does in front of it.
    pub(super) async fn force_quorum(&self, n: usize, lost: &str) -> Ran {
        let (cluster, socket) = (self.cluster(n).await.id, self.nodes[n].socket().display().to_string());
        let words = ["peers", "force-quorum", "--lost", lost, "--expected-generation", "0", "--cluster", &cluster];
        let terms = ["--reason", "two regions burnt down", "--yes", "--socket", &socket];
        self.run_at(NODES[n].region, &[&words[..], &terms[..]].concat()).await
    }

    /// Orders a region empty.
    pub(super) async fn drain(&mut self, n: usize, region: usize) {
        self.acknowledged(n, &["drain", "region", REGION_NAMES[region], "--for", "1h"]).await;
    }

    /// Takes that back.
    pub(super) async fn undrain(&mut self, n: usize, region: usize) {
        self.acknowledged(n, &["undrain", "region", REGION_NAMES[region]]).await;
    }

    /// Gives an order at a node that must not take it.
    async fn not_acknowledged(&mut self, n: usize) -> Ran {
        let name = self.next_order();
        let order = ["hold", "region", REGION_NAMES[0], "--for", "1h", "--request-id", &name, "--reason", &name, "--yes"];
        self.run(n, &order).await
    }

    /// A node without a majority behind it takes no order: it says so itself, before who asks gives up, and what to do.
    pub(super) async fn order_in_vain(&mut self, n: usize) {
        let given = self.not_acknowledged(n).await;
        assert!(AGAIN.contains(&given.exit) && !given.err.contains("no answer within 10s"), "{given:?}");
        assert!(given.err.contains("--local") || given.err.contains("request id"), "{given:?}");
    }

    /// Nor does one that a recovery generation has left behind.
    pub(super) async fn order_left_behind(&mut self, n: usize) {
        let given = self.not_acknowledged(n).await;
        assert!(given.exit != 0 && given.err.contains("left behind"), "{given:?}");
    }
}
