//! Finds what a name means in the zones that are answered for.
//!
//! Why an index of its own beside the records: a name may exist without a record (an empty non-terminal), a delegation hides what is below
//! it, and a wildcard stands in only for names that do not exist. All three need the *neighbours* of a name, so names are kept in canonical
//! order, where everything below a name follows it directly.
//!
//! Invariant: [`ZoneIndex::lookup`] depends on the zones and hostnames alone, never on the order in which they were given.
//!
//! ```text
//! query name --> longest apex above it --> walk down from the apex, label by label
//!                    none: OutsideZones        a cut on the way: Referral
//!                                              the walk ends at the name: Service | Alias | Records | NoData
//!                                              it ends above: `*` below the last name that exists, else NxDomain
//! ```
//!
//! Source: RFC 1034 section 4.3.2, RFC 4592 section 3.3 (wildcards), RFC 2308 sections 3 and 5 (negative answers), RFC 4035 section 3.1.4.1
//! (type DS at a cut).

use std::ops::Range;

use super::key::Key;
use crate::model::{
    ids::ServiceIdx,
    name::Name,
    record::{Record, RecordData, RecordType},
    topology::Zone,
    units::Ttl,
};

/// Each record of an RRset is compared with at most so many others to leave out equal ones: more than fit into any message, and few enough
/// that a huge set does not make the comparison felt.
const DISTINCT_MAX: usize = 4096;

/// The label `*`, as it stands in a key.
const WILDCARD: &[u8] = b"*\0";

/// All zones that are answered for. Immutable; made once per topology.
#[derive(Clone, Debug, Default)]
pub struct ZoneIndex {
    /// In canonical order of their apexes.
    zones: Vec<IndexedZone>,
}

/// One zone of a [`ZoneIndex`].
#[derive(Clone)]
pub struct IndexedZone {
    apex: Name,
    apex_key: Box<[u8]>,
    /// How many labels the apex has.
    depth: usize,
    /// Every name that has records or is a service's, in canonical order. Empty non-terminals are not in here: a name exists as one when
    /// a node below it does.
    nodes: Vec<Node>,
    sets: Vec<Set>,
    /// Sorted by owner and type, so that an RRset is a slice.
    records: Vec<Record>,
    /// Where the SOA stands in `records`.
    soa: usize,
}

#[derive(Clone, Debug)]
struct Node {
    key: Box<[u8]>,
    /// Its RRsets in `IndexedZone::sets`, ascending by type.
    sets: Range<u32>,
    service: Option<ServiceIdx>,
}

#[derive(Clone, Debug)]
struct Set {
    record_type: RecordType,
    /// In `IndexedZone::records`.
    records: Range<u32>,
}

/// What a name and a type mean.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// The name lies in no zone of ours: REFUSED.
    OutsideZones,
    /// Another server answers for the name, which is at or below a delegation of `zone`.
    Referral {
        /// The zone that delegates.
        zone: &'a IndexedZone,
        /// The NS records of the cut: at least one.
        ns: &'a [Record],
        /// The addresses of those name servers that the zone knows.
        glue: Vec<&'a Record>,
    },
    /// The name is a service's, and the type is one that steering answers, or one that nothing static answers.
    Service {
        /// The zone, for the SOA of a negative answer.
        zone: &'a IndexedZone,
        /// Whose name it is.
        service: ServiceIdx,
    },
    /// The RRset asked for. For type ANY it is one RRset of those that the name has (RFC 8482 section 4.1).
    Records {
        /// The zone.
        zone: &'a IndexedZone,
        /// At least one record, all of one type.
        records: &'a [Record],
        /// `true`: the records stand under `*`; the answer carries the name that was asked for as their owner (RFC 4592 section 3.3.1).
        wildcard: bool,
    },
    /// The name is an alias, and neither the alias itself nor ANY was asked for.
    Alias {
        /// The zone.
        zone: &'a IndexedZone,
        /// The CNAME record.
        record: &'a Record,
        /// As in [`Found::Records`].
        wildcard: bool,
    },
    /// The name exists, or a wildcard stands in for it, but it has no data of the type.
    NoData {
        /// The zone whose SOA goes along.
        zone: &'a IndexedZone,
    },
    /// There is no such name.
    NxDomain {
        /// The zone whose SOA goes along.
        zone: &'a IndexedZone,
    },
}

impl ZoneIndex {
    /// Indexes `zones`, and the names of services inside them.
    ///
    /// What the plan's own checks refuse is passed over here, and is then answered as if it were not there: a zone without an SOA record at
    /// its apex, a second zone with the same apex, records and hostnames outside every zone. Of several services with one name, the one with
    /// the lowest index has it. Records of an RRset get its smallest time to live (RFC 2181 section 5.2), and equal ones count once.
    #[must_use]
    pub fn build(zones: &[Zone], hostnames: impl Iterator<Item = (Name, ServiceIdx)>) -> Self {
        let mut sorted: Vec<(Box<[u8]>, &Zone)> = zones.iter().map(|zone| (Key::of(&zone.apex).octets().into(), zone)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|b, a| a.0 == b.0);
        let apexes: Vec<&[u8]> = sorted.iter().map(|(key, _)| &**key).collect();
        let mut services: Vec<Vec<(Box<[u8]>, ServiceIdx)>> = vec![Vec::new(); sorted.len()];
        for (name, service) in hostnames {
            let key = Key::of(&name);
            if let Some(zone) = longest_above(&key, |octets| apexes.binary_search(&octets).ok()) {
                services[zone].push((key.octets().into(), service));
            }
        }
        let zones = sorted.iter().zip(services).filter_map(|((_, zone), services)| IndexedZone::build(zone, services)).collect();
        Self { zones }
    }

    /// The zones in canonical order of their apexes.
    #[must_use]
    pub fn zones(&self) -> &[IndexedZone] {
        &self.zones
    }

    /// The zone that a name lies in: the one with the longest apex at or above it.
    #[must_use]
    pub fn zone_of(&self, name: &Name) -> Option<&IndexedZone> {
        self.zone_above(&Key::of(name))
    }

    fn zone_above(&self, key: &Key) -> Option<&IndexedZone> {
        longest_above(key, |octets| self.zones.binary_search_by(|zone| (*zone.apex_key).cmp(octets)).ok()).map(|i| &self.zones[i])
    }

    /// What `name` and `record_type` mean. Costs a binary search per label below the apex, and allocates for referrals only.
    #[must_use]
    pub fn lookup(&self, name: &Name, record_type: RecordType) -> Found<'_> {
        let key = Key::of(name);
        let Some(zone) = self.zone_above(&key) else {
            return Found::OutsideZones;
        };
        // The DS set of a zone belongs to the zone above the cut (RFC 4035 section 3.1.4.1).
        if record_type == RecordType::DS
            && *zone.apex_key == *key.octets()
            && let Some(above) = zone.apex.parent().and_then(|parent| self.zone_of(&parent))
        {
            return match above.lookup(&key, record_type) {
                // The child zone is here, so the name exists, delegated or not.
                Found::NxDomain { zone } => Found::NoData { zone },
                found => found,
            };
        }
        zone.lookup(&key, record_type)
    }

    /// The types of static data that stand at exactly this name, ascending; wildcards, services and delegations play no part.
    pub fn all_types(&self, name: &Name) -> impl Iterator<Item = RecordType> + use<'_> {
        let key = Key::of(name);
        let zone = self.zone_above(&key);
        zone.into_iter()
            .flat_map(move |zone| zone.node(key.octets()).into_iter().flat_map(|node| zone.sets_of(node)).map(|set| set.record_type))
    }
}

/// The result of `find` for the longest ancestor of the key's name, itself included, that has one.
fn longest_above<T>(key: &Key, find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    (0..=key.labels()).rev().find_map(|labels| find(key.ancestor(labels)))
}

impl IndexedZone {
    /// `None` without an SOA record at the apex.
    fn build(zone: &Zone, mut services: Vec<(Box<[u8]>, ServiceIdx)>) -> Option<Self> {
        let apex = Key::of(&zone.apex);
        let mut keyed: Vec<(Box<[u8]>, &Record)> = zone
            .records
            .iter()
            .map(|record| (Box::from(Key::of(&record.owner).octets()), record))
            .filter(|(key, _): &(Box<[u8]>, _)| key.starts_with(apex.octets()))
            .collect();
        // Stable: records of one RRset stay in the order in which people wrote them.
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.data.record_type().cmp(&b.1.data.record_type())));
        services.sort();
        services.dedup_by(|b, a| a.0 == b.0);

        let mut built = Self {
            apex: zone.apex.clone(),
            apex_key: apex.octets().into(),
            depth: apex.labels(),
            nodes: Vec::new(),
            sets: Vec::new(),
            records: Vec::with_capacity(keyed.len()),
            soa: 0,
        };
        let mut services = services.into_iter().peekable();
        for group in keyed.chunk_by(|a, b| a.0 == b.0) {
            let key = &group[0].0;
            while let Some((name, service)) = services.next_if(|(name, _)| name < key) {
                let none = built.end_of_sets();
                built.nodes.push(Node { key: name, sets: none..none, service: Some(service) });
            }
            let service = services.next_if(|(name, _)| name == key).map(|(_, service)| service);
            let first = built.end_of_sets();
            for set in group.chunk_by(|a, b| a.1.data.record_type() == b.1.data.record_type()) {
                built.push_set(set.iter().map(|(_, record)| *record));
            }
            let sets = first..built.end_of_sets();
            built.nodes.push(Node { key: key.clone(), sets, service });
        }
        let none = built.end_of_sets();
        built.nodes.extend(services.map(|(name, service)| Node { key: name, sets: none..none, service: Some(service) }));

        let soa = built.set(built.node(&built.apex_key)?, RecordType::SOA)?;
        built.soa = soa.records.start as usize;
        Some(built)
    }

    fn end_of_sets(&self) -> u32 {
        u32::try_from(self.sets.len()).expect("invariant: zones have far fewer than 2^32 records")
    }

    fn push_set<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) {
        let position = |n: usize| u32::try_from(n).expect("invariant: zones have far fewer than 2^32 records");
        let ttl = records.clone().map(|record| record.ttl).min().unwrap_or(Ttl::ZERO);
        let first = self.records.len();
        let Some(record_type) = records.clone().next().map(|record| record.data.record_type()) else {
            return;
        };
        let mut seen: Vec<&RecordData> = Vec::new();
        for record in records {
            if seen.contains(&&record.data) {
                continue;
            }
            if seen.len() < DISTINCT_MAX {
                seen.push(&record.data);
            }
            self.records.push(Record { ttl, ..record.clone() });
        }
        self.sets.push(Set { record_type, records: position(first)..position(self.records.len()) });
    }

    /// The apex.
    #[must_use]
    pub const fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA record as it stands in the zone.
    #[must_use]
    pub fn soa(&self) -> &Record {
        &self.records[self.soa]
    }

    /// The NS records of the apex; none when the zone has none.
    #[must_use]
    pub fn ns(&self) -> &[Record] {
        self.node(&self.apex_key).and_then(|node| self.set(node, RecordType::NS)).map_or(&[], |set| self.slice(set))
    }

    /// For how long "no such name" and "no such data" may be cached (RFC 2308 section 5): the SOA's own time to live, at most its `minimum`.
    #[must_use]
    pub fn negative_ttl(&self) -> Ttl {
        let record = self.soa();
        match &record.data {
            RecordData::Soa(soa) => record.ttl.min(Ttl::from_secs(soa.minimum)),
            _ => record.ttl,
        }
    }

    /// The SOA record for the authority section of a negative answer: with [`negative_ttl`](Self::negative_ttl).
    #[must_use]
    pub fn negative_soa(&self) -> Record {
        Record { ttl: self.negative_ttl(), ..self.soa().clone() }
    }

    /// The static A and AAAA records that stand at exactly this name, also below a delegation, where they are glue.
    pub fn addresses(&self, name: &Name) -> impl Iterator<Item = &Record> + use<'_> {
        let node = self.node(Key::of(name).octets());
        let address = |set: &&Set| set.record_type == RecordType::A || set.record_type == RecordType::AAAA;
        node.into_iter().flat_map(|node| self.sets_of(node)).filter(address).flat_map(|set| self.slice(set))
    }

    /// The key is that of a name at or below the apex.
    fn lookup(&self, key: &Key, record_type: RecordType) -> Found<'_> {
        let mut encloser = self.depth;
        for labels in self.depth + 1..=key.labels() {
            let octets = key.ancestor(labels);
            let at = self.position(octets);
            let Some(node) = self.nodes.get(at).filter(|node| node.key.starts_with(octets)) else {
                break;
            };
            encloser = labels;
            if *node.key != *octets {
                continue;
            }
            if let Some(cut) = self.set(node, RecordType::NS)
                // NS records below `*` delegate nothing: RFC 4592 section 4.2 leaves them without a meaning.
                && octets[key.ancestor(labels - 1).len()..] != *WILDCARD
                && !(record_type == RecordType::DS && labels == key.labels())
            {
                return self.referral(cut);
            }
        }
        if encloser == key.labels() {
            return match self.node(key.octets()) {
                Some(node) => self.at(node, record_type, false),
                None => Found::NoData { zone: self },
            };
        }
        // The source of synthesis: `*` directly below the closest encloser (RFC 4592 section 3.3.1).
        let mut source = key.ancestor(encloser).to_vec();
        source.extend_from_slice(WILDCARD);
        match self.nodes.get(self.position(&source)) {
            Some(node) if *node.key == *source => self.at(node, record_type, true),
            // Something stands below `*`, so `*` exists and stands in, without data (RFC 4592 section 2.2.2).
            Some(node) if node.key.starts_with(&source) => Found::NoData { zone: self },
            _ => Found::NxDomain { zone: self },
        }
    }

    fn at<'a>(&'a self, node: &'a Node, record_type: RecordType, wildcard: bool) -> Found<'a> {
        let steered = [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::ANY].contains(&record_type);
        if let Some(service) = node.service.filter(|_| steered) {
            return Found::Service { zone: self, service };
        }
        let wanted = match record_type {
            RecordType::ANY => self.sets_of(node).first(),
            _ => self.set(node, record_type),
        };
        if let Some(set) = wanted {
            return Found::Records { zone: self, records: self.slice(set), wildcard };
        }
        if let Some(service) = node.service {
            return Found::Service { zone: self, service };
        }
        match self.set(node, RecordType::CNAME).and_then(|set| self.slice(set).first()) {
            Some(record) => Found::Alias { zone: self, record, wildcard },
            None => Found::NoData { zone: self },
        }
    }

    fn referral(&self, cut: &Set) -> Found<'_> {
        let ns = self.slice(cut);
        let mut glue: Vec<&Record> = Vec::new();
        for record in ns {
            if let RecordData::Ns(target) = &record.data {
                glue.extend(self.addresses(target));
            }
        }
        Found::Referral { zone: self, ns, glue }
    }

    /// Where the first node stands whose key is not below `octets`.
    fn position(&self, octets: &[u8]) -> usize {
        self.nodes.partition_point(|node| *node.key < *octets)
    }

    fn node(&self, octets: &[u8]) -> Option<&Node> {
        self.nodes.get(self.position(octets)).filter(|node| *node.key == *octets)
    }

    fn sets_of(&self, node: &Node) -> &[Set] {
        &self.sets[node.sets.start as usize..node.sets.end as usize]
    }

    fn set(&self, node: &Node, record_type: RecordType) -> Option<&Set> {
        self.sets_of(node).iter().find(|set| set.record_type == record_type)
    }

    fn slice(&self, set: &Set) -> &[Record] {
        &self.records[set.records.start as usize..set.records.end as usize]
    }
}

/// The apex alone: a zone can have a million records.
impl std::fmt::Debug for IndexedZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexedZone").field("apex", &self.apex).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
