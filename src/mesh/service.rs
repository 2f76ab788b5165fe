//! The calls of peers: who calls is looked at first, then the host is asked.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{StreamExt as _, iter};
use portolan_core::{cluster::limits, model::ids::Label};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

use super::{
    Address, Followed, Greeting, Passport, Proposed, Voter,
    identity::{From, is_name},
    links::{Inner, QUEUE},
    proto::{
        AskRequest, AskResponse, Caller, Elsewhere, Entry, FollowRequest, FollowResponse, GreetRequest, GreetResponse, ObserveFrame,
        OrderRequest, OrderResponse, Progress, ProposeRequest, ProposeResponse, RaftRequest, RaftResponse, SnapshotPart,
        Voter as VoterMessage, follow_response::Message, observe_frame::Frame, peer_service_server::PeerService,
        propose_response::Result as ProposeResult,
    },
    stream::{hello, read_hello},
};
use crate::net::{accept::Peer, names::Names};

/// The longest message between nodes, in octets: a snapshot, every quote in it written as two.
pub(super) const MESSAGE_OCTETS_MAX: usize = 2 * limits::SNAPSHOT_OCTETS_MAX;
/// The metadata of a refusal that is for good: the caller was named as lost when a later recovery generation began.
pub(super) const LEFT_BEHIND: &str = "portolan-left-behind";
/// The longest frame of what nodes see, in octets: two thousand statements with their details, twice.
pub(super) const OBSERVE_OCTETS_MAX: usize = 2 * 1024 * 1024;
/// A part of a snapshot for followers, in octets: the buffer that it is encoded in stays as long as the follower does.
const SNAPSHOT_PART_OCTETS: usize = 4 * 1024;
/// Voters that a node which does not vote tells of; more than any cluster has.
const TOLD_VOTERS_MAX: usize = 64;
/// The same refusal is logged once in this time.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// Refusals that are remembered for that.
const COMPLAINTS_MAX: usize = 64;

/// The service of one node.
pub(super) struct PeerApi {
    pub(super) inner: Arc<Inner>,
    /// Under which host the address book has each node, for certificates that bear hosts.
    pub(super) hosts: BTreeMap<Label, String>,
    pub(super) complaints: Mutex<BTreeMap<String, Instant>>,
}

impl PeerApi {
    /// Who calls, if it may.
    fn admit<T>(&self, request: &Request<T>, caller: Option<Caller>, from: From) -> Result<Passport, Status> {
        let peer = request.extensions().get::<Peer>();
        let admitted = self.judge(peer, caller, from);
        if let Err(why) = &admitted {
            let address = peer.map_or_else(String::new, |peer| peer.origin.to_string());
            self.complain(&format!("{address}: {}", why.message()));
        }
        admitted
    }

    fn judge(&self, peer: Option<&Peer>, caller: Option<Caller>, from: From) -> Result<Passport, Status> {
        let refuse = |why: &dyn std::fmt::Display| Status::failed_precondition(why.to_string());
        let them = Passport::read(caller).map_err(|why| refuse(&why))?;
        if let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) {
            let names = Names::of(certificate);
            let host = self.hosts.get(&them.node).map(String::as_str);
            if !names.is_of(them.node.as_str(), host) {
                let why = format!(
                    "the certificate is of {names}, and the call says that it comes from node `{}`; give each node a certificate with its \
                     name as a DNS name, or with a URI that ends in /node/{}",
                    them.node, them.node
                );
                return Err(Status::permission_denied(why));
            }
        }
        let host = &self.inner.host;
        if let Some(why) = host.refuses(them.id) {
            let mut status = refuse(&why);
            // So that it need not read a sentence to know that it has no say any more.
            status.metadata_mut().insert(LEFT_BEHIND, MetadataValue::from_static("true"));
            return Err(status);
        }
        host.passport().admit(&them, from).map_err(|why| refuse(&why))?;
        Ok(them)
    }

    fn complain(&self, what: &str) {
        let mut known = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| since.elapsed() < COMPLAINT_EVERY);
        if known.len() < COMPLAINTS_MAX && known.insert(what.to_owned(), Instant::now()).is_none() {
            tracing::warn!("a call of a peer was refused: {what}");
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PeerService for PeerApi {
    async fn greet(&self, mut request: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        let caller = request.get_mut().caller.take();
        let them = self.admit(&request, caller, From::Anybody)?;
        Ok(Response::new(greeting(self.inner.host.greeting(request.get_ref().founds.then_some(&them)))))
    }

    async fn raft(&self, mut request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        let caller = request.get_mut().caller.take();
        let them = self.admit(&request, caller, From::MayAdopt)?;
        let RaftRequest { to, call, body, .. } = request.into_inner();
        let ours = self.inner.host.passport().id;
        if to != ours {
            let why = format!(
                "this is node {ours:016x}, and the call is for {to:016x}: its disk was replaced, or the address went to another node"
            );
            return Err(Status::failed_precondition(why));
        }
        let body = self.inner.host.raft(&them, call, body).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(RaftResponse { body: body.into() }))
    }

    async fn propose(&self, mut request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        let caller = request.get_mut().caller.take();
        self.admit(&request, caller, From::Members)?;
        let result = match self.inner.host.propose(request.into_inner().entry).await {
            Proposed::Done(reply) => ProposeResult::Reply(reply),
            Proposed::NotLeader(leader) => ProposeResult::Leader(leader.unwrap_or(0)),
            Proposed::Refused(why) => ProposeResult::Refused(why),
            Proposed::Unknown => ProposeResult::Unknown(true),
        };
        Ok(Response::new(ProposeResponse { result: Some(result) }))
    }

    async fn order(&self, mut request: Request<OrderRequest>) -> Result<Response<OrderResponse>, Status> {
        let caller = request.get_mut().caller.take();
        self.admit(&request, caller, From::Members)?;
        let done = self.inner.host.order(request.into_inner().order).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(OrderResponse { done: done.into() }))
    }

    async fn ask(&self, mut request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        let caller = request.get_mut().caller.take();
        self.admit(&request, caller, From::Members)?;
        let answer = self.inner.host.ask(request.into_inner().question).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(AskResponse { answer: answer.into() }))
    }

    type FollowStream = Answers<FollowResponse>;

    async fn follow(&self, mut request: Request<FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let caller = request.get_mut().caller.take();
        let them = self.admit(&request, caller, From::Members)?;
        let stream = self.inner.host.follow(&them, request.get_ref().next);
        let steps = stream.ok_or_else(|| Status::unavailable("this node is starting or stopping"))?;
        Ok(Response::new(Box::pin(steps.flat_map(|followed| iter(followed_messages(followed)).map(Ok)))))
    }

    type ObserveStream = Answers<ObserveFrame>;

    async fn observe(&self, mut request: Request<Streaming<ObserveFrame>>) -> Result<Response<Self::ObserveStream>, Status> {
        let first = timeout(self.inner.patience.hello(), request.get_mut().message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let Some(ObserveFrame { frame: Some(Frame::Hello(mut theirs)) }) = first else {
            return Err(Status::invalid_argument("the first frame is no hello"));
        };
        let caller = theirs.caller.take();
        let them = self.admit(&request, caller, From::Members)?;
        let far = read_hello(them, *theirs).map_err(Status::failed_precondition)?;
        let (outbound, queue) = mpsc::channel(QUEUE);
        // There is room: the queue is new.
        let _ = outbound.try_send(hello(&self.inner.introduce()));
        // It speaks when it has heard this node's hello, which goes from here on.
        tokio::spawn(self.inner.run(far, request.into_inner(), outbound, Instant::now()));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue).map(Ok))))
    }
}

//--- Greetings and the state that is followed, as they travel

fn greeting(greeting: Greeting) -> GreetResponse {
    GreetResponse {
        caller: Some(greeting.passport.caller()),
        empty: greeting.is_empty,
        persistent: greeting.is_persistent,
        peers: greeting.peers.into(),
        leader: greeting.leader.unwrap_or(0),
        witness: greeting.is_witness,
        feature_level: greeting.feature_level,
        wall_ms: greeting.wall_ms,
        members: greeting.members,
        word: greeting.word.unwrap_or(0),
    }
}

pub(super) fn read_greeting(answer: GreetResponse) -> Result<Greeting, String> {
    Ok(Greeting {
        passport: Passport::read(answer.caller).map_err(|why| why.to_string())?,
        is_empty: answer.empty,
        is_persistent: answer.persistent,
        peers: answer.peers.into(),
        leader: Some(answer.leader).filter(|id| *id != 0),
        is_witness: answer.witness,
        feature_level: answer.feature_level,
        wall_ms: answer.wall_ms,
        members: answer.members,
        word: Some(answer.word).filter(|id| *id != 0),
    })
}

fn followed_messages(followed: Followed) -> Vec<FollowResponse> {
    let message = |message| FollowResponse { message: Some(message) };
    match followed {
        Followed::Entry { index, octets } => vec![message(Message::Entry(Entry { index, octets }))],
        Followed::Progress { next, leader } => vec![message(Message::Progress(Progress { next, leader: leader.unwrap_or(0) }))],
        Followed::Elsewhere(voters) => {
            let voter = |it: Voter| VoterMessage { node: it.at.node.to_string(), region: it.region.to_string(), address: it.at.address };
            vec![message(Message::Elsewhere(Elsewhere { voters: voters.into_iter().take(TOLD_VOTERS_MAX).map(voter).collect() }))]
        }
        Followed::Snapshot { next, octets } => {
            let n_parts = octets.len().div_ceil(SNAPSHOT_PART_OCTETS).max(1);
            let part = |i: usize| {
                let (from, to) = (i * SNAPSHOT_PART_OCTETS, ((i + 1) * SNAPSHOT_PART_OCTETS).min(octets.len()));
                message(Message::Snapshot(SnapshotPart { next, octets: octets.slice(from..to), last: i + 1 == n_parts }))
            };
            (0..n_parts).map(part).collect()
        }
    }
}

/// Joins the parts of a snapshot in `parts`; everything else is as it comes.
pub(super) fn read_followed(message: FollowResponse, parts: &mut Vec<u8>) -> Result<Option<Followed>, String> {
    match message.message {
        Some(Message::Snapshot(part)) => {
            parts.extend_from_slice(&part.octets);
            let whole = |parts: &mut Vec<u8>| Followed::Snapshot { next: part.next, octets: Bytes::from(std::mem::take(parts)) };
            Ok(part.last.then(|| whole(parts)))
        }
        _ if !parts.is_empty() => Err("a snapshot breaks off".to_owned()),
        Some(Message::Entry(entry)) => Ok(Some(Followed::Entry { index: entry.index, octets: entry.octets })),
        Some(Message::Progress(progress)) => {
            Ok(Some(Followed::Progress { next: progress.next, leader: Some(progress.leader).filter(|id| *id != 0) }))
        }
        Some(Message::Elsewhere(Elsewhere { voters })) if voters.len() > TOLD_VOTERS_MAX => {
            Err(format!("it names {} voters, and there are {TOLD_VOTERS_MAX} at most", voters.len()))
        }
        Some(Message::Elsewhere(Elsewhere { voters })) => {
            Ok(Some(Followed::Elsewhere(voters.into_iter().map(read_voter).collect::<Result<_, _>>()?)))
        }
        None => Err("a message of another version, which must not be skipped".to_owned()),
    }
}

fn read_voter(told: VoterMessage) -> Result<Voter, String> {
    let VoterMessage { node, region, address } = told;
    let is_address =
        address.len() <= limits::ADDRESS_MAX && address.contains(':') && !address.chars().any(|it| it.is_control() || it == ' ');
    if !is_name(&node) || !is_name(&region) || !is_address {
        return Err("a voter that it names has a name or an address that no node has".to_owned());
    }
    Ok(Voter { at: Address { node: Label::new(&node), address }, region: Label::new(&region) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_votes_is_told_whole_and_a_voter_that_cannot_be_is_refused() {
        let voter =
            |node: &str, address: &str| Voter { at: Address { node: node.into(), address: address.to_owned() }, region: "eu".into() };
        let read = |voters| read_followed(followed_messages(Followed::Elsewhere(voters)).remove(0), &mut Vec::new());
        for good in [vec![], vec![voter("eu-1", "eu-1.example:8444"), voter("eu-2", "[2001:db8::1]:8444")]] {
            assert_eq!(read(good.clone()), Ok(Some(Followed::Elsewhere(good))));
        }
        let many = vec![voter("eu-1", "a:1"); TOLD_VOTERS_MAX + 1];
        assert!(matches!(read(many), Ok(Some(Followed::Elsewhere(told))) if told.len() == TOLD_VOTERS_MAX), "no more are told");
        let long = "x".repeat(limits::ADDRESS_MAX);
        for bad in
            [voter("", "a:1"), voter("a\nb", "a:1"), voter("eu-1", "nowhere"), voter("eu-1", "a b:1"), voter("eu-1", &format!("{long}:1"))]
        {
            assert!(read(vec![bad.clone()]).is_err(), "{bad:?}");
        }
        let told = VoterMessage { node: "eu-1".to_owned(), region: "eu".to_owned(), address: "a:1".to_owned() };
        let message = Message::Elsewhere(Elsewhere { voters: vec![told; TOLD_VOTERS_MAX + 1] });
        assert!(read_followed(FollowResponse { message: Some(message) }, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_snapshot_travels_in_parts_and_nothing_comes_between() {
        let octets = Bytes::from(vec![7; 2 * SNAPSHOT_PART_OCTETS + 1]);
        for octets in [octets, Bytes::from_static(b"x")] {
            let whole = Followed::Snapshot { next: 9, octets };
            let mut parts = Vec::new();
            let read: Vec<_> =
                followed_messages(whole.clone()).into_iter().filter_map(|message| read_followed(message, &mut parts).unwrap()).collect();
            assert_eq!(read, [whole]);
        }
        let mut parts = Vec::new();
        let first = followed_messages(Followed::Snapshot { next: 9, octets: Bytes::from(vec![7; SNAPSHOT_PART_OCTETS + 1]) }).remove(0);
        assert_eq!(read_followed(first, &mut parts), Ok(None));
        let entry = followed_messages(Followed::Entry { index: 9, octets: Bytes::new() }).remove(0);
        assert!(read_followed(entry, &mut parts).is_err());
        assert!(read_followed(FollowResponse { message: None }, &mut Vec::new()).is_err());
    }
}
