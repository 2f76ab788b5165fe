//! Orders that hold without a majority: given on one node, held by all that it reaches, for an hour at most, and replaced by the agreed order when
//! there is a leader again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use portolan_core::{
    cluster::{Actor, Change, End, Entry, Outcome, Role},
    health::overlay::Override,
    model::{ids::Label, time::Timestamp, units::Share},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::interval};
use tracing::{info, warn};

use super::{Shared, truth::Truth};
use crate::{
    latest::Latest,
    mesh::{Mesh, Parcel, Route},
};

/// The longest life of a local order.
pub(in crate::daemon) const LOCAL_LIFE_MAX: Duration = Duration::from_hours(1);
/// The most local orders at a time: a person gives a handful.
const LOCAL_MAX: usize = 64;
/// The longest order on the wire, in octets.
const OCTETS_MAX: usize = 4096;
/// Between looks whether there is a leader again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A clock may be off by so much before an order from it is taken for one that never ends.
const SKEW_MAX_MS: i64 = 120_000;

/// What nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Put(Override),
    Remove(Label),
}

/// The local orders that this node holds.
#[derive(Debug, Default)]
pub(in crate::daemon) struct LocalOrders {
    held: Mutex<BTreeMap<Label, Override>>,
    /// Names that were taken back, until when an order of that name could still come around.
    gone: Mutex<BTreeMap<Label, Timestamp>>,
    version: watch::Sender<u64>,
}

impl LocalOrders {
    /// All that are held, ended ones left out.
    pub(in crate::daemon) fn all(&self, now: Timestamp) -> Vec<Override> {
        self.held().values().filter(|order| order.is_in_force(now)).cloned().collect()
    }

    /// Whether an order of this name was taken back here since the start.
    pub(in crate::daemon) fn was_taken_back(&self, id: &Label) -> bool {
        lock(&self.gone).contains_key(id)
    }

    /// Wakes when they are others.
    pub(in crate::daemon) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Holds an order, and tells all that are reached.
    ///
    /// # Errors
    /// A sentence: there are too many.
    pub(in crate::daemon) fn put(&self, order: Override, now: Timestamp, mesh: Option<&Mesh>) -> Result<(), String> {
        if !self.hold(order.clone(), now) {
            return Err(format!("{LOCAL_MAX} local orders are held already, or this one lasts longer than {LOCAL_LIFE_MAX:?}"));
        }
        tell(mesh, Route::Own, &Word::Put(order));
        Ok(())
    }

    /// Takes an order back, here and where it is reached; `false`: there is none of this name.
    pub(in crate::daemon) fn remove(&self, id: &Label, now: Timestamp, mesh: Option<&Mesh>) -> bool {
        let was_held = self.drop_one(id, now);
        tell(mesh, Route::Own, &Word::Remove(id.clone()));
        was_held
    }

    /// What a link that is new has to hear.
    pub(in crate::daemon) fn parcels(&self, now: Timestamp) -> Vec<Parcel> {
        self.all(now).into_iter().filter_map(|order| parcel(&Word::Put(order))).collect()
    }

    /// What came over a link; passed on when it is new here.
    pub(in crate::daemon) fn hear(&self, octets: &Bytes, route: Route, now: Timestamp, mesh: &Mesh) {
        let Some(word) = Some(octets).filter(|it| it.len() <= OCTETS_MAX).and_then(|it| serde_json::from_slice::<Word>(it).ok()) else {
            return warn!("a local order of another version, or too long, was not taken");
        };
        let is_news = match word.clone() {
            Word::Put(order) => self.hold(order, now),
            Word::Remove(id) => self.drop_one(&id, now),
        };
        if is_news {
            tell(Some(mesh), route, &word);
        }
    }

    fn hold(&self, order: Override, now: Timestamp) -> bool {
        let life_max = i64::try_from(LOCAL_LIFE_MAX.as_millis()).unwrap_or(i64::MAX) + SKEW_MAX_MS;
        let ends = order.until.is_some_and(|until| now < until && until.0.saturating_sub(now.0) <= life_max);
        if !ends || lock(&self.gone).contains_key(&order.id) {
            return false;
        }
        let mut held = self.held();
        held.retain(|_, it| it.is_in_force(now));
        if held.get(&order.id) == Some(&order) || held.len() >= LOCAL_MAX && !held.contains_key(&order.id) {
            return false;
        }
        held.insert(order.id.clone(), order);
        drop(held);
        self.version.send_modify(|version| *version += 1);
        true
    }

    fn drop_one(&self, id: &Label, now: Timestamp) -> bool {
        let mut gone = lock(&self.gone);
        gone.retain(|_, until| now < *until);
        let life = i64::try_from(LOCAL_LIFE_MAX.as_millis()).unwrap_or(i64::MAX) + SKEW_MAX_MS;
        if gone.len() < LOCAL_MAX * 4 {
            gone.insert(id.clone(), Timestamp(now.0.saturating_add(life)));
        }
        drop(gone);
        let was_held = self.held().remove(id).is_some();
        if was_held {
            self.version.send_modify(|version| *version += 1);
        }
        was_held
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Label, Override>> {
        lock(&self.held)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parcel(word: &Word) -> Option<Parcel> {
    serde_json::to_vec(word).ok().map(|octets| Parcel::Local(octets.into()))
}

fn tell(mesh: Option<&Mesh>, route: Route, word: &Word) {
    if let Some((mesh, parcel)) = mesh.zip(parcel(word)) {
        mesh.spread(route, parcel);
    }
}

/// Puts local orders into the log when there is a leader again, and lets go of those that are in it.
pub(super) async fn hand_over(shared: Arc<Shared>) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let now = shared.clock.now().wall;
        let Truth { leader, state, .. } = shared.truth.latest();
        if leader.is_none() || state.cluster().is_none() {
            continue;
        }
        for order in shared.local.all(now) {
            if state.order(order.id.as_str()).is_some() {
                shared.local.remove(&order.id, now, shared.mesh.as_ref());
                continue;
            }
            // All that hold it say the same, and the request id makes it one.
            let Some(until) = order.until else { continue };
            let entry = Entry {
                at: now,
                by: Actor { name: order.who.clone(), role: Role::Operator },
                request_id: Some(format!("local-{}", order.id)),
                reason: order.why.clone(),
                moves: Some(Share::NONE),
                overrules: Vec::new(),
                change: Change::PutOverride {
                    id: Some(order.id.clone()),
                    kind: order.kind,
                    scope: order.scope.clone(),
                    end: End::At(until),
                },
            };
            match shared.propose(entry).await.map(|committed| committed.outcome) {
                Ok(Outcome::Accepted { .. }) => info!(order = %order.id, "a local order is agreed now"),
                Ok(Outcome::Rejected(refusal)) => {
                    warn!(order = %order.id, %refusal, "a local order was refused by the cluster, and ends");
                    shared.local.remove(&order.id, now, shared.mesh.as_ref());
                }
                Err(why) => tracing::debug!(%why, "a local order is not agreed yet"),
            }
        }
    }
}
