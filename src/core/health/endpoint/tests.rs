use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{
    health::drill,
    model::{
        check::{FailureCategory, Flap},
        time::{Human, Tick},
    },
    testing::{clock::now_at, script},
};

fn unjittered(state: &CheckState, cadence: &Cadence) -> Duration {
    match state.pace() {
        Pace::Steady => cadence.interval,
        Pace::Fast => cadence.fast_interval,
        Pace::Down => cadence.down_interval,
    }
}

/// `cadence …`, `TIME ok`, `TIME fail CATEGORY`, `TIME restart`, `TIME tell`.
fn run(script: &str) -> String {
    let (mut state, mut cadence, mut text) = (CheckState::default(), drill::cadence(&[]), String::new());
    for words in drill::lines(script) {
        if words[0] == "cadence" {
            cadence = drill::cadence(&words[1..]);
            continue;
        }
        let now = now_at(Tick(0) + script::duration(words[0]));
        let what = words[1..].join(" ");
        let done = match &words[1..] {
            ["tell"] => state.tell(&cadence).to_string(),
            ["restart"] => {
                state = CheckState::restore(&state.save(now), now);
                state.tell(&cadence).to_string()
            }
            outcome => {
                let recorded = state.record(&cadence, now, drill::observation(drill::outcome(outcome)));
                let moved = recorded.transition.map_or_else(
                    || match recorded.touch {
                        None => "nothing changed".to_owned(),
                        Some(touch) => format!("{} touched", if touch == Touch::Verdict { "verdict" } else { "time to live" }),
                    },
                    |transition| transition.to_string(),
                );
                let (next, change) = (unjittered(&state, &cadence), state.next_change(&cadence));
                format!("probe again in {}, may change in {}  {moved}", Human(next), Human(change))
            }
        };
        writeln!(text, "{:>7}  {what:<22}  {done}", words[0]).unwrap();
    }
    text
}

#[test]
fn scripts() {
    script::check_scripts("health", "endpoint", run);
}

#[test]
fn a_state_is_small() {
    assert!(size_of::<CheckState>() <= 56, "{} octets", size_of::<CheckState>());
}

#[test]
fn jitter_stays_within_five_percent_and_never_touches_fast_probes() {
    let cadence = drill::cadence(&[]);
    let mut state = CheckState::default();
    assert_eq!(state.pause(&cadence, 7), cadence.fast_interval);
    let mut pauses = Vec::new();
    for round in 0..1000 {
        state.record(&cadence, now_at(Tick(round)), drill::observation(Outcome::Passed));
        let pause = state.pause(&cadence, 7);
        assert_eq!(pause, state.pause(&cadence, 7));
        assert!((28_500..=31_500).contains(&pause.as_millis()), "{pause:?}");
        pauses.push(pause);
    }
    let mean = pauses.iter().sum::<Duration>() / 1000;
    assert!((29_900..30_100).contains(&mean.as_millis()), "{mean:?}");
    pauses.sort();
    assert!(pauses[0] < Duration::from_millis(28_600) && pauses[999] > Duration::from_millis(31_400), "the whole range is used");
}

#[test]
fn zero_intervals_do_not_become_a_loop() {
    let cadence = drill::cadence(&["interval=0s", "fast=0s", "down=0s", "fall=0", "rise=0", "flap=0s", "rise_max=0"]);
    let mut state = CheckState::default();
    for (round, outcome) in [["ok"].as_slice(), &["fail", "connect"], &["ok"]].into_iter().cycle().take(9).enumerate() {
        state.record(&cadence, now_at(Tick(round as u64)), drill::observation(drill::outcome(outcome)));
        assert!(state.pause(&cadence, 1) >= PAUSE_MIN && state.next_change(&cadence) >= PAUSE_MIN);
    }
}

#[test]
fn timings_and_recent_outcomes_are_kept() {
    let (cadence, mut state) = (drill::cadence(&[]), CheckState::default());
    let ms = Duration::from_millis;
    let timings = Timings { connect: Some(ms(1)), tls: None, first_byte: Some(Duration::MAX), total: ms(7) };
    for round in 0_u64..30 {
        let outcome = if round == 28 { drill::outcome(&["fail", "slow"]) } else { Outcome::Passed };
        state.record(&cadence, now_at(Tick(round)), Observation { outcome, timings });
    }
    assert_eq!(state.recent().map(u8::from).collect::<Vec<_>>(), [[1, 0].as_slice(), &[1; 18]].concat());
    assert_eq!((state.timings().connect, state.timings().tls, state.timings().total), (Some(ms(1)), None, ms(7)));
    assert!(state.timings().first_byte > Some(ms(4_000_000)), "what does not fit is shown as the longest");
    assert_eq!((state.counts(), state.in_a_row()), ((29, 1), (1, 0)));
    assert_eq!(state.last_failure().map(|(failure, _)| failure.category), Some(FailureCategory::Slow));
}

prop_compose! {
    fn any_cadence()(
        (interval, fast, down) in (1_u64..60, 1_u64..10, 1_u64..30),
        (fall, rise) in (1_u16..6, 1_u16..6),
        (window, rise_max) in (0_u64..300, 0_u16..40),
    ) -> Cadence {
        let seconds = Duration::from_secs;
        Cadence {
            interval: seconds(interval.max(fast)),
            fast_interval: seconds(fast),
            down_interval: seconds(down.max(fast)),
            timeout: seconds(1),
            fall,
            rise,
            ok_run: 10,
            flap: Flap { window: seconds(window), rise_max },
        }
    }
}

/// Outcomes in runs, so that thresholds are reached.
fn any_outcomes() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec((any::<bool>(), 1_usize..12), 0..20)
        .prop_map(|runs| runs.into_iter().flat_map(|(passed, n)| std::iter::repeat_n(passed, n)).collect())
}

fn shown(passed: bool) -> Observation {
    drill::observation(drill::outcome(if passed { &["ok"] } else { &["fail", "connect"] }))
}

proptest! {
    #[test]
    fn thresholds_rule_and_damping_follows_the_drops(cadence in any_cadence(), outcomes in any_outcomes()) {
        let (mut state, mut now) = (CheckState::default(), Duration::ZERO);
        let (mut run, mut last, mut drops, mut needed) = (0_u16, None, Vec::<Duration>::new(), 1_u16);
        let mut returned_at = None;
        for passed in outcomes {
            now += unjittered(&state, &cadence);
            run = if last == Some(passed) { run + 1 } else { 1 };
            last = Some(passed);
            let before = state.health();
            let recorded = state.record(&cadence, now_at(Tick(0) + now), shown(passed));
            let expected = match before {
                _ if passed && run >= needed => Health::Up,
                _ if !passed && run >= cadence.fall => Health::Down,
                before => before,
            };
            prop_assert_eq!(state.health(), expected);
            prop_assert_eq!(recorded.transition.is_some(), before != expected);
            if (before, expected) == (Health::Up, Health::Down) {
                let recent = drops.iter().filter(|drop| cadence.flap.window > Duration::ZERO && now - **drop <= cadence.flap.window).count();
                let doubled = (u64::from(cadence.rise) << recent.min(16)).min(cadence.flap.rise_max.into()).max(cadence.rise.into());
                needed = u16::try_from(doubled).unwrap();
                drops.push(now);
            } else if (before, expected) == (Health::Unknown, Health::Down) {
                needed = cadence.rise;
            }
            if expected == Health::Down {
                prop_assert_eq!(state.needed(&cadence), needed);
                prop_assert!(needed >= cadence.rise && needed <= cadence.rise.max(cadence.flap.rise_max));
            }
            let returned = (before, expected) == (Health::Down, Health::Up);
            returned_at = match expected {
                _ if returned => Some(now_at(Tick(0) + now).wall),
                Health::Down => None,
                _ => returned_at,
            };
            prop_assert_eq!(state.returned_at(), returned_at);
        }
    }

    #[test]
    fn next_change_is_the_time_that_the_worst_run_of_outcomes_takes(cadence in any_cadence(), outcomes in any_outcomes()) {
        let (mut state, mut now) = (CheckState::default(), Duration::ZERO);
        for passed in outcomes {
            now += unjittered(&state, &cadence);
            state.record(&cadence, now_at(Tick(0) + now), shown(passed));
            let (mut other, mut taken) = (state.clone(), Duration::ZERO);
            let to_change = other.health() != Health::Up;
            while other.health() == state.health() {
                taken += unjittered(&other, &cadence);
                other.record(&cadence, now_at(Tick(0) + now + taken), shown(to_change));
            }
            prop_assert_eq!(state.next_change(&cadence), taken);
        }
    }

    #[test]
    fn one_observation_alone_never_takes_down(cadence in any_cadence(), at in 0_usize..50) {
        let cadence = Cadence { fall: cadence.fall.max(2), ..cadence };
        let mut state = CheckState::default();
        for round in 0..50 {
            let recorded = state.record(&cadence, now_at(Tick(round as u64)), shown(round != at || at == 0));
            prop_assert_eq!(state.health(), Health::Up);
            let routine = round != at && round != at + 1 && round != 0;
            prop_assert!(!routine || recorded == Recorded::default() || at == 0, "a routine success reports nothing");
        }
    }

    #[test]
    fn going_down_is_never_delayed(cadence in any_cadence(), outcomes in any_outcomes()) {
        let mut state = CheckState::default();
        for (round, passed) in outcomes.into_iter().enumerate() {
            state.record(&cadence, now_at(Tick(round as u64)), shown(passed));
        }
        for _ in 0..cadence.fall {
            state.record(&cadence, now_at(Tick(1_000)), shown(false));
        }
        prop_assert_eq!(state.health(), Health::Down);
    }

    #[test]
    fn saving_and_restoring_keeps_what_matters(cadence in any_cadence(), outcomes in any_outcomes(), moved in 0_u64..1_000_000_000) {
        let (mut state, mut now) = (CheckState::default(), Duration::ZERO);
        for passed in outcomes {
            now += unjittered(&state, &cadence);
            state.record(&cadence, now_at(Tick(0) + now), shown(passed));
        }
        let now = now_at(Tick(0) + now);
        let saved = state.save(now);
        // Another process: its ticks start anew, possibly later than those of the drops.
        let then = Now { tick: Tick(moved), wall: now.wall };
        let restored = CheckState::restore(&saved, then);
        prop_assert_eq!(&restored.save(then), &saved);
        prop_assert_eq!(serde_json::from_str::<saved::SavedState>(&serde_json::to_string(&saved).unwrap()).unwrap(), saved);
        prop_assert_eq!((restored.health(), restored.since(), restored.returned_at()), (state.health(), state.since(), state.returned_at()));
        prop_assert_eq!(restored.needed(&cadence), state.needed(&cadence));
        prop_assert!(!restored.is_judged());
    }
}
