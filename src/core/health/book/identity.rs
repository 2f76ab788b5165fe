//! Which check is the same one in another topology, or after a restart.
//!
//! Positions change with every plan, so the state of a check is carried over by what it looks at: its address and its kind, not its
//! cadence. A calculated check is what it is calculated from, so its identity is made of theirs.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use crate::model::check::{Check, ProbeKind};

/// What a check looks at, as one number. Equal for equal address and kind; differs in practice for all others (128 bits).
///
/// Stable between runs of one build on one machine, which is as far as saved states travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity(u128);

impl Identity {
    /// Of `check`; `of` gives those that it is calculated from, and is empty for all other kinds.
    pub(super) fn new(check: &Check, of: &[Self]) -> Self {
        let mut fnv = Fnv::default();
        check.address.hash(&mut fnv);
        match &check.probe.kind {
            ProbeKind::Calculated { at_least, .. } => {
                // The order of positions is an accident of the plan.
                let mut of = of.to_vec();
                of.sort_unstable();
                (at_least, of.len()).hash(&mut fnv);
                of.iter().for_each(|identity| identity.0.hash(&mut fnv));
            }
            kind => kind.hash(&mut fnv),
        }
        Self(fnv.0)
    }

    /// As it stands in saved states: readable first, then exact.
    pub(super) fn key(self, check: &Check) -> String {
        match &check.address {
            Some(address) => format!("{} {address} {self}", check.probe.kind.word()),
            None => format!("{} {self}", check.probe.kind.word()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// FNV-1a with 128 bits (draft-eastlake-fnv section 5). The standard library's own hasher may change between releases.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the trait asks for 64 bits; this type is read whole")]
    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_matches_its_published_vectors() {
        let fnv = |text: &str| {
            let mut fnv = Fnv::default();
            fnv.write(text.as_bytes());
            format!("{:032x}", fnv.0)
        };
        assert_eq!(fnv(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(fnv("a"), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(fnv("foobar"), "343e1662793c64bf6f0d3597ba446f18");
    }
}
