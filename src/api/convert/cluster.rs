//! The agreed state to the wire.

use portolan_core::{
    cluster::{
        Acknowledgement, FEATURE_LEVEL, Freeze,
        audit::{AuditEntry, Place},
    },
    health::overlay::{Override, OverrideKind, Scope},
};

use super::{duration_out, time_out};
use crate::api::{
    proto,
    source::cluster::{Member, MemberRole, PlanProblem, Standing},
};

/// Digits of a digest that people compare.
const DIGEST_SHOWN: usize = 12;

pub(in crate::api) fn scope_out(scope: &Scope) -> proto::Scope {
    use proto::scope::{Everything, Pool, Scope as Wire};
    let scope = match scope {
        Scope::Region(name) => Wire::Region(name.to_string()),
        Scope::Service(name) => Wire::Service(name.to_string()),
        Scope::Pool { service, region } => Wire::Pool(Pool { service: service.to_string(), region: region.to_string() }),
        Scope::Endpoint(name) => Wire::Endpoint(name.clone()),
        Scope::Group(name) => Wire::Group(name.to_string()),
        Scope::Everything => Wire::Everything(Everything {}),
    };
    proto::Scope { scope: Some(scope) }
}

pub(in crate::api) fn override_out(order: &Override, local: bool) -> proto::Override {
    use proto::r#override::{Expiration, Kind};
    let (kind, weight) = match order.kind {
        OverrideKind::Drain => (Kind::Drain, None),
        OverrideKind::Weight(weight) => (Kind::Weight, Some(weight.0.into())),
        OverrideKind::ForcedUp => (Kind::ForcedUp, None),
        OverrideKind::ForcedDown => (Kind::ForcedDown, None),
        OverrideKind::Maintenance => (Kind::Maintenance, None),
        OverrideKind::Hold => (Kind::Hold, None),
        OverrideKind::Admission(_) => (Kind::Admission, None),
    };
    let admission = match order.kind {
        OverrideKind::Admission(share) => Some(share.points().into()),
        _ => None,
    };
    proto::Override {
        name: format!("overrides/{}", order.id),
        scope: Some(scope_out(&order.scope)),
        kind: kind.into(),
        weight,
        admission,
        creator: order.who.clone(),
        reason: order.why.clone(),
        create_time: Some(time_out(order.at)),
        expiration: order.until.map(|until| Expiration::ExpireTime(time_out(until))),
        local,
    }
}

pub(in crate::api) fn freeze_out(freeze: &Freeze) -> proto::Freeze {
    proto::Freeze {
        name: format!("freezes/{}", freeze.id),
        scope: Some(scope_out(&freeze.scope)),
        automation: freeze.automation,
        creator: freeze.who.clone(),
        reason: freeze.why.clone(),
        start_time: Some(time_out(freeze.from)),
        expiration: Some(proto::freeze::Expiration::ExpireTime(time_out(freeze.until))),
    }
}

pub(in crate::api) fn acknowledgement_out(object: &str, it: &Acknowledgement) -> proto::Acknowledgement {
    proto::Acknowledgement {
        object: object.to_owned(),
        creator: it.who.clone(),
        reason: it.why.clone(),
        create_time: Some(time_out(it.at)),
        expiration: Some(proto::acknowledgement::Expiration::ExpireTime(time_out(it.until))),
    }
}

pub(in crate::api) fn place_out(place: Place) -> proto::AuditPlace {
    proto::AuditPlace { index: place.index, hash: place.hash.to_string() }
}

pub(in crate::api) fn audit_out(link: &AuditEntry) -> proto::AuditEntry {
    proto::AuditEntry {
        index: link.index,
        time: Some(time_out(link.at)),
        who: link.who.clone(),
        role: link.role.to_string(),
        what: link.what.clone(),
        why: link.why.clone(),
        outcome: link.outcome.clone(),
        prev: link.prev.to_string(),
        hash: link.hash.to_string(),
    }
}

pub(in crate::api) fn freshness_out(standing: &Standing) -> proto::Freshness {
    proto::Freshness {
        node: standing.node.clone(),
        region: standing.region.clone(),
        applied_index: standing.applied.unwrap_or(0),
        leader: standing.leader.clone(),
        term: standing.term,
        age: Some(duration_out(standing.age)),
        time: Some(time_out(standing.now)),
        halted: standing.state.halted().map(ToString::to_string),
    }
}

pub(in crate::api) fn cluster_out(standing: &Standing) -> proto::Cluster {
    let state = &standing.state;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let plan = state.plan().map(|it| &it.plan);
    proto::Cluster {
        id: state.cluster().map(ToString::to_string).unwrap_or_default(),
        generation: state.generation(),
        feature_level: state.feature_level(),
        feature_level_supported: FEATURE_LEVEL,
        plan_revision: plan.map(|plan| plan.revision),
        plan_digest: plan.map(|plan| plan.digest.chars().take(DIGEST_SHOWN).collect()).unwrap_or_default(),
        audit_head: Some(place_out(state.audit().head())),
        voters: count(state.nodes().filter(|it| it.node.role.votes()).count()),
        voters_reachable: standing.voters_reachable,
        nodes: count(state.nodes().len()),
        nodes_refused: count(state.n_refused()),
    }
}

/// The node of the membership, with what it said of itself in the registry.
pub(in crate::api) fn member_out(member: &Member, standing: &Standing) -> proto::Member {
    use proto::member::Role;
    let registered = standing.state.node(member.id);
    let role = match member.role {
        MemberRole::Voter => Role::Voter,
        MemberRole::Witness => Role::Witness,
        MemberRole::Learner => Role::Learner,
        MemberRole::Observer => Role::Observer,
    };
    let clock_offset = member.clock_ahead_ms.map(|ms| {
        let nanos = i32::try_from(ms % 1000 * 1_000_000).expect("invariant: below a second");
        prost_types::Duration { seconds: ms / 1000, nanos }
    });
    proto::Member {
        name: format!("members/{}", member.id),
        node: member.name.clone(),
        region: member.region.clone(),
        address: member.address.clone(),
        role: role.into(),
        leader: member.is_leader,
        version: registered.map(|it| it.node.version.clone()).unwrap_or_default(),
        feature_level: registered.map_or(0, |it| it.node.feature_level),
        plan_revision: registered.and_then(|it| it.node.plan_revision),
        reachable: member.reachable,
        last_contact: member.last_contact.map(duration_out),
        clock_offset,
        matched_index: member.matched,
        record_time: registered.map(|it| time_out(it.at)),
    }
}

pub(in crate::api) fn problem_out(problem: &PlanProblem) -> proto::PlanProblem {
    use proto::plan_problem::Severity;
    let severity = if problem.is_error { Severity::Error } else { Severity::Warning };
    proto::PlanProblem {
        severity: severity.into(),
        file: problem.file.clone(),
        line: problem.line,
        path: problem.path.clone(),
        message: problem.message.clone(),
        fix: problem.fix.clone(),
    }
}
