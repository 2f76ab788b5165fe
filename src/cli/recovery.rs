//! Data groups: `recovery status`, `adopt`, `switchover`, `failover`, `approve`, `cancel`.

use std::time::Duration;

use portolan_core::{document::Word as _, model::time::Human};

use super::{
    Exit, Failure, Outcome,
    change::{self, Change, Once},
    desk::Desk,
    render::{
        table::{Cell, Table, Tone},
        text::plain,
    },
    wire,
};
use crate::{
    api::proto::{
        AdoptGroupRequest, ApproveOperationRequest, CancelOperationRequest, Commit, Group, GroupMember, ListGroupsRequest, Operation,
        StartFailoverRequest, StartSwitchoverRequest,
    },
    client::ClientError,
};

/// What resource names of groups begin with.
const GROUPS: &str = "groups/";
/// What resource names of operations begin with.
const OPERATIONS: &str = "operations/";

#[derive(Debug, clap::Subcommand)]
pub(super) enum RecoveryVerb {
    /// Data groups: who the primary is, what agents see, what is under way; exits 3 when one is held or has no primary.
    Status {
        /// Only this one.
        group: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Adopt {
    /// The data group.
    pub(super) group: String,
    /// The region of its primary.
    #[arg(long, value_name = "REGION")]
    pub(super) primary: String,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Switchover {
    /// The data group.
    pub(super) group: String,
    /// The region that shall have the primary.
    #[arg(long, value_name = "REGION")]
    pub(super) to: String,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Failover {
    /// The data group.
    pub(super) group: String,
    /// The region that shall have the primary [default: the best copy].
    #[arg(long, value_name = "REGION", default_value = "", hide_default_value = true)]
    pub(super) to: String,
    #[command(flatten)]
    pub(super) loss: Loss,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

/// What may be lost beyond the plan.
#[derive(Debug, clap::Args)]
pub(super) struct Loss {
    /// Let so much work be lost, in time: 30s; for this operation only, and for an approver to say [default: what the plan says].
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub(super) allow_data_loss: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// The operation: op-17.
    pub(super) operation: String,
    #[command(flatten)]
    pub(super) loss: Loss,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// The operation: op-17.
    pub(super) operation: String,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

fn length(text: &str) -> Result<Duration, String> {
    Duration::read(text).map_err(|problem| format!("{problem}; write {}", Duration::EXAMPLES))
}

fn full(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, end)| end)
}

impl Loss {
    fn wire(&self) -> Option<prost_types::Duration> {
        self.allow_data_loss.map(wire::duration_out)
    }

    fn text(&self) -> String {
        self.allow_data_loss.map(|loss| format!(", a loss of {} allowed", Human(loss))).unwrap_or_default()
    }
}

//--- What is so

/// `portolan recovery status`.
pub(super) async fn status(desk: &mut Desk<'_>, group: Option<&str>) -> Outcome {
    let mut all = desk.client().await?.list_groups(ListGroupsRequest {}).await?;
    if let Some(wanted) = group {
        all.groups.retain(|group| short(&group.name) == short(wanted));
        if all.groups.is_empty() {
            return Err(Failure::new(Exit::Usage, format!("the plan has no data group `{}`", plain(wanted))));
        }
    }
    let is_well = |group: &Group| !group.primary.is_empty() && group.operation.as_ref().is_none_or(|it| it.held.is_empty());
    let exit = if all.groups.iter().all(is_well) { Exit::Ok } else { Exit::Degraded };
    if desk.format.is_data() {
        desk.message("ListGroupsResponse", &all)?;
        return Ok(exit);
    }
    if all.groups.is_empty() {
        desk.print("the plan has no data groups\n")?;
    }
    for (n, group) in all.groups.iter().enumerate() {
        let gap = if n > 0 { "\n" } else { "" };
        let text = shown(desk, group);
        desk.print(&format!("{gap}{text}"))?;
    }
    Ok(exit)
}

fn shown(desk: &Desk<'_>, group: &Group) -> String {
    let name = plain(short(&group.name));
    let mut text = if group.primary.is_empty() {
        format!("{name}: no primary, {}\n", plain(&group.unadopted))
    } else {
        format!("{name}: primary {}, token {}, lease {}\n", plain(&group.primary), plain(&group.token), plain(&group.class))
    };
    let row = |member: &GroupMember| row(group, member);
    let table = Table {
        headings: [("REGION", 20), ("DATABASE", 16), ("AT", 22), ("SAID", 8), ("NOTES", 60)],
        rows: group.members.iter().map(row).collect(),
    };
    text.push_str(&table.render(desk.width(), desk.terminal.colour));
    if let Some(operation) = &group.operation {
        text.push_str(&described(operation));
    } else if let Some(latest) = &group.latest {
        let line = format!("last: {} {} from {}, {}\n", short(&latest.name), latest.kind, latest.from, latest.ending);
        text.push_str(&plain(line.trim_end()));
        text.push('\n');
    }
    text
}

fn row(group: &Group, member: &GroupMember) -> [Cell; 5] {
    let mut notes = Vec::new();
    let is_primary = member.region == group.primary;
    if is_primary {
        notes.push("holds the role".to_owned());
    }
    if !member.candidate {
        notes.push("never promoted".to_owned());
    }
    let Some(agent) = &member.agent else {
        return [
            member.region.clone().into(),
            Cell("unknown".to_owned(), Tone::Doubtful),
            "".to_owned().into(),
            "never".to_owned().into(),
            notes.join(", ").into(),
        ];
    };
    if !agent.follows.is_empty() {
        notes.push(format!("follows {}", agent.follows));
    }
    if !agent.trouble.is_empty() {
        notes.push(agent.trouble.clone());
    }
    let role = if agent.role.is_empty() { "unknown" } else { &agent.role };
    let tone = if is_primary == agent.writes && !agent.role.is_empty() && agent.trouble.is_empty() { Tone::Good } else { Tone::Doubtful };
    let at = match agent.position {
        Some(position) => format!("{}/{:X}/{:X}", agent.timeline, position >> 32, position & 0xFFFF_FFFF),
        None => "unknown".to_owned(),
    };
    let age = agent.age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    let text = |text: &str| plain(text);
    [
        text(&member.region).into(),
        Cell(text(role), tone),
        at.into(),
        format!("{}s ago", age.as_secs()).into(),
        text(&notes.join(", ")).into(),
    ]
}

fn described(operation: &Operation) -> String {
    let name = short(&operation.name);
    let mut text = format!("{name}: {} from {}, {}", operation.kind, operation.from, operation.phase);
    if !operation.chosen.is_empty() {
        text.push_str(&format!(", {} chosen, loss {}", operation.chosen, operation.loss));
    }
    text.push('\n');
    if !operation.held.is_empty() {
        text.push_str(&format!("held, {}: {}\n", operation.held, operation.held_because));
        text.push_str(&format!("next: portolan approve {name} --reason TEXT, or portolan cancel {name} --reason TEXT\n"));
    }
    text.lines().map(|line| format!("{}\n", plain(line))).collect()
}

//--- What people do

/// How a change ended.
fn done(desk: &mut Desk<'_>, what: &str, dry_run: bool, group: Option<&Group>, commit: Option<&Commit>) -> Outcome {
    if dry_run {
        desk.print(&format!("dry run: {what} would be accepted now; nothing was changed\n"))?;
        return Ok(Exit::Ok);
    }
    let operation = group.and_then(|group| group.operation.as_ref()).map(|it| format!(" [{}]", plain(short(&it.name)))).unwrap_or_default();
    desk.print(&format!("{what}{operation}{}\n", change::commit_note(commit)))?;
    desk.tell("see: portolan recovery status")?;
    Ok(Exit::Ok)
}

/// Asks, sends and shows. `grave`: what is typed to confirm it.
macro_rules! ordered {
    ($desk:ident, $args:ident, $what:expr, $grave:expr, $response:literal, $call:ident, $request:expr) => {{
        let client = $desk.client().await?;
        let what: String = $what;
        $args.change.confirm($desk, &client, &what, Some($grave)).await?;
        let request_id = if $args.change.dry_run { String::new() } else { $args.once.id($desk)? };
        let request = $request(request_id);
        let again = change::again(&request.request_id);
        let answer = client.$call(request).await.map_err(|error: ClientError| change::failed(error, &again))?;
        if $desk.format.is_data() {
            $desk.message($response, &answer)?;
            return Ok(Exit::Ok);
        }
        done($desk, &plain(&what), $args.change.dry_run, answer.group.as_ref(), answer.commit.as_ref())
    }};
}

pub(super) async fn adopt(desk: &mut Desk<'_>, args: &Adopt) -> Outcome {
    let what = format!("adopt {} with primary {}", short(&args.group), args.primary);
    ordered!(desk, args, what, &args.primary, "AdoptGroupResponse", adopt_group, |request_id| AdoptGroupRequest {
        name: full(GROUPS, &args.group),
        primary: args.primary.clone(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(super) async fn switchover(desk: &mut Desk<'_>, args: &Switchover) -> Outcome {
    let group = short(&args.group);
    let what = format!("switch {group} over to {}", args.to);
    ordered!(desk, args, what, group, "StartSwitchoverResponse", start_switchover, |request_id| StartSwitchoverRequest {
        name: full(GROUPS, &args.group),
        to: args.to.clone(),
        expected_token: String::new(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(super) async fn failover(desk: &mut Desk<'_>, args: &Failover) -> Outcome {
    let group = short(&args.group);
    let to = if args.to.is_empty() { "the best copy" } else { &args.to };
    let what = format!("fail {group} over to {to}{}", args.loss.text());
    ordered!(desk, args, what, group, "StartFailoverResponse", start_failover, |request_id| StartFailoverRequest {
        name: full(GROUPS, &args.group),
        to: args.to.clone(),
        allowed_loss: args.loss.wire(),
        expected_token: String::new(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(super) async fn approve(desk: &mut Desk<'_>, args: &Approve) -> Outcome {
    let name = short(&args.operation);
    let what = format!("approve {name}{}", args.loss.text());
    ordered!(desk, args, what, name, "ApproveOperationResponse", approve_operation, |request_id| ApproveOperationRequest {
        name: full(OPERATIONS, &args.operation),
        allowed_loss: args.loss.wire(),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}

pub(super) async fn cancel(desk: &mut Desk<'_>, args: &Cancel) -> Outcome {
    let name = short(&args.operation);
    ordered!(desk, args, format!("cancel {name}"), name, "CancelOperationResponse", cancel_operation, |request_id| CancelOperationRequest {
        name: full(OPERATIONS, &args.operation),
        validate_only: args.change.dry_run,
        request_id,
        reason: args.change.reason.clone(),
    })
}
