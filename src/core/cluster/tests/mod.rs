//! The replicated machine in scenarios (`tests/data/cluster`), its promises over random logs, and what only a large or damaged state shows.

mod bounds;
mod decoding;
mod drill;
mod forms;
mod properties;
mod random;
mod steps;

#[test]
fn cluster_scenarios() {
    crate::testing::script::check_scripts("cluster", "", drill::play);
}
