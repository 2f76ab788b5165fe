//! What is wrong with the records of a zone as a whole.
//!
//! Why apart from reading: static records come from zone files and from the plan, and both must hold to the same rules.
//!
//! An *error* makes the zone unfit to be answered: it is refused whole. A *warning* is answered as it stands, but will not do what its
//! author expects.
//!
//! Source: RFC 1034 section 3.6.2 (CNAME), RFC 1035 section 5.2, RFC 2181 sections 5.2, 6.1 and 10.3, RFC 4592 section 4.2, RFC 9471 (glue).

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Found, ZoneIndex};
use crate::model::{
    name::Name,
    record::{Record, RecordData, RecordType},
    topology::Zone,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The zone is answered, but something in it does not work as written.
    Warning,
    /// The zone is refused.
    Error,
}

/// One thing that is wrong with a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The position of the record in question; `None`: something is missing from the zone.
    pub record: Option<usize>,
    /// What is wrong and what would fix it.
    pub message: String,
}

/// Checks the records of the zone at `apex`; findings stand in the order of the records, those about the whole zone first.
///
/// Hostnames of services count as names with addresses: `is_service` says which are.
#[must_use]
pub fn check(zone: &Zone, is_service: &dyn Fn(&Name) -> bool) -> Vec<Finding> {
    let mut checker =
        Checker { zone, is_service, index: ZoneIndex::build(std::slice::from_ref(zone), std::iter::empty()), findings: Vec::new() };
    checker.apex();
    checker.owners();
    checker.sets();
    if !checker.index.zones().is_empty() {
        checker.targets();
    }
    let mut findings = checker.findings;
    findings.sort_by_key(|finding| finding.record);
    findings
}

struct Checker<'a> {
    zone: &'a Zone,
    is_service: &'a dyn Fn(&Name) -> bool,
    index: ZoneIndex,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn error(&mut self, record: Option<usize>, message: String) {
        self.findings.push(Finding { severity: Severity::Error, record, message });
    }

    fn warning(&mut self, record: Option<usize>, message: String) {
        self.findings.push(Finding { severity: Severity::Warning, record, message });
    }

    fn records(&self) -> impl Iterator<Item = (usize, &'a Record)> + use<'a> {
        self.zone.records.iter().enumerate()
    }

    /// Exactly one SOA, and at least one NS.
    fn apex(&mut self) {
        let apex = &self.zone.apex;
        let (mut soas, mut has_ns) = (0, false);
        for (at, record) in self.records() {
            match &record.data {
                RecordData::Soa(_) if record.owner != *apex => {
                    self.error(
                        Some(at),
                        format!("an SOA record stands at `{}`; the zone's only one stands at its apex `{apex}`", record.owner),
                    );
                }
                RecordData::Soa(_) => {
                    soas += 1;
                    if soas > 1 {
                        self.error(Some(at), format!("a second SOA record at `{apex}`; a zone has exactly one"));
                    }
                }
                RecordData::Ns(_) => has_ns |= record.owner == *apex,
                _ => {}
            }
        }
        if soas == 0 {
            self.error(None, format!("no SOA record at the apex `{apex}`; a zone has exactly one"));
        }
        if !has_ns {
            self.error(None, format!("no NS record at the apex `{apex}`; a zone names its name servers there"));
        }
    }

    /// Owners inside the zone; no data where a delegation hides it.
    fn owners(&mut self) {
        let apex = &self.zone.apex;
        let cuts: BTreeSet<&Name> =
            self.records().filter(|(_, r)| r.data.record_type() == RecordType::NS && r.owner != *apex).map(|(_, r)| &r.owner).collect();
        let name_servers: BTreeSet<&Name> =
            self.records().filter_map(|(_, r)| if let RecordData::Ns(target) = &r.data { Some(target) } else { None }).collect();
        for (at, record) in self.records() {
            let (owner, record_type) = (&record.owner, record.data.record_type());
            if !owner.is_at_or_below(apex) {
                self.error(Some(at), format!("`{owner}` lies outside the zone `{apex}`; it belongs into the file of its own zone"));
                continue;
            }
            if record_type == RecordType::NS && owner.is_wildcard() {
                self.error(Some(at), format!("NS records at the wildcard `{owner}` have no meaning; delegate each name by itself"));
                continue;
            }
            let Some(cut) = ancestors(owner, apex).filter(|name| cuts.contains(name) && !name.is_wildcard()).last() else {
                continue;
            };
            let address = matches!(record_type, RecordType::A | RecordType::AAAA);
            let glue = address && name_servers.contains(owner);
            let cut_itself = *owner == cut && record_type == RecordType::NS;
            if !glue && !cut_itself {
                self.warning(Some(at), format!("`{owner}` {record_type} is never answered: `{cut}` is delegated to other name servers"));
            }
        }
    }

    /// One CNAME alone; equal times to live; no record twice.
    fn sets(&mut self) {
        let mut owners: BTreeMap<&Name, Vec<(usize, &Record)>> = BTreeMap::new();
        for (at, record) in self.records() {
            owners.entry(&record.owner).or_default().push((at, record));
        }
        for (owner, records) in owners {
            let aliases = records.iter().filter(|(_, r)| r.data.record_type() == RecordType::CNAME).count();
            let mut by_type: BTreeMap<RecordType, Vec<(usize, &Record)>> = BTreeMap::new();
            for &(at, record) in &records {
                by_type.entry(record.data.record_type()).or_default().push((at, record));
            }
            if aliases > 0 && by_type.len() > 1 {
                let (at, other) =
                    records.iter().find(|(_, r)| r.data.record_type() != RecordType::CNAME).expect("invariant: two types at least");
                let other = other.data.record_type();
                self.error(Some(*at), format!("`{owner}` has a CNAME record and a record of type {other}; an alias stands alone"));
            }
            for (record_type, set) in by_type {
                let (_, first) = set[0];
                let mut seen = BTreeSet::new();
                for &(at, record) in &set {
                    if !seen.insert(record.data.to_string()) {
                        self.warning(Some(at), format!("`{owner}` {record_type} {} stands here twice", record.data));
                    } else if record_type == RecordType::CNAME && seen.len() > 1 {
                        self.error(Some(at), format!("`{owner}` has two CNAME records; an alias has one target"));
                    }
                    if record.ttl != first.ttl {
                        let (ttl, other) = (record.ttl.secs(), first.ttl.secs());
                        self.warning(
                            Some(at),
                            format!("`{owner}` {record_type} has times to live of {other} and {ttl} seconds; records of one type share one, the smallest is used"),
                        );
                    }
                }
            }
        }
    }

    /// What NS, MX and SRV records point to.
    fn targets(&mut self) {
        for (at, record) in self.records() {
            let (target, what) = match &record.data {
                RecordData::Ns(target) => (target, "name server"),
                RecordData::Mx { exchange, .. } => (exchange, "mail exchange"),
                RecordData::Srv { target, .. } => (target, "service host"),
                _ => continue,
            };
            if target.is_root() || (self.is_service)(target) || !record.owner.is_at_or_below(&self.zone.apex) {
                continue;
            }
            let owner = &record.owner;
            match self.index.lookup(target, RecordType::A) {
                Found::Alias { .. } => {
                    self.warning(
                        Some(at),
                        format!("the {what} `{target}` of `{owner}` is an alias; name the host itself (RFC 2181 section 10.3)"),
                    );
                }
                Found::NoData { .. } if matches!(self.index.lookup(target, RecordType::AAAA), Found::Records { .. }) => {}
                Found::NoData { .. } | Found::NxDomain { .. } => {
                    self.warning(Some(at), format!("the {what} `{target}` of `{owner}` has no address, although it lies in this zone"));
                }
                // Below a cut: only a name server of that very cut, or of one above it, needs its address from here.
                Found::Referral { zone, ns, .. } if what == "name server" => {
                    let needs_glue = ns[0].owner == *owner;
                    if needs_glue && zone.addresses(target).next().is_none() {
                        self.warning(
                            Some(at),
                            format!("the name server `{target}` lies below the delegation `{owner}`, and its address is missing: add an A or AAAA record (glue)"),
                        );
                    }
                }
                Found::Referral { .. } | Found::Records { .. } | Found::Service { .. } | Found::OutsideZones => {}
            }
        }
    }
}

/// `name` and its ancestors below `apex`, from the longest to the shortest.
fn ancestors(name: &Name, apex: &Name) -> impl Iterator<Item = Name> {
    let apex = apex.clone();
    std::iter::successors(Some(name.clone()), Name::parent).take_while(move |name| *name != apex)
}
