//! What metrics read at each scrape.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::model::ids::Label;

use super::{Clock, Pictures, backups::Backups, cluster::Cluster};
use crate::{
    dns::DnsServer,
    latest::Latest,
    telemetry::{
        BackupReading, ClusterReading, DnsReading, GroupReading, NoticeReading, Readings, RegionReading, ReloadReading, TableReading,
    },
};

pub(super) struct DaemonReadings {
    dns: Arc<DnsServer>,
    pictures: Pictures,
    cluster: Cluster,
    clock: Arc<Clock>,
    backups: Backups,
}

impl DaemonReadings {
    pub(super) fn new(dns: Arc<DnsServer>, pictures: Pictures, cluster: Cluster, clock: Arc<Clock>, backups: Backups) -> Self {
        Self { dns, pictures, cluster, clock, backups }
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

    fn cluster(&self) -> ClusterReading {
        let (cluster, now) = (&self.cluster, self.clock.now());
        let truth = cluster.truth().latest();
        let mut overrides = BTreeMap::new();
        let held = cluster.local().all(now.wall);
        for order in truth.state.overrides().iter().chain(&held).filter(|order| order.is_in_force(now.wall)) {
            *overrides.entry(order.kind.word()).or_default() += 1;
        }
        ClusterReading {
            is_leader_known: truth.leader.is_some(),
            is_leader: truth.leader == Some(cluster.id()),
            silence: cluster.silence(&truth, now.tick),
            term: cluster.term(),
            applied: truth.next.checked_sub(1),
            generation: truth.state.generation(),
            voters: u64::try_from(cluster.n_voters()).unwrap_or(u64::MAX),
            voters_reachable: cluster.voters_reachable(),
            links: u64::try_from(cluster.linked().len()).unwrap_or(u64::MAX),
            clock_offset_max: cluster.clocks().values().map(|ahead| Duration::from_millis(ahead.unsigned_abs())).max(),
            plan_revision: truth.state.plan().map(|agreed| agreed.plan.revision),
            running_revision: cluster.running(),
            overrides,
        }
    }

    fn groups(&self) -> Vec<GroupReading> {
        self.cluster.groups()
    }

    fn backups(&self) -> Vec<BackupReading> {
        let groups = self.cluster.groups().into_iter().map(|group| (Label::new(&group.name), group.exposed));
        self.backups.readings(&groups.collect())
    }

    fn notices(&self) -> Vec<NoticeReading> {
        self.pictures.notices()
    }
}
