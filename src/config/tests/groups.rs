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

/// Only what an agent supervises is opened apart.
const RESTORE: &str = ", restore: pg-restore";

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
        names_ttl: seconds(15),
        rpo_target: Some(seconds(3600)),
        rto_target: Some(seconds(1800)),
        time_scale: portolan_core::model::units::Share::FULL,
        reclone: portolan_core::model::group::Reclone::WhenTold,
        restores: true,
        opens_copies: true,
    };
    assert_eq!(policy(&[]), expected);
}

#[test]
fn a_group_alone_has_defaults_and_no_targets() {
    let group = "{ engine: exec, primary: a, members: { a: { address: 192.0.2.1:1, dsn: d } } }";
    let alone = policy_of("g", &format!("regions: {{ a: {{}} }}\ndata_groups: {{ g: {group} }}\n"));
    assert_eq!((alone.mode, alone.is_automatic, alone.may_wait, alone.rpo_target, alone.rto_target), (None, false, false, None, None));
    assert!(!alone.opens_copies, "whoever manages it knows how to copy it");
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
    let text = std::fs::read_to_string("config/plan.yaml").unwrap().replace("engine: postgresql ", "engine: redis ").replace(RESTORE, "");
    let without = text.replace("dsn: pg-use1, ", "");
    assert_ne!(text, without);
    assert_eq!(policy_of("conversations", &without).durability, Durability::Async);
    let quorum = text.replace("durability: async ", "durability: remote_quorum ");
    let problems = plan::load(&quorum, "plan.yaml", &plan::Options::default()).unwrap_err().to_string();
    assert!(problems.contains("Redis acknowledges writes before any replica has them"), "{problems}");
}

/// The example's group on loopback, with these times.
fn on_loopback(times: &Times, scale: &str) -> Result<plan::LoadedPlan, String> {
    let Times { interval, timeout, failures, window, hold, ttl, margin } = times;
    let mut text = std::fs::read_to_string("config/plan.yaml").unwrap();
    for (out, added) in [
        ("probe: { interval: 15s, timeout: 5s }", format!("probe: {{ interval: {interval}s, timeout: {timeout}s }}")),
        ("health_check_failures: 3", format!("health_check_failures: {failures}")),
        ("failure_window: 5m", format!("failure_window: {window}s")),
        ("confirm_hold: 60s", format!("confirm_hold: {hold}s")),
        ("lease: { ttl: 90s, margin: 10s }", format!("lease: {{ ttl: {ttl}s, margin: {margin}s }}\n    time_scale: {scale}")),
        ("ttl: { min: 1s, max: 15s }", "ttl: { min: 1s, max: 1s }".to_owned()),
        ("10.0.0.5:5432", "127.0.0.1:5432".to_owned()),
        ("10.16.0.5:5432", "127.0.0.2:5432".to_owned()),
        ("10.32.0.5:5432", "\"[::1]:5432\"".to_owned()),
    ] {
        assert_eq!(text.matches(out).count(), 1, "`{out}` must stand exactly once in the example");
        text = text.replace(out, &added);
    }
    plan::load(&text, "plan.yaml", &plan::Options::default()).map_err(|problems| problems.to_string())
}

/// In seconds, as a plan may have them or not.
#[derive(Clone, Debug)]
struct Times {
    interval: u64,
    timeout: u64,
    failures: u16,
    window: u64,
    hold: u64,
    ttl: u64,
    margin: u64,
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever a plan says, on a scale its group keeps all that a check asks of it.
    #[test]
    fn a_group_on_a_scale_keeps_its_relations(
        (interval, timeout, failures, window) in (1_u64..60, 1_u64..60, 1_u16..10, 30_u64..600),
        (hold, ttl, margin, percent) in (0_u64..120, 10_u64..600, 1_u64..60, 5_u16..100),
    ) {
        let times = Times { interval, timeout, failures, window, hold, ttl, margin };
        let Ok(written) = on_loopback(&times, "100%") else {
            // What contradicts itself does so on every scale.
            let is_refused = on_loopback(&times, &format!("{percent}%")).is_err();
            proptest::prop_assert!(is_refused);
            return Ok(());
        };
        let Ok(loaded) = on_loopback(&times, &format!("{percent}%")) else {
            let scaled = |time: u64| time * u64::from(percent) * 10;
            proptest::prop_assert!(scaled(margin) < 500 || scaled(interval) < 500 || scaled(ttl) < 3000, "only what is too short to keep is refused");
            return Ok(());
        };
        let group = Label::new("conversations");
        let (before, after) = (policies(&written.plan)[&group].clone(), policies(&loaded.plan)[&group].clone());
        let scale = portolan_core::model::units::Share::percent(percent);
        for ((word, written), (_, scaled)) in before.times().zip(after.times()) {
            let wanted = if word.ends_with("_target") { written } else { scale.of_time(written) };
            proptest::prop_assert_eq!(scaled, wanted, "{}", word);
        }
        proptest::prop_assert!(!after.margin.is_zero() && after.margin < after.ttl);
        proptest::prop_assert!(after.probe_interval * u32::from(after.failures - 1) <= after.failure_window);
        let probes = loaded.topology.databases[&group].values().map(|check| &loaded.topology.checks[check.get()].probe.cadence);
        for cadence in probes {
            proptest::prop_assert!(cadence.timeout <= cadence.interval && cadence.interval == after.probe_interval);
        }
        let warnings: Vec<&str> = loaded.warnings.list.iter().map(|problem| problem.message.as_str()).collect();
        proptest::prop_assert!(warnings.iter().any(|text| text.starts_with("for tests only: all clocks of this group run in ")), "{:?}", warnings);
    }
}

#[test]
fn clocks_that_run_faster_are_refused_where_a_member_is_elsewhere() {
    let text = std::fs::read_to_string("config/plan.yaml").unwrap();
    let text = text.replace("lease: { ttl: 90s, margin: 10s }", "lease: { ttl: 90s, margin: 10s }\n    time_scale: 10%");
    let problems = plan::load(&text, "plan.yaml", &plan::Options::default()).unwrap_err().to_string();
    assert!(problems.contains("time_scale: is for tests on one machine, and the member of us-east-1 is at 10.0.0.5:5432"), "{problems}");
}

#[test]
fn what_another_manager_runs_is_probed_as_what_it_is_and_the_plan_says_what_automation_cannot_prove() {
    use portolan_core::model::check::ProbeKind;

    let sample = std::fs::read_to_string("config/plan.yaml").unwrap().replace(RESTORE, "");
    let text = sample.replace("engine: postgresql ", "engine: patroni ");
    let said = |text: &str| {
        let loaded = plan::load(text, "plan.yaml", &plan::Options::default()).unwrap_or_else(|problems| panic!("{problems}"));
        let databases = &loaded.topology.databases[&Label::new("conversations")];
        assert!(databases.values().all(|check| matches!(loaded.topology.checks[check.get()].probe.kind, ProbeKind::Postgres { .. })));
        loaded.warnings.to_string()
    };
    let all = said(&text);
    assert!(!all.contains("takes effect with an agent") && !all.contains("nothing proves") && !all.contains("heal by itself"), "{all}");
    for text in [text.clone(), sample.replace("engine: postgresql ", "engine: cloudnative_pg ")] {
        let unproven = said(&text.replace("confirms: true, ", ""));
        assert!(unproven.contains("nothing proves that a region which is gone does not write"), "{unproven}");
        assert!(!unproven.contains("takes effect with an agent"), "{unproven}");
        let hasty = said(&text.replace("local_recovery: 60s ", "local_recovery: 20s "));
        assert!(hasty.contains("given 20s to heal by itself, and its manager may take 45s"), "{hasty}");
    }
    let quorum = text.replace("durability: async ", "durability: remote_quorum ");
    let refused = plan::load(&quorum, "plan.yaml", &plan::Options::default()).unwrap_err().to_string();
    assert!(refused.contains("what another manager's replicas acknowledge"), "{refused}");
}
