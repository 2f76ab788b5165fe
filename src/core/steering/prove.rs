//! Proof that a strict residency fence cannot be crossed: every combination of failures is tried with the code that serves.
//!
//! A proof by trial is stronger than one by reading: it holds for the stages as they are, not as somebody remembers them. It is finite
//! because a service has few regions, and a choice depends on a region's endpoints only through their tier.

use std::{collections::BTreeMap, time::Duration};

use super::{
    choose::{Client, Served, choose},
    rendezvous::ClientKey,
    trace::Silent,
};
use crate::{
    geo::{By, GeoView, Ranking},
    model::{
        ids::{EndpointIdx, RegionSet, ServiceIdx},
        record::RecordType,
        time::Timestamp,
        topology::{ResidencyMode, Service, Topology},
        units::{Code, Share},
        verdict::Health,
    },
    table::{EndpointState, ServiceView},
};

/// The most regions that a strictly fenced service may have: 3^n combinations of up, drained and down are tried.
pub const STRICT_REGIONS_MAX: usize = 8;

/// What was proved of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// How many (clients, failures, type) were tried.
    pub trials: u64,
}

/// Why a strict fence does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// More regions than can be tried.
    #[error(
        "a service with a strict fence may have at most {STRICT_REGIONS_MAX} regions, so that every combination of failures can be tried; it has {0}"
    )]
    TooManyRegions(usize),
    /// Some clients may be sent nowhere.
    #[error("clients {} may be sent to none of the service's regions: they would never get an answer", who(.0))]
    NobodyInside(Option<Code>),
    /// An answer points outside.
    #[error("clients {} would be sent outside their fence when {up} of the service's regions are up", who(.clients))]
    Crossed {
        /// The clients' code in the plan; `None`: all others.
        clients: Option<Code>,
        /// How many regions were up.
        up: usize,
    },
}

fn who(code: &Option<Code>) -> String {
    code.map_or_else(|| "of no listed country or continent".to_owned(), |code| format!("of {code}"))
}

/// Tries every combination of failures for every kind of client. `Ok` with zero trials: the service has no strict fence.
///
/// # Errors
/// Every way in which the fence does not hold.
pub fn prove_residency(topology: &Topology, service: ServiceIdx) -> Result<Proof, Vec<Breach>> {
    let it = &topology.services[service.get()];
    let Some(residency) = it.steering.residency.as_ref().filter(|residency| residency.mode == ResidencyMode::Strict) else {
        return Ok(Proof::default());
    };
    let regions: Vec<_> = it.pools.iter().map(|pool| pool.region).collect();
    if regions.len() > STRICT_REGIONS_MAX {
        return Err(vec![Breach::TooManyRegions(regions.len())]);
    }
    let mut fences: BTreeMap<Option<Code>, RegionSet> = residency.by_code.iter().map(|(code, set)| (Some(*code), *set)).collect();
    if let Some(otherwise) = residency.otherwise {
        fences.insert(None, otherwise);
    }
    let all = it.regions();
    let mut proof = Proof::default();
    let mut breaches = Vec::new();
    for (&clients, &fence) in &fences {
        let fence = fence.and(all);
        if fence.is_empty() {
            breaches.push(Breach::NobodyInside(clients));
            continue;
        }
        let geo = GeoView {
            ranking: Ranking::new(regions.iter().map(|&region| (region, None)), Share::NONE),
            fence: (fence != all).then_some(fence),
            by: By::Unknown,
        };
        for combination in 0..3_usize.pow(u32::try_from(regions.len()).expect("invariant: checked above")) {
            proof.trials += 2;
            if let Some(up) = crossed_by(topology, service, it, &geo, fence, combination) {
                breaches.push(Breach::Crossed { clients, up });
                break;
            }
        }
    }
    if breaches.is_empty() { Ok(proof) } else { Err(breaches) }
}

/// Tries one combination: digit i (to the base 3) says how region i stands. `Some(regions up)`: an answer points outside `fence`.
fn crossed_by(
    topology: &Topology,
    service: ServiceIdx,
    it: &Service,
    geo: &GeoView,
    fence: RegionSet,
    combination: usize,
) -> Option<usize> {
    let digit = |pool: usize| combination / 3_usize.pow(u32::try_from(pool).expect("invariant: few regions")) % 3;
    let state_of = |endpoint: EndpointIdx| {
        let region = topology.endpoints[endpoint.get()].region;
        let pool = it.pools.iter().position(|pool| pool.region == region).expect("invariant: every endpoint is in a pool");
        EndpointState {
            health: if digit(pool) == 2 { Health::Down } else { Health::Up },
            drained: digit(pool) == 1,
            kept: false,
            admitted: Share::FULL,
            weight: None,
            pool_weight: None,
            next_change: Duration::ZERO,
            // The worst case: everything was usable until now, so `last_good` could name any of it.
            left: Some(Timestamp(0)),
            note: None,
        }
    };
    let view = ServiceView::compile(topology, service, state_of);
    let client = Client { geo, key: ClientKey::random(0), entropy: 0 };
    let is_inside = |record_type| match choose(topology, it, &view, &client, record_type, &mut Silent).served {
        Served::Members { members, .. } => members.iter().all(|member| fence.contains(topology.endpoints[member.endpoint.get()].region)),
        // Backup targets have no region: with a fence for this client nobody knows that they are inside.
        Served::Backup => geo.fence.is_none(),
        Served::Nodata | Served::Servfail => true,
    };
    let holds = is_inside(RecordType::A) && is_inside(RecordType::AAAA);
    (!holds).then(|| (0..it.pools.len()).filter(|&pool| digit(pool) == 0).count())
}
