//! Reports to the wire and back, without loss.
//!
//! To the wire never fails. Back fails with the field that is missing or unknown: a newer daemon may say more than this client knows, and
//! half a picture would be worse than none.

mod backups;
mod cluster;
mod dns;
mod explain;
mod outlook;
mod recovery;
mod simulate;
mod status;

pub(in crate::api) use backups::backups_out;
#[cfg(test)]
pub(in crate::api) use cluster::scope_out;
pub(in crate::api) use cluster::{
    acknowledgement_out, audit_out, cluster_out, freeze_out, freshness_out, member_out, override_out, place_out, problem_out,
};
pub(in crate::api) use outlook::outlook_out;
pub(in crate::api) use recovery::{closed_out, group_out, groups_out, operation_out};
pub(in crate::api) use status::{endpoint_out, region_out, service_out};

use std::time::Duration;

use portolan_core::model::time::Timestamp;

/// A message that this client cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon's answer cannot be read: field `{field}` {problem}; is `portolan` here as new as the daemon? `portolan version` says")]
pub struct Unreadable {
    /// Path of the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn missing(field: &'static str) -> Unreadable {
    Unreadable { field, problem: "is missing".to_owned() }
}

fn unknown(field: &'static str, value: impl std::fmt::Display) -> Unreadable {
    Unreadable { field, problem: format!("has the unknown value {value}") }
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Unreadable> {
    value.ok_or_else(|| missing(field))
}

fn narrow<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, Unreadable> {
    T::try_from(value).map_err(|_| unknown(field, value))
}

pub(crate) fn time_out(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1000) * 1_000_000).expect("invariant: below a second");
    prost_types::Timestamp { seconds: time.0.div_euclid(1000), nanos }
}

/// Whole milliseconds; what is finer is cut off.
pub(in crate::api) fn time_in(time: prost_types::Timestamp) -> Timestamp {
    Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000)))
}

pub(in crate::api) fn duration_out(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("invariant: below a second");
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}

fn duration_in(duration: prost_types::Duration, field: &'static str) -> Result<Duration, Unreadable> {
    Duration::try_from(duration).map_err(|_| unknown(field, duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_long_durations_go_there_and_back() {
        for millis in [0, -1, 1, 999, -1000, 1_795_316_600_123] {
            assert_eq!(time_in(time_out(Timestamp(millis))), Timestamp(millis));
        }
        for nanos in [0, 1, 999_999_999, 86_400_000_000_001] {
            assert_eq!(duration_in(duration_out(Duration::from_nanos(nanos)), "x"), Ok(Duration::from_nanos(nanos)));
        }
        assert!(duration_in(prost_types::Duration { seconds: -1, nanos: 0 }, "x").is_err());
    }
}
