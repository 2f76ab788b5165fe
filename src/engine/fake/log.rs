//! The log of a fake database: one record per line, each of a timeline, appended and synced. Where it ends is its position, in octets.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use portolan_core::failover::{
    agent::Opening,
    engine::postgres::{History, Switch},
    token::Token,
};
use serde::{Deserialize, Serialize};

use super::super::Trouble;

/// The longest text that is written at once, in octets.
pub const TEXT_OCTETS_MAX: usize = 1024;

/// The longest record, in octets: a text of which every octet is escaped, and what stands around it.
const RECORD_OCTETS_MAX: u64 = 8 * TEXT_OCTETS_MAX as u64;

/// A log that is longer takes no writes: nobody keeps so much in a fake.
const LOG_OCTETS_MAX: u64 = 256 << 20;

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    timeline: u32,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The database began, with this identifier.
    System(u64),
    /// The timeline began.
    Promoted(bool),
    /// A client's write.
    Write(String),
    /// The agent's, every second: microseconds since boot.
    Beat(u64),
    /// By which grant the timeline was opened: generation and epoch.
    Lease(u64, u64),
}

/// What a log says so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Of the database; copies have the same.
    pub(super) system: u64,
    /// The line that it stands on.
    pub(super) history: History,
    /// Behind the last record.
    pub(super) end: u64,
    /// The token in it.
    pub(super) opening: Option<Opening>,
    /// The last heartbeat, in microseconds since boot.
    pub(super) beat: Option<u64>,
}

impl Head {
    fn heed(&mut self, line: &[u8]) -> Result<(), String> {
        let Record { timeline, what } = serde_json::from_slice(line).map_err(|error| format!("no record: {error}"))?;
        let is_first = self.system == 0;
        match what {
            What::System(system) if is_first && system > 0 && timeline > 0 => {
                (self.system, self.history.timeline) = (system, timeline);
            }
            What::Promoted(_) if !is_first && timeline > self.history.timeline => {
                self.history.left.push(Switch { timeline: self.history.timeline, at: self.end });
                self.history.timeline = timeline;
            }
            What::System(_) | What::Promoted(_) => return Err("it does not go on with what is before it".to_owned()),
            _ if is_first || timeline != self.history.timeline => return Err("it is of another timeline".to_owned()),
            What::Write(_) => {}
            What::Beat(at) => self.beat = Some(at),
            What::Lease(generation, epoch) => {
                self.opening = Some(Opening { token: Token { generation, epoch }, timeline, at: self.history.began() });
            }
        }
        self.end += line.len() as u64;
        Ok(())
    }
}

/// The log, open for writing.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    pub(super) head: Head,
}

impl Log {
    /// Begins a log.
    pub(super) fn create(path: &Path, system: u64) -> Result<(), Trouble> {
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(&line(1, What::System(system)))?;
            file.sync_all()
        };
        written().map_err(|error| Trouble(format!("write `{}`: {error}", path.display())))
    }

    /// Opens it; what was written in part is cut off.
    ///
    /// # Errors
    /// It cannot be read, or a whole line is no record of one.
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        let head = read(path)?;
        let opened = || {
            let file = OpenOptions::new().append(true).open(path)?;
            file.set_len(head.end)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = opened().map_err(|error: std::io::Error| Trouble(format!("open `{}`: {error}", path.display())))?;
        Ok(Self { file, head })
    }

    /// Writes and syncs a record of the present timeline.
    pub(super) fn append(&mut self, what: What) -> Result<(), Trouble> {
        self.write(&line(self.head.history.timeline, what))
    }

    /// Begins a timeline that is above this one.
    pub(super) fn begin_timeline(&mut self, above: u32) -> Result<(), Trouble> {
        self.write(&line(self.head.history.timeline.max(above).saturating_add(1), What::Promoted(true)))
    }

    /// Takes whole lines that another one streams, which go on where this log ends.
    pub(super) fn take(&mut self, at: u64, lines: &[u8]) -> Result<(), Trouble> {
        if at != self.head.end {
            return Err(Trouble(format!("what is streamed goes on at {at}, and the log ends at {}", self.head.end)));
        }
        if lines.is_empty() { Ok(()) } else { self.write(lines) }
    }

    /// All of it or nothing, as far as anybody is told.
    fn write(&mut self, lines: &[u8]) -> Result<(), Trouble> {
        if self.head.end >= LOG_OCTETS_MAX {
            return Err(Trouble(format!("the log is longer than {} MiB, and takes no more", LOG_OCTETS_MAX >> 20)));
        }
        let mut head = self.head.clone();
        for line in lines.split_inclusive(|octet| *octet == b'\n') {
            if line.last() != Some(&b'\n') {
                return Err(Trouble("a line without its end".to_owned()));
            }
            head.heed(line).map_err(Trouble)?;
        }
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        written.map_err(|error| Trouble(format!("write the log: {error}")))?;
        self.head = head;
        Ok(())
    }
}

/// Reads a log from its begin, up to the last whole line.
///
/// # Errors
/// It cannot be read, or a whole line is no record of one.
pub(super) fn read(path: &Path) -> Result<Head, Trouble> {
    let problem = |error: std::io::Error| Trouble(format!("read `{}`: {error}", path.display()));
    let mut reader = BufReader::new(File::open(path).map_err(problem)?);
    let (mut head, mut line) = (Head::default(), Vec::new());
    loop {
        line.clear();
        reader.by_ref().take(RECORD_OCTETS_MAX).read_until(b'\n', &mut line).map_err(problem)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        head.heed(&line).map_err(|why| Trouble(format!("read `{}` at octet {}: {why}", path.display(), head.end)))?;
    }
    if head.system == 0 {
        return Err(Trouble(format!("`{}` is no log of a fake database", path.display())));
    }
    Ok(head)
}

/// Whole lines from a position on, at least one where there is one, and at most about so many octets.
pub(super) fn lines_from(path: &Path, at: u64, end: u64, octets_max: usize) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(octets_max);
    let mut lines = vec![0; wanted];
    file.read_exact(&mut lines)?;
    let whole = lines.iter().rposition(|octet| *octet == b'\n').map_or(0, |last| last + 1);
    lines.truncate(whole);
    Ok(lines)
}

/// The text of a client's write; `None`: it is another record, or none.
pub(super) fn text_of(line: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Record>(line).ok()?.what {
        What::Write(text) => Some(text),
        _ => None,
    }
}

fn line(timeline: u32, what: What) -> Vec<u8> {
    // Numbers and text always are JSON.
    let mut line = serde_json::to_vec(&Record { timeline, what }).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        Log::create(&path, 7).unwrap();
        (directory, path)
    }

    #[test]
    fn what_is_written_is_read_again_and_a_part_of_a_line_is_cut_off() {
        let (_directory, path) = fresh();
        let mut log = Log::open(&path).unwrap();
        log.append(What::Write("one".to_owned())).unwrap();
        let parted = log.head.end;
        log.begin_timeline(4).unwrap();
        log.append(What::Lease(1, 9)).unwrap();
        log.append(What::Beat(12)).unwrap();
        let head = log.head.clone();
        assert_eq!(head.history, History { left: vec![Switch { timeline: 1, at: parted }], timeline: 5 });
        assert_eq!(head.opening, Some(Opening { token: Token { generation: 1, epoch: 9 }, timeline: 5, at: parted }));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"timeline\":5,\"wri").unwrap();
        assert_eq!(read(&path).unwrap(), head);
        assert_eq!(Log::open(&path).unwrap().head, head);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), head.end);
        let lines = lines_from(&path, 0, head.end, 1 << 20).unwrap();
        assert_eq!(lines.split_inclusive(|octet| *octet == b'\n').filter_map(text_of).collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_stream_that_does_not_go_on_where_the_log_ends_changes_nothing() {
        let (_directory, path) = fresh();
        let mut log = Log::open(&path).unwrap();
        let before = log.head.clone();
        let good = line(1, What::Write("x".to_owned()));
        for (at, lines) in [
            (before.end + 1, good.clone()),
            (before.end, good[..good.len() - 1].to_vec()),
            (before.end, [good.clone(), line(2, What::Beat(1))].concat()),
            (before.end, line(1, What::System(8))),
            (before.end, line(1, What::Promoted(true))),
            (before.end, b"hello\n".to_vec()),
        ] {
            assert!(log.take(at, &lines).is_err(), "{}", String::from_utf8_lossy(&lines));
            assert_eq!((&log.head, read(&path).unwrap()), (&before, before.clone()));
        }
        log.take(before.end, &good).unwrap();
        assert_eq!(log.head.end, before.end + good.len() as u64);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_log_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300), is_behind in any::<bool>()) {
            let (_directory, path) = fresh();
            let text = if is_behind { [std::fs::read(&path).unwrap(), octets].concat() } else { octets };
            std::fs::write(&path, text).unwrap();
            if let Ok(head) = read(&path) {
                prop_assert_eq!(Log::open(&path).unwrap().head, head);
            }
        }
    }
}
