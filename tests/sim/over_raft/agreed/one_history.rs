//! Of each place in the log all nodes apply the same entry, for ever: what was applied once is never another one's place (state machine safety).

use std::{collections::BTreeMap, sync::Arc};

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

#[derive(Default)]
pub(crate) struct OneHistory {
    /// By index: what was applied there, and where first.
    entries: BTreeMap<u64, (Arc<[u8]>, usize)>,
}

impl Invariant for OneHistory {
    fn name(&self) -> &'static str {
        "one_history"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        if let Happened::Agreed { fact: Fact::Forced { last }, .. } = *happened {
            // What only the lost side had is void; nothing else ever is.
            self.entries.split_off(&(last + 1));
        }
        let Happened::Agreed { id, fact: Fact::Applied { index, octets } } = *happened else { return Ok(()) };
        if world.is_left_behind(id) {
            return Ok(());
        }
        let name = &world.stations[id].name;
        let last = self.entries.last_key_value().map_or(0, |(last, _)| *last);
        match self.entries.get(index) {
            Some((known, _)) if known == octets => Ok(()),
            Some((_, first)) => {
                let first = &world.stations[*first].name;
                Err(format!("{name} applies another entry {index} than {first} did"))
            }
            None if *index < last => Err(format!("{name} applies entry {index}, where others had no command")),
            None => {
                self.entries.insert(*index, (Arc::clone(octets), id));
                Ok(())
            }
        }
    }
}
