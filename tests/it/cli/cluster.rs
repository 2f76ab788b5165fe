//! A daemon with a cluster behind it, for the verbs that change what is agreed; and the verbs about the cluster itself.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use portolan::{
    api::{ApiOptions, ApiServer},
    cli::Exit,
};
use portolan_core::node::report::Status;

use super::{
    Ran,
    double::{self, Ideal},
    expect, portolan, running, typing,
};
use crate::canned::{self, Canned};

/// A node of a cluster, in a thread of its own.
pub(super) struct Node {
    pub(super) address: String,
    pub(super) socket: PathBuf,
    pub(super) cluster: Arc<Ideal>,
    pub(super) folder: tempfile::TempDir,
    server: Option<ApiServer>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(super) fn start() -> Self {
        Self::with(canned::ok())
    }

    pub(super) fn with(status: Status) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (cluster, folder) = (Ideal::founded(), tempfile::tempdir().unwrap());
        let socket = folder.path().join("portolan.sock");
        let options = ApiOptions { socket: Some(socket.clone()), ..ApiOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), None) };
        let server = runtime.block_on(ApiServer::start_with(options, Canned::new(Ok(status)), Arc::<Ideal>::clone(&cluster))).unwrap();
        Self { address: server.address().to_string(), socket, cluster, folder, server: Some(server), runtime }
    }

    /// Runs with nobody who could be asked.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        portolan(arguments, &[("PORTOLAN_ADDRESS", &self.address)], false)
    }

    /// Runs for a person who types this.
    pub(super) fn typing(&self, arguments: &[&str], typed: &str) -> Ran {
        typing(arguments, &[("PORTOLAN_ADDRESS", &self.address)], false, Some(typed))
    }

    pub(super) fn expect(&self, name: &str, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        expect(name, arguments, &ran, &self.address);
        ran
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

#[test]
fn peers_show_who_votes_and_who_is_silent() {
    let node = Node::start();
    assert_eq!(node.expect("peers", &["peers"]).exit, Exit::Ok);
    assert_eq!(node.expect("peers-wide", &["peers", "-o", "wide"]).exit, Exit::Ok);
    let ran = node.run(&["peers", "list", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["version"], &value["members"][0]["role"]), (&1.into(), &"ROLE_VOTER".into()), "{}", ran.out);
    for line in node.run(&["peers"]).out.lines() {
        assert!(line.len() <= 100 && line.is_ascii(), "{line:?}");
    }
}

#[test]
fn a_node_on_its_own_says_that_it_has_no_peers() {
    let daemon = super::Daemon::start(Ok(canned::ok()));
    let ran = daemon.expect("peers-alone", &["peers"]);
    assert_eq!(ran.exit, Exit::Refused);
}

#[test]
fn a_change_of_the_membership_is_confirmed_by_the_name_of_the_node() {
    let node = Node::start();
    assert_eq!(node.expect("peers-transfer", &["peers", "transfer", "use1-a", "--reason", "disk swap"]).exit, Exit::Ok);
    let bootstrap = ["peers", "bootstrap", "--reason", "quick start"];
    assert_eq!(node.expect("peers-bootstrap-dry", &[&bootstrap[..], &["--dry-run"]].concat()).exit, Exit::Ok);
    assert_eq!(node.expect("peers-bootstrap", &bootstrap).exit, Exit::Ok);
    let remove = ["peers", "remove", "aps1-a", "--reason", "region is given up"];
    assert_eq!(node.expect("peers-remove-unconfirmed", &remove).exit, Exit::Usage);
    assert_eq!(node.typing(&remove, "aps1-b\n").exit, Exit::Error);
    assert_eq!(node.cluster.orders.lock().unwrap().len(), 3, "only the transfer and the founding arrived");
    let ran = node.typing(&remove, "aps1-a\n");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "done: taking aps1-a out; voters now: use1-a, euw1-a, aps1-a\n"), "{}", ran.err);
    let refused = ["peers", "remove", "euw1-a", "--reason", "disk swap", "--yes"];
    assert_eq!(node.expect("peers-remove-refused", &refused).exit, Exit::Refused);
    let replace = ["peers", "replace", "aps1-a", "use1-a", "--reason", "new disk", "--dry-run"];
    assert!(node.run(&replace).out.starts_with("dry run: putting use1-a in the place of aps1-a would be accepted"));
    assert!(node.cluster.orders.lock().unwrap().last().unwrap().1.validate_only);
}

#[test]
fn force_quorum_needs_the_socket_and_the_id_of_the_cluster() {
    let node = Node::start();
    let arguments = [
        "peers",
        "force-quorum",
        "--lost",
        "euw1-a,aps1-a",
        "--reason",
        "both burnt",
        "--yes",
        "--cluster",
        "shop-1",
        "--expected-generation",
        "0",
    ];
    assert_eq!(node.expect("force-quorum-role", &arguments).exit, Exit::Refused);
    let socket = node.socket.display().to_string();
    let by_socket = |arguments: &[&str], typed| typing(&[arguments, &["--socket", &socket]].concat(), &[], false, typed);
    let ran = by_socket(&arguments[..6], None);
    assert_eq!(ran.exit, Exit::Usage, "nobody confirmed it: {}", ran.err);
    assert_eq!(by_socket(&arguments[..6], Some("shop\n")).exit, Exit::Error);
    let done = "done: going on without euw1-a, aps1-a as generation 1; voters now: use1-a, euw1-a, aps1-a\n";
    for ran in [by_socket(&arguments[..6], Some("shop-1\n")), by_socket(&arguments, None)] {
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, done), "{}", ran.err);
    }
}

#[test]
fn a_backup_is_whole_or_not_there_and_never_over_another() {
    let node = Node::start();
    let file = node.path("backup");
    let ran = node.run(&["cluster", "backup", &file, "-o", "json"]);
    let manifest: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let octets = std::fs::read(&file).unwrap();
    assert_eq!((ran.exit, manifest["octets"].as_u64(), &manifest["cluster"]), (Exit::Ok, Some(octets.len() as u64), &"shop-1".into()));
    let ran = node.run(&["cluster", "backup", &file]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("never written over"), "{}", ran.err);
    assert_eq!(std::fs::read(&file).unwrap(), octets);
    let ran = node.run(&["cluster", "backup", &node.path("no/such/folder")]);
    assert_eq!(ran.exit, Exit::Error, "{}", ran.err);
}

#[test]
fn audit_finds_one_changed_octet() {
    let node = Node::start();
    node.run(&["drain", "region", "us-east-1", "--for", "1h", "--reason", "kernel update", "--yes", "--request-id", "r-1"]);
    assert_eq!(node.expect("audit-list", &["audit", "list", "--limit", "2"]).exit, Exit::Ok);
    let ran = node.run(&["audit", "verify"]);
    assert!(ran.exit == Exit::Ok && ran.out.starts_with("intact: 6 links after entry 0\nhead 6:"), "{}{}", ran.out, ran.err);
    let head = ran.out.lines().find_map(|line| line.strip_prefix("head ")).unwrap();
    assert_eq!(node.run(&["audit", "verify", "--known", head]).exit, Exit::Ok);
    let other = head.replace("6:", "5:");
    assert_eq!(node.run(&["audit", "verify", "--known", &other]).exit, Exit::Error);

    let export = node.run(&["audit", "export"]);
    assert_eq!((export.exit, export.out.lines().count()), (Exit::Ok, 6), "{}", export.err);
    assert!(export.err.contains("--after 6"), "{}", export.err);
    let file = node.path("audit.jsonl");
    let verify = |text: &str| {
        std::fs::write(&file, text).unwrap();
        portolan(&["audit", "verify", "--file", &file], &[], false)
    };
    assert_eq!(verify(&export.out).exit, Exit::Ok);
    let ran = verify(&export.out.replace("kernel update", "kernel updaTe"));
    assert!(ran.exit == Exit::Error && ran.err.contains("line 6"), "{}", ran.err);
}

#[test]
fn a_plan_is_compared_judged_confirmed_and_applied() {
    let node = Node::start();
    let file = node.path("plan.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let next = double::PLAN.replace("revision: 1", "revision: 2").replace("weight: 60", "weight: 50");
    write(&next);
    let shown = |name: &str, arguments: &[&str]| {
        let ran = node.run(&arguments.iter().map(|word| if *word == "plan.yaml" { file.as_str() } else { word }).collect::<Vec<_>>());
        let clean = |text: &str| text.replace(&file, "plan.yaml");
        expect(name, arguments, &Ran { exit: ran.exit, out: clean(&ran.out), err: clean(&ran.err) }, &node.address);
        ran.exit
    };
    assert_eq!(shown("plan-diff", &["plan", "diff", "plan.yaml"]), Exit::Ok);
    assert_eq!(shown("plan-apply-dry", &["plan", "apply", "plan.yaml", "--dry-run"]), Exit::Ok);
    assert_eq!(node.run(&["plan", "apply", &file]).exit, Exit::Usage, "nobody is there to confirm it");
    let ran = node.typing(&["plan", "apply", &file, "--request-id", "r-1"], "1\n");
    assert!(ran.exit == Exit::Error && ran.err.contains("weight: 50"), "{}", ran.err);
    assert_eq!(node.cluster.state().plan().unwrap().plan.revision, 1);
    let ran = node.typing(&["plan", "apply", &file, "--request-id", "r-1", "--reason", "less"], "2\n");
    assert!(ran.exit == Exit::Ok && ran.out.starts_with("revision 2 ("), "{}{}", ran.out, ran.err);
    write(&next.replace("revision: 2", "revision: 3"));
    assert_eq!(
        shown("plan-apply-mismatch", &["plan", "apply", "plan.yaml", "--expected-revision", "1", "--yes", "--request-id", "r-3"]),
        Exit::Refused
    );
    write(&next.replace("weight: 50", "weight: -1"));
    assert_eq!(shown("plan-diff-bad", &["plan", "diff", "plan.yaml"]), Exit::Usage);
}

#[test]
fn zone_files_beside_the_plan_go_along() {
    let node = Node::start();
    let text = double::PLAN
        .replace("revision: 1", "revision: 2")
        .replace("    contact: hostmaster@example.com\n", "    contact: hostmaster@example.com\n    file: zones/more.zone\n");
    std::fs::create_dir(node.folder.path().join("zones")).unwrap();
    let file = node.path("plan.yaml");
    std::fs::write(&file, &text).unwrap();
    let ran = node.run(&["plan", "apply", &file, "--yes"]);
    assert!(ran.exit == Exit::Usage && ran.err.contains("zones/more.zone"), "{}", ran.err);
    std::fs::write(node.folder.path().join("zones/more.zone"), "www 60 IN A 192.0.2.1\n").unwrap();
    let ran = node.run(&["plan", "apply", &file, "--yes"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let state = node.cluster.state();
    assert_eq!(state.plan().unwrap().plan.zones.get("zones/more.zone").map(String::as_str), Some("www 60 IN A 192.0.2.1\n"));
}

#[test]
fn who_the_caller_is_and_what_that_allows() {
    let node = Node::start();
    assert_eq!(node.expect("whoami", &["whoami"]).exit, Exit::Ok);
    assert_eq!(node.expect("can-i", &["can-i", "CreateOverride"]).exit, Exit::Ok);
    assert_eq!(node.expect("can-i-no", &["can-i", "ForceQuorum"]).exit, Exit::Refused);
    assert_eq!(node.run(&["can-i", "Fly"]).exit, Exit::Usage);
}

#[test]
fn events_go_on_from_a_token() {
    let node = Node::start();
    let all = node.run(&["events"]);
    assert!(all.out.lines().count() >= 5 && all.out.lines().all(|line| line.starts_with("2026-11-22 03:03:20Z INFO")), "{}", all.out);
    let token = all.err.trim().rsplit(' ').next().unwrap().to_owned();
    node.cluster.tell("us-east-1 is gone");
    let ran = node.run(&["events", "--since", &token]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "2026-11-22 03:03:20Z INFO     us-east-1 is gone [entry]\n"), "{}", ran.err);
    let ran = node.run(&["events", "--since", "elsewhere.1.7"]);
    assert_ne!(ran.exit, Exit::Ok);
    assert!(ran.err.contains("TOKEN_OUT_OF_RANGE") || ran.err.contains("BAD_FIELD"), "{}", ran.err);
}

/// Lets something happen when a word is printed.
struct Hook<F>(Vec<u8>, F);

impl<F: FnMut(&str)> std::io::Write for Hook<F> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(octets);
        (self.1)(std::str::from_utf8(octets).unwrap());
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn followed_events_come_as_they_happen_until_the_daemon_stays_away() {
    let mut node = Node::start();
    let (stop, stopped) = mpsc::channel::<()>();
    let server = node.server.take().unwrap();
    let handle = node.runtime.handle().clone();
    let task = std::thread::spawn(move || {
        stopped.recv().unwrap();
        handle.block_on(server.shutdown());
    });
    node.cluster.tell("first");
    let cluster = Arc::clone(&node.cluster);
    let mut hook = Hook(Vec::new(), |text: &str| {
        if text.contains("first") {
            cluster.tell("second");
        } else if text.contains("second") {
            stop.send(()).unwrap();
        }
    });
    let (exit, err) = running(&["events", "-f", "--address", &node.address], &[], false, None, &mut hook);
    task.join().unwrap();
    assert_eq!(exit, Exit::Unreachable, "{err}");
    let out = String::from_utf8(hook.0).unwrap();
    assert_eq!(out.matches("second").count(), 1, "{out}");
    assert!(err.contains("connecting again") && err.contains("tried:"), "{err}");
}
