//! What the plan wants to be shown of a new primary before its operation is over: each step with its meaning, and everything filled in.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::sections::{Expect, Limit, Plan, ServiceRecovery, Trigger as TriggerSection, Validation};
use crate::{
    document::{HostPort, Url, Word as _},
    model::{
        check::{Address, Cadence, Check, Decimal, Flap, HttpMethod, Probe, ProbeKind, TlsCheck},
        ids::Label,
    },
    recovery::traffic_return::Returning,
};

/// How long a step with a built-in meaning may last.
const BUILT_IN_TIME: Duration = Duration::from_secs(60);

/// Something that is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationStep {
    /// As in the plan.
    pub name: Label,
    /// It has failed when it has not passed within this time.
    pub timeout: Duration,
    /// What it means.
    pub means: Means,
}

/// What a step means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// Built in: the engine's own check. It takes writes, bears the token of its grant, and no page failed its checksum.
    Integrity,
    /// Built in: the services of its region have an endpoint that is up.
    Services,
    /// Built in: no rollback trigger fires, and each has a figure.
    Triggers(Vec<Trigger>),
    /// A query whose result must be true.
    Sql(String),
    /// A request.
    Http(Box<Check>),
    /// A figure on the right side of a limit, for so long without a break.
    Figure(Trigger, Duration),
    /// A program of this name in `hooks_dir`.
    Hook(String),
}

/// A figure and the limit that it must not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// As people write it: `error_rate > 5%`.
    pub text: String,
    /// Where the figure comes from; `None`: from nowhere, so it is unknown.
    pub figure: Option<Figure>,
    /// It fires above the limit; else below.
    pub above: bool,
    /// The limit, in the figure's unit.
    pub limit: Decimal,
}

impl Trigger {
    /// Whether a figure fires it. One that is no number is unknown: `None`.
    #[must_use]
    pub fn fires(&self, figure: f64) -> Option<bool> {
        let limit = self.limit.value();
        (!figure.is_nan()).then_some(if self.above { figure > limit } else { figure < limit })
    }
}

/// Where a figure is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Base URL of a Prometheus server.
    pub url: String,
    /// The query; its result must be one number.
    pub query: String,
    /// The name of the secret that is sent as `Authorization`; `None`: none is.
    pub secret: Option<String>,
}

/// What a new primary of a group in this region must show, in order. Empty: nothing.
#[must_use]
pub fn validation(plan: &Plan, group: &Label, region: &Label) -> Vec<ValidationStep> {
    let recovery = plan.disaster_recovery.as_ref().and_then(|it| it.recovery_procedures.data_recovery.as_ref());
    let place = Place::new(plan, group, region);
    let steps = recovery.into_iter().flat_map(|it| &it.validation_steps);
    steps.filter_map(|name| step(plan, name, &place)).collect()
}

/// The rollback triggers of a plan, as they are judged in this region after a group moved there.
#[must_use]
pub fn triggers(plan: &Plan, group: &Label, region: &Label) -> Vec<Trigger> {
    let place = Place::new(plan, group, region);
    service_recovery(plan).into_iter().flat_map(|it| &it.rollback_triggers).map(|it| trigger(plan, it, &place)).collect()
}

/// The rollback triggers of a plan, as they are judged in this region while its traffic returns. A figure that is asked for by the address of one
/// group's member is unknown there.
#[must_use]
pub fn region_triggers(plan: &Plan, region: &Label) -> Vec<Trigger> {
    let nobody = Label::new("");
    let place = Place { group: &nobody, region, publish: String::new() };
    let names_a_member =
        |it: &TriggerSection| plan.signals.queries.get(&it.signal).is_some_and(|query| query.query.0.contains("{publish}"));
    let one = |it: &TriggerSection| {
        let trigger = trigger(plan, it, &place);
        if names_a_member(it) { Trigger { figure: None, ..trigger } } else { trigger }
    };
    service_recovery(plan).into_iter().flat_map(|it| &it.rollback_triggers).map(one).collect()
}

/// How the traffic of a drained region returns; `None`: the plan does not say.
#[must_use]
pub fn returning(plan: &Plan) -> Option<Returning> {
    service_recovery(plan).map(ServiceRecovery::returning)
}

fn service_recovery(plan: &Plan) -> Option<&ServiceRecovery> {
    plan.disaster_recovery.as_ref().and_then(|it| it.recovery_procedures.service_recovery.as_ref())
}

impl ServiceRecovery {
    /// The steps that it writes, or those of its strategy.
    #[must_use]
    pub(super) fn returning(&self) -> Returning {
        let steps = if self.traffic_steps.is_empty() { self.deployment_strategy.steps() } else { self.traffic_steps.clone() };
        Returning { steps, step_time: self.step_time }
    }
}

/// What is put in the place of `{region}` and `{publish}`.
struct Place<'a> {
    group: &'a Label,
    region: &'a Label,
    publish: String,
}

impl<'a> Place<'a> {
    fn new(plan: &Plan, group: &'a Label, region: &'a Label) -> Self {
        let member = plan.data_groups.get(group).and_then(|it| it.members.get(region));
        let publish = member.map_or_else(String::new, |member| match member.publish {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => member.address.0.host.to_string(),
        });
        Self { group, region, publish }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{region}", self.region.as_str()).replace("{publish}", &self.publish)
    }
}

fn step(plan: &Plan, name: &Label, place: &Place<'_>) -> Option<ValidationStep> {
    let (timeout, means) = match plan.validation.get(name) {
        Some(section) => (section.timeout, written(plan, section, place)?),
        None => {
            let means = match name.as_str() {
                "verify_data_integrity" => Means::Integrity,
                "test_agent_functionality" => Means::Services,
                "validate_performance_metrics" => Means::Triggers(triggers(plan, place.group, place.region)),
                _ => return None,
            };
            (BUILT_IN_TIME, means)
        }
    };
    Some(ValidationStep { name: name.clone(), timeout, means })
}

/// A step as the section `validation` writes it; `None`: the check refused it.
fn written(plan: &Plan, section: &Validation, place: &Place<'_>) -> Option<Means> {
    let Validation { sql, http, expect, signal, below, above, lasting, hook, timeout } = section;
    if let Some(sql) = sql {
        return Some(Means::Sql(sql.0.clone()));
    }
    if let Some(url) = http {
        let expect = expect.clone().map(Expect::Http);
        return request(&place.fill(url.as_str()), expect.as_ref(), *timeout).map(|check| Means::Http(Box::new(check)));
    }
    if let Some(signal) = signal {
        // It passes below the one or above the other, so it fires on the other side.
        let (fires_above, limit) = below.map(|it| (true, it.0)).or_else(|| above.map(|it| (false, it.0)))?;
        let section = TriggerSection { signal: signal.clone(), above: fires_above, limit };
        return Some(Means::Figure(trigger(plan, &section, place), lasting.unwrap_or_default()));
    }
    hook.as_ref().map(|hook| Means::Hook(hook.0.to_string()))
}

fn trigger(plan: &Plan, section: &TriggerSection, place: &Place<'_>) -> Trigger {
    let figure = plan.signals.queries.get(&section.signal).and_then(|query| {
        let source = plan.signals.sources.get(&query.source)?;
        Some(Figure {
            url: source.prometheus.as_str().to_owned(),
            query: place.fill(&query.query.0),
            secret: source.secret.as_ref().map(|secret| secret.0.to_string()),
        })
    });
    Trigger { text: section.show(), figure, above: section.above, limit: decimal(section.limit) }
}

/// In the unit of the figure: ratios from 0 to 1, seconds, or as it is.
fn decimal(limit: Limit) -> Decimal {
    match limit {
        Limit::Share(share) => Decimal(i64::from(share.points()) * 100),
        Limit::Time(time) => Decimal(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
        Limit::Number(number) => number,
    }
}

fn request(url: &str, expect: Option<&Expect>, timeout: Duration) -> Option<Check> {
    let url = Url::read(url).ok()?;
    let is_secure = url.scheme() == "https";
    let port = if is_secure { 443 } else { 80 };
    let authority = url.authority();
    let is_with_port = authority.rsplit_once(':').is_some_and(|(host, port)| port.parse::<u16>().is_ok() && !host.ends_with(':'));
    let text = if is_with_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let HostPort(Address { host, port }) = HostPort::read(&text).ok()?;
    let path = if url.path().is_empty() { "/" } else { url.path() };
    let kind = ProbeKind::Http {
        tls: is_secure.then(|| TlsCheck { verify: true, ..TlsCheck::default() }),
        host: None,
        method: HttpMethod::Get,
        path: path.to_owned(),
        headers: Vec::new(),
        expect: super::resolve::http_expect(expect),
    };
    let once = Flap { window: Duration::ZERO, rise_max: 1 };
    let cadence = Cadence {
        interval: timeout,
        fast_interval: timeout,
        down_interval: timeout,
        timeout: timeout.min(Duration::from_secs(10)),
        fall: 1,
        rise: 1,
        ok_run: 1,
        flap: once,
    };
    Some(Check { address: Some(Address { host, port }), probe: Arc::new(Probe { kind, cadence }) })
}
