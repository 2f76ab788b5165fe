//! Three regions, the lines between them, and chance.

use crate::model::{ids::Label, mix::SplitMix64};

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

/// The only chance in a run.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) SplitMix64);

impl Chance {
    /// From 0 to `n`, outside.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0.draw() % n.max(1)
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

    pub(super) fn are_whole(&self) -> bool {
        self.cut == [[false; 3]; 3]
    }

    /// One region alone, both ways, or one.
    pub(super) fn apart(chance: &mut Chance, one: Region) -> Self {
        let (mut lines, way) = (Self::default(), chance.below(3));
        for it in REGIONS {
            lines.cut(one, it, way != 1);
            lines.cut(it, one, way != 2);
        }
        lines
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
