//! The command line: reads arguments, calls the daemon or an offline verb, prints, and ends with a code that scripts can trust.
//!
//! Data goes to stdout, talk to stderr. Output for people is ASCII, fits 100 columns and survives being pasted into a chat; times are UTC
//! with their age. [`run_for`] takes all that a process has (arguments, environment, streams, person), so that tests call it without a process.
//!
//! ```text
//!  arguments --args--> verb --+--> offline verbs: Actions, pki, contexts, completion, check --pre
//!                             '--> Desk (connection, streams, person) --> one file per family of verbs --> Client
//! ```
//!
//! Invariant: what moves a whole region asks first, and does nothing where nobody can be asked; `--dry-run` sends nothing but questions; no
//! flag bypasses a rule without naming it.

mod access;
mod acknowledge;
mod actions;
mod advice;
mod args;
mod audit;
mod certificate;
mod change;
mod check;
mod cluster;
mod context;
mod desk;
mod dns;
mod drill;
mod events;
mod exit;
mod file;
mod freeze;
mod object;
mod orders;
mod peers;
mod picture;
mod pki;
mod plan;
mod recovery;
mod render;
mod shell;
mod span;
mod status;
mod terminal;
mod why;
mod wire;

use std::{
    ffi::OsString,
    io::{BufRead, IsTerminal as _},
    path::Path,
    process::ExitCode,
};

use clap::{Parser as _, error::ErrorKind};
use portolan_core::model::time::Timestamp;
use serde::Serialize;

pub use actions::{Actions, DataKind, Demo, Env, Scenario, Simulation};
pub use args::{FakeVerb, Format};
pub use desk::Person;
pub use exit::Exit;
pub use terminal::{Failure, Outcome, Terminal};

use crate::{api::proto::r#override::Kind, client::Target};
use args::{Cli, DnsVerb, Global, PlanVerb, Verb};
use desk::{Connection, Desk};
use orders::{Wanted, Which};

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
    let asks = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut input = std::io::stdin().lock();
    let person = Person { input: asks.then_some(&mut input), clock: &wall_clock };
    run_for(person, std::env::args_os(), &env, &mut terminal, actions).into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the command line reads the clock; everything behind it gets it handed in"
)]
fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Runs one command line, program name first, with nobody who could be asked, and returns how it ended; everything has been said by then.
pub fn run(arguments: impl IntoIterator<Item = OsString>, env: &Env, terminal: &mut Terminal<'_>, actions: &dyn Actions) -> Exit {
    run_for(Person { input: None, clock: &wall_clock }, arguments, env, terminal, actions)
}

/// The same for a person who can be asked.
pub fn run_for(
    person: Person<'_>,
    arguments: impl IntoIterator<Item = OsString>,
    env: &Env,
    terminal: &mut Terminal<'_>,
    actions: &dyn Actions,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, terminal),
    };
    if cli.global.no_color || env.get("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        terminal.colour = false;
    }
    let outcome = dispatch(&cli, person, env, terminal, actions);
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

fn dispatch(cli: &Cli, person: Person<'_>, env: &Env, terminal: &mut Terminal<'_>, actions: &dyn Actions) -> Outcome {
    let Cli { global, verb } = cli;
    let config = global.config.clone().or_else(|| env.get("PORTOLAN_CONFIG").map(Into::into));
    let config = config.as_deref();
    let format = global.output;
    if matches!(format, Format::Markdown | Format::Html) && !matches!(verb, Verb::Report { .. }) {
        return Err(Failure::new(Exit::Usage, "only `report` is printed as markdown or html; others take table, wide, json or yaml"));
    }
    match verb {
        Verb::Serve => match config {
            Some(config) => actions.serve(config, env, terminal),
            None => Err(Failure::new(Exit::Usage, "serve: which node? give --config FILE, or set PORTOLAN_CONFIG")),
        },
        Verb::Agent => match config {
            Some(config) => actions.agent(config, env, terminal),
            None => Err(Failure::new(Exit::Usage, "agent: of which database? give --config FILE, or set PORTOLAN_CONFIG")),
        },
        Verb::Supervise { tied } => match config {
            Some(config) => actions.supervise(config, *tied, env, terminal),
            None => Err(Failure::new(Exit::Usage, "supervise: which database? give --config FILE, or set PORTOLAN_CONFIG")),
        },
        Verb::Vessel => actions.vessel(terminal),
        Verb::Fake { verb } => actions.fake(verb, terminal),
        Verb::Plan { verb: PlanVerb::Validate { file } } => {
            as_yaml(format, terminal, |format, terminal| actions.plan_validate(file, format, terminal))
        }
        Verb::Plan { verb: PlanVerb::Schema } => actions.plan_schema(terminal),
        Verb::Plan { verb: PlanVerb::Show { file } } => actions.plan_show(file, format, terminal),
        Verb::Simulate(simulation) => as_yaml(format, terminal, |format, terminal| actions.simulate(simulation, format, terminal)),
        Verb::Demo(demo) => actions.demo(demo, env, terminal),
        Verb::Context { verb } => context::run(verb, env, format, terminal),
        Verb::Pki { verb } => pki::run(verb, (person.clock)(), format, terminal),
        Verb::Completion { shell } => shell::completion(*shell, terminal),
        Verb::Man { dir } => shell::man(dir, terminal),
        Verb::Version => version(format, terminal),
        Verb::Check(check::Check { pre: true }) => {
            check::run_offline(config, (person.clock)(), unicode(env, terminal), env, format, terminal, actions)
        }
        verb => {
            let unicode = unicode(env, terminal);
            let connection = connection(global, env, actions)?;
            let Terminal { out, err, interactive, colour } = terminal;
            let terminal = Terminal { out: &mut **out, err: &mut **err, interactive: *interactive, colour: *colour };
            let person = Person { input: person.input.map(|input| -> &mut dyn BufRead { input }), clock: person.clock };
            online(verb, Desk { terminal, person, connection, format, unicode, introduced: false })
        }
    }
}

/// Whether a person looks at a terminal that shows more than ASCII.
fn unicode(env: &Env, terminal: &Terminal<'_>) -> bool {
    terminal.interactive && desk::is_unicode(env)
}

/// The verbs that talk to a daemon.
fn online(verb: &Verb, mut desk: Desk<'_>) -> Outcome {
    let desk = &mut desk;
    let order = |verb, kind| Wanted::new(verb, kind);
    let (target, format, now) = (desk.connection.target.clone(), desk.format, desk.now());
    match verb {
        Verb::Status { watch: false } => block_on(status::once(&target, now, format, &mut desk.terminal)),
        Verb::Status { watch: true } => block_on(status::watch(&target, now, format, &mut desk.terminal)),
        Verb::Why { object, at } => {
            let at = span::past("why", at.as_deref(), now)?;
            block_on(why::run(desk, &target, now, &object.join(" "), at))
        }
        Verb::Dns { verb: DnsVerb::Query { name, record_type, client, resolver, at } } => {
            let at = span::past("dns query", at.as_deref(), now)?;
            let question = dns::Question { name, record_type: *record_type, client: *client, resolver: *resolver, at };
            block_on(dns::run(&target, now, &question, format, &mut desk.terminal))
        }
        Verb::Heartbeat { name, failed, note } => {
            block_on(async { Ok(advice::connect(&target, now).await?.beat(name, !failed, note).await.map(|()| Exit::Ok)?) })
        }
        Verb::Check(_) => block_on(check::run(desk)),
        Verb::Events(args) => block_on(events::run(desk, args)),
        Verb::Drain(args) => {
            let wanted = Wanted { local: args.local, ..order("drain", Kind::Drain) };
            block_on(orders::give(desk, wanted, &args.order.object, &args.order.terms))
        }
        Verb::Weight(args) => block_on(orders::weight(desk, args)),
        Verb::Hold(args) => block_on(orders::give(desk, order("hold", Kind::Hold), &args.object, &args.terms)),
        Verb::Maintenance(args) => block_on(orders::give(desk, order("maintenance", Kind::Maintenance), &args.object, &args.terms)),
        Verb::ForceUp(args) => block_on(orders::give(desk, order("force-up", Kind::ForcedUp), &args.object, &args.terms)),
        Verb::ForceDown(args) => block_on(orders::give(desk, order("force-down", Kind::ForcedDown), &args.object, &args.terms)),
        Verb::Undrain(args) => block_on(orders::take_back(desk, args, Which::Drains)),
        Verb::Release(args) if args.cool_down => block_on(recovery::release(desk, args)),
        Verb::Release(args) => block_on(orders::take_back(desk, &args.take_back, Which::Others)),
        Verb::Overrides => block_on(orders::list(desk)),
        Verb::Freeze(args) => block_on(freeze::freeze(desk, args)),
        Verb::Unfreeze(args) => block_on(freeze::unfreeze(desk, args)),
        Verb::Freezes => block_on(freeze::list(desk)),
        Verb::Ack(args) => block_on(acknowledge::run(desk, args)),
        Verb::Recovery { verb: recovery::RecoveryVerb::Status { group } } => block_on(recovery::status(desk, group.as_deref())),
        Verb::Recovery { verb: recovery::RecoveryVerb::Readiness { group } } => block_on(recovery::readiness(desk, group.as_deref())),
        Verb::Recovery { verb: recovery::RecoveryVerb::Backups { class } } => block_on(recovery::backups(desk, class.as_deref())),
        Verb::Recovery { verb: recovery::RecoveryVerb::Exposure { group } } => block_on(recovery::exposure(desk, group.as_deref())),
        Verb::Drill { verb } => block_on(drill::run(desk, verb)),
        Verb::Adopt(args) => block_on(recovery::adopt(desk, args)),
        Verb::Switchover(args) => block_on(recovery::switchover(desk, args)),
        Verb::Failback(args) => block_on(recovery::failback(desk, args)),
        Verb::Rejoin(args) => block_on(recovery::rejoin(desk, args)),
        Verb::Evacuate(args) => block_on(recovery::evacuate(desk, args)),
        Verb::Evacuations => block_on(recovery::evacuations(desk)),
        Verb::Return(args) => block_on(recovery::bring_back(desk, args)),
        Verb::Returns => block_on(recovery::returns(desk)),
        Verb::Advance(args) => block_on(recovery::advance(desk, args)),
        Verb::Failover(args) => block_on(recovery::failover(desk, args)),
        Verb::Approve(args) => block_on(recovery::approve(desk, args)),
        Verb::Reject(args) => block_on(recovery::reject(desk, args)),
        Verb::Cancel(args) => block_on(recovery::cancel(desk, args)),
        Verb::Turn(args) => block_on(recovery::turn(desk, args)),
        Verb::AssertFenced(args) => block_on(recovery::assert_fenced(desk, args)),
        Verb::RetryStep(args) => block_on(recovery::retry(desk, args)),
        Verb::SkipStep(args) => block_on(recovery::skip(desk, args)),
        Verb::Watch(args) => block_on(recovery::watch(desk, args)),
        Verb::Report { operation } => block_on(recovery::report(desk, operation)),
        Verb::Plan { verb: PlanVerb::Diff(args) } => block_on(plan::diff(desk, args)),
        Verb::Plan { verb: PlanVerb::Apply(args) } => block_on(plan::apply(desk, args)),
        Verb::Peers { verb } => block_on(peers::run(desk, verb.as_ref())),
        Verb::Cluster { verb } => block_on(cluster::run(desk, verb)),
        Verb::Audit { verb } => block_on(audit::run(desk, verb)),
        Verb::Whoami => block_on(access::whoami(desk)),
        Verb::CanI(args) => block_on(access::can_i(desk, args)),
        Verb::Serve
        | Verb::Agent
        | Verb::Supervise { .. }
        | Verb::Vessel
        | Verb::Fake { .. }
        | Verb::Plan { .. }
        | Verb::Simulate(_)
        | Verb::Demo(_)
        | Verb::Context { .. }
        | Verb::Pki { .. }
        | Verb::Completion { .. }
        | Verb::Man { .. }
        | Verb::Version => Err(Failure::new(Exit::Error, "this verb talks to no daemon")),
    }
}

/// Where to connect to. What names a place on the command line wins, then the environment, then the context in use; addresses and a socket
/// replace those of the place, and its TLS files and token stay.
fn connection(global: &Global, env: &Env, actions: &dyn Actions) -> Result<Connection, Failure> {
    let of_config = |config: &Path| Ok::<_, Failure>(Connection { target: actions.control_target(config, env)?, context: None });
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let mut connection = match (&global.context, &global.config, set("PORTOLAN_CONTEXT"), set("PORTOLAN_CONFIG")) {
        (Some(name), _, _, _) => context::named(name, env)?,
        (None, Some(config), _, _) => of_config(config)?,
        (None, None, Some(name), _) => context::named(name, env)?,
        (None, None, None, Some(config)) => of_config(Path::new(config))?,
        (None, None, None, None) => context::current(env)?.unwrap_or_default(),
    };
    let named = || set("PORTOLAN_ADDRESS").map(|list| list.split(',').map(|address| address.trim().to_owned()).collect());
    if let Some(socket) = &global.socket {
        // The kernel says who calls, so neither files nor tokens are of use, and files that are broken are no hindrance.
        connection.target = Target { addresses: vec![format!("unix:{}", socket.display())], ..Target::default() };
    } else if !global.address.is_empty() {
        connection.target.addresses.clone_from(&global.address);
    } else if global.context.is_none()
        && let Some(addresses) = named()
    {
        connection.target.addresses = addresses;
    }
    Ok(connection)
}

/// What knows JSON only, as YAML.
fn as_yaml(format: Format, terminal: &mut Terminal<'_>, verb: impl FnOnce(Format, &mut Terminal<'_>) -> Outcome) -> Outcome {
    if format != Format::Yaml {
        return verb(format, terminal);
    }
    let mut text = Vec::new();
    let outcome = verb(Format::Json, &mut Terminal { out: &mut text, err: &mut *terminal.err, interactive: false, colour: false });
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text) {
        yaml(terminal, &value)?;
    }
    outcome
}

fn block_on(verb: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Error, format!("start the runtime: {error}")))?.block_on(verb)
}

fn version(format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let release = env!("CARGO_PKG_VERSION");
    match format {
        Format::Json | Format::Yaml => data(terminal, format, &serde_json::json!({ "release": release })),
        Format::Table | Format::Wide | Format::Markdown | Format::Html => Ok(writeln!(terminal.out, "portolan {release}")?),
    }?;
    Ok(Exit::Ok)
}

/// Prints an object for programs, the version of its schema before its own keys: JSON on one line, or a YAML document.
fn data(terminal: &mut Terminal<'_>, format: Format, body: &impl Serialize) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        version: u32,
        #[serde(flatten)]
        body: &'a T,
    }
    let body = Versioned { version: JSON_VERSION, body };
    if format == Format::Yaml {
        return yaml(terminal, &body);
    }
    let text = serde_json::to_string(&body).map_err(|error| Failure::new(Exit::Error, format!("write JSON: {error}")))?;
    Ok(writeln!(terminal.out, "{text}")?)
}

/// Prints a document that begins with its mark, so that several of them are a stream.
fn yaml(terminal: &mut Terminal<'_>, body: &impl Serialize) -> Result<(), Failure> {
    let text = serde_yaml::to_string(body).map_err(|error| Failure::new(Exit::Error, format!("write YAML: {error}")))?;
    Ok(writeln!(terminal.out, "---\n{}", text.trim_end())?)
}
