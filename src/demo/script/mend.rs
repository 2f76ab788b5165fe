//! The uplink is mended: nobody does anything, and there is one state again.

use std::{collections::BTreeSet, time::Duration};

use portolan_core::model::verdict::Health;
use tokio::time::sleep;

use super::{
    LOST, PATIENCE, TURN, clock,
    orders::{AGREED, LOCAL},
    report::Mended,
    sides::Counts,
};
use crate::demo::{
    Stop,
    plan::{self, PLACES},
    screen::{Screen, seconds},
    stage::{Stage, hears_all},
};

/// For so long at least it is watched whether anybody is led astray: the longest that a change takes to be seen, and one slow start.
const WATCHED: Duration = Duration::from_secs(15);

pub(super) async fn act(stage: &mut Stage, screen: &mut Screen<'_, '_>, counts: &mut Counts) -> Result<Mended, Stop> {
    let lost = PLACES[LOST].name;
    stage.wan.cut(lost, false);
    stage.clients.cut_off(None);
    let mended = stage.clock.now();
    screen.head(&format!("{lost} IS CONNECTED AGAIN   {}", clock(mended.wall)))?;
    let (mut one, mut sound) = (None, None);
    loop {
        let pictures = counts.look(stage).await?;
        stage.clients.sweep().await?;
        let elapsed = stage.clock.tick().since(mended.tick);
        let why_not_one = apart(stage).await?;
        if why_not_one.is_none() && one.is_none() {
            one = Some(elapsed);
            screen.at(elapsed, &format!("all nodes name one leader, and hold the orders `{AGREED}` and `{LOCAL}`, both agreed"))?;
        }
        let ill = pictures.iter().find(|status| !hears_all(status) || status.regions.iter().any(|region| region.observed != Health::Up));
        if ill.is_none() && sound.is_none() {
            sound = Some(elapsed);
            screen.at(elapsed, "all nodes hear all regions, and all regions are UP everywhere")?;
        }
        if let (Some(one), Some(sound)) = (one, sound)
            && elapsed > WATCHED.max(plan::SLOW_START)
        {
            return Ok(Mended { at: mended.tick, one, sound });
        }
        if elapsed > PATIENCE {
            let ill = ill.map(|status| format!("{}: {}", status.node, status.vantage));
            let why = why_not_one.or(ill).unwrap_or_default();
            return Err(Stop::Unseen(format!("all nodes are of one mind within {}: {why}", seconds(PATIENCE))));
        }
        sleep(TURN).await;
    }
}

/// Why the nodes are not of one mind; `None`: they are.
async fn apart(stage: &Stage) -> Result<Option<String>, Stop> {
    let (mut leaders, mut heads) = (BTreeSet::new(), BTreeSet::new());
    for node in &stage.nodes {
        let (cluster, freshness) = node.cluster().await?;
        leaders.insert(freshness.leader.unwrap_or_default());
        heads.insert(cluster.audit_head.map(|head| (head.index, head.hash)).unwrap_or_default());
        let orders = node.orders().await?;
        let names: BTreeSet<&str> =
            orders.iter().filter(|order| !order.local).filter_map(|order| order.name.rsplit_once('/')).map(|(_, name)| name).collect();
        if names != BTreeSet::from([AGREED, LOCAL]) {
            return Ok(Some(format!("{} holds the agreed orders {names:?}", node.name)));
        }
    }
    if leaders.len() != 1 || leaders.contains("") {
        return Ok(Some(format!("leaders {leaders:?}")));
    }
    Ok((heads.len() != 1).then(|| format!("{} heads of the audit chain", heads.len())))
}
