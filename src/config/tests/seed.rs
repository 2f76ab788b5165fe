//! Every key of the seed acts: changed alone, it changes what the plan leads to, where it should.
//!
//! ```text
//! config/plan-seed.yaml + a group, a service, places of backups --change one key--> what it leads to, line by line
//!     every path that stands in the seed --must have--> a row that says which line comes or goes
//! ```
//!
//! The paths are taken from the file itself, so that a key without a row fails, and so does a row without a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use portolan_core::{
    model::{ids::Label, time::Timestamp},
    plan::{policies, returning, triggers, validation},
    recovery::{
        backups::{Listing, Proof, Seen, Sight, Standing, classes},
        traffic_return::steps_text,
    },
};
use serde_json::{Value, json};

use super::super::{plan, to_json};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

/// One key of the seed.
struct Row {
    /// Its path; `*` is any name, and `[]` any item.
    path: &'static str,
    /// What else is changed first: path and value. `{region}` is the first name that `*` stands for.
    given: &'static [(&'static str, &'static str)],
    /// The new value, as YAML; empty: it is taken out. `{other}` is another region than `{region}`, `{was}` what stood there.
    value: &'static str,
    /// What comes (`+`) or goes (`-`): the aspect, and some words of the line.
    leads_to: (&'static str, &'static str),
}

const fn row(path: &'static str, value: &'static str, leads_to: (&'static str, &'static str)) -> Row {
    Row { path, given: &[], value, leads_to }
}

const ROWS: &[Row] = &[
    // Regions: labels, failure domains, room for a lost one, networks.
    row("regions.*.cluster_config.name", "blue-{region}", ("+region", "cluster: Some(\"blue-{region}\")")),
    row("regions.*.cluster_config.name", "agno-agents-{other}", ("+warning", "labels would not tell them apart")),
    row("regions.*.cluster_config.zone", "{region}-c", ("+region", "failure_domain: Some(\"{region}-c\")")),
    row("regions.*.cluster_config.zone", "{other}-a", ("+warning", "both would be lost together, with two copies of orders")),
    Row {
        path: "regions.*.cluster_config.node_pools.[].name",
        given: &[("regions.{region}.cluster_config.node_pools.[].machine_type", "n2-standard-8")],
        value: "batch-pool",
        leads_to: ("-warning", "differs from"),
    },
    row("regions.*.cluster_config.node_pools.[].min_size", "51", ("+error", "min_size 51 is more than max_size 50")),
    row("regions.*.cluster_config.node_pools.[].min_size", "49", ("+warning", "the others can add only")),
    row("regions.*.cluster_config.node_pools.[].max_size", "200", ("+warning", "if {region} is lost at its full 200 machines")),
    row("regions.*.cluster_config.node_pools.[].machine_type", "n2-standard-8", ("+warning", "machine type")),
    row("regions.*.network_config.vpc_name", "agno-vpc-{other}", ("+warning", "has a network of the name `agno-vpc-{other}` too")),
    row("regions.*.network_config.subnet_ranges.[]", "192.168.7.0/24", ("-warning", "subnet_ranges[0]: 10.0.0.0/16 overlaps")),
    row("regions.*.network_config.secondary_ranges.[]", "192.168.8.0/24", ("-warning", "secondary_ranges[0]: 10.1.0.0/16 overlaps")),
    // Routing: of every service that does not say otherwise.
    row("traffic_routing.*.weight", "66", ("+pool", "weight: Weight(66)")),
    row("traffic_routing.*.priority", "2", ("+pool", "priority: 2")),
    row("traffic_routing.*.health_checks.path", "/alive", ("+check", "path: \"/alive\"")),
    row("traffic_routing.*.health_checks.interval", "17s", ("+check", "interval: 17s")),
    row("traffic_routing.*.health_checks.timeout", "4s", ("+check", "timeout: 4s")),
    // Empty maps only.
    row("data_replication", "{ lag: 5s }", ("+error", "data_replication")),
    row("failover_strategy", "{ kind: manual }", ("+error", "failover_strategy")),
    // Targets: what decisions, readiness and reports are judged against.
    row("disaster_recovery.rpo_target", "2h", ("+policy", "rpo_target: Some(7200s)")),
    row("disaster_recovery.rpo_target", "2h", ("+backups", "rpo_target is 2h")),
    row("disaster_recovery.rto_target", "2m", ("+policy", "rto_target: Some(120s)")),
    row("disaster_recovery.rto_target", "2m", ("+warning", "of the rto_target of 2m")),
    // Backups, by what was seen of them.
    row("disaster_recovery.backup_strategy.*.frequency", "5m", ("+backups", "taken 5m")),
    row("disaster_recovery.backup_strategy.*.retention", "40d", ("+backups", "kept for 40d")),
    row("disaster_recovery.backup_strategy.*.storage", "regional", ("-backups", "fail storage: only us-east-1 has a recent one")),
    row("disaster_recovery.backup_strategy.*.encryption", "", ("-backups", "fail encryption")),
    row("disaster_recovery.backup_strategy.*.versioning", "false", ("-backups", "unknown versioning")),
    // When automation acts.
    row("disaster_recovery.failover_automation.health_check_failures", "4", ("+policy", "failures: 4")),
    row("disaster_recovery.failover_automation.health_check_failures", "40", ("+error", "40 failed rounds of 15s do not fit")),
    row("disaster_recovery.failover_automation.failure_window", "10m", ("+policy", "failure_window: 600s")),
    row("disaster_recovery.failover_automation.automatic_failover", "false", ("+policy", "is_automatic: false")),
    row("disaster_recovery.failover_automation.notification_channels.[]", "email", ("+warning", "the channel `email` has no target")),
    row("disaster_recovery.failover_automation.notification_channels.[]", "", ("-warning", "the channel `{was}` has no target")),
    // How a recovery goes.
    row("disaster_recovery.recovery_procedures.data_recovery.primary_source", "snapshot", ("+policy", "is_automatic: false")),
    row("disaster_recovery.recovery_procedures.data_recovery.primary_source", "snapshot", ("+warning", "and `snapshot` comes first")),
    row(
        "disaster_recovery.recovery_procedures.data_recovery.backup_source",
        "continuous_replication",
        ("+warning", "there is no second way"),
    ),
    row("disaster_recovery.recovery_procedures.data_recovery.validation_steps.[]", "", ("-validation", "{was} 60s")),
    row(
        "disaster_recovery.recovery_procedures.service_recovery.deployment_strategy",
        "rolling",
        ("+returning", "25%, 50%, 75%, 100%, each watched for 5m"),
    ),
    row("disaster_recovery.recovery_procedures.service_recovery.rollback_triggers.[]", "", ("-trigger", "{was}")),
    row("disaster_recovery.recovery_procedures.service_recovery.rollback_triggers.[]", "queue > 7", ("+trigger", "queue > 7")),
];

/// What a plan has beyond the seed, so that there is something to act on.
fn beyond() -> Value {
    let each =
        |of: &dyn Fn(usize) -> Value| -> Value { REGIONS.iter().enumerate().map(|(i, region)| ((*region).to_owned(), of(i))).collect() };
    json!({
        "revision": 1,
        "zones": { "gslb.example.com": { "nameservers": ["ns.example.org"], "contact": "dns@example.org" } },
        "services": { "api": {
            "hostnames": ["api.gslb.example.com"],
            "endpoints": each(&|i| json!([{ "address": format!("192.0.2.{}", i + 1), "port": 80 }])),
        } },
        "data_groups": { "orders": {
            "engine": "postgresql", "primary": REGIONS[0], "data_class": "conversation_data", "fence": [{ "agent": "stop" }, { "lease": "expire" }],
            "members": each(&|i| json!({ "address": format!("192.0.2.{}:5432", i + 11), "dsn": "pg", "agent": format!("pg-{i}") })),
        } },
        "backups": {
            "agent_configurations": [{ "source": "directory", "path": "/agents", "region": REGIONS[0] }],
            "conversation_data": [{ "source": "directory", "path": "/talks", "region": REGIONS[0] }],
            "model_artifacts": [{ "source": "directory", "path": "/models", "region": REGIONS[0] }],
        },
    })
}

/// The seed, word for word, with what goes beyond it.
fn base() -> Value {
    let mut base = seed();
    base.as_object_mut().unwrap().extend(beyond().as_object().unwrap().clone());
    base
}

fn seed() -> Value {
    to_json(&std::fs::read_to_string("config/plan-seed.yaml").unwrap()).unwrap()
}

/// Every path to a value that is no map or list with something in it.
fn paths(value: &Value, here: &[String], out: &mut Vec<Vec<String>>) {
    let mut below = |key: String, value: &Value| paths(value, &[here, &[key]].concat(), out);
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(key, value)| below(key.clone(), value)),
        Value::Array(list) if !list.is_empty() => list.iter().enumerate().for_each(|(i, value)| below(i.to_string(), value)),
        _ => out.push(here.to_vec()),
    }
}

fn fits(pattern: &str, path: &[String]) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let is_item = |key: &str| key.bytes().all(|b| b.is_ascii_digit());
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(word, key)| *word == "*" || *word == key || (*word == "[]" && is_item(key)))
}

/// Where a path leads.
fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
        value => &mut value[key.as_str()],
    })
}

/// Sets what a path leads to; no text: takes it out.
fn put(document: &mut Value, path: &[String], text: &str) {
    let (last, parents) = path.split_last().unwrap();
    match (at(document, parents), text) {
        (Value::Array(list), "") => drop(list.remove(last.parse().unwrap())),
        (Value::Object(map), "") => drop(map.remove(last)),
        (parent, text) => *at(parent, std::slice::from_ref(last)) = to_json(text).unwrap(),
    }
}

/// One backup a day old, in one place; not encrypted, and nothing is known of versions.
fn sight() -> Sight {
    let now = Timestamp(1_795_316_600_000);
    let mut listing = Listing::default();
    listing.add("whole.dump", Timestamp(now.0 - 86_400_000), 100, None, now);
    let seen = Seen { at: now, listing, encryption: Proof::Refuted, versioning: Proof::Unknown("it does not say".to_owned()) };
    Sight { seen: Some(seen), ..Sight::default() }
}

/// What a plan leads to, a line for each thing, behind the aspect that it is of.
fn leads_to(document: &Value) -> BTreeSet<String> {
    let text = serde_json::to_string(document).unwrap();
    let loaded = match plan::load(&text, "plan.yaml", &plan::Options::default()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let errors = problems.list.iter().filter(|it| it.severity == portolan_core::document::Severity::Error);
            return errors.map(|problem| format!("error {}: {}", problem.path, problem.message)).collect();
        }
    };
    let (group, region) = (Label::new("orders"), Label::new(REGIONS[1]));
    let (plan, topology) = (&loaded.plan, &loaded.topology);
    let warnings = loaded.warnings.list.iter().map(|problem| format!("warning {}: {}", problem.path, problem.message));
    let mut lines: Vec<String> = warnings.collect();
    lines.extend(topology.regions.iter().map(|region| format!("region {region:?}")));
    lines.extend(topology.services.iter().flat_map(|service| &service.pools).map(|pool| format!("pool {pool:?}")));
    lines.extend(topology.checks.iter().map(|check| format!("check {check:?}")));
    lines.extend(policies(plan).values().map(|policy| format!("policy {policy:?}")));
    lines.extend(validation(plan, &group, &region).iter().map(|step| format!("validation {} {:?}", step.name, step.timeout)));
    lines.extend(triggers(plan, &group, &region).iter().map(|trigger| format!("trigger {}", trigger.text)));
    lines.extend(returning(plan).map(|it| format!("returning {}", steps_text(&it.steps, it.step_time))));
    for class in classes(plan) {
        let standing = Standing::of(class, vec![sight()], Timestamp(1_795_316_600_000) + Duration::from_secs(1));
        let name = standing.class.name.clone();
        lines.extend(standing.findings.iter().map(|it| format!("backups {name} {} {}: {}", it.verdict, it.check, it.text)));
    }
    lines.into_iter().collect()
}

/// What comes and what goes.
fn changes(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let came = after.difference(before).map(|line| format!("+{line}"));
    came.chain(before.difference(after).map(|line| format!("-{line}"))).collect()
}

#[test]
fn every_key_of_the_seed_acts() {
    let (seed, base) = (seed(), base());
    let before = leads_to(&base);
    assert!(before.iter().all(|line| !line.starts_with("error")), "{before:#?}");
    let mut all = Vec::new();
    paths(&seed, &[], &mut all);
    assert!(all.len() > 60, "{all:#?}");
    let mut unused: BTreeMap<&str, ()> = ROWS.iter().map(|row| (row.path, ())).collect();
    for path in &all {
        let rows: Vec<&Row> = ROWS.iter().filter(|row| fits(row.path, path)).collect();
        assert!(!rows.is_empty(), "nothing shows that `{}` acts", path.join("."));
        let region = REGIONS.iter().find(|region| path.get(1).is_some_and(|key| key == *region)).copied().unwrap_or_default();
        let other = REGIONS.iter().find(|it| **it != region).copied().unwrap_or_default();
        let was = at(&mut base.clone(), path).as_str().unwrap_or_default().to_owned();
        let fill = |text: &str| text.replace("{region}", region).replace("{other}", other).replace("{was}", &was);
        for row in rows {
            unused.remove(row.path);
            let mut document = base.clone();
            for (pattern, value) in row.given {
                let pattern = fill(pattern);
                for given in all.iter().filter(|path| fits(&pattern, path)) {
                    put(&mut document, given, value);
                }
            }
            let before = if row.given.is_empty() { before.clone() } else { leads_to(&document) };
            put(&mut document, path, &fill(row.value));
            let changed = changes(&before, &leads_to(&document));
            let (aspect, words) = (format!("{} ", row.leads_to.0), fill(row.leads_to.1));
            assert!(
                changed.iter().any(|line| line.starts_with(&aspect) && line.contains(&words)),
                "`{}` as `{}`: nothing {aspect}with `{words}` in {changed:#?}",
                path.join("."),
                fill(row.value)
            );
        }
    }
    assert!(unused.is_empty(), "not in the seed: {unused:?}");
}
