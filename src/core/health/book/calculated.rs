//! Checks that are calculated from others: who depends on whom, and what follows.
//!
//! Three values, so that unknown stays unknown: up when enough are up whatever the unknown ones turn out to be, down when too few can
//! become up, else unknown. Chains are evaluated in the order of their rank (longest way to a check that is not calculated), each check
//! once per event.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::model::{
    check::{Check, Failure, FailureCategory, ProbeKind},
    ids::CheckIdx,
    verdict::Health,
};

use super::super::endpoint::NEVER;

/// One calculated check.
#[derive(Clone, Debug)]
pub(in crate::health) struct Formula {
    /// Existing checks only.
    pub(in crate::health) of: Vec<CheckIdx>,
    pub(in crate::health) at_least: u16,
    /// 1 when it is calculated from checks that are not.
    rank: u32,
    /// Shortest time to another result, kept because chains read it.
    pub(in crate::health) next_change: Duration,
}

/// All calculated checks of a topology.
#[derive(Clone, Debug, Default)]
pub(in crate::health) struct Formulas {
    by_check: BTreeMap<CheckIdx, Formula>,
    dependents: BTreeMap<CheckIdx, Vec<CheckIdx>>,
}

/// What a formula reads of a check that it is calculated from.
#[derive(Clone, Copy, Debug)]
pub(in crate::health) struct Input {
    pub(in crate::health) health: Health,
    pub(in crate::health) next_change: Duration,
    pub(in crate::health) judged: bool,
}

/// What follows from the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::health) struct Outcome {
    pub(in crate::health) health: Health,
    pub(in crate::health) failure: Option<Failure>,
    pub(in crate::health) next_change: Duration,
    pub(in crate::health) judged: bool,
}

impl Formulas {
    /// Reads the dependencies. A check that depends on itself has no rank and stays unknown; plans with such a circle are refused before.
    ///
    /// O(n + d log n) for n checks and d dependencies (Kahn's algorithm).
    pub(in crate::health) fn new(checks: &[Check]) -> Self {
        let mut formulas = Self::default();
        let mut pending: BTreeMap<CheckIdx, (Formula, usize)> = BTreeMap::new();
        let is_calculated = |check: CheckIdx| matches!(checks[check.get()].probe.kind, ProbeKind::Calculated { .. });
        let mut ready = VecDeque::new();
        for (position, check) in checks.iter().enumerate() {
            let ProbeKind::Calculated { of, at_least } = &check.probe.kind else { continue };
            let dependent = CheckIdx::at(position);
            let of: Vec<CheckIdx> = of.iter().copied().filter(|child| child.get() < checks.len()).collect();
            of.iter().for_each(|child| formulas.dependents.entry(*child).or_default().push(dependent));
            let n_open = of.iter().filter(|child| is_calculated(**child)).count();
            pending.insert(dependent, (Formula { of, at_least: *at_least, rank: 1, next_change: NEVER }, n_open));
            if n_open == 0 {
                ready.push_back(dependent);
            }
        }
        while let Some(check) = ready.pop_front() {
            let Some((formula, _)) = pending.remove(&check) else { continue };
            for dependent in formulas.dependents.get(&check).into_iter().flatten() {
                let Some((waiting, n_open)) = pending.get_mut(dependent) else { continue };
                waiting.rank = waiting.rank.max(formula.rank + 1);
                *n_open -= 1;
                if *n_open == 0 {
                    ready.push_back(*dependent);
                }
            }
            formulas.by_check.insert(check, formula);
        }
        formulas
    }

    /// All checks in an order in which each stands after those that it is calculated from.
    pub(in crate::health) fn in_order(&self) -> Vec<CheckIdx> {
        let mut order: Vec<(u32, CheckIdx)> = self.by_check.iter().map(|(check, formula)| (formula.rank, *check)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, check)| check).collect()
    }

    /// Adds the direct dependents of `check` to a work list ordered by rank.
    pub(in crate::health) fn queue_dependents(&self, check: CheckIdx, work: &mut BTreeSet<(u32, CheckIdx)>) {
        for dependent in self.dependents.get(&check).into_iter().flatten() {
            if let Some(formula) = self.by_check.get(dependent) {
                work.insert((formula.rank, *dependent));
            }
        }
    }

    /// Adds a calculated check itself to such a work list.
    pub(in crate::health) fn queue(&self, check: CheckIdx, work: &mut BTreeSet<(u32, CheckIdx)>) {
        if let Some(formula) = self.by_check.get(&check) {
            work.insert((formula.rank, check));
        }
    }

    pub(in crate::health) fn get(&self, check: CheckIdx) -> Option<&Formula> {
        self.by_check.get(&check)
    }

    /// Keeps the newly found time to the next change and gives the one before.
    pub(in crate::health) fn set_next_change(&mut self, check: CheckIdx, next_change: Duration) -> Option<Duration> {
        self.by_check.get_mut(&check).map(|formula| std::mem::replace(&mut formula.next_change, next_change))
    }
}

/// Evaluates "at least `at_least` are up". O(n log n) in the number of inputs.
pub(in crate::health) fn evaluate(inputs: &[Input], at_least: u16) -> Outcome {
    let at_least = usize::from(at_least);
    let n = |health: Health| inputs.iter().filter(|input| input.health == health).count();
    let (up, unknown) = (n(Health::Up), n(Health::Unknown));
    let health = if up >= at_least {
        Health::Up
    } else if up + unknown < at_least {
        Health::Down
    } else {
        Health::Unknown
    };
    let next_change = match health {
        // So many of those that are up must fall; they do so one after the other by their own times.
        Health::Up => nth_soonest(inputs, |input| input.health == Health::Up, (up - at_least).saturating_add(1)),
        Health::Down => nth_soonest(inputs, |input| input.health != Health::Up, at_least - up),
        Health::Unknown => nth_soonest(inputs, |_| true, 1),
    };
    let failure = (health == Health::Down)
        .then(|| Failure::new(FailureCategory::Calculated, &format!("{up} of {} checks are up, {at_least} needed", inputs.len())));
    Outcome { health, failure, next_change, judged: inputs.iter().all(|input| input.judged) }
}

fn nth_soonest(inputs: &[Input], can_turn: impl Fn(&Input) -> bool, nth: usize) -> Duration {
    let mut times: Vec<Duration> = inputs.iter().filter(|input| can_turn(input)).map(|input| input.next_change).collect();
    times.sort_unstable();
    times.get(nth.saturating_sub(1)).copied().unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `U`p, `D`own, `?`; each with its time to the next change in seconds.
    fn check(inputs: &[(char, u64)], at_least: u16, expected: &str) {
        let inputs: Vec<Input> = inputs
            .iter()
            .map(|&(health, seconds)| Input {
                health: match health {
                    'U' => Health::Up,
                    'D' => Health::Down,
                    _ => Health::Unknown,
                },
                next_change: Duration::from_secs(seconds),
                judged: true,
            })
            .collect();
        let outcome = evaluate(&inputs, at_least);
        assert_eq!(format!("{} {}", outcome.health, outcome.next_change.as_secs()), expected, "{inputs:?} at least {at_least}");
    }

    #[test]
    fn truth_table() {
        let never = NEVER.as_secs();
        check(&[('U', 34), ('U', 34)], 1, "UP 34");
        check(&[('U', 2), ('U', 34), ('U', 36)], 2, "UP 34");
        check(&[('U', 2), ('U', 34)], 2, "UP 2");
        check(&[('U', 2), ('D', 12)], 1, "UP 2");
        check(&[('D', 12), ('U', 2)], 2, "DOWN 12");
        check(&[('D', 4), ('D', 12), ('D', 14)], 2, "DOWN 12");
        check(&[('?', 2), ('U', 34)], 1, "UP 34");
        check(&[('?', 2), ('U', 34)], 2, "UNKNOWN 2");
        check(&[('?', 2), ('D', 12)], 1, "UNKNOWN 2");
        check(&[('?', 2), ('D', 12)], 2, "DOWN 12");
        check(&[('D', 12)], 3, &format!("DOWN {never}"));
        check(&[], 1, &format!("DOWN {never}"));
        check(&[('U', 34)], 0, &format!("UP {never}"));
    }
}
