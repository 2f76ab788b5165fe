//! Disaster recovery: targets, backups, validation. The words of the first plan documents, unchanged.

use std::time::Duration;

use super::{ExpectHttp, Number};
use crate::{
    document::{Decode, NodeId, PlainName, Reader, Schemas, Secret, Table, Text, Url, Word, days, hours, minutes, quote, seconds},
    model::{check::Decimal, ids::Label, units::Share},
    section, words,
};

section! {
    /// Targets and rules of disaster recovery.
    pub struct DisasterRecovery {
        /// How much work may be lost, in time.
        rpo_target: Duration where (seconds(0)..=days(365)),
        /// How long a recovery may take.
        rto_target: Duration where (seconds(1)..=days(365)),
        /// What is backed up, by class.
        backup_strategy: Table<Label, BackupRule> = Table::default(),
        /// When automation acts.
        failover_automation: FailoverAutomation = FailoverAutomation::default(),
        /// How a recovery goes.
        recovery_procedures: RecoveryProcedures = RecoveryProcedures { data_recovery: None, service_recovery: None },
    }
}

section! {
    /// How one class of data is backed up.
    pub struct BackupRule {
        /// How often: hourly, daily, weekly, or a duration.
        frequency: Frequency,
        /// How long a backup is kept.
        retention: Duration where (hours(1)..=days(36_500)),
        /// Where it lies; multi-region asks for sources in two regions.
        storage: Option<Storage> = None,
        /// How it must be encrypted; what the store cannot prove is unknown.
        encryption: Option<Encryption> = None,
        /// Whether older versions must be kept; what the store cannot prove is unknown.
        versioning: Option<bool> = None,
    }
}

words! {
    /// Where backups lie.
    pub enum Storage("a storage") {
        /// In one region.
        Regional = "regional",
        /// In at least two.
        MultiRegion = "multi-region",
    }
}

words! {
    /// How backups are encrypted.
    pub enum Encryption("an encryption") {
        /// AES with keys of 256 bits.
        Aes256 = "AES-256",
    }
}

/// How often: a word or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency(pub Duration);

impl Word for Frequency {
    const WHAT: &'static str = "a frequency";
    const EXAMPLES: &'static str = "for example hourly, daily, weekly or 15m";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "hourly" => Ok(Self(hours(1))),
            "daily" => Ok(Self(days(1))),
            "weekly" => Ok(Self(days(7))),
            _ => match Duration::read(text) {
                Ok(duration) if duration >= seconds(1) => Ok(Self(duration)),
                Ok(_) => Err("is less than a second".to_owned()),
                Err(problem) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(problem),
                Err(_) => Err("is not a frequency".to_owned()),
            },
        }
    }

    fn show(&self) -> String {
        match self.0 {
            every if every == hours(1) => "hourly".to_owned(),
            every if every == days(1) => "daily".to_owned(),
            every if every == days(7) => "weekly".to_owned(),
            every => every.show(),
        }
    }

    fn suggest(text: &str) -> Option<String> {
        crate::document::nearest(text, ["hourly", "daily", "weekly"]).map(|word| format!("did you mean `{word}`?"))
    }
}

section! {
    /// When automation acts.
    pub struct FailoverAutomation {
        /// Failed rounds that call for a failover.
        health_check_failures: u16 where (1..=64) = 3,
        /// The time in which they are counted.
        failure_window: Duration where (seconds(1)..=days(1)) = minutes(5),
        /// Whether automation acts at all.
        automatic_failover: bool = false,
        /// Who is told.
        notification_channels: Vec<Channel> = Vec::new(),
    }
}

impl Default for FailoverAutomation {
    fn default() -> Self {
        Self { health_check_failures: 3, failure_window: minutes(5), automatic_failover: false, notification_channels: Vec::new() }
    }
}

words! {
    /// Channels of notification.
    pub enum Channel("a notification channel") {
        /// Slack.
        Slack = "slack",
        /// PagerDuty.
        Pagerduty = "pagerduty",
        /// A signed HTTP request.
        Webhook = "webhook",
        /// E-mail.
        Email = "email",
    }
}

section! {
    /// How a recovery goes.
    pub struct RecoveryProcedures {
        /// Of data.
        data_recovery: Option<DataRecovery> = None,
        /// Of services.
        service_recovery: Option<ServiceRecovery> = None,
    }
}

section! {
    /// How data comes back.
    pub struct DataRecovery {
        /// What is used first.
        primary_source: RecoverySource,
        /// What is used when there is no replica.
        backup_source: Option<RecoverySource> = None,
        /// What must be shown before a recovery counts: the built-in names, or names of the section `validation`.
        validation_steps: Vec<Label> = Vec::new(),
    }
}

words! {
    /// Where data comes back from.
    pub enum RecoverySource("a source of recovery") {
        /// A replica.
        ContinuousReplication = "continuous_replication",
        /// A backup and the log after it.
        PointInTimeBackup = "point_in_time_backup",
        /// A backup alone.
        Snapshot = "snapshot",
    }
}

section! {
    /// How services come back.
    pub struct ServiceRecovery {
        /// In which steps a drained region takes its clients back, by `portolan return`. After each the others can take them again.
        deployment_strategy: DeploymentStrategy = DeploymentStrategy::BlueGreen,
        /// Other steps than the strategy's: shares of the region's clients that grow to 100%, at most ten. Left out: as the strategy says.
        traffic_steps: Vec<Share> = Vec::new(),
        /// How long each step is watched before the next one begins, 1s to 1d.
        step_time: Duration = Duration::from_mins(5),
        /// Figures that undo it, as long as a group's `observe`: `NAME > VALUE` or `NAME < VALUE`. Three looks in a row must find one firing.
        rollback_triggers: Vec<Trigger> = Vec::new(),
    }
}

words! {
    /// In which steps traffic moves to the place that takes over.
    pub enum DeploymentStrategy("a deployment strategy") {
        /// A tenth, a half, all; the old place keeps what it needs for all of them until the last step was watched.
        BlueGreen = "blue_green",
        /// Quarter by quarter.
        Rolling = "rolling",
        /// A twentieth, then all.
        Canary = "canary",
    }
}

impl DeploymentStrategy {
    /// The shares of its clients that the new place takes, one after the other.
    #[must_use]
    pub fn steps(self) -> Vec<Share> {
        let percents: &[u16] = match self {
            Self::BlueGreen => &[10, 50, 100],
            Self::Rolling => &[25, 50, 75, 100],
            Self::Canary => &[5, 100],
        };
        percents.iter().copied().map(Share::percent).collect()
    }
}

/// A figure and its limit: `error_rate > 5%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// A query of the section `signals`.
    pub signal: Label,
    /// Fires above the limit; else below.
    pub above: bool,
    /// The limit.
    pub limit: Limit,
}

/// A limit with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Compared with a ratio.
    Share(Share),
    /// Compared with seconds.
    Time(Duration),
    /// Compared as it is.
    Number(Decimal),
}

impl Word for Limit {
    const WHAT: &'static str = "a limit";
    const EXAMPLES: &'static str = "for example 5%, 2s or 0.5";

    fn read(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return Share::read(text).map(Self::Share);
        }
        if let Some(number) = crate::document::decimal(text) {
            return Ok(Self::Number(number));
        }
        Duration::read(text).map(Self::Time).map_err(|_| "is neither a percentage, nor a duration, nor a number".to_owned())
    }

    fn show(&self) -> String {
        match self {
            Self::Share(share) => share.show(),
            Self::Time(time) => time.show(),
            Self::Number(number) => number.value().to_string(),
        }
    }
}

impl Word for Trigger {
    const WHAT: &'static str = "a trigger";
    const EXAMPLES: &'static str = "for example \"error_rate > 5%\" or \"latency_p95 > 2s\"";

    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(signal), Some(side), Some(limit), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err("is not of the form NAME > VALUE or NAME < VALUE".to_owned());
        };
        let above = match side {
            ">" => true,
            "<" => false,
            _ => return Err(format!("has `{side}` where > or < is expected")),
        };
        let signal = Label::read(signal).map_err(|_| "does not begin with the name of a signal".to_owned())?;
        Ok(Self { signal, above, limit: Limit::read(limit).map_err(|problem| format!("has a limit that {problem}"))? })
    }

    fn show(&self) -> String {
        format!("{} {} {}", self.signal, if self.above { '>' } else { '<' }, self.limit.show())
    }
}

section! {
    /// One place where backups of a class can be seen.
    pub struct Backup {
        /// What kind of place.
        source: BackupSource,
        /// s3: bucket and prefix. http: where the listing is answered, a JSON list of { name, size, modified, complete, encrypted, versioned }.
        url: Option<Url> = None,
        /// directory: where it is mounted.
        path: Option<PlainName> = None,
        /// s3, http: credentials, a name in secrets_dir. http: one line with a bearer token, or two: user, password.
        secret: Option<Secret> = None,
        /// exec: the program that prints the listing, a name in hooks_dir.
        hook: Option<Secret> = None,
        /// The region that it lies in; a directory with a region is looked at by the nodes of that region only.
        region: Option<Label> = None,
        /// Names that are there only when a backup is complete, below the place: its end mark, or the backup itself where it appears whole; * stands for any characters, ? for one. Left out: every file that is not hidden, not empty, and does not end as files in the making do (.tmp, .part, .partial and their like).
        complete: Option<PlainName> = None,
        /// For drills: the program that makes a data directory of the newest backup here, a name in the hooks_dir of the group's agents. The group whose data it is runs PostgreSQL.
        restore: Option<Secret> = None,
        /// From one look to the next; left out: a tenth of the frequency, at least 10s, at most 10m.
        look_every: Option<Duration> where (seconds(1)..=days(1)) = None,
        /// s3: where the service answers; left out: Amazon's, in `sign_region`.
        endpoint: Option<Url> = None,
        /// s3: the store's own name of its region, for which requests are signed; left out: `region`, else us-east-1.
        sign_region: Option<PlainName> = None,
    }
}

words! {
    /// Kinds of places for backups.
    pub enum BackupSource("a source of backups") {
        /// An S3 bucket.
        S3 = "s3",
        /// A directory.
        Directory = "directory",
        /// A service that answers over HTTP.
        Http = "http",
        /// A program in hooks_dir.
        Exec = "exec",
    }
}

section! {
    /// What a validation step means: `sql`, `http`, `signal` or `hook`.
    pub struct Validation {
        /// A query whose result must be true.
        sql: Option<Text> = None,
        /// A request; {region} and {publish} are replaced.
        http: Option<Url> = None,
        /// http: which answers pass.
        expect: Option<ExpectHttp> = None,
        /// A query of the section `signals`.
        signal: Option<Label> = None,
        /// signal: passes while the figure is less.
        below: Option<LimitValue> = None,
        /// signal: passes while the figure is greater.
        above: Option<LimitValue> = None,
        /// signal: so long without a break.
        ["for"] lasting: Option<Duration> = None,
        /// A program in hooks_dir.
        hook: Option<Secret> = None,
        /// The whole step may last this long.
        timeout: Duration where (seconds(1)..=hours(24)) = minutes(1),
    }
}

/// A limit: a percentage, a duration, or a number without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitValue(pub Limit);

impl Decode for LimitValue {
    fn decode(reader: &mut Reader<'_, '_>, node: NodeId) -> Option<Self> {
        let text = reader.scalar(node, Limit::WHAT)?;
        match Limit::read(text) {
            Ok(limit) => Some(Self(limit)),
            Err(problem) => {
                reader.error(node, format!("{} {problem}", quote(text)), format!("write {}, {}", Limit::WHAT, Limit::EXAMPLES));
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number"] })
    }

    fn to_json(&self) -> serde_json::Value {
        match self.0 {
            Limit::Number(number) => Number(number).to_json(),
            limit => serde_json::Value::from(limit.show()),
        }
    }
}
