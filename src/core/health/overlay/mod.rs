//! What people ordered, laid over what was observed.
//!
//! Three columns that never mix: *observed* (the verdict of the checks), *intended* (the overrides that apply), *effective* (what steering
//! uses, with the override that made it so). An override ends by itself at its `until`.
//!
//! - forced up, forced down: the health is what was ordered. Forced beats maintenance, maintenance beats observed.
//! - maintenance: probes do not count; the last judgement before it stands. Where there was none, the first one that comes.
//! - drain: no new answers. A column of its own: it leaves the health as it is, and no forced health lifts it.
//! - weight: another share than the plan's, of a pool among regions or of an endpoint inside its pool. Takes nothing out.
//! - admission: only a share of the clients that it would have. Takes nothing out, and is full when nothing else is usable.
//! - hold: automation starts nothing on the object. Answers do not depend on it; it is carried here so that every screen shows it.
//!
//! Of several overrides of one sort the narrowest rules: endpoint, then service in a region, then region, then service; of equally narrow
//! ones the later, and of two made at once the one that takes out.
//!
//! Absent on purpose: who may order what (the control API), and the removal of expired overrides from the replicated state.
//! Source: gdnsd `admin_state` (real and forced state side by side), with scope, author and expiry added.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{
    check::Failure,
    ids::{EndpointIdx, Label, RegionIdx, ServiceIdx},
    time::Timestamp,
    topology::Topology,
    units::{Share, Weight},
    verdict::{Health, Verdict},
};

use super::endpoint::NEVER;

/// The most overrides at a time. They are orders of people; more are a script that runs away, and each costs every screen a line.
pub const OVERRIDES_MAX: usize = 1000;

/// One order of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its name, unique among those in force.
    pub id: Label,
    /// What is ordered.
    pub kind: OverrideKind,
    /// For what.
    pub scope: Scope,
    /// Who ordered it.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// When it was made.
    pub at: Timestamp,
    /// When it ends by itself; `None`: when somebody removes it.
    pub until: Option<Timestamp>,
}

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// No new answers.
    Drain,
    /// Probes do not count.
    Maintenance,
    /// Up, whatever is observed.
    ForcedUp,
    /// Down, whatever is observed.
    ForcedDown,
    /// This weight instead of the plan's; zero is standby. For one endpoint its share inside the pool, else the pool's share among regions.
    Weight(Weight),
    /// Automation starts nothing on the object, and an operation on it stops before promote.
    Hold,
    /// Only this share of the clients that it would have; the others go where they would without it. A step of a return of traffic: nobody orders it.
    Admission(Share),
}

/// What an order is for. By name, because an order outlives the topology in which it was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All endpoints of a service.
    Service(Label),
    /// All endpoints in a region.
    Region(Label),
    /// All endpoints of a service in a region.
    Pool {
        /// Whose.
        service: Label,
        /// Where.
        region: Label,
    },
    /// One endpoint, as [`Topology::endpoint_name`] writes it.
    Endpoint(String),
    /// A data group: for holds only, because groups are not in answers.
    Group(Label),
    /// Everything: for holds only.
    Everything,
}

impl Override {
    /// Whether it applies at `now`; the instant `until` is outside.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn time_left(&self, now: Timestamp) -> Duration {
        self.until.map_or(NEVER, |until| until.since(now))
    }

    /// Of two of one sort the greater rules: the narrower, then the later, then the one that takes out more.
    pub(crate) fn rank(&self) -> (u8, Timestamp, u16) {
        let narrowness = match self.scope {
            Scope::Everything | Scope::Group(_) => 0,
            Scope::Service(_) => 1,
            Scope::Region(_) => 2,
            Scope::Pool { .. } => 3,
            Scope::Endpoint(_) => 4,
        };
        let severity = match self.kind {
            OverrideKind::ForcedDown => 1,
            OverrideKind::Weight(weight) => u16::MAX - weight.0,
            OverrideKind::Admission(share) => Share::FULL.points() - share.points(),
            OverrideKind::Drain | OverrideKind::Maintenance | OverrideKind::ForcedUp | OverrideKind::Hold => 0,
        };
        (narrowness, self.at, severity)
    }
}

impl Scope {
    /// Whether it is for a whole region, of all services or of one.
    #[must_use]
    pub fn names_region(&self, name: &str) -> bool {
        match self {
            Self::Region(region) | Self::Pool { region, .. } => region.as_str() == name,
            Self::Service(_) | Self::Endpoint(_) | Self::Group(_) | Self::Everything => false,
        }
    }
}

impl OverrideKind {
    /// The word of the kind, without what belongs to one order: for labels of metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::ForcedUp => "forced_up",
            Self::ForcedDown => "forced_down",
            Self::Weight(_) => "weight",
            Self::Hold => "hold",
            Self::Admission(_) => "admission",
        }
    }
}

impl fmt::Display for OverrideKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::ForcedUp => "forced up",
            Self::ForcedDown => "forced down",
            Self::Weight(weight) => return f.pad(&format!("weight {}", weight.0)),
            Self::Hold => "hold",
            Self::Admission(share) => return f.pad(&format!("admission {share}")),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {service}"),
            Self::Region(region) => write!(f, "region {region}"),
            Self::Pool { service, region } => write!(f, "service {service} in region {region}"),
            Self::Endpoint(endpoint) => write!(f, "endpoint {endpoint}"),
            Self::Group(group) => write!(f, "data group {group}"),
            Self::Everything => write!(f, "everything"),
        }
    }
}

/// `drain of region us-east-1 by alice until 2026-11-22T03:03:20Z: kernel update`.
impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} by {}", self.kind, self.scope, self.who)?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Why a set of overrides is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverlayError {
    /// More than [`OVERRIDES_MAX`].
    #[error("{0} overrides at a time; at most {OVERRIDES_MAX} are kept, remove some first")]
    TooMany(usize),
}

/// The three columns of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// What the checks say.
    pub observed: Verdict,
    /// What people ordered.
    pub intended: Intended,
    /// What steering uses.
    pub effective: Effective,
}

/// The overrides that apply to an endpoint, at most one of each sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intended {
    /// Forced up or forced down.
    pub forced: Option<Arc<Override>>,
    /// Shown even while a forced health beats it.
    pub maintenance: Option<Arc<Override>>,
    /// No new answers.
    pub drain: Option<Arc<Override>>,
    /// Another weight for its pool, equal for all endpoints of the pool.
    pub pool_weight: Option<Arc<Override>>,
    /// Another weight for itself.
    pub weight: Option<Arc<Override>>,
    /// A share of its clients only.
    pub admission: Option<Arc<Override>>,
}

impl Intended {
    /// All of them, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Override>> {
        [&self.forced, &self.maintenance, &self.drain, &self.pool_weight, &self.weight, &self.admission].into_iter().flatten()
    }

    /// The weight ordered for its pool; `None`: the plan's.
    #[must_use]
    pub fn ordered_pool_weight(&self) -> Option<Weight> {
        weight_of(self.pool_weight.as_deref())
    }

    /// The share of its clients that it takes; `None`: all.
    #[must_use]
    pub fn ordered_admission(&self) -> Option<Share> {
        match self.admission.as_deref()?.kind {
            OverrideKind::Admission(share) => Some(share),
            _ => None,
        }
    }

    /// The weight ordered for the endpoint; `None`: the plan's.
    #[must_use]
    pub fn ordered_weight(&self) -> Option<Weight> {
        weight_of(self.weight.as_deref())
    }
}

fn weight_of(order: Option<&Override>) -> Option<Weight> {
    match order?.kind {
        OverrideKind::Weight(weight) => Some(weight),
        _ => None,
    }
}

/// What steering uses, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `next_change` includes the end of the overrides that apply.
    pub verdict: Verdict,
    /// The override that made the health; `None`: it is the observed one.
    pub health_by: Option<Arc<Override>>,
    /// The override that drains; `None`: not drained.
    pub drained_by: Option<Arc<Override>>,
}

impl Effective {
    /// Whether it takes no new answers by order.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.drained_by.is_some()
    }

    /// Whether an order took it out: drained or forced down.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.is_drained() || self.health_by.as_ref().is_some_and(|by| by.kind == OverrideKind::ForcedDown)
    }
}

/// The judgement of an endpoint before its maintenance began, as it is written to disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFrozen {
    /// As [`Topology::endpoint_name`] writes it.
    pub endpoint: String,
    /// What stands.
    #[serde(flatten)]
    pub frozen: Frozen,
}

/// A judgement that stands while probes do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Never unknown.
    pub health: Health,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What made it down.
    pub failure: Option<Failure>,
}

/// All overrides, resolved for one topology.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    overrides: Vec<Arc<Override>>,
    /// Positions in `overrides`, ascending.
    by_service: BTreeMap<ServiceIdx, Vec<usize>>,
    by_region: BTreeMap<RegionIdx, Vec<usize>>,
    by_pool: BTreeMap<(ServiceIdx, RegionIdx), Vec<usize>>,
    by_endpoint: BTreeMap<EndpointIdx, Vec<usize>>,
    /// Of endpoints in maintenance only.
    frozen: BTreeMap<EndpointIdx, Frozen>,
    unmatched: Vec<usize>,
}

impl Overlay {
    /// Resolves `overrides` for `topology`; `frozen` is what the overlay before, or the file from before the start, had frozen.
    /// # Errors
    /// [`OverlayError::TooMany`].
    pub fn new(topology: &Topology, overrides: Vec<Override>, frozen: &[SavedFrozen]) -> Result<Self, OverlayError> {
        if overrides.len() > OVERRIDES_MAX {
            return Err(OverlayError::TooMany(overrides.len()));
        }
        let mut overlay = Self { overrides: overrides.into_iter().map(Arc::new).collect(), ..Self::default() };
        for position in 0..overlay.overrides.len() {
            if !overlay.resolve(topology, position) {
                overlay.unmatched.push(position);
            }
        }
        for saved in frozen.iter().filter(|saved| saved.frozen.health != Health::Unknown) {
            for endpoint in endpoints_named(topology, &saved.endpoint) {
                overlay.frozen.insert(endpoint, saved.frozen.clone());
            }
        }
        Ok(overlay)
    }

    /// `false` when nothing in the topology has the scope's name.
    fn resolve(&mut self, topology: &Topology, position: usize) -> bool {
        let scope = self.overrides[position].scope.clone();
        match scope {
            Scope::Service(service) => {
                let Some(service) = topology.service(service.as_str()) else { return false };
                self.by_service.entry(service).or_default().push(position);
            }
            Scope::Region(region) => {
                let Some(region) = topology.region(region.as_str()) else { return false };
                self.by_region.entry(region).or_default().push(position);
            }
            Scope::Pool { service, region } => {
                let (Some(service), Some(region)) = (topology.service(service.as_str()), topology.region(region.as_str())) else {
                    return false;
                };
                self.by_pool.entry((service, region)).or_default().push(position);
            }
            Scope::Endpoint(name) => {
                let endpoints = endpoints_named(topology, &name);
                for endpoint in &endpoints {
                    self.by_endpoint.entry(*endpoint).or_default().push(position);
                }
                return !endpoints.is_empty();
            }
            // The topology knows no data groups, so nobody can say here that one is missing.
            Scope::Group(_) | Scope::Everything => return self.overrides[position].kind == OverrideKind::Hold,
        }
        true
    }

    /// Freezes the judgement of endpoints whose maintenance began, and forgets those whose maintenance ended.
    ///
    /// To be called whenever overrides or the topology change, when [`Self::next_expiry`] has passed, and when verdicts changed, each time
    /// before [`Self::columns`]. Without any maintenance it costs nothing.
    pub fn settle(&mut self, topology: &Topology, now: Timestamp, observed: impl Fn(EndpointIdx) -> Verdict) {
        let in_maintenance = |it: &Override| it.kind == OverrideKind::Maintenance && it.is_in_force(now);
        if self.frozen.is_empty() && !self.overrides.iter().any(|it| in_maintenance(it)) {
            return;
        }
        let mut before = std::mem::take(&mut self.frozen);
        let mut after = BTreeMap::new();
        for position in 0..topology.endpoints.len() {
            let endpoint = EndpointIdx::at(position);
            if self.intended(topology, endpoint, now).maintenance.is_none() {
                continue;
            }
            let frozen = before.remove(&endpoint).or_else(|| {
                let verdict = observed(endpoint);
                (verdict.health != Health::Unknown).then_some(Frozen {
                    health: verdict.health,
                    since: verdict.since,
                    failure: verdict.failure,
                })
            });
            if let Some(frozen) = frozen {
                after.insert(endpoint, frozen);
            }
        }
        self.frozen = after;
    }

    /// The three columns of an endpoint at `now`.
    #[must_use]
    pub fn columns(&self, topology: &Topology, endpoint: EndpointIdx, observed: Verdict, now: Timestamp) -> Columns {
        let intended = self.intended(topology, endpoint, now);
        let left = |by: &Option<Arc<Override>>| by.as_ref().map_or(NEVER, |by| by.time_left(now));
        let (mut verdict, health_by) = match (&intended.forced, &intended.maintenance) {
            (Some(forced), _) => {
                let health = if forced.kind == OverrideKind::ForcedUp { Health::Up } else { Health::Down };
                let verdict =
                    Verdict { health, since: Some(forced.at), failure: None, next_change: left(&intended.forced), admitted: Share::FULL };
                (verdict, Some(forced.clone()))
            }
            (None, Some(maintenance)) => match self.frozen.get(&endpoint) {
                Some(Frozen { health, since, failure }) => {
                    let next_change = left(&intended.maintenance);
                    let verdict =
                        Verdict { health: *health, since: *since, failure: failure.clone(), next_change, admitted: observed.admitted };
                    (verdict, Some(maintenance.clone()))
                }
                None => (observed.clone(), None),
            },
            (None, None) => (observed.clone(), None),
        };
        for by in [&intended.drain, &intended.pool_weight, &intended.weight, &intended.admission] {
            verdict.next_change = verdict.next_change.min(left(by));
        }
        let effective = Effective { verdict, health_by, drained_by: intended.drain.clone() };
        Columns { observed, intended, effective }
    }

    /// The overrides that apply to an endpoint at `now`.
    #[must_use]
    pub fn intended(&self, topology: &Topology, endpoint: EndpointIdx, now: Timestamp) -> Intended {
        let mut intended = Intended::default();
        if self.overrides.is_empty() {
            return intended;
        }
        let Some(it) = topology.endpoints.get(endpoint.get()) else { return intended };
        let lists = [
            self.by_service.get(&it.service),
            self.by_region.get(&it.region),
            self.by_pool.get(&(it.service, it.region)),
            self.by_endpoint.get(&endpoint),
        ];
        for &position in lists.into_iter().flatten().flatten() {
            let order = &self.overrides[position];
            if !order.is_in_force(now) {
                continue;
            }
            let place = match order.kind {
                OverrideKind::Drain => &mut intended.drain,
                OverrideKind::Maintenance => &mut intended.maintenance,
                OverrideKind::ForcedUp | OverrideKind::ForcedDown => &mut intended.forced,
                OverrideKind::Weight(_) if matches!(order.scope, Scope::Endpoint(_)) => &mut intended.weight,
                OverrideKind::Weight(_) => &mut intended.pool_weight,
                OverrideKind::Admission(_) => &mut intended.admission,
                OverrideKind::Hold => continue,
            };
            if place.as_ref().is_none_or(|known| order.rank() > known.rank()) {
                *place = Some(order.clone());
            }
        }
        intended
    }

    /// When the next override ends by itself; `None`: none does.
    #[must_use]
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.overrides.iter().filter_map(|it| it.until).filter(|until| *until > now).min()
    }

    /// All overrides, ended ones included, in the order given: a wall clock that is set back brings one in force again.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Override>> {
        self.overrides.iter()
    }

    /// The overrides in force at `now`, in the order given. Every screen shows them.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Override>> {
        self.overrides.iter().filter(move |it| it.is_in_force(now))
    }

    /// The overrides that name nothing in this topology, which deserve a warning.
    pub fn unmatched(&self) -> impl Iterator<Item = &Arc<Override>> {
        self.unmatched.iter().map(|position| &self.overrides[*position])
    }

    /// What is frozen, for the disk and for the overlay after a change of topology or overrides.
    #[must_use]
    pub fn save_frozen(&self, topology: &Topology) -> Vec<SavedFrozen> {
        let named = |(endpoint, frozen): (&EndpointIdx, &Frozen)| SavedFrozen {
            endpoint: topology.endpoint_name(*endpoint),
            frozen: frozen.clone(),
        };
        self.frozen.iter().filter(|(endpoint, _)| endpoint.get() < topology.endpoints.len()).map(named).collect()
    }
}

/// The endpoints that people call `name`: looked for in the service that the name begins with.
fn endpoints_named(topology: &Topology, name: &str) -> Vec<EndpointIdx> {
    let of_service = |service: &str| name.strip_prefix(service).is_some_and(|rest| rest.starts_with('/'));
    let services = topology.services.iter().filter(|service| of_service(service.name.as_str()));
    let endpoints = services.flat_map(|service| service.pools.iter().flat_map(|pool| pool.endpoints()));
    endpoints.filter(|endpoint| topology.endpoint_name(*endpoint) == name).collect()
}

#[cfg(test)]
mod tests;
