//! From a checked plan to the policies of its data groups: defaults are filled in, and the plan's general words narrow those of a group.

use std::{collections::BTreeMap, time::Duration};

use super::{
    overlay,
    resolve::lies_in,
    sections::{
        DataGroup, DurabilityWord, Engine, FailoverAutomation, FenceRung, LeaseVerb, ModeWord, OnControlLossWord, Plan, RecoverySource,
        Role,
    },
};
use crate::model::{
    group::{Durability, Member, Mode, OnControlLoss, Policy, Reclone, Rung},
    ids::Label,
};

/// What failover decisions are judged by, for each data group of a plan in which [`check`](super::check()) found no error.
#[must_use]
pub fn policies(plan: &Plan) -> BTreeMap<Label, Policy> {
    plan.data_groups.iter().map(|(name, group)| (name.clone(), policy(plan, name, group))).collect()
}

/// Whether the plan has automatic failover on, from replicas, and the group does not switch it off.
pub(super) fn wants_automatic(plan: &Plan, group: &DataGroup) -> bool {
    let general = plan.disaster_recovery.as_ref().is_some_and(|recovery| recovery.failover_automation.automatic_failover);
    general && recovers_from_replicas(plan) && group.automatic_failover != Some(false)
}

/// Whether data comes back from replicas first: automation has no other source.
pub(super) fn recovers_from_replicas(plan: &Plan) -> bool {
    let recovery = plan.disaster_recovery.as_ref().and_then(|recovery| recovery.recovery_procedures.data_recovery.as_ref());
    recovery.is_none_or(|recovery| recovery.primary_source == RecoverySource::ContinuousReplication)
}

fn policy(plan: &Plan, name: &Label, group: &DataGroup) -> Policy {
    let members = group.members.iter().map(|(region, member)| {
        let is_inside = |laws: &Vec<Label>| plan.regions.get(region).is_some_and(|region| lies_in(region, laws));
        let is_candidate = member.candidate && group.residency.as_ref().is_none_or(is_inside);
        (region.clone(), Member { is_candidate, priority: member.priority, has_agent: member.agent.is_some() })
    });
    let recovery = plan.disaster_recovery.as_ref();
    let FailoverAutomation { health_check_failures, failure_window, .. } =
        recovery.map_or_else(FailoverAutomation::default, |recovery| recovery.failover_automation.clone());
    let scale = |time: Duration| group.time_scale.of_time(time);
    Policy {
        primary: group.primary.clone(),
        members: members.collect(),
        mode: [plan.mode, group.mode].into_iter().flatten().min().map(|mode| match mode {
            ModeWord::Observe => Mode::Observe,
            ModeWord::Recommend => Mode::Recommend,
            ModeWord::Act => Mode::Act,
        }),
        is_automatic: wants_automatic(plan, group) && group.on_control_loss != OnControlLossWord::Keep,
        priority: group.priority,
        durability: match group.durability {
            DurabilityWord::Async => Durability::Async,
            DurabilityWord::RemoteQuorum => Durability::RemoteQuorum,
        },
        on_control_loss: match group.on_control_loss {
            OnControlLossWord::Fence => OnControlLoss::Fence,
            OnControlLossWord::HoldIfAllAck => OnControlLoss::HoldIfAllAck,
            OnControlLossWord::Keep => OnControlLoss::Keep,
        },
        may_wait: group.fence.iter().any(|rung| rung.lease == Some(LeaseVerb::Expire)),
        rungs: group.fence.iter().filter_map(rung).collect(),
        probe_interval: scale(group.probe.interval),
        failures: health_check_failures,
        failure_window: scale(failure_window),
        ok_run: overlay::cadence(&plan.health_check_defaults).ok_run,
        confirm_hold: scale(group.confirm_hold),
        local_recovery: scale(group.local_recovery),
        cool_down: scale(group.cool_down),
        observe: scale(group.observe),
        ttl: scale(group.lease.ttl),
        margin: scale(group.lease.margin),
        names_ttl: names_ttl(plan, name),
        rpo_target: recovery.map(|recovery| recovery.rpo_target),
        rto_target: recovery.map(|recovery| recovery.rto_target),
        time_scale: group.time_scale,
        reclone: reclone(group),
        restores: group.engine == Engine::Postgresql && restore(plan, group).is_some(),
        opens_copies: matches!(group.engine, Engine::Postgresql | Engine::Fake),
    }
}

/// The program that makes a data directory of the newest backup of a group's data, and the class of that; `None`: the plan names none.
#[must_use]
pub fn restore<'a>(plan: &'a Plan, group: &'a DataGroup) -> Option<(&'a Label, &'a Label)> {
    let class = group.data_class.as_ref()?;
    let hook = plan.backups.get(class)?.iter().find_map(|place| place.restore.as_ref())?;
    Some((class, &hook.0))
}

/// The longest time to live of names that lead to a group's primary.
fn names_ttl(plan: &Plan, group: &Label) -> Duration {
    let followed = plan.services.iter().filter_map(|(_, service)| service.follows.as_ref());
    let leads_there = followed.filter(|follows| follows.group == *group && follows.role == Role::Primary);
    leads_there.map(|follows| follows.ttl.max).max().unwrap_or_default()
}

fn reclone(group: &DataGroup) -> Reclone {
    match (group.engine, group.allow_reclone) {
        (Engine::Postgresql, true) => Reclone::Always,
        (Engine::Postgresql, false) => Reclone::WhenTold,
        _ => Reclone::ByHand,
    }
}

fn rung(rung: &FenceRung) -> Option<Rung> {
    let hook = rung.hook.as_ref()?.0.to_string();
    Some(Rung { hook, confirms: rung.confirms, is_undone: rung.unfence.is_some() })
}
