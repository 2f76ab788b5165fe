//! `portolan peers`: the nodes, who votes and who leads; and changes of that, which are the gravest there are.

use std::time::Duration;

use super::{
    Exit, Failure, Outcome,
    change::{self, Change},
    desk::Desk,
    render::{
        table::{Cell, Table, Tone},
        text::{age, plain},
    },
    wire,
};
use crate::{
    api::proto::{
        AddMemberRequest, BootstrapRequest, Cluster, ForceQuorumRequest, GetClusterRequest, ListMembersRequest, ListMembersResponse,
        Member, RemoveMemberRequest, ReplaceMemberRequest, TransferLeaderRequest, member::Role,
    },
    client::Client,
};

/// The most pages of nodes: the registry keeps two thousand.
const PAGES_MAX: usize = 4;
/// What resource names of nodes begin with.
const COLLECTION: &str = "members/";
/// What to do when a change of the membership did not come back: it has no request id.
const LOOK: &str = "look at `portolan peers list` before you try again";

#[derive(Debug, clap::Subcommand)]
pub(super) enum PeersVerb {
    /// Who votes, who leads, who is reached, who is behind.
    List,
    /// Hand leadership to another voter; changes wait for a moment, answers do not.
    Transfer {
        /// The node; left out: whoever has caught up.
        #[arg(default_value = "", hide_default_value = true)]
        node: String,
        #[command(flatten)]
        change: Change,
    },
    /// Make a node a voter; it learns the log first, and counts for the majority from then on.
    Add {
        /// The node, by name or `members/ID`.
        node: String,
        #[command(flatten)]
        change: Change,
    },
    /// Take a node out of the membership; the majority is of those that are left.
    Remove {
        /// The node, by name or `members/ID`.
        node: String,
        #[command(flatten)]
        change: Change,
    },
    /// Put one node in the place of another in one step, so that the number of voters stays.
    Replace {
        /// The one that leaves.
        node: String,
        /// The one that comes.
        replacement: String,
        #[command(flatten)]
        change: Change,
    },
    /// Make the cluster from this node, now, instead of by the lowest name; all of `peers` must be there, and empty.
    Bootstrap {
        #[command(flatten)]
        change: Change,
    },
    /// Go on without a majority that is lost for good; may lose acknowledged commands; needs --socket.
    ForceQuorum(ForceQuorum),
}

#[derive(Debug, clap::Args)]
pub(super) struct ForceQuorum {
    /// Every lost voter, by name or `members/ID`; they are refused for ever.
    #[arg(long, required = true, value_name = "NODE", value_delimiter = ',', num_args = 1..)]
    pub(super) lost: Vec<String>,
    /// The generation that you saw in `peers list`; required with --yes, so that it is not done twice.
    #[arg(long, value_name = "N", required_if_eq("yes", "true"))]
    pub(super) expected_generation: Option<u64>,
    /// The id of the cluster; required with --yes, else it is asked for.
    #[arg(long, value_name = "ID", required_if_eq("yes", "true"))]
    pub(super) cluster: Option<String>,
    #[command(flatten)]
    pub(super) change: Change,
}

pub(super) async fn run(desk: &mut Desk<'_>, verb: Option<&PeersVerb>) -> Outcome {
    let client = desk.client().await?;
    match verb {
        None | Some(PeersVerb::List) => list(desk, &client).await,
        Some(PeersVerb::Transfer { node, change }) => {
            let to = if node.is_empty() { "whoever has caught up" } else { node };
            change.confirm(desk, &client, &format!("hand leadership to {to}"), None).await?;
            let (validate_only, reason) = (change.dry_run, change.reason.clone());
            let request = TransferLeaderRequest { member: node.clone(), validate_only, reason };
            let done = client.transfer_leader(request).await.map_err(|error| change::failed(error, LOOK))?;
            if desk.format.is_data() {
                desk.message("TransferLeaderResponse", &done)?;
                return Ok(Exit::Ok);
            }
            let text = match (change.dry_run, done.leader.as_str()) {
                (true, _) => format!("dry run: handing leadership to {} would be accepted now; nothing was changed\n", plain(to)),
                (false, "") => "leadership was given up; nobody leads yet: portolan peers list\n".to_owned(),
                (false, leader) => format!("{} leads\n", plain(leader)),
            };
            desk.print(&text)?;
            Ok(Exit::Ok)
        }
        Some(PeersVerb::Add { node, change }) => {
            change.confirm(desk, &client, &format!("make {node} a voter"), None).await?;
            let request = AddMemberRequest { member: node.clone(), validate_only: change.dry_run, reason: change.reason.clone() };
            let done = client.add_member(request).await.map_err(|error| change::failed(error, LOOK))?;
            voters(desk, "AddMemberResponse", &done, change, &format!("making {node} a voter"), &done.voters)
        }
        Some(PeersVerb::Remove { node, change }) => {
            change.confirm(desk, &client, &format!("take {node} out of the membership"), Some(node)).await?;
            let request = RemoveMemberRequest { member: node.clone(), validate_only: change.dry_run, reason: change.reason.clone() };
            let done = client.remove_member(request).await.map_err(|error| change::failed(error, LOOK))?;
            voters(desk, "RemoveMemberResponse", &done, change, &format!("taking {node} out"), &done.voters)
        }
        Some(PeersVerb::Replace { node, replacement, change }) => {
            change.confirm(desk, &client, &format!("put {replacement} in the place of {node}"), Some(node)).await?;
            let request = ReplaceMemberRequest {
                member: node.clone(),
                replacement: replacement.clone(),
                validate_only: change.dry_run,
                reason: change.reason.clone(),
            };
            let done = client.replace_member(request).await.map_err(|error| change::failed(error, LOOK))?;
            voters(desk, "ReplaceMemberResponse", &done, change, &format!("putting {replacement} in the place of {node}"), &done.voters)
        }
        Some(PeersVerb::Bootstrap { change }) => {
            change.confirm(desk, &client, "make the cluster from this node, with all nodes of `peers` as its first voters", None).await?;
            let request = BootstrapRequest { validate_only: change.dry_run, reason: change.reason.clone() };
            let done = client.bootstrap(request).await.map_err(|error| change::failed(error, LOOK))?;
            voters(desk, "BootstrapResponse", &done, change, "making the cluster", &done.voters)
        }
        Some(PeersVerb::ForceQuorum(args)) => force_quorum(desk, &client, args).await,
    }
}

/// How a change of who votes ended.
fn voters(desk: &mut Desk<'_>, name: &str, done: &impl prost::Message, change: &Change, what: &str, voters: &[String]) -> Outcome {
    if desk.format.is_data() {
        desk.message(name, done)?;
        return Ok(Exit::Ok);
    }
    let names: Vec<String> = voters.iter().map(|name| plain(name)).collect();
    let text = if change.dry_run {
        format!("dry run: {} would be accepted now; nothing was changed\n", plain(what))
    } else {
        format!("done: {}; voters now: {}\n", plain(what), names.join(", "))
    };
    desk.print(&text)?;
    Ok(Exit::Ok)
}

async fn force_quorum(desk: &mut Desk<'_>, client: &Client, args: &ForceQuorum) -> Outcome {
    let cluster = client.get_cluster(GetClusterRequest {}).await?.cluster.unwrap_or_default();
    let what = format!(
        "go on without {}: these nodes are refused for ever, and what only they had on disk is lost.\n\
         Be sure that they are gone for good: power them off first. The cluster is {}, generation {}.",
        args.lost.join(", "),
        plain(&cluster.id),
        cluster.generation
    );
    args.change.confirm(desk, client, &what, Some(&cluster.id)).await?;
    let request = ForceQuorumRequest {
        lost: args.lost.clone(),
        expected_generation: Some(args.expected_generation.unwrap_or(cluster.generation)),
        cluster: args.cluster.clone().unwrap_or(cluster.id),
        validate_only: args.change.dry_run,
        reason: args.change.reason.clone(),
    };
    let done = client.force_quorum(request).await.map_err(|error| change::failed(error, LOOK))?;
    let text = format!("going on without {} as generation {}", args.lost.join(", "), done.generation);
    voters(desk, "ForceQuorumResponse", &done, &args.change, &text, &done.voters)
}

async fn list(desk: &mut Desk<'_>, client: &Client) -> Outcome {
    let members = members(client).await?;
    if desk.format.is_data() {
        desk.message("ListMembersResponse", &members)?;
        return Ok(Exit::Ok);
    }
    let answer = client.get_cluster(GetClusterRequest {}).await?;
    let cluster = answer.cluster.unwrap_or_default();
    let table = render(&members.members, desk.width(), desk.terminal.colour);
    desk.print(&format!("{}{table}{}", head(&cluster), wire::behind(members.freshness.as_ref())))?;
    Ok(Exit::Ok)
}

/// Every node, page by page.
pub(super) async fn members(client: &Client) -> Result<ListMembersResponse, Failure> {
    let mut all = client.list_members(ListMembersRequest::default()).await?;
    for _ in 0..PAGES_MAX {
        if all.next_page_token.is_empty() {
            break;
        }
        let page = client.list_members(ListMembersRequest { page_size: 0, page_token: all.next_page_token.clone() }).await?;
        all.members.extend(page.members);
        all.next_page_token = page.next_page_token;
    }
    Ok(all)
}

fn head(cluster: &Cluster) -> String {
    let reachable = cluster.voters_reachable.map_or_else(|| "?".to_owned(), |reachable| reachable.to_string());
    let refused = if cluster.nodes_refused == 0 { String::new() } else { format!("   {} refused for ever", cluster.nodes_refused) };
    let plan = cluster.plan_revision.map_or_else(|| "no plan".to_owned(), |revision| format!("plan revision {revision}"));
    format!(
        "{}   generation {}   voters reached {reachable}/{}   {plan}   feature level {}{refused}\n",
        plain(&cluster.id),
        cluster.generation,
        cluster.voters,
        cluster.feature_level
    )
}

/// `width`: of a terminal, where addresses are left whole and what is rarely asked for is left out; `None`: everything.
fn render(members: &[Member], width: Option<usize>, colour: bool) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let usual = |member: &Member| -> [Cell; 7] {
        let reached = match member.reachable {
            Some(true) => Cell("yes".to_owned(), Tone::Good),
            Some(false) => Cell("NO".to_owned(), Tone::Bad),
            None => "-".to_owned().into(),
        };
        let heard = member.last_contact.as_ref().map_or_else(|| "-".to_owned(), |ago| heard(wire::millis(ago)));
        let clock = member.clock_offset.as_ref().map_or_else(|| "-".to_owned(), |offset| offset_text(wire::millis(offset)));
        [
            plain(&member.node).into(),
            plain(&member.region).into(),
            format!("{}{}", role_word(member.role()), if member.leader { ", leads" } else { "" }).into(),
            reached,
            heard.into(),
            clock.into(),
            number(member.plan_revision).into(),
        ]
    };
    let [node, region, role, reached, heard, clock, plan] =
        [("NODE", 16), ("REGION", 14), ("ROLE", 14), ("REACHED", 7), ("HEARD", 6), ("CLOCK", 7), ("PLAN", 6)];
    if width.is_some() {
        let row = |member: &Member| {
            let [a, b, c, d, e, f, g] = usual(member);
            [a, b, c, d, e, f, g, plain(&member.address).into()]
        };
        let headings = [node, region, role, reached, heard, clock, plan, ("ADDRESS", 99)];
        return Table { headings, rows: members.iter().map(row).collect() }.render(width, colour);
    }
    let row = |member: &Member| {
        let [a, b, c, d, e, f, g] = usual(member);
        let version = if member.version.is_empty() { "-".to_owned() } else { plain(&member.version) };
        [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            number(member.matched_index).into(),
            version.into(),
            plain(&member.address).into(),
            plain(id_of(member)).into(),
        ]
    };
    let headings =
        [node, region, role, reached, heard, clock, plan, ("ENTRY", 7), ("VERSION", 8), ("ADDRESS", usize::MAX), ("ID", usize::MAX)];
    Table { headings, rows: members.iter().map(row).collect() }.render(None, colour)
}

/// How long ago.
pub(super) fn heard(millis: i64) -> String {
    let millis = u64::try_from(millis).unwrap_or(0);
    if millis < 1000 { format!("{millis}ms") } else { age(Duration::from_millis(millis)) }
}

/// How far a clock is ahead (+) or behind (-).
pub(super) fn offset_text(millis: i64) -> String {
    let sign = if millis < 0 { '-' } else { '+' };
    let size = millis.unsigned_abs();
    if size < 1000 { format!("{sign}{size}ms") } else { format!("{sign}{}.{}s", size / 1000, size % 1000 / 100) }
}

fn id_of(member: &Member) -> &str {
    member.name.strip_prefix(COLLECTION).unwrap_or(&member.name)
}

pub(super) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Voter => "voter",
        Role::Witness => "witness",
        Role::Learner => "learner",
        Role::Observer => "observer",
    }
}
