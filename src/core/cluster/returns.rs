//! Returns of traffic: begun, hurried on and taken back by people, led on by the leader.
//!
//! The order that drains the region becomes an admission of the same name, so that there is never a moment with both or with neither.

use std::{collections::BTreeSet, time::Duration};

use super::{
    apply::{Judge, Part, Step as Commit},
    entry::Role,
    groups::wrong,
    guardrails::Laid,
    limits::{AUDIT_TEXT_MAX, NAME_MAX, REASON_MAX, RETURNS_MAX, cut, line},
    refusal::{Refusal, Rule},
    state::State,
};
use crate::{
    health::overlay::{Override, OverrideKind, Scope},
    model::{ids::Label, time::Timestamp, units::Share},
    recovery::traffic_return::{Ended, ORDER_LASTS, Outcome, TrafficReturn, problem},
};

impl State {
    /// Returns of traffic, open ones and the last ones that ended, the newest first.
    pub fn returns(&self) -> impl Iterator<Item = &TrafficReturn> {
        self.returns.values().rev()
    }

    /// A return of traffic; `None`: there was none of this id, or it is forgotten.
    #[must_use]
    pub fn traffic_return(&self, id: u64) -> Option<&TrafficReturn> {
        self.returns.get(&id)
    }

    /// The order that drains a region for everybody.
    ///
    /// # Errors
    /// There is none, or more than one: each has its own reason, and whoever lets traffic in does not know the others.
    pub fn drain_of(&self, region: &Label, now: Timestamp) -> Result<&Override, String> {
        let drains = |it: &&Override| it.kind == OverrideKind::Drain && it.is_in_force(now) && it.scope == Scope::Region(region.clone());
        let all: Vec<&Override> = self.orders.values().filter(drains).collect();
        match all[..] {
            [one] => Ok(one),
            [] => Err(format!("region {region} is not drained")),
            [one, other, ..] => Err(format!("{} orders drain it, {} ({}) and {} ({})", all.len(), one.id, one.why, other.id, other.why)),
        }
    }

    /// As it is from now on, with its order; the oldest that ended leave when there are too many.
    pub(super) fn put_return(&mut self, it: TrafficReturn, order: Option<Override>) {
        match order {
            Some(order) => self.orders.insert(order.id.clone(), order),
            None => self.orders.remove(&it.order),
        };
        self.returns.insert(it.id, it);
        while self.returns.len() > RETURNS_MAX {
            let oldest = self.returns.values().find(|it| it.ended.is_some()).map(|it| it.id);
            let Some(oldest) = oldest else { return };
            self.returns.remove(&oldest);
        }
    }

    /// A return ends when its order is not there any more, is another one, or has ended; or when somebody drains its region.
    pub(super) fn follow_returns(&mut self, touched: &BTreeSet<Part>, at: Timestamp) -> Vec<Part> {
        if !touched.contains(&Part::Overrides) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for it in self.returns.values_mut().filter(|it| it.ended.is_none()) {
            let admits = |order: &&Override| matches!(order.kind, OverrideKind::Admission(_)) && order.is_in_force(at);
            let drains = |order: &&Override| order.kind == OverrideKind::Drain && order.is_in_force(at);
            let is_drained = self.orders.values().filter(drains).find(|order| order.scope == Scope::Region(it.region.clone()));
            let why = match (self.orders.get(&it.order).filter(admits), is_drained) {
                (Some(_), None) => continue,
                (Some(_), Some(drain)) => format!("{} drains it", drain.id),
                (None, _) => format!("its order {} is gone", it.order),
            };
            gone.push(it.order.clone());
            it.ended = Some(Ended { at, outcome: Outcome::Overtaken, why });
        }
        if gone.is_empty() {
            return Vec::new();
        }
        // Whatever else has that name by now stays.
        self.orders.retain(|id, order| !(gone.contains(id) && matches!(order.kind, OverrideKind::Admission(_))));
        vec![Part::Returns, Part::Overrides]
    }
}

fn unknown(id: u64) -> Refusal {
    wrong(Rule::UnknownName, format!("there is no return-{id}"), "see portolan returns")
}

impl Judge<'_> {
    pub(super) fn begin_return(&mut self, region: &Label, steps: &[Share], step_time: Duration) -> Result<Commit, Refusal> {
        let state = self.state;
        if let Some(problem) = problem(steps, step_time) {
            return Err(wrong(Rule::Invalid, problem, "for example: --step 10% --step 50% --step-time 5m"));
        }
        if let Some(open) = state.returns.values().find(|it| it.ended.is_none() && it.region == *region) {
            let text = format!("return-{} of {region} is open, by {}: {}", open.id, open.who, open.why);
            let remedy = format!("hurry it on: portolan advance return-{}; or take it back: portolan cancel return-{}", open.id, open.id);
            return Err(Refusal::new(Rule::OperationOpen, cut(&text, AUDIT_TEXT_MAX), remedy));
        }
        if state.returns.values().filter(|it| it.ended.is_none()).count() >= RETURNS_MAX {
            return Err(wrong(Rule::Full, format!("{RETURNS_MAX} returns are open, and no more may be"), "wait until one has ended"));
        }
        if let Some(open) = state.evacuations.values().find(|it| it.ended.is_none() && it.region == *region) {
            let text = format!("evac-{} of {region} is open, by {}: {}", open.id, open.who, open.why);
            let remedy = format!("wait until it has ended, or end it: portolan cancel evac-{}", open.id);
            return Err(Refusal::new(Rule::OperationOpen, cut(&text, AUDIT_TEXT_MAX), remedy));
        }
        let drain = state.drain_of(region, self.entry.at).map_err(|why| {
            let text = cut(&format!("no traffic returns to {}: {why}", cut(region.as_str(), NAME_MAX)), AUDIT_TEXT_MAX);
            wrong(Rule::WrongPhase, text, "see portolan status; portolan undrain region REGION takes the others back")
        })?;
        let it = TrafficReturn {
            id: self.index,
            region: region.clone(),
            who: self.entry.by.name.clone(),
            why: self.entry.reason.clone(),
            at: self.entry.at,
            order: drain.id.clone(),
            steps: steps.to_vec(),
            step_time,
            step: 0,
            since: self.entry.at,
            because: String::new(),
            ended: None,
        };
        self.check_freeze(&drain.scope)?;
        self.check_moved(it.share())?;
        let order = self.order_of(&it, OverrideKind::Admission(it.share()));
        Ok(Commit::Return(Box::new(it), Some(order)))
    }

    /// The next step begins, or the last one is over. The leader waits for the end of a step's time, a person does not.
    pub(super) fn advance_return(&mut self, id: u64) -> Result<Commit, Refusal> {
        let mut it = self.open_return(id)?;
        self.check_reason()?;
        if self.entry.by.role == Role::System && self.entry.at < it.due() {
            let text = format!("return-{id} is at {} until {}", it.share(), it.due());
            return Err(wrong(Rule::WrongPhase, text, "wait, or let a person hurry it on: portolan advance"));
        }
        self.check_freeze(&Scope::Region(it.region.clone()))?;
        let next = it.steps.get(it.step + 1).copied().unwrap_or(Share::FULL);
        self.check_moved(Share::basis_points(next.points().saturating_sub(it.share().points())))?;
        it.because.clear();
        if it.step + 1 >= it.steps.len() {
            it.ended = Some(Ended { at: self.entry.at, outcome: Outcome::Succeeded, why: String::new() });
            return Ok(Commit::Return(Box::new(it), None));
        }
        it.step += 1;
        it.since = self.entry.at;
        let order = self.order_of(&it, OverrideKind::Admission(it.share()));
        Ok(Commit::Return(Box::new(it), Some(order)))
    }

    pub(super) fn note_return(&self, id: u64, because: &str) -> Result<Commit, Refusal> {
        if !because.is_empty() {
            line("why it waits", because, AUDIT_TEXT_MAX)?;
        }
        if self.entry.by.role != Role::System {
            return Err(wrong(Rule::Invalid, "only the leader notes why a return waits", "nothing: it does so by itself"));
        }
        let mut it = self.open_return(id)?;
        if it.because == because {
            return Ok(Commit::Nothing);
        }
        because.clone_into(&mut it.because);
        let order = self.state.orders.get(&it.order).cloned();
        Ok(Commit::Return(Box::new(it), order))
    }

    /// The region is drained again. No freeze stops that, and no limit of what may move: it is the way back to where everything stood.
    pub(super) fn take_back(&mut self, id: u64, why: &str) -> Result<Commit, Refusal> {
        line("why it is taken back", why, AUDIT_TEXT_MAX)?;
        let mut it = self.open_return(id)?;
        self.check_reason()?;
        it.ended = Some(Ended { at: self.entry.at, outcome: Outcome::TakenBack, why: why.to_owned() });
        let said = cut(&format!("return-{id} was taken back: {why}"), REASON_MAX);
        let order = Override { why: said, ..self.order_of(&it, OverrideKind::Drain) };
        if let Some(outline) = self.state.outline() {
            let mut after = self.state.orders.clone();
            after.insert(order.id.clone(), order.clone());
            let before = Laid { outline, orders: &self.state.orders };
            self.check_regions(before, Laid { orders: &after, ..before }, &[self.entry.at])?;
        }
        Ok(Commit::Return(Box::new(it), Some(order)))
    }

    fn open_return(&self, id: u64) -> Result<TrafficReturn, Refusal> {
        let it = self.state.returns.get(&id).cloned().ok_or_else(|| unknown(id))?;
        match &it.ended {
            None => Ok(it),
            Some(ended) => Err(wrong(Rule::WrongPhase, format!("return-{id} is over, {}", ended.outcome), "see portolan returns")),
        }
    }

    /// Of people: the leader's reason is the end of a step's time, or what fired.
    fn check_reason(&self) -> Result<(), Refusal> {
        match self.entry.reason.is_empty() && self.entry.by.role != Role::System {
            true => Err(wrong(Rule::ReasonRequired, "no reason is given", "say why: --reason")),
            false => Ok(()),
        }
    }

    /// `most`: by so much the region's share grows, and no more clients than that can move, wherever they are.
    fn check_moved(&mut self, most: Share) -> Result<(), Refusal> {
        match self.state.outline() {
            Some(outline) => self.check_share(outline, Some(self.entry.moves.unwrap_or(most).min(most))),
            None => Ok(()),
        }
    }

    fn order_of(&self, it: &TrafficReturn, kind: OverrideKind) -> Override {
        Override {
            id: it.order.clone(),
            kind,
            scope: Scope::Region(it.region.clone()),
            who: it.who.clone(),
            why: cut(&format!("return-{}: {}", it.id, it.why), REASON_MAX),
            at: self.entry.at,
            until: Some(self.entry.at + it.step_time + ORDER_LASTS),
        }
    }
}
