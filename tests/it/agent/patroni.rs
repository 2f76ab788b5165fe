//! Regions whose PostgreSQL is run by Patroni, moved through its REST API: with real Patronis, real servers and a real etcd.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use nix::sys::signal::Signal;
use portolan::engine::{
    patroni::{Login, Patroni, Role, Seen, Setup, Wanted},
    postgres::ConnInfo,
};
use portolan_core::model::ids::Label;
use tokio::task::JoinHandle;

use super::patroni_server::{LOGIN, Patronis};
use crate::daemon::given;

const REGIONS: [&str; 3] = ["us", "eu", "ap"];

/// The Patronis of all regions, and what an agent has to each.
struct Regions {
    patronis: Patronis,
    agents: Vec<(&'static str, Patroni)>,
}

fn agent(patronis: &Patronis, name: &str, login: &str) -> Patroni {
    let member = &patronis.members[name];
    let agent = Patroni::new(Setup {
        region: Label::new(name),
        url: member.url(),
        login: Some(Login::parse(login).unwrap()),
        authorities: None,
        own: ConnInfo::parse("user=postgres dbname=postgres sslmode=disable").unwrap(),
        permit: Some(member.permit_file()),
    });
    let agent = agent.unwrap();
    let at = |name: &&str| (Label::new(name), ("127.0.0.1".to_owned(), patronis.members[*name].port));
    agent.set_members(REGIONS.iter().map(at).collect());
    agent
}

impl Regions {
    async fn start() -> Self {
        let patronis = Patronis::start(REGIONS).await;
        let agents = REGIONS.map(|name| (name, agent(&patronis, name, LOGIN)));
        Self { patronis, agents: agents.into() }
    }

    fn at(&self, name: &str) -> &Patroni {
        &self.agents.iter().find(|(region, _)| *region == name).unwrap().1
    }

    async fn look(&self, name: &str) -> Seen {
        self.at(name).look().await.unwrap()
    }

    async fn write(&self, name: &str, sql: &str) {
        self.patronis.connect(name).await.unwrap().batch_execute(sql).await.unwrap();
    }

    async fn count(&self, name: &str) -> Option<i64> {
        self.patronis.read(name, "select count(*) from ledger").await
    }

    async fn is_on(&self, name: &str, timeline: u32) -> Option<()> {
        (self.look(name).await.led_by()?.timeline == Some(timeline)).then_some(())
    }

    /// Writes one number after the other there until one is refused, and notes the last that was acknowledged.
    async fn keep_writing(&self, name: &str, after: i64) -> (Arc<AtomicI64>, JoinHandle<()>) {
        let (client, last) = (self.patronis.connect(name).await.unwrap(), Arc::new(AtomicI64::new(after)));
        let note = Arc::clone(&last);
        let writing = async move {
            for number in after + 1..i64::MAX {
                if client.execute("insert into ledger values ($1)", &[&number]).await.is_err() {
                    return;
                }
                note.store(number, SeqCst);
            }
        };
        let writing = tokio::spawn(writing);
        given("writes are acknowledged", async || (last.load(SeqCst) > after + 50).then_some(())).await;
        (last, writing)
    }

    /// From one region to another while a client writes: nothing that was acknowledged is lost. Gives how many rows there are.
    async fn switch(&self, from: &str, to: &str, before: i64) -> i64 {
        let (last, writing) = self.keep_writing(from, before).await;
        self.at(from).fence().await.unwrap();
        writing.await.unwrap();
        let acknowledged = last.load(SeqCst);
        // The server was killed; what was not shipped is in its copy, and comes from there.
        let has_end = async || self.look(from).await.received.filter(|it| it.is_exhausted).map(|it| it.replayed);
        let end = given("its end is known", has_end).await;
        let has_all = async || self.look(to).await.received.filter(|it| it.is_exhausted && it.replayed >= end);
        given("the other region has all of it", has_all).await;
        assert!(self.at(to).seal().await.unwrap() >= end);
        self.at(to).promote().await.unwrap();
        for region in REGIONS.into_iter().filter(|region| *region != to) {
            self.at(region).follow(&Label::new(to)).await.unwrap();
        }
        let kept = self.count(to).await.unwrap();
        // The last one may have been kept and not been acknowledged.
        assert!(kept >= acknowledged && kept <= acknowledged + 1, "{kept} rows, and {acknowledged} were acknowledged");
        kept
    }
}

const LEDGER: &str = "create table ledger (id bigint primary key)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_are_switched_over_through_patroni_and_back_and_nothing_is_lost() {
    let regions = Regions::start().await;
    regions.write("us", LEDGER).await;
    let (us, eu) = (regions.look("us").await, regions.look("eu").await);
    assert_eq!((us.writes(), us.wanted.clone(), us.is_primary), (Some(true), Wanted::Primary, true));
    assert_eq!((eu.writes(), eu.follows.clone()), (Some(false), Some(Label::new("us"))));
    let (led, of) = (us.led_by().unwrap(), eu.led_by().unwrap());
    assert!(led.system.is_some() && led.system == of.system && (led.timeline, of.timeline) == (Some(1), Some(1)), "{us:?} {eu:?}");
    assert!(eu.received.as_ref().is_some_and(|it| it.streams && it.has_receiver), "{eu:?}");

    let stranger = agent(&regions.patronis, "us", "portolan\nhushed").fence().await.unwrap_err().0;
    assert!(stranger.contains("does not let the login") && !stranger.contains("hush"), "{stranger}");
    assert_eq!(regions.look("us").await.writes(), Some(true), "nothing was changed");

    let kept = regions.switch("us", "eu", 0).await;
    let kept = regions.switch("eu", "us", kept).await;
    for name in REGIONS {
        given("all have the same", async || regions.count(name).await.filter(|count| *count == kept)).await;
        given("all stand on one line", async || regions.is_on(name, 3).await).await;
        let log = regions.patronis.members[name].log();
        assert!(!log.contains("running pg_rewind"), "no rewind was needed in {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_region_is_replaced_and_may_not_write_when_it_is_back_and_patroni_rewinds_it() {
    let mut regions = Regions::start().await;
    regions.write("us", &format!("{LEDGER}; insert into ledger select generate_series(1, 100)")).await;
    for name in ["eu", "ap"] {
        given("it is there", async || regions.count(name).await.filter(|count| *count == 100)).await;
    }
    regions.patronis.stop_shipping("us");
    regions.write("us", "insert into ledger select generate_series(1001, 1007)").await;
    regions.patronis.lose("us");
    let gone = regions.at("us").look().await.unwrap_err().0;
    assert!(gone.contains("ask Patroni at http://127.0.0.1"), "{gone}");

    // They were cut off one after the other, so one may have a little more.
    let ends = [regions.at("eu").seal().await.unwrap(), regions.at("ap").seal().await.unwrap()];
    assert_eq!(regions.look("eu").await.received.map(|it| it.replayed), Some(ends[0]), "it grows no more");
    let (primary, other) = if ends[0] >= ends[1] { ("eu", "ap") } else { ("ap", "eu") };
    regions.at(primary).promote().await.unwrap();
    regions.at(other).follow(&Label::new(primary)).await.unwrap();
    regions.write(primary, "insert into ledger select generate_series(201, 210)").await;

    // Its store has it for a primary, and its Patroni would make it one: without the permit it does not.
    regions.patronis.launch("us");
    let refused = async || regions.patronis.members["us"].log().contains("exited with 1").then_some(());
    given("it wanted to be a primary again", refused).await;
    let us = given("its server says what it is", async || regions.at("us").look().await.ok().filter(|it| it.writes().is_some())).await;
    assert_eq!(us.writes(), Some(false), "{us:?}");
    regions.at("us").follow(&Label::new(primary)).await.unwrap();
    let same = async || {
        let rows = regions.patronis.read::<Vec<i64>>("us", "select array_agg(id order by id) from ledger").await?;
        rows.into_iter().eq((1..=100).chain(201..=210)).then_some(())
    };
    given("it has what the primary has", same).await;
    assert!(regions.patronis.members["us"].log().contains("running pg_rewind"), "Patroni rewound it by itself");
    given("it stands on the new line", async || regions.is_on("us", 2).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_is_told_only_when_it_is_proven_and_a_region_without_its_store_is_none() {
    let mut regions = Regions::start().await;
    regions.write("us", LEDGER).await;
    let (_, writing) = regions.keep_writing("us", 0).await;

    // Without its store Patroni changes nothing, and ends the primary by itself.
    regions.patronis.stop_etcd();
    let unproven = regions.at("us").fence().await.unwrap_err().0;
    assert!(unproven.contains("Patroni at http://127.0.0.1"), "{unproven}");
    let in_recovery = "select pg_is_in_recovery()";
    given("it is a standby", async || regions.patronis.read::<bool>("us", in_recovery).await.filter(|it| *it)).await;
    writing.await.unwrap();
    // The fence took the permit, though it could do nothing else: so the store's return opens nothing.
    regions.patronis.start_etcd().await;
    let refused = async || regions.patronis.members["us"].log().contains("exited with 1").then_some(());
    given("it wanted to be a primary again", refused).await;
    assert_eq!(regions.patronis.read("us", in_recovery).await, Some(true));
    regions.at("us").fence().await.unwrap();
    let us = regions.look("us").await;
    assert!(us.writes() == Some(false) && us.wanted != Wanted::Primary, "{us:?}");

    // One that does not answer proves nothing, whatever its server does.
    regions.patronis.signal("us", Signal::SIGSTOP);
    let silent = regions.at("us").fence().await.unwrap_err().0;
    regions.patronis.signal("us", Signal::SIGCONT);
    assert!(silent.contains("ask Patroni at"), "{silent}");
    let us = given("it answers again", async || regions.at("us").look().await.ok().filter(|it| it.writes().is_some())).await;
    assert_eq!(us.members.values().map(|it| it.role).collect::<Vec<_>>(), [Role::Standby]);
}
