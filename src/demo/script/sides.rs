//! Both sides of a cut, looked at again and again: whether anybody takes away what is healthy.

use std::collections::BTreeSet;

use portolan_core::{
    model::verdict::Health,
    node::report::{EndpointStatus, Status},
};

use super::LOST;
use crate::{
    cli::Failure,
    demo::{plan::PLACES, stage::Stage},
};

/// Withdrawals, each with the node and the endpoint, and how often it was looked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By nodes outside the region, of endpoints outside it.
    pub(super) of_healthy: BTreeSet<(String, String)>,
    /// By nodes of the region, of any endpoint.
    pub(super) by_cut_off: BTreeSet<(String, String)>,
    /// Pictures of nodes that were looked at.
    pub(super) looks: u64,
    /// The endpoint that was drained on purpose; it counts no more from then on.
    pub(super) ordered: Option<String>,
}

impl Counts {
    /// Looks at every node once, and gives what they say.
    pub(super) async fn look(&mut self, stage: &Stage) -> Result<Vec<Status>, Failure> {
        let mut all = Vec::new();
        for node in stage.nodes.iter().filter(|node| node.is_running()) {
            let status = node.status().await?;
            let is_inside = node.region == Some(LOST);
            // A name that follows a primary leads to one member and to none of the others, without anybody's judgement.
            let judged = status.services.iter().filter(|service| service.steering != "primary");
            for endpoint in judged.flat_map(|service| &service.endpoints) {
                let is_ordered = self.ordered.as_deref() == Some(&endpoint.name);
                if is_ordered || !is_withdrawn(endpoint) {
                    continue;
                }
                let pair = (node.name.clone(), endpoint.name.clone());
                if is_inside {
                    self.by_cut_off.insert(pair);
                } else if endpoint.region != PLACES[LOST].name {
                    self.of_healthy.insert(pair);
                }
            }
            self.looks += 1;
            all.push(status);
        }
        Ok(all)
    }
}

/// Clients do not get it from this node.
fn is_withdrawn(endpoint: &EndpointStatus) -> bool {
    endpoint.observed == Health::Down || !endpoint.served
}
