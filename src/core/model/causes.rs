//! Errors of libraries, which say the kind only, with what lies under them.

use std::error::Error;

/// An error and its causes in one line, each once: many errors already quote their cause.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
