//! A disk that lost its power in the middle of a write, torn or not, opens again, and a node goes on with what it holds.

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

pub(crate) struct DiskOutlivesPower;

impl Invariant for DiskOutlivesPower {
    fn name(&self) -> &'static str {
        "disk_outlives_power"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Agreed { id, fact: Fact::CannotStart(why) } => Err(format!("{} cannot start: {why}", world.stations[id].name)),
            _ => Ok(()),
        }
    }
}
