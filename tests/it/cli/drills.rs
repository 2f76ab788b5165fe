//! `portolan drill`, over a cluster of one log: the leader's part is played by the test.

use portolan::cli::Exit;
use portolan_core::{
    cluster::Change,
    failover::{order::Role, step::Step},
    recovery::drill::{DrillStep, Figures, Outcome},
};

use super::{
    cluster::Node,
    double,
    recovery::{GROUPS, group, orders, says},
};

fn node() -> Node {
    let node = Node::start();
    let groups = GROUPS.replace("{ agent: stop }, ", "{ agent: stop }, { hook: cut, unfence: uncut, confirms: true }, ");
    node.cluster.put(&format!("{}{groups}", double::PLAN.replace("revision: 1", "revision: 2")));
    says(&node, "us-east-1", Role::Writes, None);
    says(&node, "eu-west-1", Role::Standby, None);
    assert_eq!(node.run(&["adopt", "orders", "--primary", "us-east-1", "--reason", "first", "--yes"]).exit, Exit::Ok);
    node
}

/// The leader puts something on record.
fn leader(node: &Node, act: DrillStep) {
    let step = Step::Drill { token: group(node).token, act: Box::new(act) };
    node.cluster.commit(Change::Group { group: orders(), step });
}

#[test]
fn a_drill_is_started_shown_and_proves_a_rung() {
    let node = node();
    assert_eq!(node.expect("drill-list-none", &["drill", "list"]).exit, Exit::Ok);
    let start = ["drill", "start", "orders", "--kind", "fence", "--region", "eu-west-1", "--reason", "quarterly"];
    assert_eq!(node.expect("drill-start-dry", &[&start[..], &["--dry-run"]].concat()).exit, Exit::Ok);
    assert!(group(&node).drills.is_empty());
    let primary = ["drill", "start", "orders", "--kind", "fence", "--region", "us-east-1", "--reason", "quarterly"];
    assert_eq!(node.expect("drill-primary", &[&primary[..], &["--request-id", "drill-1"]].concat()).exit, Exit::Usage);
    let ran = node.run(&start);
    let id = group(&node).drills.open.unwrap().id;
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("drill fence of eu-west-1 of orders [drill-{id}]\n")), "{}", ran.err);
    assert_eq!(node.expect("drill-again", &[&start[..], &["--request-id", "drill-2"]].concat()).exit, Exit::Refused);
    leader(&node, DrillStep::Lift { region: "eu-west-1".into() });
    leader(&node, DrillStep::Lifted { region: "eu-west-1".into(), hook: "cut".to_owned() });
    let figures = Figures { stop: Some(std::time::Duration::from_millis(1500)), ..Figures::default() };
    let lines = vec!["the session that stood before was cut".to_owned(), "nobody got in for 10s".to_owned()];
    leader(&node, DrillStep::End { drill: id, outcome: Outcome::Passed, figures, lines });
    assert_eq!(node.expect("drill-show", &["drill", "show", &format!("drill-{id}")]).exit, Exit::Ok);
    let every = ["drill", "schedule", "orders", "--kind", "dry_run", "--every", "1d", "--reason", "daily", "--request-id", "drill-3"];
    assert_eq!(node.run(&every).exit, Exit::Ok);
    let cancelled = node.run(&["drill", "start", "orders", "--kind", "dry_run", "--reason", "let me see"]);
    assert_eq!(cancelled.exit, Exit::Ok, "{}", cancelled.err);
    let open = group(&node).drills.open.unwrap().id;
    assert_eq!(node.run(&["drill", "cancel", &format!("drill-{open}"), "--reason", "seen enough"]).exit, Exit::Ok);
    assert_eq!(node.expect("drill-list", &["drill", "list", "orders"]).exit, Exit::Ok);
    let schedule = *group(&node).drills.schedules.keys().next().unwrap();
    assert_eq!(node.run(&["drill", "unschedule", &format!("schedule-{schedule}"), "--reason", "enough"]).exit, Exit::Ok);
    assert_eq!(node.expect("drill-unknown", &["drill", "show", "drill-999"]).exit, Exit::Error);
}
