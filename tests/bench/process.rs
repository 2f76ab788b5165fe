//! What the kernel knows of a process: time on processors, memory, descriptors.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// This program again, in a process of its own that serves under another first argument. It ends with this.
pub(crate) struct Served {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Says a word and gives the answer to it.
    pub(crate) fn say(&mut self, word: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
        self.line()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What such a process does while it serves: the pipe from the measuring process closes when that ends, in whatever way.
pub(crate) fn wait_for_the_end() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// User and system time of a process and of all processes below it so far, in steps of 10 ms; dead children that were waited for included.
pub(crate) fn cpu(pid: u32) -> Duration {
    let hundredths: u64 = tree(pid).iter().filter_map(|pid| fields(*pid)).map(|fields| fields[11..15].iter().sum::<u64>()).sum();
    Duration::from_millis(hundredths * 10)
}

/// The same of the process alone, without those below it.
pub(crate) fn cpu_alone(pid: u32) -> Duration {
    let hundredths: u64 = fields(pid).map_or(0, |fields| fields[11..13].iter().sum());
    Duration::from_millis(hundredths * 10)
}

/// A process and all below it.
fn tree(root: u32) -> Vec<u32> {
    let all: Vec<u32> = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&parent) = tree.get(at) {
        tree.extend(all.iter().filter(|pid| fields(**pid).is_some_and(|fields| fields[1] == u64::from(parent))));
        at += 1;
    }
    tree
}

/// What follows the name in `/proc/PID/stat`: 0 is the state, 1 the parent, 11 to 14 are times, in hundredths of a second. The name stands in
/// parentheses and may hold spaces; fields that are no unsigned number read as 0.
fn fields(pid: u32) -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// A line of this process's `/proc/self/status`.
pub(crate) fn status(key: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

/// What is resident of another process, in KiB: its own memory, and the pages of files that it has touched, of its program above all.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    kib(pid, "VmRSS:")
}

/// Of that its own memory, in KiB, which it shares with nobody: what no file holds.
pub(crate) fn own_kib(pid: u32) -> u64 {
    kib(pid, "RssAnon:")
}

fn kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A line of this process's own status in MiB; the line must be in kB.
pub(crate) fn mebibytes(key: &str) -> f64 {
    let kibibytes: u32 = status(key).split_whitespace().next().unwrap().parse().unwrap();
    f64::from(kibibytes) / 1024.0
}

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The value after `name` among the arguments.
pub(crate) fn option<T: std::str::FromStr>(name: &str, default: T) -> T {
    let arguments: Vec<String> = std::env::args().collect();
    let value = arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    value.map_or(default, |value| value.parse().ok().unwrap_or_else(|| panic!("{name}: not a number: {value}")))
}
