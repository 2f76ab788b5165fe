//! Clients to try a table with: networks, each standing for a part of the traffic.
//!
//! Without a list of the operator's own the population is the world's internet users by continent, spread over the address blocks of the
//! registries: coarse, but enough to see who moves where. Figures: ITU, "Measuring digital development: Facts and figures 2024", users by
//! region, rounded to percent; Oceania's blocks are Asia's (one registry serves both).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::{geo::builtin, model::units::Code};

/// The most entries of an operator's list: more say nothing more about shares.
pub const ENTRIES_MAX: usize = 100_000;

/// Percent of the world's internet users per continent.
const USERS: [(&str, u64); 5] = [("AS", 57), ("EU", 14), ("AF", 11), ("NA", 11), ("SA", 7)];

/// Clients with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    /// Address and weight; weights are relative to one another.
    clients: Vec<(IpAddr, u64)>,
}

/// What is wrong with a list of clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PopulationError {
    /// A line is not `network,weight`.
    #[error("line {line}: `{text}` is not `network,weight` (for example `198.18.0.0/16,40`)")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line, cut to 80 characters.
        text: String,
    },
    /// Nothing is in it.
    #[error("no client network with a positive weight is in it")]
    Empty,
    /// Too much is in it.
    #[error("more than {ENTRIES_MAX} client networks are in it")]
    TooMany,
}

impl Population {
    /// The world's internet users, `n` networks of them, evenly over each continent's address blocks. The same for the same `n`.
    #[must_use]
    pub fn world(n: usize) -> Self {
        let mut clients = Vec::with_capacity(n);
        for (continent, percent) in USERS {
            let code = Code::new(continent);
            let blocks: Vec<IpNet> = builtin::networks()
                .filter(|(net, place)| place.continent == code && matches!(net, IpNet::V4(_)))
                .map(|(net, _)| net)
                .collect();
            let share = (n as u64 * percent / 100).max(1);
            for i in 0..share {
                if let Some(address) = nth_client(&blocks, i) {
                    clients.push((address, percent * 1_000_000 / share));
                }
            }
        }
        Self { clients }
    }

    /// Reads `network,weight` lines; `#` begins a comment. A network wider than /24 is spread over 64 of its /24 networks, so that
    /// weighted choices show as shares.
    ///
    /// # Errors
    /// The first line that cannot be read, or an empty or too long list.
    pub fn parse(text: &str) -> Result<Self, PopulationError> {
        let mut clients = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let parsed = content
                .split_once(',')
                .and_then(|(net, weight)| Some((net.trim().parse::<IpNet>().ok()?, weight.trim().parse::<u32>().ok()?)));
            let Some((net, weight)) = parsed else {
                return Err(PopulationError::Line { line: i + 1, text: line.chars().take(80).collect() });
            };
            let spread: u64 = if net.prefix_len() < 24 { 64 } else { 1 };
            for part in 0..spread {
                if let Some(address) = nth_client(&[net], part).filter(|_| weight > 0) {
                    clients.push((address, u64::from(weight) * 64 / spread));
                }
            }
            if clients.len() > ENTRIES_MAX * 64 {
                return Err(PopulationError::TooMany);
            }
        }
        if clients.is_empty() { Err(PopulationError::Empty) } else { Ok(Self { clients }) }
    }

    /// The clients with their weights.
    #[must_use]
    pub fn clients(&self) -> &[(IpAddr, u64)] {
        &self.clients
    }

    /// Every `step`th client, so that many services can be tried in bounded time.
    #[must_use]
    pub fn thinned(&self, n_max: usize) -> Self {
        let step = self.clients.len().div_ceil(n_max.max(1)).max(1);
        Self { clients: self.clients.iter().step_by(step).copied().collect() }
    }
}

/// The i-th client of these networks: one network after the other, and inside each spread by a stride that is coprime to any power of two.
fn nth_client(blocks: &[IpNet], i: u64) -> Option<IpAddr> {
    let n = u64::try_from(blocks.len()).ok().filter(|&n| n > 0)?;
    let net = blocks[usize::try_from(i % n).ok()?];
    let within = (i / n).wrapping_mul(0x9e37_79b1);
    match net {
        IpNet::V4(net) => {
            let host_bits = 32 - net.prefix_len();
            let offset = if host_bits == 0 { 0 } else { (within << 8) & ((1_u64 << host_bits) - 1) };
            Some(IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() | u32::try_from(offset).ok()?)))
        }
        IpNet::V6(net) => {
            let host_bits = u32::from(128 - net.prefix_len());
            let offset = if host_bits < 80 { 0 } else { (u128::from(within) << 80) & (u128::MAX >> (128 - host_bits)) };
            Some(IpAddr::V6((net.network().to_bits() | offset).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_spread_by_users() {
        let world = Population::world(1000);
        assert!((990..=1000).contains(&world.clients().len()), "{}", world.clients().len());
        assert_eq!(world, Population::world(1000));
        assert!(world.thinned(100).clients().len() <= 100);
    }

    #[test]
    fn lists_are_read_and_bad_ones_refused() {
        let own = Population::parse("# ours\n198.18.0.0/16, 40\n2001:db8::/32,2 # v6\n\n192.0.2.7/32,1\n").unwrap();
        assert_eq!(own.clients().len(), 64 + 1 + 1 + if IpNet::V6("2001:db8::/32".parse().unwrap()).prefix_len() < 24 { 63 } else { 0 });
        assert_eq!(Population::parse("x"), Err(PopulationError::Line { line: 1, text: "x".to_owned() }));
        assert_eq!(Population::parse("192.0.2.0/24,0"), Err(PopulationError::Empty));
    }
}
