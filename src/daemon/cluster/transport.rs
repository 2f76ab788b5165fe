//! The consensus' calls over the mesh.

use std::time::Duration;

use async_trait::async_trait;
use portolan_core::model::ids::Label;

use crate::{
    mesh::{self, Address, CallError, Mesh},
    raft::{Call, Lane, Member, Transport, Undelivered},
};

/// `None`: there are no peers, so nobody is ever called.
#[derive(Debug)]
pub(super) struct PeerTransport {
    pub(super) mesh: Option<Mesh>,
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
        })
    }
}
