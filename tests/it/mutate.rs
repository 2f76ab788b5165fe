//! Changes octets by the dice: for readers that must not care what they are given.
//!
//! Blind mutation of good inputs finds what is near them; what lies deeper is found by the coverage-guided runs of `tests/fuzz/`, whose
//! finds are kept in the same corpus.

/// Characters that mean something in the texts that are read here.
const MARKS: &[u8] = b"()\"';\\$@\n \t.:-{}[]#&*!|>%0";

/// Integers at which lengths, counts and offsets turn over.
const INTERESTING: [u32; 12] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// The most changes to one input: with more, nothing of the good input is left.
const CHANGES_MAX: usize = 5;

/// Xorshift: the same seed gives the same inputs, on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero. The multiplication parts neighbouring seeds.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Evenly in `0..n`; 0 for an `n` of 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A changed copy of one of `inputs`.
    pub(crate) fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut data = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut data, inputs);
        }
        data
    }

    fn change(&mut self, data: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        // Headers and trailers are small and matter most: half of the changes are made within 64 octets of an end.
        let at = match self.below(4) {
            0 => self.below(data.len().min(64)),
            1 => data.len().saturating_sub(1 + self.below(64)),
            _ => self.below(data.len()),
        };
        let end = (at + 1 + self.below(32)).min(data.len());
        match self.below(9) {
            0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
            1 if !data.is_empty() => data[at] = self.octet(),
            2 => data.insert(at, self.octet()),
            3 if at < end => drop(data.drain(at..end)),
            4 if at < end => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            5 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len());
                let until = (from + 1 + self.below(60)).min(other.len());
                data.splice(at..at, other[from..until].iter().copied());
            }
            6 if self.below(4) == 0 => data.truncate(at),
            7 => {
                let value = INTERESTING[self.below(INTERESTING.len())].to_be_bytes();
                let width = [1, 2, 4][self.below(3)];
                for (octet, new) in data.iter_mut().skip(at).zip(&value[4 - width..]) {
                    *octet = *new;
                }
            }
            // Marks of the texts that are read here.
            _ => data.insert(at, MARKS[self.below(MARKS.len())]),
        }
    }
}
