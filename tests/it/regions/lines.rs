//! What lies between the regions, on either ground: the router, or relays.

use std::sync::Mutex;

use portolan::{
    daemon::Detours,
    demo::wan::{Path, Wan as Relays},
};
use tun_rs::SyncDevice;

use super::{REGION_NAMES, ground::Atlas, line::Line, place::REGIONS, wan::Wan as Router, world::NODES};

/// See above.
pub(super) enum Lines {
    Router(Router),
    Relays {
        relays: Box<Relays>,
        /// By the region that dials.
        detours: Vec<Detours>,
        lines: Mutex<Vec<[Line; REGIONS]>>,
    },
}

impl Lines {
    pub(super) fn over_router(devices: Vec<SyncDevice>, line: Line, seed: u64) -> Self {
        Self::Router(Router::start(devices, line, seed))
    }

    /// Each region's way to the voters and endpoints of the others.
    pub(super) async fn over_relays(atlas: &Atlas, line: Line, seed: u64) -> Self {
        let mut relays = Relays::new(seed);
        for (one, name) in REGION_NAMES.iter().enumerate() {
            REGION_NAMES[..one].iter().for_each(|other| relays.join(name, other, path(line)));
        }
        let peers = NODES.iter().map(|named| (REGION_NAMES[named.region], atlas.node(named.region, named.host).peer));
        let endpoints = (0..REGIONS).map(|region| (REGION_NAMES[region], atlas.endpoint(region)));
        let targets: Vec<_> = peers.chain(endpoints).collect();
        let mut detours = Vec::new();
        for name in REGION_NAMES {
            detours.push(relays.detours(name, &targets).await.unwrap());
        }
        Self::Relays { relays: Box::new(relays), detours, lines: Mutex::new(vec![[line; REGIONS]; REGIONS]) }
    }

    /// Changes what lies between two regions, one way.
    pub(super) fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Line)) {
        match self {
            Self::Router(router) => router.change(from, to, change),
            Self::Relays { relays, lines, .. } => {
                let line = &mut lines.lock().unwrap()[from][to];
                change(line);
                let way = relays.way(REGION_NAMES[from], REGION_NAMES[to]).expect("all regions are joined");
                way.change_there(|it| *it = path(*line));
            }
        }
    }

    /// Where nodes of a region dial in the place of what they were told.
    pub(super) fn detours(&self, region: usize) -> Detours {
        match self {
            Self::Router(_) => Detours::default(),
            Self::Relays { detours, .. } => detours[region].clone(),
        }
    }

    /// What happened on the lines, for people.
    pub(super) fn counts(&self) -> String {
        match self {
            Self::Router(router) => router.counts(),
            Self::Relays { .. } => String::new(),
        }
    }
}

fn path(line: Line) -> Path {
    Path { delay: line.delay, jitter: line.jitter, loss_permille: u16::from(line.loss_percent) * 10, is_cut: line.is_cut }
}
