//! Readiness: whether a group would be failed over if its primary were lost now, and if not, what is in the way.
//!
//! Looked at all the time, because what is broken before a disaster is found in it otherwise. Each finding says how to mend it.
//!
//! Invariants: what is not known is never a pass; `would` is true only if no finding fails and nobody would be asked.
//!
//! Source: AWS Route 53 ARC's readiness checks, and Oracle's broker, whose status says why a fast-start failover is not possible now.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    drilled::findings,
    exposure::Bracket,
    incident::{Measured, Prediction, Standing},
};
use crate::{
    failover::{
        concern::CONCERNS_MAX,
        detect::Stand,
        engine::RECLONE_REQUIRED,
        evidence::{Evidence, Stream},
        group::Group,
        lease::Class,
        order::{Role, Status},
        witness::SILENT_AFTER,
    },
    model::{
        group::{Policy, Reclone},
        ids::Label,
        time::{Human, Timestamp},
    },
};

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Pass,
    /// A failover would go on, with less than the plan wants, or nobody knows.
    Warn,
    /// A failover would not go on by itself.
    Fail,
}

impl Grade {
    /// The word in the API and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: a word that stays the same.
    pub check: String,
    /// How it stands.
    pub grade: Grade,
    /// What was seen, in one line.
    pub text: String,
    /// What would mend it; empty: nothing is to be mended.
    pub fix: String,
}

/// Whether a group is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// It would be failed over now, by itself, if its primary were lost.
    pub would: bool,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
}

impl Readiness {
    /// The findings that are in the way.
    pub fn against(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.grade == Grade::Fail)
    }

    /// Of all findings so many percent pass.
    #[must_use]
    pub fn score(&self) -> u8 {
        let n_passed = self.findings.iter().filter(|finding| finding.grade == Grade::Pass).count();
        u8::try_from(n_passed * 100 / self.findings.len().max(1)).unwrap_or(100)
    }
}

/// What a group is judged by.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// Its name.
    pub name: &'a Label,
    /// What is agreed on.
    pub group: &'a Group,
    /// What the plan says.
    pub policy: &'a Policy,
    /// How it stands with automation.
    pub stand: &'a Stand,
    /// What the primary is now.
    pub evidence: Evidence,
    /// What each agent told last, and how long ago.
    pub agents: BTreeMap<&'a Label, (Duration, &'a Status)>,
    /// What would be lost if the furthest were promoted now.
    pub estimate: Bracket,
    /// What was measured of a recovery.
    pub measured: Measured,
    /// When this is judged.
    pub now: Timestamp,
}

/// Judges a group.
#[must_use]
pub fn judge(scene: &Scene<'_>) -> Readiness {
    let mut notes = Notes::default();
    let Some(primary) = scene.group.primary() else {
        notes.note(
            "adopted",
            Grade::Fail,
            "nobody has said who the primary is",
            "start the agents of all members, or: portolan adopt GROUP",
        );
        return notes.judged();
    };
    notes.note("adopted", Grade::Pass, format!("the primary is {primary}"), "");
    if !scene.policy.time_scale.is_full() {
        let text = format!("for tests only: all clocks of this group run in {} of their time", scene.policy.time_scale);
        notes.note("time_scale", Grade::Warn, text, "remove `time_scale` from the plan");
    }
    scene.automation(&mut notes);
    scene.primary(primary, &mut notes);
    scene.standbys(primary, &mut notes);
    scene.databases(&mut notes);
    scene.targets(&mut notes);
    notes.0.extend(findings(scene.name, scene.group, scene.policy, scene.now));
    notes.judged()
}

#[derive(Default)]
struct Notes(Vec<Finding>);

impl Notes {
    fn note(&mut self, check: &str, grade: Grade, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check: check.to_owned(), grade, text: text.into(), fix: fix.into() });
    }

    fn judged(self) -> Readiness {
        Readiness { would: self.0.iter().all(|finding| finding.grade != Grade::Fail), findings: self.0 }
    }
}

impl Scene<'_> {
    fn fresh(&self, region: &Label) -> Option<&Status> {
        self.agents.get(region).filter(|(age, _)| *age < self.policy.scaled(SILENT_AFTER)).map(|(_, status)| *status)
    }

    fn automation(&self, notes: &mut Notes) {
        if let Some(operation) = &self.group.operation {
            let text = format!("op-{} is open, {}", operation.id, operation.phase);
            notes.note("automation", Grade::Fail, text, "portolan recovery status shows what it waits for");
        }
        for veto in &self.stand.vetoes {
            notes.note("automation", Grade::Fail, veto.clone(), "see what forbids it: portolan recovery status");
        }
        for doubt in &self.stand.doubts {
            notes.note("automation", Grade::Fail, format!("a person would be asked: {doubt}"), "be reachable, or widen the plan's mode");
        }
        if self.group.operation.is_none() && self.stand.vetoes.is_empty() && self.stand.doubts.is_empty() {
            notes.note("automation", Grade::Pass, "nothing forbids it", "");
        }
    }

    fn primary(&self, primary: &Label, notes: &mut Notes) {
        let (grade, fix) = match self.evidence {
            Evidence::Healthy => (Grade::Pass, ""),
            Evidence::Unknown => {
                (Grade::Warn, "look whether the vantage regions hear each other, and whether the secret of its dsn is there")
            }
            _ => (Grade::Warn, "see what its witnesses say: portolan recovery status"),
        };
        notes.note("primary", grade, format!("{primary} is {}", self.evidence), fix);
        let Some(status) = self.fresh(primary) else {
            return notes.note("primary_agent", Grade::Fail, format!("the agent in {primary} is silent"), "start it: portolan agent");
        };
        notes.note("primary_agent", Grade::Pass, format!("the agent in {primary} tells of itself"), "");
        if let Some(trouble) = &status.trouble {
            notes.note("primary_agent", Grade::Warn, format!("the agent in {primary}: {trouble}"), "mend what it says");
        }
        let is_armed = matches!(status.class, Class::Armed { .. }) && self.group.wait_is_a_fence();
        match (is_armed, self.policy.may_wait) {
            _ if !(self.stand.confirming.is_empty() || is_armed && self.policy.may_wait) => {
                let text = format!("a drill has shown that {primary} is stopped by hook {}", self.stand.confirming.join(", "));
                notes.note("fence", Grade::Pass, text, "");
            }
            (true, true) => notes.note("fence", Grade::Pass, "the database ends with its lease", ""),
            (true, false) => {
                let text = "the database ends with its lease, and the plan does not let that count";
                notes.note("fence", Grade::Warn, text, "add `lease: expire` to `fence`, or a hook that confirms");
            }
            (false, _) if status.doubt.is_some() => {
                let why = status.doubt.as_deref().unwrap_or_default();
                let text = format!("the end of its lease proves nothing: {why}");
                notes.note("fence", Grade::Fail, text, "mend the clock or the load of the hosts; it counts again after 10 minutes without");
            }
            (false, _) => {
                let text = "nothing would prove that a silent primary is stopped";
                notes.note(
                    "fence",
                    Grade::Fail,
                    text,
                    "run the database under portolan supervise, or prove a hook that confirms, as where another manager runs it: portolan drill start",
                );
            }
        }
    }

    fn standbys(&self, primary: &Label, notes: &mut Notes) {
        let mut n_ready = 0;
        for (region, member) in self.policy.members.iter().filter(|(region, _)| *region != primary) {
            let trouble = self.standby(region);
            let is_ready = trouble.is_none();
            n_ready += usize::from(is_ready && member.is_candidate);
            match trouble {
                None => notes.note("standby", Grade::Pass, format!("{region} follows {primary}"), ""),
                Some((text, fix)) => notes.note("standby", Grade::Warn, text, fix),
            }
        }
        if n_ready == 0 {
            notes.note("candidate", Grade::Fail, "no member that may be promoted follows the primary", "bring one of them back first");
        } else {
            notes.note("candidate", Grade::Pass, format!("members that may be promoted and follow: {n_ready}"), "");
        }
    }

    /// What is wrong with a standby, and what would mend it; `None`: nothing.
    fn standby(&self, region: &Label) -> Option<(String, &'static str)> {
        if self.policy.members.get(region).is_some_and(|member| !member.has_agent) {
            return Some((format!("{region} has no agent, so nobody can promote or seal it"), "write `agent` at its member in the plan"));
        }
        let Some(status) = self.fresh(region) else {
            return Some((format!("the agent in {region} is silent"), "start it: portolan agent"));
        };
        if let Some(trouble) = &status.trouble {
            let fix = if trouble.starts_with(RECLONE_REQUIRED) && self.policy.reclone != Reclone::ByHand {
                "let it be copied anew: portolan rejoin GROUP --region REGION --reclone"
            } else {
                "mend what it says"
            };
            return Some((format!("the agent in {region}: {trouble}"), fix));
        }
        if let Some(why) = &status.unfit {
            return Some((
                format!("{region} is never promoted: {why}"),
                "set it otherwise, or write `candidate: false` at its member in the plan",
            ));
        }
        if self.group.absent.contains(region) || status.follows.is_none() {
            return Some((format!("{region} has not followed the primary since that got the role"), "see its agent's log"));
        }
        let is_standby = status.sight.is_some_and(|sight| sight.role == Role::Standby);
        match status.stream {
            Stream::Up { .. } if is_standby => None,
            Stream::Up { .. } | Stream::Unknown => Some((format!("nobody knows what {region} hears"), "see its agent's log")),
            Stream::Down => Some((format!("{region} hears nothing of the primary"), "look at the way between them, and at its log")),
        }
    }

    /// What the agents say is amiss with databases that work.
    fn databases(&self, notes: &mut Notes) {
        for region in self.policy.members.keys() {
            let Some(concerns) = self.fresh(region).and_then(|status| status.concerns.as_ref()) else { continue };
            if concerns.is_empty() {
                notes.note("database", Grade::Pass, format!("the agent in {region} finds nothing amiss with its database's settings"), "");
            }
            for concern in concerns.iter().take(CONCERNS_MAX) {
                notes.note(&concern.check, Grade::Warn, format!("{region}: {}", concern.text), concern.fix.clone());
            }
        }
    }

    fn targets(&self, notes: &mut Notes) {
        let told = |time: Option<Duration>| time.map_or_else(|| "not set".to_owned(), |time| Human(time).to_string());
        let rpo = self.policy.rpo_target;
        let text = format!("now {} would be lost, rpo_target is {}", self.estimate, told(rpo));
        let (grade, fix) = match Standing::of(self.estimate.high, rpo) {
            Standing::Ok => (Grade::Pass, ""),
            Standing::AtRisk => (Grade::Warn, "see which region falls behind: portolan recovery exposure"),
            Standing::Violated | Standing::Unknown => {
                (Grade::Fail, "a failover would wait for --allow-data-loss; see: portolan recovery exposure")
            }
        };
        notes.note("rpo", grade, text, fix);
        let prediction = Prediction::of(self.policy, self.measured);
        let rto = self.policy.rto_target;
        let (grade, fix) = match Standing::of(prediction.sum(), rto) {
            Standing::Ok => (Grade::Pass, ""),
            Standing::Unknown => (Grade::Warn, "a switchover measures what is unknown: portolan switchover"),
            Standing::AtRisk | Standing::Violated => (Grade::Warn, "shorten what takes longest, or set another rto_target"),
        };
        notes.note("rto", grade, format!("a failover would take {prediction}, rto_target is {}", told(rto)), fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{
            concern::Concern,
            group::{Phase, operation},
            lease::Grant,
            order::Sight,
            token::Token,
        },
        model::group::{self, OnControlLoss},
        recovery::drill::{Drills, Proof, Verified},
    };

    const GRANT: Token = Token { generation: 0, epoch: 7 };

    struct Play {
        group: Group,
        policy: Policy,
        stand: Stand,
        evidence: Evidence,
        agents: BTreeMap<Label, (Duration, Status)>,
        estimate: Bracket,
        measured: Measured,
    }

    fn status(region: &str) -> Status {
        let is_primary = region == "us";
        let role = if is_primary { Role::Writes } else { Role::Standby };
        Status {
            sequence: (1, 1),
            highest: GRANT,
            grant: is_primary.then_some(GRANT),
            class: Class::Armed { supervisor: 3 },
            follows: (!is_primary).then(|| (GRANT, "us".into())),
            writes: is_primary,
            sight: Some(Sight { role, system: 7, timeline: 1, position: Some(10) }),
            stream: if is_primary { Stream::Unknown } else { Stream::Up { silent_for: Duration::ZERO } },
            ..Status::default()
        }
    }

    /// A copy that worked on this day.
    fn verified(day: i64) -> Verified {
        let (at, took) = (Timestamp(day * 86_400_000), Some(Duration::from_secs(40)));
        Verified { region: "eu".into(), at, drill: 7, took, loss: None }
    }

    /// Everything is as it should be.
    fn well() -> Play {
        let seconds = Duration::from_secs;
        let policy = Policy { restores: true, ..group::policy("us", &["us", "eu", "ap"]) };
        let grant = Grant {
            token: GRANT,
            region: "us".into(),
            class: Class::Armed { supervisor: 3 },
            ttl: seconds(90),
            margin: seconds(10),
            longest: seconds(90),
            is_attested: true,
            durability: crate::failover::choose::Durability::Async,
            on_control_loss: OnControlLoss::Fence,
            peers: Default::default(),
            above: 0,
        };
        let part = Some(seconds(5));
        Play {
            group: Group {
                token: GRANT,
                grant: Some(grant),
                drills: Drills { verified: Some(verified(99)), restored: Some(verified(98)), ..Drills::default() },
                ..Group::default()
            },
            stand: Stand { free: 3, ..Stand::default() },
            evidence: Evidence::Healthy,
            agents: policy.members.keys().map(|region| (region.clone(), (seconds(1), status(region.as_str())))).collect(),
            policy,
            estimate: Bracket { low: Duration::ZERO, high: Some(seconds(2)) },
            measured: Measured { drain: part, promote: part, tail: part, validation: part },
        }
    }

    /// What is not a pass, one line each, behind the answer.
    fn told(play: &Play) -> String {
        let agents = play.agents.iter().map(|(region, (age, status))| (region, (*age, status))).collect();
        let name = Label::new("orders");
        let scene = Scene {
            name: &name,
            group: &play.group,
            policy: &play.policy,
            stand: &play.stand,
            evidence: play.evidence,
            agents,
            estimate: play.estimate,
            measured: play.measured,
            now: Timestamp(100 * 86_400_000),
        };
        let readiness = judge(&scene);
        assert!(readiness.findings.iter().all(|finding| (finding.grade == Grade::Pass) == finding.fix.is_empty()), "{readiness:#?}");
        assert_eq!(readiness.would, readiness.against().next().is_none());
        let lines = readiness.findings.iter().filter(|it| it.grade != Grade::Pass);
        let lines: Vec<String> = lines.map(|it| format!("{} {}: {}", it.grade, it.check, it.text)).collect();
        format!("{}\n{}", if readiness.would { "yes" } else { "no" }, lines.join("\n"))
    }

    fn with(change: impl FnOnce(&mut Play)) -> String {
        let mut play = well();
        change(&mut play);
        told(&play)
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        assert_eq!(with(|_| {}), "yes\n");
        assert_eq!(with(|play| play.group = Group::default()), "no\nfail adopted: nobody has said who the primary is");
        let veto = "hold `h-1` by ana is in force: upgrade";
        assert_eq!(with(|play| play.stand.vetoes.push(veto.to_owned())), format!("no\nfail automation: {veto}"));
        let asked = "no\nfail automation: a person would be asked: the mode is recommend";
        assert_eq!(with(|play| play.stand.doubts.push("the mode is recommend".to_owned())), asked);
        let open = "no\nfail automation: op-9 is open, decided";
        assert_eq!(with(|play| play.group.operation = Some(operation(Phase::Decided))), open);
        let scaled = "yes\nwarn time_scale: for tests only: all clocks of this group run in 10% of their time";
        assert_eq!(with(|play| play.policy.time_scale = crate::model::units::Share::percent(10)), scaled);
        assert_eq!(with(|play| play.evidence = Evidence::Replicating), "yes\nwarn primary: us is replicating");
        let silent = |play: &mut Play| play.agents.get_mut(&"us".into()).unwrap().0 = SILENT_AFTER;
        assert_eq!(with(silent), "no\nfail primary_agent: the agent in us is silent");
    }

    #[test]
    fn a_fence_that_nothing_proves_and_standbys_that_do_not_follow_are_told() {
        let bare = |play: &mut Play| play.agents.get_mut(&"us".into()).unwrap().1.class = Class::Bare;
        assert_eq!(with(bare), "no\nfail fence: nothing would prove that a silent primary is stopped");
        let doubted = |play: &mut Play| {
            let status = &mut play.agents.get_mut(&"us".into()).unwrap().1;
            (status.class, status.doubt) = (Class::Bare, Some("the agent stood still for 3s".to_owned()));
        };
        assert_eq!(with(doubted), "no\nfail fence: the end of its lease proves nothing: the agent stood still for 3s");
        let text = "yes\nwarn fence: the database ends with its lease, and the plan does not let that count";
        assert_eq!(with(|play| play.policy.may_wait = false), text);
        let one = |play: &mut Play| play.agents.get_mut(&"eu".into()).unwrap().1.stream = Stream::Down;
        assert_eq!(with(one), "yes\nwarn standby: eu hears nothing of the primary");
        let none = "no\nwarn standby: the agent in ap is silent\nwarn standby: eu has not followed the primary since that got the role\n\
            fail candidate: no member that may be promoted follows the primary";
        assert_eq!(
            with(|play| {
                play.agents.remove(&"ap".into());
                play.group.absent.insert("eu".into());
            }),
            none
        );
        let never = |play: &mut Play| {
            play.policy.members.get_mut(&"eu".into()).unwrap().is_candidate = false;
            play.agents.get_mut(&"ap".into()).unwrap().1.trouble = Some("RECLONE_REQUIRED: a rewind ended half way".to_owned());
        };
        let text = "no\nwarn standby: the agent in ap: RECLONE_REQUIRED: a rewind ended half way\n\
            fail candidate: no member that may be promoted follows the primary";
        assert_eq!(with(never), text);
    }

    #[test]
    fn a_rung_counts_where_a_drill_has_shown_it_and_no_longer_than_ninety_days() {
        let rung = |confirms, is_undone| group::Rung { hook: "cut".to_owned(), confirms, is_undone };
        let days = |days: i64| Timestamp(days * 86_400_000);
        let proof = |region: &str, at| Proof { region: region.into(), hook: "cut".to_owned(), at, drill: 7 };
        let shown = |rungs: Vec<group::Rung>, proofs: Vec<Proof>| {
            with(|play| {
                play.policy.rungs = rungs;
                play.group.drills.proofs = proofs;
                play.stand.confirming = play.group.proven(&play.policy, &"us".into(), days(100));
                play.agents.get_mut(&"us".into()).unwrap().1.class = Class::Bare;
            })
        };
        let bare = "fail fence: nothing would prove that a silent primary is stopped";
        let never = |region| format!("warn rung: hook cut in {region} is advisory: no drill has proved it");
        assert_eq!(shown(vec![rung(false, true)], vec![proof("us", days(99))]), format!("no\n{bare}"));
        let all = ["ap", "eu", "us"].map(never).join("\n");
        assert_eq!(shown(vec![rung(true, true)], vec![]), format!("no\n{bare}\n{all}"));
        let others = ["ap", "eu"].map(never).join("\n");
        assert_eq!(shown(vec![rung(true, true)], vec![proof("us", days(11))]), format!("yes\n{others}"));
        let old = "warn rung: hook cut in us is advisory: drill-7 proved it 90d ago, which counts for 90d";
        assert_eq!(shown(vec![rung(true, true)], vec![proof("us", days(10))]), format!("no\n{bare}\n{others}\n{old}"));
        let one_way = shown(vec![rung(true, false)], vec![proof("us", days(99))]);
        assert!(one_way.starts_with("no\n") && one_way.contains("it has no `unfence`"), "{one_way}");
    }

    #[test]
    fn a_copy_that_is_never_promoted_is_no_candidate_and_what_is_amiss_with_a_database_is_told() {
        let late = |play: &mut Play, region: &str| {
            play.agents.get_mut(&region.into()).unwrap().1.unfit = Some("it holds back what it receives".to_owned());
        };
        let text = "warn standby: eu is never promoted: it holds back what it receives";
        assert_eq!(with(|play| late(play, "eu")), format!("yes\n{text}"));
        let both = with(|play| ["ap", "eu"].into_iter().for_each(|region| late(play, region)));
        assert!(both.starts_with("no\n") && both.contains("fail candidate: no member that may be promoted"), "{both}");

        let concerns = |n: usize| {
            move |play: &mut Play| {
                let told = (0..n).map(|at| Concern::new("rewind", format!("no {at}"), "mend it")).collect();
                play.agents.get_mut(&"us".into()).unwrap().1.concerns = Some(told);
            }
        };
        assert_eq!(with(concerns(1)), "yes\nwarn rewind: us: no 0");
        assert_eq!(with(concerns(0)), "yes\n");
        assert_eq!(with(concerns(1000)).lines().count(), 1 + CONCERNS_MAX, "an agent cannot fill everybody's screens");
        let silent = |play: &mut Play| {
            concerns(1)(play);
            play.agents.get_mut(&"us".into()).unwrap().0 = SILENT_AFTER;
        };
        assert!(!with(silent).contains("rewind"), "what was told long ago is not what is so");
    }

    #[test]
    fn a_margin_is_twice_the_longest_stop_that_a_drill_measured() {
        let stop = |seconds| with(|play| play.group.drills.longest_stop = Some(Duration::from_secs(seconds)));
        assert_eq!(stop(5), "yes\n");
        assert_eq!(stop(6), "yes\nwarn margin: a drill saw the primary take 6s to stop, and lease.margin is 10s");
    }

    #[test]
    fn the_last_restore_that_was_shown_is_told_with_its_age() {
        let never = with(|play| play.group.drills.verified = None);
        assert_eq!(never, "yes\nwarn restore: a copy of the group was never shown to work");
        assert_eq!(with(|play| play.group.drills.verified = Some(verified(11))), "yes\n");
        let old = "yes\nwarn restore: drill-7 showed 90d ago in eu that a copy works, within 40s, which counts for 90d";
        assert_eq!(with(|play| play.group.drills.verified = Some(verified(10))), old);
        let never = with(|play| play.group.drills.restored = None);
        assert_eq!(never, "yes\nwarn backup_restore: a backup of the group was never shown to work");
        let nobody_can = with(|play| {
            play.group.drills = Drills::default();
            (play.policy.opens_copies, play.policy.restores) = (false, false);
        });
        assert_eq!(nobody_can, "yes\n", "nothing is asked for that no drill can show");
    }

    #[test]
    fn unknown_is_no_pass() {
        let unknown = "no\nfail rpo: now unknown would be lost, rpo_target is 1h";
        assert_eq!(with(|play| play.estimate = Bracket::UNKNOWN), unknown);
        let late = |play: &mut Play| play.estimate.high = Some(Duration::from_secs(3601));
        assert_eq!(with(late), "no\nfail rpo: now 0s to 1h1s would be lost, rpo_target is 1h");
        let risk = |play: &mut Play| play.estimate.high = Some(Duration::from_secs(1801));
        assert_eq!(with(risk), "yes\nwarn rpo: now 0s to 30m1s would be lost, rpo_target is 1h");
        let unmeasured = with(|play| play.measured.drain = None);
        assert!(
            unmeasured.starts_with("yes\nwarn rto: a failover would take detected 45s") && unmeasured.contains("unknown"),
            "{unmeasured}"
        );
    }
}
