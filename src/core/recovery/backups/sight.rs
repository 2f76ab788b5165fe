//! What is known of a place: the last look that was answered, and why a later one was not.

use std::{fmt, time::Duration};

use super::{Class, Listing};
use crate::model::time::Timestamp;

/// Whether a store proves something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is so, by the store's own word.
    Proven,
    /// It is not so, by the store's own word.
    Refuted,
    /// The store does not say: why.
    Unknown(String),
}

impl Proof {
    /// The word in the API.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refuted => "refuted",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A look that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it began: what came later was not seen.
    pub at: Timestamp,
    /// What lies there.
    pub listing: Listing,
    /// Whether what lies there is encrypted with AES-256.
    pub encryption: Proof,
    /// Whether older versions of what is overwritten or removed are kept.
    pub versioning: Proof,
}

/// The latest look was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// Why, in one line.
    pub why: String,
}

/// What is known of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The last look that was answered; `None`: none was since the start.
    pub seen: Option<Seen>,
    /// Why the latest look was not answered; `None`: it was, or there was none.
    pub trouble: Option<Trouble>,
    /// When the newest backup was complete of those that were seen, and are gone before their time; `None`: none is known.
    pub gone: Option<Timestamp>,
}

impl Sight {
    /// Takes in a look that was answered.
    pub fn note(&mut self, seen: Seen, class: &Class) {
        let before = self.seen.as_ref().filter(|before| before.listing.is_whole && seen.listing.is_whole);
        if let Some(oldest) = before.and_then(|before| before.listing.oldest)
            && seen.listing.oldest.is_none_or(|now| now > oldest)
            // Who removes them does so by its own timetable, which is as coarse as that of who makes them.
            && seen.at.since(oldest) + class.slack() < class.retention
        {
            self.gone = Some(self.gone.map_or(oldest, |gone| gone.max(oldest)));
        }
        self.seen = Some(seen);
        self.trouble = None;
    }

    /// Takes in a look that was not answered. What was seen before stays, with its age.
    pub fn fail(&mut self, at: Timestamp, why: impl Into<String>) {
        self.trouble = Some(Trouble { at, why: why.into() });
    }

    /// What was seen, if it is not older than `limit`.
    pub(super) fn current(&self, limit: Duration, now: Timestamp) -> Option<&Seen> {
        self.seen.as_ref().filter(|seen| now.since(seen.at) <= limit)
    }
}
