//! The clients: networks whose resolvers ask, keep each answer for its time to live, and ask again.
//!
//! One task per region plays its resolvers, which ask the nodes of their region, and others when those are silent. They keep to the rules, so what
//! they hold is the tail that a time to live leaves behind; besides them [`Clients::sweep`] asks for every network afresh, without a cache, to see
//! what nodes answer at this moment.
//! Invariant: every answer that came, to a resolver or to a sweep, is in the ledger, and figures are made from nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portolan_core::model::time::{Now, Tick, Timestamp};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    ask::{Asker, Heard, Server},
    plan::{HOSTNAME, Place},
    site::Site,
};
use crate::daemon::Clock;

/// How often the resolvers look for answers that have expired.
const TURN: Duration = Duration::from_millis(100);

/// A client network and the region that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) network: Ipv4Addr,
    pub(super) home: usize,
}

/// Who the clients are and where addresses lead: does not change.
pub(super) struct Map {
    pub(super) clients: Vec<Client>,
    regions: BTreeMap<IpAddr, usize>,
}

impl Map {
    pub(super) fn new(sites: &[Site]) -> Self {
        let of = |(home, site): (usize, &Site)| {
            let place: &Place = site.place;
            place.clients().map(move |network| Client { network, home })
        };
        let clients = sites.iter().enumerate().flat_map(of).collect();
        let addresses = sites.iter().enumerate().flat_map(|(region, site)| site.addresses().into_iter().map(move |it| (it.ip(), region)));
        Self { clients, regions: addresses.collect() }
    }

    /// The region that all addresses belong to; `None`: several, or none of ours.
    fn region(&self, heard: &Heard) -> Option<usize> {
        let mut regions = heard.addresses.iter().map(|address| self.regions.get(address).copied());
        let first = regions.next()??;
        regions.all(|region| region == Some(first)).then_some(first)
    }
}

/// What one client's resolver knows, and what it ever heard.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// The region of the answer in the cache, and until when it is held.
    held: Option<(Option<usize>, Tick)>,
    /// Per region: until when answers that led there may be held, at most.
    until: BTreeMap<usize, Until>,
    /// Where answers ever led, sweeps included; `None`: to several regions, or to none of ours.
    seen: BTreeSet<Option<usize>>,
}

/// The end of an answer's life, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) tick: Tick,
    pub(super) wall: Timestamp,
}

#[derive(Debug, Default)]
struct Ledger {
    entries: Vec<Entry>,
    n_asked: u64,
    n_answered: u64,
    n_unanswered: u64,
}

/// What nodes answer at this moment.
pub(super) struct Sweep {
    /// Per client: the region, and when the answer came.
    pub(super) answers: Vec<Answered>,
    pub(super) finished: Now,
}

/// One client's fresh answer.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) home: usize,
    /// `None`: none, or several.
    pub(super) region: Option<usize>,
    pub(super) at: Now,
    pub(super) ttl: Duration,
    pub(super) addresses: Vec<IpAddr>,
}

/// Totals for the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Clients whose question went unanswered, however often it was asked.
    pub(super) unanswered: u64,
}

/// Resolvers at work, and a way to ask past them.
pub(super) struct Clients {
    pub(super) map: Arc<Map>,
    ledger: Arc<Mutex<Ledger>>,
    clock: Arc<Clock>,
    /// One per region, with the clients' positions.
    sweepers: Vec<(Asker, Vec<usize>)>,
    cut_off: watch::Sender<Option<usize>>,
    stop: CancellationToken,
    tasks: JoinSet<io::Result<()>>,
}

impl Clients {
    /// Lets the resolvers begin. `servers`: for each region, whom its resolvers ask, in order.
    pub(super) async fn start(servers: Vec<Vec<Server>>, map: Map, clock: Arc<Clock>) -> io::Result<Self> {
        let map = Arc::new(map);
        let ledger = Ledger { entries: vec![Entry::default(); map.clients.len()], ..Ledger::default() };
        let ledger = Arc::new(Mutex::new(ledger));
        let (cut_off, stop) = (watch::Sender::new(None), CancellationToken::new());
        let (mut sweepers, mut tasks) = (Vec::new(), JoinSet::new());
        for (home, servers) in servers.iter().enumerate() {
            let ours: Vec<usize> =
                map.clients.iter().enumerate().filter(|(_, client)| client.home == home).map(|(position, _)| position).collect();
            sweepers.push((Asker::new(HOSTNAME, home, servers, cut_off.subscribe(), clock.clone()).await?, ours.clone()));
            let asker = Asker::new(HOSTNAME, home, servers, cut_off.subscribe(), clock.clone()).await?;
            let resolvers = Resolvers { map: map.clone(), ours, ledger: ledger.clone(), clock: clock.clone(), asker };
            tasks.spawn(resolvers.run(stop.clone()));
        }
        Ok(Self { map, ledger, clock, sweepers, cut_off, stop, tasks })
    }

    /// From now on clients of this region reach their own nodes only, and others do not reach those; `None`: everybody reaches everybody.
    pub(super) fn cut_off(&self, region: Option<usize>) {
        self.cut_off.send_replace(region);
    }

    /// A resolver of its own that stands in a region and asks for another name.
    pub(super) async fn asker(&self, name: &str, home: usize, servers: &[Server]) -> io::Result<Asker> {
        Asker::new(name, home, servers, self.cut_off.subscribe(), self.clock.clone()).await
    }

    /// Asks for every client afresh. The answers enter no cache.
    pub(super) async fn sweep(&mut self) -> io::Result<Sweep> {
        let mut answers = Vec::new();
        for (sweeper, ours) in &mut self.sweepers {
            let networks: Vec<Ipv4Addr> = ours.iter().map(|&position| self.map.clients[position].network).collect();
            let heard = sweeper.ask(&networks).await?;
            let mut ledger = lock(&self.ledger);
            ledger.n_asked += std::mem::take(&mut sweeper.n_asked);
            for (&position, heard) in ours.iter().zip(heard) {
                let home = self.map.clients[position].home;
                answers.push(match heard {
                    Some(heard) => {
                        let region = ledger.note(&self.map, position, &heard);
                        Answered { home, region, at: heard.heard, ttl: heard.ttl, addresses: heard.addresses }
                    }
                    None => {
                        ledger.n_unanswered += 1;
                        Answered { home, region: None, at: self.clock.now(), ttl: Duration::ZERO, addresses: Vec::new() }
                    }
                });
            }
        }
        Ok(Sweep { answers, finished: self.clock.now() })
    }

    /// Whether every resolver holds an answer or did.
    pub(super) fn all_hold(&self) -> bool {
        lock(&self.ledger).entries.iter().all(|entry| entry.held.is_some())
    }

    /// Resolvers that hold an answer which leads to `region` now.
    pub(super) fn holding(&self, region: usize) -> usize {
        let now = self.clock.tick();
        let holds = |entry: &&Entry| entry.held.is_some_and(|(held, until)| held == Some(region) && until > now);
        lock(&self.ledger).entries.iter().filter(holds).count()
    }

    /// Until when resolvers hold answers that lead to `region`, at most; `None`: there never was one.
    pub(super) fn held_until(&self, region: usize) -> Option<Until> {
        let ledger = lock(&self.ledger);
        ledger.entries.iter().filter_map(|entry| entry.until.get(&region)).max_by_key(|until| until.tick).copied()
    }

    /// Clients that ever got an answer which leads away from home, those of region `except` left out.
    pub(super) fn strayed(&self, except: Option<usize>) -> usize {
        let ledger = lock(&self.ledger);
        let others = self.map.clients.iter().zip(&ledger.entries).filter(|(client, _)| Some(client.home) != except);
        others.filter(|(client, entry)| entry.seen.iter().any(|region| *region != Some(client.home))).count()
    }

    pub(super) fn totals(&self) -> Totals {
        let ledger = lock(&self.ledger);
        Totals { asked: ledger.n_asked, answered: ledger.n_answered, unanswered: ledger.n_unanswered }
    }

    /// Lets the resolvers end.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

impl Ledger {
    /// Enters an answer and returns its region.
    fn note(&mut self, map: &Map, position: usize, heard: &Heard) -> Option<usize> {
        let region = map.region(heard);
        self.entries[position].seen.insert(region);
        self.n_answered += 1;
        region
    }

    /// The same, into the resolver's cache.
    fn hold(&mut self, map: &Map, position: usize, heard: &Heard, ttl: Duration) {
        let region = self.note(map, position, heard);
        let entry = &mut self.entries[position];
        // From the question on: the answer is not older, and a resolver may always forget sooner.
        let until = Until { tick: heard.asked.tick + ttl, wall: heard.asked.wall + ttl };
        entry.held = Some((region, until.tick));
        if let Some(region) = region {
            let known = entry.until.entry(region).or_insert(until);
            if until.tick > known.tick {
                *known = until;
            }
        }
    }
}

/// A panic while the lock was held left plain values behind.
fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Resolvers {
    map: Arc<Map>,
    /// Positions of the clients that they ask for.
    ours: Vec<usize>,
    ledger: Arc<Mutex<Ledger>>,
    clock: Arc<Clock>,
    asker: Asker,
}

impl Resolvers {
    async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_first = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = turns.tick() => {}
            }
            let now = self.clock.tick();
            let expired = |entry: &Entry| entry.held.is_none_or(|(_, until)| until <= now);
            let due: Vec<usize> = {
                let ledger = lock(&self.ledger);
                self.ours.iter().copied().filter(|&position| expired(&ledger.entries[position])).collect()
            };
            let networks: Vec<Ipv4Addr> = due.iter().map(|&position| self.map.clients[position].network).collect();
            let heard = self.asker.ask(&networks).await?;
            let mut ledger = lock(&self.ledger);
            ledger.n_asked += std::mem::take(&mut self.asker.n_asked);
            for (order, (position, heard)) in due.into_iter().zip(heard).enumerate() {
                let Some(heard) = heard else {
                    ledger.n_unanswered += 1;
                    continue;
                };
                // At the start all ask at once; they shall not do so ever after, so they forget their first answers one by one.
                let ttl = if is_first { heard.ttl / 100 * u32::try_from(order % 100 + 1).unwrap_or(100) } else { heard.ttl };
                ledger.hold(&self.map, position, &heard, ttl);
            }
            is_first = false;
        }
    }
}
