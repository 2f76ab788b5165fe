//! The lost side never comes back into the new generation: who was left behind by a forced quorum learns nothing of it, is led by nobody of
//! it, and leads nobody of it, until its disk is emptied.
//!
//! What they tell observers is not judged: whoever follows one of them hears nothing new, and goes on to another voter when it is emptied.

use portolan_core::cluster::{Change, Entry, FEATURE_LEVEL};

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

pub(crate) struct LostStayOut;

impl Invariant for LostStayOut {
    fn name(&self) -> &'static str {
        "lost_stay_out"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Agreed { id, fact: Fact::Applied { octets, .. } } if world.is_left_behind(id) => {
                let entry = Entry::decode(octets, FEATURE_LEVEL).map_err(|halt| halt.to_string())?;
                let generation = world.agreement.seats[id].id.and_then(|own| world.agreement.left_behind.get(&own).copied());
                match entry.change {
                    Change::RaiseGeneration { generation: it, .. } if Some(it) >= generation => {
                        Err(format!("{} was left behind and applies generation {it}", world.stations[id].name))
                    }
                    _ => Ok(()),
                }
            }
            Happened::Second => {
                let behind = &world.agreement.left_behind;
                for (id, seat) in world.agreement.seats.iter().enumerate() {
                    let Some(leader) = seat.host.as_ref().filter(|host| !host.is_idle).and_then(|host| host.leads()) else { continue };
                    if world.is_left_behind(id) != behind.contains_key(&leader) {
                        let name = &world.stations[id].name;
                        return Err(format!("{name} is led by {leader:x}, and one of the two was left behind by the other's side"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
