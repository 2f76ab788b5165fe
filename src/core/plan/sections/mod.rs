//! What may be written in a plan: one table per section.

mod data;
mod health;
mod operations;
mod recovery;
mod region;
mod service;
mod zone;

pub use data::*;
pub use health::*;
pub use operations::*;
pub use recovery::*;
pub use region::*;
pub use service::*;
pub use zone::*;

use crate::{
    document::Table,
    model::{ids::Label, name::Name},
    section, words,
};

words! {
    /// What automation may do to data and to other people's DNS; our own DNS answers always follow health.
    pub enum ModeWord("a mode") {
        /// Look and report.
        Observe = "observe",
        /// Say what should be done.
        Recommend = "recommend",
        /// Do it.
        Act = "act",
    }
}

section! {
    /// The whole plan: what the world shall be.
    pub struct Plan {
        /// Version of this format.
        version: u32 where (1..=1) = 1,
        /// Raised with every change: an equal revision with other content, or a lower one, is refused.
        revision: u64 = 0,
        /// Name of the whole, in every page, metric and deduplication key.
        name: Option<Label> = None,
        /// What automation may do to data and to other people's DNS. Left out: act where automatic failover is on and the group is armed and ready, else recommend.
        mode: Option<ModeWord> = None,
        /// The places where the product runs, at most 32.
        regions: Table<Label, Region>,
        /// Weight, priority and health checks per region, for every service that does not say otherwise.
        traffic_routing: Table<Label, Routing> = Table::default(),
        /// What all health checks have in common.
        health_check_defaults: HealthChecks = HealthChecks::default(),
        /// Health checks with a name, to be used by endpoints and by calculated checks.
        checks: Table<Label, HealthChecks> = Table::default(),
        /// How observers look.
        vantage: Option<Vantage> = None,
        /// The DNS zones that are answered for, by their apex.
        zones: Table<Name, Zone> = Table::default(),
        /// The names whose answer is steered.
        services: Table<Label, Service> = Table::default(),
        /// The databases that have one primary.
        data_groups: Table<Label, DataGroup> = Table::default(),
        /// Kept empty: the word of the first plan documents; groups stand in `data_groups`.
        data_replication: Empty = Empty {},
        /// Kept empty: the word of the first plan documents; what happens at a failure stands in `disaster_recovery` and `data_groups`.
        failover_strategy: Empty = Empty {},
        /// Targets and rules of disaster recovery.
        disaster_recovery: Option<DisasterRecovery> = None,
        /// Where each class of the backup strategy can be seen.
        backups: Table<Label, Vec<Backup>> = Table::default(),
        /// What replaces the built-in meaning of a validation step.
        validation: Table<Label, Validation> = Table::default(),
        /// Where the figures of rollback triggers come from.
        signals: Signals = Signals::default(),
        /// Limits on what automation and people may do.
        guardrails: Guardrails = Guardrails::default(),
        /// Other people's DNS that is kept in step.
        publish: Publish = Publish::default(),
        /// Who is told.
        notifications: Notifications = Notifications::default(),
    }
}

section! {
    /// A section that must be empty: `{}`.
    pub struct Empty {}
}
