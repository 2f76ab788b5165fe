//! When the shares of services in slow start change next, in order of time: asked at each turn, so never walked.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ids::ServiceIdx, time::Timestamp};

/// At most one time per service.
#[derive(Clone, Debug, Default)]
pub(super) struct Ramps {
    by_service: BTreeMap<ServiceIdx, Timestamp>,
    by_time: BTreeSet<(Timestamp, ServiceIdx)>,
}

impl Ramps {
    /// Replaces the time of a service; `None`: its shares stay as they are.
    pub(super) fn set(&mut self, service: ServiceIdx, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.by_service.insert(service, at),
            None => self.by_service.remove(&service),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, service));
        }
        if let Some(at) = at {
            self.by_time.insert((at, service));
        }
    }

    /// The services whose shares have changed by now.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = ServiceIdx> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).map(|(_, service)| *service)
    }

    /// The next change of all.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn clear(&mut self) {
        self.by_service.clear();
        self.by_time.clear();
    }
}
