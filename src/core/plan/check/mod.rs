//! What is wrong, or unwise, in a plan whose form is right. Every rule has one function, and every finding a path.
//!
//! An error means that the plan contradicts itself or would do harm. A warning means that it works, but perhaps not as meant; what comes
//! into force only later is a warning that names what it waits for.

mod backups;
mod data;
mod follows;
mod health;
mod recovery;
mod regions;
mod services;
mod zones;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{later, sections::Plan};
use crate::{
    document::{PROBLEMS_MAX, Path, Severity, did_you_mean},
    model::{
        ids::{Label, REGIONS_MAX},
        name::Name,
        record::Record,
    },
};

/// What a plan is judged with, besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Link-local and metadata networks that the node config allows as targets.
    pub allowed_targets: &'a [IpNet],
    /// The records of the zone files, by apex; a file that is not here has not been read.
    pub zone_records: &'a BTreeMap<Name, Vec<Record>>,
}

/// One thing found in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the plan can be used all the same.
    pub severity: Severity,
    /// Where.
    pub path: Path,
    /// What.
    pub message: String,
    /// What would fix it; empty where there is nothing to add.
    pub fix: String,
}

/// What was found. At most [`PROBLEMS_MAX`] of each severity are kept; all are counted.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Notes an error.
    pub fn error(&mut self, path: Path, message: impl Into<String>, fix: impl Into<String>) {
        self.errors += 1;
        if self.errors <= PROBLEMS_MAX {
            self.kept.push(Finding { severity: Severity::Error, path, message: message.into(), fix: fix.into() });
        }
    }

    /// Notes a warning.
    pub fn warning(&mut self, path: Path, message: impl Into<String>, fix: impl Into<String>) {
        self.warnings += 1;
        if self.warnings <= PROBLEMS_MAX {
            self.kept.push(Finding { severity: Severity::Warning, path, message: message.into(), fix: fix.into() });
        }
    }

    /// How many errors there are, those that are not kept included.
    #[must_use]
    pub const fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings there are, those that are not kept included.
    #[must_use]
    pub const fn warnings(&self) -> usize {
        self.warnings
    }

    /// Those that are kept, in the order in which the rules ran.
    #[must_use]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }
}

/// Judges a plan by every rule.
#[must_use]
pub fn check(plan: &Plan, context: Context<'_>) -> Findings {
    let mut findings = Findings::default();
    let out = &mut findings;
    if !sizes(plan, out) {
        return findings;
    }
    regions::check(plan, out);
    health::check(plan, context, out);
    zones::check(plan, context, out);
    services::check(plan, context, out);
    data::check(plan, context, out);
    recovery::check(plan, context, out);
    backups::check(plan, context, out);
    later::check(plan, out);
    findings
}

/// The most entries of the large sections. Names are looked up by search in the small ones, and all that a plan has is held in memory.
const SIZES: [(&str, usize); 5] =
    [("regions", REGIONS_MAX), ("services", 50_000), ("checks", 4096), ("zones", 4096), ("data_groups", 1024)];

/// Whether the plan is small enough to be judged further.
fn sizes(plan: &Plan, out: &mut Findings) -> bool {
    let counts = [plan.regions.len(), plan.services.len(), plan.checks.len(), plan.zones.len(), plan.data_groups.len()];
    for ((section, most), count) in SIZES.into_iter().zip(counts) {
        if count > most {
            let message = format!("{count} entries are too many; at most {most} are allowed");
            out.error(Path::root().key(section), message, "split the plan");
        }
    }
    out.errors() == 0
}

/// The path of a section's entry.
fn at(section: &str, name: impl std::fmt::Display) -> Path {
    Path::root().key(section).key(name)
}

/// Reports a name that another section does not have.
fn unknown<'a>(out: &mut Findings, path: Path, what: &str, name: &Label, known: impl Iterator<Item = &'a Label> + Clone) {
    let words = known.map(Label::as_str);
    let fix = match did_you_mean(name.as_str(), words.clone()) {
        empty if empty.is_empty() && words.clone().next().is_none() => format!("the plan has no {what}"),
        fix => fix,
    };
    out.error(path, format!("there is no {what} `{name}`"), fix);
}

/// Refuses addresses that only have a meaning on one link, and those where clouds serve credentials.
fn check_target(out: &mut Findings, context: Context<'_>, path: impl FnOnce() -> Path, address: IpAddr) {
    let address = address.to_canonical();
    let what = match address {
        IpAddr::V4(v4) if v4.is_link_local() => "a link-local address, where clouds serve metadata and credentials",
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80 => "a link-local address",
        _ if METADATA.contains(&address.to_string().as_str()) => "an address where clouds serve metadata and credentials",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_unspecified() => "not an address of anybody",
        _ => return,
    };
    if !context.allowed_targets.iter().any(|net| net.contains(&address)) {
        let fix = "use an address of the endpoint itself; a network that must be reached stands in `allow_targets` of the node config";
        out.error(path(), format!("{address} is {what}"), fix);
    }
}

/// Metadata services outside the link-local networks.
const METADATA: [&str; 2] = ["fd00:ec2::254", "100.100.100.200"];
