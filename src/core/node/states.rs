//! Joins what was observed, what was ordered and what the guardrails allow into the state of each endpoint.

use super::Node;
use crate::{
    health::{
        ejection::{Fate, Kept, Standing, eject},
        overlay::Columns,
        slow_start,
    },
    model::{
        ids::{EndpointIdx, ServiceIdx},
        time::{Now, Timestamp},
        units::Share,
        verdict::Health,
    },
    table::EndpointState,
};

impl Node {
    /// The states of a service's endpoints, in order. Remembers when a slow start changes its share next.
    pub(super) fn states(&mut self, now: Now, service: ServiceIdx) -> Vec<EndpointState> {
        let topology = &self.world.topology;
        let it = &topology.services[service.get()];
        let endpoints: Vec<EndpointIdx> = it.pools.iter().flat_map(|pool| pool.endpoints()).collect();
        let columns: Vec<Columns> = endpoints.iter().map(|&endpoint| self.columns(now, endpoint)).collect();
        let standings: Vec<Standing> = columns.iter().map(standing).collect();
        let fates = eject(&standings, topology.guardrails.max_ejection);
        let mut next_ramp: Option<Timestamp> = None;
        let states = endpoints.iter().zip(&columns).zip(&fates).map(|((&endpoint, columns), fate)| {
            let returned_at = self.vantage.returned_at(&self.book, topology.endpoints[endpoint.get()].check);
            let (admitted, change) = match returned_at.filter(|_| columns.effective.health_by.is_none()) {
                Some(at) => slow_start::admitted(&it.slow_start, at, now.wall),
                None => (Share::FULL, None),
            };
            let admitted = admitted.min(columns.intended.ordered_admission().unwrap_or(Share::FULL));
            next_ramp = next_ramp.into_iter().chain(change).min();
            EndpointState {
                health: columns.effective.verdict.health,
                drained: columns.effective.is_drained(),
                kept: *fate == Fate::Kept(Kept::EjectionLimit),
                admitted,
                next_change: columns.effective.verdict.next_change,
                weight: columns.intended.ordered_weight(),
                pool_weight: columns.intended.ordered_pool_weight(),
                left: None,
                note: note(columns, *fate, admitted),
            }
        });
        let mut states: Vec<EndpointState> = states.collect();
        self.admit_replicas(now, service, &endpoints, &mut states);
        for (&endpoint, state) in endpoints.iter().zip(&mut states) {
            self.rotation.note(endpoint, state, now.wall);
        }
        self.ramps.set(service, next_ramp);
        states
    }

    /// Observed, intended and effective state of an endpoint.
    pub(super) fn columns(&self, now: Now, endpoint: EndpointIdx) -> Columns {
        let topology = &self.world.topology;
        let observed = self.verdict(topology.endpoints[endpoint.get()].check, now.tick);
        self.overlay.columns(topology, endpoint, observed, now.wall)
    }
}

fn standing(columns: &Columns) -> Standing {
    if columns.effective.is_withdrawn() { Standing::Withdrawn } else { Standing::observed(&columns.effective.verdict) }
}

/// Why the endpoint is not simply up; `None` when it is.
fn note(columns: &Columns, fate: Fate, admitted: Share) -> Option<Box<str>> {
    let effective = &columns.effective;
    let mut parts = Vec::new();
    if let Some(by) = &effective.drained_by {
        parts.push(by.to_string());
    }
    if let Some(by) = &effective.health_by {
        parts.push(by.to_string());
    }
    let verdict = &effective.verdict;
    match verdict.health {
        Health::Up => {}
        Health::Unknown => parts.push("UNKNOWN, not judged yet".to_owned()),
        Health::Down => {
            let since = verdict.since.map_or_else(String::new, |since| format!(" since {since}"));
            let failure = verdict.failure.as_ref().map_or_else(String::new, |failure| format!(", {failure}"));
            parts.push(format!("DOWN{since}{failure}"));
        }
    }
    if fate == Fate::Kept(Kept::EjectionLimit) {
        parts.push(fate.to_string());
    }
    let ordered = columns.intended.admission.as_ref().filter(|_| columns.intended.ordered_admission() == Some(admitted));
    match ordered {
        _ if verdict.health != Health::Up || admitted.is_full() => {}
        Some(by) => parts.push(format!("{by}; takes {admitted} of its clients")),
        None => parts.push(format!("slow start, takes {admitted} of its clients")),
    }
    (!parts.is_empty()).then(|| parts.join("; ").into())
}
