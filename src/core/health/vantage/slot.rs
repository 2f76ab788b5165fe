//! One check as all observers see it, and what steering makes of it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    health::endpoint::steady_change,
    model::{
        check::{Cadence, Check, ProbeKind},
        time::{Now, Tick},
        verdict::Health,
    },
};

use super::{
    ObserverId,
    confirm::CONFIRM_PAUSE,
    key::CheckKey,
    observer::{FRESH_FOR, Observer, Said},
    opinion,
    provenance::{Provenance, Votes},
    report::Judgement,
};

/// How a check comes to its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Observers probe it. Heartbeats, too: a beat is relayed to every node, and each judges by itself.
    Probed,
    /// Heard, not probed: every node judges it.
    Heard,
    /// Follows from the verdicts of other checks.
    Calculated,
    /// Up by definition.
    Always,
}

impl Way {
    pub(super) const fn of(kind: &ProbeKind) -> Self {
        match kind {
            ProbeKind::None => Self::Always,
            ProbeKind::Calculated { .. } => Self::Calculated,
            ProbeKind::Heartbeat { .. } => Self::Heard,
            _ => Self::Probed,
        }
    }
}

/// What one observer says of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Voice {
    pub(super) observer: ObserverId,
    pub(super) said: Said,
}

/// What was proven last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastProven {
    pub(super) judgement: Judgement,
    /// `None`: it is proven now.
    pub(super) lost: Option<Lost>,
}

/// When a proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) at: Tick,
    /// How long before that it had ended already: in a former process.
    pub(super) before: Duration,
}

impl Lost {
    pub(super) fn age(self, now: Tick) -> Duration {
        self.before.saturating_add(now.since(self.at))
    }

    /// The first instant at which it does not count any more.
    fn until(self, hold: Duration) -> Tick {
        self.at + hold.saturating_sub(self.before)
    }
}

/// Where a standing comes from; as [`Provenance`], without what depends on the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    Proven(Votes),
    Held,
    Own,
    Blind,
    Always,
}

/// What steering uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) judgement: Judgement,
    pub(super) source: Source,
}

/// One check.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: CheckKey,
    pub(super) way: Way,
    /// Whether an endpoint of this node's region stands on it.
    pub(super) is_home: bool,
    /// Whether this node probes it.
    pub(super) is_prober: bool,
    /// Whether this node judged it down while it was blind, and has not seen it since.
    pub(super) is_doubted: bool,
    /// At most one per observer; few, because only probers speak.
    pub(super) voices: Vec<Voice>,
    pub(super) last: Option<LastProven>,
    pub(super) standing: Standing,
    /// Until when `last` counts; with an entry in the queue of deadlines.
    pub(super) hold_until: Option<Tick>,
    /// When somebody last asked to confirm it.
    pub(super) asked: Option<Tick>,
    /// (up, down): the shortest time in which a steady judgement becomes another one.
    pub(super) steady: (Duration, Duration),
    /// The longest until who saw it down knows and tells that it is up.
    pub(super) look_again: Duration,
}

/// What a node sees besides the voices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// Vantage regions; their columns come first.
    pub(super) n_regions: usize,
    /// The column of this node's region.
    pub(super) home: usize,
    pub(super) is_blind: bool,
    /// Whether this node sees anything up in its own region.
    pub(super) sees_home: bool,
    /// Up to when holds have ended.
    pub(super) expired_to: Tick,
    pub(super) hold: Duration,
    /// When this node heard other regions again after it had lost them; `None`: it never had.
    pub(super) reunited: Option<Tick>,
}

impl Slot {
    pub(super) fn new(key: CheckKey, check: &Check, is_home: bool, now: Now) -> Self {
        let way = Way::of(&check.probe.kind);
        let standing = match way {
            Way::Always => Standing {
                judgement: Judgement { health: Health::Up, since: Some(now.wall), ..Judgement::default() },
                source: Source::Always,
            },
            _ => Standing { judgement: Judgement::default(), source: Source::Own },
        };
        let steady = |health| steady_change(&check.probe.cadence, health);
        Self {
            key,
            way,
            is_home,
            is_prober: matches!(way, Way::Probed | Way::Heard),
            is_doubted: false,
            voices: Vec::new(),
            last: None,
            standing,
            hold_until: None,
            asked: None,
            steady: (steady(Health::Up), steady(Health::Down)),
            look_again: look_again(&check.probe.cadence),
        }
    }

    pub(super) fn voice(&self, observer: ObserverId) -> Option<&Said> {
        self.voices.iter().find(|voice| voice.observer == observer).map(|voice| &voice.said)
    }

    /// Whether this node says that it is up, and it stands in this node's region.
    pub(super) fn sees_up_at_home(&self) -> bool {
        self.is_home && self.voice(ObserverId::SELF).is_some_and(|said| said.judgement.health == Health::Up)
    }

    /// Whether nobody asked to confirm it a moment ago.
    pub(super) fn may_ask(&self, now: Tick) -> bool {
        self.asked.is_none_or(|asked| now.since(asked) >= CONFIRM_PAUSE)
    }

    /// Takes a statement in; `true` when it says something else than the one before. An older one, or the same again, changes nothing.
    pub(super) fn hear(&mut self, observer: ObserverId, said: Said) -> bool {
        match self.voices.iter_mut().find(|voice| voice.observer == observer) {
            Some(voice) if voice.said.sequence >= said.sequence => false,
            Some(voice) => {
                let is_news = voice.said.judgement != said.judgement;
                voice.said = said;
                is_news
            }
            None => {
                let is_news = said.judgement.health != Health::Unknown;
                self.voices.push(Voice { observer, said });
                is_news
            }
        }
    }

    /// Forgets what an observer said up to `sequence`; `true` when that was something.
    pub(super) fn forget(&mut self, observer: ObserverId, sequence: u64) -> bool {
        let Some(position) = self.voices.iter().position(|voice| voice.observer == observer && voice.said.sequence <= sequence) else {
            return false;
        };
        self.voices.swap_remove(position).said.judgement.health != Health::Unknown
    }

    /// What each region says, of the observers that count; columns as in [`Outlook`].
    pub(super) fn regions(&self, n_columns: usize, column: impl Fn(ObserverId) -> Option<usize>) -> Vec<Option<Judgement>> {
        let places: Vec<(Option<usize>, &Judgement)> =
            self.voices.iter().map(|voice| (column(voice.observer), &voice.said.judgement)).collect();
        let of = |wanted: usize| places.iter().filter(move |(column, _)| *column == Some(wanted)).map(|(_, judgement)| *judgement);
        (0..n_columns).map(|wanted| opinion::of_region(of(wanted))).collect()
    }

    /// What steering is to use, from what the regions say. Notes what is proven, and when it ceased to be.
    ///
    /// The order of preference: proven; own region by own eyes; what was proven last, for `hold`; own eyes; what it was before.
    pub(super) fn weigh(&mut self, now: Tick, regions: &[Option<Judgement>], outlook: Outlook) -> Standing {
        self.hold_until = None;
        let own = |judgement: Judgement| Standing { judgement, source: Source::Own };
        let view = regions[outlook.home].clone();
        if let Some((mut judgement, votes)) = opinion::proven(&regions[..outlook.n_regions]) {
            if let Some((view, until)) = view.as_ref().zip(self.outlives(&judgement, view.as_ref(), outlook)) {
                self.lose(now);
                self.hold_until = Some(until);
                return own(view.clone());
            }
            let before = &self.standing.judgement;
            let never_left = self.is_home && outlook.reunited.is_some() && before.health == Health::Up;
            if never_left && judgement.health == Health::Up {
                // Others lost sight of it and have it back. Here it was there all the time, and who was sent to it is not taken away.
                judgement.returned_at = before.returned_at;
            }
            self.last = Some(LastProven { judgement: judgement.clone(), lost: None });
            return Standing { judgement, source: Source::Proven(votes) };
        }
        if self.is_home {
            // A node that is cut off with its region still sees what stands beside it. One that does not even see that is itself the fault.
            let eyes = || self.voice(ObserverId::SELF).map(|said| said.judgement.clone()).filter(|it| it.health != Health::Unknown);
            if let Some(view) = view.clone().or_else(|| eyes().filter(|_| outlook.is_blind && outlook.sees_home)) {
                self.lose(now);
                if view.health == Health::Up {
                    // Seen up since: when these eyes close, an older proof of death does not come back.
                    self.last.take_if(|last| last.judgement.health == Health::Down);
                }
                return own(view);
            }
        }
        self.lose(now);
        let last = self.last.as_ref().and_then(|last| Some((&last.judgement, last.lost?)));
        if let Some((judgement, lost)) = last
            && outlook.expired_to < lost.until(outlook.hold)
        {
            self.hold_until = Some(lost.until(outlook.hold));
            return Standing { judgement: judgement.clone(), source: Source::Held };
        }
        if let Some(view) = view {
            return own(view);
        }
        // Nobody here has a view: what was used stays, because nothing speaks against it.
        let known = Some(&self.standing.judgement).filter(|it| it.health != Health::Unknown);
        let judgement = known.or_else(|| last.map(|(judgement, _)| judgement)).cloned().unwrap_or_default();
        let source = match last {
            _ if outlook.is_blind => Source::Blind,
            Some((proven, _)) if *proven == judgement => Source::Held,
            Some(_) | None => Source::Own,
        };
        Standing { judgement, source }
    }

    /// Until when own eyes outlive what others prove: they could not reach what stands beside this node while it was cut off from them, and have
    /// not had the time to look again since. `None`: what is proven rules.
    fn outlives(&self, proven: &Judgement, view: Option<&Judgement>, outlook: Outlook) -> Option<Tick> {
        let is_unreachable = proven.failure.as_ref().is_some_and(|failure| failure.category.is_unreachable());
        let sees_up = view.is_some_and(|view| view.health == Health::Up);
        let until = outlook.reunited? + self.look_again;
        (self.is_home && sees_up && proven.health == Health::Down && is_unreachable && outlook.expired_to < until).then_some(until)
    }

    /// Time asleep does not count for a hold: nobody could prove anything to a node that did not listen.
    pub(super) fn slept(&mut self, moved: impl Fn(Tick) -> Tick) {
        if let Some(lost) = self.last.as_mut().and_then(|last| last.lost.as_mut()) {
            lost.at = moved(lost.at);
        }
    }

    fn lose(&mut self, now: Tick) {
        if let Some(last) = &mut self.last {
            last.lost.get_or_insert(Lost { at: now, before: Duration::ZERO });
        }
    }

    /// Who stands behind the verdict, as of `now`.
    pub(super) fn provenance(&self, now: Tick, hold: Duration) -> Provenance {
        match self.standing.source {
            Source::Proven(votes) => Provenance::Proven(votes),
            Source::Held => {
                let age = self.last.as_ref().and_then(|last| last.lost).map_or(Duration::ZERO, |lost| lost.age(now));
                Provenance::Held { age, left: hold.saturating_sub(age) }
            }
            Source::Own => Provenance::Own,
            Source::Blind => Provenance::Blind,
            Source::Always => Provenance::Always,
        }
    }
}

/// A probe of a down endpoint is due, each of those that bring it up lasts its timeout, and the word of it is under way.
fn look_again(cadence: &Cadence) -> Duration {
    steady_change(cadence, Health::Down).saturating_add(cadence.timeout.saturating_mul(u32::from(cadence.rise))).saturating_add(FRESH_FOR)
}

/// The column in which an observer's word counts; `None`: it does not count now, or its region is no vantage region.
pub(super) fn column_of(observers: &BTreeMap<ObserverId, Observer>, columns: &[crate::model::ids::Label], id: ObserverId) -> Option<usize> {
    let observer = observers.get(&id).filter(|observer| observer.counts())?;
    columns.iter().position(|region| *region == observer.region)
}
