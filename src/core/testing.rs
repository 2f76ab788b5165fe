//! Small random worlds for property tests.

pub(crate) mod clock;
pub(crate) mod script;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

use crate::{
    answer::{ClientSubnet, Query},
    geo::{GeoMap, Profiles},
    model::{
        check::{Cadence, Check, Flap, Probe, ProbeKind},
        ids::{CheckIdx, EndpointIdx, Label, RegionIdx, RegionSet, ServiceIdx},
        name::Name,
        record::{Record, RecordData, RecordType, Soa},
        time::Timestamp,
        topology::{
            AllDown, Endpoint, Families, Guardrails, Pool, Region, Residency, ResidencyMode, Service, SlowStart, Spread, Stage, Steering,
            Target, Topology, TtlRange, Zone,
        },
        units::{Code, Location, Share, Ttl, Weight},
        verdict::Health,
    },
    table::{EndpointState, Table, World},
};

/// Where the regions of test worlds lie: their clients' networks are 10.<region>.0.0/16 and 2001:db8:<region>::/48.
const PLACES: [(&str, &str, i16, i16); 5] =
    [("NA", "US", 3890, -7740), ("EU", "IE", 5330, -630), ("AS", "SG", 135, 10_380), ("SA", "BR", -2350, -4660), ("EU", "DE", 5010, 860)];

/// With a rule removed a property must fail: within so many cases, the same in every run.
pub(crate) fn must_fail<S: Strategy>(cases: u32, drawn: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config, rng).run(drawn, property);
    assert!(matches!(outcome, Err(TestError::Fail(..))), "it is not missed: {outcome:?}");
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("invariant: a good name")
}

pub(crate) fn cadence() -> Cadence {
    Cadence {
        interval: Duration::from_secs(30),
        fast_interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        fall: 3,
        rise: 2,
        ok_run: 10,
        flap: Flap { window: Duration::from_secs(600), rise_max: 20 },
    }
}

/// One random service; `endpoints[region]` lists (IPv6, weight).
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) endpoints: Vec<Vec<(bool, u16)>>,
    pub(crate) weights: Vec<(u16, u16)>,
    pub(crate) steering: Steering,
    pub(crate) all_down: AllDown,
}

fn stages() -> impl Strategy<Value = (&'static str, Vec<Stage>, bool)> {
    prop_oneof![
        Just(("weighted", vec![Stage::Weight], false)),
        Just(("failover", vec![Stage::Priority, Stage::Weight], false)),
        Just(("geo", vec![Stage::Geo, Stage::Priority, Stage::Weight], false)),
        Just(("latency", vec![Stage::Latency, Stage::Priority, Stage::Weight], false)),
        Just(("active_active", vec![Stage::Geo, Stage::Weight], false)),
        Just(("multivalue", vec![], true)),
        Just(("stages", vec![Stage::Priority, Stage::Geo], false)),
    ]
}

fn residency(n: usize) -> impl Strategy<Value = Option<Residency>> {
    let set = move || (1_u32..1 << n).prop_map(RegionSet::from_bits);
    let mode = prop_oneof![Just(ResidencyMode::Strict), Just(ResidencyMode::Prefer)];
    let codes = prop::collection::btree_map(prop_oneof![Just("EU"), Just("NA"), Just("IE")], set(), 0..3);
    prop::option::of((mode, codes, prop::option::of(set())).prop_map(|(mode, codes, otherwise)| {
        let by_code =
            codes.into_iter().map(|(code, set)| (Code::new(code).expect("invariant: two letters"), set)).collect::<BTreeMap<_, _>>();
        Residency { mode, by_code, otherwise }
    }))
}

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    (1_usize..=5).prop_flat_map(|n| {
        let pool = prop::collection::vec((any::<bool>(), 0_u16..4), 0..4);
        let steering = (stages(), residency(n), any::<bool>(), any::<bool>(), 1_u8..5).prop_map(
            |((preset, stages, multivalue), residency, random, apart, limit)| {
                let spread = if random { Spread::Random } else { Spread::Sticky };
                let families = if apart { Families::Independent } else { Families::Together };
                Steering { preset, stages, tie: Share::percent(10), limit, multivalue, spread, families, residency }
            },
        );
        let all_down =
            prop_oneof![Just(AllDown::LastGood), Just(AllDown::All), Just(AllDown::Backup), Just(AllDown::Nodata), Just(AllDown::Servfail)];
        let endpoints = prop::collection::vec(pool, n).prop_map(|mut endpoints| {
            if endpoints.iter().all(Vec::is_empty) {
                endpoints[0].push((false, 1));
            }
            endpoints
        });
        (endpoints, prop::collection::vec((0_u16..100, 1_u16..3), n), steering, all_down)
            .prop_map(|(endpoints, weights, steering, all_down)| Draft { endpoints, weights, steering, all_down })
    })
}

/// How a random endpoint stands.
pub(crate) fn states(n: usize) -> impl Strategy<Value = Vec<EndpointState>> {
    let health = prop_oneof![4 => Just(Health::Up), 3 => Just(Health::Down), 1 => Just(Health::Unknown)];
    let state = (
        health,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 0_u16..10_000),
        prop::option::of((0_i64..100).prop_map(|seconds| Timestamp(seconds * 1000))),
        0_u64..100,
    )
        .prop_map(|(health, drained, kept, admitted, left, seconds)| EndpointState {
            health,
            drained,
            kept,
            admitted: admitted.map_or(Share::FULL, Share::basis_points),
            next_change: Duration::from_secs(seconds),
            weight: None,
            pool_weight: None,
            left,
            note: (health != Health::Up).then(|| "as drawn".into()),
        });
    prop::collection::vec(state, n)
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let address = prop_oneof![
        (0_u8..8, any::<u16>())
            .prop_map(|(region, rest)| IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes([10, region, 0, 0]) | u32::from(rest)))),
        (0_u16..8, any::<u64>()).prop_map(|(region, rest)| {
            let high = u128::from(0x2001_0db8_0000_0000_u64 | u64::from(region) << 16) << 64;
            IpAddr::V6(Ipv6Addr::from_bits(high | u128::from(rest)))
        }),
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
    ];
    let subnet = prop::option::of((address.clone(), 0_u8..=128));
    let types = prop_oneof![Just(RecordType::A), Just(RecordType::AAAA), Just(RecordType::ANY), Just(RecordType::TXT)];
    (address, subnet, types, any::<u64>()).prop_map(|(source, subnet, record_type, entropy)| Query {
        name: name("api.example.test"),
        record_type,
        source,
        client_subnet: subnet.map(|(address, prefix)| masked(address, prefix)),
        entropy,
    })
}

pub(crate) fn masked(address: IpAddr, prefix: u8) -> ClientSubnet {
    let prefix = prefix.min(if address.is_ipv4() { 32 } else { 128 });
    let net = ipnet::IpNet::new(address, prefix).expect("invariant: the prefix fits");
    ClientSubnet { address: net.network(), source_prefix: prefix }
}

pub(crate) fn topology(draft: &Draft) -> Topology {
    let regions = (0..draft.endpoints.len()).map(|i| {
        let (continent, country, latitude, longitude) = PLACES[i];
        Region {
            name: Label::new(&format!("region-{i}")),
            location: Some(Location { latitude, longitude }),
            continent: Code::new(continent),
            country: Code::new(country),
            jurisdiction: None,
            cluster: None,
            failure_domain: None,
            capacity_rps: None,
            networks: vec![format!("10.{i}.0.0/16").parse().expect("invariant"), format!("2001:db8:{i}::/48").parse().expect("invariant")],
        }
    });
    let probe = Arc::new(Probe { kind: ProbeKind::None, cadence: cadence() });
    let (mut endpoints, mut pools) = (Vec::new(), Vec::new());
    for (i, list) in draft.endpoints.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
        let first = EndpointIdx::at(endpoints.len());
        let (weight, priority) = draft.weights[i];
        for (j, &(is_v6, weight)) in list.iter().enumerate() {
            let address = if is_v6 { format!("2001:db8:ff:{i}::{j}") } else { format!("192.0.2.{}", i * 16 + j) };
            endpoints.push(Endpoint {
                service: ServiceIdx(0),
                region: RegionIdx::at(i),
                target: Target::Address(address.parse().expect("invariant: an address")),
                port: 80,
                weight: Weight(weight),
                check: CheckIdx(0),
            });
        }
        pools.push(Pool {
            region: RegionIdx::at(i),
            weight: Weight(weight),
            priority,
            first,
            count: u32::try_from(list.len()).expect("invariant: few"),
        });
    }
    let apex = name("example.test");
    let soa = Soa {
        primary: name("ns1.example.test"),
        contact: name("hostmaster.example.test"),
        serial: 1,
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 30,
    };
    let record = |owner: &Name, data| Record { owner: owner.clone(), ttl: Ttl::from_secs(300), data };
    let records = vec![record(&apex, RecordData::Soa(soa)), record(&apex, RecordData::Ns(name("ns1.example.test")))];
    Topology {
        regions: regions.collect(),
        services: vec![Service {
            name: Label::new("api"),
            hostnames: vec![name("api.example.test")],
            steering: draft.steering.clone(),
            ttl: TtlRange { min: Ttl::from_secs(5), max: Ttl::from_secs(60) },
            all_down: draft.all_down,
            slow_start: SlowStart { share: Share::percent(20), over: Duration::from_secs(300), ramp: false },
            min_healthy_regions: 1,
            pools,
            backup: vec![Target::Address("203.0.113.99".parse().expect("invariant: an address"))],
            follows: None,
        }],
        endpoints,
        checks: vec![Check { address: None, probe }],
        zones: vec![Zone { apex, records: Arc::new(records) }],
        guardrails: Guardrails::default(),
        ..Topology::default()
    }
}

pub(crate) fn world(topology: Topology) -> Arc<World> {
    let profiles = Profiles::of(&topology);
    let geo = GeoMap::build(&topology.regions, &profiles.distinct, None, None).expect("invariant: small");
    Arc::new(World::new(Arc::new(topology), Arc::new(geo)))
}

pub(crate) fn table(world: &Arc<World>, states: &[EndpointState]) -> Table {
    Table::compile(1, world.clone(), |endpoint| states[endpoint.get()].clone())
}

/// A draft with a strict fence.
pub(crate) fn fenced_draft() -> impl Strategy<Value = Draft> {
    draft().prop_flat_map(|draft| {
        let n = draft.endpoints.len();
        residency(n).prop_map(move |residency| {
            let mut draft = draft.clone();
            let residency = residency.unwrap_or(Residency {
                mode: ResidencyMode::Strict,
                by_code: BTreeMap::new(),
                otherwise: Some(RegionSet::from_bits(1)),
            });
            draft.steering.residency = Some(Residency { mode: ResidencyMode::Strict, ..residency });
            draft
        })
    })
}

/// A draft that chooses one region per client.
pub(crate) fn sticky_draft() -> impl Strategy<Value = Draft> {
    draft().prop_map(|mut draft| {
        draft.steering.spread = Spread::Sticky;
        draft.steering.multivalue = false;
        draft.steering.families = Families::Together;
        draft
    })
}

/// A random table with the states that it was made from.
pub(crate) fn any_table() -> impl Strategy<Value = (Table, Vec<EndpointState>)> {
    table_of(draft())
}

/// A random table of such a draft, with the states that it was made from.
pub(crate) fn table_of(drafts: impl Strategy<Value = Draft>) -> impl Strategy<Value = (Table, Vec<EndpointState>)> {
    drafts.prop_flat_map(|draft| {
        let world = world(topology(&draft));
        let n = world.topology.endpoints.len();
        states(n).prop_map(move |states| (table(&world, &states), states))
    })
}
