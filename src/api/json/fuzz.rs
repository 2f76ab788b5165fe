//! Entry for fuzzing: what strangers send to the mirror.

use prost::Message as _;
use prost_reflect::DynamicMessage;

use super::{Mirror, from_query, read, write};
use crate::api::event_log::Token;

/// Reads octets as a call: a line with the name of a method, then its JSON, which is tried as the query of a `GET`, too; and as an event token.
///
/// # Panics
/// Never, for any input; it panics itself where a promise is broken: what was read, is written and read again must be the same.
pub fn fuzz_json(data: &[u8]) {
    let mirror = Mirror::shared();
    let end = data.iter().position(|octet| *octet == b'\n').unwrap_or(0);
    let (name, body) = data.split_at(end);
    let name = String::from_utf8_lossy(name);
    let found = mirror.methods.iter().find(|(method, _)| method.ends_with(&*name)).or_else(|| mirror.methods.iter().next());
    let Some((_, method)) = found else { return };
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    if let Ok(message) = read(method.input(), body)
        && let Ok(text) = write(&method.input(), &message.encode_to_vec())
    {
        // On the wire zero and unset are one.
        let wire = |message: &DynamicMessage| DynamicMessage::decode(method.input(), message.encode_to_vec().as_slice());
        let again = read(method.input(), &text).map_err(|status| status.message().to_owned());
        assert_eq!(again.as_ref().map(wire), Ok(wire(&message)), "another message after being written and read");
    }
    let text = String::from_utf8_lossy(body);
    // Only that it ends; what it means is the next reader's.
    let _ = from_query(method, &text);
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string(), text, "a token has two forms");
    }
}
