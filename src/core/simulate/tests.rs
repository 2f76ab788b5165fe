//! A lost region, seen by the code that serves.

use std::time::Duration;

use super::{Outcome, Population, Scenario, run};
use crate::{
    model::{ids::RegionSet, units::Share},
    node::tests::plan_text::world,
};

const REGIONS: &str = "cadence interval=10s fast=1s timeout=2s fall=3\nregion us 38.9,-77.4 NA US capacity=1000\nregion eu 53.3,-6.3 EU IE capacity=1000\nregion ap 1.3,103.8 AS SG capacity=1000\n";
const ENDPOINTS: &str = "endpoint us 192.0.2.1\nendpoint eu 192.0.2.11\nendpoint ap 192.0.2.21\n";

fn lose(service: &str, fail: u32, rps: Option<u64>) -> Outcome {
    let world = world(1, &format!("{REGIONS}{service}\n{ENDPOINTS}"));
    run(&world, &Scenario { fail: RegionSet::from_bits(fail), rps }, &Population::world(500))
}

fn points(outcome: &Outcome) -> (Vec<u16>, Vec<u16>) {
    let before = outcome.regions.iter().map(|region| region.before.points()).collect();
    (before, outcome.regions.iter().map(|region| region.after.points()).collect())
}

fn is_about_all(shares: &[u16]) -> bool {
    (9_980..=10_020).contains(&shares.iter().map(|share| u32::from(*share)).sum::<u32>())
}

#[test]
fn a_lost_region_moves_its_own_clients_and_no_others() {
    for service in ["service api geo", "service api weighted", "service api failover", "service api latency", "service api active_active"] {
        let outcome = lose(service, 1, None);
        let (before, after) = points(&outcome);
        assert!(is_about_all(&before) && is_about_all(&after), "{service}: {before:?} {after:?}");
        assert_eq!(after[0], 0, "{service}");
        assert_eq!(outcome.moved.points(), before[0], "{service}: only the clients of the lost region move");
        assert!(after[1] >= before[1] && after[2] >= before[2], "{service}");
        assert_eq!(outcome.unserved, Share::NONE, "{service}");
    }
}

#[test]
fn times_to_live_that_change_move_nobody() {
    // The lost region's checks are slower than the others', so that the others' answers live differently afterwards.
    let text = "region us 38.9,-77.4 NA US\nregion eu 53.3,-6.3 EU IE\nservice api geo ttl=1s..5m\ncadence interval=20s\nendpoint us 192.0.2.1\ncadence interval=90s\nendpoint eu 192.0.2.11\n";
    let outcome = run(&world(1, text), &Scenario { fail: RegionSet::from_bits(1), rps: None }, &Population::world(500));
    assert_eq!(outcome.moved, outcome.regions[0].before);
}

#[test]
fn each_question_draws_anew_where_the_plan_says_so() {
    let (before, after) = points(&lose("service api weighted spread=random", 1, None));
    assert!(before.iter().all(|share| (2_000..4_700).contains(share)), "{before:?}");
    assert!(after[0] == 0 && after[1] > 4_000 && after[2] > 4_000, "{after:?}");
}

#[test]
fn several_regions_in_one_answer_share_the_client() {
    let (before, after) = points(&lose("service api multivalue", 1, None));
    assert_eq!(before, [3333, 3333, 3333]);
    assert_eq!(after, [0, 5000, 5000]);
}

#[test]
fn when_all_is_lost_nobody_is_served_and_every_region_is_empty() {
    for rule in ["last_good", "all", "backup", "nodata", "servfail"] {
        let outcome = lose(&format!("service api geo all_down={rule} backup=203.0.113.9"), 7, Some(1000));
        assert_eq!(outcome.unserved, Share::FULL, "{rule}");
        assert_eq!(points(&outcome).1, [0, 0, 0], "{rule}");
        assert!(outcome.refusals.iter().any(|line| line.contains("all_down decides")), "{:?}", outcome.refusals);
        assert!(!outcome.render().contains("OVERLOAD"));
    }
}

#[test]
fn overload_and_safe_load_follow_capacity() {
    let outcome = lose("service api weighted", 4, Some(2500));
    assert!(outcome.regions[..2].iter().all(|region| region.overloaded == Some(true)), "{}", outcome.render());
    assert!(outcome.regions[2].overloaded == Some(false) && outcome.regions[2].failed);
    let (before, after) = outcome.safe_rps;
    assert!(before > after && after.is_some_and(|after| (1700..=2000).contains(&after)), "{before:?} {after:?}");
    assert!(outcome.render().lines().all(|line| line.len() <= 100), "{}", outcome.render());
}

#[test]
fn a_strict_fence_leaves_its_clients_without_an_answer() {
    let outcome = lose("service api geo residency=strict:EU=eu,*=us+ap", 2, None);
    assert_eq!(outcome.unserved, outcome.regions[1].before);
    assert!(outcome.unserved > Share::NONE);
}

#[test]
fn detection_takes_as_long_as_the_slowest_check() {
    let outcome = lose("service api geo", 1, None);
    assert_eq!((outcome.detection_refused, outcome.detection_hung), (Duration::from_secs(12), Duration::from_secs(18)));
    let text = "cadence interval=10s fast=1s timeout=2s fall=3\nregion us 38.9,-77.4 NA US\ncheck db tcp 192.0.2.99\ncadence interval=1h timeout=1m\ncheck both calculated of=db\ncheck beat heartbeat\nservice api geo\nendpoint us 192.0.2.1 check=both\n";
    let fail = Scenario { fail: RegionSet::from_bits(1), rps: None };
    let of = |text: &str| run(&world(1, text), &fail, &Population::world(100)).detection_refused;
    assert_eq!(of(text), Duration::from_secs(12), "a calculated check knows when what it is calculated from knows");
    assert_eq!(of(&text.replace("check=both", "check=beat")), Duration::from_secs(3 * 3600 + 60), "silence is heard after the interval");
    assert_eq!(of(&text.replace("check=both", "check=none")), Duration::ZERO);
}

#[test]
fn services_without_endpoints_are_no_part_of_it() {
    let outcome = lose("service orders geo all_down=servfail\nservice api geo", 1, None);
    assert_eq!(outcome.unserved, Share::NONE);
    assert!(is_about_all(&points(&outcome).0));
}
