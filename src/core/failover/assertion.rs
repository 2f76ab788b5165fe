//! Whether a person may answer for it that an old primary is stopped: not while its own agent says that it writes, nor while any vantage region got
//! into it within the last lease. One agent may be dead while its database is not.
//!
//! What agents say and probes see lives beside the log, so this is asked where a person's word arrives; what is agreed is judged by [`crate::cluster`] (O3).

use std::{collections::BTreeMap, time::Duration};

use super::{
    lease::Grant,
    order::{Role, Status},
};
use crate::model::ids::Label;

/// The agent of the old primary says, not longer ago than a lease lasts, that its database takes writes: how long ago. `None`: nothing speaks
/// against the assertion. `heard`: what its agent said last, and how long ago; `None`: it never did, or has not for so long that it was forgotten.
#[must_use]
pub fn still_writes(revoked: &Grant, heard: Option<(Duration, &Status)>) -> Option<Duration> {
    let (age, status) = heard?;
    let writes = status.writes || status.sight.is_some_and(|sight| sight.role == Role::Writes);
    (writes && age <= revoked.longest).then_some(age)
}

/// The vantage region that got into the old primary last, not longer ago than a lease lasts, and how long ago. `None`: nothing speaks against the
/// assertion. `reached`: how long ago each region got in last; those that did not are not in there.
#[must_use]
pub fn still_accepts<'a>(revoked: &Grant, reached: &'a BTreeMap<Label, Duration>) -> Option<(&'a Label, Duration)> {
    let within = reached.iter().filter(|(_, ago)| **ago <= revoked.longest);
    within.min_by_key(|(_, ago)| **ago).map(|(region, ago)| (region, *ago))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{choose::Durability, lease::Class, order::Sight, token::Token},
        model::group::OnControlLoss,
    };

    fn grant() -> Grant {
        let seconds = Duration::from_secs;
        Grant {
            token: Token::default(),
            region: "us".into(),
            ttl: seconds(30),
            margin: seconds(5),
            longest: seconds(90),
            class: Class::Bare,
            is_attested: true,
            durability: Durability::Async,
            on_control_loss: OnControlLoss::Fence,
            peers: std::collections::BTreeSet::new(),
            above: 0,
        }
    }

    #[test]
    fn any_region_that_got_in_within_the_longest_lease_speaks_against_it() {
        let reached = |all: &[(&str, u64)]| all.iter().map(|(region, ago)| (Label::new(region), Duration::from_secs(*ago))).collect();
        let told = |all: &[(&str, u64)]| {
            let reached: BTreeMap<Label, Duration> = reached(all);
            still_accepts(&grant(), &reached).map(|(region, ago)| format!("{region} {}", ago.as_secs()))
        };
        assert_eq!(told(&[("ap", 90), ("eu", 4), ("us", 200)]).as_deref(), Some("eu 4"));
        assert_eq!(told(&[("ap", 90)]).as_deref(), Some("ap 90"), "one is enough");
        assert_eq!(told(&[("ap", 91)]), None, "longer ago than any lease");
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn only_what_was_said_within_the_longest_lease_speaks_against_it() {
        let (seconds, grant) = (Duration::from_secs, grant());
        let status = |writes, role| {
            let sight = Some(Sight { role, system: 7, timeline: 1, position: None });
            Status { sequence: (1, 1), writes, sight, ..Status::default() }
        };
        let asked = |age, status: &Status| still_writes(&grant, Some((seconds(age), status)));
        assert_eq!(asked(90, &status(true, Role::Standby)), Some(seconds(90)), "it writes by its grant");
        assert_eq!(asked(3, &status(false, Role::Writes)), Some(seconds(3)), "it writes, by whatever");
        assert_eq!(asked(91, &status(true, Role::Writes)), None, "longer ago than any lease");
        assert_eq!(asked(1, &status(false, Role::Stopped)), None);
        assert_eq!(still_writes(&grant, None), None, "a region that is gone says nothing");
    }
}
