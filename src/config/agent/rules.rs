//! What must hold between the keys of an agent config.

use portolan_core::document::{Document, Path, Report, Severity, Url};

use super::sections::AgentConfig;

/// Judges the config.
pub(super) fn check(config: &AgentConfig, document: &Document<'_>, report: &mut Report) {
    let top = |key: &str| Path::root().key(key);
    let below = |section: &str, key: &str| Path::root().key(section).key(key);
    let mut paths = vec![(top("data_dir"), &config.data_dir), (top("secrets_dir"), &config.secrets_dir), (top("socket"), &config.socket)];
    if let Some(postgresql) = &config.postgresql {
        paths.push((below("postgresql", "bin_dir"), &postgresql.bin_dir));
        paths.push((below("postgresql", "data_directory"), &postgresql.data_directory));
    }
    if let Some(mariadb) = &config.mariadb {
        for (key, value) in [
            ("program", &mariadb.program),
            ("bin_dir", &mariadb.bin_dir),
            ("data_directory", &mariadb.data_directory),
            ("option_file", &mariadb.option_file),
        ] {
            paths.push((below("mariadb", key), value));
        }
        if mariadb.log_bin.0.contains('/') {
            let message = format!("`{}` is a path, and the binary log lies in the data directory", mariadb.log_bin.0);
            report.at_path(
                Severity::Error,
                document,
                &below("mariadb", "log_bin"),
                message,
                "write its base name, for example mariadb-bin",
            );
        }
    }
    if let Some(fake) = &config.fake {
        paths.push((below("fake", "directory"), &fake.directory));
        if fake.listen_at().is_none() {
            let message = format!("`{}` is no loopback address with a port: a fake database knows no users", fake.listen.0);
            report.at_path(Severity::Error, document, &below("fake", "listen"), message, "for example 127.0.0.1:7000");
        }
    }
    if let Some(redis) = &config.redis {
        paths.push((below("redis", "program"), &redis.program));
        paths.push((below("redis", "config"), &redis.config));
        paths.push((below("redis", "directory"), &redis.directory));
        if redis.directory.0.contains(['*', '?', '[', ']', '"', '\\']) {
            let message = format!("`{}` would be read as a pattern, and the mark in it would not be found", redis.directory.0);
            report.at_path(Severity::Error, document, &below("redis", "directory"), message, "choose a directory without * ? [ ] \" \\");
        }
    }
    if let Some(exec) = &config.exec {
        paths.push((below("exec", "hooks_dir"), &exec.hooks_dir));
    }
    if let Some(http) = &config.http {
        if let Some(ca_file) = &http.ca_file {
            paths.push((below("http", "ca_file"), ca_file));
        }
        in_the_clear(&http.url, || below("http", "url"), document, report);
    }
    if let Some(patroni) = &config.patroni {
        for (key, file) in [("ca_file", &patroni.ca_file), ("permit", &patroni.permit)] {
            paths.extend(file.iter().map(|file| (below("patroni", key), file)));
        }
        if patroni.urls.is_empty() {
            let message = "no REST API is named, so nobody could be asked".to_owned();
            report.at_path(Severity::Error, document, &below("patroni", "urls"), message, "name those of the region's members");
        }
        for (i, url) in patroni.urls.iter().enumerate() {
            in_the_clear(url, || below("patroni", "urls").item(i), document, report);
        }
    }
    if let Some(cnpg) = &config.cloudnative_pg {
        for (key, file) in [("token_file", &cnpg.token_file), ("ca_file", &cnpg.ca_file)] {
            paths.push((below("cloudnative_pg", key), file));
        }
        if let Some(api) = cnpg.api.as_ref().filter(|api| api.scheme() != "https") {
            let message = format!("`{}` would be asked in the clear, and the token with it", api.as_str());
            report.at_path(Severity::Error, document, &below("cloudnative_pg", "api"), message, "write an https URL");
        }
    }
    let named = [
        ("postgresql", config.postgresql.is_some()),
        ("mariadb", config.mariadb.is_some()),
        ("redis", config.redis.is_some()),
        ("fake", config.fake.is_some()),
        ("exec", config.exec.is_some()),
        ("http", config.http.is_some()),
        ("patroni", config.patroni.is_some()),
        ("cloudnative_pg", config.cloudnative_pg.is_some()),
    ];
    let named: Vec<&str> = named.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect();
    if named.len() != 1 {
        let message = "one database stands beside an agent".to_owned();
        let path = top(named.last().copied().unwrap_or("agent"));
        report.at_path(
            Severity::Error,
            document,
            &path,
            message,
            "write one of `postgresql`, `mariadb`, `redis`, `fake`, `exec`, `http`, `patroni`, `cloudnative_pg`",
        );
    }
    for (path, value) in paths {
        if !value.0.starts_with('/') {
            let message = format!("`{}` is relative to where the process is started", value.0);
            report.at_path(Severity::Error, document, &path, message, "write an absolute path");
        }
    }
    if config.voters.is_empty() {
        let message = "an agent without voters is led by nobody".to_owned();
        report.at_path(Severity::Error, document, &top("voters"), message, "name the nodes of `peers` in the node config");
    }
    let ours = config.data_dir.as_path();
    if config.database_directory().is_some_and(|theirs| ours.starts_with(theirs.as_path())) {
        let message = format!("`{}` lies inside the database's directory, which a rewind overwrites", config.data_dir.0);
        report.at_path(Severity::Error, document, &top("data_dir"), message, "choose a directory outside it");
    }
}

/// A manager is asked over TLS, or on this machine.
fn in_the_clear(url: &Url, path: impl Fn() -> Path, document: &Document<'_>, report: &mut Report) {
    let is_near = url.address().is_some_and(|address| address.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && is_near) {
        let message = format!("`{}` would be asked in the clear: whoever listens could promote the database", url.as_str());
        report.at_path(Severity::Error, document, &path(), message, "write an https URL, or http with a loopback address");
    }
}
