//! What only many entries, or long ones, show.

use std::time::Duration;

use super::{
    drill::{START, scope},
    random::{entry, founded, outline},
};
use crate::{
    cluster::{
        Applied, Change, End, Entry, Halt, Node, NodeId, NodeRole, Outcome, Rule, State,
        audit::{self, Place},
        limits::{
            ACKNOWLEDGEMENTS_MAX, ACTOR_MAX, AUDIT_TEXT_MAX, AUDIT_WINDOW, EARLIER_MAX, ENTRY_OCTETS_MAX, FREEZES_MAX, GROUPS_MAX,
            NODES_MAX, ORDERS_MAX, POLICY_TIME_MAX, REASON_MAX, REQUESTS_KEPT_MS, REQUESTS_MAX,
        },
    },
    failover::group::{self, Closed, Ending, Group, OPERATIONS_KEPT, Operation, Phase},
    health::overlay::OverrideKind,
    model::{
        group::{Member, Policy},
        ids::Label,
        time::Timestamp,
        units::Share,
    },
};

const HOUR: End = End::AfterMs(3_600_000);

fn hold(id: Option<&str>) -> Change {
    Change::PutOverride { id: id.map(Label::new), kind: OverrideKind::Hold, scope: scope("region:us"), end: HOUR }
}

/// Applies changes one after the other, and gives the rule that refused the last one.
fn last_refusal(state: &mut State, changes: impl Iterator<Item = Change>) -> Option<Rule> {
    let mut last = None;
    for change in changes {
        last = rule(&apply(state, &entry(change)));
    }
    last
}

fn apply(state: &mut State, entry: &Entry) -> Applied {
    state.apply(state.audit().head().index + 1, entry).unwrap()
}

fn rule(applied: &Applied) -> Option<Rule> {
    match &applied.outcome {
        Outcome::Accepted { .. } => None,
        Outcome::Rejected(refusal) => Some(refusal.rule),
    }
}

#[test]
fn lists_are_full_at_their_bounds() {
    let state = founded();
    let fill = |n: usize, change: &dyn Fn(usize) -> Change| {
        let mut state = state.clone();
        assert_eq!(last_refusal(&mut state, (0..n).map(change)), None);
        assert_eq!(last_refusal(&mut state, std::iter::once(change(n))), Some(Rule::Full));
        // What is there already may still be changed.
        assert_eq!(last_refusal(&mut state, std::iter::once(change(0))), None);
        assert_eq!(State::restore(&state.snapshot(), 1).unwrap(), state);
    };
    let named = |i: usize| format!("x{i}");
    fill(ORDERS_MAX, &|i| hold(Some(&named(i))));
    fill(FREEZES_MAX, &|i| Change::Freeze { id: Some(Label::new(&named(i))), scope: scope("group:orders"), end: HOUR, automation: false });
    fill(ACKNOWLEDGEMENTS_MAX, &|i| Change::Acknowledge { object: named(i), end: HOUR });
    fill(NODES_MAX, &|i| {
        Change::RecordNode(Node {
            id: NodeId(i as u64),
            name: Label::new(&named(i)),
            region: Label::new("us"),
            role: NodeRole::Observer,
            version: "0.1.0".to_owned(),
            feature_level: 1,
            plan_revision: None,
            address: "192.0.2.1:8444".to_owned(),
        })
    });
}

#[test]
fn request_ids_are_kept_for_a_day_and_never_pushed_out() {
    let mut state = founded();
    let request = |id: usize, at: i64| Entry { request_id: Some(format!("r{id}")), at: Timestamp(START.0 + at), ..entry(hold(Some("h"))) };
    for id in 0..REQUESTS_MAX {
        assert_eq!(rule(&apply(&mut state, &request(id, 0))), None);
    }
    let refused = apply(&mut state, &request(REQUESTS_MAX, 1));
    assert_eq!(rule(&refused), Some(Rule::RequestsFull));
    // Those that are kept are still answered, and without an id there is always room.
    assert!(apply(&mut state, &request(0, 2)).repeated);
    assert_eq!(rule(&apply(&mut state, &entry(hold(None)))), None);
    // A refusal for want of room is not remembered: the same request passes when there is some.
    assert_eq!(rule(&apply(&mut state, &request(REQUESTS_MAX, REQUESTS_KEPT_MS - 1))), Some(Rule::RequestsFull));
    let later = apply(&mut state, &request(REQUESTS_MAX, REQUESTS_KEPT_MS));
    assert_eq!((rule(&later), later.repeated), (None, false));
    assert!(apply(&mut state, &request(REQUESTS_MAX, REQUESTS_KEPT_MS + 1)).repeated);
    assert_eq!(state.requests.0.len(), 1, "the old ones left when room was needed");
}

#[test]
fn texts_have_their_bounds_and_refused_ones_are_cut() {
    let mut state = founded();
    let long = |n: usize| "é".repeat(n / 2);
    let mut with_reason = |reason: String| rule(&apply(&mut state, &Entry { reason, ..entry(hold(None)) }));
    assert_eq!(with_reason(long(REASON_MAX)), None);
    assert_eq!(with_reason(long(REASON_MAX + 2)), Some(Rule::Invalid));
    assert_eq!(with_reason("one\ntwo".to_owned()), Some(Rule::Invalid));
    assert_eq!(with_reason("  ".to_owned()), Some(Rule::Invalid));
    assert_eq!(with_reason(String::new()), Some(Rule::ReasonRequired));
    let mut huge = entry(Change::Acknowledge { object: long(1_000_000), end: HOUR });
    huge.by.name = long(1_000_000);
    huge.reason = long(1_000_000);
    let audit = apply(&mut state, &huge).audit.unwrap();
    assert!(audit.who.len() <= ACTOR_MAX && audit.what.len() <= AUDIT_TEXT_MAX && audit.why.len() <= REASON_MAX);
    assert!(audit.who.ends_with("..."));
    huge.reason = long(ENTRY_OCTETS_MAX);
    assert_eq!(huge.encode().unwrap_err().rule, Rule::Invalid);
    let octets = vec![b' '; ENTRY_OCTETS_MAX + 1];
    assert!(matches!(Entry::decode(&octets, 1), Err(Halt::Corrupt(_))));
}

#[test]
fn the_audit_keeps_a_window_and_where_it_begins() {
    let mut state = founded();
    let mut all: Vec<_> = state.audit().links().cloned().collect();
    for _ in 0..AUDIT_WINDOW + 10 {
        all.extend(apply(&mut state, &entry(Change::Expire)).audit);
    }
    let chain = state.audit();
    assert_eq!(chain.links().len(), AUDIT_WINDOW);
    let begin = all.len() - AUDIT_WINDOW;
    assert_eq!(chain.begin(), Place { index: all[begin - 1].index, hash: all[begin - 1].hash });
    // An export of all that came before, and the window, are one chain.
    assert_eq!(audit::verify(&all[..begin], Place::default()), Ok(chain.begin()));
    assert_eq!(audit::verify(&all, Place::default()), Ok(chain.head()));
    chain.verify().unwrap();
}

#[test]
fn the_log_goes_forward_only() {
    let mut state = founded();
    let index = state.audit().head().index;
    let halt = state.apply(index, &entry(Change::Expire)).unwrap_err();
    assert_eq!(halt, Halt::OutOfOrder { index, after: index });
    assert_eq!(state.apply(index + 1, &entry(Change::Expire)).unwrap_err(), halt, "a halt lasts");
}

#[test]
fn an_outline_says_what_the_topology_says() {
    let topology = crate::testing::topology(&crate::testing::Draft {
        endpoints: vec![vec![(false, 1), (true, 1)], vec![], vec![(false, 1)]],
        weights: vec![(1, 1); 3],
        steering: crate::model::topology::Steering {
            preset: "weighted",
            stages: Vec::new(),
            tie: Share::percent(10),
            limit: 8,
            multivalue: false,
            spread: crate::model::topology::Spread::Sticky,
            families: crate::model::topology::Families::Together,
            residency: None,
        },
        all_down: crate::model::topology::AllDown::All,
    });
    let outline = crate::cluster::Outline::of(&crate::plan::tests::plan_of(1), &topology);
    let knows = |text: &str| outline.knows(&scope(text)).is_ok();
    assert!(knows("region:region-1") && knows("service:api") && knows("pool:api/region-0") && knows("everything"));
    assert!(!knows("region:region-3") && !knows("service:web") && !knows("pool:api/region-1") && !knows("group:orders"));
    // The names that people use are those of the topology.
    for position in 0..topology.endpoints.len() {
        let name = topology.endpoint_name(crate::model::ids::EndpointIdx::at(position));
        assert!(knows(&format!("endpoint:{name}")), "{name}");
    }
    assert!(!knows("endpoint:api/region-0/192.0.2.9:80"));
    outline.check().unwrap();
}

#[test]
fn policies_of_groups_have_their_bounds() {
    let refused = |spoil: &dyn Fn(&mut Policy)| {
        let mut outline = outline(1, Share::FULL, Vec::new());
        outline.groups.values_mut().for_each(spoil);
        outline.check().map_err(|refusal| (refusal.rule, refusal.text))
    };
    let because = |text: &str| Err((Rule::Invalid, text.to_owned()));
    let orders = |text: &str| because(&format!("data group orders: {text}"));
    let (us, mars) = (Label::new("us"), Label::new("mars"));
    let member = Member { is_candidate: true, priority: 100, has_agent: false };
    assert_eq!(refused(&|_| {}), Ok(()));
    assert_eq!(refused(&|it| it.primary = us.clone()), orders("its primary's region us has no member"));
    assert_eq!(refused(&|it| it.members.clear()), orders("its primary's region eu has no member"));
    assert_eq!(refused(&|it| it.primary = Label::new("")), because("the region of a primary is empty"));
    let joined_by = |region: &Label| refused(&|it| it.members.extend([(region.clone(), member)]));
    assert_eq!(joined_by(&mars), orders("it has a member in mars, which is no region of the plan"));
    assert_eq!(joined_by(&Label::new(&"x".repeat(64))), because("the region of a member has 64 octets"));
    assert_eq!(refused(&|it| it.margin = Duration::ZERO), orders("a margin of 0s is not between zero and a ttl of 1m30s"));
    assert_eq!(refused(&|it| it.margin = it.ttl), orders("a margin of 1m30s is not between zero and a ttl of 1m30s"));
    let uncounted: [&dyn Fn(&mut Policy); 4] =
        [&|it| it.probe_interval = Duration::ZERO, &|it| it.failure_window = Duration::ZERO, &|it| it.failures = 0, &|it| it.ok_run = 0];
    for spoil in uncounted {
        assert_eq!(refused(spoil), orders("a round, the failure window or a count of rounds is zero"));
    }
    assert_eq!(refused(&|it| it.rto_target = Some(POLICY_TIME_MAX)), Ok(()));
    let above = POLICY_TIME_MAX + Duration::from_secs(1);
    assert_eq!(refused(&|it| it.observe = above), orders("observe is 365d1s, and at most 365d can be"));
    assert_eq!(refused(&|it| it.rpo_target = Some(above)), orders("rpo_target is 365d1s, and at most 365d can be"));
    assert_eq!(refused(&|it| (it.confirm_hold, it.local_recovery, it.cool_down, it.observe) = Default::default()), Ok(()));
    let mut many = outline(1, Share::FULL, Vec::new());
    let policy = many.groups.values().next().unwrap().clone();
    many.groups = (0..=GROUPS_MAX).map(|i| (Label::new(&format!("g{i}")), policy.clone())).collect();
    assert_eq!(many.check().unwrap_err().text, "1025 data groups in the plan");
    many.groups = [(Label::new(""), policy)].into_iter().collect();
    assert_eq!(many.check().unwrap_err().text, "the name of a data group is empty");
}

#[test]
fn operations_that_ended_are_kept_up_to_their_bounds_the_newest_of_all() {
    let closed = |id| Closed {
        operation: Operation { id, ..group::operation(Phase::Proposed) },
        ending: Ending::Rejected,
        at: START,
        setback: None,
        told: None,
        aside: Default::default(),
    };
    let ids = |group: &Group| group.ended().map(|closed| closed.operation.id).collect::<Vec<_>>();
    let mut one = Group::default();
    (1..=40).for_each(|id| one.remember(closed(id)));
    assert_eq!(ids(&one), (25..=40).rev().collect::<Vec<_>>(), "the last sixteen, the newest first");
    let mut state = founded();
    state.put_group(Label::new("orders"), one);
    let many = EARLIER_MAX / (OPERATIONS_KEPT - 1) + 1;
    for i in 0..many {
        let mut group = Group::default();
        let first = 1000 + 100 * i as u64;
        (first..first + 16).for_each(|id| group.remember(closed(id)));
        state.put_group(Label::new(&format!("g{i}")), group);
    }
    let earlier: usize = state.groups.values().map(|group| group.earlier.len()).sum();
    assert_eq!(earlier, EARLIER_MAX);
    assert_eq!(ids(&state.groups[&Label::new("orders")]), [40], "the last one of a group stays");
    assert_eq!(ids(&state.groups[&Label::new(&format!("g{}", many - 1))]).len(), OPERATIONS_KEPT);
    assert_eq!(State::restore(&state.snapshot(), 1).as_ref(), Ok(&state));
}
