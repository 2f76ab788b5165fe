//! Backups: what was seen of each class at each place, and how that stands against the plan.
//!
//! ```text
//!  plan --classes()--> Class { frequency, retention, .., places }      one look at a place
//!                            |                                      names --> Listing
//!                            |                                                  |
//!                            v                                                  v
//!                 Standing::of(class, sights, now) <----------- Sight { seen, trouble }
//!                            '--> findings: pass | warn | unknown | fail, each with what would mend it
//! ```
//!
//! What counts is the last *complete* backup: one in the making restores nothing. A place shows what is complete by names (`complete` in the plan,
//! see [`Listing::add`]), and the age counts from when that name was written last.
//!
//! Invariants: what is not known never passes, and is never zero; a look that fails takes nothing from what was seen before but its freshness; of a
//! listing that was cut short only what holds for the whole is said.
//!
//! Source: the 3-2-1 rule for second locations; the age of the last complete backup, not of the last job, as barman's `check` and pgBackRest's `info`
//! have it.

mod class;
mod judge;
mod listing;
mod pattern;
mod sight;

#[cfg(test)]
mod tests;

pub use class::{Class, Place, Source, classes};
pub use judge::{Finding, Standing, Verdict};
pub use listing::{Backup, Listing};
pub use pattern::Pattern;
pub use sight::{Proof, Seen, Sight, Trouble};
