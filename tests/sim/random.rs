//! The only chance in a run: a generator that the seed decides.
//!
//! Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators" (2021), xoshiro256**, seeded by splitmix64 as they advise.
//!
//! Absent on purpose: a library. Its next version may draw other numbers, and a seed that somebody noted would then replay another run.

use std::time::Duration;

use portolan_core::model::mix::SplitMix64;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random([u64; 4]);

impl Random {
    /// The stream of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut stream = SplitMix64(seed);
        Self(std::array::from_fn(|_| stream.draw()))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        let drawn = self.0[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.0[1] << 17;
        self.0[2] ^= self.0[0];
        self.0[3] ^= self.0[1];
        self.0[1] ^= self.0[2];
        self.0[0] ^= self.0[3];
        self.0[2] ^= shifted;
        self.0[3] = self.0[3].rotate_left(45);
        drawn
    }

    /// From 0 to below `n`, which is 1 or more.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next()) * n as u128;
        usize::try_from(wide >> 64).expect("invariant: below n")
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// `true` in `n` of 1000 cases.
    pub(crate) fn permille(&mut self, n: usize) -> bool {
        n > 0 && self.below(1000) < n
    }

    /// A time between two numbers of milliseconds, both included.
    pub(crate) fn millis(&mut self, low: usize, high: usize) -> Duration {
        Duration::from_millis(self.between(low, high) as u64)
    }

    /// One of them; there is at least one.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

#[test]
fn a_seed_draws_the_same_numbers_for_ever() {
    let mut random = Random::new(7);
    let drawn = [random.next(), random.next(), random.next()];
    let mut again = Random::new(7);
    assert_eq!(drawn, [again.next(), again.next(), again.next()]);
    assert!((0..10_000).all(|_| random.below(3) < 3));
    let n = (0..10_000).filter(|_| random.permille(300)).count();
    assert!((2800..3200).contains(&n), "{n}");
}
