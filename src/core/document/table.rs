//! A map from names to sections, in the order of the document.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    decode::{Decode, Reader, Word, quote},
    schema::Schemas,
    tree::NodeId,
};

/// Entries in the order in which they were written; no key twice. Looked up by search: what is looked up often is indexed by its user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table<K, V>(Vec<(K, V)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V> Table<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The position of a key.
    #[must_use]
    pub fn position(&self, key: &K) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == key)
    }
}

impl<K, V> Table<K, V> {
    /// In order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// In order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Word + Ord, V: Decode> Decode for Table<K, V> {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let map = reader.map(node, "a map")?;
        let mut entries = Vec::with_capacity(reader.document().count(node));
        let mut keys = Vec::with_capacity(reader.document().count(node));
        let mut whole = true;
        for (key_node, value_node) in map {
            let Some(text) = reader.key(key_node) else {
                whole = false;
                continue;
            };
            let key = match K::read(text) {
                Ok(key) => Some(key),
                Err(_) if text == "<<" => {
                    reader.unknown_key(key_node, &[]);
                    None
                }
                Err(problem) => {
                    reader.error(key_node, format!("{} {problem}", quote(text)), format!("write {}, {}", K::WHAT, K::EXAMPLES));
                    None
                }
            };
            match (key, V::decode(reader, value_node)) {
                (Some(key), Some(value)) => {
                    keys.push(key_node);
                    entries.push((key, value));
                }
                (Some(_), None) | (None, _) => whole = false,
            }
        }
        for twice in duplicates(entries.len(), &|a, b| entries[a].0.cmp(&entries[b].0)) {
            reader.duplicate_key(keys[twice]);
            whole = false;
        }
        whole.then_some(Self(entries))
    }

    fn schema(schemas: &mut Schemas) -> Value {
        let value = V::schema(schemas);
        table_schema(&value, K::WORDS, K::PATTERN)
    }

    fn to_json(&self) -> Value {
        self.0.iter().map(|(key, value)| (key.show(), value.to_json())).collect()
    }
}

/// The positions whose key stands at an earlier position too. One sort for all types of keys: compiled once.
fn duplicates(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    order.windows(2).filter(|pair| compare(pair[0], pair[1]).is_eq()).map(|pair| pair[1]).collect()
}

fn table_schema(value: &Value, words: &[&str], pattern: &str) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": value });
    if !words.is_empty() {
        schema["propertyNames"] = json!({ "enum": words });
    } else if !pattern.is_empty() {
        schema["propertyNames"] = json!({ "pattern": pattern });
    }
    schema
}
