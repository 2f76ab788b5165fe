//! The terms of a grant that change while it is held: another class, another lease, and when nobody counts by the former one any more.

use super::{
    groups::{At, goes_on, in_force, newest, not_adopted, wrong_phase},
    refusal::Refusal,
};
use crate::{
    failover::{
        choose::Durability,
        group::{Group, Phase},
        lease::Class,
    },
    model::group::Policy,
};

impl At<'_> {
    pub(super) fn regrant(self, mut group: Group, policy: &Policy, class: Class) -> Result<Group, Refusal> {
        if let Some(operation) = &group.operation
            && matches!(operation.phase, Phase::Decided | Phase::Fenced | Phase::Chosen | Phase::Promoting)
        {
            return Err(wrong_phase(operation, "who may write is being decided"));
        }
        let Some(grant) = group.grant.take() else {
            return Err(not_adopted());
        };
        let above = newest(&group, Some(&grant));
        let mut next = self.grant(policy, &grant.region, class, Some(&grant), above);
        next.is_attested = goes_on(Some(&grant), class);
        // Until it is settled, writes may have been acknowledged by members of either set (O11).
        if let (Durability::Quorum { standbys, acknowledging }, Durability::Quorum { standbys: old, acknowledging: n }) =
            (&mut next.durability, &grant.durability)
        {
            standbys.extend(old.iter().cloned());
            *acknowledging = (*acknowledging).min(*n);
        }
        group.token = self.token;
        group.grant = Some(next);
        Ok(group)
    }

    pub(super) fn settle(self, mut group: Group, policy: &Policy) -> Result<Group, Refusal> {
        let grant = in_force(&mut group)?;
        let fresh = self.grant(policy, &grant.region, grant.class, None, grant.above);
        (grant.longest, grant.is_attested) = (grant.ttl, true);
        grant.peers = fresh.peers;
        if let (Durability::Quorum { standbys, .. }, Durability::Quorum { standbys: kept, .. }) = (&fresh.durability, &mut grant.durability)
        {
            kept.retain(|region| standbys.contains(region));
        }
        Ok(group)
    }
}
