//! Beside a database: agent and supervisor as their config says.

mod agent;
mod joined;

use anyhow::Context as _;
use nix::unistd::{User, geteuid};

use super::clock;
use crate::{
    agent::{
        Engine,
        supervisor::{Command, Setup, StopsBy},
    },
    config::agent::{AgentConfig, sections},
    engine::{
        Members,
        fake::Fake,
        mariadb::{self, Mariadb},
        postgres::Postgres,
        redis::Redis,
    },
};

pub(super) use agent::run;
pub use agent::serve;
pub use joined::Joined;

/// An engine that hears what the plan says.
pub trait HearsPlan: Engine {
    /// What the plan says now. `priority`: of this member; `None`: it is never promoted.
    fn take(&self, members: Members, priority: Option<u16>);
}

/// The supervisor of a database.
pub(super) fn supervisor(config: &AgentConfig) -> anyhow::Result<Setup> {
    let program = std::env::current_exe().context("find this program")?;
    let (run, arguments, directory, mark) = if let Some(postgresql) = &config.postgresql {
        let directory = postgresql.data_directory.as_path();
        let own = ["-D".to_owned(), postgresql.data_directory.0.clone()];
        let arguments = own.into_iter().chain(postgresql.arguments.iter().map(|text| text.0.clone())).collect();
        (postgresql.bin_dir.as_path().join("postgres"), arguments, directory, Postgres::mark_in(directory))
    } else if let Some(mariadb) = &config.mariadb {
        let directory = mariadb.data_directory.as_path();
        (mariadb.program.as_path().to_owned(), mariadb_arguments(mariadb), directory, Mariadb::mark_in(directory))
    } else if let Some(fake) = &config.fake {
        let directory = fake.directory.as_path();
        let listen = fake.listen_at().context("`fake.listen` is no loopback address")?.to_string();
        let arguments = ["fake", "serve", "--directory", &fake.directory.0, "--listen", &listen];
        (program.clone(), arguments.map(str::to_owned).to_vec(), directory, Fake::mark_in(directory))
    } else if let Some(redis) = &config.redis {
        let directory = redis.directory.as_path();
        let own: Vec<String> = redis.arguments.iter().map(|text| text.0.clone()).collect();
        let arguments = Redis::arguments(&redis.config.0, &redis.directory.0, &own);
        (redis.program.as_path().to_owned(), arguments, directory, Redis::mark_in(directory))
    } else if config.exec.is_some() || config.http.is_some() || config.patroni.is_some() || config.cloudnative_pg.is_some() {
        anyhow::bail!("another manager runs this database, and nothing is to be supervised: start `portolan agent` alone");
    } else {
        anyhow::bail!("the config names no database");
    };
    let stops_by = if config.mariadb.is_some() { StopsBy::Terminate } else { StopsBy::Interrupt };
    let command = Command { program: run, arguments, directory: directory.to_owned(), mark, user: user(config)?, stops_by };
    Ok(Setup {
        socket: config.socket.as_path().to_owned(),
        command,
        vessel: (program, vec!["vessel".to_owned()]),
        incarnation: clock::entropy(),
    })
}

/// What a MariaDB server is started with.
fn mariadb_arguments(of: &sections::Mariadb) -> Vec<String> {
    let needed = mariadb::arguments(of.option_file.as_path(), of.data_directory.as_path(), &of.log_bin.0, of.domain);
    needed.into_iter().chain(of.arguments.iter().map(|text| text.0.clone())).collect()
}

/// Numbers of the user and the group that the database runs as; `None`: those of this process.
fn user(config: &AgentConfig) -> anyhow::Result<Option<(u32, u32)>> {
    let Some(name) = &config.user else {
        anyhow::ensure!(!geteuid().is_root(), "`user` is not set: a database is not run by root; name the user that owns its files");
        return Ok(None);
    };
    let user = User::from_name(&name.0).with_context(|| format!("look up user `{}`", name.0))?;
    let user = user.with_context(|| format!("there is no user `{}` on this machine", name.0))?;
    Ok((user.uid != geteuid()).then(|| (user.uid.as_raw(), user.gid.as_raw())))
}
