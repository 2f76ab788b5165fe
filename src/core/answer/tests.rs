//! What must hold for every plan, every state of health and every client.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    failover::token::Token,
    model::{
        follow::{Followed, FollowedMember, Follows, WithoutPrimary},
        ids::{RegionIdx, RegionSet, ServiceIdx},
        reason::Mark,
        record::{RecordData, RecordType},
        time::Tick,
        topology::{AllDown, Families, ResidencyMode, Spread, Steering, TtlRange},
        units::{Share, Ttl},
        verdict::Health,
    },
    steering::prove::{Breach, prove_residency},
    table::{EndpointState, RoleView, Table, Tier},
    testing,
};

/// The regions of the endpoints whose addresses are in the answer.
fn regions(table: &Table, answer: &Answer) -> RegionSet {
    let endpoints = &table.world.topology.endpoints;
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RecordData::A(address) => Some(IpAddr::V4(*address)),
        RecordData::Aaaa(address) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let found = addresses.filter_map(|address| endpoints.iter().find(|endpoint| endpoint.target.to_string() == address.to_string()));
    found.map(|endpoint| endpoint.region).collect()
}

/// The regions that the client of a query may be sent to.
fn fence(table: &Table, query: &Query) -> RegionSet {
    let (address, prefix) = match query.client_subnet {
        Some(subnet) if subnet.source_prefix > 0 => (subnet.address, subnet.source_prefix),
        _ => (query.source, 128),
    };
    let matched = table.world.geo.lookup_network(address, prefix);
    table.world.geo.view(matched.class, table.world.profile(ServiceIdx(0))).fence.unwrap_or(RegionSet::first(32))
}

fn with_type(query: &Query, record_type: RecordType) -> Query {
    Query { record_type, ..query.clone() }
}

/// As a set: the order of equal records is a matter of chance.
fn record_set(answer: &Answer) -> Vec<String> {
    let mut records: Vec<String> = answer.answers.iter().map(ToString::to_string).collect();
    records.sort();
    records
}

fn up(state: &EndpointState) -> bool {
    (state.health == Health::Up || state.kept) && !state.drained && state.health != Health::Unknown
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

    #[test]
    fn the_leaf_of_the_explain_tree_is_the_served_answer((table, _) in testing::any_table(), query in testing::query()) {
        let served = answer(&table, &query, Tick(1));
        let (explained, reason) = explain(&table, &query, Tick(1));
        prop_assert_eq!(&explained, &served);
        let leaf = reason.because.last().expect("a leaf");
        prop_assert_eq!(leaf.mark, Mark::Leaf);
        prop_assert_eq!(&leaf.text, &served.summary());
    }

    #[test]
    fn a_name_with_a_usable_endpoint_is_never_answered_empty((table, states) in testing::any_table(), query in testing::query()) {
        let inside = fence(&table, &query);
        let service = &table.world.topology.services[0];
        let strict = service.steering.residency.as_ref().is_some_and(|residency| residency.mode == ResidencyMode::Strict);
        let reachable = |family: Option<RecordType>| {
            table.world.topology.endpoints.iter().zip(&states).any(|(endpoint, state)| {
                let of_family = family.is_none_or(|family| (family == RecordType::A) == endpoint.target.to_string().contains('.'));
                of_family && up(state) && (!strict || inside.contains(endpoint.region))
            })
        };
        let [v4, v6] = [RecordType::A, RecordType::AAAA].map(|record_type| answer(&table, &with_type(&query, record_type), Tick(1)));
        if reachable(None) {
            prop_assert!(!v4.answers.is_empty() || !v6.answers.is_empty());
        }
        for (record_type, answer) in [(RecordType::A, &v4), (RecordType::AAAA, &v6)] {
            let apart = service.steering.families == Families::Independent;
            prop_assert!(answer.rcode == Rcode::NoError || !reachable(apart.then_some(record_type)));
        }
        if service.steering.families == Families::Independent {
            prop_assert!(!reachable(Some(RecordType::A)) || !v4.answers.is_empty());
            prop_assert!(!reachable(Some(RecordType::AAAA)) || !v6.answers.is_empty());
        }
    }

    #[test]
    fn a_strict_fence_is_never_crossed((table, _) in testing::table_of(testing::fenced_draft()), query in testing::query()) {
        let service = &table.world.topology.services[0];
        let answer = answer(&table, &query, Tick(1));
        let inside = fence(&table, &query);
        prop_assert!(regions(&table, &answer).without(inside).is_empty(), "{answer:?} outside {inside:?}");
        if inside != RegionSet::first(32) {
            prop_assert!(!answer.summary().contains("203.0.113.99"), "backup targets have no region");
        }
        // What is proved at load is what holds here: the only breach that a plan can have is a fence with nobody inside.
        match prove_residency(&table.world.topology, ServiceIdx(0)) {
            Ok(proof) => prop_assert!(service.steering.residency.as_ref().is_some_and(|residency| residency.by_code.is_empty() && residency.otherwise.is_none()) || proof.trials > 0),
            Err(breaches) => prop_assert!(breaches.iter().all(|breach| matches!(breach, Breach::NobodyInside(_))), "{breaches:?}"),
        }
    }

    #[test]
    fn both_families_come_from_one_region((table, _) in testing::table_of(testing::sticky_draft()), query in testing::query()) {
        let [v4, v6] = [RecordType::A, RecordType::AAAA].map(|record_type| regions(&table, &answer(&table, &with_type(&query, record_type), Tick(1))));
        prop_assert!(v4.or(v6).len() <= 1, "{v4:?} {v6:?}");
    }

    #[test]
    fn every_client_inside_the_scope_gets_the_same_records((table, _) in testing::table_of(testing::sticky_draft()), query in testing::query(), other: u128) {
        let Some(subnet) = query.client_subnet.filter(|subnet| subnet.source_prefix > 0) else { return Ok(()) };
        let first = answer(&table, &query, Tick(1));
        // Another client of the same length of prefix, equal in the bits of the scope.
        let address = match subnet.address {
            IpAddr::V4(address) => {
                let keep = u32::MAX.checked_shl(32 - u32::from(first.scope)).unwrap_or(0);
                let other = u32::try_from(other & u128::from(u32::MAX)).expect("32 bits");
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & keep | other & !keep))
            }
            IpAddr::V6(address) => {
                let keep = u128::MAX.checked_shl(128 - u32::from(first.scope)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & keep | other & !keep).into())
            }
        };
        let neighbour = testing::masked(address, subnet.source_prefix.max(first.scope));
        let second = answer(&table, &Query { client_subnet: Some(neighbour), ..query.clone() }, Tick(1));
        prop_assert_eq!(record_set(&first), record_set(&second), "scope {} of {:?} and {:?}", first.scope, subnet, neighbour);
    }

    #[test]
    fn a_lost_region_moves_only_its_own_clients_and_they_return(draft in testing::sticky_draft(), queries in prop::collection::vec(testing::query(), 40), lost: prop::sample::Index) {
        let topology = testing::topology(&draft);
        let world = testing::world(topology);
        let lost = world.topology.services[0].pools[lost.index(world.topology.services[0].pools.len())].region;
        let state = |down: bool| EndpointState {
            health: if down { Health::Down } else { Health::Up },
            drained: false,
            kept: false,
            admitted: Share::FULL,
            next_change: std::time::Duration::from_secs(30),
            weight: None,
            pool_weight: None,
            left: None,
            note: None,
        };
        let before = Table::compile(1, world.clone(), |_| state(false));
        let after = Table::compile(2, world.clone(), |endpoint| state(world.topology.endpoints[endpoint.get()].region == lost));
        for query in &queries {
            let [was, is] = [&before, &after].map(|table| answer(table, query, Tick(1)).steered.and_then(|(_, region)| region));
            prop_assert!(was == Some(lost) || was == is, "{query:?}: {was:?} {is:?}");
            prop_assert!(is != Some(lost) || after.view(ServiceIdx(0)).up.is_empty() || draft.steering.residency.is_some());
        }
    }

    #[test]
    fn answers_stay_inside_their_bounds((table, _) in testing::any_table(), query in testing::query()) {
        let service = &table.world.topology.services[0];
        let answer = answer(&table, &query, Tick(1));
        prop_assert!(answer.answers.len() <= usize::from(service.steering.limit).max(service.backup.len()));
        for record in &answer.answers {
            prop_assert!((service.ttl.min..=service.ttl.max).contains(&record.ttl));
        }
        if query.client_subnet.is_none_or(|subnet| subnet.source_prefix == 0) {
            prop_assert_eq!(answer.scope, 0);
        }
        if answer.answers.is_empty() && answer.rcode != Rcode::ServFail {
            prop_assert_eq!(answer.authority.len(), 1, "a negative answer carries the SOA");
        }
    }
}

#[test]
fn a_partial_share_admits_that_share_of_clients_and_leaves_the_others_where_they_were() {
    use crate::model::topology::Stage;
    let steering = Steering {
        preset: "geo",
        stages: vec![Stage::Geo, Stage::Priority, Stage::Weight],
        tie: Share::NONE,
        limit: 8,
        multivalue: false,
        spread: Spread::Sticky,
        families: Families::Together,
        residency: None,
    };
    let draft = testing::Draft { endpoints: vec![vec![(false, 1)]; 3], weights: vec![(1, 1); 3], steering, all_down: AllDown::LastGood };
    let world = testing::world(testing::topology(&draft));
    let table_with = |health: Health, share: Share| {
        Table::compile(1, world.clone(), |endpoint| {
            let first = endpoint.get() == 0;
            EndpointState {
                health: if first { health } else { Health::Up },
                drained: false,
                kept: false,
                admitted: if first { share } else { Share::FULL },
                next_change: std::time::Duration::from_secs(30),
                weight: None,
                pool_weight: None,
                left: None,
                note: None,
            }
        })
    };
    let (without, ramping, whole) =
        (table_with(Health::Down, Share::FULL), table_with(Health::Up, Share::percent(20)), table_with(Health::Up, Share::FULL));
    assert_eq!(without.view(ServiceIdx(0)).pools[0].members[0].tier, Tier::Out);
    let mut admitted = 0;
    for i in 0..2560_u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (i & 0xff) << 8 | i >> 8));
        let query = Query {
            name: testing::name("api.example.test"),
            record_type: RecordType::A,
            source: address,
            client_subnet: Some(testing::masked(address, 24)),
            entropy: 0,
        };
        let [without, ramping, whole] = [&without, &ramping, &whole].map(|table| regions(table, &answer(table, &query, Tick(1))));
        assert!(whole.contains(RegionIdx(0)));
        if ramping == whole {
            admitted += 1;
        } else {
            assert_eq!(ramping, without);
        }
    }
    // 256 networks of 10.0.0.0/16, ten clients each; a share of 20 % of 256 draws lies within 12 % and 28 % but once in a thousand.
    assert!((310..=717).contains(&admitted), "{admitted} of 2560");
}

/// A table whose service follows the primary of `orders`, with a member in each region.
fn following(range: TtlRange, without: WithoutPrimary, role: RoleView) -> Table {
    let steering = Steering {
        preset: "geo",
        stages: Vec::new(),
        tie: Share::NONE,
        limit: 8,
        multivalue: false,
        spread: Spread::Sticky,
        families: Families::Together,
        residency: None,
    };
    let draft = testing::Draft { endpoints: vec![vec![]; 3], weights: vec![(1, 1); 3], steering, all_down: AllDown::Servfail };
    let mut topology = testing::topology(&draft);
    let address = |i: u8| IpAddr::from([198, 51, 100, i]);
    let members = (0..3).map(|i| FollowedMember { region: RegionIdx(i), address: address(i), port: 5432 }).collect();
    topology.services[0].follows = Some(Arc::new(Follows { group: "orders".into(), role: Followed::Primary { without }, members }));
    topology.services[0].ttl = range;
    let mut table = Table::compile(1, testing::world(topology), |_| unreachable!("it has no endpoints"));
    table.set_role(ServiceIdx(0), role);
    table
}

proptest! {
    #[test]
    fn a_name_that_follows_a_primary_is_answered_no_longer_than_that_is_proven(
        (min, more) in (0_u32..3, 0_u32..15), without in prop::sample::select(vec![WithoutPrimary::Servfail, WithoutPrimary::Nodata, WithoutPrimary::Last]),
        region in prop::option::of(0_u8..3), (said, until) in (0_u64..90_000, prop::option::of(0_u64..180_000)), asked in 90_000_u64..180_000,
        is_leaving in any::<bool>(), query in testing::query(),
    ) {
        let tick = |millis: u64| Tick(millis * 1000);
        let range = TtlRange { min: Ttl::from_secs(min), max: Ttl::from_secs(min + more) };
        let token = Token { generation: 1, epoch: 4711 };
        let role = RoleView { token, region: region.map(RegionIdx), said: Some(tick(said)), until: until.map(tick), is_leaving };
        let table = following(range, without, role);
        let query = with_type(&query, RecordType::A);
        let given = answer(&table, &query, tick(asked));
        let (explained, reason) = explain(&table, &query, tick(asked));
        prop_assert_eq!(&explained, &given);
        prop_assert_eq!(&reason.because.last().expect("a leaf").text, &given.summary());
        let remains = until.unwrap_or(0).saturating_sub(asked);
        let holder = region.map(|region| format!("198.51.100.{region}"));
        let shown: Vec<String> = given.answers.iter().map(|record| record.data.to_string()).collect();
        let is_proven = remains > 0 && remains >= u64::from(min) * 1000 && holder.is_some();
        if is_proven {
            prop_assert_eq!(&shown, &[holder.unwrap_or_default()]);
            prop_assert_eq!(&given.extended_error, &None);
            let ttl = given.answers[0].ttl;
            prop_assert!(!is_leaving || ttl == range.min, "{}", ttl);
            prop_assert!(u64::from(ttl.secs()) * 1000 <= remains && ttl >= range.min && ttl <= range.max, "{} of {} ms", ttl, remains);
            return Ok(());
        }
        let error = given.extended_error.as_ref().expect("it says why");
        prop_assert!(error.text.contains("orders") && error.text.contains("1.4711") && error.text.contains(" ago"), "{}", error.text);
        match (without, holder) {
            (WithoutPrimary::Last, Some(holder)) => {
                prop_assert_eq!((&shown, error.code, given.answers[0].ttl), (&vec![holder], ExtendedError::STALE_ANSWER, range.min));
            }
            (WithoutPrimary::Nodata, _) => prop_assert_eq!((given.rcode, shown.len(), given.authority.len()), (Rcode::NoError, 0, 1)),
            _ => prop_assert_eq!((given.rcode, shown.len()), (Rcode::ServFail, 0)),
        }
    }
}
