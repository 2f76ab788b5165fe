//! What a region that another manager runs is for a while only, which is told when it lasts.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So long the end of a region that was fenced is told to nobody, unless all that follow it have everything: a server that ends ships no more, or to
/// whoever is connected only, and whoever follows it fetches the rest when it is up again, after `wal_retrieve_retry_interval`, five seconds by default.
/// And so long one that is stopped is on its way to something else.
const SETTLING: Duration = Duration::from_secs(10);

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Passing {
    /// No server runs.
    Stopped,
    /// It was fenced, and where it ended is known.
    Ended,
}

/// What it was at the last look, and since when.
#[derive(Debug, Default)]
pub(in crate::engine) struct Settling(Mutex<Option<(Passing, Instant)>>);

impl Settling {
    /// Whether what may pass has had its time, or need not have it. `passing`: what it is now; `None`: nothing such. `has_all`: all that follow it have
    /// everything.
    pub(in crate::engine) fn is_over(&self, passing: Option<Passing>, has_all: bool) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(passing) = passing else {
            *since = None;
            return true;
        };
        let (_, began) = since.filter(|(of, _)| *of == passing).unwrap_or_else(|| (passing, Instant::now()));
        *since = Some((passing, began));
        began.elapsed() >= SETTLING || passing == Passing::Ended && has_all
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_told_when_it_has_lasted_and_another_one_begins_anew() {
        let settling = Settling::default();
        assert!(settling.is_over(None, false));
        assert!(!settling.is_over(Some(Passing::Stopped), true), "it may be on its way, whoever has what");
        advance(SETTLING).await;
        assert!(settling.is_over(Some(Passing::Stopped), false));
        assert!(!settling.is_over(Some(Passing::Ended), false));
        assert!(settling.is_over(Some(Passing::Ended), true), "nobody fetches anything any more");
        assert!(settling.is_over(None, false));
        assert!(!settling.is_over(Some(Passing::Ended), false));
    }
}
