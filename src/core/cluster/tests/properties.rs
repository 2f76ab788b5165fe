//! What holds for every log.

use proptest::prelude::*;

use super::random::{entries, logs};
use crate::{
    cluster::{
        Applied, Change, Entry, Halt, Outcome, Rule, State,
        audit::{AuditEntry, Place, verify},
        limits::{ACKNOWLEDGEMENTS_MAX, FREEZES_MAX, NODES_MAX, ORDERS_MAX, REFUSED_NODES_MAX},
    },
    failover::{
        group::{HeldFor, OPERATIONS_KEPT, Phase},
        step::Step,
    },
    health::overlay::{OverrideKind, Scope},
    model::time::Timestamp,
};

/// Applies a log; indices have gaps, because Raft has entries of its own.
fn run(state: &mut State, from: usize, log: &[Entry]) -> Vec<Result<Applied, Halt>> {
    log.iter().enumerate().map(|(i, entry)| state.apply(3 * (from + i) as u64 + 1, entry)).collect()
}

/// The links of a log.
fn chain(log: &[Entry]) -> (State, Vec<AuditEntry>) {
    let mut state = State::supporting(9);
    let applied = run(&mut state, 0, log);
    (state, applied.into_iter().filter_map(|it| it.ok()?.audit).collect())
}

proptest! {
    #[test]
    fn the_same_entries_give_the_same_octets(log in logs()) {
        let (mut one, mut other) = (State::supporting(9), State::supporting(9));
        let applied = run(&mut one, 0, &log);
        for (i, entry) in log.iter().enumerate() {
            let octets = entry.encode().unwrap();
            prop_assert_eq!(&Entry::decode(&octets, 9).unwrap(), entry);
            prop_assert_eq!(&other.apply_octets(3 * i as u64 + 1, &octets), &applied[i]);
        }
        prop_assert_eq!(one.snapshot(), other.snapshot());
    }

    #[test]
    fn a_snapshot_at_any_point_and_the_rest_are_the_whole(log in logs(), cut: prop::sample::Index) {
        let (mut whole, mut part) = (State::supporting(9), State::supporting(9));
        run(&mut whole, 0, &log);
        let cut = cut.index(log.len());
        run(&mut part, 0, &log[..cut]);
        let mut part = State::restore(&part.snapshot(), 9).unwrap();
        run(&mut part, cut, &log[cut..]);
        prop_assert_eq!(part.snapshot(), whole.snapshot());
        prop_assert_eq!(part, whole);
    }

    #[test]
    fn a_refusal_changes_the_chain_only_and_a_repeat_nothing(log in logs()) {
        let mut state = State::supporting(9);
        for (i, entry) in log.iter().enumerate() {
            let before = state.clone();
            let index = 3 * i as u64 + 1;
            let Ok(applied) = state.apply(index, entry) else { continue };
            let mut after = state.clone();
            if applied.repeated {
                prop_assert_eq!(&after, &before);
                prop_assert!(entry.request_id.is_some() && applied.audit.is_none());
                continue;
            }
            prop_assert!(applied.audit.is_some());
            if matches!(applied.outcome, Outcome::Rejected(_)) {
                prop_assert!(applied.touched.is_empty());
                after.audit = before.audit.clone();
                if entry.request_id.is_some() {
                    after.requests = before.requests.clone();
                }
                prop_assert_eq!(&after, &before);
            }
            // Said again at once: the same outcome, without effect. What no id can remember is judged anew.
            let reused = matches!(&applied.outcome, Outcome::Rejected(refusal) if refusal.rule == Rule::RequestReused);
            let forgotten = reused || entry.check().is_err();
            if entry.request_id.is_some() && !forgotten {
                let told = state.snapshot();
                let again = state.apply(index + 1, entry).unwrap();
                prop_assert!(again.repeated && again.outcome == applied.outcome);
                prop_assert_eq!(state.snapshot(), told);
            }
        }
    }

    #[test]
    fn everything_is_bounded_named_and_ends(log in logs()) {
        let mut state = State::supporting(9);
        run(&mut state, 0, &log);
        prop_assert!(state.orders.len() <= ORDERS_MAX && state.freezes.len() <= FREEZES_MAX);
        prop_assert!(state.acknowledgements.len() <= ACKNOWLEDGEMENTS_MAX);
        prop_assert!(state.nodes.len() <= NODES_MAX && state.refused.len() <= REFUSED_NODES_MAX);
        for order in state.overrides() {
            prop_assert!(order.until.is_some_and(|until| until > order.at), "{order}");
            prop_assert!(!order.why.is_empty() && !order.who.is_empty());
            prop_assert!(order.kind == OverrideKind::Hold || !matches!(order.scope, Scope::Group(_) | Scope::Everything));
        }
        for known in state.nodes() {
            prop_assert!(!state.is_refused(known.node.id));
            let same = state.nodes().filter(|it| it.node.name == known.node.name && it.node.role.votes() == known.node.role.votes());
            prop_assert_eq!(same.count(), 1);
            prop_assert!(known.node.feature_level >= state.feature_level());
        }
        state.audit().verify().unwrap();
    }

    /// Steps of people that change nobody's right to write: no wait is shortened, nothing is granted, and only the validation is left out.
    #[test]
    fn what_people_do_grants_nothing_and_skips_the_validation_only(log in logs()) {
        let mut state = State::supporting(9);
        for (i, entry) in log.iter().enumerate() {
            let before = state.groups.clone();
            let Ok(applied) = state.apply(3 * i as u64 + 1, entry) else { continue };
            let Change::Group { group, step } = &entry.change else { continue };
            if applied.touched.is_empty() {
                continue;
            }
            let (was, is) = (before.get(group).cloned().unwrap_or_default(), state.groups[group].clone());
            prop_assert!(is.ended().count() <= OPERATIONS_KEPT);
            let closed = is.latest.as_ref().map(|closed| &closed.operation);
            let (then, now) = (was.operation.as_ref(), is.operation.as_ref().or(closed));
            match step {
                Step::Reject { .. } | Step::Retry { .. } | Step::Skip { .. } | Step::Assert { .. } | Step::Release { .. } => {
                    prop_assert_eq!((&was.grant, was.token), (&is.grant, is.token), "{}", step);
                    let (then, now) = (then.map(|it| it.phase), now.map(|it| it.phase));
                    let is_skip = matches!(step, Step::Skip { .. }) && (then, now) == (Some(Phase::Promoted), Some(Phase::Verified));
                    let is_of_none = matches!(step, Step::Release { .. });
                    prop_assert!(then == now || is_skip || is_of_none, "{}: {:?}, {:?}", step, then, now);
                }
                Step::Turn { .. } => {
                    let held = then.and_then(|it| it.held.as_ref()).map(|held| held.reason);
                    prop_assert_eq!(held, Some(HeldFor::SwitchoverUnanswered));
                    prop_assert_eq!(&was.grant, &is.grant);
                }
                _ => {}
            }
            if let (true, Some(now)) = (step.is_by_a_person() && !matches!(step, Step::Release { .. }), now) {
                let act = now.acts.last().unwrap();
                prop_assert_eq!((&act.who, &act.why, act.index), (&entry.by.name, &entry.reason, 3 * i as u64 + 1));
            }
        }
    }

    #[test]
    fn expiring_takes_all_that_ended_and_nothing_else(log in logs(), now in 0_i64..10_000) {
        let mut state = State::supporting(9);
        run(&mut state, 0, &log);
        prop_assume!(state.halted().is_none());
        let at = Timestamp(super::drill::START.0 + now * 1000);
        let before = state.clone();
        let applied = state.apply(1_000_000, &Entry { at, ..super::random::entry(Change::Expire) }).unwrap();
        prop_assert!(state.next_end().is_none_or(|end| end > at));
        prop_assert_eq!(applied.touched.is_empty(), before.next_end().is_none_or(|end| end > at));
        prop_assert!(before.overrides().iter().filter(|it| it.is_in_force(at)).eq(state.overrides().iter()));
    }

    #[test]
    fn the_chain_shows_any_flipped_bit(log in logs(), link: prop::sample::Index, octet: prop::sample::Index, bit in 0_u8..8) {
        let (state, links) = chain(&log);
        prop_assert_eq!(verify(&links, Place::default()), Ok(state.audit().head()));
        let position = link.index(links.len());
        let mut text = serde_json::to_vec(&links[position]).unwrap();
        let octet = octet.index(text.len());
        text[octet] ^= 1 << bit;
        // What cannot be read is found, too.
        if let Ok(changed) = serde_json::from_slice::<AuditEntry>(&text) {
            let mut links = links;
            links[position] = changed;
            let found = verify(&links, Place::default());
            let first = found.map_err(|found| found.position);
            prop_assert!(first == Err(position) || first == Err(position + 1), "{first:?}: {}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn the_chain_shows_links_that_left_or_changed_places(log in logs(), one: prop::sample::Index, other: prop::sample::Index) {
        let (_, links) = chain(&log);
        prop_assume!(links.len() >= 3);
        let (one, other) = (one.index(links.len() - 1), other.index(links.len()));
        let mut shorter = links.clone();
        shorter.remove(one);
        prop_assert_eq!(verify(&shorter, Place::default()).unwrap_err().position, one);
        let mut swapped = links;
        swapped.swap(one, other);
        prop_assert_eq!(verify(&swapped, Place::default()).is_err(), one != other);
    }

    #[test]
    fn a_halted_machine_does_nothing_more(log in logs(), entry in entries(), at: prop::sample::Index, kind in 13_u32..1000) {
        let mut state = State::supporting(9);
        let at = at.index(log.len());
        run(&mut state, 0, &log[..at]);
        prop_assume!(state.halted().is_none());
        let before = state.snapshot();
        let octets = format!("{{\"kind\":{kind},\"feature_level\":10,\"entry\":[]}}");
        let halt = state.apply_octets(3 * at as u64 + 1, octets.as_bytes()).unwrap_err();
        prop_assert_eq!(&halt, &Halt::UpgradeRequired { kind, feature_level: 10 });
        prop_assert_eq!(state.apply(3 * at as u64 + 2, &entry).unwrap_err(), halt);
        prop_assert_eq!(state.snapshot(), before);
    }
}
