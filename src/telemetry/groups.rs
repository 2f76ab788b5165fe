//! Metrics of data groups: what would be lost, whether they would be failed over, and what is held.
//!
//! What an alert asks: does a region lack more than `rpo_target` (`portolan_group_exposure_seconds`), does nobody know
//! (`portolan_group_exposure_known`), is a group not ready (`portolan_group_ready`), does an operation wait for a person (`portolan_group_held`).
//! What is unknown is left out, never zero.

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};
use portolan_core::recovery::class_exposure::GroupExposure;

use super::metrics::Readings;

/// One data group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupReading {
    /// As in the plan.
    pub name: String,
    /// What the primary is, as far as its witnesses tell: a word of an enum.
    pub evidence: &'static str,
    /// What would be lost with each other member, and by the archive.
    pub exposed: GroupExposure,
    /// Of each other member's region: at most so far behind is what it has replayed; `None`: nobody knows.
    pub apply_lags: Vec<(String, Option<Duration>)>,
    /// Of each member's region: the end of a lease proves nothing there, because of a clock or a loop that stood still. Silent agents are left out.
    pub doubts: Vec<(String, bool)>,
    /// It would be failed over by itself, as of the last minute; `None`: it was not looked at yet.
    pub ready: Option<bool>,
    /// How long a failover would take; `None`: nobody knows.
    pub predicted: Option<Duration>,
    /// An operation waits for a person, or for what it names.
    pub is_held: bool,
    /// The last drill of each kind that ended: its kind, how long ago, and whether it passed.
    pub drills: Vec<(&'static str, Duration, bool)>,
    /// Since a copy of it was last shown to work; `None`: none ever was.
    pub restored: Option<Duration>,
    /// Since a backup of it was last restored and shown to work; `None`: none ever was.
    pub backup_restored: Option<Duration>,
}

/// Registers the instruments.
pub(super) fn observe(meter: &Meter, readings: &Arc<dyn Readings>) {
    let of_group = |name, description, value: fn(&GroupReading) -> Option<f64>| {
        let source = Arc::clone(readings);
        let gauge = meter.f64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                for group in source.groups() {
                    if let Some(value) = value(&group) {
                        observer.observe(value, &[KeyValue::new("group", group.name)]);
                    }
                }
            })
            .build();
    };
    of_group("portolan_group_ready", "1 while the group would be failed over by itself if its primary were lost.", |group| {
        group.ready.map(|ready| f64::from(u8::from(ready)))
    });
    of_group("portolan_group_held", "1 while an operation on the group waits for a person.", |group| {
        Some(f64::from(u8::from(group.is_held)))
    });
    of_group("portolan_group_recovery_predicted_seconds", "How long a failover would take; absent while a part is unknown.", |group| {
        group.predicted.map(|time| time.as_secs_f64())
    });
    let restored = "How long ago a copy of the group was last opened and shown to work; absent while none ever was.";
    let backup = "How long ago a backup of the group was last restored and shown to work; absent while none ever was.";
    of_group("portolan_group_backup_restored_age_seconds", backup, |group| group.backup_restored.map(|age| age.as_secs_f64()));
    of_group("portolan_group_restored_age_seconds", restored, |group| group.restored.map(|age| age.as_secs_f64()));
    type OfRegions = fn(GroupReading) -> Vec<(String, Option<Duration>)>;
    let of_region = |name, description, times: OfRegions, value: fn(Option<Duration>) -> Option<f64>| {
        let source = Arc::clone(readings);
        let gauge = meter.f64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                for group in source.groups() {
                    let name = group.name.clone();
                    for (region, time) in times(group) {
                        if let Some(value) = value(time) {
                            observer.observe(value, &[KeyValue::new("group", name.clone()), KeyValue::new("region", region)]);
                        }
                    }
                }
            })
            .build();
    };
    let exposures: OfRegions = |group| {
        let regions = group.exposed.streaming.into_iter();
        regions.map(|(region, time)| (region.to_string(), time.high)).collect()
    };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let lost = "At most so much would be lost if this region took over now; absent while unknown.";
    of_region("portolan_group_exposure_seconds", lost, exposures, seconds);
    of_region("portolan_group_exposure_known", "1 while it is known what would be lost with this region.", exposures, |it| {
        Some(f64::from(u8::from(it.is_some())))
    });
    let behind = "At most so far behind is what this region has replayed, which a recovery waits for; absent while unknown.";
    of_region("portolan_group_apply_lag_seconds", behind, |group| group.apply_lags, seconds);
    let of_drill = |name, description, value: fn(Duration, bool) -> f64| {
        let source = Arc::clone(readings);
        let gauge = meter.f64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                for group in source.groups() {
                    for (kind, age, passed) in group.drills {
                        observer.observe(value(age, passed), &[KeyValue::new("group", group.name.clone()), KeyValue::new("kind", kind)]);
                    }
                }
            })
            .build();
    };
    of_drill("portolan_drill_age_seconds", "How long ago the last drill of this kind ended; absent while there was none.", |age, _| {
        age.as_secs_f64()
    });
    of_drill("portolan_drill_passed", "1 when the last drill of this kind passed; 0 also when it was missed.", |_, passed| {
        f64::from(u8::from(passed))
    });
    let source = Arc::clone(readings);
    let doubts = meter.u64_observable_gauge("portolan_group_lease_doubted").with_description(
        "1 while the end of a lease proves nothing in the region: a clock runs badly, or an agent or supervisor stood still.",
    );
    doubts
        .with_callback(move |observer| {
            for group in source.groups() {
                for (region, is_so) in group.doubts {
                    observer.observe(u64::from(is_so), &[KeyValue::new("group", group.name.clone()), KeyValue::new("region", region)]);
                }
            }
        })
        .build();
    let source = Arc::clone(readings);
    let evidence = meter.u64_observable_gauge("portolan_group_evidence").with_description("1 for what the group's primary is now.");
    evidence
        .with_callback(move |observer| {
            for group in source.groups() {
                observer.observe(1, &[KeyValue::new("group", group.name), KeyValue::new("evidence", group.evidence)]);
            }
        })
        .build();
}
