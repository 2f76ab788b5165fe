//! 6: one region's blindness moves no traffic of others, and none of its own clients away from what stands beside them.
//!
//! An endpoint that works leaves a node's answers only when so many regions were really kept from seeing it that they could prove it down,
//! or when this node's own region was, could prove nothing else, and is not without any sight itself.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    health::{overlay::OverrideKind, vantage::Provenance},
    model::ids::EndpointIdx,
    table::{Table, Tier},
};

use super::{Invariant, is_ordered, is_seen_rightly, site_of, window};
use crate::{happened::Happened, world::World};

/// A node knows that it is blind after the look that fails, one that was under way, and the words of others that were fresh still.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct NoContagion;

impl Invariant for NoContagion {
    fn name(&self) -> &'static str {
        "no_contagion"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Published { id, before: Some(before), .. } = *happened else { return Ok(()) };
        let process = world.stations[id].process.as_ref().expect("invariant: it has just had its turn");
        let Some(after) = process.node.table() else { return Ok(()) };
        left(before, after).into_iter().try_for_each(|endpoint| judge(world, id, endpoint))
    }
}

/// The endpoints that were answered before and are not any more. With another plan in force nothing is compared.
fn left(before: &Arc<Table>, after: &Arc<Table>) -> Vec<EndpointIdx> {
    if !Arc::ptr_eq(&before.world, &after.world) {
        return Vec::new();
    }
    let pairs = before.views.iter().zip(&after.views).filter(|(before, after)| !Arc::ptr_eq(before, after));
    let members = pairs.flat_map(|(before, after)| before.pools.iter().zip(&after.pools));
    let members = members.flat_map(|(before, after)| before.members.iter().zip(&after.members));
    members.filter(|(before, after)| before.tier < Tier::Out && after.tier == Tier::Out).map(|(_, after)| after.endpoint).collect()
}

fn judge(world: &World, id: usize, endpoint: EndpointIdx) -> Result<(), String> {
    let station = &world.stations[id];
    let process = station.process.as_ref().expect("invariant: it has just had its turn");
    let topology = &process.node.world().topology;
    let target = site_of(topology, endpoint);
    let kinds = [OverrideKind::ForcedDown, OverrideKind::ForcedUp, OverrideKind::Maintenance];
    let reach = window(world);
    let from = world.now - reach;
    // What an old disk holds may be long past; a new process goes on from it until it has seen for itself.
    let remembers = process.is_restored && world.now.since(process.started) < reach + world.unproven_hold;
    if remembers || !world.truth.works_since(target, from) || is_ordered(world, id, process, topology, endpoint, &kinds) {
        return Ok(());
    }
    let name = topology.endpoint_name(endpoint);
    let now = station.now(world.now);
    let provenance = process.node.vantage().provenance(topology.endpoints[endpoint.get()].check, now.tick);
    if is_seen_rightly(world, id, target, from) {
        return Err(format!("{} withdraws {name}, which works and could be seen ({provenance})", station.name));
    }
    // Who wakes takes in first what others said while it slept.
    let is_dark = world.slept_since(id) > GRACE && (world.truth.is_dark(world.now, station.region, GRACE) || world.cut_off_for(id) > GRACE);
    if is_dark && provenance != Provenance::Blind && target.0 != station.region {
        return Err(format!("{} sees nothing at all, and withdraws {name}, which works ({provenance})", station.name));
    }
    let home = station.region;
    // Who goes blind keeps what its region's last word made of it, perhaps in the same turn.
    let is_own_only = provenance == Provenance::Own || (provenance == Provenance::Blind && !is_dark);
    let n = world.vantage_regions().len();
    let n_wrong = world.vantage_regions().iter().filter(|region| world.truth.may_err(home, **region, target, from)).count();
    if n_wrong * 2 < n && !is_own_only {
        return Err(format!("{} withdraws {name}, which works, {provenance}; {n_wrong} of {n} regions could not see it", station.name));
    }
    Ok(())
}
