//! Reports of operations that went well, that were broken off, and of which little is known.

use super::*;
use crate::{
    cluster::audit::Hash,
    failover::{
        choose::Choice,
        evidence::Evidence as Class,
        grounds::Grounds,
        group::{Act, Chosen, Deed, Held, HeldFor, Mark, Phase, Stopped, operation},
    },
    model::group::policy,
};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(second: i64) -> Timestamp {
    Timestamp(1_800_000_000_000 + second * 1000)
}

fn basis(tail: Option<Duration>) -> Basis {
    let audit_head = Place { index: 99, hash: Hash([0xab; 32]) };
    Basis { plan_revision: 7, plan_digest: "c".repeat(64), audit_head, written: at(400), tail }
}

fn marks(all: &[(Phase, i64, &str)]) -> Vec<Mark> {
    let mark = |(i, (phase, second, text)): (usize, &(Phase, i64, &str))| Mark {
        phase: *phase,
        index: 20 + i as u64,
        at: at(*second),
        text: (*text).to_owned(),
    };
    all.iter().enumerate().map(mark).collect()
}

fn chosen(low: u64, high: Option<u64>) -> Option<Chosen> {
    let choice = Choice { region: "eu".into(), position: 10, fetch_from: None, is_below_floor: false };
    Some(Chosen { choice, loss: Bracket { low: seconds(low), high: high.map(seconds) } })
}

/// Decided by the cluster, held at the gate, approved, and done.
fn automatic() -> Closed {
    use Phase::*;
    let all = [
        (Decided, 107, "decide failover from us"),
        (Fenced, 110, "fenced, the lease has ended"),
        (Chosen, 112, "choose eu at 10"),
        (Chosen, 113, "hold, RPO_GATE: 30s would be lost | \"and\" <b>more</b>"),
        (Chosen, 140, "approved, a loss of 1m allowed, by ana"),
        (Promoting, 141, "promoting eu"),
        (Promoted, 150, "promoted, timeline 2 from 10"),
        (Verified, 152, "verified"),
        (Routed, 155, "routed"),
        (Routed, 170, "closed, succeeded"),
    ];
    let grounds = Grounds {
        evidence: Class::Isolated,
        impact: at(0),
        detected: at(45),
        rounds: vec![at(15), at(30), at(45)],
        attestations: [("ap".into(), Attestation::Failing), ("eu".into(), Attestation::Abstains)].into(),
    };
    let act = Act {
        index: 24,
        at: at(140),
        who: "ana".to_owned(),
        why: "the <region> burns".to_owned(),
        deed: Deed::Approved { allowed_loss: Some(seconds(60)) },
    };
    let operation = Operation {
        grounds: Some(grounds),
        chosen: chosen(2, Some(30)),
        allowed_loss: Some(seconds(60)),
        fence: Some(Fence::Waited),
        marks: marks(&all),
        acts: vec![act],
        ..operation(Routed)
    };
    Closed { operation, ending: Ending::Succeeded, at: at(170), setback: None, told: None, aside: Default::default() }
}

#[test]
fn an_automatic_failover_is_told_whole() {
    let policy = Policy { rpo_target: Some(seconds(10)), rto_target: Some(seconds(400)), ..policy("us", &["us", "eu", "ap"]) };
    let report = Report::of_closed(&"orders".into(), &automatic(), &policy, basis(Some(seconds(30))));
    let text = report.markdown();
    let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
    has("# failover of orders: op-9, succeeded\n");
    has("- **Wanted by**: the cluster, by the rules of the plan\n");
    has("- **Old primary**: its lease ended, and its database with it\n");
    has("| 2027-01-15 08:02:20Z | ana | approved, a loss of 1m allowed | the \\<region\\> burns |\n");
    has("- **Recovery (t8 - t0)**: 3m5s\n");
    has("- **Standing**: ok\n");
    has("- **Without writes (t5 - t2)**: 43s\n");
    has("| t0 | impact | 2027-01-15 08:00:00Z | unknown | unknown |\n");
    has("| t2 | decided | 2027-01-15 08:01:47Z | 1m2s | 16% |\n");
    has("| t4 | drained | 2027-01-15 08:02:21Z | 31s | 8% |\n");
    has("| t7 | effective | 2027-01-15 08:03:05Z | 30s | 8% |\n");
    has("| t8 | validated | 2027-01-15 08:03:05Z | 0s | 0% |\n");
    has("- **By what was sealed**: 2s to 30s\n- **By what members put aside**: unknown: no member has told of anything that only it had\n");
    has("- **Allowed by a person**: 1m\n- **Target**: 10s\n- **Standing**: violated\n");
    has("- **Failed rounds**: 3: 2027-01-15 08:00:15Z, 2027-01-15 08:00:30Z, 2027-01-15 08:00:45Z\n");
    has("| eu | cannot tell |\n");
    has("| 23 | 2027-01-15 08:01:53Z | chosen | hold, RPO_GATE: 30s would be lost \\| \"and\" \\<b\\>more\\</b\\> |\n");
    has("- **Audit chain**: entry 99, abababab");
    for mark in &automatic().operation.marks {
        assert!(text.contains(&format!("| {} |", mark.index)), "every mark is in it: {}", mark.text);
    }
    let page = report.html();
    assert!(page.contains("30s would be lost | &quot;and&quot; &lt;b&gt;more&lt;/b&gt;") && !page.contains("<b>"), "{page}");
    assert!(page.contains("the &lt;region&gt; burns") && page.contains("<title>failover of orders: op-9, succeeded</title>"), "{page}");
}

#[test]
fn programs_get_the_same_and_null_for_what_nobody_knows() {
    let policy = policy("us", &["us", "eu", "ap"]);
    let json = |report: &Report| serde_json::from_str::<serde_json::Value>(&report.json().unwrap()).unwrap();
    let value = json(&Report::of_closed(&"orders".into(), &automatic(), &policy, basis(None)));
    assert_eq!((&value["version"], &value["operation"], &value["ending"]), (&1.into(), &"op-9".into(), &"succeeded".into()));
    assert_eq!((&value["recovery"]["took_ms"], &value["recovery"]["without_writes_ms"]), (&170_000.into(), &43_000.into()));
    let effective = &value["recovery"]["milestones"][7];
    assert_eq!(effective["name"], "effective");
    assert!(effective["at"].is_null() && effective["part_ms"].is_null() && effective["percent_of_target"].is_null(), "{effective}");
    let validated = &value["recovery"]["milestones"][8];
    assert!(validated["at"].is_string() && validated["part_ms"].is_null(), "the mark before is not known: {validated}");
    assert_eq!(value["loss"]["sealed_ms"], serde_json::json!({ "low": 2000, "high": 30_000 }));
    assert_eq!(value["loss"]["estimate_ms"], serde_json::json!({ "low": 0, "high": null }));
    assert_eq!((&value["evidence"]["class"], &value["evidence"]["attestations"]["ap"]), (&"isolated".into(), &"failing".into()));
    assert_eq!((value["marks"].as_array().unwrap().len(), &value["marks"][0]["at"]), (10, &"2027-01-15T08:01:47Z".into()));
    assert_eq!((&value["basis"]["plan_revision"], &value["basis"]["audit_head"]["index"]), (&7.into(), &99.into()));
    assert_eq!(value["basis"]["cache_tail_ms"], serde_json::Value::Null);
}

#[test]
fn one_that_is_open_tells_how_far_it_is_and_that_the_clock_runs() {
    use Phase::*;
    let policy = policy("us", &["us", "eu", "ap"]);
    let held = Held { reason: HeldFor::NoCandidate, text: "no copy that is sealed may be promoted".to_owned(), at: at(120) };
    let grounds = automatic().operation.grounds;
    let open =
        Operation { held: Some(held), grounds, marks: marks(&[(Decided, 107, "decide"), (Fenced, 110, "fenced")]), ..operation(Fenced) };
    let text = Report::of(&"orders".into(), &open, &policy, basis(None)).markdown();
    let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
    has("# failover of orders: op-9, still open\n");
    has("- **Promoted**: nobody was chosen\n");
    has("- **Held**: NO_CANDIDATE since 2027-01-15 08:02:00Z: no copy that is sealed may be promoted\n");
    has("- **Recovery (t8 - t0)**: 6m40s, and the clock runs\n");
    has("- **Without writes (t5 - t2)**: unknown\n");
    has("| t5 | promoted | unknown | unknown | unknown |\n");
    has("- **Estimated when it was decided**: unknown\n- **By what was sealed**: unknown: nobody was chosen\n");
    has("- **By what members put aside**: unknown: no member has told of anything that only it had\n");
    has("Nobody approved, asserted, skipped or ended anything.\n");
}

#[test]
fn what_members_had_alone_stands_in_all_forms_and_what_they_cannot_tell_is_unknown() {
    let mut closed = automatic();
    let policy = policy("us", &["us", "eu", "ap"]);
    let report = |closed: &Closed| Report::of_closed(&"orders".into(), closed, &policy, basis(None));
    let value = |closed: &Closed| serde_json::from_str::<serde_json::Value>(&report(closed).json().unwrap()).unwrap();
    assert_eq!(value(&closed)["loss"]["put_aside"], serde_json::Value::Null);
    let span = Some((at(100), at(102)));
    let known = Aside { parted: Some((1, 10)), commits: Some(312), octets: Some(4096), span, ..Aside::default() };
    closed.aside = [("us".into(), known), ("ap".into(), Aside::default())].into();
    let line = "ap had commits unknown, octets unknown alone; \
        us had 312 commits, 4096 octets, made in 2s from 2027-01-15T08:01:40Z on alone";
    let (markdown, html) = (report(&closed).markdown(), report(&closed).html());
    assert!(markdown.contains(&format!("- **By what members put aside**: {line}\n")), "{markdown}");
    assert!(html.contains(line), "{html}");
    let told = value(&closed)["loss"]["put_aside"].clone();
    assert_eq!((&told["us"]["commits"], &told["us"]["last_commit"]), (&312.into(), &"2027-01-15T08:01:42Z".into()), "{told}");
    assert_eq!((&told["ap"]["commits"], &told["ap"]["octets"]), (&serde_json::Value::Null, &serde_json::Value::Null), "{told}");
}

#[test]
fn a_switchover_that_handed_over_lost_nothing_and_has_no_recovery_time() {
    use Phase::*;
    let policy = policy("us", &["us", "eu", "ap"]);
    let stopped = Some(Stopped { system: 7, timeline: 1, position: 10 });
    let origin = Origin::Person { who: "ana".to_owned(), why: "kernel update".to_owned() };
    let done = Operation {
        kind: Kind::Switchover,
        origin,
        chosen: chosen(0, None),
        stopped,
        marks: marks(&[(Decided, 1, "decide")]),
        ..operation(Routed)
    };
    let report = |operation: &Operation, ending| {
        let closed = Closed { operation: operation.clone(), ending, at: at(9), setback: None, told: None, aside: Default::default() };
        Report::of_closed(&"orders".into(), &closed, &policy, basis(None)).markdown()
    };
    let text = report(&done, Ending::Succeeded);
    assert!(text.contains("- **By what was sealed**: nothing: the old primary handed over all that it had\n"), "{text}");
    assert!(
        text.contains("- **Recovery (t8 - t0)**: unknown\n") && text.contains("- **Wanted by**: ana\n- **Reason**: kernel update\n"),
        "{text}"
    );
    assert!(text.contains("A person wanted it: no evidence was gathered.\n"), "{text}");
    // Turned into a failover, what is not known is unknown again, and what is lost at least counts.
    let turned = Operation { kind: Kind::Failover, chosen: chosen(7200, None), ..done };
    let text = report(&turned, Ending::Succeeded);
    assert!(text.contains("- **By what was sealed**: at least 2h\n") && text.contains("- **Standing**: violated\n"), "{text}");
    let text = report(&automatic().operation, Ending::Cancelled);
    assert!(text.contains("- **Recovery (t8 - t0)**: unknown\n"), "nothing was recovered: {text}");
}
