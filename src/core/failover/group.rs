//! What every node agrees on about a data group: who holds its role, under which grant, and the operation that is open.
//!
//! ```text
//!            .-- approve --.
//! Proposed --'             v
//!                       Decided --> Fenced --> Chosen --> Promoting --> Promoted --> Verified --> Routed --> closed
//!                          ^          |  a switchover: Stopped, with its hand-over token
//!                          '---------------- revoked: the candidate gave no answer (O9)
//!          cancelled, before Promoting only: the old primary gets a new grant (O13); rejected, from Proposed only: nothing was revoked
//! ```
//!
//! Each arrow is one committed entry ([`super::step::Step`]); whoever leads goes on from the phase that is recorded here, and repeats its
//! effects. *Held* is not a phase: it says why the present one does not go on by itself, and what ends it.
//!
//! A grant is in force when its token is the group's highest. So a decision revokes it by being there, and what it said (its ttl, its class, who
//! had to acknowledge writes) stays readable until the next grant takes its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    choose::{Choice, Durability, Fork, Sealed, Unchosen, Waiver, choose},
    grounds::Grounds,
    keys::{Key, holds},
    lease::{Class, Grant, Verdict},
    step::AGENT,
    token::Token,
};
use crate::{
    model::{
        group::{OnControlLoss, Policy},
        ids::Label,
        time::{Human, Timestamp},
    },
    recovery::{aside::Aside, drill::Drills, exposure::Bracket},
};

/// The most promotions that a group remembers as forks of its history. Copies that stand before the oldest of them are out of line.
pub const FORKS_MAX: usize = 64;

/// A person who allows so much to be lost allows any loss, one that nobody can tell included.
pub const ANY_LOSS: Duration = Duration::from_secs(365 * 86_400);

/// The most marks of one operation: each phase once for each candidate that gave no answer, and what people did.
pub const MARKS_MAX: usize = 64;

/// The most acts of people that one operation remembers: more are somebody who tries again and again.
pub const ACTS_MAX: usize = 32;

/// Operations that a group remembers after they ended, the last one included: a quarter of failures and drills, enough to compare.
pub const OPERATIONS_KEPT: usize = 16;

/// A data group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The highest token that was given: of the last decision, grant or cancel. Zero: none.
    pub token: Token,
    /// The last grant, in force or revoked; `None`: nobody knows yet who the primary is, so nothing is fenced and nothing moves.
    pub grant: Option<Grant>,
    /// The database that was adopted; copies of another one are never used.
    pub system: u64,
    /// The timeline on which it was adopted, or the newest one that is no longer among the forks. Copies on an older one are out of line.
    pub since: u32,
    /// Where promotions left the line before them, in order; the last one is the floor.
    pub forks: Vec<Fork>,
    /// What is under way; one at a time.
    pub operation: Option<Operation>,
    /// Members that have not followed the primary since it got the role. Nobody is promoted by accident from among them: a copy is judged by where
    /// it is, but readiness says that they are missing.
    pub absent: BTreeSet<Label>,
    /// Members whose directory a person lets be replaced by a new copy; until they follow, or the token is another.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reclone: BTreeSet<Label>,
    /// Until when automation rests after an operation; `None`: it does not.
    pub cool_down: Option<Timestamp>,
    /// The last operation that ended.
    pub latest: Option<Closed>,
    /// Those that ended before it, the oldest first: fewer than [`OPERATIONS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Closed>,
    /// Its drills, what they proved, and who is cut off.
    #[serde(default, skip_serializing_if = "Drills::is_empty")]
    pub drills: Drills,
}

/// What kind of operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The primary is given up: it is fenced, and what others have received goes on.
    Failover,
    /// The primary stops cleanly and hands over all that it has.
    Switchover,
}

impl Kind {
    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Switchover => "switchover",
        }
    }
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits for a person's approval; nothing is revoked.
    Proposed,
    /// Names that lead to the primary are answered for a short time only, and answers given before run out; nothing is revoked. Of switchovers.
    Announced,
    /// The old grant is revoked; its holder is to be stopped.
    Decided,
    /// Nothing of the old primary writes any more; the standbys are sealed.
    Fenced,
    /// The candidate is chosen; it is drained, and what would be lost is judged.
    Chosen,
    /// The candidate holds a grant. There is no way back.
    Promoting,
    /// It writes.
    Promoted,
    /// What the plan wants to be shown was shown.
    Verified,
    /// Names lead to it.
    Routed,
}

impl Phase {
    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Announced => "announced",
            Self::Decided => "decided",
            Self::Fenced => "fenced",
            Self::Chosen => "chosen",
            Self::Promoting => "promoting",
            Self::Promoted => "promoted",
            Self::Verified => "verified",
            Self::Routed => "routed",
        }
    }

    /// Whether it can be cancelled: no other grant was committed.
    #[must_use]
    pub const fn is_before_promoting(self) -> bool {
        matches!(self, Self::Proposed | Self::Announced | Self::Decided | Self::Fenced | Self::Chosen)
    }

    /// Whether the old primary's grant is in force.
    #[must_use]
    pub const fn is_before_revocation(self) -> bool {
        matches!(self, Self::Proposed | Self::Announced)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How it became certain that the old primary writes nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// Its agent stopped it, or a fence did that confirms (A8).
    Confirmed {
        /// Which rung of the ladder.
        by: String,
    },
    /// Its lease ended, and the record says that the database ends with it.
    Waited,
    /// A person answers for it. The lease was waited for all the same.
    Asserted {
        /// Who.
        who: String,
    },
    /// It stopped cleanly, as it was asked to.
    Stopped,
}

/// The hand-over token of a switchover: where the old primary ended. Nobody takes over who has less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Of which database.
    pub system: u64,
    /// On which timeline.
    pub timeline: u32,
    /// Behind its last record.
    pub position: u64,
}

/// Why an operation does not go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HeldFor {
    /// A guard refused to let it begin without a person.
    Approval,
    /// Nothing proves that the old primary is stopped: no fence confirmed, and its record is not armed.
    FenceUnproven,
    /// The old primary of a switchover does not say where it ended.
    SwitchoverUnanswered,
    /// Too few of those who may have acknowledged writes are sealed.
    QuorumUnseen,
    /// All copies end before the position at which the last primary began.
    BelowFloor,
    /// No copy that is sealed may be promoted.
    NoCandidate,
    /// What would be lost is more than the plan allows, or nobody knows how much.
    RpoGate,
    /// The candidate does not finish replaying.
    Drain,
    /// What the plan wants to be shown failed.
    Validation,
}

impl HeldFor {
    /// As people and scripts write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approval => "APPROVAL",
            Self::FenceUnproven => "FENCE_UNPROVEN",
            Self::SwitchoverUnanswered => "SWITCHOVER_UNANSWERED",
            Self::QuorumUnseen => "QUORUM_UNSEEN",
            Self::BelowFloor => "BELOW_FLOOR",
            Self::NoCandidate => "NO_CANDIDATE",
            Self::RpoGate => "RPO_GATE",
            Self::Drain => "DRAIN",
            Self::Validation => "VALIDATION",
        }
    }
}

impl fmt::Display for HeldFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// An operation that waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which rule holds it.
    pub reason: HeldFor,
    /// What was seen, in one line.
    pub text: String,
    /// Since when, by the entry's time.
    pub at: Timestamp,
}

/// Who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The cluster, by the rules of the plan: the primary was lost.
    Automatic,
    /// The cluster, by the plan's rollback triggers: what another operation led to is bad.
    Setback {
        /// The id of that operation.
        of: u64,
        /// What fired, in one line.
        why: String,
    },
    /// A person.
    Person {
        /// Who.
        who: String,
        /// The reason given.
        why: String,
    },
    /// A drill: whoever wanted that.
    Drill {
        /// The drill's id.
        of: u64,
        /// Who.
        who: String,
        /// The reason given.
        why: String,
    },
}

/// Who is to be promoted, and what that would lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Who.
    pub choice: Choice,
    /// What was written on the old primary and is not there, in time.
    pub loss: Bracket,
}

/// Something of an operation that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The phase that began, or in which it happened.
    pub phase: Phase,
    /// By which entry.
    pub index: u64,
    /// When, by the entry's time.
    pub at: Timestamp,
    /// What happened, in one line.
    pub text: String,
}

/// What a person did about an operation that was open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// By which entry.
    pub index: u64,
    /// When, by the entry's time.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// What.
    pub deed: Deed,
}

/// What people can do about an operation that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Let it go on.
    Approved {
        /// How much may be lost in this operation; `None`: nothing was said of it.
        allowed_loss: Option<Duration>,
    },
    /// Answered for it that the old primary is stopped.
    Asserted,
    /// Let the switchover go on as a failover.
    Turned,
    /// Had the step that was held tried again.
    Retried,
    /// Let it go on without what the plan wants to be shown.
    SkippedValidation,
    /// Said no to what was proposed.
    Rejected,
    /// Ended it before its point of no return.
    Cancelled,
}

/// `approved, a loss of 30s allowed`.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved { allowed_loss: None } => f.write_str("approved"),
            Self::Approved { allowed_loss: Some(loss) } => write!(f, "approved, a loss of {} allowed", Human(*loss)),
            Self::Asserted => f.write_str("answers for it that the old primary is stopped"),
            Self::Turned => f.write_str("goes on as a failover"),
            Self::Retried => f.write_str("tried again"),
            Self::SkippedValidation => f.write_str("validation skipped"),
            Self::Rejected => f.write_str("rejected"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// An operation on a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The log index of the entry that opened it: its name is `op-` and this number, for ever.
    pub id: u64,
    /// What kind; a switchover may turn into a failover.
    pub kind: Kind,
    /// Who wanted it.
    pub origin: Origin,
    /// Who is replaced. After a candidate gave no answer: that candidate.
    pub from: Label,
    /// Where to; `None`: whoever is chosen.
    pub to: Option<Label>,
    /// How far it is.
    pub phase: Phase,
    /// Why it does not go on; `None`: it does.
    pub held: Option<Held>,
    /// What it stands on; `None`: a person wanted it.
    pub grounds: Option<Grounds>,
    /// What would have been lost when it was decided.
    pub estimate: Bracket,
    /// What a person allowed to be lost, in this operation only; `None`: what the plan says.
    pub allowed_loss: Option<Duration>,
    /// What an approver gives up of what quorum mode promises, for this candidate only.
    #[serde(default, skip_serializing_if = "Waiver::is_none")]
    pub waiver: Waiver,
    /// Who answers for it that the old primary is stopped; `None`: nobody.
    pub asserted: Option<String>,
    /// How the old primary was stopped; `None`: not proven yet.
    pub fence: Option<Fence>,
    /// The hand-over token, in a switchover.
    pub stopped: Option<Stopped>,
    /// What is sealed, by region.
    pub sealed: BTreeMap<Label, Sealed>,
    /// Who is to be promoted.
    pub chosen: Option<Chosen>,
    /// What was committed, in order.
    pub marks: Vec<Mark>,
    /// What people did about it while it was open, in order; at most [`ACTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<Act>,
}

/// Why so much may not be lost; `None`: it may. `allowed`: by a person, for one operation; `None`: what the plan says.
#[must_use]
pub fn too_much(loss: Bracket, allowed: Option<Duration>, rpo_target: Option<Duration>) -> Option<String> {
    let limit = allowed.or(rpo_target);
    if !holds(Key::Rpo) || allowed.is_some_and(|allowed| allowed >= ANY_LOSS) || limit.is_some_and(|limit| loss.is_within(limit)) {
        return None;
    }
    let limit = limit.map_or_else(|| "the plan has no rpo_target".to_owned(), |limit| format!("{} may be", Human(limit)));
    let lost = if loss == Bracket::UNKNOWN { "nobody knows how much would be lost".to_owned() } else { format!("{loss} would be lost") };
    Some(format!("{lost}, and {limit}"))
}

impl Operation {
    /// Why the chosen copy may not be promoted; `None`: it may. In quorum mode it has every acknowledged write, which was checked when it was
    /// chosen, unless a person gave that up; in a switchover it has everything.
    #[must_use]
    pub fn gate(&self, durability: &Durability, rpo_target: Option<Duration>) -> Option<String> {
        let chosen = self.chosen.as_ref()?;
        if self.kind == Kind::Switchover || *durability != Durability::Async && self.waiver.is_none() {
            return None;
        }
        if chosen.choice.is_below_floor && self.allowed_loss.is_none() {
            return Some(format!("{} ends before the position at which the last primary began", chosen.choice.region));
        }
        too_much(chosen.loss, self.allowed_loss, rpo_target)
    }

    /// How long its primary took to stop, from the decision: by its agent, cleanly or not. `None`: it was stopped by other means, or is not.
    #[must_use]
    pub fn stopped_within(&self) -> Option<Duration> {
        let is_by_agent = match self.fence.as_ref()? {
            Fence::Stopped => true,
            Fence::Confirmed { by } => by == AGENT,
            Fence::Waited | Fence::Asserted { .. } => false,
        };
        let at = |phase| self.marks.iter().find(|mark| mark.phase == phase).map(|mark| mark.at);
        at(Phase::Decided).zip(at(Phase::Fenced)).filter(|_| is_by_agent).map(|(decided, fenced)| fenced.since(decided))
    }

    /// When the present phase began, by the entry's time.
    #[must_use]
    pub fn phase_began(&self) -> Option<&Mark> {
        self.marks.iter().rev().find(|mark| mark.phase == self.phase)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The new primary serves.
    Succeeded,
    /// The old primary serves again.
    Cancelled,
    /// It was never approved, or what called for it passed.
    Rejected,
    /// The new primary failed before the operation was over. The next failover is of that one.
    FailedAfterPromotion,
    /// The majority that ran it is lost.
    Abandoned,
}

impl Ending {
    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::FailedAfterPromotion => "failed_after_promotion",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// An operation that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// As it was when it ended.
    pub operation: Operation,
    /// How it ended.
    pub ending: Ending,
    /// When, by the entry's time.
    pub at: Timestamp,
    /// By which entry a rollback trigger fired while its result was watched; `None`: none did. There is one at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<u64>,
    /// By which entry the plan's `after` hook was told of it; `None`: not yet, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
    /// What members had alone after it, as they put it aside when they came back. Whoever is not in it has told of nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<Label, Aside>,
}

impl Origin {
    /// Whether nobody ordered it.
    #[must_use]
    pub const fn is_automatic(&self) -> bool {
        matches!(self, Self::Automatic | Self::Setback { .. })
    }
}

impl Closed {
    /// Until when its result is watched, if it is at all: it succeeded, and is not itself the way back from another one.
    #[must_use]
    pub fn watched_until(&self, observe: Duration) -> Option<Timestamp> {
        let is_watched = self.ending == Ending::Succeeded && self.setback.is_none() && !observe.is_zero();
        (is_watched && !matches!(self.operation.origin, Origin::Setback { .. })).then(|| self.at + observe)
    }
}

impl Group {
    /// Those of its operations that ended and are remembered, the last one first.
    pub fn ended(&self) -> impl Iterator<Item = &Closed> {
        self.latest.iter().chain(self.earlier.iter().rev())
    }

    /// Remembers an operation that ended; the oldest is forgotten when there are [`OPERATIONS_KEPT`].
    pub(crate) fn remember(&mut self, closed: Closed) {
        self.earlier.extend(self.latest.replace(closed));
        let beyond = self.earlier.len().saturating_sub(OPERATIONS_KEPT - 1);
        self.earlier.drain(..beyond);
    }

    /// The operation that ended, and after which a member had that alone; `None`: none is remembered, or that one has it in its record already. It is
    /// the last one that the member was replaced in, or sealed for, before it was told to follow somebody else.
    #[must_use]
    pub fn lost_in(&self, region: &Label, aside: &Aside) -> Option<u64> {
        let is_before = |closed: &&Closed| {
            let promoted = matches!(closed.ending, Ending::Succeeded | Ending::FailedAfterPromotion);
            promoted && closed.operation.id < aside.by.epoch
        };
        let took_part = |operation: &Operation| operation.from == *region || operation.sealed.contains_key(region);
        let before = || self.ended().filter(is_before);
        let closed = before().find(|closed| took_part(&closed.operation)).or_else(|| before().next())?;
        (!closed.aside.contains_key(region)).then_some(closed.operation.id)
    }

    /// Who holds the role, in force or not; `None`: not adopted.
    #[must_use]
    pub fn primary(&self) -> Option<&Label> {
        self.grant.as_ref().map(|grant| &grant.region)
    }

    /// The grant, while it is in force.
    #[must_use]
    pub fn in_force(&self) -> Option<&Grant> {
        self.grant.as_ref().filter(|grant| grant.token == self.token)
    }

    /// Whether who knows the group like this, and votes, acknowledges the holder of `token` where nobody can ask a majority.
    #[must_use]
    pub fn acknowledges(&self, token: Token) -> bool {
        self.token <= token || !holds(Key::Peers)
    }

    /// What renewals of the lease are judged by.
    #[must_use]
    pub fn rules(&self) -> Verdict {
        // A decision revokes by being there (L5).
        let is_revoked = |grant: &&Grant| grant.token != self.token && holds(Key::Revoke);
        if let Some(grant) = self.grant.as_ref().filter(|grant| !is_revoked(grant)) {
            return Verdict::Granted(grant.clone());
        }
        let stops = self.operation.as_ref().filter(|it| it.kind == Kind::Switchover && it.phase == Phase::Decided);
        stops.map_or(Verdict::Revoked(self.token), |it| Verdict::Stopping { token: self.token, region: it.from.clone() })
    }

    /// Whether the end of the revoked lease is a fence: the database ends with it, and nothing but the lease lets it go on.
    #[must_use]
    pub fn wait_is_a_fence(&self) -> bool {
        let ends = |class: Class| matches!(class, Class::Armed { .. }) || !holds(Key::Armed);
        self.grant.as_ref().is_some_and(|grant| ends(grant.class) && grant.is_attested && grant.on_control_loss != OnControlLoss::Keep)
    }

    /// Who is to be promoted, of what the open operation has sealed: among copies of a line that is known; and where somebody named the target,
    /// only that one.
    ///
    /// # Errors
    /// [`Unchosen`]: nobody can be.
    pub fn choose(&self) -> Result<Choice, Unchosen> {
        let wanted = |operation: &Operation, copy: &Sealed| operation.to.as_ref().is_none_or(|to| *to == copy.region);
        let waiver = self.operation.as_ref().map(|operation| operation.waiver).unwrap_or_default();
        let sealed = self.operation.iter().flat_map(|operation| operation.sealed.values().map(move |copy| (operation, copy)));
        let comparable = sealed.filter(|(_, copy)| copy.timeline >= self.since);
        let copies: Vec<Sealed> = comparable
            .map(|(operation, copy)| Sealed { priority: copy.priority.filter(|_| wanted(operation, copy)), ..copy.clone() })
            .collect();
        choose(&copies, self.system, &self.forks, &self.durability(), waiver)
    }

    /// The programs that are known to stop a member, by the plan and by a drill of the last ninety days (A8).
    #[must_use]
    pub fn proven(&self, policy: &Policy, region: &Label, now: Timestamp) -> Vec<String> {
        let is_proven = |hook: &str| self.drills.proof(region, hook).is_some_and(|proof| proof.counts(now));
        let rungs = policy.rungs.iter().filter(|rung| rung.confirms && rung.is_undone && is_proven(&rung.hook));
        rungs.map(|rung| rung.hook.clone()).collect()
    }

    /// Who must have had the writes that the revoked grant let be acknowledged.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.grant.as_ref().map_or(Durability::Async, |grant| grant.durability.clone())
    }
}

/// An automatic operation from us in this phase, of which nothing else is known.
#[cfg(test)]
pub(crate) fn operation(phase: Phase) -> Operation {
    Operation {
        id: 9,
        kind: Kind::Failover,
        origin: Origin::Automatic,
        from: "us".into(),
        to: None,
        phase,
        held: None,
        grounds: None,
        estimate: Bracket::UNKNOWN,
        allowed_loss: None,
        waiver: Waiver::default(),
        asserted: None,
        fence: None,
        stopped: None,
        sealed: BTreeMap::new(),
        chosen: None,
        marks: Vec::new(),
        acts: Vec::new(),
    }
}
