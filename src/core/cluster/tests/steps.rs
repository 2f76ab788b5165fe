//! Steps of a data group as words in a script. The group is `orders`, and the token is the one that it has, unless `token=0.5` says another.
//!
//! ```text
//! orders adopt us armed | orders decide failover from us evidence=isolated rounds=3 span=30s attest=eu+ap loss=1s
//! orders decide switchover from us to eu | orders approve 5 allow=30s | orders assert 5 us | orders held RPO_GATE too much
//! orders fenced agent | orders stopped 10 | orders sealed eu 10 timeline=1 | orders choose eu 10 loss=1s | orders promote armed
//! orders revoke | orders promoted 2 10 | orders verified | orders routed | orders close succeeded | orders cancel 5
//! orders regrant bare | orders settle | orders followed ap | orders turn 5 | orders release | orders reject 5 | orders retry 5 | orders skip 5
//! orders ran 5 fence isolate because done | orders ran 5 after reload because done
//! orders drill fence eu hook=cut primary | orders drill switchover eu stays | orders drill dry_run schedule=5 | orders drill-cancel 5
//! orders drill isolated us backup | orders drill-lift eu | orders drill-lifted eu cut | orders drill-end 5 passed because it was cut
//! orders drill observe_only lasts=1h | orders drill-near 5 | orders drill-would 5 to=ap because no fence would confirm
//! orders drill-every dry_run every=24h first=1h | orders drill-unschedule 5 | orders drill-missed 5 because a freeze
//! orders reclone ap | orders aside 5 us 9 312
//! orders evacuate 8 switchover from us to eu
//! orders setback 5 because error_rate is high | orders decide switchover from eu to us setback=5
//! ```

use std::{fmt::Write as _, time::Duration};

use super::drill::list;
use crate::{
    cluster::State,
    failover::{
        choose::{Choice, Sealed},
        evidence::Evidence,
        grounds::{Attestation, Grounds},
        group::{Ending, Group, HeldFor, Kind, Stopped},
        lease::Class,
        step::{Decide, Proof, Ran, Setback, Step, When},
        token::Token,
    },
    model::{
        ids::Label,
        time::{Human, Timestamp},
    },
    node::tests::plan_text::value,
    recovery::{
        aside::Aside,
        drill::{Aim, DrillStep, Drills, Figures, Outcome, Schedule},
        exposure::Bracket,
        observed::{Notice, Would},
    },
    testing::script::duration,
};

fn word<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_value(text.into()).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn class(words: &[&str]) -> Class {
    if words.contains(&"armed") { Class::Armed { supervisor: 1 } } else { Class::Bare }
}

/// `loss=1s`: from nothing to that; left out: unknown.
fn loss(words: &[&str]) -> Bracket {
    value(words, "loss").map_or(Bracket::UNKNOWN, |text| Bracket { low: Duration::ZERO, high: Some(duration(text)) })
}

fn allowed(words: &[&str]) -> Option<Duration> {
    value(words, "allow").map(duration)
}

fn after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == name).map(|i| words[i + 1])
}

/// The step of a line behind the name of the group.
pub(super) fn step(name: &Label, words: &[&str], reason: &str, state: &State, at: Timestamp) -> Step {
    let group = state.group(name).cloned().unwrap_or_default();
    let token = value(words, "token").map_or(group.token, |text| {
        let (generation, epoch) = text.split_once('.').unwrap();
        Token { generation: generation.parse().unwrap(), epoch: epoch.parse().unwrap() }
    });
    let number = |i: usize| words[i].parse::<u64>().unwrap();
    let region = |i: usize| Label::new(words[i]);
    match words[0] {
        "adopt" => Step::Adopt { token, primary: region(1), system: 7, timeline: 1, class: class(words) },
        "decide" => Step::Decide(Box::new(decide(words, token, state, at))),
        "evacuate" => Step::Evacuate { evacuation: number(1), decide: Box::new(decide(&words[1..], token, state, at)) },
        "approve" => Step::Approve { token, operation: number(1), allowed_loss: allowed(words) },
        "assert" => Step::Assert { token, operation: number(1), region: region(2) },
        "held" => Step::Hold { token, reason: word::<HeldFor>(words[1]), text: reason.to_owned() },
        "fenced" => Step::Fenced {
            token,
            proof: match words[1] {
                "waited" => Proof::Waited,
                "asserted" => Proof::Asserted,
                by => Proof::Confirmed { by: by.to_owned() },
            },
        },
        "stopped" => Step::Stopped { token, stopped: Stopped { system: system(words), timeline: 1, position: number(1) } },
        "sealed" => {
            let timeline = value(words, "timeline").map_or(1, |text| text.parse().unwrap());
            let (position, priority) = (number(2), Some(1));
            Step::Sealed {
                token,
                copy: Sealed { region: region(1), system: system(words), timeline, position, replayed: position, priority },
            }
        }
        "choose" => {
            let fetch_from = after(words, "fetch").map(Label::new);
            let is_below_floor = words.contains(&"below");
            Step::Choose { token, choice: Choice { region: region(1), position: number(2), fetch_from, is_below_floor }, loss: loss(words) }
        }
        "promote" => Step::Promote { token, class: class(words) },
        "revoke" => Step::Revoke { token },
        "promoted" => Step::Promoted { token, timeline: words[1].parse().unwrap(), at: number(2) },
        "verified" => Step::Verified { token },
        "routed" => Step::Routed { token },
        "close" => Step::Close { token, ending: word::<Ending>(words[1]) },
        "cancel" => Step::Cancel { token, operation: number(1), class: class(words) },
        "regrant" => Step::Regrant { token, class: class(words) },
        "settle" => Step::Settle { token },
        "begin" => Step::Begin { token, operation: number(1) },
        "aside" => {
            let by = Token { epoch: number(3), ..token };
            Step::PutAside {
                token,
                operation: number(1),
                region: region(2),
                aside: Aside { by, commits: Some(number(4)), ..Aside::default() },
            }
        }
        "reclone" => Step::Reclone { token, region: region(1) },
        "followed" => Step::Followed { token, region: region(1) },
        "turn" => Step::Turn { token, operation: number(1) },
        "release" => Step::Release { token },
        "reject" => Step::Reject { token, operation: number(1) },
        "retry" => Step::Retry { token, operation: number(1) },
        "skip" => Step::Skip { token, operation: number(1) },
        "ran" => {
            let when = word::<When>(words[2]);
            Step::Ran { token, operation: number(1), ran: Ran { when, name: words[3].to_owned(), said: reason.to_owned() } }
        }
        "setback" => Step::Setback { token, setback: Setback { operation: number(1), text: reason.to_owned() } },
        verb if verb.starts_with("drill") => Step::Drill { token, act: Box::new(drill(verb, words, reason, at)) },
        other => panic!("`{other}` is not a step"),
    }
}

fn aim(words: &[&str]) -> Aim {
    let region = words.get(2).filter(|word| !word.contains('=') && !matches!(**word, "stays" | "backup")).map(|word| Label::new(word));
    let (on_primary, stays) = (words.contains(&"primary"), words.contains(&"stays"));
    let lasts = value(words, "lasts").map(duration);
    let from_backup = words.contains(&"backup");
    Aim { kind: word(words[1]), region, hook: value(words, "hook").map(str::to_owned), on_primary, stays, lasts, from_backup }
}

fn drill(verb: &str, words: &[&str], reason: &str, at: Timestamp) -> DrillStep {
    let number = || words[1].parse::<u64>().unwrap();
    match verb {
        "drill" => DrillStep::Start { aim: aim(words), schedule: value(words, "schedule").map(|id| id.parse().unwrap()) },
        "drill-lift" => DrillStep::Lift { region: Label::new(words[1]) },
        "drill-lifted" => DrillStep::Lifted { region: Label::new(words[1]), hook: words[2].to_owned() },
        "drill-end" => {
            let (outcome, figures) = (word::<Outcome>(words[2]), Figures::default());
            DrillStep::End { drill: number(), outcome, figures, lines: vec![reason.to_owned()] }
        }
        "drill-cancel" => DrillStep::Cancel { drill: number() },
        "drill-every" => DrillStep::Schedule {
            aim: aim(words),
            every: duration(value(words, "every").unwrap()),
            first: value(words, "first").map(|text| at + duration(text)),
        },
        "drill-unschedule" => DrillStep::Unschedule { schedule: number() },
        "drill-missed" => DrillStep::Missed { schedule: number(), why: reason.to_owned() },
        "drill-near" => {
            let notice = Notice::NearMiss { evidence: Evidence::Dead, rounds: 3, lasted: Duration::from_secs(20) };
            DrillStep::Note { drill: number(), notice }
        }
        "drill-would" => {
            let would = Would {
                from: "eu".into(),
                to: value(words, "to").map(Label::new),
                evidence: Evidence::Isolated,
                detected: at,
                rounds: 3,
                failing: 2,
                asked: 2,
                loss: Bracket::UNKNOWN,
                recovery: None,
                mode: Vec::new(),
                against: if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] },
            };
            DrillStep::Note { drill: number(), notice: Notice::Would(Box::new(would)) }
        }
        other => panic!("`{other}` is not a step"),
    }
}

/// What is agreed about drills, in a few lines.
fn drilled(drills: &Drills) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(drill) = &drills.open {
        lines.push(format!("  drill-{} by {}: {}", drill.id, drill.who, drill.aim));
        lines.extend(drill.trail.iter().map(|noted| format!("    {noted}")));
    }
    for ended in &drills.ended {
        let drill = &ended.drill;
        let (stop, operations) = (ended.figures.stop, &drill.operations);
        let stop = stop.map(|stop| format!(", stopped in {}", Human(stop))).unwrap_or_default();
        let operations: String = operations.iter().map(|id| format!(", op-{id}")).collect();
        lines.push(format!("  drill-{} {}{stop}{operations}: {}: {}", drill.id, ended.outcome, drill.aim, ended.lines.join("; ")));
    }
    lines.extend(
        drills.proofs.iter().map(|proof| format!("  hook {} stops {}: drill-{} at {}", proof.hook, proof.region, proof.drill, proof.at)),
    );
    lines.extend(drills.verified.iter().map(|it| format!("  a copy of {} works: drill-{} at {}", it.region, it.drill, it.at)));
    lines.extend(drills.restored.iter().map(|it| format!("  a backup was restored in {}: drill-{} at {}", it.region, it.drill, it.at)));
    for cut in &drills.cuts {
        let lift = cut.lift.map_or_else(|| "stays".to_owned(), |token| format!("let in by {token}"));
        let who = if cut.is_standby { "standby" } else { "primary" };
        lines.push(format!("  {who} {} cut by {} with {}, {lift}", cut.region, cut.hook, cut.token));
    }
    let schedule =
        |(id, it): (&u64, &Schedule)| format!("  schedule-{id} by {}: {} every {}, next {}", it.who, it.aim, Human(it.every), it.next);
    lines.extend(drills.schedules.iter().map(schedule));
    lines
}

fn system(words: &[&str]) -> u64 {
    value(words, "system").map_or(7, |text| text.parse().unwrap())
}

fn decide(words: &[&str], token: Token, state: &State, at: Timestamp) -> Decide {
    let grounds = value(words, "evidence").map(|evidence| {
        let n: i64 = value(words, "rounds").unwrap().parse().unwrap();
        let span = i64::try_from(value(words, "span").map_or(Duration::from_secs(30), duration).as_millis()).unwrap();
        Grounds {
            evidence: word::<Evidence>(evidence),
            impact: Timestamp(at.0 - span - 20_000),
            detected: at,
            rounds: (0..n).map(|i| Timestamp(at.0 - span + span * i / (n - 1).max(1))).collect(),
            attestations: list(value(words, "attest").unwrap_or("")).map(|it| (Label::new(it), Attestation::Failing)).collect(),
        }
    });
    Decide {
        token,
        kind: word::<Kind>(words[1]),
        from: Label::new(after(words, "from").unwrap()),
        to: after(words, "to").map(Label::new),
        plan_revision: value(words, "plan").map_or_else(|| state.plan().map_or(0, |it| it.plan.revision), |text| text.parse().unwrap()),
        estimate: loss(words),
        allowed_loss: allowed(words),
        grounds,
        drill: value(words, "drill").map(|id| id.parse().unwrap()),
        setback: value(words, "setback").map(|id| Setback { operation: id.parse().unwrap(), text: "error_rate is high".to_owned() }),
        guards: value(words, "guard").map(str::to_owned).into_iter().collect(),
    }
}

/// What a group is, in a few lines.
pub(super) fn show(name: &Label, group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = format!("group {name}: token {}", group.token);
    match &group.grant {
        None => line.push_str(", not adopted"),
        Some(grant) => {
            let force = if group.in_force().is_some() { "granted" } else { "was granted" };
            write!(line, ", {} {force} {} for {}, {}", grant.region, grant.token, Human(grant.ttl), grant.class).unwrap();
            if grant.longest > grant.ttl {
                write!(line, ", wait for {}", Human(grant.longest)).unwrap();
            }
            if !grant.is_attested {
                line.push_str(", not attested");
            }
        }
    }
    if !group.absent.is_empty() {
        let absent: Vec<&str> = group.absent.iter().map(Label::as_str).collect();
        write!(line, ", awaits {}", absent.join("+")).unwrap();
    }
    if !group.reclone.is_empty() {
        let named: Vec<&str> = group.reclone.iter().map(Label::as_str).collect();
        write!(line, ", copies anew {}", named.join("+")).unwrap();
    }
    if let Some(until) = group.cool_down {
        write!(line, ", cools down until {until}").unwrap();
    }
    lines.push(line);
    for fork in &group.forks {
        lines.push(format!("  timeline {} from {}", fork.timeline, fork.at));
    }
    if let Some(operation) = &group.operation {
        let mut line = format!("  op-{} from {}: {}", operation.id, operation.from, operation.phase);
        if let Some(fence) = &operation.fence {
            write!(line, ", {fence:?}").unwrap();
        }
        if let Some(held) = &operation.held {
            write!(line, ", held {}: {}", held.reason, held.text).unwrap();
        }
        lines.push(line);
        lines.extend(operation.marks.iter().map(|mark| format!("    {} {}: {}", mark.index, mark.phase, mark.text)));
    }
    for closed in group.ended() {
        let hooks = closed.operation.marks.iter().filter(|mark| mark.text.contains(" hook "));
        let setback = closed.setback.map(|index| format!(", set back by {index}")).unwrap_or_default();
        lines.push(format!("  op-{} {}{setback}", closed.operation.id, closed.ending));
        lines.extend(hooks.map(|mark| format!("    {} {}", mark.index, mark.text)));
        lines.extend(closed.aside.iter().map(|(region, aside)| format!("    {region} had alone: {aside}")));
        let acts = &closed.operation.acts;
        lines.extend(acts.iter().map(|act| format!("    {} {} by {}: {}", act.index, act.deed, act.who, act.why)));
    }
    lines.extend(drilled(&group.drills));
    lines
}
