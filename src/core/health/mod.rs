//! From single observations to the judgement that steering uses.
//!
//! ```text
//! probe results, beats --> book (one state machine per check, one queue of deadlines) --> observed verdicts
//!                            |                                                                 |
//!                            '--> probes to start                         overrides --> overlay (observed, intended, effective)
//!                                                                                              |
//!                                            max_ejection --> ejection (who leaves the answers, who is kept and why) --> table
//! ```
//!
//! Invariants: one observation alone never takes an endpoint down unless the plan says `fall: 1`; unknown is neither up nor down; what is
//! decided can be explained from the state that decided it.
//!
//! With peers, [`vantage`] stands between observed verdicts and overlay: what several regions see becomes what steering uses.
//!
//! Absent on purpose: clocks, and probing itself.

pub mod book;
pub mod ejection;
pub mod endpoint;
pub mod overlay;
pub mod slow_start;
pub mod vantage;
pub mod window;

#[cfg(test)]
mod drill;
