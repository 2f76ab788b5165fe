//! The client subnet option, strictly (RFC 7871).
//!
//! Why strict: an option that lies about its length or carries bits past its prefix would be echoed to a resolver's cache, where it may
//! stand for clients that it was not meant for. Section 6 wants such queries refused with FORMERR.
//!
//! Family 0 with prefix 0 is taken as the opt-out of section 7.1.2, too: a resolver that gives no address need not say of which family it
//! is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_core::answer::ClientSubnet;
use thiserror::Error;

/// A well-formed client subnet option of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    family: u16,
    source_prefix: u8,
    address: IpAddr,
}

/// Why an option is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EcsError {
    /// Family, prefixes: four octets at least.
    #[error("the option has {0} octets; at least 4 are needed")]
    Short(usize),
    /// Only IPv4 (1) and IPv6 (2) are known.
    #[error("address family {0} is not known")]
    Family(u16),
    /// More bits than an address of the family has.
    #[error("source prefix {prefix} is longer than the {max} bits of family {family}")]
    Prefix {
        /// The family.
        family: u16,
        /// The prefix.
        prefix: u8,
        /// What the family allows.
        max: u8,
    },
    /// A query has no scope yet.
    #[error("scope prefix {0} in a query; it must be 0")]
    Scope(u8),
    /// The octets of the address are as many as the prefix needs.
    #[error("{octets} octets of address for a prefix of {prefix} bits; {needed} are needed")]
    Length {
        /// How many there are.
        octets: usize,
        /// The prefix.
        prefix: u8,
        /// How many there should be.
        needed: usize,
    },
    /// Bits past the prefix are zero.
    #[error("the address has bits past its prefix of {0} bits")]
    Bits(u8),
}

impl Subnet {
    /// Reads the option's data (without code and length) from a query.
    ///
    /// # Errors
    /// What is malformed; the query is then answered FORMERR.
    pub fn read(data: &[u8]) -> Result<Self, EcsError> {
        let &[family_high, family_low, source_prefix, scope_prefix, ref octets @ ..] = data else {
            return Err(EcsError::Short(data.len()));
        };
        let family = u16::from_be_bytes([family_high, family_low]);
        let max = match family {
            0 => 0,
            1 => 32,
            2 => 128,
            other => return Err(EcsError::Family(other)),
        };
        if source_prefix > max {
            return Err(EcsError::Prefix { family, prefix: source_prefix, max });
        }
        if scope_prefix != 0 {
            return Err(EcsError::Scope(scope_prefix));
        }
        let needed = usize::from(source_prefix.div_ceil(8));
        if octets.len() != needed {
            return Err(EcsError::Length { octets: octets.len(), prefix: source_prefix, needed });
        }
        let used = source_prefix % 8;
        if used != 0 && octets[needed - 1] << used != 0 {
            return Err(EcsError::Bits(source_prefix));
        }
        let mut whole = [0; 16];
        whole[..needed].copy_from_slice(octets);
        let address = match family {
            2 => IpAddr::V6(Ipv6Addr::from(whole)),
            _ => IpAddr::V4(Ipv4Addr::new(whole[0], whole[1], whole[2], whole[3])),
        };
        Ok(Self { family, source_prefix, address })
    }

    /// As the core takes it.
    #[must_use]
    pub const fn client(&self) -> ClientSubnet {
        ClientSubnet { address: self.address, source_prefix: self.source_prefix }
    }

    /// The data of the option in the answer (section 7.2.1): what was asked, with the scope. Without bits in the question the scope is 0.
    #[must_use]
    pub fn answered(&self, scope: u8) -> Vec<u8> {
        let max = if self.family == 2 { 128 } else { 32 };
        let scope = if self.source_prefix == 0 { 0 } else { scope.min(max) };
        let mut data = Vec::with_capacity(4 + 16);
        data.extend_from_slice(&self.family.to_be_bytes());
        data.extend_from_slice(&[self.source_prefix, scope]);
        let needed = usize::from(self.source_prefix.div_ceil(8));
        match self.address {
            IpAddr::V4(address) => data.extend_from_slice(&address.octets()[..needed]),
            IpAddr::V6(address) => data.extend_from_slice(&address.octets()[..needed]),
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_options_are_refused() {
        use EcsError::{Bits, Family, Length, Prefix, Scope, Short};
        let cases: &[(&[u8], EcsError)] = &[
            (&[], Short(0)),
            (&[0, 1], Short(2)),
            (&[0, 1, 24], Short(3)),
            (&[0, 0, 1, 0, 128], Prefix { family: 0, prefix: 1, max: 0 }),
            (&[0, 0, 0, 0, 1], Length { octets: 1, prefix: 0, needed: 0 }),
            (&[0, 0, 0, 24], Scope(24)),
            (&[0, 3, 0, 0], Family(3)),
            (&[1, 0, 24, 0, 198, 51, 100], Family(256)),
            (&[255, 255, 0, 0], Family(65_535)),
            (&[0, 1, 33, 0, 198, 51, 100, 1, 0], Prefix { family: 1, prefix: 33, max: 32 }),
            (&[0, 1, 255, 0], Prefix { family: 1, prefix: 255, max: 32 }),
            (&[0, 2, 129, 0], Prefix { family: 2, prefix: 129, max: 128 }),
            (&[0, 1, 24, 24, 198, 51, 100], Scope(24)),
            (&[0, 1, 24, 0, 198, 51], Length { octets: 2, prefix: 24, needed: 3 }),
            (&[0, 1, 24, 0, 198, 51, 100, 0], Length { octets: 4, prefix: 24, needed: 3 }),
            (&[0, 1, 0, 0, 198], Length { octets: 1, prefix: 0, needed: 0 }),
            (&[0, 1, 1, 0], Length { octets: 0, prefix: 1, needed: 1 }),
            (&[0, 1, 32, 0, 198, 51, 100], Length { octets: 3, prefix: 32, needed: 4 }),
            (&[0, 1, 20, 0, 198, 51, 100], Bits(20)),
            (&[0, 1, 1, 0, 0x40], Bits(1)),
            (&[0, 1, 31, 0, 198, 51, 100, 1], Bits(31)),
            (&[0, 2, 33, 0, 0x20, 1, 0x0d, 0xb8, 0x40], Bits(33)),
            (&[0, 2, 56, 0, 0x20, 1, 0x0d, 0xb8], Length { octets: 4, prefix: 56, needed: 7 }),
        ];
        for (data, expected) in cases {
            assert_eq!(Subnet::read(data), Err(*expected), "{data:?}");
        }
    }

    #[test]
    fn what_was_asked_comes_back_with_the_scope() {
        let cases: &[(&[u8], u8, &[u8])] = &[
            (&[0, 1, 24, 0, 198, 51, 100], 20, &[0, 1, 24, 20, 198, 51, 100]),
            (&[0, 1, 20, 0, 198, 51, 96], 24, &[0, 1, 20, 24, 198, 51, 96]),
            (&[0, 1, 32, 0, 198, 51, 100, 1], 200, &[0, 1, 32, 32, 198, 51, 100, 1]),
            (&[0, 2, 48, 0, 0x20, 1, 0x0d, 0xb8, 0, 1], 32, &[0, 2, 48, 32, 0x20, 1, 0x0d, 0xb8, 0, 1]),
            (&[0, 1, 0, 0], 24, &[0, 1, 0, 0]),
            (&[0, 2, 0, 0], 0, &[0, 2, 0, 0]),
            (&[0, 0, 0, 0], 16, &[0, 0, 0, 0]),
        ];
        for (data, scope, expected) in cases {
            assert_eq!(Subnet::read(data).unwrap().answered(*scope), *expected, "{data:?}");
        }
    }
}
