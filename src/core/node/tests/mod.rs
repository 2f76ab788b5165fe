//! The whole core in scenarios (`tests/data/node`, `tests/data/steering`): a plan in a few lines, targets that fail on cue, virtual clocks,
//! and what a person would see. `UPDATE_EXPECT=1` rewrites the expected text.

mod drill;
pub(crate) mod plan_text;
mod properties;
mod recall;

use crate::testing::script::check_scripts;

#[test]
fn node_scenarios() {
    check_scripts("node", "", drill::play);
}

#[test]
fn steering_scenarios() {
    check_scripts("steering", "", drill::play);
}
