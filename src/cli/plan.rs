//! `portolan plan diff` and `plan apply`: a plan file and its zone files against the plan in force.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use portolan_core::cluster::limits::{PLAN_TEXT_MAX, ZONE_FILES_MAX, ZONE_TEXT_MAX};

use super::{
    Exit, Failure, Outcome,
    change::{self, Once, Overrules},
    desk::Desk,
    render::{
        table::Tone,
        text::{lines, plain},
    },
    wire,
};
use crate::{
    api::proto::{ApplyPlanRequest, DiffPlanRequest, DiffPlanResponse, PlanDocument, PlanProblem, plan_problem::Severity},
    config::plan::zone_files,
};

#[derive(Debug, clap::Args)]
pub(super) struct PlanDiff {
    /// The plan file; its zone files are read from beside it.
    pub(super) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanApply {
    /// The plan file; its zone files are read from beside it.
    pub(super) file: PathBuf,
    /// The revision that the file was made from, 0: no plan; another one in force is a refusal.
    #[arg(long, value_name = "N")]
    pub(super) expected_revision: Option<u64>,
    /// Why, in one line; audit shows it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// Judge it only: same checks, same refusals, and nothing is changed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Ask nothing; for scripts. It bypasses no refusal.
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) overrules: Overrules,
    #[command(flatten)]
    pub(super) once: Once,
}

/// The plan with the zone files that it names, each under the name that it gives.
fn read(file: &Path) -> Result<PlanDocument, Failure> {
    let text = read_bounded(file, PLAN_TEXT_MAX)?;
    let wanted = zone_files(&text, &file.display().to_string()).map_err(|problems| Failure::new(Exit::Usage, problems))?;
    if wanted.len() > ZONE_FILES_MAX {
        let message = format!("{}: it names {} zone files; at most {ZONE_FILES_MAX} are taken", file.display(), wanted.len());
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut zone_files = BTreeMap::new();
    let mut room = ZONE_TEXT_MAX;
    for (_, name) in wanted {
        // One file may be the content of several zones.
        if let Entry::Vacant(free) = zone_files.entry(name) {
            let text = read_bounded(&file.parent().unwrap_or_else(|| Path::new("")).join(free.key()), room)?;
            room -= text.len();
            free.insert(text);
        }
    }
    #[expect(clippy::disallowed_types, reason = "the form that generated code has; its order has no meaning")]
    let zone_files = zone_files.into_iter().collect::<std::collections::HashMap<_, _>>();
    Ok(PlanDocument { text, zone_files })
}

/// A text of at most so many octets.
fn read_bounded(file: &Path, most: usize) -> Result<String, Failure> {
    let failed = |problem: String| Failure::new(Exit::Usage, format!("read `{}`: {problem}", file.display()));
    let size = fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > most as u64 {
        return Err(failed(format!("it has {size} octets, and there is room for {most}")));
    }
    fs::read_to_string(file).map_err(|error| failed(error.to_string()))
}

pub(super) async fn diff(desk: &mut Desk<'_>, args: &PlanDiff) -> Outcome {
    let document = read(&args.file)?;
    let answer = desk.client().await?.diff_plan(DiffPlanRequest { document: Some(document) }).await?;
    let exit = if has_errors(&answer.problems) { Exit::Usage } else { Exit::Ok };
    if desk.format.is_data() {
        desk.message("DiffPlanResponse", &answer)?;
        return Ok(exit);
    }
    desk.print(&difference(&answer, desk.terminal.colour))?;
    desk.print(&wire::behind(answer.freshness.as_ref()))?;
    tell_problems(desk, &args.file, &answer.problems)?;
    Ok(exit)
}

/// What differs, in the form that tools for patches read.
fn difference(answer: &DiffPlanResponse, colour: bool) -> String {
    let running = match answer.running_revision {
        0 => "no plan is in force; all of this would be new\n".to_owned(),
        revision if answer.files.is_empty() => format!("no difference to revision {revision}, which is in force\n"),
        revision if answer.same_meaning => format!("revision {revision} is in force and means the same; only comments or layout differ\n"),
        revision => format!("revision {revision} is in force\n"),
    };
    let mut text = running;
    for file in &answer.files {
        text.push_str(&format!("FILE {}\n", plain(&file.file)));
        for line in lines(&file.unified).lines() {
            let tone = match line.as_bytes().first() {
                Some(b'+') => Tone::Good,
                Some(b'-') => Tone::Bad,
                _ => Tone::Plain,
            };
            text.push_str(&tone.paint(line, colour));
            text.push('\n');
        }
    }
    text
}

pub(super) async fn apply(desk: &mut Desk<'_>, args: &PlanApply) -> Outcome {
    let document = read(&args.file)?;
    let client = desk.client().await?;
    desk.introduce(&client).await?;
    let mut request = ApplyPlanRequest {
        document: Some(document.clone()),
        expected_revision: args.expected_revision,
        validate_only: true,
        request_id: String::new(),
        reason: args.reason.clone(),
        overrules: args.overrules.wire(if args.reason.is_empty() { "plan apply" } else { &args.reason }),
    };
    // Judged and shown before anybody is asked, by the very rules that judge the plan itself.
    let judged = client.apply_plan(request.clone()).await?;
    if args.dry_run {
        tell_problems(desk, &args.file, &judged.problems)?;
        if desk.format.is_data() {
            desk.message("ApplyPlanResponse", &judged)?;
        } else {
            desk.print(&format!("dry run: revision {} would be accepted now; nothing was changed\n", judged.revision))?;
        }
        return Ok(Exit::Ok);
    }
    if !args.yes {
        let answer = client.diff_plan(DiffPlanRequest { document: Some(document) }).await?;
        let text = difference(&answer, false);
        desk.tell(text.trim_end())?;
        tell_problems(desk, &args.file, &judged.problems)?;
    }
    desk.confirm(&format!("put revision {} in force on all nodes", judged.revision), &judged.revision.to_string(), args.yes)?;
    request.validate_only = false;
    request.request_id = args.once.id(desk)?;
    let again = change::again(&request.request_id);
    let done = client.apply_plan(request).await.map_err(|error| change::failed(error, &again))?;
    if args.yes {
        tell_problems(desk, &args.file, &done.problems)?;
    }
    if desk.format.is_data() {
        desk.message("ApplyPlanResponse", &done)?;
        return Ok(Exit::Ok);
    }
    let digest: String = done.digest.chars().take(12).collect();
    let note = change::commit_note(done.commit.as_ref());
    desk.print(&format!("revision {} ({}) is in force{note}\n", done.revision, plain(&digest)))?;
    desk.tell("see it arrive: portolan peers list, portolan status --watch")?;
    Ok(Exit::Ok)
}

fn has_errors(problems: &[PlanProblem]) -> bool {
    problems.iter().any(|problem| problem.severity() == Severity::Error)
}

/// Problems as a compiler shows them, with the path that the person gave.
fn tell_problems(desk: &mut Desk<'_>, file: &Path, problems: &[PlanProblem]) -> Result<(), Failure> {
    for problem in problems {
        let file = if problem.file == "plan" { file.display().to_string() } else { problem.file.clone() };
        let line = if problem.line == 0 { String::new() } else { format!(":{}", problem.line) };
        let word = if problem.severity() == Severity::Error { "error" } else { "warning" };
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        desk.tell(&plain(&format!("{file}{line}: {word}: {path}{}", problem.message)))?;
        if !problem.fix.is_empty() {
            desk.tell(&plain(&format!("  = fix: {}", problem.fix)))?;
        }
    }
    Ok(())
}
