//! Whether a node sees anything at all, so that one without an uplink does not take the world for dead.
//!
//! ```text
//!                          | reaches most references | does not
//!   hears other regions    | sighted                 | sighted
//!   hears no other region  | alone                   | BLIND: it abstains
//! ```
//!
//! References are targets outside all regions, and may fail by themselves: a node that hears other regions is not blind because a stranger's
//! host is gone. Other regions may be lost for real: a node that reaches its references is alone then, and its word counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most references of a node: other peers, resolvers and what the plan lists are a few dozen.
pub const REFERENCES_MAX: u16 = 256;

/// What a node sees besides its checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Reaches neither other regions nor references, or has not looked yet: what it says of any check means nothing.
    #[default]
    Blind,
    /// Reaches its references but no other region: what it says counts for whoever hears it.
    Alone,
    /// Hears other regions.
    Sighted,
}

impl Sight {
    /// Of a node that hears `n_heard` of the `n_others` other vantage regions. "Hears" is at least half of them: with fewer it is one that is
    /// nearly cut off, and must show by its references that it is not. `references` is (reached, all); `None`: not looked at yet.
    pub(super) fn of(n_heard: usize, n_others: usize, references: Option<(u16, u16)>) -> Self {
        let hears = n_heard > 0 && n_heard * 2 >= n_others;
        let sees = references.map(|(reached, all)| u32::from(reached) * 2 > u32::from(all));
        match (hears, sees) {
            (true, _) => Self::Sighted,
            // All peers stand in one region: there is nobody to be alone from.
            (false, Some(true)) if n_others == 0 => Self::Sighted,
            (false, Some(true)) => Self::Alone,
            (false, Some(false) | None) => Self::Blind,
        }
    }

    /// Whether what the node says counts.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Blind)
    }

    /// The word used in metrics, logs and `why`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Alone => "alone",
            Self::Sighted => "sighted",
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let sight = |heard, others, references| Sight::of(heard, others, references).word();
        assert_eq!(sight(2, 2, Some((3, 3))), "sighted");
        assert_eq!(sight(2, 2, Some((0, 3))), "sighted", "a dead reference blinds nobody who hears others");
        assert_eq!(sight(1, 2, None), "sighted", "one of two others is lost for real");
        assert_eq!(sight(1, 4, Some((0, 3))), "blind", "nearly cut off");
        assert_eq!(sight(1, 4, Some((2, 3))), "alone");
        assert_eq!(sight(0, 2, Some((2, 3))), "alone");
        assert_eq!(sight(0, 2, Some((1, 2))), "blind", "half is not most");
        assert_eq!(sight(0, 2, Some((0, 0))), "blind");
        assert_eq!(sight(0, 2, None), "blind", "not looked yet");
        assert_eq!(sight(0, 0, Some((1, 1))), "sighted", "peers of one region only");
        assert_eq!(sight(0, 0, Some((0, 1))), "blind");
    }
}
