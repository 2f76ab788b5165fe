//! A daemon for measurements, and a client of one query at a time.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use portolan::daemon::{Clustering, Daemon, Detours, Listen, PeerEntry, Setup};
use portolan_core::cluster::NodeRole;
use tokio::{net::UdpSocket, time::timeout};

/// A daemon that answers DNS on a free port of loopback and listens nowhere else.
pub(crate) async fn start(plan: PathBuf) -> Daemon {
    Daemon::start(setup(plan)).await.unwrap()
}

/// How that one is set up.
pub(crate) fn setup(plan: PathBuf) -> Setup {
    Setup {
        node: "bench".to_owned(),
        region: "us-east-1".to_owned(),
        data_dir: None,
        plan,
        listen: Listen { dns: vec![(Ipv4Addr::LOCALHOST, 0).into()], control: None, http: None, socket: None },
        tls: None,
        auth: Default::default(),
        geo_database: None,
        secrets_dir: None,
        hooks_dir: None,
        latency_table: None,
        stale_limit: Duration::from_secs(3600),
        allowed_targets: Vec::new(),
        cluster: None,
    }
}

/// A voter with the times of production.
pub(crate) fn voter(listen: SocketAddr, book: Vec<PeerEntry>, detours: Detours) -> Clustering {
    Clustering {
        name: Some("bench".to_owned()),
        role: NodeRole::Voter,
        listen,
        book,
        detours,
        heartbeat: Duration::from_millis(500),
        election: Duration::from_secs(3),
        replace_after: Duration::from_secs(600),
        plan_follow: false,
    }
}

/// Writes a plan into `folder`.
pub(crate) fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("plan.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Asks for the A record of a name. `None`: no answer within 100 ms, or one without an address.
pub(crate) async fn ask(server: SocketAddr, name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut query = vec![0x4d, 0x2a, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, server).await.unwrap();
    let mut answer = [0; 512];
    let length = timeout(Duration::from_millis(100), socket.recv(&mut answer)).await.ok()?.ok()?;
    // The first record is the question's name as a pointer (2 octets), type, class, time to live, length (10), and the address.
    let record = answer[..length].get(query.len() + 12..query.len() + 16)?;
    (u16::from_be_bytes([answer[6], answer[7]]) > 0).then(|| Ipv4Addr::new(record[0], record[1], record[2], record[3]))
}
