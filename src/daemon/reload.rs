//! Notices changed files and loads them. A file that is wrong changes nothing, and says so.
//!
//! On a node on its own the plan file is the plan. In a cluster the agreed plan is; the file seeds a cluster that has none, may be followed, and a
//! difference is told.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use notify::{RecursiveMode, Watcher as _};
use portolan_core::{
    cluster::{Change, Outline, PutPlan},
    model::units::Share,
    node::{Event, report::Severity},
    plan::Plan,
    simulate::{self, Population},
    table::World,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    LoadedWorld, Setup, WorldError,
    agreement::note,
    cluster::{Cluster, Truth, Unproposed},
    control::Command,
    peers,
    store::{self, PlanSource},
    world::{load_source, load_world},
};
use crate::latest::LatestSeen;

/// Clients that are asked for when the effect of another plan is worked out.
const CLIENTS: usize = 4000;

/// Files are often written in several steps; they are read when nothing has happened for so long.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches the directories of all files that `setup` names, because editors and Kubernetes replace files rather than write into them.
/// SIGHUP loads too.
///
/// # Errors
/// When a directory cannot be watched.
pub(super) fn watch(
    setup: &Setup,
    commands: mpsc::Sender<Command>,
    running: LoadedWorld,
    cluster: Cluster,
    (references, plans): (watch::Sender<Vec<String>>, watch::Sender<Arc<Plan>>),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // One place is enough: a change that finds it taken will be seen by the load that it announces.
    let (changed, changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_change(&event)) {
            let _ = changed.try_send(());
        }
    })?;
    for directory in directories(setup, &running) {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            warn!("watch `{}`: {error}; changes of files there are loaded by SIGHUP only", directory.display());
        }
    }
    let hangup = signal(SignalKind::hangup())?;
    let reloader = Reloader { setup: setup.clone(), commands, cluster, references, plans, running, file: None, joins: 0, offered: None };
    tokio::spawn(async move {
        reloader.run(changes, hangup, stop).await;
        drop(watcher);
    });
    Ok(())
}

/// Our own reading of the files is no change, and neither is our own state. An event without a path says that events were lost.
fn is_change(event: &notify::Event) -> bool {
    let is_foreign = event.paths.is_empty() || event.paths.iter().any(|path| !store::is_own(path));
    is_foreign && !event.kind.is_access()
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
    cluster: Cluster,
    references: watch::Sender<Vec<String>>,
    plans: watch::Sender<Arc<Plan>>,
    /// In force here.
    running: LoadedWorld,
    /// The plan file as it is, where a cluster has a plan of its own.
    file: Option<LoadedWorld>,
    /// How often the rules for peers changed since the start.
    joins: u16,
    /// The latest plan that was offered to the cluster, by digest and revision: not to be offered again and again.
    offered: Option<(String, u64)>,
}

impl Reloader {
    async fn run(mut self, mut changes: mpsc::Receiver<()>, mut hangup: tokio::signal::unix::Signal, stop: CancellationToken) {
        let mut truth = self.cluster.truth();
        self.running_changed();
        if self.cluster.me().has_peers {
            self.read_file().await;
        }
        loop {
            let agreed = truth.latest_seen();
            self.follow(&agreed).await;
            let by_hand = tokio::select! {
                () = stop.cancelled() => return,
                changed = truth.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                Some(()) = changes.recv() => false,
                Some(()) = hangup.recv() => true,
            };
            // Let the writer finish.
            while !by_hand && tokio::time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
            if self.cluster.me().has_peers {
                self.read_file().await;
                self.load_again(by_hand).await;
            } else {
                self.load(by_hand).await;
            }
        }
    }

    //--- A node on its own: the file is the plan

    async fn load(&mut self, by_hand: bool) {
        let setup = self.setup.clone();
        let Ok(outcome) = tokio::task::spawn_blocking(move || load_world(&setup)).await else { return };
        let command = match outcome {
            Err(error) => refused(error.kind(), shown(&error)),
            Ok(loaded) => match self.admits(&loaded) {
                Err(text) => refused("plan", text),
                Ok(false) if !by_hand && !self.has_geo_files() => Command::Refused(Event::FileAccepted { kind: "plan" }),
                Ok(_) => self.take(loaded).await,
            },
        };
        // The control task is gone only when the daemon stops.
        let _ = self.commands.send(command).await;
    }

    /// Whether the plan, with its zone files, may follow the one in force; `Ok(false)`: it is the same.
    fn admits(&self, loaded: &LoadedWorld) -> Result<bool, String> {
        let revision = loaded.world.topology.revision;
        let in_force = self.running.world.topology.revision;
        if revision > in_force {
            return Ok(true);
        }
        let plan = self.setup.plan.display();
        if loaded.digest != self.running.digest {
            return Err(format!(
                "{plan}: revision {revision} has another content than revision {in_force} in force; raise `revision` above {in_force}"
            ));
        }
        // The serial of a zone is the plan's revision: without a greater one nobody would notice the change.
        match loaded.source.zone_files.iter().find(|(name, text)| self.running.source.zone_files.get(*name) != Some(*text)) {
            Some((name, _)) => {
                Err(format!("{name}: another content than with revision {in_force} in force; raise `revision` above {in_force} in {plan}"))
            }
            None => Ok(false),
        }
    }

    //--- A node of a cluster: what is agreed is the plan

    /// Does what the agreed state asks for: brings its plan into force here, and offers the file where it is wanted.
    async fn follow(&mut self, truth: &Truth) {
        if let Some(agreed) = truth.state.plan().filter(|_| self.cluster.me().has_peers) {
            let plan = &agreed.plan;
            if plan.digest != self.running.digest || plan.zones != self.running.source.zone_files {
                self.load_agreed(plan).await;
            }
        }
        self.offer(truth).await;
        if self.cluster.me().has_peers {
            note(&self.commands, "plan_drift", self.drift(truth)).await;
        }
    }

    async fn load_agreed(&mut self, plan: &PutPlan) {
        let (setup, source) = (self.setup.clone(), PlanSource { text: plan.text.clone(), zone_files: plan.zones.clone() });
        let Ok(outcome) = tokio::task::spawn_blocking(move || load_source(&setup, source)).await else { return };
        let command = match outcome {
            Err(error) => refused("plan", format!("revision {} of the cluster: {}", plan.revision, shown(&error))),
            Ok(loaded) => self.take(loaded).await,
        };
        let _ = self.commands.send(command).await;
    }

    /// Reads the plan file, to compare and to offer it.
    async fn read_file(&mut self) {
        let setup = self.setup.clone();
        let Ok(outcome) = tokio::task::spawn_blocking(move || load_world(&setup)).await else { return };
        let command = match outcome {
            Ok(loaded) => {
                self.file = Some(loaded);
                Command::Refused(Event::FileAccepted { kind: "plan" })
            }
            Err(error) => {
                self.file = None;
                refused(error.kind(), shown(&error))
            }
        };
        let _ = self.commands.send(command).await;
    }

    /// The plan in force with the geo files as they are now.
    async fn load_again(&mut self, by_hand: bool) {
        if !by_hand && !self.has_geo_files() {
            return;
        }
        let (setup, source) = (self.setup.clone(), self.running.source.clone());
        let Ok(outcome) = tokio::task::spawn_blocking(move || load_source(&setup, source)).await else { return };
        let command = match outcome {
            Err(error) => refused(error.kind(), shown(&error)),
            Ok(loaded) => self.take(loaded).await,
        };
        let _ = self.commands.send(command).await;
    }

    /// Offers a plan to the cluster: the file where there is none yet, or where it is to be followed; a node on its own, what it runs.
    async fn offer(&mut self, truth: &Truth) {
        if truth.leader.is_none() || truth.state.cluster().is_none() {
            return;
        }
        let has_peers = self.cluster.me().has_peers;
        let Some(file) = (if has_peers { self.file.as_ref() } else { Some(&self.running) }) else { return };
        let agreed = truth.state.plan().map(|it| (it.plan.revision, it.plan.digest.clone(), it.plan.zones.clone()));
        let revision = file.world.topology.revision;
        let is_wanted = match &agreed {
            // The leader's file, so that not every node offers its own.
            None => !has_peers || truth.leader == Some(self.cluster.id()),
            Some((in_force, digest, zones)) if has_peers => {
                self.setup.cluster.as_ref().is_some_and(|it| it.plan_follow)
                    && revision > *in_force
                    && (*digest != file.digest || *zones != file.source.zone_files)
            }
            Some((in_force, digest, zones)) => *in_force != revision || *digest != file.digest || *zones != file.source.zone_files,
        };
        let key = (file.digest.clone(), revision);
        if !is_wanted || self.offered.as_ref() == Some(&key) {
            return;
        }
        let change = Change::PutPlan(Box::new(PutPlan {
            revision,
            expected_revision: Some(agreed.map_or(0, |(revision, ..)| revision)),
            digest: file.digest.clone(),
            text: file.source.text.clone(),
            zones: file.source.zone_files.clone(),
            outline: Outline::of(&file.plan, &file.world.topology),
        }));
        // On a node on its own the file is in force whatever the log says of it.
        let moves = if has_peers { moved(&self.running.world, &file.world).await } else { Some(Share::NONE) };
        match self.cluster.propose_system(change, moves, &format!("from {}", self.setup.plan.display())).await {
            Ok(()) => {
                info!(revision, "the plan file was put in force for the cluster");
                self.offered = Some(key);
            }
            Err(Unproposed::Refused(why)) => {
                warn!(revision, why, "the plan file was not put in force for the cluster");
                self.offered = Some(key);
            }
            Err(why) => info!(revision, %why, "the plan file is not in force for the cluster yet"),
        }
    }

    /// What the file says other than the cluster's plan.
    fn drift(&self, truth: &Truth) -> Option<(Severity, String)> {
        let (agreed, file) = (&truth.state.plan()?.plan, self.file.as_ref()?);
        if agreed.digest == file.digest && agreed.zones == file.source.zone_files {
            return None;
        }
        let (ours, theirs) = (file.world.topology.revision, agreed.revision);
        let plan = self.setup.plan.display();
        let text = format!(
            "{plan} is revision {ours}, digest {}, and the cluster runs revision {theirs}, digest {}; `portolan plan diff`, then `plan apply`, or              replace the file",
            short(&file.digest),
            short(&agreed.digest)
        );
        Some((Severity::Warning, text))
    }

    //--- Both

    fn has_geo_files(&self) -> bool {
        self.setup.geo_database.is_some() || self.setup.latency_table.is_some()
    }

    /// Notes what is in force from now on, and makes the command that brings it there.
    async fn take(&mut self, loaded: LoadedWorld) -> Command {
        for line in loaded.warnings.lines() {
            warn!("{line}");
        }
        info!(revision = loaded.world.topology.revision, "plan loaded");
        let rules = |plan: &Plan| plan.vantage.as_ref().map(|vantage| (vantage.probers_per_region, vantage.unproven_hold));
        let are_others = rules(&loaded.plan) != rules(&self.running.plan);
        self.running = loaded.clone();
        self.running_changed();
        if are_others && self.cluster.me().has_peers {
            self.joins = self.joins.saturating_add(1);
            let peers = peers(&self.setup, &loaded.plan, self.cluster.incarnation(), self.joins);
            // The control task is gone only when the daemon stops.
            let _ = self.commands.send(Command::Join(peers)).await;
        }
        let origin = loaded.origin();
        Command::Loaded(Event::WorldLoaded { world: loaded.world, digest: loaded.digest }, origin)
    }

    fn running_changed(&self) {
        self.plans.send_if_modified(|before| {
            let is_new = !Arc::ptr_eq(before, &self.running.plan);
            *before = Arc::clone(&self.running.plan);
            is_new
        });
        let references = self.running.plan.vantage.iter().flat_map(|vantage| &vantage.references);
        let references: Vec<String> = references.map(|reference| reference.0.0.to_string()).collect();
        self.references.send_if_modified(|before| {
            let is_new = *before != references;
            *before = references;
            is_new
        });
    }
}

/// The share of the world's clients whose answer another plan changes, everything being well; `None`: not known.
async fn moved(before: &Arc<World>, after: &Arc<World>) -> Option<Share> {
    let (before, after) = (before.clone(), after.clone());
    let worked_out = tokio::task::spawn_blocking(move || {
        simulate::moved(&simulate::all_well(&before), &simulate::all_well(&after), &Population::world(CLIENTS))
    });
    worked_out.await.ok()
}

fn refused(kind: &'static str, text: String) -> Command {
    Command::Refused(Event::FileRejected { kind, text })
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The whole refusal: every problem with its fix, in one line.
pub(super) fn shown(error: &WorldError) -> String {
    let WorldError::Plan(problems) = error else { return error.to_string() };
    let fixes = problems.list.iter().map(|problem| problem.fix.as_str());
    let lines = problems.lines().zip(fixes).map(|(line, fix)| if fix.is_empty() { line } else { format!("{line} ({fix})") });
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use notify::{Event, EventKind, event::AccessKind};

    use super::*;

    #[test]
    fn reading_and_own_state_are_no_change() {
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let modified = EventKind::Modify(notify::event::ModifyKind::Any);
        assert!(is_change(&event(modified, "/etc/portolan/plan.yaml")));
        assert!(is_change(&event(modified, "/etc/portolan/..data")), "Kubernetes swaps a link beside the file");
        assert!(is_change(&Event::new(EventKind::Other)), "events were lost");
        assert!(!is_change(&event(EventKind::Access(AccessKind::Any), "/etc/portolan/plan.yaml")));
        for own in ["node.json", "node.json.new"] {
            assert!(!is_change(&event(modified, &format!("/var/lib/portolan/{own}"))));
        }
        assert!(is_change(&event(modified, "/etc/portolan/node.json").add_path("/etc/portolan/plan.yaml".into())));
    }
}
