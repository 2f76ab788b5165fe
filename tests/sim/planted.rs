//! Bugs put in on purpose, one at a time, outside the core: each must break the invariant that is there for it, or the simulation sees
//! nothing.

use crate::{runner, world::Setting};

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Nothing.
    #[default]
    Nothing,
    /// A verdict counts as proven when two of five regions say so.
    TwoOfFive,
    /// Orders come to the node without their end.
    ForgetsEnds,
    /// A relay hands on what it held for seconds as if it were new.
    Rejuvenates,
    /// A node that starts again counts itself as the same as before.
    KeepsIncarnation,
    /// A client that sends a command again gives it another request id.
    ForgetsRequest,
    /// One node skips an entry that it does not care for.
    SkipsEntry,
    /// A node takes its references for reached, whatever it sees.
    SeesAlways,
    /// A relay gives what it sends again numbers of its own.
    Renumbers,
    /// Every probe passes.
    PassesAll,
    /// From some moment on every probe fails, because the nodes lack what probes need.
    FailsAll,
    /// Probes fail for some seconds and pass for some, although nothing happens to endpoints.
    Flickers,
    /// Answers are explained from the table before.
    ExplainsOld,
    /// A node has its turn all the time.
    Spins,
}

impl Planted {
    /// The number of regions that the bug needs; `None`: any.
    pub(crate) fn n_regions(self) -> Option<usize> {
        (self == Self::TwoOfFive).then_some(5)
    }

    /// How many vantage regions a node believes in; `None`: all that there are. Two are more than half of three.
    pub(crate) fn regions_counted(self) -> Option<usize> {
        (self == Self::TwoOfFive).then_some(3)
    }

    pub(crate) fn forgets_ends(self) -> bool {
        self == Self::ForgetsEnds
    }

    pub(crate) fn rejuvenates(self) -> bool {
        self == Self::Rejuvenates
    }

    pub(crate) fn keeps_incarnation(self) -> bool {
        self == Self::KeepsIncarnation
    }

    pub(crate) fn forgets_request(self) -> bool {
        self == Self::ForgetsRequest
    }

    pub(crate) fn skips(self, id: usize, index: u64) -> bool {
        self == Self::SkipsEntry && id == 1 && index.is_multiple_of(9)
    }

    pub(crate) fn sees_always(self) -> bool {
        self == Self::SeesAlways
    }

    pub(crate) fn renumbers(self) -> bool {
        self == Self::Renumbers
    }

    pub(crate) fn passes_all(self) -> bool {
        self == Self::PassesAll
    }

    pub(crate) fn fails_all(self) -> bool {
        self == Self::FailsAll
    }

    pub(crate) fn flickers(self) -> bool {
        self == Self::Flickers
    }

    pub(crate) fn explains_old(self) -> bool {
        self == Self::ExplainsOld
    }

    pub(crate) fn spins(self) -> bool {
        self == Self::Spins
    }
}

/// Runs seeds until the invariant breaks, alone: others may see the bug first.
fn must_break(planted: Planted, invariant: &'static str, seeds: u64) {
    let setting = Setting { planted, only: Some(invariant), ..Setting::plain(1) };
    let is_found = (0..seeds).any(|seed| runner::run(seed, setting).broken.is_some_and(|it| it.invariant == invariant));
    assert!(is_found, "{planted:?} is not found by `{invariant}` in {seeds} seeds");
}

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
