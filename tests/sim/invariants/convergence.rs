//! When faults stop, all nodes agree with the truth and with each other, within a stated time, without a hand.

use std::{collections::BTreeMap, sync::Arc};

use portolan_core::{
    health::{
        overlay::{Override, OverrideKind, Scope},
        vantage::{Provenance, Sight},
    },
    model::{
        check::Host,
        ids::CheckIdx,
        time::{Now, Timestamp},
        verdict::Health,
    },
    node::Readiness,
    table::{ServiceView, Tier},
};

use super::{Invariant, covers, is_known_to_all, running, site_of};
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

/// Nodes with one plan and one state answer from the same endpoints, but for services on which orders weigh otherwise on each node.
fn agree(world: &World) -> Result<(), String> {
    let unlike = unlike_orders(world);
    let mut known: BTreeMap<u64, (usize, Vec<Tier>)> = BTreeMap::new();
    for (id, process, _) in running(world) {
        let Some(table) = process.node.table() else { continue };
        let topology = &table.world.topology;
        // A whole service: what one endpoint is taken for decides by max_ejection about others.
        let is_alike = |view: &&Arc<ServiceView>| {
            let mut members = view.pools.iter().flat_map(|pool| &pool.members);
            !members.any(|member| unlike.iter().any(|scope| covers(scope, topology, member.endpoint)))
        };
        let members = table.views.iter().filter(is_alike).flat_map(|view| &view.pools).flat_map(|pool| &pool.members);
        let members = members.filter(|member| is_known_to_all(world, site_of(topology, member.endpoint)));
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

/// What orders are for that need not weigh the same everywhere: one that has ended by some clocks only; and maintenance, which keeps on each
/// node what that node judged last when it began there, until it ends.
fn unlike_orders(world: &World) -> Vec<Scope> {
    let walls: Vec<Timestamp> = running(world).map(|(_, _, now)| now.wall).collect();
    let is_unlike = |it: &&Override| {
        let n_ended = it.until.map_or(0, |until| walls.iter().filter(|wall| until <= **wall).count());
        let is_ending = it.until.is_some_and(|until| walls.iter().any(|wall| until.0.abs_diff(wall.0) < 1000));
        it.kind == OverrideKind::Maintenance || is_ending || (n_ended > 0 && n_ended < walls.len())
    };
    running(world).flat_map(|(_, process, _)| &process.given).filter(is_unlike).map(|it| it.scope.clone()).collect()
}
