//! Probes that this node could not make: they count for nothing, so somebody must be told.

use std::time::Duration;

use super::report::{Notice, Severity};
use crate::model::{
    check::{FailureCategory, Observation, Outcome},
    time::Tick,
};

/// How long after the last one people are told.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// What this node is short of.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortage {
    /// Probes not made since the shortage began, the last one and its detail.
    latest: Option<(u32, Tick, String)>,
}

impl Shortage {
    /// Notes a probe that could not be made; `true` when it was one.
    pub(super) fn note(&mut self, observation: &Observation, now: Tick) -> bool {
        let Outcome::Failed(failure) = &observation.outcome else { return false };
        if failure.category != FailureCategory::Local {
            return false;
        }
        let n_before = self.lately(now).map_or(0, |(n, _)| n);
        self.latest = Some((n_before.saturating_add(1), now, failure.detail.clone()));
        true
    }

    fn lately(&self, now: Tick) -> Option<(u32, &str)> {
        let (n, at, detail) = self.latest.as_ref()?;
        (now.since(*at) < TOLD_FOR).then_some((*n, detail))
    }

    /// What people are told; `None` when all probes could be made for a minute.
    pub(super) fn notice(&self, now: Tick) -> Option<Notice> {
        let (n, detail) = self.lately(now)?;
        let text = format!(
            "{n} probes could not be made here, so verdicts stand as they were; the latest: {detail}. Give this process more of it: \
             descriptors (LimitNOFILE), local ports (net.ipv4.ip_local_port_range) or memory"
        );
        Some(Notice { severity: Severity::Warning, kind: "probes_not_made".to_owned(), text })
    }
}
