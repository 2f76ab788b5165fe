//! The file of contexts: strict, as plans and node configs are, with the line of each problem.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portolan_core::{
    document::{Reader, Severity, Table, Text},
    model::ids::Label,
    section,
};

use crate::{
    api::TlsFiles,
    cli::{Exit, Failure, file},
    client::{BearerToken, Target},
    config::{Problems, parse},
};

/// The longest token that is read, in octets.
const TOKEN_OCTETS_MAX: u64 = 64 * 1024;

section! {
    /// Places to connect to.
    pub struct Contexts {
        /// Version of this format.
        version: u32 where (1..=1) = 1,
        /// The context in use where nothing else is said.
        current: Option<Label> = None,
        /// Contexts by name.
        contexts: Table<Label, Context>,
    }
}

section! {
    /// One place.
    pub struct Context {
        /// Control addresses, tried in order.
        addresses: Vec<Text>,
        /// Files of TLS; relative ones are beside this file. Without them, only this machine can be reached.
        tls: Option<Tls> = None,
        /// A file that holds a bearer token; read anew for each command.
        token_file: Option<Text> = None,
        /// Whether each change shows where it goes, and wants a confirmation.
        protect: bool = false,
    }
}

section! {
    /// Files of TLS.
    pub struct Tls {
        /// Authorities that sign the daemons' certificates, PEM.
        ca_file: Text,
        /// The person's certificate chain, PEM; left out with `token_file`.
        cert_file: Option<Text> = None,
        /// Its private key, PEM.
        key_file: Option<Text> = None,
    }
}

/// Reads the file.
///
/// # Errors
/// [`Exit::Usage`] with every problem and its line.
pub(super) fn read(text: &str, path: &Path) -> Result<Contexts, Failure> {
    let name = path.display().to_string();
    let (document, report) = parse(text);
    let Some(document) = document else { return Err(Failure::new(Exit::Usage, Problems::new(&name, text, report))) };
    let mut reader = Reader::new(&document, report);
    let contexts = reader.document_as::<Contexts>();
    let mut report = reader.into_report();
    if let Some(contexts) = &contexts {
        for (label, context) in contexts.contexts.iter() {
            let at = || portolan_core::document::Path::root().key("contexts").key(label.as_str());
            let mut error = |path, message: &str, fix: &str| report.at_path(Severity::Error, &document, &path, message, fix);
            if context.addresses.is_empty() {
                error(at().key("addresses"), "there is none", "write host:port of one or more daemons");
            }
            match &context.tls {
                Some(tls) if tls.cert_file.is_some() != tls.key_file.is_some() => {
                    error(at().key("tls"), "a certificate and its key belong together", "write both `cert_file` and `key_file`, or none");
                }
                Some(tls) if tls.cert_file.is_none() && context.token_file.is_none() => {
                    error(at().key("tls"), "nothing says who you are", "add `cert_file` and `key_file`, or `token_file`");
                }
                None if context.token_file.is_some() => {
                    error(at().key("token_file"), "a token is sent over TLS only", "add `tls` with `ca_file`");
                }
                _ => {}
            }
        }
        if let Some(current) = contexts.current.as_ref().filter(|current| !contexts.contexts.contains(current)) {
            let path = portolan_core::document::Path::root().key("current");
            report.at_path(Severity::Error, &document, &path, format!("there is no context `{current}`"), "name one of `contexts`");
        }
    }
    match contexts {
        Some(contexts) if report.errors() == 0 => Ok(contexts),
        _ => Err(Failure::new(Exit::Usage, Problems::new(&name, text, report))),
    }
}

/// A path of the file, as seen from where the file is.
fn beside(path: &Path, named: &Text) -> PathBuf {
    path.parent().unwrap_or_else(|| Path::new("")).join(&named.0)
}

/// The files that a context names, by their keys.
pub(super) fn files(context: &Context, path: &Path) -> Vec<(&'static str, PathBuf)> {
    let tls = context.tls.as_ref();
    let named = [
        ("ca_file", tls.map(|tls| &tls.ca_file)),
        ("cert_file", tls.and_then(|tls| tls.cert_file.as_ref())),
        ("key_file", tls.and_then(|tls| tls.key_file.as_ref())),
        ("token_file", context.token_file.as_ref()),
    ];
    named.into_iter().filter_map(|(key, file)| Some((key, beside(path, file?)))).collect()
}

/// Where a context leads to.
///
/// # Errors
/// A sentence: the token cannot be read.
pub(super) fn target(context: &Context, path: &Path) -> Result<Target, String> {
    let tls = context.tls.as_ref();
    let identity = tls.and_then(|tls| Some((tls.cert_file.as_ref()?, tls.key_file.as_ref()?)));
    let ca_file = tls.map(|tls| beside(path, &tls.ca_file));
    let token = context.token_file.as_ref().map(|file| token(&beside(path, file))).transpose()?;
    Ok(Target {
        addresses: context.addresses.iter().map(|address| address.0.clone()).collect(),
        tls: identity.zip(ca_file.clone()).map(|((cert_file, key_file), ca_file)| TlsFiles {
            ca_file,
            cert_file: beside(path, cert_file),
            key_file: beside(path, key_file),
        }),
        ca_file,
        token,
    })
}

fn token(path: &Path) -> Result<BearerToken, String> {
    let named = |problem: String| format!("read a token from `{}`: {problem}", path.display());
    let size = fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
    if size > TOKEN_OCTETS_MAX {
        return Err(named(format!("it has {size} octets; at most {TOKEN_OCTETS_MAX} are read")));
    }
    let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    BearerToken::new(&text).map_err(|error| named(error.to_string()))
}

/// Writes which context is in use; comments and everything else stay as they are.
///
/// # Errors
/// A sentence that names the file; it is as it was then.
pub(super) fn choose(path: &Path, name: &str) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
    let chosen = with_current(&text, name);
    // What was edited by its lines is read again as a whole, before it takes the place of what was sound.
    let sound = read(&chosen, path).ok().is_some_and(|contexts| contexts.current.is_some_and(|current| current.as_str() == name));
    if !sound {
        return Err(format!("`{}` cannot be edited by itself; write `current: {name}` at its top", path.display()));
    }
    file::write_over(path, chosen.as_bytes(), file::PRIVATE)
}

/// The text with another `current`.
fn with_current(text: &str, name: &str) -> String {
    let line = format!("current: {name}");
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(at) = lines.iter().position(|line| line.starts_with("current:")) {
        let comment = lines[at].split_once(" #").map(|(_, comment)| format!("{line} #{comment}"));
        let line = comment.unwrap_or(line);
        lines[at] = &line;
        return lines.join("\n") + "\n";
    }
    let at = lines.iter().position(|line| line.starts_with("contexts:")).unwrap_or(0);
    lines.insert(at, &line);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
version: 1
# Where I work.
current: lab   # most days
contexts:
  lab: { addresses: ['127.0.0.1:8443'] }
  shop-prod:
    addresses: [control.use1.example.net:8443, control.euw1.example.net:8443]
    tls: { ca_file: ca.pem, cert_file: ana.pem, key_file: /keys/ana.key }
    protect: true
";

    fn problems(text: &str) -> String {
        read(text, Path::new("contexts.yaml")).map(|_| String::new()).unwrap_or_else(|failure| failure.message)
    }

    #[test]
    fn a_context_leads_to_addresses_and_files_beside_it() {
        let contexts = read(GOOD, Path::new("/home/ana/contexts.yaml")).unwrap();
        let context = contexts.contexts.get(&Label::new("shop-prod")).unwrap();
        let target = target(context, Path::new("/home/ana/contexts.yaml")).unwrap();
        assert_eq!(target.addresses, ["control.use1.example.net:8443", "control.euw1.example.net:8443"]);
        let tls = target.tls.unwrap();
        assert_eq!((tls.ca_file, tls.key_file), (PathBuf::from("/home/ana/ca.pem"), PathBuf::from("/keys/ana.key")));
        assert!(context.protect);
    }

    #[test]
    fn every_problem_names_its_line() {
        for (from, to, line, part) in [
            ("protect: true", "protekt: true", 9, "protekt"),
            ("protect: true", "protect: sure", 9, "sure"),
            ("cert_file: ana.pem, ", "", 8, "belong together"),
            (", cert_file: ana.pem, key_file: /keys/ana.key", "", 8, "who you are"),
            ("current: lab", "current: lob", 3, "no context `lob`"),
            ("['127.0.0.1:8443']", "[]", 5, "there is none"),
            ("version: 1", "version: 2", 1, "2"),
            ("  lab: {", "  lab: { token_file: t, ", 5, "over TLS only"),
            ("  lab: { addresses: ['127.0.0.1:8443'] }", "  lab: { addresses: ['a'", 6, "not YAML"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let problem = problems(&GOOD.replace(from, to));
            let place = format!("contexts.yaml:{line}:");
            assert!(problem.contains(part) && (problem.contains(&place) || part == "not YAML"), "{from} -> {to}: {problem}");
        }
        assert_eq!(problems(GOOD), "");
    }

    #[test]
    fn choosing_changes_one_line_and_keeps_comments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.yaml");
        fs::write(&path, GOOD).unwrap();
        choose(&path, "shop-prod").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), GOOD.replace("current: lab  ", "current: shop-prod"));
        let without = GOOD.replace("current: lab   # most days\n", "");
        fs::write(&path, &without).unwrap();
        choose(&path, "lab").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), without.replace("contexts:\n", "current: lab\ncontexts:\n"));
        // A file that no line of it can be edited in stays as it is.
        let flow = "{ contexts: { lab: { addresses: [a] } } }\n";
        fs::write(&path, flow).unwrap();
        assert!(choose(&path, "lab").unwrap_err().contains("write `current: lab`"));
        assert_eq!(fs::read_to_string(&path).unwrap(), flow);
    }
}
