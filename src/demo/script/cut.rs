//! The region's uplink is cut: its nodes reach neither other regions nor references, its own endpoints are fine.

use std::time::Duration;

use portolan_core::{
    model::{time::Now, verdict::Health},
    node::report::Status,
};
use tokio::time::sleep;

use super::{LOST, NEAR, PATIENCE, TURN, clock, leader::Succession, report::Apart, sides::Counts, tally};
use crate::demo::{
    Stop,
    plan::PLACES,
    screen::{Screen, seconds},
    stage::Stage,
    watching::Watching,
};

/// The moments, each from the cut on.
#[derive(Debug, Default)]
struct Seen {
    blind: Option<Duration>,
    no_quorum: Option<Duration>,
    unreachable: Option<Duration>,
}

/// Cuts it; when that was, and how both sides came to know.
pub(super) async fn act(stage: &mut Stage, screen: &mut Screen<'_, '_>, counts: &mut Counts) -> Result<(Now, Apart), Stop> {
    let lost = PLACES[LOST].name;
    let near = stage.voter(NEAR)?.name.clone();
    let mut watching = Watching::new(lost, &stage.status(&near).await?);
    // What each node of the region says of itself.
    let mut told: Vec<String> = Vec::new();
    for node in stage.side(LOST, true) {
        told.push(format!("{}: {}", node.name, node.status().await?.vantage));
    }
    stage.wan.cut(lost, true);
    stage.clients.cut_off(Some(LOST));
    let cut = stage.clock.now();
    screen.head(&format!("{lost} IS CUT OFF   {}", clock(cut.wall)))?;
    screen.at(Duration::ZERO, "its nodes reach no other region and no reference, and nobody reaches them; its endpoints are fine")?;

    let (mut seen, mut succession) = (Seen::default(), Succession::new(cut.tick));
    loop {
        let pictures = counts.look(stage).await?;
        let elapsed = stage.clock.tick().since(cut.tick);
        for status in &pictures {
            if status.node == near {
                for line in watching.changes(status) {
                    screen.at(elapsed, &format!("{near}: {line}"))?;
                }
            }
            let no_quorum = status.notices.iter().any(|notice| notice.kind == "no_quorum").then_some("no_quorum: nothing can be agreed");
            for line in no_quorum.into_iter().chain([status.vantage.as_str()]) {
                let line = format!("{}: {line}", status.node);
                if status.region == lost && !told.contains(&line) {
                    screen.at(elapsed, &line)?;
                    told.push(line);
                }
            }
        }
        seen.note(&pictures, elapsed);
        succession.look(stage, screen).await?;
        let sweep = stage.clients.sweep().await?;
        if let Some(astray) = sweep.answers.iter().find(|answered| answered.region != Some(answered.home)) {
            let home = PLACES[astray.home].name;
            return Err(Stop::Unseen(format!("every client stays with its own region: one of {home} gets {:?}", astray.addresses)));
        }
        if let (Seen { blind: Some(blind), no_quorum: Some(no_quorum), unreachable: Some(unreachable) }, Some(leader)) =
            (&seen, succession.change())
        {
            screen.at(elapsed, &format!("answers of all clients: {}", tally(sweep.answers.iter())))?;
            let apart = Apart { blind: *blind, no_quorum: *no_quorum, unreachable: *unreachable, leader: leader.clone() };
            why(stage, screen).await?;
            return Ok((cut, apart));
        }
        if elapsed > PATIENCE {
            return Err(Stop::Unseen(format!(
                "both sides know what they lack within {}: {seen:?}, leader {:?}",
                seconds(PATIENCE),
                succession.change()
            )));
        }
        sleep(TURN).await;
    }
}

impl Seen {
    /// Each moment is the first at which all nodes of that side say so.
    fn note(&mut self, pictures: &[Status], elapsed: Duration) {
        let lost = PLACES[LOST].name;
        let all = |is_inside: bool, says: &dyn Fn(&Status) -> bool| {
            pictures.iter().filter(|status| (status.region == lost) == is_inside).all(says).then_some(elapsed)
        };
        self.blind = self.blind.or_else(|| all(true, &|status| status.vantage.ends_with("blind")));
        self.no_quorum = self.no_quorum.or_else(|| all(true, &|status| status.notices.iter().any(|notice| notice.kind == "no_quorum")));
        let is_named = |status: &Status| {
            status.regions.iter().any(|region| region.name == lost && region.observed == Health::Down && region.cause.is_some())
        };
        self.unreachable = self.unreachable.or_else(|| all(false, &is_named));
    }
}

/// What an operator on each side is told.
async fn why(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    for node in [stage.voter(NEAR)?, stage.voter(LOST)?] {
        screen.say(&format!("\n$ portolan status --address {}   # {}", node.listeners()?.control, node.name))?;
        screen.say(&stage.verb(node, &["status"]).await?)?;
    }
    Ok(())
}
