//! Courses over a member that a manager runs: what is asked for, in which order, and what is never taken for a fence.

use super::*;
use crate::{
    failover::{
        agent::{Database, Work},
        engine::{Act, Course as _, Next},
        evidence::Stream,
        token::Token,
    },
    model::ids::Label,
};

const TOKEN: Token = Token { generation: 1, epoch: 9 };

/// A manager that does what it is told, at once.
fn obey(seen: &mut Seen, call: &Call) {
    assert_eq!(call.token, TOKEN);
    match &call.verb {
        Verb::Fence => (seen.role, seen.fenced, seen.upstream) = (Role::Stopped, true, Upstream::Nobody),
        Verb::Seal => (seen.upstream, seen.stream) = (Upstream::Nobody, Stream::Down),
        Verb::Drain(position) => seen.applied = Some(*position),
        Verb::Unseal => seen.fenced = false,
        Verb::Promote { above } => (seen.role, seen.timeline) = (Role::Primary, above + 1),
        Verb::Verify => {
            seen.opening = Some(crate::failover::agent::Opening { token: TOKEN, timeline: seen.timeline, at: 40 });
        }
        Verb::Rejoin(source) => {
            (seen.role, seen.fenced) = (Role::Replica, false);
            (seen.upstream, seen.stream) = (Upstream::Member(source.region.clone()), Stream::Up { silent_for: std::time::Duration::ZERO });
        }
    }
}

fn run(seen: &mut Seen, work: Work) -> (Vec<&'static str>, Next<Call>) {
    let source = Source { region: Label::new("eu"), host: "10.0.0.2".to_owned(), port: 5432 };
    let mut course = Course::new(work, TOKEN, 4);
    let mut done = Vec::new();
    loop {
        match course.next(seen, Some(&source)) {
            Next::Do(call) => {
                obey(seen, &call);
                course.did(&call);
                done.push(call.verb.word());
                assert!(done.len() < 9, "{done:?}");
            }
            end => return (done, end),
        }
    }
}

fn replica() -> Seen {
    let upstream = Upstream::Member(Label::new("us"));
    Seen { role: Role::Replica, system: 7, timeline: 1, position: Some(50), applied: Some(45), upstream, ..Seen::default() }
}

fn primary() -> Seen {
    Seen { role: Role::Primary, system: 7, timeline: 1, position: Some(50), ..Seen::default() }
}

#[test]
fn each_work_asks_for_what_is_left_and_nothing_twice() {
    let follow = || Work::Follow { upstream: Label::new("eu"), reclone: false };
    let drain = |position| Work::Drain { position, fetch_from: None };
    let fenced = || Seen { role: Role::Stopped, fenced: true, ..primary() };
    let sealed = || Seen { upstream: Upstream::Nobody, ..replica() };
    let cases: [(Seen, Work, &[&str]); 9] = [
        (primary(), Work::Mark, &["fence"]),
        (primary(), Work::Stop, &["fence"]),
        (replica(), Work::Seal, &["seal"]),
        (sealed(), drain(50), &["drain"]),
        (sealed(), Work::Promote, &["promote"]),
        (fenced(), Work::Start, &["unseal", "promote"]),
        (primary(), Work::Sign, &["verify"]),
        (replica(), follow(), &["rejoin"]),
        (fenced(), follow(), &["rejoin"]),
    ];
    for (mut seen, work, does) in cases {
        assert_eq!(run(&mut seen, work.clone()), (does.to_vec(), Next::Done), "{work:?}");
        // By which token it is fenced does not show.
        let again = if matches!(work, Work::Mark | Work::Stop) { does } else { &[] };
        assert_eq!(run(&mut seen, work.clone()), (again.to_vec(), Next::Done), "{work:?} again");
    }
}

#[test]
fn what_cannot_be_is_said_and_what_is_unknown_is_waited_for() {
    let fails = |mut seen: Seen, work: Work| match run(&mut seen, work) {
        (did, Next::Fail(why)) if did.is_empty() => why,
        other => panic!("{other:?}"),
    };
    assert!(fails(primary(), Work::Seal).contains("fenced, not sealed"));
    assert!(fails(primary(), Work::Follow { upstream: Label::new("eu"), reclone: false }).contains("fenced first"));
    assert!(fails(replica(), Work::Sign).contains("takes no writes"));
    let beyond = Work::Drain { position: 60, fetch_from: Some(Label::new("ap")) };
    assert!(fails(replica(), beyond).contains("ends at 50, before 60, and ap has the rest"));
    for work in [Work::Seal, Work::Promote, Work::Start, Work::Sign, Work::Follow { upstream: Label::new("eu"), reclone: false }] {
        assert!(matches!(run(&mut Seen::default(), work.clone()), (did, Next::Wait(_)) if did.is_empty()), "{work:?}");
    }
    // Whoever is stopped says where it ended, when its manager does.
    let open_ended = Seen { fenced: true, position: None, upstream: Upstream::Nobody, ..replica() };
    let mut course = Course::new(Work::Stop, TOKEN, 0);
    let Next::Do(call) = course.next(&open_ended, None) else { panic!("it may be fenced by an older token") };
    course.did(&call);
    assert!(matches!(course.next(&open_ended, None), Next::Wait(why) if why.contains("where it ends")));
    // A fence is asked for whatever is known.
    let mut course = Course::new(Work::Mark, TOKEN, 0);
    let Next::Do(call) = course.next(&Seen::default(), None) else { panic!("it is asked for") };
    course.did(&call);
    assert!(matches!(course.next(&Seen::default(), None), Next::Wait(why) if why.contains("does not show")));
}

#[test]
fn only_a_fence_that_is_shown_is_one_and_only_a_lease_lifts_it() {
    let at = Label::new("us");
    let marked = |seen: &Seen| facts(seen, &at, Some(1));
    let liar = marked(&Seen { fenced: true, ..primary() });
    assert_eq!((liar.database, liar.stopped), (Database::Writes, None), "what takes writes is no fenced one");
    let mut course = Course::new(Work::Mark, TOKEN, 0);
    assert!(matches!(course.next(&Seen { fenced: true, ..primary() }, None), Next::Do(_)));
    let unknown = marked(&Seen { fenced: true, ..Seen::default() });
    assert_eq!((unknown.database, unknown.copy, unknown.stopped), (Database::Unknown, None, None));
    let fenced = marked(&Seen { fenced: true, role: Role::Stopped, ..primary() });
    assert_eq!((fenced.database, fenced.is_marked, fenced.stopped.unwrap().position), (Database::Down, true, 50));
    let sealed = marked(&Seen { upstream: Upstream::Nobody, ..replica() });
    assert_eq!((sealed.database, sealed.stopped), (Database::Standby { receives_from: None }, None));
    assert_eq!((sealed.copy.as_ref().unwrap().position, sealed.copy.unwrap().replayed), (50, 45));
    assert_eq!(sealed.lives_under, None, "no supervisor stands under it");
    let opens = |verb| Course::act(&Seen::default(), &Call { token: TOKEN, verb }) == Act::Engine { opens: true };
    assert!(opens(Verb::Unseal) && opens(Verb::Promote { above: 0 }) && !opens(Verb::Fence) && !opens(Verb::Verify));
}

#[test]
fn a_probe_is_read_with_what_it_has_and_the_token_stands_for_a_timeline() {
    let is_member = |region: &Label| region.as_str() == "us";
    let read = |text: &str| Probe::parse(text.as_bytes()).map(|probe| probe.seen(is_member));
    let least = read(r#"{"role": "replica", "system": 7}"#).unwrap();
    assert_eq!(least, Seen { role: Role::Replica, system: 7, ..Seen::default() });
    let whole = r#"{"role": "replica", "system": 7, "position": 5, "applied": 4, "receives_from": "us", "streams": true, "silent_ms": 20,
        "opening": {"generation": 1, "epoch": 33, "at": 3}, "runs": "node-2", "more": []}"#;
    let whole = read(whole).unwrap();
    assert_eq!((whole.upstream.clone(), whole.stream.is_up(), whole.line()), (Upstream::Member(Label::new("us")), true, 33));
    assert_eq!(facts(&whole, &Label::new("eu"), None).opening.unwrap().timeline, 33);
    assert_eq!(read(r#"{"role": "replica", "system": 7, "receives_from": "mars"}"#).unwrap().upstream, Upstream::Elsewhere);
    for bad in ["", "nonsense", "[]", r#"{"role": "king", "system": 7}"#, r#"{"role": "primary"}"#, r#"{"role": "primary", "system": -1}"#]
    {
        assert!(matches!(read(bad), Err(Unreadable::NoAnswer(_))), "{bad}");
    }
    assert_eq!(Probe::parse(&vec![b' '; PROBE_OCTETS_MAX + 1]), Err(Unreadable::TooLong));
}
