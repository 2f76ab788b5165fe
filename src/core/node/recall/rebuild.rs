//! From pages to a node as it was.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

use super::{
    note::shape,
    page::{FORM, Head, NotedMember, NotedOrders, NotedRole, Page},
};
use crate::{
    answer::Query,
    health::{
        endpoint::{CheckState, noted::NotedState},
        overlay::Overlay,
        vantage::{NotedOthers, NotedStanding, Vantage},
    },
    model::{
        ids::{CheckIdx, EndpointIdx, RegionIdx, ServiceIdx},
        time::{Now, Tick, Timestamp},
        verdict::Health,
    },
    node::{
        HAPPENINGS_MAX, Node, Settings,
        report::{Happening, Preview, ReportError, Why},
    },
    table::{EndpointState, RoleView, Table, Tier, World},
};

/// When a node that was recalled is asked, by its own clock: late, so that what was before it has a place there.
const LATE: Tick = Tick(1 << 62);

/// Why pages cannot be told again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// The first page says only what changed.
    #[error("the pages begin in the middle: nothing says what was before")]
    NoBeginning,
    /// Another form.
    #[error("the pages are of form {0}, and this version reads form {FORM}; ask a node of the version that wrote them")]
    Form(u32),
    /// The plan gives other positions.
    #[error("the plan of that time is laid out otherwise by this version; ask a node of the version that wrote them")]
    OtherShape,
    /// A position that the plan does not have.
    #[error("the pages speak of something that the plan of that time does not have")]
    Position,
}

/// What the pages read so far say together.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    head: Option<Head>,
    at: Timestamp,
    table: (u64, Option<Timestamp>),
    checks: BTreeMap<u32, (Timestamp, NotedState)>,
    others: Option<NotedOthers>,
    standings: BTreeMap<u32, NotedStanding>,
    members: BTreeMap<u32, NotedMember>,
    /// With the time of their page.
    roles: BTreeMap<u32, (Timestamp, NotedRole)>,
    orders: Option<NotedOrders>,
    happenings: VecDeque<Happening>,
}

impl Memory {
    /// Takes in the next page.
    ///
    /// # Errors
    /// [`Unreadable`]: it is the first and does not say everything, or it is of another form. Nothing was taken in.
    pub fn read(&mut self, page: Page) -> Result<(), Unreadable> {
        match &page.head {
            Some(head) if head.form != FORM => return Err(Unreadable::Form(head.form)),
            Some(_) => *self = Self { head: page.head, ..Self::default() },
            None if self.head.is_none() => return Err(Unreadable::NoBeginning),
            None => {}
        }
        (self.at, self.table) = (page.at, page.table);
        self.checks.extend(page.checks.into_iter().map(|(check, state)| (check, (page.at, state))));
        if let Some(others) = page.others {
            if others.is_single() {
                self.standings.clear();
            }
            self.others = Some(others);
        }
        self.standings.extend(page.standings);
        self.members.extend(page.members);
        self.roles.extend(page.roles.into_iter().map(|(service, role)| (service, (page.at, role))));
        self.orders = page.orders.or_else(|| self.orders.take());
        self.happenings.extend(page.happenings.into_iter().map(|(at, text)| Happening { at, text }));
        self.happenings.drain(..self.happenings.len().saturating_sub(HAPPENINGS_MAX));
        Ok(())
    }

    /// When the last page was made; meaningless before the first.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The node as it was at the last page, in the world of that time. O(checks + endpoints).
    ///
    /// # Errors
    /// [`Unreadable`]: there is no page, or `world` is not the one that they were made in.
    pub fn rebuild(self, world: Arc<World>) -> Result<Recalled, Unreadable> {
        let head = self.head.ok_or(Unreadable::NoBeginning)?;
        let topology = world.topology.clone();
        if head.shape != shape(&topology) {
            return Err(Unreadable::OtherShape);
        }
        let (n_checks, n_endpoints) = (topology.checks.len(), topology.endpoints.len());
        let fits = |position: &u32, n: usize| usize::try_from(*position).is_ok_and(|position| position < n);
        let are_known = self.checks.keys().chain(self.standings.keys()).all(|check| fits(check, n_checks))
            && self.members.len() == n_endpoints
            && self.members.keys().all(|endpoint| fits(endpoint, n_endpoints));
        let n_services = topology.services.len();
        let n_regions = topology.regions.len();
        let has_place = |role: &NotedRole| role.region.is_none_or(|region| usize::from(region) < n_regions);
        let are_roles = self.roles.iter().all(|(service, (_, role))| fits(service, n_services) && has_place(role));
        if !are_known || !are_roles {
            return Err(Unreadable::Position);
        }
        let now = Now { tick: LATE, wall: self.at };
        let Head { node, region, digest, .. } = head;
        let settings = Settings { node: node.clone(), region: region.clone(), stale_limit: Duration::MAX, seed: 0 };
        let mut it = Node::new(settings, world.clone(), digest, None, now);
        it.as_of = vec![self.at; n_checks];
        for (check, (at, state)) in &self.checks {
            let check = CheckIdx(*check);
            it.book.recall(check, CheckState::of_note(state));
            it.as_of[check.get()] = *at;
        }
        if let Some(others) = &self.others {
            it.vantage = Vantage::recalled(node, region, others, &topology.checks, now);
        }
        for (check, standing) in &self.standings {
            it.vantage.recall(CheckIdx(*check), standing, now);
        }
        if let Some(orders) = self.orders {
            // More than are kept were never in force.
            it.overlay = Overlay::new(&topology, orders.overrides, &orders.frozen).unwrap_or_default();
        }
        let (generation, stale_since) = self.table;
        let state_of = |endpoint: EndpointIdx| self.members.get(&endpoint.0).map(state).expect("invariant: every endpoint has one");
        let mut table = Table { stale_since, ..Table::compile(generation, world, state_of) };
        for (service, (at, noted)) in &self.roles {
            table.set_role(ServiceIdx(*service), role(noted, self.at.since(*at)));
        }
        it.table = Some(Arc::new(table));
        it.happenings = self.happenings;
        Ok(Recalled { node: it, now })
    }
}

/// Who held a role, by what was noted `ago`.
fn role(noted: &NotedRole, ago: Duration) -> RoleView {
    let micros = Duration::from_micros;
    RoleView {
        token: noted.token,
        region: noted.region.map(|region| RegionIdx::at(usize::from(region))),
        said: noted.said_micros.map(|said| LATE.before(micros(said).saturating_add(ago))),
        until: noted.lasts_micros.map(|lasts| (LATE + micros(lasts)).before(ago)),
        is_leaving: noted.is_leaving,
    }
}

/// A state from which the table makes this member again.
fn state(noted: &NotedMember) -> EndpointState {
    let (health, drained) = match noted.tier {
        Tier::Up => (Health::Up, false),
        Tier::Unjudged => (Health::Unknown, false),
        Tier::Drained => (Health::Up, true),
        Tier::Out => (Health::Down, false),
    };
    EndpointState {
        health,
        drained,
        kept: false,
        admitted: noted.admitted,
        next_change: Duration::from_micros(noted.next_change_micros),
        weight: Some(noted.weight),
        pool_weight: Some(noted.pool_weight),
        left: noted.left,
        note: noted.note.clone(),
    }
}

/// A node as it was at one moment. It can be asked, and nothing else: its clocks stand.
#[derive(Clone, Debug)]
pub struct Recalled {
    node: Node,
    now: Now,
}

impl Recalled {
    /// The moment.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.now.wall
    }

    /// The name of the node.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.settings.node.as_str()
    }

    /// Why an object stood as it did; see [`Node::why`].
    ///
    /// # Errors
    /// [`ReportError::Unknown`], by the plan of that time.
    pub fn why(&self, object: &str) -> Result<Why, ReportError> {
        self.node.why(self.now, object)
    }

    /// The answer that a client got; see [`Node::preview`].
    ///
    /// # Errors
    /// None in practice: only moments with a table are noted.
    pub fn preview(&self, query: &Query) -> Result<Preview, ReportError> {
        self.node.preview(self.now, query)
    }

    /// The node itself, to name what is in its world, or to compare the next page with it. It must not be let go on.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Like [`Self::node`].
    #[must_use]
    pub fn into_node(self) -> Node {
        self.node
    }
}
