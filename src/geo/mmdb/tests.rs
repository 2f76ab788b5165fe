use std::sync::Arc;

use portolan_core::{
    geo::{GeoMap, GeoProfile, Metric, Origin, ProfileIdx},
    model::{
        ids::RegionSet,
        topology::Region,
        units::{Code, Location, Share},
    },
};
use proptest::prelude::*;

use super::*;
use crate::geo::mmdb_writer::{Layout, Shape, bomb, embed as embedded, write};

const CITY: Layout = Layout { shape: Shape::City, ip_version: 6, record_size: 28 };

fn place(continent: Option<&str>, country: Option<&str>, location: Option<(f64, f64)>) -> Place {
    Place {
        continent: continent.and_then(Code::new),
        country: country.and_then(Code::new),
        location: location.and_then(|(latitude, longitude)| Location::from_degrees(latitude, longitude)),
        origin: Origin::Database,
    }
}

/// What the committed sample holds; other tests of the project lean on these rows.
fn sample() -> Vec<(IpNet, Place)> {
    let rows = [
        ("192.0.2.0/24", place(Some("NA"), Some("US"), Some((38.9, -77.4)))),
        ("198.51.100.0/24", place(Some("EU"), Some("IE"), Some((53.3, -6.3)))),
        ("203.0.113.0/24", place(Some("AS"), Some("SG"), Some((1.35, 103.8)))),
        ("203.0.113.128/25", place(Some("AS"), Some("JP"), Some((35.7, 139.7)))),
        ("100.64.0.0/16", place(Some("EU"), Some("DE"), None)),
        ("100.65.0.0/16", place(Some("SA"), None, None)),
        ("2001:db8:1::/48", place(Some("NA"), Some("US"), Some((38.9, -77.4)))),
        ("2001:db8:2::/48", place(Some("EU"), Some("IE"), Some((53.3, -6.3)))),
        ("2001:db8:3::/48", place(Some("AS"), Some("SG"), Some((1.35, 103.8)))),
    ];
    rows.into_iter().map(|(network, place)| (network.parse().unwrap(), place)).collect()
}

fn open(bytes: Vec<u8>) -> Database {
    Database::open(bytes, "test").unwrap()
}

fn all(database: &Database) -> Result<Vec<(IpNet, Place)>, String> {
    let mut rows = Vec::new();
    database.each(&mut |network, place| rows.push((network, place)))?;
    Ok(rows)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_layout_gives_back_what_was_written() {
    for record_size in [24, 28, 32] {
        for (ip_version, shape) in [(6, Shape::City), (4, Shape::City), (6, Shape::Country), (6, Shape::Flat)] {
            let rows: Vec<_> = sample().into_iter().filter(|(network, _)| ip_version == 6 || network.addr().is_ipv4()).collect();
            let database = open(write(Layout { shape, ip_version, record_size }, &rows));
            let seen = |place: Place| if shape == Shape::City { place } else { Place { location: None, ..place } };
            for &(network, place) in &rows {
                let inside = IpNet::new(network.addr(), network.max_prefix_len()).unwrap();
                assert_eq!(database.place(inside.addr()), Some(seen(place)), "{network} in {shape:?} of {record_size} bits");
            }
            // Singapore's /24 is shown as the half that Japan did not take.
            let mut expected: Vec<_> = rows.iter().map(|&(network, place)| (network, seen(place))).collect();
            expected
                .iter_mut()
                .filter(|row| row.0.to_string() == "203.0.113.0/24")
                .for_each(|row| row.0 = "203.0.113.0/25".parse().unwrap());
            expected.sort_by_key(|(network, _)| *network);
            assert_eq!(all(&database).unwrap(), expected, "{shape:?} of {record_size} bits");
            assert_eq!(database.place(ip("8.8.8.8")), None);
            assert_eq!(database.place(ip("2a00::1")), None);
        }
    }
}

#[test]
fn aliases_are_walked_once_and_asked_as_ipv4() {
    let database = open(write(CITY, &sample()));
    let mut networks: Vec<IpNet> = all(&database).unwrap().into_iter().map(|row| row.0).collect();
    networks.dedup();
    assert_eq!(networks.len(), sample().len(), "no network twice, none from an alias");
    for form in Embedding::ALL {
        assert_eq!(database.place(embedded(ip("198.51.100.7"), form)), Some(sample()[1].1), "{form:?}");
    }
    assert_eq!(database.place(ip("::198.51.100.7")), None, "an IPv6 address of the range where the IPv4 tree is kept");
}

#[test]
fn its_name_tells_type_and_date() {
    assert_eq!(open(write(CITY, &sample())).name(), "`Test-City` of 2026-11-19 (test)");
}

#[test]
fn a_database_without_places_is_refused_by_its_kind() {
    let asn = write(Layout { shape: Shape::Asn, ..CITY }, &sample());
    assert!(matches!(Database::open(asn, "test"), Err(OpenError::NoCountries(kind)) if kind == "Test-ASN"));
}

#[test]
fn one_record_for_all_of_ipv6_is_all_of_ipv4_too() {
    // One node: the left half of IPv6 (with ::/96 inside) is a record, the right half nothing.
    let mut file = bomb(1, |nodes| nodes + 16);
    file[4..8].copy_from_slice(&1_u32.to_be_bytes());
    let database = open(file);
    let networks: Vec<String> = all(&database).unwrap().iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(networks, ["0.0.0.0/0", "::/1"]);
    assert_eq!(database.place(ip("8.8.8.8")), Some(place(None, Some("IE"), None)));
}

#[test]
fn trees_with_endless_paths_are_refused() {
    let refused = |file: Vec<u8>| match Database::open(file, "test") {
        Err(OpenError::Broken(reason)) => reason,
        Err(OpenError::NoCountries(kind)) => panic!("{kind} is no answer"),
        Ok(database) => all(&database).unwrap_err(),
    };
    // 2^96 paths, all of which end in nothing, in a record, or at the start again.
    assert_eq!(refused(bomb(96, |nodes| nodes)), "the branches of the search tree point at one another");
    assert_eq!(refused(bomb(96, |nodes| nodes + 16)), "the branches of the search tree point at one another");
    assert_eq!(refused(bomb(96, |_| 0)), "the search tree is deeper than an address is long");
    assert_eq!(refused(bomb(2, |nodes| nodes + 3)), "the search tree points between its end and the data");
}

#[test]
fn the_map_reads_a_database_whole() {
    let region = |name: &str, location: (f64, f64)| Region {
        name: name.into(),
        location: Location::from_degrees(location.0, location.1),
        continent: None,
        country: None,
        jurisdiction: None,
        cluster: None,
        failure_domain: None,
        capacity_rps: None,
        networks: Vec::new(),
    };
    let regions = [region("us-east-1", (38.9, -77.4)), region("eu-west-1", (53.3, -6.3)), region("ap-southeast-1", (1.35, 103.8))];
    let all = RegionSet::first(3);
    let profile = GeoProfile { regions: all, metric: Metric::Distance, tie: Share::percent(10), residency: None };
    let map = GeoMap::build(&regions, &[profile], Some(Arc::new(open(write(CITY, &sample())))), None).unwrap();
    let nearest = |address: &str| {
        let region = map.view(map.lookup(ip(address)).class, ProfileIdx(0)).ranking.nearest(all).iter().next().unwrap();
        regions[region.get()].name.to_string()
    };
    assert_eq!(nearest("192.0.2.1"), "us-east-1");
    assert_eq!(nearest("198.51.100.1"), "eu-west-1");
    assert_eq!(nearest("2001:db8:3::1"), "ap-southeast-1");
    assert_eq!(nearest("100.64.1.1"), "eu-west-1", "a country alone lies at its centre");
    assert_eq!(map.place(ip("100.65.1.1")).continent, Code::new("SA"));
    let halves = [map.lookup(ip("203.0.113.1")), map.lookup(ip("203.0.113.129"))];
    assert!(halves[0].prefix <= 24 && halves[0] == halves[1], "Singapore and Japan have the same order of regions");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_end_in_errors(mut data in prop::collection::vec(any::<u8>(), 0..2_000), with_marker: bool) {
        if with_marker {
            data.extend(b"\xab\xcd\xefMaxMind.com\xe9");
        }
        fuzz_mmdb(&data);
    }
}

#[test]
fn the_committed_sample_is_what_the_writer_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/geo/city.mmdb");
    let written = write(CITY, &sample());
    if option_env!("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == written, "build the test with UPDATE_EXPECT=1 to write the sample again");
}

#[test]
fn files_are_loaded_or_refused_with_their_path() {
    use crate::geo::{GeoError, load_database, load_latency};

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/geo/city.mmdb");
    assert_eq!(load_database(&sample).unwrap().place(ip("192.0.2.9")).and_then(|place| place.country), Code::new("US"));

    std::fs::write(path("asn.mmdb"), write(Layout { shape: Shape::Asn, ..CITY }, &self::sample())).unwrap();
    let whole = write(CITY, &self::sample());
    std::fs::write(path("cut.mmdb"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(path("latency.txt"), "IE,eu-west-1,12\nXX,eu-west-1,12\n").unwrap();
    let told = |error: GeoError| error.to_string().replace(&folder.path().display().to_string(), "");
    assert!(matches!(load_database(&path("none.mmdb")), Err(GeoError::Read { .. })));
    assert_eq!(
        told(load_database(&path("asn.mmdb")).err().unwrap()),
        "read geo database `/asn.mmdb`: a database of type `Test-ASN` holds no countries; use one of type City or Country"
    );
    assert!(told(load_database(&path("cut.mmdb")).err().unwrap()).starts_with("read geo database `/cut.mmdb`: "));
    assert_eq!(
        told(load_latency(&path("latency.txt")).err().unwrap()),
        "read latency table `/latency.txt`: line 2: `XX` is neither a network nor the code of a country or continent"
    );
}
