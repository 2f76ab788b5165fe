//! What is wrong with a document, where, and what would fix it.

use std::fmt;

use serde::Serialize;

use super::{
    path::Path,
    tree::{Document, NodeId},
};

/// The most problems kept of each severity; the rest is counted. More than a person reads, and an answer stays small whatever is sent.
pub const PROBLEMS_MAX: usize = 100;
/// The most characters of the offending line that are shown.
const EXCERPT_MAX: usize = 160;
/// The most characters of a message or a fix: both may quote what was written.
const MESSAGE_MAX: usize = 600;

/// Whether a document with this problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is used; somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the document can be used all the same.
    pub severity: Severity,
    /// Where by meaning: `services.api.ttl.min`. Empty for the document as a whole.
    pub path: String,
    /// Where by position, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How many characters the offending text has on that line; at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What would fix it; empty where there is nothing to add.
    pub fix: String,
    /// The offending line, cut to what can be read.
    pub excerpt: String,
    /// The column of the excerpt that the problem begins at, from 1.
    pub excerpt_column: usize,
}

/// Problems as they are found. Bounded by [`PROBLEMS_MAX`] for each severity.
#[derive(Debug, Default)]
pub struct Report {
    found: Vec<Found>,
    errors: usize,
    warnings: usize,
    /// Octets of the source that no excerpt shows.
    hidden: Vec<std::ops::Range<usize>>,
}

#[derive(Debug)]
struct Found {
    severity: Severity,
    path: String,
    start: usize,
    end: usize,
    message: String,
    fix: String,
    /// The text around it has nothing to do with it.
    is_outside: bool,
}

impl Report {
    /// Notes a problem of a node.
    pub fn at(&mut self, severity: Severity, document: &Document<'_>, node: NodeId, message: impl Into<String>, fix: impl Into<String>) {
        if self.is_kept(severity) {
            let path = Path::of(document, node).to_string();
            self.keep(severity, path, document.start(node)..document.end(node), message.into(), fix.into());
        }
    }

    /// Notes a problem of a path: at its value, else at the innermost value on the way to it.
    pub fn at_path(
        &mut self,
        severity: Severity,
        document: &Document<'_>,
        path: &Path,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if !self.is_kept(severity) {
            return;
        }
        let (node, whole) = path.locate(document);
        // A section is best shown by the key that opens it, not by its first line.
        let is_scalar = matches!(document.kind(node), super::tree::Kind::Plain | super::tree::Kind::Quoted);
        let shown = if whole && is_scalar { node } else { Path::of(document, node).locate_key(document).unwrap_or(node) };
        self.keep(severity, path.to_string(), document.start(shown)..document.end(shown), message.into(), fix.into());
    }

    /// Notes a problem of some octets of the source that belong to no node.
    pub fn at_octets(&mut self, severity: Severity, octets: std::ops::Range<usize>, message: impl Into<String>, fix: impl Into<String>) {
        if self.is_kept(severity) {
            self.keep(severity, String::new(), octets, message.into(), fix.into());
        }
    }

    /// Notes a problem of something beside the text: a variable of the environment, another file. It is shown at the first line, without it.
    pub fn outside(&mut self, severity: Severity, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        if self.is_kept(severity) {
            self.keep(severity, path.to_owned(), 0..0, message.into(), fix.into());
            if let Some(found) = self.found.last_mut() {
                found.is_outside = true;
            }
        }
    }

    /// Keeps these octets of the source out of every excerpt: they may be a secret.
    pub fn hide(&mut self, octets: std::ops::Range<usize>) {
        // A document with more of them is not shown in any case: its problems are cut before.
        if self.hidden.len() < 10 * PROBLEMS_MAX {
            self.hidden.push(octets);
        }
    }

    /// Raises the count to what a source of problems counted, where it did not keep all of them.
    pub const fn count_omitted(&mut self, severity: Severity, omitted: usize) {
        match severity {
            Severity::Error => self.errors += omitted,
            Severity::Warning => self.warnings += omitted,
        }
    }

    /// How many errors were noted, those that are not kept included.
    #[must_use]
    pub const fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings were noted, those that are not kept included.
    #[must_use]
    pub const fn warnings(&self) -> usize {
        self.warnings
    }

    /// Counts a problem, and says whether there is room to keep it.
    fn is_kept(&mut self, severity: Severity) -> bool {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        *count <= PROBLEMS_MAX
    }

    fn keep(&mut self, severity: Severity, path: String, octets: std::ops::Range<usize>, message: String, fix: String) {
        let (message, fix) = (cut(message), cut(fix));
        self.found.push(Found { severity, path, start: octets.start, end: octets.end, message, fix, is_outside: false });
    }

    /// The problems with their lines, in the order of the source. One pass over the source.
    #[must_use]
    pub fn locate(mut self, source: &str) -> Vec<Problem> {
        self.found.sort_by_key(|found| found.start);
        let mut problems = Vec::with_capacity(self.found.len());
        let (mut line, mut line_start, mut at) = (1, 0, 0);
        for found in self.found {
            let start = floor(source, found.start);
            for (i, _) in source.as_bytes()[at..start].iter().enumerate().filter(|&(_, &octet)| octet == b'\n') {
                line += 1;
                line_start = at + i + 1;
            }
            at = start;
            let line_end = source[start..].find('\n').map_or(source.len(), |i| start + i);
            let text = source[line_start..line_end].trim_end_matches('\r');
            let start = start.min(line_start + text.len());
            let column = source[line_start..start].chars().count() + 1;
            let end = floor(source, found.end).clamp(start, line_start + text.len());
            let width = source[start..end].chars().count().max(1);
            let (excerpt, excerpt_column) =
                if found.is_outside { (String::new(), 1) } else { excerpt(&masked(text, line_start, &self.hidden), column) };
            problems.push(Problem {
                severity: found.severity,
                path: found.path,
                line,
                column,
                width: width.min(EXCERPT_MAX.saturating_sub(excerpt_column) + 1),
                message: found.message,
                fix: found.fix,
                excerpt,
                excerpt_column,
            });
        }
        problems
    }
}

/// The part of a line around a column, and the column in that part. What is not printable becomes a space.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let skipped = if column > EXCERPT_MAX / 2 && line.len() > EXCERPT_MAX { column - EXCERPT_MAX / 2 } else { 0 };
    let text = line.chars().skip(skipped).take(EXCERPT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    (text, column - skipped)
}

/// A line with its hidden parts as asterisks, one per character.
fn masked(line: &str, line_start: usize, hidden: &[std::ops::Range<usize>]) -> String {
    let is_hidden = |at: usize| hidden.iter().any(|octets| octets.contains(&(line_start + at)));
    line.char_indices().map(|(at, c)| if is_hidden(at) { '*' } else { c }).collect()
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn cut(mut text: String) -> String {
    if text.chars().any(char::is_control) {
        text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    if let Some((at, _)) = text.char_indices().nth(MESSAGE_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}
