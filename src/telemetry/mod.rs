//! What the node tells machines: log lines, metrics, and whether it lives and is ready.
//!
//! Nothing in here decides anything: values come in as closures and atomics that the composition root hands over.
//! Invariant: labels come from the plan or from enums, never from a query or a client, so that their number is bounded.

mod backups;
pub mod cluster;
mod groups;
pub mod http;
pub mod log;
pub mod metrics;

pub use backups::BackupReading;
pub use cluster::{ClusterReading, NoticeReading};
pub use groups::GroupReading;
pub use http::{HttpError, HttpServer, Probes, Readiness};
pub use log::{LogError, LogFormat};
pub use metrics::{DnsReading, Metrics, MetricsError, Readings, RegionReading, ReloadReading, TableReading};
