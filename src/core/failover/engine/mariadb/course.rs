//! From what a task wants and what is seen to the next thing that is done.

use super::{
    Process,
    lines::Divergence,
    seen::{Seen, Server, Source, Upstream, facts},
};
use crate::{
    failover::{
        agent::{Facts, Task, Work},
        choose::Durability,
        engine::{self, Act, Next, unled},
        lease::Grant,
        token::Token,
    },
    model::ids::Label,
};

const FOREIGN: &str = "a server that the supervisor did not start runs in the data directory: stop it";

/// One thing that the adapter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Write the mark.
    Mark,
    /// Start it, read-only; it follows nobody before it is told to.
    Start,
    /// Take no more writes, and let every standby that is connected have what there is.
    Close,
    /// Stop it cleanly, and wait until it has.
    Stop,
    /// Stop to receive; what was received is applied on.
    Seal,
    /// Apply what was received.
    Apply,
    /// Follow this member, from where the copy ends.
    Follow(Label),
    /// Forget whom it followed, write the token, and take writes. `timeline`: that of the line that begins; `None`: its own goes on.
    Open {
        /// Of the grant.
        token: Token,
        /// `None`: this server opened the database last.
        timeline: Option<u32>,
    },
    /// Write the token into a database that takes writes already.
    Sign(Token),
    /// Keep the binary log from here on, which the primary does not have, and let nobody start the directory again: a person makes a new copy.
    Condemn(Divergence, String),
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Course {
    work: Work,
    token: Token,
    /// A new timeline is above this one.
    above: u32,
    /// Where this copy left the primary's line, and how that was seen.
    parted: Option<(Divergence, String)>,
    is_started: bool,
    /// It was asked to close; once, whatever came of it.
    is_closed: bool,
    /// The grant says that standbys acknowledge writes, which MariaDB's do not.
    wants_quorum: bool,
}

impl Course {
    /// Begins. `above`: of the grant, for work that opens the database for writes.
    #[must_use]
    pub const fn new(work: Work, token: Token, above: u32) -> Self {
        Self { work, token, above, parted: None, is_started: false, is_closed: false, wants_quorum: false }
    }

    fn stop(&self, seen: &Seen) -> Next<Verb> {
        match &seen.server {
            _ if seen.process == Process::Down => Next::Done,
            Some(server) if server.writes && !self.is_closed => Next::Do(Verb::Close),
            _ => Next::Do(Verb::Stop),
        }
    }

    fn promote(&self, seen: &Seen) -> Next<Verb> {
        let server = match answering(seen) {
            Ok(server) => server,
            Err(next) => return next,
        };
        if server.writes {
            return Next::Done;
        }
        if let Some(why) = unfit(server).or_else(|| errant(server)) {
            return why;
        }
        if server.receives {
            return Next::Do(Verb::Seal);
        }
        if !server.is_exhausted() {
            return Next::wait("it applies what it has");
        }
        if self.wants_quorum {
            return Next::fail("a group of MariaDB is asynchronous: write `durability: async` in the plan");
        }
        let goes_on = server.upstream == Upstream::Nobody && server.is_own_line;
        let timeline = (!goes_on).then(|| server.history.timeline().max(self.above).saturating_add(1));
        Next::Do(Verb::Open { token: self.token, timeline })
    }

    fn sign(&self, seen: &Seen) -> Next<Verb> {
        match answering(seen) {
            Err(next) => next,
            Ok(server) if !server.writes => Next::fail("it takes no writes, so no token can be written"),
            Ok(server) if server.token != Some(self.token) => Next::Do(Verb::Sign(self.token)),
            Ok(_) => Next::Done,
        }
    }

    fn follow(&mut self, seen: &Seen, upstream: &Label, source: Option<&Source>) -> Next<Verb> {
        if let (Process::Down, true, Some((parted, why))) = (seen.process, seen.is_marked, &self.parted) {
            return Next::Do(Verb::Condemn(*parted, why.clone()));
        }
        let server = match running(seen) {
            Ok(server) => server,
            Err(next) => return next,
        };
        if server.writes {
            return Next::fail("it takes writes: it is stopped first");
        }
        if let Some(why) = unfit(server) {
            return why;
        }
        let is_pointed = server.upstream == Upstream::Member(upstream.clone());
        if is_pointed && server.errant_from.is_none() && server.stream.is_up() {
            return Next::Done;
        }
        let Some(source) = source else { return Next::wait("the primary does not answer") };
        if source.system != server.system {
            return Next::Fail(format!(
                "{upstream} is another database: `portolan.lease` has the system {}, ours {}",
                source.system, server.system
            ));
        }
        if !source.writes {
            return Next::wait("the primary does not take writes yet");
        }
        if let Some((parted, why)) = parted(server, upstream, source) {
            // Where it ends is known only when nothing more comes and everything is applied that can be.
            if server.receives {
                return Next::Do(Verb::Seal);
            }
            if !server.is_exhausted() {
                return Next::wait("it applies what it has");
            }
            self.parted = Some((parted, why));
            return Next::Do(Verb::Stop);
        }
        if let Some(error) = &server.sql_error {
            return Next::Fail(format!(
                "it cannot apply what it received: error {}, {}: mend it, or make a new copy",
                error.number, error.text
            ));
        }
        match (is_pointed, server.receives) {
            (true, true) if !server.applies => Next::Do(Verb::Apply),
            (true, true) => Next::Wait(match &server.io_error {
                Some(error) => format!("it does not stream yet: error {}, {}", error.number, error.text),
                None => "it does not stream yet".to_owned(),
            }),
            (false, true) => Next::Do(Verb::Seal),
            (_, false) if !server.is_exhausted() => Next::wait("it applies what it has"),
            (_, false) => Next::Do(Verb::Follow(upstream.clone())),
        }
    }
}

impl engine::Course for Course {
    type Seen = Seen;
    type Source = Source;
    type Verb = Verb;

    fn begin(task: &Task, grant: Option<&Grant>) -> Self {
        let wants_quorum = grant.is_some_and(|grant| matches!(grant.durability, Durability::Quorum { .. }));
        Self { wants_quorum, ..Self::new(task.work.clone(), task.token, grant.map_or(0, |grant| grant.above)) }
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn next(&mut self, seen: &Seen, source: Option<&Source>) -> Next<Verb> {
        let broken = seen.broken.as_ref().map(|why| format!("RECLONE_REQUIRED: {why}"));
        if let Some(why) = unled(&self.work, seen.process, broken, self.is_started, FOREIGN) {
            return Next::Fail(why);
        }
        match self.work.clone() {
            Work::Mark if seen.is_marked => Next::Done,
            Work::Mark => Next::Do(Verb::Mark),
            Work::Stop => self.stop(seen),
            Work::Seal => seal(seen),
            Work::Drain { position, fetch_from } => drain(seen, position, fetch_from.as_ref()),
            // It starts read-only; to open it is a task of its own.
            Work::Start => running(seen).map_or_else(|next| next, |_| Next::Done),
            Work::Promote => self.promote(seen),
            Work::Sign => self.sign(seen),
            Work::Follow { upstream, .. } => self.follow(seen, &upstream, source),
        }
    }

    fn act(_: &Seen, verb: &Verb) -> Act {
        match verb {
            // Every start is one of a server that is read-only.
            Verb::Start => Act::Start { opens: false },
            Verb::Stop => Act::Stop,
            Verb::Open { .. } => Act::Engine { opens: true },
            _ => Act::Engine { opens: false },
        }
    }

    /// A server that cannot be closed is stopped all the same.
    fn tries(&mut self, verb: &Verb) {
        self.is_closed |= *verb == Verb::Close;
    }

    fn did(&mut self, verb: &Verb) {
        match verb {
            Verb::Start => self.is_started = true,
            Verb::Stop => self.is_started = false,
            _ => {}
        }
    }

    fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
        facts(seen, region, priority)
    }
}

/// Where this copy and the source parted, and how that is seen; `None`: they did not, as far as can be seen from here.
fn parted(server: &Server, upstream: &Label, source: &Source) -> Option<(Divergence, String)> {
    let timeline = server.history.timeline();
    if let Some(parted) = server.history.parted(server.end(), &source.history) {
        let why = format!("it has transactions behind {} that {upstream} does not have", parted.at);
        return Some((parted, why));
    }
    if let Some(at) = server.errant_from {
        return Some((Divergence { timeline, at }, format!("it has transactions of its own behind {at}, written while it followed")));
    }
    // What another upstream said is none of this one's.
    let refusal = server.refused().filter(|_| server.upstream == Upstream::Member(upstream.clone()))?;
    let why = format!("{upstream} and it do not fit: error {}, {}", refusal.number, refusal.text);
    // Which of its transactions is the first is not told; those of its line are all that can be.
    Some((Divergence { timeline, at: server.history.began() }, why))
}

fn unfit(server: &Server) -> Option<Next<Verb>> {
    server.unfit.as_ref().map(|why| Next::Fail(why.clone()))
}

fn errant(server: &Server) -> Option<Next<Verb>> {
    server.errant_from.map(|at| Next::Fail(format!("RECLONE_REQUIRED: it has transactions of its own behind {at}")))
}

fn answers_not(seen: &Seen) -> Next<Verb> {
    let why = seen.silence.as_deref().unwrap_or("it starts, or its supervisor does not answer");
    Next::Wait(format!("it does not answer: {why}"))
}

/// One that is to run already.
fn answering(seen: &Seen) -> Result<&Server, Next<Verb>> {
    let missing = || if seen.process == Process::Down { Next::fail("it does not run") } else { answers_not(seen) };
    seen.server.as_ref().ok_or_else(missing)
}

/// One that is started where it does not run: read-only, and following nobody.
fn running(seen: &Seen) -> Result<&Server, Next<Verb>> {
    match (&seen.server, seen.process) {
        (Some(server), _) => Ok(server),
        (None, Process::Down) if !seen.is_marked => Err(Next::Do(Verb::Mark)),
        (None, Process::Down) => Err(Next::Do(Verb::Start)),
        (None, _) => Err(answers_not(seen)),
    }
}

fn seal(seen: &Seen) -> Next<Verb> {
    let server = match running(seen) {
        Ok(server) => server,
        Err(next) => return next,
    };
    if server.writes {
        return Next::fail("it takes writes: it is stopped, not sealed");
    }
    if let Some(why) = unfit(server).or_else(|| errant(server)) {
        return why;
    }
    match server.receives {
        // The relay log is thrown away when it is to be applied with nothing running: first this, then that.
        true if !server.applies && server.sql_error.is_none() => Next::Do(Verb::Apply),
        true => Next::Do(Verb::Seal),
        false => Next::Done,
    }
}

fn drain(seen: &Seen, position: u64, fetch_from: Option<&Label>) -> Next<Verb> {
    let server = match answering(seen) {
        Ok(server) => server,
        Err(next) => return next,
    };
    if server.writes {
        return Next::fail("it takes writes: there is nothing to apply");
    }
    if let Some(why) = unfit(server).or_else(|| errant(server)) {
        return why;
    }
    if server.receives {
        let fetches = fetch_from.is_some_and(|from| server.upstream == Upstream::Member(from.clone()));
        return if fetches && server.end() < position && server.io_error.is_none() {
            Next::wait("it fetches the rest")
        } else {
            Next::Do(Verb::Seal)
        };
    }
    if server.applied >= position {
        return Next::Done;
    }
    if let Some(error) = &server.sql_error {
        return Next::Fail(format!("it cannot apply what it received: error {}, {}", error.number, error.text));
    }
    if !server.is_exhausted() {
        return Next::wait("it applies what it has");
    }
    match fetch_from {
        Some(from) => Next::Do(Verb::Follow(from.clone())),
        None => {
            Next::Fail(format!("it has only up to {}: what it had received and not applied went when it was started again", server.applied))
        }
    }
}
