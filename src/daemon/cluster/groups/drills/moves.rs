//! Drills of operations: one that is only rehearsed, and one that moves the primary and brings it back.
//!
//! The second is two switchovers of the cluster like any other: decided, judged, committed and shown in the same way, with all that may hold them.
//! What a person approves, cancels or retries of them is theirs; the drill waits, and says what became of each.

use std::time::Duration;

use portolan_core::{
    cluster::Outcome as Judged,
    failover::{
        group::{Closed, Ending, Group, Kind},
        rehearsal::{Rehearsal, Wanted, rehearse},
        step::{Decide, Step},
    },
    model::{
        ids::Label,
        time::{Human, Timestamp},
    },
    recovery::{exposure::Bracket, outlook::Outlook},
};
use tokio::{sync::oneshot, time::sleep};

use super::{Seen, Stage};
use crate::daemon::cluster::groups::{ask_before, keep::entry};

/// Between two looks at what is waited for.
const AGAIN: Duration = Duration::from_secs(1);

/// For the old primary to follow the new one, before the way back begins.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(300);

/// A decision is tried so often, when nothing is known of it.
const TRIES_MAX: u32 = 5;

impl Stage {
    /// How the group stands now, as its keeper knows.
    async fn outlook(&self) -> Option<Outlook> {
        let (answer, told) = oneshot::channel();
        self.shared.outlooks.send((self.group.clone(), answer)).await.ok()?;
        told.await.ok()?
    }

    /// What a failover would do now, in one line for each step that takes time.
    pub(super) async fn rehearse(&self) -> Seen {
        let mut seen = Seen::default();
        let (state, outlook) = (self.state(), self.outlook().await);
        let plan = state.plan().map(|plan| &plan.plan);
        let known = plan.and_then(|plan| Some((plan.revision, plan.outline.groups.get(&self.group)?)));
        let (Some((revision, policy)), Some(group), Some(outlook)) = (known, state.group(&self.group), outlook) else {
            seen.lacks("nothing is known of the group");
            return seen;
        };
        let wanted = Wanted { kind: Kind::Failover, to: self.drill.aim.region.clone(), allowed_loss: None };
        let rehearsed = rehearse(&self.group, group, policy, revision, &wanted, outlook.estimate, outlook.measured);
        let Some(rehearsed) = rehearsed else {
            seen.lacks("the group has no primary");
            return seen;
        };
        told(&mut seen, &rehearsed);
        for finding in outlook.readiness.against() {
            seen.lacks(format!("{}: {}", finding.check, finding.text));
        }
        seen
    }

    /// There, and back.
    pub(super) async fn switch_over(&self) -> Seen {
        let mut seen = Seen::default();
        let state = self.state();
        let origin = state.group(&self.group).and_then(|group| self.origin(group));
        let (Some(to), Some(from)) = (self.drill.aim.region.clone(), origin) else {
            seen.lacks("nobody knows who the primary was");
            return seen;
        };
        let Some(there) = self.moved(&mut seen, 0, &from, &to).await else { return seen };
        let recovery = there.at.since(there.operation.marks.first().map_or(there.at, |mark| mark.at));
        seen.figures.loss = Some(lost(&there));
        seen.figures.recovery = Some(recovery);
        if self.drill.aim.stays {
            seen.saw(format!("it stays in {to}"));
            return seen;
        }
        let began = self.shared.clock.now().wall;
        while !self.follows(&from) {
            if self.shared.clock.now().wall.since(began) > FOLLOWS_WITHIN {
                seen.lacks(format!("{from} does not follow {to}, so that nothing goes back"));
                return seen;
            }
            sleep(AGAIN).await;
        }
        self.moved(&mut seen, 1, &to, &from).await;
        seen
    }

    /// Who was the primary when the drill began: before a leader was lost, too.
    fn origin(&self, group: &Group) -> Option<Label> {
        let first = group.drills.open.as_ref()?.operations.first().copied();
        let Some(first) = first else { return group.primary().cloned() };
        let open = group.operation.as_ref().filter(|it| it.id == first).map(|it| it.from.clone());
        open.or_else(|| group.ended().find(|closed| closed.operation.id == first).map(|closed| closed.operation.from.clone()))
    }

    fn follows(&self, region: &Label) -> bool {
        self.state().group(&self.group).is_some_and(|group| group.operation.is_none() && !group.absent.contains(region))
    }

    /// The `nth` switchover of this drill, decided where it is not yet, and waited for.
    async fn moved(&self, seen: &mut Seen, nth: usize, from: &Label, to: &Label) -> Option<Closed> {
        let mut n_tries = 0;
        loop {
            let state = self.state();
            let group = state.group(&self.group)?;
            let id = group.drills.open.as_ref()?.operations.get(nth).copied();
            match id {
                Some(id) => match group.ended().find(|closed| closed.operation.id == id) {
                    Some(closed) if closed.ending == Ending::Succeeded && group.primary() == Some(to) => {
                        let took = closed.at.since(began(closed));
                        let loss = lost(closed);
                        seen.saw(format!("op-{id} moved the primary from {from} to {to} in {}, loss {loss}", Human(took)));
                        return Some(closed.clone());
                    }
                    Some(closed) => {
                        seen.lacks(format!("op-{id} from {from} to {to}: {}", closed.ending));
                        return None;
                    }
                    None => {}
                },
                None if n_tries >= TRIES_MAX => {
                    seen.lacks(format!("nobody agreed to move the primary from {from} to {to}"));
                    return None;
                }
                None => {
                    n_tries += 1;
                    if let Err(why) = self.decide(group, from, to, state.plan()?.plan.revision).await {
                        seen.lacks(format!("the move from {from} to {to} was refused: {why}"));
                        return None;
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// `Err`: it was refused. What is not known is looked up by whoever waits.
    async fn decide(&self, group: &Group, from: &Label, to: &Label, plan_revision: u64) -> Result<(), String> {
        let mut decide = Decide {
            token: group.token,
            kind: Kind::Switchover,
            from: from.clone(),
            to: Some(to.clone()),
            plan_revision,
            estimate: Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) },
            allowed_loss: None,
            grounds: None,
            drill: Some(self.drill.id),
            setback: None,
            guards: Vec::new(),
        };
        // Whoever may refuse an operation may refuse this one: then it waits for a person's approval.
        let by = format!("drill-{} of {}", self.drill.id, self.drill.who);
        ask_before(&self.shared, &self.crew, &self.group, &mut decide, &by).await;
        let step = Step::Decide(Box::new(decide));
        match self.shared.propose(entry(&self.shared, &self.group, step)).await {
            Ok(committed) => match committed.outcome {
                Judged::Accepted { .. } => Ok(()),
                Judged::Rejected(refusal) => Err(refusal.text),
            },
            Err(why) => {
                tracing::debug!(group = %self.group, "the move of a drill: {why}");
                Ok(())
            }
        }
    }
}

/// Nothing, where the old primary handed over all that it had.
fn lost(closed: &Closed) -> Bracket {
    let chosen = closed.operation.chosen.as_ref().map_or(Bracket::UNKNOWN, |chosen| chosen.loss);
    if closed.operation.stopped.is_some() { Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) } } else { chosen }
}

fn began(closed: &Closed) -> Timestamp {
    closed.operation.marks.first().map_or(closed.at, |mark| mark.at)
}

fn told(seen: &mut Seen, rehearsed: &Rehearsal) {
    seen.figures.loss = Some(rehearsed.estimate);
    seen.figures.recovery = rehearsed.whole();
    let to = rehearsed.to.as_ref().map_or_else(|| "the best copy".to_owned(), ToString::to_string);
    seen.saw(format!("plan {}: a failover from {} to {to}, loss {}", rehearsed.plan, rehearsed.from, rehearsed.estimate));
    for part in &rehearsed.parts {
        seen.saw(format!("{} by {}, {}", part.stage.word(), part.who, part.lasts));
    }
    if let Some(gate) = &rehearsed.gate {
        seen.lacks(format!("gate: {gate}"));
    }
}
