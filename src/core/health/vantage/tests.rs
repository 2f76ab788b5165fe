use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    health::drill::parse_check,
    model::{
        check::{Failure, FailureCategory},
        verdict::Health,
    },
    testing::{clock::now_at, script::check_scripts},
};

#[test]
fn scripts() {
    check_scripts("vantage", "", |script| drill::play(script).text);
}

fn vantage(n_checks: usize) -> Vantage {
    let checks: Vec<Check> = (0..n_checks)
        .map(|i| parse_check(&["c", "tcp", &format!("address=10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255)], &["c"]))
        .collect();
    let settings = Settings {
        node: "us-1".into(),
        region: "us".into(),
        incarnation: 1,
        regions: vec!["us".into(), "eu".into(), "ap".into(), "eu".into()],
        probers_per_region: PROBERS_PER_REGION,
        unproven_hold: UNPROVEN_HOLD,
    };
    Vantage::new(settings, &checks, |check| check.0.is_multiple_of(3), now_at(Tick(0)))
}

fn says(health: Health) -> Judgement {
    let failure = (health == Health::Down).then(|| Arc::new(Failure::new(FailureCategory::Connect, "refused")));
    Judgement { health, since: Some(now_at(Tick(1)).wall), returned_at: None, failure }
}

fn report(observer: &str, after: u64, sequence: u64, statements: Vec<Statement>) -> Report {
    let region = observer.split('-').next().unwrap();
    let (observer, region) = (observer.into(), region.into());
    Report { observer, region, incarnation: 1, after, sequence, sight: Sight::Sighted, age: Duration::ZERO, statements }
}

fn hear(vantage: &mut Vantage, now: Now, report: Report) -> Result<(), Rejected> {
    vantage.handle(now, Event::Heard { report, round_trip: Duration::ZERO }, &mut Vec::new())
}

#[test]
fn what_no_honest_sender_says_is_refused_whole() {
    let mut vantage = vantage(2);
    let (now, key) = (now_at(Tick(5)), vantage.key(CheckIdx(0)).unwrap());
    let statement = |sequence| Statement { check: key, sequence, judgement: says(Health::Down) };
    let refused = [
        (report("", 0, 1, vec![]), Rejected::Malformed(Malformed::Name)),
        (report(&"x".repeat(NAME_OCTETS_MAX + 1), 0, 1, vec![]), Rejected::Malformed(Malformed::Name)),
        (report("eu-1", 4, 4, vec![]), Rejected::Malformed(Malformed::Range)),
        (report("eu-1", 4, 6, vec![statement(4)]), Rejected::Malformed(Malformed::Outside)),
        (report("eu-1", 4, 6, vec![statement(7)]), Rejected::Malformed(Malformed::Outside)),
        (report("us-1", 0, 6, vec![]), Rejected::OwnName),
    ];
    for (report, reason) in refused {
        assert_eq!(hear(&mut vantage, now, report), Err(reason));
    }
    assert_eq!(vantage.n_observers(), 1);
    assert_eq!(hear(&mut vantage, now, report("eu-1", 0, 6, vec![statement(6)])), Ok(()));
    let moved = Report { region: "ap".into(), ..report("eu-1", 6, 7, vec![]) };
    assert_eq!(hear(&mut vantage, now, moved), Err(Rejected::RegionChanged));
    let mut effects = Vec::new();
    assert_eq!(vantage.handle(now, Event::Looked { reached: 2, all: 1 }, &mut effects), Err(Rejected::References));
    assert_eq!(vantage.handle(now, Event::ConfirmAsked { check: CheckKey::from_number(1) }, &mut effects), Err(Rejected::UnknownCheck));
    assert_eq!(vantage.handle(now, Event::FirstFailed { check: CheckIdx(2) }, &mut effects), Err(Rejected::UnknownCheck));
    assert_eq!(effects, []);
}

/// us-1, which sees its own endpoint up, hears two other regions, loses them where `is_apart`, and hears this of the endpoint then.
fn told(is_apart: bool, judgement: &Judgement) -> Vantage {
    let mut vantage = vantage(1);
    let at = |seconds: u64| now_at(Tick(seconds * 1_000_000));
    let key = vantage.key(CheckIdx(0)).unwrap();
    let up = Event::Judged { check: CheckIdx(0), judgement: says(Health::Up), failed: false };
    vantage.handle(at(1), up, &mut Vec::new()).unwrap();
    for observer in ["eu-1", "ap-1"] {
        assert_eq!(hear(&mut vantage, at(1), report(observer, 0, 1, vec![])), Ok(()));
    }
    if is_apart {
        vantage.advance(at(19), &mut Vec::new());
        assert_eq!(vantage.sight(), Sight::Blind);
    }
    for observer in ["eu-1", "ap-1"] {
        let statement = Statement { check: key, sequence: 2, judgement: judgement.clone() };
        assert_eq!(hear(&mut vantage, at(if is_apart { 20 } else { 2 }), report(observer, 1, 2, vec![statement])), Ok(()));
    }
    vantage
}

#[test]
fn who_was_cut_off_keeps_what_stands_beside_it_until_others_had_time_to_look_again() {
    let standing = |vantage: &Vantage| vantage.slots[0].standing.judgement.clone();
    assert_eq!(standing(&told(false, &says(Health::Down))).health, Health::Down, "who was never apart obeys at once");
    let answers_wrongly = Some(Arc::new(Failure::new(FailureCategory::Status, "500")));
    let wrong = Judgement { failure: answers_wrongly, ..says(Health::Down) };
    assert_eq!(standing(&told(true, &wrong)).health, Health::Down, "they reached it: it is no matter of the cut");

    let mut vantage = told(true, &says(Health::Down));
    assert_eq!(standing(&vantage).health, Health::Up);
    let until = Tick(20_000_000) + vantage.slots[0].look_again;
    assert!(vantage.next_deadline().is_some_and(|at| at <= until));
    for observer in ["eu-1", "ap-1"] {
        let just_before = Now { tick: Tick(until.0 - 1), ..now_at(until) };
        assert_eq!(hear(&mut vantage, just_before, report(observer, 2, 3, vec![])), Ok(()));
    }
    assert_eq!(standing(&vantage).health, Health::Up);
    vantage.advance(now_at(until), &mut Vec::new());
    assert_eq!(standing(&vantage).health, Health::Down, "they looked again, and the majority's word is final");
}

/// When both of a region's probers withdraw while a hold lasts, what they last said is newer than what was proven before it.
#[test]
fn what_own_eyes_saw_up_is_not_undone_by_an_older_proof_of_death() {
    let mut vantage = vantage(2);
    let at = |seconds: u64| now_at(Tick(seconds * 1_000_000));
    let key = vantage.key(CheckIdx(0)).unwrap();
    let standing = |vantage: &Vantage| (vantage.slots[0].standing.judgement.health, vantage.slots[0].standing.source);
    let said = |health| vec![Statement { check: key, sequence: 1, judgement: says(health) }];
    for observer in ["eu-1", "ap-1"] {
        assert_eq!(hear(&mut vantage, at(1), report(observer, 0, 1, said(Health::Down))), Ok(()));
    }
    assert!(matches!(standing(&vantage), (Health::Down, slot::Source::Proven(_))));
    assert_eq!(hear(&mut vantage, at(3), report("us-2", 0, 1, said(Health::Up))), Ok(()));
    vantage.advance(at(4), &mut Vec::new());
    assert_eq!(standing(&vantage), (Health::Up, slot::Source::Own), "the proof has ended, and its own region sees it up");
    vantage.advance(at(6), &mut Vec::new());
    assert_eq!(standing(&vantage).0, Health::Up, "us-2 is silent, too");
}

#[test]
fn what_never_left_is_not_started_slowly_when_others_see_it_again() {
    let returned = Judgement { returned_at: Some(now_at(Tick(19_000_000)).wall), ..says(Health::Up) };
    assert_eq!(told(true, &returned).slots[0].standing.judgement.returned_at, None);
    assert_eq!(told(false, &returned).slots[0].standing.judgement.returned_at, returned.returned_at, "as those say who prove it");
}

#[test]
fn a_gap_is_silence_until_it_is_filled() {
    let mut vantage = vantage(1);
    let at = |millis: u64| now_at(Tick(millis * 1000));
    let key = vantage.key(CheckIdx(0)).unwrap();
    let up = Statement { check: key, sequence: 1, judgement: says(Health::Up) };
    assert_eq!(hear(&mut vantage, at(0), report("eu-1", 0, 1, vec![up])), Ok(()));
    assert_eq!(vantage.regions_heard().count(), 2);
    // 2 to 3 is missing.
    assert_eq!(hear(&mut vantage, at(1000), report("eu-1", 3, 4, vec![])), Ok(()));
    vantage.advance(at(2000), &mut Vec::new());
    assert_eq!(vantage.regions_heard().count(), 1, "a later sign of life does not vouch for what is missing");
    let down = Statement { check: key, sequence: 2, judgement: says(Health::Down) };
    assert_eq!(hear(&mut vantage, at(2100), report("eu-1", 1, 3, vec![down])), Ok(()));
    assert_eq!(vantage.regions_heard().count(), 2, "fresh as of the later one");
    assert_eq!(vantage.slots[0].voices.iter().map(|voice| voice.said.sequence).collect::<Vec<_>>(), [2]);
    vantage.advance(at(3000), &mut Vec::new());
    assert_eq!(vantage.regions_heard().count(), 1);
}

#[test]
fn age_is_what_is_stated_and_half_a_round_trip_and_the_time_since() {
    let mut vantage = vantage(1);
    let relayed = Report { age: Duration::from_millis(700), ..report("eu-1", 0, 1, vec![]) }.aged(Duration::from_millis(300));
    let event = Event::Heard { report: relayed, round_trip: Duration::from_millis(800) };
    vantage.handle(now_at(Tick(50_000)), event, &mut Vec::new()).unwrap();
    assert_eq!(vantage.next_deadline(), Some(Tick(650_000)), "1 s stated, 400 ms on the way, 600 ms left of two seconds");
    let old = Report { age: FRESH_FOR, ..report("ap-1", 0, 1, vec![]) };
    assert_eq!(hear(&mut vantage, now_at(Tick(60_000)), old), Ok(()));
    assert_eq!(vantage.regions_heard().count(), 2, "too old when it came");
}

#[test]
fn observers_are_bounded_and_the_silent_give_way() {
    let mut vantage = vantage(1);
    for i in 1..OBSERVERS_MAX {
        assert_eq!(hear(&mut vantage, now_at(Tick(0)), report(&format!("eu-{i}"), 0, 1, vec![])), Ok(()));
    }
    assert_eq!(hear(&mut vantage, now_at(Tick(0)), report("eu-more", 0, 1, vec![])), Err(Rejected::TooManyObservers));
    assert_eq!(hear(&mut vantage, now_at(Tick(1_000_000)), report("eu-1", 1, 2, vec![])), Ok(()));
    vantage.advance(now_at(Tick(2_500_000)), &mut Vec::new());
    assert_eq!(hear(&mut vantage, now_at(Tick(2_500_000)), report("eu-more", 0, 1, vec![])), Ok(()));
    assert_eq!(vantage.n_observers(), OBSERVERS_MAX);
    assert!(vantage.ids.contains_key(&Label::new("eu-1")), "who was heard last stays");
}

#[test]
fn a_flood_of_first_failures_asks_at_the_cap_and_each_check_once() {
    let n = 3000;
    let mut vantage = vantage(n);
    let mut asked: Vec<(Tick, CheckKey)> = Vec::new();
    let mut now = Tick(0);
    let mut note = |now: Tick, effects: Vec<Effect>| {
        asked.extend(
            effects.into_iter().filter_map(|effect| if let Effect::Confirm { check } = effect { Some((now, check)) } else { None }),
        );
    };
    for position in (0..n).chain(0..n) {
        let mut effects = Vec::new();
        vantage.handle(now_at(now), Event::FirstFailed { check: CheckIdx::at(position) }, &mut effects).unwrap();
        note(now, effects);
    }
    while let Some(next) = vantage.next_deadline() {
        now = next;
        let mut effects = Vec::new();
        vantage.advance(now_at(now), &mut effects);
        note(now, effects);
    }
    for &(from, _) in &asked {
        let second = asked.iter().filter(|(at, _)| *at >= from && at.since(from) < Duration::from_secs(1)).count();
        assert!(second <= CONFIRMS_PER_SECOND_MAX, "{second} within a second of {from:?}");
    }
    assert_eq!(asked.len(), 5 * CONFIRMS_PER_SECOND_MAX, "those who waited too long are dropped");
    let checks: BTreeSet<CheckKey> = asked.iter().map(|(_, check)| *check).collect();
    assert_eq!(checks.len(), asked.len());
    let mut heeded = 0;
    for position in 0..n {
        let (mut effects, event) = (Vec::new(), Event::ConfirmAsked { check: vantage.slots[position].key });
        heeded += usize::from(vantage.handle(now_at(now + CONFIRM_PAUSE), event, &mut effects).is_ok());
    }
    assert_eq!(heeded, CONFIRMS_PER_SECOND_MAX);
}

#[test]
fn many_endpoints_cost_little_and_a_routine_repeat_nothing() {
    let n = 3000;
    let mut vantage = vantage(n);
    let all = |health: Health, from: u64, vantage: &Vantage| -> Vec<Statement> {
        let statement = |position: usize| Statement {
            check: vantage.slots[position].key,
            sequence: from + position as u64 + 1,
            judgement: says(health),
        };
        (0..n).map(statement).collect()
    };
    let observers = ["eu-1", "eu-2", "ap-1", "ap-2", "us-2"];
    let mut now = Tick(0);
    for observer in observers {
        let statements = all(Health::Up, 0, &vantage);
        assert_eq!(hear(&mut vantage, now_at(now), report(observer, 0, n as u64, statements)), Ok(()));
    }
    assert_eq!(vantage.slots.iter().filter(|slot| slot.standing.judgement.health == Health::Up).count(), n);
    let mut sequence = n as u64;
    for _ in 0..10_000 {
        now = now + Duration::from_millis(100);
        sequence += 1;
        let mut effects = Vec::new();
        for observer in observers {
            let event = Event::Heard { report: report(observer, sequence - 1, sequence, vec![]), round_trip: Duration::ZERO };
            vantage.handle(now_at(now), event, &mut effects).unwrap();
        }
        vantage.advance(now_at(now), &mut effects);
        assert_eq!(effects, []);
    }
    // A region dies: as one report of each of its probers' view.
    let mut effects = Vec::new();
    for observer in observers {
        let statements = all(Health::Down, sequence, &vantage);
        let event = Event::Heard { report: report(observer, sequence, sequence + n as u64, statements), round_trip: Duration::ZERO };
        vantage.handle(now_at(now), event, &mut effects).unwrap();
    }
    let turned = effects.iter().filter(|effect| matches!(effect, Effect::Touched { turn: Some(_), .. })).count();
    assert_eq!(turned, n, "each check turns once");
}

/// A peer with a good certificate invents names without end: its own observers pay for that, and nobody else's.
#[test]
fn names_that_one_peer_invents_push_out_its_own_only() {
    let mut vantage = vantage(2);
    let from = |vantage: &mut Vantage, now: Now, peer: &str, observer: &str| {
        vantage.make_room(now, &observer.into(), &peer.into(), &mut Vec::new())?;
        hear(vantage, now, report(observer, 0, 1, vec![]))?;
        vantage.was_brought(&observer.into(), &peer.into());
        Ok(())
    };
    let start = now_at(Tick(0));
    for n in 0..200 {
        assert_eq!(from(&mut vantage, start, "eu-1", &format!("eu-{n:04}")), Ok(()));
    }
    // All of them are silent when the flood comes.
    let later = now_at(Tick(0) + FRESH_FOR * 2);
    vantage.advance(later, &mut Vec::new());
    for n in 0..OBSERVERS_PER_PEER_MAX {
        assert_eq!(from(&mut vantage, later, "ap-1", &format!("ap-{n:04}")), Ok(()));
    }
    assert_eq!(from(&mut vantage, later, "ap-1", "ap-one-more"), Err(Rejected::TooManyFromPeer), "all of them are fresh");
    let mut now = later;
    for n in 0..5 * OBSERVERS_PER_PEER_MAX {
        now = now.after(FRESH_FOR * 2);
        vantage.advance(now, &mut Vec::new());
        assert_eq!(from(&mut vantage, now, "ap-1", &format!("ap-x{n:04}")), Ok(()));
    }
    assert_eq!(vantage.n_observers(), 1 + 200 + OBSERVERS_PER_PEER_MAX);
    assert!((0..200).all(|n| vantage.ids.contains_key(&Label::new(&format!("eu-{n:04}")))), "those of another peer are remembered");
    assert_eq!(from(&mut vantage, now, "ap-1", "ap-1"), Ok(()), "for itself it always speaks");
}

#[test]
fn what_was_withdrawn_stays_withdrawn() {
    let (mut own, keys) = (Own::default(), (0..10_000_u128).map(CheckKey::from_number).collect::<Vec<_>>());
    own.pulse();
    for key in &keys {
        own.state(*key, &says(Health::Up));
    }
    let heard = own.sequence();
    for key in &keys[..9000] {
        own.state(*key, &Judgement::default());
        assert_eq!(own.state(*key, &Judgement::default()), None, "said already");
    }
    assert_eq!(own.n_said(), 1000);
    let (after, statements) = own.since(heard);
    assert_eq!((after, statements.len()), (0, 1000), "too much was withdrawn to list it: a full report");
    let (after, statements) = own.since(own.sequence() - 10);
    assert_eq!((after, statements.len()), (own.sequence() - 10, 10));
    assert!(statements.iter().all(|it| it.judgement.health == Health::Unknown));
}

/// us-1, alone: what ap-1 and eu-1 proved up is held, and its own eyes say that it is down.
fn holding() -> Vantage {
    let mut vantage = vantage(2);
    let at = |seconds: u64| now_at(Tick(seconds * 1_000_000));
    let key = vantage.key(CheckIdx(1)).unwrap();
    vantage.handle(at(1), Event::Looked { reached: 1, all: 1 }, &mut Vec::new()).unwrap();
    for observer in ["eu-1", "ap-1"] {
        let statement = Statement { check: key, sequence: 1, judgement: says(Health::Up) };
        assert_eq!(hear(&mut vantage, at(1), report(observer, 0, 1, vec![statement])), Ok(()));
    }
    vantage.advance(at(4), &mut Vec::new());
    let down = Event::Judged { check: CheckIdx(1), judgement: says(Health::Down), failed: true };
    vantage.handle(at(4), down, &mut Vec::new()).unwrap();
    assert_eq!((vantage.sight(), vantage.slots[1].standing.source), (Sight::Alone, slot::Source::Held));
    vantage
}

#[test]
fn time_asleep_does_not_count_for_a_hold_and_who_wakes_is_blind_until_it_looks() {
    let at = |seconds: u64| now_at(Tick(seconds * 1_000_000));
    let standing = |vantage: &Vantage| (vantage.slots[1].standing.judgement.health, vantage.slots[1].standing.source);
    let looks = |vantage: &mut Vantage, seconds: u64, reached: u16| {
        vantage.handle(at(seconds), Event::Looked { reached, all: 1 }, &mut Vec::new()).unwrap();
    };
    let mut awake = holding();
    awake.advance(at(200), &mut Vec::new());
    assert_eq!(standing(&awake), (Health::Down, slot::Source::Own), "a hold ends for who did not sleep");

    let mut slept = holding();
    slept.handle(at(204), Event::Slept { asleep: Duration::from_secs(200) }, &mut Vec::new()).unwrap();
    slept.advance(at(204), &mut Vec::new());
    assert_eq!((slept.sight(), standing(&slept)), (Sight::Blind, (Health::Up, slot::Source::Held)));
    looks(&mut slept, 205, 1);
    assert_eq!((slept.sight(), standing(&slept)), (Sight::Alone, (Health::Up, slot::Source::Held)));
    // Proven until the third second, and one second awake after it: the rest of the hold.
    let until = Tick(204_000_000) + UNPROVEN_HOLD.saturating_sub(Duration::from_secs(1));
    assert_eq!(slept.next_deadline(), Some(until));
    slept.advance(now_at(until), &mut Vec::new());
    assert_eq!(standing(&slept), (Health::Up, slot::Source::Held), "what it saw before the sleep is doubted: it says nothing now");
    let down = Event::Judged { check: CheckIdx(1), judgement: says(Health::Down), failed: true };
    slept.handle(now_at(until), down, &mut Vec::new()).unwrap();
    assert_eq!(standing(&slept), (Health::Down, slot::Source::Own), "it looked again");
}

#[test]
fn a_hold_that_was_over_before_the_sleep_does_not_come_back() {
    let mut vantage = holding();
    let at = |seconds: u64| now_at(Tick(seconds * 1_000_000));
    vantage.advance(at(100), &mut Vec::new());
    let mut effects = Vec::new();
    vantage.handle(at(150), Event::Slept { asleep: Duration::from_secs(50) }, &mut effects).unwrap();
    vantage.advance(at(150), &mut effects);
    let turns = effects.iter().filter(|effect| matches!(effect, Effect::Touched { turn: Some(_), .. })).count();
    assert_eq!((vantage.slots[1].standing.judgement.health, turns), (Health::Down, 0));
}

#[test]
fn a_hold_that_ran_out_unnoticed_holds_until_what_waited_is_heard() {
    let mut vantage = holding();
    let late = now_at(Tick(200_000_000));
    let mut effects = Vec::new();
    let still_down =
        Event::Judged { check: CheckIdx(1), judgement: Judgement { since: Some(late.wall), ..says(Health::Down) }, failed: true };
    vantage.handle(late, still_down, &mut effects).unwrap();
    vantage.handle(late, Event::Looked { reached: 0, all: 1 }, &mut effects).unwrap();
    vantage.advance(late, &mut effects);
    let turns = effects.iter().filter(|effect| matches!(effect, Effect::Touched { turn: Some(_), .. })).count();
    assert_eq!((vantage.sight(), turns), (Sight::Blind, 0));
    assert_eq!(vantage.slots[1].standing.judgement.health, Health::Up);
}
