//! What changed from one picture of a node to the next, in lines for people.

use portolan_core::{
    model::verdict::Health,
    node::report::{EndpointStatus, Status},
};

/// Probes of one endpoint that are shown: enough to see the run that decides.
const TICKS: usize = 8;

/// Compares pictures of one region as they come.
pub(super) struct Watching {
    region: &'static str,
    before: Vec<EndpointStatus>,
    health: Option<Health>,
}

impl Watching {
    /// Begins with what is known now.
    pub(super) fn new(region: &'static str, status: &Status) -> Self {
        Self { region, before: endpoints(status, region), health: health(status, region) }
    }

    /// One line per change since the last picture.
    pub(super) fn changes(&mut self, status: &Status) -> Vec<String> {
        let now = endpoints(status, self.region);
        let mut lines = Vec::new();
        for endpoint in &now {
            let Some(before) = self.before.iter().find(|before| before.name == endpoint.name) else { continue };
            if before.observed != endpoint.observed {
                // The probe that turned it is in this line.
                lines.push(format!("health  {} is {}{}", address(endpoint), endpoint.observed, cause(endpoint)));
            } else if before.ticks != endpoint.ticks && is_news(endpoint) {
                let recent = endpoint.ticks.get(endpoint.ticks.len().saturating_sub(TICKS)..).unwrap_or_default();
                lines.push(format!("probe   {} {recent}", address(endpoint)));
            }
        }
        let health = health(status, self.region);
        if health != self.health
            && let Some(health) = health
        {
            lines.push(format!("region  {} is {health}", self.region));
        }
        (self.before, self.health) = (now, health);
        lines
    }
}

/// A probe that speaks against the present judgement.
fn is_news(endpoint: &EndpointStatus) -> bool {
    match endpoint.observed {
        Health::Up => endpoint.ticks.ends_with('x'),
        Health::Down => endpoint.ticks.ends_with('o'),
        Health::Unknown => false,
    }
}

/// Its name without service and region, which are known here.
fn address(endpoint: &EndpointStatus) -> &str {
    endpoint.name.rsplit_once('/').map_or(&endpoint.name, |(_, address)| address)
}

/// The failure behind it, without its age, when it is one.
fn cause(endpoint: &EndpointStatus) -> String {
    let failure = endpoint.failure.as_deref().filter(|_| endpoint.observed == Health::Down && endpoint.ticks.ends_with('x'));
    failure.map_or_else(String::new, |text| format!(": {}", text.rsplit_once(" (").map_or(text, |(failure, _)| failure)))
}

fn endpoints(status: &Status, region: &str) -> Vec<EndpointStatus> {
    status.services.iter().flat_map(|service| &service.endpoints).filter(|endpoint| endpoint.region == region).cloned().collect()
}

fn health(status: &Status, region: &str) -> Option<Health> {
    status.regions.iter().find(|it| it.name == region).map(|it| it.observed)
}
