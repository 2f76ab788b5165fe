//! The permit: a file that is there while the region may write.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::PathBuf,
};

use portolan_core::failover::token::Token;

use super::super::Trouble;

/// The file; `None`: Patroni asks for none.
#[derive(Clone, Debug)]
pub(super) struct Permit(pub(super) Option<PathBuf>);

impl Permit {
    /// From now on its Patroni may promote. Whoever reads the file finds by which token.
    pub(super) fn allow(&self, token: Token) -> Result<(), Trouble> {
        let Some(file) = &self.0 else { return Ok(()) };
        fs::write(file, format!("{token}\n")).map_err(|error| Trouble(format!("write the permit `{}`: {error}", file.display())))
    }

    /// It is written anew where it is there: one that is not young any more is nobody's who lives.
    pub(super) fn renew(&self) -> Result<(), Trouble> {
        let Some(file) = &self.0 else { return Ok(()) };
        let problem = |error: std::io::Error| Trouble(format!("write the permit `{}` anew: {error}", file.display()));
        let text = match fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            text => text.map_err(problem)?,
        };
        match OpenOptions::new().write(true).open(file) {
            // It was taken away meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            open => open.and_then(|mut file| file.write_all(&text)).map_err(problem),
        }
    }

    /// From now on its Patroni promotes nothing by itself.
    pub(super) fn forbid(&self) -> Result<(), Trouble> {
        let Some(file) = &self.0 else { return Ok(()) };
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Trouble(format!("take the permit `{}` away: {error}", file.display())))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> Result<bool, Trouble> {
        let Some(file) = &self.0 else { return Ok(false) };
        file.try_exists().map_err(|error| Trouble(format!("look for the permit `{}`: {error}", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_renewed_where_it_is_and_never_made_by_that() {
        let directory = tempfile::tempdir().unwrap();
        let permit = Permit(Some(directory.path().join("permit")));
        permit.renew().unwrap();
        assert!(!permit.is_there().unwrap(), "a renewal allows nothing");
        permit.allow(Token { generation: 1, epoch: 7 }).unwrap();
        permit.renew().unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("permit")).unwrap(), "1.7\n");
        permit.forbid().unwrap();
        permit.forbid().unwrap();
        assert!(!permit.is_there().unwrap());
        let lost = Permit(Some(directory.path().join("nowhere/permit")));
        assert!(lost.allow(Token::default()).unwrap_err().0.contains("nowhere/permit"));
        assert!(!Permit(None).is_there().unwrap());
    }
}
