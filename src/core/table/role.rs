//! Who holds the role that a service's names follow, as far as a table says: it stands still, so it says until when.

use std::{collections::BTreeMap, time::Duration};

use super::Table;
use crate::{
    failover::token::Token,
    model::{
        ids::{Label, RegionIdx, ServiceIdx},
        time::Tick,
    },
};

/// What names that follow a primary are answered by.
///
/// The table that holds it is made anew before its end where the node has heard more by then, so the end is a lower bound of what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleView {
    /// The highest token of the group that this node has seen; zero: none.
    pub token: Token,
    /// Who holds the role by it, or held it last; `None`: nobody that this node has heard of, or no member that can be answered.
    pub region: Option<RegionIdx>,
    /// When that was stated last; `None`: before this process began, or never.
    pub said: Option<Tick>,
    /// Until when it is proven, not at that tick any more; `None`: it is not.
    pub until: Option<Tick>,
    /// An operation is about to move the role: answers are to run out as soon as they may.
    pub is_leaving: bool,
}

impl RoleView {
    /// Who is proven to hold the role at `at`, and for how long.
    #[must_use]
    pub fn proven(&self, at: Tick) -> Option<(RegionIdx, Duration)> {
        let until = self.until.filter(|until| at < *until)?;
        Some((self.region?, until.since(at)))
    }
}

impl Table {
    /// Of each group whose primary names follow: by which token all of them answer at `at`; `None`: some of them answer nobody.
    #[must_use]
    pub fn routes(&self, at: Tick) -> BTreeMap<Label, Option<Token>> {
        let mut routes = BTreeMap::new();
        for (position, service) in self.world.topology.services.iter().enumerate() {
            let Some(follows) = service.follows_primary() else { continue };
            let view = &self.view(ServiceIdx::at(position)).role;
            let token = view.proven(at).map(|_| view.token);
            let route = routes.entry(follows.group.clone()).or_insert(token);
            *route = (*route).min(token);
        }
        routes
    }
}
