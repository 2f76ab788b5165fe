//! What commands may not do without being told twice: leave a service too few regions, move too much at once, act in a freeze.
//!
//! Judged here is what is agreed: the plan and the orders. Which regions are healthy is not, because health is never committed; the
//! proposer looks at it beforehand. So these checks hold also against a proposer that is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    apply::Judge,
    entry::Entry,
    limits::{AUDIT_TEXT_MAX, cut},
    outline::{Outline, Service, meet},
    refusal::{Refusal, Rule},
};
use crate::{
    health::overlay::{Override, OverrideKind, Scope},
    model::{
        ids::{Label, ServiceIdx},
        time::Timestamp,
        units::Share,
    },
    table::Table,
};

/// The longest list of names in a refusal.
const NAMES_MAX: usize = 5;

/// The most moments that one order is judged at. Each costs a walk over all services; more orders for one object than this are not
/// people's.
const MOMENTS_MAX: usize = 64;

impl Judge<'_> {
    /// Refused while a freeze concerns the scope.
    pub(super) fn check_freeze(&mut self, scope: &Scope) -> Result<(), Refusal> {
        let Some(freeze) = self.state.freezes_of(scope, self.entry.at).into_iter().next() else { return Ok(()) };
        let text = format!("freeze `{}` of {} by {} until {}: {}", freeze.id, freeze.scope, freeze.who, freeze.until, freeze.why);
        self.unless_overruled(Refusal::new(Rule::Frozen, cut(&text, AUDIT_TEXT_MAX), remedy("wait until it ends", Rule::Frozen)))
    }

    /// When an order for this scope is judged: now, and whenever another one ends that covers for it, so that an order that changes nothing
    /// yet does not prolong what was allowed for a shorter time.
    pub(super) fn moments(&self, scope: &Scope, until: Timestamp) -> Vec<Timestamp> {
        let at = self.entry.at;
        let covering = self.state.orders.values().filter(|order| withdraws(order) && meet(&order.scope, scope));
        let ends: BTreeSet<Timestamp> = covering.filter_map(|order| order.until).filter(|end| at < *end && *end < until).collect();
        std::iter::once(at).chain(ends).take(MOMENTS_MAX).collect()
    }

    /// Refused when, at one of the moments, a service that the plan had before keeps fewer regions than it would have, and fewer than its
    /// `min_healthy_regions`.
    pub(super) fn check_regions(&mut self, before: Laid<'_>, after: Laid<'_>, moments: &[Timestamp]) -> Result<(), Refusal> {
        let broken = moments.iter().find_map(|&at| {
            let (orders_before, orders_after) = (Withdrawing::new(before.orders, at), Withdrawing::new(after.orders, at));
            after.outline.services.iter().find_map(|(name, service)| {
                let kept = orders_after.regions_kept(name, service);
                let known = before.outline.services.get(name)?;
                let is_worse = || kept.len() < orders_before.regions_kept(name, known).len();
                (kept.len() < service.min_healthy_regions && is_worse()).then_some((name, service, kept, at))
            })
        });
        let Some((name, service, kept, at)) = broken else { return Ok(()) };
        let when = if at == self.entry.at { String::new() } else { format!(" from {at} on") };
        let mut names: Vec<&str> = kept.iter().take(NAMES_MAX).map(|region| region.as_str()).collect();
        if kept.len() > NAMES_MAX {
            names.push("...");
        }
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let text = format!(
            "service {name} would keep {} of {} regions in answers{when} ({names}); its min_healthy_regions is {}",
            kept.len(),
            service.pools.len(),
            service.min_healthy_regions
        );
        let rule = Rule::MinHealthyRegions;
        self.unless_overruled(Refusal::new(rule, text, remedy("lift another order first, or give the region a small weight instead", rule)))
    }

    /// Refused when more moves than the plan allows for one step, or nobody knows how much. Without a limit in the plan nobody must know.
    pub(super) fn check_share(&mut self, outline: &Outline, moves: Option<Share>) -> Result<(), Refusal> {
        let limit = outline.max_share_moved;
        let text = match moves {
            _ if limit.is_full() => return Ok(()),
            Some(share) if share <= limit => return Ok(()),
            Some(share) => format!("it would move {share} of the clients; max_share_moved_per_step is {limit}"),
            None => format!("it is not known how many clients it would move; max_share_moved_per_step is {limit}"),
        };
        let rule = Rule::MaxShareMoved;
        self.unless_overruled(Refusal::new(rule, text, remedy("go in smaller steps, by weight", rule)))
    }

    /// An order that passes a guardrail because it is overruled ends with that, else the guardrail would be off for longer than was said.
    pub(super) fn check_overrule_outlives(&self, until: Timestamp) -> Result<(), Refusal> {
        let regions = self.used.iter().filter(|it| it.rule == Rule::MinHealthyRegions);
        let Some(end) = regions.map(|it| it.end.resolve(self.entry.at)).min().filter(|end| *end < until) else { return Ok(()) };
        let text = format!("the order would last until {until}, and {} is overruled until {end} only", Rule::MinHealthyRegions);
        Err(Refusal::new(Rule::End, text, format!("let the order end by {end}")))
    }
}

/// Refused when, by what is observed, a service would keep fewer regions with an endpoint that is up than before, and fewer than its
/// `min_healthy_regions`: the log knows orders, not health, so whoever proposes asks this first.
///
/// # Errors
/// The refusal, unless the entry overrules the rule.
pub fn observed_regions(before: &Table, after: &Table, entry: &Entry) -> Result<(), Refusal> {
    let rule = Rule::MinHealthyRegions;
    if entry.overrules.iter().any(|it| it.rule == rule && it.end.resolve(entry.at) > entry.at) {
        return Ok(());
    }
    let topology = &after.world.topology;
    for (position, service) in topology.services.iter().enumerate() {
        let at = ServiceIdx::at(position);
        let (had, keeps) = (before.view(at).up.len(), after.view(at).up.len());
        if keeps < had && keeps < service.min_healthy_regions {
            let text = format!(
                "service {} would keep {keeps} of {} regions that are up now; its min_healthy_regions is {}",
                service.name,
                service.pools.len(),
                service.min_healthy_regions
            );
            return Err(Refusal::new(rule, text, remedy("wait until more regions are up", rule)));
        }
    }
    Ok(())
}

fn remedy(what: &str, rule: Rule) -> String {
    format!("{what}, or overrule it with a reason and an end: --override {}", rule.word().to_ascii_lowercase())
}

/// Orders, and the plan that they are laid over.
#[derive(Clone, Copy)]
pub(super) struct Laid<'a> {
    pub(super) outline: &'a Outline,
    pub(super) orders: &'a BTreeMap<Label, Override>,
}

/// Whether the order decides whether an endpoint may be answered.
const fn withdraws(order: &Override) -> bool {
    matches!(order.kind, OverrideKind::Drain | OverrideKind::ForcedUp | OverrideKind::ForcedDown)
}

/// Orders that decide whether an endpoint may be answered, found by what they are for.
struct Withdrawing<'a> {
    regions: BTreeMap<&'a str, Vec<&'a Override>>,
    services: BTreeMap<&'a str, Vec<&'a Override>>,
    pools: BTreeMap<(&'a str, &'a str), Vec<&'a Override>>,
    endpoints: BTreeMap<&'a str, Vec<&'a Override>>,
}

impl<'a> Withdrawing<'a> {
    fn new(orders: &'a BTreeMap<Label, Override>, now: Timestamp) -> Self {
        let mut found = Self { regions: BTreeMap::new(), services: BTreeMap::new(), pools: BTreeMap::new(), endpoints: BTreeMap::new() };
        for order in orders.values().filter(|order| withdraws(order) && order.is_in_force(now)) {
            match &order.scope {
                Scope::Region(region) => found.regions.entry(region.as_str()).or_default().push(order),
                Scope::Service(service) => found.services.entry(service.as_str()).or_default().push(order),
                Scope::Pool { service, region } => found.pools.entry((service.as_str(), region.as_str())).or_default().push(order),
                Scope::Endpoint(endpoint) => found.endpoints.entry(endpoint.as_str()).or_default().push(order),
                Scope::Group(_) | Scope::Everything => {}
            }
        }
        found
    }

    /// The regions of a service in which an endpoint is left that no order takes out.
    fn regions_kept<'s>(&self, name: &Label, service: &'s Service) -> Vec<&'s Label> {
        let name = name.as_str();
        let is_kept = |region: &Label, targets: &BTreeSet<String>| {
            let lists = [self.services.get(name), self.regions.get(region.as_str()), self.pools.get(&(name, region.as_str()))];
            let of_pool: Vec<&Override> = lists.into_iter().flatten().flatten().copied().collect();
            if self.endpoints.is_empty() {
                return !is_withdrawn(of_pool.iter().copied());
            }
            targets.iter().any(|target| {
                let own = self.endpoints.get(format!("{name}/{region}/{target}").as_str());
                !is_withdrawn(of_pool.iter().copied().chain(own.into_iter().flatten().copied()))
            })
        };
        service.pools.iter().filter(|(region, targets)| is_kept(region, targets)).map(|(region, _)| region).collect()
    }
}

/// As [`crate::health::overlay::Effective::is_withdrawn`] judges: drained, or forced down by the order that rules.
fn is_withdrawn<'a>(orders: impl Iterator<Item = &'a Override> + Clone) -> bool {
    let forced = orders.clone().filter(|order| order.kind != OverrideKind::Drain).max_by_key(|order| order.rank());
    orders.clone().any(|order| order.kind == OverrideKind::Drain) || forced.is_some_and(|order| order.kind == OverrideKind::ForcedDown)
}
