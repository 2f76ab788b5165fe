//! Which registry gave out an address block: a continent for every client, with nothing installed.
//!
//! Coarse on purpose. A registry says where the holder of a block is registered, which is right for most clients of a continent and wrong
//! for many; a geo database beats it everywhere. Legacy blocks count for the registry that administers them.
//!
//! Sources: IANA IPv4 Address Space Registry, IANA IPv6 Global Unicast Address Assignments, IANA IPv4 Special-Purpose Address Registry
//! (RFC 6890), read in 2026-11. They change about once in five years.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::countries::to_code;
use crate::{
    geo::place::{Origin, Place},
    model::units::Code,
};

/// IPv4 blocks of /8 in rows of sixteen, the first is 0.0.0.0/8.
/// N: ARIN (North America), E: RIPE NCC (Europe), A: APNIC (Asia), L: LACNIC (South America), F: AFRINIC (Africa), `.`: not given out.
#[rustfmt::skip]
const IPV4_REGISTRIES: [&[u8; 16]; 16] = [
    b".AENNENNNN.NNNAN", //   0
    b"NNNNNNNNNENANNNE", //  16
    b"NNNNAENANFAANNEN", //  32
    b"NANENENNNEAAAAEN", //  48
    b"NNNNNNNNNNNNNEEE", //  64
    b"EEEEEEEEEEEEEEEE", //  80
    b"NNNNNAFANFANNEAA", //  96
    b"AAAAAAAAAAAAAAA.", // 112
    b"NNNNNANNNNNNNENN", // 128
    b"NENNNNAENAFNNNNN", // 144
    b"NNNANNNNNNNANNNA", // 160
    b"ELELALAANELLELLL", // 176
    b"NEEEFFNNLLAANNNN", // 192
    b"NNAAEENNNEAAAAAA", // 208
    b"................", // 224
    b"................", // 240
];

/// IPv6 blocks: the first two groups, the prefix length, the registry as above.
#[rustfmt::skip]
const IPV6_REGISTRIES: [(u16, u16, u8, u8); 37] = [
    (0x2001, 0x0200, 23, b'A'), (0x2001, 0x0400, 23, b'N'), (0x2001, 0x0600, 23, b'E'), (0x2001, 0x0800, 22, b'E'),
    (0x2001, 0x0c00, 23, b'A'), (0x2001, 0x0e00, 23, b'A'), (0x2001, 0x1200, 23, b'L'), (0x2001, 0x1400, 22, b'E'),
    (0x2001, 0x1800, 23, b'N'), (0x2001, 0x1a00, 23, b'E'), (0x2001, 0x1c00, 22, b'E'), (0x2001, 0x2000, 19, b'E'),
    (0x2001, 0x4000, 23, b'E'), (0x2001, 0x4200, 23, b'F'), (0x2001, 0x4400, 23, b'A'), (0x2001, 0x4600, 23, b'E'),
    (0x2001, 0x4800, 23, b'N'), (0x2001, 0x4a00, 23, b'E'), (0x2001, 0x4c00, 23, b'E'), (0x2001, 0x5000, 20, b'E'),
    (0x2001, 0x8000, 19, b'A'), (0x2001, 0xa000, 20, b'A'), (0x2001, 0xb000, 20, b'A'), (0x2003, 0x0000, 18, b'E'),
    (0x2400, 0x0000, 12, b'A'), (0x2410, 0x0000, 12, b'A'), (0x2600, 0x0000, 12, b'N'), (0x2610, 0x0000, 23, b'N'),
    (0x2620, 0x0000, 23, b'N'), (0x2630, 0x0000, 12, b'N'), (0x2800, 0x0000, 12, b'L'), (0x2a00, 0x0000, 12, b'E'),
    (0x2a10, 0x0000, 12, b'E'), (0x2c00, 0x0000, 12, b'F'),
    // Documentation (RFC 3849), inside a block of APNIC; benchmarking (RFC 5180) and ORCHIDv2 (RFC 7343) lie outside all blocks.
    (0x2001, 0x0db8, 32, b'.'), (0x2001, 0x0002, 48, b'.'), (0x2001, 0x0020, 28, b'.'),
];

/// IPv4 networks that are nowhere, inside blocks that are somewhere (RFC 6890): first address, prefix length.
#[rustfmt::skip]
const IPV4_SPECIAL: [([u8; 4], u8); 11] = [
    ([100, 64, 0, 0], 10),   // shared by carriers
    ([169, 254, 0, 0], 16),  // link-local
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112, everywhere
    ([192, 52, 193, 0], 24), // AMT, everywhere
    ([192, 88, 99, 0], 24),  // 6to4 relays, everywhere
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112, everywhere
    ([198, 18, 0, 0], 15),   // benchmarking
];

/// Documentation networks (RFC 5737) inside blocks that are somewhere.
const IPV4_DOCUMENTATION: [([u8; 4], u8); 2] = [([198, 51, 100, 0], 24), ([203, 0, 113, 0], 24)];

/// The continent of a registry's letter.
fn continent(registry: u8) -> Option<Code> {
    Some(to_code(match registry {
        b'N' => *b"NA",
        b'E' => *b"EU",
        b'A' => *b"AS",
        b'L' => *b"SA",
        b'F' => *b"AF",
        _ => return None,
    }))
}

fn place(registry: u8) -> Place {
    continent(registry)
        .map_or(Place::UNKNOWN, |code| Place { continent: Some(code), origin: Origin::BuiltIn, ..Place::UNKNOWN }.completed())
}

fn ipv4(address: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), prefix))
}

/// Every network of the tables with its completed place; the longest one around an address counts, and where there is none the place is
/// unknown.
pub fn networks() -> impl Iterator<Item = (IpNet, Place)> {
    let octets = IPV4_REGISTRIES.iter().flat_map(|row| row.iter().copied());
    let blocks = (0_u8..=255).zip(octets).map(|(octet, registry)| (ipv4([octet, 0, 0, 0], 8), place(registry)));
    let special = IPV4_SPECIAL.iter().chain(&IPV4_DOCUMENTATION).map(|&(address, prefix)| (ipv4(address, prefix), Place::UNKNOWN));
    let ipv6 = IPV6_REGISTRIES.iter().map(|&(first, second, prefix, registry)| {
        let address = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0);
        (IpNet::V6(Ipv6Net::new_assert(address, prefix)), place(registry))
    });
    blocks.chain(special).chain(ipv6)
}

/// The place of an address by the tables alone. Looks through all of them: for explanations.
#[must_use]
pub fn look_up(ip: IpAddr) -> Place {
    networks()
        .filter(|(network, _)| network.contains(&ip))
        .max_by_key(|(network, _)| network.prefix_len())
        .map_or(Place::UNKNOWN, |found| found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continent_of(text: &str) -> String {
        look_up(text.parse().unwrap()).continent.map_or_else(|| "-".to_owned(), |code| code.to_string())
    }

    #[test]
    fn well_known_addresses_fall_on_their_continents() {
        let expected = [
            ("8.8.8.8", "NA"),
            ("193.0.6.139", "EU"),
            ("1.1.1.1", "AS"),
            ("200.3.14.10", "SA"),
            ("196.216.2.1", "AF"),
            ("53.1.1.1", "EU"),
            ("133.1.1.1", "AS"),
            ("191.1.1.1", "SA"),
            ("154.1.1.1", "AF"),
            ("2001:67c:2e8::1", "EU"),
            ("2001:500:88::1", "NA"),
            ("2001:dc0::1", "AS"),
            ("2800::1", "SA"),
            ("2c0f::1", "AF"),
            ("2a10::1", "EU"),
        ];
        for (address, continent) in expected {
            assert_eq!(continent_of(address), continent, "{address}");
        }
    }

    #[test]
    fn private_and_reserved_networks_are_nowhere() {
        for address in [
            "0.1.2.3",
            "10.1.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.1.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.255.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fc00::1",
            "2001:db8::1",
            "2001:20::1",
            "ff02::1",
            "4000::1",
        ] {
            assert_eq!(look_up(address.parse().unwrap()), Place::UNKNOWN, "{address}");
        }
        assert_eq!(continent_of("172.32.0.1"), "NA");
        assert_eq!(continent_of("198.20.0.1"), "NA");
    }
}
