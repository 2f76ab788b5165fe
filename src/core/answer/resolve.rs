//! From a question to an answer: what the name is, then, for a service, whom the client gets.
//!
//! Invariant: nothing here depends on chance (but for [`Query::entropy`]) or on a former question. No clock is read: the moment of the question
//! comes in, because what names that follow a role are answered by ends by itself.
//!
//! Source: RFC 1034 section 4.3.2 (the walk), RFC 2308 (negative answers), RFC 7871 (scope), RFC 8482 (ANY), RFC 8914 (extended errors).

use std::net::IpAddr;

use super::{
    message::{Answer, ExtendedError, Query, Rcode},
    role,
};
use crate::{
    geo::Origin,
    model::{
        ids::ServiceIdx,
        name::Name,
        reason::{Mark, Reason},
        record::{Record, RecordData, RecordType},
        time::Tick,
        topology::{AllDown, Spread, Target},
        units::Ttl,
    },
    steering::{
        Choice, Client, Served, Silent, Trace, choose,
        choose::names,
        rendezvous::{CLIENT_PREFIX_V4, CLIENT_PREFIX_V6, ClientKey},
    },
    table::{Table, Tier, World},
    zone::{Found, IndexedZone},
};

/// The most aliases that one answer follows inside our zones: longer chains are a mistake, and a loop has no end.
pub const ALIASES_MAX: usize = 8;

/// Answers a question from the table, asked at `at`.
#[must_use]
pub fn answer(table: &Table, query: &Query, at: Tick) -> Answer {
    answer_with(table, query, at, &mut Silent)
}

/// Answers a question and tells `trace` why.
pub(super) fn answer_with<T: Trace>(table: &Table, query: &Query, at: Tick, trace: &mut T) -> Answer {
    let mut answer = Answer::empty(Rcode::NoError);
    let mut name = query.name.clone();
    for hop in 0..=ALIASES_MAX {
        match table.world.zones.lookup(&name, query.record_type) {
            Found::OutsideZones => {
                outside(&mut answer, &name, hop, trace);
                break;
            }
            Found::Referral { zone, ns, glue } => {
                trace.note(|| Reason::new(Mark::Info, format!("{name} is delegated by zone {}", zone.apex())));
                answer.authoritative = hop > 0;
                answer.authority = ns.to_vec();
                answer.additional = glue.into_iter().cloned().collect();
                break;
            }
            Found::Service { zone, service } => {
                Steered { table, query, at, zone, service, owner: &name }.answer(&mut answer, trace);
                break;
            }
            Found::Records { zone, records, wildcard } => {
                trace.note(|| {
                    let by = if wildcard { " through a wildcard" } else { "" };
                    Reason::new(Mark::Info, format!("static record of zone {}{by}", zone.apex()))
                });
                answer.answers.extend(records.iter().map(|record| owned(record, &name, wildcard)));
                break;
            }
            Found::Alias { zone, record, wildcard } => {
                let RecordData::Cname(target) = &record.data else { break };
                trace.note(|| Reason::new(Mark::Info, format!("{name} is an alias of {target} in zone {}", zone.apex())));
                answer.answers.push(owned(record, &name, wildcard));
                if hop == ALIASES_MAX || answer.answers.iter().any(|seen| seen.owner == *target) {
                    trace.note(|| Reason::new(Mark::No, "the aliases lead in a circle or are too many: the rest is left to the resolver"));
                    break;
                }
                name = target.clone();
            }
            Found::NoData { zone } => {
                trace.note(|| {
                    Reason::new(Mark::Info, format!("{name} exists in zone {}, but has no {} record", zone.apex(), query.record_type))
                });
                answer.authority.push(zone.negative_soa());
                break;
            }
            Found::NxDomain { zone } => {
                trace.note(|| Reason::new(Mark::Info, format!("zone {} holds no such name", zone.apex())));
                answer.rcode = Rcode::NxDomain;
                answer.authority.push(zone.negative_soa());
                break;
            }
        }
    }
    // What a primary's agent states is no judgement of probes.
    let is_judged = answer.steered.is_some_and(|(service, _)| table.world.service(service).follows_primary().is_none());
    if answer.extended_error.is_none() && table.stale_since.is_some() && is_judged {
        let text = "from the state before the restart; probes have not judged all endpoints yet".to_owned();
        answer.extended_error = Some(ExtendedError { code: ExtendedError::STALE_ANSWER, text });
    }
    answer
}

fn outside<T: Trace>(answer: &mut Answer, name: &Name, hop: usize, trace: &mut T) {
    if hop > 0 {
        trace.note(|| Reason::new(Mark::Info, format!("{name} lies in no zone of this server: the rest is left to the resolver")));
        return;
    }
    trace.note(|| Reason::new(Mark::No, format!("{name} lies in no zone of this server")));
    answer.rcode = Rcode::Refused;
    answer.authoritative = false;
    answer.extended_error = Some(ExtendedError { code: ExtendedError::NOT_AUTHORITATIVE, text: String::new() });
}

/// The record, with the name that was asked for as its owner where a wildcard stood in (RFC 4592 section 3.3.1).
fn owned(record: &Record, name: &Name, wildcard: bool) -> Record {
    if wildcard { Record { owner: name.clone(), ..record.clone() } } else { record.clone() }
}

/// A question for a service's name.
struct Steered<'a> {
    table: &'a Table,
    query: &'a Query,
    at: Tick,
    zone: &'a IndexedZone,
    service: ServiceIdx,
    owner: &'a Name,
}

impl Steered<'_> {
    fn answer<T: Trace>(&self, answer: &mut Answer, trace: &mut T) {
        let world = &self.table.world;
        let (service, view) = (world.service(self.service), self.table.view(self.service));
        if let Some(follows) = service.follows_primary() {
            let choice = role::choose(&world.topology, service, follows, &view.role, self.at, answer, trace);
            return self.fill_role(answer, choice, trace);
        }
        let (place, own_prefix) = self.client();
        let matched = world.geo.lookup_network(place, own_prefix);
        let geo = world.geo.view(matched.class, world.profile(self.service));
        // Without a geographic dependency the client subnet plays no part, so that a resolver may share the answer among all its clients.
        let depends_on_place = service.steering.residency.is_some() || service.steering.stages.iter().any(|stage| stage.is_geographic());
        let key_address = if depends_on_place { place } else { self.query.source };
        let key_prefix = if key_address.is_ipv4() { CLIENT_PREFIX_V4 } else { CLIENT_PREFIX_V6 };
        let key = match service.steering.spread {
            Spread::Sticky => ClientKey::network(key_address, key_prefix),
            Spread::Random => ClientKey::random(self.query.entropy),
        };
        trace.note(|| {
            let from = if self.query.client_subnet.is_some_and(|subnet| subnet.source_prefix > 0) { "client subnet" } else { "resolver" };
            let text = format!("client: {from} {place}/{own_prefix}, {}", whereabouts(world, place));
            Reason::new(Mark::Info, text)
        });
        trace.note(|| {
            let text =
                format!("service {}: {}, regions {}", service.name, service.steering.preset, names(&world.topology, service.regions()));
            Reason::new(Mark::Info, text)
        });
        let client = Client { geo, key, entropy: self.query.entropy };
        let choice = choose(&world.topology, service, view, &client, self.query.record_type, trace);
        if depends_on_place && self.query.client_subnet.is_some_and(|subnet| subnet.source_prefix > 0) {
            let by_place = if choice.by_place { matched.prefix } else { 0 };
            // A scope beyond the source prefix tells the resolver that a longer prefix may get another answer (RFC 7871 section 7.2.1).
            answer.scope = if choice.by_client { by_place.max(key_prefix) } else { by_place };
        }
        self.fill(answer, &choice, trace);
    }

    fn fill_role<T: Trace>(&self, answer: &mut Answer, choice: role::Choice, trace: &mut T) {
        answer.steered = Some((self.service, None));
        match choice {
            role::Choice::Member(member, ttl) => {
                answer.steered = Some((self.service, Some(member.region)));
                answer.answers.extend(self.record(&Target::Address(member.address), ttl));
                if answer.answers.is_empty() {
                    trace.note(|| Reason::new(Mark::Info, format!("no {} record there", self.query.record_type)));
                    self.negative(answer, ttl);
                }
            }
            role::Choice::Nodata(ttl) => self.negative(answer, ttl),
            role::Choice::Servfail => {}
        }
    }

    /// Whose place counts, and how many bits of it are known: the client subnet's, unless the client wants none to be used
    /// (RFC 7871 section 7.1.2).
    fn client(&self) -> (IpAddr, u8) {
        match self.query.client_subnet {
            Some(subnet) if subnet.source_prefix > 0 => (subnet.address, subnet.source_prefix),
            _ => (self.query.source, if self.query.source.is_ipv4() { 32 } else { 128 }),
        }
    }

    fn fill<T: Trace>(&self, answer: &mut Answer, choice: &Choice<'_>, trace: &mut T) {
        let topology = &self.table.world.topology;
        let service = self.table.world.service(self.service);
        let view = self.table.view(self.service);
        let range = service.ttl;
        match &choice.served {
            Served::Members { region, regions, members, tier, all_down } => {
                let longest = match region {
                    Some(region) if *tier == Tier::Up => view.ttl(*region),
                    _ if *tier == Tier::Up => regions.iter().map(|region| view.ttl(region)).min().unwrap_or_default(),
                    _ => view.ttl_min(),
                };
                let ttl = Ttl::from_duration(longest).clamp(range.min, range.max);
                trace.note(|| {
                    Reason::new(
                        Mark::Info,
                        format!("ttl: {ttl}, the time to the next possible change inside {} to {}", range.min, range.max),
                    )
                });
                for member in members {
                    let target = &topology.endpoints[member.endpoint.get()].target;
                    if let Some(record) = self.record(target, ttl) {
                        answer.answers.push(record);
                    }
                }
                answer.steered = Some((self.service, *region));
                if let Some(rule) = all_down {
                    answer.extended_error = Some(no_endpoint(*rule));
                }
                if answer.answers.is_empty() {
                    trace.note(|| Reason::new(Mark::Info, format!("no {} record there", self.query.record_type)));
                    self.negative(answer, ttl);
                }
            }
            Served::Backup => {
                answer.answers.extend(service.backup.iter().filter_map(|target| self.record(target, range.min)));
                answer.steered = Some((self.service, None));
                answer.extended_error = Some(no_endpoint(AllDown::Backup));
                if answer.answers.is_empty() {
                    self.negative(answer, range.min);
                }
            }
            Served::Nodata => {
                answer.steered = Some((self.service, None));
                answer.extended_error = Some(no_endpoint(AllDown::Nodata));
                self.negative(answer, range.min);
            }
            Served::Servfail => {
                answer.rcode = Rcode::ServFail;
                answer.steered = Some((self.service, None));
                answer.extended_error = Some(service.follows.as_deref().map_or_else(|| no_endpoint(AllDown::Servfail), role::no_replica));
            }
        }
    }

    /// The record that answers the type asked for with `target`; `None` when the target has none of that type.
    fn record(&self, target: &Target, ttl: Ttl) -> Option<Record> {
        let data = match (target, self.query.record_type) {
            (Target::Address(IpAddr::V4(address)), RecordType::A | RecordType::ANY) => RecordData::A(*address),
            (Target::Address(IpAddr::V6(address)), RecordType::AAAA | RecordType::ANY) => RecordData::Aaaa(*address),
            (Target::Address(_), _) => return None,
            (Target::Name(name), _) => RecordData::Cname(name.clone()),
        };
        Some(Record { owner: self.owner.clone(), ttl, data })
    }

    /// "No data" of a steered name may be cached no longer than an answer: the data may be back by then.
    fn negative(&self, answer: &mut Answer, ttl: Ttl) {
        let mut soa = self.zone.negative_soa();
        soa.ttl = soa.ttl.min(ttl);
        if let RecordData::Soa(data) = &mut soa.data {
            data.minimum = data.minimum.min(ttl.secs());
        }
        answer.authority.push(soa);
    }
}

/// Where a client is, and how far the regions are: `EU IE (geo database); eu-west-1 0 km, us-east-1 5451 km`.
fn whereabouts(world: &World, address: IpAddr) -> String {
    let client = world.geo.client(address);
    let place = &client.place;
    let codes = [place.continent, place.country].into_iter().flatten().map(|code| code.to_string()).collect::<Vec<_>>().join(" ");
    let by = match place.origin {
        Origin::PlanNetwork(region) => format!("a network of {} in the plan", world.topology.regions[region.get()].name),
        Origin::Database => "geo database".to_owned(),
        Origin::BuiltIn => "built-in table".to_owned(),
        Origin::Unknown => return "place unknown".to_owned(),
    };
    let mut near: Vec<(u32, String)> =
        client.kilometres.iter().zip(&world.topology.regions).filter_map(|(km, region)| Some(((*km)?, region.name.to_string()))).collect();
    near.sort();
    let distances: Vec<String> = near.iter().take(5).map(|(km, name)| format!("{name} {km} km")).collect();
    format!(
        "{} ({by}){}{}",
        if codes.is_empty() { "located" } else { &codes },
        if distances.is_empty() { "" } else { "; " },
        distances.join(", ")
    )
}

fn no_endpoint(rule: AllDown) -> ExtendedError {
    let rule = match rule {
        AllDown::LastGood => "last_good",
        AllDown::All => "all",
        AllDown::Backup => "backup",
        AllDown::Nodata => "nodata",
        AllDown::Servfail => "servfail",
    };
    let code = if rule == "last_good" { ExtendedError::STALE_ANSWER } else { ExtendedError::OTHER };
    ExtendedError { code, text: format!("no usable endpoint, all_down: {rule}") }
}

impl Answer {
    /// An answer without records.
    #[must_use]
    pub const fn empty(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: true,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            scope: 0,
            extended_error: None,
            steered: None,
        }
    }

    /// The answer of a server that has no table yet.
    #[must_use]
    pub fn not_ready() -> Self {
        let text = "no table yet: the first round of probes is running".to_owned();
        Self {
            authoritative: false,
            extended_error: Some(ExtendedError { code: ExtendedError::NOT_READY, text }),
            ..Self::empty(Rcode::ServFail)
        }
    }

    /// The answer in one line, for people: `NOERROR 192.0.2.20 (A, ttl 20s, scope /24)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let records: Vec<String> = self.answers.iter().map(|record| record.data.to_string()).collect();
        let what = match (records.is_empty(), self.rcode) {
            (false, _) => records.join(" "),
            (true, Rcode::NoError) if self.authoritative => "no data".to_owned(),
            (true, Rcode::NoError) => "referral".to_owned(),
            (true, _) => "no records".to_owned(),
        };
        let ttl = self.answers.iter().map(|record| record.ttl).min();
        let ttl = ttl.map_or_else(String::new, |ttl| format!(", ttl {ttl}"));
        format!("{} {what}{ttl}, scope /{}", self.rcode, self.scope)
    }
}
