//! From the voices of single observers to what a region says, and from regions to what is proven.
//!
//! Inside a region the probers vote; a tie is up. Among regions more than half of *all* must agree, so that those who are silent can never
//! have said otherwise, and two sides of a cut can never prove opposites.
//!
//! Invariants: what is proven is said by more than half of all vantage regions; the order of voices does not matter, so that every node
//! makes the same of the same statements.

use std::sync::Arc;

use crate::model::{check::Failure, verdict::Health};

use super::{provenance::Votes, report::Judgement};

/// What one region says; `None`: nobody in it has a judgement. `voices` are those of its observers that count.
pub(super) fn of_region<'a>(voices: impl Iterator<Item = &'a Judgement> + Clone) -> Option<Judgement> {
    let n = |health| voices.clone().filter(|voice| voice.health == health).count();
    let (up, down) = (n(Health::Up), n(Health::Down));
    if up + down == 0 {
        return None;
    }
    let health = if down > up { Health::Down } else { Health::Up };
    let agreeing = voices.filter(|voice| voice.health == health);
    Some(Judgement {
        health,
        since: agreeing.clone().filter_map(|voice| voice.since).min(),
        returned_at: agreeing.clone().map(|voice| voice.returned_at).min().flatten(),
        // An answer that one of them got, however wrong, shows that the endpoint can be reached.
        failure: first(agreeing.filter_map(|voice| voice.failure.as_ref())),
    })
}

/// What more than half of all regions say, if they do. `regions` has one place for each vantage region.
pub(super) fn proven(regions: &[Option<Judgement>]) -> Option<(Judgement, Votes)> {
    let needed = regions.len() / 2 + 1;
    let agree = |health| regions.iter().flatten().filter(move |opinion| opinion.health == health);
    let health = [Health::Up, Health::Down].into_iter().find(|&health| agree(health).count() >= needed)?;
    let n_for = agree(health).count();
    // The moment at which enough of them said so: the same on every node, however late it heard them.
    let since = nth(agree(health).map(|opinion| opinion.since), needed - 1);
    let returned_at = nth(agree(health).map(|opinion| opinion.returned_at), needed - 1);
    let n_unreachable = agree(health).filter(|opinion| opinion.failure.as_ref().is_some_and(|it| it.category.is_unreachable())).count();
    let is_unreachable = n_unreachable * 2 > n_for;
    let failures = agree(health).filter_map(|opinion| opinion.failure.as_ref());
    let failure = first(failures.filter(|failure| failure.category.is_unreachable() == is_unreachable));
    let n_against = regions.iter().flatten().count() - n_for;
    Some((Judgement { health, since, returned_at, failure }, votes(n_for, n_against, regions.len())))
}

fn votes(n_for: usize, n_against: usize, n: usize) -> Votes {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    Votes { regions_for: count(n_for), against: count(n_against), silent: count(n - n_for - n_against) }
}

fn nth<T: Ord>(values: impl Iterator<Item = Option<T>>, nth: usize) -> Option<T> {
    let mut values: Vec<Option<T>> = values.collect();
    values.sort_unstable();
    values.into_iter().nth(nth).flatten()
}

/// The one that stands for all: any rule does that gives everybody the same. One that shows an answer stands before the others.
fn first<'a>(failures: impl Iterator<Item = &'a Arc<Failure>>) -> Option<Arc<Failure>> {
    let rank = |failure: &Arc<Failure>| (failure.category.is_unreachable(), failure.category);
    failures.min_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.detail.cmp(&b.detail))).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{check::FailureCategory, time::Timestamp};

    fn says(word: &str, since: i64) -> Judgement {
        let down = |category| (Health::Down, Some(Arc::new(Failure::new(category, "scripted"))));
        let (health, failure) = match word {
            "up" => (Health::Up, None),
            "down" => down(FailureCategory::Connect),
            "wrong" => down(FailureCategory::Status),
            _ => (Health::Unknown, None),
        };
        Judgement { health, since: Some(Timestamp(since)), returned_at: None, failure }
    }

    /// Regions apart by `|`, probers by blanks.
    fn check(text: &str, expected: &str) {
        let mut since = 0;
        let regions: Vec<Option<Judgement>> = text
            .split('|')
            .map(|region| {
                let voices: Vec<Judgement> = region
                    .split_whitespace()
                    .map(|word| {
                        since += 1;
                        says(word, since)
                    })
                    .collect();
                of_region(voices.iter())
            })
            .collect();
        let given = proven(&regions).map_or_else(
            || "nothing".to_owned(),
            |(judgement, Votes { regions_for, against, silent })| {
                let failure = judgement.failure.map_or_else(String::new, |failure| format!(" {}", failure.category));
                format!("{}{failure} {regions_for}:{against}:{silent} since {}", judgement.health, judgement.since.unwrap().0)
            },
        );
        assert_eq!(given, expected, "{text}");
    }

    #[test]
    fn truth_table() {
        check("up | up | up", "UP 3:0:0 since 2");
        check("down | down | up", "DOWN connect 2:1:0 since 2");
        check("down | down | ", "DOWN connect 2:0:1 since 2");
        check("down | up | ", "nothing");
        check("down |  | ", "nothing");
        check("down down | up | unknown", "nothing");
        check("up down | up | ", "UP 2:0:1 since 3");
        check("up down down | down | ", "DOWN connect 2:0:1 since 4");
        check("down | down | up | up", "nothing");
        check("down | down |  | ", "nothing");
        check("down | wrong | wrong", "DOWN status 3:0:0 since 2");
        check("down | down | wrong", "DOWN connect 3:0:0 since 2");
        check("down wrong | down wrong | ", "DOWN status 2:0:1 since 3");
        check("down | down | up | up | up", "UP 3:2:0 since 5");
        check("up", "UP 1:0:0 since 1");
        check("", "nothing");
    }
}
