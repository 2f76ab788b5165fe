//! Changes that let a region write and got no answer, in memory and on disk: a Patroni that stood still may make one long after it was given up, over
//! what was changed since. So no fence is told before that can be ruled out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::Url;
use tokio::time::Instant;

use super::{super::Trouble, rest::base};

/// In the agent's directory.
const FILE: &str = "patroni-unanswered.json";

/// So long after a Patroni answered again what it was told before may be made, and not be seen by the others: `retry_timeout` of ten seconds for its
/// store, and `ttl` of thirty for which each Patroni answers from what it read last.
const LATE: Duration = Duration::from_secs(45);

/// Where they were sent, and since when each of those answers again; `None`: it does not.
type Open = BTreeMap<Url, Option<Instant>>;

/// Changes without an answer.
#[derive(Debug)]
pub(super) struct Late {
    file: PathBuf,
    open: Mutex<Open>,
}

impl Late {
    /// Reads what is there.
    pub(super) fn open(directory: &Path) -> Result<Self, Trouble> {
        let file = directory.join(FILE);
        let problem =
            |error: &dyn std::fmt::Display| Trouble(format!("read the changes without an answer from `{}`: {error}", file.display()));
        let texts: BTreeSet<String> = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(problem(&error)),
            Ok(octets) => serde_json::from_slice(&octets).map_err(|error| problem(&error))?,
        };
        let open = texts.iter().map(|at| Ok((base(at)?, None))).collect::<Result<_, Trouble>>();
        Ok(Self { open: Mutex::new(open.map_err(|error| problem(&error))?), file })
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One is about to be sent there, and that is on disk.
    pub(super) fn begins(&self, base: &Url) -> Result<(), Trouble> {
        let mut open = self.locked();
        open.insert(base.clone(), None);
        self.save(&open)
    }

    /// It was answered: it is made, or is never.
    pub(super) fn answered(&self, base: &Url) -> Result<(), Trouble> {
        let mut open = self.locked();
        open.remove(base);
        self.save(&open)
    }

    /// Where an answer is missing.
    pub(super) fn bases(&self) -> Vec<Url> {
        self.locked().keys().cloned().collect()
    }

    /// It answers now. What it was told before is made within [`LATE`].
    pub(super) fn heard(&self, base: &Url) -> Result<(), Trouble> {
        let mut open = self.locked();
        let Some(since) = open.get_mut(base) else { return Ok(()) };
        if since.get_or_insert_with(Instant::now).elapsed() < LATE {
            return Ok(());
        }
        open.remove(base);
        self.save(&open)
    }

    fn save(&self, open: &Open) -> Result<(), Trouble> {
        let fresh = self.file.with_extension("json.new");
        let written = || {
            let texts: Vec<&str> = open.keys().map(Url::as_str).collect();
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(&texts)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.file)?;
            self.file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        };
        written().map_err(|error: std::io::Error| Trouble(format!("note a change in `{}`: {error}", self.file.display())))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_without_an_answer_may_come_until_its_patroni_has_answered_for_long_enough() {
        let directory = tempfile::tempdir().unwrap();
        let at = base("http://127.0.0.1:8008").unwrap();
        let late = Late::open(directory.path()).unwrap();
        late.begins(&at).unwrap();
        late.answered(&at).unwrap();
        assert_eq!(late.bases(), []);
        late.begins(&at).unwrap();
        advance(LATE * 2).await;
        late.heard(&at).unwrap();
        assert_eq!(late.bases(), std::slice::from_ref(&at), "it stood still until now");
        let again = Late::open(directory.path()).unwrap();
        assert_eq!(again.bases(), std::slice::from_ref(&at), "also for an agent that was started since");
        advance(LATE).await;
        late.heard(&at).unwrap();
        assert_eq!(late.bases(), []);
        assert_eq!(Late::open(directory.path()).unwrap().bases(), []);
        again.heard(&at).unwrap();
        assert_eq!(again.bases(), [at], "that one counts from its own look");
        fs::write(directory.path().join(FILE), "[\"nowhere\"]").unwrap();
        assert!(Late::open(directory.path()).unwrap_err().0.contains(FILE));
    }
}
