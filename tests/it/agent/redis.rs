//! Members whose database is Redis, and what Sentinel's tests and users taught, shown with them.

use std::{
    fs,
    ops::RangeInclusive,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use ::redis::{AsyncCommands as _, aio::MultiplexedConnection, cmd};
use nix::sys::signal::Signal;
use portolan::engine::redis::{LINE_KEY, Setup};
use portolan_core::{
    failover::{
        engine::redis::{Info, SECTIONS},
        group::{Ending, Kind},
    },
    model::group::Durability,
};
use tokio::time::Instant;

use super::{
    failover::{Play, region},
    postgres::{Beside, Engine, Member, REGIONS, owner},
};
use crate::daemon::given;

/// The run that all first copies are of.
const FIRST_RUN: &str = "e6336b93e02b189f17407a52dea20f1df2157040";

/// A snapshot without data, with these fields before it. Zeros for a checksum mean that there is none.
pub(super) fn snapshot(fields: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let fields = fields.iter().flat_map(|(key, value)| [vec![0xFA], string(key), string(value)].concat());
    b"REDIS0010".iter().copied().chain(fields).chain([0xFF]).chain([0; 8]).collect()
}

/// An empty database of that run, as it was stopped; copies are equal to the last octet.
pub(super) fn make(member: &Member, is_primary: bool) {
    let (data, logs) = (member.data(), member.data().join("appendonlydir"));
    fs::create_dir_all(&logs).unwrap();
    let first = [("repl-stream-db", "0"), ("repl-id", FIRST_RUN), ("repl-offset", "1000")];
    fs::write(data.join("dump.rdb"), snapshot(&first)).unwrap();
    fs::write(logs.join("appendonly.aof.1.base.rdb"), snapshot(&[])).unwrap();
    fs::write(logs.join("appendonly.aof.1.incr.aof"), "").unwrap();
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(logs.join("appendonly.aof.manifest"), manifest).unwrap();
    if !is_primary {
        fs::write(data.join("portolan.conf"), "replicaof 127.0.0.1 0\n").unwrap();
    }
    // With `everysec` what is acknowledged while an earlier fsync is under way may be in no file yet when it is killed.
    let config = format!(
        "bind 127.0.0.1\nport {}\nprotected-mode no\nsave \"\"\nappendonly yes\nappendfsync always\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n",
        member.port
    );
    fs::write(member.directory.join("redis.conf"), config).unwrap();
    let inside = fs::read_dir(&logs).unwrap().chain(fs::read_dir(&data).unwrap()).map(|entry| entry.unwrap().path());
    for path in inside.chain([data]) {
        chown(path, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
    }
    member.write_config(&[]);
}

/// Of the agent's config.
pub(super) fn section(member: &Member) -> String {
    let directory = member.directory.display();
    format!("redis: {{ config: {directory}/redis.conf, directory: {directory}/data, address: \"127.0.0.1:{}\" }}\n", member.port)
}

pub(super) fn setup(member: &Member) -> Setup {
    Setup {
        region: member.region.clone(),
        config: member.directory.join("redis.conf"),
        arguments: Vec::new(),
        directory: member.data(),
        address: ("127.0.0.1".to_owned(), member.port),
        login: None,
        owner: member.owner_of_files(),
        evidence: member.directory.join("agent/evidence"),
    }
}

async fn client(member: &Member) -> Option<MultiplexedConnection> {
    let client = ::redis::Client::open(format!("redis://{}", member.address())).unwrap();
    client.get_multiplexed_async_connection().await.ok()
}

pub(super) async fn keep(member: &Member, numbers: RangeInclusive<i64>, mut acknowledged: impl FnMut(i64)) {
    let mut client = client(member).await.unwrap();
    for number in numbers {
        if client.rpush::<_, _, i64>("ledger", number).await.is_err() {
            return;
        }
        acknowledged(number);
    }
}

pub(super) async fn kept(member: &Member) -> Option<Vec<i64>> {
    client(member).await?.lrange("ledger", 0, -1).await.ok()
}

pub(super) async fn is_replica(member: &Member) -> Option<bool> {
    let info: String = cmd("INFO").arg(&SECTIONS).query_async(&mut client(member).await?).await.ok()?;
    Some(Info::parse(&info).unwrap().is_replica)
}

pub(super) async fn promote(member: &Member) {
    let mut client = client(member).await.unwrap();
    let _: Result<(), _> = cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut client).await;
}

/// Its replicas are not let in any more.
pub(super) async fn ship_nothing(member: &Member) {
    let mut client = client(member).await.unwrap();
    cmd("ACL").arg("SETUSER").arg("default").arg("-psync").arg("-sync").query_async::<()>(&mut client).await.unwrap();
    cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica").query_async::<i64>(&mut client).await.unwrap();
}

/// The append-only files in these folders.
pub(super) fn logs_put_aside(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let files = folders.flat_map(|folder| fs::read_dir(folder.join("appendonlydir")).into_iter().flatten().flatten());
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "aof")).collect()
}

/// It says that it is somebody else when it connects to its primary, which does not know that one; `None`: it does so no more.
async fn estrange(member: &Member, from: Option<&Member>) {
    let mut own = client(member).await.unwrap();
    let (user, password) = if from.is_some() { ("stranger", "none") } else { ("", "") };
    for (name, value) in [("masteruser", user), ("masterauth", password)] {
        cmd("CONFIG").arg("SET").arg(name).arg(value).query_async::<()>(&mut own).await.unwrap();
    }
    if let Some(from) = from {
        let mut there = client(from).await.unwrap();
        cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica").query_async::<i64>(&mut there).await.unwrap();
    }
}

/// It takes no writes while fewer follow, and who was silent for two seconds does not.
async fn set_floor(member: &Member, replicas: u16) {
    let mut own = client(member).await.unwrap();
    for (name, value) in [("min-replicas-to-write", replicas), ("min-replicas-max-lag", 2)] {
        cmd("CONFIG").arg("SET").arg(name).arg(value).query_async::<()>(&mut own).await.unwrap();
    }
}

async fn floor(member: &Member) -> Option<String> {
    let got: Vec<String> = cmd("CONFIG").arg("GET").arg("min-replicas-to-write").query_async(&mut client(member).await?).await.ok()?;
    got.get(1).cloned()
}

fn numbers(range: RangeInclusive<i64>) -> Vec<i64> {
    range.collect()
}

/// Sentinel 05 and 10: among replicas, who received most.
#[tokio::test]
async fn the_replica_that_received_most_is_promoted_and_the_other_one_follows_it() {
    let mut play = Play::begin(Engine::Redis, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    // By name it would be preferred.
    estrange(play.member("ap"), Some(play.member("us"))).await;
    play.write("us", 101..=150, &["eu"]).await;
    assert_eq!(play.last("ap").await, Some(Some(100)));
    play.lose("us");
    play.decide(Kind::Failover, None);
    given("eu leads", async || play.leader.group().in_force().filter(|grant| grant.region == region("eu")).map(|_| ())).await;
    estrange(play.member("ap"), None).await;
    play.is_served_by("eu", &["ap"]).await;
    for name in ["eu", "ap"] {
        given("it has everything", async || play.member(name).kept().await.filter(|it| *it == numbers(1..=150))).await;
    }
}

/// Sentinel 02 and 04, its documentation of persistence, and issue 2988: a primary that is up again before anybody has noticed.
#[tokio::test]
async fn a_primary_that_is_killed_comes_back_with_everything_that_it_acknowledged() {
    let play = Play::begin(Engine::Redis, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.member("us").signal(Beside::Database, Signal::SIGKILL);
    given("it was started again", async || play.member("us").supervised().await.filter(|it| it.starts > 1)).await;
    given("it takes writes again", async || play.member("us").is_standby().await.filter(|it| !it)).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 101..=110, &["ap", "eu"]).await;
    for name in ["us", "eu", "ap"] {
        assert_eq!(play.member(name).kept().await, Some(numbers(1..=110)), "{name}");
    }
    assert_eq!(play.leader.group().forks, [], "nobody was granted anything");
}

/// The same, and its files are gone: with Sentinel its replicas take over that it has nothing.
#[tokio::test]
async fn a_primary_that_comes_back_without_its_data_is_not_promoted_and_its_replicas_keep_theirs() {
    let mut play = Play::begin(Engine::Redis, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    let us = play.member("us");
    // It reads this one the next time.
    let logs = us.data().join("appendonlydir");
    let empty = |path: &Path| fs::write(path, "").unwrap();
    let increments = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path());
    increments.filter(|path| path.to_str().unwrap().ends_with(".incr.aof")).for_each(|path| empty(&path));
    let base = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.to_str().unwrap().ends_with(".base.rdb"));
    fs::write(base.unwrap(), snapshot(&[])).unwrap();
    us.signal(Beside::Database, Signal::SIGKILL);
    let refuses = async || {
        let trouble = play.leader.status(&region("us"))?.trouble?;
        trouble.contains("without its data").then_some(())
    };
    given("its agent says why it is not the primary", refuses).await;
    assert_eq!(us.is_standby().await, Some(true));
    for name in ["eu", "ap"] {
        assert_eq!(play.member(name).kept().await, Some(numbers(1..=100)), "{name}");
    }
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    play.is_served_by("eu", &["ap"]).await;
    assert_eq!(play.member("eu").kept().await, Some(numbers(1..=100)));
}

/// Aphyr's test of 2013: a counter that clients count up on both sides of a cut. With Sentinel 56 % of what was acknowledged was lost.
#[tokio::test]
async fn of_what_is_acknowledged_on_the_wrong_side_of_a_cut_all_is_kept_as_evidence_and_nothing_is_after_the_fence() {
    let play = Play::begin(Engine::Redis, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    // Nobody hears of it any more but the clients on its side.
    play.member("us").hang_shipping().await;
    play.leader.cut(&region("us"), true);
    play.decide(Kind::Failover, Some("eu"));
    let acknowledged = Arc::new(AtomicI64::new(100));
    let us = play.member("us");
    let writing = async {
        us.keep(101..=i64::MAX, |number| acknowledged.store(number, SeqCst)).await;
        Instant::now()
    };
    let opening = async {
        given("eu takes writes", async || play.member("eu").is_standby().await.filter(|it| !it)).await;
        Instant::now()
    };
    let (ended, opened) = tokio::join!(writing, opening);
    assert!(ended <= opened, "it acknowledged something when the other one took writes");
    let acknowledged = acknowledged.load(SeqCst);
    assert!(acknowledged > 100, "nothing was written on that side");
    play.is_served_by("eu", &["ap"]).await;
    play.ended(Ending::Succeeded).await;
    assert_eq!(play.member("eu").kept().await, Some(numbers(1..=100)));
    play.write("eu", 1_000_001..=1_000_010, &["ap"]).await;
    play.leader.cut(&region("us"), false);
    play.is_served_by("eu", &["ap", "us"]).await;
    let kept = numbers(1..=100).into_iter().chain(1_000_001..=1_000_010).collect::<Vec<i64>>();
    given("it has what the primary has", async || play.member("us").kept().await.filter(|it| *it == kept)).await;
    let aside = play.member("us").commits_put_aside();
    assert!(aside >= usize::try_from(acknowledged).unwrap(), "{aside} are put aside, and {acknowledged} were acknowledged");
}

/// What stands in the database is what the group was told.
#[tokio::test]
async fn each_opening_is_written_into_the_database_and_reaches_its_replicas() {
    let play = Play::begin(Engine::Redis, Durability::Async).await;
    let line = async |name: &str| client(play.member(name)).await?.get::<_, Option<String>>(LINE_KEY).await.ok().flatten();
    let openings = async |name: &str| Some(line(name).await?.matches("\"token\"").count());
    assert_eq!(openings("us").await, Some(1));
    play.decide(Kind::Switchover, Some("eu"));
    play.is_served_by("eu", &["ap", "us"]).await;
    for name in ["us", "eu", "ap"] {
        given("both openings stand there", async || openings(name).await.filter(|it| *it == 2)).await;
    }
    let text = line("eu").await.unwrap();
    let fork = play.leader.group().forks.last().copied().unwrap();
    assert!(
        text.contains(&format!("\"timeline\":{}", fork.timeline)) && text.contains(&format!("\"forked\":{}", fork.at)),
        "{fork:?} {text}"
    );
}

/// The fence that needs no agent, where the operator asks for it: whoever is heard by no other region takes no writes.
#[tokio::test]
async fn a_primary_that_nobody_hears_refuses_writes_and_one_that_is_promoted_takes_them_until_somebody_follows() {
    let mut play = Play::begin(Engine::Redis, Durability::Async).await;
    let amiss = async |at: &str, what: &str| {
        let concerns = play.leader.status(&region(at))?.concerns?;
        let is_so = if what.is_empty() { concerns.is_empty() } else { concerns.iter().any(|it| it.text.contains(what)) };
        is_so.then_some(())
    };
    given("it says what it costs not to have it", async || amiss("us", "min-replicas-to-write is 0: while it is cut off").await).await;
    for name in REGIONS {
        set_floor(play.member(name), 1).await;
    }
    given("nothing is amiss", async || amiss("us", "").await).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;

    // Both others hear nothing, and nothing is closed.
    for name in ["ap", "eu"] {
        play.member(name).signal(Beside::Database, Signal::SIGSTOP);
    }
    let (began, mut last) = (Instant::now(), 100);
    play.member("us").keep(101..=i64::MAX, |number| last = number).await;
    let took = began.elapsed();
    let mut us = client(play.member("us")).await.unwrap();
    let refused = us.rpush::<_, _, i64>("ledger", 0).await.unwrap_err().to_string();
    assert!(refused.contains("NOREPLICAS"), "{refused}");
    assert!(last > 100 && took < Duration::from_secs(10), "it took writes up to {last}, for {took:?}");
    assert_eq!(play.member("us").is_standby().await, Some(false), "its lease has not ended it");
    for name in ["ap", "eu"] {
        play.member(name).signal(Beside::Database, Signal::SIGCONT);
    }
    given("they have everything", async || play.last("eu").await.filter(|it| *it == Some(last))).await;
    given("it takes writes again", async || us.rpush::<_, _, i64>("ledger", last + 1).await.ok()).await;
    given("that is shipped, too", async || play.last("eu").await.filter(|it| *it == Some(last + 1))).await;

    // Nobody is left to follow: the new primary is no use if it waits for that.
    play.lose("ap");
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    play.is_served_by("eu", &[]).await;
    play.write("eu", last + 2..=last + 10, &[]).await;
    assert_eq!(play.member("eu").kept().await, Some(numbers(1..=last + 10)), "what was acknowledged is there");
    let amiss = async |what: &str| play.leader.status(&region("eu"))?.concerns?.iter().any(|it| it.text.contains(what)).then_some(());
    given("its agent says so", async || amiss("it takes writes alone").await).await;
    play.bring_back("ap").await;
    play.is_served_by("eu", &["ap"]).await;
    given("its floor is what it was", async || floor(play.member("eu")).await.filter(|it| it == "1")).await;
    play.write("eu", last + 11..=last + 20, &["ap"]).await;
}
