//! What a line between two regions does to packets, one way: it delays them, loses some, or is cut. A judgement only, with seeded chance.

use std::time::Duration;

use portolan_core::model::mix::SplitMix64;

/// One line, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// How long every packet takes.
    pub(super) delay: Duration,
    /// How much longer it takes at most. Packets never overtake each other all the same.
    pub(super) jitter: Duration,
    /// How many of a hundred packets are lost.
    pub(super) loss_percent: u8,
    /// Nothing arrives.
    pub(super) is_cut: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives after this time, or when the packet before it does.
    Arrives(Duration),
    /// It is lost by chance.
    Lost,
    /// The line is cut.
    Cut,
}

impl Line {
    /// A line between regions of two continents: 80 ms one way.
    pub(super) const FAR: Self =
        Self { delay: Duration::from_millis(80), jitter: Duration::from_millis(4), loss_percent: 0, is_cut: false };

    /// What becomes of the next packet.
    pub(super) fn fate(&self, chance: &mut SplitMix64) -> Fate {
        if self.is_cut {
            return Fate::Cut;
        }
        // Drawn in any case, so that a line without loss does not shift the chance of others.
        let (luck, share) = (chance.draw() % 100, chance.draw() % 1001);
        if luck < u64::from(self.loss_percent) {
            return Fate::Lost;
        }
        Fate::Arrives(self.delay + self.jitter * u32::try_from(share).unwrap() / 1000)
    }
}

#[test]
fn a_line_loses_as_many_packets_as_it_says_and_delays_the_rest_within_its_bounds() {
    let line = Line { loss_percent: 30, ..Line::FAR };
    let fates = |seed| {
        let mut chance = SplitMix64(seed);
        (0..10_000).map(|_| line.fate(&mut chance)).collect::<Vec<_>>()
    };
    let seen = fates(1);
    let lost = seen.iter().filter(|fate| **fate == Fate::Lost).count();
    assert!((2_800..3_200).contains(&lost), "{lost} of 10000");
    for fate in &seen {
        let Fate::Arrives(after) = fate else { continue };
        assert!(line.delay <= *after && *after <= line.delay + line.jitter, "{after:?}");
    }
    assert_eq!(seen, fates(1), "the same seed gives the same fates");
    assert_ne!(seen, fates(2));
    assert_eq!(Line { is_cut: true, ..line }.fate(&mut SplitMix64(1)), Fate::Cut);
}
