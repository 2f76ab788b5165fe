//! Who stands on which check: looked up at each change of judgement, so worked out once per plan.

use std::collections::BTreeMap;

use crate::model::{
    check::ProbeKind,
    ids::{CheckIdx, EndpointIdx, Label, RegionSet, ServiceIdx},
    topology::Topology,
};

/// Positions by check, for one topology.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckIndex {
    /// Of endpoints that the check itself judges. A calculated check that changes with another is touched itself.
    services: Vec<Vec<ServiceIdx>>,
    /// Of endpoints that stand on the check, also through calculated ones.
    regions: Vec<RegionSet>,
    /// The first endpoint that the check judges, and how many there are.
    endpoints: Vec<(Option<EndpointIdx>, usize)>,
    names: BTreeMap<CheckIdx, Label>,
    /// Of members of data groups: the group, and the member's region.
    databases: BTreeMap<CheckIdx, (Label, Label)>,
}

impl CheckIndex {
    pub(super) fn new(topology: &Topology) -> Self {
        let n = topology.checks.len();
        let mut endpoints = vec![(None, 0); n];
        let mut regions = vec![RegionSet::EMPTY; n];
        for (position, endpoint) in topology.endpoints.iter().enumerate() {
            let check = endpoint.check.get();
            let (first, count) = &mut endpoints[check];
            first.get_or_insert(EndpointIdx::at(position));
            *count += 1;
            regions[check].insert(endpoint.region);
        }
        hand_down(topology, &mut regions);
        let names = topology.check_names.iter().map(|(name, check)| (*check, name.clone())).collect();
        let databases = topology
            .databases
            .iter()
            .flat_map(|(group, members)| members.iter().map(move |(region, check)| (*check, (group.clone(), region.clone()))));
        Self { services: topology.services_by_check(), regions, endpoints, names, databases: databases.collect() }
    }

    /// Of which data group's member it is, and in which region; `None`: of none.
    pub(super) fn database(&self, check: CheckIdx) -> Option<&(Label, Label)> {
        self.databases.get(&check)
    }

    /// The services with an endpoint that this check judges.
    pub(super) fn services(&self, check: CheckIdx) -> &[ServiceIdx] {
        &self.services[check.get()]
    }

    /// The regions with an endpoint that stands on this check.
    pub(super) fn regions(&self, check: CheckIdx) -> RegionSet {
        self.regions[check.get()]
    }

    /// What people call a check: its name in the plan, else the first endpoint that it judges.
    pub(super) fn name(&self, topology: &Topology, check: CheckIdx) -> String {
        if let Some(name) = self.names.get(&check) {
            return format!("check {name}");
        }
        if let Some((group, region)) = self.databases.get(&check) {
            return format!("database {group} in {region}");
        }
        match self.endpoints[check.get()] {
            (Some(first), 1) => format!("endpoint {}", topology.endpoint_name(first)),
            (Some(first), n) => format!("endpoint {} (and {} more)", topology.endpoint_name(first), n - 1),
            (None, _) => "a check that no endpoint uses".to_owned(),
        }
    }
}

/// A failure below a calculated check is one of the regions above it. Ends, because sets only grow.
fn hand_down(topology: &Topology, regions: &mut [RegionSet]) {
    let calculated = || topology.checks.iter().enumerate().rev();
    loop {
        let mut grew = false;
        for (position, check) in calculated() {
            let ProbeKind::Calculated { of, .. } = &check.probe.kind else { continue };
            for child in of {
                let all = regions[child.get()].or(regions[position]);
                grew |= all != regions[child.get()];
                regions[child.get()] = all;
            }
        }
        if !grew {
            return;
        }
    }
}
