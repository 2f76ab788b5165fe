//! `portolan serve`: from a node config to a running daemon, and to its orderly end.

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{Daemon, Setup};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// As [`Daemon::start`].
pub async fn serve(setup: Setup) -> anyhow::Result<()> {
    // Before anything starts, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let node = setup.node.clone();
    let has_tls = setup.tls.is_some();
    let daemon = Daemon::start(setup).await?;
    let dns: Vec<String> = daemon.dns().iter().map(ToString::to_string).collect();
    info!(node, version = env!("CARGO_PKG_VERSION"), dns = dns.join(" "), "answering DNS over UDP and TCP");
    if let Some(address) = daemon.control() {
        if has_tls {
            info!(%address, "control API, mutual TLS");
        } else {
            info!(%address, "control API without TLS: loopback only, because `tls` is not set");
        }
    }
    if let Some(address) = daemon.http() {
        info!(%address, "health and metrics: /livez /readyz /startupz /metrics");
    }
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "stopping");
    daemon.stop().await;
    info!("stopped");
    Ok(())
}
