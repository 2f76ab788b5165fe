//! Health checks: each layer, each endpoint's result, and the named checks.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{Context, Findings, at, check_target, unknown};
use crate::{
    document::Path,
    model::{check::Host, ids::Label},
    plan::{
        overlay::{self, Layers},
        resolve::named_base,
        sections::{CheckType, Expect, HealthChecks, Method, Plan, Require, Routing, Service, Source},
    },
};

/// The most checks that one is calculated from: as many as people can follow, and a verdict costs little.
const CALCULATED_OF_MAX: usize = 255;

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    let defaults = Path::root().key("health_check_defaults");
    let nothing = HealthChecks::default();
    layer(plan, context, &nothing, &plan.health_check_defaults, &|| defaults.clone(), out);
    if plan.health_check_defaults.uses.is_some() {
        out.error(defaults.clone().key("use"), "one named check cannot stand for all endpoints", "use it at a service or an endpoint");
    }
    for (region, routing) in plan.traffic_routing.iter() {
        if let Some(checks) = &routing.health_checks {
            layer(plan, context, &plan.health_check_defaults, checks, &|| at("traffic_routing", region).key("health_checks"), out);
        }
    }
    named(plan, context, out);
    let layers = Layers::new(plan);
    for (name, service) in plan.services.iter() {
        of_service(plan, context, &layers, name, service, out);
    }
}

/// The layers of a service and of its endpoints.
fn of_service(plan: &Plan, context: Context<'_>, layers: &Layers<'_>, name: &Label, service: &Service, out: &mut Findings) {
    let path = || at("services", name);
    if let Some(checks) = &service.health_checks {
        // Before the regions' own: what a region adds is judged with it.
        let base = plan
            .regions
            .keys()
            .position(|region| service.endpoints.contains(region))
            .map_or_else(|| Arc::new(plan.health_check_defaults.clone()), |region| Arc::clone(layers.of_region(region)));
        layer(plan, context, &base, checks, &|| path().key("health_checks"), out);
    }
    for (region, routing) in service.traffic_routing.iter() {
        let Routing { health_checks: Some(checks), .. } = routing else { continue };
        let Some(position) = plan.regions.position(region) else { continue };
        let base = service.health_checks.as_ref().map(|over| overlay::overlay(layers.of_region(position), over));
        let base = base.as_ref().unwrap_or_else(|| layers.of_region(position));
        layer(plan, context, base, checks, &|| path().key("traffic_routing").key(region).key("health_checks"), out);
    }
    for (region, endpoints) in service.endpoints.iter() {
        let Some(position) = plan.regions.position(region) else { continue };
        let base = layers.of_service(service, position);
        for (i, endpoint) in endpoints.iter().enumerate() {
            let Some(checks) = &endpoint.health_checks else { continue };
            layer(plan, context, &base, checks, &|| path().key("endpoints").key(region).item(i).key("health_checks"), out);
        }
    }
}

/// One layer over what lies below it: what it says must be whole and in order together with that.
fn layer(plan: &Plan, context: Context<'_>, base: &HealthChecks, over: &HealthChecks, path: &dyn Fn() -> Path, out: &mut Findings) {
    if let Some(name) = &over.uses {
        if !plan.checks.contains(name) {
            unknown(out, path().key("use"), "check", name, plan.checks.keys());
        }
        let alone = HealthChecks { uses: over.uses.clone(), ..HealthChecks::default() };
        if *over != alone {
            out.error(path().key("use"), "no other key stands beside `use`", format!("write the other keys at checks.{name}"));
        }
        return;
    }
    let merged = overlay::overlay(base, over);
    settings(plan, context, over, &merged, path, out);
}

/// What this layer writes, judged with the values that result.
fn settings(plan: &Plan, context: Context<'_>, over: &HealthChecks, merged: &HealthChecks, path: &dyn Fn() -> Path, out: &mut Findings) {
    let kind = overlay::kind(merged);
    times(over, merged, path, out);
    for (key, is_used) in overlay::protocol_keys(over, kind) {
        if is_used {
            continue;
        }
        if key == "expect"
            && matches!(
                (&over.expect, kind),
                (Some(Expect::Http(_)), CheckType::Dns) | (Some(Expect::Data(_)), CheckType::Http | CheckType::Https)
            )
        {
            let fix = if kind == CheckType::Dns {
                "write the data as a text: expect: 192.0.2.1"
            } else {
                "write it as a map: expect: { status: \"200-299\" }"
            };
            out.error(path().key("expect"), format!("is not an expectation of a check of type {kind}"), fix);
        } else {
            out.warning(path().key(key), format!("is not used by checks of type {kind}"), format!("remove `{key}`, or change `type`"));
        }
    }
    if let Some(Expect::Http(expect)) = &over.expect
        && let Some(body) = &expect.body
    {
        if merged.method == Some(Method::Head) {
            let fix = "remove `method`, or expect a status only";
            out.error(path().key("expect").key("body"), "an answer to HEAD has no body", fix);
        }
        let path = || path().key("expect").key("body");
        match (&body.contains, &body.json, &body.equals) {
            (Some(_), None, None) => {}
            (None, Some(pointer), Some(_)) => {
                if !(pointer.0.is_empty() || pointer.0.starts_with('/')) {
                    out.error(
                        path().key("json"),
                        format!("`{}` is not a JSON pointer", pointer.0),
                        "begin it with `/`, for example /status",
                    );
                }
            }
            _ => out.error(path(), "a body expectation is either `contains`, or `json` with `equals`", "keep one of the two forms"),
        }
    }
    if let Some(address) = &over.address
        && let Host::Ip(ip) = address.0.host
    {
        check_target(out, context, || path().key("address"), ip);
    }
    source(plan, context, over, path, out);
    let writes_kind = over.kind.is_some();
    match kind {
        CheckType::Dns if writes_kind && merged.name.is_none() => {
            out.error(path().key("name"), "a dns check needs the name to ask for", "add `name`");
        }
        CheckType::Postgres | CheckType::Mysql if writes_kind && merged.dsn.is_none() => {
            let fix = "add `dsn`: the name of a secret with the connection string, or write `type: tcp` to see whether anything listens";
            out.error(path().key("dsn"), format!("a {kind} check needs a user to log in as"), fix);
        }
        CheckType::Prometheus if writes_kind || over.source.is_some() || over.query.is_some() => {
            for (key, is_missing) in [("source", merged.source.is_none()), ("query", merged.query.is_none())] {
                if is_missing {
                    out.error(path().key(key), format!("a prometheus check needs `{key}`"), format!("add `{key}`"));
                }
            }
            if merged.below.is_some() == merged.above.is_some() {
                out.error(path(), "a prometheus check needs exactly one bound", "write either `below` or `above`");
            }
        }
        CheckType::Calculated if writes_kind || over.of.is_some() || over.require.is_some() => calculated(plan, merged, path, out),
        _ => {}
    }
}

/// What a check is calculated from.
fn calculated(plan: &Plan, merged: &HealthChecks, path: &dyn Fn() -> Path, out: &mut Findings) {
    let of = merged.of.as_deref().unwrap_or_default();
    if of.is_empty() {
        out.error(path().key("of"), "a calculated check needs other checks", "list names of the section `checks`");
    }
    if of.len() > CALCULATED_OF_MAX {
        out.error(
            path().key("of"),
            format!("{} checks are too many; at most {CALCULATED_OF_MAX} are allowed", of.len()),
            "calculate it in two steps",
        );
    }
    for (i, name) in of.iter().enumerate() {
        if !plan.checks.contains(name) {
            unknown(out, path().key("of").item(i), "check", name, plan.checks.keys());
        }
        if of[..i].contains(name) {
            out.error(path().key("of").item(i), format!("`{name}` stands twice"), "list each check once");
        }
    }
    if let Some(Require::AtLeast(n)) = merged.require
        && usize::from(n) > of.len()
    {
        out.error(path().key("require"), format!("{n} of {} checks can never be up", of.len()), "lower it, or list more checks");
    }
}

/// Where a prometheus check asks.
fn source(plan: &Plan, context: Context<'_>, over: &HealthChecks, path: &dyn Fn() -> Path, out: &mut Findings) {
    match &over.source {
        Some(Source::Named(name)) if !plan.signals.sources.contains(name) => {
            unknown(out, path().key("source"), "signal source", name, plan.signals.sources.keys());
        }
        Some(Source::Url(url)) => {
            if !matches!(url.scheme(), "http" | "https") {
                out.error(path().key("source"), format!("`{}` is not http or https", url.scheme()), "write http://… or https://…");
            }
            if let Some(address) = url.address() {
                check_target(out, context, || path().key("source"), address);
            }
        }
        _ => {}
    }
}

/// Times that this layer writes, compared with the others that hold.
fn times(over: &HealthChecks, merged: &HealthChecks, path: &dyn Fn() -> Path, out: &mut Findings) {
    use crate::document::Word;
    let cadence = overlay::cadence(merged);
    let interval = cadence.interval.show();
    let writes_interval = over.interval.is_some();
    for (key, own, value) in [
        ("timeout", over.timeout, merged.timeout),
        ("fast_interval", over.fast_interval, merged.fast_interval),
        ("down_interval", over.down_interval, merged.down_interval),
    ] {
        let Some(value) = value.filter(|&value| value > cadence.interval && (own.is_some() || writes_interval)) else { continue };
        let message = format!("{key} {} is longer than the interval {interval}", value.show());
        let shown = if own.is_some() { key } else { "interval" };
        out.error(path().key(shown), message, format!("write a {key} of at most {interval}, or raise `interval`"));
    }
    if let Some(flap) = &over.flap
        && flap.rise_max < cadence.rise
    {
        let message = format!("rise_max {} is less than rise {}", flap.rise_max, cadence.rise);
        out.error(path().key("flap").key("rise_max"), message, "raise `rise_max`");
    }
}

/// The checks with a name: whole in themselves, and none calculated from itself.
fn named(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    let base = named_base(plan);
    for (name, checks) in plan.checks.iter() {
        let path = || at("checks", name);
        if checks.uses.is_some() {
            out.error(path().key("use"), "a named check is not another one", "use that one instead, or calculate this one from it");
            continue;
        }
        let merged = overlay::overlay(&base, checks);
        settings(plan, context, checks, &merged, &path, out);
        if checks.kind.is_none() {
            out.error(path().key("type"), "a named check needs a type", "add `type`");
        } else if overlay::has_target(overlay::kind(checks)) && checks.address.is_none() {
            out.error(path().key("address"), "nothing says what is probed", "add `address: host:port`");
        }
    }
    circles(plan, out);
}

/// A check that is calculated from itself, directly or not, has no value.
fn circles(plan: &Plan, out: &mut Findings) {
    // How many of its own checks are not known to end yet; those that end are taken away until nothing moves.
    let of = |checks: &HealthChecks| checks.of.iter().flatten().filter(|name| plan.checks.contains(name)).cloned().collect::<Vec<Label>>();
    let mut waiting: BTreeMap<Label, Vec<Label>> = plan.checks.iter().map(|(name, checks)| (name.clone(), of(checks))).collect();
    loop {
        let ends: Vec<Label> = waiting.iter().filter(|(_, of)| of.is_empty()).map(|(name, _)| name.clone()).collect();
        if ends.is_empty() {
            break;
        }
        waiting.retain(|name, of| {
            of.retain(|other| ends.binary_search(other).is_err());
            ends.binary_search(name).is_err()
        });
    }
    for name in waiting.keys() {
        out.error(at("checks", name).key("of"), format!("`{name}` is calculated from itself, or from checks that are"), "break the circle");
    }
}

/// Whether an address may be an endpoint's at all, apart from where it points.
pub(super) fn check_family(out: &mut Findings, path: impl FnOnce() -> Path, address: IpAddr) {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        out.error(path(), format!("{address} is an IPv4 address in IPv6 clothes: clients cannot use it"), format!("write {v4}"));
    }
}
