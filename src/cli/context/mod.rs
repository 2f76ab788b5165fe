//! `portolan context`: named places to connect to, in a file of the person's own.

mod file;

use std::path::{Path, PathBuf};

use super::{
    Env, Exit, Failure, Format, Outcome, Terminal, data,
    desk::{Chosen, Connection},
    render::{
        COLUMNS,
        table::{Cell, Table},
        text::plain,
    },
};
use file::{Context, Contexts};

/// The file where the environment names none, below the home directory.
const USUAL: &str = ".config/portolan/contexts.yaml";

#[derive(Debug, clap::Subcommand)]
pub(super) enum ContextVerb {
    /// Contexts of the file; `*` marks the one in use.
    List,
    /// Connect by this context from now on, where nothing else is said.
    Use {
        /// Its name in the file.
        name: String,
    },
    /// Where a context leads to.
    Show {
        /// Its name [default: the one in use].
        name: Option<String>,
    },
}

/// Where the file is; `None`: nobody knows a home.
fn path(env: &Env) -> Option<PathBuf> {
    let named = env.get("PORTOLAN_CONTEXTS").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| env.get("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(home).join(USUAL)))
}

/// The file, where there is one.
fn load(env: &Env) -> Result<Option<(PathBuf, Contexts)>, Failure> {
    let Some(path) = path(env) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path.clone(), file::read(&text, &path)?))),
        // A file that the environment names must be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && env.get("PORTOLAN_CONTEXTS").is_none_or(String::is_empty) => Ok(None),
        Err(error) => Err(Failure::new(Exit::Usage, format!("read contexts from `{}`: {error}", path.display()))),
    }
}

fn missing(env: &Env) -> Failure {
    let path = path(env).map_or_else(|| format!("~/{USUAL}"), |path| path.display().to_string());
    let message = format!(
        "there is no file of contexts `{path}`; write one:\n\
         version: 1\ncontexts:\n  shop-prod:\n    addresses: [control.use1.example.net:8443]\n    \
         tls: {{ ca_file: ca.pem, cert_file: ana.pem, key_file: ana.key }}\n    protect: true"
    );
    Failure::new(Exit::Usage, message)
}

fn find<'a>(contexts: &'a Contexts, path: &Path, name: &str) -> Result<&'a Context, Failure> {
    contexts.contexts.iter().find(|(known, _)| known.as_str() == name).map(|(_, context)| context).ok_or_else(|| {
        let known: Vec<&str> = contexts.contexts.keys().map(|name| name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::new(Exit::Usage, format!("{}: there is no context `{name}`; it has {known}", path.display()))
    })
}

/// The connection of a context by its name.
///
/// # Errors
/// [`Exit::Usage`]: there is no such context, or a file that it names cannot be used.
pub(super) fn named(name: &str, env: &Env) -> Result<Connection, Failure> {
    let (path, contexts) = load(env)?.ok_or_else(|| missing(env))?;
    connection(&path, name, find(&contexts, &path, name)?)
}

/// The connection of the context in use; `None`: there is none.
///
/// # Errors
/// As [`named`].
pub(super) fn current(env: &Env) -> Result<Option<Connection>, Failure> {
    let Some((path, contexts)) = load(env)? else { return Ok(None) };
    let Some(name) = &contexts.current else { return Ok(None) };
    connection(&path, name.as_str(), find(&contexts, &path, name.as_str())?).map(Some)
}

fn connection(path: &Path, name: &str, context: &Context) -> Result<Connection, Failure> {
    let named = |problem: String| Failure::new(Exit::Usage, format!("{}: context {name}: {problem}", path.display()));
    Ok(Connection {
        target: file::target(context, path).map_err(named)?,
        context: Some(Chosen { name: name.to_owned(), protect: context.protect }),
    })
}

pub(super) fn run(verb: &ContextVerb, env: &Env, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let (path, contexts) = load(env)?.ok_or_else(|| missing(env))?;
    match verb {
        ContextVerb::List => list(&contexts, format, terminal),
        ContextVerb::Use { name } => {
            find(&contexts, &path, name)?;
            file::choose(&path, name).map_err(|problem| Failure::new(Exit::Error, problem))?;
            writeln!(terminal.err, "{name} is in use now: {}", path.display())?;
            Ok(Exit::Ok)
        }
        ContextVerb::Show { name } => {
            let chosen = env.get("PORTOLAN_CONTEXT").map(String::as_str).or_else(|| contexts.current.as_ref().map(|name| name.as_str()));
            let name = name.as_deref().or(chosen);
            let name = name.ok_or_else(|| Failure::new(Exit::Usage, "no context is in use; `portolan context list` shows them"))?;
            show(name, find(&contexts, &path, name)?, &path, format, terminal)
        }
    }
}

fn list(contexts: &Contexts, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let is_current = |name: &str| contexts.current.as_ref().is_some_and(|current| current.as_str() == name);
    if format.is_data() {
        let one = |(name, context): (&portolan_core::model::ids::Label, &Context)| {
            let addresses: Vec<String> = context.addresses.iter().map(|address| address.0.clone()).collect();
            serde_json::json!({ "name": name.as_str(), "current": is_current(name.as_str()), "addresses": addresses, "protect": context.protect })
        };
        let all: Vec<_> = contexts.contexts.iter().map(one).collect();
        data(terminal, format, &serde_json::json!({ "contexts": all }))?;
        return Ok(Exit::Ok);
    }
    let row = |(name, context): (&portolan_core::model::ids::Label, &Context)| {
        [
            Cell::from(if is_current(name.as_str()) { "*" } else { "" }.to_owned()),
            plain(name.as_str()).into(),
            if context.protect { "yes" } else { "no" }.to_owned().into(),
            context.addresses.iter().map(|address| plain(&address.0)).collect::<Vec<_>>().join(" ").into(),
        ]
    };
    let table =
        Table { headings: [("", 1), ("NAME", 24), ("PROTECT", 7), ("ADDRESSES", 99)], rows: contexts.contexts.iter().map(row).collect() };
    let width = (format != Format::Wide).then_some(COLUMNS);
    terminal.out.write_all(table.render(width, terminal.colour).as_bytes())?;
    Ok(Exit::Ok)
}

fn show(name: &str, context: &Context, path: &Path, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let addresses: Vec<String> = context.addresses.iter().map(|address| address.0.clone()).collect();
    let files = file::files(context, path);
    if format.is_data() {
        let files: serde_json::Map<String, serde_json::Value> =
            files.into_iter().map(|(key, file)| (key.to_owned(), file.display().to_string().into())).collect();
        let body = serde_json::json!({ "name": name, "addresses": addresses, "files": files, "protect": context.protect });
        data(terminal, format, &body)?;
        return Ok(Exit::Ok);
    }
    writeln!(terminal.out, "{}{}", plain(name), if context.protect { "   protected: each change is confirmed" } else { "" })?;
    writeln!(terminal.out, "addresses   {}", plain(&addresses.join(" ")))?;
    for (key, file) in files {
        writeln!(terminal.out, "{key:<11} {}", file.display())?;
    }
    Ok(Exit::Ok)
}
