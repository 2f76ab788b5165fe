//! Certificates and issuer's keys that are renewed: their files are read again and again, and what changed is in force from the next
//! connection or call on.
//!
//! Read, not watched: three small files a second cost nothing, and no way of replacing files (rename, symlink swap, network mount) is missed.
//! A change counts when two looks in a row see the same, so that a certificate is not taken without its new key. What cannot be used is
//! told once, and what was in force stays.

use std::{fs, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::ServerConfig;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::auth::Tokens;
use crate::net::mutual::TlsFiles;

/// Between two looks: with two of them a renewal is in force within seconds.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The certificates of a listener, and where they are in force.
pub(super) struct Certificates {
    pub(super) files: TlsFiles,
    /// As [`TlsFiles::server`] takes it.
    pub(super) or_none: bool,
    pub(super) in_force: Arc<ArcSwapOption<ServerConfig>>,
}

/// What one look sees: a digest of all files, or why one cannot be read.
type Look = Result<Vec<u8>, String>;

/// Looks until `stop`.
pub(super) fn watch(certificates: Option<Certificates>, tokens: Option<Arc<Tokens>>, stop: CancellationToken) {
    if certificates.is_none() && tokens.is_none() {
        return;
    }
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut certificates = certificates.map(Rotation::new);
        let mut told = None;
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tokens = tokens.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let reread = tokens.map(|tokens| tokens.reread());
                if let Some(rotation) = &mut certificates {
                    rotation.look();
                }
                (certificates, reread)
            });
            let Ok((back, reread)) = looked.await else {
                tracing::error!("files of certificates and keys are looked at no more: a defect; restart the node");
                return;
            };
            certificates = back;
            match reread {
                Some(Ok(true)) => {
                    told = None;
                    tracing::info!("the issuer's keys were renewed");
                }
                Some(Err(problem)) if told.as_ref() != Some(&problem) => {
                    tracing::warn!(%problem, "the issuer's keys stay as they were");
                    told = Some(problem);
                }
                _ => {}
            }
        }
    }));
}

struct Rotation {
    certificates: Certificates,
    /// What was judged last, good or not.
    judged: Look,
    /// What the look before saw.
    seen: Look,
}

impl Rotation {
    fn new(certificates: Certificates) -> Self {
        let seen = look(&certificates.files);
        Self { certificates, judged: seen.clone(), seen }
    }

    fn look(&mut self) {
        let now = look(&self.certificates.files);
        let is_settled = now == self.seen;
        self.seen = now;
        if !is_settled || self.seen == self.judged {
            return;
        }
        self.judged = self.seen.clone();
        let problem = match &self.seen {
            Err(problem) => problem.clone(),
            Ok(_) => match self.certificates.files.server(self.certificates.or_none) {
                Ok(config) => {
                    self.certificates.in_force.store(Some(config));
                    tracing::info!(certificate = %self.certificates.files.cert_file.display(), "the certificate of the control listener was renewed");
                    return;
                }
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(%problem, "the certificate of the control listener stays as it was");
    }
}

fn look(files: &TlsFiles) -> Look {
    let mut digest = Context::new(&SHA256);
    for path in [&files.ca_file, &files.cert_file, &files.key_file] {
        let octets = fs::read(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
        digest.update(&(octets.len() as u64).to_be_bytes());
        digest.update(&octets);
    }
    Ok(digest.finish().as_ref().to_vec())
}
