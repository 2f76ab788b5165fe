//! Certificates and issuer's keys that are renewed: their files are read again and again, and what changed is in force from the next
//! connection or call on.
//!
//! Read, not watched: three small files a second cost nothing, and no way of replacing files (rename, symlink swap, network mount) is missed.
//! When the authorities are others, connections that stand are ended: a certificate by a former one is good no more.
//! A change counts when two looks in a row see the same, so that a certificate is not taken without its new key. What cannot be used is
//! told once, and what was in force stays.

use std::{fs, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::auth::Tokens;
use crate::net::{accept::InForce, mutual::TlsFiles};

/// Between two looks: with two of them a renewal is in force within seconds.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The certificates of a listener, and where they are in force.
pub(super) struct Certificates {
    pub(super) files: TlsFiles,
    /// As [`TlsFiles::server`] takes it.
    pub(super) or_none: bool,
    pub(super) in_force: Arc<InForce>,
}

/// What one look sees: digests of authorities, certificate and key, or why one cannot be read.
type Look = Result<[Vec<u8>; 3], String>;

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
    /// The authorities in force.
    authorities: Option<Vec<u8>>,
    /// What was judged last, good or not.
    judged: Look,
    /// What the look before saw.
    seen: Look,
}

impl Rotation {
    fn new(certificates: Certificates) -> Self {
        let seen = look(&certificates.files);
        let authorities = seen.as_ref().ok().map(|[authorities, ..]| authorities.clone());
        Self { certificates, authorities, judged: seen.clone(), seen }
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
            Ok([authorities, ..]) => match self.certificates.files.server(self.certificates.or_none) {
                Ok(config) => {
                    self.certificates.in_force.replace(config);
                    if self.authorities.as_ref() != Some(authorities) {
                        self.authorities = Some(authorities.clone());
                        self.certificates.in_force.end_former();
                    }
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
    let read = |path: &Path| {
        let octets = fs::read(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
        Ok::<_, String>(digest(&SHA256, &octets).as_ref().to_vec())
    };
    Ok([read(&files.ca_file)?, read(&files.cert_file)?, read(&files.key_file)?])
}
