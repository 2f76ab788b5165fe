//! Where a log ends: the last whole record, as `pg_waldump` finds it.

use portolan_core::{failover::engine::postgres::position, model::time::Timestamp};

/// Octets of a page of the log (`XLOG_BLCKSZ`, as every distribution builds it).
const PAGE: u64 = 8192;
/// What a page begins with (`SizeOfXLogShortPHD`).
const PAGE_HEADER: u64 = 24;
/// What a segment begins with (`SizeOfXLogLongPHD`).
const SEGMENT_HEADER: u64 = 40;

/// A record, as a line of `pg_waldump` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it begins.
    pub(super) at: u64,
    /// Its octets, without the headers of pages between them.
    pub(super) length: u64,
    /// It ends a transaction that is kept.
    pub(super) is_commit: bool,
}

/// Reads a line; `None`: it is none of a record.
pub(super) fn record(line: &str) -> Option<Record> {
    let (_, after) = line.split_once("len (rec/tot):")?;
    let (lengths, after) = after.split_once(',')?;
    let length = lengths.split_once('/')?.1.trim().parse().ok()?;
    let (_, after) = after.split_once("lsn:")?;
    let (at, after) = after.split_once(',')?;
    let is_commit = line.starts_with("rmgr: Transaction") && after.contains("desc: COMMIT");
    Some(Record { at: position(at.trim())?, length, is_commit })
}

/// When a transaction was committed, of a line of its commit that was printed in UTC; `None`: that cannot be read.
pub(super) fn committed(line: &str) -> Option<Timestamp> {
    let (_, after) = line.split_once("desc: COMMIT")?;
    // One that was prepared has its number first.
    let (_, after) = after.split_once(": ").filter(|_| after.starts_with("_PREPARED")).unwrap_or(("", after));
    let (time, _) = after.split_once(" UTC")?;
    let at: jiff::Timestamp = format!("{}Z", time.trim()).parse().ok()?;
    Some(Timestamp(at.as_millisecond()))
}

impl Record {
    /// Where the record after it may begin, which is what PostgreSQL calls its end: page headers that it runs across are counted, one that
    /// would follow is not.
    pub(super) fn end(&self, segment: u64) -> u64 {
        let mut at = self.at;
        let mut left = self.length;
        loop {
            let room = PAGE - at % PAGE;
            if left <= room {
                return (at + left).next_multiple_of(8);
            }
            left -= room;
            at += room;
            at += if at.is_multiple_of(segment.max(PAGE)) { SEGMENT_HEADER } else { PAGE_HEADER };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_line_is_read_or_not_and_no_record_ends_before_it_begins(
            text in "\\PC{0,80}", at in 0..u64::MAX / 4, length in 0..1_u64 << 30, segment in 0..1_u64 << 31
        ) {
            let _ = (committed(&text), committed(&format!("desc: COMMIT{text} UTC")));
            let _ = (record(&text), record(&format!("len (rec/tot): 1/{text}, lsn: {text}, desc: {text}")));
            let record = Record { at: at / 8 * 8, length, is_commit: false };
            prop_assert!(record.end(segment) >= record.at + length);
        }
    }

    const SEGMENT: u64 = 16 * 1024 * 1024;

    #[test]
    fn a_line_is_read() {
        let line = "rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/01567F30, prev 0/01567EF0, desc: COMMIT 2026-11-29 11:00:00 UTC";
        assert_eq!(record(line), Some(Record { at: 0x0156_7F30, length: 34, is_commit: true }));
        let line = "rmgr: Heap        len (rec/tot):     54/  8150, tx:        735, lsn: 1/00000028, prev 0/FF, desc: INSERT off 1";
        assert_eq!(record(line), Some(Record { at: 0x1_0000_0028, length: 8150, is_commit: false }));
        assert_eq!(record("pg_waldump: error: error in WAL record at 0/1: invalid record length at 0/2: wanted 24, got 0"), None);
    }

    #[test]
    fn the_time_of_a_commit_is_read() {
        let at = |desc: &str| committed(&format!("rmgr: Transaction len (rec/tot): 34/ 34, tx: 735, lsn: 0/8, prev 0/0, desc: {desc}"));
        let noon = Some(Timestamp(1_796_040_000_250));
        assert_eq!(at("COMMIT 2026-11-30 12:00:00.250999 UTC"), noon);
        assert_eq!(at("COMMIT 2026-11-30 12:00:00.250999 UTC; inval msgs: catcache 54"), noon);
        assert_eq!(at("COMMIT_PREPARED 736: 2026-11-30 12:00:00.250999 UTC"), noon);
        assert_eq!((at("COMMIT 2026-11-30 12:00:00.250999 CET"), at("ABORT 2026-11-30 12:00:00.250999 UTC")), (None, None));
    }

    #[test]
    fn a_record_ends_behind_the_headers_that_it_runs_across() {
        let end = |at, length| Record { at, length, is_commit: false }.end(SEGMENT);
        assert_eq!(end(0x0300_0028, 114), 0x0300_00A0, "rounded up to eight octets");
        assert_eq!(end(PAGE * 10 + 8000, 192), PAGE * 11, "to the end of its page, and no further");
        assert_eq!(end(PAGE * 10 + 8000, 200), PAGE * 11 + 24 + 8);
        assert_eq!(end(SEGMENT - 8, 16), SEGMENT + 40 + 8);
        assert_eq!(end(PAGE * 10 + 40, PAGE - 40 + PAGE - 24 + 1), PAGE * 12 + 24 + 8, "across two");
    }
}
