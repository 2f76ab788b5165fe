//! `portolan agent`: lines to all voters, the machine, the database.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use portolan_core::failover::order::FromAgent;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use super::{HearsPlan, Joined, mariadb_arguments, user};
use crate::{
    agent::{
        Engine, Runner, Setup, Store, Terms,
        link::{Heard, Line, Lines, Voter},
    },
    config::agent::{AgentConfig, sections},
    daemon::{clock, secret, setup::tls_files},
    engine::{
        Members, Server,
        cnpg::{self, Cnpg},
        fake::{self, Fake},
        managed::{
            Managed,
            exec::{self, Exec},
            http::{self, Http},
        },
        mariadb::{self, Mariadb},
        patroni::{self, Patroni},
        postgres::{self, ConnInfo, Postgres},
        redis::{self, Login, Redis},
    },
    net::detour::Detours,
};

/// What is heard from voters and not taken in yet.
const HEARD: usize = 256;

/// What the agent says or is told and is on its way to or from its machine.
const QUEUE: usize = 64;

/// The terms that were heard last, in the agent's directory: an agent that starts while no voter can be reached stands beside the same member.
const TERMS_FILE: &str = "terms.json";

/// Runs until it is told to end. The database goes on under its supervisor, until its deadline at the latest.
pub(in crate::daemon) async fn run(config: &AgentConfig) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let no_detours = Detours::default();
    tokio::select! {
        _ = terminate.recv() => info!("told to end"),
        _ = interrupt.recv() => info!("told to end"),
        ended = serve(config, &no_detours) => return ended,
    }
    Ok(())
}

/// The agent, until its machine ends. `detours`: where voters and other members are reached in place of their addresses.
///
/// # Errors
/// The config cannot be used, or what must be on disk is not.
pub async fn serve(config: &AgentConfig, detours: &Detours) -> anyhow::Result<()> {
    let directory = config.data_dir.as_path();
    let (store, disk) = Store::open(directory)?;
    let kept = read_terms(&directory.join(TERMS_FILE));
    let (cluster, known) = watch::channel(kept.as_ref().map(|terms| terms.cluster.clone()));
    let (hear, mut heard) = mpsc::channel(HEARD);
    let lines = Lines::new(clock::since_boot);
    let tls = config.tls.as_ref().map(tls_files);
    for voter in &config.voters {
        let voter = Voter { node: voter.node.clone(), address: voter.address.0.to_string() };
        let line = Line { agent: config.agent.clone(), tls: tls.clone(), detours: detours.clone(), patience: config.patience };
        tokio::spawn(lines.clone().keep(voter, line, known.clone(), hear.clone()));
    }
    drop(hear);
    let terms = match kept {
        Some(terms) => terms,
        None => {
            info!("waiting for a voter that says which member this agent stands beside");
            first_terms(&mut heard).await?
        }
    };
    keep_terms(&directory.join(TERMS_FILE), &terms)?;
    cluster.send_replace(Some(terms.cluster.clone()));
    info!(group = %terms.group, region = %terms.region, "standing beside a member");

    let engine = engine(config, &terms)?;
    engine.take(members(&terms, detours), terms.priority);
    let (tell, inbox) = mpsc::channel(QUEUE);
    let (outbox, mut said) = mpsc::channel::<FromAgent>(QUEUE);
    let setup = Setup {
        region: terms.region.clone(),
        store,
        disk,
        engine: Arc::clone(&engine) as Arc<dyn Engine>,
        socket: config.socket.as_path().to_owned(),
        clock: clock::since_boot,
        inbox,
        outbox,
    };
    let mut machine = tokio::spawn(Runner::new(setup).await.run());
    loop {
        tokio::select! {
            what = heard.recv() => match what {
                Some(Heard::Said(said)) => {
                    // Full: it is said again.
                    let _ = tell.try_send(said);
                }
                Some(Heard::Terms(new)) if (&new.group, &new.region) == (&terms.group, &terms.region) => {
                    keep_terms(&directory.join(TERMS_FILE), &new)?;
                    engine.take(members(&new, detours), new.priority);
                }
                Some(Heard::Terms(new)) => warn!(
                    "the plan puts this agent beside {} of {} now, and it stands beside {} of {}: empty its data_dir if its database moved",
                    new.region, new.group, terms.region, terms.group
                ),
                None => anyhow::bail!("no voter is configured"),
            },
            Some(what) = said.recv() => lines.say(&what),
            ended = &mut machine => return Ok(ended.context("the agent's machine panicked")??),
        }
    }
}

async fn first_terms(heard: &mut mpsc::Receiver<Heard>) -> anyhow::Result<Terms> {
    loop {
        match heard.recv().await {
            Some(Heard::Terms(terms)) => return Ok(terms),
            Some(Heard::Said(_)) => {}
            None => anyhow::bail!("no voter is configured: add `voters`"),
        }
    }
}

fn members(terms: &Terms, detours: &Detours) -> Members {
    let reached = |host: &str, port: u16| match host.parse::<IpAddr>() {
        Ok(ip) => {
            let at = detours.of(SocketAddr::new(ip, port));
            (at.ip().to_string(), at.port())
        }
        Err(_) => (host.to_owned(), port),
    };
    terms.members.iter().map(|(region, host, port)| (region.clone(), reached(host, *port))).collect()
}

fn read_terms(path: &Path) -> Option<Terms> {
    serde_json::from_slice(&fs::read(path).ok()?).inspect_err(|error| warn!("`{}` is not used: {error}", path.display())).ok()
}

fn keep_terms(path: &Path, terms: &Terms) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(terms)?)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("write `{}`", path.display()))
}

fn engine(config: &AgentConfig, terms: &Terms) -> anyhow::Result<Arc<dyn HearsPlan>> {
    let evidence = config.data_dir.as_path().join("evidence");
    Ok(if let Some(of) = &config.mariadb {
        joined(mariadb(config, of, terms, evidence)?, terms)
    } else if let Some(of) = &config.redis {
        joined(redis(config, of, terms, evidence)?, terms)
    } else if let Some(of) = &config.exec {
        joined(Managed::new(exec(of), terms.group.clone(), terms.region.clone()), terms)
    } else if let Some(of) = &config.http {
        joined(Managed::new(http(config, of)?, terms.group.clone(), terms.region.clone()), terms)
    } else if let Some(of) = &config.patroni {
        joined(Managed::new(patroni(config, of, terms)?, terms.group.clone(), terms.region.clone()), terms)
    } else if let Some(of) = &config.cloudnative_pg {
        joined(Managed::new(cnpg(config, of, terms)?, terms.group.clone(), terms.region.clone()), terms)
    } else if let Some(of) = &config.fake {
        let listen = of.listen_at().context("`fake.listen` is no loopback address")?;
        let (region, directory, owner) = (terms.region.clone(), of.directory.as_path().to_owned(), user(config)?);
        joined(Fake::new(fake::Setup { region, directory, listen, owner, evidence }), terms)
    } else {
        let of = config.postgresql.as_ref().context("the config names no database")?;
        joined(postgresql(config, of, terms, evidence)?, terms)
    })
}

fn joined<S: Server>(server: S, terms: &Terms) -> Arc<dyn HearsPlan> {
    Arc::new(Joined::new(server, terms.region.clone(), terms.priority))
}

fn exec(of: &sections::ExecManager) -> Exec {
    Exec::new(exec::Setup {
        directory: of.hooks_dir.as_path().to_owned(),
        program: of.program.0.to_string(),
        timeout: of.timeout,
        fences: of.self_fence == sections::SelfFence::Verb,
    })
}

fn http(config: &AgentConfig, of: &sections::HttpManager) -> anyhow::Result<Http> {
    let bearer = of.bearer.as_ref().map(|name| secret::read(config.secrets_dir.as_path(), name.0.as_str())).transpose()?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("read `http.ca_file` from `{}`", path.display()));
    let ca = of.ca_file.as_ref().map(|file| read(file.as_path())).transpose()?;
    let fences = of.self_fence == sections::SelfFence::Verb;
    let url = of.url.as_str().trim_end_matches('/').to_owned();
    Ok(Http::new(http::Setup { url, bearer, ca, timeout: of.timeout, fences })?)
}

fn patroni(config: &AgentConfig, of: &sections::PatroniManager, terms: &Terms) -> anyhow::Result<Patroni> {
    let login = |name: &str| -> anyhow::Result<patroni::Login> {
        let text = secret::read(config.secrets_dir.as_path(), name)?;
        patroni::Login::parse(&text).with_context(|| format!("read secret `{name}` as a login"))
    };
    Ok(Patroni::new(patroni::Setup {
        region: terms.region.clone(),
        urls: of.urls.iter().map(|url| url.as_str().to_owned()).collect(),
        login: of.login.as_ref().map(|name| login(name.0.as_str())).transpose()?,
        authorities: of.ca_file.as_ref().map(|file| file.as_path().to_owned()),
        own: conninfo(config, of.dsn.0.as_str())?,
        permit: of.permit.as_ref().map(|file| file.as_path().to_owned()),
        directory: config.data_dir.as_path().to_owned(),
    })?)
}

fn cnpg(config: &AgentConfig, of: &sections::CloudNativePgManager, terms: &Terms) -> anyhow::Result<Cnpg> {
    let namespace = match &of.namespace {
        Some(name) => name.to_string(),
        None => {
            let file = of.token_file.as_path().with_file_name("namespace");
            let text = fs::read_to_string(&file);
            let text = text.with_context(|| format!("read the namespace from `{}`: write `cloudnative_pg.namespace`", file.display()))?;
            text.trim().to_owned()
        }
    };
    Ok(Cnpg::new(cnpg::Setup {
        region: terms.region.clone(),
        api: of.api.as_ref().map_or(cnpg::IN_CLUSTER, |url| url.as_str()).to_owned(),
        namespace,
        cluster: of.cluster.to_string(),
        token: of.token_file.as_path().to_owned(),
        authorities: of.ca_file.as_path().to_owned(),
        own: conninfo(config, of.dsn.0.as_str())?,
    })?)
}

fn conninfo(config: &AgentConfig, name: &str) -> anyhow::Result<ConnInfo> {
    let text = secret::read(config.secrets_dir.as_path(), name)?;
    ConnInfo::for_programs(&text).with_context(|| format!("read secret `{name}` as a connection string"))
}

fn mariadb(config: &AgentConfig, of: &sections::Mariadb, terms: &Terms, evidence: PathBuf) -> anyhow::Result<Mariadb> {
    let own = conninfo(config, of.dsn.0.as_str())?;
    let replication = conninfo(config, of.replication.0.as_str())?;
    for (name, info) in [(&of.dsn, own.clone()), (&of.replication, replication.clone().with("host", "127.0.0.1"))] {
        mariadb::Account::new(&info).with_context(|| format!("use secret `{}`", name.0))?;
    }
    Ok(Mariadb::new(mariadb::Setup {
        region: terms.region.clone(),
        system: mariadb::system_of(&terms.group),
        program: of.program.as_path().to_owned(),
        bin_dir: of.bin_dir.as_path().to_owned(),
        arguments: mariadb_arguments(of),
        data_directory: of.data_directory.as_path().to_owned(),
        log_bin: of.log_bin.0.to_string(),
        domain: of.domain,
        owner: user(config)?,
        own,
        replication,
        evidence,
    }))
}

fn redis(config: &AgentConfig, of: &sections::RedisDatabase, terms: &Terms, evidence: PathBuf) -> anyhow::Result<Redis> {
    let login = |name: &str| -> anyhow::Result<Login> {
        Login::parse(&secret::read(config.secrets_dir.as_path(), name)?).with_context(|| format!("read secret `{name}` as a login"))
    };
    Ok(Redis::new(redis::Setup {
        region: terms.region.clone(),
        config: of.config.as_path().to_owned(),
        arguments: of.arguments.iter().map(|text| text.0.clone()).collect(),
        directory: of.directory.as_path().to_owned(),
        address: (of.address.0.host.to_string(), of.address.0.port),
        login: of.login.as_ref().map(|name| login(name.0.as_str())).transpose()?,
        owner: user(config)?,
        evidence,
    }))
}

fn postgresql(config: &AgentConfig, of: &sections::Postgresql, terms: &Terms, evidence: PathBuf) -> anyhow::Result<Postgres> {
    Ok(Postgres::new(postgres::Setup {
        region: terms.region.clone(),
        bin_dir: of.bin_dir.as_path().to_owned(),
        data_directory: of.data_directory.as_path().to_owned(),
        arguments: of.arguments.iter().map(|text| text.0.clone()).collect(),
        owner: user(config)?,
        own: conninfo(config, of.dsn.0.as_str())?,
        replication: conninfo(config, of.replication.0.as_str())?,
        hooks: of.hooks_dir.as_path().to_owned(),
        evidence,
    }))
}
