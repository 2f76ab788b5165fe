//! Writes plans: three regions with one service, and what a test changes of that.

use std::{fmt::Write as _, net::SocketAddr};

/// A plan to be written as YAML.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) regions: Vec<Region>,
    /// Keys of `health_check_defaults`.
    pub(crate) checks: String,
    /// Keys of the service `api` beside names and endpoints.
    pub(crate) service: String,
    /// Whole sections, and services beside `api`, as they stand in a plan.
    pub(crate) more: String,
    /// The whole document but for its revision, instead of everything above; `None`: it is made of that.
    pub(crate) whole: Option<String>,
}

/// A region with its share of the service `api`: one IPv4 and one IPv6 endpoint, both probed at one place.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: &'static str,
    /// Keys of the region.
    pub(crate) place: String,
    pub(crate) weight: u16,
    /// Where both endpoints are probed; `None`: not at all, they are always up.
    pub(crate) probed: Option<SocketAddr>,
    pub(crate) v4: &'static str,
    pub(crate) v6: &'static str,
}

pub(crate) const US: &str = "us-east-1";
pub(crate) const EU: &str = "eu-west-1";
pub(crate) const AP: &str = "ap-southeast-1";

/// The zone of all plans here. Not below `test`, which resolvers answer by themselves.
pub(crate) const ZONE: &str = "gslb.example.net";

/// The name of the service `api`.
pub(crate) const API: &str = "api.gslb.example.net";

/// The quickest cadence that a plan may have, but with time enough for a probe on a busy machine: a killed endpoint refuses at once.
pub(crate) const QUICK: &str =
    "type: http, interval: 400ms, timeout: 400ms, fast_interval: 100ms, down_interval: 200ms, fall: 2, rise: 1, flap: { window: 0s }";

impl Plan {
    /// Three regions that are always up. Clients in 127.1/16, 127.2/16 and 127.3/16 belong to them, so that a socket on loopback can be
    /// a client of each; so do 198.18.1/24 to 198.18.3/24 and 2001:db8:1::/48 to 2001:db8:3::/48, for client subnets.
    pub(crate) fn three_regions() -> Self {
        let networks = |n: u8| format!("networks: [127.{n}.0.0/16, 198.18.{n}.0/24, \"2001:db8:{n}::/48\"]");
        let region =
            |name, place: &str, n, v4, v6| Region { name, place: format!("{place}, {}", networks(n)), weight: 1, probed: None, v4, v6 };
        Self {
            regions: vec![
                region(US, "latitude: 38.9, longitude: -77.4, continent: NA, country: US", 1, "192.0.2.10", "2001:db8:10::1"),
                region(EU, "latitude: 53.3, longitude: -6.3, continent: EU, country: IE", 2, "192.0.2.20", "2001:db8:20::1"),
                region(AP, "latitude: 1.35, longitude: 103.8, continent: AS, country: SG", 3, "192.0.2.30", "2001:db8:30::1"),
            ],
            checks: QUICK.to_owned(),
            service: "steering: geo, ttl: { min: 1s, max: 5s }, slow_start: { for: 0s }".to_owned(),
            more: String::new(),
            whole: None,
        }
    }

    /// The same, probed at these places, in order.
    pub(crate) fn probed_at(mut self, places: impl IntoIterator<Item = SocketAddr>) -> Self {
        for (region, place) in self.regions.iter_mut().zip(places) {
            region.probed = Some(place);
        }
        self
    }

    /// The IPv4 address that is answered for a region.
    pub(crate) fn v4(&self, region: &str) -> &'static str {
        self.regions.iter().find(|it| it.name == region).unwrap().v4
    }

    /// The document. Its revision stands in a TXT record too: `revision.ZONE`.
    pub(crate) fn text(&self, revision: u64) -> String {
        if let Some(whole) = &self.whole {
            return format!("{whole}\nrevision: {revision}\n");
        }
        let mut text = format!("version: 1\nrevision: {revision}\nname: shop\nregions:\n");
        for region in &self.regions {
            writeln!(text, "  {}: {{ {} }}", region.name, region.place).unwrap();
        }
        text.push_str("traffic_routing:\n");
        for (n, region) in self.regions.iter().enumerate() {
            let checks = region.probed.map_or_else(|| "type: none".to_owned(), |at| format!("address: \"{at}\""));
            let (weight, priority) = (region.weight, n + 1);
            writeln!(text, "  {}: {{ weight: {weight}, priority: {priority}, health_checks: {{ {checks} }} }}", region.name).unwrap();
        }
        writeln!(text, "health_check_defaults: {{ {} }}", self.checks).unwrap();
        writeln!(text, "zones:\n  {ZONE}:\n    nameservers: [ns.{ZONE}]\n    contact: hostmaster@{ZONE}\n    negative_ttl: 1s").unwrap();
        writeln!(text, "    records:\n      - {{ name: ns, type: A, values: [127.0.0.1] }}").unwrap();
        writeln!(text, "      - {{ name: revision, type: TXT, ttl: 0s, values: [\"{revision}\"] }}").unwrap();
        writeln!(text, "{}", self.more).unwrap();
        if !self.more.contains("services:") {
            text.push_str("services:\n");
        }
        if !self.regions.is_empty() {
            writeln!(text, "  api:\n    {{ hostnames: [{API}], {}, endpoints: {{", self.service).unwrap();
            for region in &self.regions {
                let (name, v4, v6) = (region.name, region.v4, region.v6);
                writeln!(text, "        {name}: [{{ address: {v4}, port: 80 }}, {{ address: \"{v6}\", port: 80 }}],").unwrap();
            }
            text.push_str("      } }\n");
        }
        text
    }
}
