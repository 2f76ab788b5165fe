//! Reads zone files (RFC 1035 section 5): text in, records and every problem with line and column out.
//!
//! Why all problems at once: whoever mends a zone at night wants one list, not one error per try. A faulty entry is left out and reading
//! goes on behind it; the file as a whole is refused if any problem is an error.
//!
//! Absent on purpose: `$INCLUDE` (a zone is one reviewed file, and the core opens none), `$GENERATE` (not part of the RFC, and the source of
//! surprising amounts of records), types that are not answered here, classes other than IN.
//!
//! Source: RFC 1035 section 5, RFC 2308 section 4 (`$TTL`), BIND 9 (units of time).

mod data;
mod lexer;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use self::data::parse_data;
use self::{
    data::{Fields, TYPES, data, shown, time},
    lexer::{Entry, Lexer},
};
use super::check::{self, Severity};
use crate::model::{
    name::Name,
    record::{Record, RecordData, RecordType},
    topology::Zone,
    units::Ttl,
};

/// The largest zone file in octets: far above a hand-written zone, far below what would hurt the daemon's memory.
pub const FILE_LENGTH_MAX: usize = 32 * 1024 * 1024;
/// The most records in one file; each costs a few hundred octets of memory.
pub const RECORDS_MAX: usize = 250_000;
/// Reading stops after so many problems: the rest is rarely more than their consequence.
pub const PROBLEMS_MAX: usize = 100;

/// A place in the text. Both count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// Something wrong in a zone file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; line 1, column 1 when something is missing from the file as a whole.
    pub at: Position,
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// What is wrong and what would fix it.
    pub message: String,
}

/// `12:5: error: …`, to stand behind the name of the file and a colon.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: {}", self.at.line, self.at.column, self.message)
    }
}

/// A zone file that may be answered from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// In the order of the file.
    pub records: Vec<Record>,
    /// What does not work as written; in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads the file of the zone at `apex` and checks the zone as a whole. `is_service` says which names get their addresses from steering.
///
/// # Errors
/// Every error and warning, in the order of the file; at least one is an error.
pub fn read(text: &[u8], apex: &Name, is_service: &dyn Fn(&Name) -> bool) -> Result<Contents, Vec<Problem>> {
    let Parsed { records, positions, mut problems } = parse(text, apex);
    let broken = problems.has_errors();
    let zone = Zone { apex: apex.clone(), records: Arc::new(records) };
    for finding in check::check(&zone, is_service) {
        // With entries left out, only what is wrong with those that are there says anything.
        if broken && (finding.record.is_none() || finding.severity == Severity::Warning) {
            continue;
        }
        let at = finding.record.map_or(Position { line: 1, column: 1 }, |record| positions[record]);
        problems.push(Problem { at, severity: finding.severity, message: finding.message });
    }
    let broken = problems.has_errors();
    let mut problems = problems.0;
    problems.sort_by_key(|problem| problem.at);
    if broken {
        return Err(problems);
    }
    let records = Arc::try_unwrap(zone.records).unwrap_or_else(|shared| (*shared).clone());
    Ok(Contents { records, warnings: problems })
}

/// All problems found so far.
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn push(&mut self, problem: Problem) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(problem);
        }
    }

    fn error(&mut self, at: Position, message: String) {
        self.push(Problem { at, severity: Severity::Error, message });
        if self.0.len() + 1 == PROBLEMS_MAX {
            self.push(Problem {
                at,
                severity: Severity::Error,
                message: format!("more than {PROBLEMS_MAX} problems; the rest is not read"),
            });
        }
    }

    fn warning(&mut self, at: Position, message: String) {
        // Warnings never fill the list, so that they cannot hide an error.
        if self.0.len() < PROBLEMS_MAX / 2 {
            self.push(Problem { at, severity: Severity::Warning, message });
        }
    }

    const fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn first(&self) -> Option<&Problem> {
        self.0.first()
    }
}

/// What the text says, sound or not.
struct Parsed {
    records: Vec<Record>,
    /// Where each record begins.
    positions: Vec<Position>,
    problems: Problems,
}

/// What one entry leaves for the next.
struct State {
    origin: Name,
    /// `None` before the first record.
    owner: Option<Name>,
    /// From `$TTL`.
    default_ttl: Option<Ttl>,
    /// The last one that a record stated itself.
    last_ttl: Option<Ttl>,
}

fn parse(text: &[u8], apex: &Name) -> Parsed {
    let mut parsed = Parsed { records: Vec::new(), positions: Vec::new(), problems: Problems::default() };
    let start = Position { line: 1, column: 1 };
    if text.len() > FILE_LENGTH_MAX {
        parsed.problems.error(start, format!("the file has {} octets; at most {FILE_LENGTH_MAX} are read", text.len()));
        return parsed;
    }
    // Some editors write a byte order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut state = State { origin: apex.clone(), owner: None, default_ttl: None, last_ttl: None };
    let mut lexer = Lexer::new(text);
    while let Some(entry) = lexer.entry(&mut parsed.problems) {
        let first = entry.fields[0];
        if !entry.owner_left_out && !first.quoted && first.raw.starts_with(b"$") {
            if let Err((at, message)) = directive(&entry, &mut state, &mut parsed.problems) {
                parsed.problems.error(at, message);
            }
            continue;
        }
        match record(&entry, &mut state, &mut parsed.problems) {
            Ok(_) if parsed.records.len() == RECORDS_MAX => {
                parsed.problems.error(first.at, format!("more than {RECORDS_MAX} records; the rest is not read"));
                break;
            }
            Ok(record) => {
                parsed.records.push(record);
                parsed.positions.push(first.at);
            }
            Err((at, message)) => parsed.problems.error(at, message),
        }
        if parsed.problems.is_full() {
            break;
        }
    }
    parsed
}

fn directive(entry: &Entry<'_>, state: &mut State, problems: &mut Problems) -> Result<(), data::Fault> {
    let first = entry.fields[0];
    let mut fields = Fields::new(entry, 1, &state.origin);
    match first.raw.to_ascii_uppercase().as_slice() {
        b"$ORIGIN" => {
            let origin = fields.name("the new origin")?;
            fields.finish()?;
            doubts(&mut fields, problems);
            state.origin = origin;
        }
        b"$TTL" => {
            let ttl = fields.time("the time to live")?;
            fields.finish()?;
            state.default_ttl = Some(ttl);
        }
        b"$INCLUDE" => return Err((first.at, "`$INCLUDE` is not read: put the records into this file".to_owned())),
        b"$GENERATE" => return Err((first.at, "`$GENERATE` is not read: write the records out".to_owned())),
        _ => return Err((first.at, format!("`{}` is not a directive; there are `$ORIGIN` and `$TTL`", shown(first.raw)))),
    }
    Ok(())
}

fn doubts(fields: &mut Fields<'_, '_>, problems: &mut Problems) {
    for (at, message) in fields.doubtful.drain(..) {
        problems.warning(at, message);
    }
}

/// `[owner] [ttl] [class] type data`, time to live and class in either order.
fn record(entry: &Entry<'_>, state: &mut State, problems: &mut Problems) -> Result<Record, data::Fault> {
    let origin = state.origin.clone();
    let mut fields = Fields::new(entry, 0, &origin);
    let owner = if entry.owner_left_out {
        state
            .owner
            .clone()
            .ok_or_else(|| (entry.fields[0].at, "the first record has no owner; begin the line with a name or `@`".to_owned()))?
    } else {
        let owner = fields.name("the owner of a record");
        // Entries below that leave out theirs have a faulty owner too, which is said once: any name serves for reading on.
        state.owner = Some(owner.as_ref().unwrap_or(&origin).clone());
        owner?
    };

    let (mut ttl, mut class) = (None, false);
    let record_type = loop {
        let field = fields.next("the type of the record")?;
        let text = std::str::from_utf8(field.raw).unwrap_or("");
        let upper = text.to_ascii_uppercase();
        if !class && upper == "IN" {
            class = true;
        } else if matches!(upper.as_str(), "CH" | "HS" | "CS") || upper.strip_prefix("CLASS").is_some_and(|n| n.parse::<u16>().is_ok()) {
            return Err((field.at, format!("class {upper} is not answered; only IN is")));
        } else if ttl.is_none() && text.starts_with(|c: char| c.is_ascii_digit()) {
            ttl = Some(time(text).ok_or_else(|| {
                (field.at, format!("`{text}` is not a time to live; write seconds or a time like 1h30m, at most {}", Ttl::MAX.secs()))
            })?);
        } else {
            break text
                .parse::<RecordType>()
                .map_err(|_| (field.at, format!("`{}` is not a record type; a record is `owner ttl IN type data`", shown(field.raw))))
                .and_then(|record_type| match RECORD_TYPES.contains(&record_type) {
                    true => Ok(record_type),
                    false => Err((field.at, format!("records of type {record_type} are not read here; use {TYPES}"))),
                })?;
        }
    };
    let data = data(record_type, &mut fields)?;
    doubts(&mut fields, problems);
    if ttl.is_some() {
        state.last_ttl = ttl;
    }
    let minimum = match &data {
        RecordData::Soa(soa) => Some(Ttl::from_secs(soa.minimum)),
        _ => None,
    };
    match ttl.or(state.default_ttl).or(state.last_ttl).or(minimum) {
        Some(ttl) => Ok(Record { owner, ttl, data }),
        None => Err((entry.fields[0].at, "no time to live: state it here, or put a `$TTL` line at the start of the file".to_owned())),
    }
}

/// What [`data::data`] reads.
const RECORD_TYPES: [RecordType; 10] = [
    RecordType::SOA,
    RecordType::NS,
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::PTR,
    RecordType::MX,
    RecordType::TXT,
    RecordType::SRV,
    RecordType::CAA,
];

/// Feeds any octets to the reader; for fuzzing. What is read must print as text that reads back the same.
///
/// # Panics
/// When it does not: that is a bug.
pub fn fuzz_zone_file(data: &[u8]) {
    let apex: Name = "example.org".parse().expect("invariant: a valid name");
    let Parsed { records, positions, problems } = parse(data, &apex);
    assert_eq!(records.len(), positions.len());
    assert!(problems.0.len() <= PROBLEMS_MAX);
    let mut text = String::new();
    for record in &records {
        let again = parse_data(record.data.record_type(), &record.data.to_string(), &Name::root());
        assert_eq!(again.as_ref(), Ok(&record.data));
        text.push_str(&record.to_string());
        text.push('\n');
    }
    let again = parse(text.as_bytes(), &apex);
    assert_eq!(again.records, records);
    let _ = read(data, &apex, &|_| false);
}
