//! What of a service's steering depends on where its client is. Services that agree in it share one profile.

use crate::{
    geo::{builtin, place::Place},
    model::{
        ids::{RegionSet, ServiceIdx},
        topology::{Residency, Service, Stage, Topology},
        units::Share,
    },
};

/// What makes a region near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Great-circle kilometres.
    Distance,
    /// Round-trip milliseconds from a table; kilometres where the table is silent.
    Latency,
    /// Nothing: all regions are alike.
    None,
}

/// Everything of a service that depends on where its client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeoProfile {
    /// The regions that are ranked: those where the service has endpoints.
    pub regions: RegionSet,
    /// What makes one near.
    pub metric: Metric,
    /// Regions that far beyond the nearest one still count as equally near. [`Share::NONE`]: only equal figures do.
    pub tie: Share,
    /// Where clients may be sent; `None`: anywhere.
    pub residency: Option<Residency>,
}

/// Position of a profile in the list that a map was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileIdx(pub u32);

impl ProfileIdx {
    /// The position as a slice index.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl GeoProfile {
    /// The profile of a service. Of its stages the first of `geo` and `latency` gives the metric.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let metric = service.steering.stages.iter().find_map(|stage| match stage {
            Stage::Geo => Some(Metric::Distance),
            Stage::Latency => Some(Metric::Latency),
            Stage::Priority | Stage::Weight => None,
        });
        let metric = metric.unwrap_or(Metric::None);
        // Without a metric the tie decides nothing; leaving it out lets more services share the profile.
        let tie = if metric == Metric::None { Share::NONE } else { service.steering.tie };
        let regions = service.pools.iter().map(|pool| pool.region).collect();
        Self { regions, metric, tie, residency: service.steering.residency.clone() }
    }

    /// Whether anything depends on the client's place. If not, answers are for everybody and their ECS scope is 0.
    #[must_use]
    pub fn depends_on_client(&self) -> bool {
        self.metric != Metric::None || self.residency.is_some()
    }

    /// The regions inside the fence for a client at `place`, which is [completed](Place::completed); `None`: no region is outside.
    ///
    /// A country's rule beats its continent's. A code that names a continent always means the continent: `NA` is North America and not
    /// Namibia, `SA` South America, `AF` Africa, `AS` Asia; a client from such a country is judged by its continent.
    #[must_use]
    pub fn fence(&self, place: &Place) -> Option<RegionSet> {
        let residency = self.residency.as_ref()?;
        let country = place.country.filter(|&code| !builtin::is_continent(code));
        let rule = [country, place.continent].into_iter().flatten().find_map(|code| residency.by_code.get(&code)).copied();
        let inside = rule.or(residency.otherwise)?.and(self.regions);
        (inside != self.regions).then_some(inside)
    }
}

/// The distinct profiles of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// Each once, in the order of first use.
    pub distinct: Vec<GeoProfile>,
    by_service: Vec<ProfileIdx>,
}

impl Profiles {
    /// Of every service of a topology.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let mut profiles = Self::default();
        for service in &topology.services {
            let index = profiles.intern(GeoProfile::of(service));
            profiles.by_service.push(index);
        }
        profiles
    }

    /// The profile of a service.
    #[must_use]
    pub fn of_service(&self, service: ServiceIdx) -> ProfileIdx {
        self.by_service[service.get()]
    }

    fn intern(&mut self, profile: GeoProfile) -> ProfileIdx {
        let known = self.distinct.iter().position(|other| *other == profile);
        let position = known.unwrap_or_else(|| {
            self.distinct.push(profile);
            self.distinct.len() - 1
        });
        ProfileIdx(u32::try_from(position).expect("invariant: there are not more profiles than services"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        geo::place::Origin,
        model::{topology::ResidencyMode, units::Code},
    };

    fn code(text: &str) -> Code {
        Code::new(text).unwrap()
    }

    fn fenced(rules: &[(&str, u32)], otherwise: Option<u32>) -> GeoProfile {
        let by_code: BTreeMap<Code, RegionSet> = rules.iter().map(|&(text, bits)| (code(text), RegionSet::from_bits(bits))).collect();
        let residency = Residency { mode: ResidencyMode::Strict, by_code, otherwise: otherwise.map(RegionSet::from_bits) };
        GeoProfile { regions: RegionSet::first(3), metric: Metric::None, tie: Share::NONE, residency: Some(residency) }
    }

    fn client(continent: &str, country: Option<&str>) -> Place {
        Place { continent: Some(code(continent)), country: country.map(code), location: None, origin: Origin::Database }
    }

    #[test]
    fn a_country_beats_its_continent_and_the_rest_falls_through() {
        let profile = fenced(&[("EU", 0b010), ("CH", 0b100)], Some(0b001));
        assert_eq!(profile.fence(&client("EU", Some("DE"))), Some(RegionSet::from_bits(0b010)));
        assert_eq!(profile.fence(&client("EU", Some("CH"))), Some(RegionSet::from_bits(0b100)));
        assert_eq!(profile.fence(&client("AS", None)), Some(RegionSet::from_bits(0b001)));
        assert_eq!(profile.fence(&Place::UNKNOWN), Some(RegionSet::from_bits(0b001)));
    }

    #[test]
    fn continents_win_over_countries_of_the_same_letters() {
        let profile = fenced(&[("NA", 0b001)], Some(0b110));
        assert_eq!(profile.fence(&client("AF", Some("NA"))), Some(RegionSet::from_bits(0b110)), "Namibia is not North America");
        assert_eq!(profile.fence(&client("NA", Some("US"))), Some(RegionSet::from_bits(0b001)));
    }

    #[test]
    fn a_fence_around_everything_is_no_fence_and_one_around_nothing_stays() {
        assert_eq!(fenced(&[], Some(0b1111)).fence(&Place::UNKNOWN), None);
        assert_eq!(fenced(&[], None).fence(&Place::UNKNOWN), None);
        assert_eq!(fenced(&[], Some(0b1000)).fence(&Place::UNKNOWN), Some(RegionSet::EMPTY));
    }
}
