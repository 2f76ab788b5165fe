//! Orders of people: given, judged only, confirmed, refused, overruled, taken back.

use portolan::cli::Exit;

use super::{cluster::Node, portolan, vacant};
use crate::canned;

const DRAIN: [&str; 9] = ["drain", "region", "us-east-1", "--for", "1h", "--reason", "kernel update", "--request-id", "r-1"];

fn drain<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&DRAIN[..], more].concat()
}

/// Orders that the cluster agreed on.
fn orders(node: &Node) -> Vec<String> {
    node.cluster.state().overrides().iter().map(ToString::to_string).collect()
}

#[test]
fn a_drain_of_a_region_asks_for_its_name_and_does_nothing_where_nobody_answers() {
    let node = Node::start();
    assert_eq!(node.expect("drain-unconfirmed", &drain(&[])).exit, Exit::Usage);
    let ran = node.typing(&drain(&[]), "eu-west-1\n");
    assert_eq!(ran.exit, Exit::Error, "{}", ran.err);
    assert_eq!(node.typing(&drain(&[]), "").exit, Exit::Error, "the end of input is no confirmation");
    assert!(orders(&node).is_empty());
    let ran = node.typing(&drain(&[]), "us-east-1\n");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.err.contains("type us-east-1 to go on: "), "{}", ran.err);
    assert_eq!(orders(&node).len(), 1);
}

#[test]
fn a_drain_says_what_it_does_and_how_to_end_it() {
    let node = Node::start();
    assert_eq!(node.expect("drain", &drain(&["--yes"])).exit, Exit::Ok);
    assert_eq!(node.expect("drain-again", &drain(&["--yes"])).exit, Exit::Ok);
    assert_eq!(orders(&node).len(), 1, "the same request has its effect once");
    assert_eq!(node.expect("overrides", &["overrides"]).exit, Exit::Ok);
    assert_eq!(node.expect("undrain", &["undrain", "us-east-1", "--reason", "done", "--request-id", "r-2"]).exit, Exit::Ok);
    assert!(orders(&node).is_empty());
    let ran = node.expect("undrain-none", &["undrain", "us-east-1", "--reason", "done", "--request-id", "r-3"]);
    assert_eq!(ran.exit, Exit::Ok, "what was wanted is so");
}

#[test]
fn a_dry_run_changes_nothing_and_is_refused_where_the_real_one_would_be() {
    let node = Node::start();
    assert_eq!(node.expect("drain-dry", &drain(&["--dry-run"])).exit, Exit::Ok);
    let dry = node.cluster.drafts.lock().unwrap();
    assert!(!dry.is_empty() && dry.iter().all(|draft| draft.validate_only), "{dry:?}");
    drop(dry);
    assert!(orders(&node).is_empty());
    for verb in [
        &["freeze", "--for", "4h"][..],
        &["ack", "regions/us-east-1", "--for", "1h"],
        &["hold", "service", "api", "--for", "1h"],
        &["weight", "region", "us-east-1", "20", "--for", "1h"],
    ] {
        let ran = node.run(&[verb, &["--reason", "drill", "--dry-run"]].concat());
        assert!(ran.exit == Exit::Ok && ran.out.contains("nothing was changed"), "{verb:?}: {}{}", ran.out, ran.err);
    }
    assert!(node.cluster.drafts.lock().unwrap().iter().all(|draft| draft.validate_only));
    node.run(&drain(&["--yes"]));
    let second = ["drain", "region", "eu-west-1", "--for", "1h", "--reason", "too", "--request-id", "r-2"];
    let (dry, real) = (node.run(&[&second[..], &["--dry-run"]].concat()), node.run(&[&second[..], &["--yes"]].concat()));
    assert_eq!((dry.exit, real.exit), (Exit::Refused, Exit::Refused));
    assert_eq!(dry.err, real.err);
}

#[test]
fn a_refusal_names_rule_cause_remedy_and_the_way_around() {
    let node = Node::start();
    node.run(&drain(&["--yes"]));
    let second = ["drain", "region", "eu-west-1", "--for", "1h", "--reason", "fire", "--yes", "--request-id", "r-2"];
    assert_eq!(node.expect("drain-refused", &second).exit, Exit::Refused);
    let second = ["drain", "region", "eu-west-1", "--for", "1h", "--reason", "fire", "--yes"];
    let ran = node.run(&[&second[..], &["--override", "min_healthy_regions"]].concat());
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert_eq!(node.run(&[&second[..], &["--override", "gravity"]].concat()).exit, Exit::Usage);
}

#[test]
fn a_bare_name_is_enough_where_only_one_object_has_it() {
    let mut status = canned::ok();
    let mut twin = status.services[0].clone();
    twin.name = "eu-west-1".to_owned();
    status.services.push(twin);
    let node = Node::with(status);
    let ran = node.run(&["hold", "us-east-1", "--for", "1h", "--reason", "drill"]);
    assert!(ran.out.starts_with("hold region us-east-1 ["), "{}{}", ran.out, ran.err);
    let ran = node.run(&["hold", "api", "--for", "1h", "--reason", "drill"]);
    assert!(ran.out.starts_with("hold service api ["), "{}{}", ran.out, ran.err);
    let ambiguous = ["hold", "eu-west-1", "--for", "1h", "--reason", "drill"];
    assert_eq!(node.expect("hold-ambiguous", &ambiguous).exit, Exit::Usage);
    let ran = node.run(&["hold", "eu-west-9", "--for", "1h", "--reason", "drill"]);
    assert!(ran.exit == Exit::Error && ran.err.contains("no region, service or endpoint"), "{}", ran.err);
}

#[test]
fn each_kind_of_order_has_its_verb_and_its_end() {
    let node = Node::start();
    let give = |verb: &[&str]| {
        let ran = node.run(&[verb, &["--until", "2026-11-22T06:00:00Z", "--reason", "drill"]].concat());
        assert_eq!(ran.exit, Exit::Ok, "{verb:?}: {}", ran.err);
        ran.out
    };
    let given = [
        give(&["weight", "region", "us-east-1", "20"]),
        give(&["hold", "everything"]),
        give(&["maintenance", "service", "api", "in", "us-east-1", "--id", "patching"]),
        give(&["force-up", "api/us-east-1/192.0.2.10:80"]),
        give(&["force-down", "api/us-east-1"]),
        give(&["drain", "api/us-east-1"]),
    ];
    let end = "until 2026-11-22 06:00:00Z (2h56m left)";
    for (line, begin) in given.iter().zip([
        "weight 20 region us-east-1 [",
        "hold everything [",
        "maintenance service api in us-east-1 [patching] ",
        "forced up endpoint api/us-east-1/192.0.2.10:80 [",
        "forced down service api in us-east-1 [",
        "drain service api in us-east-1 [",
    ]) {
        assert!(line.starts_with(begin) && line.contains(end), "{line}");
    }
    let ran = node.expect("release-several", &["release", "api/us-east-1", "--reason", "done"]);
    assert_eq!(ran.exit, Exit::Usage, "two kinds are on it");
    assert_eq!(node.run(&["release", "patching", "--reason", "done"]).out, "taken back: maintenance service api in us-east-1 [patching]\n");
    let ran = node.run(&["release", "api/us-east-1", "--reason", "done"]);
    assert!(ran.out.starts_with("taken back: forced down service api in us-east-1 ["), "{}{}", ran.out, ran.err);
    let id = given[5].split(['[', ']']).nth(1).unwrap();
    let ran = node.run(&["release", id, "--reason", "done"]);
    assert!(ran.exit == Exit::Usage && ran.err.contains("portolan undrain"), "{}", ran.err);
    assert_eq!(node.run(&["undrain", id, "--reason", "done"]).exit, Exit::Ok);
}

#[test]
fn a_local_order_says_that_only_reachable_nodes_obey() {
    let node = Node::start();
    let ran = node.run(&["drain", "api/us-east-1", "--local", "--for", "30m", "--reason", "cut off"]);
    assert!(ran.exit == Exit::Ok && ran.out.contains("on reachable nodes only"), "{}{}", ran.out, ran.err);
    assert!(node.run(&["overrides"]).out.contains("drain (local)"));
    let ran = node.run(&["drain", "api/us-east-1", "--local", "--for", "2h", "--reason", "cut off"]);
    assert!(ran.exit == Exit::Usage && ran.err.contains("one hour"), "{}", ran.err);
}

#[test]
fn a_freeze_refuses_people_until_it_ends() {
    let node = Node::start();
    let freeze = ["freeze", "--for", "4h", "--reason", "quarter end", "--id", "q4", "--request-id", "r-1"];
    assert_eq!(node.expect("freeze", &freeze).exit, Exit::Ok);
    assert_eq!(node.expect("freezes", &["freezes"]).exit, Exit::Ok);
    assert_eq!(node.expect("drain-frozen", &drain(&["--yes"])[..]).exit, Exit::Refused);
    assert_eq!(node.expect("unfreeze", &["unfreeze", "q4", "--reason", "over", "--request-id", "r-2"]).exit, Exit::Ok);
    assert_eq!(node.run(&["freezes"]).out.lines().next(), Some("no freeze is in force"));
    assert_eq!(node.run(&["unfreeze", "q4", "--reason", "over"]).exit, Exit::Error);
    let ran = node.run(&["ack", "regions/us-east-1", "--for", "1h", "--reason", "on it"]);
    assert!(ran.out.starts_with("acknowledged: regions/us-east-1; pages about it come again after 2026-11-22 04:03:20Z"), "{}", ran.out);
}

#[test]
fn programs_read_what_the_api_answers() {
    let node = Node::start();
    let ran = node.run(&drain(&["--yes", "-o", "json"]));
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["version"], &value["override"]["kind"]), (&1.into(), &"KIND_DRAIN".into()), "{}", ran.out);
    assert_eq!(value["override"]["expire_time"], "2026-11-22T04:03:20Z");
    let json = node.run(&["overrides", "-o", "json"]).out;
    let yaml = node.run(&["overrides", "-o", "yaml"]).out;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(portolan::config::to_json(&yaml), Some(value), "{yaml}");
    assert!(yaml.starts_with("---\nversion: 1\n"), "{yaml}");
}

#[test]
fn an_outcome_that_is_not_known_says_how_to_ask_again() {
    let node = Node::start();
    // The client asks again by itself, within its bound.
    let fault = || (portolan::api::source::cluster::ClusterError::Unknown("the leader went away".to_owned()), false);
    *node.cluster.faults.lock().unwrap() = std::iter::repeat_with(fault).take(20).collect();
    let ran = node.run(&["hold", "service", "api", "--for", "1h", "--reason", "drill", "--request-id", "r-7"]);
    assert_eq!(ran.exit, Exit::RunningOn, "{}", ran.err);
    assert!(ran.err.contains("UNKNOWN_OUTCOME") && ran.err.contains("same request id"), "{}", ran.err);
}

#[test]
fn a_change_that_reaches_nobody_names_what_was_tried() {
    let address = vacant().to_string();
    let ran = portolan(&drain(&["--yes", "--address", &address]), &[], false);
    assert!(ran.exit == Exit::Unreachable && ran.err.contains(&address) && ran.err.contains("connection refused"), "{}", ran.err);
}
