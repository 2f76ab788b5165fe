//! Makes the databases, as copies of one: with the programs of PostgreSQL that are found here, or as fakes.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{User, geteuid};

use super::{super::plan::PLACES, Member, Reach};
use crate::{cli::Env, daemon::Detours, engine::fake};

/// What an agent of PostgreSQL needs.
const PROGRAMS: [&str; 6] = ["postgres", "initdb", "pg_ctl", "pg_controldata", "pg_rewind", "pg_waldump"];

/// Where distributions put them, each version in a directory of its own.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who runs databases where root runs the demo: the first that there is.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// What they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Kind {
    /// Real servers, with programs from here.
    Postgres(PathBuf),
    /// The fake that is shipped.
    Fake,
}

impl Kind {
    /// Real servers where their programs are found.
    pub(in crate::demo) fn find(env: &Env) -> Self {
        let path = env.get("PATH").map_or("", String::as_str);
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let mut found: Vec<PathBuf> = versions.collect();
        // The newest first, by its number.
        found.sort_by_key(|bin| bin.parent().and_then(|it| it.file_name()?.to_str()?.parse::<u32>().ok()));
        found.reverse();
        let has_all = |bin: &PathBuf| PROGRAMS.iter().all(|program| bin.join(program).is_file());
        let mut candidates = found.into_iter().chain(path.split(':').filter(|it| !it.is_empty()).map(PathBuf::from));
        candidates.find(has_all).map_or(Self::Fake, Self::Postgres)
    }

    /// The engine's word in the plan.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgresql",
            Self::Fake => "fake",
        }
    }
}

/// Databases on disk, none of which runs.
pub(in crate::demo) struct Made {
    pub(super) kind: Kind,
    /// By region.
    pub(in crate::demo) addresses: Vec<SocketAddr>,
    root: PathBuf,
    owner: Owner,
    password: String,
}

/// Who runs them.
struct Owner {
    name: String,
    /// `None`: who runs this.
    ids: Option<(u32, u32)>,
}

impl Made {
    /// One copy per address, below `root`, which others may enter. The first is the one that was a primary. `password` is hard to guess.
    pub(in crate::demo) fn make(kind: Kind, addresses: Vec<SocketAddr>, root: &Path, password: String, system: u64) -> io::Result<Self> {
        let owner = Owner::find()?;
        let made = Self { kind, addresses, root: root.to_owned(), owner, password };
        for region in 0..made.addresses.len() {
            fs::DirBuilder::new().mode(0o700).create(made.directory(region))?;
            made.give(&made.directory(region))?;
        }
        match &made.kind {
            Kind::Postgres(bin) => made.servers(bin)?,
            Kind::Fake => {
                for region in 0..made.addresses.len() {
                    fs::DirBuilder::new().mode(0o700).create(made.data(region))?;
                    made.give(&made.data(region))?;
                    fake::create(&made.data(region), system.max(1), region > 0, made.owner.ids).map_err(io::Error::other)?;
                }
            }
        }
        Ok(made)
    }

    /// Where everything of a region's database is.
    pub(super) fn directory(&self, region: usize) -> PathBuf {
        self.root.join(PLACES[region].stem)
    }

    /// The directory with what agents and nodes must know: `orders`, what is added to a member's address.
    pub(in crate::demo) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// How clients reach them.
    pub(in crate::demo) fn reach(&self, detours: Detours) -> Reach {
        let password = (self.kind != Kind::Fake).then(|| self.password.clone());
        Reach { port: self.addresses.first().map_or(0, SocketAddr::port), password, detours }
    }

    /// How long a write waits: for one standby, where another one is left when that is lost.
    pub(super) const fn durability(&self) -> &'static str {
        if self.addresses.len() > 2 { "remote_quorum" } else { "async" }
    }

    fn data(&self, region: usize) -> PathBuf {
        self.directory(region).join("data")
    }

    /// `voters`: names and addresses.
    pub(super) fn agent_config(&self, region: usize, voters: &[(String, String)]) -> String {
        let (directory, address) = (self.directory(region), self.addresses[region]);
        let voters: Vec<String> = voters.iter().map(|(node, address)| format!("{{ node: {node}, address: \"{address}\" }}")).collect();
        let database = match &self.kind {
            Kind::Postgres(bin) => format!(
                "postgresql:\n  bin_dir: {}\n  data_directory: {}\n  dsn: own-{region}\n  replication: orders\n  arguments: {:?}\n",
                bin.display(),
                self.data(region).display(),
                self.arguments(region)
            ),
            Kind::Fake => format!("fake: {{ directory: {}, listen: \"{address}\" }}\n", self.data(region).display()),
        };
        let user = self.owner.ids.map_or_else(String::new, |_| format!("user: {}\n", self.owner.name));
        format!(
            "version: 1\nagent: {}\nvoters: [{}]\ndata_dir: {directory}/agent\nsecrets_dir: {secrets}\nsocket: {directory}/supervisor.sock\n{user}{database}",
            Member::agent_name(region),
            voters.join(", "),
            directory = directory.display(),
            secrets = self.secrets().display(),
        )
    }

    fn servers(&self, bin: &Path) -> io::Result<()> {
        let secrets = self.secrets();
        fs::DirBuilder::new().mode(0o700).create(&secrets)?;
        let secret = |name: &str, text: &str| {
            let path = secrets.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        };
        let common = format!("user=postgres password={} sslmode=disable", self.password);
        secret("orders", &common)?;
        let first = self.data(0);
        let password_file = self.directory(0).join("password");
        fs::write(&password_file, &self.password)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        self.give(&password_file)?;
        let pwfile = format!("--pwfile={}", password_file.display());
        let first_text = first.display().to_string();
        self.run(
            bin,
            "initdb",
            &["-D", &first_text, "-U", "postgres", "-A", "scram-sha-256", &pwfile, "--data-checksums", "-N", "-E", "UTF8"],
        )?;
        fs::remove_file(&password_file)?;
        let mut conf = fs::read_to_string(first.join("postgresql.conf"))?;
        conf.push_str("shared_buffers = 16MB\nwal_keep_size = 256MB\nwal_retrieve_retry_interval = 200ms\nmax_wal_senders = 10\n");
        fs::write(first.join("postgresql.conf"), conf)?;
        let mut hba = fs::read_to_string(first.join("pg_hba.conf"))?;
        hba.push_str("host all all 127.0.0.0/8 scram-sha-256\nhost replication all 127.0.0.0/8 scram-sha-256\n");
        fs::write(first.join("pg_hba.conf"), hba)?;
        for region in 0..self.addresses.len() {
            if region > 0 {
                // What is copied while nothing runs is equal to the last octet.
                let copied = Command::new("cp").arg("-a").arg(&first).arg(self.data(region)).status()?;
                if !copied.success() {
                    return Err(io::Error::other("copy the database: cp failed"));
                }
            }
            self.settle(bin, region)?;
            let address = self.addresses[region];
            secret(&format!("own-{region}"), &format!("{common} host={} port={} dbname=postgres", address.ip(), address.port()))?;
        }
        Ok(())
    }

    /// Where it listens, as arguments: a rewind overwrites every file of the directory with the other one's.
    fn arguments(&self, region: usize) -> Vec<String> {
        let address = self.addresses[region];
        let settings =
            [format!("listen_addresses={}", address.ip()), format!("port={}", address.port()), "unix_socket_directories=".to_owned()];
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// A copy is started for a moment, so that its files say that it is one.
    fn settle(&self, bin: &Path, region: usize) -> io::Result<()> {
        let data = self.data(region);
        if region > 0 {
            fs::write(data.join("standby.signal"), "")?;
            self.give(&data.join("standby.signal"))?;
            let (text, log) = (data.display().to_string(), self.directory(region).join("make.log").display().to_string());
            let options = self.arguments(region).join(" ");
            self.run(bin, "pg_ctl", &["-D", &text, "-w", "-l", &log, "-o", &options, "start"])?;
            self.run(bin, "pg_ctl", &["-D", &text, "-w", "-m", "fast", "stop"])?;
        }
        Ok(())
    }

    fn run(&self, bin: &Path, program: &str, arguments: &[&str]) -> io::Result<()> {
        let mut command = Command::new(bin.join(program));
        command.args(arguments).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some((user, group)) = self.owner.ids {
            std::os::unix::process::CommandExt::uid(&mut command, user);
            std::os::unix::process::CommandExt::gid(&mut command, group);
        }
        let output = command.output().map_err(|error| io::Error::new(error.kind(), format!("run {program}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program}: {}", said.lines().last().unwrap_or("it failed, and says nothing"))))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.owner.ids.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

impl Owner {
    fn find() -> io::Result<Self> {
        let user = |found: nix::Result<Option<User>>| found.map_err(io::Error::from);
        if !geteuid().is_root() {
            let name = user(User::from_uid(geteuid()))?.map_or_else(String::new, |user| user.name);
            return Ok(Self { name, ids: None });
        }
        for name in USERS {
            if let Some(user) = user(User::from_name(name))? {
                return Ok(Self { name: user.name, ids: Some((user.uid.as_raw(), user.gid.as_raw())) });
            }
        }
        Err(io::Error::other("root runs no database, and there is neither a user `postgres` nor `nobody`"))
    }
}
