//! The scenarios, act by act. Each act shows what happens, measures it, and ends the demo when something expected was not seen.

mod comeback;
mod cut;
mod data;
mod leader;
mod loss;
mod mend;
mod opening;
mod orders;
mod report;
mod sides;
mod steady;
mod tail;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use portolan_core::model::time::Timestamp;

use super::{Stop, clients::Answered, plan::PLACES, screen::Screen, stage::Stage};
use report::{LossReport, PartitionReport};

/// The region that it happens to: the first one.
const LOST: usize = 0;
/// Whose nodes are asked about it: the nearest one.
const NEAR: usize = 1;
/// Between two pictures while things move, and what figures are as fine as.
const TURN: Duration = Duration::from_millis(100);
/// On top of what settings allow, for a busy machine: a sweep, a picture, a late wake-up, a silent node that was asked first.
const SLACK: Duration = Duration::from_secs(5);
/// For what has no setting of its own: elections and reunions between regions, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A region dies, nodes and all, and comes back.
pub(super) async fn region_loss(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let lost = PLACES[LOST].name;
    opening::show(stage, screen)?;
    steady::act(stage, screen).await?;
    leader::put(stage, screen).await?;
    data::ready(stage, screen).await?;
    screen.ask(&format!("kill {lost}")).await?;
    let (mut killed, loss) = loss::act(stage, screen).await?;
    let tail = tail::act(stage, screen, &mut killed).await?;
    let mut data = data::failover(stage, screen, killed.at).await?;
    let leader = leader::wait(stage, screen, killed.succession).await?;
    let order = orders::during_the_loss(stage, screen).await?;
    screen.ask(&format!("bring {lost} back")).await?;
    let rejoined = comeback::nodes(stage, screen).await?;
    if let Some(data) = &mut data {
        data.follows_again = Some(data::revive(stage, screen).await?);
    }
    let comeback = comeback::endpoints(stage, screen).await?;
    let report = LossReport {
        region: lost,
        loss,
        tail,
        data,
        leader,
        order,
        rejoined,
        comeback,
        strayed: stage.clients.strayed(Some(LOST)),
        others: stage.clients.map.clients.iter().filter(|client| client.home != LOST).count(),
        totals: stage.clients.totals(),
    };
    end(screen, &report.to_string(), report.check()).await
}

/// A region loses its uplink, and gets it back.
pub(super) async fn partition(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let lost = PLACES[LOST].name;
    opening::show(stage, screen)?;
    steady::act(stage, screen).await?;
    leader::put(stage, screen).await?;
    data::ready(stage, screen).await?;
    screen.ask(&format!("cut the uplink of {lost}")).await?;
    let mut counts = sides::Counts::default();
    let held = data::Held::watch(stage);
    let (cut, apart) = cut::act(stage, screen, &mut counts).await?;
    let mut data = data::cut_off(stage, screen, cut, held).await?;
    let ordered = orders::on_both_sides(stage, screen, &mut counts).await?;
    screen.ask("mend it").await?;
    let mended = mend::act(stage, screen, &mut counts).await?;
    if let Some(data) = &mut data {
        data.moved.follows_again = Some(data::follows(stage, screen, mended.at).await?);
    }
    let report = PartitionReport {
        region: lost,
        apart,
        data,
        ordered,
        mended,
        counts,
        strayed: stage.clients.strayed(None),
        clients: stage.clients.map.clients.len(),
        totals: stage.clients.totals(),
    };
    end(screen, &report.to_string(), report.check()).await
}

async fn end(screen: &mut Screen<'_, '_>, report: &str, checked: Result<(), Stop>) -> Result<(), Stop> {
    screen.head("REPORT")?;
    screen.say(report)?;
    checked?;
    screen.say("PASSED  everything that was expected was seen")?;
    screen.ask("end the demo").await
}

//--- What several acts say

/// `100 get eu-west-1`, over all regions.
fn tally<'a>(answers: impl Iterator<Item = &'a Answered>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answered in answers {
        let region = answered.region.map_or("no single region", |region| PLACES[region].name);
        *counts.entry(region).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(region, count)| format!("{count} get {region}")).collect();
    counts.join(", ")
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses
}

/// `03:03:20Z`; a part of a second counts as a whole one, since "by then" must not be said too early.
fn by(at: Timestamp) -> String {
    clock(at + Duration::from_millis(999))
}

/// `03:03:20Z`.
fn clock(at: Timestamp) -> String {
    at.to_string().split_once('T').map_or_else(String::new, |(_, clock)| clock.to_owned())
}
