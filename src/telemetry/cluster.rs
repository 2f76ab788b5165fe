//! Metrics of the node among others: who leads, who can be reached, what is agreed, and what status warns of.
//!
//! What an alert asks: is there a leader (`portolan_cluster_leader_known`), do all nodes run the same plan (`portolan_plan_revision` beside
//! `portolan_cluster_plan_revision`), which orders hold (`portolan_overrides`), what is wrong (`portolan_notice`).
//! Absent on purpose: names of nodes as labels; they come and go, and `portolan peers` has them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};

use super::metrics::{Readings, approximate};

/// What is agreed, and with whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterReading {
    /// Whether a leader is known.
    pub is_leader_known: bool,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Since somebody with a leader last spoke; `None`: nobody did since the start.
    pub silence: Option<Duration>,
    /// Of the latest election that this node knows.
    pub term: u64,
    /// The last log entry that this node applied; `None`: none yet.
    pub applied: Option<u64>,
    /// The recovery generation.
    pub generation: u64,
    /// Voters that this node knows of.
    pub voters: u64,
    /// Those of them that it reaches, itself included; `None`: it does not vote.
    pub voters_reachable: Option<u32>,
    /// Links to other nodes that stand.
    pub links: u64,
    /// How far this node's wall clock is off its peers' at most; `None`: it has heard no peer's.
    pub clock_offset_max: Option<Duration>,
    /// Revision of the agreed plan; `None`: none is agreed.
    pub plan_revision: Option<u64>,
    /// Revision of the plan that this node runs; `None`: none yet.
    pub running_revision: Option<u64>,
    /// Orders in force by kind, those that hold without a majority included.
    pub overrides: BTreeMap<&'static str, u64>,
}

/// Something that status warns of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeReading {
    /// `plan_drift`, `no_quorum`, …: words from the source, so that their number is bounded.
    pub kind: String,
    /// `info`, `warning`, `critical`.
    pub severity: &'static str,
    /// How many of the kind.
    pub count: u64,
}

/// Registers the instruments.
pub(super) fn observe(meter: &Meter, readings: &Arc<dyn Readings>) {
    let gauge = |name, description, value: fn(&ClusterReading) -> Option<f64>| {
        let source = Arc::clone(readings);
        let gauge = meter.f64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                if let Some(value) = value(&source.cluster()) {
                    observer.observe(value, &[]);
                }
            })
            .build();
    };
    gauge("portolan_cluster_leader_known", "1 while this node knows a leader; without one nothing can be agreed.", |it| {
        Some(f64::from(u8::from(it.is_leader_known)))
    });
    gauge("portolan_cluster_is_leader", "1 while this node leads.", |it| Some(f64::from(u8::from(it.is_leader))));
    gauge("portolan_cluster_leader_silence_seconds", "Since this node last heard of a leader.", |it| Some(it.silence?.as_secs_f64()));
    gauge("portolan_cluster_term", "Of the latest election that this node knows.", |it| Some(approximate(it.term)));
    gauge("portolan_cluster_applied_index", "The last log entry that this node applied.", |it| Some(approximate(it.applied?)));
    gauge("portolan_cluster_generation", "How often a lost majority was left behind.", |it| Some(approximate(it.generation)));
    gauge("portolan_cluster_voters", "Voters that this node knows of.", |it| Some(approximate(it.voters)));
    gauge("portolan_cluster_voters_reachable", "Voters that this voter reaches, itself included.", |it| {
        Some(f64::from(it.voters_reachable?))
    });
    gauge("portolan_cluster_links", "Links to other nodes that stand.", |it| Some(approximate(it.links)));
    gauge("portolan_cluster_plan_revision", "Revision of the agreed plan.", |it| Some(approximate(it.plan_revision?)));
    gauge("portolan_plan_revision", "Revision of the plan that this node runs.", |it| Some(approximate(it.running_revision?)));
    gauge("portolan_clock_offset_max_seconds", "How far the wall clocks of this node and a peer are apart, at most.", |it| {
        Some(it.clock_offset_max?.as_secs_f64())
    });
    let source = Arc::clone(readings);
    let overrides = meter.u64_observable_gauge("portolan_overrides").with_description("Orders in force by kind.");
    overrides
        .with_callback(move |observer| {
            for (kind, count) in source.cluster().overrides {
                observer.observe(count, &[KeyValue::new("kind", kind)]);
            }
        })
        .build();
    let source = Arc::clone(readings);
    let notices = meter.u64_observable_gauge("portolan_notice").with_description("Things that status warns of.");
    notices
        .with_callback(move |observer| {
            for notice in source.notices() {
                observer.observe(notice.count, &[KeyValue::new("kind", notice.kind), KeyValue::new("severity", notice.severity)]);
            }
        })
        .build();
}
