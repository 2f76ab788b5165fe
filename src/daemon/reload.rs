//! Notices changed files and loads them. A file that is wrong changes nothing, and says so.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use notify::{RecursiveMode, Watcher as _};
use portolan_core::node::Event;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{LoadedWorld, Setup, WorldError, control::Command, world::load_world};

/// Files are often written in several steps; they are read when nothing has happened for so long.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches the directories of all files that `setup` names, because editors and Kubernetes replace files rather than write into them.
/// SIGHUP loads too.
///
/// # Errors
/// When a directory cannot be watched.
pub(super) fn watch(setup: &Setup, commands: mpsc::Sender<Command>, running: LoadedWorld, stop: CancellationToken) -> anyhow::Result<()> {
    // One place is enough: a change that finds it taken will be seen by the load that it announces.
    let (changed, changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading of the files is no change.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.try_send(());
        }
    })?;
    for directory in directories(setup, &running) {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            warn!("watch `{}`: {error}; changes of files there are loaded by SIGHUP only", directory.display());
        }
    }
    let hangup = signal(SignalKind::hangup())?;
    let reloader = Reloader { setup: setup.clone(), commands, digest: running.digest.clone(), revision: running.world.topology.revision };
    tokio::spawn(async move {
        reloader.run(changes, hangup, stop).await;
        drop(watcher);
    });
    Ok(())
}

fn directories(setup: &Setup, running: &LoadedWorld) -> BTreeSet<PathBuf> {
    let beside = |file: &String| setup.plan.parent().map(|directory| directory.join(file));
    let zone_files = running.source.zone_files.keys().filter_map(beside);
    let files = [Some(setup.plan.clone()), setup.geo_database.clone(), setup.latency_table.clone()].into_iter().flatten().chain(zone_files);
    let directories = files.filter_map(|file| file.parent().map(PathBuf::from));
    directories.map(|directory| if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory }).collect()
}

struct Reloader {
    setup: Setup,
    commands: mpsc::Sender<Command>,
    digest: String,
    revision: u64,
}

impl Reloader {
    async fn run(mut self, mut changes: mpsc::Receiver<()>, mut hangup: tokio::signal::unix::Signal, stop: CancellationToken) {
        loop {
            let by_hand = tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = changes.recv() => false,
                Some(()) = hangup.recv() => true,
            };
            // Let the writer finish.
            while !by_hand && tokio::time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
            self.load(by_hand).await;
        }
    }

    async fn load(&mut self, by_hand: bool) {
        let setup = self.setup.clone();
        let Ok(outcome) = tokio::task::spawn_blocking(move || load_world(&setup)).await else { return };
        let refused = |kind, text: String| Command::Refused(Event::FileRejected { kind, text });
        let command = match outcome {
            Err(error) => refused(error.kind(), shown(&error)),
            Ok(loaded) => match self.admits(&loaded) {
                Err(text) => refused("plan", text),
                Ok(false) if !by_hand && self.setup.geo_database.is_none() && self.setup.latency_table.is_none() => {
                    Command::Refused(Event::FileAccepted { kind: "plan" })
                }
                Ok(_) => {
                    for line in loaded.warnings.lines() {
                        warn!("{line}");
                    }
                    info!(revision = loaded.world.topology.revision, "files loaded");
                    self.digest.clone_from(&loaded.digest);
                    self.revision = loaded.world.topology.revision;
                    let source = loaded.source;
                    Command::Loaded(Event::WorldLoaded { world: Arc::clone(&loaded.world), digest: loaded.digest }, source)
                }
            },
        };
        // The control task is gone only when the daemon stops.
        let _ = self.commands.send(command).await;
    }

    /// Whether the plan may follow the one in force; `Ok(false)`: it is the same.
    fn admits(&self, loaded: &LoadedWorld) -> Result<bool, String> {
        let revision = loaded.world.topology.revision;
        if loaded.digest == self.digest {
            return Ok(false);
        }
        if revision > self.revision {
            return Ok(true);
        }
        Err(format!(
            "{}: revision {revision} has another content than revision {} in force; raise `revision` above {}",
            self.setup.plan.display(),
            self.revision,
            self.revision
        ))
    }
}

/// The whole refusal: every problem with its fix, in one line.
pub(super) fn shown(error: &WorldError) -> String {
    let WorldError::Plan(problems) = error else { return error.to_string() };
    let fixes = problems.list.iter().map(|problem| problem.fix.as_str());
    let lines = problems.lines().zip(fixes).map(|(line, fix)| if fix.is_empty() { line } else { format!("{line} ({fix})") });
    lines.collect::<Vec<_>>().join("; ")
}
