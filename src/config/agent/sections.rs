//! What may be written in an agent config: one table per section.

use std::{net::SocketAddr, time::Duration};

use portolan_core::{
    document::{HostPort, PlainName, Secret, Text, Url, minutes, seconds},
    model::{check::Host, ids::Label},
    section, words,
};

use crate::config::node::sections::{FilePath, LogFormat, Tls};

section! {
    /// The whole agent config.
    pub struct AgentConfig {
        /// Version of this format.
        version: u32 where (1..=1) = 1,
        /// Its name in the plan: `agent` of the member that it stands beside.
        agent: Label,
        /// Those who may lead: it keeps a line to each of them.
        voters: Vec<Voter>,
        /// How long an answer of a voter may be on its way. A line has three times as long to come about, and to say that it lives when it is asked.
        patience: Duration where (seconds(1)..=minutes(1)) = seconds(1),
        /// Its certificates; without them it reaches voters on loopback addresses only.
        tls: Option<Tls> = None,
        /// Where the agent keeps the highest token, the grant, and what a rewind put aside. Must outlive it.
        data_dir: FilePath = FilePath("/var/lib/portolan-agent".to_owned()),
        /// Where secrets lie, one file each.
        secrets_dir: FilePath = FilePath("/etc/portolan/secrets".to_owned()),
        /// Where the supervisor listens for the agent.
        socket: FilePath = FilePath("/run/portolan-agent/supervisor.sock".to_owned()),
        /// The user that the database runs as, where agent and supervisor are started by root; left out: the one that starts them.
        user: Option<PlainName> = None,
        /// The database, where it is PostgreSQL.
        postgresql: Option<Postgresql> = None,
        /// The database, where it is MariaDB.
        mariadb: Option<Mariadb> = None,
        /// The database, where it is Redis or Valkey.
        redis: Option<RedisDatabase> = None,
        /// The database, where it is a fake, for drills.
        fake: Option<FakeDatabase> = None,
        /// The database, where another manager runs it that is led by a program: no supervisor stands under it.
        exec: Option<ExecManager> = None,
        /// The database, where another manager runs it that is led by a service.
        http: Option<HttpManager> = None,
        /// The database, where it is PostgreSQL that Patroni runs: the cluster of this region.
        patroni: Option<PatroniManager> = None,
        /// The database, where it is PostgreSQL that CloudNativePG runs: the cluster of this region.
        cloudnative_pg: Option<CloudNativePgManager> = None,
        /// How log lines look.
        log: LogFormat = LogFormat::Text,
    }
}

section! {
    /// A node that votes.
    pub struct Voter {
        /// Its name; its certificate must bear it.
        node: Label,
        /// Where its peer listener is reached.
        address: HostPort,
    }
}

section! {
    /// A PostgreSQL server, started by the supervisor and by nobody else.
    pub struct Postgresql {
        /// Where its programs are: postgres, pg_controldata, pg_waldump, pg_rewind, pg_basebackup, pg_verifybackup.
        bin_dir: FilePath = FilePath("/usr/lib/postgresql/15/bin".to_owned()),
        /// Its data directory.
        data_directory: FilePath,
        /// Further arguments of `postgres`, for example config_file=… behind -c.
        arguments: Vec<Text> = Vec::new(),
        /// The agent's own connection, over the socket in the file system: a connection string, a name in secrets_dir. A drill of a copy replicates over it.
        dsn: Secret,
        /// What a standby adds to the primary's address when it follows, and pg_rewind when it reads: user and password, a name in secrets_dir.
        replication: Secret,
        /// Where programs lie that restore backups for drills (`backups.*.restore` of the plan); they belong to root or to the user of the agent, nobody else may write them, and they run as the database does.
        hooks_dir: FilePath = FilePath("/etc/portolan/hooks".to_owned()),
    }
}

section! {
    /// A MariaDB server, started by the supervisor and by nobody else, always read-only; the agent opens it. MySQL would be a variant of this.
    pub struct Mariadb {
        /// The server's program.
        program: FilePath = FilePath("/usr/sbin/mariadbd".to_owned()),
        /// Where mariadb-binlog is.
        bin_dir: FilePath = FilePath("/usr/bin".to_owned()),
        /// Its data directory.
        data_directory: FilePath,
        /// The option file that it is started with; its last line includes portolan-standby.cnf in the data directory (`!include`). It gives each member a server_id.
        option_file: FilePath,
        /// The binary log's base name, in the data directory.
        log_bin: PlainName = PlainName("mariadb-bin".to_owned()),
        /// The GTID domain in which the group writes, and in no other.
        domain: u32 = 0,
        /// Further arguments of `mariadbd`.
        arguments: Vec<Text> = Vec::new(),
        /// The agent's own connection: host=PATH-OF-SOCKET user=… password=…, a name in secrets_dir.
        dsn: Secret,
        /// What a standby adds to the primary's address when it follows: user, password and what TLS needs, a name in secrets_dir.
        replication: Secret,
    }
}

section! {
    /// A Redis server, 7.0 or newer, or Valkey; started by the supervisor and by nobody else, and watched by no Sentinel.
    pub struct RedisDatabase {
        /// The server.
        program: FilePath = FilePath("/usr/bin/redis-server".to_owned()),
        /// Its own configuration, where it listens and what it keeps. With appendonly yes a primary that was killed comes back where it was; with
        /// min-replicas-to-write 1 a primary that no other region hears refuses writes, and so does one whose replicas are all away.
        config: FilePath,
        /// Where it keeps its data: dump.rdb, appendonlydir, and portolan.conf, which makes a replica of it while it is there.
        directory: FilePath,
        /// Where the agent reaches it.
        address: HostPort,
        /// Who agents and replicas are on every member: one line with the password, or user and password on two, a name in secrets_dir.
        login: Option<Secret> = None,
        /// Further arguments of the server, for example --maxmemory 1gb.
        arguments: Vec<Text> = Vec::new(),
    }
}

section! {
    /// A fake database: a log that is replicated as PostgreSQL's is, and nothing else. Made by `portolan fake init`.
    pub struct FakeDatabase {
        /// Its directory.
        directory: FilePath,
        /// Where it listens: a loopback address and a port.
        listen: HostPort,
    }
}

words! {
    /// Whether a manager can keep its database from writing.
    pub enum SelfFence("a self-fence") {
        /// Its verb `fence` does, and `probe` shows it.
        Verb = "verb",
        /// It cannot: no failover of this member is ever proven, and a person decides.
        None = "none",
    }
}

section! {
    /// A manager that is a program: one verb per run, as its argument, one JSON object on standard input; exit codes 0 done, 75 not yet, 77 refused.
    pub struct ExecManager {
        /// Where the program lies; it belongs to root or to the user of the agent, and nobody else may write it.
        hooks_dir: FilePath = FilePath("/etc/portolan/hooks".to_owned()),
        /// Its name there.
        program: Secret,
        /// One verb may last so long; then its whole process group is killed. A fence is asked for again and again, so less than the lease's margin.
        timeout: Duration where (seconds(1)..=minutes(10)) = seconds(5),
        /// Whether it can fence.
        self_fence: SelfFence = SelfFence::Verb,
    }
}

section! {
    /// A manager that is a service: POST url/VERB with one JSON object; 2xx done, 425 429 503 not yet, 401 403 409 412 422 refused.
    pub struct HttpManager {
        /// Where the verbs are; https, or http on a loopback address.
        url: Url,
        /// What it is told as bearer, a name in secrets_dir.
        bearer: Option<Secret> = None,
        /// Who signs its certificate, as PEM; left out: whoever the system trusts.
        ca_file: Option<FilePath> = None,
        /// One verb may last so long. A fence is asked for again and again, so less than the lease's margin.
        timeout: Duration where (seconds(1)..=minutes(10)) = seconds(5),
        /// Whether it can fence.
        self_fence: SelfFence = SelfFence::Verb,
    }
}

section! {
    /// The cluster of a region that Patroni runs, led through its REST API. The plan's address of the member leads to whoever leads the cluster.
    pub struct PatroniManager {
        /// Where REST APIs of its members are, without a path; https, or http on a loopback address. The first that answers is asked.
        urls: Vec<Url>,
        /// Who may change its configuration (restapi.authentication): user and password on two lines, a name in secrets_dir; left out: everybody may.
        login: Option<Secret> = None,
        /// Who signs the certificates of the REST APIs, as PEM; left out: whoever the system trusts.
        ca_file: Option<FilePath> = None,
        /// The agent's own connection to any server of the group: user, password, what TLS needs, but no host and port; a name in secrets_dir.
        dsn: Secret,
        /// A file that is there while the region may write, for regions of one member: postgresql.pre_promote asks for it. A reboot must empty the place.
        permit: Option<FilePath> = None,
    }
}

section! {
    /// The cluster of a region that CloudNativePG runs, led through its object. The plan's address of the member leads to its `-rw` service.
    pub struct CloudNativePgManager {
        /// Where the API server of its Kubernetes is: https; left out: https://kubernetes.default.svc, which a pod reaches.
        api: Option<Url> = None,
        /// Of the object; left out: that of the agent's pod, in the file `namespace` beside the token.
        namespace: Option<Label> = None,
        /// The object's name.
        cluster: Label,
        /// The token of the agent's service account, which may get and patch that object; it is read anew for each question.
        token_file: FilePath = FilePath("/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned()),
        /// Who signs the certificate of the API server, as PEM.
        ca_file: FilePath = FilePath("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".to_owned()),
        /// The agent's own connection to any server of the group: user, password, what TLS needs, and as host the name of this region's `-rw` service, which
        /// their certificates bear; instances are reached at the addresses in the object. A name in secrets_dir.
        dsn: Secret,
    }
}

impl FakeDatabase {
    /// Where it listens; `None`: that is no loopback address.
    #[must_use]
    pub fn listen_at(&self) -> Option<SocketAddr> {
        match self.listen.0.host {
            Host::Ip(ip) if ip.is_loopback() => Some(SocketAddr::new(ip, self.listen.0.port)),
            _ => None,
        }
    }
}

impl AgentConfig {
    /// Where the database keeps its files; `None`: the config names no database, or a manager that knows.
    #[must_use]
    pub fn database_directory(&self) -> Option<&FilePath> {
        let postgresql = self.postgresql.as_ref().map(|database| &database.data_directory);
        let mariadb = || self.mariadb.as_ref().map(|database| &database.data_directory);
        let redis = || self.redis.as_ref().map(|database| &database.directory);
        postgresql.or_else(mariadb).or_else(redis).or_else(|| self.fake.as_ref().map(|database| &database.directory))
    }
}
