//! A question, and the answer to it.
//!
//! [`answer`] is the one function behind every transport, every preview and every simulation; [`explain`] is the same function with its
//! reasons recorded.

pub mod message;
pub mod preview;
pub mod resolve;
pub(crate) mod role;
#[cfg(test)]
mod tests;

pub use message::{Answer, ClientSubnet, ExtendedError, Query, Rcode};
pub use preview::explain;
pub use resolve::answer;
