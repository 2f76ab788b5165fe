//! Names and positions of the things in a plan.
//!
//! A *name* is what people write and what logs show. An *index* is a position in one [`Topology`](super::topology::Topology): cheap to
//! copy and compare, and meaningless with another topology.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The most regions that one plan may have: a set of regions is one machine word, and every subset of a fenced service is provable.
pub const REGIONS_MAX: usize = 32;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position as a slice index.
            #[must_use]
            pub const fn get(self) -> usize {
                self.0 as usize
            }

            /// Makes the index of position `position`.
            ///
            /// # Panics
            /// When the position does not fit: the limits of the plan keep every list far below.
            #[must_use]
            pub fn at(position: usize) -> Self {
                Self(<$inner>::try_from(position).expect("invariant: lists are bounded by the limits of the plan"))
            }
        }
    };
}

index! {
    /// Position of a region in the topology.
    RegionIdx(u8)
}
index! {
    /// Position of a service in the topology.
    ServiceIdx(u32)
}
index! {
    /// Position of an endpoint in the topology, over all services.
    EndpointIdx(u32)
}
index! {
    /// Position of a check in the topology. Endpoints with the same check share one.
    CheckIdx(u32)
}

/// A name as people write it: a region, a service, a check. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(Arc<str>);

impl Label {
    /// Takes the text as it is; the plan's own rules for names are checked where plans are read.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// A set of regions of one topology.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionSet(u32);

impl RegionSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set of the first `n` regions. `n` is at most [`REGIONS_MAX`].
    #[must_use]
    pub const fn first(n: usize) -> Self {
        if n >= REGIONS_MAX { Self(u32::MAX) } else { Self((1 << n) - 1) }
    }

    /// The set with these bits; bit i stands for region i.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Bit i stands for region i.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the region is a member.
    #[must_use]
    pub const fn contains(self, region: RegionIdx) -> bool {
        self.0 >> region.0 & 1 == 1
    }

    /// Adds a region.
    pub const fn insert(&mut self, region: RegionIdx) {
        self.0 |= 1 << region.0;
    }

    /// Removes a region.
    pub const fn remove(&mut self, region: RegionIdx) {
        self.0 &= !(1 << region.0);
    }

    /// The members of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = RegionIdx> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let lowest = rest.trailing_zeros();
            rest &= rest - 1;
            Some(RegionIdx::at(lowest as usize))
        })
    }
}

impl FromIterator<RegionIdx> for RegionSet {
    fn from_iter<I: IntoIterator<Item = RegionIdx>>(regions: I) -> Self {
        let mut set = Self::EMPTY;
        for region in regions {
            set.insert(region);
        }
        set
    }
}

impl fmt::Debug for RegionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|region| region.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_its_members_in_order() {
        let set: RegionSet = [RegionIdx(5), RegionIdx(0), RegionIdx(31)].into_iter().collect();
        assert_eq!(set.iter().map(|region| region.0).collect::<Vec<_>>(), [0, 5, 31]);
        assert_eq!(set.len(), 3);
        assert_eq!(RegionSet::first(32).len(), 32);
        assert_eq!(RegionSet::first(3).without(set).iter().map(|region| region.0).collect::<Vec<_>>(), [1, 2]);
    }
}
