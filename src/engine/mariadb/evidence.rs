//! What a member had alone, kept for whoever wants it back.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use portolan_core::{failover::engine::mariadb::Divergence, recovery::aside::Aside};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};
use tracing::info;

use super::{super::Trouble, Mariadb};

/// More log is not kept; a person decides then.
const OCTETS_MAX: u64 = 64 << 30;

/// For the program to read all logs.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// What it may complain of.
const COMPLAINT_OCTETS_MAX: u64 = 64 * 1024;

/// Of a line, what is looked at: the rest is a client's text, of any length.
const HEAD_OCTETS_MAX: usize = 512;

/// How many transactions of a domain behind a number are in a listing of `mariadb-binlog`.
fn transactions(listing: &std::path::Path, domain: u32, behind: u64) -> std::io::Result<u64> {
    let (mut reader, mut head, mut n) = (BufReader::new(File::open(listing)?), Vec::with_capacity(HEAD_OCTETS_MAX), 0);
    loop {
        let octets = reader.fill_buf()?;
        if octets.is_empty() {
            return Ok(n);
        }
        let end = octets.iter().position(|octet| *octet == b'\n');
        let part = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
        let room = HEAD_OCTETS_MAX - head.len();
        head.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let taken = part.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            n += u64::from(begins(&String::from_utf8_lossy(&head)).is_some_and(|(of, number)| of == domain && number > behind));
            head.clear();
        }
    }
}

/// Domain and number of the transaction that begins with a line of the listing; `None`: none does.
fn begins(line: &str) -> Option<(u32, u64)> {
    let (head, after) = line.split_once("\tGTID ")?;
    if !head.starts_with('#') || !head.contains(" server id ") || !head.contains(" end_log_pos ") {
        return None;
    }
    let mut parts = after.split_ascii_whitespace().next()?.split('-');
    let (domain, _, number) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?.parse().ok()?);
    Some((domain, number))
}

impl Mariadb {
    /// Writes the transactions behind where the lines parted, as SQL that can be read and run again; where. The server must not run.
    pub(super) async fn keep_tail(&self, parted: Divergence) -> Result<PathBuf, Trouble> {
        let path = self.setup.evidence.join(format!("timeline-{}-from-{}.sql", parted.timeline, parted.at));
        let problem = |why: &dyn std::fmt::Display| Trouble(format!("keep what only this member has in `{}`: {why}", path.display()));
        fs::create_dir_all(&self.setup.evidence).map_err(|error| problem(&error))?;
        let logs = self.files.logs(&self.setup.log_bin)?;
        // The server in the id is no part of the order. Where logs from there on are gone, all that is left is kept.
        let from = (parted.at > 0).then(|| format!("--start-position={}-0-{}", self.setup.domain, parted.at));
        let octets = match self.copy(&logs, from.as_deref(), &path).await {
            Err(why) if from.is_some() => {
                info!("not all of it is there any more: {why}");
                self.copy(&logs, None, &path).await
            }
            done => done,
        };
        let octets = octets.map_err(|why| problem(&why))?;
        let (of, domain) = (path.clone(), self.setup.domain);
        let counted = tokio::task::spawn_blocking(move || transactions(&of, domain, parted.at)).await;
        let commits = counted.map_err(|error| problem(&error))?.map_err(|error| problem(&error))?;
        info!(octets, commits, file = %path.display(), "what the primary does not have is kept");
        // The text is longer than the log that it was read from, so it says nothing of octets.
        self.shelf.put(Aside { parted: Some((parted.timeline, parted.at)), commits: Some(commits), ..Aside::default() });
        Ok(path)
    }

    async fn copy(&self, logs: &[PathBuf], from: Option<&str>, to: &std::path::Path) -> Result<u64, String> {
        let mut command = Command::new(self.setup.bin_dir.join("mariadb-binlog"));
        command.arg("--no-defaults").arg("--verbose").args(from).args(logs);
        command.env_clear().env("LC_ALL", "C").current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some((user, group)) = self.setup.owner {
            command.uid(user).gid(group);
        }
        let run = async {
            let mut child = command.spawn()?;
            let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else { return Ok((0, None, String::new())) };
            let mut file = tokio::fs::File::from_std(File::create(to)?);
            let (mut out, mut err, mut complaint) = (out.take(OCTETS_MAX + 1), err.take(COMPLAINT_OCTETS_MAX), Vec::new());
            let (octets, _) = tokio::try_join!(tokio::io::copy(&mut out, &mut file), err.read_to_end(&mut complaint))?;
            file.flush().await?;
            file.sync_all().await?;
            if octets > OCTETS_MAX {
                return Ok((octets, None, String::new()));
            }
            let status = child.wait().await?;
            Ok::<_, std::io::Error>((octets, Some(status), String::from_utf8_lossy(&complaint).into_owned()))
        };
        let (octets, status, complaint) = timeout(PATIENCE, run)
            .await
            .map_err(|_| "mariadb-binlog did not end in time".to_owned())?
            .map_err(|error| format!("run mariadb-binlog: {error}"))?;
        match status {
            None => Err(format!("it is more than {} GiB: move the binary logs away by hand", OCTETS_MAX >> 30)),
            Some(status) if status.success() => Ok(octets),
            Some(_) => {
                Err(complaint.lines().rfind(|line| line.contains("ERROR")).unwrap_or("mariadb-binlog failed").chars().take(200).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_behind_where_the_lines_parted_are_counted_whatever_their_text_is() {
        let directory = tempfile::tempdir().unwrap();
        let listing = directory.path().join("tail.sql");
        let begin = |gtid: &str| format!("#261130 15:11:11 server id 11  end_log_pos 345 CRC32 0x0badf00d \tGTID {gtid} trans\n");
        let long = format!("insert into t values ('{}\tGTID 0-1-99 ')/*!*/;\n", "x".repeat(100_000));
        let text = [begin("0-11-5"), begin("0-11-6"), long, begin("3-11-7"), begin("0-12-7"), "# no server id \tGTID 0-1-9\n".to_owned()];
        fs::write(&listing, text.concat()).unwrap();
        assert_eq!(transactions(&listing, 0, 5).unwrap(), 2);
        assert_eq!(transactions(&listing, 0, 0).unwrap(), 3);
        assert!(transactions(&directory.path().join("none"), 0, 0).is_err());
    }
}
