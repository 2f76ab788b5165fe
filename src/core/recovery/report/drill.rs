//! The report of a drill: what was tried, what it showed against the targets of the plan, and what is to be done about it.
//!
//! ```text
//! Drill, how it ended, its operations --.
//! the drills before it, the schedules ---+--> DrillReport (a value) --serde--> JSON
//! Policy, plan, audit head --------------'          '--> sections --> Markdown, HTML
//! ```
//!
//! Invariants as of the report of an operation; and a drill that did not pass never goes without an item of what to do.
//!
//! Source: SOC 2 A1.3 (tests at least once a year, with measured figures, gaps and what is done about them); Google's DiRT, whose product is the list
//! of what is to be mended.

use std::time::Duration;

use serde::Serialize;

use super::{
    Basis, bracket_or_null, millis_or_null,
    sections::{Body, Section, basis_facts, instant, table},
    text, told,
};
use crate::{
    failover::group::{Group, Operation},
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp, rfc3339},
    },
    recovery::{
        drill::{Aim, Drill, DrillKind, Ended, Figures, Outcome, PROOF_LASTS},
        exposure::Bracket,
        incident::Standing,
        observed::came_back,
    },
};

/// Version of the JSON form: raised when a key goes or changes its meaning.
pub const DRILL_REPORT_VERSION: u32 = 1;

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrillReport {
    version: u32,
    group: Label,
    drill: String,
    kind: &'static str,
    what: String,
    who: String,
    why: String,
    /// `schedule-9`; `None`: a person began it.
    schedule: Option<String>,
    #[serde(with = "rfc3339")]
    began: Timestamp,
    /// `None`: it has not ended.
    outcome: Option<&'static str>,
    #[serde(with = "rfc3339::option")]
    ended: Option<Timestamp>,
    timeline: Vec<Moment>,
    figures: Measured,
    evidence: Vec<String>,
    actions: Vec<String>,
    /// The drills with the same aim that the group remembers, this one among them, the last one first.
    trend: Vec<Before>,
    basis: Basis,
}

/// Something that happened in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Moment {
    #[serde(with = "rfc3339")]
    at: Timestamp,
    /// `op-18`; `None`: of the drill itself.
    operation: Option<String>,
    text: String,
}

/// What was measured, against what the plan asks for; null: it was not measured, or the plan has no target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Measured {
    #[serde(rename = "loss_ms", serialize_with = "bracket_or_null")]
    loss: Option<Bracket>,
    #[serde(rename = "rpo_target_ms", serialize_with = "millis_or_null")]
    rpo_target: Option<Duration>,
    loss_standing: &'static str,
    #[serde(rename = "recovery_ms", serialize_with = "millis_or_null")]
    recovery: Option<Duration>,
    #[serde(rename = "rto_target_ms", serialize_with = "millis_or_null")]
    rto_target: Option<Duration>,
    recovery_standing: &'static str,
    #[serde(rename = "stop_ms", serialize_with = "millis_or_null")]
    stop: Option<Duration>,
}

/// One drill of the trend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Before {
    drill: String,
    #[serde(with = "rfc3339")]
    ended: Timestamp,
    outcome: &'static str,
    #[serde(rename = "loss_ms", serialize_with = "bracket_or_null")]
    loss: Option<Bracket>,
    #[serde(rename = "recovery_ms", serialize_with = "millis_or_null")]
    recovery: Option<Duration>,
    #[serde(rename = "stop_ms", serialize_with = "millis_or_null")]
    stop: Option<Duration>,
}

impl DrillReport {
    /// Of a drill of this group, under way or remembered. `ended`: `None`: it is under way.
    #[must_use]
    pub fn of(name: &Label, group: &Group, drill: &Drill, ended: Option<&Ended>, policy: &Policy, basis: Basis) -> Self {
        let figures = ended.map(|ended| ended.figures).unwrap_or_default();
        let alike = group.drills.ended.iter().rev().filter(|it| it.drill.aim.is_alike(&drill.aim));
        Self {
            version: DRILL_REPORT_VERSION,
            group: name.clone(),
            drill: format!("drill-{}", drill.id),
            kind: drill.aim.kind.word(),
            what: drill.aim.to_string(),
            who: drill.who.clone(),
            why: drill.why.clone(),
            schedule: drill.schedule.map(|id| format!("schedule-{id}")),
            began: drill.began,
            outcome: ended.map(|ended| ended.outcome.word()),
            ended: ended.map(|ended| ended.at),
            timeline: timeline(group, drill, ended),
            figures: Measured::of(figures, policy),
            evidence: ended.map(|ended| ended.lines.clone()).unwrap_or_default(),
            actions: ended.map(|ended| actions(name, group, ended, policy)).unwrap_or_default(),
            trend: alike.map(Before::of).collect(),
            basis,
        }
    }

    /// For programs: one object; times in RFC 3339, lengths in milliseconds, null for what nobody knows.
    ///
    /// # Errors
    /// Of the serializer, for which nothing in a report gives a cause.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// For tickets: CommonMark with tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        text::markdown(&self.title(), &self.sections())
    }

    /// For archives: one document that loads nothing else and runs nothing.
    #[must_use]
    pub fn html(&self) -> String {
        text::html(&self.title(), &self.sections())
    }

    fn title(&self) -> String {
        format!("{} of {}: {}, {}", self.kind, self.group, self.drill, self.outcome.unwrap_or("under way"))
    }

    fn sections(&self) -> Vec<Section> {
        let section = |title, body| Section { title, body };
        let lines = |lines: &[String], heading: &'static [&'static str], none| {
            table(heading, lines.iter().enumerate().map(|(i, line)| vec![(i + 1).to_string(), line.clone()]).collect(), none)
        };
        let none = if self.outcome.is_none() { "It is under way: nothing is told yet." } else { "Nothing is to be done." };
        vec![
            section("Summary", Body::Facts(self.summary())),
            section("Figures", Body::Facts(self.figures.facts())),
            section("What is to be done", lines(&self.actions, &["#", "Item"], none)),
            section("Timeline", self.moments()),
            section("Evidence", lines(&self.evidence, &["#", "What was seen"], "Nothing was seen.")),
            section("The last of its kind", self.trend()),
            section("Basis", Body::Facts(basis_facts(&self.basis))),
        ]
    }

    fn summary(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("What", self.what.clone()), ("Wanted by", self.who.clone()), ("Reason", self.why.clone())];
        facts.extend(self.schedule.clone().map(|schedule| ("Schedule", schedule)));
        facts.push(("Began", instant(self.began)));
        facts.push(match (self.outcome, self.ended) {
            (Some(outcome), Some(at)) => ("Ended", format!("{outcome} at {}, after {}", instant(at), Human(at.since(self.began)))),
            _ => ("Ended", "not yet".to_owned()),
        });
        facts
    }

    fn moments(&self) -> Body {
        let row = |moment: &Moment| {
            let of = moment.operation.as_ref().unwrap_or(&self.drill);
            vec![instant(moment.at), of.clone(), moment.text.clone()]
        };
        table(&["Time", "Of", "What"], self.timeline.iter().map(row).collect(), "Nothing happened.")
    }

    fn trend(&self) -> Body {
        let row = |it: &Before| {
            let loss = measured(it.loss.map(|loss| loss.to_string()));
            let (recovery, stop) = (measured(it.recovery.map(shown)), measured(it.stop.map(shown)));
            vec![it.drill.clone(), instant(it.ended), it.outcome.to_owned(), loss, recovery, stop]
        };
        let headings = &["Drill", "Ended", "Outcome", "Loss", "Recovery", "Stop"];
        table(headings, self.trend.iter().map(row).collect(), "None has ended that is remembered.")
    }
}

impl Before {
    fn of(ended: &Ended) -> Self {
        let Figures { loss, recovery, stop } = ended.figures;
        let (drill, outcome) = (format!("drill-{}", ended.drill.id), ended.outcome.word());
        Self { drill, ended: ended.at, outcome, loss, recovery, stop }
    }
}

impl Measured {
    fn of(figures: Figures, policy: &Policy) -> Self {
        let Figures { loss, recovery, stop } = figures;
        let (rpo_target, rto_target) = (policy.rpo_target, policy.rto_target);
        Self {
            loss,
            rpo_target,
            loss_standing: standing_of_loss(loss, rpo_target).word(),
            recovery,
            rto_target,
            recovery_standing: Standing::of(recovery, rto_target).word(),
            stop,
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let target = |target: Option<Duration>| target.map_or_else(|| "the plan has none".to_owned(), shown);
        vec![
            ("Loss", measured(self.loss.map(|loss| loss.to_string()))),
            ("RPO target", target(self.rpo_target)),
            ("Loss stands", self.loss_standing.to_owned()),
            ("Recovery", measured(self.recovery.map(shown))),
            ("RTO target", target(self.rto_target)),
            ("Recovery stands", self.recovery_standing.to_owned()),
            ("Stop", measured(self.stop.map(shown))),
        ]
    }
}

/// What is lost at least can break the target although nobody knows how much it is at most.
fn standing_of_loss(loss: Option<Bracket>, target: Option<Duration>) -> Standing {
    let is_violated = loss.zip(target).is_some_and(|(loss, target)| loss.low > target);
    if is_violated { Standing::Violated } else { Standing::of(loss.and_then(|loss| loss.high), target) }
}

fn shown(time: Duration) -> String {
    told(Some(time))
}

fn measured(text: Option<String>) -> String {
    text.unwrap_or_else(|| "not measured".to_owned())
}

/// The drill's own moments, and those of the operations that it led to as far as the group remembers them.
fn timeline(group: &Group, drill: &Drill, ended: Option<&Ended>) -> Vec<Moment> {
    let own = |at, text: String| Moment { at, operation: None, text };
    let is_its = |operation: &&Operation| drill.operations.contains(&operation.id);
    let operations = group.operation.iter().chain(group.ended().map(|closed| &closed.operation)).filter(is_its);
    let of_operation = |operation: &Operation| {
        let name = format!("op-{}", operation.id);
        let moment = |mark: &crate::failover::group::Mark| Moment { at: mark.at, operation: Some(name.clone()), text: mark.text.clone() };
        operation.marks.iter().map(moment).collect::<Vec<_>>()
    };
    let mut moments = vec![own(drill.began, format!("began: {}", drill.aim))];
    moments.extend(operations.flat_map(of_operation));
    moments.extend(drill.trail.iter().map(|noted| own(noted.at, noted.notice.to_string())));
    moments.sort_by_key(|moment| moment.at);
    moments.extend(ended.map(|ended| own(ended.at, format!("ended: {}", ended.outcome))));
    moments
}

/// What is to be done about it, in the order in which it matters.
fn actions(name: &Label, group: &Group, ended: &Ended, policy: &Policy) -> Vec<String> {
    let (aim, figures) = (&ended.drill.aim, &ended.figures);
    let again = again(name, aim);
    let mut items = Vec::new();
    match (ended.outcome, aim.kind) {
        (Outcome::Passed, _) => {}
        (Outcome::Failed, DrillKind::Fence) => {
            let (hook, region) = (aim.hook.as_deref().unwrap_or_default(), aim.region.as_ref().map_or("", Label::as_str));
            items.push(format!(
                "hook {hook} proves nothing in {region} until a drill passes: mend what the evidence says last, then {again}"
            ));
        }
        (Outcome::Failed, DrillKind::Switchover) => {
            items.extend(ended.drill.operations.iter().map(|id| format!("see what held it: portolan report op-{id}")));
            items.push(format!("bring all members to follow the primary, then {again}"));
        }
        (Outcome::Failed, DrillKind::Isolated) => {
            let region = aim.region.as_ref().map_or("the standby", Label::as_str);
            let what = if aim.from_backup { "backup restored in" } else { "copy of" };
            items
                .push(format!("no {what} {region} was shown to work: mend what the evidence says last, see its agent's log, then {again}"));
        }
        (Outcome::Failed, DrillKind::Notification) => {
            items.push(format!("nobody would have been told: mend what the evidence says of `hooks.after`, then {again}"));
        }
        (Outcome::Failed, _) => {
            items.push(format!("mend what the evidence says, see portolan recovery readiness {name}, then {again}"));
        }
        (Outcome::Cancelled, _) => items.push(format!("it showed nothing, since a person ended it: {again}")),
        (Outcome::Interrupted, _) => {
            items.push(format!("it showed nothing, since something real happened: when the group has settled, {again}"));
        }
        (Outcome::Missed, _) => items.push(format!("it was due and could not begin: mend what the evidence says, then {again}")),
    }
    for cut in group.drills.cuts.iter().filter(|cut| aim.kind == DrillKind::Fence && Some(&cut.region) == aim.region.as_ref()) {
        items.push(format!("{} is still cut off by hook {}: see what its `unfence` says in the leader's log", cut.region, cut.hook));
    }
    if let (Standing::Violated, Some(loss), Some(target)) =
        (standing_of_loss(figures.loss, policy.rpo_target), figures.loss, policy.rpo_target)
    {
        items.push(format!("{loss} is more than rpo_target {}: see portolan recovery exposure {name}", Human(target)));
    }
    if let (Standing::Violated, Some(recovery), Some(target)) =
        (Standing::of(figures.recovery, policy.rto_target), figures.recovery, policy.rto_target)
    {
        items.push(format!("{} is more than rto_target {}: shorten what took longest", Human(recovery), Human(target)));
    }
    if let Some(after) = came_back(&ended.drill.trail) {
        let after = Human(after);
        items.push(format!(
            "the primary came back by itself {after} after a decision would have been made: if that was no test of yours, let `confirm_hold` or \
             `local_recovery` be longer"
        ));
    }
    let is_scheduled = group.drills.schedules.values().any(|schedule| schedule.aim.is_alike(aim));
    if ended.outcome == Outcome::Passed && aim.kind == DrillKind::Fence && !is_scheduled {
        let until = ended.at + PROOF_LASTS;
        items.push(format!("what it proved counts until {until}: let it be held again before, portolan drill schedule"));
    }
    items
}

/// The command that holds it again.
fn again(name: &Label, aim: &Aim) -> String {
    let mut text = format!("portolan drill start {name} --kind {}", aim.kind);
    let region = aim.region.iter().map(|region| format!(" --region {region}"));
    let hook = aim.hook.iter().map(|hook| format!(" --rung {hook}"));
    text.extend(region.chain(hook));
    text.extend(aim.lasts.map(|lasts| format!(" --for {}", Human(lasts))));
    text.push_str(if aim.on_primary { " --on-primary" } else { "" });
    text.push_str(if aim.stays { " --stay" } else { "" });
    text.push_str(if aim.from_backup { " --from-backup" } else { "" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::audit::{Hash, Place},
        failover::{
            evidence::Evidence,
            group::{Closed, Ending, Mark, Phase, operation},
        },
        model::group::policy,
        recovery::{
            drill::{Cut, Noted},
            observed::Notice,
        },
    };

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + second * 1000)
    }

    fn basis() -> Basis {
        let audit_head = Place { index: 99, hash: Hash([0xab; 32]) };
        Basis { plan_revision: 7, plan_digest: "c".repeat(64), audit_head, written: at(400), tail: None }
    }

    fn ended(id: u64, aim: Aim, outcome: Outcome, figures: Figures, lines: &[&str]) -> Ended {
        let (who, why, began) = ("ana".to_owned(), "the <b>quarter</b>".to_owned(), at(0));
        let drill = Drill { id, aim, who, why, began, schedule: Some(9), operations: Vec::new(), trail: Vec::new() };
        Ended { drill, outcome, at: at(60), figures, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    fn fence(region: &str) -> Aim {
        Aim { region: Some(region.into()), hook: Some("cut".to_owned()), ..Aim::new(DrillKind::Fence) }
    }

    fn report(group: &Group, ended: &Ended) -> DrillReport {
        let policy = Policy { rpo_target: Some(seconds(10)), rto_target: Some(seconds(100)), ..policy("us", &["us", "eu"]) };
        DrillReport::of(&"orders".into(), group, &ended.drill, Some(ended), &policy, basis())
    }

    fn group(all: &[Ended]) -> Group {
        let mut group = Group::default();
        group.drills.ended = all.to_vec();
        group
    }

    #[test]
    fn a_fence_that_failed_says_what_to_do_and_how_it_went_before() {
        let cut = Figures { stop: Some(seconds(2)), ..Figures::default() };
        let all = [
            ended(5, fence("eu"), Outcome::Passed, cut, &["hook cut said yes"]),
            ended(6, fence("us"), Outcome::Passed, cut, &[]),
            ended(7, fence("eu"), Outcome::Failed, Figures::default(), &["eu still takes | new sessions"]),
        ];
        let mut group = group(&all);
        group.drills.cuts.push(Cut { region: "eu".into(), hook: "cut".to_owned(), token: group.token, is_standby: true, lift: None });
        let told = report(&group, &all[2]);
        let text = told.markdown();
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("# fence of orders: drill-7, failed\n");
        has(
            "- **What**: fence of eu by hook cut\n- **Wanted by**: ana\n- **Reason**: the \\<b\\>quarter\\</b\\>\n- **Schedule**: schedule-9\n",
        );
        has("- **Ended**: failed at 2027-01-15 08:01:00Z, after 1m\n");
        has("- **Loss**: not measured\n- **RPO target**: 10s\n- **Loss stands**: unknown\n");
        has(
            "| 1 | hook cut proves nothing in eu until a drill passes: mend what the evidence says last, then portolan drill start orders --kind fence --region eu --rung cut |\n",
        );
        has("| 2 | eu is still cut off by hook cut: see what its \\`unfence\\` says in the leader's log |\n");
        has("| 1 | eu still takes \\| new sessions |\n");
        has("| drill-7 | 2027-01-15 08:01:00Z | failed | not measured | not measured | not measured |\n| drill-5 |");
        assert!(!text.contains("drill-6"), "another region is another proof: {text}");
        has("- **Plan in force**: revision 7, digest cccc");
        let page = told.html();
        assert!(
            page.contains("the &lt;b&gt;quarter&lt;/b&gt;") && page.contains("<title>fence of orders: drill-7, failed</title>"),
            "{page}"
        );
        let json: serde_json::Value = serde_json::from_str(&told.json().unwrap()).unwrap();
        assert_eq!((&json["version"], &json["outcome"], &json["began"]), (&1.into(), &"failed".into(), &"2027-01-15T08:00:00Z".into()));
        assert_eq!((&json["figures"]["stop_ms"], &json["trend"][1]["stop_ms"]), (&serde_json::Value::Null, &2000.into()));
    }

    #[test]
    fn copies_of_any_standby_are_of_one_kind_and_one_that_failed_says_where_to_look() {
        let of = |region: &str| Aim { region: Some(region.into()), ..Aim::new(DrillKind::Isolated) };
        let took = Figures { recovery: Some(seconds(40)), loss: Some(Bracket { low: Duration::ZERO, high: Some(seconds(1)) }), stop: None };
        let all = [
            ended(5, of("eu"), Outcome::Passed, took, &["the copy was promoted"]),
            ended(6, of("ap"), Outcome::Failed, Figures::default(), &["the copy does not start"]),
        ];
        let text = report(&group(&all), &all[1]).markdown();
        assert!(text.contains("- **What**: isolated of ap\n"), "{text}");
        assert!(text.contains("no copy of ap was shown to work: mend what the evidence says last, see its agent's log"), "{text}");
        assert!(text.contains("| drill-5 | 2027-01-15 08:01:00Z | passed | 0s to 1s | 40s | not measured |"), "{text}");
        let backup = ended(7, Aim { from_backup: true, ..of("eu") }, Outcome::Failed, Figures::default(), &[]);
        let text = report(&group(&[all[0].clone(), backup.clone()]), &backup).markdown();
        assert!(text.contains("- **What**: isolated in eu from a backup\n") && !text.contains("drill-5"), "{text}");
        assert!(text.contains("no backup restored in eu was shown to work") && text.contains("--region eu --from-backup"), "{text}");
    }

    #[test]
    fn one_that_passed_is_to_be_repeated_before_it_counts_no_more() {
        let all = [ended(5, fence("eu"), Outcome::Passed, Figures::default(), &[])];
        let mut group = group(&all);
        let text = report(&group, &all[0]).markdown();
        assert!(text.contains("| 1 | what it proved counts until 2027-04-15T08:01:00Z: let it be held again"), "{text}");
        let schedule = crate::recovery::drill::Schedule {
            aim: fence("eu"),
            every: seconds(86_400),
            next: at(100),
            who: "ana".to_owned(),
            why: "quarterly".to_owned(),
        };
        group.drills.schedules.insert(9, schedule);
        assert!(report(&group, &all[0]).markdown().contains("Nothing is to be done."));
    }

    #[test]
    fn a_switchover_tells_its_operations_in_order_and_what_broke_a_target() {
        let mut all = [ended(
            5,
            Aim { region: Some("eu".into()), ..Aim::new(DrillKind::Switchover) },
            Outcome::Failed,
            Figures { loss: Some(Bracket { low: seconds(11), high: None }), recovery: Some(seconds(101)), stop: None },
            &["op-9 from us to eu: held"],
        )];
        all[0].drill.operations = vec![9];
        let mut group = group(&all);
        let mark = |second, text: &str| Mark { phase: Phase::Decided, index: 9, at: at(second), text: text.to_owned() };
        let operation = Operation { marks: vec![mark(1, "decide"), mark(50, "closed")], ..operation(Phase::Routed) };
        group.latest =
            Some(Closed { operation, ending: Ending::Succeeded, at: at(50), setback: None, told: None, aside: Default::default() });
        let text = report(&group, &all[0]).markdown();
        let order: Vec<usize> = ["| drill-5 | began", "| op-9 | decide |", "| op-9 | closed |", "| drill-5 | ended"]
            .iter()
            .map(|it| text.find(it).unwrap())
            .collect();
        assert!(order.is_sorted(), "{text}");
        for line in [
            "see what held it: portolan report op-9",
            "at least 11s is more than rpo_target 10s: see portolan recovery exposure orders",
            "1m41s is more than rto_target 1m40s",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let open = DrillReport::of(&"orders".into(), &group, &all[0].drill, None, &policy("us", &["us", "eu"]), basis()).markdown();
        assert!(open.contains("# switchover of orders: drill-5, under way\n") && open.contains("nothing is told yet"), "{open}");
    }

    #[test]
    fn an_observation_tells_its_trail_and_that_a_primary_came_back() {
        let aim = Aim { lasts: Some(seconds(3600)), ..Aim::new(DrillKind::ObserveOnly) };
        let mut all = [ended(5, aim, Outcome::Passed, Figures::default(), &["nothing called for a decision"])];
        let noted = |second, notice| Noted { at: at(second), notice };
        all[0].drill.trail = vec![
            noted(10, Notice::NearMiss { evidence: Evidence::Dead, rounds: 3, lasted: seconds(20) }),
            noted(30, Notice::Recovered { after: seconds(7) }),
        ];
        let text = report(&group(&all), &all[0]).markdown();
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("# observe_only of orders: drill-5, passed\n");
        has("- **What**: observe_only for 1h\n");
        has("| 2027-01-15 08:00:10Z | drill-5 | near miss: 3 failed rounds, dead, and after 20s something spoke for it |\n");
        has("| 1 | the primary came back by itself 7s after a decision would have been made: if that was no test of yours");
    }

    #[test]
    fn whatever_did_not_pass_has_an_item() {
        for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::Interrupted, Outcome::Missed] {
            for kind in DrillKind::ALL {
                let all = [ended(5, Aim { region: Some("eu".into()), ..Aim::new(kind) }, outcome, Figures::default(), &[])];
                let told = report(&group(&all), &all[0]);
                assert!(
                    told.actions.iter().any(|item| item.contains(&format!("drill start orders --kind {kind} --region eu"))),
                    "{told:#?}"
                );
            }
        }
    }
}
