//! From the files to the node as it was.

use std::{fs, path::Path, sync::Arc};

use portolan_core::{
    model::time::{Human, Timestamp},
    node::{
        recall::Recalled,
        report::{Moment, PastError},
    },
    table::World,
};
use tracing::warn;

use super::{
    super::{Setup, reload::shown, store::Origin, world::load_source},
    scribe::MARK_EVERY,
    segment::{self, Fault, Opening, Segment},
    shelf,
};

/// A node as it was, and what is to be said of how that is known.
pub(in super::super) struct Looked {
    pub(in super::super) recalled: Recalled,
    asked: Timestamp,
    notes: Vec<String>,
    /// Said of answers only: reasons do not depend on places.
    geo: Option<String>,
}

impl Looked {
    /// What goes with an answer (`is_answer`), or with reasons.
    pub(in super::super) fn moment(&self, is_answer: bool) -> Moment {
        let geo = self.geo.iter().filter(|_| is_answer);
        Moment { node: self.recalled.name().to_owned(), asked: self.asked, notes: self.notes.iter().chain(geo).cloned().collect() }
    }
}

/// The newest moment at or before `at`. Blocks.
pub(super) fn look(
    folder: &Path,
    at: Timestamp,
    now: Timestamp,
    setup: &Setup,
    in_force: Option<(Arc<Origin>, Arc<World>)>,
) -> Result<Looked, PastError> {
    let unreadable = |problem: String| PastError::Unreadable { at, problem };
    let volumes = shelf::list(folder).map_err(|error| unreadable(format!("read `{}`: {error}", folder.display())))?;
    let oldest = volumes.iter().map(|volume| volume.first).min();
    let mut following: Option<Timestamp> = None;
    let mut damage = None;
    for volume in volumes.iter().rev() {
        let is_earlier = volume.first <= at;
        let octets = match fs::read(&volume.path).map(Some) {
            _ if !is_earlier => None,
            // The oldest may have gone meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            octets => octets.map_err(|error| unreadable(format!("read `{}`: {error}", volume.path.display())))?,
        };
        let Some(octets) = octets else {
            following = Some(volume.first);
            continue;
        };
        let segment = segment::read(&octets);
        // The end of a file that is still written to may be in the middle of a page.
        if let Some(Fault::Broken(problem)) = &segment.fault {
            warn!("history: `{}` is damaged after {} octets: {problem}", volume.path.display(), segment.good);
            damage = Some(problem.clone());
        }
        let Some((position, opening)) = segment.page_at(at).zip(segment.opening.clone()) else { continue };
        let mut notes: Vec<String> = hole(&segment, position, at, following, now).into_iter().collect();
        notes.extend(damage.map(|problem| format!("a file of the history is damaged, so that later moments may be missing: {problem}")));
        let memory = segment.memory(position).map_err(|error| unreadable(error.to_string()))?;
        let (world, geo) = world_of(setup, &opening, in_force).map_err(unreadable)?;
        let recalled = memory.rebuild(world).map_err(|error| unreadable(error.to_string()))?;
        return Ok(Looked { recalled, asked: at, notes, geo });
    }
    match damage {
        Some(problem) => Err(unreadable(problem)),
        None => Err(PastError::Before { at, oldest: oldest.filter(|oldest| *oldest > at) }),
    }
}

/// The world of a segment, and what is to be said where its geo files are not those of that time.
fn world_of(setup: &Setup, opening: &Opening, in_force: Option<(Arc<Origin>, Arc<World>)>) -> Result<(Arc<World>, Option<String>), String> {
    let (world, geo) = match in_force.filter(|(origin, _)| origin.source == opening.source) {
        Some((origin, world)) => (world, origin.geo.clone()),
        None => {
            let loaded = load_source(setup, opening.source.clone())
                .map_err(|error| format!("the plan of that time cannot be loaded any more: {}", shown(&error)))?;
            (loaded.world, loaded.geo)
        }
    };
    let told = "answered with today's geo files; those of that time had other content, so places may differ";
    Ok((world, (geo != opening.geo).then(|| told.to_owned())))
}

/// What is to be said when the node gave no sign of life around `at`. `following`: when the next file begins, if there is one.
fn hole(segment: &Segment, position: usize, at: Timestamp, following: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let (last, was_stopped) = segment.life_at(position, at).filter(|(last, _)| *last < at)?;
    let next = segment.next_after(position, at).into_iter().chain(following).min();
    if was_stopped {
        let until = next.map_or_else(String::new, |next| format!(" until {next}"));
        return Some(format!("the node was stopped at {last} and did not run{until}: this is what it said last"));
    }
    // Marks come every minute; two that are missing are no chance.
    let end = next.unwrap_or(now);
    let length = end.since(last);
    (length > MARK_EVERY * 2).then(|| {
        let length = Human(std::time::Duration::from_secs(length.as_secs()));
        format!("nothing was noted from {last} to {end} ({length}): the node did not run, or could not write; this is what it said last")
    })
}
