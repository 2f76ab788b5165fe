//! The storm brake: many failures at once are more often one thing that nobody has understood than many databases that died.

use std::collections::BTreeMap;

use super::{REGION_GROUPS_MAX, STORM_WITHIN, watch::Watch};
use crate::model::{ids::Label, time::Tick};

/// How many groups counted as failed not long ago, by their primary's region: that is one cause.
#[derive(Clone, Debug, Default)]
pub(super) struct Brake(BTreeMap<Label, usize>);

impl Brake {
    pub(super) fn of(watches: &BTreeMap<Label, Watch>, now: Tick) -> Self {
        let mut causes = BTreeMap::new();
        for watch in watches.values() {
            if let Some((at, region)) = watch.trouble()
                && now.since(*at) < watch.scaled(STORM_WITHIN)
            {
                *causes.entry(region.clone()).or_default() += 1;
            }
        }
        Self(causes)
    }

    /// Why a person is to look first; `None`: it is one failure, as far as is seen.
    pub(super) fn doubt(&self, region: &Label, is_down: bool) -> Option<String> {
        if let Some((other, n)) = self.0.iter().find(|(other, _)| *other != region) {
            return Some(format!("{n} of the groups with their primary in {other} failed less than 10m before, too: two causes"));
        }
        let n = self.0.get(region).copied().unwrap_or(0);
        (n > REGION_GROUPS_MAX && !is_down)
            .then(|| format!("{n} groups with their primary in {region} fail, and the region is not proven down"))
    }
}
