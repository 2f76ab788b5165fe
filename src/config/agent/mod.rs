//! The agent config: which database stands beside an agent, and where it and its supervisor keep things. Both processes read the same file.
//!
//! Absent on purpose: everything that the plan says of the group, which the agent hears from the cluster.

mod rules;
pub mod sections;

use portolan_core::document::Reader;
pub use sections::AgentConfig;

use super::{
    render::{Loading, Problems},
    yaml,
};

/// An agent config that can be used.
#[derive(Clone, Debug)]
pub struct LoadedAgent {
    /// As written, defaults filled in.
    pub config: AgentConfig,
    /// What somebody should look at.
    pub warnings: Problems,
}

/// Loads an agent config. `file` is how problems name it.
///
/// # Errors
/// Every problem of the text, with line, path and fix.
pub fn load(text: &str, file: &str) -> Result<LoadedAgent, Problems> {
    let loading = Loading { file, text };
    let (document, report) = yaml::parse(text);
    let Some(document) = document else { return Err(loading.problems(report)) };
    let mut reader = Reader::new(&document, report);
    let config = reader.document_as::<AgentConfig>();
    let mut report = reader.into_report();
    let Some(config) = config else { return Err(loading.problems(report)) };
    rules::check(&config, &document, &mut report);
    if report.errors() > 0 {
        return Err(loading.problems(report));
    }
    Ok(LoadedAgent { config, warnings: loading.problems(report) })
}

/// The JSON schema of the agent config (draft 2020-12).
#[must_use]
pub fn schema() -> serde_json::Value {
    portolan_core::document::document_schema::<AgentConfig>("Portolan agent config, version 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "version: 1\nagent: pg-use1\nvoters: [{ node: use1-a, address: \"10.0.0.1:8444\" }]\n\
        postgresql: { data_directory: /var/lib/postgresql/15/main, dsn: pg-local, replication: pg-replication }\n";

    fn problem(text: &str) -> String {
        load(text, "agent.yaml").map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_config_is_read_whole_or_each_problem_is_named_with_its_line() {
        let config = load(WHOLE, "agent.yaml").unwrap().config;
        assert_eq!((config.agent.as_str(), config.socket.0.as_str()), ("pg-use1", "/run/portolan-agent/supervisor.sock"));
        let inside = problem(&WHOLE.replace("version: 1\n", "version: 1\ndata_dir: /var/lib/postgresql/15/main/agent\n"));
        assert!(inside.contains("agent.yaml:2") && inside.contains("which a rewind overwrites"), "{inside}");
        let relative = problem(&WHOLE.replace("/var/lib/postgresql/15/main", "main"));
        assert!(relative.contains("relative to where the process is started"), "{relative}");
        let nobody = problem(&WHOLE.replace("[{ node: use1-a, address: \"10.0.0.1:8444\" }]", "[]"));
        assert!(nobody.contains("led by nobody"), "{nobody}");
        assert!(problem(&WHOLE.replace("dsn: pg-local", "dsn: ../pg")).contains("dsn"));
        assert!(problem("version: 1\n").contains("agent"));
        let (head, _) = WHOLE.split_once("postgresql").unwrap();
        let none = problem(head);
        assert!(none.contains("one of `postgresql`, `mariadb`, `redis`, `fake`, `exec`, `http`, `patroni`, `cloudnative_pg`"), "{none}");
        let both = problem(&format!("{WHOLE}fake: {{ directory: /tmp/fake, listen: \"127.0.0.1:7000\" }}\n"));
        assert!(both.contains("one database stands beside an agent"), "{both}");
        let redis = format!("{head}redis: {{ config: /etc/redis/redis.conf, directory: /var/lib/redis, address: \"127.0.0.1:6379\" }}\n");
        assert_eq!(load(&redis, "agent.yaml").unwrap().config.database_directory().unwrap().0, "/var/lib/redis");
        let pattern = problem(&redis.replace("/var/lib/redis,", "\"/var/lib/redis[1]\","));
        assert!(pattern.contains("read as a pattern"), "{pattern}");
        let open = problem(&format!("{head}fake: {{ directory: /tmp/fake, listen: \"10.0.0.1:7000\" }}\n"));
        assert!(open.contains("no loopback address"), "{open}");
        let fake = load(&format!("{head}fake: {{ directory: /tmp/fake, listen: \"127.0.0.1:7000\" }}\n"), "agent.yaml").unwrap();
        assert_eq!(fake.config.database_directory().unwrap().0, "/tmp/fake");
        let mariadb = "mariadb: { data_directory: /var/lib/mysql, option_file: /etc/my.cnf, dsn: own, replication: repl, domain: 3 }\n";
        let config = load(&format!("{head}{mariadb}"), "agent.yaml").unwrap().config;
        assert_eq!(config.database_directory().unwrap().0, "/var/lib/mysql");
        assert!(problem(&format!("{head}{}", mariadb.replace("/etc/my.cnf", "my.cnf"))).contains("relative"));
        assert!(problem(&format!("{head}{}", mariadb.replace("domain: 3", "log_bin: ../bin"))).contains("log_bin"));
        let exec = load(&format!("{head}exec: {{ program: orders-db, self_fence: none }}\n"), "agent.yaml").unwrap().config;
        assert_eq!(exec.database_directory(), None);
        assert_eq!(exec.exec.unwrap().self_fence, sections::SelfFence::None);
        assert!(problem(&format!("{head}exec: {{ program: ../orders-db }}\n")).contains("program"));
        let http = |url: &str| format!("{head}http: {{ url: \"{url}\", bearer: manager }}\n");
        assert!(load(&http("https://manager.example.net/db"), "agent.yaml").is_ok());
        assert!(load(&http("http://127.0.0.1:8008/db"), "agent.yaml").is_ok());
        assert!(problem(&http("http://10.0.0.1/db")).contains("asked in the clear"));
        let patroni = |urls: &str| format!("{head}patroni: {{ urls: [{urls}], dsn: patroni-servers }}\n");
        assert!(load(&patroni("\"https://pg-1.example.net:8008\", \"http://127.0.0.1:8008\""), "agent.yaml").is_ok());
        assert!(problem(&patroni("\"http://10.0.0.1:8008\"")).contains("asked in the clear"));
        assert!(problem(&patroni("")).contains("no REST API is named"));
        let cnpg = |more: &str| format!("{head}cloudnative_pg: {{ cluster: orders, dsn: cnpg-servers{more} }}\n");
        let within = load(&cnpg(""), "agent.yaml").unwrap().config.cloudnative_pg.unwrap();
        assert_eq!((within.api, within.ca_file.0.as_str()), (None, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"));
        assert!(load(&cnpg(", api: \"https://10.96.0.1:6443\", namespace: db"), "agent.yaml").is_ok());
        assert!(problem(&cnpg(", api: \"http://127.0.0.1:8001\"")).contains("in the clear, and the token with it"));
        assert!(problem(&cnpg(", token_file: token")).contains("relative to where"));
    }
}
