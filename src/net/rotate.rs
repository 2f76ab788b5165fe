//! Certificates of a listener that are renewed: their files are read again and again, and what changed is in force from the next connection on.
//!
//! Read, not watched: three small files a second cost nothing, and no way of replacing files (rename, symlink swap, network mount) is missed.
//! When the authorities are others, connections that stand are ended: a certificate by a former one is good no more.
//! A change counts when two looks in a row see the same, so that a certificate is not taken without its new key. What cannot be used is
//! told once, and what was in force stays.

use std::{fs, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{accept::InForce, mutual::TlsFiles};

/// Between two looks: with two of them a renewal is in force within seconds.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The certificates of a listener, and where they are in force.
#[derive(Debug)]
pub struct Certificates {
    /// In logs: `control`.
    pub listener: &'static str,
    /// Where they lie.
    pub files: TlsFiles,
    /// As [`TlsFiles::server`] takes it.
    pub or_none: bool,
    /// What the listener takes for each connection.
    pub in_force: Arc<InForce>,
}

/// What one look sees: digests of authorities, certificate and key, or why one cannot be read.
type Look = Result<[Vec<u8>; 3], String>;

/// What the looks so far saw of certificates.
#[derive(Debug)]
pub struct Rotation {
    certificates: Certificates,
    /// The authorities in force.
    authorities: Option<Vec<u8>>,
    /// What was judged last, good or not.
    judged: Look,
    /// What the look before saw.
    seen: Look,
}

/// Looks until `stop`, for a listener that has nothing else to look at.
pub fn watch(certificates: Certificates, stop: CancellationToken) {
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut rotation = Rotation::new(certificates);
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                rotation.look();
                rotation
            });
            rotation = match looked.await {
                Ok(rotation) => rotation,
                Err(error) => return tracing::error!(%error, "files of certificates are looked at no more: a defect; restart the node"),
            };
        }
    }));
}

impl Rotation {
    /// Begins with what the files hold, which is taken for what is in force. Blocks.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        let seen = look(&certificates.files);
        let authorities = seen.as_ref().ok().map(|[authorities, ..]| authorities.clone());
        Self { certificates, authorities, judged: seen.clone(), seen }
    }

    /// Looks once, and puts in force what is new and stands. Blocks.
    pub fn look(&mut self) {
        let now = look(&self.certificates.files);
        let is_settled = now == self.seen;
        self.seen = now;
        if !is_settled || self.seen == self.judged {
            return;
        }
        self.judged = self.seen.clone();
        let Certificates { listener, files, or_none, in_force } = &self.certificates;
        let problem = match &self.seen {
            Err(problem) => problem.clone(),
            Ok([authorities, ..]) => match files.server(*or_none) {
                Ok(config) => {
                    in_force.replace(config);
                    if self.authorities.as_ref() != Some(authorities) {
                        in_force.end_former();
                        self.authorities = Some(authorities.clone());
                    }
                    tracing::info!(certificate = %files.cert_file.display(), "the certificate of the {listener} listener was renewed");
                    return;
                }
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(%problem, "the certificate of the {listener} listener stays as it was");
    }
}

fn look(files: &TlsFiles) -> Look {
    let read = |path: &Path| {
        let octets = fs::read(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
        Ok::<_, String>(digest(&SHA256, &octets).as_ref().to_vec())
    };
    Ok([read(&files.ca_file)?, read(&files.cert_file)?, read(&files.key_file)?])
}
