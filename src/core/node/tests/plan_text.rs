//! A plan in a few lines, for scripts: one thing per line, defaults for everything else.
//!
//! ```text
//! cadence interval=10s fast=1s down=5s timeout=2s fall=3 rise=2 flap=10m rise_max=20
//! ejection 50%
//! region us 38.9,-77.4 NA US           # its clients are 10.<position>.0.0/16 and 2001:db8:<position>::/48
//! check queue heartbeat | check both calculated of=queue,other at_least=1 | check db tcp 192.0.2.99
//! service api geo all_down=all ttl=5s..60s slow=20%/5m | slow=20%/5m/ramp limit=8 spread=random families=independent tie=10% min=1
//!         residency=strict:EU=eu+ie,*=us host=a.example.test,b.example.test backup=203.0.113.9
//! pool us weight=0 priority=2          # of the service above
//! endpoint us 192.0.2.1 weight=2 check=queue | check=none
//! follows orders primary without=last | follows orders replica lag_max=5s
//! member us 192.0.2.1                  # of the group that the service above follows
//! record www CNAME api.example.test
//! latency 10.1.0.0/16 us=20 eu=90
//! ```

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use crate::{
    geo::{GeoMap, LatencyKey, LatencyTable, Profiles},
    model::{
        check::{Address, Cadence, Check, Flap, Host, Probe, ProbeKind},
        follow::{Followed, FollowedMember, Follows, WithoutPrimary},
        ids::{CheckIdx, EndpointIdx, Label, RegionIdx, RegionSet, ServiceIdx},
        name::Name,
        record::{Record, RecordData, Soa},
        topology::{
            AllDown, Endpoint, Families, Guardrails, Pool, Region, Residency, ResidencyMode, Service, SlowStart, Spread, Stage, Steering,
            Target, Topology, TtlRange, Zone,
        },
        units::{Code, Location, Share, Ttl, Weight},
    },
    table::World,
    testing::script::duration,
};

/// The zone of all scripts.
const APEX: &str = "example.test";

/// The value of `key=value` among words.
pub(crate) fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.split_once('=').filter(|(found, _)| *found == key).map(|(_, value)| value))
}

fn number<T: std::str::FromStr>(words: &[&str], key: &str, default: T) -> T {
    value(words, key).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("`{key}={text}` is not a number")))
}

fn percent(text: &str) -> Share {
    Share::percent(text.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("`{text}` is not a percentage")))
}

fn cadence(words: &[&str]) -> Cadence {
    let time = |key, default| value(words, key).map_or(default, duration);
    let seconds = Duration::from_secs;
    Cadence {
        interval: time("interval", seconds(10)),
        fast_interval: time("fast", seconds(1)),
        down_interval: time("down", seconds(5)),
        timeout: time("timeout", seconds(2)),
        fall: number(words, "fall", 3),
        rise: number(words, "rise", 2),
        ok_run: 10,
        flap: Flap { window: time("flap", seconds(600)), rise_max: number(words, "rise_max", 20) },
    }
}

/// A world from its lines.
pub(crate) fn world(revision: u64, text: &str) -> Arc<World> {
    let mut builder = Builder {
        topology: Topology::default(),
        cadence: cadence(&[]),
        endpoints: BTreeMap::new(),
        pools: BTreeMap::new(),
        records: Vec::new(),
        latency: LatencyTable::default(),
    };
    builder.topology.revision = revision;
    builder.topology.name = Some(Label::new("drill"));
    for line in text.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        if !words.is_empty() {
            builder.line(&words);
        }
    }
    builder.finish()
}

/// Endpoints are kept by service and region until all lines are read, because they stand next to one another in a topology.
struct Builder {
    topology: Topology,
    cadence: Cadence,
    endpoints: BTreeMap<(ServiceIdx, RegionIdx), Vec<Endpoint>>,
    pools: BTreeMap<(ServiceIdx, RegionIdx), (u16, u16)>,
    records: Vec<Record>,
    latency: LatencyTable,
}

impl Builder {
    fn line(&mut self, words: &[&str]) {
        match words[0] {
            "cadence" => self.cadence = cadence(words),
            "ejection" => self.topology.guardrails = Guardrails { max_ejection: percent(words[1]), ..Guardrails::default() },
            "region" => self.region(words),
            "check" => self.check(words),
            "service" => self.service(words),
            "pool" => {
                let key = (self.last_service(), self.region_named(words[1]));
                self.pools.insert(key, (number(words, "weight", 1), number(words, "priority", 1)));
            }
            "endpoint" => self.endpoint(words),
            "follows" => {
                let role = match words[2] {
                    "replica" => Followed::Replica { lag_max: value(words, "lag_max").map(duration) },
                    _ => Followed::Primary {
                        without: match value(words, "without").unwrap_or("servfail") {
                            "last" => WithoutPrimary::Last,
                            "nodata" => WithoutPrimary::Nodata,
                            _ => WithoutPrimary::Servfail,
                        },
                    },
                };
                let follows = Follows { group: Label::new(words[1]), role, members: Vec::new() };
                self.topology.services.last_mut().unwrap().follows = Some(Arc::new(follows));
            }
            "member" => {
                let (region, address) = (self.region_named(words[1]), words[2].parse().unwrap());
                let service = self.topology.services.last_mut().unwrap();
                let follows = Arc::make_mut(service.follows.as_mut().unwrap());
                follows.members.push(FollowedMember { region, address, port: 5432 });
                if follows.without().is_none() {
                    self.endpoint(&[words[0], words[1], words[2], "check=none"]);
                }
            }
            "record" => {
                let owner = format!("{}.{APEX}", words[1]).parse().unwrap();
                assert_eq!(words[2], "CNAME", "the only static type of these scripts");
                self.records.push(Record { owner, ttl: Ttl::from_secs(300), data: RecordData::Cname(words[3].parse().unwrap()) });
            }
            "latency" => {
                for (region, millis) in words[2..].iter().map(|word| word.split_once('=').unwrap()) {
                    let key = LatencyKey::Network(words[1].parse().unwrap());
                    self.latency.insert(key, Label::new(region), millis.parse().unwrap()).unwrap();
                }
            }
            word => panic!("`{word}` is not a line of a plan"),
        }
    }

    fn region(&mut self, words: &[&str]) {
        let i = self.topology.regions.len();
        let (latitude, longitude) = words[2].split_once(',').unwrap();
        self.topology.regions.push(Region {
            name: Label::new(words[1]),
            location: Location::from_degrees(latitude.parse().unwrap(), longitude.parse().unwrap()),
            continent: words.get(3).and_then(|code| Code::new(code)),
            country: words.get(4).and_then(|code| Code::new(code)),
            jurisdiction: None,
            cluster: None,
            failure_domain: None,
            capacity_rps: value(words, "capacity").map(|rps| rps.parse().unwrap()),
            networks: vec![format!("10.{i}.0.0/16").parse().unwrap(), format!("2001:db8:{i}::/48").parse().unwrap()],
        });
    }

    fn check(&mut self, words: &[&str]) {
        let names = &self.topology.check_names;
        let (kind, address) = match words[2] {
            "heartbeat" => (ProbeKind::Heartbeat { name: words[1].to_owned() }, None),
            "tcp" => (ProbeKind::Tcp, Some(Address { host: Host::Ip(words[3].parse().unwrap()), port: 80 })),
            "calculated" => {
                let mut of: Vec<CheckIdx> = value(words, "of").unwrap().split(',').map(|name| names[&Label::new(name)]).collect();
                of.sort_unstable();
                (ProbeKind::Calculated { at_least: number(words, "at_least", u16::try_from(of.len()).unwrap()), of }, None)
            }
            word => panic!("`{word}` is not a kind of these scripts"),
        };
        let check = self.check_of(kind, address);
        self.topology.check_names.insert(Label::new(words[1]), check);
    }

    fn check_of(&mut self, kind: ProbeKind, address: Option<Address>) -> CheckIdx {
        let check = Check { address, probe: Arc::new(Probe { kind, cadence: self.cadence.clone() }) };
        let checks = &mut self.topology.checks;
        let known = checks.iter().position(|known| *known == check);
        CheckIdx::at(known.unwrap_or_else(|| {
            checks.push(check);
            checks.len() - 1
        }))
    }

    fn service(&mut self, words: &[&str]) {
        let preset = words[2];
        let (preset, stages) = match preset {
            "weighted" => ("weighted", vec![Stage::Weight]),
            "failover" => ("failover", vec![Stage::Priority, Stage::Weight]),
            "geo" => ("geo", vec![Stage::Geo, Stage::Priority, Stage::Weight]),
            "latency" => ("latency", vec![Stage::Latency, Stage::Priority, Stage::Weight]),
            "active_active" => ("active_active", vec![Stage::Geo, Stage::Weight]),
            "multivalue" => ("multivalue", vec![]),
            word => panic!("`{word}` is not a preset"),
        };
        let hosts = value(words, "host").map_or_else(|| format!("{}.{APEX}", words[1]), str::to_owned);
        let (ttl_min, ttl_max) = value(words, "ttl").unwrap_or("5s..60s").split_once("..").unwrap();
        let ttl = |text| Ttl::from_duration(duration(text));
        let slow: Vec<&str> = value(words, "slow").unwrap_or("100%/0s").split('/').collect();
        self.topology.services.push(Service {
            name: Label::new(words[1]),
            hostnames: hosts.split(',').map(|host| host.parse().unwrap()).collect(),
            steering: Steering {
                preset,
                stages,
                tie: percent(value(words, "tie").unwrap_or("10%")),
                limit: number(words, "limit", 8),
                multivalue: preset == "multivalue",
                spread: if value(words, "spread") == Some("random") { Spread::Random } else { Spread::Sticky },
                families: if value(words, "families") == Some("independent") { Families::Independent } else { Families::Together },
                residency: value(words, "residency").map(|text| self.residency(text)),
            },
            ttl: TtlRange { min: ttl(ttl_min), max: ttl(ttl_max) },
            all_down: match value(words, "all_down").unwrap_or("last_good") {
                "last_good" => AllDown::LastGood,
                "all" => AllDown::All,
                "backup" => AllDown::Backup,
                "nodata" => AllDown::Nodata,
                "servfail" => AllDown::Servfail,
                word => panic!("`{word}` is not a rule"),
            },
            slow_start: SlowStart { share: percent(slow[0]), over: duration(slow[1]), ramp: slow.get(2) == Some(&"ramp") },
            min_healthy_regions: number(words, "min", 1),
            pools: Vec::new(),
            backup: value(words, "backup").map(target).into_iter().collect(),
            follows: None,
        });
    }

    /// `strict:EU=eu+ie,*=us`.
    fn residency(&self, text: &str) -> Residency {
        let (mode, sets) = text.split_once(':').unwrap();
        let mode = if mode == "strict" { ResidencyMode::Strict } else { ResidencyMode::Prefer };
        let mut residency = Residency { mode, by_code: BTreeMap::new(), otherwise: None };
        for (code, regions) in sets.split(',').map(|set| set.split_once('=').unwrap()) {
            let set: RegionSet = regions.split('+').map(|name| self.region_named(name)).collect();
            match Code::new(code) {
                Some(code) => drop(residency.by_code.insert(code, set)),
                None => residency.otherwise = Some(set),
            }
        }
        residency
    }

    fn endpoint(&mut self, words: &[&str]) {
        let (service, region) = (self.last_service(), self.region_named(words[1]));
        let target = target(words[2]);
        let host = match &target {
            Target::Address(address) => Host::Ip(*address),
            Target::Name(name) => Host::Name(name.clone()),
        };
        let check = match value(words, "check") {
            Some("none") => self.check_of(ProbeKind::None, None),
            Some(name) => self.topology.check_names[&Label::new(name)],
            None => self.check_of(ProbeKind::Tcp, Some(Address { host, port: 80 })),
        };
        let endpoint = Endpoint { service, region, target, port: 80, weight: Weight(number(words, "weight", 1)), check };
        self.endpoints.entry((service, region)).or_default().push(endpoint);
    }

    fn last_service(&self) -> ServiceIdx {
        ServiceIdx::at(self.topology.services.len() - 1)
    }

    fn region_named(&self, name: &str) -> RegionIdx {
        self.topology.region(name).unwrap_or_else(|| panic!("no region `{name}` above"))
    }

    fn finish(self) -> Arc<World> {
        let mut topology = self.topology;
        for ((service, region), endpoints) in self.endpoints {
            let (weight, priority) = self.pools.get(&(service, region)).copied().unwrap_or((1, 1));
            let (first, count) = (EndpointIdx::at(topology.endpoints.len()), u32::try_from(endpoints.len()).unwrap());
            topology.services[service.get()].pools.push(Pool { region, weight: Weight(weight), priority, first, count });
            topology.endpoints.extend(endpoints);
        }
        topology.zones = vec![zone(self.records)];
        let profiles = Profiles::of(&topology);
        let geo = GeoMap::build(&topology.regions, &profiles.distinct, None, Some(&self.latency)).unwrap();
        Arc::new(World::new(Arc::new(topology), Arc::new(geo)))
    }
}

fn target(text: &str) -> Target {
    text.parse::<IpAddr>().map_or_else(|_| Target::Name(text.parse().unwrap()), Target::Address)
}

fn zone(records: Vec<Record>) -> Zone {
    let apex: Name = APEX.parse().unwrap();
    let (primary, contact) = ("ns1.example.test".parse().unwrap(), "hostmaster.example.test".parse().unwrap());
    let soa = Soa { primary, contact, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 30 };
    let own = [RecordData::Soa(soa), RecordData::Ns("ns1.example.test".parse().unwrap())];
    let own = own.map(|data| Record { owner: apex.clone(), ttl: Ttl::from_secs(300), data });
    Zone { records: Arc::new(own.into_iter().chain(records).collect()), apex }
}
