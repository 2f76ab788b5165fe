//! Weighted choice by rendezvous hashing: every candidate draws a number from (client, candidate), and the best draw wins.
//!
//! Why: the same client gets the same candidate while the set stays the same; a candidate that leaves moves only its own clients, and they
//! return when it returns; a changed weight moves only the difference. No ring, no state, and the order of the list does not matter.
//!
//! Integers only, so that every node computes the same. Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous"
//! (1996); weights as in Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005): the smallest `-ln(u) / weight` wins,
//! because an exponential draw with rate `weight` is the first of all with probability `weight / sum of weights`.

use std::net::IpAddr;

use crate::model::mix::mix;

/// Prefix of the IPv4 networks that count as one client.
pub const CLIENT_PREFIX_V4: u8 = 24;
/// Prefix of the IPv6 networks that count as one client: what one site gets (RFC 6177).
pub const CLIENT_PREFIX_V6: u8 = 48;

/// A client as far as choices depend on it: a network, or a fresh random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// The network of `address`, `prefix` bits of it.
    #[must_use]
    pub fn network(address: IpAddr, prefix: u8) -> Self {
        let (high, low) = match address {
            IpAddr::V4(v4) => (4, u64::from(v4.to_bits() & mask_v4(prefix))),
            IpAddr::V6(v6) => split(v6.to_bits() & mask_v6(prefix)),
        };
        Self(mix(mix(high ^ u64::from(prefix) << 56) ^ low))
    }

    /// A number that is fresh for each query.
    #[must_use]
    pub const fn random(entropy: u64) -> Self {
        Self(mix(entropy))
    }

    /// What this client draws for the candidate with this salt, evenly over all numbers.
    const fn draw(self, salt: u64) -> u64 {
        mix(self.0 ^ salt)
    }

    /// Whether this client is among the first `points` of 10 000 equal parts of all clients, for the candidate with this salt.
    ///
    /// Monotone: a client that is among the first 20 % is among the first 30 %.
    #[must_use]
    pub const fn is_within(self, salt: u64, points: u16) -> bool {
        // Another draw than the one of the choice: else the admitted clients would be those that would choose it anyway.
        ((self.draw(salt ^ 0x5bd1_e995_7f4a_7c15) >> 32) * 10_000) >> 32 < points as u64
    }
}

const fn mask_v4(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - if prefix > 32 { 32 } else { prefix }) }
}

const fn mask_v6(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - if prefix > 128 { 128 } else { prefix }) }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
const fn split(bits: u128) -> (u64, u64) {
    ((bits >> 64) as u64, bits as u64)
}

/// A stable number for a name, to be used as a candidate's salt (FNV-1a, then mixed).
#[must_use]
pub fn salt(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for octet in name.bytes() {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// A candidate's draw, comparable with others; the lowest wins.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// `-log2(u)` in units of 2^-24, at least 1.
    exponent: u64,
    /// Positive.
    weight: u64,
}

impl Score {
    /// The draw of `client` for the candidate `salt` with a positive `weight` (zero counts as one: all-zero sets are uniform).
    #[must_use]
    pub fn draw(client: ClientKey, salt: u64, weight: u64) -> Self {
        Self { exponent: minus_log2(client.draw(salt)), weight: weight.max(1) }
    }

    /// Whether this one wins over `other`. Ties go to neither.
    #[must_use]
    pub fn beats(self, other: Self) -> bool {
        u128::from(self.exponent) * u128::from(other.weight) < u128::from(other.exponent) * u128::from(self.weight)
    }
}

/// `-log2((draw + 1) / 2^64)` in units of 2^-24: the binary logarithm by repeated squaring of the mantissa.
const fn minus_log2(draw: u64) -> u64 {
    const FRACTION_BITS: u32 = 24;
    let value = draw | 1;
    let zeros = value.leading_zeros();
    // In [1, 2) with 63 fractional bits.
    let mut mantissa = value << zeros;
    let mut fraction = 0_u64;
    let mut bit = 0;
    while bit < FRACTION_BITS {
        let square = (mantissa as u128 * mantissa as u128) >> 63;
        fraction <<= 1;
        if square >> 64 != 0 {
            fraction |= 1;
            mantissa = low_bits(square >> 1);
        } else {
            mantissa = low_bits(square);
        }
        bit += 1;
    }
    let log2 = ((63 - zeros) as u64) << FRACTION_BITS | fraction;
    (64 << FRACTION_BITS) - log2
}

#[expect(clippy::cast_possible_truncation, reason = "callers keep the value below 2^64")]
const fn low_bits(value: u128) -> u64 {
    value as u64
}

/// The winner among `candidates` (item, salt, weight); `None` when there are none. The order of the candidates does not matter, except
/// for equal draws, which go to the first.
pub fn pick<T: Copy>(client: ClientKey, candidates: impl IntoIterator<Item = (T, u64, u64)>) -> Option<T> {
    let mut best: Option<(T, Score)> = None;
    for (item, salt, weight) in candidates {
        let score = Score::draw(client, salt, weight);
        if best.is_none_or(|(_, leader)| score.beats(leader)) {
            best = Some((item, score));
        }
    }
    best.map(|(item, _)| item)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn clients(n: u32) -> impl Iterator<Item = ClientKey> {
        (0..n).map(|i| ClientKey::network(IpAddr::V4(Ipv4Addr::from_bits(i << 8)), 24))
    }

    #[test]
    fn logarithms_are_right() {
        for draw in [1_u64, 2, 3, 1 << 20, u64::MAX / 3, u64::MAX / 2, u64::MAX - 5] {
            #[expect(clippy::cast_precision_loss, reason = "a test of the approximation")]
            let (exact, ours) = (64.0 - ((draw | 1) as f64).log2(), minus_log2(draw) as f64 / f64::from(1 << 24));
            assert!((exact - ours).abs() < 1e-6, "{draw}: {exact} {ours}");
        }
    }

    #[test]
    fn shares_converge_to_weights() {
        let candidates = [(0_usize, salt("us"), 60), (1, salt("eu"), 30), (2, salt("ap"), 10)];
        let mut counts = [0_u32; 3];
        for client in clients(100_000) {
            counts[pick(client, candidates).unwrap()] += 1;
        }
        // Chi-square with two degrees of freedom; 13.8 is passed once in a thousand by chance, and the draw is fixed.
        let chi: f64 = counts.iter().zip([60_000.0, 30_000.0, 10_000.0]).map(|(&seen, want)| (f64::from(seen) - want).powi(2) / want).sum();
        assert!(chi < 13.8, "{counts:?}: {chi}");
    }

    #[test]
    fn a_lost_candidate_moves_only_its_own_clients() {
        let all = [(0, salt("us"), 60), (1, salt("eu"), 30), (2, salt("ap"), 10)];
        for client in clients(10_000) {
            let before = pick(client, all).unwrap();
            let after = pick(client, all.into_iter().filter(|(item, ..)| *item != 1)).unwrap();
            assert!(before == 1 || before == after);
        }
    }

    #[test]
    fn a_raised_weight_only_attracts() {
        let with = |weight| [(0, salt("us"), 50), (1, salt("eu"), weight)];
        for client in clients(10_000) {
            let (before, after) = (pick(client, with(20)).unwrap(), pick(client, with(70)).unwrap());
            assert!(before == after || after == 1);
        }
    }

    #[test]
    fn admission_is_monotone_and_even() {
        let mut counts = [0_u32; 3];
        for client in clients(50_000) {
            let within = [2000, 3000, 10_000].map(|points| client.is_within(salt("us"), points));
            assert!(!within[0] || within[1]);
            for (count, within) in counts.iter_mut().zip(within) {
                *count += u32::from(within);
            }
        }
        assert!(counts[0].abs_diff(10_000) < 400 && counts[1].abs_diff(15_000) < 400 && counts[2] == 50_000, "{counts:?}");
    }
}
