//! When everything is mended, within a stated time one leads, all members know it, and a command goes through.

use crate::{happened::Happened, invariants::Invariant, world::World};

pub(crate) struct OneLeader;

impl Invariant for OneLeader {
    fn name(&self) -> &'static str {
        "one_leader"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        if !matches!(happened, Happened::Settled) {
            return Ok(());
        }
        let Some(leader) = world.leader() else { return Err("nobody leads".to_owned()) };
        let lead = world.agreement.seats[leader].id;
        for (id, seat) in world.agreement.seats.iter().enumerate() {
            let Some(host) = seat.host.as_ref().filter(|host| host.is_member()) else { continue };
            let known = host.leads();
            if known != lead {
                return Err(format!("{} takes {known:x?} for the leader, and {lead:x?} leads", world.stations[id].name));
            }
        }
        if let Some((request, false)) = &world.agreement.probe {
            return Err(format!("command {request} did not go through"));
        }
        if let Some((old, id)) = world.agreement.lost {
            return Err(format!("{} was not replaced: voter {old:x} is gone with its disk", world.stations[id].name));
        }
        Ok(())
    }
}
