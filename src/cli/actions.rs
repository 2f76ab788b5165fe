//! The verbs that are not clients of the API: whoever composes the program supplies them.
//!
//! The command line knows their arguments, not their workings, so that it can be tested without a daemon, and a daemon without it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Exit, Failure, FakeVerb, Format, Outcome, Terminal};
use crate::client::Target;

/// The environment by name, as it was at the start.
pub type Env = BTreeMap<String, String>;

/// The verbs that work here and not over the API. A build may leave some out; asking for one then says so and exits 1.
pub trait Actions {
    /// Where the control listener of the node of this config file is, for a client on the same machine: see [`Target::of_listener`].
    ///
    /// # Errors
    /// [`Exit::Usage`] with every problem of the file.
    fn control_target(&self, config: &Path, env: &Env) -> Result<Target, Failure> {
        let _ = (config, env);
        Err(absent("--config"))
    }

    /// Runs the daemon until it is told to stop.
    ///
    /// # Errors
    /// [`Exit::Usage`] when a file is wrong, [`Exit::Error`] when a port is taken and the like.
    fn serve(&self, config: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (config, env, terminal);
        Err(absent("serve"))
    }

    /// Runs the agent beside a database until it is told to stop.
    ///
    /// # Errors
    /// [`Exit::Usage`] when a file is wrong, [`Exit::Error`] when it cannot keep what it must not forget.
    fn agent(&self, config: &Path, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (config, env, terminal);
        Err(absent("agent"))
    }

    /// Runs the supervisor of a database until it is told to stop. `is_tied`: it ends with the process that started it.
    ///
    /// # Errors
    /// [`Exit::Usage`] when a file is wrong, [`Exit::Error`] when no vessel can be made, or when it ended.
    fn supervise(&self, config: &Path, is_tied: bool, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (config, is_tied, env, terminal);
        Err(absent("supervise"))
    }

    /// Runs as the first process of a vessel.
    ///
    /// # Errors
    /// [`Exit::Error`] when it is not started as one.
    fn vessel(&self, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = terminal;
        Err(absent("vessel"))
    }

    /// Makes, serves or asks a fake database.
    ///
    /// # Errors
    /// [`Exit::Error`] with what could not be done.
    fn fake(&self, verb: &FakeVerb, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (verb, terminal);
        Err(absent("fake"))
    }

    /// Says what is wrong with a plan file, or that nothing is; warnings go to stderr.
    ///
    /// # Errors
    /// [`Exit::Usage`] with every problem of the file.
    fn plan_validate(&self, file: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (file, format, terminal);
        Err(absent("plan validate"))
    }

    /// Prints the JSON schema of a plan.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn plan_schema(&self, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = terminal;
        Err(absent("plan schema"))
    }

    /// Prints a plan with its defaults filled in.
    ///
    /// # Errors
    /// [`Exit::Usage`] with every problem of the file.
    fn plan_show(&self, file: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (file, format, terminal);
        Err(absent("plan show"))
    }

    /// Says what would follow if regions failed.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the plan is wrong or has no such region.
    fn simulate(&self, simulation: &Simulation, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (simulation, format, terminal);
        Err(absent("simulate"))
    }

    /// Runs several regions on this machine and loses one.
    ///
    /// # Errors
    /// [`Exit::Error`] when what should be seen was not.
    fn demo(&self, demo: &Demo, env: &Env, terminal: &mut Terminal<'_>) -> Outcome {
        let _ = (demo, env, terminal);
        Err(absent("demo"))
    }
}

fn absent(verb: &str) -> Failure {
    Failure::new(Exit::Error, format!("`{verb}` is not part of this build"))
}

/// What `simulate` shall look at.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Simulation {
    /// The plan file.
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// Regions that fail, all at once.
    #[arg(long, value_name = "REGION", num_args = 1.., required = true)]
    pub fail: Vec<String>,
    /// Requests per second over all regions, to compare with the declared capacity.
    #[arg(long, value_name = "N")]
    pub rps: Option<u64>,
    /// Client networks and their weights, one `NETWORK [WEIGHT]` per line; default: a model population of the world.
    #[arg(long, value_name = "FILE")]
    pub clients: Option<PathBuf>,
}

/// How the demo shall run.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Demo {
    /// What happens.
    #[arg(long, value_enum, default_value_t = Scenario::RegionLoss)]
    pub scenario: Scenario,
    /// Ask nothing and end by itself.
    #[arg(long)]
    pub yes: bool,
    /// How many regions, 2 to 3.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub regions: u8,
    /// Which databases are there; default where a region is lost: PostgreSQL where its programs are found, else the fake; where one is cut off: none.
    #[arg(long, value_enum, value_name = "KIND")]
    pub data: Option<DataKind>,
}

/// Databases of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DataKind {
    /// Real servers.
    Postgresql,
    /// The fake that is shipped for drills.
    Fake,
    /// None.
    None,
}

/// What happens in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// A region dies, nodes and all, and comes back.
    RegionLoss,
    /// A region loses its uplink: both sides go on, one of them decides, and they become one again.
    Partition,
}
