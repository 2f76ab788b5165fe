//! From what a task wants and what is seen to the next thing that is done.

use super::{Divergence, GAP, Line, Process, Ran, Seen, Server, Source, Stretch, Upstream, facts};
use crate::{
    failover::{
        agent::{Facts, Task, Work},
        engine::{self, Act, Next, unled},
        lease::Grant,
        token::Token,
    },
    model::ids::Label,
};

/// A server that runs, or may, and does not answer.
const STARTS: &str = "it starts or loads its data, or its supervisor does not answer";

/// A replica is given a whole copy.
const SYNCHRONISES: &str = "it takes in a whole copy";

/// Its files were taken away, or it reads others than it wrote.
const WITHOUT_DATA: &str = "it came back without its data, so it is not to be the primary: fail over to a replica";

const FOREIGN: &str = "a server that the supervisor did not start answers at its address: stop it";

/// One thing that the adapter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Write the mark.
    Mark,
    /// Note that it is a primary, and where from if it stopped cleanly there.
    Claim,
    /// Start it, as a replica: every start is one.
    Start,
    /// Let it write a snapshot when it stops. A primary: let it take no more writes, and note where that was.
    Quiesce,
    /// Stop it cleanly, and wait until it has.
    Stop,
    /// Receive from this member; `None`: from nobody.
    Point(Option<Label>),
    /// Note where it ends, receive no more, and take writes.
    Promote,
    /// Let its offset count what is written, which it does from its first replica on; its run has another id then.
    Count,
    /// Let it take writes again if it was about to stop; write this line into it, and read it back.
    Sign(Line),
    /// Keep a copy of the files, which have what the primary does not have, or may have; `None`: nobody knows from where on.
    PutAside(Option<Divergence>),
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Course {
    work: Work,
    token: Token,
    /// A new timeline is above this one.
    above: u32,
    is_put_aside: bool,
    is_started: bool,
    is_quiet: bool,
}

impl Course {
    /// Begins. `above`: of the grant, for work that opens the database for writes.
    #[must_use]
    pub const fn new(work: Work, token: Token, above: u32) -> Self {
        Self { work, token, above, is_put_aside: false, is_started: false, is_quiet: false }
    }

    fn stop(&self, seen: &Seen) -> Next<Verb> {
        match (&seen.server, seen.process) {
            (_, Process::Down) => Next::Done,
            (Some(_), _) if !self.is_quiet => Next::Do(Verb::Quiesce),
            _ => Next::Do(Verb::Stop),
        }
    }

    fn sign(&self, seen: &Seen) -> Next<Verb> {
        let Some(server) = &seen.server else { return no_answer(seen) };
        if server.is_replica {
            return Next::fail("it takes no writes, so no token can be written");
        }
        if server.opening().is_some_and(|opening| opening.token == self.token) {
            return Next::Done;
        }
        match (&server.line, &seen.kept.note.line) {
            (None, Some(_)) => Next::fail(WITHOUT_DATA),
            _ if !server.counts => Next::Do(Verb::Count),
            (None, None) => {
                let system = seen.kept.system().unwrap_or_else(|| server.id.system());
                let stretch = self.stretch(server, 0, server.offset, server.offset);
                Next::Do(Verb::Sign(Line::new(system, stretch)))
            }
            (Some(line), _) => Next::Do(Verb::Sign(line.with(self.next_stretch(line, seen, server)))),
        }
    }

    fn stretch(&self, server: &Server, before: u32, forked: u64, began: u64) -> Stretch {
        let timeline = before.max(self.above).saturating_add(1);
        Stretch { token: self.token, timeline, id: server.id.clone(), forked, began, offset: server.offset }
    }

    fn next_stretch(&self, line: &Line, seen: &Seen, server: &Server) -> Stretch {
        let last = line.last();
        // The same run under another grant: everybody who counts it goes on.
        if last.id == server.id {
            let at = line.position(server.offset).unwrap_or(last.began);
            return self.stretch(server, last.timeline, at, at);
        }
        if let Some((id, offset)) = &server.earlier
            && *id == last.id
            && let Some(at) = line.position(*offset)
        {
            return Stretch { offset: *offset, ..self.stretch(server, last.timeline, at, at) };
        }
        // It lost its count, and where it ended was noted before.
        if let Some((_, at)) = seen.kept.note.resumes.as_ref().filter(|(id, _)| *id == last.id) {
            return self.stretch(server, last.timeline, *at, *at);
        }
        // It has at least what its last heartbeat says. A copy may have more, and is not to seem so.
        let forked = server.beat.unwrap_or_default().max(last.began);
        self.stretch(server, last.timeline, forked, forked.saturating_add(GAP))
    }

    fn follow(&self, seen: &Seen, upstream: &Label, source: Option<&Source>) -> Next<Verb> {
        let wanted = Upstream::Member(upstream.clone());
        let server = match (&seen.server, seen.process) {
            (Some(server), _) if !server.is_replica => return Next::fail("it takes writes: it is stopped first"),
            (Some(server), _) if server.upstream == wanted && server.stream.is_up() => return Next::Done,
            (Some(server), _) => Some(server),
            (None, Process::Down) if !seen.is_marked => return Next::Do(Verb::Mark),
            (None, Process::Down) => None,
            (None, _) => return Next::wait(STARTS),
        };
        let Some(source) = source else { return Next::wait("the primary does not answer") };
        let line = match &source.line {
            _ if source.is_replica => return Next::wait("the primary does not take writes yet"),
            None => return Next::wait("the primary bears no token yet"),
            Some(line) => line,
        };
        let own = server.and_then(|server| server.line.as_ref()).map(|line| line.system).or_else(|| seen.kept.system());
        if let Some(own) = own.filter(|own| *own != line.system) {
            return Next::Fail(format!("{upstream} is another database: its system identifier is {}, ours {own}", line.system));
        }
        match server {
            Some(server) if server.upstream == wanted => {
                Next::wait(if server.is_loading { SYNCHRONISES } else { "it does not stream yet" })
            }
            Some(server) => {
                let parted = server.position().zip(server.line.as_ref()).and_then(|(position, own)| own.parted(position, line));
                match parted.filter(|_| !self.is_put_aside) {
                    None => Next::Do(Verb::Point(Some(upstream.clone()))),
                    // What it has is in its files when it has stopped.
                    Some(_) if !self.is_quiet => Next::Do(Verb::Quiesce),
                    Some(_) => Next::Do(Verb::Stop),
                }
            }
            None => match seen.kept.tail(line).filter(|_| !self.is_put_aside) {
                Some(parted) => Next::Do(Verb::PutAside(parted)),
                None if seen.upstream != wanted => Next::Do(Verb::Point(Some(upstream.clone()))),
                None => Next::Do(Verb::Start),
            },
        }
    }
}

impl engine::Course for Course {
    type Seen = Seen;
    type Source = Source;
    type Verb = Verb;

    fn begin(task: &Task, grant: Option<&Grant>) -> Self {
        Self::new(task.work.clone(), task.token, grant.map_or(0, |grant| grant.above))
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn next(&mut self, seen: &Seen, source: Option<&Source>) -> Next<Verb> {
        if let Some(why) = unled(&self.work, seen.process, seen.broken.clone(), self.is_started, FOREIGN) {
            return Next::Fail(why);
        }
        match &self.work {
            Work::Mark if seen.is_marked => Next::Done,
            Work::Mark => Next::Do(Verb::Mark),
            Work::Stop => self.stop(seen),
            Work::Seal => seal(seen),
            Work::Drain { position, fetch_from } => drain(seen, *position, fetch_from.as_ref()),
            Work::Start => start(seen),
            Work::Promote => promote(seen),
            Work::Sign => self.sign(seen),
            Work::Follow { upstream, .. } => self.follow(seen, upstream, source),
        }
    }

    fn act(seen: &Seen, verb: &Verb) -> Act {
        match verb {
            Verb::Start => Act::Start { opens: !seen.is_marked },
            Verb::Stop => Act::Stop,
            Verb::Promote | Verb::Sign(_) => Act::Engine { opens: true },
            _ => Act::Engine { opens: false },
        }
    }

    fn did(&mut self, verb: &Verb) {
        match verb {
            Verb::PutAside(_) => self.is_put_aside = true,
            Verb::Quiesce => self.is_quiet = true,
            Verb::Start => self.is_started = true,
            Verb::Stop => self.is_started = false,
            _ => {}
        }
    }

    fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
        facts(seen, region, priority)
    }
}

fn no_answer(seen: &Seen) -> Next<Verb> {
    if seen.process == Process::Down { Next::fail("it does not run") } else { Next::wait("it does not answer") }
}

/// Whatever it was, it starts as a replica of nobody, so that it shows what it has before anybody takes that from it, and is promoted then.
/// What was a primary does so only if nobody can have more than it.
fn start(seen: &Seen) -> Next<Verb> {
    match (&seen.server, seen.process) {
        (Some(_), _) => Next::Done,
        (None, Process::Down) => match seen.kept.ran(seen.is_marked) {
            Ran::Replica => start_sealed(seen),
            Ran::Primary => match seen.kept.stale() {
                Some(why) => Next::Fail(why.to_owned()),
                None if seen.kept.note != seen.kept.opening() => Next::Do(Verb::Claim),
                None => start_sealed(seen),
            },
        },
        (None, _) => Next::wait(STARTS),
    }
}

/// Starts as a replica that receives from nobody.
fn start_sealed(seen: &Seen) -> Next<Verb> {
    if !seen.is_marked {
        Next::Do(Verb::Mark)
    } else if seen.upstream != Upstream::Nobody {
        Next::Do(Verb::Point(None))
    } else {
        Next::Do(Verb::Start)
    }
}

fn seal(seen: &Seen) -> Next<Verb> {
    match (&seen.server, seen.process) {
        (None, Process::Down) => start_sealed(seen),
        (None, _) => Next::wait(STARTS),
        (Some(server), _) if !server.is_replica => Next::fail("it takes writes: it is stopped, not sealed"),
        (Some(server), _) if server.upstream != Upstream::Nobody => Next::Do(Verb::Point(None)),
        (Some(server), _) if server.is_loading => Next::wait(SYNCHRONISES),
        (Some(server), _) if server.position().is_some() => Next::Done,
        (Some(_), _) => Next::fail("where its copy ends cannot be told, so it is no candidate"),
    }
}

/// What is received is applied: a copy has it, or must fetch it, which Redis does only from a primary.
fn drain(seen: &Seen, position: u64, fetch_from: Option<&Label>) -> Next<Verb> {
    let Some(server) = &seen.server else { return no_answer(seen) };
    if !server.is_replica {
        return Next::fail("it takes writes: there is nothing to apply");
    }
    match server.position() {
        _ if server.upstream != Upstream::Nobody => Next::Do(Verb::Point(None)),
        Some(has) if has >= position => Next::Done,
        has => {
            let has = has.map_or_else(|| "somewhere".to_owned(), |has| format!("at {has}"));
            let rest =
                fetch_from.map_or_else(String::new, |from| format!(", and {from} has the rest: Redis gives nothing from a sealed copy"));
            Next::Fail(format!("its copy ends {has}, before {position}{rest}"))
        }
    }
}

fn promote(seen: &Seen) -> Next<Verb> {
    let Some(server) = &seen.server else { return no_answer(seen) };
    if !server.is_replica {
        return Next::Done;
    }
    if server.is_loading {
        return Next::wait(SYNCHRONISES);
    }
    let note = &seen.kept.note;
    if server.line.is_none() && note.line.is_some() {
        return Next::fail(WITHOUT_DATA);
    }
    // What was the primary may have lost its count; whatever it has is the newest then.
    if server.position().is_some() || note.ran == Some(Ran::Primary) {
        return Next::Do(Verb::Promote);
    }
    Next::fail("where its copy ends cannot be told, so it is not promoted")
}
