//! A region as the kernel sees it: a network namespace with addresses of its own, and one way out of it, a TUN device; or only a thread, where
//! there are no namespaces.
//!
//! A thread that has entered the namespace runs everything of the test that stands in the region: endpoints, clients, and the start of
//! processes. Sockets stay where they were made, so that one test process stands in all regions at once.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    os::fd::AsFd as _,
    panic::resume_unwind,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::wan::MTU;

/// How many regions there are.
pub(super) const REGIONS: usize = 3;
/// Where iproute2 keeps namespaces that have names.
const NAMES: &str = "/run/netns";
/// What all names of namespaces begin with; then comes the process that made it, so that those of a process that died can be told.
const PREFIX: &str = "portolan-";
/// Hosts in a region that have an address: nodes, the endpoint and the clients.
pub(super) const HOSTS: [u8; 4] = [1, 2, ENDPOINT, CLIENT];
/// The host part of the endpoint's address.
pub(super) const ENDPOINT: u8 = 10;
/// The host part of the clients' address.
pub(super) const CLIENT: u8 = 100;

/// The address of a host in a region.
pub(super) fn host(region: usize, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(region + 1).unwrap(), host)
}

/// The region that an address is in.
pub(super) fn region_of(address: Ipv4Addr) -> Option<usize> {
    let [10, 77, region, _] = address.octets() else { return None };
    usize::from(region).checked_sub(1).filter(|region| *region < REGIONS)
}

/// One region. Dropping it ends what runs in it and takes the namespace away.
pub(super) struct Place {
    name: String,
    has_namespace: bool,
    inside: Option<Handle>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Place {
    /// Makes the namespace, and gives its way out. `world` tells apart what this process has made.
    ///
    /// # Errors
    /// What the kernel or iproute2 refused; nothing is left behind.
    pub(super) fn make(world: usize, region: usize) -> Result<(Self, SyncDevice), String> {
        let name = format!("{PREFIX}{}-{world}-{region}", std::process::id());
        ip(&["netns", "add", &name], "")?;
        let mut place = Self { name, has_namespace: true, inside: None, stop: CancellationToken::new(), thread: None };
        let (told, heard) = mpsc::sync_channel(1);
        let (name, stop) = (place.name.clone(), place.stop.clone());
        place.thread = Some(thread::Builder::new().name(name.clone()).spawn(move || live(&name, &stop, &told)).unwrap());
        let (inside, device) = heard.recv().unwrap()?;
        place.inside = Some(inside);
        let mut setup = "link set lo up\n".to_owned();
        for octet in HOSTS {
            writeln!(setup, "addr add {}/24 dev wan", host(region, octet)).unwrap();
        }
        writeln!(setup, "route add 10.77.0.0/16 dev wan").unwrap();
        ip(&["-n", &place.name, "-batch", "-"], &setup)?;
        Ok((place, device))
    }

    /// A region without a namespace.
    pub(super) fn make_plain(world: usize, region: usize) -> Self {
        let (name, stop) = (format!("{PREFIX}{world}-{region}"), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (inside, stopped) = (Some(runtime.handle().clone()), stop.clone());
        let thread = thread::Builder::new().name(name.clone()).spawn(move || runtime.block_on(stopped.cancelled())).unwrap();
        Self { name, has_namespace: false, inside, stop, thread: Some(thread) }
    }

    /// Does something in the region.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let inside = self.inside.as_ref().expect("it was made");
        match inside.spawn(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(error) => panic!("{}: {error}", self.name),
            },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed.
            let _ = thread.join();
        }
        if self.has_namespace
            && let Err(error) = ip(&["netns", "delete", &self.name], "")
        {
            eprintln!("{error}");
        }
    }
}

/// What the thread does: it enters, says so, and runs what it is given until it is stopped.
fn live(name: &str, stop: &CancellationToken, told: &mpsc::SyncSender<Result<(Handle, SyncDevice), String>>) {
    let enter = || -> Result<_, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} in the network namespace `{name}`: {error}");
        let namespace = File::open(format!("{NAMES}/{name}")).map_err(|error| failed("open", &error))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| failed("enter", &error))?;
        let device = DeviceBuilder::new().name("wan").mtu(MTU).build_sync().map_err(|error| failed("make a TUN device", &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed("start", &error))?;
        Ok((runtime, device))
    };
    match enter() {
        Ok((runtime, device)) => {
            told.send(Ok((runtime.handle().clone(), device))).unwrap();
            runtime.block_on(stop.cancelled());
        }
        Err(error) => told.send(Err(error)).unwrap(),
    }
}

/// Takes away what test processes left behind that were killed before they could.
pub(super) fn sweep() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let made_by = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if made_by.is_some_and(|process| !std::path::Path::new(&format!("/proc/{process}")).exists()) {
            // Another test process may sweep, too.
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// Runs iproute2.
fn ip(arguments: &[&str], input: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("ip {}: {error}", arguments.join(" "));
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).map_err(|error| failed(&error))?;
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&output.stderr).trim())) }
}
