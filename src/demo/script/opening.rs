//! Opening: what runs, and how to look at it.

use portolan_core::model::time::Human;

use super::{LOST, NEAR};
use crate::demo::{
    Stop,
    ask::CLIENT_PREFIX,
    plan::{self, PLACES, WITNESS},
    screen::{Screen, seconds},
    stage::Stage,
};

pub(super) fn show(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let (n, nodes) = (stage.sites.len(), stage.nodes.len());
    screen.head(&format!("PORTOLAN DEMO   {n} regions with {nodes} nodes on this machine; nothing is installed; Ctrl-C ends it"))?;
    screen.say(&format!("{:<16}{:<17}HTTP ENDPOINTS", "REGION", "CLIENTS IN"))?;
    for site in &stage.sites {
        let addresses: Vec<String> = site.addresses().iter().map(ToString::to_string).collect();
        screen.say(&format!("{:<16}{:<17}{}", site.place.name, site.place.network(), addresses.join(" ")))?;
    }
    screen.say(&format!("\n{:<10}{:<16}{:<10}{:<20}{:<20}HEALTH AND METRICS", "NODE", "IN", "ROLE", "DNS", "CONTROL"))?;
    for node in &stage.nodes {
        let role = match (node.is_voter, node.region) {
            (true, Some(_)) => "voter",
            (true, None) => WITNESS,
            (false, _) => "observer",
        };
        let at = node.listeners()?;
        let [dns, control, http] = [at.dns, at.control, at.http].map(|address| address.to_string());
        screen.say(&format!("{:<10}{:<16}{role:<10}{dns:<20}{control:<20}{http}", node.name, node.place()))?;
    }
    let mut ways = Vec::new();
    for (at, one) in PLACES[..n].iter().enumerate() {
        for other in &PLACES[at + 1..n] {
            ways.push(format!("{} to {} {}ms", one.stem, other.stem, plan::round_trip(one.name, other.name).as_millis()));
        }
    }
    super::data::show(stage, screen)?;
    screen.say(&format!("\nround trips, emulated by relays: {}", ways.join(", ")))?;
    screen.say(&format!("plan {}", stage.plan.display()))?;
    screen.say(&format!(
        "probe every {}, in doubt every {}; fall {}, rise {}; ttl {} to {}; slow start {}",
        Human(plan::INTERVAL),
        Human(plan::FAST_INTERVAL),
        plan::FALL,
        plan::RISE,
        Human(plan::TTL_MIN),
        Human(plan::TTL_MAX),
        Human(plan::SLOW_START),
    ))?;
    screen.say(&format!("\nREADY after {}. From another terminal, while it runs:", seconds(stage.ready_after)))?;
    for (region, site) in stage.sites.iter().enumerate() {
        if let Some(client) = site.place.clients().next() {
            let dns = stage.voter(region)?.listeners()?.dns;
            screen.say(&format!("  dig @{} -p {} {} +subnet={client}/{CLIENT_PREFIX} +short", dns.ip(), dns.port(), plan::HOSTNAME))?;
        }
    }
    let near = stage.voter(NEAR)?.listeners()?.control;
    screen.say(&format!("  portolan status --watch --address {near}"))?;
    screen.say(&format!("  portolan why {} --address {near}", stage.sites[LOST].place.name))?;
    Ok(screen.say(&format!("  portolan peers --address {near}"))?)
}
