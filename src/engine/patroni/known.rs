//! Members of a region's cluster that were ever listed, in memory and on disk. One that is listed no more may still write, so a fence is told only when
//! it says that it does not; who took a member away for good takes its line away, too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use reqwest::Url;

use super::{super::Trouble, rest::base, said::MEMBERS_MAX};

/// In the agent's directory.
const FILE: &str = "patroni-members.json";

/// Where each is asked.
#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    members: Mutex<BTreeMap<String, Url>>,
}

impl Known {
    /// Reads what is there.
    pub(super) fn open(directory: &Path) -> Result<Self, Trouble> {
        let file = directory.join(FILE);
        let problem =
            |error: &dyn std::fmt::Display| Trouble(format!("read the members that were seen from `{}`: {error}", file.display()));
        let texts: BTreeMap<String, String> = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(problem(&error)),
            Ok(octets) => serde_json::from_slice(&octets).map_err(|error| problem(&error))?,
        };
        let members = texts.into_iter().map(|(name, at)| Ok((name, base(&at)?))).collect::<Result<_, Trouble>>();
        Ok(Self { members: Mutex::new(members.map_err(|error| problem(&error))?), file })
    }

    /// All that were ever listed, with these, which are on disk by then.
    pub(super) fn with(&self, listed: Vec<(String, Url)>) -> Result<BTreeMap<String, Url>, Trouble> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = members.clone();
        all.extend(listed);
        if all.len() > MEMBERS_MAX {
            let message = format!(
                "its cluster has had more than {MEMBERS_MAX} members: take those that are gone out of `{}` and start the agent again",
                self.file.display()
            );
            return Err(Trouble(message));
        }
        if all != *members {
            self.save(&all)?;
            members.clone_from(&all);
        }
        Ok(all)
    }

    fn save(&self, members: &BTreeMap<String, Url>) -> Result<(), Trouble> {
        let fresh = self.file.with_extension("json.new");
        let written = || {
            let texts: BTreeMap<&str, &str> = members.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect();
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(&texts)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.file)?;
            self.file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        };
        written().map_err(|error: std::io::Error| Trouble(format!("note the members in `{}`: {error}", self.file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_ever_listed_is_known_after_a_start_until_a_person_takes_it_out() {
        let directory = tempfile::tempdir().unwrap();
        let at = |port: u16| base(&format!("http://127.0.0.1:{port}")).unwrap();
        let known = Known::open(directory.path()).unwrap();
        known.with(vec![("us-1".to_owned(), at(1)), ("us-2".to_owned(), at(2))]).unwrap();
        let again = Known::open(directory.path()).unwrap();
        let all = again.with(vec![("us-1".to_owned(), at(3))]).unwrap();
        assert_eq!(all, [("us-1".to_owned(), at(3)), ("us-2".to_owned(), at(2))].into());
        let many = (0..MEMBERS_MAX).map(|n| (format!("more-{n}"), at(9))).collect();
        assert!(again.with(many).unwrap_err().0.contains("take those that are gone out of"));
        fs::write(directory.path().join(FILE), "{\"us-1\": \"nowhere\"}").unwrap();
        assert!(Known::open(directory.path()).unwrap_err().0.contains(FILE));
    }
}
