//! The chain of what was asked and what became of it.
//!
//! Made where entries are applied, so that every node has the same chain and none can keep an entry out of it. Each link's hash covers the
//! link before: one changed octet anywhere breaks the chain there. The state keeps the newest links; where they begin, it keeps the hash of
//! the one before, so that an export goes on without a gap.
//!
//! Hashed is not the JSON, but fields in a fixed order, each text behind its length: no two links give the same octets, and the form of
//! exports may change.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{entry::Role, limits::AUDIT_WINDOW};
use crate::model::time::Timestamp;

/// In front of every link's octets: this chain, this form.
const DOMAIN: &[u8] = b"portolan audit 1";

/// A SHA-256; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    /// Upper case is refused: one hash has one form.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |octet: u8| match octet {
            b'0'..=b'9' => Some(octet - b'0'),
            b'a'..=b'f' => Some(octet - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(D::Error::custom("a hash has 64 digits"));
        }
        for (octet, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = digit(pair[0]).zip(digit(pair[1]));
            let (high, low) = digits.ok_or_else(|| D::Error::custom("a hash has digits 0-9 and a-f"))?;
            *octet = high << 4 | low;
        }
        Ok(Self(hash))
    }
}

/// One link: an entry, accepted or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Of the entry in the log.
    pub index: u64,
    /// The entry's time.
    pub at: Timestamp,
    /// Who wanted it.
    pub who: String,
    /// As which.
    pub role: Role,
    /// The change, in one line.
    pub what: String,
    /// The reason given; may be empty.
    pub why: String,
    /// What became of it, in one line.
    pub outcome: String,
    /// Hash of the link before; zeros in the first.
    pub prev: Hash,
    /// Over all of the above.
    pub hash: Hash,
}

impl AuditEntry {
    /// The hash that its fields give.
    #[must_use]
    pub fn computed_hash(&self) -> Hash {
        let mut octets = Vec::with_capacity(512);
        octets.extend_from_slice(DOMAIN);
        octets.extend_from_slice(&self.prev.0);
        octets.extend_from_slice(&self.index.to_be_bytes());
        octets.extend_from_slice(&self.at.0.to_be_bytes());
        for text in [self.who.as_str(), self.role.word(), &self.what, &self.why, &self.outcome] {
            octets.extend_from_slice(&(text.len() as u64).to_be_bytes());
            octets.extend_from_slice(text.as_bytes());
        }
        Hash::of(&[&octets])
    }
}

/// A place in the chain: after the link with this index and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// 0: before the first link.
    pub index: u64,
    /// Zeros: before the first link.
    pub hash: Hash,
}

/// The first link that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the audit chain breaks at link {position} (entry {index}): {kind}")]
pub struct Break {
    /// Position in the list that was verified, from 0.
    pub position: usize,
    /// Index of the entry that the link names.
    pub index: u64,
    /// What does not fit.
    pub kind: BreakKind,
}

/// What does not fit in a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BreakKind {
    /// A link before it is missing, changed or added.
    #[error("it does not follow the link before it")]
    Prev,
    /// Its index is not above the one before.
    #[error("its index does not grow")]
    Order,
    /// A field of it was changed.
    #[error("its hash is not that of its fields")]
    Changed,
}

/// Whether the links follow one another from `from` on; gives the place after the last.
///
/// # Errors
/// The first [`Break`].
pub fn verify<'a>(links: impl IntoIterator<Item = &'a AuditEntry>, from: Place) -> Result<Place, Break> {
    let mut place = from;
    for (position, link) in links.into_iter().enumerate() {
        let broken = |kind| Break { position, index: link.index, kind };
        if link.prev != place.hash {
            return Err(broken(BreakKind::Prev));
        }
        if link.index <= place.index {
            return Err(broken(BreakKind::Order));
        }
        if link.hash != link.computed_hash() {
            return Err(broken(BreakKind::Changed));
        }
        place = Place { index: link.index, hash: link.hash };
    }
    Ok(place)
}

/// The newest links, and where they begin and end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    begin: Place,
    head: Place,
    links: VecDeque<AuditEntry>,
}

impl Chain {
    /// Adds a link; `prev` and `hash` are filled in. The oldest leaves when there are more than [`AUDIT_WINDOW`].
    pub(super) fn push(&mut self, mut link: AuditEntry) -> AuditEntry {
        link.prev = self.head.hash;
        link.hash = link.computed_hash();
        self.head = Place { index: link.index, hash: link.hash };
        self.links.push_back(link.clone());
        while self.links.len() > AUDIT_WINDOW {
            if let Some(oldest) = self.links.pop_front() {
                self.begin = Place { index: oldest.index, hash: oldest.hash };
            }
        }
        link
    }

    /// After which link the kept ones begin.
    #[must_use]
    pub const fn begin(&self) -> Place {
        self.begin
    }

    /// The newest link; shown in every page and report.
    #[must_use]
    pub const fn head(&self) -> Place {
        self.head
    }

    /// The kept links, oldest first.
    #[must_use]
    pub fn links(&self) -> impl DoubleEndedIterator<Item = &AuditEntry> + ExactSizeIterator {
        self.links.iter()
    }

    /// Whether the kept links are whole.
    ///
    /// # Errors
    /// The first [`Break`]; at the end of the list when the head is another.
    pub fn verify(&self) -> Result<(), Break> {
        let place = verify(&self.links, self.begin)?;
        if place == self.head { Ok(()) } else { Err(Break { position: self.links.len(), index: self.head.index, kind: BreakKind::Prev }) }
    }
}
