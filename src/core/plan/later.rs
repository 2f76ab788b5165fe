//! What a plan may already say and what comes into force later: each is a warning that names what it waits for.

use super::{
    check::Findings,
    sections::{Engine, Plan},
};
use crate::document::Path;

/// Warns of everything that this version reads, checks, and does not act on yet.
pub(super) fn check(plan: &Plan, out: &mut Findings) {
    let mut later = |key: &str, is_written: bool, with: &str, until: &str| {
        if is_written {
            out.warning(Path::root().key(key), format!("takes effect with {with}; until then {until}"), "");
        }
    };
    let publish = &plan.publish;
    let publishes = !publish.route53.is_empty() || !publish.cloudflare.is_empty() || !publish.rfc2136.is_empty();
    later("publish", publishes, "publishers", "nothing is written to other people's DNS");
    let told = &plan.notifications;
    let tells = told.slack.is_some() || told.pagerduty.is_some() || told.webhook.is_some() || told.email.is_some();
    later("notifications", tells, "notification", "nobody is told");
    for (apex, zone) in plan.zones.iter() {
        if zone.dnssec.is_some() {
            let path = Path::root().key("zones").key(apex).key("dnssec");
            out.warning(path, "takes effect with signed zones; until then the zone is served unsigned", "");
        }
    }
    for (name, _) in plan.data_groups.iter().filter(|(_, group)| group.engine == Engine::Mysql) {
        let path = Path::root().key("data_groups").key(name).key("engine");
        out.warning(path, "takes effect with an agent for this engine; until then the group has no lease, and nothing moves it", "");
    }
}
