//! From a checked plan to the topology: names become indices, defaults are filled in, equal checks are probed once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    follow,
    overlay::{self, Layers},
    rdata,
    sections::{
        AllDownWord, CheckType, DatabaseRole, Endpoint as EndpointSection, Engine, Expect, ExpectHttp, FamiliesWord, FenceMode,
        HealthChecks, Method, Plan, Preset, Require, Residency as ResidencySection, Routing, Service as ServiceSection, Source, SpreadWord,
        StageWord, StatusSet, Zone as ZoneSection,
    },
};
use crate::{
    document::{PlainName, Table},
    model::{
        check::{
            Address, BodyMatch, Bound, Cadence, Check, Flap, Host, HttpExpect, HttpMethod, Probe, ProbeKind, ServerEngine, ServerRole,
            TlsCheck,
        },
        follow::Follows,
        ids::{CheckIdx, EndpointIdx, Label, REGIONS_MAX, RegionIdx, RegionSet, ServiceIdx},
        name::Name,
        record::{Record, RecordData, RecordType, Soa},
        topology::{
            AllDown, Endpoint, Families, Guardrails, Pool, Region, Residency, ResidencyMode, Service, SlowStart, Spread, Stage, Steering,
            Target, Topology, TtlRange, Zone,
        },
        units::{Code, Location, Share, Ttl, Weight},
    },
};

/// Serial of the zones' SOA records: the version of their static content (RFC 1982).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(pub u32);

impl Serial {
    /// Of a node on its own: the plan's revision, in serial arithmetic.
    #[must_use]
    pub const fn of_revision(revision: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "serial numbers wrap (RFC 1982)")]
        Self(revision as u32)
    }
}

/// The zone files that a plan needs: apex and path, in the plan's order.
pub fn zone_files(plan: &Plan) -> impl Iterator<Item = (&Name, &str)> {
    plan.zones.iter().filter_map(|(apex, zone)| zone.file.as_ref().map(|PlainName(path)| (apex, path.as_str())))
}

/// The topology of a plan in which [`check`](super::check()) found no error. `zone_records` are the records of the zone files, by apex.
///
/// A plan with errors resolves too, without what is wrong in it; nobody should use the result.
#[must_use]
pub fn resolve(plan: &Plan, serial: Serial, zone_records: &BTreeMap<Name, Vec<Record>>) -> Topology {
    let mut build = Build { plan, probes: BTreeMap::new(), checks: Vec::new(), known: BTreeMap::new(), names: BTreeMap::new() };
    build.named_checks();
    let (services, endpoints) = build.services();
    let databases = build.databases();
    Topology {
        revision: plan.revision,
        name: plan.name.clone(),
        regions: plan.regions.iter().map(|(name, region)| resolve_region(name, region)).collect(),
        services,
        endpoints,
        checks: build.checks,
        check_names: build.names,
        zones: plan.zones.iter().map(|(apex, zone)| resolve_zone(apex, zone, serial, zone_records.get(apex))).collect(),
        guardrails: Guardrails {
            max_ejection: Share::percent(plan.guardrails.max_ejection_percent),
            max_share_moved: plan.guardrails.max_share_moved_per_step,
        },
        databases,
        scaled: plan
            .data_groups
            .iter()
            .filter(|(_, group)| !group.time_scale.is_full())
            .map(|(name, group)| (name.clone(), group.time_scale))
            .collect(),
    }
}

fn resolve_region(name: &Label, region: &super::sections::Region) -> Region {
    Region {
        name: name.clone(),
        location: region.latitude.zip(region.longitude).and_then(|(latitude, longitude)| Location::from_degrees(latitude, longitude)),
        continent: region.continent.and_then(|continent| Code::new(continent.word())),
        country: region.country,
        jurisdiction: region.jurisdiction.clone(),
        capacity_rps: region.capacity.as_ref().map(|capacity| capacity.requests_per_second),
        networks: region.networks.clone(),
        cluster: region.cluster_config.as_ref().map(|cluster| cluster.name.to_string()),
        failure_domain: region.cluster_config.as_ref().and_then(|cluster| cluster.zone.as_ref()).map(ToString::to_string),
    }
}

/// All records of a zone: SOA and NS from its keys, then its own, then those of its file. A file's SOA and NS of the apex give way.
pub(super) fn resolve_zone(apex: &Name, zone: &ZoneSection, serial: Serial, from_file: Option<&Vec<Record>>) -> Zone {
    let ttl = Ttl::from_duration(zone.ttl);
    let refresh = Ttl::from_duration(zone.refresh).secs();
    let soa = Soa {
        primary: zone.nameservers.first().unwrap_or(apex).clone(),
        contact: zone.contact.0.clone(),
        serial: serial.0,
        refresh,
        retry: (refresh / 4).max(60),
        expire: refresh.saturating_mul(168).min(Ttl::MAX.secs()),
        minimum: Ttl::from_duration(zone.negative_ttl).secs(),
    };
    let mut records = vec![Record { owner: apex.clone(), ttl, data: RecordData::Soa(soa) }];
    records.extend(zone.nameservers.iter().map(|server| Record { owner: apex.clone(), ttl, data: RecordData::Ns(server.clone()) }));
    records.extend(own_records(apex, zone));
    let is_replaced = |record: &Record| record.owner == *apex && matches!(record.data.record_type(), RecordType::SOA | RecordType::NS);
    records.extend(from_file.into_iter().flatten().filter(|record| !is_replaced(record)).cloned());
    Zone { apex: apex.clone(), records: Arc::new(records) }
}

/// The records that a zone's section writes out; what cannot be read is left to the check.
fn own_records(apex: &Name, zone: &ZoneSection) -> Vec<Record> {
    let mut records = Vec::new();
    for record in &zone.records {
        let Ok(owner) = Name::relative(record.name.as_str(), apex) else { continue };
        let ttl = Ttl::from_duration(record.ttl.unwrap_or(zone.ttl));
        let data = record.values.iter().filter_map(|value| rdata::parse(record.kind, value.as_str(), apex).ok());
        records.extend(data.map(|data| Record { owner: owner.clone(), ttl, data }));
    }
    records
}

struct Build<'p> {
    plan: &'p Plan,
    /// Distinct ways to probe, and their number.
    probes: BTreeMap<Arc<Probe>, u32>,
    checks: Vec<Check>,
    /// Distinct checks: target and the number of the way to probe.
    known: BTreeMap<(Option<Address>, u32), CheckIdx>,
    names: BTreeMap<Label, CheckIdx>,
}

impl Build<'_> {
    /// The named checks, those first that others are calculated from. A circle, which the check refuses, is left out.
    fn named_checks(&mut self) {
        let base = named_base(self.plan);
        let mut waiting: Vec<(&Label, HealthChecks)> =
            self.plan.checks.iter().map(|(name, checks)| (name, overlay::overlay(&base, checks))).collect();
        loop {
            let before = waiting.len();
            waiting.retain(|(name, merged)| {
                let of = merged.of.iter().flatten();
                let is_ready = overlay::kind(merged) != CheckType::Calculated || of.clone().all(|other| self.names.contains_key(other));
                if is_ready {
                    let way = self.way(merged, Some(name));
                    let check = self.check(&way, None);
                    self.names.insert((*name).clone(), check);
                }
                !is_ready
            });
            if waiting.is_empty() || waiting.len() == before {
                return;
            }
        }
    }

    /// How these settings probe, made once.
    fn way(&mut self, checks: &HealthChecks, name: Option<&Label>) -> Way {
        let kind = overlay::kind(checks);
        let probe = Probe { kind: self.probe_kind(checks, name), cadence: overlay::cadence(checks) };
        let next = u32::try_from(self.probes.len()).unwrap_or(u32::MAX);
        let (probe, number) = match self.probes.get_key_value(&probe) {
            Some((known, &number)) => (Arc::clone(known), number),
            None => {
                let probe = Arc::new(probe);
                self.probes.insert(Arc::clone(&probe), next);
                (probe, next)
            }
        };
        Way {
            named: checks.uses.as_ref().and_then(|name| self.names.get(name)).copied(),
            number,
            probe,
            has_target: overlay::has_target(kind),
            address: checks.address.as_ref().map(|address| address.0.clone()),
            port: checks.port,
        }
    }

    /// The check of an endpoint, or of no endpoint, made once.
    fn check(&mut self, way: &Way, endpoint: Option<Address>) -> CheckIdx {
        if let Some(named) = way.named {
            return named;
        }
        let address = way.address.clone().or(endpoint).filter(|_| way.has_target);
        let address = address.map(|address| Address { port: way.port.unwrap_or(address.port), ..address });
        let key = (address, way.number);
        if let Some(&index) = self.known.get(&key) {
            return index;
        }
        let index = CheckIdx::at(self.checks.len());
        self.checks.push(Check { address: key.0.clone(), probe: Arc::clone(&way.probe) });
        self.known.insert(key, index);
        index
    }

    fn probe_kind(&self, checks: &HealthChecks, name: Option<&Label>) -> ProbeKind {
        let tls = || TlsCheck {
            server_name: checks.server_name.as_ref().map(|name| name.0.clone()),
            verify: checks.verify.unwrap_or(true),
            ca_file: checks.ca.as_ref().map(|secret| secret.0.to_string()),
        };
        match overlay::kind(checks) {
            CheckType::None => ProbeKind::None,
            kind @ (CheckType::Http | CheckType::Https) => ProbeKind::Http {
                tls: (kind == CheckType::Https).then(tls),
                host: checks.host.as_ref().map(|host| host.0.clone()),
                method: if checks.method == Some(Method::Head) { HttpMethod::Head } else { HttpMethod::Get },
                path: checks.path.as_ref().map_or_else(|| "/health".to_owned(), |path| path.0.clone()),
                headers: checks.headers.iter().flat_map(Table::iter).map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
                expect: http_expect(checks.expect.as_ref()),
            },
            CheckType::Tcp => ProbeKind::Tcp,
            CheckType::Postgres => server(checks, ServerEngine::Postgres, None),
            CheckType::Mysql => server(checks, ServerEngine::Mysql, None),
            CheckType::Redis => server(checks, ServerEngine::Redis, checks.tls.unwrap_or(false).then(tls)),
            CheckType::Tls => ProbeKind::Tls { tls: tls(), valid_for: checks.valid_for.unwrap_or_default() },
            CheckType::Grpc => ProbeKind::Grpc {
                tls: checks.tls.unwrap_or(false).then(tls),
                service: checks.service.as_ref().map_or_else(String::new, |service| service.0.clone()),
            },
            CheckType::Dns => ProbeKind::Dns {
                name: checks.name.clone().unwrap_or_else(Name::root),
                record_type: checks.record_type.unwrap_or(RecordType::A),
                expect: match &checks.expect {
                    Some(Expect::Data(data)) => Some(data.0.clone()),
                    _ => None,
                },
            },
            CheckType::Prometheus => ProbeKind::Prometheus {
                url: match &checks.source {
                    Some(Source::Url(url)) => url.as_str().to_owned(),
                    Some(Source::Named(name)) => {
                        self.plan.signals.sources.get(name).map_or_else(String::new, |source| source.prometheus.as_str().to_owned())
                    }
                    None => String::new(),
                },
                query: checks.query.as_ref().map_or_else(String::new, |query| query.0.clone()),
                bound: match (checks.below, checks.above) {
                    (Some(below), _) => below.below(),
                    (None, Some(above)) => above.above(),
                    (None, None) => Bound::Above(crate::model::check::Decimal(0)),
                },
            },
            CheckType::Heartbeat => ProbeKind::Heartbeat {
                name: checks.name.as_ref().map(Name::to_string).or_else(|| name.map(Label::to_string)).unwrap_or_default(),
            },
            CheckType::Calculated => {
                let mut of: Vec<CheckIdx> = checks.of.iter().flatten().filter_map(|name| self.names.get(name).copied()).collect();
                of.sort_unstable();
                of.dedup();
                let all = u16::try_from(of.len()).unwrap_or(u16::MAX);
                let at_least = match checks.require.unwrap_or(Require::All) {
                    Require::All => all,
                    Require::Any => 1,
                    Require::AtLeast(n) => n,
                };
                ProbeKind::Calculated { of, at_least: at_least.clamp(1, all.max(1)) }
            }
        }
    }

    /// The checks of all members of data groups. One failed probe is a failed one, as one that passed is: what is counted are rounds.
    fn databases(&mut self) -> BTreeMap<Label, BTreeMap<Label, CheckIdx>> {
        let mut databases = BTreeMap::new();
        for (name, group) in self.plan.data_groups.iter() {
            if group.engine == Engine::Mysql {
                continue;
            }
            let interval = group.time_scale.of_time(group.probe.interval);
            let cadence = Cadence {
                interval,
                fast_interval: interval,
                down_interval: interval,
                timeout: group.time_scale.of_time(group.probe.timeout).min(interval),
                fall: 1,
                rise: 1,
                ok_run: 1,
                flap: Flap { window: Duration::ZERO, rise_max: 1 },
            };
            let mut members = BTreeMap::new();
            for (region, member) in group.members.iter() {
                let kind = match &member.dsn {
                    login if group.engine == Engine::Redis => ProbeKind::Redis { login: login.as_ref().map(|name| name.0.to_string()) },
                    Some(dsn) if matches!(group.engine, Engine::Postgresql | Engine::Patroni | Engine::CloudNativePg) => {
                        ProbeKind::Postgres { dsn: dsn.0.to_string() }
                    }
                    Some(dsn) if group.engine == Engine::Mariadb => ProbeKind::Mariadb { dsn: dsn.0.to_string() },
                    // What a manager runs has a protocol that only it knows. That it can be reached is not that it works, so this never
                    // proves more than its agent says, and what it proves is on the safe side: who answers is not failed over from.
                    _ if matches!(group.engine, Engine::Exec | Engine::Http) => ProbeKind::Tcp,
                    _ => ProbeKind::Fake,
                };
                let probe = Arc::new(Probe { kind, cadence: cadence.clone() });
                members.insert(region.clone(), CheckIdx::at(self.checks.len()));
                self.checks.push(Check { address: Some(member.address.0.clone()), probe });
            }
            databases.insert(name.clone(), members);
        }
        databases
    }

    fn services(&mut self) -> (Vec<Service>, Vec<Endpoint>) {
        let layers = Layers::new(self.plan);
        // Most endpoints are probed as their region says: resolved once, not per endpoint.
        let of_regions: Vec<Way> = (0..self.plan.regions.len()).map(|region| self.way(layers.of_region(region), None)).collect();
        let mut services = Vec::with_capacity(self.plan.services.len());
        let mut endpoints = Vec::new();
        for (position, (name, section)) in self.plan.services.iter().enumerate() {
            let mut service = resolve_service(self.plan, name, section);
            if let Some(follows) = service.follows.clone() {
                self.replicas(ServiceIdx::at(position), section, &follows, &mut service, &mut endpoints);
            }
            for (region, region_name) in self.plan.regions.keys().enumerate() {
                let Some(list) = section.endpoints.get(region_name) else { continue };
                let first = EndpointIdx::at(endpoints.len());
                let base = layers.of_service(section, region);
                let own = (!Arc::ptr_eq(&base, layers.of_region(region))).then(|| self.way(&base, None));
                let way = own.as_ref().unwrap_or(&of_regions[region]);
                for endpoint in list {
                    let Some(target) = target_of(endpoint) else { continue };
                    let checks = Layers::of_endpoint(&base, endpoint);
                    let port = endpoint.port.or_else(|| overlay::usual_port(&checks)).unwrap_or(80);
                    let address = Address { host: host_of(&target), port };
                    let check = match &endpoint.health_checks {
                        Some(_) => {
                            let way = self.way(&checks, None);
                            self.check(&way, Some(address))
                        }
                        None => self.check(way, Some(address)),
                    };
                    let (service, region) = (ServiceIdx::at(position), RegionIdx::at(region));
                    endpoints.push(Endpoint { service, region, target, port, weight: Weight(endpoint.weight), check });
                }
                let count = u32::try_from(endpoints.len() - first.get()).unwrap_or(u32::MAX);
                let (weight, priority) = share_of(self.plan, section, region_name);
                if count > 0 {
                    service.pools.push(Pool { region: RegionIdx::at(region), weight: Weight(weight), priority, first, count });
                }
            }
            services.push(service);
        }
        (services, endpoints)
    }

    /// Whoever follows a role's replicas has each member as an endpoint, which agents judge instead of probes.
    fn replicas(
        &mut self,
        index: ServiceIdx,
        section: &ServiceSection,
        follows: &Follows,
        service: &mut Service,
        endpoints: &mut Vec<Endpoint>,
    ) {
        if follows.without().is_some() {
            return;
        }
        let way = self.way(&HealthChecks { kind: Some(CheckType::None), ..HealthChecks::default() }, None);
        let check = self.check(&way, None);
        for member in &follows.members {
            let first = EndpointIdx::at(endpoints.len());
            let target = Target::Address(member.address);
            endpoints.push(Endpoint { service: index, region: member.region, target, port: member.port, weight: Weight(1), check });
            let (weight, priority) =
                self.plan.regions.keys().nth(member.region.get()).map_or((1, 1), |region| share_of(self.plan, section, region));
            service.pools.push(Pool { region: member.region, weight: Weight(weight), priority, first, count: 1 });
        }
    }
}

/// How some settings probe, apart from whom.
struct Way {
    /// A named check stands for all of it.
    named: Option<CheckIdx>,
    /// Of the probe, among the distinct ones.
    number: u32,
    probe: Arc<Probe>,
    has_target: bool,
    address: Option<Address>,
    port: Option<u16>,
}

/// What a named check is laid over: times and thresholds of the plan's defaults, no protocol.
pub(super) fn named_base(plan: &Plan) -> HealthChecks {
    overlay::cadence_of(&plan.health_check_defaults)
}

/// A database server that nobody here leads.
fn server(checks: &HealthChecks, engine: ServerEngine, tls: Option<TlsCheck>) -> ProbeKind {
    let role = checks.role.map(|role| match role {
        DatabaseRole::Primary => ServerRole::Primary,
        DatabaseRole::Replica => ServerRole::Replica,
    });
    ProbeKind::Server { engine, secret: checks.dsn.as_ref().map(|secret| secret.0.to_string()), tls, role }
}

pub(super) fn http_expect(expect: Option<&Expect>) -> HttpExpect {
    let Some(Expect::Http(ExpectHttp { status: StatusSet(status), body })) = expect else {
        return HttpExpect { status: vec![(200, 299)], body: None };
    };
    let body = body.as_ref().and_then(|body| match (&body.contains, &body.json, &body.equals) {
        (Some(text), _, _) => Some(BodyMatch::Contains(text.0.clone())),
        (None, Some(pointer), Some(equals)) => Some(BodyMatch::Json { pointer: pointer.0.clone(), equals: equals.json().to_owned() }),
        _ => None,
    });
    HttpExpect { status: status.clone(), body }
}

pub(super) fn target_of(endpoint: &EndpointSection) -> Option<Target> {
    endpoint.address.map(Target::Address).or_else(|| endpoint.target.clone().map(Target::Name))
}

fn host_of(target: &Target) -> Host {
    match target {
        Target::Address(address) => Host::Ip(*address),
        Target::Name(name) => Host::Name(name.clone()),
    }
}

/// Weight and priority of a region for a service: the service's own word, else the plan's, else 1 and 1.
pub(super) fn share_of(plan: &Plan, service: &ServiceSection, region: &Label) -> (u16, u16) {
    let (own, general) = (service.traffic_routing.get(region), plan.traffic_routing.get(region));
    let pick = |key: fn(&Routing) -> Option<u16>| own.and_then(key).or_else(|| general.and_then(key)).unwrap_or(1);
    (pick(|routing| routing.weight), pick(|routing| routing.priority))
}

/// The stages of a service and the name that people know them by.
pub(super) fn stages_of(service: &ServiceSection) -> (&'static str, Vec<Stage>) {
    if let Some(stages) = &service.stages {
        let stage = |word: &StageWord| match word {
            StageWord::Geo => Stage::Geo,
            StageWord::Latency => Stage::Latency,
            StageWord::Priority => Stage::Priority,
            StageWord::Weight => Stage::Weight,
        };
        return ("stages", stages.iter().map(stage).collect());
    }
    let of_replica = service.follows.as_ref().and_then(|follows| follows.steering);
    let preset = of_replica.or(service.steering).unwrap_or(Preset::Geo);
    let stages = match preset {
        Preset::Weighted => vec![Stage::Weight],
        Preset::Geo => vec![Stage::Geo, Stage::Priority, Stage::Weight],
        Preset::Latency => vec![Stage::Latency, Stage::Priority, Stage::Weight],
        Preset::Failover => vec![Stage::Priority, Stage::Weight],
        Preset::Multivalue => Vec::new(),
        Preset::ActiveActive => vec![Stage::Geo, Stage::Weight],
    };
    (preset.word(), stages)
}

fn resolve_service(plan: &Plan, name: &Label, section: &ServiceSection) -> Service {
    let (preset, stages) = stages_of(section);
    Service {
        name: name.clone(),
        hostnames: section.hostnames.clone(),
        steering: Steering {
            preset,
            stages,
            tie: section.tie.unwrap_or(Share::percent(10)),
            limit: section.limit.unwrap_or(8),
            multivalue: preset == Preset::Multivalue.word(),
            spread: match section.spread.unwrap_or(SpreadWord::Sticky) {
                SpreadWord::Sticky => Spread::Sticky,
                SpreadWord::Random => Spread::Random,
            },
            families: match section.families.unwrap_or(FamiliesWord::Together) {
                FamiliesWord::Together => Families::Together,
                FamiliesWord::Independent => Families::Independent,
            },
            residency: section.residency.as_ref().and_then(|residency| resolve_residency(plan, residency)),
        },
        ttl: match &section.follows {
            Some(follows) => TtlRange { min: Ttl::from_duration(follows.ttl.min), max: Ttl::from_duration(follows.ttl.max) },
            None => TtlRange { min: Ttl::from_duration(section.ttl.min), max: Ttl::from_duration(section.ttl.max) },
        },
        all_down: match section.all_down {
            // A name that follows a role has nothing proven to answer: another server may know more.
            _ if section.follows.is_some() => AllDown::Servfail,
            AllDownWord::LastGood => AllDown::LastGood,
            AllDownWord::All => AllDown::All,
            AllDownWord::Backup => AllDown::Backup,
            AllDownWord::Nodata => AllDown::Nodata,
            AllDownWord::Servfail => AllDown::Servfail,
        },
        slow_start: SlowStart { share: section.slow_start.share, over: section.slow_start.over, ramp: section.slow_start.ramp },
        min_healthy_regions: usize::from(section.min_healthy_regions),
        pools: Vec::new(),
        backup: section.backup.iter().map(|target| target.0.clone()).collect(),
        follows: section.follows.as_ref().and_then(|follows| follow::resolve(plan, follows)).map(Arc::new),
    }
}

fn resolve_residency(plan: &Plan, section: &ResidencySection) -> Option<Residency> {
    let mode = match section.mode {
        FenceMode::Strict => ResidencyMode::Strict,
        FenceMode::Prefer => ResidencyMode::Prefer,
        FenceMode::Open => return None,
    };
    let by_code: BTreeMap<Code, RegionSet> =
        section.jurisdictions.iter().map(|(code, jurisdictions)| (*code, regions_of(plan, jurisdictions))).collect();
    Some(Residency { mode, by_code, otherwise: section.otherwise.as_ref().map(|jurisdictions| regions_of(plan, jurisdictions)) })
}

/// The regions whose law is one of these.
pub(super) fn regions_of(plan: &Plan, jurisdictions: &[Label]) -> RegionSet {
    let regions = plan.regions.iter().take(REGIONS_MAX).enumerate();
    regions.filter(|(_, (_, region))| lies_in(region, jurisdictions)).map(|(i, _)| RegionIdx::at(i)).collect()
}

/// Whether the region's law is one of these; a region that names none lies in none.
pub(super) fn lies_in(region: &super::sections::Region, jurisdictions: &[Label]) -> bool {
    region.jurisdiction.as_ref().is_some_and(|law| jurisdictions.contains(law))
}
