//! Plays a script of what is seen of groups, and says what the detector does.
//!
//! ```text
//! group orders us [class=bare] [mode=recommend] [priority=1] [hold=10s] [interval=150s] | down us
//! orders sees failing=2 passing=1 late=0 silent=0 | orders standby eu up 5s | orders standby eu down | orders standby eu unknown
//! orders agent serves|silent|gave_up|recovering | orders attests eu working|failing|abstains | orders loss 5s | orders loss unknown
//! orders veto the mode is observe | orders open promoted | orders close | for 45s | why orders | orders observed
//! ```
//!
//! A line holds until the next one says otherwise. Regions are us, eu and ap; who is not told of sees the primary work. A question is answered at
//! once by those that attest something, and what is proposed is committed at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use super::{Action, Case, Detector, Foreseen, Noticed, Patience, Sights, Stand, Trial};
use crate::{
    failover::{
        choose::Durability,
        evidence::{Picture, Standby, Stream, Views, Word},
        grounds::Attestation,
        group::{Group, Phase, operation},
        lease::{Class, Grant},
        step::Step,
        token::Token,
    },
    model::{
        group::{Mode, OnControlLoss, Policy, policy},
        ids::Label,
        time::{Human, Tick},
    },
    recovery::{
        drill::{Aim, Drill, DrillKind, Noted},
        exposure::Bracket,
    },
    testing::{clock::now_at, script::duration},
};

#[derive(Clone, Copy)]
enum Said {
    Since(Option<Word>),
    Recovering(Tick),
}

#[derive(Clone)]
struct Declared {
    group: Group,
    policy: Policy,
    views: Views,
    /// When each standby last heard the primary; `None`: it does not.
    streams: BTreeMap<Label, Result<Tick, Stream>>,
    agent: Said,
    attests: BTreeMap<Label, Attestation>,
    loss: Bracket,
    vetoes: Vec<String>,
    /// What automation would do, if that is observed.
    observed: Option<(Trial, Drill)>,
}

#[derive(Default)]
struct Around {
    down: BTreeSet<Label>,
    losses: BTreeMap<Label, Bracket>,
}

impl Sights for Around {
    fn is_down(&self, region: &Label) -> bool {
        self.down.contains(region)
    }

    fn estimate(&self, group: &Label) -> Bracket {
        self.losses[group]
    }
}

pub(super) fn play(script: &str) -> String {
    let mut stage = Stage {
        now: Tick(0),
        groups: BTreeMap::new(),
        around: Around::default(),
        detector: Detector::new(Patience::default()),
        text: String::new(),
    };
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        writeln!(stage.text, "> {line}").unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["group", name, primary, options @ ..] => {
                stage.groups.insert(Label::new(name), declared(primary, options));
            }
            ["down", region] => {
                stage.around.down.insert(Label::new(region));
            }
            ["for", time] => stage.run(duration(time)),
            ["why", name] => stage.why(&Label::new(name)),
            [name, "observed"] => {
                let trial = stage.detector.trial(&Label::new(name)).unwrap();
                stage.groups.get_mut(&Label::new(name)).expect(line).observed = Some((trial, observation()));
            }
            [name, rest @ ..] => {
                let now = stage.now;
                stage.groups.get_mut(&Label::new(name)).expect(line).tell(rest, now);
            }
            [] => {}
        }
    }
    stage.text
}

pub(super) fn observation() -> Drill {
    Drill {
        id: 7,
        aim: Aim { lasts: Some(Duration::from_secs(3600)), ..Aim::new(DrillKind::ObserveOnly) },
        who: "ana".to_owned(),
        why: "test drive".to_owned(),
        began: now_at(Tick(0)).wall,
        schedule: None,
        operations: Vec::new(),
        trail: Vec::new(),
    }
}

fn declared(primary: &str, options: &[&str]) -> Declared {
    let mut policy = policy(primary, &["us", "eu", "ap"]);
    let mut class = Class::Armed { supervisor: 1 };
    for option in options {
        match option.split_once('=').expect("key=value") {
            ("class", "bare") => class = Class::Bare,
            ("mode", "recommend") => policy.mode = Some(Mode::Recommend),
            ("priority", number) => policy.priority = number.parse().unwrap(),
            ("hold", time) => policy.confirm_hold = duration(time),
            ("interval", time) => policy.probe_interval = duration(time),
            other => panic!("{other:?}"),
        }
    }
    Declared { group: adopted(primary, class), policy, views: Views { passing: 3, ..Views::default() }, ..quiet() }
}

pub(super) fn adopted_by_us() -> Group {
    adopted("us", Class::Armed { supervisor: 1 })
}

fn adopted(primary: &str, class: Class) -> Group {
    let grant = Grant {
        token: Token { generation: 0, epoch: 5 },
        region: primary.into(),
        ttl: Duration::from_secs(90),
        margin: Duration::from_secs(10),
        longest: Duration::from_secs(90),
        class,
        is_attested: true,
        durability: Durability::Async,
        on_control_loss: OnControlLoss::HoldIfAllAck,
        peers: BTreeSet::new(),
        above: 1,
    };
    Group { token: grant.token, grant: Some(grant), ..Group::default() }
}

fn quiet() -> Declared {
    Declared {
        group: Group::default(),
        policy: policy("us", &["us", "eu", "ap"]),
        views: Views::default(),
        streams: BTreeMap::new(),
        agent: Said::Since(Some(Word::Serves)),
        attests: BTreeMap::new(),
        loss: Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(1)) },
        vetoes: Vec::new(),
        observed: None,
    }
}

impl Declared {
    fn tell(&mut self, words: &[&str], now: Tick) {
        match words {
            ["sees", views @ ..] => {
                self.views = Views::default();
                for view in views {
                    let (key, n) = view.split_once('=').expect("key=value");
                    let n = n.parse().unwrap();
                    match key {
                        "failing" => self.views.failing = n,
                        "late" => self.views.late = n,
                        "passing" => self.views.passing = n,
                        "silent" => self.views.silent = n,
                        _ => panic!("{key}"),
                    }
                }
            }
            ["standby", region, "up", silence] => {
                self.streams.insert(Label::new(region), Ok(Tick(now.0.saturating_sub(micros(duration(silence))))));
            }
            ["standby", region, what] => {
                let stream = if *what == "down" { Stream::Down } else { Stream::Unknown };
                self.streams.insert(Label::new(region), Err(stream));
            }
            ["agent", "serves"] => self.agent = Said::Since(Some(Word::Serves)),
            ["agent", "silent"] => self.agent = Said::Since(None),
            ["agent", "gave_up"] => self.agent = Said::Since(Some(Word::GaveUp)),
            ["agent", "recovering"] => self.agent = Said::Recovering(now),
            ["attests", region, what] => {
                let what = match *what {
                    "failing" => Attestation::Failing,
                    "working" => Attestation::Working,
                    _ => Attestation::Abstains,
                };
                self.attests.insert(Label::new(region), what);
            }
            ["loss", "unknown"] => self.loss = Bracket::UNKNOWN,
            ["loss", time] => self.loss.high = Some(duration(time)),
            ["veto", text @ ..] => self.vetoes = vec![text.join(" ")],
            ["open", phase] => {
                let phase = if *phase == "proposed" { Phase::Proposed } else { Phase::Promoted };
                self.group.operation = Some(operation(phase));
            }
            ["close"] => self.group.operation = None,
            other => panic!("{other:?}"),
        }
    }

    fn picture(&self, now: Tick) -> Picture {
        let standby = |(region, stream): (&Label, &Result<Tick, Stream>)| Standby {
            region: region.clone(),
            stream: stream.map_or_else(|stream| stream, |heard| Stream::Up { silent_for: now.since(heard) }),
            lag_grows: false,
        };
        let agent = match self.agent {
            Said::Since(word) => word,
            Said::Recovering(since) => Some(Word::Recovering(now.since(since))),
        };
        Picture {
            views: self.views,
            failing_for: Some(Duration::from_secs(2)),
            standbys: self.streams.iter().map(standby).collect(),
            agent,
        }
    }
}

struct Stage {
    now: Tick,
    groups: BTreeMap<Label, Declared>,
    around: Around,
    detector: Detector,
    text: String,
}

impl Stage {
    fn run(&mut self, time: Duration) {
        let until = Tick(self.now.0 + micros(time));
        while self.now < until {
            self.now = Tick(self.now.0 + 1_000_000);
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now = now_at(self.now);
        self.around.losses = self.groups.iter().map(|(name, it)| (name.clone(), it.loss)).collect();
        for (name, it) in &self.groups {
            self.detector.see(name, &it.group, &it.policy, &it.picture(self.now), now);
        }
        let actions = self.detector.decide(&cases(&self.groups), &self.around, now);
        self.observe();
        for action in actions {
            let at = Human(Duration::from_micros(self.now.0));
            match action {
                Action::Ask { group, question, regions } => {
                    let regions: Vec<&str> = regions.iter().map(Label::as_str).collect();
                    writeln!(self.text, "    {at} {group}: asks {}", regions.join(", ")).unwrap();
                    for (region, what) in &self.groups[&group].attests {
                        self.detector.attested(&group, question, region, *what);
                    }
                }
                Action::Propose { group, step } => {
                    writeln!(self.text, "    {at} {group}: proposes to {step}").unwrap();
                    let it = self.groups.get_mut(&group).unwrap();
                    match step {
                        Step::Decide(decide) => {
                            let grounds = decide.grounds.unwrap();
                            let phase = if decide.guards.is_empty() { Phase::Decided } else { Phase::Proposed };
                            it.group.operation = Some(operation(phase));
                            let start = now_at(Tick(0)).wall;
                            let rounds: Vec<String> = grounds.rounds.iter().map(|at| Human(at.since(start)).to_string()).collect();
                            let told: Vec<String> = grounds.attestations.iter().map(|(region, what)| format!("{region} {what}")).collect();
                            let [impact, detected] = [grounds.impact, grounds.detected].map(|at| Human(at.since(start)));
                            writeln!(self.text, "        failing since {impact}, detected at {detected}, rounds at {}", rounds.join(", "))
                                .unwrap();
                            writeln!(self.text, "        {}", told.join(", ")).unwrap();
                        }
                        _ => it.group.operation = None,
                    }
                }
            }
        }
    }

    fn observe(&mut self) {
        let now = now_at(self.now);
        let at = Human(Duration::from_micros(self.now.0));
        let agreed = self.groups.clone();
        for (name, it) in &mut self.groups {
            let Some((trial, drill)) = &mut it.observed else { continue };
            trial.see(&it.group, &it.policy, &agreed[name].picture(self.now), now);
            let mut case = cases(&agreed).into_iter().find(|case| case.name == name).unwrap();
            let mode = std::mem::take(&mut case.stand.doubts);
            let foresee = || Foreseen { to: Some("eu".into()), recovery: None, mode };
            for noticed in trial.look(&self.detector, &case, drill, &self.around, foresee, now) {
                match noticed {
                    Noticed::Ask { question, .. } => {
                        writeln!(self.text, "    {at} {name}: asks to observe").unwrap();
                        it.attests.iter().for_each(|(region, what)| trial.attested(question, region, *what));
                    }
                    Noticed::Note(notice) => {
                        writeln!(self.text, "    {at} {name}: notes {notice}").unwrap();
                        drill.trail.push(Noted { at: now.wall, notice });
                    }
                }
            }
        }
    }

    fn why(&mut self, name: &Label) {
        let cases = cases(&self.groups);
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let reason = self.detector.explain(case, &self.around, now_at(self.now));
        for line in reason.render().lines() {
            writeln!(self.text, "    {line}").unwrap();
        }
    }
}

fn cases(groups: &BTreeMap<Label, Declared>) -> Vec<Case<'_>> {
    let is_open = |it: &&Declared| it.group.operation.as_ref().is_some_and(|operation| operation.phase != Phase::Proposed);
    let free = 3 - groups.values().filter(is_open).count();
    let stand = |it: &Declared| {
        let attesting = ["us", "eu", "ap"].into_iter().map(Label::new).filter(|region| Some(region) != it.group.primary()).collect();
        let doubts = (it.policy.mode == Some(Mode::Recommend)).then(|| "the mode is recommend".to_owned());
        Stand { vetoes: it.vetoes.clone(), doubts: doubts.into_iter().collect(), attesting, plan_revision: 1, free, confirming: Vec::new() }
    };
    groups.iter().map(|(name, it)| Case { name, group: &it.group, policy: &it.policy, stand: stand(it) }).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
