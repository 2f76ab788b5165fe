//! Whatever is done to the examples, loading answers, and its problems lie inside the text.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{fuzz_plan, node};

fn examples() -> Vec<String> {
    ["plan.yaml", "plan-seed.yaml", "node.yaml"].iter().map(|name| std::fs::read_to_string(format!("config/{name}")).unwrap()).collect()
}

/// What is put in: the notation of YAML, and values that have been mistaken before.
const PIECES: [&str; 28] = [
    "",
    " ",
    "\n",
    "  ",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    "&a",
    "*a",
    "!!int ",
    "<<: ",
    "\t",
    "|",
    ">-",
    "---\n",
    "0",
    "-1",
    "null",
    "é",
    "\u{1f6a2}",
];

fn check_all(text: &str) {
    fuzz_plan(text.as_bytes());
    match node::load(text, "node.yaml", &BTreeMap::new()) {
        Ok(_) => {}
        Err(problems) => assert!(problems.errors() > 0),
    }
}

proptest! {
    #[test]
    fn mutated_examples_never_panic(
        which in 0_usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..30, 0_usize..PIECES.len(), any::<prop::sample::Index>()), 1..6),
    ) {
        let mut text = examples()[which].clone();
        for (at, taken, piece, from) in changes {
            let mut start = at.index(text.len() + 1);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + taken).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            // Half of the pieces come from the text itself.
            let own: String = text.chars().skip(from.index(text.len())).take(12).collect();
            text.replace_range(start..end, if taken % 2 == 0 { PIECES[piece] } else { &own });
        }
        check_all(&text);
    }

    #[test]
    fn any_text_gives_an_answer(text in "\\PC{0,200}") {
        check_all(&text);
    }
}

#[test]
fn bounds_hold() {
    for text in [
        "[".repeat(100_000),
        "a: ".repeat(1000),
        format!("regions: {}", "[a, ".repeat(200)),
        "- x\n".repeat(100_000),
        " ".repeat(17 * 1024 * 1024),
        (0..500).fold("regions:\n".to_owned(), |text, i| format!("{text}  r{i}: {{ latitude: x, foo: 1 }}\n")),
        format!("name: {}\n", "x".repeat(1_000_000)),
        format!("{}: 1\n", "k".repeat(1000)),
    ] {
        check_all(&text);
    }
    let many = (0..500).fold("regions:\n".to_owned(), |text, i| format!("{text}  r{i}: {{ latitude: x, foo: 1 }}\n"));
    let problems = super::super::plan::load(&many, "p.yaml", &super::super::plan::Options::default()).unwrap_err();
    assert_eq!((problems.errors(), problems.list.len()), (1000, 100));
}
