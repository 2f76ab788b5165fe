//! Words the whole picture.

use std::collections::BTreeMap;

use super::{
    Node,
    counts::Counts,
    report::{EndpointStatus, Notice, RegionStatus, ServiceStatus, Severity, State, Status},
    short,
};
use crate::{
    model::{
        ids::{CheckIdx, EndpointIdx, RegionIdx, ServiceIdx},
        time::{Human, Now, Timestamp},
        topology::{AllDown, Pool},
        units::{Share, Ttl, Weight},
        verdict::Health,
    },
    simulate::{
        Population,
        scenario::{ask, regions_of},
    },
    table::{Member, ServiceView, Table, Tier},
};

/// Clients per service that wanted shares are worked out from.
const CLIENTS: usize = 200;

/// Services that wanted shares are averaged over: the first ones of the plan.
const SERVICES_MAX: usize = 50;

/// Names listed in one sentence; more are counted.
const NAMES_MAX: usize = 5;

/// What queries left behind, which only the servers of queries know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Answers of the last minute per region, in the plan's order; empty: not counted.
    pub answers: Vec<u64>,
    /// Until when a well-behaved resolver may hold an answer of (service, region).
    pub outstanding: BTreeMap<(ServiceIdx, RegionIdx), Timestamp>,
}

impl Node {
    /// How things stand. Cost: linear in endpoints, plus a model population over the first services.
    #[must_use]
    pub fn status(&self, now: Now, served: &Served) -> Status {
        let topology = &self.world.topology;
        let services: Vec<ServiceStatus> =
            (0..topology.services.len()).map(|position| self.service_status(now, ServiceIdx::at(position), served)).collect();
        let regions: Vec<RegionStatus> = self.region_statuses(now, served);
        let notices = self.notices(now);
        let state = self.overall(&services, &notices);
        let headline = self.headline(now, state, &regions, &services, &notices);
        Status {
            plan: topology.name.as_ref().map_or_else(|| "unnamed".to_owned(), ToString::to_string),
            revision: topology.revision,
            digest: short(&self.digest).to_owned(),
            node: self.settings.node.to_string(),
            region: self.settings.region.to_string(),
            vantage: self.vantage.tell(),
            at: now.wall,
            generation: self.table.as_ref().map_or(0, |table| table.generation),
            state,
            headline,
            regions,
            services,
            notices,
        }
    }

    fn overall(&self, services: &[ServiceStatus], notices: &[Notice]) -> State {
        // A service without endpoints fails by its plan, not by anything that happened: a notice says so, and screens stay green.
        let counted = services.iter().filter(|service| !service.endpoints.is_empty());
        let worst = counted.map(|service| service.state).max().unwrap_or(State::Ok);
        if self.table.is_none() {
            return State::Starting;
        }
        let disturbed = notices.iter().any(|notice| notice.severity > Severity::Info);
        if worst == State::Ok && disturbed { State::Degraded } else { worst }
    }

    /// What people should know, orders in force among it. Costs as much as its texts are long.
    #[must_use]
    pub fn notices(&self, now: Now) -> Vec<Notice> {
        let mut notices: Vec<Notice> = self.notices.values().cloned().collect();
        for it in self.overlay.in_force(now.wall) {
            notices.push(Notice { severity: Severity::Warning, kind: "override".to_owned(), text: it.to_string() });
        }
        for it in self.overlay.unmatched().filter(|it| it.is_in_force(now.wall)) {
            let text = format!("{it}: nothing in this plan has that name, so it changes nothing");
            notices.push(Notice { severity: Severity::Warning, kind: "override_unmatched".to_owned(), text });
        }
        notices.extend(self.shortage.notice(now.tick));
        if let Some(since) = self.stale_since {
            let text = format!("answers rest on judgements of {since}; {} checks are not judged anew yet", self.book.n_unjudged());
            notices.push(Notice { severity: Severity::Warning, kind: "table_stale".to_owned(), text });
        }
        for (group, scale) in &self.world.topology.scaled {
            let text = format!("for tests only: all clocks of group:{group} run in {scale} of their time");
            notices.push(Notice { severity: Severity::Warning, kind: "time_scale".to_owned(), text });
        }
        notices.extend(self.role_notices(now));
        let services = self.world.topology.services.iter();
        let empty = services.filter(|service| service.pools.is_empty() && service.follows_primary().is_none());
        let empty: Vec<&str> = empty.map(|service| service.name.as_str()).collect();
        if !empty.is_empty() {
            let (shown, more) = (&empty[..empty.len().min(NAMES_MAX)], empty.len().saturating_sub(NAMES_MAX));
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let text = format!("no endpoints in this plan: {}{more}; their names are answered by all_down alone", shown.join(", "));
            notices.push(Notice { severity: Severity::Info, kind: "service_without_endpoints".to_owned(), text });
        }
        notices.extend(self.vantage_notice());
        notices
    }

    //--- Regions

    fn region_statuses(&self, now: Now, served: &Served) -> Vec<RegionStatus> {
        let topology = &self.world.topology;
        let wanted = self.table.as_ref().map_or_else(|| vec![Share::NONE; topology.regions.len()], |table| wanted_shares(table));
        let answers: u64 = served.answers.iter().sum();
        let mut counts = vec![Counts::default(); topology.regions.len()];
        for (_, endpoint) in topology.judged() {
            counts[endpoint.region.get()].add(&self.verdict(endpoint.check, now.tick));
        }
        let regions = topology.regions.iter().enumerate().zip(counts);
        regions
            .map(|((position, region), count)| {
                let index = RegionIdx::at(position);
                let pools = || topology.services.iter().flat_map(|service| &service.pools).filter(|pool| pool.region == index);
                RegionStatus {
                    name: region.name.to_string(),
                    observed: count.health(),
                    since: count.since(),
                    intended: self.overrides_of(now, region.name.as_str()),
                    endpoints_up: count.up,
                    endpoints_total: count.total,
                    failures: self.tally.failures(index, now.tick),
                    weight: common(pools().map(|pool| self.weight_of(now, pool))),
                    priority: common(pools().map(|pool| pool.priority)),
                    share_wanted: wanted[position],
                    share_served: served.answers.get(position).filter(|_| answers > 0).map(|&own| share(own, answers)),
                    cause: count.cause(),
                    cluster: region.cluster.clone(),
                    failure_domain: region.failure_domain.clone(),
                }
            })
            .collect()
    }

    /// The share of a pool among regions: as ordered, else as in the plan.
    fn weight_of(&self, now: Now, pool: &Pool) -> Weight {
        self.overlay.intended(&self.world.topology, pool.first, now.wall).ordered_pool_weight().unwrap_or(pool.weight)
    }

    fn overrides_of(&self, now: Now, region: &str) -> Vec<String> {
        let ours = self.overlay.in_force(now.wall).filter(|it| it.scope.names_region(region));
        ours.map(ToString::to_string).collect()
    }

    //--- Services

    fn service_status(&self, now: Now, service: ServiceIdx, served: &Served) -> ServiceStatus {
        let topology = &self.world.topology;
        let it = &topology.services[service.get()];
        if let Some(follows) = it.follows_primary() {
            return self.role_status(now, service, follows, served);
        }
        let view = self.table.as_ref().map(|table| table.view(service));
        // A view has the plan's endpoints in the plan's order.
        let mut members = view.into_iter().flat_map(|view| &view.pools).flat_map(|pool| &pool.members);
        let endpoints = it.pools.iter().flat_map(|pool| pool.endpoints());
        let endpoints: Vec<EndpointStatus> =
            endpoints.map(|endpoint| self.endpoint_status(now, endpoint, members.next().zip(view))).collect();
        let state = match view.map(ServiceView::best) {
            None => State::Starting,
            Some(None | Some(Tier::Out)) => State::Failing,
            Some(Some(_)) if !self.dark_clients(service).is_empty() => State::Failing,
            Some(Some(Tier::Drained)) => State::Degraded,
            Some(Some(_)) if endpoints.iter().any(|endpoint| endpoint.observed == Health::Down || endpoint.intended.is_some()) => {
                State::Degraded
            }
            Some(Some(_)) if endpoints.iter().any(|endpoint| endpoint.observed == Health::Unknown) => State::Starting,
            Some(Some(_)) => State::Ok,
        };
        let down = |region: &RegionIdx| view.is_some_and(|view| !view.up.contains(*region));
        ServiceStatus {
            name: it.name.to_string(),
            hostnames: it.hostnames.iter().map(ToString::to_string).collect(),
            steering: it.steering.preset.to_owned(),
            state,
            all_down: (state == State::Failing).then(|| all_down_word(it.all_down).to_owned()),
            ttl: view.map_or(Ttl::ZERO, |view| view.ttl_ceiling(topology, service)),
            drained_by: it
                .regions()
                .iter()
                .filter(down)
                .filter_map(|region| served.outstanding.get(&(service, region)).copied())
                .filter(|until| *until > now.wall)
                // Shown in seconds: a promise is rounded to the side that keeps it.
                .map(|until| Timestamp(until.0.saturating_add(999).div_euclid(1000) * 1000))
                .max(),
            endpoints,
        }
    }

    pub(super) fn endpoint_status(&self, now: Now, endpoint: EndpointIdx, member: Option<(&Member, &ServiceView)>) -> EndpointStatus {
        let topology = &self.world.topology;
        let it = &topology.endpoints[endpoint.get()];
        let columns = self.columns(now, endpoint);
        let state = self.book.state(it.check);
        let mut recent: Vec<char> =
            state.map_or_else(Vec::new, |state| state.recent().map(|passed| if passed { 'o' } else { 'x' }).collect());
        recent.reverse();
        let total = state.map(|state| state.timings().total).filter(|total| !total.is_zero());
        let intended: Vec<String> = columns.intended.iter().map(ToString::to_string).collect();
        EndpointStatus {
            name: topology.endpoint_name(endpoint),
            region: topology.regions[it.region.get()].name.to_string(),
            observed: columns.observed.health,
            since: columns.observed.since,
            intended: (!intended.is_empty()).then(|| intended.join("; ")),
            served: member.is_some_and(|(member, view)| self.is_served(it.service, member, view)),
            note: self.noted(now, it.check, member.and_then(|(member, _)| member.note.as_deref())),
            ticks: recent.into_iter().collect(),
            failure: state
                .and_then(|state| state.last_failure())
                .map(|(failure, at)| format!("{failure} ({} ago)", Human(whole_seconds(now.wall.since(at))))),
            latency: total,
        }
    }

    /// A member's note, and who stands behind its verdict where that is not the usual: proven, or the only node there is.
    fn noted(&self, now: Now, check: CheckIdx, note: Option<&str>) -> Option<String> {
        let provenance = self.vantage.provenance(check, now.tick);
        let by = (!self.vantage.is_single() && !provenance.is_proven()).then(|| provenance.to_string());
        let parts: Vec<String> = note.map(str::to_owned).into_iter().chain(by).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Whether some client can get the endpoint, as far as health decides.
    fn is_served(&self, service: ServiceIdx, member: &Member, view: &ServiceView) -> bool {
        match (view.best(), self.world.topology.services[service.get()].all_down) {
            (Some(Tier::Out), AllDown::LastGood) => {
                view.last_good_since(|_, _| true).is_none_or(|since| member.left.is_some_and(|left| left >= since))
            }
            (Some(Tier::Out), AllDown::All) => true,
            (Some(Tier::Out), AllDown::Backup | AllDown::Nodata | AllDown::Servfail) => false,
            (best, _) => Some(member.tier) == best,
        }
    }
}

pub(super) const fn all_down_word(rule: AllDown) -> &'static str {
    match rule {
        AllDown::LastGood => "last_good",
        AllDown::All => "all",
        AllDown::Backup => "backup",
        AllDown::Nodata => "nodata",
        AllDown::Servfail => "servfail",
    }
}

pub(super) const fn whole_seconds(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(duration.as_secs())
}

/// The value that all agree on.
fn common<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn share(part: u64, whole: u64) -> Share {
    let points = u128::from(part) * 10_000 / u128::from(whole.max(1));
    Share::basis_points(u16::try_from(points).unwrap_or(10_000))
}

/// Where the table sends a model population, averaged over the first services.
fn wanted_shares(table: &Table) -> Vec<Share> {
    let topology = &table.world.topology;
    let population = Population::world(CLIENTS);
    let mut counts = vec![0_u64; topology.regions.len()];
    for service in topology.services.iter().filter(|service| !service.pools.is_empty()).take(SERVICES_MAX) {
        let Some(name) = service.hostnames.first() else { continue };
        for (i, &(address, weight)) in population.clients().iter().enumerate() {
            if let Some(answer) = ask(table, name, address, i) {
                for (region, part) in regions_of(table, &answer, weight) {
                    counts[region.get()] += part;
                }
            }
        }
    }
    let total = counts.iter().sum();
    counts.into_iter().map(|count| share(count, total)).collect()
}
