//! Real Patronis with real servers and one etcd, in the test's own directory and on ports that are held for them: what runs the databases of a trio.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use portolan::engine::{
    managed::Managed,
    patroni::{self, Login, Patroni},
    postgres::ConnInfo,
};
use socket2::Socket;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_postgres::NoTls;

use super::{
    leader::group_name,
    postgres::{Member, bin, children, hold_port, owner},
};
use crate::daemon::{given, page, within};

/// Bootstrap: initdb, or a copy, and starts, beside whatever else runs.
const BOOTSTRAP: Duration = Duration::from_secs(120);

/// The store of all Patronis.
pub(crate) struct Etcd {
    directory: PathBuf,
    process: Option<Child>,
    client: u16,
    peer: u16,
    _held: [Socket; 2],
}

/// One region's cluster, of one member, and of a second one where that was asked for.
pub(crate) struct Region {
    pub(super) first: Instance,
    pub(super) second: Instance,
    /// Where whoever leads it is reached.
    pub(super) address: u16,
    balancer: Option<JoinHandle<()>>,
}

/// A Patroni with its server.
pub(crate) struct Instance {
    scope: String,
    name: String,
    directory: PathBuf,
    rest: u16,
    port: u16,
    /// Ports that nobody else gets.
    _held: Vec<Socket>,
    process: Option<Child>,
}

/// A program as whoever owns the databases, with its words in a file.
pub(super) fn spawn(program: &str, arguments: &[String], directory: &Path, log: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join(log)).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", directory).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    if geteuid().is_root() {
        command.uid(owner().uid.as_raw()).gid(owner().gid.as_raw());
    }
    command.spawn().unwrap_or_else(|error| panic!("{program} is installed: make setup: {error}"))
}

pub(super) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The main process of the server with this data directory, whoever started it.
fn main_process(data: &Path) -> Option<i32> {
    fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Kills that server with all its processes, where it runs.
pub(super) fn end_server(data: &Path) {
    let Some(main) = main_process(data) else { return };
    // The number may be another one's by now; a server of this directory stands in it.
    let is_here = || fs::read_link(format!("/proc/{main}/cwd")).is_ok_and(|cwd| cwd == data);
    if is_here() {
        for process in children(main).into_iter().chain([main]) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        // It is no child of this process, so nobody can wait for it but by looking.
        while is_here() {
            std::thread::yield_now();
        }
    }
}

impl Etcd {
    pub(super) fn new(directory: &Path) -> Self {
        let ((client_held, client), (peer_held, peer)) = (hold_port(), hold_port());
        Self { directory: directory.to_owned(), process: None, client, peer, _held: [client_held, peer_held] }
    }

    pub(super) async fn start(&mut self) {
        let [client, peer] = [self.client, self.peer].map(|port| format!("http://127.0.0.1:{port}"));
        let arguments = [
            ("--data-dir", "etcd".to_owned()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("default={peer}")),
        ];
        let arguments: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        self.process = Some(spawn("etcd", &arguments, &self.directory, "etcd.log"));
        let at = ([127, 0, 0, 1], self.client).into();
        given("etcd is well", async || page(at, "/health").await.ok().filter(|(status, _)| *status == 200)).await;
    }

    pub(super) fn stop(&mut self) {
        end(&mut self.process);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The agent's side of a member.
pub(super) fn server(member: &Member) -> Managed<Patroni> {
    let region = member.patroni();
    let directory = member.directory.join("agent");
    fs::create_dir_all(&directory).unwrap();
    let setup = patroni::Setup {
        region: member.region.clone(),
        urls: region.urls().into(),
        login: Some(Login::parse("portolan\nhush").unwrap()),
        authorities: None,
        own: ConnInfo::parse("user=postgres dbname=postgres sslmode=disable").unwrap(),
        permit: Some(region.first.permit_file()),
        directory,
    };
    Managed::new(Patroni::new(setup).unwrap(), group_name(), member.region.clone())
}

/// For an agent's config.
pub(super) fn section(member: &Member) -> String {
    let region = member.patroni();
    fs::write(member.directory.join("servers"), "user=postgres dbname=postgres sslmode=disable").unwrap();
    fs::write(member.directory.join("login"), "portolan\nhush").unwrap();
    format!("patroni: {{ urls: {:?}, login: login, dsn: servers, permit: {} }}\n", region.urls(), region.first.permit_file().display())
}

impl Region {
    pub(super) fn new(name: &str, directory: &Path, port: u16) -> Self {
        let (held, rest) = hold_port();
        let scope = name.to_owned();
        let instance = |name: String, directory: PathBuf, rest, port, held| {
            fs::create_dir_all(&directory).unwrap();
            // The agent's directory is not Patroni's.
            chown(&directory, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
            fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
            Instance { scope: scope.clone(), name, directory, rest, port, _held: held, process: None }
        };
        let first = instance(name.to_owned(), directory.to_owned(), rest, port, vec![held]);
        let ((rest_held, rest), (port_held, port)) = (hold_port(), hold_port());
        let second = instance(format!("{name}-2"), directory.join("second"), rest, port, vec![rest_held, port_held]);
        // As a balancer in front of it does it, by what its Patronis answer.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let members = [(first.rest, first.port), (second.rest, second.port)];
        let balancer = tokio::spawn(balance(TcpListener::from_std(listener).unwrap(), members));
        Self { first, second, address, balancer: Some(balancer) }
    }

    fn urls(&self) -> [String; 2] {
        [&self.first, &self.second].map(|instance| format!("http://127.0.0.1:{}", instance.rest))
    }

    /// A cluster of its own. `upstream`: the port of the primary that it follows; `None`: it is one.
    pub(super) async fn bootstrap(&mut self, etcd: &Etcd, upstream: Option<u16>) {
        self.first.write_config(etcd, upstream, true);
        if upstream.is_none() {
            fs::write(self.first.permit_file(), "").unwrap();
        }
        self.first.launch();
        self.first.is(if upstream.is_none() { "/primary" } else { "/standby-leader" }).await;
    }

    /// A second member, which is a replica of the first. Its Patroni asks for no permit.
    pub(super) async fn grow(&mut self, etcd: &Etcd) {
        self.second.write_config(etcd, None, false);
        self.second.launch();
        self.second.is("/replica").await;
    }

    /// How often Patroni rewound its server.
    pub(super) fn rewinds(&self) -> usize {
        self.first.log().matches("running pg_rewind").count()
    }

    /// Its host is gone, with what a reboot empties.
    pub(super) fn lose(&mut self) {
        self.first.lose();
        self.second.lose();
    }
}

/// Leads each connection to whoever leads the cluster, while somebody does.
async fn balance(listener: TcpListener, members: [(u16, u16); 2]) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        tokio::spawn(async move {
            for (rest, port) in members {
                if matches!(page(([127, 0, 0, 1], rest).into(), "/leader").await, Ok((200, _)))
                    && let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await
                {
                    // It ends when either side does.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
    }
}

impl Instance {
    /// Its Patroni is told to end, with its server.
    pub(super) async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        let mut process = self.process.take().unwrap();
        given("it has ended", async || process.try_wait().unwrap()).await;
    }

    /// Whether its own server takes no writes; `None`: it does not answer.
    pub(super) async fn is_standby(&self) -> Option<bool> {
        let config = format!("host=127.0.0.1 port={} user=postgres dbname=postgres connect_timeout=2 application_name=test", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.ok()?;
        tokio::spawn(connection);
        client.query_one("select pg_is_in_recovery()", &[]).await.ok()?.try_get(0).ok()
    }

    async fn is(&self, path: &str) {
        let at = ([127, 0, 0, 1], self.rest).into();
        let status = async || page(at, path).await.ok().map(|(status, _)| status);
        within(BOOTSTRAP, &format!("{} answers {path}", self.name), status, |status| *status == Some(200)).await;
    }

    /// Starts its Patroni, where that does not run; it starts its server.
    pub(super) fn launch(&mut self) {
        if self.process.is_none() {
            self.process = Some(spawn("patroni", &["patroni.yaml".to_owned()], &self.directory, "patroni.log"));
        }
    }

    /// A signal to its Patroni, whose server goes on.
    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.as_ref().unwrap().id()).unwrap()), signal).unwrap();
    }

    fn permit_file(&self) -> PathBuf {
        self.directory.join("permit")
    }

    fn hold_file(&self) -> PathBuf {
        self.directory.join("hold")
    }

    fn held_file(&self) -> PathBuf {
        self.directory.join("held")
    }

    /// From now on a promotion that was let through by the permit stands still before the server is told of it; `false`: it goes on.
    pub(super) fn hold_promotions(&self, holds: bool) {
        if holds { fs::write(self.hold_file(), "").unwrap() } else { fs::remove_file(self.hold_file()).unwrap() }
    }

    /// Whether one stands still, or did.
    pub(super) fn holds_promotion(&self) -> bool {
        self.held_file().exists()
    }

    /// What Patroni and its server said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("patroni.log")).unwrap_or_default()
    }

    /// Its server ships nothing more: the processes that do are stopped.
    pub(super) fn stop_shipping(&self) {
        let mut stopped = 0;
        for process in children(main_process(&self.directory.join("data")).unwrap()) {
            if fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|title| title.contains("walsender")) {
                kill(Pid::from_raw(process), Signal::SIGSTOP).unwrap();
                stopped += 1;
            }
        }
        assert!(stopped > 0);
    }

    /// Its host is gone, with what a reboot empties.
    pub(super) fn lose(&mut self) {
        let _ = fs::remove_file(self.permit_file());
        end(&mut self.process);
        end_server(&self.directory.join("data"));
    }

    fn write_config(&self, etcd: &Etcd, upstream: Option<u16>, asks_permit: bool) {
        fs::write(self.directory.join("patroni.yaml"), self.config(etcd.client, upstream, asks_permit)).unwrap();
    }

    fn config(&self, etcd: u16, upstream: Option<u16>, asks_permit: bool) -> String {
        let mut text = format!(
            "scope: {scope}\nname: {name}\nrestapi:\n  listen: 127.0.0.1:{rest}\n  connect_address: 127.0.0.1:{rest}\n  \
             authentication: {{ username: portolan, password: hush }}\netcd3: {{ host: \"127.0.0.1:{etcd}\" }}\n\
             bootstrap:\n  dcs:\n    ttl: 20\n    loop_wait: 1\n    retry_timeout: 3\n    postgresql:\n      use_pg_rewind: true\n      \
             use_slots: false\n      parameters: {{ wal_keep_size: 256MB, wal_retrieve_retry_interval: 200ms, shared_buffers: 16MB }}\n",
            scope = self.scope,
            name = self.name,
            rest = self.rest,
        );
        if let Some(port) = upstream {
            writeln!(text, "    standby_cluster: {{ host: 127.0.0.1, port: {port} }}").unwrap();
        }
        write!(
            text,
            "  initdb: [{{ encoding: UTF8 }}, {{ auth: trust }}, data-checksums]\n  \
             pg_hba: [\"local all all trust\", \"host all all 127.0.0.1/32 trust\", \"host replication all 127.0.0.1/32 trust\"]\n\
             postgresql:\n  listen: 127.0.0.1:{port}\n  connect_address: 127.0.0.1:{port}\n  data_dir: {directory}/data\n  bin_dir: {bin}\n  \
             pgpass: {directory}/pgpass\n  authentication:\n    replication: {{ username: replicator, password: none }}\n    \
             superuser: {{ username: postgres, password: none }}\n  parameters: {{ unix_socket_directories: {directory} }}\n",
            port = self.port,
            directory = self.directory.display(),
            bin = bin().display(),
        )
        .unwrap();
        if asks_permit {
            let (permit, hold, held) = (self.permit_file(), self.hold_file(), self.held_file());
            let script = self.directory.join("pre-promote.sh");
            let stands_still = format!("touch {}; while test -e {1}; do sleep 0.05; done", held.display(), hold.display());
            fs::write(&script, format!("test -e {} || exit 1\nif test -e {}; then {stands_still}; fi\n", permit.display(), hold.display()))
                .unwrap();
            writeln!(text, "  pre_promote: sh {}", script.display()).unwrap();
        }
        text
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("--- {}\n{}", self.name, lines[lines.len().saturating_sub(150)..].join("\n"));
        }
        self.lose();
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.balancer.iter().for_each(JoinHandle::abort);
    }
}
