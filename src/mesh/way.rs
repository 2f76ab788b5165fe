//! The way of a link: how long it is, and how old what comes over it may be.
//!
//! ```text
//!  here   ping 1 . . . . . . . ping 2 . . . . . .  pong 1, frame
//!             '---> pong 1, frame ---(it stalls)---^          the frame was sent after ping 1 was, which is all that is sure
//! ```
//!
//! Invariant: what was sent before a pong comes before it, so whatever comes after one was sent after its ping. The last round trip tells nothing of a
//! frame that waited longer, in a queue or because the way stood still.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Pings that may be on their way: a minute of them.
const PINGS_MAX: usize = 60;

/// What pings tell.
#[derive(Debug)]
pub(super) struct Way {
    number: u64,
    asked: VecDeque<(u64, Instant)>,
    sent_after: Instant,
    round_trip: Duration,
}

impl Way {
    /// Of a link whose other side sent nothing before this moment. `unknown`: how long a round trip is taken to be until one is known.
    pub(super) const fn new(since: Instant, unknown: Duration) -> Self {
        Self { number: 0, asked: VecDeque::new(), sent_after: since, round_trip: unknown }
    }

    /// A ping is about to go; its number.
    pub(super) fn ask(&mut self) -> u64 {
        self.number += 1;
        if self.asked.len() >= PINGS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((self.number, Instant::now()));
        self.number
    }

    /// A pong came. The round trip; `None`: it answers nothing that was asked.
    pub(super) fn answered(&mut self, number: u64) -> Option<Duration> {
        let (_, at) = self.asked.iter().find(|(asked, _)| *asked == number).copied()?;
        self.asked.retain(|(asked, _)| *asked > number);
        (self.sent_after, self.round_trip) = (at, at.elapsed());
        Some(self.round_trip)
    }

    /// The last round trip.
    pub(super) const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// What comes now was sent after this moment.
    pub(super) const fn sent_after(&self) -> Instant {
        self.sent_after
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_stall_may_be_as_old_as_the_last_ping_that_was_answered() {
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        let mut way = Way::new(Instant::now(), second);
        advance(ms(40)).await;
        assert_eq!(way.sent_after().elapsed(), ms(40), "since it stands");
        let first = way.ask();
        advance(ms(80)).await;
        assert_eq!(way.answered(first), Some(ms(80)));
        assert_eq!((way.round_trip(), way.sent_after().elapsed()), (ms(80), ms(80)));
        let later: Vec<u64> = (0..19).map(|_| way.ask()).collect();
        advance(second * 19).await;
        assert_eq!(way.sent_after().elapsed(), second * 19 + ms(80), "the last round trip would say 80 ms of what waited 19 s");
        way.answered(later[0]).unwrap();
        assert_eq!(way.sent_after().elapsed(), second * 19);
        assert_eq!((way.answered(later[0]), way.answered(999)), (None, None));
    }
}
