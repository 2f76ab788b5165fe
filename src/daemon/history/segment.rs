//! One file of the history: how it begins, its pages, its marks of life.

use portolan_core::{
    model::time::Timestamp,
    node::recall::{Memory, Page, Unreadable},
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        store::PlanSource,
        world::{bare_world, load_plan},
    },
    frame::{self, Damage},
};

/// The version of the form of segments; pages have one of their own.
const FORM: u32 = 1;

/// What a frame holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The first frame.
    Opening(Opening),
    /// What the node said.
    Page(Box<Page>),
    /// The node lives and has nothing to say.
    Mark {
        at: Timestamp,
        /// It was stopped in order.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
    },
}

/// The documents of the world that the pages are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    form: u32,
    pub(super) source: PlanSource,
    /// As [`Origin::geo`](super::super::store::Origin::geo).
    pub(super) geo: String,
}

impl Opening {
    pub(super) const fn new(source: PlanSource, geo: String) -> Self {
        Self { form: FORM, source, geo }
    }
}

impl Entry {
    /// As a frame.
    pub(super) fn framed(&self) -> anyhow::Result<Vec<u8>> {
        let payload = serde_json::to_vec(self)?;
        anyhow::ensure!(
            payload.len() <= frame::FRAME_OCTETS_MAX,
            "a page of {} octets is longer than the {} that a history keeps: the plan is too large for one",
            payload.len(),
            frame::FRAME_OCTETS_MAX
        );
        let mut octets = Vec::with_capacity(payload.len() + frame::HEAD_OCTETS);
        frame::put(&mut octets, &payload);
        Ok(octets)
    }

    fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Opening(_) => None,
            Self::Page(page) => Some(page.at()),
            Self::Mark { at, .. } => Some(*at),
        }
    }
}

/// Why the rest of a segment is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its last frame is not whole.
    Torn,
    /// What is there is not what was written, or by another version.
    Broken(String),
}

/// What a file says, as far as it can be read.
#[derive(Default)]
pub(super) struct Segment {
    pub(super) opening: Option<Opening>,
    /// Pages and marks in the order in which they were written.
    pub(super) entries: Vec<Entry>,
    /// Octets that are good.
    pub(super) good: usize,
    pub(super) fault: Option<Fault>,
}

/// Reads what can be read. Never fails: what is damaged ends the segment there.
pub(super) fn read(mut octets: &[u8]) -> Segment {
    let mut segment = Segment::default();
    while let Some(frame) = frame::next(octets) {
        let taken = match frame {
            Ok((payload, rest)) => segment.take(payload).map(|()| (payload.len(), rest)),
            Err(Damage::Torn) => Err(Fault::Torn),
            Err(Damage::Broken) => Err(Fault::Broken("a checksum is wrong".to_owned())),
        };
        match taken {
            Ok((length, rest)) => {
                segment.good += frame::HEAD_OCTETS + length;
                octets = rest;
            }
            Err(fault) => {
                segment.fault = Some(fault);
                break;
            }
        }
    }
    segment
}

impl Segment {
    fn take(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let entry: Entry = serde_json::from_slice(payload).map_err(|error| Fault::Broken(error.to_string()))?;
        match (entry, &self.opening) {
            (Entry::Opening(opening), None) if opening.form == FORM => self.opening = Some(opening),
            (Entry::Opening(opening), None) => {
                return Err(Fault::Broken(format!("it is of form {}, and this version reads form {FORM}", opening.form)));
            }
            (Entry::Opening(_), Some(_)) => return Err(Fault::Broken("it begins twice".to_owned())),
            (_, None) => return Err(Fault::Broken("it has no beginning".to_owned())),
            (entry, Some(_)) => self.entries.push(entry),
        }
        Ok(())
    }

    /// The newest page at or before `at`, counted from the start of `entries`. The later written one where a clock was set back.
    pub(super) fn page_at(&self, at: Timestamp) -> Option<usize> {
        self.entries.iter().rposition(|entry| matches!(entry, Entry::Page(page) if page.at() <= at))
    }

    /// Everything that is said up to the entry at `position`.
    pub(super) fn memory(self, position: usize) -> Result<Memory, Unreadable> {
        let mut memory = Memory::default();
        for entry in self.entries.into_iter().take(position + 1) {
            if let Entry::Page(page) = entry {
                memory.read(*page)?;
            }
        }
        Ok(memory)
    }

    /// The last sign of life up to `at`, from the entry at `position` on, and whether it was a stop.
    pub(super) fn life_at(&self, position: usize, at: Timestamp) -> Option<(Timestamp, bool)> {
        let later = self.entries.iter().skip(position).filter_map(|entry| Some((entry.at()?, entry)));
        let last = later.take_while(|(written, _)| *written <= at).last()?;
        Some((last.0, matches!(last.1, Entry::Mark { stopped: true, .. })))
    }

    /// The first sign of life after `at`, from the entry at `position` on.
    pub(super) fn next_after(&self, position: usize, at: Timestamp) -> Option<Timestamp> {
        self.entries.iter().skip(position).filter_map(Entry::at).find(|written| *written > at)
    }
}

/// Reads `data` as a segment, and as the payloads of one, a line each, and tells of all that the pages of it tell. For the fuzzer and its corpus.
pub fn fuzz_history(data: &[u8]) {
    use portolan_core::{answer::Query, model::record::RecordType, table::World};
    use std::sync::{Arc, OnceLock};

    const PLAN: &str = include_str!("fuzz-plan.yaml");
    static WORLD: OnceLock<Arc<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| {
        let source = PlanSource { text: PLAN.to_owned(), ..PlanSource::default() };
        let loaded = load_plan("fuzz-plan.yaml", &source, &[]).expect("invariant: a plan of our own");
        bare_world(loaded.topology).expect("invariant: a plan of our own")
    });
    let mut lines = Segment::default();
    for line in data.split(|octet| *octet == b'\n') {
        if lines.take(line).is_err() {
            break;
        }
    }
    for segment in [read(data), lines] {
        let Some(last) = segment.page_at(Timestamp(i64::MAX)) else { continue };
        let (life, next) = (segment.life_at(last, Timestamp(i64::MAX)), segment.next_after(0, Timestamp(0)));
        assert!(life.is_some() || next.is_none(), "a page is a sign of life");
        let Ok(recalled) = segment.memory(last).and_then(|memory| memory.rebuild(world.clone())) else { continue };
        for object in ["us", "eu", "api", "db", "api/us/192.0.2.10:80", "api/eu/192.0.2.20:80", "api.example.org"] {
            let why = recalled.why(object).expect("invariant: the plan has it");
            let _ = why.reason.render();
        }
        let source = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        let name = "api.example.org".parse().expect("invariant: a good name");
        let query = Query { name, record_type: RecordType::A, source, client_subnet: None, entropy: 0 };
        recalled.preview(&query).expect("invariant: pages have a table");
    }
}
