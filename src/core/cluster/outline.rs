//! What the replicated state knows of the plan: its names, the limits that commands are judged by, and what failovers are judged by.
//!
//! Why not the plan itself: reading it takes a YAML reader, and a reader that changes from one version to the next would let nodes judge
//! differently. The outline is drawn once, by the proposer, and is then a value like any other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    limits::{
        ENDPOINTS_MAX, GROUPS_MAX, NAME_MAX, OBJECT_MAX, PLAN_FREEZES_MAX, POLICY_TIME_MAX, REASON_MAX, RUNGS_MAX, SERVICES_MAX, count,
        line,
    },
    refusal::{Refusal, Rule},
};
use crate::{
    health::overlay::Scope,
    model::{
        group::Policy,
        ids::{Label, REGIONS_MAX},
        time::{Human, Timestamp},
        topology::Topology,
        units::Share,
    },
    plan::{Plan, policies, returning},
    recovery::traffic_return::{Returning, problem},
};

/// Names, limits and policies of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Regions.
    pub regions: BTreeSet<Label>,
    /// Services.
    pub services: BTreeMap<Label, Service>,
    /// Data groups, and what is done when one of them fails.
    pub groups: BTreeMap<Label, Policy>,
    /// Of the clients, at most this part may be moved by one entry.
    pub max_share_moved: Share,
    /// Times in which people change nothing.
    pub freezes: Vec<Window>,
    /// How the traffic of a drained region returns; `None`: as [`Returning::default`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
}

/// A service, as far as orders concern it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Commands that would leave fewer regions are refused.
    pub min_healthy_regions: usize,
    /// Per region: its endpoints as `198.51.100.10:80`, which is how their names end.
    pub pools: BTreeMap<Label, BTreeSet<String>>,
}

/// A freeze of the plan. It is for everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Begin.
    pub from: Timestamp,
    /// End, outside.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether automatic failover rests too.
    pub automation: bool,
}

impl Default for Outline {
    /// Of an empty plan: nothing has a name, and nothing is limited.
    fn default() -> Self {
        Self {
            regions: BTreeSet::new(),
            services: BTreeMap::new(),
            groups: BTreeMap::new(),
            max_share_moved: Share::FULL,
            freezes: Vec::new(),
            returning: None,
        }
    }
}

impl Outline {
    /// The outline of a plan that was checked, and of the topology that it resolves to.
    #[must_use]
    pub fn of(plan: &Plan, topology: &Topology) -> Self {
        let services = topology.services.iter().map(|service| {
            let pools = service.pools.iter().map(|pool| {
                let region = topology.regions[pool.region.get()].name.clone();
                let prefix = format!("{}/{region}/", service.name);
                let names = pool.endpoints().map(|endpoint| topology.endpoint_name(endpoint));
                (region, names.map(|name| name.strip_prefix(&prefix).unwrap_or(&name).to_owned()).collect())
            });
            (service.name.clone(), Service { min_healthy_regions: service.min_healthy_regions, pools: pools.collect() })
        });
        let freezes = plan.guardrails.freeze.iter().map(|freeze| Window {
            from: freeze.from,
            until: freeze.until,
            reason: super::limits::cut(&freeze.reason.0, REASON_MAX),
            automation: freeze.automation,
        });
        Self {
            regions: topology.regions.iter().map(|region| region.name.clone()).collect(),
            services: services.collect(),
            groups: policies(plan),
            max_share_moved: topology.guardrails.max_share_moved,
            freezes: freezes.collect(),
            returning: returning(plan),
        }
    }

    /// Whether something has this name; `Err` says what is missing.
    pub(super) fn knows(&self, scope: &Scope) -> Result<(), String> {
        let region = |name: &str| self.regions.contains(&Label::new(name));
        let pool = |service: &str, region: &str| self.services.get(&Label::new(service)).and_then(|it| it.pools.get(&Label::new(region)));
        let is_known = match scope {
            Scope::Everything => true,
            Scope::Region(name) => region(name.as_str()),
            Scope::Service(name) => self.services.contains_key(name),
            Scope::Group(name) => self.groups.contains_key(name),
            Scope::Pool { service, region } => pool(service.as_str(), region.as_str()).is_some(),
            Scope::Endpoint(name) => {
                split(name).is_some_and(|(service, region, target)| pool(service, region).is_some_and(|targets| targets.contains(target)))
            }
        };
        if is_known { Ok(()) } else { Err(format!("the plan in force has no {scope}")) }
    }

    /// Whether it is in its bounds.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let named = |what: &str, name: &Label| line(what, name.as_str(), NAME_MAX);
        count("regions in the plan", self.regions.len(), REGIONS_MAX)?;
        count("services in the plan", self.services.len(), SERVICES_MAX)?;
        count("data groups in the plan", self.groups.len(), GROUPS_MAX)?;
        count("freezes in the plan", self.freezes.len(), PLAN_FREEZES_MAX)?;
        let pools = || self.services.values().flat_map(|service| &service.pools);
        count("endpoints in the plan", pools().map(|(_, targets)| targets.len()).sum(), ENDPOINTS_MAX)?;
        self.regions.iter().try_for_each(|name| named("the name of a region", name))?;
        self.services.keys().try_for_each(|name| named("the name of a service", name))?;
        self.groups.keys().try_for_each(|name| named("the name of a data group", name))?;
        self.services.values().try_for_each(|service| count("regions of one service", service.pools.len(), REGIONS_MAX))?;
        for (region, targets) in pools() {
            named("the region of a pool", region)?;
            if targets.is_empty() {
                return Err(undrawn(format!("a service has a pool in {region} without an endpoint")));
            }
            targets.iter().try_for_each(|target| line("an endpoint", target, OBJECT_MAX))?;
        }
        self.groups.iter().try_for_each(|(name, policy)| self.check_group(name, policy))?;
        if let Some(problem) = self.returning.as_ref().and_then(|it| problem(&it.steps, it.step_time)) {
            return Err(undrawn(format!("the return of traffic: {problem}")));
        }
        self.freezes.iter().try_for_each(|window| line("the reason of a freeze", &window.reason, REASON_MAX))
    }

    /// Whether a data group's policy is in its bounds. Its members are not counted: each stands in another one of the plan's regions.
    fn check_group(&self, name: &Label, policy: &Policy) -> Result<(), Refusal> {
        let refuse = |text: String| Err(undrawn(format!("data group {name}: {text}")));
        line("the region of a primary", policy.primary.as_str(), NAME_MAX)?;
        for region in policy.members.keys() {
            line("the region of a member", region.as_str(), NAME_MAX)?;
            if !self.regions.contains(region) {
                return refuse(format!("it has a member in {region}, which is no region of the plan"));
            }
        }
        count("programs that may stop a primary", policy.rungs.len(), RUNGS_MAX)?;
        policy.rungs.iter().try_for_each(|rung| line("the name of a hook", &rung.hook, NAME_MAX))?;
        if !policy.members.contains_key(&policy.primary) {
            return refuse(format!("its primary's region {} has no member", policy.primary));
        }
        if policy.margin.is_zero() || policy.margin >= policy.ttl {
            let (margin, ttl) = (Human(policy.margin), Human(policy.ttl));
            return refuse(format!("a margin of {margin} is not between zero and a ttl of {ttl}"));
        }
        if policy.probe_interval.is_zero() || policy.failure_window.is_zero() || policy.failures == 0 || policy.ok_run == 0 {
            return refuse("a round, the failure window or a count of rounds is zero".to_owned());
        }
        match policy.times().find(|(_, time)| *time > POLICY_TIME_MAX) {
            Some((word, time)) => refuse(format!("{word} is {}, and at most {} can be", Human(time), Human(POLICY_TIME_MAX))),
            None => Ok(()),
        }
    }
}

/// Of what no checked plan says.
fn undrawn(text: String) -> Refusal {
    Refusal::new(Rule::Invalid, text, "let the proposer draw the outline from the checked plan")
}

/// Service, region and target of an endpoint's name.
fn split(endpoint: &str) -> Option<(&str, &str, &str)> {
    let (service, rest) = endpoint.split_once('/')?;
    let (region, target) = rest.split_once('/')?;
    Some((service, region, target))
}

/// Whether an order for the one scope can concern the other. Data groups meet only themselves and everything.
pub(super) fn meet(one: &Scope, other: &Scope) -> bool {
    let parts = |scope: &Scope| match scope {
        Scope::Service(service) => (Some(service.to_string()), None, None),
        Scope::Region(region) => (None, Some(region.to_string()), None),
        Scope::Pool { service, region } => (Some(service.to_string()), Some(region.to_string()), None),
        Scope::Endpoint(name) => match split(name) {
            Some((service, region, target)) => (Some(service.to_owned()), Some(region.to_owned()), Some(target.to_owned())),
            None => (None, None, Some(name.clone())),
        },
        Scope::Group(_) | Scope::Everything => (None, None, None),
    };
    let agree = |left: &Option<String>, right: &Option<String>| left.is_none() || right.is_none() || left == right;
    match (one, other) {
        (Scope::Everything, _) | (_, Scope::Everything) => true,
        (Scope::Group(left), Scope::Group(right)) => left == right,
        (Scope::Group(_), _) | (_, Scope::Group(_)) => false,
        _ => {
            let (left, right) = (parts(one), parts(other));
            agree(&left.0, &right.0) && agree(&left.1, &right.1) && agree(&left.2, &right.2)
        }
    }
}
