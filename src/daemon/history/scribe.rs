//! The control task's side: says when something is to be noted, and hands it on without waiting.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    model::time::{Now, Tick},
    node::{Node, recall::Stamp},
};
use tokio::sync::{mpsc, oneshot};

use super::{super::store::Origin, InForce};

/// At most one page in this time: what comes and goes within it is told by its happenings alone. A service that flaps each second fills the
/// history's room in days, not hours.
const PAGE_EVERY: Duration = Duration::from_secs(1);

/// A sign of life at least this often, so that a hole shows for what it is.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(60);

/// How long a stop waits for the disk.
const END_MAX: Duration = Duration::from_secs(2);

/// What the keeper is told.
pub(super) enum Told {
    /// Note what changed.
    Page { node: Arc<Node>, now: Now, origin: Arc<Origin> },
    /// The node lives.
    Mark(Now),
    /// The node stops.
    End(Now, oneshot::Sender<()>),
}

/// Remembers what was handed on.
pub(in super::super) struct Scribe {
    keeper: mpsc::Sender<Told>,
    in_force: InForce,
    origin: Option<Arc<Origin>>,
    noted: Option<Stamp>,
    paged_at: Option<Tick>,
    marked_at: Tick,
}

impl Scribe {
    pub(super) fn new(keeper: mpsc::Sender<Told>, in_force: InForce) -> Self {
        Self { keeper, in_force, origin: None, noted: None, paged_at: None, marked_at: Tick(0) }
    }

    /// The node's stamp, when a page is due: something changed since the last one, which is not a moment ago. Gives a mark where nothing did
    /// for long.
    pub(in super::super) fn is_due(&mut self, node: &Node, now: Now) -> Option<Stamp> {
        let stamp = node.stamp()?;
        let is_soon = self.paged_at.is_some_and(|at| now.tick.since(at) < PAGE_EVERY);
        if self.noted != Some(stamp) && !is_soon {
            return Some(stamp);
        }
        if self.noted.is_some() && now.tick.since(self.marked_at) >= MARK_EVERY && self.keeper.try_send(Told::Mark(now)).is_ok() {
            self.marked_at = now.tick;
        }
        None
    }

    /// Hands a page on, if there is room; else it stays due.
    pub(in super::super) fn note(&mut self, node: Arc<Node>, now: Now, stamp: Stamp, origin: &Arc<Origin>) {
        if self.origin.as_ref().is_none_or(|known| !Arc::ptr_eq(known, origin)) {
            self.origin = Some(origin.clone());
            *self.in_force.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((origin.clone(), node.world().clone()));
        }
        self.paged_at = Some(now.tick);
        if self.keeper.try_send(Told::Page { node, now, origin: origin.clone() }).is_ok() {
            self.noted = Some(stamp);
            self.marked_at = now.tick;
        }
    }

    /// Says that the node stops, and waits a little until that is on disk.
    pub(in super::super) async fn end(self, now: Now) {
        let (done, is_done) = oneshot::channel();
        let said = async {
            if self.keeper.send(Told::End(now, done)).await.is_ok() {
                // A keeper that is gone has said why.
                let _ = is_done.await;
            }
        };
        // A disk that hangs must not hold the stop back.
        let _ = tokio::time::timeout(END_MAX, said).await;
    }
}
