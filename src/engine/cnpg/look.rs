//! One look at a region's cluster: what its object says, and what each of its servers does.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, atomic::Ordering::Relaxed},
};

use portolan_core::model::ids::Label;
use tokio::task::JoinSet;
use tracing::debug;

use super::{
    super::{
        Trouble,
        managed::{self, Passing, Upstream},
        postgres::remote::{self, Remote},
    },
    Cnpg,
    said::{Cluster, NOBODY, NOWHERE},
};

/// What was seen of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its object.
    pub(super) cluster: Cluster,
    /// The region that it is to follow, if it is one of the plan.
    pub(super) follows: Option<Label>,
    /// What each instance's server says; `None`: it does not.
    pub(super) servers: BTreeMap<String, Option<Remote>>,
}

impl Seen {
    /// That of the instance which is the primary, or first of a replica cluster.
    pub(super) fn server(&self) -> Option<&Remote> {
        self.servers.get(&self.cluster.current)?.as_ref()
    }

    /// Takes no writes: it says so, or was demoted and is not up again.
    fn is_quiet(&self, name: &str, server: Option<&Remote>) -> bool {
        server.map_or_else(|| name == self.cluster.current && self.cluster.proof().is_some(), |server| server.is_standby)
    }

    /// Whether somebody in the region takes writes; `None`: nobody knows, because an instance does not answer.
    pub(super) fn writes(&self) -> Option<bool> {
        if self.servers.values().flatten().any(|server| !server.is_standby) {
            return Some(true);
        }
        let is_known = !self.servers.is_empty() && self.servers.iter().all(|(name, server)| self.is_quiet(name, server.as_ref()));
        is_known.then_some(false)
    }

    /// The server has taken in that it follows nobody, by the last change which said so: whoever runs it promotes nothing from then on.
    fn has_taken_it_in(&self, server: &Remote) -> bool {
        let nobody = self.cluster.externals.get(NOBODY);
        let is_last = server.named.is_some() && nobody.is_some_and(|it| it.named == server.named);
        self.cluster.is_cut_off() && is_last && server.from.as_ref().is_some_and(|(host, port)| (host.as_str(), *port) == NOWHERE)
    }

    /// No instance takes writes, and none will by itself.
    pub(super) fn is_fenced(&self) -> bool {
        let is_taken_in = self.server().map_or_else(|| self.cluster.proof().is_some(), |server| self.has_taken_it_in(server));
        self.cluster.noted.fenced && self.cluster.is_cut_off() && self.writes() == Some(false) && is_taken_in
    }

    fn upstream(&self) -> Upstream {
        let Some(server) = self.server() else { return Upstream::Leaving };
        let is_from = |at: &Option<(String, u16)>| at.is_some() && *at == server.from;
        match self.cluster.follows() {
            None => Upstream::Elsewhere,
            Some(_) if self.cluster.is_cut_off() => {
                if self.has_taken_it_in(server) && !server.has_receiver {
                    Upstream::Nobody
                } else {
                    Upstream::Leaving
                }
            }
            Some(source) if is_from(&source.at) => self.follows.clone().map_or(Upstream::Elsewhere, Upstream::Member),
            Some(_) => Upstream::Leaving,
        }
    }

    /// Where its copy ends, when nothing comes any more.
    fn end(&self) -> Option<u64> {
        self.server().filter(|_| self.upstream() == Upstream::Nobody).and_then(Remote::end)
    }

    /// How many that follow it from outside have everything.
    fn n_ahead(&self) -> usize {
        let names = self.server().map(|server| server.shipped_to.as_slice()).unwrap_or_default();
        names.iter().filter(|name| !self.servers.contains_key(*name)).count()
    }

    /// Why nothing can be said of it.
    fn unknown(&self) -> String {
        let silent = self.servers.iter().filter(|(name, server)| !self.is_quiet(name, server.as_ref())).map(|(name, _)| name.as_str());
        let doing = match self.cluster.phase.as_str() {
            _ if self.cluster.is_down && !self.cluster.is_changing => " (its servers are kept down)".to_owned(),
            "" => String::new(),
            phase => format!(" (its operator: {phase})"),
        };
        match silent.collect::<Vec<_>>().as_slice() {
            [] => format!("it has no instance{doing}"),
            names => format!("what {} does is not known{doing}", names.join(", ")),
        }
    }

    /// What it is that may pass; `None`: nothing such.
    fn passing(&self) -> Option<Passing> {
        let is_stopped = self.writes() == Some(false) && self.server().is_none();
        if is_stopped { Some(Passing::Stopped) } else { (self.is_fenced() && self.end().is_some()).then_some(Passing::Ended) }
    }

    /// What the contract makes of it. `is_settled`: what may pass has had its time.
    pub(super) fn managed(&self, is_settled: bool) -> managed::Seen {
        let runs = Some(self.cluster.current.clone()).filter(|name| !name.is_empty());
        let unknown = |why: String| managed::Seen { silence: Some(why), runs: runs.clone(), ..managed::Seen::default() };
        let primary = self.servers.values().flatten().find(|server| !server.is_standby);
        let (role, server) = match self.writes() {
            Some(true) => (managed::Role::Primary, primary),
            None => return unknown(self.unknown()),
            Some(false) if !is_settled && self.passing() == Some(Passing::Stopped) => {
                return unknown("its server is down, and may be on its way".to_owned());
            }
            Some(false) if self.server().is_none() => (managed::Role::Stopped, None),
            Some(false) => (managed::Role::Replica, self.server()),
        };
        let left = self.cluster.proof().filter(|_| role == managed::Role::Stopped);
        let timeline = server.and_then(|it| it.timeline).or_else(|| left.map(|it| it.timeline)).unwrap_or(0);
        let mut seen = managed::Seen {
            role,
            system: server.map(|it| it.system).or(self.cluster.system).unwrap_or(0),
            timeline,
            fenced: self.is_fenced(),
            opening: server.and_then(|it| it.opening).filter(|_| timeline > 0),
            runs,
            ..managed::Seen::default()
        };
        match role {
            managed::Role::Primary => seen.position = server.map(|it| it.position),
            managed::Role::Replica => {
                let end = self.end().filter(|_| is_settled || !seen.fenced);
                remote::tell_copy(&mut seen, server, self.upstream(), end);
            }
            // Behind it comes the checkpoint of its end, and nobody's write.
            managed::Role::Stopped => seen.position = left.map(|it| it.redo),
            managed::Role::Unknown => {}
        }
        seen
    }
}

impl Cnpg {
    /// Looks, when no change is under way any more: what is seen is what came of the last one.
    pub(super) async fn seen(&self) -> Result<managed::Seen, Trouble> {
        self.changes.none().await?;
        let cluster = self.api.get().await?;
        let servers = self.ask(&cluster).await;
        let follows = cluster.follows().and_then(|source| source.at.as_ref()).and_then(|(host, port)| self.members.region_at(host, *port));
        let seen = Seen { cluster, follows, servers };
        let writes = seen.servers.iter().find(|(_, server)| server.as_ref().is_some_and(|it| !it.is_standby)).map(|(name, _)| name);
        let primary = writes.and_then(|name| self.info(&seen.cluster, name));
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
        self.is_standby.store(seen.server().is_some_and(|server| server.is_standby), Relaxed);
        let has_all = seen.n_ahead() >= self.members.n_beside(&self.region);
        Ok(seen.managed(self.settling.is_over(seen.passing(), has_all)))
    }

    /// Asks every instance for itself: what the object says of one that could not be asked is what it says of a standby.
    async fn ask(&self, cluster: &Cluster) -> BTreeMap<String, Option<Remote>> {
        let mut servers: BTreeMap<String, Option<Remote>> = cluster.instances.keys().map(|name| (name.clone(), None)).collect();
        let mut asking = JoinSet::new();
        for name in cluster.instances.keys() {
            let Some(info) = self.info(cluster, name) else { continue };
            let (name, system) = (name.clone(), cluster.system);
            asking.spawn(async move {
                let said = remote::look(&info).await.inspect_err(|trouble| debug!("{name} does not say what it does: {trouble}"));
                // Another database at the address of a pod that is gone says nothing of it.
                (name, said.ok().filter(|server| system.is_none_or(|system| system == server.system)))
            });
        }
        while let Some(said) = asking.join_next().await {
            servers.extend(said.ok());
        }
        servers
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portolan_core::failover::evidence::Stream;
    use serde_json::{Value, json};

    use super::{
        super::{
            said::{ALL, FENCED, NOTE},
            sample::{left, read},
        },
        *,
    };

    fn server(from: Option<(&str, u16)>, named: Option<&str>) -> Remote {
        Remote {
            system: 7,
            is_standby: true,
            timeline: Some(3),
            position: 60,
            replayed: 50,
            is_exhausted: true,
            from: from.map(|(host, port)| (host.to_owned(), port)),
            named: named.map(str::to_owned),
            has_receiver: false,
            stream: Stream::Down,
            shipped_to: Vec::new(),
            opening: None,
        }
    }

    fn primary() -> Remote {
        Remote { is_standby: false, position: 50, ..server(None, None) }
    }

    /// A region that was cut off: of its two instances the first one was the primary, or it was a replica cluster.
    fn cut(was: Option<&str>, demotion: Option<&str>, first: Option<Remote>, second: Option<Remote>) -> Seen {
        let note = json!({ "generation": 1, "epoch": 9, "fenced": true, "was": was, "before": left("0/5000028") });
        let nobody =
            json!({ "name": NOBODY, "connectionParameters": { "host": "127.0.0.1", "port": "1", "application_name": "portolan-1.9-40" } });
        let over = json!({
            "metadata": { "annotations": { NOTE: note.to_string(), FENCED: ALL } },
            "spec": { "replica": { "primary": NOBODY, "source": NOBODY }, "externalClusters": [nobody] },
            "status": { "demotionToken": demotion.map(left) }
        });
        with(&over, first, second)
    }

    fn with(over: &Value, first: Option<Remote>, second: Option<Remote>) -> Seen {
        let servers = [("orders-us-1".to_owned(), first), ("orders-us-2".to_owned(), second)].into();
        Seen { cluster: read(over), follows: None, servers }
    }

    fn nobody() -> Option<Remote> {
        Some(server(Some(NOWHERE), Some("portolan-1.9-40")))
    }

    fn replica() -> Option<Remote> {
        Some(server(Some(("orders-us-rw", 5432)), Some("orders-us-2")))
    }

    #[test]
    fn a_fence_is_what_every_instance_says_and_the_first_one_has_taken_in() {
        let told = cut(None, None, nobody(), replica()).managed(true);
        assert_eq!((told.role, told.fenced, told.upstream, told.position), (managed::Role::Replica, true, Upstream::Nobody, Some(50)));
        assert_eq!(cut(None, None, nobody(), replica()).managed(false).position, None, "the rest is being fetched from it");
        let late = cut(None, None, Some(server(Some(NOWHERE), Some("portolan-1.8-31"))), replica()).managed(true);
        assert_eq!((late.fenced, late.upstream), (false, Upstream::Leaving), "it shows what an earlier change said");
        let silent = cut(None, None, nobody(), None).managed(true);
        assert_eq!((silent.role, silent.fenced), (managed::Role::Unknown, false));
        assert_eq!(silent.silence.as_deref(), Some("what orders-us-2 does is not known (its servers are kept down)"));
        let torn = cut(None, None, nobody(), Some(primary())).managed(true);
        assert_eq!((torn.role, torn.fenced), (managed::Role::Primary, false));
    }

    #[test]
    fn servers_that_are_kept_down_and_do_not_answer_are_no_fence_but_what_the_demotion_left_is() {
        let was = Some("orders-us-1");
        for (demotion, why) in [(None, "nothing was left"), (Some("0/5000028"), "it was left by an earlier one")] {
            let told = cut(was, demotion, None, replica()).managed(true);
            assert_eq!((told.role, told.fenced), (managed::Role::Unknown, false), "{why}");
        }
        let told = cut(was, Some("0/6000028"), None, replica()).managed(true);
        assert_eq!((told.role, told.fenced, told.position, told.timeline), (managed::Role::Stopped, true, Some(0x0600_0028), 3));
        assert_eq!(cut(was, Some("0/6000028"), None, replica()).managed(false).role, managed::Role::Unknown, "it is on its way up");
        let alone = cut(was, Some("0/6000028"), None, None).managed(true);
        assert_eq!(
            alone.silence.as_deref(),
            Some("what orders-us-2 does is not known (its servers are kept down)"),
            "it says nothing of another one"
        );
        let other = cut(Some("orders-us-2"), Some("0/6000028"), None, replica()).managed(true);
        assert_eq!(other.role, managed::Role::Unknown, "the first one is another one by now");
    }

    #[test]
    fn whom_it_follows_is_what_its_server_says() {
        let eu = Some(server(Some(("10.0.0.2", 5433)), None)).map(|it| Remote { stream: Stream::Up { silent_for: Duration::ZERO }, ..it });
        let mut seen = with(&json!({}), eu, replica());
        assert_eq!(seen.managed(true).upstream, Upstream::Elsewhere, "the plan has no member there");
        seen.follows = Some(Label::new("eu"));
        let told = seen.managed(true);
        assert_eq!((told.upstream, told.position, told.applied), (Upstream::Member(Label::new("eu")), Some(60), Some(50)));
        let leaving = with(&json!({}), nobody(), replica());
        assert_eq!(leaving.managed(true).upstream, Upstream::Leaving, "its object alone proves nothing");
        let open = json!({ "spec": { "replica": { "primary": "orders-us" } } });
        assert_eq!(with(&open, replica(), replica()).managed(true).upstream, Upstream::Elsewhere, "it is to be promoted");
        let told = with(&open, Some(primary()), replica()).managed(true);
        assert_eq!((told.role, told.position, told.runs.as_deref()), (managed::Role::Primary, Some(50), Some("orders-us-1")));
        assert_eq!(with(&open, None, replica()).managed(true).role, managed::Role::Unknown);
    }
}
