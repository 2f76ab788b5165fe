//! Entries in words, and what a person would be told.
//!
//! ```text
//! at 10m                               # the proposer's clock from here on, since the start
//! found shop
//! plan 7 us+eu+ap api:us+eu:min=2 web:us+eu+ap group=orders+books rungs=cut! restores uncopied quorum mode=observe moved=25% freeze=1h..2h/automation expected=6 digest=b
//! drain region:us for 1h               # also: up down maintenance hold weight=N; scopes as in the node's drills; `for -5m` is in the past
//! lift o-3 | freeze everything for 1h | freeze service:api automation for 1h | unfreeze f-4 | ack OBJECT for 1h
//! node 1 a us voter level=1 plan=7 | forget 1 | level 2 | generation 1 lost=1+2 | expire
//! evacuate us skip=orders for 4h | note 7 orders because why | abandon 7 undrain
//! return us steps=10%+50%+100% time=5m | advance 7 | wait 7 because why | take 7 because why
//! ... by=ana/admin request=r1 id=night moves=10% overrule=min_healthy_regions/2h because some reason
//! raw {"kind":99,...}                  # octets as they stand in the log
//! restart | upgrade 2 | show | audit | stand orders
//! ```
//!
//! Every entry goes through octets to a second machine, and after each the two are compared, saved, restored and audited.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::steps;
use crate::{
    cluster::{
        Actor, Applied, Change, End, Entry, FEATURE_LEVEL, Halt, Node, NodeId, NodeRole, Outcome, Outline, Overrule, PutPlan, Role, Rule,
        Service, State, Window,
    },
    health::overlay::{OverrideKind, Scope},
    model::{
        group::{Durability, Mode, Policy, Rung, policy},
        ids::Label,
        time::{Human, Timestamp},
        units::{Share, Weight},
    },
    node::tests::plan_text::value,
    testing::script::duration,
};

/// Data groups that a script can speak of.
const GROUPS: [&str; 5] = ["orders", "books", "carts", "lamps", "shoes"];

/// The clock at the start of all scripts: 2027-01-15T08:00:00Z.
pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);

pub(super) fn play(script: &str) -> String {
    let mut drill =
        Drill { one: State::default(), other: State::default(), index: 0, at: START, level: FEATURE_LEVEL, text: String::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        writeln!(drill.text, "> {line}").unwrap();
        drill.step(line);
        drill.prove();
    }
    drill.text
}

struct Drill {
    one: State,
    other: State,
    index: u64,
    at: Timestamp,
    /// What this program supports.
    level: u32,
    text: String,
}

impl Drill {
    fn step(&mut self, line: &str) {
        let (words, reason) = line.split_once(" because ").unwrap_or((line, ""));
        let words: Vec<&str> = words.split_whitespace().collect();
        match words[0] {
            "at" => self.at = START + duration(words[1]),
            "raw" => self.raw(line.split_once(' ').unwrap().1),
            "restart" => self.restart(),
            "upgrade" => {
                self.level = words[1].parse().unwrap();
                self.restart();
            }
            "show" => self.show(),
            "audit" => self.audit(),
            "stand" => self.stand(&Label::new(words[1])),
            _ => {
                let entry = self.entry(&words, reason);
                self.apply(&entry);
            }
        }
    }

    /// How a group stands with automation.
    fn stand(&mut self, name: &Label) {
        let Some(stand) = self.one.stand(name, self.at) else { return self.note("no such group") };
        let lines = |mark: &str, lines: &[String]| lines.iter().map(|line| format!("{mark} {line}")).collect::<Vec<_>>();
        let regions: Vec<&str> = stand.attesting.iter().map(Label::as_str).collect();
        self.note(&format!("plan {}, {} free, attested by {}", stand.plan_revision, stand.free, regions.join("+")));
        for line in lines("veto:", &stand.vetoes).into_iter().chain(lines("doubt:", &stand.doubts)) {
            self.note(&line);
        }
    }

    fn note(&mut self, line: &str) {
        writeln!(self.text, "  {line}").unwrap();
    }

    fn apply(&mut self, entry: &Entry) {
        self.index += 1;
        let before = self.one.clone();
        let preview = self.one.preview(self.index, entry);
        let applied = self.one.apply(self.index, entry);
        assert_eq!(applied.as_ref().map(|it| &it.outcome), preview.as_ref(), "a preview tells what comes");
        let from_octets = self.other.apply_octets(self.index, &entry.encode().unwrap());
        assert_eq!(applied, from_octets, "both machines come to the same");
        match applied {
            Ok(applied) => {
                self.prove_effect(&before, entry, &applied);
                self.tell(&applied);
            }
            Err(halt) => {
                assert_eq!(self.one.snapshot(), before.snapshot(), "a halt changes nothing");
                self.note(&format!("{:>3} HALT {halt}", self.index));
            }
        }
    }

    fn tell(&mut self, applied: &Applied) {
        let touched: Vec<String> = applied.touched.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
        let touched = if touched.is_empty() { String::new() } else { format!(" [{}]", touched.join(", ")) };
        let repeated = if applied.repeated { "repeat, " } else { "" };
        self.note(&format!("{:>3} {repeated}{}{touched}", self.index, applied.outcome));
    }

    fn prove_effect(&self, before: &State, entry: &Entry, applied: &Applied) {
        let mut after = self.one.clone();
        if applied.repeated {
            assert_eq!(after, *before, "a repeat changes nothing");
            return;
        }
        if matches!(applied.outcome, Outcome::Rejected(_)) || applied.touched.is_empty() {
            after.audit = before.audit.clone();
            if entry.request_id.is_some() {
                after.requests = before.requests.clone();
            }
            assert_eq!(after, *before, "a refusal changes nothing but the chain and what its request id remembers");
        }
    }

    /// What holds after every line.
    fn prove(&self) {
        let octets = self.one.snapshot();
        assert_eq!(octets, self.other.snapshot(), "the same entries give the same octets\n{}", self.text);
        if self.one.halted().is_none() {
            assert_eq!(State::restore(&octets, self.level).as_ref(), Ok(&self.one), "a snapshot is the whole state\n{}", self.text);
        }
        self.one.audit().verify().unwrap();
    }

    fn raw(&mut self, octets: &str) {
        self.index += 1;
        for machine in [&mut self.one, &mut self.other] {
            let before = machine.snapshot();
            let halt: Halt = machine.apply_octets(self.index, octets.as_bytes()).unwrap_err();
            assert_eq!(machine.snapshot(), before);
            assert_eq!(machine.halted(), Some(&halt));
        }
        self.note(&format!("{:>3} HALT {}", self.index, self.one.halted().unwrap()));
    }

    /// Another process, from the snapshot. The log behind it is applied again by whoever kept it, which scripts do not.
    fn restart(&mut self) {
        let octets = self.one.snapshot();
        for machine in [&mut self.one, &mut self.other] {
            *machine = State::restore(&octets, self.level).unwrap();
        }
        self.index = self.index.max(self.one.audit().head().index);
    }

    fn show(&mut self) {
        let (state, at) = (self.one.clone(), self.at);
        let plan = state.plan().map_or_else(|| "no plan".to_owned(), |it| format!("plan revision {} by {}", it.plan.revision, it.by.name));
        let cluster = state.cluster().map_or_else(|| "not founded".to_owned(), |id| format!("cluster {id}"));
        self.note(&format!("{cluster}, {plan}, feature level {}, generation {}", state.feature_level(), state.generation()));
        for order in state.overrides() {
            let ended = if order.is_in_force(at) { "" } else { " (ended)" };
            self.note(&format!("{}: {order}{ended}", order.id));
        }
        for freeze in state.freezes(at) {
            let automation = if freeze.automation { ", automation too" } else { "" };
            self.note(&format!(
                "{}: freeze of {} by {} until {}{automation}: {}",
                freeze.id, freeze.scope, freeze.who, freeze.until, freeze.why
            ));
        }
        for (object, it) in &state.acknowledgements {
            let ended = if state.acknowledgement(object, at).is_some() { "" } else { " (ended)" };
            self.note(&format!("{object}: seen by {} until {}: {}{ended}", it.who, it.until, it.why));
        }
        for known in state.nodes() {
            let node = &known.node;
            let plan = node.plan_revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
            self.note(&format!(
                "node {} {} {} in {}, level {}, plan {plan}",
                node.id, node.name, node.role, node.region, node.feature_level
            ));
        }
        for (name, group) in state.groups() {
            steps::show(name, group).iter().for_each(|line| self.note(line));
        }
        for evacuation in state.evacuations() {
            self.note(&format!("evac-{} of {}, {}", evacuation.id, evacuation.region, evacuation.standing()));
            for item in &evacuation.items {
                let because = item.progress.because();
                let operation = item.progress.operation().map_or_else(String::new, |id| format!(" op-{id}"));
                let line = format!("  {}: {}{operation} {because}", item.group, item.progress.word());
                self.note(line.trim_end());
            }
            if evacuation.ended.is_none() {
                self.note(&format!("  next: {:?}", state.next_of(evacuation, at)));
            }
        }
        for it in state.returns() {
            let how = it.ended.as_ref().map_or_else(|| "open".to_owned(), |ended| format!("{} {}", ended.outcome, ended.why));
            let waits = if it.because.is_empty() { String::new() } else { format!(", waits: {}", it.because) };
            self.note(&format!(
                "return-{} of {} by {}, at {} until {}{waits}: {}",
                it.id,
                it.region,
                it.order,
                it.share(),
                it.due(),
                how.trim_end()
            ));
        }
        if let Some(end) = state.next_end() {
            self.note(&format!("next end in {}", Human(end.since(at))));
        }
    }

    fn audit(&mut self) {
        for link in self.one.clone().audit().links() {
            assert_eq!(link.computed_hash(), link.hash);
            let why = if link.why.is_empty() { String::new() } else { format!(" ({})", link.why) };
            self.note(&format!("{:>3} {}/{}: {}{why} -> {}", link.index, link.who, link.role, link.what, link.outcome));
        }
        let head = self.one.audit().head();
        self.note(&format!("head {} {}", head.index, head.hash));
    }

    //--- Words

    fn entry(&self, words: &[&str], reason: &str) -> Entry {
        let (name, role) = value(words, "by").and_then(|by| by.split_once('/')).unwrap_or(("ana", "operator"));
        let overrules = value(words, "overrule").map(|text| {
            let (rule, end) = text.split_once('/').unwrap();
            let rule: Rule = serde_json::from_value(rule.to_uppercase().into()).unwrap();
            Overrule { rule, reason: "it must be".to_owned(), end: self.end(end) }
        });
        Entry {
            at: self.at,
            by: Actor { name: name.to_owned(), role: role_of(role) },
            request_id: value(words, "request").map(str::to_owned),
            reason: reason.to_owned(),
            moves: value(words, "moves").map(percent),
            overrules: overrules.into_iter().collect(),
            change: self.change(words, reason),
        }
    }

    fn change(&self, words: &[&str], reason: &str) -> Change {
        let rest = &words[1..];
        let id = value(words, "id").map(Label::new);
        let end = || {
            let position = words.iter().position(|word| *word == "for").expect("`for DURATION`");
            self.end(words[position + 1])
        };
        let order = |kind| Change::PutOverride { id: id.clone(), kind, scope: scope(rest[0]), end: end() };
        match words[0] {
            "found" => Change::Found { cluster: Label::new(rest[0]) },
            "plan" => Change::PutPlan(Box::new(plan(rest))),
            "drain" => order(OverrideKind::Drain),
            "up" => order(OverrideKind::ForcedUp),
            "down" => order(OverrideKind::ForcedDown),
            "maintenance" => order(OverrideKind::Maintenance),
            "hold" => order(OverrideKind::Hold),
            word if word.starts_with("weight=") => order(OverrideKind::Weight(Weight(word[7..].parse().unwrap()))),
            "lift" => Change::RemoveOverride { id: Label::new(rest[0]) },
            "freeze" => Change::Freeze { id, scope: scope(rest[0]), end: end(), automation: rest.contains(&"automation") },
            "unfreeze" => Change::Unfreeze { id: Label::new(rest[0]) },
            "ack" => Change::Acknowledge { object: rest[0].to_owned(), end: end() },
            "node" => Change::RecordNode(node(rest)),
            "forget" => Change::ForgetNode { id: NodeId(rest[0].parse().unwrap()) },
            "level" => Change::RaiseFeatureLevel { level: rest[0].parse().unwrap() },
            "generation" => Change::RaiseGeneration {
                generation: rest[0].parse().unwrap(),
                lost: list(value(words, "lost").unwrap_or("")).map(|id| NodeId(id.parse().unwrap())).collect(),
            },
            "expire" => Change::Expire,
            "evacuate" => {
                let skip = list(value(words, "skip").unwrap_or("")).map(Label::new).collect();
                Change::Evacuate { region: Label::new(rest[0]), skip, end: end() }
            }
            "note" => {
                Change::NoteEvacuation { evacuation: rest[0].parse().unwrap(), group: Label::new(rest[1]), because: reason.to_owned() }
            }
            "abandon" => Change::CancelEvacuation { evacuation: rest[0].parse().unwrap(), undrain: rest.contains(&"undrain") },
            "return" => Change::Return {
                region: Label::new(rest[0]),
                steps: list(value(words, "steps").unwrap()).map(percent).collect(),
                step_time: duration(value(words, "time").unwrap()),
            },
            "advance" => Change::AdvanceReturn { id: rest[0].parse().unwrap() },
            "wait" => Change::NoteReturn { id: rest[0].parse().unwrap(), because: reason.to_owned() },
            "take" => Change::TakeBack { id: rest[0].parse().unwrap(), why: reason.to_owned() },
            name if GROUPS.contains(&name) => {
                let name = Label::new(name);
                Change::Group { step: steps::step(&name, rest, reason, &self.one, self.at), group: name }
            }
            word => panic!("`{word}` is not a change"),
        }
    }

    /// A length of time, or with `@` a time since the start, or with `-` a time in the past.
    fn end(&self, text: &str) -> End {
        match (text.strip_prefix('@'), text.strip_prefix('-')) {
            (Some(time), _) => End::At(START + duration(time)),
            (_, Some(ago)) => End::At(Timestamp(self.at.0 - i64::try_from(duration(ago).as_millis()).unwrap())),
            _ => End::AfterMs(u64::try_from(duration(text).as_millis()).unwrap()),
        }
    }
}

fn role_of(text: &str) -> Role {
    serde_json::from_value(text.into()).unwrap()
}

fn percent(text: &str) -> Share {
    Share::percent(text.trim_end_matches('%').parse().unwrap())
}

pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split('+').filter(|word| !word.is_empty())
}

pub(super) fn scope(text: &str) -> Scope {
    match text.split_once(':').unwrap_or((text, "")) {
        ("everything", _) => Scope::Everything,
        ("region", name) => Scope::Region(Label::new(name)),
        ("service", name) => Scope::Service(Label::new(name)),
        ("group", name) => Scope::Group(Label::new(name)),
        ("endpoint", name) => Scope::Endpoint(name.to_owned()),
        ("pool", name) => {
            let (service, region) = name.split_once('/').unwrap();
            Scope::Pool { service: Label::new(service), region: Label::new(region) }
        }
        (word, _) => panic!("`{word}` is not a scope"),
    }
}

/// Each pool has two endpoints, `192.0.2.1:80` and `192.0.2.2:80`. A group has a member in each region, the primary in the first.
fn plan(words: &[&str]) -> PutPlan {
    let regions: Vec<&str> = list(words[1]).collect();
    let revision: u64 = words[0].parse().unwrap();
    let services = words[2..].iter().filter(|word| word.contains(':') && !word.contains('=') || word.contains(":min=")).map(|word| {
        let parts: Vec<&str> = word.split(':').collect();
        let targets: BTreeSet<String> = [1, 2].map(|i| format!("192.0.2.{i}:80")).into_iter().collect();
        let pools = list(parts[1]).map(|region| (Label::new(region), targets.clone())).collect();
        let min_healthy_regions = parts.get(2).map_or(1, |min| min[4..].parse().unwrap());
        (Label::new(parts[0]), Service { min_healthy_regions, pools })
    });
    let freezes = value(words, "freeze").map(|text| {
        let (range, automation) = text.split_once('/').map_or((text, false), |(range, _)| (range, true));
        let (from, until) = range.split_once("..").unwrap();
        Window { from: START + duration(from), until: START + duration(until), reason: "peak season".to_owned(), automation }
    });
    let mode = match value(words, "mode") {
        None => Some(Mode::Act),
        Some("none") => None,
        Some("recommend") => Some(Mode::Recommend),
        Some(_) => Some(Mode::Observe),
    };
    PutPlan {
        revision,
        expected_revision: value(words, "expected").map(|text| text.parse().unwrap()),
        digest: value(words, "digest").unwrap_or("a").repeat(64),
        text: format!("revision: {revision}\n"),
        zones: value(words, "zone").map(|text| ("example.zone".to_owned(), text.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
        outline: Outline {
            regions: regions.iter().map(|region| Label::new(region)).collect(),
            services: services.collect(),
            groups: list(value(words, "group").unwrap_or(""))
                .map(|name| {
                    let (restores, opens_copies) = (words.contains(&"restores"), !words.contains(&"uncopied"));
                    let names_ttl = value(words, "names").map_or(std::time::Duration::ZERO, duration);
                    let durability = if words.contains(&"quorum") { Durability::RemoteQuorum } else { Durability::Async };
                    let policy = policy(regions[0], &regions);
                    let rungs = rungs(words);
                    (Label::new(name), Policy { mode, rungs, restores, opens_copies, names_ttl, durability, ..policy })
                })
                .collect(),
            max_share_moved: value(words, "moved").map_or(Share::FULL, percent),
            freezes: freezes.into_iter().collect(),
            returning: None,
        },
    }
}

/// `rungs=cut!+power?+isolate`: one that confirms and can be undone, one that only confirms, one that only is there.
fn rungs(words: &[&str]) -> Vec<Rung> {
    let rung = |text: &str| Rung {
        hook: text.trim_end_matches(['!', '?']).to_owned(),
        confirms: text.ends_with(['!', '?']),
        is_undone: text.ends_with('!'),
    };
    list(value(words, "rungs").unwrap_or("")).map(rung).collect()
}

fn node(words: &[&str]) -> Node {
    Node {
        id: NodeId(words[0].parse().unwrap()),
        name: Label::new(words[1]),
        region: Label::new(words[2]),
        role: match words[3] {
            "voter" => NodeRole::Voter,
            "observer" => NodeRole::Observer,
            "witness" => NodeRole::Witness,
            word => panic!("`{word}` is not a role"),
        },
        version: "0.1.0".to_owned(),
        feature_level: value(words, "level").map_or(1, |level| level.parse().unwrap()),
        plan_revision: value(words, "plan").map(|revision| revision.parse().unwrap()),
        address: format!("{}.example.net:8444", words[1]),
    }
}
