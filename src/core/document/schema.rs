//! JSON schema (draft 2020-12) of the sections, from the same table that reads them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::decode::Decode;

/// The sections described so far.
#[derive(Debug, Default)]
pub struct Schemas {
    definitions: BTreeMap<&'static str, Value>,
}

/// One key of a section, as its table says.
#[derive(Debug)]
pub struct Field {
    /// As it is written.
    pub key: &'static str,
    /// For people.
    pub docs: &'static str,
    /// Its value's schema.
    pub schema: Value,
    /// `None`: the key is required. Null: it may be left out, and then nothing stands for it.
    pub default: Option<Value>,
    /// Least and greatest, as text and as number.
    pub range: Option<[(String, Option<Value>); 2]>,
}

impl Schemas {
    /// Describes a section once, and refers to it from then on.
    pub fn section(&mut self, name: &'static str, docs: &str, fields: fn(&mut Self) -> Vec<Field>) -> Value {
        if !self.definitions.contains_key(name) {
            // Reserved first, so that a section that holds itself ends.
            self.definitions.insert(name, Value::Null);
            let fields = fields(self);
            let required: Vec<&str> = fields.iter().filter(|field| field.default.is_none()).map(|field| field.key).collect();
            let properties: Map<String, Value> = fields.iter().map(|field| (field.key.to_owned(), property(field))).collect();
            let mut section = json!({
                "title": name,
                "description": docs.trim(),
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            });
            if !required.is_empty() {
                section["required"] = json!(required);
            }
            self.definitions.insert(name, section);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

fn property(field: &Field) -> Value {
    let mut schema = field.schema.clone();
    let mut docs = field.docs.trim().to_owned();
    if let Some([(low, least), (high, greatest)]) = &field.range {
        match (least, greatest) {
            (Some(least), Some(greatest)) if schema["type"] != "string" => {
                schema["minimum"] = least.clone();
                schema["maximum"] = greatest.clone();
            }
            _ => docs.push_str(&format!(" From {low} to {high}.")),
        }
    }
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
        schema["default"] = default.clone();
    }
    schema["description"] = Value::from(docs);
    schema
}

/// Adds a key to a section that is shown, unless nothing stands there.
pub fn put(section: &mut Map<String, Value>, key: &str, value: Value) {
    if !value.is_null() {
        section.insert(key.to_owned(), value);
    }
}

/// The schema of a whole document.
#[must_use]
pub fn document_schema<T: Decode>(title: &str) -> Value {
    let mut schemas = Schemas::default();
    let root = T::schema(&mut schemas);
    let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title });
    schema["$ref"] = root["$ref"].clone();
    schema["$defs"] = schemas.definitions.into_iter().map(|(name, section)| (name.to_owned(), section)).collect();
    schema
}
