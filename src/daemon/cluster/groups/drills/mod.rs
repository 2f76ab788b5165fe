//! The leader's part in drills: those that are open are held, whom a program cut off is let in again, and what is due begins.
//!
//! ```text
//! agreed: open --> one task per group: looks, acts, and says how it ended; it ends at once when the drill is open no more
//! agreed: cut, with a token to lift it --> `unfence`, again and again until it says yes --> Lifted
//! ```
//!
//! Nothing of it is remembered but by the log: a leader that takes over holds the open drill from its beginning, which finds the member cut off and
//! fails, and lets it in again.

mod fence;
mod isolated;
mod lift;
mod moves;
mod notify;
mod observed;

pub(super) use observed::note;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portolan_core::{
    cluster::{Outcome as Judged, State},
    failover::{group::Group, step::Step, token::Token},
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    recovery::{
        drill::{Aim, Cut, Drill, DrillKind, DrillStep, Figures, LINES_MAX, Outcome, one_line},
        observed::Tally,
    },
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{DaemonCrew, keep::entry};
use crate::{daemon::cluster::Shared, latest::Latest};

/// Between two tries to put on record what came of a drill.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two tries to let somebody in again.
const LIFT_AGAIN: Duration = Duration::from_secs(10);

/// Between two tries to begin what is due.
const DUE_AGAIN: Duration = Duration::from_secs(15);

/// All drills of one leader. Dropped, they end where they are.
#[derive(Debug)]
pub(super) struct Drills {
    running: BTreeMap<Label, Run>,
    /// When it is tried again to let somebody in, by group, region, program and token.
    lifts: BTreeMap<(Label, Label, String, Option<Token>), Tick>,
    /// When it is looked again what is due, by group.
    due: BTreeMap<Label, Tick>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Run {
    drill: u64,
    /// A program is cutting somebody off right now.
    is_cutting: Arc<AtomicBool>,
    /// Of an observation: the rounds that this leader has watched; `None`: none yet.
    tally: Arc<Mutex<Option<Tally>>>,
}

impl Drop for Drills {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Drills {
    /// Of a leader that begins.
    pub(super) fn new(shared: &Shared) -> Self {
        Self { running: BTreeMap::new(), lifts: BTreeMap::new(), due: BTreeMap::new(), stop: shared.stop.child_token() }
    }

    /// Looks at what is agreed of a group, and sees to what is to be done.
    /// `tally`: the rounds of an observation; `unready`: why a primary is not moved for a drill now; `None`: it may be.
    #[expect(clippy::too_many_arguments, reason = "all that one look has")]
    pub(super) fn look(
        &mut self,
        shared: &Arc<Shared>,
        crew: &Arc<DaemonCrew>,
        name: &Label,
        group: &Group,
        now: Now,
        tally: Option<Tally>,
        unready: impl Fn() -> Option<String>,
    ) {
        self.begin_due(shared, name, group, now, unready);
        match &group.drills.open {
            None => {
                self.running.remove(name);
            }
            Some(drill) if self.running.get(name).is_none_or(|run| run.drill != drill.id) => {
                let is_cutting = Arc::new(AtomicBool::new(false));
                let tally = Arc::<Mutex<Option<Tally>>>::default();
                let run = Run { drill: drill.id, is_cutting: Arc::clone(&is_cutting), tally: Arc::clone(&tally) };
                self.running.insert(name.clone(), run);
                let (shared, crew, group, drill) = (Arc::clone(shared), Arc::clone(crew), name.clone(), drill.clone());
                let stage = Stage { shared, crew, group, drill, is_cutting, tally };
                info!(group = %name, "drill-{} begins: {}", stage.drill.id, stage.drill.aim);
                tokio::spawn(self.stop.clone().run_until_cancelled_owned(stage.hold()));
            }
            Some(_) => {}
        }
        if let Some(run) = self.running.get(name) {
            *run.tally.lock().unwrap_or_else(PoisonError::into_inner) = tally;
        }
        let is_cut = |region: &Label, hook: &str| group.drills.cuts.iter().any(|cut| cut.region == *region && cut.hook == hook);
        self.lifts.retain(|(of, region, hook, _), _| of != name || is_cut(region, hook));
        let is_cutting = self.running.get(name).is_some_and(|run| run.is_cutting.load(Ordering::SeqCst));
        for cut in group.drills.cuts.iter().filter(|cut| cut.lift.is_some() && !is_cutting) {
            self.lift(shared, crew, name, cut, now.tick);
        }
    }

    /// What is due begins, or is missed: one of a group at a time.
    fn begin_due(&mut self, shared: &Arc<Shared>, name: &Label, group: &Group, now: Now, unready: impl Fn() -> Option<String>) {
        let due = group.drills.schedules.iter().find(|(_, schedule)| schedule.next <= now.wall);
        let Some((id, schedule)) = due.filter(|_| self.due.get(name).is_none_or(|next| *next <= now.tick)) else { return };
        // Longer than a proposal takes.
        self.due.insert(name.clone(), now.tick + DUE_AGAIN);
        let unready = if schedule.aim.kind == DrillKind::Switchover { unready() } else { None };
        let task = begin(Arc::clone(shared), name.clone(), *id, schedule.aim.clone(), unready);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    fn lift(&mut self, shared: &Arc<Shared>, crew: &Arc<DaemonCrew>, name: &Label, cut: &Cut, now: Tick) {
        let hooks = crew.roster().hooks(name);
        let next = self.lifts.entry((name.clone(), cut.region.clone(), cut.hook.clone(), cut.lift)).or_insert(now);
        if *next > now {
            return;
        }
        // The next try begins behind the longest that this one can take.
        *next = now + hooks.patience(&cut.hook) + LIFT_AGAIN;
        let task = lift::lift(Arc::clone(shared), name.clone(), cut.clone(), hooks);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}

/// Begins what is due by a schedule, or puts on record why it cannot.
async fn begin(shared: Arc<Shared>, group: Label, schedule: u64, aim: Aim, unready: Option<String>) {
    let why = match unready {
        Some(why) => why,
        None => match say(&shared, &group, DrillStep::Start { aim, schedule: Some(schedule) }).await {
            Some(Judged::Rejected(refusal)) => refusal.text,
            Some(Judged::Accepted { .. }) | None => return,
        },
    };
    warn!(%group, "the drill of schedule-{schedule} is missed: {why}");
    say(&shared, &group, DrillStep::Missed { schedule, why: one_line(&why) }).await;
}

/// Proposes something of a drill once; `None`: nobody knows what became of it.
async fn say(shared: &Arc<Shared>, group: &Label, act: DrillStep) -> Option<Judged> {
    let state = shared.consensus().standing().latest().state;
    let step = Step::Drill { token: state.group(group)?.token, act: Box::new(act) };
    match shared.propose(entry(shared, group, step)).await {
        Ok(committed) => Some(committed.outcome),
        Err(why) => {
            debug!(%group, "what is due: {why}");
            None
        }
    }
}

/// One drill, where it is held.
pub(super) struct Stage {
    shared: Arc<Shared>,
    crew: Arc<DaemonCrew>,
    group: Label,
    drill: Drill,
    is_cutting: Arc<AtomicBool>,
    tally: Arc<Mutex<Option<Tally>>>,
}

/// What was seen in a drill.
#[derive(Debug, Default)]
struct Seen {
    figures: Figures,
    lines: Vec<String>,
    has_failed: bool,
}

impl Seen {
    fn saw(&mut self, text: impl AsRef<str>) {
        // The last word says most.
        self.lines.truncate(LINES_MAX - 1);
        self.lines.push(one_line(text.as_ref()));
    }

    /// What was to be shown was not.
    fn lacks(&mut self, text: impl AsRef<str>) {
        self.has_failed = true;
        self.saw(text);
    }
}

impl Stage {
    /// Holds it to its end, or to that of the drill.
    async fn hold(self) {
        let seen = tokio::select! {
            seen = self.play() => seen,
            () = self.is_over() => {
                self.is_cutting.store(false, Ordering::SeqCst);
                return self.abandon();
            }
        };
        let outcome = if seen.has_failed { Outcome::Failed } else { Outcome::Passed };
        let act = DrillStep::End { drill: self.drill.id, outcome, figures: seen.figures, lines: seen.lines };
        self.commit(&act).await;
    }

    async fn play(&self) -> Seen {
        match self.drill.aim.kind {
            DrillKind::Fence => self.fence().await,
            DrillKind::DryRun => self.rehearse().await,
            DrillKind::Switchover => self.switch_over().await,
            DrillKind::ObserveOnly => self.observe().await,
            DrillKind::Notification => self.notify().await,
            DrillKind::Isolated => self.isolate().await,
        }
    }

    fn state(&self) -> Arc<State> {
        self.shared.consensus().standing().latest().state
    }

    fn is_open(&self, state: &State) -> bool {
        let open = state.group(&self.group).and_then(|group| group.drills.open.as_ref());
        open.is_some_and(|drill| drill.id == self.drill.id)
    }

    /// Returns when the drill is open no more.
    async fn is_over(&self) {
        let mut standing = self.shared.consensus().standing();
        // Whoever told is gone: then this node stops.
        let _ = standing.wait_for(|standing| !self.is_open(&standing.state)).await;
    }

    /// Puts something of this drill on record. It ends when it is there, was refused for good, or the drill is over.
    async fn commit(&self, act: &DrillStep) -> bool {
        loop {
            let state = self.state();
            let Some(group) = state.group(&self.group).filter(|_| self.is_open(&state)) else { return false };
            let step = Step::Drill { token: group.token, act: Box::new(act.clone()) };
            match self.shared.propose(entry(&self.shared, &self.group, step)).await {
                Ok(committed) => match committed.outcome {
                    Judged::Accepted { .. } => {
                        info!(group = %self.group, "{act}");
                        return true;
                    }
                    Judged::Rejected(refusal) => debug!(group = %self.group, "{act}: refused: {refusal}"),
                },
                Err(why) => debug!(group = %self.group, "{act}: {why}"),
            }
            sleep(AGAIN).await;
        }
    }
}
