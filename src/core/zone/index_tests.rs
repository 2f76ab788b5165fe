//! The lookup against examples of the RFCs, and against a second implementation that follows the definitions name by name.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::model::record::Soa;

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn record(owner: &Name, data: RecordData) -> Record {
    Record { owner: owner.clone(), ttl: Ttl::from_secs(300), data }
}

fn soa(apex: &Name) -> Record {
    let (primary, contact) = (name("ns.invalid"), name("hostmaster.invalid"));
    let soa = Soa { primary, contact, serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 60 };
    record(apex, RecordData::Soa(soa))
}

/// A zone from lines of `owner type [target]`; addresses are made up.
fn zone(apex: &str, lines: &str) -> Zone {
    let apex = name(apex);
    let mut records = vec![soa(&apex), record(&apex, RecordData::Ns(name("ns.invalid")))];
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let owner = Name::relative(words.next().unwrap(), &apex).unwrap();
        let record_type = words.next().unwrap();
        let target = words.next();
        let data = match record_type {
            "A" => RecordData::A([192, 0, 2, 1].into()),
            "TXT" => RecordData::Txt(vec![b"text".to_vec()]),
            "MX" => RecordData::Mx { preference: 10, exchange: Name::relative(target.unwrap(), &apex).unwrap() },
            "NS" => RecordData::Ns(Name::relative(target.unwrap(), &apex).unwrap()),
            "CNAME" => RecordData::Cname(Name::relative(target.unwrap(), &apex).unwrap()),
            other => panic!("{other}"),
        };
        records.push(record(&owner, data));
    }
    Zone { apex, records: Arc::new(records) }
}

fn shown(found: &Found<'_>) -> String {
    let wild = |wildcard: bool| if wildcard { " by wildcard" } else { "" };
    match found {
        Found::OutsideZones => "outside".to_owned(),
        Found::Referral { ns, glue, .. } => format!("referral at {} ns {} glue {}", ns[0].owner, ns.len(), glue.len()),
        Found::Service { service, zone } => format!("service {} in {}", service.0, zone.apex()),
        Found::Records { records, wildcard, .. } => {
            format!("{} {} {}{}", records.len(), records[0].data.record_type(), records[0].owner, wild(*wildcard))
        }
        Found::Alias { record, wildcard, .. } => format!("alias to {}{}", record.data, wild(*wildcard)),
        Found::NoData { zone } => format!("nodata in {}", zone.apex()),
        Found::NxDomain { zone } => format!("nxdomain in {}", zone.apex()),
    }
}

#[track_caller]
fn check(index: &ZoneIndex, questions: &str) {
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in questions.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (question, _) = line.split_once(" -> ").unwrap();
        let (owner, record_type) = question.split_once(' ').unwrap();
        let found = index.lookup(&name(owner), record_type.trim().parse().unwrap());
        writeln!(expected, "{line}").unwrap();
        writeln!(actual, "{question} -> {}", shown(&found)).unwrap();
    }
    assert_eq!(actual, expected);
}

#[test]
fn the_example_of_rfc_4592_section_2_2_1() {
    let lines = "
        *           TXT
        *           MX    host1
        sub.*       TXT
        host1       A
        _ssh._tcp.host1 TXT
        _ssh._tcp.host2 TXT
        subdel      NS    ns.example.com.
        subdel      NS    ns.example.net.
    ";
    let index = ZoneIndex::build(&[zone("example", lines)], std::iter::empty());
    check(
        &index,
        "
        host3.example MX -> 1 MX *.example by wildcard
        host3.example A -> nodata in example
        foo.bar.example TXT -> 1 TXT *.example by wildcard
        host1.example MX -> nodata in example
        sub.*.example MX -> nodata in example
        _telnet._tcp.host1.example SRV -> nxdomain in example
        host.subdel.example A -> referral at subdel.example ns 2 glue 0
        ghost.*.example MX -> nxdomain in example
        *.example TXT -> 1 TXT *.example
        ",
    );
}

#[test]
fn empty_non_terminals_exist() {
    let index = ZoneIndex::build(&[zone("example.org", "a.b.c A\nx.*.wild A")], std::iter::empty());
    check(
        &index,
        "
        a.b.c.example.org A -> 1 A a.b.c.example.org
        b.c.example.org A -> nodata in example.org
        c.example.org ANY -> nodata in example.org
        d.c.example.org A -> nxdomain in example.org
        bb.c.example.org A -> nxdomain in example.org
        wild.example.org A -> nodata in example.org
        *.wild.example.org A -> nodata in example.org
        y.wild.example.org A -> nodata in example.org
        x.y.wild.example.org A -> nodata in example.org
        example.com A -> outside
        org A -> outside
        . A -> outside
        ",
    );
}

#[test]
fn delegations_hide_what_is_below_them() {
    let lines = "
        sub         NS    ns.sub
        sub         NS    ns2.sub
        ns.sub      A
        ns2.sub     A
        deep.er.sub NS    ns.sub
        *.sub       TXT
        www.sub     TXT
        *.bad       NS    ns.sub
    ";
    let index = ZoneIndex::build(&[zone("example.org", lines), zone("ours.example.org", "www A")], std::iter::empty());
    check(
        &index,
        "
        sub.example.org A -> referral at sub.example.org ns 2 glue 2
        sub.example.org NS -> referral at sub.example.org ns 2 glue 2
        sub.example.org ANY -> referral at sub.example.org ns 2 glue 2
        sub.example.org DS -> nodata in example.org
        www.sub.example.org TXT -> referral at sub.example.org ns 2 glue 2
        www.sub.example.org DS -> referral at sub.example.org ns 2 glue 2
        x.deep.er.sub.example.org A -> referral at sub.example.org ns 2 glue 2
        other.sub.example.org TXT -> referral at sub.example.org ns 2 glue 2
        example.org NS -> 1 NS example.org
        example.org DS -> nodata in example.org
        ours.example.org SOA -> 1 SOA ours.example.org
        ours.example.org DS -> nodata in example.org
        www.ours.example.org A -> 1 A www.ours.example.org
        x.bad.example.org NS -> 1 NS *.bad.example.org by wildcard
        x.bad.example.org A -> nodata in example.org
        ",
    );
}

#[test]
fn a_service_answers_addresses_and_leaves_static_types() {
    let lines = "
        @      MX  mail
        api    TXT
        *.apps TXT
        alias  CNAME api
        *.away CNAME elsewhere.example.net.
        www.apps TXT
    ";
    let services = [("example.org", 0), ("api.example.org", 1), ("*.apps.example.org", 2), ("only.example.org", 3), ("a.example.net", 4)];
    let services = services.into_iter().map(|(text, service)| (name(text), ServiceIdx(service)));
    let index = ZoneIndex::build(&[zone("example.org", lines)], services);
    check(
        &index,
        "
        example.org A -> service 0 in example.org
        example.org ANY -> service 0 in example.org
        example.org MX -> 1 MX example.org
        example.org SOA -> 1 SOA example.org
        api.example.org AAAA -> service 1 in example.org
        api.example.org CNAME -> service 1 in example.org
        api.example.org TXT -> 1 TXT api.example.org
        api.example.org MX -> service 1 in example.org
        below.api.example.org A -> nxdomain in example.org
        x.apps.example.org A -> service 2 in example.org
        y.x.apps.example.org A -> service 2 in example.org
        x.apps.example.org TXT -> 1 TXT *.apps.example.org by wildcard
        www.apps.example.org A -> nodata in example.org
        apps.example.org A -> nodata in example.org
        only.example.org A -> service 3 in example.org
        alias.example.org A -> alias to api.example.org.
        alias.example.org CNAME -> 1 CNAME alias.example.org
        alias.example.org ANY -> 1 CNAME alias.example.org
        x.away.example.org A -> alias to elsewhere.example.net. by wildcard
        a.example.net A -> outside
        ",
    );
    let types: Vec<_> = index.all_types(&name("example.org")).collect();
    assert_eq!(types, [RecordType::NS, RecordType::SOA, RecordType::MX]);
    assert_eq!(index.all_types(&name("only.example.org")).count(), 0);
}

#[test]
fn negative_answers_may_be_kept_for_the_smaller_of_soa_ttl_and_minimum() {
    let apex = name("example.org");
    let with = |ttl, minimum| {
        let mut soa = soa(&apex);
        soa.ttl = Ttl::from_secs(ttl);
        if let RecordData::Soa(data) = &mut soa.data {
            data.minimum = minimum;
        }
        let zone = Zone { apex: apex.clone(), records: Arc::new(vec![soa]) };
        ZoneIndex::build(&[zone], std::iter::empty()).zones()[0].negative_soa().ttl.secs()
    };
    assert_eq!([with(300, 60), with(30, 60), with(0, 60), with(300, u32::MAX)], [60, 30, 0, 300]);
}

#[test]
fn an_rrset_has_one_ttl_and_no_duplicates() {
    let apex = name("example.org");
    let with = |ttl, last: u8| Record { ttl: Ttl::from_secs(ttl), ..record(&apex, RecordData::A([192, 0, 2, last].into())) };
    let records = vec![soa(&apex), with(300, 1), with(60, 2), with(30, 1)];
    let index = ZoneIndex::build(&[Zone { apex: apex.clone(), records: Arc::new(records) }], std::iter::empty());
    let Found::Records { records, .. } = index.lookup(&apex, RecordType::A) else { panic!() };
    assert_eq!(records, [with(30, 1), with(30, 2)]);
}

#[test]
fn a_zone_without_soa_is_not_answered_for() {
    let apex = name("example.org");
    let zone = Zone { apex: apex.clone(), records: Arc::new(vec![record(&apex, RecordData::Ns(apex.clone()))]) };
    let index = ZoneIndex::build(&[zone], std::iter::once((apex.clone(), ServiceIdx(0))));
    assert!(matches!(index.lookup(&apex, RecordType::NS), Found::OutsideZones));
}

/// RFC 1034 section 4.3.2 and RFC 4592 by definition: looks at every record for every question.
fn by_definition(zones: &[Zone], name: &Name, record_type: RecordType) -> String {
    let inside = zones.iter().filter(|zone| name.is_at_or_below(&zone.apex));
    let Some(zone) = inside.max_by_key(|zone| zone.apex.label_count()) else {
        return "outside".to_owned();
    };
    let of = |owner: &Name, wanted: Option<RecordType>| {
        zone.records.iter().filter(|r| r.owner == *owner && wanted.is_none_or(|t| r.data.record_type() == t)).count()
    };
    let exists = |owner: &Name| zone.records.iter().any(|r| r.owner.is_at_or_below(owner));
    // From the apex down: a cut?
    let mut path = vec![name.clone()];
    while path[path.len() - 1] != zone.apex {
        path.push(path[path.len() - 1].parent().unwrap());
    }
    path.reverse();
    for cut in &path[1..] {
        if of(cut, Some(RecordType::NS)) > 0 && !cut.is_wildcard() && !(record_type == RecordType::DS && cut == name) {
            return format!("referral at {cut}");
        }
        if !exists(cut) {
            break;
        }
    }
    let (source, wildcard) = if exists(name) {
        (name.clone(), "")
    } else {
        let encloser = path.iter().rev().find(|ancestor| exists(ancestor)).unwrap();
        (encloser.wildcard().unwrap(), " by wildcard")
    };
    if !exists(&source) {
        return "nxdomain".to_owned();
    }
    match of(&source, Some(record_type)) {
        0 if of(&source, Some(RecordType::CNAME)) > 0 => format!("alias{wildcard}"),
        0 => "nodata".to_owned(),
        n => format!("{n} {record_type}{wildcard}"),
    }
}

fn summary(found: &Found<'_>) -> String {
    match found {
        Found::Referral { ns, .. } => format!("referral at {}", ns[0].owner),
        Found::Records { records, wildcard, .. } => {
            format!("{} {}{}", records.len(), records[0].data.record_type(), if *wildcard { " by wildcard" } else { "" })
        }
        Found::Alias { wildcard, .. } => format!("alias{}", if *wildcard { " by wildcard" } else { "" }),
        other => shown(other).split(" in ").next().unwrap().to_owned(),
    }
}

fn any_owner() -> impl Strategy<Value = Name> {
    let label = prop_oneof![4 => Just("a"), 3 => Just("b"), 3 => Just("*"), 1 => Just("ab")];
    (proptest::collection::vec(label, 0..4), prop_oneof![Just("z"), Just("b.z"), Just("y")])
        .prop_map(|(labels, apex)| labels.iter().fold(name(apex), |below, label| below.child(label.as_bytes()).unwrap()))
}

fn any_data() -> impl Strategy<Value = RecordData> {
    prop_oneof![
        4 => Just(RecordData::A([192, 0, 2, 1].into())),
        2 => Just(RecordData::Txt(vec![b"t".to_vec()])),
        1 => Just(RecordData::Ns(name("ns.invalid"))),
        1 => Just(RecordData::Cname(name("cname.invalid"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 6, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_the_definitions_say(
        records in proptest::collection::vec((any_owner(), any_data()), 0..12),
        questions in proptest::collection::vec(any_owner(), 1..20),
    ) {
        let apexes = [name("z"), name("b.z")];
        let zones: Vec<Zone> = apexes
            .iter()
            .map(|apex| {
                let mut set = BTreeSet::new();
                let mut list = vec![soa(apex)];
                for (owner, data) in &records {
                    let nearest = apexes.iter().filter(|apex| owner.is_at_or_below(apex)).max_by_key(|apex| apex.label_count());
                    if nearest == Some(apex) && set.insert((owner.clone(), data.record_type())) {
                        list.push(record(owner, data.clone()));
                    }
                }
                Zone { apex: apex.clone(), records: Arc::new(list) }
            })
            .collect();
        let index = ZoneIndex::build(&zones, std::iter::empty());
        let reversed: Vec<Zone> = zones.iter().rev().cloned().collect();
        let other = ZoneIndex::build(&reversed, std::iter::empty());
        for question in &questions {
            for record_type in [RecordType::A, RecordType::NS, RecordType::CNAME, RecordType::DS] {
                if record_type == RecordType::DS && apexes.contains(question) {
                    continue;
                }
                let found = index.lookup(question, record_type);
                prop_assert_eq!(summary(&found), by_definition(&zones, question, record_type), "{} {}", question, record_type);
                prop_assert_eq!(shown(&other.lookup(question, record_type)), shown(&found));
            }
        }
    }
}
