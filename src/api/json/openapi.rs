//! The mirror described in OpenAPI 3.1, from the descriptors and their comments: what is served and what is written cannot differ.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind as Type, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use crate::api::auth::methods::{self, Kind};

/// The document, as JSON.
pub(super) fn document(pool: &DescriptorPool) -> String {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for service in pool.services() {
        tags.push(json!({ "name": service.name(), "description": comment(&service.parent_file(), service.path()) }));
        for method in service.methods() {
            let name = format!("{}/{}", service.full_name(), method.name());
            paths.insert(format!("/{name}"), operations(&name, &method, &mut schemas));
        }
    }
    schemas.done.insert("Error".to_owned(), error_schema());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portolan control API, JSON mirror of gRPC portolan.v1",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "certificate": [] }, { "token": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.done,
            "securitySchemes": {
                "certificate": { "type": "mutualTLS", "description": "A client certificate signed by `tls.ca_file`." },
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of the issuer in `auth.jwt`." },
            },
        },
    });
    document.to_string()
}

fn operations(name: &str, method: &MethodDescriptor, schemas: &mut Schemas) -> Value {
    let text = comment(&method.parent_file(), method.path());
    let role = methods::find(name).and_then(|method| method.least).map_or("none", |role| role.word());
    let (form, what) =
        if method.is_server_streaming() { ("application/x-ndjson", "One object per line.") } else { ("application/json", "Done.") };
    let answer = schemas.of(&method.output());
    let common = |id: String| {
        json!({
            "operationId": id,
            "tags": [method.parent_service().name()],
            "description": format!("{text}\n\nLeast role: {role}."),
            "responses": {
                "200": { "description": what, "content": { form: { "schema": answer } } },
                "default": { "description": "Refused.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } },
            },
        })
    };
    let id = name.rsplit('/').next().unwrap_or(name);
    let mut post = common(id.to_owned());
    post["requestBody"] = json!({ "content": { "application/json": { "schema": schemas.of(&method.input()) } } });
    let mut operations = json!({ "post": post });
    if methods::find(name).is_some_and(|method| method.kind == Kind::Read) {
        let mut get = common(format!("{id}ByGet"));
        let plain = method.input().fields().filter(|field| !matches!(field.kind(), Type::Message(_))).collect::<Vec<_>>();
        let parameters = plain.iter().map(|field| {
            let about = comment(&field.parent_message().parent_file(), field.path());
            json!({ "name": field.json_name(), "in": "query", "description": about, "schema": schemas.field(field) })
        });
        get["parameters"] = parameters.collect();
        operations["get"] = get;
    }
    operations
}

/// Schemas by the full name of their message, made as they are met.
#[derive(Default)]
struct Schemas {
    done: BTreeMap<String, Value>,
}

impl Schemas {
    fn of(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => return json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => {
                return json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1800s"] });
            }
            _ => {}
        }
        let name = message.full_name().to_owned();
        if !self.done.contains_key(&name) {
            // Before its fields, for those that hold themselves.
            self.done.insert(name.clone(), Value::Null);
            let properties: Map<String, Value> = message
                .fields()
                .map(|field| {
                    let mut schema = self.field(&field);
                    let about = comment(&message.parent_file(), field.path());
                    // Beside a reference, too: OpenAPI 3.1 allows it (JSON Schema 2020-12).
                    schema["description"] = about.into();
                    (field.json_name().to_owned(), schema)
                })
                .collect();
            let about = comment(&message.parent_file(), message.path());
            let schema = json!({ "type": "object", "description": about, "properties": properties, "additionalProperties": false });
            self.done.insert(name.clone(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Type::Message(entry) = field.kind() else { return json!({}) };
            return json!({ "type": "object", "additionalProperties": self.single(&entry.map_entry_value_field()) });
        }
        let single = self.single(field);
        if field.is_list() { json!({ "type": "array", "items": single }) } else { single }
    }

    fn single(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Type::Message(message) => self.of(&message),
            Type::Enum(it) => self.of_enum(&it),
            Type::Bool => json!({ "type": "boolean" }),
            Type::String => json!({ "type": "string" }),
            Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Type::Double | Type::Float => json!({ "type": "number" }),
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" }),
            Type::Uint64 | Type::Fixed64 => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]+$" }),
        }
    }

    fn of_enum(&mut self, it: &EnumDescriptor) -> Value {
        let name = it.full_name().to_owned();
        let values = it.values().map(|value| value.name().to_owned());
        let lines = it.values().map(|value| format!("- `{}`: {}", value.name(), comment(&it.parent_file(), value.path())));
        let about = format!("{}\n\n{}", comment(&it.parent_file(), it.path()), lines.collect::<Vec<_>>().join("\n"));
        let schema = json!({ "type": "string", "enum": values.collect::<Vec<_>>(), "description": about });
        self.done.entry(name.clone()).or_insert(schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "A refusal (AIP-193). `details` holds google.rpc.ErrorInfo with a stable `reason`, and in its metadata the `remedy`.",
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "status", "message"],
                "properties": {
                    "code": { "type": "integer", "description": "The HTTP status." },
                    "status": { "type": "string", "description": "The gRPC code by name." },
                    "message": { "type": "string", "description": "In one sentence." },
                    "details": { "type": "array", "items": { "type": "object", "required": ["@type"] } },
                },
            },
        },
        "required": ["error"],
    })
}

/// The comment above something, in one piece.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.map(|location| location.leading_comments()).unwrap_or_default();
    // Lines of a paragraph become one; paragraphs stay.
    let text = text.replace("\n \n", "\n\n");
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n")
}
