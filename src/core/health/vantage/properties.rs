//! What holds for any schedule of reports, whoever sends them.

use std::time::Duration;

use proptest::prelude::*;

use super::{slot::Way, *};
use crate::{
    health::drill::parse_check,
    model::{
        check::{Failure, FailureCategory},
        verdict::Health,
    },
    testing::clock::now_at,
};

const CHECKS: usize = 4;
const REGIONS: [&str; 5] = ["af", "ap", "eu", "sa", "us"];

fn checks() -> Vec<Check> {
    let mut checks: Vec<Check> = (0..CHECKS).map(|i| parse_check(&["c", "tcp", &format!("address=192.0.2.{}", i + 1)], &["c"])).collect();
    checks.push(parse_check(&["all", "calculated", "of=a,b", "at_least=2"], &["a", "b", "c", "d"]));
    checks
}

fn vantage(n_regions: usize) -> Vantage {
    let settings = Settings {
        node: "us-0".into(),
        region: "us".into(),
        incarnation: 1,
        regions: REGIONS.iter().rev().take(n_regions).map(|region| Label::new(region)).collect(),
        probers_per_region: 2,
        unproven_hold: UNPROVEN_HOLD,
    };
    Vantage::new(settings, &checks(), |check| check.0 == 0, now_at(Tick(0)))
}

fn judgement(health: Health) -> Judgement {
    let failure = (health == Health::Down).then(|| Failure::new(FailureCategory::Connect, "drawn").into());
    Judgement { health, since: (health != Health::Unknown).then_some(crate::model::time::Timestamp(5)), returned_at: None, failure }
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![3 => Just(Health::Up), 3 => Just(Health::Down), 1 => Just(Health::Unknown)]
}

/// What one observer does.
#[derive(Clone, Debug)]
enum Act {
    Say(usize, Health),
    Pulse,
    /// Sends everything, or what it did since the report before.
    Send {
        full: bool,
    },
    See(Sight),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..CHECKS, health()).prop_map(|(check, health)| Act::Say(check, health)),
        1 => Just(Act::Pulse),
        5 => prop::bool::weighted(0.2).prop_map(|full| Act::Send { full }),
        1 => prop_oneof![Just(Sight::Blind), Just(Sight::Sighted), Just(Sight::Alone)].prop_map(Act::See),
        1 => Just(Act::Restart),
    ]
}

/// All reports of one honest observer, in order.
fn reports(observer: usize, acts: &[Act]) -> Vec<Report> {
    let keys = keys(&checks());
    let region = REGIONS[REGIONS.len() - 1 - observer % REGIONS.len()];
    let (mut own, mut incarnation, mut sight, mut told, mut sent) = (Own::default(), 1, Sight::Sighted, 0, Vec::new());
    own.pulse();
    for act in acts.iter().chain(&[Act::Pulse, Act::Send { full: false }]) {
        match act {
            Act::Say(check, health) => drop(own.state(keys[*check], &judgement(*health))),
            Act::Pulse => drop(own.pulse()),
            Act::See(new) => {
                sight = *new;
                own.pulse();
            }
            Act::Restart => {
                (own, told, incarnation) = (Own::default(), 0, incarnation + 1);
                own.pulse();
            }
            Act::Send { full } => {
                own.pulse();
                let (after, statements) = own.since(if *full { 0 } else { told });
                told = own.sequence();
                sent.push(Report {
                    observer: Label::new(&format!("{region}-{}", observer + 1)),
                    region: region.into(),
                    incarnation,
                    after,
                    sequence: told,
                    sight,
                    age: Duration::from_millis(told % 7 * 100),
                    statements,
                });
            }
        }
    }
    sent
}

fn hear(vantage: &mut Vantage, now: Now, report: &Report) -> (Result<(), Rejected>, Vec<Effect>) {
    let mut effects = Vec::new();
    let handled = vantage.handle(now, Event::Heard { report: report.clone(), round_trip: Duration::from_millis(160) }, &mut effects);
    assert!(handled.is_ok() || effects.is_empty(), "what is refused changes nothing");
    (handled, effects)
}

/// All that others can see of a vantage, without the order in which it met observers.
fn seen(vantage: &Vantage, now: Tick) -> Vec<String> {
    let observer = |it: &Observer| {
        format!("{} {} {} {:?} {}", it.name, it.incarnation, it.complete(), it.life.map(observer::Life::until), it.is_fresh)
    };
    let mut seen: Vec<String> = vantage.observers.values().map(observer).collect();
    seen.sort_unstable();
    for (position, slot) in vantage.slots.iter().enumerate() {
        let mut voices: Vec<String> =
            slot.voices.iter().map(|it| format!("{} {:?}", vantage.observers[&it.observer].name, it.said)).collect();
        voices.sort_unstable();
        seen.push(format!("{voices:?} {} {:?}", slot.is_prober, vantage.explain(CheckIdx::at(position), now)));
    }
    seen
}

/// Proves that what is proven is said by more than half of all regions, counted by hand, and that bounds hold.
fn prove(vantage: &Vantage, now: Tick) {
    for slot in vantage.slots.iter().filter(|slot| slot.way == Way::Probed) {
        let agree = |wanted: Health| {
            let says = |region: &Label| {
                let n = |health: Health| {
                    let voices = slot.voices.iter().filter(|voice| voice.said.judgement.health == health);
                    voices
                        .filter(|voice| vantage.observers.get(&voice.observer).is_some_and(|it| it.region == *region && it.counts()))
                        .count()
                };
                let (up, down) = (n(Health::Up), n(Health::Down));
                if down > up { Some(Health::Down) } else { (up > 0).then_some(Health::Up) }
            };
            vantage.regions().iter().filter(|region| says(region) == Some(wanted)).count()
        };
        let is_proven = matches!(slot.provenance(now, UNPROVEN_HOLD), Provenance::Proven(_));
        let by_hand = [Health::Up, Health::Down].into_iter().find(|&health| agree(health) * 2 > vantage.n_regions);
        assert_eq!(by_hand.filter(|_| is_proven), Some(slot.standing.judgement.health).filter(|_| is_proven));
        assert_eq!(is_proven, by_hand.is_some());
        assert!(slot.voices.len() <= vantage.n_observers());
    }
    for observer in vantage.observers.values() {
        assert!(observer.n_checks() <= CHECKS + 1 && observer.withdrawn.len() <= CHECKS);
    }
    assert!(vantage.expiries.len() < vantage.n_observers().max(1) && vantage.holds.len() <= vantage.slots.len());
}

/// Settles everything anew, which changes nothing.
fn settled(vantage: &Vantage, now: Now) {
    let mut anew = vantage.clone();
    anew.dirty.extend((0..anew.slots.len()).map(CheckIdx::at));
    let mut effects = Vec::new();
    anew.settle(now, &mut effects);
    assert_eq!((effects, seen(&anew, now.tick)), (Vec::new(), seen(vantage, now.tick)));
}

fn histories() -> impl Strategy<Value = Vec<Vec<Report>>> {
    prop::collection::vec(prop::collection::vec(act(), 0..14), 1..8)
        .prop_map(|all| all.iter().enumerate().map(|(observer, acts)| reports(observer, acts)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_order_and_repetition_of_reports_do_not_matter(histories in histories(), n_regions in 1_usize..=5, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..80)) {
        let now = now_at(Tick(10_000_000));
        let mut in_order = vantage(n_regions);
        for report in histories.iter().flatten() {
            let _ = hear(&mut in_order, now, report);
        }
        let mut pool: Vec<&Report> = histories.iter().flatten().chain(histories.iter().flatten()).collect();
        let mut shuffled = vantage(n_regions);
        for pick in picks {
            if !pool.is_empty() {
                let _ = hear(&mut shuffled, now, pool.swap_remove(pick.index(pool.len())));
            }
        }
        pool.iter().rev().for_each(|report| drop(hear(&mut shuffled, now, report)));
        let (mut effects, later) = (Vec::new(), now.after(Duration::from_secs(1)));
        // What was used before others spoke depends on who spoke first; once the hold is over, or all is proven, it does not.
        in_order.advance(later, &mut effects);
        shuffled.advance(later, &mut effects);
        let voices = |vantage: &Vantage| -> Vec<String> {
            seen(vantage, later.tick).into_iter().map(|line| line.split("Reason {").next().unwrap_or_default().to_owned()).collect()
        };
        prop_assert_eq!(voices(&in_order), voices(&shuffled));
        // Whether others were lost on the way is a matter of order, too: own eyes rule for a while after that.
        let is_free = |position: usize| [&in_order, &shuffled].iter().all(|it| it.slots[position].way == Way::Probed && it.slots[position].hold_until.is_none());
        let proven = |vantage: &Vantage| -> Vec<_> {
            let standings = vantage.slots.iter().map(|slot| slot.standing.clone()).enumerate();
            standings.filter(|(position, it)| is_free(*position) && matches!(it.source, slot::Source::Proven(_))).collect()
        };
        prop_assert_eq!(proven(&in_order), proven(&shuffled));
    }

    #[test]
    fn who_is_told_by_another_knows_the_same(histories in histories(), n_regions in 1_usize..=5, heard_before in 0_usize..4) {
        let now = now_at(Tick(10_000_000));
        let (mut told, mut late) = (vantage(n_regions), vantage(n_regions));
        for report in histories.iter().flatten() {
            let _ = hear(&mut told, now, report);
        }
        for history in &histories {
            history.iter().take(heard_before).for_each(|report| drop(hear(&mut late, now, report)));
        }
        let known: Vec<Heard> = told.heard().collect();
        for heard in &known {
            prop_assert!(!told.lacks(&heard.observer));
            let report = told.relay(&heard.observer, now);
            prop_assert!(report.is_some(), "all of them are fresh");
            let again = Event::Heard { report: report.into_iter().next().ok_or_else(|| TestCaseError::fail("none"))?, round_trip: Duration::ZERO };
            let handled = late.handle(now, again, &mut Vec::new());
            prop_assert!(matches!(handled, Ok(()) | Err(Rejected::Replayed)), "{:?}", handled);
        }
        let mut known_late: Vec<Heard> = late.heard().collect();
        known_late.sort_by(|a, b| a.observer.cmp(&b.observer));
        let mut known = known;
        known.sort_by(|a, b| a.observer.cmp(&b.observer));
        prop_assert_eq!(known, known_late);
        let voices = |vantage: &Vantage| -> Vec<String> {
            seen(vantage, now.tick).into_iter().map(|line| line.split("Reason {").next().unwrap_or_default().to_owned()).collect()
        };
        prop_assert_eq!(voices(&told), voices(&late));
    }

    #[test]
    fn a_repeat_touches_nothing(histories in histories()) {
        let now = now_at(Tick(10_000_000));
        let mut vantage = vantage(3);
        for report in histories.iter().flatten() {
            let _ = hear(&mut vantage, now, report);
        }
        let before = seen(&vantage, now.tick);
        for report in histories.iter().flatten() {
            prop_assert_eq!(hear(&mut vantage, now, report), (Err(Rejected::Replayed), Vec::new()));
        }
        prop_assert_eq!(seen(&vantage, now.tick), before);
    }

    #[test]
    fn nothing_is_proven_without_most_regions_and_nothing_is_left_unsettled(
        histories in histories(), n_regions in 1_usize..=5, picks in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..1500, 0_u16..4, health()), 1..60),
    ) {
        let mut vantage = vantage(n_regions);
        let pool: Vec<&Report> = histories.iter().flatten().collect();
        let mut now = now_at(Tick(0));
        for (pick, pause, what, health) in picks {
            now = now.after(Duration::from_millis(pause));
            let mut effects = Vec::new();
            match what {
                0 => drop(vantage.handle(now, Event::Judged { check: CheckIdx::at(pick.index(CHECKS)), judgement: judgement(health), failed: health == Health::Down }, &mut effects)),
                1 => drop(vantage.handle(now, Event::Looked { reached: u16::from(health == Health::Up), all: 1 }, &mut effects)),
                _ => drop(hear(&mut vantage, now, pool[pick.index(pool.len())])),
            }
            vantage.advance(now, &mut effects);
            prop_assert!(vantage.next_deadline().is_none_or(|at| at > now.tick));
            prove(&vantage, now.tick);
            settled(&vantage, now);
        }
        // Everything ends: nobody speaks any more, holds run out.
        now = now.after(UNPROVEN_HOLD * 2);
        vantage.advance(now, &mut Vec::new());
        prove(&vantage, now.tick);
        settled(&vantage, now);
        prop_assert_eq!(vantage.next_deadline(), None);
        prop_assert!(n_regions == 1 || vantage.slots.iter().all(|slot| !matches!(slot.standing.source, slot::Source::Proven(_))));
    }

    #[test]
    fn it_does_not_matter_how_late_time_is_noticed(histories in histories(), seconds in 1_u64..200, step in 100_u64..3000) {
        let start = now_at(Tick(10_000_000));
        let mut at_once = vantage(3);
        histories.iter().flatten().for_each(|report| drop(hear(&mut at_once, start, report)));
        let mut often = at_once.clone();
        let end = start.after(Duration::from_secs(seconds));
        let mut now = start;
        while now.tick < end.tick {
            often.advance(now, &mut Vec::new());
            now = now.after(Duration::from_millis(step));
        }
        often.advance(end, &mut Vec::new());
        at_once.advance(end, &mut Vec::new());
        prop_assert_eq!(seen(&at_once, end.tick), seen(&often, end.tick));
    }

    #[test]
    fn a_blind_observer_moves_nothing(histories in histories(), says in prop::collection::vec((0..CHECKS, health()), 1..20)) {
        let now = now_at(Tick(10_000_000));
        let mut vantage = vantage(3);
        histories.iter().flatten().for_each(|report| drop(hear(&mut vantage, now, report)));
        let keys = keys(&checks());
        let statements = says.iter().enumerate().map(|(i, (check, health))| Statement { check: keys[*check], sequence: i as u64 + 1, judgement: judgement(*health) });
        let report = Report {
            observer: "eu-blind".into(), region: "eu".into(), incarnation: 1, after: 0, sequence: 100, sight: Sight::Blind, age: Duration::ZERO,
            statements: statements.collect(),
        };
        let before: Vec<_> = vantage.slots.iter().map(|slot| slot.standing.clone()).collect();
        let own_sight = vantage.sight();
        let (handled, effects) = hear(&mut vantage, now, &report);
        prop_assert_eq!(handled, Ok(()));
        // That it lives is news: another region is heard.
        prop_assert!(own_sight != vantage.sight() || effects.is_empty(), "{:?}", effects);
        let after: Vec<_> = vantage.slots.iter().map(|slot| slot.standing.clone()).collect();
        prop_assert!(own_sight != vantage.sight() || before == after);
    }

    #[test]
    fn another_plan_and_back_changes_nothing(histories in histories(), kept in 0_u8..16) {
        let now = now_at(Tick(10_000_000));
        let mut vantage = vantage(3);
        histories.iter().flatten().for_each(|report| drop(hear(&mut vantage, now, report)));
        let all = checks();
        // The calculated check goes with the first two.
        let fewer: Vec<Check> = all[..CHECKS].iter().enumerate().filter(|(bit, _)| kept >> bit & 1 == 1).map(|(_, check)| check.clone()).rev().collect();
        let voices = |vantage: &Vantage| -> Vec<_> {
            (0..CHECKS).map(|position| {
                let mut voices = vantage.slots[position].voices.clone();
                voices.sort_by_key(|voice| voice.observer);
                (voices, opinion::proven(&vantage.slots[position].regions(3, |id| slot::column_of(&vantage.observers, &vantage.columns, id))).is_some())
            }).collect()
        };
        let before = voices(&vantage);
        vantage.reload(&fewer, |_| false, now, &mut Vec::new());
        settled(&vantage, now);
        vantage.reload(&all, |check| check.0 == 0, now, &mut Vec::new());
        settled(&vantage, now);
        prop_assert_eq!(voices(&vantage), before);
    }
}
