//! One look at a region's cluster: what it shall be, what each of its members is, and what its leader's server says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::Duration,
};

use portolan_core::{failover::token::Token, model::ids::Label};
use reqwest::{StatusCode, Url};
use tokio::{task::JoinSet, time::Instant};
use tracing::{debug, info};

use super::{
    super::{
        Trouble,
        managed::{self, Passing, Upstream},
        postgres::remote::{self, Remote},
    },
    Patroni, is_nobody, nobody,
    said::{self, Configuration, Listed, Role, Status, Wanted},
};

/// So long a cluster finds a leader by itself; then one is named to it.
const LEADERLESS: Duration = Duration::from_secs(5);

/// What servers say, by the names of their members.
type Servers = BTreeMap<String, Result<Remote, Trouble>>;

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
    /// What the server of each listed member says; `None`: it does not.
    pub(super) servers: BTreeMap<String, Option<Remote>>,
    /// Where those are.
    pub(super) places: BTreeSet<(String, u16)>,
    /// Who wrote last.
    pub(super) wrote: Wrote,
    /// The highest token by which its Patroni took a change of this agent's.
    pub(super) taken: Token,
    /// A change that lets it write got no answer, and may be made still.
    pub(super) is_late: bool,
}

/// Who took writes last in a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Nobody knows: this agent has not seen it.
    #[default]
    Unknown,
    /// Nobody, since it followed another region.
    Nobody,
    /// This member.
    Member(String),
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

    /// What the leader's server says; `None`: it does not.
    fn server(&self) -> Option<&Remote> {
        self.server_of(self.leader.as_ref()?)
    }

    fn server_of(&self, name: &str) -> Option<&Remote> {
        self.servers.get(name)?.as_ref()
    }

    /// It is set to follow nobody.
    pub(super) fn is_cut_off(&self) -> bool {
        matches!(&self.configuration.wanted, Wanted::StandbyOf(host, port) if is_nobody(host, *port))
    }

    /// It is set to follow nobody by the last decision that changed something.
    fn is_cut_now(&self) -> bool {
        let (host, port) = nobody(self.configuration.noted.token());
        self.configuration.wanted == Wanted::StandbyOf(host, port)
    }

    /// No turn of its Patronis that promotes by what was there before is under way.
    fn is_taken_in(&self) -> bool {
        let Wanted::StandbyOf(host, port) = &self.configuration.wanted else { return false };
        self.members.iter().all(|(name, status)| match status.role {
            // It is started as a standby, and promoted by a later turn, which reads what is there then.
            Role::Stopped => true,
            Role::Standby => {
                let from = self.server_of(name).filter(|server| server.is_standby).and_then(|server| server.from.as_ref());
                match from {
                    None => false,
                    Some(from) if self.leader.as_ref() == Some(name) => (&from.0, &from.1) == (host, port),
                    // Whoever has just lost the leader key follows nobody still, or whoever had it before.
                    Some(from) => self.places.contains(from),
                }
            }
            Role::Writes | Role::Unknown => false,
        })
    }

    /// No member takes writes, and none will by itself. `is_permitted`: the permit is there.
    pub(super) fn is_fenced(&self, is_permitted: bool) -> bool {
        let noted = self.configuration.noted;
        let is_last = noted.token() >= self.taken && !self.is_late;
        noted.fenced && is_last && self.is_cut_now() && self.writes() == Some(false) && self.is_taken_in() && !is_permitted
    }

    /// Where its copy ends, when nothing comes any more. Of a region that was fenced it is where writes ended: whoever wrote last has replayed all that it
    /// has, and nobody has more.
    fn end(&self) -> Option<u64> {
        let end = self.server()?.end()?;
        if !self.configuration.noted.fenced {
            return Some(end);
        }
        let has_ended = |name: &String| self.server_of(name).is_some_and(|server| server.is_standby && server.is_exhausted);
        let is_whole = match &self.wrote {
            Wrote::Nobody => true,
            Wrote::Member(name) => has_ended(name),
            Wrote::Unknown => self.members.keys().all(has_ended),
        };
        let has_most = self.servers.values().flatten().all(|server| server.replayed <= end);
        (is_whole && has_most).then_some(end)
    }

    fn upstream(&self) -> Upstream {
        let Some(server) = self.server() else { return Upstream::Leaving };
        match (&self.configuration.wanted, &server.from) {
            (Wanted::StandbyOf(host, port), Some(from)) if self.is_cut_off() => {
                if (host, port) == (&from.0, &from.1) && !server.has_receiver { Upstream::Nobody } else { Upstream::Leaving }
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
        let names = self.server().map(|server| server.shipped_to.as_slice()).unwrap_or_default();
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
        let server = self.server();
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
        for base in self.late.bases() {
            if self.rest.get(&base, "/config").await.is_ok() {
                self.late.heard(&base)?;
            }
        }
        let listed = self.listed().await?;
        let (members, mut servers) = self.ask_all(&listed).await?;
        let leads = listed.iter().find(|(_, member)| member.leads);
        let answers = |name: &String| members.get(name).is_some_and(|it: &Status| matches!(it.role, Role::Writes | Role::Standby));
        let (mut leader, mut primary) = (None, None);
        if let Some((name, member)) = leads.filter(|(name, _)| answers(name)) {
            leader = Some(name.clone());
            let said = servers.get(name);
            self.note_silence(name, said.and_then(|said| said.as_ref().err()));
            let is_primary = said.is_some_and(|said| said.as_ref().is_ok_and(|it| !it.is_standby));
            primary = self.info(member).ok().filter(|_| is_primary);
            super::rest::base(&member.api).iter().for_each(|base| self.prefer(base));
        }
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
        // After the members, and from the leader's if that may be: what they say holds under what is there now.
        let configuration = self.configuration().await?;
        let follows = match &configuration.wanted {
            Wanted::StandbyOf(host, port) => self.members.region_at(host, *port),
            Wanted::Primary | Wanted::StandbyOfArchive => None,
        };
        let seen = Seen {
            configuration,
            follows,
            members,
            leader,
            is_led: leads.is_some(),
            servers: listed.keys().map(|name| (name.clone(), servers.remove(name).and_then(Result::ok))).collect(),
            places: listed.values().filter_map(|member| member.server.clone()).collect(),
            wrote: Wrote::Unknown,
            taken: *self.taken.lock().unwrap_or_else(PoisonError::into_inner),
            is_late: !self.late.bases().is_empty(),
        };
        let wrote = self.note_writer(&seen);
        Ok(Seen { wrote, ..seen })
    }

    /// Who wrote last, with what this look adds.
    fn note_writer(&self, seen: &Seen) -> Wrote {
        let mut wrote = self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = seen.members.iter().find(|(_, status)| status.role == Role::Writes).map(|(name, _)| name.clone());
        if let Some(name) = writer {
            *wrote = Wrote::Member(name);
        } else if matches!(seen.upstream(), Upstream::Member(_)) && seen.server().is_some_and(|server| server.stream.is_up()) {
            *wrote = Wrote::Nobody;
        }
        wrote.clone()
    }

    /// What each member's Patroni says, and each listed one's server that runs.
    async fn ask_all(&self, listed: &BTreeMap<String, Listed>) -> Result<(BTreeMap<String, Status>, Servers), Trouble> {
        let known = self.all_known(listed)?;
        let mut members: BTreeMap<String, Status> = known.keys().map(|name| (name.clone(), Status::default())).collect();
        let mut asking = JoinSet::new();
        for (name, at) in known {
            let (rest, info) = (self.rest.clone(), listed.get(&name).map(|member| self.info(member)));
            asking.spawn(async move {
                let said = rest.get(&at, "/patroni").await.and_then(|(_, text)| Status::parse(&text));
                let said = said.inspect_err(|trouble| debug!("{name} does not say what it does: {trouble}"));
                let status = said.unwrap_or_default();
                let server = match info.filter(|_| matches!(status.role, Role::Writes | Role::Standby)) {
                    None => None,
                    Some(Ok(info)) => Some(remote::look(&info).await),
                    Some(Err(trouble)) => Some(Err(trouble)),
                };
                (name, status, server)
            });
        }
        let mut servers = Servers::new();
        while let Some(said) = asking.join_next().await {
            let Ok((name, status, server)) = said else { continue };
            servers.extend(server.map(|server| (name.clone(), server)));
            members.insert(name, status);
        }
        Ok((members, servers))
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

    const TOKEN: Token = Token { generation: 1, epoch: 9 };

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
        let noted = Noted { generation: TOKEN.generation, epoch: TOKEN.epoch, fenced };
        Seen {
            configuration: Configuration { wanted, noted, is_paused: false },
            follows: None,
            members: [("us-1".to_owned(), standby())].into(),
            leader: Some("us-1".to_owned()),
            is_led: true,
            servers: [("us-1".to_owned(), Some(cut(TOKEN)))].into(),
            places: [("10.0.0.1".to_owned(), 5432), ("10.0.0.2".to_owned(), 5432)].into(),
            wrote: Wrote::Member("us-1".to_owned()),
            taken: TOKEN,
            is_late: false,
        }
    }

    /// A server that was cut off by this decision.
    fn cut(token: Token) -> Remote {
        let (host, port) = super::super::nobody(token);
        server((&host, port))
    }

    fn nobody() -> Wanted {
        let (host, port) = super::super::nobody(TOKEN);
        Wanted::StandbyOf(host, port)
    }

    /// The same with a second member, which follows there.
    fn with_second(mut seen: Seen, from: (&str, u16)) -> Seen {
        seen.members.insert("us-2".to_owned(), standby());
        seen.servers.insert("us-2".to_owned(), Some(server(from)));
        seen
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

    /// A turn of the leader's Patroni read `promote`, waits for its store, and promotes after the fence was written: it does not look again.
    #[test]
    fn a_fence_that_the_leaders_patroni_has_not_taken_in_is_none() {
        let before = Token { epoch: 7, ..TOKEN };
        let mut seen = region(nobody(), true);
        seen.servers.insert("us-1".to_owned(), Some(cut(before)));
        let told = seen.managed(false, true);
        assert_eq!((told.role, told.fenced, told.upstream), (managed::Role::Replica, false, Upstream::Leaving), "it shows an earlier cut");
        seen.servers.insert("us-1".to_owned(), None);
        assert!(!seen.managed(false, true).fenced, "its server says nothing");
        let mut leaderless = region(nobody(), true);
        leaderless.leader = None;
        assert!(!leaderless.managed(false, true).fenced, "nobody's turn has done anything");
        assert!(with_second(region(nobody(), true), ("10.0.0.1", 5432)).managed(false, true).fenced);
        let place = super::super::nobody(before);
        let lost = with_second(region(nobody(), true), (&place.0, place.1));
        assert!(!lost.managed(false, true).fenced, "it had the leader key, and may be at it still");
        let mut unlisted = with_second(region(nobody(), true), ("10.0.0.1", 5432));
        unlisted.servers.remove("us-2");
        assert!(!unlisted.managed(false, true).fenced, "its server cannot be asked");
    }

    /// A Patroni that stood still makes a change that was given up, over the fence.
    #[test]
    fn a_fence_is_none_while_something_older_may_be_written_over_it() {
        let late = Seen { is_late: true, ..region(nobody(), true) };
        assert!(!late.managed(false, true).fenced);
        let lower = Seen { taken: Token { epoch: 10, ..TOKEN }, ..region(nobody(), true) };
        assert!(!lower.managed(false, true).fenced, "a higher token was there, and is no more");
        let (host, port) = super::super::nobody(Token { epoch: 7, ..TOKEN });
        let mut mixed = region(Wanted::StandbyOf(host.clone(), port), true);
        mixed.servers.insert("us-1".to_owned(), Some(server((&host, port))));
        assert!(!mixed.managed(false, true).fenced, "it was cut off by another decision than the one that is noted");
    }

    /// The leader that was fenced does not come up, and Patroni has another member lead, which had not everything.
    #[test]
    fn a_region_ends_where_whoever_wrote_last_ends_and_nobody_has_more() {
        let end = |seen: &Seen| seen.managed(false, true).position;
        let behind = with_second(region(nobody(), true), ("10.0.0.1", 5432));
        assert_eq!(end(&behind), Some(50));
        let other_wrote = Seen { wrote: Wrote::Member("us-2".to_owned()), ..behind.clone() };
        assert_eq!(end(&other_wrote), Some(50), "it has replayed what it had");
        let mut down = other_wrote.clone();
        down.members.insert("us-2".to_owned(), Status { role: Role::Stopped, ..Status::default() });
        down.servers.insert("us-2".to_owned(), None);
        assert_eq!((down.managed(false, true).fenced, end(&down)), (true, None), "it is fenced, and where it ended nobody knows");
        assert_eq!(end(&Seen { wrote: Wrote::Unknown, ..down.clone() }), None);
        assert_eq!(end(&Seen { wrote: Wrote::Nobody, ..down }), Some(50), "it followed another region");
        let mut replays = other_wrote.clone();
        replays.servers.insert("us-2".to_owned(), Some(Remote { is_exhausted: false, replayed: 40, ..server(("10.0.0.1", 5432)) }));
        assert_eq!(end(&replays), None);
        let mut ahead = behind;
        ahead.servers.insert("us-2".to_owned(), Some(Remote { replayed: 51, ..server(("10.0.0.1", 5432)) }));
        assert_eq!(end(&ahead), None);
        ahead.configuration.noted.fenced = false;
        assert_eq!(end(&ahead), Some(50), "a copy that is sealed ends where it ends");
    }

    #[test]
    fn whom_it_follows_is_what_its_server_says() {
        let eu = ("10.0.0.2".to_owned(), 5432);
        let mut seen = region(Wanted::StandbyOf(eu.0.clone(), eu.1), false);
        seen.follows = Some(Label::new("eu"));
        assert_eq!(seen.managed(false, true).upstream, Upstream::Leaving, "its configuration alone proves nothing");
        let follows = Remote { from: Some(eu), stream: Stream::Up { silent_for: Duration::ZERO }, ..cut(TOKEN) };
        seen.servers.insert("us-1".to_owned(), Some(follows));
        let told = seen.managed(false, true);
        assert_eq!((told.upstream, told.position, told.applied), (Upstream::Member(Label::new("eu")), Some(60), Some(50)));
        seen.follows = None;
        assert_eq!(seen.managed(false, true).upstream, Upstream::Elsewhere);
        seen.servers.clear();
        assert_eq!((seen.managed(false, true).upstream, seen.managed(false, true).position), (Upstream::Leaving, None));
    }
}
