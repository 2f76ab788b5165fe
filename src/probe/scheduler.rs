//! Makes the probes that the core orders, and brings their results back.
//!
//! Deliberately thin: when to probe what is the core's decision; here is only how many at once. An order that finds no place waits in the
//! bounded queue, and its probe's time starts when the probe does, so a busy node never blames an endpoint. A consumer that does not take
//! results stops new probes in the same way.
//!
//! Invariant: every order taken from the queue yields exactly one result, a panic in a probe included, unless the prober is stopped.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use portolan_core::model::{
    check::{Check, Failure, FailureCategory, Observation, Outcome, Timings},
    ids::CheckIdx,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{ProbeEnv, is_probed, run};

/// The most probes at once: at 1,000 probes per second it is reached when every endpoint hangs for 4 s. One http probe that hangs takes 17 KiB
/// (measured), so all of them 70 MiB, more with TLS. Each takes a descriptor: the process must be allowed some more than this many.
pub const IN_FLIGHT_MAX: usize = 4096;

/// The core's wish for one probe.
#[derive(Clone, Debug)]
pub struct ProbeOrder {
    check_idx: CheckIdx,
    attempt: u64,
    check: Check,
}

impl ProbeOrder {
    /// `attempt` comes back with the result and means nothing here.
    ///
    /// `None` for a check that is not made by connecting somewhere, see [`is_probed`].
    #[must_use]
    pub fn new(check_idx: CheckIdx, attempt: u64, check: Check) -> Option<Self> {
        is_probed(&check).then_some(Self { check_idx, attempt, check })
    }
}

/// What a probe found, with the order's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// From the order.
    pub check_idx: CheckIdx,
    /// From the order.
    pub attempt: u64,
    /// What was found.
    pub observation: Observation,
}

/// Makes probes until it is dropped or the last sender of orders is; dropping it ends the probes under way at once, without results.
#[derive(Debug)]
pub struct Prober {
    stop: CancellationToken,
    dispatcher: AbortOnDropHandle<()>,
}

impl Prober {
    /// Starts to make probes on `runtime`, at most [`IN_FLIGHT_MAX`] at once.
    ///
    /// `capacity` bounds the queue of orders and the queue of results, each.
    ///
    /// # Panics
    /// When `capacity` is zero.
    #[must_use]
    pub fn start(runtime: &Handle, env: ProbeEnv, capacity: usize) -> (Self, Sender<ProbeOrder>, Receiver<ProbeResult>) {
        Self::start_limited(runtime, env, capacity, IN_FLIGHT_MAX)
    }

    /// As [`Prober::start`] with another bound on the probes at once, for a process that may open few descriptors.
    ///
    /// # Panics
    /// When `capacity` is zero. An `in_flight_max` of zero makes no probe at all.
    #[must_use]
    pub fn start_limited(
        runtime: &Handle,
        env: ProbeEnv,
        capacity: usize,
        in_flight_max: usize,
    ) -> (Self, Sender<ProbeOrder>, Receiver<ProbeResult>) {
        let (order_sender, orders) = mpsc::channel(capacity);
        let (results, result_receiver) = mpsc::channel(capacity);
        let stop = CancellationToken::new();
        let dispatcher = AbortOnDropHandle::new(runtime.spawn(dispatch(env, orders, results, in_flight_max, stop.clone())));
        (Self { stop, dispatcher }, order_sender, result_receiver)
    }

    /// Waits until the last sender of orders is gone and all that was ordered is done.
    pub async fn finish(self) {
        // An error is a panic in the dispatcher, which has been reported by the panic hook; there is nothing left to wait for.
        let _ = self.dispatcher.await;
    }

    /// Ends all probes under way, without results, and waits until they are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.dispatcher.await;
    }
}

/// Dropping it drops `probes`, which ends each of them.
async fn dispatch(
    env: ProbeEnv,
    mut orders: Receiver<ProbeOrder>,
    results: Sender<ProbeResult>,
    in_flight_max: usize,
    stop: CancellationToken,
) {
    let mut probes = JoinSet::new();
    loop {
        tokio::select! {
            // Without `biased`, a flood of orders could not keep finished probes from being cleared away, nor the reverse.
            order = orders.recv(), if probes.len() < in_flight_max => match order {
                Some(order) => {
                    probes.spawn(fulfil(order, env.clone(), results.clone()));
                }
                None => break,
            },
            Some(_) = probes.join_next() => {}
            () = stop.cancelled() => return probes.shutdown().await,
        }
    }
    tokio::select! {
        () = async { while probes.join_next().await.is_some() {} } => {}
        () = stop.cancelled() => {}
    }
    probes.shutdown().await;
}

/// One order to its result. The probe's place is held until the result is taken.
async fn fulfil(order: ProbeOrder, env: ProbeEnv, results: Sender<ProbeResult>) {
    let ProbeOrder { check_idx, attempt, check } = order;
    let observation = {
        let mut probe = pin!(run(&check, &env));
        // A panic while the probe is polled ends the probe and nothing else; nothing of it is used afterwards.
        let found = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| probe.as_mut().poll(cx))) {
            Ok(Poll::Ready(observation)) => Poll::Ready(observation),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_panic) => Poll::Ready(None),
        });
        found.await.unwrap_or_else(unexpected_end)
    };
    // No receiver: the daemon is going down, and nobody asks any more.
    let _ = results.send(ProbeResult { check_idx, attempt, observation }).await;
}

fn unexpected_end() -> Observation {
    let failure = Failure::new(FailureCategory::Protocol, "the probe ended unexpectedly; this is a bug, see the log");
    Observation { outcome: Outcome::Failed(failure), timings: Timings { total: Duration::ZERO, ..Timings::default() } }
}
