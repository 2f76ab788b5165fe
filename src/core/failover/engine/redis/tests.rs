//! Courses over a member that is written out: what is done, in which order, and that a course begun again anywhere does the rest.

use std::time::Duration;

use super::*;
use crate::{
    failover::{
        agent::{Database, Opening, Work},
        engine::{Course as _, Next},
        evidence::Stream,
        order::Role,
        token::Token,
    },
    model::ids::Label,
};

const TOKEN: Token = Token { generation: 1, epoch: 40 };

fn id(number: u32) -> ReplicationId {
    ReplicationId::new(&format!("{:040x}", number + 1)).unwrap()
}

/// One opening at 100, of the run 1.
fn line() -> Line {
    let token = Token { generation: 1, epoch: 10 };
    Line::new(7, Stretch { token, timeline: 3, id: id(1), forked: 100, began: 100, offset: 1000 })
}

/// What was opened after it, where `forked` is.
fn later(forked: u64) -> Line {
    let token = Token { generation: 1, epoch: 20 };
    line().with(Stretch { token, timeline: 4, id: id(2), forked, began: forked, offset: forked + 900 })
}

fn server(is_replica: bool) -> Server {
    Server {
        is_replica,
        id: id(1),
        earlier: None,
        offset: 1050,
        counts: true,
        is_loading: false,
        upstream: Upstream::Nobody,
        stream: Stream::Down,
        logs: true,
        line: Some(line()),
        beat: Some(140),
    }
}

fn running(server: Server) -> Seen {
    let note = Note::default().after(&server);
    let kept = Kept { note, has_data: true, has_log: server.logs, ..Kept::default() };
    Seen { process: Process::Ours(1), is_marked: server.is_replica, kept, server: Some(server), ..Seen::default() }
}

fn down(ran: Ran, logs: bool) -> Seen {
    let note = Note { ran: Some(ran), system: Some(7), line: Some(line()), logs, ..Note::default() };
    let kept = Kept { note, snapshot: Some((id(1), 1020)), has_log: logs, has_data: true, is_passed_over: false };
    Seen { process: Process::Down, kept, ..Seen::default() }
}

/// A primary that stopped cleanly at 150.
fn stopped(logs: bool) -> Seen {
    let mut seen = down(Ran::Primary, logs);
    seen.kept.note.stopping = Some((id(1), 1048));
    seen.kept.snapshot = Some((id(1), 1050));
    seen
}

fn primary(line: Line) -> Source {
    Source { is_replica: false, line: Some(line) }
}

fn follow() -> Work {
    Work::Follow { upstream: Label::new("eu"), reclone: false }
}

/// What a verb makes of a member.
fn apply(seen: &mut Seen, verb: &Verb, source: Option<&Source>) {
    match verb {
        Verb::Mark => seen.is_marked = true,
        Verb::Claim => seen.kept.note = seen.kept.opening(),
        Verb::Point(to) => {
            seen.upstream = to.clone().map_or(Upstream::Nobody, Upstream::Member);
            if let Some(server) = &mut seen.server {
                server.upstream = seen.upstream.clone();
                server.stream = if to.is_some() { Stream::Up { silent_for: Duration::ZERO } } else { Stream::Down };
            }
        }
        Verb::Start => {
            let mut server = server(seen.is_marked);
            server.line = seen.kept.note.line.clone();
            if let (true, Upstream::Member(_), Some(source)) = (seen.is_marked, &seen.upstream, source) {
                server.upstream = seen.upstream.clone();
                server.stream = Stream::Up { silent_for: Duration::ZERO };
                server.line.clone_from(&source.line);
            } else if seen.kept.has_log {
                (server.id, server.offset, server.counts) = (id(9), 0, false);
            }
            seen.process = Process::Ours(1);
            seen.server = Some(server);
        }
        Verb::Quiesce => {
            let server = seen.server.as_ref().unwrap();
            seen.kept.note.stopping = (!server.is_replica).then(|| (server.id.clone(), server.offset));
        }
        Verb::Stop => {
            let server = seen.server.take().unwrap();
            (seen.process, seen.kept.snapshot) = (Process::Down, Some((server.id, server.offset)));
        }
        Verb::Count => {
            let server = seen.server.as_mut().unwrap();
            (server.id, server.earlier, server.counts) = (id(10), None, true);
        }
        Verb::Promote => {
            seen.kept.note = seen.kept.promoting(&seen.server.clone().unwrap());
            let server = seen.server.as_mut().unwrap();
            server.earlier = Some((server.id.clone(), server.offset));
            // One that was started and has followed nobody has no backlog.
            (server.is_replica, server.id, server.counts) = (false, id(8), seen.kept.snapshot.is_none());
        }
        Verb::Sign(line) => {
            seen.kept.note.stopping = None;
            seen.server.as_mut().unwrap().line = Some(line.clone());
        }
        Verb::PutAside(_) => seen.kept.note.ran = Some(Ran::Replica),
    }
    if let Some(server) = seen.server.clone() {
        seen.kept.note = seen.kept.note.after(&server);
    }
}

/// Everything that is done, and how it ends. `again`: the agent is restarted after that many verbs.
fn run(seen: &mut Seen, work: &Work, source: Option<&Source>, again: Option<usize>) -> (Vec<Verb>, Next<Verb>) {
    let mut course = Course::new(work.clone(), TOKEN, 5);
    let mut did = Vec::new();
    loop {
        match course.next(seen, source) {
            Next::Do(verb) => {
                assert!(did.len() < 20, "{did:?}");
                apply(seen, &verb, source);
                course.did(&verb);
                did.push(verb);
                if again == Some(did.len()) {
                    course = Course::new(work.clone(), TOKEN, 5);
                }
            }
            end => return (did, end),
        }
    }
}

/// The same from the start, and with an agent that is restarted after each verb.
fn done(from: &Seen, work: &Work, source: Option<&Source>) -> (Vec<Verb>, Seen) {
    let mut seen = from.clone();
    let (did, end) = run(&mut seen, work, source, None);
    assert_eq!(end, Next::Done, "{did:?}");
    for again in 1..=did.len() {
        let mut seen = from.clone();
        assert_eq!(run(&mut seen, work, source, Some(again)).1, Next::Done, "restarted after {again} of {did:?}");
    }
    (did, seen)
}

fn fails(from: &Seen, work: &Work, source: Option<&Source>) -> String {
    match run(&mut from.clone(), work, source, None) {
        (did, Next::Fail(why)) if did.is_empty() => why,
        other => panic!("{other:?}"),
    }
}

fn told(seen: &Seen) -> crate::failover::agent::Facts {
    facts(seen, &Label::new("us"), Some(100))
}

#[test]
fn a_primary_that_stops_lets_no_write_in_first_and_says_where_it_ended() {
    let (did, seen) = done(&running(server(false)), &Work::Stop, None);
    assert_eq!(did, [Verb::Quiesce, Verb::Stop]);
    let stopped = told(&seen).stopped.unwrap();
    assert_eq!((stopped.system, stopped.timeline, stopped.position), (7, 3, 150));
    assert_eq!(told(&down(Ran::Primary, true)).stopped, None, "one that was killed did not");
    assert_eq!(told(&down(Ran::Replica, true)).stopped, None);
}

/// Started again, and promoted.
fn up(from: &Seen) -> Seen {
    let (_, seen) = done(from, &Work::Start, None);
    done(&seen, &Work::Promote, None).1
}

#[test]
fn a_primary_starts_again_where_nobody_can_have_more_than_it_shows_and_else_not() {
    let (did, seen) = done(&stopped(false), &Work::Start, None);
    assert_eq!(did, [Verb::Claim, Verb::Mark, Verb::Start]);
    assert_eq!(seen.kept.note.resumes, Some((id(1), 150)));
    assert_eq!(told(&seen).database, Database::Standby { receives_from: None }, "nobody takes anything from it yet");
    let (did, seen) = done(&seen, &Work::Promote, None);
    assert_eq!(did, [Verb::Promote]);
    assert!(!seen.kept.is_clean(), "it writes again");
    done(&down(Ran::Primary, true), &Work::Start, None);
    assert!(fails(&down(Ran::Primary, false), &Work::Start, None).contains("did not stop cleanly"));
    let mut empty = down(Ran::Primary, false);
    (empty.kept.has_data, empty.kept.snapshot) = (false, None);
    assert!(fails(&empty, &Work::Start, None).contains("emptiness"));
    let mut passed_over = stopped(false);
    passed_over.kept.is_passed_over = true;
    assert!(fails(&passed_over, &Work::Start, None).contains("pass over its snapshot"));
    let (did, _) = done(&down(Ran::Replica, false), &Work::Start, None);
    assert_eq!(did, [Verb::Mark, Verb::Start], "a replica starts as one");
}

#[test]
fn a_server_that_stopped_once_and_was_killed_later_did_not_stop_cleanly() {
    let mut seen = up(&stopped(false));
    (seen.process, seen.server) = (Process::Down, None);
    assert!(fails(&seen, &Work::Start, None).contains("did not stop cleanly"));
    // It was about to stop, was given the role again, wrote on and a snapshot, too, and was killed.
    let mut again = running(server(false));
    apply(&mut again, &Verb::Quiesce, None);
    let (did, mut again) = done(&again, &Work::Sign, None);
    assert!(matches!(did.as_slice(), [Verb::Sign(_)]));
    (again.process, again.server, again.kept.snapshot) = (Process::Down, None, Some((id(1), 2000)));
    assert!(!again.kept.is_clean());
}

fn signed(seen: &Seen) -> Stretch {
    let (did, seen) = done(seen, &Work::Sign, None);
    assert!(matches!(did.as_slice(), [Verb::Sign(_)] | [Verb::Count, Verb::Sign(_)]), "{did:?}");
    let opening = Opening { token: TOKEN, timeline: 6, at: seen.server.as_ref().unwrap().line.as_ref().unwrap().last().forked };
    assert_eq!(told(&seen).opening, Some(opening), "above what the grant says that others began");
    assert!(told(&seen).sight.unwrap().position.is_some());
    seen.server.unwrap().line.unwrap().last().clone()
}

#[test]
fn a_promoted_replica_is_signed_where_it_left_the_line_whatever_was_written_since() {
    let (did, mut seen) = done(&running(server(true)), &Work::Promote, None);
    assert_eq!(did, [Verb::Promote]);
    assert_eq!(told(&seen).database, Database::Writes);
    assert_eq!(told(&seen).opening, None, "the token in it is another one's");
    seen.server.as_mut().unwrap().offset = 1090;
    let stretch = signed(&seen);
    assert_eq!((stretch.forked, stretch.began, stretch.offset, stretch.id), (150, 150, 1050, id(8)));
}

#[test]
fn a_primary_that_lost_its_count_goes_on_beyond_everything_that_a_copy_can_have() {
    let mut seen = up(&down(Ran::Primary, true));
    seen.server.as_mut().unwrap().offset = 5;
    let stretch = signed(&seen);
    assert_eq!((stretch.forked, stretch.began, stretch.offset), (140, 140 + GAP, 5), "its last heartbeat is all that it is known to have");
    let mut seen = up(&stopped(true));
    seen.server.as_mut().unwrap().offset = 5;
    assert_eq!(signed(&seen).forked, 150, "it stopped cleanly there");
    let seen = up(&stopped(false));
    assert_eq!((signed(&seen).forked, signed(&seen).began), (150, 150), "its snapshot has the count");
}

#[test]
fn a_database_that_came_back_empty_is_neither_promoted_nor_signed() {
    let (_, mut seen) = done(&stopped(false), &Work::Start, None);
    seen.server.as_mut().unwrap().line = None;
    assert!(fails(&seen, &Work::Promote, None).contains("without its data"));
    let mut seen = running(server(false));
    seen.server.as_mut().unwrap().line = None;
    assert!(fails(&seen, &Work::Sign, None).contains("without its data"));
    seen.kept.note.line = None;
    let (did, _) = done(&seen, &Work::Sign, None);
    assert!(matches!(did.as_slice(), [Verb::Sign(line)] if line.system == 7), "one that was never signed is");
}

#[test]
fn a_replica_is_sealed_by_receiving_from_nobody_and_offers_its_copy_only_where_it_knows_its_end() {
    let mut streams = server(true);
    (streams.upstream, streams.stream) = (Upstream::Member(Label::new("eu")), Stream::Up { silent_for: Duration::ZERO });
    let (did, seen) = done(&running(streams), &Work::Seal, None);
    assert_eq!(did, [Verb::Point(None)]);
    let copy = told(&seen).copy.unwrap();
    assert_eq!((copy.system, copy.timeline, copy.position, copy.replayed), (7, 3, 150, 150));
    assert_eq!(facts(&seen, &Label::new("us"), None).copy, None, "who is never promoted has nothing to offer");
    let (did, _) = done(&down(Ran::Replica, false), &Work::Seal, None);
    assert_eq!(did, [Verb::Mark, Verb::Start]);
    let unknown = |change: fn(&mut Server)| {
        let mut server = server(true);
        change(&mut server);
        let seen = running(server);
        assert_eq!(told(&seen).copy, None);
        assert!(!matches!(run(&mut seen.clone(), &Work::Promote, None, None).1, Next::Done));
        run(&mut seen.clone(), &Work::Seal, None, None).1
    };
    assert!(matches!(unknown(|server| server.line = None), Next::Fail(_)), "it is empty");
    assert!(matches!(unknown(|server| server.counts = false), Next::Fail(_)), "a synchronisation broke off");
    assert!(matches!(unknown(|server| server.id = id(5)), Next::Fail(_)), "its count is of another run");
    assert!(matches!(unknown(|server| server.offset = 999), Next::Fail(_)), "it is before its own opening");
    assert!(matches!(unknown(|server| server.is_loading = true), Next::Wait(_)));
}

#[test]
fn a_replica_that_counts_a_promoted_one_without_its_opening_yet_knows_its_end() {
    let mut server = server(true);
    (server.id, server.earlier, server.offset) = (id(2), Some((id(1), 1050)), 1060);
    assert_eq!(server.position(), Some(160));
    server.is_replica = false;
    assert_eq!(server.position(), None, "a primary by that id is not signed");
}

#[test]
fn what_a_former_primary_may_have_beyond_the_line_is_put_aside_before_it_follows() {
    let source = primary(later(150));
    let point = || Verb::Point(Some(Label::new("eu")));
    let (did, seen) = done(&down(Ran::Primary, true), &follow(), Some(&source));
    assert_eq!(did, [Verb::Mark, Verb::PutAside(None), point(), Verb::Start], "nobody knows what is in its append-only file");
    assert_eq!(seen.kept.note.ran, Some(Ran::Replica));
    let (did, _) = done(&stopped(true), &follow(), Some(&source));
    assert_eq!(did, [Verb::Mark, point(), Verb::Start], "it stopped where the other one began");
    let (did, _) = done(&stopped(false), &follow(), Some(&primary(later(130))));
    assert_eq!(did, [Verb::Mark, Verb::PutAside(Some(Divergence { timeline: 3, at: 130 })), point(), Verb::Start]);
    let (did, _) = done(&down(Ran::Primary, false), &follow(), Some(&source));
    assert_eq!(did, [Verb::Mark, point(), Verb::Start], "what was not in its snapshot is gone with its memory");
    let (did, _) = done(&down(Ran::Replica, true), &follow(), Some(&source));
    assert_eq!(did, [Verb::Mark, point(), Verb::Start]);
}

#[test]
fn a_replica_that_is_ahead_of_the_new_primary_is_put_aside_too() {
    let source = primary(later(130));
    let (did, _) = done(&running(server(true)), &follow(), Some(&source));
    let aside = Verb::PutAside(Some(Divergence { timeline: 3, at: 130 }));
    assert_eq!(did, [Verb::Quiesce, Verb::Stop, aside, Verb::Point(Some(Label::new("eu"))), Verb::Start]);
    let (did, _) = done(&running(server(true)), &follow(), Some(&primary(later(150))));
    assert_eq!(did, [Verb::Point(Some(Label::new("eu")))]);
}

#[test]
fn nobody_follows_another_database_or_one_that_is_not_ready() {
    let seen = running(server(true));
    let waits = |source: Option<&Source>| matches!(run(&mut seen.clone(), &follow(), source, None).1, Next::Wait(_));
    assert!(waits(None) && waits(Some(&Source { is_replica: true, line: Some(line()) })));
    assert!(waits(Some(&Source { is_replica: false, line: None })), "it is not signed");
    let other = primary(Line::new(8, line().last().clone()));
    assert!(fails(&seen, &follow(), Some(&other)).contains("another database"));
    assert!(fails(&running(server(false)), &follow(), Some(&primary(line()))).contains("stopped first"));
}

#[test]
fn what_is_missing_is_not_fetched_from_a_sealed_copy() {
    let drain = |position, fetch_from: Option<&str>| Work::Drain { position, fetch_from: fetch_from.map(Label::new) };
    done(&running(server(true)), &drain(150, None), None);
    assert!(fails(&running(server(true)), &drain(151, None), None).contains("ends at 150, before 151"));
    assert!(fails(&running(server(true)), &drain(151, Some("ap")), None).contains("ap has the rest"));
}

#[test]
fn what_somebody_else_manages_or_started_is_left_alone() {
    let mut seen = running(server(true));
    seen.broken = Some("cluster mode".to_owned());
    assert_eq!(fails(&seen, &Work::Seal, None), "cluster mode");
    assert_eq!((told(&seen).sight, told(&seen).copy), (None, None));
    let foreign = Seen { process: Process::Foreign, broken: None, ..seen };
    assert!(fails(&foreign, &Work::Promote, None).contains("stop it"));
    assert_eq!(told(&foreign).lives_under, None);
}

#[test]
fn an_unadopted_database_is_seen_by_its_snapshot_and_its_mark() {
    let kept = Kept { snapshot: Some((id(1), 1020)), has_data: true, ..Kept::default() };
    let seen = Seen { process: Process::Down, kept, ..Seen::default() };
    let sight = told(&seen).sight.unwrap();
    assert_eq!((sight.role, sight.system, sight.timeline), (Role::Stopped, id(1).system(), 1));
    let marked = Seen { is_marked: true, ..seen };
    assert_eq!(told(&marked).sight.unwrap().role, Role::Asleep);
    assert_eq!(told(&Seen { kept: Kept::default(), ..marked }).sight, None, "an empty directory is nobody's copy");
}

#[test]
fn a_floor_that_was_lifted_is_remembered_for_this_run_of_the_primary_only() {
    let primary = server(false);
    let lifted = Note { lifted: Some((primary.id.clone(), 1)), ..Note::default() };
    assert_eq!(lifted.after(&primary).lifted, lifted.lifted);
    assert_eq!(lifted.after(&Server { id: id(9), ..primary.clone() }).lifted, None, "another run read its configuration");
    assert_eq!(lifted.after(&server(true)).lifted, None);
    let old: Note = serde_json::from_str(r#"{"ran":"primary","system":7,"line":null,"stopping":null,"resumes":null,"logs":true}"#).unwrap();
    assert_eq!(old.lifted, None, "a note of an older version is read");
}

#[test]
fn what_a_floor_costs_is_told_and_why_a_server_is_silent() {
    let floor = Floor { replicas: 0, lag_max: Duration::from_secs(10), is_primary: true, n_following: 0, lifted: None };
    let told = |seen: &Seen| facts(seen, &Label::new("us"), Some(1));
    let seen = Seen { floor: Some(floor), n_others: 2, ..running(server(false)) };
    assert_eq!(told(&seen).concerns.unwrap()[0].check, "min_replicas");
    assert_eq!(told(&running(server(false))).concerns, None);
    let silent = Seen { process: Process::Ours(1), silence: Some("WRONGPASS".to_owned()), ..Seen::default() };
    assert_eq!(told(&silent).silence.as_deref(), Some("WRONGPASS"));
    assert_eq!(told(&Seen { process: Process::Down, ..silent }).silence, None);
}
