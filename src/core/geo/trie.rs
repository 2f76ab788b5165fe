//! Binary tries over addresses: one kind to collect networks in, and one to look addresses up in.
//!
//! A [`PrefixTable`] collects the networks of one layer in any order; overlapping ones keep their own values. [`overlay`] walks several of
//! them side by side and writes a [`Trie`]: no values inside, only at the leaves, and never two sibling leaves with the same value.
//! Hence the leaf at which a walk ends stands for the widest network in which every address has that value.
//!
//! Why not a table of the crates.io kind: the property above is what the ECS scope needs, and a frozen trie is faster than a general map.
//! Memory: 64 bytes per node of a trie, which covers four bits; 12 per node of a table, which covers one.

/// The most nodes that one table may have: room for the largest city databases sold (about 13 million nodes over both families),
/// at most 384 MiB per table while a map is being built.
pub const NODES_MAX: usize = 1 << 25;

/// The most nodes that one trie may have, 256 MiB: five times what a city database and eight regions take.
pub const LINES_MAX: usize = 1 << 22;

/// Says "no child" and "no value" in a table.
const NONE: u32 = u32::MAX;

/// Marks a reference in a trie as a leaf. Below it are the value and, in the lowest bits, the depth.
const LEAF: u32 = 1 << 31;

/// Depths are 0 to 128.
const DEPTH_BITS: u32 = 8;

const DEPTH_MASK: u32 = (1 << DEPTH_BITS) - 1;

/// The largest value of a leaf: what is left of a word.
pub const VALUE_MAX: u32 = (LEAF - 1) >> DEPTH_BITS;

/// How many bits one step down a trie takes. Four make a node as large as a cache line, and divide 32 and 128.
const STRIDE: u8 = 4;

/// The ways that these bits can go.
const WAYS: usize = 1 << STRIDE;

/// An address as bits, the most significant first.
pub trait Bits: Copy {
    /// How many bits there are.
    const WIDTH: u8;

    /// The bit at `depth`, counted from the left; `depth` is below [`Self::WIDTH`].
    fn bit(self, depth: u8) -> usize;

    /// The four bits from `depth`, a multiple of four below [`Self::WIDTH`].
    fn four_bits(self, depth: u8) -> usize;
}

impl Bits for u32 {
    const WIDTH: u8 = 32;

    fn bit(self, depth: u8) -> usize {
        (self >> (31 - depth) & 1) as usize
    }

    fn four_bits(self, depth: u8) -> usize {
        (self >> (28 - depth) & 15) as usize
    }
}

impl Bits for u128 {
    const WIDTH: u8 = 128;

    fn bit(self, depth: u8) -> usize {
        usize::from(self >> (127 - depth) & 1 == 1)
    }

    fn four_bits(self, depth: u8) -> usize {
        // One half of the address at a time: shifting 128 bits costs more than all the rest of a step.
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        let half = if depth < 64 { (self >> 64) as u64 } else { self as u64 };
        (half >> (60 - (depth & 63)) & 15) as usize
    }
}

/// A table would need more than [`NODES_MAX`] nodes, or a trie more than [`LINES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNodes;

#[derive(Clone, Copy, Debug)]
struct Node {
    children: [u32; 2],
    value: u32,
}

impl Node {
    const EMPTY: Self = Self { children: [NONE; 2], value: NONE };
}

/// Networks of one family with a value each. Grows by insertion only.
#[derive(Clone, Debug)]
pub struct PrefixTable {
    nodes: Vec<Node>,
}

impl Default for PrefixTable {
    fn default() -> Self {
        Self { nodes: vec![Node::EMPTY] }
    }
}

impl PrefixTable {
    /// Gives the network of `prefix` bits around `address` a value below [`VALUE_MAX`]. If it has one already, `choose(old, new)` stays.
    ///
    /// # Errors
    /// [`TooManyNodes`]; the table is then unusable for anything but dropping it.
    pub fn insert<A: Bits>(
        &mut self,
        address: A,
        prefix: u8,
        value: u32,
        choose: impl FnOnce(u32, u32) -> u32,
    ) -> Result<(), TooManyNodes> {
        debug_assert!(prefix <= A::WIDTH && value < VALUE_MAX);
        let mut at = 0_usize;
        for depth in 0..prefix {
            let bit = address.bit(depth);
            let child = self.nodes[at].children[bit];
            at = if child == NONE {
                if self.nodes.len() >= NODES_MAX {
                    return Err(TooManyNodes);
                }
                let new = self.nodes.len();
                self.nodes.push(Node::EMPTY);
                self.nodes[at].children[bit] = u32::try_from(new).expect("invariant: NODES_MAX is below 2^32");
                new
            } else {
                child as usize
            };
        }
        let slot = &mut self.nodes[at].value;
        *slot = if *slot == NONE { value } else { choose(*slot, value) };
        Ok(())
    }

    /// The value of the longest network around `address`.
    #[must_use]
    pub fn longest<A: Bits>(&self, address: A) -> Option<u32> {
        let mut at = self.nodes[0];
        let mut found = at.value;
        for depth in 0..A::WIDTH {
            let child = at.children[address.bit(depth)];
            if child == NONE {
                break;
            }
            at = self.nodes[child as usize];
            found = if at.value == NONE { found } else { at.value };
        }
        (found != NONE).then_some(found)
    }

    /// Whether no network has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].value == NONE
    }
}

/// A value for every address of a family.
///
/// Each node is one cache line: the sixteen ways that the next four bits can go. A reference is the index of a node, or a leaf: its value and
/// the depth, in bits, at which it would stand in a binary trie. A leaf whose depth is not a multiple of four fills several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trie {
    nodes: Vec<[u32; WAYS]>,
    root: u32,
}

impl Default for Trie {
    fn default() -> Self {
        Self::uniform(0)
    }
}

impl Trie {
    /// The same value everywhere.
    #[must_use]
    pub const fn uniform(value: u32) -> Self {
        Self { nodes: Vec::new(), root: leaf(value, 0) }
    }

    /// The value of `address`, and the length of the widest prefix around it that has this value throughout.
    #[must_use]
    pub fn walk<A: Bits>(&self, address: A) -> (u32, u8) {
        let (mut at, mut depth) = (self.root, 0);
        while at & LEAF == 0 {
            at = self.nodes[at as usize][address.four_bits(depth)];
            depth += STRIDE;
        }
        (at >> DEPTH_BITS & VALUE_MAX, (at & DEPTH_MASK).to_le_bytes()[0])
    }

    /// The value, if all addresses have the same.
    #[must_use]
    pub const fn uniform_value(&self) -> Option<u32> {
        if self.root & LEAF == 0 { None } else { Some(self.root >> DEPTH_BITS & VALUE_MAX) }
    }

    /// How many nodes there are, 64 bytes each.
    #[must_use]
    pub const fn n_nodes(&self) -> usize {
        self.nodes.len()
    }
}

/// A leaf as a reference.
const fn leaf(value: u32, depth: u32) -> u32 {
    LEAF | value << DEPTH_BITS | depth
}

/// Writes the trie whose value at every address is `value(values)`, where `values[i]` is that of the longest network around it in
/// `layers[i]`.
///
/// `value` is called once per smallest network that the layers can tell apart, in ascending order of addresses, and answers up to
/// [`VALUE_MAX`].
///
/// # Errors
/// What `value` refuses, or [`TooManyNodes`].
pub fn overlay<E: From<TooManyNodes>, const N: usize>(
    layers: [&PrefixTable; N],
    value: &mut impl FnMut([Option<u32>; N]) -> Result<u32, E>,
) -> Result<Trie, E> {
    let mut writer = Overlay { layers, value, trie: Trie { nodes: Vec::new(), root: 0 } };
    let mut root = [0];
    writer.write(&mut root, 0, [0; N], [NONE; N])?;
    writer.trie.root = root[0];
    Ok(writer.trie)
}

struct Overlay<'a, F, const N: usize> {
    layers: [&'a PrefixTable; N],
    value: &'a mut F,
    trie: Trie,
}

impl<F, const N: usize> Overlay<'_, F, N> {
    /// Writes what lies below the position `at` of every layer ([`NONE`]: the layer has nothing that deep), `depth` bits down, into `ways`:
    /// the part of a node that this position stands for, one way when the node is complete. Recurses once per bit, so at most 128 deep.
    ///
    /// Answers the value, if everything below has the same; the leaf then already stands in all the ways.
    fn write<E: From<TooManyNodes>>(&mut self, ways: &mut [u32], depth: u8, at: [u32; N], inherited: [u32; N]) -> Result<Option<u32>, E>
    where
        F: FnMut([Option<u32>; N]) -> Result<u32, E>,
    {
        let mut values = inherited;
        let mut children = [[NONE; N]; 2];
        let mut deeper = false;
        for (layer, &index) in at.iter().enumerate() {
            if index == NONE {
                continue;
            }
            let node = self.layers[layer].nodes[index as usize];
            if node.value != NONE {
                values[layer] = node.value;
            }
            for (side, child) in node.children.into_iter().enumerate() {
                children[side][layer] = child;
                deeper |= child != NONE;
            }
        }
        let uniform = if !deeper {
            Some((self.value)(values.map(|value| (value != NONE).then_some(value)))?)
        } else if let [way] = ways {
            // A node begins here: a line of its own, kept only if its ways differ.
            let mut line = [0; WAYS];
            let uniform = self.halves(&mut line, depth, children, values)?;
            if uniform.is_none() {
                if self.trie.nodes.len() >= LINES_MAX {
                    return Err(TooManyNodes.into());
                }
                *way = u32::try_from(self.trie.nodes.len()).expect("invariant: LINES_MAX is below 2^31");
                self.trie.nodes.push(line);
            }
            uniform
        } else {
            self.halves(ways, depth, children, values)?
        };
        if let Some(value) = uniform {
            ways.fill(leaf(value, u32::from(depth)));
        }
        Ok(uniform)
    }

    fn halves<E: From<TooManyNodes>>(
        &mut self,
        ways: &mut [u32],
        depth: u8,
        children: [[u32; N]; 2],
        values: [u32; N],
    ) -> Result<Option<u32>, E>
    where
        F: FnMut([Option<u32>; N]) -> Result<u32, E>,
    {
        let (left, right) = ways.split_at_mut(ways.len() / 2);
        let left = self.write(left, depth + 1, children[0], values)?;
        let right = self.write(right, depth + 1, children[1], values)?;
        Ok(left.filter(|_| left == right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(layers: [&PrefixTable; 1]) -> Trie {
        overlay(layers, &mut |[value]: [Option<u32>; 1]| Ok::<_, TooManyNodes>(value.unwrap_or(99))).unwrap()
    }

    #[test]
    fn equal_siblings_become_one_leaf() {
        let mut table = PrefixTable::default();
        table.insert(0x0a00_0000_u32, 9, 7, |_, new| new).unwrap();
        table.insert(0x0a80_0000_u32, 9, 7, |_, new| new).unwrap();
        assert_eq!(plain([&table]).walk(0x0a01_0203_u32), (7, 8));
        assert_eq!(plain([&PrefixTable::default()]).uniform_value(), Some(99));
    }

    #[test]
    fn the_longer_network_wins_in_either_order() {
        for networks in [[(8, 1), (16, 2)], [(16, 2), (8, 1)]] {
            let mut table = PrefixTable::default();
            for (prefix, value) in networks {
                table.insert(0x0a01_0000_u32, prefix, value, |_, new| new).unwrap();
            }
            assert_eq!(table.longest(0x0a01_ffff_u32), Some(2));
            assert_eq!(table.longest(0x0a02_0000_u32), Some(1));
            assert_eq!(table.longest(0x0b00_0000_u32), None);
            assert_eq!(plain([&table]).walk(0x0a01_ffff_u32), (2, 16));
            assert_eq!(plain([&table]).walk(0x0b00_0000_u32), (99, 8));
        }
    }

    proptest! {
        /// A trie says the same as a look through the list, all of the network that it names has this value, and one bit less has not.
        #[test]
        fn a_leaf_is_the_widest_network_of_its_value(
            networks in prop::collection::vec((any::<u32>(), 0_u8..=12, 0_u32..4), 0..40),
            addresses in prop::collection::vec(any::<u32>(), 8),
        ) {
            let mut table = PrefixTable::default();
            for &(address, prefix, value) in &networks {
                table.insert(address, prefix, value, u32::min).unwrap();
            }
            let covers = |address: u32, prefix: u8, of: u32| prefix == 0 || (address ^ of) >> (32 - prefix) == 0;
            // Nothing is longer than 12 bits, so 4096 blocks are all there is.
            let naive: Vec<u32> = (0..4096_u32)
                .map(|block| {
                    let around = networks.iter().filter(|network| covers(network.0, network.1, block << 20));
                    around.max_by_key(|network| (network.1, std::cmp::Reverse(network.2))).map_or(99, |network| network.2)
                })
                .collect();
            let trie = plain([&table]);
            for address in addresses {
                let (value, depth) = trie.walk(address);
                prop_assert_eq!(value, naive[(address >> 20) as usize]);
                let uniform = |prefix: u8| (0..4096_u32).filter(|block| covers(address, prefix, block << 20)).all(|block| naive[block as usize] == value);
                prop_assert!(uniform(depth));
                prop_assert!(depth == 0 || !uniform(depth - 1));
            }
        }
    }
}
