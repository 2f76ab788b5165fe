//! A trio under Patroni: one cluster, three members, one etcd. Who is lost comes back by `pg_rewind` and stands by for the next time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use portolan_core::model::time::Timestamp;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    Took,
    ground::{Port, end, first_write, give, kill_tree, make, near, postgres, postgres_bin, postgres_own, spawn, time_of_day, wall},
};
use crate::fleet::until;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// The smallest that its documentation allows.
const TIMES: &str = "ttl: 20, loop_wait: 1, retry_timeout: 3";

/// The name of the leader key, as etcd's gateway takes names.
const LEADER_KEY: &str = "{\"key\": \"L3NlcnZpY2UvcmFjZS9sZWFkZXI=\"}";

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

struct Member {
    name: &'static str,
    directory: PathBuf,
    port: Port,
    rest: Port,
    patroni: Option<Child>,
}

pub(super) struct Patronis {
    folder: TempDir,
    etcd: Option<Child>,
    etcd_ports: [Port; 2],
    members: Vec<Member>,
    /// Who takes writes.
    primary: usize,
    /// Who was lost, and is to come back.
    lost: Option<usize>,
}

impl Patronis {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let member = |name: &'static str| {
            let directory = folder.path().join(name);
            make(&directory);
            Member { name, directory, port: Port::hold(), rest: Port::hold(), patroni: None }
        };
        let members = NAMES.map(member).into();
        let mut all = Self { folder, etcd: None, etcd_ports: [Port::hold(), Port::hold()], members, primary: 0, lost: None };
        all.start_etcd().await;
        for member in &all.members {
            let path = member.directory.join("patroni.yaml");
            fs::write(&path, member.config(all.etcd_ports[0].number)).unwrap();
            give(&path);
        }
        // The first one makes the database; the others copy it.
        all.launch(0);
        until("Patroni's first member takes writes", async || all.executes(0, "create table ledger (id int)").await).await;
        all.launch(1);
        all.launch(2);
        all.is_whole().await;
        all
    }

    async fn start_etcd(&mut self) {
        let [client, peer] = [0, 1].map(|at| format!("http://127.0.0.1:{}", self.etcd_ports[at].number));
        let cluster = format!("default={peer}");
        let arguments = [
            ["--data-dir", "etcd"],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &cluster],
        ];
        let folder = self.folder.path();
        self.etcd = Some(spawn("etcd", arguments.as_flattened(), folder, &folder.join("etcd.log")));
        until("etcd answers", async || self.key().await.is_some()).await;
    }

    /// What etcd says of the leader key: `Some(None)` if there is none, else what it holds; `None`: it does not answer.
    async fn key(&self) -> Option<Option<String>> {
        key(&reqwest::Client::new(), self.etcd_ports[0].number).await
    }

    fn launch(&mut self, n: usize) {
        let Member { directory, patroni, .. } = &mut self.members[n];
        *patroni = Some(spawn("patroni", &["patroni.yaml"], directory, &directory.join("patroni.log")));
    }

    async fn executes(&self, n: usize, sql: &str) -> bool {
        let Some(client) = postgres(self.members[n].port.number).await else { return false };
        client.batch_execute(sql).await.is_ok()
    }

    /// Both others stream from the primary.
    async fn is_whole(&self) {
        let streaming = "select count(*) from pg_stat_replication where state = 'streaming' and application_name <> 'pg_basebackup'";
        until("all members of Patroni's stream", async || {
            let Some(client) = postgres(self.members[self.primary].port.number).await else { return false };
            client.query_one(streaming, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == 2)
        })
        .await;
    }

    /// Who was lost comes back.
    pub(super) async fn rejoin(&mut self) {
        if let Some(lost) = self.lost.take() {
            self.launch(lost);
            self.is_whole().await;
        }
    }

    /// Its primary is lost, with its Patroni, and another one is waited for.
    pub(super) async fn fail_over(&mut self) -> Took {
        let lost = self.primary;
        let etcd = self.etcd_ports[0].number;
        let held = self.key().await.flatten().expect("somebody leads");
        end(&mut self.members[lost].patroni);
        let at = wall();
        self.members[lost].lose_server();
        self.lost = Some(lost);
        let ports: Vec<u16> =
            self.members.iter().map(|member| member.port.number).filter(|port| *port != self.members[lost].port.number).collect();
        let ((port, written), (gone, taken)) = tokio::join!(first_write(false, ports), watch(etcd, held));
        self.primary = self.members.iter().position(|member| member.port.number == port).unwrap();
        let path = self.members[self.primary].directory.join("patroni.log");
        let engine = postgres_own(&path, written).await;
        let log = fs::read_to_string(path).unwrap();
        // By its own log it has taken the key a moment before etcd was seen to say so.
        let said = log.lines().rev().find(|line| line.contains("promoted self to leader by acquiring session lock"));
        let said = near(taken, said.and_then(|line| time_of_day(line, 1)).expect("Patroni's log tells when it took the leader key"));
        Took {
            detected: gone.since(at),
            lease: Duration::ZERO,
            decided_to_write: written.since(gone),
            granted_to_write: written.since(taken.min(said)),
            lost_to_write: written.since(at),
            engine,
            published: None,
        }
    }
}

async fn key(client: &reqwest::Client, etcd: u16) -> Option<Option<String>> {
    let answer = client.post(format!("http://127.0.0.1:{etcd}/v3/kv/range")).body(LEADER_KEY).send().await.ok()?;
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
    answer.get("header")?;
    Some(answer.pointer("/kvs/0/value").and_then(|value| Some(value.as_str()?.to_owned())))
}

/// When the leader key was gone, and when somebody else had it.
async fn watch(etcd: u16, held: String) -> (Timestamp, Timestamp) {
    let client = reqwest::Client::new();
    let mut gone = None;
    loop {
        match key(&client, etcd).await {
            Some(None) => _ = gone.get_or_insert_with(wall),
            Some(Some(holder)) if holder != held => {
                let now = wall();
                return (gone.unwrap_or(now), now);
            }
            _ => {}
        }
        sleep(LOOK).await;
    }
}

impl Drop for Patronis {
    fn drop(&mut self) {
        for member in &mut self.members {
            end(&mut member.patroni);
            member.lose_server();
        }
        end(&mut self.etcd);
    }
}

impl Member {
    /// Its server and all that this started, whose parent is no child here.
    fn lose_server(&self) {
        let data = self.directory.join("data");
        let main = fs::read_to_string(data.join("postmaster.pid")).ok().and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
        let Some(main) = main else { return };
        // The number may be another one's by now; a server of this directory stands in it.
        let is_here = || fs::read_link(format!("/proc/{main}/cwd")).is_ok_and(|cwd| cwd == data);
        if is_here() {
            kill_tree(main);
            while is_here() {
                std::thread::yield_now();
            }
        }
    }

    fn config(&self, etcd: u16) -> String {
        let Self { name, port, rest, .. } = self;
        let (port, rest, bin) = (port.number, rest.number, postgres_bin());
        let (bin, directory) = (bin.display(), Path::new(&self.directory).display());
        format!(
            "scope: race\nname: {name}\nrestapi: {{ listen: \"127.0.0.1:{rest}\", connect_address: \"127.0.0.1:{rest}\" }}\n\
             etcd3: {{ host: \"127.0.0.1:{etcd}\" }}\nbootstrap:\n  dcs:\n    {}\n    postgresql:\n      use_pg_rewind: true\n      \
             parameters: {{ wal_keep_size: 256MB, wal_retrieve_retry_interval: 200ms, shared_buffers: 16MB }}\n  \
             initdb: [{{ encoding: UTF8 }}, {{ auth: trust }}, data-checksums]\n  \
             pg_hba: [\"local all all trust\", \"host all all 127.0.0.1/32 trust\", \"host replication all 127.0.0.1/32 trust\"]\n\
             postgresql:\n  listen: 127.0.0.1:{port}\n  connect_address: 127.0.0.1:{port}\n  data_dir: {directory}/data\n  bin_dir: {bin}\n  \
             pgpass: {directory}/pgpass\n  authentication:\n    replication: {{ username: replicator, password: none }}\n    \
             superuser: {{ username: postgres, password: none }}\n  parameters: {{ unix_socket_directories: {directory} }}\n",
            TIMES.replace(", ", "\n    "),
        )
    }
}
