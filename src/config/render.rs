//! Problems as a compiler shows them, and as JSON.

use std::fmt;

use portolan_core::document::{Document, Problem, Report, Severity};
use serde::Serialize;

/// All that is wrong with one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// As it was named by whoever loaded it.
    pub file: String,
    /// In the order of the file; errors and warnings.
    pub list: Vec<Problem>,
    /// Errors beyond those listed.
    pub errors_omitted: usize,
    /// Warnings beyond those listed.
    pub warnings_omitted: usize,
}

impl Problems {
    /// Those of a report, with their lines.
    #[must_use]
    pub fn new(file: &str, source: &str, report: Report) -> Self {
        let (errors, warnings) = (report.errors(), report.warnings());
        let list = report.locate(source);
        let kept = |severity| list.iter().filter(|problem| problem.severity == severity).count();
        let (errors_omitted, warnings_omitted) = (errors - kept(Severity::Error), warnings - kept(Severity::Warning));
        Self { file: file.to_owned(), list, errors_omitted, warnings_omitted }
    }

    /// One problem of the file as a whole: it cannot be read, is not UTF-8 …
    #[must_use]
    pub fn of_file(file: &str, message: &str, fix: &str) -> Self {
        let mut report = Report::default();
        report.at_octets(Severity::Error, 0..0, message, fix);
        Self::new(file, "", report)
    }

    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count() + self.errors_omitted
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Warning).count() + self.warnings_omitted
    }

    /// Each problem on one line: `plan.yaml:12:7: error: services.api.ttl.min: …`. For logs.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|problem| {
            let Problem { severity, line, column, message, .. } = problem;
            let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
            format!("{}:{line}:{column}: {severity}: {path}{message}", self.file)
        })
    }

    /// For fuzzing: what holds for the problems of any `text`.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn prove(&self, text: &str) {
        let lines = text.split('\n').count();
        for problem in &self.list {
            assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "a problem lies outside the text: {problem:?}");
            assert!(!problem.message.is_empty() && problem.excerpt_column >= 1, "a problem says nothing: {problem:?}");
        }
        assert!(self.to_string().len() < 4 * 1024 * 1024, "problems are not bounded");
    }

    /// As JSON, for tools: the fields of this type and of [`Problem`].
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("invariant: texts and numbers only")
    }
}

/// ```text
/// plan.yaml:12:7: error: services.api.ttl.min: min 90s is more than max 60s
///    |
/// 12 |     ttl: { min: 90s, max: 60s }
///    |                 ^^^
///    = fix: lower `min` or raise `max`
/// ```
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, problem) in self.lines().zip(&self.list) {
            writeln!(f, "{line}")?;
            let number = problem.line.to_string();
            let margin = " ".repeat(number.len());
            if !problem.excerpt.trim().is_empty() {
                // Columns count characters; a tab was made a space, so that the caret stands below what it means.
                let (before, caret) = (" ".repeat(problem.excerpt_column - 1), "^".repeat(problem.width));
                writeln!(f, "{margin} |\n{number} | {}\n{margin} | {before}{caret}", problem.excerpt)?;
            }
            if !problem.fix.is_empty() {
                writeln!(f, "{margin} = fix: {}", problem.fix)?;
            }
        }
        for (omitted, what) in [(self.errors_omitted, "errors"), (self.warnings_omitted, "warnings")] {
            if omitted > 0 {
                writeln!(f, "{}: {omitted} more {what}", self.file)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A document after its text was read: goes on collecting.
pub(super) struct Loading<'s> {
    pub(super) file: &'s str,
    pub(super) text: &'s str,
}

impl Loading<'_> {
    /// Puts findings of the core at their places.
    pub(super) fn place(document: &Document<'_>, report: &mut Report, findings: &portolan_core::plan::Findings) {
        for finding in findings.kept() {
            report.at_path(finding.severity, document, &finding.path, finding.message.clone(), finding.fix.clone());
        }
        let kept = |severity| findings.kept().iter().filter(|finding| finding.severity == severity).count();
        report.count_omitted(Severity::Error, findings.errors() - kept(Severity::Error));
        report.count_omitted(Severity::Warning, findings.warnings() - kept(Severity::Warning));
    }

    /// Ends it.
    pub(super) fn problems(&self, report: Report) -> Problems {
        Problems::new(self.file, self.text, report)
    }
}
