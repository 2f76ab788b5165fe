//! Certificates and issuer's keys of the control listener that are renewed: looked at together, and in force from the next connection or call
//! on. What a look does with certificates is [`Rotation`]'s.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::auth::Tokens;
use crate::net::rotate::{Certificates, LOOK_INTERVAL, Rotation};

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
