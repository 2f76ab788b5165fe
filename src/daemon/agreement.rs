//! From what is agreed to what this node does: orders and the plan of the cluster come into force here.

use std::{collections::BTreeMap, sync::Arc};

use portolan_core::{
    cluster::State,
    health::overlay::Override,
    model::{ids::Label, time::Tick},
    node::{Agreed, Event, report::Severity},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Clock,
    cluster::{Cluster, Via},
    control::Command,
};
use crate::latest::LatestSeen;

/// Without a word of a leader for so long, people are told: an election between regions is over by then.
const LEADERLESS_TOLD: Duration = Duration::from_secs(10);

/// Between looks at the leader.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hands orders to the control task as they are agreed, until `stop`. `saved`: those of the last run, which count until newer ones are heard.
pub(super) async fn follow(
    cluster: Cluster,
    clock: Arc<Clock>,
    saved: Vec<Override>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    let mut truth = cluster.truth();
    let mut local = cluster.local().changes();
    let mut looks = interval(LOOK_EVERY);
    let started = clock.tick();
    let mut told = Told::default();
    // What this node restored from its last run is in force there already, and stays until it hears what is agreed.
    let mut orders = saved.clone();
    let mut newest = Newest { orders: saved, is_agreed: false };
    let mut primaries = BTreeMap::new();
    loop {
        let now = truth.latest_seen();
        let is_known = now.via != Via::Nobody && now.state.cluster().is_some();
        if is_known {
            newest = Newest { orders: now.state.overrides(), is_agreed: true };
        }
        let agreed = of_groups(&now.state);
        if is_known && agreed != primaries {
            primaries.clone_from(&agreed);
            let (done, _) = oneshot::channel();
            if commands.send(Command::Event(Event::PrimariesChanged(agreed), done)).await.is_err() {
                return;
            }
        }
        let wanted = newest.with(cluster.local().all(clock.now().wall), |id| cluster.local().was_taken_back(id));
        if wanted != orders {
            orders.clone_from(&wanted);
            if commands.send(Command::Agreed(wanted)).await.is_err() {
                return;
            }
        }
        if cluster.me().has_peers {
            let silent = clock.tick().since(now.heard.max(started));
            let lost = now.leader.is_none() && silent >= LEADERLESS_TOLD;
            let text = || {
                let seconds = silent.as_secs() / 10 * 10;
                let since = if now.heard == Tick(0) { "since the start".to_owned() } else { format!("for {seconds} s") };
                format!(
                    "no leader is known {since}: nothing can be agreed; answers and health go on; `--local` commands act on single nodes"
                )
            };
            told.note(&commands, "no_quorum", lost.then(|| (Severity::Warning, text()))).await;
            let halted = now.state.halted().map(|halt| (Severity::Critical, halt.to_string()));
            told.note(&commands, "upgrade_required", halted).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = truth.changed() => if changed.is_err() { return },
            _ = local.changed() => {}
            _ = looks.tick() => {}
        }
    }
}

/// Who holds the role of each group.
fn of_groups(state: &State) -> BTreeMap<Label, Agreed> {
    let groups = state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.keys());
    let agreed = |name: &Label| {
        let group = state.group(name)?;
        let is_leaving = group.operation.as_ref().is_some_and(|operation| operation.phase.is_before_promoting());
        Some((name.clone(), Agreed { region: group.primary()?.clone(), is_leaving }))
    };
    groups.filter_map(agreed).collect()
}

/// The notices that were sent last: one that is the same again would only cost the control task a turn.
#[derive(Default)]
struct Told(BTreeMap<&'static str, (Severity, String)>);

impl Told {
    async fn note(&mut self, commands: &mpsc::Sender<Command>, kind: &'static str, notice: Option<(Severity, String)>) {
        if self.0.get(kind) == notice.as_ref() {
            return;
        }
        match notice.clone() {
            Some(notice) => drop(self.0.insert(kind, notice)),
            None => drop(self.0.remove(kind)),
        }
        note(commands, kind, notice).await;
    }
}

/// The newest that this node knows of what is agreed.
struct Newest {
    orders: Vec<Override>,
    /// `false`: as the last run left it, orders that held without a majority included.
    is_agreed: bool,
}

impl Newest {
    /// With what holds without a majority: where both have a name, what is agreed. What was taken back by name since the start holds no more,
    /// unless it is agreed.
    fn with(&self, held: Vec<Override>, was_taken_back: impl Fn(&Label) -> bool) -> Vec<Override> {
        let mut all: Vec<Override> = self.orders.iter().filter(|it| self.is_agreed || !was_taken_back(&it.id)).cloned().collect();
        let others: Vec<Override> = held.into_iter().filter(|order| all.iter().all(|it| it.id != order.id)).collect();
        all.extend(others);
        all
    }
}

pub(super) async fn note(commands: &mpsc::Sender<Command>, kind: &'static str, notice: Option<(Severity, String)>) {
    let (done, _) = oneshot::channel();
    // The control task is gone only when the daemon stops.
    let _ = commands.send(Command::Event(Event::Noted { kind, notice }, done)).await;
}

#[cfg(test)]
mod tests {
    use portolan_core::{
        health::overlay::{OverrideKind, Scope},
        model::time::Timestamp,
    };

    use super::*;

    fn order(id: &str) -> Override {
        Override {
            id: Label::new(id),
            kind: OverrideKind::Drain,
            scope: Scope::Region(Label::new("us")),
            who: "ana".to_owned(),
            why: "disk swap".to_owned(),
            at: Timestamp(1),
            until: None,
        }
    }

    #[test]
    fn what_the_last_run_knew_counts_beside_what_holds_without_a_majority() {
        let names = |orders: Vec<Override>| orders.iter().map(|it| it.id.to_string()).collect::<Vec<_>>().join(" ");
        let saved = Newest { orders: vec![order("o-1"), order("l-1")], is_agreed: false };
        assert_eq!(names(saved.with(vec![order("l-2")], |_| false)), "o-1 l-1 l-2");
        assert_eq!(names(saved.with(vec![order("l-1")], |_| false)), "o-1 l-1", "said once");
        assert_eq!(names(saved.with(Vec::new(), |id| id.as_str() == "l-1")), "o-1");
        let agreed = Newest { orders: vec![order("o-1")], is_agreed: true };
        assert_eq!(names(agreed.with(vec![order("l-2")], |_| true)), "o-1 l-2", "what is agreed is not for one node to take back");
    }

    #[tokio::test]
    async fn a_notice_is_sent_when_it_changes_and_not_again() {
        let (commands, mut sent) = mpsc::channel(8);
        let mut told = Told::default();
        let warning = |text: &str| Some((Severity::Warning, text.to_owned()));
        for notice in [None, warning("a"), warning("a"), warning("b"), None, None, warning("b")] {
            told.note(&commands, "no_quorum", notice).await;
        }
        let mut texts = Vec::new();
        while let Ok(command) = sent.try_recv() {
            let Command::Event(Event::Noted { kind: "no_quorum", notice }, _) = command else { panic!("another command") };
            texts.push(notice.map(|(_, text)| text));
        }
        assert_eq!(texts, [Some("a".to_owned()), Some("b".to_owned()), None, Some("b".to_owned())]);
    }
}
