//! All nodes with the same entries have the same state, octet by octet, snapshots in between or not; and its audit chain is whole.

use super::{Invariant, running};
use crate::{
    happened::Happened,
    log::{SNAPSHOT_EVERY, digest},
    world::World,
};

pub(crate) struct OneState;

impl Invariant for OneState {
    fn name(&self) -> &'static str {
        "one_state"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Applied { id, index } => judge(world, id, index),
            Happened::Settled => {
                let end = world.log.end();
                let looked_at = usize::try_from(world.n_turns).unwrap_or(0) % world.stations.len();
                running(world).try_for_each(|(id, process, _)| {
                    let name = &world.stations[id].name;
                    if process.applied != end {
                        return Err(format!("{name} has {} of {end} entries", process.applied));
                    }
                    if id == looked_at {
                        process.state.audit().verify().map_err(|broken| format!("{name}: {broken}"))?;
                    }
                    // Equal states have equal octets; that, too, is looked at, on one node.
                    let is_same = process.state == world.log.state;
                    if !is_same || (id == looked_at && process.state.snapshot() != world.log.state.snapshot()) {
                        return Err(format!("after entry {end} the state of {name} has other octets than the others'"));
                    }
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }
}

/// The head of the chain covers every entry with its outcome; all octets are compared where there is a snapshot, on some nodes.
fn judge(world: &World, id: usize, index: u64) -> Result<(), String> {
    let Some(process) = world.stations[id].process.as_ref() else { return Ok(()) };
    let name = &world.stations[id].name;
    if let Some(halt) = process.state.halted() {
        return Err(format!("{name} applies nothing more: {halt}"));
    }
    let head = process.state.audit().head();
    if head.hash != world.log.heads[usize::try_from(index).expect("invariant: few") - 1] {
        return Err(format!("after entry {index} the audit chain of {name} has another head than the others'"));
    }
    let is_turn = (id as u64 + index / SNAPSHOT_EVERY).is_multiple_of(3);
    let wanted = world.log.digests.get(&index).filter(|_| is_turn);
    if wanted.is_none_or(|wanted| *wanted == digest(&process.state.snapshot())) {
        return Ok(());
    }
    Err(format!("after entry {index} the state of {name} has other octets than the others'"))
}
