//! The tree itself: nodes in one vector, in the order of the source.

use std::fmt;

use thiserror::Error;

/// The largest document read, in octets. A plan of 10,000 services is about 5 MB; positions fit into 32 bits with room.
pub const OCTETS_MAX: usize = 16 * 1024 * 1024;
/// The most nodes of a document: four times what a plan of 10,000 services needs.
pub const NODES_MAX: usize = 2_000_000;
/// The deepest nesting: a plan needs about ten levels, and recursion over the tree must stay cheap.
pub const DEPTH_MAX: usize = 64;

/// Position of a node in its document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The outermost value.
    pub const ROOT: Self = Self(0);

    const fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar without quotes.
    Plain,
    /// A scalar in quotes, or a block scalar: always a text.
    Quoted,
    /// A list.
    List,
    /// A map: its children are key, value, key, value …
    Map,
    /// Something that was refused and reported while reading; nothing more is said about it.
    Void,
}

#[derive(Clone, Copy)]
struct Node {
    /// Octets of the source.
    start: u32,
    end: u32,
    /// Scalars: where the text begins. Collections: the node after the subtree.
    first: u32,
    /// Scalars: octets of text. Collections: how many children.
    second: u32,
    kind: Kind,
    /// The text is in `unescaped`, not in the source.
    owned: bool,
}

/// A document as a tree. Borrowed from its source.
pub struct Document<'s> {
    source: &'s str,
    unescaped: String,
    nodes: Vec<Node>,
}

/// Why a document cannot be held, before anything in it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// More than [`OCTETS_MAX`].
    #[error("the document has more than {OCTETS_MAX} octets")]
    Octets,
    /// More than [`NODES_MAX`].
    #[error("the document has more than {NODES_MAX} values")]
    Nodes,
    /// Deeper than [`DEPTH_MAX`].
    #[error("values are nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// A map or a list was left open, or there is no value, or more than one.
    #[error("the document is not one whole value")]
    Shape,
}

/// Takes a document in the order of its source.
pub struct Builder<'s> {
    document: Document<'s>,
    open: Vec<u32>,
}

impl<'s> Builder<'s> {
    /// Begins a document.
    ///
    /// # Errors
    /// When the source is too large.
    pub fn new(source: &'s str) -> Result<Self, BuildError> {
        if source.len() > OCTETS_MAX {
            return Err(BuildError::Octets);
        }
        // About one value per twelve octets in the plans that we know; growing once more is cheaper than twice the memory.
        let nodes = Vec::with_capacity((source.len() / 12).min(NODES_MAX) + 8);
        Ok(Self { document: Document { source, unescaped: String::new(), nodes }, open: Vec::new() })
    }

    /// Adds a scalar that stands at these octets of the source and means `text`.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn scalar(&mut self, kind: Kind, start: usize, end: usize, text: &str) -> Result<NodeId, BuildError> {
        let end = end.max(start).min(self.document.source.len());
        let start = start.min(end);
        // The usual cases are `text` and `"text"`: then the source holds it.
        let inside = [start, start + 1]
            .into_iter()
            .find(|&at| self.document.source.get(at..at + text.len()) == Some(text) && at + text.len() <= end);
        let (first, owned) = match inside {
            Some(at) => (at, false),
            None => {
                let at = self.document.unescaped.len();
                if at + text.len() > OCTETS_MAX {
                    return Err(BuildError::Octets);
                }
                self.document.unescaped.push_str(text);
                (at, true)
            }
        };
        self.push(Node { start: small(start), end: small(end), first: small(first), second: small(text.len()), kind, owned })
    }

    /// Opens a list or a map at this octet.
    ///
    /// # Errors
    /// When there are too many values, or too many levels.
    pub fn open(&mut self, kind: Kind, start: usize) -> Result<NodeId, BuildError> {
        if self.open.len() == DEPTH_MAX {
            return Err(BuildError::Depth);
        }
        let start = small(start.min(self.document.source.len()));
        let id = self.push(Node { start, end: start, first: 0, second: 0, kind, owned: false })?;
        self.open.push(id.0);
        Ok(id)
    }

    /// Closes the innermost open list or map, which ends before this octet.
    ///
    /// # Errors
    /// When none is open.
    pub fn close(&mut self, end: usize) -> Result<NodeId, BuildError> {
        let id = self.open.pop().ok_or(BuildError::Shape)?;
        let after = small(self.document.nodes.len());
        let node = &mut self.document.nodes[id as usize];
        node.first = after;
        node.end = small(end.min(self.document.source.len())).max(node.start);
        Ok(NodeId(id))
    }

    /// Whether the next child of the innermost open map is a key.
    #[must_use]
    pub fn at_key(&self) -> bool {
        self.open.last().is_some_and(|&id| {
            let node = &self.document.nodes[id as usize];
            node.kind == Kind::Map && node.second.is_multiple_of(2)
        })
    }

    /// The document, when it is one whole value.
    ///
    /// # Errors
    /// When it is not.
    pub fn finish(self) -> Result<Document<'s>, BuildError> {
        let whole = self.document.nodes.first().map(|root| match root.kind {
            Kind::List | Kind::Map => root.first as usize,
            _ => 1,
        });
        let even = self.document.nodes.iter().all(|node| node.kind != Kind::Map || node.second.is_multiple_of(2));
        if self.open.is_empty() && even && whole == Some(self.document.nodes.len()) { Ok(self.document) } else { Err(BuildError::Shape) }
    }

    fn push(&mut self, node: Node) -> Result<NodeId, BuildError> {
        if self.document.nodes.len() == NODES_MAX {
            return Err(BuildError::Nodes);
        }
        if let Some(&parent) = self.open.last() {
            self.document.nodes[parent as usize].second += 1;
        }
        let id = NodeId(small(self.document.nodes.len()));
        self.document.nodes.push(node);
        Ok(id)
    }
}

fn small(octets: usize) -> u32 {
    u32::try_from(octets).expect("invariant: OCTETS_MAX and NODES_MAX are below 2^32")
}

impl<'s> Document<'s> {
    /// The whole text.
    #[must_use]
    pub const fn source(&self) -> &'s str {
        self.source
    }

    /// What the node is.
    #[must_use]
    pub fn kind(&self, node: NodeId) -> Kind {
        self.nodes[node.get()].kind
    }

    /// Where it begins, in octets of the source.
    #[must_use]
    pub fn start(&self, node: NodeId) -> usize {
        self.nodes[node.get()].start as usize
    }

    /// Where it ends, in octets of the source.
    #[must_use]
    pub fn end(&self, node: NodeId) -> usize {
        self.nodes[node.get()].end as usize
    }

    /// The text of a scalar; empty for anything else.
    #[must_use]
    pub fn text(&self, node: NodeId) -> &str {
        let node = &self.nodes[node.get()];
        if !matches!(node.kind, Kind::Plain | Kind::Quoted) {
            return "";
        }
        let range = node.first as usize..(node.first + node.second) as usize;
        if node.owned { &self.unescaped[range] } else { &self.source[range] }
    }

    /// How many values the document has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a document has at least one value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The items of a list; nothing for anything else.
    pub fn items(&self, list: NodeId) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.children(list, Kind::List)
    }

    /// The keys and values of a map, in the order of the source; nothing for anything else.
    pub fn entries(&self, map: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + Clone + '_ {
        let mut children = self.children(map, Kind::Map);
        std::iter::from_fn(move || Some((children.next()?, children.next()?)))
    }

    /// How many items or entries a collection has; zero for scalars.
    #[must_use]
    pub fn count(&self, node: NodeId) -> usize {
        let node = &self.nodes[node.get()];
        match node.kind {
            Kind::List => node.second as usize,
            Kind::Map => node.second as usize / 2,
            _ => 0,
        }
    }

    fn children(&self, parent: NodeId, kind: Kind) -> impl Iterator<Item = NodeId> + Clone + '_ {
        let end = if self.kind(parent) == kind { self.after(parent) } else { 0 };
        let mut at = parent.0 + 1;
        std::iter::from_fn(move || {
            let child = (at < end).then_some(NodeId(at))?;
            at = self.after(child);
            Some(child)
        })
    }

    /// The position behind the node and all that is in it.
    pub(super) fn after(&self, id: NodeId) -> u32 {
        let node = &self.nodes[id.get()];
        if matches!(node.kind, Kind::List | Kind::Map) { node.first } else { id.0 + 1 }
    }

    /// Whether `node` is `ancestor` or lies inside it.
    pub(super) fn is_inside(&self, node: NodeId, ancestor: NodeId) -> bool {
        (ancestor.0..self.after(ancestor)).contains(&node.0)
    }

    /// Feeds everything that gives the document its meaning: structure and texts, but neither comments nor layout. Two documents that
    /// feed the same octets mean the same.
    pub fn feed(&self, mut sink: impl FnMut(&[u8])) {
        for (i, node) in self.nodes.iter().enumerate() {
            let tag = match node.kind {
                Kind::Plain => b'p',
                Kind::Quoted => b'q',
                Kind::List => b'l',
                Kind::Map => b'm',
                Kind::Void => b'v',
            };
            sink(&[tag]);
            sink(&node.second.to_be_bytes());
            sink(self.text(NodeId(small(i))).as_bytes());
        }
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} values, {} octets)", self.nodes.len(), self.source.len())
    }
}
