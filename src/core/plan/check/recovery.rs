//! Disaster recovery: what the targets promise, and whether the rest of the plan can keep it.

use super::{Context, Findings, at, check_target, unknown};
use crate::{
    document::{Path, Url, Word, did_you_mean},
    model::{check::Host, ids::Label},
    plan::{
        groups::recovers_from_replicas,
        sections::{Channel, DisasterRecovery, Limit, Plan, Storage, Unit, Validation},
    },
    recovery::traffic_return::{Returning, problem},
};

/// The validation steps that have a meaning without being defined.
const BUILT_IN_STEPS: [&str; 3] = ["verify_data_integrity", "test_agent_functionality", "validate_performance_metrics"];

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    if let Some(recovery) = &plan.disaster_recovery {
        targets(plan, recovery, out);
        channels(plan, recovery, out);
        procedures(plan, recovery, out);
    }
    validation(plan, context, out);
    signals(plan, context, out);
    publish(plan, context, out);
    if let Some(webhook) = &plan.notifications.webhook {
        url(&webhook.url, context, || at("notifications", "webhook").key("url"), out);
    }
    for (i, freeze) in plan.guardrails.freeze.iter().enumerate() {
        if freeze.from >= freeze.until {
            let path = at("guardrails", "freeze").item(i).key("until");
            out.error(path, format!("ends at {}, not after it begins at {}", freeze.until, freeze.from), "exchange them");
        }
    }
    if let Some(vantage) = &plan.vantage {
        for (i, reference) in vantage.references.iter().enumerate() {
            if let Host::Ip(address) = reference.0.0.host {
                check_target(out, context, || at("vantage", "references").item(i), address);
            }
        }
    }
}

/// What backups can promise.
fn targets(plan: &Plan, recovery: &DisasterRecovery, out: &mut Findings) {
    let path = |class: &Label| at("disaster_recovery", "backup_strategy").key(class);
    for (class, rule) in recovery.backup_strategy.iter() {
        if rule.frequency.0 >= recovery.rpo_target {
            let message = format!(
                "backups taken {} cannot meet the rpo_target of {} alone: the newest one is that old before the next, plus the time that it takes",
                rule.frequency.show(),
                recovery.rpo_target.show()
            );
            out.warning(path(class).key("frequency"), message, "take them more often, or keep a replica");
        }
        if rule.retention < rule.frequency.0 {
            let message =
                format!("kept for {}, taken {}: there are times without any backup", rule.retention.show(), rule.frequency.show());
            out.error(path(class).key("retention"), message, "keep each backup at least until the next one");
        }
        let Some(places) = plan.backups.get(class) else {
            out.warning(path(class), "no place in `backups` shows this class: its age is unknown", format!("add backups.{class}"));
            continue;
        };
        let mut regions: Vec<&Label> = places.iter().filter_map(|place| place.region.as_ref()).collect();
        regions.sort();
        regions.dedup();
        if rule.storage == Some(Storage::MultiRegion) && regions.len() < 2 {
            let message = "asks for several regions, but `backups` shows one place or none with a region";
            out.warning(path(class).key("storage"), message, format!("add a place in another region to backups.{class}"));
        }
    }
    let automation = &recovery.failover_automation;
    if plan.data_groups.is_empty() && automation.failure_window > recovery.rto_target {
        let message = format!(
            "the failure window of {} is longer than the rto_target of {}",
            automation.failure_window.show(),
            recovery.rto_target.show()
        );
        out.warning(at("disaster_recovery", "failover_automation").key("failure_window"), message, "shorten it");
    }
}

/// Who is told, and how.
fn channels(plan: &Plan, recovery: &DisasterRecovery, out: &mut Findings) {
    let channels = &recovery.failover_automation.notification_channels;
    for (i, channel) in channels.iter().enumerate() {
        let path = at("disaster_recovery", "failover_automation").key("notification_channels").item(i);
        let told = &plan.notifications;
        let has_target = match channel {
            Channel::Slack => told.slack.is_some(),
            Channel::Pagerduty => told.pagerduty.is_some(),
            Channel::Webhook => told.webhook.is_some(),
            Channel::Email => told.email.is_some(),
        };
        if !has_target {
            out.warning(
                path.clone(),
                format!("the channel `{channel}` has no target: nobody is told through it"),
                format!("add notifications.{channel}"),
            );
        }
        if channels[..i].contains(channel) {
            out.error(path, format!("`{channel}` stands twice"), "list each channel once");
        }
    }
}

/// Validation steps and rollback triggers.
fn procedures(plan: &Plan, recovery: &DisasterRecovery, out: &mut Findings) {
    let path = at("disaster_recovery", "recovery_procedures");
    if let Some(data) = &recovery.recovery_procedures.data_recovery {
        for (i, step) in data.validation_steps.iter().enumerate() {
            let here = path.clone().key("data_recovery").key("validation_steps").item(i);
            if !BUILT_IN_STEPS.contains(&step.as_str()) && !plan.validation.contains(step) {
                let known = BUILT_IN_STEPS.into_iter().chain(plan.validation.keys().map(Label::as_str));
                out.error(here.clone(), format!("there is no validation step `{step}`"), did_you_mean(step.as_str(), known));
            }
            if data.validation_steps[..i].contains(step) {
                out.error(here, format!("`{step}` stands twice"), "list each step once");
            }
        }
        if recovery.failover_automation.automatic_failover && !recovers_from_replicas(plan) {
            let here = path.clone().key("data_recovery").key("primary_source");
            let message =
                format!("automation promotes replicas, and `{}` comes first: no group is failed over by itself", data.primary_source);
            out.warning(here, message, "write continuous_replication, or switch automatic_failover off");
        }
        if data.backup_source == Some(data.primary_source) {
            let here = path.clone().key("data_recovery").key("backup_source");
            out.warning(here, "is the same as the primary source: there is no second way", "name another source");
        }
    }
    let Some(service) = &recovery.recovery_procedures.service_recovery else { return };
    let Returning { steps, step_time } = service.returning();
    let usual = Returning::default();
    for (key, problem, fix) in [
        ("traffic_steps", problem(&steps, usual.step_time), "for example [10%, 50%, 100%]"),
        ("step_time", problem(&usual.steps, step_time), "for example 5m"),
    ] {
        if let Some(problem) = problem {
            out.error(path.clone().key("service_recovery").key(key), problem, fix);
        }
    }
    for (i, trigger) in service.rollback_triggers.iter().enumerate() {
        let here = path.clone().key("service_recovery").key("rollback_triggers").item(i);
        match plan.signals.queries.get(&trigger.signal) {
            None if plan.signals.queries.is_empty() => {
                out.warning(
                    here,
                    format!("`{}` has no signal: it neither fires nor passes", trigger.signal),
                    format!("add signals.queries.{}", trigger.signal),
                );
            }
            None => {
                let known = plan.signals.queries.keys().map(Label::as_str);
                out.warning(
                    here,
                    format!("`{}` has no signal: it neither fires nor passes", trigger.signal),
                    did_you_mean(trigger.signal.as_str(), known),
                );
            }
            Some(query) => units(trigger.limit, query.unit, here, out),
        }
    }
}

/// Percentages compare with ratios, durations with seconds.
fn units(limit: Limit, unit: Unit, path: Path, out: &mut Findings) {
    let fits = match limit {
        Limit::Share(_) => unit == Unit::Ratio,
        Limit::Time(_) => unit == Unit::Seconds,
        Limit::Number(_) => true,
    };
    if !fits {
        let fix = "a percentage compares with a ratio, a duration with seconds";
        out.error(path, format!("{} cannot be compared with a figure in {unit}", limit.show()), fix);
    }
}

fn validation(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    for (step, section) in plan.validation.iter() {
        let path = || at("validation", step);
        let Validation { sql, http, expect, signal, below, above, lasting, hook, .. } = section;
        let ways = [sql.is_some(), http.is_some(), signal.is_some(), hook.is_some()].into_iter().filter(|&is_written| is_written).count();
        if ways != 1 {
            out.error(path(), "a validation is exactly one of `sql`, `http`, `signal` and `hook`", "keep one of them");
        }
        for (key, is_written, needs, has) in [
            ("expect", expect.is_some(), "http", http.is_some()),
            ("below", below.is_some(), "signal", signal.is_some()),
            ("above", above.is_some(), "signal", signal.is_some()),
            ("for", lasting.is_some(), "signal", signal.is_some()),
        ] {
            if is_written && !has {
                out.warning(path().key(key), format!("is only used with `{needs}`"), format!("remove `{key}`"));
            }
        }
        if let Some(http) = http {
            url(http, context, || path().key("http"), out);
        }
        let Some(signal) = signal else { continue };
        if below.is_some() == above.is_some() {
            out.error(path(), "a signal is judged by exactly one bound", "write either `below` or `above`");
        }
        match plan.signals.queries.get(signal) {
            None => unknown(out, path().key("signal"), "signal", signal, plan.signals.queries.keys()),
            Some(query) => {
                for (key, limit) in [("below", below), ("above", above)] {
                    if let Some(limit) = limit {
                        units(limit.0, query.unit, path().key(key), out);
                    }
                }
            }
        }
    }
}

fn signals(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    for (name, source) in plan.signals.sources.iter() {
        url(&source.prometheus, context, || at("signals", "sources").key(name).key("prometheus"), out);
    }
    for (name, query) in plan.signals.queries.iter() {
        let path = at("signals", "queries").key(name);
        if !plan.signals.sources.contains(&query.source) {
            unknown(out, path.clone().key("source"), "signal source", &query.source, plan.signals.sources.keys());
        }
        if query.query.0.trim().is_empty() {
            out.error(path.key("query"), "is empty", "write a query");
        }
    }
}

/// Where other people's DNS is kept in step.
fn publish(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    let publish = &plan.publish;
    let all = publish.route53.keys().map(|zone| ("route53", zone));
    let all =
        all.chain(publish.cloudflare.keys().map(|zone| ("cloudflare", zone))).chain(publish.rfc2136.keys().map(|zone| ("rfc2136", zone)));
    for (provider, zone) in all {
        let is_served = plan.services.iter().any(|(_, service)| service.hostnames.iter().any(|name| name.is_at_or_below(zone)));
        if !is_served {
            out.warning(
                at("publish", provider).key(zone),
                format!("no service has a name in {zone}: nothing would be published"),
                "check the zone's name",
            );
        }
    }
    for (zone, section) in publish.rfc2136.iter() {
        if let Host::Ip(address) = section.server.0.host {
            check_target(out, context, || at("publish", "rfc2136").key(zone).key("server"), address);
        }
    }
}

/// A URL that is asked for by HTTP.
pub(super) fn url(url: &Url, context: Context<'_>, path: impl Fn() -> Path, out: &mut Findings) {
    if !matches!(url.scheme(), "http" | "https") {
        out.error(path(), format!("`{}` is not http or https", url.scheme()), "write http://… or https://…");
    }
    if let Some(address) = url.address() {
        check_target(out, context, path, address);
    }
}
