//! Broken variants of the examples, as data: a change to the example, and the problems that it must give.
//!
//! `UPDATE_EXPECT=1 cargo test config` writes what is found; look at the difference before it is kept.

use std::{collections::BTreeMap, fmt::Write as _};

use portolan_core::document::Severity;

use super::super::{Problems, node, plan};

/// One variant.
struct Case {
    title: String,
    /// Lines that are taken out, each with those that come in.
    changes: Vec<(String, String)>,
    /// The problem may lie outside the changed lines.
    elsewhere: bool,
    /// There is no error; a warning must lie inside the changed lines.
    warns: bool,
    expected: String,
}

fn problems_of(base: &str, text: &str) -> Problems {
    match base {
        "node.yaml" => node::load(text, base, &BTreeMap::new()).map_or_else(|problems| problems, |loaded| loaded.warnings),
        _ => plan::load(text, base, &plan::Options::default()).map_or_else(|problems| problems, |loaded| loaded.warnings),
    }
}

fn example(base: &str) -> String {
    std::fs::read_to_string(format!("config/{base}")).unwrap()
}

/// `(header, base, cases)`.
fn read(script: &str) -> (String, String, Vec<Case>) {
    let (header, rest) = script.split_once("\n== ").unwrap();
    let base = header.lines().next().and_then(|line| line.strip_prefix("base: ")).unwrap().to_owned();
    let cases = rest.split("\n== ").map(|case| {
        let mut lines = case.lines();
        let title = lines.next().unwrap().to_owned();
        let mut changes: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
        let (mut elsewhere, mut warns) = (false, false);
        for line in lines.by_ref() {
            if let Some(mark) = line.strip_prefix("----") {
                elsewhere = mark.contains("elsewhere");
                warns = mark.contains("warns");
                break;
            } else if let Some(out) = line.strip_prefix("- ") {
                if changes.last().is_none_or(|(_, added)| !added.is_empty()) {
                    changes.push((Vec::new(), Vec::new()));
                }
                changes.last_mut().unwrap().0.push(out);
            } else if let Some(added) = line.strip_prefix('+') {
                changes.last_mut().unwrap().1.push(added.strip_prefix(' ').unwrap_or(added));
            } else {
                panic!("{title}: `{line}` is neither a change nor the end of the changes");
            }
        }
        let changes = changes.into_iter().map(|(out, added)| (out.join("\n"), added.join("\n"))).collect();
        Case { title, changes, elsewhere, warns, expected: lines.collect::<Vec<_>>().join("\n").trim().to_owned() }
    });
    let cases = cases.collect();
    (header.to_owned(), base, cases)
}

/// The changed text, and which of its lines are new.
fn apply(case: &Case, original: &str) -> (String, Vec<std::ops::RangeInclusive<usize>>) {
    let (mut text, mut marks): (String, Vec<(usize, usize)>) = (original.to_owned(), Vec::new());
    for (out, added) in &case.changes {
        assert_eq!(original.matches(out.as_str()).count(), 1, "{}: `{out}` must stand exactly once in the example", case.title);
        let at = text.find(out.as_str()).unwrap();
        text.replace_range(at..at + out.len(), added);
        for (earlier, _) in marks.iter_mut().filter(|(earlier, _)| *earlier > at) {
            *earlier = *earlier + added.len() - out.len();
        }
        marks.push((at, added.matches('\n').count()));
    }
    let lines = marks.into_iter().map(|(at, further)| {
        let first = text[..at].matches('\n').count() + 1;
        first..=first + further
    });
    let lines = lines.collect();
    (text, lines)
}

/// Errors, and the warnings that the example itself does not have.
fn show(problems: &Problems, known: &Problems) -> String {
    let mut shown = String::new();
    for problem in &problems.list {
        let is_known = |other: &portolan_core::document::Problem| other.path == problem.path && other.message == problem.message;
        if problem.severity == Severity::Warning && known.list.iter().any(is_known) {
            continue;
        }
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        let fix = if problem.fix.is_empty() { String::new() } else { format!("\n    fix: {}", problem.fix) };
        let _ = writeln!(shown, "{}:{}: {}: {path}{}{fix}", problem.line, problem.column, problem.severity, problem.message);
    }
    shown.trim().to_owned()
}

#[test]
fn each_broken_variant_is_refused_at_its_line() {
    let mut variants = 0;
    for file in ["form", "meaning", "recovery", "node", "warnings"] {
        let path = format!("tests/data/config/bad/{file}.txt");
        let (header, base, cases) = read(&std::fs::read_to_string(&path).unwrap());
        let original = example(&base);
        let known = problems_of(&base, &original);
        assert_eq!(known.errors(), 0, "{known}");
        let mut rewritten = format!("{}\n", header.trim_end());
        let mut wrong = Vec::new();
        for case in &cases {
            variants += 1;
            let (text, marks) = apply(case, &original);
            let problems = problems_of(&base, &text);
            let found = show(&problems, &known);
            let is_refused = problems.errors() > 0;
            let severity = if case.warns { Severity::Warning } else { Severity::Error };
            let is_here =
                problems.list.iter().any(|problem| problem.severity == severity && marks.iter().any(|lines| lines.contains(&problem.line)));
            if is_refused == case.warns || (!is_here && !case.elsewhere) {
                wrong.push(format!("{}: is as it must be: no. Refused {is_refused}, at the changed lines {is_here}:\n{found}", case.title));
            } else if found != case.expected {
                wrong.push(format!("{}: found\n{found}\nexpected\n{}", case.title, case.expected));
            }
            let _ = writeln!(rewritten, "\n== {}", case.title);
            for (out, added) in &case.changes {
                for line in out.split('\n') {
                    let _ = writeln!(rewritten, "- {line}");
                }
                for line in added.split('\n') {
                    let _ = writeln!(rewritten, "{}", format!("+ {line}").trim_end());
                }
            }
            let _ = writeln!(
                rewritten,
                "----{}\n{found}",
                match (case.elsewhere, case.warns) {
                    (true, true) => " elsewhere, warns",
                    (true, false) => " elsewhere",
                    (false, true) => " warns",
                    (false, false) => "",
                }
            );
        }
        #[expect(clippy::disallowed_methods, reason = "a switch of the test run, not of the program")]
        if std::env::var("UPDATE_EXPECT").is_ok() {
            std::fs::write(&path, rewritten).unwrap();
            wrong.retain(|message| message.contains("is as it must be: no"));
        }
        assert!(wrong.is_empty(), "{path}:\n{}\nwrite the new expectations with UPDATE_EXPECT=1", wrong.join("\n\n"));
    }
    assert!(variants >= 150, "{variants} variants are left");
}

#[test]
fn the_schema_refuses_what_is_wrong_in_form() {
    let validators = [("plan.yaml", portolan_core::plan::schema()), ("node.yaml", node::schema())]
        .map(|(base, schema)| (base, jsonschema::validator_for(&schema).unwrap()));
    let (mut judged, mut refused) = (0, 0);
    for file in ["form", "meaning", "recovery", "node"] {
        let (_, base, cases) = read(&std::fs::read_to_string(format!("tests/data/config/bad/{file}.txt")).unwrap());
        let (_, validator) = validators.iter().find(|(known, _)| *known == base).unwrap();
        for case in &cases {
            // What is no YAML, or refused by its notation alone, never reaches a schema.
            let Some(value) = super::super::to_json(&apply(case, &example(&base)).0) else { continue };
            judged += 1;
            refused += usize::from(!validator.is_valid(&value));
        }
    }
    assert!(judged > 130 && refused > 45, "the schema refused {refused} of {judged}");
}
