//! From nodes to values, collecting every problem on the way.
//!
//! A decoder that fails has said why, at the node, and returns `None`; its caller goes on with the next field. So one pass finds all
//! that is wrong with the form of a document.

use std::{fmt::Display, ops::RangeInclusive, sync::Arc};

use serde_json::{Value, json};

use super::{
    problem::{Report, Severity},
    scalar::{Class, decimal_number, whole_number},
    schema::Schemas,
    suggest::did_you_mean,
    tree::{Document, Kind, NodeId},
};

/// The longest text of one value, in octets: a query or a pattern, not a file.
const TEXT_MAX: usize = 16 * 1024;
/// The most items of one list: rules compare items with one another. A larger zone stands in a zone file.
const LIST_MAX: usize = 16_384;
/// The most octets of a value that a message quotes.
const QUOTE_MAX: usize = 80;

/// A value that can be read from a document, shown again, and described.
pub trait Decode: Sized {
    /// Reads the value of a node. `None`: it cannot be one, and the reader has been told why.
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self>;

    /// Its JSON schema.
    fn schema(schemas: &mut Schemas) -> Value;

    /// As it would be written; null where it would be left out.
    fn to_json(&self) -> Value;
}

/// A value that is written as one word or text.
pub trait Word: Sized {
    /// With an article, for messages: `a duration`.
    const WHAT: &'static str;
    /// How it is written, for the fix: `for example 30s, 5m, 1h30m`.
    const EXAMPLES: &'static str;
    /// A regular expression that every one matches (ECMA 262), for the schema; empty for none.
    const PATTERN: &'static str = "";

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the text, to follow "`text`": `has no unit`.
    fn read(text: &str) -> Result<Self, String>;

    /// As it is written.
    fn show(&self) -> String;

    /// Whether what was written instead of this may be a secret, which no message repeats.
    fn is_sensitive(_text: &str) -> bool {
        false
    }

    /// Words near to `text`, where the set is closed.
    fn suggest(_text: &str) -> Option<String> {
        None
    }

    /// The closed set of words, if there is one.
    const WORDS: &'static [&'static str] = &[];
}

/// Where values come from and problems go to.
pub struct Reader<'d, 's> {
    document: &'d Document<'s>,
    report: Report,
}

impl<'d, 's> Reader<'d, 's> {
    /// Begins with a document that has these problems so far.
    #[must_use]
    pub const fn new(document: &'d Document<'s>, report: Report) -> Self {
        Self { document, report }
    }

    /// Reads the whole document as one value.
    pub fn document_as<T: Decode>(&mut self) -> Option<T> {
        T::decode(self, NodeId::ROOT)
    }

    /// The problems found.
    #[must_use]
    pub fn into_report(self) -> Report {
        self.report
    }

    /// What is read.
    #[must_use]
    pub const fn document(&self) -> &'d Document<'s> {
        self.document
    }

    /// Refuses the document because of this node.
    pub fn error(&mut self, node: NodeId, message: impl Into<String>, fix: impl Into<String>) {
        self.report.at(Severity::Error, self.document, node, message, fix);
    }

    /// Refuses the document because of this node, whose text is shown nowhere.
    pub fn error_hidden(&mut self, node: NodeId, message: impl Into<String>, fix: impl Into<String>) {
        self.report.hide(self.document.start(node)..self.document.end(node));
        self.report.at(Severity::Error, self.document, node, message, fix);
    }

    /// The text of a scalar that is to be `what`.
    pub fn scalar(&mut self, node: NodeId, what: &str) -> Option<&'d str> {
        match self.document.kind(node) {
            Kind::Plain | Kind::Quoted => Some(self.document.text(node)),
            Kind::Void => None,
            kind => {
                self.error(node, format!("is {}, not {what}", collection(kind)), format!("write {what}"));
                None
            }
        }
    }

    /// The entries of what must be a map.
    pub fn map(&mut self, node: NodeId, what: &str) -> Option<impl Iterator<Item = (NodeId, NodeId)> + Clone + use<'d, 's>> {
        match self.document.kind(node) {
            Kind::Map => Some(self.document.entries(node)),
            Kind::Void => None,
            _ => {
                let found = self.found(node);
                self.error(
                    node,
                    format!("is {found}, not {what}"),
                    format!("write {what} as a map: `key: value` lines below, or {{ key: value }}"),
                );
                None
            }
        }
    }

    /// The items of what must be a list.
    fn list(&mut self, node: NodeId) -> Option<impl Iterator<Item = NodeId> + Clone + use<'d, 's>> {
        match self.document.kind(node) {
            Kind::List => Some(self.document.items(node)),
            Kind::Void => None,
            _ => {
                let found = self.found(node);
                self.error(node, format!("is {found}, not a list"), "write a list: [a, b], or lines that begin with `- `");
                None
            }
        }
    }

    /// The text of a key; `None` when the key is no text, which was refused while reading.
    pub fn key(&self, key: NodeId) -> Option<&'d str> {
        matches!(self.document.kind(key), Kind::Plain | Kind::Quoted).then(|| self.document.text(key))
    }

    /// Reports a key that a section does not have.
    pub fn unknown_key(&mut self, key: NodeId, known: &[&'static str]) {
        let text = self.document.text(key);
        if text == "<<" {
            self.error(key, "merge keys are not supported", "write the keys out; defaults of a plan stand in its own sections");
            return;
        }
        self.error(key, format!("unknown key {}", quote(text)), did_you_mean(text, known.iter().copied()));
    }

    /// Reports a key that stands twice in one map.
    pub fn duplicate_key(&mut self, key: NodeId) {
        self.error(key, format!("the key {} stands twice in this map", quote(self.document.text(key))), "keep one of them");
    }

    /// Reports a key that a section must have.
    pub fn missing_key(&mut self, section: NodeId, key: &str, docs: &str) {
        let path = super::path::Path::of(self.document, section).key(key);
        let about = docs.split_once(". ").map_or(docs, |(first, _)| first).trim_end_matches('.');
        let fix = if about.is_empty() { format!("add `{key}`") } else { format!("add `{key}`: {}", lower_first(about)) };
        self.report.at_path(Severity::Error, self.document, &path, format!("`{key}` is missing"), fix);
    }

    /// What stands at a node, in words.
    fn found(&self, node: NodeId) -> String {
        let text = self.document.text(node);
        match self.document.kind(node) {
            Kind::Plain if Class::of(text) == Class::Null => "empty".to_owned(),
            Kind::Plain => quote(text),
            Kind::Quoted => format!("the text {}", quote(text)),
            kind => collection(kind).to_owned(),
        }
    }

    /// Refuses a value outside its range.
    pub fn check_range<T: Ranged<M>, M: Measure>(&mut self, node: NodeId, value: Option<T>, range: &RangeInclusive<M>) -> Option<T> {
        let value = value?;
        let Some(measure) = value.measure().filter(|measure| !range.contains(measure)) else { return Some(value) };
        self.out_of_range(
            node,
            &measure.show_measure(),
            measure < range.start(),
            &range.start().show_measure(),
            &range.end().show_measure(),
        );
        None
    }

    #[cold]
    fn out_of_range(&mut self, node: NodeId, value: &str, is_low: bool, low: &str, high: &str) {
        let side = if is_low { format!("less than {low}") } else { format!("more than {high}") };
        let fix = if low == high { format!("write {low}") } else { format!("write a value from {low} to {high}") };
        self.error(node, format!("{value} is {side}"), fix);
    }
}

const fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::List => "a list",
        Kind::Map => "a map",
        _ => "a text",
    }
}

/// In backticks, cut to what a message can carry.
#[must_use]
pub fn quote(text: &str) -> String {
    match text.char_indices().find(|&(at, _)| at >= QUOTE_MAX) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim().chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Something with an order that can stand in a range.
pub trait Measure: PartialOrd {
    /// As it is written.
    fn show_measure(&self) -> String;
    /// As a number of the schema, where the value is one.
    fn number(&self) -> Option<Value>;
}

/// Something that holds a measure, or does not.
pub trait Ranged<M> {
    /// The measure, if there is one.
    fn measure(&self) -> Option<&M>;
}

impl<M: Measure> Ranged<M> for M {
    fn measure(&self) -> Option<&M> {
        Some(self)
    }
}

impl<M: Measure> Ranged<M> for Option<M> {
    fn measure(&self) -> Option<&M> {
        self.as_ref()
    }
}

/// The ends of a range of some value, as text and as number.
pub fn bounds<T: Ranged<M>, M: Measure>(range: &RangeInclusive<M>) -> [(String, Option<Value>); 2] {
    [range.start(), range.end()].map(|end| (end.show_measure(), end.number()))
}

impl<T: Word> Decode for T {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let (text, class) = word(reader, node, T::WHAT, T::EXAMPLES)?;
        match T::read(text) {
            Ok(value) if class == Class::Text => Some(value),
            Ok(_) => {
                refuse_plain(reader, node, class, T::WHAT, T::EXAMPLES, T::is_sensitive(text));
                None
            }
            Err(problem) => {
                refuse_word(reader, node, &problem, T::suggest(text), T::WHAT, T::EXAMPLES, T::is_sensitive(text));
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> Value {
        word_schema(T::WORDS, T::PATTERN)
    }

    fn to_json(&self) -> Value {
        Value::from(self.show())
    }
}

// What follows is the same for every type: written once, it is compiled once.

/// The text of a word, and what YAML takes it for; what is empty is refused.
fn word<'d>(reader: &mut Reader<'d, '_>, node: NodeId, what: &str, examples: &str) -> Option<(&'d str, Class)> {
    let text = reader.scalar(node, what)?;
    let class = if reader.document().kind(node) == Kind::Plain { Class::of(text) } else { Class::Text };
    if class == Class::Null {
        reader.error(node, format!("has no value; {what} is expected"), example(what, examples));
        return None;
    }
    Some((text, class))
}

/// A word that YAML takes for something else.
#[cold]
fn refuse_plain(reader: &mut Reader<'_, '_>, node: NodeId, class: Class, what: &str, examples: &str, is_sensitive: bool) {
    let text = reader.document().text(node);
    let class = class.what();
    if is_sensitive {
        reader.error_hidden(node, format!("the value is {class} without quotes, not {what}"), example(what, examples));
    } else {
        reader.error(node, format!("{} is {class} without quotes, not {what}", quote(text)), format!("put it in quotes: \"{text}\""));
    }
}

/// A text that is not the word it should be.
#[cold]
fn refuse_word(
    reader: &mut Reader<'_, '_>,
    node: NodeId,
    problem: &str,
    suggestion: Option<String>,
    what: &str,
    examples: &str,
    is_sensitive: bool,
) {
    if is_sensitive {
        reader.error_hidden(node, format!("the value {problem}"), example(what, examples));
    } else {
        let text = reader.document().text(node);
        reader.error(node, format!("{} {problem}", quote(text)), suggestion.unwrap_or_else(|| example(what, examples)));
    }
}

fn example(what: &str, examples: &str) -> String {
    if examples.is_empty() { format!("write {what}") } else { format!("write {what}, {examples}") }
}

fn word_schema(words: &[&str], pattern: &str) -> Value {
    if !words.is_empty() {
        return json!({ "type": "string", "enum": words });
    }
    if pattern.is_empty() { json!({ "type": "string" }) } else { json!({ "type": "string", "pattern": pattern }) }
}

/// Free text of one value, at most `TEXT_MAX` octets, without control characters other than line ends and tabs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub String);

impl Text {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl Word for Text {
    const WHAT: &'static str = "a text";
    const EXAMPLES: &'static str = "in quotes where it could be taken for a number";

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("has {} octets; at most {TEXT_MAX} are allowed", text.len()));
        }
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err("holds a control character".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let text = reader.scalar(node, "true or false")?;
        match (reader.document().kind(node), text) {
            (Kind::Plain, "true") => Some(true),
            (Kind::Plain, "false") => Some(false),
            _ => {
                let found = reader.found(node);
                reader.error(node, format!("is {found}, not true or false"), "write true or false, without quotes");
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "boolean" })
    }

    fn to_json(&self) -> Value {
        Value::Bool(*self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Decode for $type {
            fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
                let number = number(reader, node, whole_number, "a whole number")?;
                let value = Self::try_from(number).ok();
                if value.is_none() {
                    refuse_number(reader, node, number, i128::from(Self::MIN), i128::from(Self::MAX));
                }
                value
            }

            fn schema(_: &mut Schemas) -> Value {
                json!({ "type": "integer", "minimum": Self::MIN, "maximum": Self::MAX })
            }

            fn to_json(&self) -> Value {
                Value::from(*self)
            }
        }

        impl Measure for $type {
            fn show_measure(&self) -> String {
                self.to_string()
            }

            fn number(&self) -> Option<Value> {
                Some(Value::from(*self))
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64);

impl Decode for f64 {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        number(reader, node, decimal_number, "a number")
    }

    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "number" })
    }

    fn to_json(&self) -> Value {
        Value::from(*self)
    }
}

impl Measure for f64 {
    fn show_measure(&self) -> String {
        self.to_string()
    }

    fn number(&self) -> Option<Value> {
        Some(Value::from(*self))
    }
}

/// A number that does not fit into its type.
#[cold]
fn refuse_number(reader: &mut Reader<'_, '_>, node: NodeId, number: i128, low: i128, high: i128) {
    reader.error(node, format!("{number} is outside {low} to {high}"), format!("write a whole number from {low} to {high}"));
}

/// Reads a number that stands without quotes, in decimal digits.
fn number<N>(reader: &mut Reader<'_, '_>, node: NodeId, read: fn(&str) -> Option<N>, what: &str) -> Option<N> {
    let text = reader.scalar(node, what)?;
    let is_plain = reader.document().kind(node) == Kind::Plain;
    if is_plain && let Some(number) = read(text) {
        return Some(number);
    }
    let found = reader.found(node);
    let fix = if !is_plain && read(text).is_some() {
        format!("remove the quotes: {text}")
    } else {
        format!("write {what} in decimal digits, without quotes, leading zeros or separators")
    };
    reader.error(node, format!("is {found}, not {what}"), fix);
    None
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        T::decode(reader, node).map(Some)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        T::schema(schemas)
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
}

impl<T: Decode> Decode for Arc<T> {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        T::decode(reader, node).map(Self::new)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        T::schema(schemas)
    }

    fn to_json(&self) -> Value {
        T::to_json(self)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let items = reader.list(node)?;
        let count = reader.document().count(node);
        if count > LIST_MAX {
            reader.error(node, format!("{count} items are too many; at most {LIST_MAX} are allowed"), "split the list");
            return None;
        }
        let mut values = Self::with_capacity(reader.document().count(node));
        let mut whole = true;
        for item in items {
            match T::decode(reader, item) {
                Some(value) => values.push(value),
                None => whole = false,
            }
        }
        whole.then_some(values)
    }

    fn schema(schemas: &mut Schemas) -> Value {
        let items = T::schema(schemas);
        json!({ "type": "array", "items": items })
    }

    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
}
