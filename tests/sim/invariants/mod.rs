//! What must hold, one thing per file. The numbers are those of the design's list "What must hold".

mod acknowledged_is_kept;
mod bounds;
mod convergence;
mod dead_leave;
mod explained;
mod never_empty;
mod no_contagion;
mod no_flapping;
mod one_state;
mod overrides_end;
mod proven_by_majority;
mod replays;

use std::time::Duration;

use portolan_core::{
    health::overlay::{Override, OverrideKind, Scope},
    health::vantage::FRESH_FOR,
    model::{
        ids::EndpointIdx,
        time::Now,
        topology::{Target, Topology},
    },
};

use crate::{
    clock::Moment,
    happened::Happened,
    plan::{Site, site},
    station::Process,
    world::World,
};

/// Something that must hold whatever happens.
pub(crate) trait Invariant {
    /// Its name, which is its file's.
    fn name(&self) -> &'static str;

    /// Looks at what happened; `Err` says what is wrong.
    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String>;
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(proven_by_majority::ProvenByMajority),
        Box::new(never_empty::NeverEmpty),
        Box::new(no_contagion::NoContagion),
        Box::new(dead_leave::DeadLeave),
        Box::new(explained::Explained),
        Box::new(replays::Replays),
        Box::new(acknowledged_is_kept::AcknowledgedIsKept),
        Box::new(one_state::OneState),
        Box::new(overrides_end::OverridesEnd),
        Box::new(bounds::Bounds::default()),
        Box::new(convergence::Convergence),
        Box::new(no_flapping::NoFlapping::default()),
    ]
}

/// The nodes that run, with their clocks.
fn running(world: &World) -> impl Iterator<Item = (usize, &Process, Now)> {
    let awake = world.stations.iter().enumerate().filter(|(_, it)| it.is_awake());
    awake.filter_map(|(id, it)| Some((id, it.process.as_deref()?, it.now(world.now))))
}

/// What an endpoint of a plan stands on.
fn site_of(topology: &Topology, endpoint: EndpointIdx) -> Site {
    match topology.endpoints[endpoint.get()].target {
        Target::Address(address) => site(address),
        Target::Name(_) => unreachable!("plans here have addresses"),
    }
}

/// Whether the plan of every node has a site. Where plans differ, only those who have an endpoint say anything of it; and of the nodes of a
/// region it may be the others whose turn it is to probe it, so that nobody does.
fn is_known_to_all(world: &World, target: Site) -> bool {
    world.stations.iter().all(|it| world.shapes[&it.revision].sites().any(|known| known == target))
}

/// How far back something may still be at work: what was wrongly seen is stated, believed while fresh, and seen right again.
fn window(world: &World) -> Duration {
    world.settled_after + FRESH_FOR + world.blur() + Duration::from_secs(3)
}

/// Whether all that a node hears of a site was right since `from`, in so many regions that nobody could prove otherwise to it.
fn is_seen_rightly(world: &World, id: usize, target: Site, from: Moment) -> bool {
    let home = world.stations[id].region;
    let regions = world.vantage_regions();
    let n_wrong = regions.iter().filter(|region| world.truth.may_err(home, **region, target, from)).count();
    n_wrong * 2 < regions.len() && !world.truth.may_err(home, home, target, from)
}

/// Whether people decide about the health of an endpoint: now, or a moment ago by some clock.
fn is_ordered(world: &World, id: usize, process: &Process, topology: &Topology, endpoint: EndpointIdx, kinds: &[OverrideKind]) -> bool {
    let now = world.stations[id].now(world.now).wall;
    let was_set = world.clock_set[id].is_some_and(|at| world.now.since(at) < Duration::from_secs(120));
    let recent = |until: portolan_core::model::time::Timestamp| was_set || now.since(until) < Duration::from_secs(3);
    let known = world.log.ever.iter().filter(|it| recent(it.until)).map(|it| (it.kind, &it.scope));
    let given = process.given.iter().map(|it: &Override| (it.kind, &it.scope));
    known.chain(given).any(|(kind, scope)| kinds.contains(&kind) && covers(scope, topology, endpoint))
}

/// Whether an order of this scope is for the endpoint.
fn covers(scope: &Scope, topology: &Topology, endpoint: EndpointIdx) -> bool {
    let it = &topology.endpoints[endpoint.get()];
    let (service, region) = (&topology.services[it.service.get()].name, &topology.regions[it.region.get()].name);
    match scope {
        Scope::Service(name) => name == service,
        Scope::Region(name) => name == region,
        Scope::Pool { service: of, region: name } => of == service && name == region,
        Scope::Endpoint(name) => *name == topology.endpoint_name(endpoint),
        Scope::Group(_) | Scope::Everything => false,
    }
}
