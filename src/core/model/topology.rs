//! The plan, resolved: every name is an index, every default is filled in, and everything in it has been proved consistent.
//!
//! Made from a plan by [`crate::plan`]; read by health (the checks), steering (regions, services) and DNS (zones). Immutable.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{
    check::Check,
    follow::Follows,
    ids::{CheckIdx, EndpointIdx, Label, RegionIdx, RegionSet, ServiceIdx},
    name::Name,
    record::Record,
    units::{Code, Location, Share, Ttl, Weight},
};

/// Everything that steering and DNS know of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The plan's revision.
    pub revision: u64,
    /// The plan's name.
    pub name: Option<Label>,
    /// In the plan's order.
    pub regions: Vec<Region>,
    /// In the plan's order.
    pub services: Vec<Service>,
    /// All endpoints, those of one service and region next to one another.
    pub endpoints: Vec<Endpoint>,
    /// Every distinct check.
    pub checks: Vec<Check>,
    /// Names of the checks that the plan names (section `checks`), for `why` and `calculated`.
    pub check_names: BTreeMap<Label, CheckIdx>,
    /// The zones that are answered for.
    pub zones: Vec<Zone>,
    /// Limits on what automation and people may do.
    pub guardrails: Guardrails,
    /// The checks of databases, by data group and region of the member. Only that of a group's primary is probed; groups whose engine no probe
    /// speaks to are not in here.
    pub databases: BTreeMap<Label, BTreeMap<Label, CheckIdx>>,
    /// The data groups whose clocks run in this part of the time that the plan writes, for tests.
    pub scaled: BTreeMap<Label, Share>,
}

/// A place where the product runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// As in the plan.
    pub name: Label,
    /// `None`: never nearer than any other.
    pub location: Option<Location>,
    /// Two letters, as in geo databases.
    pub continent: Option<Code>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<Code>,
    /// Whose law rules there; what residency fences name.
    pub jurisdiction: Option<Label>,
    /// Requests per second that it can carry; `None`: not declared.
    pub capacity_rps: Option<u64>,
    /// Client networks that belong here, before any geo database.
    pub networks: Vec<IpNet>,
    /// The cluster that runs there: a label; `None`: not named.
    pub cluster: Option<String>,
    /// What fails as one, as the cluster's zone names it: a label; `None`: not named.
    pub failure_domain: Option<String>,
}

/// One name, or several, whose answer is steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As in the plan.
    pub name: Label,
    /// The names that it answers; each lies inside a zone of the plan.
    pub hostnames: Vec<Name>,
    /// How a region and its endpoints are picked.
    pub steering: Steering,
    /// Where time to live may move.
    pub ttl: TtlRange,
    /// What is answered when no usable endpoint remains.
    pub all_down: AllDown,
    /// How an endpoint that came back takes its share again.
    pub slow_start: SlowStart,
    /// Commands that would leave fewer healthy regions are refused.
    pub min_healthy_regions: usize,
    /// One per region that has endpoints, in ascending order of region.
    pub pools: Vec<Pool>,
    /// Answered by `all_down: backup`.
    pub backup: Vec<Target>,
    /// The database role that its names follow; `None`: none.
    pub follows: Option<Arc<Follows>>,
}

impl Service {
    /// The regions that it has endpoints in.
    #[must_use]
    pub fn regions(&self) -> RegionSet {
        self.pools.iter().map(|pool| pool.region).collect()
    }

    /// The regions that its answers may point to.
    #[must_use]
    pub fn answered(&self) -> RegionSet {
        match self.follows_primary() {
            Some(follows) => follows.members.iter().map(|member| member.region).collect(),
            None => self.regions(),
        }
    }

    /// The role of a primary that its names follow; `None`: they are steered among endpoints.
    #[must_use]
    pub fn follows_primary(&self) -> Option<&Follows> {
        self.follows.as_deref().filter(|follows| follows.without().is_some())
    }
}

/// The endpoints of one service in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Where.
    pub region: RegionIdx,
    /// Share among regions; zero is standby.
    pub weight: Weight,
    /// The lower is preferred where priority counts.
    pub priority: u16,
    /// First endpoint.
    pub first: EndpointIdx,
    /// How many endpoints, at least one.
    pub count: u32,
}

impl Pool {
    /// The pool's endpoints.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = EndpointIdx> + Clone + use<> {
        let first = self.first.0;
        (0..self.count as usize).map(move |i| EndpointIdx(first + u32::try_from(i).expect("invariant: below count")))
    }
}

/// One address, or one name, that a service can answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose.
    pub service: ServiceIdx,
    /// Where.
    pub region: RegionIdx,
    /// What is answered.
    pub target: Target,
    /// Where it listens; for people and as the check's default port.
    pub port: u16,
    /// Share inside its region.
    pub weight: Weight,
    /// Who says whether it is healthy.
    pub check: CheckIdx,
}

/// What a service answers with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An A or AAAA record.
    Address(IpAddr),
    /// A CNAME record.
    Name(Name),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

/// How an answer is picked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Steering {
    /// The preset's name, for people: `geo`, `weighted`, … or `stages` when the plan lists its own.
    pub preset: &'static str,
    /// The stages that choose among usable regions, in order. Residency, eligibility and health always come first and are not in here.
    pub stages: Vec<Stage>,
    /// Regions whose distance or latency is within this part above the nearest stay with it.
    pub tie: Share,
    /// The most records in an answer, 1 to 32.
    pub limit: u8,
    /// `true`: endpoints of all remaining regions are answered; `false`: one region is chosen first.
    pub multivalue: bool,
    /// What a weighted choice depends on.
    pub spread: Spread,
    /// Whether the region is chosen before the type.
    pub families: Families,
    /// Where answers may point for whom.
    pub residency: Option<Residency>,
}

/// One stage that narrows the usable regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Keep the nearest by distance.
    Geo,
    /// Keep the nearest by round-trip time; by distance where no time is known.
    Latency,
    /// Keep the lowest priority number.
    Priority,
    /// Keep one by weight.
    Weight,
}

impl Stage {
    /// Whether it depends on the client's place.
    #[must_use]
    pub const fn is_geographic(self) -> bool {
        matches!(self, Self::Geo | Self::Latency)
    }
}

/// What a weighted choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// The client's network: the same client gets the same answer while the set stays the same.
    Sticky,
    /// Each query anew.
    Random,
}

/// Whether a client gets A and AAAA from one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// One region per name and client; a type that it lacks is "no data".
    Together,
    /// One region per name, client and type.
    Independent,
}

/// Which regions may be answered to which clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Residency {
    /// How hard the fence is.
    pub mode: ResidencyMode,
    /// For clients of a country, else of a continent: the regions they may be sent to.
    pub by_code: BTreeMap<Code, RegionSet>,
    /// For all other clients, those without a known place included; `None`: every region.
    pub otherwise: Option<RegionSet>,
}

/// How hard a fence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResidencyMode {
    /// Never crossed, whatever is down.
    Strict,
    /// Crossed only when no usable endpoint remains inside.
    Prefer,
}

/// Where an answer's time to live may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlRange {
    /// Never below.
    pub min: Ttl,
    /// Never above.
    pub max: Ttl,
}

/// What is answered when no usable endpoint remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllDown {
    /// The set that was usable last, inside the residency fence.
    LastGood,
    /// Every endpoint inside the residency fence.
    All,
    /// The plan's backup targets.
    Backup,
    /// "No data".
    Nodata,
    /// SERVFAIL, so that a resolver asks another server.
    Servfail,
}

/// How an endpoint that came back takes its share again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlowStart {
    /// The share of its normal clients at the start.
    pub share: Share,
    /// Until it takes all of them. Zero: no slow start.
    pub over: Duration,
    /// `true`: grows in equal steps from `share` to all; `false`: stays at `share` until the end.
    pub ramp: bool,
}

/// A zone that is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its apex.
    pub apex: Name,
    /// Every static record, SOA and NS of the apex included. Shared, because zones can be large.
    pub records: Arc<Vec<Record>>,
}

/// Limits on what automation and people may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guardrails {
    /// Of a service's endpoints that still answer, but wrongly or slowly, at most this part leaves.
    pub max_ejection: Share,
    /// Of the traffic, at most this part may be moved by one step of a command or schedule.
    pub max_share_moved: Share,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self { max_ejection: Share::percent(50), max_share_moved: Share::FULL }
    }
}

impl Topology {
    /// The region with this name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<RegionIdx> {
        self.regions.iter().position(|region| region.name.as_str() == name).map(RegionIdx::at)
    }

    /// The service with this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<ServiceIdx> {
        self.services.iter().position(|service| service.name.as_str() == name).map(ServiceIdx::at)
    }

    /// The endpoints whose health says something of their region: not those of members that follow a primary, which agents judge.
    pub fn judged(&self) -> impl Iterator<Item = (EndpointIdx, &Endpoint)> {
        let all = self.endpoints.iter().enumerate().map(|(position, endpoint)| (EndpointIdx::at(position), endpoint));
        all.filter(|(_, endpoint)| self.services[endpoint.service.get()].follows.is_none())
    }

    /// The services with an endpoint that each check judges; index by [`CheckIdx`]. A calculated check that changes with another is touched
    /// itself, so nothing is handed down.
    #[must_use]
    pub fn services_by_check(&self) -> Vec<Vec<ServiceIdx>> {
        let mut services = vec![Vec::new(); self.checks.len()];
        for endpoint in &self.endpoints {
            let list: &mut Vec<ServiceIdx> = &mut services[endpoint.check.get()];
            if list.last() != Some(&endpoint.service) {
                list.push(endpoint.service);
            }
        }
        services
    }

    /// How people name an endpoint: `api/us-east-1/198.51.100.10:80`.
    #[must_use]
    pub fn endpoint_name(&self, endpoint: EndpointIdx) -> String {
        let it = &self.endpoints[endpoint.get()];
        let (service, region) = (&self.services[it.service.get()].name, &self.regions[it.region.get()].name);
        match &it.target {
            Target::Address(IpAddr::V6(address)) => format!("{service}/{region}/[{address}]:{}", it.port),
            target => format!("{service}/{region}/{target}:{}", it.port),
        }
    }
}
