//! One look at a region's cluster: what it shall be, what each of its members is, and what its leader's server says.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use portolan_core::model::ids::Label;
use reqwest::{StatusCode, Url};
use tokio::{task::JoinSet, time::Instant};
use tracing::{debug, info};

use super::{
    super::{
        Trouble,
        managed::{self, Passing, Upstream},
        postgres::remote::{self, Remote},
    },
    NOBODY, Patroni,
    said::{self, Configuration, Listed, Role, Status, Wanted},
};

/// So long a cluster finds a leader by itself; then one is named to it.
const LEADERLESS: Duration = Duration::from_secs(5);

/// What was seen of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What its cluster is to be.
    pub(super) configuration: Configuration,
    /// The region that it is to follow, if it is one of the plan.
    pub(super) follows: Option<Label>,
    /// Every member that was ever listed, by name.
    pub(super) members: BTreeMap<String, Status>,
    /// Who holds the leader key and answers.
    pub(super) leader: Option<String>,
    /// Somebody holds that key, and may not answer.
    pub(super) is_led: bool,
    /// What the leader's server says; `None`: it does not.
    pub(super) server: Option<Remote>,
}

impl Seen {
    /// Whether somebody in the region takes writes; `None`: nobody knows, because a member does not answer or is on its way.
    pub(super) fn writes(&self) -> Option<bool> {
        let roles = || self.members.values().map(|status| status.role);
        match () {
            () if roles().any(|role| role == Role::Writes) => Some(true),
            () if self.members.is_empty() || roles().any(|role| role == Role::Unknown) => None,
            () => Some(false),
        }
    }

    /// It is set to follow nobody.
    pub(super) fn is_cut_off(&self) -> bool {
        matches!(&self.configuration.wanted, Wanted::StandbyOf(host, port) if (host.as_str(), *port) == NOBODY)
    }

    /// No member takes writes, and none will by itself. `is_permitted`: the permit is there.
    pub(super) fn is_fenced(&self, is_permitted: bool) -> bool {
        self.configuration.noted.fenced && self.is_cut_off() && self.writes() == Some(false) && !is_permitted
    }

    /// Where its copy ends, when nothing comes any more.
    fn end(&self) -> Option<u64> {
        self.server.as_ref().and_then(Remote::end)
    }

    fn upstream(&self) -> Upstream {
        let Some(server) = &self.server else { return Upstream::Leaving };
        match (&self.configuration.wanted, &server.from) {
            (Wanted::StandbyOf(..), Some((host, port)))
                if self.is_cut_off() && (host.as_str(), *port) == NOBODY && !server.has_receiver =>
            {
                Upstream::Nobody
            }
            (Wanted::StandbyOf(host, port), Some(from)) if (host, port) == (&from.0, &from.1) => {
                self.follows.clone().map_or(Upstream::Elsewhere, Upstream::Member)
            }
            (Wanted::StandbyOf(..), _) => Upstream::Leaving,
            (Wanted::Primary | Wanted::StandbyOfArchive, _) => Upstream::Elsewhere,
        }
    }

    /// How many that follow it from outside have everything.
    fn n_ahead(&self) -> usize {
        let names = self.server.as_ref().map(|server| server.shipped_to.as_slice()).unwrap_or_default();
        names.iter().filter(|name| !self.members.contains_key(*name)).count()
    }

    /// Why nothing can be said of it.
    fn unknown(&self) -> String {
        let of = self.members.iter().filter(|(_, status)| status.role == Role::Unknown).map(|(name, _)| name.as_str());
        match of.collect::<Vec<_>>().as_slice() {
            [] => "no member is listed".to_owned(),
            names => format!("what {} does is not known", names.join(", ")),
        }
    }

    /// What it is that may pass; `None`: nothing such.
    fn passing(&self, is_permitted: bool) -> Option<Passing> {
        let is_stopped = self.writes() == Some(false) && self.members.values().all(|it| it.role == Role::Stopped);
        let has_ended = self.is_fenced(is_permitted) && self.end().is_some();
        if is_stopped { Some(Passing::Stopped) } else { has_ended.then_some(Passing::Ended) }
    }

    /// What the contract makes of it. `is_permitted`: the permit is there. `is_settled`: what may pass has had its time.
    pub(super) fn managed(&self, is_permitted: bool, is_settled: bool) -> managed::Seen {
        let runs = self.leader.clone();
        let unknown = |why: String| managed::Seen { silence: Some(why), runs: runs.clone(), ..managed::Seen::default() };
        let role = match self.writes() {
            Some(true) => managed::Role::Primary,
            None => return unknown(self.unknown()),
            Some(false) if !is_settled && self.passing(is_permitted) == Some(Passing::Stopped) => {
                return unknown("its server is stopped, and may be on its way".to_owned());
            }
            Some(false) if self.members.values().any(|it| it.role == Role::Standby) => managed::Role::Replica,
            Some(false) => managed::Role::Stopped,
        };
        let led = self.leader.as_ref().and_then(|name| self.members.get(name));
        let server = self.server.as_ref();
        let system = led.and_then(|it| it.system).or_else(|| self.members.values().find_map(|it| it.system));
        // Patroni says the timeline of a standby that it saw when it looked last, which may be long ago.
        let timeline = led.and_then(|it| it.timeline).max(server.and_then(|it| it.timeline)).unwrap_or(0);
        let mut seen = managed::Seen {
            role,
            system: system.or_else(|| server.map(|it| it.system)).unwrap_or(0),
            timeline,
            fenced: self.is_fenced(is_permitted),
            opening: server.and_then(|it| it.opening).filter(|_| timeline > 0),
            runs,
            ..managed::Seen::default()
        };
        match role {
            managed::Role::Primary => seen.position = led.filter(|it| it.role == Role::Writes).and_then(|it| it.position),
            managed::Role::Replica => {
                let end = self.end().filter(|_| is_settled || !seen.fenced);
                remote::tell_copy(&mut seen, server, self.upstream(), end);
            }
            managed::Role::Stopped | managed::Role::Unknown => {}
        }
        seen
    }
}

impl Patroni {
    /// Looks, when no change is under way any more: what is seen is what came of the last one.
    pub(super) async fn seen(&self) -> Result<managed::Seen, Trouble> {
        self.changes.none().await?;
        let seen = self.look().await?;
        self.lead_on(&seen).await;
        let is_permitted = self.permit.is_there()?;
        let has_all = seen.n_ahead() >= self.members.n_beside(&self.region);
        let is_settled = self.settling.is_over(seen.passing(is_permitted), has_all);
        Ok(seen.managed(is_permitted, is_settled))
    }

    async fn look(&self) -> Result<Seen, Trouble> {
        let configuration = self.configuration().await?;
        let listed = self.listed().await?;
        let mut asking = JoinSet::new();
        for (name, at) in self.all_known(&listed)? {
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
        let answers = |name: &String| members.get(name).is_some_and(|it: &Status| matches!(it.role, Role::Writes | Role::Standby));
        let (mut leader, mut server, mut primary) = (None, None, None);
        if let Some((name, member)) = leads.filter(|(name, _)| answers(name)) {
            leader = Some(name.clone());
            let info = self.info(member);
            let said = match &info {
                Ok(info) => remote::look(info).await,
                Err(trouble) => Err(trouble.clone()),
            };
            self.note_silence(name, said.as_ref().err());
            server = said.ok();
            primary = info.ok().filter(|_| server.as_ref().is_some_and(|it| !it.is_standby));
            super::rest::base(&member.api).iter().for_each(|base| self.prefer(base));
        }
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
        let follows = match &configuration.wanted {
            Wanted::StandbyOf(host, port) => self.members.region_at(host, *port),
            Wanted::Primary | Wanted::StandbyOfArchive => None,
        };
        Ok(Seen { configuration, follows, members, leader, is_led: leads.is_some(), server })
    }

    async fn configuration(&self) -> Result<Configuration, Trouble> {
        Configuration::parse(&self.text("/config").await?)
    }

    pub(super) async fn listed(&self) -> Result<BTreeMap<String, Listed>, Trouble> {
        said::cluster(&self.text("/cluster").await?)
    }

    async fn text(&self, path: &str) -> Result<String, Trouble> {
        let (base, (status, text)) = self.ask_any(path).await?;
        if status == StatusCode::OK { Ok(text) } else { Err(Trouble(format!("ask Patroni at {base} for {path}: {status}"))) }
    }

    /// Asks one after the other, from the one on that answered last.
    async fn ask_any(&self, path: &str) -> Result<(Url, (StatusCode, String)), Trouble> {
        let mut trouble = None;
        for base in self.in_order() {
            match self.rest.get(&base, path).await {
                Ok(said) => {
                    self.prefer(&base);
                    return Ok((base, said));
                }
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble("no Patroni is configured".to_owned())))
    }

    /// Everybody that was ever listed, also before this agent was started: one that is listed no more may still write.
    fn all_known(&self, listed: &BTreeMap<String, Listed>) -> Result<BTreeMap<String, Url>, Trouble> {
        let mut seen = Vec::new();
        for (name, member) in listed {
            let at = super::rest::base(&member.api)
                .map_err(|trouble| Trouble(format!("member {name} of the cluster in {}: {trouble}", self.region)))?;
            seen.push((name.clone(), at));
        }
        self.known.with(seen)
    }

    /// Patroni elects nobody who is behind the last position that it noted, as a server that was rewound is: so it is told whom to take. Only in a
    /// region that follows, where whoever leads is no primary by that.
    async fn lead_on(&self, seen: &Seen) {
        let standbys = || seen.members.iter().filter(|(_, status)| status.role == Role::Standby);
        let is_leaderless = !seen.is_led && seen.writes() == Some(false) && matches!(seen.configuration.wanted, Wanted::StandbyOf(..));
        let is_late = {
            let mut since = self.leaderless_since.lock().await;
            *since = is_leaderless.then(|| since.unwrap_or_else(Instant::now));
            since.is_some_and(|since| since.elapsed() >= LEADERLESS)
        };
        let Some((name, _)) = standbys().max_by_key(|(_, status)| (status.timeline, status.position)).filter(|_| is_late) else { return };
        *self.leaderless_since.lock().await = None;
        for base in self.in_order() {
            match self.rest.name_leader(&base, name).await {
                Ok(()) => return info!(region = %self.region, "nobody led the cluster, and {name} is to do it now"),
                Err(trouble) => debug!("{trouble}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::failover::evidence::Stream;

    use super::{super::said::Noted, *};

    fn standby() -> Status {
        Status { role: Role::Standby, system: Some(7), timeline: Some(1), position: Some(50), replayed: Some(50) }
    }

    fn server(from: (&str, u16)) -> Remote {
        Remote {
            system: 7,
            is_standby: true,
            timeline: Some(2),
            position: 60,
            replayed: 50,
            is_exhausted: true,
            from: Some((from.0.to_owned(), from.1)),
            named: None,
            has_receiver: false,
            stream: Stream::Down,
            shipped_to: Vec::new(),
            opening: None,
        }
    }

    fn region(wanted: Wanted, fenced: bool) -> Seen {
        Seen {
            configuration: Configuration { wanted, noted: Noted { fenced, ..Noted::default() }, is_paused: false },
            follows: None,
            members: [("us-1".to_owned(), standby())].into(),
            leader: Some("us-1".to_owned()),
            is_led: true,
            server: Some(server(NOBODY)),
        }
    }

    fn nobody() -> Wanted {
        Wanted::StandbyOf(NOBODY.0.to_owned(), NOBODY.1)
    }

    #[test]
    fn only_what_every_member_that_was_ever_seen_says_is_a_fence() {
        let fenced = region(nobody(), true);
        let told = fenced.managed(false, true);
        assert_eq!((told.role, told.fenced, told.position), (managed::Role::Replica, true, Some(50)));
        assert_eq!((told.upstream, told.timeline), (Upstream::Nobody, 2), "the files know the timeline better");
        assert_eq!(fenced.managed(false, false).position, None, "the rest is being fetched from it");
        assert!(!fenced.managed(true, true).fenced, "the permit is there");
        assert!(!region(nobody(), false).managed(false, true).fenced, "it is sealed");
        assert!(!region(Wanted::Primary, true).managed(false, true).fenced, "somebody changed its configuration");
        let mut silent = region(nobody(), true);
        silent.members.insert("us-2".to_owned(), Status::default());
        let told = silent.managed(false, true);
        assert_eq!((told.role, told.fenced), (managed::Role::Unknown, false));
        assert_eq!(told.silence.as_deref(), Some("what us-2 does is not known"));
        let mut torn = region(nobody(), true);
        torn.members.insert("us-2".to_owned(), Status { role: Role::Writes, ..standby() });
        let told = torn.managed(false, true);
        assert_eq!((told.role, told.fenced), (managed::Role::Primary, false));
        let mut stopped = region(nobody(), true);
        stopped.members.insert("us-1".to_owned(), Status { role: Role::Stopped, ..Status::default() });
        assert_eq!(stopped.managed(false, true).role, managed::Role::Stopped);
        assert_eq!(stopped.managed(false, false).role, managed::Role::Unknown, "it is being started again");
    }

    #[test]
    fn whom_it_follows_is_what_its_server_says() {
        let eu = ("10.0.0.2".to_owned(), 5432);
        let mut seen = region(Wanted::StandbyOf(eu.0.clone(), eu.1), false);
        seen.follows = Some(Label::new("eu"));
        assert_eq!(seen.managed(false, true).upstream, Upstream::Leaving, "its configuration alone proves nothing");
        seen.server = Some(Remote { from: Some(eu), stream: Stream::Up { silent_for: Duration::ZERO }, ..server(NOBODY) });
        let told = seen.managed(false, true);
        assert_eq!((told.upstream, told.position, told.applied), (Upstream::Member(Label::new("eu")), Some(60), Some(50)));
        seen.follows = None;
        assert_eq!(seen.managed(false, true).upstream, Upstream::Elsewhere);
        seen.server = None;
        assert_eq!((seen.managed(false, true).upstream, seen.managed(false, true).position), (Upstream::Leaving, None));
    }
}
