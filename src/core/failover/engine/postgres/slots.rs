//! Physical replication slots: what a member that is away has not received stays in the primary's log, up to a bound.
//!
//! ```text
//! primary, signed:  one slot per other member, from then on reserved --> who comes back streams on
//! standby:          names its slot where the primary has it            drops those that it had as a primary
//! ```
//!
//! Invariants: without `max_slot_wal_keep_size` no slot is made, so that no lost member fills the primary's disk; a slot whose name does not begin with
//! [`SLOT_PREFIX`] is nobody's here; one that is in use is not dropped.
//!
//! Source: PostgreSQL 15 documentation, chapters 27.2.6 and 54.19 (`pg_replication_slots`). Slots are no part of a copy, and `pg_rewind` removes them.

use std::collections::BTreeSet;

use super::settings::Settings;
use crate::{failover::concern::Concern, model::ids::Label};

/// What names of slots begin with that are made here.
pub const SLOT_PREFIX: &str = "portolan_";

/// PostgreSQL cuts longer names.
const NAME_OCTETS_MAX: usize = 63;

/// One of a server's slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name, which begins with [`SLOT_PREFIX`].
    pub name: String,
    /// Somebody streams by it.
    pub is_active: bool,
    /// What it was to keep is gone: it is of no use any more.
    pub is_lost: bool,
    /// So much of the log is kept for it, in octets.
    pub keeps: u64,
}

/// What is done to a server's slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make one of this name, which keeps the log from now on.
    Make(String),
    /// Drop it.
    Drop(String),
}

/// The slot of the member in that region; `None`: its name makes none.
#[must_use]
pub fn slot_of(region: &Label) -> Option<String> {
    let is_plain = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let name = format!("{SLOT_PREFIX}{}", region.as_str().replace('-', "_"));
    (region.as_str().bytes().all(is_plain) && name.len() <= NAME_OCTETS_MAX).then_some(name)
}

/// What is to be done to the slots of a server. `others`: the members beside it, as the plan says; empty: that is not known, and nothing is done.
/// `leads`: it is the primary, and bears a token; else it is a standby. `is_bound`: `max_slot_wal_keep_size` is set.
#[must_use]
pub fn changes(slots: &[Slot], others: &[Label], leads: bool, is_bound: bool) -> Vec<Change> {
    if others.is_empty() {
        return Vec::new();
    }
    let wanted: BTreeSet<String> = others.iter().filter_map(slot_of).filter(|_| leads && is_bound).collect();
    let is_useless = |slot: &&Slot| !slot.is_active && (slot.is_lost || !wanted.contains(&slot.name));
    let drops = slots.iter().filter(is_useless).map(|slot| Change::Drop(slot.name.clone()));
    let makes = wanted.iter().filter(|name| slots.iter().all(|slot| slot.name != **name)).cloned().map(Change::Make);
    drops.chain(makes).collect()
}

/// The slot that a standby is to name to receive by; `None`: as it is. `set`: the one that it names, empty: none. `there`: whether its primary has one for it.
#[must_use]
pub fn to_name(own: &Label, set: &str, there: bool) -> Option<String> {
    let wanted = if there { slot_of(own).unwrap_or_default() } else { String::new() };
    // One that its operator named is the operator's.
    let is_ours = set.is_empty() || set.starts_with(SLOT_PREFIX);
    (is_ours && wanted != set).then_some(wanted)
}

impl Settings {
    /// What is amiss with its slots. `leads`: as in [`changes`].
    #[must_use]
    pub(super) fn slot_concerns(&self, slots: &[Slot], leads: bool) -> Option<Concern> {
        let Some(bound) = self.slots_keep else {
            let text = format!(
                "max_slot_wal_keep_size is not set, so no slots are made, which could fill the disk: who is away for longer than {} MiB of writes \
                 (wal_keep_size) finds its place in the primary's log gone",
                self.keeps
            );
            return Some(Concern::new("slots", text, "set max_slot_wal_keep_size to what the disk has to spare"));
        };
        let mut unused = slots.iter().filter(|slot| leads && !slot.is_active);
        let slot = unused.next()?;
        let text =
            format!("nobody receives by slot {}: {} MiB of the log are kept for it, {bound} MiB at the most", slot.name, slot.keeps >> 20);
        Some(Concern::new("slots", text, "bring the member back, or take it out of the plan"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn slot(name: &str) -> Slot {
        Slot { name: name.to_owned(), is_active: false, is_lost: false, keeps: 5 << 20 }
    }

    fn regions(names: &[&str]) -> Vec<Label> {
        names.iter().map(|name| Label::new(name)).collect()
    }

    #[test]
    fn a_primary_has_one_for_each_other_member_and_a_standby_has_none() {
        let others = regions(&["ap-south-1", "eu"]);
        let [ap, eu] = ["portolan_ap_south_1", "portolan_eu"];
        let made = changes(&[], &others, true, true);
        assert_eq!(made, [Change::Make(ap.to_owned()), Change::Make(eu.to_owned())]);
        assert_eq!(changes(&[slot(ap), slot(eu)], &others, true, true), []);
        let (left, active) = (slot("portolan_us"), Slot { is_active: true, ..slot("portolan_us") });
        assert_eq!(changes(&[slot(ap), slot(eu), left], &others, true, true), [Change::Drop("portolan_us".to_owned())], "it left the plan");
        assert_eq!(changes(&[slot(ap), slot(eu), active], &others, true, true), [], "as long as it receives");
        assert_eq!(changes(&[slot(eu)], &others, false, true), [Change::Drop(eu.to_owned())], "it was the primary");
        assert_eq!(changes(&[slot(ap)], &others, true, false), [Change::Drop(ap.to_owned())], "nothing bounds it any more");
        let lost = Slot { is_lost: true, ..slot(eu) };
        assert_eq!(changes(&[slot(ap), lost], &others, true, true), [Change::Drop(eu.to_owned())], "it is made again after that");
        assert_eq!(changes(&[slot(ap)], &[], false, true), [], "nobody has said yet who the members are");
    }

    #[test]
    fn a_standby_names_its_slot_where_there_is_one_and_leaves_its_operators() {
        let eu = Label::new("eu");
        assert_eq!(to_name(&eu, "", true).as_deref(), Some("portolan_eu"));
        assert_eq!((to_name(&eu, "portolan_eu", true), to_name(&eu, "", false)), (None, None));
        assert_eq!(to_name(&eu, "portolan_eu", false).as_deref(), Some(""), "else it could receive nothing");
        assert_eq!((to_name(&eu, "by_hand", true), to_name(&eu, "by_hand", false)), (None, None));
        assert_eq!((slot_of(&Label::new("EU")), slot_of(&Label::new(&"x".repeat(60))), slot_of(&Label::new("a_b"))), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_slot_that_is_used_is_dropped_and_none_is_made_without_a_bound(
            names in vec(select(vec!["ap", "eu", "us", "gone"]), 0..4), flags in vec(any::<(bool, bool)>(), 4), leads: bool, is_bound: bool
        ) {
            let slots: Vec<Slot> = names.iter().zip(flags).map(|(name, (is_active, is_lost))| {
                Slot { is_active, is_lost, ..slot(&format!("{SLOT_PREFIX}{name}")) }
            }).collect();
            for change in changes(&slots, &regions(&["ap", "eu"]), leads, is_bound) {
                match change {
                    Change::Make(name) => prop_assert!(leads && is_bound && slots.iter().all(|slot| slot.name != name)),
                    Change::Drop(name) => prop_assert!(slots.iter().any(|slot| slot.name == name && !slot.is_active)),
                }
            }
        }
    }
}
