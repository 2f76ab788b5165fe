//! The bounds and the warnings that need no file; all else is tested with the examples, where documents are read.

use std::collections::BTreeMap;

use crate::{
    document::{Builder, Kind, Path, Reader, Report, Severity},
    plan::{Context, Findings, Plan, Serial, check, resolve},
};

/// A plan of so many regions, named `r0` and on.
pub(crate) fn plan_of(regions: usize) -> Plan {
    let source = (0..regions).map(|i| format!("r{i} ")).collect::<String>();
    let mut builder = Builder::new(&source).unwrap();
    builder.open(Kind::Map, 0).unwrap();
    builder.scalar(Kind::Plain, 0, 0, "regions").unwrap();
    builder.open(Kind::Map, 0).unwrap();
    for i in 0..regions {
        builder.scalar(Kind::Plain, 0, 0, &format!("r{i}")).unwrap();
        builder.open(Kind::Map, 0).unwrap();
        builder.close(0).unwrap();
    }
    builder.close(0).unwrap();
    builder.close(0).unwrap();
    let document = builder.finish().unwrap();
    Reader::new(&document, Report::default()).document_as::<Plan>().unwrap()
}

fn judge(plan: &Plan) -> Findings {
    check(plan, Context { allowed_targets: &[], zone_records: &BTreeMap::new() })
}

#[test]
fn thirty_two_regions_are_the_most() {
    let most = plan_of(32);
    assert_eq!(judge(&most).errors(), 0);
    assert_eq!(resolve(&most, Serial(1), &BTreeMap::new()).regions.len(), 32);
    assert_eq!(judge(&plan_of(33)).kept()[0].path, Path::root().key("regions"));
    assert_eq!(judge(&plan_of(0)).errors(), 1);
}

#[test]
fn serials_wrap() {
    assert_eq!(Serial::of_revision(7), Serial(7));
    assert_eq!(Serial::of_revision((1 << 32) + 5), Serial(5));
}

#[test]
fn findings_are_counted_beyond_those_kept() {
    let mut findings = Findings::default();
    for i in 0..250 {
        findings.error(Path::root().item(i), "wrong", "");
        findings.warning(Path::root().item(i), "odd", "");
    }
    assert_eq!((findings.errors(), findings.warnings(), findings.kept().len()), (250, 250, 200));
    assert!(findings.kept().iter().filter(|finding| finding.severity == Severity::Error).count() == 100);
}
