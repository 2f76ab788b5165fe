//! What can be committed about a data group: one line of the protocol each.
//!
//! Each carries the group's token that its proposer saw. One that comes late, twice, or from a leader that was superseded is refused by it,
//! because every step that changes who may write gives the group another token.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    choose::{Choice, Sealed},
    grounds::Grounds,
    group::{Ending, HeldFor, Kind, Stopped},
    lease::Class,
    token::Token,
};
use crate::{
    model::ids::Label,
    recovery::{aside::Aside, drill::DrillStep, exposure::Bracket},
};

/// A step of a group. Kind numbers as in [`crate::cluster::Change::kind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Kind 100: the group has this primary. A new grant.
    Adopt {
        /// Expected.
        token: Token,
        /// Who writes.
        primary: Label,
        /// The database.
        system: u64,
        /// Its timeline.
        timeline: u32,
        /// What its agent attests.
        class: Class,
    },
    /// Kind 101: the primary is to be replaced (O1).
    Decide(Box<Decide>),
    /// Kind 102: a person lets a proposed or held operation go on.
    Approve {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
        /// How much may be lost, in this operation only; `None`: what the plan says.
        allowed_loss: Option<Duration>,
    },
    /// Kind 103: a person answers for it that the old primary is stopped. The lease is waited for all the same (O3).
    Assert {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
        /// The old primary's region, typed.
        region: Label,
    },
    /// Kind 104: it does not go on by itself.
    Hold {
        /// Expected.
        token: Token,
        /// Which rule holds it.
        reason: HeldFor,
        /// What was seen, in one line.
        text: String,
    },
    /// Kind 105: nothing of the old primary writes any more (O2).
    Fenced {
        /// Expected: the decision's.
        token: Token,
        /// What proves it.
        proof: Proof,
    },
    /// Kind 106: the old primary of a switchover ended here (W1).
    Stopped {
        /// Expected: the decision's.
        token: Token,
        /// The hand-over token.
        stopped: Stopped,
    },
    /// Kind 107: a copy receives nothing any more (O4).
    Sealed {
        /// Expected: the decision's.
        token: Token,
        /// Where it is.
        copy: Sealed,
    },
    /// Kind 108: who is to be promoted (O5 to O7). Every node chooses by itself and compares.
    Choose {
        /// Expected: the decision's.
        token: Token,
        /// Who.
        choice: Choice,
        /// What that would lose, in time.
        loss: Bracket,
    },
    /// Kind 109: the grant of the candidate, and the point of no return (O8).
    Promote {
        /// Expected: the decision's.
        token: Token,
        /// What the candidate's agent attests.
        class: Class,
    },
    /// Kind 110: the candidate gave no answer in time (O9). It is the old primary of the same operation now.
    Revoke {
        /// Expected: the grant's.
        token: Token,
    },
    /// Kind 111: the candidate writes (O10).
    Promoted {
        /// Expected: the grant's.
        token: Token,
        /// The timeline that began.
        timeline: u32,
        /// Where it began.
        at: u64,
    },
    /// Kind 112: what the plan wants to be shown was shown.
    Verified {
        /// Expected: the grant's.
        token: Token,
    },
    /// Kind 113: names lead to it.
    Routed {
        /// Expected: the grant's.
        token: Token,
    },
    /// Kind 114: it is over.
    Close {
        /// Expected: the grant's.
        token: Token,
        /// How it ended; cancelled ends are [`Step::Cancel`]'s.
        ending: Ending,
    },
    /// Kind 115: it ends before its point of no return; the old primary gets a new grant (O13).
    Cancel {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
        /// What the old primary's agent attests.
        class: Class,
    },
    /// Kind 116: a new grant for the same primary: its agent attests another class, or the plan says other terms (L7, L8).
    Regrant {
        /// Expected: the grant's.
        token: Token,
        /// What its agent attests.
        class: Class,
    },
    /// Kind 117: the holder renews by its present grant, so nobody counts by an older one any more.
    Settle {
        /// Expected: the grant's.
        token: Token,
    },
    /// Kind 139: what caches were told of the primary before it was announced that it moves has run out: it is decided.
    Begin {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
    },
    /// Kind 118: a member follows the primary (again).
    Followed {
        /// Expected: the grant's.
        token: Token,
        /// Who.
        region: Label,
    },
    /// Kind 119: the switchover goes on as a failover (W3).
    Turn {
        /// Expected: the decision's.
        token: Token,
        /// Its id.
        operation: u64,
    },
    /// Kind 120: a person ends the cool-down.
    Release {
        /// Expected.
        token: Token,
    },
    /// Kind 121: a person says no to what was proposed. Nothing was revoked, so nothing is granted.
    Reject {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
    },
    /// Kind 122: a person has the step that is held tried again.
    Retry {
        /// Expected.
        token: Token,
        /// Its id.
        operation: u64,
    },
    /// Kind 123: a person lets it go on without what the plan wants to be shown. No other step can be skipped.
    Skip {
        /// Expected: the grant's.
        token: Token,
        /// Its id.
        operation: u64,
    },
    /// Kind 124: a rollback trigger fired after an operation, and the group stays where it is: automation rests, and a person decides.
    Setback {
        /// Expected: the grant's.
        token: Token,
        /// What fired, and why nothing goes back.
        setback: Setback,
    },
    /// Kind 125: a program of the operator was run for an operation.
    Ran {
        /// Expected.
        token: Token,
        /// The operation's id.
        operation: u64,
        /// Which, and what it said.
        ran: Ran,
    },
    /// Kinds 126 to 133, and 136: something of a drill.
    Drill {
        /// Expected.
        token: Token,
        /// What.
        act: Box<DrillStep>,
    },
    /// Kind 134: the next group of an evacuation is switched over.
    Evacuate {
        /// The evacuation's id.
        evacuation: u64,
        /// Where to, and by what.
        decide: Box<Decide>,
    },
    /// Kind 135: a person lets the directory of a member be replaced by a new copy.
    Reclone {
        /// Expected: the grant's.
        token: Token,
        /// Whose.
        region: Label,
    },
    /// Kind 138: what a member had alone after an operation, as its agent put it aside when it came back.
    PutAside {
        /// Expected.
        token: Token,
        /// The operation's id, which has ended.
        operation: u64,
        /// Whose.
        region: Label,
        /// What.
        aside: Aside,
    },
}

/// When a program of the operator is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// To stop the old primary.
    Fence,
    /// When the operation has ended.
    After,
}

/// A program of the operator that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// For what.
    pub when: When,
    /// Its name in `hooks_dir`.
    pub name: String,
    /// What came of it, in one line.
    pub said: String,
}

/// A rollback trigger that fired while the result of an operation was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// The id of the operation that it is a setback of: the group's last one.
    pub operation: u64,
    /// What was seen, in one line.
    pub text: String,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// The group's token that it was made by.
    pub token: Token,
    /// What kind.
    pub kind: Kind,
    /// Who is replaced: the primary.
    pub from: Label,
    /// Where to; `None`: whoever is chosen. A switchover names it.
    pub to: Option<Label>,
    /// The plan that it was made by.
    pub plan_revision: u64,
    /// What would be lost now, by whoever would be chosen now.
    pub estimate: Bracket,
    /// How much a person allows to be lost; `None`: what the plan says.
    pub allowed_loss: Option<Duration>,
    /// What makes a failover automatic; `None`: a person wants it, or it goes back after a setback.
    pub grounds: Option<Grounds>,
    /// The open drill that it is a part of; `None`: it is none's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<u64>,
    /// What makes a switchover automatic: it takes back an operation whose result is bad. `None`: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
    /// Guards that want a person to approve it first, one line each; none: it takes effect at once.
    pub guards: Vec<String>,
}

/// The rung of a fence that confirms: the agent has stopped its database, and says so.
pub const AGENT: &str = "agent";

/// What proves that the old primary is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A fence that confirms.
    Confirmed {
        /// Which rung of the ladder.
        by: String,
    },
    /// Its lease ended.
    Waited,
    /// Its lease ended, and a person answers for the rest.
    Asserted,
}

impl Step {
    /// Its number, which never changes.
    #[must_use]
    pub fn kind(&self) -> u32 {
        match self {
            Self::Adopt { .. } => 100,
            Self::Decide(_) => 101,
            Self::Approve { .. } => 102,
            Self::Assert { .. } => 103,
            Self::Hold { .. } => 104,
            Self::Fenced { .. } => 105,
            Self::Stopped { .. } => 106,
            Self::Sealed { .. } => 107,
            Self::Choose { .. } => 108,
            Self::Promote { .. } => 109,
            Self::Revoke { .. } => 110,
            Self::Promoted { .. } => 111,
            Self::Verified { .. } => 112,
            Self::Routed { .. } => 113,
            Self::Close { .. } => 114,
            Self::Cancel { .. } => 115,
            Self::Regrant { .. } => 116,
            Self::Settle { .. } => 117,
            Self::Followed { .. } => 118,
            Self::Turn { .. } => 119,
            Self::Release { .. } => 120,
            Self::Reject { .. } => 121,
            Self::Retry { .. } => 122,
            Self::Skip { .. } => 123,
            Self::Setback { .. } => 124,
            Self::Ran { .. } => 125,
            Self::Drill { act, .. } => act.kind(),
            Self::Evacuate { .. } => 134,
            Self::Reclone { .. } => 135,
            Self::Begin { .. } => 139,
            Self::PutAside { .. } => 138,
        }
    }

    /// The group's token that its proposer saw.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Self::Decide(decide) | Self::Evacuate { decide, .. } => decide.token,
            Self::Adopt { token, .. }
            | Self::Approve { token, .. }
            | Self::Assert { token, .. }
            | Self::Hold { token, .. }
            | Self::Fenced { token, .. }
            | Self::Stopped { token, .. }
            | Self::Sealed { token, .. }
            | Self::Choose { token, .. }
            | Self::Promote { token, .. }
            | Self::Revoke { token }
            | Self::Promoted { token, .. }
            | Self::Verified { token }
            | Self::Routed { token }
            | Self::Close { token, .. }
            | Self::Cancel { token, .. }
            | Self::Regrant { token, .. }
            | Self::Settle { token }
            | Self::Begin { token, .. }
            | Self::Followed { token, .. }
            | Self::Turn { token, .. }
            | Self::Release { token }
            | Self::Reject { token, .. }
            | Self::Retry { token, .. }
            | Self::Skip { token, .. }
            | Self::Setback { token, .. }
            | Self::Reclone { token, .. }
            | Self::PutAside { token, .. }
            | Self::Ran { token, .. }
            | Self::Drill { token, .. } => *token,
        }
    }

    /// The same without what its proposer looked up for whoever wants it: the token, the plan's revision, what would be lost, what an agent attests.
    /// A person who sends a request again sends the same, while all of that may be other than it was.
    #[must_use]
    pub fn wanted(&self) -> Self {
        let (mut step, unseen) = (self.clone(), Token::default());
        match &mut step {
            Self::Decide(decide) => {
                (decide.token, decide.plan_revision, decide.estimate) = (unseen, 0, Bracket::UNKNOWN);
                // What a hook said this time.
                decide.guards.clear();
            }
            Self::Adopt { token, system, timeline, class, .. } => (*token, *system, *timeline, *class) = (unseen, 0, 0, Class::Bare),
            Self::Cancel { token, class, .. } => (*token, *class) = (unseen, Class::Bare),
            Self::Approve { token, .. }
            | Self::Assert { token, .. }
            | Self::Turn { token, .. }
            | Self::Release { token }
            | Self::Reject { token, .. }
            | Self::Retry { token, .. }
            | Self::Reclone { token, .. }
            | Self::Skip { token, .. }
            | Self::Drill { token, .. } => *token = unseen,
            // What nobody but the leader proposes carries no request id.
            _ => {}
        }
        step
    }

    /// Whether it is refused without a reason.
    #[must_use]
    pub fn needs_reason(&self) -> bool {
        match self {
            Self::Drill { act, .. } => act.is_by_a_person(),
            other => other.is_by_a_person(),
        }
    }

    /// Whether only a person takes it, about an operation.
    #[must_use]
    pub const fn is_by_a_person(&self) -> bool {
        matches!(
            self,
            Self::Approve { .. }
                | Self::Assert { .. }
                | Self::Turn { .. }
                | Self::Release { .. }
                | Self::Reject { .. }
                | Self::Retry { .. }
                | Self::Reclone { .. }
                | Self::Skip { .. }
        )
    }
}

/// One line for the audit.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt { primary, class, .. } => write!(f, "adopt with primary {primary}, {class}"),
            Self::Decide(decide) => write!(f, "{decide}"),
            Self::Approve { operation, allowed_loss: None, .. } => write!(f, "approve op-{operation}"),
            Self::Approve { operation, allowed_loss: Some(loss), .. } => {
                write!(f, "approve op-{operation}, a loss of {} allowed", crate::model::time::Human(*loss))
            }
            Self::Assert { operation, region, .. } => write!(f, "assert in op-{operation} that {region} is stopped"),
            Self::Hold { reason, text, .. } => write!(f, "hold, {reason}: {text}"),
            Self::Fenced { proof: Proof::Confirmed { by }, .. } => write!(f, "fenced, confirmed by {by}"),
            Self::Fenced { proof: Proof::Waited, .. } => f.write_str("fenced, the lease has ended"),
            Self::Fenced { proof: Proof::Asserted, .. } => f.write_str("fenced, asserted by a person"),
            Self::Stopped { stopped, .. } => write!(f, "stopped at {} on timeline {}", stopped.position, stopped.timeline),
            Self::Sealed { copy, .. } => write!(f, "sealed {} at {} on timeline {}", copy.region, copy.position, copy.timeline),
            Self::Choose { choice, loss, .. } => write!(f, "choose {} at {}, loss {loss}", choice.region, choice.position),
            Self::Promote { class, .. } => write!(f, "promote, {class}"),
            Self::Revoke { .. } => f.write_str("revoke, the candidate gave no answer"),
            Self::Promoted { timeline, at, .. } => write!(f, "promoted, timeline {timeline} from {at}"),
            Self::Verified { .. } => f.write_str("verified"),
            Self::Routed { .. } => f.write_str("routed"),
            Self::Close { ending, .. } => write!(f, "close, {ending}"),
            Self::Cancel { operation, .. } => write!(f, "cancel op-{operation}"),
            Self::Regrant { class, .. } => write!(f, "grant anew, {class}"),
            Self::Settle { .. } => f.write_str("settle: the holder renews by its present grant"),
            Self::Begin { operation, .. } => write!(f, "begin op-{operation}"),
            Self::Followed { region, .. } => write!(f, "{region} follows"),
            Self::Turn { operation, .. } => write!(f, "turn op-{operation} into a failover"),
            Self::Release { .. } => f.write_str("end the cool-down"),
            Self::Reject { operation, .. } => write!(f, "reject op-{operation}"),
            Self::Retry { operation, .. } => write!(f, "try the held step of op-{operation} again"),
            Self::Skip { operation, .. } => write!(f, "skip the validation of op-{operation}"),
            Self::Setback { setback, .. } => write!(f, "{setback}: it stays"),
            Self::Ran { operation, ran, .. } => write!(f, "op-{operation}, {ran}"),
            Self::Drill { act, .. } => write!(f, "{act}"),
            Self::Reclone { region, .. } => write!(f, "replace the directory of {region} by a new copy"),
            Self::PutAside { operation, region, aside, .. } => write!(f, "op-{operation}: {region} had alone, and put aside: {aside}"),
            Self::Evacuate { evacuation, decide } => write!(f, "evac-{evacuation}: {decide}"),
        }
    }
}

/// `fence hook isolate: done`.
impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            When::Fence => "fence",
            When::After => "after",
        };
        write!(f, "{when} hook {}: {}", self.name, self.said)
    }
}

/// `setback of op-17: error_rate > 5%: it is 0.06`.
impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setback of op-{}: {}", self.operation, self.text)
    }
}

impl fmt::Display for Decide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.guards.is_empty() { "decide" } else { "propose" };
        write!(f, "{verb} {} from {}", self.kind.word(), self.from)?;
        if let Some(to) = &self.to {
            write!(f, " to {to}")?;
        }
        match (&self.grounds, &self.setback) {
            (Some(grounds), _) => write!(f, ", {} in {} failed rounds, loss {}", grounds.evidence, grounds.rounds.len(), self.estimate)?,
            (None, Some(setback)) => write!(f, ", {setback}")?,
            (None, None) => write!(f, ", loss {}", self.estimate)?,
        }
        match self.guards.as_slice() {
            [] => Ok(()),
            guards => write!(f, "; held: {}", guards.join("; ")),
        }
    }
}
