//! The stages, in order.

use std::fmt::Write as _;

use super::{
    rendezvous::{self, ClientKey},
    trace::Trace,
};
use crate::{
    geo::{By, GeoView},
    model::{
        ids::{RegionIdx, RegionSet},
        reason::{Mark, Reason},
        record::RecordType,
        time::Timestamp,
        topology::{AllDown, Families, ResidencyMode, Service, Spread, Stage, Topology},
        units::Share,
    },
    table::{Family, Member, PoolView, ServiceView, Tier},
};

/// Who asks, as far as the choice depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The regions as seen from the client's place, for the service's profile.
    pub geo: &'a GeoView,
    /// What weighted choices depend on: the client's network, or a random number.
    pub key: ClientKey,
    /// A fresh random number: the order of equal records depends on it, nothing else.
    pub entropy: u64,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'v> {
    /// The endpoints, or what stands in for them.
    pub served: Served<'v>,
    /// The choice depended on the client's own network, not only on its place: the scope of the answer is that network.
    pub by_client: bool,
    /// The choice depended on the client's place.
    pub by_place: bool,
}

/// The endpoints, or what stands in for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served<'v> {
    /// These endpoints, which answer the type asked for. Empty: the region has none of that type ("no data").
    Members {
        /// The region that was chosen; `None` for `multivalue`, which chooses none.
        region: Option<RegionIdx>,
        /// Every region that the choice stood between at last.
        regions: RegionSet,
        /// Between 0 and `limit` endpoints.
        members: Vec<&'v Member>,
        /// Which tier they are of.
        tier: Tier,
        /// `Some`: no usable endpoint remained, and this rule chose them.
        all_down: Option<AllDown>,
    },
    /// The plan's backup targets.
    Backup,
    /// "No data".
    Nodata,
    /// SERVFAIL.
    Servfail,
}

/// Chooses for one client and one type. Pure; cost linear in the service's endpoints.
pub fn choose<'v, T: Trace>(
    topology: &Topology,
    service: &Service,
    view: &'v ServiceView,
    client: &Client<'_>,
    record_type: RecordType,
    trace: &mut T,
) -> Choice<'v> {
    let family = match record_type {
        RecordType::A => Some(Family::V4),
        RecordType::AAAA => Some(Family::V6),
        _ => None,
    };
    let mut stages = Stages { topology, service, view, client, trace, by_client: false, by_place: false };
    let served = stages.run(family);
    Choice { served, by_client: stages.by_client && service.steering.spread == Spread::Sticky, by_place: stages.by_place }
}

/// Which endpoints may be used, and why no better ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Tier(Tier),
    /// Left rotation at this time or later.
    LastGood(Timestamp),
    All,
}

impl Pick {
    fn accepts(self, member: &Member) -> bool {
        match self {
            Self::Tier(tier) => member.tier == tier,
            Self::LastGood(since) => member.left.is_some_and(|left| left >= since),
            Self::All => true,
        }
    }
}

struct Stages<'a, 'v, T> {
    topology: &'a Topology,
    service: &'a Service,
    view: &'v ServiceView,
    client: &'a Client<'a>,
    trace: &'a mut T,
    by_client: bool,
    by_place: bool,
}

impl<'v, T: Trace> Stages<'_, 'v, T> {
    fn run(&mut self, family: Option<Family>) -> Served<'v> {
        // With independent families a region counts only for the type that it has.
        let typed = match self.service.steering.families {
            Families::Together => None,
            Families::Independent => family,
        };
        let mut all = self.view.regions_with(|member| is_of(member, typed));
        let mut typed = typed;
        if all.is_empty() {
            // The service has no endpoint of the type, up or down: "no data", whatever the others do.
            typed = None;
            all = self.view.regions_with(|_| true);
        }
        let inside = self.residency(all);
        let Some((pick, regions, all_down)) = self.tier(all, inside, typed) else {
            return self.nothing_left();
        };
        let mut regions = self.families(regions, pick);
        // Before standby: while a region comes back, those that stood in for it keep the rest of its clients.
        regions = self.admission(regions, pick);
        regions = self.standby(regions);
        for stage in &self.service.steering.stages {
            regions = match stage {
                Stage::Geo | Stage::Latency => self.nearest(regions),
                Stage::Priority => self.priority(regions),
                Stage::Weight => self.weight(regions),
            };
        }
        let (region, members) = if self.service.steering.multivalue {
            (None, self.endpoints(regions, pick, family))
        } else {
            // Stages of the plan's own may leave several; one is drawn, so that a client stays with it.
            let region = self.draw(regions, |_| 1);
            (region, self.endpoints(region.into_iter().collect(), pick, family))
        };
        let tier = match pick {
            Pick::Tier(tier) => tier,
            Pick::LastGood(_) | Pick::All => Tier::Out,
        };
        Served::Members { region, regions, members, tier, all_down }
    }

    //--- Residency, health, all_down

    fn residency(&mut self, all: RegionSet) -> RegionSet {
        // Also without a fence for this client: another one may have one.
        self.by_place |= self.service.steering.residency.is_some();
        let Some(fence) = self.client.geo.fence else { return all };
        let inside = all.and(fence);
        let hard = self.service.steering.residency.as_ref().is_some_and(|residency| residency.mode == ResidencyMode::Strict);
        self.note_removed("residency", all, inside, |_| {
            if hard {
                "outside the strict fence of this client".to_owned()
            } else {
                "outside the preferred fence of this client".to_owned()
            }
        });
        inside
    }

    fn is_strict(&self) -> bool {
        self.client.geo.fence.is_some()
            && self.service.steering.residency.as_ref().is_some_and(|residency| residency.mode == ResidencyMode::Strict)
    }

    /// The first tier with a member inside the fence; then, unless the fence is strict, outside; then what `all_down` says.
    fn tier(&mut self, all: RegionSet, inside: RegionSet, typed: Option<Family>) -> Option<(Pick, RegionSet, Option<AllDown>)> {
        let outside = if self.is_strict() { RegionSet::EMPTY } else { all.without(inside) };
        let view = self.view;
        let regions_of = |pick: Pick| view.regions_with(|member| is_of(member, typed) && pick.accepts(member));
        let order = [
            (Tier::Up, inside),
            (Tier::Unjudged, inside),
            (Tier::Up, outside),
            (Tier::Unjudged, outside),
            (Tier::Drained, inside),
            (Tier::Drained, outside),
        ];
        for (tier, within) in order {
            let found = regions_of(Pick::Tier(tier)).and(within);
            if !found.is_empty() {
                self.note_health(all, Pick::Tier(tier), within != inside && !inside.is_empty());
                return Some((Pick::Tier(tier), found, None));
            }
        }
        self.note_health(all, Pick::Tier(Tier::Up), false);
        match self.service.all_down {
            rule @ AllDown::LastGood => {
                let since = view.last_good_since(|pool, member| inside.or(outside).contains(pool.region) && is_of(member, typed));
                if let Some(pick) = since.map(Pick::LastGood) {
                    let last = regions_of(pick);
                    let within = [inside, outside].map(|side| last.and(side)).into_iter().find(|found| !found.is_empty());
                    self.note_all_down("last_good: the endpoints that were usable last");
                    return within.map(|found| (pick, found, Some(rule)));
                }
                // Nothing was ever seen usable: every endpoint is as good a guess as any other.
                self.all_of(inside, outside, rule, "last_good: none was ever usable here, so every endpoint")
            }
            rule @ AllDown::All => self.all_of(inside, outside, rule, "all: every endpoint"),
            AllDown::Backup | AllDown::Nodata | AllDown::Servfail => None,
        }
    }

    fn all_of(&mut self, inside: RegionSet, outside: RegionSet, rule: AllDown, text: &str) -> Option<(Pick, RegionSet, Option<AllDown>)> {
        let found = if inside.is_empty() { outside } else { inside };
        if found.is_empty() {
            return None;
        }
        self.note_all_down(text);
        Some((Pick::All, found, Some(rule)))
    }

    fn nothing_left(&mut self) -> Served<'v> {
        match self.service.all_down {
            // Backup targets have no region, so nobody knows on which side of a fence they are.
            AllDown::Backup if !self.is_strict() => {
                self.note_all_down("backup: the plan's backup targets");
                Served::Backup
            }
            AllDown::Servfail => {
                self.note_all_down("servfail: the resolver shall ask another server");
                Served::Servfail
            }
            AllDown::Nodata | AllDown::LastGood | AllDown::All | AllDown::Backup => {
                self.note_all_down("nodata: no address may be answered");
                Served::Nodata
            }
        }
    }

    /// A region that lost one of its address families leaves while a region remains that has all of its own: else clients of that family
    /// would be sent to a region that cannot answer them.
    fn families(&mut self, regions: RegionSet, pick: Pick) -> RegionSet {
        if self.service.steering.families == Families::Independent {
            return regions;
        }
        let lost = |pool: &PoolView| {
            [Family::V4, Family::V6].into_iter().find(|&family| {
                let of_family = || pool.members.iter().filter(move |member| member.family == family);
                of_family().next().is_some() && !of_family().any(|member| pick.accepts(member))
            })
        };
        let whole: RegionSet = self.pools(regions).filter(|pool| lost(pool).is_none()).map(|pool| pool.region).collect();
        if whole.is_empty() || whole == regions {
            return regions;
        }
        let view = self.view;
        self.note_removed("families", regions, whole, |region| match view.pool(region).and_then(lost) {
            Some(Family::V4) => "no usable IPv4 endpoint left, and other regions have one".to_owned(),
            _ => "no usable IPv6 endpoint left, and other regions have one".to_owned(),
        });
        whole
    }

    //--- Choice among usable regions

    fn standby(&mut self, regions: RegionSet) -> RegionSet {
        let active: RegionSet = self.pools(regions).filter(|pool| pool.weight > 0).map(|pool| pool.region).collect();
        if active.is_empty() {
            return regions;
        }
        self.note_removed("standby", regions, active, |_| "weight 0: used only when no positive weight is left".to_owned());
        active
    }

    /// A region that came back takes only its share of clients; the others stay where they were.
    fn admission(&mut self, regions: RegionSet, pick: Pick) -> RegionSet {
        if pick != Pick::Tier(Tier::Up) {
            return regions;
        }
        let partial: RegionSet = self.pools(regions).filter(|pool| !pool.admitted.is_full()).map(|pool| pool.region).collect();
        if partial.is_empty() {
            return regions;
        }
        let key = self.client.key;
        let admitted: RegionSet = self
            .pools(regions)
            .filter(|pool| pool.admitted.is_full() || key.is_within(pool.salt, pool.admitted.points()))
            .map(|pool| pool.region)
            .collect();
        if regions.len() > 1 {
            self.by_client = true;
        }
        if admitted.is_empty() {
            self.trace.note(|| Reason::new(Mark::Info, "admission: nothing else is usable, so the share is full"));
            return regions;
        }
        let view = self.view;
        self.note_removed("admission", regions, admitted, |region| {
            let share = view.pool(region).map_or(Share::FULL, |pool| pool.admitted);
            format!("came back lately and takes {share} of its clients, not this one")
        });
        admitted
    }

    fn nearest(&mut self, regions: RegionSet) -> RegionSet {
        let geo = self.client.geo;
        // A single region is the nearest from everywhere.
        if regions.len() > 1 {
            self.by_place = true;
        }
        let nearest = geo.ranking.nearest(regions);
        if !geo.is_known() {
            self.trace.note(|| Reason::new(Mark::Open, "geo: the client's place is not known, so no region is nearer"));
            return nearest;
        }
        self.note_removed(metric_word(geo.by), regions, nearest, |_| "farther than the nearest usable region".to_owned());
        nearest
    }

    fn priority(&mut self, regions: RegionSet) -> RegionSet {
        let Some(best) = self.pools(regions).map(|pool| pool.priority).min() else { return regions };
        let kept: RegionSet = self.pools(regions).filter(|pool| pool.priority == best).map(|pool| pool.region).collect();
        let view = self.view;
        self.note_removed("priority", regions, kept, |region| {
            format!("priority {}, and priority {best} is usable", view.pool(region).map_or(0, |pool| pool.priority))
        });
        kept
    }

    fn weight(&mut self, regions: RegionSet) -> RegionSet {
        let Some(drawn) = self.draw(regions, |pool| u64::from(pool.weight)) else { return regions };
        let (view, total) = (self.view, self.pools(regions).map(|pool| u32::from(pool.weight)).sum::<u32>());
        let kept: RegionSet = [drawn].into_iter().collect();
        self.note_removed("weight", regions, kept, |region| {
            format!("not drawn (weight {} of {total})", view.pool(region).map_or(0, |pool| pool.weight))
        });
        kept
    }

    fn draw(&mut self, regions: RegionSet, weight: impl Fn(&PoolView) -> u64) -> Option<RegionIdx> {
        if regions.len() > 1 {
            self.by_client = true;
        }
        rendezvous::pick(self.client.key, self.pools(regions).map(|pool| (pool.region, pool.salt, weight(pool))))
    }

    //--- Endpoints

    /// The endpoints of these regions that answer `family`: all of equal weight, else one by weight.
    fn endpoints(&mut self, regions: RegionSet, pick: Pick, family: Option<Family>) -> Vec<&'v Member> {
        let view = self.view;
        let usable = view.pools.iter().filter(|pool| regions.contains(pool.region)).flat_map(|pool| {
            let share = pool.admitted;
            pool.members.iter().filter(move |member| pick.accepts(member)).map(move |member| (member, share))
        });
        let mut usable: Vec<(&Member, Share)> = usable.collect();
        self.one_kind(&mut usable);
        usable.retain(|(member, _)| is_of(member, family));
        self.admit_members(&mut usable, pick);
        if usable.iter().any(|(member, _)| member.weight > 0) {
            usable.retain(|(member, _)| member.weight > 0);
        }
        let mut members: Vec<&Member> = usable.into_iter().map(|(member, _)| member).collect();
        let even = members.iter().all(|member| member.weight == members[0].weight);
        let limit = usize::from(self.service.steering.limit);
        if members.iter().any(|member| member.family == Family::Any) {
            self.keep_drawn(&mut members, 1);
        } else if self.service.steering.multivalue || even {
            self.keep_drawn(&mut members, limit);
            rotate(&mut members, self.client.entropy);
        } else {
            self.keep_drawn(&mut members, 1);
        }
        members
    }

    /// A CNAME stands alone and holds for every type (RFC 2181 section 10.1): of aliases and addresses side by side one is drawn, before the
    /// type is looked at, so that one client gets the same kind for all types.
    fn one_kind(&mut self, usable: &mut Vec<(&'v Member, Share)>) {
        let is_alias = |member: &Member| member.family == Family::Any;
        let n_aliases = usable.iter().filter(|(member, _)| is_alias(member)).count();
        if n_aliases == 0 || n_aliases == usable.len() {
            return;
        }
        self.by_client = true;
        let weigh_all = usable.iter().all(|(member, _)| member.weight == 0);
        let candidates = usable.iter().filter(|(member, _)| weigh_all || member.weight > 0);
        let draws = candidates.map(|(member, _)| (is_alias(member), member.salt, u64::from(member.weight)));
        if let Some(alias) = rendezvous::pick(self.client.key, draws) {
            usable.retain(|(member, _)| is_alias(member) == alias);
        }
    }

    /// Inside a region an endpoint that came back takes its share relative to the region's, so that the two do not multiply.
    fn admit_members(&mut self, usable: &mut Vec<(&'v Member, Share)>, pick: Pick) {
        let is_partial = |(member, pool): &(&Member, Share)| member.admitted < *pool;
        if pick != Pick::Tier(Tier::Up) || !usable.iter().any(is_partial) {
            return;
        }
        let key = self.client.key;
        let admits = |&(member, pool): &(&Member, Share)| {
            let relative = u32::from(member.admitted.points()) * 10_000 / u32::from(pool.points()).max(1);
            key.is_within(member.salt, u16::try_from(relative.min(10_000)).expect("invariant: at most 10 000"))
        };
        if usable.len() > 1 {
            self.by_client = true;
        }
        if usable.iter().any(admits) {
            usable.retain(admits);
        }
    }

    /// Keeps the `n` best draws, in their former order.
    fn keep_drawn(&mut self, members: &mut Vec<&'v Member>, n: usize) {
        if members.len() <= n {
            return;
        }
        self.by_client = true;
        let mut rest = members.clone();
        let mut kept: Vec<&Member> = Vec::with_capacity(n);
        while kept.len() < n {
            let draws = rest.iter().map(|member| (*member, member.salt, u64::from(member.weight)));
            let Some(best) = rendezvous::pick(self.client.key, draws) else { break };
            rest.retain(|member| member.endpoint != best.endpoint);
            kept.push(best);
        }
        members.retain(|member| kept.iter().any(|it| it.endpoint == member.endpoint));
    }

    //--- What was done

    fn pools(&self, regions: RegionSet) -> impl Iterator<Item = &'v PoolView> + use<'v, T> {
        self.view.pools.iter().filter(move |pool| regions.contains(pool.region))
    }

    fn note_removed(&mut self, stage: &str, before: RegionSet, after: RegionSet, why: impl Fn(RegionIdx) -> String) {
        if before == after {
            return;
        }
        let topology = self.topology;
        self.trace.note(|| {
            let kept = if after.is_empty() { "none".to_owned() } else { names(topology, after) };
            let heading = Reason::new(Mark::Yes, format!("{stage}: {kept} left"));
            before.without(after).iter().fold(heading, |reason, region| {
                reason.with(Reason::new(Mark::No, format!("{}: {}", topology.regions[region.get()].name, why(region))))
            })
        });
    }

    /// Says of each endpoint outside `pick` why it is.
    fn note_health(&mut self, all: RegionSet, pick: Pick, outside: bool) {
        let (topology, view) = (self.topology, self.view);
        self.trace.note(|| {
            let tier = match pick {
                Pick::Tier(Tier::Unjudged) => "no endpoint is known to be up; those not judged yet are used",
                Pick::Tier(Tier::Drained) => "only drained endpoints are usable; they answer until another is",
                _ => "endpoints that are up",
            };
            let heading = format!("health: {tier}{}", if outside { ", outside the preferred fence, as none is usable inside" } else { "" });
            let mut reason = Reason::new(Mark::Info, heading);
            for pool in view.pools.iter().filter(|pool| all.contains(pool.region)) {
                for member in &pool.members {
                    let usable = pick.accepts(member);
                    if usable && member.note.is_none() {
                        continue;
                    }
                    let note = member.note.as_deref().unwrap_or("up");
                    let mark = if usable { Mark::Yes } else { Mark::No };
                    reason = reason.with(Reason::new(mark, format!("{}: {note}", topology.endpoint_name(member.endpoint))));
                }
            }
            reason
        });
    }

    fn note_all_down(&mut self, text: &str) {
        self.trace.note(|| Reason::new(Mark::No, format!("no usable endpoint: all_down {text}")));
    }
}

/// Whether the member answers this family; every member answers "any".
fn is_of(member: &Member, family: Option<Family>) -> bool {
    family.is_none_or(|family| member.family == family || member.family == Family::Any)
}

/// The stage's name with what it went by.
const fn metric_word(by: By) -> &'static str {
    match by {
        By::Latency => "latency",
        By::DistanceForLackOfLatency => "latency (by distance, as no time is known for this client)",
        By::Distance | By::Nothing | By::Unknown => "geo",
    }
}

/// Turns equal records by a random number, so that clients which take the first spread.
fn rotate(members: &mut [&Member], entropy: u64) {
    if members.len() > 1 {
        let n = u64::try_from(members.len()).expect("invariant: at most the limit");
        members.rotate_left(usize::try_from(entropy % n).expect("invariant: below the length"));
    }
}

/// `us-east-1, eu-west-1`.
pub(crate) fn names(topology: &Topology, regions: RegionSet) -> String {
    let mut text = String::new();
    for region in regions.iter() {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{}", topology.regions[region.get()].name);
    }
    text
}
