//! In quiet no verdict changes: also where nodes run two versions of the plan side by side.

use std::collections::BTreeMap;

use portolan_core::{
    health::vantage::Provenance,
    model::{time::Now, verdict::Health},
};

use super::{Invariant, convergence::checks, running};
use crate::{happened::Happened, plan::Site, station::Process, world::World};

/// What each node took each site for when everything had come to rest.
#[derive(Default)]
pub(crate) struct NoFlapping {
    settled: BTreeMap<usize, (u64, Verdicts)>,
}

/// Of each site, and whether it is held.
type Verdicts = BTreeMap<Site, (Health, bool)>;

fn verdicts(process: &Process, now: Now) -> Verdicts {
    let vantage = process.node.vantage();
    let verdict = |check| {
        let is_held = matches!(vantage.provenance(check, now.tick), Provenance::Held { .. });
        (vantage.health(process.node.book(), check), is_held)
    };
    checks(process).map(|(check, target)| (target, verdict(check))).collect()
}

/// What differs, but for a hold that ended: a check that no other node's plan has any more is held as it was proven, then goes once to what
/// this node sees by itself.
fn flaps(before: &mut Verdicts, after: &Verdicts) -> bool {
    for (target, verdict) in before.iter_mut().filter(|(_, (_, is_held))| *is_held) {
        match after.get(target) {
            Some(new) if !new.1 => *verdict = *new,
            Some(_) | None => {}
        }
    }
    let health = |verdicts: &Verdicts| -> Vec<(Site, Health)> { verdicts.iter().map(|(target, (health, _))| (*target, *health)).collect() };
    health(before) != health(after)
}

impl Invariant for NoFlapping {
    fn name(&self) -> &'static str {
        "no_flapping"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Settled => {
                self.settled =
                    running(world).map(|(id, process, now)| (id, (world.stations[id].revision, verdicts(process, now)))).collect();
            }
            Happened::Published { id, .. } if world.is_settled => {
                let Some(process) = world.stations[id].process.as_ref() else { return Ok(()) };
                let Some((revision, before)) = self.settled.get_mut(&id) else { return Ok(()) };
                if *revision != world.stations[id].revision {
                    // Loaded in the quiet: what the new plan adds is judged anew.
                    self.settled.remove(&id);
                    return Ok(());
                }
                let after = verdicts(process, world.stations[id].now(world.now));
                if flaps(before, &after) {
                    return Err(format!("{} changes {before:?} to {after:?} although nothing happens", world.stations[id].name));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
