//! What all tests of the lease have in common.

use std::time::Duration;

use super::Grant;
use crate::{failover::token::Token, model::time::Tick};

pub(super) const fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

pub(super) const fn token(epoch: u64) -> Token {
    Token { generation: 1, epoch }
}

pub(super) fn grant(epoch: u64) -> Grant {
    Grant { token: token(epoch), region: "us".into(), ttl: Duration::from_secs(90), margin: Duration::from_secs(10) }
}
