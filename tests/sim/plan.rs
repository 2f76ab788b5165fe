//! Small plans: regions, services and endpoints that are probed every few seconds, in versions that differ as an edited file does.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use portolan_core::{
    cluster::{Outline, PutPlan, Service as OutlineService},
    geo::{GeoMap, Profiles},
    model::{
        check::{Address, Cadence, Check, Flap, Host, Probe, ProbeKind},
        ids::{CheckIdx, EndpointIdx, Label, RegionIdx, ServiceIdx},
        record::{Record, RecordData, Soa},
        topology::{
            AllDown, Endpoint, Families, Guardrails, Pool, Region, Service, SlowStart, Spread, Stage, Steering, Target, Topology, TtlRange,
            Zone,
        },
        units::{Code, Location, Share, Ttl, Weight},
    },
    table::World,
};

use crate::random::Random;

/// Where the regions lie: (name, continent, country, latitude, longitude). Clients of region n are in 10.n.0.0/16.
pub(crate) const PLACES: [(&str, &str, &str, i16, i16); 5] = [
    ("us", "NA", "US", 3890, -7740),
    ("eu", "EU", "IE", 5330, -630),
    ("ap", "AS", "SG", 135, 10_380),
    ("sa", "SA", "BR", -2350, -4660),
    ("de", "EU", "DE", 5010, 860),
];

/// What stands behind an address: (region, number in it).
pub(crate) type Site = (usize, usize);

/// A plan before it is spelled out.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) revision: u64,
    /// Per region: how many endpoints.
    pub(crate) endpoints: Vec<usize>,
    /// Per region: weight of the pool.
    weights: Vec<u16>,
    preset: &'static str,
    all_down: AllDown,
    pub(crate) cadence: Cadence,
    max_ejection: u16,
    /// A second service on the same endpoints, whose checks are shared.
    has_second: bool,
}

impl Shape {
    /// A plan of `n` regions.
    pub(crate) fn draw(random: &mut Random, n: usize) -> Self {
        let millis = |random: &mut Random, list: &[u64]| Duration::from_millis(*random.pick(list));
        let cadence = Cadence {
            interval: millis(random, &[2000, 3000]),
            fast_interval: millis(random, &[500, 1000]),
            down_interval: millis(random, &[1000, 2000]),
            timeout: millis(random, &[500, 900]),
            fall: *random.pick(&[2, 2, 3]),
            rise: *random.pick(&[1, 2]),
            ok_run: 3,
            flap: Flap { window: millis(random, &[0, 20_000]), rise_max: 4 },
        };
        Self {
            revision: 1,
            endpoints: (0..n).map(|_| random.between(1, if n > 3 { 1 } else { 2 })).collect(),
            weights: (0..n).map(|_| *random.pick(&[1, 1, 2, 0])).collect(),
            preset: *random.pick(&["geo", "weighted", "failover", "multivalue"]),
            all_down: *random.pick(&[AllDown::LastGood, AllDown::LastGood, AllDown::All, AllDown::Backup, AllDown::Nodata]),
            cadence,
            max_ejection: *random.pick(&[0, 50, 100]),
            has_second: random.permille(200),
        }
    }

    /// The next version, as somebody edits it: other weights, another cadence, an endpoint more or less.
    pub(crate) fn edited(&self, random: &mut Random) -> Self {
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        let region = random.below(next.endpoints.len());
        match random.below(4) {
            0 => next.weights[region] = 3,
            1 => next.cadence.interval = Duration::from_millis(2500),
            2 => next.endpoints[region] = if next.endpoints[region] == 1 { 2 } else { 1 },
            _ => next.max_ejection = 50,
        }
        next
    }

    /// What its endpoints stand on.
    pub(crate) fn sites(&self) -> impl Iterator<Item = Site> {
        self.endpoints.iter().enumerate().flat_map(|(region, n)| (0..*n).map(move |host| (region, host)))
    }

    /// Within this time of quiet what probes say of an endpoint is what it is, whatever they said before: a probe that is under way and may
    /// be wrong still, then as many as a drop needs, or a return of one that flapped.
    pub(crate) fn settled_after(&self) -> Duration {
        let it = &self.cadence;
        let rise = if it.flap.window.is_zero() { it.rise } else { it.rise.max(it.flap.rise_max) };
        it.timeout + it.judged_over().max(it.down_interval + (it.fast_interval + it.timeout) * u32::from(rise))
    }

    /// As the daemon would resolve it.
    pub(crate) fn world(&self) -> Arc<World> {
        let topology = self.topology();
        let profiles = Profiles::of(&topology);
        let geo = geo_map(&topology, &profiles);
        Arc::new(World::new(Arc::new(topology), geo))
    }

    fn topology(&self) -> Topology {
        let probe = Arc::new(Probe { kind: ProbeKind::Tcp, cadence: self.cadence.clone() });
        let checks =
            self.sites().map(|site| Check { address: Some(Address { host: Host::Ip(address(site)), port: 80 }), probe: probe.clone() });
        let regions = (0..self.endpoints.len()).map(|i| {
            let (name, continent, country, latitude, longitude) = PLACES[i];
            Region {
                name: Label::new(name),
                location: Some(Location { latitude, longitude }),
                continent: Code::new(continent),
                country: Code::new(country),
                jurisdiction: None,
                cluster: None,
                failure_domain: None,
                capacity_rps: None,
                networks: vec![format!("10.{i}.0.0/16").parse().expect("a network")],
            }
        });
        let mut topology = Topology {
            revision: self.revision,
            regions: regions.collect(),
            checks: checks.collect(),
            zones: vec![zone()],
            guardrails: Guardrails { max_ejection: Share::percent(self.max_ejection), ..Guardrails::default() },
            ..Topology::default()
        };
        self.add_service(&mut topology, "api", self.preset);
        if self.has_second {
            self.add_service(&mut topology, "web", "weighted");
        }
        topology
    }

    fn add_service(&self, topology: &mut Topology, name: &str, preset: &'static str) {
        let service = ServiceIdx::at(topology.services.len());
        let mut pools = Vec::new();
        let sites: Vec<Site> = self.sites().collect();
        for (region, &n) in self.endpoints.iter().enumerate() {
            let first = EndpointIdx::at(topology.endpoints.len());
            for host in 0..n {
                let check = sites.iter().position(|site| *site == (region, host)).expect("invariant: each has a check");
                topology.endpoints.push(Endpoint {
                    service,
                    region: RegionIdx::at(region),
                    target: Target::Address(address((region, host))),
                    port: 80,
                    weight: Weight(1),
                    check: CheckIdx::at(check),
                });
            }
            pools.push(Pool {
                region: RegionIdx::at(region),
                weight: Weight(self.weights[region]),
                priority: if region == 0 { 1 } else { 2 },
                first,
                count: u32::try_from(n).expect("invariant: few"),
            });
        }
        topology.services.push(Service {
            name: Label::new(name),
            hostnames: vec![hostname(name).parse().expect("a name")],
            steering: steering(preset),
            ttl: TtlRange { min: Ttl::from_secs(1), max: Ttl::from_secs(60) },
            all_down: self.all_down,
            slow_start: SlowStart { share: Share::percent(20), over: Duration::from_secs(3), ramp: false },
            min_healthy_regions: 1,
            pools,
            backup: vec![Target::Address(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 99)))],
            follows: None,
        });
    }

    /// As it is put in force through the log.
    pub(crate) fn put(&self) -> PutPlan {
        let topology = self.topology();
        let services = topology.services.iter().map(|service| {
            let pools = service.pools.iter().map(|pool| {
                let region = topology.regions[pool.region.get()].name.clone();
                let prefix = format!("{}/{region}/", service.name);
                let names = pool.endpoints().map(|endpoint| topology.endpoint_name(endpoint).replacen(&prefix, "", 1));
                (region, names.collect())
            });
            (service.name.clone(), OutlineService { min_healthy_regions: service.min_healthy_regions, pools: pools.collect() })
        });
        let outline = Outline {
            regions: topology.regions.iter().map(|region| region.name.clone()).collect(),
            services: services.collect(),
            groups: BTreeMap::new(),
            max_share_moved: Share::FULL,
            freezes: Vec::new(),
            returning: None,
        };
        PutPlan {
            revision: self.revision,
            expected_revision: None,
            digest: self.digest(),
            text: format!("revision: {}\n", self.revision),
            zones: BTreeMap::new(),
            outline,
        }
    }

    /// Of its meaning.
    pub(crate) fn digest(&self) -> String {
        format!("{:064x}", self.revision)
    }
}

/// The host name of a service.
pub(crate) fn hostname(service: &str) -> String {
    format!("{service}.example.test")
}

/// The address of a site.
pub(crate) fn address((region, host): Site) -> IpAddr {
    let last = u8::try_from(region * 16 + host).expect("invariant: few");
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// The site of a check's or endpoint's address.
pub(crate) fn site(address: IpAddr) -> Site {
    let IpAddr::V4(address) = address else { unreachable!("plans here are of IPv4 only") };
    let last = usize::from(address.octets()[3]);
    (last / 16, last % 16)
}

fn steering(preset: &'static str) -> Steering {
    let (stages, multivalue) = match preset {
        "geo" => (vec![Stage::Geo, Stage::Priority, Stage::Weight], false),
        "failover" => (vec![Stage::Priority, Stage::Weight], false),
        "multivalue" => (Vec::new(), true),
        _ => (vec![Stage::Weight], false),
    };
    let (tie, families) = (Share::percent(10), Families::Together);
    Steering { preset, stages, tie, limit: 8, multivalue, spread: Spread::Sticky, families, residency: None }
}

fn zone() -> Zone {
    let apex: portolan_core::model::name::Name = "example.test".parse().expect("a name");
    let primary: portolan_core::model::name::Name = "ns1.example.test".parse().expect("a name");
    let contact = "hostmaster.example.test".parse().expect("a name");
    let soa = Soa { primary: primary.clone(), contact, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 30 };
    let record = |data| Record { owner: apex.clone(), ttl: Ttl::from_secs(300), data };
    Zone { apex: apex.clone(), records: Arc::new(vec![record(RecordData::Soa(soa)), record(RecordData::Ns(primary))]) }
}

/// Maps are the same for all plans with the same regions and profiles, and take longer to build than a short run lasts.
fn geo_map(topology: &Topology, profiles: &Profiles) -> Arc<GeoMap> {
    static KNOWN: Mutex<BTreeMap<String, Arc<GeoMap>>> = Mutex::new(BTreeMap::new());
    let key = format!("{} {:?}", topology.regions.len(), profiles.distinct);
    let mut known = KNOWN.lock().expect("invariant: nobody panics with it");
    let build = || Arc::new(GeoMap::build(&topology.regions, &profiles.distinct, None, None).expect("a small map"));
    known.entry(key).or_insert_with(build).clone()
}
