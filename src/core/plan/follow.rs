//! From what a plan says of names that follow a role to what is answered for them.

use std::net::IpAddr;

use super::sections::{self, DataGroup, OnControlLossWord, Plan, Role};
use crate::model::{
    check::Host,
    follow::{Followed, FollowedMember, Follows, WithoutPrimary},
    ids::{REGIONS_MAX, RegionIdx},
};

/// What names answer for a member: the address that it publishes, else its own where that is no name.
pub(super) fn address_of(member: &sections::Member) -> Option<IpAddr> {
    let own = match member.address.0.host {
        Host::Ip(address) => Some(address),
        Host::Name(_) => None,
    };
    member.publish.or(own)
}

/// What names of the group's primary answer without one. A holder that keeps writing without a quorum cannot prove it to everybody, so the last
/// one that did is the best guess.
pub(super) fn without(group: &DataGroup, follows: &sections::Follows) -> WithoutPrimary {
    match follows.without_primary.unwrap_or(sections::WithoutPrimary::Servfail) {
        _ if group.on_control_loss == OnControlLossWord::Keep => WithoutPrimary::Last,
        sections::WithoutPrimary::Servfail => WithoutPrimary::Servfail,
        sections::WithoutPrimary::Nodata => WithoutPrimary::Nodata,
        sections::WithoutPrimary::Last => WithoutPrimary::Last,
    }
}

/// The role that a service follows; `None`: of a group that the plan does not have, which the check refuses.
pub(super) fn resolve(plan: &Plan, follows: &sections::Follows) -> Option<Follows> {
    let group = plan.data_groups.get(&follows.group)?;
    let regions = plan.regions.keys().take(REGIONS_MAX).enumerate();
    let members = regions.filter_map(|(position, region)| {
        let member = group.members.get(region)?;
        Some(FollowedMember { region: RegionIdx::at(position), address: address_of(member)?, port: member.address.0.port })
    });
    let role = match follows.role {
        Role::Primary => Followed::Primary { without: without(group, follows) },
        Role::Replica => Followed::Replica { lag_max: follows.lag_max },
    };
    Some(Follows { group: follows.group.clone(), role, members: members.collect() })
}
