//! `portolan evacuate`, `evacuations`, and how one is followed and cancelled.

use super::{
    About, GROUPS, full, received,
    rehearsal::{self, Wish},
    short,
};
use crate::{
    api::proto::{
        CancelEvacuationRequest, EvacuatedGroup, Evacuation, ListEvacuationsRequest, StartEvacuationRequest, WatchEvacuationRequest,
        scope::Scope, start_evacuation_request::Expiration,
    },
    cli::{
        Exit, Outcome,
        change::{self, Change, Once, Overrules},
        desk::Desk,
        picture,
        render::{
            table::{Cell, Table, Tone},
            text::{instant, plain},
        },
        span::{End, Span},
        wire,
    },
    client::ClientError,
};

/// What resource names of evacuations begin with.
const EVACUATIONS: &str = "evacuations/";
/// How long a drain is suggested to last.
const USUAL: &str = "4h";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Evacuate {
    /// The region that is to be left.
    pub(super) region: String,
    /// A data group that stays; may be given several times.
    #[arg(long, value_name = "GROUP")]
    pub(super) skip: Vec<String>,
    /// Do exactly what --dry-run showed under this id, or nothing [default: whatever it would be now].
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) plan: String,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) overrules: Overrules,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Cancel {
    #[command(flatten)]
    pub(super) about: About,
    /// Of an evacuation: take its drain back, too, so that traffic comes again.
    #[arg(long)]
    pub(super) undrain: bool,
    #[command(flatten)]
    pub(super) overrules: Overrules,
}

/// Whether an operation's name is that of an evacuation.
pub(super) fn is_one(name: &str) -> bool {
    short(name).starts_with("evac-")
}

/// Drains a region and has its primaries moved away.
pub(in crate::cli) async fn evacuate(desk: &mut Desk<'_>, args: &Evacuate) -> Outcome {
    let end = args.span.end("evacuate", USUAL, desk.now())?;
    let region = short(&args.region);
    let what = format!("evacuate {region}");
    let mut request = StartEvacuationRequest {
        region: region.to_owned(),
        skip: args.skip.iter().map(|name| full(GROUPS, name)).collect(),
        validate_only: true,
        request_id: String::new(),
        reason: args.change.reason.clone(),
        overrules: args.overrules.wire(&args.change.reason),
        expiration: Some(match end {
            End::After(length) => Expiration::Ttl(wire::duration_out(length)),
            End::At(at) => Expiration::ExpireTime(wire::timestamp_out(at)),
        }),
        plan_id: args.plan.clone(),
    };
    let client = desk.client().await?;
    desk.introduce(&client).await?;
    if args.change.dry_run || !args.change.yes {
        // Refused before anybody is asked, by the very rules that judge it itself.
        let judged = client.start_evacuation(request.clone()).await?;
        if args.change.dry_run && desk.format.is_data() {
            desk.message("StartEvacuationResponse", &judged)?;
            return Ok(Exit::Ok);
        }
        let evacuation = judged.evacuation.unwrap_or_default();
        let picture = picture::without(&client, &Scope::Region(region.to_owned())).await;
        let text = format!("{picture}{}", table(desk, &evacuation));
        if args.change.dry_run {
            desk.print(&text)?;
            for group in evacuation.groups.iter().filter(|group| !group.to.is_empty()) {
                desk.print("\n")?;
                let wish = Wish { kind: "switchover", group: short(&group.group), to: &group.to, allowed_loss: None };
                rehearsal::show(desk, &wish).await?;
            }
            desk.print(&format!(
                "\nplan id of all of it: {}; evacuate --plan with it does exactly this, or nothing\n",
                plain(&judged.plan_id)
            ))?;
            desk.print(&format!("dry run: {} would be accepted now; nothing was changed\n", plain(&what)))?;
            return Ok(Exit::Ok);
        }
        desk.tell(text.trim_end())?;
    }
    args.change.confirm(desk, &client, &what, Some(region)).await?;
    request.validate_only = false;
    request.request_id = args.once.id(desk)?;
    let again = change::again(&request.request_id);
    let begun = client.start_evacuation(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("StartEvacuationResponse", &begun)?;
        return Ok(Exit::Ok);
    }
    let evacuation = begun.evacuation.unwrap_or_default();
    let name = plain(short(&evacuation.name));
    desk.print(&format!("{} [{name}]{}\n", plain(&what), change::commit_note(begun.commit.as_ref())))?;
    desk.tell(&format!("see: portolan watch {name}"))?;
    Ok(Exit::Ok)
}

/// Begins no further group of an evacuation.
pub(super) async fn cancel(desk: &mut Desk<'_>, args: &Cancel) -> Outcome {
    let (name, about) = (short(&args.about.operation), &args.about);
    let back = if args.undrain { ", and take its drain back" } else { "" };
    let what = format!("cancel {name}{back}");
    let client = desk.client().await?;
    about.change.confirm(desk, &client, &what, Some(name)).await?;
    let request_id = if about.change.dry_run { String::new() } else { about.once.id(desk)? };
    let again = change::again(&request_id);
    let request = CancelEvacuationRequest {
        name: full(EVACUATIONS, name),
        undrain: args.undrain,
        validate_only: about.change.dry_run,
        request_id,
        reason: about.change.reason.clone(),
        overrules: args.overrules.wire(&about.change.reason),
    };
    let done = client.cancel_evacuation(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CancelEvacuationResponse", &done)?;
    } else if about.change.dry_run {
        desk.print(&format!("dry run: {} would be accepted now; nothing was changed\n", plain(&what)))?;
    } else {
        desk.print(&format!("{}{}\n", plain(&what), change::commit_note(done.commit.as_ref())))?;
        desk.tell("groups that move go on: portolan recovery status; portolan cancel OPERATION ends one")?;
    }
    Ok(Exit::Ok)
}

/// `portolan evacuations`.
pub(in crate::cli) async fn evacuations(desk: &mut Desk<'_>) -> Outcome {
    let all = desk.client().await?.list_evacuations(ListEvacuationsRequest {}).await?;
    if desk.format.is_data() {
        desk.message("ListEvacuationsResponse", &all)?;
        return Ok(Exit::Ok);
    }
    if all.evacuations.is_empty() {
        desk.print("no evacuation was begun\n")?;
    }
    for (n, evacuation) in all.evacuations.iter().enumerate() {
        let gap = if n > 0 { "\n" } else { "" };
        let text = table(desk, evacuation);
        desk.print(&format!("{gap}{text}"))?;
    }
    Ok(Exit::Ok)
}

/// Shows an evacuation whenever something of it is new; exits 0 when it succeeded.
pub(super) async fn watch(desk: &mut Desk<'_>, name: &str) -> Outcome {
    let name = full(EVACUATIONS, name);
    let mut shown = Evacuation::default();
    loop {
        let client = desk.client().await?;
        let mut stream = client.watch_evacuation(WatchEvacuationRequest { name: name.clone() }).await?;
        let lost = loop {
            let evacuation = match received(&client, stream.next().await)? {
                Ok(message) => message.evacuation.unwrap_or_default(),
                Err(lost) => break lost,
            };
            if desk.format.is_data() && evacuation != shown {
                desk.message("Evacuation", &evacuation)?;
            } else {
                for group in evacuation.groups.iter().filter(|group| !shown.groups.contains(group)) {
                    desk.print(&format!("{}\n", line(group)))?;
                }
            }
            shown = evacuation;
            if shown.end_time.is_some() {
                if !desk.format.is_data() {
                    desk.print(&format!("{} {}\n", plain(short(&shown.name)), plain(&shown.standing)))?;
                    desk.tell(&format!("the way back: portolan return {}; then portolan failback GROUP", plain(&shown.region)))?;
                }
                desk.terminal.out.flush()?;
                return Ok(if shown.standing == "succeeded" { Exit::Ok } else { Exit::Error });
            }
            desk.terminal.out.flush()?;
        };
        desk.tell(&format!("portolan: {lost}; connecting again"))?;
    }
}

/// One line, however long: what became of a group.
fn line(group: &EvacuatedGroup) -> String {
    let mut text = format!("{}: {}", short(&group.group), notes(group));
    if !group.held.is_empty() {
        text.push_str(&format!("; see: portolan watch {}", short(&group.operation)));
    }
    plain(&text)
}

fn notes(group: &EvacuatedGroup) -> String {
    let mut text = group.progress.clone();
    if !group.to.is_empty() {
        text.push_str(&format!(", to {}", group.to));
    }
    if !group.operation.is_empty() {
        text.push_str(&format!(", {}", short(&group.operation)));
    }
    if !group.phase.is_empty() {
        text.push_str(&format!(" {}", group.phase));
    }
    if !group.held.is_empty() {
        text.push_str(&format!(", HELD, {}", group.held));
    }
    if !group.because.is_empty() {
        text.push_str(&format!(", {}", group.because));
    }
    text
}

fn table(desk: &Desk<'_>, evacuation: &Evacuation) -> String {
    let name = if evacuation.name.is_empty() { String::new() } else { format!("{}: ", short(&evacuation.name)) };
    let began = wire::timestamp(evacuation.create_time.as_ref()).map_or_else(String::new, |at| format!(" since {}", instant(at)));
    let head = format!("{name}{}, by {}{began}, {}: {}", evacuation.region, evacuation.creator, evacuation.standing, evacuation.reason);
    let mut text = format!("{}\n", plain(&head));
    if evacuation.groups.is_empty() {
        text.push_str("no data group has its primary there\n");
        return text;
    }
    let row = |group: &EvacuatedGroup| {
        let is_bad = group.progress == "failed" || !group.held.is_empty() || group.progress == "waiting" && !group.because.is_empty();
        let tone = if is_bad { Tone::Doubtful } else { Tone::Plain };
        let more = if group.held.is_empty() { group.because.clone() } else { format!("held, {}", group.held) };
        [
            Cell::from(plain(short(&group.group))),
            Cell(plain(&group.progress), tone),
            plain(&group.to).into(),
            plain(short(&group.operation)).into(),
            plain(&more).into(),
        ]
    };
    let headings = [("GROUP", 24), ("PROGRESS", 9), ("TO", 20), ("OPERATION", 12), ("NOTES", 80)];
    text.push_str(&Table { headings, rows: evacuation.groups.iter().map(row).collect() }.render(desk.width(), desk.terminal.colour));
    text
}
