//! Counts per region, kept up to date with each change: read at each turn, by metrics and by status.

use std::time::Duration;

use crate::{
    model::{
        ids::{Label, RegionIdx, RegionSet},
        time::Tick,
        topology::Topology,
    },
    table::{ServiceView, Tier},
};

/// How long failures count on screens.
pub(super) const FAILURES_WINDOW: Duration = Duration::from_secs(300);

/// Failures are counted in slices of this length: the count on screens is exact to one slice.
const SLICE: Duration = Duration::from_secs(15);

/// Slices of the window, and one that is being filled.
const SLICES: usize = 21;

/// Per region: endpoints in rotation, and failures lately.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    regions: Vec<RegionTally>,
}

#[derive(Clone, Debug, Default)]
struct RegionTally {
    up: i64,
    /// (number of the slice, failures in it); a ring by number.
    failures: [(u64, u32); SLICES],
}

impl Tally {
    pub(super) fn new(n_regions: usize) -> Self {
        Self { regions: vec![RegionTally::default(); n_regions] }
    }

    /// The counts under another plan: regions keep their failures by name.
    pub(super) fn moved(&self, before: &Topology, after: &Topology) -> Self {
        let kept = |name: &Label| before.region(name.as_str()).map(|region| self.regions[region.get()].clone());
        Self { regions: after.regions.iter().map(|region| kept(&region.name).unwrap_or_default()).collect() }
    }

    /// Forgets who is up, because everything is counted anew.
    pub(super) fn clear_up(&mut self) {
        for region in &mut self.regions {
            region.up = 0;
        }
    }

    /// A probe of a check in these regions failed.
    pub(super) fn failed(&mut self, regions: RegionSet, at: Tick) {
        let slice = slice(at);
        for region in regions.iter() {
            let entry = &mut self.regions[region.get()].failures[ring(slice)];
            if entry.0 != slice {
                *entry = (slice, 0);
            }
            entry.1 = entry.1.saturating_add(1);
        }
    }

    /// Failures in a region inside the window.
    pub(super) fn failures(&self, region: RegionIdx, now: Tick) -> u32 {
        let oldest = slice(now.before(FAILURES_WINDOW));
        self.regions[region.get()].failures.iter().filter(|(slice, _)| *slice >= oldest).map(|(_, count)| count).sum()
    }

    /// Replaces one service's endpoints in the counts. Gives the regions that gained their first or lost their last endpoint in rotation.
    pub(super) fn recount(&mut self, before: Option<&ServiceView>, after: &ServiceView) -> Vec<(RegionIdx, bool)> {
        let mut turned = Vec::new();
        for pool in &after.pools {
            let up = |view: &ServiceView| {
                let members = view.pool(pool.region).map_or(&[][..], |pool| &pool.members);
                i64::try_from(members.iter().filter(|member| member.tier == Tier::Up).count()).unwrap_or(i64::MAX)
            };
            let region = &mut self.regions[pool.region.get()];
            let was = region.up;
            region.up += up(after) - before.map_or(0, up);
            if (was > 0) != (region.up > 0) {
                turned.push((pool.region, region.up > 0));
            }
        }
        turned
    }

    pub(super) fn up(&self, region: RegionIdx) -> u32 {
        u32::try_from(self.regions[region.get()].up).unwrap_or_default()
    }
}

/// Slices are counted from 1, so that an empty entry of the ring is none of them.
fn slice(at: Tick) -> u64 {
    at.since(Tick(0)).as_secs() / SLICE.as_secs() + 1
}

fn ring(slice: u64) -> usize {
    usize::try_from(slice % SLICES as u64).expect("invariant: below SLICES")
}
