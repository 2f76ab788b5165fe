//! From what a task wants and what is seen to the next thing that is done.

use super::{
    Process,
    history::Divergence,
    seen::{Ran, Seen, Source, Upstream, facts},
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

/// A server that runs, or may, and does not answer.
const STARTS: &str = "it starts, or its supervisor does not answer";

const FOREIGN: &str = "a server that the supervisor did not start runs in the data directory: stop it";

/// One thing that the adapter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Write the mark.
    Mark,
    /// Take it away: the next start is one for writes.
    Unmark,
    /// Start it, as the mark says.
    Start,
    /// Stop it cleanly, and wait until it has.
    Stop,
    /// Receive from this member; `None`: from nobody.
    Point(Option<Label>),
    /// Replay goes on.
    Resume,
    /// Who must have a write before it is acknowledged (`synchronous_standby_names`); empty: nobody.
    Synchronise(String),
    /// Let the next timeline be above this one.
    Reserve(u32),
    /// End recovery.
    Promote,
    /// Write the token into the database, and read it back.
    Sign(Token),
    /// Make what was promoted known in the control file, which `pg_rewind` reads.
    Checkpoint,
    /// Keep the log from here on, which the primary does not have.
    PutAside(Divergence),
    /// Take away what the member of this region does not have; then the mark is there, and it receives from that one when it starts.
    Rewind(Label),
    /// Replace the directory, which nobody may start, by a new copy of that member; then as after a rewind.
    Reclone(Label),
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Course {
    work: Work,
    token: Token,
    /// `synchronous_standby_names` while this member leads.
    synchronous: String,
    /// A new timeline is above this one.
    above: u32,
    /// Where this copy left the primary's line, once that was seen.
    parted: Option<Divergence>,
    is_put_aside: bool,
    is_started: bool,
    is_checkpointed: bool,
}

impl Course {
    /// Begins. `synchronous` and `above`: of the grant, for work that opens the database for writes.
    #[must_use]
    pub const fn new(work: Work, token: Token, synchronous: String, above: u32) -> Self {
        Self { work, token, synchronous, above, parted: None, is_put_aside: false, is_started: false, is_checkpointed: false }
    }

    /// What was a primary goes on as one, on its own timeline; what was a standby starts as one, and is promoted then.
    fn start(&self, seen: &Seen) -> Next<Verb> {
        match (&seen.server, seen.process) {
            (Some(_), _) => Next::Done,
            (None, Process::Down) => match seen.control.map(|control| control.ran) {
                None => Next::fail("the control file cannot be read"),
                Some(Ran::Standby) => start_sealed(seen),
                // Nothing is acknowledged alone, not even for a moment (O11).
                Some(_) if seen.synchronous != self.synchronous => Next::Do(Verb::Synchronise(self.synchronous.clone())),
                Some(Ran::Stopped(_) | Ran::Primary) if seen.is_marked => Next::Do(Verb::Unmark),
                Some(Ran::Stopped(_) | Ran::Primary) => Next::Do(Verb::Start),
            },
            (None, _) => Next::wait(STARTS),
        }
    }

    fn promote(&self, seen: &Seen) -> Next<Verb> {
        let Some(server) = &seen.server else { return no_answer(seen) };
        if !server.is_standby {
            return Next::Done;
        }
        if server.synchronous != self.synchronous {
            return Next::Do(Verb::Synchronise(self.synchronous.clone()));
        }
        if server.reserved < self.above {
            return Next::Do(Verb::Reserve(self.above));
        }
        Next::Do(Verb::Promote)
    }

    fn sign(&self, seen: &Seen) -> Next<Verb> {
        let Some(server) = &seen.server else { return no_answer(seen) };
        if server.is_standby {
            return Next::fail("it takes no writes, so no token can be written");
        }
        if server.synchronous != self.synchronous {
            return Next::Do(Verb::Synchronise(self.synchronous.clone()));
        }
        if server.opening.is_none_or(|opening| opening.token != self.token || opening.timeline != server.history.timeline) {
            return Next::Do(Verb::Sign(self.token));
        }
        if self.is_checkpointed { Next::Done } else { Next::Do(Verb::Checkpoint) }
    }

    fn follow(&mut self, seen: &Seen, upstream: &Label, source: Option<&Source>) -> Next<Verb> {
        if seen.process == Process::Down {
            return self.follow_down(seen, upstream);
        }
        let Some(server) = &seen.server else { return Next::wait(STARTS) };
        if !server.is_standby {
            return Next::fail("it takes writes: it is stopped first");
        }
        let wanted = Upstream::Member(upstream.clone());
        if server.upstream == wanted && server.stream.is_up() {
            return Next::Done;
        }
        let Some(source) = source else { return Next::wait("the primary does not answer") };
        if source.system != server.system {
            return Next::Fail(format!(
                "{upstream} is another database: its system identifier is {}, ours {}",
                source.system, server.system
            ));
        }
        if source.is_standby {
            return Next::wait("the primary does not take writes yet");
        }
        let end = server.end.unwrap_or(server.position);
        match server.history.parted(end, &source.history) {
            None if server.upstream == wanted => Next::wait("it does not stream yet"),
            None => Next::Do(Verb::Point(Some(upstream.clone()))),
            // Where it ends is known only when nothing more comes and everything is replayed.
            Some(_) if server.upstream == Upstream::Leaving => Next::wait("its receiver ends"),
            Some(_) if server.upstream != Upstream::Nobody => Next::Do(Verb::Point(None)),
            Some(_) if server.is_paused => Next::Do(Verb::Resume),
            Some(_) if !server.is_exhausted() => Next::wait("it replays what it has"),
            Some(parted) => {
                self.parted = Some(parted);
                Next::Do(Verb::Stop)
            }
        }
    }

    fn follow_down(&self, seen: &Seen, upstream: &Label) -> Next<Verb> {
        if !seen.is_marked {
            return Next::Do(Verb::Mark);
        }
        match (self.parted, self.is_put_aside) {
            (Some(parted), false) => Next::Do(Verb::PutAside(parted)),
            (Some(_), true) => Next::Do(Verb::Rewind(upstream.clone())),
            // A copy that was rewound cannot start without the primary's log.
            (None, _) if seen.upstream == Upstream::Member(upstream.clone()) => Next::Do(Verb::Start),
            // It starts alone, recovers, and shows where it ends; then it is pointed at the primary, or rewound.
            (None, _) => start_sealed(seen),
        }
    }
}

impl engine::Course for Course {
    type Seen = Seen;
    type Source = Source;
    type Verb = Verb;

    fn begin(task: &Task, grant: Option<&Grant>) -> Self {
        let synchronous = grant.map_or_else(String::new, |grant| synchronous(&grant.durability));
        Self::new(task.work.clone(), task.token, synchronous, grant.map_or(0, |grant| grant.above))
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn next(&mut self, seen: &Seen, source: Option<&Source>) -> Next<Verb> {
        if let (Some(_), Work::Follow { upstream, reclone: true }) = (&seen.broken, &self.work) {
            return reclone(seen, upstream, source);
        }
        let broken = seen.broken.as_ref().map(|why| format!("RECLONE_REQUIRED: {why}"));
        if let Some(why) = unled(&self.work, seen.process, broken, self.is_started, FOREIGN) {
            return Next::Fail(why);
        }
        match &self.work {
            Work::Mark if seen.is_marked => Next::Done,
            Work::Mark => Next::Do(Verb::Mark),
            Work::Stop if seen.process == Process::Down => Next::Done,
            Work::Stop => Next::Do(Verb::Stop),
            Work::Seal => seal(seen),
            Work::Drain { position, fetch_from } => drain(seen, *position, fetch_from.as_ref()),
            Work::Start => self.start(seen),
            Work::Promote => self.promote(seen),
            Work::Sign => self.sign(seen),
            Work::Follow { upstream, .. } => {
                let upstream = upstream.clone();
                self.follow(seen, &upstream, source)
            }
        }
    }

    fn act(seen: &Seen, verb: &Verb) -> Act {
        match verb {
            Verb::Start => Act::Start { opens: !seen.is_marked },
            Verb::Stop => Act::Stop,
            Verb::Unmark | Verb::Promote => Act::Engine { opens: true },
            _ => Act::Engine { opens: false },
        }
    }

    fn did(&mut self, verb: &Verb) {
        match verb {
            Verb::PutAside(_) => self.is_put_aside = true,
            Verb::Rewind(_) | Verb::Reclone(_) => self.parted = None,
            Verb::Start => self.is_started = true,
            Verb::Stop => self.is_started = false,
            Verb::Checkpoint => self.is_checkpointed = true,
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

/// Of a directory that nobody may start: a new copy is made of whoever takes writes now, and never beside what runs.
fn reclone(seen: &Seen, upstream: &Label, source: Option<&Source>) -> Next<Verb> {
    match (seen.process, source) {
        (Process::Down, Some(source)) if !source.is_standby => Next::Do(Verb::Reclone(upstream.clone())),
        (Process::Down, Some(_)) => Next::wait("the primary does not take writes yet"),
        (Process::Down, None) => Next::wait("it is to be copied anew, and the primary does not answer"),
        (Process::Foreign, _) => Next::fail(FOREIGN),
        (Process::Ours(_) | Process::Unknown, _) => Next::wait(STARTS),
    }
}

/// Starts as a standby that receives from nobody.
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
        (Some(server), _) if !server.is_standby => Next::fail("it takes writes: it is stopped, not sealed"),
        (Some(server), _) => match server.upstream {
            Upstream::Nobody if server.end.is_some() => Next::Done,
            Upstream::Nobody => Next::wait("where it ends is not known yet"),
            Upstream::Leaving => Next::wait("its receiver ends"),
            Upstream::Member(_) | Upstream::Elsewhere => Next::Do(Verb::Point(None)),
        },
    }
}

fn drain(seen: &Seen, position: u64, fetch_from: Option<&Label>) -> Next<Verb> {
    let Some(server) = &seen.server else { return no_answer(seen) };
    if !server.is_standby {
        return Next::fail("it takes writes: there is nothing to replay");
    }
    let has = server.end.unwrap_or(server.position);
    match (&server.upstream, fetch_from) {
        (Upstream::Nobody, Some(from)) if has < position => return Next::Do(Verb::Point(Some(from.clone()))),
        (Upstream::Member(at), Some(from)) if at == from && has < position => return Next::wait("it fetches the rest"),
        (Upstream::Nobody, _) => {}
        (Upstream::Leaving, _) => return Next::wait("its receiver ends"),
        _ => return Next::Do(Verb::Point(None)),
    }
    if server.position >= position {
        Next::Done
    } else if server.is_paused {
        Next::Do(Verb::Resume)
    } else {
        Next::wait("it replays")
    }
}

/// `synchronous_standby_names` for a grant: standbys are known by the names of their regions.
fn synchronous(durability: &Durability) -> String {
    match durability {
        Durability::Async => String::new(),
        Durability::Quorum { standbys, acknowledging } => {
            let names: Vec<String> = standbys.iter().map(|region| format!("\"{region}\"")).collect();
            format!("ANY {acknowledging} ({})", names.join(", "))
        }
    }
}
