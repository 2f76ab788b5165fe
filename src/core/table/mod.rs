//! The routing table: everything that an answer depends on, in one immutable value.
//!
//! Queries read it; a change makes a new one that shares all that did not change, and the daemon swaps the pointer. No lock, no clock.

pub mod role;
#[cfg(test)]
mod tests;
pub mod view;

use std::sync::Arc;

pub use role::RoleView;
pub use view::{EndpointState, Family, Member, PoolView, ServiceView, Tier};

use crate::{
    geo::{GeoMap, ProfileIdx, Profiles},
    model::{
        ids::{EndpointIdx, ServiceIdx},
        time::Timestamp,
        topology::{Service, Topology},
    },
    zone::ZoneIndex,
};

/// What the table takes from the plan and the geo database: changes with them only.
#[derive(Debug)]
pub struct World {
    /// The plan, resolved.
    pub topology: Arc<Topology>,
    /// Where clients are, as far as the plan's regions are concerned.
    pub geo: Arc<GeoMap>,
    /// Which name is what.
    pub zones: ZoneIndex,
    /// The distinct geographic profiles of the services; `geo` was built for them.
    profiles: Profiles,
}

impl World {
    /// Joins plan and geo map. `geo` must have been built for the [`Profiles`] of this topology.
    #[must_use]
    pub fn new(topology: Arc<Topology>, geo: Arc<GeoMap>) -> Self {
        let profiles = Profiles::of(&topology);
        let hostnames = topology.services.iter().enumerate();
        let hostnames = hostnames.flat_map(|(i, service)| service.hostnames.iter().map(move |name| (name.clone(), ServiceIdx::at(i))));
        let zones = ZoneIndex::build(&topology.zones, hostnames);
        Self { topology, geo, zones, profiles }
    }

    /// The service at this position.
    #[must_use]
    pub fn service(&self, service: ServiceIdx) -> &Service {
        &self.topology.services[service.get()]
    }

    /// The profile of a service in the geo map.
    #[must_use]
    pub fn profile(&self, service: ServiceIdx) -> ProfileIdx {
        self.profiles.of_service(service)
    }
}

/// The routing table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Grows with each new table of this process.
    pub generation: u64,
    /// What comes from the plan and the geo database.
    pub world: Arc<World>,
    /// Per service.
    pub views: Vec<Arc<ServiceView>>,
    /// `Some`: made from what a former process left behind at that time, and not judged anew yet; answers say so.
    pub stale_since: Option<Timestamp>,
}

impl Table {
    /// Compiles every service. Cost: linear in endpoints.
    #[must_use]
    pub fn compile(generation: u64, world: Arc<World>, mut state_of: impl FnMut(EndpointIdx) -> EndpointState) -> Self {
        let services = (0..world.topology.services.len()).map(ServiceIdx::at);
        let views = services.map(|service| Arc::new(ServiceView::compile(&world.topology, service, &mut state_of))).collect();
        Self { generation, world, views, stale_since: None }
    }

    /// The same table with these services compiled anew; all others are shared. Cost: linear in services (a pointer each) and in the
    /// endpoints of those that changed.
    #[must_use]
    pub fn with_changes(
        &self,
        services: impl IntoIterator<Item = ServiceIdx>,
        mut state_of: impl FnMut(EndpointIdx) -> EndpointState,
    ) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        for service in services {
            next.views[service.get()] = Arc::new(ServiceView::compile(&self.world.topology, service, &mut state_of));
        }
        next
    }

    /// Says who holds the role that the names of a service follow.
    pub fn set_role(&mut self, service: ServiceIdx, role: RoleView) {
        Arc::make_mut(&mut self.views[service.get()]).role = role;
    }

    /// The view of a service.
    #[must_use]
    pub fn view(&self, service: ServiceIdx) -> &ServiceView {
        &self.views[service.get()]
    }
}
