//! How a primary was lost, and what of its data.

use std::{fmt, time::Duration};

use portolan_core::{model::time::Human, recovery::exposure::Bracket};

use super::line;
use crate::demo::{
    Stop,
    plan::{FAILURES, HOLD, LEASE, ROUND},
    screen::seconds,
    script::SLACK,
};

/// A group whose primary was cut off.
pub(in crate::demo::script) struct DataApart {
    /// From the cut on it answered for so long.
    pub(in crate::demo::script) served_for: Duration,
    /// How it was failed over.
    pub(in crate::demo::script) moved: DataMoved,
}

impl fmt::Display for DataApart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "cut-off primary ended after", &seconds(self.served_for), &format!("by itself; its lease is {}", Human(LEASE)))?;
        let promoted = self.moved.promoted_after.map_or_else(|| "never".to_owned(), seconds);
        line(f, "another one was promoted after", &promoted, "when no lease could be left")?;
        self.moved.fmt(f)
    }
}

impl DataApart {
    /// Compares with what was expected.
    pub(in crate::demo::script) fn check(&self) -> Result<(), Stop> {
        let Self { served_for, moved } = self;
        if *served_for > LEASE {
            return Err(Stop::Unseen(format!("the cut-off primary ends within its lease of {}: {}", Human(LEASE), seconds(*served_for))));
        }
        match moved.promoted_after {
            Some(promoted) if promoted > *served_for => moved.check(),
            promoted => Err(Stop::Unseen(format!("it ends before another one is promoted: {}, {promoted:?}", seconds(*served_for)))),
        }
    }
}

/// A group that was failed over.
pub(in crate::demo::script) struct DataMoved {
    /// Who was promoted.
    pub(in crate::demo::script) to: String,
    /// How long after the primary was gone that was committed; `None`: the record does not say.
    pub(in crate::demo::script) promoted_after: Option<Duration>,
    /// The longest time between two writes that were acknowledged.
    pub(in crate::demo::script) interrupted: Duration,
    /// Writes that were.
    pub(in crate::demo::script) acknowledged: usize,
    /// Of those, the new primary does not have so many.
    pub(in crate::demo::script) lost: usize,
    /// How long before the region the oldest of those was acknowledged; `None`: none is lost.
    pub(in crate::demo::script) lost_since: Option<Duration>,
    /// What the record says would be lost.
    pub(in crate::demo::script) reported: Bracket,
    /// Writes wait for a second region.
    pub(in crate::demo::script) is_quorum: bool,
    /// Until the old primary had what the new one has; `None`: it did not come back.
    pub(in crate::demo::script) follows_again: Option<Duration>,
}

/// An agent that is silent for less is waited for: what it says of its primary counts.
const SILENCE: Duration = Duration::from_secs(10);

/// What comes on top of that and has no setting, each with room for a busy machine: another leader, one more look by each region, what all have is
/// sealed, one is promoted, it takes writes, and the name leads there.
const STEPS: u32 = 6;

/// The longest until another one may be promoted: rounds until it is decided, one of which had begun already, or until the agent counts as
/// silent; then the whole of a lease that was renewed right before.
fn bound() -> Duration {
    (ROUND * (FAILURES + 1)).max(SILENCE) + HOLD + LEASE
}

impl fmt::Display for DataMoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, interrupted, acknowledged, lost, reported, is_quorum, follows_again, .. } = self;
        let (round, hold, lease) = (Human(ROUND), Human(HOLD), Human(LEASE));
        let follows = format!("{FAILURES} rounds of {round}, hold {hold}, lease {lease}; now in {to}");
        line(f, "writes interrupted for", &seconds(*interrupted), &follows)?;
        let expected = if *is_quorum { "each had waited for a second region".to_owned() } else { format!("the record says {reported}") };
        line(f, "acknowledged writes lost", &lost.to_string(), &format!("of {acknowledged}; {expected}"))?;
        let follows_again = follows_again.map_or_else(|| "never".to_owned(), seconds);
        line(f, "old primary followed after", &follows_again, "by itself, without what only it had")
    }
}

impl DataMoved {
    /// Compares with what was expected.
    pub(in crate::demo::script) fn check(&self) -> Result<(), Stop> {
        let Self { interrupted, acknowledged, lost, lost_since, reported, is_quorum, .. } = self;
        let bound = bound() + STEPS * SLACK;
        let unseen = if *is_quorum && *lost > 0 {
            format!("no acknowledged write is lost: {lost} of {acknowledged} are")
        } else if lost_since.is_some_and(|since| reported.high.is_none_or(|high| since > high)) {
            format!(
                "no more is lost than the record says, {reported}: the oldest write that is was {} old",
                seconds(lost_since.unwrap_or_default())
            )
        } else if *interrupted > bound {
            format!("writes go on within {}: it took {}", seconds(bound), seconds(*interrupted))
        } else {
            return Ok(());
        };
        Err(Stop::Unseen(unseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved() -> DataMoved {
        DataMoved {
            to: "eu-west-1".to_owned(),
            promoted_after: Some(Duration::from_millis(13_100)),
            interrupted: Duration::from_millis(18_300),
            acknowledged: 120,
            lost: 0,
            lost_since: None,
            reported: Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(2)) },
            is_quorum: true,
            follows_again: Some(Duration::from_secs(4)),
        }
    }

    #[test]
    fn what_is_lost_is_held_against_what_was_promised() {
        assert!(moved().check().is_ok());
        let text = moved().to_string();
        assert!(text.lines().all(|line| line.len() <= 100 && line.is_ascii()), "{text}");
        let missed = |change: fn(&mut DataMoved)| {
            let mut moved = moved();
            change(&mut moved);
            match moved.check() {
                Err(Stop::Unseen(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(missed(|it| it.lost = 1), "no acknowledged write is lost: 1 of 120 are");
        let lost = |it: &mut DataMoved| (it.is_quorum, it.lost, it.lost_since) = (false, 4, Some(Duration::from_secs(3)));
        assert!(missed(lost).starts_with("no more is lost than the record says, "));
        assert!(missed(|it| it.interrupted = Duration::from_secs(60)).ends_with("it took 60.0s"));
        let apart = |served_for| DataApart { served_for: Duration::from_millis(served_for), moved: moved() };
        assert!(apart(9800).check().is_ok());
        assert!(apart(9800).to_string().lines().all(|line| line.len() <= 100 && line.is_ascii()));
        for (served_for, unseen) in [(12_100, "ends within its lease of 12s: 12.1s"), (13_200, "ends within its lease")] {
            assert!(matches!(apart(served_for).check(), Err(Stop::Unseen(what)) if what.contains(unseen)));
        }
        let early = DataApart { moved: DataMoved { promoted_after: Some(Duration::from_secs(9)), ..moved() }, ..apart(9800) };
        assert!(matches!(early.check(), Err(Stop::Unseen(what)) if what.starts_with("it ends before another one is promoted")));
        let mut less = moved();
        (less.is_quorum, less.lost, less.lost_since) = (false, 4, Some(Duration::from_secs(1)));
        assert!(less.check().is_ok());
    }
}
