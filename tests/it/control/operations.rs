//! Operations over the API: watched from a mark on, rehearsed, pinned, sent again, reported.

use std::time::Duration;

use portolan::{
    api::{
        operations::WATCHERS_MAX,
        proto::{
            AssertFencedRequest, CancelOperationRequest, GetOperationRequest, GetReportRequest, ListOperationsRequest,
            RehearseOperationRequest, RejectOperationRequest, ReleaseCoolDownRequest, RetryStepRequest, SkipStepRequest,
            StartFailoverRequest, StartSwitchoverRequest, TurnOperationRequest, WatchOperationRequest, get_report_request::Format,
        },
        source::cluster::Figures,
    },
    client::{Client, Messages},
};
use portolan_core::{
    cluster::Change,
    failover::{
        group::HeldFor,
        lease::Class,
        order::{Role, Sight, Status},
        step::Step,
        token::Token,
    },
    model::ids::Label,
    recovery::exposure::Bracket,
};
use tonic::Code;

use super::{
    Node, at,
    double::{Ideal, PLAN},
    refused,
};

const GROUPS: &str = "\
data_groups:
  orders:
    engine: postgresql
    primary: us-east-1
    fence: [{ agent: stop }, { lease: expire }]
    members:
      us-east-1: { address: \"10.0.0.5:5432\", dsn: pg, agent: pg-use1 }
      eu-west-1: { address: \"10.16.0.5:5432\", dsn: pg, agent: pg-euw1 }
";

fn orders() -> Label {
    Label::new("orders")
}

fn reason() -> String {
    "drill".to_owned()
}

fn commit(node: &Node, make: impl FnOnce(Token) -> Step) {
    commit_to(&node.cluster, make);
}

fn commit_to(cluster: &Ideal, make: impl FnOnce(Token) -> Step) {
    let token = cluster.state().group(&orders()).map(|group| group.token).unwrap_or_default();
    cluster.commit(Change::Group { group: orders(), step: make(token) });
}

/// The cluster gets a group with a primary in us-east-1, whose loss is known.
pub(super) fn adopt(cluster: &Ideal) {
    cluster.put(&format!("{}{GROUPS}", PLAN.replace("revision: 1", "revision: 2")));
    commit_to(cluster, |token| Step::Adopt { token, primary: "us-east-1".into(), system: 7, timeline: 1, class: Class::Bare });
    let exposure = Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(1)) };
    *cluster.figures.lock().unwrap() = Figures { exposure, ..Figures::default() };
}

async fn adopted() -> Node {
    let node = Node::start().await;
    adopt(&node.cluster);
    node
}

pub(super) fn failover() -> StartFailoverRequest {
    let allowed_loss = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    StartFailoverRequest { name: "groups/orders".to_owned(), allowed_loss, reason: reason(), ..StartFailoverRequest::default() }
}

fn switchover() -> StartSwitchoverRequest {
    let name = "groups/orders".to_owned();
    StartSwitchoverRequest { name, to: "eu-west-1".to_owned(), reason: reason(), ..StartSwitchoverRequest::default() }
}

/// Begins a failover and gives its name.
async fn begun(node: &Node) -> String {
    node.client.start_failover(failover()).await.unwrap().group.unwrap().operation.unwrap().name
}

async fn watch(node: &Node, name: &str, after: u64) -> Messages<portolan::api::proto::WatchOperationResponse> {
    node.client.watch_operation(WatchOperationRequest { name: name.to_owned(), after }).await.unwrap()
}

#[tokio::test]
async fn a_watcher_gets_each_mark_once_also_after_it_was_away_and_the_stream_ends_with_the_operation() {
    let node = adopted().await;
    let name = begun(&node).await;
    let mut stream = watch(&node, &name, 0).await;
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.marks.len(), first.operation.as_ref().unwrap().marks.len()), (1, 0));
    commit(&node, |token| Step::Hold { token, reason: HeldFor::FenceUnproven, text: "no fence".to_owned() });
    let held = stream.next().await.unwrap().unwrap();
    let operation = held.operation.unwrap();
    assert_eq!((held.marks.len(), operation.held.as_str(), operation.held_because.as_str()), (1, "FENCE_UNPROVEN", "no fence"));
    assert!(operation.held_time.is_some());
    drop(stream);
    let about = RetryStepRequest { name: name.clone(), reason: reason(), ..RetryStepRequest::default() };
    node.client.retry_step(about).await.unwrap();
    let mut again = watch(&node, &name, held.marks[0].index).await;
    let next = again.next().await.unwrap().unwrap();
    assert_eq!((next.marks.len(), next.marks[0].text.as_str()), (1, "tried again, by local"), "nothing twice, nothing left out");
    assert_eq!(next.operation.unwrap().held, "");
    // What is none of its marks tells the reader nothing.
    node.cluster.commit(Change::Expire);
    let cancel = CancelOperationRequest { name: name.clone(), reason: reason(), ..CancelOperationRequest::default() };
    node.client.cancel_operation(cancel).await.unwrap();
    let last = again.next().await.unwrap().unwrap();
    assert_eq!((last.marks.len(), last.operation.unwrap().ending.as_str()), (1, "cancelled"));
    assert!(again.next().await.unwrap().is_none(), "the stream ends with it");
    let mut late = watch(&node, &name, 0).await;
    assert_eq!(late.next().await.unwrap().unwrap().marks.len(), 4, "all at once");
    assert!(late.next().await.unwrap().is_none());
    let unknown = refused(node.client.watch_operation(WatchOperationRequest { name: "operations/op-1".to_owned(), after: 0 }).await);
    assert_eq!((unknown.code, unknown.reason.as_str()), (Code::NotFound, "UNKNOWN_OPERATION"));
}

#[tokio::test]
async fn watchers_are_bounded_and_a_place_is_given_back() {
    let node = adopted().await;
    let name = begun(&node).await;
    // One connection has room for fewer streams.
    let mut streams = Vec::new();
    let mut client = Client::connect(&at(node.server.address())).await.unwrap();
    for i in 1..=WATCHERS_MAX {
        streams.push(client.watch_operation(WatchOperationRequest { name: name.clone(), after: 0 }).await.unwrap());
        if i % 16 == 0 {
            client = Client::connect(&at(node.server.address())).await.unwrap();
        }
    }
    let request = || WatchOperationRequest { name: name.clone(), after: 0 };
    assert_eq!(refused(node.client.watch_operation(request()).await).reason, "TOO_MANY_WATCHERS");
    drop(streams);
    crate::daemon::given("a place is free", async || node.client.watch_operation(request()).await.ok()).await;
}

#[tokio::test]
async fn what_was_rehearsed_is_done_or_named_what_changed() {
    let node = adopted().await;
    let rehearse = |to: &str, seconds| {
        let allowed_loss = Some(prost_types::Duration { seconds, nanos: 0 });
        let request =
            RehearseOperationRequest { group: "groups/orders".to_owned(), kind: "failover".to_owned(), to: to.to_owned(), allowed_loss };
        async { node.client.rehearse_operation(request).await.unwrap() }
    };
    let rehearsed = rehearse("", 30).await;
    assert_eq!((rehearsed.steps.len(), rehearsed.gate.as_str(), rehearsed.whole), (11, "", None), "what is not measured is unset");
    assert!(rehearsed.until_writes.is_some());
    assert!(node.cluster.drafts.lock().unwrap().is_empty(), "nothing was proposed");
    let pinned = |plan_id: String, validate_only| StartFailoverRequest { plan_id, validate_only, ..failover() };
    node.client.start_failover(pinned(rehearsed.plan_id.clone(), true)).await.unwrap();
    for (other, changed) in [(rehearse("eu-west-1", 30).await, "where to"), (rehearse("", 31).await, "the loss that is allowed")] {
        let refusal = refused(node.client.start_failover(pinned(other.plan_id, false)).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "PLAN_CHANGED"));
        assert!(refusal.message.contains(&format!(": {changed} changed;")), "{refusal:?}");
    }
    node.cluster.put(&format!("{}{GROUPS}", PLAN.replace("revision: 1", "revision: 3")));
    let refusal = refused(node.client.start_failover(pinned(rehearsed.plan_id.clone(), false)).await);
    assert!(refusal.message.contains(": the plan's revision changed;"), "{refusal:?}");
    commit(&node, |token| Step::Regrant { token, class: Class::Armed { supervisor: 1 } });
    let refusal = refused(node.client.start_failover(pinned(rehearsed.plan_id, false)).await);
    assert!(refusal.message.contains(": the group's token, the plan's revision changed;"), "{refusal:?}");
    let now = rehearse("", 30).await;
    node.client.start_failover(pinned(now.plan_id, false)).await.unwrap();
    let bad = RehearseOperationRequest { group: "orders".to_owned(), kind: "move".to_owned(), ..RehearseOperationRequest::default() };
    assert_eq!(refused(node.client.rehearse_operation(bad).await).reason, "BAD_FIELD");
}

#[tokio::test]
async fn a_request_that_is_sent_again_has_its_effect_once_whatever_is_so_by_then() {
    let node = adopted().await;
    let token = node.cluster.state().group(&orders()).unwrap().token.to_string();
    let request = StartSwitchoverRequest { expected_token: token, request_id: "r1".to_owned(), ..switchover() };
    let first = node.client.start_switchover(request.clone()).await.unwrap();
    let again = node.client.start_switchover(request.clone()).await.unwrap();
    assert!(!first.commit.unwrap().repeated_request && again.commit.unwrap().repeated_request);
    let id = first.group.unwrap().operation.unwrap().name;
    let cancel = CancelOperationRequest { name: id, request_id: "r2".to_owned(), reason: reason(), ..CancelOperationRequest::default() };
    node.client.cancel_operation(cancel.clone()).await.unwrap();
    assert!(node.client.cancel_operation(cancel).await.unwrap().commit.unwrap().repeated_request, "it is over by then");
    assert_eq!(
        refused(node.client.start_switchover(StartSwitchoverRequest { to: "us-east-1".to_owned(), ..request }).await).reason,
        "REQUEST_REUSED"
    );
}

/// Each verb is one change of its own kind, judged only when that is asked, and refused without a reason.
#[tokio::test]
async fn each_verb_is_one_change() {
    let node = adopted().await;
    let name = begun(&node).await;
    let kinds =
        || node.cluster.drafts.lock().unwrap().drain(..).map(|draft| (draft.change.kind(), draft.validate_only)).collect::<Vec<_>>();
    kinds();
    let client = &node.client;
    macro_rules! asked {
        ($call:ident($request:ident { $($field:ident: $value:expr),* }), $kind:literal) => {{
            let asked = |reason: String, validate_only| $request { validate_only, reason, $($field: $value,)* ..$request::default() };
            let without = refused(client.$call(asked(String::new(), false)).await);
            assert_eq!(without.reason, "REASON_REQUIRED", "{without:?}");
            // Whether it is its time is judged elsewhere.
            let _ = client.$call(asked(reason(), true)).await;
            assert_eq!(kinds(), [($kind, false), ($kind, true)]);
        }};
    }
    asked!(reject_operation(RejectOperationRequest { name: name.clone() }), 121);
    asked!(turn_operation(TurnOperationRequest { name: name.clone() }), 119);
    asked!(assert_fenced(AssertFencedRequest { name: name.clone(), region: "us-east-1".to_owned() }), 103);
    asked!(retry_step(RetryStepRequest { name: name.clone() }), 122);
    asked!(skip_step(SkipStepRequest { name: name.clone() }), 123);
    asked!(release_cool_down(ReleaseCoolDownRequest { name: "groups/orders".to_owned() }), 120);
    let operation = client.get_operation(GetOperationRequest { name }).await.unwrap().operation.unwrap();
    assert_eq!((operation.phase.as_str(), operation.marks.len()), ("decided", 1), "nothing was done");
}

#[tokio::test]
async fn an_assertion_is_refused_while_the_agent_says_that_its_database_writes() {
    let node = adopted().await;
    let says = |age: u64, writes| {
        let role = if writes { Role::Writes } else { Role::Stopped };
        let sight = Some(Sight { role, system: 7, timeline: 1, position: None });
        let (highest, class) = (Token::default(), Class::Bare);
        let status = Status { sequence: (1, 1), highest, class, writes, sight, ..Status::default() };
        node.cluster.agents.lock().unwrap().insert((orders(), "us-east-1".into()), (Duration::from_secs(age), status));
    };
    let asserted = StartFailoverRequest { assert_fenced: "us-east-1".to_owned(), request_id: "r1".to_owned(), ..failover() };
    says(80, true);
    assert_eq!(refused(node.client.start_failover(asserted.clone()).await).reason, "STILL_WRITES");
    assert!(node.cluster.drafts.lock().unwrap().is_empty());
    says(91, true);
    let operation = node.client.start_failover(asserted.clone()).await.unwrap().group.unwrap().operation.unwrap();
    assert_eq!((operation.acts.len(), operation.acts[0].who.as_str(), operation.phase.as_str()), (1, "local", "decided"));
    let again = node.client.start_failover(asserted).await.unwrap();
    assert!(again.commit.unwrap().repeated_request, "both of its changes are remembered");
    assert_eq!(again.group.unwrap().operation.unwrap().acts.len(), 1);
}

/// Its agent may be dead while its database is not, and one region is enough to have seen that.
#[tokio::test]
async fn an_assertion_is_refused_while_any_vantage_region_got_in_within_the_last_lease() {
    let node = adopted().await;
    let seen = |all: &[(&str, u64)]| {
        let reached = all.iter().map(|(region, ago)| (Label::new(region), Duration::from_secs(*ago)));
        *node.cluster.reached.lock().unwrap() = reached.collect();
    };
    let asserted = StartFailoverRequest { assert_fenced: "us-east-1".to_owned(), ..failover() };
    seen(&[("eu-west-1", 89)]);
    let refusal = refused(node.client.start_failover(asserted).await);
    assert_eq!(refusal.reason, "STILL_ACCEPTS");
    assert!(refusal.message.contains("a probe from eu-west-1 got into its database 1m29s ago"), "{refusal:?}");
    assert!(node.cluster.drafts.lock().unwrap().is_empty(), "nor was the failover begun");
    // It begins without; and whoever answers later is asked the same.
    let name = begun(&node).await;
    let assert = AssertFencedRequest { name, region: "us-east-1".to_owned(), reason: reason(), ..AssertFencedRequest::default() };
    seen(&[("eu-west-1", 200), ("us-east-1", 0)]);
    assert_eq!(refused(node.client.assert_fenced(assert.clone()).await).reason, "STILL_ACCEPTS");
    seen(&[("eu-west-1", 91)]);
    node.client.assert_fenced(assert).await.unwrap();
}

#[tokio::test]
async fn operations_are_found_by_name_and_reported_in_three_forms_after_they_ended() {
    let node = adopted().await;
    let mut names = Vec::new();
    for _ in 0..3 {
        let name = begun(&node).await;
        let cancel = CancelOperationRequest { name: name.clone(), reason: reason(), ..CancelOperationRequest::default() };
        node.client.cancel_operation(cancel).await.unwrap();
        names.insert(0, name);
    }
    let open = begun(&node).await;
    names.insert(0, open.clone());
    let listed = node.client.list_operations(ListOperationsRequest { parent: "groups/orders".to_owned() }).await.unwrap();
    let found: Vec<(String, String)> = listed.operations.into_iter().map(|it| (it.name, it.ending)).collect();
    let expected = names.iter().map(|name| (name.clone(), if *name == open { "" } else { "cancelled" }.to_owned()));
    assert_eq!(found, expected.collect::<Vec<_>>());
    let oldest = node.client.get_operation(GetOperationRequest { name: names[3].clone() }).await.unwrap().operation.unwrap();
    assert_eq!((oldest.group.as_str(), oldest.ending.as_str(), oldest.end_time.is_some()), ("groups/orders", "cancelled", true));
    let report = |name: &str, format: Format| {
        let request = GetReportRequest { name: name.to_owned(), format: format.into() };
        async { node.client.get_report(request).await.unwrap() }
    };
    let ended = report(&names[3], Format::Unspecified).await;
    assert!(ended.text.starts_with("# failover of orders: op-") && ended.end_time.is_some(), "{}", ended.text);
    assert_eq!(ended.media_type, "text/markdown; charset=utf-8");
    assert!(report(&open, Format::Html).await.text.starts_with("<!doctype html>"));
    let json = report(&open, Format::Json).await;
    let value: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!((value["ending"].is_null(), json.end_time, json.media_type.as_str()), (true, None, "application/json"));
    for mark in &oldest.marks {
        assert!(ended.text.contains(&format!("| {} |", mark.index)), "{}", ended.text);
    }
}
