//! What outlives the process: enough to answer at once after a restart, as the former process would have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Node, rotation::Rotation};
use crate::{
    health::{
        book::{Beat, SavedCheck},
        overlay::{Override, SavedFrozen},
        vantage::SavedProof,
    },
    model::time::{Now, Timestamp},
};

/// The version of the form below; another one is not read.
pub const FORM: u32 = 2;

/// What a node leaves behind. The plan is kept beside it by the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedNode {
    /// [`FORM`].
    pub form: u32,
    /// When it was true.
    pub at: Timestamp,
    /// Judgements.
    pub checks: Vec<SavedCheck>,
    /// Per name of an endpoint: when it was in rotation last; `None`: it is.
    pub rotation: BTreeMap<String, Option<Timestamp>>,
    /// Overrides, those that ended included: while the clock was ahead they may have ended here only.
    pub overrides: Vec<Override>,
    /// Judgements frozen by maintenance.
    pub frozen: Vec<SavedFrozen>,
    /// What was proven by many vantage points; empty without peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<SavedProof>,
    /// Per heartbeat: its pushes, the oldest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beats: BTreeMap<String, Vec<Beat>>,
}

impl Node {
    /// What is worth keeping; `None` before the first table.
    #[must_use]
    pub fn save(&self, now: Now) -> Option<SavedNode> {
        self.table.as_ref()?;
        Some(SavedNode {
            form: FORM,
            // Judgements that were never confirmed are as old as they were when they were loaded.
            at: self.stale_since.unwrap_or(now.wall),
            checks: self.book.save(now),
            rotation: self.rotation.save(&self.world),
            overrides: self.overrides(),
            frozen: self.overlay.save_frozen(&self.world.topology),
            proofs: if self.vantage.is_single() { self.proofs.clone() } else { self.vantage.save(now) },
            beats: self.book.beats().map(|(name, beats)| (name.to_owned(), beats.collect())).collect(),
        })
    }

    /// The orders that it goes by, those that ended included.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        self.overlay.all().map(|it| (**it).clone()).collect()
    }

    /// Goes on from what a former process left: the table of [`Node::advance`] is then there at once, and is stale until the first round.
    pub(super) fn restore(&mut self, saved: SavedNode, now: Now) {
        if saved.form != FORM {
            return;
        }
        let n_restored = self.book.restore(saved.checks, now);
        self.book.restore_beats(saved.beats);
        self.proofs = saved.proofs;
        self.rotation = Rotation::restored(&self.world, &saved.rotation);
        // Orders hold also where no judgement does: another plan, or checks that are never probed.
        self.replace_overlay(saved.overrides, &saved.frozen);
        self.settle_overlay(now);
        self.told = self.overlay.in_force(now.wall).cloned().collect();
        if n_restored == 0 {
            return;
        }
        self.stale_since = Some(saved.at);
        // Nobody sees these effects: the daemon takes the table with `table()`.
        self.publish_whole(now, &mut Vec::new());
    }
}
