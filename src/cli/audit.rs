//! `portolan audit`: the chain of what was asked for; read, proved, and kept as lines of JSON.

use std::path::PathBuf;

use portolan_core::cluster::audit::Place;

use super::{
    Exit, Failure, Outcome, data,
    desk::Desk,
    render::{
        table::{Cell, Table},
        text::{instant, plain},
    },
    wire,
};
use crate::{
    api::{
        audit::verify_lines,
        proto::{AuditEntry, AuditPlace, ExportAuditRequest, ListAuditEntriesRequest, VerifyAuditRequest},
    },
    client::Client,
};

/// Links shown when nothing is said: a screen or two.
const LIMIT_USUAL: u32 = 50;
/// The most links on one page of the API.
const PAGE_SIZE_MAX: u32 = 1000;
/// The largest export that is verified, in octets: a hundred thousand links.
const EXPORT_OCTETS_MAX: u64 = 128 * 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditVerb {
    /// Who asked for what, why, and what became of it; the newest first.
    List {
        /// The most links.
        #[arg(long, value_name = "N", default_value_t = LIMIT_USUAL, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Compute the chain anew: one changed octet is found; exits 1 when it does not hold.
    Verify {
        /// A place that was noted before, as `INDEX:HASH`: the chain must go through it.
        #[arg(long, value_name = "INDEX:HASH", value_parser = place)]
        known: Option<Place>,
        /// An export to verify offline, in place of the daemon's own chain; `--known` is the place before its first line.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print links as lines of JSON, oldest first, for an archive; verified as they come.
    Export {
        /// Only links after this entry; 0: all that are kept.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        after: u64,
    },
}

/// `17:9f3c…`, 64 hexadecimal digits.
fn place(text: &str) -> Result<Place, String> {
    let (index, hash) = text.split_once(':').ok_or("write INDEX:HASH, as `audit verify` prints it")?;
    let index = index.parse().map_err(|_| "the part before `:` must be the index of an entry")?;
    let hash = serde_json::from_value(hash.into()).map_err(|_| "the part after `:` must be 64 hexadecimal digits")?;
    Ok(Place { index, hash })
}

pub(super) async fn run(desk: &mut Desk<'_>, verb: &AuditVerb) -> Outcome {
    match verb {
        AuditVerb::List { limit } => list(desk, *limit).await,
        AuditVerb::Verify { known, file: Some(file) } => verify_file(desk, file, *known),
        AuditVerb::Verify { known, file: None } => verify(desk, *known).await,
        AuditVerb::Export { after } => export(desk, *after).await,
    }
}

async fn list(desk: &mut Desk<'_>, limit: u32) -> Outcome {
    let client = desk.client().await?;
    let wanted = limit as usize;
    let page = |page_token| ListAuditEntriesRequest { page_size: limit.min(PAGE_SIZE_MAX), page_token };
    let mut all = client.list_audit_entries(page(String::new())).await?;
    while all.entries.len() < wanted && !all.next_page_token.is_empty() {
        let next = client.list_audit_entries(page(all.next_page_token.clone())).await?;
        all.entries.extend(next.entries);
        all.next_page_token = next.next_page_token;
    }
    all.entries.truncate(wanted);
    if desk.format.is_data() {
        desk.message("ListAuditEntriesResponse", &all)?;
        return Ok(Exit::Ok);
    }
    let row = |entry: &AuditEntry| {
        let at = wire::timestamp(entry.time.as_ref()).map_or_else(|| "-".to_owned(), instant);
        let why = if entry.why.is_empty() { String::new() } else { format!(" ({})", plain(&entry.why)) };
        [
            Cell::from(entry.index.to_string()),
            at.into(),
            format!("{} ({})", plain(&entry.who), plain(&entry.role)).into(),
            format!("{}{why}: {}", plain(&entry.what), plain(&entry.outcome)).into(),
        ]
    };
    let headings = [("ENTRY", 9), ("TIME", 20), ("WHO", 24), ("WHAT", 99)];
    let table = Table { headings, rows: all.entries.iter().map(row).collect() }.render(desk.width(), desk.terminal.colour);
    desk.print(&format!("{table}{}", wire::behind(all.freshness.as_ref())))?;
    Ok(Exit::Ok)
}

async fn verify(desk: &mut Desk<'_>, known: Option<Place>) -> Outcome {
    let known = known.map(|place| AuditPlace { index: place.index, hash: place.hash.to_string() });
    let proof = desk.client().await?.verify_audit(VerifyAuditRequest { known }).await?;
    let exit = if proof.intact { Exit::Ok } else { Exit::Error };
    if desk.format.is_data() {
        desk.message("VerifyAuditResponse", &proof)?;
        return Ok(exit);
    }
    if !proof.intact {
        let node = proof.freshness.map(|freshness| freshness.node).unwrap_or_default();
        let message = format!(
            "the audit chain of node {node} does not hold: {}; keep its disk as evidence, and compare with another node",
            proof.problem
        );
        return Err(Failure::new(exit, message));
    }
    let (begin, head) = (proof.begin.unwrap_or_default(), proof.head.unwrap_or_default());
    let text = format!("intact: {} links after entry {}\nhead {}:{}\n", proof.entries, begin.index, head.index, plain(&head.hash));
    desk.print(&format!("{text}{}", wire::behind(proof.freshness.as_ref())))?;
    Ok(exit)
}

/// Verifies an archive without any daemon.
fn verify_file(desk: &mut Desk<'_>, file: &std::path::Path, known: Option<Place>) -> Outcome {
    let named = |problem: String| Failure::new(Exit::Usage, format!("verify `{}`: {problem}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| named(error.to_string()))?.len();
    if size > EXPORT_OCTETS_MAX {
        return Err(named(format!("it has {size} octets; at most {EXPORT_OCTETS_MAX} are read: split it at any line")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let head = verify_lines(lines.iter().copied(), known);
    let head = head.map_err(|problem| Failure::new(Exit::Error, format!("`{}` does not hold: {problem}", file.display())))?;
    if desk.format.is_data() {
        let body =
            serde_json::json!({ "intact": true, "entries": lines.len(), "head": { "index": head.index, "hash": head.hash.to_string() } });
        data(&mut desk.terminal, desk.format, &body)?;
    } else {
        desk.print(&format!("intact: {} links\nhead {}:{}\n", lines.len(), head.index, head.hash))?;
        if known.is_none() {
            desk.tell("its first link is believed in what came before it; --known INDEX:HASH proves that, too")?;
        }
    }
    Ok(Exit::Ok)
}

async fn export(desk: &mut Desk<'_>, after: u64) -> Outcome {
    let client: Client = desk.client().await?;
    let mut stream = client.export_audit(ExportAuditRequest { after_index: after }).await?;
    let mut place = None;
    while let Some(message) = stream.next().await? {
        let checked = verify_lines(message.lines.iter().map(String::as_str), place);
        let checked =
            checked.map_err(|problem| Failure::new(Exit::Error, format!("the export does not hold, and ends here: {problem}")))?;
        place = Some(checked);
        for line in &message.lines {
            writeln!(desk.terminal.out, "{line}")?;
        }
    }
    match place {
        Some(place) => desk.tell(&format!("head {}:{}; next time: --after {}", place.index, place.hash, place.index))?,
        None => desk.tell("there are no links after that")?,
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_printed() {
        let hash = "ab".repeat(32);
        let read = place(&format!("17:{hash}")).unwrap();
        assert_eq!((read.index, read.hash.to_string()), (17, hash.clone()));
        for wrong in ["17", "x:y", "17:ab", &format!("-1:{hash}"), ""] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
