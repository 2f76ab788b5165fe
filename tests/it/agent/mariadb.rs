//! MariaDB for the tests: members that are real servers, and what is special of them.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use portolan::engine::{
    Server as _,
    mariadb::{self, Mariadb},
    postgres::ConnInfo,
};
use portolan_core::{
    failover::{
        agent::{Database, Work},
        engine::{
            Course as _, Next,
            mariadb::{Course, Process, facts},
        },
        group::{Ending, Kind},
        token::Token,
    },
    model::{group::Durability, ids::Label},
};
use tokio::{net::TcpStream, sync::watch};

use super::{
    failover::{Play, region},
    postgres::{Engine, Member, owner},
};
use crate::daemon::given;

/// What a standby adds to its primary's address.
pub(super) const REPLICATION: &str = "user=replication password=r sslmode=disable";

const PROGRAM: &str = "/usr/sbin/mariadbd";
const LOG_BIN: &str = "mariadb-bin";

/// The accounts that `portolan::engine::mariadb` asks for, with no more than it says, and the application's.
const ACCOUNTS: &str = "create user agent@localhost identified by 'it''s'; \
    grant read_only admin, replication slave admin, replica monitor, binlog admin, process, reload on *.* to agent@localhost; \
    grant all on portolan.* to agent@localhost; \
    create user replication@'%' identified by 'r'; grant replication slave on *.* to replication@'%'; grant select on portolan.* to replication@'%'; \
    create user app@'%' identified by 'a'; create database app; grant all on app.* to app@'%'; \
    create table app.ledger (id bigint primary key)";

/// The way to a member that others take: a relay, which can be held up.
pub(crate) struct Way {
    pub(super) port: u16,
    held: watch::Sender<bool>,
}

impl Way {
    fn to(port: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = listener.local_addr().unwrap().port();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (held, is_held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let mut is_held = is_held.clone();
                tokio::spawn(async move {
                    let (mut from, Ok(mut to)) = (from, TcpStream::connect(("127.0.0.1", port)).await) else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => return,
                        () = async { is_held.wait_for(|is_held| *is_held).await.map(drop).unwrap_or_default() } => {}
                    }
                    // The connections stand, and nothing comes.
                    is_held.wait_for(|is_held| !is_held).await.map(drop).unwrap_or_default();
                });
            }
        });
        Self { port: own, held }
    }

    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }

    fn release(&self) {
        self.held.send_replace(false);
    }
}

fn as_owner(command: &mut Command) {
    if geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(command, owner().uid.as_raw());
        std::os::unix::process::CommandExt::gid(command, owner().gid.as_raw());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
}

fn option_file(member: &Member) -> PathBuf {
    member.directory.join("my.cnf")
}

fn arguments(member: &Member) -> Vec<String> {
    mariadb::arguments(&option_file(member), &member.data(), LOG_BIN, 0)
}

/// Starts it with nothing beside it, and waits until root may come in over its socket.
async fn start_alone(member: &Member) -> (Child, Conn) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments(member)).stderr(fs::File::create(member.directory.join("alone.log")).unwrap());
    as_owner(&mut command);
    let child = command.spawn().unwrap();
    let conn = given("MariaDB listens", async || connect(member, "root", "").await).await;
    (child, conn)
}

fn stop_alone(mut child: Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}

async fn connect(member: &Member, user: &str, password: &str) -> Option<Conn> {
    let socket = member.directory.join("mysql.sock").to_str().unwrap().to_owned();
    let options = OptsBuilder::default().user(Some(user)).pass(Some(password)).socket(Some(socket)).prefer_socket(false);
    tokio::time::timeout(Duration::from_secs(2), Conn::new(options)).await.ok()?.ok()
}

async fn agent(member: &Member) -> Option<Conn> {
    connect(member, "agent", "it's").await
}

async fn client(member: &Member) -> Option<Conn> {
    connect(member, "app", "a").await
}

/// Copies that are equal, and nothing runs. The primary follows nobody, and the others it.
pub(super) fn make(members: &mut BTreeMap<Label, Member>, primary: &str) {
    for (number, member) in (1..).zip(members.values_mut()) {
        member.way = Some(Way::to(member.port));
        let options = format!(
            "[mariadbd]\nserver_id={number}\nport={}\nbind_address=127.0.0.1\nsocket={2}/mysql.sock\ntmpdir={2}\npid_file={2}/mysql.pid\n\
             innodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\nskip_name_resolve\nrelay_log=relay\n!include {1}\n",
            member.port,
            Mariadb::mark_in(&member.data()).display(),
            member.directory.display(),
        );
        fs::write(option_file(member), options).unwrap();
        member.write_config(&[]);
    }
    let members = &*members;
    let first = &members[&Label::new(primary)];
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
    // A server that starts clears away what others have in the place of temporary files.
    install.arg(format!("--datadir={}", first.data().display())).arg(format!("--tmpdir={}", first.directory.display()));
    as_owner(&mut install);
    assert!(install.status().expect("MariaDB is installed: make setup").success());
    let prepare = async {
        let (child, mut conn) = start_alone(first).await;
        for sql in ACCOUNTS.split("; ") {
            conn.query_drop(sql).await.unwrap();
        }
        stop_alone(child);
        for member in members.values().filter(|member| member.region.as_str() != primary) {
            assert!(Command::new("cp").arg("-a").arg(first.data()).arg(member.data()).status().unwrap().success());
            let (child, mut conn) = start_alone(member).await;
            let way = first.way.as_ref().unwrap().port;
            conn.query_drop("set global gtid_slave_pos = @@global.gtid_binlog_pos").await.unwrap();
            let follow = format!(
                "change master to master_host = '127.0.0.1', master_port = {way}, master_user = 'replication', master_password = 'r', \
                 master_use_gtid = slave_pos"
            );
            conn.query_drop(follow).await.unwrap();
            stop_alone(child);
        }
    };
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(prepare));
}

/// The section of the agent's config.
pub(super) fn config(member: &Member) -> String {
    format!(
        "mariadb: {{ data_directory: {}, option_file: {}, dsn: local, replication: replication }}\n",
        member.data().display(),
        option_file(member).display()
    )
}

pub(super) fn own(member: &Member) -> String {
    format!("host={}/mysql.sock user=agent password='it\\'s'", member.directory.display())
}

fn setup(member: &Member) -> mariadb::Setup {
    mariadb::Setup {
        region: member.region.clone(),
        system: 7,
        program: PROGRAM.into(),
        bin_dir: "/usr/bin".into(),
        arguments: arguments(member),
        data_directory: member.data(),
        log_bin: LOG_BIN.to_owned(),
        domain: 0,
        owner: member.owner_of_files(),
        own: ConnInfo::parse(&own(member)).unwrap(),
        replication: ConnInfo::parse(REPLICATION).unwrap(),
        evidence: member.directory.join("agent/evidence"),
    }
}

pub(super) fn server(member: &Member) -> Mariadb {
    Mariadb::new(setup(member))
}

pub(super) async fn keep(member: &Member, numbers: std::ops::RangeInclusive<i64>, mut acknowledged: impl FnMut(i64)) {
    let mut conn = client(member).await.unwrap();
    for number in numbers {
        if conn.exec_drop("insert into app.ledger values (?)", (number,)).await.is_err() {
            return;
        }
        acknowledged(number);
    }
}

pub(super) async fn kept(member: &Member) -> Option<Vec<i64>> {
    client(member).await?.query("select id from app.ledger order by id").await.ok()
}

pub(super) async fn is_standby(member: &Member) -> Option<bool> {
    client(member).await?.query_first("select @@global.read_only").await.ok()?
}

/// By somebody who may, behind everybody's back; the answer may be lost with the server.
pub(super) async fn promote(member: &Member) {
    let mut conn = agent(member).await.unwrap();
    for sql in ["stop slave", "reset slave all", "set global read_only = OFF"] {
        let _ = conn.query_drop(sql).await;
    }
}

/// What its agent says is wrong.
fn trouble(play: &Play, at: &str) -> Option<String> {
    play.leader.status(&region(at))?.trouble
}

async fn is_to_be_cloned(play: &Play, at: &str) -> String {
    given("a new copy is asked for", async || trouble(play, at).filter(|why| why.starts_with("RECLONE_REQUIRED"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_had_what_nobody_else_has_is_condemned_and_what_it_had_is_kept() {
    let mut play = Play::begin(Engine::Mariadb, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.member("us").hang_shipping().await;
    play.write("us", 101..=107, &[]).await;
    play.lose("us");
    play.member("us").way.as_ref().unwrap().release();
    play.decide(Kind::Failover, None);
    play.ended(Ending::Succeeded).await;
    let primary = play.leader.group().primary().unwrap().to_string();
    let other = if primary == "eu" { "ap" } else { "eu" };
    play.is_served_by(&primary, &[other]).await;
    play.write(&primary, 201..=210, &[other]).await;

    play.bring_back("us").await;
    let why = is_to_be_cloned(&play, "us").await;
    assert!(why.contains(&format!("that {primary} does not have")) && why.contains("timeline-1-from-"), "{why}");
    assert_eq!(play.member("us").commits_put_aside(), 7, "what was lost is kept, and nothing else");
    given("nothing runs", async || play.member("us").supervised().await.filter(|it| it.process.is_none())).await;
    assert_eq!(play.last(&primary).await, Some(Some(210)));

    // A person makes a new copy: of the other standby, which is stopped for it.
    play.lose(other);
    play.lose("us");
    let (from, to) = (play.member(other).data(), play.member("us").data());
    fs::remove_dir_all(&to).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    play.bring_back(other).await;
    play.bring_back("us").await;
    play.is_served_by(&primary, &[other, "us"]).await;
    let kept: Vec<i64> = (1..=100).chain(201..=210).collect();
    given("it has what the primary has", async || play.member("us").kept().await.filter(|it| *it == kept)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_written_to_is_condemned_when_that_shows() {
    let play = Play::begin(Engine::Mariadb, Durability::Async).await;
    play.write("us", 1..=10, &["ap", "eu"]).await;
    let mut conn = agent(play.member("eu")).await.unwrap();
    conn.query_drop("create table portolan.errant (id int primary key)").await.unwrap();
    play.write("us", 11..=20, &["ap"]).await;
    let why = is_to_be_cloned(&play, "eu").await;
    assert!(why.contains("transactions of its own behind"), "{why}");
    play.is_served_by("us", &["ap"]).await;
    assert_eq!(play.member("eu").commits_put_aside(), 1);
}

/// One server with nothing beside it but what looks at it.
pub(crate) struct Alone {
    trio: super::postgres::Trio,
    child: Option<Child>,
}

impl Alone {
    async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// With these options, given its directory.
    pub(crate) async fn start_with(options: impl FnOnce(&Path) -> String) -> Self {
        let trio = super::postgres::Trio::of(Engine::Mariadb, super::postgres::REGIONS);
        let member = &trio.members[&region("us")];
        let text = fs::read_to_string(option_file(member)).unwrap();
        fs::write(option_file(member), text.replace("!include", &format!("{}!include", options(&member.directory)))).unwrap();
        fs::write(Mariadb::mark_in(&member.data()), "[mariadbd]\nread_only=ON\nevent_scheduler=OFF\n").unwrap();
        let (child, _) = start_alone(member).await;
        Self { trio, child: Some(child) }
    }

    fn member(&self) -> &Member {
        &self.trio.members[&region("us")]
    }

    /// Where it listens, and where nobody does.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let of = |at: &str| self.trio.members[&region(at)].address().parse().unwrap();
        (of("us"), of("eu"))
    }

    pub(crate) fn server(&self) -> Mariadb {
        server(self.member())
    }

    /// A connection of its agent.
    pub(crate) async fn agent(&self) -> Conn {
        agent(self.member()).await.unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.as_ref().unwrap().id()).unwrap()), signal).unwrap();
    }

    fn stop(&mut self) {
        stop_alone(self.child.take().unwrap());
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What an agent that is to promote it would do next; the supervisor is one that started it.
async fn next(server: &Mariadb, work: Work) -> Next<mariadb::Verb> {
    let seen = server.look(Some((1, true))).await.unwrap();
    Course::new(work, Token { generation: 1, epoch: 9 }, 0).next(&seen, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_is_not_led_with_is_said_with_the_setting_and_its_mending() {
    let alone = Alone::start().await;
    let mut root = connect(alone.member(), "root", "").await.unwrap();
    let server = server(alone.member());
    assert!(matches!(next(&server, Work::Promote).await, Next::Do(mariadb::Verb::Open { timeline: None, .. })));
    for (wrong, right, says) in [
        ("gtid_strict_mode = OFF", "gtid_strict_mode = ON", "gtid_strict_mode is OFF"),
        ("sync_binlog = 0", "sync_binlog = 1", "SET GLOBAL sync_binlog = 1"),
        ("innodb_flush_log_at_trx_commit = 2", "innodb_flush_log_at_trx_commit = 1", "innodb_flush_log_at_trx_commit is not 1"),
        ("gtid_domain_id = 5", "gtid_domain_id = 0", "gtid_domain_id is 5, and the group's domain is 0"),
        ("rpl_semi_sync_master_enabled = ON", "rpl_semi_sync_master_enabled = OFF", "rpl_semi_sync_master_enabled is ON"),
    ] {
        root.query_drop(format!("set global {wrong}")).await.unwrap();
        let refused = next(&server, Work::Promote).await;
        assert!(matches!(&refused, Next::Fail(why) if why.contains(says)), "{wrong}: {refused:?}");
        root.query_drop(format!("set global {right}")).await.unwrap();
    }
    root.query_drop("set session gtid_domain_id = 3").await.unwrap();
    root.query_drop("create database other").await.unwrap();
    let refused = next(&server, Work::Promote).await;
    assert!(matches!(&refused, Next::Fail(why) if why.contains("domain 3 has transactions, and the group's is 0")), "{refused:?}");
    let seen = server.look(Some((1, true))).await.unwrap();
    assert_eq!(facts(&seen, &region("us"), Some(1)).copy, None, "it is no candidate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_without_it_and_a_server_of_somebody_else_is_seen_without_one() {
    let mut alone = Alone::start().await;
    let wrong = ConnInfo::parse(&own(alone.member())).unwrap().with("password", "not-this-one");
    let stranger = Mariadb::new(mariadb::Setup { own: wrong, ..setup(alone.member()) });
    let seen = stranger.look(Some((1, true))).await.unwrap();
    let why = seen.silence.clone().unwrap();
    assert!(why.contains("error 1045, Access denied for user 'agent'") && !why.contains("not-this-one"), "{why}");
    assert_eq!(facts(&seen, &region("us"), None).database, Database::Unknown);
    assert_eq!(stranger.look(Some((1, false))).await.unwrap().process, Process::Foreign, "it holds the directory");
    alone.stop();
    let seen = stranger.look(Some((1, false))).await.unwrap();
    assert_eq!((seen.process, seen.silence.as_ref()), (Process::Down, None));
    let stopped = facts(&seen, &region("us"), None).stopped.unwrap();
    assert!(stopped.position > 5, "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_not_started_whose_options_would_not_take_the_mark() {
    let trio = super::postgres::Trio::of(Engine::Mariadb, super::postgres::REGIONS);
    let member = &trio.members[&region("eu")];
    let server = server(member);
    let missing = server.prepare().await.unwrap_err().0;
    assert!(missing.contains("would start without read_only=ON") && missing.contains("!include"), "{missing}");
    server.act(&mariadb::Verb::Mark).await.unwrap();
    server.prepare().await.unwrap();
    let text = fs::read_to_string(option_file(member)).unwrap();
    fs::write(option_file(member), format!("{text}[mariadbd]\nread_only=OFF\n")).unwrap();
    assert!(server.prepare().await.unwrap_err().0.contains("as the last line"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_written_once_before_clients_may_write_and_a_heartbeat_takes_no_gtid() {
    let alone = Alone::start().await;
    let server = server(alone.member());
    let token = Token { generation: 1, epoch: 9 };
    server.act(&mariadb::Verb::Open { token, timeline: Some(5) }).await.unwrap();
    let seen = server.look(Some((1, true))).await.unwrap().server.unwrap();
    assert_eq!((seen.writes, seen.token, seen.system, seen.is_own_line), (true, Some(token), 7, true));
    assert_eq!(
        (seen.history.timeline(), seen.history.began() + 1),
        (5, seen.applied),
        "the line begins with the transaction that tells of it"
    );
    server.beat().await.unwrap();
    assert_eq!(server.look(Some((1, true))).await.unwrap().server.unwrap().applied, seen.applied);
    let lower = server.act(&mariadb::Verb::Sign(Token { generation: 1, epoch: 8 })).await.unwrap_err();
    assert!(lower.0.contains("a higher token"), "{lower}");
    server.act(&mariadb::Verb::Sign(Token { generation: 1, epoch: 10 })).await.unwrap();
    let signed = server.look(Some((1, true))).await.unwrap().server.unwrap();
    assert_eq!((signed.token.map(|it| it.epoch), signed.history), (Some(10), seen.history), "its line goes on");
}
