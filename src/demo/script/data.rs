//! The data: a primary, its standbys, and a client that writes to wherever the name leads.

use std::{collections::BTreeSet, time::Duration};

use portolan_core::{
    failover::group::{Closed, Ending, Operation, Phase},
    model::{
        ids::Label,
        time::{Now, Tick},
    },
};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    LOST, NEAR, PATIENCE, TURN,
    report::{DataApart, DataMoved},
};
use crate::{
    api::proto::GetOutlookRequest,
    demo::{
        Stop,
        data::{Acknowledged, GROUP, Kind, WRITE_NAME},
        plan::{self, PLACES},
        screen::{Screen, seconds},
        stage::{Data, Stage},
    },
};

/// Writes that are seen before anything is lost.
const WRITES: u64 = 20;

/// Where the databases are, or why there are none.
pub(super) fn show(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let data = match &stage.data {
        Ok(data) => data,
        Err(why) => return Ok(screen.say(&format!("\nno databases: {why}"))?),
    };
    let what = match &data.databases.kind {
        Kind::Postgres(bin) => format!("real PostgreSQL, with the programs in {}", bin.display()),
        Kind::Fake => "the fake that is shipped for drills".to_owned(),
    };
    screen.say(&format!("\ndata group {GROUP}, {what}; {WRITE_NAME} leads to its primary"))?;
    for member in &data.databases.members {
        screen.say(&format!("  {:<16}{}", PLACES[member.region].name, member.address))?;
    }
    Ok(())
}

/// Waits until the group would survive, and its client writes.
pub(super) async fn ready(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let Ok(data) = &stage.data else { return Ok(()) };
    screen.head(&format!("THE DATA   a client in {} asks for {WRITE_NAME} and writes where it leads", PLACES[NEAR].name))?;
    let node = stage.voter(NEAR)?;
    let deadline = stage.clock.tick() + PATIENCE;
    loop {
        let request = GetOutlookRequest { name: format!("groups/{GROUP}") };
        let outlook = node.client()?.get_outlook(request).await?.outlook.unwrap_or_default();
        let written = data.writer.last().map_or(0, |last| last.number);
        if outlook.ready && written >= WRITES {
            break;
        }
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!(
                "group {GROUP} would be failed over, and {WRITES} writes were acknowledged, within {}: {written} were; {outlook:?}",
                seconds(PATIENCE)
            )));
        }
        sleep(TURN).await;
    }
    let arguments = ["recovery", "readiness", GROUP];
    screen.say(&format!("\n$ portolan {} --address {}", arguments.join(" "), node.listeners()?.control))?;
    Ok(screen.say(&stage.verb(node, &arguments).await?)?)
}

/// The primary of the region that is cut off, asked by somebody beside it, until it answers nobody any more.
pub(super) struct Held(Option<JoinHandle<Now>>);

impl Held {
    /// Asks from now on.
    pub(super) fn watch(stage: &Stage) -> Self {
        let Ok(data) = &stage.data else { return Self(None) };
        let (reach, clock, address) = (data.reach.clone(), stage.clock.clone(), data.databases.members[LOST].address);
        Self(Some(tokio::spawn(async move {
            while reach.connect(address).await.is_ok() {
                sleep(TURN).await;
            }
            clock.now()
        })))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The primary is cut off: it ends by itself within its lease, and after that another one is promoted.
pub(super) async fn cut_off(stage: &Stage, screen: &mut Screen<'_, '_>, cut: Now, mut held: Held) -> Result<Option<DataApart>, Stop> {
    let Some(held) = &mut held.0 else { return Ok(None) };
    let lost = PLACES[LOST].name;
    let ended = tokio::time::timeout(PATIENCE, held).await.ok().and_then(Result::ok);
    let ended = ended.ok_or_else(|| Stop::Unseen(format!("the database in {lost} ends, which nobody told it to")))?;
    screen.head(&format!("THE DATA   its primary is alone in {lost}, and clients there could still write to it"))?;
    let served_for = ended.tick.since(cut.tick);
    screen.at(served_for, &format!("the database in {lost} ended with its lease: it can ask nobody for another one"))?;
    let Some(moved) = failover(stage, screen, cut).await? else { return Ok(None) };
    Ok(Some(DataApart { served_for, moved }))
}

/// Waits until the group was failed over, shows what was done, and holds what was acknowledged against what is kept. `gone`: when the primary was.
pub(super) async fn failover(stage: &Stage, screen: &mut Screen<'_, '_>, gone: Now) -> Result<Option<DataMoved>, Stop> {
    let Ok(data) = &stage.data else { return Ok(None) };
    let lost = PLACES[LOST].name;
    screen.head(&format!("THE DATA   its primary was in {lost}; nobody is awake"))?;
    let node = stage.voter(NEAR)?;
    let group = Label::new(GROUP);
    let (mut told, deadline) = (0, gone.tick + PATIENCE);
    let closed = loop {
        let daemon = node.daemon().ok_or_else(|| Stop::Unseen(format!("{} runs", node.name)))?;
        let state = daemon.agreed();
        let agreed = state.group(&group);
        let open = agreed.and_then(|it| it.operation.as_ref());
        let latest = agreed.and_then(|it| it.latest.as_ref());
        if let Some(operation) = open.or_else(|| latest.map(|closed| &closed.operation)) {
            tell(screen, operation, gone, &mut told)?;
        }
        if let (None, Some(closed)) = (open, latest) {
            break closed.clone();
        }
        if stage.clock.tick() > deadline {
            let at = open.map_or_else(|| "no operation".to_owned(), |it| format!("{:?}, {:?}", it.phase, it.held));
            return Err(Stop::Unseen(format!("group {GROUP} is failed over within {}: {at}", seconds(PATIENCE))));
        }
        sleep(TURN).await;
    };
    if closed.ending != Ending::Succeeded {
        return Err(Stop::Unseen(format!("the failover of {GROUP} succeeds: it ended as {:?}", closed.ending)));
    }
    let moved = compare(stage, data, gone, &closed).await?;
    let arguments = ["report", &format!("op-{}", closed.operation.id)];
    screen.say(&format!("\n$ portolan {} --address {}", arguments.join(" "), node.listeners()?.control))?;
    screen.say(&stage.verb(node, &arguments).await?)?;
    Ok(Some(moved))
}

/// Each step, once.
fn tell(screen: &mut Screen<'_, '_>, operation: &Operation, gone: Now, told: &mut usize) -> Result<(), Stop> {
    for mark in operation.marks.iter().skip(*told) {
        screen.at(mark.at.since(gone.wall), &format!("op-{}  {}", operation.id, mark.text))?;
        *told += 1;
    }
    Ok(())
}

async fn compare(stage: &Stage, data: &Data, gone: Now, closed: &Closed) -> Result<DataMoved, Stop> {
    let deadline = stage.clock.tick() + PATIENCE;
    let resumed = loop {
        if let Some(after) = data.writer.last().filter(|last| last.at > gone.tick + TURN) {
            break after;
        }
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!("writes are acknowledged again within {}", seconds(PATIENCE))));
        }
        sleep(TURN).await;
    };
    let acknowledged = data.writer.acknowledged();
    let chosen = closed.operation.chosen.as_ref().ok_or_else(|| Stop::Unseen("the record says who was chosen".to_owned()))?;
    let region = chosen.choice.region.as_str();
    let member = data.databases.members.iter().find(|member| PLACES[member.region].name == region);
    let member = member.ok_or_else(|| Stop::Unseen(format!("{region} has a member")))?;
    let kept: BTreeSet<u64> = data.reach.connect(member.address).await?.kept().await?.into_iter().collect();
    let lost: Vec<Acknowledged> = acknowledged.iter().filter(|write| !kept.contains(&write.number)).copied().collect();
    let waits = acknowledged.windows(2).map(|pair| pair[1].at.since(pair[0].at));
    let promoted = closed.operation.marks.iter().find(|mark| mark.phase == Phase::Promoting).map(|mark| mark.at);
    Ok(DataMoved {
        to: region.to_owned(),
        promoted_after: promoted.map(|at| at.since(gone.wall)),
        interrupted: waits.max().unwrap_or_default(),
        acknowledged: acknowledged.iter().filter(|write| write.at <= resumed.at).count(),
        lost: lost.len(),
        // The oldest write that is lost was acknowledged so long before the region was.
        lost_since: lost.first().map(|first| gone.tick.since(first.at)),
        reported: chosen.loss,
        is_quorum: data.databases.members.len() > 2,
        follows_again: None,
    })
}

/// Switches the old primary on again, and waits until it has what the new one has: how long that took.
pub(super) async fn revive(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<Duration, Stop> {
    let begun = stage.clock.tick();
    if let Ok(data) = &mut stage.data {
        data.databases.revive(LOST, &stage.clock).await?;
    }
    follows(stage, screen, begun).await
}

/// Waits until the old primary has what the new one has: how long that took, from when it could.
pub(super) async fn follows(stage: &Stage, screen: &mut Screen<'_, '_>, begun: Tick) -> Result<Duration, Stop> {
    let lost = PLACES[LOST].name;
    let Ok(data) = &stage.data else { return Ok(Duration::ZERO) };
    let written = data.writer.last().map_or(0, |last| last.number);
    let address = data.databases.members[LOST].address;
    loop {
        let kept = match data.reach.connect(address).await {
            Ok(mut connection) => connection.kept().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let elapsed = stage.clock.tick().since(begun);
        if kept.contains(&written) {
            screen.at(elapsed, &format!("the database in {lost} follows, and has write {written}, which was made while it was away"))?;
            return Ok(elapsed);
        }
        if elapsed > plan::LEASE + PATIENCE {
            return Err(Stop::Unseen(format!("the old primary in {lost} follows within {}", seconds(plan::LEASE + PATIENCE))));
        }
        sleep(TURN).await;
    }
}
