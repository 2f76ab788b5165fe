//! One look at a region's cluster: what it shall be, what each of its members is, and what its leader receives.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use portolan_core::model::ids::Label;
use reqwest::{StatusCode, Url};
use tokio::{task::JoinSet, time::timeout};
use tracing::debug;

use super::{
    super::{
        Trouble,
        postgres::{ConnInfo, connect, get, position_in, told},
    },
    Patroni,
    rest::base,
    said::{self, MEMBERS_MAX, Role, Status, Wanted},
};

/// For one question to a server.
const ANSWER: Duration = Duration::from_secs(5);

/// The startup process waits for more when it has replayed everything, as in [`super::super::postgres`].
const RECEIVES: &str = "select coalesce(current_setting('primary_conninfo', true), ''), \
    (select status from pg_stat_wal_receiver limit 1), \
    (select wait_event in ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream') from pg_stat_activity where backend_type = 'startup'), \
    pg_last_wal_replay_lsn()::text";

/// What was seen of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whom its cluster follows, by its configuration.
    pub wanted: Wanted,
    /// The region that is, if it is one of the plan.
    pub follows: Option<Label>,
    /// Every member that was ever listed, by name.
    pub members: BTreeMap<String, Status>,
    /// Who holds the leader key; `None`: nobody, or one that does not answer.
    pub leader: Option<String>,
    /// The leader's own Patroni says that it is the primary (`/primary`), which comes before it takes writes.
    pub is_primary: bool,
    /// What a leader that is a standby receives; `None`: it is none, or it was not told.
    pub received: Option<Received>,
}

/// What the standby leader says of what it receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whom it is set to receive from.
    pub from: Option<(String, u16)>,
    /// A receiver runs, whatever it does.
    pub has_receiver: bool,
    /// That receiver streams.
    pub streams: bool,
    /// Everything that it has is replayed.
    pub is_exhausted: bool,
    /// Up to where it has replayed, read after that.
    pub replayed: u64,
}

impl Seen {
    /// Whether somebody in the region takes writes; `None`: nobody knows, because a member does not answer or is on its way.
    #[must_use]
    pub fn writes(&self) -> Option<bool> {
        let roles = || self.members.values().map(|status| status.role);
        match () {
            () if roles().any(|role| role == Role::Writes) => Some(true),
            () if self.members.is_empty() || roles().any(|role| role == Role::Unknown) => None,
            () => Some(false),
        }
    }

    /// What its leader says.
    #[must_use]
    pub fn led_by(&self) -> Option<&Status> {
        self.members.get(self.leader.as_ref()?)
    }

    /// Why it cannot be said that nobody writes; `None`: nobody does.
    pub(super) fn unproven(&self) -> Option<String> {
        let of = |role: Role| self.members.iter().filter(move |(_, status)| status.role == role).map(|(name, _)| name.as_str());
        let named = |role: Role| of(role).collect::<Vec<_>>().join(", ");
        match self.writes() {
            Some(false) => None,
            Some(true) => Some(format!("{} takes writes", named(Role::Writes))),
            None if self.members.is_empty() => Some("no member is listed".to_owned()),
            None => Some(format!("what {} does is not known", named(Role::Unknown))),
        }
    }
}

impl Patroni {
    /// Looks.
    ///
    /// # Errors
    /// Its Patroni, or the store behind it, does not answer: nothing is known, which is no statement about who writes.
    pub async fn look(&self) -> Result<Seen, Trouble> {
        let wanted = Wanted::parse(&self.text("/config").await?)?;
        let listed = said::cluster(&self.text("/cluster").await?)?;
        let asked = self.all_known(listed.iter().map(|(name, member)| (name, member.api.as_str())))?;
        let mut asking = JoinSet::new();
        for (name, at) in asked {
            let rest = self.rest.clone();
            asking.spawn(async move {
                let said = rest.get(&at, "/patroni").await.and_then(|(_, text)| Status::parse(&text));
                let said = said.inspect_err(|trouble| debug!("{name} does not say what it does: {trouble}"));
                (name, said.unwrap_or_default())
            });
        }
        let mut members = BTreeMap::new();
        while let Some(said) = asking.join_next().await {
            members.extend(said.ok());
        }
        let leads = listed.iter().find(|(_, member)| member.leads);
        let leader =
            leads.map(|(name, _)| name.clone()).filter(|name| members.get(name).is_some_and(|it: &Status| it.role != Role::Unknown));
        let (mut is_primary, mut received) = (false, None);
        if let Some((name, member)) = leads.filter(|_| leader.is_some()) {
            match members.get(name).map(|status| status.role) {
                Some(Role::Writes) => is_primary = self.rest.get(&base(&member.api)?, "/primary").await?.0 == StatusCode::OK,
                Some(Role::Standby) => received = Some(self.received(member.server.as_ref()).await?),
                _ => {}
            }
        }
        let follows = match &wanted {
            Wanted::StandbyOf(host, port) => self.region_at(host, *port),
            Wanted::Primary | Wanted::StandbyOfArchive => None,
        };
        Ok(Seen { wanted, follows, members, leader, is_primary, received })
    }

    async fn text(&self, path: &str) -> Result<String, Trouble> {
        let (status, text) = self.rest.get(&self.base, path).await?;
        if status == StatusCode::OK { Ok(text) } else { Err(Trouble(format!("ask Patroni at {} for {path}: {status}", self.base))) }
    }

    /// Everybody that was ever listed.
    fn all_known<'a>(&self, listed: impl Iterator<Item = (&'a String, &'a str)>) -> Result<BTreeMap<String, Url>, Trouble> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, api) in listed {
            let at = base(api).map_err(|trouble| Trouble(format!("member {name} of the cluster in {}: {trouble}", self.region)))?;
            known.insert(name.clone(), at);
        }
        if known.len() > MEMBERS_MAX {
            let message = "its cluster has had more members than are looked after: start the agent again when those that are gone are off";
            return Err(Trouble(message.to_owned()));
        }
        Ok(known.clone())
    }

    async fn received(&self, server: Option<&(String, u16)>) -> Result<Received, Trouble> {
        let (host, port) = server.ok_or_else(|| Trouble("Patroni does not say where its leader's server is".to_owned()))?;
        let info = self.own.clone().with("host", host).with("port", &port.to_string());
        let ask = async {
            let client = connect(&info).await?;
            let row = client.query_one(RECEIVES, &[]).await.map_err(|error| told(&error))?;
            let status: Option<String> = get(&row, 1)?;
            Ok(Received {
                from: from(&get::<String>(&row, 0)?),
                has_receiver: status.is_some(),
                streams: status.as_deref() == Some("streaming"),
                is_exhausted: get::<Option<bool>>(&row, 2)?.unwrap_or(false),
                replayed: position_in(get(&row, 3)?)?.unwrap_or(0),
            })
        };
        timeout(ANSWER, ask).await.map_err(|_| Trouble("ask the standby leader what it receives: no answer in time".to_owned()))?
    }
}

/// Host and port in a connection string of a server.
fn from(text: &str) -> Option<(String, u16)> {
    let info = ConnInfo::parse(text).ok()?;
    Some((info.get("host")?.to_owned(), info.get("port").and_then(|port| port.parse().ok()).unwrap_or(5432)))
}
