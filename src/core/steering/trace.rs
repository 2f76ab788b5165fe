//! Where the stages tell what they did.
//!
//! One code path serves and explains: the served one runs with [`Silent`], which costs nothing, so an explanation cannot differ from an
//! answer.

use crate::model::reason::Reason;

/// Takes reasons, or does not.
pub trait Trace {
    /// Records what `reason` makes; a silent trace never calls it.
    fn note(&mut self, reason: impl FnOnce() -> Reason);
}

/// Records nothing.
pub struct Silent;

impl Trace for Silent {
    #[inline]
    fn note(&mut self, _reason: impl FnOnce() -> Reason) {}
}

/// Records everything, in order.
#[derive(Default)]
pub struct Recorder {
    /// What was noted.
    pub reasons: Vec<Reason>,
}

impl Trace for Recorder {
    fn note(&mut self, reason: impl FnOnce() -> Reason) {
        self.reasons.push(reason());
    }
}
