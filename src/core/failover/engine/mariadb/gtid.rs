//! Global transaction ids, as MariaDB writes them: `domain-server-sequence`, several with commas between.

use std::fmt;

use thiserror::Error;

/// One transaction, and by that everything before it in its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gtid {
    /// The stream that it belongs to.
    pub domain: u32,
    /// The server that wrote it first.
    pub server: u32,
    /// Its place in the domain.
    pub sequence: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// A text that is no list of positions, or one that a group cannot be led by.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GtidError {
    /// Not `domain-server-sequence`.
    #[error("`{0}` is no GTID: `domain-server-sequence` is wanted")]
    NotOne(String),
    /// A group has one domain.
    #[error(
        "domain {found} has transactions, and the group's is {own}: two domains have no common order; write in one (gtid_domain_id = {own})"
    )]
    OtherDomain {
        /// Of the group.
        own: u32,
        /// What was found.
        found: u32,
    },
}

/// Reads a list; an empty text is an empty one.
///
/// # Errors
/// [`GtidError::NotOne`] names the first that is none.
pub fn parse(text: &str) -> Result<Vec<Gtid>, GtidError> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(one).collect()
}

fn one(word: &str) -> Result<Gtid, GtidError> {
    let mut parts = word.split('-');
    let mut digits = || parts.next().filter(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()));
    let (domain, server, sequence) = (digits(), digits(), digits());
    let gtid = (|| Some(Gtid { domain: domain?.parse().ok()?, server: server?.parse().ok()?, sequence: sequence?.parse().ok()? }))();
    gtid.filter(|_| parts.next().is_none()).ok_or_else(|| GtidError::NotOne(word.chars().take(60).collect()))
}

/// The highest of a domain; `None`: nothing was ever written in it.
///
/// # Errors
/// [`GtidError::OtherDomain`]: something was in another one.
pub fn in_domain(list: &[Gtid], domain: u32) -> Result<Option<Gtid>, GtidError> {
    match list.iter().find(|gtid| gtid.domain != domain && gtid.sequence > 0) {
        Some(other) => Err(GtidError::OtherDomain { own: domain, found: other.domain }),
        None => Ok(list.iter().filter(|gtid| gtid.domain == domain).max_by_key(|gtid| gtid.sequence).copied()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_list_is_read_or_the_word_that_is_none_is_named() {
        let gtid = |domain, server, sequence| Gtid { domain, server, sequence };
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("0-1-100, 1-2-5\n,"), Ok(vec![gtid(0, 1, 100), gtid(1, 2, 5)]));
        assert_eq!(parse("4294967295-4294967295-18446744073709551615"), Ok(vec![gtid(u32::MAX, u32::MAX, u64::MAX)]));
        for bad in ["1", "0-1", "0-1-", "0-1-2-3", "a-1-2", "+0-1-2", "0-1-18446744073709551616", "4294967296-1-1", "--"] {
            assert_eq!(parse(&format!("0-1-1,{bad}")), Err(GtidError::NotOne(bad.to_owned())));
        }
    }

    #[test]
    fn one_domain_has_a_highest_and_another_one_is_refused_by_name() {
        let of =
            |text: &str| in_domain(&parse(text).unwrap(), 3).map(|it| it.map(|it| (it.server, it.sequence))).map_err(|it| it.to_string());
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("3-1-7,3-2-9,3-9-8"), Ok(Some((2, 9))), "a binary log's state has one of each server");
        assert_eq!(of("0-1-0,3-1-7"), Ok(Some((1, 7))), "a domain in which nothing was written");
        assert!(of("3-1-7,0-1-1").unwrap_err().contains("domain 0 has transactions, and the group's is 3"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[0-9,\\- ]){0,80}") {
            if let Ok(list) = parse(&text) {
                let _ = in_domain(&list, 0);
            }
        }

        #[test]
        fn what_is_written_is_read_again_and_its_highest_is_at_or_above_all(list in vec((0..2_u32, any::<u32>(), any::<u64>()), 0..8)) {
            let list: Vec<Gtid> = list.into_iter().map(|(domain, server, sequence)| Gtid { domain, server, sequence }).collect();
            let text = list.iter().map(Gtid::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(parse(&text), Ok(list.clone()));
            match in_domain(&list, 0) {
                Ok(Some(highest)) => prop_assert!(list.contains(&highest) && list.iter().all(|it| it.sequence <= highest.sequence)),
                Ok(None) => prop_assert!(list.iter().all(|it| it.domain == 1 && it.sequence == 0)),
                Err(error) => prop_assert_eq!(error, GtidError::OtherDomain { own: 0, found: 1 }),
            }
        }
    }
}
