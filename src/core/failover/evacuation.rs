//! An evacuation: a region is drained, and the data groups whose primary is there are switched over, one after the other.
//!
//! ```text
//! begun (the drain is laid in the same entry) --> of each group: waiting --> moving --> moved
//!                                                                   |           '----> failed: its operation ended otherwise
//!                                                                   '----------------> skipped: a person, a cancel, or it left by itself
//! ended when nothing waits and nothing moves
//! ```
//!
//! Invariants: groups begin in their order, so that one that cannot begin stops those behind it; none begins while the operation of one that was
//! begun is held. What becomes of a group is read off its own operation when that is committed, so that no leader has to be there to note it.
//!
//! Absent on purpose: who may conduct it (the leader), what an operation is (the group's own record), and the judging of steps
//! ([`crate::cluster`]).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::group::Group;
use crate::{
    model::{
        group::{Member, Policy},
        ids::Label,
        time::Timestamp,
    },
    recovery::{exposure::Bracket, observation::LAG_MAX},
};

/// Groups that one evacuation moves at a time: as many as automation does.
pub const AT_ONCE: usize = 3;

/// An evacuation. Its name is `evac-` and its id, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evacuation {
    /// The log index of the entry that began it.
    pub id: u64,
    /// Which region.
    pub region: Label,
    /// Who wanted it.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// When it began, by the entry's time.
    pub at: Timestamp,
    /// The order that drains the region.
    pub order: Label,
    /// Until when freezes are overruled for its operations; `None`: they are not.
    pub overrules_freezes: Option<Timestamp>,
    /// Its groups, in the order in which they are begun.
    pub items: Vec<Item>,
    /// Who wants no further group to be begun; `None`: nobody.
    pub cancelled: Option<String>,
    /// When it ended, by the time of the entry that ended it; `None`: it has not.
    pub ended: Option<Timestamp>,
}

/// A group of an evacuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Which.
    pub group: Label,
    /// How far it is.
    pub progress: Progress,
}

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has not begun.
    Waiting {
        /// Why it cannot begin, in one line; empty: it was not its turn yet.
        because: String,
    },
    /// It is being switched over.
    Moving {
        /// The operation's id.
        operation: u64,
    },
    /// Its primary is elsewhere.
    Moved {
        /// The operation's id.
        operation: u64,
    },
    /// It was left as it is, or left by itself.
    Skipped {
        /// Why, in one line.
        because: String,
    },
    /// Its operation did not move it.
    Failed {
        /// The operation's id.
        operation: u64,
        /// How that ended, in one line.
        because: String,
    },
}

impl Progress {
    /// The word in logs and the API.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Moving { .. } => "moving",
            Self::Moved { .. } => "moved",
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it is so, in one line; empty: there is nothing to say.
    #[must_use]
    pub fn because(&self) -> &str {
        match self {
            Self::Waiting { because } | Self::Skipped { because } | Self::Failed { because, .. } => because,
            Self::Moving { .. } | Self::Moved { .. } => "",
        }
    }

    /// The operation that moves or moved it; `None`: none was begun.
    #[must_use]
    pub const fn operation(&self) -> Option<u64> {
        match self {
            Self::Moving { operation } | Self::Moved { operation } | Self::Failed { operation, .. } => Some(*operation),
            Self::Waiting { .. } | Self::Skipped { .. } => None,
        }
    }
}

/// How an evacuation stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Groups wait or move.
    Open,
    /// A person wants no further group to be begun, and those that were begun go on.
    Cancelling,
    /// No primary was left behind but those that people wanted to be.
    Succeeded,
    /// The operation of a group failed.
    Incomplete,
    /// A person ended it.
    Cancelled,
}

impl Standing {
    /// The word in logs and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Evacuation {
    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.ended, &self.cancelled) {
            (None, None) => Standing::Open,
            (None, Some(_)) => Standing::Cancelling,
            (Some(_), Some(_)) => Standing::Cancelled,
            (Some(_), None) if self.items.iter().any(|item| matches!(item.progress, Progress::Failed { .. })) => Standing::Incomplete,
            (Some(_), None) => Standing::Succeeded,
        }
    }

    /// The next group to be begun; `None`: none is.
    #[must_use]
    pub fn first_waiting(&self) -> Option<&Item> {
        self.items.iter().find(|item| matches!(item.progress, Progress::Waiting { .. })).filter(|_| self.ended.is_none())
    }

    /// The operations that are under way, with their groups.
    pub fn moving(&self) -> impl Iterator<Item = (&Label, u64)> {
        self.items.iter().filter_map(|item| match item.progress {
            Progress::Moving { operation } => Some((&item.group, operation)),
            _ => None,
        })
    }

    /// The reason that its operations carry.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("evacuation of {} (evac-{}): {}", self.region, self.id, self.why)
    }

    /// Reads off the groups what became of them, and ends when nothing is left to be done. `group`: as it is agreed, `None` when the plan has none
    /// of that name.
    pub(crate) fn follow<'a>(&mut self, group: impl Fn(&Label) -> Option<&'a Group>, at: Timestamp) {
        for item in &mut self.items {
            if let Some(progress) = became(&item.progress, &self.region, group(&item.group)) {
                item.progress = progress;
            }
        }
        let is_open = |item: &Item| matches!(item.progress, Progress::Waiting { .. } | Progress::Moving { .. });
        if self.ended.is_none() && !self.items.iter().any(is_open) {
            self.ended = Some(at);
        }
    }
}

/// What became of a group of an evacuation; `None`: nothing new.
fn became(progress: &Progress, region: &Label, group: Option<&Group>) -> Option<Progress> {
    match progress {
        Progress::Waiting { .. } => {
            let because = match group {
                None => "the plan has no such group any more".to_owned(),
                // It may come back from an operation that was begun by somebody else.
                Some(group) if group.operation.is_some() => return None,
                Some(group) => match group.primary() {
                    Some(primary) if primary == region => return None,
                    Some(primary) => format!("its primary is in {primary}"),
                    None => "it has no primary".to_owned(),
                },
            };
            Some(Progress::Skipped { because })
        }
        Progress::Moving { operation } => {
            let id = *operation;
            let is_it = |open: &super::group::Operation| open.id == id;
            if group.is_some_and(|group| group.operation.as_ref().is_some_and(is_it)) {
                return None;
            }
            let closed = group.and_then(|group| group.ended().find(|closed| closed.operation.id == id));
            Some(match closed {
                Some(closed) if closed.ending == super::group::Ending::Succeeded => Progress::Moved { operation: id },
                Some(closed) => Progress::Failed { operation: id, because: format!("its operation ended {}", closed.ending) },
                None => Progress::Failed { operation: id, because: "its operation is not remembered".to_owned() },
            })
        }
        Progress::Moved { .. } | Progress::Skipped { .. } | Progress::Failed { .. } => None,
    }
}

/// What is seen of a member that a switchover may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// It receives from the primary now, by its agent's word.
    pub receives: bool,
    /// What it lacks, in time; `None`: nobody knows.
    pub lacks: Option<Bracket>,
    /// Its region is drained, or judged down.
    pub is_away: bool,
}

/// Members that a switchover of the group cannot go to now, and why, in words that follow their name and change only when something else is wrong.
#[must_use]
pub fn unfit(group: &Group, policy: &Policy, seen: &BTreeMap<Label, Candidate>) -> BTreeMap<Label, String> {
    let others = policy.members.iter().filter(|(region, _)| group.primary() != Some(*region));
    let problem = |(region, member): (&Label, &Member)| {
        let candidate = seen.get(region).copied().unwrap_or_default();
        let problem = if !member.is_candidate {
            "may not be promoted, by the plan"
        } else if candidate.is_away {
            "is drained or down"
        } else if !candidate.receives || group.absent.contains(region) {
            "does not follow"
        } else if !candidate.lacks.is_some_and(|lacks| lacks.is_within(LAG_MAX)) {
            "lacks too much, or nobody knows how much"
        } else {
            return None;
        };
        Some((region.clone(), problem.to_owned()))
    };
    others.filter_map(problem).collect()
}

/// Where a switchover of the group would best go: of those that can take over, by the plan's priority, then by what they lack, then by name.
///
/// # Errors
/// Why nobody can take over, in one line.
pub fn target(group: &Group, policy: &Policy, seen: &BTreeMap<Label, Candidate>) -> Result<Label, String> {
    let Some(primary) = group.primary() else { return Err("it has no primary".to_owned()) };
    let unfit = unfit(group, policy, seen);
    let fit = policy.members.iter().filter(|(region, _)| *region != primary && !unfit.contains_key(*region));
    let rank = |(region, member): &(&Label, &Member)| {
        (member.priority, seen.get(*region).and_then(|candidate| candidate.lacks?.high), (*region).clone())
    };
    if let Some((region, _)) = fit.min_by_key(rank) {
        return Ok(region.clone());
    }
    if unfit.is_empty() {
        return Err("it has no other member".to_owned());
    }
    let against: Vec<String> = unfit.iter().map(|(region, why)| format!("{region} {why}")).collect();
    Err(format!("nobody can take over: {}", against.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::{
        failover::{
            choose::Durability,
            group::{Closed, Ending, Operation, Phase, operation},
            lease::{Class, Grant},
            token::Token,
        },
        model::group::{OnControlLoss, policy},
    };

    fn group(primary: &str) -> Group {
        let token = Token { generation: 0, epoch: 4 };
        let grant = Grant {
            token,
            region: Label::new(primary),
            ttl: Duration::from_secs(90),
            margin: Duration::from_secs(10),
            longest: Duration::from_secs(90),
            class: Class::Bare,
            is_attested: true,
            durability: Durability::Async,
            on_control_loss: OnControlLoss::HoldIfAllAck,
            peers: BTreeSet::new(),
            above: 1,
        };
        Group { token, grant: Some(grant), ..Group::default() }
    }

    fn lacks(seconds: u64) -> Candidate {
        let high = Some(Duration::from_secs(seconds));
        Candidate { receives: true, lacks: Some(Bracket { low: Duration::ZERO, high }), is_away: false }
    }

    #[test]
    fn the_best_target_is_by_priority_then_by_what_it_lacks_then_by_name() {
        let mut policy = policy("us", &["us", "eu", "ap", "sa"]);
        let mut seen: BTreeMap<Label, Candidate> =
            [("eu", lacks(2)), ("ap", lacks(1)), ("sa", lacks(1))].map(|(region, it)| (Label::new(region), it)).into();
        let best = |policy: &Policy, seen: &BTreeMap<Label, Candidate>| target(&group("us"), policy, seen);
        assert_eq!(best(&policy, &seen), Ok("ap".into()));
        policy.members.get_mut(&Label::new("eu")).unwrap().priority = 1;
        assert_eq!(best(&policy, &seen), Ok("eu".into()));
        seen.get_mut(&Label::new("eu")).unwrap().receives = false;
        seen.get_mut(&Label::new("ap")).unwrap().is_away = true;
        policy.members.get_mut(&Label::new("sa")).unwrap().is_candidate = false;
        let none = "nobody can take over: ap is drained or down, eu does not follow, sa may not be promoted, by the plan";
        assert_eq!(best(&policy, &seen), Err(none.to_owned()));
        assert_eq!(target(&Group::default(), &policy, &seen), Err("it has no primary".to_owned()));
    }

    #[test]
    fn a_group_is_followed_by_its_own_operation_and_the_end_comes_when_none_is_left() {
        let item = |group: &str, progress| Item { group: group.into(), progress };
        let waiting = || Progress::Waiting { because: String::new() };
        let mut evacuation = Evacuation {
            id: 5,
            region: "us".into(),
            who: "ana".to_owned(),
            why: "flood".to_owned(),
            at: Timestamp(1),
            order: "o-5".into(),
            overrules_freezes: None,
            items: vec![item("orders", Progress::Moving { operation: 9 }), item("users", waiting()), item("carts", waiting())],
            cancelled: None,
            ended: None,
        };
        let under_way = Group { operation: Some(operation(Phase::Decided)), ..group("us") };
        let home = group("us");
        evacuation.follow(|name| Some(if name.as_str() == "orders" { &under_way } else { &home }), Timestamp(2));
        let words = |it: &Evacuation| it.items.iter().map(|item| item.progress.word()).collect::<Vec<_>>();
        assert_eq!(words(&evacuation), ["moving", "waiting", "waiting"]);
        let operation: Operation = operation(Phase::Routed);
        let closed = |ending| Closed {
            operation: operation.clone(),
            ending,
            at: Timestamp(3),
            setback: None,
            told: None,
            aside: Default::default(),
        };
        let moved = Group { latest: Some(closed(Ending::Succeeded)), ..group("eu") };
        evacuation
            .follow(|name| (name.as_str() != "carts").then_some(if name.as_str() == "orders" { &moved } else { &home }), Timestamp(3));
        assert_eq!((words(&evacuation), evacuation.standing()), (vec!["moved", "waiting", "skipped"], Standing::Open));
        evacuation.items[1].progress = Progress::Moving { operation: 9 };
        let stayed = Group { latest: Some(closed(Ending::Cancelled)), ..group("us") };
        evacuation.follow(|_| Some(&stayed), Timestamp(4));
        assert_eq!((words(&evacuation), evacuation.ended), (vec!["moved", "failed", "skipped"], Some(Timestamp(4))));
        assert_eq!(evacuation.standing(), Standing::Incomplete);
    }
}
