//! Looks at references: targets outside all regions, which tell a node that is cut off from one whose peers are gone.
//!
//! Without any in the plan they are the other peers and the system's resolvers.

use std::{net::SocketAddr, time::Duration};

use portolan_core::{health::vantage::REFERENCES_MAX, node::Event};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::control::Command;
use crate::{latest::Latest, net::detour::Detours};

/// Between looks: two of them fit into the time in which an endpoint is judged by default.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// For one reference, name included.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
/// Where the system's resolvers stand (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Resolvers that the system uses (resolv.conf(5), MAXNS).
const RESOLVERS_MAX: usize = 3;
/// DNS over TCP (RFC 7766).
const DNS_PORT: u16 = 53;

/// Looks until `stop`. `of_plan` are the plan's, as `host:port`; empty: the peers, and the resolvers.
pub(super) async fn watch(
    peers: Vec<String>,
    of_plan: watch::Receiver<Vec<String>>,
    detours: Detours,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut references = of_plan.latest();
        if references.is_empty() {
            references.clone_from(&peers);
            references.extend(resolvers().await);
        }
        references.truncate(usize::from(REFERENCES_MAX));
        let all = u16::try_from(references.len()).unwrap_or(REFERENCES_MAX);
        let mut looks = JoinSet::new();
        for reference in references {
            let detours = detours.clone();
            looks.spawn(async move { timeout(LOOK_TIME_MAX, is_reached(&reference, &detours)).await.unwrap_or(false) });
        }
        let reached = looks.join_all().await.into_iter().filter(|reached| *reached).count();
        let reached = u16::try_from(reached).unwrap_or(all);
        let (done, _) = oneshot::channel();
        // The control task is gone only when the daemon stops.
        let _ = commands.send(Command::Event(Event::ReferencesLooked { reached, all }, done)).await;
    }
}

/// A connection, or a refusal: somebody there answers.
async fn is_reached(reference: &str, detours: &Detours) -> bool {
    let Ok(found) = lookup_host(reference).await else { return false };
    for address in found {
        match TcpStream::connect(detours.of(address)).await {
            Ok(_) => return true,
            // On this very host a refusal proves nothing about the way out.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused && !address.ip().is_loopback() => return true,
            Err(_) => {}
        }
    }
    false
}

/// Those that the system asks, but for such as run on this host.
async fn resolvers() -> Vec<String> {
    let text = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
    read_resolvers(&text)
}

fn read_resolvers(text: &str) -> Vec<String> {
    let addresses = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    let outside = addresses.filter(|address: &std::net::IpAddr| !address.is_loopback());
    outside.take(RESOLVERS_MAX).map(|address| SocketAddr::new(address, DNS_PORT).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_system_does() {
        let text =
            "# made by hand\nsearch example.com\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n nameserver 2001:db8::53\nnameserver x\n";
        assert_eq!(read_resolvers(text), ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert!(read_resolvers("").is_empty());
    }
}
