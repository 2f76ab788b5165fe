//! Data groups: who the primary is and what moves it (`recovery status`), the verbs of people ([`buttons`]), what they would do ([`rehearsal`]),
//! what became of them ([`watch()`], [`report()`]).

mod backups;
mod buttons;
mod evacuate;
mod outlook;
mod rehearsal;
mod report;
mod returns;
mod watch;

use std::time::Duration;

use portolan_core::{document::Word as _, model::time::Human};

pub(super) use backups::backups;
pub(super) use buttons::{
    adopt, approve, assert_fenced, cancel, failback, failover, reject, rejoin, release, retry, skip, switchover, turn,
};
pub(super) use evacuate::{Cancel, Evacuate, evacuate, evacuations};
pub(super) use outlook::{exposure, readiness, why};
pub(super) use report::report;
pub(super) use returns::{Advance, Return, advance, begin as bring_back, list as returns};
pub(super) use watch::watch;

use super::{
    Exit, Failure, Outcome,
    change::{Change, Once},
    desk::Desk,
    render::{
        table::{Cell, Table, Tone},
        text::plain,
    },
    wire,
};
use crate::{
    api::proto::{Group, GroupMember, ListGroupsRequest, Operation},
    client::{Client, ClientError},
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
    /// Whether data groups would be failed over now, and what is in the way; exits 3 when one would not be.
    Readiness {
        /// Only this one.
        group: Option<String>,
    },
    /// How backups stand against the plan, class by class; exits 3 when one fails, or nobody knows.
    Backups {
        /// Only this class.
        class: Option<String>,
    },
    /// What each region would lose if the primary were lost now; exits 3 when that is above `rpo_target`, or unknown.
    Exposure {
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
    /// Do exactly what --dry-run showed under this id, or nothing [default: whatever it would be now].
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) plan: String,
    #[command(flatten)]
    pub(super) expected: Expected,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Failback {
    /// The data group.
    pub(super) group: String,
    /// Do exactly what --dry-run showed under this id, or nothing [default: whatever it would be now].
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) plan: String,
    #[command(flatten)]
    pub(super) expected: Expected,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rejoin {
    /// The data group.
    pub(super) group: String,
    /// The region of the member.
    #[arg(long, value_name = "REGION")]
    pub(super) region: String,
    /// Let its data directory be removed when a new copy of the primary is whole; for an approver to say, and needs --reason.
    #[arg(long, requires = "reason")]
    pub(super) reclone: bool,
    /// Why, in one line; audit, pages and `status` show it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// Judge it only: same checks, same refusals, and nothing is changed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Ask nothing; for scripts. It bypasses no refusal.
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
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
    /// Answer in your own name for it that the database of this region, the primary's, is stopped; its lease is waited for all the same; for an
    /// approver to say.
    #[arg(long, value_name = "REGION", default_value = "", hide_default_value = true)]
    pub(super) assert_fenced: String,
    /// Do exactly what --dry-run showed under this id, or nothing [default: whatever it would be now].
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) plan: String,
    #[command(flatten)]
    pub(super) expected: Expected,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

/// As what somebody saw a group.
#[derive(Debug, clap::Args)]
pub(super) struct Expected {
    /// Only while this is the group's token, as `recovery status` shows it; else nothing is done [default: whatever it is now].
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(super) expected_epoch: String,
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

/// What is done about one operation.
#[derive(Debug, clap::Args)]
pub(super) struct About {
    /// The operation: op-17.
    pub(super) operation: String,
    #[command(flatten)]
    pub(super) change: Change,
    #[command(flatten)]
    pub(super) once: Once,
}

#[derive(Debug, clap::Args)]
pub(super) struct AssertFenced {
    #[command(flatten)]
    pub(super) about: About,
    /// The region of the old primary.
    #[arg(long, value_name = "REGION")]
    pub(super) region: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// The operation: op-17, the evacuation: evac-17, or the return of traffic: return-17.
    pub(super) operation: String,
    /// Only what was committed after this entry, whose number stands in front of each line.
    #[arg(long, value_name = "ENTRY", default_value_t = 0, hide_default_value = true)]
    pub(super) after: u64,
}

fn length(text: &str) -> Result<Duration, String> {
    Duration::read(text).map_err(|problem| format!("{problem}; write {}", Duration::EXAMPLES))
}

/// The next message of a stream, or why it is lost and is to be opened again.
///
/// # Errors
/// It cannot be followed any more.
fn received<M>(client: &Client, next: Result<Option<M>, ClientError>) -> Result<Result<M, String>, Failure> {
    match next {
        Ok(Some(message)) => Ok(Ok(message)),
        Ok(None) | Err(ClientError::Unreachable(_)) => Ok(Err(format!("{} went away", plain(client.address())))),
        Err(ClientError::Refused(refusal)) if refusal.code == tonic::Code::Unavailable => Ok(Err(refusal.to_string())),
        Err(error) => Err(error.into()),
    }
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
        for aside in &latest.put_aside {
            text.push_str(&plain(&format!("{} had alone, and put aside: {}", aside.region, aside.text)));
            text.push('\n');
        }
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
    if !agent.doubt.is_empty() {
        notes.push(format!("the end of its lease proves nothing: {}", agent.doubt));
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
        text.push_str(&format!("next: {}\n", ways_on(operation).join(", or ")));
    }
    text.lines().map(|line| format!("{}\n", plain(line))).collect()
}

/// What ends what holds an operation, the likeliest first.
fn ways_on(operation: &Operation) -> Vec<String> {
    let verbs = match operation.held.as_str() {
        "APPROVAL" => ["approve", "reject"],
        "SWITCHOVER_UNANSWERED" => ["turn", "cancel"],
        "FENCE_UNPROVEN" => ["assert-fenced", "cancel"],
        "RPO_GATE" | "QUORUM_UNSEEN" | "BELOW_FLOOR" => ["approve", "cancel"],
        "VALIDATION" => ["retry-step", "skip-step"],
        _ => ["retry-step", "cancel"],
    };
    let (name, from) = (plain(short(&operation.name)), plain(&operation.from));
    let commands = verbs.map(|verb| {
        let more = match (verb, operation.held.as_str()) {
            ("assert-fenced", _) => format!(" --region {from}"),
            ("approve", "RPO_GATE" | "QUORUM_UNSEEN" | "BELOW_FLOOR") => " --allow-data-loss TIME".to_owned(),
            _ => String::new(),
        };
        let meaning = match verb {
            // Before the point of no return it is what was decided against that gets the role again.
            "cancel" => format!(" ({from} gets its lease back)"),
            _ => String::new(),
        };
        format!("portolan {verb} {name}{more} --reason TEXT{meaning}")
    });
    let wait = match operation.held.as_str() {
        "RPO_GATE" => Some("wait: it stays held, and nothing is promoted".to_owned()),
        "QUORUM_UNSEEN" | "BELOW_FLOOR" => Some("bring a copy back that is missing: it goes on by itself".to_owned()),
        _ => None,
    };
    commands.into_iter().chain(wait).collect()
}
