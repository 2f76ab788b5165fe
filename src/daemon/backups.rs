//! Looks at the places where backups lie, again and again, beside everything else.
//!
//! ```text
//!  plan --classes()--> one task per place --look--> Sight          every node looks by itself: nothing is agreed, nothing waits for it
//!                                                     |
//!                       API, metrics, readiness <-- Standing::of, when somebody asks
//! ```
//!
//! A directory with a region is looked at by the nodes of that region. Another plan ends the tasks; what was seen of places that stay is kept.
//! Invariant: at most one look at a directory is under way, also when its file system hangs and the look was given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use portolan_core::{
    model::{ids::Label, time::Timestamp},
    plan::Plan,
    recovery::{
        archive::Archived,
        backups::{Class, Place, Seen, Sight, Source, Standing, Verdict, classes},
        class_exposure::{ClassExposure, GroupExposure},
        readiness::{Finding, Grade},
    },
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Clock, Setup, secret};
use crate::{
    backup::{
        LookError, directory,
        http::{Credentials, Services},
        s3::{Folder, Limits, Stores, credentials},
        told,
    },
    hook::{self, Call},
    latest::LatestSeen,
    telemetry::BackupReading,
};

/// For one look: a hundred pages from another continent, or a hundred thousand names from a network file system.
const LOOK_TIME_MAX: Duration = Duration::from_secs(120);

/// For a service or a program to list what is there. Less than for a whole look, so that why there is none is told by who was asked.
const LIST_TIME_MAX: Duration = Duration::from_secs(60);

/// Looks at a time: they are beside everything else, and nobody waits for them.
const LOOKS_MAX: usize = 4;

/// What is known of backups; cheap to copy.
#[derive(Clone)]
pub(super) struct Backups {
    known: Arc<Mutex<Vec<Known>>>,
    clock: Arc<Clock>,
}

/// A class with what is known of each of its places.
#[derive(Clone)]
struct Known {
    class: Class,
    sights: Vec<Sight>,
}

impl Backups {
    /// Begins to look at what `plans` names, until `stop`.
    pub(super) fn start(setup: &Setup, plans: watch::Receiver<Arc<Plan>>, clock: Arc<Clock>, stop: CancellationToken) -> Self {
        let backups = Self { known: Arc::default(), clock };
        let looker = Arc::new(Looker {
            backups: backups.clone(),
            region: Label::new(&setup.region),
            secrets_dir: setup.secrets_dir.clone(),
            hooks_dir: setup.hooks_dir.clone(),
            stores: OnceLock::new(),
            services: OnceLock::new(),
            looks: Semaphore::new(LOOKS_MAX),
            busy: Arc::default(),
        });
        tokio::spawn(stop.run_until_cancelled_owned(looker.follow(plans)));
        backups
    }

    /// How every class of the plan in force stands now, in the plan's order.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let now = self.clock.now().wall;
        let known = self.known().clone();
        known.into_iter().map(|known| Standing::of(known.class, known.sights, now)).collect()
    }

    /// For metrics. `groups`: what is known of each.
    pub(super) fn readings(&self, groups: &BTreeMap<Label, GroupExposure>) -> Vec<BackupReading> {
        let exposure = |it: ClassExposure| (it.region.map_or_else(|| "any".to_owned(), |region| region.to_string()), it.time.high);
        let reading = |standing: Standing| BackupReading {
            class: standing.class.name.to_string(),
            exposures: standing.exposures(groups).into_iter().map(exposure).collect(),
            age: standing.age,
            standing: standing.verdict().word(),
            looks_failing: u64::try_from(standing.sights.iter().filter(|sight| sight.trouble.is_some()).count()).unwrap_or(u64::MAX),
        };
        self.standings().into_iter().map(reading).collect()
    }

    /// What readiness says of the backups of a group's data: a failover needs none, so they never stand in its way. `archived`: of the group.
    pub(super) fn findings(&self, group: &Label, archived: Option<&Archived>) -> Vec<Finding> {
        let of_group = self.standings().into_iter().filter(|standing| standing.class.groups.contains(group));
        let of_group: Vec<Standing> = of_group.collect();
        let moments = of_group.iter().filter(|standing| standing.class.is_point_in_time).map(|standing| {
            let found = standing.point_in_time(group, archived);
            let is_well = found.verdict == Verdict::Pass;
            let text = if is_well { found.text } else { format!("{}: {}", found.verdict, found.text) };
            let grade = if is_well { Grade::Pass } else { Grade::Warn };
            Finding { check: found.check.to_owned(), grade, text, fix: found.fix }
        });
        let moments: Vec<Finding> = moments.collect();
        let finding = |standing: Standing| {
            let name = &standing.class.name;
            let (grade, text, fix) = match standing.worst() {
                None => (Grade::Pass, format!("backups of {name} are as the plan wants them"), String::new()),
                Some(worst) => {
                    let text = format!("backups of {name}: {} {}: {}", worst.verdict, worst.check, worst.text);
                    (Grade::Warn, text, format!("see all of it: portolan recovery backups {name}"))
                }
            };
            Finding { check: "backups".to_owned(), grade, text, fix }
        };
        of_group.into_iter().map(finding).chain(moments).collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        // Whoever panicked left whole values: each is replaced by assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in another plan. What was seen of a place that stays is kept, and so is its number.
    fn plan(&self, classes: Vec<Class>) {
        let mut known = self.known();
        let before = std::mem::take(&mut *known);
        let sight = |class: &Class, place: &Place| {
            let same = before.iter().filter(|it| it.class.name == class.name).flat_map(|it| it.class.places.iter().zip(&it.sights));
            same.into_iter().find(|(it, _)| *it == place).map(|(_, sight)| sight.clone()).unwrap_or_default()
        };
        *known = classes
            .into_iter()
            .map(|class| Known { sights: class.places.iter().map(|place| sight(&class, place)).collect(), class })
            .collect();
    }

    fn note(&self, class: &Class, place: &Place, looked: Result<Seen, String>) {
        let at = self.clock.now().wall;
        let mut known = self.known();
        let known = known.iter_mut().filter(|it| it.class.name == class.name);
        let sights = known.flat_map(|it| it.class.places.iter().zip(&mut it.sights));
        // The plan may have gone on meanwhile.
        let Some((_, sight)) = sights.into_iter().find(|(it, _)| *it == place) else { return };
        match looked {
            Ok(seen) => {
                debug!(class = %class.name, place = %place.source, n_complete = seen.listing.n_complete, "backups seen");
                sight.note(seen, class);
            }
            Err(why) => {
                // Once, not at each look.
                if sight.trouble.as_ref().is_none_or(|before| before.why != why) {
                    warn!(class = %class.name, place = %place.source, why, "backups not seen");
                }
                sight.fail(at, why);
            }
        }
    }
}

struct Looker {
    backups: Backups,
    region: Label,
    secrets_dir: Option<PathBuf>,
    hooks_dir: Option<PathBuf>,
    /// Made with the first store of a plan: it reads the host's certificates, and without any there is no store, but a daemon.
    stores: OnceLock<Result<Stores, LookError>>,
    /// The same, of services that list.
    services: OnceLock<Result<Services, LookError>>,
    looks: Semaphore,
    /// Directories of which a look is under way.
    busy: Arc<Mutex<BTreeSet<String>>>,
}

impl Looker {
    async fn follow(self: Arc<Self>, mut plans: watch::Receiver<Arc<Plan>>) {
        loop {
            let classes = classes(&plans.latest_seen());
            self.backups.plan(classes.clone());
            let mut places = JoinSet::new();
            for class in classes.into_iter().map(Arc::new) {
                for n in 0..class.places.len() {
                    places.spawn(Arc::clone(&self).keep(Arc::clone(&class), n));
                }
            }
            // Nobody sends plans any more: the daemon stops.
            if plans.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks at a place for ever.
    async fn keep(self: Arc<Self>, class: Arc<Class>, n: usize) {
        let place = &class.places[n];
        loop {
            let looked = {
                let Ok(_turn) = self.looks.acquire().await else { return };
                timeout(LOOK_TIME_MAX, self.look(place)).await
            };
            let looked = looked.unwrap_or_else(|_| Err(format!("no answer within {} s", LOOK_TIME_MAX.as_secs())));
            self.backups.note(&class, place, looked);
            sleep(place.look_every).await;
        }
    }

    async fn look(&self, place: &Place) -> Result<Seen, String> {
        let now = self.backups.clock.now().wall;
        match &place.source {
            Source::Directory(_) if place.region.as_ref().is_some_and(|region| *region != self.region) => {
                let region = place.region.as_ref().map(ToString::to_string).unwrap_or_default();
                Err(format!("only nodes in {region} look at it: ask one of them"))
            }
            Source::Directory(path) => self.directory(path.clone(), place, now).await,
            Source::S3 { bucket, prefix, endpoint, sign_region, secret } => {
                let text = self.secret(secret)?;
                let credentials = credentials(&text).map_err(|error| format!("secret `{secret}`: {error}"))?;
                let folder = Folder { bucket, prefix, endpoint: endpoint.as_deref(), sign_region };
                let stores = self.stores.get_or_init(|| Stores::new(Limits::default())).as_ref().map_err(ToString::to_string)?;
                let look = stores.look(&folder, &credentials, place.complete.as_ref(), now);
                look.await.map_err(|error| error.to_string())
            }
            Source::Http { url, secret } => {
                let credentials = match secret {
                    Some(secret) => {
                        let text = self.secret(secret)?;
                        Some(Credentials::parse(&text).map_err(|error| format!("secret `{secret}`: {error}"))?)
                    }
                    None => None,
                };
                let services = self.services.get_or_init(|| Services::new(LIST_TIME_MAX)).as_ref().map_err(ToString::to_string)?;
                let look = services.look(url, credentials.as_ref(), place.complete.as_ref(), now);
                look.await.map_err(|error| error.to_string())
            }
            Source::Exec { hook } => self.exec(hook, place, now).await,
            Source::Other(what) => Err(format!("source {what} is not looked at by this version")),
        }
    }

    /// Read at each look, so that a new one needs no restart.
    fn secret(&self, name: &Label) -> Result<String, String> {
        let directory = self.secrets_dir.as_ref().ok_or_else(|| format!("secret `{name}`: this node has no secrets_dir"))?;
        secret::read(directory, name.as_str()).map_err(|error| format!("{error:#}"))
    }

    /// As every program of the operator is run: by its name, without a shell, and with an end.
    async fn exec(&self, name: &Label, place: &Place, now: Timestamp) -> Result<Seen, String> {
        let directory = self.hooks_dir.as_ref().ok_or_else(|| format!("hook `{name}`: this node has no hooks_dir"))?;
        let call = Call {
            name: name.to_string(),
            arguments: vec!["backups".to_owned()],
            environment: BTreeMap::new(),
            input: serde_json::json!({ "region": self.region.as_str() }),
            timeout: LIST_TIME_MAX,
        };
        let printed = hook::print(directory, &call, told::OCTETS_MAX as u64).await?;
        told::read(&printed, place.complete.as_ref(), now).map_err(|why| format!("hook `{name}`: {why}"))
    }

    /// On a thread of its own, which a file system that hangs may keep for ever: neither the runtime nor the end of the daemon waits for it.
    async fn directory(&self, path: String, place: &Place, now: Timestamp) -> Result<Seen, String> {
        let busy = Busy::begin(&self.busy, &path).ok_or("a former look is not answered yet: the file system hangs")?;
        let complete = place.complete.clone();
        let (answer, told) = oneshot::channel();
        let look = move || {
            let looked = directory::look(&path, complete.as_ref(), now);
            drop(busy);
            // Who asked may have given up.
            let _ = answer.send(looked);
        };
        std::thread::Builder::new().name("backups".to_owned()).spawn(look).map_err(|error| format!("start a thread: {error}"))?;
        let looked = told.await.map_err(|_| "the look ended without an answer".to_owned())?;
        looked.map_err(|error| error.to_string())
    }
}

/// Marks a directory as being looked at.
struct Busy {
    all: Arc<Mutex<BTreeSet<String>>>,
    path: String,
}

impl Busy {
    /// `None`: it is marked already.
    fn begin(all: &Arc<Mutex<BTreeSet<String>>>, path: &str) -> Option<Self> {
        let is_free = all.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        is_free.then(|| Self { all: Arc::clone(all), path: path.to_owned() })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}
