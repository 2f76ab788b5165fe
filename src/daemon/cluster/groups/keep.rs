//! The task that hears agents, and conducts their groups while this node leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use portolan_core::{
    cluster::{Actor, Change, Entry, Outcome, Role, State},
    failover::{
        conduct::{Action, Conductor, Figures, Patience},
        group::Group,
        holding::Statement,
        lease::{Refused, Verdict},
        order::{FromAgent, ToAgent},
        step::Step,
        token::Token,
    },
    model::{
        group::{Mode, Policy},
        ids::Label,
    },
    recovery::exposure::Bracket,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info, warn};

use super::{crew::DaemonCrew, roster::Roster};
use crate::daemon::cluster::{Shared, Unproposed};

/// What an agent said, and which one.
pub(in crate::daemon::cluster) type Said = (Label, Bytes);

/// Between looks at the groups, while nothing is heard.
const TURN: Duration = Duration::from_millis(200);

/// For a majority to confirm that this node leads: some round trips around the world. Then it is asked again.
const CONFIRM: Duration = Duration::from_secs(3);

/// Rounds and proposals whose end waits to be taken in.
const NEWS: usize = 256;

/// What ended beside this task.
enum News {
    /// The consensus confirmed, or not, that this node leads; of which term, and which round of renewals it was for.
    Confirmed { term: u64, round: Option<u64>, is_so: bool },
    /// What became of a step.
    Proposed { term: u64, group: Label, step: Box<Step>, is_refused: bool },
}

/// What a leader knows from elsewhere.
struct Known {
    /// The plan wants something to be shown after a promotion.
    has_validation: bool,
    /// By which token names lead to primaries, as this node answers them; `None`: it has no table yet.
    routes: Option<BTreeMap<Label, Option<Token>>>,
}

impl Figures for Known {
    /// Exposure is not measured yet: nobody knows, which is not zero, so that a person has to allow it.
    fn loss(&self, _: &Label, _: u64) -> Bracket {
        Bracket::UNKNOWN
    }

    fn verified(&self, _: &Label, _: Token) -> Option<bool> {
        (!self.has_validation).then_some(true)
    }

    /// When this node's own names lead to the new primary: it answers by what agents state, as every node does, and each hears that within a
    /// second or two, or has a table that ends by itself. So nobody has to be asked, and a node that is cut off holds up no operation.
    fn is_routed(&self, group: &Label, token: Token) -> bool {
        // Without a name that follows the group there is nothing to wait for.
        self.routes.as_ref().is_some_and(|routes| routes.get(group).is_none_or(|route| *route >= Some(token)))
    }
}

/// This node's term as a leader.
struct Lead {
    term: u64,
    conductor: Conductor,
    /// A round of the consensus is under way.
    has_round: bool,
    /// Groups of which a step is on its way.
    proposing: BTreeSet<Label>,
}

struct Keeper {
    shared: Arc<Shared>,
    crew: Arc<DaemonCrew>,
    /// Of which plan the roster is.
    plan: Option<u64>,
    lead: Option<Lead>,
    /// The term for which a confirmation was asked.
    asked: Option<u64>,
    news: mpsc::Sender<News>,
}

/// Hears agents until nobody can be attached any more.
pub(in crate::daemon::cluster) async fn keep(shared: Arc<Shared>, crew: Arc<DaemonCrew>, mut said: mpsc::Receiver<Said>) {
    let (news, mut heard) = mpsc::channel(NEWS);
    let mut keeper = Keeper { shared, crew, plan: None, lead: None, asked: None, news };
    let mut turns = interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let only = tokio::select! {
            said = said.recv() => match said {
                Some((agent, octets)) => {
                    keeper.hear(&agent, &octets);
                    keeper.crew.roster().place(&agent).map(|place| place.group.clone())
                }
                None => return,
            },
            Some(news) = heard.recv() => {
                keeper.take(news);
                None
            }
            _ = turns.tick() => None,
        };
        keeper.turn(only.as_ref());
    }
}

impl Keeper {
    /// As it is applied here, which is never behind what this node has committed.
    fn state(&self) -> Arc<State> {
        self.shared.consensus().standing().borrow().state.clone()
    }

    /// `only`: nothing is new but of this group; `None`: all are looked at.
    fn turn(&mut self, only: Option<&Label>) {
        let state = self.state();
        self.know(&state);
        let leadership = self.shared.consensus().leadership();
        if !leadership.is_leader {
            if self.lead.take().is_some() {
                info!("the conductor rests: this node leads no more");
            }
            self.asked = None;
            return;
        }
        match &self.lead {
            Some(lead) if lead.term == leadership.term => self.conduct(&state, only),
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
        let cluster = self.shared.identity.borrow().cluster.clone();
        if let (Some(plan), Some(cluster), true) = (state.plan(), cluster, self.plan != revision) {
            self.crew.take(Roster::of(plan), &cluster);
            self.plan = revision;
        }
    }

    /// Asks a majority whether this node still leads, and waits until it has applied what was committed before.
    fn confirm(&self, term: u64, round: Option<u64>) {
        let (consensus, news) = (self.shared.consensus(), self.news.clone());
        tokio::spawn(self.shared.stop.clone().run_until_cancelled_owned(async move {
            // What no majority answers is asked again: renewals that wait are answered by a later round.
            let confirmed = timeout(CONFIRM, consensus.confirm()).await;
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
                    self.lead = Some(Lead { term, conductor, has_round: false, proposing: BTreeSet::new() });
                }
            }
            News::Confirmed { term, round: Some(round), is_so } => self.round_ended(term, round, is_so),
            News::Proposed { term, group, step, is_refused } => {
                if let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) {
                    lead.proposing.remove(&group);
                    if is_refused {
                        lead.conductor.refused(&group, &step, now);
                    }
                }
            }
            News::Confirmed { .. } => {}
        }
    }

    fn round_ended(&mut self, term: u64, round: u64, is_so: bool) {
        let state = self.state();
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) else { return };
        lead.has_round = false;
        if !is_so {
            return;
        }
        let rules: BTreeMap<Label, Verdict> = groups(&state, None).map(|(name, group, _)| (name.clone(), group.rules())).collect();
        for (group, region, reply) in lead.conductor.round_ended(round, |group| rules.get(group)) {
            self.crew.say(&group, &region, &ToAgent::Reply(reply));
        }
    }

    fn hear(&mut self, agent: &Label, octets: &[u8]) {
        let roster = self.crew.roster();
        let Some(place) = roster.place(agent) else { return };
        let said: FromAgent = match serde_json::from_slice(octets) {
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
            }
            FromAgent::Acknowledges { holder, token, sequence } => {
                self.crew.say(group, &holder, &ToAgent::Acknowledged { peer: region.clone(), token, sequence });
            }
            FromAgent::Answer(_) | FromAgent::Renewal(_) | FromAgent::Status(_) => self.hear_as_leader(group, region, said),
        }
    }

    fn hear_as_leader(&mut self, group: &Label, region: &Label, said: FromAgent) {
        let (state, now) = (self.state(), self.shared.clock.tick());
        if let FromAgent::Status(status) = &said {
            if let Some(statement) = Statement::of(group, region, status) {
                // Full: it is stated again within a second.
                let _ = self.shared.stated.try_send((statement, now));
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
            FromAgent::Renewal(_) | FromAgent::AskPeers { .. } | FromAgent::Acknowledges { .. } => {}
        }
    }

    fn conduct(&mut self, state: &State, only: Option<&Label>) {
        let now = self.shared.clock.tick();
        let known = Known { has_validation: self.crew.roster().has_validation, routes: self.shared.routes.borrow().clone() };
        let Some(lead) = &mut self.lead else { return };
        let mut steps = Vec::new();
        for (name, group, policy) in groups(state, only) {
            // Who only looks grants nothing: a grant makes an agent stop its database when it ends.
            if policy.mode == Some(Mode::Observe) && group.grant.is_none() {
                continue;
            }
            for action in lead.conductor.conduct(name, &group, policy, &known, now) {
                match action {
                    Action::Send(region, order) => {
                        self.crew.say(name, &region, &ToAgent::Order(order));
                    }
                    Action::Propose(step) => {
                        if lead.proposing.insert(name.clone()) {
                            steps.push((name.clone(), step));
                        }
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

    fn propose(&self, term: u64, group: Label, step: Step) {
        let (shared, news) = (Arc::clone(&self.shared), self.news.clone());
        let entry = Entry {
            at: shared.clock.now().wall,
            by: Actor { name: format!("node {}", shared.me.node), role: Role::System },
            request_id: None,
            reason: String::new(),
            moves: None,
            overrules: Vec::new(),
            change: Change::Group { group: group.clone(), step: step.clone() },
        };
        let stop = shared.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let is_refused = match shared.propose(entry).await {
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

/// The plan's groups, as they are agreed; `only`: this one.
fn groups<'a>(state: &'a State, only: Option<&Label>) -> impl Iterator<Item = (&'a Label, Group, &'a Policy)> {
    let policies = state.plan().into_iter().flat_map(|plan| plan.plan.outline.groups.iter());
    policies
        .filter(move |(name, _)| only.is_none_or(|only| only == *name))
        .map(|(name, policy)| (name, state.group(name).cloned().unwrap_or_default(), policy))
}
