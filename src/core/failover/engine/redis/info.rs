//! What a Redis server says of itself (`INFO`). The only file with Redis's own words for the roles.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What is asked: `INFO` with these.
pub const SECTIONS: [&str; 4] = ["server", "replication", "persistence", "cluster"];

/// What it calls a primary.
pub const PRIMARY_WORD: &str = "master";

/// What it calls a replica.
pub const REPLICA_WORD: &str = "slave";

/// Where Sentinels announce themselves: each is subscribed there on every server that it watches.
pub const SENTINEL_CHANNEL: &str = "__sentinel__:hello";

/// Digits of a replication id.
const ID_DIGITS: usize = 40;

/// What one run of a primary is known by. Its replicas have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicationId(String);

impl ReplicationId {
    /// Forty hexadecimal digits; `None`: it is none, or the one of zeros, which means nobody.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_one = text.len() == ID_DIGITS && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        (is_one && text.bytes().any(|octet| octet != b'0')).then(|| Self(text.to_owned()))
    }

    /// A number for the database that began with this run. Never zero.
    #[must_use]
    pub fn system(&self) -> u64 {
        let number = self.0.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.unwrap_or_default().max(1)
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ReplicationId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| "not a replication id of forty hexadecimal digits".to_owned())
    }
}

impl From<ReplicationId> for String {
    fn from(id: ReplicationId) -> Self {
        id.0
    }
}

/// An answer to `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// It takes no writes of clients.
    pub is_replica: bool,
    /// The run whose offset it counts.
    pub id: ReplicationId,
    /// The run that it counted before, and up to where both are the same; `None`: none, or nobody knows.
    pub earlier: Option<(ReplicationId, u64)>,
    /// Octets since that count began.
    pub offset: u64,
    /// A replica: up to where it has applied what it received; `None`: it has lost its place, as after a synchronisation that broke off.
    pub applied: Option<u64>,
    /// Whether the offset counts what is written: only with a backlog.
    pub counts: bool,
    /// A replica: where it receives from.
    pub upstream: Option<(String, u16)>,
    /// A replica: since when nothing came; `None`: it is not connected.
    pub silent_for: Option<Duration>,
    /// It takes in a whole copy, or reads its own from disk.
    pub is_loading: bool,
    /// Who follows it and has its data: so many are let count for `min-replicas-to-write`.
    pub n_following: u16,
    /// Redis Cluster manages it.
    pub is_clustered: bool,
    /// It is no database, but Sentinel.
    pub is_sentinel: bool,
    /// It writes an append-only file.
    pub logs: bool,
    /// Its wall clock, in microseconds since 1970.
    pub time_us: u64,
}

impl Info {
    /// Reads an answer with [`SECTIONS`].
    ///
    /// # Errors
    /// What is missing, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let word = |name: &str| {
            fields.get(name).copied().ok_or_else(|| format!("the answer to INFO has no `{name}`: Redis 7.0 or newer is needed"))
        };
        let number = |name: &str| word(name)?.parse::<u64>().map_err(|_| format!("`{name}` in the answer to INFO is no number"));
        let is_set = |name: &str| fields.get(name).is_some_and(|value| *value == "1");
        let is_sentinel = word("redis_mode")? == "sentinel";
        let is_replica = match word("role")? {
            "master" => false,
            "slave" => true,
            other => return Err(format!("its role is `{}`", other.chars().take(20).collect::<String>())),
        };
        let id = ReplicationId::new(word("master_replid")?).ok_or("`master_replid` in the answer to INFO is none")?;
        let earlier = fields.get("master_replid2").and_then(|id| ReplicationId::new(id));
        // The first octet that is not the same.
        let until = fields.get("second_repl_offset").and_then(|text| text.parse::<u64>().ok()).and_then(|first| first.checked_sub(1));
        let offset = number("master_repl_offset")?;
        let is_linked = fields.get("master_link_status").is_some_and(|status| *status == "up");
        let silent_for = fields.get("master_last_io_seconds_ago").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let host = fields.get("master_host").copied();
        let port = fields.get("master_port").and_then(|text| text.parse().ok());
        let applied = fields.get("slave_repl_offset").and_then(|text| text.parse::<u64>().ok());
        let is_syncing = is_set("master_sync_in_progress");
        let is_following = |(name, value): &(&&str, &&str)| {
            let number = name.strip_prefix("slave").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()) && value.split(',').any(|part| part == "state=online")
        };
        // It counts by itself while that decides over writes; one that hangs is online for a minute.
        let good = fields.get("min_slaves_good_slaves").and_then(|text| text.parse().ok());
        let n_following = good.unwrap_or_else(|| fields.iter().filter(is_following).count());
        Ok(Self {
            is_replica,
            id,
            earlier: earlier.zip(until),
            offset,
            // What is not the same is a place that was lost: it is told as 1 then.
            applied: applied.filter(|applied| *applied == offset && !is_syncing),
            counts: is_set("repl_backlog_active"),
            upstream: host.map(str::to_owned).zip(port).filter(|_| is_replica),
            silent_for: silent_for.filter(|_| is_replica && is_linked && !is_syncing),
            is_loading: is_syncing || is_set("loading") || is_set("async_loading"),
            n_following: u16::try_from(n_following).unwrap_or(u16::MAX),
            is_clustered: is_set("cluster_enabled"),
            is_sentinel,
            logs: is_set("aof_enabled"),
            time_us: number("server_time_usec")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "e6336b93e02b189f17407a52dea20f1df2157040";
    const OTHER: &str = "773d5f59f185d3fe40e96bd3f87c0939f3e9c4a6";

    fn text(role: &str, more: &str) -> String {
        format!(
            "# Server\r\nredis_mode:standalone\r\nserver_time_usec:1700000000000000\r\n# Replication\r\nrole:{role}\r\nmaster_replid:{ID}\r\n\
             master_replid2:{OTHER}\r\nmaster_repl_offset:900\r\nsecond_repl_offset:801\r\nrepl_backlog_active:1\r\naof_enabled:1\r\n{more}"
        )
    }

    #[test]
    fn a_primary_and_a_replica_are_read() {
        let followed = "connected_slaves:3\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=900,lag=0\r\n\
            slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\nslave2:ip=10.0.0.4,port=6379,state=online,offset=9,lag=1\r\n\
            slave_priority:100\r\n";
        let primary = Info::parse(&text("master", followed)).unwrap();
        assert_eq!(primary.n_following, 2, "a whole copy that is under way does not count");
        let counted = Info::parse(&text("master", &format!("{followed}min_slaves_good_slaves:1\r\n"))).unwrap();
        assert_eq!(counted.n_following, 1, "nor does who hangs");
        assert!(!primary.is_replica && primary.counts && primary.logs && !primary.is_clustered);
        assert_eq!(primary.earlier, Some((ReplicationId::new(OTHER).unwrap(), 800)));
        let replica = "master_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:2\r\nslave_repl_offset:900\r\n";
        let replica = Info::parse(&text("slave", replica)).unwrap();
        assert_eq!((replica.applied, replica.silent_for), (Some(900), Some(Duration::from_secs(2))));
        assert_eq!(replica.upstream, Some(("10.0.0.1".to_owned(), 6379)));
    }

    #[test]
    fn a_replica_that_lost_its_place_does_not_know_where_it_ends() {
        let lost = Info::parse(&text("slave", "master_link_status:down\r\nslave_repl_offset:1\r\n")).unwrap();
        assert_eq!((lost.applied, lost.silent_for), (None, None));
        let syncing = "master_link_status:down\r\nmaster_sync_in_progress:1\r\nslave_repl_offset:900\r\n";
        let syncing = Info::parse(&text("slave", syncing)).unwrap();
        assert!(syncing.is_loading && syncing.applied.is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let old = Info::parse("redis_mode:standalone\r\nrole:master\r\n").unwrap_err();
        assert!(old.contains("master_replid") && old.contains("7.0"), "{old}");
        assert!(Info::parse("").is_err() && Info::parse("<html>").is_err());
        assert!(ReplicationId::new(&"0".repeat(40)).is_none() && ReplicationId::new("ab").is_none());
        assert_eq!(ReplicationId::new(ID).unwrap().system(), 0xe633_6b93_e02b_189f);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[a-z_:0-9\\r\\n]){0,300}") {
            let _ = Info::parse(&text);
        }
    }
}
