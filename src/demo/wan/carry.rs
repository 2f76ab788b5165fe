//! One connection along a way: what is read at one end is written at the other when it is due.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use portolan_core::model::mix::SplitMix64;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Path, Way};
use crate::latest::{Latest, LatestSeen};

/// Octets on one direction of a connection: a megabyte per trip is more than the nodes ever have on the way.
const WINDOW: usize = 1024 * 1024;
/// Octets read at a time, which arrive together and are lost together.
const PIECE: usize = 16 * 1024;
/// What a piece takes besides its octets, about.
const PIECE_OVERHEAD: usize = 128;
/// TCP waits a round trip and at least so much longer before it sends again (Linux `TCP_RTO_MIN`),
const RETRANSMIT_MIN: Duration = Duration::from_millis(200);
/// and so long when a connection is not made yet (RFC 6298 section 2.1).
const RETRANSMIT_FIRST: Duration = Duration::from_secs(1);
/// How often in a row one piece is lost at most: each time the wait doubles.
const LOSSES_MAX: u32 = 5;

/// The other end is to be told that the connection is broken.
struct Broken;

/// Carries a connection that stood at `begun` to its end.
pub(super) async fn carry(mut near: TcpStream, begun: Instant, way: Way, to: SocketAddr, seed: u64) {
    let (there, back) = (way.there.subscribe(), way.back.subscribe());
    let (one, other) = (there.latest(), back.latest());
    let mut draws = Draws(SplitMix64(seed));
    // Who dials believes that the connection stands, and would know it one round trip later, or after having asked again.
    let asked = begun + draws.stall(one, RETRANSMIT_FIRST) + draws.stall(other, RETRANSMIT_FIRST);
    sleep_until(asked + one.delay).await;
    let far = TcpStream::connect(to).await;
    let stands = asked + one.delay + other.delay;
    let Ok(mut far) = far else {
        sleep_until(stands).await;
        // Refused: nothing better can be said once the kernel has accepted.
        let _ = near.set_zero_linger();
        return;
    };
    // Small pieces must not wait for acknowledgements; a failure costs time only.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let round_trip = one.delay + other.delay;
    let (near_in, near_out) = near.split();
    let (far_in, far_out) = far.split();
    let out = pump(near_in, far_out, there, Pieces::new(draws.fork(), stands, round_trip));
    let home = pump(far_in, near_out, back, Pieces::new(draws, begun, round_trip));
    if tokio::try_join!(out, home).is_err() {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

/// Carries one direction until its end has arrived, or nobody takes what arrives.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut path: watch::Receiver<Path>, mut pieces: Pieces) -> Result<(), Broken> {
    let (mut was_cut, mut buffer) = (false, BytesMut::new());
    loop {
        let now = path.latest_seen();
        if was_cut && !now.is_cut {
            pieces.mended(Instant::now() + now.delay);
        }
        was_cut = now.is_cut;
        let due = pieces.due();
        buffer.reserve(PIECE);
        tokio::select! {
            read = from.read_buf(&mut buffer), if pieces.has_room() => {
                let piece = match read {
                    Ok(0) => Piece::End,
                    Ok(_) => Piece::Octets(buffer.split().freeze()),
                    Err(_) => Piece::Broken,
                };
                pieces.push(now, Instant::now(), piece);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !now.is_cut => {
                let taken = match pieces.pop() {
                    Some(Piece::Octets(octets)) => to.write_all(&octets).await,
                    Some(Piece::End) => {
                        let _ = to.shutdown().await;
                        return Ok(());
                    }
                    Some(Piece::Broken) => return Err(Broken),
                    None => Ok(()),
                };
                // Who closed says so on the other direction.
                if taken.is_err() {
                    return Ok(());
                }
            }
            // The way lives as long as its connections.
            _ = path.changed() => {}
        }
    }
}

/// What arrives.
enum Piece {
    Octets(Bytes),
    /// Nothing follows.
    End,
    /// Neither does anything go the other way.
    Broken,
}

/// What is on its way in one direction, in order.
struct Pieces {
    queue: VecDeque<(Instant, Piece)>,
    held: usize,
    has_ended: bool,
    draws: Draws,
    /// Nothing leaves before the connection stands.
    stands: Instant,
    /// When the last one arrives: none overtakes another.
    last: Instant,
    round_trip: Duration,
}

impl Pieces {
    const fn new(draws: Draws, stands: Instant, round_trip: Duration) -> Self {
        Self { queue: VecDeque::new(), held: 0, has_ended: false, draws, stands, last: stands, round_trip }
    }

    fn has_room(&self) -> bool {
        !self.has_ended && self.held < WINDOW
    }

    fn due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    fn push(&mut self, path: Path, now: Instant, piece: Piece) {
        match &piece {
            Piece::Octets(octets) => self.held += octets.len() + PIECE_OVERHEAD,
            Piece::End | Piece::Broken => self.has_ended = true,
        }
        let stall = self.draws.stall(path, self.round_trip + RETRANSMIT_MIN);
        let arrives = now.max(self.stands) + path.delay + self.draws.up_to(path.jitter) + stall;
        self.last = self.last.max(arrives);
        self.queue.push_back((self.last, piece));
    }

    fn pop(&mut self) -> Option<Piece> {
        let (_, piece) = self.queue.pop_front()?;
        if let Piece::Octets(octets) = &piece {
            self.held -= octets.len() + PIECE_OVERHEAD;
        }
        Some(piece)
    }

    /// What waited is sent again, and nothing arrives before.
    fn mended(&mut self, arrives: Instant) {
        for (due, _) in &mut self.queue {
            *due = arrives.max(*due);
        }
        self.last = self.last.max(arrives);
    }
}

/// Draws from a seed.
struct Draws(SplitMix64);

impl Draws {
    const fn next(&mut self) -> u64 {
        self.0.draw()
    }

    const fn fork(&mut self) -> Self {
        Self(SplitMix64(self.next()))
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 { Duration::ZERO } else { Duration::from_micros(self.next() % micros) }
    }

    /// For how long a piece is late because it was lost, where it is sent again after `wait`; mostly not at all.
    fn stall(&mut self, path: Path, wait: Duration) -> Duration {
        let mut stall = Duration::ZERO;
        for nth in 0..LOSSES_MAX {
            if path.loss_permille == 0 || self.next() % 1000 >= u64::from(path.loss_permille) {
                break;
            }
            stall += wait * 2_u32.pow(nth);
        }
        stall
    }
}
