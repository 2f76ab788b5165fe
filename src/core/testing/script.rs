//! Scripts with expected text under `tests/data`, and the words that all of them share. `UPDATE_EXPECT=1` rewrites the expected text.

use std::{fs, path::Path, time::Duration};

use crate::model::check::FailureCategory;

/// Runs all scripts in `tests/data/<folder>` whose file name begins with `prefix` (empty: all) and compares what they give with what stands
/// below their `----`.
pub(crate) fn check_scripts(folder: &str, prefix: &str, run: impl Fn(&str) -> String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(folder);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    files.sort();
    assert!(!files.is_empty(), "no script `{prefix}*` in {}", directory.display());
    let mut different = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (script, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let given = run(script);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, format!("{script}----\n{given}")).unwrap();
        } else if given != expected {
            different.push(format!("{}:\n{}", file.display(), difference(expected, &given)));
        }
    }
    assert!(different.is_empty(), "UPDATE_EXPECT=1 rewrites:\n{}", different.join("\n"));
}

/// The first lines that differ.
fn difference(expected: &str, given: &str) -> String {
    let position = expected.lines().zip(given.lines()).position(|(expected, given)| expected != given);
    let position = position.unwrap_or_else(|| expected.lines().count().min(given.lines().count()));
    let show = |text: &str| text.lines().skip(position).take(4).collect::<Vec<_>>().join("\n    ");
    format!("  expected:\n    {}\n  given:\n    {}", show(expected), show(given))
}

/// `1h`, `90s`, `1m30s`, `250ms`.
pub(crate) fn duration(text: &str) -> Duration {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| panic!("`{text}` has no unit"));
        let (number, unit_on) = rest.split_at(digits);
        let unit = unit_on.find(|c: char| c.is_ascii_digit()).unwrap_or(unit_on.len());
        let number: u64 = number.parse().unwrap_or_else(|_| panic!("`{text}` is not a duration"));
        sum += match &unit_on[..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(60 * number),
            "h" => Duration::from_secs(3600 * number),
            unit => panic!("`{unit}` in `{text}` is not a unit"),
        };
        rest = &unit_on[unit..];
    }
    sum
}

/// The category whose word this is.
pub(crate) fn category(word: &str) -> FailureCategory {
    FailureCategory::from_word(word).unwrap_or_else(|| panic!("`{word}` is not a failure category"))
}
