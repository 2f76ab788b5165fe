//! Names that follow a database role: what the plan says of them, resolved.

use std::{net::IpAddr, time::Duration};

use super::ids::{Label, RegionIdx};

/// The role that a service's names follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The data group.
    pub group: Label,
    /// Which of its members.
    pub role: Followed,
    /// What is answered for each member, in ascending order of region. A member without an address that can be answered is not in it.
    pub members: Vec<FollowedMember>,
}

/// Which members of a group are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The one that is proven to hold the role. The service has no pools: nothing but that proof moves its names.
    Primary {
        /// What is answered while nobody is proven to.
        without: WithoutPrimary,
    },
    /// Those that follow it. Each is an endpoint of the service, steered like any other.
    Replica {
        /// Members further behind, or of which nobody knows how far they are, are left out; `None`: any may answer.
        lag_max: Option<Duration>,
    },
}

/// A member of the group, as its names answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowedMember {
    /// Where.
    pub region: RegionIdx,
    /// What is answered.
    pub address: IpAddr,
    /// Where its database listens, for people.
    pub port: u16,
}

/// What names of a primary answer while no member is proven to hold the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WithoutPrimary {
    /// SERVFAIL, so that a resolver asks a server on the other side.
    Servfail,
    /// "No data".
    Nodata,
    /// The one that was proven last, marked as stale.
    Last,
}

impl WithoutPrimary {
    /// As in the plan.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Servfail => "servfail",
            Self::Nodata => "nodata",
            Self::Last => "last",
        }
    }
}

impl Follows {
    /// What is answered for the member in this region; `None`: it has none, or none with an address.
    #[must_use]
    pub fn member(&self, region: RegionIdx) -> Option<&FollowedMember> {
        self.members.iter().find(|member| member.region == region)
    }

    /// What its names answer without a primary; `None`: they follow replicas.
    #[must_use]
    pub const fn without(&self) -> Option<WithoutPrimary> {
        match self.role {
            Followed::Primary { without } => Some(without),
            Followed::Replica { .. } => None,
        }
    }
}
