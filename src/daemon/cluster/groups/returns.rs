//! The leader's part in returns of traffic: the plan's rollback triggers are looked at while a step lasts, and what follows is proposed.
//!
//! Nothing of it is remembered but looks: all else is in the agreed record, so that the next leader watches the step again from where it stands, and
//! for as long as is left of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::{
    cluster::{Change, Outcome, Refusal, State},
    health::overlay::Scope,
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    plan::Trigger,
    recovery::{
        observation::{Found, Observation},
        traffic_return::TrafficReturn,
    },
};
use tracing::{debug, info, warn};

use super::{keep::of_system, observe::ask};
use crate::daemon::cluster::Shared;

/// Between a proposal and the next one for the same return: what is in its way may come and go, and each note is an entry of the log.
const AGAIN: Duration = Duration::from_secs(10);

/// After the first proposal, which is only late by this when it is lost: a step of a drill lasts a second.
const SOON: Duration = Duration::from_secs(1);

/// What a look found.
pub(super) struct Seen {
    id: u64,
    step: usize,
    found: Vec<Found>,
}

/// The watch over one step.
#[derive(Debug)]
struct Watch {
    step: usize,
    observation: Observation,
    until: Tick,
    /// The last look; `None`: there was none yet.
    last: Option<Vec<Found>>,
    is_looking: bool,
    /// When something may be proposed again.
    next: Tick,
    /// When it may be taken back again, which waits for no note.
    back: Tick,
}

/// All watches of one leader.
#[derive(Debug, Default)]
pub(super) struct Returns(BTreeMap<u64, Watch>);

impl Returns {
    /// Those that are over are forgotten.
    pub(super) fn retain(&mut self, state: &State) {
        self.0.retain(|id, _| state.traffic_return(*id).is_some_and(|it| it.ended.is_none()));
    }

    /// Whether the triggers are to be looked at now.
    pub(super) fn is_due(&mut self, it: &TrafficReturn, now: Now) -> bool {
        // When a step's time is over and something holds it, it is watched for another one.
        if self.0.get(&it.id).is_none_or(|watch| watch.step != it.step || now.tick >= watch.until) {
            let before = self.0.remove(&it.id).filter(|watch| watch.step == it.step);
            let left = it.due().since(now.wall);
            let lasts = if left.is_zero() { it.step_time } else { left };
            let watch = Watch {
                step: it.step,
                observation: Observation::new(it.id, lasts, now.tick),
                until: now.tick + lasts,
                last: before.as_ref().and_then(|watch| watch.last.clone()),
                is_looking: before.as_ref().is_some_and(|watch| watch.is_looking),
                next: before.as_ref().map_or(now.tick, |watch| watch.next),
                back: before.map_or(now.tick, |watch| watch.back),
            };
            self.0.insert(it.id, watch);
        }
        let Some(watch) = self.0.get_mut(&it.id) else { return false };
        let is_due = !watch.is_looking && watch.observation.is_due(now.tick);
        watch.is_looking |= is_due;
        is_due
    }

    /// A look ended. What fired, in one line.
    pub(super) fn seen(&mut self, seen: Seen, now: Tick) -> Option<Change> {
        let watch = self.0.get_mut(&seen.id)?;
        watch.is_looking = false;
        if watch.step != seen.step {
            return None;
        }
        let fired = watch.observation.looked(&seen.found, now);
        watch.last = Some(seen.found);
        let why = fired.filter(|_| now >= watch.back)?;
        watch.back = now + AGAIN;
        warn!("return-{}: {why}", seen.id);
        Some(Change::TakeBack { id: seen.id, why })
    }

    /// What is to be proposed now; `None`: nothing.
    pub(super) fn next(&mut self, state: &State, it: &TrafficReturn, endpoints_up: Option<u32>, now: Now) -> Option<Change> {
        let watch = self.0.get_mut(&it.id)?;
        if now.wall < it.due() || now.tick < watch.next {
            return None;
        }
        let freeze = state.freezes_of(&Scope::Region(it.region.clone()), now.wall).into_iter().next();
        let held = match (freeze, &watch.last) {
            (Some(freeze), _) => Err(format!("freeze `{}` is in force until {}", freeze.id, freeze.until)),
            // The first look is under way.
            (None, None) => return None,
            (None, Some(found)) => it.may_go_on(found, endpoints_up),
        };
        match held {
            Ok(()) => {
                watch.next = now.tick + SOON;
                Some(Change::AdvanceReturn { id: it.id })
            }
            Err(because) if because != it.because => {
                watch.next = now.tick + AGAIN;
                Some(Change::NoteReturn { id: it.id, because })
            }
            Err(_) => None,
        }
    }

    /// What was proposed was refused.
    pub(super) fn refused(&mut self, id: u64, now: Tick) {
        if let Some(watch) = self.0.get_mut(&id) {
            watch.next = now + AGAIN;
        }
    }
}

/// Asks for the figures of a region's triggers.
pub(super) async fn look(shared: Arc<Shared>, id: u64, step: usize, triggers: Arc<Vec<Trigger>>) -> Seen {
    Seen { id, step, found: ask(&shared, &triggers).await }
}

/// Proposes what is next for a return. `false`: it was refused, and why is noted beside it.
pub(super) async fn propose(shared: Arc<Shared>, region: Label, id: u64, change: Change) -> bool {
    let is_note = matches!(change, Change::NoteReturn { .. });
    let text = change.to_string();
    let refusal: Refusal = match shared.propose(of_system(&shared, change)).await {
        Ok(committed) => match committed.outcome {
            Outcome::Accepted { .. } => {
                info!(%region, "{text}");
                return true;
            }
            Outcome::Rejected(refusal) => refusal,
        },
        Err(why) => {
            debug!(%region, "{text}: {why}");
            return true;
        }
    };
    debug!(%region, "{text}: refused: {refusal}");
    if !is_note {
        let because = format!("{text} is refused, {}: {}", refusal.rule, refusal.text);
        // What is not noted now is noted when it is proposed again.
        let _ = shared.propose(of_system(&shared, Change::NoteReturn { id, because })).await;
    }
    false
}
