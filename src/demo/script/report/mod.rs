//! What was measured, beside the settings that it follows from, and what of it was expected.

mod data;
mod loss;
mod partition;

use std::fmt;

pub(super) use data::{DataApart, DataMoved};
pub(super) use loss::{Loss, LossReport, Return, Tail};
pub(super) use partition::{Apart, Mended, Ordered, PartitionReport};

use crate::demo::clients::Totals;

/// A figure with its name and what it follows from.
fn line(f: &mut fmt::Formatter<'_>, what: &str, figure: &str, follows: &str) -> fmt::Result {
    writeln!(f, "  {what:<32}{figure:>7}   {follows}")
}

fn answers(f: &mut fmt::Formatter<'_>, totals: &Totals) -> fmt::Result {
    let of = format!("to {} questions; {} clients had to go without", totals.asked, totals.unanswered);
    line(f, "DNS answers received", &totals.answered.to_string(), &of)
}
