//! What happens next: events in order of time, and of two at one moment the earlier made first.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use portolan_core::{model::check::Outcome, node::Attempt};

use crate::{agreement, clock::Moment, log::Command, mesh::Batch};

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node is due.
    Wake { id: usize },
    /// A probe ended.
    Result { id: usize, number: u64, attempt: Attempt, outcome: Outcome, latency: Duration },
    /// A message is there.
    Arrive { from: usize, to: usize, batch: Batch },
    /// A node gives a sign of life.
    Pulse { id: usize, number: u64 },
    /// A node looks at its references.
    Look { id: usize, number: u64 },
    /// It has looked.
    Looked { id: usize, number: u64, reached: u16 },
    /// A node writes what is worth keeping.
    Save { id: usize, number: u64 },
    /// A slow relay hands on what it was told.
    HandOn { id: usize, number: u64, to: usize, batch: Batch, hold: Duration },
    /// Something about agreement.
    Agree(agreement::Event),
    /// A node loads another plan.
    Load { id: usize, number: u64, revision: u64 },
    /// A person asks, perhaps again.
    Order { command: Box<Command>, request: String },
    /// Somebody edits the plan.
    Edit,
    /// A fault begins, by its position.
    Begin(usize),
    /// It ends.
    End(usize),
    /// Another second is over.
    Second,
    /// Everything must have come to rest.
    Settled,
    /// The episode is over.
    Over,
}

/// One event in the queue; of two at one moment the earlier made comes first.
#[derive(Debug)]
struct Scheduled(Moment, u64, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// All that is to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    n_made: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Moment, event: Event) {
        self.n_made += 1;
        self.heap.push(Reverse(Scheduled(at, self.n_made, event)));
    }

    /// The next event; `None`: nothing will ever happen again.
    pub(crate) fn pop(&mut self) -> Option<(Moment, Event)> {
        self.heap.pop().map(|Reverse(Scheduled(at, _, event))| (at, event))
    }
}

#[test]
fn events_come_in_order_of_time_and_then_of_making() {
    let mut queue = Queue::default();
    for (at, position) in [(5, 1), (3, 2), (5, 3), (0, 4)] {
        queue.push(Moment(at), Event::Begin(position));
    }
    let order: Vec<(u64, String)> = std::iter::from_fn(|| queue.pop()).map(|(at, event)| (at.0, format!("{event:?}"))).collect();
    let wanted = [(0, 4), (3, 2), (5, 1), (5, 3)].map(|(at, position)| (at, format!("Begin({position})")));
    assert_eq!(order, wanted);
}
