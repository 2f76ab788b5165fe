//! The control task's dealings with peers: what it hears goes to the node and on to others, what the node says goes to all.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::{
    health::{
        book::Beat,
        vantage::{self, PULSE_EVERY, Report},
    },
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    node::{Effect, Event, Node, Rejected},
};
use tracing::{debug, warn};

use super::{
    cluster::Cluster,
    roles::{Stated, Statements},
};
use crate::mesh::{self, Far, FarRole, LinkId, Mesh, Parcel, Route};

/// Between two requests for everything that one observer says.
const NEED_PAUSE: Duration = Duration::from_secs(1);

/// A wall clock this far off its peers is told to people.
const SKEW_TOLD: i64 = 2_000;

/// Beyond this the peers' median is used in its place.
const SKEW_MAX: i64 = 60_000;

/// What is kept for peers.
pub(super) struct Peering {
    mesh: Mesh,
    /// Up to this number everybody was told what this node says.
    told: u64,
    /// When the next sign of life is due.
    pulse_at: Tick,
    /// When observers were last asked for.
    needed: BTreeMap<Label, Tick>,
    /// Of links that stand.
    links: BTreeMap<LinkId, (Label, FarRole)>,
    /// How far each peer's wall clock is ahead, in milliseconds.
    ahead: BTreeMap<Label, i64>,
    cluster: Cluster,
    /// What agents stated here.
    statements: Statements,
}

impl Peering {
    pub(super) fn new(mesh: Mesh, cluster: Cluster, now: Now) -> Self {
        let statements = Statements::default();
        Self {
            mesh,
            told: 0,
            pulse_at: now.tick,
            needed: BTreeMap::new(),
            links: BTreeMap::new(),
            ahead: BTreeMap::new(),
            cluster,
            statements,
        }
    }

    /// When [`Self::due`] has something to do next.
    pub(super) const fn next_deadline(&self) -> Tick {
        self.pulse_at
    }

    /// Gives a sign of life when it is time; `true`: it was.
    pub(super) fn due(&mut self, node: &mut Node, now: Now) -> bool {
        if now.tick < self.pulse_at {
            return false;
        }
        // From now on, not from then: a process that slept says once that it lives.
        self.pulse_at = now.tick + PULSE_EVERY;
        node.pulse();
        self.say(node);
        self.statements.flush(now.tick, &self.mesh);
        true
    }

    /// Tells all peers what this node says new.
    pub(super) fn say(&mut self, node: &Node) {
        let report = node.vantage().report(self.told);
        self.told = report.sequence;
        self.mesh.spread(Route::Own, Parcel::Reports(vec![report]));
    }

    /// Does what the node asks for; everything else comes back.
    pub(super) fn carry_out(&mut self, node: &Node, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Report => self.say(node),
            Effect::Confirm { check } => self.mesh.spread(Route::Own, Parcel::Confirm(check)),
            other => return Some(other),
        }
        None
    }

    /// A heartbeat was pushed to this node.
    pub(super) fn beat(&self, node: &Node, name: &str) {
        let beat = node.book().latest_beat(name).map(|beat| (name.to_owned(), beat));
        self.mesh.spread(Route::Own, Parcel::Beats(beat.into_iter().collect()));
    }

    /// An agent that is attached here stated something.
    pub(super) fn stated(&mut self, node: &mut Node, now: Now, stated: Stated) {
        self.statements.take(node, now, stated, &self.mesh);
    }

    /// Takes in what happened on a link.
    pub(super) fn take(&mut self, node: &mut Node, now: Now, event: mesh::Event, effects: &mut Vec<Effect>) {
        match event {
            mesh::Event::Up { link, far } => self.greet(node, now, link, &far),
            mesh::Event::Report { link, report, round_trip } => self.hear(node, now, link, report, round_trip, effects),
            mesh::Event::Need { link, observer } => self.repeat(node, now, link, &observer),
            mesh::Event::Confirm { link, check } => {
                // Of another plan, or too many: harmless.
                let _ = node.handle(now, Event::ConfirmAsked { check }, effects);
                self.mesh.spread(Route::Relayed(link), Parcel::Confirm(check));
            }
            mesh::Event::Beats { link, mut beats } => {
                // What is known, and what another plan has, goes no further.
                beats.retain(|(name, Beat { at, ok })| {
                    node.handle(now, Event::BeatReceived { name: name.clone(), ok: *ok, at: Some(*at) }, effects).is_ok()
                });
                if !beats.is_empty() {
                    self.mesh.spread(Route::Relayed(link), Parcel::Beats(beats));
                }
            }
            // Agents are attached to voters; who does not vote speaks for itself only.
            mesh::Event::Holdings { link, stated, sent_after } => {
                if self.links.get(&link).is_some_and(|(_, role)| *role == FarRole::Voter) {
                    Statements::hear(node, now, link, stated, sent_after.elapsed(), &self.mesh);
                }
            }
            mesh::Event::Local { link, octets } => self.cluster.local().hear(&octets, Route::Relayed(link), now.wall, &self.mesh),
            mesh::Event::Clock { node: peer, ahead_ms } => {
                self.ahead.insert(peer, ahead_ms);
                self.cluster.note_clocks(&self.ahead);
            }
            mesh::Event::Down { link, node: peer, why } => {
                self.links.remove(&link);
                if !self.links.values().any(|(name, _)| *name == peer) {
                    self.ahead.remove(&peer);
                    warn!(%peer, why, "the link to a peer is gone");
                }
            }
        }
    }

    /// Tells a new link what it has not heard yet.
    fn greet(&mut self, node: &Node, now: Now, link: LinkId, far: &Far) {
        self.links.insert(link, (far.passport.node.clone(), far.role));
        let heard = |observer: &Label, incarnation: u64| {
            let found = far.heard.iter().find(|it| it.observer == *observer && it.incarnation == incarnation);
            found.map_or(0, |it| it.complete)
        };
        let vantage = node.vantage();
        let whole = vantage.report(0);
        let mut reports = vec![vantage.report(heard(&whole.observer, whole.incarnation))];
        for known in vantage.heard() {
            // What other voters say, a voter hears from them.
            let is_wanted = far.role == FarRole::Observer || self.is_attached(&known.observer);
            if is_wanted && known.observer != far.passport.node && heard(&known.observer, known.incarnation) < known.complete {
                reports.extend(vantage.relay(&known.observer, now));
            }
        }
        self.mesh.send(link, &Parcel::Reports(reports));
        let beats = node.book().beats().flat_map(|(name, beats)| beats.map(|beat| (name.to_owned(), beat)));
        self.mesh.send(link, &Parcel::Beats(beats.collect()));
        for parcel in self.cluster.local().parcels(now.wall) {
            self.mesh.send(link, &parcel);
        }
        self.mesh.send(link, &Parcel::Holdings(node.holdings().statements(now.tick).collect()));
        self.mesh.activate(link);
    }

    /// Whether an observer has a link to this node.
    fn is_attached(&self, observer: &Label) -> bool {
        self.links.values().any(|(name, role)| name == observer && *role == FarRole::Observer)
    }

    fn hear(&mut self, node: &mut Node, now: Now, link: LinkId, report: Report, round_trip: Duration, effects: &mut Vec<Effect>) {
        let observer = report.observer.clone();
        let Some((peer, _)) = self.links.get(&link) else { return };
        match node.hear_from(now, peer, report.clone(), round_trip, effects) {
            Ok(()) => self.mesh.spread(Route::Relayed(link), Parcel::Reports(vec![report.aged(round_trip / 2)])),
            // A repeat, or this node's own word that comes back.
            Err(Rejected::Vantage(vantage::Rejected::Replayed | vantage::Rejected::OwnName)) => return,
            Err(error) => return debug!(%observer, %error, "a report was refused"),
        }
        let asked = self.needed.get(&observer).copied();
        if node.vantage().lacks(&observer) && asked.is_none_or(|asked| now.tick.since(asked) >= NEED_PAUSE) {
            self.needed.retain(|_, asked| now.tick.since(*asked) < NEED_PAUSE);
            self.needed.insert(observer.clone(), now.tick);
            self.mesh.send(link, &Parcel::Need(observer));
        }
    }

    /// Says everything of an observer again.
    fn repeat(&self, node: &Node, now: Now, link: LinkId, observer: &Label) {
        let own = node.vantage().report(0);
        let report = if own.observer == *observer { Some(own) } else { node.vantage().relay(observer, now) };
        self.mesh.send(link, &Parcel::Reports(report.into_iter().collect()));
    }

    /// By how much this node's wall clock is to be corrected, in milliseconds, and what people should know; zero and `None`: all is well.
    pub(super) fn skew(&self) -> (i64, Option<String>) {
        if self.ahead.is_empty() {
            return (0, None);
        }
        // Its own clock has a voice, too: with one peer nobody knows which of the two is wrong.
        let mut ahead: Vec<i64> = self.ahead.values().copied().chain([0]).collect();
        ahead.sort_unstable();
        let median = ahead[ahead.len() / 2];
        let off = if self.ahead.len() == 1 { self.ahead.values().copied().max().unwrap_or(0) } else { median };
        if off.abs() <= SKEW_TOLD {
            return (0, None);
        }
        let seconds = off.abs() / 1000;
        let direction = if off > 0 { "behind" } else { "ahead of" };
        let correction = if median.abs() > SKEW_MAX { median } else { 0 };
        let follows = if correction == 0 { "" } else { "; their time is used for what ends by the clock" };
        (
            correction,
            Some(format!("this node's wall clock is {seconds} s {direction} its peers'{follows}; look at its time synchronisation")),
        )
    }
}
