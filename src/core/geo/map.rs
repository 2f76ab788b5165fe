//! The map: from any client address to its class, and from a class to what each profile makes of it.
//!
//! Layers, of which the first that knows an address counts: networks of the plan, the geo database, the built-in table. Inside a layer
//! the longest network counts. The latency table lies across: it does not say where a client is, but how far the regions are.
//!
//! Building reads the database once and takes seconds for a large one, so it belongs on a thread of its own; the finished map is immutable.
//! Everything is bounded, and a database beyond the bounds is refused whole: half a map would send clients of the other half astray.
//!
//! IPv4 addresses inside IPv6 addresses are looked up as IPv4 ([`super::embed`]), also for networks: a network of the plan or the database
//! inside one of those four ranges never matches, since its clients are known by their IPv4 addresses.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    builtin,
    embed::{self, Embedding},
    latency::{Figures, LatencyTable},
    place::{Place, PlaceSource},
    profile::{GeoProfile, ProfileIdx},
    trie::{self, PrefixTable, TooManyNodes, Trie},
    view::{Client, GeoView, Regions},
};
use crate::model::topology::Region;

/// The most distinct places of a database: city databases have some hundred thousand.
pub const PLACES_MAX: usize = 1 << 22;

/// The most classes: with many regions and a city database nearly every place can be a class of its own, hence the same order.
pub const CLASSES_MAX: usize = 1 << 21;

/// The most pairs of class and profile, each 4 bytes in memory: 128 MiB.
pub const CELLS_MAX: usize = 1 << 25;

/// Marks the ranges of IPv6 whose addresses are looked up as IPv4. No class has this number.
const EMBEDDED: u32 = trie::VALUE_MAX;

/// Why a map could not be built. The map in force should stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeoMapError {
    /// The database itself is broken.
    #[error("read geo database {name}: {reason}; install an intact file")]
    Source {
        /// Which database.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// [`trie::NODES_MAX`] or [`trie::LINES_MAX`].
    #[error("build geo map: the networks need more nodes than are allowed; use a smaller database (country instead of city)")]
    TooManyNodes,
    /// [`PLACES_MAX`].
    #[error("build geo map: more than {PLACES_MAX} distinct places; use a smaller database (country instead of city)")]
    TooManyPlaces,
    /// [`CLASSES_MAX`] or [`CELLS_MAX`].
    #[error(
        "build geo map: more than {limit} kinds of clients for {profiles} ways of steering; use a smaller database, or let services share \
         their regions, `tie` and `residency`"
    )]
    TooManyClasses {
        /// That many are allowed with these profiles.
        limit: usize,
        /// Distinct profiles.
        profiles: usize,
    },
}

impl From<TooManyNodes> for GeoMapError {
    fn from(_: TooManyNodes) -> Self {
        Self::TooManyNodes
    }
}

/// A kind of client: all of them get the same views. Meaningless with another map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassIdx(pub u32);

impl ClassIdx {
    /// The number as a slice index.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What is found for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeoMatch {
    /// Its class.
    pub class: ClassIdx,
    /// The widest prefix around the address, in the address's own family, in which all have this class: 0 to 32 or 128. It is the scope
    /// for an ECS option, and may be longer than the source prefix that came in one.
    pub prefix: u8,
}

/// The networks of one layer, both families.
#[derive(Clone, Debug, Default)]
struct Layer {
    v4: PrefixTable,
    v6: PrefixTable,
}

impl Layer {
    fn insert(&mut self, network: IpNet, value: u32, choose: impl FnOnce(u32, u32) -> u32) -> Result<(), TooManyNodes> {
        match network {
            IpNet::V4(net) => self.v4.insert(net.addr().to_bits(), net.prefix_len(), value, choose),
            IpNet::V6(net) => self.v6.insert(net.addr().to_bits(), net.prefix_len(), value, choose),
        }
    }

    fn longest(&self, ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(address) => self.v4.longest(address.to_bits()),
            IpAddr::V6(address) => self.v6.longest(address.to_bits()),
        }
    }
}

/// From addresses to views. Immutable; cheap to look up, and shared behind an `Arc`.
pub struct GeoMap {
    v4: Trie,
    v6: Trie,
    /// The number of the view of (class, profile) at class * profiles + profile.
    cells: Vec<u32>,
    views: Vec<GeoView>,
    n_profiles: usize,
    // The layers themselves, for explanations.
    regions: Regions,
    plan: Layer,
    latency: Layer,
    database: Option<Arc<dyn PlaceSource>>,
}

impl fmt::Debug for GeoMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = (self.v4.n_nodes(), self.v6.n_nodes());
        f.debug_struct("GeoMap").field("classes", &self.n_classes()).field("views", &self.views.len()).field("nodes", &nodes).finish()
    }
}

impl GeoMap {
    /// Builds the map of a plan's regions for the given profiles, whose positions are the [`ProfileIdx`] to ask with.
    ///
    /// Where two regions claim the very same network, the first of the plan has it. Where a source shows the same network twice with
    /// different places, the smaller place in the order of [`Place`] counts, so that the order of reading does not matter.
    ///
    /// # Errors
    /// [`GeoMapError`]: the database is broken or beyond a bound.
    pub fn build(
        regions: &[Region],
        profiles: &[GeoProfile],
        database: Option<Arc<dyn PlaceSource>>,
        latency: Option<&LatencyTable>,
    ) -> Result<Self, GeoMapError> {
        let regions_seen = Regions::new(regions, Figures::new(latency, regions));
        let mut places = Places::default();

        let mut built_in = Layer::default();
        for (network, place) in builtin::networks() {
            built_in.insert(network, places.intern(place)?, |old, _| old)?;
        }
        let read = match &database {
            Some(source) => read(source.as_ref(), &mut places)?,
            None => Layer::default(),
        };
        let mut plan = Layer::default();
        for (i, region) in regions.iter().enumerate() {
            let value = u32::try_from(i).expect("invariant: a plan has at most 32 regions");
            for network in &region.networks {
                plan.insert(*network, value, u32::min)?;
            }
        }
        let mut rows = Layer::default();
        for &(network, row) in &regions_seen.figures.networks {
            rows.insert(network, row, |old, _| old)?;
        }

        let unknown = places.intern(Place::UNKNOWN)?;
        let mut classes = Classes::new(&regions_seen, profiles, &places.list);
        let mut class = |[built_in, database, plan, row]: [Option<u32>; 4]| {
            let place = plan.map_or_else(|| Whereabouts::At(database.or(built_in).unwrap_or(unknown)), Whereabouts::Home);
            classes.class(place, row)
        };
        let v4 = trie::overlay([&built_in.v4, &read.v4, &plan.v4, &rows.v4], &mut class)?;
        // Where IPv4 has several classes, no IPv6 network around an embedding range can be uniform, so a marker that equals nothing keeps
        // the scopes right. Where IPv4 is uniform, its one class can stand in the IPv6 trie itself.
        let embedded_class = v4.uniform_value().unwrap_or(EMBEDDED);
        let mut embedded = PrefixTable::default();
        for form in Embedding::ALL {
            let (network, prefix) = form.network();
            embedded.insert(network.to_bits(), prefix, 0, |old, _| old)?;
        }
        let v6 = trie::overlay(
            [&built_in.v6, &read.v6, &plan.v6, &rows.v6, &embedded],
            &mut |[built_in, database, plan, row, inside]: [Option<u32>; 5]| match inside {
                Some(_) => Ok(embedded_class),
                None => class([built_in, database, plan, row]),
            },
        )?;

        let Classes { cells, views, .. } = classes;
        let mut by_number: Vec<(u32, GeoView)> = views.into_iter().map(|(view, number)| (number, view)).collect();
        by_number.sort_unstable_by_key(|(number, _)| *number);
        let views = by_number.into_iter().map(|(_, view)| view).collect();
        Ok(Self { v4, v6, cells, views, n_profiles: profiles.len(), regions: regions_seen, plan, latency: rows, database })
    }

    /// The class of a client, and the widest network around it with the same class. One walk, no allocation.
    #[must_use]
    pub fn lookup(&self, ip: IpAddr) -> GeoMatch {
        let (class, prefix) = match ip {
            IpAddr::V4(address) => self.v4.walk(address.to_bits()),
            IpAddr::V6(address) => match self.v6.walk(address.to_bits()) {
                (EMBEDDED, _) => self.lookup_embedded(address),
                found => found,
            },
        };
        GeoMatch { class: ClassIdx(class), prefix }
    }

    /// The same for a network of clients, as an ECS option names it (RFC 7871 section 6): its first address stands for all.
    ///
    /// The answer's prefix may be longer than `source_prefix`: then the network holds several classes. A `source_prefix` beyond the
    /// family's width counts as the width.
    #[must_use]
    pub fn lookup_network(&self, address: IpAddr, source_prefix: u8) -> GeoMatch {
        let prefix = source_prefix.min(if address.is_ipv4() { 32 } else { 128 });
        let network = IpNet::new(address, prefix).map_or(address, |network| network.network());
        self.lookup(network)
    }

    /// What a profile makes of a class.
    ///
    /// # Panics
    /// If either is of another map.
    #[must_use]
    pub fn view(&self, class: ClassIdx, profile: ProfileIdx) -> &GeoView {
        assert!(profile.get() < self.n_profiles, "invariant: the profile is of this map");
        &self.views[self.cells[class.get() * self.n_profiles + profile.get()] as usize]
    }

    /// Where a client is. Asks the layers one after the other: for explanations.
    #[must_use]
    pub fn place(&self, ip: IpAddr) -> Place {
        let ip = embed::normalised(ip);
        if let Some(region) = self.plan.longest(ip) {
            return self.regions.home(region as usize);
        }
        let known = self.database.as_ref().and_then(|source| source.place(ip)).filter(Place::is_somewhere);
        known.map_or_else(|| builtin::look_up(ip), Place::completed)
    }

    /// A client with its distances and round-trip times to all regions: for explanations.
    #[must_use]
    pub fn client(&self, ip: IpAddr) -> Client {
        self.regions.client(self.place(ip), self.latency.longest(embed::normalised(ip)))
    }

    /// The database that the map was built with.
    #[must_use]
    pub fn database(&self) -> Option<&Arc<dyn PlaceSource>> {
        self.database.as_ref()
    }

    /// How many kinds of clients there are. At least one.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.cells.len().checked_div(self.n_profiles).unwrap_or(1)
    }

    fn lookup_embedded(&self, address: Ipv6Addr) -> (u32, u8) {
        let form = Embedding::of(address).expect("invariant: the marker stands at the embedding ranges only");
        let inside: Ipv4Addr = form.extract(address);
        let (class, prefix) = self.v4.walk(inside.to_bits());
        (class, form.first_bit() + prefix)
    }
}

/// Collects the networks of a database.
fn read(source: &dyn PlaceSource, places: &mut Places) -> Result<Layer, GeoMapError> {
    let mut layer = Layer::default();
    let mut refused = None;
    let outcome = source.each(&mut |network, place| {
        if refused.is_some() || !place.is_somewhere() {
            return;
        }
        let inserted = places.intern(place.completed()).and_then(|number| {
            let list = &places.list;
            let smaller = |old: u32, new: u32| if list[new as usize] < list[old as usize] { new } else { old };
            Ok(layer.insert(network, number, smaller)?)
        });
        refused = inserted.err();
    });
    if let Some(error) = refused {
        return Err(error);
    }
    outcome.map_err(|reason| GeoMapError::Source { name: source.name(), reason })?;
    Ok(layer)
}

/// Distinct places, numbered in the order in which they were met.
#[derive(Debug, Default)]
struct Places {
    list: Vec<Place>,
    numbers: BTreeMap<Place, u32>,
    /// The latest one: neighbouring networks are often in one place.
    latest: Option<(Place, u32)>,
}

impl Places {
    fn intern(&mut self, place: Place) -> Result<u32, GeoMapError> {
        if let Some((latest, number)) = self.latest
            && latest == place
        {
            return Ok(number);
        }
        let number = match self.numbers.get(&place) {
            Some(&number) => number,
            None if self.list.len() >= PLACES_MAX => return Err(GeoMapError::TooManyPlaces),
            None => {
                let number = u32::try_from(self.list.len()).expect("invariant: PLACES_MAX is below 2^32");
                self.list.push(place);
                self.numbers.insert(place, number);
                number
            }
        };
        self.latest = Some((place, number));
        Ok(number)
    }
}

/// Where a smallest network lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whereabouts {
    /// In a plan network of the region with this position.
    Home(u32),
    /// At the place with this number.
    At(u32),
}

/// Classes, numbered in ascending order of the first address that has them: the same for the same contents of the layers.
struct Classes<'a> {
    regions: &'a Regions,
    profiles: &'a [GeoProfile],
    places: &'a [Place],
    /// Classes of places without a latency row, by number of the place; [`Self::UNMET`] until met. Nearly all questions end here.
    plain: Vec<u32>,
    met: BTreeMap<(Whereabouts, Option<u32>), u32>,
    numbers: BTreeMap<Vec<u32>, u32>,
    views: BTreeMap<GeoView, u32>,
    cells: Vec<u32>,
    limit: usize,
}

impl<'a> Classes<'a> {
    fn new(regions: &'a Regions, profiles: &'a [GeoProfile], places: &'a [Place]) -> Self {
        let limit = CELLS_MAX.checked_div(profiles.len()).map_or(CLASSES_MAX, |most| most.min(CLASSES_MAX));
        let (met, numbers, views) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { regions, profiles, places, plain: vec![Self::UNMET; places.len()], met, numbers, views, cells: Vec::new(), limit }
    }

    const UNMET: u32 = u32::MAX;

    fn class(&mut self, whereabouts: Whereabouts, row: Option<u32>) -> Result<u32, GeoMapError> {
        if let (Whereabouts::At(number), None) = (whereabouts, row) {
            if self.plain[number as usize] == Self::UNMET {
                self.plain[number as usize] = self.work_out(whereabouts, row)?;
            }
            return Ok(self.plain[number as usize]);
        }
        if let Some(&class) = self.met.get(&(whereabouts, row)) {
            return Ok(class);
        }
        let class = self.work_out(whereabouts, row)?;
        self.met.insert((whereabouts, row), class);
        Ok(class)
    }

    fn work_out(&mut self, whereabouts: Whereabouts, row: Option<u32>) -> Result<u32, GeoMapError> {
        let place = match whereabouts {
            Whereabouts::Home(region) => self.regions.home(region as usize),
            Whereabouts::At(number) => self.places[number as usize],
        };
        let client = self.regions.client(place, row);
        let profiles = self.profiles;
        let numbers: Vec<u32> = profiles.iter().map(|profile| self.intern(client.view(profile))).collect();
        let next = self.numbers.len();
        let class = match self.numbers.get(&numbers) {
            Some(&class) => class,
            None if next >= self.limit => return Err(GeoMapError::TooManyClasses { limit: self.limit, profiles: self.profiles.len() }),
            None => {
                let class = u32::try_from(next).expect("invariant: CLASSES_MAX is below 2^32");
                self.cells.extend(&numbers);
                self.numbers.insert(numbers, class);
                class
            }
        };
        Ok(class)
    }

    fn intern(&mut self, view: GeoView) -> u32 {
        let next = u32::try_from(self.views.len()).expect("invariant: CELLS_MAX is below 2^32");
        *self.views.entry(view).or_insert(next)
    }
}

#[cfg(test)]
mod tests;
