//! Orders, freezes and acknowledgements: what people lay over the plan for a while.

use std::collections::BTreeSet;

use super::{
    apply::{Judge, Part, Step},
    change::End,
    guardrails::Laid,
    limits::{
        ACKNOWLEDGEMENT_LIFE_MAX_MS, ACKNOWLEDGEMENTS_MAX, FREEZES_MAX, OBJECT_MAX, ORDER_LIFE_MAX_MS, ORDERS_MAX, cut, line, name, room,
    },
    outline::Outline,
    refusal::{Refusal, Rule},
    state::{Acknowledgement, Freeze, State},
};
use crate::{
    health::overlay::{Override, OverrideKind, Scope},
    model::{ids::Label, time::Timestamp},
};

impl State {
    /// Removes what ended by `now`.
    pub(super) fn expire(&mut self, now: Timestamp) -> BTreeSet<Part> {
        let before = [self.orders.len(), self.freezes.len(), self.acknowledgements.len()];
        self.orders.retain(|_, order| order.is_in_force(now));
        self.freezes.retain(|_, freeze| now < freeze.until);
        self.acknowledgements.retain(|_, it| now < it.until);
        let after = [self.orders.len(), self.freezes.len(), self.acknowledgements.len()];
        let parts = [Part::Overrides, Part::Freezes, Part::Acknowledgements];
        parts.into_iter().zip(before.into_iter().zip(after)).filter(|(_, (before, after))| before != after).map(|(part, _)| part).collect()
    }
}

impl<'a> Judge<'a> {
    pub(super) fn put_order(&mut self, id: Option<&Label>, kind: OverrideKind, scope: &Scope, end: End) -> Result<Step, Refusal> {
        let state = self.state;
        let id = self.name_of("o-", id, |id| state.orders.contains_key(id))?;
        if kind != OverrideKind::Hold && matches!(scope, Scope::Group(_) | Scope::Everything) {
            let text = format!("{kind} of {}: only a hold can be for that", cut(&scope.to_string(), OBJECT_MAX));
            return Err(Refusal::new(Rule::Invalid, text, "name a region, a service or an endpoint"));
        }
        if matches!(kind, OverrideKind::Admission(_)) {
            let text = format!("{kind} of {}: a return of traffic lays it, and nobody else", cut(&scope.to_string(), OBJECT_MAX));
            return Err(Refusal::new(Rule::Invalid, text, "portolan return REGION; or give the region a small weight"));
        }
        let outline = self.known(scope)?;
        let until = end.check(self.entry.at, ORDER_LIFE_MAX_MS)?;
        if !state.orders.contains_key(&id) {
            room("orders", state.orders.len(), ORDERS_MAX, "lift orders that are no longer needed")?;
        }
        let order = Override {
            id: id.clone(),
            kind,
            scope: scope.clone(),
            who: self.entry.by.name.clone(),
            why: self.entry.reason.clone(),
            at: self.entry.at,
            until: Some(until),
        };
        // A hold only narrows what automation does, so it is welcome in a freeze.
        if kind != OverrideKind::Hold {
            self.check_freeze(scope)?;
            let mut after = state.orders.clone();
            after.insert(id, order.clone());
            let before = Laid { outline, orders: &state.orders };
            let moments = self.moments(scope, until);
            self.check_regions(before, Laid { orders: &after, ..before }, &moments)?;
            if kind != OverrideKind::Maintenance {
                self.check_share(outline, self.entry.moves)?;
            }
            self.check_overrule_outlives(until)?;
        }
        Ok(Step::PutOrder(order))
    }

    pub(super) fn remove_order(&mut self, id: &Label) -> Result<Step, Refusal> {
        let state = self.state;
        let Some(order) = state.orders.get(id) else {
            let text = format!("there is no order `{}`", cut(id.as_str(), OBJECT_MAX));
            return Err(Refusal::new(Rule::UnknownName, text, "it may have ended; see portolan status"));
        };
        // What has ended changes nothing any more.
        if order.is_in_force(self.entry.at) {
            self.check_freeze(&order.scope)?;
            if let Some(outline) = state.outline().filter(|_| order.kind != OverrideKind::Hold) {
                let mut after = state.orders.clone();
                after.remove(id);
                let before = Laid { outline, orders: &state.orders };
                self.check_regions(before, Laid { orders: &after, ..before }, &[self.entry.at])?;
                if order.kind != OverrideKind::Maintenance {
                    self.check_share(outline, self.entry.moves)?;
                }
            }
        }
        Ok(Step::RemoveOrder(id.clone()))
    }

    pub(super) fn freeze(&mut self, id: Option<&Label>, scope: &Scope, end: End, automation: bool) -> Result<Step, Refusal> {
        let state = self.state;
        let id = self.name_of("f-", id, |id| state.freezes.contains_key(id))?;
        if *scope != Scope::Everything {
            self.known(scope)?;
        }
        let until = end.check(self.entry.at, ORDER_LIFE_MAX_MS)?;
        if !state.freezes.contains_key(&id) {
            room("freezes", state.freezes.len(), FREEZES_MAX, "take back freezes that are no longer needed")?;
        }
        let (who, why) = (self.entry.by.name.clone(), self.entry.reason.clone());
        Ok(Step::Freeze(Freeze { id, scope: scope.clone(), from: self.entry.at, until, automation, who, why }))
    }

    pub(super) fn unfreeze(&self, id: &Label) -> Result<Step, Refusal> {
        if self.state.freezes.contains_key(id) {
            return Ok(Step::Unfreeze(id.clone()));
        }
        let text = format!("there is no freeze `{}`", cut(id.as_str(), OBJECT_MAX));
        Err(Refusal::new(Rule::UnknownName, text, "it may have ended; a freeze of the plan ends with its window, or with another plan"))
    }

    pub(super) fn acknowledge(&self, object: &str, end: End) -> Result<Step, Refusal> {
        line("the object", object, OBJECT_MAX)?;
        let until = end.check(self.entry.at, ACKNOWLEDGEMENT_LIFE_MAX_MS)?;
        let known = &self.state.acknowledgements;
        if !known.contains_key(object) {
            room("acknowledgements", known.len(), ACKNOWLEDGEMENTS_MAX, "wait until some have ended")?;
        }
        let (who, why) = (self.entry.by.name.clone(), self.entry.reason.clone());
        Ok(Step::Acknowledge(object.to_owned(), Acknowledgement { who, why, at: self.entry.at, until }))
    }

    /// The name given, or one made of the entry's index, which no other entry has. A name of that form cannot be given to something new, so
    /// that it never stands for two things.
    fn name_of(&self, prefix: &str, given: Option<&Label>, is_known: impl Fn(&Label) -> bool) -> Result<Label, Refusal> {
        let Some(given) = given else { return Ok(Label::new(&format!("{prefix}{}", self.index))) };
        name("the name", given.as_str())?;
        let is_made = given.as_str().strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|octet| octet.is_ascii_digit()));
        if is_made && !is_known(given) {
            let text = format!("`{given}` is a name of the form that the cluster makes, and nothing has it");
            return Err(Refusal::new(Rule::Invalid, text, "choose another name, or none"));
        }
        Ok(given.clone())
    }

    /// The outline of the plan, when it has what the scope names.
    fn known(&self, scope: &Scope) -> Result<&'a Outline, Refusal> {
        let state = self.state;
        let Some(outline) = state.outline() else {
            let text = format!("there is no plan yet, so {} is unknown", cut(&scope.to_string(), OBJECT_MAX));
            return Err(Refusal::new(Rule::UnknownName, text, "put a plan in force first"));
        };
        let unknown = |text: String| Refusal::new(Rule::UnknownName, cut(&text, OBJECT_MAX), "see portolan status -o wide for the names");
        outline.knows(scope).map_err(unknown)?;
        Ok(outline)
    }
}
