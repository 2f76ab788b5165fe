//! Services: names whose answer is steered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{HealthChecks, Routing, WithoutPrimary};
use crate::{
    document::{Table, days, minutes, seconds},
    model::{
        ids::Label,
        name::Name,
        units::{Code, Share},
    },
    section, words,
};

words! {
    /// Presets of stages.
    pub enum Preset("a way of steering") {
        /// By weight over all usable regions.
        Weighted = "weighted",
        /// The nearest by distance, then priority, then weight.
        Geo = "geo",
        /// The nearest by round-trip time, then priority, then weight.
        Latency = "latency",
        /// The lowest priority number, then weight.
        Failover = "failover",
        /// Up to `limit` of all usable endpoints.
        Multivalue = "multivalue",
        /// The nearest by distance, then weight.
        ActiveActive = "active_active",
    }
}

words! {
    /// A stage that narrows the usable regions.
    pub enum StageWord("a stage") {
        /// Keep the nearest by distance.
        Geo = "geo",
        /// Keep the nearest by round-trip time.
        Latency = "latency",
        /// Keep the lowest priority number.
        Priority = "priority",
        /// Keep one by weight.
        Weight = "weight",
    }
}

words! {
    /// What is answered when no usable endpoint remains.
    pub enum AllDownWord("an answer for when all are down") {
        /// The set that was usable last, inside the residency fence.
        LastGood = "last_good",
        /// Every endpoint inside the residency fence.
        All = "all",
        /// The service's `backup`.
        Backup = "backup",
        /// "No data".
        Nodata = "nodata",
        /// SERVFAIL, so that a resolver asks another server.
        Servfail = "servfail",
    }
}

words! {
    /// What a weighted choice depends on.
    pub enum SpreadWord("a spread") {
        /// The client's network.
        Sticky = "sticky",
        /// Each query anew.
        Random = "random",
    }
}

words! {
    /// Whether a client gets A and AAAA from one region.
    pub enum FamiliesWord("a rule for address families") {
        /// One region per name and client.
        Together = "together",
        /// One region per name, client and type.
        Independent = "independent",
    }
}

words! {
    /// How hard a residency fence is.
    pub enum FenceMode("a residency mode") {
        /// Never crossed.
        Strict = "strict",
        /// Crossed only when nothing usable remains inside.
        Prefer = "prefer",
        /// No fence.
        Open = "open",
    }
}

section! {
    /// One name, or several, whose answer is steered.
    pub struct Service {
        /// The names that it answers, each inside one of the zones, each used once.
        hostnames: Vec<Name>,
        /// How a region and its endpoints are picked; geo where nothing is said.
        steering: Option<Preset> = None,
        /// The stages one by one, instead of a preset.
        stages: Option<Vec<StageWord>> = None,
        /// geo, latency: regions whose distance or time is within this part above the nearest stay with it; 10% where nothing is said.
        tie: Option<Share> = None,
        /// The most records in an answer; 8 where nothing is said.
        limit: Option<u8> where (1..=32) = None,
        /// What a weighted choice depends on: the client's network (sticky) or each query (random).
        spread: Option<SpreadWord> = None,
        /// Whether the region is chosen before the type (together) or for each type (independent).
        families: Option<FamiliesWord> = None,
        /// Where time to live may move; it is the time to the next possible change of the answer.
        ttl: TtlBounds = TtlBounds { min: seconds(5), max: seconds(60) },
        /// What is answered when no usable endpoint remains.
        all_down: AllDownWord = AllDownWord::LastGood,
        /// What `all_down: backup` answers: addresses, or one name.
        backup: Vec<BackupTarget> = Vec::new(),
        /// How an endpoint that came back takes its share again.
        slow_start: SlowStart = SlowStart { share: Share::percent(20), over: minutes(5), ramp: false },
        /// Commands that would leave fewer healthy regions are refused.
        min_healthy_regions: u8 where (0..=32) = 1,
        /// Which regions may be answered to which clients.
        residency: Option<Residency> = None,
        /// How all its endpoints are probed.
        health_checks: Option<Arc<HealthChecks>> = None,
        /// Weight, priority and health checks per region, before those of the plan.
        traffic_routing: Table<Label, Routing> = Table::default(),
        /// What it answers with, per region.
        endpoints: Table<Label, Vec<Endpoint>> = Table::default(),
        /// The database role that it follows, instead of endpoints.
        follows: Option<Arc<Follows>> = None,
    }
}

section! {
    /// One address or name that a service answers with: `address` or `target`.
    pub struct Endpoint {
        /// An IPv4 or IPv6 address: answered as A or AAAA.
        address: Option<IpAddr> = None,
        /// A name: answered as CNAME.
        target: Option<Name> = None,
        /// Where it listens and is probed. Left out: the usual port of the health check's protocol.
        port: Option<u16> where (1..=65_535) = None,
        /// Share inside its region; 0 is standby.
        weight: u16 = 1,
        /// How it is probed.
        health_checks: Option<Arc<HealthChecks>> = None,
    }
}

section! {
    /// Where time to live may move.
    pub struct TtlBounds {
        /// Never below.
        min: Duration where (seconds(0)..=days(1)) = seconds(5),
        /// Never above.
        max: Duration where (seconds(1)..=days(1)) = seconds(60),
    }
}

section! {
    /// How an endpoint that came back takes its share again.
    pub struct SlowStart {
        /// The share of its normal clients at the start.
        share: Share = Share::percent(20),
        /// Until it takes all of them; 0s switches slow start off.
        ["for"] over: Duration where (seconds(0)..=days(1)) = minutes(5),
        /// true: grows in equal steps; false: stays at the share until the end.
        ramp: bool = false,
    }
}

section! {
    /// Which regions may be answered to which clients.
    pub struct Residency {
        /// strict is never crossed; prefer only when nothing usable remains inside; open is no fence.
        mode: FenceMode,
        /// For clients of a country or a continent: the jurisdictions whose regions they may be sent to.
        jurisdictions: Table<Code, Vec<Label>> = Table::default(),
        /// The jurisdictions for all other clients, those without a known place included. Left out: every region.
        otherwise: Option<Vec<Label>> = None,
    }
}

/// What a backup answers with: an address or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTarget(pub crate::model::topology::Target);

impl crate::document::Word for BackupTarget {
    const WHAT: &'static str = "an address or a name";
    const EXAMPLES: &'static str = "for example 192.0.2.99 or sorry.example.com";

    fn read(text: &str) -> Result<Self, String> {
        use crate::model::{check::Host, topology::Target};
        Ok(Self(match crate::document::read_host(text, false).map_err(|_| "is neither an address nor a name".to_owned())? {
            Host::Ip(address) => Target::Address(address),
            Host::Name(name) => Target::Name(name),
        }))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

words! {
    /// Roles that a name can follow.
    pub enum Role("a role") {
        /// The one that takes writes.
        Primary = "primary",
        /// Those that follow it.
        Replica = "replica",
    }
}

section! {
    /// The database role that a name follows.
    pub struct Follows {
        /// A group of the section `data_groups`.
        group: Label,
        /// Which of its members.
        role: Role = Role::Primary,
        /// primary: what is answered while no member is proven to hold the role.
        without_primary: Option<WithoutPrimary> = None,
        /// replica: members further behind are left out.
        lag_max: Option<Duration> = None,
        /// replica: how one is picked.
        steering: Option<Preset> = None,
        /// Where time to live may move; at most a third of the group's lease.
        ttl: TtlBounds = TtlBounds { min: seconds(1), max: seconds(15) },
    }
}
