//! The lines between the regions: a router in user space that carries IPv4 packets from one TUN device to another, with the faults of [`Line`].
//!
//! It has a thread and a runtime of its own, so that a busy test delays no packet. A queue stands for each line and way; what does not fit is
//! lost, as in any router.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use portolan_core::model::mix::SplitMix64;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tun_rs::{AsyncDevice, SyncDevice};

use super::{
    line::{Fate, Line},
    place::{REGIONS, region_of},
};

/// Packets on their way on one line, one way: at 80 ms this is 20 MB/s, far above what the tests send.
const QUEUE_MAX: usize = 1024;
/// The largest packet, as the devices are set up.
pub(super) const MTU: u16 = 1400;

/// What happened on a line, one way.
#[derive(Debug, Default)]
struct Count {
    arrived: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
    overflowed: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    lines: Mutex<[[Line; REGIONS]; REGIONS]>,
    counts: [[Count; REGIONS]; REGIONS],
}

/// The router. Dropping it ends it and closes the devices.
pub(super) struct Wan {
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Wan {
    /// Carries packets between these devices; each pair has such a line both ways.
    pub(super) fn start(devices: Vec<SyncDevice>, line: Line, seed: u64) -> Self {
        let shared = Arc::new(Shared { lines: Mutex::new([[line; REGIONS]; REGIONS]), counts: Default::default() });
        let stop = CancellationToken::new();
        let thread = {
            let (shared, stop) = (shared.clone(), stop.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let work = move || {
                runtime.block_on(stop.run_until_cancelled_owned(route(devices, shared, seed)));
            };
            thread::Builder::new().name("wan".to_owned()).spawn(work).unwrap()
        };
        Self { shared, stop, thread: Some(thread) }
    }

    /// Changes what lies between two regions, one way.
    pub(super) fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Line)) {
        change(&mut self.shared.lines.lock().unwrap()[from][to]);
    }

    /// What happened on the lines, for people.
    pub(super) fn counts(&self) -> String {
        let mut text = String::new();
        for (from, counts) in self.shared.counts.iter().enumerate() {
            for (to, count) in counts.iter().enumerate().filter(|(to, _)| *to != from) {
                let [arrived, lost, cut, overflowed] =
                    [&count.arrived, &count.lost, &count.cut, &count.overflowed].map(|count| count.load(Relaxed));
                writeln!(text, "line {from} to {to}: {arrived} packets arrived, {lost} lost, {cut} cut off, {overflowed} too many")
                    .unwrap();
            }
        }
        text
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed.
            let _ = thread.join();
        }
    }
}

/// A packet, and when it arrives.
type Parcel = (Instant, Vec<u8>);

async fn route(devices: Vec<SyncDevice>, shared: Arc<Shared>, seed: u64) {
    let devices: Vec<_> = devices.into_iter().map(|device| Arc::new(AsyncDevice::new(device).unwrap())).collect();
    let mut tasks = JoinSet::new();
    for from in 0..devices.len() {
        let mut queues = Vec::new();
        for (to, device) in devices.iter().enumerate() {
            let (queue, parcels) = mpsc::channel(QUEUE_MAX);
            tasks.spawn(deliver(device.clone(), parcels, shared.clone(), (from, to)));
            queues.push(queue);
        }
        tasks.spawn(take(devices[from].clone(), queues, shared.clone(), from, seed));
    }
    tasks.join_all().await;
}

/// Takes what leaves a region. Ends when its device is gone.
async fn take(device: Arc<AsyncDevice>, queues: Vec<mpsc::Sender<Parcel>>, shared: Arc<Shared>, from: usize, seed: u64) {
    let mut packet = vec![0; usize::from(MTU)];
    let mut chances: Vec<SplitMix64> = (0..queues.len()).map(|to| SplitMix64(seed ^ (from << 8 | to) as u64)).collect();
    let mut last = vec![Instant::now(); queues.len()];
    loop {
        let Ok(length) = device.recv(&mut packet).await else { return };
        let Some(to) = destination(&packet[..length]).filter(|to| *to != from && *to < queues.len()) else { continue };
        let count = &shared.counts[from][to];
        let line = shared.lines.lock().unwrap()[from][to];
        match line.fate(&mut chances[to]) {
            Fate::Cut => count.cut.fetch_add(1, Relaxed),
            Fate::Lost => count.lost.fetch_add(1, Relaxed),
            Fate::Arrives(after) => {
                last[to] = last[to].max(Instant::now() + after);
                match queues[to].try_send((last[to], packet[..length].to_vec())) {
                    Ok(()) => 0,
                    Err(_) => count.overflowed.fetch_add(1, Relaxed),
                }
            }
        };
    }
}

/// Hands over what arrives in a region; what was under way on a line that was cut does not.
async fn deliver(device: Arc<AsyncDevice>, mut parcels: mpsc::Receiver<Parcel>, shared: Arc<Shared>, way: (usize, usize)) {
    let count = &shared.counts[way.0][way.1];
    while let Some((at, packet)) = parcels.recv().await {
        sleep_until(at).await;
        if shared.lines.lock().unwrap()[way.0][way.1].is_cut {
            count.cut.fetch_add(1, Relaxed);
            continue;
        }
        let sent = device.send(&packet).await;
        // A device that takes nothing any more is of a region that is being taken down.
        (if sent.is_ok() { &count.arrived } else { &count.lost }).fetch_add(1, Relaxed);
    }
}

/// The region that an IPv4 packet goes to (RFC 791 section 3.1).
fn destination(packet: &[u8]) -> Option<usize> {
    let is_v4 = packet.first()? >> 4 == 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_v4.then(|| region_of(address.into())).flatten()
}
