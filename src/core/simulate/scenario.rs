//! One failure, before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::population::Population;
use crate::{
    answer::{Answer, ClientSubnet, Query, Rcode, answer},
    model::{
        check::ProbeKind,
        ids::{CheckIdx, EndpointIdx, RegionIdx, RegionSet, ServiceIdx},
        name::Name,
        record::{Record, RecordData, RecordType},
        time::{Human, Tick, Timestamp},
        topology::{Target, Topology},
        units::{Share, Ttl},
        verdict::Health,
    },
    table::{EndpointState, Table, World},
};

/// The most questions that one scenario asks: keeps ten thousand services within seconds.
const QUESTIONS_MAX: usize = 2_000_000;

/// The fewest clients per service: below, shares mean nothing.
const CLIENTS_MIN: usize = 50;

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The regions that are lost.
    pub fail: RegionSet,
    /// Requests per second over all regions; `None`: not known, and then the largest safe figure is worked out instead.
    pub rps: Option<u64>,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Region by region, in the plan's order.
    pub regions: Vec<RegionOutcome>,
    /// Share of clients whose answer changes.
    pub moved: Share,
    /// Share of clients that get no usable answer afterwards.
    pub unserved: Share,
    /// The longest time until the failure is judged, when connections are refused.
    pub detection_refused: Duration,
    /// The same when connections hang.
    pub detection_hung: Duration,
    /// The longest time for which a well-behaved resolver may still hand out the lost addresses after that.
    pub ttl_tail: Duration,
    /// Requests per second over all regions that no region would be overloaded by; (before, after). `None`: capacity is not declared.
    pub safe_rps: (Option<u64>, Option<u64>),
    /// Rules that the state afterwards breaks, and names that go dark, worded.
    pub refusals: Vec<String>,
}

/// One region before and after.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RegionOutcome {
    /// Its name.
    pub name: String,
    /// Whether it is one of the lost.
    pub failed: bool,
    /// Share of clients before.
    pub before: Share,
    /// Share of clients after.
    pub after: Share,
    /// Requests per second afterwards; `None`: the load is not known.
    pub rps_after: Option<u64>,
    /// Declared capacity.
    pub capacity_rps: Option<u64>,
    /// Whether the load afterwards is above the capacity; `None`: one of the two is not known.
    pub overloaded: Option<bool>,
}

/// Runs a scenario over every service of the plan; services count alike.
#[must_use]
pub fn run(world: &std::sync::Arc<World>, scenario: &Scenario, population: &Population) -> Outcome {
    let topology = &world.topology;
    let before = Table::compile(1, world.clone(), |endpoint| state(topology, endpoint, RegionSet::EMPTY));
    let after = Table::compile(2, world.clone(), |endpoint| state(topology, endpoint, scenario.fail));
    let tally = Tally::take(&before, &after, population);
    let regions = (0..topology.regions.len()).map(RegionIdx::at).map(|region| {
        let it = &topology.regions[region.get()];
        let after = tally.share(tally.after[region.get()]);
        let rps_after = scenario.rps.map(|rps| after.of(rps));
        RegionOutcome {
            name: it.name.to_string(),
            failed: scenario.fail.contains(region),
            before: tally.share(tally.before[region.get()]),
            after,
            rps_after,
            capacity_rps: it.capacity_rps,
            overloaded: rps_after.zip(it.capacity_rps).map(|(load, capacity)| load > capacity),
        }
    });
    let regions: Vec<RegionOutcome> = regions.collect();
    let (detection_refused, detection_hung) = detection(topology, scenario.fail);
    Outcome {
        moved: tally.share(tally.moved),
        unserved: tally.share(tally.unserved),
        detection_refused,
        detection_hung,
        ttl_tail: ttl_tail(&before, scenario.fail),
        safe_rps: (safe_rps(&regions, |region| region.before), safe_rps(&regions, |region| region.after)),
        refusals: refusals(&after, &tally, &regions),
        regions,
    }
}

fn state(topology: &Topology, endpoint: EndpointIdx, fail: RegionSet) -> EndpointState {
    let it = &topology.endpoints[endpoint.get()];
    let failed = fail.contains(it.region);
    let cadence = &topology.checks[it.check.get()].probe.cadence;
    EndpointState {
        health: if failed { Health::Down } else { Health::Up },
        drained: false,
        kept: false,
        admitted: Share::FULL,
        weight: None,
        pool_weight: None,
        next_change: cadence.interval + cadence.fast_interval * u32::from(cadence.fall.saturating_sub(1)),
        left: failed.then_some(Timestamp(0)),
        note: failed.then(|| "lost in this scenario".into()),
    }
}

/// Weighted counts of clients over all services.
struct Tally {
    total: u64,
    before: Vec<u64>,
    after: Vec<u64>,
    moved: u64,
    unserved: u64,
    /// Services with a client that gets no usable answer.
    dark: BTreeSet<ServiceIdx>,
}

impl Tally {
    fn take(before: &Table, after: &Table, population: &Population) -> Self {
        let topology = &before.world.topology;
        let n_regions = topology.regions.len();
        let mut tally =
            Self { total: 0, before: vec![0; n_regions], after: vec![0; n_regions], moved: 0, unserved: 0, dark: BTreeSet::new() };
        let clients = population.thinned((QUESTIONS_MAX / topology.services.len().max(1)).max(CLIENTS_MIN));
        // A name that follows a database role is not steered by place: it has no endpoints here.
        for (i, service) in topology.services.iter().enumerate().filter(|(_, service)| !service.pools.is_empty()) {
            let Some(name) = service.hostnames.first() else { continue };
            for (position, &(address, weight)) in clients.clients().iter().enumerate() {
                let (was, is) = (ask(before, name, address, position), ask(after, name, address, position));
                let is_usable = |answer: &&Answer| answer.rcode == Rcode::NoError && answer.extended_error.is_none();
                tally.total += weight;
                for (region, part) in was.iter().flat_map(|answer| regions_of(before, answer, weight)) {
                    tally.before[region.get()] += part;
                }
                // An answer that all_down made up sends nobody to a place that can serve.
                for (region, part) in is.iter().filter(is_usable).flat_map(|answer| regions_of(after, answer, weight)) {
                    tally.after[region.get()] += part;
                }
                if was.as_ref().map(targets) != is.as_ref().map(targets) {
                    tally.moved += weight;
                }
                if is.as_ref().filter(is_usable).is_none() {
                    tally.unserved += weight;
                    tally.dark.insert(ServiceIdx::at(i));
                }
            }
        }
        tally
    }

    fn share(&self, part: u64) -> Share {
        part_of(part, self.total)
    }
}

/// The share of clients whose answer is another one with `after` than with `before`, over the services of either; services count alike. Both may
/// be of different plans.
#[must_use]
pub fn moved(before: &Table, after: &Table, population: &Population) -> Share {
    let names = |table: &Table| -> BTreeSet<Name> {
        let steered = table.world.topology.services.iter().filter(|service| !service.pools.is_empty());
        steered.filter_map(|service| service.hostnames.first().cloned()).collect()
    };
    let names: BTreeSet<Name> = names(before).union(&names(after)).cloned().collect();
    let clients = population.thinned((QUESTIONS_MAX / names.len().max(1)).max(CLIENTS_MIN));
    let (mut total, mut moved) = (0, 0);
    for name in &names {
        for (position, &(address, weight)) in clients.clients().iter().enumerate() {
            total += weight;
            if ask(before, name, address, position).as_ref().map(targets) != ask(after, name, address, position).as_ref().map(targets) {
                moved += weight;
            }
        }
    }
    part_of(moved, total)
}

/// The table that a world gives when everything in it is well.
#[must_use]
pub fn all_well(world: &std::sync::Arc<World>) -> Table {
    Table::compile(1, world.clone(), |endpoint| state(&world.topology, endpoint, RegionSet::EMPTY))
}

fn part_of(part: u64, total: u64) -> Share {
    let points = (part * 10_000 + total / 2) / total.max(1);
    Share::basis_points(u16::try_from(points).unwrap_or(10_000))
}

/// What the client number `position` at this address gets for `name`: addresses of either family, IPv4 first. `None`: none of either.
pub(crate) fn ask(table: &Table, name: &Name, address: IpAddr, position: usize) -> Option<Answer> {
    let types = [RecordType::A, RecordType::AAAA];
    let mut answers = types.into_iter().map(|record_type| {
        let source_prefix = if address.is_ipv4() { 24 } else { 48 };
        let client_subnet = Some(ClientSubnet { address, source_prefix });
        // Services that draw for each question need another number each time.
        let query = Query { name: name.clone(), record_type, source: address, client_subnet, entropy: position as u64 };
        // Names that follow a primary have no place in scenarios, so the moment plays no part.
        answer(table, &query, Tick::default())
    });
    answers.find(|answer| !answer.answers.is_empty())
}

/// The regions that an answer points to, with their parts of `weight`: one, or, where none was chosen, by their records. Empty: nowhere.
pub(crate) fn regions_of(table: &Table, answer: &Answer, weight: u64) -> Vec<(RegionIdx, u64)> {
    match answer.steered {
        None => Vec::new(),
        Some((_, Some(region))) => vec![(region, weight)],
        Some((service, None)) => {
            let pools = table.view(service).pools.iter();
            let members = || pools.clone().flat_map(|pool| pool.members.iter().map(move |member| (member.endpoint, pool.region)));
            let target = |endpoint: EndpointIdx| &table.world.topology.endpoints[endpoint.get()].target;
            let region =
                |record: &Record| members().find(|(endpoint, _)| answers_with(record, target(*endpoint))).map(|(_, region)| region);
            let regions: Vec<RegionIdx> = answer.answers.iter().filter_map(region).collect();
            let part = weight / (regions.len() as u64).max(1);
            regions.into_iter().map(|region| (region, part)).collect()
        }
    }
}

fn answers_with(record: &Record, target: &Target) -> bool {
    match (&record.data, target) {
        (RecordData::A(address), Target::Address(IpAddr::V4(own))) => address == own,
        (RecordData::Aaaa(address), Target::Address(IpAddr::V6(own))) => address == own,
        (RecordData::Cname(name), Target::Name(own)) => name == own,
        _ => false,
    }
}

/// What an answer points to, whatever the order and the time to live.
fn targets(answer: &Answer) -> BTreeSet<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

/// The longest time from the loss of the regions until the last of their endpoints is judged down: (refused, hung).
fn detection(topology: &Topology, fail: RegionSet) -> (Duration, Duration) {
    let lost = topology.endpoints.iter().filter(|endpoint| fail.contains(endpoint.region));
    let mut known = BTreeMap::new();
    lost.map(|endpoint| detection_of(topology, endpoint.check, &mut known))
        .fold((Duration::ZERO, Duration::ZERO), |longest, it| (longest.0.max(it.0), longest.1.max(it.1)))
}

/// The same of one check. A calculated one knows when those know that it is calculated from; a heartbeat knows only that nothing comes.
fn detection_of(topology: &Topology, check: CheckIdx, known: &mut BTreeMap<CheckIdx, (Duration, Duration)>) -> (Duration, Duration) {
    if let Some(&times) = known.get(&check) {
        return times;
    }
    // Also ends a circle, which plans refuse.
    known.insert(check, (Duration::ZERO, Duration::ZERO));
    let probe = &topology.checks[check.get()].probe;
    let (cadence, fall) = (&probe.cadence, u32::from(probe.cadence.fall));
    let times = match &probe.kind {
        ProbeKind::None => (Duration::ZERO, Duration::ZERO),
        ProbeKind::Calculated { of, .. } => of
            .iter()
            .map(|child| detection_of(topology, *child, known))
            .fold((Duration::ZERO, Duration::ZERO), |longest, it| (longest.0.max(it.0), longest.1.max(it.1))),
        ProbeKind::Heartbeat { .. } => {
            let silent = cadence.interval * fall.max(1) + cadence.timeout;
            (silent, silent)
        }
        _ => {
            let refused = cadence.interval + cadence.fast_interval * fall.saturating_sub(1);
            (refused, refused + cadence.timeout * fall)
        }
    };
    known.insert(check, times);
    times
}

/// The longest time to live that an answer out of a lost region carried.
fn ttl_tail(before: &Table, fail: RegionSet) -> Duration {
    let topology = &before.world.topology;
    let tails = topology.services.iter().enumerate().flat_map(|(i, service)| {
        let view = before.view(ServiceIdx::at(i));
        let lost = service.regions().and(fail);
        lost.iter()
            .map(move |region| Ttl::from_duration(view.ttl(region)).clamp(service.ttl.min, service.ttl.max).duration())
            .collect::<Vec<_>>()
    });
    tails.max().unwrap_or_default()
}

/// The load over all regions at which the first of them is full.
fn safe_rps(regions: &[RegionOutcome], share: impl Fn(&RegionOutcome) -> Share) -> Option<u64> {
    let loaded = regions.iter().filter(|region| share(region) > Share::NONE);
    let limits = loaded.map(|region| region.capacity_rps.map(|capacity| capacity * 10_000 / u64::from(share(region).points())));
    limits.collect::<Option<Vec<_>>>()?.into_iter().min()
}

fn refusals(after: &Table, tally: &Tally, regions: &[RegionOutcome]) -> Vec<String> {
    /// More lines than this say nothing more.
    const LINES_MAX: usize = 20;
    let topology = &after.world.topology;
    let mut lines = Vec::new();
    for (i, service) in topology.services.iter().enumerate().filter(|(_, service)| !service.pools.is_empty()) {
        let healthy = after.view(ServiceIdx::at(i)).up.len();
        if healthy < service.min_healthy_regions {
            lines.push(format!(
                "service {}: {healthy} healthy regions, min_healthy_regions is {}",
                service.name, service.min_healthy_regions
            ));
        }
        if tally.dark.contains(&ServiceIdx::at(i)) {
            lines.push(format!("service {}: some clients have no usable endpoint left; all_down decides what they get", service.name));
        }
    }
    for region in regions.iter().filter(|region| region.overloaded == Some(true)) {
        let (load, capacity) = (region.rps_after.unwrap_or_default(), region.capacity_rps.unwrap_or_default());
        lines.push(format!("region {}: {load} requests per second on a capacity of {capacity}", region.name));
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

impl Outcome {
    /// As text for a terminal, at most 100 columns.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{:<20} {:>8} {:>8} {:>10} {:>10}  NOTE\n", "REGION", "BEFORE", "AFTER", "RPS AFTER", "CAPACITY");
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        for region in &self.regions {
            let note = match (region.failed, region.overloaded) {
                (true, _) => "lost",
                (false, Some(true)) => "OVERLOAD",
                _ => "",
            };
            text.push_str(
                format!(
                    "{:<20} {:>8} {:>8} {:>10} {:>10}  {note}",
                    region.name,
                    region.before.to_string(),
                    region.after.to_string(),
                    number(region.rps_after),
                    number(region.capacity_rps)
                )
                .trim_end(),
            );
            text.push('\n');
        }
        text.push_str(&format!("\nmoved      {} of clients, {} without a usable answer\n", self.moved, self.unserved));
        let (refused, hung) = (Human(self.detection_refused), Human(self.detection_hung));
        text.push_str(&format!("detection  at most {refused} (connections refused), {hung} (connections hang)\n"));
        text.push_str(&format!("ttl tail   at most {} more in well-behaved resolvers\n", Human(self.ttl_tail)));
        if let (Some(before), Some(after)) = self.safe_rps {
            text.push_str(&format!("safe load  {before} requests per second before, {after} after\n"));
        }
        for refusal in &self.refusals {
            text.push_str(&format!("refuses    {refusal}\n"));
        }
        text
    }
}
