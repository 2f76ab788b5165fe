//! Answers `why OBJECT` and previews of answers.

use super::{
    Node, check_name,
    report::{Happening, Preview, ReportError, Why},
    status::all_down_word,
};
use crate::{
    answer::{Query, explain},
    model::{
        ids::{CheckIdx, EndpointIdx, RegionIdx, ServiceIdx},
        name::Name,
        reason::{Mark, Reason},
        time::{Human, Now},
        topology::Pool,
        verdict::Health,
    },
    table::Tier,
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
        let topology = &self.world.topology;
        let object = object.trim().trim_end_matches('.');
        let bare =
            ["regions/", "services/", "endpoints/", "checks/"].iter().find_map(|prefix| object.strip_prefix(prefix)).unwrap_or(object);
        let (title, reason) = if let Some(region) = topology.region(bare) {
            (format!("region {bare}"), self.why_region(now, region))
        } else if let Some(service) = topology.service(bare) {
            (format!("service {bare}"), self.why_service(now, service))
        } else if let Some(service) = self.service_of_hostname(bare) {
            (format!("service {}", topology.services[service.get()].name), self.why_service(now, service))
        } else if let Some(endpoint) = self.endpoint_named(bare) {
            (format!("endpoint {}", topology.endpoint_name(endpoint)), self.why_endpoint(now, endpoint))
        } else if let Some((_, &check)) = topology.check_names.iter().find(|(name, _)| name.as_str() == bare) {
            (format!("check {bare}"), self.why_check(now, check))
        } else {
            return Err(ReportError::Unknown { object: bare.to_owned(), candidates: self.near(bare) });
        };
        let word = title.split_once(' ').map_or(title.as_str(), |(_, name)| name).to_owned();
        let about = self.happenings.iter().rev().filter(|happening| happening.text.contains(&word)).take(HISTORY_MAX);
        let mut history: Vec<Happening> = about.cloned().collect();
        history.reverse();
        Ok(Why { object: title, at: now.wall, reason, history })
    }

    /// The very answer that a client would get, and why.
    ///
    /// # Errors
    /// [`ReportError::NotReady`] before the first table.
    pub fn preview(&self, now: Now, query: &Query) -> Result<Preview, ReportError> {
        let table = self.table.as_ref().ok_or(ReportError::NotReady)?;
        let (answer, reason) = explain(table, query);
        Ok(Preview { answer, reason, generation: table.generation, at: now.wall })
    }

    fn why_region(&self, now: Now, region: RegionIdx) -> Reason {
        let topology = &self.world.topology;
        let endpoints: Vec<EndpointIdx> = (0..topology.endpoints.len())
            .map(EndpointIdx::at)
            .filter(|endpoint| topology.endpoints[endpoint.get()].region == region)
            .collect();
        let up = endpoints.iter().filter(|&&endpoint| self.observed(endpoint) == Health::Up).count();
        let name = &topology.regions[region.get()].name;
        let mark = if up > 0 {
            Mark::Yes
        } else if endpoints.is_empty() {
            Mark::Open
        } else {
            Mark::No
        };
        let since = self.tally.since(region).map_or_else(String::new, |since| format!(", since {since}"));
        let mut reason = Reason::new(mark, format!("region {name}: {up} of {} endpoints are up{since}", endpoints.len()));
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
        let hostnames: Vec<String> = it.hostnames.iter().map(ToString::to_string).collect();
        let view = self.table.as_ref().map(|table| table.view(service));
        let up = view.map_or(0, |view| view.up.len());
        let mark = match view {
            None => Mark::Open,
            Some(_) if up > 0 => Mark::Yes,
            Some(_) => Mark::No,
        };
        let text = format!(
            "service {} ({}): {up} of {} regions usable, steering {}",
            it.name,
            hostnames.join(", "),
            it.pools.len(),
            it.steering.preset
        );
        let mut reason = Reason::new(mark, text);
        if up == 0 && view.is_some() {
            reason = reason.with(Reason::new(Mark::No, format!("no endpoint is up: all_down {} decides", all_down_word(it.all_down))));
        }
        if let Some(view) = view {
            let ttl = format!("answers live at most {} (range {} to {})", view.ttl_ceiling(topology, service), it.ttl.min, it.ttl.max);
            reason = reason.with(Reason::new(Mark::Info, ttl));
        }
        for pool in &it.pools {
            reason = reason.with(self.why_pool(now, pool, view.is_some_and(|view| view.up.contains(pool.region))));
        }
        reason.with(Reason::new(
            Mark::Info,
            format!("who gets what: portolan dns query {} --client ADDRESS", hostnames.first().map_or("NAME", |name| name)),
        ))
    }

    fn why_pool(&self, now: Now, pool: &Pool, usable: bool) -> Reason {
        let region = &self.world.topology.regions[pool.region.get()].name;
        let mark = if usable { Mark::Yes } else { Mark::No };
        let heading = Reason::new(mark, format!("region {region}: weight {}, priority {}", pool.weight.0, pool.priority));
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
        let told = self.told(it.check);
        let note = member
            .and_then(|member| member.note.as_deref())
            .filter(|_| columns.effective.health_by.is_some() || columns.effective.is_drained());
        let text = note.map_or_else(|| told.clone(), |note| format!("{note} (observed: {told})"));
        Reason::new(mark, format!("{}: {text}", topology.endpoint_name(endpoint)))
    }

    fn why_endpoint(&self, now: Now, endpoint: EndpointIdx) -> Reason {
        let topology = &self.world.topology;
        let check = topology.endpoints[endpoint.get()].check;
        let status = {
            let view = self.table.as_ref().map(|table| table.view(topology.endpoints[endpoint.get()].service));
            let member = view.and_then(|view| view.pools.iter().flat_map(|pool| &pool.members).find(|member| member.endpoint == endpoint));
            self.endpoint_status(now, endpoint, member, view.is_some_and(|view| !view.up.is_empty()))
        };
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
        let cadence = &it.probe.cadence;
        let address = it.address.as_ref().map_or_else(String::new, |address| format!(" to {address}"));
        let health = self.book.verdict(check).health;
        let mark = match health {
            Health::Up => Mark::Yes,
            Health::Down => Mark::No,
            Health::Unknown => Mark::Open,
        };
        let mut reason =
            Reason::new(mark, format!("{}: {} probe{address}: {}", check_name(&self.world, check), it.probe.kind.word(), self.told(check)));
        let (interval, fast, down) = (Human(cadence.interval), Human(cadence.fast_interval), Human(cadence.down_interval));
        let text = format!(
            "every {interval} (fast {fast}, down {down}), timeout {}, fall {}, rise {}",
            Human(cadence.timeout),
            cadence.fall,
            cadence.rise
        );
        reason = reason.with(Reason::new(Mark::Info, text));
        let Some(state) = self.book.state(check) else { return reason };
        let mut recent: Vec<char> = state.recent().map(|passed| if passed { 'o' } else { 'x' }).collect();
        recent.reverse();
        if !recent.is_empty() {
            let (passed, failed) = state.counts();
            let ticks: String = recent.into_iter().collect();
            reason = reason.with(Reason::new(
                Mark::Info,
                format!("last probes {ticks} (newest right), {passed} passed and {failed} failed since the start"),
            ));
        }
        let timings = state.timings();
        if !timings.total.is_zero() {
            let part = |name: &str, value: Option<std::time::Duration>| value.map(|value| format!("{name} {}", millis(value)));
            let parts = [part("connect", timings.connect), part("tls", timings.tls), part("first byte", timings.first_byte)];
            let parts: Vec<String> = parts.into_iter().flatten().chain([format!("total {}", millis(timings.total))]).collect();
            reason = reason.with(Reason::new(Mark::Info, format!("last probe took {}", parts.join(", "))));
        }
        if let Some((failure, at)) = state.last_failure() {
            let age = super::status::whole_seconds(now.wall.since(at));
            reason = reason.with(Reason::new(Mark::Info, format!("last failure {failure}, at {at} ({} ago)", Human(age))));
        }
        reason
    }

    fn told(&self, check: CheckIdx) -> String {
        let cadence = &self.world.topology.checks[check.get()].probe.cadence;
        self.book.state(check).map_or_else(String::new, |state| state.tell(cadence).to_string())
    }

    fn observed(&self, endpoint: EndpointIdx) -> Health {
        self.book.verdict(self.world.topology.endpoints[endpoint.get()].check).health
    }

    fn service_of_hostname(&self, text: &str) -> Option<ServiceIdx> {
        let name: Name = text.parse().ok()?;
        self.world.topology.services.iter().position(|service| service.hostnames.contains(&name)).map(ServiceIdx::at)
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

fn millis(duration: std::time::Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1e3)
}
