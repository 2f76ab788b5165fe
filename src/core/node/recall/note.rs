//! From a node to a page.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};

use super::page::{FORM, Head, NotedMember, NotedOrders, NotedRole, Page};
use crate::{
    health::vantage::keys,
    model::{
        ids::{CheckIdx, EndpointIdx},
        time::{Now, Tick, Timestamp},
        topology::Topology,
        units::Weight,
    },
    node::Node,
    table::{Member, PoolView, Table},
};

/// Changes when something changed that a page would say. Cheap to ask for, and to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    generation: u64,
    n_told: u64,
    book: u64,
    vantage: u64,
    n_observers: usize,
}

impl Node {
    /// Where the node stands; `None` before the first table, when there is nothing to note. Of one node: another process counts anew.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        Some(Stamp {
            generation: self.table.as_ref()?.generation,
            n_told: self.n_told,
            book: self.book.n_changes(),
            vantage: self.vantage.n_changes(),
            n_observers: self.vantage.n_observers(),
        })
    }

    /// What is to be noted now: what changed since `before`, or everything where that is none, or of another world. `None` before the first
    /// table. O(checks + endpoints).
    ///
    /// `before` is this node as it was when the page before was made, or one that was [recalled](super::Recalled::into_node) from it.
    #[must_use]
    pub fn page(&self, before: Option<&Self>, now: Now) -> Option<Page> {
        let table = self.table.as_ref()?;
        let before = before.filter(|it| Arc::ptr_eq(&it.world, &self.world) && it.settings.node == self.settings.node);
        let before = before.filter(|it| it.table.is_some() && it.settings.region == self.settings.region);
        let checks = || (0..self.book.len()).map(CheckIdx::at);
        let is_new = |check: &CheckIdx| match before {
            None => true,
            Some(it) => match (it.book.state(*check), self.book.state(*check)) {
                (Some(before), Some(after)) => !before.reads_like(after),
                _ => true,
            },
        };
        let states = checks().filter(is_new).filter_map(|check| Some((check.0, self.book.state(check)?.note())));
        let stands_anew = |check: &CheckIdx| before.is_none_or(|it| !it.vantage.standing_reads_like(&self.vantage, *check));
        let standings = checks().filter(stands_anew).filter_map(|check| Some((check.0, self.vantage.note_standing(check, now)?)));
        let others = before.is_none_or(|it| !it.vantage.others_read_like(&self.vantage)).then(|| self.vantage.note_others(now));
        let orders = self.orders();
        Some(Page {
            at: now.wall,
            head: before.is_none().then(|| self.head()),
            table: (table.generation, table.stale_since),
            checks: states.collect(),
            others,
            standings: standings.collect(),
            members: members(before.and_then(|it| it.table.as_deref()), table),
            roles: roles(before.and_then(|it| it.table.as_deref()), table, now.tick),
            orders: before.is_none_or(|it| it.orders() != orders).then_some(orders),
            happenings: self.told_since(before),
        })
    }

    fn head(&self) -> Head {
        Head {
            form: FORM,
            node: self.settings.node.clone(),
            region: self.settings.region.clone(),
            digest: self.digest.clone(),
            shape: shape(&self.world.topology),
        }
    }

    fn orders(&self) -> NotedOrders {
        NotedOrders { overrides: self.overrides(), frozen: self.overlay.save_frozen(&self.world.topology) }
    }

    /// What happened since, as far as it is remembered. A node that was recalled has told nothing itself.
    fn told_since(&self, before: Option<&Self>) -> Vec<(Timestamp, String)> {
        let n_new = self.n_told.saturating_sub(before.map_or(0, |it| it.n_told));
        let n_new = usize::try_from(n_new).unwrap_or(usize::MAX);
        let new = self.happenings.iter().skip(self.happenings.len().saturating_sub(n_new));
        new.map(|happening| (happening.at, happening.text.clone())).collect()
    }
}

/// The members that are other than before.
fn members(before: Option<&Table>, table: &Table) -> Vec<(u32, NotedMember)> {
    let mut changed = Vec::new();
    for (position, view) in table.views.iter().enumerate() {
        let former = before.and_then(|before| before.views.get(position));
        if former.is_some_and(|former| Arc::ptr_eq(former, view)) {
            continue;
        }
        for (nth, pool) in view.pools.iter().enumerate() {
            let former = former.and_then(|former| former.pools.get(nth)).filter(|former| former.weight == pool.weight);
            let is_new = |(nth, member): &(usize, &Member)| former.and_then(|former| former.members.get(*nth)) != Some(*member);
            let new = pool.members.iter().enumerate().filter(is_new);
            changed.extend(new.map(|(_, member)| (member.endpoint.0, note(pool, member))));
        }
    }
    changed
}

/// Who holds which role, where that is not what it was.
fn roles(before: Option<&Table>, table: &Table, now: Tick) -> Vec<(u32, NotedRole)> {
    let followers = table.world.topology.services.iter().enumerate().filter(|(_, service)| service.follows_primary().is_some());
    let views = followers.filter_map(|(position, _)| {
        let view = table.views.get(position)?.role;
        let former = before.and_then(|before| before.views.get(position)).map(|before| before.role);
        (former != Some(view)).then_some((u32::try_from(position).ok()?, view))
    });
    let noted = views.map(|(position, view)| {
        let role = NotedRole {
            token: view.token,
            region: view.region.map(|region| u16::from(region.0)),
            said_micros: view.said.map(|said| micros(now.since(said))),
            lasts_micros: view.until.map(|until| micros(until.since(now))),
            is_leaving: view.is_leaving,
        };
        (position, role)
    });
    noted.collect()
}

fn note(pool: &PoolView, member: &Member) -> NotedMember {
    NotedMember {
        tier: member.tier,
        weight: Weight(member.weight),
        pool_weight: Weight(pool.weight),
        admitted: member.admitted,
        next_change_micros: micros(member.next_change),
        left: member.left,
        note: member.note.clone(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A digest of the names behind all positions.
pub(super) fn shape(topology: &Topology) -> String {
    let mut hasher = Sha256::new();
    for position in 0..topology.endpoints.len() {
        hasher.update(topology.endpoint_name(EndpointIdx::at(position)));
        hasher.update([0]);
    }
    for key in keys(&topology.checks) {
        hasher.update(key.number().to_be_bytes());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..8].iter().map(|octet| format!("{octet:02x}")).collect()
}
