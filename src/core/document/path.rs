//! Where in a document something is: `services.api.endpoints.us-east-1[1].address`.

use std::fmt;

use super::tree::{Document, Kind, NodeId};

/// The way from the outermost value to one inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Item(usize),
}

impl Path {
    /// The outermost value.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Into a map.
    #[must_use]
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.0.push(Step::Key(key.to_string()));
        self
    }

    /// Into a list, counted from zero.
    #[must_use]
    pub fn item(mut self, position: usize) -> Self {
        self.0.push(Step::Item(position));
        self
    }

    /// The path of a node: found by walking down to it. A key of a map has the path of its value.
    #[must_use]
    pub fn of(document: &Document<'_>, node: NodeId) -> Self {
        let mut path = Self::root();
        let mut at = NodeId::ROOT;
        while at != node {
            let next = match document.kind(at) {
                Kind::Map => {
                    document.entries(at).find(|&(key, value)| key == node || document.is_inside(node, value)).map(|(key, value)| {
                        path = std::mem::take(&mut path).key(document.text(key));
                        if key == node { node } else { value }
                    })
                }
                Kind::List => document.items(at).enumerate().find(|&(_, item)| document.is_inside(node, item)).map(|(i, item)| {
                    path = std::mem::take(&mut path).item(i);
                    item
                }),
                _ => None,
            };
            let Some(next) = next else { break };
            at = next;
        }
        path
    }

    /// The node at this path, and whether the whole path exists; else the innermost value on the way that does.
    #[must_use]
    pub fn locate(&self, document: &Document<'_>) -> (NodeId, bool) {
        let mut at = NodeId::ROOT;
        for step in &self.0 {
            let next = match step {
                Step::Key(key) => document.entries(at).find(|&(name, _)| document.text(name) == key).map(|(_, value)| value),
                Step::Item(position) => document.items(at).nth(*position),
            };
            let Some(next) = next else { return (at, false) };
            at = next;
        }
        (at, true)
    }

    /// The key that leads to this path's value; `None` when it is an item, the root, or absent.
    #[must_use]
    pub fn locate_key(&self, document: &Document<'_>) -> Option<NodeId> {
        let (Step::Key(last), rest) = self.0.split_last()? else { return None };
        let (map, whole) = Self(rest.to_vec()).locate(document);
        if !whole {
            return None;
        }
        document.entries(map).find(|&(name, _)| document.text(name) == last).map(|(name, _)| name)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if key.contains(['.', '[', ' ']) || key.is_empty() => write!(f, "[\"{}\"]", key.escape_debug())?,
                Step::Key(key) if i == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Item(position) => write!(f, "[{position}]")?,
            }
        }
        Ok(())
    }
}
