//! Pre-vote: nobody spends a term before another voter said that it would vote so, unless leadership is handed to it. So a voter that was cut
//! off unseats nobody when it comes back.

use std::collections::{BTreeMap, BTreeSet};

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

#[derive(Default)]
pub(crate) struct AskedBeforeStanding {
    /// Those who were told so, and the term in which they then stood.
    may_stand: BTreeSet<u64>,
    stood: BTreeMap<u64, u64>,
}

impl Invariant for AskedBeforeStanding {
    fn name(&self) -> &'static str {
        "asked_before_standing"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Agreed { id, fact } = *happened else { return Ok(()) };
        match fact {
            Fact::WouldVote { candidate: it } | Fact::AskedToLead { id: it } => {
                self.may_stand.insert(*it);
            }
            Fact::Stands { id: it, vote: (term, _) } => {
                // One election is told of once per voter that is asked.
                let is_same = self.stood.insert(*it, *term) == Some(*term);
                if !self.may_stand.remove(it) && !is_same {
                    return Err(format!("{} stands for election in term {term}, and nobody would vote for it", world.stations[id].name));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
