//! A listing that somebody else made: a service that answers it, or a program that prints it.
//!
//! ```json
//! [{ "name": "base/2026-11-22", "size": 7340032, "modified": "2026-11-22T03:03:20Z", "complete": true, "encrypted": true, "versioned": true }]
//! ```
//!
//! `name` and `modified` (RFC 3339) must be there. `complete: false` is one in the making; where it is left out, its name decides as it does
//! elsewhere. `encrypted`: with AES-256; `versioned`: older versions of it are kept. What is not said of each is not proven. Other keys are left
//! alone, so that a listing which was made for more than this may be used.

use portolan_core::{
    model::time::Timestamp,
    recovery::backups::{Listing, Pattern, Proof, Seen},
};
use serde::Deserialize;

/// The longest listing, in octets: some fifty thousand backups.
pub const OCTETS_MAX: usize = 8 * 1024 * 1024;

/// Backups in one listing; of more it is not whole.
const BACKUPS_MAX: usize = 50_000;

/// The longest name, in characters: as long as a name in S3.
const NAME_MAX: usize = 1024;

#[derive(Deserialize)]
struct Told {
    name: String,
    #[serde(default)]
    size: u64,
    modified: String,
    complete: Option<bool>,
    encrypted: Option<bool>,
    versioned: Option<bool>,
}

/// Reads a listing. `complete`: as in [`Listing::add`], beside what the listing says itself.
///
/// # Errors
/// It is none, in one line that holds no more of it than where it goes wrong.
pub fn read(octets: &[u8], complete: Option<&Pattern>, now: Timestamp) -> Result<Seen, String> {
    let all: Vec<Told> =
        serde_json::from_slice(octets).map_err(|error| format!("its listing cannot be read: {}", bounded(&error.to_string())))?;
    let everything = Pattern("*".to_owned());
    let mut listing = Listing { is_whole: all.len() <= BACKUPS_MAX, ..Listing::default() };
    let (mut encrypted, mut versioned) = (Word::default(), Word::default());
    for told in all.into_iter().take(BACKUPS_MAX) {
        if told.name.is_empty() || told.name.chars().count() > NAME_MAX || told.name.chars().any(char::is_control) {
            return Err(format!(
                "its listing has a name that is empty, longer than {NAME_MAX} characters, or has control characters in it"
            ));
        }
        if told.complete == Some(false) {
            listing.octets = listing.octets.saturating_add(told.size);
            continue;
        }
        let written: Result<jiff::Timestamp, _> = told.modified.parse();
        let at = written.map_err(|_| "its listing cannot be read: a `modified` is no time of RFC 3339".to_owned())?;
        let before = listing.n_complete;
        let rule = if told.complete == Some(true) { complete.or(Some(&everything)) } else { complete };
        listing.add(&told.name, Timestamp(at.as_millisecond()), told.size, rule, now);
        if listing.n_complete > before {
            encrypted.of(told.encrypted);
            versioned.of(told.versioned);
        }
    }
    Ok(Seen { at: now, listing, encryption: encrypted.proof("encrypted"), versioning: versioned.proof("versioned") })
}

/// What is said of all that count.
#[derive(Default)]
struct Word {
    n_yes: u64,
    n_no: u64,
    n_silent: u64,
}

impl Word {
    fn of(&mut self, said: Option<bool>) {
        match said {
            Some(true) => self.n_yes += 1,
            Some(false) => self.n_no += 1,
            None => self.n_silent += 1,
        }
    }

    fn proof(&self, key: &str) -> Proof {
        match self {
            Self { n_no: 1.., .. } => Proof::Refuted,
            Self { n_yes: 1.., n_silent: 0, .. } => Proof::Proven,
            Self { n_silent: 1.., .. } => Proof::Unknown(format!("its listing has not `{key}` with each of them")),
            _ => Proof::Unknown("no complete backup is there to be asked for".to_owned()),
        }
    }
}

/// One short line of what a reader of JSON says.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_316_600_000);

    fn read(text: &str) -> Result<Seen, String> {
        super::read(text.as_bytes(), None, NOW)
    }

    fn one(rest: &str) -> String {
        format!(r#"{{"name":"base","size":7,"modified":"2026-11-22T03:03:20Z"{rest}}}"#)
    }

    #[test]
    fn what_is_complete_counts_and_what_is_said_of_all_is_proven() {
        let all = format!("[{},{}]", one(r#","complete":true,"encrypted":true,"versioned":false,"wal":[1]"#), one(r#","complete":false"#));
        let seen = read(&all).unwrap();
        assert_eq!((seen.listing.n_complete, seen.listing.octets, seen.listing.newest.unwrap().at), (1, 14, NOW));
        assert_eq!((seen.encryption, seen.versioning), (Proof::Proven, Proof::Refuted));
        let seen = read(&format!("[{},{}]", one(r#","encrypted":true"#), one(""))).unwrap();
        assert!(matches!(seen.encryption, Proof::Unknown(why) if why.contains("`encrypted`")));
        let none = read("[]").unwrap();
        assert!(none.listing.newest.is_none() && none.listing.is_whole && matches!(none.encryption, Proof::Unknown(_)));
        // The plan's pattern holds beside what is said.
        let pattern = Pattern("*.end".to_owned());
        assert_eq!(super::read(format!("[{}]", one(r#","complete":true"#)).as_bytes(), Some(&pattern), NOW).unwrap().listing.n_complete, 0);
        // Names in the making are so without a word, and are not with one.
        let tmp = one("").replace("base", "base.tmp");
        assert_eq!(read(&format!("[{tmp}]")).unwrap().listing.n_complete, 0);
        assert_eq!(read(&format!("[{}]", tmp.replace('}', r#","complete":true}"#))).unwrap().listing.n_complete, 1);
    }

    #[test]
    fn nonsense_is_no_listing() {
        for text in ["", "{}", "null", "[1]", "[", r#"[{"name":"a"}]"#, r#"[{"name":"a","modified":"yesterday"}]"#, "<html>hush</html>"] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with("its listing cannot be read: ") && why.len() < 300 && !why.contains("hush"), "{why}");
        }
        let long = one("").replace("base", &"x".repeat(NAME_MAX + 1));
        for name in [one("").replace("base", ""), one("").replace("base", "a\\u0007"), long] {
            assert!(read(&format!("[{name}]")).unwrap_err().contains("has a name that"), "{name}");
        }
        let many = vec![one(""); BACKUPS_MAX + 1].join(",");
        let seen = read(&format!("[{many}]")).unwrap();
        assert_eq!((seen.listing.is_whole, seen.listing.n_complete), (false, BACKUPS_MAX as u64));
    }
}
