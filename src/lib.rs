//! Portolan: the adapters around the core, and the composition root.

pub mod dns;
