//! Data groups as messages.

use std::time::Duration;

use portolan_core::{
    cluster::State,
    failover::{
        adopt,
        group::{Act, Closed, Group, Operation, Origin},
        order::{Sight, Status},
    },
    model::{group::Policy, ids::Label},
    recovery::aside::Aside,
};

use super::{duration_out, time_out};
use crate::api::{proto, source::cluster::Agents};

/// All groups of the plan.
pub(in crate::api) fn groups_out(state: &State, agents: &Agents) -> Vec<proto::Group> {
    let policies = state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.iter());
    policies.map(|(name, policy)| group_out(name, policy, &state.group(name).cloned().unwrap_or_default(), agents)).collect()
}

/// One of them.
pub(in crate::api) fn group_out(name: &Label, policy: &Policy, group: &Group, agents: &Agents) -> proto::Group {
    let of = |region: &Label| agents.get(&(name.clone(), region.clone()));
    let sights = || policy.members.keys().filter_map(|region| Some((region.clone(), of(region)?.1.sight?))).collect();
    proto::Group {
        name: format!("groups/{name}"),
        primary: group.primary().map(ToString::to_string).unwrap_or_default(),
        token: group.token.to_string(),
        class: group.grant.as_ref().map(|grant| grant.class.to_string()).unwrap_or_default(),
        members: policy
            .members
            .iter()
            .map(|(region, member)| proto::GroupMember {
                region: region.to_string(),
                candidate: member.is_candidate,
                followed: group.grant.is_some() && !group.absent.contains(region),
                agent: of(region).map(|(age, status)| agent_out(*age, status)),
            })
            .collect(),
        operation: group.operation.as_ref().map(|operation| operation_out(name, operation)),
        latest: group.latest.as_ref().map(|closed| closed_out(name, closed)),
        cool_down_time: group.cool_down.map(time_out),
        unadopted: match group.grant {
            Some(_) => String::new(),
            None => match adopt::find(policy.members.keys(), &sights()) {
                Ok(found) => format!("{} is about to be adopted as the primary", found.primary),
                Err(why) => why.to_string(),
            },
        },
    }
}

fn agent_out(age: Duration, status: &Status) -> proto::AgentStatus {
    let sight: Option<Sight> = status.sight;
    proto::AgentStatus {
        age: Some(duration_out(age)),
        role: sight.map(|sight| sight.role.word().to_owned()).unwrap_or_default(),
        timeline: sight.map_or(0, |sight| sight.timeline),
        position: sight.and_then(|sight| sight.position),
        writes: status.writes,
        follows: status.follows.as_ref().map(|(_, region)| region.to_string()).unwrap_or_default(),
        trouble: status.trouble.clone().unwrap_or_default(),
        class: status.class.to_string(),
        doubt: status.doubt.clone().unwrap_or_default(),
    }
}

/// One that is over.
pub(in crate::api) fn closed_out(group: &Label, closed: &Closed) -> proto::Operation {
    let end_time = Some(time_out(closed.at));
    let put_aside = closed.aside.iter().map(|(region, aside)| aside_out(region, aside)).collect();
    proto::Operation { ending: closed.ending.to_string(), end_time, put_aside, ..operation_out(group, &closed.operation) }
}

fn aside_out(region: &Label, aside: &Aside) -> proto::PutAside {
    proto::PutAside {
        region: region.to_string(),
        commits: aside.commits,
        octets: aside.octets,
        first_time: aside.span.map(|(first, _)| time_out(first)),
        last_time: aside.span.map(|(_, last)| time_out(last)),
        text: aside.to_string(),
    }
}

/// One that is open, as far as it has come.
pub(in crate::api) fn operation_out(group: &Label, operation: &Operation) -> proto::Operation {
    let (creator, reason) = match &operation.origin {
        Origin::Automatic => Default::default(),
        Origin::Setback { of, why } => (String::new(), format!("setback of op-{of}: {why}")),
        Origin::Person { who, why } | Origin::Drill { who, why, .. } => (who.clone(), why.clone()),
    };
    let chosen = operation.chosen.as_ref();
    proto::Operation {
        name: format!("operations/op-{}", operation.id),
        kind: operation.kind.word().to_owned(),
        from: operation.from.to_string(),
        to: operation.to.as_ref().map(ToString::to_string).unwrap_or_default(),
        phase: operation.phase.to_string(),
        held: operation.held.as_ref().map(|held| held.reason.to_string()).unwrap_or_default(),
        held_because: operation.held.as_ref().map(|held| held.text.clone()).unwrap_or_default(),
        creator,
        reason,
        chosen: chosen.map(|chosen| chosen.choice.region.to_string()).unwrap_or_default(),
        loss: chosen.map(|chosen| chosen.loss.to_string()).unwrap_or_default(),
        marks: operation
            .marks
            .iter()
            .map(|mark| proto::Mark {
                phase: mark.phase.to_string(),
                time: Some(time_out(mark.at)),
                text: mark.text.clone(),
                index: mark.index,
            })
            .collect(),
        ending: String::new(),
        group: format!("groups/{group}"),
        end_time: None,
        held_time: operation.held.as_ref().map(|held| time_out(held.at)),
        acts: operation.acts.iter().map(act_out).collect(),
        estimate: operation.estimate.to_string(),
        allowed_loss: operation.allowed_loss.map(duration_out),
        put_aside: Vec::new(),
    }
}

fn act_out(act: &Act) -> proto::Act {
    proto::Act { time: Some(time_out(act.at)), who: act.who.clone(), reason: act.why.clone(), deed: act.deed.to_string(), index: act.index }
}
