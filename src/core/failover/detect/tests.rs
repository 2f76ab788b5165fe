//! What the detector does in scenarios, and the bounds that hold in all.

use std::{collections::BTreeSet, time::Duration};

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{Action, Case, Detector, Foreseen, Noticed, Patience, Sights, Stand};
use crate::{
    failover::{
        evidence::{Picture, Standby, Stream, Views, Word},
        grounds::Attestation,
        step::Step,
    },
    model::{group::policy, ids::Label, time::Tick, verdict::Health},
    recovery::{exposure::Bracket, observed::Notice},
    testing::{clock::now_at, script::check_scripts},
};

#[test]
fn scripts() {
    check_scripts("detect", "", super::play::play);
}

struct Nothing;

impl Sights for Nothing {
    fn is_down(&self, _: &Label) -> bool {
        false
    }

    fn estimate(&self, _: &Label) -> Bracket {
        Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) }
    }
}

/// What is seen for some seconds.
#[derive(Clone, Debug)]
struct Stretch {
    seconds: u64,
    failing: u16,
    passing: u16,
    hears: bool,
    agent: Option<Word>,
    attests: [Attestation; 2],
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let agent = prop_oneof![4 => Just(None), 4 => Just(Some(Word::GaveUp)), 1 => Just(Some(Word::Serves))];
    let one = prop_oneof![4 => Just(Attestation::Failing), 1 => Just(Attestation::Working), 1 => Just(Attestation::Abstains)];
    // Mostly failing, so that decisions are common.
    let views = prop_oneof![6 => Just((3_u16, 0_u16)), 3 => Just((2, 0)), 1 => Just((1, 1)), 1 => Just((0, 3))];
    (1_u64..90, views, prop::bool::weighted(0.1), agent, [one.clone(), one])
        .prop_map(|(seconds, (failing, passing), hears, agent, attests)| Stretch { seconds, failing, passing, hears, agent, attests })
}

/// Plays stretches; every decision is held against what was true second by second. How many there were.
fn check(stretches: &[Stretch]) -> Result<u32, TestCaseError> {
    let (name, group, policy) = (Label::new("orders"), super::play::adopted_by_us(), policy("us", &["us", "eu"]));
    let mut detector = Detector::new(Patience::default());
    let attesting: BTreeSet<Label> = ["ap", "eu"].into_iter().map(Label::new).collect();
    let stand = Stand { attesting: attesting.clone(), plan_revision: 1, free: 3, ..Stand::default() };
    // Of the last second: when the primary was proven to work, or a standby heard it, or its agent said that it serves.
    let (mut at, mut spoke, mut asked, mut n_decided) = (0_u64, 0_u64, None, 0);
    for it in stretches {
        for _ in 0..it.seconds {
            at += 1;
            let now = now_at(Tick(at * 1_000_000));
            let views = Views { failing: it.failing, passing: it.passing, silent: 3 - it.failing - it.passing, late: 0 };
            let stream = if it.hears { Stream::Up { silent_for: Duration::ZERO } } else { Stream::Down };
            let standbys = vec![Standby { region: "eu".into(), stream, lag_grows: false }];
            if views.proven() == Health::Up || views.proven() == Health::Down && (it.hears || it.agent == Some(Word::Serves)) {
                spoke = at;
            }
            detector.see(&name, &group, &policy, &Picture { views, failing_for: None, standbys, agent: it.agent }, now);
            let case = Case { name: &name, group: &group, policy: &policy, stand: stand.clone() };
            for action in detector.decide(&[case], &Nothing, now) {
                match action {
                    Action::Ask { question, .. } => {
                        asked = Some((at, it.attests));
                        for (region, what) in attesting.iter().zip(it.attests) {
                            detector.attested(&name, question, region, what);
                        }
                    }
                    Action::Propose { step: Step::Decide(decide), .. } => {
                        n_decided += 1;
                        let grounds = decide.grounds.unwrap();
                        prop_assert!(grounds.evidence.allows_promotion() && views.proven() == Health::Down && !it.hears);
                        prop_assert!(grounds.rounds.len() >= 3);
                        let span = grounds.rounds.last().unwrap().since(*grounds.rounds.first().unwrap());
                        prop_assert!(span <= policy.failure_window, "{span:?}");
                        prop_assert!(at - spoke >= policy.confirm_hold.as_secs(), "decided at {at}, and it spoke at {spoke}");
                        let (asked_at, attests) = asked.unwrap();
                        prop_assert!(at - asked_at <= 10, "asked at {asked_at}, decided at {at}");
                        prop_assert_eq!(attests, [Attestation::Failing; 2], "both of two are more than half");
                    }
                    Action::Propose { step, .. } => prop_assert!(false, "{step}"),
                }
            }
            prop_assert!(detector.next_deadline().is_some_and(|due| due > now.tick));
        }
    }
    Ok(n_decided)
}

proptest! {
    #[test]
    fn a_decision_has_all_its_grounds(stretches in prop::collection::vec(stretch(), 1..20)) {
        check(&stretches)?;
    }
}

#[test]
fn decisions_are_common_enough_to_prove_something() {
    let (mut runner, mut decided) = (TestRunner::deterministic(), 0);
    for _ in 0..200 {
        let stretches = prop::collection::vec(stretch(), 20).new_tree(&mut runner).unwrap().current();
        decided += check(&stretches).unwrap();
    }
    assert!(decided > 50, "{decided} decisions in 200 runs");
}

/// When each of both decides for the first time: automation, and what is observed of it where it may not.
fn first_decisions(stretches: &[Stretch]) -> [Option<u64>; 2] {
    let (name, group, policy) = (Label::new("orders"), super::play::adopted_by_us(), policy("us", &["us", "eu"]));
    let [mut detector, mut forbidden] = [(); 2].map(|()| Detector::new(Patience::default()));
    let attesting: BTreeSet<Label> = ["ap", "eu"].into_iter().map(Label::new).collect();
    let stand = |vetoes| Stand { vetoes, attesting: attesting.clone(), plan_revision: 1, free: 3, ..Stand::default() };
    let case = |vetoes| Case { name: &name, group: &group, policy: &policy, stand: stand(vetoes) };
    let (drill, mut trial, mut at, mut firsts) = (super::play::observation(), None, 0_u64, [None, None]);
    for it in stretches {
        for _ in 0..it.seconds {
            at += 1;
            let now = now_at(Tick(at * 1_000_000));
            let views = Views { failing: it.failing, passing: it.passing, silent: 3 - it.failing - it.passing, late: 0 };
            let stream = if it.hears { Stream::Up { silent_for: Duration::ZERO } } else { Stream::Down };
            let standbys = vec![Standby { region: "eu".into(), stream, lag_grows: false }];
            let picture = Picture { views, failing_for: None, standbys, agent: it.agent };
            for detector in [&mut detector, &mut forbidden] {
                detector.see(&name, &group, &policy, &picture, now);
            }
            let trial = trial.get_or_insert_with(|| forbidden.trial(&name).unwrap());
            trial.see(&group, &policy, &picture, now);
            for action in detector.decide(&[case(Vec::new())], &Nothing, now) {
                match action {
                    Action::Ask { question, .. } => {
                        attesting.iter().zip(it.attests).for_each(|(region, what)| detector.attested(&name, question, region, what));
                    }
                    Action::Propose { .. } => _ = firsts[0].get_or_insert(at),
                }
            }
            let vetoes = vec!["the mode is observe".to_owned()];
            assert_eq!(forbidden.decide(&[case(vetoes.clone())], &Nothing, now), []);
            for noticed in trial.look(&forbidden, &case(vetoes), &drill, &Nothing, Foreseen::default, now) {
                match noticed {
                    Noticed::Ask { question, .. } => {
                        attesting.iter().zip(it.attests).for_each(|(region, what)| trial.attested(question, region, what));
                    }
                    Noticed::Note(Notice::Would(_)) => _ = firsts[1].get_or_insert(at),
                    Noticed::Note(_) => {}
                }
            }
            if firsts[0].is_some() {
                return firsts;
            }
        }
    }
    firsts
}

proptest! {
    /// What is observed is what would be decided, to the second.
    #[test]
    fn what_is_observed_is_what_would_be_decided(stretches in prop::collection::vec(stretch(), 1..20)) {
        let [decided, observed] = first_decisions(&stretches);
        prop_assert_eq!(decided, observed);
    }
}

#[test]
fn who_is_not_adopted_is_not_watched() {
    let (name, mut group, policy) = (Label::new("orders"), super::play::adopted_by_us(), policy("us", &["us", "eu"]));
    let mut detector = Detector::new(Patience::default());
    let now = now_at(Tick(1));
    let picture = Picture { views: Views { failing: 3, ..Views::default() }, failing_for: None, standbys: Vec::new(), agent: None };
    detector.see(&name, &group, &policy, &picture, now);
    assert!(detector.evidence(&name).is_some());
    detector.retain(|_| true);
    group.grant = None;
    detector.see(&name, &group, &policy, &picture, now);
    assert_eq!((detector.evidence(&name), detector.next_deadline()), (None, None));
    detector.see(&name, &super::play::adopted_by_us(), &policy, &picture, now);
    detector.retain(|_| false);
    assert_eq!(detector.evidence(&name), None);
}

/// The leader's wall clock is an hour off while the primary begins to fail, and is put right before it is decided.
#[test]
fn what_a_decision_stands_on_is_dated_by_the_clock_of_that_moment() {
    const FAILS: u64 = 100;
    let at = |second: u64| now_at(Tick(second * 1_000_000));
    for hour in [3_600_000, -3_600_000] {
        let (name, group, policy) = (Label::new("orders"), super::play::adopted_by_us(), policy("us", &["us", "eu"]));
        let mut detector = Detector::new(Patience::default());
        let attesting: BTreeSet<Label> = ["ap", "eu"].into_iter().map(Label::new).collect();
        let stand = Stand { attesting: attesting.clone(), plan_revision: 1, free: 3, ..Stand::default() };
        let decided = (1..=400).find_map(|second| {
            let mut now = at(second);
            now.wall.0 += if (FAILS - 3..FAILS + 3).contains(&second) { hour } else { 0 };
            let failing = if second > FAILS { 3 } else { 0 };
            let views = Views { failing, passing: 3 - failing, ..Views::default() };
            let failing_for = (failing > 0).then(|| now.wall.since(at(FAILS).wall));
            let (stream, agent) =
                if failing > 0 { (Stream::Down, None) } else { (Stream::Up { silent_for: Duration::ZERO }, Some(Word::Serves)) };
            let standbys = vec![Standby { region: "eu".into(), stream, lag_grows: false }];
            detector.see(&name, &group, &policy, &Picture { views, failing_for, standbys, agent }, now);
            let case = Case { name: &name, group: &group, policy: &policy, stand: stand.clone() };
            let actions = detector.decide(&[case], &Nothing, now);
            actions.into_iter().find_map(|action| match action {
                Action::Ask { question, .. } => {
                    attesting.iter().for_each(|region| detector.attested(&name, question, region, Attestation::Failing));
                    None
                }
                Action::Propose { step: Step::Decide(decide), .. } => Some((second, decide.grounds.unwrap())),
                other => panic!("{other:?}"),
            })
        });
        let (second, grounds) = decided.expect("it is failed over");
        let impact = at(FAILS).wall;
        // No further off than a round, whatever the clock said then.
        let off = grounds.impact.since(impact).max(impact.since(grounds.impact));
        assert!(off <= policy.probe_interval, "{off:?} with {hour} ms: {grounds:?}");
        let rounds = &grounds.rounds;
        assert!(rounds.is_sorted() && impact <= rounds[0] && rounds[2] <= grounds.detected, "{hour} ms: {grounds:?}");
        assert!(at(second).wall.since(grounds.detected) >= policy.confirm_hold, "{hour} ms: {grounds:?}");
    }
}

/// Clients wait for it: the hold is looked at when it is over, not with the next round, and what could not be proposed is proposed at the next look.
#[test]
fn the_end_of_the_hold_is_due_and_so_is_what_another_step_kept_back() {
    let (name, group) = (Label::new("orders"), super::play::adopted_by_us());
    let mut policy = policy("us", &["us", "eu"]);
    // No round ends half a second after a full one.
    (policy.probe_interval, policy.confirm_hold) = (Duration::from_secs(10), Duration::from_millis(3500));
    let mut detector = Detector::new(Patience::default());
    let attesting: BTreeSet<Label> = [Label::new("eu")].into();
    let stand = Stand { attesting: attesting.clone(), plan_revision: 1, free: 3, ..Stand::default() };
    let standbys = vec![Standby { region: "eu".into(), stream: Stream::Down, lag_grows: false }];
    let views = Views { failing: 3, ..Views::default() };
    let picture = Picture { views, failing_for: None, standbys, agent: Some(Word::GaveUp) };
    let mut suspected = None;
    for second in 1..60 {
        let now = now_at(Tick(second * 1_000_000));
        detector.see(&name, &group, &policy, &picture, now);
        let due = detector.next_deadline().unwrap().since(now.tick);
        if due == policy.confirm_hold {
            suspected = Some(second);
            break;
        }
    }
    let held = now_at(Tick(suspected.unwrap() * 1_000_000) + policy.confirm_hold);
    detector.see(&name, &group, &policy, &picture, held);
    assert!(detector.next_deadline().unwrap().since(held.tick) > Duration::from_secs(1), "it is over, and not due again");
    let mut decides = || {
        let case = || [Case { name: &name, group: &group, policy: &policy, stand: stand.clone() }];
        for action in detector.decide(&case(), &Nothing, held) {
            if let Action::Ask { question, .. } = action {
                attesting.iter().for_each(|region| detector.attested(&name, question, region, Attestation::Failing));
            }
        }
        detector.decide(&case(), &Nothing, held).iter().any(|action| matches!(action, Action::Propose { .. }))
    };
    assert!(decides());
    assert!(!decides(), "it is under way");
    detector.unproposed(&name, held.tick);
    let case = [Case { name: &name, group: &group, policy: &policy, stand }];
    assert!(matches!(detector.decide(&case, &Nothing, held)[..], [Action::Ask { .. }]), "asked anew, and proposed then");
}
