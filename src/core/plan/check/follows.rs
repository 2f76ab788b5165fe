//! Names that follow a database role: a group that exists, members that can be answered, and times that the lease can keep.

use super::{
    Findings,
    services::{residency, ttl},
    unknown,
};
use crate::{
    document::{Path, Word},
    model::ids::Label,
    plan::{
        follow::address_of,
        sections::{DataGroup, Follows, OnControlLossWord, Plan, Role, Service, WithoutPrimary},
    },
};

pub(super) fn check(plan: &Plan, service: &Service, path: &Path, out: &mut Findings) {
    let Some(follows) = &service.follows else { return };
    let here = || path.clone().key("follows");
    if !service.endpoints.is_empty() {
        out.error(
            path.clone().key("endpoints"),
            "a service that follows a group has no endpoints of its own",
            "remove `endpoints` or `follows`",
        );
    }
    let is_fenced = follows.role == Role::Replica;
    for (key, is_written) in [
        ("steering", service.steering.is_some()),
        ("stages", service.stages.is_some()),
        ("residency", service.residency.is_some() && !is_fenced),
    ] {
        if is_written {
            out.warning(path.clone().key(key), "is not used by a service that follows a group", format!("remove `{key}`"));
        }
    }
    for (key, is_written, role) in [
        ("without_primary", follows.without_primary.is_some(), Role::Primary),
        ("lag_max", follows.lag_max.is_some(), Role::Replica),
        ("steering", follows.steering.is_some(), Role::Replica),
    ] {
        if is_written && follows.role != role {
            out.warning(here().key(key), format!("is only used with `role: {role}`"), format!("remove `{key}`"));
        }
    }
    ttl(&follows.ttl, &here(), out);
    let Some(group) = plan.data_groups.get(&follows.group) else {
        return unknown(out, here().key("group"), "data group", &follows.group, plan.data_groups.keys());
    };
    match follows.role {
        Role::Primary => of_primary(group, follows, &here(), out),
        Role::Replica => {
            let regions: Vec<&Label> = group.members.keys().collect();
            residency(plan, service, &regions, &Path::root().key("data_groups").key(&follows.group).key("members"), path, out);
        }
    }
}

/// Every member may hold either role one day, so each needs an address that names can answer.
pub(super) fn addresses(plan: &Plan, out: &mut Findings) {
    let is_followed = |group: &Label| {
        let follows = plan.services.iter().filter_map(|(_, service)| service.follows.as_ref());
        follows.into_iter().any(|follows| follows.group == *group)
    };
    for (name, group) in plan.data_groups.iter().filter(|(name, _)| is_followed(name)) {
        for (region, _) in group.members.iter().filter(|(_, member)| address_of(member).is_none()) {
            let message = format!("names follow this group, and {region} has no address that they could answer");
            let path = Path::root().key("data_groups").key(name).key("members").key(region).key("address");
            out.error(path, message, "add `publish: ADDRESS` to the member, or write its address as numbers");
        }
    }
}

fn of_primary(group: &DataGroup, follows: &Follows, here: &Path, out: &mut Findings) {
    let lease = group.time_scale.of_time(group.lease.ttl);
    if follows.ttl.max * 3 > lease {
        let most = (lease / 3).show();
        let (max, lease) = (follows.ttl.max.show(), lease.show());
        out.error(
            here.clone().key("ttl").key("max"),
            format!("{max} is more than a third of the lease of {lease}"),
            format!("write at most {most}, or raise the lease"),
        );
    }
    let keeps = group.on_control_loss == OnControlLossWord::Keep;
    if keeps && follows.without_primary.is_some_and(|word| word != WithoutPrimary::Last) {
        let message = "the group keeps its primary without a quorum (`on_control_loss: keep`), so `last` is used";
        out.warning(here.clone().key("without_primary"), message, "write `without_primary: last`");
    }
}
