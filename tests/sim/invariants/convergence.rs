//! When faults stop, all nodes agree with the truth and with each other, within a stated time, without a hand.

use std::collections::BTreeMap;

use portolan_core::{
    health::vantage::{Provenance, Sight},
    model::{check::Host, ids::CheckIdx, time::Now, verdict::Health},
    node::Readiness,
    table::Tier,
};

use super::{Invariant, is_known_to_all, running, site_of};
use crate::{
    happened::Happened,
    plan::{Site, site},
    station::Process,
    truth::Behaviour,
    world::World,
};

pub(crate) struct Convergence;

impl Invariant for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        if !matches!(happened, Happened::Settled | Happened::Over) {
            return Ok(());
        }
        if let Some(gone) = world.stations.iter().find(|it| !it.is_awake()) {
            return Err(format!("{} does not run: the world is wrong", gone.name));
        }
        running(world).try_for_each(|(id, process, now)| judge(world, id, process, now))?;
        agree(world)
    }
}

/// The check of each site, in the plan that a node runs.
pub(crate) fn checks(process: &Process) -> impl Iterator<Item = (CheckIdx, Site)> {
    let all = (0..process.node.book().len()).map(CheckIdx::at);
    all.filter_map(|check| match &process.node.book().check(check)?.address.as_ref()?.host {
        Host::Ip(address) => Some((check, site(*address))),
        Host::Name(_) => None,
    })
}

fn judge(world: &World, id: usize, process: &Process, now: Now) -> Result<(), String> {
    let (vantage, name) = (process.node.vantage(), &world.stations[id].name);
    let all = world.vantage_regions().len();
    let heard = vantage.regions_heard().count();
    if heard != all || vantage.sight() != Sight::Sighted {
        return Err(format!("{name} hears {heard} of {all} regions and is {}", vantage.sight()));
    }
    match process.node.table() {
        Some(table) if table.stale_since.is_none() => {}
        _ => return Err(format!("{name} has no fresh table")),
    }
    if let Readiness::NotReady(why) = process.node.readiness(now) {
        return Err(format!("{name} is not ready: {why}"));
    }
    for (check, target) in checks(process) {
        let truth = if world.truth.behaviour(target) == Behaviour::Works { Health::Up } else { Health::Down };
        let health = vantage.health(process.node.book(), check);
        let provenance = vantage.provenance(check, now.tick);
        if !is_known_to_all(world, target) {
            continue;
        }
        let is_proven_by_all = matches!(provenance, Provenance::Proven(votes) if usize::from(votes.regions_for) == all);
        if health != truth || !is_proven_by_all {
            return Err(format!("{name} takes {target:?} for {health}, {provenance}, and it is {truth}"));
        }
    }
    Ok(())
}

/// Nodes with one plan and one state answer from the same endpoints.
fn agree(world: &World) -> Result<(), String> {
    let mut known: BTreeMap<u64, (usize, Vec<Tier>)> = BTreeMap::new();
    let ends = |process: &Process, now: Now| {
        // Clocks differ, so an order that is about to end has ended for some.
        process.given.iter().filter_map(|it| it.until).any(|until| until.0.abs_diff(now.wall.0) < 200_000)
    };
    for (id, process, now) in running(world) {
        let Some(table) = process.node.table().filter(|_| !ends(process, now)) else { continue };
        let members = table.views.iter().flat_map(|view| &view.pools).flat_map(|pool| &pool.members);
        let members = members.filter(|member| is_known_to_all(world, site_of(&table.world.topology, member.endpoint)));
        let tiers: Vec<Tier> = members.map(|member| member.tier).collect();
        match known.get(&world.stations[id].revision) {
            Some((other, wanted)) if *wanted != tiers => {
                let (one, other) = (&world.stations[id].name, &world.stations[*other].name);
                return Err(format!("{one} answers {tiers:?} and {other} answers {wanted:?}"));
            }
            Some(_) => {}
            None => drop(known.insert(world.stations[id].revision, (id, tiers))),
        }
    }
    Ok(())
}
