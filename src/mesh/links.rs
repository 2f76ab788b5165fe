//! The links that stand, and what goes over which.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::model::ids::Label;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

use super::{
    Address, CallError, Followed, Host, Lane, Parcel, Passport, Patience, Proposed,
    dial::{Dialer, failure},
    identity::From,
    parcel::{WAIT_MAX_FOR_OBSERVERS, WAIT_MAX_FOR_VOTERS, Waiting},
    proto::{
        AskRequest, FollowRequest, GreetRequest, ObserveFrame, OrderRequest, ProposeRequest, RaftRequest, follow_response::Message,
        observe_frame::Frame, propose_response::Result as ProposeResult,
    },
    service::read_followed,
    stream::{Event, Far, FarRole, Side, hello, read_hello},
};
use crate::{
    latest::{Latest, LatestSeen},
    net::clock::WallClock,
};

/// Frames that may wait for one link: seconds of signs of life, or the whole of what a large node says.
pub(super) const QUEUE: usize = 512;
/// After a link broke or could not be made; doubled each time, with as much again at random.
const REDIAL_FIRST: Duration = Duration::from_millis(250);
const REDIAL_MAX: Duration = Duration::from_secs(2);

/// A link. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// From where something comes, and so to whom it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From this node: to all.
    Own,
    /// From a link: from an observer to all, from a voter to observers.
    Relayed(LinkId),
}

struct Link {
    far: Label,
    role: FarRole,
    queue: mpsc::Sender<ObserveFrame>,
    close: CancellationToken,
    is_active: bool,
}

#[derive(Default)]
struct Links {
    next: u64,
    by_id: BTreeMap<LinkId, Link>,
    for_voters: Waiting,
    for_observers: Waiting,
}

pub(super) struct Inner {
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) patience: Patience,
    /// How this node introduces itself on links, its passport apart.
    introduction: watch::Receiver<Far>,
    dialer: Dialer,
    links: Mutex<Links>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    targets: watch::Sender<Vec<Address>>,
}

/// The mesh of one node. Cheap to clone; the last clone closes all links.
#[derive(Clone)]
pub struct Mesh {
    pub(super) inner: Arc<Inner>,
    _stop: Arc<DropGuard>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("links", &self.inner.lock().by_id.len()).finish_non_exhaustive()
    }
}

impl Mesh {
    pub(super) fn new(
        host: Arc<dyn Host>,
        clock: Arc<dyn WallClock>,
        patience: Patience,
        introduction: watch::Receiver<Far>,
        dialer: Dialer,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Self {
        let (targets, wanted) = watch::channel(Vec::new());
        let inner =
            Arc::new(Inner { host, clock, patience, introduction, dialer, links: Mutex::default(), events, stop: stop.clone(), targets });
        tokio::spawn(stop.clone().run_until_cancelled_owned(dial_all(Arc::clone(&inner), wanted)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(flush_often(Arc::clone(&inner))));
        Self { inner, _stop: Arc::new(stop.drop_guard()) }
    }

    //--- Links

    /// Keeps a link to each of these, and to no other by itself. Whom these nodes dial is theirs.
    pub fn dial(&self, targets: Vec<Address>) {
        self.inner.targets.send_if_modified(|before| {
            let is_new = *before != targets;
            *before = targets;
            is_new
        });
    }

    /// From now on the link gets what is spread.
    pub fn activate(&self, link: LinkId) {
        if let Some(link) = self.inner.lock().by_id.get_mut(&link) {
            link.is_active = true;
        }
    }

    /// Sends to one link. One that does not take it is closed.
    pub fn send(&self, link: LinkId, parcel: &Parcel) {
        let mut links = self.inner.lock();
        for frame in parcel.frames() {
            links.send(link, frame);
        }
    }

    /// Sends along a route. Relayed reports that say nothing new wait a moment for others to travel with them.
    pub fn spread(&self, route: Route, parcel: Parcel) {
        let mut links = self.inner.lock();
        let (to_voters, to_observers) = match route {
            Route::Own => (true, true),
            Route::Relayed(from) => match links.by_id.get(&from).map(|link| link.role) {
                Some(FarRole::Observer) => (true, true),
                Some(FarRole::Voter) => (false, true),
                None => return,
            },
        };
        let Parcel::Reports(reports) = parcel else {
            let roles = [(FarRole::Voter, to_voters), (FarRole::Observer, to_observers)];
            for role in roles.into_iter().filter(|(_, wanted)| *wanted).map(|(role, _)| role) {
                links.send_to(role, &parcel, route);
            }
            return;
        };
        let now = Instant::now().into_std();
        let is_urgent = route == Route::Own || reports.iter().any(|report| !report.statements.is_empty());
        for report in reports {
            if to_voters && links.has(FarRole::Voter) {
                links.for_voters.push(report.clone(), now);
            }
            if to_observers && links.has(FarRole::Observer) {
                links.for_observers.push(report, now);
            }
        }
        if is_urgent {
            links.flush(FarRole::Voter);
            links.flush(FarRole::Observer);
        }
    }

    /// The links that stand: to whom, and what they are.
    #[must_use]
    pub fn peers(&self) -> Vec<(Label, FarRole)> {
        self.inner.lock().by_id.values().map(|link| (link.far.clone(), link.role)).collect()
    }

    /// Closes links to a node, for example one that is refused from now on.
    pub fn close(&self, node: &Label) {
        for link in self.inner.lock().by_id.values().filter(|link| link.far == *node) {
            link.close.cancel();
        }
    }

    //--- Calls

    /// Asks a peer who it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn greet(&self, to: &Address, limit: Duration) -> Result<super::Greeting, CallError> {
        self.greeted(to, false, limit).await
    }

    /// The same, from a node that is about to found the cluster: asks for the peer's word that nobody else does.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ask_word(&self, to: &Address, limit: Duration) -> Result<super::Greeting, CallError> {
        self.greeted(to, true, limit).await
    }

    async fn greeted(&self, to: &Address, founds: bool, limit: Duration) -> Result<super::Greeting, CallError> {
        let request = GreetRequest { caller: Some(self.inner.host.passport().caller()), founds };
        let mut client = self.inner.dialer.client(to, Lane::Log);
        let answer = within(limit, client.greet(request)).await?;
        super::service::read_greeting(answer).map_err(CallError::Refused)
    }

    /// Makes a call of the consensus.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn raft(&self, to: &Address, id: u64, lane: Lane, call: u32, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, CallError> {
        let request = RaftRequest { caller: Some(self.inner.host.passport().caller()), to: id, call, body: body.into() };
        let mut client = self.inner.dialer.client(to, lane);
        Ok(within(limit, client.raft(request)).await?.body.into())
    }

    /// Hands a command to a peer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn propose(&self, to: &Address, entry: Vec<u8>, limit: Duration) -> Result<Proposed, CallError> {
        let request = ProposeRequest { caller: Some(self.inner.host.passport().caller()), entry: entry.into() };
        let mut client = self.inner.dialer.client(to, Lane::Log);
        Ok(match within(limit, client.propose(request)).await?.result {
            Some(ProposeResult::Reply(reply)) => Proposed::Done(reply),
            Some(ProposeResult::Leader(leader)) => Proposed::NotLeader(Some(leader).filter(|id| *id != 0)),
            Some(ProposeResult::Refused(why)) => Proposed::Refused(why),
            Some(ProposeResult::Unknown(_)) | None => Proposed::Unknown,
        })
    }

    /// Hands an order about who leads or votes to a peer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn order(&self, to: &Address, order: Vec<u8>, limit: Duration) -> Result<Vec<u8>, CallError> {
        let request = OrderRequest { caller: Some(self.inner.host.passport().caller()), order: order.into() };
        let mut client = self.inner.dialer.client(to, Lane::Log);
        Ok(within(limit, client.order(request)).await?.done.into())
    }

    /// Asks a peer for what it sees.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ask(&self, to: &Address, question: Vec<u8>, limit: Duration) -> Result<Vec<u8>, CallError> {
        let request = AskRequest { caller: Some(self.inner.host.passport().caller()), question: question.into() };
        let mut client = self.inner.dialer.client(to, Lane::Log);
        Ok(within(limit, client.ask(request)).await?.answer.into())
    }

    /// Follows the replicated state at a peer: `heard` gets what happens from entry `next` on, until the stream ends.
    ///
    /// # Errors
    /// Always, at the end: why it ended.
    pub async fn follow(&self, to: &Address, next: u64, heard: mpsc::Sender<Followed>) -> CallError {
        let request = FollowRequest { caller: Some(self.inner.host.passport().caller()), next };
        // On the connection of the observations: a second one would cost the voter more than all else about an observer.
        let client = self.inner.dialer.client(to, Lane::Observe);
        let mut client = client.max_decoding_message_size(super::service::MESSAGE_OCTETS_MAX);
        let silence = self.inner.patience.state();
        let mut stream = match within(silence, client.follow(request)).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let mut parts = Vec::new();
        loop {
            let message = match timeout(silence, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return CallError::Unreachable("closed by the other side".to_owned()),
                Ok(Err(status)) => return failure(&status),
                Err(_) => return CallError::Unreachable("the stream of state is silent".to_owned()),
            };
            if let Some(Message::Snapshot(part)) = &message.message
                && parts.len() + part.octets.len() > portolan_core::cluster::limits::SNAPSHOT_OCTETS_MAX
            {
                return CallError::Refused("its snapshot is longer than any".to_owned());
            }
            match read_followed(message, &mut parts) {
                Ok(Some(followed)) => {
                    if heard.send(followed).await.is_err() {
                        return CallError::Unreachable("nobody listens here any more".to_owned());
                    }
                }
                Ok(None) => {}
                Err(why) => return CallError::Refused(why),
            }
        }
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, CallError> {
    match timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(failure(&status)),
        Err(_) => Err(CallError::Unreachable(format!("no answer within {limit:?}"))),
    }
}

impl Links {
    fn has(&self, role: FarRole) -> bool {
        self.by_id.values().any(|link| link.is_active && link.role == role)
    }

    fn send(&mut self, to: LinkId, frame: ObserveFrame) {
        if let Some(link) = self.by_id.get(&to)
            && link.queue.try_send(frame).is_err()
        {
            link.close.cancel();
        }
    }

    fn send_to(&mut self, role: FarRole, parcel: &Parcel, route: Route) {
        let frames = parcel.frames();
        for (id, link) in self.by_id.iter().filter(|(_, link)| link.is_active && link.role == role) {
            if route == Route::Relayed(*id) {
                continue;
            }
            if frames.iter().any(|frame| link.queue.try_send(frame.clone()).is_err()) {
                link.close.cancel();
            }
        }
    }

    /// Sends what waits. A report that comes back to whom it is from says nothing new there.
    fn flush(&mut self, role: FarRole) {
        let waiting = match role {
            FarRole::Voter => &mut self.for_voters,
            FarRole::Observer => &mut self.for_observers,
        };
        let reports = waiting.take(Instant::now().into_std());
        if !reports.is_empty() {
            self.send_to(role, &Parcel::Reports(reports), Route::Own);
        }
    }
}

async fn flush_often(inner: Arc<Inner>) {
    let (mut for_voters, mut for_observers) = (interval(WAIT_MAX_FOR_VOTERS), interval(WAIT_MAX_FOR_OBSERVERS));
    loop {
        let role = tokio::select! {
            _ = for_voters.tick() => FarRole::Voter,
            _ = for_observers.tick() => FarRole::Observer,
        };
        inner.lock().flush(role);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this node introduces itself now.
    pub(super) fn introduce(&self) -> Far {
        let passport = self.host.passport();
        Far { passport, ..self.introduction.latest() }
    }

    /// Runs a link whose other side is known, from either side. The future ends with the link. `since`: the other side sent nothing but its hello
    /// before.
    pub(super) fn run(
        self: &Arc<Self>,
        far: Far,
        inbound: Streaming<ObserveFrame>,
        outbound: mpsc::Sender<ObserveFrame>,
        since: Instant,
    ) -> impl Future<Output = String> + use<> {
        let close = self.stop.child_token();
        let link = {
            let mut links = self.lock();
            // A node that dials anew has lost the link before, whatever it looks like here.
            for other in links.by_id.values().filter(|other| other.far == far.passport.node) {
                other.close.cancel();
            }
            links.next += 1;
            let id = LinkId(links.next);
            let link =
                Link { far: far.passport.node.clone(), role: far.role, queue: outbound.clone(), close: close.clone(), is_active: false };
            links.by_id.insert(id, link);
            id
        };
        let (inner, events) = (Arc::clone(self), self.events.clone());
        let side = Side {
            link,
            far: far.clone(),
            outbound,
            events: events.clone(),
            clock: Arc::clone(&self.clock),
            patience: self.patience,
            since,
            close,
        };
        async move {
            let node = far.passport.node.clone();
            let _ = events.send(Event::Up { link, far: Box::new(far) }).await;
            let why = side.run(inbound).await;
            inner.lock().by_id.remove(&link);
            let _ = events.send(Event::Down { link, node, why: why.clone() }).await;
            why
        }
    }
}

/// One task per target, for as long as it is one.
async fn dial_all(inner: Arc<Inner>, mut wanted: watch::Receiver<Vec<Address>>) {
    let mut dialing: BTreeMap<Address, DropGuard> = BTreeMap::new();
    loop {
        let targets = wanted.latest_seen();
        dialing.retain(|target, _| targets.contains(target));
        for target in targets {
            dialing.entry(target.clone()).or_insert_with(|| {
                let stop = inner.stop.child_token();
                tokio::spawn(stop.clone().run_until_cancelled_owned(keep(Arc::clone(&inner), target)));
                stop.drop_guard()
            });
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to one peer.
async fn keep(inner: Arc<Inner>, to: Address) {
    let (mut pause, mut told) = (REDIAL_FIRST, String::new());
    loop {
        let since = Instant::now();
        let why = match link(&inner, &to).await {
            Ok(why) => why,
            Err(error) => error.to_string(),
        };
        if since.elapsed() > REDIAL_MAX {
            pause = REDIAL_FIRST;
        }
        if why != told {
            tracing::info!(peer = %to.node, address = to.address, why, "no link to peer");
            told = why;
        }
        // Spread by what no two nodes have alike, so that a voter that comes back is not met by all at once.
        let spread = u64::from(inner.clock.now().0.unsigned_abs().wrapping_mul(inner.host.passport().id | 1).to_be_bytes()[0]);
        tokio::time::sleep(pause + pause * u32::try_from(spread).unwrap_or(0) / 256).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

/// Makes one link and runs it to its end.
async fn link(inner: &Arc<Inner>, to: &Address) -> Result<String, CallError> {
    let since = Instant::now();
    let (outbound, queue) = mpsc::channel(QUEUE);
    let ours = inner.introduce();
    // There is room: the queue is new.
    let _ = outbound.try_send(hello(&ours));
    let mut client = inner.dialer.client(to, Lane::Observe);
    let patience = inner.patience.hello();
    let mut inbound = within(patience * 2, client.observe(ReceiverStream::new(queue))).await?;
    let first =
        timeout(patience, inbound.message()).await.map_err(|_| CallError::Unreachable("it does not introduce itself".to_owned()))?;
    let far = match first.map_err(|status| failure(&status))? {
        Some(ObserveFrame { frame: Some(Frame::Hello(mut hello)) }) => {
            let them = Passport::read(hello.caller.take()).map_err(|why| CallError::Refused(why.to_string()))?;
            if them.node != to.node {
                return Err(CallError::Refused(format!("`{}` answers there, not `{}`; correct `peers`", them.node, to.node)));
            }
            ours.passport.admit(&them, From::Members).map_err(|why| CallError::Refused(why.to_string()))?;
            if let Some(why) = inner.host.refuses(them.id) {
                return Err(CallError::Refused(why));
            }
            read_hello(them, *hello).map_err(CallError::Refused)?
        }
        _ => return Err(CallError::Refused("it does not introduce itself as a node does".to_owned())),
    };
    Ok(inner.run(far, inbound, outbound, since).await)
}
