//! From what a task wants and what the manager says to the next verb of the contract.

use super::{Role, Seen, Upstream, facts};
use crate::{
    failover::{
        agent::{Facts, Task, Work},
        choose::Durability,
        engine::{self, Act, Next},
        lease::Grant,
        token::Token,
    },
    model::ids::Label,
};

/// One thing that the manager does: the table in [`super`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Let it take no writes, and none by itself later.
    Fence,
    /// Let it receive from nobody.
    Seal,
    /// Let it show everything that it has, up to this position.
    Drain(u64),
    /// Lift a fence or a seal.
    Unseal,
    /// Let it take writes. `above`: a new timeline is above this one.
    Promote {
        /// Of the grant.
        above: u32,
    },
    /// Note the token in the database, where it takes writes already.
    Verify,
    /// Let it follow this member.
    Rejoin(Source),
}

impl Verb {
    /// Its word in the contract.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Seal => "seal",
            Self::Drain(_) => "drain",
            Self::Unseal => "unseal",
            Self::Promote { .. } => "promote",
            Self::Verify => "verify",
            Self::Rejoin(_) => "rejoin",
        }
    }
}

/// A verb, and by whose right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the decision or grant.
    pub token: Token,
    /// What.
    pub verb: Verb,
}

/// Where the member that is to be followed is, as the plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which member.
    pub region: Label,
    /// Of its address.
    pub host: String,
    /// Of its address.
    pub port: u16,
}

/// A task under way.
#[derive(Clone, Debug)]
pub struct Course {
    work: Work,
    token: Token,
    /// A new timeline is above this one.
    above: u32,
    /// The grant says that standbys acknowledge writes, which nobody can promise for a manager's.
    wants_quorum: bool,
    /// What was asked for last: it is waited for, and not asked for twice by one task.
    asked: Option<Verb>,
}

impl Course {
    /// Begins. `above`: of the grant, for work that opens the database for writes.
    #[must_use]
    pub const fn new(work: Work, token: Token, above: u32) -> Self {
        Self { work, token, above, wants_quorum: false, asked: None }
    }

    /// The verb, or to wait for what it is to bring about: managers take their time, and a task that waits too long is begun again.
    fn ask(&self, verb: Verb, waits_for: &str) -> Next<Call> {
        if self.asked.as_ref() == Some(&verb) {
            return Next::wait(waits_for);
        }
        Next::Do(Call { token: self.token, verb })
    }

    fn fence(&self, seen: &Seen) -> Next<Call> {
        let is_taken = self.asked == Some(Verb::Fence);
        if is_taken && seen.fenced && matches!(seen.role, Role::Replica | Role::Stopped) {
            return Next::Done;
        }
        // It is asked for whatever is known, and once whatever is shown: that may be the fence of an older token, whose `unseal` has not come to its end.
        self.ask(Verb::Fence, "the manager does not show yet that it is fenced")
    }

    /// Where it ended counts, too: its manager may tell that later.
    fn stop(&self, seen: &Seen) -> Next<Call> {
        let is_told = seen.role != Role::Replica || seen.position.is_some() && seen.upstream == Upstream::Nobody;
        match self.fence(seen) {
            Next::Done if !is_told => Next::wait("it is fenced, and the manager does not say yet where it ends"),
            next => next,
        }
    }

    fn seal(&self, seen: &Seen) -> Next<Call> {
        match (seen.role, &seen.upstream) {
            (Role::Unknown, _) => unknown(seen),
            (Role::Primary, _) => Next::fail("it takes writes: it is fenced, not sealed"),
            (Role::Replica, Upstream::Nobody) if seen.position.is_some() => Next::Done,
            (Role::Stopped, _) if seen.position.is_some() => Next::Done,
            (Role::Replica, Upstream::Nobody) => Next::wait("the manager does not say where it ends"),
            _ => self.ask(Verb::Seal, "it receives still, or the manager does not say where it ends"),
        }
    }

    fn drain(&self, seen: &Seen, position: u64, fetch_from: Option<&Label>) -> Next<Call> {
        let Some(has) = seen.position.filter(|_| seen.role != Role::Unknown) else { return unknown(seen) };
        if seen.role == Role::Primary {
            return Next::fail("it takes writes: there is nothing to apply");
        }
        if has < position {
            let rest =
                fetch_from.map_or_else(String::new, |from| format!(", and {from} has the rest: nothing is fetched from a sealed copy"));
            return Next::Fail(format!("its copy ends at {has}, before {position}{rest}"));
        }
        if seen.applied.is_none_or(|applied| applied >= position) {
            return Next::Done;
        }
        self.ask(Verb::Drain(position), "it applies what it has")
    }

    fn open(&self, seen: &Seen) -> Next<Call> {
        match seen.role {
            Role::Primary => Next::Done,
            Role::Unknown => unknown(seen),
            Role::Replica | Role::Stopped if self.wants_quorum => {
                Next::fail("a group that another manager runs is asynchronous: write `durability: async` in the plan")
            }
            Role::Replica | Role::Stopped if seen.fenced => self.ask(Verb::Unseal, "the manager does not lift the fence"),
            Role::Replica | Role::Stopped => self.ask(Verb::Promote { above: self.above }, "it does not take writes yet"),
        }
    }

    fn sign(&self, seen: &Seen) -> Next<Call> {
        match (seen.role, seen.opening) {
            (Role::Primary, Some(opening)) if opening.token == self.token => Next::Done,
            (Role::Primary, _) => self.ask(Verb::Verify, "the manager does not show the token"),
            (Role::Unknown, _) => unknown(seen),
            _ => Next::fail("it takes no writes, so no token can be written"),
        }
    }

    fn follow(&self, seen: &Seen, upstream: &Label, source: Option<&Source>) -> Next<Call> {
        match (seen.role, &seen.upstream) {
            (Role::Unknown, _) => unknown(seen),
            (Role::Primary, _) => Next::fail("it takes writes: it is fenced first"),
            (Role::Replica, Upstream::Member(from)) if from == upstream && seen.stream.is_up() && !seen.fenced => Next::Done,
            _ => match source {
                None => Next::Fail(format!("the plan has no member in {upstream}")),
                Some(source) => self.ask(Verb::Rejoin(source.clone()), "it does not follow yet"),
            },
        }
    }
}

fn unknown(seen: &Seen) -> Next<Call> {
    let why = seen.silence.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    Next::Wait(format!("the manager does not say what it is{why}"))
}

impl engine::Course for Course {
    type Seen = Seen;
    type Source = Source;
    type Verb = Call;

    fn begin(task: &Task, grant: Option<&Grant>) -> Self {
        let wants_quorum = grant.is_some_and(|grant| matches!(grant.durability, Durability::Quorum { .. }));
        Self { wants_quorum, ..Self::new(task.work.clone(), task.token, grant.map_or(0, |grant| grant.above)) }
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn next(&mut self, seen: &Seen, source: Option<&Source>) -> Next<Call> {
        match &self.work {
            Work::Mark => self.fence(seen),
            Work::Stop => self.stop(seen),
            Work::Seal => self.seal(seen),
            Work::Drain { position, fetch_from } => self.drain(seen, *position, fetch_from.as_ref()),
            Work::Start | Work::Promote => self.open(seen),
            Work::Sign => self.sign(seen),
            Work::Follow { upstream, .. } => self.follow(seen, upstream, source),
        }
    }

    fn act(_: &Seen, call: &Call) -> Act {
        Act::Engine { opens: matches!(call.verb, Verb::Unseal | Verb::Promote { .. }) }
    }

    fn did(&mut self, call: &Call) {
        self.asked = Some(call.verb.clone());
    }

    fn facts(seen: &Seen, region: &Label, priority: Option<u16>) -> Facts {
        facts(seen, region, priority)
    }
}
