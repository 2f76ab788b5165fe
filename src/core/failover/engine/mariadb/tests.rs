//! Courses over a member that is written out: what is done, in which order, and that a course begun again anywhere does the rest.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::failover::{
    agent::{Database, Work},
    engine::{Course as _, Next},
    evidence::Stream,
    order::Role,
    token::Token,
};

const TOKEN: Token = Token { generation: 1, epoch: 40 };
const UP: Stream = Stream::Up { silent_for: Duration::ZERO };

/// A member, what its server is like, and the primary that it may follow.
#[derive(Clone, Debug)]
struct Member {
    seen: Seen,
    server: Server,
    source: Option<Source>,
}

fn history(lines: &[(u32, u64)]) -> History {
    let line = |(timeline, began): &(u32, u64)| Line {
        timeline: *timeline,
        began: *began,
        token: Token { generation: 1, epoch: u64::from(*timeline) },
        server: *timeline,
    };
    History::new(lines.iter().map(line).collect()).unwrap()
}

fn server_at(applied: u64, lines: &[(u32, u64)]) -> Server {
    Server {
        system: 7,
        history: history(lines),
        is_own_line: false,
        token: None,
        writes: false,
        upstream: Upstream::Nobody,
        receives: false,
        applies: false,
        stream: Stream::Down,
        applied,
        received: None,
        errant_from: None,
        io_error: None,
        sql_error: None,
        is_delayed: false,
        unfit: None,
    }
}

fn following(upstream: &str, applied: u64, received: u64, lines: &[(u32, u64)]) -> Server {
    let server = server_at(applied, lines);
    Server { upstream: Upstream::Member(upstream.into()), receives: true, applies: true, stream: UP, received: Some(received), ..server }
}

fn up(server: Server) -> Member {
    let seen = Seen { process: Process::Ours(1), is_marked: true, server: Some(server.clone()), ..Seen::default() };
    Member { seen, server, source: None }
}

fn down(ran: Ran, server: Server) -> Member {
    let control = Some(Control { ran, system: 7, timeline: server.history.timeline() });
    Member { seen: Seen { process: Process::Down, control, ..Seen::default() }, server, source: None }
}

impl Member {
    fn with_primary(mut self, lines: &[(u32, u64)]) -> Self {
        self.source = Some(Source { system: 7, history: history(lines), writes: true });
        self
    }

    fn change(&mut self, change: impl FnOnce(&mut Server)) {
        change(&mut self.server);
        self.seen.server = Some(self.server.clone());
    }

    /// Does what is asked, as MariaDB would.
    fn act(&mut self, verb: &Verb) {
        match verb {
            Verb::Mark => self.seen.is_marked = true,
            Verb::Start => {
                assert!(self.seen.process == Process::Down && self.seen.is_marked, "it starts read-only");
                (self.seen.process, self.seen.control) = (Process::Ours(1), None);
                // The relay log is as good as gone.
                self.change(|it| (it.writes, it.receives, it.applies, it.received, it.stream) = (false, false, false, None, Stream::Down));
            }
            Verb::Stop => {
                (self.seen.process, self.seen.server) = (Process::Down, None);
                let ran = if self.server.upstream == Upstream::Nobody { Ran::Stopped(self.server.applied) } else { Ran::Standby };
                self.seen.control = Some(Control { ran, system: 7, timeline: self.server.history.timeline() });
            }
            Verb::Close => self.change(|it| it.writes = false),
            Verb::Seal => self.change(|it| (it.receives, it.stream) = (false, Stream::Down)),
            Verb::Apply => self.change(|it| it.applies = true),
            Verb::Follow(upstream) => {
                assert!(self.server.is_exhausted(), "what was received would be thrown away");
                self.change(|it| {
                    (it.upstream, it.receives, it.applies) = (Upstream::Member(upstream.clone()), true, true);
                    (it.stream, it.received, it.io_error) = (UP, Some(it.applied), None);
                });
            }
            Verb::Open { token, .. } => {
                assert!(!self.server.receives && self.server.is_exhausted(), "what was received would be thrown away");
                self.change(|it| (it.writes, it.token, it.upstream) = (true, Some(*token), Upstream::Nobody));
            }
            Verb::Sign(token) => self.change(|it| it.token = Some(*token)),
            Verb::Condemn(_, why) => {
                assert_eq!(self.seen.process, Process::Down);
                self.seen.broken = Some(why.clone());
            }
        }
    }

    /// Time passes: what was received is applied.
    fn wait(&mut self) {
        if self.server.applies && self.seen.server.is_some() && self.server.sql_error.is_none() {
            self.change(|it| it.applied = it.end());
        }
    }

    /// Runs a course; it is begun anew once, after the `again`th verb. What was done, and how it ended.
    fn run(&mut self, work: &Work, again: usize) -> (Vec<Verb>, String) {
        let mut course = Course::new(work.clone(), TOKEN, 4);
        let mut done: Vec<Verb> = Vec::new();
        let mut waited = 0;
        while done.len() < 20 && waited < 3 {
            match course.next(&self.seen, self.source.as_ref()) {
                Next::Done => return (done, "done".to_owned()),
                Next::Fail(why) => return (done, why),
                Next::Wait(_) => {
                    waited += 1;
                    self.wait();
                }
                Next::Do(verb) => {
                    course.tries(&verb);
                    self.act(&verb);
                    course.did(&verb);
                    done.push(verb);
                    waited = 0;
                    if done.len() == again {
                        course = Course::new(work.clone(), TOKEN, 4);
                    }
                }
            }
        }
        (done, "it does not end".to_owned())
    }
}

fn follow(upstream: &str) -> Work {
    Work::Follow { upstream: upstream.into(), reclone: false }
}

const NEVER: usize = usize::MAX;

#[test]
fn an_opening_seals_applies_and_only_then_begins_a_line_above_all() {
    let open = |timeline| Verb::Open { token: TOKEN, timeline };
    let mut standby = up(following("us", 90, 100, &[(2, 50)]));
    assert_eq!(standby.run(&Work::Promote, NEVER), (vec![Verb::Seal, open(Some(5))], "done".to_owned()), "a grant says above 4");
    let mut own = down(Ran::Stopped(100), Server { is_own_line: true, ..server_at(100, &[(2, 50)]) });
    assert_eq!(own.run(&Work::Start, NEVER).0, [Verb::Mark, Verb::Start], "it is read-only");
    assert_eq!(own.run(&Work::Promote, NEVER).0, [open(None)], "whoever opened it last goes on");
    let mut reset = up(server_at(100, &[(9, 50)]));
    assert_eq!(reset.run(&Work::Promote, NEVER).0, [open(Some(10))], "it follows nobody any more, and is still no primary");
    assert_eq!(up(Server { writes: true, ..server_at(9, &[]) }).run(&Work::Sign, NEVER).0, [Verb::Sign(TOKEN)]);
    assert!(up(server_at(9, &[])).run(&Work::Sign, NEVER).1.contains("no writes"));
}

#[test]
fn a_primary_closes_before_it_stops_and_closes_once() {
    let mut primary = up(Server { writes: true, ..server_at(100, &[]) });
    assert_eq!(primary.run(&Work::Stop, NEVER), (vec![Verb::Close, Verb::Stop], "done".to_owned()));
    let seen = up(Server { writes: true, ..server_at(100, &[]) }).seen;
    let mut course = Course::new(Work::Stop, TOKEN, 0);
    course.tries(&Verb::Close);
    assert_eq!(course.next(&seen, None), Next::Do(Verb::Stop), "it could not be closed in time");
    assert_eq!(up(following("us", 9, 9, &[])).run(&Work::Stop, NEVER).0, [Verb::Stop]);
}

#[test]
fn a_seal_keeps_what_was_received_and_a_drain_applies_it() {
    let mut standby = up(Server { applies: false, ..following("us", 90, 100, &[]) });
    assert_eq!(standby.run(&Work::Seal, NEVER).0, [Verb::Apply, Verb::Seal]);
    assert_eq!(standby.server.end(), 100);
    let to = |position, fetch_from| Work::Drain { position, fetch_from };
    assert_eq!(standby.run(&to(100, None), NEVER), (vec![], "done".to_owned()));
    assert_eq!(standby.server.applied, 100);
    let fetched = standby.run(&to(120, Some("ap".into())), NEVER);
    assert_eq!(fetched, (vec![Verb::Follow("ap".into())], "it does not end".to_owned()));
    standby.change(|it| it.received = Some(125));
    assert_eq!(standby.run(&to(120, Some("ap".into())), NEVER), (vec![Verb::Seal], "done".to_owned()));

    let mut restarted = down(Ran::Standby, following("us", 90, 100, &[]));
    assert_eq!(restarted.run(&Work::Seal, NEVER).0, [Verb::Mark, Verb::Start]);
    assert_eq!(restarted.server.end(), 90, "its relay log counts no more");
    assert!(restarted.run(&to(100, None), NEVER).1.contains("only up to 90"));
}

#[test]
fn a_member_follows_from_where_it_ends_or_is_condemned() {
    let mut old = down(Ran::Stopped(100), server_at(100, &[])).with_primary(&[(2, 100)]);
    assert_eq!(old.run(&follow("eu"), NEVER), (vec![Verb::Mark, Verb::Start, Verb::Follow("eu".into())], "done".to_owned()));
    let mut other = up(following("us", 90, 100, &[])).with_primary(&[(2, 100)]);
    assert_eq!(other.run(&follow("eu"), NEVER).0, [Verb::Seal, Verb::Follow("eu".into())], "it applies first what it has");

    let mut tail = down(Ran::Primary, server_at(107, &[])).with_primary(&[(2, 100)]);
    let (done, why) = tail.run(&follow("eu"), NEVER);
    let Some(Verb::Condemn(parted, _)) = done.last() else { panic!("{done:?}") };
    assert_eq!((*parted, &done[..3]), (Divergence { timeline: 1, at: 100 }, &[Verb::Mark, Verb::Start, Verb::Stop][..]));
    assert!(why.starts_with("RECLONE_REQUIRED: it has transactions behind 100 that eu does not have"), "{why}");
    assert_eq!(tail.run(&follow("eu"), NEVER).0, [], "and is not started again");
    assert!(tail.run(&Work::Seal, NEVER).1.starts_with("RECLONE_REQUIRED"));
}

#[test]
fn what_only_the_servers_can_see_condemns_too_and_another_upstreams_word_does_not() {
    let refusal = |number| Some(Refusal { number, text: "diverged".to_owned() });
    let errant = Server { errant_from: Some(100), ..following("us", 101, 103, &[]) };
    let (done, why) = up(errant.clone()).with_primary(&[]).run(&follow("us"), NEVER);
    assert!(matches!(done.last(), Some(Verb::Condemn(Divergence { timeline: 1, at: 100 }, _))), "{done:?}");
    assert!(why.contains("of its own behind 100"), "{why}");
    let refused = Server { receives: false, stream: Stream::Down, io_error: refusal(1236), ..following("us", 101, 101, &[(2, 50)]) };
    let (done, why) = up(refused.clone()).with_primary(&[(2, 50)]).run(&follow("us"), NEVER);
    assert!(matches!(done.last(), Some(Verb::Condemn(Divergence { timeline: 2, at: 50 }, _))), "{done:?}");
    assert!(why.contains("error 1236, diverged"), "{why}");
    assert_eq!(up(refused).with_primary(&[(2, 50)]).run(&follow("eu"), NEVER).0, [Verb::Follow("eu".into())]);
    let stopped = Server { applies: false, stream: Stream::Down, sql_error: refusal(1062), ..following("us", 101, 103, &[]) };
    let (done, why) = up(stopped).with_primary(&[]).run(&follow("us"), NEVER);
    assert!(done.is_empty() && why.contains("error 1062"), "{done:?} {why}");
    let facts = facts(&up(errant).seen, &"eu".into(), Some(1));
    assert_eq!(facts.copy, None, "it is no candidate");
}

#[test]
fn what_cannot_be_led_is_refused_by_the_word_and_nothing_is_done_to_it() {
    let unfit = Server { unfit: Some("gtid_strict_mode is OFF".to_owned()), ..server_at(9, &[]) };
    for work in [Work::Promote, Work::Seal, follow("us"), Work::Drain { position: 9, fetch_from: None }] {
        assert_eq!(up(unfit.clone()).with_primary(&[]).run(&work, NEVER), (vec![], "gtid_strict_mode is OFF".to_owned()));
    }
    let mut foreign = up(server_at(9, &[]));
    foreign.seen.process = Process::Foreign;
    assert!(foreign.run(&Work::Promote, NEVER).1.contains("did not start"));
    let mut other = up(server_at(9, &[])).with_primary(&[]);
    other.source.as_mut().unwrap().system = 8;
    assert!(other.run(&follow("us"), NEVER).1.contains("another database"));
    let mut dies = Course::new(Work::Seal, TOKEN, 0);
    dies.did(&Verb::Start);
    assert!(matches!(dies.next(&down(Ran::Standby, server_at(9, &[])).seen, None), Next::Fail(why) if why.contains("its log")));
    let mut silent = up(server_at(9, &[]));
    (silent.seen.server, silent.seen.silence) = (None, Some("Access denied".to_owned()));
    let next = Course::new(Work::Seal, TOKEN, 0).next(&silent.seen, None);
    assert_eq!(next, Next::Wait("it does not answer: Access denied".to_owned()));
}

#[test]
fn the_machine_is_told_what_is_so() {
    let told = |member: &Member| facts(&member.seen, &"eu".into(), Some(7));
    let standby = told(&up(following("us", 90, 100, &[(2, 50)])));
    assert_eq!(standby.database, Database::Standby { receives_from: Some("us".into()) });
    let copy = standby.copy.unwrap();
    assert_eq!((copy.position, copy.replayed, copy.timeline, copy.priority), (100, 90, 2, Some(7)));
    let primary = told(&up(Server { writes: true, token: Some(TOKEN), ..server_at(100, &[(2, 50)]) }));
    assert_eq!((primary.database, primary.copy), (Database::Writes, None));
    assert_eq!(primary.opening.map(|it| (it.token, it.timeline, it.at)), Some((TOKEN, 2, 50)));
    let stopped = told(&down(Ran::Stopped(100), server_at(100, &[])));
    assert_eq!((stopped.database, stopped.stopped.map(|it| it.position)), (Database::Down, Some(100)));
    let asleep = told(&down(Ran::Standby, server_at(100, &[])));
    assert_eq!((asleep.sight.map(|it| it.role), asleep.stopped), (Some(Role::Asleep), None));
    let sealed = told(&up(Server { receives: false, ..following("us", 90, 100, &[]) }));
    assert_eq!(sealed.database, Database::Standby { receives_from: None });
}

fn server() -> impl Strategy<Value = Server> {
    let upstream = prop_oneof![Just(Upstream::Nobody), Just(Upstream::Member("us".into())), Just(Upstream::Member("eu".into()))];
    let refusal = |numbers: Vec<u32>| {
        let number = proptest::sample::select(numbers);
        proptest::option::weighted(0.2, number.prop_map(|number| Refusal { number, text: String::new() }))
    };
    let threads = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let errors = (refusal(vec![1236, 1045]), refusal(vec![1950, 1062]), proptest::option::weighted(0.1, 0..100_u64));
    (upstream, threads, errors, 60..120_u64, 0..20_u64, any::<bool>()).prop_map(
        |(upstream, (writes, receives, applies, is_own_line), (io_error, sql_error, errant_from), applied, more, has_line)| {
            let is_told = upstream != Upstream::Nobody;
            Server {
                is_own_line,
                writes,
                receives: receives && is_told,
                applies: applies && is_told && sql_error.is_none(),
                received: is_told.then_some(applied + more),
                errant_from: errant_from.filter(|_| is_told),
                io_error: io_error.filter(|_| is_told && !receives),
                sql_error: sql_error.filter(|_| is_told),
                upstream,
                ..server_at(applied, if has_line { &[(2, 50)] } else { &[] })
            }
        },
    )
}

proptest! {
    /// Whatever is there, and however often a course is begun anew: nothing that was received and would be applied is thrown away before an opening
    /// or a following (`Member::act` looks), what is condemned is not followed, and every course ends.
    #[test]
    fn a_course_begun_again_anywhere_does_the_rest(
        server in server(), is_down in any::<bool>(), which in 0..6_usize, again in 1..7_usize, switch in proptest::option::of(55..125_u64)
    ) {
        let mut member = if is_down { down(Ran::Primary, server) } else { up(server) };
        let lines: Vec<(u32, u64)> = [(2, 50)].into_iter().chain(switch.map(|at| (3, at))).collect();
        member = member.with_primary(&lines);
        let works = [Work::Mark, Work::Stop, Work::Seal, Work::Start, Work::Promote, follow("eu")];
        let (done, how) = member.run(&works[which], again);
        prop_assert!(done.len() < 20, "{done:?} {how}");
        let opened = done.iter().any(|verb| matches!(verb, Verb::Open { .. }));
        prop_assert!(!opened || works[which] == Work::Promote);
        if works[which] == follow("eu") && how == "done" {
            let parted = member.server.history.parted(member.server.applied, &member.source.as_ref().unwrap().history);
            let was_streaming = done.is_empty();
            prop_assert!(was_streaming || parted.is_none(), "{done:?} {parted:?}");
        }
        if let Some(Verb::Condemn(..)) = done.last() {
            prop_assert!(how.starts_with("RECLONE_REQUIRED"));
        }
    }
}
