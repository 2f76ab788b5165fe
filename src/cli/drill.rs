//! `portolan drill`: what is tried on purpose, what came of it, and what begins by itself.

use std::time::Duration;

use portolan_core::model::time::Human;

use super::{
    Exit, Failure, Outcome,
    change::{self, Change, Once},
    desk::Desk,
    render::{
        COLUMNS,
        table::{Cell, Table, Tone},
        text::{instant, plain, wrap},
    },
    span::{self, duration},
    wire,
};
use crate::api::proto::{
    CancelDrillRequest, Commit, CreateDrillScheduleRequest, DeleteDrillScheduleRequest, Drill, DrillAim, DrillProof, DrillSchedule,
    GetDrillRequest, ListDrillsRequest, StartDrillRequest,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum DrillVerb {
    /// Begin a drill; it ends by itself, and at once when something real happens to the group.
    Start(Start),
    /// Drills under way and over, what begins by itself, and what was proven; exits 3 when the last of a kind did not pass.
    List {
        /// Only of this data group.
        group: Option<String>,
    },
    /// One drill with all that was seen in it; exits 3 when it did not pass.
    Show {
        /// The drill: drill-17.
        drill: String,
    },
    /// End a drill that is under way; whom it cut off is let in again.
    Cancel {
        /// The drill: drill-17.
        drill: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        once: Once,
    },
    /// Let drills begin by themselves; one that is due and cannot begin is missed, and readiness says so.
    Schedule(Scheduled),
    /// Let them begin no more.
    Unschedule {
        /// The schedule: schedule-9.
        schedule: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        once: Once,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Aimed {
    /// The data group.
    group: String,
    /// What: observe_only (what automation would decide, for a time), dry_run (what a failover would do), notification (the program that tells
    /// people), isolated (a copy of a standby is opened where nobody reaches it, asked, and thrown away), fence (a program of the plan cuts a
    /// member off, and lets it in again), switchover (there and back).
    #[arg(long, value_parser = ["observe_only", "dry_run", "notification", "isolated", "fence", "switchover"])]
    kind: String,
    /// Of a fence: the member that is cut off. Of isolated: the standby that is copied [default: the first that follows]. Of a switchover: where to.
    #[arg(long, value_name = "REGION", default_value = "", hide_default_value = true)]
    region: String,
    /// Of a fence: the hook [default: the only rung that has `confirms` and `unfence`].
    #[arg(long, value_name = "HOOK", default_value = "", hide_default_value = true)]
    rung: String,
    /// Of a fence: the member may be the primary, which is an outage; for an approver to say.
    #[arg(long)]
    on_primary: bool,
    /// Of a switchover: it stays where it went.
    #[arg(long)]
    stay: bool,
    /// Of isolated: what is opened is made of the newest backup, by the program that the plan names for it.
    #[arg(long)]
    from_backup: bool,
    /// Of an observation: how long, 10s to 7d.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, required_if_eq("kind", "observe_only"))]
    lasts: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Start {
    #[command(flatten)]
    aim: Aimed,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Scheduled {
    #[command(flatten)]
    aim: Aimed,
    /// How far apart: 30d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    every: Duration,
    /// When the first one is due, in UTC: 2026-11-22T06:00:00Z [default: after that time].
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    once: Once,
}

/// `portolan drill`.
pub(super) async fn run(desk: &mut Desk<'_>, verb: &DrillVerb) -> Outcome {
    match verb {
        DrillVerb::Start(args) => start(desk, args).await,
        DrillVerb::List { group } => list(desk, group.as_deref()).await,
        DrillVerb::Show { drill } => show(desk, drill).await,
        DrillVerb::Cancel { drill, change, once } => cancel(desk, drill, change, once).await,
        DrillVerb::Schedule(args) => schedule(desk, args).await,
        DrillVerb::Unschedule { schedule, change, once } => unschedule(desk, schedule, change, once).await,
    }
}

impl Aimed {
    fn group(&self) -> &str {
        short(&self.group)
    }

    fn wire(&self) -> DrillAim {
        DrillAim {
            kind: self.kind.clone(),
            region: self.region.clone(),
            hook: self.rung.clone(),
            on_primary: self.on_primary,
            from_backup: self.from_backup,
            stays: self.stay,
            lasts: self.lasts.map(wire::duration_out),
        }
    }

    /// What is typed to confirm it; `None`: it touches no primary.
    fn grave(&self) -> Option<&str> {
        (self.on_primary || self.kind == "switchover").then(|| self.group())
    }
}

async fn start(desk: &mut Desk<'_>, args: &Start) -> Outcome {
    let Start { aim, change, once } = args;
    let client = desk.client().await?;
    let what = |asked: &DrillAim| format!("drill {} of {}", aimed(asked), aim.group());
    change.confirm(desk, &client, &what(&aim.wire()), aim.grave()).await?;
    let request = StartDrillRequest {
        parent: format!("groups/{}", aim.group()),
        aim: Some(aim.wire()),
        validate_only: change.dry_run,
        request_id: if change.dry_run { String::new() } else { once.id(desk)? },
        reason: change.reason.clone(),
        overrules: Vec::new(),
    };
    let again = change::again(&request.request_id);
    let done = client.start_drill(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("StartDrillResponse", &done)?;
        return Ok(Exit::Ok);
    }
    let name = done.drill.as_ref().map(|drill| plain(short(&drill.name)));
    let noted = name.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
    // Where nobody named a region, the cluster chose one.
    let begun = done.drill.as_ref().and_then(|drill| drill.aim.clone()).unwrap_or_else(|| aim.wire());
    ended(desk, &what(&begun), &noted, change.dry_run, done.commit.as_ref())?;
    if let Some(name) = name {
        desk.tell(&format!("see: portolan drill show {name}"))?;
    }
    Ok(Exit::Ok)
}

async fn cancel(desk: &mut Desk<'_>, drill: &str, change: &Change, once: &Once) -> Outcome {
    let client = desk.client().await?;
    let what = format!("cancel {}", short(drill));
    change.confirm(desk, &client, &what, None).await?;
    let request = CancelDrillRequest {
        name: format!("drills/{}", short(drill)),
        validate_only: change.dry_run,
        request_id: if change.dry_run { String::new() } else { once.id(desk)? },
        reason: change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.cancel_drill(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CancelDrillResponse", &done)?;
        return Ok(Exit::Ok);
    }
    ended(desk, &what, "", change.dry_run, done.commit.as_ref())?;
    Ok(Exit::Ok)
}

async fn schedule(desk: &mut Desk<'_>, args: &Scheduled) -> Outcome {
    let Scheduled { aim, every, at, change, once } = args;
    let first = at.as_deref().map(|text| span::ahead("drill schedule", text, desk.now())).transpose()?;
    let client = desk.client().await?;
    let what = format!("drill {} of {} every {}", aimed(&aim.wire()), aim.group(), Human(*every));
    change.confirm(desk, &client, &what, aim.grave()).await?;
    let request = CreateDrillScheduleRequest {
        parent: format!("groups/{}", aim.group()),
        aim: Some(aim.wire()),
        every: Some(wire::duration_out(*every)),
        first_time: first.map(wire::timestamp_out),
        validate_only: change.dry_run,
        request_id: if change.dry_run { String::new() } else { once.id(desk)? },
        reason: change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.create_drill_schedule(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CreateDrillScheduleResponse", &done)?;
        return Ok(Exit::Ok);
    }
    let noted = done.schedule.as_ref().map(|it| format!(" [{}], first at {}", plain(short(&it.name)), time(it.next_time.as_ref())));
    ended(desk, &what, &noted.unwrap_or_default(), change.dry_run, done.commit.as_ref())?;
    Ok(Exit::Ok)
}

async fn unschedule(desk: &mut Desk<'_>, schedule: &str, change: &Change, once: &Once) -> Outcome {
    let client = desk.client().await?;
    let what = format!("end {}", short(schedule));
    change.confirm(desk, &client, &what, None).await?;
    let request = DeleteDrillScheduleRequest {
        name: format!("schedules/{}", short(schedule)),
        validate_only: change.dry_run,
        request_id: if change.dry_run { String::new() } else { once.id(desk)? },
        reason: change.reason.clone(),
    };
    let again = change::again(&request.request_id);
    let done = client.delete_drill_schedule(request).await.map_err(|error| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("DeleteDrillScheduleResponse", &done)?;
        return Ok(Exit::Ok);
    }
    ended(desk, &what, "", change.dry_run, done.commit.as_ref())?;
    Ok(Exit::Ok)
}

fn ended(desk: &mut Desk<'_>, what: &str, noted: &str, dry_run: bool, commit: Option<&Commit>) -> Result<(), Failure> {
    let what = plain(what);
    if dry_run {
        let text = format!("dry run: {what} would be accepted now; nothing was changed");
        return desk.print(&format!("{}\n", wrap(&text, COLUMNS, "  ")));
    }
    desk.print(&format!("{what}{noted}{}\n", change::commit_note(commit)))
}

//--- What is so

async fn list(desk: &mut Desk<'_>, group: Option<&str>) -> Outcome {
    let parent = group.map(|group| format!("groups/{}", short(group))).unwrap_or_default();
    let all = desk.client().await?.list_drills(ListDrillsRequest { parent }).await?;
    let is_last = |drill: &&Drill| {
        all.drills.iter().find(|it| it.group == drill.group && it.aim == drill.aim && it.end_time.is_some()) == Some(*drill)
    };
    let is_well = all.drills.iter().filter(is_last).all(|drill| drill.outcome == "passed" || drill.outcome == "cancelled");
    let exit = if is_well { Exit::Ok } else { Exit::Degraded };
    if desk.format.is_data() {
        desk.message("ListDrillsResponse", &all)?;
        return Ok(exit);
    }
    let mut text = "no drill was ever held\n".to_owned();
    if !all.drills.is_empty() {
        let rows = all.drills.iter().map(row).collect();
        let headings = [("DRILL", 14), ("GROUP", 16), ("WHAT", 34), ("OUTCOME", 12), ("BEGAN", 20), ("SEEN", 99)];
        text = Table { headings, rows }.render(desk.width(), desk.terminal.colour);
    }
    if !all.proofs.is_empty() {
        let rows = all.proofs.iter().map(proof).collect();
        let headings = [("HOOK", 20), ("STOPS", 20), ("GROUP", 16), ("SHOWN BY", 14), ("COUNTS UNTIL", 20)];
        text.push_str(&format!("\n{}", Table { headings, rows }.render(desk.width(), desk.terminal.colour)));
    }
    if !all.schedules.is_empty() {
        let rows = all.schedules.iter().map(due).collect();
        let headings = [("SCHEDULE", 14), ("GROUP", 16), ("WHAT", 34), ("EVERY", 8), ("NEXT", 20), ("BY", 20)];
        text.push_str(&format!("\n{}", Table { headings, rows }.render(desk.width(), desk.terminal.colour)));
    }
    desk.print(&format!("{text}{}", wire::behind(all.freshness.as_ref())))?;
    Ok(exit)
}

fn row(drill: &Drill) -> [Cell; 6] {
    let (outcome, tone) = match drill.outcome.as_str() {
        "" => ("under way", Tone::Doubtful),
        "passed" => ("passed", Tone::Good),
        "failed" | "missed" => (drill.outcome.as_str(), Tone::Bad),
        other => (other, Tone::Doubtful),
    };
    [
        plain(short(&drill.name)).into(),
        plain(short(&drill.group)).into(),
        plain(&aimed(&drill.aim.clone().unwrap_or_default())).into(),
        Cell(plain(outcome), tone),
        time(drill.start_time.as_ref()).into(),
        plain(drill.lines.last().map_or("", String::as_str)).into(),
    ]
}

fn proof(proof: &DrillProof) -> [Cell; 5] {
    [
        plain(&proof.hook).into(),
        plain(&proof.region).into(),
        plain(short(&proof.group)).into(),
        plain(short(&proof.drill)).into(),
        time(proof.expire_time.as_ref()).into(),
    ]
}

fn due(schedule: &DrillSchedule) -> [Cell; 6] {
    [
        plain(short(&schedule.name)).into(),
        plain(short(&schedule.group)).into(),
        plain(&aimed(&schedule.aim.clone().unwrap_or_default())).into(),
        length(schedule.every.as_ref()).into(),
        time(schedule.next_time.as_ref()).into(),
        plain(&schedule.creator).into(),
    ]
}

async fn show(desk: &mut Desk<'_>, drill: &str) -> Outcome {
    let told = desk.client().await?.get_drill(GetDrillRequest { name: format!("drills/{}", short(drill)) }).await?;
    let drill = told.drill.clone().unwrap_or_default();
    let exit = if matches!(drill.outcome.as_str(), "" | "passed") { Exit::Ok } else { Exit::Degraded };
    if desk.format.is_data() {
        desk.message("GetDrillResponse", &told)?;
        return Ok(exit);
    }
    let outcome = if drill.outcome.is_empty() { "under way" } else { &drill.outcome };
    let mut text =
        format!("{}: {} of {}, {outcome}\n", short(&drill.name), aimed(&drill.aim.clone().unwrap_or_default()), short(&drill.group));
    text.push_str(&format!("began {} by {}: {}\n", time(drill.start_time.as_ref()), drill.creator, drill.reason));
    if drill.end_time.is_some() {
        text.push_str(&format!("ended {}\n", time(drill.end_time.as_ref())));
    }
    if !drill.loss.is_empty() {
        text.push_str(&format!("loss {}, rpo_target {}\n", drill.loss, length(drill.rpo_target.as_ref())));
    }
    if drill.recovery.is_some() {
        text.push_str(&format!("recovery {}, rto_target {}\n", length(drill.recovery.as_ref()), length(drill.rto_target.as_ref())));
    }
    if drill.stop.is_some() {
        text.push_str(&format!("stopped in {}\n", length(drill.stop.as_ref())));
    }
    for operation in &drill.operations {
        text.push_str(&format!("see: portolan report {}\n", short(operation)));
    }
    text.extend(drill.lines.iter().map(|line| format!("  {line}\n")));
    if drill.end_time.is_some() {
        text.push_str(&format!("see: portolan report {}\n", short(&drill.name)));
    }
    let text: String = text.lines().map(|line| format!("{}\n", plain(line))).collect();
    desk.print(&text)?;
    Ok(exit)
}

/// `fence of eu by hook cut`.
fn aimed(aim: &DrillAim) -> String {
    let mut text = aim.kind.clone();
    if !aim.region.is_empty() {
        text.push_str(match aim.kind.as_str() {
            "isolated" if aim.from_backup => " in ",
            "fence" | "isolated" => " of ",
            _ => " to ",
        });
        text.push_str(&aim.region);
    }
    if !aim.hook.is_empty() {
        text.push_str(&format!(" by hook {}", aim.hook));
    }
    if aim.from_backup {
        text.push_str(" from a backup");
    }
    if aim.lasts.is_some() {
        text.push_str(&format!(" for {}", length(aim.lasts.as_ref())));
    }
    text
}

fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, end)| end)
}

fn time(time: Option<&prost_types::Timestamp>) -> String {
    wire::timestamp(time).map_or_else(|| "-".to_owned(), instant)
}

fn length(length: Option<&prost_types::Duration>) -> String {
    let known = length.and_then(|it| Duration::try_from(*it).ok());
    known.map_or_else(|| "not set".to_owned(), |it| Human(it).to_string())
}
