//! What an agent does to its database, engine by engine: what was seen in, the next verb out.
//!
//! A task of an agent ([`super::agent::Work`]) says what shall be so. A *course* looks at what is so and names the one thing that is to be done next,
//! until nothing is left. It can be begun again at any moment, after a crash of the agent, of the database or of both: what was done shows.

pub mod mariadb;
pub mod postgres;
pub mod redis;

/// What runs in the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    /// Nobody knows: the supervisor does not answer. That is not nothing.
    #[default]
    Unknown,
    /// Nothing.
    Down,
    /// What the supervisor of this incarnation started.
    Ours(u64),
    /// What somebody else started.
    Foreign,
}

/// Feeds octets to everything here that reads what a database, its files or its programs say. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_engines(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let _ = (postgres::History::parse(&text, 1), postgres::History::parse(&text, u32::MAX), postgres::position(&text));
    let _ = mariadb::parse(&text);
    let _ = (redis::Info::parse(&text), redis::Line::parse(&text), redis::end_of(octets));
}
