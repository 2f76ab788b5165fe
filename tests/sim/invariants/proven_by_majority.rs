//! No verdict is proven without more than half of all vantage regions that say so, see, and were heard a moment ago (design, sections 5, 11).
//!
//! Judged by what nodes really said and by what could really get through, not by what the receiver counts.

use std::{collections::BTreeSet, time::Duration};

use portolan_core::{
    health::vantage::{FRESH_FOR, Provenance},
    model::{ids::CheckIdx, time::Now, verdict::Health},
};

use super::{Invariant, running};
use crate::{happened::Happened, station::Process, world::World};

pub(crate) struct ProvenByMajority;

impl Invariant for ProvenByMajority {
    fn name(&self) -> &'static str {
        "proven_by_majority"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Published { id, .. } if world.stations[id].is_awake() => {
                let station = &world.stations[id];
                station.process.as_ref().map_or(Ok(()), |process| judge(world, id, process, station.now(world.now)))
            }
            Happened::Second => running(world).try_for_each(|(id, process, now)| judge(world, id, process, now)),
            _ => Ok(()),
        }
    }
}

fn judge(world: &World, id: usize, process: &Process, now: Now) -> Result<(), String> {
    let (vantage, book) = (process.node.vantage(), process.node.book());
    let all = world.vantage_regions();
    let home = world.stations[id].region;
    let oldest = world.now - (FRESH_FOR + world.blur() + Duration::from_millis(100));
    for check in (0..book.len()).map(CheckIdx::at) {
        let Provenance::Proven(votes) = vantage.provenance(check, now.tick) else { continue };
        let n = usize::from(votes.regions_for + votes.against + votes.silent);
        let name = &world.stations[id].name;
        if n != all.len() || usize::from(votes.regions_for) * 2 <= n {
            return Err(format!("{name} takes check {} for proven: {votes:?} of {} vantage regions", check.0, all.len()));
        }
        let (health, key) = (vantage.health(book, check), vantage.key(check).expect("invariant: a check of the plan"));
        let says = |other: usize| {
            let said = world.said.get(&(key, other))?;
            let at = if health == Health::Up { said.0 } else { said.1 };
            let region = world.stations[other].region;
            let is_heard = region == home || world.truth.word(home, region) >= oldest;
            at.filter(|at| *at >= oldest && is_heard).map(|_| region)
        };
        let agree: BTreeSet<usize> = (0..world.stations.len()).filter_map(says).filter(|region| all.contains(region)).collect();
        if health == Health::Unknown || agree.len() * 2 <= all.len() {
            return Err(format!(
                "{name} takes check {} for proven {health} by {} of {n} regions; only regions {agree:?} of {all:?} said so and could be heard: {}",
                check.0,
                votes.regions_for,
                vantage.explain(check, now.tick).map_or_else(String::new, |it| it.render())
            ));
        }
    }
    Ok(())
}
