//! Data groups: databases that have one primary.

use std::{net::IpAddr, time::Duration};

use crate::{
    document::{HostPort, Secret, Table, Text, days, hours, minutes, seconds},
    model::{ids::Label, units::Share},
    section, words,
};

words! {
    /// Database engines and the managers that run them.
    pub enum Engine("an engine") {
        /// PostgreSQL, streaming replication.
        Postgresql = "postgresql",
        /// Redis or Valkey.
        Redis = "redis",
        /// MariaDB with GTID replication, asynchronous.
        Mariadb = "mariadb",
        /// MySQL.
        Mysql = "mysql",
        /// PostgreSQL run by Patroni.
        Patroni = "patroni",
        /// PostgreSQL run by CloudNativePG.
        CloudNativePg = "cloudnative_pg",
        /// Verbs over HTTP.
        Http = "http",
        /// Verbs as programs.
        Exec = "exec",
        /// The fake that is shipped for drills: `portolan fake`, on loopback only.
        Fake = "fake",
    }
}

impl Engine {
    /// Whether another manager runs the database, so that no supervisor stands under it.
    #[must_use]
    pub const fn has_manager(self) -> bool {
        matches!(self, Self::Patroni | Self::CloudNativePg | Self::Exec | Self::Http)
    }
}

words! {
    /// When a write counts as done.
    pub enum DurabilityWord("a durability") {
        /// When the primary has it.
        Async = "async",
        /// When another region has it too.
        RemoteQuorum = "remote_quorum",
    }
}

words! {
    /// What the holder of the lease does when it cannot reach a quorum.
    pub enum OnControlLossWord("a rule for control loss") {
        /// Stops writing at the lease's end.
        Fence = "fence",
        /// Goes on while every member's agent and every voter region acknowledges it directly.
        HoldIfAllAck = "hold_if_all_ack",
        /// Goes on; no automatic failover for this group.
        Keep = "keep",
    }
}

words! {
    /// What a name that follows a primary answers while none is proven.
    pub enum WithoutPrimary("an answer without primary") {
        /// SERVFAIL: a resolver then asks a server on the other side.
        Servfail = "servfail",
        /// "No data".
        Nodata = "nodata",
        /// The last one.
        Last = "last",
    }
}

section! {
    /// A database with one primary.
    pub struct DataGroup {
        /// Who runs it.
        engine: Engine,
        /// A class of the backup strategy.
        data_class: Option<Label> = None,
        /// Where people expect the primary; adoption looks at the members.
        primary: Label,
        /// When a write counts as done.
        durability: DurabilityWord = DurabilityWord::Async,
        /// Narrows the plan's automatic failover, never widens it.
        automatic_failover: Option<bool> = None,
        /// Narrows the plan's mode, never widens it.
        mode: Option<super::ModeWord> = None,
        /// Order when one cause hits many groups; the lower first.
        priority: u16 = 100,
        /// How the primary is probed.
        probe: GroupProbe = GroupProbe { interval: seconds(15), timeout: seconds(5) },
        /// How long the decision is held before it is carried out.
        confirm_hold: Duration where (seconds(0)..=hours(1)) = seconds(60),
        /// How long the agent may try to bring a crashed primary up again where it stands, before another member is promoted; 0s: that is not waited for.
        local_recovery: Duration where (seconds(0)..=hours(1)) = seconds(60),
        /// How long nothing is done after an operation.
        cool_down: Duration where (seconds(0)..=days(7)) = hours(1),
        /// How long the result of an operation is watched: a rollback trigger that fires meanwhile takes it back, once, or calls a person. 0s: not at all.
        observe: Duration where (seconds(0)..=days(1)) = minutes(15),
        /// Whether a member whose directory may not be started any more (RECLONE_REQUIRED) is copied anew by itself, which removes that directory; else a
        /// person says so: portolan rejoin --reclone. PostgreSQL only.
        allow_reclone: bool = false,
        /// The right to write.
        lease: Lease = Lease { ttl: seconds(90), margin: seconds(10) },
        /// What the holder does when it cannot reach a quorum.
        on_control_loss: OnControlLossWord = OnControlLossWord::HoldIfAllAck,
        /// Jurisdictions whose regions may hold the primary; left out: every region.
        residency: Option<Vec<Label>> = None,
        /// Its members, one per region.
        members: Table<Label, Member>,
        /// How the old primary is stopped: tried in order until one confirms.
        fence: Vec<FenceRung> = Vec::new(),
        /// For tests only: all clocks of the group run in this part of the time that is written, those that nobody writes too. Only where every member's
        /// address is one of this machine, as 127.0.0.1 is. At least 5%.
        time_scale: Share = Share::FULL,
        /// Programs that are asked.
        hooks: GroupHooks = GroupHooks { before: None, after: None },
    }
}

section! {
    /// How a primary is probed. One interval is one round of the failure window.
    pub struct GroupProbe {
        /// One round.
        interval: Duration where (seconds(1)..=hours(1)) = seconds(15),
        /// The probe may last this long.
        timeout: Duration where (seconds(1)..=hours(1)) = seconds(5),
    }
}

section! {
    /// The right to write, for a time.
    pub struct Lease {
        /// How long it is valid.
        ttl: Duration where (seconds(10)..=hours(1)) = seconds(90),
        /// How long before its end the holder stops writing.
        margin: Duration where (seconds(1)..=hours(1)) = seconds(10),
    }
}

section! {
    /// One copy of the data.
    pub struct Member {
        /// Where it listens.
        address: HostPort,
        /// The connection string's name in secrets_dir; for Redis the login's (one line with the password, or user and password on two), where a
        /// password is asked for. A fake has none.
        dsn: Option<Secret> = None,
        /// The name of the agent beside it.
        agent: Option<Label> = None,
        /// The address that clients get while it holds the role.
        publish: Option<IpAddr> = None,
        /// The lower is promoted first.
        priority: u16 = 100,
        /// false: never promoted.
        candidate: bool = true,
    }
}

section! {
    /// One way to stop the old primary: `agent`, `hook` or `lease`.
    pub struct FenceRung {
        /// The agent stops the database.
        agent: Option<AgentVerb> = None,
        /// A program in hooks_dir.
        hook: Option<Secret> = None,
        /// hook: its arguments; {region} is replaced.
        arguments: Vec<Text> = Vec::new(),
        /// hook: whether its success proves that the old primary cannot write: in a region where a drill has shown it within the last 90 days. Elsewhere
        /// the lease is waited for all the same. No other program is tried after it.
        confirms: bool = false,
        /// hook: the program that lets in again whom it cut off, called with a higher token; without one no drill can show that it confirms.
        unfence: Option<Secret> = None,
        /// hook: how long it may take, and `unfence` too.
        timeout: Option<Duration> where (seconds(1)..=hours(1)) = None,
        /// The end of the lease is waited for.
        lease: Option<LeaseVerb> = None,
    }
}

words! {
    /// What an agent can be asked for as a fence.
    pub enum AgentVerb("a verb of the agent") {
        /// Stop the database.
        Stop = "stop",
    }
}

words! {
    /// What a lease can be asked for as a fence.
    pub enum LeaseVerb("a verb of the lease") {
        /// Wait until it has ended.
        Expire = "expire",
    }
}

section! {
    /// Programs that are asked about an operation.
    pub struct GroupHooks {
        /// Asked for five seconds at the most before an operation begins; anything but its yes makes it wait for a person's approval.
        before: Option<Secret> = None,
        /// Told when it has ended, by one key again and again until it took it, five times at the most.
        after: Option<Secret> = None,
    }
}
