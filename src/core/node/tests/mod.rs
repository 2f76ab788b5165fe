//! The whole core in scenarios (`tests/data/node`, `tests/data/steering`): a plan in a few lines, targets that fail on cue, virtual clocks,
//! and what a person would see. `UPDATE_EXPECT=1` rewrites the expected text.

mod drill;
pub(crate) mod plan_text;
mod properties;

use std::{fs, path::Path};

/// Runs every script of `tests/data/<directory>` and compares what is seen with what stands below its `----`.
pub(crate) fn check_scripts(directory: &str, play: impl Fn(&str) -> String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no script in {}", directory.display());
    let mut different = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (script, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let given = play(script);
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

#[test]
fn node_scenarios() {
    check_scripts("node", drill::play);
}

#[test]
fn steering_scenarios() {
    check_scripts("steering", drill::play);
}
