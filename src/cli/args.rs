//! The command line as it is written. What a verb takes stands in the verb's own file; here is the list of verbs and what all of them take.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use portolan_core::model::{name::Name, record::RecordType};

use super::{
    access::CanI,
    acknowledge::Acknowledge,
    actions::{Demo, Simulation},
    audit::AuditVerb,
    check::Check,
    cluster::ClusterVerb,
    context::ContextVerb,
    drill::DrillVerb,
    events::Events,
    freeze::{Freeze, Unfreeze},
    orders::{Drain, Order, Release, TakeBack, Weight},
    peers::PeersVerb,
    pki::PkiVerb,
    plan::{PlanApply, PlanDiff},
    recovery::{
        About, Adopt, Advance, Approve, AssertFenced, Cancel, Evacuate, Failback, Failover, RecoveryVerb, Rejoin, Return, Switchover, Watch,
    },
    shell::Shell,
};
use crate::client::ClientNetwork;

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 error, 3 degraded or failing (status, check), 4 refused, 5 waiting for approval,
  6 unreachable or no quorum, 7 timed out but running on, 64 wrong usage or config
Environment: PORTOLAN_ADDRESS, PORTOLAN_CONFIG and PORTOLAN_CONTEXT stand in for --address, --config
  and --context; PORTOLAN_CONTEXTS names the file of contexts; NO_COLOR turns colour off";

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
#[command(next_help_heading = "Options of all verbs")]
pub(super) struct Global {
    /// Control address of a daemon; several are tried in order [default: 127.0.0.1:8443].
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) address: Vec<String>,
    /// Break-glass socket of a daemon on this machine: role breakglass, works when nothing else does.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["address", "context"])]
    pub(super) socket: Option<PathBuf>,
    /// Node config: what `serve` runs; other verbs take its control address and TLS files.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A named place to connect to; `context list` shows them.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "config")]
    pub(super) context: Option<String>,
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
    /// Times are RFC 3339 in UTC; numbers for shares are hundredths of a percent.
    Json,
    /// The same object as a YAML document.
    Yaml,
    /// For tickets; `report` only.
    Markdown,
    /// For archives, one document that loads nothing else; `report` only.
    Html,
}

impl Format {
    /// Whether programs read it.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the daemon.
    Serve,
    /// Run the agent beside a database; --config names its config.
    Agent,
    /// Run the supervisor of a database, which lives and dies with it; --config names its agent's config.
    Supervise {
        /// End with the process that starts it, however that ends.
        #[arg(long, hide = true)]
        tied: bool,
    },
    /// The inner part of `supervise`.
    #[command(hide = true)]
    Vessel,
    /// A fake database, for drills: a log that is replicated and failed over as PostgreSQL's is, on loopback only.
    Fake {
        #[command(subcommand)]
        verb: FakeVerb,
    },
    /// What is going on, worst first; exits 3 when degraded or failing.
    Status {
        /// Stay, and show each change.
        #[arg(long, short)]
        watch: bool,
    },
    /// Why a region, service, endpoint or data group (groups/NAME) is as it is, or was.
    Why {
        /// Its name, or its kind and name: `us-east-1`, `region us-east-1`.
        #[arg(required = true, num_args = 1.., value_name = "OBJECT")]
        object: Vec<String>,
        /// As of when, from the history of the node that answers: `2026-11-22T03:02:00Z`, `03:02Z`, `15m ago`.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Look for what is wrong or will be, and say what to do; changes nothing; exits 3 when something fails.
    Check(Check),
    /// What happened lately on the node that answers.
    Events(Events),
    /// Give no new answers that point to an object; its clients move, and leave within their TTL.
    Drain(Drain),
    /// Take drains back, so that traffic comes again at once; a start is not slowed down by it.
    Undrain(TakeBack),
    /// Give an object another weight than the plan's; traffic moves; 0 is standby.
    Weight(Weight),
    /// Let automation start nothing on an object; a region that dies is not failed over while it is held.
    Hold(Order),
    /// Do not count probes of an object; what breaks meanwhile is not seen.
    Maintenance(Order),
    /// Take an object for up, whatever is observed; clients may be sent to what is dead.
    ForceUp(Order),
    /// Take an object for down, whatever is observed; its clients move.
    ForceDown(Order),
    /// Take back a hold or another order that is no drain, or end a cool-down; what it held back happens then.
    Release(Release),
    /// Orders in force: who gave them, why, until when.
    Overrides,
    /// Let people change nothing for a while; health never rests, automation only with --automation.
    Freeze(Freeze),
    /// End a freeze before its time.
    Unfreeze(Unfreeze),
    /// Freezes in force, those of the plan first.
    Freezes,
    /// Say that you have seen it, so that pages are not repeated for a while; changes nothing else.
    Ack(Acknowledge),
    /// Data groups, their agents and operations.
    Recovery {
        #[command(subcommand)]
        verb: RecoveryVerb,
    },
    /// Drills of data groups: begin, list, show, cancel, schedule.
    Drill {
        #[command(subcommand)]
        verb: DrillVerb,
    },
    /// Say who the primary of a data group is, where looking did not tell.
    Adopt(Adopt),
    /// Move the primary of a data group without loss; it cannot be written to for some seconds.
    Switchover(Switchover),
    /// Move the primary of a data group without loss to where the plan expects it; never done by itself.
    Failback(Failback),
    /// Why a member of a data group does not follow; with --reclone it is copied anew, and its old directory removed.
    Rejoin(Rejoin),
    /// Drain a region and switch over the data groups whose primary is there, in order, as one operation.
    Evacuate(Evacuate),
    /// Evacuations, the newest first.
    Evacuations,
    /// Let a drained region take its clients back in steps, each watched; it is drained again when a rollback trigger fires.
    Return(Return),
    /// Returns of traffic, the newest first.
    Returns,
    /// Begin the next step of a return of traffic at once.
    Advance(Advance),
    /// Give the primary of a data group up, and go on with the best copy; what only it had is lost.
    Failover(Failover),
    /// Let an operation that waits for a person go on.
    Approve(Approve),
    /// Say no to an operation that waits for approval; nothing was revoked, and nothing changes.
    Reject(About),
    /// End an operation before its point of no return; of an evacuation: begin no further group; of a return: drain again.
    Cancel(Cancel),
    /// Let a switchover whose old primary does not answer go on as a failover; what it did not hand over may be lost.
    Turn(About),
    /// Answer in your own name for it that an old primary is stopped; its lease is waited for all the same.
    AssertFenced(AssertFenced),
    /// Have the step that an operation is held at tried again at once.
    RetryStep(About),
    /// Go on without the validation of a new primary; no other step can be skipped.
    SkipStep(About),
    /// Follow an operation, an evacuation or a return of traffic until it ends; exits 0 when it succeeded.
    Watch(Watch),
    /// What an operation or a drill did, how long it took and what it lost; markdown, or -o html, json, yaml.
    Report {
        /// The operation, or the drill: op-17, drill-17.
        operation: String,
    },
    /// Read, compare and apply plans.
    Plan {
        #[command(subcommand)]
        verb: PlanVerb,
    },
    /// Look into DNS answers.
    Dns {
        #[command(subcommand)]
        verb: DnsVerb,
    },
    /// What would follow if regions failed; works offline.
    Simulate(Simulation),
    /// Nodes: who votes, who leads, who is behind; and changes of that.
    Peers {
        #[command(subcommand)]
        verb: Option<PeersVerb>,
    },
    /// The agreed state as a whole.
    Cluster {
        #[command(subcommand)]
        verb: ClusterVerb,
    },
    /// What was asked for, by whom, and what became of it.
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Who you are to the daemon, and why.
    Whoami,
    /// Whether you may call a method; exits 4 when not.
    CanI(CanI),
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
    /// Named places to connect to.
    Context {
        #[command(subcommand)]
        verb: ContextVerb,
    },
    /// Make an authority and certificates by it, for a quick start; works offline.
    Pki {
        #[command(subcommand)]
        verb: PkiVerb,
    },
    /// Run several regions on this machine and watch one die.
    Demo(Demo),
    /// Print completions for a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
    /// Write man pages, one for each verb.
    Man {
        /// The directory to write into.
        dir: PathBuf,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum PlanVerb {
    /// Say everything that is wrong with a plan; works offline; exits 64 if something is.
    Validate {
        /// The plan file.
        file: PathBuf,
    },
    /// Print the JSON schema of plans, for editors.
    Schema,
    /// Print a plan with its defaults filled in; works offline.
    Show {
        /// The plan file.
        file: PathBuf,
    },
    /// What differs between the plan in force and a file; changes nothing.
    Diff(PlanDiff),
    /// Put a plan in force on all nodes at once; traffic moves as it says.
    Apply(PlanApply),
}

#[derive(Debug, Subcommand)]
pub(super) enum DnsVerb {
    /// The answer that a client would get, or got, and why.
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
        /// As of when, from the history of the node that answers: `2026-11-22T03:02:00Z`, `03:02Z`, `15m ago`.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
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

    #[test]
    fn every_verb_says_in_one_line_what_it_does() {
        fn look(command: &clap::Command, found: &mut Vec<String>) {
            for verb in command.get_subcommands() {
                let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
                if about.len() < 10 || about.len() > 120 || about.contains('\n') {
                    found.push(format!("{}: {about}", verb.get_name()));
                }
                look(verb, found);
            }
        }
        let mut found = Vec::new();
        look(&Cli::command(), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// What is done with a fake database.
#[derive(Clone, Debug, Subcommand)]
pub enum FakeVerb {
    /// Make one in an empty directory; those with one system identifier are copies of each other.
    Init {
        /// Its directory.
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
        /// Any number above zero.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        system: u64,
        /// It starts as a standby.
        #[arg(long)]
        standby: bool,
    },
    /// Serve it until SIGTERM or SIGINT. `portolan supervise` does this.
    Serve {
        /// Its directory.
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
        /// A loopback address and a port.
        #[arg(long, value_name = "IP:PORT")]
        listen: SocketAddr,
    },
    /// Have one keep a text; printed is where its log ends then.
    Write {
        /// The text, of at most 1024 octets.
        text: String,
        /// Where it listens.
        #[arg(long, value_name = "HOST:PORT")]
        at: String,
    },
    /// Print the texts that one keeps.
    Read {
        /// Where it listens.
        #[arg(long, value_name = "HOST:PORT")]
        at: String,
    },
}
