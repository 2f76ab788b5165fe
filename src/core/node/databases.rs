//! Databases as the vantage points see them: what a failover is judged by, beside what agents tell.
//!
//! Only the primary of a group is probed, by whoever would probe any other check of its address. What is seen is not a verdict: of a failover more
//! is asked than a majority of regions, and rounds are counted, not probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Node;
use crate::{
    failover::evidence::Views,
    health::vantage::Judgement,
    model::{
        check::{Check, FailureCategory},
        ids::{CheckIdx, Label, RegionIdx},
        time::Timestamp,
        verdict::Health,
    },
};

/// How the primary of a group is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By how many vantage regions how.
    pub views: Views,
    /// When the first probe failed of those that have failed since, anywhere; `None`: none has.
    pub failing_since: Option<Timestamp>,
}

impl Seen {
    /// How long it has failed at `now`.
    #[must_use]
    pub fn failing_for(&self, now: Timestamp) -> Option<Duration> {
        Some(now.since(self.failing_since?))
    }
}

/// The primary of a group, as it is agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Where it stands.
    pub region: Label,
    /// An operation that has not promoted another one yet is open.
    pub is_leaving: bool,
}

/// A primary, and how it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Where it stands.
    pub region: Label,
    /// How it is probed.
    pub check: Check,
    /// How it is seen.
    pub seen: Seen,
    /// Until when at least each vantage region got into it by its probes; `None`: it does now. Regions that say nothing are not in here.
    pub accepts: BTreeMap<Label, Option<Timestamp>>,
}

/// What this node knows of databases by probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// What this node sees counts: it is not blind.
    pub is_sighted: bool,
    /// By group: those whose primary is agreed on, and that a probe speaks to.
    pub primaries: BTreeMap<Label, Primary>,
    /// The regions that are down as a whole: none of their endpoints is up, and nobody there is heard.
    pub regions_down: BTreeSet<Label>,
    /// Of each region that has endpoints: how many of them may be answered.
    pub endpoints_up: BTreeMap<Label, u32>,
}

impl Node {
    /// What is known of databases now.
    #[must_use]
    pub fn databases(&self) -> Databases {
        let topology = &self.world.topology;
        let primary = |(group, Agreed { region, .. }): (&Label, &Agreed)| {
            let at = *topology.databases.get(group)?.get(region)?;
            let check = topology.checks.get(at.get())?.clone();
            Some((group.clone(), Primary { region: region.clone(), check, seen: self.seen(at), accepts: self.accepts(at) }))
        };
        let heard: BTreeSet<&Label> = self.vantage.regions_heard().collect();
        let is_down = |(position, region): &(usize, &crate::model::topology::Region)| {
            self.tally.up(RegionIdx::at(*position)) == 0 && !heard.contains(&region.name)
        };
        let down = topology.regions.iter().enumerate().filter(is_down).map(|(_, region)| region.name.clone());
        let has_endpoints: BTreeSet<RegionIdx> = topology.endpoints.iter().map(|endpoint| endpoint.region).collect();
        let up = |region: &RegionIdx| Some((topology.regions.get(region.get())?.name.clone(), self.tally.up(*region)));
        Databases {
            endpoints_up: has_endpoints.iter().filter_map(up).collect(),
            is_sighted: self.vantage.sight().counts(),
            primaries: self.primaries.iter().filter_map(primary).collect(),
            regions_down: down.collect(),
        }
    }

    fn seen(&self, check: CheckIdx) -> Seen {
        let mut seen = Seen::default();
        for opinion in self.vantage.opinions(check) {
            match opinion.map_or((Health::Unknown, None, None), |it| (it.health, it.since, it.failure)) {
                (Health::Unknown, ..) => seen.views.silent += 1,
                (Health::Up, ..) => seen.views.passing += 1,
                (Health::Down, since, failure) => {
                    seen.views.failing += 1;
                    // It was reached, and does not answer in time.
                    let is_late = failure.is_some_and(|it| matches!(it.category, FailureCategory::Timeout | FailureCategory::Slow));
                    seen.views.late += u16::from(is_late);
                    seen.failing_since = seen.failing_since.into_iter().chain(since).min();
                }
            }
        }
        seen
    }

    fn accepts(&self, check: CheckIdx) -> BTreeMap<Label, Option<Timestamp>> {
        let opinions = self.vantage.regions().iter().zip(self.vantage.opinions(check));
        let accepts = |(region, opinion): (&Label, Option<Judgement>)| {
            let opinion = opinion?;
            let answers = opinion.failure.is_some_and(|failure| failure.category.accepted());
            let until = match opinion.health {
                Health::Unknown => return None,
                Health::Up => None,
                Health::Down if answers => None,
                // It may have been in until its first probe failed.
                Health::Down => Some(opinion.since?),
            };
            Some((region.clone(), until))
        };
        opinions.filter_map(accepts).collect()
    }

    /// Whether a check is to be made at all: of a data group's members only that which is the primary.
    pub(super) fn is_wanted(&self, check: CheckIdx) -> bool {
        self.checks.database(check).is_none_or(|(group, region)| self.primaries.get(group).is_some_and(|agreed| agreed.region == *region))
    }
}
