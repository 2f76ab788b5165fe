//! The command line, in process: arguments in, exit code and text out, compared with `tests/data/cli/*.txt`.
//!
//! `UPDATE_EXPECT=1 cargo test` writes the files anew; read the difference before it is committed.

mod changes;
mod checks;
mod cluster;
mod contexts;
mod drills;
mod operations;
mod pki;
mod recovery;

use crate::control::double;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use portolan::{
    api::ApiServer,
    cli::{Actions, Demo, Env, Exit, Failure, Format, Outcome, Person, Simulation, Terminal, run_for},
    client::Target,
};
use portolan_core::node::report::{ReportError, Status};

use crate::canned::{self, Canned};

/// Verbs that print what they were called with.
struct Echo;

impl Actions for Echo {
    fn control_target(&self, config: &Path, env: &Env) -> Result<Target, Failure> {
        match env.get("TEST_CONTROL") {
            Some(address) => Ok(Target { addresses: vec![address.clone()], tls: None, ca_file: None, token: None }),
            None => Err(Failure::new(Exit::Usage, format!("{}: line 3: no such key", config.display()))),
        }
    }

    fn serve(&self, config: &Path, _: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        writeln!(terminal.out, "serve {}", config.display())?;
        Ok(Exit::Ok)
    }

    fn plan_validate(&self, file: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        writeln!(terminal.out, "validate {} {format:?}", file.display())?;
        Ok(Exit::Usage)
    }

    fn simulate(&self, simulation: &Simulation, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        writeln!(terminal.out, "{simulation:?} {format:?}")?;
        Ok(Exit::Ok)
    }

    fn demo(&self, demo: &Demo, _: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        writeln!(terminal.out, "{demo:?}")?;
        Ok(Exit::Ok)
    }
}

pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn portolan(arguments: &[&str], env: &[(&str, &str)], interactive: bool) -> Ran {
    typing(arguments, env, interactive, None)
}

/// The same for a person who answers every question with `typed`; `None`: nobody is there.
fn typing(arguments: &[&str], env: &[(&str, &str)], interactive: bool, typed: Option<&str>) -> Ran {
    let mut out = Vec::new();
    let (exit, err) = running(arguments, env, interactive, typed, &mut out);
    Ran { exit, out: String::from_utf8(out).unwrap(), err }
}

/// The same with a stdout of the test's own.
fn running(
    arguments: &[&str],
    env: &[(&str, &str)],
    interactive: bool,
    typed: Option<&str>,
    out: &mut dyn std::io::Write,
) -> (Exit, String) {
    let arguments = std::iter::once("portolan").chain(arguments.iter().copied()).map(Into::into);
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut err = Vec::new();
    let mut terminal = Terminal { out, err: &mut err, interactive, colour: interactive };
    let mut typed = typed.map(str::as_bytes);
    let input = typed.as_mut().map(|typed| -> &mut dyn std::io::BufRead { typed });
    let exit = run_for(Person { input, clock: &|| canned::NOW }, arguments.collect::<Vec<_>>(), &env, &mut terminal, &Echo);
    (exit, String::from_utf8(err).unwrap())
}

/// Compares with the file, or writes it. `address` is replaced, since it changes with each run; empty: there is none.
fn expect(name: &str, arguments: &[&str], ran: &Ran, address: &str) {
    let text = format!("$ portolan {}\nexit {}\n", arguments.join(" "), ran.exit.code());
    let text = [("stdout", &ran.out), ("stderr", &ran.err)]
        .iter()
        .fold(text, |text, (stream, printed)| if printed.is_empty() { text } else { format!("{text}--- {stream}\n{printed}") });
    // The help pads empty lines.
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let text = if address.is_empty() { text } else { text.replace(address, "ADDRESS") };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli").join(format!("{name}.txt"));
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    if std::env::var("UPDATE_EXPECT").is_ok() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}; UPDATE_EXPECT=1 writes it anew", path.display());
}

/// A daemon in a thread of its own, as the commands under test bring their own runtime.
struct Daemon {
    address: SocketAddr,
    source: Arc<Canned>,
    runtime: tokio::runtime::Runtime,
    server: Option<ApiServer>,
}

impl Daemon {
    fn start(status: Result<Status, ReportError>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let source = Canned::new(status);
        let start = ApiServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), None, Arc::<Canned>::clone(&source));
        let server = runtime.block_on(start).unwrap();
        Self { address: server.address(), source, runtime, server: Some(server) }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        portolan(arguments, &[("PORTOLAN_ADDRESS", &self.address.to_string())], false)
    }

    fn expect(&self, name: &str, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        expect(name, arguments, &ran, &self.address.to_string());
        ran
    }
}

/// A port where nothing listens.
fn vacant() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

#[test]
fn status_says_how_it_stands_within_100_columns() {
    for (name, status, exit) in [
        ("status-ok", canned::ok(), Exit::Ok),
        ("status-starting", canned::starting(), Exit::Ok),
        ("status-degraded", canned::degraded(), Exit::Degraded),
        ("status-failing", canned::failing(), Exit::Degraded),
    ] {
        let daemon = Daemon::start(Ok(status));
        let ran = daemon.expect(name, &["status"]);
        assert_eq!(ran.exit, exit, "{name}");
        for line in ran.out.lines() {
            assert!(line.len() <= 100 && line.is_ascii() && !line.ends_with(' '), "{name}: {line:?}");
        }
    }
}

#[test]
fn wide_and_json_leave_nothing_out() {
    let daemon = Daemon::start(Ok(canned::degraded()));
    daemon.expect("status-wide", &["status", "-o", "wide"]);
    let ran = daemon.expect("status-json", &["status", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["version"], 1);
    let mut wanted = serde_json::to_value(canned::degraded()).unwrap();
    wanted["version"] = 1.into();
    assert_eq!(value, wanted);
    assert_eq!(value["at"], "2026-11-22T03:03:20Z", "times as all verbs print them");
}

#[test]
fn reasons_are_printed_as_trees() {
    let daemon = Daemon::start(Ok(canned::degraded()));
    assert_eq!(daemon.expect("why", &["why", "us-east-1"]).exit, Exit::Ok);
    assert_eq!(daemon.expect("why-kind", &["why", "region", "us-east-1", "-o", "json"]).exit, Exit::Ok);
    assert_eq!(daemon.expect("why-at", &["why", "us-east-1", "--at", "2026-11-22T03:02:00Z"]).exit, Exit::Ok);
    assert_eq!(daemon.expect("why-at-json", &["why", "us-east-1", "--at", "2026-11-22T03:02:00Z", "-o", "json"]).exit, Exit::Ok);
    assert_eq!(daemon.expect("why-at-early", &["why", "us-east-1", "--at", "2026-11-01T00:00:00Z"]).exit, Exit::Error);
    assert_eq!(daemon.expect("why-at-unread", &["why", "us-east-1", "--at", "yesterday"]).exit, Exit::Usage);
    let past = ["dns", "query", "api.gslb.example.com", "--client", "203.0.113.9", "--at", "2026-11-22T03:02:00Z"];
    assert_eq!(daemon.expect("dns-query-at", &past).exit, Exit::Ok);
    assert_eq!(daemon.expect("why-unknown", &["why", "us-est-1"]).exit, Exit::Error);
    assert_eq!(daemon.expect("dns-query", &["dns", "query", "api.gslb.example.com", "--client", "203.0.113.9"]).exit, Exit::Ok);
    let arguments = ["dns", "query", "api.gslb.example.com", "--type", "AAAA", "--resolver", "192.0.2.53", "-o", "json"];
    assert_eq!(daemon.expect("dns-query-json", &arguments).exit, Exit::Ok);
    assert_eq!(daemon.expect("dns-query-outside", &["dns", "query", "example.net"]).exit, Exit::Ok);
    assert_eq!(daemon.expect("dns-query-not-ready", &["dns", "query", "later.example.org"]).exit, Exit::Unreachable);
}

#[test]
fn heartbeats_are_silent_when_taken() {
    let daemon = Daemon::start(Ok(canned::ok()));
    let ran = daemon.run(&["heartbeat", "nightly", "--failed", "--note", "disk full"]);
    assert_eq!((ran.exit, ran.out.as_str(), ran.err.as_str()), (Exit::Ok, "", ""));
    assert!(!daemon.source.beats.lock().unwrap()[0].ok);
    assert_eq!(daemon.expect("heartbeat-unknown", &["heartbeat", "weekly"]).exit, Exit::Error);
}

#[test]
fn an_unreachable_daemon_is_named_with_its_cause() {
    let address = vacant().to_string();
    let arguments = ["status", "--address", "ADDRESS,ADDRESS"];
    let ran = portolan(&["status", "--address", &format!("{address},{address}")], &[], false);
    assert_eq!(ran.exit, Exit::Unreachable);
    expect("unreachable", &arguments, &ran, &address);
    let ran = portolan(&["why", "x", "--address", "192.0.2.1:8443"], &[], false);
    expect("plaintext-refused", &["why", "x", "--address", "192.0.2.1:8443"], &ran, &address);
    assert_eq!(ran.exit, Exit::Usage);
}

#[test]
fn the_address_comes_from_the_flag_then_the_environment_then_the_config() {
    let daemon = Daemon::start(Ok(canned::ok()));
    let (good, bad) = (daemon.address.to_string(), vacant().to_string());
    let exit = |arguments: &[&str], env: &[(&str, &str)]| portolan(arguments, env, false).exit;
    assert_eq!(exit(&["status", "--address", &good], &[("PORTOLAN_ADDRESS", &bad)]), Exit::Ok);
    assert_eq!(exit(&["status", "--config", "n.yaml"], &[("PORTOLAN_ADDRESS", &good), ("TEST_CONTROL", &bad)]), Exit::Ok);
    assert_eq!(exit(&["status", "--config", "n.yaml"], &[("TEST_CONTROL", &good)]), Exit::Ok);
    assert_eq!(exit(&["status"], &[("PORTOLAN_CONFIG", "n.yaml"), ("TEST_CONTROL", &good)]), Exit::Ok);
    // A config that is named must be sound, even where the address is known: it also says how to encrypt.
    let ran = portolan(&["status", "--config", "n.yaml", "--address", &good], &[], false);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Usage, "portolan: n.yaml: line 3: no such key\n"));
}

#[test]
fn usage_errors_exit_64_and_help_0() {
    for (arguments, exit) in [
        (&[][..], Exit::Usage),
        (&["no-such-verb"], Exit::Usage),
        (&["status", "--no-such-flag"], Exit::Usage),
        (&["status", "-o", "xml"], Exit::Usage),
        (&["why"], Exit::Usage),
        (&["dns", "query", "a..b"], Exit::Usage),
        (&["dns", "query", "a", "--type", "BOGUS"], Exit::Usage),
        (&["dns", "query", "a", "--client", "1.2.3"], Exit::Usage),
        (&["simulate", "--plan", "p.yaml"], Exit::Usage),
        (&["demo", "--regions", "9"], Exit::Usage),
        (&["serve"], Exit::Usage),
        (&["status", "--address", "host:port"], Exit::Usage),
        (&["status", "--socket", "/s", "--address", "a"], Exit::Usage),
        (&["status", "--context", "a", "--config", "b"], Exit::Usage),
        (&["drain"], Exit::Usage),
        (&["drain", "region", "us-east-1", "--for", "1h"], Exit::Usage),
        (&["drain", "region", "us-east-1", "--reason", "x"], Exit::Usage),
        (&["drain", "region", "us-east-1", "--reason", "x", "--for", "1h", "--until", "06:00Z"], Exit::Usage),
        (&["drain", "region", "us-east-1", "--reason", "x", "--for", "1"], Exit::Usage),
        (&["drain", "region", "a", "b", "--reason", "x", "--for", "1h"], Exit::Usage),
        (&["drain", "region", "a", "--reason", "x", "--for", "1h", "--replace"], Exit::Usage),
        (&["weight", "region", "us-east-1", "70000", "--reason", "x", "--for", "1h"], Exit::Usage),
        (&["weight", "20", "--reason", "x", "--for", "1h"], Exit::Usage),
        (&["freeze", "--reason", "x"], Exit::Usage),
        (&["peers", "force-quorum", "--reason", "x"], Exit::Usage),
        (&["peers", "force-quorum", "--lost", "a", "--reason", "x", "--yes"], Exit::Usage),
        (&["audit", "verify", "--known", "17"], Exit::Usage),
        (&["audit", "list", "--limit", "0"], Exit::Usage),
        (&["can-i"], Exit::Usage),
        (&["completion", "tcsh"], Exit::Usage),
        (&["pki", "init", "--dir", "d", "--cluster", "a b"], Exit::Usage),
        (&["pki", "issue", "--dir", "d", "--days", "9000", "client", "ana", "--role", "viewer"], Exit::Usage),
        (&["pki", "issue", "--dir", "d", "client", "ana", "--role", "king"], Exit::Usage),
        (&["check", "--pre"], Exit::Usage),
        (&["--help"], Exit::Ok),
        (&["help", "status"], Exit::Ok),
        (&["dns", "query", "--help"], Exit::Ok),
        (&["drain", "--help"], Exit::Ok),
        (&["--version"], Exit::Ok),
        (&["version"], Exit::Ok),
    ] {
        let ran = portolan(arguments, &[], false);
        assert_eq!(ran.exit, exit, "{arguments:?}: {}", ran.err);
        let (said, silent) = if exit == Exit::Ok { (&ran.out, &ran.err) } else { (&ran.err, &ran.out) };
        assert!(!said.is_empty() && silent.is_empty(), "{arguments:?}");
    }
    let ran = portolan(&["--help"], &[], false);
    expect("help", &["--help"], &ran, "");
    expect("help-drain", &["drain", "-h"], &portolan(&["drain", "-h"], &[], false), "");
    assert_eq!(
        portolan(&["version", "-o", "json"], &[], false).out,
        concat!("{\"version\":1,\"release\":\"", env!("CARGO_PKG_VERSION"), "\"}\n")
    );
}

#[test]
fn offline_verbs_get_their_arguments() {
    for (name, arguments) in [
        ("serve", &["serve", "--config", "node.yaml"][..]),
        ("plan-validate", &["plan", "validate", "plan.yaml", "-o", "json"]),
        ("plan-show", &["plan", "show", "plan.yaml"]),
        ("simulate", &["simulate", "--plan", "plan.yaml", "--fail", "us-east-1", "eu-west-1", "--rps", "9000", "--clients", "c.txt"]),
        ("demo", &["demo", "--scenario", "region-loss", "--yes"]),
    ] {
        let ran = portolan(arguments, &[], false);
        expect(name, arguments, &ran, "");
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let daemon = Daemon::start(Ok(canned::degraded()));
    let address = daemon.address.to_string();
    let coloured = |arguments: &[&str], env: &[(&str, &str)], interactive| {
        let arguments = [arguments, &["--address", &address]].concat();
        portolan(&arguments, env, interactive).out.contains('\u{1b}')
    };
    assert!(coloured(&["status"], &[], true));
    assert!(!coloured(&["status"], &[], false));
    assert!(!coloured(&["status", "--no-color"], &[], true));
    assert!(!coloured(&["status"], &[("NO_COLOR", "1")], true));
    assert!(coloured(&["status"], &[("NO_COLOR", "")], true));
    let plain = portolan(&["status", "--address", &address], &[], false).out;
    let painted = portolan(&["status", "--address", &address], &[], true).out;
    let codes = ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[1;31m", "\u{1b}[0m"];
    assert_eq!(codes.iter().fold(painted, |text, code| text.replace(code, "")), plain);
}

/// Watches until the daemon has stopped after one change; returns what was printed.
fn watched(interactive: bool) -> Ran {
    let mut daemon = Daemon::start(Ok(canned::degraded()));
    let server = daemon.server.take().unwrap();
    let source = Arc::clone(&daemon.source);
    daemon.runtime.spawn(async move {
        let mut asked = source.asked.subscribe();
        asked.wait_for(|asked| *asked == 1).await.unwrap();
        source.advance();
        asked.wait_for(|asked| *asked == 2).await.unwrap();
        server.shutdown().await;
    });
    portolan(&["status", "--watch", "--address", &daemon.address.to_string()], &[], interactive)
}

#[test]
fn watch_appends_a_line_per_change_and_ends_when_the_daemon_stays_away() {
    let ran = watched(false);
    assert_eq!(ran.exit, Exit::Unreachable);
    let generations: Vec<_> = ran.out.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(generations, ["8812", "8813"], "{}", ran.out);
    let drained = "ap-southeast-1 UP 2/2 (drained by ana until 2026-11-22T04:00:00Z: kernel upgrade)";
    assert!(ran.out.contains("DEGRADED  us-east-1 DOWN 0/2  eu-west-1 UP 2/2  ") && ran.out.contains(drained), "{}", ran.out);
    assert!(ran.err.contains("trying again") && ran.err.contains("tried:"), "{}", ran.err);
}

#[test]
fn watch_redraws_a_terminal() {
    let ran = watched(true);
    let pictures: Vec<_> = ran.out.split("\u{1b}[H\u{1b}[2J").collect();
    assert_eq!(pictures.len(), 3, "nothing before the first, then two: {}", ran.out);
    assert!(pictures[0].is_empty() && pictures[1].contains("table gen 8812") && pictures[2].contains("table gen 8813"));
}
