//! 5: a name with a usable endpoint is never answered empty, and never by the rule for when there is none.

use std::net::{IpAddr, Ipv4Addr};

use portolan_core::{
    answer::{Answer, ExtendedError, Query, Rcode, answer},
    health::overlay::OverrideKind,
    model::{ids::EndpointIdx, record::RecordType, time::Tick, topology::AllDown},
    node::FIRST_TABLE_MAX,
    table::{Table, Tier},
};

use super::{Invariant, is_known_to_all, is_ordered, is_seen_rightly, running, site_of, window};
use crate::{clock::Moment, happened::Happened, plan::hostname, station::Process, world::World};

pub(crate) struct NeverEmpty;

impl Invariant for NeverEmpty {
    fn name(&self) -> &'static str {
        "never_empty"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Published { id, .. } => world.stations[id].process.as_ref().map_or(Ok(()), |process| judge(world, id, process)),
            Happened::Second => running(world).try_for_each(|(id, process, _)| judge(world, id, process)),
            _ => Ok(()),
        }
    }
}

/// What a client of a region gets for a service.
pub(crate) fn ask(table: &Table, service: &str, region: usize) -> (Query, Answer) {
    let source = IpAddr::V4(Ipv4Addr::new(10, u8::try_from(region).expect("invariant: few"), 3, 7));
    let name = hostname(service).parse().expect("a name");
    let query = Query { name, record_type: RecordType::A, source, client_subnet: None, entropy: 7 };
    // Nothing here follows a role, so the moment plays no part.
    let answer = answer(table, &query, Tick::default());
    (query, answer)
}

fn judge(world: &World, id: usize, process: &Process) -> Result<(), String> {
    let Some(table) = process.node.table() else { return Ok(()) };
    let topology = &table.world.topology;
    for (service, view) in topology.services.iter().zip(&table.views) {
        let endpoints: Vec<EndpointIdx> = service.pools.iter().flat_map(|pool| pool.endpoints()).collect();
        let is_usable = endpoints.iter().any(|endpoint| is_usable(world, id, process, *endpoint));
        let has_tier = view.best().is_some_and(|best| best < Tier::Out);
        let may_be_empty = matches!(service.all_down, AllDown::Nodata | AllDown::Servfail) && !has_tier;
        if may_be_empty && !is_usable {
            continue;
        }
        // One client at a time: another one at the next turn.
        let region = usize::try_from(world.n_turns).unwrap_or(0) % world.n_regions;
        let (_, answer) = ask(table, service.name.as_str(), region);
        let told = || format!("{} answers a client of region {region} for {}: {}", world.stations[id].name, service.name, answer.summary());
        if answer.rcode != Rcode::NoError || answer.answers.is_empty() {
            return Err(format!("{}; an endpoint is usable", told()));
        }
        let is_fallback = answer.extended_error.as_ref().is_some_and(|error| error.code != ExtendedError::STALE_ANSWER);
        if is_usable && is_fallback {
            return Err(format!("{}, as if nothing were usable: {:?}", told(), answer.extended_error));
        }
    }
    Ok(())
}

/// Whether an endpoint works, this node could know it, and nobody ordered otherwise. A drain gives way before a name goes dark. One that not
/// everybody has may be nobody's to probe: what was proven of it last stays then, right or wrong.
fn is_usable(world: &World, id: usize, process: &Process, endpoint: EndpointIdx) -> bool {
    let reach = window(world) + world.unproven_hold;
    // Before the first processes nothing had gone wrong; they need their first round only.
    let first_round = Moment(0) + FIRST_TABLE_MAX;
    let is_first = process.started == Moment(0) && world.now > first_round;
    if !is_first && world.now.since(process.started) < reach {
        return false;
    }
    let topology = &process.node.world().topology;
    let (target, from) = (site_of(topology, endpoint), world.now - reach);
    let kinds = [OverrideKind::ForcedDown, OverrideKind::Maintenance];
    world.truth.works_since(target, from)
        && is_known_to_all(world, target)
        && is_seen_rightly(world, id, target, from)
        && world.slept_since(id) > reach
        && !is_ordered(world, id, process, topology, endpoint, &kinds)
}
