//! What would be lost of a data class: the best of its recovery sources, of the worst of its groups, region by region.
//!
//! ```text
//! group --streaming to the region--.
//!       --archive and a backup-----+--best--> group in region --.
//!       --newest backup------------'                            +--worst--> class in region, against rpo_target
//! another group of the class                                  --'
//! ```
//!
//! Invariants: the bracket holds the true value of whoever recovers by the best source; a source that may or may not be there makes the lower end lower
//! and never the upper one; what nobody knows is unknown, never zero.
//!
//! Source: Aurora's and Oracle's gauges of exposure per standby, taken together per class of data as a plan of disaster recovery has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{backups, exposure::Bracket, incident::Standing};
use crate::model::ids::Label;

/// From where data would be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The region's own member, which follows the primary.
    Streaming,
    /// The newest backup, and the archive of the primary's log after it.
    Archive,
    /// The newest backup alone.
    Backup,
}

impl Source {
    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Archive => "archive",
            Self::Backup => "backup",
        }
    }
}

/// What is known of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupExposure {
    /// Where it is written; `None`: nowhere, or nobody knows.
    pub primary: Option<Label>,
    /// What each other member lacks, in time.
    pub streaming: BTreeMap<Label, Bracket>,
    /// What would be lost by the archive of the primary's log; `None`: there is none, or nobody knows of one.
    pub archive: Option<Bracket>,
}

/// What would be lost of a class in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassExposure {
    /// Where it would be recovered; `None`: anywhere, for a class of which no member of a data group follows.
    pub region: Option<Label>,
    /// In time, as if the primaries were lost now.
    pub time: Bracket,
    /// From where, for the group that would lose most; `None`: no source is known to give anything.
    pub source: Option<Source>,
    /// The group that would lose most; `None`: the class has none.
    pub group: Option<Label>,
    /// Against `rpo_target`.
    pub standing: Standing,
}

/// What the best source of one group would lose in one region.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    low: Option<Duration>,
    /// And from where; `None`: nobody knows.
    high: Option<(Duration, Source)>,
}

impl Best {
    /// Another source, which is there: whoever recovers takes the better one.
    fn or(self, source: Source, time: Bracket) -> Self {
        let low = self.low.map_or(time.low, |low| low.min(time.low));
        let high = self.high.into_iter().chain(time.high.map(|high| (high, source))).min();
        Self { low: Some(low), high }
    }

    /// More is worse, and what is unknown is worst.
    fn order(&self) -> (bool, Option<Duration>) {
        (self.high.is_none(), self.high.map(|(high, _)| high))
    }
}

impl backups::Standing {
    /// What would be lost of this class, region by region, in order of their names. `groups`: what is known of each; of those that are missing nothing is.
    #[must_use]
    pub fn exposures(&self, groups: &BTreeMap<Label, GroupExposure>) -> Vec<ClassExposure> {
        let nothing = GroupExposure::default();
        let known: Vec<(Option<&Label>, &GroupExposure)> = if self.class.groups.is_empty() {
            vec![(None, &nothing)]
        } else {
            self.class.groups.iter().map(|name| (Some(name), groups.get(name).unwrap_or(&nothing))).collect()
        };
        let mut regions: BTreeSet<Option<&Label>> = known.iter().flat_map(|(_, group)| group.streaming.keys()).map(Some).collect();
        if regions.is_empty() {
            // Nobody has a copy that follows: what is left is the same everywhere.
            regions.insert(None);
        }
        let exposed = |region: Option<&Label>| {
            let best: Vec<_> = known.iter().map(|(name, group)| (*name, self.best(group, region))).collect();
            let (group, worst) = best.iter().copied().max_by_key(|(_, best)| best.order()).unwrap_or_default();
            let high = worst.high.map(|(high, _)| high);
            ClassExposure {
                region: region.cloned(),
                time: Bracket { low: best.iter().filter_map(|(_, best)| best.low).max().unwrap_or_default(), high },
                source: worst.high.map(|(_, source)| source),
                group: group.cloned(),
                standing: Standing::of(high, Some(self.class.rpo_target)),
            }
        };
        regions.into_iter().map(exposed).collect()
    }

    fn best(&self, group: &GroupExposure, region: Option<&Label>) -> Best {
        let mut best = Best::default();
        if let Some(region) = region {
            let there = if group.primary.as_ref() == Some(region) { Some(Bracket::NOTHING) } else { group.streaming.get(region).copied() };
            best = there.map_or(best, |time| best.or(Source::Streaming, time));
        }
        if let Some(time) = group.archive.filter(|_| self.class.is_point_in_time) {
            // It takes a backup to begin with: whether there is one, nobody may know.
            best = best.or(Source::Archive, Bracket { high: time.high.filter(|_| self.age.is_some()), ..time });
        }
        if !self.class.places.is_empty() {
            // A newer one may be where nobody could look.
            let low = self.age.filter(|_| self.is_whole).unwrap_or_default();
            best = best.or(Source::Backup, Bracket { low, high: self.age });
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::time::Timestamp,
        recovery::backups::{Class, Place, Source as Where},
    };

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const fn between(low: u64, high: u64) -> Bracket {
        Bracket { low: seconds(low), high: Some(seconds(high)) }
    }

    fn class(groups: &[&str], is_point_in_time: bool) -> Class {
        let place = Place { source: Where::Directory("/mnt/backups".to_owned()), complete: None, region: None, look_every: seconds(60) };
        Class {
            name: "data".into(),
            frequency: seconds(3600),
            retention: seconds(86_400),
            is_multi_region: false,
            is_encrypted: false,
            is_versioned: false,
            rpo_target: seconds(300),
            is_point_in_time,
            groups: groups.iter().map(|group| Label::new(group)).collect(),
            places: vec![place],
        }
    }

    /// With backups of this age; `None`: none is seen.
    fn standing(class: Class, age: Option<u64>, is_whole: bool) -> backups::Standing {
        backups::Standing { age: age.map(seconds), is_whole, ..backups::Standing::of(class, Vec::new(), Timestamp(0)) }
    }

    fn group(primary: &str, streaming: &[(&str, Bracket)], archive: Option<Bracket>) -> GroupExposure {
        let streaming = streaming.iter().map(|(region, time)| (Label::new(region), *time)).collect();
        GroupExposure { primary: Some(primary.into()), streaming, archive }
    }

    fn told(standing: &backups::Standing, groups: &[(&str, GroupExposure)]) -> Vec<String> {
        let groups = groups.iter().map(|(name, group)| (Label::new(name), group.clone())).collect();
        let line = |it: ClassExposure| {
            let region = it.region.map_or_else(|| "anywhere".to_owned(), |region| region.to_string());
            let source = it.source.map_or("nothing", Source::word);
            let group = it.group.map_or_else(|| "no group".to_owned(), |group| group.to_string());
            format!("{region} {} by {source} of {group}: {}", it.time, it.standing.word())
        };
        standing.exposures(&groups).into_iter().map(line).collect()
    }

    #[test]
    fn the_best_source_of_the_worst_group() {
        let both = standing(class(&["orders", "stock"], true), Some(3000), true);
        let orders = group("us", &[("eu", between(1, 2)), ("ap", between(400, 500))], Some(between(60, 90)));
        let stock = group("eu", &[("us", between(2, 4))], None);
        assert_eq!(
            told(&both, &[("orders", orders.clone()), ("stock", stock.clone())]),
            ["ap 50m by backup of stock: violated", "eu 1s to 2s by streaming of orders: ok", "us 2s to 4s by streaming of stock: ok"],
            "stock has no copy in ap; where a group is written it lacks nothing"
        );
        let alone = standing(class(&["orders"], true), Some(3000), true);
        assert_eq!(told(&alone, &[("orders", orders.clone())])[0], "ap 1m to 1m30s by archive of orders: ok");
        let no_moments = standing(class(&["orders"], false), Some(3000), true);
        assert_eq!(told(&no_moments, &[("orders", orders.clone())])[0], "ap 6m40s to 8m20s by streaming of orders: violated");
        assert_eq!(told(&both, &[("orders", orders)])[1], "eu 50m by backup of stock: violated", "of stock nothing is known");
    }

    #[test]
    fn what_nobody_knows_is_unknown_and_a_doubtful_source_is_no_upper_bound() {
        let unseen = standing(class(&["orders"], true), None, false);
        let streams = group("us", &[("eu", between(1, 2))], Some(between(0, 0)));
        assert_eq!(told(&unseen, &[("orders", streams.clone())]), ["eu 0s to 2s by streaming of orders: ok"], "a backup may be there");
        let silent = group("us", &[("eu", Bracket::UNKNOWN)], Some(between(60, 90)));
        assert_eq!(told(&unseen, &[("orders", silent)]), ["eu unknown by nothing of orders: unknown"]);
        let cut = standing(class(&["orders"], false), Some(3000), false);
        let late = group("us", &[("eu", between(5000, 6000))], None);
        assert_eq!(told(&cut, &[("orders", late)]), ["eu 0s to 50m by backup of orders: violated"], "a newer one may be out of sight");
        let files = standing(class(&[], true), Some(200), true);
        assert_eq!(told(&files, &[]), ["anywhere 3m20s by backup of no group: at_risk"]);
        let nowhere = standing(Class { places: Vec::new(), ..class(&["orders"], true) }, None, false);
        assert_eq!(told(&nowhere, &[]), ["anywhere unknown by nothing of orders: unknown"]);
        assert_eq!(told(&nowhere, &[("orders", streams)]), ["eu 0s to 2s by streaming of orders: ok"]);
    }

    fn truth() -> impl Strategy<Value = (Option<u64>, Bracket)> {
        // What a source would lose, and what is known of it.
        (0..1000_u64, 0..50_u64, proptest::option::of(0..50_u64)).prop_map(|(truth, below, above)| {
            (Some(truth), Bracket { low: seconds(truth.saturating_sub(below)), high: above.map(|above| seconds(truth + above)) })
        })
    }

    proptest! {
        /// Against what each source would really lose.
        #[test]
        fn the_truth_is_in_the_bracket(
            groups in proptest::collection::vec((proptest::option::of(truth()), proptest::option::of(truth())), 1..4),
            backup in 0..1000_u64,
            seen_later in proptest::option::of(0..50_u64),
            is_whole in any::<bool>(),
        ) {
            let names: Vec<String> = (0..groups.len()).map(|n| format!("g{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // Seen whole it is the newest; else a newer one may be out of sight, or all.
            let age = if is_whole { Some(backup) } else { seen_later.map(|later| backup + later) };
            let standing = standing(class(&names, true), age, is_whole);
            let known = names.iter().zip(&groups).map(|(name, (streaming, archive))| {
                let streaming: Vec<_> = streaming.iter().map(|(_, known)| ("eu", *known)).collect();
                (Label::new(name), group("us", &streaming, archive.map(|(_, known)| known)))
            });
            let loss = groups.iter().map(|(streaming, archive)| {
                let sources = [streaming, archive].into_iter().flatten().filter_map(|(truth, _)| *truth);
                sources.chain([backup]).min().unwrap_or(backup)
            });
            let loss = seconds(loss.max().unwrap_or(0));
            for exposed in standing.exposures(&known.collect()) {
                prop_assert!(exposed.time.low <= loss && exposed.time.high.is_none_or(|high| loss <= high), "{loss:?} {exposed:?}");
                prop_assert_eq!(exposed.source.is_none(), exposed.time.high.is_none());
            }
        }
    }
}
