//! The marks t0 to t8 of a recovery as the program reports them, against clocks outside of it: what this machine, a client, a resolver's cache and
//! somebody who asks the API again and again see by themselves.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use portolan::{
    api::proto::{GetOutlookRequest, GetReportRequest, Group, ListGroupsRequest, get_report_request::Format},
    client::Client,
};
use portolan_core::{
    failover::group::Phase,
    model::{
        ids::Label,
        time::{Tick, Timestamp},
    },
    recovery::incident::Milestone,
};

use super::{
    automatic::{RECOVERY, ended, wall},
    boundaries::leader,
    groups::{Play, group, published},
    plan::*,
    *,
};
use crate::agent::postgres::{Member, clock};

/// On a scale, so that each mark is seconds from the next: rounds of 800 ms, a hold of 4.8 s, and a lease that is over 14.4 s after its last renewal.
const SCALED: &str = "    automatic_failover: true\n    probe: { interval: 10s, timeout: 10s }\n    confirm_hold: 60s\n    local_recovery: 0s\n    \
    lease: { ttl: 180s, margin: 20s }\n    on_control_loss: fence\n    time_scale: 8%\n";

/// While nobody is proven the old answer goes on, so that caches hold it until the new one has run in.
const NAMES: &str = "services:\n  orders-write: { hostnames: [orders.gslb.example.net], follows: { group: orders, without_primary: last, ttl: { \
    min: 2s, max: 2s } } }\n";

const WITHIN: Duration = Duration::from_secs(1);

/// When something was seen: after the last look that did not show it had begun, and by the end of the first one that did.
#[derive(Clone, Copy, Debug)]
struct Sight {
    after: Timestamp,
    by: Timestamp,
}

impl Sight {
    const fn at(at: Timestamp) -> Self {
        Self { after: at, by: at }
    }

    /// How far a mark is from it.
    fn off(self, mark: Timestamp) -> Duration {
        self.after.since(mark).max(mark.since(self.by))
    }

    /// The later of both.
    fn max(self, other: Self) -> Self {
        Self { after: self.after.max(other.after), by: self.by.max(other.by) }
    }
}

/// Looks again and again until it holds.
async fn sight(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Sight {
    let mut after = wall();
    given(what, async || {
        let begun = wall();
        if holds().await {
            return Some(Sight { after, by: wall() });
        }
        after = begun;
        None
    })
    .await
}

/// What this machine's calendar says of an instant of its clock.
fn dated(at: Tick) -> Timestamp {
    let (now, wall) = (clock(), wall());
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap();
    Timestamp(wall.0 + millis(at.since(now)) - millis(now.since(at)))
}

/// The marks in the report of the last operation, as the API gives it.
pub(super) async fn reported(play: &Play) -> BTreeMap<Milestone, Timestamp> {
    // Whoever was asked until now may have known it before the one that gives the report.
    play.fleet.agrees("all know that it has ended", |state| ended(state).is_some()).await;
    let node = play.fleet.running().next().unwrap();
    let operation = ended(&node.daemon.agreed()).unwrap().operation.id;
    let request = GetReportRequest { name: format!("operations/op-{operation}"), format: Format::Json.into() };
    let text = node.client().await.get_report(request).await.unwrap().text;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let told = report["recovery"]["milestones"].as_array().unwrap().iter().zip(Milestone::ALL);
    let read = told.map(|(it, milestone)| {
        assert_eq!(it["name"], milestone.word(), "{text}");
        let at: jiff::Timestamp = it["at"].as_str().unwrap_or_else(|| panic!("{milestone} in {text}")).parse().unwrap();
        (milestone, Timestamp(at.as_millisecond()))
    });
    read.collect()
}

/// Asks daemons about the group, again and again.
struct Watcher {
    all: Vec<Client>,
    /// Which of them leads: the decision is its, and so are the rounds that it stands on.
    leads: usize,
}

impl Watcher {
    async fn new(play: &Play) -> Self {
        let mut clients = Vec::new();
        for bed in play.fleet.running() {
            clients.push(bed.client().await);
        }
        Self { all: clients, leads: leader(&play.fleet).await }
    }

    /// When the leader began to say that the primary is suspected, and said it until it decided.
    async fn suspected(&self) -> Sight {
        let (mut since, mut after) = (None, wall());
        let look = async || {
            let begun = wall();
            let request = GetOutlookRequest { name: "groups/orders".to_owned() };
            let reason = format!("{:?}", self.all[self.leads].get_outlook(request).await.ok()?.outlook?.reason);
            if reason.contains(" is open, ") {
                return since;
            }
            if reason.contains("suspected for ") {
                since = since.or_else(|| Some(Sight { after, by: wall() }));
            } else {
                (since, after) = (None, begun);
            }
            None
        };
        given("the primary is suspected, and it is decided", look).await
    }

    /// When some daemon first showed a group of which this holds.
    async fn first(&self, what: &str, holds: impl Fn(&Group) -> bool) -> Sight {
        let look = async || {
            for client in &self.all {
                let told = client.list_groups(ListGroupsRequest {}).await;
                if told.is_ok_and(|told| told.groups.first().is_some_and(&holds)) {
                    return true;
                }
            }
            false
        };
        sight(what, look).await
    }

    /// When the operation was first shown in this phase, or past it.
    async fn reached(&self, phase: Phase) -> Sight {
        let phases = [
            Phase::Proposed,
            Phase::Announced,
            Phase::Decided,
            Phase::Fenced,
            Phase::Chosen,
            Phase::Promoting,
            Phase::Promoted,
            Phase::Verified,
            Phase::Routed,
        ];
        let is_there = |group: &Group| {
            let open = group.operation.as_ref().map(|it| phases.iter().find(|phase| phase.word() == it.phase).copied().unwrap());
            group.latest.is_some() || open.is_some_and(|open| open >= phase)
        };
        self.first(phase.word(), is_there).await
    }

    /// When the operation was first shown to have succeeded.
    async fn succeeded(&self) -> Sight {
        self.first("the group was failed over", |group| group.latest.as_ref().is_some_and(|it| it.ending == "succeeded")).await
    }
}

/// When a client was first let write to a member other than us.
async fn writable(play: &Play) -> Sight {
    let try_all = async || {
        for region in [AP, EU] {
            let Ok(client) = play.member(region).connect().await else { continue };
            if client.batch_execute("create table if not exists probe (id int)").await.is_ok() {
                return true;
            }
        }
        false
    };
    sight("somebody takes writes", try_all).await
}

/// When the write name first led elsewhere at every daemon, and when a cache let go of the old answer that took it as late as it could.
async fn published_elsewhere(play: &Play) -> (Sight, Sight) {
    let (mut cached, mut ttl) = (Timestamp(0), Duration::ZERO);
    let all_lead_there = async || {
        let mut is_old = false;
        for bed in play.fleet.running() {
            let asked = wall();
            let reply = bed.ask(Question::a("orders.gslb.example.net")).await;
            if reply.data == [published(US)] {
                ttl = Duration::from_secs(reply.ttl.unwrap().into());
                cached = asked + ttl;
            }
            is_old |= reply.data.len() != 1 || reply.data == [published(US)];
        }
        !is_old
    };
    let published = sight("the name leads elsewhere", all_lead_there).await;
    (published, Sight { after: cached, by: published.by + ttl })
}

/// A reader of a copy, in whose way replay comes when the table that it reads is dropped: it waits for that one, however long.
async fn reader(member: &Member) -> tokio_postgres::Client {
    let client = member.connect().await.unwrap();
    given("it has the tables", async || client.query_one("select count(*) from held, ledger", &[]).await.ok()).await;
    client.batch_execute("alter system set max_standby_streaming_delay = -1").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let waits = "select setting = '-1' from pg_settings where name = 'max_standby_streaming_delay'";
    given("it takes that up", async || client.query_one(waits, &[]).await.unwrap().get::<_, bool>(0).then_some(())).await;
    client.batch_execute("begin; select count(*) from held").await.unwrap();
    client
}

/// Lets those who are in the way of replay go a while after the fence; when each copy first showed a client all these rows.
async fn drained(play: &Play, watcher: &Watcher, readers: &[tokio_postgres::Client], rows: i64) -> BTreeMap<Label, Sight> {
    watcher.reached(Phase::Fenced).await;
    let fenced = clock();
    // Far enough from the mark before, and soon enough for whoever waits for it.
    given("a while has passed", async || (clock().since(fenced) >= Duration::from_millis(1500)).then_some(())).await;
    for reader in readers {
        reader.batch_execute("rollback").await.unwrap();
    }
    let shows = |region: &'static str| {
        sight("all is replayed", async move || play.member(region).read("select count(*) from ledger").await == Some(rows))
    };
    let (ap, eu) = tokio::join!(shows(AP), shows(EU));
    [(Label::new(AP), ap), (Label::new(EU), eu)].into()
}

/// The host of the primary is lost, and nobody says that it has ended: its lease is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marks_of_a_recovery_are_those_of_an_outside_clock() {
    const ROWS: i64 = 1000;
    let mut play = Play::with(&[], SCALED, &format!("{}{NAMES}", RECOVERY.replace(", ledger_is_there", ""))).await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key); create table held (id bigint)").await.unwrap();
    let readers = [reader(play.member(AP)).await, reader(play.member(EU)).await];
    client.batch_execute(&format!("drop table held; insert into ledger select generate_series(1, {ROWS})")).await.unwrap();
    let end: String = client.query_one("select pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
    let received = format!("select count(*) from pg_stat_replication where flush_lsn >= '{end}'::pg_lsn");
    given("both have received it", async || play.member(US).read::<i64>(&received).await.filter(|n| *n == 2)).await;
    drop(client);

    let watcher = Watcher::new(&play).await;
    // Right after a renewal, so that the end of the lease that is seen is the one that is waited for.
    let before = play.member(US).supervised().await.unwrap().over_at;
    let renewed = async || play.member(US).supervised().await?.over_at.filter(|at| Some(*at) != before);
    let lease_over = dated(Tick(given("the lease is renewed", renewed).await));
    let lost = wall();
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let (detected, decided, drained, promoted, (published, cached), closed) = tokio::join!(
        watcher.suspected(),
        watcher.reached(Phase::Decided),
        drained(&play, &watcher, &readers, ROWS),
        writable(&play),
        published_elsewhere(&play),
        watcher.succeeded(),
    );
    let marks = reported(&play).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let primary = state.group(&group()).unwrap().primary().unwrap().clone();
    let seen = BTreeMap::from([
        (Milestone::Impact, Sight::at(lost)),
        (Milestone::Detected, detected),
        (Milestone::Decided, decided),
        (Milestone::Fenced, Sight::at(lease_over)),
        (Milestone::Drained, drained[&primary]),
        (Milestone::Promoted, promoted),
        (Milestone::Published, published),
        (Milestone::Effective, cached),
        (Milestone::Validated, closed.max(cached)),
    ]);
    let told: Vec<String> = Milestone::ALL
        .iter()
        .map(|it| format!("{it}: reported {:?} after the loss, seen {:?}", marks[it].since(lost), seen[it].by.since(lost)))
        .collect();
    println!("{told:#?}");
    for milestone in Milestone::ALL {
        assert!(seen[&milestone].off(marks[&milestone]) <= WITHIN, "{milestone}: {told:#?}");
    }
    // Not before its time: a probe fails that begins after the loss, and nobody is fenced whose lease lasts.
    assert!(marks[&Milestone::Impact] >= lost && marks[&Milestone::Fenced] >= lease_over, "{told:#?}");
}

/// The server hangs, and its agent lives: that kills it, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_its_agent_stops_is_marked_as_fenced_when_it_is_gone() {
    let play = Play::with(&[], SCALED, &RECOVERY.replace(", ledger_is_there", "")).await;
    play.is_served_by(US).await;
    let watcher = Watcher::new(&play).await;
    let main = PathBuf::from(format!("/proc/{}", play.member(US).main_process()));
    play.member(US).signal_all(Signal::SIGSTOP);
    let gone = sight("the server is gone", async || !main.exists());
    let (decided, gone, closed) = tokio::join!(watcher.reached(Phase::Decided), gone, watcher.succeeded());
    let marks = reported(&play).await;
    for (milestone, seen) in [(Milestone::Decided, decided), (Milestone::Fenced, gone), (Milestone::Validated, closed)] {
        assert!(seen.off(marks[&milestone]) <= WITHIN, "{milestone} was seen at {seen:?}: {marks:?}");
    }
    assert!(marks[&Milestone::Fenced] >= gone.after, "it was there then: {gone:?} {marks:?}");
}
