//! Where a command writes: data to stdout, talk to stderr.

use std::{
    fmt,
    io::{self, Write},
};

use super::{Exit, advice};
use crate::client::ClientError;

/// The two streams of a command and what they can show. Tests hand in buffers.
pub struct Terminal<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Talk.
    pub err: &'a mut dyn Write,
    /// Whether stdout is a terminal: a person may be asked, and a screen may be redrawn.
    pub interactive: bool,
    /// Whether colour is wanted. Never true where `interactive` is not.
    pub colour: bool,
}

/// Why a command ended early; printed once, by [`super::run`].
#[derive(Debug)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// What to say on stderr; empty: nothing.
    pub message: String,
}

impl Failure {
    /// Ends with `exit` and says `message`.
    #[must_use]
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = Exit::from(&error);
        match &error {
            ClientError::Refused(refusal) => Self::new(exit, advice::refused(refusal, exit)),
            _ => Self::new(exit, &error),
        }
    }
}

/// A reader that left, as `head` does, is no news; anything else is.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let message = if error.kind() == io::ErrorKind::BrokenPipe { String::new() } else { format!("write the output: {error}") };
        Self { exit: Exit::Error, message }
    }
}

/// How a command ends.
pub type Outcome = Result<Exit, Failure>;
