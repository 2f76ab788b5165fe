//! Runs in numbers, and each rule taken away.

use super::{
    faults::Faults,
    proof::Proof,
    world::{Setup, World},
};
use crate::{
    failover::keys::{Key, without},
    model::group::OnControlLoss,
};

/// The setup of a seed: every mix of members, durability, control loss and supervision.
fn setup(seed: u64) -> Setup {
    let quorum = seed & 1 == 1;
    let bare = seed & 24 == 24;
    Setup {
        three_members: quorum || seed & 2 == 2,
        quorum,
        control: if seed & 4 == 4 { OnControlLoss::HoldIfAllAck } else { OnControlLoss::Fence },
        supervised: if bare { [false, true, true] } else { [true; 3] },
        wrong_assertions: quorum && bare,
        drift: None,
        faults: Faults::ALL,
        faults_from: 8_000_000,
        faults_until: 120_000_000,
        until: 200_000_000,
    }
}

fn play(seed: u64, setup: Setup) -> (Proof, Result<(), String>) {
    let (world, outcome) = World::new(seed, setup, false).run();
    (world.proof, outcome)
}

/// `FAILOVER_SEEDS=FROM..TO`, or so many from zero.
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment what to run")]
fn seeds(n: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FAILOVER_SEEDS") else { return 0..n };
    let (from, to) = text.split_once("..").expect("FAILOVER_SEEDS=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn failover_holds_in_all_schedules() {
    let (mut n_promotions, mut n_decisions, mut broken) = (0, 0, Vec::new());
    let seeds = seeds(2000);
    for seed in seeds.clone() {
        let (proof, outcome) = play(seed, setup(seed));
        n_promotions += proof.n_promotions;
        n_decisions += proof.n_decisions;
        let Err(why) = outcome else { continue };
        // The first one is told whole.
        if broken.is_empty() {
            let (world, _) = World::new(seed, setup(seed), true).run();
            world.trace.iter().flatten().for_each(|line| println!("{line}"));
        }
        broken.push(format!("seed {seed}: {why}"));
    }
    println!("drill, seeds {} to {}: {n_decisions} decisions, {n_promotions} promotions", seeds.start, seeds.end - 1);
    assert!(broken.is_empty(), "{} of {}: {:#?}", broken.len(), seeds.end - seeds.start, &broken[..broken.len().min(20)]);
    assert!(n_promotions as u64 > (seeds.end - seeds.start) / 2, "something is promoted: {n_promotions}");
}

/// Two members and a witness, nothing goes wrong but decisions and lines.
const QUIET: Setup = Setup {
    three_members: false,
    quorum: false,
    control: OnControlLoss::Fence,
    supervised: [true; 3],
    wrong_assertions: false,
    drift: None,
    faults: Faults { late: 5, slow: 10, cut: 4, elect: 1, decide: 5, ..Faults::NONE },
    faults_from: 8_000_000,
    faults_until: 40_000_000,
    until: 45_000_000,
};

/// Three members, writes acknowledged by two.
const QUORUM: Setup = Setup { three_members: true, quorum: true, ..QUIET };

const fn with(setup: Setup, faults: Faults) -> Setup {
    Setup { faults, ..setup }
}

/// With the rule taken away some seed finds this harm, and with it that seed finds none.
fn must_be_found(key: Key, setup: Setup, harm: &[&str]) {
    const TRIES: u64 = 6000;
    let mut others = std::collections::BTreeMap::new();
    for seed in 0..TRIES {
        let (_, outcome) = without(Some(key), || play(seed, setup));
        let Err(why) = outcome else { continue };
        if !harm.iter().any(|it| why.starts_with(it)) {
            *others.entry(why.split_once(':').map_or_else(String::new, |(rule, _)| rule.to_owned())).or_insert(0) += 1;
            continue;
        }
        let (_, with) = play(seed, setup);
        // A run may end in the middle of an operation: such a seed shows nothing of how runs end.
        if why.starts_with("not live") && with.is_err() {
            continue;
        }
        assert!(with.as_ref().err().is_none_or(|why| why.starts_with("not live")), "seed {seed}, with all rules: {with:?}");
        println!("without {key:?}: seed {seed}: {why}");
        return;
    }
    panic!("{key:?} is not missed in {TRIES} seeds, which found {others:?}");
}

/// For those that are found by how a run ends.
const LONG: Setup = Setup { faults_until: 60_000_000, until: 120_000_000, ..QUIET };

#[test]
fn class_removed_is_found() {
    must_be_found(Key::Class, QUIET, &["I1:", "I1c:"]);
}

#[test]
fn armed_removed_is_found() {
    let faults = Faults { agent: 2, ..QUIET.faults };
    must_be_found(Key::Armed, Setup { supervised: [false, true, true], ..with(QUIET, faults) }, &["I1:", "I1c:"]);
}

#[test]
fn supdie_removed_is_found() {
    must_be_found(Key::SupDie, with(QUIET, Faults { supervisor: 3, pause: 4, ..QUIET.faults }), &["I1:", "I1c:"]);
}

#[test]
fn assertwait_removed_is_found() {
    let faults = Faults { pace: 900_000, late: 0, slow: 0, elect: 0, cut: 3, decide: 6, assert: 10, ..QUIET.faults };
    must_be_found(Key::AssertWait, with(QUIET, faults), &["I0:", "I1:"]);
}

#[test]
fn sticky_removed_is_found() {
    must_be_found(Key::Sticky, with(QUIET, Faults { agent: 4, crash: 2, ..QUIET.faults }), &["I1:", "I1c:", "I3:"]);
}

#[test]
fn boot_removed_is_found() {
    must_be_found(Key::Boot, with(QUIET, Faults { crash: 4, ..QUIET.faults }), &["I1:", "I1c:"]);
}

#[test]
fn please_removed_is_found() {
    let setup = Setup { three_members: true, faults_until: 120_000_000, until: 120_000_000, ..QUIET };
    let late = Faults { late: 0, late_leads: 50, late_max: 40_000_000, slow: 0, ..QUIET.faults };
    let faults = Faults { pace: 4_000_000, elect: 0, cut: 6, cancel: 3, ..late };
    must_be_found(Key::Please, with(setup, faults), &["I1:", "I1b:", "I1c:"]);
}

#[test]
fn parm_removed_is_found() {
    must_be_found(Key::Parm, with(QUIET, Faults { slow: 50, agent: 3, pause: 3, cancel: 3, ..QUIET.faults }), &["I1:", "I1c:"]);
}

#[test]
fn ambig_removed_is_found() {
    let setup = Setup { three_members: true, faults_until: 70_000_000, until: 70_000_000, ..QUIET };
    must_be_found(Key::Ambig, with(setup, Faults { pace: 5_000_000, slow: 60, ..QUIET.faults }), &["I0:", "I1:", "I1b:"]);
}

#[test]
fn commit_removed_is_found() {
    must_be_found(Key::Commit, QUIET, &["I1:", "I2:"]);
}

#[test]
fn peers_removed_is_found() {
    let setup = Setup { control: OnControlLoss::HoldIfAllAck, ..QUIET };
    must_be_found(Key::Peers, setup, &["I1:", "I1c:"]);
}

#[test]
fn seal_removed_is_found() {
    let setup = Setup { supervised: [false, true, true], wrong_assertions: true, ..QUORUM };
    must_be_found(Key::Seal, with(setup, Faults { agent: 4, assert: 4, ..QUIET.faults }), &["I1b:", "I6:"]);
}

#[test]
fn synckeep_removed_is_found() {
    must_be_found(Key::SyncKeep, QUORUM, &["I6:"]);
}

#[test]
fn matched_removed_is_found() {
    must_be_found(Key::Matched, with(QUIET, Faults { cancel: 4, switchover: 4, ..QUIET.faults }), &["I1:", "I1c:", "I6:", "I7:"]);
}

#[test]
fn swtoken_removed_is_found() {
    must_be_found(Key::SwToken, with(QUIET, Faults { switchover: 5, ..QUIET.faults }), &["I7:"]);
}

#[test]
fn cmp_removed_is_found() {
    must_be_found(Key::Cmp, with(QUIET, Faults { late: 20, ..QUIET.faults }), &["I3:"]);
}

#[test]
fn persist_removed_is_found() {
    must_be_found(Key::Persist, with(QUIET, Faults { late: 20, agent: 4, ..QUIET.faults }), &["I3:"]);
}

#[test]
fn serial_removed_is_found() {
    must_be_found(Key::Serial, with(QUIET, Faults { slow: 50, ..QUIET.faults }), &["I3:"]);
}

#[test]
fn cancelnew_removed_is_found() {
    must_be_found(Key::CancelNew, with(LONG, Faults { cancel: 5, ..QUIET.faults }), &["not live"]);
}

#[test]
fn deadline_removed_is_found() {
    must_be_found(Key::Deadline, with(LONG, Faults { crash: 5, slow: 30, ..QUIET.faults }), &["not live"]);
}

/// The first region's clock runs so slowly that its database ends after the others have waited for it. There is time to see that.
const DRIFTING: Setup = Setup { drift: Some(-300_000), faults_from: 60_000_000, faults_until: 110_000_000, until: 112_000_000, ..QUIET };

/// With the rule no schedule has two primaries, and somebody is promoted all the same, where the slow one can be asked.
#[test]
fn a_clock_beyond_the_bound_is_borne() {
    let mut n_promotions = 0;
    for seed in 0..300 {
        let (proof, outcome) = play(seed, DRIFTING);
        assert!(outcome.as_ref().err().is_none_or(|why| why.starts_with("not live")), "seed {seed}: {outcome:?}");
        n_promotions += proof.n_promotions;
    }
    assert!(n_promotions > 0);
}
