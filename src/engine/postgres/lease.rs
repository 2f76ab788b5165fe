//! The lease, in the database itself, and the row by which a primary shows that it works: standbys get both with everything else.

use std::time::Duration;

use portolan_core::failover::{agent::Opening, token::Token};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{
    Trouble,
    connect::told,
    look::{get, position_in, show},
};

const TABLE: &str = "create schema if not exists portolan; \
    create table if not exists portolan.lease (one boolean primary key default true check (one), generation bigint not null, \
    epoch bigint not null, timeline bigint not null, began pg_lsn not null, at timestamptz not null default now()); \
    create table if not exists portolan.heartbeat (one boolean primary key default true check (one), at timestamptz not null); \
    alter table portolan.heartbeat set (autovacuum_enabled = false); \
    grant usage on schema portolan to public; grant select on portolan.heartbeat, portolan.lease to public";

/// No standby is waited for: whether one has it is none of the primary's health.
const BEAT: &str = "begin; set local synchronous_commit = local; \
    insert into portolan.heartbeat (at) values (clock_timestamp()) on conflict (one) do update set at = excluded.at; commit";

/// For a heartbeat: the next one is due then.
const BEAT_TIME: Duration = Duration::from_secs(1);

const SIGN: &str = "insert into portolan.lease (generation, epoch, timeline, began) values ($1, $2, $3, $4::text::pg_lsn) \
    on conflict (one) do update set generation = excluded.generation, epoch = excluded.epoch, timeline = excluded.timeline, \
    began = excluded.began, at = now() where (lease.generation, lease.epoch) <= (excluded.generation, excluded.epoch)";

const TOKEN: &str = "select generation, epoch, timeline, began::text from portolan.lease";

/// Writes the token, and where the line under it began.
pub(in crate::engine) async fn sign(client: &Client, token: Token, timeline: u32, began: u64) -> Result<(), Trouble> {
    let number = |number: u64| i64::try_from(number).map_err(|_| Trouble("a token that is too large".to_owned()));
    let (generation, epoch) = (number(token.generation)?, number(token.epoch)?);
    let (timeline, began) = (i64::from(timeline), show(began));
    // Standbys are pointed here after this, so none can acknowledge it yet; it is no client's write.
    client.batch_execute("set synchronous_commit = local").await.map_err(|error| told(&error))?;
    client.batch_execute(TABLE).await.map_err(|error| told(&error))?;
    let rows = client.execute(SIGN, &[&generation, &epoch, &timeline, &began]).await.map_err(|error| told(&error))?;
    if rows == 0 { Err(Trouble("a higher token is in the database already".to_owned())) } else { Ok(()) }
}

/// Writes the heartbeat.
pub(in crate::engine) async fn beat(client: &Client) -> Result<(), Trouble> {
    let beat = timeout(BEAT_TIME, client.batch_execute(BEAT)).await;
    beat.map_err(|_| Trouble("write the heartbeat: no answer in time".to_owned()))?.map_err(|error| told(&error))
}

/// The token that stands in it; `None`: none. The table is there.
pub(super) async fn opening(client: &Client) -> Result<Option<Opening>, Trouble> {
    let Some(row) = client.query_opt(TOKEN, &[]).await.map_err(|error| told(&error))? else { return Ok(None) };
    let number = |at| Ok::<_, Trouble>(u64::try_from(get::<i64>(&row, at)?).unwrap_or(0));
    let token = Token { generation: number(0)?, epoch: number(1)? };
    let timeline = u32::try_from(get::<i64>(&row, 2)?).unwrap_or(0);
    Ok(Some(Opening { token, timeline, at: position_in(get(&row, 3)?)?.unwrap_or(0) }))
}
