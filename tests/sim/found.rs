//! Each planted bug is found, by the invariant that is there for it.

use crate::{planted::Planted, runner::must_break};

#[test]
fn a_verdict_from_two_of_five_regions_is_found() {
    must_break(Planted::TwoOfFive, "proven_by_majority", 20);
}

#[test]
fn an_override_without_end_is_found() {
    must_break(Planted::ForgetsEnds, "overrides_end", 50);
}

#[test]
fn a_relay_that_makes_old_words_new_is_found() {
    must_break(Planted::Rejuvenates, "proven_by_majority", 400);
}

#[test]
fn an_observer_that_starts_again_under_its_old_incarnation_is_found() {
    must_break(Planted::KeepsIncarnation, "convergence", 200);
}

#[test]
fn a_command_that_acts_twice_is_found() {
    must_break(Planted::ForgetsRequest, "acknowledged_is_kept", 50);
}

#[test]
fn an_entry_that_one_node_skips_is_found() {
    must_break(Planted::SkipsEntry, "one_state", 20);
}

#[test]
fn a_blind_node_that_trusts_its_eyes_is_found() {
    must_break(Planted::SeesAlways, "no_contagion", 200);
}

#[test]
fn an_old_word_under_a_new_number_is_found() {
    must_break(Planted::Renumbers, "replays", 100);
}

#[test]
fn a_dead_endpoint_that_stays_is_found() {
    must_break(Planted::PassesAll, "dead_leave", 200);
}

#[test]
fn a_name_that_goes_dark_without_need_is_found() {
    must_break(Planted::FailsAll, "never_empty", 50);
}

#[test]
fn a_verdict_that_flaps_is_found() {
    must_break(Planted::Flickers, "no_flapping", 20);
}

#[test]
fn an_explanation_of_another_answer_is_found() {
    must_break(Planted::ExplainsOld, "explained", 50);
}

#[test]
fn a_node_that_spins_is_found() {
    must_break(Planted::Spins, "bounds", 2);
}
