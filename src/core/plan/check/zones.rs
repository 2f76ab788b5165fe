//! Zones: name servers that can be found, and static records that may stand beside one another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, Findings, at};
use crate::{
    document::Path,
    model::{
        name::Name,
        record::{Record, RecordData, RecordType},
        units::Ttl,
    },
    plan::{
        rdata,
        sections::{Plan, Zone, ZoneRecord},
    },
};

/// Static data of one owner.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// Each type with its time to live and where it was written first.
    types: BTreeMap<RecordType, (Ttl, Path)>,
    values: BTreeSet<(RecordType, String)>,
}

impl Owner {
    pub(super) fn types(&self) -> impl Iterator<Item = (RecordType, &Path)> {
        self.types.iter().map(|(kind, (_, path))| (*kind, path))
    }
}

/// The static content of a zone by owner, as far as it can be read.
pub(super) fn content(apex: &Name, zone: &Zone, from_file: Option<&Vec<Record>>, out: &mut Findings) -> BTreeMap<Name, Owner> {
    let mut owners: BTreeMap<Name, Owner> = BTreeMap::new();
    for (i, record) in zone.records.iter().enumerate() {
        section_record(apex, zone, record, &at("zones", apex).key("records").item(i), &mut owners, out);
    }
    for record in from_file.into_iter().flatten() {
        let is_replaced = record.owner == *apex && matches!(record.data.record_type(), RecordType::SOA | RecordType::NS);
        if !is_replaced {
            add(&mut owners, record.owner.clone(), record.ttl, &record.data, &at("zones", apex).key("file"), out);
        }
    }
    owners
}

/// The records of one entry of `records`.
fn section_record(apex: &Name, zone: &Zone, record: &ZoneRecord, path: &Path, owners: &mut BTreeMap<Name, Owner>, out: &mut Findings) {
    let owner = match Name::relative(record.name.as_str(), apex) {
        Ok(owner) if owner.is_at_or_below(apex) => owner,
        Ok(owner) => {
            return out.error(
                path.clone().key("name"),
                format!("{owner} is not inside {apex}"),
                "leave the dot at the end away, or move the record to its zone",
            );
        }
        Err(problem) => {
            return out.error(
                path.clone().key("name"),
                format!("is not a name: {problem}"),
                "write it relative to the zone; `@` is the zone itself",
            );
        }
    };
    if record.kind == RecordType::SOA || (record.kind == RecordType::NS && owner == *apex) {
        let key = if record.kind == RecordType::SOA { "contact, negative_ttl, ttl and refresh" } else { "nameservers" };
        return out.error(
            path.clone().key("type"),
            format!("the zone's own {} is made from its keys", record.kind),
            format!("use {key} of the zone"),
        );
    }
    if record.values.is_empty() {
        out.error(path.clone().key("values"), "a record needs at least one value", "add one, or remove the record");
    }
    let ttl = Ttl::from_duration(record.ttl.unwrap_or(zone.ttl));
    for (i, value) in record.values.iter().enumerate() {
        match rdata::parse(record.kind, value.as_str(), apex) {
            Ok(data) => add(owners, owner.clone(), ttl, &data, &path.clone().key("values").item(i), out),
            Err(rdata::RdataError::Type(_)) => {
                let message = format!("records of type {} cannot stand in a plan", record.kind);
                return out.error(path.clone().key("type"), message, "known here: A, AAAA, CNAME, NS, MX, TXT, CAA, SRV, PTR");
            }
            Err(problem) => out.error(path.clone().key("values").item(i), format!("`{value}` {problem}"), ""),
        }
    }
}

fn add(owners: &mut BTreeMap<Name, Owner>, name: Name, ttl: Ttl, data: &RecordData, path: &Path, out: &mut Findings) {
    let kind = data.record_type();
    let owner = owners.entry(name.clone()).or_default();
    let (first_ttl, _) = owner.types.entry(kind).or_insert_with(|| (ttl, path.clone()));
    if *first_ttl != ttl {
        let message = format!("{name} {kind} has the time to live {ttl} here and {first_ttl} before");
        out.error(path.clone(), message, "give all records of one name and type one time to live (RFC 2181 section 5.2)");
    }
    if !owner.values.insert((kind, data.to_string())) {
        out.error(path.clone(), format!("{name} {kind} {data} stands twice"), "keep one of them");
    }
}

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    for (apex, zone) in plan.zones.iter() {
        let path = at("zones", apex);
        if apex.is_root() {
            out.error(path.clone(), "the root cannot be a zone of a plan", "name the zone that was delegated to you");
        }
        if zone.nameservers.is_empty() {
            out.error(
                path.clone().key("nameservers"),
                "a zone needs at least one name server",
                "list the names that the zone is delegated to",
            );
        } else if zone.nameservers.len() == 1 {
            out.warning(
                path.clone().key("nameservers"),
                "one name server is a single point of failure (RFC 2182)",
                "add one in another region",
            );
        }
        for (i, server) in zone.nameservers.iter().enumerate() {
            if zone.nameservers[..i].contains(server) {
                out.error(path.clone().key("nameservers").item(i), format!("{server} stands twice"), "list each name server once");
            }
        }
        let owners = content(apex, zone, context.zone_records.get(apex), out);
        aliases(apex, &owners, out);
        // A zone file that was not read may hold the addresses.
        if zone.file.is_none() || context.zone_records.contains_key(apex) {
            glue(plan, apex, zone, &owners, out);
        }
    }
}

/// A canonical name stands alone at its owner, once, and not at the apex (RFC 1034 section 3.6.2); other records do not point at one.
fn aliases(apex: &Name, owners: &BTreeMap<Name, Owner>, out: &mut Findings) {
    for (name, owner) in owners {
        let Some((_, path)) = owner.types.get(&RecordType::CNAME) else { continue };
        if name == apex {
            out.error(path.clone(), "a CNAME cannot stand at the zone itself, beside SOA and NS", "use A and AAAA records there");
        } else if let Some((other, _)) = owner.types().find(|(kind, _)| *kind != RecordType::CNAME) {
            out.error(path.clone(), format!("{name} has a CNAME and a {other} record"), "a CNAME stands alone: remove one of them");
        }
        if owner.values.iter().filter(|(kind, _)| *kind == RecordType::CNAME).count() > 1 {
            out.error(path.clone(), format!("{name} has two CNAME records"), "keep one of them");
        }
    }
}

/// Name servers inside the zone need addresses there, or nobody finds them (RFC 1034 section 4.2.1). What lies below a delegation is not
/// answered from here.
fn glue(plan: &Plan, apex: &Name, zone: &Zone, owners: &BTreeMap<Name, Owner>, out: &mut Findings) {
    let has_address = |name: &Name| {
        owners.get(name).is_some_and(|owner| owner.types.contains_key(&RecordType::A) || owner.types.contains_key(&RecordType::AAAA))
    };
    // The closest zone of the plan that holds a name.
    let is_here = |name: &Name| {
        name.is_at_or_below(apex)
            && !plan.zones.keys().any(|other| other != apex && other.is_at_or_below(apex) && name.is_at_or_below(other))
    };
    for (i, server) in zone.nameservers.iter().enumerate() {
        if is_here(server) && !has_address(server) {
            let path = at("zones", apex).key("nameservers").item(i);
            out.error(
                path,
                format!("{server} lies inside the zone but has no address there"),
                "add an A or AAAA record for it, or use a name outside the zone",
            );
        }
    }
    let cuts: Vec<&Name> = owners.iter().filter(|(_, owner)| owner.types.contains_key(&RecordType::NS)).map(|(name, _)| name).collect();
    for cut in cuts {
        for (kind, data) in &owners[cut].values {
            let Ok(RecordData::Ns(server)) = rdata::parse(*kind, data, apex) else { continue };
            if server.is_at_or_below(cut) && !has_address(&server) {
                let path = owners[cut].types[&RecordType::NS].1.clone();
                out.error(
                    path,
                    format!("{server} lies inside the delegated {cut} and has no address here"),
                    "add its A or AAAA record as glue",
                );
            }
        }
        for (name, owner) in owners.range(cut.clone()..).take_while(|(name, _)| name.is_at_or_below(cut)) {
            let hidden = owner.types().find(|(kind, _)| {
                let is_glue = matches!(*kind, RecordType::A | RecordType::AAAA) && name != cut;
                let is_cut = name == cut && matches!(*kind, RecordType::NS | RecordType::DS);
                !is_glue && !is_cut
            });
            if let Some((kind, path)) = hidden {
                out.warning(path.clone(), format!("{name} {kind} is never answered: {cut} is delegated"), "remove it, or the delegation");
            }
        }
    }
}
