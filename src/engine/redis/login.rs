//! Who a client is to a server.

use std::fmt;

use super::super::Trouble;

/// A user and a password, or the password alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

impl Login {
    /// Reads a secret: one line with the password, or two with the user and the password.
    ///
    /// # Errors
    /// It is neither. What it holds is not in the error.
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        let lines: Vec<&str> = text.lines().collect();
        let login = match lines.as_slice() {
            [password] => Self { user: None, password: (*password).to_owned() },
            [user, password] => Self { user: Some((*user).to_owned()), password: (*password).to_owned() },
            _ => return Err(Trouble("a login has one line with the password, or two: user, password".to_owned())),
        };
        let words = login.user.iter().chain([&login.password]);
        if words.into_iter().any(|word| word.is_empty() || word.chars().any(char::is_control)) {
            return Err(Trouble("a login has an empty line, or control characters in it".to_owned()));
        }
        Ok(login)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_and_its_password_is_never_shown() {
        let login = Login::parse("portolan\nhush hush\n").unwrap();
        assert_eq!((login.user.as_deref(), login.password.as_str()), (Some("portolan"), "hush hush"));
        assert_eq!(Login::parse("hush").unwrap().user, None);
        assert!(!format!("{login:?}").contains("hush"));
        for text in ["", "\n", "a\n\n", "a\nb\nc", "hush\u{7}"] {
            assert!(!Login::parse(text).unwrap_err().0.contains("hush"), "{text:?}");
        }
    }
}
