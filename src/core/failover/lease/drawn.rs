//! What all tests of the lease have in common.

use std::{collections::BTreeSet, time::Duration};

use super::{Class, Grant};
use crate::{
    failover::{choose::Durability, token::Token},
    model::{group::OnControlLoss, time::Tick},
};

pub(super) const fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

pub(super) const fn token(epoch: u64) -> Token {
    Token { generation: 1, epoch }
}

pub(super) const ARMED: Class = Class::Armed { supervisor: 1 };

pub(super) fn grant(epoch: u64) -> Grant {
    Grant {
        token: token(epoch),
        region: "us".into(),
        ttl: Duration::from_secs(90),
        margin: Duration::from_secs(10),
        longest: Duration::from_secs(90),
        class: ARMED,
        is_attested: true,
        durability: Durability::Async,
        on_control_loss: OnControlLoss::Fence,
        peers: BTreeSet::new(),
        above: 0,
    }
}
