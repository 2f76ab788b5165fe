//! Programs of the operator, asked by name: fences, vetoes, reloads, and what shall be shown.
//!
//! Contract. The program lies in `hooks_dir`, belongs to root or to the user of this process, and nobody else may write it. It gets its arguments as
//! a list, no shell, an environment of only what it is told, and one JSON object on standard input. Its exit code is its answer: 0 yes, 75 try
//! again (`EX_TEMPFAIL`), 77 no (`EX_NOPERM`), anything else failed. What it prints is kept for people, up to a bound. The same call may come
//! again after a change of leader, with the same `PORTOLAN_KEY`: whoever acts once per key acts once.
//!
//! Invariants: it lasts no longer than its limit, and nothing that it started outlives it: its whole process group is killed.
//!
//! Source: sysexits.h for the codes; CGI (RFC 3875) for "environment and standard input".

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

/// More of what a hook prints is not kept.
pub const OUTPUT_OCTETS_MAX: u64 = 16 * 1024;

/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A call of a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name in `hooks_dir`.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it finds in its environment, beside `PATH`.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub input: Value,
    /// It is killed after this time.
    pub timeout: Duration,
}

/// What a hook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, or done. With what it printed.
    Yes(String),
    /// Not yet. Why, in its last words.
    Again(String),
    /// No. Why, in its last words.
    No(String),
    /// It could not be run, did not end in time, or failed. Whether it did anything is not known.
    Failed(String),
}

/// What a program that has ended said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// On standard output; one octet longer than what was to be read: it said more.
    pub out: Vec<u8>,
    /// On standard error, up to a bound.
    pub err: Vec<u8>,
}

impl Spoken {
    /// The last line on standard error, or else on standard output, for people.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_words(&text([&self.out, &self.err]))
    }
}

/// Runs a hook to its end.
pub async fn run(directory: &Path, call: &Call) -> Answer {
    let name = &call.name;
    let Spoken { code, out, err } = match speak(directory, call, OUTPUT_OCTETS_MAX).await {
        Ok(spoken) => spoken,
        Err(why) => return Answer::Failed(format!("hook `{name}` {why}")),
    };
    let said = text([&out, &err]);
    match code {
        Some(0) => Answer::Yes(said),
        Some(75) => Answer::Again(format!("hook `{name}`: {}", last_words(&said))),
        Some(77) => Answer::No(format!("hook `{name}`: {}", last_words(&said))),
        code => Answer::Failed(format!("hook `{name}` {}", failure(code, &said))),
    }
}

/// Runs a hook for what it prints: all of it, of at most so many octets. What it says on its standard error is for people only.
///
/// # Errors
/// It could not be run, did not end in time, failed, or printed more; in one line.
pub async fn print(directory: &Path, call: &Call, octets_max: u64) -> Result<Vec<u8>, String> {
    let of = |why: String| format!("hook `{}` {why}", call.name);
    let Spoken { code, out, err } = speak(directory, call, octets_max).await.map_err(of)?;
    if out.len() as u64 > octets_max {
        return Err(of(format!("printed more than {octets_max} octets")));
    }
    if code != Some(0) {
        return Err(of(failure(code, &text([&out, &err]))));
    }
    Ok(out)
}

/// What goes behind its name.
fn failure(code: Option<i32>, said: &str) -> String {
    let words = last_words(said);
    code.map_or_else(|| format!("was killed: {words}"), |code| format!("ended with {code}: {words}"))
}

/// Runs a program to its end, as [`run`] does, for whoever reads what it prints: so many octets, and one more tells that there is more.
///
/// # Errors
/// What goes behind its name: it could not be run, or did not end in time. Whether it did anything is not known.
pub async fn speak(directory: &Path, call: &Call, octets_max: u64) -> Result<Spoken, String> {
    let path = find(directory, &call.name).map_err(|why| format!("cannot be run: {why}"))?;
    let mut command = Command::new(&path);
    command.args(&call.arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(&call.environment);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let group = Group::spawn(&mut command).map_err(|error| format!("cannot be run: `{}`: {error}", path.display()))?;
    match timeout(call.timeout, talk(group, &call.input, octets_max)).await {
        Ok(spoken) => spoken.map_err(|error| format!("could not be heard: {error}")),
        Err(_) => Err(format!("did not end within {}s, and was killed", call.timeout.as_secs())),
    }
}

/// A program with everything that it started: dropped, all of it is killed.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Option<i32>,
}

impl Group {
    /// Starts it in a process group of its own.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        Ok(Self { leader: child.id().and_then(|id| i32::try_from(id).ok()), child })
    }

    /// The program itself.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // Mostly nothing is left of it.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

async fn talk(mut group: Group, input: &Value, octets_max: u64) -> std::io::Result<Spoken> {
    let missing = || std::io::Error::other("it has no pipes");
    let child = &mut group.child;
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let (out, err) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let octets = serde_json::to_vec(input)?;
    let give = async {
        // A hook need not read.
        let _ = stdin.write_all(&octets).await;
        drop(stdin);
    };
    let ((), out, err) = tokio::join!(give, keep(out, octets_max.saturating_add(1)), keep(err, OUTPUT_OCTETS_MAX));
    let status = child.wait().await?;
    Ok(Spoken { code: status.code(), out: out?, err: err? })
}

/// What comes through a pipe, up to a bound. The pipe is closed then: who goes on to write ends by that, and waits for nobody.
async fn keep(pipe: impl AsyncRead + Unpin, octets_max: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    pipe.take(octets_max).read_to_end(&mut kept).await?;
    Ok(kept)
}

/// For people.
fn text(parts: [&[u8]; 2]) -> String {
    let all = parts.concat();
    String::from_utf8_lossy(&all).chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

fn last_words(said: &str) -> String {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| "it said nothing".to_owned(), |line| line.chars().take(300).collect())
}

/// Where the hook is, if it may be run: for whoever runs it as another user than this process.
///
/// # Errors
/// One line: it may not be run, or is not there.
pub fn find(directory: &Path, name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err("its name is no file name".to_owned());
    }
    let path = directory.join(name);
    let shown = path.display();
    let meta = fs::metadata(&path).map_err(|error| format!("`{shown}`: {error}; put the program there"))?;
    if !meta.is_file() {
        return Err(format!("`{shown}` is no file"));
    }
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err(format!("`{shown}` belongs to user {}; give it to root or to the user that runs this: chown", meta.uid()));
    }
    if meta.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("others may write `{shown}`; take that away: chmod go-w"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("`{shown}` cannot be run: chmod +x"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> Call {
        let environment = BTreeMap::from([("PORTOLAN_KEY".to_owned(), "op-9/fence".to_owned())]);
        let (name, arguments) = (name.to_owned(), vec!["us east".to_owned()]);
        Call { name, arguments, environment, input: serde_json::json!({ "group": "orders" }), timeout: Duration::from_secs(20) }
    }

    fn put(directory: &Path, name: &str, script: &str) {
        fs::write(directory.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn the_exit_code_is_the_answer_and_nothing_of_ours_leaks_in() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        put(at, "yes", "cat; echo; echo \"$1 $PORTOLAN_KEY $HOME\"");
        assert_eq!(run(at, &call("yes")).await, Answer::Yes("{\"group\":\"orders\"}\nus east op-9/fence \n".to_owned()));
        put(at, "again", "echo busy >&2; exit 75");
        assert_eq!(run(at, &call("again")).await, Answer::Again("hook `again`: busy".to_owned()));
        put(at, "no", "printf 'not\\033[31m now\\n\\n'; exit 77");
        assert_eq!(run(at, &call("no")).await, Answer::No("hook `no`: not[31m now".to_owned()));
        put(at, "bad", "exit 3");
        assert_eq!(run(at, &call("bad")).await, Answer::Failed("hook `bad` ended with 3: it said nothing".to_owned()));
    }

    #[tokio::test]
    async fn what_it_started_ends_with_it_and_what_it_prints_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        put(at, "hang", "sleep 1000 & echo $! > \"$PORTOLAN_FILE\"; wait");
        let file = at.join("pid");
        let environment = BTreeMap::from([("PORTOLAN_FILE".to_owned(), file.display().to_string())]);
        let hangs = Call { environment, timeout: Duration::from_secs(2), ..call("hang") };
        assert_eq!(run(at, &hangs).await, Answer::Failed("hook `hang` did not end within 2s, and was killed".to_owned()));
        let child = fs::read_to_string(file).unwrap().trim().to_owned();
        let is_gone = || fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
        while !is_gone() {
            tokio::task::yield_now().await;
        }
        put(at, "flood", "yes | head -c 10000000");
        let (Answer::Yes(said) | Answer::Failed(said)) = run(at, &call("flood")).await else { panic!("an answer") };
        assert!(said.len() as u64 <= OUTPUT_OCTETS_MAX + 300);
    }

    #[tokio::test]
    async fn what_it_prints_is_given_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        put(at, "list", "printf '[\\001]'; echo looked >&2");
        assert_eq!(print(at, &call("list"), 3).await, Ok(b"[\x01]".to_vec()));
        assert_eq!(print(at, &call("list"), 2).await, Err("hook `list` printed more than 2 octets".to_owned()));
        put(at, "bad", "echo '[]'; echo no bucket >&2; exit 3");
        assert_eq!(print(at, &call("bad"), 100).await, Err("hook `bad` ended with 3: no bucket".to_owned()));
        put(at, "flood", "yes | head -c 10000000");
        assert_eq!(print(at, &call("flood"), 1000).await, Err("hook `flood` printed more than 1000 octets".to_owned()));
    }

    #[tokio::test]
    async fn a_program_that_others_may_change_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        put(at, "open", "true");
        fs::set_permissions(at.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        put(at, "dull", "true");
        fs::set_permissions(at.join("dull"), fs::Permissions::from_mode(0o644)).unwrap();
        for (name, why) in [("open", "chmod go-w"), ("dull", "chmod +x"), ("gone", "put the program there"), ("../x", "no file name")] {
            let Answer::Failed(text) = run(at, &call(name)).await else { panic!("{name} was run") };
            assert!(text.contains(why), "{text}");
        }
    }
}
