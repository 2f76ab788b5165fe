//! In quiet nobody stands for election.

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

pub(crate) struct QuietTerms;

impl Invariant for QuietTerms {
    fn name(&self) -> &'static str {
        "quiet_terms"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Agreed { id, fact: Fact::Stands { vote, .. } } if world.is_settled => {
                Err(format!("{} stands for election in quiet, with {vote:x?}", world.stations[id].name))
            }
            _ => Ok(()),
        }
    }
}
