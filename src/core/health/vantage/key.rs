//! What nodes call a check when they speak of it to each other.

use std::{collections::BTreeMap, fmt};

use crate::{
    health::book::{calculated::Formulas, reload::identities},
    model::{check::Check, ids::CheckIdx},
};

/// A check, by what it looks at: the same on every node whose plan has it, wherever it stands there.
///
/// Cadence is no part of it, so that a plan with other intervals is still understood. Checks that look at the same thing by different
/// cadences are told apart by the order of their cadences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey(u128);

impl CheckKey {
    /// The key with this number, as it comes over the wire.
    #[must_use]
    pub const fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// Its number, for the wire.
    #[must_use]
    pub const fn number(self) -> u128 {
        self.0
    }
}

impl fmt::Display for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The key of every check, by position. No two are equal. O(n log n).
#[must_use]
pub fn keys(checks: &[Check]) -> Vec<CheckKey> {
    let identities = identities(checks, &Formulas::new(checks));
    let mut alike: BTreeMap<_, Vec<CheckIdx>> = BTreeMap::new();
    for (position, identity) in identities.iter().enumerate() {
        alike.entry(*identity).or_default().push(CheckIdx::at(position));
    }
    let mut keys = vec![CheckKey(0); checks.len()];
    for (identity, mut positions) in alike {
        positions.sort_by_key(|check| (&checks[check.get()].probe.cadence, *check));
        for (nth, check) in positions.into_iter().enumerate() {
            keys[check.get()] = CheckKey(identity.nth(nth));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::drill::parse_check;

    #[test]
    fn a_key_is_what_is_looked_at_wherever_it_stands() {
        let web = parse_check(&["web", "tcp", "address=192.0.2.1"], &["web"]);
        let slow = parse_check(&["web", "tcp", "address=192.0.2.1", "interval=60s"], &["web"]);
        let db = parse_check(&["db", "tcp", "address=192.0.2.2"], &["db"]);
        let here = keys(&[web.clone(), slow.clone(), db.clone()]);
        assert_eq!(keys(&[db.clone(), slow, web.clone()]), [here[2], here[1], here[0]]);
        let slower = parse_check(&["web", "tcp", "address=192.0.2.1", "interval=90s"], &["web"]);
        assert_eq!(keys(&[slower]), [here[0]], "another interval is no other check");
        assert!(here[0] != here[1] && here[0] != here[2]);
        assert_eq!(CheckKey::from_number(here[0].number()), here[0]);
    }
}
