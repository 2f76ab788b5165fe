//! Output for people: ASCII, 100 columns, UTC.

pub(super) mod status;
pub(super) mod table;
pub(super) mod text;

/// What fits a terminal, a chat and a page.
pub(super) const COLUMNS: usize = 100;
