//! The task that hears agents, and conducts their groups while this node leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use portolan_core::{
    cluster::{Actor, Change, Entry, Outcome, Role, State},
    failover::{
        conduct::{Action, Conductor, Patience},
        detect::{self, Noticed},
        grounds::Attestation,
        group::{Group, Phase},
        holding::Statement,
        lease::{Refused, Reply, Verdict},
        order::{FromAgent, ToAgent},
        step::Step,
        token::Token,
        witness::earliest,
    },
    model::{
        group::{Mode, Policy},
        ids::Label,
        time::{Now, Tick},
    },
    recovery::outlook::Outlook,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    attest,
    crew::DaemonCrew,
    drills::{self, Drills},
    evacuate::{self, Evacuations, Todo},
    hooks::{self, Errands, Told},
    lookout::Lookout,
    observe::{self, Looked, Observer},
    returns::{self, Returns, Seen},
    roster::Roster,
    validate,
};
use crate::{
    agent::Said,
    daemon::cluster::{Shared, Unproposed},
    latest::Latest,
};

/// Somebody asks how a group stands.
pub(in crate::daemon::cluster) type Asked = (Label, oneshot::Sender<Option<Outlook>>);

/// Between looks at the groups, while nothing is heard.
const TURN: Duration = Duration::from_millis(200);

/// For a majority to confirm that this node leads, in patiences. Then it is asked again.
const CONFIRM: u32 = 3;

/// Rounds and proposals whose end waits to be taken in.
const NEWS: usize = 256;

/// What ended beside this task.
enum News {
    /// The consensus confirmed, or not, that this node leads; of which term, and which round of renewals it was for.
    Confirmed { term: u64, round: Option<u64>, is_so: bool },
    /// A region looked once more.
    Attested { group: Label, question: u64, region: Label, what: Attestation },
    /// What the plan wants to be shown was looked at.
    Shown { group: Label, token: Token, result: Result<(), String> },
    /// The rollback triggers of a group were looked at.
    Observed(Looked),
    /// The rollback triggers of a region were looked at, whose traffic returns.
    Seen(Seen),
    /// A return of traffic was not let go on.
    Unreturned { term: u64, id: u64 },
    /// A hook was told how an operation ended, or was to be.
    Told(Told),
    /// What became of a step.
    Proposed { term: u64, group: Label, step: Box<Step>, is_refused: bool },
}

/// This node's term as a leader.
struct Lead {
    term: u64,
    conductor: Conductor,
    /// A round of the consensus is under way.
    has_round: bool,
    /// Groups of which a step is on its way.
    proposing: BTreeSet<Label>,
    observer: Observer,
    errands: Errands,
    drills: Drills,
    evacuations: Evacuations,
    returns: Returns,
}

struct Keeper {
    shared: Arc<Shared>,
    crew: Arc<DaemonCrew>,
    /// Of which plan the roster is.
    plan: Option<u64>,
    lead: Option<Lead>,
    lookout: Lookout,
    /// The term for which a confirmation was asked.
    asked: Option<u64>,
    news: mpsc::Sender<News>,
}

/// Hears agents until nobody can be attached any more.
pub(in crate::daemon::cluster) async fn keep(
    shared: Arc<Shared>,
    crew: Arc<DaemonCrew>,
    mut said: mpsc::Receiver<Said>,
    mut asked: mpsc::Receiver<Asked>,
) {
    let (news, mut heard) = mpsc::channel(NEWS);
    let lookout = Lookout::new(shared.databases.subscribe());
    let mut keeper = Keeper { shared, crew, plan: None, lead: None, lookout, asked: None, news };
    let mut turns = interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = keeper.due();
        let only = tokio::select! {
            said = said.recv() => match said {
                Some(said) => {
                    keeper.hear(&said);
                    keeper.crew.roster().place(&said.agent).map(|place| place.group.clone())
                }
                None => return,
            },
            Some(news) = heard.recv() => {
                keeper.take(news);
                None
            }
            Some((group, answer)) = asked.recv() => {
                // Who asked may have left.
                let _ = answer.send(keeper.outlook(&group));
                continue;
            }
            _ = turns.tick() => None,
            // What is due by time alone waits for no turn: clients wait for it.
            () = sleep(due) => None,
        };
        keeper.turn(only.as_ref());
    }
}

impl Keeper {
    /// As it is applied here, which is never behind what this node has committed.
    fn state(&self) -> Arc<State> {
        self.shared.consensus().standing().latest().state
    }

    fn outlook(&self, group: &Label) -> Option<Outlook> {
        let (tail, hooks) = (self.crew.roster().tail(group), self.crew.roster().hooks(group));
        let mut outlook = self.lookout.outlook(&self.state(), group, tail, self.shared.clock.now())?;
        outlook.readiness.findings.extend(hooks.findings(self.shared.hooks_dir.as_deref()));
        Some(outlook)
    }

    /// How long until something is due by time alone, where this node leads; what was due already waits for a turn.
    fn due(&self) -> Duration {
        let Some(lead) = &self.lead else { return TURN };
        let now = self.shared.clock.tick();
        let deadlines = [lead.conductor.next_deadline(), self.lookout.next_deadline()];
        deadlines.into_iter().flatten().filter(|at| *at > now).min().map_or(TURN, |at| at.since(now).min(TURN))
    }

    /// `only`: nothing is new but of this group; `None`: all are looked at.
    fn turn(&mut self, only: Option<&Label>) {
        let state = self.state();
        self.know(&state);
        let now = self.shared.clock.now();
        let looks = only.is_none() && self.lookout.is_due(now.tick);
        if looks {
            self.lookout.look(&state, now);
            let roster = self.crew.roster();
            let readings = self.lookout.readings(&state, |group| roster.tail(group), now);
            self.shared.groups_shown.send_replace(Arc::new(readings));
        }
        let leadership = self.shared.consensus().leadership();
        if !leadership.is_leader {
            if self.lead.take().is_some() {
                info!("the conductor rests: this node leads no more");
                self.lookout.step_down();
            }
            self.asked = None;
            return;
        }
        match &self.lead {
            Some(lead) if lead.term == leadership.term => {
                if looks {
                    self.decide(&state, now);
                    self.try_out(&state, now);
                    self.observe(&state, now);
                    self.tell(&state, now);
                    self.drill(&state, now);
                    self.evacuate(&state, now);
                    self.bring_back(&state, now);
                }
                self.fence(&state, only);
                self.conduct(&state, only);
            }
            _ if self.asked == Some(leadership.term) => {}
            _ => {
                (self.lead, self.asked) = (None, Some(leadership.term));
                self.confirm(leadership.term, None);
            }
        }
    }

    /// Another plan, another roster.
    fn know(&mut self, state: &State) {
        let revision = state.plan().map(|plan| plan.plan.revision);
        let cluster = self.shared.identity.latest().cluster;
        if let (Some(plan), Some(cluster), true) = (state.plan(), cluster, self.plan != revision) {
            let roster = Roster::of(plan);
            self.lookout.retain(|name| plan.plan.outline.groups.contains_key(name));
            self.crew.take(roster, &cluster);
            self.plan = revision;
        }
    }

    /// Asks a majority whether this node still leads, and waits until it has applied what was committed before.
    fn confirm(&self, term: u64, round: Option<u64>) {
        let (consensus, news, within) = (self.shared.consensus(), self.news.clone(), self.shared.patience().times(CONFIRM));
        tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
            // What no majority answers is asked again: renewals that wait are answered by a later round.
            let confirmed = timeout(within, consensus.confirm()).await;
            let is_so = match confirmed {
                Ok(Ok(())) => consensus.leadership().term == term,
                Ok(Err(why)) => {
                    debug!("leadership is not confirmed: {why}");
                    false
                }
                Err(_) => false,
            };
            let _ = news.send(News::Confirmed { term, round, is_so }).await;
        }));
    }

    fn take(&mut self, news: News) {
        let now = self.shared.clock.tick();
        match news {
            News::Confirmed { term, round: None, is_so } if self.asked == Some(term) => {
                self.asked = None;
                if is_so {
                    info!(term, "the conductor begins");
                    let conductor = Conductor::new(Patience::default(), now);
                    self.lead = Some(Lead {
                        term,
                        conductor,
                        has_round: false,
                        proposing: BTreeSet::new(),
                        observer: Observer::default(),
                        errands: Errands::default(),
                        drills: Drills::new(&self.shared),
                        evacuations: Evacuations::default(),
                        returns: Returns::default(),
                    });
                }
            }
            News::Confirmed { term, round: Some(round), is_so } => self.round_ended(term, round, is_so),
            News::Proposed { term, group, step, is_refused } => {
                if let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) {
                    lead.proposing.remove(&group);
                    match (&*step, is_refused) {
                        (Step::Ran { operation, .. }, true) => lead.errands.forget(*operation),
                        (Step::Evacuate { evacuation, .. }, true) => lead.evacuations.refused(*evacuation, now),
                        _ => {}
                    }
                    if is_refused {
                        lead.conductor.refused(&group, &step, now);
                        self.lookout.refused(&group, &step, now);
                    }
                }
            }
            News::Shown { group, token, result } => self.lookout.was_shown(&group, token, result),
            News::Observed(looked) => self.set_back(&looked),
            News::Seen(seen) => {
                let state = self.state();
                if let Some(change) = self.lead.as_mut().and_then(|lead| lead.returns.seen(seen, now)) {
                    self.lead_on(&state, change);
                }
            }
            News::Unreturned { term, id } => {
                if let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) {
                    lead.returns.refused(id, now);
                }
            }
            News::Told(told) => self.note_told(told),
            News::Attested { group, question, region, what } => {
                info!(%group, %region, "asked once more: it {what}");
                self.lookout.attested(&group, question, &region, what);
            }
            News::Confirmed { .. } => {}
        }
    }

    fn round_ended(&mut self, term: u64, round: u64, is_so: bool) {
        let (state, now) = (self.state(), self.shared.clock.tick());
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) else { return };
        lead.has_round = false;
        if !is_so {
            return;
        }
        let rules: BTreeMap<Label, Verdict> = groups(&state, None).map(|(name, group, _)| (name.clone(), group.rules())).collect();
        for (group, region, reply) in lead.conductor.round_ended(round, |group| rules.get(group), now) {
            let policy = policies(&state, Some(&group)).next();
            let voters = policy.map(|(_, policy)| state.voters_beside(policy)).unwrap_or_default();
            self.crew.say(&group, &region, &ToAgent::Reply(Reply { voters, ..reply }));
        }
    }

    fn hear(&mut self, heard: &Said) {
        let agent = &heard.agent;
        let roster = self.crew.roster();
        let Some(place) = roster.place(agent) else { return };
        let said: FromAgent = match serde_json::from_slice(&heard.octets) {
            Ok(said) => said,
            Err(error) => return warn!(%agent, "it says what cannot be read ({error}); bring both to one release"),
        };
        let (group, region) = (&place.group, &place.region);
        match said {
            // What agents ask of each other needs no leader, and no majority.
            FromAgent::AskPeers { token, sequence } => {
                for (peer, _) in roster.of_group(group).filter(|(peer, _)| *peer != region) {
                    self.crew.say(group, peer, &ToAgent::Asks { holder: region.clone(), token, sequence });
                }
                if self.acknowledges(group, token) {
                    let peer = self.shared.me.region.clone();
                    self.crew.say(group, region, &ToAgent::Acknowledged { peer, token, sequence });
                }
            }
            FromAgent::Acknowledges { holder, token, sequence } => {
                self.crew.say(group, &holder, &ToAgent::Acknowledged { peer: region.clone(), token, sequence });
            }
            FromAgent::Isolated { drill, tried } => self.crew.was_tried(group, region, drill, tried),
            FromAgent::Answer(_) | FromAgent::Renewal(_) | FromAgent::Status(_) => self.hear_as_leader(group, region, said, heard.heard),
        }
    }

    /// Whether this node votes in a region without a member, and knows of no token above the holder's.
    fn acknowledges(&self, group: &Label, token: Token) -> bool {
        let (state, me) = (self.state(), &self.shared.me);
        let is_beside = policies(&state, Some(group)).any(|(_, policy)| !policy.members.contains_key(&me.region));
        is_beside && state.voters().any(|node| node.name == me.node) && state.group(group).is_some_and(|group| group.acknowledges(token))
    }

    /// `heard`: which tick of this node's clock the agent had heard, and when by its own.
    fn hear_as_leader(&mut self, group: &Label, region: &Label, said: FromAgent, heard: Option<(Tick, Tick)>) {
        let (state, now) = (self.state(), self.shared.clock.tick());
        if let FromAgent::Status(status) = &said {
            let agreed = state.group(group).cloned().unwrap_or_default();
            self.lookout.told(group, &agreed, region, (**status).clone(), heard, now);
            let lag = self.lookout.lag(group, &agreed, region, now);
            // Before it has heard of this node's clock, which it does at once, nobody knows how old its word is.
            if let Some(stated) = Statement::of(group, region, status, lag).zip(earliest(heard, status.said_at_us, now)) {
                // Full: it is stated again within a second.
                let _ = self.shared.stated.try_send(stated);
            }
            self.crew.told(group, region, (**status).clone(), now);
        }
        let Some(lead) = &mut self.lead else { return };
        match said {
            FromAgent::Answer(answer) => lead.conductor.answered(group, region, answer, now),
            FromAgent::Status(status) => lead.conductor.told(group, region, *status, now),
            FromAgent::Renewal(request) if request.region == *region => {
                let rules = state.group(group).map_or_else(|| Group::default().rules(), Group::rules);
                let reply = rules.reply(&request);
                if let Err(Refused::Outranked(_)) = lead.conductor.asked(group, request, &rules, now) {
                    self.crew.say(group, region, &ToAgent::Reply(reply));
                }
            }
            FromAgent::Renewal(_) | FromAgent::Isolated { .. } | FromAgent::AskPeers { .. } | FromAgent::Acknowledges { .. } => {}
        }
    }

    fn decide(&mut self, state: &State, now: Now) {
        let actions = self.lookout.decide(state, now);
        let mut steps = Vec::new();
        for action in actions {
            match action {
                detect::Action::Ask { group, question, regions } => {
                    let Some(primary) = state.group(&group).and_then(Group::primary).cloned() else { continue };
                    info!(%group, %primary, "the primary seems lost: each region is asked once more");
                    self.ask(&group, &primary, question, regions);
                }
                detect::Action::Propose { group, step } => {
                    if self.lead.as_mut().is_some_and(|lead| lead.proposing.insert(group.clone())) {
                        steps.push((group, step));
                    } else {
                        self.lookout.unproposed(&group, now.tick);
                    }
                }
            }
        }
        let Some(term) = self.lead.as_ref().map(|lead| lead.term) else { return };
        for (group, step) in steps {
            self.propose(term, group, step);
        }
    }

    /// Has each of these regions look once more.
    fn ask(&self, group: &Label, primary: &Label, question: u64, regions: BTreeSet<Label>) {
        for region in regions {
            let (shared, news) = (Arc::clone(&self.shared), self.news.clone());
            let (group, primary) = (group.clone(), primary.clone());
            tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                let what = attest::ask(shared, region.clone(), group.clone(), primary).await;
                let _ = news.send(News::Attested { group, question, region, what }).await;
            }));
        }
    }

    /// Puts on record what automation would do of groups under observation. Nothing of it can be proposed as a decision.
    fn try_out(&mut self, state: &State, now: Now) {
        let roster = self.crew.roster();
        for (group, drill, noticed) in self.lookout.observe(state, |group| roster.tail(group), now) {
            match noticed {
                Noticed::Ask { question, regions } => {
                    let Some(primary) = state.group(&group).and_then(Group::primary) else { continue };
                    self.ask(&group, primary, question, regions);
                }
                Noticed::Note(notice) => {
                    info!(%group, "drill-{drill}: {notice}");
                    let task = drills::note(Arc::clone(&self.shared), group, drill, notice);
                    tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(task));
                }
            }
        }
    }

    /// Looks at the rollback triggers of groups that an operation has just moved.
    fn observe(&mut self, state: &State, now: Now) {
        let roster = self.crew.roster();
        for (name, group, policy) in groups(state, None) {
            let Some(lead) = &mut self.lead else { return };
            let Some((primary, closed)) = group.primary().zip(group.latest.as_ref()) else { continue };
            let (here, there) = (roster.triggers(name, primary), roster.triggers(name, &closed.operation.from));
            if here.is_empty() || !lead.observer.is_due(name, &group, policy, now) {
                continue;
            }
            let (shared, news) = (Arc::clone(&self.shared), self.news.clone());
            let (name, operation) = (name.clone(), closed.operation.id);
            tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                let looked = observe::look(shared, name, operation, here, there).await;
                let _ = news.send(News::Observed(looked)).await;
            }));
        }
    }

    /// Proposes what becomes of a trigger that has fired.
    fn set_back(&mut self, looked: &Looked) {
        let (state, now) = (self.state(), self.shared.clock.now());
        let Some(lead) = &mut self.lead else { return };
        let Some(fired) = lead.observer.looked(looked, now.tick) else { return };
        let (seen, estimate) = self.lookout.way_back(&state, looked, now);
        let Some(step) = observe::step(&state, looked, &fired, seen, estimate, now) else { return };
        warn!(group = %looked.group, "op-{}: {fired}", looked.operation);
        if lead.proposing.insert(looked.group.clone()) {
            let term = lead.term;
            self.propose(term, looked.group.clone(), step);
        }
    }

    /// Tries the programs of the plan that stop an old primary.
    fn fence(&mut self, state: &State, only: Option<&Label>) {
        let Some(lead) = &mut self.lead else { return };
        let roster = self.crew.roster();
        let known = policies(state, only).filter_map(|(name, _)| Some((name, state.group(name)?)));
        for (name, group) in known {
            let hooks = roster.hooks(name);
            let Some(operation) = lead.errands.fences(name, group, &hooks).cloned() else { continue };
            let task = hooks::fence(Arc::clone(&self.shared), name.clone(), operation, group.token, hooks);
            tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(task));
        }
    }

    /// Tells the plan's programs how operations ended.
    fn tell(&mut self, state: &State, now: Now) {
        let roster = self.crew.roster();
        for (name, group, _) in groups(state, None) {
            let Some(lead) = &mut self.lead else { return };
            let hooks = roster.hooks(name);
            let Some(closed) = lead.errands.ended(&group, &hooks, now).cloned() else { continue };
            let (shared, name, news) = (Arc::clone(&self.shared), name.clone(), self.news.clone());
            tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                if let Some(told) = hooks::after(shared, name, closed, hooks).await {
                    let _ = news.send(News::Told(told)).await;
                }
            }));
        }
    }

    /// Sees to drills that are open, and to whom they, and fences, cut off.
    fn drill(&mut self, state: &State, now: Now) {
        for (name, group, _) in groups(state, None) {
            let tally = self.lookout.tally(name);
            let Some(lead) = &mut self.lead else { return };
            let unready = || {
                let outlook = self.lookout.outlook(state, name, self.crew.roster().tail(name), now)?;
                outlook.readiness.against().next().map(|finding| format!("the group is not ready: {}", finding.text))
            };
            lead.drills.look(&self.shared, &self.crew, name, &group, now, tally, unready);
        }
    }

    fn note_told(&mut self, told: Told) {
        let (state, now) = (self.state(), self.shared.clock.tick());
        let Some(lead) = &mut self.lead else { return };
        let (group, operation) = (told.group.clone(), told.operation);
        let Some(ran) = lead.errands.was_told(told, now) else { return };
        let (term, token) = (lead.term, state.group(&group).map_or_else(Token::default, |group| group.token));
        self.propose(term, group, Step::Ran { token, operation, ran });
    }

    /// Looks at what the plan wants to be shown of those that were promoted.
    fn validate(&mut self, state: &State, only: Option<&Label>) {
        for (name, group, _) in groups(state, only) {
            let promoted = group.operation.as_ref().filter(|operation| operation.phase == Phase::Promoted).zip(group.in_force());
            let Some((operation, grant)) = promoted else { continue };
            let roster = self.crew.roster();
            let Some(subject) = roster.subject(name, &grant.region, grant.token) else { continue };
            if !self.lookout.is_to_be_shown(name, operation, grant.token) {
                continue;
            }
            let (shared, news) = (Arc::clone(&self.shared), self.news.clone());
            tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                let result = validate::run(&shared, &subject).await;
                let _ = news.send(News::Shown { group: subject.group, token: subject.token, result }).await;
            }));
        }
    }

    /// Begins the next group of each evacuation, or notes why it does not begin.
    fn evacuate(&mut self, state: &State, now: Now) {
        let Some(term) = self.lead.as_ref().map(|lead| lead.term) else { return };
        for evacuation in state.evacuations().filter(|it| it.ended.is_none()) {
            let Some(lead) = &mut self.lead else { return };
            if !lead.evacuations.is_due(evacuation.id, now.tick) {
                continue;
            }
            match evacuate::next(state, &self.lookout, evacuation, now) {
                Some(Todo::Begin(group, step)) if lead.proposing.insert(group.clone()) => self.propose(term, group, step),
                Some(Todo::Note(change)) => {
                    lead.evacuations.noted(evacuation.id, now.tick);
                    let (shared, entry) = (Arc::clone(&self.shared), of_system(&self.shared, change));
                    tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                        // What is not noted now is noted when it is due again.
                        if let Err(why) = shared.propose(entry).await {
                            debug!("the state of an evacuation is not noted: {why}");
                        }
                    }));
                }
                _ => {}
            }
        }
    }

    /// Looks at the rollback triggers of regions whose traffic returns, and leads them on.
    fn bring_back(&mut self, state: &State, now: Now) {
        let roster = self.crew.roster();
        let Some(lead) = &mut self.lead else { return };
        lead.returns.retain(state);
        let mut changes = Vec::new();
        for it in state.returns().filter(|it| it.ended.is_none()) {
            if lead.returns.is_due(it, now) {
                let (shared, news, triggers) = (Arc::clone(&self.shared), self.news.clone(), roster.region_triggers(&it.region));
                let (id, step) = (it.id, it.step);
                tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
                    let _ = news.send(News::Seen(returns::look(shared, id, step, triggers).await)).await;
                }));
            }
            let endpoints_up = self.shared.databases.latest().endpoints_up.get(&it.region).copied();
            changes.extend(lead.returns.next(state, it, endpoints_up, now));
        }
        for change in changes {
            self.lead_on(state, change);
        }
    }

    fn lead_on(&self, state: &State, change: Change) {
        let (Change::AdvanceReturn { id } | Change::NoteReturn { id, .. } | Change::TakeBack { id, .. }) = change else { return };
        let Some((term, it)) = self.lead.as_ref().map(|lead| lead.term).zip(state.traffic_return(id)) else { return };
        let (shared, news, region) = (Arc::clone(&self.shared), self.news.clone(), it.region.clone());
        tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
            if !returns::propose(shared, region, id, change).await {
                let _ = news.send(News::Unreturned { term, id }).await;
            }
        }));
    }

    fn conduct(&mut self, state: &State, only: Option<&Label>) {
        self.validate(state, only);
        let now = self.shared.clock.tick();
        let routes = self.shared.routes.latest();
        let known = self.lookout.figures(routes, now);
        let Some(lead) = &mut self.lead else { return };
        let mut steps = Vec::new();
        for (name, group, policy) in groups(state, only) {
            // Who only looks grants nothing: a grant makes an agent stop its database when it ends.
            if policy.mode == Some(Mode::Observe) && group.grant.is_none() {
                continue;
            }
            lead.conductor.under_way(name, lead.proposing.contains(name));
            for action in lead.conductor.conduct(name, &group, policy, &known, now) {
                match action {
                    Action::Send(region, order) => {
                        self.crew.say(name, &region, &ToAgent::Order(order));
                    }
                    Action::Propose(step) => {
                        lead.proposing.insert(name.clone());
                        steps.push((name.clone(), step));
                    }
                }
            }
        }
        let (term, round) = (lead.term, (lead.conductor.wants_round() && !lead.has_round).then(|| lead.conductor.round_began()));
        if let Some(round) = round {
            lead.has_round = true;
            self.confirm(term, Some(round));
        }
        for (group, step) in steps {
            self.propose(term, group, step);
        }
    }

    fn propose(&self, term: u64, group: Label, mut step: Step) {
        let (shared, news) = (Arc::clone(&self.shared), self.news.clone());
        let hooks = self.crew.roster().hooks(&group);
        let stop = shared.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            if let Step::Decide(decide) | Step::Evacuate { decide, .. } = &mut step {
                hooks::before(&shared, &hooks, &group, decide, &format!("node {}", shared.me.node)).await;
            }
            let is_refused = match shared.propose(entry(&shared, &group, step.clone())).await {
                Ok(committed) => match committed.outcome {
                    Outcome::Accepted { .. } => {
                        info!(%group, "{step}");
                        false
                    }
                    Outcome::Rejected(refusal) => {
                        debug!(%group, "{step}: refused: {refusal}");
                        true
                    }
                },
                Err(Unproposed::Refused(why)) => {
                    warn!(%group, "{step}: {why}");
                    true
                }
                Err(why) => {
                    debug!(%group, "{step}: {why}");
                    false
                }
            };
            let _ = news.send(News::Proposed { term, group, step: Box::new(step), is_refused }).await;
        }));
    }
}

/// A step that this node proposes by itself.
pub(super) fn entry(shared: &Shared, group: &Label, step: Step) -> Entry {
    of_system(shared, Change::Group { group: group.clone(), step })
}

/// A change that this node proposes by itself.
pub(super) fn of_system(shared: &Shared, change: Change) -> Entry {
    Entry {
        at: shared.clock.now().wall,
        by: Actor { name: format!("node {}", shared.me.node), role: Role::System },
        request_id: None,
        reason: String::new(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

/// The plan's groups, as they are agreed; `only`: this one.
fn groups<'a>(state: &'a State, only: Option<&Label>) -> impl Iterator<Item = (&'a Label, Group, &'a Policy)> {
    policies(state, only).map(|(name, policy)| (name, state.group(name).cloned().unwrap_or_default(), policy))
}

/// The plan's groups; `only`: this one.
fn policies<'a>(state: &'a State, only: Option<&Label>) -> impl Iterator<Item = (&'a Label, &'a Policy)> {
    let policies = state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.iter());
    policies.filter(move |(name, _)| only.is_none_or(|only| only == *name))
}
