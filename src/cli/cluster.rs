//! `portolan cluster backup`: the agreed state in a file that is whole, or not there.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

use super::{Exit, Failure, Outcome, desk::Desk, file, render::text::plain};
use crate::{
    api::proto::{
        BackupRequest,
        backup_response::{Manifest, Part},
    },
    client::Client,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ClusterVerb {
    /// Write the agreed state to a file, for reading and keeping; role admin; it is never restored over a live cluster.
    Backup {
        /// The file; one that is there is never written over.
        file: PathBuf,
    },
}

pub(super) async fn run(desk: &mut Desk<'_>, verb: &ClusterVerb) -> Outcome {
    let ClusterVerb::Backup { file } = verb;
    if file.exists() {
        return Err(Failure::new(Exit::Usage, format!("`{}` is there already, and a backup is never written over", file.display())));
    }
    let client = desk.client().await?;
    let manifest = backup(&client, file).await?;
    if desk.format.is_data() {
        desk.message("BackupResponse.Manifest", &manifest)?;
        return Ok(Exit::Ok);
    }
    let place = manifest.audit_head.unwrap_or_default();
    desk.print(&format!(
        "{}   {} octets   cluster {}   generation {}   entry {}\nsha256 {}\naudit  {}:{}\n",
        file.display(),
        manifest.octets,
        plain(&manifest.cluster),
        manifest.generation,
        manifest.applied_index,
        plain(&manifest.sha256),
        place.index,
        plain(&place.hash)
    ))?;
    desk.tell("keep the sum and the place in the audit chain with it: `portolan audit verify --known INDEX:HASH` proves that nothing before was changed")?;
    Ok(Exit::Ok)
}

/// Writes the octets beside the file, proves them by the manifest, and only then gives them their name.
async fn backup(client: &Client, to: &Path) -> Result<Manifest, Failure> {
    let broken = |problem: &str| Failure::new(Exit::Error, format!("back up to `{}`: {problem}; nothing was kept", to.display()));
    let mut stream = client.backup(BackupRequest {}).await?;
    let mut manifest = None;
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut octets = 0_u64;
    let mut fresh = file::Fresh::create(to, file::PRIVATE).map_err(|error| broken(&error))?;
    while let Some(message) = stream.next().await? {
        match (message.part, &manifest) {
            (Some(Part::Manifest(first)), None) => manifest = Some(first),
            (Some(Part::Chunk(chunk)), Some(_)) => {
                octets += chunk.len() as u64;
                sum.update(&chunk);
                fresh.write_all(&chunk).map_err(|error| broken(&error.to_string()))?;
            }
            _ => return Err(broken("the daemon sent its pieces in no order that makes sense")),
        }
    }
    let manifest = manifest.ok_or_else(|| broken("the daemon sent nothing"))?;
    let sum: String = sum.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    if octets != manifest.octets || sum != manifest.sha256 {
        let text = format!("{octets} octets came with the sum {sum}, and {} with {} were promised", manifest.octets, manifest.sha256);
        return Err(broken(&text));
    }
    fresh.keep().map_err(|error| broken(&error))?;
    Ok(manifest)
}
