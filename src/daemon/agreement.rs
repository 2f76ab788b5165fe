//! From what is agreed to what this node does: orders and the plan of the cluster come into force here.

use std::sync::Arc;

use portolan_core::{
    health::overlay::Override,
    model::time::Tick,
    node::{Event, report::Severity},
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

/// Without a word of a leader for so long, people are told: an election between regions is over by then.
const LEADERLESS_TOLD: Duration = Duration::from_secs(10);

/// Between looks at the leader.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hands orders to the control task as they are agreed, until `stop`.
pub(super) async fn follow(cluster: Cluster, clock: Arc<Clock>, commands: mpsc::Sender<Command>, stop: CancellationToken) {
    let mut truth = cluster.truth();
    let mut local = cluster.local().changes();
    let mut looks = interval(LOOK_EVERY);
    let started = clock.tick();
    // What this node restored from its last run rules until it hears what is agreed.
    let mut orders: Option<Vec<Override>> = None;
    loop {
        let now = truth.borrow_and_update().clone();
        let is_known = now.via != Via::Nobody && now.state.cluster().is_some();
        let held = cluster.local().all(clock.now().wall);
        let agreed = (is_known || !held.is_empty()).then(|| joined(now.state.overrides(), held));
        if let Some(agreed) = agreed.filter(|agreed| orders.as_ref() != Some(agreed)) {
            orders = Some(agreed.clone());
            if commands.send(Command::Agreed(agreed)).await.is_err() {
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
            note(&commands, "no_quorum", lost.then(|| (Severity::Warning, text()))).await;
            let halted = now.state.halted().map(|halt| (Severity::Critical, halt.to_string()));
            note(&commands, "upgrade_required", halted).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = truth.changed() => if changed.is_err() { return },
            _ = local.changed() => {}
            _ = looks.tick() => {}
        }
    }
}

/// What is agreed, and what holds without: where both have a name, what is agreed.
fn joined(mut agreed: Vec<Override>, held: Vec<Override>) -> Vec<Override> {
    let others: Vec<Override> = held.into_iter().filter(|order| agreed.iter().all(|it| it.id != order.id)).collect();
    agreed.extend(others);
    agreed
}

pub(super) async fn note(commands: &mpsc::Sender<Command>, kind: &'static str, notice: Option<(Severity, String)>) {
    let (done, _) = oneshot::channel();
    // The control task is gone only when the daemon stops.
    let _ = commands.send(Command::Event(Event::Noted { kind, notice }, done)).await;
}
