//! Answers over TCP (RFC 7766): messages with a length before them, any number on one connection, answered in order.
//!
//! Bounds: so many connections in all; each must send a whole query within the idle time, and take the answer within it, so that slow
//! senders cost a slot no longer than silent ones. When most slots are in use, the idle time shrinks (section 6.2.3 of the RFC).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    respond::Transport,
    server::{Engine, QUERY_LENGTH_MAX, Worker},
};

/// After an error of accepting, such as too many open files, so that a lasting one does not burn a processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// The idle time while fewer than a quarter of the slots are free.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// How many connections there may be, over all listeners of one server.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    all: usize,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        let all = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    fn idle(&self, usual: Duration) -> Duration {
        if self.free.available_permits() < self.all.div_ceil(4) { usual.min(IDLE_UNDER_PRESSURE) } else { usual }
    }
}

/// Accepts until `stop`.
pub(super) async fn accept(listener: TcpListener, engine: Arc<Engine>, slots: Slots, stop: CancellationToken, tasks: TaskTracker) {
    let mut connections = 0_usize;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let shard = engine.counters.shard(connections);
        match accepted {
            Ok((stream, from)) => match slots.take() {
                Some(slot) => {
                    shard.tcp_accepted();
                    connections = connections.wrapping_add(1);
                    let worker = Worker::new(engine.clone(), connections);
                    let (slots, stop) = (slots.clone(), stop.clone());
                    tasks.spawn(async move {
                        serve(stream, from, worker, &slots, &stop).await;
                        drop(slot);
                    });
                }
                None => shard.tcp_refused(),
            },
            Err(_) => {
                shard.io_error();
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One connection, until the client ends it, breaks the protocol, is idle, or `stop`.
async fn serve(stream: TcpStream, from: SocketAddr, mut worker: Worker, slots: &Slots, stop: &CancellationToken) {
    // Answers leave at once; without it each second one would wait for the acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::with_capacity(QUERY_LENGTH_MAX / 4, stream);
    let mut packet = Vec::new();
    loop {
        let idle = slots.idle(worker.options().tcp_idle);
        match stop.run_until_cancelled(timeout(idle, read(&mut stream, &mut packet))).await {
            Some(Ok(Ok(()))) => {}
            Some(Err(_)) => return worker.shard().tcp_timed_out(),
            // The end of the stream, or of the server.
            Some(Ok(Err(_))) | None => return,
        }
        // What deserves no answer deserves no connection either.
        let Some(answer) = worker.handle(&packet, from, Transport::Stream) else {
            return;
        };
        let length = u16::try_from(answer.len()).expect("invariant: answers on streams have at most 65 535 octets");
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        match timeout(idle, stream.get_mut().write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return worker.shard().tcp_timed_out(),
        }
    }
}

/// Reads one message with its length before it.
async fn read(stream: &mut BufReader<TcpStream>, packet: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUERY_LENGTH_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    packet.resize(length, 0);
    stream.read_exact(packet).await.map(drop)
}
