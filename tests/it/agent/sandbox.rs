//! Copies of real standbys that are opened apart, by agents that a leader without a network asks.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::PathBuf,
    process::Command,
};

use portolan::engine::fake;
use portolan_core::{
    failover::{
        group::Kind,
        order::{Isolate, Restore, Restored, Tried},
    },
    model::group::Durability,
};

use super::{
    failover::{Play, region},
    postgres::{Engine, Member, REGIONS, Trio, owner, tool},
};
use crate::daemon::given;

impl Member {
    /// What stands beside its directory for drills.
    pub(crate) fn sandboxes(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(".sandbox-")).collect()
    }

    /// A program of the operator beside it.
    fn put_hook(&self, name: &str, script: &str) {
        let hooks = self.directory.join("hooks");
        fs::create_dir_all(&hooks).unwrap();
        fs::write(hooks.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(hooks.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Takes a backup of that primary, and puts a program here that restores it.
    pub(crate) fn back_up(&self, primary: &Self, hook: &str) {
        let (host, port) = primary.address().split_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
        let backup = self.directory.join("backup");
        tool("pg_basebackup", &["-D", backup.to_str().unwrap(), "-h", &host, "-p", &port, "-U", "postgres", "-c", "fast"]);
        self.put_hook(hook, &format!("test $PORTOLAN_VERB = restore && cp -a {}/. $PORTOLAN_DIRECTORY", backup.display()));
    }
}

fn wanted(drill: u64, queries: &[(&str, &str)]) -> Isolate {
    let queries = queries.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    Isolate { drill, restore: None, database: Some("postgres".to_owned()), user: Some("postgres".to_owned()), queries }
}

/// Asks until it has ended.
async fn ended(play: &Play, at: &str, wanted: &Isolate) -> Result<Restored, String> {
    let look = async || match play.leader.isolate(&region(at), wanted)? {
        Tried::Busy(_) => None,
        Tried::Passed(restored) => Some(Ok(restored)),
        Tried::Failed(why) => Some(Err(why)),
    };
    given("the copy has ended", look).await
}

async fn has_heartbeat(member: &Member, engine: Engine) -> bool {
    match engine {
        Engine::Fake => match fake::Client::connect(&member.address()).await {
            Ok(mut client) => client.status().await.is_ok_and(|status| status.beat_age().is_some()),
            Err(_) => false,
        },
        _ => member.read::<i64>("select count(*) from portolan.heartbeat").await == Some(1),
    }
}

async fn a_copy_works_and_nothing_of_it_is_left(engine: Engine, queries: &[(&str, &str)], lines: &[&str]) {
    let play = Play::begin(engine, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    given("the standby has a heartbeat of the primary", async || has_heartbeat(play.member("eu"), engine).await.then_some(())).await;
    let restored = ended(&play, "eu", &wanted(7, queries)).await.unwrap();
    for text in lines {
        assert!(restored.lines.iter().any(|line| line.contains(text)), "{text} in {restored:#?}");
    }
    assert!(restored.behind.is_some_and(|behind| behind.as_secs() < 30), "{restored:#?}");
    assert_eq!(play.member("eu").sandboxes(), Vec::<PathBuf>::new());
    let all: Vec<i64> = (1..=100).collect();
    assert_eq!((play.member("eu").kept().await, play.member("eu").is_standby().await), (Some(all), Some(true)));
    let primary = ended(&play, "us", &wanted(8, queries)).await.unwrap_err();
    assert!(primary.contains("a primary is not copied"), "{primary}");
    // Whoever followed follows.
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 101..=110, &["ap", "eu"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_postgresql_works_and_nothing_of_it_is_left() {
    let all = ("all_are_there", "select count(*) = 100 from ledger");
    let shown = ["each file is as it was sent", "the copy was promoted", "all_are_there is shown", "no page failed its checksum"];
    a_copy_works_and_nothing_of_it_is_left(Engine::Postgres, &[all], &shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_fake_works_and_nothing_of_it_is_left() {
    let shown = ["octets were copied", "the copy was promoted", "each record was read again"];
    a_copy_works_and_nothing_of_it_is_left(Engine::Fake, &[], &shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_apart_and_what_is_in_it_is_told() {
    let play = Play::begin(Engine::Postgres, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    given("the standby has a heartbeat of the primary", async || has_heartbeat(play.member("eu"), Engine::Postgres).await.then_some(()))
        .await;
    play.member("eu").back_up(play.member("us"), "pg-restore");
    play.write("us", 101..=110, &["ap", "eu"]).await;
    let from_backup = |drill, hook: &str, queries: &[(&str, &str)]| {
        let restore = Restore { class: "orders_data".into(), hook: hook.into() };
        Isolate { restore: Some(restore), ..wanted(drill, queries) }
    };
    let kept = ("what_was_kept_is_there", "select count(*) = 100 from ledger");
    let restored = ended(&play, "eu", &from_backup(7, "pg-restore", &[kept])).await.unwrap();
    for text in ["each file is as it was sent", "the copy was promoted", "what_was_kept_is_there is shown", "no page failed its checksum"] {
        assert!(restored.lines.iter().any(|line| line.contains(text)), "{text} in {restored:#?}");
    }
    assert!(restored.behind.is_some(), "{restored:#?}");
    let gone = ended(&play, "eu", &from_backup(8, "gone", &[])).await.unwrap_err();
    assert!(gone.contains("put the program there"), "{gone}");
    play.member("eu").put_hook("fails", "echo no bucket >&2; exit 3");
    let failed = ended(&play, "eu", &from_backup(9, "fails", &[])).await.unwrap_err();
    assert!(failed.starts_with("run hook fails: ") && failed.ends_with(": no bucket"), "{failed}");
    // It says that it did, and did nothing.
    play.member("eu").put_hook("lies", "exit 0");
    let empty = ended(&play, "eu", &from_backup(10, "lies", &[])).await.unwrap_err();
    assert!(empty.contains("pg_controldata"), "{empty}");
    assert_eq!(play.member("eu").sandboxes(), Vec::<PathBuf>::new());
    play.is_served_by("us", &["ap", "eu"]).await;
}

/// A lost agent's copy goes first; then a decision goes before a copy that is being made; then what the plan asks is not shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_in_nobodys_way_and_what_a_lost_agent_left_goes() {
    let mut trio = Trio::of(Engine::Postgres, REGIONS);
    let eu = trio.members.get_mut(&region("eu")).unwrap();
    let gate = eu.gate_copies();
    let left = eu.directory.join(".data.sandbox-lost");
    fs::create_dir(&left).unwrap();
    let user = owner();
    chown(&left, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let mut lost = Command::new("sleep").arg("600").uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir(&left).spawn().unwrap();
    let play = Play::of(trio, Durability::Async).await;
    given("what was left is removed", async || play.member("eu").sandboxes().is_empty().then_some(())).await;
    assert!(!lost.wait().unwrap().success());
    play.write("us", 1..=100, &["ap", "eu"]).await;

    let seven = wanted(7, &[]);
    let made = Tried::Busy("a copy is made".to_owned());
    given("a copy is made", async || play.leader.isolate(&region("eu"), &seven).filter(|tried| gate.was_tried() && *tried == made)).await;
    play.decide(Kind::Switchover, Some("eu"));
    let why = ended(&play, "eu", &seven).await.unwrap_err();
    assert!(why.starts_with("it was given up: "), "{why}");
    play.is_served_by("eu", &["ap", "us"]).await;
    given("nothing of it is left", async || play.member("eu").sandboxes().is_empty().then_some(())).await;

    let wrong = wanted(8, &[("all_are_there", "select count(*) = 7 from ledger")]);
    let why = ended(&play, "us", &wrong).await.unwrap_err();
    assert_eq!(why, "all_are_there in the copy: the query says f, and `true` is wanted");
    assert_eq!(play.member("us").sandboxes(), Vec::<PathBuf>::new());
}
