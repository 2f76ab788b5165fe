//! What metrics read at each scrape.

use std::sync::Arc;

use super::Pictures;
use crate::{
    dns::DnsServer,
    telemetry::{DnsReading, Readings, RegionReading, ReloadReading, TableReading},
};

pub(super) struct DaemonReadings {
    dns: Arc<DnsServer>,
    pictures: Pictures,
}

impl DaemonReadings {
    pub(super) fn new(dns: Arc<DnsServer>, pictures: Pictures) -> Self {
        Self { dns, pictures }
    }
}

impl Readings for DaemonReadings {
    fn dns(&self) -> DnsReading {
        let counters = self.dns.counters();
        DnsReading { queries: counters.by_transport_and_rcode(), truncated: counters.truncated }
    }

    fn regions(&self) -> Vec<RegionReading> {
        self.pictures.regions()
    }

    fn table(&self) -> Option<TableReading> {
        self.pictures.table()
    }

    fn reload(&self) -> Option<ReloadReading> {
        self.pictures.reload()
    }
}
