//! A trio under Portolan: three daemons in this process, and beside each database an agent and a supervisor as they are shipped. It is built anew for
//! each run, because a second failure in another region within minutes is one too many for automation to act alone.

#![expect(clippy::disallowed_methods, reason = "a benchmark waits for a process")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use portolan::{
    agent::supervisor::{Link, Verb},
    api::proto::GetOutlookRequest,
};
use portolan_core::{
    failover::lease::DRIFT_PERMILLE,
    model::ids::Label,
    recovery::incident::{Milestone, Timeline},
};
use tempfile::TempDir;

use super::{
    Took,
    ground::{Port, end, first_write, give, make, owner, postgres, postgres_bin, postgres_own, run, wall},
};
use crate::{
    agent::clock,
    fleet::{Fleet, NODES, until},
};

/// The last one is the primary.
const REGIONS: [&str; 3] = ["ap-southeast-1", "eu-west-1", "us-east-1"];

/// The run that all first copies of Redis are of.
const FIRST_RUN: &str = "e6336b93e02b189f17407a52dea20f1df2157040";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    Redis,
}

/// What all runs of one engine have in common.
pub(super) struct Ours {
    engine: Engine,
    /// Of the group, as its plan says it, indented by four.
    times: &'static str,
    /// As that makes it.
    lease: Duration,
    folder: TempDir,
    ports: [Port; 3],
}

/// One trio.
pub(super) struct Trio<'a> {
    of: &'a Ours,
    fleet: Fleet,
    members: Vec<Member>,
}

struct Member {
    directory: PathBuf,
    agent: Option<Child>,
    supervisor: Option<Child>,
}

impl Ours {
    pub(super) fn new(engine: Engine, times: &'static str, lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let ours = Self { engine, times, lease, folder, ports: [Port::hold(), Port::hold(), Port::hold()] };
        make(&ours.template());
        match engine {
            Engine::Postgres => ours.make_postgres(),
            Engine::Redis => ours.make_redis(),
        }
        ours
    }

    /// What each trio's data are copies of.
    fn template(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    fn make_postgres(&self) {
        let (template, bin) = (self.template(), postgres_bin());
        let log = self.folder.path().join("log");
        let data = |region: &str| template.join(region).to_str().unwrap().to_owned();
        let primary = data(REGIONS[2]);
        run(
            bin.join("initdb"),
            &["-D", &primary, "-U", "postgres", "-A", "trust", "--data-checksums", "-N", "-E", "UTF8"],
            &template,
            &log,
        );
        let settings = "listen_addresses = '127.0.0.1'\nshared_buffers = 16MB\nwal_keep_size = 256MB\nwal_retrieve_retry_interval = 200ms\n\
            max_wal_senders = 10\nlog_min_messages = log\n";
        let path = Path::new(&primary).join("postgresql.conf");
        fs::write(&path, fs::read_to_string(&path).unwrap() + settings).unwrap();
        let alone = |data: &str, n: usize, verb: &str| {
            let options = format!("-c port={} -c unix_socket_directories={}", self.ports[n].number, template.display());
            run(bin.join("pg_ctl"), &["-D", data, "-w", "-m", "fast", "-l", &format!("{data}.log"), "-o", &options, verb], &template, &log);
        };
        for (n, region) in REGIONS.iter().enumerate().take(2) {
            run("cp", &["-a", &primary, &data(region)], &template, &log);
            // Copies say that they are: each is started for a moment as the standby that it shall be.
            let mark = template.join(region).join("standby.signal");
            fs::write(&mark, "").unwrap();
            give(&mark);
            alone(&data(region), n, "start");
            alone(&data(region), n, "stop");
        }
    }

    /// An empty database, as it was stopped; copies are equal to the last octet.
    fn make_redis(&self) {
        for region in REGIONS {
            let data = self.template().join(region);
            let logs = data.join("appendonlydir");
            make(&data);
            make(&logs);
            let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
            let mut files = vec![
                (data.join("dump.rdb"), snapshot(&[("repl-stream-db", "0"), ("repl-id", FIRST_RUN), ("repl-offset", "1000")])),
                (logs.join("appendonly.aof.1.base.rdb"), snapshot(&[])),
                (logs.join("appendonly.aof.1.incr.aof"), Vec::new()),
                (logs.join("appendonly.aof.manifest"), manifest.into()),
            ];
            if region != REGIONS[2] {
                files.push((data.join("portolan.conf"), "replicaof 127.0.0.1 0\n".into()));
            }
            for (path, octets) in files {
                fs::write(&path, octets).unwrap();
                give(&path);
            }
        }
    }

    fn plan(&self) -> String {
        let (engine, dsn) = match self.engine {
            Engine::Postgres => ("postgresql", " dsn: database,"),
            Engine::Redis => ("redis", ""),
        };
        let member = |(n, region): (usize, &&str)| {
            let port = self.ports[n].number;
            format!("      {region}: {{ address: \"127.0.0.1:{port}\",{dsn} agent: a-{region}, publish: 198.51.100.{n} }}\n")
        };
        let members: String = REGIONS.iter().enumerate().map(member).collect();
        format!(
            "version: 1\nrevision: 1\nname: race\nregions: {{ us-east-1: {{}}, eu-west-1: {{}}, ap-southeast-1: {{}} }}\n\
             health_check_defaults: {{ type: none }}\n\
             zones: {{ gslb.example.net: {{ nameservers: [ns1.example.net], contact: hostmaster@example.net }} }}\n\
             disaster_recovery: {{ rpo_target: 1h, rto_target: 30m, failover_automation: {{ automatic_failover: true, \
             health_check_failures: 3, failure_window: 5m }} }}\n\
             services:\n  orders-write: {{ hostnames: [orders.gslb.example.net], follows: {{ group: orders, ttl: {{ min: 1s, max: 1s }} }} }}\n\
             data_groups:\n  orders:\n    engine: {engine}\n    primary: {}\n    automatic_failover: true\n    on_control_loss: fence\n    \
             fence: [{{ agent: stop }}, {{ lease: expire }}]\n{}    members:\n{members}",
            REGIONS[2], self.times
        )
    }

    /// A trio that is whole: served, followed, and ready to be failed over.
    pub(super) async fn build(&self) -> Trio<'_> {
        let place = self.folder.path().join("trio");
        let _ = fs::remove_dir_all(&place);
        let log = self.folder.path().join("log");
        run("cp", &["-a", self.template().to_str().unwrap(), place.to_str().unwrap()], self.folder.path(), &log);
        let fleet = Fleet::start(&self.plan(), Duration::ZERO, |_| Vec::new()).await;
        let voters: Vec<String> =
            fleet.voters.iter().map(|entry| format!("{{ node: {}, address: \"{}\" }}", entry.node, entry.address)).collect();
        let member = |n: usize| Member::start(self, n, &place, &voters.join(", "));
        let trio = Trio { of: self, fleet, members: (0..3).map(member).collect() };
        until("the group is ready to be failed over", async || trio.is_ready().await).await;
        if self.engine == Engine::Postgres {
            let client = postgres(self.ports[2].number).await.expect("the primary takes connections");
            client.batch_execute("create table ledger (id int)").await.unwrap();
        }
        trio
    }
}

/// A snapshot without data, with these fields before it. Zeros for a checksum mean that there is none.
fn snapshot(fields: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let fields = fields.iter().flat_map(|(key, value)| [vec![0xFA], string(key), string(value)].concat());
    b"REDIS0010".iter().copied().chain(fields).chain([0xFF]).chain([0; 8]).collect()
}

impl Trio<'_> {
    async fn is_ready(&self) -> bool {
        for node in 0..NODES.len() {
            let request = GetOutlookRequest { name: "groups/orders".to_owned() };
            let Ok(answer) = self.fleet.client(node).await.get_outlook(request).await else { return false };
            if answer.outlook.is_none_or(|outlook| !outlook.ready || outlook.evidence != "healthy") {
                return false;
            }
        }
        true
    }

    /// Its primary is lost, with agent and supervisor, and another one is waited for.
    pub(super) async fn fail_over(mut self) -> Took {
        let primary = &mut self.members[2];
        let socket = primary.directory.join("sock");
        // Without its agent nothing is renewed between the look and the loss.
        end(&mut primary.agent);
        let state = Link::connect(&socket).await.unwrap().ask(Verb::Status).await.unwrap();
        let left = Duration::from_micros(state.over_at.expect("it has a lease").saturating_sub(clock().0));
        let at = wall();
        // The holder's lease ends early and the leader's late, each by the drift.
        let over = at + left + self.of.lease / 1000 * DRIFT_PERMILLE * 2;
        end(&mut primary.supervisor);
        let ports = self.of.ports[..2].iter().map(|port| port.number);
        let (port, written) = first_write(self.of.engine == Engine::Redis, ports).await;
        let closed = || self.fleet.nodes.iter().find_map(|node| node.agreed().group(&Label::new("orders"))?.latest.clone());
        until("the operation is over", async || closed().is_some()).await;
        let timeline = Timeline::of_closed(&closed().unwrap(), None);
        let mark = |milestone| timeline.at(milestone).unwrap_or_else(|| panic!("{milestone} in {timeline:?}"));
        let decided = mark(Milestone::Decided);
        let may_act = decided.max(over);
        let told: Vec<String> = [Milestone::Fenced, Milestone::Drained, Milestone::Promoted, Milestone::Published]
            .map(|milestone| format!("{milestone} {}", mark(milestone).since(may_act).as_millis()))
            .into();
        let n = self.of.ports.iter().position(|it| it.number == port).unwrap();
        let engine = match self.of.engine {
            Engine::Postgres => postgres_own(&self.members[n].directory.join("supervise.log"), written).await,
            Engine::Redis => Duration::ZERO,
        };
        println!("  {} ms after the lease and the decision; writable {}", told.join(", "), written.since(may_act).as_millis());
        let took = Took {
            detected: decided.since(at),
            lease: may_act.since(decided),
            decided_to_write: written.since(may_act),
            granted_to_write: written.since(mark(Milestone::Drained)),
            lost_to_write: written.since(at),
            engine,
            published: Some(mark(Milestone::Published).since(at)),
        };
        self.members.clear();
        self.fleet.stop().await;
        took
    }
}

impl Member {
    fn start(of: &Ours, n: usize, place: &Path, voters: &str) -> Self {
        let (region, port) = (REGIONS[n], of.ports[n].number);
        let directory = place.join(format!("{region}.beside"));
        make(&directory);
        let (here, data) = (directory.display(), place.join(region));
        let data = data.display();
        let database = match of.engine {
            Engine::Postgres => format!(
                "postgresql:\n  bin_dir: {}\n  data_directory: {data}\n  dsn: local\n  replication: replication\n  \
                 arguments: [\"-c\", \"port={port}\", \"-c\", \"unix_socket_directories={here}\"]\n",
                postgres_bin().display()
            ),
            Engine::Redis => format!("redis: {{ config: {here}/redis.conf, directory: {data}, address: \"127.0.0.1:{port}\" }}\n"),
        };
        let config = format!(
            "version: 1\nagent: a-{region}\nvoters: [{voters}]\ndata_dir: {here}/agent\nsecrets_dir: {here}\nsocket: {here}/sock\nuser: {}\n{database}",
            owner().name
        );
        let redis = format!(
            "bind 127.0.0.1\nport {port}\nprotected-mode no\nsave \"\"\nappendonly yes\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n"
        );
        let files = [
            ("agent.yaml", config),
            ("redis.conf", redis),
            ("local", format!("host={here} port={port} user=postgres dbname=postgres")),
            ("replication", "user=postgres sslmode=disable".to_owned()),
        ];
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        let beside = |verb: &str| {
            let log = File::create(directory.join(format!("{verb}.log"))).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
            command.arg(verb).arg("--config").arg(directory.join("agent.yaml")).stdin(Stdio::null());
            Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
        };
        let supervisor = beside("supervise");
        let socket = directory.join("sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { agent: beside("agent"), supervisor, directory }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        end(&mut self.agent);
        end(&mut self.supervisor);
    }
}
