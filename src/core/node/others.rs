//! This node among others: what it hears of them, what it tells them, and what of it steering uses.
//!
//! Without peers nothing of this happens: the book's word is the verdict.

use std::time::Duration;

use super::{
    Effect, Event, Node, Rejected,
    report::{Notice, Severity},
};
use crate::{
    health::vantage::{self, FRESH_FOR, Report, Sight, Vantage},
    model::{
        ids::{CheckIdx, Label},
        time::{Now, Tick},
        verdict::Verdict,
    },
};

/// Who else there is, and the rules for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Higher at each start of this node; kept in its data directory, or given when it attaches.
    pub incarnation: u64,
    /// The regions of all peers, this node's and the witness's included, with or without repetition. Empty: no peers.
    pub regions: Vec<Label>,
    /// As in the plan, 1 or more.
    pub probers_per_region: u16,
    /// As in the plan.
    pub unproven_hold: Duration,
}

/// Without peers, and so without a place for any check.
pub(super) fn alone(node: &Label, region: &Label, now: Now) -> Vantage {
    let settings = vantage::Settings {
        node: node.clone(),
        region: region.clone(),
        incarnation: 0,
        regions: Vec::new(),
        probers_per_region: vantage::PROBERS_PER_REGION,
        unproven_hold: vantage::UNPROVEN_HOLD,
    };
    Vantage::new(settings, &[], |_| false, now)
}

impl Event {
    /// Of a process that was to run at `due` and does at `now`. `None`: it is not later than others notice, see [`FRESH_FOR`].
    #[must_use]
    pub fn slept(due: Tick, now: Tick) -> Option<Self> {
        Some(now.since(due)).filter(|late| *late > FRESH_FOR).map(Self::Slept)
    }
}

impl Node {
    /// Puts the node among its peers, or takes it out of them again. What was proven before the start is held from now on.
    ///
    /// Meant for the moment after [`Node::new`], before anybody is given [`Node::table`]: a table that was restored is made anew, because
    /// what was proven rules over what this node saw. Later it starts anew as an observer, which needs a higher incarnation.
    pub fn join(&mut self, peers: Peers, now: Now) {
        let Peers { incarnation, regions, probers_per_region, unproven_hold } = peers;
        let (node, region) = (self.settings.node.clone(), self.settings.region.clone());
        let mut proofs = self.vantage.save(now);
        proofs.append(&mut self.proofs);
        self.vantage = if regions.is_empty() {
            alone(&node, &region, now)
        } else {
            let settings = vantage::Settings { node, region, incarnation, regions, probers_per_region, unproven_hold };
            Vantage::new(settings, &self.world.topology.checks, |check| self.is_home(check), now)
        };
        if self.vantage.is_single() {
            self.proofs = proofs;
        } else {
            self.vantage.restore(proofs, now);
        }
        self.share_probes(now);
        for check in (0..self.book.len()).map(CheckIdx::at) {
            self.vantage.observed(now, &self.book, check, &mut self.seen);
        }
        self.settle_overlay(now);
        self.all_dirty();
        if self.table.is_some() {
            self.publish_whole(now, &mut Vec::new());
        }
    }

    /// What this node hears and says among its peers. Reports are made of it, see [`Vantage::report`].
    #[must_use]
    pub fn vantage(&self) -> &Vantage {
        &self.vantage
    }

    /// Takes in a report that came from `peer`, its own or of an observer that it tells of; see [`Event::ReportHeard`].
    ///
    /// # Errors
    /// [`Rejected`], harmless: nothing was changed.
    pub fn hear_from(
        &mut self,
        now: Now,
        peer: &Label,
        report: Report,
        round_trip: Duration,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let observer = report.observer.clone();
        if !self.vantage.is_single() {
            self.vantage.make_room(now, &observer, peer, &mut self.seen)?;
        }
        let heard = self.handle(now, Event::ReportHeard { report, round_trip }, effects);
        if heard.is_ok() {
            self.vantage.was_brought(&observer, peer);
        }
        heard
    }

    /// Gives the next reports a number of their own: a sign of life. To be called every [`vantage::PULSE_EVERY`].
    pub const fn pulse(&mut self) -> u64 {
        self.vantage.pulse()
    }

    pub(super) fn wake(&mut self, now: Now, asleep: Duration, effects: &mut Vec<Effect>) {
        let text = format!("this node did not run for {:.1}s: suspended, stopped or starved of CPU", asleep.as_secs_f64());
        self.tell(now, text, effects);
        // Without peers there is nothing to wake.
        let _ = self.vantage.handle(now, vantage::Event::Slept { asleep }, &mut self.seen);
    }

    /// The verdict that steering uses, before overrides.
    pub(super) fn verdict(&self, check: CheckIdx, now: Tick) -> Verdict {
        self.vantage.verdict(&self.book, check, now)
    }

    /// How this node stands among its peers, where people should know; `None`: all is well.
    pub(super) fn vantage_notice(&self) -> Option<Notice> {
        let notice = |severity, kind: &str, text: String| Some(Notice { severity, kind: kind.to_owned(), text });
        if self.vantage.is_single() {
            return notice(Severity::Info, "vantage_single", "one node judges alone: nobody confirms that it sees right".to_owned());
        }
        if self.vantage.sight() == Sight::Blind {
            return notice(Severity::Critical, "vantage_blind", sight_told(Sight::Blind).to_owned());
        }
        let heard: Vec<&Label> = self.vantage.regions_heard().collect();
        let silent: Vec<&str> = self.vantage.regions().iter().filter(|region| !heard.contains(region)).map(Label::as_str).collect();
        if silent.is_empty() {
            return None;
        }
        let all = self.vantage.regions().len();
        let follows = if heard.len() * 2 > all { "the others still prove verdicts" } else { "no verdict can be proven" };
        let text = format!("{} of {all} vantage regions are not heard ({}): {follows}", silent.len(), silent.join(", "));
        notice(Severity::Warning, "vantage_silent", text)
    }

    /// Why a leader on this node should hand leadership on; `None`: nothing speaks against it.
    #[must_use]
    pub fn unfit_to_lead(&self) -> Option<String> {
        if self.vantage.is_single() {
            return None;
        }
        if self.vantage.sight() == Sight::Blind {
            return Some("this node is blind".to_owned());
        }
        let region = &self.settings.region;
        let own = self.world.topology.region(region.as_str())?;
        let has_endpoints = self.world.topology.judged().any(|(_, endpoint)| endpoint.region == own);
        let is_judged = self.table.is_some() && self.stale_since.is_none();
        (has_endpoints && is_judged && self.tally.up(own) == 0).then(|| format!("no endpoint of {region} is up"))
    }

    /// Whether an endpoint of this node's region stands on a check.
    fn is_home(&self, check: CheckIdx) -> bool {
        self.world.topology.region(self.settings.region.as_str()).is_some_and(|region| self.checks.regions(check).contains(region))
    }

    /// Another plan is in force, and the book has it. What follows is to be absorbed when the overlay has it, too.
    pub(super) fn reload_vantage(&mut self, now: Now) {
        if self.vantage.is_single() {
            return self.share_probes(now);
        }
        let mut vantage = std::mem::replace(&mut self.vantage, alone(&self.settings.node, &self.settings.region, now));
        let mut seen = Vec::new();
        vantage.reload(&self.world.topology.checks, |check| self.is_home(check), now, &mut seen);
        self.vantage = vantage;
        self.share_probes(now);
        self.seen.extend(seen);
    }

    /// Tells the book which checks this node probes.
    pub(super) fn share_probes(&mut self, now: Now) {
        for check in (0..self.book.len()).map(CheckIdx::at) {
            let wanted = self.vantage.is_single() || self.vantage.is_prober(check);
            self.book.set_probing(now, check, wanted && self.is_wanted(check));
        }
    }

    /// Lets the vantage see what the book took in since it looked last.
    pub(super) fn observe_touched(&mut self, now: Now) {
        if self.vantage.is_single() {
            return;
        }
        for check in self.changes.touched.keys() {
            self.vantage.observed(now, &self.book, *check, &mut self.seen);
        }
    }

    /// Does what the vantage asks for, and tells what it found.
    pub(super) fn absorb_seen(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.seen.is_empty() {
            return;
        }
        let (mut is_touched, mut is_stated) = (false, false);
        for seen in std::mem::take(&mut self.seen) {
            match seen {
                vantage::Effect::Touched { check, touch: _, turn } => {
                    is_touched = true;
                    self.dirty.extend(self.checks.services(check));
                    if let Some(turn) = turn {
                        let name = self.checks.name(&self.world.topology, check);
                        self.tell(now, format!("{name} {turn}"), effects);
                    }
                }
                vantage::Effect::Stated => is_stated = true,
                vantage::Effect::SightChanged(sight) => self.tell(now, sight_told(sight).to_owned(), effects),
                vantage::Effect::Confirm { check } => effects.push(Effect::Confirm { check }),
                vantage::Effect::ProbeNow { check } => drop(self.book.probe_now(now, check)),
                vantage::Effect::Probe { check, wanted } => self.book.set_probing(now, check, wanted && self.is_wanted(check)),
            }
        }
        if is_stated {
            effects.push(Effect::Report);
        }
        if is_touched {
            self.settle_overlay(now);
        }
    }
}

/// What a change of sight means, for logs and history.
const fn sight_told(sight: Sight) -> &'static str {
    match sight {
        Sight::Blind => "this node is blind: it reaches neither other regions nor its references, so what it sees does not count",
        Sight::Alone => "this node is alone: it reaches its references but hears no other region",
        Sight::Sighted => "this node hears other regions",
    }
}
