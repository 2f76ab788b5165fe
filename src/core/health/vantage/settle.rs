//! Brings every check whose voices changed to its new standing, and tells what steering has to know of it.

use std::collections::BTreeSet;

use crate::{
    health::{
        book::calculated::{Input, evaluate},
        endpoint::{NEVER, Touch},
    },
    model::{ids::CheckIdx, time::Now, verdict::Health},
};

use super::{
    Effect, Vantage,
    provenance::Turn,
    report::Judgement,
    slot::{Source, Standing, Way, column_of},
};

impl Vantage {
    /// Weighs what is dirty, and what is calculated from it. O(voices) for each.
    pub(super) fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.dirty.is_empty() {
            return;
        }
        self.n_changes += 1;
        if std::mem::take(&mut self.is_reunited_now) {
            self.reunited = Some(now.tick);
        }
        let mut calculated = BTreeSet::new();
        for check in std::mem::take(&mut self.dirty) {
            let standing = match self.slots[check.get()].way {
                Way::Probed | Way::Heard => self.weigh(now, check),
                Way::Calculated => {
                    self.formulas.queue(check, &mut calculated);
                    continue;
                }
                Way::Always => continue,
            };
            if self.stand(now, check, standing, effects) {
                self.formulas.queue_dependents(check, &mut calculated);
            }
        }
        while let Some((_, check)) = calculated.pop_first() {
            let standing = self.derive(now, check);
            if self.stand(now, check, standing, effects) {
                self.formulas.queue_dependents(check, &mut calculated);
            }
        }
    }

    fn weigh(&mut self, now: Now, check: CheckIdx) -> Standing {
        let (outlook, observers, columns) = (self.outlook(), &self.observers, &self.columns);
        let slot = &mut self.slots[check.get()];
        let regions = slot.regions(columns.len(), |id| column_of(observers, columns, id));
        let before = slot.hold_until;
        let standing = slot.weigh(now.tick, &regions, outlook);
        let after = slot.hold_until;
        if before != after {
            if let Some(at) = before {
                self.holds.remove(&(at, check));
            }
            if let Some(at) = after {
                self.holds.insert((at, check));
            }
        }
        standing
    }

    /// A calculated check: proven when what is proven decides it, whatever the others turn out to be; else as steering takes its parts.
    fn derive(&self, now: Now, check: CheckIdx) -> Standing {
        let slot = &self.slots[check.get()];
        let Some(formula) = self.formulas.get(check) else { return slot.standing.clone() };
        let parts: Vec<&Standing> = formula.of.iter().map(|child| &self.slots[child.get()].standing).collect();
        let input = |health| Input { health, next_change: NEVER, judged: true };
        let of = |health: &dyn Fn(&Standing) -> Health| {
            evaluate(&parts.iter().map(|part| input(health(part))).collect::<Vec<_>>(), formula.at_least)
        };
        let is_proven = |part: &Standing| matches!(part.source, Source::Proven(_) | Source::Always);
        let proven = of(&|part| if is_proven(part) { part.judgement.health } else { Health::Unknown });
        let (outcome, source) = if proven.health == Health::Unknown {
            let weakest = parts.iter().map(|part| part.source).filter(|source| !matches!(source, Source::Proven(_) | Source::Always));
            (of(&|part| part.judgement.health), weakest.max_by_key(weakness).unwrap_or(Source::Own))
        } else {
            let proofs = parts.iter().filter(|part| is_proven(part)).map(|part| part.source);
            (proven, proofs.max_by_key(weakness).unwrap_or(Source::Always))
        };
        let before = &slot.standing.judgement;
        if before.health == outcome.health {
            let failure = outcome.failure.map(std::sync::Arc::new);
            return Standing { judgement: Judgement { failure, ..before.clone() }, source };
        }
        let is_return = (before.health, outcome.health) == (Health::Down, Health::Up);
        let judgement = Judgement {
            health: outcome.health,
            since: (outcome.health != Health::Unknown).then_some(now.wall),
            returned_at: is_return.then_some(now.wall),
            failure: outcome.failure.map(std::sync::Arc::new),
        };
        Standing { judgement, source }
    }

    /// Sets a standing; `true` when something changed that other checks are calculated from.
    fn stand(&mut self, now: Now, check: CheckIdx, standing: Standing, effects: &mut Vec<Effect>) -> bool {
        let hold = self.settings.unproven_hold;
        let slot = &mut self.slots[check.get()];
        if slot.standing == standing {
            return false;
        }
        let before = std::mem::replace(&mut slot.standing, standing);
        let after = &slot.standing;
        let (was, is) = (before.judgement.essence(), after.judgement.essence());
        let is_turn = was.0 != is.0;
        let touch = if is_turn || was.3 != is.3 {
            Some(Touch::Verdict)
        } else if was != is || std::mem::discriminant(&before.source) != std::mem::discriminant(&after.source) {
            Some(Touch::NextChange)
        } else {
            None
        };
        if let Some(touch) = touch {
            let turn = is_turn.then(|| Turn {
                check,
                at: now.wall,
                from: was.0,
                to: is.0,
                provenance: slot.provenance(now.tick, hold),
                failure: after.judgement.failure.clone(),
            });
            effects.push(Effect::Touched { check, touch, turn });
        }
        is_turn || before.source != after.source
    }
}

/// How little a source is worth; of the worst one a calculated check is made.
fn weakness(source: &Source) -> (u8, u16) {
    match source {
        Source::Always => (0, 0),
        Source::Proven(votes) => (1, u16::MAX - votes.regions_for),
        Source::Held => (2, 0),
        Source::Own => (3, 0),
        Source::Blind => (4, 0),
    }
}
