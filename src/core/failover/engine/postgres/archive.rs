//! What a server says of its archive (`pg_stat_archiver`), and up to where that reaches.
//!
//! Source: PostgreSQL documentation, chapter 26.3 (continuous archiving) and 28.2.12; `xlog_internal.h` for the names of files.

use std::time::Duration;

use crate::recovery::archive::{Archive, FILE_MAX};

/// What its view says, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiver {
    /// `archive_mode` is not off.
    pub is_on: bool,
    /// The file that was archived last.
    pub last: Option<String>,
    /// How long ago, by the server's clock.
    pub succeeded: Option<Duration>,
    /// Attempts that failed since its statistics began.
    pub n_failed: u64,
    /// The file that could not be archived, if that was tried after the last one that could.
    pub failing: Option<String>,
}

impl Archiver {
    /// What is told of it, by a server on `timeline` whose files have `segment` octets.
    #[must_use]
    pub fn told(&self, timeline: u32, segment: u64) -> Archive {
        let name = |name: &String| name.chars().filter(char::is_ascii_graphic).take(FILE_MAX).collect();
        Archive {
            is_on: self.is_on,
            up_to: self.last.as_deref().and_then(|last| up_to(last, timeline, segment)),
            succeeded: self.succeeded,
            n_failed: self.n_failed,
            failing: self.failing.as_ref().map(name),
        }
    }
}

/// Behind everything that is in the archive once the file of this name is; `None`: its name does not say, or it is of another timeline. Files are
/// archived in the order of their names. Of a segment: its end. Of a part of one, or of a mark in it: its start.
fn up_to(name: &str, timeline: u32, segment: u64) -> Option<u64> {
    let (file, is_whole) = match name.split_once('.') {
        None => (name, true),
        Some((file, rest)) if rest == "partial" || rest.ends_with("backup") => (file, false),
        Some(_) => return None,
    };
    if file.len() != 24 || !file.is_ascii() || segment == 0 {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(&file[at..at + 8], 16).ok();
    if word(0)? != timeline {
        return None;
    }
    let start = (u64::from(word(8)?) << 32).checked_add(u64::from(word(16)?).checked_mul(segment)?)?;
    if is_whole { start.checked_add(segment) } else { Some(start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 16 << 20;

    #[test]
    fn the_name_of_a_segment_says_where_it_ends() {
        let at = |name: &str| up_to(name, 2, SEGMENT);
        assert_eq!(at("00000002000000000000000A"), Some(11 * SEGMENT));
        assert_eq!(at("0000000200000001000000FF"), Some((1 << 32) + 256 * SEGMENT));
        assert_eq!(at("00000002000000000000000A.00000028.backup"), Some(10 * SEGMENT));
        assert_eq!(at("00000002000000000000000A.partial"), Some(10 * SEGMENT));
        for other in [
            "00000001000000000000000A",
            "00000002.history",
            "",
            "x",
            "0000000200000000000000é",
            "00000002FFFFFFFFFFFFFFFFF",
            "0000000200000000000000G0",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
        assert_eq!(up_to("0000000200000000FFFFFFFF", 2, u64::MAX), None);
        assert_eq!(up_to("0000000200000000FFFFFFFF", 2, 0), None);
    }

    #[test]
    fn what_others_may_write_is_bounded() {
        let archiver = Archiver { failing: Some("\u{7}x".repeat(500)), ..Archiver::default() };
        assert_eq!(archiver.told(1, SEGMENT).failing.unwrap().len(), FILE_MAX);
    }
}
