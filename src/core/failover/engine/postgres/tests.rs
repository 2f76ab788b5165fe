//! Courses over a member that is written out: what is done, in which order, and that a course begun again anywhere does the rest.

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

const UP: Stream = Stream::Up { silent_for: std::time::Duration::ZERO };

fn stream(is_up: bool) -> Stream {
    if is_up { UP } else { Stream::Down }
}

/// A member and the primary that it may follow.
#[derive(Clone, Debug)]
struct Member {
    seen: Seen,
    source: Option<Source>,
    /// What a start brings up.
    server: Server,
}

fn line(left: &[(u32, u64)], timeline: u32) -> History {
    History { left: left.iter().map(|(timeline, at)| Switch { timeline: *timeline, at: *at }).collect(), timeline }
}

fn standby_at(position: u64, history: History) -> Server {
    Server {
        system: 7,
        reserved: history.timeline,
        history,
        is_standby: true,
        upstream: Upstream::Nobody,
        stream: Stream::Down,
        position,
        end: Some(position),
        is_paused: false,
        is_delayed: false,
        synchronous: String::new(),
        opening: None,
        archive: None,
        wrote: None,
        settings: None,
        slots: Vec::new(),
    }
}

fn running(server: Server) -> Member {
    let seen = Seen { process: Process::Ours(1), is_marked: server.is_standby, server: Some(server.clone()), ..Seen::default() };
    Member { seen, source: None, server }
}

fn down(ran: Ran, server: Server) -> Member {
    let control = Some(Control { ran, system: 7, timeline: server.history.timeline });
    Member { seen: Seen { process: Process::Down, control, ..Seen::default() }, source: None, server }
}

impl Member {
    fn with_primary(mut self, history: History) -> Self {
        self.source = Some(Source { system: 7, history, is_standby: false });
        self
    }

    /// Does what is asked; `false`: it must never be asked of this one.
    fn act(&mut self, verb: &Verb) {
        match verb {
            Verb::Mark => self.seen.is_marked = true,
            Verb::Unmark => self.seen.is_marked = false,
            Verb::Start => {
                assert_eq!(self.seen.process, Process::Down);
                self.server.is_standby = self.seen.is_marked;
                self.server.upstream = self.seen.upstream.clone();
                self.server.synchronous = self.seen.synchronous.clone();
                self.server.stream = stream(self.seen.upstream != Upstream::Nobody && self.source.is_some());
                (self.seen.process, self.seen.server, self.seen.control) = (Process::Ours(1), Some(self.server.clone()), None);
            }
            Verb::Stop => {
                self.server = self.seen.server.take().unwrap();
                let ran = if self.server.is_standby { Ran::Standby } else { Ran::Stopped(self.server.position) };
                self.seen.control = Some(Control { ran, system: 7, timeline: self.server.history.timeline });
                self.seen.process = Process::Down;
            }
            Verb::Point(to) => {
                let upstream = to.clone().map_or(Upstream::Nobody, Upstream::Member);
                self.seen.upstream = upstream.clone();
                if let Some(server) = &mut self.seen.server {
                    server.stream = stream(upstream != Upstream::Nobody);
                    server.upstream = upstream;
                }
            }
            Verb::Resume => self.seen.server.as_mut().unwrap().is_paused = false,
            Verb::Synchronise(names) => {
                self.seen.synchronous.clone_from(names);
                if let Some(server) = &mut self.seen.server {
                    server.synchronous.clone_from(names);
                }
            }
            Verb::Reserve(above) => self.seen.server.as_mut().unwrap().reserved = *above,
            Verb::Promote => {
                let server = self.seen.server.as_mut().unwrap();
                server.is_standby = false;
                server.history.left.push(Switch { timeline: server.history.timeline, at: server.position });
                server.history.timeline = server.reserved + 1;
                self.seen.is_marked = false;
            }
            Verb::Sign(token) => {
                let server = self.seen.server.as_mut().unwrap();
                server.opening = Some(Opening { token: *token, timeline: server.history.timeline, at: server.history.began() });
            }
            Verb::Checkpoint => {}
            Verb::PutAside(_) => assert_eq!(self.seen.process, Process::Down),
            Verb::Rewind(_) | Verb::Reclone(_) => {
                assert_eq!(self.seen.process, Process::Down);
                self.seen.broken = None;
                let source = self.source.as_ref().unwrap();
                self.server = standby_at(source.history.began(), source.history.clone());
                // The adapter puts back what pg_rewind takes away, and without the primary's log it cannot start.
                (self.seen.is_marked, self.seen.upstream) = (true, Upstream::Member("eu".into()));
            }
        }
    }

    fn step(&mut self, course: &mut Course) -> Next<Verb> {
        let next = course.next(&self.seen, self.source.as_ref());
        if let Next::Do(verb) = &next {
            self.act(verb);
            course.did(verb);
        }
        next
    }

    /// What a course does, in one line per verb, and how it ends.
    fn run(&mut self, work: &Work) -> Vec<String> {
        let mut course = Course::new(work.clone(), TOKEN, "ANY 1 (\"ap\", \"eu\")".to_owned(), 4);
        let mut done = Vec::new();
        for _ in 0..20 {
            let next = self.step(&mut course);
            done.push(match &next {
                Next::Do(verb) => format!("{verb:?}"),
                Next::Done => "done".to_owned(),
                Next::Wait(why) => format!("wait: {why}"),
                Next::Fail(why) => format!("fail: {why}"),
            });
            if !matches!(next, Next::Do(_)) {
                return done;
            }
        }
        panic!("it goes on for ever: {done:?}");
    }
}

fn follow() -> Work {
    Work::Follow { upstream: Label::new("eu"), reclone: false }
}

#[test]
fn an_old_primary_that_wrote_on_recovers_alone_is_put_aside_and_rewound_and_follows() {
    let mut crashed = down(Ran::Primary, standby_at(130, line(&[], 1))).with_primary(line(&[(1, 100)], 2));
    assert_eq!(
        crashed.run(&follow()),
        ["Mark", "Start", "Stop", "PutAside(Divergence { timeline: 1, at: 100 })", "Rewind(`eu`)", "Start", "done"]
    );
    let mut equal = down(Ran::Primary, standby_at(100, line(&[], 1))).with_primary(line(&[(1, 100)], 2));
    assert_eq!(equal.run(&follow()), ["Mark", "Start", "Point(Some(`eu`))", "done"], "it had nothing of its own");
    let mut stopped = down(Ran::Stopped(100), standby_at(100, line(&[], 1))).with_primary(line(&[(1, 100)], 2));
    assert_eq!(stopped.run(&follow()), ["Mark", "Start", "Point(Some(`eu`))", "done"], "a switchover needs no rewind");
}

#[test]
fn a_standby_is_pointed_at_the_primary_and_one_that_went_beyond_is_rewound() {
    let behind = Server { upstream: Upstream::Member("us".into()), ..standby_at(90, line(&[], 1)) };
    assert_eq!(running(behind).with_primary(line(&[(1, 100)], 2)).run(&follow()), ["Point(Some(`eu`))", "done"]);
    let beyond = Server { upstream: Upstream::Member("us".into()), ..standby_at(110, line(&[], 1)) };
    let done = running(beyond).with_primary(line(&[(1, 100)], 2)).run(&follow());
    assert_eq!(done[..3], ["Point(None)", "Stop", "PutAside(Divergence { timeline: 1, at: 100 })"]);
    let paused = Server { is_paused: true, end: Some(120), ..standby_at(110, line(&[], 1)) };
    let done = running(paused).with_primary(line(&[(1, 100)], 2)).run(&follow());
    assert_eq!(done, ["Resume", "wait: it replays what it has"]);
}

#[test]
fn a_copy_that_holds_back_what_it_has_is_never_promoted_and_says_so() {
    let told = |server: Server| facts(&running(server).seen, &"eu".into(), Some(1));
    let late = Server { is_delayed: true, ..standby_at(90, line(&[], 1)) };
    let (well, late, primary) = (
        told(standby_at(90, line(&[], 1))),
        told(late.clone()),
        // A primary that would be a late standby holds nothing back.
        told(Server { is_standby: false, ..late }),
    );
    assert_eq!((well.unfit, well.copy.unwrap().priority), (None, Some(1)));
    assert!(late.unfit.unwrap().contains("recovery_min_apply_delay"));
    assert_eq!((late.copy.unwrap().priority, primary.unfit), (None, None));
}

#[test]
fn why_a_server_that_runs_does_not_answer_is_told_and_of_one_that_does_not_run_nothing() {
    let silent = |process| Seen { process, silence: Some("no such role".to_owned()), ..Seen::default() };
    let told = |process| facts(&silent(process), &"eu".into(), Some(1)).silence;
    assert_eq!(told(Process::Ours(1)).as_deref(), Some("no such role"));
    assert_eq!((told(Process::Foreign).is_some(), told(Process::Down)), (true, None));
}

#[test]
fn a_timeline_of_which_nothing_is_archived_is_told_until_something_is() {
    let settings = Settings {
        version: 15,
        has_checksums: true,
        logs_hints: true,
        logs_whole_pages: true,
        is_followable: true,
        keeps: 1,
        slots_keep: Some(1),
        n_senders: 10,
        limits: [1; LIMITS.len()],
    };
    let told = |archive: Option<crate::recovery::archive::Archive>| {
        let server = Server { is_standby: false, archive, settings: Some(settings.clone()), ..standby_at(90, line(&[(1, 80)], 2)) };
        facts(&running(server).seen, &"eu".into(), Some(1)).concerns.unwrap().into_iter().map(|it| it.text).collect::<Vec<_>>()
    };
    let archive = |is_on, up_to| Some(crate::recovery::archive::Archive { is_on, up_to, ..Default::default() });
    let text = "nothing of timeline 2 is known to be archived: one cannot go back to a moment since it began";
    assert_eq!(told(archive(true, None)), [text]);
    for well in [archive(true, Some(85)), archive(false, None), None] {
        assert!(told(well.clone()).is_empty(), "{well:?}");
    }
    assert_eq!(facts(&running(standby_at(90, line(&[], 1))).seen, &"eu".into(), None).concerns, None, "what was not looked at is not well");
}

#[test]
fn a_slot_that_nobody_uses_and_slots_that_nothing_bounds_are_told() {
    let settings = |slots_keep| Settings {
        version: 15,
        has_checksums: true,
        logs_hints: true,
        logs_whole_pages: true,
        is_followable: true,
        keeps: 256,
        slots_keep,
        n_senders: 10,
        limits: [1; LIMITS.len()],
    };
    let slots = vec![Slot { name: "portolan_ap".to_owned(), is_active: false, is_lost: false, keeps: 48 << 20 }];
    let told = |is_standby, slots_keep, slots: &[Slot]| {
        let server = Server { is_standby, settings: Some(settings(slots_keep)), slots: slots.to_vec(), ..standby_at(90, line(&[], 1)) };
        facts(&running(server).seen, &"eu".into(), Some(1)).concerns.unwrap().into_iter().map(|it| it.text).collect::<Vec<_>>().join("; ")
    };
    let unused = "nobody receives by slot portolan_ap: 48 MiB of the log are kept for it, 1024 MiB at the most";
    assert_eq!(told(false, Some(1024), &slots), unused);
    assert_eq!((told(true, Some(1024), &slots), told(false, Some(1024), &[])), (String::new(), String::new()));
    assert!(told(true, None, &[]).starts_with("max_slot_wal_keep_size is not set, so no slots are made"));
}

#[test]
fn what_cannot_be_followed_is_not() {
    let member = || running(standby_at(90, line(&[], 1)));
    assert_eq!(member().run(&follow()), ["wait: the primary does not answer"]);
    let mut other = member().with_primary(line(&[], 1));
    other.source.as_mut().unwrap().system = 8;
    // A logical subscriber of the primary is one, too: it has all rows, and not one page.
    assert_eq!(other.run(&follow()), ["fail: eu is another database: its system identifier is 8, ours 7"]);
    let mut standby = member().with_primary(line(&[], 1));
    standby.source.as_mut().unwrap().is_standby = true;
    assert_eq!(standby.run(&follow()), ["wait: the primary does not take writes yet"]);
    let mut broken = member().with_primary(line(&[], 1));
    broken.seen.broken = Some("a rewind did not end".to_owned());
    assert_eq!(broken.run(&follow()), ["fail: RECLONE_REQUIRED: a rewind did not end"]);
    let anew = Work::Follow { upstream: Label::new("eu"), reclone: true };
    assert_eq!(broken.run(&anew), ["wait: it starts, or its supervisor does not answer"], "never beside what runs");
    let mut condemned = down(Ran::Standby, standby_at(90, line(&[], 1))).with_primary(line(&[(1, 100)], 2));
    condemned.seen.broken = Some("a rewind did not end".to_owned());
    assert_eq!(condemned.clone().run(&follow()), ["fail: RECLONE_REQUIRED: a rewind did not end"], "not without allowance");
    let mut orphan = Member { source: None, ..condemned.clone() };
    assert_eq!(orphan.run(&anew), ["wait: it is to be copied anew, and the primary does not answer"]);
    assert_eq!(condemned.run(&anew), ["Reclone(`eu`)", "Start", "done"]);
    let mut foreign = member().with_primary(line(&[], 1));
    foreign.seen.process = Process::Foreign;
    assert!(foreign.run(&follow())[0].starts_with("fail: a server that the supervisor did not start"));
}

#[test]
fn one_that_ends_right_after_its_start_is_not_started_again_by_the_same_task() {
    let mut member = down(Ran::Standby, standby_at(90, line(&[], 1)));
    let mut course = Course::new(Work::Seal, TOKEN, String::new(), 0);
    assert_eq!((member.step(&mut course), member.step(&mut course)), (Next::Do(Verb::Mark), Next::Do(Verb::Start)));
    (member.seen.process, member.seen.server) = (Process::Down, None);
    assert!(matches!(member.step(&mut course), Next::Fail(why) if why.starts_with("it ended right after")));
}

#[test]
fn what_nobody_knows_is_not_down_and_nothing_is_begun_on_it() {
    let mut member = down(Ran::Primary, standby_at(90, line(&[], 1)));
    let told = |member: &Member| facts(&member.seen, &Label::new("us"), Some(1));
    assert_eq!((told(&member).database, told(&member).sight.map(|it| it.role)), (Database::Down, Some(Role::Stopped)));
    (member.seen.process, member.seen.is_marked) = (Process::Unknown, true);
    assert_eq!((told(&member).database, told(&member).sight, told(&member).lives_under), (Database::Unknown, None, None));
    for work in [Work::Start, Work::Seal, follow()] {
        assert_eq!(member.run(&work), ["wait: it starts, or its supervisor does not answer"]);
    }
    member.seen.process = Process::Ours(1);
    assert_eq!((told(&member).database, told(&member).lives_under), (Database::Unknown, Some(1)), "it runs, and does not answer");
    member.seen.process = Process::Foreign;
    assert_eq!(told(&member).database, Database::Unknown);
}

#[test]
fn a_copy_is_sealed_drained_promoted_and_signed() {
    let receiving = Server { upstream: Upstream::Member("us".into()), stream: UP, ..standby_at(90, line(&[], 3)) };
    let mut member = running(receiving);
    assert_eq!(member.run(&Work::Seal), ["Point(None)", "done"]);
    assert_eq!(member.run(&Work::Drain { position: 90, fetch_from: None }), ["done"]);
    assert_eq!(member.run(&Work::Promote), ["Synchronise(\"ANY 1 (\\\"ap\\\", \\\"eu\\\")\")", "Reserve(4)", "Promote", "done"]);
    assert_eq!(member.seen.server.as_ref().unwrap().history.timeline, 5);
    assert_eq!(member.run(&Work::Sign), ["Sign(Token { generation: 1, epoch: 40 })", "Checkpoint", "done"]);
    assert_eq!(member.run(&Work::Sign), ["Checkpoint", "done"], "begun again");
    assert_eq!(member.run(&Work::Stop), ["Stop", "done"]);
    assert_eq!(member.run(&Work::Start), ["Start", "done"], "it goes on as the primary that it was");
    let mut asleep = down(Ran::Standby, standby_at(80, line(&[], 1)));
    asleep.seen.upstream = Upstream::Member("us".into());
    assert_eq!(asleep.run(&Work::Seal), ["Mark", "Point(None)", "Start", "done"]);
    let mut leaving = running(Server { upstream: Upstream::Leaving, ..standby_at(90, line(&[], 1)) });
    assert_eq!(leaving.run(&Work::Seal), ["wait: its receiver ends"]);
}

#[test]
fn a_primary_is_started_with_whom_it_waits_for() {
    let mut crashed = down(Ran::Primary, standby_at(90, line(&[], 1)));
    crashed.seen.is_marked = true;
    assert_eq!(crashed.run(&Work::Start), ["Synchronise(\"ANY 1 (\\\"ap\\\", \\\"eu\\\")\")", "Unmark", "Start", "done"]);
    assert!(!crashed.seen.server.unwrap().is_standby);
}

#[test]
fn what_is_missing_is_fetched_and_the_source_is_left_again() {
    let mut member = running(standby_at(90, line(&[], 1)));
    let fetch = Work::Drain { position: 95, fetch_from: Some("ap".into()) };
    assert_eq!(member.run(&fetch), ["Point(Some(`ap`))", "wait: it fetches the rest"]);
    let server = member.seen.server.as_mut().unwrap();
    (server.position, server.end) = (93, Some(95));
    assert_eq!(member.run(&fetch), ["Point(None)", "wait: it replays"]);
    member.seen.server.as_mut().unwrap().position = 95;
    assert_eq!(member.run(&fetch), ["done"]);
}

#[test]
fn a_course_that_is_begun_again_after_each_verb_comes_to_the_same_end() {
    let members = [
        (down(Ran::Primary, standby_at(130, line(&[], 1))).with_primary(line(&[(1, 100)], 2)), follow()),
        (
            running(Server { upstream: Upstream::Member("us".into()), ..standby_at(110, line(&[], 1)) }).with_primary(line(&[(1, 100)], 2)),
            follow(),
        ),
        (running(standby_at(90, line(&[], 1))), Work::Promote),
        (down(Ran::Primary, standby_at(90, line(&[], 1))), Work::Start),
        (down(Ran::Standby, standby_at(90, line(&[], 1))), Work::Seal),
    ];
    for (member, work) in members {
        let mut whole = member.clone();
        whole.run(&work);
        for cut in 0..10 {
            let mut again = member.clone();
            let mut course = Course::new(work.clone(), TOKEN, "ANY 1 (\"ap\", \"eu\")".to_owned(), 4);
            for _ in 0..cut {
                again.step(&mut course);
            }
            let done = again.run(&work);
            assert_eq!(done.last().map(String::as_str), Some("done"), "{work:?} cut after {cut}: {done:?}");
            assert_eq!(again.seen, whole.seen, "{work:?} cut after {cut}");
        }
    }
}
