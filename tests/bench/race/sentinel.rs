//! A trio of Redis under three Sentinels. Who is lost comes back as a replica of whoever leads then.

use std::{fs, path::PathBuf, process::Child, time::Duration};

use portolan_core::model::time::Timestamp;
use tempfile::TempDir;

use super::{
    Took,
    ground::{Port, end, first_write, make, near, redis, spawn, time_of_day, wall},
};
use crate::fleet::until;

struct Server {
    port: Port,
    directory: PathBuf,
    process: Option<Child>,
}

pub(super) struct Sentinels {
    _folder: TempDir,
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    primary: usize,
    lost: Option<usize>,
}

impl Sentinels {
    /// `down_after`: how long a primary gives no answer before a Sentinel takes it for down.
    pub(super) async fn start(down_after: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let server = |name: String| {
            let directory = folder.path().join(name);
            make(&directory);
            Server { port: Port::hold(), directory, process: None }
        };
        let servers: Vec<Server> = (0..3).map(|n| server(format!("redis-{n}"))).collect();
        let sentinels: Vec<Server> = (0..3).map(|n| server(format!("sentinel-{n}"))).collect();
        let mut all = Self { _folder: folder, servers, sentinels, primary: 0, lost: None };
        for n in 0..all.servers.len() {
            all.launch(n);
        }
        all.follow().await;
        for sentinel in &mut all.sentinels {
            let (port, primary) = (sentinel.port.number, all.servers[0].port.number);
            let config = format!(
                "bind 127.0.0.1\nport {port}\nprotected-mode no\nsentinel monitor race 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds race {}\nsentinel failover-timeout race 10000\n",
                down_after.as_millis()
            );
            let path = sentinel.directory.join("sentinel.conf");
            fs::write(&path, config).unwrap();
            super::ground::give(&path);
            sentinel.process =
                Some(spawn("redis-server", &["sentinel.conf", "--sentinel"], &sentinel.directory, &sentinel.directory.join("log")));
        }
        all.is_whole().await;
        all
    }

    fn launch(&mut self, n: usize) {
        let primary = self.servers[self.primary].port.number.to_string();
        let is_primary = n == self.primary;
        let Server { port, directory, process } = &mut self.servers[n];
        let port = port.number.to_string();
        let mut arguments = vec![
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--protected-mode",
            "no",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        ];
        if !is_primary {
            arguments.extend(["--replicaof", "127.0.0.1", &primary]);
        }
        *process = Some(spawn("redis-server", &arguments, directory, &directory.join("log")));
    }

    /// Both others have what the primary has.
    async fn follow(&self) {
        until("both replicas follow", async || {
            let Some(mut client) = redis(self.servers[self.primary].port.number).await else { return false };
            let info: Result<String, _> = ::redis::cmd("INFO").arg("replication").query_async(&mut client).await;
            info.is_ok_and(|info| info.matches("state=online").count() == 2)
        })
        .await;
    }

    /// Every Sentinel knows both others and both replicas, and all of them are well.
    async fn is_whole(&self) {
        self.follow().await;
        for sentinel in &self.sentinels {
            until("the Sentinels know all of it", async || {
                let Some(mut client) = redis(sentinel.port.number).await else { return false };
                let mut ask = async |what: &str| {
                    let answer = ::redis::cmd("SENTINEL").arg(what).arg("race").query_async::<::redis::Value>(&mut client).await;
                    answer.map(|answer| format!("{answer:?}")).unwrap_or_default()
                };
                let (primary, replicas, others) = (ask("MASTER").await, ask("REPLICAS").await, ask("SENTINELS").await);
                let port = self.servers[self.primary].port.number.to_string();
                let are_well = ![&primary, &replicas, &others].iter().any(|text| is_down(text));
                primary.contains(&port) && replicas.matches("runid").count() == 2 && others.matches("runid").count() == 2 && are_well
            })
            .await;
        }
    }

    pub(super) async fn rejoin(&mut self) {
        if let Some(lost) = self.lost.take() {
            self.launch(lost);
            self.is_whole().await;
        }
    }

    pub(super) async fn fail_over(&mut self) -> Took {
        let lost = self.primary;
        let at = wall();
        end(&mut self.servers[lost].process);
        self.lost = Some(lost);
        let ports: Vec<u16> = (0..3).filter(|n| *n != lost).map(|n| self.servers[n].port.number).collect();
        let (port, written) = first_write(true, ports).await;
        self.primary = self.servers.iter().position(|server| server.port.number == port).unwrap();
        let address = format!("127.0.0.1 {port}");
        let agrees = |it: &Server| said(it, at).iter().any(|(_, line)| line.contains("+switch-master") && line.ends_with(&address));
        until("all Sentinels say so", async || self.sentinels.iter().all(agrees)).await;
        // The Sentinel that led it, and what that one saw last before.
        let of_who_led =
            self.sentinels.iter().map(|sentinel| said(sentinel, at)).find(|lines| lines.iter().any(|it| it.1.contains("+elected-leader")));
        let lines = of_who_led.expect("a Sentinel says that it leads");
        let last = |what: &str| lines.iter().rev().find(|(_, line)| line.contains(what)).map(|(when, _)| *when);
        let [down, elected, switched] = ["+odown", "+elected-leader", "+switch-master"].map(|what| last(what).expect(what));
        Took {
            detected: down.since(at),
            lease: Duration::ZERO,
            decided_to_write: written.since(down),
            granted_to_write: written.since(elected),
            lost_to_write: written.since(at),
            engine: Duration::ZERO,
            published: Some(switched.since(at)),
        }
    }
}

/// What a Sentinel said since then.
fn said(sentinel: &Server, since: Timestamp) -> Vec<(Timestamp, String)> {
    let log = fs::read_to_string(sentinel.directory.join("log")).unwrap_or_default();
    // `1:X 30 Nov 2026 06:00:00.123 # +odown master race 127.0.0.1 6379 #quorum 2/2`
    let told = log.lines().filter_map(|line| Some((near(since, time_of_day(line, 4)?), line.to_owned())));
    told.filter(|(when, _)| *when >= since).collect()
}

/// Whether its flags say so.
fn is_down(text: &str) -> bool {
    text.contains("s_down") || text.contains("o_down") || text.contains("disconnected")
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.servers.iter_mut().chain(&mut self.sentinels).for_each(|server| end(&mut server.process));
    }
}
