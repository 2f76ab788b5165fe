//! What would happen: a region fails, and the very code that serves says who moves where.
//!
//! Pure and offline: the plan, a population of clients, and a set of failed regions go in; shares, overload, times and refusals come out.

pub mod population;
pub mod scenario;
#[cfg(test)]
mod tests;

pub use population::{Population, PopulationError};
pub use scenario::{Outcome, RegionOutcome, Scenario, all_well, moved, run};
