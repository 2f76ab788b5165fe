//! Programs of the operator that were run for an operation: what they said stands in its record.
//!
//! A fence that a program reports changes nothing else: a claim is no proof (A8), but whoever was cut off is to be let in again one day. After an operation
//! has ended it is noted once that the program was run, so that no later leader runs it again.

use super::{
    groups::{At, wrong},
    limits::{AUDIT_TEXT_MAX, NAME_MAX, line},
    refusal::{Refusal, Rule},
};
use crate::{
    failover::{
        group::{Group, Operation, Phase},
        step::{Ran, When},
    },
    model::group::Policy,
};

impl At<'_> {
    pub(super) fn ran(self, mut group: Group, policy: &Policy, id: u64, ran: &Ran) -> Result<Group, Refusal> {
        line("the name of a hook", &ran.name, NAME_MAX)?;
        line("what a hook said", &ran.said, AUDIT_TEXT_MAX)?;
        let missing = || wrong(Rule::NoOperation, format!("op-{id} is not there for a hook"), "see portolan watch");
        match ran.when {
            When::Fence => {
                let is_it = |operation: &&mut Operation| operation.id == id && operation.phase == Phase::Decided;
                let operation = group.operation.as_mut().filter(is_it).ok_or_else(missing)?;
                self.note(operation, ran.to_string());
                let region = operation.from.clone();
                self.note_cut(&mut group, policy, &region, &ran.name);
            }
            When::After => {
                let mut ended = group.latest.iter_mut().chain(&mut group.earlier);
                let closed = ended.find(|closed| closed.operation.id == id).ok_or_else(missing)?;
                if closed.told.is_none() {
                    closed.told = Some(self.index);
                    self.note(&mut closed.operation, ran.to_string());
                }
            }
        }
        Ok(group)
    }
}
