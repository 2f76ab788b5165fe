//! Each planted bug is found, by the invariant that is there for it.

use crate::{planted::Planted, runner::must_break};

#[test]
fn a_vote_that_is_not_synced_is_found() {
    must_break(Planted::ForgetsVote, "votes_only_rise", 200);
}

#[test]
fn entries_that_are_acknowledged_before_they_are_synced_are_found() {
    must_break(Planted::LiesAboutSync, "one_history", 200);
}

#[test]
fn an_emptied_disk_that_votes_under_its_old_id_is_found() {
    must_break(Planted::KeepsId, "votes_only_rise", 200);
}

#[test]
fn a_pre_vote_that_is_always_granted_is_found() {
    must_break(Planted::GrantsPreVotes, "asked_before_standing", 20);
}

#[test]
fn an_entry_that_one_observer_skips_is_found() {
    must_break(Planted::SkipsEntry, "one_state", 100);
}

#[test]
fn a_command_that_acts_twice_is_found() {
    must_break(Planted::ForgetsRequest, "acknowledged_is_kept", 50);
}

#[test]
fn an_override_without_end_is_found() {
    must_break(Planted::ForgetsEnds, "overrides_end", 50);
}

#[test]
fn a_verdict_from_two_of_five_regions_is_found() {
    must_break(Planted::TwoOfFive, "proven_by_majority", 20);
}
