//! What a run is made of, and by which plan and which patience it is led.

use std::{collections::BTreeMap, time::Duration};

use super::{
    faults::Faults,
    net::REGIONS,
    world::{entry, group_name},
};
use crate::{
    cluster::{Change, Entry, Outline, PutPlan},
    failover::{
        conduct::{Figures, Patience},
        token::Token,
    },
    model::{
        group::{Durability, OnControlLoss, Policy, policy},
        ids::Label,
    },
    recovery::exposure::Bracket,
};

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Whether the third region has a database.
    pub(super) three_members: bool,
    /// Writes are acknowledged when another member has them.
    pub(super) quorum: bool,
    pub(super) control: OnControlLoss,
    /// Without a majority the voter of a region without a database must acknowledge the holder, too. Lines of the drill lead to whole regions, so that
    /// whoever reaches all of them reaches the leader: the rule `peers` is not missed where this one stands.
    pub(super) asks_voters: bool,
    /// Where a supervisor holds the database.
    pub(super) supervised: [bool; 3],
    /// People answer for primaries that may write on: then two may write, which is the accepted risk, but in quorum mode nothing acknowledged is
    /// lost all the same.
    pub(super) wrong_assertions: bool,
    /// How the first region's clock runs, in millionths beside true time, and everybody sees how fast the others' clocks run; `None`: all run
    /// within the bound, up to its edges, and nobody looks, because a lease must bear that by itself.
    pub(super) drift: Option<i64>,
    /// Of the first grant, in seconds.
    pub(super) ttl: u64,
    /// Every region looks at the primary, and who leads decides by what is seen.
    pub(super) is_watched: bool,
    /// How long a primary is suspected before anything is decided, in seconds.
    pub(super) hold: u64,
    /// Nothing that goes wrong is reason enough for anybody to do anything: by this rule of the design. `None`: it may be.
    pub(super) calm: Option<&'static str>,
    pub(super) faults: Faults,
    /// The first fault comes then, in true microseconds.
    pub(super) faults_from: u64,
    /// Faults come until then, in true microseconds; what follows is for the world to settle.
    pub(super) faults_until: u64,
    /// The end of a run.
    pub(super) until: u64,
}

impl Setup {
    /// The plan of this revision, put in force at `now`, with a lease of `ttl` seconds.
    pub(super) fn plan(&self, now: u64, revision: u64, ttl: u64) -> Entry {
        let regions: &[&str] = if self.three_members { &["a", "b", "c"] } else { &["a", "b"] };
        let seconds = Duration::from_secs;
        let policy = Policy {
            ttl: seconds(ttl),
            margin: seconds(2),
            on_control_loss: self.control,
            durability: if self.quorum { Durability::RemoteQuorum } else { Durability::Async },
            cool_down: seconds(0),
            names_ttl: seconds(if self.three_members { 3 } else { 0 }),
            probe_interval: seconds(1),
            failure_window: seconds(60),
            ok_run: 5,
            confirm_hold: seconds(self.hold),
            local_recovery: seconds(4),
            rpo_target: Some(RPO),
            ..policy("a", regions)
        };
        let outline = Outline {
            regions: REGIONS.iter().map(|region| region.label()).collect(),
            groups: [(group_name(), policy)].into_iter().collect(),
            ..Outline::default()
        };
        let plan = PutPlan {
            revision,
            expected_revision: None,
            digest: format!("{revision:064}"),
            text: format!("revision: {revision}\n"),
            zones: BTreeMap::new(),
            outline,
        };
        entry(now, Change::PutPlan(Box::new(plan)))
    }
}

/// So much may be lost.
pub(super) const RPO: Duration = Duration::from_secs(60);

pub(super) fn policy_of_nobody() -> Policy {
    policy("a", &["a", "b"])
}

/// What would be lost, as long as a run says nothing else: less than any plan of a run allows.
pub(super) const LITTLE: Bracket = Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(1)) };

/// What a leader knows from elsewhere.
pub(super) struct Told(pub(super) Bracket);

impl Figures for Told {
    fn loss(&self, _: &Label, _: u64) -> Bracket {
        self.0
    }

    fn verified(&self, _: &Label, _: Token) -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn is_routed(&self, _: &Label, _: Token) -> bool {
        true
    }
}

pub(super) fn patience() -> Patience {
    let ms = Duration::from_millis;
    Patience {
        again: ms(500),
        refused: ms(5000),
        silence: ms(3000),
        stop: ms(6000),
        seal: ms(1500),
        drain: ms(5000),
        promote: ms(6000),
        give_back: ms(4000),
    }
}
