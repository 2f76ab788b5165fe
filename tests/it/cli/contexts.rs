//! Named places: chosen by flag, environment or file; and protected ones.

use portolan::cli::Exit;

use super::{Ran, cluster::Node, expect, portolan, typing, vacant};

/// A file of contexts in which `lab` and `prod` lead to the node, and `gone` to nothing.
struct File {
    node: Node,
    path: String,
    _vacant: String,
}

impl File {
    fn new() -> Self {
        let node = Node::start();
        let (path, vacant) = (node.path("contexts.yaml"), vacant().to_string());
        let one = |name: &str, address: &str, more: &str| format!("  {name}: {{ addresses: ['{address}']{more} }}\n");
        let contexts = [one("lab", &node.address, ""), one("prod", &node.address, ", protect: true"), one("gone", &vacant, "")].concat();
        std::fs::write(&path, format!("version: 1\ncontexts:\n{contexts}")).unwrap();
        Self { node, path, _vacant: vacant }
    }

    fn run(&self, arguments: &[&str], env: &[(&str, &str)], typed: Option<&str>) -> Ran {
        let env = [&[("PORTOLAN_CONTEXTS", self.path.as_str())], env].concat();
        typing(arguments, &env, false, typed)
    }
}

#[test]
fn a_context_is_chosen_by_flag_then_environment_then_file() {
    let file = File::new();
    let exit = |arguments: &[&str], env: &[(&str, &str)]| file.run(arguments, env, None).exit;
    assert_eq!(exit(&["status", "--context", "lab"], &[("PORTOLAN_CONTEXT", "gone")]), Exit::Ok);
    assert_eq!(exit(&["status"], &[("PORTOLAN_CONTEXT", "lab")]), Exit::Ok);
    assert_eq!(exit(&["status"], &[("PORTOLAN_CONTEXT", "gone")]), Exit::Unreachable);
    assert_eq!(exit(&["status", "--address", &file.node.address], &[("PORTOLAN_CONTEXT", "gone")]), Exit::Ok);
    assert_eq!(exit(&["context", "use", "gone"], &[]), Exit::Ok);
    assert_eq!(exit(&["status"], &[]), Exit::Unreachable);
    assert_eq!(exit(&["context", "use", "lab"], &[]), Exit::Ok);
    assert_eq!(exit(&["status"], &[]), Exit::Ok);
    // What is named on the command line counts, not what is in use.
    assert_eq!(exit(&["status", "--config", "n.yaml"], &[("TEST_CONTROL", &vacant().to_string())]), Exit::Unreachable);
    let ran = file.run(&["status", "--context", "mars"], &[], None);
    assert!(ran.exit == Exit::Usage && ran.err.contains("it has lab, prod, gone"), "{}", ran.err);
    assert_eq!(exit(&["context", "use", "mars"], &[]), Exit::Usage);
}

#[test]
fn contexts_are_listed_and_shown() {
    let file = File::new();
    assert_eq!(file.run(&["context", "use", "prod"], &[], None).exit, Exit::Ok);
    for (name, arguments) in [("context-list", &["context", "list"][..]), ("context-show", &["context", "show"])] {
        let ran = file.run(arguments, &[], None);
        let clean = |text: &str| text.replace(&file.node.address, "ADDRESS").replace(&file._vacant, "VACANT");
        expect(name, arguments, &Ran { exit: ran.exit, out: clean(&ran.out), err: clean(&ran.err) }, "");
    }
    let value: serde_json::Value = serde_json::from_str(&file.run(&["context", "list", "-o", "json"], &[], None).out).unwrap();
    assert_eq!((&value["contexts"][1]["current"], &value["contexts"][1]["protect"]), (&true.into(), &true.into()));
}

#[test]
fn a_protected_context_shows_itself_first_and_wants_a_confirmation_for_each_change() {
    let file = File::new();
    let hold = ["hold", "service", "api", "--for", "1h", "--reason", "drill", "--request-id", "r-1", "--context", "prod"];
    let ran = file.run(&hold, &[], None);
    assert_eq!(ran.exit, Exit::Usage, "nobody confirmed it");
    assert!(ran.err.starts_with("prod (protected)   you local (admin)   via "), "{}", ran.err);
    assert_eq!(file.run(&hold, &[], Some("yes\n")).exit, Exit::Error);
    assert!(file.node.cluster.state().overrides().is_empty());
    let ran = file.run(&hold, &[], Some("prod\n"));
    assert!(ran.exit == Exit::Ok && ran.err.contains("type prod to go on"), "{}", ran.err);
    // In one that is not, the same needs no confirmation, and a read never does.
    let hold = ["hold", "region", "us-east-1", "--for", "1h", "--reason", "drill", "--context", "lab"];
    assert_eq!(file.run(&hold, &[], None).exit, Exit::Ok);
    assert_eq!(file.run(&["overrides", "--context", "prod"], &[], None).exit, Exit::Ok);
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_line() {
    let file = File::new();
    std::fs::write(&file.path, "version: 1\ncontexts:\n  lab: { adresses: ['127.0.0.1:1'] }\n").unwrap();
    let ran = file.run(&["status", "--context", "lab"], &[], None);
    let place = format!("{}:3:10: error: contexts.lab.adresses", file.path);
    assert!(ran.exit == Exit::Usage && ran.err.contains(&place) && ran.err.contains("addresses"), "{}", ran.err);
    // A file that the environment names must be there; the usual one need not.
    let ran = portolan(&["status"], &[("PORTOLAN_CONTEXTS", "/no/such/file")], false);
    assert!(ran.exit == Exit::Usage && ran.err.contains("/no/such/file"), "{}", ran.err);
    let home = tempfile::tempdir().unwrap();
    let home = home.path().display().to_string();
    let ran = portolan(&["context", "list"], &[("HOME", &home), ("PORTOLAN_CONTEXTS", "")], false);
    assert!(ran.exit == Exit::Usage && ran.err.contains("contexts:\n"), "{}", ran.err);
}
