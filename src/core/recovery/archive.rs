//! A primary's archive of its log: how much would be lost with nothing else, and whether one can go back to any moment.
//!
//! ```text
//! pg_stat_archiver --agent--> Archive { up_to } --Ring: where the primary was when--> Archived { time } --.
//!                                             newest complete backup --Standing::age---------------------+--> point_in_time: finding
//! ```
//!
//! Point-in-time recovery needs both: a backup, and every segment after it. It reaches to the end of the last archived segment, so what would be
//! lost is counted as for a standby that has received up to there.
//!
//! Absent on purpose: whether what is archived can be read again. Only a restore shows that.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    backups::{Finding, Standing, Verdict},
    exposure::Bracket,
};
use crate::model::{ids::Label, time::Human};

/// The longest name of a file that is told, in characters: a segment has 24, a mark in one 40.
pub const FILE_MAX: usize = 64;

/// What a primary says of its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// It archives its log at all.
    pub is_on: bool,
    /// Everything before this position is archived; `None`: nobody knows, as after a promotion until the first segment.
    pub up_to: Option<u64>,
    /// How long ago a file was archived last, by the server's own clock; `None`: never, or its statistics were lost.
    pub succeeded: Option<Duration>,
    /// Attempts that failed since its statistics began.
    pub n_failed: u64,
    /// The file that cannot be archived now; `None`: the last attempt did it.
    pub failing: Option<String>,
}

/// The archive of a group as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// What the primary says.
    pub archive: Archive,
    /// What would be lost if there were nothing but the archive and a backup.
    pub time: Bracket,
}

impl fmt::Display for Archived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Archive { is_on, succeeded, n_failed, failing, .. } = &self.archive;
        if !is_on {
            return f.write_str("it archives no log");
        }
        write!(f, "{} would be lost by the archive", self.time)?;
        match succeeded {
            Some(age) => write!(f, ", a file was archived {} ago", Human(Duration::from_secs(age.as_secs())))?,
            None => f.write_str(", nothing is known to be archived")?,
        }
        match failing {
            Some(file) => write!(f, "; archiving {file} fails, {n_failed} failed attempts"),
            None => Ok(()),
        }
    }
}

impl Standing {
    /// Whether one can go back to any moment in a group's data, and up to when. `archived`: of the group's primary; `None`: nobody knows.
    #[must_use]
    pub fn point_in_time(&self, group: &Label, archived: Option<&Archived>) -> Finding {
        let found = |verdict, text: String, fix: &str| Finding { check: "point_in_time", verdict, text, fix: fix.to_owned() };
        let Some(archived) = archived else {
            let text = format!("the agent of the primary of {group} does not say how far its log is archived");
            return found(Verdict::Unknown, text, "start it; only PostgreSQL's archive is looked at");
        };
        if !archived.archive.is_on {
            let text = format!("{group} archives no log: one can go back to a backup only");
            return found(Verdict::Fail, text, "set archive_mode and archive_command, or archive_library, and restart it");
        }
        let told = format!("{group}: {archived}");
        if archived.archive.failing.is_some() {
            return found(Verdict::Fail, told, "see why in the server's log; it keeps its log until then, and may fill its disk");
        }
        let Some(age) = self.age else {
            return found(Verdict::Unknown, format!("{told}; but no complete backup is seen to begin with"), "see the age of its backups");
        };
        let begin = format!("{told}; the newest backup to begin with is {} old", Human(Duration::from_secs(age.as_secs())));
        match archived.time.high {
            None => found(Verdict::Unknown, begin, "it is known once a file of this timeline was archived, and this node was there"),
            Some(high) if high > self.class.rpo_target => {
                let text = format!("{begin}, rpo_target is {}", Human(self.class.rpo_target));
                found(Verdict::Warn, text, "shorten archive_timeout")
            }
            Some(_) => found(Verdict::Pass, begin, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::time::Timestamp, recovery::backups::Class};

    fn standing(age: Option<u64>) -> Standing {
        let day = Duration::from_secs(86_400);
        let class = Class {
            name: "orders".into(),
            frequency: day,
            retention: day * 30,
            is_multi_region: false,
            is_encrypted: false,
            is_versioned: false,
            rpo_target: Duration::from_secs(300),
            is_point_in_time: true,
            groups: vec!["orders-db".into()],
            places: Vec::new(),
        };
        Standing { age: age.map(Duration::from_secs), ..Standing::of(class, Vec::new(), Timestamp(0)) }
    }

    fn told(age: Option<u64>, archived: Option<&Archived>) -> String {
        let finding = standing(age).point_in_time(&"orders-db".into(), archived);
        assert_eq!(finding.verdict == Verdict::Pass, finding.fix.is_empty());
        format!("{} {}", finding.verdict, finding.text)
    }

    #[test]
    fn only_what_is_known_whole_passes() {
        let seconds = Duration::from_secs;
        let archive = Archive { is_on: true, up_to: Some(9), succeeded: Some(seconds(20)), n_failed: 0, failing: None };
        let time = Bracket { low: seconds(20), high: Some(seconds(61)) };
        let well = Archived { archive: archive.clone(), time };
        let text = "pass orders-db: 20s to 1m1s would be lost by the archive, a file was archived 20s ago; the newest backup to begin with is 1h old";
        assert_eq!(told(Some(3600), Some(&well)), text);
        let late = Archived { time: Bracket { low: seconds(20), high: Some(seconds(301)) }, ..well.clone() };
        assert!(told(Some(3600), Some(&late)).starts_with("warn ") && told(Some(3600), Some(&late)).ends_with("rpo_target is 5m"));
        for (age, archived) in
            [(Some(3600), None), (None, Some(well.clone())), (Some(3600), Some(Archived { time: Bracket::UNKNOWN, ..well.clone() }))]
        {
            assert!(told(age, archived.as_ref()).starts_with("unknown "), "{age:?} {archived:?}");
        }
        let off = Archived { archive: Archive::default(), ..well.clone() };
        assert_eq!(told(Some(3600), Some(&off)), "fail orders-db archives no log: one can go back to a backup only");
        let failing = Archive { n_failed: 3, failing: Some("00000001000000000000000A".to_owned()), ..archive };
        let failing = told(Some(3600), Some(&Archived { archive: failing, ..well }));
        assert!(
            failing.starts_with("fail ") && failing.ends_with("archiving 00000001000000000000000A fails, 3 failed attempts"),
            "{failing}"
        );
    }
}
