//! One look at a server, and at the one that it is to follow.

use std::sync::PoisonError;

use portolan_core::{
    failover::engine::redis::{Floor, Note, Process, Seen, Server, Source, Upstream},
    model::ids::Label,
};
use tracing::debug;

use super::{super::Trouble, Client, Redis, Status, files::NOWHERE};

impl Redis {
    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    pub(super) async fn seen(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        let (status, floor, silence) = match self.status().await {
            Ok((status, floor)) => (Some(status), floor, None),
            Err(trouble) => {
                debug!("the server does not answer: {trouble}");
                (None, None, Some(trouble.0))
            }
        };
        let process = match vessel {
            Some((incarnation, true)) => Process::Ours(incarnation),
            _ if status.is_some() => Process::Foreign,
            Some((_, false)) => Process::Down,
            None => Process::Unknown,
        };
        let (server, broken) = match status {
            Some(status) => (Some(self.server(&status)), status.broken),
            None => (None, None),
        };
        if let Some(server) = server.as_ref().filter(|_| broken.is_none() && matches!(process, Process::Ours(_))) {
            self.change_note(|note| note.after(server))?;
        }
        let kept = self.kept(process == Process::Down)?;
        // The snapshot says it until the first run; later ones have other ids.
        if let Some(system) = kept.system().filter(|_| kept.note.system.is_none()) {
            self.change_note(|note| Note { system: Some(system), ..note.clone() })?;
        }
        let mark = self.files.mark()?;
        let (is_marked, upstream) = (mark.is_some(), mark.map_or(Upstream::Nobody, |(host, port)| self.member_at(&host, port)));
        let floor = server.as_ref().zip(floor).map(|(server, floor)| Floor {
            lifted: kept.note.lifted.as_ref().filter(|(id, _)| *id == server.id).map(|(_, floor)| *floor),
            ..floor
        });
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let n_others = members.keys().filter(|region| **region != self.setup.region).count();
        Ok(Seen { process, is_marked, broken, kept, upstream, server, silence, floor, n_others })
    }

    /// What the member in that region says of itself.
    pub(super) async fn other(&self, region: &Label) -> Result<Source, Trouble> {
        let (host, port) = self.address(region)?;
        let status = Client::connect(&host, port, self.setup.login.as_ref()).await?.status().await?;
        if let Some(why) = status.broken {
            return Err(Trouble(why));
        }
        let is_signed = status.token().is_some();
        Ok(Source { is_replica: status.info.is_replica, line: status.line.filter(|_| is_signed) })
    }

    /// With its floor; what is not told of that is nothing that a look fails for.
    async fn status(&self) -> Result<(Status, Option<Floor>), Trouble> {
        let mut client = self.own().await?;
        let status = client.status().await?;
        let set = client.floor().await.inspect_err(|trouble| debug!("nothing of its floor: {trouble}")).ok();
        let info = &status.info;
        let of =
            |(replicas, lag_max)| Floor { replicas, lag_max, is_primary: !info.is_replica, n_following: info.n_following, lifted: None };
        let floor = set.map(of);
        Ok((status, floor))
    }

    pub(super) fn position(&self, status: &Status) -> Option<u64> {
        self.server(status).position()
    }

    pub(super) fn server(&self, status: &Status) -> Server {
        let upstream = status.info.upstream.as_ref().map_or(Upstream::Nobody, |(host, port)| self.member_at(host, *port));
        Server::new(&status.info, upstream, status.line.clone(), status.beat.map(|(_, position)| position))
    }

    fn member_at(&self, host: &str, port: u16) -> Upstream {
        if port == NOWHERE.1 {
            return Upstream::Nobody;
        }
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let found = members.iter().find(|(_, (of, at))| of == host && *at == port);
        found.map_or(Upstream::Elsewhere, |(region, _)| Upstream::Member(region.clone()))
    }

    /// Reads and writes the note as one thing: looks and tasks go on side by side.
    pub(super) fn change_note(&self, change: impl FnOnce(&Note) -> Note) -> Result<(), Trouble> {
        let _noting = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.files.note()?;
        let after = change(&before);
        if after == before { Ok(()) } else { self.files.set_note(&after) }
    }
}
