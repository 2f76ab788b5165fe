//! What the server counts, without a lock and without one core waiting for another's cache line.
//!
//! Each worker adds to a shard of its own; a scrape sums them. Numbers only rise, until the process ends.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::respond::Transport;

/// Response codes that are counted apart: the sixteen of the header, and BADVERS.
const RCODES: usize = 17;

/// Every shard of one server.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Shard]>,
}

/// What one worker counts. Two of today's cache lines wide, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Shard {
    udp: AtomicU64,
    stream: AtomicU64,
    /// Over UDP, then over streams.
    rcodes: [[AtomicU64; RCODES]; 2],
    truncated: AtomicU64,
    silent: AtomicU64,
    client_subnet: AtomicU64,
    failed: AtomicU64,
    tcp_accepted: AtomicU64,
    tcp_refused: AtomicU64,
    tcp_timed_out: AtomicU64,
    io_errors: AtomicU64,
}

/// The sums at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Packets that came over UDP.
    pub udp: u64,
    /// Messages that came over TCP and other streams.
    pub stream: u64,
    /// Responses by code: the sixteen of the header, then BADVERS.
    /// Over UDP, then over streams.
    pub rcodes: [[u64; RCODES]; 2],
    /// Responses that had TC set.
    pub truncated: u64,
    /// Packets that were not answered: no queries, or from port 0.
    pub silent: u64,
    /// Queries with a well-formed client subnet.
    pub client_subnet: u64,
    /// Queries answered SERVFAIL because answering them panicked: each is a bug.
    pub failed: u64,
    /// TCP connections taken.
    pub tcp_accepted: u64,
    /// TCP connections closed at once, because there were too many.
    pub tcp_refused: u64,
    /// TCP connections closed because nothing came, or nothing was taken.
    pub tcp_timed_out: u64,
    /// Receiving, sending or accepting that the system refused.
    pub io_errors: u64,
}

impl Snapshot {
    /// Malformed queries.
    #[must_use]
    pub const fn formerr(&self) -> u64 {
        self.rcodes[0][1] + self.rcodes[1][1]
    }

    /// Responses by transport and code, as metrics name them; those that never occurred are left out.
    #[must_use]
    pub fn by_transport_and_rcode(&self) -> Vec<(&'static str, &'static str, u64)> {
        const WORDS: [&str; RCODES] = [
            "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "OTHER", "OTHER", "OTHER", "OTHER", "OTHER", "OTHER",
            "OTHER", "OTHER", "OTHER", "OTHER", "BADVERS",
        ];
        let transports = ["udp", "tcp"].into_iter().zip(&self.rcodes);
        let all =
            transports.flat_map(|(transport, codes)| WORDS.into_iter().zip(codes).map(move |(word, count)| (transport, word, *count)));
        all.filter(|(.., count)| *count > 0).collect()
    }

    /// All queries that came.
    #[must_use]
    pub const fn queries(&self) -> u64 {
        self.udp + self.stream
    }
}

impl Counters {
    /// With one shard for each of `workers`.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Shard::default()).collect() }
    }

    /// The shard of a worker; more workers than shards share.
    #[must_use]
    pub fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }

    /// The sums now. Not one moment for all of them: a query that is being answered may be counted in part.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sums = Snapshot::default();
        for shard in &self.shards {
            let pairs = [
                (&mut sums.udp, &shard.udp),
                (&mut sums.stream, &shard.stream),
                (&mut sums.truncated, &shard.truncated),
                (&mut sums.silent, &shard.silent),
                (&mut sums.client_subnet, &shard.client_subnet),
                (&mut sums.failed, &shard.failed),
                (&mut sums.tcp_accepted, &shard.tcp_accepted),
                (&mut sums.tcp_refused, &shard.tcp_refused),
                (&mut sums.tcp_timed_out, &shard.tcp_timed_out),
                (&mut sums.io_errors, &shard.io_errors),
            ];
            for (sum, counter) in pairs.into_iter().chain(sums.rcodes.iter_mut().flatten().zip(shard.rcodes.iter().flatten())) {
                *sum += counter.load(Relaxed);
            }
        }
        sums
    }
}

impl Shard {
    pub(super) fn query(&self, transport: Transport) {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Stream => &self.stream,
        }
        .fetch_add(1, Relaxed);
    }

    pub(super) fn response(&self, transport: Transport, rcode: u16, truncated: bool) {
        let codes = match transport {
            Transport::Udp => &self.rcodes[0],
            Transport::Stream => &self.rcodes[1],
        };
        codes[usize::from(rcode).min(RCODES - 1)].fetch_add(1, Relaxed);
        if truncated {
            self.truncated.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn silent(&self) {
        self.silent.fetch_add(1, Relaxed);
    }

    pub(super) fn client_subnet(&self) {
        self.client_subnet.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn tcp_accepted(&self) {
        self.tcp_accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn tcp_refused(&self) {
        self.tcp_refused.fetch_add(1, Relaxed);
    }

    pub(super) fn tcp_timed_out(&self) {
        self.tcp_timed_out.fetch_add(1, Relaxed);
    }

    pub(super) fn io_error(&self) {
        self.io_errors.fetch_add(1, Relaxed);
    }
}
