//! Regions, and their share of the traffic.

use std::sync::Arc;

use ipnet::IpNet;

use super::HealthChecks;
use crate::{
    document::{PlainName, Table},
    model::{ids::Label, units::Code},
    section,
};

section! {
    /// A place where the product runs.
    pub struct Region {
        /// Degrees north.
        latitude: Option<f64> where (-90.0..=90.0) = None,
        /// Degrees east.
        longitude: Option<f64> where (-180.0..=180.0) = None,
        /// Two letters, as in geo databases.
        continent: Option<Continent> = None,
        /// ISO 3166-1 alpha-2.
        country: Option<Code> = None,
        /// Whose law rules there; what residency fences name.
        jurisdiction: Option<Label> = None,
        /// What it can carry.
        capacity: Option<Capacity> = None,
        /// Client networks that belong here, before any geo database.
        networks: Vec<IpNet> = Vec::new(),
        /// The cluster that runs there.
        cluster_config: Option<ClusterConfig> = None,
        /// Its network.
        network_config: Option<NetworkConfig> = None,
    }
}

crate::words! {
    /// Continents as geo databases name them.
    pub enum Continent("a continent") {
        /// Africa.
        Africa = "AF",
        /// Antarctica.
        Antarctica = "AN",
        /// Asia.
        Asia = "AS",
        /// Europe.
        Europe = "EU",
        /// North America.
        NorthAmerica = "NA",
        /// Oceania.
        Oceania = "OC",
        /// South America.
        SouthAmerica = "SA",
    }
}

section! {
    /// What a region can carry.
    pub struct Capacity {
        /// Requests per second.
        requests_per_second: u64,
    }
}

section! {
    /// The cluster of a region.
    pub struct ClusterConfig {
        /// Its name: a label.
        name: PlainName,
        /// Its failure domain: a label.
        zone: Option<PlainName> = None,
        /// Its node pools: the survivors' largest sizes must carry a lost region.
        node_pools: Vec<NodePool> = Vec::new(),
    }
}

section! {
    /// A pool of equal machines.
    pub struct NodePool {
        /// Its name; pools of one name in several regions are compared.
        name: PlainName,
        /// How many machines there are at least.
        min_size: u32,
        /// How many machines there are at most.
        max_size: u32,
        /// The machines' type; equal in all regions, or a warning.
        machine_type: Option<PlainName> = None,
    }
}

section! {
    /// The network of a region.
    pub struct NetworkConfig {
        /// The network's name; each region has its own.
        vpc_name: PlainName,
        /// Addresses of nodes.
        subnet_ranges: Vec<IpNet> = Vec::new(),
        /// Addresses of pods and services.
        secondary_ranges: Vec<IpNet> = Vec::new(),
    }
}

section! {
    /// A region's share of the traffic.
    pub struct Routing {
        /// Share among regions; 0 is standby: used only when no region with a positive weight is usable. Left out: 1.
        weight: Option<u16> = None,
        /// The lower is preferred where priority counts. Left out: 1.
        priority: Option<u16> = None,
        /// How the region's endpoints are probed.
        health_checks: Option<Arc<HealthChecks>> = None,
    }
}

/// Per region, in the plan's order.
pub type RoutingTable = Table<Label, Routing>;
