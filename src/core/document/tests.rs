//! Trees, positions and decoding, without YAML: a test pushes what a reader would.

#![expect(unreachable_pub, reason = "the macros declare public items, here inside a test")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{model::units::Share, section, words};

words! {
    /// A colour.
    pub enum Colour("a colour") {
        /// Like blood.
        Red = "red",
        /// Like grass.
        Green = "green",
    }
}

section! {
    /// A part of a thing.
    pub struct Part {
        /// How large.
        size: u16 where (1..=10),
        /// Its colour.
        colour: Option<Colour> = None,
        /// A word of Rust.
        ["type"] kind: Text = Text("plain".to_owned()),
    }
}

section! {
    /// A thing.
    pub struct Thing {
        /// How long.
        time: Duration where (seconds(1)..=minutes(1)) = seconds(30),
        /// Its parts.
        parts: Table<crate::model::ids::Label, Part> = Table::default(),
        /// Switched on.
        on: bool = false,
        /// Shares.
        shares: Vec<Share> = Vec::new(),
    }
}

/// A JSON-like notation that needs no library: `{`, `}`, `[`, `]`, words, and texts in quotes.
fn document(source: &str) -> Document<'_> {
    let mut builder = Builder::new(source).unwrap();
    let (octets, mut at) = (source.as_bytes(), 0);
    while at < octets.len() {
        match octets[at] {
            b'{' => drop(builder.open(Kind::Map, at).unwrap()),
            b'[' => drop(builder.open(Kind::List, at).unwrap()),
            b'}' | b']' => drop(builder.close(at + 1).unwrap()),
            b'"' => {
                let end = at + 1 + source[at + 1..].find('"').unwrap();
                builder.scalar(Kind::Quoted, at, end + 1, &source[at + 1..end].replace("\\n", "\n")).unwrap();
                at = end;
            }
            b' ' | b'\n' | b',' | b':' => {}
            _ => {
                let end = at + source[at..].find([' ', '\n', ',', '}', ']']).unwrap_or(source.len() - at);
                let end = at + source[at..end].trim_end_matches(':').len();
                builder.scalar(Kind::Plain, at, end, &source[at..end]).unwrap();
                at = end - 1;
            }
        }
        at += 1;
    }
    builder.finish().unwrap()
}

fn read<T: Decode>(source: &str) -> Result<T, Vec<String>> {
    let document = document(source);
    let mut reader = Reader::new(&document, Report::default());
    let value = reader.document_as::<T>();
    let problems = reader.into_report().locate(source);
    let show = |p: &Problem| format!("{}:{}+{} {} | {} | {}", p.line, p.column, p.width, p.path, p.message, p.fix);
    assert_eq!(value.is_none(), !problems.is_empty(), "a value is refused with a reason, and only then");
    value.ok_or_else(|| problems.iter().map(show).collect())
}

#[test]
fn a_section_fills_in_its_defaults() {
    let thing: Thing = read("{ parts: { a: { size: 3 } } }").unwrap();
    assert_eq!((thing.time, thing.on, thing.parts.len()), (Duration::from_secs(30), false, 1));
    assert_eq!(thing.parts.get(&"a".into()).map(|part| (part.size, part.kind.as_str())), Some((3, "plain")));
    assert_eq!(thing.to_json().to_string(), r#"{"on":false,"parts":{"a":{"size":3,"type":"plain"}},"shares":[],"time":"30s"}"#);
}

#[test]
fn all_problems_are_found_in_one_pass() {
    let source = "{ tiem: 5s\n  time: 90s\n  on: yes\n  shares: [10%, 20, 300%]\n  parts: { a: { size: 0, colour: rde }, b: { }, \"A\": {size: 1}, a: { size: 1 } } }";
    assert_eq!(
        read::<Thing>(source).unwrap_err(),
        [
            "1:3+4 tiem | unknown key `tiem` | did you mean `time`?",
            "2:9+3 time | 1m30s is more than 1m | write a value from 1s to 1m",
            "3:7+3 on | is `yes`, not true or false | write true or false, without quotes",
            "4:17+2 shares[1] | `20` has no percent sign | write a percentage, for example 10% or 12.5%",
            "4:21+4 shares[2] | `300%` is more than 100% | write a percentage, for example 10% or 12.5%",
            "5:23+1 parts.a.size | 0 is less than 1 | write a value from 1 to 10",
            "5:34+3 parts.a.colour | `rde` is not a colour | did you mean `red`?",
            "5:41+1 parts.b.size | `size` is missing | add `size`: how large",
            "5:49+3 parts.A | `A` cannot be a name here | write a name, 1 to 63 of a-z, 0-9, `-`, `_` and `.`, the first and the last a letter or digit",
        ]
    );
}

#[test]
fn a_key_twice_is_found_in_sections_and_in_tables() {
    assert_eq!(
        read::<Thing>("{ on: true, on: true }").unwrap_err(),
        ["1:13+2 on | the key `on` stands twice in this map | keep one of them"]
    );
    let twice = read::<Thing>("{ parts: { b: { size: 1 }, a: { size: 1 }, b: { size: 2 } } }").unwrap_err();
    assert_eq!(twice, ["1:44+1 parts.b | the key `b` stands twice in this map | keep one of them"]);
}

#[test]
fn nothing_is_taken_for_something_else() {
    for (text, is_number) in
        [("80", true), ("080", false), ("0x50", false), ("8_0", false), ("+80", false), ("8e1", false), ("\"80\"", false)]
    {
        assert_eq!(read::<u16>(text).is_ok(), is_number, "{text}");
    }
    for (text, is_text) in
        [("no", true), ("1:30", true), ("80", false), ("\"80\"", true), ("true", false), ("~", false), ("\"\"", true), (".5", false)]
    {
        assert_eq!(read::<Text>(text).is_ok(), is_text, "{text}");
    }
    for (text, is_switch) in [("true", true), ("false", true), ("True", false), ("on", false), ("\"true\"", false), ("1", false)] {
        assert_eq!(read::<bool>(text).is_ok(), is_switch, "{text}");
    }
    for (text, expected) in [
        ("1h30m", Some(5400)),
        ("1y", Some(31_536_000)),
        ("0s", Some(0)),
        ("1m1h", None),
        ("1.5h", None),
        ("5", None),
        ("5 m", None),
        ("m", None),
        ("99999999999999999999s", None),
        ("200y", None),
    ] {
        assert_eq!(Duration::read(text).ok().map(|duration| duration.as_secs()), expected, "{text}");
    }
}

#[test]
fn words_read_back_as_they_are_shown() {
    fn both<T: Word + PartialEq + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let value = T::read(text).unwrap_or_else(|problem| panic!("{text} {problem}"));
            assert_eq!(T::read(&value.show()).as_ref(), Ok(&value), "{text}");
        }
    }
    both::<Duration>(&["250ms", "1s500ms", "90s", "1h30m", "30d", "1y"]);
    both::<Share>(&["0%", "12.5%", "0.01%", "100%"]);
    both::<HostPort>(&["db.example.com:5432", "10.0.0.5:1", "[2001:db8::1]:53"]);
    both::<Url>(&["http://{publish}/x", "https://h:8443", "s3://bucket/prefix"]);
    both::<crate::model::time::Timestamp>(&["2024-02-29T23:59:59Z", "1970-01-01T00:00:00Z"]);
}

#[test]
fn hosts_and_urls_that_are_none_are_refused() {
    for text in
        ["db", "db:", "db:0", "db:65536", "db:080", ":1", "2001:db8::1:53", "[10.0.0.1]:1", "10.0.0:1", "999.1.1.1:1", "a b:1", "[db]:1"]
    {
        assert!(HostPort::read(text).is_err(), "{text}");
    }
    for text in ["example.com", "://x", "HTTP://x", "http://", "http:///x", "http://a:0", "http://a:x/", "http://u@h", "http://a b"] {
        assert!(Url::read(text).is_err(), "{text}");
    }
    assert_eq!(Url::read("http://[2001:db8::1]:80/").map(|url| url.address()), Ok("2001:db8::1".parse().ok()));
}

#[test]
fn a_secret_is_shown_nowhere() {
    let source = "{ webhook_url: \"https://hooks.example/T0/XYZZY\", nonsense: 1 }";
    let document = document(source);
    let mut reader = Reader::new(&document, Report::default());
    assert!(reader.document_as::<crate::plan::sections::Slack>().is_none());
    let problems = reader.into_report().locate(source);
    assert_eq!(problems.len(), 2);
    assert!(!format!("{problems:?}").contains("XYZZY"), "{problems:#?}");
}

#[test]
fn bounds_are_kept() {
    let many = format!("[{}]", "300% ".repeat(250));
    let document = document(&many);
    let mut reader = Reader::new(&document, Report::default());
    assert!(reader.document_as::<Vec<Share>>().is_none());
    let report = reader.into_report();
    assert_eq!((report.errors(), report.locate(&many).len()), (250, PROBLEMS_MAX));

    let mut deep = Builder::new("").unwrap();
    for _ in 0..DEPTH_MAX {
        deep.open(Kind::List, 0).unwrap();
    }
    assert_eq!(deep.open(Kind::List, 0), Err(BuildError::Depth));
    let mut wide = Builder::new("x").unwrap();
    assert_eq!((0..=NODES_MAX).find_map(|_| wide.scalar(Kind::Plain, 0, 1, "x").err()), Some(BuildError::Nodes));
    assert_eq!(Builder::new(&" ".repeat(OCTETS_MAX + 1)).err(), Some(BuildError::Octets));
}

#[test]
fn a_document_is_one_whole_value() {
    assert_eq!(Builder::new("").unwrap().finish().err(), Some(BuildError::Shape));
    let mut open = Builder::new("[").unwrap();
    open.open(Kind::List, 0).unwrap();
    assert_eq!(open.finish().err(), Some(BuildError::Shape));
    let mut odd = Builder::new("{a").unwrap();
    odd.open(Kind::Map, 0).unwrap();
    odd.scalar(Kind::Plain, 1, 2, "a").unwrap();
    odd.close(2).unwrap();
    assert_eq!(odd.finish().err(), Some(BuildError::Shape));
}

#[test]
fn meaning_is_fed_without_layout() {
    let fed = |source: &str| {
        let mut octets = Vec::new();
        document(source).feed(|part| octets.extend_from_slice(part));
        octets
    };
    assert_eq!(fed("{ a: [1, 2] }"), fed("{a: [1,\n  2]}"));
    let all = ["{ a: [1, 2] }", "{ a: [1], 2: x }", "{ a: [12] }", "{ a: [\"1\", 2] }", "{ a1: [2] }"];
    for (i, left) in all.iter().enumerate() {
        for right in &all[..i] {
            assert_ne!(fed(left), fed(right));
        }
    }
}

proptest! {
    #[test]
    fn every_node_is_found_by_its_path(keys in proptest::collection::btree_set("[a-z]{1,3}", 1..8), items in 1_usize..6) {
        let inner = (0..items).map(|i| format!("{{ k: v{i} }}")).collect::<Vec<_>>().join(", ");
        let source = format!("{{ {} }}", keys.iter().map(|key| format!("{key}: [{inner}]")).collect::<Vec<_>>().join(", "));
        let document = document(&source);
        for (_, list) in document.entries(NodeId::ROOT) {
            for item in document.items(list) {
                for (_, value) in document.entries(item) {
                    let path = Path::of(&document, value);
                    prop_assert_eq!(path.locate(&document), (value, true), "{}", path);
                }
            }
        }
    }
}
