//! The watch over the result of an operation: rollback triggers are looked at again and again, until one fires for long enough or the time is over.
//!
//! ```text
//!  operation closed --observe------------------------------------------------> over, nothing fired
//!     look   look   look   look ...   each trigger: quiet | fires | unknown
//!     fires  quiet  fires  fires  fires --> fired
//!     '- of before: what was bad when the watch began counts only once it was good, or after half the time
//! ```
//!
//! Figures are rates over some minutes, so that right after a failover they still tell of what it ended. One that was bad then is no reason to go
//! back; one that never becomes good is.
//!
//! Invariants: nothing fires by fewer than [`LOOKS`] looks in a row, nor by what is unknown: an unknown figure ends the row.
//!
//! Source: Argo Rollouts and Flagger, which count consecutive failures of an analysis and do not take missing data for success or failure.

use std::time::Duration;

use crate::{
    failover::group::Group,
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Tick},
    },
};

use super::exposure::Bracket;

/// So many looks in a row must find a trigger firing.
pub const LOOKS: u16 = 3;

/// The watch is this many looks long; more often than every [`LOOK_MIN`] nothing is asked, and at least every [`LOOK_MAX`] it is.
const LOOKS_IN_ALL: u32 = 45;

/// A Prometheus server scrapes no more often than that.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Three of these are a minute, as long as a decision is held.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// A member that lacks more than this is not gone back to: the switchover would wait for it while nothing takes writes.
pub const LAG_MAX: Duration = Duration::from_secs(10);

/// What a trigger was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As people write it: `error_rate > 5%`.
    pub trigger: String,
    /// Whether it fires; `None`: its figure is unknown.
    pub fires: Option<bool>,
    /// The figure, or why it is unknown, in some words.
    pub text: String,
}

/// One trigger's row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    was_quiet: bool,
    n_firing: u16,
}

/// The watch over one operation's result.
#[derive(Clone, Debug)]
pub struct Observation {
    operation: u64,
    began: Tick,
    lasts: Duration,
    next: Tick,
    rows: Vec<Row>,
}

impl Observation {
    /// Of an operation's result, for so long from now: what is left of the plan's time.
    #[must_use]
    pub const fn new(operation: u64, lasts: Duration, now: Tick) -> Self {
        Self { operation, began: now, lasts, next: now, rows: Vec::new() }
    }

    /// The operation's id.
    #[must_use]
    pub const fn operation(&self) -> u64 {
        self.operation
    }

    /// Whether it is time to look; then the next look is due a while later.
    pub fn is_due(&mut self, now: Tick) -> bool {
        let is_due = now >= self.next && now.since(self.began) < self.lasts;
        if is_due {
            self.next = now + (self.lasts / LOOKS_IN_ALL).clamp(LOOK_MIN, LOOK_MAX);
        }
        is_due
    }

    /// A look found the triggers so, in the plan's order. What fired, in one line; `None`: nothing.
    pub fn looked(&mut self, found: &[Found], now: Tick) -> Option<String> {
        self.rows.resize(found.len(), Row::default());
        let is_late = now.since(self.began) * 2 >= self.lasts;
        let mut fired = None;
        for (row, found) in self.rows.iter_mut().zip(found) {
            match found.fires {
                Some(true) => row.n_firing = row.n_firing.saturating_add(1),
                Some(false) => *row = Row { was_quiet: true, n_firing: 0 },
                None => row.n_firing = 0,
            }
            if row.n_firing >= LOOKS && (row.was_quiet || is_late) {
                fired.get_or_insert_with(|| format!("{} fires: it is {}, {} looks in a row", found.trigger, found.text, row.n_firing));
            }
        }
        fired
    }
}

/// What is seen of the member that would be gone back to.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// It receives from the primary now, by its agent's word.
    pub receives: bool,
    /// What it lacks, in time.
    pub lag: Option<Bracket>,
    /// Endpoints of its region that are up; `None`: none stands there.
    pub endpoints_up: Option<u32>,
    /// The triggers as they are in its region.
    pub found: Vec<Found>,
}

/// Where the group goes back to after its last operation; `Err`: why it stays, in one line. The replicated state has its own say.
///
/// # Errors
/// Why it stays.
pub fn way_back<'a>(group: &'a Group, policy: &Policy, seen: &Origin) -> Result<&'a Label, String> {
    let Some(closed) = &group.latest else { return Err("nothing has led here".to_owned()) };
    let back = &closed.operation.from;
    if !policy.members.get(back).is_some_and(|member| member.is_candidate) {
        return Err(format!("{back} may not be promoted, by the plan"));
    }
    if group.absent.contains(back) || !seen.receives {
        return Err(format!("{back} does not follow, so that going back would lose what was written since"));
    }
    let most = policy.scaled(LAG_MAX);
    if !seen.lag.is_some_and(|lag| lag.is_within(most)) {
        let lag = seen.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
        return Err(format!("what {back} lacks is {lag}, and it must be within {}", Human(most)));
    }
    if seen.endpoints_up == Some(0) {
        return Err(format!("no endpoint in {back} is up"));
    }
    match seen.found.iter().find(|found| found.fires == Some(true)) {
        Some(found) => Err(format!("{back} is no better: {} fires there, too: it is {}", found.trigger, found.text)),
        None => Ok(back),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        failover::group::{Closed, Ending, Phase, operation},
        model::{group::policy, time::Timestamp},
    };

    fn found(fires: Option<bool>) -> Found {
        Found { trigger: "error_rate > 5%".to_owned(), fires, text: "0.06".to_owned() }
    }

    /// One look a second; after how many of them it fires.
    fn fires_after(looks: &[Option<bool>], lasts: u64) -> Option<usize> {
        let mut observation = Observation::new(9, Duration::from_secs(lasts), Tick(0));
        looks.iter().enumerate().find_map(|(i, fires)| {
            let now = Tick((i as u64 + 1) * 1_000_000);
            observation.looked(&[found(Some(false)), found(*fires)], now).map(|_| i + 1)
        })
    }

    const BAD: Option<bool> = Some(true);
    const GOOD: Option<bool> = Some(false);

    #[test]
    fn a_trigger_fires_by_three_looks_in_a_row_and_what_was_bad_before_has_half_the_time_to_become_good() {
        assert_eq!(fires_after(&[GOOD, BAD, BAD, BAD], 60), Some(4));
        assert_eq!(fires_after(&[GOOD, BAD, BAD, GOOD, BAD, BAD, GOOD], 60), None);
        assert_eq!(fires_after(&[GOOD, BAD, BAD, None, BAD, BAD], 60), None, "what is unknown is no third look");
        assert_eq!(fires_after(&[BAD; 29], 60), None, "it tells of what the operation ended");
        assert_eq!(fires_after(&[BAD; 40], 60), Some(30), "it never became good");
        assert_eq!(fires_after(&[None; 60], 60), None);
    }

    #[test]
    fn looks_are_as_far_apart_as_the_watch_is_long_and_end_with_it() {
        let mut observation = Observation::new(9, Duration::from_secs(900), Tick(0));
        let dues: Vec<u64> = (0..1000).filter(|second| observation.is_due(Tick(second * 1_000_000))).collect();
        assert_eq!((dues[1], dues.len(), dues.last()), (20, 45, Some(&880)));
        let mut scaled = Observation::new(9, Duration::from_secs(12), Tick(0));
        assert_eq!((0..1000).filter(|second| scaled.is_due(Tick(second * 1_000_000))).count(), 12);
    }

    proptest! {
        #[test]
        fn whatever_was_seen_it_fires_by_three_bad_looks_right_before(looks in prop::collection::vec(prop::option::of(any::<bool>()), 0..80)) {
            if let Some(n) = fires_after(&looks, 60) {
                prop_assert_eq!(&looks[n - 3..n], &[BAD; 3]);
                prop_assert!(looks[..n].contains(&GOOD) || n >= 30);
            }
        }
    }

    #[test]
    fn it_goes_back_only_to_a_member_that_has_everything_and_is_no_worse() {
        let policy = policy("us", &["us", "eu"]);
        let latest = Closed {
            operation: operation(Phase::Routed),
            ending: Ending::Succeeded,
            at: Timestamp(0),
            setback: None,
            told: None,
            aside: Default::default(),
        };
        let group = Group { latest: Some(latest), ..Group::default() };
        let lag = Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(1)) };
        let good = Origin { receives: true, lag: Some(lag), endpoints_up: Some(1), found: vec![found(GOOD), found(None)] };
        assert_eq!(way_back(&group, &policy, &good), Ok(&Label::new("us")));
        let stays = |seen: Origin, word: &str| {
            let why = way_back(&group, &policy, &seen).unwrap_err();
            assert!(why.contains(word), "{why}");
        };
        stays(Origin { receives: false, ..good.clone() }, "does not follow");
        stays(Origin { lag: None, ..good.clone() }, "lacks is unknown");
        stays(Origin { lag: Some(Bracket::UNKNOWN), ..good.clone() }, "lacks is unknown");
        stays(Origin { endpoints_up: Some(0), ..good.clone() }, "no endpoint in us");
        stays(Origin { found: vec![found(BAD)], ..good.clone() }, "is no better: error_rate > 5% fires there");
        let absent = Group { absent: ["us".into()].into(), ..group.clone() };
        assert!(way_back(&absent, &policy, &good).unwrap_err().contains("does not follow"));
        assert_eq!(way_back(&group, &policy, &Origin { endpoints_up: None, ..good }), Ok(&Label::new("us")));
    }
}
