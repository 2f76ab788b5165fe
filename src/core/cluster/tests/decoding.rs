//! Foreign octets: never a panic, never two forms of one value.

use proptest::prelude::*;

use super::random::{entries, logs};
use crate::cluster::{Entry, Halt, SNAPSHOT_KIND, State};

/// Reads octets both ways; what is read must be what they say.
fn read(octets: &[u8]) {
    if let Ok(entry) = Entry::decode(octets, 9) {
        assert_eq!(entry.encode().as_deref(), Ok(octets));
    }
    if let Ok(state) = State::restore(octets, 9) {
        assert_eq!(state.snapshot(), octets);
    }
    let mut state = State::supporting(9);
    let applied = state.apply_octets(1, octets);
    assert_eq!(applied.is_err(), state.halted().is_some());
}

/// Words of the form, in any order.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"kind\"",
        "\"feature_level\"",
        "\"entry\"",
        "\"at\"",
        "\"change\"",
        "\"expire\"",
        "1",
        "12",
        "-1",
        "1e999",
        "18446744073709551616",
        "null",
        "true",
        "\\u0000",
        "\\ud800",
        " ",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&octets);
    }

    #[test]
    fn octets_that_are_nearly_right(octets in nearly()) {
        read(&octets);
    }

    #[test]
    fn changed_entries(entry in entries(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4)) {
        read(&changed(entry.encode().unwrap(), &changes));
    }

    #[test]
    fn changed_snapshots(log in logs(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4)) {
        let mut state = State::supporting(9);
        for (i, entry) in log.iter().enumerate() {
            let _ = state.apply(i as u64 + 1, entry);
        }
        read(&changed(state.snapshot(), &changes));
    }
}

/// Octets replaced, added and left out.
fn changed(mut octets: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for &(at, octet, how) in changes {
        let at = at.index(octets.len().max(1));
        match how {
            0 if at < octets.len() => octets[at] = octet,
            1 => octets.insert(at, octet),
            _ if at < octets.len() => drop(octets.remove(at)),
            _ => {}
        }
    }
    octets
}

#[test]
fn deep_nesting_ends() {
    let octets = format!("{{\"kind\":12,\"feature_level\":1,\"entry\":{}", "[".repeat(1_000_000));
    assert!(matches!(Entry::decode(octets.as_bytes(), 1), Err(Halt::Corrupt(_))));
    assert!(matches!(State::restore(octets.as_bytes(), 1), Err(Halt::UpgradeRequired { .. } | Halt::Corrupt(_))));
}

#[test]
fn one_value_has_one_form() {
    let octets = super::random::entry(crate::cluster::Change::Expire).encode().unwrap();
    let text = String::from_utf8(octets.clone()).unwrap();
    assert!(Entry::decode(&octets, 1).is_ok());
    for other in [
        text.replace(":12,", ": 12,"),
        text.replace("\"expire\"", "\"\\u0065xpire\""),
        text.replace("\"moves\":null,", ""),
        text.replace("\"reason\"", "\"more\":1,\"reason\""),
        format!("{text}\n"),
    ] {
        assert_ne!(other, text);
        assert!(matches!(Entry::decode(other.as_bytes(), 1), Err(Halt::Corrupt(_))), "{other}");
    }
    // A number that is not its kind's.
    let other = text.replace("\"kind\":12", "\"kind\":11");
    assert!(matches!(Entry::decode(other.as_bytes(), 1), Err(Halt::Corrupt(_))));
}

#[test]
fn newer_snapshots_and_levels_are_recognised() {
    let octets = super::random::founded().snapshot();
    let text = String::from_utf8(octets).unwrap();
    let kind = |text: &str| State::restore(text.as_bytes(), 1).unwrap_err();
    let next = SNAPSHOT_KIND + 1;
    let newer = text.replacen(&format!("\"kind\":{SNAPSHOT_KIND}"), &format!("\"kind\":{next}"), 1);
    assert_eq!(kind(&newer), Halt::UpgradeRequired { kind: next, feature_level: 1 });
    let newer = text.replacen("\"feature_level\":1", "\"feature_level\":2", 1);
    assert_eq!(kind(&newer), Halt::UpgradeRequired { kind: SNAPSHOT_KIND, feature_level: 2 });
    let damaged = text.replacen("\"outcome\":\"accepted", "\"outcome\":\"rejected", 1);
    assert_ne!(damaged, text);
    assert!(matches!(kind(&damaged), Halt::Corrupt(text) if text.contains("audit chain breaks at link 0")));
}
