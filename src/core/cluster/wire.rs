//! The envelope of entries and snapshots: a kind number and a feature level, then the value.
//!
//! The numbers are read alone first, so that what a newer version wrote is recognised however its value looks.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{limits::cut, refusal::Halt};

/// The longest description of what cannot be read, in octets.
const DETAIL_MAX: usize = 200;

#[derive(Serialize)]
struct Envelope<'a, T> {
    kind: u32,
    feature_level: u32,
    entry: &'a T,
}

#[derive(Deserialize)]
struct Opened<T> {
    entry: T,
}

#[derive(Deserialize)]
struct Head {
    kind: u32,
    feature_level: u32,
}

pub(super) fn write<T: Serialize>(kind: u32, feature_level: u32, entry: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { kind, feature_level, entry }).expect("invariant: texts, integers and maps with text keys always encode")
}

/// Reads the value when its kind and level are known. Bounded by `max` octets and by the depth limit of the JSON reader.
pub(super) fn read<T: DeserializeOwned>(octets: &[u8], max: usize, supported: u32, knows: impl Fn(u32) -> bool) -> Result<T, Halt> {
    if octets.len() > max {
        return Err(Halt::Corrupt(format!("{} octets, at most {max} are ever written", octets.len())));
    }
    let head: Head = serde_json::from_slice(octets).map_err(|error| corrupt(&error))?;
    if !knows(head.kind) || head.feature_level > supported {
        return Err(Halt::UpgradeRequired { kind: head.kind, feature_level: head.feature_level });
    }
    let opened: Opened<T> = serde_json::from_slice(octets).map_err(|error| corrupt(&error))?;
    Ok(opened.entry)
}

/// Whether the octets are what this version writes for the value.
pub(super) fn check_canonical<T: Serialize>(octets: &[u8], kind: u32, feature_level: u32, entry: &T) -> Result<(), Halt> {
    if write(kind, feature_level, entry) == octets {
        Ok(())
    } else {
        Err(Halt::Corrupt("not in the form that it is written in".to_owned()))
    }
}

fn corrupt(error: &serde_json::Error) -> Halt {
    Halt::Corrupt(cut(&error.to_string(), DETAIL_MAX))
}
