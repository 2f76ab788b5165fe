//! The voter's end of the lines of agents: each agent has one stream to each voter, for as long as both live.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::ready,
    stream::{once, select},
};
use portolan_core::{
    cluster::limits::NAME_MAX,
    model::{ids::Label, time::Tick},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};
use tokio_stream::{
    Stream,
    wrappers::{IntervalStream, ReceiverStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::proto::{
    AttachRequest, AttachResponse, Hello, Member, Terms as TermsMessage,
    agent_service_server::{AgentService, AgentServiceServer},
    attach_request, attach_response,
};
use crate::net::{accept::Peer, names::Names};

/// The version of the protocol between agents and voters.
pub(super) const PROTOCOL: u32 = 1;

/// For the first frame.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// Between two ticks of this node's clock: agents tell of themselves as often.
const TICK: Duration = Duration::from_secs(1);

/// The longest frame, in octets: an order with a grant is some hundred.
pub(super) const FRAME_OCTETS_MAX: usize = 64 * 1024;

/// The longest [`ForAgent::Said`], in octets: what is around it in its frame has some tens.
pub const SAID_OCTETS_MAX: usize = FRAME_OCTETS_MAX - 1024;

/// What the plan says of the member that an agent stands beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The cluster's id.
    pub cluster: String,
    /// The data group.
    pub group: Label,
    /// The member's region.
    pub region: Label,
    /// The lower is promoted first; `None`: never.
    pub priority: Option<u16>,
    /// Region, host and port of all members.
    pub members: Vec<(Label, String, u16)>,
}

/// What an agent is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForAgent {
    /// What the plan says.
    Terms(Terms),
    /// What the leader's machine says, as it writes it.
    Said(Bytes),
}

/// Something that an agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which agent.
    pub agent: Label,
    /// As its machine writes it.
    pub octets: Bytes,
    /// The tick of this node's clock that it had heard last when it said so, and when it heard that, by its own clock; `None`: it had heard none.
    pub heard: Option<(Tick, Tick)>,
}

/// An agent's place at this node.
#[derive(Debug)]
pub struct Berth {
    /// Which agent.
    pub agent: Label,
    /// Takes what it says.
    pub said: mpsc::Sender<Said>,
    /// Gives what it is sent.
    pub outbox: mpsc::Receiver<ForAgent>,
}

/// Who knows the agents. The daemon implements it.
pub trait Crew: Send + Sync + 'static {
    /// An agent wants to be attached. `cluster`: the one that it was attached to before.
    ///
    /// # Errors
    /// A sentence: why it is not.
    fn attach(&self, agent: &Label, cluster: Option<&str>) -> Result<Berth, String>;

    /// This node's clock.
    fn tick(&self) -> Tick;
}

/// The service, for a listener that knows whose certificate it is. Streams end with `stop`.
#[must_use]
pub fn routes(crew: Arc<dyn Crew>, stop: CancellationToken) -> Routes {
    Routes::new(AgentServiceServer::new(AgentApi { crew, stop }).max_decoding_message_size(FRAME_OCTETS_MAX))
}

struct AgentApi {
    crew: Arc<dyn Crew>,
    stop: CancellationToken,
}

impl AgentApi {
    fn admit(&self, peer: Option<&Peer>, hello: &Hello) -> Result<Berth, Status> {
        if hello.protocol != PROTOCOL {
            let why = format!("it speaks version {} of the protocol of agents, and this node speaks {PROTOCOL}", hello.protocol);
            return Err(Status::failed_precondition(why));
        }
        if hello.agent.is_empty() || hello.agent.len() > NAME_MAX || hello.cluster.len() > 2 * NAME_MAX {
            return Err(Status::invalid_argument("its name or its cluster is missing or too long"));
        }
        if let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) {
            let names = Names::of(certificate);
            if !names.is_of_agent(&hello.agent) {
                let why = format!(
                    "the certificate is of {names}, and the call says that it comes from agent `{0}`; give it a certificate with a URI that \
                     ends in /agent/{0}: portolan pki issue agent {0}",
                    hello.agent
                );
                return Err(Status::permission_denied(why));
            }
        }
        let cluster = Some(hello.cluster.as_str()).filter(|cluster| !cluster.is_empty());
        self.crew.attach(&Label::new(&hello.agent), cluster).map_err(Status::failed_precondition)
    }
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(&self, mut request: Request<Streaming<AttachRequest>>) -> Result<Response<Self::AttachStream>, Status> {
        let first = timeout(HELLO_TIME_MAX, request.get_mut().message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let Some(AttachRequest { frame: Some(attach_request::Frame::Hello(hello)), .. }) = first else {
            return Err(Status::invalid_argument("the first frame is no hello"));
        };
        let berth = self.admit(request.extensions().get::<Peer>(), &hello).inspect_err(|why| {
            tracing::warn!(agent = hello.agent.chars().take(64).collect::<String>(), "an agent was refused: {}", why.message());
        })?;
        let Berth { agent, said, outbox } = berth;
        let mut inbound = request.into_inner();
        let stop = self.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok(Some(frame)) = inbound.message().await {
                let Some(attach_request::Frame::Said(octets)) = frame.frame else { return };
                let heard = (frame.heard > 0).then_some((Tick(frame.heard), Tick(frame.heard_at)));
                if said.send(Said { agent: agent.clone(), octets, heard }).await.is_err() {
                    return;
                }
            }
        }));
        // A node that ends lets go of its agents, whoever else still has a handle of their queues.
        let ends = self.stop.clone().cancelled_owned();
        let crew = Arc::clone(&self.crew);
        let ticks = IntervalStream::new(interval(TICK)).map(move |_| Ok(framed(attach_response::Frame::Tick(crew.tick().0))));
        // With its outbox the line ends, ticks or not.
        let said = ReceiverStream::new(outbox).map(|frame| Some(Ok(message(frame)))).chain(once(ready(None)));
        let both = select(said, ticks.map(Some)).take_while(|frame| ready(frame.is_some())).filter_map(ready);
        Ok(Response::new(Box::pin(both.take_until(ends))))
    }
}

fn message(frame: ForAgent) -> AttachResponse {
    framed(match frame {
        ForAgent::Said(octets) => attach_response::Frame::Said(octets),
        ForAgent::Terms(terms) => attach_response::Frame::Terms(TermsMessage {
            cluster: terms.cluster,
            group: terms.group.to_string(),
            region: terms.region.to_string(),
            priority: terms.priority.map(u32::from),
            members: terms
                .members
                .into_iter()
                .map(|(region, host, port)| Member { region: region.to_string(), host, port: port.into() })
                .collect(),
        }),
    })
}

const fn framed(frame: attach_response::Frame) -> AttachResponse {
    AttachResponse { frame: Some(frame) }
}
