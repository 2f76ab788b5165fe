//! How the traffic of a region comes back that was drained: in steps, each watched, and back at once when a rollback trigger fires.
//!
//! ```text
//! drained --begun--> 10% --quiet for a step's time--> 50% --quiet--> 100% --quiet--> succeeded: no order is left
//!                     |        a trigger fires, or a person says so     |
//!                     '-------------------------------------------------'--> taken back: drained again, as it was
//! ```
//!
//! The region that comes back is the green one of a blue/green deployment; the others are the blue one, which keeps what it needs to serve everybody
//! until the last step was watched, too.
//!
//! Invariants: one return of a region at a time. A share is an order like others, so that steering, names and screens need nothing new; it grows only
//! by what is agreed, so that nothing goes on while nobody leads. A step is passed by figures that are known: an unknown one holds it.
//!
//! Absent on purpose: what a share means (steering: clients are admitted by a hash, and a growing share only adds clients), and regions that come back
//! by themselves (slow start).
//!
//! Source: AWS CodeDeploy (canary, linear and all-at-once shifts of a blue/green deployment), Argo Rollouts (an inconclusive analysis pauses).

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::observation::Found;
use crate::model::{
    ids::Label,
    time::{Human, Timestamp},
    units::Share,
};

/// The most steps of a return: a tenth each.
pub const STEPS_MAX: usize = 10;

/// The shortest and the longest time that a step is watched.
pub const STEP_TIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// An order that a step laid ends by itself after a step's time and this: a return that nobody leads on, and nobody looks at, is over then, and the
/// region has its traffic. One that was taken back is drained for this long.
pub const ORDER_LASTS: Duration = Duration::from_hours(24);

/// How the traffic of a drained region returns, where nobody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// As [`TrafficReturn::steps`].
    pub steps: Vec<Share>,
    /// How long each is watched.
    pub step_time: Duration,
}

/// A tenth, a half, everything, five minutes each.
impl Default for Returning {
    fn default() -> Self {
        Self { steps: [10, 50, 100].map(Share::percent).to_vec(), step_time: Duration::from_mins(5) }
    }
}

/// A return of traffic. Its name is `return-` and its id, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReturn {
    /// The log index of the entry that began it.
    pub id: u64,
    /// Which region.
    pub region: Label,
    /// Who wanted it.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// When it began, by the entry's time.
    pub at: Timestamp,
    /// The order: a drain before and after it was taken back, an admission while it lasts.
    pub order: Label,
    /// The shares of its clients that the region takes, one after the other: they grow, and the last one is everything.
    pub steps: Vec<Share>,
    /// How long each is watched.
    pub step_time: Duration,
    /// Which step it is at.
    pub step: usize,
    /// Since when.
    pub since: Timestamp,
    /// Why the next step does not begin although this one's time is over, in one line; empty: nothing is in the way.
    pub because: String,
    /// When it ended and how; `None`: it has not.
    pub ended: Option<Ended>,
}

/// How a return ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// By the time of the entry that ended it.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why, in one line; empty: there is nothing to say.
    pub why: String,
}

/// How a return ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The region has all its clients, and its last step was watched.
    Succeeded,
    /// The region is drained again.
    TakenBack,
    /// Somebody ordered otherwise.
    Overtaken,
}

impl Outcome {
    /// The word in logs and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::TakenBack => "taken_back",
            Self::Overtaken => "overtaken",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// `10%, 50%, 100%, each watched for 5m`.
#[must_use]
pub fn steps_text(steps: &[Share], step_time: Duration) -> String {
    let shares: Vec<String> = steps.iter().map(ToString::to_string).collect();
    format!("{}, each watched for {}", shares.join(", "), Human(step_time))
}

/// What is wrong with the steps of a return; `None`: nothing.
#[must_use]
pub fn problem(steps: &[Share], step_time: Duration) -> Option<String> {
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Some(format!("there are {} steps, and 1 to {STEPS_MAX} may be", steps.len()));
    }
    if steps[0] == Share::NONE || !steps.is_sorted_by(|a, b| a < b) || !steps.last().is_some_and(|last| last.is_full()) {
        return Some("the steps do not grow from above nothing to 100%".to_owned());
    }
    let (low, high) = (Human(*STEP_TIME.start()), Human(*STEP_TIME.end()));
    (!STEP_TIME.contains(&step_time)).then(|| format!("a step of {} is not within {low} and {high}", Human(step_time)))
}

impl TrafficReturn {
    /// The share that the region takes now, of the clients that it would have.
    #[must_use]
    pub fn share(&self) -> Share {
        self.steps.get(self.step).copied().unwrap_or(Share::FULL)
    }

    /// When the present step was watched long enough.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.since + self.step_time
    }

    /// Whether the next step may begin by itself at the end of this one's time.
    ///
    /// `found`: the last look at each trigger. `endpoints_up`: in the region; `None`: none stands there.
    ///
    /// # Errors
    /// Why it waits, in words that change only when something else is wrong.
    pub fn may_go_on(&self, found: &[Found], endpoints_up: Option<u32>) -> Result<(), String> {
        if endpoints_up == Some(0) {
            return Err(format!("no endpoint in {} is up", self.region));
        }
        if let Some(found) = found.iter().find(|found| found.fires == Some(true)) {
            return Err(format!("{} fires", found.trigger));
        }
        match found.iter().find(|found| found.fires.is_none()) {
            Some(found) => Err(format!("{} is unknown", found.trigger)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(percents: &[u16]) -> Vec<Share> {
        percents.iter().map(|percent| Share::percent(*percent)).collect()
    }

    #[test]
    fn steps_grow_from_above_nothing_to_everything() {
        let minute = Duration::from_mins(1);
        for good in [&[100][..], &[10, 50, 100], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 100]] {
            assert_eq!(problem(&percents(good), minute), None, "{good:?}");
        }
        for bad in [&[][..], &[0, 100], &[50, 10, 100], &[10, 10, 100], &[10, 50], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100]] {
            assert!(problem(&percents(bad), minute).is_some(), "{bad:?}");
        }
        assert!(problem(&percents(&[100]), Duration::ZERO).unwrap().contains("not within 1s and"));
        assert!(problem(&percents(&[100]), Duration::from_hours(25)).is_some());
    }

    #[test]
    fn a_step_is_passed_by_known_figures_and_something_that_is_up() {
        let it = TrafficReturn {
            id: 7,
            region: "eu".into(),
            who: "ana".to_owned(),
            why: "it is mended".to_owned(),
            at: Timestamp(0),
            order: "o-3".into(),
            steps: percents(&[10, 100]),
            step_time: Duration::from_mins(5),
            step: 0,
            since: Timestamp(1000),
            because: String::new(),
            ended: None,
        };
        assert_eq!((it.share(), it.due()), (Share::percent(10), Timestamp(301_000)));
        let found = |fires| Found { trigger: "error_rate > 5%".to_owned(), fires, text: String::new() };
        assert_eq!(it.may_go_on(&[], None), Ok(()), "a plan may have no triggers");
        assert_eq!(it.may_go_on(&[found(Some(false))], Some(1)), Ok(()));
        assert_eq!(it.may_go_on(&[found(Some(false))], Some(0)), Err("no endpoint in eu is up".to_owned()));
        assert_eq!(it.may_go_on(&[found(Some(false)), found(Some(true))], Some(1)), Err("error_rate > 5% fires".to_owned()));
        assert_eq!(it.may_go_on(&[found(None)], Some(1)), Err("error_rate > 5% is unknown".to_owned()));
    }
}
