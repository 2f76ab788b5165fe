//! The supervisor as a process of its own, over programs that would rather live on: whatever of it is killed or stopped, nothing outlives it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use portolan::agent::supervisor::{Link, LinkError, Manner, State, Verb};
use tempfile::TempDir;

use super::postgres::clock;
use crate::daemon::given;

/// A supervisor over a shell script in the place of `postgres`.
struct Stage {
    directory: TempDir,
    supervisor: Child,
}

/// Ignores what asks it to stop, and so does its child in a session of its own; the child's mark is its argument list.
const STUBBORN: &str = "#!/bin/sh\ntrap '' INT QUIT TERM\nsetsid sh -c 'trap \"\" INT QUIT TERM; while :; do sleep 0.1; done' \"$2\" &\nwhile :; do sleep 0.1; done\n";

/// Ends cleanly when it is asked to; its child does not.
const POLITE: &str = "#!/bin/sh\ntrap 'exit 0' INT\nsetsid sh -c 'trap \"\" INT QUIT TERM; while :; do sleep 0.1; done' \"$2\" &\nwhile :; do sleep 0.1; done\n";

impl Stage {
    fn start(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (bin, data) = (directory.path().join("bin"), directory.path().join("data"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&data).unwrap();
        let program = bin.join("postgres");
        fs::write(&program, script).unwrap();
        let mut to_run = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut to_run, 0o755);
        fs::set_permissions(&program, to_run).unwrap();
        let user = User::from_uid(geteuid()).unwrap().unwrap().name;
        let config = format!(
            "version: 1\nagent: x\nvoters: [{{ node: x, address: 127.0.0.1:1 }}]\ndata_dir: {0}/agent\nsecrets_dir: {0}\nsocket: {0}/sock\nuser: {user}\npostgresql: {{ bin_dir: {0}/bin, data_directory: {0}/data, dsn: x, replication: x }}\n",
            directory.path().display()
        );
        fs::write(directory.path().join("agent.yaml"), config).unwrap();
        // As a script in the background starts it, or nohup: what is ignored stays so in everything that it starts, unless it sees to it.
        let supervisor = Command::new("sh")
            .args(["-c", "trap '' HUP INT QUIT TERM; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_portolan"), "supervise", "--config"])
            .arg(directory.path().join("agent.yaml"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { directory, supervisor }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn link(&self) -> Link {
        let socket = self.path("sock");
        given("the supervisor listens", async || Link::connect(&socket).await.ok()).await
    }

    /// Processes that carry the data directory in their command line, the supervisor and its inner part not counted.
    fn living(&self) -> Vec<i32> {
        with_argument(&self.path("data"))
    }

    fn vessel(&self) -> Pid {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.supervisor.id())).unwrap();
        Pid::from_raw(children.trim().parse().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.supervisor.id()).unwrap())
    }

    async fn nothing_lives(&self) {
        given("nothing of the database lives", async || self.living().is_empty().then_some(())).await;
    }

    /// Main process and its child are there.
    async fn both_live(&self) {
        given("the database and its child live", async || (self.living().len() == 2).then_some(())).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn with_argument(argument: &Path) -> Vec<i32> {
    let wanted = argument.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has = |process: &i32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let is_dead = state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
        !is_dead && line.split(|octet| *octet == 0).any(|it| it == wanted.as_bytes())
    };
    processes.filter(has).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

fn now() -> u64 {
    clock().0
}

/// So long from now, and over so long after.
fn arm(until: Duration, over: Duration) -> Verb {
    let kill_at = now() + micros(until);
    Verb::Arm { kill_at, over_at: kill_at + micros(over) }
}

fn mark(stage: &Stage) {
    fs::write(stage.path("data").join("standby.signal"), "").unwrap();
}

#[tokio::test]
async fn what_would_take_writes_starts_under_a_deadline_only_and_all_of_it_dies_at_it() {
    let stage = Stage::start(STUBBORN);
    let mut link = stage.link().await;
    let Err(LinkError::Refused(why)) = link.ask(Verb::Start).await else { panic!("it starts without a deadline") };
    assert!(why.contains("no lease is running"), "{why}");
    let armed = link.ask(arm(Duration::from_millis(1500), Duration::from_secs(20))).await.unwrap();
    assert!(armed.kill_at.is_some());
    let started = link.ask(Verb::Start).await.unwrap();
    assert!(started.process.is_some() && started.incarnation != 0, "{started:?}");
    stage.both_live().await;
    stage.nothing_lives().await;
    assert!(now() >= armed.kill_at.unwrap(), "not before its time");
    let State { process, kill_at, ended, .. } = link.ask(Verb::Status).await.unwrap();
    assert_eq!((process, kill_at, ended.as_deref()), (None, None, Some("killed at the end of its lease")));
    let late = Verb::Arm { kill_at: now() - 1, over_at: now() + 1_000_000 };
    assert!(matches!(link.ask(late).await, Err(LinkError::Refused(_))));
}

#[tokio::test]
async fn a_standby_needs_no_deadline_and_a_stop_is_told_when_nothing_is_left() {
    let stage = Stage::start(POLITE);
    mark(&stage);
    let mut link = stage.link().await;
    link.ask(Verb::Start).await.unwrap();
    assert!(matches!(link.ask(Verb::Start).await, Err(LinkError::Refused(_))), "it runs already");
    stage.both_live().await;
    link.ask(Verb::Stop(Manner::Fast)).await.unwrap();
    let ended = given("it has ended", async || link.ask(Verb::Status).await.unwrap().ended).await;
    assert_eq!((ended.as_str(), stage.living()), ("ended by itself", vec![]), "its child, too");
    link.ask(Verb::Start).await.unwrap();
    stage.both_live().await;
    let killed = link.ask(Verb::Kill).await.unwrap();
    assert_eq!((killed.process, killed.starts, stage.living()), (None, 2, vec![]));
}

#[tokio::test]
async fn nothing_outlives_the_main_process_the_vessel_or_the_supervisor() {
    let stage = Stage::start(STUBBORN);
    mark(&stage);
    let mut link = stage.link().await;
    link.ask(Verb::Start).await.unwrap();
    stage.both_live().await;
    let main = *stage.living().iter().min().unwrap();
    kill(Pid::from_raw(main), Signal::SIGKILL).unwrap();
    let ended = given("it is told", async || link.ask(Verb::Status).await.unwrap().ended).await;
    assert_eq!((ended.as_str(), stage.living()), ("ended by SIGKILL", vec![]));

    link.ask(Verb::Start).await.unwrap();
    stage.both_live().await;
    kill(stage.vessel(), Signal::SIGKILL).unwrap();
    stage.nothing_lives().await;

    let stage = Stage::start(STUBBORN);
    mark(&stage);
    stage.link().await.ask(Verb::Start).await.unwrap();
    stage.both_live().await;
    kill(stage.pid(), Signal::SIGKILL).unwrap();
    stage.nothing_lives().await;
}

#[tokio::test]
async fn the_deadline_is_kept_while_the_supervisor_or_the_vessel_is_stopped() {
    for stops_vessel in [false, true] {
        let stage = Stage::start(STUBBORN);
        let mut link = stage.link().await;
        let armed = link.ask(arm(Duration::from_secs(2), Duration::from_secs(2))).await.unwrap();
        link.ask(Verb::Start).await.unwrap();
        stage.both_live().await;
        let stopped = if stops_vessel { stage.vessel() } else { stage.pid() };
        kill(stopped, Signal::SIGSTOP).unwrap();
        stage.nothing_lives().await;
        assert!(now() >= armed.kill_at.unwrap() && now() < armed.over_at.unwrap(), "{stops_vessel}");
        if !stops_vessel {
            kill(stopped, Signal::SIGCONT).unwrap();
            assert_eq!(link.ask(Verb::Status).await.unwrap().process, None);
        }
    }
}

#[tokio::test]
async fn one_that_is_told_to_end_stops_the_database_first_and_a_second_one_is_refused() {
    let mut stage = Stage::start(POLITE);
    mark(&stage);
    stage.link().await.ask(Verb::Start).await.unwrap();
    stage.both_live().await;
    let second =
        Command::new(env!("CARGO_BIN_EXE_portolan")).args(["supervise", "--config"]).arg(stage.path("agent.yaml")).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.code() == Some(1) && said.contains("another supervisor runs there"), "{said}");
    kill(stage.pid(), Signal::SIGTERM).unwrap();
    assert!(stage.supervisor.wait().unwrap().success());
    assert_eq!((stage.living(), stage.path("sock").exists()), (vec![], false));
}
