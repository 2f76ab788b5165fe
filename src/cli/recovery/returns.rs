//! `portolan return`, `returns`, `advance`, and how a return of traffic is followed and taken back.

use std::time::Duration;

use portolan_core::{document::Word as _, model::units::Share, recovery::traffic_return::steps_text};

use super::{About, evacuate::Cancel, full, length, received, short};
use crate::{
    api::proto::{
        AdvanceReturnRequest, CancelReturnRequest, Commit, ListReturnsRequest, StartReturnRequest, TrafficReturn, WatchReturnRequest,
    },
    cli::{
        Exit, Outcome,
        change::{self, Change, Once, Overrules},
        desk::Desk,
        render::text::{instant, plain},
        wire,
    },
    client::ClientError,
};

/// What resource names of returns begin with.
const RETURNS: &str = "returns/";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Return {
    /// The drained region that takes its clients back.
    pub(super) region: String,
    /// A share of its clients, the next one larger, the last one 100%; may be given several times [default: as the plan says].
    #[arg(long = "step", value_name = "SHARE", value_parser = share)]
    pub(super) steps: Vec<Share>,
    /// How long each step is watched before the next one [default: as the plan says].
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub(super) step_time: Option<Duration>,
    #[command(flatten)]
    pub(super) overrules: Overrules,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Advance {
    #[command(flatten)]
    pub(super) about: About,
    #[command(flatten)]
    pub(super) overrules: Overrules,
}

fn share(text: &str) -> Result<Share, String> {
    Share::read(text).map_err(|problem| format!("{problem}; write {}", Share::EXAMPLES))
}

/// Whether an operation's name is that of a return.
pub(super) fn is_one(name: &str) -> bool {
    short(name).starts_with("return-")
}

/// Lets the traffic of a drained region return in steps.
pub(in crate::cli) async fn begin(desk: &mut Desk<'_>, args: &Return) -> Outcome {
    let region = short(&args.region);
    let mut request = StartReturnRequest {
        region: region.to_owned(),
        shares: args.steps.iter().map(|share| share.points().into()).collect(),
        step_time: args.step_time.map(wire::duration_out),
        validate_only: true,
        request_id: String::new(),
        reason: args.change.reason.clone(),
        overrules: args.overrules.wire(&args.change.reason),
    };
    let client = desk.client().await?;
    desk.introduce(&client).await?;
    let mut what = plain(&format!("return the traffic of {region}"));
    if args.change.dry_run || !args.change.yes {
        // Refused before anybody is asked, by the very rules that judge it itself; and what the plan's steps are is known then.
        let judged = client.start_return(request.clone()).await?;
        if args.change.dry_run && desk.format.is_data() {
            desk.message("StartReturnResponse", &judged)?;
            return Ok(Exit::Ok);
        }
        what = text(region, judged.traffic_return.as_ref());
        if args.change.dry_run {
            desk.print(&format!("dry run: {what} would be accepted now; nothing was changed\n"))?;
            return Ok(Exit::Ok);
        }
    }
    args.change.confirm(desk, &client, &what, Some(region)).await?;
    request.validate_only = false;
    request.request_id = args.once.id(desk)?;
    let again = change::again(&request.request_id);
    let begun = client.start_return(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("StartReturnResponse", &begun)?;
        return Ok(Exit::Ok);
    }
    what = text(region, begun.traffic_return.as_ref());
    let name = begun.traffic_return.map(|it| plain(short(&it.name))).unwrap_or_default();
    desk.print(&format!("{what} [{name}]{}\n", change::commit_note(begun.commit.as_ref())))?;
    desk.tell(&format!(
        "see: portolan watch {name}; back: portolan cancel {name}; all at once: portolan undrain region {}",
        plain(region)
    ))?;
    Ok(Exit::Ok)
}

/// What is begun: `return the traffic of us-east-1: 10%, 100%, each watched for 5m`.
fn text(region: &str, it: Option<&TrafficReturn>) -> String {
    plain(&format!("return the traffic of {region}: {}", it.map(steps).unwrap_or_default()))
}

/// Begins the next step at once.
pub(in crate::cli) async fn advance(desk: &mut Desk<'_>, args: &Advance) -> Outcome {
    let (name, about) = (short(&args.about.operation), &args.about);
    let what = format!("begin the next step of {name}");
    let client = desk.client().await?;
    about.change.confirm(desk, &client, &what, Some(name)).await?;
    let request_id = if about.change.dry_run { String::new() } else { about.once.id(desk)? };
    let again = change::again(&request_id);
    let request = AdvanceReturnRequest {
        name: full(RETURNS, name),
        validate_only: about.change.dry_run,
        request_id,
        reason: about.change.reason.clone(),
        overrules: args.overrules.wire(&about.change.reason),
    };
    let done = client.advance_return(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("AdvanceReturnResponse", &done)?;
        return Ok(Exit::Ok);
    }
    tell(desk, about, &what, done.traffic_return, done.commit.as_ref())
}

/// Drains its region again.
pub(super) async fn take_back(desk: &mut Desk<'_>, args: &Cancel) -> Outcome {
    let (name, about) = (short(&args.about.operation), &args.about);
    let what = format!("take {name} back, so that its region is drained again");
    let client = desk.client().await?;
    about.change.confirm(desk, &client, &what, Some(name)).await?;
    let request_id = if about.change.dry_run { String::new() } else { about.once.id(desk)? };
    let again = change::again(&request_id);
    let request = CancelReturnRequest {
        name: full(RETURNS, name),
        validate_only: about.change.dry_run,
        request_id,
        reason: about.change.reason.clone(),
        overrules: args.overrules.wire(&about.change.reason),
    };
    let done = client.cancel_return(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
    if desk.format.is_data() {
        desk.message("CancelReturnResponse", &done)?;
        return Ok(Exit::Ok);
    }
    tell(desk, about, &what, done.traffic_return, done.commit.as_ref())
}

/// What a change of one led to, or would.
fn tell(desk: &mut Desk<'_>, about: &About, what: &str, it: Option<TrafficReturn>, commit: Option<&Commit>) -> Outcome {
    if about.change.dry_run {
        desk.print(&format!("dry run: {} would be accepted now; nothing was changed\n", plain(what)))?;
    } else {
        let now = it.map(|it| line(&it)).unwrap_or_default();
        desk.print(&format!("{now}{}\n", change::commit_note(commit)))?;
    }
    Ok(Exit::Ok)
}

/// `portolan returns`.
pub(in crate::cli) async fn list(desk: &mut Desk<'_>) -> Outcome {
    let all = desk.client().await?.list_returns(ListReturnsRequest {}).await?;
    if desk.format.is_data() {
        desk.message("ListReturnsResponse", &all)?;
        return Ok(Exit::Ok);
    }
    if all.returns.is_empty() {
        desk.print("no region takes its traffic back in steps\n")?;
    }
    for it in &all.returns {
        let began = wire::timestamp(it.create_time.as_ref()).map_or_else(String::new, |at| format!(" since {}", instant(at)));
        let text = format!("{}, by {}{began}: {}\n  {}\n", line(it), plain(&it.creator), plain(&it.reason), steps(it));
        desk.print(&text)?;
    }
    Ok(Exit::Ok)
}

/// Shows a return whenever something of it is new; exits 0 when it succeeded.
pub(super) async fn watch(desk: &mut Desk<'_>, name: &str) -> Outcome {
    let name = full(RETURNS, name);
    let mut shown = String::new();
    loop {
        let client = desk.client().await?;
        let mut stream = client.watch_return(WatchReturnRequest { name: name.clone() }).await?;
        let lost = loop {
            let it = match received(&client, stream.next().await)? {
                Ok(message) => message.traffic_return.unwrap_or_default(),
                Err(lost) => break lost,
            };
            let line = line(&it);
            if line != shown {
                if desk.format.is_data() {
                    desk.message("TrafficReturn", &it)?;
                } else {
                    desk.print(&format!("{line}\n"))?;
                }
                shown = line;
            }
            desk.terminal.out.flush()?;
            if it.end_time.is_some() {
                return Ok(if it.standing == "succeeded" { Exit::Ok } else { Exit::Error });
            }
        };
        desk.tell(&format!("portolan: {lost}; connecting again"))?;
    }
}

fn shares(it: &TrafficReturn) -> Vec<Share> {
    it.shares.iter().map(|points| Share::basis_points(u16::try_from(*points).unwrap_or(u16::MAX))).collect()
}

/// `10%, 50%, 100%, each watched for 5m`.
fn steps(it: &TrafficReturn) -> String {
    steps_text(&shares(it), it.step_time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default())
}

/// `return-17: us-east-1 takes 10% of its clients since ..., step 1 of 3`.
fn line(it: &TrafficReturn) -> String {
    let name = format!("{}: {}", short(&it.name), it.region);
    let text = match it.standing.as_str() {
        "open" => {
            let step = usize::try_from(it.step).unwrap_or(usize::MAX);
            let share = shares(it).get(step).copied().unwrap_or(Share::FULL);
            let since = wire::timestamp(it.step_start_time.as_ref()).map_or_else(String::new, |at| format!(" since {}", instant(at)));
            let waits = if it.because.is_empty() { String::new() } else { format!(", WAITS: {}", it.because) };
            format!("{name} takes {share} of its clients{since}, step {} of {}{waits}", step + 1, it.shares.len())
        }
        "taken_back" => format!("{name} is drained again: {}", it.end_reason),
        "succeeded" => format!("{name} has all its clients"),
        other => format!("{name}: {other}, {}", it.end_reason),
    };
    plain(&text)
}
