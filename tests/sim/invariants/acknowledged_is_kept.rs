//! 4: an acknowledged command is in every later state, on every node, once, until it ends or is taken back.
//!
//! Judged by a model of orders that knows nothing of the core: a map, and four sorts of entries.

use portolan_core::model::ids::Label;

use super::{Invariant, running};
use crate::{happened::Happened, log::Order, world::World};

pub(crate) struct AcknowledgedIsKept;

impl Invariant for AcknowledgedIsKept {
    fn name(&self) -> &'static str {
        "acknowledged_is_kept"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Applied { id, index } => judge(world, id, index),
            Happened::Settled => running(world).try_for_each(|(id, process, _)| judge(world, id, process.applied)),
            _ => Ok(()),
        }
    }
}

fn judge(world: &World, id: usize, index: u64) -> Result<(), String> {
    let Some(process) = world.stations[id].process.as_ref() else { return Ok(()) };
    let wanted = world.log.orders_at(index);
    let held = process.state.overrides();
    let as_order = |it: &portolan_core::health::overlay::Override| -> Option<(Label, Order)> {
        Some((it.id.clone(), Order { kind: it.kind, scope: it.scope.clone(), until: it.until?, why: it.why.clone() }))
    };
    let held: Option<std::collections::BTreeMap<Label, Order>> = held.iter().map(as_order).collect();
    if held.as_ref() == Some(&*wanted) {
        return Ok(());
    }
    Err(format!("after entry {index} {} holds {held:?}, and {wanted:?} was acknowledged", world.stations[id].name))
}
