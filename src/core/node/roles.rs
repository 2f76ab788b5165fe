//! Names that follow a role, in a node: when its table must say something new of who holds it.
//!
//! Agents state every second what rarely changes, and a table is not made for each statement: it says until when its word holds, and is made anew
//! before that would shorten an answer, or at once when the word is another one, or shorter.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Agreed, Effect, Node};
use crate::{
    answer::role::{held, unproven},
    failover::holding::{Heard, Holdings, Seen, Statement},
    model::{
        follow::{Followed, Follows},
        ids::{EndpointIdx, Label, RegionIdx, ServiceIdx},
        time::{Now, Tick},
        topology::Topology,
        verdict::Health,
    },
    table::{EndpointState, RoleView, Table},
};

/// A table's word ends so much before what was stated: statements of one lease differ by the way that each of them took, and not each of them
/// shall make another table.
const SLACK: Duration = Duration::from_millis(500);

/// A table is made anew so long before its word would shorten a time to live.
const AHEAD: Duration = Duration::from_secs(1);

/// Why a member is not answered among the replicas of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is.
    Fits,
    /// It is the primary.
    Holds,
    /// It does not say that it follows.
    Silent,
    /// Nobody knows how far it is behind, and the plan has a bound.
    LagUnknown,
    /// It is too far behind.
    Lags,
}

/// Which services follow what, and when to look at each again.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    by_group: BTreeMap<Label, Vec<ServiceIdx>>,
    due: BTreeMap<ServiceIdx, Tick>,
    by_time: BTreeSet<(Tick, ServiceIdx)>,
    /// Of those that follow replicas: what the table in force says of each member.
    fits: BTreeMap<ServiceIdx, Vec<Fit>>,
    /// Of those that follow a primary, by name: who it was when people were told last; `None`: nobody was proven to be.
    told: BTreeMap<Label, Option<RegionIdx>>,
}

impl Roles {
    pub(super) fn new(topology: &Topology) -> Self {
        let mut roles = Self::default();
        for (position, service) in topology.services.iter().enumerate() {
            if let Some(follows) = &service.follows {
                roles.by_group.entry(follows.group.clone()).or_default().push(ServiceIdx::at(position));
            }
        }
        roles
    }

    /// The next look of all.
    pub(super) fn next(&self) -> Option<Tick> {
        self.by_time.first().map(|(at, _)| *at)
    }

    fn set(&mut self, service: ServiceIdx, at: Option<Tick>) {
        let before = match at {
            Some(at) => self.due.insert(service, at),
            None => self.due.remove(&service),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, service));
        }
        if let Some(at) = at {
            self.by_time.insert((at, service));
        }
    }

    fn are_due(&self, now: Tick) -> Vec<ServiceIdx> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, service)| *service).collect()
    }
}

impl Node {
    /// What this node knows of who holds which role.
    #[must_use]
    pub const fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// Goes on from the tokens that a former process has seen. Meant for the moment after [`Node::new`].
    pub fn remember(&mut self, seen: BTreeMap<Label, Seen>) {
        self.holdings = Holdings::restored(seen);
        self.dirty.extend(self.roles.by_group.values().flatten());
    }

    /// Takes in what an agent stated `age` ago, the whole way here included. What is of a group that no name follows is not kept.
    pub fn hear_statement(&mut self, now: Now, statement: &Statement, age: Duration) -> Heard {
        let Some(services) = self.roles.by_group.get(&statement.group).cloned() else { return Heard::Known };
        let heard = self.holdings.hear(statement, age, now.tick);
        if heard != Heard::Known {
            services.into_iter().for_each(|service| self.look_at_role(now.tick, service));
        }
        heard
    }

    /// Other primaries are agreed on, or the same are about to be replaced.
    pub(super) fn set_primaries(&mut self, now: Now, primaries: BTreeMap<Label, Agreed>) {
        self.primaries = primaries;
        let followed: Vec<ServiceIdx> = self.roles.by_group.values().flatten().copied().collect();
        followed.into_iter().for_each(|service| self.look_at_role(now.tick, service));
        self.share_probes(now);
    }

    /// Another plan is in force.
    pub(super) fn reload_roles(&mut self) {
        let told = std::mem::take(&mut self.roles.told);
        self.roles = Roles::new(&self.world.topology);
        self.roles.told = told;
        self.roles.told.retain(|name, _| self.world.topology.service(name.as_str()).is_some());
        let followed = &self.roles.by_group;
        self.holdings.keep(|group| followed.contains_key(group));
    }

    /// Looks at those whose word may have ended.
    pub(super) fn look_at_roles(&mut self, now: Tick) {
        self.roles.are_due(now).into_iter().for_each(|service| self.look_at_role(now, service));
    }

    /// Makes the service dirty when the table should say something else of it, and notes when to look again.
    fn look_at_role(&mut self, now: Tick, service: ServiceIdx) {
        let topology = self.world.topology.clone();
        let it = &topology.services[service.get()];
        let (Some(table), Some(follows)) = (&self.table, it.follows.as_deref()) else { return };
        let (is_old, due) = match follows.role {
            Followed::Primary { .. } => {
                let shown = table.view(service).role;
                let told = self.roles.told.get(&it.name).copied().flatten();
                let is_news = told != shown.proven(now).map(|(region, _)| region);
                let (is_old, due) = judge(&shown, &self.role_view(follows), it.ttl.max.duration() + AHEAD, now);
                (is_old || is_news, due)
            }
            Followed::Replica { .. } => {
                let is_old = self.roles.fits.get(&service).is_none_or(|shown| *shown != self.fits(follows, now));
                (is_old, self.next_fit(follows, now))
            }
        };
        if is_old {
            self.dirty.insert(service);
        }
        // What is dirty is published in this turn, and then looked at again.
        self.roles.set(service, due.filter(|_| !is_old));
    }

    /// Writes into a fresh table who holds the roles that these services follow, and tells what is news of it.
    pub(super) fn settle_roles(&mut self, now: Now, next: &mut Table, services: &BTreeSet<ServiceIdx>, effects: &mut Vec<Effect>) {
        let topology = self.world.topology.clone();
        for &service in services {
            let it = &topology.services[service.get()];
            let Some(follows) = it.follows_primary() else { continue };
            let view = self.role_view(follows);
            next.set_role(service, view);
            let proven = view.proven(now.tick);
            let is = proven.map(|(region, _)| region);
            let was = self.roles.told.insert(it.name.clone(), is).flatten();
            if was == is {
                continue;
            }
            let text = match proven {
                Some((_, remaining)) => format!("service {}: {}", it.name, held(&topology, &view, remaining, now.tick)),
                None => format!("service {}: {}", it.name, unproven(&topology, follows, &view, now.tick)),
            };
            self.tell(now, text, effects);
        }
    }

    /// When to look again at the roles that these services follow, of which the table in force was just made.
    pub(super) fn time_roles(&mut self, now: Tick, services: &BTreeSet<ServiceIdx>) {
        for service in services {
            self.look_at_role(now, *service);
        }
    }

    fn role_view(&self, follows: &Follows) -> RoleView {
        let topology = &self.world.topology;
        let index = |region: &Label| topology.region(region.as_str()).filter(|region| follows.member(*region).is_some());
        let Some((seen, said)) = self.holdings.last(&follows.group) else { return RoleView::default() };
        let until = self.holdings.primary(&follows.group).map(|(_, proof)| proof.until.before(SLACK));
        let region = seen.holder.as_ref().and_then(index);
        let is_leaving = self.primaries.get(&follows.group).is_some_and(|agreed| agreed.is_leaving);
        RoleView { token: seen.token, region, said, until: until.filter(|_| region.is_some()), is_leaving }
    }

    //--- Replicas

    /// Whether each member may be answered as a replica.
    fn fits(&self, follows: &Follows, now: Tick) -> Vec<Fit> {
        follows.members.iter().map(|member| self.fit(follows, member.region, now)).collect()
    }

    fn fit(&self, follows: &Follows, region: RegionIdx, now: Tick) -> Fit {
        let Followed::Replica { lag_max } = follows.role else { return Fit::Fits };
        let name = &self.world.topology.regions[region.get()].name;
        let holds = self.holdings.primary(&follows.group).is_some_and(|(holder, proof)| holder == name && now < proof.until);
        match self.holdings.follower(&follows.group, name, now) {
            _ if holds => Fit::Holds,
            None => Fit::Silent,
            Some((lag, _)) => match (lag, lag_max) {
                (_, None) => Fit::Fits,
                (None, Some(_)) => Fit::LagUnknown,
                (Some(lag), Some(most)) if lag > most => Fit::Lags,
                (Some(_), Some(_)) => Fit::Fits,
            },
        }
    }

    /// When a member stops to be what it is, if nothing more is heard of it.
    fn next_fit(&self, follows: &Follows, now: Tick) -> Option<Tick> {
        let names = follows.members.iter().map(|member| &self.world.topology.regions[member.region.get()].name);
        let ends = names.filter_map(|name| self.holdings.follower(&follows.group, name, now)).map(|(_, until)| until);
        let held = self.holdings.primary(&follows.group).map(|(_, proof)| proof.until).filter(|until| now < *until);
        ends.chain(held).min()
    }

    /// Takes out of a service that follows replicas whoever is none that may be answered.
    pub(super) fn admit_replicas(&mut self, now: Now, service: ServiceIdx, endpoints: &[EndpointIdx], states: &mut [EndpointState]) {
        let world = self.world.clone();
        let Some(follows) = &world.topology.services[service.get()].follows else { return };
        for (endpoint, state) in endpoints.iter().zip(states) {
            let fit = self.fit(follows, world.topology.endpoints[endpoint.get()].region, now.tick);
            let Some(why) = fit.told(follows) else { continue };
            (state.health, state.kept) = (Health::Down, false);
            let note = state.note.take().map_or_else(|| why.clone(), |note| format!("{note}; {why}"));
            state.note = Some(note.into());
        }
        let fits = self.fits(follows, now.tick);
        self.roles.fits.insert(service, fits);
    }
}

impl Fit {
    /// Why it is not answered; `None`: it is.
    fn told(self, follows: &Follows) -> Option<String> {
        let group = &follows.group;
        match self {
            Self::Fits => None,
            Self::Holds => Some(format!("it is the primary of {group}")),
            Self::Silent => Some(format!("it does not say that it follows the primary of {group}")),
            Self::LagUnknown => Some("how far it is behind is not known, and lag_max bounds it".to_owned()),
            Self::Lags => Some("it is further behind than lag_max".to_owned()),
        }
    }
}

/// Whether a table that shows this must be made anew to show what is known; else when to look again.
fn judge(shown: &RoleView, known: &RoleView, ahead: Duration, now: Tick) -> (bool, Option<Tick>) {
    if (shown.token, shown.region, shown.is_leaving) != (known.token, known.region, known.is_leaving) {
        return (true, None);
    }
    match (shown.until, known.until) {
        (None, None) => (false, None),
        (None, Some(_)) | (Some(_), None) => (true, None),
        (Some(shown), Some(known)) if known + SLACK < shown => (true, None),
        (Some(shown), Some(known)) if known > shown => (now + ahead >= shown, Some(shown.before(ahead))),
        (Some(shown), Some(_)) => (false, Some(shown).filter(|at| now < *at)),
    }
}
