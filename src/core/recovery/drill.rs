//! Drills: what is tried on purpose, so that a bad day is not the first time. What is agreed about them, per group.
//!
//! ```text
//! Start --> open --Lift--> what was cut off is let in again --Lifted--> End: passed, failed
//!            |  '-------- a person: Cancel; a decision about the group: interrupted, at once, and in nobody's way
//!            '- a fence that passed: the rung is proven in that region, for ninety days (A8)
//! schedule --due--> Start, or Missed
//! observe_only: Note, Note ... End; a decision does not end it, and it ends no decision
//! ```
//!
//! Invariants: one drill of a group at a time, and none begins beside an operation; no drill delays or refuses a decision of the cluster; what a drill cuts
//! off is on record before it is cut, and stays there until it was let in again.
//!
//! Source: Google's DiRT (drills are the product, not the report); A8 of the lease protocol: a claim of a fence is no proof, a test is.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{exposure::Bracket, observed::Notice};
use crate::{
    failover::token::Token,
    model::{
        ids::Label,
        time::{Human, Timestamp},
    },
};

/// Drills that a group remembers after they ended: a year of monthly ones, with room for what was repeated.
pub const DRILLS_KEPT: usize = 16;

/// How long it counts that a drill proved a rung: a quarter, after which rules of firewalls and who may change them are others.
pub const PROOF_LASTS: Duration = Duration::from_hours(90 * 24);

/// The most proofs that a group remembers: sixteen regions with four programs each.
pub const PROOFS_MAX: usize = 64;

/// The most schedules of a group: each kind, and some rungs.
pub const SCHEDULES_MAX: usize = 16;

/// The most lines of evidence of one drill, and the longest of them in octets: a screen, and two lines on it.
pub const LINES_MAX: usize = 16;
/// See [`LINES_MAX`].
pub const LINE_MAX: usize = 240;

/// The shortest and the longest time between two drills by a schedule.
pub const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(366 * 24);

/// How long an observation may last: a shorter one sees no round of most plans, and for a longer one another is begun, since other drills of the
/// group wait for its end.
pub const OBSERVES: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(7 * 24);

/// The most that is noted of one observation: a storm of near misses is told by its first ones.
pub const TRAIL_MAX: usize = 16;

/// What kind of drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillKind {
    /// What an operation would do, step by step; nothing is done.
    DryRun,
    /// A live switchover, and back.
    Switchover,
    /// A program of the plan cuts a member off, and lets it in again.
    Fence,
    /// What automation would decide is noted beside what is decided; nothing is done, and nothing is kept back.
    ObserveOnly,
    /// The program that tells people is told that this is a drill.
    Notification,
    /// A copy of a standby is opened where nobody reaches it, asked, and thrown away.
    Isolated,
}

impl DrillKind {
    /// All, in the order of how much they touch.
    pub const ALL: [Self; 6] = [Self::ObserveOnly, Self::DryRun, Self::Notification, Self::Isolated, Self::Fence, Self::Switchover];

    /// The word in commands, logs, metrics and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Switchover => "switchover",
            Self::Fence => "fence",
            Self::ObserveOnly => "observe_only",
            Self::Notification => "notification",
            Self::Isolated => "isolated",
        }
    }

    /// Whether it only looks: it goes on beside decisions and operations, and is begun under a hold and in a freeze, too.
    #[must_use]
    pub const fn only_looks(self) -> bool {
        matches!(self, Self::ObserveOnly)
    }

    /// The kind of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for DrillKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a drill is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// What kind.
    pub kind: DrillKind,
    /// Of a fence: the member that is cut off. Of a copy apart: the standby that is copied; `None`: the first that follows, which the drill then names.
    /// Of a switchover and a rehearsal: where to. `None`: of the others, or whoever is chosen.
    pub region: Option<Label>,
    /// Of a fence: the program.
    pub hook: Option<String>,
    /// Of a fence: the member may be the primary, which is an outage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_primary: bool,
    /// Of a switchover: it stays where it went.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// Of an observation: how long, in [`OBSERVES`]. `None`: of the others, which end by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// Of a copy apart: it is made of the newest backup, by the program of the plan, instead of the standby.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_backup: bool,
}

impl Aim {
    /// Nothing but a kind.
    #[must_use]
    pub const fn new(kind: DrillKind) -> Self {
        Self { kind, region: None, hook: None, on_primary: false, stays: false, lasts: None, from_backup: false }
    }

    /// Whether two drills show the same: a rung is shown in each region for itself, and a move to each; a copy may be of any standby.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let is_same = match self.kind {
            DrillKind::Fence => self.region == other.region && self.hook == other.hook,
            DrillKind::Switchover | DrillKind::DryRun => self.region == other.region,
            DrillKind::Isolated => self.from_backup == other.from_backup,
            DrillKind::ObserveOnly | DrillKind::Notification => true,
        };
        self.kind == other.kind && is_same
    }
}

/// `fence of eu by hook cut`.
impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        match (&self.region, self.kind) {
            (Some(region), DrillKind::Isolated) if self.from_backup => write!(f, " in {region}")?,
            (Some(region), DrillKind::Fence | DrillKind::Isolated) => write!(f, " of {region}")?,
            (Some(region), _) => write!(f, " to {region}")?,
            (None, _) => {}
        }
        if let Some(hook) = &self.hook {
            write!(f, " by hook {hook}")?;
        }
        if self.from_backup {
            f.write_str(" from a backup")?;
        }
        if let Some(lasts) = self.lasts {
            write!(f, " for {}", Human(lasts))?;
        }
        f.write_str(if self.stays { ", it stays there" } else { "" })
    }
}

/// A drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// The log index of the entry that began it: its name is `drill-` and this number.
    pub id: u64,
    /// What it is to do.
    pub aim: Aim,
    /// Who wanted it; of a schedule: whoever made that.
    pub who: String,
    /// Why.
    pub why: String,
    /// When, by the entry's time.
    pub began: Timestamp,
    /// By which schedule; `None`: a person began it.
    pub schedule: Option<u64>,
    /// The operations that it led to, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<u64>,
    /// What an observation noticed, in order: at most [`TRAIL_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<Noted>,
}

/// Something that an observation noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When, by the time of the entry that says so.
    pub at: Timestamp,
    /// What.
    pub notice: Notice,
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.notice)
    }
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What it was to show was shown.
    Passed,
    /// It was not.
    Failed,
    /// A person ended it.
    Cancelled,
    /// Something real happened to the group.
    Interrupted,
    /// It was due, and could not begin.
    Missed,
}

impl Outcome {
    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Missed => "missed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a drill measured; `None`: it measured no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// What was lost, or would have been.
    pub loss: Option<Bracket>,
    /// From the decision until the new primary was open to clients, or how long that would take.
    pub recovery: Option<Duration>,
    /// Until whatever was to be stopped was.
    pub stop: Option<Duration>,
}

/// A drill that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As it was.
    pub drill: Drill,
    /// How it ended.
    pub outcome: Outcome,
    /// When, by the entry's time.
    pub at: Timestamp,
    /// What it measured.
    pub figures: Figures,
    /// What was seen, one line each, at most [`LINES_MAX`].
    pub lines: Vec<String>,
}

/// A rung that a drill has shown to stop a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which member.
    pub region: Label,
    /// Which program.
    pub hook: String,
    /// When the drill ended.
    pub at: Timestamp,
    /// Which drill.
    pub drill: u64,
}

impl Proof {
    /// Whether it still counts. One that was made in the future of `now` does: clocks of leaders differ.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        now.since(self.at) < PROOF_LASTS
    }
}

/// A copy that was opened apart, and worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Of the member here, or beside it where it was made of a backup.
    pub region: Label,
    /// When the drill ended.
    pub at: Timestamp,
    /// Which drill.
    pub drill: u64,
    /// How long it took to make and to open it; `None`: it was not told.
    pub took: Option<Duration>,
    /// What it would have lost, had everything else gone when it was whole; of a backup: when its restore began. `None`: it was not told.
    pub loss: Option<Bracket>,
}

/// Drills that begin by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What they are to do.
    pub aim: Aim,
    /// How far apart.
    pub every: Duration,
    /// When the next one is due.
    pub next: Timestamp,
    /// Who made it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// A member that a program of the operator has cut off, or was told to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Which member.
    pub region: Label,
    /// By which program.
    pub hook: String,
    /// Its token: it is let in again by a higher one only (A8).
    pub token: Token,
    /// A drill did it to a standby, which can be let in again as it is. Else it was a primary: it is stopped first.
    pub is_standby: bool,
    /// The token by which it may be let in again; `None`: not yet.
    pub lift: Option<Token>,
}

/// Everything that is agreed about the drills of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    /// What is under way; one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Drill>,
    /// What has ended, the oldest first: at most [`DRILLS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
    /// What was proven, the oldest first: one for each region and program, at most [`PROOFS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<Proof>,
    /// The longest time that a drill saw a primary's agent take to stop its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_stop: Option<Duration>,
    /// The last copy that was shown to work; `None`: none ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// The last backup that was restored and shown to work; `None`: none ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Verified>,
    /// What begins by itself, by the log index of the entry that made it: `schedule-` and this number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<u64, Schedule>,
    /// What is cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Cut>,
}

impl Drills {
    /// Whether nothing is agreed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Ends what is under way; the oldest of those that ended is forgotten when there are [`DRILLS_KEPT`].
    pub(crate) fn end(&mut self, outcome: Outcome, at: Timestamp, figures: Figures, lines: Vec<String>) {
        if let Some(drill) = self.open.take() {
            self.remember(Ended { drill, outcome, at, figures, lines });
        }
    }

    pub(crate) fn remember(&mut self, ended: Ended) {
        self.ended.push(ended);
        let beyond = self.ended.len().saturating_sub(DRILLS_KEPT);
        self.ended.drain(..beyond);
    }

    /// A rung was shown.
    pub(crate) fn prove(&mut self, proof: Proof) {
        self.proofs.retain(|known| (&known.region, &known.hook) != (&proof.region, &proof.hook));
        self.proofs.push(proof);
        let beyond = self.proofs.len().saturating_sub(PROOFS_MAX);
        self.proofs.drain(..beyond);
    }

    /// What a drill has shown of a program in a region, whenever that was.
    #[must_use]
    pub fn proof(&self, region: &Label, hook: &str) -> Option<&Proof> {
        self.proofs.iter().find(|proof| proof.region == *region && proof.hook == hook)
    }

    /// What is under way, or has ended, of this id, and how it ended.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<(&Drill, Option<&Ended>)> {
        let open = self.open.as_ref().filter(|drill| drill.id == id).map(|drill| (drill, None));
        open.or_else(|| self.ended.iter().rev().find(|ended| ended.drill.id == id).map(|ended| (&ended.drill, Some(ended))))
    }

    /// Whether a member that was a primary is cut off, so that it is stopped before it is let in again.
    #[must_use]
    pub fn is_cut_primary(&self, region: &Label) -> bool {
        self.cuts.iter().any(|cut| cut.region == *region && !cut.is_standby)
    }
}

/// One line of evidence, as long as one may be.
#[must_use]
pub fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=LINE_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// What is committed about drills. Kind numbers as in [`crate::cluster::Change::kind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillStep {
    /// Kind 126: it begins.
    Start {
        /// What it is to do.
        aim: Aim,
        /// Which schedule it is due by; `None`: a person begins it.
        schedule: Option<u64>,
    },
    /// Kind 127: whatever is cut off in a region may be let in again, by the token of this entry.
    Lift {
        /// Where.
        region: Label,
    },
    /// Kind 128: it is over.
    End {
        /// Its id.
        drill: u64,
        /// How it ended: passed, or failed.
        outcome: Outcome,
        /// What it measured.
        figures: Figures,
        /// What was seen.
        lines: Vec<String>,
    },
    /// Kind 129: a person ends it.
    Cancel {
        /// Its id.
        drill: u64,
    },
    /// Kind 130: a program let a member in again.
    Lifted {
        /// Where.
        region: Label,
        /// Which program had cut it off.
        hook: String,
    },
    /// Kind 131: drills shall begin by themselves.
    Schedule {
        /// What they are to do.
        aim: Aim,
        /// How far apart.
        every: Duration,
        /// When the first one is due; `None`: after that time.
        first: Option<Timestamp>,
    },
    /// Kind 132: they shall not any more.
    Unschedule {
        /// Its id.
        schedule: u64,
    },
    /// Kind 133: what was due could not begin.
    Missed {
        /// The schedule's id.
        schedule: u64,
        /// Why, in one line.
        why: String,
    },
    /// Kind 136: an observation noticed something.
    Note {
        /// Its id.
        drill: u64,
        /// What.
        notice: Notice,
    },
}

impl DrillStep {
    /// Its number, which never changes.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        match self {
            Self::Start { .. } => 126,
            Self::Lift { .. } => 127,
            Self::End { .. } => 128,
            Self::Cancel { .. } => 129,
            Self::Lifted { .. } => 130,
            Self::Schedule { .. } => 131,
            Self::Unschedule { .. } => 132,
            Self::Missed { .. } => 133,
            Self::Note { .. } => 136,
        }
    }

    /// Whether only a person takes it, so that it needs a reason.
    #[must_use]
    pub const fn is_by_a_person(&self) -> bool {
        matches!(self, Self::Start { schedule: None, .. } | Self::Cancel { .. } | Self::Schedule { .. } | Self::Unschedule { .. })
    }
}

/// One line for the audit.
impl fmt::Display for DrillStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { aim, schedule: None } => write!(f, "drill: {aim}"),
            Self::Start { aim, schedule: Some(id) } => write!(f, "drill by schedule-{id}: {aim}"),
            Self::Lift { region } => write!(f, "{region} may be let in again"),
            Self::End { drill, outcome, .. } => write!(f, "drill-{drill} {outcome}"),
            Self::Cancel { drill } => write!(f, "cancel drill-{drill}"),
            Self::Lifted { region, hook } => write!(f, "{region} is let in again by hook {hook}"),
            Self::Schedule { aim, every, .. } => write!(f, "drill every {}: {aim}", Human(*every)),
            Self::Unschedule { schedule } => write!(f, "end schedule-{schedule}"),
            Self::Missed { schedule, why } => write!(f, "the drill of schedule-{schedule} was missed: {why}"),
            Self::Note { drill, notice } => write!(f, "drill-{drill} noticed: {notice}"),
        }
    }
}
