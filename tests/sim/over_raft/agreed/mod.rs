//! What must hold of the consensus, one thing per file, beside all that must hold over an ideal log too.

mod acknowledged_is_committed;
mod asked_before_standing;
mod disk_outlives_power;
mod lost_stay_out;
mod one_history;
mod one_leader;
mod quiet_terms;
mod votes_only_rise;

use crate::invariants::Invariant;

pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(one_history::OneHistory::default()),
        Box::new(acknowledged_is_committed::AcknowledgedIsCommitted),
        Box::new(votes_only_rise::VotesOnlyRise::default()),
        Box::new(asked_before_standing::AskedBeforeStanding::default()),
        Box::new(disk_outlives_power::DiskOutlivesPower),
        Box::new(lost_stay_out::LostStayOut),
        Box::new(one_leader::OneLeader),
        Box::new(quiet_terms::QuietTerms),
    ]
}
