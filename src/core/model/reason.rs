//! Reasons as a tree: what `why`, `status`, events and pages print.

use serde::{Deserialize, Serialize};

/// One statement, and the statements that it follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it means for the matter in question.
    pub mark: Mark,
    /// One line of plain English, without a final period.
    pub text: String,
    /// What it follows from, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Self>,
}

/// What a statement means for the matter in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A fact or a heading.
    Info,
    /// Speaks for it, or was kept.
    Yes,
    /// Speaks against it, or was removed.
    No,
    /// Not known, or not decided yet.
    Open,
    /// The outcome: the answer as served.
    Leaf,
}

impl Mark {
    /// One ASCII sign, for terminals and pagers that know nothing else.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Info => '-',
            Self::Yes => '+',
            Self::No => 'x',
            Self::Open => '?',
            Self::Leaf => '=',
        }
    }
}

impl Reason {
    /// A statement that nothing stands behind.
    #[must_use]
    pub fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self { mark, text: text.into(), because: Vec::new() }
    }

    /// The same statement with one more reason behind it.
    #[must_use]
    pub fn with(mut self, reason: Self) -> Self {
        self.because.push(reason);
        self
    }

    /// The tree as indented lines, each ended by a newline.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.render_at(0, &mut text);
        text
    }

    fn render_at(&self, depth: usize, text: &mut String) {
        text.extend(std::iter::repeat_n("  ", depth));
        text.push(self.mark.sign());
        text.push(' ');
        text.push_str(&self.text);
        text.push('\n');
        for reason in &self.because {
            reason.render_at(depth + 1, text);
        }
    }
}
