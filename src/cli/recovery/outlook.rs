//! `portolan recovery readiness` and `exposure`, and `why` of a group: how it stands now.

use std::{fmt::Write as _, time::Duration};

use portolan_core::{
    model::{reason::Reason, time::Human},
    recovery::exposure::Bracket,
};

use super::{GROUPS, short};
use crate::{
    api::proto::{
        BackupClass, ClassExposure, Exposure, Finding, GetOutlookRequest, GetOutlookResponse, ListBackupsRequest, ListGroupsRequest, Loss,
        Outlook,
    },
    cli::{
        Exit, Failure, Outcome,
        desk::Desk,
        render::{
            COLUMNS,
            table::{Cell, Table, Tone},
            text::{lines, plain, wrap},
        },
    },
};

/// Grades with the spaces behind them, under which the second line of a finding begins.
const GRADE_COLUMNS: usize = 6;

/// `portolan recovery readiness`.
pub(in crate::cli) async fn readiness(desk: &mut Desk<'_>, group: Option<&str>) -> Outcome {
    show(desk, group, |outlook| outlook.ready, ready).await
}

/// `archive: ` with its space.
const ARCHIVE_COLUMNS: usize = 9;

/// `portolan recovery exposure`: of all groups also what that means for the classes of data.
pub(in crate::cli) async fn exposure(desk: &mut Desk<'_>, group: Option<&str>) -> Outcome {
    let is_well = |standing: &str| matches!(standing, "ok" | "at_risk");
    let exit = show(desk, group, |outlook| outlook.exposures.iter().all(|it| is_well(&it.standing)), exposed).await?;
    if group.is_some() {
        return Ok(exit);
    }
    let told = desk.client().await?.list_backups(ListBackupsRequest {}).await?;
    let are_well = told.classes.iter().flat_map(|class| &class.exposures).all(|it| is_well(&it.standing));
    if desk.format.is_data() {
        desk.message("ListBackupsResponse", &told)?;
    } else if !told.classes.is_empty() {
        let text = classes(desk, &told.classes);
        desk.print(&format!("\n{text}"))?;
    }
    Ok(if are_well { exit } else { Exit::Degraded })
}

fn classes(desk: &Desk<'_>, classes: &[BackupClass]) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text) };
    let row = |class: &BackupClass, it: &ClassExposure| {
        let region = if it.region.is_empty() { "any".to_owned() } else { plain(&it.region) };
        let time = bracket(it.time.as_ref()).to_string();
        [
            plain(&class.name).into(),
            region.into(),
            against(&it.standing),
            time.into(),
            or_dash(&it.source).into(),
            or_dash(&it.group).into(),
        ]
    };
    let rows = classes.iter().flat_map(|class| class.exposures.iter().map(move |it| row(class, it))).collect();
    let headings = [("DATA CLASS", 24), ("REGION", 20), ("AGAINST RPO", 12), ("TIME", 24), ("SOURCE", 10), ("WORST GROUP", 20)];
    Table { headings, rows }.render(desk.width(), desk.terminal.colour)
}

/// How a figure stands to `rpo_target`.
fn against(standing: &str) -> Cell {
    let tone = match standing {
        "ok" => Tone::Good,
        "violated" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    Cell(plain(standing), tone)
}

/// `portolan why groups/NAME`.
pub(in crate::cli) async fn why(desk: &mut Desk<'_>, group: &str) -> Outcome {
    show(desk, Some(group), |_| true, reasons).await
}

async fn show(
    desk: &mut Desk<'_>,
    group: Option<&str>,
    is_well: impl Fn(&Outlook) -> bool,
    shown: impl Fn(&Desk<'_>, &Outlook) -> Result<String, Failure>,
) -> Outcome {
    let client = desk.client().await?;
    let names: Vec<String> = match group {
        Some(group) => vec![format!("{GROUPS}{}", short(group))],
        None => client.list_groups(ListGroupsRequest {}).await?.groups.into_iter().map(|group| group.name).collect(),
    };
    let (mut exit, n) = (Exit::Ok, names.len());
    for (at, name) in names.into_iter().enumerate() {
        let told: GetOutlookResponse = client.get_outlook(GetOutlookRequest { name }).await?;
        let outlook = told.outlook.clone().unwrap_or_default();
        if !is_well(&outlook) {
            exit = Exit::Degraded;
        }
        if desk.format.is_data() {
            desk.message("GetOutlookResponse", &told)?;
            continue;
        }
        let text = shown(desk, &outlook)?;
        desk.print(&format!("{text}{}", if at + 1 < n { "\n" } else { "" }))?;
    }
    if n == 0 && !desk.format.is_data() {
        desk.print("the plan has no data groups\n")?;
    }
    Ok(exit)
}

fn ready(desk: &Desk<'_>, outlook: &Outlook) -> Result<String, Failure> {
    let answer = if outlook.ready { "would be failed over now" } else { "would not be failed over now" };
    let mut text = format!("{}: {answer} ({}% of what was looked at is as it should be)\n", plain(short(&outlook.name)), outlook.score);
    text.extend(outlook.findings.iter().map(|finding| found(finding, GRADE_COLUMNS, desk.terminal.colour)));
    Ok(text)
}

/// A finding in lines of its own: what people read in full at 3 AM is not cut, but broken between words. `columns`: of its grade.
pub(super) fn found(finding: &Finding, columns: usize, colour: bool) -> String {
    let tone = match finding.grade.as_str() {
        "pass" => Tone::Good,
        "fail" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    let grade = plain(&finding.grade);
    let (indent, gap) = (" ".repeat(columns), " ".repeat(columns.saturating_sub(grade.len())));
    let wrapped = |text: &str, indent: &str| wrap(text, COLUMNS - columns, indent);
    let line = format!("{}: {}", plain(&finding.check), plain(&finding.text));
    let mut text = format!("{}{gap}{}\n", tone.paint(&grade, colour), wrapped(&line, &indent));
    if !finding.fix.is_empty() {
        let fix = wrapped(&format!("-> {}", plain(&finding.fix)), &format!("{indent}   "));
        text.push_str(&format!("{indent}{fix}\n"));
    }
    text
}

fn part(duration: Option<prost_types::Duration>) -> String {
    let time = duration.and_then(|it| Duration::try_from(it).ok());
    time.map_or_else(|| "unknown".to_owned(), |time| Human(time).to_string())
}

fn exposed(desk: &Desk<'_>, outlook: &Outlook) -> Result<String, Failure> {
    let mut text = format!("{}: {} would be lost now\n", plain(short(&outlook.name)), bracket(outlook.estimate.as_ref()));
    let row = |it: &Exposure| {
        let behind = it.behind.map_or_else(|| "unknown".to_owned(), |behind| behind.to_string());
        let time = bracket(it.time.as_ref()).to_string();
        [plain(&it.region).into(), against(&it.standing), time.into(), behind.into(), part(it.apply_lag).into()]
    };
    let headings = [("REGION", 20), ("AGAINST RPO", 12), ("TIME", 24), ("BEHIND", 16), ("APPLY LAG", 12)];
    let table = Table { headings, rows: outlook.exposures.iter().map(row).collect() };
    text.push_str(&table.render(desk.width(), desk.terminal.colour));
    if let Some(archive) = &outlook.archive {
        // A string takes any text.
        let _ = writeln!(text, "archive: {}", wrap(&plain(&archive.text), COLUMNS - ARCHIVE_COLUMNS, "         "));
    }
    let parts: Vec<String> = outlook.prediction.iter().map(|it| format!("{} {}", plain(&it.mark), part(it.duration))).collect();
    // A string takes any text.
    let _ = writeln!(text, "a failover would take {}: {}", part(outlook.predicted), parts.join(", "));
    Ok(text)
}

fn reasons(_: &Desk<'_>, outlook: &Outlook) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::new(Exit::Error, format!("the answer cannot be read: {why}"));
    let reason = outlook.reason.clone().unwrap_or_default();
    let reason = Reason::try_from(reason).map_err(|error| unreadable(error.to_string()))?;
    Ok(format!("group {}: {}\n{}", plain(short(&outlook.name)), plain(&outlook.evidence), lines(&reason.render())))
}

fn bracket(loss: Option<&Loss>) -> Bracket {
    let time = |it: Option<prost_types::Duration>| it.and_then(|it| Duration::try_from(it).ok());
    loss.map_or(Bracket::UNKNOWN, |loss| Bracket { low: time(loss.low).unwrap_or_default(), high: time(loss.high) })
}
