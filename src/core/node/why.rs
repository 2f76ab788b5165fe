//! Answers `why OBJECT` and previews of answers.

use std::collections::BTreeSet;

use super::{
    Node,
    counts::Counts,
    report::{Happening, Preview, ReportError, Why},
    status::all_down_word,
};
use crate::{
    answer::{Query, explain, resolve::ALIASES_MAX},
    model::{
        check::{Check, ProbeKind},
        ids::{CheckIdx, EndpointIdx, RegionIdx, ServiceIdx},
        name::Name,
        reason::{Mark, Reason},
        record::{Record, RecordData, RecordType},
        time::{Human, Now},
        topology::Pool,
        verdict::Health,
    },
    table::{ServiceView, Tier},
    zone::Found,
};

/// Happenings shown with a `why`.
const HISTORY_MAX: usize = 20;

/// Endpoints listed under one heading; more are counted.
const LISTED_MAX: usize = 50;

impl Node {
    /// Why a region, a service, an endpoint, a check or a host name stands as it does.
    ///
    /// # Errors
    /// [`ReportError::Unknown`], with names that are near.
    pub fn why(&self, now: Now, object: &str) -> Result<Why, ReportError> {
        let object = object.trim().trim_end_matches('.');
        let (kind, bare) = match object.split_once('/') {
            Some((kind @ ("regions" | "services" | "endpoints" | "checks"), bare)) => (Some(kind), bare),
            _ => (None, object),
        };
        let found = self.find(kind, bare);
        let Some(found) = found else {
            return Err(ReportError::Unknown { object: bare.to_owned(), candidates: self.near(bare) });
        };
        let topology = &self.world.topology;
        let (title, reason) = match found {
            Object::Region(region) => (format!("region {}", topology.regions[region.get()].name), self.why_region(now, region)),
            Object::Service(service) => (format!("service {}", topology.services[service.get()].name), self.why_service(now, service)),
            Object::Endpoint(endpoint) => (format!("endpoint {}", topology.endpoint_name(endpoint)), self.why_endpoint(now, endpoint)),
            Object::Check(check) => (self.checks.name(topology, check), self.why_check(now, check)),
        };
        let names = self.names_of(found);
        let about = self.happenings.iter().rev().filter(|happening| is_about(&happening.text, &names)).take(HISTORY_MAX);
        let mut history: Vec<Happening> = about.cloned().collect();
        history.reverse();
        Ok(Why { object: title, at: now.wall, reason, history, moment: None })
    }

    /// What people mean by `bare`; without a kind the first that fits: region, service, host name, endpoint, check.
    fn find(&self, kind: Option<&str>, bare: &str) -> Option<Object> {
        let topology = &self.world.topology;
        let is = |wanted: &str| kind.is_none_or(|kind| kind == wanted);
        let region = || topology.region(bare).map(Object::Region);
        let service = || topology.service(bare).or_else(|| self.service_of_hostname(bare)).map(Object::Service);
        let endpoint = || self.endpoint_named(bare).map(Object::Endpoint);
        let check = || topology.check_names.iter().find(|(name, _)| name.as_str() == bare).map(|(_, check)| Object::Check(*check));
        let by_kind = [
            is("regions").then(region).flatten(),
            is("services").then(service).flatten(),
            is("endpoints").then(endpoint).flatten(),
            is("checks").then(check).flatten(),
        ];
        by_kind.into_iter().flatten().next()
    }

    /// The names under which happenings speak of an object: its own, and those of the checks that judge it.
    fn names_of(&self, object: Object) -> BTreeSet<String> {
        let topology = &self.world.topology;
        let endpoints = topology.endpoints.iter().enumerate();
        let (own, of): (String, Vec<CheckIdx>) = match object {
            Object::Region(region) => {
                let of = endpoints.filter(|(_, endpoint)| endpoint.region == region).map(|(_, endpoint)| endpoint.check);
                (topology.regions[region.get()].name.to_string(), of.collect())
            }
            Object::Service(service) => {
                let of = endpoints.filter(|(_, endpoint)| endpoint.service == service).map(|(_, endpoint)| endpoint.check);
                (topology.services[service.get()].name.to_string(), of.collect())
            }
            Object::Endpoint(endpoint) => (topology.endpoint_name(endpoint), vec![topology.endpoints[endpoint.get()].check]),
            Object::Check(check) => (
                topology.check_names.iter().find(|(_, it)| **it == check).map_or_else(String::new, |(name, _)| name.to_string()),
                vec![check],
            ),
        };
        let mut checks: BTreeSet<CheckIdx> = of.into_iter().collect();
        // Those that calculated ones are calculated from speak for them too.
        let mut open: Vec<CheckIdx> = checks.iter().copied().collect();
        while let Some(check) = open.pop() {
            if let ProbeKind::Calculated { of, .. } = &topology.checks[check.get()].probe.kind {
                open.extend(of.iter().copied().filter(|child| checks.insert(*child)));
            }
        }
        let names = checks.into_iter().map(|check| {
            let name = self.checks.name(topology, check);
            // `check db`, `endpoint api/us/192.0.2.1:80 (and 1 more)`: the name is the second word.
            name.split(' ').nth(1).unwrap_or_default().to_owned()
        });
        names.chain([own]).collect()
    }

    /// The very answer that a client would get, and why.
    ///
    /// # Errors
    /// [`ReportError::NotReady`] before the first table.
    pub fn preview(&self, now: Now, query: &Query) -> Result<Preview, ReportError> {
        let table = self.table.as_ref().ok_or(ReportError::NotReady)?;
        let (answer, reason) = explain(table, query, now.tick);
        Ok(Preview { answer, reason, generation: table.generation, at: now.wall })
    }

    fn why_region(&self, now: Now, region: RegionIdx) -> Reason {
        let topology = &self.world.topology;
        let judged = topology.judged().filter(|(_, endpoint)| endpoint.region == region);
        let endpoints: Vec<EndpointIdx> = judged.map(|(index, _)| index).collect();
        let mut counts = Counts::default();
        endpoints.iter().for_each(|endpoint| counts.add(&self.verdict(topology.endpoints[endpoint.get()].check, now.tick)));
        let name = &topology.regions[region.get()].name;
        let mark = if counts.up > 0 {
            Mark::Yes
        } else if endpoints.is_empty() {
            Mark::Open
        } else {
            Mark::No
        };
        let since = counts.since().map_or_else(String::new, |since| format!(", since {since}"));
        let mut reason = Reason::new(mark, format!("region {name}: {} of {} endpoints are up{since}", counts.up, endpoints.len()));
        for by in self.overlay.in_force(now.wall).filter(|it| it.scope.names_region(name.as_str())) {
            reason = reason.with(Reason::new(Mark::Info, by.to_string()));
        }
        // Those that are not up explain the state; the others are a number.
        let mut shown: Vec<EndpointIdx> = endpoints.iter().copied().filter(|&endpoint| self.observed(endpoint) != Health::Up).collect();
        if shown.is_empty() {
            shown = endpoints;
        }
        self.list(now, reason, &shown)
    }

    fn why_service(&self, now: Now, service: ServiceIdx) -> Reason {
        let topology = &self.world.topology;
        let it = &topology.services[service.get()];
        if let Some(follows) = it.follows_primary() {
            return self.why_role(now, service, follows);
        }
        let hostnames: Vec<String> = it.hostnames.iter().map(ToString::to_string).collect();
        let view = self.table.as_ref().map(|table| table.view(service));
        let best = view.map(ServiceView::best);
        let mark = match best {
            None | Some(Some(Tier::Unjudged)) => Mark::Open,
            Some(Some(Tier::Up | Tier::Drained)) => Mark::Yes,
            Some(Some(Tier::Out) | None) => Mark::No,
        };
        let text = format!(
            "service {} ({}): {} of {} regions in rotation, steering {}",
            it.name,
            hostnames.join(", "),
            view.map_or(0, |view| view.up.len()),
            it.pools.len(),
            it.steering.preset
        );
        let mut reason = Reason::new(mark, text);
        let all_down = all_down_word(it.all_down);
        let instead = match best {
            None | Some(Some(Tier::Up)) => None,
            Some(Some(Tier::Unjudged)) => Some((Mark::Open, "no endpoint is up: those that are not judged yet answer".to_owned())),
            Some(Some(Tier::Drained)) => Some((Mark::Info, "no endpoint is up and in rotation: drained ones answer".to_owned())),
            Some(Some(Tier::Out)) => Some((Mark::No, format!("no endpoint is usable: all_down {all_down} decides"))),
            Some(None) => Some((Mark::No, format!("it has no endpoints in this plan: all_down {all_down} decides"))),
        };
        if let Some((mark, text)) = instead {
            reason = reason.with(Reason::new(mark, text));
        }
        if let Some(view) = view.filter(|view| !view.pools.is_empty()) {
            let ttl = format!("answers live at most {} (range {} to {})", view.ttl_ceiling(topology, service), it.ttl.min, it.ttl.max);
            reason = reason.with(Reason::new(Mark::Info, ttl));
        }
        for pool in &it.pools {
            reason = reason.with(self.why_pool(now, pool, view.is_some_and(|view| view.up.contains(pool.region))));
        }
        reason.with(Reason::new(
            Mark::Info,
            format!("who gets what: portolan dns query {} --client IP", hostnames.first().map_or("NAME", |name| name)),
        ))
    }

    fn why_pool(&self, now: Now, pool: &Pool, usable: bool) -> Reason {
        let region = &self.world.topology.regions[pool.region.get()].name;
        let mark = if usable { Mark::Yes } else { Mark::No };
        let ordered = self.overlay.intended(&self.world.topology, pool.first, now.wall).pool_weight;
        let weight = match &ordered {
            Some(order) => format!("{order}; {} in the plan", pool.weight.0),
            None => format!("weight {}", pool.weight.0),
        };
        let admission = self.overlay.intended(&self.world.topology, pool.first, now.wall).admission;
        let admission = admission.map_or_else(String::new, |order| format!(", {order}"));
        let heading = Reason::new(mark, format!("region {region}: {weight}, priority {}{admission}", pool.priority));
        let endpoints: Vec<EndpointIdx> = pool.endpoints().collect();
        self.list(now, heading, &endpoints)
    }

    fn list(&self, now: Now, heading: Reason, endpoints: &[EndpointIdx]) -> Reason {
        let mut reason = heading;
        for &endpoint in endpoints.iter().take(LISTED_MAX) {
            reason = reason.with(self.endpoint_line(now, endpoint));
        }
        if endpoints.len() > LISTED_MAX {
            reason = reason.with(Reason::new(Mark::Info, format!("and {} more", endpoints.len() - LISTED_MAX)));
        }
        reason
    }

    fn endpoint_line(&self, now: Now, endpoint: EndpointIdx) -> Reason {
        let topology = &self.world.topology;
        let it = &topology.endpoints[endpoint.get()];
        let columns = self.columns(now, endpoint);
        let member = self.table.as_ref().and_then(|table| {
            table.view(it.service).pools.iter().flat_map(|pool| &pool.members).find(|member| member.endpoint == endpoint)
        });
        let mark = match member.map(|member| member.tier) {
            Some(Tier::Up) => Mark::Yes,
            Some(Tier::Unjudged) | None => Mark::Open,
            Some(Tier::Drained | Tier::Out) => Mark::No,
        };
        let told = self.told(now, it.check);
        let is_replica = topology.services[it.service.get()].follows.is_some();
        let note = member
            .and_then(|member| member.note.as_deref())
            .filter(|_| columns.effective.health_by.is_some() || columns.effective.is_drained() || is_replica);
        let text = note.map_or_else(|| told.clone(), |note| format!("{note} (observed: {told})"));
        Reason::new(mark, format!("{}: {text}", topology.endpoint_name(endpoint)))
    }

    fn why_endpoint(&self, now: Now, endpoint: EndpointIdx) -> Reason {
        let topology = &self.world.topology;
        let check = topology.endpoints[endpoint.get()].check;
        let view = self.table.as_ref().map(|table| table.view(topology.endpoints[endpoint.get()].service));
        let member = view.and_then(|view| view.pools.iter().flat_map(|pool| &pool.members).find(|member| member.endpoint == endpoint));
        let status = self.endpoint_status(now, endpoint, member.zip(view));
        let mut reason = self.endpoint_line(now, endpoint);
        reason = reason.with(Reason::new(Mark::Info, format!("served: {}", if status.served { "yes" } else { "no" })));
        if let Some(intended) = status.intended {
            reason = reason.with(Reason::new(Mark::Info, format!("intended: {intended}")));
        }
        let check = self.why_check(now, check);
        reason.with(check)
    }

    fn why_check(&self, now: Now, check: CheckIdx) -> Reason {
        let topology = &self.world.topology;
        let it = &topology.checks[check.get()];
        let address = it.address.as_ref().map_or_else(String::new, |address| format!(" to {address}"));
        let name = self.checks.name(topology, check);
        let mut reason =
            Reason::new(self.mark(check), format!("{name}: {} probe{address}: {}", it.probe.kind.word(), self.told(now, check)));
        if let Some(rule) = rule(it) {
            reason = reason.with(Reason::new(Mark::Info, rule));
        }
        if let Some(explained) = self.vantage.explain(check, now.tick) {
            reason = reason.with(explained);
        }
        if let ProbeKind::Calculated { of, .. } = &it.probe.kind {
            for child in of.iter().take(LISTED_MAX) {
                reason = reason
                    .with(Reason::new(self.mark(*child), format!("{}: {}", self.checks.name(topology, *child), self.told(now, *child))));
            }
            return reason;
        }
        let Some(state) = self.book.state(check) else { return reason };
        // In a node that was recalled, single probes are told of as they were when the check last changed.
        let as_of = self.as_of.get(check.get()).filter(|at| **at != now.wall).map_or_else(String::new, |at| format!(", as of {at}"));
        let mut recent: Vec<char> = state.recent().map(|passed| if passed { 'o' } else { 'x' }).collect();
        recent.reverse();
        if !recent.is_empty() {
            let (passed, failed) = state.counts();
            let ticks: String = recent.into_iter().collect();
            reason = reason.with(Reason::new(
                Mark::Info,
                format!("last probes {ticks} (newest right), {passed} passed and {failed} failed since the start{as_of}"),
            ));
        }
        let timings = state.timings();
        if !timings.total.is_zero() {
            let part = |name: &str, value: Option<std::time::Duration>| value.map(|value| format!("{name} {}", millis(value)));
            let parts = [part("connect", timings.connect), part("tls", timings.tls), part("first byte", timings.first_byte)];
            let parts: Vec<String> = parts.into_iter().flatten().chain([format!("total {}", millis(timings.total))]).collect();
            reason = reason.with(Reason::new(Mark::Info, format!("last probe took {}{as_of}", parts.join(", "))));
        }
        if let Some((failure, at)) = state.last_failure() {
            let age = super::status::whole_seconds(now.wall.since(at));
            reason = reason.with(Reason::new(Mark::Info, format!("last failure {failure}, at {at} ({} ago){as_of}", Human(age))));
        }
        reason
    }

    /// The verdict in a line; among peers with who stands behind it, and what is seen from here.
    fn told(&self, now: Now, check: CheckIdx) -> String {
        let own = self.book.tell(check).map_or_else(String::new, |telling| telling.to_string());
        if self.vantage.is_single() {
            return own;
        }
        let verdict = self.verdict(check, now.tick);
        let seen = if self.vantage.is_prober(check) { format!("seen from here: {own}") } else { "neighbours probe it".to_owned() };
        format!("{}, {}; {seen}", verdict.health, self.vantage.provenance(check, now.tick))
    }

    fn mark(&self, check: CheckIdx) -> Mark {
        match self.vantage.health(&self.book, check) {
            Health::Up => Mark::Yes,
            Health::Down => Mark::No,
            Health::Unknown => Mark::Open,
        }
    }

    fn observed(&self, endpoint: EndpointIdx) -> Health {
        self.vantage.health(&self.book, self.world.topology.endpoints[endpoint.get()].check)
    }

    /// The service that a name leads to, itself or through aliases of our zones.
    fn service_of_hostname(&self, text: &str) -> Option<ServiceIdx> {
        let mut name: Name = text.parse().ok()?;
        for _ in 0..=ALIASES_MAX {
            match self.world.zones.lookup(&name, RecordType::A) {
                Found::Service { service, .. } => return Some(service),
                Found::Alias { record: Record { data: RecordData::Cname(target), .. }, .. } => name = target.clone(),
                _ => return None,
            }
        }
        None
    }

    /// By full name, or by address with or without port when only one has it.
    fn endpoint_named(&self, text: &str) -> Option<EndpointIdx> {
        let topology = &self.world.topology;
        let all = || (0..topology.endpoints.len()).map(EndpointIdx::at);
        if let Some(exact) = all().find(|&endpoint| topology.endpoint_name(endpoint) == text) {
            return Some(exact);
        }
        let mut matching = all().filter(|&endpoint| {
            let it = &topology.endpoints[endpoint.get()];
            let target = it.target.to_string();
            target == text || format!("{target}:{}", it.port) == text
        });
        matching.next().filter(|_| matching.next().is_none())
    }

    fn near(&self, text: &str) -> Vec<String> {
        const NEAR_MAX: usize = 3;
        let topology = &self.world.topology;
        let regions = topology.regions.iter().map(|region| region.name.to_string());
        let services = topology.services.iter().map(|service| service.name.to_string());
        let names = regions.chain(services).chain(topology.check_names.keys().map(ToString::to_string));
        names.filter(|name| name.contains(text) || (name.len() > 2 && text.contains(name.as_str()))).take(NEAR_MAX).collect()
    }
}

/// What can be asked about.
#[derive(Clone, Copy, Debug)]
enum Object {
    Region(RegionIdx),
    Service(ServiceIdx),
    Endpoint(EndpointIdx),
    Check(CheckIdx),
}

/// How a check changes its mind; `None` for kinds that count nothing.
fn rule(check: &Check) -> Option<String> {
    let cadence = &check.probe.cadence;
    let (interval, timeout, fall, rise) = (Human(cadence.interval), Human(cadence.timeout), cadence.fall, cadence.rise);
    match &check.probe.kind {
        ProbeKind::None => None,
        ProbeKind::Calculated { of, at_least } => Some(format!("up while at least {at_least} of {} are", of.len())),
        ProbeKind::Heartbeat { .. } => Some(format!("a beat every {interval}, at most {timeout} late, fall {fall}, rise {rise}")),
        _ => {
            let (fast, down) = (Human(cadence.fast_interval), Human(cadence.down_interval));
            Some(format!("every {interval} (fast {fast}, down {down}), timeout {timeout}, fall {fall}, rise {rise}"))
        }
    }
}

/// Whether a line speaks of one of these names: as a word, or as a part of an endpoint's name.
fn is_about(text: &str, names: &BTreeSet<String>) -> bool {
    let words = text.split_whitespace().map(|word| word.trim_end_matches([':', ',', ';']));
    words.into_iter().any(|word| names.contains(word) || word.split('/').any(|part| names.contains(part)))
}

fn millis(duration: std::time::Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1e3)
}
