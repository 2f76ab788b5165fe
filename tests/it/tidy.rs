//! Rules of the code base that no compiler keeps. Each list of exceptions says why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portolan::config;

/// What each top-level module of the daemon's crate may use of its siblings, and why. All may use the core, which may use none.
///
/// ```text
/// core <- config, engine, hook, latest, net <- agent, api, client, dns, geo, probe, telemetry <- cli, daemon <- demo <- daemon/actions <- main
/// ```
///
/// Adapters meet in `daemon` only: what one needs of another comes in as a trait or a value.
const MAY_USE: [(&str, &[&str], &str); 20] = [
    ("config", &[], "a leaf: text in, plan, node or agent config out"),
    ("engine", &["hook", "latest"], "what databases are, and the single things that are done to them, some by a program of the operator"),
    ("net", &[], "a leaf: connections, names, certificates"),
    (
        "agent",
        &["latest", "net"],
        "an adapter: the agent, its supervisor, and both ends of its lines; what the database is comes in as a trait",
    ),
    ("api", &["latest", "net"], "an adapter"),
    ("backup", &[], "an adapter: what lies in a directory or a bucket; credentials are handed to it"),
    ("client", &["api", "net"], "an adapter; the other end of the API, so that the form of messages is written once"),
    ("dns", &["net"], "an adapter"),
    ("geo", &["net"], "an adapter"),
    ("hook", &[], "a leaf: programs of the operator, with the contract that they are called by"),
    ("latest", &[], "a leaf: what a watch channel holds, without its lock"),
    ("mesh", &["latest", "net"], "an adapter; what it asks of the node is a trait"),
    ("probe", &["engine", "net"], "an adapter; databases are asked through their leaf"),
    ("raft", &["latest"], "an adapter; its transport is handed to it"),
    ("telemetry", &["net"], "an adapter"),
    ("cli", &["api", "client", "config"], "shows what the API reports; everything else of the program is handed to it as `Actions`"),
    (
        "daemon",
        &["agent", "api", "backup", "config", "dns", "engine", "geo", "hook", "latest", "mesh", "net", "probe", "raft", "telemetry"],
        "the composition root: the only place that knows every adapter",
    ),
    (
        "demo",
        &["api", "cli", "client", "config", "daemon", "engine", "latest", "telemetry"],
        "whole daemons in one process, asked over their API, shown on the command line's terminal",
    ),
    (
        "actions",
        &["agent", "api", "cli", "client", "config", "daemon", "demo", "engine", "geo", "telemetry"],
        "what the program's verbs do; in daemon/actions.rs",
    ),
    ("main", &["cli", "daemon"], "joins the command line and what its verbs do"),
];

/// Files with a row of their own in that table.
const ROWS: [(&str, &str); 1] = [("src/daemon/actions.rs", "actions")];

/// Longer files hide a second idea. With a reason, a file may be longer.
const LINES_MAX: usize = 700;
const LONGER: [(&str, &str); 0] = [];

/// Waits by the clock in tests, by file: how many, and why no event would do.
const SLEEPS: [(&str, usize, &str); 5] = [
    ("tests/it/daemon/boundaries.rs", 1, "between two looks at a phase that is over within milliseconds"),
    ("tests/it/daemon/mod.rs", 1, "between two looks at what a daemon shows to the outside, which tells nobody when it changes"),
    ("tests/it/probe/server.rs", 1, "a server that trickles its answer: to be slow is its purpose"),
    ("tests/it/raft/net.rs", 1, "a network that is slow: to be slow is its purpose"),
    ("tests/it/regions/wan.rs", 1, "lines between regions: to delay packets is their purpose"),
];

/// Words of other houses, and ours for the same.
const WORDS: [(&str, &str); 6] = [
    ("whitelist", "allow list, or what is allowed"),
    ("blacklist", "deny list, or what is refused"),
    ("master", "primary, or main"),
    ("slave", "replica"),
    ("datacenter", "region"),
    ("datacentre", "region"),
];

/// What the core must not name: it would no longer be a function of its input.
const IMPURE: [&str; 20] = [
    "tokio",
    "async fn",
    ".await",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "rand::",
    "RandomState",
    "tracing",
    "HashMap",
    "HashSet",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with this extension, by their path from the root, with their text.
fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Built or found by tools, not written by us.
                if !["target", "corpus", "found", "artifacts"].contains(&path.file_name().unwrap().to_str().unwrap()) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The lines that are neither comment nor inline test module, with their numbers. What follows `//` behind code goes, too.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut in_tests = false;
    let mut marked = false;
    for (number, line) in text.lines().enumerate() {
        if in_tests {
            in_tests = line != "}";
            continue;
        }
        if marked && line.starts_with("mod ") && line.ends_with('{') {
            in_tests = true;
        }
        marked = line == "#[cfg(test)]" || (marked && line.starts_with("#["));
        let code = match line.trim_start().starts_with("//") {
            true => "",
            false => line.split(" // ").next().unwrap(),
        };
        if !in_tests && !code.is_empty() {
            lines.push((number + 1, code));
        }
    }
    lines
}

/// Follows `mod` from a crate's first file. Gives each file and whether it is for tests only.
fn reachable(first: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let mut queue = vec![(PathBuf::from(first), false)];
    while let Some((file, for_tests)) = queue.pop() {
        let text = fs::read_to_string(root().join(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let is_folder = ["mod.rs", "lib.rs", "main.rs"].contains(&file.file_name().unwrap().to_str().unwrap());
        let folder = if is_folder { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        let (mut in_tests, mut path) = (false, None);
        for line in text.lines().map(str::trim) {
            let module = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
            if line.starts_with("#[cfg(test)]") {
                in_tests = true;
            } else if let Some(name) = line.strip_prefix("#[path = \"").and_then(|line| line.strip_suffix("\"]")) {
                path = Some(file.parent().unwrap().join(name));
            } else if let Some((before, name)) = module.filter(|(before, _)| before.is_empty() || before.starts_with("pub")) {
                assert!(before.is_empty() || before.ends_with(' '), "{}: {line}", file.display());
                let beside = folder.join(format!("{name}.rs"));
                let below = folder.join(name).join("mod.rs");
                let chosen = path.take().unwrap_or_else(|| if root().join(&beside).exists() { beside } else { below });
                queue.push((chosen, for_tests || in_tests));
                in_tests = false;
            } else if !line.starts_with("#[") {
                (in_tests, path) = (false, None);
            }
        }
        found.insert(file.to_str().unwrap().to_owned(), for_tests);
    }
    found
}

/// The files of the product, without those for tests only.
fn product() -> BTreeMap<String, String> {
    let mut texts = files("src", "rs");
    let known: BTreeMap<String, bool> = ["src/lib.rs", "src/main.rs", "src/core/lib.rs"].into_iter().flat_map(reachable).collect();
    texts.retain(|file, _| known.get(file) == Some(&false));
    texts
}

#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut found = Vec::new();
    for (file, text) in product().iter().filter(|(file, _)| file.starts_with("src/core/")) {
        for (line, code) in code(text) {
            found.extend(IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{file}:{line}: {word}")));
        }
    }
    none(&found, "clocks, sockets, files, randomness, logging, threads and hash order stay outside the core");

    let manifest = fs::read_to_string(root().join("src/core/Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let names: Vec<&str> =
        dependencies.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split(['.', ' ']).next()).collect();
    assert_eq!(names, ["ipnet", "serde", "serde_json", "sha2", "thiserror"], "the core depends on value types only");
}

#[test]
fn modules_use_each_other_in_one_direction() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().map(|(module, uses, _)| (*module, *uses)).collect();
    let mut found = Vec::new();
    let mut seen = 0;
    for (file, text) in product().iter().filter(|(file, _)| !file.starts_with("src/core/") && *file != "src/lib.rs") {
        let row = ROWS.iter().find(|(known, _)| known == file).map(|(_, row)| *row);
        let module = row.unwrap_or_else(|| file.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap());
        let Some(allowed) = allowed.get(module) else {
            found.push(format!("{file}: `{module}` is not in the table MAY_USE"));
            continue;
        };
        for used in siblings(text, if module == "main" { "portolan::" } else { "crate::" }) {
            seen += 1;
            if used != module && !allowed.contains(&used.as_str()) {
                found.push(format!("{file}: `{module}` may not use `{used}`"));
            }
        }
    }
    assert!(seen > 50, "only {seen} uses were found: the search is broken");
    none(&found, "core <- leaves <- adapters <- daemon, cli, demo <- main; adapters never import each other");
}

/// The top-level modules that a file names behind `root`.
fn siblings(text: &str, root: &str) -> Vec<String> {
    let code: Vec<&str> = code(text).into_iter().map(|(_, line)| line).collect();
    let code = code.join("\n");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root).filter(|(at, _)| !code[..*at].ends_with(is_word)) {
        let rest = &code[at + root.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let nesting = |depth: &mut i32, c: char| *depth += i32::from(c == '{') - i32::from(c == '}');
        let mut depth = 0;
        let end = group.find(|c| {
            nesting(&mut depth, c);
            depth < 0
        });
        depth = 0;
        let parts = group[..end.unwrap()].split(|c| {
            nesting(&mut depth, c);
            c == ',' && depth == 0
        });
        found.extend(parts.map(word));
    }
    // `crate::Type` is a re-export of lib.rs, which has none.
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

#[test]
fn imports_are_read_as_they_are_written() {
    let text = "use crate::{\n    api::{A, b::C},\n    net,\n};\nfn f() { crate::dns::g(); portolan_core::geo::h() }\n// crate::cli\n";
    assert_eq!(siblings(text, "crate::"), ["api", "net", "dns"]);
}

#[test]
fn every_file_is_part_of_a_crate() {
    let crates = ["src/lib.rs", "src/main.rs", "src/core/lib.rs", "tests/it/main.rs"];
    let known: BTreeSet<String> = crates.into_iter().flat_map(|first| reachable(first).into_keys()).collect();
    let found: Vec<String> =
        ["src", "tests/it"].into_iter().flat_map(|folder| files(folder, "rs").into_keys()).filter(|file| !known.contains(file)).collect();
    none(&found, "no `mod` leads to these files");
}

#[test]
fn files_are_of_one_idea() {
    let all = ["src", "tests"].into_iter().flat_map(|folder| files(folder, "rs"));
    let long: Vec<String> = all
        .filter(|(file, text)| text.lines().count() > LINES_MAX && !LONGER.iter().any(|(known, _)| known == file))
        .map(|(file, text)| format!("{file}: {} lines", text.lines().count()))
        .collect();
    none(&long, "a file has at most 700 lines");
}

#[test]
fn nothing_is_left_undone() {
    // Put together, so that this file does not find itself.
    let marks =
        ["to".to_owned() + "do!", "unimpl".to_owned() + "emented!", "FIX".to_owned() + "ME", "TO".to_owned() + "DO", "XX".to_owned() + "X"];
    let marks = [&marks[..], &["for ".to_owned() + "now", "#[ig".to_owned() + "nore"]].concat();
    let mut found = Vec::new();
    for (file, text) in ["src", "tests", "proto", "config"]
        .into_iter()
        .flat_map(|folder| ["rs", "proto", "yaml", "sh"].map(|it| files(folder, it)))
        .flatten()
    {
        for (number, line) in text.lines().enumerate() {
            found.extend(marks.iter().filter(|mark| line.contains(*mark)).map(|mark| format!("{file}:{}: {mark}", number + 1)));
        }
    }
    none(&found, "what is written is finished; the rest is an issue");
}

#[test]
fn the_product_unwraps_nothing() {
    let mut found = Vec::new();
    for (file, text) in product() {
        found.extend(code(&text).iter().filter(|(_, code)| code.contains(".unwrap()")).map(|(line, _)| format!("{file}:{line}")));
    }
    none(&found, "`expect(\"invariant: …\")` says what makes it sure");
}

/// Guards of a channel live to the end of their expression, and two of one channel at a time are a deadlock: see `latest`.
#[test]
fn nothing_holds_the_lock_of_a_channel() {
    let mut found = Vec::new();
    for (file, text) in files("src", "rs").into_iter().filter(|(file, _)| file != "src/latest.rs") {
        let lines = code(&text).into_iter().filter(|(_, code)| code.contains(".borrow()") || code.contains(".borrow_and_update()"));
        found.extend(lines.map(|(line, _)| format!("{file}:{line}")));
    }
    none(&found, "`latest()` and `latest_seen()` give the value of a watch channel, without its lock");
}

#[test]
fn tests_wait_for_events() {
    let known: BTreeMap<&str, usize> = SLEEPS.iter().map(|(file, count, _)| (*file, *count)).collect();
    let for_tests = ["src/lib.rs", "src/core/lib.rs"].into_iter().flat_map(reachable).filter(|(_, for_tests)| *for_tests);
    let for_tests: BTreeSet<String> = for_tests.map(|(file, _)| file).collect();
    let mut found = Vec::new();
    let tests = files("src", "rs").into_iter().filter(|(file, _)| for_tests.contains(file));
    for (file, text) in tests.chain(files("tests/it", "rs")) {
        let count = code(&text).iter().filter(|(_, code)| code.contains("sleep(") || code.contains("sleep_until(")).count();
        // This file names them.
        if count != known.get(file.as_str()).copied().unwrap_or(0) && !file.ends_with("tidy.rs") {
            found.push(format!("{file}: {count} sleeps"));
        }
    }
    none(&found, "a test waits for what it needs and not for a time; exceptions stand in SLEEPS");
}

#[test]
fn every_metric_is_listed() {
    let list = fs::read_to_string(root().join("tests/data/metrics.txt")).unwrap();
    let listed: BTreeSet<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    let mut named = BTreeSet::new();
    for (_, text) in product().iter().filter(|(file, _)| file.starts_with("src/telemetry/")) {
        for (_, code) in code(text) {
            named.extend(code.split('"').filter(|text| text.starts_with("portolan_") && !text.contains(' ')).map(str::to_owned));
        }
    }
    assert_eq!(named.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed, "src/telemetry and tests/data/metrics.txt name the same");
}

#[test]
fn every_example_loads() {
    for (file, text) in files("config", "yaml") {
        let problems = if file.starts_with("config/plan") {
            config::plan::load(&text, &file, &config::plan::Options::default()).err().map(|problems| problems.to_string())
        } else if file.starts_with("config/agent") {
            config::agent::load(&text, &file).err().map(|problems| problems.to_string())
        } else if file.starts_with("config/node") {
            config::node::load(&text, &file, &BTreeMap::new()).err().map(|problems| problems.to_string())
        } else {
            Some("no loader for it is known here".to_owned())
        };
        assert_eq!(problems, None, "{file}");
    }
}

#[test]
fn banned_crates_are_not_built() {
    let policy = fs::read_to_string(root().join("deny.toml")).unwrap();
    let banned: Vec<&str> = policy.lines().filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next()).collect();
    assert!(banned.contains(&"openssl-sys"), "the list in deny.toml was not found: {banned:?}");
    // The lock file names crates behind features that nobody switches on, so cargo is asked what is built.
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["tree", "--workspace", "--edges", "all", "--prefix", "none", "--format", "{p}", "--locked", "--offline"])
        .current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let built: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains("tokio"), "the list of what is built is broken");
    let found: Vec<String> = banned.iter().filter(|name| built.contains(**name)).map(|name| (*name).to_owned()).collect();
    none(&found, "deny.toml bans these");
}

#[test]
fn the_words_of_the_house_are_kept() {
    let mut texts = BTreeMap::new();
    for folder in ["src", "tests", "proto", "config"] {
        for extension in ["rs", "proto", "yaml", "txt", "sh"] {
            texts.extend(files(folder, extension));
        }
    }
    texts.extend(top_level("md").into_iter().chain(top_level("toml")));
    texts.remove("tests/it/tidy.rs");
    // Redis has its own words for the roles, and this file is where they are read.
    assert!(texts.remove("src/core/failover/engine/redis/info.rs").is_some());
    // MariaDB's SQL, columns and privileges have no other words, nor have the commands of Sentinel.
    let foreign = ["tests/it/agent/mariadb.rs", "tests/bench/race/sentinel.rs"];
    let is_foreign = |file: &str| file.starts_with("src/engine/mariadb/") || foreign.contains(&file);
    let mut found = Vec::new();
    for (file, text) in texts {
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for word in line.split(|c: char| !c.is_alphanumeric()) {
                let word = word.strip_suffix('s').unwrap_or(word);
                found.extend(
                    WORDS
                        .iter()
                        .filter(|(bad, _)| *bad == word && !(is_foreign(&file) && matches!(*bad, "master" | "slave")))
                        .map(|(bad, good)| format!("{file}:{}: `{bad}`, write {good}", number + 1)),
                );
            }
        }
    }
    none(&found, "one word for one thing");
}

/// The files of the root itself.
fn top_level(extension: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let wanted = entries.filter(|path| path.extension().is_some_and(|it| it == extension));
    wanted.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn what_is_told_to_be_run_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert!(targets.contains("test") && targets.contains("demo"), "{targets:?}");
    let mut found = Vec::new();
    for (file, text) in top_level("md").into_iter().chain([("Makefile".to_owned(), makefile.clone())]) {
        for (number, line) in text.lines().enumerate() {
            // A command: on a line of its own, or between backticks.
            for command in line.split('`').map(str::trim) {
                let mut words = command.split_whitespace().skip_while(|word| *word == "$");
                match (words.next(), words.next()) {
                    (Some("make"), Some(target)) if !targets.contains(target) => {
                        found.push(format!("{file}:{}: make {target}", number + 1))
                    }
                    (Some("sh"), Some(script)) if !root().join(script).exists() => found.push(format!("{file}:{}: {script}", number + 1)),
                    _ => {}
                }
            }
        }
    }
    none(&found, "commands in README and Makefile name what is there");
}
