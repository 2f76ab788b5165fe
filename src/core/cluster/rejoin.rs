//! Members that come back: who follows again, what they had alone, and whose directory a person lets be replaced by a new copy.
//!
//! Invariants: the word of a person is for one member, for the primary of that moment, and for the directory that is there: with the next token,
//! or when the member follows, it is over. What a member had alone is noted once, in the operation after which it had it.

use super::{
    groups::{At, in_force, wrong},
    limits::{NAME_MAX, cut},
    refusal::{Refusal, Rule},
};
use crate::{
    failover::group::Group,
    model::{
        group::{Policy, Reclone},
        ids::Label,
    },
    recovery::aside::Aside,
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

impl At<'_> {
    /// What was lost is told by whoever had it alone.
    pub(super) fn put_aside(self, mut group: Group, policy: &Policy, id: u64, region: &Label, aside: Aside) -> Result<Group, Refusal> {
        if !policy.members.contains_key(region) {
            let text = format!("{} has no member of the group", cut(region.as_str(), NAME_MAX));
            return Err(wrong(Rule::Invalid, text, "name the region of a member"));
        }
        if group.lost_in(region, &aside) != Some(id) {
            let text = format!("op-{id} is not the operation after which {region} had anything alone, or has it in its record already");
            return Err(wrong(Rule::WrongPhase, text, "nothing: its agent goes on to tell of it"));
        }
        let ended = group.latest.iter_mut().chain(&mut group.earlier).find(|closed| closed.operation.id == id);
        if let Some(closed) = ended {
            self.note(&mut closed.operation, format!("{region} had alone, and put aside: {aside}"));
            closed.aside.insert(region.clone(), aside);
        }
        Ok(group)
    }
}
