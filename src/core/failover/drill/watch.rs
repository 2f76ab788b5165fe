//! How the primary is watched: each region's daemon probes it, tells the others, hears the agents, and decides while it leads.
//!
//! Witness and detector are the real ones. A probe is what a client of that region would meet: it gets there and back, and the database writes.
//! What would be lost is not measured here: the run says so, and the automation and the guards judge by it.

use std::time::Duration;

use super::{
    database::Run,
    net::{Lines, REGIONS, Region},
    setup::{LITTLE, RPO, Told},
    world::{Agreed, Event, Mail, World, group_name, seen_at, step_by},
};
use crate::{
    failover::{
        detect::{Action, Case, Detector, Patience, Sights},
        evidence::Views,
        grounds::Attestation,
        lease::{RENEWALS_PER_TTL, short},
        order::Status,
        step::Step,
        witness::Witness,
    },
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    recovery::exposure::Bracket,
};

/// Whose decisions are the detector's, in the log.
pub(super) const DETECTOR: &str = "detector";

/// What another region saw longer ago says nothing any more, in true microseconds on any clock.
const FRESH: u64 = 3_000_000;

/// What a run says would be lost: half of the time no more than the plan allows.
const FIGURES: [Bracket; 4] = [
    LITTLE,
    Bracket { low: Duration::ZERO, high: Some(RPO) },
    Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(61)) },
    Bracket::UNKNOWN,
];

/// What a daemon knows of the primary by looking and hearing.
pub(super) struct Lookout {
    witness: Witness,
    detector: Detector,
    /// How each region saw the primary of which region last, and when that came.
    views: [Option<(Tick, View)>; 3],
}

/// What a region's probe met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    primary: Region,
    works: bool,
}

impl Lookout {
    pub(super) fn new() -> Self {
        let ms = Duration::from_millis;
        let patience = Patience { attest: ms(3000), again: ms(2000), refused: ms(4000) };
        Self { witness: Witness::default(), detector: Detector::new(patience), views: [None; 3] }
    }

    /// The daemon leads no more.
    pub(super) fn step_down(&mut self) {
        self.detector.step_down();
    }

    /// A decision of this leader was refused.
    pub(super) fn refused(&mut self, step: &Step, now: Tick) {
        if matches!(step, Step::Decide(_) | Step::Close { .. }) {
            self.detector.refused(&group_name(), now);
        }
    }

    fn look(&mut self, agreed: &Agreed, now: Now) {
        let Agreed { group, policy, .. } = agreed;
        let primary = group.primary().map(Region::of);
        let mut views = Views::default();
        for view in &self.views {
            let fresh = view.filter(|(at, view)| now.tick.0 - at.0 < FRESH && Some(view.primary) == primary);
            match fresh.map(|(_, view)| view.works) {
                Some(true) => views.passing += 1,
                Some(false) => views.failing += 1,
                None => views.silent += 1,
            }
        }
        self.witness.see(group, policy, now.tick);
        let picture = self.witness.picture(group, policy, views, None, now.tick);
        self.detector.see(&group_name(), group, policy, &picture, now);
    }
}

impl Sights for Told {
    fn is_down(&self, _: &Label) -> bool {
        false
    }

    fn estimate(&self, _: &Label) -> Bracket {
        self.0
    }
}

impl World {
    /// Whether a client of the region gets through to the primary, as that region's probe sees it.
    fn probe(&self, region: Region, primary: Region) -> View {
        let database = self.hosts[primary.0].database.as_ref();
        let works = self.blind != Some(region) && self.both(region, primary) && database.is_some_and(|it| it.run == Run::Writes);
        View { primary, works }
    }

    fn clocks(&self, region: Region) -> Now {
        Now { tick: self.hosts[region.0].clock.at(self.now), wall: seen_at(self.now) }
    }

    /// The daemon of a region looks; if it leads, it may decide.
    pub(super) fn look(&mut self, region: Region) {
        if !self.hosts[region.0].is_up {
            return;
        }
        let agreed = self.seen_by(region).clone();
        if let Some(primary) = agreed.group.primary() {
            let view = self.probe(region, Region::of(primary));
            for to in REGIONS {
                self.send(region, to, Mail::View(view));
            }
        }
        let now = self.clocks(region);
        let lookout = &mut self.lookouts[region.0];
        lookout.look(&agreed, now);
        let Some((term, _)) = self.daemons[region.0].leads else { return };
        let name = group_name();
        let case = Case { name: &name, group: &agreed.group, policy: &agreed.policy, stand: agreed.stand.clone() };
        for action in lookout.detector.decide(&[case], &Told(self.loss), now) {
            match action {
                Action::Ask { question, regions, .. } => {
                    for to in &regions {
                        self.send(region, Region::of(to), Mail::Question(question));
                    }
                }
                Action::Propose { step, .. } => self.propose(region, term, step_by(DETECTOR, self.now, step)),
            }
        }
    }

    /// Another region's view, or an agent's word, or what a leader asks and is answered.
    pub(super) fn saw(&mut self, from: Region, to: Region, view: View) {
        let now = self.hosts[to.0].clock.at(self.now);
        self.lookouts[to.0].views[from.0] = Some((now, view));
    }

    pub(super) fn hears_agent(&mut self, from: Region, to: Region, status: Status) {
        let (agreed, now) = (self.seen_by(to).clone(), self.hosts[to.0].clock.at(self.now));
        self.lookouts[to.0].witness.told(&agreed.group, &from.label(), status, None, now);
    }

    /// A leader asks for a probe that begins now.
    pub(super) fn asked(&mut self, from: Region, to: Region, question: u64) {
        let primary = self.seen_by(to).group.primary().map(Region::of);
        let what = match primary.map(|primary| self.probe(to, primary).works) {
            Some(true) => Attestation::Working,
            Some(false) => Attestation::Failing,
            None => Attestation::Abstains,
        };
        self.send(to, from, Mail::Attest(question, what));
    }

    pub(super) fn attested(&mut self, from: Region, to: Region, question: u64, what: Attestation) {
        self.lookouts[to.0].detector.attested(&group_name(), question, &from.label(), what);
    }

    //--- What goes wrong with what is seen

    /// Whether the last cut that ends by itself is over and forgotten: rounds have passed since, and the primary holds as much of its lease as it does
    /// while it renews in time.
    pub(super) fn has_settled(&self) -> bool {
        let Some(primary) = self.group().primary().map(Region::of) else { return false };
        let host = &self.hosts[primary.0];
        let (ttl, now) = (Duration::from_secs(self.setup.ttl), host.clock.at(self.now));
        let late = ttl / RENEWALS_PER_TTL + Duration::from_millis(1500);
        let has_passed = self.lines.are_whole() && self.now >= self.whole_since + 4_000_000;
        has_passed && host.agent.as_ref().is_some_and(|agent| agent.holder().remaining(now) + late >= short(ttl))
    }

    /// A cut of any shape that ends by itself.
    pub(super) fn blink(&mut self) {
        self.lines = Lines::shape(&mut self.chance);
        let lasts = self.chance.between(self.setup.faults.blink_max / 8, self.setup.faults.blink_max);
        self.plan(lasts, Event::LinesComeBack);
        let lines = self.lines;
        self.note(|| format!("for {lasts} us {lines:?}"));
    }

    /// One region's probes fail whatever they meet; if the primary is elsewhere, its lines may be cut, too.
    pub(super) fn blind(&mut self) {
        self.lines = Lines::default();
        self.blind = if self.blind.is_some() && self.chance.percent(30) { None } else { Some(self.chance.pick(&REGIONS)) };
        let primary = self.group().primary().map(Region::of);
        if let Some(one) = self.blind.filter(|one| Some(*one) != primary)
            && self.chance.percent(60)
        {
            self.lines = Lines::apart(&mut self.chance, one);
        }
        let (blind, lines) = (self.blind, self.lines);
        self.note(|| format!("blind: {blind:?}, {lines:?}"));
    }

    /// The primary's database ends and does not come up any more, or does again.
    pub(super) fn sicken(&mut self) {
        let Some(primary) = self.group().primary().map(Region::of) else { return };
        let is_sick = !self.hosts[primary.0].is_sick;
        self.hosts.iter_mut().for_each(|host| host.is_sick = false);
        if is_sick {
            self.hosts[primary.0].is_sick = true;
            if let Some(database) = &mut self.hosts[primary.0].database {
                database.kill();
            }
        }
        self.note(|| format!("the database of {primary:?} {}", if is_sick { "ends, and does not come up" } else { "can come up" }));
    }

    /// Another figure of what would be lost.
    pub(super) fn estimate_anew(&mut self) {
        self.loss = self.chance.pick(&FIGURES);
        let loss = self.loss;
        self.note(|| format!("{loss} would be lost"));
    }
}
