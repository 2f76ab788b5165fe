//! What the plan says of backups, with every default filled in.

use std::{fmt, time::Duration};

use super::Pattern;
use crate::{
    model::ids::Label,
    plan::{
        Plan,
        sections::{Backup, BackupSource, DisasterRecovery, Encryption, RecoverySource, Storage},
    },
};

/// Where nothing else is said, a place is looked at so often in the time between two backups: what is shown is then never far behind.
const LOOKS_PER_BACKUP: u32 = 10;
/// Not more often: a look reads the names of a whole place.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(10);
/// Not less often: somebody who mended something wants to see it.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(600);
/// What was not seen again for so many looks is not held to be so any more.
const LOOKS_MISSED_MAX: u32 = 3;

/// For what a store of no known region signs, as Amazon's oldest does.
const SIGN_REGION: &str = "us-east-1";

/// A class of the backup strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// As in the plan.
    pub name: Label,
    /// From one backup to the next, longer than zero.
    pub frequency: Duration,
    /// How long each is kept.
    pub retention: Duration,
    /// It must lie in two regions.
    pub is_multi_region: bool,
    /// It must be encrypted with AES-256.
    pub is_encrypted: bool,
    /// Older versions must be kept.
    pub is_versioned: bool,
    /// How much work may be lost, in time.
    pub rpo_target: Duration,
    /// The plan wants one to be able to go back to any moment: a source of recovery is `point_in_time_backup`.
    pub is_point_in_time: bool,
    /// The data groups whose data it is: their replicas may lose less than it does.
    pub groups: Vec<Label>,
    /// Where it can be seen.
    pub places: Vec<Place>,
}

/// One place where backups can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub source: Source,
    /// Names that are there only when a backup is complete; `None`: see [`super::Listing::add`].
    pub complete: Option<Pattern>,
    /// Where it lies; `None`: the plan does not say.
    pub region: Option<Label>,
    /// From one look to the next.
    pub look_every: Duration,
}

/// What a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of the nodes in its region.
    Directory(String),
    /// A folder of a bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The folder, with a slash at its end; empty: the whole bucket.
        prefix: String,
        /// Where the service answers; `None`: Amazon's.
        endpoint: Option<String>,
        /// What requests are signed for.
        sign_region: String,
        /// Credentials: a name in `secrets_dir`.
        secret: Label,
    },
    /// A service that answers a listing.
    Http {
        /// Where.
        url: String,
        /// Who one is to it: a name in `secrets_dir`; `None`: nobody.
        secret: Option<Label>,
    },
    /// A program that prints a listing.
    Exec {
        /// Its name in `hooks_dir`.
        hook: Label,
    },
    /// Nothing that can be looked at: the plan's word for it. Of a plan that was checked there is none.
    Other(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => f.write_str(path),
            Self::S3 { bucket, prefix, .. } => write!(f, "s3://{bucket}/{prefix}"),
            // A query often holds what nobody should see.
            Self::Http { url, .. } => f.write_str(url.split(['?', '#']).next().unwrap_or_default()),
            Self::Exec { hook } => write!(f, "exec {hook}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The classes of a plan that was checked, in its order.
#[must_use]
pub fn classes(plan: &Plan) -> Vec<Class> {
    let Some(recovery) = &plan.disaster_recovery else { return Vec::new() };
    let class = |(name, rule): (&Label, &crate::plan::sections::BackupRule)| {
        let groups = plan.data_groups.iter().filter(|(_, group)| group.data_class.as_ref() == Some(name));
        let places = plan.backups.get(name).into_iter().flatten();
        Class {
            name: name.clone(),
            frequency: rule.frequency.0,
            retention: rule.retention,
            is_multi_region: rule.storage == Some(Storage::MultiRegion),
            is_encrypted: rule.encryption == Some(Encryption::Aes256),
            is_versioned: rule.versioning == Some(true),
            rpo_target: recovery.rpo_target,
            is_point_in_time: is_point_in_time(recovery),
            groups: groups.map(|(name, _)| name.clone()).collect(),
            places: places.map(|place| Place::of(place, rule.frequency.0)).collect(),
        }
    };
    recovery.backup_strategy.iter().map(class).collect()
}

fn is_point_in_time(recovery: &DisasterRecovery) -> bool {
    recovery.recovery_procedures.data_recovery.as_ref().is_some_and(|data| {
        let wanted = RecoverySource::PointInTimeBackup;
        data.primary_source == wanted || data.backup_source == Some(wanted)
    })
}

impl Class {
    /// How much later than by the plan's rhythm something may be: a tenth, since no two backups take the same time.
    #[must_use]
    pub fn slack(&self) -> Duration {
        self.frequency / 10
    }
}

impl Place {
    fn of(place: &Backup, frequency: Duration) -> Self {
        let default = (frequency / LOOKS_PER_BACKUP).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        Self {
            source: source(place),
            complete: place.complete.as_ref().map(|pattern| Pattern(pattern.0.clone())),
            region: place.region.clone(),
            look_every: place.look_every.unwrap_or(default),
        }
    }

    /// How long what was seen is held to be so.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.look_every * LOOKS_MISSED_MAX
    }
}

/// The plan was checked: what a kind of place needs is there.
fn source(place: &Backup) -> Source {
    match (place.source, &place.url, &place.path, &place.secret) {
        (BackupSource::Directory, _, Some(path), _) => Source::Directory(path.0.clone()),
        (BackupSource::S3, Some(url), _, Some(secret)) => {
            let folder = url.path().trim_matches('/');
            let region = place.sign_region.as_ref().map(|name| name.0.clone());
            let region = region.or_else(|| place.region.as_ref().map(ToString::to_string));
            Source::S3 {
                bucket: url.authority().to_owned(),
                prefix: if folder.is_empty() { String::new() } else { format!("{folder}/") },
                endpoint: place.endpoint.as_ref().map(|url| url.as_str().to_owned()),
                sign_region: region.unwrap_or_else(|| SIGN_REGION.to_owned()),
                secret: secret.0.clone(),
            }
        }
        (BackupSource::Http, Some(url), ..) => {
            Source::Http { url: url.as_str().to_owned(), secret: place.secret.as_ref().map(|secret| secret.0.clone()) }
        }
        (BackupSource::Exec, ..) if let Some(hook) = &place.hook => Source::Exec { hook: hook.0.clone() },
        (other, ..) => Source::Other(other.to_string()),
    }
}
