//! 4: what was acknowledged to whom asked for it is in the log that all nodes apply, with this outcome, once.
//!
//! That nobody loses it again is [`super::one_history`]: entries never change. A side that a forced quorum left behind is a cluster of its own.

use crate::{agreement::Fact, happened::Happened, invariants::Invariant, world::World};

pub(crate) struct AcknowledgedIsCommitted;

impl Invariant for AcknowledgedIsCommitted {
    fn name(&self) -> &'static str {
        "acknowledged_is_committed"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Agreed { id, fact: Fact::Acknowledged { request, index, outcome, repeated } } = *happened else { return Ok(()) };
        if world.is_left_behind(id) {
            return Ok(());
        }
        let agreement = &world.agreement;
        match agreement.requests.get(index) {
            None => return Err(format!("request {request:?} was acknowledged as entry {index}, which nobody has applied")),
            Some(known) if known != request => {
                return Err(format!("request {request:?} was acknowledged as entry {index}, which is request {known:?}"));
            }
            Some(_) => {}
        }
        let Some(request) = request else { return Ok(()) };
        let known = agreement.outcomes.get(request);
        if known == Some(outcome) {
            return Ok(());
        }
        Err(format!("request {request} was acknowledged as {outcome} (repeated: {repeated}), and {known:?} came of it"))
    }
}
