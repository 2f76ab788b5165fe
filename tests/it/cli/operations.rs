//! The verbs about operations: people's buttons, rehearsals, watching and reports, over a cluster of one log.

use std::time::Duration;

use portolan::{api::source::cluster::Figures, cli::Exit};
use portolan_core::{
    cluster::Change,
    failover::{
        choose::{Choice, Sealed},
        group::{Ending, HeldFor, Kind, Phase},
        lease::Class,
        order::Role,
        step::{Decide, Proof, Step},
        token::Token,
    },
    recovery::exposure::Bracket,
};

use super::{
    cluster::Node,
    recovery::{group, node, orders, says},
};

const ARMED: Class = Class::Armed { supervisor: 1 };

/// A node of a cluster whose group has a primary in us-east-1.
fn adopted() -> Node {
    let node = node();
    says(&node, "us-east-1", Role::Writes, None);
    says(&node, "eu-west-1", Role::Standby, None);
    assert_eq!(node.run(&["adopt", "orders", "--primary", "us-east-1", "--reason", "first", "--yes"]).exit, Exit::Ok);
    node
}

fn commit(node: &Node, make: impl FnOnce(Token) -> Step) {
    let step = make(group(node).token);
    node.cluster.commit(Change::Group { group: orders(), step });
}

fn hold(node: &Node, reason: HeldFor, text: &str) {
    commit(node, |token| Step::Hold { token, reason, text: text.to_owned() });
}

fn between(low: u64, high: u64) -> Bracket {
    Bracket { low: Duration::from_secs(low), high: Some(Duration::from_secs(high)) }
}

/// What the cluster decides, with what wants a person to approve it.
fn propose(node: &Node, guards: &[&str]) {
    commit(node, |token| {
        Step::Decide(Box::new(Decide {
            token,
            kind: Kind::Failover,
            from: "us-east-1".into(),
            to: None,
            plan_revision: 2,
            estimate: between(0, 1),
            allowed_loss: Some(Duration::from_secs(1)),
            grounds: None,
            drill: None,
            setback: None,
            guards: guards.iter().map(|guard| (*guard).to_owned()).collect(),
        }))
    });
}

/// From the decision to a candidate that is chosen.
fn go_on_until_chosen(node: &Node, loss: Bracket) {
    commit(node, |token| Step::Fenced { token, proof: Proof::Confirmed { by: "agent".to_owned() } });
    let copy = Sealed { region: "eu-west-1".into(), system: 7, timeline: 1, position: 10, replayed: 10, priority: Some(1) };
    commit(node, |token| Step::Sealed { token, copy });
    let choice = Choice { region: "eu-west-1".into(), position: 10, fetch_from: None, is_below_floor: false };
    commit(node, |token| Step::Choose { token, choice, loss });
}

fn go_on_until_promoted(node: &Node) {
    commit(node, |token| Step::Promote { token, class: ARMED });
    commit(node, |token| Step::Promoted { token, timeline: 2, at: 10 });
}

fn finish(node: &Node) {
    commit(node, |token| Step::Routed { token });
    commit(node, |token| Step::Close { token, ending: Ending::Succeeded });
}

fn open(node: &Node) -> String {
    format!("op-{}", group(node).operation.unwrap().id)
}

/// The kind of the change that was sent last, to be carried out.
fn kind_sent(node: &Node) -> u32 {
    node.cluster.drafts.lock().unwrap().iter().rev().find(|draft| !draft.validate_only).unwrap().change.kind()
}

#[test]
fn a_proposed_operation_is_rejected_and_the_group_rests_until_somebody_ends_that() {
    let node = adopted();
    propose(&node, &["two regions fail at once"]);
    let token = group(&node).token;
    assert_eq!(node.expect("recovery-proposed", &["recovery", "status"]).exit, Exit::Degraded);
    let reject = ["reject", &open(&node), "--reason", "it was the switch"];
    assert_eq!(node.expect("reject-dry", &[&reject[..], &["--dry-run"]].concat()).exit, Exit::Ok);
    assert_eq!(node.expect("reject", &[&reject[..], &["--request-id", "reject-1"]].concat()).exit, Exit::Ok);
    let ended = group(&node).latest.unwrap();
    assert_eq!((kind_sent(&node), ended.ending, group(&node).token), (121, Ending::Rejected, token), "nothing was revoked");
    assert_eq!(node.run(&[&reject[..], &["--yes"]].concat()).exit, Exit::Error, "it is over");
    let release = ["release", "orders", "--cool-down", "--reason", "the switch is replaced"];
    assert!(group(&node).cool_down.is_some());
    assert_eq!(node.expect("release-cool-down", &[&release[..], &["--request-id", "release-1"]].concat()).exit, Exit::Ok);
    assert_eq!((kind_sent(&node), group(&node).cool_down), (120, None));
    assert_eq!(node.run(&["release", "region", "us-east-1", "--cool-down", "--reason", "x"]).exit, Exit::Usage);
}

#[test]
fn a_switchover_that_is_not_answered_turns_into_a_failover() {
    let node = adopted();
    let switch = ["switchover", "orders", "--to", "eu-west-1", "--reason", "kernel update", "--yes"];
    assert_eq!(node.run(&switch).exit, Exit::Ok);
    let id = open(&node);
    let turn = ["turn", &id, "--reason", "the region is dark", "--yes", "--request-id", "turn-1"];
    assert_eq!(node.expect("turn-early", &turn).exit, Exit::Refused, "it still may answer");
    hold(&node, HeldFor::SwitchoverUnanswered, "us-east-1 does not say where it stopped");
    assert_eq!(
        node.run(&["recovery", "status"]).out.lines().last().unwrap(),
        format!("next: portolan turn {id} --reason TEXT, or portolan cancel {id} --reason TEXT (us-east-1 gets its lease back)")
    );
    assert_eq!(node.typing(&["turn", &id, "--reason", "dark"], "orders\n").exit, Exit::Error, "the operation is typed");
    assert_eq!(node.typing(&["turn", &id, "--reason", "dark"], &format!("{id}\n")).exit, Exit::Ok);
    assert_eq!((kind_sent(&node), group(&node).operation.unwrap().kind), (119, Kind::Failover));
}

#[test]
fn a_person_answers_for_a_primary_that_is_stopped_never_for_one_whose_agent_says_that_it_writes() {
    let node = adopted();
    let failover = ["failover", "orders", "--allow-data-loss", "365d", "--reason", "region is lost"];
    let asserted = [&failover[..], &["--assert-fenced", "us-east-1"]].concat();
    let scripted = |arguments: &[&str]| node.run(&[arguments, &["--yes"]].concat());
    let refused = node.expect("failover-still-writes", &[&asserted[..], &["--yes", "--request-id", "failover-1"]].concat());
    assert_eq!((refused.exit, group(&node).operation), (Exit::Refused, None), "nothing was begun");
    says(&node, "us-east-1", Role::Stopped, None);
    let elsewhere = scripted(&[&failover[..], &["--assert-fenced", "eu-west-1"]].concat());
    assert_eq!((elsewhere.exit, group(&node).operation), (Exit::Usage, None), "{}", elsewhere.err);
    assert_eq!(node.typing(&asserted, "orders\n").exit, Exit::Error, "the old region is typed");
    let ran = node.typing(&asserted, "us-east-1\n");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let operation = group(&node).operation.unwrap();
    assert_eq!((kind_sent(&node), operation.phase), (103, Phase::Decided), "the wait is not shortened");
    assert!(operation.asserted.is_some());

    let node = adopted();
    assert_eq!(node.run(&[&failover[..], &["--yes"]].concat()).exit, Exit::Ok);
    let id = open(&node);
    let assert = ["assert-fenced", &id, "--reason", "I pulled the plug", "--region"];
    let once = ["--yes", "--request-id", "assert-1"];
    assert_eq!(node.expect("assert-still-writes", &[&assert[..], &["us-east-1"], &once[..]].concat()).exit, Exit::Refused);
    says(&node, "us-east-1", Role::Stopped, None);
    assert_eq!(node.expect("assert-elsewhere", &[&assert[..], &["eu-west-1"], &once[..]].concat()).exit, Exit::Usage);
    assert_eq!(node.expect("assert-unconfirmed", &[&assert[..], &["us-east-1"]].concat()).exit, Exit::Usage);
    let yes = ["--yes", "--request-id", "assert-2"];
    assert_eq!(node.expect("assert-fenced", &[&assert[..], &["us-east-1"], &yes[..]].concat()).exit, Exit::Ok);
    assert_eq!(kind_sent(&node), 103);
}

#[test]
fn a_held_step_is_tried_again_and_only_the_validation_is_skipped() {
    let node = adopted();
    propose(&node, &[]);
    let id = open(&node);
    let skip = ["skip-step", &id, "--reason", "checkout is known to fail", "--yes", "--request-id"];
    assert_eq!(node.expect("skip-never", &[&skip[..], &["skip-1"]].concat()).exit, Exit::Refused);
    go_on_until_chosen(&node, between(0, 1));
    hold(&node, HeldFor::Drain, "eu-west-1 does not reach 10");
    let retry = ["retry-step", &id, "--reason", "its disk was full", "--request-id", "retry-1"];
    assert_eq!(node.expect("retry-step", &retry).exit, Exit::Ok);
    assert_eq!((kind_sent(&node), group(&node).operation.unwrap().held), (122, None));
    assert_eq!(node.run(&["retry-step", &id, "--reason", "again"]).exit, Exit::Refused, "nothing holds it");
    go_on_until_promoted(&node);
    hold(&node, HeldFor::Validation, "checkout fails");
    assert_eq!(
        node.run(&["recovery", "status"]).out.lines().last().unwrap(),
        format!("next: portolan retry-step {id} --reason TEXT, or portolan skip-step {id} --reason TEXT")
    );
    assert_eq!(node.expect("skip-step", &[&skip[..], &["skip-2"]].concat()).exit, Exit::Ok);
    assert_eq!((kind_sent(&node), group(&node).operation.unwrap().phase), (123, Phase::Verified));
}

#[test]
fn a_dry_run_tells_every_step_and_its_plan_id_pins_what_it_told() {
    let node = adopted();
    let switch = ["switchover", "orders", "--to", "eu-west-1", "--reason", "kernel update"];
    let failover = ["failover", "orders", "--reason", "region is lost"];
    let dry = |arguments: &[&str]| node.run(&[arguments, &["--dry-run"]].concat());
    assert_eq!(node.expect("failover-dry", &[&failover[..], &["--dry-run"]].concat()).exit, Exit::Refused, "as the real one would be");
    *node.cluster.figures.lock().unwrap() = Figures { exposure: between(1, 3), ..Figures::default() };
    let known = node.expect("failover-dry-known", &[&failover[..], &["--allow-data-loss", "10s", "--dry-run"]].concat());
    assert_eq!(known.exit, Exit::Ok);
    for line in known.out.lines() {
        assert!(line.len() <= 100 && line.is_ascii(), "{line:?}");
    }
    assert!(group(&node).operation.is_none(), "nothing was begun");
    let plan_of = |out: &str| out.lines().find_map(|line| line.strip_prefix("plan id: ")?.split(';').next().map(str::to_owned)).unwrap();
    let plan = plan_of(&dry(&switch).out);
    assert_eq!(plan, plan_of(&dry(&switch).out), "the same as long as nothing differs");
    let pinned = |arguments: &[&str], plan: &str| node.run(&[arguments, &["--yes", "--plan", plan]].concat());
    let other = pinned(&[&failover[..], &["--allow-data-loss", "10s"]].concat(), &plan);
    assert_eq!(other.exit, Exit::Refused);
    assert!(other.err.contains("the kind of operation, where to, the loss that is allowed changed"), "{}", other.err);
    assert_eq!(pinned(&switch, "p123").exit, Exit::Usage);
    commit(&node, |token| Step::Regrant { token, class: ARMED });
    let moved = [&switch[..], &["--yes", "--request-id", "switch-1", "--plan", &plan]].concat();
    assert_eq!(node.expect("switchover-plan-changed", &moved).exit, Exit::Refused);
    let plan = plan_of(&dry(&switch).out);
    let ran = pinned(&switch, &plan);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let value: serde_json::Value = serde_json::from_str(dry(&[&switch[..], &["-o", "json"]].concat()).out.lines().next().unwrap()).unwrap();
    assert_eq!((value["version"].as_u64(), value["steps"][1]["name"].as_str()), (Some(1), Some("stop")), "{value}");
}

/// A failover that was held at the gate and approved, until it ended.
fn whole(node: &Node) -> String {
    propose(node, &[]);
    let id = open(node);
    node.cluster.pass(Duration::from_secs(5));
    go_on_until_chosen(node, between(20, 40));
    hold(node, HeldFor::RpoGate, "20s to 40s would be lost, and 1s may be");
    node.cluster.pass(Duration::from_secs(60));
    let approve = ["approve", &id, "--allow-data-loss", "1m", "--reason", "the <region> | burns", "--yes"];
    assert_eq!(node.run(&approve).exit, Exit::Ok);
    node.cluster.pass(Duration::from_secs(2));
    go_on_until_promoted(node);
    commit(node, |token| Step::Verified { token });
    id
}

#[test]
fn an_operation_is_watched_to_its_end_and_reported() {
    let node = adopted();
    let id = whole(&node);
    assert_eq!(node.run(&["report", &id]).exit, Exit::Ok, "an open one, too");
    finish(&node);
    assert_eq!(node.expect("watch", &["watch", &id]).exit, Exit::Ok);
    let marks = group(&node).latest.unwrap().operation.marks;
    let after = marks[marks.len() - 3].index.to_string();
    let rest = node.run(&["watch", &id, "--after", &after]);
    assert_eq!((rest.exit, rest.out.lines().count()), (Exit::Ok, 3), "two marks and the end: {}", rest.out);
    let json = node.run(&["watch", &format!("operations/{id}"), "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!((json.exit, value["operation"]["ending"].as_str()), (Exit::Ok, Some("succeeded")));
    assert_eq!(node.run(&["watch", "op-99"]).exit, Exit::Error);

    assert_eq!(node.expect("report", &["report", &id]).exit, Exit::Ok);
    let page = node.expect("report-html", &["report", &id, "-o", "html"]);
    assert!(page.out.contains("the &lt;region&gt; | burns") && !page.out.contains("<region>"), "{}", page.out);
    let json = node.run(&["report", &id, "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((value["version"].as_u64(), value["loss"]["sealed_ms"]["high"].as_u64()), (Some(1), Some(40_000)));
    assert_eq!(value["marks"].as_array().unwrap().len(), marks.len());
    let yaml = node.run(&["report", &id, "-o", "yaml"]).out;
    assert!(yaml.starts_with("---\n") && yaml.contains("standing:"), "{yaml}");
    assert_eq!(node.run(&["status", "-o", "html"]).exit, Exit::Usage, "only reports are pages");
    assert_eq!(node.expect("report-unknown", &["report", "op-99"]).exit, Exit::Error);
}

#[test]
fn an_operation_that_did_not_succeed_ends_a_watch_with_an_error() {
    let node = adopted();
    propose(&node, &["storm"]);
    let id = open(&node);
    assert_eq!(node.run(&["reject", &id, "--reason", "no"]).exit, Exit::Ok);
    let ran = node.run(&["watch", &id]);
    assert_eq!((ran.exit, ran.out.lines().last().unwrap()), (Exit::Error, format!("{id} rejected").as_str()));
}

/// Whoever reads while it happens sees what holds it, and that it goes on.
#[test]
fn a_watcher_sees_what_holds_an_operation_come_and_go() {
    let node = adopted();
    propose(&node, &["storm"]);
    let id = open(&node);
    let outcome = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| node.run(&["watch", &id]));
        while node.cluster.watchers() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(node.run(&["approve", &id, "--reason", "it burns", "--yes"]).exit, Exit::Ok);
        go_on_until_chosen(&node, between(0, 1));
        go_on_until_promoted(&node);
        commit(&node, |token| Step::Verified { token });
        finish(&node);
        watcher.join().unwrap()
    });
    assert_eq!(outcome.exit, Exit::Ok, "{}", outcome.err);
    assert!(outcome.out.contains("HELD, APPROVAL: storm; next: portolan approve"), "{}", outcome.out);
    let ended = group(&node).latest.unwrap();
    for mark in &ended.operation.marks {
        assert!(outcome.out.contains(&mark.text), "{}\n{}", mark.text, outcome.out);
    }
}
