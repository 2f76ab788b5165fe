//! A manager that is a program: one verb per run.
//!
//! Contract. The program lies in a directory as hooks do, and is run as they are (`crate::hook`): no shell, an environment of `PATH` alone, the verb
//! as its argument, one JSON object on standard input (`super::body`). Its exit code is its answer: 0 done or under way, 75 not yet
//! (`EX_TEMPFAIL`), 77 refused (`EX_NOPERM`: a lower token, or something that must not be done), anything else failed. For `probe` it prints one JSON
//! object on standard output ([`super::Probe`]). Its last line on standard error is shown to people.
//!
//! When it ends, has taken too long, or its task is dropped for a newer one, its whole process group is killed: a server that it starts belongs into a
//! session of its own, and whatever it had not noted by then is found again by the next run.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use portolan_core::failover::engine::managed::PROBE_OCTETS_MAX;
use serde_json::Value;

use super::{Key, Manager, Probe, Seen, Verb, body};
use crate::{
    engine::{Members, Trouble},
    hook::{self, Call},
};

/// Which program, and for how long.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it lies.
    pub directory: PathBuf,
    /// Its name there.
    pub program: String,
    /// One verb may last so long.
    pub timeout: Duration,
    /// Whether its `fence` fences. If not, it is never asked for.
    pub fences: bool,
}

/// A manager that is a program.
#[derive(Debug)]
pub struct Exec {
    setup: Setup,
    members: Mutex<Members>,
}

impl Exec {
    /// Nothing is run yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup, members: Mutex::default() }
    }

    async fn run(&self, verb: &'static str, input: Value) -> Result<Vec<u8>, Trouble> {
        let Setup { directory, program, timeout, .. } = &self.setup;
        let call = Call { name: program.clone(), arguments: vec![verb.to_owned()], environment: BTreeMap::new(), input, timeout: *timeout };
        let told = |what: String| Trouble(format!("`{program} {verb}` {what}"));
        let spoken = hook::speak(directory, &call, PROBE_OCTETS_MAX as u64).await.map_err(told)?;
        if spoken.out.len() > PROBE_OCTETS_MAX {
            return Err(told(format!("says more than {PROBE_OCTETS_MAX} octets")));
        }
        let said = spoken.last_words();
        match spoken.code {
            Some(0) => Ok(spoken.out),
            Some(75) => Err(told(format!("is not ready: {said}"))),
            Some(77) => Err(told(format!("refused: {said}"))),
            Some(code) => Err(told(format!("ended with {code}: {said}"))),
            None => Err(told(format!("was killed: {said}"))),
        }
    }
}

#[async_trait]
impl Manager for Exec {
    fn set_members(&self, members: Members) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    async fn probe(&self) -> Result<Seen, Trouble> {
        let said = self.run("probe", serde_json::json!({})).await?;
        let probe = Probe::parse(&said).map_err(|error| Trouble(format!("`{} probe`: {error}", self.setup.program)))?;
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(probe.seen(|region| members.contains_key(region)))
    }

    async fn call(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        if *verb == Verb::Fence && !self.setup.fences {
            return Err(Trouble("it cannot be fenced: `self_fence: none`".to_owned()));
        }
        self.run(verb.word(), body(verb, key)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use portolan_core::{failover::token::Token, model::ids::Label};

    use super::*;

    fn put(directory: &Path, script: &str) -> Exec {
        let program = directory.join("db");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let timeout = Duration::from_secs(20);
        Exec::new(Setup { directory: directory.to_owned(), program: "db".to_owned(), timeout, fences: true })
    }

    fn key(verb: &Verb) -> Key {
        let token = Token { generation: 1, epoch: 9 };
        Key { group: Label::new("orders"), region: Label::new("us"), token, step: verb.word() }
    }

    #[tokio::test]
    async fn a_verb_is_an_argument_its_right_is_on_standard_input_and_the_exit_code_answers() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let log = at.join("log");
        let exec = put(at, &format!("echo \"$1 $(cat)\" >> {0}; exit 0", log.display()));
        let rejoin = Verb::Rejoin(super::super::Source { region: Label::new("eu"), host: "10.0.0.2".to_owned(), port: 5432 });
        for verb in [Verb::Fence, Verb::Drain(4711), Verb::Promote { above: 3 }, rejoin] {
            exec.call(&verb, &key(&verb)).await.unwrap();
        }
        let told = fs::read_to_string(log).unwrap();
        let told: Vec<(&str, Value)> = told
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(verb, text)| (verb, serde_json::from_str(text).unwrap()))
            .collect();
        let verbs: Vec<&str> = told.iter().map(|(verb, _)| *verb).collect();
        assert_eq!(verbs, ["fence", "drain", "promote", "rejoin"]);
        assert_eq!(told[0].1["key"], "orders/us/1.9/fence");
        assert_eq!(told[0].1["token"], serde_json::json!({ "generation": 1, "epoch": 9 }));
        assert_eq!((&told[1].1["position"], &told[2].1["above"]), (&Value::from(4711), &Value::from(3)));
        assert_eq!(told[3].1["upstream"], serde_json::json!({ "region": "eu", "host": "10.0.0.2", "port": 5432 }));
    }

    #[tokio::test]
    async fn what_a_program_does_wrong_is_said_and_nothing_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let cases = [
            ("echo nonsense", "is no answer to a probe"),
            ("echo '{\"role\": \"primary\"}'", "missing field `system`"),
            ("yes | head -c 1000000", "more than 16384 octets"),
            ("echo 'not today' >&2; exit 75", "`db probe` is not ready: not today"),
            ("echo 'a higher one came' >&2; exit 77", "`db probe` refused: a higher one came"),
            ("exit 3", "`db probe` ended with 3: it said nothing"),
            ("kill -9 $$", "`db probe` was killed"),
        ];
        for (script, says) in cases {
            let why = put(at, script).probe().await.unwrap_err().0;
            assert!(why.contains(says), "{script}: {why}");
        }
        let mut hangs = put(at, "sleep 1000");
        hangs.setup.timeout = Duration::from_secs(1);
        assert_eq!(hangs.probe().await.unwrap_err().0, "`db probe` did not end within 1s, and was killed");
        fs::set_permissions(at.join("db"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(hangs.probe().await.unwrap_err().0.contains("chmod go-w"));
        let mut weak = put(at, "exit 0");
        weak.setup.fences = false;
        assert!(weak.call(&Verb::Fence, &key(&Verb::Fence)).await.unwrap_err().0.contains("self_fence: none"));
        // Whatever is said on standard error, an answer is an answer.
        let loud = put(at, "echo 'I look' >&2; echo '{\"role\": \"replica\", \"system\": 7, \"fenced\": true}'");
        assert!(loud.probe().await.unwrap().fenced);
    }
}
