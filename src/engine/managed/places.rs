//! Where the members of a group are, by the plan.

use std::sync::{Mutex, PoisonError};

use portolan_core::model::ids::Label;

use super::super::Members;

/// Host and port of each region.
#[derive(Debug, Default)]
pub(in crate::engine) struct Places(Mutex<Members>);

impl Places {
    pub(in crate::engine) fn set(&self, members: Members) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// The region at an address; `None`: none of the plan.
    pub(in crate::engine) fn region_at(&self, host: &str, port: u16) -> Option<Label> {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().find(|(_, (of, at))| of == host && *at == port).map(|(region, _)| region.clone())
    }

    /// How many there are beside this one.
    pub(in crate::engine) fn n_beside(&self, own: &Label) -> usize {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.keys().filter(|region| *region != own).count()
    }
}
