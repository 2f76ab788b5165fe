//! Metrics of backups, as this node sees them.
//!
//! What an alert asks: is the newest complete one too old (`portolan_backup_age_seconds`), does anything of a class fail, or is not known
//! (`portolan_backup_standing`), is there a place that this node cannot look at (`portolan_backup_looks_failing`), would a region that recovers lose
//! more than `rpo_target` of a class (`portolan_class_exposure_seconds`). What is unknown is left out, never zero.

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};

use super::metrics::Readings;

/// One class of the backup strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReading {
    /// As in the plan.
    pub class: String,
    /// How old the newest complete one is that is seen; `None`: nobody knows.
    pub age: Option<Duration>,
    /// The worst of its rules: a word of an enum.
    pub standing: &'static str,
    /// Places at which the latest look failed.
    pub looks_failing: u64,
    /// At most so much would be lost of it, by region (`any`: the same everywhere); `None`: nobody knows.
    pub exposures: Vec<(String, Option<Duration>)>,
}

/// Registers the instruments.
pub(super) fn observe(meter: &Meter, readings: &Arc<dyn Readings>) {
    let source = Arc::clone(readings);
    let description = "How old the newest complete backup is that is seen; absent while unknown.";
    let age = meter.f64_observable_gauge("portolan_backup_age_seconds").with_description(description);
    age.with_callback(move |observer| {
        for backup in source.backups() {
            if let Some(age) = backup.age {
                observer.observe(age.as_secs_f64(), &[KeyValue::new("class", backup.class)]);
            }
        }
    })
    .build();
    let source = Arc::clone(readings);
    let description = "At most so much of the class would be lost if it were recovered in this region now; absent while unknown.";
    let exposure = meter.f64_observable_gauge("portolan_class_exposure_seconds").with_description(description);
    exposure
        .with_callback(move |observer| {
            for backup in source.backups() {
                for (region, time) in backup.exposures {
                    if let Some(time) = time {
                        let labels = [KeyValue::new("class", backup.class.clone()), KeyValue::new("region", region)];
                        observer.observe(time.as_secs_f64(), &labels);
                    }
                }
            }
        })
        .build();
    let source = Arc::clone(readings);
    let failing = meter.u64_observable_gauge("portolan_backup_looks_failing").with_description("Places of which the latest look failed.");
    failing
        .with_callback(move |observer| {
            for backup in source.backups() {
                observer.observe(backup.looks_failing, &[KeyValue::new("class", backup.class)]);
            }
        })
        .build();
    let source = Arc::clone(readings);
    let description = "1 for how the class stands against the plan: pass, warn, unknown, fail.";
    let standing = meter.u64_observable_gauge("portolan_backup_standing").with_description(description);
    standing
        .with_callback(move |observer| {
            for backup in source.backups() {
                observer.observe(1, &[KeyValue::new("class", backup.class), KeyValue::new("standing", backup.standing)]);
            }
        })
        .build();
}
