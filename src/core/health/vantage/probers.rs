//! Which nodes of a region probe a check: rendezvous hashing over those that live.
//!
//! Every node draws a number from (node, check); the lowest draws probe. So all nodes of a region that see the same neighbours agree
//! without a word, a node that leaves hands over its own checks only, and one that comes takes over a fair part and no more.
//!
//! While neighbours see different sets, a check has a prober more or less for a moment; each says what it sees, and all of it counts.
//! Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996).

use crate::{health::endpoint::mix, steering::rendezvous::salt};

use super::key::CheckKey;

/// A node as far as choices depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate(u64);

impl Candidate {
    pub(super) fn new(node: &str) -> Self {
        Self(salt(node))
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves of the key are mixed in")]
    const fn draw(self, check: CheckKey) -> (u64, u64) {
        let number = check.number();
        // The salt parts equal draws, so that everybody orders them alike.
        (mix(mix(self.0, number as u64), (number >> 64) as u64), self.0)
    }
}

/// Whether `own` is among the `k` probers of a check; `others` are the other live nodes of the region, in any order. O(others).
pub(super) fn is_chosen(own: Candidate, others: &[Candidate], check: CheckKey, k: u16) -> bool {
    let k = usize::from(k);
    if others.len() < k {
        return true;
    }
    let draw = own.draw(check);
    others.iter().filter(|other| other.draw(check) < draw).take(k).count() < k
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(nodes: &[&str], check: u128, k: u16) -> Vec<String> {
        let is_prober = |node: &&&str| {
            let others: Vec<Candidate> = nodes.iter().filter(|other| other != node).map(|other| Candidate::new(other)).collect();
            is_chosen(Candidate::new(node), &others, CheckKey::from_number(check), k)
        };
        nodes.iter().filter(is_prober).map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn a_check_has_exactly_k_probers_and_a_change_moves_the_least() {
        let nodes = ["us-1", "us-2", "us-3", "us-4", "us-5"];
        let mut load = [0; 5];
        for check in 0..2000_u128 {
            let check = (check << 64) | (check * 77);
            let all = chosen(&nodes, check, 2);
            assert_eq!(all.len(), 2);
            all.iter().for_each(|node| load[nodes.iter().position(|it| it == node).unwrap()] += 1);
            let without = chosen(&nodes[..4], check, 2);
            // Those that stay keep what they have.
            assert!(all.iter().filter(|node| *node != "us-5").all(|node| without.contains(node)), "{all:?} {without:?}");
        }
        assert!(load.iter().all(|&n| (700..900).contains(&n)), "{load:?}");
    }

    #[test]
    fn few_nodes_probe_everything() {
        assert_eq!(chosen(&["us-1"], 5, 2), ["us-1"]);
        assert_eq!(chosen(&["us-1", "us-2"], 5, 2), ["us-1", "us-2"]);
        assert_eq!(chosen(&["us-1", "us-2", "us-3"], 5, 16).len(), 3);
    }
}
