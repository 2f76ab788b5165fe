//! Health checks laid over one another: which keys the nearer layer takes over, and which keys a protocol uses.

use std::sync::Arc;

use crate::{
    document::{millis, minutes, seconds},
    model::ids::Label,
    plan::sections::{CheckType, Endpoint, Expect, Flap, HealthChecks, Plan, Service},
};

/// Lays `over` over `base`.
///
/// Times and thresholds go through key by key. What belongs to a protocol goes through only while the protocol stays of its kind, so that
/// a `name` meant for DNS never becomes the name of a heartbeat.
pub(super) fn overlay(base: &HealthChecks, over: &HealthChecks) -> HealthChecks {
    let changes_kind = over.kind.is_some_and(|kind| !same_kind(kind, base.kind.unwrap_or(CheckType::Http)));
    let base = if changes_kind || over.uses.is_some() || base.uses.is_some() { cadence_of(base) } else { base.clone() };
    HealthChecks {
        kind: over.kind.or(base.kind),
        uses: over.uses.clone(),
        interval: over.interval.or(base.interval),
        timeout: over.timeout.or(base.timeout),
        fast_interval: over.fast_interval.or(base.fast_interval),
        down_interval: over.down_interval.or(base.down_interval),
        fall: over.fall.or(base.fall),
        rise: over.rise.or(base.rise),
        ok_run: over.ok_run.or(base.ok_run),
        flap: over.flap.clone().or(base.flap),
        address: over.address.clone().or(base.address),
        port: over.port.or(base.port),
        path: over.path.clone().or(base.path),
        method: over.method.or(base.method),
        host: over.host.clone().or(base.host),
        headers: over.headers.clone().or(base.headers),
        expect: over.expect.clone().or(base.expect),
        server_name: over.server_name.clone().or(base.server_name),
        verify: over.verify.or(base.verify),
        ca: over.ca.clone().or(base.ca),
        valid_for: over.valid_for.or(base.valid_for),
        tls: over.tls.or(base.tls),
        service: over.service.clone().or(base.service),
        dsn: over.dsn.clone().or(base.dsn),
        role: over.role.or(base.role),
        name: over.name.clone().or(base.name),
        record_type: over.record_type.or(base.record_type),
        source: over.source.clone().or(base.source),
        query: over.query.clone().or(base.query),
        below: over.below.or(base.below),
        above: over.above.or(base.above),
        of: over.of.clone().or(base.of),
        require: over.require.or(base.require),
    }
}

/// Only what every protocol has in common.
pub(super) fn cadence_of(base: &HealthChecks) -> HealthChecks {
    HealthChecks {
        interval: base.interval,
        timeout: base.timeout,
        fast_interval: base.fast_interval,
        down_interval: base.down_interval,
        fall: base.fall,
        rise: base.rise,
        ok_run: base.ok_run,
        flap: base.flap.clone(),
        ..HealthChecks::default()
    }
}

/// Whether the keys of one protocol mean the same to the other.
fn same_kind(left: CheckType, right: CheckType) -> bool {
    let class = |kind| if kind == CheckType::Https { CheckType::Http } else { kind };
    class(left) == class(right)
}

/// What holds for all endpoints of a service in a region, and for all services.
pub(super) struct Layers<'p> {
    plan: &'p Plan,
    /// Per region of the plan, from the two outermost layers.
    regions: Vec<Arc<HealthChecks>>,
}

impl<'p> Layers<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let of_region = |region: &Label| match plan.traffic_routing.get(region).and_then(|routing| routing.health_checks.as_ref()) {
            Some(over) => overlay(&plan.health_check_defaults, over),
            None => plan.health_check_defaults.clone(),
        };
        Self { plan, regions: plan.regions.keys().map(|region| Arc::new(of_region(region))).collect() }
    }

    /// For a region, whatever the service.
    pub(super) fn of_region(&self, region: usize) -> &Arc<HealthChecks> {
        &self.regions[region]
    }

    /// For a service in a region, before its endpoints' own.
    pub(super) fn of_service(&self, service: &Service, region: usize) -> Arc<HealthChecks> {
        let base = &self.regions[region];
        let nearer = self.plan.regions.keys().nth(region).and_then(|name| service.traffic_routing.get(name)?.health_checks.as_ref());
        match (&service.health_checks, nearer) {
            (None, None) => Arc::clone(base),
            (Some(over), None) | (None, Some(over)) => Arc::new(overlay(base, over)),
            (Some(over), Some(nearer)) => Arc::new(overlay(&overlay(base, over), nearer)),
        }
    }

    /// For one endpoint.
    pub(super) fn of_endpoint(base: &Arc<HealthChecks>, endpoint: &Endpoint) -> Arc<HealthChecks> {
        endpoint.health_checks.as_ref().map_or_else(|| Arc::clone(base), |over| Arc::new(overlay(base, over)))
    }
}

/// Times and thresholds with every default filled in.
pub(super) fn cadence(checks: &HealthChecks) -> crate::model::check::Cadence {
    let interval = checks.interval.unwrap_or(seconds(30));
    let flap = checks.flap.clone().unwrap_or(Flap { window: minutes(10), rise_max: 20 });
    crate::model::check::Cadence {
        interval,
        // Defaults give way to a short interval; what is written is checked instead.
        fast_interval: checks.fast_interval.unwrap_or_else(|| seconds(2).min(interval)),
        down_interval: checks.down_interval.unwrap_or_else(|| seconds(10).min(interval)),
        timeout: checks.timeout.unwrap_or_else(|| seconds(5).min(interval).max(millis(10))),
        fall: checks.fall.unwrap_or(3),
        rise: checks.rise.unwrap_or(2),
        ok_run: checks.ok_run.unwrap_or(10),
        flap: crate::model::check::Flap { window: flap.window, rise_max: flap.rise_max.max(checks.rise.unwrap_or(2)) },
    }
}

/// The protocol, where one is said or not.
pub(super) fn kind(checks: &HealthChecks) -> CheckType {
    checks.kind.unwrap_or(CheckType::Http)
}

/// The port that a protocol usually has; `None`: it must be said.
pub(super) fn usual_port(checks: &HealthChecks) -> Option<u16> {
    match kind(checks) {
        CheckType::Https | CheckType::Tls => Some(443),
        CheckType::Dns => Some(53),
        CheckType::Postgres => Some(5432),
        CheckType::Redis => Some(6379),
        CheckType::Mysql => Some(3306),
        CheckType::Tcp | CheckType::Grpc => None,
        // Where nothing connects to the endpoint, the port is only shown.
        CheckType::Http | CheckType::None | CheckType::Prometheus | CheckType::Heartbeat | CheckType::Calculated => Some(80),
    }
}

/// Whether the protocol connects to an address.
pub(super) const fn has_target(kind: CheckType) -> bool {
    !matches!(kind, CheckType::None | CheckType::Prometheus | CheckType::Heartbeat | CheckType::Calculated)
}

/// The keys that are written in this layer and belong to some protocol only, each with whether `kind` uses it.
pub(super) fn protocol_keys(checks: &HealthChecks, kind: CheckType) -> Vec<(&'static str, bool)> {
    use CheckType::{Calculated, Dns, Grpc, Heartbeat, Http, Https, Mysql, Postgres, Prometheus, Redis, Tls};
    let http = matches!(kind, Http | Https);
    let over_tls = matches!(kind, Https | Tls | Grpc | Redis);
    let is_database = matches!(kind, Postgres | Redis | Mysql);
    let expect = match &checks.expect {
        Some(Expect::Http(_)) => http,
        Some(Expect::Data(_)) => kind == Dns,
        None => false,
    };
    let keys = [
        ("address", checks.address.is_some(), has_target(kind)),
        ("port", checks.port.is_some(), has_target(kind)),
        ("path", checks.path.is_some(), http),
        ("method", checks.method.is_some(), http),
        ("host", checks.host.is_some(), http),
        ("headers", checks.headers.is_some(), http),
        ("expect", checks.expect.is_some(), expect),
        ("server_name", checks.server_name.is_some(), over_tls),
        ("verify", checks.verify.is_some(), over_tls),
        ("ca", checks.ca.is_some(), over_tls),
        ("valid_for", checks.valid_for.is_some(), kind == Tls),
        ("tls", checks.tls.is_some(), matches!(kind, Grpc | Redis)),
        ("dsn", checks.dsn.is_some(), is_database),
        ("role", checks.role.is_some(), is_database),
        ("service", checks.service.is_some(), kind == Grpc),
        ("name", checks.name.is_some(), matches!(kind, Dns | Heartbeat)),
        ("record_type", checks.record_type.is_some(), kind == Dns),
        ("source", checks.source.is_some(), kind == Prometheus),
        ("query", checks.query.is_some(), kind == Prometheus),
        ("below", checks.below.is_some(), kind == Prometheus),
        ("above", checks.above.is_some(), kind == Prometheus),
        ("of", checks.of.is_some(), kind == Calculated),
        ("require", checks.require.is_some(), kind == Calculated),
    ];
    keys.into_iter().filter(|&(_, is_written, _)| is_written).map(|(key, _, is_used)| (key, is_used)).collect()
}
