//! How backups stand, as messages.

use portolan_core::{
    model::{ids::Label, time::Timestamp},
    recovery::{
        backups::{Finding, Place, Sight, Standing},
        class_exposure::{ClassExposure, Source},
    },
};

use super::{duration_out, outlook::loss_out, time_out};
use crate::api::proto;

/// A longer name is cut: what S3 allows (1,024 octets) is more than anybody reads.
const NAME_CHARACTERS_MAX: usize = 256;

/// As this node sees them.
/// `restored`: when a backup of a group's data was last shown to work.
pub(in crate::api) fn backups_out(
    classes: &[(Standing, Vec<ClassExposure>)],
    restored: impl Fn(&Label) -> Option<Timestamp>,
) -> Vec<proto::BackupClass> {
    let last = |standing: &Standing| standing.class.groups.iter().filter_map(&restored).max();
    classes.iter().map(|(standing, exposures)| class_out(standing, exposures, last(standing))).collect()
}

fn class_out(standing: &Standing, exposures: &[ClassExposure], restored: Option<Timestamp>) -> proto::BackupClass {
    let places = standing.class.places.iter().zip(&standing.sights);
    proto::BackupClass {
        name: standing.class.name.to_string(),
        rule: standing.rule(),
        standing: standing.verdict().word().to_owned(),
        findings: standing.findings.iter().map(finding_out).collect(),
        age: standing.age.map(duration_out),
        places: places.map(|(place, sight)| place_out(place, sight)).collect(),
        restore_time: restored.map(time_out),
        exposures: exposures.iter().map(exposure_out).collect(),
    }
}

fn exposure_out(exposure: &ClassExposure) -> proto::ClassExposure {
    let ClassExposure { region, time, source, group, standing } = exposure;
    let name = |label: Option<&Label>| label.map(ToString::to_string).unwrap_or_default();
    proto::ClassExposure {
        region: name(region.as_ref()),
        time: Some(loss_out(*time)),
        source: source.map(Source::word).unwrap_or_default().to_owned(),
        group: name(group.as_ref()),
        standing: standing.word().to_owned(),
    }
}

fn finding_out(finding: &Finding) -> proto::Finding {
    let Finding { check, verdict, text, fix } = finding;
    proto::Finding { check: (*check).to_owned(), grade: verdict.word().to_owned(), text: text.clone(), fix: fix.clone() }
}

fn place_out(place: &Place, sight: &Sight) -> proto::BackupPlace {
    let listing = sight.seen.as_ref().map(|seen| &seen.listing);
    let newest = listing.and_then(|listing| listing.newest.as_ref());
    let word = |proof: Option<&'static str>| proof.unwrap_or_default().to_owned();
    proto::BackupPlace {
        place: place.source.to_string(),
        region: place.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        look_time: sight.seen.as_ref().map(|seen| time_out(seen.at)),
        newest_time: newest.map(|newest| time_out(newest.at)),
        newest: newest.map(|newest| newest.name.chars().take(NAME_CHARACTERS_MAX).collect()).unwrap_or_default(),
        oldest_time: listing.and_then(|listing| listing.oldest).map(time_out),
        complete: listing.map(|listing| listing.n_complete),
        octets: listing.map(|listing| listing.octets),
        truncated: listing.is_some_and(|listing| !listing.is_whole),
        encryption: word(sight.seen.as_ref().map(|seen| seen.encryption.word())),
        versioning: word(sight.seen.as_ref().map(|seen| seen.versioning.word())),
        trouble: sight.trouble.as_ref().map(|trouble| trouble.why.clone()).unwrap_or_default(),
        trouble_time: sight.trouble.as_ref().map(|trouble| time_out(trouble.at)),
    }
}
