//! Names by a pattern, as shells know it.

/// `*` stands for any characters, also none and also `/`, as in `find -path`; `?` for one; everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether the whole name fits. Costs at most the product of both lengths.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        // Behind the last star, and where in the name what it stands for ends.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p + 1, n));
                    p += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == name[n] => (p, n) = (p + 1, n + 1),
                _ => {
                    let Some((behind, end)) = star else { return false };
                    star = Some((behind, end + 1));
                    (p, n) = (behind, end + 1);
                }
            }
        }
        pattern[p..].iter().all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Pattern(pattern.to_owned()).fits(name)
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(fits("*_backup_stop_sentinel.json", "base_0000_backup_stop_sentinel.json"));
        assert!(fits("*/backup.manifest", "main/20261130-010000F/backup.manifest"));
        assert!(!fits("*/backup.manifest", "main/20261130-010000F/backup.manifest.copy"));
        assert!(fits("db-????.dump", "db-2026.dump") && !fits("db-????.dump", "db-26.dump"));
        assert!(fits("*", "") && fits("", "") && !fits("", "a") && !fits("?", ""));
        assert!(fits("*a*b", "xaxbxab") && !fits("*a*b", "xaxbxa"));
    }

    /// By the definition, slowly.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => by_definition(&pattern[1..], name) || !name.is_empty() && by_definition(pattern, &name[1..]),
            (Some(b'?'), Some(_)) => by_definition(&pattern[1..], &name[1..]),
            (Some(wanted), Some(given)) if wanted == given => by_definition(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_the_definition_has_it(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(fits(&pattern, &name), by_definition(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
