//! How the server is set, and what the other members say to this one when it logs in there as it would to follow.
//!
//! The others are asked beside the looks, now and then: one that is away delays none of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use portolan_core::{
    failover::engine::postgres::{LIMITS, Peer, Peers, Settings, slot_of},
    model::ids::Label,
};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Row};

use super::{
    ConnInfo, Postgres, Trouble,
    connect::{connect, told},
    look::get,
};

/// Between two rounds of questions to the others: settings and passwords change seldom.
const EVERY: Duration = Duration::from_secs(30);

/// The same while one of them lets nobody in: it may just have been started.
const AGAIN: Duration = Duration::from_secs(5);

/// For all questions to one of them.
const ANSWER: Duration = Duration::from_secs(5);

/// Before the limits, which come in the order of [`LIMITS`].
const OWN: &str = "current_setting('server_version_num')::bigint, current_setting('data_checksums') = 'on', \
    current_setting('wal_log_hints') = 'on', current_setting('full_page_writes') = 'on', current_setting('wal_level') <> 'minimal', \
    (select setting::bigint from pg_settings where name = 'wal_keep_size'), current_setting('max_wal_senders')::bigint, \
    (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size')";

/// The same of another member; the functions are those that `pg_rewind` reads with.
const THERE: &str = "current_setting('server_version_num')::bigint, \
    (select rolreplication or rolsuper from pg_roles where rolname = current_user), \
    has_function_privilege('pg_ls_dir(text, boolean, boolean)', 'execute') and \
    has_function_privilege('pg_stat_file(text, boolean)', 'execute') and \
    has_function_privilege('pg_read_binary_file(text)', 'execute') and \
    has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'execute'), \
    exists (select from pg_replication_slots where slot_name = $1 and wal_status is distinct from 'lost')";

/// What the others said, and when they were asked last.
#[derive(Debug, Default)]
struct Asked {
    at: Option<Instant>,
    said: Peers,
}

/// What is known of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Others(Arc<Mutex<Asked>>);

impl Postgres {
    /// What the others said last. Asks them again, beside everything else, when that is long ago.
    pub(super) fn others(&self) -> Peers {
        let mut asked = self.others.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let regions: Vec<Label> = members.keys().filter(|region| **region != self.setup.region).cloned().collect();
        drop(members);
        let pause = if asked.said.values().any(Result::is_err) { AGAIN } else { EVERY };
        if asked.at.is_none_or(|at| at.elapsed() >= pause) && !regions.is_empty() {
            asked.at = Some(Instant::now());
            let ways: Vec<(Label, ConnInfo)> =
                regions.iter().filter_map(|region| Some((region.clone(), self.conninfo(region).ok()?))).collect();
            let (others, slot) = (self.others.clone(), slot_of(&self.setup.region));
            tokio::spawn(async move {
                let ask = async |(region, way): (Label, ConnInfo)| (region, ask(&way, slot.as_deref()).await.map_err(|why| why.0));
                let said = join_all(ways.into_iter().map(ask)).await;
                others.0.lock().unwrap_or_else(PoisonError::into_inner).said = said.into_iter().collect();
            });
        }
        asked.said.iter().filter(|(region, _)| regions.contains(region)).map(|(region, said)| (region.clone(), said.clone())).collect()
    }
}

impl Postgres {
    /// Whether the member in that region has a slot for this one, as it says now. Whoever does not answer has none.
    pub(super) async fn has_slot(&self, region: &Label) -> bool {
        let Ok(way) = self.conninfo(region) else { return false };
        let said = ask(&way, slot_of(&self.setup.region).as_deref()).await.map_err(|why| why.0);
        let has_slot = said.as_ref().is_ok_and(|peer| peer.has_slot);
        self.others.0.lock().unwrap_or_else(PoisonError::into_inner).said.insert(region.clone(), said);
        has_slot
    }
}

/// How this server is set.
pub(super) async fn settings(client: &Client) -> Result<Settings, Trouble> {
    let row = client.query_one(&format!("select {OWN}, {}", limits()), &[]).await.map_err(|error| told(&error))?;
    Ok(Settings {
        version: major(&row)?,
        has_checksums: get(&row, 1)?,
        logs_hints: get(&row, 2)?,
        logs_whole_pages: get(&row, 3)?,
        is_followable: get(&row, 4)?,
        keeps: number(&row, 5)?,
        n_senders: number(&row, 6)?,
        // Less than nothing is no bound.
        slots_keep: u64::try_from(get::<i64>(&row, 7)?).ok(),
        limits: limits_in(&row, 8)?,
    })
}

/// `slot`: of the one that asks; `None`: its region's name makes none.
async fn ask(way: &ConnInfo, slot: Option<&str>) -> Result<Peer, Trouble> {
    let asked = async {
        let client = connect(way).await?;
        let row =
            client.query_one(&format!("select {THERE}, {}", limits()), &[&slot.unwrap_or_default()]).await.map_err(|error| told(&error))?;
        Ok(Peer {
            version: major(&row)?,
            lets_follow: get::<Option<bool>>(&row, 1)?.unwrap_or(false),
            lets_rewind: get(&row, 2)?,
            has_slot: get(&row, 3)?,
            limits: limits_in(&row, 4)?,
        })
    };
    timeout(ANSWER, asked).await.map_err(|_| Trouble("no answer in time".to_owned()))?
}

fn limits() -> String {
    LIMITS.map(|name| format!("current_setting('{name}')::bigint")).join(", ")
}

fn limits_in(row: &Row, from: usize) -> Result<[u64; LIMITS.len()], Trouble> {
    let mut limits = [0; LIMITS.len()];
    for (at, limit) in limits.iter_mut().enumerate() {
        *limit = number(row, from + at)?;
    }
    Ok(limits)
}

fn number(row: &Row, column: usize) -> Result<u64, Trouble> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

/// `server_version_num` is the major version and four digits.
fn major(row: &Row) -> Result<u32, Trouble> {
    Ok(u32::try_from(number(row, 0)? / 10_000).unwrap_or(0))
}
