//! An authority and certificates by it, up to a real handshake and the role that follows from it.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use portolan::{
    api::{ApiOptions, ApiServer, AuthOptions, Binding, TlsFiles, Who},
    cli::{Env, Exit, Terminal, run},
    client::{Cause, Client, ClientError, Target},
};
use portolan_core::cluster::Role;

use super::{Echo, Ran, double::Ideal, expect, portolan};
use crate::canned::{self, Canned};

/// Runs by the real clock, which handshakes go by.
fn today(arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let arguments: Vec<_> = std::iter::once("portolan").chain(arguments.iter().copied()).map(Into::into).collect();
    let env: Env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
    let exit = run(arguments, &env, &mut terminal, &Echo);
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[track_caller]
fn done(ran: &Ran) {
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
}

fn files(dir: &Path, name: &str) -> TlsFiles {
    TlsFiles { ca_file: dir.join("ca.pem"), cert_file: dir.join(format!("{name}.pem")), key_file: dir.join(format!("{name}.key")) }
}

/// A cluster's authority, a node's certificate and an operator's, made by `runner`.
fn make(dir: &str, cluster: &str, runner: impl Fn(&[&str]) -> Ran) {
    done(&runner(&["pki", "init", "--dir", dir, "--cluster", cluster]));
    let node = ["pki", "issue", "--dir", dir, "node", "use1-a", "--region", "us-east-1", "--host", "localhost,127.0.0.1"];
    done(&runner(&node));
    done(&runner(&["pki", "issue", "--dir", dir, "client", "ana", "--role", "operator"]));
}

#[test]
fn what_was_written_is_said_with_the_lines_that_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    for (name, arguments) in [
        ("pki-init", &["pki", "init", "--dir", "DIR", "--cluster", "shop-prod"][..]),
        ("pki-node", &["pki", "issue", "--dir", "DIR", "node", "use1-a", "--region", "us-east-1", "--host", "use1.example.net"]),
        ("pki-client", &["pki", "issue", "--dir", "DIR", "client", "ana", "--role", "operator", "--days", "30"]),
        ("pki-again", &["pki", "issue", "--dir", "DIR", "client", "ana", "--role", "operator"]),
        ("pki-init-again", &["pki", "init", "--dir", "DIR", "--cluster", "other"]),
    ] {
        let ran = portolan(&arguments.iter().map(|word| if *word == "DIR" { dir.as_str() } else { word }).collect::<Vec<_>>(), &[], false);
        let clean = |text: &str| text.replace(&dir, "DIR");
        assert_eq!(ran.exit != Exit::Ok, name.ends_with("again"), "{name}: {}", ran.err);
        expect(name, arguments, &Ran { exit: ran.exit, out: clean(&ran.out), err: clean(&ran.err) }, "");
    }
    for (name, mode) in [("ca.key", 0o600), ("ca.pem", 0o644), ("ana.key", 0o600), ("use1-a.key", 0o600)] {
        assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let key = std::fs::read(folder.path().join("ana.key")).unwrap();
    let replace = ["pki", "issue", "--dir", &dir, "--replace", "client", "ana", "--role", "viewer", "-o", "json"];
    let ran = portolan(&replace, &[], false);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, &value["spiffe"]), (Exit::Ok, &"spiffe://shop-prod/viewer/ana".into()), "{}", ran.err);
    assert_ne!(std::fs::read(folder.path().join("ana.key")).unwrap(), key, "a renewal has a new key");
}

#[test]
fn an_authority_that_is_missing_strange_or_too_old_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let issue = |days: &str| portolan(&["pki", "issue", "--dir", &dir, "--days", days, "client", "ana", "--role", "viewer"], &[], false);
    let ran = issue("30");
    assert!(ran.exit == Exit::Error && ran.err.contains("pki init"), "{}", ran.err);
    done(&portolan(&["pki", "init", "--dir", &dir, "--cluster", "shop"], &[], false));
    let ran = portolan(&["pki", "issue", "--dir", &dir, "client", "ca", "--role", "viewer"], &[], false);
    assert!(ran.exit == Exit::Usage && ran.err.contains("own files"), "{}", ran.err);
    std::fs::write(folder.path().join("ca.key"), "no key").unwrap();
    let ran = issue("30");
    assert!(ran.exit == Exit::Error && ran.err.contains("ca.key") && !ran.err.contains("no key"), "{}", ran.err);
    assert!(!folder.path().join("ana.pem").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_open_a_connection_and_their_id_gives_the_role() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for dir in [&ours, &theirs] {
        tokio::task::block_in_place(|| make(&dir.display().to_string(), "shop-prod", |arguments| today(arguments, &[])));
    }
    let binding = Binding { role: Role::Operator, who: Who::Spiffe("spiffe://shop-prod/operator/ana".to_owned()) };
    let auth = AuthOptions { jwt: None, bindings: vec![binding] };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ApiOptions { auth, ..ApiOptions::new(listen, Some(files(&ours, "use1-a"))) };
    let server = ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Ideal::founded() as Arc<_>).await.unwrap();
    let port = server.address().port();
    let target = |host: &str, files| Target { addresses: vec![format!("{host}:{port}")], tls: Some(files), ..Target::default() };

    for host in ["localhost", "127.0.0.1"] {
        let client = Client::connect(&target(host, files(&ours, "ana"))).await.unwrap();
        let me = client.who_am_i(portolan::api::proto::WhoAmIRequest {}).await.unwrap();
        assert_eq!((me.name.as_str(), me.role()), ("spiffe://shop-prod/operator/ana", portolan::api::proto::Role::Operator));
    }
    // A node calls others by the same certificate that it serves by.
    let client = Client::connect(&target("localhost", files(&ours, "use1-a"))).await.unwrap();
    let me = client.who_am_i(portolan::api::proto::WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.name.as_str(), me.role()), ("spiffe://shop-prod/node/use1-a", portolan::api::proto::Role::Viewer));
    // The same names by another authority open nothing.
    match Client::connect(&target("localhost", files(&theirs, "ana"))).await {
        Err(ClientError::Unreachable(attempts)) => assert!(matches!(attempts[0].cause, Cause::Tls(_)), "{attempts:?}"),
        other => panic!("it was let in: {:?}", other.map(|client| client.address().to_owned())),
    }
    server.shutdown().await;
}

#[test]
fn a_person_cannot_serve_by_their_certificate() {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().display().to_string(), "shop-prod", |arguments| today(arguments, &[]));
    let files = files(folder.path(), "ana");
    let der = {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        CertificateDer::from_pem_file(&files.cert_file).unwrap()
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any, "{usage:?}");
    assert!(!parsed.is_ca());
}

#[test]
fn a_control_path_that_is_shut_names_the_first_fix() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for dir in [&ours, &theirs] {
        make(&dir.display().to_string(), "shop-prod", |arguments| today(arguments, &[]));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = ApiOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), Some(files(&ours, "use1-a")));
    let server = runtime.block_on(ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Ideal::founded() as Arc<_>)).unwrap();
    let file = folder.path().join("contexts.yaml");
    let context = |name: &str, dir: &Path| {
        format!(
            "  {name}: {{ addresses: ['localhost:{}'], tls: {{ ca_file: {dir}/ca.pem, cert_file: {dir}/ana.pem, key_file: {dir}/ana.key }} }}\n",
            server.address().port(),
            dir = dir.display()
        )
    };
    std::fs::write(&file, format!("contexts:\n{}{}", context("good", &ours), context("foreign", &theirs))).unwrap();
    let file = file.display().to_string();
    let status = |name: &str| today(&["status", "--context", name], &[("PORTOLAN_CONTEXTS", &file)]);
    done(&status("good"));
    let ran = status("foreign");
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(
        ran.err.contains("tried:")
            && ran.err.contains("first fix: the daemon's certificate is by another authority that has the same name"),
        "{}",
        ran.err
    );
    runtime.block_on(server.shutdown());
}
