//! The doctor: what daemons say, and what can be known before one runs; and what the command line makes of its own definition.

use std::net::{TcpListener, UdpSocket};

use portolan::cli::Exit;

use super::{Daemon, cluster::Node, expect, portolan, typing, vacant};
use crate::canned;

#[test]
fn a_cluster_is_looked_at_from_all_sides() {
    let node = Node::start();
    assert_eq!(node.expect("check", &["check"]).exit, Exit::Degraded, "a voter is silent, and a clock is behind");
    let ran = node.run(&["check", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let groups: Vec<&str> = value["findings"].as_array().unwrap().iter().map(|finding| finding["group"].as_str().unwrap()).collect();
    for group in ["connectivity", "cluster", "clocks", "plan", "health"] {
        assert!(groups.contains(&group), "{group}: {groups:?}");
    }
    assert_eq!(value["ok"], false);
    let signs = |lang: &str| {
        let env = [("PORTOLAN_ADDRESS", node.address.as_str()), ("LANG", lang)];
        typing(&["check", "--no-color"], &env, true, None).out
    };
    assert!(signs("en_US.UTF-8").contains("\u{221a} ") && signs("C").is_ascii());
}

#[test]
fn a_node_on_its_own_that_is_well_passes() {
    let daemon = Daemon::start(Ok(canned::ok()));
    assert_eq!(daemon.expect("check-alone", &["check"]).exit, Exit::Ok);
    let daemon = Daemon::start(Ok(canned::degraded()));
    assert_eq!(daemon.run(&["check"]).exit, Exit::Degraded);
}

#[test]
fn every_address_is_asked_and_one_that_is_silent_fails() {
    let daemon = Daemon::start(Ok(canned::ok()));
    let (good, bad) = (daemon.address.to_string(), vacant().to_string());
    let ran = portolan(&["check", "--address", &format!("{bad},{good}")], &[], false);
    assert_eq!(ran.exit, Exit::Degraded, "{}", ran.out);
    assert!(
        ran.out.contains(&format!("FAIL {bad}: connection refused")) && ran.out.contains(&format!("ok   {good} answers")),
        "{}",
        ran.out
    );
    let ran = portolan(&["check", "--address", &bad], &[], false);
    assert_eq!(ran.exit, Exit::Unreachable, "{}", ran.out);
}

/// A node config with everything that `--pre` looks at.
struct Config {
    folder: tempfile::TempDir,
    peer: TcpListener,
}

impl Config {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("pki").display().to_string();
        for arguments in [
            &["pki", "init", "--dir", &dir, "--cluster", "shop"][..],
            &["pki", "issue", "--dir", &dir, "node", "a", "--region", "us-east-1", "--host", "localhost"],
            &["pki", "issue", "--dir", &dir, "--days", "20", "node", "b", "--region", "us-east-1", "--host", "b.example.net"],
        ] {
            let ran = portolan(arguments, &[], false);
            assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
        }
        Self { folder, peer: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// Checks the config after a change of its text.
    fn check(&self, from: &str, to: &str) -> (Exit, String) {
        let folder = self.folder.path().display().to_string();
        let text = format!(
            "node: a\nregion: us-east-1\ndata_dir: {folder}\nplan: plan.yaml\nlisten: {{ dns: ['127.0.0.1:0'], control: '127.0.0.1:0', peer: \
             '127.0.0.1:0', http: '127.0.0.1:0' }}\npeers:\n  - {{ node: a, region: us-east-1, address: 'localhost:8444' }}\n  - {{ node: c, \
             region: eu-west-1, address: '{}' }}\ntls: {{ ca_file: {folder}/pki/ca.pem, cert_file: {folder}/pki/a.pem, key_file: \
             {folder}/pki/a.key }}\n",
            self.peer.local_addr().unwrap()
        );
        assert!(text.contains(from), "{from}");
        let file = self.folder.path().join("node.yaml");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let ran = portolan(&["check", "--pre", "--config", &file.display().to_string()], &[], false);
        (ran.exit, format!("{}{}", ran.out, ran.err).replace(&folder, "DIR"))
    }
}

#[test]
fn a_node_config_is_looked_at_before_the_daemon_runs() {
    let config = Config::new();
    let (exit, text) = config.check("node: a", "node: a");
    assert_eq!(exit, Exit::Ok, "{text}");
    for part in [
        "DIR/node.yaml: voter a in us-east-1",
        "data_dir DIR can be written",
        "DIR/pki/a.pem fits its key DIR/pki/a.key",
        "certificate spiffe://shop/node/a is valid until 2027-11-22T00:00:00Z",
        "the certificate holds localhost, by which peers reach this node",
        "listen.dns (UDP) 127.0.0.1:0 is free",
        "c in eu-west-1 is reached at ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (taken, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let control = format!("control: '{}'", taken.local_addr().unwrap());
    let dns = format!("dns: ['{}']", udp.local_addr().unwrap());
    for (from, to, exit, part) in [
        ("control: '127.0.0.1:0'", control.as_str(), Exit::Degraded, "something listens there already"),
        ("dns: ['127.0.0.1:0']", &dns, Exit::Degraded, "FAIL listen.dns (UDP)"),
        ("/pki/a.key", "/pki/b.key", Exit::Degraded, "FAIL use certificate"),
        ("/pki/a.pem", "/pki/none.pem", Exit::Degraded, "none.pem"),
        ("address: 'localhost:8444'", "address: 'a.example.net:8444'", Exit::Degraded, "does not hold a.example.net"),
        ("data_dir: ", "data_dir: /proc/none", Exit::Degraded, "FAIL data_dir /proc/none"),
        ("node: a\n", "node: a\nnoode: b\n", Exit::Usage, "noode"),
        ("region: us-east-1\ndata", "region: us-west-9\ndata", Exit::Usage, "us-west-9"),
    ] {
        let (ended, text) = config.check(from, to);
        assert!(ended == exit && text.contains(part), "{from} -> {to}: {text}");
    }
    let pair = |text: &str| text.replace("/pki/a.", "/pki/b.");
    let (exit, text) = config.check("pki/a.pem, key_file: ", &pair("pki/b.pem, key_file: "));
    assert!(exit == Exit::Degraded && text.contains("WARN certificate spiffe://shop/node/b expires in 19 days"), "{text}");
    let gone = vacant().to_string();
    let (exit, text) = config.check(&config.peer.local_addr().unwrap().to_string(), &gone);
    assert!(exit == Exit::Ok && text.contains(&format!("WARN c in eu-west-1 is not reached at {gone}")), "{text}");
}

#[test]
fn completions_and_man_pages_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = portolan(&["completion", shell], &[], false);
        assert!(ran.exit == Exit::Ok && ran.out.contains("force-quorum") && ran.out.contains("undrain"), "{shell}: {}", ran.err);
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man");
    assert_eq!(portolan(&["man", &dir.display().to_string()], &[], false).exit, Exit::Ok);
    for name in ["portolan.1", "portolan-drain.1", "portolan-peers-force-quorum.1", "portolan-pki-issue-node.1"] {
        let page = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(portolan(&["man", &folder.path().join("file").display().to_string()], &[], false).exit, Exit::Error);
}

#[test]
fn yaml_says_the_same_as_json() {
    let daemon = Daemon::start(Ok(canned::degraded()));
    for verb in [&["status"][..], &["why", "us-east-1"], &["dns", "query", "api.gslb.example.com"], &["version"], &["whoami"]] {
        let (json, yaml) = (daemon.run(&[verb, &["-o", "json"]].concat()), daemon.run(&[verb, &["-o", "yaml"]].concat()));
        let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(portolan::config::to_json(&yaml.out), Some(value), "{verb:?}: {}", yaml.out);
        assert_eq!(json.exit, yaml.exit);
    }
    expect("status-yaml", &["status", "-o", "yaml"], &daemon.run(&["status", "-o", "yaml"]), "");
}
