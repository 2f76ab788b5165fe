//! What data groups are judged by: the example's, and how the plan's general words narrow those of a group.

use std::time::Duration;

use portolan_core::{
    model::{
        group::{Durability, Member, Mode, OnControlLoss, Policy, Rung},
        ids::Label,
    },
    plan::policies,
};

use super::super::plan;

/// The policy of the example's only group, after these changes to the text.
fn policy(changes: &[(&str, &str)]) -> Policy {
    let mut text = std::fs::read_to_string("config/plan.yaml").unwrap();
    for (out, added) in changes {
        assert_eq!(text.matches(out).count(), 1, "`{out}` must stand exactly once in the example");
        text = text.replace(out, added);
    }
    policy_of("conversations", &text)
}

fn policy_of(group: &str, text: &str) -> Policy {
    let loaded = plan::load(text, "plan.yaml", &plan::Options::default()).unwrap_or_else(|problems| panic!("{problems}"));
    policies(&loaded.plan).remove(&Label::new(group)).unwrap()
}

/// The switch of the plan, and that of the group.
const SWITCH: &str = "    automatic_failover: true\n";
const OWN_SWITCH: &str = "    automatic_failover: true   ";

#[test]
fn the_example_says_all_of_it() {
    let seconds = Duration::from_secs;
    let member = |is_candidate, priority| Member { is_candidate, priority, has_agent: true };
    let members = [("us-east-1", member(true, 100)), ("eu-west-1", member(true, 1)), ("ap-southeast-1", member(false, 100))];
    let expected = Policy {
        primary: Label::new("us-east-1"),
        members: members.into_iter().map(|(region, member)| (Label::new(region), member)).collect(),
        mode: Some(Mode::Act),
        is_automatic: true,
        priority: 1,
        durability: Durability::Async,
        on_control_loss: OnControlLoss::HoldIfAllAck,
        may_wait: true,
        rungs: vec![Rung { hook: "isolate".to_owned(), confirms: true, is_undone: true }],
        probe_interval: seconds(15),
        failures: 3,
        failure_window: seconds(300),
        ok_run: 10,
        confirm_hold: seconds(60),
        local_recovery: seconds(60),
        cool_down: seconds(3600),
        observe: seconds(900),
        ttl: seconds(90),
        margin: seconds(10),
        rpo_target: Some(seconds(3600)),
        rto_target: Some(seconds(1800)),
    };
    assert_eq!(policy(&[]), expected);
}

#[test]
fn a_group_alone_has_defaults_and_no_targets() {
    let group = "{ engine: exec, primary: a, members: { a: { address: 192.0.2.1:1, dsn: d } } }";
    let alone = policy_of("g", &format!("regions: {{ a: {{}} }}\ndata_groups: {{ g: {group} }}\n"));
    assert_eq!((alone.mode, alone.is_automatic, alone.may_wait, alone.rpo_target, alone.rto_target), (None, false, false, None, None));
    assert_eq!((alone.failures, alone.failure_window, alone.ok_run), (3, Duration::from_secs(300), 10));
    assert_eq!(
        (alone.local_recovery, alone.ttl, alone.margin),
        (Duration::from_secs(60), Duration::from_secs(90), Duration::from_secs(10))
    );
    assert_eq!(alone.members[&Label::new("a")], Member { is_candidate: true, priority: 100, has_agent: false });
}

#[test]
fn the_narrower_mode_rules() {
    let mode = |of_plan: &str, of_group: &str| {
        let key = |word: &str| if word.is_empty() { String::new() } else { format!("mode: {word}") };
        let group = format!("    {}\n    engine: postgresql ", key(of_group));
        policy(&[("mode: act ", &format!("{} ", key(of_plan))), ("    engine: postgresql ", &group)]).mode
    };
    assert_eq!(mode("", ""), None);
    for word in [Mode::Observe, Mode::Recommend, Mode::Act] {
        assert_eq!((mode(word.word(), ""), mode("", word.word())), (Some(word), Some(word)));
    }
    assert_eq!(mode("observe", "act"), Some(Mode::Observe));
    assert_eq!(mode("act", "recommend"), Some(Mode::Recommend));
}

#[test]
fn a_group_is_automatic_when_nothing_speaks_against_it() {
    let is_automatic = |changes: &[(&str, &str)]| policy(changes).is_automatic;
    let (off, own_off) = ((SWITCH, "    automatic_failover: false\n"), (OWN_SWITCH, "    automatic_failover: false "));
    assert!(is_automatic(&[(OWN_SWITCH, "")]), "the plan's word is enough");
    assert!(!is_automatic(&[own_off]));
    assert!(!is_automatic(&[off]), "a group never widens");
    assert!(!is_automatic(&[(OWN_SWITCH, ""), off]));
    let keeps = policy(&[("on_control_loss: hold_if_all_ack ", "on_control_loss: keep ")]);
    assert_eq!((keeps.is_automatic, keeps.on_control_loss), (false, OnControlLoss::Keep));
}

#[test]
fn who_may_take_over_lies_inside_the_residency() {
    let candidates = |changes: &[(&str, &str)]| {
        let members = policy(changes).members.into_iter();
        members.filter(|(_, member)| member.is_candidate).map(|(region, _)| region.to_string()).collect::<Vec<_>>()
    };
    let everybody = (", candidate: false }", " }");
    assert_eq!(candidates(&[everybody]), ["eu-west-1", "us-east-1"], "sg is outside");
    assert_eq!(candidates(&[everybody, ("residency: [us, eu] ", "residency: [us] ")]), ["us-east-1"]);
    assert_eq!(candidates(&[everybody, ("    residency: [us, eu] ", "")]), ["ap-southeast-1", "eu-west-1", "us-east-1"]);
    assert_eq!(candidates(&[("    residency: [us, eu] ", "")]), ["eu-west-1", "us-east-1"], "the member's own word");
}

#[test]
fn words_and_defaults_of_other_sections_arrive() {
    let changed = policy(&[
        ("durability: async ", "durability: remote_quorum "),
        ("      - { lease: expire }\n", ""),
        ("  ok_run: 10 ", "  ok_run: 4 "),
        ("    failure_window: 5m\n", "    failure_window: 10m\n"),
        ("    health_check_failures: 3\n", "    health_check_failures: 5\n"),
        ("    local_recovery: 60s ", "    local_recovery: 0s "),
        ("agent: pg-euw1, ", ""),
    ]);
    assert_eq!((changed.durability, changed.may_wait, changed.ok_run), (Durability::RemoteQuorum, false, 4));
    assert_eq!((changed.failures, changed.failure_window), (5, Duration::from_secs(600)));
    assert_eq!(changed.local_recovery, Duration::ZERO);
    assert!(!changed.members[&Label::new("eu-west-1")].has_agent);
}

#[test]
fn redis_needs_no_login_and_promises_no_quorum() {
    let text = std::fs::read_to_string("config/plan.yaml").unwrap().replace("engine: postgresql ", "engine: redis ");
    let without = text.replace("dsn: pg-use1, ", "");
    assert_ne!(text, without);
    assert_eq!(policy_of("conversations", &without).durability, Durability::Async);
    let quorum = text.replace("durability: async ", "durability: remote_quorum ");
    let problems = plan::load(&quorum, "plan.yaml", &plan::Options::default()).unwrap_err().to_string();
    assert!(problems.contains("Redis acknowledges writes before any replica has them"), "{problems}");
}
