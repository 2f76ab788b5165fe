//! The loop of an agent: what comes in, what goes out, in order.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::{
    failover::{
        agent::{Agent, Disk, Effect, Task},
        order::{FromAgent, Status, ToAgent, Verb as OrderVerb},
    },
    model::{ids::Label, time::Tick},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, error, info, warn};

use super::{
    disk::{DiskError, Store},
    engine::Engine,
    looker::{self, Look},
    sandbox::Sandbox,
    supervisor::{Link, SinceBoot, State, Verb},
    task::Hands,
};
use crate::latest::Latest;

/// Between two statuses while nothing changes.
const STATUS: Duration = Duration::from_secs(1);

/// Before a task that failed is done again; twice as long each time.
const AGAIN: Duration = Duration::from_millis(250);

/// The longest of those pauses.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Longest sleep: the runtime's timers stand still while the machine sleeps.
const TURN: Duration = Duration::from_millis(500);

/// Why what was begun as this number did not do what it should; `None`: it did.
type Ended = (u64, Option<String>);

/// A task under way.
struct Running {
    task: Task,
    /// Of those that were begun.
    number: u64,
    work: JoinHandle<()>,
}

/// What an agent is made of.
pub struct Setup {
    /// Which member it stands beside.
    pub region: Label,
    /// Its memory.
    pub store: Store,
    /// What was in it.
    pub disk: Disk,
    /// The database.
    pub engine: Arc<dyn Engine>,
    /// Of the supervisor.
    pub socket: PathBuf,
    /// Since boot.
    pub clock: SinceBoot,
    /// What comes in.
    pub inbox: mpsc::Receiver<ToAgent>,
    /// What goes out. Full: the leader is slow or gone, and what would be said is dropped; everything is said again.
    pub outbox: mpsc::Sender<FromAgent>,
}

/// An agent at work.
pub struct Runner {
    agent: Arc<Mutex<Agent>>,
    store: Store,
    hands: Arc<Hands>,
    clock: SinceBoot,
    inbox: mpsc::Receiver<ToAgent>,
    outbox: mpsc::Sender<FromAgent>,
    /// The one that runs.
    task: Option<Running>,
    n_begun: u64,
    /// The one that has ended, and why it did not do what it should, until a look has shown what it did.
    done: Option<(Task, Option<String>)>,
    /// The last one that did not do what it should, and how often in a row.
    failed: Option<(Task, u32)>,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
    link: Option<Link>,
    sandbox: Sandbox,
    turns: watch::Sender<u64>,
    looks: mpsc::Receiver<Look>,
    status_at: Tick,
}

impl Runner {
    /// Ready to run. Asks the supervisor which one it is and what deadline it has, and looks for the first time.
    pub async fn new(setup: Setup) -> Self {
        let Setup { region, store, disk, engine, socket, clock, inbox, outbox } = setup;
        let mut link = None;
        let state = if engine.is_managed() { None } else { looker::ask(&mut link, &socket).await };
        let supervisor = state.map(|state| (state.incarnation, state.kill_at.map(Tick)));
        let agent = Agent::new(region, disk, supervisor, clock());
        let agent = if engine.is_managed() { agent.under_manager(clock()) } else { agent };
        let agent = Arc::new(Mutex::new(agent));
        let (turns, watched) = watch::channel(0);
        let (to_looks, looks) = mpsc::channel(1);
        tokio::spawn(looker::run(Arc::clone(&engine), socket.clone(), clock, watched, to_looks));
        let sandbox = Sandbox::new(Arc::clone(&engine));
        let hands = Arc::new(Hands { engine, agent: Arc::clone(&agent), socket, clock, turn: Arc::default() });
        let ended = mpsc::channel(4);
        Self {
            agent,
            store,
            hands,
            clock,
            inbox,
            outbox,
            task: None,
            n_begun: 0,
            done: None,
            failed: None,
            ended,
            link,
            sandbox,
            turns,
            looks,
            status_at: Tick(0),
        }
    }

    /// Runs until the leader's side is gone.
    ///
    /// # Errors
    /// What must be on disk is not: an agent that cannot keep a token must not act on one, and ends.
    pub async fn run(mut self) -> Result<(), DiskError> {
        loop {
            // Time first: whoever was stopped for a while begins with what is overdue.
            let now = (self.clock)();
            let effects = {
                let mut agent = self.agent();
                agent.goes_on(now);
                agent.advance(now)
            };
            self.carry_out(effects).await?;
            self.tell_status(now);
            self.sandbox.look();
            let wake = self.agent().next_deadline().map_or(TURN, |at| at.since((self.clock)()).min(TURN));
            let effects = tokio::select! {
                said = self.inbox.recv() => match said {
                    Some(said) => self.said(said),
                    None => return Ok(()),
                },
                Some(ended) = self.ended.1.recv() => {
                    self.task_ended(ended);
                    Vec::new()
                }
                Some(look) = self.looks.recv() => self.looked(look),
                () = sleep_until(Instant::now() + wake) => Vec::new(),
            };
            self.carry_out(effects).await?;
        }
    }

    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&mut self, said: ToAgent) -> Vec<Effect> {
        let now = (self.clock)();
        match said {
            ToAgent::Order(order) => {
                debug!(token = %order.token, "ordered: {:?}", order.verb);
                // Whoever is to follow or to lead, as it does, is told so again now and then.
                if !matches!(order.verb, OrderVerb::Follow { .. } | OrderVerb::Lead(_)) {
                    self.sandbox.give_up("a decision about the group goes first");
                }
                self.agent().ordered(order, now)
            }
            ToAgent::Isolate(wanted) => {
                let busy = self.task.as_ref().map(|running| format!("{:?}", running.task.work));
                let told = self.sandbox.asked(wanted, busy);
                self.tell(told);
                Vec::new()
            }
            ToAgent::Abandon { drill } => {
                self.sandbox.abandon(drill);
                Vec::new()
            }
            ToAgent::Reply(reply) => self.agent().answered(&reply, now),
            ToAgent::Acknowledged { peer, token, sequence } => self.agent().acknowledged(&peer, token, sequence, now),
            ToAgent::Asks { holder, token, sequence } => {
                // What it says is on disk already.
                if self.agent().acknowledges(token) {
                    self.tell(FromAgent::Acknowledges { holder, token, sequence });
                }
                Vec::new()
            }
        }
    }

    /// What it did is seen by a look that begins now.
    fn task_ended(&mut self, (number, trouble): Ended) {
        if let Some(Running { task, .. }) = self.task.take_if(|running| running.number == number) {
            let before = self.failed.take().filter(|(failed, _)| *failed == task).map_or(0, |(_, times)| times);
            self.failed = trouble.is_some().then(|| (task.clone(), before + 1));
            self.done = Some((task, trouble));
            self.next_turn();
        }
    }

    fn looked(&mut self, look: Look) -> Vec<Effect> {
        // While something is done, or was done since, it shows what was.
        if look.turn != self.turns.latest() || self.task.is_some() {
            return Vec::new();
        }
        let (done, facts, now) = (self.done.take(), look.facts.unwrap_or_default(), (self.clock)());
        let mut agent = self.agent();
        if let Some((at, time)) = look.supervisor.as_ref().and_then(|state| state.stood_still) {
            agent.stood_still(Tick(at), Duration::from_micros(time));
        }
        agent.supervised(look.supervisor.map(|state| state.incarnation));
        match done {
            Some((task, trouble)) => agent.ended(&task, trouble, facts, now),
            None => agent.observed(facts, now),
        }
    }

    fn tell_status(&mut self, now: Tick) {
        if now >= self.status_at {
            self.status_at = now + STATUS;
            let status = self.agent().status((self.clock)());
            let opens_copies = self.hands.engine.opens_copies();
            self.tell(FromAgent::Status(Box::new(Status { opens_copies, ..status })));
        }
    }

    fn tell(&self, what: FromAgent) {
        if self.outbox.try_send(what).is_err() {
            debug!("the leader does not listen; it is told again");
        }
    }

    fn next_turn(&self) {
        self.turns.send_modify(|turn| *turn += 1);
    }

    async fn carry_out(&mut self, mut effects: Vec<Effect>) -> Result<(), DiskError> {
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Save(disk) => self.store.save(&disk).inspect_err(|problem| error!("{problem}; the agent ends"))?,
                    Effect::Tell(answer) => {
                        debug!(token = %answer.token, "answers: {:?}", answer.said);
                        self.tell(FromAgent::Answer(answer));
                        self.status_at = Tick(0);
                    }
                    Effect::Renew(request) => self.tell(FromAgent::Renewal(request)),
                    Effect::AskPeers { token, sequence } => self.tell(FromAgent::AskPeers { token, sequence }),
                    Effect::Arm(at) => {
                        let over_at = self.agent().holder().hard().unwrap_or(at);
                        let (kill_at, over_at) = (at.0, over_at.0.max(at.0));
                        if self.order(Verb::Arm { kill_at, over_at }).await.is_some() {
                            more.extend(self.agent().armed(at, (self.clock)()));
                        }
                    }
                    Effect::Kill if self.hands.engine.is_managed() => {
                        self.sandbox.give_up("the member is fenced");
                        self.drop_task().await;
                        self.fence();
                    }
                    Effect::Kill => {
                        self.sandbox.give_up("the member is killed");
                        self.drop_task().await;
                        info!("whatever may still run of the database is killed");
                        self.order(Verb::Kill).await;
                        self.next_turn();
                    }
                    Effect::Abort => {
                        self.drop_task().await;
                        self.next_turn();
                    }
                    Effect::HandOver(task) => self.hand_over(task),
                    Effect::Begin(task) => {
                        self.sandbox.give_up("the member has something else to do");
                        self.begin(task);
                    }
                }
            }
            effects = more;
        }
        Ok(())
    }

    /// Has the manager fence the database, beside everything else: what hangs delays nothing but tasks, and those no longer than a call may last.
    fn fence(&self) {
        let Ok(turn) = Arc::clone(&self.hands.turn).try_lock_owned() else { return };
        let token = self.agent().disk().highest;
        let (hands, turns) = (Arc::clone(&self.hands), self.turns.clone());
        info!(%token, "the manager is told to fence the database");
        self.next_turn();
        tokio::spawn(async move {
            if let Err(why) = hands.engine.fence(token).await {
                warn!(%token, "fence: {why}");
            }
            drop(turn);
            turns.send_modify(|turn| *turn += 1);
        });
    }

    fn begin(&mut self, task: Task) {
        let grant = self.agent().holder().grant().cloned();
        let (hands, ended, to_do) = (Arc::clone(&self.hands), self.ended.0.clone(), task.clone());
        let again = self.failed.as_ref().filter(|(failed, _)| *failed == task).map_or(0, |(_, times)| *times);
        self.n_begun += 1;
        let number = self.n_begun;
        let work = tokio::spawn(async move {
            if again > 0 {
                sleep(AGAIN_MAX.min(AGAIN * 2_u32.saturating_pow(again - 1))).await;
            }
            let trouble = hands.run(&to_do, grant.as_ref()).await;
            // Nobody listens any more when the agent ends.
            let _ = ended.send((number, trouble)).await;
        });
        self.task = Some(Running { task, number, work });
    }

    /// What runs goes on for another decision; or has ended, and will be told of as that one's.
    fn hand_over(&mut self, task: Task) {
        info!(token = %task.token, "goes on: {:?}", task.work);
        match (&mut self.task, &mut self.done) {
            (Some(running), _) => running.task = task,
            (None, Some((done, _))) => *done = task,
            (None, None) => {}
        }
    }

    /// Ends what runs; nothing of it acts when this returns.
    async fn drop_task(&mut self) {
        self.done = None;
        if let Some(Running { work, .. }) = self.task.take() {
            work.abort();
            let _ = work.await;
            self.hands.engine.settled().await;
            self.agent().waited((self.clock)());
        }
    }

    async fn order(&mut self, verb: Verb) -> Option<State> {
        if self.link.is_none() {
            self.link = Link::connect(&self.hands.socket).await.ok();
        }
        let Some(link) = &mut self.link else {
            warn!("the supervisor does not answer: {verb:?} is not done");
            return None;
        };
        let asked = link.ask(verb).await;
        self.agent().waited((self.clock)());
        match asked {
            Ok(state) => Some(state),
            Err(problem) => {
                warn!("{verb:?}: {problem}");
                self.link = None;
                None
            }
        }
    }
}
