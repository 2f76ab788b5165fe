//! The order of regions for one kind of client, and which of them count as equally near.

use crate::model::{
    ids::{RegionIdx, RegionSet},
    units::Share,
};

/// Regions from the nearest to the farthest. Regions without a figure come last and are equally far from everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranking {
    order: Vec<RegionIdx>,
    /// `reach[i]` is the last position that still ties with position i when i is the nearest usable one. Never below i.
    reach: Vec<u8>,
}

impl Ranking {
    /// Sorts regions by their figure (the smaller the nearer; `None` is farther than any figure), equal ones by index.
    ///
    /// A region ties with a nearer one while its figure is at most that one's plus `tie` of it. So nothing but zero ties with zero: zero
    /// stands for "the client belongs to this region", and figures that were measured should be given a floor by the caller.
    #[must_use]
    pub fn new(figures: impl IntoIterator<Item = (RegionIdx, Option<u32>)>, tie: Share) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().map(|(region, figure)| (figure.map_or(u64::MAX, u64::from), region)).collect();
        sorted.sort_unstable();
        let reach = sorted.iter().map(|&(figure, _)| {
            let limit = figure.saturating_add(tie.of(figure));
            u8::try_from(sorted.partition_point(|&(other, _)| other <= limit) - 1).expect("invariant: a plan has at most 32 regions")
        });
        Self { reach: reach.collect(), order: sorted.iter().map(|&(_, region)| region).collect() }
    }

    /// The regions, the nearest first.
    #[must_use]
    pub fn order(&self) -> &[RegionIdx] {
        &self.order
    }

    /// For each position of [`Self::order`] the last position that ties with it.
    #[must_use]
    pub fn reach(&self) -> &[u8] {
        &self.reach
    }

    /// The nearest of the usable regions, with those that tie with it. Empty only if no ranked region is usable.
    #[must_use]
    pub fn nearest(&self, usable: RegionSet) -> RegionSet {
        let Some(first) = self.order.iter().position(|&region| usable.contains(region)) else {
            return RegionSet::EMPTY;
        };
        self.order[first..=usize::from(self.reach[first])].iter().copied().filter(|&region| usable.contains(region)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(members: &[u8]) -> RegionSet {
        members.iter().map(|&region| RegionIdx(region)).collect()
    }

    fn ranking(figures: &[Option<u32>], tie: u16) -> Ranking {
        Ranking::new(figures.iter().enumerate().map(|(i, &figure)| (RegionIdx::at(i), figure)), Share::percent(tie))
    }

    #[test]
    fn ties_reach_from_the_nearest_usable_one() {
        let it = ranking(&[Some(1000), Some(1100), Some(1200), Some(1320), None], 10);
        assert_eq!(it.nearest(set(&[0, 1, 2, 3, 4])), set(&[0, 1]));
        assert_eq!(it.nearest(set(&[1, 2, 3, 4])), set(&[1, 2]));
        assert_eq!(it.nearest(set(&[2, 3, 4])), set(&[2, 3]));
        assert_eq!(it.nearest(set(&[4])), set(&[4]));
        assert_eq!(it.nearest(RegionSet::EMPTY), RegionSet::EMPTY);
    }

    #[test]
    fn nothing_ties_with_belonging_but_belonging() {
        assert_eq!(ranking(&[Some(1), Some(0), Some(0)], 100).nearest(set(&[0, 1, 2])), set(&[1, 2]));
    }

    #[test]
    fn without_figures_all_tie() {
        assert_eq!(ranking(&[None, None, None], 0).nearest(set(&[0, 2])), set(&[0, 2]));
    }

    #[test]
    fn the_largest_tie_is_twice_the_figure() {
        assert_eq!(ranking(&[Some(500), Some(1000), Some(1001)], 100).nearest(set(&[0, 1, 2])), set(&[0, 1]));
    }

    proptest! {
        #[test]
        fn nearest_is_what_its_words_say(
            figures in prop::collection::vec(prop::option::weighted(0.8, 0_u32..3_000), 0..=32),
            points in 0_u16..=10_000,
            usable: u32,
        ) {
            let tie = Share::basis_points(points);
            let ranking = Ranking::new(figures.iter().enumerate().map(|(i, &figure)| (RegionIdx::at(i), figure)), tie);
            let usable = RegionSet::from_bits(usable).and(RegionSet::first(figures.len()));
            let of = |region: RegionIdx| figures[region.get()];
            let best = usable.iter().filter_map(of).min();
            let naive: RegionSet = usable
                .iter()
                .filter(|&region| match (best, of(region)) {
                    (Some(best), Some(figure)) => u64::from(figure) <= u64::from(best) + tie.of(u64::from(best)),
                    (Some(_), None) => false,
                    (None, _) => true,
                })
                .collect();
            prop_assert_eq!(ranking.nearest(usable), naive);
            prop_assert!(ranking.reach().iter().enumerate().all(|(i, &reach)| usize::from(reach) >= i));
        }
    }
}
