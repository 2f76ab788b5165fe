//! What an operation would do, told before anything is done.
//!
//! A function of what is agreed and what was measured: there is nothing here that could act. The steps are those of [`super::conduct`], in their
//! order, with who does each, and how long it takes at the worst before it is held, given back or given up.
//!
//! Whether it would be let begin is judged by [`crate::cluster`], by the code that judges the operation itself.

use std::{fmt, time::Duration};

use super::{
    conduct::Patience,
    group::{Group, HeldFor, Kind, too_much},
    lease::long,
    plan_id::{Pinned, PlanId},
};
use crate::{
    model::{group::Policy, ids::Label, time::Human},
    recovery::{exposure::Bracket, incident::Measured},
};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What kind.
    pub kind: Kind,
    /// Where to; `None`: whoever is chosen.
    pub to: Option<Label>,
    /// What may be lost in this operation; `None`: what the plan says.
    pub allowed_loss: Option<Duration>,
}

/// What the operation would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// Pins all that it depends on.
    pub plan: PlanId,
    /// What kind.
    pub kind: Kind,
    /// Who would be replaced.
    pub from: Label,
    /// Where to; `None`: whoever is chosen.
    pub to: Option<Label>,
    /// The steps, in order.
    pub parts: Vec<Part>,
    /// What would be lost, as it is estimated now; a switchover loses nothing or goes back.
    pub estimate: Bracket,
    /// Why so much may not be lost; `None`: it may, or nothing is.
    pub gate: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub stage: Stage,
    /// Who does it.
    pub who: Who,
    /// For how long at the worst.
    pub lasts: Lasts,
    /// What happens, and what if it does not, in one line.
    pub text: String,
}

/// A step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Names that lead to the old primary are answered for a short time only.
    Announce,
    /// The old grant is revoked.
    Decide,
    /// The old primary is stopped, or its lease ends.
    Fence,
    /// The old primary stops cleanly.
    Stop,
    /// Copies receive nothing more.
    Seal,
    /// The best one is chosen.
    Choose,
    /// It replays what it received.
    Drain,
    /// What would be lost is judged.
    Gate,
    /// It is granted the role.
    Grant,
    /// It takes writes.
    Promote,
    /// What the plan wants to be shown is shown.
    Validate,
    /// Names lead to it.
    Route,
    /// It is over.
    Close,
}

impl Stage {
    /// The word in the API and on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Decide => "decide",
            Self::Fence => "fence",
            Self::Stop => "stop",
            Self::Seal => "seal",
            Self::Choose => "choose",
            Self::Drain => "drain",
            Self::Gate => "gate",
            Self::Grant => "grant",
            Self::Promote => "promote",
            Self::Validate => "validate",
            Self::Route => "route",
            Self::Close => "close",
        }
    }

    /// Whether the old primary cannot get the role back behind it.
    #[must_use]
    pub const fn is_point_of_no_return(self) -> bool {
        matches!(self, Self::Grant)
    }
}

/// Who does a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A majority of the voters, by an entry of the log.
    Voters,
    /// The node that leads.
    Leader,
    /// The agent of this member.
    Agent(Label),
    /// The agents of all members but this one.
    AgentsBut(Label),
    /// The agent of whoever is chosen.
    Candidate,
    /// Every node that answers DNS.
    Servers,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voters => f.write_str("the voters"),
            Self::Leader => f.write_str("the leader"),
            Self::Agent(region) => write!(f, "agent of {region}"),
            Self::AgentsBut(region) => write!(f, "agents but {region}'s"),
            Self::Candidate => f.write_str("agent of the chosen"),
            Self::Servers => f.write_str("every DNS server"),
        }
    }
}

/// How long a step takes at the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// One agreement between the voters: a round trip or two.
    Agreement,
    /// At most this, by the plan or by what was measured. Then it goes on, or is held.
    AtMost(Duration),
    /// Nobody has measured it.
    Unknown,
}

impl Lasts {
    fn measured(time: Option<Duration>) -> Self {
        time.map_or(Self::Unknown, Self::AtMost)
    }
}

impl fmt::Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreement => f.write_str("one agreement"),
            Self::AtMost(time) => write!(f, "at most {}", Human(*time)),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Rehearsal {
    /// How long everything up to the first write on the new primary takes at the worst, agreements not counted; `None`: a part is unknown.
    #[must_use]
    pub fn until_writes(&self) -> Option<Duration> {
        sum(self.parts.iter().take_while(|part| part.stage <= Stage::Promote))
    }

    /// The same for the whole.
    #[must_use]
    pub fn whole(&self) -> Option<Duration> {
        sum(self.parts.iter())
    }
}

fn sum<'a>(mut parts: impl Iterator<Item = &'a Part>) -> Option<Duration> {
    parts.try_fold(Duration::ZERO, |sum, part| match part.lasts {
        Lasts::Agreement => Some(sum),
        Lasts::AtMost(time) => Some(sum.saturating_add(time)),
        Lasts::Unknown => None,
    })
}

/// Tells what the operation would do. `revision`: of the plan in force. `estimate`: of what would be lost now. `measured`: of what the plan does
/// not say.
///
/// `None`: the group has no primary, so nothing of it can be told.
#[must_use]
pub fn rehearse(
    name: &Label,
    group: &Group,
    policy: &Policy,
    revision: u64,
    wanted: &Wanted,
    estimate: Bracket,
    measured: Measured,
) -> Option<Rehearsal> {
    let Wanted { kind, to, allowed_loss } = wanted.clone();
    let from = group.primary()?.clone();
    let pinned = Pinned { group: name, token: group.token, plan_revision: revision, kind, from: &from, to: to.as_ref(), allowed_loss };
    let plan = PlanId::of(&pinned);
    let (estimate, gate) = match kind {
        Kind::Switchover => (Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) }, None),
        Kind::Failover => (estimate, too_much(estimate, allowed_loss, policy.rpo_target)),
    };
    let script = Script { group, policy, kind, from: &from, to: to.as_ref(), patience: Patience::default().on_clocks_of(policy), measured };
    Some(Rehearsal { plan, kind, parts: script.parts(estimate, gate.as_deref()), from, to, estimate, gate })
}

struct Script<'a> {
    group: &'a Group,
    policy: &'a Policy,
    kind: Kind,
    from: &'a Label,
    to: Option<&'a Label>,
    patience: Patience,
    measured: Measured,
}

impl Script<'_> {
    fn parts(&self, estimate: Bracket, gate: Option<&str>) -> Vec<Part> {
        let part = |stage, who, lasts, text: String| Part { stage, who, lasts, text };
        let candidate = || self.to.map_or(Who::Candidate, |to| Who::Agent(to.clone()));
        let Patience { seal, drain, promote, .. } = self.patience;
        let fallback = match self.kind {
            Kind::Switchover => format!("else {} goes on", self.from),
            Kind::Failover => format!("else held, {}", HeldFor::Drain),
        };
        let choice = match self.to {
            Some(to) => format!("{to}, if its copy is of the line"),
            None => "who received most; then by the plan's priority".to_owned(),
        };
        let announced = (self.kind == Kind::Switchover && !self.policy.names_ttl.is_zero()).then(|| {
            let text =
                format!("its names are answered as briefly as the plan allows; what was told before runs out, and {} writes", self.from);
            part(Stage::Announce, Who::Servers, Lasts::AtMost(self.policy.names_ttl), text)
        });
        let parts = [
            part(Stage::Decide, Who::Voters, Lasts::Agreement, format!("the grant of {} is revoked: it cannot renew any more", self.from)),
            self.end_of_the_old_one(),
            part(
                Stage::Seal,
                Who::AgentsBut(self.from.clone()),
                Lasts::AtMost(seal),
                "copies receive nothing more, and say what they have".to_owned(),
            ),
            part(Stage::Choose, Who::Voters, Lasts::Agreement, choice),
            part(Stage::Drain, candidate(), Lasts::AtMost(drain), format!("it replays what it received; {fallback}")),
            part(Stage::Gate, Who::Leader, Lasts::Agreement, self.gate(estimate, gate)),
            part(Stage::Grant, Who::Voters, Lasts::Agreement, format!("from here on no cancel gives {} the role back", self.from)),
            part(
                Stage::Promote,
                candidate(),
                Lasts::AtMost(self.measured.promote.map_or(promote, |measured| measured.min(promote))),
                "it takes writes; else it is fenced, and the next best one is chosen".to_owned(),
            ),
            part(
                Stage::Validate,
                Who::Leader,
                Lasts::measured(self.measured.validation),
                "what the plan wants to be shown is shown".to_owned(),
            ),
            part(Stage::Route, Who::Servers, Lasts::measured(self.measured.tail), "names lead to it, and caches run out".to_owned()),
            part(Stage::Close, Who::Voters, Lasts::Agreement, "the others are pointed at it; the group rests until they follow".to_owned()),
        ];
        announced.into_iter().chain(parts).collect()
    }

    /// The end of the old primary.
    fn end_of_the_old_one(&self) -> Part {
        let (who, from) = (Who::Agent(self.from.clone()), self.from);
        if self.kind == Kind::Switchover {
            let text = format!("{from} stops cleanly and says where; else it goes on, or it is held, {}", HeldFor::SwitchoverUnanswered);
            return Part { stage: Stage::Stop, who, lasts: Lasts::AtMost(self.patience.stop), text };
        }
        let lease = self.group.grant.as_ref().map_or(self.policy.ttl, |grant| grant.longest);
        let text = if self.group.wait_is_a_fence() && self.policy.may_wait {
            format!("{from} confirms that it is stopped, or its lease of {} ends, and its database with it", Human(lease))
        } else {
            format!("{from} confirms that it is stopped; its lease proves nothing, so without that: held, {}", HeldFor::FenceUnproven)
        };
        Part { stage: Stage::Fence, who, lasts: Lasts::AtMost(long(lease)), text }
    }

    fn gate(&self, estimate: Bracket, gate: Option<&str>) -> String {
        match (self.kind, gate) {
            (Kind::Switchover, _) => "nothing is lost: the copy ends where the old primary stopped".to_owned(),
            (Kind::Failover, Some(why)) => format!("as estimated now it would be held, {}: {why}", HeldFor::RpoGate),
            (Kind::Failover, None) => format!("loss {estimate} as estimated now, judged again by what is sealed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{
            choose::Durability,
            lease::{Class, Grant},
            token::Token,
        },
        model::group::{OnControlLoss, policy},
    };

    fn group(class: Class) -> Group {
        let token = Token { generation: 0, epoch: 7 };
        let seconds = Duration::from_secs;
        let grant = Grant {
            token,
            region: "us".into(),
            ttl: seconds(90),
            margin: seconds(10),
            longest: seconds(120),
            class,
            is_attested: true,
            durability: Durability::Async,
            on_control_loss: OnControlLoss::Fence,
            peers: ["eu".into()].into(),
            above: 1,
        };
        Group { token, grant: Some(grant), ..Group::default() }
    }

    fn told(group: &Group, wanted: &Wanted, loss: Bracket, measured: Measured) -> String {
        let policy = policy("us", &["us", "eu", "ap"]);
        let rehearsal = rehearse(&"orders".into(), group, &policy, 3, wanted, loss, measured).unwrap();
        let line = |part: &Part| {
            let mark = if part.stage.is_point_of_no_return() { "!" } else { "." };
            format!("{mark}{} | {} | {} | {}\n", part.stage.word(), part.who, part.lasts, part.text)
        };
        let sums =
            [rehearsal.until_writes(), rehearsal.whole()].map(|sum| sum.map_or_else(|| "unknown".to_owned(), |sum| Human(sum).to_string()));
        format!("{}{}\n", rehearsal.parts.iter().map(line).collect::<String>(), sums.join(" | "))
    }

    const ARMED: Class = Class::Armed { supervisor: 1 };
    const FAILOVER: Wanted = Wanted { kind: Kind::Failover, to: None, allowed_loss: None };

    #[test]
    fn a_failover_waits_for_the_longest_lease_and_tells_what_is_unknown() {
        let loss = Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(2)) };
        let text = told(&group(ARMED), &FAILOVER, loss, Measured::default());
        let expected = "\
.decide | the voters | one agreement | the grant of us is revoked: it cannot renew any more
.fence | agent of us | at most 2m1s | us confirms that it is stopped, or its lease of 2m ends, and its database with it
.seal | agents but us's | at most 10s | copies receive nothing more, and say what they have
.choose | the voters | one agreement | who received most; then by the plan's priority
.drain | agent of the chosen | at most 5m | it replays what it received; else held, DRAIN
.gate | the leader | one agreement | loss 0s to 2s as estimated now, judged again by what is sealed
!grant | the voters | one agreement | from here on no cancel gives us the role back
.promote | agent of the chosen | at most 1m | it takes writes; else it is fenced, and the next best one is chosen
.validate | the leader | unknown | what the plan wants to be shown is shown
.route | every DNS server | unknown | names lead to it, and caches run out
.close | the voters | one agreement | the others are pointed at it; the group rests until they follow
8m11s | unknown
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_would_hold_it_is_told_before() {
        let text = told(&group(Class::Bare), &FAILOVER, Bracket::UNKNOWN, Measured::default());
        assert!(text.contains("its lease proves nothing, so without that: held, FENCE_UNPROVEN"), "{text}");
        assert!(text.contains("held, RPO_GATE: nobody knows how much would be lost, and 1h may be"), "{text}");
        let allowed = Wanted { allowed_loss: Some(crate::failover::group::ANY_LOSS), ..FAILOVER };
        let text = told(&group(ARMED), &allowed, Bracket::UNKNOWN, Measured::default());
        assert!(text.contains("loss unknown as estimated now") && !text.contains("RPO_GATE"), "{text}");
    }

    #[test]
    fn a_switchover_stops_cleanly_and_loses_nothing_or_goes_back() {
        let seconds = |n| Some(Duration::from_secs(n));
        let measured = Measured { drain: None, promote: seconds(5), tail: seconds(30), validation: seconds(10) };
        let wanted = Wanted { kind: Kind::Switchover, to: Some("eu".into()), allowed_loss: None };
        let text = told(&group(ARMED), &wanted, Bracket::UNKNOWN, measured);
        assert!(text.contains(".stop | agent of us | at most 1m |") && !text.contains("fence |"), "{text}");
        assert!(text.contains(".drain | agent of eu | at most 5m | it replays what it received; else us goes on"), "{text}");
        assert!(text.contains("nothing is lost: the copy ends where the old primary stopped"), "{text}");
        assert!(!text.contains("announce"), "no name leads there: {text}");
        assert!(text.ends_with("6m15s | 6m55s\n"), "{text}");
    }

    #[test]
    fn nothing_is_told_of_a_group_without_a_primary() {
        let policy = policy("us", &["us", "eu"]);
        assert_eq!(rehearse(&"orders".into(), &Group::default(), &policy, 1, &FAILOVER, Bracket::UNKNOWN, Measured::default()), None);
    }
}
