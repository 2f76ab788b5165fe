//! Threads for probing and judging alone, one on a small machine: a storm of handshakes delays no answer of the API, and a probe costs a quarter
//! less where nothing has to wake another thread (`cargo bench -- probe --workers 1`, and 2).

use std::{num::NonZero, thread::available_parallelism};

use tokio::runtime::{Builder, Handle, Runtime};

/// One thread makes about 6,000 http probes or 1,000 TLS handshakes per second. Machines of many cores get more.
const CORES_PER_THREAD: usize = 4;

/// The runtime of probes. Dropping it ends what runs on it, without waiting.
#[derive(Debug)]
pub(super) struct ProbeThreads(Option<Runtime>);

impl ProbeThreads {
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let n = available_parallelism().map_or(1, NonZero::get).div_ceil(CORES_PER_THREAD);
        Builder::new_multi_thread().worker_threads(n).thread_name("probes").enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("invariant: a runtime until it is dropped").handle()
    }
}

impl Drop for ProbeThreads {
    fn drop(&mut self) {
        // Plainly dropping a runtime inside another one panics.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
