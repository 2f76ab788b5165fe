//! What drills have shown of a group, as findings of its readiness: rungs that are proven, members that are cut off, a margin that is too short,
//! drills that were missed, and the last copy and the last backup that were shown to work.
//!
//! Invariant: a rung that no drill has shown in a region within ninety days is advisory there, and says so.

use std::time::Duration;

use super::{
    drill::{DrillKind, Ended, Outcome, PROOF_LASTS, Verified},
    readiness::{Finding, Grade},
};
use crate::{
    failover::group::Group,
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp},
    },
};

/// So much longer than the longest stop is a margin at least.
const MARGIN_FACTOR: u32 = 2;

/// What is found. `now`: by the wall clock, as proofs are dated.
pub(super) fn findings(name: &Label, group: &Group, policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut note = |check: &str, grade, text: String, fix: String| out.push(Finding { check: check.to_owned(), grade, text, fix });
    for rung in policy.rungs.iter().filter(|rung| rung.confirms) {
        let hook = &rung.hook;
        for region in policy.members.keys() {
            let drill = format!("portolan drill start {name} --kind fence --region {region} --rung {hook}");
            let (grade, text, fix) = match group.drills.proof(region, hook) {
                _ if !rung.is_undone => (
                    Grade::Warn,
                    format!("hook {hook} in {region} is advisory: it has no `unfence`, so no drill can prove it"),
                    "write `unfence` beside it, a program that lets a member in again".to_owned(),
                ),
                Some(proof) if proof.counts(now) => {
                    let ago = Human(now.since(proof.at));
                    (Grade::Pass, format!("hook {hook} stops {region}: drill-{} proved it {ago} ago", proof.drill), String::new())
                }
                Some(proof) => {
                    let (ago, lasts) = (Human(now.since(proof.at)), Human(PROOF_LASTS));
                    let text =
                        format!("hook {hook} in {region} is advisory: drill-{} proved it {ago} ago, which counts for {lasts}", proof.drill);
                    (Grade::Warn, text, drill)
                }
                None => (Grade::Warn, format!("hook {hook} in {region} is advisory: no drill has proved it"), drill),
            };
            note("rung", grade, text, fix);
        }
    }
    for cut in &group.drills.cuts {
        let is_drilled = group.drills.open.as_ref().is_some_and(|drill| drill.aim.region.as_ref() == Some(&cut.region));
        if !is_drilled {
            let text = format!("{} is still cut off by hook {}, with token {}", cut.region, cut.hook, cut.token);
            note("cut", Grade::Warn, text, "see what its `unfence` says in the leader's log; its agent must be there first".to_owned());
        }
    }
    if let Some(longest) = group.drills.longest_stop {
        let (wanted, margin) = (longest * MARGIN_FACTOR, policy.margin);
        let text = format!("a drill saw the primary take {} to stop, and lease.margin is {}", Human(longest), Human(margin));
        let fix = if wanted > margin { format!("let lease.margin be at least {}", Human(rounded_up(wanted))) } else { String::new() };
        note("margin", if wanted > margin { Grade::Warn } else { Grade::Pass }, text, fix);
    }
    if let Some((drill, lasts)) = group.drills.open.as_ref().and_then(|drill| Some((drill, drill.aim.lasts?))) {
        let (id, until) = (drill.id, drill.began + lasts);
        let text = format!("drill-{id} notes until {until} what automation would decide; nothing is kept back for it");
        note("drill", Grade::Pass, text, String::new());
    }
    for ended in missed(group) {
        let said = ended.lines.first().map_or("", String::as_str);
        let text = format!("the drill of {} was missed at {}: {said}", ended.drill.aim, ended.at);
        let more = if ended.drill.aim.from_backup { " --from-backup" } else { "" };
        note("drill", Grade::Warn, text, format!("portolan drill start {name} --kind {}{more}", ended.drill.aim.kind));
    }
    let copied = group.drills.verified.as_ref();
    if policy.opens_copies || copied.is_some() {
        out.push(shown("restore", "a copy", copied, format!("portolan drill start {name} --kind {}", DrillKind::Isolated), now));
    }
    let restored = group.drills.restored.as_ref();
    if policy.restores || restored.is_some() {
        let drill = format!("portolan drill start {name} --kind {} --from-backup", DrillKind::Isolated);
        out.push(shown("backup_restore", "a backup", restored, drill, now));
    }
    out
}

/// What was last shown to be as good as the data itself, and how long ago that was.
fn shown(check: &str, what: &str, last: Option<&Verified>, drill: String, now: Timestamp) -> Finding {
    let found = |grade, text, fix| Finding { check: check.to_owned(), grade, text, fix };
    let Some(Verified { region, at, drill: id, took, .. }) = last else {
        return found(Grade::Warn, format!("{what} of the group was never shown to work"), drill);
    };
    let (ago, took) = (now.since(*at), took.map_or_else(|| "unknown".to_owned(), |took| Human(took).to_string()));
    let text = format!("drill-{id} showed {} ago in {region} that {what} works, within {took}", Human(ago));
    if ago < PROOF_LASTS {
        return found(Grade::Pass, text, String::new());
    }
    found(Grade::Warn, format!("{text}, which counts for {}", Human(PROOF_LASTS)), drill)
}

/// Drills that were missed, and not held since.
fn missed(group: &Group) -> impl Iterator<Item = &Ended> {
    let last = |ended: &&Ended| group.drills.ended.iter().rev().find(|it| it.drill.aim.is_alike(&ended.drill.aim)) == Some(*ended);
    group.drills.ended.iter().filter(|ended| ended.outcome == Outcome::Missed).filter(last)
}

fn rounded_up(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}
