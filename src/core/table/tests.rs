//! What a table must be, whatever it is made from.

use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;

use super::{Table, Tier};
use crate::{
    answer::{Query, answer},
    model::{
        ids::{RegionIdx, ServiceIdx},
        record::RecordType,
        time::Tick,
        topology::{AllDown, Families, Spread, Stage, Steering},
        units::{Share, Ttl},
        verdict::Health,
    },
    testing::{self, any_table, query, states},
};

fn weighted(weights: &[u16]) -> testing::Draft {
    let steering = Steering {
        preset: "weighted",
        stages: vec![Stage::Weight],
        tie: Share::NONE,
        limit: 8,
        multivalue: false,
        spread: Spread::Sticky,
        families: Families::Together,
        residency: None,
    };
    testing::Draft {
        endpoints: vec![vec![(false, 1)]; weights.len()],
        weights: weights.iter().map(|weight| (*weight, 1)).collect(),
        steering,
        all_down: AllDown::LastGood,
    }
}

proptest! {
    #[test]
    fn a_table_with_changes_equals_one_that_is_compiled_whole(draft in testing::draft(), seed in states(20), later in prop::collection::vec((any::<prop::sample::Index>(), states(1)), 1..12)) {
        let world = testing::world(testing::topology(&draft));
        let n = world.topology.endpoints.len();
        let mut states = seed;
        states.truncate(n);
        while states.len() < n {
            states.push(states[0].clone());
        }
        let mut table = testing::table(&world, &states);
        for (at, mut state) in later {
            states[at.index(n)] = state.remove(0);
            let generation = table.generation;
            table = table.with_changes([ServiceIdx(0)], |endpoint| states[endpoint.get()].clone());
            prop_assert_eq!(table.generation, generation + 1);
            prop_assert_eq!(&table.views, &testing::table(&world, &states).views);
        }
    }

    #[test]
    fn an_answer_lives_no_longer_than_what_it_depends_on((table, states) in any_table(), query in query()) {
        let given = answer(&table, &query, Tick(1));
        let topology = &table.world.topology;
        let range = topology.services[0].ttl;
        let view = table.view(ServiceIdx(0));
        let Some((_, region)) = given.steered else { return Ok(()) };
        // Everything out of rotation may return; everything where the answer points may leave. Where no region was chosen, that is all.
        let depends = view.pools.iter().flat_map(|pool| &pool.members).filter(|member| {
            let here = region.is_none_or(|region| topology.endpoints[member.endpoint.get()].region == region);
            member.tier != Tier::Up || (here && region.is_some())
        });
        let soonest = depends.map(|member| states[member.endpoint.get()].next_change).min().unwrap_or(Duration::MAX);
        let longest = Ttl::from_duration(soonest).clamp(range.min, range.max);
        for record in given.answers.iter().chain(&given.authority) {
            prop_assert!(record.ttl <= longest, "{record} lives longer than {longest}");
        }
    }
}

proptest! {
    // Ten thousand answers each.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn clients_spread_by_weight(weights in prop::collection::vec(1_u16..100, 2..5)) {
        const CLIENTS: u32 = 10_000;
        let draft = weighted(&weights);
        let world = testing::world(testing::topology(&draft));
        let n = world.topology.endpoints.len();
        let up = crate::table::EndpointState {
            health: Health::Up, drained: false, kept: false, admitted: Share::FULL, next_change: Duration::from_secs(30),
            weight: None, pool_weight: None, left: None, note: None,
        };
        let table = Table::compile(1, world, |_| up.clone());
        let mut counts = vec![0_u32; n];
        for i in 0..CLIENTS {
            let source = IpAddr::V4((0x0a00_0000 + (i << 8)).into());
            let query = Query { name: testing::name("api.example.test"), record_type: RecordType::A, source, client_subnet: None, entropy: 0 };
            let region: RegionIdx = answer(&table, &query, Tick(1)).steered.and_then(|(_, region)| region).expect("a region");
            counts[region.get()] += 1;
        }
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let chi: f64 = counts.iter().zip(&weights).map(|(&seen, &weight)| {
            let want = f64::from(CLIENTS) * f64::from(weight) / total;
            (f64::from(seen) - want).powi(2) / want
        }).sum();
        // Three degrees of freedom at most: passed once in 10^7 by chance.
        prop_assert!(chi < 35.0, "{weights:?} {counts:?}: {chi}");
    }
}
