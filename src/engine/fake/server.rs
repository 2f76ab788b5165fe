//! The server: whoever connects asks, one line after the other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::{
    failover::token::Token,
    model::{ids::Label, time::Tick},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    super::Trouble,
    files::{Files, Ran, Settings},
    log::{Head, Log, TEXT_OCTETS_MAX, What, lines_from, text_of},
    receive::receive,
    wire::{Ask, Client, RECORDS_OCTETS_MAX, Status, Told},
};
use crate::latest::{Latest, LatestSeen};

/// Connections at a time; more wait.
const CONNECTIONS_MAX: usize = 128;

/// Between two words to a standby while nothing happens.
const KEEPALIVE: Duration = Duration::from_millis(500);

/// Until the next try when a connection cannot be accepted, for example because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// For standbys to take the rest before it stops: less than an agent waits for that.
const SHIP: Duration = Duration::from_secs(30);

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Its directory.
    pub directory: PathBuf,
    /// Where it listens: a loopback address.
    pub listen: SocketAddr,
    /// Since boot.
    pub clock: fn() -> Tick,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    clock: fn() -> Tick,
    pub(super) files: Files,
    pub(super) state: Mutex<State>,
    /// Where the log ends.
    end: watch::Sender<u64>,
    /// Up to where each standby that streams has it on disk.
    flushed: watch::Sender<BTreeMap<Label, u64>>,
    settings: watch::Sender<Settings>,
    is_held: watch::Sender<bool>,
    receiver: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) is_standby: bool,
    is_stopping: bool,
    reserved: u32,
    /// It receives, and heard something then.
    pub(super) heard: Option<Instant>,
}

/// Serves until `stop` is done, then ends cleanly: standbys get the rest.
///
/// # Errors
/// The directory cannot be used, the address is none of this machine alone, or nobody can listen there.
pub async fn serve(serving: Serving, stop: impl Future<Output = ()> + Send) -> Result<(), Trouble> {
    let Serving { directory, listen, clock } = serving;
    if !listen.ip().is_loopback() {
        return Err(Trouble(format!("listen on {listen}: a fake database knows no users, so it listens on loopback addresses only")));
    }
    let files = Files { directory, owner: None };
    let (log, is_standby, settings) = (Log::open(&files.log())?, files.is_marked()?, files.settings()?);
    files.note(if is_standby { Ran::Standby } else { Ran::Primary })?;
    let listener = TcpListener::bind(listen).await.map_err(|error| Trouble(format!("listen on {listen}: {error}")))?;
    let end = watch::Sender::new(log.head.end);
    let state = Mutex::new(State { log, is_standby, is_stopping: false, reserved: 0, heard: None });
    let (flushed, settings) = (watch::Sender::default(), watch::Sender::new(settings));
    let shared = Arc::new(Shared {
        clock,
        files,
        state,
        end,
        flushed,
        settings,
        is_held: watch::Sender::new(false),
        receiver: tokio::sync::Mutex::default(),
    });
    shared.follow().await;
    let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
    stop.await;
    let ended = shared.end_cleanly().await;
    accepting.abort();
    ended
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    // A client that leaves or talks nonsense loses its connection, and that is all.
                    let _ = shared.attend(Client::over(stream)).await;
                    drop(slot);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attend(self: &Arc<Self>, mut client: Client<TcpStream>) -> Result<(), Trouble> {
        while let Some(ask) = client.hear::<Ask>().await? {
            let told = match ask {
                Ask::Stream(region, head) => return self.ship(&mut client, region, &head).await,
                ask => self.answer(ask).await.unwrap_or_else(|trouble| Told::Refused(trouble.0)),
            };
            client.say(&told).await?;
        }
        Ok(())
    }

    async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Told, Trouble> {
        match ask {
            Ask::Status => Ok(Told::Status(Box::new(self.status()))),
            Ask::Write(text) if text.len() > TEXT_OCTETS_MAX => {
                Err(Trouble(format!("a text of {} octets: at most {TEXT_OCTETS_MAX} are taken", text.len())))
            }
            Ask::Write(text) => {
                let end = self.append(What::Write(text))?;
                self.await_standbys(end).await;
                Ok(Told::Done(end))
            }
            Ask::Read(from) => self.read(from),
            Ask::Beat => self.append(What::Beat((self.clock)().0)).map(Told::Done),
            Ask::Sign(generation, epoch) => {
                let opening = self.state().log.head.opening;
                if opening.is_some_and(|opening| opening.token > Token { generation, epoch }) {
                    return Err(Trouble("a higher token is in the database already".to_owned()));
                }
                self.append(What::Lease(generation, epoch)).map(Told::Done)
            }
            Ask::Reserve(above) => {
                let mut state = self.state();
                state.reserved = state.reserved.max(above);
                Ok(Told::Done(state.log.head.end))
            }
            Ask::Hold(is_held) => {
                self.is_held.send_replace(is_held);
                Ok(Told::Done(self.state().log.head.end))
            }
            Ask::Promote => self.promote().await.map(Told::Done),
            Ask::Reload => {
                self.settings.send_replace(self.files.settings()?);
                self.follow().await;
                Ok(Told::Done(self.state().log.head.end))
            }
            Ask::Stream(..) | Ask::Flushed(_) => Err(Trouble("only in a stream, or to begin one".to_owned())),
        }
    }

    fn status(&self) -> Status {
        let settings = self.settings.latest();
        let state = self.state();
        let head = state.log.head.clone();
        Status {
            beat_age: head.beat.map(|at| (self.clock)().since(Tick(at))),
            is_standby: state.is_standby,
            upstream: settings.upstream.map(|upstream| upstream.region),
            silent_for: state.heard.map(|at| at.elapsed()),
            synchronous: settings.synchronous,
            reserved: state.reserved.max(head.history.timeline),
            head,
        }
    }

    fn append(&self, what: What) -> Result<u64, Trouble> {
        let end = {
            let mut state = self.state();
            if state.is_standby {
                return Err(Trouble("it is a standby, and takes no writes".to_owned()));
            }
            if state.is_stopping {
                return Err(Trouble("it stops, and takes no more writes".to_owned()));
            }
            state.log.append(what)?;
            state.log.head.end
        };
        self.grew(end);
        Ok(end)
    }

    pub(super) fn grew(&self, end: u64) {
        self.end.send_replace(end);
    }

    /// Returns when as many standbys have it as the settings want.
    async fn await_standbys(&self, end: u64) {
        let (mut flushed, mut settings) = (self.flushed.subscribe(), self.settings.subscribe());
        loop {
            let (wanted, names) = synchronous(&settings.latest_seen().synchronous);
            let have = flushed.latest_seen().iter().filter(|(region, at)| **at >= end && names.contains(region)).count();
            if have >= wanted {
                return;
            }
            tokio::select! {
                _ = flushed.changed() => {}
                _ = settings.changed() => {}
            }
        }
    }

    fn read(&self, from: u64) -> Result<Told, Trouble> {
        let end = self.state().log.head.end;
        if from >= end {
            return Ok(Told::Texts(Vec::new(), from));
        }
        let lines =
            lines_from(&self.files.log(), from, end, RECORDS_OCTETS_MAX).map_err(|error| Trouble(format!("read the log: {error}")))?;
        Ok(Told::Texts(lines.split_inclusive(|octet| *octet == b'\n').filter_map(text_of).collect(), from + lines.len() as u64))
    }

    /// Receives no more, and begins a timeline.
    async fn promote(&self) -> Result<u64, Trouble> {
        self.leave_upstream().await;
        let end = {
            let mut state = self.state();
            if state.is_standby {
                let above = state.reserved;
                state.log.begin_timeline(above)?;
                self.files.note(Ran::Primary)?;
                self.files.remove_mark()?;
                state.is_standby = false;
            }
            state.log.head.end
        };
        self.grew(end);
        Ok(end)
    }

    /// Receives from whom the settings say, and from nobody else.
    async fn follow(self: &Arc<Self>) {
        self.leave_upstream().await;
        let (upstream, is_standby) = (self.settings.latest().upstream, self.state().is_standby);
        if let Some(upstream) = upstream.filter(|_| is_standby) {
            *self.receiver.lock().await = Some(tokio::spawn(receive(Arc::clone(self), upstream)));
        }
    }

    async fn leave_upstream(&self) {
        let mut receiver = self.receiver.lock().await;
        if let Some(running) = receiver.take() {
            running.abort();
            // That it was aborted is no news; nothing of it writes when this returns.
            let _ = running.await;
        }
        self.state().heard = None;
    }

    /// Sends a standby everything that it does not have, and what comes.
    async fn ship(&self, client: &mut Client<TcpStream>, region: Label, head: &Head) -> Result<(), Trouble> {
        let own = self.state().log.head.clone();
        let why = if head.system != own.system {
            Some(format!("it is another database: its identifier is {}, this one's {}", head.system, own.system))
        } else if let Some(parted) = head.history.parted(head.end, &own.history) {
            Some(format!("the lines parted on timeline {} at {}", parted.timeline, parted.at))
        } else {
            (head.end > own.end).then(|| format!("it ends at {}, this one at {}", head.end, own.end))
        };
        if let Some(why) = why {
            return client.say(&Told::Refused(why)).await;
        }
        let shipped = self.ship_from(client, &region, head.end).await;
        self.flushed.send_modify(|flushed| {
            flushed.remove(&region);
        });
        shipped
    }

    async fn ship_from(&self, client: &mut Client<TcpStream>, region: &Label, from: u64) -> Result<(), Trouble> {
        let (mut at, mut end, mut is_held, mut keepalive) = (from, self.end.subscribe(), self.is_held.subscribe(), interval(KEEPALIVE));
        loop {
            let now = end.latest_seen();
            if at < now && !is_held.latest_seen() {
                let lines = lines_from(&self.files.log(), at, now, RECORDS_OCTETS_MAX);
                let lines = lines.map_err(|error| Trouble(format!("read the log: {error}")))?;
                let text = String::from_utf8(lines).map_err(|error| Trouble(error.to_string()))?;
                let next = at + text.len() as u64;
                client.say(&Told::Records(at, text)).await?;
                at = next;
                end.mark_changed();
                // More than one line's worth is sent before anything is heard; the connection bounds it.
            }
            tokio::select! {
                _ = end.changed() => {}
                _ = is_held.changed() => {}
                _ = keepalive.tick() => client.say(&Told::Records(at, String::new())).await?,
                heard = client.hear::<Ask>() => match heard? {
                    Some(Ask::Flushed(position)) => self.flushed.send_modify(|flushed| {
                        flushed.insert(region.clone(), position);
                    }),
                    Some(_) => return Err(Trouble("only what is on disk is told in a stream".to_owned())),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn end_cleanly(&self) -> Result<(), Trouble> {
        self.leave_upstream().await;
        let (is_standby, end) = {
            let mut state = self.state();
            state.is_stopping = true;
            (state.is_standby, state.log.head.end)
        };
        if is_standby {
            return Ok(());
        }
        let mut flushed = self.flushed.subscribe();
        // Who streams gets the rest; who hangs is not waited for longer.
        let _ = timeout(SHIP, flushed.wait_for(|flushed| flushed.values().all(|at| *at >= end))).await;
        self.files.note(Ran::Stopped(end))
    }
}

/// How many standbys have to have a write, and of which: `ANY 1 ("eu", "us")`. What is not so written waits for nobody.
fn synchronous(text: &str) -> (usize, Vec<Label>) {
    let read = || {
        let (number, names) = text.strip_prefix("ANY ")?.split_once(" (")?;
        let names = names.strip_suffix(')')?.split(',').map(|name| Label::new(name.trim().trim_matches('"'))).collect();
        Some((number.parse().ok()?, names))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
    };

    use super::*;
    use crate::engine::fake::create;

    /// A primary at work, and what ends it.
    async fn primary() -> (tempfile::TempDir, SocketAddr, oneshot::Sender<()>, JoinHandle<Result<(), Trouble>>) {
        let directory = tempfile::tempdir().unwrap();
        create(directory.path(), 7, false, None).unwrap();
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Serving { directory: directory.path().to_owned(), listen, clock: || Tick(5_000_000) };
        let server = tokio::spawn(serve(serving, async move {
            let _ = stopped.await;
        }));
        while TcpStream::connect(listen).await.is_err() {
            tokio::task::yield_now().await;
        }
        (directory, listen, stop, server)
    }

    async fn connect(to: SocketAddr) -> Client {
        Client::connect(&to.to_string()).await.unwrap()
    }

    #[tokio::test]
    async fn nonsense_ends_a_connection_and_changes_nothing() {
        let (directory, listen, stop, server) = primary().await;
        let end = connect(listen).await.write("kept").await.unwrap();
        let too_long = [vec![b'x'; 100_000], vec![b'\n']].concat();
        for nonsense in [b"hello\n".to_vec(), b"{\"write\":7}\n".to_vec(), b"\xff\xfe\n".to_vec(), too_long, b"{\"flushed\":9}\n".to_vec()]
        {
            let mut stream = TcpStream::connect(listen).await.unwrap();
            stream.write_all(&nonsense).await.unwrap();
            stream.shutdown().await.unwrap();
            // It ends, with or without a last word.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let mut client = connect(listen).await;
        assert!(client.write(&"x".repeat(TEXT_OCTETS_MAX + 1)).await.unwrap_err().0.contains("at most 1024"));
        assert_eq!((client.texts().await.unwrap(), client.status().await.unwrap().position()), (vec!["kept".to_owned()], end));
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        let files = Files { directory: directory.path().to_owned(), owner: None };
        assert_eq!(files.ran().unwrap(), Ran::Stopped(end));
    }

    #[tokio::test]
    async fn another_database_a_parted_line_and_a_longer_one_are_refused_by_name() {
        let (_directory, listen, stop, server) = primary().await;
        let mut client = connect(listen).await;
        client.write("one").await.unwrap();
        let own = client.status().await.unwrap().head;
        let (mut other, mut parted, mut ahead) = (own.clone(), own.clone(), own.clone());
        other.system = 8;
        parted.history = portolan_core::failover::engine::postgres::History {
            left: vec![portolan_core::failover::engine::postgres::Switch { timeline: 1, at: own.end - 1 }],
            timeline: 2,
        };
        ahead.end += 1;
        for (head, why) in [(other, "another database"), (parted, "the lines parted on timeline 1"), (ahead, "it ends at")] {
            let mut standby = connect(listen).await;
            match standby.ask(&Ask::Stream(Label::new("eu"), Box::new(head))).await.unwrap() {
                Told::Refused(text) => assert!(text.contains(why), "{text}"),
                told => panic!("{told:?}"),
            }
        }
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_listens_for_this_machine_alone() {
        let directory = tempfile::tempdir().unwrap();
        create(directory.path(), 7, false, None).unwrap();
        let listen = SocketAddr::from(([0, 0, 0, 0], 0));
        let serving = Serving { directory: directory.path().to_owned(), listen, clock: || Tick(0) };
        assert!(serve(serving, async {}).await.unwrap_err().0.contains("loopback addresses only"));
    }

    #[test]
    fn whom_a_write_waits_for_is_read_as_postgresql_writes_it() {
        assert_eq!(synchronous("ANY 1 (\"eu\", \"us\")"), (1, vec![Label::new("eu"), Label::new("us")]));
        assert_eq!((synchronous(""), synchronous("ANY x (a)")), ((0, Vec::new()), (0, Vec::new())));
    }
}
