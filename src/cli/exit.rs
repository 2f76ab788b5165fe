//! Exit codes that scripts can trust.

use std::process::ExitCode;

use tonic::Code;

use crate::client::ClientError;

/// How a command ended. The numbers are an interface: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all is well.
    Ok,
    /// Something went wrong that no other code names.
    Error,
    /// Done, but the state that was asked about is degraded or failing. `status` and `check` only; a node that is still starting is no such
    /// state.
    Degraded,
    /// Refused by a rule; the message names it.
    Refused,
    /// Accepted, and waits for somebody's approval.
    WaitingForApproval,
    /// The control path did not answer, or had nothing to answer from.
    Unreachable,
    /// The command waited as long as it was told to; what it started runs on.
    RunningOn,
    /// The command line or a file that it names is wrong; nothing was done.
    Usage,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Degraded => 3,
            Self::Refused => 4,
            Self::WaitingForApproval => 5,
            Self::Unreachable => 6,
            Self::RunningOn => 7,
            Self::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable(_) => Self::Unreachable,
            ClientError::Target(_) => Self::Usage,
            ClientError::Unreadable(_) => Self::Error,
            ClientError::Refused(refusal) => match refusal.code {
                Code::Unavailable => Self::Unreachable,
                Code::InvalidArgument => Self::Usage,
                // The server's word for "it may have been done": never to be mistaken for a refusal.
                Code::DeadlineExceeded => Self::RunningOn,
                Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated | Code::Aborted | Code::AlreadyExists => {
                    Self::Refused
                }
                _ => Self::Error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let all = [
            Exit::Ok,
            Exit::Error,
            Exit::Degraded,
            Exit::Refused,
            Exit::WaitingForApproval,
            Exit::Unreachable,
            Exit::RunningOn,
            Exit::Usage,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 3, 4, 5, 6, 7, 64]);
    }
}
