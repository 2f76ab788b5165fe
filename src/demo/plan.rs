//! The world of the demo as a plan: three places, how far they are from each other, the client networks that belong to them, and settings short
//! enough to be watched.
//!
//! Client networks lie in 198.18.0.0/15, which is set aside for measurements (RFC 2544), so that nobody's own network is among them.
//! Invariant: what the report calls a setting is what the plan says; both are made from the constants here.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use portolan_core::model::time::Human;

/// The name that clients ask for.
pub(super) const HOSTNAME: &str = "api.demo.example";
/// The service behind it.
pub(super) const SERVICE: &str = "api";

/// Between probes while nothing changes.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Between probes while a state is about to change.
pub(super) const FAST_INTERVAL: Duration = Duration::from_millis(300);
/// Between probes while down.
pub(super) const DOWN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that one probe lasts.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// Failures in a row before an endpoint leaves the answers.
pub(super) const FALL: u16 = 3;
/// Successes in a row before it comes back.
pub(super) const RISE: u16 = 2;
/// The time to live of answers never goes below,
pub(super) const TTL_MIN: Duration = Duration::from_secs(5);
/// and never above.
pub(super) const TTL_MAX: Duration = Duration::from_secs(30);
/// The share of its clients that a region takes as it comes back, in percent.
pub(super) const SLOW_START_PERCENT: u16 = 20;
/// Until it takes all of them. Minutes in production; here somebody is watching.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);

/// One round of the databases' probes,
pub(super) const ROUND: Duration = Duration::from_secs(2);
/// so many of which fail before a failover is decided,
pub(super) const FAILURES: u32 = 3;
/// after so long.
pub(super) const HOLD: Duration = Duration::from_secs(2);
/// How long a primary may write without a word from the leader,
pub(super) const LEASE: Duration = Duration::from_secs(12);
/// and how long before that ends its database is killed.
pub(super) const MARGIN: Duration = Duration::from_secs(2);
/// Names of primaries are held for no longer.
pub(super) const WRITE_TTL_MAX: Duration = Duration::from_secs(3);

/// Client networks per region: with a hundred of them a count is a percentage.
pub(super) const CLIENTS_PER_REGION: u8 = 100;
/// Endpoints per region.
pub(super) const ENDPOINTS_PER_REGION: u8 = 2;

/// The last octet of a database's address.
const DATABASE: u8 = 51;

/// The last octet of the first node's address.
const NODES_FROM: u8 = 101;

/// Steady probes come late by at most this many hundredths of their interval.
const JITTER_PERCENT: u32 = 5;

/// Where the references stand, which tell a node without an uplink from one whose peers are gone.
pub(super) const OUTSIDE: &str = "outside";
/// The third place of two regions: it votes and probes, and serves nobody.
pub(super) const WITNESS: &str = "witness";

/// There and back, about as the internet has it.
const ROUND_TRIPS: [(&str, &str, Duration); 3] = [
    ("us-east-1", "eu-west-1", Duration::from_millis(80)),
    ("us-east-1", "ap-southeast-1", Duration::from_millis(160)),
    ("eu-west-1", "ap-southeast-1", Duration::from_millis(180)),
];
/// To the witness, from everywhere.
const TO_WITNESS: Duration = Duration::from_millis(60);
/// To the references, from everywhere: each region has some that are near.
const TO_OUTSIDE: Duration = Duration::from_millis(20);

/// There and back between two places.
pub(super) fn round_trip(one: &str, other: &str) -> Duration {
    let known = ROUND_TRIPS.iter().find(|(a, b, _)| (*a, *b) == (one, other) || (*b, *a) == (one, other));
    match known {
        Some((_, _, round_trip)) => *round_trip,
        None if one == OUTSIDE || other == OUTSIDE => TO_OUTSIDE,
        None => TO_WITNESS,
    }
}

/// A region that the demo can start.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: &'static str,
    /// What the names of its nodes begin with.
    pub(super) stem: &'static str,
    /// Latitude, longitude, continent and country, as the plan has them.
    geography: &'static str,
    /// The first three octets of the /17 of its clients; the clients' /24 follow one another.
    clients: [u8; 3],
}

/// In the order in which they are started; the first one is lost.
pub(super) const PLACES: [Place; 3] = [
    Place {
        name: "us-east-1",
        stem: "use1",
        geography: "latitude: 38.9, longitude: -77.4, continent: NA, country: US",
        clients: [198, 18, 0],
    },
    Place {
        name: "eu-west-1",
        stem: "euw1",
        geography: "latitude: 53.3, longitude: -6.3, continent: EU, country: IE",
        clients: [198, 18, 128],
    },
    Place {
        name: "ap-southeast-1",
        stem: "aps1",
        geography: "latitude: 1.35, longitude: 103.8, continent: AS, country: SG",
        clients: [198, 19, 0],
    },
];

impl Place {
    /// The networks whose clients belong here.
    pub(super) fn network(&self) -> String {
        let [a, b, c] = self.clients;
        format!("{a}.{b}.{c}.0/17")
    }

    /// The /24 networks that ask in the demo.
    pub(super) fn clients(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let [a, b, c] = self.clients;
        (1..=CLIENTS_PER_REGION).map(move |n| Ipv4Addr::new(a, b, c + n, 0))
    }
}

/// Where the `n`-th endpoint of the region at `position` listens: every address of 127.0.0.0/8 is this machine (RFC 6890).
pub(super) fn endpoint_address(position: usize, n: u8) -> IpAddr {
    host(Some(position), n + 1)
}

/// Where its `n`-th node does; `None`: a node outside the regions.
pub(super) fn node_address(position: Option<usize>, n: u8) -> IpAddr {
    host(position, NODES_FROM + n)
}

/// Where its database does.
pub(super) fn database_address(position: usize) -> IpAddr {
    host(Some(position), DATABASE)
}

/// Where the reference does.
pub(super) fn reference_address() -> IpAddr {
    host(None, 1)
}

fn host(position: Option<usize>, n: u8) -> IpAddr {
    let region = position.map_or(0, |position| u8::try_from(position + 1).expect("invariant: there are three places"));
    IpAddr::V4(Ipv4Addr::new(127, 10, region, n))
}

/// The plan of regions at these addresses, with a target outside all of them.
/// `data`: what it says of databases.
pub(super) fn text(regions: &[(&'static Place, Vec<SocketAddr>)], reference: SocketAddr, data: Option<&str>) -> String {
    let (mut places, mut endpoints) = (String::new(), String::new());
    for (place, addresses) in regions {
        let Place { name, geography, .. } = place;
        // Writing into a string cannot fail.
        let _ = writeln!(places, "  {name}: {{ {geography}, networks: [{}] }}", place.network());
        let _ = writeln!(endpoints, "      {name}:");
        for address in addresses {
            let _ = writeln!(endpoints, "        - {{ address: {}, port: {} }}", address.ip(), address.port());
        }
    }
    let [interval, fast, down, timeout] = [INTERVAL, FAST_INTERVAL, DOWN_INTERVAL, TIMEOUT].map(Human);
    let (ttl_min, ttl_max, slow_start) = (Human(TTL_MIN), Human(TTL_MAX), Human(SLOW_START));
    format!(
        "\
# Written by `portolan demo`, and gone when it ends. While it runs: change something, raise `revision`, save; the daemon takes it over.
version: 1
revision: 1
name: demo

regions:
{places}
health_check_defaults:
  type: http
  path: /health
  interval: {interval}
  fast_interval: {fast}        # while a state is about to change
  down_interval: {down}
  timeout: {timeout}
  fall: {FALL}
  rise: {RISE}

vantage:
  references: [\"tcp://{reference}\"]

zones:
  demo.example:
    nameservers: [ns1.demo.example, ns2.demo.example]
    contact: hostmaster@demo.example
    records:
      - {{ name: ns1, type: A, values: [127.0.0.1] }}
      - {{ name: ns2, type: A, values: [127.0.0.1] }}

services:
  {SERVICE}:
    hostnames: [{HOSTNAME}]
    steering: geo
    ttl: {{ min: {ttl_min}, max: {ttl_max} }}
    slow_start: {{ share: {SLOW_START_PERCENT}%, for: {slow_start}, ramp: true }}
    endpoints:
{endpoints}{}",
        data.map_or_else(String::new, |data| {
            let name = super::data::WRITE_NAME;
            let group = super::data::GROUP;
            let ttl_max = Human(WRITE_TTL_MAX);
            format!("  {group}:\n    hostnames: [{name}]\n    follows: {{ group: {group}, ttl: {{ min: 1s, max: {ttl_max} }} }}\n{data}")
        })
    )
}

/// The longest until a loss is seen by these settings: nothing answers, so each probe lasts its whole timeout.
pub(super) fn detection_max() -> Duration {
    INTERVAL * (100 + JITTER_PERCENT) / 100 + FAST_INTERVAL * u32::from(FALL - 1) + TIMEOUT * u32::from(FALL)
}

/// The longest until a return is seen: as above.
pub(super) fn return_max() -> Duration {
    DOWN_INTERVAL * (100 + JITTER_PERCENT) / 100 + FAST_INTERVAL * u32::from(RISE - 1) + TIMEOUT * u32::from(RISE)
}

#[cfg(test)]
mod tests {
    use portolan_core::model::units::Share;

    use super::*;
    use crate::config::plan::{Options, load};

    #[test]
    fn the_plan_says_what_the_report_calls_settings() {
        for n in [2, 3] {
            let regions: Vec<_> = PLACES[..n]
                .iter()
                .enumerate()
                .map(|(i, place)| {
                    (place, (0..ENDPOINTS_PER_REGION).map(|at| SocketAddr::new(endpoint_address(i, at), 40_000)).collect::<Vec<_>>())
                })
                .collect();
            let loaded = load(&text(&regions, SocketAddr::new(reference_address(), 40_000), None), "plan.yaml", &Options::default())
                .unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(loaded.warnings.lines().count(), 0, "{}", loaded.warnings);
            let topology = loaded.topology;
            assert_eq!((topology.regions.len(), topology.endpoints.len()), (n, n * usize::from(ENDPOINTS_PER_REGION)));
            let cadence = &topology.checks[0].probe.cadence;
            assert_eq!((cadence.interval, cadence.fast_interval, cadence.down_interval), (INTERVAL, FAST_INTERVAL, DOWN_INTERVAL));
            assert_eq!((cadence.timeout, cadence.fall, cadence.rise), (TIMEOUT, FALL, RISE));
            let service = &topology.services[0];
            assert_eq!((service.name.as_str(), service.ttl.min.duration(), service.ttl.max.duration()), (SERVICE, TTL_MIN, TTL_MAX));
            assert_eq!((service.slow_start.share, service.slow_start.over), (Share::percent(SLOW_START_PERCENT), SLOW_START));
        }
    }

    #[test]
    fn clients_lie_in_their_own_regions_network_only() {
        for place in &PLACES {
            for client in place.clients() {
                let homes: Vec<_> =
                    PLACES.iter().filter(|home| home.network().parse::<ipnet::Ipv4Net>().unwrap().contains(&client)).collect();
                assert!(homes.len() == 1 && homes[0].name == place.name, "{client}");
            }
        }
    }
}
