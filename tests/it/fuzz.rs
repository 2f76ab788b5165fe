//! Every reader of foreign octets against a kept corpus and 20,000 changes of it.
//!
//! A failure prints the seed and the input; `PORTOLAN_SEED=… cargo test --test it fuzz::` runs the same inputs again. `make soak` runs the same
//! readers under a coverage-guided fuzzer, from the same corpus (`tests/fuzz/`).

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use super::mutate::Dice;

const MUTATIONS: usize = 20_000;

/// Where a run starts unless `PORTOLAN_SEED` says otherwise.
const SEED: u64 = 0x0bad_5eed;

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "how a failing run is run again")]
fn seed() -> u64 {
    std::env::var("PORTOLAN_SEED").map_or(SEED, |seed| seed.parse().expect("PORTOLAN_SEED is a number"))
}

fn run(target: &str, reader: fn(&[u8])) {
    let inputs = corpus(target);
    let seed = seed();
    println!("PORTOLAN_SEED={seed}");
    let feed = |data: &[u8], what: &str| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| reader(data))) {
            let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            println!("{what} of {target}, with PORTOLAN_SEED={seed}: keep it in tests/fuzz/corpus/{target}: {hex}");
            resume_unwind(panic);
        }
    };
    for (number, input) in inputs.iter().enumerate() {
        feed(input, &format!("input {number}"));
    }
    let mut dice = Dice::new(seed);
    for number in 0..MUTATIONS {
        feed(&dice.mutate(&inputs), &format!("mutation {number}"));
    }
}

#[test]
fn packets() {
    run("packet", portolan::dns::fuzz::fuzz_packet);
}

#[test]
fn client_subnets() {
    run("ecs", portolan::dns::fuzz::fuzz_ecs);
}

#[test]
fn plans() {
    run("plan", portolan::config::fuzz_plan);
}

#[test]
fn node_configs() {
    run("node", portolan::config::node::fuzz_node);
}

#[test]
fn calls_in_json() {
    run("json", portolan::api::fuzz_json);
}

#[test]
fn zone_files() {
    run("zone_file", portolan_core::zone::file::fuzz_zone_file);
}

#[test]
fn geo_databases() {
    run("mmdb", portolan::geo::fuzz_mmdb);
}

#[test]
fn answers_of_endpoints() {
    run("answers", portolan::probe::fuzz_answers);
}

#[test]
fn pages_of_the_history() {
    run("history", portolan::daemon::fuzz_history);
}

#[test]
fn words_of_databases() {
    run("engines", portolan_core::failover::engine::fuzz_engines);
}

#[test]
fn answers_of_stores() {
    run("stores", portolan::backup::s3::fuzz_stores);
}

#[test]
fn words_of_agents() {
    run("agents", portolan::agent::fuzz_agents);
}

/// The fuzzer's crate has a program for each target of this file, and the other way round.
#[test]
fn the_fuzzer_has_the_same_targets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let (programs, kept) = (names("tests/fuzz/targets"), names("tests/fuzz/corpus"));
    assert_eq!(programs, kept);
    let here = fs::read_to_string(root.join("tests/it/fuzz.rs")).unwrap();
    for name in kept {
        assert!(here.contains(&format!("run(\"{name}\", ")), "tests/it/fuzz.rs does not run {name}");
    }
}
