//! What lies between machines: ways with delay that lose, double and overtake, and that can be cut in one direction.
//!
//! ```text
//! region a --way a to b--> region b      inside a region nothing is cut, but a single machine may lose its link
//!     '--way a to outside--> references
//! ```

use std::time::Duration;

use crate::random::Random;

/// One way inside a region, in milliseconds.
const WAY_INSIDE: usize = 1;

/// All ways.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    n_regions: usize,
    /// How many faults cut each way, by (from, to); the last place is outside all regions.
    cuts: Vec<Vec<usize>>,
    /// How many faults cut each machine's link.
    links: Vec<usize>,
    /// One way between two regions, in milliseconds.
    ways: Vec<Vec<usize>>,
    /// Added to each message, at most, in milliseconds: what overtakes.
    jitter: usize,
    /// Messages lost between regions, of 1000.
    pub(crate) loss: usize,
    /// Messages that arrive twice, of 1000.
    pub(crate) doubled: usize,
    /// Added to every way between regions, in milliseconds.
    pub(crate) slower: usize,
    /// Messages between regions take up to so many milliseconds longer, each as it happens: late ones are overtaken.
    pub(crate) jumbled: usize,
    /// How many faults take the references away.
    pub(crate) references_dead: usize,
}

impl Network {
    pub(crate) fn draw(random: &mut Random, n_regions: usize, n_machines: usize) -> Self {
        let ways = (0..n_regions).map(|_| (0..n_regions).map(|_| random.between(10, 110)).collect()).collect();
        Self {
            n_regions,
            cuts: vec![vec![0; n_regions + 1]; n_regions + 1],
            links: vec![0; n_machines],
            ways,
            jitter: *random.pick(&[0, 5, 80]),
            loss: 0,
            doubled: 0,
            slower: 0,
            jumbled: 0,
            references_dead: 0,
        }
    }

    /// The place outside all regions.
    pub(crate) const fn outside(&self) -> usize {
        self.n_regions
    }

    pub(crate) fn cut(&mut self, ways: &[(usize, usize)]) {
        ways.iter().for_each(|&(from, to)| self.cuts[from][to] += 1);
    }

    pub(crate) fn mend(&mut self, ways: &[(usize, usize)]) {
        ways.iter().for_each(|&(from, to)| self.cuts[from][to] -= 1);
    }

    pub(crate) fn cut_link(&mut self, machine: usize) {
        self.links[machine] += 1;
    }

    pub(crate) fn mend_link(&mut self, machine: usize) {
        self.links[machine] -= 1;
    }

    pub(crate) fn has_link(&self, machine: usize) -> bool {
        self.links[machine] == 0
    }

    /// Whether what leaves one place arrives in the other.
    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        from == to || self.cuts[from][to] == 0
    }

    /// Whether a question from one place is answered by the other.
    pub(crate) fn is_open_both_ways(&self, one: usize, other: usize) -> bool {
        self.is_open(one, other) && self.is_open(other, one)
    }

    /// Every way that leaves a region or leads into it.
    pub(crate) fn uplink(&self, region: usize, out: bool, into: bool) -> Vec<(usize, usize)> {
        let others = (0..=self.n_regions).filter(|other| *other != region);
        others
            .flat_map(|other| [(out, (region, other)), (into, (other, region))])
            .filter(|(wanted, _)| *wanted)
            .map(|(_, way)| way)
            .collect()
    }

    /// How long a message takes; `None`: it is lost. What is slow now is on its way for that long, whatever mends meanwhile.
    pub(crate) fn delay(&self, random: &mut Random, from: usize, to: usize) -> Option<Duration> {
        if from == to {
            return Some(random.millis(WAY_INSIDE, WAY_INSIDE + self.jitter / 10));
        }
        if !self.is_open(from, to) || random.permille(self.loss) {
            return None;
        }
        let least = self.ways[from][to] + self.slower;
        Some(random.millis(least, least + self.jitter + self.slower / 2 + self.jumbled))
    }

    /// The longest that [`Self::delay`] gives between any two regions.
    pub(crate) fn delay_max(&self) -> Duration {
        let longest = self.ways.iter().flatten().copied().max().unwrap_or(0);
        Duration::from_millis((longest + self.jitter + self.slower * 3 / 2 + self.jumbled) as u64)
    }

    /// Whether a probe between regions fails because of lost packets, which are sent again a few times while it lasts.
    pub(crate) fn loses_probe(&self, random: &mut Random) -> bool {
        self.loss > 0 && (0..3).all(|_| random.permille(self.loss))
    }
}
