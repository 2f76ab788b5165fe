//! Round-trip times from clients to regions, as somebody measured them.
//!
//! A figure is given for a network, a country or a continent; the most specific one that names the region counts, each region for itself.
//! Regions go by name, so that a table outlives a change of the plan; names that the plan does not have are idle, and
//! [`LatencyTable::unknown_regions`] tells them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::model::{ids::Label, topology::Region, units::Code};

/// The most figures that one table may have: 32 regions for 32 768 networks, some 100 MiB at most.
pub const FIGURES_MAX: usize = 1 << 20;

/// Whose round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyKey {
    /// Of all clients of a network; the longest network around a client counts first.
    Network(IpNet),
    /// Of all clients of a country.
    Country(Code),
    /// Of all clients of a continent.
    Continent(Code),
}

/// Why a figure was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LatencyRefused {
    /// The same client group and region twice.
    #[error("region `{0}` has a figure for these clients already; keep one of the two")]
    Duplicate(Label),
    /// [`FIGURES_MAX`].
    #[error("more than {FIGURES_MAX} figures; give whole networks or countries instead of single ones")]
    TooMany,
}

/// Round-trip times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyTable {
    rows: BTreeMap<LatencyKey, BTreeMap<Label, u32>>,
    n_figures: usize,
}

impl LatencyTable {
    /// Adds a figure in milliseconds. Bits of a network beyond its prefix are dropped.
    ///
    /// # Errors
    /// [`LatencyRefused`]; the table stays as it was.
    pub fn insert(&mut self, key: LatencyKey, region: Label, milliseconds: u32) -> Result<(), LatencyRefused> {
        let key = match key {
            LatencyKey::Network(network) => LatencyKey::Network(network.trunc()),
            other => other,
        };
        if self.rows.get(&key).is_some_and(|row| row.contains_key(&region)) {
            return Err(LatencyRefused::Duplicate(region));
        }
        if self.n_figures >= FIGURES_MAX {
            return Err(LatencyRefused::TooMany);
        }
        self.n_figures += 1;
        self.rows.entry(key).or_default().insert(region, milliseconds);
        Ok(())
    }

    /// How many figures there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.n_figures
    }

    /// Whether there is no figure.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.n_figures == 0
    }

    /// Names that no region of the plan has: their figures are idle.
    #[must_use]
    pub fn unknown_regions(&self, regions: &[Region]) -> BTreeSet<Label> {
        let names = self.rows.values().flat_map(BTreeMap::keys);
        names.filter(|name| regions.iter().all(|region| region.name != **name)).cloned().collect()
    }
}

/// One figure per region, by position; `None` where nothing is known.
pub type Milliseconds = Vec<Option<u32>>;

/// A table with the regions of one plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// Every network with the number of its row.
    pub(super) networks: Vec<(IpNet, u32)>,
    rows: Vec<Milliseconds>,
    countries: BTreeMap<Code, Milliseconds>,
    continents: BTreeMap<Code, Milliseconds>,
    n_regions: usize,
}

impl Figures {
    pub(super) fn new(table: Option<&LatencyTable>, regions: &[Region]) -> Self {
        let mut figures = Self { n_regions: regions.len(), ..Self::default() };
        let mut by_network: BTreeMap<IpNet, Milliseconds> = BTreeMap::new();
        for (&key, row) in table.iter().flat_map(|table| &table.rows) {
            let by_region: Milliseconds = regions.iter().map(|region| row.get(&region.name).copied()).collect();
            if by_region.iter().all(Option::is_none) {
                continue;
            }
            match key {
                LatencyKey::Network(network) => drop(by_network.insert(network, by_region)),
                LatencyKey::Country(code) => drop(figures.countries.insert(code, by_region)),
                LatencyKey::Continent(code) => drop(figures.continents.insert(code, by_region)),
            }
        }
        // A network inherits what it does not say from the networks around it, the longest first.
        for (network, own) in &by_network {
            let around = std::iter::successors(network.supernet(), IpNet::supernet);
            let row = around.filter_map(|net| by_network.get(&net)).fold(own.clone(), either);
            figures.networks.push((*network, u32::try_from(figures.rows.len()).expect("invariant: FIGURES_MAX is below 2^32")));
            figures.rows.push(row);
        }
        figures
    }

    /// The figures for a client: of the network row with this number, then of its country, then of its continent.
    pub(super) fn of(&self, row: Option<u32>, country: Option<Code>, continent: Option<Code>) -> Milliseconds {
        let none = || vec![None; self.n_regions];
        let row = row.map_or_else(none, |row| self.rows[row as usize].clone());
        let outer = [country.and_then(|code| self.countries.get(&code)), continent.and_then(|code| self.continents.get(&code))];
        outer.into_iter().flatten().fold(row, either)
    }
}

fn either(row: Milliseconds, outer: &Milliseconds) -> Milliseconds {
    row.into_iter().zip(outer).map(|(own, &outer)| own.or(outer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region {
            name: name.into(),
            location: None,
            continent: None,
            country: None,
            jurisdiction: None,
            cluster: None,
            failure_domain: None,
            capacity_rps: None,
            networks: Vec::new(),
        }
    }

    fn code(text: &str) -> Code {
        Code::new(text).unwrap()
    }

    fn network(text: &str) -> LatencyKey {
        LatencyKey::Network(text.parse().unwrap())
    }

    #[test]
    fn each_region_takes_the_most_specific_figure_that_names_it() {
        let mut table = LatencyTable::default();
        table.insert(network("192.0.2.0/24"), "a".into(), 1).unwrap();
        table.insert(network("192.0.0.0/16"), "a".into(), 2).unwrap();
        table.insert(network("192.0.0.0/16"), "b".into(), 3).unwrap();
        table.insert(LatencyKey::Country(code("IE")), "b".into(), 4).unwrap();
        table.insert(LatencyKey::Country(code("IE")), "c".into(), 5).unwrap();
        table.insert(LatencyKey::Continent(code("EU")), "d".into(), 6).unwrap();
        let figures = Figures::new(Some(&table), &[region("a"), region("b"), region("c"), region("d"), region("e")]);
        let row = |text: &str| figures.networks.iter().find(|(net, _)| net.to_string() == text).map(|(_, row)| *row);
        let (country, continent) = (Some(code("IE")), Some(code("EU")));
        assert_eq!(figures.of(row("192.0.2.0/24"), country, continent), [Some(1), Some(3), Some(5), Some(6), None]);
        assert_eq!(figures.of(row("192.0.0.0/16"), None, None), [Some(2), Some(3), None, None, None]);
        assert_eq!(figures.of(None, Some(code("FR")), continent), [None, None, None, Some(6), None]);
    }

    #[test]
    fn a_figure_twice_is_refused_and_idle_names_are_told() {
        let mut table = LatencyTable::default();
        table.insert(network("192.0.2.0/24"), "a".into(), 1).unwrap();
        assert_eq!(table.insert(network("192.0.2.7/24"), "a".into(), 2), Err(LatencyRefused::Duplicate("a".into())));
        assert_eq!(table.len(), 1);
        assert_eq!(table.unknown_regions(&[region("b")]), BTreeSet::from(["a".into()]));
        assert!(table.unknown_regions(&[region("a")]).is_empty());
    }
}
