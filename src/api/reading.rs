//! What clients send, read into values of the core. Form only: whether a name exists or a time is too far ahead is judged where it is applied.

use std::time::Duration;

use portolan_core::{
    cluster::End,
    health::overlay::{OverrideKind, Scope},
    model::{ids::Label, time::Timestamp, units::Weight},
};
use tonic::Status;

use super::{proto, refusal::bad_field};

/// What an order or a freeze is for.
///
/// # Errors
/// Nothing is set, or a name is empty.
pub(super) fn scope_in(field: &str, wire: Option<proto::Scope>) -> Result<Scope, Status> {
    use proto::scope::Scope as Wire;
    let label = |name: &str, part: &str| {
        if name.is_empty() { Err(bad_field(&format!("{field}.{part}"), "is empty")) } else { Ok(Label::new(name)) }
    };
    let wire = wire.and_then(|wire| wire.scope);
    match wire.ok_or_else(|| bad_field(field, "is not set; name a region, service, pool, endpoint or group, or everything"))? {
        Wire::Region(name) => Ok(Scope::Region(label(&name, "region")?)),
        Wire::Service(name) => Ok(Scope::Service(label(&name, "service")?)),
        Wire::Pool(pool) => Ok(Scope::Pool { service: label(&pool.service, "pool.service")?, region: label(&pool.region, "pool.region")? }),
        Wire::Endpoint(name) if name.is_empty() => Err(bad_field(&format!("{field}.endpoint"), "is empty")),
        Wire::Endpoint(name) => Ok(Scope::Endpoint(name)),
        Wire::Group(name) => Ok(Scope::Group(label(&name, "group")?)),
        Wire::Everything(_) => Ok(Scope::Everything),
    }
}

/// What is ordered.
///
/// # Errors
/// No kind, a weight without its number, or a number without that kind.
pub(super) fn kind_in(kind: proto::r#override::Kind, weight: Option<u32>) -> Result<OverrideKind, Status> {
    use proto::r#override::Kind;
    if weight.is_some() != (kind == Kind::Weight) {
        let problem =
            if weight.is_some() { "is set, but the kind is not KIND_WEIGHT" } else { "is not set; give 0 to 65535, 0 is standby" };
        return Err(bad_field("override.weight", problem));
    }
    Ok(match kind {
        Kind::Unspecified => return Err(bad_field("override.kind", "is not set; say what is ordered, for example KIND_DRAIN")),
        Kind::Drain => OverrideKind::Drain,
        Kind::ForcedUp => OverrideKind::ForcedUp,
        Kind::ForcedDown => OverrideKind::ForcedDown,
        Kind::Maintenance => OverrideKind::Maintenance,
        Kind::Hold => OverrideKind::Hold,
        Kind::Admission => return Err(bad_field("override.kind", "is laid by a return of traffic only: ReturnService/StartReturn")),
        Kind::Weight => {
            let weight = u16::try_from(weight.unwrap_or(0));
            OverrideKind::Weight(Weight(weight.map_err(|_| bad_field("override.weight", "is above 65535"))?))
        }
    })
}

/// An end at a time.
///
/// # Errors
/// It is no time, or none that prints.
pub(super) fn end_at(field: &str, time: &prost_types::Timestamp) -> Result<End, Status> {
    instant(field, time).map(End::At)
}

/// A moment of the past; unset is now. Whether it has come is for the node's clock to say.
///
/// # Errors
/// It is no time.
pub(super) fn past(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Status> {
    time.map(|time| instant(field, &time)).transpose()
}

fn instant(field: &str, time: &prost_types::Timestamp) -> Result<Timestamp, Status> {
    // 0001-01-01 to 9999-12-31, as the type is specified; whole milliseconds, what is finer is cut off.
    if !(-62_135_596_800..=253_402_300_799).contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(bad_field(field, "is no time"));
    }
    Ok(Timestamp(time.seconds * 1000 + i64::from(time.nanos / 1_000_000)))
}

/// An end after a duration.
///
/// # Errors
/// It is not positive, or more milliseconds than can be counted.
pub(super) fn end_after(field: &str, ttl: &prost_types::Duration) -> Result<End, Status> {
    let duration = Duration::try_from(*ttl).ok().filter(|duration| !duration.is_zero());
    let duration = duration.ok_or_else(|| bad_field(field, "is no time ahead; write 30m as 1800s"))?;
    u64::try_from(duration.as_millis()).map(End::AfterMs).map_err(|_| bad_field(field, "is too long"))
}

/// A length of time.
///
/// # Errors
/// It is negative.
pub(super) fn length(field: &str, length: &prost_types::Duration) -> Result<Duration, Status> {
    Duration::try_from(*length).map_err(|_| bad_field(field, "is no length of time; write 5m as 300s"))
}

/// An end that must be given.
pub(super) fn required_end(field: &str, end: Option<End>) -> Result<End, Status> {
    end.ok_or_else(|| bad_field(field, "has no end; give `ttl` or `expire_time`: what people order ends by itself"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::convert::scope_out;

    fn scope() -> impl Strategy<Value = Scope> {
        let name = "[a-z][a-z0-9-]{0,9}";
        let label = name.prop_map(|name| Label::new(&name));
        prop_oneof![
            Just(Scope::Everything),
            label.clone().prop_map(Scope::Region),
            label.clone().prop_map(Scope::Service),
            label.clone().prop_map(Scope::Group),
            (label.clone(), label).prop_map(|(service, region)| Scope::Pool { service, region }),
            "[a-z/.:0-9]{1,40}".prop_map(Scope::Endpoint),
        ]
    }

    proptest! {
        #[test]
        fn scopes_go_there_and_back(scope in scope()) {
            prop_assert_eq!(scope_in("scope", Some(scope_out(&scope))).unwrap(), scope);
        }

        #[test]
        fn no_time_or_duration_is_misread(seconds in any::<i64>(), nanos in any::<i32>()) {
            if let Ok(End::At(at)) = end_at("x", &prost_types::Timestamp { seconds, nanos }) {
                prop_assert_eq!(at.0, seconds * 1000 + i64::from(nanos / 1_000_000));
            }
            if let Ok(End::AfterMs(ms)) = end_after("x", &prost_types::Duration { seconds, nanos }) {
                prop_assert!(seconds >= 0 && i128::from(ms) <= i128::from(seconds) * 1000 + 3000);
            }
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        use proto::{r#override::Kind, scope};
        let message = |status: Status| status.message().to_owned();
        assert!(message(scope_in("override.scope", None).unwrap_err()).starts_with("override.scope: is not set"));
        let empty = proto::Scope { scope: Some(scope::Scope::Region(String::new())) };
        assert_eq!(message(scope_in("scope", Some(empty)).unwrap_err()), "scope.region: is empty");
        assert!(message(kind_in(Kind::Unspecified, None).unwrap_err()).starts_with("override.kind"));
        assert!(message(kind_in(Kind::Weight, None).unwrap_err()).starts_with("override.weight"));
        assert!(message(kind_in(Kind::Drain, Some(1)).unwrap_err()).starts_with("override.weight"));
        assert!(kind_in(Kind::Weight, Some(65_536)).is_err());
        assert_eq!(kind_in(Kind::Weight, Some(0)).unwrap(), OverrideKind::Weight(Weight(0)));
        assert!(end_after("ttl", &prost_types::Duration { seconds: -1, nanos: 0 }).is_err());
        assert!(end_at("t", &prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}
