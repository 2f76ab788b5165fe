//! Where a copy stands, and how whoever works there is ended.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portolan_core::model::time::Human;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use super::{
    super::{Trouble, program::last_words},
    LOOK,
};
use crate::hook::Group;

/// Whoever was told to end has so long until it is killed, and whoever was killed until that is a trouble.
const END: Duration = Duration::from_secs(10);

/// More of a log is not read.
const LOG_OCTETS_MAX: u64 = 64 * 1024;

/// The longest name of a socket, in octets (unix(7)).
const SOCKET_OCTETS_MAX: usize = 107;

/// The port is a part of the socket's name only.
pub(super) const PORT: &str = "5432";

/// In the environment of a program that is to make a data directory: which one. Whatever it starts has it from there, wherever that works.
pub(super) const DIRECTORY: &str = "PORTOLAN_DIRECTORY";

/// The name of its log in the place.
pub(super) const LOG: &str = "log";

/// A directory of its own beside the data directory. The server's user may read what is in it, and change only what is under `data` and `socket`.
pub(super) struct Place {
    pub(super) around: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) rules: PathBuf,
    pub(super) log: File,
}

impl Place {
    pub(super) fn make(around: PathBuf, owner: Option<(u32, u32)>) -> Result<Self, Trouble> {
        let (data, socket, rules) = (around.join("data"), around.join("socket"), around.join("hba.conf"));
        let name = socket.join(format!(".s.PGSQL.{PORT}"));
        if around.to_str().is_none() || name.as_os_str().len() > SOCKET_OCTETS_MAX {
            let name = name.display();
            return Err(Trouble(format!("`{name}` is no name that a socket can have, of UTF-8 and at most {SOCKET_OCTETS_MAX} octets")));
        }
        let made = || {
            let directory = |path: &Path, mode| {
                fs::create_dir(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            };
            // Not those that somebody else put there.
            let file = |path: &Path| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            directory(&around, 0o710)?;
            directory(&data, 0o700)?;
            directory(&socket, 0o700)?;
            // Nobody but the owner of the server's files, and root, gets to the socket.
            file(&rules)?.write_all(b"local all all trust\n")?;
            fs::set_permissions(&rules, fs::Permissions::from_mode(0o640))?;
            let log = file(&around.join(LOG))?;
            if let Some((user, group)) = owner {
                chown(&around, None, Some(group))?;
                chown(&rules, None, Some(group))?;
                chown(&data, Some(user), Some(group))?;
                chown(&socket, Some(user), Some(group))?;
            }
            Ok::<File, io::Error>(log)
        };
        let log = made().map_err(|error| Trouble(format!("make `{}`: {error}", around.display())))?;
        Ok(Self { around, data, socket, rules, log })
    }

    /// Runs a program of the operator to its end. What it says goes into the log, as much as it likes. However this ends, what it started ends, too.
    pub(super) async fn run(&self, mut command: Command, name: &str, patience: Duration) -> Result<(), Trouble> {
        let problem = |error: io::Error| Trouble(format!("run {name}: {error}"));
        command.stdout(self.log.try_clone().map_err(problem)?).stderr(self.log.try_clone().map_err(problem)?);
        let mut group = Group::spawn(&mut command).map_err(problem)?;
        let late = |_| Trouble(format!("run {name}: it did not end within {}", Human(patience)));
        let status = timeout(patience, group.child().wait()).await.map_err(late)?.map_err(problem)?;
        if status.success() { Ok(()) } else { Err(Trouble(format!("run {name}: {status}: {}", said_last(&self.around.join(LOG))))) }
    }
}

/// The last line of a log.
pub(super) fn said_last(log: &Path) -> String {
    let mut said = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_OCTETS_MAX)))?;
        file.take(LOG_OCTETS_MAX).read_to_end(&mut said)
    });
    read.map_or_else(|_| "its log cannot be read".to_owned(), |_| last_words(&said))
}

/// Ends every process of that user that works in a sandbox or for one: the server of one that was lost, and what that or its program started.
pub(super) async fn end_all_in(place: &Path, user: u32) -> Result<(), Trouble> {
    let began = Instant::now();
    loop {
        let working = working_in(place, user);
        if working.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= END * 2 {
            return Err(Trouble(format!("processes in `{}` do not end: {working:?}", place.display())));
        }
        let signal = if began.elapsed() >= END { Signal::SIGKILL } else { Signal::SIGQUIT };
        for process in working {
            if let Err(error) = kill(Pid::from_raw(process), signal) {
                // It may have ended meanwhile.
                debug!(process, "end what works in `{}`: {error}", place.display());
            }
        }
        sleep(LOOK).await;
    }
}

/// The processes of that user whose working directory is in there, as a server's is, or who were started to fill it. Whoever only looks around there
/// is somebody else.
fn working_in(place: &Path, user: u32) -> Vec<i32> {
    let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    let all = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let works_there = |process: &i32| {
        let is_theirs = fs::metadata(format!("/proc/{process}")).is_ok_and(|meta| meta.uid() == user);
        is_theirs && (fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|cwd| is_in(&cwd, &place)) || fills(*process, &place))
    };
    numbers.filter(works_there).collect()
}

/// Whether it has the place in its environment, as the program that restores a backup and what that started have.
fn fills(process: i32, place: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return false };
    let mut all = environment.split(|octet| *octet == 0);
    all.find_map(|pair| pair.strip_prefix(DIRECTORY.as_bytes())?.strip_prefix(b"=")).is_some_and(|at| {
        let at = Path::new(OsStr::from_bytes(at));
        at.starts_with(place) || at.parent().and_then(|at| fs::canonicalize(at).ok()).is_some_and(|at| at == place)
    })
}

/// A directory that is gone has a word behind its name (proc(5)).
fn is_in(directory: &Path, place: &Path) -> bool {
    let gone = [place.as_os_str().as_bytes(), b" (deleted)"].concat();
    directory.starts_with(place) || directory.as_os_str().as_bytes() == gone
}

#[cfg(test)]
mod tests {
    use nix::unistd::geteuid;

    use super::*;

    #[tokio::test]
    async fn whoever_works_in_a_sandbox_is_ended_and_nobody_else() {
        let around = tempfile::tempdir().unwrap();
        let (place, beside) = (around.path().join(".data.sandbox-1"), around.path().join("data"));
        let (inside, user) = (place.join("data"), geteuid().as_raw());
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&beside).unwrap();
        let start = |at: &Path| std::process::Command::new("sleep").arg("600").current_dir(at).spawn().unwrap();
        let (mut lost, mut other) = (start(&inside), start(&beside));
        let process = i32::try_from(lost.id()).unwrap();
        assert_eq!((working_in(&place, user), working_in(&place, user + 1)), (vec![process], Vec::new()));
        let ended = tokio::task::spawn_blocking(move || lost.wait().unwrap());
        end_all_in(&place, user).await.unwrap();
        assert!(!ended.await.unwrap().success());
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// The program's own process ends, and what it left at work elsewhere does not: of one that ended well, of one that was given up, and of one whose
    /// agent is lost.
    #[tokio::test]
    async fn what_a_program_started_ends_with_it_wherever_it_works() {
        let around = tempfile::tempdir().unwrap();
        let at = around.path().join(".data.sandbox-1");
        let place = Place::make(at.clone(), None).unwrap();
        let number = around.path().join("number");
        let noted = || fs::read_to_string(&number).ok()?.trim().parse::<i32>().ok();
        let started = async || loop {
            match noted() {
                Some(process) => break process,
                None => tokio::task::yield_now().await,
            }
        };
        let gone = async |process: i32| {
            while !fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z ")) {
                tokio::task::yield_now().await;
            }
            fs::remove_file(&number).unwrap();
        };
        let script = |then: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("cd /; sleep 600 & echo $! > {}; {then}", number.display()));
            command.env(DIRECTORY, &place.data).kill_on_drop(true);
            command
        };
        place.run(script("true"), "hook restore", END * 6).await.unwrap();
        gone(started().await).await;
        let process = tokio::select! {
            ended = place.run(script("wait"), "hook restore", END * 6) => panic!("{ended:?}"),
            process = started() => process,
        };
        gone(process).await;
        // Nobody kills its group: it is looked for.
        let mut lost = script("wait").process_group(0).spawn().unwrap();
        let (process, user) = (started().await, geteuid().as_raw());
        assert!(working_in(&at, user).contains(&process));
        assert_eq!(working_in(&around.path().join(".data.sandbox-2"), user), Vec::<i32>::new());
        let ended = tokio::spawn(async move { lost.wait().await });
        end_all_in(&at, user).await.unwrap();
        ended.await.unwrap().unwrap();
        gone(process).await;
    }

    #[test]
    fn a_place_is_made_once_and_where_a_socket_can_be() {
        let around = tempfile::tempdir().unwrap();
        let at = around.path().join(".data.sandbox-1");
        let place = Place::make(at.clone(), None).unwrap();
        assert_eq!(fs::read_to_string(&place.rules).unwrap(), "local all all trust\n");
        for (path, mode) in [(&place.around, 0o710), (&place.data, 0o700), (&place.socket, 0o700), (&place.rules, 0o640)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        assert!(Place::make(at, None).is_err_and(|trouble| trouble.0.contains("exists")));
        let long = around.path().join("x".repeat(100));
        assert!(Place::make(long.clone(), None).is_err_and(|trouble| trouble.0.contains("at most 107 octets")));
        assert!(!long.exists());
    }
}
