//! The thread that writes: pages to the segment that is open, a new segment when it is time.
//!
//! A write that fails takes back what it left, is told as a notice, and is tried again with the next page, which then holds what this one did.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use portolan_core::{
    model::time::{Now, Timestamp},
    node::{Event, Node, report::Severity},
    table::World,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{
    super::{Clock, control::Command, store::Origin},
    Limits,
    scribe::Told,
    segment::{self, Entry, Fault, Opening, Segment},
    shelf::{Shelf, Volume},
};

/// A page that waited this long for the disk is told of: others found no room behind it.
const LAG_TOLD: Duration = Duration::from_secs(10);

/// A segment grows to this many times its first page before another begins.
const GROWTH: u64 = 4;

/// The segment that is written to.
struct Open {
    file: File,
    path: PathBuf,
    /// All that is good.
    octets: u64,
    /// Of how it began.
    head_octets: u64,
    since: Timestamp,
    /// Of the last page.
    last: Timestamp,
    world: Arc<World>,
    /// What was noted last.
    before: Arc<Node>,
}

pub(super) struct Keeper {
    folder: PathBuf,
    limits: Limits,
    clock: Arc<Clock>,
    commands: mpsc::Sender<Command>,
    /// `None` until the folder could be opened.
    shelf: Option<Shelf>,
    open: Option<Open>,
    /// Whether it was looked for a segment to go on with.
    has_begun: bool,
    /// What is told as a notice.
    trouble: Option<String>,
}

impl Keeper {
    pub(super) fn new(folder: PathBuf, limits: Limits, clock: Arc<Clock>, commands: mpsc::Sender<Command>) -> Self {
        Self { folder, limits, clock, commands, shelf: None, open: None, has_begun: false, trouble: None }
    }

    /// Runs on a thread of its own until the scribe is gone.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(mut self, mut told: mpsc::Receiver<Told>) -> io::Result<()> {
        let run = move || {
            while let Some(told) = told.blocking_recv() {
                self.take(told);
            }
        };
        std::thread::Builder::new().name("history".to_owned()).spawn(run).map(drop)
    }

    pub(super) fn take(&mut self, told: Told) {
        let (written, now) = match told {
            Told::Page { node, now, origin } => (self.page(&node, now, &origin), now),
            Told::Mark(now) => (self.mark(now, false), now),
            Told::End(now, done) => {
                let written = self.mark(now, true);
                self.tell(written.err().map(|error| format!("{error:#}")));
                // The stop may have given up waiting.
                let _ = done.send(());
                return;
            }
        };
        let lag = self.clock.now().tick.since(now.tick);
        self.tell(match written {
            Err(error) => Some(format!("{error:#}")),
            Ok(()) if lag >= LAG_TOLD => Some(format!("the disk took {} s for a page", lag.as_secs())),
            Ok(()) => None,
        });
    }

    /// Tells people what is wrong, once, and when it is over.
    fn tell(&mut self, trouble: Option<String>) {
        if trouble == self.trouble {
            return;
        }
        let text = trouble.as_ref().map(|problem| {
            format!("moments are missing in the history of `why --at`: {problem}; answers and health go on; make room in `data_dir`, or see to its disk")
        });
        match &text {
            Some(text) => warn!("{text}"),
            None => info!("the history is written again"),
        }
        let notice = text.map(|text| (Severity::Warning, text));
        let event = Event::Noted { kind: "history", notice };
        // Never waits: where there is no room it is told with the next page.
        if self.commands.try_send(Command::Event(event, oneshot::channel().0)).is_ok() {
            self.trouble = trouble;
        }
    }

    fn page(&mut self, node: &Arc<Node>, now: Now, origin: &Origin) -> anyhow::Result<()> {
        if self.shelf.is_none() {
            let opened = Shelf::open(&self.folder, self.limits);
            self.shelf = Some(opened.with_context(|| format!("open `{}`", self.folder.display()))?);
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.open = self.go_on(node, origin);
        }
        let limits = self.limits;
        let goes_on = |open: &Open| {
            Arc::ptr_eq(&open.world, node.world())
                && open.octets < open.head_octets.saturating_add(limits.segment_octets.max(open.head_octets.saturating_mul(GROWTH)))
                && now.wall.since(open.since) < limits.segment_age
                // Of a clock that was set back: a file is looked for by its first moment.
                && now.wall >= open.last
        };
        match self.open.as_ref().filter(|open| goes_on(open)) {
            Some(open) => {
                let Some(page) = node.page(Some(&open.before), now) else { return Ok(()) };
                self.append(&Entry::Page(Box::new(page)).framed()?, now)?;
                if let Some(open) = &mut self.open {
                    (open.before, open.last) = (node.clone(), now.wall);
                }
                Ok(())
            }
            None => self.begin(node, now, origin),
        }
    }

    fn mark(&mut self, now: Now, stopped: bool) -> anyhow::Result<()> {
        if self.open.is_none() {
            return Ok(());
        }
        self.append(&Entry::Mark { at: now.wall, stopped }.framed()?, now)?;
        // What a loss of power may take is what came since the last mark.
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data().with_context(|| format!("sync `{}`", open.path.display())))
    }

    /// Appends to the segment that is open.
    fn append(&mut self, octets: &[u8], now: Now) -> anyhow::Result<()> {
        let (Some(open), Some(shelf)) = (&mut self.open, &mut self.shelf) else { return Ok(()) };
        let more = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let what = || format!("write `{}`", open.path.display());
        shelf.make_room(more, now.wall, true).with_context(what)?;
        if let Err(error) = open.file.write_all(octets) {
            let context = what();
            if open.file.set_len(open.octets).is_err() {
                // What follows a torn frame could not be read.
                self.open = None;
            }
            return Err(error).context(context);
        }
        open.octets += more;
        shelf.resized(open.octets);
        Ok(())
    }

    /// A new segment, with a page that says everything.
    fn begin(&mut self, node: &Arc<Node>, now: Now, origin: &Origin) -> anyhow::Result<()> {
        let (Some(page), Some(shelf)) = (node.page(None, now), &mut self.shelf) else { return Ok(()) };
        self.open = None;
        let mut octets = Entry::Opening(Opening::new(origin.source.clone(), origin.geo.clone())).framed()?;
        octets.extend(Entry::Page(Box::new(page)).framed()?);
        let head_octets = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let volume = shelf.next(now.wall);
        let what = || format!("write `{}`", volume.path.display());
        shelf.make_room(head_octets, now.wall, false).with_context(what)?;
        let mut file = OpenOptions::new().append(true).create_new(true).open(&volume.path).with_context(what)?;
        let written = file.write_all(&octets).and_then(|()| file.sync_all());
        // The name itself must reach the disk too.
        let written = written.and_then(|()| File::open(&self.folder)?.sync_all());
        if let Err(error) = written {
            // A beginning that is not whole is of no use, and is passed over where it stays.
            let _ = std::fs::remove_file(&volume.path);
            return Err(error).with_context(what);
        }
        self.open = Some(Open {
            file,
            path: volume.path.clone(),
            octets: head_octets,
            head_octets,
            since: now.wall,
            last: now.wall,
            world: node.world().clone(),
            before: node.clone(),
        });
        shelf.add(Volume { octets: head_octets, ..volume });
        Ok(())
    }

    /// The newest segment, if the former run ended it in this very world: so a node that is started again and again does not push its own past
    /// out with pages that say everything.
    fn go_on(&mut self, node: &Arc<Node>, origin: &Origin) -> Option<Open> {
        let shelf = self.shelf.as_mut()?;
        let newest = shelf.newest()?.clone();
        let octets = std::fs::read(&newest.path).ok()?;
        let segment = segment::read(&octets);
        if let Some(Fault::Broken(problem)) = &segment.fault {
            warn!("history: `{}` is damaged after {} octets: {problem}; a new file begins", newest.path.display(), segment.good);
            return None;
        }
        let is_same = segment.opening.as_ref().is_some_and(|opening| opening.source == origin.source && opening.geo == origin.geo);
        let last = segment.page_at(Timestamp(i64::MAX)).filter(|_| is_same)?;
        let (good, head_octets) = (u64::try_from(segment.good).ok()?, head_octets(&segment)?);
        // Another version may lay the world out otherwise; then a new segment says everything.
        let recalled = segment.memory(last).and_then(|memory| memory.rebuild(node.world().clone())).ok()?;
        let file = OpenOptions::new().append(true).open(&newest.path).ok()?;
        // What a crash left of a frame.
        file.set_len(good).ok()?;
        shelf.resized(good);
        Some(Open {
            file,
            path: newest.path,
            octets: good,
            head_octets,
            since: newest.first,
            last: recalled.at(),
            world: node.world().clone(),
            before: Arc::new(recalled.into_node()),
        })
    }
}

/// Of the opening and the first page, as they would be written.
fn head_octets(segment: &Segment) -> Option<u64> {
    let opening = Entry::Opening(segment.opening.clone()?).framed().ok()?;
    let page = segment.entries.first()?.framed().ok()?;
    u64::try_from(opening.len() + page.len()).ok()
}
