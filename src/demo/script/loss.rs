//! The region dies: its endpoints, its nodes, its ways to everywhere. Nobody says goodbye.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::model::{
    record::RecordType,
    time::{Now, Tick, Timestamp},
    verdict::Health,
};
use tokio::time::sleep;

use super::{LOST, NEAR, SLACK, TURN, clock, leader::Succession, report::Loss, sorted, tally};
use crate::{
    cli::{Exit, Failure},
    client::ClientNetwork,
    demo::{
        Stop,
        ask::CLIENT_PREFIX,
        clients::Sweep,
        plan::{self, PLACES},
        screen::{Screen, seconds},
        stage::Stage,
        watching::Watching,
    },
};

pub(super) async fn act(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(Kill, Loss), Stop> {
    let lost = PLACES[LOST].name;
    let near = stage.voter(NEAR)?.name.clone();
    let mut watching = Watching::new(lost, &stage.status(&near).await?);
    let mut kill = kill(stage).await?;
    let killed = kill.at;
    screen.head(&format!("{lost} DIES   {}", clock(killed.wall)))?;
    let names: Vec<&str> = stage.nodes.iter().filter(|node| !node.is_running()).map(|node| node.name.as_str()).collect();
    screen.at(
        Duration::ZERO,
        &format!("{lost} is dark: its endpoints, and its nodes {}; no connection to it comes about", names.join(" ")),
    )?;

    let bound = plan::detection_max() + SLACK;
    let mut detected: Option<Duration> = None;
    let mut moved: BTreeMap<usize, Tick> = BTreeMap::new();
    let clients = stage.clients.map.clients.iter().filter(|client| client.home == LOST).count();
    let sweep = loop {
        let status = stage.status(&near).await?;
        for line in watching.changes(&status) {
            screen.at(stage.clock.tick().since(killed.tick), &line)?;
        }
        let region = status.regions.iter().find(|region| region.name == lost && region.observed == Health::Down);
        detected = detected.or_else(|| region.and_then(|region| region.since).map(|since| since.since(killed.wall)));
        let sweep = stage.clients.sweep().await?;
        let n_moved = moved.len();
        note_moved(&sweep, &mut moved);
        if moved.len() != n_moved {
            let gets = tally(sweep.answers.iter().filter(|answered| answered.home == LOST));
            screen.at(sweep.finished.tick.since(killed.tick), &format!("answers of the clients of {lost}: {gets}"))?;
        }
        kill.succession.look(stage, screen).await?;
        let elapsed = stage.clock.tick().since(killed.tick);
        let is_away = detected.is_some() && moved.len() == clients;
        if is_away {
            break sweep;
        }
        if elapsed > bound {
            let state = if detected.is_some() { "DOWN" } else { "not DOWN" };
            return Err(Stop::Unseen(format!(
                "the answers leave {lost} within {}: it is {state} in status, and {} of {clients} clients moved",
                seconds(bound),
                moved.len()
            )));
        }
        sleep(TURN).await;
    };
    let last = moved.values().max().copied().unwrap_or(killed.tick);
    let loss = Loss {
        detected: detected.unwrap_or_default(),
        moved: last.since(killed.tick),
        clients,
        to: tally(sweep.answers.iter().filter(|answered| answered.home == LOST)),
    };
    explain(stage, screen, &sweep).await?;
    Ok((kill, loss))
}

/// When it died.
pub(super) struct Kill {
    /// From when on it was not reached.
    pub(super) at: Now,
    /// When the last of it was gone: until then its nodes may have answered.
    pub(super) dark: Timestamp,
    /// Its voter led.
    pub(super) succession: Succession,
}

/// As a loss of power does: at once, and without a word.
async fn kill(stage: &mut Stage) -> Result<Kill, Stop> {
    stage.wan.cut(PLACES[LOST].name, true);
    let at = stage.clock.now();
    for node in stage.nodes.iter_mut().filter(|node| node.region == Some(LOST)) {
        node.kill(&stage.clock).await?;
    }
    if let Ok(data) = &mut stage.data {
        data.databases.lose(LOST).await?;
    }
    stage.sites[LOST].lose().await?;
    Ok(Kill { at, dark: stage.clock.now().wall, succession: Succession::new(at.tick) })
}

/// Remembers when each client of the lost region was first answered with another one; who went back has not moved.
fn note_moved(sweep: &Sweep, moved: &mut BTreeMap<usize, Tick>) {
    for (position, answered) in sweep.answers.iter().enumerate().filter(|(_, answered)| answered.home == LOST) {
        match answered.region {
            Some(region) if region != LOST => {
                moved.entry(position).or_insert(answered.at.tick);
            }
            _ => {
                moved.remove(&position);
            }
        }
    }
}

/// Shows why one moved client gets what it gets, and checks that the explained answer is the one that was served.
async fn explain(stage: &Stage, screen: &mut Screen<'_, '_>, sweep: &Sweep) -> Result<(), Stop> {
    let Some(position) = sweep.answers.iter().position(|answered| answered.home == LOST) else { return Ok(()) };
    let client = format!("{}/{CLIENT_PREFIX}", stage.clients.map.clients[position].network);
    let node = stage.voter(NEAR)?;
    let address = node.listeners()?.control;
    screen.say(&format!("\n$ portolan dns query {} --client {client} --address {address}", plan::HOSTNAME))?;
    screen.say(&stage.verb(node, &["dns", "query", plan::HOSTNAME, "--client", &client]).await?)?;

    let unreadable = |what: &str| Failure::new(Exit::Error, format!("demo: read the {what} of our own query"));
    let name = plan::HOSTNAME.parse().map_err(|_| unreadable("name"))?;
    let network: ClientNetwork = client.parse().map_err(|_| unreadable("client"))?;
    let preview = node.client()?.preview(&name, RecordType::A, Some(network), None, None).await?;
    let explained: Vec<std::net::IpAddr> = preview.answers.iter().filter_map(|record| record.data.parse().ok()).collect();
    let served = &sweep.answers[position].addresses;
    if sorted(&explained) != sorted(served) {
        return Err(Stop::Unseen(format!("the explained answer {explained:?} is the served one {served:?}")));
    }
    screen.say(&format!("\n$ portolan status --address {address}"))?;
    Ok(screen.say(&stage.verb(node, &["status"]).await?)?)
}
