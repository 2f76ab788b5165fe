//! Databases in MaxMind's format (<https://maxmind.github.io/MaxMind-DB/>), version 2.
//!
//! The crate decodes records and metadata; the walk over all networks is our own, because ours is bounded: a search tree whose branches
//! point at each other can hold 2^128 paths in a few kilobytes. Three bounds keep a hostile file short: how often a node is entered, how
//! many records are distinct, and how many values they hold in all.
//!
//! In a database for both families the IPv4 tree stands at `::/96`, and other places of IPv6 point at it; it is read once, as IPv4.
//!
//! What counts of a record is `continent.code`, `country.iso_code` and `location`; a `country` or `continent` that is plain text (as other
//! makers write it) counts too. `registered_country` does not: it says where the holder of a network is, not where its clients are.

mod record;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maxminddb::{Metadata, Reader};
use portolan_core::geo::{
    Place, PlaceSource,
    embed::{self, Embedding},
};

/// Every node of a search tree may be entered that often. Once is normal; some writers let equal branches share nodes.
const VISITS_PER_NODE: u64 = 4;

/// The most distinct records: the bound of [`portolan_core::geo::map`] on places.
const RECORDS_MAX: usize = portolan_core::geo::map::PLACES_MAX;

/// The most values in all distinct records: more than the largest databases hold, and some ten seconds of decoding.
const VALUES_MAX: u64 = 1 << 28;

/// Bytes between the search tree and the data section.
const SEPARATOR: u32 = 16;

/// Why a file was refused at once.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is not a whole database.
    Broken(String),
    /// A database of this type, in which no record names a place.
    NoCountries(String),
}

/// A database in memory.
pub(super) struct Database {
    reader: Reader<Bytes>,
    bytes: Bytes,
    name: String,
    /// Where the search tree of IPv4 begins: a node, or a record or nothing if all of IPv4 is alike.
    ipv4_start: u32,
}

impl Database {
    /// Takes the bytes of a file. `from` names it for people.
    pub(super) fn open(bytes: Vec<u8>, from: &str) -> Result<Self, OpenError> {
        let bytes = Bytes::from(bytes);
        let reader = Reader::from_source(bytes.clone()).map_err(|error| OpenError::Broken(error.to_string()))?;
        let metadata = reader.metadata();
        let built = i64::try_from(metadata.build_epoch).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        let built = built.map_or_else(|| "unknown date".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
        let name = format!("`{}` of {built} ({from})", metadata.database_type);
        let mut database = Self { reader, bytes, name, ipv4_start: 0 };
        database.ipv4_start = database.find_ipv4_start().map_err(OpenError::Broken)?;
        let mut found = false;
        database
            .walk(&mut |_, _| {
                found = true;
                Walk::Stop
            })
            .map_err(OpenError::Broken)?;
        if found { Ok(database) } else { Err(OpenError::NoCountries(database.reader.metadata().database_type.clone())) }
    }

    fn metadata(&self) -> &Metadata {
        self.reader.metadata()
    }

    fn width(&self) -> u8 {
        if self.metadata().ip_version == 4 { 32 } else { 128 }
    }

    fn find_ipv4_start(&self) -> Result<u32, String> {
        let mut node = 0;
        if self.width() == 128 {
            for _ in 0..96 {
                if node >= self.metadata().node_count {
                    break;
                }
                node = self.child(node, 0)?;
            }
        }
        Ok(node)
    }

    /// The record of a node on its left (0) or right (1) side: another node, `node_count` for nothing, or beyond it a pointer to data.
    fn child(&self, node: u32, side: u32) -> Result<u32, String> {
        let size = u32::from(self.metadata().record_size);
        let start = u64::from(node) * u64::from(size / 4);
        let end = start + u64::from(size / 4);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.bytes.get(start..end)).ok_or("the search tree ends before its last node")?;
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
        match (size, side) {
            (24, 0) => Ok(big_endian(&bytes[..3])),
            (24, _) => Ok(big_endian(&bytes[3..])),
            (28, 0) => Ok(u32::from(bytes[3] >> 4) << 24 | big_endian(&bytes[..3])),
            (28, _) => Ok(u32::from(bytes[3] & 15) << 24 | big_endian(&bytes[4..])),
            (32, 0) => Ok(big_endian(&bytes[..4])),
            (32, _) => Ok(big_endian(&bytes[4..])),
            _ => Err(format!("nodes of twice {size} bits are unknown")),
        }
    }

    /// Shows every network with a place to `visit`, in ascending order, IPv4 once.
    fn walk(&self, visit: &mut dyn FnMut(IpNet, Place) -> Walk) -> Result<(), String> {
        let (node_count, width) = (self.metadata().node_count, self.width());
        let mut records: BTreeMap<u32, Option<Place>> = BTreeMap::new();
        let mut values = VALUES_MAX;
        let mut visits = u64::from(node_count) * VISITS_PER_NODE;
        let mut stack = vec![Position { at: 0, bits: 0, depth: 0 }];
        while let Some(here) = stack.pop() {
            if width == 128 && self.is_alias(here) {
                continue;
            }
            if here.at == node_count {
                continue;
            }
            if here.at < node_count {
                if here.depth >= width {
                    return Err("the search tree is deeper than an address is long".to_owned());
                }
                visits = visits.checked_sub(1).ok_or("the branches of the search tree point at one another")?;
                let one = 1_u128 << (width - 1 - here.depth);
                for (side, bits) in [(1, here.bits | one), (0, here.bits)] {
                    stack.push(Position { at: self.child(here.at, side)?, bits, depth: here.depth + 1 });
                }
                continue;
            }
            let networks = here.networks(width);
            let place = match records.get(&here.at) {
                Some(known) => *known,
                None if records.len() >= RECORDS_MAX => return Err(format!("more than {RECORDS_MAX} distinct records")),
                None => {
                    let (place, cost) = self.decode(here, networks[0])?;
                    values = values.checked_sub(cost).ok_or_else(|| format!("the records hold more than {VALUES_MAX} values"))?;
                    records.insert(here.at, place);
                    place
                }
            };
            if let Some(place) = place {
                for network in networks.into_iter().flatten() {
                    if visit(network, place) == Walk::Stop {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a position of IPv6 only leads to the IPv4 tree, or holds clients that are known by their IPv4 addresses.
    fn is_alias(&self, here: Position) -> bool {
        let embedded = Embedding::ALL.iter().any(|form| {
            let (network, prefix) = form.network();
            prefix == here.depth && network.to_bits() == here.bits
        });
        embedded
            || (self.ipv4_start != 0 && self.ipv4_start < self.metadata().node_count && here.at == self.ipv4_start && here.bits >> 32 != 0)
    }

    /// Decodes the record at a position that holds data. The crate finds it by an address of the network.
    fn decode(&self, here: Position, network: Option<IpNet>) -> Result<(Option<Place>, u64), String> {
        let expected =
            here.at.checked_sub(self.metadata().node_count + SEPARATOR).ok_or("the search tree points between its end and the data")?;
        let address = network.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |network| network.addr());
        let found = self.reader.lookup(address).map_err(|error| error.to_string())?;
        if found.offset() != usize::try_from(expected).ok() {
            return Err(format!("the search tree leads elsewhere for {address} than for its network"));
        }
        record::decode(&found)
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    On,
    Stop,
}

/// A place in the search tree: a node or record, and the bits that lead to it.
#[derive(Clone, Copy, Debug)]
struct Position {
    at: u32,
    /// Of an address of the tree's width, right-aligned.
    bits: u128,
    depth: u8,
}

impl Position {
    /// The networks that lie here: one, or that of IPv6 and all of IPv4 if the IPv4 tree hangs below.
    fn networks(self, width: u8) -> [Option<IpNet>; 2] {
        let v4 = |prefix| {
            let address = u32::try_from(self.bits).expect("invariant: the upper bits are zero");
            Some(IpNet::V4(Ipv4Net::new_assert(address.into(), prefix)))
        };
        let v6 = Some(IpNet::V6(Ipv6Net::new_assert(self.bits.into(), self.depth)));
        match (width, self.bits >> 32, self.depth) {
            (32, ..) => [v4(self.depth), None],
            (_, 0, 96..) => [v4(self.depth - 96), None],
            (_, 0, _) if self.bits == 0 => [v4(0), v6],
            _ => [v6, None],
        }
    }
}

impl PlaceSource for Database {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place(&self, ip: IpAddr) -> Option<Place> {
        let ip = embed::normalised(ip);
        match ip {
            IpAddr::V6(_) if self.width() == 32 => return None,
            // The IPv4 tree, which is for IPv4 addresses only.
            IpAddr::V6(address) if address.to_bits() >> 32 == 0 => return None,
            _ => {}
        }
        let found = self.reader.lookup(ip).ok()?;
        record::decode(&found).ok()?.0
    }

    fn each(&self, visit: &mut dyn FnMut(IpNet, Place)) -> Result<(), String> {
        self.walk(&mut |network, place| {
            visit(network, place);
            Walk::On
        })
    }
}

/// Feeds any bytes to the reader as if they were a file. Ends soon and never panics, whatever they are: for fuzzers and tests.
pub fn fuzz_mmdb(data: &[u8]) {
    if let Ok(database) = Database::open(data.to_vec(), "fuzz") {
        let mut last = None;
        let whole = database.each(&mut |network, place| last = Some((network, place)));
        let asked = [last.map(|(network, _)| network.addr()), Some(Ipv6Addr::LOCALHOST.into()), Some([8, 8, 8, 8].into())];
        let _answers = (whole, database.name(), asked.map(|ip| database.place(ip?)));
    }
}

#[cfg(test)]
mod tests;
