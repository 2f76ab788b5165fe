//! What all vantage points said at one moment, to be looked at later.
//!
//! Why not what is [saved](super::SavedProof): nothing goes on from a note, so it keeps every voice, and who was heard, as `why` words it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    check::Check,
    ids::{CheckIdx, Label},
    time::{Now, Timestamp},
};

use super::{
    ObserverId, Settings, Vantage,
    observer::{Life, Observer, Said},
    report::Judgement,
    sight::Sight,
    slot::{LastProven, Lost, Slot, Source, Standing, Voice},
};

/// Who was there, and how they were heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedOthers {
    /// Empty: no peers.
    regions: Vec<Label>,
    hold_micros: u64,
    sight: Sight,
    observers: Vec<NotedObserver>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NotedObserver {
    name: Label,
    region: Label,
    is_fresh: bool,
    /// What it said that it sees, and when it was heard; `None`: nothing of it is complete.
    life: Option<(Sight, Timestamp)>,
    has_gap: bool,
}

impl NotedOthers {
    /// Whether there are no peers.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.regions.is_empty()
    }
}

/// One check as all see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedStanding {
    judgement: Judgement,
    source: Source,
    /// What was proven last; `None` inside: it is proven now, else when it ceased to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<(Judgement, Option<Timestamp>)>,
    is_prober: bool,
    voices: Vec<(Label, Judgement)>,
}

impl Vantage {
    /// Who is there, and how they are heard.
    #[must_use]
    pub fn note_others(&self, now: Now) -> NotedOthers {
        let heard = |life: Life| (life.sight, now.back_to(now.tick.before(life.age(now.tick))).wall);
        let observers = self.observers.values().map(|it| NotedObserver {
            name: it.name.clone(),
            region: it.region.clone(),
            is_fresh: it.is_fresh,
            life: it.life.map(heard),
            has_gap: it.has_gap(),
        });
        NotedOthers {
            regions: self.regions().to_vec(),
            hold_micros: micros(self.settings.unproven_hold),
            sight: self.sight,
            observers: observers.collect(),
        }
    }

    /// One check as all see it; `None` without peers, and for a position that does not exist.
    #[must_use]
    pub fn note_standing(&self, check: CheckIdx, now: Now) -> Option<NotedStanding> {
        let slot = self.slots.get(check.get()).filter(|_| !self.is_single())?;
        let voices = slot.voices.iter().filter_map(|voice| Some((self.name_of(voice)?.clone(), voice.said.judgement.clone())));
        // A time of day, not an age: this note may be told from again by a later page.
        let at = |lost: Lost| {
            let age = i64::try_from(lost.age(now.tick).as_millis()).unwrap_or(i64::MAX);
            Timestamp(now.wall.0.saturating_sub(age))
        };
        Some(NotedStanding {
            judgement: slot.standing.judgement.clone(),
            source: slot.standing.source,
            last: slot.last.as_ref().map(|last| (last.judgement.clone(), last.lost.map(at))),
            is_prober: slot.is_prober,
            voices: voices.collect(),
        })
    }

    fn name_of(&self, voice: &Voice) -> Option<&Label> {
        self.observers.get(&voice.observer).map(|observer| &observer.name)
    }

    /// Whether both hear the same observers in the same way. How long ago is told of those that are silent only.
    #[must_use]
    pub fn others_read_like(&self, other: &Self) -> bool {
        let words = |it: &Observer| {
            let sight = it.life.map(|life| life.sight);
            (it.name.clone(), it.region.clone(), it.is_fresh, sight, it.life.filter(|_| !it.is_fresh), it.has_gap())
        };
        self.regions() == other.regions()
            && self.settings.unproven_hold == other.settings.unproven_hold
            && self.sight == other.sight
            && self.observers.values().map(words).eq(other.observers.values().map(words))
    }

    /// Whether a check is told of in the same words, by those who are there.
    #[must_use]
    pub fn standing_reads_like(&self, other: &Self, check: CheckIdx) -> bool {
        let slots = (self.slots.get(check.get()), other.slots.get(check.get()));
        let (Some(own), Some(others)) = slots else { return slots.0.is_none() && slots.1.is_none() };
        let words = |slot: &Slot| (slot.standing.clone(), slot.last.clone(), slot.is_prober);
        let voices = |it: &Self, slot: &Slot| {
            let of = |voice: &Voice| (it.name_of(voice).cloned(), voice.said.judgement.clone());
            slot.voices.iter().map(of).collect::<Vec<_>>()
        };
        self.is_single() == other.is_single() && words(own) == words(others) && voices(self, own) == voices(other, others)
    }

    /// As it was noted: to be looked at, and to hear nothing more. What it says of checks comes in by [`Self::recall`].
    #[must_use]
    pub fn recalled(node: Label, region: Label, noted: &NotedOthers, checks: &[Check], now: Now) -> Self {
        let settings = Settings {
            node,
            region,
            incarnation: 0,
            regions: noted.regions.clone(),
            probers_per_region: 1,
            unproven_hold: Duration::from_micros(noted.hold_micros),
        };
        let mut vantage = Self::new(settings, checks, |_| false, now);
        vantage.sight = noted.sight;
        for it in &noted.observers {
            let life = it.life.map(|(sight, heard)| Life::aged(now.wall.since(heard), sight, now.tick));
            let observer = Observer::noted(it.name.clone(), it.region.clone(), life, it.is_fresh, it.has_gap);
            let id = vantage.ids.get(&it.name).copied().unwrap_or(ObserverId(vantage.next_id));
            vantage.next_id = vantage.next_id.max(id.0.saturating_add(1));
            vantage.ids.insert(it.name.clone(), id);
            vantage.observers.insert(id, observer);
        }
        vantage
    }

    /// Sets one check as it was noted. Voices of observers that were not there are left out.
    pub fn recall(&mut self, check: CheckIdx, noted: &NotedStanding, now: Now) {
        let ids = &self.ids;
        let Some(slot) = self.slots.get_mut(check.get()) else { return };
        let lost = |at| Lost { at: now.tick, before: now.wall.since(at) };
        let last =
            |(judgement, at): &(Judgement, Option<Timestamp>)| LastProven { judgement: judgement.clone().bounded(), lost: at.map(lost) };
        slot.standing = Standing { judgement: noted.judgement.clone().bounded(), source: noted.source };
        slot.last = noted.last.as_ref().map(last);
        slot.is_prober = noted.is_prober;
        let voices = noted.voices.iter().filter_map(|(name, judgement)| {
            let said = Said { sequence: 0, judgement: judgement.clone().bounded() };
            Some(Voice { observer: *ids.get(name)?, said })
        });
        slot.voices = voices.collect();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
