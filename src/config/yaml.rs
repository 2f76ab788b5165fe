//! From YAML text to a document of the core.
//!
//! Refused with their line: anchors, aliases, tags, directives, several documents, keys that are not texts. What makes a document mean
//! something else than it shows has no place in a file that decides where traffic goes.

use portolan_core::document::{BuildError, Builder, Document, Kind, NodeId, Report, Severity};
use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, options};

/// Parses one YAML document.
///
/// The report holds what was refused and can be passed over (anchors, tags …). `None`: there is no document, and the report says why.
#[must_use]
pub fn parse(text: &str) -> (Option<Document<'_>>, Report) {
    let mut report = Report::default();
    let document = read(text, &mut report);
    (document, report)
}

/// A YAML document as JSON, scalars typed as YAML 1.2 does; `None` when it cannot be read. For schema validators.
#[must_use]
pub fn to_json(text: &str) -> Option<serde_json::Value> {
    let (document, report) = parse(text);
    (report.errors() == 0).then_some(document).flatten().map(|document| portolan_core::document::to_json(&document, NodeId::ROOT))
}

fn read<'s>(text: &'s str, report: &mut Report) -> Option<Document<'s>> {
    let mut builder = match Builder::new(text) {
        Ok(builder) => builder,
        Err(problem) => {
            report.at_octets(Severity::Error, 0..0, problem.to_string(), "split it");
            return None;
        }
    };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(text, parser_options()) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(problem) => {
                syntax(text, &problem, report);
                return None;
            }
        };
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents > 1 {
                report.at_octets(Severity::Error, range(&span), "a second document begins here", "keep one document per file");
                return None;
            }
        }
        if let Err(problem) = push(&mut builder, text, &event, &span, report) {
            report.at_octets(Severity::Error, range(&span), problem.to_string(), "");
            return None;
        }
    }
    if documents == 0 {
        report.at_octets(Severity::Error, 0..0, "the document is empty", "");
        return None;
    }
    let document = builder.finish();
    if let Err(problem) = &document {
        report.at_octets(Severity::Error, 0..0, problem.to_string(), "");
    }
    document.ok()
}

fn parser_options() -> Options {
    // The tree has its own, narrower bound on depth; keys are as long as YAML allows.
    options! { disallow_directives: true, emit_comments: false, emit_unresolved_aliases: true, strict_indentation: true }
}

/// Adds one event to the tree.
fn push(builder: &mut Builder<'_>, text: &str, event: &Event<'_>, span: &Span, report: &mut Report) -> Result<(), BuildError> {
    let octets = range(span);
    match event {
        Event::Scalar(value, style, anchor, tag) => {
            refuse_marks(*anchor, tag.is_some(), span, report);
            let kind = if *style == ScalarStyle::Plain { Kind::Plain } else { Kind::Quoted };
            builder.scalar(kind, octets.start, trimmed_end(text, &octets), value)?;
        }
        Event::SequenceStart(_, anchor, tag) => {
            refuse_marks(*anchor, tag.is_some(), span, report);
            open(builder, Kind::List, &octets, report)?;
        }
        Event::MappingStart(_, anchor, tag) => {
            refuse_marks(*anchor, tag.is_some(), span, report);
            open(builder, Kind::Map, &octets, report)?;
        }
        Event::SequenceEnd | Event::MappingEnd => {
            builder.close(octets.end)?;
        }
        Event::Alias(_) | Event::UnresolvedAlias(_) => {
            report.at_octets(Severity::Error, octets.clone(), "aliases are not supported", "write the value out");
            builder.scalar(Kind::Void, octets.start, octets.end, "")?;
        }
        _ => {}
    }
    Ok(())
}

fn open(builder: &mut Builder<'_>, kind: Kind, octets: &std::ops::Range<usize>, report: &mut Report) -> Result<(), BuildError> {
    if builder.at_key() {
        report.at_octets(
            Severity::Error,
            octets.clone(),
            "a key is a list or a map",
            "write the key as a text; a value that begins with { or [ is quoted",
        );
    }
    builder.open(kind, octets.start).map(|_| ())
}

fn refuse_marks(anchor: usize, has_tag: bool, span: &Span, report: &mut Report) {
    if anchor != 0 {
        report.at_octets(Severity::Error, range(span), "anchors are not supported", "write the value out where it is needed");
    }
    if has_tag {
        let octets = span.tag_start.and_then(|mark| mark.byte_offset()).map_or_else(|| range(span), |start| start..start + 1);
        report.at_octets(
            Severity::Error,
            octets,
            "tags are not supported",
            "remove the tag; put the value in quotes if it shall be a text",
        );
    }
}

/// What the parser could not read, in words that name a fix where there is a usual one.
fn syntax(text: &str, problem: &ScanError, report: &mut Report) {
    let mark = problem.marker();
    let at = mark.byte_offset().unwrap_or_else(|| text.char_indices().nth(mark.index()).map_or(text.len(), |(at, _)| at)).min(text.len());
    let message = format!("not YAML: {}", problem.info());
    report.at_octets(Severity::Error, at..at, message, "check indentation, quotes and brackets on this line and the one before");
}

fn range(span: &Span) -> std::ops::Range<usize> {
    // Byte offsets are always there for text that is whole in memory.
    let start = span.start.byte_offset().unwrap_or_default();
    start..span.end.byte_offset().unwrap_or(start).max(start)
}

/// The end of a scalar without the line end and the blanks that some styles count in.
fn trimmed_end(text: &str, octets: &std::ops::Range<usize>) -> usize {
    text.get(octets.clone()).map_or(octets.end, |scalar| octets.start + scalar.trim_end().len())
}
