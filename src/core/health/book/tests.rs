use std::{collections::BTreeMap, fmt::Write as _};

use proptest::prelude::*;

use super::*;
use crate::{
    health::drill::{self, Target, World},
    model::{check::Probe, verdict::Health},
    testing::{clock::now_at, script},
};

type Plan = Vec<(String, Check)>;

/// `check NAME KIND …` declares; `plan NAME…` puts declared checks in force (the first line of its kind starts the daemon, later ones
/// reload); then `TIME NAME answers ok | answers fail CATEGORY | is lost`, `TIME beat NAME [unwell] [ago=…]` (told by another node), `TIME tell NAME`, `TIME judged`,
/// `TIME restart`, `TIME plan NAME…`, `TIME end`. What stands below is everything that the book reported.
fn run(script: &str) -> String {
    let (mut declared, mut plan, mut world, mut text) = (BTreeMap::<&str, Vec<&str>>::new(), Plan::new(), None::<World>, String::new());
    let select = |declared: &BTreeMap<&str, Vec<&str>>, names: &[&str]| -> Plan {
        names.iter().map(|name| ((*name).to_owned(), drill::parse_check(&declared[name], names))).collect()
    };
    for words in drill::lines(script) {
        match words.as_slice() {
            ["check", rest @ ..] => drop(declared.insert(rest[0], rest.to_vec())),
            ["plan", names @ ..] => {
                plan = select(&declared, names);
                world = Some(World::new(&plan, 1));
            }
            [time, command @ ..] => {
                let world = world.as_mut().expect("`plan` stands before the first time");
                world.run_until(Tick(0) + script::duration(time), |world, changes| text.push_str(&world.describe(&changes)));
                let mut changes = Changes::default();
                match command {
                    [name, "answers", outcome @ ..] => {
                        drop(world.targets.insert((*name).to_owned(), Target::Answers(drill::outcome(outcome))))
                    }
                    [name, "is", "lost"] => drop(world.targets.insert((*name).to_owned(), Target::Lost)),
                    ["beat", name, words @ ..] => {
                        let ago = words.iter().find_map(|word| word.strip_prefix("ago="));
                        let at = ago.map(|ago| Timestamp(world.now.wall.0 - i64::try_from(script::duration(ago).as_millis()).unwrap()));
                        let event = Event::Beat { name: (*name).to_owned(), ok: !words.contains(&"unwell"), at };
                        if let Err(rejected) = world.book.handle(world.now, event, &mut changes) {
                            writeln!(text, "{time:>10}  {rejected}").unwrap();
                        }
                    }
                    ["tell", name] => {
                        let check = world.position(name);
                        let next_change = drill::shown(world.book.verdict(check).next_change);
                        writeln!(text, "{time:>10}  {name}: {}, next change {next_change}", world.book.tell(check).unwrap()).unwrap();
                    }
                    ["judged"] => writeln!(text, "{time:>10}  {} not judged yet", world.book.n_unjudged()).unwrap(),
                    ["restart"] => world.restart(&plan, 2),
                    ["plan", names @ ..] => {
                        plan = select(&declared, names);
                        changes = world.reload(&plan);
                    }
                    ["end"] => {}
                    _ => panic!("{words:?} is not a line of a script"),
                }
                text.push_str(&world.describe(&changes));
            }
            [] => {}
        }
    }
    text
}

#[test]
fn scripts() {
    script::check_scripts("health", "book", run);
}

fn tcp(name: &str, words: &[&str]) -> (String, Check) {
    let all = [&[name, "tcp"], words].concat();
    (name.to_owned(), drill::parse_check(&all, &[name]))
}

fn passed() -> Observation {
    drill::observation(Outcome::Passed)
}

fn seconds(n: u64) -> Tick {
    Tick(n * 1_000_000)
}

#[test]
fn a_result_counts_once_and_a_late_one_never() {
    let mut world = World::new(&[tcp("a", &["address=192.0.2.1"])], 1);
    let (mut changes, at) = (Changes::default(), now_at(seconds(5)));
    let probe = world.book.due(at, 1, &mut changes)[0];
    assert_eq!(world.book.due(at, 1, &mut changes), []);
    let finished = Event::ProbeFinished { attempt: probe.attempt, observation: passed() };
    assert_eq!(world.book.handle(at, finished.clone(), &mut changes), Ok(()));
    let before = world.book.save(at);
    assert_eq!(world.book.handle(at, finished, &mut changes), Err(Rejected::NotInFlight));
    let late = world.book.due(now_at(seconds(50)), 1, &mut changes)[0];
    assert_eq!(world.book.due(now_at(seconds(57)), 1, &mut changes), []);
    assert_eq!(world.book.n_in_flight(), 0, "given up after timeout and grace");
    let late = Event::ProbeFinished { attempt: late.attempt, observation: passed() };
    assert_eq!(world.book.handle(now_at(seconds(58)), late, &mut changes), Err(Rejected::NotInFlight));
    assert_eq!(world.book.state(CheckIdx(0)).unwrap().in_a_row(), (0, 1));
    assert_eq!((before.len(), before[0].key.split(' ').take(2).collect::<Vec<_>>()), (1, vec!["tcp", "192.0.2.1:80"]));
}

/// What a book is told of another one's beats after it has missed some.
fn tell_beats(from: &Book, to: &mut Book, now: Now) -> Vec<Result<(), Rejected>> {
    let told: Vec<(String, Beat)> = from.beats().flat_map(|(name, beats)| beats.map(|beat| (name.to_owned(), beat))).collect();
    let hear = |(name, Beat { at, ok })| to.handle(now, Event::Beat { name, ok, at: Some(at) }, &mut Changes::default());
    told.into_iter().map(hear).collect()
}

#[test]
fn who_missed_beats_judges_as_the_others_when_it_is_told_of_them() {
    let words = ["batch", "heartbeat", "interval=1h", "fast=2s", "fall=3", "rise=2"];
    let plan = [("batch".to_owned(), drill::parse_check(&words, &["batch"]))];
    let (mut here, mut away) = (World::new(&plan, 1), World::new(&plan, 2));
    let push = |world: &mut World, ok| {
        let event = Event::Beat { name: "batch".to_owned(), ok, at: None };
        world.book.handle(world.now, event, &mut Changes::default()).unwrap();
    };
    for (n, ok) in [true, true, false, false, false].into_iter().enumerate() {
        here.run_until(seconds(60 * (n as u64 + 1)), |_, _| {});
        push(&mut here, ok);
        if n == 0 {
            away.run_until(here.now.tick, |_, _| {});
            assert_eq!(tell_beats(&here.book, &mut away.book, away.now), [Ok(())]);
        }
    }
    away.run_until(seconds(600), |_, _| {});
    assert_eq!(away.book.verdict(CheckIdx(0)).health, Health::Up);
    let known = || Err(Rejected::KnownBeat);
    assert_eq!(tell_beats(&here.book, &mut away.book, away.now), [known(), Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(away.book.verdict(CheckIdx(0)).health, Health::Down);
    assert_eq!(away.book.latest_beat("batch"), here.book.latest_beat("batch"));
    assert_eq!(away.book.next_deadline(true), here.book.next_deadline(true), "both wait for the next one equally long");
    assert!(tell_beats(&away.book, &mut here.book, away.now).iter().all(|told| *told == known()), "told back, nothing is new");

    // A push is later than any that was known, whatever the clock says; one from a clock that is far off is refused.
    here.run_until(seconds(601), |_, _| {});
    let before = here.book.latest_beat("batch").unwrap();
    here.now.wall = Timestamp(before.at.0 - 50_000);
    push(&mut here, true);
    assert_eq!(here.book.latest_beat("batch"), Some(Beat { at: Timestamp(before.at.0 + 1), ok: true }));
    let late = Event::Beat { name: "batch".to_owned(), ok: false, at: Some(here.now.wall + AHEAD_MAX + Duration::from_secs(1)) };
    assert_eq!(here.book.handle(here.now, late, &mut Changes::default()), Err(Rejected::BeatAhead));

    // What a process knew, the next one knows.
    let saved = here.book.beats().map(|(name, beats)| (name.to_owned(), beats.collect())).collect();
    here.restart(&plan, 3);
    here.book.restore_beats(saved);
    assert_eq!(tell_beats(&away.book, &mut here.book, here.now), [known(), known(), known(), known(), known()]);
}

#[test]
fn a_probe_in_flight_survives_a_reload_that_keeps_its_check_and_no_other() {
    let (a, b) = (tcp("a", &["address=192.0.2.1"]), tcp("b", &["address=192.0.2.2"]));
    let mut world = World::new(&[a, b.clone()], 1);
    let (mut changes, at) = (Changes::default(), now_at(seconds(5)));
    let probes = world.book.due(at, 2, &mut changes);
    let attempt = |check| probes.iter().find(|probe| probe.check == check).unwrap().attempt;
    let mut slower = b;
    slower.1.probe = tcp("b", &["address=192.0.2.2", "interval=60s"]).1.probe;
    world.reload(&[slower]);
    let finished = |attempt| Event::ProbeFinished { attempt, observation: passed() };
    assert_eq!(world.book.handle(at, finished(attempt(CheckIdx(0))), &mut changes), Err(Rejected::NotInFlight));
    assert_eq!(world.book.handle(at, finished(attempt(CheckIdx(1))), &mut changes), Ok(()));
    assert_eq!(world.book.verdict(CheckIdx(0)).health, Health::Up);
    assert!(world.book.next_probe(CheckIdx(0)).unwrap() > seconds(60), "the new interval applies");
}

#[test]
fn a_shorter_interval_applies_at_once() {
    let slow = [&["address=192.0.2.1", "interval=1h"][..], &["address=192.0.2.1", "interval=10s"]].map(|words| tcp("a", words));
    let mut world = World::new(&slow[..1], 1);
    world.run_until(seconds(60), |_, _| {});
    assert!(world.book.next_probe(CheckIdx(0)).unwrap() > seconds(3000));
    world.reload(&slow[1..]);
    assert!(world.book.next_probe(CheckIdx(0)).unwrap() < seconds(71));
    assert_eq!(world.book.verdict(CheckIdx(0)).health, Health::Up);
}

#[test]
fn lost_probes_are_given_up_although_there_is_no_room_for_another() {
    let mut world = World::new(&[tcp("a", &["address=192.0.2.1"]), tcp("b", &["address=192.0.2.2"])], 1);
    world.room = 1;
    world.targets.insert("a".to_owned(), Target::Lost);
    world.targets.insert("b".to_owned(), Target::Lost);
    world.run_until(seconds(120), |_, _| {});
    assert_eq!([CheckIdx(0), CheckIdx(1)].map(|check| world.book.verdict(check).health), [Health::Down; 2]);
    assert!(world.book.lateness(world.now.tick) < Duration::from_secs(15));
}

#[test]
fn a_circle_of_calculated_checks_stays_unknown() {
    let names = ["x", "y", "z"];
    let of = |name: &str, of: &str| (name.to_owned(), drill::parse_check(&[name, "calculated", of, "at_least=1"], &names));
    let mut world = World::new(&[of("x", "of=y"), of("y", "of=x"), of("z", "of=z,x")], 1);
    world.run_until(seconds(60), |_, _| {});
    assert_eq!([0, 1, 2].map(|position| world.book.verdict(CheckIdx(position)).health), [Health::Unknown; 3]);
    world.reload(&[]);
    assert!(world.book.is_empty() && world.book.verdict(CheckIdx(7)).health == Health::Unknown);
}

#[test]
fn the_first_round_is_spread_evenly_over_five_seconds() {
    let plan: Plan = (0..1000).map(|i| tcp(&format!("c{i}"), &[&format!("address=10.0.{}.{}", i / 250, i % 250)])).collect();
    let mut world = World::new(&plan, 1);
    world.run_until(seconds(6), |_, _| {});
    assert_eq!((world.starts.len(), world.book.n_unjudged()), (1000, 0));
    for second in 0..5 {
        let n = world.starts.iter().filter(|(at, _)| at.0 / 1_000_000 == second).count();
        assert!((150..250).contains(&n), "{n} probes in second {second}");
    }
}

#[test]
fn the_history_of_turns_is_bounded() {
    let mut world =
        World::new(&[tcp("a", &["address=192.0.2.1", "fall=1", "rise=1", "interval=1s", "fast=1s", "down=1s", "rise_max=1"])], 1);
    for round in 0..3 * TRANSITIONS_MAX as u64 {
        let outcome = if round % 2 == 0 { Target::Answers(Outcome::Passed) } else { Target::Answers(drill::outcome(&["fail", "tls"])) };
        world.targets.insert("a".to_owned(), outcome);
        world.run_until(seconds(2 * round), |_, _| {});
    }
    assert_eq!(world.book.turns().count(), TRANSITIONS_MAX);
    let newest_first: Vec<Timestamp> = world.book.turns().map(|turn| turn.transition.at).collect();
    assert!(newest_first.is_sorted_by(|a, b| a > b));
}

#[test]
fn sixty_thousand_checks_run_in_steady_state_without_a_word() {
    let plan: Plan =
        (0..60_000).map(|i| tcp("c", &[&format!("address=10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255), "interval=20s"])).collect();
    let checks: Vec<Check> = plan.into_iter().map(|(_, check)| check).collect();
    let mut book = Book::new(&checks, 1, now_at(Tick(0)));
    let (mut changes, mut n) = (Changes::default(), 0);
    for tenths in 1..=600 {
        let now = now_at(Tick(tenths * 100_000));
        for StartProbe { attempt, .. } in book.due(now, 10_000, &mut changes) {
            book.handle(now, Event::ProbeFinished { attempt, observation: passed() }, &mut changes).unwrap();
            n += 1;
        }
        if tenths == 50 {
            assert_eq!(std::mem::take(&mut changes).turns.len(), 60_000);
        }
    }
    assert!(changes.is_empty() && n > 100_000);
    assert!(size_of::<Slot>() <= 176, "{} octets a check", size_of::<Slot>());
}

/// What happens in a random world, with the pause before it.
#[derive(Clone, Debug)]
enum Twist {
    Target(usize, Target),
    Reload(u8),
    Restart,
    Room(usize),
    Beat(bool),
}

fn twist() -> impl Strategy<Value = (u64, Twist)> {
    let target = prop_oneof![
        Just(Target::Answers(Outcome::Passed)),
        Just(Target::Answers(drill::outcome(&["fail", "connect"]))),
        Just(Target::Answers(drill::outcome(&["fail", "status"]))),
        Just(Target::Lost),
    ];
    let what = prop_oneof![
        8 => (0_usize..4, target).prop_map(|(which, target)| Twist::Target(which, target)),
        2 => any::<u8>().prop_map(Twist::Reload),
        1 => Just(Twist::Restart),
        1 => (3_usize..10).prop_map(Twist::Room),
        3 => any::<bool>().prop_map(Twist::Beat),
    ];
    (0_u64..60, what)
}

/// The checks of `mask`, some with another cadence, and two that are calculated from all of them in a chain.
fn random_plan(mask: u8) -> Plan {
    let tcp_names: Vec<&str> =
        ["t0", "t1", "t2", "t3"].into_iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 0).map(|(_, name)| name).collect();
    let interval = if mask & 16 == 0 { "interval=20s" } else { "interval=10s" };
    let mut names = vec!["chain", "pool", "beat"];
    names.extend(&tcp_names);
    let of = format!("of={}", [&["beat"], tcp_names.as_slice()].concat().join(","));
    let declaration = |name: &str| match name {
        "chain" => vec!["calculated".to_owned(), "of=pool".to_owned(), "at_least=1".to_owned()],
        "pool" => vec!["calculated".to_owned(), of.clone(), "at_least=2".to_owned()],
        "beat" => vec!["heartbeat".to_owned(), interval.to_owned()],
        name => vec!["tcp".to_owned(), format!("address=192.0.2.{}", &name[1..]), interval.to_owned()],
    };
    names
        .iter()
        .map(|name| {
            let words = declaration(name);
            let words: Vec<&str> = std::iter::once(*name).chain(words.iter().map(String::as_str)).collect();
            ((*name).to_owned(), drill::parse_check(&words, &names))
        })
        .collect()
}

/// The longest time between two starts of one check: the longest pause, a lost probe, and a little waiting for room.
const SILENCE_MAX: Duration = Duration::from_secs(21 + 5 + 2 + 7);

proptest! {
    #[test]
    fn no_check_is_ever_forgotten(twists in prop::collection::vec(twist(), 1..40), seed: u64) {
        let mut plan = random_plan(0);
        let mut world = World::new(&plan, seed);
        let mut last: BTreeMap<String, Tick> = BTreeMap::new();
        for (pause, twist) in twists {
            let end = world.now.tick + Duration::from_secs(pause);
            world.run_until(end, |_, _| {});
            match twist {
                Twist::Target(which, target) => drop(world.targets.insert(format!("t{which}"), target)),
                Twist::Reload(mask) => {
                    plan = random_plan(mask);
                    world.reload(&plan);
                    last.retain(|name, _| plan.iter().any(|(known, _)| known == name));
                }
                Twist::Restart => world.restart(&plan, seed),
                Twist::Room(room) => world.room = room,
                Twist::Beat(ok) => {
                    let event = Event::Beat { name: "beat".to_owned(), ok, at: None };
                    prop_assert_eq!(world.book.handle(world.now, event, &mut Changes::default()), Ok(()));
                }
            }
            for (name, _) in plan.iter().filter(|(name, _)| name.starts_with('t')) {
                let first_seen = *last.entry(name.clone()).or_insert(world.now.tick);
                let latest = world.starts.iter().rev().find(|(_, started)| started == name).map_or(first_seen, |(at, _)| (*at).max(first_seen));
                last.insert(name.clone(), latest);
                prop_assert!(world.now.tick.since(latest) <= SILENCE_MAX, "{} was last probed at {:?}, now {:?}", name, latest, world.now.tick);
            }
            let unjudged = plan.iter().enumerate().filter(|(position, (name, _))| name.starts_with('t') && !world.book.is_judged(CheckIdx::at(*position)));
            prop_assert_eq!(world.book.n_unjudged(), unjudged.count());
        }
    }

    #[test]
    fn what_is_not_reported_did_not_change_and_calculated_checks_follow(twists in prop::collection::vec(twist(), 1..30), seed: u64) {
        let plan = random_plan(0);
        let mut world = World::new(&plan, seed);
        let essence = |world: &World| -> Vec<(Health, Option<FailureCategory>, Duration)> {
            (0..world.book.len()).map(|position| {
                let verdict = world.book.verdict(CheckIdx::at(position));
                let category = verdict.failure.filter(|_| verdict.health == Health::Down).map(|failure| failure.category);
                (verdict.health, category, verdict.next_change)
            }).collect()
        };
        let mut known = essence(&world);
        for (pause, twist) in twists {
            if let Twist::Target(which, target) = twist {
                world.targets.insert(format!("t{which}"), target);
            }
            let end = world.now.tick + Duration::from_secs(pause);
            world.run_until(end, |world, changes| {
                let after = essence(world);
                for (position, (old, new)) in known.iter().zip(&after).enumerate() {
                    let touch = changes.touched.get(&CheckIdx::at(position)).copied();
                    let expected = if (old.0, old.1) != (new.0, new.1) { Some(Touch::Verdict) } else if old.2 != new.2 { Some(Touch::NextChange) } else { None };
                    // Several changes of one step may cancel each other out; they are never missed.
                    assert!(touch >= expected, "check {position}: {old:?} -> {new:?} reported as {touch:?}");
                }
                known = after;
                let up = |names: &[&str]| names.iter().filter(|name| world.book.verdict(world.position(name)).health == Health::Up).count();
                let pool = world.book.verdict(world.position("pool")).health;
                assert_eq!(pool == Health::Up, up(&["beat", "t0", "t1", "t2", "t3"]) >= 2);
                assert_eq!(world.book.verdict(world.position("chain")).health, pool);
            });
        }
    }

    #[test]
    fn a_restart_says_what_was_said_last(twists in prop::collection::vec(twist(), 1..30), seed: u64) {
        let plan = random_plan(0);
        let mut world = World::new(&plan, seed);
        for (pause, twist) in twists {
            if let Twist::Target(which, target) = twist {
                world.targets.insert(format!("t{which}"), target);
            }
            let end = world.now.tick + Duration::from_secs(pause);
            world.run_until(end, |_, _| {});
        }
        let said = |world: &World| -> Vec<_> {
            (0..world.book.len()).map(CheckIdx::at).map(|check| {
                let verdict = world.book.verdict(check);
                (verdict.health, verdict.since, world.book.returned_at(check))
            }).collect()
        };
        let before = said(&world);
        world.restart(&plan, seed);
        prop_assert_eq!(said(&world), before);
        prop_assert_eq!(world.book.n_unjudged(), 4);
    }

    #[test]
    fn a_reload_of_the_same_checks_in_another_order_changes_nothing(mask in 0_u8..16, seed: u64, at in 1_u64..200) {
        let plan = random_plan(0);
        let mut world = World::new(&plan, seed);
        world.targets.insert("t1".to_owned(), Target::Answers(drill::outcome(&["fail", "connect"])));
        world.targets.insert("t2".to_owned(), Target::Lost);
        world.run_until(seconds(at), |_, _| {});
        let save = |world: &World| {
            let mut saved = world.book.save(world.now);
            saved.sort_by(|a, b| a.key.cmp(&b.key));
            saved
        };
        let (before, in_flight, turns) = (save(&world), world.book.n_in_flight(), world.book.turns().count());
        // The same checks, turned around: positions of all and of what is calculated change.
        let names: Vec<&str> = plan.iter().map(|(name, _)| name.as_str()).collect();
        let mut turned: Vec<&str> = names.clone();
        turned.rotate_left(usize::from(mask) % names.len());
        let moved: Plan = turned.iter().map(|name| {
            let (_, check) = plan.iter().find(|(known, _)| known == name).unwrap();
            let mut check = check.clone();
            if let ProbeKind::Calculated { of, at_least } = &check.probe.kind {
                let of = of.iter().map(|child| CheckIdx::at(turned.iter().position(|name| *name == names[child.get()]).unwrap())).collect();
                check.probe = Probe { kind: ProbeKind::Calculated { of, at_least: *at_least }, cadence: check.probe.cadence.clone() }.into();
            }
            ((*name).to_owned(), check)
        }).collect();
        prop_assert_eq!(world.reload(&moved).turns, []);
        prop_assert_eq!(save(&world), before);
        prop_assert_eq!((world.book.n_in_flight(), world.book.turns().count()), (in_flight, turns));
    }
}
