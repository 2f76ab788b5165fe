//! What is recalled from pages is what the node said when it wrote them, whatever happened.

use proptest::prelude::*;

use super::{
    drill::Drill,
    properties::{plan, step, step_of},
};
use crate::{
    model::reason::Reason,
    node::{
        Node,
        recall::{Memory, Page, Recalled, Stamp, Unreadable},
        report::{Happening, Preview, ReportError, Why},
    },
};

/// A node that is noted now and then, and what was noted.
struct Witness {
    memory: Memory,
    before: Option<Node>,
    pages: Vec<String>,
}

impl Witness {
    fn new() -> Self {
        Self { memory: Memory::default(), before: None, pages: Vec::new() }
    }

    /// Writes a page, and reads it as it would come from disk; `None` before the first table.
    fn note(&mut self, drill: &Drill) -> Option<Recalled> {
        let text = serde_json::to_string(&drill.node.page(self.before.as_ref(), drill.now)?).unwrap();
        self.before = Some(drill.node.clone());
        self.memory.read(serde_json::from_str(&text).unwrap()).unwrap();
        self.pages.push(text);
        Some(self.memory.clone().rebuild(drill.node.world().clone()).unwrap())
    }
}

/// What people ask about.
fn objects(node: &Node) -> Vec<String> {
    let topology = &node.world().topology;
    let endpoints = (0..topology.endpoints.len()).map(|position| topology.endpoint_name(crate::model::ids::EndpointIdx::at(position)));
    let regions = topology.regions.iter().map(|region| region.name.to_string());
    let services = topology.services.iter().map(|service| service.name.to_string());
    endpoints.chain(regions).chain(services).chain(["both", "worker", "db", "nothing"].map(str::to_owned)).collect()
}

/// The reasons without the lines that tell of single probes, and without the digits of ages: pages keep milliseconds, the node counts finer, so
/// that a whole second may turn between the two.
fn without_probes(mut reason: Reason) -> Reason {
    let is_of_probes = |it: &Reason| ["last probes ", "last probe took ", "last failure "].iter().any(|start| it.text.starts_with(start));
    reason.because.retain(|it| !is_of_probes(it));
    reason.because = reason.because.into_iter().map(without_probes).collect();
    for phrase in ["held, last proven ", ": own view in ", "not heard for "] {
        reason.text = without_age(&reason.text, phrase);
    }
    reason
}

fn without_age(text: &str, phrase: &str) -> String {
    let Some((before, after)) = text.split_once(phrase) else { return text.to_owned() };
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit() || "smhd.".contains(c));
    format!("{before}{phrase}…{after}")
}

fn told(why: Result<Why, ReportError>) -> Result<(String, Reason, Vec<Happening>), ReportError> {
    why.map(|why| (why.object, without_probes(why.reason), why.history))
}

fn previews(preview: impl Fn(&crate::answer::Query) -> Result<Preview, ReportError>) -> Vec<Preview> {
    let mut previews = Vec::new();
    for name in ["s0.example.test", "s1.example.test", "revision.example.test", "elsewhere.test"] {
        for from in ["10.0.1.0/24", "10.1.1.0/24", "198.51.100.7", "2001:db8:1::/48"] {
            let queries = ["A", "AAAA"].map(|record_type| super::drill::query(record_type, from, name));
            previews.extend(queries.iter().map(|query| preview(query).unwrap()));
        }
    }
    previews
}

fn check_same(drill: &Drill, recalled: &Recalled) {
    assert_eq!(recalled.at(), drill.now.wall);
    for object in objects(&drill.node) {
        assert_eq!(told(recalled.why(&object)), told(drill.node.why(drill.now, &object)), "{object}\n{}", drill.text);
    }
    assert_eq!(
        previews(|query| recalled.preview(query)),
        previews(|query| drill.node.preview(drill.now, query)),
        "answers differ\n{}",
        drill.text
    );
}

/// All reasons in a text without numbers: what the passing of time alone changes is gone.
fn words(node: &Node, drill: &Drill) -> String {
    let whys = objects(node).into_iter().map(|object| match told(node.why(drill.now, &object)) {
        Ok((object, reason, _)) => format!("{object}\n{}", reason.render()),
        Err(error) => error.to_string(),
    });
    let text: String = whys.collect();
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Peers come, speak and fall silent, beside what happens to a node on its own.
fn any_step() -> impl Strategy<Value = String> {
    let region = || prop::sample::select(vec!["us", "eu", "ap"]);
    let health = prop::sample::select(vec!["up", "down"]);
    prop_oneof![
        12 => step(),
        1 => Just("join us eu ap".to_owned()),
        4 => (region(), health).prop_map(|(region, health)| format!("peer {region} {health} 192.0.2.200")),
        1 => prop::sample::select(vec!["references ok", "references lost"]).prop_map(str::to_owned),
    ]
}

/// Peers can be heard only by a node that has some.
fn is_possible(step: &str, has_peers: bool) -> bool {
    has_peers || !(step.starts_with("peer ") || step.starts_with("references "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_recalled_is_what_was_said(plan in plan(), steps in prop::collection::vec(any_step(), 1..25), every in 1_usize..4) {
        let (mut drill, mut witness, mut has_peers) = (Drill::new(&plan), Witness::new(), false);
        for (number, step) in steps.iter().filter(|it| !it.is_empty()).enumerate() {
            has_peers |= step.starts_with("join");
            has_peers &= step != "restart";
            if !is_possible(step, has_peers) {
                continue;
            }
            step_of(&mut drill, step);
            if number % every == 0
                && let Some(recalled) = witness.note(&drill)
            {
                check_same(&drill, &recalled);
            }
        }
    }

    #[test]
    fn while_the_stamp_stands_nothing_else_is_said(plan in plan(), steps in prop::collection::vec(any_step(), 1..25)) {
        let (mut drill, mut has_peers) = (Drill::new(&plan), false);
        let mut last: Option<(Stamp, String)> = None;
        for step in &steps {
            has_peers |= step.starts_with("join");
            has_peers &= step != "restart";
            if !is_possible(step, has_peers) {
                continue;
            }
            if step == "restart" {
                last = None;
            }
            step_of(&mut drill, step);
            let now = drill.node.stamp().map(|stamp| (stamp, words(&drill.node, &drill)));
            if let (Some((before, said)), Some((after, says))) = (&last, &now) && before == after {
                prop_assert_eq!(said, says, "after `{}`\n{}", step, drill.text);
            }
            last = now;
        }
    }
}

const PLAN: &str = "cadence interval=6s fast=1s down=4s timeout=2s fall=3 rise=2 flap=1m rise_max=4
region us 38.9,-77.4 NA US
region eu 53.3,-6.3 EU IE
service s0 geo
endpoint us 192.0.2.1
endpoint eu 192.0.2.11
";

/// Down before and after, for another reason of the same category (found by the property above).
#[test]
fn a_failure_that_is_told_with_other_words_moves_the_stamp() {
    let mut drill = Drill::new(&PLAN.replace("fall=3", "fall=1"));
    drill.step("all hang");
    drill.step("run 8s");
    let before = drill.node.stamp().unwrap();
    assert!(words(&drill.node, &drill).contains("timeout: no answer"));
    drill.step("target 192.0.2.11 lost");
    drill.step("run 20s");
    let says = words(&drill.node, &drill);
    assert!(says.contains("timeout: the probe did not report"), "{says}\n{}", drill.text);
    assert_ne!(drill.node.stamp().unwrap(), before);
}

/// The seconds between two looks say nothing that a page must hold.
#[test]
fn a_page_holds_what_changed_and_no_more() {
    let (mut drill, mut witness) = (Drill::new(PLAN), Witness::new());
    drill.step("run 30s");
    witness.note(&drill);
    drill.step("run 30s");
    witness.note(&drill);
    assert!(witness.pages[1].len() < 60, "nothing happened: {}", witness.pages[1]);
    drill.step("target 192.0.2.11 fail connect");
    drill.step("run 20s");
    let recalled = witness.note(&drill).unwrap();
    assert!(witness.pages[2].contains("192.0.2.11") && !witness.pages[2].contains("192.0.2.1:"), "{}", witness.pages[2]);
    check_same(&drill, &recalled);
    // What came before is recalled as it was.
    let mut memory = Memory::default();
    witness.pages[..2].iter().for_each(|page| memory.read(serde_json::from_str(page).unwrap()).unwrap());
    let before = memory.rebuild(drill.node.world().clone()).unwrap();
    let why = before.why("eu").unwrap().reason.render();
    assert!(why.starts_with("+ region eu: 1 of 1 endpoints are up"), "{why}");
    let probes = before.why("s0/us/192.0.2.1:80").unwrap().reason.render();
    assert!(probes.contains("failed since the start, as of 2027-01-15T08:00:30Z"), "single probes are older than the page: {probes}");
}

/// Ages are those of the moment, however long ago that is, and however long before it they began.
#[test]
fn what_is_held_is_as_old_as_it_was_then() {
    let (mut drill, mut witness) = (Drill::new(PLAN), Witness::new());
    drill.step("join us eu ap");
    drill.step("run 10s");
    drill.step("peer eu up 192.0.2.1 192.0.2.11");
    drill.step("run 5s");
    witness.note(&drill);
    // Nothing changes, but what is held grows older.
    drill.step("run 20s");
    let recalled = witness.note(&drill).unwrap();
    let said = |reason: &Reason| reason.render();
    let (then, now) = (recalled.why("eu").unwrap().reason, drill.node.why(drill.now, "eu").unwrap().reason);
    assert_eq!(said(&then), said(&now));
    let endpoint = recalled.why("192.0.2.11").unwrap().reason.render();
    assert!(endpoint.contains("held, last proven 23s ago: own view in 36s") && endpoint.contains("not heard for 25s"), "{endpoint}");
}

#[test]
fn another_process_goes_on_where_the_last_one_was_noted() {
    let (mut drill, mut witness) = (Drill::new(PLAN), Witness::new());
    drill.step("run 30s");
    let recalled = witness.note(&drill).unwrap();
    drill.step("target 192.0.2.11 fail connect");
    drill.step("run 20s");
    // The next page is made against what the disk gives, not against the node that wrote it.
    let page = drill.node.page(Some(recalled.node()), drill.now).unwrap();
    assert!(!page.is_whole());
    witness.memory.read(page).unwrap();
    let recalled = witness.memory.rebuild(drill.node.world().clone()).unwrap();
    let why = recalled.why("eu").unwrap();
    assert_eq!(why.reason, drill.node.why(drill.now, "eu").unwrap().reason);
}

#[test]
fn pages_that_do_not_fit_are_refused() {
    let (mut drill, mut witness) = (Drill::new(PLAN), Witness::new());
    drill.step("run 30s");
    witness.note(&drill);
    drill.step("target 192.0.2.11 fail connect");
    drill.step("run 20s");
    witness.note(&drill);
    let read = |texts: &[String]| {
        let mut memory = Memory::default();
        texts.iter().try_for_each(|text| memory.read(serde_json::from_str::<Page>(text).unwrap())).map(|()| memory)
    };
    assert_eq!(read(&witness.pages[1..]).unwrap_err(), Unreadable::NoBeginning);
    let later = witness.pages[0].replacen("\"form\":1", "\"form\":9", 1);
    assert_eq!(read(&[later]).unwrap_err(), Unreadable::Form(9));
    let other = super::plan_text::world(1, &PLAN.replace("192.0.2.11", "192.0.2.12"));
    assert_eq!(read(&witness.pages).unwrap().rebuild(other).unwrap_err(), Unreadable::OtherShape);
    let beyond = witness.pages[0].replacen("\"checks\":[[0,", "\"checks\":[[7,", 1);
    assert_eq!(read(&[beyond]).unwrap().rebuild(drill.node.world().clone()).unwrap_err(), Unreadable::Position);
    assert_eq!(Memory::default().rebuild(drill.node.world().clone()).unwrap_err(), Unreadable::NoBeginning);
}

#[test]
fn who_held_a_role_is_recalled_with_its_age_and_its_end() {
    let plan = "region us 38.9,-77.4 NA US\nregion eu 53.3,-6.3 EU IE\nservice s0 geo ttl=1s..15s\nfollows orders primary\n\
        member us 198.51.100.10\nmember eu 203.0.113.20\nservice s1 geo ttl=1s..15s all_down=servfail\nfollows orders replica\n\
        member us 198.51.100.10\nmember eu 203.0.113.20";
    let (mut drill, mut witness) = (Drill::new(plan), Witness::new());
    let steps =
        ["run 16s", "says us holds 5 20s 2s", "run 3s", "says eu follows 5", "run 14s", "run 9s", "says us rests 9", "says eu holds 12 9s"];
    for step in steps {
        drill.step(step);
        if let Some(recalled) = witness.note(&drill) {
            check_same(&drill, &recalled);
        }
    }
    assert!(drill.text.contains("eu holds the role by epoch 1.12"), "{}", drill.text);
}
