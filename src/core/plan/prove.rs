//! Proves strict residency fences of a resolved plan.

use super::check::Findings;
use crate::{
    document::Path,
    model::{
        ids::{RegionIdx, ServiceIdx},
        topology::{AllDown, ResidencyMode, Service, Steering, Target, Topology},
    },
    steering::prove::{Breach, prove_residency},
};

/// What a proof depends on: services that agree in it share one, so that ten thousand alike cost as much as one.
#[derive(PartialEq, Eq)]
struct Shape<'a> {
    steering: &'a Steering,
    all_down: AllDown,
    has_backup: bool,
    /// Per pool: its region, and whether it has IPv4, IPv6 and named endpoints.
    pools: Vec<(RegionIdx, [bool; 3])>,
}

/// Tries every combination of failures for every strictly fenced service. An empty result is the proof.
#[must_use]
pub fn prove(topology: &Topology) -> Findings {
    let mut findings = Findings::default();
    let mut proved: Vec<(Shape<'_>, Vec<Breach>)> = Vec::new();
    for (position, service) in topology.services.iter().enumerate() {
        if service.steering.residency.as_ref().is_none_or(|residency| residency.mode != ResidencyMode::Strict) {
            continue;
        }
        let shape = shape(topology, service);
        let known = proved.iter().position(|(known, _)| *known == shape).unwrap_or_else(|| {
            let breaches = prove_residency(topology, ServiceIdx::at(position)).err().unwrap_or_default();
            proved.push((shape, breaches));
            proved.len() - 1
        });
        for breach in &proved[known].1 {
            let path = Path::root().key("services").key(&service.name).key("residency");
            findings.error(path, breach.to_string(), "widen the fence, add a region inside it, or use `mode: prefer`");
        }
    }
    findings
}

fn shape<'a>(topology: &Topology, service: &'a Service) -> Shape<'a> {
    let pools = service.pools.iter().map(|pool| {
        let mut kinds = [false; 3];
        for endpoint in pool.endpoints() {
            match &topology.endpoints[endpoint.get()].target {
                Target::Address(address) => kinds[usize::from(address.is_ipv6())] = true,
                Target::Name(_) => kinds[2] = true,
            }
        }
        (pool.region, kinds)
    });
    Shape { steering: &service.steering, all_down: service.all_down, has_backup: !service.backup.is_empty(), pools: pools.collect() }
}
