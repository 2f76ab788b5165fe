//! Databases that another manager runs: a program of the tests' own (`tests/data/managed/manager.py`) leads a fake database by the contract of
//! `engine: exec`, with nothing under it that dies with the agent.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portolan::engine::managed::{
    Managed,
    exec::{Exec, Setup},
};
use portolan_core::{
    failover::{
        group::{Ending, HeldFor, Kind},
        lease::Class,
    },
    model::{group::Durability, time::Tick},
};

use super::{
    failover::{Play, region},
    leader::group_name,
    postgres::{Engine, Member, clock},
};
use crate::daemon::given;

/// The member's program: the manager, with what it is to know.
pub(super) fn make(member: &Member) {
    let program = member.directory.join("db");
    let manager = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/managed/manager.py");
    let text = format!(
        "#!/bin/sh\nexec python3 {} {} {} {} {} \"$1\"\n",
        manager.display(),
        env!("CARGO_BIN_EXE_portolan"),
        member.directory.display(),
        member.address(),
        member.region
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// For an agent's config.
pub(super) fn section(member: &Member) -> String {
    format!("exec: {{ hooks_dir: {}, program: db }}\n", member.directory.display())
}

pub(super) fn server(member: &Member) -> Managed<Exec> {
    let directory = member.directory.clone();
    let exec = Exec::new(Setup { directory, program: "db".to_owned(), timeout: Duration::from_secs(5), fences: true });
    Managed::new(exec, group_name(), member.region.clone())
}

/// What the machine's own service does when it boots.
pub(super) fn boot(member: &Member) {
    let done = Command::new(member.directory.join("db")).arg("boot").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Its server, if it runs.
fn process(member: &Member) -> Option<i32> {
    fs::read_to_string(member.directory.join("manager.pid")).ok()?.trim().parse().ok()
}

/// The host is gone, and with it the server.
pub(super) fn lose(member: &Member) {
    if let Some(process) = process(member) {
        // It may have ended.
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}

/// The agent's line to the cluster is cut, and nothing else: at its deadline it has the manager fence what clients write to all the while. What it
/// fenced proves nothing to others until it says so, so the group is held until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_the_manager_has_fenced_it_and_only_its_agents_word_proves_that() {
    let play = Play::begin(Engine::Managed, Durability::Async).await;
    assert_eq!(play.leader.status(&region("us")).unwrap().class, Class::Bare, "nothing dies with the agent");
    play.write("us", 1..=50, &["ap", "eu"]).await;
    let (last, last_at) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)));
    let notes = (Arc::clone(&last), Arc::clone(&last_at));
    let cut_at = {
        let member = play.member("us");
        let note = |number| {
            notes.0.store(number, SeqCst);
            notes.1.store(clock().0, SeqCst);
        };
        let cut = async {
            given("it writes", async || (last.load(SeqCst) > 60).then_some(())).await;
            play.leader.cut(&region("us"), true);
            clock()
        };
        // It ends when a write is refused.
        tokio::join!(member.keep(51..=i64::MAX, note), cut).1
    };
    let wrote_for = Tick(last_at.load(SeqCst)).since(cut_at);
    assert!(wrote_for < Duration::from_secs(6), "it wrote for {wrote_for:?} after the cut, longer than its lease of 6s");
    assert!(wrote_for > Duration::from_secs(2), "it wrote for {wrote_for:?} only: a lease is there to be used");
    given("it takes no writes", async || play.member("us").is_standby().await.filter(|it| *it)).await;

    play.decide(Kind::Failover, Some("eu"));
    let held = async || {
        let operation = play.leader.group().operation?;
        operation.held.filter(|held| held.reason == HeldFor::FenceUnproven).map(|_| ())
    };
    given("it is held: nobody knows that it is fenced", held).await;
    assert!(play.member("eu").is_standby().await.unwrap());
    play.leader.cut(&region("us"), false);
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    let kept = play.member("eu").kept().await.unwrap();
    assert!((1..=50).all(|number| kept.contains(&number)), "what standbys had is kept");
    play.write("eu", 1_000_000..=1_000_010, &["ap", "us"]).await;
}

/// The region is gone with its agent. No rung confirms, and the lease of a database that nobody supervises proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_gone_is_held_until_it_is_back_and_its_agent_fences_it() {
    let mut play = Play::begin(Engine::Managed, Durability::Async).await;
    play.write("us", 1..=20, &["ap", "eu"]).await;
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    let is_held = async || play.leader.group().operation?.held.filter(|held| held.reason == HeldFor::FenceUnproven).map(|_| ());
    given("it is held", is_held).await;
    // Its service starts it for writes: that is what an agent is there for.
    play.bring_back("us").await;
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    play.write("eu", 21..=30, &["ap", "us"]).await;
}

/// Somebody promotes a standby past its manager: its agent has it fenced, and it follows again without what it had alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_standby_that_is_promoted_by_hand_is_fenced_and_follows_again() {
    let play = Play::begin(Engine::Managed, Durability::Async).await;
    play.write("us", 1..=20, &["ap", "eu"]).await;
    play.member("eu").promote_by_hand().await;
    let is_back = async || {
        let is_standby = play.member("eu").is_standby().await?;
        let follows = play.leader.status(&region("eu"))?.follows.is_some_and(|(_, upstream)| upstream == region("us"));
        (is_standby && follows).then_some(())
    };
    given("it is a standby again", is_back).await;
    play.write("us", 21..=30, &["ap", "eu"]).await;
    let kept: Vec<i64> = (1..=30).collect();
    given("it has what the primary has", async || play.member("eu").kept().await.filter(|it| *it == kept)).await;
    assert_eq!(play.leader.group().forks, [], "nobody was granted anything");
}

/// A fence shows in what the manager says before its program has ended: what comes next waits for that, and neither kills it nor runs beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_shows_already_is_let_to_its_end() {
    let play = Play::begin(Engine::Managed, Durability::Async).await;
    play.write("us", 1..=5, &["ap", "eu"]).await;
    let eu = play.member("eu");
    let (program, inner, log) = (eu.directory.join("db"), eu.directory.join("inner"), eu.directory.join("calls"));
    let (inner_shown, log_shown) = (inner.display(), log.display());
    let probes = format!("$(grep -c '^end probe' {log_shown})");
    // After its work it stays until two looks that began since have ended: the second one was asked for by what the first one showed, or came by itself.
    let lingers = format!("seen={probes}; until [ {probes} -ge $((seen + 3)) ]; do sleep 0.01; done");
    let text = format!(
        "#!/bin/sh\necho \"begin $1\" >> {log_shown}\n{inner_shown} \"$1\" || exit\nif [ $1 = fence ]; then {lingers}; fi\necho \"end $1\" >> {log_shown}\n"
    );
    fs::copy(&program, &inner).unwrap();
    let fresh = eu.directory.join("db.new");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, &program).unwrap();

    eu.promote_by_hand().await;
    let calls = async || {
        let calls = fs::read_to_string(&log).ok()?;
        calls.contains("end rejoin").then_some(calls)
    };
    let calls = given("it follows again", calls).await;
    let calls: Vec<&str> = calls.lines().filter(|call| !call.ends_with("probe")).collect();
    assert_eq!(calls, ["begin fence", "end fence", "begin rejoin", "end rejoin"]);
}
