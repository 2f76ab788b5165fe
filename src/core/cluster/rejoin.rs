//! Members that come back: who follows again, and whose directory a person lets be replaced by a new copy.
//!
//! Invariants: the word of a person is for one member, for the primary of that moment, and for the directory that is there: with the next token,
//! or when the member follows, it is over.

use super::{
    groups::{in_force, wrong},
    limits::{NAME_MAX, cut},
    refusal::{Refusal, Rule},
};
use crate::{
    failover::group::Group,
    model::{
        group::{Policy, Reclone},
        ids::Label,
    },
};

pub(super) fn followed(mut group: Group, region: &Label) -> Result<Group, Refusal> {
    in_force(&mut group)?;
    group.absent.remove(region);
    group.reclone.remove(region);
    // The group is whole again: another failure is another matter. After a setback a person has yet to look.
    if group.absent.is_empty() && group.latest.as_ref().is_none_or(|closed| closed.setback.is_none()) {
        group.cool_down = None;
    }
    Ok(group)
}

/// What is there now has not followed, whatever was there before: so the copy has followed when that is committed again.
pub(super) fn reclone(mut group: Group, policy: &Policy, region: &Label) -> Result<Group, Refusal> {
    if policy.reclone == Reclone::ByHand {
        return Err(wrong(Rule::Invalid, "the engine of the group makes no new copies", "make one by hand, as its agent says"));
    }
    if let Some(open) = &group.operation {
        let text = format!("op-{} is open, {}", open.id, open.phase);
        return Err(wrong(Rule::OperationOpen, text, "wait for its end, or cancel it: portolan cancel"));
    }
    let grant = in_force(&mut group)?;
    if *region == grant.region || !policy.members.contains_key(region) {
        let text = format!("{} is no standby of the group", cut(region.as_str(), NAME_MAX));
        return Err(wrong(Rule::Invalid, text, "name the region of a member that is not the primary"));
    }
    group.reclone.insert(region.clone());
    group.absent.insert(region.clone());
    Ok(group)
}
