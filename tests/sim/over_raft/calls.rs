//! What processes ask each other: Raft's calls, commands on their way to the leader, and the state for those who do not vote. As the daemon
//! does it, without its sockets.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use portolan::raft::{Call, Follower, Lane, Member, ProposeError, Reply, Step, Transport, Undelivered};
use portolan_core::cluster::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::{
    agreement::Fact,
    desk::{Answer, Desk, Parcel, Question, Told, Way},
};

/// How long a command is tried, how long one attempt, and between attempts: the daemon's.
const TRY_FOR: Duration = Duration::from_secs(8);
const ATTEMPT_MAX: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);

/// How often a follower hears that nothing is new.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The machine behind a member's address.
pub(crate) fn machine(member: &Member) -> Option<usize> {
    machine_at(&member.address)
}

fn machine_at(address: &str) -> Option<usize> {
    address.strip_prefix('m')?.parse().ok()
}

/// The address of a machine.
pub(crate) fn address(station: usize) -> String {
    format!("m{station}")
}

/// The consensus' way to its peers.
#[derive(Debug)]
pub(crate) struct Port(pub(crate) Arc<Desk>);

#[async_trait]
impl Transport for Port {
    async fn call(&self, to: u64, member: &Member, lane: Lane, call: Call, body: Vec<u8>, limit: Duration) -> Answer {
        let desk = &self.0;
        let station = machine(member).ok_or_else(|| Undelivered::Refused(format!("{member} is nowhere")))?;
        if call == Call::Vote {
            // Whoever stands for election has voted for itself.
            if let Some(vote) = vote_in(&body) {
                desk.tell(Fact::Stands { id: desk.id, vote });
            }
        }
        if call == Call::PreVote && desk.grants_pre_votes {
            return Ok(granted(&body));
        }
        let way = match lane {
            Lane::Log => Way::Log,
            Lane::Heartbeat => Way::Heartbeat,
            Lane::Snapshot => Way::Snapshot,
        };
        let question = Question::Raft { from: desk.id, to, generation: desk.state().generation(), call, body: body.into() };
        desk.ask(station, way, question, limit).await
    }
}

/// The vote in a call or an answer: (term, node).
fn vote_in(body: &[u8]) -> Option<(u64, u64)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let leader = value.get("vote")?.get("leader_id")?;
    Some((leader.get("term")?.as_u64()?, leader.get("node_id")?.as_u64()?))
}

fn is_granted(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|value| value.get("vote_granted").and_then(Value::as_bool) == Some(true))
}

/// A "yes" to this question for a vote.
fn granted(body: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let answer = serde_json::json!({ "vote": value.get("vote"), "vote_granted": true, "last_log_id": value.get("last_log_id") });
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// What a leader says to a command that another node hands over.
#[derive(Debug, Serialize, Deserialize)]
enum Proposed {
    Done(Reply),
    NotLeader,
    Unknown,
    Refused(String),
}

/// Whether somebody leads, and who is a member, as one node knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) has_leader: bool,
    pub(crate) members: Vec<u64>,
}

/// Answers one question of another process.
pub(crate) async fn answer(desk: Arc<Desk>, from: usize, id: u64, by: u64, question: Question) {
    let nobody = || Err(Undelivered::Refused("it takes no part".to_owned()));
    let (way, answer) = match question {
        Question::Raft { from, to, generation, call, body } => {
            let way = match call {
                Call::Snapshot => Way::Snapshot,
                _ => Way::Log,
            };
            (way, raft(&desk, from, to, generation, call, &body).await)
        }
        Question::Propose(octets) => {
            let Some(consensus) = desk.consensus() else { return };
            let proposed = match consensus.propose_octets(octets.to_vec()).await {
                Ok(reply) => Proposed::Done(reply),
                Err(ProposeError::NotLeader(_) | ProposeError::Stopped(_)) => Proposed::NotLeader,
                Err(ProposeError::Unknown) => Proposed::Unknown,
                Err(error) => Proposed::Refused(error.to_string()),
            };
            (Way::Command, Ok(serde_json::to_vec(&proposed).unwrap()))
        }
        Question::Greet => {
            let (consensus, state) = (desk.consensus().filter(|_| desk.is_member()), desk.state());
            let greeting = match consensus {
                Some(consensus) => {
                    let members = consensus.members();
                    let members = members.voters.into_keys().chain(members.learners.into_keys()).collect();
                    Some(Greeting { has_leader: desk.leads().is_some(), members })
                }
                // Who takes no part knows who votes, while it hears of a leader.
                None => desk.heard_leader().map(|_| Greeting { has_leader: true, members: state.voters().map(|node| node.id.0).collect() }),
            };
            (Way::Command, greeting.map_or_else(nobody, |it| Ok(serde_json::to_vec(&it).unwrap())))
        }
        Question::Follow { next, generation, stream } => {
            if let Some(consensus) = desk.consensus().filter(|_| desk.is_member()) {
                desk.begin_stream(from, stream);
                let next = if generation < desk.state().generation() { 0 } else { next };
                feed(&desk, from, stream, consensus.follow(next)).await;
            } else {
                let state = desk.state();
                let voters = state.voters().filter_map(|node| machine_at(&node.address)).collect();
                desk.post(from, Way::Stream, Parcel::Tell { stream, after: next, told: Told::Elsewhere { voters } });
            }
            return;
        }
    };
    desk.post(from, way, Parcel::Answer { id, by, answer });
}

/// A call of Raft, if it is for this node and from one that is talked to.
async fn raft(desk: &Desk, from: u64, to: u64, generation: u64, call: Call, body: &[u8]) -> Answer {
    let refused = |why: &str| Err(Undelivered::Refused(why.to_owned()));
    let Some(consensus) = desk.consensus().filter(|_| to == desk.id) else { return refused("here is another node") };
    let state = desk.state();
    if state.is_refused(NodeId(from)) || generation < state.generation() {
        return refused("it was left behind");
    }
    if call == Call::TransferLeader {
        desk.tell(Fact::AskedToLead { id: desk.id });
    }
    let answer = consensus.receive(call, body).await?;
    if matches!(call, Call::Append | Call::Snapshot) {
        desk.is_led();
    }
    if is_granted(&answer) {
        let vote = vote_in(body).unwrap_or_default();
        match call {
            Call::Vote => desk.tell(Fact::Voted { voter: desk.id, vote }),
            Call::PreVote => desk.tell(Fact::WouldVote { candidate: from }),
            _ => {}
        }
    }
    Ok(answer)
}

/// Tells the world of every entry that this process applies.
pub(crate) async fn listen(desk: Arc<Desk>, mut follower: Follower) {
    while let Some(step) = follower.step().await {
        desk.tell(match step {
            Step::Entry(fed) => Fact::Applied { index: fed.index, octets: fed.octets },
            Step::Snapshot { next, .. } => Fact::Restored { next },
        });
    }
}

/// Feeds one follower until it begins another stream.
async fn feed(desk: &Desk, to: usize, stream: u64, mut follower: Follower) {
    let mut progress = interval(PROGRESS_EVERY);
    let mut after = follower.next_index();
    loop {
        let told = tokio::select! {
            biased;
            step = follower.step() => match step {
                Some(Step::Snapshot { next, octets }) => Told::Snapshot { next, octets },
                Some(Step::Entry(fed)) => Told::Entry { index: fed.index, octets: fed.octets },
                None => return,
            },
            _ = progress.tick() => {
                let Some(consensus) = desk.consensus().filter(|_| desk.is_member()) else { return };
                Told::Progress { leader: consensus.leadership().leader.and_then(|(_, member)| machine(&member)) }
            }
        };
        if !desk.is_latest(to, stream) {
            return;
        }
        desk.post(to, Way::Stream, Parcel::Tell { stream, after, told });
        after = follower.next_index();
    }
}

/// What came of a command.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Committed(Reply),
    Never,
    Unknown,
}

enum Attempt {
    Done(Reply),
    NotTaken,
    Doubtful,
    Refused,
}

/// Hands a command to the leader, wherever it is, again and again.
pub(crate) async fn propose(desk: Arc<Desk>, octets: Arc<[u8]>, may_repeat: bool) -> Outcome {
    let until = Instant::now() + TRY_FOR;
    let mut in_doubt = false;
    loop {
        match attempt(&desk, &octets).await {
            Attempt::Done(reply) => return Outcome::Committed(reply),
            Attempt::Refused => return Outcome::Never,
            Attempt::NotTaken => {}
            Attempt::Doubtful => in_doubt = true,
        }
        if Instant::now() >= until || in_doubt && !may_repeat {
            return if in_doubt { Outcome::Unknown } else { Outcome::Never };
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(desk: &Desk, octets: &Arc<[u8]>) -> Attempt {
    let consensus = desk.consensus().filter(|_| desk.is_member());
    let leader = match &consensus {
        Some(consensus) if consensus.leadership().is_leader => {
            return match timeout(ATTEMPT_MAX, consensus.propose_octets(octets.to_vec())).await {
                Ok(Ok(reply)) => Attempt::Done(reply),
                Ok(Err(ProposeError::NotLeader(_) | ProposeError::Stopped(_))) => Attempt::NotTaken,
                Ok(Err(ProposeError::Unknown)) | Err(_) => Attempt::Doubtful,
                Ok(Err(_)) => Attempt::Refused,
            };
        }
        Some(consensus) => consensus.leadership().leader.and_then(|(_, member)| machine(&member)),
        None => desk.heard_leader(),
    };
    let Some(leader) = leader else { return Attempt::NotTaken };
    match desk.ask(leader, Way::Command, Question::Propose(Arc::clone(octets)), ATTEMPT_MAX).await {
        Ok(answer) => match serde_json::from_slice(&answer) {
            Ok(Proposed::Done(reply)) => Attempt::Done(reply),
            Ok(Proposed::NotLeader) => Attempt::NotTaken,
            Ok(Proposed::Unknown) | Err(_) => Attempt::Doubtful,
            Ok(Proposed::Refused(_)) => Attempt::Refused,
        },
        Err(Undelivered::Refused(_)) => Attempt::NotTaken,
        Err(Undelivered::Unreachable(_)) => Attempt::Doubtful,
    }
}
