//! Zone files against what they say, and against every problem that they have.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::model::record::Soa;

fn apex() -> Name {
    "example.org".parse().unwrap()
}

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/zones").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[track_caller]
fn check_problems(name: &str) {
    let text = file(&format!("bad/{name}.zone"));
    let problems = match read(text.as_bytes(), &apex(), &|name| name.to_string() == "api.example.org") {
        Ok(contents) => contents.warnings,
        Err(problems) => problems,
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/data/zones/bad/{name}.expected"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, lines(&problems)).unwrap();
    }
    assert_eq!(lines(&problems), fs::read_to_string(&path).unwrap());
}

#[test]
fn a_file_with_everything_reads_as_expected() {
    let contents = read(file("good/example.org.zone").as_bytes(), &apex(), &|_| false).map_err(|problems| lines(&problems)).unwrap();
    let text: String = contents.records.iter().map(|record| format!("{record}\n")).collect();
    assert_eq!(text, file("good/example.org.expected"));
    assert_eq!(contents.warnings, []);
}

#[test]
fn every_syntax_problem_is_reported_at_its_place() {
    check_problems("syntax");
}

#[test]
fn every_fault_of_the_zone_is_reported_at_its_record() {
    check_problems("zone");
}

#[test]
fn what_does_not_work_as_written_is_a_warning() {
    check_problems("warnings");
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_are_read() {
    let text = file("good/example.org.zone");
    let plain = read(text.as_bytes(), &apex(), &|_| false).unwrap();
    let other = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(read(other.as_bytes(), &apex(), &|_| false).unwrap(), plain);
}

#[test]
fn an_empty_file_lacks_everything() {
    let problems = read(b"; nothing", &apex(), &|_| false).unwrap_err();
    assert_eq!(
        lines(&problems),
        "1:1: error: no SOA record at the apex `example.org`; a zone has exactly one\n\
         1:1: error: no NS record at the apex `example.org`; a zone names its name servers there\n"
    );
}

#[test]
fn bounds_hold() {
    let message = |text: &[u8]| read(text, &apex(), &|_| false).unwrap_err().iter().map(|p| p.message.clone()).collect::<Vec<_>>();
    assert!(message(&vec![b' '; FILE_LENGTH_MAX + 1])[0].contains("octets; at most"));
    let long = format!("a 1 TXT ({}", "x ".repeat(lexer::ENTRY_LENGTH_MAX));
    assert!(message(long.as_bytes())[0].contains("is a `)` missing?"));
    assert!(message(&[b'('; 100])[0].contains("more than 16 `(`"));
    let faults = "a 1 A x\n".repeat(500);
    let problems = message(faults.as_bytes());
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert!(problems[PROBLEMS_MAX - 1].contains("more than 100 problems"));
    let many = "a 1 A 192.0.2.1\n".repeat(RECORDS_MAX + 1);
    let parsed = parse(many.as_bytes(), &apex());
    assert_eq!(parsed.records.len(), RECORDS_MAX);
    assert!(parsed.problems.0[0].message.contains("more than 250000 records"));
}

#[test]
fn many_warnings_do_not_hide_an_error() {
    let mut text = "a 1 CNAME x.example.org\n".repeat(300);
    text.push_str("b 1 A x\n");
    let problems = read(text.as_bytes(), &apex(), &|_| false).unwrap_err();
    assert!(problems.iter().any(|p| p.at.line == 301 && p.severity == Severity::Error), "{}", lines(&problems));
}

#[test]
fn times_have_units() {
    let seconds = |text| time(text).map(Ttl::secs);
    assert_eq!([seconds("300"), seconds("1h30m"), seconds("2W"), seconds("1d1s")], [Some(300), Some(5400), Some(1_209_600), Some(86_401)]);
    assert_eq!([seconds("0"), seconds("0s"), seconds("2147483647")], [Some(0), Some(0), Some(0x7fff_ffff)]);
    for text in ["", "h", "1h30", "-1", "1.5h", "2147483648", "4000w", "99999999999999999999s", "1x"] {
        assert_eq!(seconds(text), None, "{text}");
    }
}

#[test]
fn the_data_of_single_records_reads() {
    let data = |record_type: &str, text: &str| parse_data(record_type.parse().unwrap(), text, &apex()).map(|data| data.to_string());
    for (record_type, text, expected) in [
        ("A", " 192.0.2.1 ", "192.0.2.1"),
        ("MX", "10 mail", "10 mail.example.org."),
        ("CNAME", "@", "example.org."),
        ("TXT", "v=spf1 mx -all", "\"v=spf1 mx -all\""),
        ("TXT", "v=DKIM1; k=rsa; p=MIG", "\"v=DKIM1; k=rsa; p=MIG\""),
        ("TXT", r"a\b", r#""a\\b""#),
        ("TXT", r#""one" "two; three""#, r#""one" "two; three""#),
        ("TXT", r#"("one" "two")"#, r#""(\"one\" \"two\")""#),
        ("CAA", "0 issue \"ca.example; policy=ev\"", "0 issue \"ca.example; policy=ev\""),
        ("SRV", "0 0 0 .", "0 0 0 ."),
    ] {
        assert_eq!(data(record_type, text), Ok(expected.to_owned()), "{record_type} {text}");
    }
    assert_eq!(data("TXT", &"x".repeat(300)).unwrap().matches('"').count(), 4);
    for (record_type, text, expected) in [
        ("A", "", "the data of a record of type A is empty"),
        ("A", "192.0.2.1 192.0.2.2", "`192.0.2.2` stands after the end of the record"),
        ("A", "192.0.2.1\n192.0.2.2", "more than one line; write one record's data"),
        ("CAA", "0 issue ca.example; policy=ev", "`;` begins a comment; put text that has one in double quotes"),
        ("CAA", "; x", "`; x` is a comment only; `;` begins a comment outside of quotes"),
        ("TXT", "\"open", "this quote is not closed on its line"),
        ("HTTPS", "1 .", "records of type HTTPS are not read here; use SOA, NS, A, AAAA, CNAME, PTR, MX, TXT, SRV or CAA"),
        ("MX", "10", "the name of a mail exchange is missing"),
        ("A", "(192.0.2.1", "this `(` is never closed"),
    ] {
        assert_eq!(data(record_type, text), Err(expected.to_owned()), "{record_type} {text}");
    }
    assert!(data("TXT", &"x".repeat(66_000)).unwrap_err().contains("longer than 65535"));
    assert!(data("TXT", &format!("\"{}\"", "x".repeat(256))).unwrap_err().contains("at most 255"));
    let full = format!("\"{}\" ", "x".repeat(255));
    assert!(data("TXT", &full.repeat(255)).is_ok());
    assert!(data("TXT", &full.repeat(256)).unwrap_err().contains("longer than 65535"));
}

fn any_name() -> impl Strategy<Value = Name> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..8), 0..5)
        .prop_map(|labels| labels.iter().fold(Name::root(), |name, label| name.child(label).unwrap()))
}

fn any_data() -> impl Strategy<Value = RecordData> {
    let string = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RecordData::A(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| RecordData::Aaaa(octets.into())),
        any_name().prop_map(RecordData::Cname),
        any_name().prop_map(RecordData::Ns),
        any_name().prop_map(RecordData::Ptr),
        (any::<u16>(), any_name()).prop_map(|(preference, exchange)| RecordData::Mx { preference, exchange }),
        proptest::collection::vec(string(), 1..4).prop_map(RecordData::Txt),
        (any::<[u16; 3]>(), any_name()).prop_map(|([priority, weight, port], target)| RecordData::Srv { priority, weight, port, target }),
        (any::<u8>(), "[a-z0-9]{1,15}", string()).prop_map(|(flags, tag, value)| RecordData::Caa { flags, tag, value }),
        (any_name(), any_name(), any::<u32>(), [0..=Ttl::MAX.secs(), 0..=Ttl::MAX.secs(), 0..=Ttl::MAX.secs(), 0..=Ttl::MAX.secs()])
            .prop_map(|(primary, contact, serial, [refresh, retry, expire, minimum])| {
                RecordData::Soa(Soa { primary, contact, serial, refresh, retry, expire, minimum })
            }),
    ]
}

proptest! {
    #[test]
    fn what_prints_reads_back(owner in any_name(), ttl in 0..=Ttl::MAX.secs(), data in any_data()) {
        let record = Record { owner, ttl: Ttl::from_secs(ttl), data };
        let parsed = parse(record.to_string().as_bytes(), &apex());
        prop_assert_eq!(parsed.problems.0, []);
        prop_assert_eq!(&parsed.records, std::slice::from_ref(&record));
        prop_assert_eq!(parse_data(record.data.record_type(), &record.data.to_string(), &apex()), Ok(record.data));
    }

    #[test]
    fn nothing_makes_the_reader_panic(text in "[ \t\n;()\"\\\\a-c@$.0-9*A]{0,200}") {
        fuzz_zone_file(text.as_bytes());
    }
}
