//! Names as octet strings whose plain order is the canonical order of RFC 4034 section 6.1.
//!
//! Why: a binary search over ten thousand names compares them a hundred thousand times, and comparing octets is far cheaper than taking
//! labels apart each time. It also makes "at or below" a test for a common prefix.
//!
//! Invariant: `a < b` as names if and only if `Key(a) < Key(b)` as octets, and `a` is at or below `b` if and only if `Key(a)` starts with
//! `Key(b)`. Labels stand from the root outwards, each closed by 0; octets 0 and 1 inside a label become `1 1` and `1 2`.

use crate::model::name::{Name, WIRE_LENGTH_MAX};

/// Closes each label; lower than every octet inside one.
const END: u8 = 0;
/// Stands before an octet that would otherwise be taken for [`END`] or for itself.
const ESCAPE: u8 = 1;
/// A label of a name has at least one octet, and its length octet.
const LABELS_MAX: usize = WIRE_LENGTH_MAX / 2;

/// The sort key of one name, on the stack.
pub(super) struct Key {
    octets: [u8; WIRE_LENGTH_MAX * 2],
    /// `ends[n]` is the length of the key of the ancestor with n labels.
    ends: [u16; LABELS_MAX + 1],
    labels: usize,
}

impl Key {
    pub(super) fn of(name: &Name) -> Self {
        let mut labels = [[].as_slice(); LABELS_MAX];
        let mut count = 0;
        for label in name.labels() {
            labels[count] = label;
            count += 1;
        }
        let mut key = Self { octets: [0; WIRE_LENGTH_MAX * 2], ends: [0; LABELS_MAX + 1], labels: count };
        let mut at = 0;
        for (depth, label) in labels[..count].iter().rev().enumerate() {
            for &octet in *label {
                if octet <= ESCAPE {
                    key.octets[at] = ESCAPE;
                    at += 1;
                }
                key.octets[at] = if octet <= ESCAPE { octet + 1 } else { octet };
                at += 1;
            }
            key.octets[at] = END;
            at += 1;
            key.ends[depth + 1] = u16::try_from(at).expect("invariant: at most two octets for each of the wire form");
        }
        key
    }

    /// How many labels the name has.
    pub(super) const fn labels(&self) -> usize {
        self.labels
    }

    /// The whole key.
    pub(super) fn octets(&self) -> &[u8] {
        self.ancestor(self.labels)
    }

    /// The key of the ancestor with `labels` labels, which are at most those of the name.
    pub(super) fn ancestor(&self, labels: usize) -> &[u8] {
        &self.octets[..usize::from(self.ends[labels])]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_name() -> impl Strategy<Value = Name> {
        // Few distinct octets, so that common ends, prefixes and the escaped octets are frequent.
        let octet = prop_oneof![Just(0_u8), Just(1), Just(2), Just(b'a'), Just(b'b'), Just(255)];
        proptest::collection::vec(proptest::collection::vec(octet, 1..4), 0..5).prop_map(|labels| {
            let mut name = Name::root();
            for label in &labels {
                name = name.child(label).unwrap();
            }
            name
        })
    }

    proptest! {
        #[test]
        fn keys_order_as_names_do(a in any_name(), b in any_name()) {
            let (left, right) = (Key::of(&a), Key::of(&b));
            prop_assert_eq!(left.octets().cmp(right.octets()), a.cmp(&b));
            prop_assert_eq!(left.octets().starts_with(right.octets()), a.is_at_or_below(&b));
        }
    }

    #[test]
    fn the_longest_names_have_keys() {
        let many = Name::from_wire(&[[1, 0].repeat(127), vec![0]].concat()).unwrap();
        assert_eq!(Key::of(&many).labels(), 127);
        let mut wide = Name::root();
        for length in [61, 63, 63, 63] {
            wide = wide.child(&vec![0; length]).unwrap();
        }
        assert_eq!(wide.wire().len(), WIRE_LENGTH_MAX);
        assert_eq!(Key::of(&wide).octets().len(), 2 * 250 + 4);
    }
}
