//! What the adapter saw, and what the agent's machine makes of it.

use super::{
    Process,
    history::History,
    settings::{Peers, Settings},
    slots::Slot,
};
use crate::{
    failover::{
        agent::{Database, Facts, Opening},
        choose::Sealed,
        concern::Concern,
        evidence::Stream,
        group::Stopped,
        order::{Role, Sight},
    },
    model::ids::Label,
    recovery::archive::Archive,
};

/// One look at a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What runs.
    pub process: Process,
    /// The mark is there.
    pub is_marked: bool,
    /// Why the directory must not be started; `None`: it may.
    pub broken: Option<String>,
    /// From its files, while nothing runs; `None`: it runs, or they could not be read.
    pub control: Option<Control>,
    /// Whom it would receive from if it were started now, by its files.
    pub upstream: Upstream,
    /// Whom it would wait for before it acknowledges a write then.
    pub synchronous: String,
    /// From itself; `None`: it does not answer.
    pub server: Option<Server>,
    /// Why it does not; `None`: it does, or was not asked.
    pub silence: Option<String>,
    /// Members of the plan beside it.
    pub n_others: usize,
    /// What those say.
    pub others: Peers,
}

/// What a directory was when its server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// A primary that stopped cleanly; behind its last record.
    Stopped(u64),
    /// A primary that did not.
    Primary,
    /// A standby.
    Standby,
}

/// What its control file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// What it was.
    pub ran: Ran,
    /// Of the database.
    pub system: u64,
    /// Of its last checkpoint.
    pub timeline: u32,
}

/// What a server receives from, if it is a standby.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    /// From nobody: nothing is set, and no receiver runs.
    #[default]
    Nobody,
    /// From the member of that region.
    Member(Label),
    /// From something that is no member.
    Elsewhere,
    /// From nobody soon: nothing is set, and the receiver has not ended yet.
    Leaving,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Of the database.
    pub system: u64,
    /// The line that it stands on.
    pub history: History,
    /// It takes no writes.
    pub is_standby: bool,
    /// Whom it receives from.
    pub upstream: Upstream,
    /// A standby: what it hears from there now.
    pub stream: Stream,
    /// A standby: up to where it has replayed. A primary: up to where its log is on disk.
    pub position: u64,
    /// A standby: behind the last whole record that it has; `None`: that could not be told.
    pub end: Option<u64>,
    /// Replay was paused by somebody.
    pub is_paused: bool,
    /// It holds back what it has (`recovery_min_apply_delay`), so it is no candidate.
    pub is_delayed: bool,
    /// The timeline above which a promotion would take the next one: its own, or the last of those known after it.
    pub reserved: u32,
    /// `synchronous_standby_names`.
    pub synchronous: String,
    /// The token in it; `None`: none.
    pub opening: Option<Opening>,
    /// A primary: what it says of its archive; `None`: it does not.
    pub archive: Option<Archive>,
    /// As in [`Facts::wrote`].
    pub wrote: Option<u64>,
    /// How it is set; `None`: it does not say.
    pub settings: Option<Settings>,
    /// Its slots that are made here.
    pub slots: Vec<Slot>,
}

impl Server {
    /// What a failover would find amiss; `None`: it was not looked at.
    fn concerns(&self, seen: &Seen) -> Option<Vec<Concern>> {
        let settings = self.settings.as_ref()?;
        let mut concerns = settings.concerns(seen.n_others, &seen.others);
        concerns.extend(settings.slot_concerns(&self.slots, !self.is_standby));
        if self.archive.as_ref().is_some_and(|archive| archive.is_on && archive.up_to.is_none()) {
            let timeline = self.history.timeline;
            let text = format!("nothing of timeline {timeline} is known to be archived: one cannot go back to a moment since it began");
            concerns.push(Concern::new("archive", text, "select pg_switch_wal(), see that it is archived, and take a base backup"));
        }
        Some(concerns)
    }

    /// It has replayed everything that it has.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.end == Some(self.position)
    }
}

/// What the member that is to be followed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of the database.
    pub system: u64,
    /// The line that it stands on.
    pub history: History,
    /// It takes no writes.
    pub is_standby: bool,
}

/// What the agent's machine is told. `priority`: of the member, the lower is promoted first; `None`: never promoted.
#[must_use]
pub fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
    let lives_under = match seen.process {
        Process::Ours(supervisor) => Some(supervisor),
        Process::Unknown | Process::Down | Process::Foreign => None,
    };
    let silence = seen.silence.clone().filter(|_| seen.process != Process::Down);
    let base = Facts { lives_under, is_marked: seen.is_marked, silence, ..Facts::default() };
    match (&seen.server, seen.process) {
        (Some(server), _) => {
            let database = match &server.upstream {
                _ if !server.is_standby => Database::Writes,
                Upstream::Nobody => Database::Standby { receives_from: None },
                Upstream::Member(region) => Database::Standby { receives_from: Some(region.clone()) },
                Upstream::Elsewhere | Upstream::Leaving => Database::Standby { receives_from: Some(Label::new("elsewhere")) },
            };
            let copy = server.end.map(|position| Sealed {
                region: region.clone(),
                system: server.system,
                timeline: server.history.timeline,
                position,
                replayed: server.position,
                priority: priority.filter(|_| !server.is_delayed),
            });
            let role = if server.is_standby { Role::Standby } else { Role::Writes };
            let position = if server.is_standby { server.end } else { Some(server.position) };
            let sight = Some(Sight { role, system: server.system, timeline: server.history.timeline, position });
            let archive = server.archive.clone();
            let is_late = server.is_standby && server.is_delayed;
            let unfit = is_late.then(|| "it holds back what it receives (recovery_min_apply_delay)".to_owned());
            let (stream, opening, wrote, concerns) = (server.stream, server.opening, server.wrote, server.concerns(seen));
            Facts { database, sight, stream, copy, opening, archive, wrote, concerns, unfit, ..base }
        }
        (None, Process::Down) => {
            let stopped = seen.control.and_then(|control| match control.ran {
                Ran::Stopped(position) => Some(Stopped { system: control.system, timeline: control.timeline, position }),
                Ran::Primary | Ran::Standby => None,
            });
            let sight = seen.control.map(|control| {
                let role = if control.ran == Ran::Standby { Role::Asleep } else { Role::Stopped };
                Sight { role, system: control.system, timeline: control.timeline, position: stopped.map(|stopped| stopped.position) }
            });
            Facts { database: Database::Down, sight, stopped, ..base }
        }
        (None, Process::Unknown | Process::Ours(_) | Process::Foreign) => base,
    }
}
