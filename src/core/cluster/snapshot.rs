//! The state as octets, for nodes that lag and for disks.
//!
//! The same form as entries, for the same reasons: one serializer, ordered maps, no floating point, so that equal states have equal octets
//! and tests compare them. What this version would have written otherwise is not read.

use super::{
    limits::{
        ACKNOWLEDGEMENTS_MAX, AUDIT_WINDOW, EVACUATIONS_MAX, FREEZES_MAX, GROUPS_MAX, NODES_MAX, ORDERS_MAX, REFUSED_NODES_MAX,
        REQUESTS_MAX, RETURNS_MAX, SNAPSHOT_OCTETS_MAX,
    },
    refusal::Halt,
    state::State,
    wire,
};

/// The kind number of the form below. Another form gets another number.
pub const SNAPSHOT_KIND: u32 = 1;

impl State {
    /// The state as octets. What is this node's own is not in it: a halted node gives what it had applied.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        wire::write(SNAPSHOT_KIND, self.feature_level, self)
    }

    /// The state of these octets, for a node that supports `feature_level`.
    ///
    /// # Errors
    /// [`Halt::UpgradeRequired`] for another form or a higher feature level, [`Halt::Corrupt`] for anything that [`State::snapshot`]
    /// does not write: no list is over its bound, and the audit chain is whole.
    pub fn restore(octets: &[u8], feature_level: u32) -> Result<Self, Halt> {
        let read: Self = wire::read(octets, SNAPSHOT_OCTETS_MAX, feature_level, |kind| kind == SNAPSHOT_KIND)?;
        wire::check_canonical(octets, SNAPSHOT_KIND, read.feature_level, &read)?;
        read.check_bounds()?;
        Ok(Self { supported: feature_level, ..read })
    }

    /// What `apply` keeps true.
    fn check_bounds(&self) -> Result<(), Halt> {
        let lists = [
            ("orders", self.orders.len(), ORDERS_MAX),
            ("freezes", self.freezes.len(), FREEZES_MAX),
            ("acknowledgements", self.acknowledgements.len(), ACKNOWLEDGEMENTS_MAX),
            ("nodes", self.nodes.len(), NODES_MAX),
            ("data groups", self.groups.len(), GROUPS_MAX),
            ("evacuations", self.evacuations.len(), EVACUATIONS_MAX),
            ("returns", self.returns.len(), RETURNS_MAX),
            ("refused nodes", self.refused.len(), REFUSED_NODES_MAX),
            ("request ids", self.requests.0.len(), REQUESTS_MAX),
            ("audit links", self.audit.links().len(), AUDIT_WINDOW),
        ];
        let corrupt = |text: String| Err(Halt::Corrupt(text));
        if let Some((what, n, max)) = lists.into_iter().find(|(_, n, max)| n > max) {
            return corrupt(format!("{n} {what}, at most {max} are ever written"));
        }
        let is_named = self.orders.iter().all(|(id, it)| *id == it.id)
            && self.freezes.iter().all(|(id, it)| *id == it.id)
            && self.nodes.iter().all(|(id, it)| *id == it.node.id);
        if !is_named {
            return corrupt("something stands under another name than its own".to_owned());
        }
        if self.orders.values().any(|it| it.until.is_none()) {
            return corrupt("an order without an end".to_owned());
        }
        if let Some(Err(refusal)) = self.plan.as_ref().map(|it| it.plan.check()) {
            return corrupt(format!("the plan in force: {}", refusal.text));
        }
        self.audit.verify().or_else(|broken| corrupt(broken.to_string()))
    }
}
