//! The leader's part in evacuations: which group is switched over next, where to, and why one waits.
//!
//! Nothing of it is remembered but when to look again: all else is in the agreed record, so that the next leader goes on from there.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::{
    cluster::{Change, Next, State},
    failover::{
        evacuation::{Evacuation, Progress},
        group::Kind,
        step::{Decide, Step},
    },
    model::{
        ids::Label,
        time::{Now, Tick},
    },
};

use super::lookout::Lookout;

/// Between a note, or a refusal, and the next try: what is in the way of a group may come and go, and each note is an entry of the log.
const AGAIN: Duration = Duration::from_secs(10);

/// When each evacuation is looked at again.
#[derive(Debug, Default)]
pub(super) struct Evacuations(BTreeMap<u64, Tick>);

impl Evacuations {
    pub(super) fn is_due(&self, id: u64, now: Tick) -> bool {
        self.0.get(&id).is_none_or(|at| now >= *at)
    }

    /// A note is on its way.
    pub(super) fn noted(&mut self, id: u64, now: Tick) {
        self.0.insert(id, now + AGAIN);
    }

    /// The next group was not let begin.
    pub(super) fn refused(&mut self, id: u64, now: Tick) {
        self.0.insert(id, now + AGAIN);
    }
}

/// What is to be proposed.
pub(super) enum Todo {
    /// The group begins.
    Begin(Label, Step),
    /// Why it does not.
    Note(Change),
}

/// What is to be proposed for an evacuation now; `None`: nothing.
pub(super) fn next(state: &State, lookout: &Lookout, evacuation: &Evacuation, now: Now) -> Option<Todo> {
    let (group, why) = match state.next_of(evacuation, now.wall) {
        Next::Nothing => return None,
        Next::Waits(group, why) => (group, why),
        Next::Begin(group) => match lookout.target(state, &group, now) {
            Ok(to) => return begin(state, lookout, evacuation, group, to, now),
            Err(why) => (group, why),
        },
    };
    let known = evacuation.first_waiting().map(|item| &item.progress);
    let is_known = matches!(known, Some(Progress::Waiting { because }) if *because == why);
    (!is_known).then_some(Todo::Note(Change::NoteEvacuation { evacuation: evacuation.id, group, because: why }))
}

fn begin(state: &State, lookout: &Lookout, evacuation: &Evacuation, group: Label, to: Label, now: Now) -> Option<Todo> {
    let decide = Decide {
        token: state.group(&group)?.token,
        kind: Kind::Switchover,
        from: evacuation.region.clone(),
        to: Some(to),
        plan_revision: state.plan()?.plan.revision,
        estimate: lookout.estimate(state, &group, now),
        allowed_loss: None,
        grounds: None,
        drill: None,
        setback: None,
        guards: Vec::new(),
    };
    Some(Todo::Begin(group, Step::Evacuate { evacuation: evacuation.id, decide: Box::new(decide) }))
}
