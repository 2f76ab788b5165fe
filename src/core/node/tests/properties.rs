//! What holds for every small plan and every course of events. The [drill](super::drill) proves most of it at each turn.

use proptest::prelude::*;

use super::{drill::Drill, plan_text};
use crate::{
    answer::{Answer, ExtendedError},
    model::{ids::Label, time::Tick, units::Share},
    node::{Node, Served, Settings, report::State, saved::SavedNode},
    testing::script::duration,
};

const REGIONS: [(&str, &str); 4] =
    [("us", "38.9,-77.4 NA US"), ("eu", "53.3,-6.3 EU IE"), ("ap", "1.3,103.8 AS SG"), ("sa", "-23.5,-46.6 SA BR")];

/// A service line with its endpoints; `n` regions, `number` of the service.
fn service(n: usize, number: usize) -> impl Strategy<Value = String> {
    let preset = prop::sample::select(vec!["geo", "weighted", "failover", "latency", "active_active", "multivalue"]);
    let all_down = prop::sample::select(vec!["last_good", "all", "backup", "nodata", "servfail"]);
    let extra = prop::sample::select(vec![
        "",
        "families=independent",
        "spread=random",
        "limit=1",
        "residency=strict:EU=us,*=us",
        "residency=prefer:EU=us",
    ]);
    let slow = prop::sample::select(vec!["100%/0s", "20%/1m", "10%/50s/ramp"]);
    let endpoint = (0..n, 0_u8..6, 0_u16..3, prop::bool::weighted(0.2), prop::sample::select(vec!["", "", "", "check=none", "check=both"]));
    let pool = (0..n, 0_u16..4, 1_u16..3);
    (preset, all_down, extra, slow, prop::collection::vec(endpoint, 0..6), prop::collection::vec(pool, 0..3)).prop_map(
        move |(preset, all_down, extra, slow, endpoints, pools)| {
            let mut text = format!("service s{number} {preset} all_down={all_down} slow={slow} backup=203.0.113.9 {extra}\n");
            for (region, weight, priority) in pools {
                text.push_str(&format!("pool {} weight={weight} priority={priority}\n", REGIONS[region].0));
            }
            let mut known = Vec::new();
            for (region, host, weight, is_v6, check) in endpoints {
                let address =
                    if is_v6 { format!("2001:db8:ff:{region}::{host}") } else { format!("192.0.2.{}", region * 16 + usize::from(host)) };
                if !known.contains(&address) {
                    text.push_str(&format!("endpoint {} {address} weight={weight} {check}\n", REGIONS[region].0));
                    known.push(address);
                }
            }
            text
        },
    )
}

/// A plan of up to four regions and three services; some checks are shared, some calculated.
pub(super) fn plan() -> impl Strategy<Value = String> {
    let limits = (prop::sample::select(vec![0_u8, 50, 100]), 1_u8..4, 1_u8..3);
    (2..=REGIONS.len(), limits).prop_flat_map(|(n, (ejection, fall, rise))| {
        let services = (service(n, 0), service(n, 1), prop::option::of(service(n, 2)));
        services.prop_map(move |(first, second, third)| {
            let mut text = format!(
                "cadence interval=6s fast=1s down=4s timeout=2s fall={fall} rise={rise} flap=1m rise_max=4\nejection {ejection}%\n"
            );
            for (name, place) in &REGIONS[..n] {
                text.push_str(&format!("region {name} {place}\n"));
            }
            text.push_str("check db tcp 192.0.2.200\ncheck worker heartbeat\ncheck both calculated of=db,worker at_least=1\n");
            text.push_str(&first);
            text.push_str(&second);
            text.push_str(&third.unwrap_or_default());
            text
        })
    })
}

/// What happens next.
pub(super) fn step() -> impl Strategy<Value = String> {
    let behaviour = || prop::sample::select(vec!["ok", "ok", "fail connect", "fail status", "fail slow", "hang", "lost"]);
    let region = || prop::sample::select(vec!["us", "eu"]);
    let id = || prop::sample::select(vec!["o1", "o2", "o3"]);
    let kind = prop::sample::select(vec!["drain", "maintenance", "up", "down", "weight=0", "weight=3", "hold"]);
    let scope = prop::sample::select(vec![
        "region:us",
        "region:eu",
        "service:s0",
        "service:s1",
        "pool:s0/us",
        "endpoint:s0/us/192.0.2.1:80",
        "region:nowhere",
    ]);
    let until = prop::sample::select(vec!["", "until 5s", "until 40s"]);
    prop_oneof![
        4 => (1_u16..40).prop_map(|seconds| format!("run {seconds}s")),
        3 => (region(), behaviour()).prop_map(|(region, behaviour)| format!("region {region} {behaviour}")),
        2 => (0_u8..64, behaviour()).prop_map(|(host, behaviour)| format!("target 192.0.2.{host} {behaviour}")),
        1 => behaviour().prop_map(|behaviour| format!("all {behaviour}")),
        1 => behaviour().prop_map(|behaviour| format!("target 192.0.2.200 {behaviour}")),
        1 => prop::bool::ANY.prop_map(|ok| format!("beat worker {}", if ok { "ok" } else { "fail" })),
        2 => (id(), kind, scope, until).prop_map(|(id, kind, scope, until)| format!("override {id} {kind} {scope} by ana {until} because drawn")),
        2 => id().prop_map(|id| format!("lift {id}")),
        1 => Just("restart".to_owned()),
        1 => Just("reload".to_owned()),
        1 => Just("drop".to_owned()),
    ]
}

/// Drops one endpoint, or brings all back.
pub(super) fn step_of(drill: &mut Drill, step: &str) {
    match step {
        "drop" => {
            let line = drill.endpoint_lines().into_iter().next_back();
            if let Some(line) = line {
                drill.step(&format!("edit {line} =>"));
                drill.step("reload");
            }
        }
        step => drill.step(step),
    }
}

/// Who is asked for, by whom.
fn answers(drill: &Drill) -> Vec<Answer> {
    let mut answers = Vec::new();
    for name in ["s0.example.test", "s1.example.test"] {
        for from in ["10.0.1.0/24", "10.1.1.0/24", "198.51.100.7", "240.0.0.1", "2001:db8:1::/48"] {
            answers.extend(["A", "AAAA"].map(|record_type| drill.answer_to(record_type, from, name)));
        }
    }
    answers
}

/// An answer without what may differ after a restart: times to live, and the word that it is stale.
fn lasting(answer: Answer) -> (crate::answer::Rcode, Vec<String>) {
    let stale = answer.extended_error.as_ref().is_some_and(|error| error.code == ExtendedError::NOT_READY);
    assert!(!stale, "an answer without a table");
    (answer.rcode, answer.answers.iter().map(|record| record.data.to_string()).collect())
}

fn restarted(drill: &Drill) -> Option<Node> {
    let saved: SavedNode = serde_json::from_str(&serde_json::to_string(&drill.node.save(drill.now)?).unwrap()).unwrap();
    let settings = Settings { node: Label::new("n"), region: Label::new("us"), stale_limit: duration("1h"), seed: 9 };
    Some(Node::new(settings, drill.node.world().clone(), "0".repeat(64), Some(saved), drill.now))
}

fn check_status(drill: &Drill) {
    let status = drill.node.status(drill.now, &Served::default());
    assert_eq!(status.state == State::Ok, status.headline.is_empty(), "{:?}", status.headline);
    let total: u32 = status.regions.iter().map(|region| u32::from(region.share_wanted.points())).sum();
    let full = u32::from(Share::FULL.points());
    assert!(total == 0 || (full - 10..=full).contains(&total), "shares add up to {total}");
    let worst = status.services.iter().filter(|service| !service.endpoints.is_empty()).map(|service| service.state).max();
    assert!(worst.is_none_or(|worst| status.state >= worst) || drill.node.table().is_none());
    let objects = status
        .services
        .iter()
        .flat_map(|service| service.endpoints.iter().map(|endpoint| endpoint.name.as_str()).chain([service.name.as_str()]));
    for object in objects.chain(["us", "eu", "both", "worker", "db", "", "/", "regions/", "s0.example.test"]) {
        let _ = drill.node.why(drill.now, object);
    }
    for endpoint in drill.node.table().iter().flat_map(|_| status.services.iter().flat_map(|service| &service.endpoints)) {
        assert!(drill.node.why(drill.now, &endpoint.name).is_ok(), "{}", endpoint.name);
    }
}

proptest! {
    // Each case is minutes of a node's life, proved at each of its hundreds of turns.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn tables_deadlines_status_and_restarts_hold_whatever_happens(plan in plan(), steps in prop::collection::vec(step(), 1..25)) {
        let mut drill = Drill::new(&plan);
        for step in &steps {
            step_of(&mut drill, step);
            check_status(&drill);
            let Some(node) = restarted(&drill).filter(|node| node.table().is_some()) else { continue };
            let before: Vec<_> = answers(&drill).into_iter().map(lasting).collect();
            let former = std::mem::replace(&mut drill.node, node);
            let after: Vec<_> = answers(&drill).into_iter().map(lasting).collect();
            drill.node = former;
            prop_assert_eq!(before, after, "a restart after `{}` changes answers\n{}", step, drill.text);
        }
        // Nothing changes any more once everything is well for long enough: a routine success publishes nothing.
        for line in ["all ok", "target 192.0.2.200 ok", "lift o1", "lift o2", "lift o3", "run 3m"] {
            drill.step(line);
        }
        let settled = drill.node.table().map(|table| table.generation);
        prop_assert!(settled.is_some());
        let heartbeat = drill.node.world().topology.endpoints.iter().any(|endpoint| {
            drill.node.world().topology.check_names.get(&Label::new("both")) == Some(&endpoint.check)
        });
        drill.step("run 1m");
        prop_assert!(heartbeat || drill.node.table().map(|table| table.generation) == settled, "{}", drill.text);
    }

    #[test]
    fn a_node_that_sleeps_through_everything_is_quiet_after_one_turn(plan in plan(), hours in 1_u64..100) {
        let mut drill = Drill::new(&plan);
        drill.step("run 30s");
        drill.step("override o1 drain region:us by ana until 1m because drawn");
        // All deadlines pass in one leap.
        drill.leap(Tick(drill.now.tick.0 + hours * 3_600_000_000));
        prop_assert!(drill.node.next_deadline(drill.now, true).is_none_or(|at| at > drill.now.tick));
        prop_assert!(drill.node.overlay.in_force(drill.now.wall).next().is_none());
    }
}

#[test]
fn plans_of_these_tests_are_read() {
    let world = plan_text::world(1, "region us 38.9,-77.4 NA US\nservice api geo\nendpoint us 192.0.2.1\n");
    assert_eq!(world.topology.endpoint_name(crate::model::ids::EndpointIdx(0)), "api/us/192.0.2.1:80");
}

/// Found by the simulation: a plan that was loaded while the clock was wrong took the orders away that the clock took for ended.
#[test]
fn a_plan_that_comes_while_the_clock_is_ahead_takes_no_order_away() {
    let places = REGIONS[..2].iter().map(|(name, place)| format!("region {name} {place}\n")).collect::<String>();
    let plan = format!("{places}service api geo\nendpoint us 192.0.2.1\nendpoint eu 192.0.2.11\nstart\n");
    let seen = super::drill::play(&format!(
        "{plan}at 20s override d1 drain region:eu by ana until 10m because kernel update\n\
         clock +1h\nreload\nclock -1h\nask A from 10.1.1.0/24\n"
    ));
    let answer = seen.lines().last().unwrap_or_default();
    assert!(answer.contains("us: NOERROR 192.0.2.1"), "the drain is in force again:\n{seen}");
}

/// The same for a restart: what ended by a wrong clock is in force again when the clock is right.
#[test]
fn a_restart_while_the_clock_is_ahead_takes_no_order_away() {
    let places = REGIONS[..2].iter().map(|(name, place)| format!("region {name} {place}\n")).collect::<String>();
    let plan = format!("{places}service api geo\nendpoint us 192.0.2.1\nendpoint eu 192.0.2.11\nstart\n");
    let seen = super::drill::play(&format!(
        "{plan}at 20s override d1 drain region:eu by ana until 10m because kernel update\n\
         clock +1h\nrestart\nclock -1h\nask A from 10.1.1.0/24\n"
    ));
    let answer = seen.lines().last().unwrap_or_default();
    assert!(answer.contains("us: NOERROR 192.0.2.1"), "the drain is in force again:\n{seen}");
}

/// Found by the property test of what is recalled: of a check that nobody else speaks of, a table kept what this node took for true before it
/// had judged it, because the judgement that came was the same.
#[test]
fn a_judgement_that_only_becomes_this_process_s_own_makes_a_table_too() {
    let mut drill = Drill::new(
        "cadence interval=6s fast=1s down=4s timeout=2s fall=1 rise=1 flap=1m rise_max=4\nregion us 38.9,-77.4 NA US\n\
         region eu 53.3,-6.3 EU IE\ncheck db tcp 192.0.2.200\ncheck worker heartbeat\n\
         check both calculated of=db,worker at_least=1\nservice s0 geo\nendpoint eu 192.0.2.16 check=both\n\
         service s1 geo\nendpoint us 192.0.2.1\n",
    );
    drill.step("run 1s");
    drill.step("join us eu ap");
    // The drill proves at each turn that the table is the one that would be compiled now. The heartbeat is given up at 8 s.
    drill.step("run 20s");
}
