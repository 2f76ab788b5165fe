//! A replayed or out-of-order observation changes nothing: it is refused, and no verdict and no effect follows.

use super::Invariant;
use crate::{happened::Happened, world::World};

pub(crate) struct Replays;

impl Invariant for Replays {
    fn name(&self) -> &'static str {
        "replays"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        match *happened {
            Happened::Replayed { id, report, is_refused, changed } if changed || !is_refused => {
                let what = if changed { "changes something" } else { "is taken for new" };
                Err(format!("{report}, told to {} again, {what}", world.stations[id].name))
            }
            _ => Ok(()),
        }
    }
}
