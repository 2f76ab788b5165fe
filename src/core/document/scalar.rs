//! What a scalar without quotes is to YAML 1.2 (core schema), so that nothing is taken for something that an editor shows otherwise.

use serde_json::Value;

use super::{
    decode::{Decode, Reader, quote},
    schema::Schemas,
    tree::{Kind, NodeId},
};
use crate::model::check::Decimal;

/// The class of a plain scalar in the YAML 1.2 core schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Null,
    Bool,
    Number,
    Text,
}

impl Class {
    pub(super) fn of(plain: &str) -> Self {
        match plain {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Self::Bool,
            _ if is_number(plain) => Self::Number,
            _ => Self::Text,
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
        }
    }
}

fn is_number(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(plain, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if let Some(digits) = plain.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = plain.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_mantissa = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    is_mantissa && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// `-?(0|[1-9][0-9]*)`: the only way to write a whole number.
pub(super) fn whole_number(plain: &str) -> Option<i128> {
    let unsigned = plain.strip_prefix('-').unwrap_or(plain);
    let is_canonical = unsigned == "0" || (!unsigned.is_empty() && !unsigned.starts_with('0'));
    if is_canonical && unsigned.bytes().all(|b| b.is_ascii_digit()) { plain.parse().ok() } else { None }
}

/// A whole number with an optional fraction: the only way to write any other number.
pub(super) fn decimal_number(plain: &str) -> Option<f64> {
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
    let is_whole = whole_number(whole).is_some();
    if is_whole && !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) { plain.parse().ok() } else { None }
}

/// A decimal number in millionths, when it is one and fits.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before the cast")]
pub(crate) fn decimal(plain: &str) -> Option<Decimal> {
    let millionths = (decimal_number(plain)? * 1e6).round();
    // Below 2^53, so that no digit is lost.
    (millionths.abs() < 9e15).then_some(Decimal(millionths as i64))
}

/// Any scalar with the type that it has in JSON: for values that are compared with JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(String);

impl Scalar {
    /// As JSON text: `"ok"`, `true`, `12`.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl Decode for Scalar {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let text = reader.scalar(node, "a text, a number, true or false")?;
        let text = match (reader.document().kind(node), Class::of(text)) {
            (Kind::Plain, Class::Null) => "null".to_owned(),
            (Kind::Plain, Class::Bool) => text.to_ascii_lowercase(),
            (Kind::Plain, Class::Number) => match decimal_number(text) {
                Some(_) => text.to_owned(),
                None => {
                    let message = format!("{} is not a number in plain decimal digits", quote(text));
                    reader.error(node, message, "write the number in decimal digits, or put the text in quotes");
                    return None;
                }
            },
            _ => Value::from(text).to_string(),
        };
        Some(Self(text))
    }

    fn schema(_: &mut Schemas) -> Value {
        serde_json::json!({ "type": ["string", "number", "boolean", "null"] })
    }

    fn to_json(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::from(self.0.as_str()))
    }
}

/// A document as JSON, scalars typed as in the YAML 1.2 core schema: what a schema validator judges.
#[must_use]
pub fn to_json(document: &super::tree::Document<'_>, node: NodeId) -> Value {
    match document.kind(node) {
        Kind::Map => document.entries(node).map(|(key, value)| (document.text(key).to_owned(), to_json(document, value))).collect(),
        Kind::List => document.items(node).map(|item| to_json(document, item)).collect(),
        Kind::Void => Value::Null,
        Kind::Quoted => Value::from(document.text(node)),
        Kind::Plain => {
            let text = document.text(node);
            match Class::of(text) {
                Class::Null => Value::Null,
                Class::Bool => Value::Bool(text.eq_ignore_ascii_case("true")),
                Class::Number => match whole_number(text).and_then(|number| i64::try_from(number).ok()) {
                    Some(number) => Value::from(number),
                    None => text.parse::<f64>().map_or(Value::Null, Value::from),
                },
                Class::Text => Value::from(text),
            }
        }
    }
}
