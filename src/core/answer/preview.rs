//! An answer with its reasons.

use super::{
    message::{Answer, Query},
    resolve::answer_with,
};
use crate::{
    model::{
        reason::{Mark, Reason},
        time::Tick,
    },
    steering::Recorder,
    table::Table,
};

/// Answers a question, and says why. The leaf of the tree is [`Answer::summary`] of that very answer.
#[must_use]
pub fn explain(table: &Table, query: &Query, at: Tick) -> (Answer, Reason) {
    let mut recorder = Recorder::default();
    let answer = answer_with(table, query, at, &mut recorder);
    let mut reason = Reason::new(Mark::Info, format!("{} {}", query.name, query.record_type));
    reason.because = recorder.reasons;
    if let Some(error) = answer.extended_error.as_ref().filter(|error| !error.text.is_empty()) {
        reason.because.push(Reason::new(Mark::Info, format!("extended error {}: {}", error.code, error.text)));
    }
    reason.because.push(Reason::new(Mark::Leaf, answer.summary()));
    (answer, reason)
}
