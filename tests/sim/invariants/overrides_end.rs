//! An override acts until its end and not a moment longer, by the clock of the node that answers; also on a node that hears nobody.

use std::time::Duration;

use portolan_core::{
    health::overlay::OverrideKind,
    model::{time::Timestamp, units::Weight},
    table::Tier,
};

use super::{Invariant, covers, running};
use crate::{happened::Happened, log::Order, station::Process, world::World};

/// A node that is busy is a moment late.
const GRACE: Duration = Duration::from_millis(50);

pub(crate) struct OverridesEnd;

impl Invariant for OverridesEnd {
    fn name(&self) -> &'static str {
        "overrides_end"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Second => running(world).try_for_each(|(id, process, now)| judge(world, id, process, now.wall)),
            Happened::Settled => running(world).try_for_each(|(id, process, now)| acts(world, id, process, now.wall)),
            _ => Ok(()),
        }
    }
}

fn judge(world: &World, id: usize, process: &Process, now: Timestamp) -> Result<(), String> {
    let Some(table) = process.node.table() else { return Ok(()) };
    let name = &world.stations[id].name;
    let is_over = |until: Timestamp| until + GRACE <= now;
    for pool in table.views.iter().flat_map(|view| &view.pools) {
        for member in &pool.members {
            let note = member.note.as_deref().unwrap_or_default();
            let is_named = |it: &&Order| is_over(it.until) && note.contains(it.why.as_str());
            if let Some(order) = world.log.ever.iter().filter(|_| !note.is_empty()).find(is_named) {
                return Err(format!("{name} at {now} acts by an order that ended at {}: {note}", order.until));
            }
            let topology = &table.world.topology;
            let weights = [
                (pool.weight, topology.services.iter().flat_map(|it| &it.pools).find(|it| it.region == pool.region).map(|it| it.weight.0)),
                (member.weight, Some(topology.endpoints[member.endpoint.get()].weight.0)),
            ];
            for (weight, planned) in weights.into_iter().filter(|(weight, planned)| Some(*weight) != *planned) {
                let gives = |it: &&Order| {
                    it.kind == OverrideKind::Weight(Weight(weight)) && !is_over(it.until) && covers(&it.scope, topology, member.endpoint)
                };
                if world.log.ever.iter().find(gives).is_none() {
                    return Err(format!(
                        "{name} at {now} answers with weight {weight}, the plan says {planned:?}, and no order is in force"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What is in force acts: nothing that is drained is answered like the others.
fn acts(world: &World, id: usize, process: &Process, now: Timestamp) -> Result<(), String> {
    let Some(table) = process.node.table() else { return Ok(()) };
    let topology = &table.world.topology;
    let drains = process.given.iter().filter(|it| it.kind == OverrideKind::Drain && it.until.is_some_and(|until| now + GRACE < until));
    for order in drains {
        for member in table.views.iter().flat_map(|view| &view.pools).flat_map(|pool| &pool.members) {
            if covers(&order.scope, topology, member.endpoint) && member.tier < Tier::Drained {
                let endpoint = topology.endpoint_name(member.endpoint);
                return Err(format!("{} answers {endpoint} as {:?} in spite of: {order}", world.stations[id].name, member.tier));
            }
        }
    }
    Ok(())
}
