//! Three regions, the lines between them, clocks, and chance.

use crate::model::{ids::Label, time::Tick};

pub(super) const REGIONS: [Region; 3] = [Region(0), Region(1), Region(2)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region(pub(super) usize);

impl Region {
    pub(super) fn label(self) -> Label {
        Label::new(["a", "b", "c"][self.0])
    }

    pub(super) fn of(label: &Label) -> Self {
        REGIONS.into_iter().find(|region| region.label() == *label).expect("invariant: a region of the drill")
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same seed, the same chance everywhere.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n`, outside.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("invariant: an index")]
    }
}

/// A clock that began anywhere and runs within a hundredth of true time. True time is in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) base: u64,
    pub(super) ppm: i64,
}

impl Clock {
    pub(super) fn at(self, true_micros: u64) -> Tick {
        let skew = i128::from(true_micros) * i128::from(self.ppm) / 1_000_000;
        Tick(self.base + u64::try_from(i128::from(true_micros) + skew).expect("invariant: time is positive"))
    }

    /// The first true microsecond at which it shows this.
    pub(super) fn when(self, tick: Tick) -> u64 {
        let shown = i128::from(tick.0.saturating_sub(self.base));
        let mut at = u64::try_from((shown * 1_000_000 / i128::from(1_000_000 + self.ppm)).max(2) - 2).expect("invariant: it fits");
        while self.at(at) < tick {
            at += 1;
        }
        at
    }
}

/// Who cannot send to whom.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    cut: [[bool; 3]; 3],
}

impl Lines {
    pub(super) fn cut(&mut self, from: Region, to: Region, is_cut: bool) {
        self.cut[from.0][to.0] = is_cut && from != to;
    }

    pub(super) fn is_open(&self, from: Region, to: Region) -> bool {
        !self.cut[from.0][to.0]
    }

    /// One of the shapes of trouble: whole, a region alone, a pair apart, a region that cannot send, one that cannot receive.
    pub(super) fn shape(chance: &mut Chance) -> Self {
        let mut lines = Self::default();
        let one = chance.pick(&REGIONS);
        let other = Region((one.0 + 1) % 3);
        match chance.below(5) {
            0 => {}
            1 => REGIONS.iter().for_each(|it| {
                lines.cut(one, *it, true);
                lines.cut(*it, one, true);
            }),
            2 => {
                lines.cut(one, other, true);
                lines.cut(other, one, true);
            }
            3 => REGIONS.iter().for_each(|it| lines.cut(one, *it, true)),
            _ => REGIONS.iter().for_each(|it| lines.cut(*it, one, true)),
        }
        lines
    }
}
