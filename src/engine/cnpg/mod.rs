//! PostgreSQL run by CloudNativePG: one cluster per region, told what to be through its object in the API server of its Kubernetes, and in no other way.
//!
//! ```text
//!  region us: Cluster orders-us                 region eu: Cluster orders-eu, replica.source: us
//!    us-1 primary <-- us-2                        eu-1 first <-- eu-2              (the operator heals inside a region)
//!      ^ GET, PATCH with resourceVersion            ^           ^ SQL to each instance
//!  Cnpg::{probe, call} of the agent there (the contract of `managed`)
//! ```
//!
//! Which region writes is `spec.replica`: a cluster whose `primary` is itself is one, any other follows `source`. So each verb is one merge patch of
//! that section, made of one version of the object and refused of any other, with the annotation `portolan` beside it: the highest token that changed
//! something, below which nothing is changed any more, and whether the region is fenced. What came of it the servers say, over SQL, each for itself.
//!
//! A region that is to follow nobody follows the external cluster `portolan-nobody`, which the agent keeps in the object: port 1 of the server's own
//! machine, under a name that no change before had. A server that shows that name has taken the change in. Other regions are found among
//! `externalClusters` by the address that the plan has for them, which leads to the `-rw` service there: that of the first instance of a replica
//! cluster, too.
//!
//! What is a proof, by the operator's source (1.30):
//! - `cnpg.io/fencedInstances` has whoever runs an instance end its server; no answer of its follows from that. An instance that cannot be asked is
//!   `isPrimary: false` in `instancesReportedState`, as a standby is, and not ready, as one that is down is. So neither is a proof.
//! - `status.demotionToken` is made of `pg_controldata` of the primary's pod, only when that says `shut down`, after that pod has made a standby of its
//!   data (`replicaclusterswitch`). So it proves that this one was ended cleanly, and where. A server that was ended with force leaves none: it is kept
//!   down, and nothing is known of it, until a person lets it up (`kubectl cnpg fencing off`), by then as a standby. The token stays in the object until the cluster is a primary again
//!   by the operator's eyes, so the one that stood there before is noted, and proves nothing.
//! - A loss that nobody planned leaves nothing of the kind: with the region gone, nobody there answers, and no proof exists. Then this never says that it
//!   is fenced, its class is bare, and its failover waits for a rung that confirms, or for a person.
//!
//! Promotion tokens are not handed on: one is in the object of the old primary, in another Kubernetes. What they keep from being lost is kept by the
//! order of steps: a copy is promoted when it has everything up to where the old primary ended. CloudNativePG rewinds no region, so one that had more
//! than the new primary is refused (`RECLONE_REQUIRED`) until a person makes it anew.
//!
//! Invariants: a fence is told only when every instance that has a volume says that it takes no writes, or was the primary and left that token, and the
//! first one has taken in that it follows nobody; a change is refused when another one came since the object was read; a server that is kept down is
//! let up only as a standby; changes are made one after the other, and a look waits for the one that is on its way; the service account's token goes to
//! the API server only, in no log; every answer ends, in time and octets.
//!
//! Absent on purpose: promotion tokens and `minApplyDelay`; watching the object; the operator's lease, which is the promise of one region.

mod act;
mod api;
mod change;
mod look;
mod said;
#[cfg(test)]
mod sample;

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32},
    },
};

use async_trait::async_trait;
use portolan_core::model::ids::Label;

use super::{
    Members, Trouble,
    managed::{self, Key, Manager, Places, Settling, Turns, Verb},
    postgres::{ConnInfo, remote},
};
use api::Api;
use said::Cluster;

/// Where a pod reaches the API server of its Kubernetes.
pub const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// Where one region's cluster is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Of the API server: `https://HOST:PORT`.
    pub api: String,
    /// Of the object.
    pub namespace: String,
    /// Its name.
    pub cluster: String,
    /// With the token of the service account.
    pub token: PathBuf,
    /// With who signs the API server's certificate, as PEM.
    pub authorities: PathBuf,
    /// Who the agent is to the servers of all regions. `host` is a name in their certificates; instances are reached at what the object says.
    pub own: ConnInfo,
}

/// One region's cluster.
#[derive(Debug)]
pub struct Cnpg {
    region: Label,
    api: Api,
    own: ConnInfo,
    members: Places,
    /// Of the object.
    changes: Turns,
    /// Of the last promotion that was asked for: its timeline is above this one.
    above: AtomicU32,
    /// The first instance's server said in the last look that it is a standby.
    is_standby: AtomicBool,
    /// Where the primary's server is, by the last look; `None`: no instance is one.
    primary: Mutex<Option<ConnInfo>>,
    settling: Settling,
}

impl Cnpg {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The address or the certificates cannot be used.
    pub fn new(setup: Setup) -> Result<Self, Trouble> {
        Ok(Self {
            api: Api::new(&setup.api, &setup.namespace, &setup.cluster, setup.token, &setup.authorities)?,
            region: setup.region,
            own: setup.own,
            members: Places::default(),
            changes: Turns::default(),
            above: AtomicU32::new(0),
            is_standby: AtomicBool::new(false),
            primary: Mutex::default(),
            settling: Settling::default(),
        })
    }

    /// The way to an instance's server; `None`: it has no pod. The servers of a cluster have one certificate, which names none of them.
    fn info(&self, cluster: &Cluster, name: &str) -> Option<ConnInfo> {
        let ip = cluster.instances.get(name)?.as_deref()?;
        let own = self.own.clone().with("hostaddr", ip);
        Some(if self.own.get("host").is_some() { own } else { own.with("host", ip) })
    }
}

#[async_trait]
impl Manager for Cnpg {
    fn set_members(&self, members: Members) {
        self.members.set(members);
    }

    async fn probe(&self) -> Result<managed::Seen, Trouble> {
        self.seen().await
    }

    async fn call(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        self.make(verb, key).await
    }

    async fn beat(&self) -> Result<(), Trouble> {
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match primary {
            Some(info) => remote::beat(&info).await,
            None => Ok(()),
        }
    }
}
