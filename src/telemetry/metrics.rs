//! All instruments of the node, in one place: OpenTelemetry in, Prometheus text out.
//!
//! Names are those that stand in `tests/data/metrics.txt`; alerts and dashboards rely on them. What happens rarely (a probe, a table) is
//! recorded when it happens; what happens per query, and what is a state, is read when somebody scrapes.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use portolan_core::model::{check::FailureCategory, time::Timestamp};
use prometheus::{Registry, TextEncoder};

use super::{
    backups::{self, BackupReading},
    cluster::{self, ClusterReading, NoticeReading},
    groups::{self, GroupReading},
};

/// Upper bounds in seconds: a probe takes from a local round trip to the longest timeout.
const PROBE_BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Upper bounds in seconds: a table is built in under 5 ms after a verdict, in under 1 s from a plan.
const TABLE_BOUNDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// States and per-query counts, read at each scrape. Called from the scrape's thread: no locks that the query path takes, no waiting.
pub trait Readings: Send + Sync + 'static {
    /// Counts of the DNS server since the start.
    fn dns(&self) -> DnsReading;
    /// One entry per region of the plan in force.
    fn regions(&self) -> Vec<RegionReading>;
    /// The table in force; `None`: there is none yet.
    fn table(&self) -> Option<TableReading>;
    /// The latest reload of plan or config; `None`: none since the start.
    fn reload(&self) -> Option<ReloadReading>;
    /// What is agreed, and with whom.
    fn cluster(&self) -> ClusterReading;
    /// One entry per data group of the plan in force.
    fn groups(&self) -> Vec<GroupReading>;
    /// One entry per class of the backup strategy of the plan in force.
    fn backups(&self) -> Vec<BackupReading>;
    /// What status warns of.
    fn notices(&self) -> Vec<NoticeReading>;
}

/// Counts of the DNS server since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsReading {
    /// Transport (`udp`, `tcp`), response code (`NOERROR`, …), answers. Words from enums only.
    pub queries: Vec<(&'static str, &'static str, u64)>,
    /// Answers with the TC bit.
    pub truncated: u64,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionReading {
    /// As in the plan.
    pub name: String,
    /// Whether any endpoint in it is up.
    pub up: bool,
    /// How many are.
    pub endpoints_up: u32,
    /// The cluster that runs there, as the plan labels it; `None`: it does not.
    pub cluster: Option<String>,
    /// What fails as one, likewise.
    pub failure_domain: Option<String>,
}

/// The table in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableReading {
    /// Its number.
    pub generation: u64,
    /// Since it was built or confirmed.
    pub age: Duration,
}

/// The latest reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadReading {
    /// Whether it was accepted.
    pub successful: bool,
    /// When the latest accepted one was; `None`: none was.
    pub succeeded_at: Option<Timestamp>,
}

/// Why metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refused its registry.
    #[error("set up the metrics exporter: {0}")]
    Setup(String),
    /// The text could not be made.
    #[error("write metrics: {0}")]
    Write(#[from] prometheus::Error),
}

/// The instruments. Cheap to share by [`Arc`]; two of them in one process do not meet.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    probes: Counter<u64>,
    probe_failures: Counter<u64>,
    probe_duration: Histogram<f64>,
    table_build: Histogram<f64>,
}

impl Metrics {
    /// Makes all instruments; `readings` is asked at each scrape.
    ///
    /// # Errors
    /// [`MetricsError::Setup`].
    pub fn new(readings: Arc<dyn Readings>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        // Names are written in full below, so that they can be searched for.
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_units().without_counter_suffixes();
        let exporter = exporter.without_target_info().scope_info_enabled(false).build();
        let exporter = exporter.map_err(|error| MetricsError::Setup(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_resource(Resource::builder_empty().build()).with_reader(exporter).build();
        let meter = provider.meter("portolan");
        observe_dns(&meter, &readings);
        observe_regions(&meter, &readings);
        observe_state(&meter, &readings);
        cluster::observe(&meter, &readings);
        groups::observe(&meter, &readings);
        backups::observe(&meter, &readings);
        let histogram = |name, description, bounds: &[f64]| {
            meter.f64_histogram(name).with_description(description).with_boundaries(bounds.to_vec()).build()
        };
        Ok(Self {
            probes: meter.u64_counter("portolan_probe_total").with_description("Probes by kind and outcome.").build(),
            probe_failures: meter.u64_counter("portolan_probe_failures_total").with_description("Failed probes by category.").build(),
            probe_duration: histogram("portolan_probe_duration_seconds", "How long probes took in all.", &PROBE_BOUNDS),
            table_build: histogram("portolan_table_build_seconds", "From a verdict or plan to the new table in force.", &TABLE_BOUNDS),
            registry,
            provider,
        })
    }

    /// Counts a finished probe. `kind` is the word of its kind; `failure` is `None` when it passed.
    pub fn probe(&self, kind: &'static str, failure: Option<FailureCategory>, took: Duration) {
        let outcome = if failure.is_none() { "passed" } else { "failed" };
        self.probes.add(1, &[KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)]);
        if let Some(category) = failure {
            self.probe_failures.add(1, &[KeyValue::new("category", category.word())]);
        }
        self.probe_duration.record(took.as_secs_f64(), &[KeyValue::new("kind", kind)]);
    }

    /// Counts a table that came into force.
    pub fn table_built(&self, took: Duration) {
        self.table_build.record(took.as_secs_f64(), &[]);
    }

    /// All metrics as Prometheus text (exposition format 0.0.4).
    ///
    /// # Errors
    /// [`MetricsError::Write`].
    pub fn text(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        // Lets go of the callbacks, and with them of the readings; a second shutdown is no error worth a word.
        let _ = self.provider.shutdown();
    }
}

fn observe_dns(meter: &Meter, readings: &Arc<dyn Readings>) {
    let source = Arc::clone(readings);
    let queries = meter.u64_observable_counter("portolan_dns_queries_total").with_description("Answered queries by transport and code.");
    queries
        .with_callback(move |observer| {
            for (transport, rcode, count) in source.dns().queries {
                observer.observe(count, &[KeyValue::new("transport", transport), KeyValue::new("rcode", rcode)]);
            }
        })
        .build();
    let source = Arc::clone(readings);
    let truncated = meter.u64_observable_counter("portolan_dns_truncated_total").with_description("Answers cut to fit into UDP.");
    truncated.with_callback(move |observer| observer.observe(source.dns().truncated, &[])).build();
}

fn observe_regions(meter: &Meter, readings: &Arc<dyn Readings>) {
    let gauge = |name, description, value: fn(&RegionReading) -> u64| {
        let source = Arc::clone(readings);
        let gauge = meter.u64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                for region in source.regions() {
                    observer.observe(value(&region), &[KeyValue::new("region", region.name)]);
                }
            })
            .build();
    };
    gauge("portolan_region_up", "1 while any endpoint of the region is up.", |region| region.up.into());
    gauge("portolan_endpoints_up", "Endpoints of the region that are up.", |region| region.endpoints_up.into());
    let source = Arc::clone(readings);
    let info = meter.u64_observable_gauge("portolan_region_info").with_description("Always 1; the labels say what the plan calls it.");
    info.with_callback(move |observer| {
        for RegionReading { name, cluster, failure_domain, .. } in source.regions() {
            let known = [("region", Some(name)), ("cluster", cluster), ("failure_domain", failure_domain)];
            let labels: Vec<KeyValue> = known.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))).collect();
            observer.observe(1, &labels);
        }
    })
    .build();
}

fn observe_state(meter: &Meter, readings: &Arc<dyn Readings>) {
    let gauge = |name, description, value: fn(&dyn Readings) -> Option<f64>| {
        let source = Arc::clone(readings);
        let gauge = meter.f64_observable_gauge(name).with_description(description);
        gauge
            .with_callback(move |observer| {
                if let Some(value) = value(&*source) {
                    observer.observe(value, &[]);
                }
            })
            .build();
    };
    gauge("portolan_table_generation", "Number of the table that answers come from.", |source| {
        Some(approximate(source.table()?.generation))
    });
    gauge("portolan_table_age_seconds", "Since that table was built or confirmed.", |source| Some(source.table()?.age.as_secs_f64()));
    gauge("portolan_config_last_reload_successful", "1 if the latest reload of plan or config was accepted.", |source| {
        Some(f64::from(u8::from(source.reload()?.successful)))
    });
    gauge("portolan_config_last_reload_timestamp_seconds", "When the latest accepted reload was.", |source| {
        let millis = source.reload()?.succeeded_at?.0;
        Some(approximate(u64::try_from(millis).ok()?) / 1000.0)
    });
    let info = meter.u64_observable_gauge("portolan_build_info").with_description("Always 1; the labels say what runs.");
    info.with_callback(|observer| observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))])).build();
}

/// Metrics are floating point by their format.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53: table generations and milliseconds stay far below")]
pub(super) fn approximate(value: u64) -> f64 {
    value as f64
}
