//! The vocabulary: small values that cannot be wrong, shared by every other module of the core.
//!
//! Nothing here decides anything. A value that exists is valid; the constructors are the only place where it can be refused.

pub mod causes;
pub mod check;
pub mod follow;
pub mod group;
pub mod ids;
pub mod mix;
pub mod name;
pub mod reason;
pub mod record;
pub mod time;
pub mod topology;
pub mod units;
pub mod verdict;
