//! What the daemons say: every address that was given is asked, and the first that answers tells of the rest.

use portolan_core::node::report::{Severity, State, Status};

use super::Findings;
use crate::{
    api::{
        proto::{
            AuditPlace, Cluster, GetClusterRequest, ListFreezesRequest, ListMembersResponse, Member, VerifyAuditRequest, member::Role,
        },
        refusal::Reason,
    },
    cli::{advice, certificate, desk::Desk, orders, peers, render::text::plain, wire},
    client::{Client, ClientError, Target},
};

/// The most addresses that are asked one by one.
const ADDRESSES_MAX: usize = 16;
/// Wall clocks further apart make times of events hard to compare,
const CLOCK_WARNING_MS: i64 = 1000;
/// and further apart than this, ends of orders and lives of certificates are judged wrongly.
const CLOCK_FAILURE_MS: i64 = 10_000;
/// A node that lags by so many entries is catching up; by more, it is behind.
const LAG_WARNING: u64 = 1000;
/// Fewer than three voters survive no loss.
const VOTERS_MIN: u32 = 3;

/// Looks at everything that answers; whether anything did.
pub(super) async fn look(desk: &Desk<'_>, findings: &mut Findings) -> bool {
    let Some(client) = connectivity(desk, findings).await else { return false };
    let status = client.status(false).await;
    let members = cluster(&client, findings).await;
    clocks(desk, status.as_ref().ok(), members.as_ref(), findings);
    plan(&client, status.as_ref().ok(), members.as_ref(), findings).await;
    health(&client, status, findings).await;
    true
}

/// Asks each address for itself: the first that answers would hide those that do not.
async fn connectivity(desk: &Desk<'_>, findings: &mut Findings) -> Option<Client> {
    const GROUP: &str = "connectivity";
    let target = &desk.connection.target;
    if let Some(files) = &target.tls {
        match certificate::read(&files.cert_file) {
            Ok(shown) => findings.life(GROUP, "your certificate", &shown, desk.now()),
            Err(problem) => findings.fail(GROUP, problem, "name a file that can be read in `tls`"),
        }
    }
    let mut first = None;
    let one_by_one: Vec<Target> = match target.addresses.len() {
        0 => vec![target.clone()],
        _ => target
            .addresses
            .iter()
            .take(ADDRESSES_MAX)
            .map(|address| Target { addresses: vec![address.clone()], ..target.clone() })
            .collect(),
    };
    for one in &one_by_one {
        match Client::connect(one).await {
            Ok(client) => {
                findings.ok(GROUP, format!("{} answers", client.address()));
                first.get_or_insert(client);
            }
            Err(error) => findings.fail(GROUP, tried(&error), first_fix(&advice::failure(&error, one, desk.now()).message)),
        }
    }
    first
}

/// The address and the cause, without what is the same for all.
fn tried(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable(attempts) => {
            let lines: Vec<String> = attempts.iter().map(|attempt| format!("{}: {}", attempt.address, attempt.cause)).collect();
            lines.join("\n")
        }
        other => other.to_string(),
    }
}

fn first_fix(message: &str) -> String {
    let fix = message.lines().find_map(|line| line.strip_prefix("first fix: "));
    fix.unwrap_or("DNS answers go on from the last table; look at that node and at the path to it").to_owned()
}

async fn cluster(client: &Client, findings: &mut Findings) -> Option<ListMembersResponse> {
    const GROUP: &str = "cluster";
    let answer = match client.get_cluster(GetClusterRequest {}).await {
        Ok(answer) => answer,
        Err(ClientError::Refused(refusal)) if refusal.reason == Reason::NoCluster.word() => {
            findings.ok(GROUP, "this node runs on its own; there is no cluster to look at");
            return None;
        }
        Err(error) => {
            findings.fail(GROUP, error.to_string(), "see the log of that node");
            return None;
        }
    };
    quorum(&answer.cluster.unwrap_or_default(), findings);
    let leader = answer.freshness.as_ref().and_then(|freshness| freshness.leader.clone());
    match leader {
        Some(leader) => findings.ok(GROUP, format!("{} leads", plain(&leader))),
        None => findings.fail(
            GROUP,
            "no leader is known here: nothing can be committed",
            "see `portolan peers list` from each side; drain and weight work by --local, and DNS answers go on",
        ),
    }
    if let Some(halted) = answer.freshness.and_then(|freshness| freshness.halted) {
        findings.fail(GROUP, format!("the node applies nothing more: {}", plain(&halted)), "install the version that the other nodes run");
    }
    let members = match peers::members(client).await {
        Ok(members) => members,
        Err(failure) => {
            findings.fail(GROUP, failure.message, "see the log of that node");
            return None;
        }
    };
    nodes(&members.members, findings);
    Some(members)
}

fn quorum(cluster: &Cluster, findings: &mut Findings) {
    const GROUP: &str = "cluster";
    if let Some(reachable) = cluster.voters_reachable {
        let text = format!("voters reached {reachable}/{}", cluster.voters);
        let majority = cluster.voters / 2 + 1;
        if reachable < majority {
            findings.fail(GROUP, text, "bring voters back; only when they are gone for good: portolan peers force-quorum");
        } else if reachable < cluster.voters {
            findings.warn(GROUP, text, "bring them back, or replace them: portolan peers replace OLD NEW --reason TEXT");
        } else {
            findings.ok(GROUP, text);
        }
    }
    if cluster.voters < VOTERS_MIN {
        findings.warn(
            GROUP,
            format!("{} voters survive no loss", cluster.voters),
            "add voters until there are three, each in a region of its own",
        );
    } else if cluster.voters.is_multiple_of(2) {
        findings.warn(GROUP, format!("an even number of voters, {}, has no tie-breaker", cluster.voters), "add a witness in a third place");
    }
    if cluster.feature_level_supported < cluster.feature_level {
        findings.fail(GROUP, "this node is older than what the cluster agreed on", "install the version that the other nodes run");
    }
}

fn nodes(members: &[Member], findings: &mut Findings) {
    const GROUP: &str = "cluster";
    let newest = members.iter().filter_map(|member| member.matched_index).max().unwrap_or(0);
    let mut silent = 0;
    for member in members {
        let name = plain(&member.node);
        let role = peers::role_word(member.role());
        if member.reachable == Some(false) {
            silent += 1;
            let heard = member.last_contact.as_ref().map(|ago| peers::heard(wire::millis(ago)));
            let heard = heard.map_or_else(|| "never".to_owned(), |ago| format!("{ago} ago"));
            let text = format!("{role} {name} in {} is not reached; last heard {heard}", plain(&member.region));
            let fix = format!("is it up, and is {} open from here? portolan peers list", plain(&member.address));
            if member.role() == Role::Observer { findings.warn(GROUP, text, fix) } else { findings.fail(GROUP, text, fix) }
        }
        if let Some(index) = member.matched_index.filter(|index| newest.saturating_sub(*index) > LAG_WARNING) {
            findings.warn(GROUP, format!("{role} {name} is {} entries behind", newest - index), "look at its disk and at the path to it");
        }
    }
    let mut versions: Vec<String> = members.iter().map(|member| plain(&member.version)).filter(|version| !version.is_empty()).collect();
    versions.sort();
    versions.dedup();
    if versions.len() > 1 {
        findings.warn(
            GROUP,
            format!("nodes run several versions: {}", versions.join(", ")),
            "finish the upgrade, one node after the other",
        );
    }
    if silent == 0 {
        findings.ok(GROUP, format!("{} nodes are known, none is silent", members.len()));
    }
}

fn clocks(desk: &Desk<'_>, status: Option<&Status>, members: Option<&ListMembersResponse>, findings: &mut Findings) {
    const GROUP: &str = "clocks";
    let mut apart = |who: &str, offset_ms: i64| {
        let text = format!("{who} is {} from the node that answers", peers::offset_text(offset_ms));
        match offset_ms.abs() {
            CLOCK_FAILURE_MS.. => findings.fail(GROUP, text, "see to NTP there: ends of orders and certificates are judged by clocks"),
            CLOCK_WARNING_MS.. => findings.warn(GROUP, text, "see to NTP there"),
            _ => findings.ok(GROUP, text),
        }
    };
    if let Some(status) = status {
        apart("this machine", desk.now().0 - status.at.0);
    }
    for member in members.iter().flat_map(|members| &members.members) {
        if let Some(offset) = &member.clock_offset {
            apart(&plain(&member.node), wire::millis(offset));
        }
    }
}

async fn plan(client: &Client, status: Option<&Status>, members: Option<&ListMembersResponse>, findings: &mut Findings) {
    const GROUP: &str = "plan";
    if let Some(status) = status {
        findings.ok(GROUP, format!("{} runs revision {} ({})", plain(&status.node), status.revision, plain(&status.digest)));
        if let Some(members) = members {
            let told: Vec<&Member> = members.members.iter().filter(|member| member.plan_revision.is_some()).collect();
            let others: Vec<String> = told
                .iter()
                .filter(|member| member.plan_revision != Some(status.revision))
                .map(|member| format!("{} ({})", plain(&member.node), member.plan_revision.unwrap_or_default()))
                .collect();
            if others.is_empty() && !told.is_empty() {
                findings.ok(GROUP, format!("the same on {} nodes that told theirs", told.len()));
            } else if !others.is_empty() {
                let text = format!("another revision runs on {}", others.join(", "));
                findings.warn(GROUP, text, "wait a moment, and look again; a node that stays behind says why in its log");
            }
        }
    }
    if members.is_none() {
        return;
    }
    if let Ok(freezes) = client.list_freezes(ListFreezesRequest {}).await {
        let automation = freezes.freezes.iter().filter(|freeze| freeze.automation).count();
        if automation > 0 {
            findings.warn(GROUP, format!("{automation} freezes stop automatic failover"), "see `portolan freezes`");
        } else if !freezes.freezes.is_empty() {
            findings.ok(GROUP, format!("{} freezes are in force; automation goes on", freezes.freezes.len()));
        }
    }
}

async fn health(client: &Client, status: Result<Status, ClientError>, findings: &mut Findings) {
    const GROUP: &str = "health";
    match status {
        Err(error) => findings.fail(GROUP, error.to_string(), "wait until the node has its first table: portolan status"),
        Ok(status) => {
            let text = if status.headline.is_empty() {
                format!("{} is {}", plain(&status.plan), status.state.word())
            } else {
                status.headline.iter().map(|sentence| plain(sentence)).collect::<Vec<_>>().join("\n")
            };
            match status.state {
                State::Ok => findings.ok(GROUP, text),
                State::Starting => findings.warn(GROUP, text, "wait: portolan status --watch"),
                State::Degraded | State::Failing => findings.fail(GROUP, text, "portolan status names the next command"),
            }
            for notice in &status.notices {
                let text = format!("{} [{}]", plain(&notice.text), plain(&notice.kind));
                match notice.severity {
                    Severity::Info => findings.ok(GROUP, text),
                    Severity::Warning => findings.warn(GROUP, text, ""),
                    Severity::Critical => findings.fail(GROUP, text, ""),
                }
            }
        }
    }
    if let Ok(orders) = orders::list_all(client).await
        && !orders.overrides.is_empty()
    {
        findings.warn(
            GROUP,
            format!("{} orders of people are in force", orders.overrides.len()),
            "see `portolan overrides`: is each still wanted?",
        );
    }
    if let Ok(proof) = client.verify_audit(VerifyAuditRequest { known: None }).await {
        let head: AuditPlace = proof.head.unwrap_or_default();
        if proof.intact {
            findings.ok(GROUP, format!("the audit chain holds, {} links up to entry {}", proof.entries, head.index));
        } else {
            findings.fail(GROUP, format!("the audit chain is broken: {}", plain(&proof.problem)), "keep this node's disk as evidence");
        }
    }
}
