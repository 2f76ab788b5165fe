//! The answer for a name that follows the primary of a data group: whoever is proven to hold the role, and nobody else.
//!
//! Invariant: it carries no longer time to live than the proof lasts. Health, overrides and the client's place play no part.

use std::time::Duration;

use super::message::{Answer, ExtendedError, Rcode};
use crate::{
    failover::token::Token,
    model::{
        follow::{Followed, FollowedMember, Follows, WithoutPrimary},
        reason::{Mark, Reason},
        time::{Human, Tick},
        topology::{Service, Topology},
        units::Ttl,
    },
    steering::Trace,
    table::RoleView,
};

/// What such a name is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This member, for so long.
    Member(FollowedMember, Ttl),
    /// "No data", for so long.
    Nodata(Ttl),
    /// SERVFAIL.
    Servfail,
}

/// Chooses, and notes in `answer` what is out of the ordinary.
pub(super) fn choose<T: Trace>(
    topology: &Topology,
    service: &Service,
    follows: &Follows,
    view: &RoleView,
    at: Tick,
    answer: &mut Answer,
    trace: &mut T,
) -> Choice {
    trace.note(|| Reason::new(Mark::Info, format!("service {} follows the primary of group {}", service.name, follows.group)));
    let proven = view.proven(at).filter(|(_, remaining)| *remaining >= service.ttl.min.duration());
    if let Some((member, remaining)) = proven.and_then(|(region, remaining)| Some((follows.member(region)?, remaining))) {
        let stated = Ttl::from_secs(u32::try_from(remaining.as_secs()).unwrap_or(u32::MAX)).clamp(service.ttl.min, service.ttl.max);
        let ttl = if view.is_leaving { service.ttl.min } else { stated };
        trace.note(|| Reason::new(Mark::Yes, held(topology, view, remaining, at)));
        trace.note(|| {
            let text = match view.is_leaving {
                true => format!("ttl: {ttl}, the shortest: an operation is about to move the role"),
                false => format!("ttl: {ttl}, at most what remains of the statement, inside {} to {}", service.ttl.min, service.ttl.max),
            };
            Reason::new(Mark::Info, text)
        });
        return Choice::Member(*member, ttl);
    }
    let without = follows.without().unwrap_or(WithoutPrimary::Servfail);
    let text = unproven(topology, follows, view, at);
    trace.note(|| Reason::new(Mark::No, format!("{text}: without_primary {} decides", without.word())));
    let last = view.region.filter(|_| without == WithoutPrimary::Last).and_then(|region| follows.member(region));
    let code = if last.is_some() { ExtendedError::STALE_ANSWER } else { ExtendedError::OTHER };
    answer.extended_error = Some(ExtendedError { code, text });
    match (without, last) {
        (WithoutPrimary::Last, Some(member)) => Choice::Member(*member, service.ttl.min),
        (WithoutPrimary::Nodata, _) => Choice::Nodata(service.ttl.min),
        (WithoutPrimary::Last | WithoutPrimary::Servfail, _) => {
            answer.rcode = Rcode::ServFail;
            Choice::Servfail
        }
    }
}

/// `us-east-1 holds the role by epoch 1.5, for 62s more as stated 1s ago`.
pub(crate) fn held(topology: &Topology, view: &RoleView, remaining: Duration, at: Tick) -> String {
    let who = view.region.map_or("nobody", |region| topology.regions[region.get()].name.as_str());
    let said = view.said.map_or_else(String::new, |said| format!(", as stated {} ago", whole(at.since(said))));
    format!("{who} holds the role by epoch {}, for {} more{said}", view.token, whole(remaining))
}

/// `orders: primary not proven; epoch 1.5, last stated 12s ago by us-east-1`. What matters stands first: the text of an extended error is cut at
/// 120 octets.
pub(crate) fn unproven(topology: &Topology, follows: &Follows, view: &RoleView, at: Tick) -> String {
    let group = &follows.group;
    if view.token == Token::default() {
        return format!("{group}: primary not proven; none was stated since this node began");
    }
    let age = view.said.map_or_else(|| "before this node began".to_owned(), |said| format!("{} ago", whole(at.since(said))));
    let by = view.region.map_or_else(String::new, |region| format!(" by {}", topology.regions[region.get()].name));
    format!("{group}: primary not proven; epoch {}, last stated {age}{by}", view.token)
}

/// Of names that follow replicas: none may be answered.
pub(super) fn no_replica(follows: &Follows) -> ExtendedError {
    let bound = match follows.role {
        Followed::Replica { lag_max: Some(most) } => format!(" and is known to be at most {} behind", Human(most)),
        Followed::Replica { lag_max: None } | Followed::Primary { .. } => String::new(),
    };
    ExtendedError { code: ExtendedError::OTHER, text: format!("{}: no member says that it follows{bound}", follows.group) }
}

fn whole(duration: Duration) -> Human {
    Human(Duration::from_secs(duration.as_secs()))
}
