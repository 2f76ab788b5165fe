//! Signals, guardrails, publishing, notification, vantage points.

use std::time::Duration;

use crate::{
    document::{HostPort, PlainName, Secret, Table, Text, Url, hours, seconds},
    model::{ids::Label, name::Name, time::Timestamp, units::Share},
    section, words,
};

section! {
    /// How observers look.
    pub struct Vantage {
        /// How many nodes of a region probe each endpoint.
        probers_per_region: u16 where (1..=16) = 2,
        /// How long an unproven verdict of another region still counts.
        unproven_hold: Duration where (seconds(0)..=hours(1)) = seconds(60),
        /// Targets outside all regions that a sighted node reaches: tcp://HOST:PORT.
        references: Vec<Reference> = Vec::new(),
    }
}

/// A target outside all regions: `tcp://192.0.2.250:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(pub HostPort);

impl crate::document::Word for Reference {
    const WHAT: &'static str = "a reference";
    const EXAMPLES: &'static str = "for example tcp://192.0.2.250:443";

    fn read(text: &str) -> Result<Self, String> {
        let Some(target) = text.strip_prefix("tcp://") else { return Err("does not begin with tcp://".to_owned()) };
        HostPort::read(target).map(Self)
    }

    fn show(&self) -> String {
        format!("tcp://{}", self.0.show())
    }
}

section! {
    /// Where the figures of rollback triggers come from.
    #[derive(Default)]
    pub struct Signals {
        /// Servers that answer queries.
        sources: Table<Label, SignalSource> = Table::default(),
        /// The figures.
        queries: Table<Label, SignalQuery> = Table::default(),
    }
}

section! {
    /// A server that answers queries.
    pub struct SignalSource {
        /// Base URL of a Prometheus server, or of one that speaks its API.
        prometheus: Url,
        /// Credentials, a name in secrets_dir.
        secret: Option<Secret> = None,
    }
}

section! {
    /// A figure. A signal without data is unknown: it neither fires nor passes.
    pub struct SignalQuery {
        /// A source.
        source: Label,
        /// Unit of the result: percentages compare with a ratio, durations with seconds.
        unit: Unit,
        /// The query; {region} and {publish} are replaced literally.
        query: Text,
    }
}

words! {
    /// Unit of a figure.
    pub enum Unit("a unit") {
        /// 0 to 1.
        Ratio = "ratio",
        /// Seconds.
        Seconds = "seconds",
        /// Any other number.
        Number = "number",
    }
}

section! {
    /// Limits on what automation and people may do.
    pub struct Guardrails {
        /// Of a service's endpoints that still answer, but wrongly or slowly, at most this percentage leaves.
        max_ejection_percent: u16 where (0..=100) = 50,
        /// At most this part of the traffic may be moved by one step of a command or schedule.
        max_share_moved_per_step: Share = Share::FULL,
        /// Times in which people and schedules change nothing.
        freeze: Vec<Freeze> = Vec::new(),
    }
}

impl Default for Guardrails {
    fn default() -> Self {
        Self { max_ejection_percent: 50, max_share_moved_per_step: Share::FULL, freeze: Vec::new() }
    }
}

section! {
    /// A time in which people and schedules change nothing.
    pub struct Freeze {
        /// Begin, in UTC.
        from: Timestamp,
        /// End, in UTC.
        until: Timestamp,
        /// Why.
        reason: Text,
        /// Whether automatic failover rests too.
        automation: bool = false,
    }
}

section! {
    /// Other people's DNS that is kept in step.
    #[derive(Default)]
    pub struct Publish {
        /// Route 53, by zone.
        route53: Table<Name, Route53> = Table::default(),
        /// Cloudflare, by zone.
        cloudflare: Table<Name, Cloudflare> = Table::default(),
        /// Servers that take dynamic updates (RFC 2136), by zone.
        rfc2136: Table<Name, Rfc2136> = Table::default(),
    }
}

words! {
    /// What a publisher may do.
    pub enum PublishPolicy("a publishing policy") {
        /// Create and change, never delete.
        UpsertOnly = "upsert_only",
        /// Delete what it owns, too.
        Sync = "sync",
    }
}

section! {
    /// A hosted zone of Route 53.
    pub struct Route53 {
        /// The hosted zone's id.
        zone: PlainName,
        /// What the publisher may do.
        policy: PublishPolicy = PublishPolicy::UpsertOnly,
        /// Who owns the records, in the ownership records.
        owner: Label,
        /// Credentials, a name in secrets_dir; left out: the environment's.
        secret: Option<Secret> = None,
    }
}

section! {
    /// A zone of Cloudflare.
    pub struct Cloudflare {
        /// The zone's id.
        zone: PlainName,
        /// What the publisher may do.
        policy: PublishPolicy = PublishPolicy::UpsertOnly,
        /// Who owns the records, in the ownership records.
        owner: Label,
        /// The API token's name in secrets_dir.
        token: Secret,
    }
}

section! {
    /// A server that takes dynamic updates.
    pub struct Rfc2136 {
        /// The server.
        server: HostPort,
        /// What the publisher may do.
        policy: PublishPolicy = PublishPolicy::UpsertOnly,
        /// Who owns the records, in the ownership records.
        owner: Label,
        /// The TSIG key's name in secrets_dir.
        key: Secret,
    }
}

section! {
    /// Who is told.
    #[derive(Default)]
    pub struct Notifications {
        /// Slack.
        slack: Option<Slack> = None,
        /// PagerDuty.
        pagerduty: Option<Pagerduty> = None,
        /// A signed HTTP request.
        webhook: Option<Webhook> = None,
        /// E-mail.
        email: Option<Email> = None,
        /// Where the runbooks stand; linked in every page.
        runbook_base_url: Option<Url> = None,
    }
}

section! {
    /// Slack.
    pub struct Slack {
        /// The incoming webhook's name in secrets_dir.
        webhook_url: Secret,
        /// The signing secret's name in secrets_dir, for buttons.
        signing_secret: Option<Secret> = None,
    }
}

section! {
    /// PagerDuty.
    pub struct Pagerduty {
        /// The routing key's name in secrets_dir.
        routing_key: Secret,
        /// The webhook secret's name in secrets_dir, for acknowledgements.
        webhook_secret: Option<Secret> = None,
    }
}

section! {
    /// A signed HTTP request.
    pub struct Webhook {
        /// Where to.
        url: Url,
        /// The signing key's name in secrets_dir.
        secret: Option<Secret> = None,
    }
}

section! {
    /// E-mail.
    pub struct Email {
        /// The mail server.
        server: HostPort,
        /// Sender.
        from: PlainName,
        /// Receivers.
        to: Vec<PlainName>,
        /// User and password, a name in secrets_dir.
        secret: Option<Secret> = None,
    }
}
