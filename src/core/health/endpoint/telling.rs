//! The state of a check and its changes in words.

use std::fmt;

use crate::model::{check::Cadence, time::Human, verdict::Health};

use super::{CheckState, Transition};

/// Displays a state as one line; see [`CheckState::tell`].
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    pub(super) state: &'a CheckState,
    /// `None`: derived from other checks.
    pub(super) cadence: Option<&'a Cadence>,
}

impl fmt::Display for Telling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, cadence } = self;
        write!(f, "{}", state.health())?;
        if let Some(since) = state.since() {
            write!(f, " since {since}")?;
        }
        if let Some(cadence) = cadence {
            progress(f, state, cadence)?;
        }
        if state.health() != Health::Unknown && !state.is_judged() {
            write!(f, ", as saved before this start")?;
        }
        match state.failure() {
            Some(failure) => write!(f, "; {failure}"),
            None => Ok(()),
        }
    }
}

/// What counts towards the next judgement.
fn progress(f: &mut fmt::Formatter<'_>, state: &CheckState, cadence: &Cadence) -> fmt::Result {
    let (passed, failed) = state.in_a_row();
    match state.health() {
        Health::Unknown if state.counts() == (0, 0) => write!(f, ", not probed yet"),
        Health::Unknown | Health::Up if failed > 0 => write!(f, ", {failed} of {} failures in a row that make it down", cadence.fall),
        Health::Unknown | Health::Up => Ok(()),
        Health::Down => {
            let (needed, drops) = (state.needed(cadence), state.drops_before());
            write!(f, ", {passed} of {needed} successes in a row that bring it back")?;
            if needed == cadence.rise {
                return Ok(());
            }
            let plural = if drops == 1 { "" } else { "s" };
            write!(f, " ({} doubled for {drops} drop{plural} in the {} before)", cadence.rise, Human(cadence.flap.window))
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        let plural = if self.run == 1 { "" } else { "s" };
        match (self.to, &self.failure) {
            (_, _) if self.run == 0 => {}
            (Health::Down, _) => write!(f, " after {} failure{plural} in a row, {} needed to return", self.run, self.needed)?,
            (Health::Up, _) => write!(f, " after {} success{} in a row", self.run, if self.run == 1 { "" } else { "es" })?,
            (Health::Unknown, _) => {}
        }
        match &self.failure {
            Some(failure) => write!(f, "; {failure}"),
            None => Ok(()),
        }
    }
}
