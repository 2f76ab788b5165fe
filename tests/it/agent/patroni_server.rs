//! Real Patronis with real servers and one etcd, in the test's own directory and on ports that are held for them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use socket2::Socket;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::postgres::{bin, children, hold_port, owner};
use crate::daemon::{given, within};

/// Who may change a cluster's configuration.
pub(crate) const LOGIN: &str = "portolan\nhush";

/// Bootstrap: initdb, three starts and two copies, beside whatever else runs.
const BOOTSTRAP: Duration = Duration::from_secs(120);

/// One Patroni with its server.
pub(crate) struct Member {
    name: &'static str,
    directory: PathBuf,
    pub(crate) rest: u16,
    pub(crate) port: u16,
    /// Keep the ports from everybody but these two.
    _held: [Socket; 2],
    patroni: Option<Child>,
}

/// All of them, and their store.
pub(crate) struct Patronis {
    directory: TempDir,
    etcd: Option<Child>,
    etcd_ports: [u16; 2],
    _held: [Socket; 2],
    pub(crate) members: BTreeMap<&'static str, Member>,
}

/// A program as whoever owns the databases, with its words in a file.
fn spawn(program: &str, arguments: &[String], directory: &Path, log: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join(log)).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", directory).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    if geteuid().is_root() {
        command.uid(owner().uid.as_raw()).gid(owner().gid.as_raw());
    }
    command.spawn().unwrap_or_else(|error| panic!("{program} is installed: make setup: {error}"))
}

fn give(path: &Path) {
    chown(path, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
}

impl Patronis {
    /// All are up, each a cluster of its own: the first one is the primary, and the others are standby clusters of it.
    pub(crate) async fn start(names: [&'static str; 3]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        give(directory.path());
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let ((client_held, client), (peer_held, peer)) = (hold_port(), hold_port());
        let members = names.map(|name| {
            let ((rest_held, rest), (port_held, port)) = (hold_port(), hold_port());
            let directory = directory.path().join(name);
            fs::create_dir(&directory).unwrap();
            give(&directory);
            (name, Member { name, directory, rest, port, _held: [rest_held, port_held], patroni: None })
        });
        let etcd_ports = [client, peer];
        let mut all = Self { directory, etcd: None, etcd_ports, _held: [client_held, peer_held], members: members.into() };
        all.start_etcd().await;
        let first = all.members[names[0]].port;
        for name in names {
            let member = &all.members[name];
            let config = member.config(etcd_ports[0], (name != names[0]).then_some(first));
            fs::write(member.directory.join("patroni.yaml"), config).unwrap();
        }
        // The first one bootstraps; the others find it there.
        all.permit(names[0]);
        all.launch(names[0]);
        all.is("the first is the primary", names[0], "/primary").await;
        for name in &names[1..] {
            all.launch(name);
        }
        for name in &names[1..] {
            all.is("it follows", name, "/standby-leader").await;
        }
        let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
        given("both others stream from it", async || all.read::<i64>(names[0], streaming).await.filter(|n| *n == 2)).await;
        all
    }

    async fn is(&self, what: &str, name: &str, path: &str) {
        within(BOOTSTRAP, &format!("{name}: {what}"), || self.status(name, path), |status| *status == Some(200)).await;
    }

    /// What the member's Patroni answers; `None`: it does not.
    pub(crate) async fn status(&self, name: &str, path: &str) -> Option<u16> {
        crate::daemon::page(([127, 0, 0, 1], self.members[name].rest).into(), path).await.ok().map(|(status, _)| status)
    }

    pub(crate) async fn start_etcd(&mut self) {
        let [client, peer] = self.etcd_ports.map(|port| format!("http://127.0.0.1:{port}"));
        let arguments = [
            ("--data-dir", "etcd".to_owned()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("default={peer}")),
        ];
        let arguments: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        self.etcd = Some(spawn("etcd", &arguments, self.directory.path(), "etcd.log"));
        let at = ([127, 0, 0, 1], self.etcd_ports[0]).into();
        given("etcd is well", async || crate::daemon::page(at, "/health").await.ok().filter(|(status, _)| *status == 200)).await;
    }

    pub(crate) fn stop_etcd(&mut self) {
        end(&mut self.etcd);
    }

    /// Starts a member's Patroni, which starts its server.
    pub(crate) fn launch(&mut self, name: &str) {
        let member = self.members.get_mut(name).unwrap();
        member.patroni = Some(spawn("patroni", &["patroni.yaml".to_owned()], &member.directory, "patroni.log"));
    }

    /// A signal to a member's Patroni, whose server goes on.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let process = self.members[name].patroni.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
    }

    /// Its host is gone, with what a reboot empties.
    pub(crate) fn lose(&mut self, name: &str) {
        self.members.get_mut(name).unwrap().lose();
    }

    /// What its agent does when the region may write.
    pub(crate) fn permit(&self, name: &str) {
        fs::write(self.members[name].permit_file(), "").unwrap();
    }

    pub(crate) async fn connect(&self, name: &str) -> Result<Client, tokio_postgres::Error> {
        let port = self.members[name].port;
        let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=2 application_name=test");
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// What a client reads; `None`: it does not answer.
    pub(crate) async fn read<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, name: &str, sql: &str) -> Option<T> {
        self.connect(name).await.ok()?.query_one(sql, &[]).await.ok()?.try_get(0).ok()
    }

    /// Its server ships nothing more: the processes that do are stopped.
    pub(crate) fn stop_shipping(&self, name: &str) {
        let main = self.members[name].main_process().unwrap();
        let mut stopped = 0;
        for process in children(main) {
            if fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|title| title.contains("walsender")) {
                kill(Pid::from_raw(process), Signal::SIGSTOP).unwrap();
                stopped += 1;
            }
        }
        assert!(stopped > 0);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Patronis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in self.members.values() {
                let log = fs::read_to_string(member.directory.join("patroni.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                println!("--- {}\n{}", member.name, lines[lines.len().saturating_sub(150)..].join("\n"));
            }
        }
        self.members.values_mut().for_each(Member::lose);
        end(&mut self.etcd);
    }
}

impl Member {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rest)
    }

    pub(crate) fn permit_file(&self) -> PathBuf {
        self.directory.join("permit")
    }

    /// What Patroni and its server said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("patroni.log")).unwrap_or_default()
    }

    /// The server's main process, whoever started it.
    fn main_process(&self) -> Option<i32> {
        fs::read_to_string(self.directory.join("data/postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
    }

    fn lose(&mut self) {
        let _ = fs::remove_file(self.permit_file());
        end(&mut self.patroni);
        let Some(main) = self.main_process() else { return };
        // The number may be another one's by now; a server of this directory stands in it.
        let is_here = || fs::read_link(format!("/proc/{main}/cwd")).is_ok_and(|cwd| cwd == self.directory.join("data"));
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

    fn config(&self, etcd: u16, upstream: Option<u16>) -> String {
        let mut text = format!(
            "scope: {name}\nname: {name}\nrestapi:\n  listen: 127.0.0.1:{rest}\n  connect_address: 127.0.0.1:{rest}\n  \
             authentication: {{ username: portolan, password: hush }}\netcd3: {{ host: \"127.0.0.1:{etcd}\" }}\n\
             bootstrap:\n  dcs:\n    ttl: 20\n    loop_wait: 1\n    retry_timeout: 3\n    postgresql:\n      use_pg_rewind: true\n      \
             use_slots: false\n      parameters: {{ wal_keep_size: 256MB, wal_retrieve_retry_interval: 200ms, shared_buffers: 16MB }}\n",
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
             superuser: {{ username: postgres, password: none }}\n  parameters: {{ unix_socket_directories: {directory} }}\n  \
             pre_promote: test -e {permit}\n",
            port = self.port,
            directory = self.directory.display(),
            bin = bin().display(),
            permit = self.permit_file().display(),
        )
        .unwrap();
        text
    }
}
