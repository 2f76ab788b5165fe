//! What a client's place means for one profile: the order of regions, the fence, and what they were judged by.

use super::{
    distance::Point,
    latency::{Figures, Milliseconds},
    place::{Origin, Place},
    profile::{GeoProfile, Metric},
    ranking::Ranking,
};
use crate::model::{
    ids::{RegionIdx, RegionSet},
    topology::Region,
};

/// Distances below this count as this: geo databases do not know a client any better (their accuracy radius is mostly 20 to 100 km), so
/// two regions of one city tie for its clients.
pub const DISTANCE_FLOOR_KM: u32 = 50;

/// Round-trip times below this count as this, for the same reason; zero is kept for clients that belong to a region.
pub const LATENCY_FLOOR_MS: u32 = 1;

/// What a ranking was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The profile has no metric: all regions tie.
    Nothing,
    /// There was nothing to go by: the client's place is unknown, or no region has a location. All regions tie.
    Unknown,
    /// Kilometres.
    Distance,
    /// Milliseconds of the latency table.
    Latency,
    /// Kilometres, because the latency table lacks a figure for this client and some region.
    DistanceForLackOfLatency,
}

/// What one profile makes of one kind of client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GeoView {
    /// The profile's regions, the nearest first.
    pub ranking: Ranking,
    /// The regions inside the residency fence; `None`: there is no fence for this client.
    pub fence: Option<RegionSet>,
    /// What the ranking was made by.
    pub by: By,
}

impl GeoView {
    /// Whether the ranking says anything; if not, all regions tie.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self.by, By::Nothing | By::Unknown)
    }
}

/// A client, seen from all regions of a plan. Figures are by position of the region and without floors: for explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it is, completed.
    pub place: Place,
    /// Great-circle kilometres; `None` where the client's or the region's location is unknown.
    pub kilometres: Vec<Option<u32>>,
    /// Round-trip times of the latency table.
    pub milliseconds: Milliseconds,
}

impl Client {
    /// The region that the plan counts the client's network to. It comes before all others, whatever they measure.
    #[must_use]
    pub const fn home(&self) -> Option<RegionIdx> {
        match self.place.origin {
            Origin::PlanNetwork(region) => Some(region),
            Origin::Database | Origin::BuiltIn | Origin::Unknown => None,
        }
    }

    /// What `profile` makes of this client.
    #[must_use]
    pub fn view(&self, profile: &GeoProfile) -> GeoView {
        let figures = |values: &[Option<u32>], floor: u32| -> Vec<(RegionIdx, Option<u32>)> {
            let figure = |region| if self.home() == Some(region) { Some(0) } else { values[region.get()].map(|value| value.max(floor)) };
            profile.regions.iter().map(|region| (region, figure(region))).collect()
        };
        let by_distance = |by| {
            let figures = figures(&self.kilometres, DISTANCE_FLOOR_KM);
            let by = if figures.iter().all(|(_, figure)| figure.is_none()) { By::Unknown } else { by };
            (figures, by)
        };
        let (figures, by) = match profile.metric {
            Metric::None => (profile.regions.iter().map(|region| (region, None)).collect(), By::Nothing),
            Metric::Distance => by_distance(By::Distance),
            Metric::Latency => {
                let figures = figures(&self.milliseconds, LATENCY_FLOOR_MS);
                if figures.iter().all(|(_, figure)| figure.is_some()) {
                    (figures, By::Latency)
                } else {
                    by_distance(By::DistanceForLackOfLatency)
                }
            }
        };
        GeoView { ranking: Ranking::new(figures, profile.tie), fence: profile.fence(&self.place), by }
    }
}

/// The regions of a plan, as clients are measured against them.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    points: Vec<Option<Point>>,
    /// The place of a client in a plan network of each region.
    homes: Vec<Place>,
    pub(super) figures: Figures,
}

impl Regions {
    pub(super) fn new(regions: &[Region], figures: Figures) -> Self {
        let home = |(i, region): (usize, &Region)| {
            let origin = Origin::PlanNetwork(RegionIdx::at(i));
            Place { continent: region.continent, country: region.country, location: region.location, origin }.completed()
        };
        Self {
            points: regions.iter().map(|region| region.location.map(Point::new)).collect(),
            homes: regions.iter().enumerate().map(home).collect(),
            figures,
        }
    }

    /// The place of clients that the plan counts to this region: the region's own, completed.
    pub(super) fn home(&self, region: usize) -> Place {
        self.homes[region]
    }

    /// A client at `place`, completed, with the latency row of its network.
    pub(super) fn client(&self, place: Place, latency_row: Option<u32>) -> Client {
        let here = place.location.map(Point::new);
        let kilometres = self.points.iter().map(|point| Some(here?.kilometres((*point)?))).collect();
        Client { place, kilometres, milliseconds: self.figures.of(latency_row, place.country, place.continent) }
    }
}
