//! Why a check stands as it does, as `why` prints it.

use crate::model::{
    ids::{CheckIdx, Label},
    reason::{Mark, Reason},
    time::{Human, Tick},
    verdict::Health,
};

use super::{
    ObserverId, Vantage,
    observer::Observer,
    provenance::whole,
    report::Judgement,
    slot::{Way, column_of},
};

/// Observers named in one line; more are counted.
const NAMES_MAX: usize = 3;

impl Vantage {
    /// What each vantage region says of a check, of the observers that count, in order of name; `None`: nothing. Empty for a check that does not
    /// exist.
    #[must_use]
    pub fn opinions(&self, check: CheckIdx) -> Vec<Option<Judgement>> {
        let column = |id| column_of(&self.observers, &self.columns, id);
        self.slots.get(check.get()).map_or_else(Vec::new, |slot| slot.regions(self.n_regions, column))
    }

    /// The verdict of a check, who stands behind it, and what each region says; `None` without peers, and for what nobody probes.
    #[must_use]
    pub fn explain(&self, check: CheckIdx, now: Tick) -> Option<Reason> {
        let slot = self.slots.get(check.get()).filter(|slot| !self.is_single() && slot.way != Way::Always)?;
        let judgement = &slot.standing.judgement;
        let since = judgement.since.map_or_else(String::new, |since| format!(" since {since}"));
        let failure = judgement.failure.as_ref().map_or_else(String::new, |failure| format!("; {failure}"));
        let text = format!("verdict {}{since}, {}{failure}", judgement.health, self.provenance(check, now));
        let reason = Reason::new(mark(judgement.health), text);
        if slot.way == Way::Calculated {
            return Some(reason);
        }
        let opinions = slot.regions(self.columns.len(), |id| column_of(&self.observers, &self.columns, id));
        let lines = self.columns.iter().zip(&opinions).map(|(region, opinion)| self.tell_region(check, region, opinion.as_ref(), now));
        Some(lines.fold(reason, Reason::with))
    }

    fn tell_region(&self, check: CheckIdx, region: &Label, opinion: Option<&Judgement>, now: Tick) -> Reason {
        let Some(opinion) = opinion else {
            return Reason::new(Mark::Open, format!("{region}: says nothing, {}", self.why_silent(region, now)));
        };
        let slot = &self.slots[check.get()];
        let name = |id: &ObserverId| self.observers.get(id).filter(|it| it.counts() && it.region == *region).map(|it| &it.name);
        let speaks = |health| {
            let voices = slot.voices.iter().filter(move |voice| voice.said.judgement.health == health);
            let mut names: Vec<&Label> = voices.filter_map(|voice| name(&voice.observer)).collect();
            names.sort_unstable();
            list(&names)
        };
        let other = if opinion.health == Health::Up { Health::Down } else { Health::Up };
        let others = speaks(other);
        let against = if others.is_empty() { String::new() } else { format!(", {other} by {others}") };
        let failure = opinion.failure.as_ref().map_or_else(String::new, |failure| format!("; {failure}"));
        Reason::new(mark(opinion.health), format!("{region}: {} by {}{against}{failure}", opinion.health, speaks(opinion.health)))
    }

    fn why_silent(&self, region: &Label, now: Tick) -> String {
        let observers: Vec<&Observer> = self.observers.values().filter(|observer| observer.region == *region).collect();
        if observers.iter().any(|observer| observer.counts()) {
            return "its probers have not judged this check yet".to_owned();
        }
        if observers.iter().any(|observer| observer.is_fresh) {
            return "it is blind: it reaches neither other regions nor its references".to_owned();
        }
        let youngest = observers.iter().filter_map(|observer| observer.life).map(|life| life.age(now)).min();
        match youngest {
            Some(age) => format!("not heard for {}", Human(whole(age))),
            None if observers.iter().any(|observer| observer.has_gap()) => "something that it said is missing".to_owned(),
            None => "never heard".to_owned(),
        }
    }

    /// How this node stands among the others: `3 of 3 regions heard, sighted`; `single` without peers.
    #[must_use]
    pub fn tell(&self) -> String {
        if self.is_single() {
            return "single".to_owned();
        }
        format!("{} of {} regions heard, {}", self.regions_heard().count(), self.n_regions, self.sight)
    }
}

const fn mark(health: Health) -> Mark {
    match health {
        Health::Up => Mark::Yes,
        Health::Down => Mark::No,
        Health::Unknown => Mark::Open,
    }
}

fn list(names: &[&Label]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
