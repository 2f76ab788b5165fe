//! Answers datagrams.
//!
//! Several workers take turns on one socket; each answers a packet to the end before it takes the next, so memory stays the same under any
//! flood, and what is too much waits in the kernel's buffer or is lost there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    respond::Transport,
    server::{QUERY_LENGTH_MAX, Worker},
};

/// After an error of the socket itself, so that a lasting one does not burn a processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Serves until `stop`.
pub(super) async fn serve(socket: Arc<UdpSocket>, mut worker: Worker, stop: CancellationToken) {
    let mut packet = vec![0; QUERY_LENGTH_MAX];
    loop {
        let received: Option<std::io::Result<(usize, SocketAddr)>> = stop.run_until_cancelled(socket.recv_from(&mut packet)).await;
        match received {
            None => return,
            Some(Ok((length, from))) => {
                if let Some(answer) = worker.handle(&packet[..length], from, Transport::Udp)
                    && socket.send_to(&answer, from).await.is_err()
                {
                    worker.shard().io_error();
                }
            }
            Some(Err(_)) => {
                worker.shard().io_error();
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
