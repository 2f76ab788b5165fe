//! PostgreSQL run by Patroni: one cluster per region, asked and told through its REST API and in no other way.
//!
//! ```text
//!  region us: cluster orders-us            region eu: cluster orders-eu, standby_cluster: us
//!    us-1 leader <-- us-2 replica            eu-1 standby leader <-- eu-2 replica      (Patroni heals inside a region)
//!      ^ REST                                  ^ REST
//!  Patroni::{look, fence, seal, promote, follow} of the agent there
//! ```
//!
//! Which region writes is one key of each cluster's dynamic configuration, `standby_cluster`: without it a member is a primary. So each verb is a
//! `PATCH /config`, and is over when the members themselves show it; a server is never promoted, stopped or pointed elsewhere behind Patroni.
//! SQL is used for one thing, which Patroni does not tell: whether the standby leader receives from somebody (a role with `pg_monitor` does).
//!
//! What Patroni does that matters here, seen with 3.0.2: a cluster that is made a standby kills its primary at once (`immediate`) and starts it as a
//! standby, so what was acknowledged and not shipped is in that copy, and followers fetch it from there; `/primary` answers 200 as soon as the
//! configuration says so, some tenths of a second before the server takes writes; without its store it makes its primary a standby by itself, and
//! a primary again when the store is back; where a region took a timeline of its own with the number that the new primary has, too, it does not see
//! that the lines parted and rewinds nothing; a cluster whose only member was rewound elects no leader, because it is behind the position that was
//! noted, until it is told whom to take (`POST /failover`).
//!
//! Against what Patroni would open by itself stands the *permit*: a file that is there while the agent lets the region write, asked for by Patroni
//! before each promotion (`postgresql.pre_promote: test -e FILE`), on a file system that a reboot empties. It is one host's, so for regions of one
//! member.
//!
//! Invariants: a fence is told only when every member that was ever seen says that it takes no writes: who does not answer proves nothing; the permit
//! goes before anything else of a fence; passwords go to the configured address only, in no argument and no log; every answer ends, in time and
//! octets.
//!
//! No agent stands beside it: `engine: patroni` in a plan is answered with a warning until one does.
//!
//! Absent on purpose: client certificates towards the REST API; `pause`, in which Patroni does nothing that is asked of it here.

mod act;
mod look;
mod rest;
mod said;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use portolan_core::model::ids::Label;
use reqwest::Url;

use super::{Members, Trouble, postgres::ConnInfo};
use rest::Rest;

pub use look::{Received, Seen};
pub use rest::Login;
pub use said::{Role, Status, Wanted};

/// How to reach the Patroni of one region.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Where its REST API is: `https://HOST:PORT`, or http on a loopback address.
    pub url: String,
    /// Who may change the configuration; `None`: everybody may.
    pub login: Option<Login>,
    /// Those that its certificates are signed by; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// Who the agent is to the servers of the region; host and port come from Patroni.
    pub own: ConnInfo,
    /// The file that is there while the region may write; `None`: Patroni asks for none.
    pub permit: Option<PathBuf>,
}

/// One region's cluster, and what is known of the others.
#[derive(Debug)]
pub struct Patroni {
    region: Label,
    base: Url,
    rest: Rest,
    own: ConnInfo,
    permit: Option<PathBuf>,
    /// Host and port of each region.
    members: Mutex<Members>,
    /// Where each member of this region's cluster that was ever listed is asked: one that is listed no more may still write.
    known: Mutex<BTreeMap<String, Url>>,
}

impl Patroni {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The address or the certificates cannot be used.
    pub fn new(setup: Setup) -> Result<Self, Trouble> {
        Ok(Self {
            region: setup.region,
            base: rest::base(&setup.url)?,
            rest: Rest::new(setup.login, setup.authorities.as_deref())?,
            own: setup.own,
            permit: setup.permit,
            members: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// Where the regions are, as the plan says now.
    pub fn set_members(&self, members: Members) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    fn address(&self, region: &Label) -> Result<(String, u16), Trouble> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(region).cloned().ok_or_else(|| Trouble(format!("the plan has no member in {region}")))
    }

    fn region_at(&self, host: &str, port: u16) -> Option<Label> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().find(|(_, (of, at))| of == host && *at == port).map(|(region, _)| region.clone())
    }
}
