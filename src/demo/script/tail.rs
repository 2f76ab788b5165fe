//! What the answers of a lost region left behind.

use portolan_core::model::time::{Human, Tick};
use tokio::time::sleep;

use super::{LOST, SLACK, TURN, by, loss::Kill, report::Tail};
use crate::demo::{
    Stop,
    plan::{self, PLACES},
    screen::Screen,
    stage::Stage,
};

/// How often what remains is told.
const TOLD: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) async fn act(stage: &mut Stage, screen: &mut Screen<'_, '_>, kill: &mut Kill) -> Result<Tail, Stop> {
    let (lost, killed) = (PLACES[LOST].name, kill.at);
    screen.head("THE TAIL   resolvers hold an old answer until its time to live is over")?;
    // Each node knows what it answered itself; what the dead ones did lives as long as any answer that was given when they died.
    let mut promised = kill.dark + plan::TTL_MIN;
    for node in stage.side(LOST, false) {
        let status = node.status().await?;
        let of_node = status.services.iter().find(|service| service.name == plan::SERVICE).and_then(|service| service.drained_by);
        if let Some(until) = of_node {
            screen.say(&format!(
                "  {}: by {} no well-behaved resolver can hold an answer of mine that leads to {lost}",
                node.name,
                by(until)
            ))?;
            promised = promised.max(until);
        }
    }
    screen.say(&format!("  answers of the nodes that died live {} longer than they did", Human(plan::TTL_MIN)))?;
    let (mut holding, mut told) = (usize::MAX, Tick::default());
    loop {
        let (now, held) = (stage.clock.now(), stage.clients.holding(LOST));
        if held != holding && (held == 0 || now.tick.since(told) >= TOLD) {
            screen.at(now.tick.since(killed.tick), &format!("{held:>3} of {} resolvers hold one", plan::CLIENTS_PER_REGION))?;
            (holding, told) = (held, now.tick);
        }
        kill.succession.look(stage, screen).await?;
        if held == 0 {
            break;
        }
        if now.wall > promised + SLACK {
            return Err(Stop::Unseen(format!("nobody holds an address of {lost} after {}: {held} resolvers do", by(promised))));
        }
        sleep(TURN).await;
    }
    let Some(until) = stage.clients.held_until(LOST) else {
        return Err(Stop::Unseen(format!("a resolver ever held an address of {lost}")));
    };
    if until.wall > promised {
        return Err(Stop::Unseen(format!("the promise {} holds: an answer could be held until {}", by(promised), by(until.wall))));
    }
    Ok(Tail { last: until.tick.since(killed.tick), promised, promised_after: promised.since(killed.wall) })
}
