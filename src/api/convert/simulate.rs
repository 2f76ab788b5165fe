//! What would happen, to the wire.

use portolan_core::simulate::{Outcome, RegionOutcome};

use super::duration_out;
use crate::api::proto;

impl From<&Outcome> for proto::SimulateResponse {
    fn from(outcome: &Outcome) -> Self {
        Self {
            regions: outcome.regions.iter().map(region_out).collect(),
            share_moved: outcome.moved.points().into(),
            share_unserved: outcome.unserved.points().into(),
            detection_refused: Some(duration_out(outcome.detection_refused)),
            detection_hung: Some(duration_out(outcome.detection_hung)),
            ttl_tail: Some(duration_out(outcome.ttl_tail)),
            safe_rps_before: outcome.safe_rps.0,
            safe_rps_after: outcome.safe_rps.1,
            refusals: outcome.refusals.clone(),
        }
    }
}

fn region_out(region: &RegionOutcome) -> proto::simulate_response::Region {
    proto::simulate_response::Region {
        name: region.name.clone(),
        failed: region.failed,
        share_before: region.before.points().into(),
        share_after: region.after.points().into(),
        rps_after: region.rps_after,
        capacity_rps: region.capacity_rps,
        overloaded: region.overloaded,
    }
}
