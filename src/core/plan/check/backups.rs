//! Where backups can be seen: whether each place says all that a look at it needs.

use super::{Context, Findings, at, recovery::url, unknown};
use crate::{
    document::Path,
    model::ids::Label,
    plan::sections::{Backup, BackupSource, DataGroup, Engine, Plan},
};

/// Places of all classes: every node looks at them all, one after the other.
const PLACES_MAX: usize = 64;

/// A bucket's name has so many characters (Amazon S3, bucket naming rules).
const BUCKET_CHARACTERS: std::ops::RangeInclusive<usize> = 3..=63;

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    let classes: Vec<&Label> = plan.disaster_recovery.iter().flat_map(|recovery| recovery.backup_strategy.keys()).collect();
    let n_places: usize = plan.backups.iter().map(|(_, places)| places.len()).sum();
    if n_places > PLACES_MAX {
        out.error(Path::root().key("backups"), format!("lists {n_places} places"), format!("list at most {PLACES_MAX}"));
    }
    for (class, places) in plan.backups.iter() {
        if !classes.contains(&class) {
            unknown(out, at("backups", class), "backup class", class, classes.iter().copied());
        }
        if places.is_empty() {
            out.error(at("backups", class), "no place is listed", "add one, or remove the class");
        }
        for (i, place) in places.iter().enumerate() {
            let path = || at("backups", class).item(i);
            if places[..i].contains(place) {
                out.error(path(), "stands twice", "list each place once");
            }
            if let Some(region) = &place.region
                && !plan.regions.contains(region)
            {
                unknown(out, path().key("region"), "region", region, plan.regions.keys());
            }
            keys(place, &path, out);
            let is_restored = |group: &DataGroup| group.data_class.as_ref() == Some(class) && group.engine == Engine::Postgresql;
            if place.restore.is_some() && !plan.data_groups.iter().any(|(_, group)| is_restored(group)) {
                let problem = format!("no data group of engine postgresql has the class {class}, so nobody would restore it");
                out.error(path().key("restore"), problem, "write `data_class` at the group whose data it is, or remove `restore`");
            }
            bucket(place, context, &path, out);
            if let (BackupSource::Http, Some(at)) = (place.source, &place.url) {
                url(at, context, || path().key("url"), out);
            }
        }
    }
}

/// Each kind of place has keys of its own.
fn keys(place: &Backup, path: &dyn Fn() -> Path, out: &mut Findings) {
    let Backup { source, url, path: directory, secret, hook, endpoint, sign_region, .. } = place;
    let needs: &[(&str, bool)] = match source {
        BackupSource::S3 => &[("url", url.is_some()), ("secret", secret.is_some())],
        BackupSource::Http => &[("url", url.is_some())],
        BackupSource::Directory => &[("path", directory.is_some())],
        BackupSource::Exec => &[("hook", hook.is_some())],
    };
    for (key, _) in needs.iter().filter(|(_, has)| !has) {
        out.error(path().key(key), format!("a place of source {source} needs `{key}`"), format!("add `{key}`"));
    }
    let is_s3 = *source == BackupSource::S3;
    for (key, is_written, is_used) in [
        ("path", directory.is_some(), *source == BackupSource::Directory),
        ("url", url.is_some(), matches!(source, BackupSource::S3 | BackupSource::Http)),
        ("secret", secret.is_some(), matches!(source, BackupSource::S3 | BackupSource::Http)),
        ("hook", hook.is_some(), *source == BackupSource::Exec),
        ("endpoint", endpoint.is_some(), is_s3),
        ("sign_region", sign_region.is_some(), is_s3),
    ] {
        if is_written && !is_used {
            out.warning(path().key(key), format!("is not used with source {source}"), format!("remove `{key}`"));
        }
    }
    if let Some(directory) = directory
        && !directory.0.starts_with('/')
    {
        out.error(path().key("path"), format!("`{directory}` is not an absolute path"), "begin it with `/`");
    }
}

/// What is asked of an S3 store.
fn bucket(place: &Backup, context: Context<'_>, path: &dyn Fn() -> Path, out: &mut Findings) {
    if place.source != BackupSource::S3 {
        return;
    }
    if let Some(endpoint) = &place.endpoint {
        url(endpoint, context, || path().key("endpoint"), out);
    }
    let Some(url) = &place.url else { return };
    if url.scheme() != "s3" {
        out.error(path().key("url"), format!("`{}` is not s3", url.scheme()), "write s3://BUCKET/PREFIX");
        return;
    }
    let bucket = url.authority();
    let is_name = BUCKET_CHARACTERS.contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !bucket.starts_with(['-', '.'])
        && !bucket.contains("..");
    if !is_name {
        let fix = "write s3://BUCKET/PREFIX; where the service answers stands in `endpoint`";
        out.error(path().key("url"), format!("`{bucket}` cannot be a bucket"), fix);
    }
}
