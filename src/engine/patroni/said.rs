//! What Patroni's REST API says: JSON in, values out.
//!
//! Source: Patroni 3.0 documentation, "Patroni REST API"; its source for what is not written there (`api.py`: `/patroni` tells the role that the
//! server itself gives while the state is `running`, and the last one known otherwise; `utils.py`: `cluster_as_json`, `is_standby_cluster`).

use std::collections::BTreeMap;

use portolan_core::failover::token::Token;
use serde::Deserialize;
use serde_json::Value;

use super::super::Trouble;

/// Members of one cluster that are taken note of: ten times as many as anybody runs in a region.
pub(super) const MEMBERS_MAX: usize = 64;

/// What a member does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody knows: it does not answer, or its server is on its way from one role to another.
    #[default]
    Unknown,
    /// It takes writes.
    Writes,
    /// It takes none.
    Standby,
    /// Its server does not run, as its Patroni says.
    Stopped,
}

impl Role {
    /// A server that runs and is in none of the roles of standbys takes writes, whatever that role is called.
    fn read(state: &str, role: &str) -> Self {
        match (state, role) {
            ("running", "replica" | "standby_leader" | "sync_standby") => Self::Standby,
            ("running", _) => Self::Writes,
            ("stopped", _) => Self::Stopped,
            _ => Self::Unknown,
        }
    }
}

/// What one Patroni says of its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// What it does.
    pub(super) role: Role,
    /// Of the database; `None`: it does not know.
    pub(super) system: Option<u64>,
    /// That it stands on; `None`: it does not know.
    pub(super) timeline: Option<u32>,
    /// Behind the last record: written by a primary, received or replayed by a standby. `None`: it does not know.
    pub(super) position: Option<u64>,
    /// A standby: up to where it has replayed.
    pub(super) replayed: Option<u64>,
}

impl Status {
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        let said: StatusSaid = read("its status", text)?;
        let xlog = said.xlog.unwrap_or_default();
        Ok(Self {
            role: Role::read(&said.state, said.role.as_deref().unwrap_or_default()),
            system: said.database_system_identifier.and_then(|text| text.parse().ok()),
            timeline: said.timeline,
            position: [xlog.location, xlog.received_location, xlog.replayed_location].into_iter().flatten().max(),
            replayed: xlog.replayed_location,
        })
    }
}

/// A member as its cluster's store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where its Patroni is asked, without a path.
    pub(super) api: String,
    /// Where its server is reached.
    pub(super) server: Option<(String, u16)>,
    /// It holds the cluster's leader key.
    pub(super) leads: bool,
}

/// The members by name. What has no address to be asked at is left out of nothing: it stands there with an empty one.
pub(super) fn cluster(text: &str) -> Result<BTreeMap<String, Listed>, Trouble> {
    let said: ClusterSaid = read("its list of members", text)?;
    if said.members.len() > MEMBERS_MAX {
        return Err(Trouble(format!("its cluster has {} members, and {MEMBERS_MAX} is the most that is looked after", said.members.len())));
    }
    let listed = said.members.into_iter().map(|member| {
        let api = member.api_url.unwrap_or_default();
        let api = api.strip_suffix("/patroni").unwrap_or(&api).to_owned();
        let leads = matches!(member.role.as_str(), "leader" | "standby_leader");
        (member.name, Listed { api, server: member.host.zip(member.port), leads })
    });
    Ok(listed.collect())
}

/// What a region's cluster is to be, by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    /// Whom it follows.
    pub(super) wanted: Wanted,
    /// What agents noted in it.
    pub(super) noted: Noted,
    /// Patroni does nothing of what it is told.
    pub(super) is_paused: bool,
}

/// The key of the dynamic configuration in which agents note something. Patroni keeps what it does not know.
pub(super) const NOTE: &str = "portolan";

/// What agents noted in a cluster's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Noted {
    /// Of the highest token that changed something.
    pub(super) generation: u64,
    /// Of that token.
    pub(super) epoch: u64,
    /// The region is fenced.
    pub(super) fenced: bool,
}

impl Noted {
    pub(super) const fn token(self) -> Token {
        Token { generation: self.generation, epoch: self.epoch }
    }
}

impl Configuration {
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        let said: Value = read("its configuration", text)?;
        // A note that cannot be read is none of ours, and must not be written over.
        let noted = said.get(NOTE).filter(|it| !it.is_null()).map(Noted::deserialize).transpose();
        let noted = noted.map_err(|error| Trouble(format!("read `{NOTE}` in its configuration: {error}")))?.unwrap_or_default();
        let is_paused = said.get("pause").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { wanted: Wanted::of(&said), noted, is_paused })
    }
}

/// Whom a region's cluster follows, by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nobody: one of its members shall be a primary.
    Primary,
    /// It is a standby cluster of what is there.
    StandbyOf(String, u16),
    /// It is one that reads an archive only.
    StandbyOfArchive,
}

impl Wanted {
    fn of(said: &Value) -> Self {
        let Some(standby) = said.get("standby_cluster").filter(|it| it.is_object()) else { return Self::Primary };
        let host = standby.get("host").and_then(Value::as_str).filter(|host| !host.is_empty());
        let port = match standby.get("port") {
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let has_archive = standby.get("restore_command").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        match (host, port) {
            (None, None) if has_archive => Self::StandbyOfArchive,
            (None, None) => Self::Primary,
            // Patroni fills in what libpq would.
            (host, port) => Self::StandbyOf(host.unwrap_or("localhost").to_owned(), port.unwrap_or(5432)),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble(format!("read {what}: {error}")))
}

#[derive(Deserialize)]
struct StatusSaid {
    state: String,
    role: Option<String>,
    timeline: Option<u32>,
    xlog: Option<Xlog>,
    database_system_identifier: Option<String>,
}

#[derive(Default, Deserialize)]
struct Xlog {
    location: Option<u64>,
    received_location: Option<u64>,
    replayed_location: Option<u64>,
}

#[derive(Deserialize)]
struct ClusterSaid {
    members: Vec<MemberSaid>,
}

#[derive(Deserialize)]
struct MemberSaid {
    name: String,
    #[serde(default)]
    role: String,
    api_url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_is_read_as_a_real_one_says_it() {
        let primary = "{\"state\": \"running\", \"role\": \"primary\", \"server_version\": 150018, \"xlog\": {\"location\": 67108960}, \
            \"timeline\": 1, \"database_system_identifier\": \"7713822828047507531\", \"patroni\": {\"version\": \"3.0.2\"}}";
        let read = Status::parse(primary).unwrap();
        assert_eq!((read.role, read.system, read.timeline), (Role::Writes, Some(7_713_822_828_047_507_531), Some(1)));
        assert_eq!((read.position, read.replayed), (Some(67_108_960), None));
        // A server that was made a standby has received nothing yet, and replayed what it had.
        let standby = "{\"state\": \"running\", \"role\": \"standby_leader\", \"timeline\": 1, \
            \"xlog\": {\"received_location\": 67108864, \"replayed_location\": 67213672, \"paused\": false}}";
        let read = Status::parse(standby).unwrap();
        assert_eq!((read.role, read.position, read.replayed), (Role::Standby, Some(67_213_672), Some(67_213_672)));
    }

    #[test]
    fn what_is_no_proof_of_a_standby_is_none() {
        let role = |state: &str, role: &str| Status::parse(&format!("{{\"state\": \"{state}\", \"role\": \"{role}\"}}")).unwrap().role;
        for (state, of, wanted) in [
            ("running", "replica", Role::Standby),
            ("running", "uninitialized", Role::Writes),
            ("stopping", "primary", Role::Unknown),
            ("stopped", "demoted", Role::Stopped),
            ("unknown", "replica", Role::Unknown),
            ("starting", "standby_leader", Role::Unknown),
        ] {
            assert_eq!(role(state, of), wanted, "{state} {of}");
        }
    }

    #[test]
    fn members_and_whom_they_follow_are_read() {
        let text = "{\"members\": [{\"name\": \"us-1\", \"role\": \"leader\", \"state\": \"running\", \"host\": \"10.0.0.1\", \
            \"port\": 5432, \"api_url\": \"https://10.0.0.1:8008/patroni\", \"lag\": \"unknown\"}, {\"name\": \"us-2\"}]}";
        let members = cluster(text).unwrap();
        let first = Listed { api: "https://10.0.0.1:8008".to_owned(), server: Some(("10.0.0.1".to_owned(), 5432)), leads: true };
        assert_eq!((members.len(), &members["us-1"], members["us-2"].api.as_str()), (2, &first, ""));
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("{{\"name\": \"{n}\"}}")).collect();
        assert!(cluster(&format!("{{\"members\": [{}]}}", many.join(","))).unwrap_err().0.contains("65 members"));
        let wanted = |standby: &str| Configuration::parse(&format!("{{\"ttl\": 30, \"standby_cluster\": {standby}}}")).unwrap().wanted;
        assert_eq!(wanted("null"), Wanted::Primary);
        assert_eq!(wanted("{\"create_replica_methods\": [\"basebackup\"]}"), Wanted::Primary);
        assert_eq!(wanted("{\"host\": \"a\", \"port\": \"5433\"}"), Wanted::StandbyOf("a".to_owned(), 5433));
        assert_eq!(wanted("{\"restore_command\": \"cp\"}"), Wanted::StandbyOfArchive);
        let noted = Configuration::parse("{\"pause\": true, \"portolan\": {\"generation\": 1, \"epoch\": 9, \"fenced\": true}}").unwrap();
        assert_eq!((noted.noted.token(), noted.noted.fenced, noted.is_paused), (Token { generation: 1, epoch: 9 }, true, true));
        assert!(Configuration::parse("{\"portolan\": \"mine\"}").unwrap_err().0.contains("`portolan`"));
    }

    proptest! {
        #[test]
        fn no_answer_of_whatever_kind_is_more_than_refused(text in "[\\PC]{0,200}", number in any::<i64>()) {
            let _ = (Status::parse(&text), cluster(&text), Configuration::parse(&text));
            let odd = format!(
                "{{\"state\": \"running\", \"xlog\": {{\"location\": {number}}}, \
                 \"members\": {number}, \"standby_cluster\": {number}}}"
            );
            let _ = (Status::parse(&odd), cluster(&odd), Configuration::parse(&odd));
        }
    }
}
