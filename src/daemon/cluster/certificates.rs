//! Certificates of the peer listener that are renewed: read again and again, and in force for the next connection.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tracing::warn;

use super::Shared;

/// Between two looks; three small files cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks until the node stops. What cannot be used is told once, and what was in force stays.
pub(super) async fn keep(shared: Arc<Shared>) {
    let Some(mesh) = shared.mesh.clone() else { return };
    let (mut looks, mut told) = (interval(LOOK_EVERY), String::new());
    loop {
        looks.tick().await;
        let mesh = mesh.clone();
        let read = tokio::task::spawn_blocking(move || mesh.reload_tls().map_err(|error| error.to_string()));
        match read.await {
            Ok(Err(why)) if why != told => {
                warn!("renewed certificates of the peer listener are not used: {why}; those before stay in force");
                told = why;
            }
            Ok(Ok(())) => told.clear(),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
