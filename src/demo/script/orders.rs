//! Orders while a region is away: the others agree on them, whichever node they are given to; the cut-off side cannot, and says so.

use std::time::Duration;

use portolan_core::model::time::Tick;
use tokio::time::sleep;

use super::{LOST, NEAR, PATIENCE, TURN, report::Ordered, sides::Counts, sorted};
use crate::{
    cli::Exit,
    demo::{
        Stop,
        node::Node,
        plan::{PLACES, SERVICE},
        screen::{Screen, seconds},
        stage::Stage,
    },
};

/// The order that the others agree on. It moves no traffic.
pub(super) const AGREED: &str = "outage";
/// The order that the cut-off side obeys by itself.
pub(super) const LOCAL: &str = "full-disk";

/// During the loss, at an observer: what would happen, and an order that all nodes which are left know. How long that took.
pub(super) async fn during_the_loss(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<Duration, Stop> {
    let lost = PLACES[LOST].name;
    let node = stage.observer(NEAR)?;
    screen.head(&format!("AN ORDER   given to {}, which does not vote, while {lost} is dark", node.name))?;
    let dry = ["drain", "region", lost, "--for", "30m", "--reason", "power is out", "--dry-run"];
    say_command(screen, node, &dry)?;
    screen.say(&stage.verb(node, &dry).await?)?;
    agree(stage, screen, node, lost).await
}

/// Gives an order to a node and waits until all nodes on its side know it. How long that took.
async fn agree(stage: &Stage, screen: &mut Screen<'_, '_>, node: &Node, region: &str) -> Result<Duration, Stop> {
    let arguments = hold(region);
    say_command(screen, node, &arguments)?;
    let given = stage.clock.tick();
    screen.say(&stage.verb(node, &arguments).await?)?;
    let deadline = given + PATIENCE;
    loop {
        let mut unaware = Vec::new();
        for other in stage.side(LOST, false) {
            if !other.orders().await?.iter().any(|order| order.name.ends_with(&format!("/{AGREED}"))) {
                unaware.push(other.name.as_str());
            }
        }
        let elapsed = stage.clock.tick().since(given);
        if unaware.is_empty() {
            screen.say(&format!("  all nodes on its side know it after {}", seconds(elapsed)))?;
            return Ok(elapsed);
        }
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!("all nodes know of order `{AGREED}` within {}: {}", seconds(PATIENCE), unaware.join(" "))));
        }
        sleep(TURN).await;
    }
}

fn hold(region: &str) -> [&str; 9] {
    ["hold", "region", region, "--for", "30m", "--reason", "wait for the power company", "--id", AGREED]
}

/// While the region is cut off: an order to the others holds, the same to the cut-off side is refused, and a local one is obeyed there.
pub(super) async fn on_both_sides(stage: &mut Stage, screen: &mut Screen<'_, '_>, counts: &mut Counts) -> Result<Ordered, Stop> {
    let lost = PLACES[LOST].name;
    let other = stage.sites[stage.sites.len() - 1].place.name;
    screen.head("ORDERS   the same to both sides: one can agree on it")?;
    let agreed = agree(stage, screen, stage.observer(NEAR)?, other).await?;

    let node = stage.observer(LOST)?;
    let arguments = hold(other);
    say_command(screen, node, &arguments)?;
    let refused = stage.run(node, &arguments).await?;
    screen.say(&refused.err)?;
    if refused.exit != Exit::Unreachable || !refused.err.contains("--local") {
        return Err(Stop::Unseen(format!("{} refuses for want of a majority and names --local: {}", node.name, refused.err)));
    }
    for node in stage.side(LOST, true) {
        if !node.orders().await?.is_empty() {
            return Err(Stop::Unseen(format!("{} knows of no order: {lost} is cut off", node.name)));
        }
    }

    let endpoint = stage.sites[LOST].addresses().first().map(ToString::to_string).unwrap_or_default();
    let object = format!("{SERVICE}/{lost}/{endpoint}");
    counts.ordered = Some(object.clone());
    let local = ["drain", "endpoint", object.as_str(), "--for", "30m", "--reason", "its disk is full", "--id", LOCAL, "--local", "--yes"];
    say_command(screen, node, &local)?;
    let given = stage.clock.tick();
    screen.say(&stage.verb(node, &local).await?)?;
    let obeyed = obeyed(stage, given, counts).await?;
    screen.say(&format!("  all clients of {lost} get its other endpoint after {}", seconds(obeyed)))?;
    Ok(Ordered { agreed, obeyed })
}

/// Until every client of the region gets what is left of it.
async fn obeyed(stage: &mut Stage, given: Tick, counts: &mut Counts) -> Result<Duration, Stop> {
    let left: Vec<std::net::IpAddr> = stage.sites[LOST].addresses().iter().skip(1).map(std::net::SocketAddr::ip).collect();
    loop {
        counts.look(stage).await?;
        let sweep = stage.clients.sweep().await?;
        let ours = sweep.answers.iter().filter(|answered| answered.home == LOST);
        let astray = ours.filter(|answered| sorted(&answered.addresses) != sorted(&left)).count();
        let elapsed = stage.clock.tick().since(given);
        if astray == 0 {
            return Ok(elapsed);
        }
        if elapsed > PATIENCE {
            return Err(Stop::Unseen(format!("clients of {} get {left:?} only: {astray} get something else", PLACES[LOST].name)));
        }
        sleep(TURN).await;
    }
}

fn say_command(screen: &mut Screen<'_, '_>, node: &Node, arguments: &[&str]) -> Result<(), Stop> {
    let quoted: Vec<String> =
        arguments.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() }).collect();
    Ok(screen.say(&format!("\n$ portolan {} --address {}", quoted.join(" "), node.listeners()?.control))?)
}
