//! Fencing tokens: the order of everything that is done to a group.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which decision, grant or cancel something belongs to. A higher one outranks a lower one, for ever; an equal one is a repeat.
///
/// Receivers keep the highest per group on disk and refuse a lower one (Kleppmann, "How to do distributed locking", 2016). The zero token
/// belongs to nothing: it is what a member has that never saw one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The recovery generation: raised when a majority was lost for good, so that nothing of the lost side outranks what comes after.
    pub generation: u64,
    /// The log index of the decision, grant or cancel: unique in its generation, growing, never reused.
    pub epoch: u64,
}

/// `1.4711`.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_outranks_every_epoch() {
        let token = |generation, epoch| Token { generation, epoch };
        assert!(token(0, u64::MAX) < token(1, 1) && token(1, 1) < token(1, 2));
        assert_eq!((token(1, 4711).to_string(), Token::default().to_string()), ("1.4711".to_owned(), "0.0".to_owned()));
    }
}
