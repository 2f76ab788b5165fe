//! The task that owns the node: takes in what happened, lets the core decide, carries out what it asks for.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    health::overlay::Override,
    model::{
        check::Outcome,
        time::{Now, Tick},
        topology::Region,
    },
    node::{
        Attempt, Effect, Event, Node, Peers, StartProbe,
        report::{Happening, Severity},
    },
};
use tokio::sync::{
    mpsc::{Receiver, Sender},
    oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Clock,
    answers::Answers,
    cluster::Cluster,
    history::Scribe,
    peering::Peering,
    picture::Painter,
    roles::Stated,
    seen::SeenStore,
    store::{Origin, Store},
};
use crate::{
    api::event_log::{EventLog, News},
    mesh,
    probe::scheduler::{ProbeOrder, ProbeResult},
    telemetry::{Metrics, RegionReading},
};

/// Results taken in before one table is made of them.
const BATCH_MAX: usize = 1024;

/// The loop turns at least this often, so that a stuck one shows.
pub(super) const TURN_MAX: Duration = Duration::from_secs(1);

/// So long a token that rose is waited for to be on disk.
const SEEN_WRITE: Duration = Duration::from_millis(250);

/// State goes to disk this often while it changes: what is lost with a crash is judged anew within seconds anyway.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What others ask of the control task.
pub(super) enum Command {
    /// Something happened.
    Event(Event, oneshot::Sender<bool>),
    /// A plan came into force: keep its text for a start with a broken file.
    Loaded(Event, Arc<Origin>),
    /// A file was refused, or was found unchanged.
    Refused(Event),
    /// The orders in force are these, as the cluster agreed.
    Agreed(Vec<Override>),
    /// Who else there is, and the plan's rules for them.
    Join(Peers),
    /// A copy of the node, as it is now.
    Copy(oneshot::Sender<Arc<Node>>),
}

/// What a turn begins with.
enum Input {
    Result(ProbeResult),
    Link(mesh::Event),
    Stated(Stated),
    Command(Command),
    /// Something is due.
    Time,
}

/// Where events come from and orders go.
pub(super) struct Inputs {
    pub(super) commands: Receiver<Command>,
    pub(super) results: Receiver<ProbeResult>,
    pub(super) orders: Sender<ProbeOrder>,
    /// What happens on links to peers; closed on a node on its own.
    pub(super) links: Receiver<mesh::Event>,
    /// What agents that are attached here state of their members.
    pub(super) stated: Receiver<Stated>,
    pub(super) stop: CancellationToken,
}

/// Where what the node decides goes.
pub(super) struct Outlets {
    pub(super) answers: Arc<Answers>,
    pub(super) painter: Painter,
    pub(super) store: Store,
    pub(super) seen: SeenStore,
    /// `None`: no history is kept.
    pub(super) scribe: Option<Scribe>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Arc<EventLog>,
}

/// The task's state.
pub(super) struct Control {
    node: Node,
    clock: Arc<Clock>,
    answers: Arc<Answers>,
    painter: Painter,
    store: Store,
    seen: SeenStore,
    /// The state of tokens that is on disk, or on its way there.
    seen_saved: u64,
    scribe: Option<Scribe>,
    metrics: Arc<Metrics>,
    origin: Arc<Origin>,
    /// Something changed since the state was written.
    unsaved: bool,
    saved_at: Now,
    /// The latest copy given out; `None` since something changed.
    copy: Option<Arc<Node>>,
    /// `None` on a node on its own.
    peering: Option<Peering>,
    cluster: Cluster,
    events: Arc<EventLog>,
    /// What of the node was shown to those who decide about databases; `None`: anew.
    shown: Option<u64>,
}

impl Control {
    pub(super) fn new(node: Node, clock: Arc<Clock>, outlets: Outlets, origin: Arc<Origin>, cluster: Cluster) -> Self {
        let Outlets { answers, painter, store, seen, scribe, metrics, events } = outlets;
        let saved_at = clock.now();
        if let Some(table) = node.table() {
            info!(generation = table.generation, "answering from the state of the former run until probes have judged anew");
            answers.publish(table.clone());
            cluster.routes(table.routes(saved_at.tick));
            painter.published(table.generation, saved_at, readings(&node));
        }
        let peering = cluster.mesh().map(|mesh| Peering::new(mesh.clone(), cluster.clone(), saved_at));
        cluster.runs(node.world().topology.revision);
        Self {
            node,
            clock,
            answers,
            painter,
            store,
            seen,
            seen_saved: 0,
            scribe,
            metrics,
            origin,
            unsaved: true,
            saved_at,
            copy: None,
            peering,
            cluster,
            events,
            shown: None,
        }
    }

    /// Runs until it is told to stop, then writes the state.
    pub(super) async fn run(mut self, mut inputs: Inputs, notices: Vec<Event>) {
        for event in notices {
            self.obey(Command::Refused(event));
        }
        loop {
            let now = self.clock.now();
            self.painter.turned(now, &self.node);
            let may_start = inputs.orders.capacity() > 0;
            let deadline = self.node.next_deadline(now, may_start).unwrap_or(now.tick + TURN_MAX).min(now.tick + TURN_MAX);
            let deadline = self.peering.iter().map(Peering::next_deadline).fold(deadline, Tick::min);
            let input = tokio::select! {
                biased;
                () = inputs.stop.cancelled() => break,
                Some(result) = inputs.results.recv() => Input::Result(result),
                Some(event) = inputs.links.recv() => Input::Link(event),
                Some(stated) = inputs.stated.recv() => Input::Stated(stated),
                Some(command) = inputs.commands.recv() => Input::Command(command),
                () = tokio::time::sleep_until(self.clock.instant(deadline)) => Input::Time,
            };
            self.notice_sleep(deadline);
            match input {
                Input::Result(result) => self.take_results(result, &mut inputs),
                Input::Link(event) => self.take_links(event, &mut inputs),
                Input::Stated(stated) => self.take_stated(stated, &mut inputs),
                Input::Command(command) => self.obey(command),
                Input::Time => {}
            }
            self.attend_peers();
            self.advance(&inputs.orders);
            self.show_databases();
            self.save_if_due();
            self.save_seen();
            self.note_if_due();
        }
        self.save().await;
    }

    /// Tells the node that this task ran later than it was due, before it hears what waited meanwhile.
    fn notice_sleep(&mut self, due: Tick) {
        let now = self.clock.now();
        if let Some(slept) = Event::slept(due, now.tick) {
            let mut effects = Vec::new();
            let _ = self.node.handle(now, slept, &mut effects);
            self.changed();
            self.carry_out(effects, Duration::ZERO);
        }
    }

    fn take_results(&mut self, first: ProbeResult, inputs: &mut Inputs) {
        let mut next = Some(first);
        let mut taken = 0;
        let mut effects = Vec::new();
        while let Some(result) = next {
            self.take_result(result, &mut effects);
            taken += 1;
            next = if taken < BATCH_MAX { inputs.results.try_recv().ok() } else { None };
        }
        self.carry_out(effects, Duration::ZERO);
    }

    fn take_result(&mut self, result: ProbeResult, effects: &mut Vec<Effect>) {
        let ProbeResult { attempt, observation, .. } = result;
        let attempt = Attempt::from_number(attempt);
        if let Some(check) = self.node.book().check_of(attempt).and_then(|check| self.node.book().check(check)) {
            let failure = match &observation.outcome {
                Outcome::Passed => None,
                Outcome::Failed(failure) => Some(failure.category),
            };
            self.metrics.probe(check.probe.kind.word(), failure, observation.timings.total);
        }
        // A late result changes nothing, which is all that there is to say about it.
        let _ = self.node.handle(self.clock.now(), Event::ProbeFinished { attempt, observation }, effects);
        self.changed();
    }

    fn take_links(&mut self, first: mesh::Event, inputs: &mut Inputs) {
        let mut effects = Vec::new();
        let mut next = Some(first);
        let mut taken = 0;
        while let (Some(event), Some(peering)) = (next, &mut self.peering) {
            peering.take(&mut self.node, self.clock.now(), event, &mut effects);
            taken += 1;
            next = if taken < BATCH_MAX { inputs.links.try_recv().ok() } else { None };
        }
        self.changed();
        self.carry_out(effects, Duration::ZERO);
    }

    fn take_stated(&mut self, first: Stated, inputs: &mut Inputs) {
        let (mut next, mut taken) = (Some(first), 0);
        while let (Some(stated), Some(peering)) = (next, &mut self.peering) {
            peering.stated(&mut self.node, self.clock.now(), stated);
            taken += 1;
            next = if taken < BATCH_MAX { inputs.stated.try_recv().ok() } else { None };
        }
        self.changed();
    }

    /// Signs of life, and as often what peers tell of this node's clock and whether it is fit to lead.
    fn attend_peers(&mut self) {
        let Some(peering) = &mut self.peering else { return };
        let now = self.clock.now();
        if !peering.due(&mut self.node, now) {
            return;
        }
        let (correction, told) = peering.skew();
        self.clock.correct(correction);
        let notice = told.map(|text| (Severity::Warning, text));
        let mut effects = Vec::new();
        let _ = self.node.handle(now, Event::Noted { kind: "clock_skew", notice }, &mut effects);
        self.cluster.is_unfit(self.node.unfit_to_lead());
        self.carry_out(effects, Duration::ZERO);
    }

    fn show_databases(&mut self) {
        let n_changes = self.node.vantage().n_changes();
        if self.shown.replace(n_changes) != Some(n_changes) {
            self.cluster.sees(self.node.databases());
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        let mut effects = Vec::new();
        match command {
            Command::Event(event, done) => {
                let beat = if let Event::BeatReceived { name, .. } = &event { Some(name.clone()) } else { None };
                self.shown = None;
                let accepted = self.node.handle(now, event, &mut effects).is_ok();
                if let Some((peering, name)) = self.peering.as_ref().zip(beat.filter(|_| accepted)) {
                    peering.beat(&self.node, &name);
                }
                self.changed();
                // The asker may have left.
                let _ = done.send(accepted);
            }
            Command::Loaded(event, origin) => {
                let _ = self.node.handle(now, event, &mut effects);
                self.origin = origin;
                self.shown = None;
                self.cluster.runs(self.node.world().topology.revision);
                self.painter.reloaded(true, now);
                self.changed();
            }
            Command::Refused(event) => {
                self.painter.reloaded(matches!(event, Event::FileAccepted { .. }), now);
                let _ = self.node.handle(now, event, &mut effects);
                self.changed();
            }
            Command::Agreed(overrides) => {
                let _ = self.node.handle(now, Event::OverridesChanged(overrides), &mut effects);
                self.changed();
            }
            Command::Join(peers) => {
                self.node.join(peers, now);
                self.changed();
            }
            Command::Copy(reply) => {
                let copy = self.copy.get_or_insert_with(|| Arc::new(self.node.clone())).clone();
                let _ = reply.send(copy);
            }
        }
        self.carry_out(effects, Duration::ZERO);
    }

    /// Lets the core do what is due, and starts the probes that it wants.
    fn advance(&mut self, orders: &Sender<ProbeOrder>) {
        let before = self.clock.tick();
        let mut effects = Vec::new();
        let starts = self.node.advance(self.clock.now(), orders.capacity(), &mut effects);
        let took = self.clock.tick().since(before);
        if !starts.is_empty() || !effects.is_empty() {
            self.changed();
        }
        self.carry_out(effects, took);
        for StartProbe { check, attempt } in starts {
            let Some(order) = self.node.book().check(check).and_then(|it| ProbeOrder::new(check, attempt.number(), it.clone())) else {
                continue;
            };
            // There is room: capacity was asked for, and this task is the only sender.
            if orders.try_send(order).is_err() {
                warn!("the prober does not take orders; checks will count as failed when their time is up");
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, took: Duration) {
        for effect in effects {
            let effect = match &mut self.peering {
                Some(peering) => peering.carry_out(&self.node, effect),
                None => Some(effect),
            };
            let Some(effect) = effect else { continue };
            match effect {
                Effect::Publish(table) => {
                    self.save_seen();
                    self.metrics.table_built(took);
                    self.painter.published(table.generation, self.clock.now(), readings(&self.node));
                    self.cluster.routes(table.routes(self.clock.tick()));
                    self.answers.publish(table);
                    self.unsaved = true;
                }
                Effect::Tell(happening) => {
                    info!(at = %happening.at, "{}", happening.text);
                    self.events.push(news(&happening));
                }
                // Only a node with peers asks for these.
                Effect::Report | Effect::Confirm { .. } => {}
            }
        }
    }

    fn changed(&mut self) {
        self.copy = None;
    }

    //--- State on disk

    fn save_if_due(&mut self) {
        let now = self.clock.now();
        if self.unsaved && now.tick.since(self.saved_at.tick) >= SAVE_EVERY {
            self.saved_at = now;
            self.unsaved = false;
            let (node, origin, store) = (self.node.clone(), self.origin.clone(), self.store.clone());
            // Off this task: with many checks it takes tens of milliseconds. One at a time, because they are seconds apart and the
            // store orders them.
            tokio::task::spawn_blocking(move || write(&store, &node, now, &origin));
        }
    }

    /// A token that rose goes to disk before a name is answered by it, as long as the disk is not slow: health goes on whatever the disk does.
    fn save_seen(&mut self) {
        let number = self.node.holdings().n_seen();
        if number == self.seen_saved {
            return;
        }
        self.seen_saved = number;
        let (store, seen, cluster) = (self.seen.clone(), self.node.holdings().seen(), self.cluster.cluster_id().unwrap_or_default());
        let (done, written) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.write(number, &cluster, seen) {
                warn!("{error:#}; after a restart a name that follows a role may lead to a former primary until the present one is heard");
            }
            // Who waited may have gone on.
            let _ = done.send(());
        });
        if tokio::task::block_in_place(|| written.recv_timeout(SEEN_WRITE)).is_err() {
            warn!("the disk is slow: names that follow a role are answered by a token that is not on it yet");
        }
    }

    /// Hands the history what is to be noted. It never waits: what finds no room is noted with the next change.
    fn note_if_due(&mut self) {
        let Some(scribe) = &mut self.scribe else { return };
        let now = self.clock.now();
        if let Some(stamp) = scribe.is_due(&self.node, now) {
            // A copy that was given out may be from before the last turn.
            let node = Arc::new(self.node.clone());
            self.copy = Some(node.clone());
            scribe.note(node, now, stamp, &self.origin);
        }
    }

    async fn save(self) {
        let Self { node, clock, store, origin, scribe, .. } = self;
        let now = clock.now();
        if let Some(scribe) = scribe {
            scribe.end(now).await;
        }
        // A panic in it has been reported by the panic hook.
        let _ = tokio::task::spawn_blocking(move || write(&store, &node, now, &origin)).await;
    }
}

/// As it goes to those who watch events. What it is about stands first in the text.
fn news(happening: &Happening) -> News {
    News { at: happening.at, kind: "happening", object: String::new(), severity: Severity::Info, text: happening.text.clone(), index: None }
}

/// Endpoints that are up per region, for metrics.
fn readings(node: &Node) -> Vec<RegionReading> {
    let reading = |(region, endpoints_up): (&Region, u32)| RegionReading {
        name: region.name.to_string(),
        up: endpoints_up > 0,
        endpoints_up,
        cluster: region.cluster.clone(),
        failure_domain: region.failure_domain.clone(),
    };
    node.endpoints_up().map(reading).collect()
}

fn write(store: &Store, node: &Node, now: Now, origin: &Origin) {
    let Some(saved) = node.save(now) else { return };
    if let Err(error) = store.write(&saved, &origin.source) {
        warn!("{error:#}; after a restart answers begin only after the first round of probes");
    }
}
