//! Loads a plan: text in, plan and topology out, or every problem.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use ipnet::IpNet;
use portolan_core::{
    document::Reader,
    model::{name::Name, record::Record, topology::Topology},
    plan::{Context, Plan, Serial, check, prove, resolve},
};

use super::{
    render::{Loading, Problems},
    yaml,
};

/// What a plan is read with, besides its text.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Link-local and metadata networks that the node config allows as targets.
    pub allowed_targets: Vec<IpNet>,
    /// The records of the zone files that the plan names, by apex.
    pub zone_records: BTreeMap<Name, Vec<Record>>,
    /// Serial of the zones' SOA records; `None`: the plan's revision.
    pub serial: Option<Serial>,
}

/// A plan that can be run.
#[derive(Clone, Debug)]
pub struct LoadedPlan {
    /// As written, defaults filled in.
    pub plan: Plan,
    /// Ready for health, steering and DNS.
    pub topology: Topology,
    /// SHA-256 over what the document means, in hexadecimal: comments and layout do not count.
    pub digest: String,
    /// What somebody should look at.
    pub warnings: Problems,
}

/// Loads a plan. `file` is how problems name it.
///
/// # Errors
/// Every problem of the text, errors and warnings, with line, path and fix. Nothing of a plan with an error is used.
pub fn load(text: &str, file: &str, options: &Options) -> Result<LoadedPlan, Problems> {
    let loading = Loading { file, text };
    let (document, report) = yaml::parse(text);
    let Some(document) = document else { return Err(loading.problems(report)) };
    let mut reader = Reader::new(&document, report);
    let plan = reader.document_as::<Plan>();
    let mut report = reader.into_report();
    let Some(plan) = plan else { return Err(loading.problems(report)) };
    let context = Context { allowed_targets: &options.allowed_targets, zone_records: &options.zone_records };
    Loading::place(&document, &mut report, &check(&plan, context));
    if report.errors() > 0 {
        return Err(loading.problems(report));
    }
    let digest = digest_of(&document);
    let topology = resolve(&plan, options.serial.unwrap_or_else(|| Serial::of_revision(plan.revision)), &options.zone_records);
    Loading::place(&document, &mut report, &prove(&topology));
    drop(document);
    if report.errors() > 0 {
        return Err(loading.problems(report));
    }
    Ok(LoadedPlan { plan, topology, digest, warnings: loading.problems(report) })
}

/// The zone files that a plan names, by apex, before the plan is loaded whole: they are read first and handed in by [`Options`].
///
/// # Errors
/// As [`load`], but only problems of form are found.
pub fn zone_files(text: &str, file: &str) -> Result<Vec<(Name, String)>, Problems> {
    let loading = Loading { file, text };
    let (document, report) = yaml::parse(text);
    let Some(document) = document else { return Err(loading.problems(report)) };
    let mut reader = Reader::new(&document, report);
    let plan = reader.document_as::<Plan>();
    let report = reader.into_report();
    match plan {
        Some(plan) if report.errors() == 0 => {
            Ok(portolan_core::plan::zone_files(&plan).map(|(apex, path)| (apex.clone(), path.to_owned())).collect())
        }
        _ => Err(loading.problems(report)),
    }
}

fn digest_of(document: &portolan_core::document::Document<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    document.feed(|octets| context.update(octets));
    context.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Entry for fuzzing: octets that may be a plan are loaded, shown and dropped.
///
/// # Panics
/// Never, for any input; it panics itself where a promise is broken: a refusal without a problem, or a problem outside the text.
pub fn fuzz_plan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load(text, "fuzz.yaml", &Options::default()) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0, "a plan with errors was loaded");
            loaded.warnings.prove(text);
        }
        Err(problems) => {
            assert!(problems.errors() > 0, "a plan was refused without a reason");
            problems.prove(text);
        }
    }
}
