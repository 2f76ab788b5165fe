//! Three members of a data group on this machine: real servers (PostgreSQL, Redis, or the fake that is shipped) under real supervisors, each with an
//! agent.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use portolan::{
    agent::{
        Runner, Setup, Store,
        supervisor::{Link, State, Verb},
    },
    daemon::{
        Detours,
        beside::{self, HearsPlan, Joined},
    },
    engine::{
        Members,
        fake::{self, Fake},
        postgres::{self, ConnInfo, Postgres},
        redis::Redis,
    },
};
use portolan_core::{
    failover::order::{FromAgent, ToAgent},
    model::{ids::Label, time::Tick},
};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{cnpg_server, managed, mariadb, patroni_server, redis, wall};
use crate::daemon::given;

/// What a standby adds to its primary's address.
const REPLICATION: &str = "user=postgres sslmode=disable";

/// Where Debian puts the server's programs: those of the newest version.
pub(super) fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: make setup").flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.map(|entry| entry.path()).max_by_key(number).unwrap().join("bin")
}

/// Where most tests have members; the last one is the primary.
pub(crate) const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// What the members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Redis,
    Fake,
    Mariadb,
    /// A fake that another manager runs: no supervisor stands under it.
    Managed,
    /// A cluster per region that Patroni runs.
    Patroni,
    /// A cluster per region that a stand-in of CloudNativePG runs.
    Cnpg,
}

/// One member's database, and what stands beside it.
pub(crate) struct Member {
    pub(crate) region: Label,
    /// What the name of its agent begins with.
    pub(crate) prefix: &'static str,
    /// Where the server's programs are.
    pub(super) programs: PathBuf,
    pub(super) engine: Engine,
    pub(super) directory: PathBuf,
    pub(super) port: u16,
    /// Of MariaDB: the way to it that others take, which can be held up.
    pub(super) way: Option<mariadb::Way>,
    /// Of one that Patroni runs.
    pub(super) patroni: Option<patroni_server::Region>,
    /// Of one that CloudNativePG runs.
    pub(super) cnpg: Option<cnpg_server::Region>,
    /// Keeps the port from everybody but the database.
    _held: Socket,
    supervisor: Option<Child>,
    agent: Option<JoinHandle<()>>,
    /// An agent as a process of its own.
    process: Option<Child>,
}

/// All of them, with copies of one database.
pub(crate) struct Trio {
    pub(crate) members: BTreeMap<Label, Member>,
    /// Of those that Patroni runs: its store.
    pub(super) etcd: Option<patroni_server::Etcd>,
    directory: TempDir,
}

pub(crate) fn clock() -> Tick {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    Tick(u64::try_from(now.tv_sec()).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec()).unwrap() / 1000)
}

/// What stands beside a database, and it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Agent,
    Supervisor,
    Database,
}

pub(super) fn children(process: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// A port that nobody is given by chance, because something is bound to it, and that a server can have, because it does not listen.
pub(crate) fn hold_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// Whoever owns the databases: root runs none.
pub(super) fn owner() -> User {
    if geteuid().is_root() { User::from_name("postgres").unwrap().unwrap() } else { User::from_uid(geteuid()).unwrap().unwrap() }
}

pub(super) fn tool(name: &str, arguments: &[&str]) {
    let user = owner();
    let mut command = Command::new(bin().join(name));
    command.args(arguments).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    if geteuid().is_root() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Trio {
    /// Of real PostgreSQL servers.
    pub(crate) fn new(regions: [&str; 3]) -> Self {
        Self::of(Engine::Postgres, regions)
    }

    /// Copies that are equal, and nothing runs. The last region's was a primary.
    pub(crate) fn of(engine: Engine, regions: [&str; 3]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let user = owner();
        std::os::unix::fs::chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut members = BTreeMap::new();
        for region in regions {
            let (held, port) = hold_port();
            let directory = directory.path().join(region);
            fs::create_dir(&directory).unwrap();
            std::os::unix::fs::chown(&directory, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            let region = Label::new(region);
            members.insert(
                region.clone(),
                Member {
                    region,
                    prefix: "pg",
                    programs: bin(),
                    engine,
                    directory,
                    port,
                    way: None,
                    patroni: None,
                    cnpg: None,
                    _held: held,
                    supervisor: None,
                    agent: None,
                    process: None,
                },
            );
        }
        let mut trio = Self { members, etcd: None, directory };
        match engine {
            Engine::Postgres => trio.make_postgres(regions[2]),
            Engine::Redis => trio.members.values().for_each(|member| redis::make(member, member.region.as_str() == regions[2])),
            Engine::Fake => trio.make_fakes(regions[2]),
            Engine::Managed => {
                trio.make_fakes(regions[2]);
                trio.members.values().for_each(managed::make);
            }
            Engine::Mariadb => mariadb::make(&mut trio.members, regions[2]),
            Engine::Cnpg => {
                let ports: Vec<(String, u16)> = trio.members.iter().map(|(region, member)| (region.to_string(), member.port)).collect();
                for (region, member) in &mut trio.members {
                    member.cnpg = Some(cnpg_server::Region::new(region.as_str(), &member.directory, &ports, regions[2]));
                }
                trio.make_postgres(regions[2]);
            }
            Engine::Patroni => {
                trio.etcd = Some(patroni_server::Etcd::new(trio.directory.path()));
                for member in trio.members.values_mut() {
                    member.patroni = Some(patroni_server::Region::new(member.region.as_str(), &member.directory, member.port));
                    member.write_config(&[]);
                }
            }
        }
        trio
    }

    /// Whatever takes time to be there: of those that Patroni runs their store and their clusters, of which the last region's is the primary.
    pub(super) async fn bootstrap(&mut self, regions: [&str; 3]) {
        let Some(etcd) = &mut self.etcd else { return };
        etcd.start().await;
        let primary = self.members[&Label::new(regions[2])].client_port();
        for region in regions.into_iter().rev() {
            let upstream = (region != regions[2]).then_some(primary);
            let member = self.members.get_mut(&Label::new(region)).unwrap();
            member.patroni.as_mut().unwrap().bootstrap(etcd, upstream).await;
        }
    }

    fn make_fakes(&self, primary: &str) {
        for member in self.members.values() {
            let user = owner();
            fs::create_dir(member.data()).unwrap();
            std::os::unix::fs::chown(member.data(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            let owner = member.owner_of_files().filter(|_| member.engine == Engine::Fake);
            fake::create(&member.data(), 7, member.region.as_str() != primary, owner).unwrap();
            member.write_config(&[]);
        }
    }

    fn make_postgres(&self, primary: &str) {
        let first = &self.members[&Label::new(primary)];
        tool("initdb", &["-D", first.data().to_str().unwrap(), "-U", "postgres", "-A", "trust", "--data-checksums", "-N", "-E", "UTF8"]);
        let settings = "listen_addresses = '127.0.0.1'\nshared_buffers = 16MB\nwal_keep_size = 256MB\n\
            wal_retrieve_retry_interval = 200ms\nmax_wal_senders = 10\nlog_min_messages = log\n";
        let mut conf = fs::read_to_string(first.data().join("postgresql.conf")).unwrap();
        conf.push_str(settings);
        fs::write(first.data().join("postgresql.conf"), conf).unwrap();
        // What is copied while nothing runs is equal to the last octet.
        for member in self.members.values().filter(|member| member.region.as_str() != primary) {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(first.data()).arg(member.data());
            assert!(copy.status().unwrap().success());
        }
        // Copies say that they are: each is started for a moment as the standby that it shall be.
        for member in self.members.values() {
            member.write_config(&[]);
            if member.region.as_str() != primary {
                member.become_standby();
            }
        }
    }

    pub(super) fn addresses(&self) -> Members {
        let port = |member: &Member| member.way.as_ref().map_or_else(|| member.client_port(), |way| way.port);
        self.members.values().map(|member| (member.region.clone(), ("127.0.0.1".to_owned(), port(member)))).collect()
    }

    /// Starts supervisor and agent of a member; its ends of the agent's queues.
    pub(crate) async fn start(&mut self, region: &Label) -> (mpsc::Sender<ToAgent>, mpsc::Receiver<FromAgent>) {
        let addresses = self.addresses();
        let member = self.members.get_mut(region).unwrap();
        member.supervise().await;
        member.start_agent(addresses).await
    }

    /// The log of each server, for who looks into a failure.
    pub(crate) fn logs(&self) -> String {
        let both = |member: &Member| format!("--- {}\n{}\n{}", member.region, member.log("supervise"), member.log("agent"));
        self.members.values().map(both).collect()
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        for member in self.members.values_mut() {
            member.lose();
        }
        let _ = self.directory.path();
    }
}

/// A file that is not where it was.
pub(crate) struct Aside {
    was: PathBuf,
    is: PathBuf,
}

impl Aside {
    pub(crate) fn put_back(self) {
        fs::rename(&self.is, &self.was).unwrap();
    }
}

impl Member {
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    fn become_standby(&self) {
        self.mark();
        self.start_alone();
        self.stop_alone();
    }

    /// From now on it starts as a standby.
    pub(crate) fn mark(&self) {
        let mark = self.data().join("standby.signal");
        fs::write(&mark, "").unwrap();
        std::os::unix::fs::chown(&mark, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
    }

    /// Starts its server with nothing beside it.
    pub(crate) fn start_alone(&self) {
        let data = self.data();
        let data = data.to_str().unwrap();
        let options = format!("-c port={} -c unix_socket_directories={} -c logging_collector=off", self.port, self.directory.display());
        tool("pg_ctl", &["-D", data, "-w", "-l", &format!("{data}.log"), "-o", &options, "start"]);
    }

    /// Stops that, whatever it does.
    pub(crate) fn stop_alone(&self) {
        tool("pg_ctl", &["-D", self.data().to_str().unwrap(), "-w", "-m", "fast", "stop"]);
    }

    /// The main process of that.
    pub(crate) fn alone(&self) -> Pid {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
    }

    /// The agent's config. `voters`: names and addresses.
    pub(crate) fn write_config(&self, voters: &[(String, String)]) {
        let database = match self.engine {
            Engine::Postgres => format!(
                "postgresql:\n  bin_dir: {}\n  data_directory: {1}/data\n  dsn: local\n  replication: replication\n  \
                 hooks_dir: {1}/hooks\n  arguments: [\"-c\", \"port={2}\", \"-c\", \"unix_socket_directories={1}\"]\n",
                self.programs.display(),
                self.directory.display(),
                self.port
            ),
            Engine::Mariadb => mariadb::config(self),
            Engine::Redis => redis::section(self),
            Engine::Managed => managed::section(self),
            Engine::Patroni => patroni_server::section(self),
            Engine::Cnpg => cnpg_server::section(self),
            Engine::Fake => format!("fake: {{ directory: {}/data, listen: \"127.0.0.1:{}\" }}\n", self.directory.display(), self.port),
        };
        let nobody = [("nobody".to_owned(), "127.0.0.1:1".to_owned())];
        let voters = if voters.is_empty() { &nobody } else { voters };
        let voters: Vec<String> = voters.iter().map(|(node, address)| format!("{{ node: {node}, address: \"{address}\" }}")).collect();
        let config = format!(
            "version: 1\nagent: {4}-{2}\nvoters: [{3}]\ndata_dir: {0}/agent\nsecrets_dir: {0}\nsocket: {0}/sock\nuser: {1}\n{database}",
            self.directory.display(),
            owner().name,
            self.region,
            voters.join(", "),
            self.prefix,
        );
        fs::write(self.directory.join("agent.yaml"), config).unwrap();
        let (own, replication) = match self.engine {
            Engine::Mariadb => (mariadb::own(self), mariadb::REPLICATION),
            _ => (self.own(), REPLICATION),
        };
        fs::write(self.directory.join("local"), own).unwrap();
        fs::write(self.directory.join("replication"), replication).unwrap();
    }

    /// Of its database, where that is not who runs this.
    /// Says more in its agent's config, in lines of their own, before that is started.
    pub(crate) fn configure(&self, more: &str) {
        let mut config = fs::OpenOptions::new().append(true).open(self.directory.join("agent.yaml")).unwrap();
        std::io::Write::write_all(&mut config, more.as_bytes()).unwrap();
    }

    pub(super) fn owner_of_files(&self) -> Option<(u32, u32)> {
        geteuid().is_root().then(|| (owner().uid.as_raw(), owner().gid.as_raw()))
    }

    /// The agent's own way to it.
    pub(super) fn own(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.directory.display(), self.port)
    }

    /// Of its address, which is that of a balancer where Patroni runs it.
    pub(super) fn client_port(&self) -> u16 {
        self.patroni.as_ref().map_or(self.port, |region| region.address)
    }

    /// Where clients reach its database.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts its supervisor, where it does not run, and waits until it listens.
    pub(crate) async fn supervise(&mut self) {
        if self.engine == Engine::Managed {
            return managed::boot(self);
        }
        if let Some(patroni) = &mut self.patroni {
            return patroni.first.launch();
        }
        if let Some(cnpg) = &mut self.cnpg {
            return cnpg.launch();
        }
        if self.supervisor.is_none() {
            self.supervisor = Some(self.portolan("supervise"));
            let socket = self.socket();
            given("the supervisor listens", async || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
        }
    }

    /// What `portolan VERB` beside it has said.
    pub(crate) fn log(&self, verb: &str) -> String {
        fs::read_to_string(self.directory.join(format!("{verb}.log"))).unwrap_or_default()
    }

    /// Starts its agent as a process of its own.
    pub(crate) fn start_process(&mut self) {
        self.process = Some(self.portolan("agent"));
    }

    /// Starts its agent in this process, which reaches voters and members where `detours` say.
    pub(crate) fn serve(&mut self, detours: Detours) {
        let text = fs::read_to_string(self.directory.join("agent.yaml")).unwrap();
        let config = portolan::config::agent::load(&text, "agent.yaml").unwrap().config;
        self.agent = Some(tokio::spawn(async move { beside::serve(&config, &detours).await.unwrap() }));
    }

    /// Kills that process.
    pub(crate) fn kill_process(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            wall::take_away(process.id());
        }
    }

    /// From its next start on its agent, supervisor and database have a wall clock of their own; and that is so many seconds off from now on.
    pub(crate) fn step(&self, seconds: i64) {
        let beside = self.directory.join("wall.new");
        fs::write(&beside, format!("{seconds:+}")).unwrap();
        fs::rename(beside, self.directory.join("wall")).unwrap();
    }

    fn portolan(&self, verb: &str) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join(format!("{verb}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.arg(verb).arg("--config").arg(self.directory.join("agent.yaml"));
        let wall = self.directory.join("wall");
        if wall.exists() {
            wall::give(&mut command, &wall);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Sends a signal to what runs beside it: its agent, its supervisor, or its database's main process.
    pub(crate) fn signal(&self, whom: Beside, signal: Signal) {
        let process = |child: &Option<Child>| i32::try_from(child.as_ref().unwrap().id()).unwrap();
        let to = match whom {
            Beside::Agent => process(&self.process),
            Beside::Supervisor => process(&self.supervisor),
            Beside::Database => self.main_process(),
        };
        kill(Pid::from_raw(to), signal).unwrap();
    }

    /// Takes a file of its away for a while.
    pub(crate) fn set_aside(&self, file: &str) -> Aside {
        let (was, is) = (self.directory.join(file), self.directory.join("aside"));
        fs::rename(&was, &is).unwrap();
        Aside { was, is }
    }

    /// Sends a signal to every process of its database.
    pub(crate) fn signal_all(&self, signal: Signal) {
        let main = self.main_process();
        for process in children(main).into_iter().chain([main]) {
            // A child may end at any time.
            let _ = kill(Pid::from_raw(process), signal);
        }
    }

    /// Its database's main process.
    pub(crate) fn main_process(&self) -> i32 {
        let supervisor = i32::try_from(self.supervisor.as_ref().unwrap().id()).unwrap();
        children(children(supervisor)[0])[0]
    }

    /// Takes note that its supervisor was killed.
    pub(crate) fn bury_supervisor(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.wait();
        }
    }

    /// What its supervisor says.
    pub(crate) async fn supervised(&self) -> Option<State> {
        Link::connect(&self.socket()).await.ok()?.ask(Verb::Status).await.ok()
    }

    /// What stands beside it: a look at it, and what is done to it.
    pub(super) fn beside(&self) -> Postgres {
        self.beside_as(&self.own(), REPLICATION)
    }

    /// The same with other logins: its own, and what it adds to others' addresses.
    pub(super) fn beside_as(&self, own: &str, replication: &str) -> Postgres {
        Postgres::new(postgres::Setup {
            region: self.region.clone(),
            bin_dir: self.programs.clone(),
            data_directory: self.data(),
            arguments: Vec::new(),
            owner: self.owner_of_files(),
            own: ConnInfo::parse(own).unwrap(),
            replication: ConnInfo::parse(replication).unwrap(),
            hooks: self.directory.join("hooks"),
            evidence: self.directory.join("agent/evidence"),
        })
    }

    async fn start_agent(&mut self, addresses: Members) -> (mpsc::Sender<ToAgent>, mpsc::Receiver<FromAgent>) {
        let (region, owner, evidence) = (self.region.clone(), self.owner_of_files(), self.directory.join("agent/evidence"));
        let engine: Arc<dyn HearsPlan> = match self.engine {
            Engine::Redis => Arc::new(Joined::new(Redis::new(redis::setup(self)), region, Some(100))),
            Engine::Mariadb => Arc::new(Joined::new(mariadb::server(self), region, Some(100))),
            Engine::Managed => Arc::new(Joined::new(managed::server(self), region, Some(100))),
            Engine::Patroni => Arc::new(Joined::new(patroni_server::server(self), region, Some(100))),
            Engine::Cnpg => Arc::new(Joined::new(cnpg_server::server(self), region, Some(100))),
            Engine::Postgres => Arc::new(Joined::new(self.beside(), region, Some(100))),
            Engine::Fake => {
                let listen = self.address().parse().unwrap();
                let server = Fake::new(fake::Setup { region: region.clone(), directory: self.data(), listen, owner, evidence });
                Arc::new(Joined::new(server, region, Some(100)))
            }
        };
        engine.take(addresses, Some(100));
        let (store, disk) = Store::open(&self.directory.join("agent")).unwrap();
        let (orders, inbox) = mpsc::channel(64);
        let (outbox, said) = mpsc::channel(64);
        let runner = Runner::new(Setup {
            region: self.region.clone(),
            store,
            disk,
            engine: engine as Arc<_>,
            socket: self.socket(),
            clock,
            inbox,
            outbox,
        })
        .await;
        self.agent = Some(tokio::spawn(async move { runner.run().await.unwrap() }));
        (orders, said)
    }

    /// Supervisor and database are killed.
    pub(crate) fn kill(&self) {
        self.signal(Beside::Supervisor, Signal::SIGKILL);
    }

    /// The host is gone: agent, supervisor and database.
    pub(crate) fn lose(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
        }
        self.kill_process();
        if self.engine == Engine::Managed {
            managed::lose(self);
        }
        if let Some(patroni) = &mut self.patroni {
            patroni.lose();
        }
        if let Some(cnpg) = &mut self.cnpg {
            cnpg.lose();
        }
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
            wall::take_away(supervisor.id());
        }
    }

    /// From now on it ships nothing, though its connections stand.
    pub(crate) async fn hang_shipping(&self) {
        match self.engine {
            Engine::Postgres | Engine::Cnpg => self.stop_shipping(),
            Engine::Patroni => self.patroni().first.stop_shipping(),
            Engine::Mariadb => self.way.as_ref().unwrap().hold(),
            Engine::Redis => redis::ship_nothing(self).await,
            Engine::Fake | Engine::Managed => self.client().await.unwrap().hold(true).await.unwrap(),
        }
    }

    /// From now on no file of its database can grow over some octets, and none in whose place the supervisor starts it again: as on a full disk,
    /// the next segment of its log cannot be made.
    pub(crate) fn fill_disk(&self, octets: u64) {
        let below = |all: &[i32]| all.iter().copied().flat_map(children).collect::<Vec<_>>();
        let supervisor = i32::try_from(self.supervisor.as_ref().unwrap().id()).unwrap();
        let (vessel, mut all) = (children(supervisor), vec![supervisor]);
        let (servers, backends) = (below(&vessel), below(&below(&vessel)));
        all.extend(vessel.into_iter().chain(servers).chain(backends));
        for process in all {
            // Who runs as the same user may do it; a process that ended meanwhile writes nothing any more.
            let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
            let id = |word: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(word)).unwrap();
                line.split_whitespace().next().unwrap().parse().unwrap()
            };
            let mut limit = Command::new("prlimit");
            limit.args(["--pid", &process.to_string(), &format!("--fsize={octets}")]).uid(id("Uid:")).gid(id("Gid:"));
            let done = limit.output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success() || said.contains("No such process"), "{process}: {said}");
        }
    }

    /// The same for PostgreSQL: the processes that ship are stopped.
    pub(crate) fn stop_shipping(&self) {
        let ship = self.processes("walsender");
        assert!(!ship.is_empty());
        ship.into_iter().for_each(|process| kill(process, Signal::SIGSTOP).unwrap());
    }

    /// Those of PostgreSQL's processes whose title begins so, by this machine's numbers: what the server says of itself are those of its vessel.
    pub(crate) fn processes(&self, title: &str) -> Vec<Pid> {
        let vessel = children(i32::try_from(self.supervisor.as_ref().unwrap().id()).unwrap());
        let all = vessel.into_iter().flat_map(children).flat_map(children);
        let is_titled = |process: &i32| {
            let told = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            told.strip_prefix("postgres: ").is_some_and(|told| told.starts_with(title))
        };
        all.filter(is_titled).map(Pid::from_raw).collect()
    }

    /// Its Patroni.
    pub(super) fn patroni(&self) -> &patroni_server::Region {
        self.patroni.as_ref().unwrap()
    }

    /// Its stand-in of CloudNativePG.
    pub(super) fn cnpg(&self) -> &cnpg_server::Region {
        self.cnpg.as_ref().unwrap()
    }

    /// What was put aside before a rewind: the commits in the lists of records. Patroni puts nothing aside.
    pub(crate) fn commits_put_aside(&self) -> usize {
        let folder = fs::read_dir(self.directory.join("agent/evidence")).into_iter().flatten().flatten();
        let (lists, is_commit): (Vec<PathBuf>, fn(&str) -> bool) = match self.engine {
            Engine::Patroni => return self.patroni().rewinds(),
            // Nor does CloudNativePG, which rewinds nothing.
            Engine::Cnpg => return 0,
            Engine::Postgres => (folder.map(|it| it.path().join("records.txt")).collect(), |line| line.contains("desc: COMMIT")),
            Engine::Mariadb => (folder.map(|it| it.path()).collect(), |line| line.contains("\tGTID ")),
            Engine::Redis => (redis::logs_put_aside(folder.map(|it| it.path())), |line| line.trim_end() == "RPUSH"),
            Engine::Fake | Engine::Managed => (folder.map(|it| it.path()).collect(), |line| line.contains("\"write\":")),
        };
        let texts = lists.into_iter().filter_map(|list| fs::read_to_string(list).ok());
        texts.map(|list| list.lines().filter(|line| is_commit(line)).count()).sum()
    }
}
