//! The examples load; what is wrong is refused at its line; nothing panics.

mod bad;
mod examples;
mod groups;
mod mutations;
mod seed;
