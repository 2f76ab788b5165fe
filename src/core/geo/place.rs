//! Where a client is, as far as it is known, and who says so.

use std::net::IpAddr;

use ipnet::IpNet;

use super::builtin;
use crate::model::{
    ids::RegionIdx,
    units::{Code, Location},
};

/// Where a client is. Each part may be missing; [`Place::completed`] fills in what follows from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Two letters as in geo databases: AF AN AS EU NA OC SA.
    pub continent: Option<Code>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<Code>,
    /// A point that stands for the network.
    pub location: Option<Location>,
    /// Who says so.
    pub origin: Origin,
}

/// Which layer knew a place. A later one of this list is asked only where all before it are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The plan counts the network to this region.
    PlanNetwork(RegionIdx),
    /// The geo database.
    Database,
    /// The table of address registries that is compiled in; it knows continents only.
    BuiltIn,
    /// Nobody: a private or reserved network, or one that no registry has.
    Unknown,
}

impl Place {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { continent: None, country: None, location: None, origin: Origin::Unknown };

    /// Whether any part says something.
    #[must_use]
    pub const fn is_somewhere(&self) -> bool {
        self.continent.is_some() || self.country.is_some() || self.location.is_some()
    }

    /// Fills in what follows: a country's continent, and the centre of the country, else of the continent, where there is no location.
    #[must_use]
    pub fn completed(mut self) -> Self {
        let country = self.country.and_then(builtin::country);
        if self.continent.is_none() {
            self.continent = country.map(|country| country.continent);
        }
        if self.location.is_none() {
            self.location = country.map(|country| country.centre).or_else(|| self.continent.and_then(builtin::continent_centre));
        }
        self
    }
}

/// Something that knows places of networks: a geo database, loaded.
pub trait PlaceSource: Send + Sync {
    /// Which database this is, for people: its type, its date, its file.
    fn name(&self) -> String;

    /// The place of the longest known network around `ip`, or `None`. Slow is fine: explanations ask, queries do not.
    fn place(&self, ip: IpAddr) -> Option<Place>;

    /// Shows every known network to `visit`, in any order. Where networks overlap the longer one counts.
    ///
    /// # Errors
    /// What is wrong with the database, for people. The map that was being built from it is then given up.
    fn each(&self, visit: &mut dyn FnMut(IpNet, Place)) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<Code> {
        Code::new(text)
    }

    #[test]
    fn a_country_brings_its_continent_and_its_centre() {
        let place = Place { country: code("IE"), ..Place::UNKNOWN }.completed();
        assert_eq!(place.continent, code("EU"));
        assert!(place.location.is_some());
    }

    #[test]
    fn an_unlisted_country_leaves_the_continent_to_say_where() {
        let place = Place { country: code("ZZ"), continent: code("AS"), ..Place::UNKNOWN }.completed();
        assert_eq!(place.location, builtin::continent_centre(Code::new("AS").unwrap()));
        assert_eq!(Place { country: code("ZZ"), ..Place::UNKNOWN }.completed().location, None);
    }

    #[test]
    fn what_is_given_stays() {
        let given =
            Place { continent: code("NA"), country: code("FR"), location: Location::from_degrees(16.2, -61.5), origin: Origin::Database };
        assert_eq!(given.completed(), given);
    }
}
