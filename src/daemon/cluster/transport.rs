//! The consensus' calls over the mesh.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use portolan_core::model::ids::Label;
use tracing::warn;

use crate::{
    mesh::{self, Address, CallError, Mesh},
    raft::{Call, Lane, Member, Transport, Undelivered},
};

/// How it calls, and what it learns by that.
#[derive(Debug)]
pub(super) struct PeerTransport {
    /// `None`: there are no peers, so nobody is ever called.
    pub(super) mesh: Option<Mesh>,
    /// Set by the first peer that goes on as a later recovery generation without this node: from then on this node has no say. It may well stand
    /// with others of the lost side that would be a majority of what they all remember, and they must not agree on anything among themselves.
    pub(super) left_behind: Arc<OnceLock<String>>,
}

#[async_trait]
impl Transport for PeerTransport {
    async fn call(&self, to: u64, member: &Member, lane: Lane, call: Call, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Undelivered> {
        let Some(mesh) = &self.mesh else { return Err(Undelivered::Unreachable("this node has no peers".to_owned())) };
        let address = Address { node: Label::new(&member.name), address: member.address.clone() };
        let lane = match lane {
            Lane::Log => mesh::Lane::Log,
            Lane::Heartbeat => mesh::Lane::Heartbeat,
            Lane::Snapshot => mesh::Lane::Snapshot,
        };
        mesh.raft(&address, to, lane, call.number(), body, limit).await.map_err(|error| match error {
            CallError::Unreachable(why) => Undelivered::Unreachable(why),
            CallError::Refused(why) => Undelivered::Refused(why),
            CallError::LeftBehind(why) => {
                if self.left_behind.set(why.clone()).is_ok() {
                    warn!(by = member.name, "{why}; until then this node answers DNS, and agrees on nothing");
                }
                Undelivered::Refused(why)
            }
        })
    }
}
