//! The databases of the demo: one copy in each region, under a supervisor that is a process of its own, with an agent in this one.
//!
//! ```text
//!  writer --asks for the write name, dials what it is told--> primary --log, over the ways--> standbys
//!                                                              ^  supervisor, vessel (processes)
//!                                                              '- agent (here) --lines, over the ways--> voters
//! ```
//!
//! They are real PostgreSQL servers where its programs are found on this machine, else the fake that is shipped; the screen says which. Nothing is
//! installed, and nothing but loopback is listened on.

mod make;
mod writer;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use portolan_core::model::time::Tick;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::sleep,
};

use super::{
    plan::{self, PLACES},
    stage::LOOK,
};
use crate::{
    cli::Failure,
    config::agent::{self, AgentConfig},
    daemon::{Clock, Detours, beside},
};

pub(super) use make::{Kind, Made};
pub(super) use writer::{Acknowledged, Reach, Writer};

/// Until a supervisor listens: it starts a process and makes a namespace.
const SUPERVISES_MAX: Duration = Duration::from_secs(10);

/// All of them.
pub(super) struct Databases {
    pub(super) kind: Kind,
    pub(super) members: Vec<Member>,
    program: PathBuf,
}

/// One copy.
pub(super) struct Member {
    pub(super) region: usize,
    /// Where its database listens.
    pub(super) address: SocketAddr,
    config_file: PathBuf,
    config: AgentConfig,
    detours: Detours,
    log: PathBuf,
    supervisor: Option<Child>,
    agent: Option<JoinHandle<()>>,
}

impl Databases {
    /// Of what was made, with an agent for each. `voters`: names and addresses; `detours`: per region, where voters and members are reached from there.
    pub(super) fn new(made: &Made, program: &Path, voters: &[(String, String)], detours: Vec<Detours>) -> Result<Self, Failure> {
        let failed = |what: &str, why: &dyn std::fmt::Display| super::stage::failed(&format!("{what} of the databases' agents"), why);
        let mut members = Vec::new();
        for ((region, address), detours) in made.addresses.iter().copied().enumerate().zip(detours) {
            let directory = made.directory(region);
            let text = made.agent_config(region, voters);
            let config_file = directory.join("agent.yaml");
            fs::write(&config_file, &text).map_err(|error| failed("write the config", &error))?;
            let config = agent::load(&text, "agent.yaml").map_err(|problems| failed("read the config", &problems))?.config;
            let log = directory.join("supervise.log");
            members.push(Member { region, address, config_file, config, detours, log, supervisor: None, agent: None });
        }
        Ok(Self { kind: made.kind.clone(), members, program: program.to_owned() })
    }

    /// Starts what stands beside all of them. Which of them runs as what is the cluster's to say.
    pub(super) async fn start(&mut self, clock: &Clock) -> Result<(), Failure> {
        for member in &mut self.members {
            member.start(&self.program, clock).await?;
        }
        Ok(())
    }

    /// The region's host is gone: agent, supervisor and database, without a word.
    pub(super) async fn lose(&mut self, region: usize) -> io::Result<()> {
        for member in self.members.iter_mut().filter(|member| member.region == region) {
            member.lose().await?;
        }
        Ok(())
    }

    /// It is back, with its disk as it was.
    pub(super) async fn revive(&mut self, region: usize, clock: &Clock) -> Result<(), Failure> {
        for member in self.members.iter_mut().filter(|member| member.region == region) {
            member.start(&self.program, clock).await?;
        }
        Ok(())
    }

    /// Ends all of them.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        for member in &mut self.members {
            member.lose().await?;
        }
        Ok(())
    }
}

impl Member {
    /// What the plan calls its agent.
    pub(super) fn agent_name(region: usize) -> String {
        format!("orders-{}", PLACES[region].stem)
    }

    async fn start(&mut self, program: &Path, clock: &Clock) -> Result<(), Failure> {
        let failed =
            |why: &dyn std::fmt::Display| super::stage::failed(&format!("start the database in {}", PLACES[self.region].name), why);
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args(["supervise", "--tied", "--config"]).arg(&self.config_file).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|error| failed(&error))?).stderr(log);
        let mut supervisor = command.spawn().map_err(|error| failed(&error))?;
        let deadline: Tick = clock.tick() + SUPERVISES_MAX;
        while tokio::net::UnixStream::connect(self.config.socket.as_path()).await.is_err() {
            let ended = supervisor.try_wait().map_err(|error| failed(&error))?;
            if ended.is_some() || clock.tick() > deadline {
                return Err(failed(&last_line(&self.log)));
            }
            sleep(LOOK).await;
        }
        self.supervisor = Some(supervisor);
        let (config, detours) = (self.config.clone(), self.detours.clone());
        self.agent = Some(tokio::spawn(async move {
            // What keeps it from its work is seen in status and in what does not come about.
            let _ = beside::serve(&config, &detours).await;
        }));
        Ok(())
    }

    async fn lose(&mut self) -> io::Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.abort();
            // That it was aborted is no news.
            let _ = agent.await;
        }
        match self.supervisor.take() {
            Some(mut supervisor) => supervisor.kill().await,
            None => Ok(()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            agent.abort();
        }
    }
}

/// What it said last; a supervisor that cannot work says why, and ends.
fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("its supervisor does not listen, and says nothing").to_owned()
}

/// The group's name in the plan.
pub(super) const GROUP: &str = "orders";
/// The name that leads to its primary.
pub(super) const WRITE_NAME: &str = "orders.demo.example";

/// What the plan says of it.
pub(super) fn section(made: &Made) -> String {
    let member = |(region, address): (usize, &SocketAddr)| {
        let dsn = if made.kind == Kind::Fake { "" } else { "dsn: orders, " };
        format!(
            "      {}: {{ address: \"{address}\", {dsn}agent: {}, publish: {}, priority: {} }}\n",
            PLACES[region].name,
            Member::agent_name(region),
            address.ip(),
            // The nearest one takes over.
            10 * (region + 1)
        )
    };
    let members: String = made.addresses.iter().enumerate().map(member).collect();
    let (engine, durability) = (made.kind.word(), made.durability());
    let [interval, hold, ttl, margin] = [plan::ROUND, plan::HOLD, plan::LEASE, plan::MARGIN].map(portolan_core::model::time::Human);
    format!(
        "
data_groups:
  {GROUP}:
    engine: {engine}
    primary: {}
    durability: {durability}
    automatic_failover: true
    probe: {{ interval: {interval}, timeout: {interval} }}
    confirm_hold: {hold}
    local_recovery: 0s
    observe: 0s
    lease: {{ ttl: {ttl}, margin: {margin} }}
    fence: [{{ agent: stop }}, {{ lease: expire }}]
    members:
{members}
disaster_recovery:
  rpo_target: 5m
  rto_target: 15m
  failover_automation: {{ automatic_failover: true, health_check_failures: {}, failure_window: 5m }}
  recovery_procedures: {{ data_recovery: {{ primary_source: continuous_replication, validation_steps: [verify_data_integrity] }} }}
",
        PLACES[0].name,
        plan::FAILURES,
    )
}
