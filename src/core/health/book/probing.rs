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
        self.n_changes += 1;
        let slot = &mut self.slots[check.get()];
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

#[cfg(test)]
mod tests {
    use crate::{
        health::{
            book::{Changes, Event},
            drill::{Target, World, outcome, parse_check},
        },
        model::{ids::CheckIdx, time::Tick, verdict::Health},
        testing::clock::now_at,
    };

    const WEB: CheckIdx = CheckIdx(0);

    fn world() -> World {
        World::new(&[("web".to_owned(), parse_check(&["web", "tcp", "address=192.0.2.1"], &["web"]))], 1)
    }

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    #[test]
    fn a_probe_out_of_turn_is_the_next_one_and_never_a_second() {
        let mut world = world();
        world.run_until(at(12), |_, _| {});
        assert!(world.book.next_probe(WEB).unwrap() > at(20));
        assert!(world.book.probe_now(world.now, WEB));
        assert_eq!(world.book.next_deadline(true), Some(at(12)));
        let probes = world.book.due(world.now, 5, &mut Changes::default());
        assert_eq!(probes.len(), 1);
        assert!(!world.book.probe_now(world.now, WEB), "it is in flight");
        assert_eq!(world.book.due(world.now, 5, &mut Changes::default()), []);
        assert!(!world.book.probe_now(world.now, CheckIdx(7)));
        let passed = crate::health::drill::observation(outcome(&["ok"]));
        let finished = Event::ProbeFinished { attempt: probes[0].attempt, observation: passed };
        assert_eq!(world.book.handle(world.now, finished, &mut Changes::default()), Ok(()));
        assert!(world.book.next_probe(WEB).unwrap() > at(12 + 20), "and the next comes in its turn");
    }

    #[test]
    fn a_check_that_others_probe_rests_and_begins_anew() {
        let mut world = world();
        world.book.set_probing(world.now, WEB, false);
        world.book.set_probing(world.now, WEB, false);
        assert_eq!((world.book.n_unjudged(), world.book.next_deadline(true)), (0, None), "it holds the first round back no more");
        assert!(!world.book.probe_now(world.now, WEB));
        world.run_until(at(60), |_, _| {});
        assert!(world.starts.is_empty());
        world.book.set_probing(world.now, WEB, true);
        assert_eq!(world.book.n_unjudged(), 1);
        world.run_until(at(66), |_, _| {});
        assert_eq!((world.starts.len(), world.book.verdict(WEB).health, world.book.is_judged(WEB)), (1, Health::Up, true));
        world.book.set_probing(world.now, WEB, false);
        world.reload(&[("web".to_owned(), parse_check(&["web", "tcp", "address=192.0.2.1"], &["web"]))]);
        world.targets.insert("web".to_owned(), Target::Answers(outcome(&["fail", "connect"])));
        world.run_until(at(200), |_, _| {});
        assert_eq!(world.starts.len(), 1, "a reload does not wake it");
        world.book.set_probing(world.now, WEB, true);
        assert!(!world.book.is_judged(WEB) && world.book.verdict(WEB).health == Health::Up, "as it said last, until observations agree");
        world.run_until(at(230), |_, _| {});
        assert_eq!(world.book.verdict(WEB).health, Health::Down);
    }

    #[test]
    fn a_probe_in_flight_still_counts_when_others_take_over() {
        let mut world = world();
        let now = now_at(at(6));
        let probe = world.book.due(now, 1, &mut Changes::default())[0];
        world.book.set_probing(now, WEB, false);
        let passed = crate::health::drill::observation(outcome(&["ok"]));
        let finished = Event::ProbeFinished { attempt: probe.attempt, observation: passed };
        assert_eq!(world.book.handle(now, finished, &mut Changes::default()), Ok(()));
        assert_eq!((world.book.next_deadline(true), world.book.n_unjudged()), (None, 0));
        assert_eq!(world.book.verdict(WEB).health, Health::Up);
    }
}
