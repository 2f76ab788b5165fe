//! The agent's end of its lines: one to each voter, all at once, so that whoever leads is reached without asking who that is.
//!
//! What the agent says goes to all of them; who does not lead only listens. A line that is full or down drops what it is given: everything that matters
//! is said again, and a renewal counts from when it was asked for, not from when it arrives.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use portolan_core::{
    failover::order::{FromAgent, ToAgent},
    model::ids::Label,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};

use super::supervisor::SinceBoot;
use super::{
    berth::{FRAME_OCTETS_MAX, PROTOCOL, Terms},
    proto::{AttachRequest, Hello, agent_service_client::AgentServiceClient, attach_request, attach_response},
};
use crate::{
    latest::Latest,
    net::{detour::Detours, dial, mutual::TlsFiles},
};

/// For a name, TCP and TLS together, in patiences.
const CONNECT: u32 = 3;
/// A connection that is silent for this long is asked whether it lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// and is taken for dead after so many patiences.
const KEEPALIVE: u32 = 3;
/// Between attempts, doubled each time up to the longest.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest pause between attempts.
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// A line that stood for so long is tried again at once.
const STOOD: Duration = Duration::from_secs(10);
/// Frames that wait on one line: a few seconds of an agent's talk.
const QUEUE: usize = 32;
/// The same trouble with a line is told once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A voter, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voter {
    /// Its name; its certificate must bear it.
    pub node: Label,
    /// `host:port` of its peer listener.
    pub address: String,
}

/// Who the agent is, and how it connects.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the plan.
    pub agent: Label,
    /// Its certificates; `None`: loopback only.
    pub tls: Option<TlsFiles>,
    /// Where voters are dialed in place of their addresses.
    pub detours: Detours,
    /// How long an answer of a voter may be on its way.
    pub patience: Duration,
}

/// What comes over a line.
#[derive(Clone, Debug)]
pub enum Heard {
    /// What the plan says of its member.
    Terms(Terms),
    /// For its machine.
    Said(ToAgent),
}

/// A line that stands.
#[derive(Debug)]
struct Open {
    queue: mpsc::Sender<AttachRequest>,
    /// The voter's tick that was heard last, and when, by this agent's clock; zeros: none.
    heard: (u64, u64),
}

/// All lines.
#[derive(Clone, Debug)]
pub struct Lines {
    open: Arc<Mutex<BTreeMap<Label, Open>>>,
    clock: SinceBoot,
}

impl Lines {
    /// None stands yet. `clock`: the one that the agent's machine has.
    #[must_use]
    pub fn new(clock: SinceBoot) -> Self {
        Self { open: Arc::default(), clock }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<Label, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it on each line that stands.
    pub fn say(&self, what: &FromAgent) {
        let Ok(octets) = serde_json::to_vec(what) else { return };
        let octets = Bytes::from(octets);
        for (voter, line) in self.open().iter() {
            let (heard, heard_at) = line.heard;
            let frame = Some(attach_request::Frame::Said(octets.clone()));
            if line.queue.try_send(AttachRequest { frame, heard, heard_at }).is_err() {
                debug!(%voter, "the line is full or down; it is said again");
            }
        }
    }

    /// Keeps a line to a voter, for ever. `cluster`: the one that it belongs to, once that is known.
    pub async fn keep(self, voter: Voter, line: Line, cluster: watch::Receiver<Option<String>>, heard: mpsc::Sender<Heard>) {
        let mut pause = AGAIN;
        let mut told: Option<(String, Instant)> = None;
        loop {
            let began = Instant::now();
            let known = cluster.latest();
            let why = self.hold(&voter, &line, known, &heard).await;
            self.open().remove(&voter.node);
            if heard.is_closed() {
                return;
            }
            if told.as_ref().is_none_or(|(before, at)| *before != why || at.elapsed() > TOLD_EVERY) {
                warn!(voter = %voter.node, "no line: {why}");
                told = Some((why, Instant::now()));
            }
            pause = if began.elapsed() > STOOD { AGAIN } else { (pause * 2).min(AGAIN_MAX) };
            sleep(pause).await;
        }
    }

    /// Holds one line until it breaks; why it did.
    async fn hold(&self, voter: &Voter, line: &Line, cluster: Option<String>, heard: &mpsc::Sender<Heard>) -> String {
        let (say, said) = mpsc::channel(QUEUE);
        let hello = Hello { protocol: PROTOCOL, agent: line.agent.to_string(), cluster: cluster.unwrap_or_default() };
        let first = AttachRequest { frame: Some(attach_request::Frame::Hello(hello)), ..AttachRequest::default() };
        let rest = ReceiverStream::new(said);
        let mut client = AgentServiceClient::new(channel(voter, line)).max_decoding_message_size(FRAME_OCTETS_MAX);
        let within = line.patience * CONNECT;
        let attached = match timeout(within, client.attach(tokio_stream::once(first).chain(rest))).await {
            Ok(Ok(attached)) => attached,
            Ok(Err(status)) => return told(&status),
            Err(_) => return format!("no answer within {within:?}"),
        };
        info!(voter = %voter.node, "attached");
        self.open().insert(voter.node.clone(), Open { queue: say, heard: (0, 0) });
        let mut inbound = attached.into_inner();
        loop {
            let what = match inbound.message().await {
                Ok(Some(response)) => match response.frame {
                    Some(attach_response::Frame::Terms(terms)) => match read(terms) {
                        Some(terms) => Heard::Terms(terms),
                        None => return "it sent terms that cannot be read; bring both to one release".to_owned(),
                    },
                    Some(attach_response::Frame::Said(octets)) => match serde_json::from_slice(&octets) {
                        Ok(said) => Heard::Said(said),
                        Err(error) => return format!("it said what cannot be read ({error}); bring both to one release"),
                    },
                    Some(attach_response::Frame::Tick(tick)) => {
                        let at = (self.clock)().0;
                        if let Some(line) = self.open().get_mut(&voter.node) {
                            line.heard = (tick, at);
                        }
                        continue;
                    }
                    None => continue,
                },
                Ok(None) => return "the voter ended it".to_owned(),
                Err(status) => return told(&status),
            };
            if heard.send(what).await.is_err() {
                return "the agent ends".to_owned();
            }
        }
    }
}

/// What a failed call means, in one line.
fn told(status: &tonic::Status) -> String {
    dial::causes(status).chars().take(300).collect()
}

fn channel(voter: &Voter, line: &Line) -> Channel {
    let (voter, line) = (voter.clone(), line.clone());
    // The scheme only fills the :scheme field; encryption is the connector's.
    let endpoint = Endpoint::from_static("http://voter")
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(line.patience * KEEPALIVE)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let (voter, line) = (voter.clone(), line.clone());
        async move {
            let within = line.patience * CONNECT;
            let opened = timeout(within, dial::open(line.tls, &line.detours, voter.node.as_str(), &voter.address)).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {} within {within:?}", voter.address));
            opened.unwrap_or_else(|_| Err(late())).map(TokioIo::new)
        }
    }))
}

fn read(terms: super::proto::Terms) -> Option<Terms> {
    let member = |member: super::proto::Member| Some((Label::new(&member.region), member.host, u16::try_from(member.port).ok()?));
    Some(Terms {
        cluster: terms.cluster,
        group: Label::new(&terms.group),
        region: Label::new(&terms.region),
        priority: terms.priority.map(u16::try_from).transpose().ok()?,
        members: terms.members.into_iter().map(member).collect::<Option<_>>()?,
    })
}
