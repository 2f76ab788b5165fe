//! Scenes of a class with two places, and what never may be said.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{ids::Label, time::Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp(1_795_316_600_000);

fn ago(time: Duration) -> Timestamp {
    Timestamp(NOW.0 - i64::try_from(time.as_millis()).unwrap())
}

fn class() -> Class {
    let place = |bucket: &str, region: &str| Place {
        source: Source::S3 {
            bucket: bucket.to_owned(),
            prefix: "wal/".to_owned(),
            endpoint: None,
            sign_region: region.to_owned(),
            secret: Label::new(bucket),
        },
        complete: None,
        region: Some(Label::new(region)),
        look_every: Duration::from_secs(360),
    };
    Class {
        name: Label::new("orders"),
        frequency: HOUR,
        retention: DAY * 90,
        is_multi_region: true,
        is_encrypted: true,
        is_versioned: true,
        rpo_target: HOUR * 2,
        is_point_in_time: false,
        groups: Vec::new(),
        places: vec![place("dr-eu", "eu"), place("dr-us", "us")],
    }
}

fn listing(newest: Duration, oldest: Duration) -> Listing {
    let mut listing = Listing::default();
    for age in [newest, oldest] {
        listing.add(&format!("{}.dump", age.as_secs()), ago(age), 100, None, NOW);
    }
    listing
}

fn seen(newest: Duration, oldest: Duration) -> Seen {
    Seen { at: ago(Duration::from_secs(60)), listing: listing(newest, oldest), encryption: Proof::Proven, versioning: Proof::Proven }
}

/// Everything is as the plan wants it.
fn well() -> [Sight; 2] {
    [0, 1].map(|_| Sight { seen: Some(seen(HOUR / 2, DAY * 90)), ..Sight::default() })
}

fn lines(standing: &Standing) -> String {
    let lines = standing.findings.iter().filter(|it| it.verdict != Verdict::Pass);
    lines.map(|it| format!("{} {}: {}", it.verdict, it.check, it.text)).collect::<Vec<_>>().join("\n")
}

/// What does not pass, one line each.
fn with(change: impl FnOnce(&mut Class, &mut [Sight; 2])) -> String {
    let (mut class, mut sights) = (class(), well());
    change(&mut class, &mut sights);
    lines(&Standing::of(class, sights.to_vec(), NOW))
}

fn both(sights: &mut [Sight; 2], change: impl Fn(&mut Seen)) {
    for sight in sights {
        change(sight.seen.as_mut().unwrap());
    }
}

#[test]
fn as_the_plan_wants_it_everything_passes() {
    let standing = Standing::of(class(), well().to_vec(), NOW);
    assert_eq!((standing.verdict(), standing.age), (Verdict::Pass, Some(HOUR / 2)));
    assert!(standing.worst().is_none() && standing.findings.iter().all(|it| it.fix.is_empty()), "{standing:#?}");
    let texts: Vec<&str> = standing.findings.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "the newest complete one is 30m old, taken hourly",
            "the oldest is 90d old, kept for 90d",
            "eu and us have recent ones",
            "everywhere they are encrypted with AES-256, by the stores' own word",
            "everywhere they are kept in older versions, by the stores' own word",
            "by backups alone 30m would be lost, rpo_target is 2h",
        ]
    );
}

#[test]
fn an_age_is_late_then_missed() {
    let aged = |age| with(move |_, sights| both(sights, |seen| seen.listing = listing(age, DAY * 90)));
    assert_eq!(aged(HOUR + HOUR / 10), "");
    assert_eq!(aged(HOUR + HOUR / 5), "warn age: the newest complete one is 1h12m old, taken hourly");
    let missed = "fail age: the newest complete one is 5h old, taken hourly\nfail storage: no region has a recent one\n\
        warn rpo: by backups alone 5h would be lost, rpo_target is 2h";
    assert_eq!(aged(HOUR * 5), missed);
    let other = with(|_, sights| sights[0].seen.as_mut().unwrap().listing = listing(HOUR * 5, DAY * 90));
    assert_eq!(other, "fail storage: only us has a recent one");
    let none = with(|_, sights| both(sights, |seen| seen.listing = Listing::default()));
    let text = "fail age: no complete backup is there, taken hourly\nunknown retention: no complete backup is there\n\
        fail storage: no region has a recent one\nunknown rpo: nobody knows what would be lost by backups alone, rpo_target is 2h";
    assert_eq!(none, text);
}

#[test]
fn what_is_not_seen_is_unknown_with_its_reason() {
    let never = with(|_, sights| {
        for sight in sights {
            *sight = Sight::default();
            sight.fail(ago(HOUR), "AccessDenied");
        }
    });
    let why = "s3://dr-eu/wal/ was not seen yet";
    let text = format!(
        "unknown age: none is seen, taken hourly; {why}\nunknown retention: {why}\nunknown storage: no region has a recent one; {why}\n\
         unknown encryption: {why}\nunknown versioning: {why}\nunknown rpo: nobody knows what would be lost by backups alone, rpo_target is 2h"
    );
    assert_eq!(never, text);
    // One place is enough to know that there is a fresh one, and not enough to know that there are two.
    let half = with(|_, sights| sights[1].seen.as_mut().unwrap().at = ago(HOUR * 3));
    let why = "s3://dr-us/wal/ was not seen for 3h";
    let text = format!("unknown storage: only eu has a recent one; {why}\nunknown encryption: {why}\nunknown versioning: {why}");
    assert_eq!(half, text);
    let nowhere = with(|class, _| class.places.clear());
    assert!(nowhere.contains("unknown age: none is seen, taken hourly; the plan shows no place of orders"), "{nowhere}");
    assert_eq!(nowhere.lines().count(), 6);
}

#[test]
fn of_a_listing_that_was_cut_only_what_holds_is_said() {
    let cut = |newest, oldest| {
        with(move |_, sights| {
            both(sights, |seen| {
                seen.listing = Listing { is_whole: false, ..listing(newest, oldest) };
            });
        })
    };
    assert_eq!(cut(HOUR, DAY * 90), "", "that there is a fresh one and an old one is certain");
    let doubt = "s3://dr-eu/wal/ holds more than was listed, 2 complete ones of them";
    let text = format!(
        "unknown age: the newest that is seen is 5h old, taken hourly; {doubt}\n\
         unknown retention: the oldest that is seen is 7d old, kept for 90d; {doubt}\n\
         unknown storage: no region has a recent one; {doubt}\n\
         unknown rpo: by backups alone 5h would be lost, rpo_target is 2h, by what is seen; {doubt}"
    );
    assert_eq!(cut(HOUR * 5, DAY * 7), text);
}

#[test]
fn stores_that_say_no_fail_and_those_that_say_nothing_are_unknown() {
    let refuted = with(|_, sights| sights[1].seen.as_mut().unwrap().versioning = Proof::Refuted);
    assert_eq!(refuted, "fail versioning: at s3://dr-us/wal/ they are not kept in older versions, by its own word");
    let silent = with(|_, sights| both(sights, |seen| seen.encryption = Proof::Unknown("a directory does not say".to_owned())));
    let text = "unknown encryption: whether they are encrypted with AES-256 at s3://dr-eu/wal/ is not proven: a directory does not say";
    assert_eq!(silent, text);
    let unwanted = with(|class, sights| {
        class.is_encrypted = false;
        both(sights, |seen| seen.encryption = Proof::Refuted);
    });
    assert_eq!(unwanted, "", "nobody asked for it");
}

#[test]
fn what_is_gone_before_its_time_is_told_unless_another_place_has_it() {
    let young = with(|_, sights| both(sights, |seen| seen.listing = listing(HOUR, DAY * 12)));
    assert_eq!(young, "warn retention: the oldest is 12d old, kept for 90d");
    let long = with(|_, sights| both(sights, |seen| seen.listing = listing(HOUR, DAY * 120)));
    assert_eq!(long, "warn retention: the oldest is 120d old, kept for 90d");
    let lose = |sight: &mut Sight| {
        sight.note(seen(HOUR, DAY * 30), &class());
        sight.note(seen(HOUR, DAY * 12), &class());
    };
    let lost = with(|_, sights| sights.iter_mut().for_each(lose));
    let text = "fail retention: the one of 2026-10-23T03:03:20Z was there and is gone, kept for 90d; the oldest is 12d old";
    assert_eq!(lost, text);
    assert_eq!(with(|_, sights| lose(&mut sights[0])), "", "the other place keeps it");
    let mut old = Sight::default();
    old.note(seen(HOUR, DAY * 91), &class());
    old.note(seen(HOUR, DAY * 90), &class());
    assert_eq!(old.gone, None, "it had its time");
}

#[test]
fn what_is_complete_is_told_by_its_name() {
    let add = |names: &[(&str, u64)], complete: Option<&str>| {
        let complete = complete.map(|pattern| Pattern(pattern.to_owned()));
        let mut listing = Listing::default();
        for (age, (name, octets)) in (1_u64..).zip(names) {
            listing.add(name, ago(Duration::from_secs(age)), *octets, complete.as_ref(), NOW);
        }
        (listing.newest.map(|it| it.name).unwrap_or_default(), listing.n_complete, listing.octets)
    };
    let names = [("b.dump.tmp", 5), (".hidden/a", 5), ("a/b.partial", 5), ("empty", 0), ("a/b.dump", 7), ("a.dump", 9)];
    assert_eq!(add(&names, None), ("a/b.dump".to_owned(), 2, 31));
    let wal_g = [("base_2/part_1.tar", 50), ("base_1/part_1.tar", 50), ("base_1_backup_stop_sentinel.json", 0)];
    let sentinel = Some("*_backup_stop_sentinel.json");
    assert_eq!(add(&wal_g, sentinel), ("base_1_backup_stop_sentinel.json".to_owned(), 1, 100));
    let mut ahead = Listing::default();
    ahead.add("a", NOW + HOUR, 1, None, NOW);
    assert_eq!((ahead.n_ahead, ahead.newest.clone(), ahead.n_complete), (1, None, 0));
    let dated = with(|_, sights| sights[0].seen.as_mut().unwrap().listing.n_ahead = 3);
    assert_eq!(dated, "warn dates: at s3://dr-eu/wal/ 3 are dated in the future, and do not count");
}

#[test]
fn a_replica_is_named_where_backups_lose_too_much() {
    let mut class = class();
    class.rpo_target = Duration::from_secs(60);
    class.groups = vec![Label::new("orders"), Label::new("carts")];
    let standing = Standing::of(class, well().to_vec(), NOW);
    let worst = standing.worst().unwrap();
    assert_eq!((worst.check, worst.verdict), ("rpo", Verdict::Warn));
    assert_eq!(worst.fix, "replicas of orders, carts may lose less: portolan recovery exposure orders");
}

fn any_proof() -> impl Strategy<Value = Proof> {
    prop_oneof![3 => Just(Proof::Proven), 1 => Just(Proof::Refuted), 1 => Just(Proof::Unknown("why".to_owned()))]
}

fn any_sight() -> impl Strategy<Value = Sight> {
    let entries = prop::collection::vec((0_u64..400 * 24, prop::bool::weighted(0.9)), 0..6);
    let seen =
        (0_u64..3600, entries, any::<bool>(), any_proof(), any_proof()).prop_map(|(at, entries, is_whole, encryption, versioning)| {
            let mut listing = Listing { is_whole, ..Listing::default() };
            for (hours, is_complete) in entries {
                let name = if is_complete { "a.dump" } else { "a.tmp" };
                listing.add(name, ago(Duration::from_secs(at) + HOUR * u32::try_from(hours).unwrap()), 1, None, NOW);
            }
            Seen { at: ago(Duration::from_secs(at)), listing, encryption, versioning }
        });
    (prop::option::weighted(0.8, seen), any::<bool>()).prop_map(|(seen, fails)| {
        let mut sight = Sight { seen, ..Sight::default() };
        if fails {
            sight.fail(NOW, "refused");
        }
        sight
    })
}

proptest! {
    /// Unknown is never passed, and each rule that does not pass says what would mend it.
    #[test]
    fn nothing_passes_that_is_not_known(sights in prop::collection::vec(any_sight(), 2), hours in 1_u32..400, days in 1_u32..400) {
        let class = Class { frequency: HOUR * hours, retention: DAY * days + HOUR * hours, ..class() };
        let standing = Standing::of(class.clone(), sights.clone(), NOW);
        let verdict = |check: &str| standing.findings.iter().find(|it| it.check == check).unwrap().verdict;
        for finding in &standing.findings {
            prop_assert_eq!(finding.verdict == Verdict::Pass, finding.fix.is_empty(), "{:?}", finding);
        }
        let is_current = |(place, sight): (&Place, &Sight)| sight.current(place.fresh_for(), NOW).is_some();
        let current: Vec<bool> = class.places.iter().zip(&sights).map(is_current).collect();
        let seen: Vec<&Seen> = sights.iter().zip(&current).filter(|(_, is_current)| **is_current).map(|(sight, _)| sight.seen.as_ref().unwrap()).collect();
        let ages: Vec<Duration> = seen.iter().filter_map(|it| it.listing.newest.as_ref()).map(|it| NOW.since(it.at)).collect();
        let in_time = |age: &Duration| *age <= class.frequency + class.slack();
        prop_assert_eq!(standing.age, ages.iter().min().copied());
        prop_assert_eq!(verdict("age") == Verdict::Pass, ages.iter().any(in_time));
        let is_all = current.iter().all(|it| *it);
        let proofs = |of: fn(&Seen) -> &Proof| is_all && seen.iter().all(|it| *of(it) == Proof::Proven);
        prop_assert_eq!(verdict("encryption") == Verdict::Pass, proofs(|it| &it.encryption));
        prop_assert_eq!(verdict("versioning") == Verdict::Pass, proofs(|it| &it.versioning));
        let recent = ages.iter().filter(|age| **age <= class.frequency * 2).count();
        prop_assert_eq!(verdict("storage") == Verdict::Pass, recent == 2);
        // Nothing fails for what may only be out of sight; a store's own no stands for itself.
        if !is_all || seen.iter().any(|it| !it.listing.is_whole) {
            for check in ["age", "retention", "storage", "rpo"] {
                prop_assert!(verdict(check) != Verdict::Fail, "{} {:?}", check, standing);
            }
        }
    }

    /// A look that fails takes nothing from the figures, and time alone never makes a class better.
    #[test]
    fn failing_and_waiting_never_mend(sights in prop::collection::vec(any_sight(), 2), minutes in 0_u64..3000) {
        let before = Standing::of(class(), sights.clone(), NOW);
        let mut failing = sights;
        failing.iter_mut().for_each(|sight| sight.fail(NOW, "it hangs"));
        let after = Standing::of(class(), failing.clone(), NOW);
        prop_assert_eq!(before.age, after.age);
        let verdicts = |standing: &Standing| standing.findings.iter().map(|it| (it.check, it.verdict)).collect::<Vec<_>>();
        prop_assert_eq!(verdicts(&before), verdicts(&after));
        let later = Standing::of(class(), failing, NOW + Duration::from_secs(minutes * 60));
        let age_of = |standing: &Standing| standing.findings[0].verdict;
        prop_assert!(age_of(&later) >= age_of(&after) || age_of(&later) == Verdict::Unknown);
        prop_assert!(age_of(&later) != Verdict::Pass || age_of(&after) == Verdict::Pass);
    }

    /// The order in which names come does not matter.
    #[test]
    fn a_listing_is_a_set(names in prop::collection::vec(("[a-c]{1,2}(\\.tmp)?", 0_u64..5, 0_u64..3), 0..12), turn in 0_usize..12) {
        let fold = |names: &[(String, u64, u64)]| {
            let mut listing = Listing::default();
            for (name, hours, octets) in names {
                listing.add(name, ago(HOUR * u32::try_from(*hours).unwrap()), *octets, None, NOW);
            }
            listing
        };
        let mut turned = names.clone();
        turned.rotate_left(turn.min(names.len()));
        turned.reverse();
        prop_assert_eq!(fold(&names), fold(&turned));
    }
}
