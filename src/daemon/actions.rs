//! The verbs that are no clients of the API: each starts from files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portolan_core::{
    cluster::{NodeRole, Role},
    document::Decode as _,
    model::ids::RegionSet,
    simulate::{self, Population, Scenario},
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Listen, Setup, beside, clock,
    cluster::REPLACE_AFTER,
    serve,
    setup::{Clustering, PeerEntry, tls_files},
    world::{WorldError, bare_world, load_plan, read_source},
};
use crate::{
    agent::supervisor,
    api::{AuthOptions, Binding, JwtOptions, TlsFiles, Who},
    cli::{Actions, Demo, Env, Exit, Failure, FakeVerb, Format, JSON_VERSION, Outcome, Simulation, Terminal},
    client::Target,
    config::{
        Problems,
        agent::{self, LoadedAgent},
        node::{
            self, LoadedNode,
            sections::{ControlRole, LogFormat as ConfiguredFormat},
        },
        plan::LoadedPlan,
    },
    demo,
    engine::fake,
    telemetry,
};

/// Clients that a simulation asks for, where the operator gives none.
const CLIENTS: usize = 4000;

/// The whole program.
pub struct Program;

impl Actions for Program {
    fn control_target(&self, config: &Path, env: &Env) -> Result<Target, Failure> {
        let node = load_node(config, env)?;
        let Some(listen) = node.config.listen.control else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{}: `listen.control` is not set, so there is nothing to connect to", config.display()),
            ));
        };
        Ok(Target::of_listener(listen, tls(&node)))
    }

    fn serve(&self, config: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let node = load_node(config, env)?;
        for line in node.warnings.lines() {
            writeln!(terminal.err, "{line}")?;
        }
        init_log(node.config.telemetry.log, env)?;
        let setup = setup(&node)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Error, format!("start the runtime: {error}")))?;
        runtime.block_on(serve(setup)).map(|()| Exit::Ok).map_err(|error| {
            let exit = if error.is::<WorldError>() || error.is::<super::ListenError>() { Exit::Usage } else { Exit::Error };
            Failure::new(exit, format!("{error:#}"))
        })
    }

    fn agent(&self, config: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let loaded = load_agent(config)?;
        for line in loaded.warnings.lines() {
            writeln!(terminal.err, "{line}")?;
        }
        init_log(loaded.config.log, env)?;
        // One thread: an agent is small, and what it does waits for its database.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Error, format!("start the runtime: {error}")))?;
        runtime.block_on(beside::run(&loaded.config)).map(|()| Exit::Ok).map_err(|error| Failure::new(Exit::Error, format!("{error:#}")))
    }

    fn supervise(&self, config: &Path, is_tied: bool, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        if is_tied {
            supervisor::tie().map_err(|error| Failure::new(Exit::Error, error))?;
        }
        let loaded = load_agent(config)?;
        for line in loaded.warnings.lines() {
            writeln!(terminal.err, "{line}")?;
        }
        init_log(loaded.config.log, env)?;
        let setup = beside::supervisor(&loaded.config).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))?;
        supervisor::run(setup, clock::since_boot).map(|()| Exit::Ok).map_err(|error| Failure::new(Exit::Error, error))
    }

    fn vessel(&self, _: &mut Terminal<'_>) -> Outcome {
        supervisor::run_vessel(clock::since_boot).map(|()| Exit::Ok).map_err(|error| Failure::new(Exit::Error, error))
    }

    fn fake(&self, verb: &FakeVerb, terminal: &mut Terminal<'_>) -> Outcome {
        let failed = |what: &str, why: &dyn std::fmt::Display| Failure::new(Exit::Error, format!("fake {what}: {why}"));
        if let FakeVerb::Init { directory, system, standby } = verb {
            return fake::create(directory, *system, *standby, None).map(|()| Exit::Ok).map_err(|trouble| failed("init", &trouble));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed("serve", &error))?;
        runtime.block_on(async {
            match verb {
                FakeVerb::Init { .. } => Ok(Exit::Ok),
                FakeVerb::Serve { directory, listen } => {
                    let serving = fake::Serving { directory: directory.clone(), listen: *listen, clock: clock::since_boot };
                    let stop = told_to_end().map_err(|error| failed("serve", &error))?;
                    fake::serve(serving, stop).await.map(|()| Exit::Ok).map_err(|trouble| failed("serve", &trouble))
                }
                FakeVerb::Write { text, at } => {
                    let mut client = fake::Client::connect(at).await.map_err(|trouble| failed("write", &trouble))?;
                    let end = client.write(text).await.map_err(|trouble| failed("write", &trouble))?;
                    writeln!(terminal.out, "{end}")?;
                    Ok(Exit::Ok)
                }
                FakeVerb::Read { at } => {
                    let mut client = fake::Client::connect(at).await.map_err(|trouble| failed("read", &trouble))?;
                    for text in client.texts().await.map_err(|trouble| failed("read", &trouble))? {
                        writeln!(terminal.out, "{text}")?;
                    }
                    Ok(Exit::Ok)
                }
            }
        })
    }

    fn plan_validate(&self, file: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let outcome = read_source(file).and_then(|source| load_plan(&file.display().to_string(), &source, &[]));
        if format == Format::Json {
            let (exit, problems) = match &outcome {
                Ok(loaded) => (Exit::Ok, loaded.warnings.to_json()),
                Err(WorldError::Plan(problems)) => (Exit::Usage, problems.to_json()),
                Err(error) => (Exit::Usage, Problems::of_file(&file.display().to_string(), &error.to_string(), "").to_json()),
            };
            let value = serde_json::json!({ "version": JSON_VERSION, "valid": exit == Exit::Ok, "report": problems });
            writeln!(terminal.out, "{value:#}")?;
            return Ok(exit);
        }
        let loaded = outcome.map_err(|error| Failure::new(Exit::Usage, error))?;
        let warnings = loaded.warnings.warnings();
        if warnings > 0 {
            write!(terminal.err, "{}", loaded.warnings)?;
        }
        let topology = &loaded.topology;
        let (regions, services, endpoints, zones) =
            (topology.regions.len(), topology.services.len(), topology.endpoints.len(), topology.zones.len());
        writeln!(
            terminal.out,
            "{}: valid, revision {}, {regions} regions, {services} services, {endpoints} endpoints, {zones} zones, {warnings} warnings",
            file.display(),
            topology.revision
        )?;
        Ok(Exit::Ok)
    }

    fn plan_schema(&self, terminal: &mut Terminal<'_>) -> Outcome {
        writeln!(terminal.out, "{:#}", portolan_core::plan::schema())?;
        Ok(Exit::Ok)
    }

    fn plan_show(&self, file: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let shown = load(file, &[])?.plan.to_json();
        if format == Format::Json {
            writeln!(terminal.out, "{shown:#}")?;
        } else {
            let text =
                serde_yaml::to_string(&shown).map_err(|error| Failure::new(Exit::Error, format!("write the plan as YAML: {error}")))?;
            writeln!(terminal.out, "{}", text.trim_end())?;
        }
        Ok(Exit::Ok)
    }

    fn simulate(&self, simulation: &Simulation, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let world = bare_world(load(&simulation.plan, &[])?.topology).map_err(|error| Failure::new(Exit::Error, error))?;
        let topology = &world.topology;
        let mut fail = RegionSet::EMPTY;
        for name in &simulation.fail {
            let Some(region) = topology.region(name) else {
                let known: Vec<String> = topology.regions.iter().map(|region| region.name.to_string()).collect();
                let message = format!("{}: there is no region `{name}`; it has {}", simulation.plan.display(), known.join(", "));
                return Err(Failure::new(Exit::Usage, message));
            };
            fail.insert(region);
        }
        let population = match &simulation.clients {
            None => Population::world(CLIENTS),
            Some(file) => {
                let named =
                    |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("read clients from `{}`: {error}", file.display()));
                let text = fs::read_to_string(file).map_err(|error| named(&error))?;
                Population::parse(&text).map_err(|error| named(&error))?
            }
        };
        let outcome = simulate::run(&world, &Scenario { fail, rps: simulation.rps }, &population);
        if format == Format::Json {
            let value = serde_json::json!({ "version": JSON_VERSION, "simulation": outcome });
            writeln!(terminal.out, "{value:#}")?;
        } else {
            write!(terminal.out, "{}", outcome.render())?;
        }
        Ok(if outcome.refusals.is_empty() { Exit::Ok } else { Exit::Refused })
    }

    fn demo(&self, demo: &Demo, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let program = std::env::current_exe().map_err(|error| Failure::new(Exit::Error, format!("demo: find this program: {error}")))?;
        demo::run(demo, &program, env, terminal)
    }
}

fn load(file: &Path, allowed: &[ipnet::IpNet]) -> Result<LoadedPlan, Failure> {
    let source = read_source(file).map_err(|error| Failure::new(Exit::Usage, error))?;
    load_plan(&file.display().to_string(), &source, allowed).map_err(|error| Failure::new(Exit::Usage, error))
}

impl Setup {
    /// What a node config says, as `portolan serve` takes it.
    ///
    /// # Errors
    /// All problems of the config at once, and what would mend them.
    pub fn load(config: &Path) -> Result<Self, Failure> {
        setup(&load_node(config, &Env::new())?)
    }
}

fn init_log(format: ConfiguredFormat, env: &Env) -> Result<(), Failure> {
    let format = match format {
        ConfiguredFormat::Text => telemetry::LogFormat::Text,
        ConfiguredFormat::Json => telemetry::LogFormat::Json,
    };
    let filter = env.get("PORTOLAN_LOG").map_or("info", String::as_str);
    telemetry::log::init(format, filter).map_err(|error| Failure::new(Exit::Usage, error))
}

fn load_agent(config: &Path) -> Result<LoadedAgent, Failure> {
    let text = fs::read_to_string(config).map_err(|error| Failure::new(Exit::Usage, format!("read `{}`: {error}", config.display())))?;
    agent::load(&text, &config.display().to_string()).map_err(|problems| Failure::new(Exit::Usage, problems))
}

fn load_node(config: &Path, env: &Env) -> Result<LoadedNode, Failure> {
    let text = fs::read_to_string(config).map_err(|error| Failure::new(Exit::Usage, format!("read `{}`: {error}", config.display())))?;
    node::load(&text, &config.display().to_string(), env).map_err(|problems| Failure::new(Exit::Usage, problems))
}

fn tls(node: &LoadedNode) -> Option<TlsFiles> {
    node.config.tls.as_ref().map(tls_files)
}

fn auth(node: &LoadedNode) -> AuthOptions {
    let config = &node.config.auth;
    let jwt = config.jwt.as_ref().map(|jwt| JwtOptions {
        issuer: jwt.issuer.as_str().to_owned(),
        audience: jwt.audience.0.clone(),
        jwks_file: jwt.jwks_file.as_path().to_owned(),
        role_claim: jwt.role_claim.0.clone(),
    });
    let binding = |binding: &node::sections::Binding| {
        let role = match binding.role {
            ControlRole::Viewer => Role::Viewer,
            ControlRole::Operator => Role::Operator,
            ControlRole::Approver => Role::Approver,
            ControlRole::Admin => Role::Admin,
        };
        let group = binding.group.as_ref().map(|group| Who::Group(group.0.clone()));
        Some(Binding { role, who: group.or_else(|| binding.spiffe.as_ref().map(|id| Who::Spiffe(id.as_str().to_owned())))? })
    };
    AuthOptions { jwt, bindings: config.roles.iter().filter_map(binding).collect() }
}

/// `None` for a node without peers.
fn clustering(node: &LoadedNode) -> Result<Option<Clustering>, Failure> {
    let config = &node.config;
    if config.peers.is_empty() {
        return Ok(None);
    }
    let Some(listen) = config.listen.peer else {
        return Err(Failure::new(Exit::Usage, "`listen.peer` is not set: a node with peers needs a peer listener"));
    };
    let entry = |peer: &node::sections::Peer| PeerEntry {
        node: peer.node.clone(),
        region: peer.region.clone(),
        address: peer.address.0.to_string(),
    };
    Ok(Some(Clustering {
        name: config.cluster.as_ref().map(ToString::to_string),
        role: match node.role {
            node::Role::Witness => NodeRole::Witness,
            node::Role::Observer => NodeRole::Observer,
            node::Role::Auto | node::Role::Voter => NodeRole::Voter,
        },
        listen,
        book: config.peers.iter().map(entry).collect(),
        detours: Default::default(),
        heartbeat: config.raft.heartbeat,
        election: config.raft.election_timeout,
        plan_follow: config.plan_follow,
        replace_after: REPLACE_AFTER,
    }))
}

fn setup(node: &LoadedNode) -> Result<Setup, Failure> {
    let config = &node.config;
    let path = |file: &node::sections::FilePath| -> PathBuf { file.as_path().to_owned() };
    let Some(plan) = config.plan.as_ref().map(path) else {
        return Err(Failure::new(Exit::Usage, "`plan` is not set: a node on its own takes its plan from a file"));
    };
    Ok(Setup {
        node: node.node.to_string(),
        region: node.region.to_string(),
        data_dir: Some(path(&config.data_dir)),
        plan,
        secrets_dir: Some(path(&config.secrets_dir)),
        hooks_dir: Some(path(&config.hooks_dir)),
        listen: Listen {
            dns: config.listen.dns.clone(),
            control: config.listen.control,
            http: config.listen.http,
            socket: config.listen.socket.as_ref().map(path),
        },
        auth: auth(node),
        tls: tls(node),
        geo_database: config.geo.database.as_ref().map(path),
        latency_table: config.geo.latency.as_ref().map(path),
        stale_limit: config.stale_limit,
        allowed_targets: config.allow_targets.clone(),
        cluster: clustering(node)?,
    })
}

/// SIGTERM or SIGINT, from now on.
fn told_to_end() -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
