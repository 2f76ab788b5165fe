//! Database engines: what one is, and the single things that are done to it. When what is done, the core decides.

pub mod postgres;
