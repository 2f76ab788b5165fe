//! Messages of the API as programs read them, and pieces of them as people do.

use std::{sync::OnceLock, time::Duration};

use portolan_core::model::time::Timestamp;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::{
    Exit, Failure,
    render::text::{age, instant, plain},
};
use crate::api::proto::{self, Freshness};

/// The package of all messages.
const PACKAGE: &str = "portolan.v1";

/// A message of this name as JSON, by its descriptor: every field, under the names of the proto files.
pub(super) fn value(name: &str, message: &impl prost::Message) -> Result<serde_json::Value, Failure> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let problem = |problem: &dyn std::fmt::Display| Failure::new(Exit::Error, format!("write {name} as JSON: {problem}"));
    let pool = POOL.get_or_init(|| DescriptorPool::decode(proto::DESCRIPTORS).ok()).as_ref();
    let pool = pool.ok_or_else(|| problem(&"the descriptors of this build cannot be read"))?;
    let descriptor = pool.get_message_by_name(&format!("{PACKAGE}.{name}")).ok_or_else(|| problem(&"there is no such message"))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|error| problem(&error))?;
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| problem(&error))
}

pub(super) fn timestamp(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.map(|time| Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000))))
}

pub(super) fn timestamp_out(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds: time.0.div_euclid(1000), nanos }
}

pub(super) fn duration_out(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// In whole milliseconds, negative ones too.
pub(super) fn millis(duration: &prost_types::Duration) -> i64 {
    duration.seconds.saturating_mul(1000).saturating_add(i64::from(duration.nanos / 1_000_000))
}

/// An end with what is left of it.
pub(super) fn until(end: Option<Timestamp>, now: Timestamp) -> String {
    end.map_or_else(|| "-".to_owned(), |end| format!("{} ({} left)", instant(end), age(end.since(now))))
}

/// How far behind an answer may be, where that matters: what was read on the leader is as new as can be.
pub(super) fn behind(freshness: Option<&Freshness>) -> String {
    let Some(freshness) = freshness else { return String::new() };
    let age_ms = freshness.age.as_ref().map_or(0, millis);
    let mut text = format!("AS OF node {}, entry {}", plain(&freshness.node), freshness.applied_index);
    match &freshness.leader {
        Some(leader) if age_ms == 0 => text.push_str(&format!(", leader {}", plain(leader))),
        Some(leader) => text.push_str(&format!(", leader {} heard {age_ms}ms ago", plain(leader))),
        None => text.push_str(", NO LEADER is known: newer decisions may exist, and nothing can be committed here"),
    }
    if let Some(halted) = &freshness.halted {
        text.push_str(&format!(", HALTED: {}", plain(halted)));
    }
    text.push('\n');
    text
}

/// The wall clock of the node that answered, by which ends are judged.
pub(super) fn node_time(freshness: Option<&Freshness>, otherwise: Timestamp) -> Timestamp {
    timestamp(freshness.and_then(|freshness| freshness.time.as_ref())).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_names_and_words_of_the_proto_files() {
        let order = proto::Override {
            name: "overrides/o-1".to_owned(),
            kind: proto::r#override::Kind::Drain.into(),
            create_time: Some(timestamp_out(Timestamp(1_795_316_600_000))),
            ..Default::default()
        };
        let value = value("Override", &order).unwrap();
        assert_eq!((value["kind"].as_str(), value["name"].as_str()), (Some("KIND_DRAIN"), Some("overrides/o-1")));
        assert_eq!(value["create_time"], "2026-11-22T03:03:20Z");
        assert_eq!(value["local"], false, "what is unset is said, too");
    }

    #[test]
    fn times_go_there_and_back() {
        for millis in [0, -1, 1_795_316_600_123] {
            assert_eq!(timestamp(Some(&timestamp_out(Timestamp(millis)))), Some(Timestamp(millis)));
        }
    }

    #[test]
    fn a_node_without_a_leader_says_so_first_of_all() {
        let freshness = Freshness { node: "use1-a".to_owned(), applied_index: 7, ..Default::default() };
        assert!(behind(Some(&freshness)).contains("NO LEADER"));
        let freshness = Freshness { leader: Some("euw1-a".to_owned()), ..freshness };
        assert_eq!(behind(Some(&freshness)), "AS OF node use1-a, entry 7, leader euw1-a\n");
    }
}
