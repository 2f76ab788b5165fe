//! Drills of data groups: what may begin, what a decision does to one that is under way, what is proven, and who is let in again.
//!
//! Refused in a freeze and under a hold, beside an operation and beside another drill. A decision, of whoever, ends it: a drill is in nobody's way.
//! One that only looks is let begin under a hold and in a freeze, too, and a decision stands in its trail instead of ending it.
//! Only the leader says how one ended; that it looked is its promise, as with everything that agents answer.

use super::{
    apply::Judge,
    entry::Role,
    groups::{At, wrong},
    limits::{NAME_MAX, count, cut, line},
    refusal::{Refusal, Rule},
};
use crate::{
    failover::{
        group::{Group, Kind, Phase},
        step::Decide,
    },
    health::overlay::Scope,
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp},
    },
    recovery::{
        drill::{
            Aim, Cut, Drill, DrillKind, DrillStep, EVERY, Ended, Figures, LINE_MAX, LINES_MAX, Noted, OBSERVES, Outcome, Proof,
            SCHEDULES_MAX, Schedule, TRAIL_MAX, Verified,
        },
        observed::Notice,
    },
};

/// There, and back.
const OPERATIONS_MAX: usize = 2;

impl Judge<'_> {
    pub(super) fn drill(&mut self, at: At<'_>, name: &Label, group: Group, policy: &Policy, act: &DrillStep) -> Result<Group, Refusal> {
        let is_leader = self.entry.by.role == Role::System;
        if !is_leader && !act.is_by_a_person() {
            return Err(wrong(Rule::Invalid, "only the leader says what came of a drill", "see portolan drill list"));
        }
        match act {
            DrillStep::Start { aim, schedule } => {
                if !aim.kind.only_looks() {
                    self.check_on_hold(name)?;
                    self.check_freeze(&Scope::Group(name.clone()))?;
                }
                at.start_drill(group, policy, aim, *schedule)
            }
            DrillStep::Lift { region } => at.lift(group, region),
            DrillStep::End { drill, outcome, figures, lines } => at.end_drill(group, *drill, *outcome, *figures, lines),
            DrillStep::Cancel { drill } => at.cancel_drill(group, *drill),
            DrillStep::Lifted { region, hook } => Ok(lifted(group, region, hook)),
            DrillStep::Schedule { aim, every, first } => at.schedule(group, policy, aim, *every, *first),
            DrillStep::Unschedule { schedule } => unschedule(group, *schedule),
            DrillStep::Missed { schedule, why } => at.missed(group, *schedule, why),
            DrillStep::Note { drill, notice } => at.notice(group, policy, *drill, notice),
        }
    }
}

impl At<'_> {
    fn start_drill(self, mut group: Group, policy: &Policy, aim: &Aim, schedule: Option<u64>) -> Result<Group, Refusal> {
        if let Some(open) = &group.operation {
            let text = format!("op-{} is open, {}", open.id, open.phase);
            return Err(wrong(Rule::OperationOpen, text, "drill when it has ended: portolan watch"));
        }
        if let Some(open) = &group.drills.open {
            let text = format!("drill-{} is under way: {}", open.id, open.aim);
            return Err(wrong(Rule::DrillOpen, text, "wait for its end, or: portolan drill cancel"));
        }
        let Some(primary) = group.primary().cloned() else {
            return Err(wrong(Rule::NotAdopted, "the group has no primary that is agreed on", "portolan adopt GROUP --primary REGION"));
        };
        check_aim(aim, policy)?;
        if aim.kind == DrillKind::Fence {
            self.check_fence(&group, aim, &primary)?;
        }
        if aim.kind == DrillKind::Switchover && aim.region.as_ref() == Some(&primary) {
            return Err(invalid(format!("{primary} is the primary already")));
        }
        let mut held = aim.clone();
        if aim.kind == DrillKind::Isolated {
            held.region = Some(copied(&group, policy, aim.region.as_ref(), &primary)?);
        }
        let (who, why) = match schedule {
            None => (self.who.to_owned(), self.why.to_owned()),
            Some(id) => {
                let schedule = group.drills.schedules.get_mut(&id).ok_or_else(|| no_schedule(id))?;
                if schedule.next > self.at || schedule.aim != *aim {
                    return Err(invalid(format!("schedule-{id} wants no such drill before {}", schedule.next)));
                }
                schedule.next = self.at + schedule.every;
                (schedule.who.clone(), schedule.why.clone())
            }
        };
        if let (DrillKind::Fence, Some(region), Some(hook)) = (aim.kind, &aim.region, &aim.hook) {
            // On record before it is cut.
            let is_standby = *region != primary;
            group.drills.cuts.push(Cut { region: region.clone(), hook: hook.clone(), token: self.token, is_standby, lift: None });
        }
        group.drills.open =
            Some(Drill { id: self.index, aim: held, who, why, began: self.at, schedule, operations: Vec::new(), trail: Vec::new() });
        Ok(group)
    }

    fn check_fence(self, group: &Group, aim: &Aim, primary: &Label) -> Result<(), Refusal> {
        let Some(region) = &aim.region else { return Err(invalid("a drill of a fence names the member".to_owned())) };
        if region == primary && !aim.on_primary {
            return Err(invalid(format!("{region} is the primary, and cutting it off is an outage: drill a standby, or say --on-primary")));
        }
        if let Some(cut) = group.drills.cuts.iter().find(|cut| cut.region == *region) {
            return Err(invalid(format!("{region} is still cut off by hook {}", cut.hook)));
        }
        Ok(())
    }

    fn end_drill(self, mut group: Group, id: u64, outcome: Outcome, figures: Figures, lines: &[String]) -> Result<Group, Refusal> {
        let drill = open(&group, id)?.clone();
        if lines.len() > LINES_MAX {
            return Err(invalid(format!("{} lines of evidence, and at most {LINES_MAX} are kept", lines.len())));
        }
        lines.iter().try_for_each(|text| line("a line of evidence", text, LINE_MAX))?;
        if !matches!(outcome, Outcome::Passed | Outcome::Failed) {
            return Err(invalid(format!("the leader does not say that a drill was {outcome}")));
        }
        if let (DrillKind::Fence, Some(region), Some(hook)) = (drill.aim.kind, &drill.aim.region, &drill.aim.hook)
            && outcome == Outcome::Passed
        {
            if group.drills.cuts.iter().any(|cut| cut.region == *region) {
                return Err(invalid(format!("{region} was not let in again, so nothing is proven")));
            }
            group.drills.prove(Proof { region: region.clone(), hook: hook.clone(), at: self.at, drill: id });
        }
        if let (DrillKind::Isolated, Some(region), Outcome::Passed) = (drill.aim.kind, &drill.aim.region, outcome) {
            let (took, loss) = (figures.recovery, figures.loss);
            let verified = Verified { region: region.clone(), at: self.at, drill: id, took, loss };
            let place = if drill.aim.from_backup { &mut group.drills.restored } else { &mut group.drills.verified };
            *place = Some(verified);
        }
        let stops = group.ended().filter(|closed| drill.operations.contains(&closed.operation.id));
        let longest = stops.filter_map(|closed| closed.operation.stopped_within()).max();
        group.drills.longest_stop = group.drills.longest_stop.max(longest);
        let figures = Figures { stop: figures.stop.or(longest), ..figures };
        self.finish(&mut group, outcome, figures, lines.to_vec());
        Ok(group)
    }

    fn cancel_drill(self, mut group: Group, id: u64) -> Result<Group, Refusal> {
        open(&group, id)?;
        let line = cut(&format!("by {}: {}", self.who, self.why), LINE_MAX);
        self.finish(&mut group, Outcome::Cancelled, Figures::default(), vec![line]);
        Ok(group)
    }

    /// The open drill that a decision is a part of.
    pub(super) fn drilled(self, group: &mut Group, decide: &Decide) -> Result<Option<Drill>, Refusal> {
        let Some(id) = decide.drill else { return Ok(None) };
        open(group, id)?;
        let drill = group.drills.open.as_mut().filter(|it| it.aim.kind == DrillKind::Switchover && decide.kind == Kind::Switchover);
        let Some(drill) = drill.filter(|it| it.operations.len() < OPERATIONS_MAX) else {
            return Err(invalid(format!("drill-{id} decides no {}", decide.kind.word())));
        };
        drill.operations.push(self.index);
        Ok(Some(drill.clone()))
    }

    /// An observation noticed something.
    fn notice(self, mut group: Group, policy: &Policy, id: u64, notice: &Notice) -> Result<Group, Refusal> {
        open(&group, id)?;
        let drill = group.drills.open.as_mut().filter(|drill| drill.aim.kind.only_looks());
        let drill = drill.ok_or_else(|| invalid(format!("drill-{id} observes nothing")))?;
        if let Notice::Would(would) = notice {
            if let Some(region) = [Some(&would.from), would.to.as_ref()].into_iter().flatten().find(|it| !policy.members.contains_key(*it))
            {
                return Err(invalid(format!("{} has no member of the group", cut(region.as_str(), NAME_MAX))));
            }
            let lines = || would.mode.iter().chain(&would.against);
            count("lines of what would be in its way", lines().count(), LINES_MAX)?;
            lines().try_for_each(|text| line("what would be in its way", text, LINE_MAX))?;
        }
        if drill.trail.len() >= TRAIL_MAX {
            return Err(wrong(Rule::Full, format!("drill-{id} has noted {TRAIL_MAX}, and no more are kept"), "nothing: its end says so"));
        }
        drill.trail.push(Noted { at: self.at, notice: notice.clone() });
        Ok(group)
    }

    /// A decision about the group: it ends what is under way, but for what only looks.
    pub(super) fn decided_beside_drill(self, group: &mut Group, what: &str, is_automatic: bool) {
        match group.drills.open.as_mut().filter(|drill| drill.aim.kind.only_looks()) {
            None => self.interrupt_drill(group, what),
            Some(drill) if drill.trail.len() < TRAIL_MAX => {
                drill.trail.push(Noted { at: self.at, notice: Notice::Began { operation: self.index, is_automatic } });
            }
            Some(_) => {}
        }
    }

    /// What is under way ends, whatever it is.
    pub(super) fn interrupt_drill(self, group: &mut Group, what: &str) {
        let line = cut(what, LINE_MAX);
        // A primary that a drill cut off stays so while another one takes over.
        let waits: Vec<Cut> = group.drills.cuts.iter().filter(|cut| !cut.is_standby && cut.lift.is_none()).cloned().collect();
        self.finish(group, Outcome::Interrupted, Figures::default(), vec![line]);
        for cut in &mut group.drills.cuts {
            if waits.iter().any(|it| it.region == cut.region && it.hook == cut.hook) {
                cut.lift = None;
            }
        }
    }

    /// However it ended, what it cut off may be let in again.
    fn finish(self, group: &mut Group, outcome: Outcome, figures: Figures, lines: Vec<String>) {
        let Some(drill) = &group.drills.open else { return };
        let region = drill.aim.region.clone();
        for cut in group.drills.cuts.iter_mut().filter(|cut| Some(&cut.region) == region.as_ref()) {
            cut.lift.get_or_insert(self.token);
        }
        group.drills.end(outcome, self.at, figures, lines);
    }

    fn lift(self, mut group: Group, region: &Label) -> Result<Group, Refusal> {
        let is_drilled = group.drills.open.as_ref().is_some_and(|drill| drill.aim.region.as_ref() == Some(region));
        let is_settled = group.operation.as_ref().is_none_or(|it| it.phase.is_before_revocation() || it.phase >= Phase::Promoted);
        let in_force = group.in_force().map(|grant| grant.token).filter(|_| is_settled);
        for cut in group.drills.cuts.iter_mut().filter(|cut| cut.region == *region && cut.lift.is_none()) {
            if !is_drilled && in_force.is_none_or(|token| token <= cut.token) {
                let text = format!("{region} was cut off by a decision, and nobody was granted the role since");
                return Err(wrong(Rule::WrongPhase, text, "nothing: it is let in again when the group has its primary"));
            }
            cut.lift = Some(self.token);
        }
        Ok(group)
    }

    /// A program was told to cut off whoever is replaced: it is let in again by the next grant.
    pub(super) fn note_cut(self, group: &mut Group, policy: &Policy, region: &Label, hook: &str) {
        let is_undone = policy.rungs.iter().any(|rung| rung.hook == hook && rung.is_undone);
        if is_undone {
            let token = group.token;
            group.drills.cuts.retain(|cut| (&cut.region, cut.hook.as_str()) != (region, hook));
            group.drills.cuts.push(Cut { region: region.clone(), hook: hook.to_owned(), token, is_standby: false, lift: None });
        }
    }

    fn schedule(
        self,
        mut group: Group,
        policy: &Policy,
        aim: &Aim,
        every: std::time::Duration,
        first: Option<Timestamp>,
    ) -> Result<Group, Refusal> {
        check_aim(aim, policy)?;
        if !EVERY.contains(&every) {
            let text = format!("every {} is not between {} and {}", Human(every), Human(*EVERY.start()), Human(*EVERY.end()));
            return Err(invalid(text));
        }
        let latest = self.at + *EVERY.end();
        let next = first.unwrap_or(self.at + every);
        if next < self.at || next > latest {
            return Err(wrong(Rule::End, format!("the first one would be due at {next}"), "give a time within the next year"));
        }
        if group.drills.schedules.len() >= SCHEDULES_MAX {
            let text = format!("the group has {SCHEDULES_MAX} schedules of drills, and no more are kept");
            return Err(wrong(Rule::Full, text, "end one: portolan drill unschedule"));
        }
        let schedule = Schedule { aim: aim.clone(), every, next, who: self.who.to_owned(), why: self.why.to_owned() };
        group.drills.schedules.insert(self.index, schedule);
        Ok(group)
    }

    fn missed(self, mut group: Group, id: u64, why: &str) -> Result<Group, Refusal> {
        line("why a drill was missed", why, LINE_MAX)?;
        let schedule = group.drills.schedules.get_mut(&id).ok_or_else(|| no_schedule(id))?;
        if schedule.next > self.at {
            return Err(invalid(format!("schedule-{id} is not due before {}", schedule.next)));
        }
        schedule.next = self.at + schedule.every;
        let (aim, who, reason) = (schedule.aim.clone(), schedule.who.clone(), schedule.why.clone());
        let drill =
            Drill { id: self.index, aim, who, why: reason, began: self.at, schedule: Some(id), operations: Vec::new(), trail: Vec::new() };
        let (outcome, figures) = (Outcome::Missed, Figures::default());
        group.drills.remember(Ended { drill, outcome, at: self.at, figures, lines: vec![why.to_owned()] });
        Ok(group)
    }
}

fn invalid(text: String) -> Refusal {
    wrong(Rule::Invalid, text, "see portolan drill start --help")
}

fn no_schedule(id: u64) -> Refusal {
    wrong(Rule::UnknownName, format!("there is no schedule-{id}"), "see portolan drill list")
}

fn open(group: &Group, id: u64) -> Result<&Drill, Refusal> {
    group.drills.open.as_ref().filter(|drill| drill.id == id).ok_or_else(|| {
        let text = format!("drill-{id} is not under way");
        wrong(Rule::NoDrill, text, "see portolan drill list")
    })
}

/// The standby of which a copy is opened apart: the primary has enough to do, and who does not follow is no copy of it.
fn copied(group: &Group, policy: &Policy, region: Option<&Label>, primary: &Label) -> Result<Label, Refusal> {
    let able = |region: &Label| {
        let is_cut = group.drills.cuts.iter().any(|cut| cut.region == *region);
        if region == primary {
            Err(format!("{region} is the primary: open a copy of a standby"))
        } else if policy.members.get(region).is_none_or(|member| !member.has_agent) {
            Err(format!("no agent stands beside {region}, so nobody can copy it"))
        } else if is_cut || group.absent.contains(region) {
            Err(format!("{region} does not follow the primary, so a copy of it would show nothing: bring it back first"))
        } else {
            Ok(region.clone())
        }
    };
    match region {
        Some(region) => able(region).map_err(invalid),
        None => {
            let found = policy.members.keys().find_map(|region| able(region).ok());
            found.ok_or_else(|| invalid("no standby follows the primary with an agent beside it, so nobody can copy one".to_owned()))
        }
    }
}

/// What needs the plan only.
fn check_aim(aim: &Aim, policy: &Policy) -> Result<(), Refusal> {
    if let Some(region) = &aim.region {
        let Some(member) = policy.members.get(region) else {
            return Err(invalid(format!("{} has no member of the group", cut(region.as_str(), NAME_MAX))));
        };
        if aim.kind == DrillKind::Switchover && !member.is_candidate {
            return Err(invalid(format!("{region} is never promoted, by the plan")));
        }
    }
    if aim.kind == DrillKind::Isolated && !policy.opens_copies {
        return Err(invalid("this version opens no copies of the group's engine: try a restore of it by hand".to_owned()));
    }
    if aim.from_backup && aim.kind != DrillKind::Isolated {
        return Err(invalid(format!("a drill of {} restores no backup", aim.kind)));
    }
    if aim.from_backup && !policy.restores {
        return Err(invalid(
            "no place in `backups` of the group's data_class has `restore`, so nobody knows how one is restored".to_owned(),
        ));
    }
    match (aim.kind, aim.lasts) {
        (DrillKind::ObserveOnly, Some(lasts)) if OBSERVES.contains(&lasts) => {}
        (DrillKind::ObserveOnly, lasts) => {
            let said = lasts.map_or_else(|| "no time".to_owned(), |lasts| Human(lasts).to_string());
            let text = format!("it observes for {said}, and not for {} to {}", Human(*OBSERVES.start()), Human(*OBSERVES.end()));
            return Err(invalid(text));
        }
        (_, Some(_)) => return Err(invalid(format!("a drill of {} ends by itself: it has no time", aim.kind))),
        (_, None) => {}
    }
    match (aim.kind, &aim.region, &aim.hook) {
        (DrillKind::ObserveOnly | DrillKind::Notification, Some(_), _) => {
            Err(invalid(format!("a drill of {} is about the whole group: it names no region", aim.kind)))
        }
        (DrillKind::Fence, Some(_), Some(hook)) => {
            line("the name of a hook", hook, NAME_MAX)?;
            let rung = policy.rungs.iter().find(|rung| rung.hook == *hook);
            match rung {
                Some(rung) if rung.confirms && rung.is_undone => Ok(()),
                Some(_) => Err(invalid(format!("hook {hook} is not meant to confirm, or has no `unfence`: a drill could not prove it"))),
                None => Err(invalid(format!("the plan has no fence by hook {hook} for this group"))),
            }
        }
        (DrillKind::Fence, ..) => Err(invalid("a drill of a fence names the member and the program".to_owned())),
        (DrillKind::Switchover, None, _) => Err(invalid("a drill of a switchover names where to".to_owned())),
        (_, _, Some(_)) => Err(invalid(format!("a drill of {} has no program to name", aim.kind))),
        _ if aim.on_primary || aim.stays && aim.kind != DrillKind::Switchover => {
            Err(invalid(format!("a drill of {} touches no primary", aim.kind)))
        }
        _ => Ok(()),
    }
}

fn lifted(mut group: Group, region: &Label, hook: &str) -> Group {
    // What was not to be let in is still cut off, on record at least.
    group.drills.cuts.retain(|cut| cut.region != *region || cut.hook != hook || cut.lift.is_none());
    group
}

fn unschedule(mut group: Group, id: u64) -> Result<Group, Refusal> {
    group.drills.schedules.remove(&id).ok_or_else(|| no_schedule(id))?;
    Ok(group)
}
