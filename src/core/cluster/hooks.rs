//! Programs of the operator that were run for an operation: what they said stands in its record.
//!
//! A fence that a program reports changes nothing else: no drill has proved that it stops a primary, and a claim is no proof (A8). After an operation
//! has ended it is noted once that the program was run, so that no later leader runs it again.

use super::{
    groups::{At, wrong},
    limits::{AUDIT_TEXT_MAX, NAME_MAX, line},
    refusal::{Refusal, Rule},
};
use crate::failover::{
    group::{Group, Operation, Phase},
    step::{Ran, When},
};

impl At<'_> {
    pub(super) fn ran(self, mut group: Group, id: u64, ran: &Ran) -> Result<Group, Refusal> {
        line("the name of a hook", &ran.name, NAME_MAX)?;
        line("what a hook said", &ran.said, AUDIT_TEXT_MAX)?;
        let missing = || wrong(Rule::NoOperation, format!("op-{id} is not there for a hook"), "see portolan watch");
        match ran.when {
            When::Fence => {
                let is_it = |operation: &&mut Operation| operation.id == id && operation.phase == Phase::Decided;
                let operation = group.operation.as_mut().filter(is_it).ok_or_else(missing)?;
                self.note(operation, ran.to_string());
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
