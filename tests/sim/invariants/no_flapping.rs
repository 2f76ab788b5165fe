//! In quiet no verdict changes: also where nodes run two versions of the plan side by side.

use std::collections::BTreeMap;

use portolan_core::model::verdict::Health;

use super::{Invariant, convergence::checks, running};
use crate::{happened::Happened, plan::Site, station::Process, world::World};

/// What each node took each site for when everything had come to rest.
#[derive(Default)]
pub(crate) struct NoFlapping {
    settled: BTreeMap<usize, (u64, BTreeMap<Site, Health>)>,
}

fn verdicts(process: &Process) -> BTreeMap<Site, Health> {
    let vantage = process.node.vantage();
    checks(process).map(|(check, target)| (target, vantage.health(process.node.book(), check))).collect()
}

impl Invariant for NoFlapping {
    fn name(&self) -> &'static str {
        "no_flapping"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Settled => {
                self.settled = running(world).map(|(id, process, _)| (id, (world.stations[id].revision, verdicts(process)))).collect();
            }
            Happened::Published { id, .. } if world.is_settled => {
                let Some(process) = world.stations[id].process.as_ref() else { return Ok(()) };
                let Some((revision, before)) = self.settled.get(&id) else { return Ok(()) };
                if *revision != world.stations[id].revision {
                    // Loaded in the quiet: what the new plan adds is judged anew.
                    self.settled.remove(&id);
                    return Ok(());
                }
                let after = verdicts(process);
                if *before != after {
                    return Err(format!("{} changes {before:?} to {after:?} although nothing happens", world.stations[id].name));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
