use proptest::prelude::*;

use super::*;
use crate::{
    health::ejection::Standing,
    model::{
        check::FailureCategory,
        ids::CheckIdx,
        topology::{AllDown, Endpoint, Families, Pool, Region, Service, SlowStart, Spread, Steering, Target, TtlRange},
        units::{Ttl, Weight},
    },
};

/// Services `api` and `web`, each with one endpoint in `us` and one in `eu`: positions api/us, api/eu, web/us, web/eu.
fn topology() -> Topology {
    let region = |name: &str| Region {
        name: name.into(),
        location: None,
        continent: None,
        country: None,
        jurisdiction: None,
        cluster: None,
        failure_domain: None,
        capacity_rps: None,
        networks: Vec::new(),
    };
    let pool = |region, first| Pool { region: RegionIdx(region), weight: Weight(1), priority: 1, first: EndpointIdx(first), count: 1 };
    let service = |name: &str, first| Service {
        name: name.into(),
        hostnames: Vec::new(),
        steering: Steering {
            preset: "weighted",
            stages: Vec::new(),
            tie: Share::NONE,
            limit: 1,
            multivalue: false,
            spread: Spread::Sticky,
            families: Families::Together,
            residency: None,
        },
        ttl: TtlRange { min: Ttl::from_secs(5), max: Ttl::from_secs(60) },
        all_down: AllDown::LastGood,
        slow_start: SlowStart { share: Share::FULL, over: Duration::ZERO, ramp: false },
        min_healthy_regions: 1,
        pools: vec![pool(0, first), pool(1, first + 1)],
        backup: Vec::new(),
        follows: None,
    };
    let endpoint = |service, region: u8| Endpoint {
        service: ServiceIdx(service),
        region: RegionIdx(region),
        target: Target::Address([192, 0, 2, region + 1].into()),
        port: 80,
        weight: Weight(1),
        check: CheckIdx(region.into()),
    };
    Topology {
        regions: vec![region("us"), region("eu")],
        services: vec![service("api", 0), service("web", 2)],
        endpoints: vec![endpoint(0, 0), endpoint(0, 1), endpoint(1, 0), endpoint(1, 1)],
        ..Topology::default()
    }
}

fn scope(text: &str) -> Scope {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [one] if ["us", "eu", "mars"].contains(one) => Scope::Region((*one).into()),
        [one] => Scope::Service((*one).into()),
        [service, region] => Scope::Pool { service: (*service).into(), region: (*region).into() },
        _ => Scope::Endpoint(text.to_owned()),
    }
}

/// `drain us`, `up api until 50`, `down api/us/192.0.2.1:80`, `maintenance web/eu`; made at their position in the list.
fn order(position: usize, text: &str) -> Override {
    let words: Vec<&str> = text.split(' ').collect();
    let kind = match words[0] {
        "drain" => OverrideKind::Drain,
        "maintenance" => OverrideKind::Maintenance,
        "up" => OverrideKind::ForcedUp,
        "down" => OverrideKind::ForcedDown,
        "hold" => OverrideKind::Hold,
        "light" => OverrideKind::Weight(Weight(1)),
        "heavy" => OverrideKind::Weight(Weight(9)),
        kind => panic!("`{kind}` is not a kind"),
    };
    Override {
        id: Label::new(text),
        kind,
        scope: scope(words[1]),
        who: "alice".to_owned(),
        why: "kernel update".to_owned(),
        at: Timestamp(i64::try_from(position).unwrap()),
        until: words.get(3).map(|until| Timestamp(until.parse().unwrap())),
    }
}

fn overlay(topology: &Topology, orders: &[&str]) -> Overlay {
    let orders = orders.iter().enumerate().map(|(position, text)| order(position, text)).collect();
    Overlay::new(topology, orders, &[]).unwrap()
}

fn verdict(health: Health) -> Verdict {
    let failure = (health == Health::Down).then(|| Failure::new(FailureCategory::Status, "503"));
    let since = (health != Health::Unknown).then_some(Timestamp(-5));
    Verdict { health, since, failure, next_change: Duration::from_secs(34), admitted: Share::FULL }
}

const API_US: EndpointIdx = EndpointIdx(0);
const API_EU: EndpointIdx = EndpointIdx(1);
const NOW: Timestamp = Timestamp(20);

/// What steering uses for api/us, observed as up, at time 20: `UP by up api, drained by drain us`.
fn check(orders: &[&str], observed: Health, expected: &str) {
    let topology = topology();
    let mut overlay = overlay(&topology, orders);
    overlay.settle(&topology, NOW, |_| verdict(Health::Up));
    let columns = overlay.columns(&topology, API_US, verdict(observed), NOW);
    assert_eq!(columns.observed, verdict(observed), "the observed column is never changed");
    let mut text = columns.effective.verdict.health.to_string();
    for (word, by) in [(" by", &columns.effective.health_by), (", drained by", &columns.effective.drained_by)] {
        if let Some(by) = by {
            text.push_str(&format!("{word} {}", by.id));
        }
    }
    assert_eq!(text, expected, "{orders:?}");
}

#[test]
fn truth_table() {
    use Health::{Down, Up};
    check(&[], Up, "UP");
    check(&[], Down, "DOWN");
    // Each sort of override, each scope.
    check(&["down us"], Up, "DOWN by down us");
    check(&["up api"], Down, "UP by up api");
    check(&["drain api/us"], Up, "UP, drained by drain api/us");
    check(&["maintenance api/us/192.0.2.1:80"], Down, "UP by maintenance api/us/192.0.2.1:80");
    // Others are not meant.
    check(&["down eu", "down web", "down web/us", "down api/eu", "down api/eu/192.0.2.2:80"], Up, "UP");
    check(&["down mars", "down nothing/us", "down api/us/192.0.2.9:80"], Up, "UP");
    // The narrower rules, whatever came first.
    check(&["down api", "up us"], Down, "UP by up us");
    check(&["up us", "down api"], Down, "UP by up us");
    check(&["down api/us", "up us"], Up, "DOWN by down api/us");
    check(&["up api/us/192.0.2.1:80", "down api/us", "down us", "down api"], Down, "UP by up api/us/192.0.2.1:80");
    // Equally narrow: the later.
    check(&["up us", "down us"], Up, "DOWN by down us");
    check(&["down us", "up us"], Down, "UP by up us");
    // Forced over maintenance over observed, also where the maintenance is narrower.
    check(&["maintenance us"], Down, "UP by maintenance us");
    check(&["maintenance api/us/192.0.2.1:80", "down api"], Up, "DOWN by down api");
    // Drain is a column of its own.
    check(&["drain us", "up api/us/192.0.2.1:80"], Down, "UP by up api/us/192.0.2.1:80, drained by drain us");
    check(&["drain us", "drain api", "maintenance us"], Down, "UP by maintenance us, drained by drain us");
    // Expired ones are none; the end is outside.
    check(&["down us until 20"], Up, "UP");
    check(&["down us until 21"], Up, "DOWN by down us until 21");
    check(&["up us", "down us until 19"], Down, "UP by up us");
}

#[test]
fn maintenance_keeps_the_judgement_from_before_it() {
    let topology = topology();
    let mut overlay = overlay(&topology, &["maintenance us until 50"]);
    let effective = |overlay: &Overlay, observed, now| overlay.columns(&topology, API_US, verdict(observed), Timestamp(now)).effective;
    // Nothing was judged before: the first judgement that comes stands.
    overlay.settle(&topology, Timestamp(0), |_| verdict(Health::Unknown));
    assert_eq!(effective(&overlay, Health::Unknown, 0).verdict.health, Health::Unknown);
    assert_eq!(effective(&overlay, Health::Unknown, 0).health_by, None);
    overlay.settle(&topology, Timestamp(1), |_| verdict(Health::Down));
    overlay.settle(&topology, Timestamp(2), |_| verdict(Health::Up));
    let stands = effective(&overlay, Health::Up, 2);
    assert_eq!(
        (stands.verdict.health, stands.verdict.failure, stands.verdict.next_change),
        (Health::Down, verdict(Health::Down).failure, Duration::from_millis(48))
    );
    assert_eq!(overlay.columns(&topology, API_EU, verdict(Health::Up), Timestamp(2)).effective.health_by, None);
    // It survives another set of overrides, and the disk.
    let saved = serde_json::to_string(&overlay.save_frozen(&topology)).unwrap();
    let saved: Vec<SavedFrozen> = serde_json::from_str(&saved).unwrap();
    let orders = vec![order(0, "maintenance us until 50"), order(1, "drain api")];
    let mut overlay = Overlay::new(&topology, orders, &saved).unwrap();
    overlay.settle(&topology, Timestamp(3), |_| verdict(Health::Up));
    assert_eq!(effective(&overlay, Health::Up, 3).verdict.health, Health::Down);
    // It ends by itself.
    assert_eq!(effective(&overlay, Health::Up, 50).verdict.health, Health::Up);
    overlay.settle(&topology, Timestamp(50), |_| verdict(Health::Up));
    assert_eq!(overlay.save_frozen(&topology), []);
}

#[test]
fn the_next_change_includes_the_end_of_overrides() {
    let topology = topology();
    let next_change =
        |orders: &[&str]| overlay(&topology, orders).columns(&topology, API_US, verdict(Health::Up), NOW).effective.verdict.next_change;
    assert_eq!(next_change(&[]), Duration::from_secs(34));
    assert_eq!(next_change(&["down us until 30"]), Duration::from_millis(10));
    assert_eq!(next_change(&["up us"]), NEVER);
    assert_eq!(next_change(&["drain us until 30"]), Duration::from_millis(10));
    let overlay = overlay(&topology, &["down us until 30", "drain web until 25", "up eu", "up us until 20"]);
    assert_eq!([19, 20, 25, 30].map(|now| overlay.next_expiry(Timestamp(now)).map(|at| at.0)), [Some(20), Some(25), Some(30), None]);
    assert_eq!(overlay.in_force(NOW).count(), 3);
}

#[test]
fn too_many_are_refused_and_lost_names_are_told() {
    let topology = topology();
    let many = |n| vec![order(0, "drain us"); n];
    assert!(Overlay::new(&topology, many(OVERRIDES_MAX), &[]).is_ok());
    assert_eq!(Overlay::new(&topology, many(OVERRIDES_MAX + 1), &[]).unwrap_err(), OverlayError::TooMany(OVERRIDES_MAX + 1));
    let overlay = overlay(&topology, &["drain us", "down mars", "up api/eu/192.0.2.2:80", "up api/eu/192.0.2.2:81", "drain api/mars"]);
    let lost: Vec<&str> = overlay.unmatched().map(|order| order.id.as_str()).collect();
    assert_eq!(lost, ["down mars", "up api/eu/192.0.2.2:81", "drain api/mars"]);
    assert_eq!(
        order(0, "drain api/us until 0").to_string(),
        "drain of service api in region us by alice until 1970-01-01T00:00:00Z: kernel update"
    );
}

#[test]
fn a_weight_order_changes_the_weight_and_nothing_else() {
    let topology = topology();
    let weights = |orders: &[&str]| {
        let intended = overlay(&topology, orders).intended(&topology, API_US, NOW);
        (intended.ordered_pool_weight().map(|it| it.0), intended.ordered_weight().map(|it| it.0))
    };
    check(&["light us", "heavy api/us/192.0.2.1:80", "hold api"], Health::Down, "DOWN");
    assert_eq!(weights(&[]), (None, None));
    assert_eq!(weights(&["light api", "heavy us"]), (Some(9), None), "the narrower");
    assert_eq!(weights(&["heavy us", "light us"]), (Some(1), None), "the later");
    assert_eq!(weights(&["light api/us/192.0.2.1:80", "heavy api/us"]), (Some(9), Some(1)), "an endpoint's weight is another one");
    assert_eq!(weights(&["light us until 20", "heavy eu"]), (None, None));
    // Made at once: the lighter, in either order of the list.
    let [light, heavy] = ["light us", "heavy us"].map(|text| order(0, text));
    for orders in [vec![light.clone(), heavy.clone()], vec![heavy, light]] {
        let overlay = Overlay::new(&topology, orders, &[]).unwrap();
        assert_eq!(overlay.intended(&topology, API_US, NOW).ordered_pool_weight(), Some(Weight(1)));
    }
    // Answers must not outlive it.
    let next_change = overlay(&topology, &["light us until 30"]).columns(&topology, API_US, verdict(Health::Up), NOW).effective;
    assert_eq!(next_change.verdict.next_change, Duration::from_millis(10));
}

#[test]
fn only_a_hold_is_for_a_group_or_for_everything() {
    let topology = topology();
    let of = |kind: &str, scope| Override { scope, ..order(0, &format!("{kind} us")) };
    let group = || Scope::Group("orders".into());
    let orders = vec![of("hold", group()), of("hold", Scope::Everything), of("drain", group()), of("down", Scope::Everything)];
    let overlay = Overlay::new(&topology, orders, &[]).unwrap();
    assert_eq!(
        overlay.unmatched().map(ToString::to_string).collect::<Vec<_>>(),
        ["drain of data group orders by alice: kernel update", "forced down of everything by alice: kernel update",]
    );
    assert_eq!(overlay.intended(&topology, API_US, NOW), Intended::default());
}

#[test]
fn ejection_sees_what_people_took_out() {
    let topology = topology();
    let standing = |orders: &[&str], observed| {
        Standing::effective(&overlay(&topology, orders).columns(&topology, API_US, verdict(observed), NOW).effective)
    };
    assert_eq!(standing(&[], Health::Down), Standing::Misbehaving { since: Some(Timestamp(-5)) });
    assert_eq!(standing(&[], Health::Unknown), Standing::Unknown);
    assert_eq!(standing(&["up us"], Health::Down), Standing::Up);
    assert_eq!(standing(&["down us"], Health::Up), Standing::Withdrawn);
    assert_eq!(standing(&["drain us", "up us"], Health::Up), Standing::Withdrawn);
}

proptest! {
    #[test]
    fn the_order_of_the_list_does_not_matter(
        picks in prop::collection::vec((0_usize..7, 0_usize..5, 0_i64..4, prop::option::of(0_i64..40)), 0..8),
        rotation in 0_usize..8,
        down: bool,
    ) {
        let topology = topology();
        let kinds = ["drain", "maintenance", "up", "down", "light", "heavy", "hold"];
        let scopes = ["us", "api", "api/us", "api/us/192.0.2.1:80", "eu"];
        let mut orders: Vec<Override> = picks.into_iter().map(|(kind, scope, at, until)| {
            let made = order(0, &format!("{} {}", kinds[kind], scopes[scope]));
            Override { at: Timestamp(at), until: until.map(Timestamp), ..made }
        }).collect();
        let effective = |orders: &[Override]| {
            let mut overlay = Overlay::new(&topology, orders.to_vec(), &[]).unwrap();
            overlay.settle(&topology, NOW, |_| verdict(Health::Up));
            let effective = overlay.columns(&topology, API_US, verdict(if down { Health::Down } else { Health::Up }), NOW).effective;
            let intended = overlay.intended(&topology, API_US, NOW);
            let weights = (intended.ordered_pool_weight(), intended.ordered_weight());
            (effective.verdict.health, effective.is_drained(), effective.health_by.map(|by| (by.scope.clone(), by.kind)), weights)
        };
        let before = effective(&orders);
        if !orders.is_empty() {
            let by = rotation % orders.len();
            orders.rotate_left(by);
        }
        prop_assert_eq!(&effective(&orders), &before);
        let is_any_in_force = orders.iter().any(|order| order.is_in_force(NOW));
        let untouched = (if down { Health::Down } else { Health::Up }, false, None, (None, None));
        prop_assert!(is_any_in_force || before == untouched);
    }
}
