//! Regions as CloudNativePG runs them, by a stand-in (`tests/data/cnpg/cluster.py`): an API server with one object, an operator and an instance manager, over
//! a real PostgreSQL server.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Child,
};

use portolan::engine::{
    cnpg::{self, Cnpg},
    managed::Managed,
    postgres::ConnInfo,
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use socket2::Socket;

use super::{
    leader::group_name,
    patroni_server::{end, end_server, spawn},
    postgres::{Member, bin, hold_port, owner},
};

/// What lets the agent in.
const TOKEN: &str = "hush-1";

/// One region.
pub(crate) struct Region {
    name: String,
    directory: PathBuf,
    api: u16,
    port: u16,
    _held: Socket,
    process: Option<Child>,
}

fn name_of(region: &str) -> String {
    format!("orders-{region}")
}

impl Region {
    /// `members`: where each region's server is. The one that is `primary` is that.
    pub(super) fn new(region: &str, directory: &Path, members: &[(String, u16)], primary: &str) -> Self {
        let (held, api) = hold_port();
        let port = members.iter().find(|(name, _)| name == region).unwrap().1;
        let this = Self { name: name_of(region), directory: directory.to_owned(), api, port, _held: held, process: None };
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let externals: Vec<_> = members
            .iter()
            .map(|(name, port)| {
                let parameters = json!({ "host": "127.0.0.1", "port": port.to_string(), "user": "postgres", "sslmode": "disable" });
                json!({ "name": name_of(name), "connectionParameters": parameters })
            })
            .collect();
        let object = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": { "name": this.name, "namespace": "db", "resourceVersion": "1" },
            "spec": {
                "instances": 1,
                "replica": { "primary": name_of(primary), "source": name_of(primary) },
                "externalClusters": externals
            },
            "status": {}
        });
        this.place("api-cert.pem", &certificate.pem());
        this.place("api-key.pem", &key.serialize_pem());
        this.place("object.json", &object.to_string());
        this.let_in(TOKEN);
        this.hand(TOKEN);
        let program = include_str!("../../data/cnpg/cluster.py");
        this.place("cluster.py", program);
        this
    }

    fn place(&self, name: &str, text: &str) {
        let file = self.directory.join(name);
        fs::write(&file, text).unwrap();
        chown(&file, Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
    }

    /// From now on the API server knows this token, and no other.
    pub(super) fn let_in(&self, token: &str) {
        self.place("expected", token);
    }

    /// From now on the agent's file has this token.
    pub(super) fn hand(&self, token: &str) {
        self.place("token", &format!("{token}\n"));
    }

    /// From now on its operator does nothing, or goes on.
    pub(super) fn idle(&self, asleep: bool) {
        let file = self.directory.join("asleep");
        if asleep { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    /// Starts it, where it does not run; it starts its server.
    pub(super) fn launch(&mut self) {
        if self.process.is_none() {
            let [directory, bin] = [self.directory.as_path(), &bin()].map(|path| path.display().to_string());
            let arguments = ["cluster.py".to_owned(), directory, self.name.clone(), bin, self.api.to_string(), self.port.to_string()];
            // The system's own: whatever is first in PATH may be root's alone.
            self.process = Some(spawn("/usr/bin/python3", &arguments, &self.directory, "cluster.log"));
        }
    }

    /// The object as it is.
    pub(super) fn object(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.directory.join("object.json")).unwrap()).unwrap()
    }

    /// Its Kubernetes is gone.
    pub(super) fn lose(&mut self) {
        end(&mut self.process);
        end_server(&self.directory.join("data"));
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
            println!("--- {}\n{:#}\n{}\n{}", self.name, self.object(), log("cluster.log"), log("server.log"));
        }
        self.lose();
    }
}

/// The agent's side of a member.
pub(super) fn server(member: &Member) -> Managed<Cnpg> {
    let region = member.cnpg();
    let setup = cnpg::Setup {
        region: member.region.clone(),
        api: format!("https://127.0.0.1:{}", region.api),
        namespace: "db".to_owned(),
        cluster: region.name.clone(),
        token: region.directory.join("token"),
        authorities: region.directory.join("api-cert.pem"),
        own: ConnInfo::parse(&format!("port={} {OWN}", region.port)).unwrap(),
    };
    Managed::new(Cnpg::new(setup).unwrap(), group_name(), member.region.clone())
}

/// Who the agent is to all servers.
const OWN: &str = "user=postgres dbname=postgres sslmode=disable";

/// For an agent's config.
pub(super) fn section(member: &Member) -> String {
    let region = member.cnpg();
    fs::write(member.directory.join("servers"), format!("port={} {OWN}", region.port)).unwrap();
    format!(
        "cloudnative_pg: {{ api: \"https://127.0.0.1:{}\", namespace: db, cluster: {}, token_file: {2}/token, ca_file: {2}/api-cert.pem, dsn: servers }}\n",
        region.api,
        region.name,
        region.directory.display()
    )
}
