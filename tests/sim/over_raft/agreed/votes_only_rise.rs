//! A voter never goes back on its vote, for as long as its disk lasts: so of two leaders a majority follows the later one only.
//!
//! openraft orders votes by term and then by candidate, so that a later candidate of the same term may take a vote over. "One leader per
//! term" is therefore one leader per vote here, and no voter may give a lower vote than it ever gave.

use std::collections::BTreeMap;

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

#[derive(Default)]
pub(crate) struct VotesOnlyRise {
    /// By id: the highest vote that it gave.
    highest: BTreeMap<u64, (u64, u64)>,
}

impl Invariant for VotesOnlyRise {
    fn name(&self) -> &'static str {
        "votes_only_rise"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Agreed { id, fact } = *happened else { return Ok(()) };
        let (Fact::Voted { voter, vote } | Fact::Stands { id: voter, vote }) = fact else { return Ok(()) };
        let highest = self.highest.entry(*voter).or_default();
        if vote < highest {
            let name = &world.stations[id].name;
            return Err(format!("{name} gives its vote {vote:x?} after it gave {highest:x?}"));
        }
        *highest = *vote;
        Ok(())
    }
}
