//! A question, and the answer to it.

pub mod message;

pub use message::{Answer, ClientSubnet, ExtendedError, Query, Rcode};
