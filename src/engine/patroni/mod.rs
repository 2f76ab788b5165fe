//! PostgreSQL run by Patroni: one cluster per region, asked and told through its REST API and in no other way.
//!
//! ```text
//!  region us: cluster orders-us            region eu: cluster orders-eu, standby_cluster: us
//!    us-1 leader <-- us-2 replica            eu-1 standby leader <-- eu-2 replica      (Patroni heals inside a region)
//!      ^ REST                                  ^ REST
//!  Patroni::{probe, call} of the agent there (the contract of `managed`)
//! ```
//!
//! Which region writes is one key of each cluster's dynamic configuration, `standby_cluster`: without it a member is a primary. So each verb is a
//! `PATCH /config`, and is over when the members themselves show it; a server is never promoted, stopped or pointed elsewhere behind Patroni.
//! Beside it stands the key `portolan`: the highest token that changed something, below which nothing is changed any more, and whether the region is
//! fenced. SQL is used for what Patroni does not tell: whether the standby leader receives from somebody, its timeline, and the lease in the database.
//!
//! A region is followed at the address that the plan has for it, which leads to whoever leads its cluster (`GET /leader` of each Patroni tells that to
//! a balancer). So a failover inside a region changes nothing here: while no member is known to write, nothing is known of the region, and nobody acts
//! on that before the lease ends, or before `local_recovery` of the plan is over, which is longer than Patroni's `ttl`.
//!
//! What Patroni does that matters here, seen with 3.0.2: a cluster that is made a standby kills its primary at once (`immediate`) and starts it as a
//! standby, so what was acknowledged and not shipped is in that copy, and followers fetch it from there; `/primary` answers 200 as soon as the
//! configuration says so, some tenths of a second before the server takes writes; without its store it makes its primary a standby by itself, and
//! a primary again when the store is back; where a region took a timeline of its own with the number that the new primary has, too, it does not see
//! that the lines parted and rewinds nothing; a cluster whose only member was rewound elects no leader, because it is behind the position that was
//! noted, until it is told whom to take (`POST /failover`).
//!
//! Against what Patroni would open by itself stands the *permit*: a file that is there while the agent lets the region write, asked for by Patroni
//! before each promotion (`postgresql.pre_promote: test -e FILE`), on a file system that a reboot empties. The agent writes it anew with each heartbeat,
//! so `find` may ask how old it is, and an agent that is gone permits nothing for long. It is one host's, so for regions of one member.
//!
//! What its source (3.0.2) adds: a turn of its loop promotes by the configuration that it read when it began, after up to `retry_timeout` for its store,
//! and does not look again; `PATCH` has no condition but that nothing comes between its own reading and writing. So neither a configuration nor a member
//! that takes no writes proves that none will: that is shown by the leader's server, which follows the address of this very decision, because the
//! loop that had it do so takes one turn after the other.
//!
//! Invariants: a fence is told only when every member that was ever seen says that it takes no writes: who does not answer proves nothing, and who was
//! seen is on disk; and when the leader's Patroni has taken it in, whoever else runs follows another member, and no change to let it write is on its
//! way without an answer (so `patroni: urls` are addresses of single Patronis, not of a balancer); where a region ended is told when whoever wrote last
//! has replayed what it had, and nobody has more; the permit goes before anything else of a fence; changes are made one after the other, and a look waits for the one that is on its
//! way; passwords go to the configured addresses only, in no argument and no log; every answer ends, in time and octets.
//!
//! Absent on purpose: client certificates towards the REST API; `pause`, in which Patroni does nothing that is asked of it here.

mod act;
mod known;
mod late;
mod look;
mod permit;
mod rest;
mod said;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use portolan_core::{failover::token::Token, model::ids::Label};
use reqwest::Url;
use tokio::time::Instant;
use tracing::warn;

use super::{
    Members, Trouble,
    managed::{self, Key, Manager, Places, Settling, Turns, Verb},
    postgres::{ConnInfo, remote},
};
use known::Known;
use late::Late;
use look::Wrote;
use permit::Permit;
use rest::Rest;
use said::Listed;

pub use rest::Login;

/// At which nobody listens, on the machine itself.
const NOBODY_PORT: u16 = 1;

/// A place at which nobody listens, so that whoever follows it receives nothing: port 1 of the machine itself, at an address of loopback that no other
/// decision of the last millions has. So a server that follows it shows by which decision its Patroni has it follow nobody.
fn nobody(token: Token) -> (String, u16) {
    // Twenty-two bits, and never the first or the last address of 127/8.
    let number = token.epoch.wrapping_add(token.generation.wrapping_mul(0x0009_E377)) & 0x003F_FFFF;
    let [_, high, middle, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    (format!("127.{}.{middle}.{low}", high + 64), NOBODY_PORT)
}

/// Whether that is such a place, of whichever decision.
fn is_nobody(host: &str, port: u16) -> bool {
    port == NOBODY_PORT && host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// How to reach the Patroni of one region.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which member of the group it is.
    pub region: Label,
    /// Where REST APIs of its members are, each of one of them: `https://HOST:PORT`, or http on a loopback address. The first that answers is asked.
    pub urls: Vec<String>,
    /// Who may change the configuration; `None`: everybody may.
    pub login: Option<Login>,
    /// Those that its certificates are signed by; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// Who the agent is to the servers of all regions; host and port come from Patroni, and from the plan.
    pub own: ConnInfo,
    /// The file that is there while the region may write; `None`: Patroni asks for none.
    pub permit: Option<PathBuf>,
    /// Where it is kept who was ever a member. Must outlive the agent.
    pub directory: PathBuf,
}

/// One region's cluster, and what is known of the others.
#[derive(Debug)]
pub struct Patroni {
    region: Label,
    bases: Vec<Url>,
    /// Which of them is asked first: whom the leader has, or who answered last.
    first: AtomicUsize,
    rest: Rest,
    own: ConnInfo,
    permit: Permit,
    known: Known,
    late: Arc<Late>,
    /// The highest token by which its Patroni took a change.
    taken: Mutex<Token>,
    /// Who wrote last.
    wrote: Mutex<Wrote>,
    members: Places,
    /// Of the configuration.
    changes: Turns,
    /// Of the last promotion that was asked for: its timeline is above this one.
    above: AtomicU32,
    /// By which token a promotion had to be made again, and where the first one left what was sealed.
    left: Mutex<Option<(Token, u64)>>,
    /// Where the primary's server is, by the last look; `None`: no member is one.
    primary: Mutex<Option<ConnInfo>>,
    /// Since when nobody leads its cluster; `None`: somebody does.
    leaderless_since: tokio::sync::Mutex<Option<Instant>>,
    settling: Settling,
    /// Why the leader's server said nothing to the last look that asked it; `None`: it did.
    silence: Mutex<Option<Trouble>>,
}

impl Patroni {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// An address, the certificates or what was kept cannot be used.
    pub fn new(setup: Setup) -> Result<Self, Trouble> {
        Ok(Self {
            bases: setup.urls.iter().map(|url| rest::base(url)).collect::<Result<_, _>>()?,
            first: AtomicUsize::new(0),
            rest: Rest::new(setup.login, setup.authorities.as_deref())?,
            own: setup.own,
            permit: Permit(setup.permit),
            known: Known::open(Path::new(&setup.directory))?,
            late: Arc::new(Late::open(Path::new(&setup.directory))?),
            taken: Mutex::default(),
            wrote: Mutex::default(),
            region: setup.region,
            members: Places::default(),
            changes: Turns::default(),
            above: AtomicU32::new(0),
            left: Mutex::default(),
            primary: Mutex::default(),
            leaderless_since: tokio::sync::Mutex::default(),
            settling: Settling::default(),
            silence: Mutex::default(),
        })
    }

    /// Those that are asked, in order.
    fn in_order(&self) -> Vec<Url> {
        let first = self.first.load(Relaxed).min(self.bases.len().saturating_sub(1));
        let (before, from) = self.bases.split_at(first);
        from.iter().chain(before).cloned().collect()
    }

    /// This one is asked first from now on, if it is one of those that are configured: what a leader is told it does at once.
    fn prefer(&self, base: &Url) {
        if let Some(place) = self.bases.iter().position(|it| it == base) {
            self.first.store(place, Relaxed);
        }
    }

    /// The way to a member's server.
    fn info(&self, member: &Listed) -> Result<ConnInfo, Trouble> {
        let (host, port) = member.server.as_ref().ok_or_else(|| Trouble("Patroni does not say where the server is".to_owned()))?;
        Ok(self.own.clone().with("host", host).with("port", &port.to_string()))
    }

    /// Each reason once, until there is another one.
    fn note_silence(&self, name: &str, why: Option<&Trouble>) {
        let mut told = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != why {
            if let Some(why) = why {
                warn!(region = %self.region, "the server of {name} says nothing: {why}");
            }
            *told = why.cloned();
        }
    }
}

#[async_trait]
impl Manager for Patroni {
    fn set_members(&self, members: Members) {
        self.members.set(members);
    }

    async fn probe(&self) -> Result<managed::Seen, Trouble> {
        self.seen().await
    }

    async fn call(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        self.make(verb, key).await
    }

    /// The permit goes on with it.
    async fn beat(&self) -> Result<(), Trouble> {
        self.permit.renew()?;
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match primary {
            Some(info) => remote::beat(&info).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_has_a_nowhere_of_its_own() {
        let at = |generation, epoch| nobody(Token { generation, epoch });
        assert_eq!(at(0, 258), ("127.64.1.2".to_owned(), 1));
        let places = [at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(0, 0x003F_FFFF), at(u64::MAX, u64::MAX)];
        for (n, place) in places.iter().enumerate() {
            assert!(is_nobody(&place.0, place.1), "{place:?}");
            assert!(!places[..n].contains(place), "{place:?}");
        }
        for (host, port) in [("127.0.0.1", 5432), ("10.0.0.1", 1), ("localhost", 1), ("::1", 1)] {
            assert!(!is_nobody(host, port), "{host} {port}");
        }
    }
}
