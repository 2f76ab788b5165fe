//! The command line: reads arguments, calls the daemon or an offline verb, prints, and ends with a code that scripts can trust.
//!
//! Data goes to stdout, talk to stderr. Output for people is ASCII, fits 100 columns and survives being pasted into a chat; times are UTC
//! with their age. [`run`] takes all that a process has (arguments, environment, streams), so that tests call it without a process.
//! Absent on purpose: prompts, contexts, completion; they come with the verbs that change something.

mod actions;
mod args;
mod dns;
mod exit;
mod render;
mod status;
mod terminal;
mod why;

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};
use serde::Serialize;

pub use actions::{Actions, Demo, Env, Scenario, Simulation};
pub use args::Format;
pub use exit::Exit;
pub use terminal::{Failure, Outcome, Terminal};

use crate::client::{Client, Target};
use args::{Cli, DnsVerb, Global, PlanVerb, Verb};

/// Version of the JSON output: raised when a key goes or changes its meaning.
pub const JSON_VERSION: u32 = 1;

/// Runs with what the process was given.
#[must_use]
pub fn main(actions: &dyn Actions) -> ExitCode {
    // Not locked for good: log lines and panics of other threads go to the same streams.
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let interactive = out.is_terminal();
    // Names and values that are not UTF-8 are none of ours.
    let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive, colour: interactive };
    run(std::env::args_os(), &env, &mut terminal, actions).into()
}

/// Runs one command line, program name first, and returns how it ended; everything has been said by then.
pub fn run(arguments: impl IntoIterator<Item = OsString>, env: &Env, terminal: &mut Terminal<'_>, actions: &dyn Actions) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, terminal),
    };
    if cli.global.no_color || env.get("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        terminal.colour = false;
    }
    let outcome = dispatch(&cli, env, terminal, actions);
    // What cannot be flushed could not be written either, which is an error of its own unless the reader left.
    let outcome = outcome.and_then(|exit| terminal.out.flush().map(|()| exit).map_err(Failure::from));
    outcome.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(terminal.err, "portolan: {}", render::text::lines(&failure.message));
        }
        failure.exit
    })
}

fn usage(error: &clap::Error, terminal: &mut Terminal<'_>) -> Exit {
    let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let (to, exit) = if shown { (&mut *terminal.out, Exit::Ok) } else { (&mut *terminal.err, Exit::Usage) };
    // Nobody is left to tell when the stream is gone.
    let _ = write!(to, "{}", error.render()).and_then(|()| to.flush());
    exit
}

fn dispatch(cli: &Cli, env: &Env, terminal: &mut Terminal<'_>, actions: &dyn Actions) -> Outcome {
    let Cli { global, verb } = cli;
    let config = global.config.clone().or_else(|| env.get("PORTOLAN_CONFIG").map(Into::into));
    let config = config.as_deref();
    let online = || target(global, config, env, actions);
    match verb {
        Verb::Serve => match config {
            Some(config) => actions.serve(config, env, terminal),
            None => Err(Failure::new(Exit::Usage, "serve: which node? give --config FILE, or set PORTOLAN_CONFIG")),
        },
        Verb::Plan { verb: PlanVerb::Validate { file } } => actions.plan_validate(file, global.output, terminal),
        Verb::Plan { verb: PlanVerb::Schema } => actions.plan_schema(terminal),
        Verb::Plan { verb: PlanVerb::Show { file } } => actions.plan_show(file, global.output, terminal),
        Verb::Simulate(simulation) => actions.simulate(simulation, global.output, terminal),
        Verb::Demo(demo) => actions.demo(demo, env, terminal),
        Verb::Version => version(global.output, terminal),
        Verb::Status { watch: false } => block_on(status::once(&online()?, global.output, terminal)),
        Verb::Status { watch: true } => block_on(status::watch(&online()?, global.output, terminal)),
        Verb::Why { object } => block_on(why::run(&online()?, &object.join(" "), global.output, terminal)),
        Verb::Dns { verb: DnsVerb::Query { name, record_type, client, resolver } } => {
            let question = dns::Question { name, record_type: *record_type, client: *client, resolver: *resolver };
            block_on(dns::run(&online()?, &question, global.output, terminal))
        }
        Verb::Heartbeat { name, failed, note } => {
            let target = online()?;
            block_on(async { Ok(Client::connect(&target).await?.beat(name, !failed, note).await.map(|()| Exit::Ok)?) })
        }
    }
}

/// Addresses from the command line win, then the environment's, then those of the config; TLS files always come from the config.
fn target(global: &Global, config: Option<&std::path::Path>, env: &Env, actions: &dyn Actions) -> Result<Target, Failure> {
    let mut target = config.map(|config| actions.control_target(config, env)).transpose()?.unwrap_or_default();
    let named = || env.get("PORTOLAN_ADDRESS").map(|list| list.split(',').map(|address| address.trim().to_owned()).collect());
    if !global.address.is_empty() {
        target.addresses.clone_from(&global.address);
    } else if let Some(addresses) = named() {
        target.addresses = addresses;
    }
    Ok(target)
}

fn block_on(verb: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Error, format!("start the runtime: {error}")))?.block_on(verb)
}

fn version(format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let release = env!("CARGO_PKG_VERSION");
    match format {
        Format::Json => json(terminal, &serde_json::json!({ "release": release })),
        Format::Table | Format::Wide => Ok(writeln!(terminal.out, "portolan {release}")?),
    }?;
    Ok(Exit::Ok)
}

/// Prints one line: the object with the version of its schema before its own keys.
fn json(terminal: &mut Terminal<'_>, body: &impl Serialize) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        version: u32,
        #[serde(flatten)]
        body: &'a T,
    }
    let text = serde_json::to_string(&Versioned { version: JSON_VERSION, body });
    let text = text.map_err(|error| Failure::new(Exit::Error, format!("write JSON: {error}")))?;
    Ok(writeln!(terminal.out, "{text}")?)
}
