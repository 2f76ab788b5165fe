//! `portolan drill`, over a cluster of one log: the leader's part is played by the test.

use std::time::Duration;

use portolan::cli::Exit;
use portolan_core::{
    cluster::Change,
    failover::{evidence::Evidence, order::Role, step::Step},
    recovery::{
        drill::{DrillStep, Figures, Outcome},
        observed::Notice,
    },
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
    let none = node.run(&["drill", "list"]);
    assert!(none.exit == Exit::Ok && none.out.starts_with("no drill was ever held"), "{}", none.out);
    let start = ["drill", "start", "orders", "--kind", "fence", "--region", "eu-west-1", "--reason", "quarterly"];
    let dry = node.run(&[&start[..], &["--dry-run"]].concat());
    assert!(dry.exit == Exit::Ok && dry.out.contains("would be accepted now"), "{}{}", dry.out, dry.err);
    assert!(group(&node).drills.is_empty());
    let primary = node.run(&["drill", "start", "orders", "--kind", "fence", "--region", "us-east-1", "--reason", "quarterly"]);
    assert!(primary.exit == Exit::Usage && primary.err.contains("--on-primary"), "{}", primary.err);
    let ran = node.run(&start);
    let id = group(&node).drills.open.unwrap().id;
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("drill fence of eu-west-1 by hook cut of orders [drill-{id}]\n")), "{}", ran.err);
    let again = node.run(&start);
    assert!(again.exit == Exit::Refused && again.err.contains("[DRILL_OPEN]"), "{}", again.err);
    leader(&node, DrillStep::Lift { region: "eu-west-1".into() });
    leader(&node, DrillStep::Lifted { region: "eu-west-1".into(), hook: "cut".to_owned() });
    let figures = Figures { stop: Some(Duration::from_millis(1500)), ..Figures::default() };
    let lines = vec!["the session that stood before was cut".to_owned(), "nobody got in for 10s".to_owned()];
    leader(&node, DrillStep::End { drill: id, outcome: Outcome::Passed, figures, lines });
    let shown = node.run(&["drill", "show", &format!("drill-{id}")]);
    let head = format!("drill-{id}: fence of eu-west-1 by hook cut of orders, passed\n");
    assert!(shown.exit == Exit::Ok && shown.out.starts_with(&head), "{}", shown.out);
    assert!(
        shown
            .out
            .ends_with(&format!("  the session that stood before was cut\n  nobody got in for 10s\nsee: portolan report drill-{id}\n")),
        "{}",
        shown.out
    );
    let name = format!("drill-{id}");
    assert_eq!(node.expect("report-drill", &["report", &name]).exit, Exit::Ok);
    assert!(node.run(&["report", &format!("drills/{name}"), "-o", "html"]).out.contains("<h2>What is to be done</h2>"));
    let json: serde_json::Value = serde_json::from_str(&node.run(&["report", &name, "-o", "json"]).out).unwrap();
    assert_eq!((&json["version"], &json["figures"]["stop_ms"], &json["outcome"]), (&1.into(), &1500.into(), &"passed".into()));
    assert_eq!(node.expect("report-drill-unknown", &["report", "drill-99"]).exit, Exit::Error);
    let every = ["drill", "schedule", "orders", "--kind", "dry_run", "--every", "1d", "--reason", "daily"];
    assert_eq!(node.run(&every).exit, Exit::Ok);
    assert_eq!(node.run(&["drill", "start", "orders", "--kind", "dry_run", "--reason", "let me see"]).exit, Exit::Ok);
    let open = group(&node).drills.open.unwrap().id;
    assert_eq!(node.run(&["drill", "cancel", &format!("drill-{open}"), "--reason", "seen enough"]).exit, Exit::Ok);
    let schedule = *group(&node).drills.schedules.keys().next().unwrap();
    let list = node.run(&["drill", "list", "orders"]);
    assert_eq!(list.exit, Exit::Ok);
    for text in [format!("drill-{id}"), format!("schedule-{schedule}"), "COUNTS UNTIL".to_owned(), "cancelled".to_owned()] {
        assert!(list.out.contains(&text) && list.out.is_ascii(), "{text} in {}", list.out);
    }
    assert_eq!(node.run(&["drill", "unschedule", &format!("schedule-{schedule}"), "--reason", "enough"]).exit, Exit::Ok);
    let unknown = node.run(&["drill", "show", "drill-999"]);
    assert!(unknown.exit == Exit::Error && unknown.err.contains("[UNKNOWN_DRILL]"), "{}", unknown.err);
    // Nobody knows here whether the group is ready.
    let moved = node.run(&["drill", "start", "orders", "--kind", "switchover", "--region", "eu-west-1", "--reason", "game day", "--yes"]);
    assert!(moved.exit != Exit::Ok && moved.err.contains("starting or stopping"), "{}", moved.err);
}

#[test]
fn what_automation_would_decide_is_noted_and_told() {
    let node = node();
    let start = ["drill", "start", "orders", "--reason", "test drive", "--kind", "observe_only"];
    assert_eq!(node.run(&start).exit, Exit::Usage, "for how long?");
    let dry = ["drill", "start", "orders", "--reason", "test drive", "--kind", "dry_run", "--for", "1h"];
    let refused = node.run(&dry);
    assert!(refused.exit == Exit::Usage && refused.err.contains("only an observation has a time"), "{}", refused.err);
    assert_eq!(node.run(&["hold", "group", "orders", "--for", "1h", "--reason", "upgrade"]).exit, Exit::Ok);
    let ran = node.run(&[&start[..], &["--for", "1h"]].concat());
    let id = group(&node).drills.open.unwrap().id;
    let told = format!("drill observe_only for 1h of orders [drill-{id}]\n");
    assert_eq!((ran.exit, ran.out), (Exit::Ok, told), "under a hold, too: {}", ran.err);
    let near = Notice::NearMiss { evidence: Evidence::Isolated, rounds: 3, lasted: Duration::from_secs(20) };
    leader(&node, DrillStep::Note { drill: id, notice: near });
    let shown = node.run(&["drill", "show", &format!("drill-{id}")]);
    assert!(shown.exit == Exit::Ok && shown.out.contains("near miss: 3 failed rounds, isolated"), "{}", shown.out);
    let open = node.run(&["report", &format!("drill-{id}")]);
    assert!(open.out.contains("near miss") && open.err.contains("the drill is still under way"), "{}{}", open.out, open.err);
}

#[test]
fn a_copy_of_a_standby_is_opened_apart_and_the_last_one_that_worked_is_known() {
    let node = node();
    let start = ["drill", "start", "orders", "--kind", "isolated", "--reason", "quarterly"];
    let late = node.run(&start);
    assert!(late.exit == Exit::Usage && late.err.contains("no standby follows the primary"), "{}", late.err);
    let step = Step::Followed { token: group(&node).token, region: "eu-west-1".into() };
    node.cluster.commit(Change::Group { group: orders(), step });
    let primary = node.run(&[&start[..], &["--region", "us-east-1"]].concat());
    assert!(primary.exit == Exit::Usage && primary.err.contains("open a copy of a standby"), "{}", primary.err);
    let backup = node.run(&[&start[..], &["--from-backup"]].concat());
    assert!(
        backup.exit == Exit::Usage && backup.err.contains("no place in `backups` of the group's data_class has `restore`"),
        "{}",
        backup.err
    );
    let ran = node.run(&start);
    let id = group(&node).drills.open.unwrap().id;
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("drill isolated of eu-west-1 of orders [drill-{id}]\n")), "{}", ran.err);
    let figures = Figures { recovery: Some(Duration::from_secs(40)), ..Figures::default() };
    leader(&node, DrillStep::End { drill: id, outcome: Outcome::Passed, figures, lines: vec!["the copy was promoted".to_owned()] });
    let verified = group(&node).drills.verified.unwrap();
    assert_eq!((verified.region.as_str(), verified.drill, verified.took), ("eu-west-1", id, figures.recovery));
    let shown = node.run(&["drill", "show", &format!("drill-{id}")]);
    let head = format!("drill-{id}: isolated of eu-west-1 of orders, passed\n");
    assert!(shown.exit == Exit::Ok && shown.out.starts_with(&head), "{}", shown.out);
}

#[test]
fn a_notification_is_drilled_only_where_something_tells_people() {
    let node = node();
    let start = ["drill", "start", "orders", "--kind", "notification", "--reason", "who hears us?", "--request-id", "notify-1"];
    assert_eq!(node.expect("drill-nothing-tells", &start).exit, Exit::Refused);
    assert!(group(&node).drills.is_empty());
}
