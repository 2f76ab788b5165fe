//! Of each place in the log all nodes apply the same entry, for ever: what was applied once is never another one's place (state machine safety).

use std::{collections::BTreeMap, sync::Arc};

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

#[derive(Default)]
pub(crate) struct OneHistory {
    /// By index: what was applied there, and where first.
    entries: BTreeMap<u64, (Arc<[u8]>, usize)>,
    /// By machine: the process that ran there, and the entry that it applied last.
    ends: BTreeMap<usize, (u64, u64)>,
}

impl Invariant for OneHistory {
    fn name(&self) -> &'static str {
        "one_history"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Agreed { id, fact } = *happened else { return Ok(()) };
        let (index, octets) = match fact {
            Fact::Forced { last } => {
                // What only the lost side had is void; nothing else ever is.
                self.entries.split_off(&(last + 1));
                self.ends.clear();
                return Ok(());
            }
            Fact::Restored { .. } => {
                self.ends.remove(&id);
                return Ok(());
            }
            Fact::Applied { index, octets } if !world.is_left_behind(id) => (*index, octets),
            _ => return Ok(()),
        };
        let name = &world.stations[id].name;
        let number = world.stations[id].number;
        let end = self.ends.insert(id, (number, index)).filter(|(of, end)| *of == number && *end < index).map(|(_, end)| end);
        if let Some(end) = end
            && let Some((skipped, (_, first))) = self.entries.range(end + 1..index).next()
        {
            let first = &world.stations[*first].name;
            return Err(format!("{name} applies entry {index} after {end}, and has no command {skipped}, which {first} applied"));
        }
        let last = self.entries.last_key_value().map_or(0, |(last, _)| *last);
        match self.entries.get(&index) {
            Some((known, _)) if known == octets => Ok(()),
            Some((_, first)) => {
                let first = &world.stations[*first].name;
                Err(format!("{name} applies another entry {index} than {first} did"))
            }
            None if index < last => Err(format!("{name} applies entry {index}, where others had no command")),
            None => {
                self.entries.insert(index, (Arc::clone(octets), id));
                Ok(())
            }
        }
    }
}
