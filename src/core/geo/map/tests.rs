use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    geo::{
        distance::kilometres,
        latency::LatencyKey,
        place::Origin,
        profile::Metric,
        view::{By, DISTANCE_FLOOR_KM},
    },
    model::{
        ids::{RegionIdx, RegionSet},
        topology::{Residency, ResidencyMode},
        units::{Code, Location, Share},
    },
};

/// A database that is a list.
#[derive(Clone, Debug)]
struct Listed(Vec<(IpNet, Place)>);

impl PlaceSource for Listed {
    fn name(&self) -> String {
        "a list".to_owned()
    }

    fn place(&self, ip: IpAddr) -> Option<Place> {
        let around = self.0.iter().filter(|(network, place)| network.contains(&ip) && place.is_somewhere());
        around.max_by_key(|(network, place)| (network.prefix_len(), std::cmp::Reverse(place.completed()))).map(|found| found.1)
    }

    fn each(&self, visit: &mut dyn FnMut(IpNet, Place)) -> Result<(), String> {
        self.0.iter().for_each(|&(network, place)| visit(network, place));
        Ok(())
    }
}

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn region(name: &str, location: Option<(f64, f64)>, networks: &[&str]) -> Region {
    Region {
        name: name.into(),
        location: location.and_then(|(latitude, longitude)| Location::from_degrees(latitude, longitude)),
        continent: None,
        country: None,
        jurisdiction: None,
        cluster: None,
        failure_domain: None,
        capacity_rps: None,
        networks: networks.iter().map(|text| net(text)).collect(),
    }
}

/// Ashburn, Dublin and Singapore.
fn three_regions() -> Vec<Region> {
    vec![
        region("us-east-1", Some((38.9, -77.4)), &["198.18.0.0/16"]),
        region("eu-west-1", Some((53.3, -6.3)), &[]),
        region("ap-southeast-1", Some((1.35, 103.8)), &[]),
    ]
}

fn profile(metric: Metric, tie: u16) -> GeoProfile {
    GeoProfile { regions: RegionSet::first(3), metric, tie: Share::percent(tie), residency: None }
}

fn country(text: &str) -> Place {
    Place { country: Some(code(text)), origin: Origin::Database, ..Place::UNKNOWN }
}

fn order(map: &GeoMap, address: &str) -> Vec<u8> {
    map.view(map.lookup(ip(address)).class, ProfileIdx(0)).ranking.order().iter().map(|region| region.0).collect()
}

#[test]
fn with_nothing_installed_continents_still_find_their_regions() {
    let map = GeoMap::build(&three_regions(), &[profile(Metric::Distance, 10)], None, None).unwrap();
    assert_eq!(order(&map, "193.0.6.139"), [1, 0, 2]);
    assert_eq!(order(&map, "8.8.8.8"), [0, 1, 2]);
    assert_eq!(order(&map, "1.1.1.1"), [2, 1, 0]);
    assert_eq!(map.lookup(ip("81.1.2.3")).prefix, 4, "80.0.0.0/4 is all of one registry");
    let private = map.lookup(ip("10.1.2.3"));
    assert_eq!(private.prefix, 8);
    let view = map.view(private.class, ProfileIdx(0));
    assert_eq!((view.by, view.is_known()), (By::Unknown, false));
    assert_eq!(view.ranking.nearest(RegionSet::first(3)), RegionSet::first(3), "all tie");
}

#[test]
fn networks_of_the_plan_beat_the_database_and_their_region_stands_alone() {
    let mut regions = three_regions();
    regions.push(region("us-east-2", Some((38.9, -77.4)), &[]));
    let wide = GeoProfile { regions: RegionSet::first(4), ..profile(Metric::Distance, 100) };
    let database = Listed(vec![(net("198.18.0.0/15"), country("SG"))]);
    let map = GeoMap::build(&regions, &[wide], Some(Arc::new(database)), None).unwrap();
    let view = map.view(map.lookup(ip("198.18.7.7")).class, ProfileIdx(0));
    let home = RegionSet::from_bits(1);
    assert_eq!(view.ranking.nearest(RegionSet::first(4)), home, "not even a region in the same town ties with the client's own");
    assert_eq!(map.place(ip("198.18.7.7")).origin, Origin::PlanNetwork(RegionIdx(0)));
    assert_eq!(map.place(ip("198.19.7.7")).country, Some(code("SG")));
    assert_eq!(
        map.client(ip("198.19.7.7")).kilometres[2],
        Some(kilometres(regions[2].location.unwrap(), map.place(ip("198.19.7.7")).location.unwrap()))
    );
}

#[test]
fn regions_of_one_town_tie_below_the_floor() {
    // 40 km apart, and the client stands in the middle of one of them.
    let regions = [region("a", Some((50.0, 8.0)), &[]), region("b", Some((50.36, 8.0)), &[])];
    let place = Place { location: regions[0].location, origin: Origin::Database, ..Place::UNKNOWN };
    let database = Listed(vec![(net("203.0.112.0/24"), place)]);
    let one = GeoProfile { regions: RegionSet::first(2), ..profile(Metric::Distance, 0) };
    let map = GeoMap::build(&regions, &[one], Some(Arc::new(database)), None).unwrap();
    let view = map.view(map.lookup(ip("203.0.112.1")).class, ProfileIdx(0));
    assert_eq!(view.ranking.nearest(RegionSet::first(2)), RegionSet::first(2));
    assert!(map.client(ip("203.0.112.1")).kilometres[1] < Some(DISTANCE_FLOOR_KM));
}

#[test]
fn latency_counts_only_where_it_is_whole() {
    let mut table = LatencyTable::default();
    for (region, ms) in [("us-east-1", 90), ("eu-west-1", 40), ("ap-southeast-1", 20)] {
        table.insert(LatencyKey::Network(net("193.0.0.0/16")), region.into(), ms).unwrap();
    }
    table.insert(LatencyKey::Continent(code("EU")), "us-east-1".into(), 1).unwrap();
    let map = GeoMap::build(&three_regions(), &[profile(Metric::Latency, 10)], None, Some(&table)).unwrap();
    assert_eq!(order(&map, "193.0.6.139"), [2, 1, 0]);
    assert_eq!(map.view(map.lookup(ip("193.0.6.139")).class, ProfileIdx(0)).by, By::Latency);
    assert_eq!(order(&map, "193.1.6.139"), [1, 0, 2]);
    assert_eq!(map.view(map.lookup(ip("193.1.6.139")).class, ProfileIdx(0)).by, By::DistanceForLackOfLatency);
    assert_eq!(map.client(ip("193.0.6.139")).milliseconds, [Some(90), Some(40), Some(20)]);
    assert_eq!(map.lookup(ip("193.0.6.139")).prefix, 16);
}

#[test]
fn scopes_of_embedded_addresses_are_in_their_own_family() {
    let database = Listed(vec![(net("8.8.8.0/24"), country("SG"))]);
    let map = GeoMap::build(&three_regions(), &[profile(Metric::Distance, 10)], Some(Arc::new(database)), None).unwrap();
    let plain = map.lookup(ip("8.8.8.8"));
    assert_eq!(plain.prefix, 24);
    for (address, prefix) in
        [("::ffff:8.8.8.8", 120), ("64:ff9b::8.8.8.8", 120), ("2002:808:808::1", 40), ("2001:0:1:2:3:4:f7f7:f7f7", 120)]
    {
        assert_eq!(map.lookup(ip(address)), GeoMatch { class: plain.class, prefix }, "{address}");
    }
}

#[test]
fn a_network_of_clients_is_looked_up_by_its_first_address() {
    let map = GeoMap::build(&three_regions(), &[profile(Metric::Distance, 10)], None, None).unwrap();
    assert_eq!(map.lookup_network(ip("198.18.7.7"), 0), map.lookup(ip("0.0.0.0")));
    assert_eq!(map.lookup_network(ip("198.19.255.255"), 15), map.lookup(ip("198.18.0.0")));
    assert_eq!(map.lookup_network(ip("198.19.255.255"), 15).prefix, 16, "the scope may be longer than the source prefix");
    assert_eq!(map.lookup_network(ip("198.18.7.7"), 99), map.lookup(ip("198.18.7.7")));
}

#[test]
fn without_anything_that_depends_on_clients_there_is_one_class() {
    let map = GeoMap::build(&three_regions(), &[profile(Metric::None, 0)], None, None).unwrap();
    assert_eq!(map.n_classes(), 1);
    for address in ["8.8.8.8", "2a00::1", "2002::1", "2001::1"] {
        assert_eq!(map.lookup(ip(address)), GeoMatch { class: ClassIdx(0), prefix: 0 });
    }
    assert_eq!(GeoMap::build(&[], &[], None, None).unwrap().n_classes(), 1);
}

#[test]
fn a_broken_source_is_refused_whole() {
    struct Broken;
    impl PlaceSource for Broken {
        fn name(&self) -> String {
            "`city.mmdb`".to_owned()
        }
        fn place(&self, _: IpAddr) -> Option<Place> {
            None
        }
        fn each(&self, visit: &mut dyn FnMut(IpNet, Place)) -> Result<(), String> {
            visit(net("8.8.8.0/24"), country("SG"));
            Err("the tree ends in the air".to_owned())
        }
    }
    let error = GeoMap::build(&three_regions(), &[profile(Metric::Distance, 10)], Some(Arc::new(Broken)), None).unwrap_err();
    assert_eq!(error.to_string(), "read geo database `city.mmdb`: the tree ends in the air; install an intact file");
}

#[test]
fn too_many_networks_are_refused_whole() {
    struct Endless;
    impl PlaceSource for Endless {
        fn name(&self) -> String {
            "endless".to_owned()
        }
        fn place(&self, _: IpAddr) -> Option<Place> {
            None
        }
        fn each(&self, visit: &mut dyn FnMut(IpNet, Place)) -> Result<(), String> {
            // Single addresses far apart: the dearest networks there are, about a hundred nodes each.
            for i in 0..500_000_u128 {
                let address = (0x2a00_u128 << 112) | (i.reverse_bits() >> 16);
                visit(IpNet::from(IpAddr::V6(address.into())), country("SG"));
            }
            Ok(())
        }
    }
    let error = GeoMap::build(&three_regions(), &[profile(Metric::Distance, 10)], Some(Arc::new(Endless)), None).unwrap_err();
    assert_eq!(error, GeoMapError::TooManyNodes);
}

/// The layers as lists, and everything worked out from them the slow way.
struct Naive<'a> {
    regions: &'a [Region],
    profiles: &'a [GeoProfile],
    database: &'a Listed,
    latency: &'a [Row],
    built_in: Vec<(IpNet, Place)>,
}

impl Naive<'_> {
    fn place(&self, ip: IpAddr) -> Place {
        let claims = self.regions.iter().enumerate().flat_map(|(i, region)| region.networks.iter().map(move |network| (network, i)));
        let home =
            claims.filter(|(network, _)| network.contains(&ip)).max_by_key(|(network, i)| (network.prefix_len(), std::cmp::Reverse(*i)));
        if let Some((_, i)) = home {
            let Region { continent, country, location, .. } = self.regions[i];
            return Place { continent, country, location, origin: Origin::PlanNetwork(RegionIdx::at(i)) }.completed();
        }
        let around = self.built_in.iter().filter(|(network, _)| network.contains(&ip));
        let built_in = around.max_by_key(|(network, _)| network.prefix_len()).map_or(Place::UNKNOWN, |found| found.1);
        self.database.place(ip).map_or(built_in, Place::completed)
    }

    fn views(&self, ip: IpAddr) -> Vec<GeoView> {
        let ip = embed::normalised(ip);
        let place = self.place(ip);
        let kilometres = self.regions.iter().map(|region| Some(kilometres(place.location?, region.location?))).collect();
        let mut around: Vec<_> = self.latency.iter().filter(|(network, _)| network.contains(&ip)).collect();
        around.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let milliseconds = (0..self.regions.len()).map(|i| around.iter().find_map(|(_, row)| row[i])).collect();
        let client = Client { place, kilometres, milliseconds };
        self.profiles.iter().map(|profile| client.view(profile)).collect()
    }

    /// Every address at which the views can change, and the first of all. `like` gives the part of Teredo addresses that says nothing.
    fn edges(&self, like: u128) -> (BTreeSet<u32>, BTreeSet<u128>) {
        let (mut v4, mut v6) = (BTreeSet::from([0]), BTreeSet::from([0]));
        let built_in = self.built_in.iter().map(|(network, _)| network);
        let embedding = Embedding::ALL.map(|form| IpNet::new(form.network().0.into(), form.network().1).unwrap());
        let plan = self.regions.iter().flat_map(|region| &region.networks);
        let database = self.database.0.iter().map(|(network, _)| network);
        let latency = self.latency.iter().map(|(network, _)| network);
        for network in plan.chain(database).chain(latency).chain(built_in).chain(&embedding) {
            match network {
                IpNet::V4(network) => {
                    v4.insert(network.network().to_bits());
                    v4.extend(network.broadcast().to_bits().checked_add(1));
                }
                IpNet::V6(network) => {
                    v6.insert(network.network().to_bits());
                    v6.extend(network.broadcast().to_bits().checked_add(1));
                }
            }
        }
        for &edge in &v4 {
            // The address itself and the last one before it: inverted, an edge lies on the other side.
            for bits in [edge, edge.wrapping_sub(1)] {
                let low = u128::from(bits);
                let teredo = (0x2001_u128 << 112, like & !(u128::MAX << 96) & !0xffff_ffff, u128::from(!bits));
                v6.extend([(0xffff << 32) | low, (0x0064_ff9b << 96) | low, (0x2002 << 112) | (low << 80)]);
                v6.extend([teredo.0 | teredo.2, teredo.0 | teredo.1 | teredo.2]);
            }
        }
        (v4, v6)
    }
}

fn place_of(choice: u8) -> Place {
    let at = |latitude, longitude| Location::from_degrees(latitude, longitude);
    match choice {
        0 => country("SG"),
        1 => country("IE"),
        2 => country("NA"),
        3 => Place { continent: Some(code("NA")), ..country("US") },
        4 => Place { location: at(50.1, 8.7), ..country("DE") },
        5 => Place { location: at(1.3, 103.8), origin: Origin::Database, ..Place::UNKNOWN },
        6 => Place { continent: Some(code("OC")), origin: Origin::Database, ..Place::UNKNOWN },
        _ => Place::UNKNOWN,
    }
}

/// Networks close enough to one another to overlap often, in both families and inside the embedding ranges.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (prop::sample::select(vec![0x0808_0000_u32, 0xc100_0000, 0x0a00_0000, 0xc0a8_0000, 0]), any::<u32>(), 0_u8..=32)
        .prop_map(|(base, low, prefix)| IpNet::new(IpAddr::V4((base | low & 0x0003_0303).into()), prefix).unwrap().trunc());
    let bases = ["2a00::", "2a00:1::", "2001:db8::", "2002:808::", "::ffff:8.8.0.0", "64:ff9b::808:0", "2001::", "::"];
    let v6 = (prop::sample::select(bases.to_vec()), any::<u128>(), 0_u8..=128).prop_map(|(base, low, prefix)| {
        let base: Ipv6Addr = base.parse().unwrap();
        IpNet::new(IpAddr::V6((base.to_bits() | low & 0x3_0000_0003_0000_0000_0000_0003_0303).into()), prefix).unwrap().trunc()
    });
    prop_oneof![2 => v4, 1 => v6]
}

type Row = (IpNet, Vec<Option<u32>>);

fn world() -> impl Strategy<Value = (Vec<Region>, Vec<GeoProfile>, Listed, Vec<Row>)> {
    let location = prop::option::weighted(0.8, prop::sample::select(vec![(38.9, -77.4), (53.3, -6.3), (1.35, 103.8), (50.0, 8.5)]));
    let region_strategy = (location, prop::collection::vec(network(), 0..3), any::<bool>());
    let regions = prop::collection::vec(region_strategy, 1..=3).prop_map(|rows| {
        let one = |(i, (location, networks, coded)): (usize, (_, Vec<IpNet>, bool))| Region {
            networks,
            country: coded.then(|| code("SG")),
            ..region(["a", "b", "c"][i], location, &[])
        };
        rows.into_iter().enumerate().map(one).collect::<Vec<_>>()
    });
    let rules = BTreeMap::from([
        (code("EU"), RegionSet::from_bits(2)),
        (code("NA"), RegionSet::from_bits(1)),
        (code("DE"), RegionSet::from_bits(1)),
    ]);
    let residency = Residency { mode: ResidencyMode::Strict, by_code: rules, otherwise: None };
    let metric = prop::sample::select(vec![Metric::Distance, Metric::Latency, Metric::None]);
    let profile = (metric, 0_u16..=20, any::<bool>());
    let profiles = prop::collection::vec(profile, 1..3);
    let places = prop::collection::vec((network(), (0_u8..8).prop_map(place_of)), 0..12);
    let latency = prop::collection::vec((network(), prop::collection::vec(prop::option::weighted(0.7, 0_u32..60), 3)), 0..4);
    (regions, profiles, places, latency).prop_map(move |(regions, profiles, places, latency)| {
        let all = RegionSet::first(regions.len());
        let of = |(metric, tie, fenced): (Metric, u16, bool)| GeoProfile {
            regions: all,
            metric,
            tie: Share::percent(tie),
            residency: fenced.then(|| residency.clone()),
        };
        let mut seen = BTreeSet::new();
        let rows = latency.into_iter().filter(|(network, _)| seen.insert(*network));
        let rows = rows.map(|(network, row)| (network, row[..regions.len()].to_vec())).filter(|(_, row)| row.iter().any(Option::is_some));
        let rows = rows.collect();
        (regions, profiles.into_iter().map(of).collect(), Listed(places), rows)
    })
}

fn table(regions: &[Region], rows: &[Row]) -> LatencyTable {
    let mut table = LatencyTable::default();
    for (network, row) in rows {
        for (region, figure) in regions.iter().zip(row) {
            if let Some(ms) = figure {
                table.insert(LatencyKey::Network(*network), region.name.clone(), *ms).unwrap();
            }
        }
    }
    table
}

fn inside(address: u128, prefix: u8, other: u128) -> bool {
    prefix == 0 || (address ^ other) >> (128 - prefix) == 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 3 / 4, ..ProptestConfig::default() })]

    /// The trie says what the layers say, the returned network has that class throughout, and one bit less has not.
    #[test]
    fn a_lookup_is_the_widest_network_of_what_the_layers_say(
        (regions, profiles, database, latency) in world(),
        near in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 6),
        low: u128,
    ) {
        let naive = Naive { regions: &regions, profiles: &profiles, database: &database, latency: &latency, built_in: builtin::networks().collect() };
        let (v4, v6) = naive.edges(low);
        let mut known = BTreeMap::new();
        let all: Vec<(IpAddr, Vec<GeoView>)> = v4
            .iter()
            .map(|&bits| IpAddr::V4(bits.into()))
            .chain(v6.iter().map(|&bits| IpAddr::V6(bits.into())))
            .map(|ip| (ip, known.entry(embed::normalised(ip)).or_insert_with(|| naive.views(ip)).clone()))
            .collect();
        let shown = Arc::new(Listed(database.0.clone()));
        let map = GeoMap::build(&regions, &profiles, Some(shown), Some(&table(&regions, &latency))).unwrap();
        let views_of = |class: ClassIdx| -> Vec<GeoView> {
            (0..profiles.len()).map(|i| map.view(class, ProfileIdx(u32::try_from(i).unwrap())).clone()).collect()
        };
        // Classes differ exactly where views do.
        let mut class_of = BTreeMap::new();
        for (ip, views) in &all {
            let class = map.lookup(*ip).class;
            prop_assert_eq!(&views_of(class), views, "{}", ip);
            prop_assert_eq!(*class_of.entry(views.clone()).or_insert(class), class);
        }
        let left_aligned = |ip: IpAddr| match ip {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        for (index, jitter) in near {
            let (edge, _) = index.get(&all);
            let address = match (*edge, jitter) {
                (IpAddr::V4(address), true) => IpAddr::V4((address.to_bits() ^ u32::try_from(low & 0xff).unwrap()).into()),
                (IpAddr::V6(address), true) => IpAddr::V6((address.to_bits() ^ low & 0xff).into()),
                (plain, false) => plain,
            };
            let views = naive.views(address);
            let found = map.lookup(address);
            prop_assert_eq!(&views_of(found.class), &views, "{}", address);
            prop_assert!(map.client(address).place == naive.place(embed::normalised(address)));
            // The views are constant from one edge to the next, so the first address and the edges inside stand for a whole network.
            let uniform = |prefix: u8| {
                let first = naive.views(IpNet::new(address, prefix).unwrap().network());
                let same = |ip: &IpAddr| ip.is_ipv4() == address.is_ipv4() && inside(left_aligned(address), prefix, left_aligned(*ip));
                first == views && all.iter().filter(|(ip, _)| same(ip)).all(|(_, other)| *other == views)
            };
            prop_assert!(uniform(found.prefix), "{} in /{}", address, found.prefix);
            // The edges know one spelling of the bits of a Teredo address that say nothing; of others they cannot tell what lies inside.
            let is_covered = match address {
                IpAddr::V6(v6) if Embedding::of(v6) == Some(Embedding::Teredo) => {
                    (v6.to_bits() ^ low) & !(u128::MAX << 96) & !0xffff_ffff == 0
                }
                _ => true,
            };
            prop_assert!(!is_covered || found.prefix == 0 || !uniform(found.prefix - 1), "{} in /{} could be wider", address, found.prefix);
        }
    }

    /// The same contents in any order give the same map, class numbers included.
    #[test]
    fn the_order_of_reading_does_not_matter((regions, profiles, database, latency) in world(), seed: u64) {
        let table = table(&regions, &latency);
        let build = |rows: Vec<(IpNet, Place)>| GeoMap::build(&regions, &profiles, Some(Arc::new(Listed(rows))), Some(&table)).unwrap();
        let mut shuffled = database.0.clone();
        let n = u64::try_from(shuffled.len().max(1)).unwrap();
        shuffled.rotate_left(usize::try_from(seed % n).unwrap());
        if seed & 1 << 63 != 0 {
            shuffled.reverse();
        }
        let (one, other) = (build(database.0), build(shuffled));
        prop_assert_eq!((&one.v4, &one.v6, &one.cells, &one.views), (&other.v4, &other.v6, &other.cells, &other.views));
    }
}
