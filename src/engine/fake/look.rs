//! One look at a fake database, and at the one that it is to follow.

use portolan_core::{
    failover::{
        engine::postgres::{Control, Process, Ran, Seen, Server, Source, Upstream},
        evidence::Stream,
    },
    model::ids::Label,
};
use tracing::debug;

use super::{
    super::Trouble,
    Fake,
    files::{self, Settings},
    log,
    wire::{Client, Status},
};

impl Fake {
    /// Looks. `vessel`: the supervisor's incarnation, and whether something runs in it; `None`: no supervisor answers.
    pub(super) async fn seen(&self, vessel: Option<(u64, bool)>) -> Result<Seen, Trouble> {
        let Settings { upstream, synchronous } = self.files.settings()?;
        let upstream = upstream.map_or(Upstream::Nobody, |upstream| Upstream::Member(upstream.region));
        let own = self.own().await.inspect_err(|trouble| debug!("the server does not answer: {trouble}"));
        let (server, silence) = match own {
            Ok(status) => (Some(status), None),
            Err(trouble) => (None, Some(trouble.0)),
        };
        let process = match vessel {
            Some((incarnation, true)) => Process::Ours(incarnation),
            _ if server.is_some() => Process::Foreign,
            Some((_, false)) => Process::Down,
            None => Process::Unknown,
        };
        let control = (process == Process::Down).then(|| self.control().ok()).flatten();
        let is_marked = self.files.is_marked()?;
        Ok(Seen { process, is_marked, control, upstream, synchronous, server: server.map(self::server), silence, ..Seen::default() })
    }

    /// What the member in that region says of itself.
    pub(super) async fn other(&self, region: &Label) -> Result<Source, Trouble> {
        let Status { head, is_standby, .. } = Client::connect(&self.address(region)?).await?.status().await?;
        Ok(Source { system: head.system, history: head.history, is_standby })
    }

    pub(super) async fn own(&self) -> Result<Status, Trouble> {
        self.client().await?.status().await
    }

    pub(super) async fn client(&self) -> Result<Client, Trouble> {
        Client::connect(&self.setup.listen.to_string()).await
    }

    fn control(&self) -> Result<Control, Trouble> {
        let head = log::read(&self.files.log())?;
        let ran = match self.files.ran()? {
            // What was taken away since is no clean end.
            files::Ran::Stopped(at) if at == head.end => Ran::Stopped(at),
            files::Ran::Stopped(_) | files::Ran::Primary => Ran::Primary,
            files::Ran::Standby => Ran::Standby,
        };
        Ok(Control { ran, system: head.system, timeline: head.history.timeline })
    }
}

fn server(status: Status) -> Server {
    let Status { head, is_standby, upstream, silent_for, synchronous, reserved, beat_age: _ } = status;
    Server {
        system: head.system,
        is_standby,
        upstream: upstream.filter(|_| is_standby).map_or(Upstream::Nobody, Upstream::Member),
        stream: silent_for.filter(|_| is_standby).map_or(Stream::Down, |silent_for| Stream::Up { silent_for }),
        position: head.end,
        // There is nothing between receiving and showing.
        end: Some(head.end),
        is_paused: false,
        is_delayed: false,
        reserved,
        synchronous,
        opening: head.opening,
        archive: None,
        // Nothing but what is written to it is in its log.
        wrote: (!is_standby).then_some(head.end),
        settings: None,
        slots: Vec::new(),
        history: head.history,
    }
}
