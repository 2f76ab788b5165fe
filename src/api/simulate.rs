//! `SimulateService`: what would happen if regions failed.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{
    proto::{SimulateRequest, SimulateResponse, simulate_service_server::SimulateService},
    refusal::{self, Reason, bad_field},
    source::{ControlSource, Simulation},
};

/// Simulations at a time: each takes a core for seconds on the largest plans, beside the one that answers.
const SIMULATIONS_MAX: usize = 1;
/// The most regions that are named; a plan has no more.
const REGIONS_MAX: usize = portolan_core::model::ids::REGIONS_MAX;

/// The service over a source.
pub struct SimulateApi {
    source: Arc<dyn ControlSource>,
    places: Arc<Semaphore>,
}

impl SimulateApi {
    pub(super) fn new(source: Arc<dyn ControlSource>) -> Self {
        Self { source, places: Arc::new(Semaphore::new(SIMULATIONS_MAX)) }
    }
}

#[tonic::async_trait]
impl SimulateService for SimulateApi {
    async fn simulate(&self, request: Request<SimulateRequest>) -> Result<Response<SimulateResponse>, Status> {
        let SimulateRequest { fail_regions: fail, rps } = request.into_inner();
        if fail.len() > REGIONS_MAX {
            return Err(bad_field("fail_regions", format!("names {} regions; at most {REGIONS_MAX}", fail.len())));
        }
        let busy = |_| Reason::BusySimulating.status("a simulation is under way on this node", "", &[]);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let source = Arc::clone(&self.source);
        // On a task of its own: who hangs up must not make room for another one while this one still runs.
        let outcome = tokio::spawn(async move {
            let _place = place;
            source.simulate(Simulation { fail, rps }).await
        });
        let outcome = outcome.await.map_err(|_| refusal::stopping())?.map_err(|error| refusal::report(&error))?;
        Ok(Response::new((&outcome).into()))
    }
}
