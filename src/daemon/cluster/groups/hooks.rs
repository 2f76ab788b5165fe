//! The operator's programs around an operation: one that may refuse it, those that stop the old primary, one that hears how it ended.
//!
//! ```text
//!  before   on the node that proposes a decision, when everything else is there: anything but "yes" becomes a guard, so that a person approves
//!  fence    on the leader, rung by rung, while the lease is waited for: what each said is committed; it proves something where a drill has shown it
//!  after    on the leader, when it has ended: tried again while it fails, and noted once it was told, so that no later leader tells it again
//! ```
//!
//! A leader that is lost in the middle leaves what the next one does again, by the same `PORTOLAN_KEY`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use portolan_core::{
    cluster::Outcome,
    failover::{
        group::{Closed, Group, Kind, Operation, Phase},
        step::{Decide, Proof, Ran, Step, When},
        token::Token,
    },
    model::{
        ids::Label,
        time::{Human, Now, Tick, Timestamp},
    },
    plan::sections::{DataGroup, FenceRung},
    recovery::{
        incident::Timeline,
        readiness::{Finding, Grade},
    },
};
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{DaemonCrew, keep::entry};
use crate::{
    daemon::cluster::Shared,
    hook::{self, Answer, Call},
    latest::Latest,
};

/// How long whoever may refuse an operation has for it: it delays a failover by so much at the most, and a person's call, which may last ten
/// seconds, still has time to be committed.
const BEFORE_TIME: Duration = Duration::from_secs(5);

/// For a fence that the plan gives no time.
const FENCE_TIME: Duration = Duration::from_secs(30);

/// An agent that is there stops its database within this time, and no program is needed.
const AGENT_FIRST: Duration = Duration::from_secs(5);

/// For whoever hears that an operation has ended.
pub(super) const AFTER_TIME: Duration = Duration::from_secs(60);

/// So often it is tried to tell how an operation ended.
const TRIES_MAX: u32 = 5;

/// Between two tries, times the tries so far.
const AGAIN: Duration = Duration::from_secs(10);

/// Nobody is told of what ended longer ago: the hook may be new in the plan.
const AFTER_WITHIN: Duration = Duration::from_secs(3600);

/// The longest text of a hook's answer that is committed.
const SAID_CHARS_MAX: usize = 300;

/// A program that is tried as a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) name: String,
    arguments: Vec<String>,
    pub(super) timeout: Duration,
    /// The program that lets in again whom it cut off.
    pub(super) unfence: Option<String>,
    /// The plan takes its success for the end: no other program is tried after it.
    confirms: bool,
    /// The agent is given a moment before it.
    is_after_agent: bool,
}

/// The programs of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    before: Option<String>,
    rungs: Vec<Rung>,
    after: Option<String>,
}

impl Hooks {
    /// As the plan says.
    pub(super) fn of(data: &DataGroup) -> Self {
        let rung = |(i, rung): (usize, &FenceRung)| {
            Some(Rung {
                name: rung.hook.as_ref()?.0.to_string(),
                arguments: rung.arguments.iter().map(|text| text.0.clone()).collect(),
                timeout: rung.timeout.unwrap_or(FENCE_TIME),
                unfence: rung.unfence.as_ref().map(|name| name.0.to_string()),
                confirms: rung.confirms,
                is_after_agent: data.fence[..i].iter().any(|rung| rung.agent.is_some()),
            })
        };
        let name = |secret: &portolan_core::document::Secret| secret.0.to_string();
        Self {
            before: data.hooks.before.as_ref().map(name),
            rungs: data.fence.iter().enumerate().filter_map(rung).collect(),
            after: data.hooks.after.as_ref().map(name),
        }
    }
}

impl Hooks {
    /// The rung of a program.
    pub(super) fn rung(&self, name: &str) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.name == name)
    }

    /// Whether this node, which may lead, could run all of them: for a group's readiness. `directory`: where they lie; `None`: nowhere.
    pub(super) fn findings(&self, directory: Option<&Path>) -> Vec<Finding> {
        let rungs = self.rungs.iter().flat_map(|rung| [Some(&rung.name), rung.unfence.as_ref()]);
        let names: BTreeSet<&String> = rungs.chain([self.before.as_ref(), self.after.as_ref()]).flatten().collect();
        let found = |grade, text, fix: &str| Finding { check: "hook".to_owned(), grade, text, fix: fix.to_owned() };
        let trouble = |name: &&String| {
            let why = match directory {
                Some(directory) => hook::find(directory, name).err()?,
                None => "it has no hooks_dir".to_owned(),
            };
            let text = format!("this node could not run hook {name}: {why}");
            Some(found(Grade::Warn, text, "put the program into hooks_dir of every node that may lead"))
        };
        let missing: Vec<Finding> = names.iter().filter_map(trouble).collect();
        match names.len() {
            0 => Vec::new(),
            n if missing.is_empty() => vec![found(Grade::Pass, format!("programs of the plan that this node could run: {n}"), "")],
            _ => missing,
        }
    }

    /// Who hears how operations end; `None`: nobody.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// How long that program, and the one that lets in again, may take.
    pub(super) fn patience(&self, name: &str) -> Duration {
        self.rung(name).map_or(FENCE_TIME, |rung| rung.timeout)
    }
}

impl Rung {
    /// Its arguments, about the member of this region.
    pub(super) fn arguments_for(&self, region: &str) -> Vec<String> {
        self.arguments.iter().map(|text| text.replace("{region}", region)).collect()
    }
}

/// Asks whoever may refuse a decision; what is not a yes becomes a guard. `by`: who wants it.
pub(super) async fn before(shared: &Shared, hooks: &Hooks, group: &Label, decide: &mut Decide, by: &str) {
    let Some(name) = hooks.before.as_deref().filter(|_| decide.guards.is_empty()) else { return };
    let token = decide.token.to_string();
    let key = format!("{group}/{token}/before");
    let input = json!({
        "verb": "before", "group": group, "kind": decide.kind.word(), "from": decide.from, "to": decide.to, "token": token, "by": by,
        "loss": decide.estimate.to_string(), "is_automatic": decide.grounds.is_some() || decide.setback.is_some(),
    });
    let told = [("VERB", "before"), ("GROUP", group.as_str()), ("REGION", decide.from.as_str()), ("TOKEN", &token), ("KEY", &key)];
    match call(shared, name, Vec::new(), &told, input, BEFORE_TIME).await {
        Answer::Yes(_) => info!(%group, "hook `{name}` lets it begin"),
        Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => {
            warn!(%group, "{why}: it waits for a person's approval");
            decide.guards.push(cut(&why));
        }
    }
}

/// The same for a decision of a person.
pub(in crate::daemon::cluster) async fn ask_before(shared: &Shared, crew: &DaemonCrew, group: &Label, decide: &mut Decide, by: &str) {
    let hooks = crew.roster().hooks(group);
    before(shared, &hooks, group, decide, by).await;
}

/// Who hears how operations on a group end; `None`: nobody.
pub(in crate::daemon::cluster) fn teller(crew: &DaemonCrew, group: &Label) -> Option<String> {
    crew.roster().hooks(group).after().map(str::to_owned)
}

/// What is run for the groups of one leader.
#[derive(Debug, Default)]
pub(super) struct Errands {
    /// The decision whose fences were tried, by group.
    fences: BTreeMap<Label, Token>,
    /// Tries to tell how an operation ended, by its id.
    afters: BTreeMap<u64, After>,
}

#[derive(Clone, Copy, Debug)]
struct After {
    n_tries: u32,
    /// `None`: one is under way, or it was told.
    next: Option<Tick>,
}

/// How a try to tell ended.
pub(super) struct Told {
    pub(super) group: Label,
    pub(super) operation: u64,
    name: String,
    answer: Answer,
}

impl Errands {
    /// The fences that are to be tried now: of a decision that is new.
    pub(super) fn fences<'a>(&mut self, name: &Label, group: &'a Group, hooks: &Hooks) -> Option<&'a Operation> {
        let operation = group.operation.as_ref().filter(|it| it.phase == Phase::Decided && it.kind == Kind::Failover)?;
        let is_new = !hooks.rungs.is_empty() && self.fences.insert(name.clone(), group.token) != Some(group.token);
        is_new.then_some(operation)
    }

    /// An operation whose end is to be told now.
    pub(super) fn ended<'a>(&mut self, group: &'a Group, hooks: &Hooks, now: Now) -> Option<&'a Closed> {
        hooks.after.as_ref()?;
        let is_due = |closed: &&Closed| {
            let try_ = self.afters.entry(closed.operation.id).or_insert(After { n_tries: 0, next: Some(now.tick) });
            try_.next.is_some_and(|next| next <= now.tick)
        };
        let mut untold = group.ended().filter(|closed| closed.told.is_none() && now.wall.since(closed.at) < AFTER_WITHIN);
        let closed = untold.find(is_due)?;
        self.afters.insert(closed.operation.id, After { n_tries: self.n_tries(closed.operation.id) + 1, next: None });
        Some(closed)
    }

    fn n_tries(&self, operation: u64) -> u32 {
        self.afters.get(&operation).map_or(0, |after| after.n_tries)
    }

    /// What is to be noted of a try; `None`: it is tried again later.
    pub(super) fn was_told(&mut self, told: Told, now: Tick) -> Option<Ran> {
        let Told { group, operation, name, answer } = told;
        let n_tries = self.n_tries(operation);
        let said = match answer {
            Answer::Yes(_) => "told".to_owned(),
            Answer::No(why) => why,
            Answer::Again(why) | Answer::Failed(why) if n_tries >= TRIES_MAX => format!("{why}, {n_tries} times"),
            Answer::Again(why) | Answer::Failed(why) => {
                warn!(%group, "{why}: it is tried again");
                self.afters.insert(operation, After { n_tries, next: Some(now + AGAIN * n_tries) });
                return None;
            }
        };
        Some(Ran { when: When::After, name, said: cut(&said) })
    }

    /// What was noted of an operation did not get into the log: it is told again, by the same key.
    pub(super) fn forget(&mut self, operation: u64) {
        self.afters.remove(&operation);
    }
}

/// Tries the rungs of a fence in order, as long as the decision stands, and puts on the record what each said.
pub(super) async fn fence(shared: Arc<Shared>, name: Label, operation: Operation, token: Token, hooks: Arc<Hooks>) {
    let stands = || {
        let state = shared.consensus().standing().latest().state;
        let open = state.group(&name).filter(|group| group.token == token).and_then(|group| group.operation.as_ref());
        open.is_some_and(|it| it.id == operation.id && it.phase == Phase::Decided)
    };
    let (region, id, token_text) = (operation.from.as_str(), format!("op-{}", operation.id), token.to_string());
    for (i, rung) in hooks.rungs.iter().enumerate() {
        if i == 0 && rung.is_after_agent {
            sleep(AGENT_FIRST).await;
        }
        if !stands() {
            return;
        }
        let key = format!("{name}/{token_text}/fence/{}", rung.name);
        let input = json!({ "verb": "fence", "group": name, "operation": id, "region": region, "token": token_text });
        let told =
            [("VERB", "fence"), ("GROUP", name.as_str()), ("OPERATION", &id), ("REGION", region), ("TOKEN", &token_text), ("KEY", &key)];
        // Whom it cuts off is to be let in again one day: on record before it is run.
        if rung.unfence.is_some() && !note(&shared, &name, token, &operation, rung, "begins".to_owned()).await {
            return;
        }
        let is_proven = rung.confirms && proves(&shared, &name, &operation, rung);
        let (said, is_done) = match call(&shared, &rung.name, rung.arguments_for(region), &told, input, rung.timeout).await {
            Answer::Yes(_) if is_proven => ("done".to_owned(), true),
            Answer::Yes(_) => ("done; advisory, since no drill has proved it".to_owned(), true),
            Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => (cut(&why), false),
        };
        info!(group = %name, region, "fence hook `{}`: {said}", rung.name);
        note(&shared, &name, token, &operation, rung, said).await;
        if is_done && is_proven {
            confirm(&shared, &name, token, &rung.name, &stands).await;
        }
        if is_done && rung.confirms {
            return;
        }
    }
}

/// Puts on record what a rung said; `false`: it is not there.
async fn note(shared: &Arc<Shared>, name: &Label, token: Token, operation: &Operation, rung: &Rung, said: String) -> bool {
    let ran = Ran { when: When::Fence, name: rung.name.clone(), said };
    let step = Step::Ran { token, operation: operation.id, ran };
    match shared.propose(entry(shared, name, step)).await {
        Ok(committed) => matches!(committed.outcome, Outcome::Accepted { .. }),
        Err(why) => {
            debug!(group = %name, "what a hook said is not on the record: {why}");
            false
        }
    }
}

/// Whether a drill has shown lately that a rung stops a member.
fn proves(shared: &Shared, name: &Label, operation: &Operation, rung: &Rung) -> bool {
    let state = shared.consensus().standing().latest().state;
    let policy = state.plan().and_then(|plan| plan.plan.outline.groups.get(name));
    let known = policy.zip(state.group(name));
    known.is_some_and(|(policy, group)| group.proven(policy, &operation.from, shared.clock.now().wall).contains(&rung.name))
}

/// Says that the old primary is stopped, as long as nobody has said so.
async fn confirm(shared: &Arc<Shared>, name: &Label, token: Token, hook: &str, stands: impl Fn() -> bool) {
    let proof = Proof::Confirmed { by: hook.to_owned() };
    while stands() {
        match shared.propose(entry(shared, name, Step::Fenced { token, proof: proof.clone() })).await {
            Ok(committed) => return info!(group = %name, "hook `{hook}` confirms: {}", committed.outcome),
            Err(why) => debug!(group = %name, "that hook `{hook}` confirms is not on the record yet: {why}"),
        }
    }
}

/// Tells how an operation ended.
pub(super) async fn after(shared: Arc<Shared>, group: Label, closed: Closed, hooks: Arc<Hooks>) -> Option<Told> {
    let name = hooks.after.clone()?;
    let operation = &closed.operation;
    let id = format!("op-{}", operation.id);
    let promoted = operation.chosen.as_ref().map(|chosen| chosen.choice.region.clone());
    let region = promoted.as_ref().unwrap_or(&operation.from).to_string();
    let key = format!("{group}/{id}/after");
    let told = [
        ("VERB", "after"),
        ("GROUP", group.as_str()),
        ("OPERATION", &id),
        ("REGION", &region),
        ("ENDING", closed.ending.word()),
        ("KEY", &key),
    ];
    let answer = call(&shared, &name, Vec::new(), &told, ended(&group, &closed, &id, promoted), AFTER_TIME).await;
    Some(Told { group, operation: operation.id, name, answer })
}

/// What a hook reads of an operation that has ended.
fn ended(group: &Label, closed: &Closed, id: &str, promoted: Option<Label>) -> Value {
    let operation = &closed.operation;
    let began: Option<Timestamp> = operation.marks.first().map(|mark| mark.at);
    json!({
        "verb": "after", "group": group, "operation": id, "kind": operation.kind.word(), "from": operation.from, "promoted": promoted,
        "ending": closed.ending.word(), "loss": operation.chosen.as_ref().map(|chosen| chosen.loss.to_string()),
        "took": Timeline::of_closed(closed, None).recovery(closed.at).map(|took| Human(took).to_string()),
        "began_ms": began.map(|at| at.0), "ended_ms": closed.at.0,
    })
}

/// Runs a program of the plan. `told`: what it finds in its environment, each name behind `PORTOLAN_`.
pub(super) async fn call(
    shared: &Shared,
    name: &str,
    arguments: Vec<String>,
    told: &[(&str, &str)],
    input: Value,
    timeout: Duration,
) -> Answer {
    let Some(directory) = &shared.hooks_dir else { return Answer::Failed(format!("hook `{name}`: this node has no hooks_dir")) };
    let environment = told.iter().map(|(key, value)| (format!("PORTOLAN_{key}"), (*value).to_owned())).collect();
    hook::run(directory, &Call { name: name.to_owned(), arguments, environment, input, timeout }).await
}

fn cut(text: &str) -> String {
    text.chars().take(SAID_CHARS_MAX).collect()
}
