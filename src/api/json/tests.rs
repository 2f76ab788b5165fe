//! Messages of every type go to JSON and back; JSON of any kind is read or refused, never worse.

use portolan_core::model::mix::SplitMix64;
use proptest::prelude::*;
use prost_reflect::{FieldDescriptor, Kind as Type, MapKey, ReflectMessage as _, Value};

use super::*;

/// Message types of ours, by name.
fn types() -> &'static [MessageDescriptor] {
    static TYPES: LazyLock<Vec<MessageDescriptor>> = LazyLock::new(|| {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        pool.all_messages().filter(|it| it.package_name() == "portolan.v1" && !it.is_map_entry()).collect()
    });
    &TYPES
}

/// Numbers from a seed, so that a failing case is one number.
struct Dice(SplitMix64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0.draw() % sides
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'Z', '0', '"', '\\', '\n', '\u{1b}', 'ü', '\u{2028}', '🌍', '<', ' '];
        (0..self.roll(6)).map(|_| letters[usize::try_from(self.roll(letters.len() as u64)).unwrap()]).collect()
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                // 0001-01-01 to 9999-12-31.
                let seconds = i64::try_from(self.roll(315_537_897_600)).unwrap() - 62_135_596_800;
                message.set_field_by_name("seconds", Value::I64(seconds));
                message.set_field_by_name("nanos", Value::I32(i32::try_from(self.roll(1_000_000_000)).unwrap()));
            }
            "google.protobuf.Duration" => {
                let sign = if self.roll(2) == 0 { 1 } else { -1 };
                message.set_field_by_name("seconds", Value::I64(sign * i64::try_from(self.roll(315_576_000_000)).unwrap()));
                message.set_field_by_name(
                    "nanos",
                    Value::I32(i32::try_from(self.roll(1_000_000_000)).unwrap() * i32::try_from(sign).unwrap()),
                );
            }
            _ => {
                for field in descriptor.fields() {
                    if self.roll(3) > 0 && (depth > 0 || !matches!(field.kind(), Type::Message(_))) {
                        let value = self.field(&field, depth);
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        if field.is_map() {
            let Type::Message(entry) = field.kind() else { panic!("a map is made of entries") };
            let value = entry.map_entry_value_field();
            return Value::Map((0..self.roll(3)).map(|_| (MapKey::String(self.text()), self.single(&value, depth))).collect());
        }
        if field.is_list() {
            return Value::List((0..self.roll(4)).map(|_| self.single(field, depth)).collect());
        }
        self.single(field, depth)
    }

    fn single(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        match field.kind() {
            Type::Bool => Value::Bool(self.roll(2) == 1),
            Type::String => Value::String(self.text()),
            Type::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Type::Uint32 => Value::U32(u32::try_from(self.roll(1 << 32)).unwrap()),
            Type::Uint64 => Value::U64(self.roll(u64::MAX)),
            Type::Int64 => Value::I64(self.roll(u64::MAX).cast_signed()),
            Type::Int32 => Value::I32(i32::try_from(self.roll(1 << 31)).unwrap()),
            Type::Enum(it) => {
                let values: Vec<i32> = it.values().map(|value| value.number()).collect();
                Value::EnumNumber(values[usize::try_from(self.roll(values.len() as u64)).unwrap()])
            }
            Type::Message(it) => Value::Message(self.message(&it, depth.saturating_sub(1))),
            other => panic!("no message of ours has a field of type {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn messages_go_to_json_and_back(seed in any::<u64>()) {
        let mut dice = Dice(SplitMix64(seed));
        for _ in 0..4 {
            let descriptor = &types()[usize::try_from(dice.roll(types().len() as u64)).unwrap()];
            let message = dice.message(descriptor, 4);
            let text = write(descriptor, &message.encode_to_vec()).unwrap();
            let back = read(descriptor.clone(), &text).map_err(|status| status.message().to_owned());
            // Compared as they are on the wire, where zero and unset are one; maps have no order there.
            let wire = |message: &DynamicMessage| DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).unwrap();
            prop_assert!(back.as_ref().map(wire) == Ok(wire(&message)), "{}: {}", descriptor.full_name(), String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"a-z0-9. -]{0,60}") {
        for descriptor in [proto_of("CreateOverrideRequest"), proto_of("WhyResponse"), proto_of("ApplyPlanRequest")] {
            if let Err(status) = read(descriptor, text.as_bytes()) {
                prop_assert_eq!(status.code(), tonic::Code::InvalidArgument);
            }
        }
    }
}

fn proto_of(name: &str) -> MessageDescriptor {
    types().iter().find(|it| it.name() == name).unwrap().clone()
}

fn refused(name: &str, text: &str) -> String {
    match read(proto_of(name), text.as_bytes()) {
        Ok(_) => panic!("it was read: {text}"),
        Err(status) => status.message().to_owned(),
    }
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    for (text, named) in [
        (r#"{"overide": {}}"#, "overide"),
        (r#"{"override": {"scoop": 1}}"#, "scoop"),
        (r#"{"override": {"kind": "KIND_DRAINN"}}"#, "KIND_DRAINN"),
        (r#"{"validateOnly": "yes"}"#, "yes"),
        (r#"{"override": {"expireTime": "tomorrow"}}"#, "expireTime"),
        (r#"{"reason": "a"} {"reason": "b"}"#, "trailing"),
        (r#"{"override": {"weight": 4294967296}}"#, "weight"),
    ] {
        let message = refused("CreateOverrideRequest", text);
        assert!(message.contains(named) || message.contains("line 1"), "{text}: {message}");
    }
    assert!(refused("CreateOverrideRequest", r#"{"overide": {}}"#).contains("overide"));
}

#[test]
fn two_ends_are_one_too_many() {
    let text = r#"{"override": {"ttl": "60s", "expireTime": "2026-11-22T03:03:20Z"}}"#;
    assert!(!refused("CreateOverrideRequest", text).is_empty());
}

#[test]
fn deep_json_is_refused_before_the_stack_ends() {
    let deep = |n: usize| format!("{}1{}", r#"{"because":["#.repeat(n), "]}".repeat(n));
    assert!(refused("Reason", &deep(100_000)).contains("recursion"));
    let list = format!(r#"{{"page_size": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(!refused("ListRegionsRequest", &list).is_empty());
}

#[test]
fn empty_lists_and_zeros_are_written_and_what_is_unset_is_not() {
    let message = proto::ListRegionsResponse { regions: Vec::new(), next_page_token: String::new(), picture: None };
    let text = write(&proto_of("ListRegionsResponse"), &message.encode_to_vec()).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), r#"{"regions":[],"nextPageToken":""}"#);
}

#[test]
fn the_document_names_every_call_and_has_no_loose_end() {
    let document: serde_json::Value = serde_json::from_slice(&Mirror::shared().document).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for method in crate::api::auth::methods::METHODS.iter().filter(|method| method.name.starts_with("portolan.")) {
        let operations = &paths[&format!("/{}", method.name)];
        assert!(operations["post"]["description"].as_str().unwrap().contains("Least role: "), "{}", method.name);
        assert_eq!(operations.get("get").is_some(), method.kind == Kind::Read, "{}", method.name);
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        if let Some(reference) = value.get("$ref").and_then(serde_json::Value::as_str) {
            references += 1;
            assert!(schemas.contains_key(reference.strip_prefix("#/components/schemas/").unwrap()), "{reference}");
        }
        open.extend(value.as_array().into_iter().flatten());
        open.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
    }
    assert!(references > 100, "{references}");
    for (name, schema) in schemas {
        assert!(!schema["description"].as_str().unwrap_or_default().trim().is_empty(), "{name} is not described");
        for (field, property) in schema["properties"].as_object().into_iter().flatten().filter(|_| name != "Error") {
            assert!(!property["description"].as_str().unwrap_or_default().is_empty(), "{name}.{field} is not described");
        }
    }
}

#[test]
fn written_messages_are_as_the_document_says() {
    let document: serde_json::Value = serde_json::from_slice(&Mirror::shared().document).unwrap();
    let mut dice = Dice(SplitMix64(7));
    for name in ["GetStatusResponse", "ListOverridesResponse", "WhyResponse", "ApplyPlanRequest", "ListMembersResponse", "BackupResponse"] {
        let schema = serde_json::json!({
            "$ref": format!("#/components/schemas/portolan.v1.{name}"),
            "components": document["components"],
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        for _ in 0..20 {
            let message = dice.message(&proto_of(name), 4);
            let text = write(&message.descriptor(), &message.encode_to_vec()).unwrap();
            let instance: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let problems: Vec<String> = validator.iter_errors(&instance).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{name}: {problems:?}: {instance}");
        }
    }
}
