//! IPv4 addresses inside IPv6 addresses: such a client is placed by its IPv4 address.
//!
//! | range           | form                   | the IPv4 address is in bits | source                |
//! |-----------------|------------------------|-----------------------------|-----------------------|
//! | `::ffff:0:0/96` | IPv4-mapped            | 96 to 128                   | RFC 4291 2.5.5.2      |
//! | `64:ff9b::/96`  | NAT64, well-known      | 96 to 128                   | RFC 6052 2.1          |
//! | `2002::/16`     | 6to4                   | 16 to 48                    | RFC 3056 2            |
//! | `2001::/32`     | Teredo, the client's   | 96 to 128, inverted         | RFC 4380 4            |
//!
//! In all four a longer IPv6 prefix fixes a longer IPv4 prefix (inverting bits does not change which of them are fixed), so a scope
//! of n bits in IPv4 is a scope of (first bit + n) bits in IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One way to carry an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Embedding {
    /// `::ffff:0:0/96`.
    Mapped,
    /// `64:ff9b::/96`.
    Nat64,
    /// `2002::/16`.
    SixToFour,
    /// `2001::/32`.
    Teredo,
}

impl Embedding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mapped, Self::Nat64, Self::SixToFour, Self::Teredo];

    /// The range's first address and its prefix length.
    #[must_use]
    pub const fn network(self) -> (Ipv6Addr, u8) {
        match self {
            Self::Mapped => (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
            Self::Nat64 => (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
            Self::SixToFour => (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
            Self::Teredo => (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
        }
    }

    /// The bit at which the IPv4 address begins, counted from the left.
    #[must_use]
    pub const fn first_bit(self) -> u8 {
        match self {
            Self::SixToFour => 16,
            Self::Mapped | Self::Nat64 | Self::Teredo => 96,
        }
    }

    /// The form of `address`, if it is one of the four.
    #[must_use]
    pub fn of(address: Ipv6Addr) -> Option<Self> {
        Self::ALL.into_iter().find(|form| {
            let (network, prefix) = form.network();
            (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0
        })
    }

    /// The IPv4 address inside `address`, which has this form.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "exactly 32 bits are wanted")]
    pub const fn extract(self, address: Ipv6Addr) -> Ipv4Addr {
        let bits = (address.to_bits() >> (96 - self.first_bit())) as u32;
        Ipv4Addr::from_bits(if matches!(self, Self::Teredo) { !bits } else { bits })
    }
}

/// `ip`, or the IPv4 address inside it.
#[must_use]
pub fn normalised(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(address) => Embedding::of(address).map_or(ip, |form| IpAddr::V4(form.extract(address))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        normalised(text.parse().unwrap()).to_string()
    }

    #[test]
    fn all_four_forms_give_up_their_address() {
        assert_eq!(normal("::ffff:192.0.2.33"), "192.0.2.33");
        assert_eq!(normal("64:ff9b::192.0.2.33"), "192.0.2.33");
        assert_eq!(normal("2002:c000:221:7::1"), "192.0.2.33");
        // Server 65.54.227.120, client 192.0.2.45 with port 40 000 behind a cone NAT.
        assert_eq!(normal("2001:0:4136:e378:8000:63bf:3fff:fdd2"), "192.0.2.45");
    }

    #[test]
    fn neighbours_of_the_ranges_stay_as_they_are() {
        for text in ["::fffe:c000:221", "64:ff9b:0:0:0:1:c000:221", "64:ff9b:1::1", "2003::1", "2001:1::1", "::1", "::c000:221"] {
            assert_eq!(normal(text), text.parse::<IpAddr>().unwrap().to_string());
        }
    }
}
