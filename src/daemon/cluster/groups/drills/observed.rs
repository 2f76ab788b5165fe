//! A drill that only looks: what the lookout notices of a group that is tried out is put on its trail, and judged when its time is over.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::Outcome as Judged,
    failover::step::Step,
    model::ids::Label,
    recovery::{
        drill::{DrillStep, Outcome, TRAIL_MAX},
        observed::{Notice, judge},
    },
};
use tokio::time::sleep;
use tracing::{debug, info};

use super::{AGAIN, Seen, Stage};
use crate::{
    daemon::cluster::{Shared, groups::keep::entry},
    latest::Latest,
};

/// The longest sleep: the clock that it is judged by may step.
const NAP: Duration = Duration::from_secs(60);

impl Stage {
    /// Waits for its end. What was noticed is on record by then.
    pub(super) async fn observe(&self) -> Seen {
        let mut seen = Seen::default();
        let until = self.drill.began + self.drill.aim.lasts.unwrap_or_default();
        loop {
            let now = self.shared.clock.now().wall;
            if now >= until {
                break;
            }
            sleep(until.since(now).min(NAP)).await;
        }
        let state = self.state();
        let policy = state.plan().and_then(|plan| plan.plan.outline.groups.get(&self.group));
        let drill = state.group(&self.group).and_then(|group| group.drills.open.as_ref());
        let (Some(policy), Some(drill)) = (policy, drill) else {
            seen.lacks("nothing is known of the group");
            return seen;
        };
        let tally = *self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (outcome, figures, lines) = judge(drill, tally, policy);
        lines.iter().for_each(|line| seen.saw(line));
        (seen.figures, seen.has_failed) = (figures, outcome != Outcome::Passed);
        seen
    }
}

/// Puts something on the trail of a drill. It ends when it is there, or the drill is over, or takes no more.
pub(in crate::daemon::cluster::groups) async fn note(shared: Arc<Shared>, group: Label, drill: u64, notice: Notice) {
    let act = DrillStep::Note { drill, notice: notice.clone() };
    loop {
        let state = shared.consensus().standing().latest().state;
        let open = state.group(&group).and_then(|group| Some((group.token, group.drills.open.as_ref()?)));
        let Some((token, open)) = open.filter(|(_, open)| open.id == drill && open.trail.len() < TRAIL_MAX) else { return };
        // It got there, though nobody said so.
        if open.trail.last().is_some_and(|noted| noted.notice == notice) {
            return;
        }
        match shared.propose(entry(&shared, &group, Step::Drill { token, act: Box::new(act.clone()) })).await {
            Ok(committed) => match committed.outcome {
                Judged::Accepted { .. } => return info!(%group, "{act}"),
                Judged::Rejected(refusal) => debug!(%group, "{act}: refused: {refusal}"),
            },
            Err(why) => debug!(%group, "{act}: {why}"),
        }
        sleep(AGAIN).await;
    }
}
