//! What this node knows of all groups: what agents tell, what probes see, and what follows from both.
//!
//! Every voter keeps it, so that one that begins to lead knows the rounds; only who leads decides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::{
    cluster::State,
    failover::{
        conduct::Figures,
        detect::{Action, Case, Detector, Foreseen, Noticed, Patience, Sights, Stand, Trial},
        evacuation::{Candidate, target, unfit},
        evidence::Evidence,
        grounds::Attestation,
        group::{Group, HeldFor, Operation},
        order::Status,
        step::Step,
        token::Token,
        witness::{SILENT_AFTER, Witness},
    },
    model::{
        group::Policy,
        ids::Label,
        time::{Now, Tick},
    },
    node::Databases,
    recovery::{
        class_exposure::GroupExposure,
        drill::{Drill, DrillKind, Drills, Outcome},
        exposure::Bracket,
        incident::{Measured, Prediction, Standing},
        observation::Origin,
        observed::Tally,
        outlook::{Exposed, Outlook},
        readiness::{Scene, judge},
    },
};
use tokio::sync::watch;
use tracing::warn;

use super::observe::Looked;
use crate::{
    daemon::cluster::Routes,
    latest::{Latest, LatestSeen},
    telemetry::GroupReading,
};

/// Looks are this far apart, while no round ends and nothing else is seen.
const LOOK: Duration = Duration::from_secs(1);

/// That two members take writes is told again when it is seen so long after it was seen last.
const AGAIN: Duration = Duration::from_secs(60);

/// Between two judgements of all groups: their words cost more than their figures.
const JUDGE: Duration = Duration::from_secs(60);

/// What is known.
pub(super) struct Lookout {
    witnesses: BTreeMap<Label, Witness>,
    detector: Detector,
    /// What automation would do, of groups under observation, with the id of that drill.
    trials: BTreeMap<Label, (u64, Trial)>,
    databases: watch::Receiver<Arc<Databases>>,
    looked: Tick,
    shown: BTreeMap<Label, Shown>,
    /// When all groups were judged last, whether each was ready then, and how long a failover of it would take.
    judged: Option<Tick>,
    ready: BTreeMap<Label, (bool, Option<Duration>)>,
}

/// What the plan wants to be shown of a primary, and was.
struct Shown {
    /// Of its grant.
    token: Token,
    /// `None`: it is being looked at.
    result: Option<Result<(), String>>,
    /// The operation was held for it. When it is no more, a person wants it to be looked at again.
    was_held: bool,
}

impl Lookout {
    pub(super) fn new(databases: watch::Receiver<Arc<Databases>>) -> Self {
        let detector = Detector::new(Patience::default());
        Self {
            witnesses: BTreeMap::new(),
            detector,
            trials: BTreeMap::new(),
            databases,
            looked: Tick(0),
            shown: BTreeMap::new(),
            judged: None,
            ready: BTreeMap::new(),
        }
    }

    /// An agent told of itself; `heard`: as in [`Witness::told`].
    pub(super) fn told(&mut self, name: &Label, group: &Group, region: &Label, status: Status, heard: Option<(Tick, Tick)>, now: Tick) {
        let witness = self.witnesses.entry(name.clone()).or_default();
        let before = witness.latest_two().cloned();
        witness.told(group, region, status, heard, now);
        if let Some(two) = witness.latest_two().filter(|two| before.is_none_or(|before| two.at.since(before.at) >= AGAIN)) {
            let [one, other] = &two.regions;
            warn!(group = %name, %one, %other, "two_writers: both take writes, or did; automation rests: look which one has what, portolan recovery status");
        }
    }

    /// Another plan, or another state after a restart.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Label) -> bool) {
        self.detector.retain(&is_there);
        self.trials.retain(|name, _| is_there(name));
        self.witnesses.retain(|name, _| is_there(name));
    }

    /// Whether it is time to look: a second has passed, a round is over, or probes see something else.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let is_over = self.detector.next_deadline().is_some_and(|at| at <= now);
        // A sender that is gone says nothing new.
        is_over || now.since(self.looked) >= LOOK || self.databases.has_changed().unwrap_or(false)
    }

    /// When it is time by itself, if that is sooner than a look would be.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.detector.next_deadline()
    }

    /// Looks at all groups.
    pub(super) fn look(&mut self, state: &State, now: Now) {
        self.looked = now.tick;
        let databases = self.databases.latest_seen();
        let nothing = Group::default();
        for (name, policy) in policies(state) {
            let group = state.group(name).unwrap_or(&nothing);
            let witness = self.witnesses.entry(name.clone()).or_default();
            witness.see(group, policy, now.tick);
            let seen = databases.primaries.get(name).filter(|it| group.primary() == Some(&it.region)).map(|it| it.seen);
            let (views, failing_for) = seen.map_or_else(Default::default, |seen| (seen.views, seen.failing_for(now.wall)));
            let picture = witness.picture(group, policy, views, failing_for, now.tick);
            self.detector.see(name, group, policy, &picture, now);
            let Some(drill) = observed(group).map(|drill| drill.id) else {
                self.trials.remove(name);
                continue;
            };
            match self.trials.get_mut(name).filter(|(of, _)| *of == drill) {
                Some((_, trial)) => trial.see(group, policy, &picture, now),
                None => {
                    self.trials.extend(self.detector.trial(name).map(|trial| (name.clone(), (drill, trial))));
                }
            }
        }
    }

    /// What a leader notices of groups under observation. `tail`: as in [`Measured::tail`].
    pub(super) fn observe(&mut self, state: &State, tail: impl Fn(&Label) -> Duration, now: Now) -> Vec<(Label, u64, Noticed)> {
        let databases = self.databases.latest();
        let (witnesses, detector) = (&self.witnesses, &self.detector);
        let mut all = Vec::new();
        for (name, (of, trial)) in &mut self.trials {
            let known = policies(state).find(|(it, _)| *it == name).zip(state.group(name));
            let Some(((name, policy), group)) = known else { continue };
            let Some(drill) = observed(group).filter(|drill| drill.id == *of) else { continue };
            let Some((stand, real)) = state.stand_if_automatic(name, now.wall).zip(state.stand(name, now.wall)) else { continue };
            let foresee = || {
                let lacks = |(region, _): &(&Label, _)| {
                    let witness = witnesses.get(name)?;
                    Some((witness.exposure(group, region, now.tick).high?, (*region).clone()))
                };
                let others = policy.members.iter().filter(|(region, member)| group.primary() != Some(*region) && member.is_candidate);
                let to = others.filter_map(|it| lacks(&it)).min().map(|(_, region)| region);
                let recovery = Prediction::of(policy, Measured::by(group.latest.as_ref(), Some(tail(name)))).sum();
                let is_mode = |text: &String| !stand.vetoes.contains(text) && !stand.doubts.contains(text);
                Foreseen { to, recovery, mode: real.vetoes.into_iter().chain(real.doubts).filter(is_mode).collect() }
            };
            let sights = Sighting { witnesses, databases: &databases, state, now: now.tick };
            let case = Case { name, group, policy, stand: stand.clone() };
            all.extend(trial.look(detector, &case, drill, &sights, foresee, now).into_iter().map(|it| (name.clone(), *of, it)));
        }
        all
    }

    /// The rounds of a group under observation; `None`: it is not.
    pub(super) fn tally(&self, name: &Label) -> Option<Tally> {
        self.trials.get(name).map(|(_, trial)| trial.tally())
    }

    /// How a group stands with automation, by what is agreed and by what only those see who hear its agents; `None`: there is no such group.
    fn stand(&self, state: &State, name: &Label, policy: &Policy, now: Now) -> Option<Stand> {
        let mut stand = state.stand(name, now.wall)?;
        let two = self.witnesses.get(name).and_then(|witness| witness.two_writers(policy, now.tick));
        stand.vetoes.extend(two.map(|two| two.text(policy)));
        Some(stand)
    }

    /// What a leader is to do about all groups now.
    pub(super) fn decide(&mut self, state: &State, now: Now) -> Vec<Action> {
        let nothing = Group::default();
        let case = |(name, policy)| {
            let group = state.group(name).unwrap_or(&nothing);
            Some(Case { name, group, policy, stand: self.stand(state, name, policy, now)? })
        };
        let cases: Vec<Case<'_>> = policies(state).filter_map(case).collect();
        let sights = Sighting { witnesses: &self.witnesses, databases: &self.databases.latest(), state, now: now.tick };
        self.detector.decide(&cases, &sights, now)
    }

    /// A region answered: the decision may have waited for it alone.
    pub(super) fn attested(&mut self, group: &Label, question: u64, region: &Label, what: Attestation) {
        self.looked = Tick(0);
        self.detector.attested(group, question, region, what);
        if let Some((_, trial)) = self.trials.get_mut(group) {
            trial.attested(question, region, what);
        }
    }

    /// A decision was refused.
    pub(super) fn refused(&mut self, group: &Label, step: &Step, now: Tick) {
        if matches!(step, Step::Decide(_) | Step::Close { .. }) {
            self.detector.refused(group, now);
        }
    }

    /// A decision was not proposed: another step of the group is under way.
    pub(super) fn unproposed(&mut self, group: &Label, now: Tick) {
        self.detector.unproposed(group, now);
    }

    /// This node leads no more.
    pub(super) fn step_down(&mut self) {
        self.shown.clear();
        self.detector.step_down();
    }

    /// Whether what the plan wants to be shown of a promoted primary is to be looked at now: not for this grant before, or a person wants it again.
    pub(super) fn is_to_be_shown(&mut self, name: &Label, operation: &Operation, token: Token) -> bool {
        let is_held = operation.held.as_ref().is_some_and(|held| held.reason == HeldFor::Validation);
        let again = match self.shown.get_mut(name).filter(|shown| shown.token == token) {
            None => true,
            Some(shown) => {
                shown.was_held |= is_held;
                shown.was_held && !is_held && shown.result.is_some()
            }
        };
        if again {
            self.shown.insert(name.clone(), Shown { token, result: None, was_held: false });
        }
        again
    }

    /// It was looked at.
    pub(super) fn was_shown(&mut self, name: &Label, token: Token, result: Result<(), String>) {
        if let Some(shown) = self.shown.get_mut(name).filter(|shown| shown.token == token) {
            shown.result = Some(result);
        }
    }

    /// What is seen of the member that a group came from by its last operation, and what a failover would lose now.
    pub(super) fn way_back(&self, state: &State, looked: &Looked, now: Now) -> (Origin, Bracket) {
        let unseen = Witness::default();
        let witness = self.witnesses.get(&looked.group).unwrap_or(&unseen);
        let known = state.group(&looked.group).zip(policies(state).find(|(name, _)| **name == looked.group));
        let Some((group, (_, policy))) = known else { return (Origin::default(), Bracket::UNKNOWN) };
        let back = group.latest.as_ref().map(|closed| &closed.operation.from);
        let token = group.in_force().map(|grant| grant.token);
        let receives = |region: &Label| {
            let status = witness.status(region, now.tick);
            status.is_some_and(|(_, status)| status.follows.as_ref().is_some_and(|(of, _)| Some(*of) == token))
        };
        let seen = Origin {
            receives: back.is_some_and(receives),
            lag: back.map(|region| witness.exposure(group, region, now.tick)),
            endpoints_up: back.and_then(|region| self.databases.latest().endpoints_up.get(region).copied()),
            found: looked.there.clone(),
        };
        (seen, witness.estimate(group, policy, now.tick))
    }

    /// Where a switchover of the group would best go.
    ///
    /// # Errors
    /// Why nobody can take over, in one line.
    pub(super) fn target(&self, state: &State, name: &Label, now: Now) -> Result<Label, String> {
        let known = policies(state).find(|(it, _)| *it == name).zip(state.group(name));
        let Some(((_, policy), group)) = known else { return Err("it has no primary".to_owned()) };
        target(group, policy, &self.candidates(state, name, now))
    }

    /// What is seen of its members.
    fn candidates(&self, state: &State, name: &Label, now: Now) -> BTreeMap<Label, Candidate> {
        let known = policies(state).find(|(it, _)| *it == name).zip(state.group(name));
        let Some(((_, policy), group)) = known else { return BTreeMap::new() };
        let unseen = Witness::default();
        let witness = self.witnesses.get(name).unwrap_or(&unseen);
        let databases = self.databases.latest();
        let token = group.in_force().map(|grant| grant.token);
        let seen = policy.members.keys().map(|region| {
            let status = witness.status(region, now.tick);
            let receives = status.is_some_and(|(_, it)| token.is_some() && it.follows.as_ref().map(|(of, _)| *of) == token);
            let is_away = databases.regions_down.contains(region) || state.is_drained(region, now.wall);
            (region.clone(), Candidate { receives, lacks: Some(witness.exposure(group, region, now.tick)), is_away })
        });
        seen.collect()
    }

    /// What a switchover is decided by, as far as it is seen: what a failover would lose now.
    pub(super) fn estimate(&self, state: &State, name: &Label, now: Now) -> Bracket {
        Sighting { witnesses: &self.witnesses, databases: &self.databases.latest(), state, now: now.tick }.estimate(name)
    }

    /// How a group stands now, for people; `None`: the plan has no such group. `tail`: as in [`Measured::tail`].
    pub(super) fn outlook(&self, state: &State, name: &Label, tail: Duration, now: Now) -> Option<Outlook> {
        let (name, policy) = policies(state).find(|(it, _)| *it == name)?;
        let (nothing, unseen) = (Group::default(), Witness::default());
        let group = state.group(name).unwrap_or(&nothing);
        let witness = self.witnesses.get(name).unwrap_or(&unseen);
        let case = Case { name, group, policy, stand: self.stand(state, name, policy, now)? };
        let sights = Sighting { witnesses: &self.witnesses, databases: &self.databases.latest(), state, now: now.tick };
        let agents = policy.members.keys().filter_map(|region| Some((region, witness.status(region, now.tick)?))).collect();
        let scene = Scene {
            name,
            group,
            policy,
            stand: &case.stand,
            evidence: self.detector.evidence(name).unwrap_or(Evidence::Unknown),
            agents,
            estimate: witness.estimate(group, policy, now.tick),
            measured: Measured::by(group.latest.as_ref(), Some(tail)),
            now: now.wall,
        };
        let exposed = |region: &Label| Exposed {
            time: witness.exposure(group, region, now.tick),
            apply_lag: witness.lag(group, region, now.tick),
            behind: witness.behind(group, region),
            standing: Standing::of(witness.exposure(group, region, now.tick).high, policy.rpo_target),
        };
        let standbys = policy.members.keys().filter(|region| group.primary() != Some(*region));
        Some(Outlook {
            readiness: judge(&scene),
            evidence: scene.evidence,
            reason: self.detector.explain(&case, &sights, now),
            estimate: scene.estimate,
            primary: group.primary().cloned(),
            exposed: standbys.map(|region| (region.clone(), exposed(region))).collect(),
            archived: witness.archived(group, policy, now.tick),
            measured: scene.measured,
            prediction: Prediction::of(policy, scene.measured),
            unfit: unfit(group, policy, &self.candidates(state, name, now)),
            target: self.target(state, name, now),
        })
    }

    /// For metrics. `tail`: as in [`Measured::tail`]. What takes words to find out is of the last minute.
    pub(super) fn readings(&mut self, state: &State, tail: impl Fn(&Label) -> Duration, now: Now) -> Vec<GroupReading> {
        if self.judged.is_none_or(|at| now.tick.since(at) >= JUDGE) {
            self.judged = Some(now.tick);
            let outlook = |name: &Label| Some((name.clone(), self.outlook(state, name, tail(name), now)?));
            let outlooks = policies(state).filter_map(|(name, _)| outlook(name));
            self.ready = outlooks.map(|(name, outlook)| (name, (outlook.readiness.would, outlook.duration()))).collect();
        }
        let (nothing, unseen) = (Group::default(), Witness::default());
        let reading = |(name, policy): (&Label, &Policy)| {
            let group = state.group(name).unwrap_or(&nothing);
            let witness = self.witnesses.get(name).unwrap_or(&unseen);
            let standbys = policy.members.keys().filter(|region| group.primary() != Some(*region));
            let judged = self.ready.get(name);
            let heard = |region: &Label| witness.status(region, now.tick).filter(|(age, _)| *age < SILENT_AFTER);
            let doubts = policy.members.keys().filter_map(|region| Some((region.to_string(), heard(region)?.1.doubt.is_some())));
            GroupReading {
                doubts: doubts.collect(),
                name: name.to_string(),
                evidence: self.detector.evidence(name).unwrap_or(Evidence::Unknown).word(),
                apply_lags: standbys.clone().map(|region| (region.to_string(), witness.lag(group, region, now.tick))).collect(),
                exposed: GroupExposure {
                    primary: group.primary().cloned(),
                    streaming: standbys.map(|region| (region.clone(), witness.exposure(group, region, now.tick))).collect(),
                    archive: witness.archived(group, policy, now.tick).filter(|it| it.archive.is_on).map(|archived| archived.time),
                },
                ready: judged.map(|(ready, _)| *ready),
                predicted: judged.and_then(|(_, predicted)| *predicted),
                is_held: group.operation.as_ref().is_some_and(|operation| operation.held.is_some()),
                drills: drilled(&group.drills, now),
                backup_restored: group.drills.restored.as_ref().map(|verified| now.wall.since(verified.at)),
                restored: group.drills.verified.as_ref().map(|verified| now.wall.since(verified.at)),
            }
        };
        policies(state).map(reading).collect()
    }

    /// For the conductor.
    pub(super) fn figures(&self, routes: Option<Routes>, now: Tick) -> Known<'_> {
        Known { lookout: self, routes, now }
    }

    /// At most so far behind is what a standby shows to readers; `None`: nobody knows.
    pub(super) fn lag(&self, name: &Label, group: &Group, region: &Label, now: Tick) -> Option<Duration> {
        self.witnesses.get(name)?.lag(group, region, now)
    }
}

/// The observation that is under way.
fn observed(group: &Group) -> Option<&Drill> {
    group.drills.open.as_ref().filter(|drill| drill.aim.kind == DrillKind::ObserveOnly)
}

/// What a leader knows from elsewhere.
pub(super) struct Known<'a> {
    lookout: &'a Lookout,
    /// By which token names lead to primaries, as this node answers them; `None`: it has no table yet.
    routes: Option<Routes>,
    now: Tick,
}

impl Figures for Known<'_> {
    fn loss(&self, group: &Label, position: u64) -> Bracket {
        self.lookout.witnesses.get(group).map_or(Bracket::UNKNOWN, |witness| witness.loss(position, self.now))
    }

    fn verified(&self, group: &Label, token: Token) -> Option<Result<(), String>> {
        self.lookout.shown.get(group).filter(|shown| shown.token == token)?.result.clone()
    }

    /// When this node's own names lead to the new primary: it answers by what agents state, as every node does, and each hears that within a
    /// second or two, or has a table that ends by itself. So nobody has to be asked, and a node that is cut off holds up no operation.
    fn is_routed(&self, group: &Label, token: Token) -> bool {
        // Without a name that follows the group there is nothing to wait for.
        self.routes.as_ref().is_some_and(|routes| routes.get(group).is_none_or(|route| *route >= Some(token)))
    }
}

struct Sighting<'a> {
    witnesses: &'a BTreeMap<Label, Witness>,
    databases: &'a Databases,
    state: &'a State,
    now: Tick,
}

impl Sights for Sighting<'_> {
    fn is_down(&self, region: &Label) -> bool {
        self.databases.regions_down.contains(region)
    }

    fn estimate(&self, name: &Label) -> Bracket {
        let policy = policies(self.state).find(|(it, _)| *it == name).map(|(_, policy)| policy);
        let known = self.witnesses.get(name).zip(self.state.group(name)).zip(policy);
        known.map_or(Bracket::UNKNOWN, |((witness, group), policy)| witness.estimate(group, policy, self.now))
    }
}

/// The last drill of each kind.
fn drilled(drills: &Drills, now: Now) -> Vec<(&'static str, Duration, bool)> {
    let last = |kind| drills.ended.iter().rev().find(|ended| ended.drill.aim.kind == kind);
    let known = DrillKind::ALL.into_iter().filter_map(last);
    known.map(|ended| (ended.drill.aim.kind.word(), now.wall.since(ended.at), ended.outcome == Outcome::Passed)).collect()
}

/// The plan's groups.
fn policies(state: &State) -> impl Iterator<Item = (&Label, &Policy)> {
    state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.iter())
}
