//! The command line as it is written.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use portolan_core::model::{name::Name, record::RecordType};

use super::actions::{Demo, Simulation};
use crate::client::ClientNetwork;

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 error, 3 degraded or failing (status), 4 refused, 5 waiting for approval,
  6 unreachable or no quorum, 7 timed out but running on, 64 wrong usage or config
Environment: PORTOLAN_ADDRESS and PORTOLAN_CONFIG stand in for --address and --config;
  NO_COLOR turns colour off";

/// Steers traffic between regions: health, geo-aware DNS, and the reasons for every answer.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, after_help = EXIT_CODES, max_term_width = 100, subcommand_required = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Control address of a daemon; several are tried in order [default: 127.0.0.1:8443].
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) address: Vec<String>,
    /// Node config: what `serve` runs; other verbs take its control address and TLS files.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// How data is printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    /// No colour, as with NO_COLOR.
    #[arg(long, global = true)]
    pub(super) no_color: bool,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: at most 100 columns of ASCII.
    Table,
    /// For people with wide screens: every column, every service, every endpoint.
    Wide,
    /// For programs: an object with `"version": 1`; new keys may come, old ones keep their meaning.
    /// Times are milliseconds since 1970, shares hundredths of a percent.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the daemon.
    Serve,
    /// Read plan files; works offline.
    Plan {
        #[command(subcommand)]
        verb: PlanVerb,
    },
    /// What is going on, worst first; exits 3 when degraded or failing.
    Status {
        /// Stay, and show each change.
        #[arg(long, short)]
        watch: bool,
    },
    /// Why a region, service or endpoint is as it is.
    Why {
        /// Its name, or its kind and name: `us-east-1`, `region us-east-1`.
        #[arg(required = true, num_args = 1.., value_name = "OBJECT")]
        object: Vec<String>,
    },
    /// Look into DNS answers.
    Dns {
        #[command(subcommand)]
        verb: DnsVerb,
    },
    /// What would follow if regions failed; works offline.
    Simulate(Simulation),
    /// Report that a check of type heartbeat passed; silent when taken.
    Heartbeat {
        /// The check, as named in the plan.
        name: String,
        /// It failed.
        #[arg(long)]
        failed: bool,
        /// A word of explanation that `why` repeats.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Run several regions on this machine and watch one die.
    Demo(Demo),
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum PlanVerb {
    /// Say everything that is wrong with a plan; exits 64 if something is.
    Validate {
        /// The plan file.
        file: PathBuf,
    },
    /// Print the JSON schema of plans, for editors.
    Schema,
    /// Print a plan with its defaults filled in.
    Show {
        /// The plan file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DnsVerb {
    /// The answer that a client would get now, and why.
    Query {
        /// The name asked for.
        name: Name,
        /// The type asked for.
        #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "A")]
        record_type: RecordType,
        /// The client that the resolver asks for (EDNS client subnet); an address means the /24 or /56 around it.
        #[arg(long, value_name = "IP[/LEN]")]
        client: Option<ClientNetwork>,
        /// The resolver that asks [default: the client].
        #[arg(long, value_name = "IP")]
        resolver: Option<IpAddr>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
