//! One generator of numbers that look random, for everything that is drawn from a seed. Not for secrets.
//!
//! Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014): SplitMix64, whose finaliser is David Stafford's
//! variant 13.

/// What the state of the generator grows by.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection in which each output bit depends on each input bit: what a generator in this state draws.
#[inline]
#[must_use]
pub const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A stream of numbers: the same seed, the same numbers everywhere and in every version.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next number.
    #[inline]
    pub const fn draw(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of seed 1234567, as the reference implementation (Vigna, splitmix64.c) gives them.
    #[test]
    fn it_is_splitmix64() {
        let mut stream = SplitMix64(1_234_567);
        let drawn = [stream.draw(), stream.draw(), stream.draw()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
