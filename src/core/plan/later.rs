//! What a plan may already say and what comes into force later: each is a warning that names what it waits for.

use super::{
    check::Findings,
    overlay,
    sections::{BackupSource, CheckType, DeploymentStrategy, Engine, HealthChecks, Plan},
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
    let has_agent = |engine| matches!(engine, Engine::Postgresql | Engine::Mariadb | Engine::Redis | Engine::Fake);
    for (name, _) in plan.data_groups.iter().filter(|(_, group)| !has_agent(group.engine)) {
        let path = Path::root().key("data_groups").key(name).key("engine");
        out.warning(path, "takes effect with an agent for this engine; until then the group has no lease, and nothing moves it", "");
    }
    for (class, places) in plan.backups.iter() {
        for (i, place) in places.iter().enumerate().filter(|(_, place)| matches!(place.source, BackupSource::Http | BackupSource::Exec)) {
            let path = Path::root().key("backups").key(class).item(i).key("source");
            out.warning(path, format!("`{}` takes effect later; until then this place is unknown", place.source), "");
        }
    }
    let service = plan.disaster_recovery.as_ref().and_then(|it| it.recovery_procedures.service_recovery.as_ref());
    if let Some(strategy) = service.map(|it| it.deployment_strategy).filter(|it| *it != DeploymentStrategy::BlueGreen) {
        let path = ["disaster_recovery", "recovery_procedures", "service_recovery", "deployment_strategy"];
        let path = path.into_iter().fold(Path::root(), Path::key);
        let message = format!("`{strategy}` takes effect later; until then the new place takes over all at once, and the old one is kept");
        out.warning(path, message, "write blue_green, which is what happens");
    }
    databases(plan, out);
}

/// Databases are asked in their own protocol later.
fn databases(plan: &Plan, out: &mut Findings) {
    let mut judge = |checks: &HealthChecks, path: &dyn Fn() -> Path| {
        if checks.kind.is_some() && matches!(overlay::kind(checks), CheckType::Postgres | CheckType::Redis | CheckType::Mysql) {
            out.warning(path().key("type"), "takes effect with database probes; until then a TCP handshake judges", "");
        }
    };
    judge(&plan.health_check_defaults, &|| Path::root().key("health_check_defaults"));
    for (name, checks) in plan.checks.iter() {
        judge(checks, &|| Path::root().key("checks").key(name));
    }
    for (region, routing) in plan.traffic_routing.iter() {
        if let Some(checks) = &routing.health_checks {
            judge(checks, &|| Path::root().key("traffic_routing").key(region).key("health_checks"));
        }
    }
    for (name, service) in plan.services.iter() {
        let at = || Path::root().key("services").key(name);
        if let Some(checks) = &service.health_checks {
            judge(checks, &|| at().key("health_checks"));
        }
        for (region, routing) in service.traffic_routing.iter() {
            if let Some(checks) = &routing.health_checks {
                judge(checks, &|| at().key("traffic_routing").key(region).key("health_checks"));
            }
        }
        for (region, endpoints) in service.endpoints.iter() {
            for (i, endpoint) in endpoints.iter().enumerate() {
                if let Some(checks) = &endpoint.health_checks {
                    judge(checks, &|| at().key("endpoints").key(region).item(i).key("health_checks"));
                }
            }
        }
    }
}
