//! What a member had alone, kept for whoever wants it back.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use portolan_core::failover::engine::mariadb::Divergence;
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
        info!(octets, file = %path.display(), "what the primary does not have is kept");
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
