//! Regions: how many, where, and whether the survivors could carry a lost one.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Findings, at, unknown};
use crate::{document::Path, geo::embed::Embedding, model::ids::Label, plan::sections::Plan};

pub(super) fn check(plan: &Plan, out: &mut Findings) {
    if plan.regions.is_empty() {
        out.error(Path::root().key("regions"), "a plan needs at least one region", "add the places where the product runs");
    }
    for (name, region) in plan.regions.iter() {
        match (region.latitude, region.longitude) {
            (Some(_), None) => out.error(at("regions", name).key("latitude"), "`latitude` stands without `longitude`", "add `longitude`"),
            (None, Some(_)) => out.error(at("regions", name).key("longitude"), "`longitude` stands without `latitude`", "add `latitude`"),
            _ => {}
        }
    }
    for name in plan.traffic_routing.keys().filter(|name| !plan.regions.contains(name)) {
        unknown(out, at("traffic_routing", name), "region", name, plan.regions.keys());
    }
    if !plan.traffic_routing.is_empty() {
        for name in plan.regions.keys().filter(|name| !plan.traffic_routing.contains(name)) {
            out.warning(at("regions", name), "has no entry in `traffic_routing`: weight 1, priority 1", "add it there");
        }
        if plan.traffic_routing.iter().all(|(_, routing)| routing.weight == Some(0)) {
            out.warning(
                Path::root().key("traffic_routing"),
                "all weights are 0: traffic is spread evenly",
                "give at least one region a weight",
            );
        }
    }
    client_networks(plan, out);
    networks(plan, out);
    clusters(plan, out);
    machines(plan, out);
}

/// A client network belongs to one region.
fn client_networks(plan: &Plan, out: &mut Findings) {
    let mut owners: BTreeMap<IpNet, &Label> = BTreeMap::new();
    for (name, region) in plan.regions.iter() {
        for (i, net) in region.networks.iter().enumerate() {
            if let Some(other) = owners.insert(*net, name) {
                out.error(
                    at("regions", name).key("networks").item(i),
                    format!("{net} already belongs to {other}"),
                    "keep it in one region",
                );
            }
            if let IpNet::V6(net) = net
                && let Some(form) = Embedding::of(net.network())
            {
                let (range, prefix) = form.network();
                out.error(
                    at("regions", name).key("networks").item(i),
                    format!("{net} never matches: clients in {range}/{prefix} are placed by the IPv4 address inside theirs"),
                    "write the IPv4 network",
                );
            }
        }
    }
}

/// Networks of their own: names differ, ranges do not overlap. Regions that never talk to one another may break both, so it only warns.
fn networks(plan: &Plan, out: &mut Findings) {
    let mut names: BTreeMap<&str, &Label> = BTreeMap::new();
    let mut ranges: Vec<(IpNet, &Label)> = Vec::new();
    for (name, region) in plan.regions.iter() {
        let Some(network) = &region.network_config else { continue };
        let path = || at("regions", name).key("network_config");
        if let Some(other) = names.insert(&network.vpc_name.0, name) {
            let message = format!("{other} has a network of the name `{}` too", network.vpc_name);
            out.warning(path().key("vpc_name"), message, "give each region's network a name of its own");
        }
        for (key, list) in [("subnet_ranges", &network.subnet_ranges), ("secondary_ranges", &network.secondary_ranges)] {
            for (i, range) in list.iter().enumerate() {
                if let Some((other, owner)) = ranges.iter().find(|(other, _)| other.contains(range) || range.contains(other)) {
                    let message = format!("{range} overlaps {other} of {owner}: the two networks cannot be joined");
                    out.warning(
                        path().key(key).item(i),
                        message,
                        "use ranges that do not overlap, if regions shall reach one another directly",
                    );
                }
                // Compared with each: bounded, because more than a few hundred ranges say nothing more to a person.
                if ranges.len() < 512 {
                    ranges.push((*range, name));
                }
            }
        }
    }
}

/// What labels tell apart, and what would be lost together.
fn clusters(plan: &Plan, out: &mut Findings) {
    let (mut names, mut domains): (BTreeMap<&str, &Label>, BTreeMap<&str, &Label>) = (BTreeMap::new(), BTreeMap::new());
    for (name, region) in plan.regions.iter() {
        let Some(cluster) = &region.cluster_config else { continue };
        let path = || at("regions", name).key("cluster_config");
        if let Some(other) = names.insert(&cluster.name.0, name) {
            let message = format!("the cluster of {other} has the name `{}` too: labels would not tell them apart", cluster.name);
            out.warning(path().key("name"), message, "give each cluster a name of its own");
        }
        if let Some(zone) = &cluster.zone
            && let Some(other) = domains.insert(&zone.0, name)
        {
            let groups =
                plan.data_groups.iter().filter(|(_, group)| [name, other].into_iter().all(|region| group.members.contains(region)));
            let groups: Vec<&str> = groups.map(|(group, _)| group.as_str()).collect();
            let copies = if groups.is_empty() { String::new() } else { format!(", with two copies of {}", groups.join(", ")) };
            let message = format!("stands in the failure domain `{zone}` as {other} does: both would be lost together{copies}");
            out.warning(path().key("zone"), message, "put each region's cluster into a zone of its own");
        }
    }
}

/// The clusters: equal machines everywhere, and room for a lost region on the others.
fn machines(plan: &Plan, out: &mut Findings) {
    let mut types: BTreeMap<&str, (&str, &Label)> = BTreeMap::new();
    let mut sizes: Vec<(&Label, u64, u64)> = Vec::new();
    for (name, region) in plan.regions.iter() {
        let Some(cluster) = &region.cluster_config else { continue };
        let (mut least, mut most) = (0_u64, 0_u64);
        for (i, pool) in cluster.node_pools.iter().enumerate() {
            let path = || at("regions", name).key("cluster_config").key("node_pools").item(i);
            if pool.min_size > pool.max_size {
                let message = format!("min_size {} is more than max_size {}", pool.min_size, pool.max_size);
                out.error(path().key("min_size"), message, "lower min_size or raise max_size");
            }
            if cluster.node_pools[..i].iter().any(|other| other.name == pool.name) {
                out.error(path().key("name"), format!("the pool `{}` stands twice", pool.name), "give each pool a name of its own");
            }
            least += u64::from(pool.min_size);
            most += u64::from(pool.max_size);
            let Some(machine) = &pool.machine_type else { continue };
            let (first, owner) = types.entry(&pool.name.0).or_insert((&machine.0, name));
            if *first != machine.0 {
                let message = format!("machine type {machine} differs from {first} in {owner}");
                out.warning(path().key("machine_type"), message, "use equal machines, so that regions can stand in for one another");
            }
        }
        if most > 0 {
            sizes.push((name, least, most));
        }
    }
    if sizes.len() < 2 {
        return;
    }
    for &(lost, _, needed) in &sizes {
        let room: u64 = sizes.iter().filter(|&&(name, ..)| name != lost).map(|&(_, least, most)| most.saturating_sub(least)).sum();
        if room < needed {
            let message = format!("if {lost} is lost at its full {needed} machines, the others can add only {room}");
            out.warning(at("regions", lost).key("cluster_config").key("node_pools"), message, "raise max_size of the other regions");
        }
    }
}
