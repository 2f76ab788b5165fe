//! From files to a world: plan, zone files, geo database and latency table, read and checked together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use portolan_core::{
    geo::{GeoMap, GeoMapError, Profiles},
    model::{name::Name, record::Record, topology::Topology},
    node::Event,
    plan::Plan,
    table::World,
    zone::file,
};

use super::{
    Setup,
    reload::shown,
    store::{Origin, PlanSource},
};
use crate::{
    config::{Problems, plan},
    geo::{self, GeoError},
};

/// A larger plan or zone file is refused unread; the document's own bounds are tighter.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// A world with where it came from.
#[derive(Clone, Debug)]
pub struct LoadedWorld {
    /// Ready to be answered from.
    pub world: Arc<World>,
    /// The plan's digest in hexadecimal.
    pub digest: String,
    /// What somebody should look at.
    pub warnings: Problems,
    /// The documents that it was made from.
    pub source: PlanSource,
    /// The plan as written.
    pub plan: Arc<Plan>,
    /// Fingerprints of the geo database and the latency table that it was made with; empty: neither.
    pub geo: String,
}

impl LoadedWorld {
    pub(super) fn origin(&self) -> Arc<Origin> {
        Arc::new(Origin { source: self.source.clone(), geo: self.geo.clone() })
    }
}

/// Why no world could be made. What was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A file cannot be read.
    #[error("read `{}`: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The plan is wrong.
    #[error("{0}")]
    Plan(Box<Problems>),
    /// A zone file is wrong.
    #[error("{0}")]
    Zone(String),
    /// The geo database or the latency table is wrong.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// They do not fit together.
    #[error(transparent)]
    Map(#[from] GeoMapError),
}

impl WorldError {
    /// Which file is to blame: the word under which notices and metrics know it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Plan(_) | Self::Zone(_) => "plan",
            Self::Geo(_) | Self::Map(_) => "geo",
        }
    }
}

/// Reads everything that `setup` names. Blocks: seconds with a large geo database.
///
/// # Errors
/// What is wrong with which file.
pub fn load_world(setup: &Setup) -> Result<LoadedWorld, WorldError> {
    load_source(setup, read_source(&setup.plan)?)
}

/// Reads a plan and the zone files that it names, without judging them.
pub(super) fn read_source(plan: &Path) -> Result<PlanSource, WorldError> {
    let text = read(plan)?;
    let mut zone_files = BTreeMap::new();
    for (_, file) in plan::zone_files(&text, &plan.display().to_string()).map_err(|problems| WorldError::Plan(Box::new(problems)))? {
        // Beside the plan, as people write it.
        let path = plan.parent().unwrap_or_else(|| Path::new("")).join(&file);
        zone_files.insert(file, read(&path)?);
    }
    Ok(PlanSource { text, zone_files })
}

/// Checks a plan and its zone files together.
pub(super) fn load_plan(file: &str, source: &PlanSource, allowed_targets: &[IpNet]) -> Result<plan::LoadedPlan, WorldError> {
    let wanted = plan::zone_files(&source.text, file).map_err(|problems| WorldError::Plan(Box::new(problems)))?;
    let mut zone_records: BTreeMap<Name, Vec<Record>> = BTreeMap::new();
    for (apex, file) in wanted {
        let text = source.zone_files.get(&file).map(String::as_str).unwrap_or_default();
        let contents = file::read(text.as_bytes(), &apex, &|_| false).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("{file}:{problem}")).collect();
            WorldError::Zone(lines.join("\n"))
        })?;
        zone_records.insert(apex, contents.records);
    }
    let options = plan::Options { allowed_targets: allowed_targets.to_vec(), zone_records, serial: None };
    plan::load(&source.text, file, &options).map_err(|problems| WorldError::Plan(Box::new(problems)))
}

/// Makes a world of documents that were read before. Blocks as [`load_world`] does.
pub(super) fn load_source(setup: &Setup, source: PlanSource) -> Result<LoadedWorld, WorldError> {
    let loaded = load_plan(&setup.plan.display().to_string(), &source, &setup.allowed_targets)?;
    let database = setup.geo_database.as_deref().map(geo::load_database).transpose()?;
    let latency = setup.latency_table.as_deref().map(geo::load_latency).transpose()?;
    let files = [&setup.geo_database, &setup.latency_table].into_iter().flatten();
    let fingerprints = files.map(|file| geo::fingerprint(file)).collect::<Result<Vec<_>, _>>()?;
    let topology = Arc::new(loaded.topology);
    let map = GeoMap::build(&topology.regions, &Profiles::of(&topology).distinct, database, latency.as_ref())?;
    let world = Arc::new(World::new(topology, Arc::new(map)));
    Ok(LoadedWorld {
        world,
        digest: loaded.digest,
        warnings: loaded.warnings,
        source,
        plan: Arc::new(loaded.plan),
        geo: fingerprints.join(" "),
    })
}

/// A world without geo files: places by the plan's networks and the built-in table.
pub(super) fn bare_world(topology: Topology) -> Result<Arc<World>, GeoMapError> {
    let map = GeoMap::build(&topology.regions, &Profiles::of(&topology).distinct, None, None)?;
    Ok(Arc::new(World::new(Arc::new(topology), Arc::new(map))))
}

fn read(path: &Path) -> Result<String, WorldError> {
    let failed = |problem: String| WorldError::File { path: path.to_owned(), problem };
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_OCTETS_MAX {
        return Err(failed(format!("it has {size} octets; at most {FILE_OCTETS_MAX} are read")));
    }
    fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

/// The world to start with.
pub(super) struct Start {
    pub(super) loaded: LoadedWorld,
    /// What is to be told first: which file was refused, and what is used in its place.
    pub(super) notices: Vec<Event>,
}

/// Loads the files. When one is wrong after a former run, goes on with the plan of that run, or without the geo files: a broken file must
/// not keep a restarted node dark. Without a former run nothing depends on this node yet, and the mistake is better told at once.
pub(super) async fn load_or_fall_back(setup: &Setup, left: Option<&PlanSource>) -> anyhow::Result<Start> {
    let (setup, left) = (setup.clone(), left.cloned());
    let outcome = tokio::task::spawn_blocking(move || match load_first(&setup, left.as_ref()) {
        Ok(loaded) => Ok(Start { loaded, notices: Vec::new() }),
        Err(error) => left.and_then(|source| fall_back(&setup, source, &error)).ok_or(error),
    });
    Ok(outcome.await??)
}

/// In a cluster the plan of the former run was the agreed one; the file only seeds a cluster that has none.
fn load_first(setup: &Setup, left: Option<&PlanSource>) -> Result<LoadedWorld, WorldError> {
    match left.filter(|_| setup.cluster.is_some()).map(|source| load_source(setup, source.clone())) {
        Some(Ok(loaded)) => Ok(loaded),
        Some(Err(_)) | None => load_world(setup),
    }
}

/// The best that can be made of the files when they are refused with `error`, and of the plan of the former run.
fn fall_back(setup: &Setup, source: PlanSource, error: &WorldError) -> Option<Start> {
    let refused =
        |error: &WorldError, instead: String| Event::FileRejected { kind: error.kind(), text: format!("{} ({instead})", shown(error)) };
    let without_geo = |error: &WorldError| refused(error, "using the networks of the plan and the built-in table".to_owned());
    let bare = Setup { geo_database: None, latency_table: None, ..setup.clone() };
    if error.kind() == "geo" {
        let loaded = load_world(&bare).ok()?;
        return Some(Start { loaded, notices: vec![without_geo(error)] });
    }
    let former =
        |loaded: &LoadedWorld| refused(error, format!("using the plan of the former run, revision {}", loaded.world.topology.revision));
    match load_source(setup, source.clone()) {
        Ok(loaded) => Some(Start { notices: vec![former(&loaded)], loaded }),
        Err(second) if second.kind() == "geo" => {
            let loaded = load_source(&bare, source).ok()?;
            Some(Start { notices: vec![former(&loaded), without_geo(&second)], loaded })
        }
        Err(_) => None,
    }
}
