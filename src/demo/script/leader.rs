//! Who leads: before, so that the region which is lost has the leader, and after.

use std::time::Duration;

use portolan_core::model::time::Tick;
use tokio::time::sleep;

use super::{LOST, PATIENCE, TURN};
use crate::demo::{
    Stop,
    screen::{Screen, seconds},
    stage::Stage,
};

/// Hands leadership to the region's voter, as an operator would, unless it leads already: so the loss costs the leader, too.
pub(super) async fn put(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let voter = stage.voter(LOST)?;
    let deadline = stage.clock.tick() + PATIENCE;
    let mut told = false;
    loop {
        // Every node says so.
        let mut leaders = Vec::new();
        for node in &stage.nodes {
            leaders.push(node.cluster().await?.1.leader);
        }
        if leaders.iter().all(|leader| leader.as_deref() == Some(&voter.name)) {
            let text = if told { "all nodes know it" } else { "it has led from the start" };
            return Ok(screen.say(&format!("  {} leads; {text}", voter.name))?);
        }
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!("{} leads, as all nodes know: {leaders:?}", voter.name)));
        }
        if leaders.iter().flatten().all(|leader| *leader != voter.name) {
            let arguments = ["peers", "transfer", voter.name.as_str(), "--reason", "the demo loses the leader, too", "--yes"];
            let done = stage.run(voter, &arguments).await?;
            if !told && done.exit == crate::cli::Exit::Ok {
                let control = voter.listeners()?.control;
                screen.say(&format!("\n$ portolan peers transfer {} --reason \"...\" --address {control}", voter.name))?;
                screen.say(&done.out)?;
                told = true;
            }
        }
        sleep(TURN).await;
    }
}

/// Waits for another leader.
pub(super) struct Succession {
    begun: Tick,
    after: Option<Change>,
}

/// Waits until all that are left know another leader.
pub(super) async fn wait(stage: &Stage, screen: &mut Screen<'_, '_>, mut succession: Succession) -> Result<Change, Stop> {
    loop {
        succession.look(stage, screen).await?;
        match succession.after {
            Some(change) => return Ok(change),
            None if stage.clock.tick().since(succession.begun) > PATIENCE => return Err(succession.missed()),
            None => sleep(TURN).await,
        }
    }
}

/// Leadership that passed on.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Who led.
    pub(super) before: String,
    /// Who leads.
    pub(super) after: String,
    /// From the loss until all nodes that are left knew.
    pub(super) known: Duration,
}

impl Succession {
    pub(super) const fn new(begun: Tick) -> Self {
        Self { begun, after: None }
    }

    /// Looks, and tells the change when all that are left on the others' side know it.
    pub(super) async fn look(&mut self, stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
        if self.after.is_some() {
            return Ok(());
        }
        let before = stage.voter(LOST)?.name.clone();
        let mut leaders = Vec::new();
        for node in stage.side(LOST, false) {
            leaders.push(node.cluster().await?.1.leader);
        }
        let [Some(after), others @ ..] = &leaders[..] else { return Ok(()) };
        if *after == before || others.iter().any(|other| other.as_ref() != Some(after)) {
            return Ok(());
        }
        let known = stage.clock.tick().since(self.begun);
        screen.at(known, &format!("leader  {after} leads, as all nodes on its side know; {before} did"))?;
        self.after = Some(Change { before, after: after.clone(), known });
        Ok(())
    }

    /// The change, once it was seen.
    pub(super) const fn change(&self) -> Option<&Change> {
        self.after.as_ref()
    }

    /// What was not seen in time.
    pub(super) fn missed(&self) -> Stop {
        Stop::Unseen(format!("another leader within {}", seconds(PATIENCE)))
    }
}
