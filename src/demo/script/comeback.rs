//! The region comes back: first its nodes, which rejoin by themselves, then its endpoints, which get their clients step by step.

use std::time::Duration;

use portolan_core::model::verdict::Health;
use tokio::time::sleep;

use super::{LOST, NEAR, PATIENCE, SLACK, TURN, clock, orders::AGREED, report::Return};
use crate::demo::{
    Stop,
    clients::Sweep,
    plan::{self, PLACES},
    screen::{Screen, seconds},
    stage::{Stage, hears_all},
    watching::Watching,
};

/// Two nodes may be a second of slow start apart, and a client that one leaves waiting asks the other.
const APART_PERCENT: usize = 10;

/// Switches its nodes on, and waits until they know what the others do. How long that took.
pub(super) async fn nodes(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<Duration, Stop> {
    let lost = PLACES[LOST].name;
    stage.wan.cut(lost, false);
    let begun = stage.clock.now();
    screen.head(&format!("{lost} COMES BACK   {}", clock(begun.wall)))?;
    screen.at(Duration::ZERO, &format!("the nodes of {lost} are switched on, with their disks as they were; its endpoints are not yet"))?;
    for node in stage.nodes.iter_mut().filter(|node| node.region == Some(LOST)) {
        node.start(&stage.clock).await?;
    }
    loop {
        let mut why = None;
        for node in stage.side(LOST, true) {
            let (status, (_, freshness)) = (node.status().await?, node.cluster().await?);
            let knows = node.orders().await?.iter().any(|order| order.name.ends_with(&format!("/{AGREED}")));
            let is_down = status.regions.iter().any(|region| region.name == lost && region.observed == Health::Down);
            if !(knows && is_down && hears_all(&status) && freshness.leader.is_some()) {
                why = Some(format!(
                    "{}: {}, leader {:?}, order known: {knows}, {lost} known to be down: {is_down}",
                    node.name, status.vantage, freshness.leader
                ));
            }
        }
        let elapsed = stage.clock.tick().since(begun.tick);
        match why {
            None => {
                screen.at(elapsed, &format!("they know the leader, the order, and that {lost} is down: nobody told them to rejoin"))?;
                return Ok(elapsed);
            }
            Some(why) if elapsed > PATIENCE => {
                return Err(Stop::Unseen(format!("the nodes of {lost} rejoin within {}: {why}", seconds(PATIENCE))));
            }
            Some(_) => sleep(TURN).await,
        }
    }
}

/// Lets its endpoints listen, and watches its clients come back.
pub(super) async fn endpoints(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<Return, Stop> {
    let lost = PLACES[LOST].name;
    let near = stage.voter(NEAR)?.name.clone();
    let mut watching = Watching::new(lost, &stage.status(&near).await?);
    stage.sites[LOST].revive()?;
    let revived = stage.clock.now();
    screen.say(&format!("\n  its endpoints listen again at {}; it gets its clients back step by step", clock(revived.wall)))?;

    let bound = plan::return_max() + plan::SLOW_START + SLACK;
    let mut seen: Option<Duration> = None;
    let (mut share, mut first) = (0, None);
    loop {
        let status = stage.status(&near).await?;
        for line in watching.changes(&status) {
            screen.at(stage.clock.tick().since(revived.tick), &line)?;
        }
        let region = status.regions.iter().find(|region| region.name == lost && region.observed == Health::Up);
        seen = seen.or_else(|| region.and_then(|region| region.since).map(|since| since.since(revived.wall)));
        let sweep = stage.clients.sweep().await?;
        let elapsed = sweep.finished.tick.since(revived.tick);
        let (count, of) = at_home(&sweep);
        if count + of * APART_PERCENT / 100 < share {
            return Err(Stop::Unseen(format!("the share of {lost} only grows: it fell from {share} to {count} of {of} clients")));
        }
        if count > share {
            share = count;
            first = first.or(Some(count));
            screen.at(elapsed, &format!("{count:>3} of {of} clients get {lost}  [{}]", bar(count, of)))?;
        }
        if count == of {
            let first = first.filter(|first| *first < of);
            return match (seen, first) {
                (Some(seen), Some(first)) => Ok(Return { seen, first, back: elapsed, clients: of }),
                _ => Err(Stop::Unseen(format!("{lost} takes a part of its clients first: all {of} came at once"))),
            };
        }
        if elapsed > bound {
            let state = if seen.is_some() { "UP" } else { "not UP" };
            return Err(Stop::Unseen(format!(
                "the clients of {lost} are back within {}: it is {state} in status, and {count} of {of} are",
                seconds(bound)
            )));
        }
        sleep(TURN).await;
    }
}

/// Clients of the lost region that get it, and how many there are.
fn at_home(sweep: &Sweep) -> (usize, usize) {
    let ours = || sweep.answers.iter().filter(|answered| answered.home == LOST);
    (ours().filter(|answered| answered.region == Some(LOST)).count(), ours().count())
}

fn bar(count: usize, of: usize) -> String {
    const WIDTH: usize = 25;
    let full = count * WIDTH / of.max(1);
    format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full))
}
