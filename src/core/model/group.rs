//! What failover decisions about a data group are judged by: the plan's words for it, as the replicated state keeps them.
//!
//! Made from a plan by [`crate::plan::policies`], where every default is filled in and the plan's general words are applied, so that whoever
//! decides needs no other part of the plan. Addresses and secrets stay there: no decision depends on them.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ids::Label, units::Share};

/// No fixed time of a group is scaled below this: agents tell of themselves every second, and three of their words are no silence.
const SCALED_MIN: Duration = Duration::from_secs(3);

/// What the plan says of a data group, with every default filled in and narrowed by the plan's general words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Where people expect the primary; who holds the role is in the state, not here.
    pub primary: Label,
    /// By region, at least that of the primary.
    pub members: BTreeMap<Label, Member>,
    /// The narrower of the plan's mode and the group's; `None`: neither says one.
    pub mode: Option<Mode>,
    /// Whether automation may fail this group over: the plan has it on, the group does not switch it off, and no holder goes on writing
    /// without a quorum ([`OnControlLoss::Keep`]).
    pub is_automatic: bool,
    /// Order when one cause hits many groups; the lower first.
    pub priority: u16,
    /// When a write counts as done.
    pub durability: Durability,
    /// What the holder of the lease does when it cannot reach a quorum.
    pub on_control_loss: OnControlLoss,
    /// Whether the end of the lease may be waited for as a fence: `fence` has the rung `lease: expire`.
    pub may_wait: bool,
    /// The programs that may stop an old primary, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<Rung>,
    /// How long one round lasts, longer than zero.
    pub probe_interval: Duration,
    /// So many failed rounds call for a failover, at least 1.
    pub failures: u16,
    /// The time in which failed rounds are counted, longer than zero.
    pub failure_window: Duration,
    /// So many passed rounds in a row clear the count, at least 1.
    pub ok_run: u16,
    /// How long a decision is held before it is carried out. Zero: not at all.
    pub confirm_hold: Duration,
    /// How long the agent may try to bring a crashed primary up again before another member is promoted. Zero: not at all.
    pub local_recovery: Duration,
    /// How long nothing is done after an operation. Zero: the next one may follow at once.
    pub cool_down: Duration,
    /// How long the result of an operation is watched. Zero: not at all.
    pub observe: Duration,
    /// For how long a renewal gives the right to write.
    pub ttl: Duration,
    /// How long before the lease's end the holder stops its database: longer than zero, shorter than `ttl`.
    pub margin: Duration,
    /// For how long at most names that lead to its primary are answered, never scaled: caches are not. Zero: no name leads there.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub names_ttl: Duration,
    /// How much work may be lost, in time; `None`: the plan has no `disaster_recovery`.
    pub rpo_target: Option<Duration>,
    /// How long a recovery may take; `None`: the plan has no `disaster_recovery`.
    pub rto_target: Option<Duration>,
    /// For tests only: the times above, but for targets, are this part of what the plan writes, and so are fixed ones, see [`Self::scaled`].
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub time_scale: Share,
    /// Who lets a member's directory that nobody may start be replaced by a new copy.
    #[serde(default, skip_serializing_if = "Reclone::is_when_told")]
    pub reclone: Reclone,
    /// Whether the plan names a program that restores a backup of its data, for drills.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restores: bool,
    /// Whether agents of its engine can open a copy apart, to show that it is one. An older plan does not say: then the agent does.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub opens_copies: bool,
}

/// What becomes of a data directory that nobody may start any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reclone {
    /// People make a new copy with the engine's own tools.
    ByHand,
    /// The agent makes one, and removes the directory, when a person says so.
    #[default]
    WhenTold,
    /// The agent does so by itself.
    Always,
}

impl Reclone {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer hands it over so")]
    fn is_when_told(&self) -> bool {
        *self == Self::WhenTold
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer hands it over so")]
const fn is_yes(is_so: &bool) -> bool {
    *is_so
}

const fn whole() -> Share {
    Share::FULL
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer hands it over so")]
const fn is_whole(scale: &Share) -> bool {
    scale.is_full()
}

/// A fixed time of a group as long as its others are, no shorter than what is waited for can come in.
#[must_use]
pub fn scaled(scale: Share, fixed: Duration) -> Duration {
    scale.of_time(fixed).max(SCALED_MIN.min(fixed))
}

impl Policy {
    /// The members but for the one in this region, in order of their names.
    pub fn others<'a>(&'a self, region: &'a Label) -> impl Iterator<Item = &'a Label> {
        self.members.keys().filter(move |member| *member != region)
    }

    /// A fixed time as long as the others of this group are; see [`scaled`].
    #[must_use]
    pub fn scaled(&self, fixed: Duration) -> Duration {
        scaled(self.time_scale, fixed)
    }

    /// Every time in it, with the plan's word for it.
    pub fn times(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let always = [
            ("probe.interval", self.probe_interval),
            ("failure_window", self.failure_window),
            ("confirm_hold", self.confirm_hold),
            ("local_recovery", self.local_recovery),
            ("cool_down", self.cool_down),
            ("observe", self.observe),
            ("lease.ttl", self.ttl),
            ("lease.margin", self.margin),
        ];
        let targets = [("rpo_target", self.rpo_target), ("rto_target", self.rto_target)];
        always.into_iter().chain(targets.into_iter().filter_map(|(word, time)| Some((word, time?))))
    }
}

/// A program that may stop an old primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its name.
    pub hook: String,
    /// Its success is meant to prove it: which it does in a region where a drill has shown that it does (A8).
    pub confirms: bool,
    /// There is a program that lets in again whom it cut off. Without one no drill can show anything.
    pub is_undone: bool,
}

/// One copy of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Whether it may be promoted: the plan does not forbid it, and it stands inside the group's residency.
    pub is_candidate: bool,
    /// The lower is promoted first.
    pub priority: u16,
    /// Whether an agent stands beside it.
    pub has_agent: bool,
}

/// What automation may do to data and to other people's DNS. The narrower is the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Look and report.
    Observe,
    /// Say what should be done.
    Recommend,
    /// Do it.
    Act,
}

impl Mode {
    /// The word in plans, logs and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Act => "act",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When the primary has it.
    Async,
    /// When another region has it too.
    RemoteQuorum,
}

/// What the holder of the lease does when it cannot reach a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnControlLoss {
    /// Stops writing at the lease's end.
    Fence,
    /// Goes on while every member's agent and every voter region acknowledges it directly.
    HoldIfAllAck,
    /// Goes on; such a group never fails over automatically.
    Keep,
}

/// An automatic group with a primary and members in these regions, by the plan's defaults; each member is a candidate and has an agent.
#[cfg(test)]
pub(crate) fn policy(primary: &str, regions: &[&str]) -> Policy {
    let seconds = Duration::from_secs;
    let member = Member { is_candidate: true, priority: 100, has_agent: true };
    Policy {
        primary: Label::new(primary),
        members: regions.iter().map(|region| (Label::new(region), member)).collect(),
        mode: Some(Mode::Act),
        is_automatic: true,
        priority: 100,
        durability: Durability::Async,
        on_control_loss: OnControlLoss::HoldIfAllAck,
        may_wait: true,
        rungs: Vec::new(),
        probe_interval: seconds(15),
        failures: 3,
        failure_window: seconds(300),
        ok_run: 10,
        confirm_hold: seconds(60),
        local_recovery: seconds(60),
        cool_down: seconds(3600),
        observe: seconds(900),
        ttl: seconds(90),
        margin: seconds(10),
        names_ttl: Duration::ZERO,
        rpo_target: Some(seconds(3600)),
        rto_target: Some(seconds(1800)),
        time_scale: Share::FULL,
        reclone: Reclone::WhenTold,
        restores: false,
        opens_copies: true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failover::lease;

    fn millis(of: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        of.prop_map(Duration::from_millis)
    }

    proptest! {
        #[test]
        fn times_on_a_scale_stand_to_one_another_as_before(
            (one, other) in (millis(0..10_000_000), millis(0..10_000_000)),
            (n, points) in (0_u32..64, 500_u16..=10_000),
        ) {
            let scale = Share::basis_points(points);
            let (short, long) = (scale.of_time(one), scale.of_time(other));
            prop_assert_eq!(one.cmp(&other), short.cmp(&long), "an interval that fits a window, and a margin below its lease, stay so");
            prop_assert!(short * n <= scale.of_time(one * n), "so many rounds still fit");
            // Who waits for the end of a lease waits longer than its holder lives by it.
            prop_assert!(lease::short(short) <= short && short < lease::long(short));
            prop_assert!(scaled(scale, one) <= one && scaled(scale, one) >= one.min(SCALED_MIN));
            prop_assert!(scaled(scale, one) >= short);
            if one <= other {
                prop_assert!(scaled(scale, one) <= scaled(scale, other));
            }
        }
    }

    #[test]
    fn as_written_it_is_as_written() {
        let time = Duration::from_nanos(12_345_678_901);
        assert_eq!((Share::FULL.of_time(time), scaled(Share::FULL, time)), (time, time));
        let text = serde_json::to_string(&policy("us", &["us"])).unwrap();
        assert!(!text.contains("time_scale"), "what was agreed before has the form that it had: {text}");
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap().time_scale, Share::FULL);
    }
}
