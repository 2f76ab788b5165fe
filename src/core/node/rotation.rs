//! When each endpoint left rotation: what `last_good` answers follow from it.
//!
//! Kept per endpoint, not as a set per service: which endpoints were "usable last" differs by the address family and the residency fence of
//! who asks.

use std::collections::BTreeMap;

use crate::{
    model::{ids::EndpointIdx, time::Timestamp},
    table::{EndpointState, Tier, World},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// What was never in rotation was never good.
    Never,
    In,
    Left(Timestamp),
}

/// Per endpoint: in rotation, or when it was last.
///
/// On the wall clock, because it outlives the process. A step of that clock backwards lets who left before it seem later than who left after it.
#[derive(Clone, Debug)]
pub(super) struct Rotation(Vec<Place>);

impl Rotation {
    /// Nothing was ever in rotation.
    pub(super) fn new(world: &World) -> Self {
        Self(vec![Place::Never; world.topology.endpoints.len()])
    }

    /// Notes where the endpoint stands, and in its state since when it is out.
    pub(super) fn note(&mut self, endpoint: EndpointIdx, state: &mut EndpointState, now: Timestamp) {
        let place = &mut self.0[endpoint.get()];
        if state.tier() == Tier::Up {
            *place = Place::In;
        } else if *place == Place::In {
            *place = Place::Left(now);
        }
        state.left = match *place {
            Place::Left(at) => Some(at),
            Place::Never | Place::In => None,
        };
    }

    /// By name, as it outlives process and plan: `None` is in rotation; who never was is not named.
    pub(super) fn save(&self, world: &World) -> BTreeMap<String, Option<Timestamp>> {
        let known = self.0.iter().enumerate().filter_map(|(position, place)| match *place {
            Place::Never => None,
            Place::In => Some((position, None)),
            Place::Left(at) => Some((position, Some(at))),
        });
        known.map(|(position, left)| (world.topology.endpoint_name(EndpointIdx::at(position)), left)).collect()
    }

    /// What [`save`] gave, for the endpoints of `world`.
    ///
    /// [`save`]: Self::save
    pub(super) fn restored(world: &World, saved: &BTreeMap<String, Option<Timestamp>>) -> Self {
        let place_of = |position| match saved.get(&world.topology.endpoint_name(EndpointIdx::at(position))) {
            None => Place::Never,
            Some(None) => Place::In,
            Some(Some(at)) => Place::Left(*at),
        };
        Self((0..world.topology.endpoints.len()).map(place_of).collect())
    }
}
