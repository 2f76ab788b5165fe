//! The server's own programs, each with a bound in time and output.

use std::{path::Path, process::Stdio, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{Postgres, Trouble};

/// More of what a program says is not read.
const OUTPUT_OCTETS_MAX: u64 = 64 * 1024;

impl Postgres {
    /// A program of the server's, as the user of its files, in a plain language.
    pub(super) fn program(&self, name: &str) -> Command {
        self.run_as_server(&self.setup.bin_dir.join(name))
    }

    /// A program, in the same way.
    pub(super) fn run_as_server(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).kill_on_drop(true);
        command.current_dir(if self.setup.data_directory.is_dir() { self.setup.data_directory.as_path() } else { Path::new("/") });
        if let Some((user, group)) = self.setup.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// As [`output`], of a program that changes the directory: whoever gives it up waits until it has ended. When it has, well or not, its number is
    /// forgotten, because by and by it is another process's.
    pub(super) async fn change(&self, command: Command, name: &str, patience: Duration) -> Result<String, Trouble> {
        let said = output_of(command, name, patience, |process| self.changing.store(process, Relaxed)).await;
        self.changing.store(0, Relaxed);
        said
    }
}

/// Runs it to its end, and gives what it said, on stdout first.
pub(super) async fn output(command: Command, name: &str, patience: Duration) -> Result<String, Trouble> {
    output_of(command, name, patience, |_| ()).await
}

/// As [`output`]; `started` is told the number of its process.
async fn output_of(mut command: Command, name: &str, patience: Duration, started: impl FnOnce(u32)) -> Result<String, Trouble> {
    let problem = |error: &dyn std::fmt::Display| Trouble(format!("run {name}: {error}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = async {
        let mut child = command.spawn().map_err(|error| problem(&error))?;
        started(child.id().unwrap_or(0));
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (Some(out), Some(err)) = (out, err) else { return Err(problem(&"it has no output")) };
        let (mut out, mut err) = (out.take(OUTPUT_OCTETS_MAX), err.take(OUTPUT_OCTETS_MAX));
        let read = tokio::try_join!(out.read_to_end(&mut said), err.read_to_end(&mut complained));
        read.map_err(|error| problem(&error))?;
        let status = child.wait().await.map_err(|error| problem(&error))?;
        if status.success() {
            // What it complains of although it succeeds is for whoever asks.
            said.extend_from_slice(&complained);
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
        Err(problem(&last_words(&complained)))
    };
    timeout(patience, run).await.map_err(|_| problem(&format!("it did not end within {}s", patience.as_secs())))?
}

/// What it complained of last, which is why it gave up.
pub(super) fn last_words(complained: &[u8]) -> String {
    let text = String::from_utf8_lossy(complained);
    let words: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    words.last().map_or_else(|| "it failed and said nothing".to_owned(), |line| line.chars().take(300).collect())
}
