//! What an agent does to its database, engine by engine: what was seen in, the next verb out.
//!
//! A task of an agent ([`super::agent::Work`]) says what shall be so. A *course* looks at what is so and names the one thing that is to be done next,
//! until nothing is left. It can be begun again at any moment, after a crash of the agent, of the database or of both: what was done shows.

pub mod mariadb;
pub mod postgres;
pub mod redis;
