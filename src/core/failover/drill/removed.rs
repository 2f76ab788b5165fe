//! Each rule taken away: some schedule finds the harm that it keeps off, and with the rule the same schedule finds none.

use super::{
    faults::Faults,
    setup::Setup,
    tests::{BLINKING, DRIFTING, QUIET, QUORUM, WATCHED, play},
};
use crate::{
    failover::keys::{Key, without},
    model::group::OnControlLoss,
};

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

/// Lines that are cut for so long that a lease is waited for, and who leads changes with them.
const APART: Setup =
    Setup { faults: Faults { pace: 7_000_000, cut: 6, elect: 0, ..QUIET.faults }, faults_until: 90_000_000, until: 90_000_000, ..QUIET };

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
    must_be_found(Key::Peers, Setup { control: OnControlLoss::HoldIfAllAck, asks_voters: false, ..APART }, &["I1:", "I1c:"]);
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

#[test]
fn rpo_removed_is_found() {
    must_be_found(Key::Rpo, WATCHED, &["R3:"]);
}

#[test]
fn hold_removed_is_found() {
    must_be_found(Key::Hold, BLINKING, &["R11:"]);
}

#[test]
fn send_removed_is_found() {
    must_be_found(Key::Send, with(APART, Faults { late: 25, late_max: 25_000_000, ..APART.faults }), &["I0:", "I1:", "I1c:"]);
}

#[test]
fn noop_removed_is_found() {
    must_be_found(Key::Noop, APART, &["I0:", "I1:", "I1c:"]);
}

#[test]
fn revoke_removed_is_found() {
    must_be_found(Key::Revoke, APART, &["I0:", "I1:", "I1c:"]);
}

#[test]
fn elect_removed_is_found() {
    must_be_found(Key::Elect, with(QUIET, Faults { elect: 3, ..QUIET.faults }), &["I0:", "I1:", "I1c:"]);
}

#[test]
fn ttl_removed_is_found() {
    must_be_found(Key::Ttl, with(QUIET, Faults { plan: 4, ..QUIET.faults }), &["I0:", "I1:", "I1c:"]);
}

#[test]
fn drift_removed_is_found() {
    must_be_found(Key::Drift, DRIFTING, &["I1:", "I1c:"]);
}

#[test]
fn sealq_removed_is_found() {
    must_be_found(Key::SealQ, QUORUM, &["I6:"]);
}

#[test]
fn lineage_removed_is_found() {
    let setup = Setup { three_members: true, ..LONG };
    must_be_found(Key::Lineage, setup, &["I8:"]);
}

#[test]
fn floor_removed_is_found() {
    let faults = Faults { slow: 50, ..QUIET.faults };
    must_be_found(Key::Floor, Setup { faults_until: 110_000_000, until: 120_000_000, faults, ..QUORUM }, &["I6:"]);
}
