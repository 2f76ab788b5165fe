//! Services: names in zones, regions that exist, endpoints that can be answered, fences that hold.

use std::collections::BTreeMap;

use super::{Context, Findings, at, check_target, follows, health::check_family, unknown, zones};
use crate::{
    document::{Path, Word, did_you_mean},
    model::{
        ids::{Label, REGIONS_MAX, RegionIdx, RegionSet},
        name::Name,
        record::RecordType,
        topology::{Stage, Target},
        units::Share,
    },
    plan::{
        overlay::{self, Layers},
        resolve::{regions_of, share_of, stages_of, target_of},
        sections::{AllDownWord, FenceMode, Plan, Preset, Service, TtlBounds},
    },
};

/// The most names of one service: enough for every alias that people use, and a lookup table stays small.
const HOSTNAMES_MAX: usize = 64;
/// The most endpoints of one service in one region: more than fit into any answer, and weights stay exact.
const ENDPOINTS_MAX: usize = 1024;

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    let mut names = Names::new(plan, context);
    circles(plan, out);
    let layers = Layers::new(plan);
    for (name, service) in plan.services.iter() {
        let path = at("services", name);
        names.check(name, service, &path, out);
        ttl(&service.ttl, &path, out);
        if service.follows.is_some() {
            follows::check(plan, service, &path, out);
        } else {
            steered(plan, context, &layers, service, &path, out);
        }
    }
    follows::addresses(plan, out);
}

/// Names that lead to one another by CNAME never end at an address.
fn circles(plan: &Plan, out: &mut Findings) {
    let targets = |service: &Service| -> Vec<Name> {
        service.endpoints.iter().flat_map(|(_, list)| list).filter_map(|endpoint| endpoint.target.clone()).collect()
    };
    // Only services with a CNAME can be part of a circle, and they are few.
    let with_targets: Vec<(&Label, &Service, Vec<Name>)> = plan
        .services
        .iter()
        .map(|(name, service)| (name, service, targets(service)))
        .filter(|(_, _, targets)| !targets.is_empty())
        .collect();
    let owner: BTreeMap<&Name, usize> =
        with_targets.iter().enumerate().flat_map(|(i, (_, service, _))| service.hostnames.iter().map(move |name| (name, i))).collect();
    let leads_to: Vec<Vec<usize>> =
        with_targets.iter().map(|(_, _, targets)| targets.iter().filter_map(|target| owner.get(target).copied()).collect()).collect();
    // Services whose every way ends are taken away, those that lead to them after them; what remains leads into a circle.
    let mut led_from: Vec<Vec<usize>> = vec![Vec::new(); leads_to.len()];
    for (i, others) in leads_to.iter().enumerate() {
        others.iter().for_each(|&other| led_from[other].push(i));
    }
    let mut open: Vec<usize> = leads_to.iter().map(Vec::len).collect();
    let mut ending: Vec<usize> = (0..open.len()).filter(|&i| open[i] == 0).collect();
    while let Some(ended) = ending.pop() {
        for &i in &led_from[ended] {
            open[i] -= 1;
            if open[i] == 0 {
                ending.push(i);
            }
        }
    }
    for (i, (name, service, targets)) in with_targets.iter().enumerate() {
        // A name of the service itself is reported at its endpoint.
        if open[i] > 0 && !targets.iter().any(|target| service.hostnames.contains(target)) {
            let others: Vec<&str> = leads_to[i].iter().map(|&other| with_targets[other].0.as_str()).collect();
            let message = format!("its names lead to {}, which lead back: an answer never ends at an address", others.join(", "));
            out.error(at("services", name).key("endpoints"), message, "point one of them at an address");
        }
    }
}

/// Who owns which name.
struct Names<'p> {
    plan: &'p Plan,
    zones: BTreeMap<&'p Name, BTreeMap<Name, zones::Owner>>,
    owners: BTreeMap<&'p Name, &'p Label>,
}

impl<'p> Names<'p> {
    fn new(plan: &'p Plan, context: Context<'_>) -> Self {
        // Problems of the records themselves were reported by the zones' own rules.
        let mut silent = Findings::default();
        let content = |(apex, zone)| (apex, zones::content(apex, zone, context.zone_records.get(apex), &mut silent));
        Self { plan, zones: plan.zones.iter().map(content).collect(), owners: BTreeMap::new() }
    }

    fn check(&mut self, service_name: &'p Label, service: &'p Service, path: &Path, out: &mut Findings) {
        let path = |i: usize| path.clone().key("hostnames").item(i);
        if service.hostnames.is_empty() {
            out.error(
                at("services", service_name).key("hostnames"),
                "a service needs at least one name",
                "add one inside a zone of the plan",
            );
        }
        if service.hostnames.len() > HOSTNAMES_MAX {
            out.error(path(HOSTNAMES_MAX), format!("at most {HOSTNAMES_MAX} names are allowed"), "use a CNAME for the others");
        }
        let has_cname = service.endpoints.iter().any(|(_, list)| list.iter().any(|endpoint| endpoint.target.is_some()))
            || service.backup.iter().any(|target| matches!(target.0, Target::Name(_)));
        for (i, name) in service.hostnames.iter().enumerate() {
            if name.is_wildcard() {
                out.error(path(i), "a service's name cannot be a wildcard", "name each host, or use a wildcard CNAME record in the zone");
            }
            if let Some(other) = self.owners.insert(name, service_name) {
                out.error(path(i), format!("{name} already belongs to the service `{other}`"), "use each name once");
            }
            let Some((apex, owners)) = self.zone_of(name) else {
                let zones: Vec<String> = self.plan.zones.keys().map(Name::to_string).collect();
                let fix = if zones.is_empty() {
                    "add the zone to `zones`".to_owned()
                } else {
                    format!("the plan's zones are {}", zones.join(", "))
                };
                out.error(path(i), format!("{name} lies in no zone of the plan"), fix);
                continue;
            };
            if name == *apex && has_cname {
                out.error(path(i), "the zone itself cannot be answered with a CNAME, beside SOA and NS", "use endpoints with addresses");
            }
            if let Some(owner) = owners.get(name) {
                let clash = owner
                    .types()
                    .find(|(kind, _)| has_cname || matches!(*kind, RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::NS));
                if let Some((kind, record)) = clash {
                    out.error(
                        path(i),
                        format!("{name} has a static {kind} record too, at {record}"),
                        "remove the record, or use another name",
                    );
                }
            }
            let cut = std::iter::successors(name.parent(), Name::parent)
                .take_while(|above| above != *apex && above.is_at_or_below(apex))
                .find(|above| owners.get(above).is_some_and(|owner| owner.types().any(|(kind, _)| kind == RecordType::NS)));
            if let Some(cut) = cut {
                out.error(
                    path(i),
                    format!("{name} lies below {cut}, which is delegated to other servers"),
                    "use another name, or remove the delegation",
                );
            }
        }
    }

    /// The closest zone that holds a name.
    fn zone_of(&self, name: &Name) -> Option<(&&'p Name, &BTreeMap<Name, zones::Owner>)> {
        std::iter::successors(Some(name.clone()), Name::parent).find_map(|above| self.zones.get_key_value(&above))
    }
}

pub(super) fn ttl(ttl: &TtlBounds, path: &Path, out: &mut Findings) {
    if ttl.min > ttl.max {
        let message = format!("min {} is more than max {}", ttl.min.show(), ttl.max.show());
        out.error(path.clone().key("ttl").key("min"), message, "lower `min` or raise `max`");
    }
    if ttl.min.subsec_millis() != 0 || ttl.max.subsec_millis() != 0 {
        out.error(path.clone().key("ttl"), "a time to live is whole seconds", "write whole seconds");
    }
}

/// A service with endpoints.
fn steered(plan: &Plan, context: Context<'_>, layers: &Layers<'_>, service: &Service, path: &Path, out: &mut Findings) {
    if service.endpoints.iter().all(|(_, list)| list.is_empty()) {
        out.error(path.clone().key("endpoints"), "a service needs endpoints, or a group that it follows", "add `endpoints` or `follows`");
        return;
    }
    for region in service.endpoints.keys().filter(|region| !plan.regions.contains(region)) {
        unknown(out, path.clone().key("endpoints").key(region), "region", region, plan.regions.keys());
    }
    for region in service.traffic_routing.keys().filter(|region| !plan.regions.contains(region)) {
        unknown(out, path.clone().key("traffic_routing").key(region), "region", region, plan.regions.keys());
    }
    steering(plan, service, path, out);
    endpoints(plan, context, layers, service, path, out);
    all_down(context, service, path, out);
    let served: Vec<&Label> = service.endpoints.iter().filter(|(_, list)| !list.is_empty()).map(|(region, _)| region).collect();
    residency(plan, service, &served, &path.clone().key("endpoints"), path, out);
    let regions = service.endpoints.iter().filter(|(_, list)| !list.is_empty()).count();
    if usize::from(service.min_healthy_regions) > regions {
        let message = format!("{} healthy regions are asked for, but there are only {regions}", service.min_healthy_regions);
        out.error(path.clone().key("min_healthy_regions"), message, format!("write at most {regions}"));
    }
    if service.slow_start.share == Share::NONE && !service.slow_start.over.is_zero() {
        let fix = "write a share of at least 1%, or `for: 0s` for no slow start";
        out.error(path.clone().key("slow_start").key("share"), "a share of 0% never lets the endpoint show that it works", fix);
    }
}

/// Stages and presets, and the keys that they do not use.
fn steering(plan: &Plan, service: &Service, path: &Path, out: &mut Findings) {
    if let Some(stages) = &service.stages {
        if service.steering.is_some() {
            out.error(path.clone().key("stages"), "`stages` and `steering` stand side by side", "keep one of them");
        }
        if stages.is_empty() {
            out.error(path.clone().key("stages"), "no stage is listed", "list stages, or use a preset with `steering`");
        }
        for (i, stage) in stages.iter().enumerate() {
            if stages[..i].contains(stage) {
                out.error(path.clone().key("stages").item(i), format!("the stage `{stage}` stands twice"), "list each stage once");
            }
        }
    }
    let (preset, stages) = stages_of(service);
    let is_multivalue = service.stages.is_none() && service.steering == Some(Preset::Multivalue);
    let has = |stage| stages.contains(&stage);
    let near = has(Stage::Geo) || has(Stage::Latency);
    let mut unused = |key: &str, is_written: bool, is_used: bool| {
        if is_written && !is_used {
            out.warning(path.clone().key(key), format!("is not used by `{preset}`"), format!("remove `{key}`, or change the steering"));
        }
    };
    unused("tie", service.tie.is_some(), near);
    unused("spread", service.spread.is_some(), has(Stage::Weight));
    for (region, routing) in service.traffic_routing.iter() {
        let here = path.clone().key("traffic_routing").key(region);
        for (key, is_written, is_used) in
            [("weight", routing.weight.is_some(), has(Stage::Weight)), ("priority", routing.priority.is_some(), has(Stage::Priority))]
        {
            if is_written && !is_used {
                out.warning(here.clone().key(key), format!("is not used by `{preset}`"), format!("remove `{key}`, or change the steering"));
            }
        }
    }
    if has(Stage::Weight) {
        let weights: Vec<u16> = plan
            .regions
            .keys()
            .filter(|region| service.endpoints.get(region).is_some_and(|list| !list.is_empty()))
            .map(|region| share_of(plan, service, region).0)
            .collect();
        if !weights.is_empty() && weights.iter().all(|&weight| weight == 0) {
            out.warning(
                path.clone().key("endpoints"),
                "all regions of this service have weight 0: traffic is spread evenly",
                "give at least one a weight",
            );
        }
    }
    if has(Stage::Geo) && !has(Stage::Latency) {
        for region in service.endpoints.keys() {
            if plan.regions.get(region).is_some_and(|region| region.latitude.is_none()) {
                out.warning(
                    path.clone().key("endpoints").key(region),
                    format!("{region} has no place, so it is never the nearest"),
                    "add latitude and longitude to the region",
                );
            }
        }
    }
    if is_multivalue {
        for (region, list) in service.endpoints.iter() {
            if let Some(i) = list.iter().position(|endpoint| endpoint.target.is_some()) {
                let here = path.clone().key("endpoints").key(region).item(i).key("target");
                out.error(here, "an answer of several values cannot hold a CNAME", "use addresses, or another steering");
            }
        }
    }
}

/// Each endpoint, and those of a service together.
fn endpoints(plan: &Plan, context: Context<'_>, layers: &Layers<'_>, service: &Service, path: &Path, out: &mut Findings) {
    let mut seen: Vec<(Target, u16, usize, usize)> = Vec::new();
    let (mut with_v4, mut with_v6): (Vec<&Label>, Vec<&Label>) = (Vec::new(), Vec::new());
    for (region_at, (region, list)) in service.endpoints.iter().enumerate() {
        let here = |i: usize| path.clone().key("endpoints").key(region).item(i);
        if list.is_empty() {
            out.error(
                path.clone().key("endpoints").key(region),
                "no endpoint is listed",
                "add one, or remove the region from this service",
            );
        }
        if list.len() > ENDPOINTS_MAX {
            out.error(
                here(ENDPOINTS_MAX),
                format!("at most {ENDPOINTS_MAX} endpoints are allowed in one region"),
                "put a balancer before them",
            );
        }
        let base = plan.regions.position(region).map(|position| layers.of_service(service, position));
        let (mut has_address, mut has_target) = (false, None);
        for (i, endpoint) in list.iter().enumerate() {
            match (endpoint.address, &endpoint.target) {
                (Some(address), None) => {
                    check_family(out, || here(i).key("address"), address);
                    check_target(out, context, || here(i).key("address"), address);
                    has_address = true;
                    let families = if address.is_ipv4() { &mut with_v4 } else { &mut with_v6 };
                    if families.last() != Some(&region) {
                        families.push(region);
                    }
                }
                (None, Some(target)) => {
                    has_target = has_target.or(Some(i));
                    if service.hostnames.contains(target) {
                        out.error(here(i).key("target"), format!("{target} is a name of this service itself"), "point it at another name");
                    }
                }
                (Some(_), Some(_)) => out.error(here(i).key("target"), "`address` and `target` stand side by side", "keep one of them"),
                (None, None) => out.error(here(i), "nothing says what is answered", "add `address` or `target`"),
            }
            if let Some(base) = &base {
                let checks = Layers::of_endpoint(base, endpoint);
                let is_probed = checks.uses.is_none() && checks.address.is_none() && checks.port.is_none();
                let port = endpoint.port.or_else(|| overlay::usual_port(&checks));
                if port.is_none() && is_probed {
                    let message = format!("checks of type {} have no usual port", overlay::kind(&checks));
                    out.error(here(i).key("port"), message, "add `port`");
                }
                if let Some(target) = target_of(endpoint) {
                    seen.push((target, port.unwrap_or(0), region_at, i));
                }
            }
        }
        if let Some(i) = has_target.filter(|_| has_address) {
            out.error(
                here(i).key("target"),
                format!("{region} has addresses and a name: an answer holds either"),
                "keep one kind per region",
            );
        }
        if !list.is_empty() && list.iter().all(|endpoint| endpoint.weight == 0) {
            out.warning(
                path.clone().key("endpoints").key(region),
                "all endpoints have weight 0: traffic is spread evenly",
                "give at least one a weight",
            );
        }
    }
    duplicates(service, &mut seen, path, out);
    if service.families != Some(crate::plan::sections::FamiliesWord::Independent) && !with_v4.is_empty() && !with_v6.is_empty() {
        for (lacking, having, family) in [(&with_v6, &with_v4, "IPv6"), (&with_v4, &with_v6, "IPv4")] {
            for region in having.iter().filter(|region| !lacking.contains(region)) {
                let message = format!("{region} has no {family} address: its clients get no data for that type");
                out.warning(path.clone().key("endpoints").key(region), message, "add one, or write `families: independent`");
            }
        }
    }
}

/// The same target twice is answered once, and probed once.
fn duplicates(service: &Service, seen: &mut [(Target, u16, usize, usize)], path: &Path, out: &mut Findings) {
    if seen.len() < 2 {
        return;
    }
    let key = |target: &Target| match target {
        Target::Address(address) => (Some(*address), None),
        Target::Name(name) => (None, Some(name.clone())),
    };
    seen.sort_by(|a, b| key(&a.0).cmp(&key(&b.0)).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    for pair in seen.windows(2) {
        let ((first, port, _, _), (second, other_port, region_at, i)) = (&pair[0], &pair[1]);
        if first != second {
            continue;
        }
        let Some(region) = service.endpoints.keys().nth(*region_at) else { continue };
        let here = path.clone().key("endpoints").key(region).item(*i);
        if port == other_port {
            out.error(here, format!("{second} stands twice in this service"), "keep it once");
        } else {
            out.warning(here, format!("{second} stands twice with different ports: a DNS answer cannot say which"), "keep it once");
        }
    }
}

fn all_down(context: Context<'_>, service: &Service, path: &Path, out: &mut Findings) {
    let is_used = service.all_down == AllDownWord::Backup;
    if is_used && service.backup.is_empty() {
        out.error(path.clone().key("all_down"), "`all_down: backup` needs a backup", "add `backup: [ADDRESS]`");
    }
    if !is_used && !service.backup.is_empty() {
        out.warning(
            path.clone().key("backup"),
            format!("is not used by `all_down: {}`", service.all_down),
            "write `all_down: backup`, or remove it",
        );
    }
    let names = service.backup.iter().filter(|target| matches!(target.0, Target::Name(_))).count();
    if names > 1 || (names == 1 && service.backup.len() > 1) {
        out.error(path.clone().key("backup"), "a backup is either addresses or one name", "keep one kind");
    }
    for (i, target) in service.backup.iter().enumerate() {
        let here = || path.clone().key("backup").item(i);
        match &target.0 {
            Target::Address(address) => {
                check_family(out, here, *address);
                check_target(out, context, here, *address);
            }
            Target::Name(name) if service.hostnames.contains(name) => {
                out.error(here(), format!("{name} is a name of this service itself"), "point it at another name")
            }
            Target::Name(_) => {}
        }
        if service.backup[..i].contains(target) {
            out.error(here(), format!("{} stands twice", target.0), "keep it once");
        }
    }
}

/// A fence must be provable: every region's law known, and for each class of clients somebody inside. `in_regions`: those that the service answers
/// with, each written below `key`.
pub(super) fn residency(plan: &Plan, service: &Service, in_regions: &[&Label], key: &Path, path: &Path, out: &mut Findings) {
    let Some(residency) = &service.residency else { return };
    let here = || path.clone().key("residency");
    let is_strict = residency.mode == FenceMode::Strict;
    let has_rules = !residency.jurisdictions.is_empty() || residency.otherwise.is_some();
    if residency.mode == FenceMode::Open && has_rules {
        return out.warning(
            here().key("mode"),
            "`open` is no fence: the jurisdictions are not used",
            "write strict or prefer, or remove them",
        );
    }
    if residency.mode != FenceMode::Open && !has_rules {
        out.error(here().key("jurisdictions"), "a fence needs jurisdictions", "add `jurisdictions: { EU: [eu] }`, or remove `residency`");
    }
    let served: RegionSet = plan
        .regions
        .keys()
        .take(REGIONS_MAX)
        .enumerate()
        .filter(|(_, region)| in_regions.contains(region))
        .map(|(i, _)| RegionIdx::at(i))
        .collect();
    if is_strict {
        for region in in_regions {
            if plan.regions.get(region).is_some_and(|region| region.jurisdiction.is_none()) {
                let message = format!("{region} has no jurisdiction, so a strict fence cannot be proved");
                out.error(key.clone().key(region), message, format!("add `jurisdiction` to regions.{region}"));
            }
        }
        if service.all_down == AllDownWord::Backup {
            let message = "a backup has no region, so it could cross the strict fence";
            out.error(path.clone().key("all_down"), message, "use last_good, all, nodata or servfail, which stay inside the fence");
        }
    }
    let mut classes: Vec<(Path, String, &[Label])> = residency
        .jurisdictions
        .iter()
        .map(|(code, laws)| (here().key("jurisdictions").key(code), format!("clients in {code}"), laws.as_slice()))
        .collect();
    if let Some(laws) = &residency.otherwise {
        classes.push((here().key("otherwise"), "all other clients".to_owned(), laws));
    }
    for (path, who, laws) in classes {
        let known: Vec<&str> = plan.regions.iter().filter_map(|(_, region)| region.jurisdiction.as_ref().map(Label::as_str)).collect();
        for (i, law) in laws.iter().enumerate().filter(|(_, law)| !known.contains(&law.as_str())) {
            let fix = did_you_mean(law.as_str(), known.iter().copied());
            let message = format!("no region has the jurisdiction `{law}`");
            if is_strict { out.error(path.clone().item(i), message, fix) } else { out.warning(path.clone().item(i), message, fix) }
        }
        if regions_of(plan, laws).and(served).is_empty() {
            let message = format!("no region of this service lies inside the fence of {who}");
            let fix = "add an endpoint in a region of these jurisdictions, or widen the fence";
            if is_strict { out.error(path, message, fix) } else { out.warning(path, message, fix) }
        }
    }
}
