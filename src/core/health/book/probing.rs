//! Which checks this node probes itself, and probes out of turn.
//!
//! Several nodes of a region share its checks; a node that does not probe a check keeps its state, and begins anew when it is asked to
//! again. Another vantage point that saw a first failure asks everybody to look at once.

use crate::model::{ids::CheckIdx, time::Now};

use super::{Book, Wait};

impl Book {
    /// Says whether this node probes a check. Heartbeats, calculated checks and those that are never probed stay as they are.
    ///
    /// When it ends, a probe in flight still counts and no other follows; the check no longer holds the first round back. When it begins
    /// again, the check is not judged until observations agree with what it said last, and is probed at once, spread like a first round.
    /// Repeating it changes nothing.
    pub fn set_probing(&mut self, now: Now, check: CheckIdx, wanted: bool) {
        let Some(slot) = self.slots.get_mut(check.get()).filter(|slot| slot.is_probed() && slot.is_idle == wanted) else { return };
        let was_counted = slot.counts_as_unjudged();
        slot.is_idle = !wanted;
        if wanted {
            slot.state.unjudge();
        }
        match (was_counted, slot.counts_as_unjudged()) {
            (true, false) => self.n_unjudged -= 1,
            (false, true) => self.n_unjudged += 1,
            (true, true) | (false, false) => {}
        }
        if self.slots[check.get()].attempt.is_some() {
            return;
        }
        if wanted {
            self.schedule_first(now, check);
        } else {
            self.wait(check, Wait::Nothing);
        }
    }

    /// Whether this node probes the check; `false` also for kinds that nobody probes.
    #[must_use]
    pub fn is_probing(&self, check: CheckIdx) -> bool {
        self.slots.get(check.get()).is_some_and(|slot| slot.is_probed() && !slot.is_idle)
    }

    /// Moves the next probe of a check to now. `false`, and nothing changes, when one is in flight already or this node does not probe it:
    /// at most one probe of a check is in flight, whoever asks.
    pub fn probe_now(&mut self, now: Now, check: CheckIdx) -> bool {
        match self.slots.get(check.get()).map(|slot| slot.wait) {
            Some(Wait::Start(at)) => {
                self.wait(check, Wait::Start(at.min(now.tick)));
                true
            }
            Some(Wait::Nothing | Wait::Limit(_)) | None => false,
        }
    }
}
