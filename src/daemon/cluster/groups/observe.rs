//! The leader's watch over the results of operations: rollback triggers are asked for beside everything else, and what fires is proposed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_core::{
    cluster::State,
    failover::{
        group::{Group, Kind},
        step::{Decide, Setback, Step},
    },
    model::{
        group::Policy,
        ids::Label,
        time::{Now, Tick},
    },
    plan::Trigger,
    recovery::{
        exposure::Bracket,
        observation::{Found, Observation, Origin, way_back},
    },
};

use super::validate::figure;
use crate::daemon::cluster::Shared;

/// What a look found, or two of them.
pub(super) struct Looked {
    pub(super) group: Label,
    pub(super) operation: u64,
    /// Where the group is.
    pub(super) here: Vec<Found>,
    /// Where it came from.
    pub(super) there: Vec<Found>,
}

/// All watches of one leader.
#[derive(Debug, Default)]
pub(super) struct Observer {
    watches: BTreeMap<Label, Observation>,
    /// Of these a look is under way.
    looking: BTreeSet<Label>,
}

impl Observer {
    /// Whether the triggers of a group are to be looked at now.
    pub(super) fn is_due(&mut self, name: &Label, group: &Group, policy: &Policy, now: Now) -> bool {
        let closed = group.latest.as_ref().filter(|_| group.operation.is_none());
        let watched = closed.and_then(|closed| Some((closed.operation.id, closed.watched_until(policy.observe)?)));
        let Some((id, until)) = watched.filter(|(_, until)| now.wall <= *until) else {
            self.watches.remove(name);
            return false;
        };
        if self.watches.get(name).is_none_or(|watch| watch.operation() != id) {
            self.watches.insert(name.clone(), Observation::new(id, until.since(now.wall), now.tick));
        }
        let is_due = !self.looking.contains(name) && self.watches.get_mut(name).is_some_and(|watch| watch.is_due(now.tick));
        if is_due {
            self.looking.insert(name.clone());
        }
        is_due
    }

    /// A look ended. What fired, in one line.
    pub(super) fn looked(&mut self, looked: &Looked, now: Tick) -> Option<String> {
        self.looking.remove(&looked.group);
        let watch = self.watches.get_mut(&looked.group).filter(|watch| watch.operation() == looked.operation)?;
        watch.looked(&looked.here, now)
    }
}

/// Asks for the figures of a group's triggers where it is, and where it came from as far as those are other questions.
pub(super) async fn look(shared: Arc<Shared>, group: Label, operation: u64, here: Arc<Vec<Trigger>>, there: Arc<Vec<Trigger>>) -> Looked {
    let others: Vec<Trigger> = there.iter().filter(|trigger| !here.contains(trigger)).cloned().collect();
    let (here, there) = tokio::join!(ask(&shared, &here), ask(&shared, &others));
    Looked { group, operation, here, there }
}

pub(super) async fn ask(shared: &Shared, triggers: &[Trigger]) -> Vec<Found> {
    let mut all = Vec::with_capacity(triggers.len());
    for trigger in triggers {
        let (fires, text) = match figure(shared, trigger).await {
            Ok(number) => (trigger.fires(number), number.to_string()),
            Err(why) => (None, why),
        };
        all.push(Found { trigger: trigger.text.clone(), fires, text });
    }
    all
}

/// What to propose when a trigger has fired. `seen`: of the member that the group came from.
pub(super) fn step(state: &State, looked: &Looked, fired: &str, seen: Origin, estimate: Bracket, now: Now) -> Option<Step> {
    let policy = state.plan()?.plan.outline.groups.get(&looked.group)?;
    let group = state.group(&looked.group)?;
    let from = group.primary()?.clone();
    let token = group.token;
    let back = way_back(group, policy, &seen).and_then(|back| Ok((back.clone(), state.may_go_back(&looked.group, now.wall)?)));
    let setback = |text: String| Setback { operation: looked.operation, text };
    Some(match back {
        Ok((back, guards)) => Step::Decide(Box::new(Decide {
            token,
            kind: Kind::Switchover,
            from,
            to: Some(back),
            plan_revision: state.plan()?.plan.revision,
            estimate,
            allowed_loss: None,
            grounds: None,
            drill: None,
            setback: Some(setback(fired.to_owned())),
            guards,
        })),
        Err(why) => Step::Setback { token, setback: setback(format!("{fired}; {why}")) },
    })
}
