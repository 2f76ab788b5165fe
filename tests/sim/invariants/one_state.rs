//! All nodes with the same entries have the same state, octet by octet, snapshots in between or not; and its audit chain is whole.

use super::{Invariant, running};
use crate::{happened::Happened, log::digest, world::World};

/// Every so many entries all octets are compared; the head of the chain, which covers every entry, always.
const COMPARED: u64 = 4;

pub(crate) struct OneState;

impl Invariant for OneState {
    fn name(&self) -> &'static str {
        "one_state"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Applied { id, index } => judge(world, id, index, index.is_multiple_of(COMPARED)),
            Happened::Settled => {
                let end = world.log.end();
                running(world).try_for_each(|(id, process, _)| {
                    if process.applied != end {
                        return Err(format!("{} has {} of {end} entries", world.stations[id].name, process.applied));
                    }
                    judge(world, id, end, true)
                })
            }
            _ => Ok(()),
        }
    }
}

fn judge(world: &World, id: usize, index: u64, whole: bool) -> Result<(), String> {
    let Some(process) = world.stations[id].process.as_ref() else { return Ok(()) };
    let name = &world.stations[id].name;
    if let Some(halt) = process.state.halted() {
        return Err(format!("{name} applies nothing more: {halt}"));
    }
    if !whole {
        return Ok(());
    }
    process.state.audit().verify().map_err(|broken| format!("{name}: {broken}"))?;
    let position = usize::try_from(index).expect("invariant: few") - 1;
    if digest(&process.state.snapshot()) == world.log.digests[position] {
        return Ok(());
    }
    Err(format!(
        "after entry {index} the state of {name} has other octets than the others', audit head {}",
        process.state.audit().head().hash
    ))
}
