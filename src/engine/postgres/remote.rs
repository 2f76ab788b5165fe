//! A server that another manager runs, of which only SQL is reached: what it is, how its line of history went, and the lease in it.
//!
//! The role needs `pg_monitor`, for the history `EXECUTE` on `pg_read_binary_file(text)`, and where it writes the lease `CREATE` on the database; a
//! superuser has all of it.

use std::time::Duration;

use portolan_core::{
    failover::{
        agent::Opening,
        engine::{
            managed::{Seen, Upstream},
            postgres::History,
        },
        evidence::Stream,
        token::Token,
    },
    model::ids::Label,
};
use tokio::time::timeout;
use tokio_postgres::Client;
use tracing::debug;

use super::{
    ConnInfo, Trouble,
    connect::{connect, told},
    files::history_name,
    lease,
    look::{get, position_in},
};

/// For all questions of one look.
const ANSWER: Duration = Duration::from_secs(5);

/// The startup process waits for more when it has replayed everything, as in [`super::look`]; the position is read after that.
const LOOK: &str = "select (select system_identifier from pg_control_system())::text, pg_is_in_recovery(), \
    coalesce(current_setting('primary_conninfo', true), ''), \
    (select status from pg_stat_wal_receiver limit 1), \
    (select wait_event in ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream') from pg_stat_activity where backend_type = 'startup'), \
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text, \
    case when pg_is_in_recovery() then pg_last_wal_receive_lsn()::text end, \
    (select extract(epoch from clock_timestamp() - last_msg_receipt_time)::float8 from pg_stat_wal_receiver limit 1), \
    (select setting::bigint from pg_settings where name = 'wal_segment_size'), \
    case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end, \
    to_regclass('portolan.lease') is not null, \
    (select array_agg(application_name::text) from pg_stat_replication \
     where flush_lsn >= case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end)";

/// A standby stands on the newest timeline that has a file with where it ends.
const TIMELINE: &str = "select max(substr(name, 1, 8)) from pg_ls_waldir() where length(name) = 24 and substr(name, 9) = $1";

/// One look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Remote {
    /// Which database.
    pub(in crate::engine) system: u64,
    /// It takes no writes.
    pub(in crate::engine) is_standby: bool,
    /// That it stands on; `None`: its files do not tell.
    pub(in crate::engine) timeline: Option<u32>,
    /// A primary's last write; up to where a standby has received.
    pub(in crate::engine) position: u64,
    /// A standby: up to where it has replayed.
    pub(in crate::engine) replayed: u64,
    /// Everything that it has is replayed.
    pub(in crate::engine) is_exhausted: bool,
    /// Whom it is set to receive from.
    pub(in crate::engine) from: Option<(String, u16)>,
    /// As whom it is set to do that; `None`: it says nothing.
    pub(in crate::engine) named: Option<String>,
    /// A receiver runs, whatever it does.
    pub(in crate::engine) has_receiver: bool,
    /// What that hears.
    pub(in crate::engine) stream: Stream,
    /// By what they call themselves: who follows it and has everything.
    pub(in crate::engine) shipped_to: Vec<String>,
    /// The token in it.
    pub(in crate::engine) opening: Option<Opening>,
}

impl Remote {
    /// Where a copy ends, when nothing comes any more; `None`: something may come, or it takes writes.
    pub(in crate::engine) fn end(&self) -> Option<u64> {
        (self.is_standby && self.is_exhausted && !self.has_receiver).then_some(self.replayed)
    }
}

/// What the contract of managers makes of a region's first standby: whom it follows, and up to where it has and shows the primary's writes. `end`: where
/// it ends for good, if that is known and it receives from nobody.
pub(in crate::engine) fn tell_copy(seen: &mut Seen, server: Option<&Remote>, upstream: Upstream, end: Option<u64>) {
    seen.stream = server.map(|it| it.stream).unwrap_or_default();
    (seen.position, seen.applied) = match upstream {
        // Without its line nobody can tell whose copy it is.
        Upstream::Nobody => (end.filter(|_| seen.timeline > 0), end.filter(|_| seen.timeline > 0)),
        _ => (server.map(|it| it.position), server.map(|it| it.replayed)),
    };
    seen.upstream = upstream;
}

/// Looks.
pub(in crate::engine) async fn look(info: &ConnInfo) -> Result<Remote, Trouble> {
    in_time("look at the server", async { ask(&connect(info).await?).await }).await
}

/// The line that it stands on: of a primary, or of one that stands on this timeline.
pub(in crate::engine) async fn history(info: &ConnInfo, timeline: u32) -> Result<History, Trouble> {
    in_time("read the server's history", async { history_over(&connect(info).await?, timeline).await }).await
}

/// Looks at a copy and at the member in that region, which it is to follow; `None`: the copy does not answer.
///
/// # Errors
/// The other one does not answer, or is another database.
pub(in crate::engine) async fn pair(own: &ConnInfo, there: &ConnInfo, region: &Label) -> Result<Option<(Remote, Remote)>, Trouble> {
    let own = match look(own).await {
        Ok(own) => own,
        Err(trouble) => {
            debug!("it cannot be told how its line lies to that of {region}: {trouble}");
            return Ok(None);
        }
    };
    let other = look(there).await.map_err(|trouble| Trouble(format!("ask the member in {region}: {trouble}")))?;
    if own.system != other.system {
        return Err(Trouble(format!("the member in {region} is another database")));
    }
    Ok(Some((own, other)))
}

/// Writes the token into a primary, with where its line began. `left`: where it left what was sealed, if that was another promotion's doing, before
/// this one's.
pub(in crate::engine) async fn sign(info: &ConnInfo, token: Token, left: Option<u64>) -> Result<(), Trouble> {
    let sign = async {
        let client = connect(info).await?;
        let remote = ask(&client).await?;
        let timeline = remote.timeline.filter(|_| !remote.is_standby).ok_or_else(|| Trouble("it takes no writes".to_owned()))?;
        let began = history_over(&client, timeline).await?.began();
        lease::sign(&client, token, timeline, left.map_or(began, |left| left.min(began))).await
    };
    in_time("write the token", sign).await
}

/// Lets it show that it takes writes.
pub(in crate::engine) async fn beat(info: &ConnInfo) -> Result<(), Trouble> {
    lease::beat(&connect(info).await?).await
}

async fn in_time<T>(what: &str, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(ANSWER, work).await.map_err(|_| Trouble(format!("{what}: no answer in time")))?
}

async fn ask(client: &Client) -> Result<Remote, Trouble> {
    let row = client.query_one(LOOK, &[]).await.map_err(|error| told(&error))?;
    let is_standby: bool = get(&row, 1)?;
    let receiver: Option<String> = get(&row, 3)?;
    let replayed = position_in(get(&row, 5)?)?.unwrap_or(0);
    let position = position_in(get(&row, 6)?)?.unwrap_or(0).max(replayed);
    let timeline: Option<String> = if is_standby {
        let segment = u64::try_from(get::<i64>(&row, 8)?).unwrap_or(0);
        let row = client.query_one(TIMELINE, &[&file_of(position, segment)]).await.map_err(|error| told(&error))?;
        get(&row, 0)?
    } else {
        get(&row, 9)?
    };
    let stream = if receiver.as_deref() == Some("streaming") {
        // Nothing was heard yet of a stream that has just begun.
        let silent_for = get::<Option<f64>>(&row, 7)?.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Stream::Up { silent_for: silent_for.unwrap_or_default() }
    } else {
        Stream::Down
    };
    let (from, named) = upstream_in(&get::<String>(&row, 2)?);
    Ok(Remote {
        system: get::<String>(&row, 0)?.parse().map_err(|_| Trouble("the system identifier is no number".to_owned()))?,
        is_standby,
        timeline: timeline.and_then(|text| u32::from_str_radix(&text, 16).ok()),
        position,
        replayed,
        is_exhausted: get::<Option<bool>>(&row, 4)?.unwrap_or(false),
        from,
        named,
        has_receiver: receiver.is_some(),
        stream,
        shipped_to: get::<Option<Vec<String>>>(&row, 11)?.unwrap_or_default(),
        opening: if get::<bool>(&row, 10)? { lease::opening(client).await? } else { None },
    })
}

async fn history_over(client: &Client, timeline: u32) -> Result<History, Trouble> {
    if timeline <= 1 {
        return Ok(History { left: Vec::new(), timeline });
    }
    let file = format!("pg_wal/{}", history_name(timeline));
    let read = client.query_one("select convert_from(pg_read_binary_file($1), 'UTF8')", &[&file]).await;
    let text: String = get(&read.map_err(|error| told(&error))?, 0)?;
    History::parse(&text, timeline).map_err(|error| Trouble(error.to_string()))
}

/// What follows the timeline in the name of the file that has the last octet before that position.
fn file_of(position: u64, segment: u64) -> String {
    let (segment, position) = (segment.max(1), position.max(1) - 1);
    let (number, per_log) = (position / segment, (0x1_0000_0000 / segment).max(1));
    format!("{:08X}{:08X}", number / per_log, number % per_log)
}

/// In a connection string of a server: host and port, and as whom.
fn upstream_in(text: &str) -> (Option<(String, u16)>, Option<String>) {
    let Ok(info) = ConnInfo::parse(text) else { return (None, None) };
    let port = info.get("port").and_then(|port| port.parse().ok()).unwrap_or(5432);
    (info.get("host").map(|host| (host.to_owned(), port)), info.get("application_name").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_position_is_the_one_with_the_octet_before_it() {
        let segment = 16 << 20;
        for (position, file) in [
            (0, "0000000000000000"),
            (16 << 20, "0000000000000000"),
            ((16 << 20) + 1, "0000000000000001"),
            (0x1_0000_0000, "00000000000000FF"),
            (0x1_0000_0001, "0000000100000000"),
        ] {
            assert_eq!(file_of(position, segment), file, "{position:X}");
        }
        assert_eq!(upstream_in("user=replicator host=10.0.0.1 port=5433"), (Some(("10.0.0.1".to_owned(), 5433)), None));
        assert_eq!(upstream_in("host='a' application_name='b'"), (Some(("a".to_owned(), 5432)), Some("b".to_owned())));
        assert_eq!((upstream_in(""), upstream_in("nonsense")), ((None, None), (None, None)));
    }
}
