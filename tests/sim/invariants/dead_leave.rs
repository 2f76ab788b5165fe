//! An endpoint that cannot be reached leaves the answers while another one is usable, also on a side that is cut off but sees (design,
//! section 5; 6 the other way round: nobody's silence keeps the dead in).

use portolan_core::{health::overlay::OverrideKind, model::ids::EndpointIdx, table::Tier};

use super::{Invariant, is_known_to_all, is_ordered, running, site_of, window};
use crate::{happened::Happened, station::Process, world::World};

pub(crate) struct DeadLeave;

impl Invariant for DeadLeave {
    fn name(&self) -> &'static str {
        "dead_leave"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        if !matches!(happened, Happened::Second) {
            return Ok(());
        }
        running(world).try_for_each(|(id, process, _)| judge(world, id, process))
    }
}

fn judge(world: &World, id: usize, process: &Process) -> Result<(), String> {
    let reach = window(world) + world.unproven_hold;
    let from = world.now - reach;
    let home = world.stations[id].region;
    // With its references it is never blind, and a node that was there all the time has looked for itself.
    let could_know = world.now.since(process.started) > reach
        && world.slept_since(id) > reach
        && world.truth.had_references(home, from)
        && world.network.has_link(id)
        && world.linked_since(id) > reach
        && (0..world.stations.len()).all(|other| world.reloaded_since(other) > reach);
    let Some(table) = process.node.table().filter(|_| could_know) else { return Ok(()) };
    let topology = &table.world.topology;
    let members = table.views.iter().flat_map(|view| &view.pools).flat_map(|pool| &pool.members);
    for member in members.filter(|member| member.tier != Tier::Out) {
        let endpoint: EndpointIdx = member.endpoint;
        let target = site_of(topology, endpoint);
        let kinds = [OverrideKind::ForcedUp, OverrideKind::Maintenance];
        let is_dead = world.truth.unreachable_since(target, from) && is_known_to_all(world, target);
        if is_dead && !is_ordered(world, id, process, topology, endpoint, &kinds) {
            let name = topology.endpoint_name(endpoint);
            return Err(format!("{} keeps {name} as {:?}, which cannot be reached for {reach:?}", world.stations[id].name, member.tier));
        }
    }
    Ok(())
}
