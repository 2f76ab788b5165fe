//! Runs in numbers: all faults at once, clocks that run badly, and what nothing may come of.

use std::collections::BTreeMap;

use super::{faults::Faults, proof::Proof, setup::Setup, world::World};
use crate::{failover::evidence::Evidence, model::group::OnControlLoss};

/// The setup of a seed: every mix of members, durability, control loss and supervision.
fn setup(seed: u64) -> Setup {
    let quorum = seed & 1 == 1;
    let bare = seed & 24 == 24;
    let is_watched = seed & 32 == 32;
    let watched = Faults { blind: 1, sicken: 3, estimate: 3, decide: 2, ..Faults::ALL };
    Setup {
        three_members: quorum || seed & 2 == 2,
        quorum,
        control: if seed & 4 == 4 { OnControlLoss::HoldIfAllAck } else { OnControlLoss::Fence },
        asks_voters: seed & 64 == 64,
        supervised: if bare { [false, true, true] } else { [true; 3] },
        wrong_assertions: quorum && bare,
        drift: None,
        ttl: 10,
        is_watched,
        hold: 5,
        calm: None,
        faults: if is_watched { watched } else { Faults::ALL },
        faults_from: 8_000_000,
        faults_until: 120_000_000,
        until: 200_000_000,
    }
}

pub(super) fn play(seed: u64, setup: Setup) -> (Proof, Result<(), String>) {
    let (world, outcome) = World::new(seed, setup, false).run();
    (world.proof, outcome)
}

/// The same run in words.
fn tell(seed: u64, setup: Setup) {
    let (world, _) = World::new(seed, setup, true).run();
    world.trace.iter().flatten().for_each(|line| println!("{line}"));
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
    let (mut n_detected, mut n_doubted, mut n_detected_promotions) = (0, 0, 0);
    let seeds = seeds(2000);
    for seed in seeds.clone() {
        let (proof, outcome) = play(seed, setup(seed));
        n_promotions += proof.n_promotions;
        n_decisions += proof.n_decisions;
        n_detected += proof.detected_by.values().sum::<usize>();
        n_doubted += proof.n_doubted;
        n_detected_promotions += proof.n_detected_promotions;
        let Err(why) = outcome else { continue };
        // The first one is told whole.
        if broken.is_empty() {
            tell(seed, setup(seed));
        }
        broken.push(format!("seed {seed}: {why}"));
    }
    println!("drill, seeds {} to {}: {n_decisions} decisions, {n_promotions} promotions", seeds.start, seeds.end - 1);
    println!("of the detector: {n_detected} decisions, {n_detected_promotions} promotions, {n_doubted} proposals to a person");
    assert!(broken.is_empty(), "{} of {}: {:#?}", broken.len(), seeds.end - seeds.start, &broken[..broken.len().min(20)]);
    let n = seeds.end - seeds.start;
    if n < 100 {
        // Some that failed, run again, show nothing of how much happens.
        return;
    }
    assert!(n_promotions as u64 > n / 2, "something is promoted: {n_promotions}");
    // Of the half of them in which the detector lives.
    let n_watched = n / 2;
    assert!(n_detected_promotions as u64 >= n_watched / 8, "the detector has somebody promoted: {n_detected_promotions}");
    assert!(n_doubted as u64 >= n_watched / 20, "too much would be lost, and a person is asked: {n_doubted}");
}

/// Two members and a witness, nothing goes wrong but decisions and lines.
pub(super) const QUIET: Setup = Setup {
    three_members: false,
    quorum: false,
    control: OnControlLoss::Fence,
    asks_voters: true,
    supervised: [true; 3],
    wrong_assertions: false,
    drift: None,
    ttl: 10,
    is_watched: false,
    hold: 5,
    calm: None,
    faults: Faults { late: 5, slow: 10, cut: 4, elect: 1, decide: 5, ..Faults::NONE },
    faults_from: 8_000_000,
    faults_until: 40_000_000,
    until: 45_000_000,
};

/// Three members, writes acknowledged by two.
pub(super) const QUORUM: Setup = Setup { three_members: true, quorum: true, ..QUIET };

/// The first region's clock runs so slowly that its database ends after the others have waited for it. There is time to see that.
pub(super) const DRIFTING: Setup = Setup {
    drift: Some(-300_000),
    faults: Faults { pace: 9_000_000, cut: 5, elect: 0, decide: 6, ..QUIET.faults },
    faults_from: 60_000_000,
    faults_until: 110_000_000,
    until: 112_000_000,
    ..QUIET
};

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

/// Cuts alone, of any shape, each shorter than lease and hold and over before the next one: clients beside the primary notice nothing, nothing is
/// decided, and no agent fences itself.
pub(super) const BLINKING: Setup = Setup {
    three_members: true,
    ttl: 90,
    is_watched: true,
    hold: 30,
    calm: Some("R11"),
    faults: Faults { pace: 5_000_000, doubled: 10, blink: 9, elect: 1, ..Faults::NONE },
    faults_until: 300_000_000,
    until: 320_000_000,
    ..QUIET
};

/// One region at a time does not see what is so: its probes fail, or it is cut off, for longer than lease and hold.
const ONE_BLIND: Setup = Setup {
    ttl: 10,
    hold: 5,
    calm: Some("R6"),
    faults: Faults { pace: 60_000_000, doubled: 10, blind: 9, elect: 1, ..Faults::NONE },
    ..BLINKING
};

/// Every mix of members, durability and control loss.
fn nothing_comes_of(calm: Setup, n: u64) {
    for seed in seeds(n) {
        let (three_members, quorum) = (seed & 1 == 1, seed & 3 == 3);
        let control = if seed & 4 == 4 { OnControlLoss::HoldIfAllAck } else { OnControlLoss::Fence };
        let setup = Setup { three_members, quorum, control, ..calm };
        let (_, outcome) = play(seed, setup);
        if outcome.is_err() {
            tell(seed, setup);
        }
        assert_eq!(outcome, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_cut_shorter_than_lease_and_hold_is_not_noticed_beside_the_primary() {
    nothing_comes_of(BLINKING, 150);
}

#[test]
fn the_blindness_of_one_region_moves_nothing() {
    nothing_comes_of(ONE_BLIND, 150);
}

/// The detector alone decides: a primary is lost, one way or another, and the figures of what would be lost are good or bad.
pub(super) const WATCHED: Setup = Setup {
    three_members: true,
    is_watched: true,
    faults: Faults { pace: 14_000_000, cut: 5, elect: 1, sicken: 2, estimate: 2, ..Faults::NONE },
    faults_until: 120_000_000,
    until: 150_000_000,
    ..QUIET
};

/// It decides on either evidence, somebody is promoted by it, and where too much would be lost a person is asked.
#[test]
fn the_detector_decides_and_asks() {
    let (mut decided, mut n_promotions, mut n_doubted) = (BTreeMap::new(), 0, 0);
    for seed in 0..100 {
        let (proof, outcome) = play(seed, Setup { quorum: seed % 2 == 1, ..WATCHED });
        assert_eq!(outcome, Ok(()), "seed {seed}");
        n_promotions += proof.n_detected_promotions;
        n_doubted += proof.n_doubted;
        proof.detected_by.into_iter().for_each(|(evidence, n)| *decided.entry(evidence).or_insert(0) += n);
    }
    println!("decided: {decided:?}, {n_promotions} promoted, {n_doubted} proposed");
    for evidence in [Evidence::Dead, Evidence::Isolated] {
        assert!(decided.get(&evidence).is_some_and(|n| *n >= 10), "{decided:?}");
    }
    assert!(n_promotions >= 20 && n_doubted >= 20, "{n_promotions} promoted, {n_doubted} proposed");
}
