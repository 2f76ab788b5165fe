//! One service as it stands: which endpoints may be answered, in which part, and why the others may not.
//!
//! Rebuilt when something that it depends on changes, and only then; read by every query. Immutable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::role::RoleView;
use crate::{
    model::{
        ids::{EndpointIdx, RegionIdx, RegionSet, ServiceIdx},
        time::Timestamp,
        topology::{Target, Topology},
        units::{Share, Ttl, Weight},
        verdict::Health,
    },
    steering::rendezvous,
};

/// An endpoint as health and people see it together: what the view is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Health with overrides applied.
    pub health: Health,
    /// A drain is in force: no new answers while anything else is usable.
    pub drained: bool,
    /// Down, but kept in answers, because too large a part of the service would leave ([`Guardrails::max_ejection`]).
    ///
    /// [`Guardrails::max_ejection`]: crate::model::topology::Guardrails::max_ejection
    pub kept: bool,
    /// The share of its normal clients that it takes; less than full while it comes back.
    pub admitted: Share,
    /// The shortest time after which its health could be another one.
    pub next_change: Duration,
    /// Its weight by order; `None`: the plan's.
    pub weight: Option<Weight>,
    /// Its pool's weight by order, equal for all endpoints of the pool; `None`: the plan's.
    pub pool_weight: Option<Weight>,
    /// When it was in rotation last; `None`: it is, or it never was.
    pub left: Option<Timestamp>,
    /// Why it is not simply up, for people; `None` when it is.
    pub note: Option<Box<str>>,
}

impl EndpointState {
    /// How good it is.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        match (self.health, self.drained) {
            (Health::Down, _) if !self.kept => Tier::Out,
            (_, true) => Tier::Drained,
            (Health::Unknown, false) => Tier::Unjudged,
            (Health::Up | Health::Down, false) => Tier::Up,
        }
    }
}

/// How good an endpoint is as an answer. The first tier that has a member inside the residency fence is used, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Up, and not drained.
    Up,
    /// Not judged yet, and not drained. Unknown is not down: it is better than nothing.
    Unjudged,
    /// Usable, but drained: a drain gives way before a name goes dark.
    Drained,
    /// Down.
    Out,
}

/// Address families, as far as answers differ by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Answers type A.
    V4,
    /// Answers type AAAA.
    V6,
    /// A CNAME: answers every type.
    Any,
}

/// One endpoint of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub endpoint: EndpointIdx,
    /// Its number in draws; depends on its target only, so that the order of the plan does not matter.
    pub salt: u64,
    /// Its share inside the region; zero is standby.
    pub weight: u16,
    /// How good it is.
    pub tier: Tier,
    /// When it was in rotation last; `None`: it is, or it never was.
    pub left: Option<Timestamp>,
    /// The share of its normal clients that it takes.
    pub admitted: Share,
    /// Which types it answers.
    pub family: Family,
    /// The shortest time after which its health could be another one.
    pub next_change: Duration,
    /// Why it is not simply up, for people.
    pub note: Option<Box<str>>,
}

/// The endpoints of the service in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Where.
    pub region: RegionIdx,
    /// The region's number in draws; the same in every service, so that a client meets the same region in all of them.
    pub salt: u64,
    /// Share among regions; zero is standby.
    pub weight: u16,
    /// The lower is preferred.
    pub priority: u16,
    /// The share of its normal clients that the region takes: the best of its members that are up.
    pub admitted: Share,
    /// In the plan's order.
    pub members: Vec<Member>,
}

/// One service as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// In ascending order of region.
    pub pools: Vec<PoolView>,
    /// The regions that have a member of [`Tier::Up`].
    pub up: RegionSet,
    /// The soonest return of something that is out: an answer must not outlive it.
    pub soonest_return: Duration,
    /// How far apart the probes may have judged what ended at one moment.
    pub judged_over: Duration,
    /// Who holds the role that its names follow; of a service that follows none it says nothing.
    pub role: RoleView,
}

impl ServiceView {
    /// Makes the view of `service` from the state of its endpoints. Cost: linear in its endpoints.
    pub fn compile(topology: &Topology, service: ServiceIdx, mut state_of: impl FnMut(EndpointIdx) -> EndpointState) -> Self {
        let mut view = Self {
            pools: Vec::new(),
            up: RegionSet::EMPTY,
            soonest_return: Duration::MAX,
            judged_over: Duration::ZERO,
            role: RoleView::default(),
        };
        for pool in &topology.services[service.get()].pools {
            let checks = pool.endpoints().map(|endpoint| &topology.checks[topology.endpoints[endpoint.get()].check.get()]);
            view.judged_over = checks.map(|check| check.probe.cadence.judged_over()).fold(view.judged_over, Duration::max);
            let mut weight = pool.weight;
            let members = pool.endpoints().map(|endpoint| {
                let state = state_of(endpoint);
                weight = state.pool_weight.unwrap_or(weight);
                member(topology, endpoint, state)
            });
            let members: Vec<Member> = members.collect();
            let up = || members.iter().filter(|member| member.tier == Tier::Up);
            if up().next().is_some() {
                view.up.insert(pool.region);
            }
            for out in members.iter().filter(|member| member.tier > Tier::Up) {
                view.soonest_return = view.soonest_return.min(out.next_change);
            }
            view.pools.push(PoolView {
                region: pool.region,
                salt: rendezvous::salt(topology.regions[pool.region.get()].name.as_str()),
                weight: weight.0,
                priority: pool.priority,
                admitted: up().map(|member| member.admitted).max().unwrap_or(Share::FULL),
                members,
            });
        }
        view
    }

    /// The best tier that any member is of; `None`: the service has no endpoint.
    #[must_use]
    pub fn best(&self) -> Option<Tier> {
        self.pools.iter().flat_map(|pool| &pool.members).map(|member| member.tier).min()
    }

    /// The pool of `region`; `None` when the service has no endpoint there.
    #[must_use]
    pub fn pool(&self, region: RegionIdx) -> Option<&PoolView> {
        self.pools.iter().find(|pool| pool.region == region)
    }

    /// The regions with at least one member that `wanted` accepts.
    pub fn regions_with(&self, mut wanted: impl FnMut(&Member) -> bool) -> RegionSet {
        self.pools.iter().filter(|pool| pool.members.iter().any(&mut wanted)).map(|pool| pool.region).collect()
    }

    /// From when on the members that `among` accepts were usable last: `None` when none of them ever was.
    ///
    /// What ends at one moment is judged over the length of a judgement, because probes are spread: who left within that length of the last
    /// one counts. Else the one that happened to be judged last would be answered alone, and take all the load, after a failure that hit all
    /// alike.
    pub fn last_good_since(&self, among: impl Fn(&PoolView, &Member) -> bool) -> Option<Timestamp> {
        let members = self.pools.iter().flat_map(|pool| pool.members.iter().filter(|member| among(pool, member)));
        let last = members.filter_map(|member| member.left).max()?;
        Some(Timestamp(last.0.saturating_sub(i64::try_from(self.judged_over.as_millis()).unwrap_or(i64::MAX))))
    }

    /// The longest time to live that an answer out of `region` may carry: until the soonest change of a member there, or the soonest
    /// return of something that is out. Source: gdnsd, whose answers live as long as the checks that are still needed take.
    #[must_use]
    pub fn ttl(&self, region: RegionIdx) -> Duration {
        let here = self.pool(region).into_iter().flat_map(|pool| &pool.members).map(|member| member.next_change).min();
        here.unwrap_or(Duration::MAX).min(self.soonest_return)
    }

    /// The shortest of all members' times.
    #[must_use]
    pub fn ttl_min(&self) -> Duration {
        self.pools.iter().flat_map(|pool| &pool.members).map(|member| member.next_change).min().unwrap_or(Duration::ZERO)
    }

    /// The longest time to live that an answer can carry now, inside the service's range.
    #[must_use]
    pub fn ttl_ceiling(&self, topology: &Topology, service: ServiceIdx) -> Ttl {
        let range = topology.services[service.get()].ttl;
        let longest = self.up.iter().map(|region| self.ttl(region)).max().unwrap_or_else(|| self.ttl_min());
        Ttl::from_duration(longest).clamp(range.min, range.max)
    }
}

fn member(topology: &Topology, endpoint: EndpointIdx, state: EndpointState) -> Member {
    let it = &topology.endpoints[endpoint.get()];
    Member {
        endpoint,
        salt: rendezvous::salt(&format!("{}:{}", it.target, it.port)),
        weight: state.weight.unwrap_or(it.weight).0,
        tier: state.tier(),
        left: state.left,
        admitted: state.admitted,
        family: match it.target {
            Target::Address(address) if address.is_ipv4() => Family::V4,
            Target::Address(_) => Family::V6,
            Target::Name(_) => Family::Any,
        },
        next_change: state.next_change,
        note: state.note,
    }
}
