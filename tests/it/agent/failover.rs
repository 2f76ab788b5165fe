//! A group of real PostgreSQL servers, from its adoption to a failover, a return and a switchover.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use portolan::{
    api::{ApiOptions, ApiServer},
    cli::Exit,
};
use portolan_core::{
    cluster::Outcome,
    failover::{
        group::{Ending, Group, HeldFor, Kind},
        step::{Decide, Step},
    },
    model::{group::Durability, ids::Label},
    recovery::exposure::Bracket,
};

const ZERO: std::time::Duration = std::time::Duration::ZERO;

use super::{
    leader::Leader,
    postgres::{REGIONS, Trio},
};
use crate::{
    canned::{self, Canned},
    cli::{self, Ran},
    daemon::given,
};

struct Play {
    trio: Trio,
    leader: Leader,
}

fn region(name: &str) -> Label {
    Label::new(name)
}

impl Play {
    /// All is up: us is the primary, and the others stream from it.
    async fn begin(durability: Durability) -> Self {
        let mut trio = Trio::new(REGIONS);
        let leader = Leader::start(&REGIONS, durability);
        for name in REGIONS {
            let ends = trio.start(&region(name)).await;
            leader.attach(&region(name), ends);
        }
        let play = Self { trio, leader };
        play.is_served_by("us", &["ap", "eu"]).await;
        play.sql("us", "create table ledger (id bigint primary key)").await;
        play
    }

    /// The primary takes writes by its grant, and these follow it.
    async fn is_served_by(&self, primary: &str, followers: &[&str]) {
        let ready = async || {
            let group = self.leader.group();
            let is_settled = group.in_force().is_some_and(|grant| grant.region == region(primary) && grant.is_attested);
            let is_quiet = group.operation.is_none() && is_settled;
            let writes = self.leader.status(&region(primary)).is_some_and(|it| it.writes && it.grant == Some(group.token));
            let follow = followers.iter().all(|name| {
                self.leader.status(&region(name)).and_then(|it| it.follows).is_some_and(|(_, upstream)| upstream == region(primary))
            });
            (is_quiet && writes && follow).then_some(())
        };
        given(&format!("{primary} is followed by {followers:?}"), ready).await;
    }

    async fn sql(&self, at: &str, sql: &str) {
        let client = self.trio.members[&region(at)].connect().await.unwrap();
        client.batch_execute(sql).await.unwrap();
    }

    /// Writes these numbers, and waits until `followers` have them.
    async fn write(&self, at: &str, from: i64, to: i64, followers: &[&str]) {
        self.sql(at, &format!("insert into ledger select generate_series({from}, {to})")).await;
        for name in followers {
            given("the standby has it", async || self.rows(name).await.filter(|rows| *rows == to)).await;
        }
    }

    async fn rows(&self, at: &str) -> Option<i64> {
        self.trio.members[&region(at)].read("select coalesce(max(id), 0) from ledger").await
    }

    fn decide(&self, kind: Kind, to: Option<&str>) {
        let group = self.leader.group();
        let decide = Decide {
            token: group.token,
            kind,
            from: group.primary().unwrap().clone(),
            to: to.map(region),
            plan_revision: 1,
            estimate: Bracket { low: ZERO, high: Some(ZERO) },
            allowed_loss: None,
            grounds: None,
            guards: Vec::new(),
        };
        let outcome = self.leader.step(Step::Decide(Box::new(decide)));
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }

    async fn ended(&self, ending: Ending) {
        let over = async || {
            let group = self.leader.group();
            (group.operation.is_none() && group.latest.is_some_and(|it| it.ending == ending)).then_some(())
        };
        given("the operation is over", over).await;
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:#?}", self.leader.told());
            for name in REGIONS {
                println!("{name}: {:?}", self.leader.status(&region(name)));
            }
        }
    }
}

#[tokio::test]
async fn a_lost_primary_is_replaced_and_comes_back_without_what_only_it_had() {
    let mut play = Play::begin(Durability::Async).await;
    play.write("us", 1, 100, &["ap", "eu"]).await;
    // It ships nothing more, and writes on: this is what an asynchronous group loses.
    play.trio.members[&region("us")].stop_shipping();
    play.write("us", 101, 107, &[]).await;
    play.leader.cut(&region("us"), true);
    play.trio.members.get_mut(&region("us")).unwrap().lose();
    play.decide(Kind::Failover, None);
    play.ended(Ending::Succeeded).await;
    let primary = play.leader.group().primary().unwrap().clone();
    let other = if primary == region("eu") { "ap" } else { "eu" };
    play.is_served_by(primary.as_str(), &[other]).await;
    assert_eq!(play.rows(primary.as_str()).await, Some(100));
    play.write(primary.as_str(), 201, 210, &[other]).await;

    play.leader.cut(&region("us"), false);
    let ends = play.trio.start(&region("us")).await;
    play.leader.attach(&region("us"), ends);
    play.is_served_by(primary.as_str(), &[other, "us"]).await;
    let lost: i64 = play.trio.members[&region("us")].read("select count(*) from ledger where id between 101 and 200").await.unwrap();
    assert_eq!((lost, play.rows("us").await), (0, Some(210)));
    assert!(play.trio.members[&region("us")].commits_put_aside() >= 1, "what was lost is kept");
}

/// Writes one number after the other, and notes those of which it was told that they are kept.
async fn write_on(address: String, acknowledged: Arc<AtomicI64>) {
    let (host, port) = address.split_once(':').unwrap();
    let config = format!("host={host} port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for id in 1.. {
        if client.execute("insert into ledger values ($1)", &[&id]).await.is_err() {
            return;
        }
        acknowledged.store(id, SeqCst);
    }
}

#[tokio::test]
async fn in_quorum_mode_no_acknowledged_write_is_lost_whatever_was_under_way() {
    let mut play = Play::begin(Durability::RemoteQuorum).await;
    for (round, primary) in ["us", "eu"].into_iter().enumerate() {
        play.sql(primary, "delete from ledger").await;
        let acknowledged = Arc::<AtomicI64>::default();
        let writer = tokio::spawn(write_on(play.trio.members[&region(primary)].address(), Arc::clone(&acknowledged)));
        given("writes are acknowledged", async || (acknowledged.load(SeqCst) > 200).then_some(())).await;
        play.leader.cut(&region(primary), true);
        play.trio.members.get_mut(&region(primary)).unwrap().lose();
        writer.await.unwrap();
        let target = if round == 0 { "eu" } else { "us" };
        play.decide(Kind::Failover, Some(target));
        play.is_served_by(target, &["ap"]).await;
        let kept: i64 = play.trio.members[&region(target)].read("select count(*) from ledger").await.unwrap();
        let acknowledged = acknowledged.load(SeqCst);
        assert!(kept >= acknowledged, "{acknowledged} were acknowledged, {kept} are kept");
        play.leader.cut(&region(primary), false);
        let ends = play.trio.start(&region(primary)).await;
        play.leader.attach(&region(primary), ends);
        play.is_served_by(target, &["ap", primary]).await;
        assert_eq!(play.trio.members[&region(primary)].read("select count(*) from ledger").await, Some(kept));
    }
}

#[tokio::test]
async fn a_switchover_loses_nothing_and_goes_back_the_same_way() {
    let play = Play::begin(Durability::Async).await;
    play.write("us", 1, 100, &[]).await;
    play.decide(Kind::Switchover, Some("eu"));
    play.is_served_by("eu", &["ap", "us"]).await;
    assert_eq!(play.rows("eu").await, Some(100));
    play.write("eu", 101, 200, &["ap", "us"]).await;
    play.decide(Kind::Switchover, Some("us"));
    play.is_served_by("us", &["ap", "eu"]).await;
    assert_eq!(play.rows("us").await, Some(200));
    for name in REGIONS {
        assert_eq!(play.trio.members[&region(name)].commits_put_aside(), 0, "no rewind was needed in {name}");
    }
}

#[tokio::test]
async fn a_standby_that_somebody_promotes_by_hand_is_stopped_and_follows_again() {
    let play = Play::begin(Durability::Async).await;
    play.write("us", 1, 100, &["ap", "eu"]).await;
    let eu = &play.trio.members[&region("eu")];
    // The answer may be lost with the server.
    let _ = play.trio.members[&region("eu")].connect().await.unwrap().batch_execute("select pg_promote(true, 30)").await;
    given("it is a standby of us again", async || {
        let follows =
            eu.read::<bool>("select pg_is_in_recovery() and exists (select from pg_stat_wal_receiver where status = 'streaming')").await;
        (follows == Some(true) && eu.supervised().await?.starts > 1).then_some(())
    })
    .await;
    play.write("us", 101, 200, &["ap", "eu"]).await;
    assert_eq!(play.leader.group().forks, [], "nobody was granted anything");
}

/// The command line, in a thread that may block, as a process of its own would be.
async fn portolan(address: &str, arguments: &[&str]) -> Ran {
    let (address, arguments): (String, Vec<String>) = (address.to_owned(), arguments.iter().map(|it| (*it).to_owned()).collect());
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        cli::portolan(&arguments, &[("PORTOLAN_ADDRESS", &address)], false)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_is_held_at_the_gate_is_approved_watched_to_its_end_and_reported() {
    let mut play = Play::begin(Durability::Async).await;
    play.write("us", 1, 100, &["ap", "eu"]).await;
    play.trio.members[&region("us")].stop_shipping();
    play.write("us", 101, 107, &[]).await;
    let hours = |n: u64| std::time::Duration::from_secs(n * 3600);
    play.leader.would_lose(Bracket { low: hours(2), high: Some(hours(3)) });
    play.leader.cut(&region("us"), true);
    play.trio.members.get_mut(&region("us")).unwrap().lose();
    play.decide(Kind::Failover, None);
    let is_held = |group: &Group| group.operation.as_ref()?.held.as_ref().filter(|held| held.reason == HeldFor::RpoGate).map(|_| ());
    given("it is held at the gate", async || is_held(&play.leader.group())).await;

    let options = ApiOptions::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let server = ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Arc::new(play.leader.clone())).await.unwrap();
    let (address, name) = (server.address().to_string(), format!("op-{}", play.leader.group().operation.unwrap().id));
    let too_little = portolan(&address, &["approve", &name, "--allow-data-loss", "1h", "--reason", "it burns", "--yes"]).await;
    assert_eq!(too_little.exit, Exit::Refused, "{}", too_little.err);
    let watcher = tokio::spawn({
        let (address, name) = (address.clone(), name.clone());
        async move { portolan(&address, &["watch", &name]).await }
    });
    given("somebody watches", async || (play.leader.watchers() > 0).then_some(())).await;
    let approved = portolan(&address, &["approve", &name, "--allow-data-loss", "4h", "--reason", "the region burns", "--yes"]).await;
    assert_eq!(approved.exit, Exit::Ok, "{}", approved.err);
    let watched = watcher.await.unwrap();
    assert_eq!(watched.exit, Exit::Ok, "{}{}", watched.out, watched.err);
    assert!(watched.out.contains("HELD, RPO_GATE: 2h to 3h would be lost, and 1h may be"), "{}", watched.out);
    assert!(watched.out.ends_with(&format!("{name} succeeded\n")), "{}", watched.out);

    let ended = play.leader.group().latest.unwrap();
    let report = portolan(&address, &["report", &name]).await;
    assert_eq!(report.exit, Exit::Ok, "{}", report.err);
    for mark in &ended.operation.marks {
        assert!(watched.out.contains(&mark.text), "{}: {}", mark.text, watched.out);
        assert!(report.out.contains(&format!("| {} | ", mark.index)), "{}: {}", mark.text, report.out);
    }
    assert!(report.out.contains("| approved, a loss of 4h allowed | the region burns |"), "{}", report.out);
    assert!(report.out.contains("- **By what was sealed**: 2h to 3h\n"), "{}", report.out);
    let primary = ended.operation.chosen.unwrap().choice.region;
    assert_eq!(play.rows(primary.as_str()).await, Some(100), "what was not shipped is lost, as a person allowed");
    server.shutdown().await;
}
