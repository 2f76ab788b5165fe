//! What happened lately on one node: a ring with a number for each event, and tokens that name a place in it.
//!
//! A token is `node.start.sequence`. Numbers begin anew with each start of a node and are its own, so a token that another node or an earlier
//! start gave names no place here: it is refused instead of silently skipping or repeating.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use portolan_core::model::time::Timestamp;
use tokio::sync::watch;

/// Events kept: an hour of a busy incident, and about a megabyte at most.
pub const EVENTS_MAX: usize = 4096;
/// The longest text, in characters; more is cut.
const TEXT_CHARS_MAX: usize = 400;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// From 1, growing by one.
    pub sequence: u64,
    /// What happened.
    pub news: News,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// When.
    pub at: Timestamp,
    /// Stable word, for scripts: `endpoint_down`, `override`, `plan`, `leader`.
    pub kind: &'static str,
    /// What it is about: `regions/us-east-1`; empty: the node itself.
    pub object: String,
    /// How bad it is.
    pub severity: portolan_core::node::report::Severity,
    /// In one line, with the reason.
    pub text: String,
    /// The log entry behind it; `None`: none.
    pub index: Option<u64>,
}

/// A place in the ring of one start of one node: after the event with this number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    node: String,
    start: u64,
    sequence: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.start, self.sequence)
    }
}

impl std::str::FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.rsplitn(3, '.');
        let mut part = || parts.next().ok_or(());
        let (sequence, start, node) = (part()?, part()?, part()?);
        // One form only, so that a token is compared as text.
        let token = Self { node: node.to_owned(), start: start.parse().map_err(|_| ())?, sequence: sequence.parse().map_err(|_| ())? };
        if token.to_string() == text { Ok(token) } else { Err(()) }
    }
}

/// A token that names no place that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// What is the matter, in one line.
    pub problem: String,
    /// Before the oldest event that is kept.
    pub oldest: Token,
    /// After the newest one.
    pub newest: Token,
}

/// The ring. Shared by who writes and all who read.
#[derive(Debug)]
pub struct EventLog {
    node: String,
    start: u64,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

impl EventLog {
    /// An empty ring. `start` tells the starts of a node apart, and need not grow: the wall clock in milliseconds at the start does.
    #[must_use]
    pub fn new(node: &str, start: u64) -> Self {
        Self { node: node.to_owned(), start, ring: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// The node that it is of.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Adds an event; the oldest leaves when there are more than [`EVENTS_MAX`]. Control characters become spaces. Gives its number.
    pub fn push(&self, mut news: News) -> u64 {
        news.text = news.text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let last = {
            let mut ring = self.lock();
            ring.last += 1;
            let sequence = ring.last;
            ring.events.push_back(Event { sequence, news });
            while ring.events.len() > EVENTS_MAX {
                ring.events.pop_front();
            }
            sequence
        };
        // Writers may come here in another order than they left the lock.
        self.newest.send_if_modified(|newest| {
            let grows = *newest < last;
            *newest = last.max(*newest);
            grows
        });
        last
    }

    /// The number of the newest event; wakes when there is another.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The place after the newest event.
    #[must_use]
    pub fn end(&self) -> Token {
        self.token(self.lock().last)
    }

    /// The place before the newest `n` events.
    #[must_use]
    pub fn before_newest(&self, n: usize) -> Token {
        let ring = self.lock();
        let n = n.min(ring.events.len());
        self.token(ring.last - n as u64)
    }

    /// At most `n` events after a place, oldest first, and the place after them.
    ///
    /// # Errors
    /// [`OutOfRange`]: the token is of another node or start, lies ahead, or events after it are gone.
    pub fn after(&self, token: &Token, n: usize) -> Result<(Vec<Event>, Token), OutOfRange> {
        let ring = self.lock();
        let first = ring.last - ring.events.len() as u64;
        let refused = |problem: String| OutOfRange { problem, oldest: self.token(first), newest: self.token(ring.last) };
        if token.node != self.node {
            return Err(refused(format!("the token is of node {}, and this is {}", token.node, self.node)));
        }
        if token.start != self.start {
            return Err(refused(format!("node {} was started anew since the token was given", self.node)));
        }
        if token.sequence > ring.last {
            return Err(refused(format!("the token names event {}, and the newest is {}", token.sequence, ring.last)));
        }
        if token.sequence < first {
            return Err(refused(format!("event {} and those after it up to {first} are no longer kept", token.sequence + 1)));
        }
        // Numbers have no gaps, so the position follows from the number.
        let skip = usize::try_from(token.sequence - first).unwrap_or(usize::MAX);
        let events: Vec<Event> = ring.events.iter().skip(skip).take(n).cloned().collect();
        let end = events.last().map_or(token.sequence, |event| event.sequence);
        Ok((events, self.token(end)))
    }

    fn token(&self, sequence: u64) -> Token {
        Token { node: self.node.clone(), start: self.start, sequence }
    }

    /// A panic while the lock was held left a whole ring behind.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::node::report::Severity;

    use super::*;
    use crate::latest::Latest;

    fn news(text: &str) -> News {
        News { at: Timestamp(1), kind: "leader", object: String::new(), severity: Severity::Info, text: text.to_owned(), index: None }
    }

    fn texts(log: &EventLog, token: &Token, n: usize) -> Vec<String> {
        log.after(token, n).unwrap().0.into_iter().map(|event| event.news.text).collect()
    }

    #[test]
    fn events_come_once_and_in_order_from_any_place() {
        let log = EventLog::new("use1-a", 7);
        let begin = log.end();
        assert_eq!(begin.to_string(), "use1-a.7.0");
        for i in 1..=5 {
            assert_eq!(log.push(news(&i.to_string())), i);
        }
        assert_eq!(texts(&log, &begin, 10), ["1", "2", "3", "4", "5"]);
        let (_, token) = log.after(&begin, 2).unwrap();
        assert_eq!(texts(&log, &token, 2), ["3", "4"]);
        assert_eq!(texts(&log, &log.end(), 2), Vec::<String>::new());
        assert_eq!(texts(&log, &log.before_newest(2), 9), ["4", "5"]);
        assert_eq!(log.before_newest(99), begin);
        assert_eq!(log.newest().latest(), 5);
    }

    #[test]
    fn a_token_that_names_no_place_here_says_where_to_go_on() {
        let log = EventLog::new("use1-a", 7);
        for i in 0..EVENTS_MAX as u64 + 3 {
            log.push(news(&i.to_string()));
        }
        let refused = |text: &str| log.after(&text.parse().unwrap(), 1).unwrap_err();
        let gap = refused("use1-a.7.2");
        assert_eq!((gap.oldest.to_string(), gap.newest.to_string()), ("use1-a.7.3".to_owned(), format!("use1-a.7.{}", EVENTS_MAX + 3)));
        assert!(gap.problem.contains("no longer kept"), "{}", gap.problem);
        assert_eq!(texts(&log, &gap.oldest, 1), ["3"]);
        assert!(refused("euw1-a.7.5").problem.contains("of node euw1-a"));
        assert!(refused("use1-a.6.5").problem.contains("started anew"));
        assert!(refused("use1-a.7.99999").problem.contains("the newest is"));
        for text in ["", "5", "7.5", "use1-a.7.+5", "use1-a.7.05", "use1-a.x.5"] {
            assert_eq!(text.parse::<Token>(), Err(()), "{text}");
        }
        assert_eq!("a.b.7.5".parse::<Token>().unwrap().to_string(), "a.b.7.5");
    }

    #[test]
    fn no_event_breaks_a_line_or_grows_without_end() {
        let log = EventLog::new("n", 0);
        log.push(news(&format!("a\nb\u{1b}[2J{}", "x".repeat(1000))));
        let text = texts(&log, &log.before_newest(1), 1).remove(0);
        assert!(text.starts_with("a b [2J") && text.chars().count() == TEXT_CHARS_MAX);
    }
}
