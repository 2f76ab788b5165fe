//! The runtime that openraft runs on: tokio's, with one difference: chance can be given.
//!
//! openraft draws how long a voter waits before it stands for election, and with which offset its ticks begin. A daemon leaves that to the
//! system; a simulation gives a seed to the thread that runs it, and its elections then go the same way every time.
//!
//! Absent on purpose: virtual time, which is tokio's own (`start_paused`).

use std::{cell::Cell, convert::Infallible, fmt, io, time::Duration};

use openraft::{OptionalSend, rt::AsyncRuntime};
use openraft_rt_tokio::TokioRuntime;
use portolan_core::model::mix::SplitMix64;
use rand_core::TryRng;

thread_local! {
    /// Where chance stands on this thread; `None`: the system's.
    static GIVEN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Lets what openraft draws on this thread follow from `seed` from here on; `None`: from the system. Gives where it stood, from which it can
/// be continued.
pub fn give_chance(seed: Option<u64>) -> Option<u64> {
    GIVEN.replace(seed)
}

/// What openraft draws.
#[derive(Debug)]
pub struct Chance(<TokioRuntime as AsyncRuntime>::ThreadLocalRng);

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The upper half, which is mixed best.
        Ok(u32::try_from(self.try_next_u64()? >> 32).unwrap_or(u32::MAX))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let Some(state) = GIVEN.get() else { return self.0.try_next_u64() };
        let mut given = SplitMix64(state);
        let drawn = given.draw();
        GIVEN.set(Some(given.0));
        Ok(drawn)
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        for part in octets.chunks_mut(8) {
            let drawn = self.try_next_u64()?.to_le_bytes();
            part.copy_from_slice(&drawn[..part.len()]);
        }
        Ok(())
    }
}

/// As [`TokioRuntime`] in everything but [`AsyncRuntime::thread_rng`].
pub struct Runtime(TokioRuntime);

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Chance;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Chance {
        Chance(TokioRuntime::thread_rng())
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(n: usize) -> Vec<u64> {
        let mut chance = Runtime::thread_rng();
        (0..n).map(|_| chance.try_next_u64().unwrap()).collect()
    }

    #[test]
    fn chance_that_is_given_repeats_and_goes_on_where_it_was_left() {
        assert_eq!(give_chance(Some(7)), None, "nobody gave this thread any");
        let first = drawn(4);
        let left = give_chance(Some(7));
        assert_eq!(drawn(4), first);
        give_chance(left);
        let next = drawn(4);
        assert!(next.iter().all(|it| !first.contains(it)));
        give_chance(Some(7));
        assert_eq!([first, next].concat(), drawn(8));
        give_chance(None);
        assert_ne!(drawn(4), drawn(4), "the system's does not repeat");
    }
}
