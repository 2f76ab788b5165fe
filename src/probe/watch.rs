//! How far a probe came, and when.
//!
//! Shared between the probe and the stream that a protocol library reads from, hence atomics. Everything that decides the category of a
//! failure is here, so that all protocols fail in the same words.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use portolan_core::model::{
    causes::chain,
    check::{ANSWER_OCTETS_MAX, Failure, FailureCategory, Timings},
    time::Human,
};
use tokio::time::Instant;

/// Octets kept of how an answer begins, to quote when it is not of the protocol: enough for `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3`.
const OPENING_OCTETS_MAX: usize = 48;

/// A point that a probe passes.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// The name became an address.
    Resolved,
    /// The TCP connection stands.
    Connected,
    /// A TLS handshake begins.
    Securing,
    /// The TLS handshake is done.
    Secured,
    /// The request is about to be sent.
    Asked,
    /// The first octet of the answer is here.
    Answered,
}

const MARKS: usize = 6;

/// How the other side's stream ended, as far as it did.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// An orderly end of input.
    Eof,
    /// Reset, or another error of the connection.
    Error(String),
    /// The probe stopped reading at its limit.
    Limit,
}

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Nanoseconds since the start plus one; zero: not passed.
    marks: [AtomicU64; MARKS],
    /// Octets read of the answer.
    octets: AtomicUsize,
    /// Octets alone are no answer; the probe marks it itself.
    framed: AtomicBool,
    /// Silence after resolving is a missing answer, not a missing connection.
    connectionless: AtomicBool,
    opening: OnceLock<([u8; OPENING_OCTETS_MAX], usize)>,
    end: OnceLock<End>,
    /// What was found and when, once it is certain.
    verdict: OnceLock<(Result<(), Failure>, Duration)>,
}

/// The log of one probe. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Inner>);

impl Watch {
    pub(super) fn start() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            marks: Default::default(),
            octets: AtomicUsize::new(0),
            framed: AtomicBool::new(false),
            connectionless: AtomicBool::new(false),
            opening: OnceLock::new(),
            end: OnceLock::new(),
            verdict: OnceLock::new(),
        }))
    }

    /// Notes that the probe is here now. Passing a point again counts from the later time (a DNS query that goes to TCP).
    pub(super) fn mark(&self, mark: Mark) {
        let nanos = u64::try_from(self.0.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        self.0.marks[mark as usize].store(nanos + 1, Relaxed);
    }

    /// Notes that there is nothing to connect (UDP): from here on, silence is a missing answer. No connect time is reported.
    pub(super) fn reachable(&self) {
        self.0.connectionless.store(true, Relaxed);
    }

    /// Notes that the connection has a life of its own below the answer (HTTP/2 settings and pings): only the probe can tell when an answer
    /// begins, and marks [`Mark::Answered`].
    pub(super) fn framed(&self) {
        self.0.framed.store(true, Relaxed);
    }

    fn at(&self, mark: Mark) -> Option<Duration> {
        self.0.marks[mark as usize].load(Relaxed).checked_sub(1).map(Duration::from_nanos)
    }

    fn between(&self, from: Mark, to: Mark) -> Option<Duration> {
        Some(self.at(to)?.saturating_sub(self.at(from)?))
    }

    /// Notes octets of the answer.
    pub(super) fn read(&self, octets: &[u8]) {
        if self.0.octets.fetch_add(octets.len(), Relaxed) == 0 {
            if !self.0.framed.load(Relaxed) {
                self.mark(Mark::Answered);
            }
            let length = octets.len().min(OPENING_OCTETS_MAX);
            let mut opening = [0; OPENING_OCTETS_MAX];
            opening[..length].copy_from_slice(&octets[..length]);
            let _ = self.0.opening.set((opening, length));
        }
    }

    /// Notes how the answer's stream ended; the first end counts.
    pub(super) fn ended(&self, end: End) {
        let _ = self.0.end.set(end);
    }

    /// Notes what was found, before the probe takes its leave of the endpoint: it stands even if the time runs out meanwhile, and the leave
    /// does not count in the total time.
    pub(super) fn judged(&self, verdict: &Result<(), Failure>) {
        let _ = self.0.verdict.set((verdict.clone(), self.0.start.elapsed()));
    }

    /// What was found, as far as it is certain.
    pub(super) fn verdict(&self) -> Option<Result<(), Failure>> {
        self.0.verdict.get().map(|(verdict, _)| verdict.clone())
    }

    /// How many octets of the answer may still be read.
    pub(super) fn allowance(&self) -> usize {
        ANSWER_OCTETS_MAX.saturating_sub(self.0.octets.load(Relaxed))
    }

    /// How the answer began, printable: at most 48 characters.
    pub(super) fn opening(&self) -> String {
        self.0.opening.get().map(|(octets, length)| octets[..*length].escape_ascii().to_string()).unwrap_or_default()
    }

    pub(super) fn timings(&self) -> Timings {
        Timings {
            connect: self.between(Mark::Resolved, Mark::Connected),
            tls: self.between(Mark::Securing, Mark::Secured),
            first_byte: self.between(Mark::Asked, Mark::Answered),
            total: self.0.verdict.get().map_or_else(|| self.0.start.elapsed(), |(_, total)| *total),
        }
    }

    /// The failure of a probe that came no further than its marks within `timeout`.
    pub(super) fn timed_out(&self, timeout: Duration) -> Failure {
        let timeout = Human(timeout);
        let passed = |mark| self.at(mark).is_some();
        if !passed(Mark::Resolved) {
            Failure::new(FailureCategory::Resolve, &format!("the name did not resolve within {timeout}"))
        } else if !passed(Mark::Connected) && !self.0.connectionless.load(Relaxed) {
            Failure::new(FailureCategory::ConnectTimeout, &format!("no connection within {timeout}"))
        } else if passed(Mark::Answered) {
            let octets = self.0.octets.load(Relaxed);
            Failure::new(FailureCategory::Slow, &format!("{octets} octets of an answer, but not its end within {timeout}"))
        } else if passed(Mark::Securing) && !passed(Mark::Secured) {
            Failure::new(FailureCategory::Timeout, &format!("connected, but no TLS handshake within {timeout}"))
        } else {
            let connected = if passed(Mark::Connected) { "connected, but " } else { "" };
            Failure::new(FailureCategory::Timeout, &format!("{connected}no answer within {timeout}"))
        }
    }

    /// The failure of an exchange that the protocol's library gave up with `error`: because the stream ended, or because it makes no sense.
    pub(super) fn broken(&self, protocol: &str, error: &dyn std::error::Error) -> Failure {
        let octets = self.0.octets.load(Relaxed);
        match self.0.end.get() {
            Some(End::Limit) => Failure::new(
                FailureCategory::Protocol,
                &format!("the answer is larger than the {ANSWER_OCTETS_MAX} octets that a probe reads, and undecided up to there"),
            ),
            Some(End::Eof) if octets == 0 => Failure::new(FailureCategory::Closed, "closed without an answer"),
            Some(End::Eof) => Failure::new(FailureCategory::Closed, &format!("closed inside the answer, after {octets} octets")),
            Some(End::Error(reason)) => Failure::new(FailureCategory::Closed, &format!("{reason}, after {octets} octets of an answer")),
            None => self.nonsense(protocol, error),
        }
    }

    /// The failure of an answer that is not of the protocol.
    pub(super) fn nonsense(&self, protocol: &str, error: &dyn std::error::Error) -> Failure {
        let detail = format!("not {protocol}: {}; it begins `{}`", chain(error), self.opening());
        Failure::new(FailureCategory::Protocol, &detail)
    }
}

/// A connection error without the operating system's number: `connection refused`, `connection reset by peer`.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
